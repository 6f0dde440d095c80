//! UDP services at home: one socket for each session, so that the answers find their visitor.
//!
//! A session begins with the server's word, or over rathole's protocol with a visitor's first
//! datagram. An ICMP error ends none: a service that is restarted is there again for all.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

use log::debug;
use slab::Slab;

use super::link::LinkStep;
use super::names::in_order;
use super::{Client, Complaint, Tunnel};
use crate::config::{HostPort, Protocol, ServiceKind};
use crate::engine::conn::{Carrier as _, Event, Gone};
use crate::engine::conns::ConnId;
use crate::engine::net::{Net, Token};
use crate::engine::udp::{Parcel, Records};
use crate::limits;
use crate::proto::numbered::{Number, Numbered};
use crate::proto::time::Time;
use crate::proto::udp_sessions::{UdpSessionId, UdpSessions};
use crate::wire::datagram::{self, Begin, Record, SessionName};
use crate::wire::message::Reason;
use crate::wire::proxy_header::{self, Carrier, Ends, Tlvs};

/// All UDP services.
pub(super) struct Udp<S> {
    /// By number; also those that the file has no more, while they have sessions. A session is a
    /// link's and has its name there.
    services: BTreeMap<Number, UdpSessions<(ConnId, SessionName), UdpSession<S>>>,
    /// A socket's token is its index here: its service and its session.
    sockets: Slab<(Number, UdpSessionId)>,
    most_sockets: usize,
    /// Sockets in which datagrams may wait.
    pub(super) ready: BTreeSet<usize>,
    /// Bytes of datagrams that wait for a look-up.
    held: usize,
    parcel: Parcel,
    records: Records,
    /// Datagrams dropped, of either direction.
    pub(super) dropped: u64,
}

/// A visitor's session.
struct UdpSession<S> {
    home: UdpHome<S>,
    /// Where its home is, as the file has it.
    target: HostPort,
    doubt: Doubt,
    /// What goes in front of its first datagram: a PROXY header, if the service wants one.
    preface: Vec<u8>,
    /// It has gone out.
    is_prefaced: bool,
}

/// A session's end at home.
enum UdpHome<S> {
    /// The service's name is being looked up; what the visitor has said so far.
    Resolving { held: Vec<Vec<u8>> },
    /// Its socket, the index of that, and who it is connected to.
    Open { socket: S, index: usize, peer: SocketAddr },
}

/// Whether a home is still where it was.
struct Doubt {
    /// Since when the visitor has had no answer.
    silent_since: Option<Time>,
    /// When that was last asked.
    asked: Time,
    /// Something has said that nobody is there.
    is_refused: bool,
    /// The socket is of no use any more: this host's own address has changed, or its routes.
    is_broken: bool,
}

impl Doubt {
    fn none(now: Time) -> Doubt {
        Doubt { silent_since: None, asked: now, is_refused: false, is_broken: false }
    }

    /// A datagram goes home: whether the home is to be looked for.
    fn grows(&mut self, sent: &io::Result<()>, now: Time) -> bool {
        match sent.as_ref().map_err(io::Error::kind) {
            Ok(()) | Err(ErrorKind::WouldBlock) => {}
            Err(ErrorKind::ConnectionRefused) => self.is_refused = true,
            Err(_) => self.is_broken = true,
        }
        let since = *self.silent_since.get_or_insert(now);
        let is_due = match self.is_refused || self.is_broken {
            true => now - self.asked >= limits::UDP_REFUSED,
            false => now - since.max(self.asked) >= limits::UDP_SILENCE,
        };
        if is_due {
            self.asked = now;
        }
        is_due
    }
}

/// Indices of sockets fit into a token on every system ([`ConnId::token`]).
const MOST_SOCKETS: usize = 65_535;

impl<S> Udp<S> {
    /// No services.
    pub(super) fn new() -> Udp<S> {
        Udp {
            services: BTreeMap::new(),
            sockets: Slab::new(),
            most_sockets: 0,
            ready: BTreeSet::new(),
            held: 0,
            parcel: Parcel::default(),
            records: Records::default(),
            dropped: 0,
        }
    }

    /// Those of a file, with at most `room` sockets.
    pub(super) fn set_services(&mut self, all: &Numbered, protocol: Protocol, room: usize) {
        self.services.retain(|number, sessions| all.get(*number).is_some() || !sessions.is_empty());
        for (number, service) in all.iter().filter(|(_, it)| it.kind == ServiceKind::Udp) {
            // A native server says when a session ends; its file says how long one may be idle and
            // how many there may be.
            let (idle_time, most) = match protocol {
                Protocol::Native => (None, usize::MAX),
                Protocol::Rathole => (Some(service.udp.idle_time), service.udp.max_sessions),
            };
            let sessions = self.services.entry(number);
            let sessions = sessions.or_insert_with(|| UdpSessions::new(idle_time, most));
            sessions.set_bounds(idle_time, most);
        }
        self.most_sockets = if self.services.is_empty() { 0 } else { room.clamp(1, MOST_SOCKETS) };
    }

    /// When the next session will have been idle for too long.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.services.values().filter_map(UdpSessions::deadline).min()
    }

    /// How many sockets there may be.
    pub(super) fn most_sockets(&self) -> usize {
        self.most_sockets
    }

    /// How many sessions each service has.
    pub(super) fn sessions(&self) -> impl Iterator<Item = (Number, usize)> {
        self.services.iter().map(|(number, sessions)| (*number, sessions.len()))
    }

    /// How many sockets there are.
    pub(super) fn sockets(&self) -> usize {
        self.sockets.len()
    }

    /// Closes everything.
    pub(super) fn close(&mut self) {
        self.services.clear();
        self.sockets.clear();
        self.ready.clear();
    }

    /// Room for one more session of `service`, and the one that makes it. Each has a socket, or
    /// will have one when its name is found. Where those are too few, the service with the most
    /// sessions gives one up, so that nobody's crowd keeps another service's visitors out.
    fn make_room(&mut self, service: Number) -> Option<(ConnId, SessionName)> {
        let all = self.services.values().map(UdpSessions::len).sum::<usize>();
        let mut ended = self.services.get_mut(&service)?.make_room();
        if ended.is_none() && all >= self.most_sockets {
            let largest = self.services.values_mut().max_by_key(|sessions| sessions.len());
            ended = largest?.end_idlest();
        }
        let (_, key, ended) = ended?;
        self.close_home(ended.home);
        Some(key)
    }

    fn close_home(&mut self, home: UdpHome<S>) {
        match home {
            UdpHome::Resolving { held } => {
                self.held -= held.iter().map(Vec::len).sum::<usize>();
                self.dropped += held.len() as u64;
            }
            UdpHome::Open { index, .. } => {
                self.sockets.remove(index);
                self.ready.remove(&index);
            }
        }
    }
}

impl<N: Net> Client<N> {
    /// The server lends a link to a UDP service.
    pub(super) fn begin_datagrams(&mut self, link: ConnId, service: Number) {
        let is_listed = self.services.get(service).is_some();
        match is_listed && self.udp.services.contains_key(&service) {
            true => {
                self.set_step(link, LinkStep::Datagrams { service, cut: Vec::new() });
                self.hear_datagrams(link);
            }
            false => self.refuse_visitor(link, Reason::NoService),
        }
    }

    /// A UDP link has something to say.
    pub(super) fn hear_datagrams(&mut self, link: ConnId) {
        let mut records = std::mem::take(&mut self.udp.records);
        if let Err(gone) = self.take_records(link, &mut records) {
            self.lose_link(link, gone);
        }
        self.udp.records = records;
    }

    fn take_records(&mut self, id: ConnId, records: &mut Records) -> Result<(), Gone> {
        let Some(conn) = self.core.conns.tunnel(id) else { return Ok(()) };
        conn.flush(&mut self.core.io)?;
        let dialect = conn.dialect();
        let Some((service, cut)) = udp_step(&mut conn.stage) else { return Ok(()) };
        let cut = std::mem::take(cut);
        let pulled = records.pull(&mut self.core.io, conn, cut)?;
        while let Some(record) = records.next(dialect)? {
            match record {
                Record::Begin(begin) => {
                    debug!("visitor {} of UDP session {:x}", begin.visitor, begin.session);
                    let name = SessionName::Number(begin.session);
                    let preface = self.preface(service, &begin);
                    self.begin_session(id, service, name, begin.offset, preface)?;
                }
                Record::Datagram(name, datagram) => {
                    if let SessionName::Visitor(_) = name {
                        self.begin_session(id, service, name, 0, Vec::new())?;
                    }
                    self.take_home(id, service, name, datagram);
                }
                Record::End(session) => {
                    let key = (id, SessionName::Number(session));
                    let found = self.udp.services.get(&service).and_then(|all| all.find(&key));
                    if let Some(session) = found {
                        self.forget_udp_session(service, session);
                    }
                }
            }
        }
        let Some(conn) = self.core.conns.tunnel(id) else { return Ok(()) };
        let Some((_, cut)) = udp_step(&mut conn.stage) else { return Ok(()) };
        *cut = records.cut(&mut self.core.io.buffers);
        match pulled.end {
            None if pulled.moved => self.core.enqueue(id),
            None if conn.socket.is_broken() => return Err(Gone::Closed),
            None => {}
            Some(Event::Fin) => {
                conn.finish(&mut self.core.io)?;
                self.forget_datagrams(service, id);
                self.start_settling(id);
            }
            Some(Event::Reset(reason)) => {
                debug!("link: {reason}");
                conn.say_reset(&mut self.core.io, Reason::Answer)?;
                self.forget_datagrams(service, id);
                self.start_settling(id);
            }
            Some(Event::Message(..)) => return Err(Gone::Unexpected),
        }
        Ok(())
    }

    /// What the home's server is told of a visitor before its first datagram.
    fn preface(&self, service: Number, begin: &Begin) -> Vec<u8> {
        let mut preface = Vec::new();
        if self.services.get(service).is_some_and(|it| it.proxy_protocol.is_some()) {
            let ends = Ends { source: begin.visitor, destination: begin.local };
            proxy_header::write_v2(Carrier::Datagram, ends, Tlvs::default(), &mut preface);
        }
        preface
    }

    /// Begins a session, unless it has.
    fn begin_session(
        &mut self,
        link: ConnId,
        service: Number,
        name: SessionName,
        offset: u16,
        preface: Vec<u8>,
    ) -> Result<(), Gone> {
        let now = self.core.now();
        let Some(sessions) = self.udp.services.get(&service) else { return Ok(()) };
        if sessions.find(&(link, name)).is_some() {
            return Ok(());
        }
        let target = self.services.get(service).and_then(|service| service.local_port(offset));
        let Some(target) = target else {
            return self.say_end(link, name);
        };
        if let Some((its_link, its_name)) = self.udp.make_room(service)
            && let Err(gone) = self.say_end(its_link, its_name)
        {
            self.lose_link(its_link, gone);
        }
        // It may have been this one, and nobody would end a session of it any more.
        if self.core.conns.get(link).is_none() {
            return Ok(());
        }
        let Some(sessions) = self.udp.services.get_mut(&service) else { return Ok(()) };
        let (home, doubt) = (UdpHome::Resolving { held: Vec::new() }, Doubt::none(now));
        let session =
            UdpSession { home, target: target.clone(), doubt, preface, is_prefaced: false };
        let id = sessions.begin((link, name), session, now);
        match self.known_addresses(&target) {
            Some(addresses) => self.open_udp_home(service, id, addresses),
            None => self.look_up_home(target, None),
        }
        Ok(())
    }

    /// A name's addresses are here, or there are none.
    pub(super) fn found_udp_homes(&mut self, target: &HostPort, addresses: &[SocketAddr]) {
        let mut waiting = Vec::new();
        for (service, sessions) in &self.udp.services {
            // One that is where it was goes on, with the port that its home knows.
            let waits = |its: &UdpSession<_>| match its.home {
                UdpHome::Resolving { .. } => true,
                UdpHome::Open { peer, .. } => {
                    !addresses.is_empty() && (its.doubt.is_broken || !addresses.contains(&peer))
                }
            };
            let those = sessions.those(|_, its| its.target == *target && waits(its));
            waiting.extend(those.into_iter().map(|id| (*service, id)));
        }
        for (service, id) in waiting {
            self.open_udp_home(service, id, addresses.to_vec());
        }
    }

    /// A socket to the first address that has a route; who is there shows when it answers.
    fn open_udp_home(&mut self, service: Number, id: UdpSessionId, addresses: Vec<SocketAddr>) {
        // Another one's end may have cost it its link.
        if self.udp.services.get(&service).is_none_or(|sessions| sessions.get(id).is_none()) {
            return;
        }
        let prefer_ipv6 = self.services.get(service).is_some_and(|it| it.prefer_ipv6);
        let mut trouble = io::Error::from(ErrorKind::AddrNotAvailable);
        for address in in_order(addresses, prefer_ipv6) {
            let entry = self.udp.sockets.vacant_entry();
            let index = entry.key();
            match self.core.io.net.connect_udp(address, Token(index as u64)) {
                Ok(socket) => {
                    entry.insert((service, id));
                    let open = UdpHome::Open { socket, index, peer: address };
                    return self.use_udp_home(service, id, open);
                }
                Err(error) => trouble = error,
            }
        }
        let name = self.services.name(service).to_owned();
        self.complain(Complaint::Home, || format!("service {name} cannot be reached: {trouble}"));
        let sessions = self.udp.services.get(&service);
        let home = sessions.and_then(|sessions| sessions.get(id)).map(|(_, its)| &its.home);
        // One that has a socket may be reached again.
        if let Some(UdpHome::Resolving { .. }) = home {
            self.end_udp_session(service, id);
        }
    }

    fn use_udp_home(&mut self, service: Number, id: UdpSessionId, open: UdpHome<N::Udp>) {
        let Some(sessions) = self.udp.services.get_mut(&service) else { return };
        let now = self.core.io.net.now();
        let Some(session) = sessions.get_mut(id) else { return };
        let UdpSession { home, doubt, preface, is_prefaced, .. } = session;
        *is_prefaced = preface.is_empty();
        let former = std::mem::replace(home, open);
        *doubt = Doubt::none(now);
        let UdpHome::Open { socket, .. } = home else { return };
        let UdpHome::Resolving { held } = former else {
            // It has moved.
            return self.udp.close_home(former);
        };
        let mut passed = 0;
        for datagram in held {
            self.udp.held -= datagram.len();
            match send(&mut self.core.io.net, socket, preface, is_prefaced, &datagram) {
                Ok(()) => passed += datagram.len() as u64,
                Err(_) => self.udp.dropped += 1,
            }
        }
        self.count_moved(service, passed, 0);
    }

    /// A visitor's datagram.
    fn take_home(&mut self, link: ConnId, service: Number, name: SessionName, datagram: &[u8]) {
        let now = self.core.now();
        let Some(sessions) = self.udp.services.get_mut(&service) else { return };
        let id = sessions.find(&(link, name));
        if let Some(id) = id {
            sessions.used(id, now);
        }
        let Some(session) = id.and_then(|id| sessions.get_mut(id)) else {
            self.udp.dropped += 1;
            return;
        };
        let UdpSession { home, target, doubt, preface, is_prefaced } = session;
        let mut lost = None;
        let (taken, passed) = match home {
            UdpHome::Open { socket, peer, .. } => {
                let sent = send(&mut self.core.io.net, socket, preface, is_prefaced, datagram);
                if doubt.grows(&sent, now) {
                    lost = id.map(|id| (id, target.clone(), *peer, doubt.is_broken));
                }
                (sent.is_ok(), if sent.is_ok() { datagram.len() as u64 } else { 0 })
            }
            UdpHome::Resolving { held } => {
                let room = self.udp.held + datagram.len() <= limits::UDP_HELD_BYTES;
                let taken = room && held.len() < limits::UDP_HELD;
                if taken {
                    self.udp.held += datagram.len();
                    held.push(datagram.to_vec());
                }
                (taken, 0)
            }
        };
        self.udp.dropped += u64::from(!taken);
        self.count_moved(service, passed, 0);
        if let Some((id, target, peer, is_broken)) = lost {
            match target.host.parse::<IpAddr>() {
                Ok(_) if is_broken => self.open_udp_home(service, id, vec![peer]),
                Ok(_) => {}
                Err(_) => self.look_up_home(target, None),
            }
        }
    }

    /// Sends what waits in a socket to its visitor, within its budget.
    pub(super) fn take_datagrams(&mut self, index: usize) {
        for _ in 0..limits::DATAGRAMS_A_TURN {
            if !self.take_datagram(index) {
                self.udp.ready.remove(&index);
                return;
            }
        }
    }

    /// One datagram, or ICMP's word that nobody is at home: somebody may be soon. Whether more may
    /// wait.
    fn take_datagram(&mut self, index: usize) -> bool {
        let Some((service, id)) = self.udp.sockets.get(index).copied() else { return false };
        let Some(sessions) = self.udp.services.get_mut(&service) else { return false };
        let Some((link, name)) = sessions.get(id).map(|(key, _)| *key) else { return false };
        let Some(session) = sessions.get_mut(id) else { return false };
        let UdpHome::Open { socket, .. } = &mut session.home else { return false };
        match self.core.io.net.receive(socket, self.udp.parcel.room()) {
            Ok((length, _)) => {
                session.doubt.silent_since = None;
                sessions.used(id, self.core.io.net.now());
                sessions.answered(id);
                self.count_moved(service, 0, length as u64);
                self.send_out(link, name, length);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => {
                session.doubt.is_refused = true;
                debug!("UDP service at home: {error}");
            }
        }
        true
    }

    /// Sends the datagram in the parcel out.
    fn send_out(&mut self, link: ConnId, name: SessionName, length: usize) {
        let Some(conn) = self.core.conns.get(link) else { return };
        if conn.socket().backlog() + length > limits::UDP_BACKLOG || length > datagram::MAX_DATAGRAM
        {
            self.udp.dropped += 1;
            return;
        }
        self.udp.parcel.header.clear();
        let record = self.udp.parcel.record(name, length);
        if let Err(gone) = self.core.push(link, record) {
            self.lose_link(link, gone);
        }
    }

    /// Ends the sessions that have been idle for too long.
    pub(super) fn expire_udp_sessions(&mut self) {
        let now = self.core.now();
        let expired = |sessions: &mut UdpSessions<_, _>| sessions.expire(now);
        while let Some((_, (link, name), ended)) = self.udp.services.values_mut().find_map(expired)
        {
            self.udp.close_home(ended.home);
            if let Err(gone) = self.say_end(link, name) {
                self.lose_link(link, gone);
            }
        }
    }

    fn end_udp_session(&mut self, service: Number, id: UdpSessionId) {
        if let Some((link, name)) = self.forget_udp_session(service, id)
            && let Err(gone) = self.say_end(link, name)
        {
            self.lose_link(link, gone);
        }
    }

    /// Without a word to the server.
    fn forget_udp_session(
        &mut self,
        service: Number,
        id: UdpSessionId,
    ) -> Option<(ConnId, SessionName)> {
        let (key, ended) = self.udp.services.get_mut(&service)?.end(id)?;
        self.udp.close_home(ended.home);
        Some(key)
    }

    /// Tells the server that a session is over. rathole has no word for it.
    fn say_end(&mut self, link: ConnId, name: SessionName) -> Result<(), Gone> {
        match name {
            SessionName::Number(session) => self.core.push(link, &datagram::end(session)),
            SessionName::Visitor(_) => Ok(()),
        }
    }

    /// The sessions of a link that carries no more datagrams.
    pub(super) fn forget_datagrams(&mut self, service: Number, link: ConnId) {
        if let Some((_, cut)) = self.core.tunnel(link).and_then(|link| udp_step(&mut link.stage)) {
            let mut cut = std::mem::take(cut);
            self.core.io.buffers.give_back(&mut cut);
        }
        let Some(sessions) = self.udp.services.get(&service) else { return };
        for id in sessions.those(|(its_link, _), _| *its_link == link) {
            self.forget_udp_session(service, id);
        }
    }
}

/// Sends a datagram home. `preface` goes in front of the first one that does. An
/// error that ICMP left stands in the way of one call.
fn send<N: Net>(
    net: &mut N,
    socket: &mut N::Udp,
    preface: &[u8],
    is_prefaced: &mut bool,
    datagram: &[u8],
) -> io::Result<()> {
    let prefaced = match *is_prefaced {
        true => Cow::Borrowed(datagram),
        false => Cow::Owned([preface, datagram].concat()),
    };
    let mut sent = net.send(socket, &prefaced, None);
    if sent.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
        sent = net.send(socket, &prefaced, None);
    }
    *is_prefaced |= sent.is_ok();
    sent
}

fn udp_step(stage: &mut Tunnel) -> Option<(Number, &mut Vec<u8>)> {
    match stage {
        Tunnel::Link(link) => match &mut link.step {
            LinkStep::Datagrams { service, cut } => Some((*service, cut)),
            _ => None,
        },
        _ => None,
    }
}
