//! The client's side of a control session: asks for its services, and asks again for those that
//! another client has.

use std::time::Duration;

use super::keepalive::Keepalive;
use super::noise::HandshakeHash;
use super::proof::{self, Proof};
use super::time::Time;
use crate::config::ClientService;
use crate::wire::message::{Message, Register, Registration};

/// A service that another client has is asked for again so often: it is taken back only once it is
/// free, so two clients with the same token never fight.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// A session from HELLO on.
pub struct ControlClient {
    hash: HandshakeHash,
    /// From WELCOME.
    terms: Option<Terms>,
    services: Vec<Standing>,
    /// One of the two sides is about to leave: nothing more is asked for.
    draining: bool,
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
    /// Refused; asking again would not help.
    Refused,
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
    pub fn new(hash: HandshakeHash, services: usize, timeout: Option<Duration>, now: Time) -> Self {
        // Two pings may be lost within the time-out.
        let interval = timeout.map(|timeout| timeout * 2 / 5);
        ControlClient {
            hash,
            terms: None,
            services: vec![Standing::Asked; services],
            draining: false,
            pulse: Keepalive::new(interval, timeout, now),
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
                let standing = self.services.get_mut(usize::from(number)).ok_or(Unexpected)?;
                let asking_again = answer == Registration::Taken;
                let news = !asking_again || !matches!(standing, Standing::Asked);
                *standing = match answer {
                    Registration::Accepted => Standing::Held,
                    Registration::Taken => Standing::Elsewhere(now + ASK_AGAIN),
                    _ => Standing::Refused,
                };
                Ok(if news { Asked::Log(number, Some(answer)) } else { Asked::Nothing })
            }
            Message::Withdrawn { number } => {
                let standing = self.services.get_mut(usize::from(number)).ok_or(Unexpected)?;
                *standing = Standing::Elsewhere(now + ASK_AGAIN);
                Ok(Asked::Log(number, None))
            }
            Message::Links { count } if self.terms.is_some() => Ok(Asked::Links(count)),
            Message::Ping(value) => Ok(Asked::Answer(Message::Pong(value))),
            Message::Pong(_) => Ok(Asked::Nothing),
            Message::Draining if self.terms.is_some() => {
                self.draining = true;
                Ok(Asked::Draining)
            }
            Message::Goodbye => Ok(Asked::Close),
            _ => Err(Unexpected),
        }
    }

    /// REGISTER for every service, after WELCOME.
    pub fn registrations<'a>(
        &self,
        services: &'a [ClientService],
    ) -> impl Iterator<Item = Message<'a>> + use<'a> {
        let (terms, hash) = (self.terms, self.hash);
        let numbered = services.iter().zip(0..=u16::MAX);
        numbered.filter_map(move |(service, number)| {
            Some(register(&terms?, &hash, service, number, false))
        })
    }

    /// The next REGISTER for a service that was elsewhere and may be free again.
    pub fn ask_again<'a>(
        &mut self,
        services: &'a [ClientService],
        now: Time,
    ) -> Option<Message<'a>> {
        if self.draining {
            return None;
        }
        let due = |standing: &Standing| matches!(standing, Standing::Elsewhere(at) if *at <= now);
        let at = self.services.iter().position(due)?;
        self.services[at] = Standing::Asked;
        let number = u16::try_from(at).ok()?;
        Some(register(&self.terms?, &self.hash, services.get(at)?, number, true))
    }

    /// When to call [`ControlClient::ask_again`] and poll the pulse.
    pub fn deadline(&self) -> Option<Time> {
        let again = self.services.iter().filter_map(|standing| match standing {
            Standing::Elsewhere(at) if !self.draining => Some(*at),
            _ => None,
        });
        again.chain(self.pulse.deadline()).min()
    }

    /// We are about to leave: the server is told by this.
    pub fn drain(&mut self) -> Message<'static> {
        self.draining = true;
        Message::Draining
    }

    /// How many services are ours, and take visitors.
    pub fn held(&self) -> usize {
        let held = self.services.iter().filter(|standing| **standing == Standing::Held);
        if self.draining { 0 } else { held.count() }
    }

    /// Whether WELCOME has come.
    pub fn is_welcome(&self) -> bool {
        self.terms.is_some()
    }

    /// Whether at least one service is ours, so that the session is of use.
    pub fn holds_any(&self) -> bool {
        self.services.contains(&Standing::Held)
    }

    /// Whether the server has refused every service.
    pub fn is_refused(&self) -> bool {
        self.services.iter().all(|standing| *standing == Standing::Refused)
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
    number: u16,
    if_free: bool,
) -> Message<'a> {
    let (kind, name) = (service.kind as u8, service.name.as_bytes());
    let proof = proof::service(service.token.expose(), hash, &terms.nonce, kind, name);
    let ports = service.local_ports;
    Message::Register(Register { number, kind, if_free, ports, proof, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_is_elsewhere_is_asked_for_again_and_quietly() {
        let now = Time::default();
        let mut session = ControlClient::new(HandshakeHash::NONE, 1, None, now);
        let taken = Message::Registered { number: 0, answer: Registration::Taken };
        let welcome = Message::Welcome { version: 1, session: 5, key: [1; 32], nonce: [2; 32] };
        assert_eq!(session.handle(&Message::Links { count: 1 }, now), Err(Unexpected));
        assert_eq!(session.handle(&welcome, now), Ok(Asked::Register));
        assert_eq!(session.handle(&welcome, now), Err(Unexpected));
        let accepted = Message::Registered { number: 0, answer: Registration::Accepted };
        let log = Asked::Log(0, Some(Registration::Accepted));
        assert_eq!(session.handle(&accepted, now), Ok(log));
        assert!(session.holds_any());
        let withdrawn = Message::Withdrawn { number: 0 };
        assert_eq!(session.handle(&withdrawn, now), Ok(Asked::Log(0, None)));
        assert_eq!(session.deadline(), Some(now + ASK_AGAIN));
        session.services[0] = Standing::Asked;
        assert_eq!(session.handle(&taken, now), Ok(Asked::Nothing), "no news");
        assert!(!session.is_refused() && !session.holds_any());
        let unknown = Message::Withdrawn { number: 1 };
        assert_eq!(session.handle(&unknown, now), Err(Unexpected));
        // Not of a server that is about to leave.
        assert!(session.deadline().is_some());
        assert_eq!(session.handle(&Message::Draining, now), Ok(Asked::Draining));
        assert_eq!(session.deadline(), None);
        assert_eq!(session.ask_again(&[], now + 2 * ASK_AGAIN), None);
    }
}
