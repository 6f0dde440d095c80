//! What the admin door answers: whole replies, and those that are written slice by slice.

use super::request::{Part, Refusal};
use crate::proto::admin_guard::CHALLENGE;
use crate::wire::http::Reject;

/// An answer that is whole when it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// As in RFC 9110.
    pub status: u16,
    /// What the body is.
    pub media_type: &'static str,
    /// Whole lines of more fields.
    pub fields: String,
    /// The body.
    pub body: Vec<u8>,
}

const TEXT: &str = "text/plain; charset=utf-8";
/// Of the API's answers.
pub const JSON: &str = "application/json";

/// No browser may put what is here beside anything of another site, keep it, or load anything for
/// it from elsewhere.
const PROTECTION: &str = "Cache-Control: no-store\r\n\
    Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'\r\n\
    X-Content-Type-Options: nosniff\r\n\
    Referrer-Policy: no-referrer\r\n\
    Cross-Origin-Resource-Policy: same-origin\r\n\
    Connection: close\r\n";

impl Whole {
    /// Text for people.
    pub fn text(status: u16, text: impl Into<String>) -> Whole {
        let body = (text.into() + "\n").into_bytes();
        Whole { status, media_type: TEXT, fields: String::new(), body }
    }

    /// An answer of the API.
    pub fn json(status: u16, body: Vec<u8>) -> Whole {
        Whole { status, media_type: JSON, fields: String::new(), body }
    }

    /// A part of the page, as the program holds it: compressed.
    pub fn part(part: Part, takes_gzip: bool) -> Whole {
        if !takes_gzip {
            let hint = "The page is sent compressed (gzip): use a browser, or `curl --compressed`.";
            return Whole::text(406, hint);
        }
        macro_rules! packed {
            ($name:literal) => {
                include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".gz")).as_slice()
            };
        }
        let (media_type, body) = match part {
            Part::Html => ("text/html; charset=utf-8", packed!("index.html")),
            Part::Css => ("text/css; charset=utf-8", packed!("page.css")),
            Part::Js => ("text/javascript; charset=utf-8", packed!("page.js")),
        };
        let fields = "Content-Encoding: gzip\r\nVary: Accept-Encoding\r\n".to_owned();
        Whole { status: 200, media_type, fields, body: body.into() }
    }

    /// Whether it serves.
    pub fn health(health: Health) -> Whole {
        match health {
            Health::Serving => Whole::text(200, "ok"),
            Health::Starting => Whole::text(503, "starting"),
            Health::Draining => Whole::text(503, "draining"),
        }
    }

    /// A password is needed.
    pub fn challenge() -> Whole {
        let fields = format!("WWW-Authenticate: {CHALLENGE}\r\n");
        Whole { fields, ..Whole::text(401, "This page asks for a user and a password.") }
    }

    /// Too many wrong passwords; how many seconds to wait.
    pub fn too_many(seconds: u64) -> Whole {
        let fields = format!("Retry-After: {seconds}\r\n");
        Whole { fields, ..Whole::text(429, "Too many wrong passwords. Please wait.") }
    }

    /// The passwords of others are being checked.
    pub fn busy() -> Whole {
        let fields = "Retry-After: 1\r\n".into();
        Whole { fields, ..Whole::text(503, "Too many passwords are being checked.") }
    }

    /// Why a request is not answered.
    pub fn refusal(refusal: Refusal) -> Whole {
        match refusal {
            Refusal::Malformed(reject) => Whole::text(reject.status(), malformed(reject)),
            Refusal::Body => Whole::text(413, "No request here has a body."),
            Refusal::Method => {
                let fields = "Allow: GET, HEAD\r\n".into();
                Whole { fields, ..Whole::text(405, "Everything here is for reading only.") }
            }
            Refusal::NotFound => Whole::text(404, "There is nothing of this name here."),
            Refusal::Parameter => {
                Whole::json(400, br#"{"error":"a parameter is missing or wrong"}"#.to_vec())
            }
            Refusal::CrossSite => Whole::text(403, "Other sites get nothing here."),
            Refusal::Misdirected => Whole::text(
                421,
                "Without a password this is for this machine alone: use localhost or 127.0.0.1.",
            ),
        }
    }

    /// Appends the whole answer.
    pub fn write(&self, is_head: bool, out: &mut Vec<u8>) {
        let length = self.body.len();
        write_head(self.status, self.media_type, &self.fields, Length::Known(length), out);
        if !is_head {
            out.extend_from_slice(&self.body);
        }
    }
}

/// How much of a body there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// So many bytes.
    Known(usize),
    /// It comes in chunks: one that is cut off is none.
    Chunks,
    /// As much as comes before the connection ends.
    UntilClose,
}

/// Appends a head.
pub fn write_head(status: u16, media_type: &str, fields: &str, length: Length, out: &mut Vec<u8>) {
    let length = match length {
        Length::Known(length) => format!("Content-Length: {length}\r\n"),
        Length::Chunks => "Transfer-Encoding: chunked\r\n".to_owned(),
        Length::UntilClose => String::new(),
    };
    let reason = reason(status);
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {media_type}\r\n\
         {length}{fields}{PROTECTION}\r\n"
    );
    out.extend_from_slice(head.as_bytes());
}

/// How it is to be found by a load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Visitors are welcome.
    Serving,
    /// It has started a moment ago, and not every service has its home yet.
    Starting,
    /// It is about to end.
    Draining,
}

fn malformed(reject: Reject) -> String {
    format!("The {reject}.")
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        413 => "Content Too Large",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_whole_and_says_what_a_browser_must_not_do() {
        let mut out = Vec::new();
        Whole::refusal(Refusal::Method).write(true, &mut out);
        let text = String::from_utf8(out).expect("ASCII");
        assert!(text.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\n") && text.contains("\r\nAllow: GET, HEAD\r\n"), "{text}");
        for field in ["default-src 'none'", "nosniff", "no-store", "Connection: close"] {
            assert!(text.contains(field), "{field} in {text}");
        }
        assert!(!text.to_ascii_lowercase().contains("access-control"), "no other site may read");
    }
}
