//! Tunnel connections: greeting, control sessions, and the life of a link between visitors.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use log::{debug, info};

use super::visitor::{Doing, Waiting};
use super::{Server, Stage};
use crate::engine::buffers::BATCH;
use crate::engine::conn::{End, Gone, Hands};
use crate::engine::conns::ConnId;
use crate::engine::net::Net;
use crate::engine::relay::{self, Outcome};
use crate::limits;
use crate::proto::control_server::{self, Asked, ControlServer, Holding};
use crate::proto::keepalive::Due;
use crate::proto::lease::{End as LeaseEnd, Lease};
use crate::proto::link_pool::LinkPool;
use crate::proto::noise::HandshakeHash;
use crate::proto::strangers::Ticket;
use crate::wire::frame;
use crate::wire::message::{Entry, Message, Open, Reason, Registration, VERSION};
use crate::wire::proxy_header;

/// What OPEN says of a visitor beside its addresses.
pub(super) struct Opening<'a> {
    /// The client's number for the service.
    pub(super) service: u16,
    pub(super) entry: Entry,
    /// Which of the service's own ports.
    pub(super) offset: u16,
    pub(super) name: &'a [u8],
    pub(super) first_bytes: &'a [u8],
}

/// How far a greeting is.
pub(super) struct Shaken {
    address: SocketAddr,
    /// Set once the handshake is done.
    hash: Option<HandshakeHash>,
}

/// A client's control session. Its connection's id names it.
pub(super) struct Session {
    address: SocketAddr,
    control: ControlServer,
    pub(super) pool: LinkPool<ConnId, ConnId>,
    /// All links that it has, in whatever use.
    links: BTreeSet<ConnId>,
    /// Set until the first token is proved.
    ticket: Option<Ticket>,
}

/// A link of a session.
pub(super) struct Link {
    session: ConnId,
    pub(super) usage: LinkUse,
}

pub(super) enum LinkUse {
    /// In the pool.
    Spare,
    /// A visitor is on it.
    Leased { visitor: ConnId },
    /// The visitor has gone; the peer's end or our own last bytes are still under way.
    Settling,
}

impl Session {
    /// The client's number for a service that it has.
    pub(super) fn number_of(&self, service: usize) -> Option<u16> {
        self.control.number_of(service)
    }
}

/// Messages of one connection before others have their turn.
const BUDGET: usize = 32;

impl Shaken {
    pub(super) fn not_yet(address: SocketAddr) -> Shaken {
        Shaken { address, hash: None }
    }
}

impl<N: Net> Server<N> {
    /// Handshake and first message of a tunnel connection.
    pub(super) fn greet(&mut self, id: ConnId) {
        if let Err(gone) = self.try_greet(id) {
            self.close_stranger(id, gone);
        }
    }

    fn try_greet(&mut self, id: ConnId) -> Result<(), Gone> {
        let Some(conn) = self.core.conns.get_mut(id) else { return Ok(()) };
        let Stage::Greeting { ticket, shaken } = &mut conn.stage else { return Ok(()) };
        let (ticket, address) = (*ticket, shaken.address);
        let hash = match shaken.hash {
            Some(hash) => hash,
            None => match conn.shake_hands(&mut self.core.io)? {
                Hands::Waiting => {
                    conn.flush(&mut self.core.io)?;
                    return Ok(());
                }
                Hands::Shaken(hash) => hash,
            },
        };
        let Stage::Greeting { shaken, .. } = &mut conn.stage else { return Ok(()) };
        shaken.hash = Some(hash);
        if let Some(tunnel) = &mut conn.tunnel {
            tunnel.allow(limits::CONTROL_BODY);
        }
        conn.flush(&mut self.core.io)?;
        loop {
            let Some(conn) = self.core.conns.get_mut(id) else { return Ok(()) };
            let pulled = conn.pull(&mut self.core.io)?;
            return match pulled.end {
                None if pulled.moved => continue,
                None => Ok(()),
                Some(End::Message(kind, payload)) => {
                    let payload = &self.core.io.scratch.clear[payload];
                    match Message::decode(kind, payload).map_err(Gone::Message)? {
                        Message::Hello { min_version, max_version, instance } => {
                            let versions = (min_version, max_version);
                            self.welcome(id, ticket, address, versions, hash, instance)
                        }
                        Message::LinkHello { version, session, proof } => {
                            let session = ConnId::from_bits(session);
                            self.add_link(id, ticket, version, session, &hash, &proof)
                        }
                        _ => Err(Gone::Unexpected),
                    }
                }
                Some(End::Fin | End::Reset(_)) => Err(Gone::Unexpected),
            };
        }
    }

    fn welcome(
        &mut self,
        id: ConnId,
        ticket: Ticket,
        address: SocketAddr,
        (min_version, max_version): (u8, u8),
        hash: HandshakeHash,
        instance: [u8; 32],
    ) -> Result<(), Gone> {
        if !(min_version..=max_version).contains(&VERSION) {
            self.complain(|| {
                format!(
                    "client {address} speaks versions {min_version} to {max_version} of the \
                     protocol, this server {VERSION}: upgrade the older one"
                )
            });
            self.core.say(id, &Message::Refused { min_version: VERSION, max_version: VERSION })?;
            return Err(Gone::Closed);
        }
        let (mut key, mut nonce) = ([0; 32], [0; 32]);
        self.core.io.net.random(&mut key);
        self.core.io.net.random(&mut nonce);
        let welcome = Message::Welcome { version: VERSION, session: id.to_bits(), key, nonce };
        self.core.say(id, &welcome)?;
        let pulse = control_server::pulse(self.config.heartbeat_interval, self.core.now());
        let session = Session {
            address,
            control: ControlServer::new(hash, instance, key, nonce, pulse),
            pool: LinkPool::new(self.bounds.links),
            links: BTreeSet::new(),
            ticket: Some(ticket),
        };
        if let Some(stage) = self.core.stage(id) {
            *stage = Stage::Control(Box::new(session));
        }
        self.core.enqueue(id);
        Ok(())
    }

    fn add_link(
        &mut self,
        id: ConnId,
        ticket: Ticket,
        version: u8,
        session_id: ConnId,
        hash: &HandshakeHash,
        proof: &[u8; 32],
    ) -> Result<(), Gone> {
        let Some(session) = self.session(session_id) else { return Err(Gone::Unexpected) };
        let proved = version == VERSION && session.control.proves_link(hash, proof);
        if !proved || !session.pool.arrived(id) {
            return Err(Gone::Unexpected);
        }
        session.links.insert(id);
        self.strangers.leave(ticket);
        self.core.set_deadline(id, None);
        if let Some(conn) = self.core.conns.get_mut(id) {
            conn.stage = Stage::Link(Link { session: session_id, usage: LinkUse::Spare });
            if let Some(tunnel) = &mut conn.tunnel {
                tunnel.allow(frame::MAX_BODY);
            }
        }
        if let Err(gone) = self.core.say(id, &Message::Ready) {
            self.lose_link(id, gone);
            return Ok(());
        }
        self.serve_waiting(session_id);
        self.set_session_deadline(session_id);
        Ok(())
    }

    /// Closes a connection that has proved nothing: a greeting, or a session without a service.
    pub(super) fn close_stranger(&mut self, id: ConnId, why: impl Into<Why>) {
        let why = why.into();
        match self.core.stage(id) {
            Some(Stage::Greeting { ticket, shaken }) => {
                let (ticket, address) = (*ticket, shaken.address);
                debug!("tunnel {address}: {why}");
                self.strangers.leave(ticket);
                self.core.close(id);
            }
            Some(Stage::Control(_)) => self.end_session(id, why),
            _ => {}
        }
    }

    /// The messages of a control session.
    pub(super) fn hear_control(&mut self, id: ConnId) {
        if let Err(gone) = self.try_hear_control(id) {
            self.end_session(id, gone);
        }
    }

    fn try_hear_control(&mut self, id: ConnId) -> Result<(), Gone> {
        for _ in 0..BUDGET {
            let now = self.core.now();
            let Some(conn) = self.core.conns.get_mut(id) else { return Ok(()) };
            conn.flush(&mut self.core.io)?;
            if conn.socket.backlog() > limits::CONTROL_BACKLOG {
                return Err(Gone::Unexpected);
            }
            let pulled = conn.pull(&mut self.core.io)?;
            let Stage::Control(session) = &mut conn.stage else { return Ok(()) };
            let asked = match pulled.end {
                None if pulled.moved => continue,
                None => return Ok(()),
                Some(End::Fin | End::Reset(_)) => return Err(Gone::Unexpected),
                Some(End::Message(kind, payload)) => {
                    let payload = &self.core.io.scratch.clear[payload];
                    let message = Message::decode(kind, payload).map_err(Gone::Message)?;
                    session.control.handle(&message, &self.config.services, now)
                }
            };
            match asked.map_err(|_| Gone::Unexpected)? {
                Asked::Nothing => {}
                Asked::Answer(message) => self.core.say(id, &message)?,
                Asked::Claim { holding, if_free } => self.claim(id, holding, if_free)?,
                Asked::Refuse { number, service, answer } => {
                    self.refuse(id, number, service, answer)?;
                }
                Asked::Close => return Err(Gone::Closed),
            }
        }
        self.core.enqueue(id);
        Ok(())
    }

    fn claim(&mut self, id: ConnId, holding: Holding, if_free: bool) -> Result<(), Gone> {
        let Holding { service, number } = holding;
        let owner = self.owners[service].last().copied().filter(|owner| *owner != id);
        if if_free && owner.is_some() {
            return self.core.say(id, &Message::Registered { number, answer: Registration::Taken });
        }
        let moved = owner.map(|owner| self.hand_over(id, owner, service)).unwrap_or_default();
        self.owners[service] = vec![id];
        let accepted = Registration::Accepted;
        self.core.say(id, &Message::Registered { number, answer: accepted })?;
        let Some(session) = self.session(id) else { return Ok(()) };
        session.control.grant(holding);
        let address = session.address;
        if let Some(ticket) = session.ticket.take() {
            self.strangers.leave(ticket);
        }
        info!("service {} is served by client {address}", self.config.services[service].name);
        for visitor in moved {
            match self.is_http(visitor) {
                true => self.http_place_again(visitor),
                false => self.place(visitor),
            }
        }
        self.ask_for_links(id);
        self.set_session_deadline(id);
        Ok(())
    }

    /// Takes a service from its owner; the visitors that waited for it come back. An owner that is
    /// an earlier session of the same client ends at once: it is dead, whether it knows or not.
    fn hand_over(&mut self, to: ConnId, from: ConnId, service: usize) -> Vec<ConnId> {
        let waiting = self.waiting_for(from, service);
        let same_client = match (self.core.conns.get(to), self.core.conns.get(from)) {
            (Some(new), Some(old)) => match (&new.stage, &old.stage) {
                (Stage::Control(new), Stage::Control(old)) => {
                    new.control.is_same_client(&old.control)
                }
                _ => false,
            },
            _ => false,
        };
        if same_client {
            self.end_session(from, "replaced by a new session of the same client");
        } else if let Some(session) = self.session(from) {
            let address = session.address;
            if let Some(number) = session.control.withdraw(service) {
                info!(
                    "service {} is taken from client {address}",
                    self.config.services[service].name
                );
                // A loser that cannot be told will notice by itself.
                let _ = self.core.say(from, &Message::Withdrawn { number });
            }
        }
        waiting
    }

    /// Takes the visitors that wait for `service` out of a session's queue.
    fn waiting_for(&mut self, session: ConnId, service: usize) -> Vec<ConnId> {
        let all: Vec<ConnId> = match self.session(session) {
            Some(session) => session.pool.waiting_visitors().collect(),
            None => return Vec::new(),
        };
        let wants = |server: &mut Self, id: ConnId| {
            matches!(
                server.core.stage(id),
                Some(Stage::Visitor(visitor)) if visitor.waits_for() == Some(service)
            )
        };
        let moved: Vec<ConnId> = all.into_iter().filter(|id| wants(self, *id)).collect();
        if let Some(session) = self.session(session) {
            moved.iter().for_each(|visitor| session.pool.forget_visitor(*visitor));
        }
        moved
    }

    fn refuse(
        &mut self,
        id: ConnId,
        number: u16,
        service: Option<usize>,
        answer: Registration,
    ) -> Result<(), Gone> {
        if let Some(address) = self.session(id).map(|session| session.address) {
            // A name that is not in the file is a stranger's word, and stays out of the log.
            let name = service.map_or("", |service| &self.config.services[service].name).to_owned();
            self.complain(|| match answer {
                Registration::WrongToken => {
                    format!("client {address} has the wrong token for service {name}")
                }
                Registration::WrongKind => {
                    format!("client {address} has service {name} with another type")
                }
                Registration::WrongPorts => format!(
                    "client {address} has another number of ports for service {name} than this file"
                ),
                _ => format!("client {address} asks for a service that is not in this file"),
            });
        }
        self.core.say(id, &Message::Registered { number, answer })
    }

    /// Pings, silence, and spare links that are no longer needed.
    pub(super) fn tend_control(&mut self, id: ConnId) {
        let now = self.core.now();
        let Some(session) = self.session(id) else { return };
        if session.ticket.is_some() {
            return self.close_stranger(id, "nothing proved in time");
        }
        let due = session.control.pulse.poll(now);
        let mut surplus = Vec::new();
        while let Some(link) = session.pool.shed(now) {
            surplus.push(link);
        }
        for link in surplus {
            self.lose_link(link, "no longer needed");
        }
        match due {
            Due::Nothing => {}
            Due::Ping => {
                if let Err(gone) = self.core.say(id, &Message::Ping(now.0)) {
                    return self.end_session(id, gone);
                }
            }
            Due::Dead => return self.end_session(id, "silent for too long"),
        }
        self.set_session_deadline(id);
    }

    fn set_session_deadline(&mut self, id: ConnId) {
        let Some(session) = self.session(id) else { return };
        if session.ticket.is_none() {
            let pulse = session.control.pulse.deadline();
            let at = pulse.into_iter().chain(session.pool.shed_at()).min();
            self.core.set_deadline(id, at);
        }
    }

    /// Ends a session: its links and their visitors are reset, its waiting visitors turned away.
    pub(super) fn end_session(&mut self, id: ConnId, why: impl Into<Why>) {
        let why = why.into();
        let Some(session) = self.session(id) else { return };
        let address = session.address;
        let (_, waiting) = session.pool.drain();
        let links = std::mem::take(&mut session.links);
        let holdings = session.control.holdings().to_vec();
        match session.ticket.take() {
            Some(ticket) => {
                debug!("client {address}: {why}");
                self.strangers.leave(ticket);
            }
            None => info!("client {address} has gone: {why}"),
        }
        for holding in holdings {
            self.owners[holding.service].retain(|owner| *owner != id);
        }
        self.core.close(id);
        for link in links {
            self.lose_link(link, "its session has ended");
        }
        for visitor in waiting {
            self.turn_away(visitor, "home has gone offline");
        }
    }

    /// Closes a link, and resets the visitor that is on it.
    pub(super) fn lose_link(&mut self, id: ConnId, why: impl Into<Why>) {
        let Some(Stage::Link(link)) = self.core.stage(id) else { return };
        let session = link.session;
        let usage = std::mem::replace(&mut link.usage, LinkUse::Settling);
        debug!("link: {}", why.into());
        self.core.abort(id);
        if let Some(session) = self.session(session) {
            session.links.remove(&id);
            match usage {
                LinkUse::Spare => session.pool.lost_spare(id),
                LinkUse::Leased { .. } | LinkUse::Settling => session.pool.lost_leased(),
            }
        }
        if let LinkUse::Leased { visitor } = usage {
            match self.is_http(visitor) {
                true => self.http_link_lost(visitor),
                false => self.abort_visitor(visitor, "its link is gone"),
            }
        }
        self.ask_for_links(session);
    }

    /// A spare link says nothing; what comes is its end.
    pub(super) fn watch_spare(&mut self, id: ConnId) {
        let Some(conn) = self.core.conns.get_mut(id) else { return };
        let mut watch = || -> Result<(), Gone> {
            conn.flush(&mut self.core.io)?;
            loop {
                let pulled = conn.pull(&mut self.core.io)?;
                if pulled.end.is_some() {
                    return Err(Gone::Unexpected);
                }
                if !pulled.moved {
                    return Ok(());
                }
            }
        };
        if let Err(gone) = watch() {
            self.lose_link(id, gone);
        }
    }

    /// Gives spare links to the visitors that wait.
    fn serve_waiting(&mut self, session: ConnId) {
        let now = self.core.now();
        while let Some((visitor, link)) =
            self.session(session).and_then(|session| session.pool.serve(now))
        {
            self.open(visitor, link, session);
        }
        self.ask_for_links(session);
    }

    /// Asks the client for as many links as are missing.
    pub(super) fn ask_for_links(&mut self, id: ConnId) {
        let now = self.core.now();
        let Some(session) = self.session(id) else { return };
        if session.ticket.is_some() {
            return;
        }
        let missing = session.pool.ask(now);
        let mut left = missing;
        while left > 0 {
            let count = u16::try_from(left).unwrap_or(u16::MAX);
            left -= usize::from(count);
            if let Err(gone) = self.core.say(id, &Message::Links { count }) {
                return self.end_session(id, gone);
            }
        }
    }

    /// Puts a visitor on a link: OPEN with what it has said so far.
    pub(super) fn open(&mut self, visitor_id: ConnId, link_id: ConnId, session_id: ConnId) {
        // From here on the pool counts it as leased.
        if let Some(Stage::Link(link)) = self.core.stage(link_id) {
            link.usage = LinkUse::Leased { visitor: visitor_id };
        }
        if self.is_http(visitor_id) {
            return self.open_http_waiting(visitor_id, link_id, session_id);
        }
        let Some(mut waiting) = self.take_waiting(visitor_id, link_id) else {
            // Whoever leaves is taken out of the queue, so this does not happen.
            return self.lose_link(link_id, Gone::Unexpected);
        };
        let number =
            self.session(session_id).and_then(|session| session.number_of(waiting.service));
        let sent = match number {
            Some(number) => self.send_open(visitor_id, link_id, number, &waiting),
            None => Err(Gone::Unexpected),
        };
        self.core.io.buffers.give_back(&mut waiting.held);
        match sent {
            Ok(()) => self.relay(link_id, visitor_id),
            Err(gone) => self.lose_link(link_id, gone),
        }
    }

    fn send_open(
        &mut self,
        visitor_id: ConnId,
        link_id: ConnId,
        service: u16,
        waiting: &Waiting,
    ) -> Result<(), Gone> {
        let name = waiting.name.as_ref().map_or(&[][..], |name| name.as_str().as_bytes());
        let room = waiting.held.len().min(Open::room(usize::from(u8::MAX)));
        let (first, rest) = waiting.held.split_at(room);
        let opening = Opening {
            service,
            entry: waiting.entry,
            offset: waiting.offset,
            name,
            first_bytes: first,
        };
        self.say_open(visitor_id, link_id, opening)?;
        self.push_bytes(link_id, rest)
    }

    /// Says OPEN for a visitor.
    pub(super) fn say_open(
        &mut self,
        visitor_id: ConnId,
        link_id: ConnId,
        opening: Opening<'_>,
    ) -> Result<(), Gone> {
        let Some((link, visitor)) = self.core.conns.pair_mut(link_id, visitor_id) else {
            return Err(Gone::Unexpected);
        };
        let Stage::Visitor(details) = &visitor.stage else { return Err(Gone::Unexpected) };
        let address = details.address;
        let local = match details.local {
            Some(said) => said,
            None => self.core.io.net.local_addr(visitor.socket.stream()).map_err(Gone::Io)?,
        };
        let Some(tunnel) = &mut link.tunnel else { return Err(Gone::Unexpected) };
        let lease = tunnel.lease.open_next();
        let Opening { service, entry, offset, name, first_bytes } = opening;
        let visitor = address;
        let open = Open { lease, service, entry, visitor, local, offset, name, first_bytes };
        link.say(&mut self.core.io, &Message::Open(open))
    }

    /// Sends bytes on a link as DATA.
    pub(super) fn push_bytes(&mut self, link: ConnId, bytes: &[u8]) -> Result<(), Gone> {
        let conn = self.core.conns.get_mut(link).ok_or(Gone::Unexpected)?;
        for part in bytes.chunks(BATCH) {
            self.core.io.scratch.clear[..part.len()].copy_from_slice(part);
            conn.push(&mut self.core.io, part.len())?;
        }
        Ok(())
    }

    /// An event of a leased link: its visitor's turn.
    pub(super) fn serve(&mut self, link: ConnId, visitor: ConnId) {
        match self.is_http(visitor) {
            true => self.hear_http(visitor),
            false => self.relay(link, visitor),
        }
    }

    fn is_http(&mut self, visitor: ConnId) -> bool {
        matches!(
            self.core.stage(visitor),
            Some(Stage::Visitor(visitor)) if matches!(visitor.doing, Doing::Http(_))
        )
    }

    /// Moves bytes between a link and its visitor.
    pub(super) fn relay(&mut self, link: ConnId, visitor: ConnId) {
        let outcome = relay::relay(&mut self.core.io, &mut self.core.conns, link, visitor);
        self.after_relay(link, visitor, outcome);
    }

    /// One direction has ended and the other has been silent for too long.
    pub(super) fn cut_silent(&mut self, link: ConnId, visitor: ConnId) {
        if let Some(conn) = self.core.conns.get_mut(link) {
            let outcome = relay::plain_broken(&mut self.core.io, conn, Reason::Idle);
            self.after_relay(link, visitor, outcome);
        }
    }

    fn after_relay(&mut self, link: ConnId, visitor: ConnId, outcome: Outcome) {
        match outcome {
            Outcome::Waiting { progress } => self.note_progress(visitor, progress),
            Outcome::More { progress } => {
                self.note_progress(visitor, progress);
                self.core.enqueue(link);
            }
            Outcome::Done => {
                self.leave_after_flush(visitor);
                self.start_settling(link);
            }
            Outcome::PlainBroken => {
                self.abort_visitor(visitor, "broken");
                self.start_settling(link);
            }
            Outcome::PeerReset(reason) => {
                self.abort_visitor(visitor, reason);
                self.start_settling(link);
            }
            Outcome::LinkGone(gone) => self.lose_link(link, gone),
        }
    }

    fn start_settling(&mut self, id: ConnId) {
        if let Some(Stage::Link(link)) = self.core.stage(id) {
            link.usage = LinkUse::Settling;
        }
        self.settle(id);
    }

    /// Reads a link up to the peer's end and writes what is left; then it is spare again.
    pub(super) fn settle(&mut self, id: ConnId) {
        let now = self.core.now();
        let Some(conn) = self.core.conns.get_mut(id) else { return };
        match relay::settle(&mut self.core.io, conn, Lease::is_over) {
            Err(gone) => return self.lose_link(id, gone),
            Ok(false) => {
                // In order, the end may take as long as a slow service at home takes to read.
                let reset = conn.lease().is_some_and(|lease| lease.said() == LeaseEnd::Reset);
                if reset && !conn.deadline.is_set() {
                    self.core.set_deadline(id, Some(now + limits::RESET_ANSWER_TIME));
                }
                return;
            }
            Ok(true) => {}
        }
        self.core.set_deadline(id, None);
        let Some(Stage::Link(link)) = self.core.stage(id) else { return };
        link.usage = LinkUse::Spare;
        let session_id = link.session;
        if let Some(session) = self.session(session_id) {
            session.pool.returned(id);
        }
        self.serve_waiting(session_id);
        self.set_session_deadline(session_id);
    }

    pub(super) fn session(&mut self, id: ConnId) -> Option<&mut Session> {
        match self.core.stage(id) {
            Some(Stage::Control(session)) => Some(session),
            _ => None,
        }
    }

    fn take_waiting(&mut self, visitor: ConnId, link: ConnId) -> Option<Box<Waiting>> {
        let Some(Stage::Visitor(details)) = self.core.stage(visitor) else { return None };
        let doing = std::mem::replace(&mut details.doing, Doing::Relayed { link });
        let Doing::Waiting(waiting) = doing else {
            details.doing = doing;
            return None;
        };
        self.held -= waiting.held.len();
        self.core.set_deadline(visitor, None);
        Some(waiting)
    }
}

/// Why something ended, for the log.
pub(super) enum Why {
    Gone(Gone),
    Reason(Reason),
    Proxy(proxy_header::Reject),
    Text(&'static str),
}

impl From<Gone> for Why {
    fn from(gone: Gone) -> Why {
        Why::Gone(gone)
    }
}

impl From<Reason> for Why {
    fn from(reason: Reason) -> Why {
        Why::Reason(reason)
    }
}

impl From<proxy_header::Reject> for Why {
    fn from(reject: proxy_header::Reject) -> Why {
        Why::Proxy(reject)
    }
}

impl From<&'static str> for Why {
    fn from(text: &'static str) -> Why {
        Why::Text(text)
    }
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Why::Gone(gone) => gone.fmt(f),
            Why::Reason(reason) => reason.fmt(f),
            Why::Proxy(reject) => reject.fmt(f),
            Why::Text(text) => f.write_str(text),
        }
    }
}
