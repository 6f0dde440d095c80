//! A tunnel connection: a socket, a proxy to get through, and then the codec, with what it has not
//! taken yet.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::ops::Range;

use super::buffers::{BATCH, Buffers, SPLICE, Scratch};
use super::conn::{Carrier, Io, Pulled, READS, Turn};
use super::gone::Gone;
use super::net::Net;
use super::socket::{Received, Socket};
use crate::proto::lease::Lease;
use crate::proto::noise::{Channel, HandshakeHash, Side};
use crate::proto::passage::{self, Passage};
use crate::proto::time::Time;
use crate::proto::tunnel::{Codec, Dialect, Expects, Tell};
use crate::wire::frame;
use crate::wire::message::{Message, Reason};

/// A tunnel connection.
pub struct TunnelConn<S, T> {
    /// The TCP connection.
    pub socket: Socket<S>,
    /// When the peer was last heard: bytes, or room for ours.
    pub heard: Time,
    around: Box<Around>,
    /// What it is.
    pub stage: T,
}

/// What lies around its bytes.
struct Around {
    /// The way through a proxy, until it is open; all else comes after.
    passage: Option<Box<Passage>>,
    /// What the bytes mean.
    codec: Codec,
    /// Received and not yet taken by the codec: less than a frame, or what lay behind a message.
    inbox: Vec<u8>,
    /// rathole's dialect: opened and not yet taken.
    unread: Vec<u8>,
}

/// What [`Around::fill`] found.
enum Filled {
    /// Bytes up to here.
    To(usize),
    /// Nothing new.
    Nothing,
    /// The connection's end.
    End,
}

impl<S, T> TunnelConn<S, T> {
    /// One before its first byte.
    pub fn new(socket: Socket<S>, channel: Channel, side: Side, stage: T) -> TunnelConn<S, T> {
        let codec = Codec::new(channel, side);
        let around = Around { passage: None, codec, inbox: Vec::new(), unread: Vec::new() };
        TunnelConn { socket, heard: Time::default(), around: Box::new(around), stage }
    }

    /// The same, which has to get through a proxy first.
    pub fn through(mut self, passage: Passage) -> TunnelConn<S, T> {
        self.around.passage = Some(Box::new(passage));
        self
    }

    /// What its bytes mean.
    pub fn codec(&mut self) -> &mut Codec {
        &mut self.around.codec
    }

    /// How the peer speaks.
    pub fn dialect(&self) -> Dialect {
        self.around.codec.dialect()
    }

    /// Of a link: who uses it.
    pub fn lease(&self) -> &Lease {
        self.around.codec.lease()
    }

    /// Why it ends when nothing comes in time.
    pub fn silence(&self) -> Gone {
        match self.around.passage {
            Some(_) => Gone::Proxy(passage::Reject::Silent),
            None => Gone::Io(ErrorKind::TimedOut.into()),
        }
    }

    /// It has still to get through its proxy.
    pub fn is_passing(&self) -> bool {
        self.around.passage.is_some()
    }

    /// Bytes that wait here: for the peer to take them, or to be whole.
    pub fn held(&self) -> usize {
        self.socket.footprint() + self.around.inbox.len() + self.around.unread.len()
    }

    /// rathole's dialect: the first `length` bytes of `scratch.clear` were pulled and are still to
    /// be taken.
    pub fn put_back<N>(&mut self, io: &mut Io<N>, length: usize) {
        debug_assert!(self.around.unread.is_empty());
        io.buffers.append(&mut self.around.unread, &io.scratch.clear[..length]);
    }

    /// Whether a pull may bring bytes.
    pub fn may_bring(&self) -> bool {
        let is_kept = !self.around.inbox.is_empty() || !self.around.unread.is_empty();
        self.socket.is_readable() || is_kept
    }

    /// rathole's dialect: whether bytes are here that nobody has taken.
    pub fn has_unread(&self) -> bool {
        !self.around.unread.is_empty()
    }

    /// Server, before [`TunnelConn::shake_hands`]: done once that has a message to read. Whether it
    /// then agrees on keys, which is the one thing that a stranger can make the server pay dearly
    /// for: nothing has been computed so far.
    pub fn await_hands<N: Net<Stream = S>>(&mut self, io: &mut Io<N>) -> Result<Turn<bool>, Gone> {
        self.around.await_hands(&mut self.socket, io)
    }

    /// A handshake's next steps: reads a message if one is whole, and answers it. Done once nothing
    /// of the handshake is left to read; messages may follow.
    pub fn shake_hands<N: Net<Stream = S>>(
        &mut self,
        io: &mut Io<N>,
    ) -> Result<Turn<HandshakeHash>, Gone> {
        self.around.shake_hands(&mut self.socket, io)
    }

    /// Writes what waits, where the peer has nothing to say: what comes is its end, or a message
    /// that does not belong here. Never done.
    pub fn hear_nothing<N: Net<Stream = S>>(
        &mut self,
        io: &mut Io<N>,
    ) -> Result<Turn<Infallible>, Gone> {
        self.flush(io)?;
        for _ in 0..READS {
            let pulled = self.pull(io)?;
            if pulled.end.is_some() || pulled.data > 0 {
                return Err(Gone::Unexpected);
            }
            if !pulled.moved {
                return Ok(Turn::Waiting);
            }
        }
        Ok(Turn::More)
    }

    /// rathole's dialect: the next `LENGTH` bytes, once all are here; what follows them stays.
    pub fn take<const LENGTH: usize, N: Net<Stream = S>>(
        &mut self,
        io: &mut Io<N>,
    ) -> Result<Turn<[u8; LENGTH]>, Gone> {
        let around = &mut *self.around;
        for _ in 0..READS {
            if let Some(taken) = around.unread.first_chunk::<LENGTH>().copied() {
                io.buffers.take_front(&mut around.unread, LENGTH);
                return Ok(Turn::Done(taken));
            }
            let pulled = around.receive(&mut self.socket, io, None)?;
            io.buffers.append(&mut around.unread, &io.scratch.clear[..pulled.data]);
            match pulled.end {
                None if pulled.moved => {}
                None => return Ok(Turn::Waiting),
                Some(_) => return Err(Gone::Closed),
            }
        }
        Ok(Turn::More)
    }

    /// Sends a native message.
    pub fn say<N: Net<Stream = S>>(
        &mut self,
        io: &mut Io<N>,
        message: &Message<'_>,
    ) -> Result<(), Gone> {
        let Io { net, scratch, buffers } = io;
        let sealed = self.around.codec.seal(message, &mut scratch.message, &mut scratch.wire)?;
        self.socket.send(net, buffers, &scratch.wire[..sealed]).map_err(Gone::Io)
    }

    /// Says RESET if there is anybody left to tell. rathole's dialect has no word for it: the next
    /// pull fails, and whoever closes the connection aborts it.
    pub fn say_reset<N: Net<Stream = S>>(
        &mut self,
        io: &mut Io<N>,
        reason: Reason,
    ) -> Result<(), Gone> {
        let tell = self.around.codec.reset(reason);
        self.tell(io, tell)
    }

    /// Client: both directions of the lease have ended; says that the link is free.
    pub fn say_ready<N: Net<Stream = S>>(&mut self, io: &mut Io<N>) -> Result<(), Gone> {
        let ready = self.around.codec.ready();
        self.say(io, &ready)
    }

    /// Tells an end of ours.
    fn tell<N: Net<Stream = S>>(&mut self, io: &mut Io<N>, tell: Tell) -> Result<(), Gone> {
        match tell {
            Tell::Message(message) => self.say(io, &message),
            Tell::EndOfFile => {
                self.socket.finish(&mut io.net);
                Ok(())
            }
            Tell::Nothing => Ok(()),
        }
    }

    /// Gives what it was lent back, but for what waits to be written.
    pub(super) fn into_socket(mut self, buffers: &mut Buffers) -> Socket<S> {
        buffers.give_back(&mut self.around.inbox);
        buffers.give_back(&mut self.around.unread);
        self.socket
    }
}

impl<N: Net, T> Carrier<N> for TunnelConn<N::Stream, T> {
    fn socket(&mut self) -> &mut Socket<N::Stream> {
        &mut self.socket
    }

    fn may_give(&self) -> bool {
        self.may_bring()
    }

    fn pull(&mut self, io: &mut Io<N>) -> Result<Pulled, Gone> {
        self.around.pull(&mut self.socket, io)
    }

    fn push(&mut self, io: &mut Io<N>, length: usize) -> Result<(), Gone> {
        let Io { net, scratch, buffers } = io;
        let Scratch { clear, wire, .. } = scratch;
        let codec = &mut self.around.codec;
        let sent = match codec.is_clear_stream() {
            true => self.socket.send(net, buffers, &clear[..length]),
            false => {
                let sealed = codec.wrap(clear, length, wire)?;
                self.socket.send(net, buffers, &wire[..sealed])
            }
        };
        sent.map_err(Gone::Io)
    }

    fn is_raw(&self) -> bool {
        self.around.codec.is_raw()
    }

    fn draw(&mut self, io: &mut Io<N>, worth: usize) -> Result<Pulled, Gone> {
        self.around.draw(&mut self.socket, io, worth)
    }

    fn push_piped(&mut self, io: &mut Io<N>, length: usize) -> Result<(), Gone> {
        let Io { net, scratch, buffers } = io;
        let header = frame::run_header(length);
        let head = match self.around.codec.is_clear_stream() {
            true => &[][..],
            false => &header,
        };
        let sent = self.socket.send_piped(net, buffers, &mut scratch.wire, head, length);
        sent.map_err(Gone::Io)
    }

    fn finish(&mut self, io: &mut Io<N>) -> Result<(), Gone> {
        let tell = self.around.codec.finish();
        self.tell(io, tell)
    }
}

impl Around {
    /// Goes on through the proxy, if there is one; done when the way is open.
    fn pass<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
    ) -> Result<Turn<()>, Gone> {
        for _ in 0..READS {
            let Some(passage) = &mut self.passage else { return Ok(Turn::Done(())) };
            let said = passage.poll_send();
            socket.send(&mut io.net, &mut io.buffers, &said).map_err(Gone::Io)?;
            match socket.receive(&mut io.net, &mut io.scratch.wire) {
                Ok(Received::Bytes(read)) => {
                    if passage.handle(&io.scratch.wire[..read]).map_err(Gone::Proxy)? {
                        self.passage = None;
                    }
                }
                Ok(Received::Blocked) => return Ok(Turn::Waiting),
                Ok(Received::End) | Err(_) => return Err(Gone::Proxy(passage::Reject::Closed)),
            }
        }
        Ok(Turn::More)
    }

    fn await_hands<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
    ) -> Result<Turn<bool>, Gone> {
        if !self.codec.is_awaiting() {
            return Ok(Turn::Done(false));
        }
        for _ in 0..READS {
            // What lies behind the message can wait in the kernel.
            let lacking = self.codec.lacks_of_shake(&self.inbox)?;
            if lacking == 0 {
                return Ok(Turn::Done(true));
            }
            let room = &mut io.scratch.wire[..lacking];
            match socket.receive(&mut io.net, room).map_err(Gone::Io)? {
                Received::Bytes(read) => io.buffers.append(&mut self.inbox, &room[..read]),
                Received::Blocked => return Ok(Turn::Waiting),
                Received::End => return Err(Gone::Closed),
            }
        }
        Ok(Turn::More)
    }

    fn shake_hands<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
    ) -> Result<Turn<HandshakeHash>, Gone> {
        match self.pass(socket, io)? {
            Turn::Done(()) => {}
            Turn::Waiting => return Ok(Turn::Waiting),
            Turn::More => return Ok(Turn::More),
        }
        for _ in 0..READS {
            io.scratch.message.clear();
            let hash = self.codec.shake(&mut io.scratch.message)?;
            socket.send(&mut io.net, &mut io.buffers, &io.scratch.message).map_err(Gone::Io)?;
            if let Some(hash) = hash {
                return Ok(Turn::Done(hash));
            }
            let filled = match self.fill(socket, io, usize::MAX)? {
                Filled::To(filled) => filled,
                Filled::Nothing => return Ok(Turn::Waiting),
                Filled::End => return Err(Gone::Closed),
            };
            let taken = self.codec.hear_shake(&io.scratch.wire[..filled])?;
            self.keep(io, taken..filled);
        }
        Ok(Turn::More)
    }

    /// Takes one batch in.
    fn pull<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
    ) -> Result<Pulled, Gone> {
        match self.unread.len() {
            0 => self.receive(socket, io, None),
            data => {
                io.scratch.clear[..data].copy_from_slice(&self.unread);
                io.buffers.give_back(&mut self.unread);
                Ok(Pulled { data, moved: true, ..Pulled::default() })
            }
        }
    }

    /// As [`Around::pull`], but for bytes that go on as they are: at least `worth` of them at once
    /// stay in the net's pipe.
    fn draw<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
        worth: usize,
    ) -> Result<Pulled, Gone> {
        match self.unread.is_empty() && socket.may_splice() {
            true => self.receive(socket, io, Some(worth)),
            false => self.pull(socket, io),
        }
    }

    /// Takes one batch in, past what was put back. With `worth`, what goes on as it is may stay in
    /// the net's pipe.
    fn receive<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
        worth: Option<usize>,
    ) -> Result<Pulled, Gone> {
        loop {
            match self.codec.expects(self.inbox.len(), worth.unwrap_or(usize::MAX))? {
                Expects::Frames(most) => {
                    let pulled = self.receive_frames(socket, io, most)?;
                    let is_empty = pulled.data == 0 && pulled.end.is_none();
                    // What was asked for by itself tells how to read on.
                    if most == usize::MAX || !pulled.moved || !is_empty {
                        return Ok(pulled);
                    }
                }
                Expects::Data(most) => {
                    // A stream has no length: it is as long as it was before.
                    let is_long = |worth| match most {
                        usize::MAX => socket.is_busy(worth),
                        most => most >= worth,
                    };
                    return match worth.is_some_and(is_long) {
                        true => self.splice(socket, io, most.min(SPLICE)),
                        false => self.receive_data(socket, io, most.min(BATCH)),
                    };
                }
            }
        }
    }

    fn splice<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
        most: usize,
    ) -> Result<Pulled, Gone> {
        match socket.receive_piped(&mut io.net, most).map_err(Gone::Io)? {
            Received::End => self.receive_data(socket, io, most.min(BATCH)),
            received => {
                let pulled = self.hear_data(received)?;
                Ok(Pulled { piped: pulled.data > 0, ..pulled })
            }
        }
    }

    /// Data that nothing lies around are read to where they are wanted.
    fn receive_data<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
        most: usize,
    ) -> Result<Pulled, Gone> {
        let room = &mut io.scratch.clear[..most];
        let received = socket.receive(&mut io.net, room).map_err(Gone::Io)?;
        self.hear_data(received)
    }

    fn hear_data(&mut self, received: Received) -> Result<Pulled, Gone> {
        match received {
            Received::Bytes(length) => {
                let data = self.codec.hear_data(length)?;
                Ok(Pulled { data, moved: true, ..Pulled::default() })
            }
            Received::Blocked => Ok(Pulled::default()),
            Received::End => self.hear_end_of_file(),
        }
    }

    fn hear_end_of_file(&mut self) -> Result<Pulled, Gone> {
        let end = Some(self.codec.hear_end_of_file(self.inbox.len())?);
        Ok(Pulled { end, moved: true, ..Pulled::default() })
    }

    fn receive_frames<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
        most: usize,
    ) -> Result<Pulled, Gone> {
        let filled = match self.fill(socket, io, most)? {
            Filled::To(filled) => filled,
            Filled::Nothing => return Ok(Pulled::default()),
            Filled::End => return self.hear_end_of_file(),
        };
        let wire = &io.scratch.wire[..filled];
        let opened = self.codec.open(wire, &mut io.scratch.clear)?;
        self.keep(io, opened.taken..filled);
        Ok(Pulled { data: opened.data, end: opened.end, moved: true, piped: false })
    }

    /// Brings the inbox to the front of `scratch.wire`, and what the socket has behind it unless
    /// the codec can take something of the inbox already: at most `most` bytes.
    fn fill<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
        most: usize,
    ) -> Result<Filled, Gone> {
        let kept = self.inbox.len();
        let whole = self.codec.has_whole(&self.inbox)?;
        if !whole && !socket.is_readable() {
            return Ok(Filled::Nothing);
        }
        io.scratch.wire[..kept].copy_from_slice(&self.inbox);
        if whole {
            return Ok(Filled::To(kept));
        }
        let end = kept.saturating_add(most).min(io.scratch.wire.len());
        let room = &mut io.scratch.wire[kept..end];
        Ok(match socket.receive(&mut io.net, room).map_err(Gone::Io)? {
            Received::Bytes(read) => Filled::To(kept + read),
            Received::Blocked => Filled::Nothing,
            Received::End => Filled::End,
        })
    }

    /// Keeps what was not taken.
    fn keep<N>(&mut self, io: &mut Io<N>, rest: Range<usize>) {
        let Io { scratch, buffers, .. } = io;
        if rest.is_empty() {
            buffers.give_back(&mut self.inbox);
        } else if self.inbox.is_empty() {
            buffers.append(&mut self.inbox, &scratch.wire[rest]);
        } else {
            self.inbox.clear();
            self.inbox.extend_from_slice(&scratch.wire[rest]);
        }
    }
}

#[cfg(test)]
mod tests;
