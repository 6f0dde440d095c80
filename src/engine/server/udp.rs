//! UDP services: visitors' datagrams to their home over a few links, and its answers back.
//!
//! A session is a visitor's address at one of the service's ports. It keeps to one link, and so to
//! one socket at home, until it has been idle for long enough. Datagrams are dropped, and counted,
//! where there is no home, no link, or no room on it; nobody ever waits for another.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use log::{debug, info};

use super::doors::{DoorId, Numbers, OpenDoors};
use super::links::LinkUse;
use super::sessions::Control;
use super::{Server, Tunnel};
use crate::config::{ServerConfig, ServiceKind, show_ports};
use crate::engine::conn::{Carrier as _, Dialect, Event, Gone};
use crate::engine::conns::ConnId;
use crate::engine::net::Net;
use crate::engine::udp::{Parcel, Records};
use crate::limits;
use crate::proto::access::{self, VisitEnd};
use crate::proto::bandwidth::Way;
use crate::proto::services::{ByService, Plan, ServiceId, Services};
use crate::proto::stats::Failed;
use crate::proto::time::Time;
use crate::proto::udp_sessions::{UdpSessionId, UdpSessions};
use crate::wire::datagram::{self, Begin, MAX_DATAGRAM, Record, SessionName};
use crate::wire::message::{Entry, Message, Open, Reason};
use crate::wire::rathole::Start;

/// All UDP services.
pub(super) struct Udp<S> {
    pub(super) doors: BTreeMap<DoorId, Door<S>>,
    numbers: Numbers,
    /// Doors in which datagrams may wait.
    pub(super) ready: BTreeSet<DoorId>,
    services: ByService<Service>,
    parcel: Parcel,
    records: Records,
    /// Datagrams dropped, of either direction.
    pub(super) dropped: u64,
}

/// A port of a service.
pub(super) struct Door<S> {
    socket: S,
    address: SocketAddr,
    opening: Opening,
    /// So far.
    sessions: u64,
}

/// What such a port is to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opening {
    /// As in the file, where a port may be 0.
    at: SocketAddr,
    service: ServiceId,
    /// Which of the service's own ports.
    offset: u16,
}

/// What becomes of the ports with another file.
pub(super) struct UdpPlan<S> {
    /// In the order of the file.
    doors: Vec<(DoorId, Opening)>,
    opened: BTreeMap<DoorId, Door<S>>,
}

struct Service {
    /// By door and visitor.
    sessions: UdpSessions<(DoorId, SocketAddr), Session>,
    /// At most [`limits::UDP_LINKS`], and how many sessions each has.
    links: BTreeMap<ConnId, usize>,
    doors: Vec<DoorId>,
}

/// A visitor's session.
struct Session {
    /// The link that it keeps to.
    link: ConnId,
    /// For the access log, as the rest.
    client: SocketAddr,
    began: Time,
    first_answer: Option<Time>,
    bytes_in: u64,
    bytes_out: u64,
}

impl Session {
    fn new(link: ConnId, client: SocketAddr, began: Time) -> Session {
        Session { link, client, began, first_answer: None, bytes_in: 0, bytes_out: 0 }
    }
}

/// Why a datagram is dropped.
type Dropped = &'static str;
/// Nobody waits with a datagram.
const OVER_BANDWIDTH: Dropped = "more than the bandwidth that the file allows";

impl<S> Udp<S> {
    /// No ports.
    pub(super) fn new() -> Udp<S> {
        Udp {
            doors: BTreeMap::new(),
            numbers: Numbers::UDP,
            ready: BTreeSet::new(),
            services: ByService::default(),
            parcel: Parcel::default(),
            records: Records::default(),
            dropped: 0,
        }
    }

    /// Opens the ports of a file that are not open yet; nothing changes before
    /// [`Server::commit_udp`].
    pub(super) fn plan<N: Net<Udp = S>>(
        &mut self,
        config: &ServerConfig,
        services: &Plan,
        net: &mut N,
    ) -> io::Result<UdpPlan<S>> {
        let mut plan = UdpPlan { doors: Vec::new(), opened: BTreeMap::new() };
        let doors = self.doors.iter().map(|(id, door)| (*id, door.opening));
        let mut open = OpenDoors::new(doors.map(|(id, it)| (id, it.at, (it.service, it.offset))));
        for (index, service) in config.services.iter().enumerate() {
            if service.kind != ServiceKind::Udp {
                continue;
            }
            let mut opened = Vec::new();
            for (at, offset) in service.bind_addrs.iter().zip(service.port_offsets()) {
                let opening = Opening { at: *at, service: services.at(index), offset };
                if let Some(id) = open.take(*at, (opening.service, offset)) {
                    plan.doors.push((id, opening));
                    continue;
                }
                let id = self.numbers.next(|id| self.doors.contains_key(&id));
                let opened_here = net.bind_udp(*at, id.token());
                let (socket, address) =
                    opened_here.map_err(|error| config.cannot_bind(*at, &error))?;
                plan.opened.insert(id, Door { socket, address, opening, sessions: 0 });
                plan.doors.push((id, opening));
                opened.push(address);
            }
            for shown in show_ports(&opened) {
                info!("listening on {shown} (UDP) for service {}", service.name);
            }
        }
        Ok(plan)
    }

    /// In the order of the file.
    pub(super) fn local_addrs(&self, services: &Services) -> Vec<SocketAddr> {
        let listed = services.iter().filter_map(|(id, _)| self.services.get(id));
        let doors = listed.flat_map(|service| &service.doors);
        doors.filter_map(|door| Some(self.doors.get(door)?.address)).collect()
    }

    /// When the next session will have been idle for too long.
    pub(super) fn deadline(&self) -> Option<Time> {
        let services = self.services.iter();
        services.filter_map(|(_, service)| service.sessions.deadline()).min()
    }

    /// How many sessions there are.
    pub(super) fn sessions(&self) -> usize {
        self.services.iter().map(|(_, service)| service.sessions.len()).sum()
    }

    /// Those of one service.
    pub(super) fn sessions_of(&self, service: ServiceId) -> usize {
        self.services.get(service).map_or(0, |service| service.sessions.len())
    }

    /// Where it listens, for whom, and sessions so far.
    pub(super) fn listeners(&self) -> impl Iterator<Item = (SocketAddr, ServiceId, u64)> {
        self.doors.values().map(|door| (door.address, door.opening.service, door.sessions))
    }

    fn expire(&mut self, now: Time) -> Option<(ServiceId, UdpSessionId, SocketAddr, Session)> {
        self.services.iter_mut().find_map(|(of, service)| {
            let (id, (_, visitor), session) = service.sessions.expire(now)?;
            Some((of, id, visitor, session))
        })
    }

    fn close(&mut self) {
        self.doors.clear();
        self.ready.clear();
        self.services = ByService::default();
    }

    fn drop_one(&mut self, address: SocketAddr, why: Dropped) {
        self.dropped += 1;
        debug!("datagram of {address} dropped: {why}");
    }
}

impl<N: Net> Server<N> {
    /// Takes what waits at a door, within its budget.
    pub(super) fn take_datagrams(&mut self, door: DoorId) {
        for _ in 0..limits::DATAGRAMS_A_TURN {
            let Some(Door { socket, address, .. }) = self.udp.doors.get_mut(&door) else {
                self.udp.ready.remove(&door);
                return;
            };
            let at = *address;
            match self.core.io.net.receive(socket, self.udp.parcel.room()) {
                Ok((length, visitor)) => {
                    if let Err(why) = self.forward(door, visitor, length) {
                        self.udp.drop_one(visitor, why);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.udp.ready.remove(&door);
                    return;
                }
                Err(error) => debug!("at {at}: {error}"),
            }
        }
    }

    /// Sends the datagram in the parcel home.
    fn forward(&mut self, door: DoorId, visitor: SocketAddr, length: usize) -> Result<(), Dropped> {
        if length > MAX_DATAGRAM {
            return Err("longer than IPv4 carries");
        }
        let now = self.core.now();
        let Door { address: local, opening, .. } =
            self.udp.doors.get(&door).ok_or("no such port any more")?;
        let (Opening { service, offset, .. }, local) = (*opening, *local);
        let is_draining = self.is_draining();
        let known = self.udp_service(service)?.sessions.find(&(door, visitor));
        let link = match known.and_then(|id| self.udp_service(service).ok()?.sessions.get(id)) {
            Some((_, session)) => session.link,
            None if is_draining => return Err("the server is about to end"),
            None => {
                self.admits_session(service, visitor).map_err(|refused| refused.end().as_str())?;
                self.udp_link(service, visitor, local)?
            }
        };
        if !self.bandwidths.take(service, Way::Up, length, now) {
            return Err(OVER_BANDWIDTH);
        }
        let client = self.client_of(link).ok_or("its link is gone")?;
        let conn = self.core.tunnel(link).ok_or("its link is gone")?;
        if conn.socket.backlog() + length > limits::UDP_BACKLOG {
            return Err("its link is full");
        }
        let rathole = conn.dialect() == Dialect::Rathole;
        self.udp.parcel.header.clear();
        let Service { sessions, links, .. } = self.udp_service(service)?;
        let mut began = false;
        let id = match known {
            Some(id) => {
                sessions.used(id, now);
                id
            }
            None => {
                began = true;
                *links.entry(link).or_default() += 1;
                sessions.begin((door, visitor), Session::new(link, client, now), now)
            }
        };
        if let Some(session) = sessions.get_mut(id) {
            session.bytes_in += length as u64;
            self.stats.moved(Some(service), access::Entry::Udp, length as u64, 0);
        }
        if began && let Some(door) = self.udp.doors.get_mut(&door) {
            door.sessions += 1;
        }
        let session = id.to_bits();
        if known.is_none() && !rathole {
            Begin { session, offset, visitor, local }.encode(&mut self.udp.parcel.header);
        }
        let name = match rathole {
            true => SessionName::Visitor(visitor),
            false => SessionName::Number(session),
        };
        let record = self.udp.parcel.record(name, length);
        if let Err(gone) = self.core.push(link, record) {
            self.lose_link(link, gone);
        }
        Ok(())
    }

    /// The link for a new session: one more as long as there are few, else the one with the fewest
    /// sessions.
    fn udp_link(
        &mut self,
        service: ServiceId,
        visitor: SocketAddr,
        local: SocketAddr,
    ) -> Result<ConnId, Dropped> {
        let now = self.core.now();
        self.broker.has_taker(service).then_some(()).ok_or("home is offline")?;
        if let Some((id, (_, visitor), session)) = self.udp_service(service)?.sessions.make_room() {
            self.log_session(service, visitor, &session, VisitEnd::MadeRoom);
            self.udp_session_over(service, session.link, Some(id));
        }
        let links = &self.udp_service(service)?.links;
        let least = links.iter().min_by_key(|(_, sessions)| **sessions);
        let least = least.map(|(link, sessions)| (*link, *sessions));
        let wants_more =
            links.len() < limits::UDP_LINKS && least.is_none_or(|(_, sessions)| sessions > 0);
        let network = visitor.ip().into();
        if wants_more
            && let Some((link, owner)) = self.broker.ask_for_datagrams(service, network, now)
        {
            self.udp_service(service)?.links.insert(link, 0);
            if let Err(gone) = self.open_udp(link, owner, service, visitor, local) {
                self.lose_link(link, gone);
            }
            return Ok(link);
        }
        least.map(|(link, _)| link).ok_or("no link is free")
    }

    /// Lends a link to a UDP service.
    fn open_udp(
        &mut self,
        id: ConnId,
        owner: ConnId,
        service: ServiceId,
        visitor: SocketAddr,
        local: SocketAddr,
    ) -> Result<(), Gone> {
        self.use_link(id, LinkUse::Udp { service, cut: Vec::new() });
        let number = match self.session(owner).map(|session| &session.control) {
            Some(Control::Native(control)) => control.number_of(service),
            Some(Control::Rathole(_)) => return self.start_forwarding(id, Start::Udp, &[]),
            None => None,
        };
        let service = number.ok_or(Gone::Unexpected)?;
        let conn = self.core.conns.tunnel(id).ok_or(Gone::Unexpected)?;
        let (entry, name, first_bytes) = (Entry::Udp, &[][..], &[][..]);
        let (offset, (lease, raw)) = (0, conn.codec().lend(entry, false));
        let confirm = false;
        let open =
            Open { lease, service, entry, visitor, local, offset, raw, confirm, name, first_bytes };
        conn.say(&mut self.core.io, &Message::Open(open))
    }

    /// A UDP link has something to say.
    pub(super) fn hear_datagrams(&mut self, link: ConnId) {
        let mut records = std::mem::take(&mut self.udp.records);
        if let Err(gone) = self.take_answers(link, &mut records) {
            self.lose_link(link, gone);
        }
        self.udp.records = records;
    }

    fn take_answers(&mut self, id: ConnId, records: &mut Records) -> Result<(), Gone> {
        let Some(conn) = self.core.conns.tunnel(id) else { return Ok(()) };
        conn.flush(&mut self.core.io)?;
        let dialect = conn.dialect();
        let Some((service, cut)) = udp_use(&mut conn.stage) else { return Ok(()) };
        let cut = std::mem::take(cut);
        let pulled = records.pull(&mut self.core.io, conn, cut)?;
        while let Some(record) = records.next(dialect)? {
            match record {
                Record::Datagram(name, datagram) => self.answer(id, service, name, datagram),
                Record::End(session) => {
                    let session = UdpSessionId::from_bits(session);
                    if self.udp_session_of(id, service, session).is_some() {
                        self.end_udp_session(service, session);
                    }
                }
                Record::Begin(_) => return Err(Gone::Unexpected),
            }
        }
        let Some(conn) = self.core.conns.tunnel(id) else { return Ok(()) };
        // Its last session may have ended, and its lease with it.
        let Some((_, cut)) = udp_use(&mut conn.stage) else { return Ok(()) };
        *cut = records.cut(&mut self.core.io.buffers);
        match pulled.end {
            None if pulled.moved => self.core.enqueue(id),
            None if conn.socket.is_broken() => return Err(Gone::Closed),
            None => {}
            Some(Event::Fin) => self.finish_udp_link(service, id, VisitEnd::HomeReset),
            Some(Event::Reset(reason)) => {
                debug!("link: {reason}");
                conn.say_reset(&mut self.core.io, Reason::Answer)?;
                self.forget_udp_link(service, id, reason.into());
                self.start_settling(id);
            }
            Some(Event::Message(..)) => return Err(Gone::Unexpected),
        }
        Ok(())
    }

    /// Sends a datagram of the home's to its visitor, from where the visitor sent to.
    fn answer(&mut self, link: ConnId, service: ServiceId, name: SessionName, datagram: &[u8]) {
        let now = self.core.now();
        let Some(here) = self.udp.services.get(service) else { return };
        let of_link = |id| self.udp_session_of(link, service, id).map(|at| (id, at));
        let found = match name {
            SessionName::Number(session) => of_link(UdpSessionId::from_bits(session)),
            // One that talks to two of the doors has a session at each.
            SessionName::Visitor(visitor) => {
                let mut doors = here.doors.iter();
                doors.find_map(|door| of_link(here.sessions.find(&(*door, visitor))?))
            }
        };
        let Some((id, (door, visitor))) = found else {
            self.udp.dropped += 1;
            return;
        };
        if let Ok(service) = self.udp_service(service) {
            service.sessions.used(id, now);
        }
        if !self.bandwidths.take(service, Way::Down, datagram.len(), now) {
            return self.udp.drop_one(visitor, OVER_BANDWIDTH);
        }
        let Some(Door { socket, .. }) = self.udp.doors.get_mut(&door) else { return };
        if let Err(error) = self.core.io.net.send(socket, datagram, Some(visitor)) {
            self.udp.dropped += 1;
            return debug!("datagram for {visitor} dropped: {error}");
        }
        let sessions = self.udp_service(service).map(|service| &mut service.sessions);
        if let Some(session) = sessions.ok().and_then(|sessions| sessions.get_mut(id)) {
            let wait = session.first_answer.is_none().then_some(now - session.began);
            session.first_answer.get_or_insert(now);
            session.bytes_out += datagram.len() as u64;
            if let Some(wait) = wait {
                self.stats.first_byte(Some(service), access::Entry::Udp, wait);
            }
            self.stats.moved(Some(service), access::Entry::Udp, 0, datagram.len() as u64);
        }
        if let Ok(service) = self.udp_service(service) {
            service.sessions.answered(id);
        }
    }

    /// Ends the sessions that have been idle for too long.
    pub(super) fn expire_udp_sessions(&mut self) {
        let now = self.core.now();
        while let Some((service, id, visitor, session)) = self.udp.expire(now) {
            self.log_session(service, visitor, &session, VisitEnd::Idle);
            self.udp_session_over(service, session.link, Some(id));
        }
    }

    fn end_udp_session(&mut self, service: ServiceId, id: UdpSessionId) {
        let ended = self.udp_service(service).ok().and_then(|service| service.sessions.end(id));
        if let Some(((_, visitor), session)) = ended {
            self.log_session(service, visitor, &session, VisitEnd::HomeReset);
            self.udp_session_over(service, session.link, None);
        }
    }

    /// A session of `link` has left the table. The home is told of `id`; a link without sessions
    /// goes back.
    fn udp_session_over(&mut self, service: ServiceId, link: ConnId, id: Option<UdpSessionId>) {
        let links = self.udp_service(service).map(|service| &mut service.links);
        let Some(sessions) = links.ok().and_then(|links| links.get_mut(&link)) else { return };
        *sessions -= 1;
        if *sessions == 0 {
            return self.finish_udp_link(service, link, VisitEnd::Idle);
        }
        let dialect = self.core.tunnel(link).map(|conn| conn.dialect());
        if let Some(id) = id
            && dialect == Some(Dialect::Native)
            && let Err(gone) = self.core.push(link, &datagram::end(id.to_bits()))
        {
            self.lose_link(link, gone);
        }
    }

    /// Ends our direction of a link, and with it its sessions.
    fn finish_udp_link(&mut self, service: ServiceId, id: ConnId, end: VisitEnd) {
        self.forget_udp_link(service, id, end);
        let Some(conn) = self.core.conns.tunnel(id) else { return };
        match conn.finish(&mut self.core.io) {
            Ok(()) => self.start_settling(id),
            Err(gone) => self.lose_link(id, gone),
        }
    }

    /// Another client has the service: its visitors begin anew there.
    /// `session`: that one's alone.
    pub(super) fn leave_udp_links(&mut self, service: ServiceId, session: Option<ConnId>) {
        let links = self.udp_service(service).map(|service| service.links.clone());
        for link in links.unwrap_or_default().into_keys() {
            if session.is_none() || self.link(link).map(|link| link.session) == session {
                self.finish_udp_link(service, link, VisitEnd::TunnelLost);
            }
        }
    }

    /// The ports are what another file says: those that it has not close, and the sessions of the
    /// ports and services that are gone end.
    pub(super) fn commit_udp(&mut self, mut plan: UdpPlan<N::Udp>, gone: &[ServiceId]) {
        for service in gone {
            self.leave_udp_links(*service, None);
            self.udp.services.remove(*service);
        }
        let mut doors: ByService<Vec<DoorId>> = ByService::default();
        let mut kept = BTreeMap::new();
        for (id, opening) in plan.doors {
            let known = self.udp.doors.remove(&id).or_else(|| plan.opened.remove(&id));
            let Some(mut door) = known else { continue };
            door.opening = opening;
            kept.insert(id, door);
            match doors.get_mut(opening.service) {
                Some(doors) => doors.push(id),
                None => _ = doors.insert(opening.service, vec![id]),
            }
        }
        self.udp.doors = kept;
        self.udp.ready.retain(|id| self.udp.doors.contains_key(id));
        for (id, service) in self.services.iter().filter(|(_, it)| it.kind == ServiceKind::Udp) {
            let (idle_time, most) = (Some(service.udp.idle_time), service.udp.max_sessions);
            let doors = doors.remove(id).unwrap_or_default();
            match self.udp.services.get_mut(id) {
                Some(service) => {
                    service.sessions.set_bounds(idle_time, most);
                    service.doors = doors;
                }
                None => {
                    let sessions = UdpSessions::new(idle_time, most);
                    let service = Service { sessions, links: BTreeMap::new(), doors };
                    self.udp.services.insert(id, service);
                }
            }
        }
        let services: Vec<ServiceId> = self.udp.services.iter().map(|(id, _)| id).collect();
        for service in services {
            self.end_sessions_without_door(service);
        }
    }

    fn end_sessions_without_door(&mut self, service: ServiceId) {
        let Ok(Service { sessions, doors, .. }) = self.udp_service(service) else { return };
        for id in sessions.those(|(door, _), _| !doors.contains(door)) {
            let ended = self.udp_service(service).ok().and_then(|service| service.sessions.end(id));
            if let Some(((_, visitor), session)) = ended {
                self.log_session(service, visitor, &session, VisitEnd::Stopped);
                self.udp_session_over(service, session.link, Some(id));
            }
        }
    }

    /// The server stops.
    pub(super) fn close_udp(&mut self) {
        let services: Vec<ServiceId> = self.udp.services.iter().map(|(id, _)| id).collect();
        for service in services {
            self.end_udp_sessions(service, |_| true, VisitEnd::Stopped);
        }
        self.udp.close();
    }

    /// The sessions of a link that carries no more datagrams.
    pub(super) fn forget_udp_link(&mut self, service: ServiceId, link: ConnId, end: VisitEnd) {
        if let Some((_, cut)) = self.core.tunnel(link).and_then(|link| udp_use(&mut link.stage)) {
            let mut cut = std::mem::take(cut);
            self.core.io.buffers.give_back(&mut cut);
        }
        if let Ok(service) = self.udp_service(service) {
            service.links.remove(&link);
        }
        self.end_udp_sessions(service, |session| session.link == link, end);
    }

    /// Those for which `ends` holds, without a word to anybody but the access log.
    fn end_udp_sessions(
        &mut self,
        service: ServiceId,
        ends: impl Fn(&Session) -> bool,
        end: VisitEnd,
    ) {
        let Ok(Service { sessions, .. }) = self.udp_service(service) else { return };
        for id in sessions.those(|_, session| ends(session)) {
            let ended = self.udp_service(service).ok().and_then(|service| service.sessions.end(id));
            if let Some(((_, visitor), session)) = ended {
                self.log_session(service, visitor, &session, end);
            }
        }
    }

    /// Each session is a line of the access log when it has ended.
    fn log_session(
        &mut self,
        service: ServiceId,
        visitor: SocketAddr,
        session: &Session,
        end: VisitEnd,
    ) {
        let now = self.core.now();
        let entry = access::Entry::Udp;
        self.stats.ended(Some(service), entry, end);
        if end.is_failure() {
            let (name, visitor, service) = (String::new(), visitor.ip(), Some(service));
            self.stats.failed(Failed { at: now, entry, visitor, name, service, end });
        }
        let Some(sink) = &mut self.access else { return };
        sink.record(&access::Record {
            now,
            duration: now - session.began,
            first_byte: session.first_answer.map(|first| first - session.began),
            visitor,
            peer: None,
            entry,
            name: "",
            service: Some(self.services.name(service)),
            client: Some(session.client),
            request: None,
            status: None,
            bytes_in: session.bytes_in,
            bytes_out: session.bytes_out,
            end,
            reason: None,
        });
    }

    /// The client that a link leads to, by the address of its control session.
    fn client_of(&mut self, link: ConnId) -> Option<SocketAddr> {
        let link = self.link(link)?;
        let session = link.session;
        self.session(session).map(|session| session.address)
    }

    fn udp_service(&mut self, service: ServiceId) -> Result<&mut Service, Dropped> {
        self.udp.services.get_mut(service).ok_or("no such service")
    }

    /// Door and visitor of a session, if it is one of this link.
    fn udp_session_of(
        &self,
        link: ConnId,
        service: ServiceId,
        id: UdpSessionId,
    ) -> Option<(DoorId, SocketAddr)> {
        let (at, session) = self.udp.services.get(service)?.sessions.get(id)?;
        (session.link == link).then_some(*at)
    }
}

fn udp_use(stage: &mut Tunnel) -> Option<(ServiceId, &mut Vec<u8>)> {
    match stage {
        Tunnel::Link(link) => match &mut link.usage {
            LinkUse::Udp { service, cut } => Some((*service, cut)),
            _ => None,
        },
        _ => None,
    }
}
