//! Tunnel connections before they have proved anything: handshake and first message.
//!
//! A session stays a stranger until its first token is proved, see [`super::sessions`]; a link and
//! a rathole channel prove theirs here.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use log::debug;

use super::links::{Link, LinkUse};
use super::sessions::{Control, Session};
use super::{Complaint, Server, Tunnel};
use crate::engine::conn::{Carrier as _, Dialect, Event, Gone};
use crate::engine::conns::ConnId;
use crate::engine::net::Net;
use crate::limits;
use crate::proto::admission::{Class, Holder, Standing};
use crate::proto::broker::{Parted, Replaced, Withdrawn};
use crate::proto::control_server::{self, ControlServer};
use crate::proto::network::Network;
use crate::proto::noise::HandshakeHash;
use crate::proto::rathole_server::Claim;
use crate::proto::time::Time;
use crate::wire::frame;
use crate::wire::message::{Message, VERSION};

/// How far a greeting is.
pub(super) struct Greeting {
    pub(super) address: SocketAddr,
    accepted: Time,
    /// When its last message was whole; the accept, before there was one.
    step_at: Time,
    /// The deadline for the next one.
    until: Time,
    /// Set once the handshake is done.
    hash: Option<HandshakeHash>,
    /// A rathole client has been given a nonce.
    pub(super) claim: Option<Claim>,
}

impl Greeting {
    /// Just accepted.
    pub(super) fn new(address: SocketAddr, now: Time) -> Greeting {
        let until = now + limits::TUNNEL_PROOF_TIME;
        Greeting { address, accepted: now, step_at: now, until, hash: None, claim: None }
    }

    /// A message is whole: the deadline for the next one.
    pub(super) fn step(&mut self, now: Time) -> Time {
        self.step_at = now;
        self.until = (now + limits::TUNNEL_STEP_TIME).min(self.accepted + limits::BEGIN_TIME);
        self.until
    }
}

/// Batches of one greeting before others have their turn.
const BUDGET: usize = 4;

impl<N: Net> Server<N> {
    /// Handshake and first message of a tunnel connection.
    pub(super) fn greet(&mut self, id: ConnId) {
        if let Err(gone) = self.try_greet(id) {
            self.close_stranger(id, gone);
        }
    }

    fn try_greet(&mut self, id: ConnId) -> Result<(), Gone> {
        let Some(hash) = self.shake_hands(id)? else { return Ok(()) };
        let Some(conn) = self.core.conns.tunnel(id) else { return Ok(()) };
        conn.flush(&mut self.core.io)?;
        if conn.dialect() == Dialect::Rathole {
            return self.greet_rathole(id);
        }
        for _ in 0..BUDGET {
            let Some(conn) = self.core.conns.tunnel(id) else { return Ok(()) };
            let pulled = conn.pull(&mut self.core.io)?;
            if conn.dialect() == Dialect::Rathole {
                conn.put_back(&mut self.core.io, pulled.data);
                return self.greet_rathole(id);
            }
            return match pulled.end {
                None if pulled.moved => continue,
                None => Ok(()),
                Some(Event::Message(kind, payload)) => {
                    let payload = &self.core.io.scratch.clear[payload];
                    match Message::decode(kind, payload).map_err(Gone::Message)? {
                        Message::Hello { min_version, max_version, instance } => {
                            self.welcome(id, (min_version, max_version), hash, instance)
                        }
                        Message::LinkHello { version, session, proof } => {
                            let session = ConnId::from_bits(session);
                            self.add_link(id, version, session, &hash, &proof)
                        }
                        _ => Err(Gone::Unexpected),
                    }
                }
                Some(Event::Fin | Event::Reset(_)) => Err(Gone::Unexpected),
            };
        }
        self.core.enqueue(id);
        Ok(())
    }

    /// The handshake's hash, once it is done.
    fn shake_hands(&mut self, id: ConnId) -> Result<Option<HandshakeHash>, Gone> {
        let Some(conn) = self.core.conns.tunnel(id) else { return Ok(None) };
        let Tunnel::Greeting(greeting) = &conn.stage else { return Ok(None) };
        if greeting.hash.is_some() {
            return Ok(greeting.hash);
        }
        let (address, until) = (greeting.address, greeting.until);
        conn.flush(&mut self.core.io)?;
        let turn = conn.await_hands(&mut self.core.io)?;
        let Some(asks_for_keys) = self.core.go_on(id, turn) else { return Ok(None) };
        if asks_for_keys && let Err(at) = self.gate.may_shake_hands(address.ip(), self.core.now()) {
            self.core.set_deadline(id, Some(at.min(until)));
            return Ok(None);
        }
        let Some(conn) = self.core.conns.tunnel(id) else { return Ok(None) };
        let turn = conn.shake_hands(&mut self.core.io)?;
        let Some(hash) = self.core.go_on(id, turn) else { return Ok(None) };
        let now = self.core.now();
        let Some(conn) = self.core.conns.tunnel(id) else { return Ok(None) };
        conn.codec().allow(limits::CONTROL_BODY);
        let Tunnel::Greeting(greeting) = &mut conn.stage else { return Ok(None) };
        greeting.hash = Some(hash);
        // Without encryption, nothing has been said yet.
        let until = if asks_for_keys { greeting.step(now) } else { greeting.until };
        self.core.set_deadline(id, Some(until));
        Ok(Some(hash))
    }

    fn welcome(
        &mut self,
        id: ConnId,
        (min_version, max_version): (u8, u8),
        hash: HandshakeHash,
        instance: [u8; 32],
    ) -> Result<(), Gone> {
        let now = self.core.now();
        let Some(greeting) = self.greeting(id) else { return Ok(()) };
        let (address, until) = (greeting.address, greeting.step(now));
        if !(min_version..=max_version).contains(&VERSION) {
            self.complain(Complaint::Version, || {
                format!(
                    "client {address} speaks versions {min_version} to {max_version} of the \
                     protocol, this server {VERSION}: upgrade the older one"
                )
            });
            self.core.say(id, &Message::Refused { min_version: VERSION, max_version: VERSION })?;
            return Err(Gone::Closed);
        }
        if self.is_draining() {
            return Err(Gone::Closed);
        }
        self.may_try(address)?;
        let (mut key, mut nonce) = ([0; 32], [0; 32]);
        self.core.io.net.random(&mut key);
        self.core.io.net.random(&mut nonce);
        let welcome = Message::Welcome { version: VERSION, session: id.to_bits(), key, nonce };
        self.core.say(id, &welcome)?;
        let pulse = control_server::pulse(self.config.heartbeat_interval, self.core.now());
        let control = Control::Native(ControlServer::new(hash, instance, key, nonce, pulse));
        if let Some(conn) = self.core.tunnel(id) {
            conn.stage = Tunnel::Control(Box::new(Session::new(address, control)));
        }
        self.core.set_deadline(id, Some(until));
        self.core.enqueue(id);
        Ok(())
    }

    fn add_link(
        &mut self,
        id: ConnId,
        version: u8,
        session_id: ConnId,
        hash: &HandshakeHash,
        proof: &[u8; 32],
    ) -> Result<(), Gone> {
        let proved = version == VERSION
            && self.session(session_id).is_some_and(|session| match &session.control {
                Control::Native(control) => session.proved && control.proves_link(hash, proof),
                Control::Rathole(_) => false,
            });
        if !proved {
            return Err(Gone::Unexpected);
        }
        self.core.say(id, &Message::Ready)?;
        match self.take_in_link(id, session_id) {
            true => Ok(()),
            false => Err(Gone::Unexpected),
        }
    }

    /// A network that has said too many wrong tokens waits.
    pub(super) fn may_try(&self, address: SocketAddr) -> Result<(), Gone> {
        match self.gate.may_try(address.ip(), self.core.now()) {
            true => Ok(()),
            false => Err(Gone::Guessing),
        }
    }

    /// A link that is proved goes into its session's pool, if that has room.
    pub(super) fn take_in_link(&mut self, id: ConnId, session: ConnId) -> bool {
        let now = self.core.now();
        let holder = Holder::Session(session.to_bits());
        // Others make room for one that was asked for, if they hold more and do not need it.
        let fits = self.room_for_links() > 0
            || (self.broker.is_owed(session)
                && self.room_for_links_of(session) > 0
                && self.core.admission.make_room(Class::Link));
        if !fits || self.core.promote(id, Class::Link, holder, Standing::Idle).is_err() {
            return false;
        }
        self.core.set_deadline(id, None);
        if let Some(conn) = self.core.conns.tunnel(id) {
            conn.stage = Tunnel::Link(Link { session, usage: LinkUse::Spare });
            conn.codec().allow(frame::MAX_BODY);
        }
        if !self.broker.link_arrived(session, id, now) {
            self.lose_link(id, "more than were asked for");
        }
        true
    }

    /// Nothing was proved in time; or it is its turn to agree on keys.
    pub(super) fn greeting_overdue(&mut self, id: ConnId) {
        let now = self.core.now();
        let Some(greeting) = self.greeting(id) else { return };
        let (step_at, accepted) = (greeting.step_at, greeting.accepted);
        let mut until = greeting.until;
        if until <= now {
            let address = greeting.address.ip();
            let slow =
                (step_at + self.slowest_at(address) * 2).min(accepted + limits::SLOW_BEGIN_TIME);
            until = until.max(slow);
        }
        if until <= now {
            self.junk.timeouts += 1;
            return self.close_stranger(id, "nothing proved in time");
        }
        self.core.set_deadline(id, Some(until));
        self.greet(id);
    }

    /// The longest round trip of the sessions of a network: its links need as long.
    fn slowest_at(&self, address: IpAddr) -> Duration {
        let network = Network::from(address);
        let sessions = self.broker.sessions().filter_map(|id| self.session_at(id));
        let its = sessions.filter(|session| Network::from(session.address.ip()) == network);
        its.filter_map(Session::round_trip).max().unwrap_or_default()
    }

    /// Closes a connection that has proved nothing: a greeting, or a session without a proof.
    pub(super) fn close_stranger(&mut self, id: ConnId, why: impl Into<Why>) {
        let why = why.into();
        match self.core.tunnel(id).map(|conn| &conn.stage) {
            Some(Tunnel::Greeting(greeting)) => {
                let (address, is_shaken) = (greeting.address, greeting.hash.is_some());
                debug!("tunnel {address}: {why}");
                self.core.close(id);
                if !is_shaken && let Why::Gone(gone @ (Gone::Noise(_) | Gone::Frame(_))) = why {
                    self.junk.failed_handshakes += 1;
                    self.complain(Complaint::Handshake, || {
                        format!("client {address} did not get through the handshake: {gone}")
                    });
                }
            }
            Some(Tunnel::Control(_)) => self.end_session(id, why),
            Some(Tunnel::Link(_)) | None => {}
        }
    }

    pub(super) fn greeting(&mut self, id: ConnId) -> Option<&mut Greeting> {
        match &mut self.core.tunnel(id)?.stage {
            Tunnel::Greeting(greeting) => Some(greeting),
            Tunnel::Control(_) | Tunnel::Link(_) => None,
        }
    }
}

/// Why something ended, for the log.
pub(super) enum Why {
    Gone(Gone),
    Text(&'static str),
    /// Another client has proved the token of a rathole client's service.
    TakenOver,
}

impl From<Gone> for Why {
    fn from(gone: Gone) -> Why {
        Why::Gone(gone)
    }
}

impl From<&'static str> for Why {
    fn from(text: &'static str) -> Why {
        Why::Text(text)
    }
}

impl From<Parted> for Why {
    fn from(parted: Parted) -> Why {
        Why::Text(match parted {
            Parted::Surplus => "no longer needed",
            Parted::Needed => "others need its place",
            Parted::SessionEnded => "its session has ended",
            Parted::Draining => "its client is about to leave",
            Parted::Revoked => "its session has lost the service",
        })
    }
}

impl From<Replaced> for Why {
    fn from(replaced: Replaced) -> Why {
        match replaced {
            Replaced::ByItself => Why::Text("replaced by a new session of the same client"),
            Replaced::ByAnother => Why::TakenOver,
            Replaced::Withdrawn(why) => why.into(),
        }
    }
}

impl From<Withdrawn> for Why {
    fn from(withdrawn: Withdrawn) -> Why {
        match withdrawn {
            Withdrawn::ByAnother => Why::TakenOver,
            Withdrawn::Gone => Why::Text("the file has no such service any more"),
            Withdrawn::Revoked => Why::Text("its token is no longer one of the file"),
        }
    }
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Why::Gone(gone) => gone.fmt(f),
            Why::Text(text) => f.write_str(text),
            Why::TakenOver => f.write_str("another client has its service"),
        }
    }
}
