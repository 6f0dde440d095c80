//! An HTTP visitor's link: got or waited for, left for the next request's, or kept for good behind
//! a 101.

use super::http_of;
use crate::engine::conn::{Carrier as _, Conn, PlainConn};
use crate::engine::conns::ConnId;
use crate::engine::net::Net;
use crate::engine::server::Server;
use crate::engine::server::links::{LinkUse, Opening};
use crate::engine::server::visitor::Doing;
use crate::limits;
use crate::proto::access::VisitEnd;
use crate::proto::admission::Standing;
use crate::proto::broker::{Answer, Denial, Seeker};
use crate::proto::http_entry::HalfEnd;
use crate::proto::lease::LeaseEnd;
use crate::proto::services::ServiceId;
use crate::wire::host::HostName;
use crate::wire::message::{Entry, Reason};

impl<N: Net> Server<N> {
    /// Gets a link to a service for the request at hand, or a place in the queue for one.
    pub(super) fn open_http(&mut self, id: ConnId, service: ServiceId) {
        self.note_service(id, service);
        let now = self.core.now();
        let conns = &self.core.conns;
        let Some(Conn::Plain(PlainConn { stage: visitor, .. })) = conns.get(id) else { return };
        let Doing::Http(http) = &visitor.doing else { return };
        let network = visitor.address.ip().into();
        match self.broker.ask(Seeker { id, network, service, tried: &http.tried }, now) {
            Answer::Link { link, session } => self.start_http(id, link, session, service),
            Answer::Queued => {
                if let Some(http) = self.http(id) {
                    http.waiting = Some(service);
                }
            }
            Answer::No(Denial::Offline | Denial::Crowded) => self.http_turned_away(id),
        }
    }

    /// The link that it waited for is here.
    pub(in crate::engine::server) fn open_http_waiting(
        &mut self,
        id: ConnId,
        link: ConnId,
        session: ConnId,
    ) {
        let waiting = self.http(id).and_then(|http| http.waiting.take());
        if let Some(service) = waiting {
            self.start_http(id, link, session, service);
            self.core.enqueue(id);
        }
    }

    /// Puts the request at hand on a link: OPEN with the head.
    pub(super) fn start_http(
        &mut self,
        id: ConnId,
        link_id: ConnId,
        session: ConnId,
        service: ServiceId,
    ) {
        self.lend(link_id, id);
        let Some(http) = http_of(&mut self.core.conns, id) else { return };
        http.link = Some(link_id);
        http.home_end = None;
        let is_shared = self.broker.is_shared(service);
        if is_shared {
            http.tried.push(session);
        }
        let has_another = is_shared && self.broker.has_another(service, &http.tried);
        http.entry.handle_link(has_another, &mut self.http_out);
        let name = match &http.name {
            HostName::Dns(name) => Some(*name),
            HostName::Ip(_) | HostName::Empty => None,
        };
        let name = name.as_ref().map_or("", |name| name.as_str()).as_bytes();
        let mut head = std::mem::take(&mut self.http_out.home);
        let opening = Opening { service, entry: Entry::Http, offset: 0, name, said: &head };
        let sent = self.begin(id, link_id, session, opening);
        head.clear();
        self.http_out.home = head;
        if let Err(gone) = sent {
            self.lose_http_link(id, link_id, gone);
        }
    }

    pub(super) fn finish_link(&mut self, id: ConnId) {
        let Some(link) = self.http(id).and_then(|http| http.link) else { return };
        let Some(conn) = self.core.conns.tunnel(link) else { return };
        if conn.lease().said() == LeaseEnd::Open
            && let Err(gone) = conn.finish(&mut self.core.io)
        {
            self.lose_http_link(id, link, gone);
        }
    }

    /// Ends the visitor's use of its link; the link settles by itself.
    pub(super) fn leave_link(&mut self, id: ConnId, end: HalfEnd) {
        let Some(http) = http_of(&mut self.core.conns, id) else { return };
        http.home_end = None;
        self.core.io.buffers.give_back(&mut http.unheard);
        let Some(link_id) = http.link.take() else { return };
        let now = self.core.now();
        let Some(conn) = self.core.conns.tunnel(link_id) else { return };
        let is_open = conn.lease().said() == LeaseEnd::Open;
        let said = match end {
            HalfEnd::Fin if is_open => conn.finish(&mut self.core.io),
            HalfEnd::Fin => Ok(()),
            HalfEnd::Reset => conn.say_reset(&mut self.core.io, Reason::Broken),
        };
        match said {
            Ok(()) => {
                self.use_link(link_id, LinkUse::Settling);
                // A home that keeps its idle connection open after our end is not waited for.
                let patience = match end {
                    HalfEnd::Fin => limits::HTTP_LEAVE_TIME,
                    HalfEnd::Reset => limits::RESET_ANSWER_TIME,
                };
                self.core.set_deadline(link_id, Some(now + patience));
                self.settle(link_id);
            }
            Err(gone) => self.lose_link(link_id, gone),
        }
    }

    /// After 101: both directions are raw from here on.
    pub(super) fn relay_http(&mut self, id: ConnId) {
        let Some(visitor) = self.visitor(id) else { return };
        let Doing::Http(http) = &mut visitor.doing else { return };
        let broken = http.home_end == Some(HalfEnd::Reset);
        let Some(link) = http.link.filter(|_| !broken) else {
            return self.abort_visitor(id, VisitEnd::HomeReset);
        };
        http.link = None;
        let (mut unread, mut unheard) =
            (std::mem::take(&mut http.unread), std::mem::take(&mut http.unheard));
        let (visitor_end, home_end) = (http.visitor_end, http.home_end);
        let upgrade = http.entry.take_upgrade();
        visitor.doing = Doing::Relayed { link };
        self.note_upgrade(id, upgrade, unread.len());
        self.core.set_deadline(id, None);
        self.core.set_standing(id, Standing::Busy);
        let mut pushed = self.core.push(link, &unread);
        if let Some((link, visitor)) = self.core.conns.pair(link, id) {
            let io = &mut self.core.io;
            let is_open = link.lease().said() == LeaseEnd::Open;
            if pushed.is_ok() && visitor_end.is_some() && is_open {
                pushed = link.finish(io);
            }
            // A visitor that is broken shows it in its next turn.
            let _ = visitor.socket.send(&mut io.net, &mut io.buffers, &unheard);
            if home_end == Some(HalfEnd::Fin) {
                visitor.socket.finish(&mut io.net);
            }
        }
        self.core.io.buffers.give_back(&mut unread);
        self.core.io.buffers.give_back(&mut unheard);
        match pushed {
            Ok(()) => self.relay(link, id),
            Err(gone) => self.lose_link(link, gone),
        }
    }
}
