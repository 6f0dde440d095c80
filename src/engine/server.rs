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
//! This file has the turn. [`doors`] lets connections in; [`greeting`], [`sessions`] and [`links`]
//! have the upper half, [`rathole`] what rathole's clients do otherwise there; [`arrival`] and
//! [`visitor`] the lower one, [`http`] the visitors of the HTTP entry, who go from one link to
//! another. [`limits`] has what the file allows them; [`faults`] says what went wrong; [`drain`] is
//! how it ends.
//!
//! Each connection has its turn by itself. What follows from it for others, the broker and the
//! admission keep in lists, and [`Server::follow_up`] carries them out when that turn is over.

mod access;
mod admin;
mod again;
mod arrival;
mod doors;
mod drain;
mod faults;
mod greeting;
mod http;
mod limits;
mod links;
mod postgres;
mod rathole;
mod reload;
mod sessions;
mod udp;
mod visitor;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use log::{Level, info, log, warn};

use self::doors::{Door, DoorId, LeadsTo, Numbers};
use self::greeting::Greeting;
use self::links::{Link, LinkUse};
use self::sessions::{Control, Session};
use self::udp::Udp;
use self::visitor::{Doing, Visitor};
use super::about::About;
use super::admin::Informant as _;
use super::conn::Conn;
use super::conns::ConnId;
use super::core::{Census, Core, Flow};
use super::net::{Net, Signal, Wake};
use crate::config::ServerConfig;
use crate::proto::access::{Sink, VisitEnd};
use crate::proto::admission::{Admission, Pressure};
use crate::proto::bandwidth::Bandwidths;
use crate::proto::broker::{Broker, Effect};
use crate::proto::clients::Clients;
use crate::proto::gate::Gate;
use crate::proto::gates::Gates;
use crate::proto::http_entry::Out;
use crate::proto::noise::{Protection, Side};
use crate::proto::quiet::Quiet;
use crate::proto::rounds::Rounds;
use crate::proto::services::{ByService, ServiceId, Services};
use crate::proto::stats::Stats;
use crate::proto::time::Time;
use crate::status::TunnelJunk;
use crate::wire::message::{Message, Registration};

/// The server; [`Server::turn`] until it says stop.
pub struct Server<N: Net> {
    core: Core<N, Visitor, Tunnel>,
    config: ServerConfig,
    protection: Protection,
    /// What the file says of each service.
    services: Services,
    /// A range of ports is many doors, so only those in `knocked` are looked at.
    doors: BTreeMap<DoorId, Door<N::Listener>>,
    numbers: Numbers,
    /// Doors in which connections may wait.
    knocked: BTreeSet<DoorId>,
    /// Services, sessions, links, and who waits.
    broker: Broker<ConnId>,
    /// What strangers on the tunnel port may cost.
    gate: Gate,
    /// How many there may be, as of the start.
    descriptors: usize,
    /// Spare data channels of one rathole client.
    channels: usize,
    /// Where visitors reach TLS.
    https_port: u16,
    udp: Udp<N::Udp>,
    /// Whom the file's limits let in.
    gates: Gates,
    /// How fast their bytes may go.
    bandwidths: Bandwidths<ConnId>,
    /// What the HTTP machines write, on its way out.
    http_out: Out,
    complaints: BTreeMap<Complaint, Quiet>,
    takeovers: Quiet,
    rounds: Rounds<ConnId>,
    /// It is about to end: until then at most.
    draining: Option<Time>,
    stats: Stats,
    /// What came to the tunnel port and was let in nowhere.
    junk: TunnelJunk,
    /// Whether a service is online, and since when.
    online_since: ByService<(bool, Time)>,
    /// Those that have come back.
    clients: Clients,
    /// Takes the records of visitors; `None` without an access log.
    access: Option<Box<dyn Sink>>,
}

/// What a tunnel connection is. A plain one is a [`Visitor`].
enum Tunnel {
    /// A tunnel connection that has proved nothing.
    Greeting(Box<Greeting>),
    /// A client's control session.
    Control(Box<Session>),
    /// A link of a session.
    Link(Link),
}

/// Kinds of such lines; none silences another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Complaint {
    /// No descriptor or no memory for one more connection.
    Accept,
    /// A handshake that failed.
    Handshake,
    /// A client of another version.
    Version,
    /// A client of rathole's, which the file does not want.
    Rathole,
    /// A client that does not get a service.
    Registration(Registration),
    /// What a service's home answers.
    Answer(ServiceId),
    /// A service whose visitors come back.
    Loop(ServiceId),
    /// No room for one more visitor.
    Full,
    /// An address that has used its share up.
    Crowd,
}

impl Complaint {
    /// The service that it is about.
    fn service(self) -> Option<ServiceId> {
        match self {
            Complaint::Answer(service) | Complaint::Loop(service) => Some(service),
            _ => None,
        }
    }

    /// How many lines of it the log takes.
    fn quiet(self) -> Quiet {
        match self {
            // What scans the net does it all day.
            Complaint::Handshake => Quiet::with(1),
            _ => Quiet::default(),
        }
    }
}

impl<N: Net> Server<N> {
    /// Opens every listener, or says which one cannot be.
    pub fn new(config: ServerConfig, mut net: N) -> io::Result<Server<N>> {
        net.set_tcp(&config.tcp);
        let protection = Protection::new(&config.transport, Side::Responder)
            .map_err(|reason| io::Error::new(ErrorKind::InvalidInput, reason))?;
        let descriptors = net.descriptor_limit();
        let room = doors::Room::new(descriptors, doors::count(&config), &config)?;
        let mut numbers = Numbers::TCP;
        let services = Services::new(&config.services);
        let planned = services.plan(&config.services);
        let opened = doors::plan(&BTreeMap::new(), &config, &planned, &mut net, &mut numbers)?;
        let mut doors = BTreeMap::new();
        doors::commit(&mut doors, opened);
        let mut udp = Udp::new();
        let udp_ports = udp.plan(&config, &planned, &mut net)?;
        if matches!(protection, Protection::None) {
            warn!("transport is tcp: tokens and visitors' bytes cross the net unencrypted");
        }
        let gates = Gates::new(&config, &services);
        let bandwidths = Bandwidths::new(config.visitors.bandwidth, &services, net.now());
        let mut core = Core::new(net, Admission::new(room.capacity));
        core.open_desk(config.admin.as_ref())?;
        let mut server = Server {
            core,
            broker: Broker::new(config.services.len()),
            https_port: https_port(&config, &doors),
            config,
            protection,
            services,
            doors,
            numbers,
            knocked: BTreeSet::new(),
            gate: Gate::default(),
            descriptors,
            channels: room.channels,
            udp,
            gates,
            bandwidths,
            http_out: Out::default(),
            complaints: BTreeMap::new(),
            takeovers: Quiet::default(),
            rounds: Rounds::default(),
            draining: None,
            stats: Stats::default(),
            junk: TunnelJunk::default(),
            online_since: ByService::default(),
            clients: Clients::default(),
            access: None,
        };
        for (service, _) in server.services.iter() {
            server.stats.add(service);
        }
        server.set_balances();
        server.commit_udp(udp_ports, &[]);
        Ok(server)
    }

    /// Where it listens: tunnels, http, https, TCP services, UDP services, admin, each in the order
    /// of the configuration.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        let mut doors: Vec<&Door<N::Listener>> = self.doors.values().collect();
        doors.sort_by_key(|door| door.place);
        doors
            .into_iter()
            .map(|door| door.address)
            .chain(self.udp.local_addrs(&self.services))
            .chain(self.core.desk.local_addrs())
            .collect()
    }

    /// When the next turn is due though nothing happens; the past, if there is work left.
    pub fn next_deadline(&self) -> Option<Time> {
        let knocked = self.knocked.iter().filter_map(|door| self.doors.get(door));
        let open = knocked.filter(|door| self.may_enter(door.leads_to));
        let work = self.core.has_ready() || !self.udp.ready.is_empty();
        if work || open.clone().any(|door| door.pause.is_none()) {
            return Some(self.core.now());
        }
        let pauses = open.filter_map(|door| door.pause);
        let others = pauses.chain(self.udp.deadline()).chain(self.bandwidths.next());
        let others = others.chain(self.draining).chain(self.core.desk.deadline(self.core.now()));
        self.core.next_deadline().into_iter().chain(others).min()
    }

    /// What the program has to tell.
    pub fn about(&mut self) -> &mut About {
        &mut self.core.about
    }

    /// The network below, for what is not the engine's.
    pub fn net(&mut self) -> &mut N {
        &mut self.core.io.net
    }

    /// Waits for events and handles them, each connection within its budget.
    pub fn turn(&mut self) -> io::Result<Flow> {
        let mut wakes = self.core.poll(self.next_deadline())?;
        let mut is_to_stop = false;
        let mut flow = Flow::Continue;
        for wake in wakes.drain(..) {
            match wake {
                Wake::Ready(readiness) => match ConnId::from_token(readiness.token) {
                    Ok(id) => self.core.note(id, &readiness),
                    Err(door) => self.note_door(DoorId(door)),
                },
                Wake::Signal(Signal::Stop) => is_to_stop = true,
                Wake::Signal(Signal::ReopenLogs) => {
                    if let Some(access) = &mut self.access {
                        access.reopen();
                    }
                }
                Wake::Signal(Signal::Reload) => flow = Flow::Reload,
                Wake::Checked { ticket, is_right } => self.checked(ticket, is_right),
                Wake::Resolved { .. } => {}
            }
        }
        self.core.put_back(wakes);
        if is_to_stop && !self.drain() {
            self.stop();
            return Ok(Flow::Stop);
        }
        // Tunnels are opened before visitors (new): nobody is served without them.
        for are_tunnels in [true, false] {
            let mut next = DoorId(0);
            while let Some(door) = self.knocked.range(next..).next().copied() {
                let leads_to = self.doors.get(&door).map(|door| door.leads_to);
                if (leads_to == Some(LeadsTo::Tunnel)) == are_tunnels {
                    self.accept(door);
                }
                next = DoorId(door.0 + 1);
            }
        }
        let mut next = DoorId(0);
        while let Some(door) = self.udp.ready.range(next..).next().copied() {
            self.take_datagrams(door);
            self.follow_up();
            next = DoorId(door.0 + 1);
        }
        let now = self.core.now();
        while let Some(id) = self.bandwidths.poll_ready(now) {
            self.core.enqueue(id);
        }
        self.core.accept_admins();
        for _ in 0..self.core.round() {
            let Some(id) = self.core.next_ready() else { break };
            self.advance(id);
            self.account_for(id);
            self.follow_up();
        }
        while let Some(id) = self.core.next_due() {
            self.overdue(id);
            self.account_for(id);
            self.follow_up();
        }
        self.expire_udp_sessions();
        self.follow_up();
        self.tell_watchers();
        if self.has_drained() {
            self.stop();
            return Ok(Flow::Stop);
        }
        // Nothing new begins any more.
        Ok(if self.is_draining() { Flow::Continue } else { flow })
    }

    /// Says goodbye to the clients and closes everything.
    pub fn stop(&mut self) {
        info!("stopping");
        self.doors.clear();
        self.knocked.clear();
        self.close_udp();
        self.core.desk.close();
        let all: Vec<ConnId> = self.core.conns.iter().map(|(id, _)| id).collect();
        for id in all {
            if let Some(Conn::Admin(_)) = self.core.conns.get(id) {
                self.core.close(id);
                continue;
            }
            match self.core.tunnel(id).map(|conn| &conn.stage) {
                Some(Tunnel::Control(session)) => {
                    if let Control::Native(_) = session.control {
                        // Whether it arrives or not, the session ends here.
                        let _ = self.core.say(id, &Message::Goodbye);
                    }
                    self.core.close(id);
                }
                // A visitor that is cut off must not take it for the end of the answer.
                None => {
                    self.log_end(id, VisitEnd::Stopped);
                    match self.has_been_told(id) {
                        true => self.core.close(id),
                        false => self.core.abort(id),
                    }
                }
                // Nor may a home, for which the end of a rathole channel is the visitor's.
                Some(Tunnel::Link(Link { usage: LinkUse::Leased { .. }, .. })) => {
                    self.core.abort(id);
                }
                Some(Tunnel::Link(_) | Tunnel::Greeting(_)) => self.core.close(id),
            }
        }
    }

    /// How many services have a home that takes visitors, and how many there are.
    pub fn online(&self) -> (usize, usize) {
        let all = self.config.services.len();
        let is_online = |index: &usize| self.broker.has_taker(self.services.at(*index));
        ((0..all).filter(is_online).count(), all)
    }

    /// The time of the last turn.
    pub fn now(&self) -> Time {
        self.core.now()
    }

    /// What has been counted of visitors so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What it holds.
    pub fn census(&self) -> Census {
        let (udp_sessions, dropped) = (self.udp.sessions(), self.udp.dropped);
        let (waiting, seats) = (self.broker.waiting(), self.gates.taken());
        Census { udp_sessions, dropped, waiting, seats, ..self.core.census() }
    }

    /// Somebody may be at a door, if there is one still.
    fn note_door(&mut self, door: DoorId) {
        if self.doors.contains_key(&door) {
            self.knocked.insert(door);
        } else if self.core.desk.note_door(door.0) {
        } else if self.udp.doors.contains_key(&door) {
            self.udp.ready.insert(door);
        }
    }

    /// One connection's turn.
    fn advance(&mut self, id: ConnId) {
        match self.core.conns.get(id) {
            None => {}
            Some(Conn::Tunnel(conn)) => match &conn.stage {
                Tunnel::Greeting(_) => self.greet(id),
                Tunnel::Control(_) => self.hear_control(id),
                Tunnel::Link(link) => match link.usage {
                    LinkUse::Spare => self.watch_spare(id),
                    LinkUse::Leased { visitor } => self.serve(id, visitor),
                    LinkUse::Udp { .. } => self.hear_datagrams(id),
                    LinkUse::Settling => self.settle(id),
                },
            },
            Some(Conn::Plain(visitor)) => match visitor.stage.doing {
                Doing::Arriving => {}
                Doing::Proxied(_) => self.hear_proxy(id),
                Doing::Hello(_) => self.hear_hello(id),
                Doing::Http(_) => self.hear_http(id),
                Doing::Waiting(_) => self.watch_waiting(id),
                Doing::Relayed { link } => self.relay(link, id),
                Doing::Parting { .. } => self.part(id),
            },
            Some(Conn::Admin(_)) => self.hear_admin(id),
        }
    }

    /// One connection's deadline has passed.
    fn overdue(&mut self, id: ConnId) {
        match self.core.conns.get(id) {
            None => {}
            Some(Conn::Tunnel(conn)) => match &conn.stage {
                Tunnel::Greeting(_) => self.greeting_overdue(id),
                Tunnel::Control(_) => self.tend_control(id),
                Tunnel::Link(_) => self.lose_link(id, "no end in time"),
            },
            Some(Conn::Plain(visitor)) => match visitor.stage.doing {
                Doing::Arriving => {}
                Doing::Proxied(_) => self.abort_visitor(id, VisitEnd::Timeout),
                Doing::Hello(_) => self.hello_overdue(id),
                Doing::Http(_) => self.http_overdue(id),
                Doing::Waiting(_) => self.turn_away(id, VisitEnd::NoLink),
                Doing::Relayed { link } => self.cut_relay(link, id, VisitEnd::Idle),
                Doing::Parting { .. } => self.give_up_parting(id),
            },
            Some(Conn::Admin(_)) => self.core.admin_overdue(id),
        }
    }

    /// Does to other connections what follows from the turn that is over.
    fn follow_up(&mut self) {
        loop {
            if let Some(effect) = self.broker.poll_effect() {
                self.follow(effect);
            } else if let Some((id, pressure)) = self.core.admission.poll_eviction() {
                self.evict(id, pressure);
            } else {
                return;
            }
        }
    }

    fn follow(&mut self, effect: Effect<ConnId>) {
        match effect {
            Effect::Open { visitor, link, session } => self.open_waiting(visitor, link, session),
            Effect::Again { visitor } => self.place_again(visitor),
            Effect::TurnAway { visitor } => self.turn_away(visitor, VisitEnd::Offline),
            Effect::Ask { session } => self.ask_for_links(session),
            Effect::LetGo { link, why } => self.lose_link(link, why),
            Effect::Cut { visitor, link } => self.cut_visitor(visitor, link),
            Effect::Withdraw { session, service, why } => self.withdraw(session, service, why),
            Effect::Moved { session, service } => {
                self.note_online(service);
                self.leave_udp_links(service, Some(session));
            }
            Effect::End { session, why } => self.end_session(session, why),
        }
    }

    /// Ends a connection that has to make room for others.
    fn evict(&mut self, id: ConnId, pressure: Pressure) {
        let (why, end) = match pressure {
            Pressure::MadeRoom => ("made room for others", VisitEnd::MadeRoom),
            Pressure::Stalled => ("holds too much that is not read", VisitEnd::Stalled),
        };
        match self.core.conns.get(id) {
            None => {}
            Some(Conn::Tunnel(conn)) => match &conn.stage {
                Tunnel::Greeting(_) => self.close_stranger(id, why),
                Tunnel::Control(_) => self.end_session(id, why),
                Tunnel::Link(_) => self.lose_link(id, why),
            },
            Some(Conn::Plain(_)) => self.evict_visitor(id, end),
            Some(Conn::Admin(_)) => self.core.abort(id),
        }
    }

    /// A line in the log about something that a stranger may cause as often as it likes.
    fn complain(&mut self, kind: Complaint, line: impl FnOnce() -> String) {
        self.say(Level::Warn, kind, line);
    }

    /// The same, of less weight.
    fn say(&mut self, level: Level, kind: Complaint, line: impl FnOnce() -> String) {
        let quiet = self.complaints.entry(kind).or_insert_with(|| kind.quiet());
        if let Some(dropped) = quiet.admit(self.core.io.net.now()) {
            match dropped {
                0 => log!(level, "{}", line()),
                dropped => log!(level, "{} ({dropped} lines like this were left out)", line()),
            }
        }
    }
}

/// Where visitors reach TLS; without a door of ours, it is another program's.
fn https_port<L>(config: &ServerConfig, doors: &BTreeMap<DoorId, Door<L>>) -> u16 {
    let https = doors.values().filter(|door| door.leads_to == LeadsTo::Https);
    let first = https.min_by_key(|door| door.place).map(|door| door.address.port());
    config.public_https_port.or(first).unwrap_or(443)
}
