//! Calls and requests: what both ends will do, and what was seen of it.

use std::cell::RefCell;
use std::net::IpAddr;
use std::ops::Range;
use std::rc::Rc;

use crate::story::{End, Reading};

/// Everybody's calls.
pub type Book = Rc<RefCell<Ledger>>;
/// A call's number.
pub type CallId = usize;
/// A request's number; it stands in the path and keys the bytes of both bodies.
pub type AskId = usize;

/// See [`Book`].
#[derive(Default)]
pub struct Ledger {
    pub calls: Vec<Call>,
    pub asks: Vec<Ask>,
    /// No faults happen.
    pub calm: bool,
    /// What must not happen in any world.
    pub wrong: Vec<String>,
}

/// One visitor's connection.
#[derive(Debug)]
pub struct Call {
    pub from: IpAddr,
    pub asks: Range<AskId>,
    /// So many requests may be under way at once.
    pub ahead: usize,
    pub reading: Reading,
    pub leaves: Leaves,
    /// Told that the connection ends, it closes and does not wait for the end.
    pub hasty: bool,
    pub seen: Seen,
}

/// What became of a call.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    pub began: bool,
    /// It left as planned, before everything was answered.
    pub left: bool,
    /// The last thing it saw; `None` if it closed by itself.
    pub end: Option<End>,
    pub done: Option<u64>,
    /// When the last response was whole.
    pub answered: u64,
    /// Connections at home that carried its requests.
    pub lines: usize,
}

/// How a visitor ends its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaves {
    /// It closes when all is answered.
    Closes,
    /// It ends its direction behind the last request and reads on.
    Finishes,
    /// It waits until the server has had enough.
    Stays,
    /// After so many bytes sent.
    AfterSent(usize, How),
    /// After so many bytes received.
    AfterReceived(usize, How),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Fin,
    Reset,
    Close,
}

/// One request, and what is to come of it.
#[derive(Debug)]
pub struct Ask {
    pub call: CallId,
    pub to: To,
    pub method: &'static str,
    /// HTTP/1.0
    pub old: bool,
    /// The visitor wants to go on after it.
    pub keeps: bool,
    pub body: Option<Payload>,
    /// It expects 100, and waits so long for it.
    pub expects: Option<u64>,
    pub upgrades: bool,
    /// Chooses among ways of writing the same.
    pub quirk: u64,
    /// What makes it no request.
    pub fault: Option<Fault>,
    /// Nanoseconds before it is sent.
    pub pause: u64,
    pub pace: Pace,
    pub reply: Reply,

    /// All of it was written.
    pub sent: bool,
    /// So many homes saw its head.
    pub arrivals: u32,
    pub outcome: Option<Outcome>,
}

/// Whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    Home(usize),
    /// A name that nobody has.
    Nobody,
    /// A service whose home never comes.
    Gone,
    /// A service of this home at which nothing listens.
    Shut(usize),
    /// A service that sends its visitors to TLS, and whose home never comes.
    Secure,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    TwoHosts,
    TwoLengths,
    LengthWithCoding,
    BareLf,
    Fold,
    /// The body's last chunk has no size.
    Chunk,
}

/// A body.
#[derive(Debug, Clone)]
pub struct Payload {
    pub length: usize,
    pub framing: Framing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Content-Length
    Length,
    /// In chunks of up to so many bytes.
    Chunked(usize),
    /// Of responses alone.
    UntilClose,
}

/// So many pauses of so many nanoseconds within what is written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace(pub u64, pub u64);

/// What the home does with a request.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Says 100 to a request that expects it.
    pub says_100: bool,
    /// So many 103.
    pub hints: usize,
    pub status: u16,
    /// HEAD, 204 and 304 say the length and send nothing.
    pub payload: Payload,
    /// HTTP/1.0
    pub old: bool,
    pub begins: Begins,
    /// Before the first byte.
    pub pause: u64,
    pub pace: Pace,
    pub reading: Reading,
    /// Ends in the midst of it.
    pub cut: Option<(usize, How)>,
    pub then: Then,
    /// After 101, so many bytes up and down.
    pub raw: (usize, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begins {
    /// When the request is whole.
    Whole,
    /// When its head is there; the body is read beside it.
    Early,
    /// When its head is there; no body is read any more.
    Deaf,
    Never,
}

/// After a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Keep,
    /// It says `close` and closes so many nanoseconds later.
    Close(u64),
    /// It closes an idle connection after so many nanoseconds.
    IdleClose(u64),
    /// A second response that nobody has asked for follows the first one.
    Babble,
}

/// What a visitor got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The home's reply, whole.
    Answered { persists: bool },
    /// A page of the server's own.
    Page { status: u16, persists: bool },
}

impl Ask {
    /// The response has no body.
    pub fn is_bodiless(&self) -> bool {
        self.method == "HEAD" || matches!(self.reply.status, 101 | 204 | 304)
    }

    /// Doing it twice is doing it once (RFC 9110 9.2.2).
    pub fn is_repeatable(&self) -> bool {
        self.method != "POST"
    }

    pub fn has_body(&self) -> bool {
        self.body.as_ref().is_some_and(|body| body.length > 0 || body.framing != Framing::Length)
    }
}

impl Ledger {
    /// A request's head came to a home, on a connection that carried requests of `line` before.
    pub fn arrive(&mut self, id: AskId, home: usize, line: Option<CallId>) {
        let ask = &mut self.asks[id];
        ask.arrivals += 1;
        let most = if ask.is_repeatable() { 2 } else { 1 };
        if ask.arrivals > most {
            let line = format!("request {id} ({}) came {} times", ask.method, ask.arrivals);
            self.wrong.push(line);
        }
        if ask.to != To::Home(home) {
            self.wrong.push(format!("request {id} for {:?} came to home {home}", ask.to));
        }
        match line {
            None => self.calls[ask.call].seen.lines += 1,
            Some(call) if call == ask.call => {}
            Some(call) => {
                let line = format!("request {id} came on the connection of call {call}");
                self.wrong.push(line);
            }
        }
    }
}
