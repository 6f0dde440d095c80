//! The TLS ClientHello: any split over segments and records gives the name and the ALPN list.
//!
//! Two steps, so that nothing is decided on a part of a hello (P1, P2):
//!
//! 1. [`HelloScan`] sees the stream as it grows and walks over it once. It finds where the last
//!    record of the hello ends, or the earliest byte that cannot be one (RFC 8446 5.1, 4).
//! 2. [`parse`] reads the whole message, strictly (RFC 5246 7.4.1.2, RFC 8446 4.1.2 and 4.2;
//!    `server_name`: RFC 6066 3; ALPN: RFC 7301 3.1).
//!
//! ```text
//! stream    | 16 3 x | len |  record body  | 16 3 x | len |     record body     | what follows…
//!           '---- 5 bytes -'               '---- 5 bytes -'                     '- records_end
//! message                  | 1 | u24 | body …             … of ClientHello | … |
//!                          '------------ message_len, header too ----------'
//! ```
//!
//! Three outcomes, never mixed: [`Status::Partial`] (incomplete), [`Reject`] (malformed), and
//! [`ClientHello`] with `name: None` (no name; only this one may use a fallback).
//!
//! The hello is complete when its last *record* is: a home's TLS stack can do nothing with part of
//! a record, and what a record says about itself is held to. Bytes after the hello, in that record
//! or behind it, are the home's business. An encrypted hello (ECH) shows its outer name (P20).

use std::fmt;

use super::Status;
use super::host::{self, Hostname};
use super::reader::{Overrun, Reader};
use crate::limits::CLIENT_HELLO_BYTES;

/// The most that a stream holds when [`HelloScan`] decides: a hello of the greatest length, in
/// records of one byte each, the last of which is as long as a record may be.
pub const STREAM_BYTES: usize = (RECORD_HEADER + 1) * CLIENT_HELLO_BYTES + RECORD_BYTES;

/// Finds the end of the hello in a stream that grows. Constant size; walks each byte once.
///
/// Feed it the stream from its first byte on, each time with what has come since. After a
/// [`Reject`] or a `Complete` it gives the same answer again.
#[derive(Debug, Clone)]
pub struct HelloScan {
    /// `seen <= stream.len()`: how much of the stream has been walked over.
    seen: usize,
    /// What the byte at `seen` is to its record.
    record: Record,
    /// What the next byte of a record body is to the message.
    message: Message,
}

/// The record layer's next byte (RFC 8446 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Record {
    Type,
    Major,
    Minor,
    LengthHigh,
    LengthLow {
        high: u8,
    },
    /// `1 <= left <= RECORD_BYTES`
    Body {
        left: usize,
    },
}

/// The handshake layer's next byte (RFC 8446 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    Type,
    /// `missing` (1 to 3) of the length bytes have not come; `value` is the others, big-endian.
    Length {
        missing: u8,
        value: usize,
    },
    /// `left <= body <= CLIENT_HELLO_BYTES - MESSAGE_HEADER`; the hello is whole at `left == 0`.
    Body {
        body: usize,
        left: usize,
    },
}

/// Where a whole hello lies in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Offset in the stream, just after the hello's last record.
    pub records_end: usize,
    /// Bytes of the message with its 4-byte header, without record headers;
    /// `<= CLIENT_HELLO_BYTES`.
    pub message_len: usize,
}

impl Default for HelloScan {
    fn default() -> HelloScan {
        HelloScan::new()
    }
}

impl HelloScan {
    /// At the first byte of a connection.
    pub fn new() -> HelloScan {
        HelloScan { seen: 0, record: Record::Type, message: Message::Type }
    }

    /// Both steps: scans what is new in `stream` and parses the hello once it is whole. `scratch`,
    /// of at least [`CLIENT_HELLO_BYTES`], is written to if the hello lies in several records.
    pub fn feed<'a>(
        &mut self,
        stream: &'a [u8],
        scratch: &'a mut [u8],
    ) -> Result<Status<ClientHello<'a>>, Reject> {
        match self.scan(stream)? {
            Status::Complete(extent) => parse(stream, extent, scratch).map(Status::Complete),
            Status::Partial => Ok(Status::Partial),
        }
    }

    /// The first step. `stream` is all that has come on this connection.
    pub fn scan(&mut self, stream: &[u8]) -> Result<Status<Extent>, Reject> {
        let mut unread = Reader::new(stream.get(self.seen..).unwrap_or_default());
        loop {
            match (self.record, self.message) {
                (Record::Type, Message::Body { body, left: 0 }) => {
                    let message_len = MESSAGE_HEADER + body;
                    return Ok(Status::Complete(Extent { records_end: self.seen, message_len }));
                }
                (Record::Body { left }, Message::Body { body, left: wanted }) => {
                    let walked = match unread.take(left) {
                        Ok(all) => all.len(),
                        Err(Overrun) => unread.rest().len(),
                    };
                    self.message = Message::Body { body, left: wanted.saturating_sub(walked) };
                    self.record = after_body_bytes(left, walked);
                    self.seen += walked;
                    if walked < left {
                        return Ok(Status::Partial);
                    }
                }
                (record, message) => {
                    let Ok(byte) = unread.u8() else {
                        return Ok(Status::Partial);
                    };
                    if let Record::Body { left } = record {
                        self.message = next_in_message(message, byte)?;
                        self.record = after_body_bytes(left, 1);
                    } else {
                        self.record = next_in_header(record, byte, message == Message::Type)?;
                    }
                    self.seen += 1;
                }
            }
        }
    }
}

/// The second step: the message that [`HelloScan::scan`] found in `stream`, every length exact.
/// `scratch`, of at least [`CLIENT_HELLO_BYTES`], holds it if it lies in several records.
pub fn parse<'a>(
    stream: &'a [u8],
    extent: Extent,
    scratch: &'a mut [u8],
) -> Result<ClientHello<'a>, Reject> {
    parse_message(join_records(stream, extent.message_len, scratch)?)
}

/// What routing needs of a hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientHello<'a> {
    /// The one host_name of `server_name`; `None` if the extension is absent.
    pub name: Option<Hostname>,
    /// The protocols offered; none if the extension is absent.
    pub alpn: Alpn<'a>,
}

/// The protocol names of an ALPN extension, in the client's order; arbitrary bytes, 1 to 255 each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Alpn<'a> {
    /// Whole `u8 length | name` entries and nothing else; no length is 0.
    list: &'a [u8],
}

impl<'a> Alpn<'a> {
    /// Nothing offered.
    pub const NONE: Alpn<'static> = Alpn { list: &[] };

    /// The entries of a `ProtocolNameList` (RFC 7301 3.1), checked whole so that reading them later
    /// has nothing left to check. At least one.
    pub fn parse(list: &'a [u8]) -> Result<Alpn<'a>, Reject> {
        let mut names = Reader::new(list);
        loop {
            let name = vector8(&mut names).map_err(|Overrun| Reject::Alpn)?;
            if name.is_empty() {
                return Err(Reject::Alpn);
            }
            if names.is_empty() {
                return Ok(Alpn { list });
            }
        }
    }
}

impl<'a> Iterator for Alpn<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let mut list = Reader::new(self.list);
        let length = list.u8().ok()?;
        let name = list.take(length.into()).ok()?;
        self.list = list.rest();
        Some(name)
    }
}

/// Whether a stream that is not TLS begins like an HTTP/1 request, to be answered 400 rather than
/// with silence: a method and a space. Methods in use are upper-case letters and hyphens.
pub fn looks_like_http(stream: &[u8]) -> Status<bool> {
    let method = stream.iter().take(METHOD_BYTES + 1);
    let length = method.take_while(|&&byte| byte.is_ascii_uppercase() || byte == b'-').count();
    match stream.get(length) {
        _ if length > METHOD_BYTES => Status::Complete(false),
        Some(b' ') => Status::Complete(length > 0),
        Some(_) => Status::Complete(false),
        None => Status::Partial,
    }
}

/// Whether a stream that is not TLS begins as SSH's client does (RFC 4253 4.2).
pub fn looks_like_ssh(stream: &[u8]) -> Status<bool> {
    match (stream.get(..SSH.len()), SSH.starts_with(stream)) {
        (Some(start), _) => Status::Complete(start == SSH),
        (None, true) => Status::Partial,
        (None, false) => Status::Complete(false),
    }
}

/// What the peer sent in place of a hello. The text quotes none of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// The first byte is not that of a handshake record: another protocol, or a TLS alert.
    NotTls,
    /// A record of another kind between the hello's.
    ForeignRecord,
    /// A record version other than 3.x.
    RecordVersion,
    /// A record without a byte in it, which RFC 8446 5.1 forbids.
    EmptyRecord,
    /// A record of more than 2^14 bytes.
    LongRecord,
    /// Another handshake message first.
    NotClientHello,
    /// A hello of more than [`CLIENT_HELLO_BYTES`].
    LongHello,
    /// A client version below SSL 3.0, or the message ends before its random does.
    Version,
    /// A session id of more than 32 bytes, or beyond the message.
    SessionId,
    /// No cipher suite, half of one, or beyond the message.
    CipherSuites,
    /// No compression method, or beyond the message.
    Compression,
    /// Extensions that do not fill the message to its last byte.
    Extensions,
    /// A `server_name` extension whose lengths do not agree, or an empty list.
    ServerName,
    /// An entry of `server_name` that is no host_name: its length cannot be known.
    NameType,
    /// Two names: in one list or in two extensions.
    TwoNames,
    /// A host_name that is no name.
    Name(host::Reject),
    /// An ALPN extension whose lengths do not agree, an empty list or an empty name.
    Alpn,
    /// Two ALPN extensions.
    TwoAlpn,
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reject::NotTls => "not TLS",
            Reject::ForeignRecord => "another record inside the ClientHello",
            Reject::RecordVersion => "unknown TLS record version",
            Reject::EmptyRecord => "empty TLS record",
            Reject::LongRecord => "TLS record too long",
            Reject::NotClientHello => "handshake message other than ClientHello",
            Reject::LongHello => "ClientHello too long",
            Reject::Version => "malformed ClientHello version or random",
            Reject::SessionId => "malformed session id",
            Reject::CipherSuites => "malformed cipher suites",
            Reject::Compression => "malformed compression methods",
            Reject::Extensions => "malformed extensions",
            Reject::ServerName => "malformed server_name",
            Reject::NameType => "unknown name type in server_name",
            Reject::TwoNames => "two names in server_name",
            Reject::Name(reason) => return write!(f, "invalid server_name: {reason}"),
            Reject::Alpn => "malformed ALPN",
            Reject::TwoAlpn => "two ALPN extensions",
        })
    }
}

impl std::error::Error for Reject {}

impl From<host::Reject> for Reject {
    fn from(reason: host::Reject) -> Reject {
        Reject::Name(reason)
    }
}

/// The record that `walked` of the `left` bytes lead to.
fn after_body_bytes(left: usize, walked: usize) -> Record {
    match left - walked {
        0 => Record::Type,
        left => Record::Body { left },
    }
}

/// Checks one byte of a record header. The versions of a hello's records mean nothing (RFC 8446
/// 5.1: to be ignored), but their major number has been 3 since SSL 3.0.
fn next_in_header(field: Record, byte: u8, first_record: bool) -> Result<Record, Reject> {
    match field {
        Record::Type if byte == HANDSHAKE => Ok(Record::Major),
        Record::Type if first_record => Err(Reject::NotTls),
        Record::Type => Err(Reject::ForeignRecord),
        Record::Major if byte == 3 => Ok(Record::Minor),
        Record::Major => Err(Reject::RecordVersion),
        Record::Minor => Ok(Record::LengthHigh),
        Record::LengthHigh if usize::from(byte) << 8 > RECORD_BYTES => Err(Reject::LongRecord),
        Record::LengthHigh => Ok(Record::LengthLow { high: byte }),
        Record::LengthLow { high } => match u16::from_be_bytes([high, byte]).into() {
            0 => Err(Reject::EmptyRecord),
            left @ 1..=RECORD_BYTES => Ok(Record::Body { left }),
            _ => Err(Reject::LongRecord),
        },
        body @ Record::Body { .. } => Ok(body),
    }
}

/// Checks one byte of the message header; a hello that will be too long is refused at once.
fn next_in_message(field: Message, byte: u8) -> Result<Message, Reject> {
    match field {
        Message::Type if byte == CLIENT_HELLO => Ok(Message::Length { missing: 3, value: 0 }),
        Message::Type => Err(Reject::NotClientHello),
        Message::Length { missing, value } => {
            let missing = missing - 1;
            let value = value << 8 | usize::from(byte);
            match value << (8 * missing) {
                least if least > CLIENT_HELLO_BYTES - MESSAGE_HEADER => Err(Reject::LongHello),
                body if missing == 0 => Ok(Message::Body { body, left: body }),
                _ => Ok(Message::Length { missing, value }),
            }
        }
        body @ Message::Body { .. } => Ok(body),
    }
}

/// The whole message as one slice: of `stream` if one record holds it, else of `scratch`.
fn join_records<'a>(
    stream: &'a [u8],
    message_len: usize,
    scratch: &'a mut [u8],
) -> Result<&'a [u8], Reject> {
    let mut records = Reader::new(stream);
    let mut body = record_body(&mut records)?;
    if let Some(message) = body.get(..message_len) {
        return Ok(message);
    }
    let message = scratch.get_mut(..message_len).ok_or(Reject::LongHello)?;
    let mut room = &mut *message;
    loop {
        let part = body.get(..room.len()).unwrap_or(body);
        let (filled, rest) = room.split_at_mut(part.len());
        filled.copy_from_slice(part);
        room = rest;
        if room.is_empty() {
            return Ok(message);
        }
        body = record_body(&mut records)?;
    }
}

/// The next record's body. The scan has checked its header; only an extent of another stream can
/// make this fail.
fn record_body<'a>(records: &mut Reader<'a>) -> Result<&'a [u8], Reject> {
    let mut body = || {
        let _type_and_version: [u8; 3] = records.array()?;
        vector16(records)
    };
    body().map_err(|Overrun| Reject::LongRecord)
}

/// `ClientHello` (RFC 5246 7.4.1.2; RFC 8446 4.1.2 keeps the shape).
fn parse_message(message: &[u8]) -> Result<ClientHello<'_>, Reject> {
    let mut message = Reader::new(message);
    version_and_random(&mut message)?;
    let session_id = vector8(&mut message).map_err(|Overrun| Reject::SessionId)?;
    if session_id.len() > 32 {
        return Err(Reject::SessionId);
    }
    let cipher_suites = vector16(&mut message).map_err(|Overrun| Reject::CipherSuites)?;
    if cipher_suites.is_empty() || cipher_suites.len() % 2 != 0 {
        return Err(Reject::CipherSuites);
    }
    let compression = vector8(&mut message).map_err(|Overrun| Reject::Compression)?;
    if compression.is_empty() {
        return Err(Reject::Compression);
    }
    if message.is_empty() {
        return Ok(ClientHello { name: None, alpn: Alpn::default() }); // TLS 1.2 allows this
    }
    let extensions = vector16(&mut message).map_err(|Overrun| Reject::Extensions)?;
    message.finish().map_err(|Overrun| Reject::Extensions)?;
    parse_extensions(extensions)
}

/// Up to the session id.
fn version_and_random(message: &mut Reader<'_>) -> Result<(), Reject> {
    let mut read = || -> Result<u16, Overrun> {
        message.take(MESSAGE_HEADER)?;
        let version = message.u16()?;
        message.take(RANDOM)?;
        Ok(version)
    };
    match read() {
        Ok(SSL3..) => Ok(()),
        Ok(_) | Err(Overrun) => Err(Reject::Version),
    }
}

/// `Extension extensions<0..2^16-1>` (RFC 8446 4.2). No other extension concerns a router.
fn parse_extensions(extensions: &[u8]) -> Result<ClientHello<'_>, Reject> {
    let mut extensions = Reader::new(extensions);
    let mut name = None;
    let mut alpn = None;
    while !extensions.is_empty() {
        let kind = extensions.u16().map_err(|Overrun| Reject::Extensions)?;
        let data = vector16(&mut extensions).map_err(|Overrun| Reject::Extensions)?;
        match kind {
            SERVER_NAME if name.is_some() => return Err(Reject::TwoNames),
            SERVER_NAME => name = Some(parse_server_name(data)?),
            ALPN if alpn.is_some() => return Err(Reject::TwoAlpn),
            ALPN => alpn = Some(parse_alpn(data)?),
            _ => {}
        }
    }
    Ok(ClientHello { name, alpn: alpn.unwrap_or_default() })
}

/// `ServerNameList` (RFC 6066 3): `u16 length | 0 | u16 length | host_name`, and no second entry.
fn parse_server_name(data: &[u8]) -> Result<Hostname, Reject> {
    let mut data = Reader::new(data);
    let list = vector16(&mut data).map_err(|Overrun| Reject::ServerName)?;
    data.finish().map_err(|Overrun| Reject::ServerName)?;
    let mut list = Reader::new(list);
    match list.u8() {
        Ok(HOST_NAME) => {}
        Ok(_) => return Err(Reject::NameType),
        Err(Overrun) => return Err(Reject::ServerName),
    }
    let name = vector16(&mut list).map_err(|Overrun| Reject::ServerName)?;
    match list.u8() {
        Err(Overrun) => Ok(Hostname::parse(name)?),
        Ok(HOST_NAME) if vector16(&mut list).is_ok() => Err(Reject::TwoNames),
        Ok(_) => Err(Reject::ServerName),
    }
}

/// `u16 length` and a `ProtocolNameList`.
fn parse_alpn(data: &[u8]) -> Result<Alpn<'_>, Reject> {
    let mut data = Reader::new(data);
    let list = vector16(&mut data).map_err(|Overrun| Reject::Alpn)?;
    data.finish().map_err(|Overrun| Reject::Alpn)?;
    Alpn::parse(list)
}

/// A vector with a length of one byte (RFC 8446 3.4).
fn vector8<'a>(bytes: &mut Reader<'a>) -> Result<&'a [u8], Overrun> {
    let length = bytes.u8()?;
    bytes.take(length.into())
}

/// A vector with a length of two bytes.
fn vector16<'a>(bytes: &mut Reader<'a>) -> Result<&'a [u8], Overrun> {
    let length = bytes.u16()?;
    bytes.take(length.into())
}

/// Type, version, length.
const RECORD_HEADER: usize = 5;
/// The greatest record before encryption (RFC 8446 5.1).
const RECORD_BYTES: usize = 1 << 14;
/// Type, 24-bit length.
const MESSAGE_HEADER: usize = 4;
/// Bytes of `random`.
const RANDOM: usize = 32;
/// The oldest `client_version` that this message exists for.
const SSL3: u16 = 0x0300;
/// ContentType handshake.
const HANDSHAKE: u8 = 22;
/// HandshakeType client_hello.
const CLIENT_HELLO: u8 = 1;
/// ExtensionType server_name.
const SERVER_NAME: u16 = 0;
/// ExtensionType application_layer_protocol_negotiation.
const ALPN: u16 = 16;
/// NameType host_name.
const HOST_NAME: u8 = 0;
/// The start of SSH's identification string.
const SSH: &[u8] = b"SSH-";
/// The longest registered method is UPDATEREDIRECTREF; a stranger's may be a little longer.
const METHOD_BYTES: usize = 24;

/// The invariants that the fuzz target and the corpus test check.
#[doc(hidden)]
pub mod fuzz {
    use super::*;

    /// Panics if the outcome depends on how the stream was split, or on what follows the hello.
    pub fn check(stream: &[u8]) {
        // No message is longer than its stream; large buffers would be most of the fuzzer's time.
        let mut scratch = vec![0; stream.len()];
        let mut scratch_again = vec![0xff; stream.len()];
        let whole = HelloScan::new().feed(stream, &mut scratch);

        let mut scan = HelloScan::new();
        let mut decided = None;
        for end in 0..=stream.len() {
            match scan.scan(&stream[..end]) {
                Ok(Status::Partial) => {}
                decision => {
                    decided = Some((end, decision));
                    break;
                }
            }
        }
        let Some((end, decision)) = decided else {
            assert_eq!(whole, Ok(Status::Partial), "a decision that no prefix gives");
            return;
        };
        assert!(end <= STREAM_BYTES);
        assert_eq!(scan.scan(stream), decision, "the answer stays");
        if let Ok(Status::Complete(extent)) = decision {
            assert_eq!(extent.records_end, end);
            assert!(extent.message_len <= CLIENT_HELLO_BYTES);
        }
        assert_eq!(scan.feed(&stream[..end], &mut scratch_again), whole, "bytewise or whole");
        if let Ok(Status::Complete(hello)) = whole {
            assert!(hello.alpn.into_iter().all(|name| (1..=255).contains(&name.len())));
        }
        let _ = looks_like_http(stream);
    }
}

#[cfg(test)]
mod tests;
