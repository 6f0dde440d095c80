//! Services that several homes share.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::*;

/// A service that these sessions share, each with so many spare links.
fn shared(balance: Balance, parts: &[Part], links: u32) -> (Broker<Name>, ServiceId) {
    let mut broker = Broker::new(1);
    let service = ServiceId::nth(0);
    broker.set_balance(service, Some(balance));
    for (session, part) in (1..).zip(parts) {
        broker.begin_session(session, Some([session as u8; 32]), Terms::NATIVE);
        broker.claim(session, service, *part, at(0));
        for visitor in 0..links {
            broker.ask(
                Seeker { tried: &others(session), ..seeker(1_000_000 + visitor, service) },
                at(0),
            );
        }
        for link in 0..links {
            assert!(broker.link_arrived(session, session * 10_000 + link, at(0)));
        }
        for link in 0..links {
            broker.link_returned(session, session * 10_000 + link, at(0));
        }
    }
    effects(&mut broker);
    (broker, service)
}

fn others(session: Name) -> Vec<Name> {
    (1..=20).filter(|other| *other != session).collect()
}

fn weighing(weight: u8) -> Part {
    Part { weight, ..Part::default() }
}

/// The session that a visitor is brought to.
fn home_of(broker: &mut Broker<Name>, seeker: Seeker<'_, Name>, now: Time) -> Option<Name> {
    match broker.ask(seeker, now) {
        Answer::Link { session, .. } => Some(session),
        Answer::Queued => panic!("no link is spare"),
        Answer::No(Denial::Offline) => None,
        Answer::No(Denial::Crowded) => panic!("too many wait"),
    }
}

#[test]
fn round_robin_is_exact_over_every_round_of_the_weights() {
    let (mut broker, service) =
        shared(Balance::RoundRobin, &[weighing(3), weighing(1), weighing(2)], 60);
    for round in 0..10 {
        let mut visits = BTreeMap::new();
        for visitor in 0..6 {
            let home = home_of(&mut broker, seeker(round * 6 + visitor, service), at(0));
            *visits.entry(home).or_insert(0) += 1;
        }
        assert_eq!(visits, [(Some(1), 3), (Some(2), 1), (Some(3), 2)].into(), "round {round}");
    }
}

#[test]
fn least_keeps_the_loads_as_the_weights_say() {
    let (mut broker, service) = shared(Balance::Least, &[weighing(1), weighing(3)], 60);
    for visitor in 0..40 {
        home_of(&mut broker, seeker(visitor, service), at(0));
    }
    let loads = |broker: &Broker<Name>| {
        broker.holders(service).map(|(_, _, visitors)| visitors).collect::<Vec<_>>()
    };
    assert_eq!(loads(&broker), [10, 30]);
    // Those of the second leave: it has the next ones.
    for link in 0..30 {
        broker.link_returned(2, 20_000 + link + 30, at(0));
    }
    assert_eq!(loads(&broker), [10, 0]);
    for visitor in 0..30 {
        assert_eq!(home_of(&mut broker, seeker(100 + visitor, service), at(0)), Some(2));
    }
}

#[test]
fn a_source_stays_with_its_home_and_nobody_moves_but_those_of_one_that_goes() {
    let parts = [weighing(1), weighing(1), weighing(2)];
    let (mut broker, service) = shared(Balance::Source, &parts, 60);
    let network = |number: u32| Network::V4(Ipv4Addr::from(number.wrapping_mul(2_654_435_761)));
    let ask = |broker: &mut Broker<Name>, number, tried: &[Name]| {
        let seeker = Seeker { id: number, network: network(number), service, tried };
        let found = broker.pick(service, seeker.network, seeker.tried, at(0));
        found.expect("a home")
    };
    let homes: Vec<Name> = (0..4000).map(|number| ask(&mut broker, number, &[])).collect();
    let count = |home| homes.iter().filter(|it| **it == home).count() as f64;
    // Chi-square with two degrees of freedom: 13.8 is passed by one fair draw of a thousand.
    let expected = [(1, 1000.0), (2, 1000.0), (3, 2000.0)];
    let chi_square: f64 =
        expected.iter().map(|(home, fair)| (count(*home) - fair).powi(2) / fair).sum();
    assert!(chi_square < 13.8, "{chi_square}");
    for (number, home) in (0..).zip(&homes) {
        assert_eq!(ask(&mut broker, number, &[]), *home, "the same each time");
        let without_first = ask(&mut broker, number, &[1]);
        assert!(*home == 1 || without_first == *home, "one that goes moves its own alone");
    }
}

#[test]
fn a_backup_has_visitors_only_when_no_other_is_well() {
    let backup = Part { backup: true, ..Part::default() };
    let (mut broker, service) = shared(Balance::Least, &[Part::default(), backup], 20);
    for visitor in 0..5 {
        assert_eq!(home_of(&mut broker, seeker(visitor, service), at(0)), Some(1));
    }
    broker.set_health(1, service, false);
    assert_eq!(home_of(&mut broker, seeker(5, service), at(1)), Some(2));
    broker.set_health(2, service, false);
    assert!(!broker.is_online(service, at(1)));
    assert_eq!(home_of(&mut broker, seeker(6, service), at(1)), None);
    broker.set_health(1, service, true);
    assert_eq!(home_of(&mut broker, seeker(7, service), at(1)), Some(1));
}

#[test]
fn three_refusals_put_a_home_behind_the_others_until_it_takes_one() {
    let (mut broker, service) = shared(Balance::RoundRobin, &[weighing(1), weighing(1)], 40);
    let mut next = 0;
    let mut visit = |broker: &mut Broker<Name>, now| {
        next += 1;
        home_of(broker, seeker(next, service), now)
    };
    for _ in 0..2 {
        broker.refused(1, service, at(0));
    }
    assert!((0..4).any(|_| visit(&mut broker, at(0)) == Some(1)), "twice may happen");
    assert!(broker.is_doubtful(1, service) && !broker.is_doubtful(2, service));
    broker.refused(1, service, at(0));
    assert!((0..8).all(|_| visit(&mut broker, at(9)) == Some(2)));
    // One is sent there every ten seconds, to see.
    let to_it = (0..8).filter(|_| visit(&mut broker, at(10)) == Some(1)).count();
    assert_eq!(to_it, 1);
    broker.accepted(1, service);
    let to_it = (0..8).filter(|_| visit(&mut broker, at(11)) == Some(1)).count();
    assert!((3..=5).contains(&to_it), "{to_it}");
    // Where there is nobody else, it has all.
    for _ in 0..3 {
        broker.refused(1, service, at(11));
    }
    broker.end_session(2);
    assert_eq!(visit(&mut broker, at(11)), Some(1));
}

#[test]
fn nobody_asks_a_home_that_is_alone_whether_it_takes_its_visitors() {
    let (mut broker, [service, _]) = with_session(1, CLIENT);
    for _ in 0..3 {
        broker.refused(1, service, at(0));
    }
    assert!(!broker.is_doubtful(1, service), "each visitor would cost a message");
    broker.set_balance(service, Some(Balance::Least));
    broker.refused(1, service, at(0));
    assert!(broker.is_doubtful(1, service));
}

#[test]
fn those_who_wait_for_a_home_that_goes_or_falls_ill_are_sent_to_another() {
    for falls_ill in [false, true] {
        let mut broker = Broker::new(1);
        let service = ServiceId::nth(0);
        broker.set_balance(service, Some(Balance::RoundRobin));
        for session in [1, 2] {
            let instance = Some([session as u8; 32]);
            broker.begin_session(session, instance, Terms::NATIVE);
            broker.claim(session, service, Part::default(), at(0));
        }
        assert_eq!(broker.ask(seeker(10, service), at(0)), Answer::Queued);
        assert_eq!(broker.ask(seeker(11, service), at(0)), Answer::Queued);
        let waits: Vec<_> = broker.holders(service).map(|(.., visitors)| visitors).collect();
        assert_eq!(waits, [1, 1]);
        effects(&mut broker);
        match falls_ill {
            true => broker.set_health(1, service, false),
            false => _ = broker.end_session(1),
        }
        let again = but_moves(effects(&mut broker));
        let [Effect::Again { visitor }] = again[..] else { panic!("{again:?}") };
        assert_eq!(broker.ask(seeker(visitor, service), at(0)), Answer::Queued);
        assert_eq!(broker.holders(service).last().map(|(.., visitors)| visitors), Some(2));
        broker.set_health(2, service, false);
        let away = but_moves(effects(&mut broker));
        assert_eq!(away.len(), 2);
        assert!(away.iter().all(|effect| matches!(effect, Effect::TurnAway { .. })), "{away:?}");
    }
}

#[test]
fn a_client_that_comes_back_takes_its_own_part_and_no_other() {
    let (mut broker, service) = shared(Balance::Least, &[weighing(1), weighing(1)], 4);
    broker.begin_session(3, Some([1; 32]), Terms::NATIVE);
    broker.claim(3, service, weighing(5), at(1));
    let ends = effects(&mut broker);
    let end = Effect::End { session: 1, why: Replaced::ByItself };
    assert!(ends.contains(&end) && !ends.iter().any(|it| matches!(it, Effect::Withdraw { .. })));
    let holders: Vec<_> = broker.holders(service).map(|(session, ..)| session).collect();
    assert_eq!(holders, [2, 3]);
    // Shared no more: the last one has it.
    broker.set_balance(service, None);
    let why = Withdrawn::ByAnother;
    assert!(effects(&mut broker).contains(&Effect::Withdraw { session: 2, service, why }));
    assert_eq!(broker.owner(service), Some(3));
}

#[test]
fn sixteen_may_share_a_service() {
    let (mut broker, service) = shared(Balance::Least, &[Part::default(); HOMES], 1);
    broker.begin_session(17, Some([17; 32]), Terms::NATIVE);
    assert!(!broker.has_place(service, 17) && broker.has_place(service, 16));
    broker.end_session(4);
    assert!(broker.has_place(service, 17));
}
