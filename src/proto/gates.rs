//! Whom the limits let in that a person sets: a gate for the house, and one for each service. A
//! visitor passes both. No sockets: whoever lets visitors in asks, and gives seats back.

use std::net::IpAddr;
use std::time::Duration;

use super::access;
use super::buckets::{self, Buckets};
use super::network::Network;
use super::services::{ByService, ServiceId, Services};
use super::time::Time;
use crate::config::{AccessList, Rate, ServerConfig, VisitorLimits};
use crate::limits;

/// The house's gate, and the services'.
#[derive(Debug)]
pub struct Gates {
    house: Gate,
    services: ByService<Gate>,
}

#[derive(Debug)]
struct Gate {
    access: AccessList,
    rate: Option<Rate>,
    /// `None`: as often as they like.
    buckets: Option<Buckets>,
    /// Seats.
    most: usize,
    /// Seats that are taken; more than `most` only after a file that allows fewer.
    taken: usize,
}

/// Who stands at a gate.
#[derive(Debug, Clone, Copy)]
pub struct Guest {
    /// Whose it is.
    pub address: IpAddr,
    /// It is a proxy, which stands for many and has no network's share.
    pub is_many: bool,
}

/// A visitor's place at a service. It goes back to [`Gates::leave`], once.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Seat {
    service: ServiceId,
}

impl Seat {
    /// Where it is.
    pub fn service(&self) -> ServiceId {
        self.service
    }
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Those from there may not come.
    Denied,
    /// As many as may be are here.
    Full,
    /// Too many have come from its network of late.
    TooOften {
        /// Until the next one may.
        again: Duration,
    },
}

impl Refused {
    /// Its word in the access log.
    pub fn end(self) -> access::VisitEnd {
        match self {
            Refused::Denied => access::VisitEnd::Denied,
            Refused::Full => access::VisitEnd::ServiceFull,
            Refused::TooOften { .. } => access::VisitEnd::RateLimited,
        }
    }
}

impl Gates {
    /// As a file has it.
    pub fn new(config: &ServerConfig, services: &Services) -> Gates {
        let house = Gate::new(&config.visitors, None);
        let mut gates = Gates { house, services: ByService::default() };
        gates.reload(config, services);
        gates
    }

    /// As another file has it: who has a seat keeps it, and what a network has used up of a rate
    /// that stays counts still. A service that is gone has no gate when its last seat is back.
    pub fn reload(&mut self, config: &ServerConfig, services: &Services) {
        self.house.set(&config.visitors, None);
        for (id, service) in services.iter() {
            match self.services.get_mut(id) {
                Some(gate) => gate.set(&service.visitors, service.max_visitors),
                None => {
                    let gate = Gate::new(&service.visitors, service.max_visitors);
                    self.services.insert(id, gate);
                }
            }
        }
    }

    /// A service is gone: whether nobody has a seat there; then it is forgotten.
    pub fn forget(&mut self, service: ServiceId) -> bool {
        let is_empty = self.services.get(service).is_none_or(|gate| gate.taken == 0);
        if is_empty {
            self.services.remove(service);
        }
        is_empty
    }

    /// The house's list alone, for who has not said anything yet.
    pub fn lets_in(&self, address: IpAddr) -> bool {
        self.house.access.admits(address)
    }

    /// A visitor, or a request, has come to the house; [`Gates::lets_in`] was asked before.
    pub fn knock(&mut self, guest: Guest, now: Time) -> Result<(), Refused> {
        self.house.count(guest, now)
    }

    /// The same at a service where it needs no seat.
    pub fn pass(&mut self, service: ServiceId, guest: Guest, now: Time) -> Result<(), Refused> {
        let Some(gate) = self.services.get_mut(service) else { return Err(Refused::Denied) };
        gate.check(guest)?;
        gate.count(guest, now)
    }

    /// The same where it takes a seat.
    pub fn enter(&mut self, service: ServiceId, guest: Guest, now: Time) -> Result<Seat, Refused> {
        let Some(gate) = self.services.get_mut(service) else { return Err(Refused::Denied) };
        gate.check(guest)?;
        if gate.taken >= gate.most {
            return Err(Refused::Full);
        }
        gate.count(guest, now)?;
        gate.taken += 1;
        Ok(Seat { service })
    }

    /// Whoever had a seat has left.
    pub fn leave(&mut self, seat: Seat) {
        if let Some(gate) = self.services.get_mut(seat.service) {
            debug_assert!(gate.taken > 0, "a seat is given once and comes back once");
            gate.taken = gate.taken.saturating_sub(1);
        }
    }

    /// Seats that are taken at one service.
    pub fn taken_at(&self, service: ServiceId) -> usize {
        self.services.get(service).map_or(0, |gate| gate.taken)
    }

    /// Seats that are taken, for tests and figures.
    pub fn taken(&self) -> usize {
        self.services.iter().map(|(_, gate)| gate.taken).sum()
    }
}

impl Gate {
    fn new(limits: &VisitorLimits, most: Option<usize>) -> Gate {
        let access = limits.access.clone();
        let mut gate = Gate { access, rate: None, buckets: None, most: 0, taken: 0 };
        gate.set(limits, most);
        gate
    }

    fn set(&mut self, limits: &VisitorLimits, most: Option<usize>) {
        self.access = limits.access.clone();
        self.most = most.unwrap_or(usize::MAX);
        if self.rate != limits.rate {
            self.rate = limits.rate;
            self.buckets = limits.rate.map(|rate| {
                let each = buckets::Rate::new(rate.per_second, rate.burst);
                Buckets::new(each, None, limits::NETWORKS_REMEMBERED)
            });
        }
    }

    fn check(&self, guest: Guest) -> Result<(), Refused> {
        self.access.admits(guest.address).then_some(()).ok_or(Refused::Denied)
    }

    fn count(&mut self, guest: Guest, now: Time) -> Result<(), Refused> {
        let Some(buckets) = self.buckets.as_mut().filter(|_| !guest.is_many) else { return Ok(()) };
        let taken = buckets.take(Network::from(guest.address), now);
        taken.map_err(|at| Refused::TooOften { again: at - now })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const A: ServiceId = ServiceId::nth(0);
    const B: ServiceId = ServiceId::nth(1);
    const ONE: &str = "192.0.2.1";
    const OTHER: &str = "192.0.2.2";

    fn gates(of_server: &str, of_service: &str) -> Gates {
        let text = format!(
            "[server]\nbind_addr = '[::1]:1'\n{of_server}\n[server.services.a]\ntoken = 'a'\n\
             bind_addr = '[::1]:2'\n{of_service}\n[server.services.b]\ntoken = 'b'\n\
             bind_addr = '[::1]:3'\n"
        );
        let config = Config::parse("f.toml", &text, &|_| None);
        let config = config.unwrap_or_else(|error| panic!("{error}"));
        let server = config.server.expect("[server]");
        Gates::new(&server, &Services::new(&server.services))
    }

    fn guest(address: &str) -> Guest {
        Guest { address: address.parse().expect("an address"), is_many: false }
    }

    #[test]
    fn without_limits_all_come_in() {
        let mut gates = gates("", "");
        let seats: Vec<Seat> = (0..10_000)
            .map(|_| {
                assert!(gates.lets_in(guest(ONE).address));
                gates.knock(guest(ONE), Time(0)).expect("no limit");
                gates.enter(A, guest(ONE), Time(0)).expect("no limit")
            })
            .collect();
        assert_eq!(gates.taken(), 10_000);
        seats.into_iter().for_each(|seat| gates.leave(seat));
        assert_eq!(gates.taken(), 0);
    }

    #[test]
    fn both_lists_must_let_a_visitor_in() {
        let mut gates = gates("deny = '192.0.2.1'", "deny = '192.0.2.2'");
        assert!(!gates.lets_in(guest(ONE).address) && gates.lets_in(guest(OTHER).address));
        assert!(!gates.lets_in("::ffff:192.0.2.1".parse().expect("an address")));
        assert_eq!(gates.pass(A, guest(OTHER), Time(0)), Err(Refused::Denied));
        assert_eq!(gates.pass(B, guest(OTHER), Time(0)), Ok(()), "its own list alone");
        // A room's list does not open the house.
        let gates = self::gates("allow = '192.0.2.2'", "allow = '0.0.0.0/0'");
        assert!(!gates.lets_in(guest(ONE).address));
    }

    #[test]
    fn seats_are_counted_for_each_service() {
        let mut gates = gates("", "max_visitors = 2");
        let mut enter = |service| gates.enter(service, guest(ONE), Time(0));
        let first = enter(A).expect("room");
        let _second = enter(A).expect("room");
        assert_eq!(enter(A), Err(Refused::Full));
        let _other = enter(B).expect("no limit there");
        gates.leave(first);
        let _third = gates.enter(A, guest(OTHER), Time(0)).expect("room again");
        assert_eq!(gates.enter(A, guest(ONE), Time(0)), Err(Refused::Full));
    }

    #[test]
    fn each_network_has_its_rate_at_both_gates() {
        let second = Duration::from_secs(1);
        let mut gates = gates(
            "rate = { per_second = 10, burst = 3 }",
            "rate = { per_second = 1, burst = 2 }\nmax_visitors = 5",
        );
        let slow = Err(Refused::TooOften { again: second / 10 });
        let knocks = [(); 4].map(|()| gates.knock(guest(ONE), Time(0)));
        assert_eq!(knocks, [Ok(()), Ok(()), Ok(()), slow]);
        assert_eq!(gates.knock(guest(OTHER), Time(0)), Ok(()), "a network of its own");
        let many = Guest { is_many: true, ..guest(ONE) };
        assert_eq!(gates.knock(many, Time(0)), Ok(()), "a proxy stands for many");
        let seats = [(); 2].map(|()| gates.enter(A, guest(ONE), Time(0)).expect("within the rate"));
        let slow = Err(Refused::TooOften { again: second });
        assert_eq!(gates.pass(A, guest(ONE), Time(0)), slow);
        assert_eq!(gates.enter(A, guest(ONE), Time(0)).map(|_| ()), slow);
        assert_eq!(gates.taken(), 2, "who is refused has no seat");
        assert_eq!(gates.pass(A, guest(ONE), Time(0) + second), Ok(()));
        // An IPv6 subscriber has a /64.
        let [one, same, other] = ["2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"].map(guest);
        assert_eq!([one, one].map(|one| gates.pass(A, one, Time(0))), [Ok(()), Ok(())]);
        assert_eq!(gates.pass(A, same, Time(0)), slow);
        assert_eq!(gates.pass(A, other, Time(0)), Ok(()));
        seats.into_iter().for_each(|seat| gates.leave(seat));
    }

    /// Being refused for lack of a seat costs nothing of the rate.
    #[test]
    fn a_full_service_takes_no_token() {
        let mut gates = gates("", "rate = { per_second = 1, burst = 2 }\nmax_visitors = 1");
        let seat = gates.enter(A, guest(ONE), Time(0)).expect("room");
        assert_eq!(gates.enter(A, guest(ONE), Time(0)), Err(Refused::Full));
        gates.leave(seat);
        let _seat = gates.enter(A, guest(ONE), Time(0)).expect("the second token");
    }
}
