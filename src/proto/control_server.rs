//! The server's side of a control session: what its messages mean. The engine owns the table of
//! services and the links.

use std::time::Duration;

use super::keepalive::Keepalive;
use super::noise::HandshakeHash;
use super::proof;
use super::time::Time;
use crate::config::ServerService;
use crate::wire::message::{Message, Register, Registration};

/// A session after HELLO.
pub struct ControlServer {
    hash: HandshakeHash,
    key: [u8; 32],
    nonce: [u8; 32],
    instance: [u8; 32],
    /// Services that the session has now.
    holdings: Vec<Holding>,
    /// Pings and silence.
    pub pulse: Keepalive,
}

/// A service that a session has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// Its index in the server's configuration.
    pub service: usize,
    /// The client's number for it.
    pub number: u16,
}

/// What a message asks of the engine.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nothing.
    Nothing,
    /// To send this.
    Answer(Message<'static>),
    /// The token is proved: to give it the service.
    Claim {
        /// Which, and under which number.
        holding: Holding,
        /// Only if no other session has it.
        if_free: bool,
    },
    /// To refuse a service, and to say so in the log.
    Refuse {
        /// The client's number for it.
        number: u16,
        /// Its index, if there is one of that name.
        service: Option<usize>,
        /// Why.
        answer: Registration,
    },
    /// To close the session.
    Close,
}

/// A message that a client may not send here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unexpected;

/// A server's pings, and silence after which a client is dead: two pings and a half.
pub fn pulse(interval: Option<Duration>, now: Time) -> Keepalive {
    Keepalive::new(interval, interval.map(|interval| interval * 5 / 2), now)
}

impl ControlServer {
    /// `key` and `nonce` are fresh randomness; `hash` is the connection's.
    pub fn new(
        hash: HandshakeHash,
        instance: [u8; 32],
        key: [u8; 32],
        nonce: [u8; 32],
        pulse: Keepalive,
    ) -> ControlServer {
        ControlServer { hash, key, nonce, instance, holdings: Vec::new(), pulse }
    }

    /// Whether a link's proof fits.
    pub fn proves_link(&self, hash: &HandshakeHash, given: &proof::Proof) -> bool {
        proof::matches(&proof::link(&self.key, hash), given)
    }

    /// Whether both are sessions of one client process.
    pub fn is_same_client(&self, other: &ControlServer) -> bool {
        self.instance == other.instance
    }

    /// Takes a message in.
    pub fn handle(
        &mut self,
        message: &Message<'_>,
        services: &[ServerService],
        now: Time,
    ) -> Result<Asked, Unexpected> {
        self.pulse.heard(now);
        match *message {
            Message::Register(ref register) => Ok(self.judge(register, services)),
            Message::Ping(value) => Ok(Asked::Answer(Message::Pong(value))),
            Message::Pong(_) => Ok(Asked::Nothing),
            Message::Goodbye => Ok(Asked::Close),
            _ => Err(Unexpected),
        }
    }

    fn judge(&self, asked: &Register<'_>, services: &[ServerService]) -> Asked {
        let Register { number, kind, if_free, ports, ref proof, name } = *asked;
        let found = services.iter().position(|service| service.name.as_bytes() == name);
        let refuse = |answer| Asked::Refuse { number, service: found, answer };
        let Some(index) = found else { return refuse(Registration::UnknownService) };
        let service = &services[index];
        let expected = proof::service(service.token.expose(), &self.hash, &self.nonce, kind, name);
        if !proof::matches(&expected, proof) {
            return refuse(Registration::WrongToken);
        }
        // The kind is part of the proof, so who gets here knows the token.
        if service.kind as u8 != kind {
            return refuse(Registration::WrongKind);
        }
        if ports != 1 && ports != service.ports() {
            return refuse(Registration::WrongPorts);
        }
        Asked::Claim { holding: Holding { service: index, number }, if_free }
    }

    /// The session has the service from now on.
    pub fn grant(&mut self, holding: Holding) {
        self.holdings.retain(|held| held.service != holding.service);
        self.holdings.push(holding);
    }

    /// Another session has it now; the client's number for it.
    pub fn withdraw(&mut self, service: usize) -> Option<u16> {
        let at = self.holdings.iter().position(|held| held.service == service)?;
        Some(self.holdings.swap_remove(at).number)
    }

    /// The client's number for a service that it has.
    pub fn number_of(&self, service: usize) -> Option<u16> {
        self.holdings.iter().find(|held| held.service == service).map(|held| held.number)
    }

    /// All that it has.
    pub fn holdings(&self) -> &[Holding] {
        &self.holdings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Passthrough, Secret, ServiceKind, UdpOptions};

    #[test]
    fn only_the_token_of_this_connection_gives_the_service() {
        let services = [ServerService {
            name: "pi".to_owned(),
            kind: ServiceKind::Https,
            token: Secret::new(*b"token"),
            bind_addrs: ["0.0.0.0:7", "0.0.0.0:8", "[::]:7", "[::]:8"]
                .map(|addr| addr.parse().expect("literal"))
                .to_vec(),
            redirect_https: None,
            passthrough: Passthrough::Sealed,
            udp: UdpOptions::default(),
        }];
        let hash = HandshakeHash::NONE;
        let pulse = pulse(None, Time::default());
        let mut session = ControlServer::new(hash, [1; 32], [2; 32], [3; 32], pulse);
        let mut ask = |token: &[u8], nonce: [u8; 32], kind: u8, ports: u16, name: &'static [u8]| {
            let proof = proof::service(token, &hash, &nonce, kind, name);
            let register = Register { number: 7, kind, if_free: false, ports, proof, name };
            let register = Message::Register(register);
            session.handle(&register, &services, Time::default()).expect("belongs here")
        };
        let refuse = |answer| Asked::Refuse { number: 7, service: Some(0), answer };
        let unknown =
            Asked::Refuse { number: 7, service: None, answer: Registration::UnknownService };
        let holding = Holding { service: 0, number: 7 };
        let claim = Asked::Claim { holding, if_free: false };
        assert_eq!(ask(b"token", [3; 32], 3, 1, b"pi"), claim);
        assert_eq!(ask(b"tokem", [3; 32], 3, 1, b"pi"), refuse(Registration::WrongToken));
        assert_eq!(ask(b"token", [4; 32], 3, 1, b"pi"), refuse(Registration::WrongToken));
        assert_eq!(ask(b"token", [3; 32], 4, 1, b"pi"), refuse(Registration::WrongKind));
        assert_eq!(ask(b"token", [3; 32], 3, 1, b"po"), unknown);
        // Two ports, each on two addresses.
        assert_eq!(ask(b"token", [3; 32], 3, 2, b"pi"), claim);
        for ports in [0, 3, 4] {
            assert_eq!(ask(b"token", [3; 32], 3, ports, b"pi"), refuse(Registration::WrongPorts));
        }
        assert_eq!(ask(b"tokem", [3; 32], 3, 3, b"pi"), refuse(Registration::WrongToken));
        assert_eq!(session.handle(&Message::Ready, &services, Time::default()), Err(Unexpected));
    }
}
