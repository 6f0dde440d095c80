//! The doors: what the server listens on, and how many it lets in.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

use log::{debug, info};

use super::greeting::Greeting;
use super::{Complaint, Server, Tunnel};
use crate::config::{ServerConfig, ServiceKind, show_ports};
use crate::engine::conn::{Conn, TunnelConn};
use crate::engine::conns::{self, ConnId};
use crate::engine::net::{Net, Token};
use crate::engine::socket::Socket;
use crate::limits;
use crate::proto::access::Entry;
use crate::proto::admission::{Capacity, Class, Holder, Standing};
use crate::proto::link_pool::Terms;
use crate::proto::noise::{Channel, Side};
use crate::proto::services::{Plan, ServiceId};
use crate::proto::time::Time;

/// A listener and what it is for.
pub(super) struct Door<L> {
    pub(super) listener: L,
    pub(super) address: SocketAddr,
    /// As in the file, where a port may be 0.
    at: SocketAddr,
    pub(super) leads_to: LeadsTo,
    /// In the order of [`Server::local_addrs`].
    pub(super) place: usize,
    /// After an accept that failed, not before this.
    pub(super) pause: Option<Time>,
    /// Connections that were let in.
    pub(super) accepted: u64,
    /// Those turned away at once.
    pub(super) refused: u64,
}

/// Names a door, also of UDP, and is its token. One that is closed and another that was opened
/// later differ, so an event that was under way misses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct DoorId(pub(super) usize);

impl DoorId {
    pub(super) fn token(self) -> Token {
        Token(self.0 as u64)
    }
}

/// Gives the doors their numbers: those of TCP even ones, those of UDP odd ones.
#[derive(Debug)]
pub(super) struct Numbers {
    next: usize,
}

impl Numbers {
    pub(super) const TCP: Numbers = Numbers { next: 0 };
    pub(super) const UDP: Numbers = Numbers { next: 1 };

    /// The next one that no door has. They come again when a token's half is used up.
    pub(super) fn next(&mut self, is_taken: impl Fn(DoorId) -> bool) -> DoorId {
        loop {
            let id = DoorId(self.next);
            self.next = (self.next + 2) % (conns::MOST & !1);
            if !is_taken(id) {
                return id;
            }
        }
    }
}

/// Doors that are open, by what makes another file's the same. Where a port is 0, one is as good as
/// another, but for those that know it: there it is also what they lead to, `W`.
pub(super) struct OpenDoors<W>(BTreeMap<(SocketAddr, Option<W>), Vec<DoorId>>);

impl<W: Copy + Ord> OpenDoors<W> {
    /// Those that have been opened as at these addresses.
    pub(super) fn new(
        doors: impl DoubleEndedIterator<Item = (DoorId, SocketAddr, W)>,
    ) -> OpenDoors<W> {
        let mut open: BTreeMap<_, Vec<DoorId>> = BTreeMap::new();
        for (id, at, leads_to) in doors.rev() {
            open.entry(OpenDoors::key(at, leads_to)).or_default().push(id);
        }
        OpenDoors(open)
    }

    /// The one to go on with, once.
    pub(super) fn take(&mut self, at: SocketAddr, leads_to: W) -> Option<DoorId> {
        self.0.get_mut(&OpenDoors::key(at, leads_to))?.pop()
    }

    fn key(at: SocketAddr, leads_to: W) -> (SocketAddr, Option<W>) {
        (at, (at.port() == 0).then_some(leads_to))
    }
}

/// What becomes of the doors with another file.
pub(super) struct DoorPlan<L> {
    /// In the order of the file.
    doors: Vec<(DoorId, LeadsTo)>,
    opened: BTreeMap<DoorId, Door<L>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LeadsTo {
    Tunnel,
    Http,
    Https,
    /// A service's own port, and which of them.
    Service {
        service: ServiceId,
        offset: u16,
    },
}

/// What the descriptor limit leaves for whom. Every visitor needs a link, so each counts twice;
/// strangers on the tunnel port, sessions and spare links have descriptors of their own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) capacity: Capacity,
    /// Spare data channels of one rathole client.
    pub(super) channels: usize,
}

impl Room {
    /// Or there is none for one visitor beside so many doors.
    pub(super) fn new(limit: usize, doors: usize, config: &ServerConfig) -> io::Result<Room> {
        let strangers = (limit / 8).clamp(4, limits::TUNNEL_STRANGERS);
        // Any service may have a rathole client: a control channel and spare ones, for it alone.
        let services = config.services.len().max(1);
        let idle = (limit / 64).clamp(1, limits::SESSIONS_WITHOUT_A_SERVICE);
        let wanted = limits::SPARE_LINKS.max(services * (1 + Terms::CHANNELS)) + idle;
        let reserve = (limit / 4).min(wanted);
        let sessions = (services + idle).min(reserve - 1);
        let channels = (reserve.saturating_sub(services + idle) / services).max(1);
        let admins =
            config.admin.as_ref().map_or(0, |_| limits::ADMIN_CONNECTIONS.min(limit / 64 + 2));
        let room =
            limit.saturating_sub(limits::OWN_DESCRIPTORS + doors + strangers + reserve + admins);
        if room < 2 {
            let reason = format!(
                "no descriptors for visitors: {doors} ports to listen on and a limit of {limit} \
                 (raise it, as with `ulimit -n`)"
            );
            return Err(io::Error::other(reason));
        }
        let visitors = (room / 2).min(config.limits.max_visitors.max(1));
        debug!("room for {visitors} visitors with {limit} descriptors");
        let capacity = Capacity {
            strangers,
            sessions,
            // Sessions are in the reserve, too: see `Server::room_for_links`.
            links: visitors + reserve,
            visitors,
            admins,
            memory: config.limits.memory,
            visitors_per_network: config.limits.max_visitors_per_address,
        };
        Ok(Room { capacity, channels })
    }
}

/// How many ports a file has for listening.
pub(super) fn count(config: &ServerConfig) -> usize {
    let entries = [&config.bind_addrs, &config.http_addrs, &config.https_addrs];
    let own = config.services.iter().map(|service| &service.bind_addrs);
    let admin = config.admin.as_ref().map_or(0, |admin| admin.bind_addrs.len());
    entries.into_iter().chain(own).map(Vec::len).sum::<usize>() + admin
}

/// All that is to be listened on over TCP, in the order of [`Server::local_addrs`].
fn wanted(config: &ServerConfig, services: &Plan) -> Vec<(SocketAddr, LeadsTo)> {
    let tunnels = config.bind_addrs.iter().map(|at| (*at, LeadsTo::Tunnel));
    let http = config.http_addrs.iter().map(|at| (*at, LeadsTo::Http));
    let https = config.https_addrs.iter().map(|at| (*at, LeadsTo::Https));
    let all = config.services.iter().enumerate();
    let over_tcp = all.filter(|(_, service)| service.kind != ServiceKind::Udp);
    let own = over_tcp.flat_map(|(index, service)| {
        let leads_to = move |offset| LeadsTo::Service { service: services.at(index), offset };
        service.bind_addrs.iter().copied().zip(service.port_offsets().into_iter().map(leads_to))
    });
    tunnels.chain(http).chain(https).chain(own).collect()
}

/// Opens the doors of a file that are not open yet; nothing changes before [`commit`]. One that is
/// open keeps its number and what waits in it, whatever it leads to from now on.
pub(super) fn plan<N: Net>(
    doors: &BTreeMap<DoorId, Door<N::Listener>>,
    config: &ServerConfig,
    services: &Plan,
    net: &mut N,
    numbers: &mut Numbers,
) -> io::Result<DoorPlan<N::Listener>> {
    let wanted = wanted(config, services);
    let mut plan = DoorPlan { doors: Vec::new(), opened: BTreeMap::new() };
    let mut open = OpenDoors::new(doors.iter().map(|(id, door)| (*id, door.at, door.leads_to)));
    for (at, leads_to) in wanted {
        let id = match open.take(at, leads_to) {
            Some(id) => id,
            None => {
                let id = numbers.next(|id| doors.contains_key(&id));
                let opened = net.listen(at, id.token());
                let (listener, address) =
                    opened.map_err(|error| config.cannot_listen(at, &error))?;
                let (place, pause, accepted, refused) = (0, None, 0, 0);
                plan.opened.insert(
                    id,
                    Door { listener, address, at, leads_to, place, pause, accepted, refused },
                );
                id
            }
        };
        plan.doors.push((id, leads_to));
    }
    let opened: Vec<&Door<_>> =
        plan.doors.iter().filter_map(|(id, _)| plan.opened.get(id)).collect();
    for doors in opened.chunk_by(|one, next| one.leads_to.is_same(next.leads_to)) {
        let addresses: Vec<SocketAddr> = doors.iter().map(|door| door.address).collect();
        for shown in show_ports(&addresses) {
            let purpose = doors[0].leads_to.describe(|service| {
                let all = (0..config.services.len()).zip(&config.services);
                let mut same = all.filter(|(index, _)| services.at(*index) == service);
                same.next().map_or("", |(_, service)| &service.name)
            });
            info!("listening on {shown} for {purpose}");
        }
    }
    Ok(plan)
}

/// The doors are what the plan says; those that it has not close.
pub(super) fn commit<L>(doors: &mut BTreeMap<DoorId, Door<L>>, mut plan: DoorPlan<L>) {
    let mut former = std::mem::take(doors);
    for (place, (id, leads_to)) in plan.doors.into_iter().enumerate() {
        if let Some(mut door) = former.remove(&id).or_else(|| plan.opened.remove(&id)) {
            (door.leads_to, door.place) = (leads_to, place);
            doors.insert(id, door);
        }
    }
    for door in former.into_values() {
        info!("no longer listening on {}", door.address);
    }
}

impl<N: Net> Server<N> {
    /// Whether it is of use to accept somebody: a full house leaves visitors in the kernel's queue.
    pub(super) fn may_enter(&self, leads_to: LeadsTo) -> bool {
        leads_to == LeadsTo::Tunnel || self.core.admission.may_admit(Class::Visitor)
    }

    /// How many more links there may be: a native client has one session for many services, so
    /// what the sessions leave of their reserve is the links'.
    pub(super) fn room_for_links(&self) -> usize {
        let admission = &self.core.admission;
        admission.free(Class::Link).saturating_sub(admission.count(Class::Session))
    }

    /// The same for one session, which others make room for: those that hold more, with what they
    /// do not need.
    pub(super) fn room_for_links_of(&self, session: ConnId) -> usize {
        let admission = &self.core.admission;
        let room = admission.room(Class::Link, Holder::Session(session.to_bits()));
        room.saturating_sub(admission.count(Class::Session))
    }

    /// Takes what waits at a door, within its budget.
    pub(super) fn accept(&mut self, id: DoorId) {
        let now = self.core.now();
        for _ in 0..limits::ACCEPTS_A_TURN {
            let Some(leads_to) = self.doors.get(&id).map(|door| door.leads_to) else {
                self.knocked.remove(&id);
                return;
            };
            let may_enter = self.may_enter(leads_to);
            if !may_enter {
                return self.say_full();
            }
            let Some(door) = self.doors.get_mut(&id) else { return };
            if door.pause.is_some_and(|until| now < until) {
                return;
            }
            door.pause = None;
            match self.core.io.net.accept(&mut door.listener) {
                Ok((stream, address)) => {
                    let port = door.address.port();
                    let is_in = match leads_to {
                        LeadsTo::Tunnel => self.admit_tunnel(stream, address),
                        _ => self.admit_visitor(stream, address, leads_to, port),
                    };
                    if let Some(door) = self.doors.get_mut(&id) {
                        door.accepted += u64::from(is_in);
                        door.refused += u64::from(!is_in);
                    }
                    self.follow_up();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.knocked.remove(&id);
                    return;
                }
                Err(error) => match error.kind() {
                    // The peer has given up before we took it.
                    ErrorKind::ConnectionAborted | ErrorKind::Interrupted => {}
                    _ => {
                        door.pause = Some(now + limits::ACCEPT_PAUSE);
                        let at = door.address;
                        self.complain(Complaint::Accept, || {
                            format!("cannot accept on {at}: {error}")
                        });
                        return;
                    }
                },
            }
        }
    }

    /// Whether it is let in.
    fn admit_tunnel(&mut self, stream: N::Stream, address: SocketAddr) -> bool {
        let now = self.core.now();
        if !self.gate.may_come(address.ip(), now) {
            debug!("tunnel {address}: too many in a second");
            self.core.io.net.abort(stream);
            return false;
        }
        // The links of homes that are here come in rushes, and many homes may share an address:
        // they have no share there, and go after those whom nobody knows.
        let (holder, standing) = match self.gate.knows(address.ip()) {
            true => (Holder::Many, Standing::Idle),
            false => (Holder::Address(address.ip()), Standing::Unproved),
        };
        let (id, admission) = (self.core.conns.next_id(), &mut self.core.admission);
        let Ok(permit) = admission.admit(Class::Stranger, id, holder, standing, now) else {
            debug!("tunnel {address}: too many that have proved nothing");
            self.core.io.net.abort(stream);
            return false;
        };
        let mut seed = [0; 32];
        self.core.io.net.random(&mut seed);
        let channel = Channel::respond(&self.protection, seed);
        let until = now + limits::TUNNEL_PROOF_TIME;
        let stage = Tunnel::Greeting(Box::new(Greeting::new(address, now)));
        let conn = TunnelConn::new(Socket::accepted(stream), channel, Side::Responder, stage);
        match self.core.adopt(Conn::Tunnel(conn), Some(permit)) {
            Ok(id) => self.core.set_deadline(id, Some(until)),
            Err(error) => debug!("tunnel {address}: {error}"),
        }
        true
    }

    /// Whose share a visitor from `address` takes; a proxy stands for many.
    pub(super) fn holder(&self, address: IpAddr) -> Holder {
        let proxies = [&self.config.trusted_proxies, &self.config.trusted_http_proxies];
        match proxies.into_iter().any(|networks| networks.contain(address)) {
            true => Holder::Many,
            false => Holder::Address(address),
        }
    }
}

impl LeadsTo {
    /// The same but for the port.
    fn is_same(self, other: LeadsTo) -> bool {
        match (self, other) {
            (LeadsTo::Service { service: one, .. }, LeadsTo::Service { service: other, .. }) => {
                one == other
            }
            _ => self == other,
        }
    }

    /// As the access log calls it.
    pub(super) fn entry(self) -> Entry {
        match self {
            LeadsTo::Http => Entry::Http,
            LeadsTo::Https | LeadsTo::Tunnel => Entry::Https,
            LeadsTo::Service { .. } => Entry::Tcp,
        }
    }

    fn describe<'a>(self, name: impl FnOnce(ServiceId) -> &'a str) -> String {
        match self {
            LeadsTo::Tunnel => "tunnels".to_owned(),
            LeadsTo::Http => "visitors over HTTP".to_owned(),
            LeadsTo::Https => "visitors over TLS".to_owned(),
            LeadsTo::Service { service, .. } => format!("service {}", name(service)),
        }
    }
}
