//! rathole 0.5's messages: bincode 1, fixed-width little-endian, an enum's tag as u32.
//!
//! ```text
//! hello      tag: u32 (0 control, 1 data) | version: u8 = 1 | 32 bytes           37
//!              control, client: SHA-256(service name); server: a nonce
//!              data, client: the session key
//! auth       SHA-256(token | nonce), which is the session key from then on       32
//! ack        u32: 0 ok, 1 no such service, 2 wrong token                          4
//! command    u32: 0 create a data channel, 1 heartbeat                            4
//! start      u32: 0 forward TCP, 1 forward UDP; raw bytes or datagrams follow     4
//! datagram   length: u8 | visitor | payload length: u16 | payload
//!              `length` is that of visitor and payload length
//!              visitor = tag: u32 (0 IPv4, 1 IPv6) | address, network order | port: u16
//! ```
//!
//! Messages have no frames of their own: each lies in the connection's byte stream, which TCP or
//! Noise may cut anywhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Status;
use super::reader::{Overrun, Reader};

/// The version that rathole 0.5 speaks.
pub const VERSION: u8 = 1;
/// Bytes of a tag, an ack, a command, a start.
pub const TAG: usize = 4;
/// Bytes of a hello.
pub const HELLO: usize = TAG + 1 + 32;
/// Bytes of an auth.
pub const AUTH: usize = 32;

/// A SHA-256 digest or a nonce.
pub type Digest = [u8; 32];

/// What may not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// A tag that this version does not have.
    UnknownTag,
    /// Another version of the protocol.
    Version(u8),
    /// A datagram's header that is shorter or longer than what it says.
    Header,
}

impl From<Overrun> for Reject {
    fn from(_: Overrun) -> Reject {
        Reject::Header
    }
}

/// Whether a first message is rathole's. The native protocol's begins with four letters, and over
/// transport `tcp` with the length of its frame before them; neither is a u32 of 0 or 1.
pub fn is_hello(first: &[u8]) -> Status<bool> {
    match first.first_chunk::<TAG>() {
        Some(tag) => Status::Complete(u32::from_le_bytes(*tag) <= 1),
        None => Status::Partial,
    }
}

/// The first message of each side of a control channel, and of the client on a data channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hello {
    /// Client: the digest of a service's name. Server: the nonce.
    Control(Digest),
    /// Client: the session key of the control channel that it belongs to.
    Data(Digest),
}

impl Hello {
    /// As it travels.
    pub fn encode(&self) -> [u8; HELLO] {
        let (tag, digest) = match self {
            Hello::Control(digest) => (0, digest),
            Hello::Data(digest) => (1u32, digest),
        };
        let mut bytes = [0; HELLO];
        bytes[..TAG].copy_from_slice(&tag.to_le_bytes());
        bytes[TAG] = VERSION;
        bytes[TAG + 1..].copy_from_slice(digest);
        bytes
    }

    /// What came.
    pub fn decode(bytes: &[u8; HELLO]) -> Result<Hello, Reject> {
        let mut reader = Reader::new(bytes);
        let (tag, version, digest) = (reader.u32_le()?, reader.u8()?, reader.array()?);
        match (tag, version) {
            (0, VERSION) => Ok(Hello::Control(digest)),
            (1, VERSION) => Ok(Hello::Data(digest)),
            (0 | 1, other) => Err(Reject::Version(other)),
            _ => Err(Reject::UnknownTag),
        }
    }
}

/// The server's answer to auth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ack {
    /// The control channel stands.
    Ok = 0,
    /// No service has this digest.
    NoSuchService = 1,
    /// The token is another one.
    WrongToken = 2,
}

/// What the server says on a control channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Dial one more data channel.
    CreateDataChannel = 0,
    /// The server lives.
    Heartbeat = 1,
}

/// What the server says first on a data channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// A visitor's bytes follow.
    Tcp = 0,
    /// Datagrams follow.
    Udp = 1,
}

impl Ack {
    /// As it travels.
    pub fn encode(self) -> [u8; TAG] {
        (self as u32).to_le_bytes()
    }

    /// What came.
    pub fn decode(bytes: [u8; TAG]) -> Result<Ack, Reject> {
        variant(bytes, [Ack::Ok, Ack::NoSuchService, Ack::WrongToken])
    }
}

impl Command {
    /// As it travels.
    pub fn encode(self) -> [u8; TAG] {
        (self as u32).to_le_bytes()
    }

    /// What came.
    pub fn decode(bytes: [u8; TAG]) -> Result<Command, Reject> {
        variant(bytes, [Command::CreateDataChannel, Command::Heartbeat])
    }
}

impl Start {
    /// As it travels.
    pub fn encode(self) -> [u8; TAG] {
        (self as u32).to_le_bytes()
    }

    /// What came.
    pub fn decode(bytes: [u8; TAG]) -> Result<Start, Reject> {
        variant(bytes, [Start::Tcp, Start::Udp])
    }
}

/// The variant whose tag came; `variants` are in the order of their tags, from 0.
fn variant<T: Copy, const N: usize>(bytes: [u8; TAG], variants: [T; N]) -> Result<T, Reject> {
    let tag = usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX);
    variants.get(tag).copied().ok_or(Reject::UnknownTag)
}

/// What stands before each datagram on a data channel of a UDP service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatagramHeader {
    /// Who sent it to the server, or whom the home answers.
    pub visitor: SocketAddr,
    /// Bytes of the payload, which follow.
    pub length: u16,
}

impl DatagramHeader {
    /// Bytes of the longest one.
    pub const MOST: usize = 1 + TAG + 16 + 2 + 2;

    /// Appends it as it travels. An IPv6 address loses scope and flow label, as with rathole.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (length, port) = (self.length.to_le_bytes(), self.visitor.port().to_le_bytes());
        match self.visitor.ip() {
            IpAddr::V4(ip) => {
                out.extend_from_slice(&[TAG as u8 + 4 + 2 + 2, 0, 0, 0, 0]);
                out.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                out.extend_from_slice(&[TAG as u8 + 16 + 2 + 2, 1, 0, 0, 0]);
                out.extend_from_slice(&ip.octets());
            }
        }
        out.extend_from_slice(&port);
        out.extend_from_slice(&length);
    }

    /// The header at the front of `bytes`, if it is whole, and the bytes that it takes; the payload
    /// stands behind them.
    pub fn first(bytes: &[u8]) -> Result<Status<(DatagramHeader, usize)>, Reject> {
        let Some((length, rest)) = bytes.split_first() else { return Ok(Status::Partial) };
        let length = usize::from(*length);
        if 1 + length > DatagramHeader::MOST {
            return Err(Reject::Header);
        }
        let Some(header) = rest.get(..length) else { return Ok(Status::Partial) };
        let mut reader = Reader::new(header);
        let ip: IpAddr = match reader.u32_le()? {
            0 => Ipv4Addr::from(reader.array::<4>()?).into(),
            1 => Ipv6Addr::from(reader.array::<16>()?).into(),
            _ => return Err(Reject::UnknownTag),
        };
        let visitor = SocketAddr::new(ip, reader.u16_le()?);
        let header = DatagramHeader { visitor, length: reader.u16_le()? };
        reader.finish()?;
        Ok(Status::Complete((header, 1 + length)))
    }
}

/// For the fuzz target of this name.
#[doc(hidden)]
pub mod fuzz {
    use super::*;

    /// What decodes, encodes to the same bytes.
    pub fn check(bytes: &[u8]) {
        if let Some(hello) = bytes.first_chunk::<HELLO>()
            && let Ok(decoded) = Hello::decode(hello)
        {
            assert_eq!(decoded.encode(), *hello);
            assert_eq!(is_hello(bytes), Status::Complete(true));
        }
        if let Some(tag) = bytes.first_chunk::<TAG>() {
            let again = [
                Ack::decode(*tag).map(Ack::encode),
                Command::decode(*tag).map(Command::encode),
                Start::decode(*tag).map(Start::encode),
            ];
            again.into_iter().flatten().for_each(|encoded| assert_eq!(encoded, *tag));
        }
        let mut rest = bytes;
        while let Ok(Status::Complete((header, taken))) = DatagramHeader::first(rest) {
            let mut again = Vec::new();
            header.encode(&mut again);
            assert_eq!(again, rest[..taken]);
            for cut in 0..taken {
                assert_eq!(DatagramHeader::first(&rest[..cut]), Ok(Status::Partial));
            }
            rest = rest.get(taken + usize::from(header.length)..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digit = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
        (0..text.len()).step_by(2).map(digit).collect()
    }

    // What rathole 0.5.0 said for the service `pi` and the token `token`.
    const CONTROL: &str =
        "000000000185b42e1702877c851eb7412fe958c8fb447c3207b4798fadab42ea8539046ce1";
    const DATA: &str = "0100000001466f055a45922d3b77b811e47b66bf381477a556a23bbc508f62ff2cbeabded4";

    #[test]
    fn hellos_are_rathole_s_own() {
        for (text, is_data) in [(CONTROL, false), (DATA, true)] {
            let bytes = hex(text);
            let bytes: &[u8; HELLO] = bytes.first_chunk().expect("37 bytes");
            let hello = Hello::decode(bytes).expect("a hello");
            assert_eq!(matches!(hello, Hello::Data(_)), is_data);
            assert_eq!(hello.encode(), *bytes);
            fuzz::check(bytes);
            let mut other = *bytes;
            other[TAG] = 2;
            assert_eq!(Hello::decode(&other), Err(Reject::Version(2)));
            other[0] = 2;
            assert_eq!(Hello::decode(&other), Err(Reject::UnknownTag));
            other[3] = 1;
            assert_eq!(Hello::decode(&other), Err(Reject::UnknownTag));
        }
    }

    #[test]
    fn four_bytes_tell_the_protocols_apart() {
        assert_eq!(is_hello(&hex(CONTROL)), Status::Complete(true));
        assert_eq!(is_hello(&hex(DATA)), Status::Complete(true));
        for native in [&b"undp\x01\x01"[..], &[71, 0, b'u', b'n'], &[46, 0, b'u', b'n']] {
            assert_eq!(is_hello(native), Status::Complete(false));
        }
        for cut in 0..TAG {
            assert_eq!(is_hello(&hex(CONTROL)[..cut]), Status::Partial);
        }
    }

    #[test]
    fn tags_count_from_zero() {
        assert_eq!(Ack::decode([2, 0, 0, 0]), Ok(Ack::WrongToken));
        assert_eq!(Ack::decode([3, 0, 0, 0]), Err(Reject::UnknownTag));
        assert_eq!(Command::decode([1, 0, 0, 0]), Ok(Command::Heartbeat));
        assert_eq!(Command::decode([0, 0, 0, 1]), Err(Reject::UnknownTag));
        assert_eq!(Start::decode([1, 0, 0, 0]), Ok(Start::Udp));
        assert_eq!(Ack::NoSuchService.encode(), [1, 0, 0, 0]);
        assert_eq!(Command::CreateDataChannel.encode(), [0; TAG]);
        assert_eq!(Start::Tcp.encode(), [0; TAG]);
    }

    #[test]
    fn datagrams_are_rathole_s_own() {
        // `ping` from 127.0.0.1:50000 and `ping6` from [::1]:50001.
        let v4 = hex("0c000000007f00000150c3040070696e67");
        let v6 = hex("18010000000000000000000000000000000000000151c3050070696e6736");
        for (bytes, visitor, payload) in
            [(&v4, "127.0.0.1:50000", &b"ping"[..]), (&v6, "[::1]:50001", b"ping6")]
        {
            let Ok(Status::Complete((header, taken))) = DatagramHeader::first(bytes) else {
                panic!("{bytes:?}");
            };
            assert_eq!(header.visitor, visitor.parse().expect("literal"));
            assert_eq!(usize::from(header.length), payload.len());
            assert_eq!(&bytes[taken..], payload);
            fuzz::check(bytes);
        }
        fuzz::check(&[v4.clone(), v6.clone(), v4.clone()].concat());
        // One byte too few or too many inside, an unknown family, a length beyond any header.
        for broken in [0x0b, 0x0d, 0xff] {
            let mut bytes = v4.clone();
            bytes[0] = broken;
            assert_eq!(DatagramHeader::first(&bytes), Err(Reject::Header), "{broken}");
        }
        let mut bytes = v6;
        bytes[1] = 2;
        assert_eq!(DatagramHeader::first(&bytes), Err(Reject::UnknownTag));
        assert_eq!(DatagramHeader::first(&[0]), Err(Reject::Header));
    }
}
