//! A socket with its memory of readiness and with what could not be written yet.
//!
//! Registered once for both directions, edge-triggered: an event only sets a flag, and the flag
//! stays until the socket itself says `WouldBlock`. Interest is never asked for; whoever has room
//! reads, whoever has data writes.

use std::io::{self, ErrorKind};

use super::buffers::Buffers;
use super::net::{Net, Readiness};

/// One TCP connection.
///
/// Invariants: `sent <= pending.len()`; `pending` is empty exactly when nothing waits to be
/// written; a FIN is sent once and only behind all of `pending`.
pub struct Socket<S> {
    stream: S,
    /// A read may give something.
    readable: bool,
    /// A write may take something.
    writable: bool,
    /// The peer's FIN has come: a short read does not mean that all has been read.
    read_closed: bool,
    /// The peer uses urgent data, at whose mark a read stops short (tcp(7)). A splice does not get
    /// past one.
    urgent: bool,
    /// An error waits to be read.
    broken: bool,
    pending: Vec<u8>,
    /// Of `pending`, which is far below 4 GB.
    sent: u32,
    fin: Fin,
    /// Bytes so far.
    read: u64,
    written: u64,
    /// What the last read gave.
    last_read: u32,
}

/// What somebody has counted of what a socket has read and written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counted {
    read: u64,
    written: u64,
}

impl Counted {
    /// What has been read and written since the last look.
    pub fn take<S>(&mut self, socket: &Socket<S>) -> (u64, u64) {
        let read = socket.read - std::mem::replace(&mut self.read, socket.read);
        (read, self.take_written(socket))
    }

    /// What has been written since.
    pub fn take_written<S>(&mut self, socket: &Socket<S>) -> u64 {
        socket.written - std::mem::replace(&mut self.written, socket.written)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fin {
    NotYet,
    BehindPending,
    Sent,
}

/// What a read gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// So many bytes, at least one.
    Bytes(usize),
    /// The end of file, each time.
    End,
    /// Nothing now; an event will come.
    Blocked,
}

impl<S> Socket<S> {
    /// An accepted connection: its send buffer is empty.
    pub fn accepted(stream: S) -> Socket<S> {
        Socket { writable: true, ..Socket::connecting(stream) }
    }

    /// A connection under way: nothing is written until an event says that it is there.
    pub fn connecting(stream: S) -> Socket<S> {
        Socket {
            stream,
            readable: false,
            writable: false,
            read_closed: false,
            urgent: false,
            broken: false,
            pending: Vec::new(),
            sent: 0,
            fin: Fin::NotYet,
            read: 0,
            written: 0,
            last_read: 0,
        }
    }

    /// Takes an event in.
    pub fn note(&mut self, readiness: &Readiness) {
        self.readable |= readiness.readable;
        self.writable |= readiness.writable;
        self.read_closed |= readiness.read_closed;
        self.urgent |= readiness.urgent;
        self.broken |= readiness.broken;
    }

    /// The next read is to ask the kernel, whatever it has said so far.
    pub fn expect_bytes(&mut self) {
        self.readable = true;
    }

    /// Whether the connection has an error.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether all that was sent has been handed to the network.
    pub fn is_clear(&self) -> bool {
        self.pending.is_empty()
    }

    /// Bytes that wait to be written.
    pub fn backlog(&self) -> usize {
        self.pending.len() - self.sent as usize
    }

    /// Bytes of memory that they take, also what of it has been written already.
    pub fn footprint(&self) -> usize {
        if self.pending.is_empty() { 0 } else { self.pending.capacity() }
    }

    /// Bytes read from the network so far.
    pub fn read(&self) -> u64 {
        self.read
    }

    /// Bytes handed to the network so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Whether anything was written to it, or is about to be.
    pub fn has_had(&self) -> bool {
        self.written > 0 || !self.pending.is_empty()
    }

    /// Whether the next read may be expected to give `worth` bytes, and a splice as many.
    pub fn is_busy(&self, worth: usize) -> bool {
        self.last_read as usize >= worth && self.may_splice()
    }

    /// Whether a splice gives what a read does.
    pub fn may_splice(&self) -> bool {
        !self.urgent
    }

    /// Whether a read may give something.
    pub fn is_readable(&self) -> bool {
        self.readable
    }

    /// The stream itself.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// The stream itself, to register it.
    pub fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Reads once.
    pub fn receive<N: Net<Stream = S>>(
        &mut self,
        net: &mut N,
        into: &mut [u8],
    ) -> io::Result<Received> {
        debug_assert!(!into.is_empty());
        let received = self.read_by(|stream| net.read(stream, into))?;
        let is_short = matches!(received, Received::Bytes(length) if length < into.len());
        // A short read has drained the socket (epoll(7)), unless an end or a mark cut it short.
        if is_short && !self.read_closed && !self.urgent && !self.broken {
            self.readable = false;
        }
        Ok(received)
    }

    /// The same into the net's pipe, at most `most` bytes. [`Received::End`] may be a mark of
    /// urgent data that nothing has told of yet: a read decides.
    pub fn receive_piped<N: Net<Stream = S>>(
        &mut self,
        net: &mut N,
        most: usize,
    ) -> io::Result<Received> {
        self.read_by(|stream| net.splice_in(stream, most))
    }

    fn read_by(
        &mut self,
        mut read: impl FnMut(&mut S) -> io::Result<usize>,
    ) -> io::Result<Received> {
        while self.readable {
            match read(&mut self.stream) {
                Ok(0) => return Ok(Received::End),
                Ok(length) => {
                    self.read += length as u64;
                    self.last_read = length as u32; // a batch at most
                    return Ok(Received::Bytes(length));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Received::Blocked)
    }

    /// Writes what the network takes now and keeps the rest.
    pub fn send<N: Net<Stream = S>>(
        &mut self,
        net: &mut N,
        buffers: &mut Buffers,
        bytes: &[u8],
    ) -> io::Result<()> {
        debug_assert_eq!(self.fin, Fin::NotYet);
        let written = if self.pending.is_empty() { self.write(net, bytes)? } else { 0 };
        buffers.append(&mut self.pending, &bytes[written..]);
        Ok(())
    }

    /// Sends `head`, if there is one, and behind it the `length` bytes in the net's pipe; what the
    /// network does not take now is kept. The pipe is empty again in any case; `scratch` has room
    /// for what was in it.
    pub fn send_piped<N: Net<Stream = S>>(
        &mut self,
        net: &mut N,
        buffers: &mut Buffers,
        scratch: &mut [u8],
        head: &[u8],
        length: usize,
    ) -> io::Result<()> {
        debug_assert!(self.pending.is_empty() && self.fin == Fin::NotYet);
        let result = self.write_piped(net, buffers, head, length);
        // Whatever has become of it, the pipe is for the next one.
        let left = net.empty_pipe(scratch);
        result?;
        buffers.append(&mut self.pending, &scratch[..left]);
        Ok(())
    }

    fn write_piped<N: Net<Stream = S>>(
        &mut self,
        net: &mut N,
        buffers: &mut Buffers,
        head: &[u8],
        length: usize,
    ) -> io::Result<()> {
        let written =
            self.write_by(head.len(), |stream, at| net.write_more(stream, &head[at..]))?;
        buffers.append(&mut self.pending, &head[written..]);
        if self.pending.is_empty() {
            self.write_by(length, |stream, _| net.splice_out(stream))?;
        }
        Ok(())
    }

    /// Writes what waits. Returns whether anything moved.
    pub fn flush<N: Net<Stream = S>>(
        &mut self,
        net: &mut N,
        buffers: &mut Buffers,
    ) -> io::Result<bool> {
        if self.pending.is_empty() || !self.writable {
            return Ok(false);
        }
        let pending = std::mem::take(&mut self.pending);
        let result = self.write(net, &pending[self.sent as usize..]);
        self.pending = pending;
        let written = result?;
        self.sent += written as u32;
        if self.sent as usize == self.pending.len() {
            self.sent = 0;
            buffers.give_back(&mut self.pending);
            if self.fin == Fin::BehindPending {
                self.shut_down(net);
            }
        }
        Ok(written > 0)
    }

    /// Ends the outgoing direction behind what waits.
    pub fn finish<N: Net<Stream = S>>(&mut self, net: &mut N) {
        if self.fin != Fin::NotYet {
            return;
        }
        if self.pending.is_empty() {
            self.shut_down(net);
        } else {
            self.fin = Fin::BehindPending;
        }
    }

    /// Before the connection stands: what to send first.
    pub fn hold(&mut self, bytes: Vec<u8>) {
        debug_assert!(self.pending.is_empty() && !self.writable);
        self.pending = bytes;
    }

    /// Takes back what [`Socket::hold`] was given, when the connection did not come about.
    pub fn take_held(&mut self) -> Vec<u8> {
        debug_assert_eq!(self.sent, 0);
        std::mem::take(&mut self.pending)
    }

    /// Closes: what was handed to the network is delivered, what waits is lost.
    pub fn close(mut self, buffers: &mut Buffers) {
        buffers.give_back(&mut self.pending);
    }

    /// Closes with a reset.
    pub fn abort<N: Net<Stream = S>>(mut self, net: &mut N, buffers: &mut Buffers) {
        buffers.give_back(&mut self.pending);
        net.abort(self.stream);
    }

    fn write<N: Net<Stream = S>>(&mut self, net: &mut N, bytes: &[u8]) -> io::Result<usize> {
        self.write_by(bytes.len(), |stream, at| net.write(stream, &bytes[at..]))
    }

    /// Writes until all of `length` bytes are out or the network takes no more; how many it took.
    fn write_by(
        &mut self,
        length: usize,
        mut write: impl FnMut(&mut S, usize) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut written = 0;
        while self.writable && written < length {
            match write(&mut self.stream, written) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    written += taken;
                    self.written += taken as u64;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    fn shut_down<N: Net<Stream = S>>(&mut self, net: &mut N) {
        self.fin = Fin::Sent;
        // It fails only on a connection that is broken already, which the next read tells.
        let _ = net.shutdown_write(&mut self.stream);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::time::Duration;

    use socket2::SockRef;

    use super::*;
    use crate::engine::mio_net::MioNet;
    use crate::engine::net::{Token, Wake};

    /// What a socket that has not been looked at yet gives: by splices as long as they give
    /// something, or by reads alone.
    fn hear(splices: bool, say: impl FnOnce(&mut TcpStream)) -> Vec<u8> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let mut peer = TcpStream::connect(listener.local_addr().expect("bound")).expect("loopback");
        let stream = listener.accept().expect("loopback").0;
        stream.set_nonblocking(true).expect("a socket");
        let mut net = MioNet::new().expect("epoll");
        assert!(net.splice_worth().is_some(), "no pipe");
        let mut socket = Socket::accepted(mio::net::TcpStream::from_std(stream));
        say(&mut peer);
        net.register(socket.stream_mut(), Token(1)).expect("epoll");
        let mut wakes = Vec::new();
        let (mut heard, mut room) = (Vec::new(), [0; 100]);
        loop {
            let soon = net.now() + Duration::from_millis(50);
            net.poll(Some(soon), &mut wakes).expect("epoll");
            if wakes.is_empty() {
                return heard;
            }
            for wake in wakes.drain(..) {
                if let Wake::Ready(readiness) = wake {
                    socket.note(&readiness);
                }
            }
            while socket.is_readable() {
                if splices
                    && socket.may_splice()
                    && let Received::Bytes(length) =
                        socket.receive_piped(&mut net, 100).expect("open")
                {
                    assert_eq!(net.empty_pipe(&mut room), length);
                    heard.extend_from_slice(&room[..length]);
                    continue;
                }
                match socket.receive(&mut net, &mut room).expect("open") {
                    Received::Bytes(length) => heard.extend_from_slice(&room[..length]),
                    Received::Blocked => {}
                    Received::End => return heard,
                }
            }
        }
    }

    #[test]
    fn what_lies_behind_urgent_data_is_read() {
        let urgent = |peer: &mut TcpStream| {
            SockRef::from(&*peer).send_out_of_band(b"B").expect("loopback");
        };
        for splices in [false, true] {
            for (ends, times) in [(false, 1), (true, 1), (false, 3), (true, 3)] {
                let heard = hear(splices, |peer| {
                    for _ in 0..times {
                        peer.write_all(b"AAAA").expect("loopback");
                        urgent(peer);
                    }
                    peer.write_all(b"CCCC").expect("loopback");
                    if ends {
                        peer.shutdown(Shutdown::Write).expect("loopback");
                    }
                });
                // An earlier mark is lost to a later one, and its byte is then one like others.
                let all = [&b"AAAAB".repeat(times - 1)[..], b"AAAACCCC"].concat();
                assert_eq!(heard, all, "splices: {splices}, ends: {ends}");
            }
            let heard = hear(splices, urgent);
            assert_eq!(heard, b"", "nothing but urgent data");
        }
    }
}
