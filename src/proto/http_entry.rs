//! One visitor's HTTP connection: requests in, each to its own home, responses out in their order.
//!
//! No sockets, no clock, no log. `handle_*` puts something in, [`HttpEntry::poll_action`] takes
//! what is to be done out; bytes for either side go into [`Out`].
//!
//! ```text
//!          head whole      service known          link there            response whole
//!   Head ------------> Routing ------> Linking ------------> Exchange ------------------> Head
//!    |                    |     kept link, same service         ^ |  '- 101 -> Relay
//!    |                    '-------------------------------------' |
//!    '---- refused, ended: Closing <---- nothing more can follow -'
//! ```
//!
//! Invariants:
//!
//! - One request at a time. A byte of the next one is not taken before the response to this one is
//!   whole: what is not taken is back-pressure, and responses cannot change places.
//! - One link at a time, of this visitor alone. It is kept for the next request only if request and
//!   response have both ended by their own framing and the home wants to go on; a byte from the
//!   home when no request is open ends it. So no byte is taken for another request's answer.
//! - What goes out is written from what was parsed ([`rewrite`], [`Body`]); nothing is passed on as
//!   it came before 101.
//! - A request that reached the home in part ends there with RESET, never with FIN. A response that
//!   reached the visitor in part ends there with a reset ([`Action::Abort`]), never in order.
//! - At most one page for a request, and only while no final response has begun.
//! - A request is repeated only if it is repeatable, no byte of its body went out and none of a
//!   response came in; and only once where the link was a kept one, or at another home.
//! - The connection is kept after a page or a response only if the request was read to its end.
//!
//! How to drive it, always in this order:
//!
//! 1. Give it bytes: [`HttpEntry::handle_home`] before [`HttpEntry::handle_visitor`], so that what
//!    an idle home has said is seen before the next request goes out. What they do not take stays
//!    with the caller and is given again, in front of what has come since.
//! 2. Send `out.home` to the link and `out.visitor` to the visitor. (`out.home` is for the link
//!    that was held during the call.)
//! 3. [`HttpEntry::poll_action`] until `None`, doing what it says, and after each answer
//!    (`handle_route`, `handle_link`) step 2 again.
//! 4. From the start while bytes are left and were taken. Then set the deadline that
//!    [`HttpEntry::wait`] names, anew whenever its answer has changed.
//!
//! Back-pressure is the caller's: it gives bytes of one side only while the other side's output
//! has gone out.

mod answers;
#[doc(hidden)]
pub mod fuzz;
mod home;
mod order;
pub mod page;
mod redirect;
mod summary;
mod why;

use std::mem;
use std::sync::Arc;

use crate::limits;
use crate::proto::access;
use crate::proto::gates::Refused;
use crate::wire::Status;
use crate::wire::host::HostName;
use crate::wire::http::body::Body;
use crate::wire::http::forwarded::{self, Origin, Visitor};
use crate::wire::http::request::Request;
use crate::wire::http::{HeadScan, Kind, Reject, Slots, Version};
use order::{Order, Traits};
use page::Pages;
pub use redirect::{Redirect, is_challenge};
use summary::Tally;
pub use summary::{Concluded, Ended, Summary};
pub use why::Why;

/// The state machine.
#[derive(Debug)]
pub struct HttpEntry {
    visitor: Visitor,
    pages: Arc<Pages>,
    stage: Stage,
    /// The service whose link is held. `leave.is_some()` implies `link.is_none()`.
    link: Option<u64>,
    /// The link that was held is to be left.
    leave: Option<HalfEnd>,
    /// FIN is to be said on the link that is held.
    finish: bool,
    /// The visitor has ended its direction.
    ended: bool,
    /// The request at hand is the last, or the next one.
    last: bool,
    /// Heads that were whole.
    requests: u32,
    turn: u32,
    refusal: Option<Why>,
    /// How requests end.
    tally: Tally,
}

/// Bytes for both sides, appended to.
#[derive(Debug, Default)]
pub struct Out {
    /// For the link that is held.
    pub home: Vec<u8>,
    /// For the visitor.
    pub visitor: Vec<u8>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a box would be an allocation for every request")]
pub enum Action {
    /// Find the service for this name and [`HttpEntry::target`]; answer with
    /// [`HttpEntry::handle_route`] at once.
    Route(HostName),
    /// Get a link to this service, now or later; answer with [`HttpEntry::handle_link`] or
    /// [`HttpEntry::handle_no_link`].
    Open {
        /// As [`Routed::Service`] said.
        service: u64,
    },
    /// Say FIN on the link: no request follows, the response is still wanted.
    Finish,
    /// The link is not this visitor's any more: end our direction so if it has not ended, and give
    /// the link back when the home's has. Whatever the home still says is thrown away.
    Leave(HalfEnd),
    /// Both directions are raw from here on, what was not taken first; this machine is done.
    Relay,
    /// Send what is left, end in order, and give the visitor time to read it; it may still be
    /// sending. This machine is done.
    Close,
    /// Reset the visitor's connection at once. This machine is done.
    Abort,
}

/// How a direction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HalfEnd {
    /// In order.
    Fin,
    /// Broken.
    Reset,
}

/// Answers [`Action::Route`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routed {
    /// This one has it, by a number that no other service has or had.
    Service(u64),
    /// Nobody has it.
    Unknown,
    /// Somebody has it who is not there.
    Offline,
    /// The path may be read in two ways, and two services have one each.
    AmbiguousPath,
    /// It is a check ([`HttpEntry::is_check`]), which is answered here.
    Health {
        /// Nobody new is to be sent here.
        draining: bool,
    },
    /// The visitor is not let in.
    Refused(Refused),
    /// It is to be asked over TLS.
    Https {
        /// How to say so.
        redirect: Redirect,
        /// Where visitors reach TLS.
        port: u16,
    },
}

/// Which deadline applies now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// For a request head: the first from accept on, later ones from their first byte.
    Head,
    /// For the first byte of the next request.
    NextRequest,
    /// For a link.
    Link,
    /// For the home's next response head, interim ones included.
    Response,
    /// Bytes flow between two open ends, or the machine is done.
    None,
}

#[derive(Debug)]
enum Stage {
    /// A head is awaited.
    Head(HeadScan),
    /// Whose is it?
    Routing { order: Box<Order>, asked: bool },
    /// Its link is awaited.
    Linking { order: Box<Order>, service: u64, asked: bool },
    /// It is with the home.
    Exchange { order: Box<Order>, reply: Reply },
    /// 101 has gone out.
    Relay { told: bool },
    /// Nothing more is read.
    Closing { how: Parting, told: bool },
}

/// How the visitor's connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parting {
    Close,
    Abort,
}

/// Where the home's response stands.
#[derive(Debug)]
enum Reply {
    /// Its head is awaited; interim ones before it may have so many bytes more.
    Head { scan: HeadScan, patience: usize },
    /// Its head has gone out.
    Body { body: Body, visitor_persists: bool, home_persists: bool },
}

impl HttpEntry {
    /// A connection that was just accepted.
    pub fn new(visitor: Visitor, pages: Arc<Pages>) -> HttpEntry {
        HttpEntry {
            visitor,
            pages,
            stage: Stage::Head(HeadScan::new(Kind::Request)),
            link: None,
            leave: None,
            finish: false,
            ended: false,
            last: false,
            requests: 0,
            turn: 0,
            refusal: None,
            tally: Tally::default(),
        }
    }

    /// It is no proxy that speaks for itself.
    pub fn is_visitor(&self) -> bool {
        self.visitor.origin == Origin::Visitor
    }

    /// What a new file says of how requests are answered and forwarded, from the next one on.
    pub fn renew(&mut self, pages: Arc<Pages>, form: forwarded::Form, is_proxy: bool) {
        self.pages = pages;
        (self.visitor.form, self.visitor.is_proxy) = (form, is_proxy);
    }

    /// The visitor's bytes from the first one that was not taken; how many are taken now.
    pub fn handle_visitor(&mut self, bytes: &[u8], out: &mut Out) -> usize {
        match &mut self.stage {
            Stage::Head(_) => self.read_head(bytes, out),
            Stage::Exchange { order, .. } if !order.body.is_done() && !bytes.is_empty() => {
                order.head = Vec::new();
                match order.body.decode(bytes, &mut out.home) {
                    Ok(taken) => {
                        self.note_sent();
                        taken
                    }
                    Err(reject) => {
                        self.fail(Why::RequestBody(reject), out);
                        bytes.len()
                    }
                }
            }
            Stage::Closing { .. } => bytes.len(),
            _ => 0,
        }
    }

    /// The visitor has ended its direction. Due when none of its bytes is left, or when
    /// [`HttpEntry::wants_visitor`] and those that are left were not taken.
    pub fn handle_visitor_end(&mut self, end: HalfEnd, out: &mut Out) {
        if end == HalfEnd::Reset {
            self.conclude(access::VisitEnd::VisitorReset);
            self.let_go(HalfEnd::Reset);
            return self.close(Parting::Abort);
        }
        self.ended = true;
        match &self.stage {
            Stage::Head(_) => {
                self.conclude(access::VisitEnd::VisitorLeft);
                self.close(Parting::Close);
            }
            Stage::Routing { order, .. } | Stage::Linking { order, .. }
                if !order.body.is_done() =>
            {
                self.fail(Why::CutRequest, out);
            }
            Stage::Exchange { order, .. } if !order.body.is_done() => {
                self.fail(Why::CutRequest, out);
            }
            Stage::Exchange { .. } => self.finish = true,
            _ => {}
        }
    }

    /// Answers [`Action::Route`].
    pub fn handle_route(&mut self, routed: Routed, out: &mut Out) {
        if !matches!(self.stage, Stage::Routing { .. }) {
            return;
        }
        let Stage::Routing { order, .. } = self.take_stage() else { return };
        match routed {
            Routed::Service(_) | Routed::Offline | Routed::Https { .. } if order.traits.is_loop => {
                self.say_page(Why::Loop, &order, out);
            }
            Routed::Service(service) if self.link == Some(service) => {
                let may_repeat = order.traits.is_repeatable;
                self.begin(order, may_repeat, out);
            }
            Routed::Service(service) => {
                self.let_go(HalfEnd::Fin);
                self.enter(Stage::Linking { order, service, asked: false });
            }
            Routed::Unknown => self.say_page(Why::UnknownHost, &order, out),
            Routed::Offline => self.say_page(Why::Offline, &order, out),
            Routed::AmbiguousPath => self.say_page(Why::AmbiguousPath, &order, out),
            Routed::Health { draining } => self.say_health(draining, &order, out),
            Routed::Refused(refused) => self.say_page(Why::Refused(refused), &order, out),
            Routed::Https { redirect, port } => self.send_away(redirect, port, &order, out),
        }
    }

    /// Answers [`Action::Open`]: the link is there. Its first bytes are in `out.home`.
    /// `has_another`: if it comes to nothing, there is another home to be asked.
    pub fn handle_link(&mut self, has_another: bool, out: &mut Out) {
        if !matches!(self.stage, Stage::Linking { .. }) {
            return;
        }
        if let Stage::Linking { order, service, .. } = self.take_stage() {
            debug_assert!(self.link.is_none() && self.leave.is_none());
            self.link = Some(service);
            let may_repeat = has_another && order.traits.is_repeatable;
            self.begin(order, may_repeat, out);
        }
    }

    /// Answers [`Action::Open`]: the home is not there.
    pub fn handle_no_link(&mut self, out: &mut Out) {
        if let Stage::Linking { .. } = self.stage {
            self.fail(Why::Offline, out);
        }
    }

    /// The home's bytes from the first one that was not taken; how many are taken now.
    pub fn handle_home(&mut self, bytes: &[u8], out: &mut Out) -> usize {
        // Goes on behind a whole response, so that what follows it is seen with it.
        let mut taken = 0;
        while taken < bytes.len() {
            match self.take_from_home(&bytes[taken..], out) {
                0 => break,
                more => taken += more,
            }
        }
        taken
    }

    /// The home has ended its direction, or the link is gone.
    pub fn handle_home_end(&mut self, end: HalfEnd, out: &mut Out) {
        if self.link.is_none() {
            return;
        }
        match &mut self.stage {
            Stage::Exchange { order, reply: Reply::Head { .. } } if !order.head.is_empty() => {
                let Some(service) = self.link else { return };
                self.let_go(end);
                if let Stage::Exchange { order, .. } = self.take_stage() {
                    self.enter(Stage::Linking { order, service, asked: false });
                }
            }
            Stage::Exchange { reply: Reply::Body { body, .. }, .. }
                if end == HalfEnd::Fin && body.may_end_here() =>
            {
                self.complete();
            }
            Stage::Exchange { .. } => self.fail(Why::CutResponse, out),
            _ => self.let_go(end),
        }
    }

    /// The deadline that [`HttpEntry::wait`] named has passed.
    pub fn handle_timeout(&mut self, out: &mut Out) {
        match self.wait() {
            Wait::Head => match &self.stage {
                Stage::Head(scan) if scan.is_fresh() => self.close(Parting::Close),
                _ => self.refuse(Why::Slow, false, out),
            },
            Wait::NextRequest => self.close(Parting::Close),
            Wait::Link => self.fail(Why::NoLink, out),
            Wait::Response => self.fail(Why::Silent, out),
            Wait::None => {}
        }
    }

    /// Whether a link that is lost now would lead to the request's being sent once more.
    pub fn may_repeat(&self) -> bool {
        match &self.stage {
            Stage::Exchange { order, reply: Reply::Head { .. } } => !order.head.is_empty(),
            _ => false,
        }
    }

    /// What is to be done now; ask until `None`.
    pub fn poll_action(&mut self) -> Option<Action> {
        if let Some(end) = self.leave.take() {
            return Some(Action::Leave(end));
        }
        if mem::take(&mut self.finish) {
            return Some(Action::Finish);
        }
        let (told, action) = match &mut self.stage {
            Stage::Routing { order, asked } => (asked, Action::Route(order.host)),
            Stage::Linking { service, asked, .. } => (asked, Action::Open { service: *service }),
            Stage::Relay { told } => (told, Action::Relay),
            Stage::Closing { how: Parting::Close, told } => (told, Action::Close),
            Stage::Closing { how: Parting::Abort, told } => (told, Action::Abort),
            Stage::Head(_) | Stage::Exchange { .. } => return None,
        };
        if mem::replace(told, true) { None } else { Some(action) }
    }

    /// Whether [`HttpEntry::handle_visitor`] would take bytes, or knows what to do with more.
    pub fn wants_visitor(&self) -> bool {
        match &self.stage {
            Stage::Head(_) | Stage::Closing { .. } => true,
            Stage::Exchange { order, .. } => !order.body.is_done(),
            _ => false,
        }
    }

    /// The request at hand is the last one, or if there is none, the next: its answer says so, if
    /// that has not begun.
    pub fn drain(&mut self) {
        self.last = true;
    }

    /// Closes the connection if no request is under way and no byte of a next one has come
    /// (RFC 9112 9.5); whether that was so.
    pub fn close_idle(&mut self) -> bool {
        let is_idle = matches!(&self.stage, Stage::Head(scan) if scan.is_fresh());
        if is_idle {
            self.close(Parting::Close);
        }
        is_idle
    }

    /// Leaves the link that is kept for a next request, if none is under way.
    pub fn give_link_back(&mut self) {
        if let Stage::Head(_) = self.stage {
            self.let_go(HalfEnd::Fin);
        }
    }

    /// The deadline that applies now, and a number that changes when it begins anew.
    pub fn wait_and_turn(&self) -> (Wait, u32) {
        (self.wait(), self.turn)
    }

    /// The deadline that applies now.
    pub fn wait(&self) -> Wait {
        match &self.stage {
            Stage::Head(scan) if self.requests > 0 && scan.is_fresh() => Wait::NextRequest,
            Stage::Head(_) => Wait::Head,
            Stage::Linking { .. } => Wait::Link,
            Stage::Exchange { order, reply: Reply::Head { .. } }
                if order.body.is_done() || order.traits.expects_continue =>
            {
                Wait::Response
            }
            _ => Wait::None,
        }
    }

    /// The target of the request whose route is asked for, as it is forwarded: in origin-form, or
    /// `*`.
    pub fn target(&self) -> &[u8] {
        match &self.stage {
            Stage::Routing { order, .. } => order.target(),
            _ => b"",
        }
    }

    /// Whether the request to be routed is a load balancer's own, about this server.
    pub fn is_check(&self) -> bool {
        matches!(&self.stage, Stage::Routing { order, .. } if order.traits.is_check)
    }

    /// Whether the request to be routed came by TLS to a trusted proxy.
    pub fn came_by_tls(&self) -> bool {
        matches!(&self.stage, Stage::Routing { order, .. } if order.traits.came_by_tls)
    }

    /// Heads of requests that were read.
    pub fn requests(&self) -> u32 {
        self.requests
    }

    /// What was refused or broken off since it was last asked.
    pub fn take_refusal(&mut self) -> Option<Why> {
        self.refusal.take()
    }

    /// So many of the visitor's next bytes go to the home as they come: they may be moved there
    /// without [`HttpEntry::handle_visitor`], and [`HttpEntry::note_moved_up`] says how many.
    pub fn plain_up(&self) -> u64 {
        match &self.stage {
            Stage::Exchange { order, .. } => order.body.plain_run(),
            _ => 0,
        }
    }

    /// `1 <= count <= plain_up()`
    pub fn note_moved_up(&mut self, count: u64) {
        if let Stage::Exchange { order, .. } = &mut self.stage {
            order.head = Vec::new();
            order.body.skip(count);
            self.note_sent();
        }
    }

    /// So many of the home's next bytes go to the visitor as they come: they may be moved there
    /// without [`HttpEntry::handle_home`], and [`HttpEntry::note_moved_down`] says how many.
    pub fn plain_down(&self) -> u64 {
        match &self.stage {
            Stage::Exchange { reply: Reply::Body { body, .. }, .. } => body.plain_run(),
            _ => 0,
        }
    }

    /// `1 <= count <= plain_down()`. What follows in the same read must be given to
    /// [`HttpEntry::handle_home`] before anything else.
    pub fn note_moved_down(&mut self, count: u64) {
        if let Stage::Exchange { reply: Reply::Body { body, .. }, .. } = &mut self.stage {
            body.skip(count);
            if body.is_done() {
                self.complete();
            }
        }
    }

    fn read_head(&mut self, bytes: &[u8], out: &mut Out) -> usize {
        let Stage::Head(scan) = &mut self.stage else { return 0 };
        let fresh = scan.is_fresh();
        let (head, taken) = match scan.scan(bytes) {
            Ok(Status::Partial) => {
                if fresh && !bytes.is_empty() && self.requests > 0 {
                    self.turn = self.turn.wrapping_add(1);
                }
                return 0;
            }
            Ok(Status::Complete(head)) => (&bytes[head.clone()], head.end),
            Err(reject) => {
                let is_head = bytes.trim_ascii_start().starts_with(b"HEAD ");
                self.refuse(Why::Request(reject), is_head, out);
                return bytes.len();
            }
        };
        let mut slots = Slots::new();
        let may_be_check = self.visitor.is_proxy || self.visitor.origin != Origin::Visitor;
        let parsed = match may_be_check {
            true => Request::parse_nameless(head, &mut slots).and_then(|request| {
                let is_nameless = request.version == Version::Http11
                    && request.fields.named("host").next().is_none();
                match is_nameless && !forwarded::is_check(&request, &self.visitor) {
                    true => Err(Reject::NoHost),
                    false => Ok(request),
                }
            }),
            false => Request::parse(head, &mut slots),
        };
        match parsed {
            Ok(request) => {
                self.take_request(&request);
                taken
            }
            Err(reject) => {
                self.refuse(Why::Request(reject), head.starts_with(b"HEAD "), out);
                bytes.len()
            }
        }
    }

    /// Finds out where a sound request goes.
    fn take_request(&mut self, request: &Request<'_, '_>) {
        self.note_request(request);
        self.requests = self.requests.saturating_add(1);
        let order = Box::new(Order::new(request, &self.visitor));
        if self.visitor.origin == Origin::Headerless && !order.traits.is_check {
            // A visitor's address is missing, and nobody's stands in for it.
            self.refusal = Some(Why::NoHeader);
            self.conclude(Why::NoHeader.end());
            self.close(Parting::Abort);
        } else {
            self.enter(Stage::Routing { order, asked: false });
        }
    }

    /// Sends the head on the link that is held.
    fn begin(&mut self, mut order: Box<Order>, may_repeat: bool, out: &mut Out) {
        out.home.extend_from_slice(&order.head);
        if !may_repeat {
            order.head = Vec::new();
        }
        self.finish = self.ended && order.body.is_done();
        let scan = HeadScan::new(Kind::Response);
        self.enter(Stage::Exchange {
            order,
            reply: Reply::Head { scan, patience: limits::HTTP_INTERIM_BYTES },
        });
    }

    /// After bytes of the body have gone to the home: the response is awaited from its end on.
    fn note_sent(&mut self) {
        if let Stage::Exchange { order, .. } = &mut self.stage {
            order.traits.expects_continue = false;
            if order.body.is_done() {
                self.turn = self.turn.wrapping_add(1);
            }
        }
    }

    /// Nothing more is read; a link that is still held is idle.
    fn close(&mut self, how: Parting) {
        self.let_go(HalfEnd::Fin);
        self.enter(Stage::Closing { how, told: false });
    }

    /// Leaves the link, if one is held.
    fn let_go(&mut self, end: HalfEnd) {
        if self.link.take().is_some() {
            self.leave = Some(end);
            self.finish = false;
        }
    }

    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.turn = self.turn.wrapping_add(1);
    }

    /// The stage, to be replaced by its successor.
    fn take_stage(&mut self) -> Stage {
        mem::replace(&mut self.stage, Stage::Head(HeadScan::new(Kind::Request)))
    }
}

#[cfg(test)]
mod tests;
