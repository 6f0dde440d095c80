//! How each request ended, for the counters, and what the access log says of it, which is kept only
//! where it is asked for.
//!
//! A request is opened when its head is whole, and concluded exactly once: when its response is
//! whole, when a page has answered it, or when it is broken off. What never became a request, and
//! of which a byte has come, is concluded too, without a line.

use std::net::IpAddr;
use std::ops::Range;

use super::{HttpEntry, Reply, Stage, Why};
use crate::config::Networks;
use crate::proto::access::{RequestLine, VisitEnd};
use crate::wire::http::body::Body;
use crate::wire::http::forwarded;
use crate::wire::http::request::{Request, Target};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// For this reason.
    pub end: VisitEnd,
    /// That went out to the visitor.
    pub status: Option<u16>,
}

/// What the access log says of a request besides.
#[derive(Debug)]
pub struct Summary {
    /// `None` if there was no head to read.
    pub line: Option<RequestLine>,
    /// Content of the request's body.
    pub bytes_in: u64,
    /// Content of the response's body.
    pub bytes_out: u64,
    /// What was wrong with the home's answer, if it was that.
    pub why: Option<Why>,
    /// Whom a trusted HTTP proxy has brought.
    pub visitor: Option<IpAddr>,
}

/// A request that is over; the summary is there where it is asked for.
pub type Concluded = (Ended, Option<Summary>);

/// The request at hand and the one before it. At most one of the two is there.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// The status that has gone out for the request at hand.
    open: Option<Option<u16>>,
    concluded: Option<Ended>,
    /// For the access log.
    ledger: Option<Box<Ledger>>,
}

/// The same two.
#[derive(Debug, Default)]
struct Ledger {
    open: Option<Summary>,
    concluded: Option<Summary>,
    /// The visitor is an HTTP proxy of these.
    proxies: Option<Networks>,
}

impl HttpEntry {
    /// From now on each request is summed up.
    pub fn keep_summaries(&mut self) {
        self.tally.ledger = Some(Box::default());
    }

    /// The visitor is one of these HTTP proxies: a summary says whom it brings.
    pub fn look_behind(&mut self, proxies: Networks) {
        if let Some(ledger) = &mut self.tally.ledger {
            ledger.proxies = Some(proxies);
        }
    }

    /// The request that has ended, once: ask whenever actions are polled.
    pub fn take_concluded(&mut self) -> Option<Concluded> {
        let ended = self.tally.concluded.take()?;
        let ledger = self.tally.ledger.as_mut();
        Some((ended, ledger.and_then(|ledger| ledger.concluded.take())))
    }

    /// After [`super::Action::Relay`]: the request that asked for it, which goes on.
    pub fn take_upgrade(&mut self) -> Option<Concluded> {
        let status = self.tally.open.take()?;
        let ledger = self.tally.ledger.as_mut();
        let summary = ledger.and_then(|ledger| ledger.open.take());
        Some((Ended { end: VisitEnd::Done, status }, summary))
    }

    /// The visitor's connection is gone: what was under way.
    pub fn abandon(&mut self, end: VisitEnd) -> Option<Concluded> {
        match self.take_concluded() {
            // It was on its way out.
            Some((ended, summary)) if ended.end == VisitEnd::Done => {
                Some((Ended { end, ..ended }, summary))
            }
            Some(concluded) => Some(concluded),
            None => {
                self.conclude(end);
                self.take_concluded()
            }
        }
    }

    /// Whether not a byte of a request is here, and none is open.
    pub fn is_idle(&self) -> bool {
        match &self.stage {
            Stage::Head(scan) => scan.is_fresh(),
            Stage::Relay { .. } | Stage::Closing { .. } => true,
            Stage::Routing { .. } | Stage::Linking { .. } | Stage::Exchange { .. } => false,
        }
    }

    /// Whether an answer to the request has begun; interim ones are none.
    pub fn has_answered(&self) -> bool {
        let Tally { open, concluded, .. } = &self.tally;
        open.flatten().or(concluded.and_then(|ended| ended.status)).is_some()
    }

    pub(super) fn note_request(&mut self, request: &Request<'_, '_>) {
        self.tally.open = Some(None);
        let Some(ledger) = &mut self.tally.ledger else { return };
        let target = match request.target {
            Target::Origin(target) | Target::Absolute(target) => target,
            Target::Asterisk => b"*",
        };
        let field = |name| request.fields.named(name).next().unwrap_or_default();
        let (referer, agent) = (field("referer"), field("user-agent"));
        let visitor = ledger.proxies.as_ref().and_then(|proxies| {
            forwarded::visitor_of(request.fields, |address| proxies.contain(address))
        });
        ledger.open = Some(Summary {
            visitor,
            line: Some(RequestLine::new(request.version, request.method.0, target, referer, agent)),
            ..Summary::nothing()
        });
    }

    pub(super) fn note_status(&mut self, status: u16) {
        if let Some(open) = &mut self.tally.open {
            *open = Some(status);
        }
    }

    /// The request that was just concluded ended for this.
    pub(super) fn note_why(&mut self, why: Why) {
        let ledger = self.tally.ledger.as_mut();
        if let Some(concluded) = ledger.and_then(|ledger| ledger.concluded.as_mut()) {
            concluded.why = Some(why);
        }
    }

    /// The request at hand was none of a visitor's.
    pub(super) fn forget(&mut self) {
        self.tally.open = None;
        if let Some(ledger) = &mut self.tally.ledger {
            ledger.open = None;
        }
    }

    /// The request at hand ends so; to be called before the stage is left.
    pub(super) fn conclude(&mut self, end: VisitEnd) {
        let is_open = self.tally.open.is_some() || !self.is_idle();
        if is_open {
            let bytes = match &self.stage {
                Stage::Exchange { order, reply: Reply::Body { body, .. } } => {
                    (order.body.content(), body.content())
                }
                Stage::Exchange { order, .. } => (order.body.content(), 0),
                _ => (0, 0),
            };
            let status = self.tally.open.take().flatten();
            self.tally.conclude(Ended { end, status }, bytes);
        }
    }

    /// `answer`, a whole one of our own, is for the request at hand, or for what is none.
    pub(super) fn conclude_with_answer(
        &mut self,
        end: VisitEnd,
        body: Option<&Body>,
        answer: &[u8],
    ) {
        let status =
            answer.get(STATUS).and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let bytes_out = head.map_or(0, |head| answer.len() - head - 4) as u64;
        let bytes_in = body.map_or(0, Body::content);
        self.tally.open = None;
        self.tally.conclude(Ended { end, status }, (bytes_in, bytes_out));
    }
}

impl Tally {
    fn conclude(&mut self, ended: Ended, (bytes_in, bytes_out): (u64, u64)) {
        self.concluded = Some(ended);
        if let Some(ledger) = &mut self.ledger {
            let open = ledger.open.take().unwrap_or_else(Summary::nothing);
            ledger.concluded = Some(Summary { bytes_in, bytes_out, ..open });
        }
    }
}

/// Where a response has its status (RFC 9112 4).
const STATUS: Range<usize> = 9..12;

impl Summary {
    fn nothing() -> Summary {
        Summary { line: None, bytes_in: 0, bytes_out: 0, why: None, visitor: None }
    }
}
