//! The server role: takes visitors and tunnels in, and brings them together.
//!
//! ```text
//! tunnel   Greeting --HELLO-------> Control
//!             |
//!             +-------LINK_HELLO--> Link: Spare --OPEN--> Leased --ends--> Settling --> Spare
//!             +-------(rathole)---> the same two, and a channel is lent once: Settling --> closed
//!                                                          ^
//! visitor  Proxied --header--> Hello, Http, Waiting
//!          Hello --name--> Waiting --link--> Relayed  -----+        --both ends--> Parting
//!             +------no name, home offline, not TLS-----------------------------> Parting
//! ```
//!
//! [`tunnel`] has the upper half, [`rathole`] what rathole's clients do otherwise there,
//! [`arrival`] and [`visitor`] the lower one, [`http`] the visitors of the HTTP entry, who go from
//! one link to another; this file has the doors and the turn.

mod access;
mod arrival;
mod http;
mod rathole;
mod tunnel;
mod udp;
mod visitor;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

use log::{debug, info, warn};

use self::tunnel::{Control, Link, LinkUse, Session, Shaken};
use self::udp::Udp;
use self::visitor::{Doing, Visitor};
use super::conn::Conn;
use super::conns::ConnId;
use super::core::{Census, Core, Flow};
use super::net::{Net, Signal, Token, Wake};
use super::socket::Socket;
use crate::config::{ServerConfig, ServerService, ServiceKind, show_ports};
use crate::limits;
use crate::proto::access::{End as Ended, Sink};
use crate::proto::http_entry::Out;
use crate::proto::link_pool::Terms;
use crate::proto::noise::{Channel, Protection, Side};
use crate::proto::quiet::Quiet;
use crate::proto::strangers::{Strangers, Ticket};
use crate::proto::time::Time;
use crate::wire::message::{Message, Registration};

/// The server; [`Server::turn`] until it says stop.
pub struct Server<N: Net> {
    core: Core<N, Stage>,
    config: ServerConfig,
    protection: Protection,
    /// A listener's token is its index. A range of ports is many doors, so only those in
    /// `knocked` are looked at.
    doors: Vec<Door<N::Listener>>,
    /// Doors in which connections may wait.
    knocked: BTreeSet<usize>,
    /// For each service the sessions that have it, newest last; one for now.
    owners: Vec<Vec<ConnId>>,
    /// Tunnel connections without a proof.
    strangers: Strangers<ConnId>,
    /// Visitors without a route.
    guests: Strangers<ConnId>,
    /// Visitors by address.
    crowd: HashMap<IpAddr, usize>,
    visitors: usize,
    bounds: Bounds,
    /// Where visitors reach TLS.
    https_port: u16,
    /// Bytes of visitors that no link has taken.
    held: usize,
    udp: Udp<N::Udp>,
    /// What the HTTP machines write, on its way out.
    http_out: Out,
    complaints: BTreeMap<Complaint, Quiet>,
    takeovers: Quiet,
    /// Takes the records of visitors; `None` without an access log.
    access: Option<Box<dyn Sink>>,
}

/// What a connection is.
enum Stage {
    /// A tunnel connection that has proved nothing.
    Greeting { ticket: Ticket, shaken: Shaken },
    /// A client's control session.
    Control(Box<Session>),
    /// A link of a session.
    Link(Link),
    /// A visitor.
    Visitor(Visitor),
}

/// A listener and what it is for.
struct Door<L> {
    listener: L,
    address: SocketAddr,
    leads_to: LeadsTo,
    /// After an accept that failed, not before this.
    pause: Option<Time>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LeadsTo {
    Tunnel,
    Http,
    Https,
    /// A service's own port, and which of them.
    Service {
        index: usize,
        offset: u16,
    },
}

/// Kinds of such lines; none silences another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Complaint {
    /// No descriptor or no memory for one more connection.
    Accept,
    /// A client of another version.
    Version,
    /// A client that does not get a service.
    Registration(Registration),
}

/// Bounds that follow from the descriptor limit. Every visitor needs a link, so each counts twice;
/// strangers on the tunnel port and spare links have descriptors of their own.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    visitors: usize,
    links: usize,
    strangers: usize,
    /// Spare data channels of one rathole client.
    channels: usize,
}

impl Bounds {
    /// Or there is no room for one visitor beside so many doors.
    fn new(limit: usize, doors: usize, config: &ServerConfig) -> io::Result<Bounds> {
        let strangers = (limit / 8).clamp(4, limits::TUNNEL_STRANGERS);
        // Any service may have a rathole client: a control channel and spare ones, for it alone.
        let services = config.services.len().max(1);
        let spare = (limit / 4).min(limits::SPARE_LINKS.max(services * (1 + Terms::CHANNELS)));
        let channels = (spare / services).saturating_sub(1).max(1);
        let room = limit.saturating_sub(limits::OWN_DESCRIPTORS + doors + strangers + spare);
        if room < 2 {
            let reason = format!(
                "no descriptors for visitors: {doors} ports to listen on and a limit of {limit} \
                 (raise it, as with `ulimit -n`)"
            );
            return Err(io::Error::other(reason));
        }
        let visitors = (room / 2).min(config.limits.max_visitors.max(1));
        debug!("room for {visitors} visitors with {limit} descriptors");
        Ok(Bounds { visitors, links: visitors + spare, strangers, channels })
    }
}

impl<N: Net> Server<N> {
    /// Opens every listener, or says which one cannot be.
    pub fn new(config: ServerConfig, mut net: N) -> io::Result<Server<N>> {
        let protection = Protection::new(&config.transport, Side::Responder)
            .map_err(|reason| io::Error::new(ErrorKind::InvalidInput, reason))?;
        let tunnels = config.bind_addrs.iter().map(|at| (*at, LeadsTo::Tunnel));
        let http = config.http_addrs.iter().map(|at| (*at, LeadsTo::Http));
        let https = config.https_addrs.iter().map(|at| (*at, LeadsTo::Https));
        let by_udp = |service: &ServerService| service.kind == ServiceKind::Udp;
        let over_tcp = config.services.iter().enumerate().filter(|(_, one)| !by_udp(one));
        let own = over_tcp.flat_map(|(index, service)| {
            let leads_to = move |offset| LeadsTo::Service { index, offset };
            service.bind_addrs.iter().copied().zip(service.port_offsets().into_iter().map(leads_to))
        });
        let all: Vec<_> = tunnels.chain(http).chain(https).chain(own).collect();
        let udp = config.services.iter().filter(|one| by_udp(one));
        let ports = all.len() + udp.map(|service| service.bind_addrs.len()).sum::<usize>();
        let bounds = Bounds::new(net.descriptor_limit(), ports, &config)?;
        let mut doors = Vec::new();
        for (wanted, leads_to) in all {
            let token = Token(doors.len() as u64);
            let (listener, address) = net.listen(wanted, token).map_err(|error| {
                io::Error::new(error.kind(), format!("cannot listen on {wanted}: {error}"))
            })?;
            doors.push(Door { listener, address, leads_to, pause: None });
        }
        for doors in doors.chunk_by(|one, next| one.leads_to.is_same(next.leads_to)) {
            let addresses: Vec<SocketAddr> = doors.iter().map(|door| door.address).collect();
            for shown in show_ports(&addresses) {
                info!("listening on {shown} for {}", doors[0].leads_to.describe(&config));
            }
        }
        let udp = Udp::open(&config, &mut net, doors.len())?;
        if matches!(protection, Protection::None) {
            warn!("transport is tcp: tokens and visitors' bytes cross the net unencrypted");
        }
        let per_address = bounds.strangers.min(limits::TUNNEL_STRANGERS_PER_ADDRESS);
        let guests = bounds.visitors.min(limits::VISITOR_STRANGERS);
        // Without a door of ours, TLS is another program's.
        let https = doors.iter().find(|door| door.leads_to == LeadsTo::Https);
        let https_port = config.public_https_port.or(https.map(|door| door.address.port()));
        let https_port = https_port.unwrap_or(443);
        Ok(Server {
            core: Core::new(net),
            owners: vec![Vec::new(); config.services.len()],
            config,
            protection,
            doors,
            knocked: BTreeSet::new(),
            strangers: Strangers::new(bounds.strangers, per_address),
            guests: Strangers::new(guests, guests.min(limits::VISITOR_STRANGERS_PER_ADDRESS)),
            crowd: HashMap::new(),
            visitors: 0,
            bounds,
            https_port,
            held: 0,
            udp,
            http_out: Out::default(),
            complaints: BTreeMap::new(),
            takeovers: Quiet::default(),
            access: None,
        })
    }

    /// Where it listens: tunnels, http, https, TCP services, UDP services, each in the order of the
    /// configuration.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.doors.iter().map(|door| door.address).chain(self.udp.local_addrs()).collect()
    }

    /// When the next turn is due though nothing happens; the past, if there is work left.
    pub fn next_deadline(&self) -> Option<Time> {
        let knocked = self.knocked.iter().map(|door| &self.doors[*door]);
        let open = knocked.filter(|door| self.may_enter(door.leads_to));
        let work = self.core.has_ready() || !self.udp.ready.is_empty();
        if work || open.clone().any(|door| door.pause.is_none()) {
            return Some(self.core.now());
        }
        let pauses = open.filter_map(|door| door.pause);
        let others = pauses.chain(self.udp.deadline());
        self.core.next_deadline().into_iter().chain(others).min()
    }

    /// Waits for events and handles them, each connection within its budget.
    pub fn turn(&mut self) -> io::Result<Flow> {
        let mut wakes = self.core.poll(self.next_deadline())?;
        for wake in wakes.drain(..) {
            match wake {
                Wake::Ready(readiness) => match ConnId::from_token(readiness.token) {
                    Ok(id) => self.core.note(id, &readiness),
                    Err(door) => match door.checked_sub(self.doors.len()) {
                        None => _ = self.knocked.insert(door),
                        Some(udp) => _ = self.udp.ready.insert(udp),
                    },
                },
                Wake::Signal(Signal::Stop) => {
                    self.stop();
                    return Ok(Flow::Stop);
                }
                Wake::Signal(Signal::ReopenLogs) => {
                    if let Some(access) = &mut self.access {
                        access.reopen();
                    }
                }
                Wake::Resolved { .. } => {}
            }
        }
        self.core.put_back(wakes);
        // Tunnels are opened before visitors (new): nobody is served without them.
        let mut next = 0;
        while let Some(door) = self.knocked.range(next..).next().copied() {
            self.accept(door);
            next = door + 1;
        }
        let mut next = 0;
        while let Some(door) = self.udp.ready.range(next..).next().copied() {
            self.take_datagrams(door);
            next = door + 1;
        }
        for _ in 0..self.core.round() {
            let Some(id) = self.core.next_ready() else { break };
            self.advance(id);
        }
        while let Some(id) = self.core.next_due() {
            self.overdue(id);
        }
        self.expire_udp_sessions();
        Ok(Flow::Continue)
    }

    /// Says goodbye to the clients and closes everything.
    pub fn stop(&mut self) {
        info!("stopping");
        self.doors.clear();
        self.knocked.clear();
        self.close_udp();
        let all: Vec<ConnId> = self.core.conns.iter().map(|(id, _)| id).collect();
        for id in all {
            match self.core.stage(id) {
                Some(Stage::Control(session)) => {
                    if let Control::Native(_) = session.control {
                        // Whether it arrives or not, the session ends here.
                        let _ = self.core.say(id, &Message::Goodbye);
                    }
                    self.core.close(id);
                }
                // A visitor that is cut off must not take it for the end of the answer.
                Some(Stage::Visitor(_)) => {
                    self.log_end(id, Ended::Stopped);
                    self.core.abort(id);
                }
                // Nor may a home, for which the end of a rathole channel is the visitor's.
                Some(Stage::Link(Link { usage: LinkUse::Leased { .. }, .. })) => {
                    self.core.abort(id);
                }
                _ => self.core.close(id),
            }
        }
    }

    /// What it holds.
    pub fn census(&self) -> Census {
        let (udp_sessions, dropped) = (self.udp.sessions(), self.udp.dropped);
        Census { udp_sessions, dropped, ..self.core.census() }
    }

    fn may_enter(&self, leads_to: LeadsTo) -> bool {
        leads_to == LeadsTo::Tunnel
            || self.visitors < self.bounds.visitors
            || !self.guests.is_empty()
    }

    fn accept(&mut self, index: usize) {
        let now = self.core.now();
        for _ in 0..limits::ACCEPTS_A_TURN {
            let leads_to = self.doors[index].leads_to;
            let may_enter = self.may_enter(leads_to);
            let door = &mut self.doors[index];
            if !may_enter || door.pause.is_some_and(|until| now < until) {
                return;
            }
            door.pause = None;
            match self.core.io.net.accept(&mut door.listener) {
                Ok((stream, address)) => {
                    let port = door.address.port();
                    self.admit(stream, address, leads_to, port);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.knocked.remove(&index);
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

    fn admit(&mut self, stream: N::Stream, address: SocketAddr, leads_to: LeadsTo, port: u16) {
        if leads_to == LeadsTo::Tunnel {
            return self.admit_tunnel(stream, address);
        }
        self.admit_visitor(stream, address, leads_to, port);
    }

    fn admit_tunnel(&mut self, stream: N::Stream, address: SocketAddr) {
        if let Some(longest) = self.strangers.make_room(Some(address.ip())) {
            self.close_stranger(longest, "made room for others");
        }
        let mut seed = [0; 32];
        self.core.io.net.random(&mut seed);
        let channel = Channel::respond(&self.protection, seed);
        let ticket = self.strangers.enter(self.core.conns.next_id(), Some(address.ip()));
        let stage = Stage::Greeting { ticket, shaken: Shaken::not_yet(address) };
        match self.core.adopt(Conn::tunnel(
            Socket::accepted(stream),
            channel,
            Side::Responder,
            stage,
        )) {
            Ok(id) => {
                let deadline = self.core.now() + limits::TUNNEL_PROOF_TIME;
                self.core.set_deadline(id, Some(deadline));
            }
            Err(error) => {
                self.strangers.leave(ticket);
                debug!("tunnel {address}: {error}");
            }
        }
    }

    /// One connection's turn.
    fn advance(&mut self, id: ConnId) {
        match self.core.stage(id) {
            None => {}
            Some(Stage::Greeting { .. }) => self.greet(id),
            Some(Stage::Control(_)) => self.hear_control(id),
            Some(Stage::Link(link)) => match link.usage {
                LinkUse::Spare => self.watch_spare(id),
                LinkUse::Leased { visitor } => self.serve(id, visitor),
                LinkUse::Udp { .. } => self.hear_datagrams(id),
                LinkUse::Settling => self.settle(id),
            },
            Some(Stage::Visitor(visitor)) => match &visitor.doing {
                Doing::Arriving => {}
                Doing::Proxied(_) => self.hear_proxy(id),
                Doing::Hello(_) => self.hear_hello(id),
                Doing::Http(_) => self.hear_http(id),
                Doing::Waiting(_) => self.watch_waiting(id),
                Doing::Relayed { link } => {
                    let link = *link;
                    self.relay(link, id);
                }
                Doing::Parting { .. } => self.part(id),
            },
        }
    }

    /// One connection's deadline has passed.
    fn overdue(&mut self, id: ConnId) {
        match self.core.stage(id) {
            None => {}
            Some(Stage::Greeting { .. }) => self.close_stranger(id, "nothing proved in time"),
            Some(Stage::Control(_)) => self.tend_control(id),
            Some(Stage::Link(_)) => self.lose_link(id, "no end in time"),
            Some(Stage::Visitor(visitor)) => match visitor.doing {
                Doing::Arriving => {}
                Doing::Proxied(_) => self.abort_visitor(id, Ended::Timeout),
                Doing::Hello(_) => self.hello_overdue(id),
                Doing::Http(_) => self.http_overdue(id),
                Doing::Waiting(_) => self.turn_away(id, Ended::NoLink),
                Doing::Relayed { link } => self.cut_silent(link, id),
                Doing::Parting { .. } => self.give_up_parting(id),
            },
        }
    }

    /// A line in the log about something that a stranger may cause as often as it likes.
    fn complain(&mut self, kind: Complaint, line: impl FnOnce() -> String) {
        let quiet = self.complaints.entry(kind).or_default();
        if let Some(dropped) = quiet.admit(self.core.io.net.now()) {
            match dropped {
                0 => warn!("{}", line()),
                dropped => warn!("{} ({dropped} lines like this were left out)", line()),
            }
        }
    }
}

impl LeadsTo {
    /// The same but for the port.
    fn is_same(self, other: LeadsTo) -> bool {
        match (self, other) {
            (LeadsTo::Service { index: one, .. }, LeadsTo::Service { index: other, .. }) => {
                one == other
            }
            _ => self == other,
        }
    }

    fn describe(self, config: &ServerConfig) -> String {
        match self {
            LeadsTo::Tunnel => "tunnels".to_owned(),
            LeadsTo::Http => "visitors over HTTP".to_owned(),
            LeadsTo::Https => "visitors over TLS".to_owned(),
            LeadsTo::Service { index, .. } => format!("service {}", config.services[index].name),
        }
    }
}
