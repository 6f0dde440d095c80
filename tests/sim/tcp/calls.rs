//! TCP's system calls, as one process makes them.

use super::*;

impl World {
    pub(crate) fn listen(
        &mut self,
        process: ProcessId,
        address: SocketAddr,
        token: Token,
    ) -> io::Result<(usize, SocketAddr)> {
        let host = self.processes[process].host;
        let mut bound = address;
        if bound.port() == 0 {
            bound.set_port(self.fresh_port());
        }
        if self.listener_at(host, bound).is_some() {
            return Err(io::Error::from_raw_os_error(errno::EADDRINUSE));
        }
        self.take_descriptor(process)?;
        self.listeners.push(Listener {
            process,
            host,
            address: bound,
            token,
            queued: false,
            open: true,
            waiting: VecDeque::new(),
        });
        Ok((self.listeners.len() - 1, bound))
    }

    /// Connections that nobody accepted are reset.
    pub(crate) fn close_listener(&mut self, id: usize) {
        let listener = &mut self.listeners[id];
        listener.open = false;
        let process = listener.process;
        for conn in std::mem::take(&mut listener.waiting) {
            self.send_reset(conn, 1);
        }
        self.give_descriptor(process);
    }

    pub(crate) fn accept(&mut self, id: usize) -> io::Result<(ConnId, SocketAddr)> {
        let process = self.listeners[id].process;
        // Linux takes the descriptor first: EMFILE even if nobody waits.
        self.take_descriptor(process)?;
        let Some(conn) = self.listeners[id].waiting.pop_front() else {
            self.give_descriptor(process);
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let accepted = &mut self.conns[conn];
        accepted.listener = None;
        accepted.ends[1].process = process;
        accepted.ends[1].held = true;
        let peer = accepted.ends[0].address;
        self.accepted.push((process, self.listeners[id].address, peer));
        self.note(2);
        Ok((conn, peer))
    }

    pub(crate) fn connect(
        &mut self,
        process: ProcessId,
        address: SocketAddr,
    ) -> io::Result<ConnId> {
        let from = self.processes[process].host;
        let to = self.host_of(from, address.ip());
        let instant = to == Some(from) && self.tuning.instant_loopback;
        if to.is_none() && self.tuning.no_route {
            return Err(io::Error::from_raw_os_error(errno::ENETUNREACH));
        }
        self.take_descriptor(process)?;
        // An address that nobody has is a host that never answers.
        let to = to.unwrap_or(usize::MAX);
        let conn = self.new_conn(process, [from, to], address);
        self.note(3);
        let listener = self.listener_at(from, address);
        let full = listener.is_some_and(|id| self.listeners[id].waiting.len() >= BACKLOG);
        if to == usize::MAX {
            self.after(1_000_000_000, Happening::Syn(conn, 1));
        } else if !instant || full {
            let latency = self.conns[conn].latency;
            self.after(latency, Happening::Syn(conn, 0));
        } else if listener.is_some() {
            self.conns[conn].listener = listener;
            self.conns[conn].ends[0].stage = Stage::Open;
            self.enqueue(conn);
        } else {
            self.die(conn, 0, Some(errno::ECONNREFUSED)); // told by an event all the same
        }
        Ok(conn)
    }

    pub(crate) fn register(&mut self, conn: ConnId, side: usize, token: Token) {
        let end = &mut self.conns[conn].ends[side];
        assert!(end.token.is_none(), "registered twice: {token:?}");
        end.token = Some(token);
        if end.stage != Stage::Connecting {
            self.wake(Source::End(conn, side));
        }
    }

    pub(crate) fn connect_result(&mut self, conn: ConnId) -> io::Result<()> {
        let end = &mut self.conns[conn].ends[0];
        match (end.error.take(), end.stage) {
            (Some(error), _) => Err(io::Error::from_raw_os_error(error)),
            // ENOTCONN once the error has been told, which looks like an attempt under way.
            (None, Stage::Connecting | Stage::Dead) => Err(io::ErrorKind::WouldBlock.into()),
            (None, Stage::Open) => Ok(()),
        }
    }

    pub(crate) fn local_addr(&self, conn: ConnId, side: usize) -> SocketAddr {
        self.conns[conn].ends[side].address
    }

    pub(crate) fn read(&mut self, conn: ConnId, side: usize, into: &mut [u8]) -> io::Result<usize> {
        // In tcp_recvmsg()'s order: a read stops in front of a mark, and passes one that it is at.
        if self.conns[conn].until_mark(side) == Some(0) {
            self.conns[conn].pipes[1 - side].mark = None;
        }
        self.read_up_to_mark(conn, side, into)
    }

    /// As splice(2) reads: it never passes a mark.
    pub(crate) fn splice_in(
        &mut self,
        conn: ConnId,
        side: usize,
        into: &mut [u8],
    ) -> io::Result<usize> {
        self.read_up_to_mark(conn, side, into)
    }

    fn read_up_to_mark(&mut self, conn: ConnId, side: usize, into: &mut [u8]) -> io::Result<usize> {
        assert!(!into.is_empty(), "a read into nothing looks like an end of file");
        let until = self.conns[conn].until_mark(side).unwrap_or(usize::MAX);
        let end = &mut self.conns[conn].ends[side];
        let count = end.received.len().min(into.len()).min(until);
        if count > 0 {
            let (first, second) = end.received.as_slices();
            let head = first.len().min(count);
            into[..head].copy_from_slice(&first[..head]);
            into[head..count].copy_from_slice(&second[..count - head]);
            end.received.drain(..count);
            end.read += count as u64;
            let process = &mut self.processes[end.process];
            if end.read_in_turn.0 != process.turn {
                end.read_in_turn = (process.turn, 0);
            }
            end.read_in_turn.1 += count;
            process.most_read = process.most_read.max(end.read_in_turn.1);
            self.conns[conn].pipes[1 - side].reopened += count;
            self.send_news(conn, 1 - side);
            self.note(count as u64);
            return Ok(count);
        }
        // A FIN hides a later error, and an error is told once.
        if end.fin_received {
            return Ok(0);
        }
        match (end.error.take(), end.stage) {
            (Some(error), _) => Err(io::Error::from_raw_os_error(error)),
            (None, Stage::Dead) => Ok(0),
            (None, Stage::Connecting | Stage::Open) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    pub(crate) fn write(&mut self, conn: ConnId, side: usize, bytes: &[u8]) -> io::Result<usize> {
        let this = &mut self.conns[conn];
        let end = &mut this.ends[side];
        if end.error.is_some() || end.ended || end.stage == Stage::Dead {
            let error = end.error.take().unwrap_or(errno::EPIPE);
            return Err(io::Error::from_raw_os_error(error));
        }
        let pipe = &mut this.pipes[side];
        let room = if end.stage == Stage::Open { pipe.room() } else { 0 };
        let count = room.min(bytes.len());
        end.no_space |= count < bytes.len();
        if count == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        pipe.bytes.extend(&bytes[..count]);
        pipe.written += count as u64;
        let process = end.process;
        self.note(count as u64);
        self.pump(conn, side);
        if self.draw_urgent(process) {
            self.write_urgent(conn, side);
        }
        Ok(count)
    }

    /// `send` of one byte with MSG_OOB. The byte itself is nobody's, so it is none here.
    pub(crate) fn write_urgent(&mut self, conn: ConnId, side: usize) {
        let pipe = &mut self.conns[conn].pipes[side];
        if pipe.mark.is_none() {
            pipe.mark = Some(pipe.written);
            if pipe.bytes.len() == pipe.in_flight {
                self.send(conn, side, Kind::Urgent);
            }
        }
    }

    pub(crate) fn shutdown_write(&mut self, conn: ConnId, side: usize) -> io::Result<()> {
        let end = &mut self.conns[conn].ends[side];
        if end.stage != Stage::Open {
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.end_direction(conn, side);
        if self.tuning.idle_edges {
            self.wake(Source::End(conn, side)); // inet_shutdown() wakes whoever polls
        }
        Ok(())
    }

    /// `close`: in order, or with a reset if bytes that arrived were never read.
    pub(crate) fn close(&mut self, conn: ConnId, side: usize) {
        self.tell("closes", conn, side);
        self.release(conn, side);
        let end = &mut self.conns[conn].ends[side];
        let unread = !end.received.is_empty();
        end.received = VecDeque::new();
        match end.stage {
            Stage::Dead => {}
            Stage::Connecting => end.stage = Stage::Dead,
            Stage::Open if end.finished() => {}
            Stage::Open if unread => self.send_reset(conn, side),
            Stage::Open => self.end_direction(conn, side),
        }
    }

    /// `close` with SO_LINGER of 0: a reset, unless both FINs have passed each other by.
    pub(crate) fn abort(&mut self, conn: ConnId, side: usize) {
        self.tell("aborts", conn, side);
        self.release(conn, side);
        let this = &mut self.conns[conn];
        let said_all = this.ends[side].fin_received && this.pipes[side].fin == Fin::Sent;
        this.ends[side].received = VecDeque::new();
        match this.ends[side].stage {
            Stage::Open if said_all => {}
            Stage::Open => self.send_reset(conn, side),
            Stage::Connecting | Stage::Dead => this.ends[side].stage = Stage::Dead,
        }
    }

    fn release(&mut self, conn: ConnId, side: usize) {
        let end = &mut self.conns[conn].ends[side];
        assert!(end.held, "closed twice");
        end.held = false;
        end.orphan = true;
        let process = end.process;
        self.note(4);
        self.give_descriptor(process);
    }
}
