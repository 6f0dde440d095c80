//! The PROXY protocol's header (haproxy.org, proxy-protocol.txt, sections 2.1 and 2.2): who is at
//! the two ends of the connection whose bytes follow it.
//!
//! ```text
//! version 1   PROXY TCP4 192.0.2.7 203.0.113.1 50000 443\r\n            at most 107 bytes
//!             PROXY UNKNOWN …\r\n
//! version 2   signature 12 | version, command 1 | family, transport 1 | length u16
//!             source | destination | source port u16 | destination port u16
//!             type 1 | length u16 | value …                              TLVs, in `length`
//! ```
//!
//! Reading decides at the first byte that cannot be one: a peer that owes a header and speaks
//! something else is refused at once. The TLVs are walked past; a checksum in them is not verified.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::Status;
use super::http::put_text;
use super::reader::{Overrun, Reader};
use crate::limits::PROXY_HEADER_BYTES;

/// Which of the two forms is written; either is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A line of text: addresses alone.
    V1,
    /// Binary, with TLVs.
    V2,
}

/// What carries the visitor's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// TCP.
    Stream,
    /// UDP; version 2 alone can say it.
    Datagram,
}

/// The two ends of a visitor's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The visitor.
    pub source: SocketAddr,
    /// What it dialled.
    pub destination: SocketAddr,
}

/// What version 2 says beside the addresses; an empty value is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tlvs<'a> {
    /// PP2_TYPE_AUTHORITY: the name asked for; at most 255 bytes.
    pub authority: &'a [u8],
    /// PP2_TYPE_ALPN: the protocol asked for; at most 255 bytes.
    pub alpn: &'a [u8],
}

/// A header that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// `None`: the peer speaks for itself, or does not know (LOCAL, UNKNOWN, another family than
    /// IP); the connection's own addresses hold.
    pub ends: Option<Ends>,
    /// Its bytes; the visitor's begin behind them.
    pub length: usize,
}

/// Why a peer that owes a header is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// It says something else.
    Missing,
    /// No end within 107 bytes (version 1), or a length beyond [`PROXY_HEADER_BYTES`].
    Long,
    /// A line that is not as the specification says.
    Line,
    /// Another version than 2, or an unknown command, behind the signature of version 2.
    Command,
    /// A family or a transport that version 2 does not have, or no room for its addresses.
    Addresses,
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reject::Missing => "no PROXY header, though it is a trusted proxy",
            Reject::Long => "a PROXY header that is too long",
            Reject::Line => "a malformed PROXY line",
            Reject::Command => "an unknown PROXY version or command",
            Reject::Addresses => "a PROXY header with malformed addresses",
        })
    }
}

/// Appends the header for a TCP connection.
pub fn write(version: Version, ends: Ends, tlvs: Tlvs<'_>, out: &mut Vec<u8>) {
    match version {
        Version::V1 => write_v1(ends, out),
        Version::V2 => write_v2(Carrier::Stream, ends, tlvs, out),
    }
}

/// Appends the header of a connection that is nobody's but the proxy's own: section 2.1, UNKNOWN,
/// and section 2.2, LOCAL.
pub fn write_local(version: Version, out: &mut Vec<u8>) {
    match version {
        Version::V1 => out.extend_from_slice(b"PROXY UNKNOWN\r\n"),
        Version::V2 => {
            out.extend_from_slice(SIGNATURE);
            out.extend_from_slice(&[LOCAL, 0, 0, 0]);
        }
    }
}

/// Appends a header of version 1.
pub fn write_v1(ends: Ends, out: &mut Vec<u8>) {
    let Ends { source, destination } = ends.in_one_family();
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    let ports = (source.port(), destination.port());
    put_text(out, format_args!("PROXY {family} {from} {to} {} {}\r\n", ports.0, ports.1));
}

/// Appends a header of version 2.
pub fn write_v2(carrier: Carrier, ends: Ends, tlvs: Tlvs<'_>, out: &mut Vec<u8>) {
    let Ends { source, destination } = ends.in_one_family();
    let family = if source.is_ipv4() { INET } else { INET6 };
    let transport = match carrier {
        Carrier::Stream => STREAM,
        Carrier::Datagram => DATAGRAM,
    };
    out.extend_from_slice(SIGNATURE);
    out.extend_from_slice(&[PROXY, family | transport]);
    let length_at = out.len();
    out.extend_from_slice(&[0, 0]);
    for end in [source, destination] {
        match end.ip() {
            IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
        }
    }
    for end in [source, destination] {
        out.extend_from_slice(&end.port().to_be_bytes());
    }
    for (kind, value) in [(TYPE_ALPN, tlvs.alpn), (TYPE_AUTHORITY, tlvs.authority)] {
        debug_assert!(value.len() <= 255);
        if !value.is_empty() {
            out.extend_from_slice(&[kind, 0, value.len() as u8]);
            out.extend_from_slice(value);
        }
    }
    let length = (out.len() - length_at - 2) as u16; // at most 36 + 2 * 258
    out[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
}

/// Reads the header at the front of `bytes`, all that a peer has said so far.
pub fn read(bytes: &[u8]) -> Result<Status<Header>, Reject> {
    match bytes.first() {
        None => Ok(Status::Partial),
        first if first == SIGNATURE.first() => read_v2(bytes),
        Some(_) => read_v1(bytes),
    }
}

fn read_v1(bytes: &[u8]) -> Result<Status<Header>, Reject> {
    if !agree(bytes, V1_START) {
        return Err(Reject::Missing);
    }
    let line = &bytes[..bytes.len().min(V1_BYTES)];
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        return if line.len() < V1_BYTES { Ok(Status::Partial) } else { Err(Reject::Long) };
    };
    let said = line[..end].strip_prefix(V1_START).and_then(|said| std::str::from_utf8(said).ok());
    let mut words = said.ok_or(Reject::Line)?.split(' ');
    let ends = match words.next() {
        Some("TCP4") => Some(v1_ends::<std::net::Ipv4Addr>(&mut words)?),
        Some("TCP6") => Some(v1_ends::<Ipv6Addr>(&mut words)?),
        // What else it says up to the line's end means nothing.
        Some("UNKNOWN") => None,
        _ => return Err(Reject::Line),
    };
    Ok(Status::Complete(Header { ends, length: end + 2 }))
}

/// The four words behind the family, and nothing behind them.
fn v1_ends<'a, Ip: FromStr + Into<IpAddr>>(
    words: &mut impl Iterator<Item = &'a str>,
) -> Result<Ends, Reject> {
    let mut word = || words.next().ok_or(Reject::Line);
    let (from, to) = (word()?, word()?);
    let (from_port, to_port) = (port(word()?)?, port(word()?)?);
    if words.next().is_some() {
        return Err(Reject::Line);
    }
    let ip = |text: &str| text.parse::<Ip>().map(Into::into).map_err(|_| Reject::Line);
    Ok(Ends {
        source: SocketAddr::new(ip(from)?, from_port),
        destination: SocketAddr::new(ip(to)?, to_port),
    }
    .canonical())
}

/// Decimal without a heading zero.
fn port(text: &str) -> Result<u16, Reject> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if plain && (text == "0" || !text.starts_with('0')) => Ok(port),
        _ => Err(Reject::Line),
    }
}

fn read_v2(bytes: &[u8]) -> Result<Status<Header>, Reject> {
    if !agree(bytes, SIGNATURE) {
        return Err(Reject::Missing);
    }
    let mut reader = Reader::new(bytes);
    let fixed = (reader.take(SIGNATURE.len()), reader.u8(), reader.u8(), reader.u16());
    let (Ok(_), Ok(command), Ok(family), Ok(length)) = fixed else { return Ok(Status::Partial) };
    if !matches!(command, LOCAL | PROXY) {
        return Err(Reject::Command);
    }
    let length = usize::from(length);
    if length > PROXY_HEADER_BYTES {
        return Err(Reject::Long);
    }
    let Ok(mut rest) = reader.sub(length) else { return Ok(Status::Partial) };
    let ends = match (command, family) {
        // Whatever family it names.
        (LOCAL, _) => None,
        (_, family) if family == INET | STREAM => Some(v2_ends::<4>(&mut rest)?),
        (_, family) if family == INET6 | STREAM => Some(v2_ends::<16>(&mut rest)?),
        // Of no family, of a UNIX socket, or a datagram's, which cannot be this connection's.
        (_, 0x00 | 0x12 | 0x22 | 0x31 | 0x32) => None,
        _ => return Err(Reject::Addresses),
    };
    Ok(Status::Complete(Header { ends, length: SIGNATURE.len() + 4 + length }))
}

/// Two addresses of `N` bytes and their ports.
fn v2_ends<const N: usize>(rest: &mut Reader<'_>) -> Result<Ends, Reject>
where
    IpAddr: From<[u8; N]>,
{
    let mut ends = || -> Result<Ends, Overrun> {
        let (from, to): ([u8; N], [u8; N]) = (rest.array()?, rest.array()?);
        Ok(Ends {
            source: SocketAddr::new(from.into(), rest.u16()?),
            destination: SocketAddr::new(to.into(), rest.u16()?),
        })
    };
    ends().map(Ends::canonical).map_err(|Overrun| Reject::Addresses)
}

impl Ends {
    /// IPv4 addresses in IPv6's clothes are IPv4 addresses.
    fn canonical(self) -> Ends {
        let plain = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
        Ends { source: plain(self.source), destination: plain(self.destination) }
    }

    /// A header has one family for both: with one IPv6 end, the other one is mapped.
    fn in_one_family(self) -> Ends {
        let Ends { source, destination } = self.canonical();
        let mapped = |end: SocketAddr| match end.ip() {
            IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), end.port()),
            IpAddr::V6(_) => end,
        };
        match source.is_ipv4() == destination.is_ipv4() {
            true => Ends { source, destination },
            false => Ends { source: mapped(source), destination: mapped(destination) },
        }
    }
}

/// Whether they are the same as far as both go.
fn agree(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.iter().zip(wanted).all(|(byte, wanted)| byte == wanted)
}

const V1_START: &[u8] = b"PROXY ";
const V1_BYTES: usize = 107;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2 and the command.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const INET: u8 = 0x10;
const INET6: u8 = 0x20;
const STREAM: u8 = 0x01;
const DATAGRAM: u8 = 0x02;
const TYPE_ALPN: u8 = 0x01;
const TYPE_AUTHORITY: u8 = 0x02;

/// For the fuzz target `proxy_header`.
#[doc(hidden)]
pub mod fuzz {
    use super::*;

    /// Any cut gives the same header or an earlier refusal for the same reason; what is read can
    /// be written in both versions and is read again as the same.
    pub fn check(bytes: &[u8]) {
        let whole = read(bytes);
        for end in 0..bytes.len() {
            match read(&bytes[..end]) {
                Ok(Status::Partial) => {}
                early => assert_eq!(early, whole, "cut at {end}"),
            }
        }
        let Ok(Status::Complete(header)) = whole else { return };
        assert!(header.length <= bytes.len());
        let Some(ends) = header.ends else { return };
        for version in [Version::V1, Version::V2] {
            let mut again = Vec::new();
            write(version, ends, Tlvs::default(), &mut again);
            let length = again.len();
            let expected = Header { ends: Some(ends), length };
            assert_eq!(read(&again), Ok(Status::Complete(expected)), "{}", again.escape_ascii());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ends(source: &str, destination: &str) -> Ends {
        let parse = |text: &str| text.parse().expect("literal");
        Ends { source: parse(source), destination: parse(destination) }
    }

    fn written(version: Version, ends: Ends, tlvs: Tlvs<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        write(version, ends, tlvs, &mut out);
        out
    }

    /// Version 2 with this command, family and payload.
    fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).expect("short").to_be_bytes();
        [SIGNATURE, &[command, family], &length, payload].concat()
    }

    #[test]
    fn version_1_is_written_as_the_specification_has_it() {
        for (source, destination, line) in [
            ("192.0.2.7:50000", "203.0.113.1:443", "TCP4 192.0.2.7 203.0.113.1 50000 443"),
            ("[2001:db8::7]:1", "[2001:db8::1]:80", "TCP6 2001:db8::7 2001:db8::1 1 80"),
            // Mapped addresses are what they stand for; mixed families become IPv6.
            ("[::ffff:192.0.2.7]:9", "203.0.113.1:443", "TCP4 192.0.2.7 203.0.113.1 9 443"),
            ("192.0.2.7:9", "[2001:db8::1]:80", "TCP6 ::ffff:192.0.2.7 2001:db8::1 9 80"),
            ("[2001:db8::7]:9", "192.0.2.1:80", "TCP6 2001:db8::7 ::ffff:192.0.2.1 9 80"),
        ] {
            let out = written(Version::V1, ends(source, destination), Tlvs::default());
            assert_eq!(out.escape_ascii().to_string(), format!("PROXY {line}\\r\\n"));
            fuzz::check(&out);
        }
        let longest = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
        let out = written(Version::V1, ends(longest, longest), Tlvs::default());
        assert!(out.len() <= V1_BYTES);
        assert!(matches!(read(&out), Ok(Status::Complete(header)) if header.length == out.len()));
    }

    #[test]
    fn version_2_is_written_as_the_specification_has_it() {
        let ends = ends("192.0.2.7:50000", "203.0.113.1:443");
        let tlvs = Tlvs { authority: b"pi.example.com", alpn: b"h2" };
        let out = written(Version::V2, ends, tlvs);
        let expected = [
            &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x22\xc0\0\x02\x07\xcb\0\x71\x01\xc3\x50\x01\xbb"[..],
            b"\x01\0\x02h2\x02\0\x0epi.example.com",
        ];
        assert_eq!(out.escape_ascii().to_string(), expected.concat().escape_ascii().to_string());
        fuzz::check(&[&out[..], b"the visitor's"].concat());
    }

    #[test]
    fn what_names_no_addresses_leaves_the_connections_own() {
        let unix = [0; 216];
        for bytes in [
            b"PROXY UNKNOWN\r\n".to_vec(),
            b"PROXY UNKNOWN ffff::1 ::1 1 2\r\n".to_vec(),
            v2(LOCAL, 0, b""),
            v2(LOCAL, 0x11, b"twelve bytes"),
            v2(LOCAL, 0x99, b"??"),
            v2(PROXY, 0x00, b"\x04\0\0"),
            v2(PROXY, 0x12, b"twelve bytes"),
            v2(PROXY, 0x31, &unix),
        ] {
            let expected = Header { ends: None, length: bytes.len() };
            assert_eq!(read(&bytes), Ok(Status::Complete(expected)), "{}", bytes.escape_ascii());
            fuzz::check(&[&bytes[..], b"GET / HTTP/1.1\r\n"].concat());
        }
    }

    #[test]
    fn what_is_no_header_is_refused_at_its_first_byte() {
        for (bytes, why) in [
            (&b"GET / HTTP/1.1\r\n"[..], Reject::Missing),
            (b"\x16\x03\x01\x02\0", Reject::Missing),
            (b"proxy TCP4", Reject::Missing),
            (b"PROXY\r\n", Reject::Missing),
            (b"\r\n\r\nGET", Reject::Missing),
            (b" PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n", Reject::Missing),
        ] {
            let wrong = (1..=bytes.len()).find(|&end| read(&bytes[..end]).is_err());
            assert_eq!(read(&bytes[..wrong.expect("refused")]), Err(why));
            assert_eq!(read(bytes), Err(why), "{}", bytes.escape_ascii());
            fuzz::check(bytes);
        }
        assert_eq!(read(b"G"), Err(Reject::Missing));
    }

    #[test]
    fn malformed_headers_are_refused() {
        for line in [
            "",
            "TCP4",
            "tcp4 1.1.1.1 2.2.2.2 1 2",
            "TCP5 1.1.1.1 2.2.2.2 1 2",
            "UNKNOWN2",
            "TCP4 1.1.1.1 2.2.2.2 1",
            "TCP4 1.1.1.1 2.2.2.2 1 2 3",
            "TCP4 1.1.1.1 2.2.2.2 1 2 ",
            "TCP4  1.1.1.1 2.2.2.2 1 2",
            "TCP4 1.1.1.1\t2.2.2.2 1 2",
            "TCP4 1.1.1 2.2.2.2 1 2",
            "TCP4 01.1.1.1 2.2.2.2 1 2",
            "TCP4 ::1 ::1 1 2",
            "TCP6 1.1.1.1 2.2.2.2 1 2",
            "TCP6 [::1] ::1 1 2",
            "TCP6 fe80::1%1 ::1 1 2",
            "TCP4 1.1.1.1 2.2.2.2 1 65536",
            "TCP4 1.1.1.1 2.2.2.2 +1 2",
            "TCP4 1.1.1.1 2.2.2.2 01 2",
            "TCP4 1.1.1.1 2.2.2.2 -1 2",
            "TCP4 1.1.1.1 2.2.2.2 1 2\n",
            "TCP4 1.1.1.1 2.2.2.2  2",
            "TCP4 1.1.1.1 2.2.2.2 1 0x2",
        ] {
            let bytes = format!("PROXY {line}\r\n");
            assert_eq!(read(bytes.as_bytes()), Err(Reject::Line), "{line:?}");
            fuzz::check(bytes.as_bytes());
        }
        for (bytes, why) in [
            (v2(0x11, 0x11, &[0; 12]), Reject::Command),
            (v2(0x22, 0x11, &[0; 12]), Reject::Command),
            (v2(PROXY, 0x11, &[0; 11]), Reject::Addresses),
            (v2(PROXY, 0x21, &[0; 35]), Reject::Addresses),
            (v2(PROXY, 0x41, &[0; 12]), Reject::Addresses),
            (v2(PROXY, 0x13, &[0; 12]), Reject::Addresses),
            (v2(PROXY, 0x10, &[0; 12]), Reject::Addresses),
            (v2(PROXY, 0x11, &[0; PROXY_HEADER_BYTES + 1]), Reject::Long),
            ([b"PROXY UNKNOWN ", &[b'x'; 93][..], b"\r\n"].concat(), Reject::Long),
        ] {
            assert_eq!(read(&bytes), Err(why), "{}", bytes.escape_ascii());
            fuzz::check(&bytes);
        }
        // Refused before its bytes are waited for.
        assert_eq!(read(&v2(PROXY, 0x11, &[0; PROXY_HEADER_BYTES + 1])[..16]), Err(Reject::Long));
    }

    #[test]
    fn the_longest_headers_are_read() {
        for bytes in [
            [b"PROXY UNKNOWN ", &[b'x'; 91][..], b"\r\n"].concat(),
            v2(PROXY, 0x21, &[0; PROXY_HEADER_BYTES]),
        ] {
            assert!(matches!(read(&bytes), Ok(Status::Complete(it)) if it.length == bytes.len()));
            fuzz::check(&bytes);
        }
    }

    proptest! {
        /// Another implementation reads what is written here.
        #[test]
        fn another_implementation_reads_the_same(
            from: IpAddr, to: IpAddr, ports: (u16, u16),
            authority in "[a-z0-9.-]{0,255}",
            alpn in proptest::collection::vec(any::<u8>(), 0..=255),
        ) {
            use ::proxy_header::{ParseConfig, ProxiedAddress, ProxyHeader};
            let ends = Ends {
                source: SocketAddr::new(from, ports.0),
                destination: SocketAddr::new(to, ports.1),
            };
            let expected = ends.in_one_family();
            let expected = ProxiedAddress::stream(expected.source, expected.destination);
            for version in [Version::V1, Version::V2] {
                let tlvs = Tlvs { authority: authority.as_bytes(), alpn: &alpn };
                let out = written(version, ends, tlvs);
                fuzz::check(&out);
                let (header, length) =
                    ProxyHeader::parse(&out, ParseConfig::default()).expect("well-formed");
                prop_assert_eq!(length, out.len());
                prop_assert_eq!(header.proxied_address(), Some(&expected));
                if version == Version::V2 {
                    prop_assert_eq!(header.authority().unwrap_or_default(), &authority);
                    prop_assert_eq!(header.alpn().unwrap_or_default(), &alpn);
                }
            }
        }

        #[test]
        fn any_bytes_can_be_read(bytes: Vec<u8>, start in 0..4_usize) {
            let starts = [&b""[..], b"PROXY ", b"PROXY TCP4 ", SIGNATURE];
            fuzz::check(&[starts[start], &bytes].concat());
        }
    }
}
