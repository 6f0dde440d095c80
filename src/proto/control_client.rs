//! The client's side of a control session: asks for its services, and asks again for those that
//! another client has.

use std::collections::BTreeMap;
use std::time::Duration;

use super::keepalive::Keepalive;
use super::noise::HandshakeHash;
use super::numbered::{Number, Numbered};
use super::proof::{self, Proof};
use super::time::Time;
use crate::config::{ClientService, RemoteServer};
use crate::wire::message::{Message, Part, Register, Registration};

/// A service that another client has is asked for again so often: it is taken back only once it is
/// free, so two clients with the same token never fight.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// A session from HELLO on.
pub struct ControlClient {
    hash: HandshakeHash,
    /// From WELCOME.
    terms: Option<Terms>,
    services: BTreeMap<Number, Standing>,
    /// It has had a service: it is worth keeping, whatever is refused later.
    was_of_use: bool,
    /// Another session is about to take its place, or one of the two sides is about to end: it asks
    /// for nothing more.
    leaving: bool,
    /// Pings and silence.
    pub pulse: Keepalive,
}

/// What WELCOME said.
#[derive(Clone, Copy)]
struct Terms {
    session: u64,
    key: [u8; 32],
    nonce: [u8; 32],
}

/// How a service stands with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// An answer is due.
    Asked,
    /// We have it.
    Held,
    /// Another client has it; asked for again at this time.
    Elsewhere(Time),
    /// Refused; asking again would not help before the server says so.
    Refused(Registration),
    /// Given up; a word about it may still be under way.
    Released,
}

/// What a message asks of the engine.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nothing.
    Nothing,
    /// To send this.
    Answer(Message<'static>),
    /// The server has welcomed us: to send [`ControlClient::registrations`].
    Register,
    /// To log how a registration went; `None`: the server has taken the service away.
    Log(u16, Option<Registration>),
    /// To dial so many links.
    Links(u16),
    /// To log that the server is about to leave: no new visitors come from there.
    Draining,
    /// To close the session: the server leaves.
    Close,
    /// To close the session: the server speaks other versions only.
    OtherVersions(u8, u8),
}

/// A message that a server may not send here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unexpected;

impl ControlClient {
    /// After the handshake; HELLO has been sent.
    pub fn new(hash: HandshakeHash, timeout: Option<Duration>, now: Time) -> Self {
        // Two pings may be lost within the time-out.
        let interval = timeout.map(|timeout| timeout * 2 / 5);
        ControlClient {
            hash,
            terms: None,
            services: BTreeMap::new(),
            was_of_use: false,
            leaving: false,
            pulse: Keepalive::new(interval, timeout, now).measuring(now),
        }
    }

    /// Takes a message in.
    pub fn handle(&mut self, message: &Message<'_>, now: Time) -> Result<Asked, Unexpected> {
        self.pulse.heard(now);
        match *message {
            Message::Welcome { session, key, nonce, .. } if self.terms.is_none() => {
                self.terms = Some(Terms { session, key, nonce });
                Ok(Asked::Register)
            }
            Message::Refused { min_version, max_version } if self.terms.is_none() => {
                Ok(Asked::OtherVersions(min_version, max_version))
            }
            Message::Registered { number, answer } => {
                let standing = self.services.get_mut(&number).ok_or(Unexpected)?;
                if *standing == Standing::Released {
                    return Ok(Asked::Nothing);
                }
                let asking_again = answer == Registration::Taken;
                let news = !asking_again || !matches!(standing, Standing::Asked);
                *standing = match answer {
                    Registration::Accepted => Standing::Held,
                    Registration::Taken => Standing::Elsewhere(now + ASK_AGAIN),
                    refused => Standing::Refused(refused),
                };
                self.was_of_use |= *standing == Standing::Held;
                Ok(if news { Asked::Log(number, Some(answer)) } else { Asked::Nothing })
            }
            Message::Withdrawn { number } => {
                let standing = self.services.get_mut(&number).ok_or(Unexpected)?;
                match *standing {
                    Standing::Released => return Ok(Asked::Nothing),
                    // The server's file has another word for it now.
                    Standing::Refused(_) => {
                        *standing = Standing::Elsewhere(now);
                        return Ok(Asked::Nothing);
                    }
                    Standing::Asked | Standing::Held | Standing::Elsewhere(_) => {}
                }
                *standing = Standing::Elsewhere(now + ASK_AGAIN);
                Ok(if self.leaving { Asked::Nothing } else { Asked::Log(number, None) })
            }
            Message::Links { count } if self.terms.is_some() => Ok(Asked::Links(count)),
            Message::Ping(value) => Ok(Asked::Answer(Message::Pong(value))),
            Message::Pong(sent) => {
                self.pulse.answered(Time(sent), now);
                Ok(Asked::Nothing)
            }
            Message::Draining if self.terms.is_some() => {
                self.leaving = true;
                Ok(Asked::Draining)
            }
            Message::Goodbye => Ok(Asked::Close),
            _ => Err(Unexpected),
        }
    }

    /// REGISTER for a service; once WELCOME has come, for every one.
    pub fn register<'a>(
        &mut self,
        number: Number,
        service: &'a ClientService,
        server: &RemoteServer,
        is_well: bool,
    ) -> Option<Message<'a>> {
        let terms = self.terms.filter(|_| !self.leaving)?;
        self.services.insert(number, Standing::Asked);
        Some(register(&terms, &self.hash, service, server, number, false, is_well))
    }

    /// RELEASE of a service, or of a number that was refused. Nothing before WELCOME: it was not
    /// registered.
    pub fn release(&mut self, number: Number) -> Option<Message<'static>> {
        let standing = self.services.get_mut(&number)?;
        let former = std::mem::replace(standing, Standing::Released);
        (former != Standing::Released).then_some(Message::Release { number })
    }

    /// Another session stands in this one's place: gives up all that it has.
    pub fn leave(&mut self) -> Vec<Message<'static>> {
        self.leaving = true;
        let numbers: Vec<Number> = self.services.keys().copied().collect();
        numbers.into_iter().filter_map(|number| self.release(number)).collect()
    }

    /// What runs at home answers, or does not: HEALTH, if the server has to be told.
    pub fn set_health(&self, number: Number, is_well: bool) -> Option<Message<'static>> {
        // Any other is told by the next REGISTER.
        let is_known = matches!(self.services.get(&number), Some(Standing::Asked | Standing::Held));
        is_known.then_some(Message::Health { number, is_well })
    }

    /// The next REGISTER for a service that was elsewhere and may be free again.
    pub fn ask_again<'a>(
        &mut self,
        services: &'a Numbered,
        server: &RemoteServer,
        is_well: impl Fn(Number) -> bool,
        now: Time,
    ) -> Option<Message<'a>> {
        let terms = self.terms.filter(|_| !self.leaving)?;
        let due = |standing: &Standing| matches!(standing, Standing::Elsewhere(at) if *at <= now);
        let (number, standing) = self.services.iter_mut().find(|(_, standing)| due(standing))?;
        let service = services.get(*number)?;
        *standing = Standing::Asked;
        let is_well = is_well(*number);
        Some(register(&terms, &self.hash, service, server, *number, true, is_well))
    }

    /// When to call [`ControlClient::ask_again`] and poll the pulse.
    pub fn deadline(&self) -> Option<Time> {
        let again = self.services.values().filter_map(|standing| match standing {
            Standing::Elsewhere(at) if !self.leaving => Some(*at),
            _ => None,
        });
        again.chain(self.pulse.deadline()).min()
    }

    /// We are about to leave: the server is told by this.
    pub fn drain(&mut self) -> Message<'static> {
        self.leaving = true;
        Message::Draining
    }

    /// Whether a service is ours, and takes visitors.
    pub fn has(&self, number: Number) -> bool {
        !self.leaving && self.services.get(&number) == Some(&Standing::Held)
    }

    /// How a service stands, in the words of the status, and why it is refused.
    pub fn standing(&self, number: Number) -> (&'static str, Option<&'static str>) {
        match self.services.get(&number) {
            Some(Standing::Held) => ("registered", None),
            Some(Standing::Elsewhere(_)) => ("withdrawn", Some("another client has it")),
            Some(Standing::Refused(Registration::UnknownService)) => {
                ("refused", Some("the server's file has no service of that name"))
            }
            Some(Standing::Refused(Registration::WrongToken)) => {
                ("refused", Some("the server's file has another token"))
            }
            Some(Standing::Refused(Registration::WrongKind)) => {
                ("refused", Some("the server's file has another type"))
            }
            Some(Standing::Refused(_)) => {
                ("refused", Some("the server's file has another number of ports"))
            }
            Some(Standing::Asked | Standing::Released) | None => ("pending", None),
        }
    }

    /// Whether WELCOME has come.
    pub fn is_welcome(&self) -> bool {
        self.terms.is_some()
    }

    /// Whether at least one service is ours, so that the session is of use.
    pub fn holds_any(&self) -> bool {
        self.services.values().any(|standing| *standing == Standing::Held)
    }

    /// Whether the server has answered for every service, and given us one.
    pub fn stands(&self) -> bool {
        self.holds_any() && !self.services.values().any(|standing| *standing == Standing::Asked)
    }

    /// Whether the server has refused every service, from the first on.
    pub fn is_refused(&self) -> bool {
        let is_refused = |standing: &Standing| matches!(standing, Standing::Refused(_));
        !self.was_of_use && self.services.values().all(is_refused)
    }

    /// Session number and proof for a link whose handshake has this hash.
    pub fn link_proof(&self, hash: &HandshakeHash) -> Option<(u64, Proof)> {
        let terms = self.terms?;
        Some((terms.session, proof::link(&terms.key, hash)))
    }
}

fn register<'a>(
    terms: &Terms,
    hash: &HandshakeHash,
    service: &'a ClientService,
    server: &RemoteServer,
    number: u16,
    if_free: bool,
    is_well: bool,
) -> Message<'a> {
    let (kind, name) = (service.kind as u8, service.name.as_bytes());
    let proof = proof::service(server.token_of(service).expose(), hash, &terms.nonce, kind, name);
    let ports = service.local_ports;
    let part = Part { weight: service.weight, backup: service.backup, is_well };
    Message::Register(Register { number, kind, if_free, ports, part, proof, name })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ClientConfig, Config};

    fn config() -> ClientConfig {
        let text = "[client]\nremote_addr = 'a:1'\ndefault_token = 'a'\n\
                    [client.services.a]\nlocal_addr = 'h:1'\n\
                    [client.services.b]\nlocal_addr = 'h:2'\n";
        let config = Config::parse("f.toml", text, &|_| None).expect("a client's file");
        config.client.expect("[client]")
    }

    fn services() -> (Numbered, RemoteServer) {
        let ClientConfig { services, mut servers, .. } = config();
        (Numbered::new(&services), servers.remove(0))
    }

    const WELCOME: Message<'static> =
        Message::Welcome { version: 1, session: 5, key: [1; 32], nonce: [2; 32] };

    fn answer(number: u16, answer: Registration) -> Message<'static> {
        Message::Registered { number, answer }
    }

    /// A session on which both services are asked for.
    fn welcome((services, server): &(Numbered, RemoteServer)) -> ControlClient {
        let mut session = ControlClient::new(HandshakeHash::NONE, None, Time::default());
        assert_eq!(session.handle(&WELCOME, Time::default()), Ok(Asked::Register));
        for (number, service) in services.iter() {
            assert!(session.register(number, service, server, true).is_some());
        }
        session
    }

    #[test]
    fn a_service_that_is_elsewhere_is_asked_for_again_and_quietly() {
        let (all, now) = (services(), Time::default());
        let (services, server) = &all;
        let mut early = ControlClient::new(HandshakeHash::NONE, None, now);
        assert_eq!(early.handle(&Message::Links { count: 1 }, now), Err(Unexpected));
        assert_eq!(early.release(0), None, "it was not asked for");
        let mut session = welcome(&all);
        assert_eq!(session.handle(&WELCOME, now), Err(Unexpected));
        let accepted = answer(0, Registration::Accepted);
        let log = Asked::Log(0, Some(Registration::Accepted));
        assert_eq!(session.handle(&accepted, now), Ok(log));
        assert!(session.holds_any());
        let withdrawn = Message::Withdrawn { number: 0 };
        assert_eq!(session.handle(&withdrawn, now), Ok(Asked::Log(0, None)));
        assert_eq!(session.deadline(), Some(now + ASK_AGAIN));
        let again = session.ask_again(services, server, |_| true, now + ASK_AGAIN);
        assert!(matches!(again, Some(Message::Register(Register { if_free: true, .. }))));
        let taken = answer(0, Registration::Taken);
        assert_eq!(session.handle(&taken, now), Ok(Asked::Nothing), "no news");
        assert!(!session.is_refused() && !session.holds_any());
        let unknown = Message::Withdrawn { number: 2 };
        assert_eq!(session.handle(&unknown, now), Err(Unexpected));
        // Not of a server that is about to leave.
        assert!(session.deadline().is_some());
        assert_eq!(session.handle(&Message::Draining, now), Ok(Asked::Draining));
        assert_eq!(session.deadline(), None);
        assert_eq!(session.ask_again(services, server, |_| true, now + 2 * ASK_AGAIN), None);
    }

    #[test]
    fn what_was_refused_is_asked_for_again_when_the_server_says_so() {
        let (all, now) = (services(), Time::default());
        let (services, server) = &all;
        let mut session = welcome(&all);
        for number in [0, 1] {
            assert!(session.handle(&answer(number, Registration::UnknownService), now).is_ok());
        }
        assert!(session.is_refused() && !session.stands());
        let withdrawn = Message::Withdrawn { number: 1 };
        assert_eq!(session.handle(&withdrawn, now), Ok(Asked::Nothing));
        assert!(matches!(
            session.ask_again(services, server, |_| true, now),
            Some(Message::Register(_))
        ));
        assert!(!session.stands(), "an answer is due");
        assert!(session.handle(&answer(1, Registration::Accepted), now).is_ok());
        assert!(session.stands());
        assert!(session.handle(&withdrawn, now).is_ok());
        assert!(session.ask_again(services, server, |_| true, now + ASK_AGAIN).is_some());
        assert!(session.handle(&answer(1, Registration::WrongToken), now).is_ok());
        assert!(!session.is_refused(), "it has been of use, and visitors may be on it");
    }

    #[test]
    fn a_session_that_leaves_gives_up_all_and_asks_for_nothing() {
        let (all, now) = (services(), Time::default());
        let (services, server) = &all;
        let mut session = welcome(&all);
        assert!(session.handle(&answer(0, Registration::Accepted), now).is_ok());
        assert_eq!(session.release(0), Some(Message::Release { number: 0 }));
        assert_eq!(session.release(0), None, "once");
        assert_eq!(session.leave(), [Message::Release { number: 1 }]);
        // What crosses it means nothing.
        for late in [answer(1, Registration::Accepted), Message::Withdrawn { number: 1 }] {
            assert_eq!(session.handle(&late, now), Ok(Asked::Nothing));
        }
        let (number, service) = services.iter().next().expect("a service");
        assert_eq!(session.register(number, service, server, true), None);
        assert_eq!(
            (session.ask_again(services, server, |_| true, now + ASK_AGAIN), session.deadline()),
            (None, None)
        );
    }
}
