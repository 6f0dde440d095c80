//! HTTP visitors: they send the requests of their calls and hold each byte of the responses against
//! the plan.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use underpass::engine::net::{Net, Token, Wake};
use underpass::proto::time::Time;

use super::judge;
use super::pen::{Pen, Wrote};
use super::plan::{AskId, Book, CallId, How, Leaves, Ledger, Outcome, Pace};
use super::wire::{self, Kind};
use crate::driver::Program;
use crate::net::{SimNet, SimStream};
use crate::story::{End, Reading};

const BLOCK: usize = 16 * 1024;
/// A response's head is far shorter.
const LONGEST_HEAD: usize = 4096;

/// A call under way.
struct Talk {
    stream: Option<SimStream>,
    call: CallId,
    connected: bool,
    pen: Pen,
    /// `asks.start <= answered <= begun <= asks.end`
    begun: AskId,
    answered: AskId,
    /// The body of the last one is held back until then, or until 100.
    body_due: Option<Time>,
    /// The next one is not sent before.
    next_at: Option<Time>,
    inbox: Vec<u8>,
    hears: Hears,
    /// Interim responses to the request at hand.
    interims: usize,
    sent: usize,
    received: usize,
    /// Bytes of the sip at hand; no reading before.
    sipped: usize,
    sip_after: Time,
    /// Nothing more is sent.
    mute: bool,
    /// The last response said that the connection ends.
    over: bool,
    /// A write has failed.
    broken: bool,
    finished: bool,
    end: Option<End>,
    timer: Option<Time>,
}

/// What comes next.
enum Hears {
    Head,
    Body { rest: Vec<u8>, at: usize, until_close: bool, persists: bool },
    Page { text: Vec<u8>, length: usize, status: u16, persists: bool },
    Raw { rest: Vec<u8>, at: usize },
}

/// The HTTP visitors of one host.
pub struct Visitors {
    net: SimNet,
    book: Book,
    to: SocketAddr,
    /// When and which; the last is the next.
    plans: Vec<(Time, CallId)>,
    talks: Vec<Talk>,
    wakes: Vec<Wake>,
}

impl Visitors {
    /// Nobody yet.
    pub fn new(net: SimNet, book: Book, to: SocketAddr) -> Visitors {
        let (plans, talks, wakes) = (Vec::new(), Vec::new(), Vec::new());
        Visitors { net, book, to, plans, talks, wakes }
    }

    /// One more call.
    pub fn plan(&mut self, start: Time, call: CallId) {
        self.plans.push((start, call));
        self.plans.sort_by_key(|plan| std::cmp::Reverse(*plan));
    }

    /// Nobody is left.
    pub fn are_done(&self) -> bool {
        self.plans.is_empty() && self.talks.iter().all(|talk| talk.stream.is_none())
    }
}

impl Program for Visitors {
    fn turn(&mut self) -> io::Result<bool> {
        self.net.poll(None, &mut self.wakes)?;
        let now = self.net.now();
        while let Some((_, call)) = self.plans.pop_if(|plan| plan.0 <= now) {
            let Ok(mut stream) = self.net.connect(self.to) else {
                let seen = &mut self.book.borrow_mut().calls[call].seen;
                (seen.end, seen.done) = (Some(End::Refused), Some(now.0));
                continue;
            };
            self.net.register(&mut stream, Token(self.talks.len() as u64))?;
            let first = self.book.borrow().calls[call].asks.start;
            self.talks.push(Talk::new(stream, call, first));
        }
        for wake in self.wakes.drain(..) {
            let Wake::Ready(ready) = wake else { continue };
            if let Some(talk) = self.talks.get_mut(ready.token.0 as usize) {
                talk.step(&mut self.net, &mut self.book.borrow_mut());
            }
        }
        for talk in self.talks.iter_mut().filter(|talk| talk.timer.is_some_and(|at| at <= now)) {
            talk.step(&mut self.net, &mut self.book.borrow_mut());
        }
        Ok(true)
    }

    fn next_deadline(&self) -> Option<Time> {
        let timers = self.talks.iter().filter_map(|talk| talk.timer);
        timers.chain(self.plans.last().map(|plan| plan.0)).min()
    }
}

impl Talk {
    fn new(stream: SimStream, call: CallId, first: AskId) -> Talk {
        Talk {
            stream: Some(stream),
            call,
            connected: false,
            pen: Pen::default(),
            begun: first,
            answered: first,
            body_due: None,
            next_at: None,
            inbox: Vec::new(),
            hears: Hears::Head,
            interims: 0,
            sent: 0,
            received: 0,
            sipped: 0,
            sip_after: Time(0),
            mute: false,
            over: false,
            broken: false,
            finished: false,
            end: None,
            timer: None,
        }
    }

    fn step(&mut self, net: &mut SimNet, book: &mut Ledger) {
        self.timer = None;
        if self.stream.is_none() {
            return;
        }
        if !self.connected {
            let Some(stream) = &self.stream else { return };
            match net.connect_result(stream) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.finish(net, book, Some(End::Refused)),
                Ok(()) => self.connected = true,
            }
            book.calls[self.call].seen.began = true;
            if let Reading::After(nanos) = book.calls[self.call].reading {
                self.sip_after = net.now() + std::time::Duration::from_nanos(nanos);
            }
        }
        self.read(net, book);
        self.write(net, book);
        let call = &book.calls[self.call];
        let raw_is_open = matches!(self.hears, Hears::Raw { .. }) && !self.finished;
        match self.end {
            Some(End::Eof) if raw_is_open && !self.mute => {}
            Some(end) => self.finish(net, book, Some(end)),
            None if self.over && call.hasty => self.finish(net, book, None),
            None if self.answered == call.asks.end && call.leaves == Leaves::Closes => {
                self.finish(net, book, None);
            }
            None => {}
        }
    }

    fn wait(&mut self, until: Time) {
        self.timer = Some(self.timer.map_or(until, |timer| timer.min(until)));
    }

    fn finish(&mut self, net: &mut SimNet, book: &mut Ledger, end: Option<End>) {
        self.stream = None;
        self.timer = None;
        let seen = &mut book.calls[self.call].seen;
        seen.end = end;
        seen.done = Some(net.now().0);
    }

    /// It leaves as planned.
    fn leave(&mut self, net: &mut SimNet, book: &mut Ledger, how: How) {
        self.mute = true;
        book.calls[self.call].seen.left = true;
        match how {
            How::Fin => {
                if let Some(stream) = &mut self.stream {
                    // It fails on a connection that is broken already.
                    let _ = net.shutdown_write(stream);
                }
            }
            How::Close => self.finish(net, book, None),
            How::Reset => {
                if let Some(stream) = self.stream.take() {
                    net.abort(stream);
                }
                self.finish(net, book, None);
            }
        }
    }

    // Reading.

    fn read(&mut self, net: &mut SimNet, book: &mut Ledger) {
        let now = net.now();
        let mut block = [0; BLOCK];
        while self.end.is_none() {
            if now < self.sip_after {
                return self.wait(self.sip_after);
            }
            let mut most = BLOCK;
            if let Reading::Sips(bytes, _) = book.calls[self.call].reading {
                most = (bytes - self.sipped).min(BLOCK);
            }
            let leaves = book.calls[self.call].leaves;
            if let (Leaves::AfterReceived(count, how), false) = (leaves, self.mute) {
                if self.received >= count {
                    self.leave(net, book, how);
                } else {
                    most = most.min(count - self.received);
                }
            }
            let Some(stream) = &mut self.stream else { return };
            match net.read(stream, &mut block[..most]) {
                // The error went to a write.
                Ok(0) if self.broken => self.end = Some(End::Reset),
                Ok(0) => {
                    self.end = Some(End::Eof);
                    self.check_end(net, book);
                }
                Ok(count) => {
                    self.received += count;
                    self.inbox.extend(&block[..count]);
                    self.take(net, book);
                    self.sipped += count;
                    if let Reading::Sips(bytes, pause) = book.calls[self.call].reading
                        && self.sipped >= bytes
                    {
                        self.sipped = 0;
                        self.sip_after = Time(now.0 + pause);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.end = Some(End::Reset),
            }
        }
    }

    fn complain(&mut self, book: &mut Ledger, line: String) {
        book.wrong.push(format!("call {}: {line}", self.call));
        self.inbox.clear();
        self.mute = true;
        self.end = Some(End::Reset);
    }

    /// What is in the inbox.
    fn take(&mut self, net: &SimNet, book: &mut Ledger) {
        while self.end.is_none() {
            match &mut self.hears {
                Hears::Head if self.over && !self.inbox.is_empty() => {
                    let text = self.inbox.escape_ascii().to_string();
                    return self.complain(book, format!("bytes behind the last response: {text}"));
                }
                Hears::Head => {
                    let end = self.inbox.windows(4).position(|four| four == b"\r\n\r\n");
                    let Some(end) = end else {
                        if self.inbox.len() > LONGEST_HEAD {
                            self.complain(book, "a head without an end".to_owned());
                        }
                        return;
                    };
                    let head: Vec<u8> = self.inbox.drain(..end + 4).collect();
                    self.hear_head(&String::from_utf8_lossy(&head), net, book);
                }
                Hears::Body { rest, at, until_close, persists } => {
                    let count = self.inbox.len().min(rest.len() - *at);
                    if self.inbox[..count] != rest[*at..*at + count] {
                        let line = format!("wrong bytes in the body of {}", self.answered);
                        return self.complain(book, line);
                    }
                    *at += count;
                    self.inbox.drain(..count);
                    if *at == rest.len() && !*until_close {
                        let persists = *persists;
                        self.answer(Outcome::Answered { persists }, net, book);
                    } else if self.inbox.is_empty() {
                        return;
                    } else {
                        let line = format!("more than the body of {}", self.answered);
                        return self.complain(book, line);
                    }
                }
                Hears::Page { text, length, status, persists } => {
                    let count = self.inbox.len().min(*length - text.len());
                    text.extend(self.inbox.drain(..count));
                    if text.len() < *length {
                        return;
                    }
                    if *length > 0 && !text.starts_with(format!("{status} ").as_bytes()) {
                        let line = format!("a page reads {}", text.escape_ascii());
                        return self.complain(book, line);
                    }
                    let (status, persists) = (*status, *persists);
                    self.answer(Outcome::Page { status, persists }, net, book);
                }
                Hears::Raw { rest, at } => {
                    let count = self.inbox.len();
                    if rest.get(*at..*at + count) != Some(&self.inbox[..]) {
                        let line = format!("wrong raw bytes of {}", self.answered);
                        return self.complain(book, line);
                    }
                    *at += count;
                    return self.inbox.clear();
                }
            }
            if self.inbox.is_empty() && matches!(self.hears, Hears::Head) {
                return;
            }
        }
    }

    fn hear_head(&mut self, head: &str, net: &SimNet, book: &mut Ledger) {
        let id = self.answered;
        if id >= self.begun {
            return self.complain(book, format!("nobody has asked for {head:?}"));
        }
        let ask = &book.asks[id];
        let interims = wire::interims(ask, id);
        if interims.get(self.interims).is_some_and(|interim| interim == head) {
            self.interims += 1;
            if wire::is_100(head) {
                self.body_due = self.body_due.map(|_| Time(0));
            }
            return;
        }
        let persists = head == wire::answer_head(ask, id, true);
        if !persists && head != wire::answer_head(ask, id, false) {
            return self.hear_page(head, book);
        }
        if self.interims < interims.len() {
            return self.complain(book, format!("an interim response to {id} is missing"));
        }
        if ask.reply.status == 101 {
            let rest = wire::content(id, Kind::RawDown, ask.reply.raw.1);
            self.hears = Hears::Raw { rest, at: 0 };
            let bytes = wire::content(id, Kind::RawUp, ask.reply.raw.0);
            self.pen.load(&bytes, ask.pace);
            return;
        }
        // A server that is about to end closes behind each answer.
        let may_end = !book.calm && !persists;
        if wire::must_persist(book, id).is_some_and(|must| must != persists) && !may_end {
            return self.complain(book, format!("request {id} got persists: {persists}"));
        }
        let (rest, until_close) = wire::answer_body(ask, id);
        self.mute |= !persists;
        self.hears = Hears::Body { rest, at: 0, until_close, persists };
        // A body of nothing is whole.
        if let Hears::Body { rest, until_close: false, .. } = &self.hears
            && rest.is_empty()
        {
            self.answer(Outcome::Answered { persists }, net, book);
        }
    }

    fn hear_page(&mut self, head: &str, book: &mut Ledger) {
        let id = self.answered;
        let ask = &book.asks[id];
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        let length = field("Content-Length: ").and_then(|text| text.parse::<usize>().ok());
        let (Some(status), Some(length), None) = (status, length, field("X-Id")) else {
            return self.complain(book, format!("request {id} got {head:?}"));
        };
        if !judge::may_get_page(book, id, status) {
            return self.complain(book, format!("request {id} got a page {status}"));
        }
        let persists = match ask.old {
            true => field("Connection: ") == Some("keep-alive"),
            false => field("Connection: ") != Some("close"),
        };
        let length = if ask.method == "HEAD" { 0 } else { length };
        self.mute |= !persists;
        self.hears = Hears::Page { text: Vec::new(), length, status, persists };
    }

    /// The response at hand is whole.
    fn answer(&mut self, outcome: Outcome, net: &SimNet, book: &mut Ledger) {
        book.asks[self.answered].outcome = Some(outcome);
        book.calls[self.call].seen.answered = net.now().0;
        let (Outcome::Answered { persists } | Outcome::Page { persists, .. }) = outcome;
        self.over = !persists;
        self.mute |= self.over;
        self.answered += 1;
        self.interims = 0;
        self.hears = Hears::Head;
        // A response before the body leaves the body owed, if the connection lives on.
        if self.answered == self.begun && self.body_due.is_some() && persists {
            self.complain(book, "a request that was not whole was answered for good".to_owned());
        }
    }

    fn check_end(&mut self, net: &SimNet, book: &mut Ledger) {
        match &self.hears {
            Hears::Body { rest, at, until_close: true, .. } if *at == rest.len() => {
                self.answer(Outcome::Answered { persists: false }, net, book);
            }
            Hears::Raw { rest, at } if *at == rest.len() => {
                // What it still sends goes on.
                self.answered += 1;
                book.asks[self.answered - 1].outcome = Some(Outcome::Answered { persists: false });
                book.calls[self.call].seen.answered = net.now().0;
            }
            Hears::Head if self.inbox.is_empty() && self.interims == 0 => {}
            Hears::Head => book.wrong.push(format!("{}: an end within a head", self.answered)),
            Hears::Body { rest, at, .. } | Hears::Raw { rest, at } => {
                let line = format!("{}: an end after {at} of {}", self.answered, rest.len());
                book.wrong.push(line);
            }
            Hears::Page { .. } => {
                book.wrong.push(format!("{}: an end within a page", self.answered));
            }
        }
    }

    // Writing.

    fn write(&mut self, net: &mut SimNet, book: &mut Ledger) {
        let now = net.now();
        while !self.mute && self.end != Some(End::Reset) {
            let call = &book.calls[self.call];
            let (asks, ahead, leaves) = (call.asks.clone(), call.ahead, call.leaves);
            let mut most = usize::MAX;
            if let Leaves::AfterSent(count, how) = leaves {
                most = count - self.sent;
                if most == 0 {
                    return self.leave(net, book, how);
                }
            }
            let Some(stream) = &mut self.stream else { return };
            let wrote = self.pen.write(net, stream, most, &mut self.sent);
            if self.pen.is_empty() && self.body_due.is_none() && self.begun > asks.start {
                let last = &mut book.asks[self.begun - 1];
                last.sent = last.fault.is_none();
            }
            match wrote {
                Wrote::All if self.pen.is_empty() => {}
                Wrote::All => continue,
                Wrote::Blocked => return,
                Wrote::Paused(until) => return self.wait(until),
                Wrote::Broken => {
                    (self.mute, self.broken) = (true, true);
                    return;
                }
            }
            if let Hears::Raw { .. } = self.hears {
                if !self.finished {
                    self.finished = true;
                    self.mute |= net.shutdown_write(stream).is_err();
                }
                return;
            }
            if let Some(due) = self.body_due {
                if now < due {
                    return self.wait(due);
                }
                let id = self.begun - 1;
                self.body_due = None;
                self.pen.load(&wire::request_body(&book.asks[id], id), book.asks[id].pace);
                continue;
            }
            let last = self.begun.checked_sub(1).filter(|_| self.begun > asks.start);
            if let Some(id) = last.filter(|_| self.answered < self.begun)
                && book.asks[id].upgrades
                && book.asks[id].reply.raw.0 > 0
            {
                return;
            }
            if self.begun == asks.end {
                if leaves == Leaves::Finishes && !self.finished {
                    self.finished = true;
                    self.mute |= net.shutdown_write(stream).is_err();
                }
                return;
            }
            if self.begun - self.answered >= ahead {
                return;
            }
            let id = self.begun;
            let ask = &book.asks[id];
            let next_at = *self.next_at.get_or_insert(Time(now.0 + ask.pause));
            if now < next_at {
                return self.wait(next_at);
            }
            self.next_at = None;
            self.begun += 1;
            let mut bytes = wire::request_head(ask, id).into_bytes();
            match ask.expects {
                Some(patience) => self.body_due = Some(Time(now.0 + patience)),
                None => bytes.extend(wire::request_body(ask, id)),
            }
            self.pen.load(&bytes, if ask.expects.is_some() { Pace::default() } else { ask.pace });
        }
    }
}
