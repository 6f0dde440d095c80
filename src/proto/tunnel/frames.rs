//! Frames, opened and sealed.

use super::{Codec, Dialect, Event, Opened, Reject};
use crate::proto::noise::Side;
use crate::wire::Status;
use crate::wire::frame::{self, Piece};
use crate::wire::message::{Message, kind};
use crate::wire::rathole;

/// DATA in one frame at most. Small enough that the receiver starts on a batch before all of it is
/// here and that a cut frame is cheap to carry over, large enough that the cipher's set-up is lost
/// in the noise.
pub const DATA_PER_FRAME: usize = 16 * 1024;

impl Codec {
    /// Opens what is whole in `wire`, up to an event. `clear` is as long as `wire`, and by the
    /// longest body that may come.
    ///
    /// ```text
    /// wire    | kept | read now ......................|
    ///         | frame | frame | frame | cut frame      |   not taken
    /// clear   | data         kind|
    ///                 | data        kind|                  each over the kind before it
    ///                         | message kind|
    /// ```
    /// In rathole's dialect there are no kinds: all is data. So is what is here of a raw run.
    pub fn open(&mut self, wire: &[u8], clear: &mut [u8]) -> Result<Opened, Reject> {
        let mut opened = Opened::default();
        if self.awaits_dialect() {
            if rathole::is_hello(wire) == Status::Partial {
                return Ok(opened);
            }
            self.hear_dialect(wire);
        }
        if self.is_clear_stream() {
            clear[..wire.len()].copy_from_slice(wire);
            return Ok(Opened { data: wire.len(), taken: wire.len(), end: None });
        }
        while opened.end.is_none() {
            let wire = &wire[opened.taken..];
            let clear = &mut clear[opened.data..];
            if self.runs.left > 0 && !wire.is_empty() {
                let length = self.runs.left.min(wire.len());
                clear[..length].copy_from_slice(&wire[..length]);
                opened.data += self.hear_data(length)?;
                opened.taken += length;
                continue;
            }
            let Status::Complete((piece, taken)) = self.next_piece(wire)? else { break };
            opened.taken += taken;
            match piece {
                Piece::Run(length) => self.runs.begin(length),
                Piece::Frame(body) => self.open_frame(body, clear, &mut opened)?,
            }
        }
        Ok(opened)
    }

    /// Opens one frame to the front of `clear`, which is where `opened`'s data end.
    fn open_frame(
        &mut self,
        body: &[u8],
        clear: &mut [u8],
        opened: &mut Opened,
    ) -> Result<(), Reject> {
        let length = self.channel.open(body, clear).map_err(Reject::Noise)?;
        if self.dialect == Dialect::Unknown {
            self.hear_dialect(&clear[..length]);
        }
        if self.dialect == Dialect::Rathole {
            opened.data += length;
            return Ok(());
        }
        let (payload, kind) = (&clear[..length - 1], clear[length - 1]);
        opened.end = match kind {
            kind::DATA => {
                if self.lease.hear_data(payload.len()).map_err(Reject::Lease)? {
                    opened.data += payload.len();
                }
                None
            }
            kind::FIN => {
                Message::decode(kind, payload).map_err(Reject::Message)?;
                self.lease.hear_fin().map_err(Reject::Lease)?;
                Some(Event::Fin)
            }
            kind::RESET => self.hear_reset(payload)?,
            kind::READY if self.side == Side::Responder => {
                Message::decode(kind, payload).map_err(Reject::Message)?;
                self.lease.hear_ready().map_err(Reject::Lease)?.then_some(Event::Fin)
            }
            kind::ACCEPTED if self.side == Side::Responder => {
                Message::decode(kind, payload).map_err(Reject::Message)?;
                self.lease.hear_accepted().map_err(Reject::Lease)?;
                None
            }
            kind => Some(Event::Message(kind, opened.data..opened.data + payload.len())),
        };
        Ok(())
    }

    /// Whether [`Codec::open`] would take something of `kept`, with nothing behind it.
    pub fn has_whole(&self, kept: &[u8]) -> Result<bool, Reject> {
        if self.awaits_dialect() {
            return Ok(rathole::is_hello(kept) != Status::Partial);
        }
        match self.runs.left {
            0 => Ok(self.next_piece(kept)? != Status::Partial),
            _ => Ok(!kept.is_empty()),
        }
    }

    fn next_piece<'a>(&self, bytes: &'a [u8]) -> Result<Status<(Piece<'a>, usize)>, Reject> {
        frame::next(bytes, self.max_body, self.runs.allowed).map_err(Reject::Frame)
    }

    /// Puts the first `length` bytes of `clear` to the front of `wire`: sealed, as DATA frames or
    /// in rathole's dialect as frames without a kind; or as a raw run. How many that makes. `clear`
    /// has a byte more, and `wire` room for what goes around every [`DATA_PER_FRAME`] bytes.
    pub fn wrap(
        &mut self,
        clear: &mut [u8],
        length: usize,
        wire: &mut [u8],
    ) -> Result<usize, Reject> {
        if self.runs.allowed {
            let (head, run) = wire.split_at_mut(frame::RUN_HEADER);
            head.copy_from_slice(&frame::run_header(length));
            run[..length].copy_from_slice(&clear[..length]);
            return Ok(frame::RUN_HEADER + length);
        }
        let mut sealed = 0;
        let mut start = 0;
        while start < length {
            let end = length.min(start + DATA_PER_FRAME);
            let out = &mut wire[sealed..];
            let result = if self.dialect == Dialect::Rathole {
                self.channel.seal(&clear[start..end], out)
            } else {
                // The kind goes where the next frame's first byte is, for as long as it takes.
                let borrowed = std::mem::replace(&mut clear[end], kind::DATA);
                let result = self.channel.seal(&clear[start..=end], out);
                clear[end] = borrowed;
                result
            };
            sealed += result.map_err(Reject::Noise)?;
            start = end;
        }
        Ok(sealed)
    }

    /// Seals a message of the native dialect to the front of `wire`; `scratch` is for its bytes in
    /// clear. How many it makes.
    pub fn seal(
        &mut self,
        message: &Message<'_>,
        scratch: &mut Vec<u8>,
        wire: &mut [u8],
    ) -> Result<usize, Reject> {
        debug_assert_ne!(self.dialect, Dialect::Rathole);
        scratch.clear();
        message.encode(scratch);
        self.channel.seal(scratch, wire).map_err(Reject::Noise)
    }
}
