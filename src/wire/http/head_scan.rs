//! Finds the end of a head in a stream that grows, and refuses what no head may hold as soon as it
//! comes: control characters, CR alone, folded lines, a head that is too long. A request's lines
//! end in CR LF; a response's may end in LF alone (RFC 9112 2.2).
//!
//! ```text
//! stream   CR LF | GET / HTTP/1.1 CR LF | Host: a CR LF | CR LF | body, or the next head
//!          '- at '- start                                       '- end
//!             most EMPTY_LINES
//! ```

use std::ops::Range;

use super::{Reject, is_text};
use crate::limits::{HTTP_FIELDS, HTTP_HEAD_BYTES};
use crate::wire::Status;

/// Constant size; walks each byte once. Feed it the stream from its first byte on, each time with
/// what has come since. After a [`Reject`] or a `Complete` it gives the same answer again.
#[derive(Debug, Clone)]
pub struct HeadScan {
    kind: Kind,
    /// `start <= seen <= start + HTTP_HEAD_BYTES`: how much has been walked over.
    seen: usize,
    /// Where the first line begins; moves with `seen` over empty lines.
    start: usize,
    /// `fields <= HTTP_FIELDS`
    fields: usize,
    at: At,
}

/// What a head begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request line; empty lines before it are skipped (RFC 9112 2.2).
    Request,
    /// A status line, at once.
    Response,
}

/// What the byte at `seen` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// The first, after so many empty lines.
    Start { empty_lines: u8 },
    /// The LF of an empty line before the request.
    EmptyLf { empty_lines: u8 },
    /// Of the first line, so many spaces into it.
    First { spaces: u8 },
    /// The LF that ends a line.
    Lf,
    /// The first of a field line, or of the empty line.
    LineStart,
    /// Of a field line.
    Line,
    /// The LF of the empty line.
    LastLf,
    /// None: it is whole.
    Whole,
}

impl HeadScan {
    /// At the first byte of a message.
    pub fn new(kind: Kind) -> HeadScan {
        HeadScan { kind, seen: 0, start: 0, fields: 0, at: At::Start { empty_lines: 0 } }
    }

    /// Whether not one byte has come, empty lines included.
    pub fn is_fresh(&self) -> bool {
        self.seen == 0
    }

    /// Where the head lies in `stream`, which is all that has come since the message before.
    pub fn scan(&mut self, stream: &[u8]) -> Result<Status<Range<usize>>, Reject> {
        loop {
            if self.at == At::Whole {
                return Ok(Status::Complete(self.start..self.seen));
            }
            let limit = self.start + HTTP_HEAD_BYTES;
            if self.seen >= limit {
                let first = matches!(self.at, At::First { .. });
                return Err(if first { Reject::LongTarget } else { Reject::LongHead });
            }
            let unread = stream.get(self.seen..stream.len().min(limit)).unwrap_or_default();
            let run = match self.at {
                At::Line => unread.iter().take_while(|&&byte| is_text(byte)).count(),
                At::First { .. } => {
                    unread.iter().take_while(|byte| byte.is_ascii_graphic()).count()
                }
                _ => 0,
            };
            if run > 0 {
                self.check_start(&unread[..run])?;
                self.seen += run;
                continue;
            }
            let Some(&byte) = unread.first() else {
                return Ok(Status::Partial);
            };
            self.at = self.next(byte)?;
            self.seen += 1;
            if matches!(self.at, At::Start { .. }) {
                self.start = self.seen;
            }
        }
    }

    /// What follows `byte`, which is not in the middle of a run.
    fn next(&mut self, byte: u8) -> Result<At, Reject> {
        match (self.at, byte) {
            (At::Start { empty_lines }, b'\r') if self.kind == Kind::Request => {
                Ok(At::EmptyLf { empty_lines })
            }
            (At::EmptyLf { empty_lines: EMPTY_LINES }, b'\n') => Err(Reject::EmptyLines),
            (At::EmptyLf { empty_lines }, b'\n') => Ok(At::Start { empty_lines: empty_lines + 1 }),
            (At::EmptyLf { .. } | At::Lf | At::LastLf, byte) if byte != b'\n' => {
                Err(Reject::BareCr)
            }
            (At::Lf, _) => Ok(At::LineStart),
            (At::LastLf, _) => Ok(At::Whole),
            (At::LineStart, b'\n') if self.kind == Kind::Response => Ok(At::Whole),
            (At::Line | At::First { spaces: 1.. }, b'\n') if self.kind == Kind::Response => {
                Ok(At::LineStart)
            }
            (_, b'\n') => Err(Reject::BareLf),
            (At::LineStart, b'\r') => Ok(At::LastLf),
            (At::LineStart, b' ' | b'\t') => Err(Reject::Fold),
            (At::LineStart, byte) if is_text(byte) => {
                self.fields += 1;
                if self.fields > HTTP_FIELDS { Err(Reject::ManyFields) } else { Ok(At::Line) }
            }
            (At::Line, b'\r') => Ok(At::Lf),
            (At::First { spaces }, b'\r') => match (self.kind, spaces) {
                (Kind::Request, 2) | (Kind::Response, 1..) => Ok(At::Lf),
                _ => Err(Reject::FirstLine),
            },
            (At::First { spaces }, b' ') => match (self.kind, spaces) {
                (Kind::Request, 2) => Err(Reject::FirstLine),
                (_, spaces) => Ok(At::First { spaces: spaces.saturating_add(1) }),
            },
            (At::First { spaces: 2.. }, byte) if self.is_reason(byte) => Ok(self.at),
            (At::Start { .. }, byte) if byte.is_ascii_graphic() => {
                self.check_start(&[byte])?;
                Ok(At::First { spaces: 0 })
            }
            (At::First { .. }, 0x80..) => Err(Reject::Target),
            (At::Start { .. } | At::First { .. }, b' '..) => Err(Reject::FirstLine),
            _ => Err(Reject::Control),
        }
    }

    /// A reason phrase has more bytes than a target.
    fn is_reason(&self, byte: u8) -> bool {
        self.kind == Kind::Response && is_text(byte)
    }

    /// A response begins with `HTTP/1.`; nothing else is waited for.
    fn check_start(&self, run: &[u8]) -> Result<(), Reject> {
        if self.kind == Kind::Request {
            return Ok(());
        }
        let wanted = RESPONSE.get(self.seen..).unwrap_or_default();
        let as_wanted = wanted.iter().zip(run).all(|(wanted, byte)| wanted == byte);
        if as_wanted { Ok(()) } else { Err(Reject::FirstLine) }
    }
}

/// Old clients send an empty line after a body that they do not count in its length.
const EMPTY_LINES: u8 = 4;
const RESPONSE: &[u8] = b"HTTP/1.";

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(kind: Kind, stream: &[u8]) -> Result<Status<Range<usize>>, Reject> {
        let outcome = HeadScan::new(kind).scan(stream);
        let mut scan = HeadScan::new(kind);
        let mut split = Ok(Status::Partial);
        for end in 0..=stream.len() {
            split = scan.scan(&stream[..end]);
            if split != Ok(Status::Partial) {
                break;
            }
        }
        assert_eq!(split, outcome, "{}", stream.escape_ascii());
        outcome
    }

    #[test]
    fn a_head_ends_with_its_empty_line() {
        let request = |text: &str| whole(Kind::Request, text.as_bytes());
        assert_eq!(request("GET / HTTP/1.1\r\n\r\nrest"), Ok(Status::Complete(0..18)));
        assert_eq!(request("\r\n\r\nGET / HTTP/1.1\r\na: b\r\n\r\n"), Ok(Status::Complete(4..28)));
        assert_eq!(request("GET / HTTP/1.1\r\na: b\r\n\r"), Ok(Status::Partial));
        for (text, reject) in [
            ("\r\n\r\n\r\n\r\n\r\n", Reject::EmptyLines),
            ("\n", Reject::BareLf),
            ("\r\r", Reject::BareCr),
            ("GET /\r\n", Reject::FirstLine),
            ("GET / HTTP/1.1 ", Reject::FirstLine),
            ("GET\t", Reject::Control),
            ("GET /\u{e9}", Reject::Target),
            ("\x16\x03\x01", Reject::Control),
            ("GET / HTTP/1.1\r\n a", Reject::Fold),
            ("GET / HTTP/1.1\r\na: b\r\n\tc", Reject::Fold),
            ("GET / HTTP/1.1\r\na: b\n", Reject::BareLf),
            ("GET / HTTP/1.1\r\na: b\rc", Reject::BareCr),
            ("GET / HTTP/1.1\r\na: \0", Reject::Control),
            ("GET / HTTP/1.1\r\n\rx", Reject::BareCr),
        ] {
            assert_eq!(request(text), Err(reject), "{text:?}");
        }
    }

    #[test]
    fn a_response_begins_like_one() {
        let response = |text: &str| whole(Kind::Response, text.as_bytes());
        assert_eq!(response("HTTP/1.1 200 O\u{e9}\tK\r\n\r\n"), Ok(Status::Complete(0..22)));
        assert_eq!(response("HTTP/1.1 200\r\n\r\n"), Ok(Status::Complete(0..16)));
        for text in ["\r\nHTTP/1.1", "HTTP/2", "<html>", "http/1.1", "HTTP/1.1\r\n", " HTTP"] {
            assert!(response(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn lines_of_a_response_may_end_in_lf_alone() {
        let response = |text: &str| whole(Kind::Response, text.as_bytes());
        for text in
            ["HTTP/1.1 200 OK\nA: b\n\n", "HTTP/1.1 200\nA: b\r\n\n", "HTTP/1.0 200 OK\r\nA:\n\r\n"]
        {
            let stream = format!("{text}\n<html>");
            assert_eq!(response(&stream), Ok(Status::Complete(0..text.len())), "{text:?}");
        }
        for (text, reject) in [
            ("\nHTTP/1.1 200 OK\n\n", Reject::BareLf),
            ("HTTP/1.1\n", Reject::BareLf),
            ("HTTP/1.1 200 OK\n a: b\n", Reject::Fold),
            ("HTTP/1.1 200 OK\na: b\r\r\n", Reject::BareCr),
            ("HTTP/1.1 200 OK\n\ra", Reject::BareCr),
        ] {
            assert_eq!(response(text), Err(reject), "{text:?}");
        }
    }

    #[test]
    fn bounds_are_exact() {
        let head = |target: usize| format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(target));
        let room = HTTP_HEAD_BYTES - head(0).len();
        let scan = |text: &str| HeadScan::new(Kind::Request).scan(text.as_bytes());
        assert_eq!(scan(&head(room)), Ok(Status::Complete(0..HTTP_HEAD_BYTES)));
        assert_eq!(scan(&head(room + 1)), Err(Reject::LongHead));
        assert_eq!(scan(&head(2 * room)), Err(Reject::LongTarget));
        let fields = |count| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count));
        assert!(matches!(scan(&fields(HTTP_FIELDS)), Ok(Status::Complete(_))));
        assert_eq!(scan(&fields(HTTP_FIELDS + 1)), Err(Reject::ManyFields));
    }
}
