//! SOCKS5 (RFC 1928) as its client says and hears it, with user and password (RFC 1929).
//!
//! ```text
//! client  5 | n | n methods                          server  5 | method
//!         1 | length | user | length | password              1 | 0 right, else wrong
//!         5 | 1 connect | 0 | address | port                 5 | reply | 0 | address | port
//!
//! address  1 | IPv4: 4 bytes   or   3 | length | name   or   4 | IPv6: 16 bytes
//! ```

use std::net::IpAddr;

use super::Status;
use super::reader::{Overrun, Reader};

/// How a server wants to be told who its client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Not at all.
    None,
    /// By user and password.
    Login,
}

/// What a server did wrong, or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// Its first byte is another protocol's.
    NotSocks5,
    /// It takes none of the methods that it was offered.
    NoMethod,
    /// It chose a method that it was not offered.
    OtherMethod,
    /// User or password are wrong.
    WrongLogin,
    /// It does not connect; RFC 1928, section 6 has the codes.
    Refused(u8),
    /// An address of an unknown type.
    AddressType,
}

/// An answer and the bytes that it takes, once it is whole.
pub type Answer<T> = Result<Status<(T, usize)>, Reject>;

/// Appends the first message.
pub fn encode_greeting(login: bool, out: &mut Vec<u8>) {
    match login {
        true => out.extend_from_slice(&[VERSION, 2, METHOD_NONE, METHOD_LOGIN]),
        false => out.extend_from_slice(&[VERSION, 1, METHOD_NONE]),
    }
}

/// Appends user and password, each of at most 255 bytes.
pub fn encode_login(user: &[u8], password: &[u8], out: &mut Vec<u8>) {
    out.push(LOGIN_VERSION);
    for part in [user, password] {
        push_counted(part, out);
    }
}

/// Appends the request for a connection. A name, of at most 255 bytes, is the server's to resolve.
pub fn encode_connect(host: &str, port: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&[VERSION, CONNECT, 0]);
    match host.parse() {
        Ok(IpAddr::V4(address)) => {
            out.push(IPV4);
            out.extend_from_slice(&address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            out.push(IPV6);
            out.extend_from_slice(&address.octets());
        }
        Err(_) => {
            out.push(NAME);
            push_counted(host.as_bytes(), out);
        }
    }
    out.extend_from_slice(&port.to_be_bytes());
}

/// The answer to the greeting, after which a `login` was on offer.
pub fn decode_method(bytes: &[u8], login: bool) -> Answer<Method> {
    whole(bytes, |reader| {
        version(reader)?;
        match reader.u8()? {
            METHOD_NONE => Ok(Method::None),
            METHOD_LOGIN if login => Ok(Method::Login),
            NO_METHOD => Err(Stop::Reject(Reject::NoMethod)),
            _ => Err(Stop::Reject(Reject::OtherMethod)),
        }
    })
}

/// The answer to user and password. Its version is not looked at: some servers say 5 there.
pub fn decode_login(bytes: &[u8]) -> Answer<()> {
    whole(bytes, |reader| {
        reader.u8()?;
        match reader.u8()? {
            0 => Ok(()),
            _ => Err(Stop::Reject(Reject::WrongLogin)),
        }
    })
}

/// The answer to the request. The address in it, the server's own end, is of no use here.
pub fn decode_reply(bytes: &[u8]) -> Answer<()> {
    whole(bytes, |reader| {
        version(reader)?;
        let reply = reader.u8()?;
        if reply != 0 {
            return Err(Stop::Reject(Reject::Refused(reply)));
        }
        reader.u8()?;
        let length = match reader.u8()? {
            IPV4 => 4,
            IPV6 => 16,
            NAME => usize::from(reader.u8()?),
            _ => return Err(Stop::Reject(Reject::AddressType)),
        };
        reader.take(length)?;
        reader.u16()?;
        Ok(())
    })
}

/// What a reply's code means.
pub fn reply_text(code: u8) -> &'static str {
    match code {
        1 => "general failure",
        2 => "not allowed by its rules",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "time to live expired",
        7 => "command not supported",
        8 => "address type not supported",
        _ => "unknown reason",
    }
}

/// Why an answer cannot be read to its end.
enum Stop {
    More,
    Reject(Reject),
}

impl From<Overrun> for Stop {
    fn from(_: Overrun) -> Stop {
        Stop::More
    }
}

fn whole<T>(bytes: &[u8], read: impl FnOnce(&mut Reader<'_>) -> Result<T, Stop>) -> Answer<T> {
    let mut reader = Reader::new(bytes);
    match read(&mut reader) {
        Ok(answer) => Ok(Status::Complete((answer, bytes.len() - reader.rest().len()))),
        Err(Stop::More) => Ok(Status::Partial),
        Err(Stop::Reject(reject)) => Err(reject),
    }
}

fn version(reader: &mut Reader<'_>) -> Result<(), Stop> {
    match reader.u8()? {
        VERSION => Ok(()),
        _ => Err(Stop::Reject(Reject::NotSocks5)),
    }
}

fn push_counted(bytes: &[u8], out: &mut Vec<u8>) {
    debug_assert!(bytes.len() <= 255);
    out.push(bytes.len() as u8);
    out.extend_from_slice(bytes);
}

const VERSION: u8 = 5;
const LOGIN_VERSION: u8 = 1;
const METHOD_NONE: u8 = 0;
const METHOD_LOGIN: u8 = 2;
const NO_METHOD: u8 = 0xff;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// For the fuzz target of this name.
#[doc(hidden)]
pub mod fuzz {
    use super::*;

    /// What is whole is so with its last byte only, and an answer says no more than it holds.
    pub fn check(bytes: &[u8]) {
        check_one(bytes, |bytes| decode_method(bytes, true));
        check_one(bytes, decode_login);
        check_one(bytes, decode_reply);
    }

    fn check_one<T>(bytes: &[u8], decode: impl Fn(&[u8]) -> Answer<T>) {
        let Ok(Status::Complete((_, taken))) = decode(bytes) else { return };
        for cut in 0..taken {
            assert!(matches!(decode(&bytes[..cut]), Ok(Status::Partial)), "cut at {cut}");
        }
        assert!(
            matches!(decode(&bytes[..taken]), Ok(Status::Complete((_, same))) if same == taken)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_says() {
        let said = |say: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            say(&mut out);
            out
        };
        assert_eq!(said(&|out| encode_greeting(false, out)), [5, 1, 0]);
        assert_eq!(said(&|out| encode_greeting(true, out)), [5, 2, 0, 2]);
        assert_eq!(said(&|out| encode_login(b"me", b"", out)), [1, 2, b'm', b'e', 0]);
        let name = said(&|out| encode_connect("vps.d", 2333, out));
        assert_eq!(name, b"\x05\x01\x00\x03\x05vps.d\x09\x1d");
        let v4 = said(&|out| encode_connect("192.0.2.7", 80, out));
        assert_eq!(v4, [5, 1, 0, 1, 192, 0, 2, 7, 0, 80]);
        let v6 = said(&|out| encode_connect("2001:db8::1", 80, out));
        assert_eq!(
            (v6.len(), &v6[..8], &v6[19..]),
            (22, &[5, 1, 0, 4, 32, 1, 13, 184][..], &[1, 0, 80][..])
        );
    }

    #[test]
    fn answers_are_whole_with_their_last_byte() {
        for reply in [
            &[5, 0, 0, 1, 127, 0, 0, 1, 0, 80, 9][..],
            &[5, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 80, 9],
            &[5, 0, 0, 3, 2, b'a', b'b', 0, 80, 9],
        ] {
            assert_eq!(decode_reply(reply), Ok(Status::Complete(((), reply.len() - 1))));
            fuzz::check(reply);
        }
        assert_eq!(decode_method(&[5, 2], true), Ok(Status::Complete((Method::Login, 2))));
        assert_eq!(decode_method(&[5, 0], true), Ok(Status::Complete((Method::None, 2))));
        assert_eq!(decode_method(&[5], true), Ok(Status::Partial));
        assert_eq!(decode_login(&[1, 0]), Ok(Status::Complete(((), 2))));
    }

    #[test]
    fn a_refusal_has_a_name_as_soon_as_it_is_said() {
        assert_eq!(decode_method(b"H", false), Err(Reject::NotSocks5));
        assert_eq!(decode_method(&[5, 0xff], false), Err(Reject::NoMethod));
        assert_eq!(decode_method(&[5, 2], false), Err(Reject::OtherMethod));
        assert_eq!(decode_login(&[1, 1]), Err(Reject::WrongLogin));
        assert_eq!(decode_reply(&[4]), Err(Reject::NotSocks5));
        assert_eq!(decode_reply(&[5, 5]), Err(Reject::Refused(5)));
        assert_eq!(decode_reply(&[5, 0, 0, 2]), Err(Reject::AddressType));
    }
}
