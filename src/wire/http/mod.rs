//! HTTP/1.1 messages (RFC 9110, RFC 9112): requests read strictly, responses with forgiveness for
//! what can be read in one way only, both forwarded in one canonical form.
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
mod reject;
pub mod request;
pub mod response;
pub mod rewrite;
mod trailers;

use std::fmt;
use std::mem::MaybeUninit;

use crate::limits::HTTP_FIELDS;
pub use head_scan::{HeadScan, Kind};
pub use reject::Reject;

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
        for field in all {
            if !is_token(field.name.as_bytes()) {
                return Err(Reject::FieldName);
            }
            if !field.value.iter().all(|&byte| is_text(byte)) {
                return Err(Reject::FieldValue);
            }
        }
        Ok(Fields { all })
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

    /// What a request's fields say about its body (RFC 9112 6.1 and 6.2). Refused is all that two
    /// parsers have ever read in two ways.
    fn framing_of_request(self, version: Version) -> Result<Framing, Reject> {
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

    /// What a response's fields say about its body, without what the status and the method say;
    /// and whether they are faulty: nothing may then be read behind the body (RFC 9112 6.1, 6.3).
    ///
    /// What has one meaning only is taken: equal lengths are one, and chunks win.
    fn framing_of_response(self, version: Version) -> Result<(Framing, bool), Reject> {
        let mut codings = self.named("transfer-encoding");
        if let Some(coding) = codings.next() {
            if !coding.eq_ignore_ascii_case(b"chunked") || codings.next().is_some() {
                return Err(Reject::Coding);
            }
            let has_length = self.named("content-length").next().is_some();
            return Ok((Framing::Chunked, has_length || version == Version::Http10));
        }
        let mut framing = Framing::None;
        let values = self.named("content-length");
        for digits in values.flat_map(|value| value.split(|&byte| byte == b',')) {
            let length = Framing::Length(parse_length(trim(digits))?);
            if framing != Framing::None && framing != length {
                return Err(Reject::TwoLengths);
            }
            framing = length;
        }
        Ok((framing, false))
    }

    /// Whether the sender takes trailers (RFC 9110 10.1.4).
    fn takes_trailers(self) -> bool {
        self.named("te").flat_map(list).any(|it| it.eq_ignore_ascii_case(b"trailers"))
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

/// A head's first line, without its end.
fn first_line(head: &[u8]) -> &[u8] {
    head.split(|byte| b"\r\n".contains(byte)).next().unwrap_or_default()
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
