//! Hostname: a visitor's name, parsed and normalised once, the same for SNI and for Host.
//!
//! Normalised: ASCII lower case, without one trailing dot, and (Host) without the port; punycode
//! stays as it is. Valid: 1 to [`NAME_BYTES`] bytes (RFC 1035 2.3.4), in labels of 1 to
//! [`LABEL_BYTES`] letters, digits, `-` and `_`. A `*` is none of these, so no visitor can ask for
//! a pattern. What cannot be parsed is a [`Reject`], never "no name": only the absence of a name
//! may use a fallback.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str;

/// The longest name, without its trailing dot (RFC 1035 2.3.4).
pub const NAME_BYTES: usize = 253;
/// The longest label (RFC 1035 2.3.4).
pub const LABEL_BYTES: usize = 63;

/// A DNS name, normalised. No heap: 254 bytes wherever it is kept.
#[derive(Clone, Copy)]
pub struct Hostname {
    /// `bytes[..len]`: lower-case letters, digits, `-`, `_`, and `.` between labels; then zeroes.
    bytes: [u8; NAME_BYTES],
    /// `1 <= len <= NAME_BYTES`
    len: u8,
}

impl Hostname {
    /// The name of a `server_name` extension (RFC 6066 3), or one from the configuration.
    /// An address is refused: RFC 6066 forbids it. `123.456.example` is a name.
    pub fn parse(raw: &[u8]) -> Result<Hostname, Reject> {
        match parse_name_or_v4(raw)? {
            HostName::Dns(name) => Ok(name),
            HostName::Ip(_) => Err(Reject::Address),
            HostName::Empty => Err(Reject::Empty),
        }
    }

    /// The normalised name.
    pub fn as_str(&self) -> &str {
        let name = &self.bytes[..usize::from(self.len)];
        str::from_utf8(name).expect("a Hostname holds nothing but ASCII")
    }

    /// The labels, left to right; `.rev()` starts at the top-level domain. Never empty.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.as_str().split('.')
    }
}

/// What a Host field or a request target's authority names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a box would be an allocation for every request")]
pub enum HostName {
    /// A name.
    Dns(Hostname),
    /// An address; only `**` or a fallback matches it.
    Ip(IpAddr),
    /// An empty field, which RFC 9112 3.2 allows: no name.
    Empty,
}

/// A Host field's two parts (RFC 9110 7.2: `uri-host [ ":" port ]`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority {
    /// Whom the visitor asks for.
    pub host: HostName,
    /// The port, if one is given and not empty.
    pub port: Option<u16>,
}

/// The host of a Host field, its port checked and dropped. `value` has no white space around it.
pub fn parse_host(value: &[u8]) -> Result<HostName, Reject> {
    Ok(parse_authority(value)?.host)
}

/// A Host field's value, or the authority of an absolute-form target, without white space around
/// it. An empty port is allowed (RFC 3986 3.2.3), user information is not (RFC 9110 4.2.4).
pub fn parse_authority(value: &[u8]) -> Result<Authority, Reject> {
    if value.is_empty() {
        return Ok(Authority { host: HostName::Empty, port: None });
    }
    if value.contains(&b'@') {
        return Err(Reject::UserInfo);
    }
    let (host, after) = match value.strip_prefix(b"[") {
        Some(rest) => {
            let (inside, after) = split_before(rest, b']');
            let after = after.strip_prefix(b"]").ok_or(Reject::Bracket)?;
            (HostName::Ip(IpAddr::V6(parse_v6(inside)?)), after)
        }
        None => {
            let (name, after) = split_before(value, b':');
            (parse_name_or_v4(name)?, after)
        }
    };
    let port = match after.split_first() {
        None => None,
        Some((b':', digits)) => parse_port(digits)?,
        Some(_) => return Err(Reject::Bracket),
    };
    Ok(Authority { host, port })
}

/// What is wrong with a name. The text quotes none of the peer's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// Not a byte where a name must be.
    Empty,
    /// More than [`NAME_BYTES`].
    TooLong,
    /// Two dots together, a dot in front, or nothing but a dot.
    EmptyLabel,
    /// A label of more than [`LABEL_BYTES`].
    LongLabel,
    /// A byte other than letters, digits, `-`, `_` and `.`.
    Byte,
    /// An address where RFC 6066 wants a name.
    Address,
    /// User information in front of the host.
    UserInfo,
    /// Brackets without an IPv6 address in them, unclosed, or with more after them than a port.
    Bracket,
    /// A port that is not a number up to 65535.
    Port,
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reject::Empty => "empty name",
            Reject::TooLong => "name too long",
            Reject::EmptyLabel => "empty label in the name",
            Reject::LongLabel => "label too long in the name",
            Reject::Byte => "byte not allowed in a name",
            Reject::Address => "address in place of a name",
            Reject::UserInfo => "user information in the host",
            Reject::Bracket => "malformed address in brackets",
            Reject::Port => "malformed port",
        })
    }
}

impl std::error::Error for Reject {}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl PartialEq for Hostname {
    fn eq(&self, other: &Hostname) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Hostname {}

impl Hash for Hostname {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Ord for Hostname {
    fn cmp(&self, other: &Hostname) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl PartialOrd for Hostname {
    fn partial_cmp(&self, other: &Hostname) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Never `Empty`. An IPv4 literal is told from a name after normalisation, so that a trailing dot
/// or another entry does not change the answer.
fn parse_name_or_v4(raw: &[u8]) -> Result<HostName, Reject> {
    if raw.is_empty() {
        return Err(Reject::Empty);
    }
    let raw = raw.strip_suffix(b".").unwrap_or(raw);
    if parse_v6(raw).is_ok() {
        return Err(Reject::Address);
    }
    if raw.len() > NAME_BYTES {
        return Err(Reject::TooLong);
    }
    for label in raw.split(|&byte| byte == b'.') {
        match label.len() {
            0 => return Err(Reject::EmptyLabel),
            1..=LABEL_BYTES => {}
            _ => return Err(Reject::LongLabel),
        }
        if !label.iter().all(|&byte| is_name_byte(byte)) {
            return Err(Reject::Byte);
        }
    }
    let mut name = Hostname { bytes: [0; NAME_BYTES], len: 0 };
    for (to, from) in name.bytes.iter_mut().zip(raw) {
        *to = from.to_ascii_lowercase();
        name.len += 1; // at most NAME_BYTES times
    }
    Ok(match name.as_str().parse::<Ipv4Addr>() {
        Ok(address) => HostName::Ip(IpAddr::V4(address)),
        Err(_) => HostName::Dns(name),
    })
}

/// Letters, digits and hyphen (RFC 1123 2.1), and the underscore that people use all the same.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// Without brackets; a zone has no meaning on the wire and is refused.
fn parse_v6(text: &[u8]) -> Result<Ipv6Addr, Reject> {
    let text = str::from_utf8(text).map_err(|_| Reject::Bracket)?;
    text.parse().map_err(|_| Reject::Bracket)
}

/// Digits alone: no sign, no space, and no more than 65535.
fn parse_port(digits: &[u8]) -> Result<Option<u16>, Reject> {
    if digits.is_empty() {
        return Ok(None);
    }
    let mut port: u16 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return Err(Reject::Port);
        }
        let shifted = port.checked_mul(10).ok_or(Reject::Port)?;
        port = shifted.checked_add(u16::from(digit - b'0')).ok_or(Reject::Port)?;
    }
    Ok(Some(port))
}

/// `(before, from)` the first `mark`; all and nothing if there is none.
fn split_before(bytes: &[u8], mark: u8) -> (&[u8], &[u8]) {
    let at = bytes.iter().position(|&byte| byte == mark).unwrap_or(bytes.len());
    bytes.split_at(at)
}

/// The invariants that the fuzz target and the corpus test check.
#[doc(hidden)]
pub mod fuzz {
    use super::*;

    /// Panics if a name is not as this module promises, or depends on how it was written.
    pub fn check(bytes: &[u8]) {
        let parsed = Hostname::parse(bytes);
        if let Ok(name) = parsed {
            let text = name.as_str();
            assert!((1..=NAME_BYTES).contains(&text.len()) && !text.ends_with('.'));
            assert!(name.labels().all(|label| (1..=LABEL_BYTES).contains(&label.len())));
            assert!(text.bytes().all(|b| b == b'.' || is_name_byte(b) && !b.is_ascii_uppercase()));
            assert!(text.parse::<IpAddr>().is_err());
            assert_eq!(Hostname::parse(text.as_bytes()), Ok(name), "normalising twice");
            assert_eq!(Hostname::parse(&bytes.to_ascii_uppercase()), Ok(name), "case");
            assert_eq!(name.labels().collect::<Vec<_>>().join("."), text);
            assert_eq!(parse_host(bytes), Ok(HostName::Dns(name)), "the same on both ports");
        }
        if let Ok(Authority { host, port }) = parse_authority(bytes) {
            match host {
                HostName::Dns(name) if port.is_none() && !bytes.contains(&b':') => {
                    assert_eq!(parsed, Ok(name));
                }
                HostName::Dns(name) => {
                    assert_eq!(Hostname::parse(name.as_str().as_bytes()), Ok(name))
                }
                HostName::Ip(_) => assert!(parsed.is_err()),
                HostName::Empty => assert!(bytes.is_empty()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Hostname {
        Hostname::parse(text.as_bytes()).expect(text)
    }

    #[test]
    fn p5_one_name_has_one_form() {
        assert_eq!(name("PI.Example.COM.").as_str(), "pi.example.com");
        assert_eq!(name("xn--bcher-kva.example").as_str(), "xn--bcher-kva.example");
        for odd in ["x", "123.456.example", "1.2.3", "1.2.3.4.5", "_acme.example", "-a-.b"] {
            assert_eq!(name(odd).as_str(), odd);
        }
        for value in ["Pi.Example.Com", "pi.example.com.", "pi.example.com:80", "pi.example.com.:"]
        {
            assert_eq!(parse_host(value.as_bytes()), Ok(HostName::Dns(name("pi.example.com"))));
        }
    }

    #[test]
    fn p5_what_is_no_name_is_refused_by_its_deed() {
        for (raw, why) in [
            ("", Reject::Empty),
            (".", Reject::EmptyLabel),
            ("a..b", Reject::EmptyLabel),
            (".a", Reject::EmptyLabel),
            ("a..", Reject::EmptyLabel),
            ("*", Reject::Byte),
            ("*.example.com", Reject::Byte),
            ("a b", Reject::Byte),
            ("a\0", Reject::Byte),
            ("b\u{fc}cher.example", Reject::Byte),
            ("192.0.2.1", Reject::Address),
            ("192.0.2.1.", Reject::Address),
            ("2001:db8::1", Reject::Address),
            ("[2001:db8::1]", Reject::Byte),
            ("a:80", Reject::Byte),
        ] {
            assert_eq!(Hostname::parse(raw.as_bytes()), Err(why), "{raw:?}");
        }
    }

    #[test]
    fn lengths_are_exact() {
        let label = "a".repeat(LABEL_BYTES);
        let longest = format!("{label}.{label}.{label}.{}", "b".repeat(61));
        assert_eq!(longest.len(), NAME_BYTES);
        assert_eq!(name(&longest).as_str(), longest);
        assert_eq!(name(&format!("{longest}.")).as_str(), longest);
        assert_eq!(Hostname::parse(format!("{longest}b").as_bytes()), Err(Reject::TooLong));
        assert_eq!(Hostname::parse(format!("{label}a").as_bytes()), Err(Reject::LongLabel));
    }

    #[test]
    fn a_host_field_has_a_host_and_perhaps_a_port() {
        let ok = |value: &str| parse_authority(value.as_bytes()).expect(value);
        assert_eq!(ok(""), Authority { host: HostName::Empty, port: None });
        assert_eq!(ok("a:65535"), Authority { host: HostName::Dns(name("a")), port: Some(65535) });
        assert_eq!(ok("a:"), Authority { host: HostName::Dns(name("a")), port: None });
        let v4 = HostName::Ip(IpAddr::from([192, 0, 2, 1]));
        assert_eq!(ok("192.0.2.1:80"), Authority { host: v4, port: Some(80) });
        assert_eq!(ok("192.0.2.1."), Authority { host: v4, port: None });
        let v6 = HostName::Ip(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]));
        assert_eq!(ok("[2001:DB8::1]:8443"), Authority { host: v6, port: Some(8443) });
        assert_eq!(ok("[2001:db8::1]"), Authority { host: v6, port: None });
    }

    #[test]
    fn a_host_field_of_anything_else_is_refused() {
        for (value, why) in [
            (":80", Reject::Empty),
            ("a:65536", Reject::Port),
            ("a:-1", Reject::Port),
            ("a:+1", Reject::Port),
            ("a:80:80", Reject::Port),
            ("a:80 ", Reject::Port),
            (" a", Reject::Byte),
            ("a, b", Reject::Byte),
            ("a/b", Reject::Byte),
            ("http://a", Reject::Port),
            ("u@a", Reject::UserInfo),
            ("a:80@b", Reject::UserInfo),
            ("2001:db8::1", Reject::Port),
            ("::1", Reject::Empty),
            ("[::1", Reject::Bracket),
            ("[::1]x", Reject::Bracket),
            ("[::1]x:80", Reject::Bracket),
            ("[::g]", Reject::Bracket),
            ("[fe80::1%25eth0]", Reject::Bracket),
            ("[192.0.2.1]", Reject::Bracket),
            ("[]", Reject::Bracket),
        ] {
            assert_eq!(parse_host(value.as_bytes()), Err(why), "{value:?}");
        }
    }

    #[test]
    fn names_order_and_hash_as_their_text() {
        let mut names = [name("b.a"), name("A.b"), name("a")];
        names.sort();
        assert_eq!(names.map(|n| n.to_string()), ["a", "a.b", "b.a"]);
        let reversed: Vec<_> = names[1].labels().rev().collect();
        assert_eq!(reversed, ["b", "a"]);
        assert_eq!(format!("{:?} {:>4}", names[0], names[1]), "\"a\"  a.b");
        let set = std::collections::HashSet::from([name("A."), name("a")]);
        assert_eq!(set.len(), 1);
    }

    #[test]
    fn fuzz_check_holds_on_every_short_input_of_telling_bytes() {
        const BYTES: &[u8] = b"aZ1-._:[]@* \0\xff";
        for length in 0..=4 {
            for mut index in 0..BYTES.len().pow(length) {
                let mut input = Vec::new();
                for _ in 0..length {
                    input.push(BYTES[index % BYTES.len()]);
                    index /= BYTES.len();
                }
                fuzz::check(&input);
            }
        }
    }
}
