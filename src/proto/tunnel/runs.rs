//! Bytes that are data as they are: raw runs, and rathole's stream without encryption. They need
//! not pass through the codec, which only counts them; so they can be spliced.

use super::{Codec, Dialect, Reject};
use crate::proto::lease::LeaseEnd;
use crate::proto::noise::Channel;
use crate::wire::{frame, rathole};

/// The raw runs of the lease in force.
#[derive(Default)]
pub(super) struct Runs {
    /// DATA may come, and goes, as raw runs.
    pub(super) allowed: bool,
    /// Bytes of a run that are still to come.
    pub(super) left: usize,
    /// The length of the last run: what the next one may be expected to have.
    pub(super) last: usize,
}

impl Runs {
    pub(super) fn of_lease(allowed: bool) -> Runs {
        Runs { allowed, left: 0, last: 0 }
    }

    /// The header of a run of `length` bytes has come.
    pub(super) fn begin(&mut self, length: u32) {
        self.left = length as usize;
        self.last = self.left;
    }
}

/// What the socket's next bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expects {
    /// For [`Codec::open`], behind the bytes that are kept: at most so many.
    Frames(usize),
    /// Data as they are, at most so many; [`Codec::hear_data`] wants to know how many came.
    Data(usize),
}

impl Codec {
    /// What comes next, behind `kept` bytes that were not taken yet. Where a run is likely to have
    /// `worth` bytes its header is asked for by itself, so that they can be spliced.
    pub fn expects(&self, kept: usize, worth: usize) -> Result<Expects, Reject> {
        if self.awaits_dialect() {
            return Ok(Expects::Frames(rathole::TAG.saturating_sub(kept).max(1)));
        }
        if self.dialect == Dialect::Rathole && self.lease.said() == LeaseEnd::Reset {
            return Err(Reject::Closed);
        }
        Ok(match self.runs.left {
            _ if self.is_clear_stream() => Expects::Data(usize::MAX),
            0 if self.runs.last >= worth && kept < frame::RUN_HEADER => {
                Expects::Frames(frame::RUN_HEADER - kept)
            }
            left @ 1.. if kept == 0 => Expects::Data(left),
            _ => Expects::Frames(usize::MAX),
        })
    }

    /// So many bytes of a run or of a stream in clear are here; how many of them are to be used:
    /// all or none.
    pub fn hear_data(&mut self, length: usize) -> Result<usize, Reject> {
        if self.is_clear_stream() {
            return Ok(length);
        }
        self.runs.left -= length;
        let is_used = self.lease.hear_data(length).map_err(Reject::Lease)?;
        Ok(if is_used { length } else { 0 })
    }

    /// Whether data can lie on the wire as the other end of a relay has it: with nothing around it,
    /// or as raw runs.
    pub fn is_raw(&self) -> bool {
        self.runs.allowed || self.is_clear_stream()
    }

    /// rathole's dialect without encryption: nothing lies around the bytes.
    pub fn is_clear_stream(&self) -> bool {
        self.dialect == Dialect::Rathole && matches!(self.channel, Channel::Clear)
    }
}
