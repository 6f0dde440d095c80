//! Tunnel connections: greeting, control sessions, and the life of a link between visitors.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use log::{debug, info};

use super::visitor::{Doing, Waiting};
use super::{Complaint, Server, Stage};
use crate::config::Passthrough;
use crate::engine::conn::{Dialect, End, Gone, Turn};
use crate::engine::conns::ConnId;
use crate::engine::net::Net;
use crate::engine::relay::{self, Outcome};
use crate::limits;
use crate::proto::access::End as Ended;
use crate::proto::control_server::{self, Asked, ControlServer, Holding};
use crate::proto::keepalive::{Due, Keepalive};
use crate::proto::lease::{End as LeaseEnd, Lease};
use crate::proto::link_pool::{LinkPool, Terms};
use crate::proto::noise::HandshakeHash;
use crate::proto::rathole_server::{Claim, ControlChannel};
use crate::proto::strangers::Ticket;
use crate::wire::frame;
use crate::wire::message::{Entry, Message, Open, Reason, Registration, VERSION};
use crate::wire::rathole::{self, Start};

/// What OPEN says of a visitor beside its addresses.
pub(super) struct Opening<'a> {
    pub(super) service: usize,
    pub(super) entry: Entry,
    /// Which of the service's own ports.
    pub(super) offset: u16,
    pub(super) name: &'a [u8],
    /// All that it has said so far.
    pub(super) said: &'a [u8],
}

/// How far a greeting is.
pub(super) struct Shaken {
    pub(super) address: SocketAddr,
    /// Set once the handshake is done.
    hash: Option<HandshakeHash>,
    /// A rathole client has been given a nonce.
    pub(super) claim: Option<Claim>,
}

/// A client's control session. Its connection's id names it.
pub(super) struct Session {
    pub(super) address: SocketAddr,
    pub(super) control: Control,
    pub(super) pool: LinkPool<ConnId, ConnId>,
    /// All links that it has, in whatever use.
    links: BTreeSet<ConnId>,
    /// Set until the first token is proved.
    pub(super) ticket: Option<Ticket>,
}

/// What its client speaks.
pub(super) enum Control {
    /// All services of one client.
    Native(ControlServer),
    /// One service.
    Rathole(ControlChannel),
}

/// A link of a session; of a rathole client, a data channel.
pub(super) struct Link {
    pub(super) session: ConnId,
    pub(super) usage: LinkUse,
}

pub(super) enum LinkUse {
    /// In the pool.
    Spare,
    /// A visitor is on it.
    Leased { visitor: ConnId },
    /// The datagrams of many visitors are on it. What has come of the next record.
    Udp { service: usize, cut: Vec<u8> },
    /// The visitor has gone; the peer's end or our own last bytes are still under way.
    Settling,
}

impl Control {
    /// The services that it has.
    fn services(&self) -> Vec<usize> {
        match self {
            Control::Native(control) => {
                control.holdings().iter().map(|holding| holding.service).collect()
            }
            Control::Rathole(channel) => vec![channel.service],
        }
    }

    fn pulse(&mut self) -> &mut Keepalive {
        match self {
            Control::Native(control) => &mut control.pulse,
            Control::Rathole(channel) => &mut channel.pulse,
        }
    }
}

impl Session {
    pub(super) fn new(address: SocketAddr, control: Control, terms: Terms, cap: usize) -> Session {
        let (pool, links) = (LinkPool::new(terms, cap), BTreeSet::new());
        Session { address, control, pool, links, ticket: None }
    }
}

/// Messages of one connection before others have their turn.
const BUDGET: usize = 32;

impl Shaken {
    pub(super) fn not_yet(address: SocketAddr) -> Shaken {
        Shaken { address, hash: None, claim: None }
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
            None => {
                conn.flush(&mut self.core.io)?;
                let turn = conn.shake_hands(&mut self.core.io)?;
                let Some(hash) = self.core.go_on(id, turn) else { return Ok(()) };
                hash
            }
        };
        let Some(conn) = self.core.conns.get_mut(id) else { return Ok(()) };
        let Stage::Greeting { shaken, .. } = &mut conn.stage else { return Ok(()) };
        shaken.hash = Some(hash);
        if let Some(tunnel) = &mut conn.tunnel {
            tunnel.allow(limits::CONTROL_BODY);
        }
        conn.flush(&mut self.core.io)?;
        if conn.dialect() == Some(Dialect::Rathole) {
            return self.greet_rathole(id);
        }
        for _ in 0..BUDGET {
            let Some(conn) = self.core.conns.get_mut(id) else { return Ok(()) };
            let pulled = conn.pull(&mut self.core.io)?;
            if conn.dialect() == Some(Dialect::Rathole) {
                conn.put_back(&mut self.core.io, pulled.data);
                return self.greet_rathole(id);
            }
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
        self.core.enqueue(id);
        Ok(())
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
            self.complain(Complaint::Version, || {
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
        let control = Control::Native(ControlServer::new(hash, instance, key, nonce, pulse));
        let mut session = Session::new(address, control, Terms::NATIVE, self.bounds.links);
        session.ticket = Some(ticket);
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
        let proved = version == VERSION
            && self.session(session_id).is_some_and(|session| match &session.control {
                Control::Native(control) => control.proves_link(hash, proof),
                Control::Rathole(_) => false,
            });
        if !proved || !self.take_in_link(id, ticket, session_id) {
            return Err(Gone::Unexpected);
        }
        if let Err(gone) = self.core.say(id, &Message::Ready) {
            self.lose_link(id, gone);
            return Ok(());
        }
        self.serve_waiting(session_id);
        self.set_session_deadline(session_id);
        Ok(())
    }

    /// A link that is proved goes into its session's pool, if that has room.
    pub(super) fn take_in_link(&mut self, id: ConnId, ticket: Ticket, session_id: ConnId) -> bool {
        let now = self.core.now();
        let Some(session) = self.session(session_id) else { return false };
        if !session.pool.arrived(id, now) {
            return false;
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
        true
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
        let heard = match self.session(id).map(|session| &session.control) {
            Some(Control::Native(_)) => self.hear_native(id),
            Some(Control::Rathole(_)) => self.hear_rathole(id),
            None => Ok(()),
        };
        if let Err(gone) = heard {
            self.end_session(id, gone);
        }
    }

    fn hear_native(&mut self, id: ConnId) -> Result<(), Gone> {
        for _ in 0..BUDGET {
            let now = self.core.now();
            let Some(conn) = self.core.conns.get_mut(id) else { return Ok(()) };
            conn.flush(&mut self.core.io)?;
            if conn.socket.backlog() > limits::CONTROL_BACKLOG {
                return Err(Gone::Unexpected);
            }
            let pulled = conn.pull(&mut self.core.io)?;
            let Stage::Control(session) = &mut conn.stage else { return Ok(()) };
            let Control::Native(control) = &mut session.control else { return Ok(()) };
            let asked = match pulled.end {
                None if pulled.moved => continue,
                None => return Ok(()),
                Some(End::Fin | End::Reset(_)) => return Err(Gone::Unexpected),
                Some(End::Message(kind, payload)) => {
                    let payload = &self.core.io.scratch.clear[payload];
                    let message = Message::decode(kind, payload).map_err(Gone::Message)?;
                    control.handle(&message, &self.config.services, now)
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
        let moved = self.take_over(id, service);
        let accepted = Registration::Accepted;
        self.core.say(id, &Message::Registered { number, answer: accepted })?;
        let Some(session) = self.session(id) else { return Ok(()) };
        if let Control::Native(control) = &mut session.control {
            control.grant(holding);
        }
        let (address, ticket) = (session.address, session.ticket.take());
        if let Some(ticket) = ticket {
            self.strangers.leave(ticket);
        }
        info!("service {} is served by client {address}", self.config.services[service].name);
        self.begin_serving(id, moved);
        Ok(())
    }

    /// Makes a session the owner of a service; the visitors that waited for another one come back.
    pub(super) fn take_over(&mut self, id: ConnId, service: usize) -> Vec<ConnId> {
        let owner = self.owners[service].last().copied().filter(|owner| *owner != id);
        let moved = owner.map(|owner| self.hand_over(id, owner, service)).unwrap_or_default();
        self.owners[service] = vec![id];
        moved
    }

    /// A session has a service from now on: for those who wait, and for those who come.
    pub(super) fn begin_serving(&mut self, id: ConnId, moved: Vec<ConnId>) {
        for visitor in moved {
            match self.is_http(visitor) {
                true => self.http_place_again(visitor),
                false => self.place(visitor),
            }
        }
        self.ask_for_links(id);
        self.set_session_deadline(id);
    }

    /// Takes a service from its owner; the visitors that waited for it come back. An owner that is
    /// an earlier session of the same client ends at once: it is dead, whether it knows or not. So
    /// does a rathole client's, which has nothing else.
    fn hand_over(&mut self, to: ConnId, from: ConnId, service: usize) -> Vec<ConnId> {
        let waiting = self.waiting_for(from, service);
        self.leave_udp_links(service);
        let control = |id| match &self.core.conns.get(id)?.stage {
            Stage::Control(session) => Some(&session.control),
            _ => None,
        };
        let same_client = match (control(to), control(from)) {
            (Some(Control::Native(new)), Some(Control::Native(old))) => new.is_same_client(old),
            _ => false,
        };
        if same_client {
            self.end_session(from, "replaced by a new session of the same client");
            return waiting;
        }
        let Some(session) = self.session(from) else { return waiting };
        let address = session.address;
        match &mut session.control {
            Control::Rathole(_) => self.end_session(from, Why::TakenOver),
            Control::Native(control) => {
                let Some(number) = control.withdraw(service) else { return waiting };
                let name = &self.config.services[service].name;
                info!("service {name} is taken from client {address}");
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
            self.complain(Complaint::Registration(answer), || match answer {
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
        let due = session.control.pulse().poll(now);
        session.pool.write_off(now);
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
                let told = match self.session(id).map(|session| &session.control) {
                    Some(Control::Rathole(_)) => {
                        self.core.push(id, &rathole::Command::Heartbeat.encode())
                    }
                    _ => self.core.say(id, &Message::Ping(now.0)),
                };
                if let Err(gone) = told {
                    return self.end_session(id, gone);
                }
            }
            Due::Dead => return self.end_session(id, "silent for too long"),
        }
        self.ask_for_links(id);
        self.set_session_deadline(id);
    }

    pub(super) fn set_session_deadline(&mut self, id: ConnId) {
        let Some(session) = self.session(id) else { return };
        if session.ticket.is_none() {
            let pulse = session.control.pulse().deadline();
            let pool = [session.pool.shed_at(), session.pool.write_off_at()];
            let at = pulse.into_iter().chain(pool.into_iter().flatten()).min();
            self.core.set_deadline(id, at);
        }
    }

    /// Ends a session: its links and their visitors are reset, its waiting visitors turned away. A
    /// rathole client's channels that carry a visitor go on, as with rathole: they need nothing of
    /// the control channel's, and a client that has lost that one alone dials it again.
    pub(super) fn end_session(&mut self, id: ConnId, why: impl Into<Why>) {
        let why = why.into();
        let Some(session) = self.session(id) else { return };
        let address = session.address;
        let (_, waiting) = session.pool.drain();
        let links = std::mem::take(&mut session.links);
        let services = session.control.services();
        let are_bound = matches!(session.control, Control::Native(_));
        match session.ticket.take() {
            Some(ticket) => {
                debug!("client {address}: {why}");
                self.strangers.leave(ticket);
            }
            // Whoever took over is named in the log.
            None if matches!(why, Why::TakenOver) => debug!("client {address}: {why}"),
            None => info!("client {address} has gone: {why}"),
        }
        for service in services {
            self.owners[service].retain(|owner| *owner != id);
        }
        self.core.close(id);
        for link in links {
            if are_bound || self.is_spare(link) {
                self.lose_link(link, "its session has ended");
            }
        }
        for visitor in waiting {
            self.turn_away(visitor, Ended::Offline);
        }
    }

    /// Closes a link, and resets the visitor that is on it.
    pub(super) fn lose_link(&mut self, id: ConnId, why: impl Into<Why>) {
        let Some((session, usage)) = self.strike_link(id) else { return };
        debug!("link: {}", why.into());
        self.core.abort(id);
        match usage {
            LinkUse::Spare | LinkUse::Settling => {}
            LinkUse::Leased { visitor } => match self.is_http(visitor) {
                true => self.http_link_lost(visitor),
                false => self.abort_visitor(visitor, Ended::TunnelLost),
            },
            LinkUse::Udp { service, mut cut } => {
                self.core.io.buffers.give_back(&mut cut);
                self.forget_udp_link(service, id, Ended::TunnelLost);
            }
        }
        self.ask_for_links(session);
    }

    /// Closes a link that has served its one visitor.
    fn close_used_link(&mut self, id: ConnId) {
        if let Some((session, _)) = self.strike_link(id) {
            self.core.close(id);
            self.ask_for_links(session);
            self.set_session_deadline(session);
        }
    }

    /// Takes a link out of its session's books: whose it was, and what for.
    fn strike_link(&mut self, id: ConnId) -> Option<(ConnId, LinkUse)> {
        let Some(Stage::Link(link)) = self.core.stage(id) else { return None };
        let session_id = link.session;
        let usage = std::mem::replace(&mut link.usage, LinkUse::Settling);
        if let Some(session) = self.session(session_id) {
            session.links.remove(&id);
            match usage {
                LinkUse::Spare => session.pool.lost_spare(id),
                LinkUse::Leased { .. } | LinkUse::Udp { .. } | LinkUse::Settling => {
                    session.pool.lost_leased();
                }
            }
        }
        Some((session_id, usage))
    }

    fn is_spare(&mut self, link: ConnId) -> bool {
        let is_spare = |link: &Link| matches!(link.usage, LinkUse::Spare);
        matches!(self.core.stage(link), Some(Stage::Link(link)) if is_spare(link))
    }

    /// A spare link says nothing; what comes is its end.
    pub(super) fn watch_spare(&mut self, id: ConnId) {
        let Some(conn) = self.core.conns.get_mut(id) else { return };
        match conn.hear_nothing(&mut self.core.io) {
            Ok(turn) => _ = self.core.go_on(id, turn),
            Err(gone) => self.lose_link(id, gone),
        }
    }

    /// Gives spare links to the visitors that wait.
    pub(super) fn serve_waiting(&mut self, session: ConnId) {
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
        let asked = match session.control {
            Control::Native(_) => self.say_links(id, missing),
            Control::Rathole(_) => self.ask_for_channels(id, missing),
        };
        if let Err(gone) = asked {
            self.end_session(id, gone);
        }
    }

    fn say_links(&mut self, id: ConnId, mut missing: usize) -> Result<(), Gone> {
        while missing > 0 {
            let count = u16::try_from(missing).unwrap_or(u16::MAX);
            missing -= usize::from(count);
            self.core.say(id, &Message::Links { count })?;
        }
        Ok(())
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
        let Waiting { service, entry, offset, ref name, ref held, .. } = *waiting;
        let name = name.as_ref().map_or(&[][..], |name| name.as_str().as_bytes());
        let opening = Opening { service, entry, offset, name, said: held };
        let sent = self.begin(visitor_id, link_id, session_id, opening);
        self.core.io.buffers.give_back(&mut waiting.held);
        match sent {
            Ok(()) => self.relay(link_id, visitor_id),
            Err(gone) => self.lose_link(link_id, gone),
        }
    }

    /// Begins a visitor's lease of a link, with what it has said so far.
    pub(super) fn begin(
        &mut self,
        visitor_id: ConnId,
        link_id: ConnId,
        session_id: ConnId,
        opening: Opening<'_>,
    ) -> Result<(), Gone> {
        let number = match self.session(session_id).map(|session| &session.control) {
            Some(Control::Native(control)) => control.number_of(opening.service),
            Some(Control::Rathole(_)) => {
                return self.start_forwarding(link_id, Start::Tcp, opening.said);
            }
            None => None,
        };
        let passthrough = self.config.services[opening.service].passthrough;
        let service = number.ok_or(Gone::Unexpected)?;
        let Opening { entry, offset, name, said, .. } = opening;
        let (first_bytes, rest) = said.split_at(said.len().min(Open::room(usize::from(u8::MAX))));
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
        let raw = tunnel.choose_raw(entry, passthrough == Passthrough::Raw);
        let visitor = address;
        let open = Open { lease, service, entry, visitor, local, offset, raw, name, first_bytes };
        link.say(&mut self.core.io, &Message::Open(open))?;
        self.core.push(link_id, rest)
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
        self.note_first_byte(visitor);
        self.after_relay(link, visitor, outcome, Ended::VisitorReset);
    }

    /// One direction has ended and the other has been silent for too long.
    pub(super) fn cut_silent(&mut self, link: ConnId, visitor: ConnId) {
        if let Some(conn) = self.core.conns.get_mut(link) {
            let outcome = relay::plain_broken(&mut self.core.io, conn, Reason::Idle);
            self.after_relay(link, visitor, outcome, Ended::Idle);
        }
    }

    /// `end`: of the visitor, if its connection is what ends the relay.
    fn after_relay(&mut self, link: ConnId, visitor: ConnId, outcome: Outcome, end: Ended) {
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
                self.abort_visitor(visitor, end);
                self.start_settling(link);
            }
            Outcome::PeerReset(reason) => {
                self.abort_visitor(visitor, Ended::from(reason));
                self.start_settling(link);
            }
            Outcome::LinkGone(gone) => self.lose_link(link, gone),
        }
    }

    pub(super) fn start_settling(&mut self, id: ConnId) {
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
            Ok(turn @ (Turn::Waiting | Turn::More)) => {
                // In order, the end may take as long as a slow service at home takes to read, and
                // the session's pings show that the home lives. A rathole client is not asked.
                let reset = conn.lease().is_some_and(|lease| lease.said() == LeaseEnd::Reset);
                let patience = match conn.dialect() {
                    _ if reset => Some(limits::RESET_ANSWER_TIME),
                    Some(Dialect::Rathole) => Some(limits::HALF_CLOSED_SILENCE),
                    _ => None,
                };
                if let Some(patience) = patience.filter(|_| !conn.deadline.is_set()) {
                    self.core.set_deadline(id, Some(now + patience));
                }
                self.core.go_on(id, turn);
                return;
            }
            Ok(Turn::Done(())) if conn.dialect() == Some(Dialect::Rathole) => {
                return self.close_used_link(id);
            }
            Ok(Turn::Done(())) => {}
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

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Why::Gone(gone) => gone.fmt(f),
            Why::Text(text) => f.write_str(text),
            Why::TakenOver => f.write_str("another client has its service"),
        }
    }
}
