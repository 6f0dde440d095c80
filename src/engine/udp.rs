//! Datagrams on links: what both roles share.

use super::buffers::Buffers;
use super::conn::{Carrier as _, Dialect, Gone, Io, Pulled, TunnelConn};
use super::net::Net;
use crate::wire::Status;
use crate::wire::datagram::{self, MAX_DATAGRAM, MAX_HEADER, Record, SessionName};

/// One datagram, received with room for its record's header before it.
///
/// ```text
/// bytes   | ... header | datagram ........ |
///         0            MAX_HEADER
/// ```
#[derive(Default)]
pub struct Parcel {
    /// What stands before the datagram on its link.
    pub header: Vec<u8>,
    /// Empty until the first datagram, since most have no UDP services.
    bytes: Vec<u8>,
}

impl Parcel {
    /// Where a datagram is received; one byte more than it may have, so that a longer one shows.
    pub fn room(&mut self) -> &mut [u8] {
        self.bytes.resize(MAX_HEADER + MAX_DATAGRAM + 1, 0);
        &mut self.bytes[MAX_HEADER..]
    }

    /// The record of a datagram of `length` bytes, in session `name`, behind the header so far.
    pub fn record(&mut self, name: SessionName, length: usize) -> &[u8] {
        name.encode_header(length, &mut self.header);
        let start = MAX_HEADER - self.header.len();
        self.bytes[start..MAX_HEADER].copy_from_slice(&self.header);
        &self.bytes[start..MAX_HEADER + length]
    }
}

/// The records of one batch.
#[derive(Default)]
pub struct Records {
    bytes: Vec<u8>,
    at: usize,
}

impl Records {
    /// Pulls a batch of a link's; `cut` is what the last one left.
    pub fn pull<N: Net, T>(
        &mut self,
        io: &mut Io<N>,
        link: &mut TunnelConn<N::Stream, T>,
        mut cut: Vec<u8>,
    ) -> Result<Pulled, Gone> {
        self.bytes.clear();
        self.bytes.extend_from_slice(&cut);
        self.at = 0;
        io.buffers.give_back(&mut cut);
        let pulled = link.pull(io)?;
        self.bytes.extend_from_slice(&io.scratch.clear[..pulled.data]);
        Ok(pulled)
    }

    /// The next whole record.
    pub fn next(&mut self, dialect: Dialect) -> Result<Option<Record<'_>>, Gone> {
        let rest = &self.bytes[self.at..];
        let found = match dialect {
            Dialect::Rathole => datagram::first_of_rathole(rest),
            _ => datagram::first(rest),
        };
        match found.map_err(Gone::Datagram)? {
            Status::Partial => Ok(None),
            Status::Complete((record, taken)) => {
                self.at += taken;
                Ok(Some(record))
            }
        }
    }

    /// What is left: the front of a record.
    pub fn cut(&self, buffers: &mut Buffers) -> Vec<u8> {
        let mut cut = Vec::new();
        buffers.append(&mut cut, &self.bytes[self.at..]);
        cut
    }
}
