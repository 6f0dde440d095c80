//! Lines: the way to a server, found again whenever it is lost, and the links on it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use log::info;

use super::names::{Lookup, in_order};
use super::servers::Upstream;
use super::session::Control;
use super::{Client, Complaint, Tunnel};
use crate::config::RemoteServer;
use crate::engine::conn::{Conn, TunnelConn};
use crate::engine::conns::ConnId;
use crate::engine::net::Net;
use crate::engine::socket::Socket;
use crate::limits;
use crate::proto::backoff::Backoff;
use crate::proto::noise::{Channel, Side};
use crate::proto::numbered::Number;
use crate::proto::passage::Passage;
use crate::proto::time::Time;

/// Names a [`Line`] for ever.
pub(super) type LineId = u64;

/// What carries a control session, one after the other, and the session's links.
pub(super) struct Line {
    pub(super) to: Arc<Upstream>,
    /// Names this line to the server: a new session takes the place of the last one. Another line
    /// to the same server has another name, so that neither is taken for the end of the other.
    pub(super) instance: [u8; 32],
    /// Which of the addresses of the server's name it is for, if each is a server.
    pub(super) address: Option<SocketAddr>,
    /// With a rathole server, the one that it is for.
    pub(super) service: Option<Number>,
    pub(super) role: Role,
    pub(super) way: Way,
    /// Which of the Noise patterns the server took last, or is tried next.
    pattern: usize,
    pub(super) backoff: Backoff,
    /// How many there are.
    pub(super) links: usize,
    /// Links that the server has asked for and not got.
    pub(super) owed: usize,
    /// Of those, under way.
    pub(super) dialling: usize,
    pub(super) link_backoff: Backoff,
    /// After a link that could not be dialled, not before this.
    pub(super) link_pause: Option<Time>,
    /// Since when its way is as it is: up, or not.
    pub(super) since: Time,
    /// Why it was not, the last time.
    pub(super) error: Option<String>,
    /// So far.
    pub(super) sessions: u64,
}

/// What a line is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It has the services.
    Active,
    /// It is to have them, once its session stands.
    Next,
    /// Another one has them: those who are on its links have until then. Looked at now and then.
    Leaving { until: Time, look: Time },
}

/// How far the way to the server is.
pub(super) enum Way {
    /// Dialled again at this time.
    Down { until: Time },
    /// Its name is being looked up. The last answer is used from this time on, if there is one.
    Resolving { last_at: Option<Time> },
    /// A connection is under way; these addresses, the server's or the proxy's, are left to try.
    Dialling { rest: VecDeque<SocketAddr> },
    /// The session stands; links are dialled to the same address (with a proxy, its address).
    Up { control: ConnId, server: SocketAddr },
}

impl Line {
    /// Dialled at once; after a failure, with pauses of `retry_interval` at first.
    pub(super) fn new(
        to: Arc<Upstream>,
        service: Option<Number>,
        role: Role,
        retry_interval: Duration,
        now: Time,
    ) -> Line {
        Line {
            to,
            instance: [0; 32],
            address: None,
            service,
            role,
            way: Way::Down { until: now },
            pattern: 0,
            backoff: Backoff::new(retry_interval),
            links: 0,
            owed: 0,
            dialling: 0,
            link_backoff: Backoff::new(limits::LINK_RETRY),
            link_pause: None,
            since: now,
            error: None,
            sessions: 0,
        }
    }

    /// Its server, for the log.
    pub(super) fn shown(&self) -> String {
        match self.address {
            Some(address) => format!("{} ({address})", self.to.server_at(&self.to.server.addr)),
            None => self.to.server_at(&self.to.server.addr),
        }
    }

    /// Whether it carries visitors of a unit: of one service, or of all.
    pub(super) fn serves(&self, unit: Option<Number>) -> bool {
        self.service == unit || self.service.is_none() || unit.is_none()
    }

    /// When to call [`Client::tend_line`].
    pub(super) fn deadline(&self) -> Option<Time> {
        let dial = match self.way {
            Way::Down { until } => Some(until),
            Way::Resolving { last_at } => last_at,
            _ => None,
        };
        let look = match self.role {
            Role::Leaving { look, .. } => Some(look),
            Role::Active | Role::Next => None,
        };
        dial.into_iter().chain(look).chain(self.link_pause).min()
    }
}

impl<N: Net> Client<N> {
    /// Ends the line's pauses whose time has come, and dials the links that it wants.
    pub(super) fn tend_line(&mut self, id: LineId) {
        let now = self.core.now();
        let Some(line) = self.lines.get_mut(&id) else { return };
        if let Role::Leaving { until, look } = line.role {
            return if look <= now { self.see_off(id, until) } else { self.dial_links(id) };
        }
        if matches!(line.way, Way::Down { until } if until <= now) {
            return match line.address {
                Some(address) => self.found_server(id, Ok(vec![address])),
                // Each time anew: it may have moved.
                None => {
                    line.way = Way::Resolving { last_at: Some(now + limits::RESOLVE_WAIT) };
                    self.look_up(Lookup::Server { line: id });
                }
            };
        }
        if let Way::Resolving { last_at } = &mut line.way
            && last_at.is_some_and(|at| at <= now)
        {
            *last_at = None;
            if let Some(last) = self.names.last(line.to.dialled(), now) {
                return self.found_server(id, Ok(last));
            }
        }
        let Some(line) = self.lines.get_mut(&id) else { return };
        if line.link_pause.is_some_and(|until| until <= now) {
            line.link_pause = None;
        }
        self.dial_links(id);
    }

    pub(super) fn found_server(&mut self, id: LineId, result: io::Result<Vec<SocketAddr>>) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        match result {
            Ok(addresses) => {
                let addresses = in_order(addresses, line.to.prefer_ipv6);
                line.way = Way::Dialling { rest: addresses.into() };
                self.dial_server(id, "no address".to_owned());
            }
            Err(error) => {
                let whose = if line.to.server.proxy.is_some() { "the proxy's" } else { "its" };
                self.rest(id, format!("{whose} name cannot be resolved: {error}"));
            }
        }
    }

    /// The control connection has ended: the next address, or a pause if it stood.
    pub(super) fn line_failed(&mut self, id: LineId, why: String) {
        match self.lines.get(&id) {
            None => {}
            Some(Line { role: Role::Leaving { .. }, .. }) => self.drop_line(id),
            Some(Line { way: Way::Up { .. }, .. }) => self.rest(id, why),
            Some(_) => self.dial_server(id, why),
        }
    }

    /// A server that knows only some of our patterns closes on the first message of another one:
    /// its address has another turn, until all patterns have been tried.
    pub(super) fn try_another_pattern(&mut self, id: LineId, server: SocketAddr) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        line.pattern = (line.pattern + 1) % line.to.protection.patterns();
        if line.pattern != 0
            && let Way::Dialling { rest } = &mut line.way
        {
            rest.push_front(server);
        }
    }

    /// Dials the next address; `why` the last one was given up.
    fn dial_server(&mut self, id: LineId, why: String) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        let Way::Dialling { rest } = &mut line.way else { return };
        let Some(server) = rest.pop_front() else { return self.rest(id, why) };
        let has_others = !rest.is_empty();
        let now = self.core.now();
        let control = Control::connecting(id, server, now);
        match self.dial_tunnel(id, server, Tunnel::Control(Box::new(control))) {
            // A dead one must not keep us from the others for long.
            Ok(conn) if has_others => {
                self.core.set_deadline(conn, Some(now + limits::SERVER_CONNECT_TIME));
            }
            Ok(_) => {}
            Err(error) => self.dial_server(id, format!("{server}: {error}")),
        }
    }

    /// Starts a tunnel connection, of either kind.
    pub(super) fn dial_tunnel(
        &mut self,
        line: LineId,
        server: SocketAddr,
        stage: Tunnel,
    ) -> io::Result<ConnId> {
        let line = self.lines.get(&line).ok_or(ErrorKind::NotFound)?;
        let mut seed = [0; 32];
        self.core.io.net.random(&mut seed);
        let channel = Channel::initiate(&line.to.protection, line.pattern, seed)
            .map_err(|_| io::Error::other("the Noise keys do not fit the pattern"))?;
        let stream = self.core.io.net.connect(server)?;
        self.core.io.net.send_far(&stream);
        let socket = Socket::connecting(stream);
        let mut conn = TunnelConn::new(socket, channel, Side::Initiator, stage);
        if let RemoteServer { addr, proxy: Some(proxy), .. } = &line.to.server {
            conn = conn.through(Passage::new(proxy, addr));
        }
        let id = self.core.adopt(Conn::Tunnel(conn), None)?;
        let deadline = self.core.now() + limits::SERVER_STEP_TIME;
        self.core.set_deadline(id, Some(deadline));
        Ok(id)
    }

    /// Pauses before the next attempt.
    fn rest(&mut self, id: LineId, why: String) {
        if self.is_draining() {
            return self.drop_line(id);
        }
        if !self.doubt(id) {
            if let Some(line) = self.lines.get(&id) {
                info!("{} is let go: its name has other addresses now; {why}", line.shown());
            }
            return self.drop_line(id);
        }
        let random = self.random();
        let now = self.core.now();
        let Some(line) = self.lines.get_mut(&id) else { return };
        let pause = line.backoff.next(random);
        if let Way::Up { .. } = line.way {
            line.since = now;
        }
        line.error = Some(why.clone());
        line.way = Way::Down { until: now + pause };
        let server = line.shown();
        let seconds = pause.as_secs_f64();
        let whose = match line.service {
            None => String::new(),
            Some(service) => format!("service {}: ", self.services.name(service)),
        };
        self.complain(Complaint::Server(id), || {
            format!("{whose}no session with {server}: {why}; again in {seconds:.1} s")
        });
    }

    /// For a pause's jitter.
    pub(super) fn random(&mut self) -> u64 {
        let mut random = [0; 8];
        self.core.io.net.random(&mut random);
        u64::from_le_bytes(random)
    }
}
