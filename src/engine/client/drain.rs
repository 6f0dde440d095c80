//! The way to the end: visitors that are here go on for a while, and nobody new comes.
//!
//! A native server is told. It gives nobody new to this client and closes each of its links as soon
//! as nobody is on it; when the last has gone, nobody is left that could be cut off. A rathole
//! server cannot be told anything: the control channels are closed, which it takes in the same way,
//! and the data channels that carry a visitor go on. Sessions of datagrams have no end that could
//! be waited for.

use std::time::Duration;

use log::info;

use super::line::{LineId, Way};
use super::link::{Link, LinkStep};
use super::{Client, Tunnel};
use crate::engine::conn::Conn;
use crate::engine::net::Net;
use crate::proto::control_client::ControlClient;
use crate::proto::time::Time;

impl<N: Net> Client<N> {
    /// The program is asked to end: begins to drain, unless there is no time for it or it has begun
    /// already. Whether it goes on.
    pub fn drain(&mut self) -> bool {
        if self.is_draining() || self.config.drain_time == Duration::ZERO {
            return false;
        }
        self.draining = Some(self.core.now() + self.config.drain_time);
        let lines: Vec<LineId> = self.lines.keys().copied().collect();
        for line in lines {
            if !self.announce_end(line) {
                self.drop_line(line);
            }
        }
        let (visitors, seconds) = (self.visitors(), self.config.drain_time.as_secs());
        info!("stopping: no new visitors; {visitors} have {seconds} s at most");
        true
    }

    /// It is about to end, until then at most.
    pub fn ends_at(&self) -> Option<Time> {
        self.draining
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    /// Whether draining is over: there is no link that a visitor is on or might still come by, and
    /// none is owed to somebody who waits for it.
    pub(super) fn has_drained(&self) -> bool {
        let Some(until) = self.draining else { return false };
        let is_awaited = |conn: &Conn<_, _, _>| match conn {
            Conn::Plain(_) => true,
            Conn::Tunnel(conn) => match &conn.stage {
                Tunnel::Link(link) => !matches!(link.step, LinkStep::Datagrams { .. }),
                Tunnel::Control(_) => false,
            },
            Conn::Admin(_) => false,
        };
        let is_owed = self.lines.values().any(|line| line.owed > 0);
        until <= self.core.now()
            || (!is_owed && !self.core.conns.iter().any(|(_, conn)| is_awaited(conn)))
    }

    /// Says so on the line's session, if there is one with a native server.
    fn announce_end(&mut self, line: LineId) -> bool {
        let Some(Way::Up { control, .. }) = self.lines.get(&line).map(|line| &line.way) else {
            return false;
        };
        let control = *control;
        let Some(message) = self.session(control).map(ControlClient::drain) else { return false };
        // If it does not arrive, the session has broken, which shows in its next turn.
        let _ = self.core.say(control, &message);
        true
    }

    fn visitors(&self) -> usize {
        let is_visitor = |conn: &Conn<_, _, _>| match conn {
            Conn::Tunnel(conn) => match &conn.stage {
                Tunnel::Link(Link { step, .. }) => {
                    matches!(step, LinkStep::Leased { .. } | LinkStep::Resolving { .. })
                }
                Tunnel::Control(_) => false,
            },
            Conn::Plain(_) | Conn::Admin(_) => false,
        };
        self.core.conns.iter().filter(|(_, conn)| is_visitor(conn)).count()
    }
}
