//! The client role: keeps a control session with each server and as many links as it asks for, and
//! hands the visitors on them to the services at home.
//!
//! ```text
//! control  Connecting --> Shaking --HELLO--> Session     (one at a time on a line; or a pause)
//! link     Connecting --> Shaking --LINK_HELLO--> Introduced --READY--> Spare
//!          Spare --OPEN--> Resolving --> Leased --ends--> Settling --> Spare
//! home                            Dialling --> Relayed --both ends--> Parting
//! ```
//!
//! [`servers`] has a [`line`] for each server, which finds it and dials it; [`session`] has the
//! rest of the first row, [`link`] the second, [`home`] the third. [`rathole`] has what is
//! otherwise with a rathole server: a control channel is a session with one service, a data channel
//! a link that is lent once. [`drain`] is how it ends.

mod admin;
mod drain;
mod health;
mod home;
mod line;
mod link;
mod names;
mod rathole;
mod reload;
mod servers;
mod session;
mod udp;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

use log::{info, warn};

use self::admin::Counters;
use self::health::Watches;
use self::home::{Home, HomeStep};
use self::line::{Line, LineId, Way};
use self::link::{Link, LinkStep};
use self::names::Names;
use self::servers::{Source, Upstream};
use self::session::Control;
use self::udp::Udp;
use super::about::About;
use super::admin::Informant as _;
use super::conn::{Conn, Dialect};
use super::conns::ConnId;
use super::core::{Census, Core, Flow};
use super::net::{Net, Signal, Wake};
use crate::config::ClientConfig;
use crate::limits;
use crate::proto::admission::{Admission, Capacity};
use crate::proto::numbered::{Number, Numbered};
use crate::proto::quiet::Quiet;
use crate::proto::time::Time;
use crate::wire::message::Message;

/// The client; [`Client::turn`] until it says stop.
pub struct Client<N: Net> {
    core: Core<N, Home, Tunnel>,
    config: ClientConfig,
    /// The file's services, by number.
    services: Numbered,
    /// The file's servers.
    sources: Vec<Source>,
    /// Native: one to each server, whose session carries all services. rathole: one for each
    /// service. While servers change, those to the former ones too.
    lines: BTreeMap<LineId, Line>,
    next_line: LineId,
    /// How many there may be, as of the start.
    descriptors: usize,
    /// Links in all.
    links: usize,
    most_links: usize,
    udp: Udp<N::Udp>,
    names: Names,
    complaints: BTreeMap<Complaint, Quiet>,
    last_error: Option<String>,
    /// What is counted of each service.
    counters: BTreeMap<Number, Counters>,
    /// Why what runs at home could not be reached a moment ago.
    home_error: Option<String>,
    /// What runs there is looked at.
    watches: Watches,
    /// It is about to end: until then at most.
    draining: Option<Time>,
}

/// What a tunnel connection is. A plain one is a [`Home`].
enum Tunnel {
    /// The control connection.
    Control(Box<Control>),
    /// A link.
    Link(Link),
}

/// Kinds of lines that may come over and over; none silences another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Complaint {
    /// No session on a line.
    Server(LineId),
    /// A session, and not what was asked of it.
    Refusal(LineId),
    /// No address of a name that stands for servers.
    Servers,
    /// A name at home without an address.
    Name,
    /// A service at home that does not answer.
    Home,
}

impl Complaint {
    fn line(self) -> Option<LineId> {
        match self {
            Complaint::Server(line) | Complaint::Refusal(line) => Some(line),
            Complaint::Servers | Complaint::Name | Complaint::Home => None,
        }
    }
}

impl<N: Net> Client<N> {
    /// Dials in the first turn.
    pub fn new(config: ClientConfig, mut net: N) -> io::Result<Client<N>> {
        net.set_tcp(&config.tcp);
        let upstreams = Upstream::all(&config)?;
        let services = Numbered::new(&config.services);
        let descriptors = net.descriptor_limit();
        let mut core = Core::new(net, Admission::new(capacity(&config)));
        core.open_desk(config.admin.as_ref())?;
        let mut client = Client {
            lines: BTreeMap::new(),
            next_line: 0,
            descriptors,
            core,
            config,
            services,
            sources: Vec::new(),
            links: 0,
            most_links: 1,
            udp: Udp::new(),
            names: Names::default(),
            complaints: BTreeMap::new(),
            last_error: None,
            counters: BTreeMap::new(),
            home_error: None,
            watches: Watches::new(),
            draining: None,
        };
        client.set_upstreams(upstreams);
        client.draw_lines();
        client.watch_homes();
        client.measure();
        Ok(client)
    }

    /// What the descriptors are enough for.
    fn measure(&mut self) {
        let admins = self.config.admin.as_ref().map_or(0, |_| limits::ADMIN_CONNECTIONS);
        let taken = limits::OWN_DESCRIPTORS + self.lines.len() + admins.min(self.descriptors / 64);
        let room = self.descriptors.saturating_sub(taken);
        self.udp.set_services(&self.services, self.config.protocol, room / 4);
        // Every link in use needs a connection at home.
        self.most_links = ((room - self.udp.most_sockets().min(room)) / 2).max(1);
    }

    /// When the next turn is due though nothing happens; the past, if there is work left.
    pub fn next_deadline(&self) -> Option<Time> {
        if self.core.has_ready() || !self.udp.ready.is_empty() {
            return Some(self.core.now());
        }
        let lines = self.lines.values().filter_map(Line::deadline);
        let desk = self.core.desk.deadline(self.core.now());
        let looks = self.next_look().into_iter().chain(self.next_health_check());
        let others = lines.chain(looks).chain(self.udp.deadline()).chain(self.draining).chain(desk);
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
                    Err(door) if self.core.desk.note_door(door) => {}
                    Err(socket) => _ = self.udp.ready.insert(socket),
                },
                Wake::Resolved { query, result } => self.looked_up(query, result),
                Wake::Checked { ticket, is_right } => self.checked(ticket, is_right),
                // Its log is the service manager's.
                Wake::Signal(Signal::ReopenLogs) => {}
                Wake::Signal(Signal::Stop) => is_to_stop = true,
                Wake::Signal(Signal::Reload) => flow = Flow::Reload,
            }
        }
        self.core.put_back(wakes);
        if is_to_stop && !self.drain() {
            self.stop();
            return Ok(Flow::Stop);
        }
        let mut next = 0;
        while let Some(socket) = self.udp.ready.range(next..).next().copied() {
            self.take_datagrams(socket);
            next = socket + 1;
        }
        self.core.accept_admins();
        for _ in 0..self.core.round() {
            let Some(id) = self.core.next_ready() else { break };
            self.advance(id);
        }
        while let Some(id) = self.core.next_due() {
            self.overdue(id);
        }
        self.tend_rolls();
        let mut next = 0;
        while let Some((line, _)) = self.lines.range(next..).next() {
            next = *line + 1;
            self.tend_line(next - 1);
        }
        self.look_at_homes();
        self.expire_udp_sessions();
        while let Some((id, _)) = self.core.admission.poll_eviction() {
            self.core.abort(id);
        }
        self.tell_watchers();
        if self.has_drained() {
            self.stop();
            return Ok(Flow::Stop);
        }
        // Nothing new begins any more.
        Ok(if self.is_draining() { Flow::Continue } else { flow })
    }

    /// Says goodbye to the servers and closes everything.
    pub fn stop(&mut self) {
        info!("stopping");
        self.udp.close();
        let all: Vec<ConnId> = self.core.conns.iter().map(|(id, _)| id).collect();
        self.core.desk.close();
        for id in all {
            if let Some(Conn::Admin(_)) = self.core.conns.get(id) {
                self.core.close(id);
                continue;
            }
            let conn = self.core.tunnel(id);
            let is_rathole = conn.as_ref().is_some_and(|conn| conn.dialect() == Dialect::Rathole);
            match conn.map(|conn| &conn.stage) {
                Some(Tunnel::Control(_)) => {
                    if !is_rathole {
                        // Whether it arrives or not, the session ends here.
                        let _ = self.core.say(id, &Message::Goodbye);
                    }
                    self.core.close(id);
                }
                Some(Tunnel::Link(_)) if !is_rathole => self.core.close(id),
                // A service that is cut off must not take it for the end of the request, nor a
                // rathole server for the end of the answer.
                Some(Tunnel::Link(_)) | None => self.core.abort(id),
            }
        }
    }

    /// How many services visitors can come to, and how many there are.
    pub fn online(&self) -> (usize, usize) {
        let has = |line: &Line, number| match line.way {
            Way::Up { control, .. } => self.has(control, number),
            _ => false,
        };
        let is_up = |number| {
            let mut lines = self.lines.values().filter(|line| line.serves(Some(number)));
            lines.any(|line| has(line, number))
        };
        let up = self.services.iter().filter(|(number, _)| is_up(*number));
        (up.count(), self.config.services.len())
    }

    /// Why there was no session, or less than was asked of it, the last time that this was so.
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// The time of the last turn.
    pub fn now(&self) -> Time {
        self.core.now()
    }

    /// What it holds.
    pub fn census(&self) -> Census {
        let (udp_sessions, dropped) = (self.udp.sockets(), self.udp.dropped);
        Census { udp_sessions, dropped, ..self.core.census() }
    }

    /// One connection's turn.
    fn advance(&mut self, id: ConnId) {
        match self.core.conns.get(id) {
            None => {}
            Some(Conn::Tunnel(conn)) => match &conn.stage {
                Tunnel::Control(_) => self.advance_control(id),
                Tunnel::Link(link) => match link.step {
                    LinkStep::Connecting | LinkStep::Shaking | LinkStep::Introduced => {
                        self.advance_new_link(id);
                    }
                    LinkStep::Spare => self.hear_spare(id),
                    LinkStep::Resolving { .. } => self.watch_link(id),
                    LinkStep::Leased { home } => self.relay(id, home),
                    LinkStep::Datagrams { .. } => self.hear_datagrams(id),
                    LinkStep::Settling => self.settle(id),
                },
            },
            Some(Conn::Plain(home)) => match home.stage.step {
                HomeStep::Dialling { .. } => self.advance_dial(id),
                HomeStep::Relayed { link } => self.relay(link, id),
                HomeStep::Parting => self.part(id),
                HomeStep::Looked(_) => self.advance_look(id),
            },
            Some(Conn::Admin(_)) => self.hear_admin(id),
        }
    }

    /// One connection's deadline has passed.
    fn overdue(&mut self, id: ConnId) {
        match self.core.conns.get(id) {
            None => {}
            Some(Conn::Tunnel(conn)) => match &conn.stage {
                Tunnel::Control(_) => self.tend_control(id),
                Tunnel::Link(Link { step: LinkStep::Resolving { .. }, .. }) => {
                    self.tire_of_waiting(id);
                }
                Tunnel::Link(_) => self.link_overdue(id),
            },
            Some(Conn::Plain(home)) => match home.stage.step {
                HomeStep::Dialling { .. } => self.dial_failed(id, ErrorKind::TimedOut.into()),
                HomeStep::Relayed { link } => self.cut_silent(link, id),
                HomeStep::Parting => self.core.abort(id),
                HomeStep::Looked(_) => self.look_overdue(id),
            },
            Some(Conn::Admin(_)) => self.core.admin_overdue(id),
        }
    }

    /// A line in the log about something that may happen over and over.
    fn complain(&mut self, kind: Complaint, line: impl FnOnce() -> String) {
        let quiet = self.complaints.entry(kind).or_default();
        if let Some(dropped) = quiet.admit(self.core.io.net.now()) {
            let line = line();
            match dropped {
                0 => warn!("{line}"),
                dropped => warn!("{line} ({dropped} lines like this were left out)"),
            }
            if !matches!(kind, Complaint::Name | Complaint::Home) {
                self.last_error = Some(line);
            }
        }
    }
}

/// Only the admin door admits anybody here: links and visitors are the server's to bound.
fn capacity(config: &ClientConfig) -> Capacity {
    let admins = if config.admin.is_some() { limits::ADMIN_CONNECTIONS } else { 0 };
    Capacity { admins, memory: usize::MAX, ..Capacity::NONE }
}
