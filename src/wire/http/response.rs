//! A response head (RFC 9112 4): what forwarding needs of it, or why it is refused.

use super::{Fields, Framing, HeadScan, Kind, Options, Reject, Slots, Version};
use super::{first_line, list, rewrite, trim};
use crate::wire::Status;

/// A response that can be read in one way only.
#[derive(Debug, Clone, Copy)]
pub struct Response<'h, 'a> {
    /// 100 to 999; clients take an unknown one for the first of its hundred (RFC 9110 15).
    pub status: u16,
    /// May be empty.
    pub reason: &'a [u8],
    /// What the home speaks.
    pub version: Version,
    /// What the fields say, which the status or the request's method may overrule.
    pub fields_say: Framing,
    /// They say it in a way after which nothing more may be read from this connection.
    pub is_faulty: bool,
    /// What `Connection` says.
    pub options: Options,
    /// All of them, in order.
    pub fields: Fields<'h, 'a>,
}

impl<'h, 'a> Response<'h, 'a> {
    /// Reads `head`, which [`HeadScan`] has found.
    pub fn parse(head: &'a [u8], slots: &'h mut Slots<'a>) -> Result<Response<'h, 'a>, Reject> {
        let line = first_line(head);
        let version = match line.get(..STATUS_AT) {
            Some(b"HTTP/1.1 ") => Version::Http11,
            Some(b"HTTP/1.0 ") => Version::Http10,
            _ => return Err(Reject::FirstLine),
        };
        let reason = match line.get(STATUS_AT + 3..) {
            None => return Err(Reject::Status),
            Some([]) => &[],
            Some([b' ', reason @ ..]) => trim(reason),
            Some(_) => return Err(Reject::Status),
        };
        let mut parsed = httparse::Response::new(&mut []);
        let mut config = httparse::ParserConfig::default();
        // To be removed, says RFC 9112 5.1: it is written anew without.
        config.allow_spaces_after_header_name_in_responses(true);
        let status = config
            .parse_response_with_uninit_headers(&mut parsed, head, &mut slots.0)
            .map_err(|error| Reject::of_head(error, head))?;
        if status != httparse::Status::Complete(head.len()) {
            return Err(Reject::FirstLine);
        }
        let fields = Fields::check(parsed.headers)?;
        let status = parsed.code.filter(|code| (100..1000).contains(code)).ok_or(Reject::Status)?;
        if status < 200 && version == Version::Http10 {
            return Err(Reject::Status);
        }
        // Whoever switches protocols says to which (RFC 9110 15.2.2).
        if status == 101 && fields.named("upgrade").flat_map(list).next().is_none() {
            return Err(Reject::Status);
        }
        let (fields_say, is_faulty) = fields.framing_of_response(version)?;
        let options = fields.options()?;
        Ok(Response { status, reason, version, fields_say, is_faulty, options, fields })
    }

    /// More responses to the same request follow. 101 is none of these.
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// The framing of the body that follows this head (RFC 9112 6.3).
    pub fn framing(&self, to_head: bool) -> Framing {
        match (self.status, self.fields_say) {
            (..200 | 204 | 304, _) => Framing::None,
            _ if to_head => Framing::None,
            (_, Framing::None) => Framing::UntilClose,
            (_, framing) => framing,
        }
    }
}

const STATUS_AT: usize = "HTTP/1.1 ".len();

/// For the fuzz target `http_response`.
#[doc(hidden)]
pub mod fuzz {
    use super::*;

    /// Any cut gives the same head; what is forwarded is read as what came, and rewriting it again
    /// changes nothing.
    pub fn check(bytes: &[u8]) {
        let outcome = HeadScan::new(Kind::Response).scan(bytes);
        let mut scan = HeadScan::new(Kind::Response);
        let steps = if bytes.len() > 4096 { 61 } else { 1 };
        for end in (0..bytes.len()).step_by(steps) {
            match scan.scan(&bytes[..end]) {
                Ok(Status::Partial) => {}
                early => {
                    assert_eq!(early, outcome, "cut at {end}");
                    break;
                }
            }
        }
        assert_eq!(scan.scan(bytes), outcome);
        let Ok(Status::Complete(range)) = outcome else { return };
        let mut slots = Slots::new();
        let Ok(response) = Response::parse(&bytes[range], &mut slots) else { return };
        let answer = rewrite::Answer {
            to: Version::Http11,
            to_head: false,
            persists: true,
            trailers: bytes.len().is_multiple_of(2),
        };
        let mut once = Vec::new();
        rewrite::response(&response, answer, &mut once);
        let found = HeadScan::new(Kind::Response).scan(&once);
        let Ok(Status::Complete(range)) = found else {
            assert!(matches!(found, Err(Reject::LongHead | Reject::ManyFields)), "{found:?}");
            return;
        };
        assert_eq!(range, 0..once.len());
        let mut slots = Slots::new();
        let again = Response::parse(&once, &mut slots).expect("what is forwarded is sound");
        assert_eq!(again.status, response.status);
        assert_eq!(again.framing(false), response.framing(false));
        assert!(!again.is_faulty, "what was forgiven is gone");
        let mut twice = Vec::new();
        rewrite::response(&again, answer, &mut twice);
        assert_eq!(once.escape_ascii().to_string(), twice.escape_ascii().to_string());
    }
}
