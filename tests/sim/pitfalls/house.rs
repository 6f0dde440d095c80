//! A full house: strangers who stay, and descriptors that are few.

use super::*;

// P11.

#[test]
fn p11_silent_peers_at_the_tunnel_port_keep_nobody_waiting() {
    const PEERS: u64 = 500;
    // Silent ones; then ones that replay a recorded first message, which costs the server most.
    for replay in [false, true] {
        let mut play = Play::new(11, tuning(), 1, true, MANY);
        play.add_site(0);
        let crowds = [0, 1, 2, 3].map(|_| play.add_crowd());
        let words = if replay { handshake(&play.sites[0].config) } else { Vec::new() };
        let base = play.strangers();
        // They come all the time, one each two milliseconds; the client finds a full house.
        let begin = play.now() + SECOND;
        for peer in 0..4 * PEERS {
            let start = begin + Duration::from_nanos(play.rng.below(4 * nanos(SECOND)));
            let acts = Vec::from_iter(replay.then_some(Act::Send(words.len())));
            play.stranger(crowds[peer as usize % 4], TUNNEL, start, words.clone(), acts);
        }
        play.run_until(begin + 2 * SECOND);
        assert_eq!(play.strangers() - base, STRANGERS);
        play.start(0);
        let visit = play.drop_in(0, play.now() + SECOND);
        let by = play.now() + 2 * SECOND;
        // Beside its own, and those of the strangers, the server needs few.
        let (full, mut most) = (base + STRANGERS, 0);
        let server = play.driver.tasks[play.server].process;
        let world = play.driver.world.clone();
        let look = |_: &mut Driver<Actor>| {
            most = most.max(world.borrow().open_descriptors(server));
            false
        };
        play.driver.run_until(by, look).unwrap();
        play.assert_served(visit, by);
        assert!((full..=full + 10).contains(&most), "{most} open, {full} with all strangers");
        // Behind a whole message there may be another one.
        let step = if replay { STEP_TIME } else { Duration::ZERO };
        play.run(PROOF_TIME + step + 2 * SECOND);
        assert_eq!(play.strangers(), base);
    }
}

// P12.

#[test]
fn p12_few_descriptors_hold_the_channels_of_many_rathole_services() {
    // 24 services, each with a control channel; with eight spare ones for each they would be 198.
    const HOMES: usize = 3;
    let file = server_config(&[Dialect::Rathole; HOMES], true, Ports::One);
    let mut play = Play::with(12, tuning(), true, 128, &file);
    (0..HOMES).for_each(|home| play.start_rathole_site(home));
    play.run(WARM_UP);
    let before = play.holdings();
    let begin = play.now();
    let at = |visit: usize| begin + SECOND * visit as u32 / 4;
    let visits = Vec::from_iter((0..30).map(|visit| play.drop_in(visit % HOMES, at(visit))));
    let by = at(30) + SECOND;
    play.run_until(by);
    visits.into_iter().for_each(|visit| play.assert_served(visit, by));
    play.run(MINUTE);
    assert_eq!(play.holdings(), before);
}
