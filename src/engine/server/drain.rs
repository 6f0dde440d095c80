//! The way to the end: whoever is here goes on for a while, and nobody new comes in.
//!
//! A signal closes the doors and tells the clients. Requests that are under way, or have begun to
//! come, are the last of their connections; what is passed through goes on; connections that are
//! kept for a next request are closed. When nobody is left, or the time is over, [`Server::stop`]
//! ends the rest. Sessions of datagrams have no end that could be waited for: they go on as long as
//! others are waited for.
//!
//! A client may be on its way to the end, too: its services are offline for whoever comes, and the
//! server gives its links back one after another. The last one is its sign to go.

use std::time::Duration;

use log::info;

use super::doors::LeadsTo;
use super::links::{Link, LinkUse};
use super::sessions::Control;
use super::visitor::Doing;
use super::{Server, Tunnel};
use crate::engine::conn::Conn;
use crate::engine::conns::ConnId;
use crate::engine::net::Net;
use crate::limits;
use crate::proto::access::VisitEnd;
use crate::proto::admission::Class;
use crate::proto::lease::LeaseEnd;
use crate::proto::time::Time;
use crate::wire::message::Message;

impl<N: Net> Server<N> {
    /// The program is asked to end: begins to drain, unless there is no time for it or it has begun
    /// already. Whether it goes on.
    pub fn drain(&mut self) -> bool {
        if self.draining.is_some() || self.config.drain_time == Duration::ZERO {
            return false;
        }
        let now = self.core.now();
        // Those who have got as far as the kernel's queues are let in.
        for door in self.knocked.clone() {
            self.accept(door);
        }
        self.draining = Some(now + self.config.drain_time);
        self.close_doors(|leads_to| leads_to != LeadsTo::Tunnel);
        let all: Vec<ConnId> = self.core.conns.iter().map(|(id, _)| id).collect();
        for id in all {
            match self.core.conns.get(id) {
                Some(Conn::Plain(_)) => self.hasten(id),
                Some(Conn::Tunnel(_)) => self.announce_end(id),
                Some(Conn::Admin(_)) | None => {}
            }
        }
        let (visitors, seconds) =
            (self.core.admission.count(Class::Visitor), self.config.drain_time);
        info!("stopping: no new visitors; {visitors} have {} s at most", seconds.as_secs());
        true
    }

    /// It is about to end, until then at most.
    pub fn ends_at(&self) -> Option<Time> {
        self.draining
    }

    /// Whether nobody new is to come.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    /// Whether draining is over. While some wait for a link, clients may still bring one.
    pub(super) fn has_drained(&mut self) -> bool {
        let Some(until) = self.draining else { return false };
        if self.broker.waiting() == 0 {
            self.close_doors(|_| true);
        }
        until <= self.core.now() || !self.is_anybody_left()
    }

    fn close_doors(&mut self, which: impl Fn(LeadsTo) -> bool) {
        self.doors.retain(|_, door| !which(door.leads_to));
    }

    /// A visitor, or what one has sent and its home has not got yet. A home that does not end a
    /// connection on which nothing is under way is not waited for.
    fn is_anybody_left(&self) -> bool {
        let is_under_way = |conn: &Conn<_, _, _>| match conn {
            Conn::Plain(_) => true,
            Conn::Tunnel(tunnel) => match &tunnel.stage {
                Tunnel::Link(Link { usage: LinkUse::Leased { .. }, .. }) => true,
                Tunnel::Link(Link { usage: LinkUse::Settling, .. }) => {
                    !tunnel.socket.is_clear() || tunnel.lease().heard() == LeaseEnd::Fin
                }
                _ => false,
            },
            Conn::Admin(_) => false,
        };
        self.core.admission.count(Class::Visitor) > 0
            || self.core.conns.iter().any(|(_, conn)| is_under_way(conn))
    }

    fn announce_end(&mut self, id: ConnId) {
        let Some(session) = self.session(id) else { return };
        if let Control::Native(_) = session.control
            && let Err(gone) = self.core.say(id, &Message::Draining)
        {
            self.end_session(id, gone);
        }
    }

    /// What a visitor has sent so far is looked at before its connection counts as idle.
    fn hasten(&mut self, id: ConnId) {
        let until = self.core.now() + limits::FIRST_WORD_TIME;
        let takes_silence = self.config.ssh.is_some();
        let Some(conn) = self.core.conns.plain(id) else { return };
        conn.socket.expect_bytes();
        let is_silent = match &mut conn.stage.doing {
            Doing::Proxied(proxied) => proxied.held.is_empty(),
            Doing::Hello(hello) => !takes_silence && hello.hurry(until),
            Doing::Http(http) => {
                http.drain();
                http.is_idle()
            }
            _ => return,
        };
        if is_silent {
            let at = self.core.conns.deadline(id).map_or(until, |at| at.min(until));
            self.core.set_deadline(id, Some(at));
        }
        self.core.enqueue(id);
    }

    /// An HTTP visitor has nothing under way. Where this server is about to end, so does the
    /// connection, unless it is so new that its first request may still come; where its last home
    /// is, the link is given back. Whether it is gone.
    pub(super) fn let_idle_go(&mut self, id: ConnId) -> bool {
        let is_draining = self.is_draining();
        let Some(http) = self.http(id) else { return true };
        let link = http.link;
        if is_draining && http.has_served() && http.close_idle() {
            return self.leave_at_once(id);
        }
        if let Some(link) = link
            && self
                .link(link)
                .map(|link| link.session)
                .is_some_and(|it| self.broker.is_draining(it))
            && let Some(http) = self.http(id)
        {
            http.give_link_back();
            return !self.carry_out(id);
        }
        false
    }

    /// The time of a visitor that has said nothing yet is over, since the server is about to end.
    pub(super) fn let_silent_go(&mut self, id: ConnId) -> bool {
        let is_draining = self.is_draining();
        let Some(http) = self.http(id) else { return true };
        is_draining && http.close_idle() && self.leave_at_once(id)
    }

    /// Nothing is owed to it, so it needs no time to read.
    fn leave_at_once(&mut self, id: ConnId) -> bool {
        let goes_on = self.carry_out(id);
        if !goes_on {
            self.drop_visitor(id, VisitEnd::Done);
        }
        !goes_on
    }

    /// A client is about to leave: nobody new for its services, and the links of connections that
    /// are kept for a next request go back to it.
    pub(super) fn drain_session(&mut self, id: ConnId) {
        let Some(session) = self.session(id) else { return };
        if session.proved {
            info!("client {} takes no new visitors: it is about to stop", session.address);
        }
        self.broker.drain(id);
        let conns = &self.core.conns;
        let is_its = |link: ConnId| match conns.get(link) {
            Some(Conn::Tunnel(conn)) => {
                matches!(&conn.stage, Tunnel::Link(link) if link.session == id)
            }
            _ => false,
        };
        let visitors = conns.iter().filter(|(_, conn)| match conn {
            Conn::Plain(conn) => match &conn.stage.doing {
                Doing::Http(http) => http.link.is_some_and(is_its),
                _ => false,
            },
            Conn::Tunnel(_) | Conn::Admin(_) => false,
        });
        let visitors: Vec<ConnId> = visitors.map(|(id, _)| id).collect();
        for visitor in visitors {
            self.core.enqueue(visitor);
        }
    }

    /// Whether a visitor has got all that there is for it, and its end: a reset might undo that.
    pub(super) fn has_been_told(&self, id: ConnId) -> bool {
        match self.core.conns.get(id) {
            Some(Conn::Plain(conn)) => {
                matches!(conn.stage.doing, Doing::Parting { .. }) && conn.socket.is_clear()
            }
            _ => false,
        }
    }
}
