//! A home's HTTP server: reads requests, holds each byte against the plan, and replies as planned.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use underpass::engine::net::{Net, Token, Wake};
use underpass::proto::time::Time;

use super::pen::{Pen, Wrote};
use super::plan::{AskId, Begins, Book, CallId, How, Pace, Then};
use super::wire::{self, Kind};
use crate::driver::Program;
use crate::net::{SimListener, SimNet, SimStream};
use crate::story::Reading;

/// The token of the listener; below are connections.
const LISTENER: Token = Token(1 << 32);
const BLOCK: usize = 16 * 1024;
/// A request's head is far shorter.
const LONGEST_HEAD: usize = 4096;

/// One connection.
struct Line {
    stream: Option<SimStream>,
    /// Whose requests it has carried.
    call: Option<CallId>,
    inbox: Vec<u8>,
    reads: Reads,
    writes: Writes,
    pen: Pen,
    /// Bytes of the final response that were written.
    written: usize,
    /// Bytes of the sip at hand; no reading, or no reply, before.
    sipped: usize,
    sip_after: Time,
    reply_after: Time,
    /// The peer has ended its direction; the connection broke.
    ended: bool,
    write_failed: bool,
    broken: bool,
    timer: Option<Time>,
}

/// What is expected of the other end.
enum Reads {
    Head,
    /// Of the request's body, from here on.
    Body {
        id: AskId,
        rest: Vec<u8>,
        at: usize,
    },
    /// After 101.
    Raw {
        id: AskId,
        rest: Vec<u8>,
        at: usize,
    },
    /// Nobody reads.
    Nothing,
}

/// What is being said.
enum Writes {
    Nothing,
    /// 100, or the final response.
    Interim {
        id: AskId,
    },
    Due {
        id: AskId,
    },
    Reply {
        id: AskId,
    },
    Raw {
        finished: bool,
    },
    /// The connection is closed then, as the reply has `said`.
    Closing {
        at: Time,
        said: bool,
    },
}

/// What runs at one home.
pub struct Homes {
    net: SimNet,
    book: Book,
    home: usize,
    address: SocketAddr,
    listener: Option<SimListener>,
    lines: Vec<Line>,
    wakes: Vec<Wake>,
}

impl Homes {
    /// Listens at `address`.
    pub fn new(net: SimNet, book: Book, home: usize, address: SocketAddr) -> Homes {
        let (lines, wakes) = (Vec::new(), Vec::new());
        let mut homes = Homes { net, book, home, address, listener: None, lines, wakes };
        homes.open();
        homes
    }

    /// Listens (again).
    pub fn open(&mut self) {
        self.listener = Some(self.net.listen(self.address, LISTENER).unwrap().0);
    }

    /// Listens no more.
    pub fn close(&mut self) {
        self.listener = None;
    }

    /// Nobody is left.
    pub fn are_done(&self) -> bool {
        self.hanging() == 0
    }

    /// So many connections are open.
    pub fn hanging(&self) -> usize {
        self.lines.iter().filter(|line| line.stream.is_some()).count()
    }
}

impl Program for Homes {
    fn turn(&mut self) -> io::Result<bool> {
        self.net.poll(None, &mut self.wakes)?;
        if let Some(listener) = &mut self.listener {
            while let Ok((mut stream, _)) = self.net.accept(listener) {
                self.net.register(&mut stream, Token(self.lines.len() as u64))?;
                self.lines.push(Line::new(stream));
            }
        }
        for wake in self.wakes.drain(..) {
            let Wake::Ready(ready) = wake else { continue };
            if let Some(line) = self.lines.get_mut(ready.token.0 as usize) {
                line.step(&mut self.net, &self.book, self.home, ready.broken);
            }
        }
        let now = self.net.now();
        for line in self.lines.iter_mut().filter(|line| line.timer.is_some_and(|at| at <= now)) {
            line.step(&mut self.net, &self.book, self.home, false);
        }
        Ok(true)
    }

    fn next_deadline(&self) -> Option<Time> {
        self.lines.iter().filter_map(|line| line.timer).min()
    }
}

impl Line {
    fn new(stream: SimStream) -> Line {
        Line {
            stream: Some(stream),
            call: None,
            inbox: Vec::new(),
            reads: Reads::Head,
            writes: Writes::Nothing,
            pen: Pen::default(),
            written: 0,
            sipped: 0,
            sip_after: Time(0),
            reply_after: Time(0),
            ended: false,
            write_failed: false,
            broken: false,
            timer: None,
        }
    }

    fn step(&mut self, net: &mut SimNet, book: &Book, home: usize, broken: bool) {
        self.timer = None;
        self.read(net, book, home);
        // Where nothing is read, no reading tells.
        self.broken |= broken && (self.ended || matches!(self.reads, Reads::Nothing));
        self.write(net, book);
        if self.broken {
            self.stream = None;
        }
        if self.stream.is_none() {
            self.timer = None;
        }
    }

    fn wait(&mut self, until: Time) {
        self.timer = Some(self.timer.map_or(until, |timer| timer.min(until)));
    }

    fn read(&mut self, net: &mut SimNet, book: &Book, home: usize) {
        let now = net.now();
        let mut block = [0; BLOCK];
        while !self.ended && !self.broken && !matches!(self.reads, Reads::Nothing) {
            if now < self.sip_after {
                return self.wait(self.sip_after);
            }
            let sip = match &self.reads {
                Reads::Body { id, .. } => match book.borrow().asks[*id].reply.reading {
                    Reading::Sips(bytes, pause) => Some((bytes, pause)),
                    _ => None,
                },
                _ => None,
            };
            let most = sip.map_or(BLOCK, |(bytes, _)| bytes.saturating_sub(self.sipped).max(1));
            let most = most.min(BLOCK);
            let Some(stream) = &mut self.stream else { return };
            match net.read(stream, &mut block[..most]) {
                // The error went to a write.
                Ok(0) if self.write_failed => self.broken = true,
                Ok(0) => {
                    self.ended = true;
                    self.check_end(book);
                }
                Ok(count) => {
                    self.inbox.extend(&block[..count]);
                    self.sipped += count;
                    if let Some((_, pause)) = sip.filter(|(bytes, _)| self.sipped >= *bytes) {
                        self.sipped = 0;
                        self.sip_after = Time(now.0 + pause);
                    }
                    self.take(book, home, now);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.broken = true,
            }
        }
    }

    fn check_end(&self, book: &Book) {
        let left = |id: AskId| {
            let book = book.borrow();
            book.calls[book.asks[id].call].seen.left
        };
        let line = match &self.reads {
            Reads::Head if !self.inbox.is_empty() => {
                format!("a home saw an end behind {:?}", self.inbox.escape_ascii().to_string())
            }
            Reads::Body { id, rest, at } => {
                format!("a home saw the end of request {id} after {at} of {}", rest.len())
            }
            Reads::Raw { id, rest, at } if *at < rest.len() && !left(*id) => {
                format!("a home saw an end after {at} of {} raw bytes of {id}", rest.len())
            }
            _ => return,
        };
        book.borrow_mut().wrong.push(line);
    }

    /// What is in the inbox.
    fn take(&mut self, book: &Book, home: usize, now: Time) {
        loop {
            match &mut self.reads {
                Reads::Head => {
                    let end = self.inbox.windows(4).position(|four| four == b"\r\n\r\n");
                    let Some(end) = end else {
                        if self.inbox.len() > LONGEST_HEAD {
                            self.complain(book, "a home got a head without an end".to_owned());
                        }
                        return;
                    };
                    let head: Vec<u8> = self.inbox.drain(..end + 4).collect();
                    if !self.hear_head(&String::from_utf8_lossy(&head), book, home, now) {
                        return;
                    }
                }
                Reads::Body { id, rest, at } | Reads::Raw { id, rest, at } => {
                    let count = self.inbox.len().min(rest.len() - *at);
                    if self.inbox[..count] != rest[*at..*at + count] {
                        let line = format!("the home got wrong bytes of request {id} at {at}");
                        return self.complain(book, line);
                    }
                    *at += count;
                    self.inbox.drain(..count);
                    if *at < rest.len() {
                        return;
                    }
                    let id = *id;
                    if matches!(self.reads, Reads::Raw { .. }) {
                        if !self.inbox.is_empty() {
                            self.complain(book, format!("too many raw bytes of request {id}"));
                        }
                        return;
                    }
                    self.hear_whole(id, book, now);
                }
                Reads::Nothing => return self.inbox.clear(),
            }
        }
    }

    fn complain(&mut self, book: &Book, line: String) {
        book.borrow_mut().wrong.push(line);
        self.broken = true;
    }

    fn hear_head(&mut self, head: &str, book: &Book, home: usize, now: Time) -> bool {
        let id = wire::id_of(head).filter(|id| *id < book.borrow().asks.len());
        let Some(id) = id else {
            self.complain(book, format!("a home got {head:?}"));
            return false;
        };
        if matches!(self.writes, Writes::Reply { .. } | Writes::Interim { .. } | Writes::Due { .. })
        {
            self.complain(book, format!("request {id} came while another was under way"));
            return false;
        }
        if matches!(self.writes, Writes::Closing { said: true, .. }) {
            self.complain(book, format!("request {id} came behind a reply that said close"));
            return false;
        }
        if head != wire::forwarded_head(&book.borrow(), id) {
            self.complain(book, format!("the home of request {id} got {head:?}"));
            return false;
        }
        book.borrow_mut().arrive(id, home, self.call);
        let ledger = book.borrow();
        let ask = &ledger.asks[id];
        self.call = Some(ask.call);
        self.writes = Writes::Interim { id };
        if ask.expects.is_some() && ask.reply.says_100 && !ask.reply.old {
            self.pen.load(b"HTTP/1.1 100 Continue\r\n\r\n", Pace::default());
        }
        let rest = wire::forwarded_body(ask, id);
        let begins = ask.reply.begins;
        if matches!(begins, Begins::Early | Begins::Deaf) {
            self.reply_after = Time(now.0 + ask.reply.pause);
            self.writes = Writes::Due { id };
        }
        self.reads = match begins {
            Begins::Deaf if !rest.is_empty() => Reads::Nothing,
            _ => Reads::Body { id, rest, at: 0 },
        };
        true
    }

    fn hear_whole(&mut self, id: AskId, book: &Book, now: Time) {
        let ledger = book.borrow();
        let ask = &ledger.asks[id];
        if !ask.sent {
            let line = format!("the home got all of request {id}, of which a part was sent");
            drop(ledger);
            return self.complain(book, line);
        }
        self.reads = Reads::Head;
        match ask.reply.begins {
            Begins::Whole => {
                self.reply_after = Time(now.0 + ask.reply.pause);
                self.writes = Writes::Due { id };
            }
            // A body was behind a reply that is out already.
            Begins::Early => {}
            Begins::Deaf | Begins::Never => {}
        }
        if ask.reply.status == 101 {
            let rest = wire::content(id, Kind::RawUp, ask.reply.raw.0);
            self.reads = Reads::Raw { id, rest, at: 0 };
        }
    }

    fn write(&mut self, net: &mut SimNet, book: &Book) {
        let now = net.now();
        while !self.broken {
            let Some(stream) = &mut self.stream else { return };
            let ledger = book.borrow();
            let mut most = usize::MAX;
            if let Writes::Reply { id } = self.writes
                && let Some((cut, how)) = ledger.asks[id].reply.cut
            {
                most = cut - self.written;
                if most == 0 {
                    return self.leave(net, how);
                }
            }
            match self.pen.write(net, stream, most, &mut self.written) {
                Wrote::All if self.pen.is_empty() => {}
                Wrote::All => continue,
                Wrote::Blocked => return,
                Wrote::Paused(until) => return self.wait(until),
                Wrote::Broken => {
                    self.write_failed = true;
                    self.broken |= self.ended || matches!(self.reads, Reads::Nothing);
                    return;
                }
            }
            match &mut self.writes {
                Writes::Nothing if self.ended && matches!(self.reads, Reads::Head) => {
                    let lingers = self.call.is_some_and(|call| call % 5 == 1);
                    let patience = if lingers { 20_000_000_000 } else { 0 };
                    self.writes = Writes::Closing { at: Time(now.0 + patience), said: true };
                }
                Writes::Nothing | Writes::Interim { .. } => return,
                Writes::Due { .. } if now < self.reply_after => {
                    return self.wait(self.reply_after);
                }
                Writes::Due { id } => {
                    let id = *id;
                    let ask = &ledger.asks[id];
                    let mut bytes = wire::hints(ask, id).into_bytes();
                    bytes.extend(wire::reply(ask, id));
                    self.pen.load(&bytes, ask.reply.pace);
                    self.written = 0;
                    self.writes = Writes::Reply { id };
                }
                Writes::Reply { id } => {
                    let id = *id;
                    let ask = &ledger.asks[id];
                    let reply = &ask.reply;
                    let closes = wire::closes_unsaid(ask);
                    self.writes = match reply.then {
                        _ if reply.status == 101 => {
                            let bytes = wire::content(id, Kind::RawDown, reply.raw.1);
                            self.pen.load(&bytes, reply.pace);
                            Writes::Raw { finished: false }
                        }
                        Then::Close(nanos) => {
                            Writes::Closing { at: Time(now.0 + nanos), said: true }
                        }
                        _ if closes => Writes::Closing { at: now, said: true },
                        Then::IdleClose(nanos) => {
                            Writes::Closing { at: Time(now.0 + nanos), said: false }
                        }
                        _ if matches!(self.reads, Reads::Nothing) => {
                            Writes::Closing { at: now, said: false }
                        }
                        Then::Keep | Then::Babble => Writes::Nothing,
                    };
                }
                Writes::Raw { finished: true } if self.ended => {
                    self.stream = None;
                    return;
                }
                Writes::Raw { finished: true } => return,
                Writes::Raw { finished } => {
                    *finished = true;
                    self.broken |= net.shutdown_write(stream).is_err();
                }
                Writes::Closing { at, .. } if now < *at => {
                    let at = *at;
                    return self.wait(at);
                }
                Writes::Closing { .. } => {
                    self.stream = None;
                    return;
                }
            }
        }
    }

    fn leave(&mut self, net: &mut SimNet, how: How) {
        if let (Some(stream), How::Reset) = (self.stream.take(), how) {
            net.abort(stream);
        }
    }
}
