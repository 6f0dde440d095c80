//! Clients with a valid token, which is worth one service and not the server.

use super::*;

/// Links at rest of a session, and a few that are on their way.
const FEW_LINKS: usize = 4 + 8;
/// Sessions that may wait for their service to be free again.
const LOSERS: usize = 24;

/// HELLO with a new instance and REGISTER, 300 times: the losers have no service any more.
#[test]
fn one_token_does_not_fill_the_house_with_sessions() {
    for noise in [true, false] {
        let mut play = Play::besieged(tuning(), 1, noise, 512, "");
        let gang = play.add_impostors(0);
        let (begin, until) = (play.now(), play.now() + MINUTE);
        for number in 0..300 {
            let part = Part::Client(Malice { obeys: false, ..Malice::polite(rogue()) });
            play.send_impostor(&gang, begin + number * 50 * MILLI, part, until);
        }
        let guests = play.guests(0, SECOND / 4, MINUTE);
        let mut most = 0;
        play.watch(MINUTE, |census| most = most.max(census.admitted[1]));
        let tally = gang.report.borrow().clone();
        assert!(tally.accepted >= 300, "{tally:?}");
        // One has the rogue's service and one the home's.
        assert!((2..=2 + LOSERS).contains(&most), "{most} sessions: {tally:?}");
        play.run(SECOND);
        play.assert_all_served(&guests);
        assert_eq!(play.denied(), 0);
        assert_eq!(play.driver.stop(gang.task).map(drop), Some(()));
        play.run(MINUTE);
        play.assert_at_rest();
    }
}

/// It dials hundreds of links that nobody has asked for, and gives none back.
#[test]
fn one_session_keeps_no_links_that_others_need() {
    let mut play = Play::besieged(tuning(), 1, true, 1024, "");
    let (gang, mob) = (play.add_impostors(0), play.add_crowd());
    let begin = play.now();
    // It does so when a visitor of its own has come, as if it needed them.
    let links = LinkPart::Greedy(900);
    let part = Part::Client(Malice { links, ..Malice::polite(rogue()) });
    play.send_impostor(&gang, begin, part, begin);
    let stays = [eager(vec![pause(30 * SECOND), Act::Reset]), Script::default()];
    play.intrude(mob, None, "rogue.example", begin + 2 * SECOND, stays);
    play.run(6 * SECOND);
    let tally = gang.report.borrow().clone();
    assert!(tally.leases == 1 && tally.dialled > 900, "{tally:?}");
    assert!(tally.open_links <= FEW_LINKS + 1, "{tally:?}");
    let crowds = [(); 20].map(|()| play.add_crowd());
    let rush = play.now();
    let guests = (0..250).map(|number| {
        let start = rush + number as u32 * MILLI;
        (play.stay_from(crowds[number % 20], 0, start, 5 * SECOND), start + 6 * SECOND)
    });
    let guests = guests.collect::<Vec<_>>();
    play.run(10 * SECOND);
    guests.iter().for_each(|(guest, by)| play.assert_served(*guest, *by));
    assert_eq!(play.driver.stop(gang.task).map(drop), Some(()));
    play.run(MINUTE);
    play.assert_at_rest();
}

/// A home that is never ready again after its visitors.
#[test]
fn a_link_that_is_never_ready_again_is_given_up() {
    const VISITS: usize = 40;
    let mut play = Play::besieged(tuning(), 1, true, FEW, "");
    let (gang, mob) = (play.add_impostors(0), play.add_crowd());
    let begin = play.now();
    let links = LinkPart::NeverReady;
    let part = Part::Client(Malice { links, ..Malice::polite(rogue()) });
    play.send_impostor(&gang, begin, part, begin);
    for number in 0..VISITS {
        let ends = [eager(vec![Act::Fin, Act::AwaitEnd]), Script::default()];
        let start = begin + (number as u32 + 1) * SECOND;
        play.intrude(mob, None, "rogue.example", start, ends);
    }
    play.run(2 * MINUTE);
    let tally = gang.report.borrow().clone();
    assert!(tally.leases == VISITS && tally.open_links >= VISITS, "{tally:?}");
    play.run(HOUR);
    let tally = gang.report.borrow().clone();
    assert!(tally.open_links <= FEW_LINKS, "{tally:?}");
    let guest = play.drop_in(0, play.now());
    play.run(SECOND);
    play.assert_served(guest, play.now());
    assert_eq!(play.driver.stop(gang.task).map(drop), Some(()));
    play.run(MINUTE);
    play.assert_at_rest();
}

/// A spare link that says RESET as fast as it goes; and one that says what only a server says.
#[test]
fn spare_links_say_nothing() {
    for links in [LinkPart::Resets(500_000), LinkPart::Confused] {
        let tuning = Tuning { window: (4 << 20, 4 << 20), ..tuning() };
        let mut play = Play::besieged(tuning, 1, false, FEW, "");
        let gang = play.add_impostors(0);
        let begin = play.now();
        let part = Part::Client(Malice { links, ..Malice::polite(rogue()) });
        play.send_impostor(&gang, begin, part, begin);
        let guests = play.guests(0, SECOND / 4, 5 * SECOND);
        play.run(6 * SECOND);
        let tally = gang.report.borrow().clone();
        // Each is ended, and another one asked for.
        assert!(tally.links > 2 * 4, "{tally:?}");
        play.assert_all_served(&guests);
        play.assert_fair_turns();
        assert_eq!(play.driver.stop(gang.task).map(drop), Some(()));
        play.run(MINUTE);
        play.assert_at_rest();
    }
}

/// A valid REGISTER, 10,000 times: it is one service all the time, and the log has one line of it.
#[test]
fn who_repeats_himself_is_logged_once() {
    let mut play = Play::besieged(tuning(), 1, true, FEW, "");
    let gang = play.add_impostors(0);
    let begin = play.now();
    let part = Part::Client(Malice { registers: 10_000, ..Malice::polite(rogue()) });
    play.send_impostor(&gang, begin, part, begin);
    let guests = play.guests(0, SECOND / 4, 20 * SECOND);
    let lines = ear::listen(|| play.run(21 * SECOND));
    let tally = gang.report.borrow().clone();
    assert!(tally.accepted >= 100, "{tally:?}");
    let told = lines.iter().filter(|line| line.contains("rogue")).count();
    assert!(told <= 2, "{told} lines: {:?}", &lines[..3]);
    play.assert_all_served(&guests);
    assert_eq!(play.driver.stop(gang.task).map(drop), Some(()));
    play.run(MINUTE);
    play.assert_at_rest();
}

/// Its provider gives it another address. Visitors of all its services wait; it comes back and
/// registers them one after the other.
#[test]
fn a_reconnect_keeps_those_who_wait_for_all_services() {
    let mut play = Play::besieged(tuning(), 1, true, FEW, "");
    let client = play.driver.tasks[play.sites[0].client].process;
    play.driver.world.borrow_mut().renumber(client);
    // The first ones get its links, which are dead.
    let lost = play.now() + MILLI;
    for _ in 0..4 {
        let visitor = eager(vec![pause(MINUTE), Act::Reset]);
        play.intrude(0, Some(0), "h0.example", lost, [visitor, Script::default()]);
    }
    let waits = play.now() + 100 * MILLI;
    let over_tls = [(); 4].map(|()| play.drop_in(0, waits));
    let over_tcp = [(); 4].map(|()| play.drop_in_by_port(0, waits));
    play.run(10 * SECOND);
    for guest in over_tls.into_iter().chain(over_tcp) {
        play.assert_served(guest, waits + 5 * SECOND);
    }
    play.run(2 * MINUTE);
    play.assert_at_rest();
}

impl Play {
    /// A short visit of `home` by the port of its own.
    fn drop_in_by_port(&mut self, home: usize, start: Time) -> StoryId {
        let id = self.book.borrow().stories.len();
        let opening = client_hello(id, None, 300, &mut self.rng);
        let visitor = eager(vec![Act::Send(opening.len()), Act::Fin]);
        let scripts = [visitor, eager(vec![Act::Send(2000), Act::Fin])];
        let (port, header, witnesses) = (Some(HOME_PORT), Vec::new(), Default::default());
        let (ending, at) = (Ending::Both, server_port(home));
        let story = Story { ending, home: Some(home), port, header, opening, scripts, witnesses };
        self.tell(0, at, start, story)
    }
}
