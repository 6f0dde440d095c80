//! What both roles have: the table of connections, their deadlines, and the queue of those that
//! have something to do.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use super::about::{self, About};
use super::buffers::{BATCH, Buffers, Scratch};
use super::conn::{Carrier as _, Conn, Gone, Io, PlainConn, TunnelConn, Turn};
use super::conns::ConnId;
use super::desk::Desk;
use super::net::{Net, Readiness, Wake};
use super::table::{Seat, Table};
use super::timers::Timers;
use crate::proto::admission::{Admission, Class, Holder, Permit, Refused, Standing};
use crate::proto::time::Time;
use crate::status::Program;
use crate::wire::message::Message;

/// Whether an engine wants another turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Call `turn` again.
    Continue,
    /// It has stopped in order.
    Stop,
    /// The same, and its configuration is to be read anew first.
    Reload,
}

/// What an engine holds, for tests and figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// Connections in the table.
    pub conns: usize,
    /// Buffers lent to connections.
    pub buffers: usize,
    /// The most bytes that wait to be written on one connection.
    pub backlog: usize,
    /// UDP sessions; at home each has a socket.
    pub udp_sessions: usize,
    /// Visitors at a service.
    pub seats: usize,
    /// Datagrams dropped so far.
    pub dropped: u64,
    /// Bytes that all connections are charged for.
    pub held: usize,
    /// Places that are taken: strangers, sessions, links, visitors, the admin door's.
    pub admitted: [usize; 5],
    /// Visitors that wait for a link.
    pub waiting: usize,
}

const CLASSES: [Class; 5] =
    [Class::Stranger, Class::Session, Class::Link, Class::Visitor, Class::Admin];

/// Below this, entries in the heap of deadlines are not worth a sweep.
const TIMERS_UNSWEPT: usize = 1024;

/// The part of an engine that knows nothing of its role: `P` and `T` say what plain and tunnel
/// connections are to it.
pub struct Core<N: Net, P, T> {
    /// The network, the scratch and the buffers.
    pub io: Io<N>,
    /// Who may stay.
    pub admission: Admission<ConnId>,
    /// What the program has told.
    pub about: About,
    /// Who is at the admin door.
    pub desk: Desk<N::Listener>,
    /// All connections.
    pub conns: Table<N::Stream, P, T>,
    timers: Timers,
    ready: VecDeque<ConnId>,
    wakes: Vec<Wake>,
}

impl<N: Net, P, T> Core<N, P, T> {
    /// No connections yet.
    pub fn new(net: N, admission: Admission<ConnId>) -> Core<N, P, T> {
        Core {
            admission,
            io: Io { net, scratch: Scratch::new(), buffers: Buffers::default() },
            about: About::default(),
            desk: Desk::new(),
            conns: Table::new(),
            timers: Timers::default(),
            ready: VecDeque::new(),
            wakes: Vec::new(),
        }
    }

    /// The time of this turn.
    pub fn now(&self) -> Time {
        self.io.net.now()
    }

    /// A moment by the calendar, in seconds since 1970.
    pub fn wall(&self, at: Time) -> f64 {
        about::wall(&self.io.net, at)
    }

    /// What a snapshot says of the program. `memory`: the bound of what may wait.
    pub fn program(&self, draining: bool, memory: usize) -> Program {
        self.about.program(&self.io.net, draining, (self.admission.held(), memory))
    }

    /// Whether connections wait for their turn.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// When the next deadline comes up.
    pub fn next_deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Polls until `until`; the list goes back by [`Core::put_back`].
    pub fn poll(&mut self, until: Option<Time>) -> io::Result<Vec<Wake>> {
        let mut wakes = std::mem::take(&mut self.wakes);
        self.io.net.poll(until, &mut wakes)?;
        Ok(wakes)
    }

    /// Keeps the list's memory.
    pub fn put_back(&mut self, mut wakes: Vec<Wake>) {
        wakes.clear();
        self.wakes = wakes;
    }

    /// Notes an event and queues its connection, unless that has ended.
    pub fn note(&mut self, id: ConnId, readiness: &Readiness) {
        let now = self.now();
        if let Some(conn) = self.conns.get_mut(id) {
            conn.socket_mut().note(readiness);
            if let Conn::Tunnel(conn) = conn {
                conn.heard = now;
            }
            self.enqueue(id);
        }
    }

    /// The deadline of a tunnel connection that does not stand yet has passed: whether it has more
    /// time, `step` from what was last heard of its peer, and three times that in all. A proxy has
    /// one step.
    pub fn still_begins(&mut self, id: ConnId, begun: Time, step: Duration) -> bool {
        let now = self.now();
        let Some(conn) = self.conns.tunnel(id) else { return false };
        let until = (conn.heard.max(begun) + step).min(begun + step * 3);
        let goes_on = now < until && !conn.is_passing();
        if goes_on {
            self.set_deadline(id, Some(until));
        }
        goes_on
    }

    /// When the peer of any of these tunnel connections was last heard.
    pub fn last_heard(&self, which: impl Fn(&T) -> bool) -> Option<Time> {
        let heard = self.conns.iter().filter_map(|(_, conn)| match conn {
            Conn::Tunnel(conn) if which(&conn.stage) => Some(conn.heard),
            _ => None,
        });
        heard.max()
    }

    /// Gives a connection a turn.
    pub fn enqueue(&mut self, id: ConnId) {
        if let Some(seat) = self.conns.seat(id)
            && !seat.queued
        {
            seat.queued = true;
            self.ready.push_back(id);
        }
    }

    /// What a step has come to; one that has used up its budget has another turn.
    pub fn go_on<D>(&mut self, id: ConnId, turn: Turn<D>) -> Option<D> {
        match turn {
            Turn::Done(done) => return Some(done),
            Turn::More => self.enqueue(id),
            Turn::Waiting => {}
        }
        None
    }

    /// Those whose turn it is now; those queued from here on have theirs in the next round.
    pub fn round(&self) -> usize {
        self.ready.len()
    }

    /// The next one in the queue.
    pub fn next_ready(&mut self) -> Option<ConnId> {
        while let Some(id) = self.ready.pop_front() {
            if let Some(seat) = self.conns.seat(id) {
                seat.queued = false;
                return Some(id);
            }
        }
        None
    }

    /// The next connection whose deadline has passed.
    pub fn next_due(&mut self) -> Option<ConnId> {
        let now = self.now();
        while let Some(entry) = self.timers.pop(now) {
            if let Some(seat) = self.conns.seat(entry.1)
                && self.timers.is_due(entry, &mut seat.deadline, now)
            {
                return Some(entry.1);
            }
        }
        None
    }

    /// Sets, moves or clears a connection's deadline.
    pub fn set_deadline(&mut self, id: ConnId, at: Option<Time>) {
        if let Some(seat) = self.conns.seat(id) {
            self.timers.set(id, &mut seat.deadline, at);
        }
        // Short connections leave entries behind that would pile up for minutes. Sweeping when the
        // live ones are the fewer costs a constant for each entry.
        if self.timers.len() > TIMERS_UNSWEPT + 2 * self.conns.len() {
            let conns = &self.conns;
            self.timers.sweep(|id| conns.armed(id));
        }
    }

    /// Takes a connection into the table; its events come from here on.
    pub fn adopt(
        &mut self,
        mut conn: Conn<N::Stream, P, T>,
        permit: Option<Permit>,
    ) -> io::Result<ConnId> {
        let token = self.conns.next_id().token();
        match self.io.net.register(conn.socket_mut().stream_mut(), token) {
            Ok(()) => Ok(self.conns.insert(conn, permit)),
            Err(error) => {
                self.dismiss(permit);
                conn.into_socket(&mut self.io.buffers).close(&mut self.io.buffers);
                Err(error)
            }
        }
    }

    /// A connection has proved to be of another class than the one it came in by.
    pub fn promote(
        &mut self,
        id: ConnId,
        class: Class,
        holder: Holder,
        standing: Standing,
    ) -> Result<(), Refused> {
        let now = self.now();
        let Some(seat) = self.conns.seat(id) else { return Ok(()) };
        let permit = self.admission.admit(class, id, holder, standing, now)?;
        let former = seat.permit.replace(permit);
        self.dismiss(former);
        Ok(())
    }

    /// Whose share a connection takes is known better now.
    pub fn name(&mut self, id: ConnId, holder: Holder) -> Result<(), Refused> {
        let now = self.now();
        match self.conns.permit(id) {
            Some(permit) => self.admission.name(permit, holder, now),
            None => Ok(()),
        }
    }

    /// How dispensable a connection is from now on.
    pub fn set_standing(&mut self, id: ConnId, standing: Standing) {
        let now = self.now();
        if let Some(permit) = self.conns.permit(id) {
            self.admission.stand(permit, standing, now);
        }
    }

    /// What a connection holds now. `written` is how much has been written for it so far: as long
    /// as that grows, it does not stall.
    pub fn charge(&mut self, id: ConnId, bytes: usize, written: u64) {
        let now = self.now();
        let Some(seat) = self.conns.seat(id) else { return };
        let moved =
            std::mem::replace(&mut seat.written_when_charged, written as u32) != written as u32;
        if let Some(permit) = &seat.permit {
            self.admission.charge(permit, bytes, moved, now);
        }
    }

    /// Takes a connection's place back.
    fn dismiss(&mut self, permit: Option<Permit>) {
        if let Some(permit) = permit {
            self.admission.release(permit);
        }
    }

    /// Sends a native message on a tunnel connection.
    pub fn say(&mut self, id: ConnId, message: &Message<'_>) -> Result<(), Gone> {
        let conn = self.conns.tunnel(id).ok_or(Gone::Unexpected)?;
        conn.say(&mut self.io, message)
    }

    /// Sends bytes on a tunnel connection; on a link, as DATA.
    pub fn push(&mut self, id: ConnId, bytes: &[u8]) -> Result<(), Gone> {
        let conn = self.conns.tunnel(id).ok_or(Gone::Unexpected)?;
        for part in bytes.chunks(BATCH) {
            self.io.scratch.clear[..part.len()].copy_from_slice(part);
            conn.push(&mut self.io, part.len())?;
        }
        Ok(())
    }

    /// Closes a connection, and says what it was.
    pub fn close(&mut self, id: ConnId) {
        if let Some(Seat { conn, permit, .. }) = self.conns.remove(id) {
            self.dismiss(permit);
            let buffers = &mut self.io.buffers;
            conn.into_socket(buffers).close(buffers);
        }
    }

    /// Closes a connection with a reset.
    pub fn abort(&mut self, id: ConnId) {
        if let Some(Seat { conn, permit, .. }) = self.conns.remove(id) {
            self.dismiss(permit);
            let Io { net, buffers, .. } = &mut self.io;
            conn.into_socket(buffers).abort(net, buffers);
        }
    }

    /// A plain connection.
    pub fn plain(&mut self, id: ConnId) -> Option<&mut PlainConn<N::Stream, P>> {
        self.conns.plain(id)
    }

    /// A tunnel connection.
    pub fn tunnel(&mut self, id: ConnId) -> Option<&mut TunnelConn<N::Stream, T>> {
        self.conns.tunnel(id)
    }

    /// What the engine holds.
    pub fn census(&self) -> Census {
        let backlogs = self.conns.iter().map(|(_, conn)| conn.socket().backlog());
        Census {
            conns: self.conns.len(),
            buffers: self.io.buffers.lent(),
            backlog: backlogs.max().unwrap_or(0),
            held: self.admission.held(),
            admitted: CLASSES.map(|class| self.admission.count(class)),
            ..Census::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::proto::admission::Capacity;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;
    use crate::engine::mio_net::MioNet;
    use crate::engine::socket::Socket;

    #[test]
    fn work_that_never_ends_keeps_no_deadline_waiting() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let admission = Admission::new(Capacity::NONE);
        let mut core: Core<MioNet, (), ()> = Core::new(MioNet::new().expect("epoll"), admission);
        let mut peers = Vec::new();
        let mut adopt = |core: &mut Core<MioNet, (), ()>| {
            let address = listener.local_addr().expect("bound");
            peers.push(TcpStream::connect(address).expect("loopback"));
            let stream = listener.accept().expect("loopback").0;
            let socket = Socket::accepted(mio::net::TcpStream::from_std(stream));
            let conn = PlainConn { socket, stage: () };
            core.adopt(Conn::Plain(conn), None).expect("registered")
        };
        let (busy, idle) = (adopt(&mut core), adopt(&mut core));
        let until = core.now() + Duration::from_millis(30);
        for id in [busy, idle] {
            core.set_deadline(id, Some(until));
        }
        core.enqueue(busy);
        let mut due = Vec::new();
        while due.len() < 2 {
            // As the engines' turns go.
            let wakes = core.poll(Some(core.now())).expect("epoll");
            core.put_back(wakes);
            for _ in 0..core.round() {
                let id = core.next_ready().expect("the round has one");
                core.go_on::<()>(id, Turn::More);
            }
            assert!(core.has_ready());
            due.extend(std::iter::from_fn(|| core.next_due()));
            assert!(core.now() < until + Duration::from_secs(5), "only {due:?} are due");
        }
        assert!(due.contains(&busy) && due.contains(&idle) && until <= core.now());
    }
}
