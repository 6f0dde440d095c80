//! Visitors of the HTTP entry: drives [`HttpEntry`] between a visitor's socket and its link.
//!
//! The machine decides, this file moves bytes: what comes is given to it, what it writes is sent,
//! what it asks for is done. Bytes that it does not take yet are kept and given again. A side is
//! read only while the other side's output has gone out; that is the flow control.

mod link;

use std::sync::Arc;

use log::debug;

use super::Server;
use super::greeting::Why;
use super::links::LinkUse;
use super::visitor::{Doing, Visitor};
use crate::config::{Networks, ServerConfig};
use crate::engine::buffers::BATCH;
use crate::engine::conn::{self, Carrier as _};
use crate::engine::conns::ConnId;
use crate::engine::net::Net;
use crate::engine::table::Table;
use crate::limits;
use crate::proto::access::VisitEnd;
use crate::proto::admission::Standing;
use crate::proto::bandwidth::Way;
use crate::proto::gates::Refused;
use crate::proto::http_entry::page::Pages;
use crate::proto::http_entry::{Action, Concluded, HalfEnd, HttpEntry, Routed, Wait, is_challenge};
use crate::proto::route::{AmbiguousPath, Ask};
use crate::proto::services::ServiceId;
use crate::wire::host::HostName;
use crate::wire::http::forwarded;
use crate::wire::message::Reason;

/// A visitor's HTTP connection.
pub(super) struct Http {
    entry: HttpEntry,
    /// The name of the request at hand.
    name: HostName,
    /// Who has it.
    service: Option<ServiceId>,
    /// Why the home has reset its last link.
    reset: Option<Reason>,
    /// The link that is held.
    pub(super) link: Option<ConnId>,
    /// The service whose link it waits for.
    pub(super) waiting: Option<ServiceId>,
    /// Sessions of homes that the request at hand was sent to, where several share the service.
    tried: Vec<ConnId>,
    /// Nobody is there to wait for: to be told.
    no_link: bool,
    /// The visitor's bytes that were not taken.
    unread: Vec<u8>,
    /// The home's bytes that were not taken.
    unheard: Vec<u8>,
    /// The visitor's end of file has come, and was told.
    visitor_end: Option<Told>,
    /// The home's end has come; to be told behind `unheard`.
    home_end: Option<HalfEnd>,
    /// What the deadline is set for.
    awaits: Option<(Wait, u32)>,
}

/// Whether the machine knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    No,
    Yes,
}

/// What a step has brought.
enum Step {
    Moved,
    Blocked,
    /// It is no HTTP visitor any more.
    Left,
}

/// Steps of one visitor before others have their turn.
const BUDGET: usize = 8;

impl Http {
    /// For a visitor that was just accepted, with the deadline for its first head, and has said
    /// `unread`.
    pub(super) fn new(visitor: forwarded::Visitor, unread: Vec<u8>, pages: Arc<Pages>) -> Http {
        let entry = HttpEntry::new(visitor, pages);
        Http {
            awaits: Some(entry.wait_and_turn()),
            entry,
            name: HostName::Empty,
            service: None,
            reset: None,
            link: None,
            waiting: None,
            tried: Vec::new(),
            no_link: false,
            unread,
            unheard: Vec::new(),
            visitor_end: None,
            home_end: None,
        }
    }

    /// The access log wants a summary of each request.
    pub(super) fn keep_summaries(&mut self) {
        self.entry.keep_summaries();
    }

    /// See [`HttpEntry::look_behind`].
    pub(super) fn look_behind(&mut self, proxies: Networks) {
        self.entry.look_behind(proxies);
    }

    /// See [`HttpEntry::renew`].
    pub(super) fn renew(&mut self, config: &ServerConfig, is_proxy: bool) {
        self.entry.renew(config.pages.clone(), config.forwarded, is_proxy);
    }

    /// The name of the request at hand.
    pub(super) fn name(&self) -> &HostName {
        &self.name
    }

    /// Whether it holds a link to a service's home.
    pub(super) fn is_with(&self, service: ServiceId) -> bool {
        self.link.is_some() && self.service == Some(service)
    }

    /// See [`HttpEntry::is_idle`].
    pub(super) fn is_idle(&self) -> bool {
        self.entry.is_idle()
    }

    /// See [`HttpEntry::has_answered`].
    pub(super) fn has_answered(&self) -> bool {
        self.entry.has_answered()
    }

    /// See [`HttpEntry::drain`].
    pub(super) fn drain(&mut self) {
        self.entry.drain();
    }

    /// Whether a request has come.
    pub(super) fn has_served(&self) -> bool {
        self.entry.requests() > 0
    }

    /// See [`HttpEntry::close_idle`].
    pub(super) fn close_idle(&mut self) -> bool {
        self.unread.is_empty() && self.entry.close_idle()
    }

    /// See [`HttpEntry::give_link_back`].
    pub(super) fn give_link_back(&mut self) {
        self.entry.give_link_back();
    }

    /// See [`HttpEntry::abandon`].
    pub(super) fn abandon(&mut self, end: VisitEnd) -> Option<Concluded> {
        self.entry.abandon(end)
    }

    /// Bytes that wait here, of either side.
    pub(super) fn held(&self) -> usize {
        self.unread.len() + self.unheard.len()
    }
}

impl<N: Net> Server<N> {
    /// A turn of an HTTP visitor, for an event of its own or of its link.
    pub(super) fn hear_http(&mut self, id: ConnId) {
        for _ in 0..BUDGET {
            match self.step_http(id) {
                Step::Moved => {}
                Step::Blocked if self.let_idle_go(id) => return,
                Step::Blocked => return self.set_http_deadline(id),
                Step::Left => return,
            }
        }
        self.set_http_deadline(id);
        self.core.enqueue(id);
    }

    /// The machine's deadline has passed.
    pub(super) fn http_overdue(&mut self, id: ConnId) {
        if self.let_silent_go(id) {
            return;
        }
        let Some(http) = http_of(&mut self.core.conns, id) else { return };
        http.awaits = None;
        http.entry.handle_timeout(&mut self.http_out);
        self.forget_waiting(id);
        if self.carry_out(id) {
            self.hear_http(id);
        }
    }

    /// A link is gone: the one that it held, unless it has left that one already.
    pub(super) fn http_link_lost(&mut self, id: ConnId, lost: ConnId) {
        if let Some(http) = self.http(id)
            && http.link == Some(lost)
        {
            http.link = None;
            http.home_end = Some(HalfEnd::Reset);
            self.core.enqueue(id);
        }
    }

    /// What runs at its home answers nobody any more: a request that can be sent once more is.
    pub(super) fn repeat_http(&mut self, id: ConnId) {
        if let Some(http) = self.http(id)
            && http.entry.may_repeat()
        {
            http.home_end = Some(HalfEnd::Reset);
            self.core.enqueue(id);
        }
    }

    /// There is no link to wait for.
    pub(super) fn http_turned_away(&mut self, id: ConnId) {
        if let Some(http) = self.http(id) {
            http.waiting = None;
            http.no_link = true;
            self.core.enqueue(id);
        }
    }

    /// The link that it was about to have is gone.
    pub(super) fn http_place_again(&mut self, id: ConnId) {
        let waiting = self.http(id).and_then(|http| http.waiting.take());
        if let Some(service) = waiting {
            self.open_http(id, service);
            self.core.enqueue(id);
        }
    }

    /// What an HTTP visitor holds, given back.
    pub(super) fn leave_http(&mut self, id: ConnId) {
        self.forget_waiting(id);
        self.leave_link(id, HalfEnd::Reset);
        let Some(visitor) = self.visitor(id) else { return };
        let Doing::Http(http) = &mut visitor.doing else { return };
        let (mut unread, mut unheard) =
            (std::mem::take(&mut http.unread), std::mem::take(&mut http.unheard));
        self.core.io.buffers.give_back(&mut unread);
        self.core.io.buffers.give_back(&mut unheard);
    }

    fn step_http(&mut self, id: ConnId) -> Step {
        let Some(conn) = self.core.conns.plain(id) else { return Step::Left };
        let Ok(mut moved) = conn.flush(&mut self.core.io) else { return self.visitor_broke(id) };
        let Some(http) = self.http(id) else { return Step::Left };
        if let Some(link) = http.link {
            let Some(conn) = self.core.conns.tunnel(link) else { return Step::Left };
            match conn.flush(&mut self.core.io) {
                Ok(flushed) => moved |= flushed,
                Err(gone) => self.lose_http_link(id, link, gone),
            }
        }
        if let Some(http) = self.http(id)
            && std::mem::take(&mut http.no_link)
        {
            let Some(http) = http_of(&mut self.core.conns, id) else { return Step::Left };
            http.entry.handle_no_link(&mut self.http_out);
            if !self.carry_out(id) {
                return Step::Left;
            }
            moved = true;
        }
        for side in [Self::hear_home, Self::hear_visitor] {
            match side(self, id) {
                Step::Moved => moved = true,
                Step::Blocked => {}
                Step::Left => return Step::Left,
            }
            if !self.carry_out(id) {
                return Step::Left;
            }
        }
        if moved {
            return Step::Moved;
        }
        if self.core.conns.is_broken(id) {
            return self.visitor_broke(id);
        }
        let link = self.http(id).and_then(|http| http.link);
        if let Some(link) = link.filter(|link| self.core.conns.is_broken(*link)) {
            self.lose_http_link(id, link, "broken");
            return Step::Moved;
        }
        Step::Blocked
    }

    /// Gives the machine what the home says, while the visitor takes what comes of it.
    fn hear_home(&mut self, id: ConnId) -> Step {
        let Some(conn) = self.core.conns.plain(id) else { return Step::Left };
        let is_clear = conn.socket.is_clear();
        let Some(http) = http_of(&mut self.core.conns, id) else { return Step::Left };
        // A visitor that does not read does not outlive what it does not read from.
        if !is_clear && http.home_end != Some(HalfEnd::Reset) {
            return Step::Blocked;
        }
        let mut moved = false;
        if !http.unheard.is_empty() {
            let taken = http.entry.handle_home(&http.unheard, &mut self.http_out);
            moved = self.core.io.buffers.take_front(&mut http.unheard, taken);
        }
        let link_id = http.link.filter(|_| !moved && http.home_end.is_none());
        if let Some(link_id) = link_id
            && !self.must_wait(id, Way::Down, link_id)
        {
            let Some(link) = self.core.conns.tunnel(link_id) else { return Step::Left };
            let pulled = match link.pull(&mut self.core.io) {
                Ok(pulled) => pulled,
                Err(gone) => {
                    self.lose_http_link(id, link_id, gone);
                    return Step::Moved;
                }
            };
            moved = pulled.moved;
            self.note_moved(id, Way::Down, pulled.data);
            self.note_accepted(link_id, id);
            let end = match pulled.end {
                None => None,
                Some(conn::Event::Fin) => Some(HalfEnd::Fin),
                Some(conn::Event::Reset(reason)) => {
                    debug!("visitor's request: {reason}");
                    self.note_refused(link_id, id, reason);
                    if let Some(http) = self.http(id) {
                        http.reset = Some(reason);
                    }
                    Some(HalfEnd::Reset)
                }
                Some(conn::Event::Message(..)) => {
                    self.lose_http_link(id, link_id, conn::Gone::Unexpected);
                    return Step::Moved;
                }
            };
            let Some(http) = http_of(&mut self.core.conns, id) else { return Step::Left };
            http.home_end = end;
            let bytes = &self.core.io.scratch.clear[..pulled.data];
            if http.unheard.is_empty() {
                let taken = http.entry.handle_home(bytes, &mut self.http_out);
                self.core.io.buffers.append(&mut http.unheard, &bytes[taken..]);
            } else {
                self.core.io.buffers.append(&mut http.unheard, bytes);
                let taken = http.entry.handle_home(&http.unheard, &mut self.http_out);
                self.core.io.buffers.take_front(&mut http.unheard, taken);
            }
        }
        // The end stands behind the bytes, and behind what they lead to: behind 101 it is the
        // relay's. Bytes that nobody takes any more do not hold it up.
        let Some(http) = http_of(&mut self.core.conns, id) else { return Step::Left };
        if let Some(end) = http.home_end.filter(|_| !moved) {
            http.home_end = None;
            self.core.io.buffers.give_back(&mut http.unheard);
            http.entry.handle_home_end(end, &mut self.http_out);
            moved = true;
        }
        if moved { Step::Moved } else { Step::Blocked }
    }

    /// Gives the machine what the visitor says, while home and visitor take what comes of it.
    fn hear_visitor(&mut self, id: ConnId) -> Step {
        let Some(http) = self.http(id) else { return Step::Left };
        let link = http.link;
        let is_clear = |conn| self.core.conns.is_clear(conn);
        let may_go_on = match link {
            // An upload goes on while the visitor is slow to read; pages do not pile up for ever.
            Some(link) => {
                is_clear(link)
                    && self.core.conns.get(id).is_some_and(|conn| conn.socket().backlog() < BATCH)
            }
            None => is_clear(id),
        };
        if !may_go_on {
            return Step::Blocked;
        }
        let Some(http) = http_of(&mut self.core.conns, id) else { return Step::Left };
        let mut moved = false;
        if !http.unread.is_empty() {
            let taken = http.entry.handle_visitor(&http.unread, &mut self.http_out);
            moved = self.core.io.buffers.take_front(&mut http.unread, taken);
        }
        let wants = http.unread.is_empty() || http.entry.wants_visitor();
        if !moved && wants && http.visitor_end.is_none() && !self.must_wait(id, Way::Up, id) {
            let Some(conn) = self.core.conns.plain(id) else { return Step::Left };
            let Ok(pulled) = conn.pull(&mut self.core.io) else { return self.visitor_broke(id) };
            moved = pulled.moved;
            self.note_moved(id, Way::Up, pulled.data);
            let Some(http) = http_of(&mut self.core.conns, id) else { return Step::Left };
            if pulled.end.is_some() {
                http.visitor_end = Some(Told::No);
            }
            let bytes = &self.core.io.scratch.clear[..pulled.data];
            if http.unread.is_empty() {
                let taken = http.entry.handle_visitor(bytes, &mut self.http_out);
                self.core.io.buffers.append(&mut http.unread, &bytes[taken..]);
            } else {
                self.core.io.buffers.append(&mut http.unread, bytes);
                let taken = http.entry.handle_visitor(&http.unread, &mut self.http_out);
                self.core.io.buffers.take_front(&mut http.unread, taken);
            }
        }
        self.note_request(id);
        let Some(http) = http_of(&mut self.core.conns, id) else { return Step::Left };
        let nothing_left = http.unread.is_empty() || (!moved && http.entry.wants_visitor());
        if http.visitor_end == Some(Told::No) && nothing_left {
            http.visitor_end = Some(Told::Yes);
            http.entry.handle_visitor_end(HalfEnd::Fin, &mut self.http_out);
            moved = true;
        }
        if moved { Step::Moved } else { Step::Blocked }
    }

    /// Sends what the machine has written and does what it asks for; whether it goes on.
    pub(super) fn carry_out(&mut self, id: ConnId) -> bool {
        loop {
            if !self.send_http(id) {
                return false;
            }
            self.note_first_byte(id);
            if let Some(concluded) = self.http(id).and_then(|http| http.entry.take_concluded()) {
                self.log_request(id, concluded);
            }
            let Some(http) = self.http(id) else { return false };
            if let Some(why) = http.entry.take_refusal() {
                let (service, reset) = (http.service, http.reset.take());
                let detail = reset.map(|reason| reason.to_string());
                self.say_refusal(id, service, why, detail);
            }
            let Some(http) = self.http(id) else { return false };
            match http.entry.poll_action() {
                None => return true,
                Some(Action::Route(name)) if self.is_for_admin(id, &name) => {
                    self.hand_to_admin(id);
                    return false;
                }
                Some(Action::Route(name)) => {
                    let Some(http) = self.http(id) else { return false };
                    http.name = name;
                    http.tried.clear();
                    let is_check = http.entry.is_check();
                    let routed = if is_check {
                        Routed::Health { draining: self.is_draining() }
                    } else {
                        self.note_name(id, &name);
                        self.ask_kept_link(id);
                        self.route_http(id, &name)
                    };
                    let Some(http) = http_of(&mut self.core.conns, id) else { return false };
                    http.entry.handle_route(routed, &mut self.http_out);
                }
                Some(Action::Open { service }) => {
                    self.open_http(id, ServiceId::from_bits(service));
                }
                Some(Action::Finish) => self.finish_link(id),
                Some(Action::Leave(end)) => self.leave_link(id, end),
                Some(Action::Relay) => {
                    self.relay_http(id);
                    return false;
                }
                Some(Action::Close) => {
                    self.answer_and_part(id, &[], VisitEnd::Done);
                    return false;
                }
                Some(Action::Abort) => {
                    self.abort_visitor(id, VisitEnd::HomeReset);
                    return false;
                }
            }
        }
    }

    /// It has asked for the admin page's own name: from here on it is the admin door's.
    fn hand_to_admin(&mut self, id: ConnId) {
        self.leave_seat(id);
        self.leave_link(id, HalfEnd::Fin);
        let Some(Visitor { address, doing: Doing::Http(http), .. }) = self.visitor(id) else {
            return;
        };
        let (address, head) = (address.ip(), http.entry.take_head());
        let mut unread = std::mem::take(&mut http.unread);
        self.core.io.buffers.give_back(&mut unread);
        if !self.core.turn_admin(id, address, head) {
            self.abort_visitor(id, VisitEnd::MadeRoom);
        }
    }

    fn send_http(&mut self, id: ConnId) -> bool {
        let mut out = std::mem::take(&mut self.http_out);
        let link = self.http(id).and_then(|http| http.link);
        if let Some(link) = link
            && let Err(gone) = self.core.push(link, &out.home)
        {
            self.lose_http_link(id, link, gone);
        }
        let sent = self.core.conns.plain(id).is_some_and(|conn| {
            let io = &mut self.core.io;
            conn.socket.send(&mut io.net, &mut io.buffers, &out.visitor).is_ok()
        });
        out.home.clear();
        out.visitor.clear();
        self.http_out = out;
        if !sent {
            self.visitor_broke(id);
        }
        sent
    }

    /// Looks whether the home has ended the connection that is kept for the next request: what is
    /// sent on one that is closed cannot all be repeated.
    fn ask_kept_link(&mut self, id: ConnId) {
        let Some(link) = self.http(id).and_then(|http| http.link) else { return };
        let Some(conn) = self.core.conns.tunnel(link) else { return };
        // Whatever the kernel has told so far, it is asked once more.
        conn.socket.expect_bytes();
        for _ in 0..BUDGET {
            let Step::Moved = self.hear_home(id) else { return };
        }
    }

    fn route_http(&mut self, id: ConnId, name: &HostName) -> Routed {
        // The list may be another one since it came in.
        let visitor = self.visitor(id).filter(|visitor| match &visitor.doing {
            Doing::Http(http) => http.entry.is_visitor(),
            _ => false,
        });
        let address = visitor.map(|visitor| visitor.address.ip());
        if address.is_some_and(|address| !self.gates.lets_in(address)) {
            return Routed::Refused(Refused::Denied);
        }
        if let Err(refused) = self.knock(id) {
            return Routed::Refused(refused);
        }
        let http = http_of(&mut self.core.conns, id);
        let target = http.as_ref().map_or(&b""[..], |http| http.entry.target());
        let by_tls = http.as_ref().is_some_and(|http| http.entry.came_by_tls());
        let (service, redirect) = match self.config.routes.find(name, Ask::Http { target }) {
            Err(AmbiguousPath) => return Routed::AmbiguousPath,
            Ok(None) => return Routed::Unknown,
            Ok(Some(found)) => {
                let service = self.services.at(found.service);
                let redirect = self.services.get(service).and_then(|it| it.redirect_https);
                (service, redirect.filter(|_| !is_challenge(target) && !by_tls))
            }
        };
        if let Some(http) = self.http(id) {
            http.service = Some(service);
        }
        self.note_service(id, service);
        let entered = match redirect {
            Some(_) => self.pass(id, service),
            None => self.enter(id, service),
        };
        if let Err(refused) = entered {
            return Routed::Refused(refused);
        }
        match redirect {
            Some(redirect) => Routed::Https { redirect, port: self.https_port },
            None if !self.broker.is_online(service, self.core.now()) => Routed::Offline,
            None => Routed::Service(service.to_bits()),
        }
    }

    fn visitor_broke(&mut self, id: ConnId) -> Step {
        self.abort_visitor(id, VisitEnd::VisitorReset);
        Step::Left
    }

    fn forget_waiting(&mut self, id: ConnId) {
        if self.http(id).and_then(|http| http.waiting.take()).is_some() {
            self.broker.forget(id);
        }
    }

    /// The link that it holds fails under its own hands.
    fn lose_http_link(&mut self, id: ConnId, link: ConnId, why: impl Into<Why>) {
        self.http_link_lost(id, link);
        if let Some(link) = self.link(link) {
            link.usage = LinkUse::Settling;
        }
        self.lose_link(link, why);
    }

    /// Sets the deadline that the machine names, anew whenever it begins anew.
    pub(super) fn set_http_deadline(&mut self, id: ConnId) {
        let now = self.core.now();
        let Some(http) = self.http(id) else { return };
        let awaits = http.entry.wait_and_turn();
        if http.awaits == Some(awaits) {
            return;
        }
        http.awaits = Some(awaits);
        let service = http.service;
        if matches!(awaits.0, Wait::Head | Wait::NextRequest) {
            self.leave_seat(id);
        }
        let times = service.and_then(|service| self.services.get(service));
        let times = times.map_or(self.config.http_times, |service| service.http_times);
        // Who has asked for something is no stranger until it asks for the next.
        let standing = match awaits.0 {
            Wait::Head => Standing::Unproved,
            Wait::NextRequest => Standing::Idle,
            Wait::Link | Wait::Response | Wait::None => Standing::Busy,
        };
        let at = match awaits.0 {
            Wait::Head => Some(now + self.config.head_timeout),
            Wait::NextRequest => Some(now + times.idle),
            Wait::Link => Some(now + limits::LINK_WAIT),
            Wait::Response => times.response.map(|patience| now + patience),
            Wait::None => None,
        };
        self.core.set_standing(id, standing);
        self.core.set_deadline(id, at);
    }

    pub(super) fn http(&mut self, id: ConnId) -> Option<&mut Http> {
        http_of(&mut self.core.conns, id)
    }
}

fn http_of<S, T>(conns: &mut Table<S, Visitor, T>, id: ConnId) -> Option<&mut Http> {
    match &mut conns.plain(id)?.stage.doing {
        Doing::Http(http) => Some(http),
        _ => None,
    }
}
