//! The fields behind a chunked body (RFC 9110 6.5, RFC 9112 7.1.2).
//!
//! They are checked byte by byte. Those of a response are passed on to a visitor that has asked for
//! them (`TE: trailers`); those of a request are dropped, as all that were not asked for: merged at
//! home, they would be fields that nobody has checked against the head's.

use super::rewrite::{field, is_hop_by_hop};
use super::{Kind, is_one_of, is_text, is_token_byte, trim};

/// Where the next byte stands in its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    LineStart,
    Name,
    /// White space between a name and its colon, of a home alone (RFC 9112 5.1).
    Padding,
    Value,
    /// The LF behind a CR.
    Lf,
}

/// What follows `byte` in a line; `None`: no trailer has it there.
pub(super) fn next(from: Kind, at: At, byte: u8) -> Option<At> {
    let forgiven = from == Kind::Response;
    match (at, byte) {
        (At::LineStart | At::Name, byte) if is_token_byte(byte) => Some(At::Name),
        (At::Name | At::Padding, b':') => Some(At::Value),
        (At::Name | At::Padding, b' ' | b'\t') if forgiven => Some(At::Padding),
        (At::Value, b'\r') => Some(At::Lf),
        (At::Value, b'\n') if forgiven => Some(At::LineStart),
        (At::Value, byte) if is_text(byte) => Some(At::Value),
        (At::Lf, b'\n') => Some(At::LineStart),
        _ => None,
    }
}

/// Appends those of `lines`, which [`next`] has let pass, that may stand behind a body.
pub(super) fn write(lines: &[u8], out: &mut Vec<u8>) {
    for line in lines.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let (name, value) = (trim(&line[..colon]), trim(&line[colon + 1..]));
        if !is_hop_by_hop(name) && !belongs_to_head(name) {
            field(out, name, value);
        }
    }
}

/// What a recipient must know before the content, or acts on by itself (RFC 9110 6.5.1).
fn belongs_to_head(name: &[u8]) -> bool {
    const NAMES: &[&[u8]] = &[
        b"age",
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-location",
        b"content-range",
        b"content-security-policy",
        b"content-type",
        b"date",
        b"expires",
        b"host",
        b"location",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"retry-after",
        b"set-cookie",
        b"strict-transport-security",
        b"vary",
        b"warning",
        b"www-authenticate",
    ];
    is_one_of(name, NAMES)
}
