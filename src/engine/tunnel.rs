//! What lies around the bytes of a tunnel connection: a proxy to get through, keys, frames, and
//! whose turn the link is.
//!
//! A tunnel connection speaks one of two dialects: the native protocol, messages in frames, or
//! rathole's, a byte stream whose end of file is TCP's and whose reset is the connection's own.

use std::ops::Range;

use super::buffers::{BATCH, DATA_PER_FRAME, Scratch};
use super::conn::Io;
use super::gone::Gone;
use super::net::Net;
use super::socket::{Received, Socket};
use crate::proto::lease::{self, Heard, Lease};
use crate::proto::noise::{self, Channel, Side};
use crate::proto::passage::{self, Passage};
use crate::wire::Status;
use crate::wire::frame;
use crate::wire::message::{Message, Reason, kind};
use crate::wire::rathole;

/// What lies around a tunnel connection's bytes.
pub struct Tunnel {
    /// The way through a proxy, until it is open; all else comes after.
    pub(super) passage: Option<Box<Passage>>,
    /// Keys, or the way to them.
    pub channel: Channel,
    /// Of a link: who uses it.
    pub lease: Lease,
    pub(super) dialect: Dialect,
    /// Which end of the link we are: the client says READY, the server hears it.
    pub(super) side: Side,
    /// Received and not yet opened: less than a frame, or what lay behind a message.
    pub(super) inbox: Vec<u8>,
    /// rathole's dialect: opened and not yet taken.
    pub(super) unread: Vec<u8>,
    /// The longest body that may come.
    pub(super) max_body: usize,
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

/// What [`Tunnel::fill`] found.
pub(super) enum Filled {
    /// Bytes up to here.
    To(usize),
    /// Nothing new.
    Nothing,
    /// The connection's end, behind whole frames.
    End,
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

    /// Goes on through the proxy, if there is one; whether the way is open.
    pub(super) fn pass<S, N: Net<Stream = S>>(
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

    pub(super) fn pull<S, N: Net<Stream = S>>(
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
    pub(super) fn pull_stream<S, N: Net<Stream = S>>(
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
    pub(super) fn release_if_ended(&mut self) {
        if self.lease.has_ended() && !self.lease.is_over() {
            self.lease.say_ready();
        }
    }

    pub(super) fn is_clear_stream(&self) -> bool {
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
    pub(super) fn fill<S, N: Net<Stream = S>>(
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
    pub(super) fn keep<N>(&mut self, io: &mut Io<N>, rest: Range<usize>) {
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
    pub(super) fn seal_data(
        &mut self,
        scratch: &mut Scratch,
        length: usize,
    ) -> Result<usize, Gone> {
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
