//! Native messages of the control session and of the links. PROTOCOL.md has them for other
//! implementations; integers are little-endian.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::frame::MAX_PAYLOAD;
use super::reader::{Overrun, Reader};

/// The version of the protocol that this code speaks.
pub const VERSION: u8 = 1;

/// The first four bytes of the first message. rathole's first message starts with a u32 of 0 or 1
/// and is at least 37 bytes long, and so are HELLO and LINK_HELLO, so that either server can tell.
pub const MAGIC: [u8; 4] = *b"undp";

/// The last byte of a message.
pub mod kind {
    /// Client's first message on a control connection.
    pub const HELLO: u8 = 0x01;
    /// Client's first message on a link.
    pub const LINK_HELLO: u8 = 0x02;
    /// Server's answer to HELLO.
    pub const WELCOME: u8 = 0x03;
    /// Server's answer to a HELLO of other versions.
    pub const REFUSED: u8 = 0x04;
    /// Client asks for a service.
    pub const REGISTER: u8 = 0x05;
    /// Server's answer to REGISTER.
    pub const REGISTERED: u8 = 0x06;
    /// Server takes a service away.
    pub const WITHDRAWN: u8 = 0x07;
    /// Server asks for more links.
    pub const LINKS: u8 = 0x08;
    /// Either side: are you there?
    pub const PING: u8 = 0x09;
    /// The answer.
    pub const PONG: u8 = 0x0a;
    /// Either side leaves in order.
    pub const GOODBYE: u8 = 0x0b;
    /// Client gives a service up.
    pub const RELEASE: u8 = 0x0c;
    /// Either side takes no new visitors and is about to leave.
    pub const DRAINING: u8 = 0x0d;
    /// Client: what runs at home answers, or does not.
    pub const HEALTH: u8 = 0x0e;
    /// Server has taken a link into its pool.
    pub const READY: u8 = 0x10;
    /// Server: a visitor is on this link.
    pub const OPEN: u8 = 0x11;
    /// Either side: the visitor's or the home's bytes.
    pub const DATA: u8 = 0x12;
    /// Either side: end of file in this direction.
    pub const FIN: u8 = 0x13;
    /// Either side: the connection is broken.
    pub const RESET: u8 = 0x14;
    /// Client: what runs at home has taken the connection.
    pub const ACCEPTED: u8 = 0x15;
}

/// Any message but DATA, which the relay handles by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// Opens a control session.
    Hello {
        /// Oldest version that the client speaks.
        min_version: u8,
        /// Newest version that the client speaks.
        max_version: u8,
        /// Random, the same for all sessions of one client process: a new session with a known
        /// instance replaces the old one.
        instance: [u8; 32],
    },
    /// Adds a link to a session.
    LinkHello {
        /// As WELCOME said.
        version: u8,
        /// As WELCOME said.
        session: u64,
        /// [`crate::proto::proof::link`].
        proof: [u8; 32],
    },
    /// Accepts HELLO.
    Welcome {
        /// The version in force.
        version: u8,
        /// Names the session in LINK_HELLO.
        session: u64,
        /// Secret of the session, for the proofs of its links.
        key: [u8; 32],
        /// Goes into the proofs of the tokens.
        nonce: [u8; 32],
    },
    /// No common version.
    Refused {
        /// Oldest version that the server speaks.
        min_version: u8,
        /// Newest version that the server speaks.
        max_version: u8,
    },
    /// Asks for a service.
    Register(Register<'a>),
    /// Answers REGISTER.
    Registered {
        /// The client's number for the service.
        number: u16,
        /// What became of it.
        answer: Registration,
    },
    /// The session has the service no more; or it may ask again for one that it was refused.
    Withdrawn {
        /// The client's number for the service.
        number: u16,
    },
    /// Please dial so many more links.
    Links {
        /// At least 1.
        count: u16,
    },
    /// Answered by PONG with the same value.
    Ping(u64),
    /// The value of a PING.
    Pong(u64),
    /// The sender closes the session.
    Goodbye,
    /// The client gives a service up, or a number that it was refused.
    Release {
        /// The client's number for the service.
        number: u16,
    },
    /// The sender takes no new visitors, and closes the session before long.
    Draining,
    /// What runs at home answers, or does not.
    Health {
        /// The client's number for the service.
        number: u16,
        /// It does.
        is_well: bool,
    },
    /// The link is in the pool.
    Ready,
    /// A visitor is here.
    Open(Open<'a>),
    /// End of file in the sender's direction.
    Fin,
    /// The connection is broken; see [`crate::proto::lease`].
    Reset {
        /// The lease that it ends.
        lease: u32,
        /// Why.
        reason: Reason,
    },
    /// What runs at home has taken the visitor's connection; said where OPEN asks for it.
    Accepted,
}

/// A client asks for a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register<'a> {
    /// The client's number for it, used from here on.
    pub number: u16,
    /// [`crate::config::ServiceKind`] as a number.
    pub kind: u8,
    /// Only if no other session has it.
    pub if_free: bool,
    /// Where homes share it: what this one takes of its visitors.
    pub part: Part,
    /// How many local ports it has; 1 takes the visitors of any number.
    pub ports: u16,
    /// [`crate::proto::proof::service`].
    pub proof: [u8; 32],
    /// The service's name, 1 to 255 bytes.
    pub name: &'a [u8],
}

/// What a home takes of the visitors of a service that several share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// How much it takes beside others, 1 to 100.
    pub weight: u8,
    /// It takes visitors only when no other is well.
    pub backup: bool,
    /// What runs there answers, as far as its client knows.
    pub is_well: bool,
}

impl Default for Part {
    fn default() -> Part {
        Part { weight: 1, backup: false, is_well: true }
    }
}

/// What became of a REGISTER.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Registration {
    /// The session has the service.
    Accepted = 0,
    /// The server's file has no service of that name.
    UnknownService = 1,
    /// The proof is not of the server's token.
    WrongToken = 2,
    /// The server's file says another type.
    WrongKind = 3,
    /// Asked for only if free, and it is not.
    Taken = 4,
    /// The server's file has another number of ports, and the client's more than one.
    WrongPorts = 5,
}

/// Why a lease is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// The sender's socket was reset, or failed in the middle.
    Broken = 0,
    /// Home: the local service refused the connection.
    Refused = 1,
    /// Home: no answer to the dial in time, or no route.
    Unreachable = 2,
    /// Home: the local address's name has no address.
    Unresolved = 3,
    /// Home: no service of that number or entry.
    NoService = 4,
    /// Home: no descriptor left.
    Busy = 5,
    /// An answer to RESET.
    Answer = 6,
    /// Silence for too long after one direction had ended.
    Idle = 7,
}

/// A visitor's connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open<'a> {
    /// Counts the leases of this link; RESET names it.
    pub lease: u32,
    /// The client's number for the service.
    pub service: u16,
    /// Which entry the visitor came in by.
    pub entry: Entry,
    /// The visitor's address.
    pub visitor: SocketAddr,
    /// The address that the visitor dialled.
    pub local: SocketAddr,
    /// Which of the service's own ports that was, counted from 0; 0 for the other entries.
    pub offset: u16,
    /// DATA of this lease may come as raw runs ([`super::frame`]).
    pub raw: bool,
    /// ACCEPTED is to be said when what runs at home has taken the connection.
    pub confirm: bool,
    /// The name asked for, normalised; empty if none.
    pub name: &'a [u8],
    /// What the visitor has said so far; the rest follows as DATA.
    pub first_bytes: &'a [u8],
}

/// Which door a visitor came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Entry {
    /// A port of the service's own.
    Tcp = 0,
    /// Plain HTTP, by Host.
    Http = 1,
    /// TLS, by SNI.
    Https = 2,
    /// UDP ports of the service's own: not one visitor, but the records of many
    /// ([`super::datagram`]).
    Udp = 3,
}

/// Why a message is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// A field is cut, or bytes follow the last one.
    Malformed,
    /// No message has this kind.
    UnknownKind,
    /// A code outside its list.
    UnknownCode,
    /// A first message that does not begin with [`MAGIC`].
    NotNative,
}

impl From<Overrun> for Reject {
    fn from(_: Overrun) -> Reject {
        Reject::Malformed
    }
}

impl<'a> Message<'a> {
    /// Appends payload and kind to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let kind = match *self {
            Message::Hello { min_version, max_version, ref instance } => {
                out.extend_from_slice(&MAGIC);
                out.extend_from_slice(&[min_version, max_version]);
                out.extend_from_slice(instance);
                kind::HELLO
            }
            Message::LinkHello { version, session, ref proof } => {
                out.extend_from_slice(&MAGIC);
                out.push(version);
                out.extend_from_slice(&session.to_le_bytes());
                out.extend_from_slice(proof);
                kind::LINK_HELLO
            }
            Message::Welcome { version, session, ref key, ref nonce } => {
                out.push(version);
                out.extend_from_slice(&session.to_le_bytes());
                out.extend_from_slice(key);
                out.extend_from_slice(nonce);
                kind::WELCOME
            }
            Message::Refused { min_version, max_version } => {
                out.extend_from_slice(&[min_version, max_version]);
                kind::REFUSED
            }
            Message::Register(ref register) => {
                register.encode(out);
                kind::REGISTER
            }
            Message::Registered { number, answer } => {
                out.extend_from_slice(&number.to_le_bytes());
                out.push(answer as u8);
                kind::REGISTERED
            }
            Message::Withdrawn { number } => {
                out.extend_from_slice(&number.to_le_bytes());
                kind::WITHDRAWN
            }
            Message::Release { number } => {
                out.extend_from_slice(&number.to_le_bytes());
                kind::RELEASE
            }
            Message::Links { count } => {
                out.extend_from_slice(&count.to_le_bytes());
                kind::LINKS
            }
            Message::Ping(value) => {
                out.extend_from_slice(&value.to_le_bytes());
                kind::PING
            }
            Message::Pong(value) => {
                out.extend_from_slice(&value.to_le_bytes());
                kind::PONG
            }
            Message::Goodbye => kind::GOODBYE,
            Message::Draining => kind::DRAINING,
            Message::Health { number, is_well } => {
                out.extend_from_slice(&number.to_le_bytes());
                out.push(u8::from(is_well));
                kind::HEALTH
            }
            Message::Accepted => kind::ACCEPTED,
            Message::Ready => kind::READY,
            Message::Open(ref open) => {
                open.encode(out);
                kind::OPEN
            }
            Message::Fin => kind::FIN,
            Message::Reset { lease, reason } => {
                out.extend_from_slice(&lease.to_le_bytes());
                out.push(reason as u8);
                kind::RESET
            }
        };
        out.push(kind);
    }

    /// Reads a message from its kind and its payload. Allocates nothing.
    pub fn decode(kind: u8, payload: &'a [u8]) -> Result<Message<'a>, Reject> {
        let mut reader = Reader::new(payload);
        let message = match kind {
            kind::HELLO => {
                expect_magic(&mut reader)?;
                Message::Hello {
                    min_version: reader.u8()?,
                    max_version: reader.u8()?,
                    instance: reader.array()?,
                }
            }
            kind::LINK_HELLO => {
                expect_magic(&mut reader)?;
                Message::LinkHello {
                    version: reader.u8()?,
                    session: reader.u64_le()?,
                    proof: reader.array()?,
                }
            }
            kind::WELCOME => Message::Welcome {
                version: reader.u8()?,
                session: reader.u64_le()?,
                key: reader.array()?,
                nonce: reader.array()?,
            },
            kind::REFUSED => {
                Message::Refused { min_version: reader.u8()?, max_version: reader.u8()? }
            }
            kind::REGISTER => Message::Register(Register::decode(&mut reader)?),
            kind::REGISTERED => Message::Registered {
                number: reader.u16_le()?,
                answer: Registration::from_code(reader.u8()?)?,
            },
            kind::WITHDRAWN => Message::Withdrawn { number: reader.u16_le()? },
            kind::RELEASE => Message::Release { number: reader.u16_le()? },
            kind::LINKS => Message::Links { count: reader.u16_le()? },
            kind::PING => Message::Ping(reader.u64_le()?),
            kind::PONG => Message::Pong(reader.u64_le()?),
            kind::GOODBYE => Message::Goodbye,
            kind::DRAINING => Message::Draining,
            kind::HEALTH => {
                Message::Health { number: reader.u16_le()?, is_well: flag(reader.u8()?)? }
            }
            kind::ACCEPTED => Message::Accepted,
            kind::READY => Message::Ready,
            kind::OPEN => Message::Open(Open::decode(&mut reader)?),
            kind::FIN => Message::Fin,
            kind::RESET => {
                Message::Reset { lease: reader.u32_le()?, reason: Reason::from_code(reader.u8()?)? }
            }
            _ => return Err(Reject::UnknownKind),
        };
        reader.finish()?;
        Ok(message)
    }
}

impl<'a> Register<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&[self.kind, u8::from(self.if_free)]);
        out.extend_from_slice(&self.ports.to_le_bytes());
        let Part { weight, backup, is_well } = self.part;
        out.extend_from_slice(&[weight, u8::from(backup), u8::from(is_well)]);
        out.extend_from_slice(&self.proof);
        out.extend_from_slice(self.name);
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Register<'a>, Reject> {
        Ok(Register {
            number: reader.u16_le()?,
            kind: reader.u8()?,
            if_free: flag(reader.u8()?)?,
            ports: reader.u16_le()?,
            part: Part {
                weight: weight(reader.u8()?)?,
                backup: flag(reader.u8()?)?,
                is_well: flag(reader.u8()?)?,
            },
            proof: reader.array()?,
            name: reader.rest(),
        })
    }
}

impl<'a> Open<'a> {
    /// Bytes of an OPEN at most, without name and first bytes.
    const FIXED: usize = 4 + 2 + 1 + 2 * (1 + 16 + 2) + 2 + 1 + 1 + 1;

    /// How many first bytes fit into one frame beside a name of `name` bytes.
    pub const fn room(name: usize) -> usize {
        MAX_PAYLOAD - Self::FIXED - name
    }

    fn encode(&self, out: &mut Vec<u8>) {
        debug_assert!(self.name.len() <= 255 && self.first_bytes.len() <= Self::room(255));
        out.extend_from_slice(&self.lease.to_le_bytes());
        out.extend_from_slice(&self.service.to_le_bytes());
        out.push(self.entry as u8);
        encode_address(self.visitor, out);
        encode_address(self.local, out);
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&[u8::from(self.raw), u8::from(self.confirm)]);
        out.push(self.name.len() as u8);
        out.extend_from_slice(self.name);
        out.extend_from_slice(self.first_bytes);
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Open<'a>, Reject> {
        Ok(Open {
            lease: reader.u32_le()?,
            service: reader.u16_le()?,
            entry: Entry::from_code(reader.u8()?)?,
            visitor: decode_address(reader)?,
            local: decode_address(reader)?,
            offset: reader.u16_le()?,
            raw: flag(reader.u8()?)?,
            confirm: flag(reader.u8()?)?,
            name: {
                let length = usize::from(reader.u8()?);
                reader.take(length)?
            },
            first_bytes: reader.rest(),
        })
    }
}

/// `family: u8 (4 or 6) | address: 4 or 16 bytes, network order | port: u16`
pub(super) fn encode_address(address: SocketAddr, out: &mut Vec<u8>) {
    match address.ip() {
        IpAddr::V4(ip) => {
            out.push(4);
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(6);
            out.extend_from_slice(&ip.octets());
        }
    }
    out.extend_from_slice(&address.port().to_le_bytes());
}

pub(super) fn decode_address(reader: &mut Reader<'_>) -> Result<SocketAddr, Reject> {
    let ip: IpAddr = match reader.u8()? {
        4 => Ipv4Addr::from(reader.array::<4>()?).into(),
        6 => Ipv6Addr::from(reader.array::<16>()?).into(),
        _ => return Err(Reject::UnknownCode),
    };
    Ok(SocketAddr::new(ip, reader.u16_le()?))
}

fn expect_magic(reader: &mut Reader<'_>) -> Result<(), Reject> {
    if reader.array()? == MAGIC { Ok(()) } else { Err(Reject::NotNative) }
}

fn flag(code: u8) -> Result<bool, Reject> {
    match code {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Reject::UnknownCode),
    }
}

/// Of a home among others.
fn weight(code: u8) -> Result<u8, Reject> {
    if (1..=100).contains(&code) { Ok(code) } else { Err(Reject::UnknownCode) }
}

impl Registration {
    fn from_code(code: u8) -> Result<Registration, Reject> {
        use Registration::{Accepted, Taken, UnknownService, WrongKind, WrongPorts, WrongToken};
        [Accepted, UnknownService, WrongToken, WrongKind, Taken, WrongPorts]
            .into_iter()
            .find(|answer| *answer as u8 == code)
            .ok_or(Reject::UnknownCode)
    }
}

impl Reason {
    /// A code from a newer version is as good as [`Reason::Broken`].
    fn from_code(code: u8) -> Result<Reason, Reject> {
        use Reason::{Answer, Broken, Busy, Idle, NoService, Refused, Unreachable, Unresolved};
        Ok([Broken, Refused, Unreachable, Unresolved, NoService, Busy, Answer, Idle]
            .into_iter()
            .find(|reason| *reason as u8 == code)
            .unwrap_or(Broken))
    }
}

impl Reason {
    /// Whether what runs at home could not be reached.
    pub fn is_of_home(self) -> bool {
        use Reason::{Busy, NoService, Refused, Unreachable, Unresolved};
        matches!(self, Refused | Unreachable | Unresolved | NoService | Busy)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Broken => "the other side's connection broke",
            Reason::Refused => "the home's service refused the connection",
            Reason::Unreachable => "the home's service did not answer in time",
            Reason::Unresolved => "the home's local_addr has no address",
            Reason::NoService => "the home has no such service",
            Reason::Busy => "the home has no descriptor left",
            Reason::Answer => "answer to a reset",
            Reason::Idle => "silence after one direction had ended",
        })
    }
}

impl Entry {
    fn from_code(code: u8) -> Result<Entry, Reject> {
        [Entry::Tcp, Entry::Http, Entry::Https, Entry::Udp]
            .into_iter()
            .find(|entry| *entry as u8 == code)
            .ok_or(Reject::UnknownCode)
    }
}

/// For the fuzz target of this name.
#[doc(hidden)]
pub mod fuzz {
    use super::*;

    /// What decodes, encodes to something that decodes to the same.
    pub fn check(bytes: &[u8]) {
        let Some((kind, payload)) = bytes.split_last() else { return };
        if let Ok(message) = Message::decode(*kind, payload) {
            let mut again = Vec::new();
            message.encode(&mut again);
            let (kind, payload) = again.split_last().expect("encode ends with the kind");
            assert_eq!(Message::decode(*kind, payload), Ok(message));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
