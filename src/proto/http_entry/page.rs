//! What a visitor reads when no home answers it: small, plain, and without a name in it; or the
//! user's own page.

use super::Why;
use crate::proto::gates::Refused;
use crate::wire::http::rewrite::Answer;
use crate::wire::http::{Version, put_text};

/// The user's own pages.
#[derive(Debug, Clone, Default)]
pub struct Pages {
    /// One for a status at most.
    own: Vec<Page>,
}

/// A page of the user's.
#[derive(Debug, Clone)]
pub struct Page {
    /// One of [`STATUSES`].
    pub status: u16,
    /// For Content-Type.
    pub media_type: &'static str,
    /// As it is sent.
    pub body: Vec<u8>,
}

impl Pages {
    /// Adds a page, or replaces the one for its status.
    pub fn set(&mut self, page: Page) {
        self.own.retain(|other| other.status != page.status);
        self.own.push(page);
    }

    /// Each of them.
    pub fn all(&self) -> impl Iterator<Item = &Page> {
        self.own.iter()
    }

    fn get(&self, status: u16) -> Option<Content<'_>> {
        let page = self.own.iter().find(|page| page.status == status)?;
        Some(Content { media_type: page.media_type, body: &page.body })
    }
}

/// A body and what it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Content<'a> {
    pub(super) media_type: &'static str,
    pub(super) body: &'a [u8],
}

/// Appends the page that says `why`.
pub(super) fn write(why: Why, pages: &Pages, answer: Answer, out: &mut Vec<u8>) {
    let status = why.status();
    let (reason, text) = text(why);
    let plain = format!("{status} {reason}\n\n{text}\n");
    let plain = Content { media_type: "text/plain", body: plain.as_bytes() };
    let again;
    let fields: &[u8] = match status {
        405 => {
            b"Cache-Control: no-store\r\nAllow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"
        }
        429 => {
            again = format!("Cache-Control: no-store\r\nRetry-After: {}\r\n", seconds_until(why));
            again.as_bytes()
        }
        // A home that was restarted is back in about that time.
        503 => b"Cache-Control: no-store\r\nRetry-After: 10\r\n",
        _ => b"Cache-Control: no-store\r\n",
    };
    write_answer(status, reason, pages.get(status).unwrap_or(plain), fields, answer, out);
}

/// Appends the answer to a load balancer's check.
pub(super) fn write_health(draining: bool, answer: Answer, out: &mut Vec<u8>) {
    let (status, reason, body) = match draining {
        true => (503, "Service Unavailable", "draining\n"),
        false => (200, "OK", "ok\n"),
    };
    let content = Content { media_type: "text/plain", body: body.as_bytes() };
    write_answer(status, reason, content, b"Cache-Control: no-store\r\n", answer, out);
}

/// Whole seconds until the same visitor may ask again.
fn seconds_until(why: Why) -> u64 {
    match why {
        Why::Refused(Refused::TooOften { again }) => again.as_secs_f64().ceil().max(1.0) as u64,
        _ => 1,
    }
}

/// Appends an answer of our own. `fields` are whole lines.
pub(super) fn write_answer(
    status: u16,
    reason: &str,
    content: Content<'_>,
    fields: &[u8],
    answer: Answer,
    out: &mut Vec<u8>,
) {
    let Content { media_type, body } = content;
    let length = body.len();
    put_text(
        out,
        format_args!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: {media_type}\r\n\
             Content-Length: {length}\r\n"
        ),
    );
    out.extend_from_slice(fields);
    out.extend_from_slice(match (answer.persists, answer.to) {
        (false, _) => b"Connection: close\r\n\r\n",
        (true, Version::Http10) => b"Connection: keep-alive\r\n\r\n",
        (true, Version::Http11) => b"\r\n",
    });
    if !answer.to_head {
        out.extend_from_slice(body);
    }
}

/// Every status that has a page.
pub const STATUSES: &[u16] =
    &[400, 403, 404, 405, 408, 413, 414, 429, 431, 501, 502, 503, 504, 505, 508];

fn text(why: Why) -> (&'static str, &'static str) {
    if why == Why::Refused(Refused::Full) {
        return ("Service Unavailable", "As many visitors as may be are here. Please try again.");
    }
    match why.status() {
        403 => ("Forbidden", "This site is not open to where you come from."),
        429 => ("Too Many Requests", "You have asked too often. Please try again in a while."),
        404 => ("Not Found", "There is no site of this name here."),
        405 => ("Method Not Allowed", "This is not a proxy."),
        408 => ("Request Timeout", "The request did not come in time."),
        413 => ("Content Too Large", "The request is larger than can be counted."),
        414 => ("URI Too Long", "The address is too long."),
        431 => ("Request Header Fields Too Large", "The request's header is too large."),
        501 => ("Not Implemented", "This transfer coding is not spoken here."),
        502 => ("Bad Gateway", "The site's own server refused, or broke off."),
        503 => ("Service Unavailable", "The site is offline now. Please try again later."),
        504 => ("Gateway Timeout", "The site's own server did not answer in time."),
        508 => ("Loop Detected", "The request came back to where it was sent from."),
        505 => ("HTTP Version Not Supported", "HTTP/1.1 is spoken here."),
        _ => ("Bad Request", "The request could not be understood."),
    }
}
