//! One connection: a socket, what lies around its bytes (nothing, or the tunnel's frames), its
//! deadline, and its stage. The two ends of a relay are both such, so the copy loop is one.
//!
//! A tunnel connection speaks one of two dialects: the native protocol, messages in frames, or
//! rathole's, a byte stream whose end of file is TCP's and whose reset is the connection's own.

use std::fmt;
use std::io;
use std::ops::Range;

use super::buffers::{BATCH, Buffers, DATA_PER_FRAME, Scratch};
use super::net::Net;
use super::socket::{Received, Socket};
use super::timers::Deadline;
use crate::proto::lease::{self, Heard, Lease};
use crate::proto::noise::{self, Channel, Side};
use crate::proto::passage::{self, Passage};
use crate::wire::Status;
use crate::wire::datagram;
use crate::wire::frame;
use crate::wire::message::{self, Message, Reason, kind};
use crate::wire::rathole;

/// What every step of a connection needs beside the connection.
pub struct Io<N> {
    /// The sockets and the clock.
    pub net: N,
    /// The thread's scratch.
    pub scratch: Scratch,
    /// Memory for those who wait.
    pub buffers: Buffers,
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
    /// What it is.
    pub stage: Stage,
}

/// What lies around a tunnel connection's bytes.
pub struct Tunnel {
    /// The way through a proxy, until it is open; all else comes after.
    passage: Option<Box<Passage>>,
    /// Keys, or the way to them.
    pub channel: Channel,
    /// Of a link: who uses it.
    pub lease: Lease,
    dialect: Dialect,
    /// Which end of the link we are: the client says READY, the server hears it.
    side: Side,
    /// Received and not yet opened: less than a frame, or what lay behind a message.
    inbox: Vec<u8>,
    /// rathole's dialect: opened and not yet taken.
    unread: Vec<u8>,
    /// The longest body that may come.
    max_body: usize,
}

/// How the peer speaks inside the encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The server learns it by the first message.
    Unknown,
    /// Messages in frames, each with its kind.
    Native,
    /// A byte stream: over Noise frames without a kind, over `tcp` no frames at all.
    Rathole,
}

/// Why a connection ends.
#[derive(Debug)]
pub enum Gone {
    /// The peer closed it.
    Closed,
    /// The network broke it.
    Io(io::Error),
    /// There is no way through the proxy.
    Proxy(passage::Reject),
    /// A frame that may not be.
    Frame(frame::Reject),
    /// A message that the keys do not open.
    Noise(noise::Reject),
    /// A message that may not be.
    Message(message::Reject),
    /// A message of rathole's that may not be.
    Rathole(rathole::Reject),
    /// A rathole server's refusal of a service.
    Refused(rathole::Ack),
    /// The server speaks rathole's protocol, and we ours.
    OtherProtocol,
    /// A record on a UDP link that may not be.
    Datagram(datagram::Reject),
    /// A message out of turn.
    Lease(lease::Reject),
    /// A message that does not belong here.
    Unexpected,
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gone::Closed => f.write_str("the peer has closed the connection"),
            Gone::Io(error) => error.fmt(f),
            Gone::Proxy(reject) => reject.fmt(f),
            Gone::Frame(frame::Reject::Empty) => f.write_str("an empty frame"),
            Gone::Frame(frame::Reject::TooLong) => f.write_str("a frame that is too long"),
            Gone::Noise(noise::Reject::Handshake) => {
                f.write_str("the Noise handshake failed: other keys, or another pattern")
            }
            Gone::Noise(noise::Reject::PeerKey) => {
                f.write_str("the peer's key is not remote_public_key")
            }
            Gone::Noise(noise::Reject::Decrypt) => f.write_str("a message that does not decrypt"),
            Gone::Noise(noise::Reject::Empty) => f.write_str("an empty message"),
            Gone::Message(reject) => write!(f, "a message that may not be ({reject:?})"),
            Gone::Rathole(reject) => write!(f, "a rathole message that may not be ({reject:?})"),
            Gone::Refused(rathole::Ack::NoSuchService) => {
                f.write_str("the server's file has no service of that name")
            }
            Gone::Refused(_) => f.write_str("the server's file has another token"),
            Gone::OtherProtocol => f.write_str(
                "it speaks rathole's protocol: set protocol = \"rathole\" in [client], or run \
                 underpass there",
            ),
            Gone::Datagram(reject) => write!(f, "a datagram that may not be ({reject:?})"),
            Gone::Lease(reject) => write!(f, "a message out of turn ({reject:?})"),
            Gone::Unexpected => f.write_str("a message that does not belong here"),
        }
    }
}

/// What a pull gave.
#[derive(Debug, Default)]
pub struct Pulled {
    /// Bytes at the front of `scratch.clear` for the other end of the relay.
    pub data: usize,
    /// What came behind them.
    pub end: Option<End>,
    /// Something was read or opened, if only a part of a frame.
    pub moved: bool,
}

/// What ends a run of data.
#[derive(Debug)]
pub enum End {
    /// End of file, or FIN.
    Fin,
    /// RESET of the lease in force.
    Reset(Reason),
    /// Another message: its kind, and where its payload lies in `scratch.clear`.
    Message(u8, Range<usize>),
}

impl Tunnel {
    /// A tunnel connection before its first byte.
    pub fn new(channel: Channel, side: Side) -> Tunnel {
        let dialect = match side {
            Side::Initiator => Dialect::Native,
            Side::Responder => Dialect::Unknown,
        };
        let (inbox, unread) = (Vec::new(), Vec::new());
        let max_body = noise::MAX_HANDSHAKE_MESSAGE;
        let passage = None;
        Tunnel { passage, channel, lease: Lease::none(), dialect, side, inbox, unread, max_body }
    }

    /// Client: speaks rathole's dialect from the first message on.
    pub fn speak_rathole(&mut self) {
        self.dialect = Dialect::Rathole;
    }

    /// From now on bodies of up to `max` bytes may come.
    pub fn allow(&mut self, max: usize) {
        self.max_body = max;
    }
}

impl<S, Stage> Conn<S, Stage> {
    /// A plain connection.
    pub fn plain(socket: Socket<S>, stage: Stage) -> Conn<S, Stage> {
        Conn { socket, tunnel: None, deadline: Deadline::default(), queued: false, stage }
    }

    /// A tunnel connection.
    pub fn tunnel(socket: Socket<S>, channel: Channel, side: Side, stage: Stage) -> Conn<S, Stage> {
        let tunnel = Some(Box::new(Tunnel::new(channel, side)));
        Conn { tunnel, ..Conn::plain(socket, stage) }
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
        self.tunnel.as_ref().map(|tunnel| &tunnel.lease)
    }

    /// Takes one batch in: data to the front of `scratch.clear`, and what ended it.
    pub fn pull<N: Net<Stream = S>>(&mut self, io: &mut Io<N>) -> Result<Pulled, Gone> {
        match &mut self.tunnel {
            Some(tunnel) => tunnel.pull(&mut self.socket, io),
            None => match self.socket.receive(&mut io.net, &mut io.scratch.clear[..BATCH]) {
                Ok(Received::Bytes(data)) => Ok(Pulled { data, end: None, moved: true }),
                Ok(Received::End) => Ok(Pulled { data: 0, end: Some(End::Fin), moved: true }),
                Ok(Received::Blocked) => Ok(Pulled::default()),
                Err(error) => Err(Gone::Io(error)),
            },
        }
    }

    /// How the peer of a tunnel connection speaks.
    pub fn dialect(&self) -> Option<Dialect> {
        self.tunnel.as_ref().map(|tunnel| tunnel.dialect)
    }

    /// rathole's dialect: the next `LENGTH` bytes, once all are here; what follows them stays.
    pub fn take<const LENGTH: usize, N: Net<Stream = S>>(
        &mut self,
        io: &mut Io<N>,
    ) -> Result<Option<[u8; LENGTH]>, Gone> {
        let Some(tunnel) = &mut self.tunnel else { return Err(Gone::Unexpected) };
        loop {
            if let Some(taken) = tunnel.unread.first_chunk::<LENGTH>().copied() {
                io.buffers.take_front(&mut tunnel.unread, LENGTH);
                return Ok(Some(taken));
            }
            let pulled = tunnel.pull_stream(&mut self.socket, io)?;
            io.buffers.append(&mut tunnel.unread, &io.scratch.clear[..pulled.data]);
            match pulled.end {
                None if pulled.moved => {}
                None => return Ok(None),
                Some(_) => return Err(Gone::Closed),
            }
        }
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
            Some(tunnel) if tunnel.is_clear_stream() => {
                self.socket.send(net, buffers, &scratch.clear[..length])
            }
            Some(tunnel) => {
                let sealed = tunnel.seal_data(scratch, length)?;
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
                tunnel.lease.say_fin();
                if tunnel.dialect == Dialect::Rathole {
                    self.socket.finish(&mut io.net);
                    tunnel.release_if_ended();
                    return Ok(());
                }
                if tunnel.side == Side::Initiator && tunnel.lease.has_ended() {
                    // READY follows as soon as the link is settled, and says it too.
                    return Ok(());
                }
                self.say(io, &Message::Fin)
            }
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
        debug_assert_ne!(tunnel.dialect, Dialect::Rathole);
        scratch.message.clear();
        message.encode(&mut scratch.message);
        let sealed =
            tunnel.channel.seal(&scratch.message, &mut scratch.wire).map_err(Gone::Noise)?;
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
        let lease = tunnel.lease.number();
        if tunnel.lease.say_reset() && tunnel.dialect != Dialect::Rathole {
            self.say(io, &Message::Reset { lease, reason })?;
        }
        Ok(())
    }

    /// A handshake's next step: reads a message if one is whole, and answers it. `true` once
    /// nothing of the handshake is left to read.
    pub fn shake_hands<N: Net<Stream = S>>(&mut self, io: &mut Io<N>) -> Result<Hands, Gone> {
        let Some(tunnel) = &mut self.tunnel else { return Err(Gone::Unexpected) };
        if !tunnel.pass(&mut self.socket, io)? {
            return Ok(Hands::Waiting);
        }
        loop {
            io.scratch.message.clear();
            tunnel.channel.write_handshake(&mut io.scratch.message).map_err(Gone::Noise)?;
            self.socket
                .send(&mut io.net, &mut io.buffers, &io.scratch.message)
                .map_err(Gone::Io)?;
            if let Some(hash) = tunnel.channel.established().map_err(Gone::Noise)? {
                return Ok(Hands::Shaken(hash));
            }
            let filled = match tunnel.fill(&mut self.socket, io)? {
                Filled::To(filled) => filled,
                Filled::Nothing => return Ok(Hands::Waiting),
                Filled::End => return Err(Gone::Closed),
            };
            let wire = &io.scratch.wire[..filled];
            match frame::first(wire, tunnel.max_body).map_err(Gone::Frame)? {
                Status::Partial => tunnel.keep(io, 0..filled),
                Status::Complete((body, taken)) => {
                    tunnel.channel.read_handshake(body).map_err(Gone::Noise)?;
                    tunnel.keep(io, taken..filled);
                }
            }
        }
    }

    /// Client: both directions of the lease have ended; says that the link is free.
    pub fn say_ready<N: Net<Stream = S>>(&mut self, io: &mut Io<N>) -> Result<(), Gone> {
        let Some(tunnel) = &mut self.tunnel else { return Err(Gone::Unexpected) };
        tunnel.lease.say_ready();
        self.say(io, &Message::Ready)
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

/// How far a handshake is.
pub enum Hands {
    /// The peer's next message is not here yet.
    Waiting,
    /// Done; messages may follow.
    Shaken(noise::HandshakeHash),
}

/// What [`Tunnel::fill`] found.
enum Filled {
    /// Bytes up to here.
    To(usize),
    /// Nothing new.
    Nothing,
    /// The connection's end, behind whole frames.
    End,
}

impl Tunnel {
    /// Goes on through the proxy, if there is one; whether the way is open.
    fn pass<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
    ) -> Result<bool, Gone> {
        while let Some(passage) = &mut self.passage {
            let said = passage.poll_send();
            socket.send(&mut io.net, &mut io.buffers, &said).map_err(Gone::Io)?;
            match socket.receive(&mut io.net, &mut io.scratch.wire) {
                Ok(Received::Bytes(read)) => {
                    if passage.handle(&io.scratch.wire[..read]).map_err(Gone::Proxy)? {
                        self.passage = None;
                    }
                }
                Ok(Received::Blocked) => return Ok(false),
                Ok(Received::End) | Err(_) => return Err(Gone::Proxy(passage::Reject::Closed)),
            }
        }
        Ok(true)
    }

    fn pull<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
    ) -> Result<Pulled, Gone> {
        if self.dialect == Dialect::Unknown
            && matches!(self.channel, Channel::Clear)
            && !self.hear_dialect(socket, io)?
        {
            return Ok(Pulled::default());
        }
        if !self.unread.is_empty() {
            let data = self.unread.len();
            io.scratch.clear[..data].copy_from_slice(&self.unread);
            io.buffers.give_back(&mut self.unread);
            return Ok(Pulled { data, end: None, moved: true });
        }
        match self.dialect {
            Dialect::Rathole => self.pull_stream(socket, io),
            Dialect::Native | Dialect::Unknown => self.pull_frames(socket, io),
        }
    }

    /// Without encryption the connection's first bytes tell the dialect; whether they are here.
    fn hear_dialect<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
    ) -> Result<bool, Gone> {
        loop {
            match rathole::is_hello(&self.inbox) {
                Status::Partial => {}
                Status::Complete(false) => self.dialect = Dialect::Native,
                Status::Complete(true) => {
                    self.dialect = Dialect::Rathole;
                    self.unread = std::mem::take(&mut self.inbox);
                }
            }
            if self.dialect != Dialect::Unknown {
                return Ok(true);
            }
            let mut tag = [0; rathole::TAG];
            let room = &mut tag[self.inbox.len()..];
            match socket.receive(&mut io.net, room).map_err(Gone::Io)? {
                Received::Bytes(read) => io.buffers.append(&mut self.inbox, &room[..read]),
                Received::Blocked => return Ok(false),
                Received::End => return Err(Gone::Closed),
            }
        }
    }

    /// rathole's dialect.
    fn pull_stream<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
    ) -> Result<Pulled, Gone> {
        if self.lease.said() == lease::End::Reset {
            return Err(Gone::Closed);
        }
        if !self.is_clear_stream() {
            return self.pull_frames(socket, io);
        }
        let room = &mut io.scratch.clear[..BATCH];
        match socket.receive(&mut io.net, room).map_err(Gone::Io)? {
            Received::Bytes(data) => Ok(Pulled { data, end: None, moved: true }),
            Received::Blocked => Ok(Pulled::default()),
            Received::End => self.hear_end_of_file(),
        }
    }

    /// ```text
    /// scratch.wire   | inbox | read now ......................|
    ///                | frame | frame | frame | cut frame      |   the rest goes back to the inbox
    /// scratch.clear  | data         kind|
    ///                        | data        kind|                  each over the kind before it
    ///                                | message kind|
    /// ```
    /// In rathole's dialect there are no kinds: all is data.
    fn pull_frames<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
    ) -> Result<Pulled, Gone> {
        let filled = match self.fill(socket, io)? {
            Filled::To(filled) => filled,
            Filled::Nothing => return Ok(Pulled::default()),
            Filled::End => return self.hear_end_of_file(),
        };
        let mut pulled = Pulled { moved: true, ..Pulled::default() };
        let mut at = 0;
        while pulled.end.is_none() {
            let wire = &io.scratch.wire[at..filled];
            let Status::Complete((body, taken)) =
                frame::first(wire, self.max_body).map_err(Gone::Frame)?
            else {
                break;
            };
            let clear = &mut io.scratch.clear[pulled.data..];
            let length = self.channel.open(body, clear).map_err(Gone::Noise)?;
            at += taken;
            if self.dialect == Dialect::Unknown {
                self.dialect = match rathole::is_hello(&clear[..length]) {
                    Status::Complete(true) => Dialect::Rathole,
                    _ => Dialect::Native,
                };
            }
            if self.dialect == Dialect::Rathole {
                pulled.data += length;
                continue;
            }
            let kind = clear[length - 1];
            let payload = pulled.data..pulled.data + length - 1;
            pulled.end = match kind {
                kind::DATA => {
                    if self.lease.hear_data(payload.len()).map_err(Gone::Lease)? {
                        pulled.data = payload.end;
                    }
                    None
                }
                kind::FIN => {
                    self.lease.hear_fin().map_err(Gone::Lease)?;
                    Some(End::Fin)
                }
                kind::RESET => self.hear_reset(&io.scratch.clear[payload])?,
                kind::READY if self.side == Side::Responder => {
                    self.lease.hear_ready().map_err(Gone::Lease)?.then_some(End::Fin)
                }
                kind => Some(End::Message(kind, payload)),
            };
        }
        self.keep(io, at..filled);
        Ok(pulled)
    }

    /// TCP's end of file: a FIN where a rathole channel is lent, else the connection's end.
    fn hear_end_of_file(&mut self) -> Result<Pulled, Gone> {
        if self.dialect != Dialect::Rathole || self.lease.heard() != lease::End::Open {
            return Err(Gone::Closed);
        }
        self.lease.hear_fin().map_err(Gone::Lease)?;
        self.release_if_ended();
        Ok(Pulled { data: 0, end: Some(End::Fin), moved: true })
    }

    /// A rathole channel is lent once: when both directions have ended, nothing is to come.
    fn release_if_ended(&mut self) {
        if self.lease.has_ended() && !self.lease.is_over() {
            self.lease.say_ready();
        }
    }

    fn is_clear_stream(&self) -> bool {
        self.dialect == Dialect::Rathole && matches!(self.channel, Channel::Clear)
    }

    fn hear_reset(&mut self, payload: &[u8]) -> Result<Option<End>, Gone> {
        let message = Message::decode(kind::RESET, payload).map_err(Gone::Message)?;
        let Message::Reset { lease, reason } = message else { return Ok(None) };
        Ok(match self.lease.hear_reset(lease).map_err(Gone::Lease)? {
            Heard::Stale => None,
            Heard::Broken => Some(End::Reset(reason)),
        })
    }

    /// Brings the inbox to the front of `scratch.wire`, and what the socket has behind it unless
    /// the inbox holds a whole frame already. An end inside a frame is an error.
    fn fill<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
    ) -> Result<Filled, Gone> {
        let kept = self.inbox.len();
        let whole = frame::first(&self.inbox, self.max_body).map_err(Gone::Frame)?;
        if whole == Status::Partial && !socket.is_readable() {
            return Ok(Filled::Nothing);
        }
        io.scratch.wire[..kept].copy_from_slice(&self.inbox);
        let read = match whole {
            Status::Complete(_) => 0,
            Status::Partial => {
                let room = &mut io.scratch.wire[kept..];
                match socket.receive(&mut io.net, room).map_err(Gone::Io)? {
                    Received::Bytes(read) => read,
                    Received::Blocked => return Ok(Filled::Nothing),
                    Received::End if kept == 0 => return Ok(Filled::End),
                    Received::End => return Err(Gone::Closed),
                }
            }
        };
        Ok(Filled::To(kept + read))
    }

    /// Keeps what has not been opened.
    fn keep<N>(&mut self, io: &mut Io<N>, rest: Range<usize>) {
        let Io { scratch, buffers, .. } = io;
        if rest.is_empty() {
            buffers.give_back(&mut self.inbox);
        } else {
            if self.inbox.is_empty() {
                buffers.append(&mut self.inbox, &scratch.wire[rest]);
            } else {
                self.inbox.clear();
                self.inbox.extend_from_slice(&scratch.wire[rest]);
            }
        }
    }

    /// Whether a frame can be opened without reading.
    pub fn has_whole_frame(&self) -> bool {
        !matches!(frame::first(&self.inbox, self.max_body), Ok(Status::Partial))
    }

    /// Seals the first `length` bytes of `scratch.clear` into `scratch.wire`: as DATA frames, or in
    /// rathole's dialect as frames without a kind.
    fn seal_data(&mut self, scratch: &mut Scratch, length: usize) -> Result<usize, Gone> {
        let mut sealed = 0;
        let mut start = 0;
        while start < length {
            let end = length.min(start + DATA_PER_FRAME);
            let out = &mut scratch.wire[sealed..];
            let result = if self.dialect == Dialect::Rathole {
                self.channel.seal(&scratch.clear[start..end], out)
            } else {
                // The kind goes where the next frame's first byte is, for as long as it takes.
                let borrowed = std::mem::replace(&mut scratch.clear[end], kind::DATA);
                let result = self.channel.seal(&scratch.clear[start..=end], out);
                scratch.clear[end] = borrowed;
                result
            };
            sealed += result.map_err(Gone::Noise)?;
            start = end;
        }
        Ok(sealed)
    }
}
