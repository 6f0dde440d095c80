//! One connection: a socket, what lies around its bytes (nothing, or the tunnel's frames), its
//! deadline, and its stage. The two ends of a relay are both such, so the copy loop is one.

use std::convert::Infallible;
use std::io;

use super::buffers::{BATCH, Buffers, SPLICE, Scratch};
pub use super::gone::Gone;
use super::net::Net;
use super::socket::{Received, Socket};
use super::timers::Deadline;
pub use super::tunnel::{Dialect, End, Pulled, Tunnel};
use crate::proto::admission::Permit;
use crate::proto::lease::Lease;
use crate::proto::noise::{Channel, HandshakeHash, Side};
use crate::proto::passage::{self, Passage};
use crate::proto::tunnel::Tell;
use crate::wire::frame;
use crate::wire::message::{Message, Reason};

/// What every step of a connection needs beside the connection.
pub struct Io<N> {
    /// The sockets and the clock.
    pub net: N,
    /// The thread's scratch.
    pub scratch: Scratch,
    /// Memory for those who wait.
    pub buffers: Buffers,
}

/// Reads of one connection before others have their turn.
pub(super) const READS: usize = 8;

/// How a step ends that reads until what it waits for is here, or its budget is used up.
#[derive(Debug)]
pub enum Turn<T> {
    /// It is here.
    Done(T),
    /// Nothing more is to be read; an event will come.
    Waiting,
    /// Others have their turn, and then this one goes on: see [`Core::go_on`](super::core::Core).
    More,
}

/// A connection of either role; `Stage` is the role's.
pub struct Conn<S, Stage> {
    /// The TCP connection.
    pub socket: Socket<S>,
    /// Set for tunnel connections: control sessions and links.
    pub tunnel: Option<Box<Tunnel>>,
    /// What it must not wait beyond.
    pub deadline: Deadline,
    /// Whether it stands in the queue of those with something to do.
    pub queued: bool,
    /// Its place in the house; goes back when it is closed.
    pub permit: Option<Permit>,
    /// Bytes that had been written for it when it was charged last.
    pub written_when_charged: u64,
    /// What it is.
    pub stage: Stage,
}

impl<S, Stage> Conn<S, Stage> {
    /// A plain connection.
    pub fn plain(socket: Socket<S>, stage: Stage) -> Conn<S, Stage> {
        Conn {
            socket,
            tunnel: None,
            deadline: Deadline::default(),
            queued: false,
            permit: None,
            written_when_charged: 0,
            stage,
        }
    }

    /// A tunnel connection.
    pub fn tunnel(socket: Socket<S>, channel: Channel, side: Side, stage: Stage) -> Conn<S, Stage> {
        let tunnel = Some(Box::new(Tunnel::new(channel, side)));
        Conn { tunnel, ..Conn::plain(socket, stage) }
    }

    /// The same, with its place in the house.
    pub fn admitted(mut self, permit: Permit) -> Conn<S, Stage> {
        self.permit = Some(permit);
        self
    }

    /// Bytes of memory for what waits here: for the peer to take it, or to be whole.
    pub fn held(&self) -> usize {
        let unopened = self.tunnel.as_ref().map_or(0, |it| it.inbox.len() + it.unread.len());
        self.socket.footprint() + unopened
    }

    /// The same, which has to get through a proxy first.
    pub fn through(mut self, passage: Passage) -> Conn<S, Stage> {
        if let Some(tunnel) = &mut self.tunnel {
            tunnel.passage = Some(Box::new(passage));
        }
        self
    }

    /// Why it ends when nothing comes in time.
    pub fn silence(&self) -> Gone {
        match &self.tunnel {
            Some(tunnel) if tunnel.passage.is_some() => Gone::Proxy(passage::Reject::Silent),
            _ => Gone::Io(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Of a link: who uses it.
    pub fn lease(&self) -> Option<&Lease> {
        self.tunnel.as_ref().map(|tunnel| tunnel.codec.lease())
    }

    /// Takes one batch in: data to the front of `scratch.clear`, and what ended it.
    pub fn pull<N: Net<Stream = S>>(&mut self, io: &mut Io<N>) -> Result<Pulled, Gone> {
        match &mut self.tunnel {
            Some(tunnel) => tunnel.pull(&mut self.socket, io),
            None => {
                let room = &mut io.scratch.clear[..BATCH];
                self.socket.receive(&mut io.net, room).map(Pulled::plain).map_err(Gone::Io)
            }
        }
    }

    /// Writes what waits, on a tunnel connection whose peer has nothing to say: what comes is its
    /// end, or a message that does not belong here. Never done.
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

    /// Whether bytes can lie on it as the other end of a relay has them: with nothing around them,
    /// or as raw runs.
    pub fn is_raw(&self) -> bool {
        self.tunnel.as_ref().is_none_or(|tunnel| tunnel.codec.is_raw())
    }

    /// As [`Conn::pull`] between two that are raw: at least `worth` bytes at once stay in the net's
    /// pipe. [`Conn::push_piped`] is next then.
    pub fn draw<N: Net<Stream = S>>(
        &mut self,
        io: &mut Io<N>,
        worth: usize,
    ) -> Result<Pulled, Gone> {
        match &mut self.tunnel {
            Some(tunnel) => tunnel.draw(&mut self.socket, io, worth),
            None if !self.socket.is_busy(worth) => self.pull(io),
            None => match self.socket.receive_piped(&mut io.net, SPLICE).map_err(Gone::Io)? {
                Received::End => self.pull(io),
                received => {
                    let pulled = Pulled::plain(received);
                    Ok(Pulled { piped: pulled.data > 0, ..pulled })
                }
            },
        }
    }

    /// Sends the `length` bytes that [`Conn::draw`] has left in the net's pipe; on a link, a run.
    pub fn push_piped<N: Net<Stream = S>>(
        &mut self,
        io: &mut Io<N>,
        length: usize,
    ) -> Result<(), Gone> {
        let Io { net, scratch, buffers } = io;
        let header = frame::run_header(length);
        let is_run = self.tunnel.as_ref().is_some_and(|tunnel| !tunnel.codec.is_clear_stream());
        let head = if is_run { &header[..] } else { &[] };
        let sent = self.socket.send_piped(net, buffers, &mut scratch.wire, head, length);
        sent.map_err(Gone::Io)
    }

    /// How the peer of a tunnel connection speaks.
    pub fn dialect(&self) -> Option<Dialect> {
        self.tunnel.as_ref().map(|tunnel| tunnel.codec.dialect())
    }

    /// rathole's dialect: the next `LENGTH` bytes, once all are here; what follows them stays.
    pub fn take<const LENGTH: usize, N: Net<Stream = S>>(
        &mut self,
        io: &mut Io<N>,
    ) -> Result<Turn<[u8; LENGTH]>, Gone> {
        let Some(tunnel) = &mut self.tunnel else { return Err(Gone::Unexpected) };
        for _ in 0..READS {
            if let Some(taken) = tunnel.unread.first_chunk::<LENGTH>().copied() {
                io.buffers.take_front(&mut tunnel.unread, LENGTH);
                return Ok(Turn::Done(taken));
            }
            let pulled = tunnel.receive(&mut self.socket, io, None)?;
            io.buffers.append(&mut tunnel.unread, &io.scratch.clear[..pulled.data]);
            match pulled.end {
                None if pulled.moved => {}
                None => return Ok(Turn::Waiting),
                Some(_) => return Err(Gone::Closed),
            }
        }
        Ok(Turn::More)
    }

    /// rathole's dialect: the first `length` bytes of `scratch.clear` were pulled and are still to
    /// be taken.
    pub fn put_back<N>(&mut self, io: &mut Io<N>, length: usize) {
        if let Some(tunnel) = &mut self.tunnel {
            debug_assert!(tunnel.unread.is_empty());
            io.buffers.append(&mut tunnel.unread, &io.scratch.clear[..length]);
        }
    }

    /// rathole's dialect: whether bytes are here that nobody has taken.
    pub fn has_unread(&self) -> bool {
        self.tunnel.as_ref().is_some_and(|tunnel| !tunnel.unread.is_empty())
    }

    /// Sends the first `length` bytes of `scratch.clear`; on a link, as DATA.
    pub fn push<N: Net<Stream = S>>(&mut self, io: &mut Io<N>, length: usize) -> Result<(), Gone> {
        let Io { net, scratch, buffers } = io;
        let sent = match &mut self.tunnel {
            None => self.socket.send(net, buffers, &scratch.clear[..length]),
            Some(tunnel) if tunnel.codec.is_clear_stream() => {
                self.socket.send(net, buffers, &scratch.clear[..length])
            }
            Some(tunnel) => {
                let Scratch { clear, wire, .. } = &mut *scratch;
                let sealed = tunnel.codec.wrap(clear, length, wire)?;
                self.socket.send(net, buffers, &scratch.wire[..sealed])
            }
        };
        sent.map_err(Gone::Io)
    }

    /// Ends our direction: FIN behind what was pushed.
    pub fn finish<N: Net<Stream = S>>(&mut self, io: &mut Io<N>) -> Result<(), Gone> {
        match &mut self.tunnel {
            None => {
                self.socket.finish(&mut io.net);
                Ok(())
            }
            Some(tunnel) => {
                let tell = tunnel.codec.finish();
                self.tell(io, tell)
            }
        }
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

    /// Writes what waits; whether anything moved.
    pub fn flush<N: Net<Stream = S>>(&mut self, io: &mut Io<N>) -> Result<bool, Gone> {
        self.socket.flush(&mut io.net, &mut io.buffers).map_err(Gone::Io)
    }

    /// Sends a native message on a tunnel connection.
    pub fn say<N: Net<Stream = S>>(
        &mut self,
        io: &mut Io<N>,
        message: &Message<'_>,
    ) -> Result<(), Gone> {
        let Io { net, scratch, buffers } = io;
        let Some(tunnel) = &mut self.tunnel else { return Err(Gone::Unexpected) };
        let sealed = tunnel.codec.seal(message, &mut scratch.message, &mut scratch.wire)?;
        self.socket.send(net, buffers, &scratch.wire[..sealed]).map_err(Gone::Io)
    }

    /// Says RESET if there is anybody left to tell. rathole's dialect has no word for it: the next
    /// pull fails, and whoever closes the connection aborts it.
    pub fn say_reset<N: Net<Stream = S>>(
        &mut self,
        io: &mut Io<N>,
        reason: Reason,
    ) -> Result<(), Gone> {
        let Some(tunnel) = &mut self.tunnel else { return Err(Gone::Unexpected) };
        let tell = tunnel.codec.reset(reason);
        self.tell(io, tell)
    }

    /// Server, before [`Conn::shake_hands`]: done once that has a message to read. Whether it then
    /// agrees on keys, which is the one thing that a stranger can make the server pay dearly for:
    /// nothing has been computed so far.
    pub fn await_hands<N: Net<Stream = S>>(&mut self, io: &mut Io<N>) -> Result<Turn<bool>, Gone> {
        let Some(tunnel) = &mut self.tunnel else { return Err(Gone::Unexpected) };
        tunnel.await_hands(&mut self.socket, io)
    }

    /// A handshake's next steps: reads a message if one is whole, and answers it. Done once nothing
    /// of the handshake is left to read; messages may follow.
    pub fn shake_hands<N: Net<Stream = S>>(
        &mut self,
        io: &mut Io<N>,
    ) -> Result<Turn<HandshakeHash>, Gone> {
        let Some(tunnel) = &mut self.tunnel else { return Err(Gone::Unexpected) };
        tunnel.shake_hands(&mut self.socket, io)
    }

    /// Client: both directions of the lease have ended; says that the link is free.
    pub fn say_ready<N: Net<Stream = S>>(&mut self, io: &mut Io<N>) -> Result<(), Gone> {
        let Some(tunnel) = &mut self.tunnel else { return Err(Gone::Unexpected) };
        let ready = tunnel.codec.ready();
        self.say(io, &ready)
    }

    /// Closes; what was handed to the network is delivered.
    pub fn close<N>(self, io: &mut Io<N>) {
        if let Some(mut tunnel) = self.tunnel {
            io.buffers.give_back(&mut tunnel.inbox);
            io.buffers.give_back(&mut tunnel.unread);
        }
        self.socket.close(&mut io.buffers);
    }

    /// Closes with a reset.
    pub fn abort<N: Net<Stream = S>>(self, io: &mut Io<N>) {
        if let Some(mut tunnel) = self.tunnel {
            io.buffers.give_back(&mut tunnel.inbox);
            io.buffers.give_back(&mut tunnel.unread);
        }
        self.socket.abort(&mut io.net, &mut io.buffers);
    }
}
