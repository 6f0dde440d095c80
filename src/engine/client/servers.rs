//! The file's servers, and which lines lead to them.
//!
//! Each server has a line of its own, which lives by itself: every service is registered with each,
//! and a visitor comes by any. (With rathole's protocol, each service has a line to each server.)

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use log::warn;

use super::Client;
use super::line::{Line, LineId, Role, Way};
use crate::config::{ClientConfig, HostPort, Protocol, RemoteServer};
use crate::engine::net::Net;
use crate::proto::noise::{Protection, Side};
use crate::proto::numbered::Number;

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

impl<N: Net> Client<N> {
    /// Other servers from now on; lines to those that stay go on.
    pub(super) fn set_upstreams(&mut self, upstreams: Vec<Arc<Upstream>>) {
        let former = std::mem::replace(&mut self.upstreams, upstreams);
        let is_new = |its: &&Arc<Upstream>| !former.iter().any(|other| other.is_same(its));
        let is_clear = |its: &Arc<Upstream>| matches!(its.protection, Protection::None);
        if self.upstreams.iter().filter(is_new).any(is_clear) {
            warn!("transport is tcp: tokens and visitors' bytes cross the net unencrypted");
        }
    }

    /// A line for all services, or for each, to each of the file's servers, where there is none.
    /// Whoever is served by a former server goes on until it stands.
    pub(super) fn draw_lines(&mut self) {
        let units: Vec<Option<Number>> = match self.config.protocol {
            Protocol::Native => vec![None],
            Protocol::Rathole => self.services.iter().map(|(number, _)| Some(number)).collect(),
        };
        for upstream in self.upstreams.clone() {
            for unit in &units {
                let is_there = |line: &Line| {
                    let stays = !matches!(line.role, Role::Leaving { .. });
                    stays && line.service == *unit && line.to.is_same(&upstream)
                };
                if !self.lines.values().any(is_there) {
                    self.draw_line(Arc::clone(&upstream), *unit);
                }
            }
        }
    }

    fn draw_line(&mut self, to: Arc<Upstream>, service: Option<Number>) {
        let its = service.and_then(|service| self.services.get(service));
        let retry_interval = its.map_or(self.config.retry_interval, |its| its.retry_interval);
        let is_former = |line: &Line| {
            line.role == Role::Active && line.serves(service) && !self.is_current(line)
        };
        let role = match self.lines.values().any(is_former) {
            true => Role::Next,
            false => Role::Active,
        };
        let now = self.core.now();
        let mut line = Line::new(to, service, role, retry_interval, now);
        self.core.io.net.random(&mut line.instance);
        self.lines.insert(self.next_line, line);
        self.next_line += 1;
    }

    /// The file's server that a line leads to.
    pub(super) fn upstream_of(&self, line: &Line) -> Option<&Arc<Upstream>> {
        self.upstreams.iter().find(|its| its.is_same(&line.to))
    }

    /// Whether a line leads to one of the file's servers, and stays.
    fn is_current(&self, line: &Line) -> bool {
        !matches!(line.role, Role::Leaving { .. }) && self.upstream_of(line).is_some()
    }

    /// Lines to a server that was never reached, and is not the file's any more.
    pub(super) fn retire_successors(&mut self) {
        let is_old = |line: &Line| line.role == Role::Next && !self.is_current(line);
        self.those(is_old).into_iter().for_each(|id| self.drop_line(id));
    }

    /// Lines to a former server are let go when another one stands for all that they are for, and
    /// no new one has still to be reached.
    pub(super) fn settle_lines(&mut self) {
        let stands = |line: &Line| {
            let is_up = matches!(line.way, Way::Up { .. });
            line.role == Role::Active && is_up && self.is_current(line)
        };
        let is_replaced = |line: &Line| {
            let others = || self.lines.values().filter(|other| other.serves(line.service));
            line.role == Role::Active
                && !self.is_current(line)
                && others().any(stands)
                && !others().any(|other| other.role == Role::Next)
        };
        self.those(is_replaced).into_iter().for_each(|id| self.let_go(id));
    }

    fn those(&self, which: impl Fn(&Line) -> bool) -> Vec<LineId> {
        self.lines.iter().filter(|(_, line)| which(line)).map(|(id, _)| *id).collect()
    }
}
