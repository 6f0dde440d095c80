//! Datagrams on a link: a byte stream of records, each with the session that it belongs to.
//!
//! ```text
//! BEGIN      0: u8 | session: u64 | offset: u16 | visitor: address | local: address     (server)
//! DATAGRAM   1: u8 | session: u64 | length: u16 | datagram                              (both)
//! END        2: u8 | session: u64                                                       (both)
//! ```
//!
//! rathole has one record, its datagram with the visitor's address before it
//! ([`rathole::DatagramHeader`]), and a session is just that address.

use std::net::SocketAddr;

use super::Status;
use super::message::{decode_address, encode_address};
use super::rathole::{self, DatagramHeader};
use super::reader::{Overrun, Reader};

/// The longest datagram: what UDP over IPv4 carries.
pub const MAX_DATAGRAM: usize = 65_507;
/// Bytes that stand before a datagram at most: BEGIN, and DATAGRAM's own.
pub const MAX_HEADER: usize = (1 + 8 + 2 + 2 * (1 + 16 + 2)) + (1 + 8 + 2);

const BEGIN: u8 = 0;
const DATAGRAM: u8 = 1;
const END: u8 = 2;

/// What a session is called on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionName {
    /// Native: the server's number for it, used once in the life of a server.
    Number(u64),
    /// rathole: the visitor's address.
    Visitor(SocketAddr),
}

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record<'a> {
    /// A visitor's first datagram follows.
    Begin(Begin),
    /// A datagram of the visitor, or for it.
    Datagram(SessionName, &'a [u8]),
    /// The sender has forgotten the session.
    End(u64),
}

/// A session begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// Its number.
    pub session: u64,
    /// Which of the service's own ports the visitor sends to, counted from 0.
    pub offset: u16,
    /// The visitor's address.
    pub visitor: SocketAddr,
    /// Where the server listens.
    pub local: SocketAddr,
}

/// What may not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// No record, or no address, begins so.
    UnknownCode,
    /// A datagram longer than [`MAX_DATAGRAM`].
    TooLong,
    /// A header of rathole's.
    Rathole(rathole::Reject),
}

impl Begin {
    /// Appends the record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(BEGIN);
        out.extend_from_slice(&self.session.to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        encode_address(self.visitor, out);
        encode_address(self.local, out);
    }
}

impl SessionName {
    /// Appends what stands before a datagram of `length` bytes, at most [`MAX_DATAGRAM`].
    pub fn encode_header(&self, length: usize, out: &mut Vec<u8>) {
        debug_assert!(length <= MAX_DATAGRAM);
        let length = length as u16;
        match *self {
            SessionName::Number(session) => {
                out.push(DATAGRAM);
                out.extend_from_slice(&session.to_le_bytes());
                out.extend_from_slice(&length.to_le_bytes());
            }
            SessionName::Visitor(visitor) => DatagramHeader { visitor, length }.encode(out),
        }
    }
}

/// The record END.
pub fn end(session: u64) -> [u8; 9] {
    let mut record = [END; 9];
    record[1..].copy_from_slice(&session.to_le_bytes());
    record
}

/// A record and the bytes that it takes, or that it is cut.
pub type First<'a> = Result<Status<(Record<'a>, usize)>, Reject>;

/// The record at the front of `bytes`, if it is whole, and the bytes that it takes.
pub fn first(bytes: &[u8]) -> First<'_> {
    let mut reader = Reader::new(bytes);
    match decode(&mut reader) {
        Ok(record) => Ok(Status::Complete((record, bytes.len() - reader.rest().len()))),
        Err(Cut::Partial) => Ok(Status::Partial),
        Err(Cut::Reject(reject)) => Err(reject),
    }
}

/// The same in rathole's dialect.
pub fn first_of_rathole(bytes: &[u8]) -> First<'_> {
    let (header, start) = match DatagramHeader::first(bytes).map_err(Reject::Rathole)? {
        Status::Complete(found) => found,
        Status::Partial => return Ok(Status::Partial),
    };
    let length = usize::from(header.length);
    if length > MAX_DATAGRAM {
        return Err(Reject::TooLong);
    }
    Ok(match bytes.get(start..start + length) {
        Some(datagram) => {
            let name = SessionName::Visitor(header.visitor);
            Status::Complete((Record::Datagram(name, datagram), start + length))
        }
        None => Status::Partial,
    })
}

enum Cut {
    Partial,
    Reject(Reject),
}

impl From<Overrun> for Cut {
    fn from(_: Overrun) -> Cut {
        Cut::Partial
    }
}

fn decode<'a>(reader: &mut Reader<'a>) -> Result<Record<'a>, Cut> {
    let (kind, session) = (reader.u8()?, reader.u64_le());
    Ok(match kind {
        BEGIN => Record::Begin(Begin {
            session: session?,
            offset: reader.u16_le()?,
            visitor: address(reader)?,
            local: address(reader)?,
        }),
        DATAGRAM => {
            let (session, length) = (session?, usize::from(reader.u16_le()?));
            if length > MAX_DATAGRAM {
                return Err(Cut::Reject(Reject::TooLong));
            }
            Record::Datagram(SessionName::Number(session), reader.take(length)?)
        }
        END => Record::End(session?),
        _ => return Err(Cut::Reject(Reject::UnknownCode)),
    })
}

fn address(reader: &mut Reader<'_>) -> Result<SocketAddr, Cut> {
    use super::message::Reject as Message;
    decode_address(reader).map_err(|reject| match reject {
        Message::Malformed => Cut::Partial,
        _ => Cut::Reject(Reject::UnknownCode),
    })
}

/// For the fuzz target of this name.
#[doc(hidden)]
pub mod fuzz {
    use super::*;

    /// Both dialects: what decodes, encodes to the same bytes, and needs all of them.
    pub fn check(bytes: &[u8]) {
        for first in [first, first_of_rathole] {
            let mut rest = bytes;
            while let Ok(Status::Complete((record, taken))) = first(rest) {
                let mut again = Vec::new();
                match record {
                    Record::Begin(begin) => begin.encode(&mut again),
                    Record::Datagram(name, datagram) => {
                        name.encode_header(datagram.len(), &mut again);
                        assert!(again.len() <= MAX_HEADER);
                        again.extend_from_slice(datagram);
                    }
                    Record::End(session) => again.extend(end(session)),
                }
                assert_eq!(again, rest[..taken]);
                // Long ones at some places, short ones at all.
                for cut in (0..taken).step_by(1 + taken / 64).chain([taken - 1]) {
                    assert_eq!(first(&rest[..cut]), Ok(Status::Partial));
                }
                rest = &rest[taken..];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_and_wait_for_their_last_byte() {
        let visitor = "192.0.2.7:50000".parse().expect("literal");
        let local = "[2001:db8::1]:53".parse().expect("literal");
        let begin = Begin { session: u64::MAX, offset: 7, visitor, local };
        let (mut native, mut theirs) = (Vec::new(), Vec::new());
        begin.encode(&mut native);
        for length in [0, 1, 2000, MAX_DATAGRAM] {
            let datagram = vec![length as u8; length];
            let add = |stream: &mut Vec<u8>, name: SessionName| {
                name.encode_header(length, stream);
                stream.extend_from_slice(&datagram);
            };
            add(&mut native, SessionName::Number(9));
            add(&mut theirs, SessionName::Visitor(visitor));
            add(&mut theirs, SessionName::Visitor(local));
        }
        native.extend(end(9));
        let count = |stream: &[u8], first: fn(&[u8]) -> First<'_>| {
            let (mut at, mut records) = (0, 0);
            while let Ok(Status::Complete((_, taken))) = first(&stream[at..]) {
                (at, records) = (at + taken, records + 1);
            }
            (records, at == stream.len())
        };
        assert_eq!(count(&native, first), (6, true));
        assert_eq!(count(&theirs, first_of_rathole), (8, true));
        fuzz::check(&native);
        fuzz::check(&theirs);
    }

    /// The seeds for fuzzing, which PROTOCOL.md is checked against by hand.
    #[test]
    fn the_seeds_are_whole() {
        let mut native: &[u8] = include_bytes!("../../tests/corpus/datagram/session.bin");
        let (mut seen, visitor) = (Vec::new(), "192.0.2.7:50000".parse().expect("literal"));
        fuzz::check(native);
        while let Ok(Status::Complete((record, taken))) = first(native) {
            seen.push(record);
            native = &native[taken..];
        }
        let local = "[2001:db8::1]:53".parse().expect("literal");
        let session = 1 << 32;
        let begin = Record::Begin(Begin { session, offset: 7, visitor, local });
        let ping = Record::Datagram(SessionName::Number(session), b"ping");
        assert_eq!((seen, native), (vec![begin, ping, Record::End(session)], &[][..]));
        fuzz::check(include_bytes!("../../tests/corpus/datagram/rathole.bin"));
    }

    #[test]
    fn what_may_not_be_is_refused_at_once() {
        assert_eq!(first(&[3]), Err(Reject::UnknownCode));
        let mut long = vec![DATAGRAM, 0, 0, 0, 0, 0, 0, 0, 0];
        long.extend((MAX_DATAGRAM as u16 + 1).to_le_bytes());
        assert_eq!(first(&long), Err(Reject::TooLong));
        let begin = [&[BEGIN][..], &[0; 10], &[5]].concat();
        assert_eq!(first(&begin), Err(Reject::UnknownCode));
        let mut theirs = Vec::new();
        let visitor = "192.0.2.7:50000".parse().expect("literal");
        DatagramHeader { visitor, length: u16::MAX }.encode(&mut theirs);
        assert_eq!(first_of_rathole(&theirs), Err(Reject::TooLong));
    }
}
