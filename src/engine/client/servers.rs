//! The file's servers, and which lines lead to them.
//!
//! Each server has a line of its own, which lives by itself: every service is registered with each,
//! and a visitor comes by any. (With rathole's protocol, each service has a line to each server.)
//! A name that stands for several is looked up again and again: each address has a line, and one
//! that is the name's no more keeps it until its session ends.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use log::warn;

use super::line::{Line, LineId, Role, Way};
use super::names::Lookup;
use super::{Client, Complaint};
use crate::config::{ClientConfig, HostPort, Protocol, RemoteServer};
use crate::engine::net::Net;
use crate::limits;
use crate::proto::backoff::Backoff;
use crate::proto::noise::{Protection, Side};
use crate::proto::numbered::Number;
use crate::proto::time::Time;

/// A server, and how it is reached.
pub(super) struct Upstream {
    pub(super) server: RemoteServer,
    pub(super) protocol: Protocol,
    pub(super) prefer_ipv6: bool,
    pub(super) heartbeat_timeout: Option<Duration>,
    pub(super) protection: Protection,
}

impl Upstream {
    /// Those of a file. Fails where keys and patterns do not fit.
    pub(super) fn all(config: &ClientConfig) -> io::Result<Vec<Arc<Upstream>>> {
        let read = |server: &RemoteServer| {
            let protection = Protection::new(&server.transport, Side::Initiator)
                .map_err(|reason| io::Error::new(ErrorKind::InvalidInput, reason))?;
            Ok(Arc::new(Upstream {
                server: server.clone(),
                protocol: config.protocol,
                prefer_ipv6: config.prefer_ipv6,
                heartbeat_timeout: config.heartbeat_timeout,
                protection,
            }))
        };
        config.servers.iter().map(read).collect()
    }

    /// Whether the same server is reached in the same way: a session with it may go on.
    fn is_same(&self, other: &Upstream) -> bool {
        (self.protocol, &self.server) == (other.protocol, &other.server)
    }

    /// Whose address is looked up: the server's name is the proxy's to resolve.
    pub(super) fn dialled(&self) -> &HostPort {
        self.server.proxy.as_ref().map_or(&self.server.addr, |proxy| &proxy.addr)
    }

    /// The server, for the log: where it was dialled, or which proxy did that.
    pub(super) fn server_at(&self, address: impl fmt::Display) -> String {
        match &self.server.proxy {
            Some(proxy) => format!("server {} through proxy {proxy}", self.server.addr),
            None => format!("server {address}"),
        }
    }
}

/// A server of the file, or a name that stands for several.
pub(super) struct Source {
    pub(super) to: Arc<Upstream>,
    /// Its addresses, if each of them is a server.
    pub(super) roll: Option<Roll>,
    /// Sessions of its lines that are no more.
    pub(super) past_sessions: u64,
}

/// The addresses of a name.
pub(super) struct Roll {
    /// As of the last answer; sorted.
    found: Vec<SocketAddr>,
    /// Looked up then; `None`: it is under way.
    next: Option<Time>,
    /// The last answer, or the last time that there was none.
    asked: Time,
    backoff: Backoff,
    /// Since when there is no address, and why.
    pub(super) since: Time,
    pub(super) error: Option<String>,
}

impl Roll {
    fn new(retry_interval: Duration, now: Time) -> Roll {
        let (next, backoff) = (Some(now), Backoff::new(retry_interval));
        Roll { found: Vec::new(), next, asked: now, backoff, since: now, error: None }
    }

    /// Whether it is about to be asked for.
    pub(super) fn is_asked(&self) -> bool {
        self.next.is_none()
    }
}

/// What the file says of a line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listed {
    /// It leads to one of its servers.
    Server,
    /// To what was one of a name's addresses.
    Vanished,
    /// To none; or it is being left.
    No,
}

impl<N: Net> Client<N> {
    /// Other servers from now on; lines to those that stay go on.
    pub(super) fn set_upstreams(&mut self, upstreams: Vec<Arc<Upstream>>) {
        let (now, retry_interval) = (self.core.now(), self.config.retry_interval);
        let mut former = std::mem::take(&mut self.sources);
        let mut is_clear = false;
        for to in upstreams {
            let has_roll = to.server.all_addresses;
            let mut source = Source { to, roll: None, past_sessions: 0 };
            match former.iter_mut().find(|its| its.to.is_same(&source.to)) {
                Some(its) => {
                    source.roll = its.roll.take();
                    source.past_sessions = its.past_sessions;
                }
                None => is_clear |= matches!(source.to.protection, Protection::None),
            }
            match has_roll {
                false => source.roll = None,
                // Anew at each reload: who knows of a new address need not wait.
                true => {
                    let roll = source.roll.get_or_insert_with(|| Roll::new(retry_interval, now));
                    roll.next = roll.next.map(|_| now);
                }
            }
            self.sources.push(source);
        }
        if is_clear {
            warn!("transport is tcp: tokens and visitors' bytes cross the net unencrypted");
        }
    }

    /// When a name is to be looked up.
    pub(super) fn next_look(&self) -> Option<Time> {
        let rolls = self.sources.iter().filter_map(|source| source.roll.as_ref());
        rolls.filter_map(|roll| roll.next).min().filter(|_| !self.is_draining())
    }

    /// Looks names up whose time has come.
    pub(super) fn tend_rolls(&mut self) {
        let now = self.core.now();
        if self.next_look().is_none_or(|at| now < at) {
            return;
        }
        let mut asked = Vec::new();
        for Source { to, roll, .. } in &mut self.sources {
            if let Some(roll) = roll
                && roll.next.is_some_and(|at| at <= now)
            {
                roll.next = None;
                asked.push(to.server.addr.clone());
            }
        }
        asked.into_iter().for_each(|name| self.look_up(Lookup::Servers { name }));
    }

    /// What a name stands for, or why that is not known.
    pub(super) fn found_servers(&mut self, name: &HostPort, result: io::Result<Vec<SocketAddr>>) {
        if self.is_draining() {
            return;
        }
        let (now, random) = (self.core.now(), self.random());
        let mut complaints = Vec::new();
        for Source { to, roll, .. } in &mut self.sources {
            let Some(roll) = roll.as_mut().filter(|_| to.server.addr == *name) else { continue };
            roll.asked = now;
            match &result {
                Ok(addresses) => {
                    roll.found.clone_from(addresses);
                    roll.found.sort();
                    roll.found.truncate(limits::SERVERS);
                    roll.next = Some(now + limits::ADDRESSES_FRESH);
                    roll.error = None;
                    roll.backoff.reset();
                }
                // What was found last counts on.
                Err(_) if !roll.found.is_empty() => {
                    roll.next = Some(now + limits::ADDRESSES_FRESH);
                }
                Err(error) => {
                    let pause = roll.backoff.next(random);
                    roll.next = Some(now + pause);
                    let why = format!("its name cannot be resolved: {error}");
                    complaints.push(format!("no session with server {name}: {why}"));
                    roll.error = Some(why);
                }
            }
        }
        for text in complaints {
            self.complain(Complaint::Servers, || text);
        }
        let is_over = |line: &Line| {
            !matches!(line.way, Way::Up { .. }) && self.listed(line) == Listed::Vanished
        };
        self.those(is_over).into_iter().for_each(|id| self.drop_line(id));
        self.draw_lines();
        self.settle_lines();
        self.measure();
    }

    /// A line has failed. If its name stands for another address by now, that is soon known.
    /// Whether the line is to be dialled again.
    pub(super) fn doubt(&mut self, id: LineId) -> bool {
        let now = self.core.now();
        let Some(line) = self.lines.get(&id) else { return false };
        if self.listed(line) == Listed::Vanished {
            return false;
        }
        let its = self.sources.iter_mut().find(|source| source.to.is_same(&line.to));
        if let Some(roll) = its.and_then(|source| source.roll.as_mut())
            && let Some(next) = &mut roll.next
        {
            *next = (*next).min(now.max(roll.asked + limits::ADDRESSES_DOUBTED));
        }
        true
    }

    /// A line is no more: what it has counted is its server's.
    pub(super) fn forget_line(&mut self, id: LineId) {
        let Some(line) = self.lines.remove(&id) else { return };
        self.complaints.retain(|kind, _| kind.line() != Some(id));
        let its = self.sources.iter_mut().find(|source| source.to.is_same(&line.to));
        if let Some(source) = its {
            source.past_sessions += line.sessions;
        }
    }

    /// A line for all services, or for each, to each of the file's servers, where there is none.
    /// Whoever is served by a former server goes on until it stands.
    pub(super) fn draw_lines(&mut self) {
        let units: Vec<Option<Number>> = match self.config.protocol {
            Protocol::Native => vec![None],
            Protocol::Rathole => self.services.iter().map(|(number, _)| Some(number)).collect(),
        };
        let mut wanted = Vec::new();
        for Source { to, roll, .. } in &self.sources {
            let addresses = match roll {
                None => vec![None],
                Some(roll) => roll.found.iter().map(|address| Some(*address)).collect(),
            };
            for address in addresses {
                wanted.extend(units.iter().map(|unit| (Arc::clone(to), address, *unit)));
            }
        }
        for (to, address, unit) in wanted {
            let leads_there = |line: &&Line| {
                let stays = !matches!(line.role, Role::Leaving { .. });
                stays && line.service == unit && line.to.is_same(&to)
            };
            let there = || self.lines.values().filter(leads_there);
            let is_there = there().any(|line| line.address == address);
            if !is_there && there().count() < limits::LINES_OF_A_NAME {
                self.draw_line(to, address, unit);
            }
        }
    }

    fn draw_line(
        &mut self,
        to: Arc<Upstream>,
        address: Option<SocketAddr>,
        service: Option<Number>,
    ) {
        let its = service.and_then(|service| self.services.get(service));
        let retry_interval = its.map_or(self.config.retry_interval, |its| its.retry_interval);
        let is_former =
            |line: &Line| line.role == Role::Active && line.serves(service) && self.is_former(line);
        let role = match self.lines.values().any(is_former) {
            true => Role::Next,
            false => Role::Active,
        };
        let now = self.core.now();
        let mut line = Line::new(to, service, role, retry_interval, now);
        line.address = address;
        self.core.io.net.random(&mut line.instance);
        self.lines.insert(self.next_line, line);
        self.next_line += 1;
    }

    /// The file's server that a line leads to.
    pub(super) fn source_of(&self, line: &Line) -> Option<&Source> {
        self.sources.iter().find(|its| its.to.is_same(&line.to))
    }

    fn listed(&self, line: &Line) -> Listed {
        if let Role::Leaving { .. } = line.role {
            return Listed::No;
        }
        match (self.source_of(line).map(|source| &source.roll), line.address) {
            (Some(None), None) => Listed::Server,
            (Some(Some(roll)), Some(address)) if roll.found.contains(&address) => Listed::Server,
            (Some(Some(_)), Some(_)) => Listed::Vanished,
            (Some(_) | None, _) => Listed::No,
        }
    }

    /// Whether a line leads to none of the file's servers.
    fn is_former(&self, line: &Line) -> bool {
        self.listed(line) == Listed::No
    }

    /// Lines to a server that was never reached, and is not the file's any more.
    pub(super) fn retire_successors(&mut self) {
        let is_old = |line: &Line| line.role == Role::Next && self.is_former(line);
        self.those(is_old).into_iter().for_each(|id| self.drop_line(id));
    }

    /// Lines to a former server are let go when another one stands for all that they are for, and
    /// no new one has still to be reached.
    pub(super) fn settle_lines(&mut self) {
        let stands = |line: &Line| {
            let is_up = matches!(line.way, Way::Up { .. });
            line.role == Role::Active && is_up && !self.is_former(line)
        };
        let is_replaced = |line: &Line| {
            let others = || self.lines.values().filter(|other| other.serves(line.service));
            line.role == Role::Active
                && self.is_former(line)
                && others().any(stands)
                && !others().any(|other| other.role == Role::Next)
        };
        self.those(is_replaced).into_iter().for_each(|id| self.let_go(id));
    }

    fn those(&self, which: impl Fn(&Line) -> bool) -> Vec<LineId> {
        self.lines.iter().filter(|(_, line)| which(line)).map(|(id, _)| *id).collect()
    }
}
