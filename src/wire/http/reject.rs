//! Why a head is refused.

use std::fmt;

use super::super::host;

/// Why a head is refused. The text quotes none of the peer's bytes, and completes "the head has".
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
    /// More fields than [`crate::limits::HTTP_FIELDS`].
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
    /// A field without a colon.
    NoColon,
    /// A name that is no token.
    FieldName,
    /// A value with bytes that no value has.
    FieldValue,
    /// More than one Host.
    TwoHosts,
    /// HTTP/1.1 without Host.
    NoHost,
    /// A Host, or the authority of the target, that is none.
    Host(host::Reject),
    /// More than one Content-Length; of a home, different ones.
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

    /// Its word in the access log; stable.
    pub fn word(self) -> &'static str {
        match self {
            Reject::BareCr => "bare_cr",
            Reject::BareLf => "bare_lf",
            Reject::Control => "control_character",
            Reject::Fold => "folded_field",
            Reject::EmptyLines => "empty_lines",
            Reject::LongTarget => "long_target",
            Reject::LongHead => "long_head",
            Reject::ManyFields => "many_fields",
            Reject::FirstLine => "first_line",
            Reject::Method => "method",
            Reject::Target => "target",
            Reject::Connect => "connect",
            Reject::Version => "version",
            Reject::Http2 => "http2",
            Reject::NoColon => "field_without_colon",
            Reject::FieldName => "field_name",
            Reject::FieldValue => "field_value",
            Reject::TwoHosts => "two_hosts",
            Reject::NoHost => "no_host",
            Reject::Host(_) => "host",
            Reject::TwoLengths => "two_lengths",
            Reject::Length => "length",
            Reject::HugeLength => "huge_length",
            Reject::LengthWithCoding => "length_with_coding",
            Reject::Coding => "coding",
            Reject::CodingIn10 => "coding_in_10",
            Reject::Options => "connection",
            Reject::Status => "status",
        }
    }

    /// What httparse has found in `head`.
    pub(super) fn of_head(error: httparse::Error, head: &[u8]) -> Reject {
        match error {
            httparse::Error::TooManyHeaders => Reject::ManyFields,
            httparse::Error::Token => Reject::Target,
            httparse::Error::Version | httparse::Error::NewLine => Reject::FirstLine,
            httparse::Error::Status => Reject::Status,
            httparse::Error::HeaderName if has_field_without_colon(head) => Reject::NoColon,
            httparse::Error::HeaderName => Reject::FieldName,
            httparse::Error::HeaderValue => Reject::FieldValue,
        }
    }
}

fn has_field_without_colon(head: &[u8]) -> bool {
    let mut lines = head.split(|&byte| byte == b'\n').skip(1).map(|line| line.trim_ascii_end());
    lines.any(|line| !line.is_empty() && !line.contains(&b':'))
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reject::BareCr => "a CR without LF",
            Reject::BareLf => "an LF without CR",
            Reject::Control => "a control character",
            Reject::Fold => "a folded field",
            Reject::EmptyLines => "empty lines in front",
            Reject::LongTarget => "a target that is too long",
            Reject::LongHead => "too many bytes",
            Reject::ManyFields => "too many fields",
            Reject::FirstLine => "a malformed first line",
            Reject::Method => "a malformed method",
            Reject::Target => "a malformed target",
            Reject::Connect => "the method CONNECT",
            Reject::Version => "an unknown version",
            Reject::Http2 => "the preface of HTTP/2",
            Reject::NoColon => "a field without a colon",
            Reject::FieldName => "a malformed field name",
            Reject::FieldValue => "a malformed field value",
            Reject::TwoHosts => "two Host fields",
            Reject::NoHost => "no Host field",
            Reject::Host(reason) => return write!(f, "an invalid Host: {reason}"),
            Reject::TwoLengths => "two lengths",
            Reject::Length => "a malformed Content-Length",
            Reject::HugeLength => "a Content-Length that is too large",
            Reject::LengthWithCoding => "Content-Length beside Transfer-Encoding",
            Reject::Coding => "an unknown Transfer-Encoding",
            Reject::CodingIn10 => "Transfer-Encoding in HTTP/1.0",
            Reject::Options => "a malformed Connection field",
            Reject::Status => "a malformed status",
        })
    }
}

impl std::error::Error for Reject {}

impl From<host::Reject> for Reject {
    fn from(reason: host::Reject) -> Reject {
        Reject::Host(reason)
    }
}
