//! Body framing (RFC 9112 6 and 7): any split in, the canonical form out.
//!
//! A chunked body is written anew with the same chunks: the size in plain hexadecimal, no
//! extensions, trailers only for who has asked for them. What goes out depends on the bytes alone,
//! never on how they were cut.
//!
//! A home is forgiven what can be read in one way only: white space behind a size, which small
//! devices pad to a fixed width, and lines that end in LF alone. A visitor is not.
//!
//! ```text
//! in    5;ext=1 CR LF | hello CR LF | 0 CR LF | Trailer: x CR LF | CR LF
//! out   5 CR LF       | hello CR LF | 0 CR LF |                    CR LF
//! ```

use std::fmt;

use super::{Framing, Kind, is_text, put_text, trailers};

/// Where the body of one message stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    at: At,
    /// Whose it is: a request's is read strictly.
    from: Kind,
    /// How it goes out; of chunked bodies alone.
    form: Form,
    /// Bytes of content so far.
    content: u64,
    /// Trailers that are to be passed on, as they came; at most [`TRAILER_BYTES`].
    #[expect(
        clippy::box_collection,
        reason = "almost no body has any, and every visitor has a body"
    )]
    trailers: Option<Box<Vec<u8>>>,
}

/// How a chunked body goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// In chunks.
    Chunked,
    /// In chunks, with trailers.
    WithTrailers,
    /// As its content alone, for those who speak HTTP/1.0.
    Plain,
}

/// What the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Of the next message.
    Done,
    /// Content; `left > 0`
    Length { left: u64 },
    /// Content, until the connection ends.
    UntilClose,
    /// A digit of a chunk's size, or what ends it after at least one digit.
    Size { digits: u8, size: u64 },
    /// White space behind a size, of which so much may still come.
    Padding { size: u64, patience: usize },
    /// Of an extension, of which so much may still come.
    Extension { size: u64, patience: usize },
    /// The LF behind a size.
    SizeLf { size: u64 },
    /// Content of a chunk; `left > 0`
    Chunk { left: u64 },
    /// The CR behind a chunk.
    ChunkCr,
    /// The LF behind a chunk.
    ChunkLf,
    /// Of the trailers, of which so much may still come.
    Trailers { at: trailers::At, patience: usize },
    /// The last LF.
    LastLf,
}

impl Body {
    /// Before its first byte.
    pub fn new(from: Kind, framing: Framing, form: Form) -> Body {
        let at = match framing {
            Framing::None | Framing::Length(0) => At::Done,
            Framing::Length(left) => At::Length { left },
            Framing::Chunked => At::Size { digits: 0, size: 0 },
            Framing::UntilClose => At::UntilClose,
        };
        Body { at, from, form, content: 0, trailers: None }
    }

    /// Its last byte has been read.
    pub fn is_done(&self) -> bool {
        self.at == At::Done
    }

    /// Bytes of content so far, without what frames them.
    pub fn content(&self) -> u64 {
        self.content
    }

    /// An end of the connection now is its end, not a cut.
    pub fn may_end_here(&self) -> bool {
        matches!(self.at, At::Done | At::UntilClose)
    }

    /// So many of the next bytes go out as they come in: whoever moves them without
    /// [`Body::decode`] says so with [`Body::skip`].
    pub fn plain_run(&self) -> u64 {
        match self.at {
            At::Length { left } | At::Chunk { left } => left,
            At::UntilClose => u64::MAX,
            _ => 0,
        }
    }

    /// `count <= plain_run()` bytes have gone out as they came in.
    pub fn skip(&mut self, count: u64) {
        debug_assert!(count <= self.plain_run());
        self.content += count;
        self.at = match self.at {
            At::Length { left } if left > count => At::Length { left: left - count },
            At::Length { .. } => At::Done,
            At::Chunk { left } if left > count => At::Chunk { left: left - count },
            At::Chunk { .. } => At::ChunkCr,
            other => other,
        };
    }

    /// Reads what `bytes` hold of this body and writes it to `out`. `Ok`: how many bytes that were;
    /// fewer than all only if it is done.
    pub fn decode(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, Reject> {
        let mut unread = bytes;
        while !self.is_done() {
            let run = self.plain_run().min(unread.len() as u64);
            if run > 0 {
                let (content, rest) = unread.split_at(run as usize);
                out.extend_from_slice(content);
                unread = rest;
                self.skip(run);
                continue;
            }
            let Some((&byte, rest)) = unread.split_first() else { break };
            let next = self.next(byte)?;
            if self.form == Form::WithTrailers && matches!(self.at, At::Trailers { .. }) {
                self.trailers.get_or_insert_default().push(byte);
            }
            self.write(next, out);
            self.at = next;
            unread = rest;
        }
        Ok(bytes.len() - unread.len())
    }

    /// What follows `byte`, which is not content.
    fn next(&self, byte: u8) -> Result<At, Reject> {
        let forgiven = self.from == Kind::Response;
        match (self.at, byte) {
            (At::Size { digits: SIZE_DIGITS, .. }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                Err(Reject::Size)
            }
            (At::Size { digits, size }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                Ok(At::Size { digits: digits + 1, size: size << 4 | u64::from(digit) })
            }
            (At::Size { digits: 1.., size }, b'\r') => Ok(At::SizeLf { size }),
            (At::Padding { size, .. }, b'\r') if forgiven => Ok(At::SizeLf { size }),
            (
                At::Size { digits: 1.., size }
                | At::Padding { size, .. }
                | At::Extension { size, .. },
                b'\n',
            ) if forgiven => Ok(after_size(size)),
            (At::Size { digits: 1.., size } | At::Padding { size, .. }, b';') => {
                Ok(At::Extension { size, patience: EXTENSION_BYTES })
            }
            // Before a `;` it is nobody's fault to forgive (BWS, RFC 9112 7.1.1).
            (At::Size { digits: 1.., size }, b' ' | b'\t') => {
                Ok(At::Padding { size, patience: EXTENSION_BYTES })
            }
            (At::Padding { size, patience: patience @ 1.. }, b' ' | b'\t') => {
                Ok(At::Padding { size, patience: patience - 1 })
            }
            (At::Size { .. } | At::Padding { .. }, _) => Err(Reject::Size),
            (At::Extension { size, .. }, b'\r') => Ok(At::SizeLf { size }),
            (At::Extension { patience: 0, .. }, _) => Err(Reject::Extension),
            (At::Extension { size, patience }, byte) if is_text(byte) => {
                Ok(At::Extension { size, patience: patience - 1 })
            }
            (At::Extension { .. }, _) => Err(Reject::Extension),
            (At::SizeLf { size }, b'\n') => Ok(after_size(size)),
            (At::ChunkCr, b'\r') => Ok(At::ChunkLf),
            (At::ChunkLf, b'\n') => Ok(At::Size { digits: 0, size: 0 }),
            (At::ChunkCr, b'\n') if forgiven => Ok(At::Size { digits: 0, size: 0 }),
            (At::SizeLf { .. } | At::ChunkCr | At::ChunkLf, _) => Err(Reject::LineEnd),
            (At::Trailers { at: trailers::At::LineStart, .. }, b'\r') => Ok(At::LastLf),
            (At::Trailers { at: trailers::At::LineStart, .. }, b'\n') if forgiven => Ok(At::Done),
            (At::Trailers { patience: 0, .. }, _) => Err(Reject::Trailer),
            (At::Trailers { at, patience }, byte) => {
                let at = trailers::next(self.from, at, byte).ok_or(Reject::Trailer)?;
                Ok(At::Trailers { at, patience: patience - 1 })
            }
            (At::LastLf, b'\n') => Ok(At::Done),
            (At::LastLf, _) => Err(Reject::Trailer),
            (At::Done | At::Length { .. } | At::UntilClose | At::Chunk { .. }, _) => Ok(self.at),
        }
    }

    /// Writes the frame around the content: a size when its line has ended, the rest at its end.
    fn write(&self, next: At, out: &mut Vec<u8>) {
        if self.form == Form::Plain {
            return;
        }
        match next {
            At::Chunk { left } => put_text(out, format_args!("{left:x}\r\n")),
            // Behind a chunk: the first size has a digit when it has begun.
            At::Size { digits: 0, .. } => out.extend_from_slice(b"\r\n"),
            At::Done => {
                out.extend_from_slice(b"0\r\n");
                if let Some(lines) = &self.trailers {
                    trailers::write(lines, out);
                }
                out.extend_from_slice(b"\r\n");
            }
            _ => {}
        }
    }
}

/// What follows the line of a size.
fn after_size(size: u64) -> At {
    match size {
        0 => At::Trailers { at: trailers::At::LineStart, patience: TRAILER_BYTES },
        left => At::Chunk { left },
    }
}

/// Why a body is refused. Nothing can be read behind it. The text completes "the body has".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// A chunk's size that is no hexadecimal number, or beyond 64 bits.
    Size,
    /// An extension that is too long or holds what none may.
    Extension,
    /// A chunk longer than its size says, or a line that does not end in CR LF.
    LineEnd,
    /// Trailers that are too long or malformed.
    Trailer,
}

impl Reject {
    /// Its word in the access log; stable.
    pub fn word(self) -> &'static str {
        match self {
            Reject::Size => "chunk_size",
            Reject::Extension => "chunk_extension",
            Reject::LineEnd => "chunk_end",
            Reject::Trailer => "trailers",
        }
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reject::Size => "a malformed chunk size",
            Reject::Extension => "a malformed chunk extension",
            Reject::LineEnd => "a chunk that does not end where it should",
            Reject::Trailer => "malformed trailers",
        })
    }
}

impl std::error::Error for Reject {}

/// 64 bits.
const SIZE_DIGITS: u8 = 16;
/// Of one chunk. Nobody uses them; they are read to be dropped.
const EXTENSION_BYTES: usize = 256;
/// Of one body.
const TRAILER_BYTES: usize = 8 * 1024;

/// For the fuzz target `http_body`.
#[doc(hidden)]
pub mod fuzz {
    use super::*;

    /// The first two bytes choose framing and cut; any cut gives the same output and the same end,
    /// whoever has sent it. What goes out is a canonical body of the same content, which the strict
    /// reader takes; and what the strict reader takes is the same to the forgiving one.
    pub fn check(bytes: &[u8]) {
        let Some((&[kind, cut], stream)) = bytes.split_first_chunk::<2>() else { return };
        check_of(Kind::Request, kind, cut, stream);
        check_of(Kind::Response, kind, cut, stream);
    }

    fn check_of(from: Kind, kind: u8, cut: u8, stream: &[u8]) {
        let framing = match kind % 4 {
            0 => Framing::None,
            1 => Framing::Length(u64::from(kind) * 3),
            2 => Framing::Chunked,
            _ => Framing::UntilClose,
        };
        let plain = run(from, framing, Form::Plain, [stream]);
        for form in [Form::Plain, Form::Chunked, Form::WithTrailers] {
            let whole = run(from, framing, form, [stream]);
            for size in [1, usize::from(cut).max(1)] {
                assert_eq!(run(from, framing, form, stream.chunks(size)), whole);
            }
            let strict = run(Kind::Request, framing, form, [stream]);
            if strict.1.is_ok() {
                assert_eq!(strict, whole, "who is strict reads the same");
            }
            let (out, end) = whole;
            if framing != Framing::Chunked || form == Form::Plain || !matches!(end, Ok((_, true))) {
                continue;
            }
            let again = run(Kind::Request, framing, form, [&out[..]]);
            assert_eq!(again, (out.clone(), Ok((out.len(), true))), "canonical once");
            let content = run(Kind::Request, framing, Form::Plain, [&out[..]]).0;
            assert_eq!(content, plain.0, "the same content");
        }
    }

    type Run = (Vec<u8>, Result<(usize, bool), Reject>);

    fn run<'a>(
        from: Kind,
        framing: Framing,
        form: Form,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Run {
        let (mut body, mut out, mut taken) = (Body::new(from, framing, form), Vec::new(), 0);
        for piece in pieces {
            match body.decode(piece, &mut out) {
                Ok(more) => taken += more,
                Err(reject) => return (out, Err(reject)),
            }
        }
        (out, Ok((taken, body.is_done())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chunked(bytes: &[u8]) -> (String, Result<usize, Reject>, bool) {
        decode(Kind::Request, Form::Chunked, bytes)
    }

    fn decode(from: Kind, form: Form, bytes: &[u8]) -> (String, Result<usize, Reject>, bool) {
        let (mut body, mut out) = (Body::new(from, Framing::Chunked, form), Vec::new());
        let end = body.decode(bytes, &mut out);
        (out.escape_ascii().to_string(), end, body.is_done())
    }

    /// What is taken from a home alone, and goes out without it.
    #[test]
    fn a_home_is_forgiven_what_has_one_meaning() {
        let sound = ("2\\r\\nok\\r\\n0\\r\\n\\r\\n".to_owned(), true);
        for (bytes, from_visitor) in [
            // ESPAsyncWebServer pads sizes to a fixed width.
            (&b"2   \r\nok\r\n0   \r\n\r\n"[..], Reject::Size),
            (b"2\t\r\nok\r\n0\r\n\r\n", Reject::Size),
            (b"2\nok\n0\n\n", Reject::Size),
            (b"2 \nok\r\n0\r\n\n", Reject::Size),
            (b"2;a=b\nok\r\n0\r\n\r\n", Reject::Extension),
            (b"2\r\nok\n0\r\n\r\n", Reject::LineEnd),
            (b"2\r\nok\r\n0\r\n\n", Reject::Trailer),
            (b"2\r\nok\r\n0\r\nX: y\n\r\n", Reject::Trailer),
            (b"2\r\nok\r\n0\r\nX : y\r\n\r\n", Reject::Trailer),
        ] {
            let (out, end, done) = decode(Kind::Response, Form::Chunked, bytes);
            assert_eq!(end, Ok(bytes.len()), "{}", bytes.escape_ascii());
            assert_eq!((out, done), sound, "{}", bytes.escape_ascii());
            assert_eq!(chunked(bytes).1, Err(from_visitor), "{}", bytes.escape_ascii());
        }
        for bytes in [&b" 2\r\n"[..], b"2 x\r\n", b"2 2\r\n", b"2\r\nok \r\n", b"2\rok", b"\n"] {
            let (_, end, _) = decode(Kind::Response, Form::Chunked, bytes);
            assert!(end.is_err(), "{}", bytes.escape_ascii());
        }
        let padded = |count: usize| format!("1{}\r\nx", " ".repeat(count)).into_bytes();
        assert!(decode(Kind::Response, Form::Chunked, &padded(EXTENSION_BYTES)).1.is_ok());
        assert!(decode(Kind::Response, Form::Chunked, &padded(EXTENSION_BYTES + 2)).1.is_err());
    }

    /// RFC 9112 7.1.1: bad white space of an extension must be read, whoever sends it.
    #[test]
    fn white_space_of_an_extension_is_read_and_dropped() {
        for bytes in
            [&b"2 ;a=b\r\nok\r\n0\r\n\r\n"[..], b"2\t ; a = b ; c = \"d\" \r\nok\r\n0 ;a\r\n\r\n"]
        {
            for from in [Kind::Request, Kind::Response] {
                let (out, end, done) = decode(from, Form::Chunked, bytes);
                assert_eq!((end, done), (Ok(bytes.len()), true), "{}", bytes.escape_ascii());
                assert_eq!(out, "2\\r\\nok\\r\\n0\\r\\n\\r\\n");
            }
        }
    }

    #[test]
    fn trailers_are_passed_on_to_who_asked_for_them() {
        let bytes =
            b"1\r\nx\r\n0\r\nServer-Timing:  a;dur=1 \r\ngrpc-status : 0\nContent-Length: 9\r\n\
                      Transfer-Encoding: x\r\nSet-Cookie: a\r\nEmpty:\r\n\r\n";
        let (out, end, done) = decode(Kind::Response, Form::WithTrailers, bytes);
        assert_eq!((end, done), (Ok(bytes.len()), true));
        let passed = "1\\r\\nx\\r\\n0\\r\\nServer-Timing: a;dur=1\\r\\ngrpc-status: 0\\r\\n\
                      Empty: \\r\\n\\r\\n";
        assert_eq!(out, passed);
        let (out, _, _) = decode(Kind::Response, Form::Chunked, bytes);
        assert_eq!(out, "1\\r\\nx\\r\\n0\\r\\n\\r\\n");
    }

    #[test]
    fn chunks_are_written_anew() {
        let (out, end, done) = chunked(b"05;a=\"b\"\r\nhello\r\n0\r\nX: y\r\n\r\nGET");
        assert_eq!((out.as_str(), end, done), ("5\\r\\nhello\\r\\n0\\r\\n\\r\\n", Ok(28), true));
        assert_eq!(chunked(b"0\r\n\r\n"), ("0\\r\\n\\r\\n".into(), Ok(5), true));
    }

    #[test]
    fn p9_what_two_parsers_might_read_in_two_ways_is_refused() {
        for (bytes, reject) in [
            (&b"\r\n"[..], Reject::Size),
            (b"x", Reject::Size),
            (b"0x5\r\n", Reject::Size),
            (b"-1\r\n", Reject::Size),
            (b"+1\r\n", Reject::Size),
            (b" 1\r\n", Reject::Size),
            (b"1 \r\n", Reject::Size),
            (b"1\t\r\n", Reject::Size),
            (b"1 a\r\n", Reject::Size),
            (b"1\n", Reject::Size),
            (b"00000000000000001\r\n", Reject::Size),
            (b"fffffffffffffffff\r\n", Reject::Size),
            (b"1;a\n", Reject::Extension),
            (b"1;\0\r\n", Reject::Extension),
            (b"1\rx", Reject::LineEnd),
            (b"1;a\rx", Reject::LineEnd),
            (b"1\r\nab", Reject::LineEnd),
            (b"1\r\na\n", Reject::LineEnd),
            (b"1\r\na\rx", Reject::LineEnd),
            (b"0\r\n\rx", Reject::Trailer),
            (b"0\r\n\n", Reject::Trailer),
            (b"0\r\nX\r\n", Reject::Trailer),
            (b"0\r\nX : y\r\n", Reject::Trailer),
            (b"0\r\n X: y\r\n", Reject::Trailer),
            (b"0\r\nX: y\r\n z\r\n", Reject::Trailer),
            (b"0\r\nX: \0\r\n", Reject::Trailer),
            (b"0\r\n: y\r\n", Reject::Trailer),
        ] {
            let (_, end, _) = chunked(bytes);
            assert_eq!(end, Err(reject), "{}", bytes.escape_ascii());
        }
        let long = |text: &str, count| text.replace('~', &"a".repeat(count));
        assert!(chunked(long("1;~\r\n", EXTENSION_BYTES).as_bytes()).1.is_ok());
        assert!(chunked(long("1;~\r\n", EXTENSION_BYTES + 1).as_bytes()).1.is_err());
        assert!(chunked(long("0\r\na:~\r\n\r\n", TRAILER_BYTES - 4).as_bytes()).1.is_ok());
        assert!(chunked(long("0\r\na:~\r\n\r\n", TRAILER_BYTES - 3).as_bytes()).1.is_err());
    }

    #[test]
    fn plain_runs_may_be_moved_unseen() {
        let mut body = Body::new(Kind::Request, Framing::Length(5), Form::Chunked);
        assert_eq!(body.plain_run(), 5);
        body.skip(4);
        assert_eq!((body.decode(b"oX", &mut Vec::new()), body.is_done()), (Ok(1), true));
        let mut body = Body::new(Kind::Request, Framing::Chunked, Form::Chunked);
        let mut out = Vec::new();
        assert_eq!(body.decode(b"a\r\n01", &mut out), Ok(5));
        assert_eq!(body.plain_run(), 8);
        body.skip(8);
        assert_eq!(body.decode(b"\r\n0\r\n\r\n", &mut out), Ok(7));
        assert_eq!(out, b"a\r\n01\r\n0\r\n\r\n");
    }

    proptest! {
        #[test]
        fn fuzz_check_holds(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            fuzz::check(&bytes);
        }

        #[test]
        fn fuzz_check_holds_on_chunks(
            chunks in proptest::collection::vec("[a-z]{1,20}", 0..6),
            extension in "(;[a-z]{0,5}(=\"[ -!#-~]{0,5}\")?)?",
            trailers in "([A-Z]{1,4}: [a-z]{0,4}\r\n){0,3}",
            cut in any::<u8>(),
        ) {
            let mut bytes = vec![2, cut];
            for chunk in &chunks {
                put_text(&mut bytes, format_args!("{:X}{extension}\r\n{chunk}\r\n", chunk.len()));
            }
            put_text(&mut bytes, format_args!("000{extension}\r\n{trailers}\r\nGET"));
            let form = Form::Plain;
            let mut body = Body::new(Kind::Request, Framing::Chunked, form);
            let mut out = Vec::new();
            prop_assert_eq!(body.decode(&bytes[2..], &mut out), Ok(bytes.len() - 5));
            prop_assert_eq!(out, chunks.concat().into_bytes());
            fuzz::check(&bytes);
        }
    }
}
