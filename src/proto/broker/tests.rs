//! The broker alone: what each call leads to, and a small engine of numbers that keeps it honest.

mod sharing;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

type Name = u32;

const CLIENT: Option<Instance> = Some([1; 32]);
const OTHER: Option<Instance> = Some([2; 32]);

fn at(seconds: u64) -> Time {
    Time::default() + Duration::from_secs(seconds)
}

const HERE: Network = Network::V4(Ipv4Addr::new(192, 0, 2, 1));

/// One that has tried nowhere yet.
fn seeker(id: Name, service: ServiceId) -> Seeker<'static, Name> {
    Seeker { id, network: HERE, service, tried: &[] }
}

/// All effects so far but requests for links.
fn effects(broker: &mut Broker<Name>) -> Vec<Effect<Name>> {
    let all = std::iter::from_fn(|| broker.poll_effect());
    all.filter(|effect| !matches!(effect, Effect::Ask { .. })).collect()
}

/// The same without the services that have left their session.
fn but_moves(effects: Vec<Effect<Name>>) -> Vec<Effect<Name>> {
    effects.into_iter().filter(|effect| !matches!(effect, Effect::Moved { .. })).collect()
}

/// A broker with two services, both `session`'s, and no links.
fn with_session(session: Name, instance: Option<Instance>) -> (Broker<Name>, [ServiceId; 2]) {
    let mut broker = Broker::new(2);
    let services = [0, 1].map(ServiceId::nth);
    broker.begin_session(session, instance, Terms::NATIVE);
    services.into_iter().for_each(|service| broker.claim(session, service, Part::default(), at(0)));
    assert_eq!(effects(&mut broker), []);
    (broker, services)
}

#[test]
fn who_finds_no_link_waits_and_is_served_in_the_order_of_coming() {
    let (mut broker, [a, b]) = with_session(1, CLIENT);
    assert!(broker.link_arrived(1, 100, at(0)));
    assert_eq!(broker.ask(seeker(10, a), at(0)), Answer::Link { link: 100, session: 1 });
    for (visitor, service) in [(11, a), (12, b), (13, a)] {
        assert_eq!(broker.ask(seeker(visitor, service), at(0)), Answer::Queued);
    }
    broker.forget(11);
    broker.link_returned(1, 100, at(1));
    let open = |visitor, link| Effect::Open { visitor, link, session: 1 };
    assert_eq!(effects(&mut broker), [open(12, 100)]);
    assert!(broker.link_arrived(1, 101, at(1)));
    assert_eq!(effects(&mut broker), [open(13, 101)]);
    assert_eq!(broker.waiting(), 0);
}

#[test]
fn a_reconnect_keeps_those_who_wait_for_every_service() {
    let (mut broker, [a, b]) = with_session(1, CLIENT);
    assert_eq!(broker.ask(seeker(10, a), at(0)), Answer::Queued);
    assert_eq!(broker.ask(seeker(11, b), at(0)), Answer::Queued);
    broker.begin_session(2, CLIENT, Terms::NATIVE);
    broker.claim(2, a, Part::default(), at(1));
    let end = Effect::End { session: 1, why: Replaced::ByItself };
    let moved = [a, b].map(|service| Effect::Moved { session: 1, service });
    assert_eq!(effects(&mut broker), [moved[0], moved[1], end]);
    broker.end_session(1);
    assert_eq!(effects(&mut broker), [], "nobody is turned away");
    // The other service is on its way: one who comes now waits as well.
    assert!(broker.is_online(b, at(2)));
    assert_eq!(broker.ask(seeker(12, b), at(2)), Answer::Queued);
    for link in [100, 101, 102] {
        assert!(broker.link_arrived(2, link, at(2)));
    }
    let open = |visitor, link| Effect::Open { visitor, link, session: 2 };
    assert_eq!(effects(&mut broker), [open(10, 100)], "the others' service is not here yet");
    broker.claim(2, b, Part::default(), at(3));
    assert_eq!(effects(&mut broker), [open(11, 102), open(12, 101)]);
}

#[test]
fn a_service_that_does_not_come_back_is_offline_again() {
    let (mut broker, [a, b]) = with_session(1, CLIENT);
    broker.begin_session(2, CLIENT, Terms::NATIVE);
    broker.claim(2, a, Part::default(), at(1));
    assert!(broker.is_online(b, at(10)));
    assert_eq!(broker.ask(seeker(10, b), at(12)), Answer::No(Denial::Offline));
    assert_eq!(broker.ask(seeker(11, b), at(9)), Answer::Queued);
    effects(&mut broker);
    broker.end_session(2);
    assert_eq!(but_moves(effects(&mut broker)), [Effect::TurnAway { visitor: 11 }]);
    assert!(!broker.is_online(b, at(9)));
}

#[test]
fn another_client_takes_one_service_with_those_who_wait_for_it() {
    let (mut broker, [a, b]) = with_session(1, CLIENT);
    assert_eq!(broker.ask(seeker(10, a), at(0)), Answer::Queued);
    assert_eq!(broker.ask(seeker(11, b), at(0)), Answer::Queued);
    broker.begin_session(2, OTHER, Terms::NATIVE);
    broker.claim(2, a, Part::default(), at(1));
    let why = Withdrawn::ByAnother;
    let withdraw = Effect::Withdraw { session: 1, service: a, why };
    assert_eq!(effects(&mut broker), [Effect::Moved { session: 1, service: a }, withdraw]);
    assert!(broker.has_service(1) && broker.owner(a) == Some(2));
    broker.end_session(1);
    assert_eq!(but_moves(effects(&mut broker)), [Effect::TurnAway { visitor: 11 }]);
    assert!(broker.link_arrived(2, 100, at(1)));
    assert_eq!(effects(&mut broker), [Effect::Open { visitor: 10, link: 100, session: 2 }]);
}

#[test]
fn a_service_that_is_gone_turns_away_who_waits_and_leaves_who_is_on_it() {
    let (mut broker, [a, b]) = with_session(1, CLIENT);
    assert!(broker.link_arrived(1, 100, at(0)));
    assert_eq!(broker.ask(seeker(10, a), at(0)), Answer::Link { link: 100, session: 1 });
    assert_eq!(broker.ask(seeker(11, a), at(0)), Answer::Queued);
    assert_eq!(broker.ask(seeker(12, b), at(0)), Answer::Queued);
    effects(&mut broker);
    broker.remove(a);
    let withdraw = Effect::Withdraw { session: 1, service: a, why: Withdrawn::Gone };
    let turned_away = Effect::TurnAway { visitor: 11 };
    assert_eq!(but_moves(effects(&mut broker)), [turned_away, withdraw]);
    assert_eq!(broker.ask(seeker(13, a), at(1)), Answer::No(Denial::Offline));
    assert!(broker.has_visitors(1) && broker.has_service(1));
    broker.link_returned(1, 100, at(2));
    let open = Effect::Open { visitor: 12, link: 100, session: 1 };
    assert_eq!(effects(&mut broker), [open], "the link is the session's still");
    // A session without a service, whose client comes back with a promise to one that goes.
    broker.begin_session(2, CLIENT, Terms::NATIVE);
    broker.remove(b);
    assert!(!broker.has_service(1) && broker.has_visitors(1));
    effects(&mut broker);
    broker.claim(2, b, Part::default(), at(3));
    assert_eq!((broker.owner(b), effects(&mut broker)), (None, vec![]), "it is no more");
}

#[test]
fn a_client_gives_up_what_it_has_and_nothing_else() {
    let (mut broker, [a, b]) = with_session(1, CLIENT);
    broker.begin_session(2, OTHER, Terms::NATIVE);
    broker.claim(2, b, Part::default(), at(0));
    assert_eq!(broker.ask(seeker(10, a), at(0)), Answer::Queued);
    effects(&mut broker);
    broker.release(1, b);
    assert_eq!((broker.owner(b), effects(&mut broker)), (Some(2), vec![]));
    broker.release(1, a);
    let [moved, away] =
        [Effect::Moved { session: 1, service: a }, Effect::TurnAway { visitor: 10 }];
    assert_eq!((broker.owner(a), effects(&mut broker)), (None, vec![moved, away]));
    broker.claim(1, a, Part::default(), at(1));
    assert_eq!(broker.owner(a), Some(1), "it may have it again");
}

#[test]
fn a_revoked_token_costs_its_session_that_service_and_its_visitors() {
    for instance in [CLIENT, None] {
        let (mut broker, [a, b]) = with_session(1, instance);
        for link in [100, 101, 102] {
            assert!(broker.link_arrived(1, link, at(0)));
        }
        assert_eq!(broker.ask(seeker(10, a), at(0)), Answer::Link { link: 102, session: 1 });
        assert_eq!(broker.ask(seeker(11, b), at(0)), Answer::Link { link: 101, session: 1 });
        assert_eq!(broker.ask_for_datagrams(a, HERE, at(0)), Some((100, 1)));
        effects(&mut broker);
        broker.withdraw(1, a, Withdrawn::Revoked);
        let let_go = |link| Effect::LetGo { link, why: Parted::Revoked };
        let last = match instance {
            Some(_) => Effect::Withdraw { session: 1, service: a, why: Withdrawn::Revoked },
            None => Effect::End { session: 1, why: Replaced::Withdrawn(Withdrawn::Revoked) },
        };
        assert_eq!(but_moves(effects(&mut broker)), [let_go(100), let_go(102), last]);
        assert_eq!(broker.owner(b), Some(1));
    }
}

#[test]
fn a_rathole_clients_lent_channels_outlive_its_control_channel() {
    for (instance, goes_on) in [(None, true), (CLIENT, false)] {
        let (mut broker, [a, _]) = with_session(1, instance);
        for link in [100, 101] {
            assert!(broker.link_arrived(1, link, at(0)));
        }
        assert_eq!(broker.ask(seeker(10, a), at(0)), Answer::Link { link: 101, session: 1 });
        effects(&mut broker);
        broker.end_session(1);
        let let_go = |link| Effect::LetGo { link, why: Parted::SessionEnded };
        let expected = if goes_on { vec![let_go(100)] } else { vec![let_go(100), let_go(101)] };
        assert_eq!(but_moves(effects(&mut broker)), expected);
        broker.link_lost(1, 101, Some(10));
        assert_eq!(effects(&mut broker), [Effect::Cut { visitor: 10, link: 101 }]);
    }
}

#[test]
fn channels_of_datagrams_end_with_their_control_channel() {
    for instance in [None, CLIENT] {
        let (mut broker, [a, _]) = with_session(1, instance);
        assert!(broker.link_arrived(1, 100, at(0)));
        assert_eq!(broker.ask_for_datagrams(a, HERE, at(0)), Some((100, 1)));
        effects(&mut broker);
        broker.end_session(1);
        let let_go = Effect::LetGo { link: 100, why: Parted::SessionEnded };
        assert_eq!(effects(&mut broker), [let_go]);
    }
}

#[test]
fn what_is_owed_to_others_is_no_room_for_more_than_the_rest() {
    let (mut broker, _) = with_session(1, CLIENT);
    broker.begin_session(2, OTHER, Terms::NATIVE);
    let service = ServiceId::nth(0);
    for visitor in 10..30 {
        assert_eq!(broker.ask(seeker(visitor, service), at(0)), Answer::Queued);
    }
    assert_eq!(broker.links_to_ask(1, 30, at(0)), 30);
    assert_eq!(broker.links_to_ask(2, 30, at(0)), 4, "its client may not have as many");
    broker.end_session(1);
    assert_eq!(broker.links_to_ask(2, 30, at(0)), 0);
}

#[test]
fn spare_links_are_given_up_for_those_who_wait_elsewhere() {
    let (mut broker, [a, b]) = with_session(1, CLIENT);
    broker.begin_session(2, OTHER, Terms::NATIVE);
    broker.claim(2, b, Part::default(), at(0));
    assert_eq!(broker.links_to_ask(1, 6, at(0)), 4);
    (100..106).for_each(|link| assert!(broker.link_arrived(1, link, at(0))));
    for visitor in 10..15 {
        assert_eq!(broker.ask(seeker(visitor, b), at(0)), Answer::Queued);
    }
    effects(&mut broker);
    // No room is left: all that the other one has go, the coldest first, but for its last.
    assert_eq!(broker.links_to_ask(2, 0, at(0)), 5);
    let let_go = |link| Effect::LetGo { link, why: Parted::Needed };
    assert_eq!(effects(&mut broker), [100, 101, 102, 103, 104].map(let_go));
    assert_eq!(broker.ask(seeker(20, a), at(0)), Answer::Link { link: 105, session: 1 });
}

/// What may happen to an engine.
#[derive(Debug, Clone, Copy)]
enum Step {
    Visitor { service: usize },
    Leave { which: usize },
    Session { client: u8 },
    Claim { which: usize, service: usize, backup: bool },
    Share { service: usize, balance: Option<Balance> },
    Health { which: usize, service: usize, is_well: bool },
    Refuse { which: usize },
    Drain { which: usize },
    Release { which: usize, service: usize },
    Revoke { which: usize, service: usize },
    Vanish { service: usize },
    SessionDies { which: usize },
    Link { which: usize },
    LinkDies { which: usize },
    LeaseEnds { which: usize },
    Wait { seconds: u64 },
}

fn balance() -> impl Strategy<Value = Option<Balance>> {
    prop_oneof![
        Just(None),
        Just(Some(Balance::Least)),
        Just(Some(Balance::RoundRobin)),
        Just(Some(Balance::Source)),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let which = 0..64usize;
    let step = prop_oneof![
        6 => (0..3usize).prop_map(|service| Step::Visitor { service }),
        2 => which.clone().prop_map(|which| Step::Leave { which }),
        2 => (0..3u8).prop_map(|client| Step::Session { client }),
        6 => (which.clone(), 0..3usize, any::<bool>())
            .prop_map(|(which, service, backup)| Step::Claim { which, service, backup }),
        1 => (0..3usize, balance()).prop_map(|(service, balance)| Step::Share { service, balance }),
        2 => (which.clone(), 0..3usize, any::<bool>())
            .prop_map(|(which, service, is_well)| Step::Health { which, service, is_well }),
        2 => which.clone().prop_map(|which| Step::Refuse { which }),
        1 => which.clone().prop_map(|which| Step::Drain { which }),
        1 => (which.clone(), 0..3usize)
            .prop_map(|(which, service)| Step::Release { which, service }),
        1 => (which.clone(), 0..3usize)
            .prop_map(|(which, service)| Step::Revoke { which, service }),
        1 => (0..3usize).prop_map(|service| Step::Vanish { service }),
        1 => which.clone().prop_map(|which| Step::SessionDies { which }),
        5 => which.clone().prop_map(|which| Step::Link { which }),
        1 => which.clone().prop_map(|which| Step::LinkDies { which }),
        3 => which.prop_map(|which| Step::LeaseEnds { which }),
        1 => (0..8u64).prop_map(|seconds| Step::Wait { seconds }),
    ];
    proptest::collection::vec(step, 0..120)
}

/// An engine without sockets: it does what the effects say, and knows what must hold.
struct Engine {
    broker: Broker<Name>,
    now: Time,
    next: Name,
    sessions: BTreeMap<Name, Option<Instance>>,
    /// Each with its session, and its visitor.
    links: BTreeMap<Name, (Name, Option<Name>)>,
    /// Each with its service.
    waiting: BTreeMap<Name, ServiceId>,
    served: BTreeMap<Name, ServiceId>,
}

impl Engine {
    fn new() -> Engine {
        Engine {
            broker: Broker::new(3),
            now: Time::default(),
            next: 0,
            sessions: BTreeMap::new(),
            links: BTreeMap::new(),
            waiting: BTreeMap::new(),
            served: BTreeMap::new(),
        }
    }

    fn name(&mut self) -> Name {
        self.next += 1;
        self.next
    }

    fn step(&mut self, step: Step) {
        let nth = |names: Vec<Name>, which: usize| names.get(which % names.len().max(1)).copied();
        let sessions: Vec<Name> = self.sessions.keys().copied().collect();
        let links: Vec<Name> = self.links.keys().copied().collect();
        match step {
            Step::Wait { seconds } => self.now = self.now + Duration::from_secs(seconds),
            Step::Visitor { service } => {
                let visitor = self.name();
                self.ask(visitor, ServiceId::nth(service), &[]);
            }
            Step::Leave { which } => {
                let all = self.waiting.keys().copied().collect();
                if let Some(visitor) = nth(all, which) {
                    self.waiting.remove(&visitor);
                    self.broker.forget(visitor);
                }
            }
            Step::Share { service, balance } => {
                self.broker.set_balance(ServiceId::nth(service), balance);
            }
            Step::Health { which, service, is_well } => {
                if let Some(session) = nth(sessions, which) {
                    self.broker.set_health(session, ServiceId::nth(service), is_well);
                }
            }
            // A home that cannot take its visitor, who asks for another one.
            Step::Refuse { which } => {
                if let Some(link) = nth(links, which)
                    && let Some((session, Some(visitor))) = self.links.get(&link).copied()
                    && let Some(service) = self.served.remove(&visitor)
                {
                    self.links.insert(link, (session, None));
                    self.broker.refused(session, service, self.now);
                    self.broker.link_returned(session, link, self.now);
                    self.ask(visitor, service, &[session]);
                }
            }
            Step::Drain { which } => {
                if let Some(session) = nth(sessions, which) {
                    self.broker.drain(session);
                }
            }
            Step::Session { client } => {
                let (id, instance) = (self.name(), (client > 0).then_some([client; 32]));
                self.sessions.insert(id, instance);
                self.broker.begin_session(id, instance, Terms::NATIVE);
            }
            Step::Claim { which, service, backup } => {
                if let Some(session) = nth(sessions, which) {
                    let service = ServiceId::nth(service);
                    let weight = if backup { 1 } else { 3 };
                    let part = Part { weight, backup, is_well: true };
                    if self.broker.has_place(service, session) {
                        self.broker.claim(session, service, part, self.now);
                        assert!(self.broker.has(session, service));
                    }
                }
            }
            Step::Release { which, service } => {
                if let Some(session) = nth(sessions, which) {
                    self.broker.release(session, ServiceId::nth(service));
                }
            }
            Step::Revoke { which, service } => {
                if let Some(session) = nth(sessions, which) {
                    self.broker.withdraw(session, ServiceId::nth(service), Withdrawn::Revoked);
                }
            }
            Step::Vanish { service } => {
                let service = ServiceId::nth(service);
                self.broker.remove(service);
                assert!(!self.broker.is_online(service, self.now));
                self.broker.add(service);
            }
            Step::SessionDies { which } => {
                if let Some(session) = nth(sessions, which) {
                    self.end_session(session);
                }
            }
            Step::Link { which } => {
                if let Some(session) = nth(sessions, which) {
                    let link = self.name();
                    self.links.insert(link, (session, None));
                    if !self.broker.link_arrived(session, link, self.now) {
                        self.links.remove(&link);
                    }
                }
            }
            Step::LinkDies { which } => {
                if let Some(link) = nth(links, which) {
                    self.lose(link);
                }
            }
            Step::LeaseEnds { which } => {
                if let Some(link) = nth(links, which)
                    && let Some((session, Some(visitor))) = self.links.get(&link).copied()
                {
                    self.links.insert(link, (session, None));
                    self.served.remove(&visitor);
                    self.broker.link_returned(session, link, self.now);
                }
            }
        }
        while let Some(effect) = self.broker.poll_effect() {
            self.follow(effect);
        }
    }

    fn follow(&mut self, effect: Effect<Name>) {
        match effect {
            Effect::Open { visitor, link, session } => {
                let service = self.waiting.remove(&visitor).expect("one who waits");
                match self.links.contains_key(&link) {
                    true => self.open(visitor, service, link, session),
                    false => panic!("a link that is gone was lent"),
                }
            }
            Effect::TurnAway { visitor } => {
                assert!(self.waiting.remove(&visitor).is_some(), "turned away, but does not wait");
            }
            Effect::Again { visitor } => {
                let service = self.waiting.remove(&visitor).expect("one who waits");
                self.ask(visitor, service, &[]);
            }
            Effect::Ask { session } => {
                self.broker.links_to_ask(session, 100, self.now);
            }
            Effect::LetGo { link, .. } => self.lose(link),
            Effect::Cut { visitor, .. } => assert!(self.served.remove(&visitor).is_some()),
            Effect::End { session, .. } => self.end_session(session),
            Effect::Withdraw { session, service, .. } => {
                assert!(self.sessions.contains_key(&session));
                assert!(!self.broker.has(session, service));
            }
            Effect::Moved { .. } => {}
        }
    }

    fn ask(&mut self, visitor: Name, service: ServiceId, tried: &[Name]) {
        let seeker = Seeker { id: visitor, network: HERE, service, tried };
        match self.broker.ask(seeker, self.now) {
            Answer::Link { link, session } => self.open(visitor, service, link, session),
            Answer::Queued => _ = self.waiting.insert(visitor, service),
            Answer::No(_) if tried.is_empty() => {
                assert!(!self.broker.is_online(service, self.now));
            }
            Answer::No(_) => assert!(!self.broker.has_another(service, tried)),
        }
    }

    fn open(&mut self, visitor: Name, service: ServiceId, link: Name, session: Name) {
        let former = self.links.insert(link, (session, Some(visitor)));
        assert_eq!(former, Some((session, None)), "lent twice, or another's");
        self.served.insert(visitor, service);
    }

    fn lose(&mut self, link: Name) {
        if let Some((session, visitor)) = self.links.remove(&link) {
            self.broker.link_lost(session, link, visitor);
        }
    }

    /// Visitors of a service whom a session has, or who wait for it.
    fn visitors_of(&self, session: Name, service: ServiceId) -> u32 {
        let lent = self.links.values().filter(|(of, visitor)| {
            *of == session && visitor.is_some_and(|it| self.served.get(&it) == Some(&service))
        });
        let queue = self.broker.sessions.get(&session).map(|session| &session.queue);
        let waiting = queue.into_iter().flat_map(|queue| queue.values());
        (lent.count() + waiting.filter(|(_, of)| *of == service).count()) as u32
    }

    fn end_session(&mut self, session: Name) {
        self.sessions.remove(&session);
        self.broker.end_session(session);
    }
}

proptest! {
    /// Whatever happens: nobody is served twice or forgotten, no link is lent twice, and the books
    /// are those of the engine.
    #[test]
    fn the_books_are_right_whatever_happens(steps in steps()) {
        let mut engine = Engine::new();
        for step in steps {
            engine.step(step);
            prop_assert_eq!(engine.broker.waiting(), engine.waiting.len());
            let known: BTreeSet<Name> = engine.broker.sessions().collect();
            prop_assert_eq!(&known, &engine.sessions.keys().copied().collect());
            for (id, session) in &engine.broker.sessions {
                let (spare, lent, _) = session.pool.counts();
                let own = engine.links.values().filter(|(session, _)| session == id);
                let in_use = own.clone().filter(|(_, visitor)| visitor.is_some()).count();
                prop_assert_eq!((spare + lent, lent), (own.count(), in_use));
                // Nobody waits for what is there.
                let has = |service| session.services.contains(service);
                let served = session.queue.values().any(|(_, service)| has(service));
                prop_assert!(spare == 0 || !served, "a link is spare, and somebody waits for it");
            }
            let owed: usize = engine.broker.sessions.values().map(|one| one.pool.owed()).sum();
            prop_assert_eq!(engine.broker.owed, owed);
            for service in (0..3).map(ServiceId::nth) {
                let holders: Vec<_> = engine.broker.holders(service).collect();
                let is_shared = engine.broker.is_shared(service);
                prop_assert!(is_shared || holders.len() <= 1, "several have it, and none should");
                for (session, _, visitors) in holders {
                    prop_assert!(engine.broker.services_of(session).any(|it| it == service));
                    prop_assert_eq!(visitors, engine.visitors_of(session, service));
                }
            }
        }
        let sessions: Vec<Name> = engine.sessions.keys().copied().collect();
        sessions.into_iter().for_each(|session| engine.end_session(session));
        while let Some(effect) = engine.broker.poll_effect() {
            engine.follow(effect);
        }
        prop_assert_eq!(engine.broker.waiting(), 0);
    }
}
