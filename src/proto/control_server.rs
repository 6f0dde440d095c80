//! The server's side of a control session: what its messages mean. The engine owns the table of
//! services and the links.

use std::time::Duration;

use super::broker::{Instance, Part, Withdrawn};
use super::keepalive::Keepalive;
use super::noise::HandshakeHash;
use super::proof::{self, Mark};
use super::services::{ServiceId, Services};
use super::time::Time;
use crate::config::{Secret, ServerService};
use crate::limits;
use crate::wire::message::{Message, Register, Registration};

/// A session after HELLO.
pub struct ControlServer {
    hash: HandshakeHash,
    key: [u8; 32],
    nonce: [u8; 32],
    instance: Instance,
    /// Services that the session has now.
    holdings: Vec<Holding>,
    /// Registrations that were refused and may not be once the file is another: the client's number
    /// and a mark of the name. At most [`limits::REFUSALS_KEPT`].
    refused: Vec<(u16, Mark)>,
    /// Proofs that were wrong.
    wrong: u8,
    /// Names that are not in the file, while nothing is proved.
    unknown: usize,
    /// Its client has said that it is about to leave.
    draining: bool,
    /// Pings and silence.
    pub pulse: Keepalive,
}

/// A service that a session has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// Which.
    pub service: ServiceId,
    /// The client's number for it.
    pub number: u16,
    /// How many local ports the client has for it.
    pub ports: u16,
    /// Of the token that was proved.
    pub token: Mark,
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
        /// What is claimed.
        holding: Holding,
        /// The home's part in it, where several share it.
        part: Part,
        /// Only if no other session has it.
        if_free: bool,
    },
    /// To refuse a service, and to say so in the log.
    Refuse {
        /// The client's number for it.
        number: u16,
        /// Its name, for the log: escaped and cut, since a stranger may have made it up.
        name: String,
        /// Why.
        answer: Registration,
        /// It has guessed often enough.
        is_last: bool,
    },
    /// To bring its services no new visitors: the client is about to leave.
    Drain,
    /// The client gives this service up.
    Release(ServiceId),
    /// What runs at home answers, or does not.
    Health {
        /// Which service is meant.
        service: ServiceId,
        /// It does.
        is_well: bool,
    },
    /// To close the session.
    Close,
}

/// A message that a client may not send here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unexpected;

/// Why a session may not keep a service that its file has in another way now.
pub fn why_lost(service: &ServerService, ports: u16, token: &Mark) -> Option<Withdrawn> {
    if !service.tokens.iter().any(|known| proof::mark(known.expose()) == *token) {
        return Some(Withdrawn::Revoked);
    }
    (!ports_fit(service, ports)).then_some(Withdrawn::Gone)
}

fn ports_fit(service: &ServerService, ports: u16) -> bool {
    ports == 1 || ports == service.ports()
}

/// A server's pings, and silence after which a client is dead: two pings and a half.
pub fn pulse(interval: Option<Duration>, now: Time) -> Keepalive {
    Keepalive::new(interval, interval.map(|interval| interval * 5 / 2), now).measuring(now)
}

impl ControlServer {
    /// `key` and `nonce` are fresh randomness; `hash` is the connection's.
    pub fn new(
        hash: HandshakeHash,
        instance: Instance,
        key: [u8; 32],
        nonce: [u8; 32],
        pulse: Keepalive,
    ) -> ControlServer {
        ControlServer {
            hash,
            key,
            nonce,
            instance,
            holdings: Vec::new(),
            refused: Vec::new(),
            wrong: 0,
            unknown: 0,
            draining: false,
            pulse,
        }
    }

    /// Whether a link's proof fits.
    pub fn proves_link(&self, hash: &HandshakeHash, given: &proof::Proof) -> bool {
        proof::matches(&proof::link(&self.key, hash), given)
    }

    /// Names the client process.
    pub fn instance(&self) -> Instance {
        self.instance
    }

    /// Takes a message in.
    pub fn handle(
        &mut self,
        message: &Message<'_>,
        services: &Services,
        now: Time,
    ) -> Result<Asked, Unexpected> {
        self.pulse.heard(now);
        match *message {
            Message::Register(ref register) if !self.draining => Ok(self.judge(register, services)),
            Message::Draining => {
                self.draining = true;
                Ok(Asked::Drain)
            }
            Message::Release { number } => Ok(self.release(number)),
            Message::Health { number, is_well } => {
                let held = self.holdings.iter().find(|held| held.number == number);
                // It may have crossed a WITHDRAWN.
                Ok(held.map_or(Asked::Nothing, |held| Asked::Health {
                    service: held.service,
                    is_well,
                }))
            }
            Message::Ping(value) => Ok(Asked::Answer(Message::Pong(value))),
            Message::Pong(sent) => {
                self.pulse.answered(Time(sent), now);
                Ok(Asked::Nothing)
            }
            Message::Goodbye => Ok(Asked::Close),
            _ => Err(Unexpected),
        }
    }

    fn judge(&mut self, asked: &Register<'_>, services: &Services) -> Asked {
        let Register { number, kind, if_free, ports, ref proof, name, .. } = *asked;
        self.refused.retain(|(refused, _)| *refused != number);
        let found = services.iter().find(|(_, service)| service.name.as_bytes() == name);
        let Some((id, service)) = found else {
            self.unknown += usize::from(self.holdings.is_empty());
            let is_last = self.unknown > limits::UNKNOWN_NAMES;
            return self.refuse(number, name, Registration::UnknownService, is_last);
        };
        let (hash, nonce) = (self.hash, self.nonce);
        let proves = |token: &&Secret| {
            let expected = proof::service(token.expose(), &hash, &nonce, kind, name);
            proof::matches(&expected, proof)
        };
        let Some(token) = service.tokens.iter().find(proves) else {
            self.wrong = self.wrong.saturating_add(1);
            let is_last = self.wrong >= limits::WRONG_PROOFS;
            return self.refuse(number, name, Registration::WrongToken, is_last);
        };
        // The kind is part of the proof, so who gets here knows the token.
        if service.kind as u8 != kind {
            return self.refuse(number, name, Registration::WrongKind, false);
        }
        if !ports_fit(service, ports) {
            return self.refuse(number, name, Registration::WrongPorts, false);
        }
        let holding = Holding { service: id, number, ports, token: proof::mark(token.expose()) };
        Asked::Claim { holding, part: asked.part, if_free }
    }

    fn refuse(&mut self, number: u16, name: &[u8], answer: Registration, is_last: bool) -> Asked {
        if self.refused.len() < limits::REFUSALS_KEPT {
            self.refused.push((number, proof::mark(name)));
        }
        let name = show(name);
        Asked::Refuse { number, name, answer, is_last }
    }

    /// The client has no use for a number any more. It may be of a service that it has lost.
    fn release(&mut self, number: u16) -> Asked {
        self.refused.retain(|(refused, _)| *refused != number);
        match self.holdings.iter().position(|held| held.number == number) {
            Some(at) => Asked::Release(self.holdings.swap_remove(at).service),
            None => Asked::Nothing,
        }
    }

    /// What the session has.
    pub fn holdings(&self) -> &[Holding] {
        &self.holdings
    }

    /// A service is there for those who were refused it: the client's number, once.
    pub fn forgive(&mut self, name: &str) -> Option<u16> {
        let name = proof::mark(name.as_bytes());
        let at = self.refused.iter().position(|(_, refused)| *refused == name)?;
        Some(self.refused.swap_remove(at).0)
    }

    /// The session has the service from now on.
    pub fn grant(&mut self, holding: Holding) {
        self.holdings.retain(|held| held.service != holding.service);
        self.holdings.push(holding);
    }

    /// Another session has it now; the client's number for it.
    pub fn withdraw(&mut self, service: ServiceId) -> Option<u16> {
        let at = self.holdings.iter().position(|held| held.service == service)?;
        Some(self.holdings.swap_remove(at).number)
    }

    /// The client's number for a service that it has.
    pub fn number_of(&self, service: ServiceId) -> Option<u16> {
        self.holdings.iter().find(|held| held.service == service).map(|held| held.number)
    }
}

/// What a peer calls something, for a line of the log.
fn show(name: &[u8]) -> String {
    const SHOWN: usize = 64;
    let text = String::from_utf8_lossy(&name[..name.len().min(SHOWN)]).into_owned();
    let shown = text.escape_debug().to_string();
    if name.len() > SHOWN { shown + "\u{2026}" } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HttpTimes, Passthrough, Secret, ServiceKind, UdpOptions, VisitorLimits};

    fn service() -> ServerService {
        ServerService {
            name: "pi".to_owned(),
            kind: ServiceKind::Https,
            tokens: vec![Secret::new(*b"token"), Secret::new(*b"old token")],
            bind_addrs: ["0.0.0.0:7", "0.0.0.0:8", "[::]:7", "[::]:8"]
                .map(|addr| addr.parse().expect("literal"))
                .to_vec(),
            redirect_https: None,
            passthrough: Passthrough::Sealed,
            postgres: false,
            visitors: VisitorLimits::default(),
            max_visitors: None,
            http_times: HttpTimes::default(),
            balance: None,
            udp: UdpOptions::default(),
        }
    }

    /// REGISTER for a TLS service with one port, as number 7.
    fn register(proof: proof::Proof, name: &[u8]) -> Register<'_> {
        let part = Part::default();
        Register { number: 7, kind: 3, if_free: false, ports: 1, part, proof, name }
    }

    #[test]
    fn only_the_token_of_this_connection_gives_the_service() {
        let services = Services::new(&[service()]);
        let hash = HandshakeHash::NONE;
        let pulse = pulse(None, Time::default());
        let mut session = ControlServer::new(hash, [1; 32], [2; 32], [3; 32], pulse);
        let mut ask = |token: &[u8], nonce: [u8; 32], kind: u8, ports: u16, name: &'static [u8]| {
            let proof = proof::service(token, &hash, &nonce, kind, name);
            let register = Register { kind, ports, ..register(proof, name) };
            let register = Message::Register(register);
            session.handle(&register, &services, Time::default()).expect("belongs here")
        };
        let refuse =
            |answer| Asked::Refuse { number: 7, name: "pi".to_owned(), answer, is_last: false };
        let unknown = Asked::Refuse {
            number: 7,
            name: "po".to_owned(),
            answer: Registration::UnknownService,
            is_last: false,
        };
        let claim = |ports, token: &[u8]| {
            let (service, token) = (ServiceId::nth(0), proof::mark(token));
            let holding = Holding { service, number: 7, ports, token };
            Asked::Claim { holding, part: Part::default(), if_free: false }
        };
        assert_eq!(ask(b"token", [3; 32], 3, 1, b"pi"), claim(1, b"token"));
        assert_eq!(ask(b"old token", [3; 32], 3, 1, b"pi"), claim(1, b"old token"));
        assert_eq!(ask(b"tokem", [3; 32], 3, 1, b"pi"), refuse(Registration::WrongToken));
        assert_eq!(ask(b"token", [4; 32], 3, 1, b"pi"), refuse(Registration::WrongToken));
        assert_eq!(ask(b"token", [3; 32], 4, 1, b"pi"), refuse(Registration::WrongKind));
        assert_eq!(ask(b"token", [3; 32], 3, 1, b"po"), unknown);
        // Two ports, each on two addresses.
        assert_eq!(ask(b"token", [3; 32], 3, 2, b"pi"), claim(2, b"token"));
        for ports in [0, 3, 4] {
            assert_eq!(ask(b"token", [3; 32], 3, ports, b"pi"), refuse(Registration::WrongPorts));
        }
        assert_eq!(ask(b"tokem", [3; 32], 3, 3, b"pi"), refuse(Registration::WrongToken));
        assert_eq!(session.handle(&Message::Ready, &services, Time::default()), Err(Unexpected));
    }

    #[test]
    fn who_is_about_to_leave_asks_for_nothing() {
        let hash = HandshakeHash::NONE;
        let pulse = pulse(None, Time::default());
        let mut session = ControlServer::new(hash, [1; 32], [2; 32], [3; 32], pulse);
        let services = Services::new(&[service()]);
        let mut hear = |message| session.handle(&message, &services, Time::default());
        let proof = proof::service(b"token", &hash, &[3; 32], 3, b"pi");
        let ask = Register { if_free: true, ..register(proof, b"pi") };
        assert!(matches!(hear(Message::Register(ask)), Ok(Asked::Claim { .. })));
        for _ in 0..2 {
            assert_eq!(hear(Message::Draining), Ok(Asked::Drain));
            assert_eq!(hear(Message::Register(ask)), Err(Unexpected));
        }
        assert_eq!(hear(Message::Goodbye), Ok(Asked::Close));
    }

    #[test]
    fn tokens_cannot_be_guessed_without_end() {
        let services = Services::new(&[service()]);
        let pulse = pulse(None, Time::default());
        let hash = HandshakeHash::NONE;
        let mut session = ControlServer::new(hash, [1; 32], [2; 32], [3; 32], pulse);
        let mut guess = |proof: proof::Proof, name: &'static [u8]| {
            let register = Message::Register(register(proof, name));
            let asked = session.handle(&register, &services, Time::default());
            matches!(asked, Ok(Asked::Refuse { is_last: true, .. }))
        };
        for proof in 1..limits::WRONG_PROOFS {
            assert!(!guess([proof; 32], b"pi"), "{proof}");
        }
        assert!(guess([9; 32], b"pi"));
        let names = (0..=limits::UNKNOWN_NAMES).map(|_| guess([1; 32], b"po"));
        assert_eq!(names.filter(|is_last| *is_last).count(), 1);
    }

    #[test]
    fn what_was_refused_may_be_asked_for_once_more_and_what_is_released_is_not_had() {
        let services = Services::new(&[service()]);
        let (hash, now) = (HandshakeHash::NONE, Time::default());
        let pulse = pulse(None, now);
        let mut session = ControlServer::new(hash, [1; 32], [2; 32], [3; 32], pulse);
        let register = |number, name: &'static [u8]| {
            let proof = proof::service(b"token", &hash, &[3; 32], 3, name);
            Message::Register(Register { number, ..register(proof, name) })
        };
        for number in 0..2 * limits::REFUSALS_KEPT as u16 {
            let asked = session.handle(&register(number, b"later"), &services, now);
            assert!(matches!(asked, Ok(Asked::Refuse { .. })));
        }
        assert_eq!((session.forgive("never"), session.forgive("later")), (None, Some(0)));
        assert_eq!(session.refused.len(), limits::REFUSALS_KEPT - 1, "as many as there may be");
        let Ok(Asked::Claim { holding, .. }) = session.handle(&register(1, b"pi"), &services, now)
        else {
            panic!("the right token")
        };
        assert!(session.refused.iter().all(|(number, _)| *number != 1), "it is another's now");
        session.grant(holding);
        let mut release = |number| session.handle(&Message::Release { number }, &services, now);
        assert_eq!(release(77), Ok(Asked::Nothing), "WITHDRAWN may cross it");
        assert_eq!(release(1), Ok(Asked::Release(holding.service)));
        assert_eq!(release(1), Ok(Asked::Nothing));
        assert_eq!((session.holdings(), session.number_of(holding.service)), (&[][..], None));
    }

    #[test]
    fn a_session_keeps_what_it_could_ask_for_again() {
        let lost = |ports, token: &[u8]| why_lost(&service(), ports, &proof::mark(token));
        assert_eq!([lost(1, b"token"), lost(2, b"token")], [None, None]);
        assert_eq!(lost(3, b"token"), Some(Withdrawn::Gone));
        assert_eq!([lost(1, b"tokem"), lost(3, b"tokem")], [Some(Withdrawn::Revoked); 2]);
    }

    #[test]
    fn a_name_in_the_log_breaks_no_line_and_has_an_end() {
        assert_eq!(show(b"pi\n\x1b[31m\xff"), "pi\\n\\u{1b}[31m\u{fffd}");
        assert_eq!(show(&[b'a'; 300]).chars().count(), 65);
    }
}
