//! The codec of a tunnel connection: what lies around its bytes once a socket has read them. Bytes
//! go in, data and events come out; no sockets, and no memory but the caller's.
//!
//! ```text
//!   Awaiting, Handshaking --keys--> frames of one of two dialects:
//!   native    DATA, FIN, RESET, READY and other messages; between the frames raw runs, if the
//!             lease has them
//!   rathole   a byte stream: over Noise in frames without a kind, over `tcp` as it is; its end of
//!             file is TCP's, its reset the connection's own
//! ```
//!
//! [`handshake`](Codec::shake) is the way to the keys, [`frames`](Codec::open) opens and seals,
//! [`runs`](Codec::expects) has the bytes that need no opening. As in [`crate::wire`], what is not
//! taken is given again with more behind it: whoever owns the codec keeps the cut frame.

mod frames;
mod handshake;
mod runs;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub use self::frames::DATA_PER_FRAME;
pub use self::runs::Expects;
use self::runs::Runs;
use super::lease::{self, Heard, Lease, LeaseEnd};
use super::noise::{self, Channel, Side};
use crate::wire::message::{self, Entry, Message, Open, Reason, kind};
use crate::wire::{frame, rathole};

/// What lies around the bytes of one connection.
pub struct Codec {
    /// Keys, or the way to them.
    channel: Channel,
    /// Which end of the tunnel we are: the client says READY, the server hears it.
    side: Side,
    dialect: Dialect,
    /// Of a link: who uses it.
    lease: Lease,
    runs: Runs,
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

/// What bytes have come to.
#[derive(Debug, Default)]
pub struct Opened {
    /// Bytes at the front of `clear` for the other end of the relay.
    pub data: usize,
    /// What came behind them; nothing behind that has been looked at.
    pub end: Option<Event>,
    /// Bytes that were taken. The others are to be given again, with what follows them.
    pub taken: usize,
}

/// What ends a run of data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// End of file, or FIN.
    Fin,
    /// RESET of the lease in force.
    Reset(Reason),
    /// Another message: its kind, and where its payload lies in `clear`.
    Message(u8, Range<usize>),
}

/// How an end of ours is told.
#[derive(Debug, PartialEq, Eq)]
pub enum Tell {
    /// By a message.
    Message(Message<'static>),
    /// By TCP's own end of file.
    EndOfFile,
    /// Not at all: there is nobody left to tell, or no word for it, or a word that follows says it.
    Nothing,
}

/// What the peer may not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// A frame that may not be.
    Frame(frame::Reject),
    /// A message that the keys do not open.
    Noise(noise::Reject),
    /// A message that may not be.
    Message(message::Reject),
    /// A message out of turn.
    Lease(lease::Reject),
    /// A message that does not belong here.
    Unexpected,
    /// An end of file that ends nothing in order.
    Closed,
}

impl Codec {
    /// Of a connection before its first byte.
    pub fn new(channel: Channel, side: Side) -> Codec {
        let dialect = match side {
            Side::Initiator => Dialect::Native,
            Side::Responder => Dialect::Unknown,
        };
        Codec {
            channel,
            side,
            dialect,
            lease: Lease::none(),
            runs: Runs::default(),
            max_body: noise::MAX_HANDSHAKE_MESSAGE,
        }
    }

    /// Client: speaks rathole's dialect from the first message on.
    pub fn speak_rathole(&mut self) {
        self.dialect = Dialect::Rathole;
    }

    /// How the peer speaks.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Of a link: who uses it.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// From now on bodies of up to `max` bytes may come.
    pub fn allow(&mut self, max: usize) {
        self.max_body = max;
    }

    /// Server: lends the link to a visitor. The lease's number, and whether its DATA is raw: where
    /// nothing is sealed anyway, and where that is `wished` for what is TLS itself.
    pub fn lend(&mut self, entry: Entry, wished: bool) -> (u32, bool) {
        let is_raw = match self.channel {
            Channel::Clear => entry != Entry::Udp,
            _ => wished && entry == Entry::Https,
        };
        self.runs = Runs::of_lease(is_raw);
        (self.lease.open_next(), is_raw)
    }

    /// Server: OPEN asks whether what runs at home has taken the connection.
    pub fn ask_acceptance(&mut self) {
        self.lease.ask_acceptance();
    }

    /// Server: whether that has been said since this was asked last.
    pub fn take_acceptance(&mut self) -> bool {
        self.lease.take_acceptance()
    }

    /// Client: the server's OPEN, unless it would bare what nothing else protects.
    pub fn hear_open(&mut self, open: &Open<'_>) -> Result<(), Reject> {
        self.lease.hear_open(open.lease).map_err(Reject::Lease)?;
        let may_be_raw = open.entry == Entry::Https || matches!(self.channel, Channel::Clear);
        if open.raw && !may_be_raw {
            return Err(Reject::Unexpected);
        }
        self.runs = Runs::of_lease(open.raw);
        Ok(())
    }

    /// Either side of a rathole channel: lends it, once.
    pub fn lend_stream(&mut self) {
        self.lease.open_next();
    }

    /// Ends our direction.
    pub fn finish(&mut self) -> Tell {
        self.lease.say_fin();
        if self.dialect == Dialect::Rathole {
            self.release_if_ended();
            return Tell::EndOfFile;
        }
        // READY follows as soon as the link is settled, and says it too.
        let ready_follows = self.side == Side::Initiator && self.lease.has_ended();
        if ready_follows { Tell::Nothing } else { Tell::Message(Message::Fin) }
    }

    /// Breaks our direction. rathole's dialect has no word for it: nothing is heard from then on,
    /// and whoever closes the connection aborts it.
    pub fn reset(&mut self, reason: Reason) -> Tell {
        let lease = self.lease.number();
        match self.lease.say_reset() && self.dialect != Dialect::Rathole {
            true => Tell::Message(Message::Reset { lease, reason }),
            false => Tell::Nothing,
        }
    }

    /// Client: both directions of the lease have ended; the link is free.
    pub fn ready(&mut self) -> Message<'static> {
        self.lease.say_ready();
        Message::Ready
    }

    /// TCP's end of file, behind `kept` bytes that were not taken: a FIN where a rathole channel is
    /// lent, else the connection's end.
    pub fn hear_end_of_file(&mut self, kept: usize) -> Result<Event, Reject> {
        let is_fin = self.dialect == Dialect::Rathole && self.lease.heard() == LeaseEnd::Open;
        if !is_fin || kept > 0 {
            return Err(Reject::Closed);
        }
        self.lease.hear_fin().map_err(Reject::Lease)?;
        self.release_if_ended();
        Ok(Event::Fin)
    }

    /// A rathole channel is lent once: when both directions have ended, nothing is to come.
    fn release_if_ended(&mut self) {
        if self.lease.has_ended() && !self.lease.is_over() {
            self.lease.say_ready();
        }
    }

    fn hear_reset(&mut self, payload: &[u8]) -> Result<Option<Event>, Reject> {
        let message = Message::decode(kind::RESET, payload).map_err(Reject::Message)?;
        let Message::Reset { lease, reason } = message else { return Err(Reject::Unexpected) };
        Ok(match self.lease.hear_reset(lease).map_err(Reject::Lease)? {
            Heard::Stale => None,
            Heard::Broken => Some(Event::Reset(reason)),
        })
    }

    /// Without encryption the connection's first bytes tell the dialect.
    fn awaits_dialect(&self) -> bool {
        self.dialect == Dialect::Unknown && matches!(self.channel, Channel::Clear)
    }

    /// A first message tells the dialect.
    fn hear_dialect(&mut self, first: &[u8]) {
        self.dialect = match rathole::is_hello(first) {
            crate::wire::Status::Complete(true) => Dialect::Rathole,
            _ => Dialect::Native,
        };
    }
}
