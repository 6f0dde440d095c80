//! The one canonical form in which heads are forwarded.
//!
//! What a hop says to the next one alone ends here (RFC 9110 7.6.1) and is said anew: `Host`, the
//! framing, `Connection`, the forwarded fields. They are written from what was parsed, so nothing
//! that a `Connection` field names can take them away, and nothing that a visitor sends can stand
//! in for them. Everything else goes on as it came, in its order.
//!
//! ```text
//! GET /path HTTP/1.1               as origin-form
//! Host: as it came
//! …                                all other fields
//! Content-Length | Transfer-Encoding: chunked
//! TE: trailers                  if the visitor takes them
//! Connection: upgrade, Upgrade: …  if asked for, without h2c
//! CDN-Loop: underpass
//! X-Forwarded-For, -Host, -Port, -Proto, X-Real-IP; Forwarded
//! ```

use std::ops::Range;

use super::forwarded::{self, Visitor};
use super::request::{Request, Target};
use super::response::Response;
use super::{Framing, Version, is_one_of, list, put_text};

/// Appends a request head for the home, and says where in `out` its target lies.
///
/// It speaks HTTP/1.1, as a gateway says its own version (RFC 9110 2.5); but a request without
/// Host stays HTTP/1.0, since HTTP/1.1 has none without, and an empty one many homes refuse.
pub fn request(request: &Request<'_, '_>, visitor: &Visitor, out: &mut Vec<u8>) -> Range<usize> {
    put(out, &[request.method.0, b" "]);
    let start = out.len();
    match request.target {
        Target::Asterisk => put(out, &[b"*"]),
        // RFC 9112 3.2.4: a proxy's last step turns this into the asterisk-form.
        Target::Absolute(b"") if request.method.0 == b"OPTIONS" => put(out, &[b"*"]),
        Target::Absolute(rest @ (b"" | [b'?', ..])) => put(out, &[b"/", rest]),
        Target::Absolute(path) | Target::Origin(path) => put(out, &[path]),
    }
    let target = start..out.len();
    match request.authority {
        Some(host) => put(out, &[b" HTTP/1.1\r\nHost: ", host, b"\r\n"]),
        None => put(out, &[b" HTTP/1.0\r\n"]),
    }
    let fields = request.fields;
    for (name, value) in fields.iter() {
        let ends_here =
            is_hop_by_hop(name) || is_of_request(name) || forwarded::ends_here(name, visitor);
        // An HTTP/1.0 client cannot be sent 100 (RFC 9110 10.1.1).
        let pointless = request.version == Version::Http10 && name.eq_ignore_ascii_case(b"expect");
        // RFC 8586 2.1: whoever could take the mark away could send a request round for ever.
        let is_mark = name.eq_ignore_ascii_case(b"cdn-loop");
        let is_named = || !is_mark && fields.is_named_by_connection(name);
        if !ends_here && !pointless && !is_named() {
            field(out, name, value);
        }
    }
    write_framing(request.framing, out);
    match (request.asks_upgrade(), request.takes_trailers()) {
        (false, false) => {}
        (false, true) => put(out, &[b"TE: trailers\r\nConnection: TE\r\n"]),
        (true, false) => write_upgrade(b"upgrade", fields.protocols(), out),
        (true, true) => {
            put(out, &[b"TE: trailers\r\n"]);
            write_upgrade(b"upgrade, TE", fields.protocols(), out);
        }
    }
    put(out, &[forwarded::MARK]);
    forwarded::write(request, visitor, out);
    put(out, &[b"\r\n"]);
    target
}

/// To whom a response goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// What the visitor speaks.
    pub to: Version,
    /// It asked by HEAD.
    pub to_head: bool,
    /// Its connection lives on after this response.
    pub persists: bool,
    /// It has asked for trailers.
    pub trailers: bool,
}

/// Appends a response head for the visitor. 101 keeps its `Upgrade`; an interim one says nothing
/// about the connection.
pub fn response(response: &Response<'_, '_>, answer: Answer, out: &mut Vec<u8>) {
    put_text(out, format_args!("HTTP/1.1 {:03} ", response.status));
    put(out, &[response.reason, b"\r\n"]);
    let fields = response.fields;
    let announces = answer.trailers && response.framing(answer.to_head) == Framing::Chunked;
    for (name, value) in fields.iter() {
        let ends_here =
            is_hop_by_hop(name) && !(announces && name.eq_ignore_ascii_case(b"trailer"));
        if !ends_here && !fields.is_named_by_connection(name) {
            field(out, name, value);
        }
    }
    match response.fields_say {
        _ if response.status < 200 || response.status == 204 => {}
        Framing::Chunked if answer.to == Version::Http10 => {}
        // Without a body there are no chunks to come.
        Framing::Chunked if answer.to_head || response.status == 304 => {}
        said => write_framing(said, out),
    }
    match (response.status, answer.persists, answer.to) {
        (101, ..) => write_upgrade(b"upgrade", fields.named("upgrade").flat_map(list), out),
        (..200, ..) => {}
        (_, false, _) => put(out, &[b"Connection: close\r\n"]),
        (_, true, Version::Http10) => put(out, &[b"Connection: keep-alive\r\n"]),
        (_, true, Version::Http11) => {}
    }
    put(out, &[b"\r\n"]);
}

fn write_framing(framing: Framing, out: &mut Vec<u8>) {
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Length(length) => {
            put_text(out, format_args!("Content-Length: {length}\r\n"));
        }
        Framing::Chunked => put(out, &[b"Transfer-Encoding: chunked\r\n"]),
    }
}

fn write_upgrade<'a>(options: &[u8], protocols: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    put(out, &[b"Connection: ", options, b"\r\nUpgrade: "]);
    for (number, protocol) in protocols.enumerate() {
        put(out, &[if number == 0 { b"" } else { b", " }, protocol]);
    }
    put(out, &[b"\r\n"]);
}

pub(super) fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    put(out, &[name, b": ", value, b"\r\n"]);
}

pub(super) fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Of this hop alone, or said anew. `Trailer` and `TE` speak of trailers, which are dropped but for
/// visitors that ask for them.
pub(super) fn is_hop_by_hop(name: &[u8]) -> bool {
    const NAMES: &[&[u8]] = &[
        b"connection",
        b"content-length",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    ];
    is_one_of(name, NAMES)
}

/// Of requests alone. `Proxy-Authorization` is for a proxy, which this is not.
fn is_of_request(name: &[u8]) -> bool {
    const NAMES: &[&[u8]] = &[b"host", b"http2-settings", b"proxy-authorization"];
    is_one_of(name, NAMES)
}
