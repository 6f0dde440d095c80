//! Lines: the way to the server, found again whenever it is lost, and the links on it.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::session::Control;
use super::{Client, Complaint, Lookup, Tunnel, in_order};
use crate::config::Protocol;
use crate::engine::conn::{Conn, TunnelConn};
use crate::engine::conns::ConnId;
use crate::engine::net::Net;
use crate::engine::socket::Socket;
use crate::limits;
use crate::proto::backoff::Backoff;
use crate::proto::noise::{Channel, Side};
use crate::proto::passage::Passage;
use crate::proto::time::Time;

/// Index of a [`Line`] in the client.
pub(super) type LineId = usize;

/// What carries a control session, one after the other, and the session's links.
pub(super) struct Line {
    pub(super) way: Way,
    /// Which of the Noise patterns the server took last, or is tried next.
    pattern: usize,
    pub(super) backoff: Backoff,
    /// Links that the server has asked for and not got.
    pub(super) owed: usize,
    /// Of those, under way.
    pub(super) dialling: usize,
    pub(super) link_backoff: Backoff,
    /// After a link that could not be dialled, not before this.
    pub(super) link_pause: Option<Time>,
}

/// How far the way to the server is.
pub(super) enum Way {
    /// Dialled again at this time.
    Down { until: Time },
    /// Its name is being looked up.
    Resolving,
    /// A connection is under way; these addresses, the server's or the proxy's, are left to try.
    Dialling { rest: VecDeque<SocketAddr> },
    /// The session stands; links are dialled to the same address (with a proxy, its address).
    Up { control: ConnId, server: SocketAddr },
    /// This client is about to end: it is not dialled again.
    Left,
}

impl Line {
    /// Dialled at once; after a failure, with pauses of `retry_interval` at first.
    pub(super) fn new(retry_interval: Duration, now: Time) -> Line {
        Line {
            way: Way::Down { until: now },
            pattern: 0,
            backoff: Backoff::new(retry_interval),
            owed: 0,
            dialling: 0,
            link_backoff: Backoff::new(limits::LINK_RETRY),
            link_pause: None,
        }
    }

    /// When to call [`Client::tend_line`].
    pub(super) fn deadline(&self) -> Option<Time> {
        let dial = match self.way {
            Way::Down { until } => Some(until),
            _ => None,
        };
        dial.into_iter().chain(self.link_pause).min()
    }
}

impl<N: Net> Client<N> {
    /// Ends the line's pauses whose time has come, and dials the links that it wants.
    pub(super) fn tend_line(&mut self, id: LineId) {
        let now = self.core.now();
        let line = &mut self.lines[id];
        if matches!(line.way, Way::Down { until } if until <= now) {
            // Each time anew: it may have moved.
            line.way = Way::Resolving;
            self.look_up(Lookup::Server { line: id });
            return;
        }
        if line.link_pause.is_some_and(|until| until <= now) {
            line.link_pause = None;
        }
        self.dial_links(id);
    }

    pub(super) fn found_server(&mut self, id: LineId, result: io::Result<Vec<SocketAddr>>) {
        if let Way::Left = self.lines[id].way {
            return;
        }
        match result {
            Ok(addresses) => {
                let addresses = in_order(addresses, self.config.prefer_ipv6);
                self.lines[id].way = Way::Dialling { rest: addresses.into() };
                self.dial_server(id, "no address".to_owned());
            }
            Err(error) => {
                let whose = if self.config.tcp.proxy.is_some() { "the proxy's" } else { "its" };
                self.rest(id, format!("{whose} name cannot be resolved: {error}"));
            }
        }
    }

    /// The control connection has ended: the next address, or a pause if it stood.
    pub(super) fn line_failed(&mut self, id: LineId, why: String) {
        match self.lines[id].way {
            Way::Up { .. } => self.rest(id, why),
            _ => self.dial_server(id, why),
        }
    }

    /// A server that knows only some of our patterns closes on the first message of another one:
    /// its address has another turn, until all patterns have been tried.
    pub(super) fn try_another_pattern(&mut self, id: LineId, server: SocketAddr) {
        let line = &mut self.lines[id];
        line.pattern = (line.pattern + 1) % self.protection.patterns();
        if line.pattern != 0
            && let Way::Dialling { rest } = &mut line.way
        {
            rest.push_front(server);
        }
    }

    /// Dials the next address; `why` the last one was given up.
    fn dial_server(&mut self, id: LineId, why: String) {
        let Way::Dialling { rest } = &mut self.lines[id].way else { return };
        let Some(server) = rest.pop_front() else { return self.rest(id, why) };
        let control = Control::connecting(id, server);
        if let Err(error) = self.dial_tunnel(id, server, Tunnel::Control(Box::new(control))) {
            self.dial_server(id, format!("{server}: {error}"));
        }
    }

    /// Starts a tunnel connection, of either kind.
    pub(super) fn dial_tunnel(
        &mut self,
        line: LineId,
        server: SocketAddr,
        stage: Tunnel,
    ) -> io::Result<ConnId> {
        let pattern = self.lines[line].pattern;
        let mut seed = [0; 32];
        self.core.io.net.random(&mut seed);
        let channel = Channel::initiate(&self.protection, pattern, seed)
            .map_err(|_| io::Error::other("the Noise keys do not fit the pattern"))?;
        let stream = self.core.io.net.connect(server)?;
        let socket = Socket::connecting(stream);
        let mut conn = TunnelConn::new(socket, channel, Side::Initiator, stage);
        if let Some(proxy) = &self.config.tcp.proxy {
            conn = conn.through(Passage::new(proxy, &self.config.remote_addr));
        }
        let id = self.core.adopt(Conn::Tunnel(conn), None)?;
        let deadline = self.core.now() + limits::SERVER_DIAL_TIME;
        self.core.set_deadline(id, Some(deadline));
        Ok(id)
    }

    /// Pauses before the next attempt.
    fn rest(&mut self, id: LineId, why: String) {
        if self.is_draining() {
            self.lines[id].way = Way::Left;
            return;
        }
        let random = self.random();
        let now = self.core.now();
        let line = &mut self.lines[id];
        let pause = line.backoff.next(random);
        line.way = Way::Down { until: now + pause };
        let server = self.server_at(&self.config.remote_addr);
        let seconds = pause.as_secs_f64();
        let whose = match self.config.protocol {
            Protocol::Native => String::new(),
            Protocol::Rathole => format!("service {}: ", self.config.services[id].name),
        };
        self.complain(Complaint::Server, || {
            format!("{whose}no session with {server}: {why}; again in {seconds:.1} s")
        });
    }

    /// The server, for the log: where it was dialled, or which proxy did that.
    pub(super) fn server_at(&self, address: impl fmt::Display) -> String {
        match &self.config.tcp.proxy {
            Some(proxy) => format!("server {} through proxy {proxy}", self.config.remote_addr),
            None => format!("server {address}"),
        }
    }

    /// For a pause's jitter.
    pub(super) fn random(&mut self) -> u64 {
        let mut random = [0; 8];
        self.core.io.net.random(&mut random);
        u64::from_le_bytes(random)
    }
}
