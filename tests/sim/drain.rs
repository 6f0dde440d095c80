//! Draining, in virtual time: each play is given twice, with and without it. Whoever would have
//! been done within the time must be served all the same.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use underpass::config::Config;
use underpass::engine::server::Server;
use underpass::proto::time::Time;

use super::driver::Driver;
use super::files::{Dialect, Ports, server_config};
use super::play::*;
use super::programs::Actor;
use super::rng::Rng;
use super::story::{Act, End, Ending, Party, StoryId};

/// As the engines have it when their files say nothing.
const DRAIN_TIME: Duration = Duration::from_secs(3);
const SEEDS: u64 = 25;
const VISITORS: usize = 24;

/// Who is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Server,
    /// The client of home 0, native.
    Client,
    /// The same with rathole's protocol.
    RatholeClient,
}

/// A visitor: of which home, and when.
struct Visit {
    id: StoryId,
    home: usize,
    start: Time,
}

/// Two homes and their visitors, around the moment that comes back.
fn play(seed: u64, who: Who) -> (Play, Vec<Visit>, Time) {
    let dialects = match who {
        Who::RatholeClient => vec![Dialect::Rathole, Dialect::Native],
        Who::Server | Who::Client => vec![Dialect::Native; 2],
    };
    let file = server_config(&dialects, true, Ports::One);
    let mut play = Play::with(seed, tuning(), true, FEW, &file);
    match who {
        Who::RatholeClient => play.start_rathole_site(0),
        Who::Server | Who::Client => {
            let site = play.add_site(0);
            play.start(site);
        }
    }
    let site = play.add_site(1);
    play.start(site);
    play.run(WARM_UP);
    let mut rng = Rng::new(seed);
    let moment = play.now() + 6 * SECOND;
    let mut visits = Vec::new();
    for _ in 0..VISITORS {
        let home = rng.below(2) as usize;
        let start = play.now() + MILLI * rng.below(9_000) as u32;
        let span = MILLI * rng.below(7_000) as u32;
        let bytes = rng.log_between(1, 300_000) as usize;
        let sends = match rng.chance(1, 2) {
            true => vec![Act::Send(bytes), pause(span)],
            false => drip(10, span / 10),
        };
        let [visitor, at_home] = match rng.chance(1, 2) {
            true => [vec![pause(span)], sends],
            false => [sends, vec![pause(span), Act::Send(bytes)]],
        };
        let ends = |acts: Vec<Act>| eager([acts, vec![Act::Fin, Act::AwaitEnd]].concat());
        let id = play.visit(home, start, Ending::Both, ends(visitor), ends(at_home));
        visits.push(Visit { id, home, start });
    }
    (play, visits, moment)
}

fn drain(driver: &mut Driver<Actor>, task: usize) -> bool {
    let goes_on = driver.tasks[task].program.as_mut().expect("it runs").drain();
    driver.touched(task);
    goes_on
}

fn is_over(play: &Play, task: usize) -> bool {
    play.driver.tasks[task].program.is_none()
}

#[test]
fn nobody_is_cut_off_who_would_have_been_done_in_time() {
    let mut in_time = [0; 3];
    for seed in 0..SEEDS {
        for who in [Who::Server, Who::Client, Who::RatholeClient] {
            let (mut undisturbed, visits, moment) = play(seed, who);
            undisturbed.run_until(moment + MINUTE);
            let (mut drained, _, _) = play(seed, who);
            let task = match who {
                Who::Server => drained.server,
                Who::Client | Who::RatholeClient => drained.sites[0].client,
            };
            let process = drained.driver.tasks[task].process;
            drained.run_until(moment);
            assert!(drain(&mut drained.driver, task));
            let begins = moment + SLACK;
            // Nobody polls when it is asked from outside: its time counts from its last turn.
            let ends_at = match &drained.driver.tasks[task].program {
                Some(Actor::Server(server, _)) => server.ends_at(),
                Some(Actor::Client(client, _)) => client.ends_at(),
                _ => None,
            };
            let end = drained.driver.world.borrow().world_time(process, ends_at.unwrap());
            assert!(end <= moment + DRAIN_TIME);
            drained.run_until(end + SLACK);
            let context = format!("seed {seed}, {who:?}");
            assert!(is_over(&drained, task), "{context}: it goes on");
            let open = drained.driver.world.borrow().open_descriptors(process);
            assert_eq!(open, 0, "{context}: descriptors are left");
            drained.run_until(moment + MINUTE);
            for Visit { id, home, start } in visits {
                let done = undisturbed.judge(id, Party::Visitor);
                let done = done.unwrap_or_else(|why| panic!("{context}, story {id}: {why}"));
                let seen = drained.judge(id, Party::Visitor);
                let is_concerned = who == Who::Server || home == 0;
                let context = format!(
                    "{context}, story {id} from {start:?} to {done:?}, ends {end:?}: {seen:?}"
                );
                if !is_concerned || (start + SLACK < moment && done + SLACK < end) {
                    assert!(seen.is_ok(), "{context}");
                    in_time[who as usize] += usize::from(is_concerned);
                } else if start > begins {
                    let story = &drained.book.borrow().stories[id];
                    assert!(!story.witnesses[1].began, "{context}: a newcomer is served");
                    let end = story.witnesses[0].end;
                    assert!(end.is_some_and(|end| end != End::Eof || who != Who::Server));
                } else {
                    let witness = drained.book.borrow().stories[id].witnesses[0].clone();
                    assert!(witness.done.is_some(), "{context}: hangs");
                }
            }
        }
    }
    assert!(in_time.iter().all(|count| *count > 50), "too few to mean anything: {in_time:?}");
}

/// It ends with the last one, long before its time, and a second signal ends it at once.
#[test]
fn it_ends_as_soon_as_nobody_is_left() {
    for who in [Who::Server, Who::Client, Who::RatholeClient] {
        for again in [false, true] {
            let (mut play, _, _) = play(7, who);
            play.run(MINUTE);
            let task = if who == Who::Server { play.server } else { play.sites[0].client };
            let begin = play.now();
            let last = play.stay_from(0, 0, begin, 2 * SECOND);
            play.run(SECOND);
            assert!(drain(&mut play.driver, task));
            play.run(SECOND / 2);
            assert!(!is_over(&play, task), "{who:?}: a visitor is here");
            if again {
                assert!(!drain(&mut play.driver, task), "{who:?}: it drains already");
                continue;
            }
            play.run(SECOND / 2 + SLACK + SLACK);
            play.assert_served(last, begin + 2 * SECOND + SLACK);
            assert!(is_over(&play, task), "{who:?}: nobody is left");
        }
    }
}

/// A home that is told of the server's end dials it again when it is back, in the usual time.
#[test]
fn a_server_that_was_drained_is_dialled_again() {
    let mut play = Play::settled(5, tuning(), 2);
    let server = play.server;
    assert!(drain(&mut play.driver, server));
    play.run(DRAIN_TIME + SLACK);
    assert!(is_over(&play, server));
    let (process, net) = play.process(play.server_host, "server");
    let file = server_config(&[Dialect::Native; 2], true, Ports::One);
    let config = Config::parse("server", &file, &|_| None).unwrap().server.unwrap();
    let program = Actor::Server(Server::new(config, net).unwrap(), Rc::new(RefCell::new(file)));
    play.driver.start(server, process, program);
    play.run(6 * SECOND);
    let visits = [0, 1].map(|home| play.drop_in(home, play.now()));
    let by = play.now() + SECOND;
    play.run(SECOND);
    visits.into_iter().for_each(|id| play.assert_served(id, by));
}
