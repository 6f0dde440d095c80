//! What a visitor reads when no home answers it: small, plain, and without a name in it.

use super::Why;
use crate::wire::http::rewrite::Answer;
use crate::wire::http::{Version, put_text};

/// Appends the page that says `why`.
pub(super) fn write(why: Why, answer: Answer, out: &mut Vec<u8>) {
    let status = why.status();
    let (reason, text) = text(status);
    // "404 Not Found\n\ntext\n"
    let length = 3 + 1 + reason.len() + 2 + text.len() + 1;
    let more = match status {
        405 => "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n",
        503 => RETRY_AFTER,
        _ => "",
    };
    let connection = match (answer.persists, answer.to) {
        (false, _) => "Connection: close\r\n",
        (true, Version::Http10) => "Connection: keep-alive\r\n",
        (true, Version::Http11) => "",
    };
    put_text(
        out,
        format_args!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\n{more}{connection}\r\n"
        ),
    );
    if !answer.to_head {
        put_text(out, format_args!("{status} {reason}\n\n{text}\n"));
    }
}

fn text(status: u16) -> (&'static str, &'static str) {
    match status {
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
        505 => ("HTTP Version Not Supported", "HTTP/1.1 is spoken here."),
        _ => ("Bad Request", "The request could not be understood."),
    }
}

/// A home that was restarted is back in about that time.
const RETRY_AFTER: &str = "Retry-After: 10\r\n";
