//! Several homes for one service: whatever befalls one of them, its visitors are brought to the
//! others, and nobody is served by two.

use std::net::SocketAddr;

use underpass::proto::time::Time;

use super::actors::Homes;
use super::files::{Dialect, Ports, server_config};
use super::play::*;
use super::programs::Actor;
use super::rng::Rng;
use super::story::Party;
use super::world::Tuning;

/// What happens to a home.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    ClientCrashes,
    ClientStarts,
    ProgramCrashes,
    ProgramStarts,
}

/// A server whose services are shared in this way by so many homes, of which the first is spared
/// and no backup.
fn house(seed: u64, rng: &mut Rng, homes: usize) -> Play {
    let balance = *rng.pick(&["least", "round_robin", "source"]);
    let token = "token = \"t0\"\n";
    let file = server_config(&[Dialect::Native], true, Ports::One);
    let file = file.replace(token, &format!("{token}balance = \"{balance}\"\n"));
    let mut play = Play::with(seed, Tuning::draw(rng, false), true, FEW, &file);
    play.book.borrow_mut().homes_share = true;
    for home in 0..homes {
        let site = play.add_site(0);
        let (weight, backup) = (rng.between(1, 5), home > 0 && rng.chance(1, 4));
        let part = format!("{token}weight = {weight}\nbackup = {backup}\n");
        let config = &mut play.sites[site].config;
        *config = config.replace(token, &part);
        // One of its services is looked at, so that it falls ill and gets well again.
        let web = "[client.services.web0]\n";
        assert!(config.contains(web) && config.contains("backup"));
        *config = config.replace(
            web,
            &format!("{web}health_check = {{ interval = 2, timeout = 2, fall = 2, rise = 1 }}\n"),
        );
        play.start(site);
    }
    play
}

fn happen(play: &mut Play, site: usize, event: Event) {
    let task = match event {
        Event::ClientCrashes | Event::ClientStarts => play.sites[site].client,
        Event::ProgramCrashes | Event::ProgramStarts => play.sites[site].homes,
    };
    match event {
        Event::ClientCrashes | Event::ProgramCrashes => {
            let process = play.driver.tasks[task].process;
            play.driver.world.borrow_mut().crash(process, false);
            play.driver.stop(task);
        }
        Event::ClientStarts => play.start(site),
        Event::ProgramStarts => {
            let (process, net) = play.process(play.sites[site].host, "home");
            let listen = [443, 2222].map(|port| SocketAddr::from(([127, 0, 0, 1], port))).to_vec();
            let program = Actor::Homes(Homes::new(net, play.book.clone(), 0, listen));
            play.driver.start(task, process, program);
        }
    }
}

#[test]
fn what_befalls_one_of_several_homes_is_not_their_visitors_concern() {
    const SPAN: u64 = 60;
    let (mut went_on, mut hit) = (0, 0);
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let homes = rng.between(2, 4) as usize;
        let mut play = house(seed, &mut rng, homes);
        play.run(WARM_UP);
        let begin = play.now();
        let mut plan = Vec::new();
        for site in 1..homes {
            let at = begin + SECOND * rng.between(1, 30) as u32;
            let again = at + SECOND * rng.between(2, 20) as u32;
            let (breaks, mends) = match rng.chance(1, 2) {
                true => (Event::ClientCrashes, Event::ClientStarts),
                false => (Event::ProgramCrashes, Event::ProgramStarts),
            };
            plan.extend([(at, site, breaks), (again, site, mends)]);
        }
        plan.sort();
        let at_any_time = (0..60).map(|_| begin + rng.below(SPAN * 1000) as u32 * MILLI);
        let mut starts: Vec<_> = at_any_time.collect();
        // And many just before something happens and behind it.
        for (at, ..) in &plan {
            let before = Time(at.0 - SLACK.as_nanos() as u64);
            starts.extend((0..12).map(|_| before + rng.below(400) as u32 * MILLI));
        }
        let visits: Vec<_> =
            starts.into_iter().map(|start| (play.drop_in(0, start), start)).collect();
        for (at, site, event) in &plan {
            play.run_until(*at);
            happen(&mut play, *site, *event);
        }
        play.run_until(begin + SECOND * (SPAN as u32 + 60));
        for (id, start) in visits {
            // Who was there when a home broke may have had a byte of it.
            let done = play.book.borrow().stories[id].witnesses[0].done;
            let is_hit = plan.iter().any(|(at, _, event)| {
                let breaks = matches!(event, Event::ClientCrashes | Event::ProgramCrashes);
                breaks && start <= *at && done.is_none_or(|done| done >= at.0)
            });
            let served = play.judge(id, Party::Visitor);
            assert!(is_hit || served.is_ok(), "seed {seed}, visitor {id}: {served:?}");
            let asked = (0..homes).filter(|site| play.served_at(*site, id)).count();
            went_on += usize::from(asked > 1 && served.is_ok());
            hit += usize::from(is_hit);
        }
    }
    assert!(hit > 0, "nobody was there when a home broke: the test shows nothing");
    assert!(went_on > 0, "nobody was brought to another home: the test shows nothing");
}
