//! What strangers may ask of the tunnel port, by the network that they come from: connections, key
//! agreements, guesses. Networks from which a client has a session are known, and go first.

use std::collections::HashMap;
use std::net::IpAddr;

use super::handshakes::{Attempts, Connects, Handshakes};
use super::network::Network;
use super::time::Time;

/// Keeps count of all networks.
#[derive(Debug, Default)]
pub struct Gate {
    connects: Connects,
    handshakes: Handshakes,
    attempts: Attempts,
    /// Networks with sessions, and how many.
    known: HashMap<Network, usize>,
}

impl Gate {
    /// Whether a client has a session from there.
    pub fn knows(&self, address: IpAddr) -> bool {
        self.known.contains_key(&address.into())
    }

    /// Whether to take a connection at all.
    pub fn may_come(&mut self, address: IpAddr, now: Time) -> bool {
        let network = Network::from(address);
        self.connects.may_come(network, self.known.contains_key(&network), now)
    }

    /// Whether to agree on keys with a connection now, or when to ask again.
    pub fn may_shake_hands(&mut self, address: IpAddr, now: Time) -> Result<(), Time> {
        let network = Network::from(address);
        self.handshakes.ask(network, self.known.contains_key(&network), now)
    }

    /// Whether to look at what a connection says of its token.
    pub fn may_try(&self, address: IpAddr, now: Time) -> bool {
        let network = Network::from(address);
        self.attempts.may_try(network, self.known.contains_key(&network), now).is_ok()
    }

    /// A proof was wrong.
    pub fn failed(&mut self, address: IpAddr, now: Time) {
        self.attempts.wrong(Network::from(address), now);
    }

    /// A client has a session.
    pub fn joined(&mut self, address: IpAddr) {
        *self.known.entry(address.into()).or_default() += 1;
    }

    /// A session has ended.
    pub fn left(&mut self, address: IpAddr) {
        let network = Network::from(address);
        if let Some(sessions) = self.known.get_mut(&network) {
            *sessions -= 1;
            if *sessions == 0 {
                self.known.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;

    #[test]
    fn a_network_is_known_as_long_as_it_has_a_session() {
        let (mut gate, now) = (Gate::default(), Time(1_000_000_000));
        let address: IpAddr = "192.0.2.1".parse().expect("literal");
        let neighbour: IpAddr = "2001:db8::1".parse().expect("literal");
        for _ in 0..limits::WRONG_PROOFS {
            gate.failed(address, now);
        }
        assert!(!gate.may_try(address, now) && gate.may_try(neighbour, now));
        gate.joined(address);
        gate.joined(address);
        gate.left(address);
        assert!(gate.may_try(address, now), "one behind the same NAT is not locked out");
        gate.left(address);
        assert!(!gate.may_try(address, now));
        let taken = (0..1000).filter(|_| gate.may_come(address, now)).count();
        assert_eq!(taken, limits::CONNECTS_PER_NETWORK.1 as usize);
        gate.joined(address);
        assert!((0..1000).all(|_| gate.may_come(address, now)));
    }
}
