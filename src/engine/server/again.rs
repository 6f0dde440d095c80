//! Another try: a visitor of a service that several homes share, whose home could not be reached
//! before it has said a byte, is brought to the next one.
//!
//! Until then what the visitor has said is kept. That a home has taken the connection is no reason
//! to let it go: what listens there may be frozen. More than its first bytes is not kept: a visitor
//! that has gone on to speak is with its home for good.

use log::debug;

use super::Server;
use super::visitor::{Doing, Waiting};
use crate::engine::conn::{Carrier as _, Conn};
use crate::engine::conns::ConnId;
use crate::engine::net::Net;
use crate::proto::access::VisitEnd;
use crate::proto::bandwidth::Way;
use crate::proto::services::ServiceId;
use crate::wire::message::{Entry, Reason};

/// What another home would be told.
pub(super) struct Again {
    /// The session of the home that it is with is the last one that was tried.
    waiting: Box<Waiting>,
    /// Bytes that its socket had brought when it got there.
    read: u64,
    /// And taken.
    written: u64,
}

impl Again {
    /// Bytes that are kept.
    pub(super) fn held(&self) -> usize {
        self.waiting.held.len()
    }

    /// The buffer that they lie in.
    pub(super) fn take_held(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.waiting.held)
    }
}

impl<N: Net> Server<N> {
    /// A visitor is about to be put on a link of `session`: keeps what it has said, if there is
    /// another home for it.
    pub(super) fn keep_for_another(&mut self, id: ConnId, session: ConnId, waiting: &Waiting) {
        let service = waiting.service;
        if !self.broker.is_shared(service) {
            return;
        }
        let mut tried = waiting.tried.clone();
        tried.push(session);
        if !self.broker.has_another(service, &tried) {
            return;
        }
        let mut held = Vec::new();
        self.core.io.buffers.append(&mut held, &waiting.held);
        let Some(conn) = self.core.plain(id) else { return };
        let (read, written) = (conn.socket.read(), conn.socket.written());
        let Waiting { entry, offset, name, .. } = *waiting;
        let waiting = Box::new(Waiting { service, entry, offset, name, held, tried });
        conn.stage.kept().again = Some(Again { waiting, read, written });
    }

    /// A visitor of a service's own port is put on a link before it has said a word: its first ones
    /// are kept on their way.
    pub(super) fn keep_first_words(&mut self, link: ConnId, id: ConnId) {
        let Some((link, conn)) = self.core.conns.pair(link, id) else { return };
        let Some(again) = conn.stage.again() else { return };
        let is_silent = again.held() == 0 && conn.socket.read() == again.read;
        if again.waiting.entry != Entry::Tcp || !is_silent || !link.socket.is_clear() {
            return;
        }
        let io = &mut self.core.io;
        let Ok(pulled) = conn.pull(io) else { return };
        if pulled.end.is_some() {
            // The relay comes upon it once more.
            conn.socket.expect_bytes();
        }
        let read = conn.socket.read();
        if let Some(again) = conn.stage.kept().again.as_mut() {
            io.buffers.append(&mut again.waiting.held, &io.scratch.clear[..pulled.data]);
            again.read = read;
        }
        if pulled.data > 0 {
            // A link that is broken shows it in the relay.
            let _ = link.push(io, pulled.data);
            self.note_moved(id, Way::Up, pulled.data);
        }
    }

    /// Whether a visitor's home owes it a word: TLS that ends without one has not been served.
    pub(super) fn wants_word(&mut self, id: ConnId) -> bool {
        let again = self.visitor(id).and_then(|visitor| visitor.again());
        again.is_some_and(|again| again.waiting.entry == Entry::Https)
    }

    /// After a turn of a relay: lets go of what was kept, if it is of no use any more.
    pub(super) fn keep_no_longer(&mut self, id: ConnId) {
        let Some(conn) = self.core.conns.plain(id) else { return };
        let Some(again) = conn.stage.again() else { return };
        let was_answered = conn.socket.written() != again.written;
        let has_said_more = conn.socket.read() != again.read;
        if was_answered || has_said_more {
            self.forget_kept(id);
        }
    }

    fn forget_kept(&mut self, id: ConnId) {
        let again = self.visitor(id).and_then(|visitor| visitor.kept.as_mut()?.again.take());
        if let Some(mut again) = again {
            let mut held = again.take_held();
            self.core.io.buffers.give_back(&mut held);
        }
    }

    /// After a turn of a visitor with its link: its home may have taken the connection, where that
    /// was to be said.
    pub(super) fn note_accepted(&mut self, link: ConnId, visitor: ConnId) {
        let conn = self.core.conns.tunnel(link);
        if conn.is_some_and(|conn| conn.codec().take_acceptance())
            && let Some((session, service)) = self.home_and_service(link, visitor)
        {
            self.broker.accepted(session, service);
        }
    }

    /// The home of a visitor's link has said why it does not serve it.
    pub(super) fn note_refused(&mut self, link: ConnId, visitor: ConnId, reason: Reason) {
        if reason.is_of_home()
            && let Some((session, service)) = self.home_and_service(link, visitor)
        {
            self.broker.refused(session, service, self.core.now());
        }
    }

    fn home_and_service(&mut self, link: ConnId, visitor: ConnId) -> Option<(ConnId, ServiceId)> {
        Some((self.link(link)?.session, self.visitor(visitor)?.visit.service?))
    }

    /// A visitor's link has come to nothing. If all that it has said is kept, it waits for the next
    /// home's from now on: [`Server::place`] is due then.
    pub(super) fn try_again(&mut self, id: ConnId, end: VisitEnd) -> bool {
        self.keep_no_longer(id);
        let Some(conn) = self.core.plain(id) else { return false };
        let visitor = &mut conn.stage;
        if !matches!(visitor.doing, Doing::Relayed { .. }) {
            return false;
        }
        let Some(mut again) = visitor.kept.as_mut().and_then(|kept| kept.again.take()) else {
            return false;
        };
        if !self.broker.has_another(again.waiting.service, &again.waiting.tried) {
            let mut held = again.take_held();
            self.core.io.buffers.give_back(&mut held);
            return false;
        }
        debug!("visitor {}: {end}; another home is asked", visitor.address);
        let mut hello = visitor
            .kept
            .take()
            .and_then(|kept| kept.asking)
            .map(|asking| asking.hello)
            .unwrap_or_default();
        visitor.doing = Doing::Waiting(again.waiting);
        // An end that the former home was told is to be told to the next.
        conn.socket.expect_bytes();
        self.core.io.buffers.give_back(&mut hello);
        self.core.set_deadline(id, None);
        true
    }

    /// What runs at a home does not answer any more: who has not had a byte from there is brought
    /// elsewhere.
    pub(super) fn move_on(&mut self, session: ConnId, service: ServiceId) {
        let is_there = |conn: &Conn<_, super::visitor::Visitor, _>| match conn {
            Conn::Plain(conn) => match &conn.stage.doing {
                Doing::Relayed { link } => {
                    let again = conn.stage.again();
                    again.is_some_and(|it| it.waiting.service == service).then_some(*link)
                }
                Doing::Http(http) => http.link.filter(|_| http.is_with(service)),
                _ => None,
            },
            _ => None,
        };
        let there = self.core.conns.iter().filter_map(|(id, conn)| Some((id, is_there(conn)?)));
        let there: Vec<(ConnId, ConnId)> = there.collect();
        for (visitor, link) in there {
            if self.link(link).is_none_or(|link| link.session != session) {
                continue;
            }
            match self.is_http(visitor) {
                true => self.repeat_http(visitor),
                false => self.leave_for_another(visitor, link),
            }
        }
    }

    fn leave_for_another(&mut self, visitor: ConnId, link: ConnId) {
        if !self.try_again(visitor, VisitEnd::HomeSilent) {
            return;
        }
        let Some(conn) = self.core.conns.tunnel(link) else { return };
        match conn.say_reset(&mut self.core.io, Reason::Broken) {
            Ok(()) => self.start_settling(link),
            Err(gone) => self.lose_link(link, gone),
        }
        self.place(visitor);
    }
}
