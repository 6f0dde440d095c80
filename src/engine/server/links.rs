//! The life of a link: spare, lent to a visitor, on its way back.

use log::debug;

use super::greeting::Why;
use super::limits::Share;
use super::sessions::Control;
use super::visitor::{Doing, Waiting};
use super::{Server, Tunnel};
use crate::config::Passthrough;
use crate::engine::conn::{Conn, Dialect, Gone};
use crate::engine::conns::ConnId;
use crate::engine::net::Net;
use crate::engine::pair::{Pair, Patience, Way};
use crate::engine::relay::Unlimited;
use crate::limits;
use crate::proto::access::VisitEnd;
use crate::proto::admission::Standing;
use crate::proto::lease::Lease;
use crate::proto::services::ServiceId;
use crate::wire::message::{Entry, Message, Open, Reason};
use crate::wire::rathole::Start;

/// A link of a session; of a rathole client, a data channel.
pub(super) struct Link {
    pub(super) session: ConnId,
    pub(super) usage: LinkUse,
}

pub(super) enum LinkUse {
    /// In the pool.
    Spare,
    /// A visitor is on it.
    Leased { visitor: ConnId },
    /// The datagrams of many visitors are on it. What has come of the next record.
    Udp { service: ServiceId, cut: Vec<u8> },
    /// The visitor has gone; the peer's end or our own last bytes are still under way.
    Settling,
}

/// What OPEN says of a visitor beside its addresses.
pub(super) struct Opening<'a> {
    pub(super) service: ServiceId,
    pub(super) entry: Entry,
    /// Which of the service's own ports.
    pub(super) offset: u16,
    pub(super) name: &'a [u8],
    /// All that it has said so far.
    pub(super) said: &'a [u8],
}

impl<N: Net> Server<N> {
    /// A spare link says nothing; what comes is its end.
    pub(super) fn watch_spare(&mut self, id: ConnId) {
        let Some(conn) = self.core.conns.tunnel(id) else { return };
        match conn.hear_nothing(&mut self.core.io) {
            Ok(turn) => _ = self.core.go_on(id, turn),
            Err(gone) => self.lose_link(id, gone),
        }
    }

    /// A visitor from the queue has its link. Since that was decided, either may have gone.
    pub(super) fn open_waiting(&mut self, visitor: ConnId, link: ConnId, session: ConnId) {
        let now = self.core.now();
        if self.link(link).is_none() {
            return self.place_again(visitor);
        }
        if self.visitor(visitor).is_none_or(|visitor| visitor.waits_for().is_none()) {
            return self.broker.link_returned(session, link, now);
        }
        match self.is_http(visitor) {
            true => self.open_http_waiting(visitor, link, session),
            false => self.open(visitor, link, session),
        }
        self.account_for(visitor);
    }

    /// Puts a visitor on a link: OPEN with what it has said so far.
    pub(super) fn open(&mut self, visitor_id: ConnId, link_id: ConnId, session_id: ConnId) {
        self.lend(link_id, visitor_id);
        let Some(mut waiting) = self.take_waiting(visitor_id, link_id) else {
            return self.lose_link(link_id, Gone::Unexpected);
        };
        self.keep_for_another(visitor_id, session_id, &waiting);
        self.ask_home_first(visitor_id, waiting.service, &mut waiting.held);
        let Waiting { service, entry, offset, ref name, ref held, .. } = *waiting;
        let name = name.as_ref().map_or(&[][..], |name| name.as_str().as_bytes());
        let opening = Opening { service, entry, offset, name, said: held };
        let sent = self.begin(visitor_id, link_id, session_id, opening);
        self.core.io.buffers.give_back(&mut waiting.held);
        match sent {
            Ok(()) => self.relay(link_id, visitor_id),
            Err(gone) => self.lose_link(link_id, gone),
        }
    }

    /// From here on a link is a visitor's.
    pub(super) fn lend(&mut self, link: ConnId, visitor: ConnId) {
        self.use_link(link, LinkUse::Leased { visitor });
    }

    /// Sets what a link is for; one that nobody is on is dispensable.
    pub(super) fn use_link(&mut self, id: ConnId, usage: LinkUse) -> Option<LinkUse> {
        let standing = match usage {
            LinkUse::Leased { .. } | LinkUse::Udp { .. } => Standing::Busy,
            LinkUse::Spare | LinkUse::Settling => Standing::Idle,
        };
        let link = self.link(id)?;
        let former = std::mem::replace(&mut link.usage, usage);
        self.core.set_standing(id, standing);
        Some(former)
    }

    /// Begins a visitor's lease of a link, with what it has said so far.
    pub(super) fn begin(
        &mut self,
        visitor_id: ConnId,
        link_id: ConnId,
        session_id: ConnId,
        opening: Opening<'_>,
    ) -> Result<(), Gone> {
        self.note_link(visitor_id, session_id);
        let number = match self.session(session_id).map(|session| &session.control) {
            Some(Control::Native(control)) => control.number_of(opening.service),
            Some(Control::Rathole(_)) => {
                return self.start_forwarding(link_id, Start::Tcp, opening.said);
            }
            None => None,
        };
        // PostgreSQL's question is no TLS.
        let may_be_raw = self
            .services
            .get(opening.service)
            .is_some_and(|service| service.passthrough == Passthrough::Raw && !service.postgres);
        let confirm = self.broker.is_doubtful(session_id, opening.service);
        let service = number.ok_or(Gone::Unexpected)?;
        let Opening { entry, offset, name, said, .. } = opening;
        let (first_bytes, rest) = said.split_at(said.len().min(Open::room(usize::from(u8::MAX))));
        let Some((link, visitor)) = self.core.conns.pair(link_id, visitor_id) else {
            return Err(Gone::Unexpected);
        };
        let address = visitor.stage.address;
        let local = match visitor.stage.through.as_ref().and_then(|through| through.local) {
            Some(said) => said,
            None => self.core.io.net.local_addr(visitor.socket.stream()).map_err(Gone::Io)?,
        };
        let (lease, raw) = link.codec().lend(entry, may_be_raw);
        if confirm {
            link.codec().ask_acceptance();
        }
        let visitor = address;
        let open =
            Open { lease, service, entry, visitor, local, offset, raw, confirm, name, first_bytes };
        link.say(&mut self.core.io, &Message::Open(open))?;
        self.core.push(link_id, rest)
    }

    /// An event of a leased link: its visitor's turn.
    pub(super) fn serve(&mut self, link: ConnId, visitor: ConnId) {
        match self.is_http(visitor) {
            true => self.hear_http(visitor),
            false => self.relay(link, visitor),
        }
    }

    /// Moves bytes between a link and its visitor.
    pub(super) fn relay(&mut self, link: ConnId, visitor: ConnId) {
        if !self.hear_home_first(link, visitor) {
            return;
        }
        self.keep_first_words(link, visitor);
        let wants_word = self.wants_word(visitor);
        let pair = match self.limited_service(visitor) {
            None => self.core.relay(link, visitor, &mut Unlimited { wants_word }),
            Some(service) => {
                let (now, bandwidths) = (self.core.now(), &mut self.bandwidths);
                let mut share = Share { bandwidths, service, visitor, now, wants_word };
                self.core.relay(link, visitor, &mut share)
            }
        };
        self.note_first_byte(visitor);
        self.note_accepted(link, visitor);
        self.keep_no_longer(visitor);
        self.after_turn(link, visitor, pair, VisitEnd::VisitorReset);
    }

    /// Breaks a relay off from this side: its silence lasts too long, or others need its room.
    pub(super) fn cut_relay(&mut self, link: ConnId, visitor: ConnId, end: VisitEnd) {
        let reason = if end == VisitEnd::Idle { Reason::Idle } else { Reason::Broken };
        let pair = self.core.break_off(link, visitor, reason);
        self.after_turn(link, visitor, pair, end);
    }

    /// `end`: of the visitor, if its connection is what ends the relay.
    fn after_turn(&mut self, link: ConnId, visitor: ConnId, pair: Pair, end: VisitEnd) {
        match pair {
            Pair::GoesOn => {}
            Pair::Over(way) => {
                if let Way::Reset(reason) = way {
                    self.note_refused(link, visitor, reason);
                    if self.try_again(visitor, VisitEnd::from(reason)) {
                        self.start_settling(link);
                        return self.place(visitor);
                    }
                }
                match way {
                    Way::Parts => self.leave_after_flush(visitor),
                    Way::Breaks => self.abort_visitor(visitor, end),
                    Way::Reset(reason) => self.abort_visitor(visitor, VisitEnd::from(reason)),
                }
                self.start_settling(link);
            }
            Pair::LinkGone(gone) => self.lose_link(link, gone),
        }
    }

    pub(super) fn start_settling(&mut self, id: ConnId) {
        self.use_link(id, LinkUse::Settling);
        self.settle(id);
    }

    /// Reads a link up to the peer's end and writes what is left; then it is spare again.
    pub(super) fn settle(&mut self, id: ConnId) {
        let now = self.core.now();
        let Some(conn) = self.core.tunnel(id) else { return };
        let is_rathole = conn.dialect() == Dialect::Rathole;
        // In order, the end may take as long as a slow service at home takes to read what has
        // arrived there. A rathole client is not asked.
        let patience = Patience::Once(match is_rathole {
            true => limits::HALF_CLOSED_SILENCE,
            false => limits::SETTLING_TIME,
        });
        match self.core.settle(id, Lease::is_over, patience) {
            Err(gone) => return self.lose_link(id, gone),
            // What waits on it was its visitor's until now.
            Ok(false) => return self.account_for(id),
            Ok(true) => {}
        }
        let Some(link) = self.link(id) else { return };
        let session = link.session;
        if is_rathole {
            self.core.close(id);
            return self.broker.link_lost(session, id, None);
        }
        self.core.set_deadline(id, None);
        self.use_link(id, LinkUse::Spare);
        self.broker.link_returned(session, id, now);
    }

    /// Closes a link. The visitor on it is told in its own turn; the sessions of datagrams go.
    pub(super) fn lose_link(&mut self, id: ConnId, why: impl Into<Why>) {
        let Some(link) = self.link(id) else { return };
        let session = link.session;
        let usage = std::mem::replace(&mut link.usage, LinkUse::Settling);
        debug!("link: {}", why.into());
        self.core.abort(id);
        let visitor = match usage {
            LinkUse::Leased { visitor } => Some(visitor),
            LinkUse::Spare | LinkUse::Settling => None,
            LinkUse::Udp { service, mut cut } => {
                self.core.io.buffers.give_back(&mut cut);
                self.forget_udp_link(service, id, VisitEnd::TunnelLost);
                None
            }
        };
        self.broker.link_lost(session, id, visitor);
    }

    /// The link that a visitor was on is gone.
    pub(super) fn cut_visitor(&mut self, id: ConnId, lost: ConnId) {
        let Some(visitor) = self.visitor(id) else { return };
        match visitor.doing {
            Doing::Relayed { link } if link == lost => {
                match self.try_again(id, VisitEnd::TunnelLost) {
                    true => self.place(id),
                    false => self.abort_visitor(id, VisitEnd::TunnelLost),
                }
            }
            Doing::Http(_) => self.http_link_lost(id, lost),
            _ => {}
        }
    }

    /// Counts what a connection holds for a peer that does not take it, or until it is whole: a
    /// visitor's with that of its link.
    pub(super) fn account_for(&mut self, id: ConnId) {
        let (payer, link) = match self.core.conns.get(id) {
            None => return,
            Some(Conn::Plain(visitor)) => (id, visitor.stage.link()),
            Some(Conn::Admin(_)) => (id, None),
            Some(Conn::Tunnel(conn)) => match conn.stage {
                Tunnel::Link(Link { usage: LinkUse::Leased { visitor }, .. }) => {
                    (visitor, Some(id))
                }
                _ => (id, None),
            },
        };
        let link = link.and_then(|link| self.core.conns.get(link));
        let on_link = link.map_or(0, Conn::held);
        let moved_on_link = link.map_or(0, |link| link.socket().written());
        let Some(conn) = self.core.conns.get(payer) else { return };
        let held = match conn {
            Conn::Plain(visitor) => visitor.stage.held(),
            Conn::Tunnel(_) | Conn::Admin(_) => 0,
        };
        let bytes = conn.held() + held + on_link;
        let moved = conn.socket().written().wrapping_add(moved_on_link);
        self.core.charge(payer, bytes, moved);
    }

    pub(super) fn link(&mut self, id: ConnId) -> Option<&mut Link> {
        match &mut self.core.tunnel(id)?.stage {
            Tunnel::Link(link) => Some(link),
            Tunnel::Greeting(_) | Tunnel::Control(_) => None,
        }
    }

    fn take_waiting(&mut self, visitor: ConnId, link: ConnId) -> Option<Box<Waiting>> {
        let details = self.visitor(visitor)?;
        let doing = std::mem::replace(&mut details.doing, Doing::Relayed { link });
        let Doing::Waiting(waiting) = doing else {
            details.doing = doing;
            return None;
        };
        self.core.set_deadline(visitor, None);
        Some(waiting)
    }
}
