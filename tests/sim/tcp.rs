//! TCP as Linux's kernel does it, seen through system calls and epoll's edge-triggered events.
//! Where a rule looks odd it is Linux's; `conformance.rs` runs the same script on real sockets.
//! Here are the sockets and what the kernel does by itself; `calls` has the system calls, `faults`
//! what befalls them.
//!
//! ```text
//!   ends[0].write -> pipes[0]: [ in flight | unsent ]  -> ends[1].received -> ends[1].read
//!   ends[0].read  <- ends[0].received <- [ in flight | unsent ] :pipes[1]  <- ends[1].write
//! ```

mod calls;
mod faults;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use underpass::engine::net::{Readiness, Token};
use underpass::proto::time::Time;

use super::world::{ConnId, DEAD_LINE, Happening, HostId, ProcessId, Source, World, errno};

/// How many connections wait for `accept`.
const BACKLOG: usize = 128;
/// After so many SYNs (1, 3, 7, … 127 s) the dialler gives up.
const SYN_ATTEMPTS: u32 = 7;
/// A segment lost with a dead line is sent again so long after it heals, at most.
const RETRANSMIT: u64 = 1_500_000_000;

/// A listening socket. Never reused; `open` turns false once.
pub(super) struct Listener {
    pub(super) process: ProcessId,
    host: HostId,
    address: SocketAddr,
    token: Token,
    pub(super) queued: bool,
    pub(super) open: bool,
    waiting: VecDeque<ConnId>,
}

impl Listener {
    pub(super) fn readiness(&self) -> Option<Readiness> {
        let readable = !self.waiting.is_empty();
        readable.then_some(Readiness {
            token: self.token,
            readable,
            writable: false,
            read_closed: false,
            urgent: false,
            broken: false,
        })
    }
}

/// One connection, both ends.
pub(super) struct Conn {
    /// 0 dialled, 1 was dialled.
    pub(super) ends: [End; 2],
    /// `pipes[side]` carries what `ends[side]` writes.
    pipes: [Pipe; 2],
    hosts: [HostId; 2],
    /// The listener that `ends[1]` waits at, until accepted.
    listener: Option<usize>,
    latency: u64,
    byte_time: u64,
    /// Segments are cut at 1 to this many bytes.
    segment: u64,
    /// What is sent reaches nobody.
    is_adrift: bool,
}

/// One end: the socket.
pub(super) struct End {
    /// Who holds its descriptor, if `held`.
    pub(super) process: ProcessId,
    /// There is a descriptor for it. If not: not accepted yet, or closed.
    pub(super) held: bool,
    /// Closed; the kernel alone sends what is left.
    orphan: bool,
    pub(super) token: Option<Token>,
    pub(super) queued: bool,
    address: SocketAddr,
    stage: Stage,
    /// `SO_ERROR`: told once.
    error: Option<i32>,
    fin_received: bool,
    /// Our own direction is ended (`SEND_SHUTDOWN`).
    ended: bool,
    /// Our FIN has been acknowledged.
    fin_acknowledged: bool,
    /// A writer met a full buffer; only then does epoll tell of room (`SOCK_NOSPACE`).
    no_space: bool,
    received: VecDeque<u8>,
    /// Bytes read so far.
    read: u64,
    /// Of them, in the turn of its process with this number.
    read_in_turn: (u64, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting,
    Open,
    /// Reset, refused or timed out (`TCP_CLOSE`).
    Dead,
}

/// One direction. `in_flight <= bytes.len()`, `bytes.len() + unacknowledged <= capacity`.
#[derive(Default)]
struct Pipe {
    /// In flight, then unsent.
    bytes: VecDeque<u8>,
    in_flight: usize,
    segments: VecDeque<Segment>,
    /// Arrived, but the sender does not know yet.
    unacknowledged: usize,
    /// The send buffer.
    capacity: usize,
    /// What the receiver has room for, as far as the sender knows.
    credit: usize,
    /// Read since the last news to the sender.
    reopened: usize,
    news_under_way: bool,
    fin: Fin,
    /// Bytes written so far.
    written: u64,
    /// Urgent data stands behind so many bytes, until a read has passed it. The kernel has one
    /// mark; a second one while there is a first would make that one's byte a byte like others.
    mark: Option<u64>,
    /// The line is busy until then.
    busy_until: u64,
    last_arrival: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Fin {
    #[default]
    No,
    Wanted,
    Sent,
}

struct Segment {
    arrival: u64,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// The third packet of the handshake: now the listener has a connection.
    Handshake,
    Data(usize),
    Urgent,
    Fin,
    Reset,
}

impl Conn {
    /// What epoll tells of an end, and what taking the event does to it.
    pub(super) fn take_readiness(&mut self, side: usize) -> Option<Readiness> {
        let room = self.pipes[side].has_writable_room();
        let urgent = self.until_mark(side).is_some();
        let end = &mut self.ends[side];
        let token = end.token?;
        if end.stage == Stage::Connecting {
            return None;
        }
        let dead = end.stage == Stage::Dead;
        let read_closed = end.fin_received || dead;
        let ended = end.ended || dead;
        if !ended && !room {
            end.no_space = true; // tcp_poll() does this too
        }
        let event = Readiness {
            token,
            readable: read_closed || urgent || !end.received.is_empty(),
            writable: ended || room,
            read_closed,
            urgent,
            broken: end.error.is_some(),
        };
        (event.readable || event.writable).then_some(event)
    }

    /// How many bytes an end has received in front of urgent data.
    fn until_mark(&self, side: usize) -> Option<usize> {
        let end = &self.ends[side];
        let until = self.pipes[1 - side].mark?.checked_sub(end.read)? as usize;
        (until <= end.received.len()).then_some(until)
    }
}

impl End {
    fn new(process: ProcessId, address: SocketAddr, stage: Stage) -> End {
        End {
            process,
            held: false,
            orphan: false,
            token: None,
            queued: false,
            address,
            stage,
            error: None,
            fin_received: false,
            ended: false,
            fin_acknowledged: false,
            no_space: false,
            received: VecDeque::new(),
            read: 0,
            read_in_turn: (0, 0),
        }
    }

    /// Both directions ended in order and nothing is left to say.
    fn finished(&self) -> bool {
        self.fin_received && self.fin_acknowledged
    }
}

impl Pipe {
    fn room(&self) -> usize {
        self.capacity.saturating_sub(self.bytes.len() + self.unacknowledged)
    }

    /// `sk_stream_is_writeable`: a third of the buffer, not merely a byte.
    fn has_writable_room(&self) -> bool {
        let room = self.room();
        room > 0 && room >= (self.bytes.len() + self.unacknowledged) / 2
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.segments.clear();
        self.in_flight = 0;
    }
}

/// What the kernel does by itself.
impl World {
    fn fresh_port(&mut self) -> u16 {
        self.next_port = self.next_port.checked_add(1).unwrap_or(32_768);
        self.next_port
    }

    fn listener_at(&self, host: HostId, address: SocketAddr) -> Option<usize> {
        self.listeners.iter().position(|listener| {
            listener.open
                && listener.host == host
                && listener.address.port() == address.port()
                && listener.address.is_ipv4() == address.is_ipv4()
        })
    }

    fn new_conn(&mut self, process: ProcessId, hosts: [HostId; 2], address: SocketAddr) -> ConnId {
        let [from, to] = hosts;
        let (latency, byte_time) = if to == usize::MAX { (0, 0) } else { self.line(from, to) };
        let port = self.fresh_port();
        let ip = if from == to { address.ip() } else { self.host_address(from) };
        let mut dialler = End::new(process, SocketAddr::new(ip, port), Stage::Connecting);
        dialler.held = true;
        let dialled = End::new(usize::MAX, address, Stage::Open);
        let mut pipes = [Pipe::default(), Pipe::default()];
        for pipe in &mut pipes {
            pipe.capacity = self.draw_window(latency);
            pipe.credit = self.draw_window(latency);
        }
        let (low, high) = self.tuning.segment;
        let segment = self.rng.log_between(low, high);
        self.conns.push(Conn {
            ends: [dialler, dialled],
            pipes,
            hosts,
            listener: None,
            latency,
            byte_time,
            segment,
            is_adrift: false,
        });
        self.conns.len() - 1
    }

    pub(super) fn syn(&mut self, conn: ConnId, attempt: u32) {
        let this = &self.conns[conn];
        let ([from, to], latency) = (this.hosts, this.latency);
        if this.ends[0].stage != Stage::Connecting {
            return;
        }
        if attempt >= SYN_ATTEMPTS {
            return self.die(conn, 0, Some(errno::ETIMEDOUT));
        }
        let again = 1_000_000_000 << attempt;
        if to == usize::MAX || self.blocked_until(from, to).is_some() {
            return self.after(again, Happening::Syn(conn, attempt + 1));
        }
        let address = this.ends[1].address;
        match self.listener_at(to, address) {
            None => self.after(latency, Happening::SynAnswer(conn, false)),
            Some(id) if self.listeners[id].waiting.len() >= BACKLOG => {
                self.after(again, Happening::Syn(conn, attempt + 1));
            }
            Some(id) => {
                self.conns[conn].listener = Some(id);
                self.after(latency, Happening::SynAnswer(conn, true));
            }
        }
    }

    pub(super) fn syn_answer(&mut self, conn: ConnId, yes: bool) {
        let [from, to] = self.conns[conn].hosts;
        if let Some(until) = self.blocked_until(from, to) {
            let late = self.rng.below(RETRANSMIT);
            return self.at(Time(until.0 + late), Happening::SynAnswer(conn, yes));
        }
        let end = &mut self.conns[conn].ends[0];
        if end.stage != Stage::Connecting {
            return; // closed meanwhile: the half-open connection just dies
        }
        if !yes {
            return self.die(conn, 0, Some(errno::ECONNREFUSED));
        }
        end.stage = Stage::Open;
        self.send(conn, 0, Kind::Handshake);
        self.wake(Source::End(conn, 0));
    }

    /// Into the listener's queue; a reset comes back if it has gone.
    fn enqueue(&mut self, conn: ConnId) {
        let Some(id) = self.conns[conn].listener.filter(|id| self.listeners[*id].open) else {
            return self.send_reset(conn, 1);
        };
        self.listeners[id].waiting.push_back(conn);
        self.wake(Source::Listener(id));
    }

    /// Sends what the window allows, then the FIN if it is due.
    fn pump(&mut self, conn: ConnId, side: usize) {
        loop {
            let this = &mut self.conns[conn];
            let pipe = &mut this.pipes[side];
            let unsent = pipe.bytes.len() - pipe.in_flight;
            let most = unsent.min(pipe.credit) as u64;
            if most == 0 {
                if unsent == 0 && pipe.fin == Fin::Wanted {
                    pipe.fin = Fin::Sent;
                    self.send(conn, side, Kind::Fin);
                }
                return;
            }
            let longest = this.segment;
            let count = if longest >= most { most } else { self.rng.between(1, longest) } as usize;
            let pipe = &mut self.conns[conn].pipes[side];
            pipe.credit -= count;
            pipe.in_flight += count;
            self.send(conn, side, Kind::Data(count));
        }
    }

    fn send(&mut self, conn: ConnId, side: usize, kind: Kind) {
        let local = self.conns[conn].hosts[0] == self.conns[conn].hosts[1];
        let jitter = if local { 0 } else { self.rng.below(self.tuning.jitter + 1) };
        let now = self.now.0;
        let this = &mut self.conns[conn];
        let pipe = &mut this.pipes[side];
        let length = if let Kind::Data(count) = kind { count as u64 } else { 0 };
        pipe.busy_until = pipe.busy_until.max(now) + length * this.byte_time;
        let arrival = (pipe.busy_until + this.latency + jitter).max(pipe.last_arrival);
        pipe.last_arrival = arrival;
        pipe.segments.push_back(Segment { arrival, kind });
        self.at(Time(arrival), Happening::Arrive(conn, side));
    }

    pub(super) fn arrive(&mut self, conn: ConnId, side: usize) {
        let [a, b] = self.conns[conn].hosts;
        if let Some(until) = self.blocked_until(a, b) {
            let late = self.rng.below(RETRANSMIT);
            return self.at(Time(until.0 + late), Happening::Arrive(conn, side));
        }
        let now = self.now.0;
        let segments = &mut self.conns[conn].pipes[side].segments;
        if segments.front().is_none_or(|segment| segment.arrival > now) {
            return; // dropped meanwhile
        }
        if let Some(segment) = segments.pop_front() {
            self.receive(conn, side, segment.kind);
        }
    }

    /// A segment of `ends[side]` at the other end.
    fn receive(&mut self, conn: ConnId, side: usize, kind: Kind) {
        let this = &mut self.conns[conn];
        if this.is_adrift {
            return;
        }
        let pipe = &mut this.pipes[side];
        let peer = &mut this.ends[1 - side];
        match kind {
            Kind::Handshake => self.enqueue(conn),
            Kind::Data(count) => {
                let bytes = pipe.bytes.drain(..count);
                pipe.in_flight -= count;
                if peer.orphan || peer.stage == Stage::Dead {
                    drop(bytes);
                    return self.send_reset(conn, 1 - side); // nobody will ever read this
                }
                peer.received.extend(bytes);
                pipe.unacknowledged += count;
                self.wake(Source::End(conn, 1 - side));
                self.send_news(conn, side);
            }
            // The mark itself is at the receiver as soon as what lies before it.
            Kind::Urgent => self.wake(Source::End(conn, 1 - side)),
            Kind::Fin => {
                if peer.stage == Stage::Dead {
                    return self.send_reset(conn, 1 - side);
                }
                peer.fin_received = true;
                self.wake(Source::End(conn, 1 - side));
                self.send_news(conn, side);
            }
            Kind::Reset => {
                if peer.stage != Stage::Dead && !peer.finished() {
                    let answered = peer.fin_received && !peer.ended; // CLOSE_WAIT
                    let error = if answered { errno::EPIPE } else { errno::ECONNRESET };
                    self.die(conn, 1 - side, Some(error));
                }
            }
        }
    }

    /// Acknowledgements and window updates for the sender, one packet under way at a time.
    fn send_news(&mut self, conn: ConnId, side: usize) {
        let this = &mut self.conns[conn];
        if !std::mem::replace(&mut this.pipes[side].news_under_way, true) {
            let latency = this.latency;
            self.after(latency, Happening::Acknowledge(conn, side));
        }
    }

    pub(super) fn acknowledge(&mut self, conn: ConnId, side: usize) {
        let [a, b] = self.conns[conn].hosts;
        if let Some(until) = self.blocked_until(a, b) {
            let late = self.rng.below(RETRANSMIT);
            return self.at(Time(until.0 + late), Happening::Acknowledge(conn, side));
        }
        let this = &mut self.conns[conn];
        let fin_arrived = this.ends[1 - side].fin_received;
        let pipe = &mut this.pipes[side];
        pipe.news_under_way = false;
        pipe.unacknowledged = 0;
        pipe.credit += std::mem::take(&mut pipe.reopened);
        let end = &mut this.ends[side];
        let mut tell = end.no_space && pipe.has_writable_room();
        end.no_space &= !tell;
        if fin_arrived && !end.fin_acknowledged {
            end.fin_acknowledged = true;
            tell |= self.tuning.idle_edges; // FIN_WAIT2 and CLOSE are state changes
        }
        if self.conns[conn].ends[side].stage == Stage::Open {
            if tell {
                self.wake(Source::End(conn, side));
            }
            self.pump(conn, side);
        }
    }

    /// For a look at one seed (`TELL=1`).
    fn tell(&self, what: &str, conn: ConnId, side: usize) {
        if !self.telling {
            return;
        }
        let Conn { ends, pipes, .. } = &self.conns[conn];
        let who = self.processes.get(ends[side].process).map_or("nobody", |process| process.name);
        let seconds = self.now.0 as f64 / 1e9;
        let (from, to) = (ends[side].address, ends[1 - side].address);
        let (unsent, unread) = (pipes[side].bytes.len(), ends[side].received.len());
        println!("{seconds:.6} {who} {what} {from} -> {to}, {unsent} unsent, {unread} unread");
    }

    fn end_direction(&mut self, conn: ConnId, side: usize) {
        self.tell("ends", conn, side);
        let this = &mut self.conns[conn];
        this.ends[side].ended = true;
        if this.pipes[side].fin == Fin::No {
            this.pipes[side].fin = Fin::Wanted;
            self.pump(conn, side);
        }
    }

    /// This end breaks the connection: what it has not sent is lost.
    fn send_reset(&mut self, conn: ConnId, side: usize) {
        self.tell("resets", conn, side);
        let lossy = self.tuning.lossy_resets && self.rng.chance(1, 2);
        let this = &mut self.conns[conn];
        if std::mem::replace(&mut this.ends[side].stage, Stage::Dead) == Stage::Dead
            && this.ends[1 - side].stage == Stage::Dead
        {
            return;
        }
        let pipe = &mut this.pipes[side];
        let in_flight = pipe.in_flight;
        pipe.bytes.truncate(in_flight);
        if lossy {
            pipe.clear();
        }
        self.send(conn, side, Kind::Reset);
    }

    /// This end learns that the connection is broken. What it has received can still be read.
    pub(super) fn die(&mut self, conn: ConnId, side: usize, error: Option<i32>) {
        let this = &mut self.conns[conn];
        let end = &mut this.ends[side];
        end.stage = Stage::Dead;
        end.error = error;
        this.pipes[side].clear();
        self.wake(Source::End(conn, side));
    }
}
