//! Sessions that come and go: of a client that is gone, of a twin, over a line that breaks.

use super::*;

// P10.

/// Who serves, by visitors that come every half second for a minute; the number of changes.
fn changes_of_owner(play: &mut Play, of: &mut usize) -> usize {
    let begin = play.now();
    let visits = (0..120).map(|n| begin + n * SECOND / 2).collect::<Vec<_>>();
    let visits = visits.into_iter().map(|at| (play.drop_in(0, at), at)).collect::<Vec<_>>();
    play.run(61 * SECOND);
    let mut changes = 0;
    for (id, at) in visits {
        play.assert_served(id, at + SECOND);
        let owner = (0..2).find(|site| play.served_at(*site, id)).unwrap();
        changes += usize::from(std::mem::replace(of, owner) != owner);
    }
    changes
}

#[test]
fn p10_a_new_session_does_not_wait_for_the_dead_one() {
    // The first one's sleep, and when in it the second one comes: with the server thinking well of
    // the sleeper, and after it has been given up.
    for (sleep, wait) in [(14, 1), (120, 1), (120, 40)] {
        let mut play = Play::new(10, tuning(), 1, true, FEW);
        let [first, second] = [0, 1].map(|_| play.add_site(0));
        play.start(first);
        play.run(WARM_UP);
        let before = play.drop_in(0, play.now());
        play.run(SECOND);
        play.assert_served(before, play.now());
        assert!(play.served_at(first, before));
        let stays = || eager(vec![Act::Send(100), pause(HOUR), Act::AwaitEnd]);
        let long = play.visit(0, play.now(), Ending::Both, stays(), stays());
        play.run(SECOND);

        let sleeps = play.now();
        let wakes = sleeps + sleep * SECOND;
        play.driver.tasks[play.sites[first].client].paused_until = wakes;
        play.run(wait * SECOND);
        play.start(second);
        let starts = play.now();
        let soon = play.drop_in(0, starts + SECOND / 2);
        play.run(2 * SECOND);
        play.assert_served(soon, starts + SECOND);
        assert!(play.served_at(second, soon), "the sleeper had a visitor");

        play.run_until(wakes);
        // A visitor of the sleeper stays with it for two pings and a half, the first under way.
        let left = play.book.borrow().stories[long].witnesses[0].clone();
        let given_up = (sleeps + 15 * SECOND)..=(sleeps + 26 * SECOND);
        match left.done {
            None => assert!(sleep < 25, "the sleeper's visitor hangs"),
            Some(at) => assert!(given_up.contains(&Time(at)) && left.end == Some(End::Reset)),
        }
        let mut owner = second;
        let changes = changes_of_owner(&mut play, &mut owner);
        assert!(changes <= 1, "they fight: {changes} changes in a minute");
        if sleep < 25 {
            // Its session lives on: it has been told, and asks politely.
            assert_eq!((changes, owner), (0, second));
        }
        assert_eq!(changes_of_owner(&mut play, &mut owner), 0, "they fight on");

        // Whoever had it goes: the other one was told, so it knows that it has to ask.
        let task = play.sites[owner].client;
        if let Some(Actor::Client(mut client, _)) = play.driver.stop(task) {
            client.stop();
        }
        play.run(6 * SECOND);
        let last = play.drop_in(0, play.now());
        play.run(SECOND);
        play.assert_served(last, play.now());
        assert!(play.served_at(1 - owner, last));
    }
}

// P18.

const HOMES: usize = 5;
const OUTAGES: usize = 200;
const OUTAGE: Duration = Duration::from_secs(600);

#[test]
fn p18_a_line_that_is_gone_for_ten_minutes_serves_again_in_ten_seconds_200_times_over() {
    let mut play = Play::settled(18, tuning(), HOMES);
    play.run(QUIET);
    let before = play.holdings();
    for outage in 0..OUTAGES {
        // One client's line, or the server's; with the server's, its router may reset everything
        // first, so that all clients know in the same moment.
        let (host, gone) = match outage % 4 {
            0 => (play.sites[0].host, 0..1),
            _ => (play.server_host, 0..HOMES),
        };
        play.driver.world.borrow_mut().isolate(host, OUTAGE);
        if outage % 4 > 1 {
            let mut world = play.driver.world.borrow_mut();
            world.cuttable().into_iter().for_each(|conn| world.cut(conn));
        }
        let heals = play.now() + OUTAGE;
        let dials = play.dials_until(heals);
        for site in 0..HOMES {
            let dialled = dials.iter().filter(|(_, client)| *client == site).count();
            // Ten seconds for each attempt and a pause of half to all of five, but for those
            // until the loss is known and the first pauses.
            let expected = if gone.contains(&site) { 38..=60 } else { 0..=0 };
            assert!(expected.contains(&dialled), "outage {outage}: client {site}: {dialled} dials");
        }
        assert!(rushes(&dials) <= 1, "outage {outage}: a thundering herd: {dials:?}");

        let late = serve_all(&mut play, heals);
        assert!(late.is_empty(), "outage {outage}: homes {late:?} are not served");
        // The visitors leave nothing that a later round would have to go through.
        play.run(QUIET);
        assert_eq!(play.holdings(), before, "after outage {outage}");
    }
}

/// Tenths of a second in which more than three clients dialled. One is chance, or the moment when
/// all lost the server.
fn rushes(dials: &[(Time, usize)]) -> usize {
    let mut tenths: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (at, client) in dials {
        let tenth = tenths.entry(at.0 / nanos(100 * MILLI)).or_default();
        if !tenth.contains(client) {
            tenth.push(*client);
        }
    }
    tenths.values().filter(|clients| clients.len() > 3).count()
}

/// A visitor each second for whoever has not been served since `healed`, until all are; those who
/// are not after ten seconds.
fn serve_all(play: &mut Play, healed: Time) -> Vec<usize> {
    let mut unserved: Vec<usize> = (0..HOMES).collect();
    for second in 1..=10 {
        let visits: Vec<_> = unserved.iter().map(|home| play.drop_in(*home, play.now())).collect();
        play.run_until(healed + second * SECOND);
        let served = |at: usize| play.judge(visits[at], Party::Visitor).is_ok();
        let waiting = unserved.iter().enumerate().filter(|(at, _)| !served(*at));
        unserved = waiting.map(|(_, home)| *home).collect();
        if unserved.is_empty() {
            break;
        }
    }
    unserved
}
