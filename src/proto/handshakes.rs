//! What strangers may cost on the tunnel port: connections at accept, key agreements, and wrong
//! proofs. Networks with a live session go first, by buckets that strangers cannot empty.

use std::time::Duration;

use super::buckets::{Buckets, Rate};
use super::network::{Fades, Memory, Network};
use super::time::Time;
use crate::limits;

/// Key agreements: the dearest that a connection can ask for before it has proved anything.
#[derive(Debug)]
pub struct Handshakes {
    strangers: Buckets,
    known: Buckets,
}

impl Default for Handshakes {
    fn default() -> Handshakes {
        let buckets = |each: (u32, u32), all: (u32, u32)| {
            let (each, all) = (Rate::new(each.0, each.1), Rate::new(all.0, all.1));
            Buckets::new(each, Some(all), limits::NETWORKS_REMEMBERED)
        };
        Handshakes {
            strangers: buckets(limits::HANDSHAKES_PER_NETWORK, limits::HANDSHAKES),
            known: buckets(limits::KNOWN_HANDSHAKES_PER_NETWORK, limits::KNOWN_HANDSHAKES),
        }
    }
}

impl Handshakes {
    /// Whether a handshake of this network may be answered now, to be asked when its first message
    /// is whole; or when to ask again, if nobody else takes that place.
    pub fn ask(&mut self, network: Network, has_session: bool, now: Time) -> Result<(), Time> {
        if !has_session {
            return self.strangers.take(network, now);
        }
        // What strangers leave is there for those who are known, too.
        let known = self.known.take(network, now);
        known.or_else(|at| self.strangers.take(network, now).map_err(|also| at.min(also)))
    }
}

/// Connections of networks without a session, at accept.
#[derive(Debug)]
pub struct Connects(Buckets);

impl Default for Connects {
    fn default() -> Connects {
        let [each, all] = [limits::CONNECTS_PER_NETWORK, limits::CONNECTS];
        let (each, all) = (Rate::new(each.0, each.1), Rate::new(all.0, all.1));
        Connects(Buckets::new(each, Some(all), limits::NETWORKS_REMEMBERED))
    }
}

impl Connects {
    /// Whether to go on with it; if not, it is aborted before anything is spent on it.
    pub fn may_come(&mut self, network: Network, has_session: bool, now: Time) -> bool {
        has_session || self.0.take(network, now).is_ok()
    }
}

/// The wrong proofs that one connection may still say.
#[derive(Debug, Clone, Copy)]
pub struct Patience(u8);

impl Default for Patience {
    fn default() -> Patience {
        Patience(limits::WRONG_PROOFS)
    }
}

impl Patience {
    /// One more was wrong; whether the connection may go on.
    #[must_use]
    pub fn goes_on(&mut self) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 > 0
    }
}

/// Wrong proofs by network. After [`limits::WRONG_PROOFS`] of them it waits, each time twice as
/// long, until it has said none for [`limits::PROOFS_FORGOTTEN`] after its wait.
#[derive(Debug)]
pub struct Attempts(Memory<Guesses>);

#[derive(Debug, Default)]
struct Guesses {
    /// Since the last wait; below [`limits::WRONG_PROOFS`].
    wrong: u8,
    waits: u32,
    waits_until: Time,
    forget_at: Time,
}

impl Fades for Guesses {
    fn forget_at(&self) -> Time {
        self.forget_at
    }
}

impl Default for Attempts {
    fn default() -> Attempts {
        Attempts(Memory::new(limits::NETWORKS_REMEMBERED))
    }
}

impl Attempts {
    /// Whether a proof of this network is looked at; or when again. One with a live session never
    /// waits: whoever guesses behind a carrier's NAT locks none of its neighbours out who are
    /// there.
    pub fn may_try(&self, network: Network, has_session: bool, now: Time) -> Result<(), Time> {
        match self.0.get(network) {
            Some(guesses) if !has_session && now < guesses.waits_until => Err(guesses.waits_until),
            _ => Ok(()),
        }
    }

    /// A proof of it was wrong; how long it has to wait now, if that was one too many.
    pub fn wrong(&mut self, network: Network, now: Time) -> Option<Duration> {
        let guesses = self.0.entry(network, now);
        if guesses.forget_at <= now {
            *guesses = Guesses::default();
        }
        guesses.wrong += 1;
        let mut wait = None;
        if guesses.wrong >= limits::WRONG_PROOFS {
            let doubled = limits::PROOF_WAIT.saturating_mul(1 << guesses.waits.min(16));
            let pause = doubled.min(limits::PROOF_WAIT_MAX);
            (guesses.wrong, guesses.waits) = (0, guesses.waits.saturating_add(1));
            guesses.waits_until = guesses.waits_until.max(now + pause);
            wait = Some(pause);
        }
        guesses.forget_at = guesses.waits_until.max(now) + limits::PROOFS_FORGOTTEN;
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: Network = Network::V6(1);

    fn seconds(seconds: u64) -> Time {
        Time::default() + Duration::from_secs(seconds)
    }

    /// A flood of `rate` connections a second for 60 s from so many networks; how many came and how
    /// many were answered in each of the last 30.
    fn flood(house: &mut (Connects, Handshakes), rate: u64, networks: u64) -> (u64, u64) {
        let (mut came, mut answered) = (0, 0);
        for number in 0..60 * rate {
            let now = Time(number * 1_000_000_000 / rate);
            let network = Network::V6(1000 + number % networks);
            if house.0.may_come(network, false, now) {
                let handshake = house.1.ask(network, false, now).is_ok();
                if now >= seconds(30) {
                    came += 1;
                    answered += u64::from(handshake);
                }
            }
        }
        (came / 30, answered / 30)
    }

    #[test]
    fn junk_costs_a_quarter_of_a_processor_at_most() {
        for networks in [1, 10, 50, 1000, 100_000] {
            let (came, answered) = flood(&mut Default::default(), 5000, networks);
            // In microseconds a second: an accept and an abort; what a stranger costs without a
            // handshake, three times that; a handshake.
            let cost = (5000 - came) * 20 + came * 60 + answered * 200;
            assert!(cost <= 250_000, "{networks}: {came} came, {answered} answered: {cost} µs");
        }
    }

    #[test]
    fn strangers_do_not_cost_those_who_are_known_their_turn() {
        let mut house = (Connects::default(), Handshakes::default());
        flood(&mut house, 5000, 100_000);
        let now = seconds(60);
        for link in 0..limits::LINKS_DIALLED_AT_ONCE {
            assert!(house.0.may_come(HOME, true, now));
            assert_eq!(house.1.ask(HOME, true, now), Ok(()), "link {link} of a rush");
        }
    }

    #[test]
    fn a_few_hostile_networks_leave_room_for_other_strangers() {
        let mut house = (Connects::default(), Handshakes::default());
        flood(&mut house, 5000, 50);
        let now = seconds(60);
        assert!(house.0.may_come(HOME, false, now));
        assert_eq!(house.1.ask(HOME, false, now), Ok(()));
    }

    #[test]
    fn a_thousand_homes_come_back_at_once() {
        let (mut connects, mut handshakes) = (Connects::default(), Handshakes::default());
        for home in 0..1000 {
            assert!(connects.may_come(Network::V6(home), false, seconds(1)), "home {home}");
            assert_eq!(handshakes.ask(Network::V6(home), false, seconds(1)), Ok(()));
        }
        for link in 0..4000 {
            let home = Network::V6(link % 1000);
            assert_eq!(handshakes.ask(home, true, seconds(2)), Ok(()), "link {link}");
        }
    }

    #[test]
    fn a_known_network_has_a_bound_too_and_is_told_when() {
        let mut handshakes = Handshakes::default();
        let answered = (0..10_000).filter(|_| handshakes.ask(HOME, true, seconds(1)).is_ok());
        let (known, stranger) =
            (limits::KNOWN_HANDSHAKES_PER_NETWORK.1, limits::HANDSHAKES_PER_NETWORK.1);
        assert_eq!(answered.count(), (known + stranger) as usize);
        let at = handshakes.ask(HOME, true, seconds(1)).expect_err("none is left");
        assert_eq!(handshakes.ask(HOME, true, at), Ok(()));
    }

    #[test]
    fn eight_wrong_proofs_end_a_connection() {
        let mut patience = Patience::default();
        assert_eq!((0..20).filter(|_| patience.goes_on()).count(), 7);
    }

    #[test]
    fn a_network_that_guesses_waits_twice_as_long_each_time() {
        let mut attempts = Attempts::default();
        let mut now = seconds(1);
        for expected in [10, 20, 40, 80, 160, 300, 300] {
            for _ in 0..7 {
                assert_eq!(attempts.wrong(HOME, now), None);
                assert_eq!(attempts.may_try(HOME, false, now), Ok(()));
            }
            let wait = Duration::from_secs(expected);
            assert_eq!(attempts.wrong(HOME, now), Some(wait));
            assert_eq!(attempts.may_try(HOME, false, now), Err(now + wait));
            assert_eq!(attempts.may_try(HOME, true, now), Ok(()), "one with a session never waits");
            assert_eq!(attempts.may_try(Network::V6(2), false, now), Ok(()));
            now = now + wait;
            assert_eq!(attempts.may_try(HOME, false, now), Ok(()));
        }
        now = now + limits::PROOFS_FORGOTTEN;
        for _ in 0..7 {
            assert_eq!(attempts.wrong(HOME, now), None, "it starts over");
        }
        assert_eq!(attempts.wrong(HOME, now), Some(Duration::from_secs(10)));
    }

    #[test]
    fn who_waits_is_remembered_through_a_crowd_of_others() {
        let mut attempts = Attempts::default();
        (0..16).for_each(|_| _ = attempts.wrong(HOME, seconds(1)));
        for other in 0..3 * limits::NETWORKS_REMEMBERED as u64 {
            attempts.wrong(Network::V6(10 + other), seconds(2));
            assert!(attempts.0.len() <= limits::NETWORKS_REMEMBERED);
        }
        assert!(attempts.may_try(HOME, false, seconds(3)).is_err());
    }
}
