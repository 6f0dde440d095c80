//! HTTP/1.1 messages (RFC 9110, RFC 9112): read strictly, forwarded in one canonical form.
//!
//! Whoever stands between two HTTP parsers must not leave them anything to disagree about (P9).
//! So nothing is passed on as it came: [`HeadScan`] finds a head in a growing stream and refuses
//! what no head may hold; [`request`] and [`response`] parse it and refuse what is ambiguous;
//! [`rewrite`] writes it anew; [`body`] reads the framing of what follows and writes that anew too.
//!
//! Parsing allocates nothing; what is forwarded goes into the caller's buffer.

pub mod body;
pub mod forwarded;
mod head_scan;
pub mod request;
pub mod response;
pub mod rewrite;

use std::fmt;
use std::mem::MaybeUninit;

use super::host;
use crate::limits::HTTP_FIELDS;
pub use head_scan::{HeadScan, Kind};

/// The two versions that this program speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// How the end of a body is known (RFC 9112 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// By its length in bytes.
    Length(u64),
    /// By its last chunk.
    Chunked,
    /// By the end of the connection; responses only.
    UntilClose,
}

/// Whether a field's name is one of `names`, in whatever case (RFC 9110 5.1).
fn is_one_of(name: &[u8], names: &[&[u8]]) -> bool {
    names.iter().any(|it| it.eq_ignore_ascii_case(name))
}

/// Room for a head's fields, on the caller's stack.
pub struct Slots<'a>([MaybeUninit<httparse::Header<'a>>; HTTP_FIELDS]);

impl Slots<'_> {
    /// Nothing in it yet.
    pub fn new() -> Self {
        Slots([const { MaybeUninit::uninit() }; HTTP_FIELDS])
    }
}

impl Default for Slots<'_> {
    fn default() -> Self {
        Slots::new()
    }
}

/// The fields of a parsed head, in order. Names are tokens (RFC 9110 5.6.2); values hold visible
/// bytes, spaces and tabs, and no white space around them (RFC 9110 5.5).
#[derive(Debug, Clone, Copy)]
pub struct Fields<'h, 'a> {
    all: &'h [httparse::Header<'a>],
}

impl<'h, 'a> Fields<'h, 'a> {
    /// Checked here once more, whatever httparse lets pass.
    fn check(all: &'h [httparse::Header<'a>]) -> Result<Fields<'h, 'a>, Reject> {
        let sound = |field: &httparse::Header<'_>| {
            is_token(field.name.as_bytes()) && field.value.iter().all(|&byte| is_text(byte))
        };
        if all.iter().all(sound) { Ok(Fields { all }) } else { Err(Reject::Field) }
    }

    /// Names and values.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'h, 'a> {
        self.all.iter().map(|field| (field.name.as_bytes(), trim(field.value)))
    }

    /// The values of the fields of this name.
    pub fn named(self, name: &'static str) -> impl Iterator<Item = &'a [u8]> + use<'h, 'a> {
        let name = name.as_bytes();
        self.iter().filter(move |(found, _)| found.eq_ignore_ascii_case(name)).map(|field| field.1)
    }

    /// What the fields say about the body (RFC 9112 6.1 and 6.2), without what the status or the
    /// method say. Refused is all that two parsers have ever read in two ways.
    fn framing(self, version: Version) -> Result<Framing, Reject> {
        let mut lengths = self.named("content-length");
        let mut codings = self.named("transfer-encoding");
        let (length, coding) = (lengths.next(), codings.next());
        match (length, coding) {
            (None, None) => Ok(Framing::None),
            (Some(_), Some(_)) => Err(Reject::LengthWithCoding),
            (Some(_), None) if lengths.next().is_some() => Err(Reject::TwoLengths),
            (Some(length), None) => Ok(Framing::Length(parse_length(length)?)),
            (None, Some(_)) if version == Version::Http10 => Err(Reject::CodingIn10),
            (None, Some(coding)) => {
                let chunked = coding.eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
                if chunked { Ok(Framing::Chunked) } else { Err(Reject::Coding) }
            }
        }
    }

    /// What `Connection` says.
    fn options(self) -> Result<Options, Reject> {
        let mut options = Options::default();
        let mut patience = OPTIONS;
        for value in self.named("connection") {
            for option in value.split(|&byte| byte == b',').map(trim) {
                patience = patience.checked_sub(1).ok_or(Reject::Options)?;
                if !option.is_empty() && !is_token(option) {
                    return Err(Reject::Options);
                }
                options.close |= option.eq_ignore_ascii_case(b"close");
                options.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                options.upgrade |= option.eq_ignore_ascii_case(b"upgrade");
            }
        }
        Ok(options)
    }

    /// Whether `Connection` names this field, which then ends here (RFC 9110 7.6.1).
    fn is_named_by_connection(self, name: &[u8]) -> bool {
        self.named("connection").any(|value| list(value).any(|it| it.eq_ignore_ascii_case(name)))
    }

    /// The protocols of `Upgrade` that may be forwarded: HTTP/2 over a connection that was HTTP/1
    /// would be routed once for all requests on it.
    fn protocols(self) -> impl Iterator<Item = &'a [u8]> + use<'h, 'a> {
        self.named("upgrade").flat_map(list).filter(|it| !starts_with(it, b"h2"))
    }
}

/// What `Connection` says, of what matters here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// `close`
    pub close: bool,
    /// `keep-alive`, which HTTP/1.0 needs
    pub keep_alive: bool,
    /// `upgrade`
    pub upgrade: bool,
}

impl Options {
    /// Whether the sender of this wants the connection to live on (RFC 9112 9.3).
    pub fn persists(self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }
}

/// Why a head is refused. The text quotes none of the peer's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// CR without LF.
    BareCr,
    /// LF without CR.
    BareLf,
    /// A control character, which NUL is too.
    Control,
    /// A field continued on a line of its own (obs-fold), or white space before the first field.
    Fold,
    /// Too many empty lines before the request.
    EmptyLines,
    /// The first line alone is too long.
    LongTarget,
    /// Longer than [`crate::limits::HTTP_HEAD_BYTES`].
    LongHead,
    /// More fields than [`HTTP_FIELDS`].
    ManyFields,
    /// A request line that has not three parts, or a response that does not begin like one.
    FirstLine,
    /// A method that is no token.
    Method,
    /// A target of no known form, or of a form that the method does not allow.
    Target,
    /// CONNECT.
    Connect,
    /// A version other than 1.0 and 1.1.
    Version,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// A field without a colon, a name that is no token, a value with bytes that no value has.
    Field,
    /// More than one Host.
    TwoHosts,
    /// HTTP/1.1 without Host.
    NoHost,
    /// A Host, or the authority of the target, that is none.
    Host(host::Reject),
    /// More than one Content-Length.
    TwoLengths,
    /// A Content-Length that is no number.
    Length,
    /// A Content-Length beyond 64 bits.
    HugeLength,
    /// Content-Length and Transfer-Encoding.
    LengthWithCoding,
    /// A Transfer-Encoding other than `chunked`.
    Coding,
    /// A Transfer-Encoding in HTTP/1.0.
    CodingIn10,
    /// A malformed Connection, or one that names too much.
    Options,
    /// A status out of range, or one that the version does not have.
    Status,
}

impl Reject {
    /// The status to answer a request with.
    pub fn status(self) -> u16 {
        match self {
            Reject::Connect => 405,
            Reject::HugeLength => 413,
            Reject::LongTarget => 414,
            Reject::LongHead | Reject::ManyFields => 431,
            Reject::Coding => 501,
            Reject::Version | Reject::Http2 => 505,
            _ => 400,
        }
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reject::BareCr => "CR without LF",
            Reject::BareLf => "LF without CR",
            Reject::Control => "control character",
            Reject::Fold => "folded field",
            Reject::EmptyLines => "empty lines before the request",
            Reject::LongTarget => "target too long",
            Reject::LongHead => "head too long",
            Reject::ManyFields => "too many fields",
            Reject::FirstLine => "malformed first line",
            Reject::Method => "malformed method",
            Reject::Target => "malformed target",
            Reject::Connect => "CONNECT",
            Reject::Version => "unknown version",
            Reject::Http2 => "HTTP/2",
            Reject::Field => "malformed field",
            Reject::TwoHosts => "two Host fields",
            Reject::NoHost => "no Host field",
            Reject::Host(reason) => return write!(f, "invalid Host: {reason}"),
            Reject::TwoLengths => "two Content-Length fields",
            Reject::Length => "malformed Content-Length",
            Reject::HugeLength => "Content-Length too large",
            Reject::LengthWithCoding => "Content-Length with Transfer-Encoding",
            Reject::Coding => "unknown Transfer-Encoding",
            Reject::CodingIn10 => "Transfer-Encoding in HTTP/1.0",
            Reject::Options => "malformed Connection field",
            Reject::Status => "malformed status",
        })
    }
}

impl std::error::Error for Reject {}

impl From<host::Reject> for Reject {
    fn from(reason: host::Reject) -> Reject {
        Reject::Host(reason)
    }
}

impl From<httparse::Error> for Reject {
    fn from(error: httparse::Error) -> Reject {
        match error {
            httparse::Error::TooManyHeaders => Reject::ManyFields,
            httparse::Error::Token => Reject::Target,
            httparse::Error::Version | httparse::Error::NewLine => Reject::FirstLine,
            httparse::Error::Status => Reject::Status,
            httparse::Error::HeaderName | httparse::Error::HeaderValue => Reject::Field,
        }
    }
}

/// Appends formatted text.
pub(crate) fn put_text(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    struct Text<'a>(&'a mut Vec<u8>);
    impl fmt::Write for Text<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
    fmt::Write::write_fmt(&mut Text(out), text).expect("a Vec takes all");
}

/// A head's first line, without its CRLF.
fn first_line(head: &[u8]) -> &[u8] {
    head.split(|&byte| byte == b'\r').next().unwrap_or_default()
}

/// Digits alone: no sign, no list, no space.
fn parse_length(digits: &[u8]) -> Result<u64, Reject> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Reject::Length);
    }
    digits.iter().try_fold(0u64, |value, digit| {
        let shifted = value.checked_mul(10).ok_or(Reject::HugeLength)?;
        shifted.checked_add((digit - b'0').into()).ok_or(Reject::HugeLength)
    })
}

/// The members of a comma-separated list, empty ones left out (RFC 9110 5.6.1).
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim).filter(|member| !member.is_empty())
}

/// Without spaces and tabs around it.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

/// tchar (RFC 9110 5.6.2).
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What a field value and a reason phrase may hold: no control characters but the tab.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7f
}

fn starts_with(bytes: &[u8], prefix: &[u8]) -> bool {
    bytes.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Options of one Connection field; clients send two. Every field is compared with each.
const OPTIONS: usize = 32;
