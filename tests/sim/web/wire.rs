//! Every byte that follows from a plan: what each end sends, and what the other one must get.

use std::fmt::Write as _;

use super::plan::{Ask, AskId, Begins, Fault, Framing, How, Leaves, Ledger, Payload, Then, To};
use crate::rng::splitmix;

/// What the bytes of a stream are keyed by, beside the request.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Request,
    Response,
    RawUp,
    RawDown,
}

/// The content of one stream of a request.
pub fn content(id: AskId, kind: Kind, length: usize) -> Vec<u8> {
    let mut state = (id as u64) << 8 | kind as u64 | 0x7e57 << 48;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend(splitmix(&mut state).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Some draw of its own for a request, without a generator.
fn mix(quirk: u64, salt: u64) -> u64 {
    splitmix(&mut (quirk ^ salt.wrapping_mul(0x9e37_79b9)))
}

// Bodies.

/// In the one form in which it is forwarded, or in one of the many that mean the same.
fn framed(content: &[u8], framing: Framing, quirk: Option<u64>) -> Vec<u8> {
    let Framing::Chunked(most) = framing else { return content.to_vec() };
    let mut out = Vec::with_capacity(content.len() + 64);
    for (number, chunk) in content.chunks(most.max(1)).enumerate() {
        let size = chunk.len();
        let head = match quirk.map(|quirk| mix(quirk, number as u64) % 4) {
            None | Some(0) => format!("{size:x}\r\n"),
            Some(1) => format!("{size:X};a=\"b;c\"\r\n"),
            Some(2) => format!("{size:08x}\r\n"),
            Some(_) => format!("0{size:X};x\r\n"),
        };
        out.extend(head.as_bytes());
        out.extend(chunk);
        out.extend(b"\r\n");
    }
    out.extend(match quirk.map(|quirk| mix(quirk, 77) % 3) {
        None | Some(0) => &b"0\r\n\r\n"[..],
        Some(1) => b"000;last\r\n\r\n",
        Some(_) => b"0\r\nX-Id: 1\r\nContent-Length: 3\r\n\r\n",
    });
    out
}

/// Whether a body in one of its many forms has trailers.
fn says_trailers(quirk: u64) -> bool {
    mix(quirk, 77) % 3 == 2
}

fn framing_field(payload: &Payload) -> String {
    match payload.framing {
        Framing::Length => format!("Content-Length: {}\r\n", payload.length),
        Framing::Chunked(_) => "Transfer-Encoding: chunked\r\n".to_owned(),
        Framing::UntilClose => String::new(),
    }
}

// Requests.

/// The head as the visitor sends it.
pub fn request_head(ask: &Ask, id: AskId) -> String {
    let quirk = |salt, parts| mix(ask.quirk, salt).is_multiple_of(parts);
    let host = host(ask);
    let absolute = ask.fault.is_none() && quirk(1, 5);
    let mut text = String::new();
    if quirk(9, 7) {
        text += "\r\n"; // RFC 9112 2.2
    }
    let path = path(ask, id);
    let target = if absolute { format!("http://{host}{path}") } else { path };
    let version = if ask.old { "1.0" } else { "1.1" };
    let _ = write!(text, "{} {target} HTTP/{version}\r\n", ask.method);
    // The target's authority wins over Host (RFC 9112 3.2.2).
    let field = if absolute { "other.example" } else { &host };
    let _ = write!(text, "Host: {field}\r\n");
    match ask.fault {
        Some(Fault::TwoHosts) => text += "Host: h0.example\r\n",
        Some(Fault::TwoLengths) => text += "Content-Length: 1\r\nContent-Length: 2\r\n",
        Some(Fault::LengthWithCoding) => {
            text += "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"
        }
        Some(Fault::BareLf) => text += "X-Line: a\nX-Other: b\r\n",
        Some(Fault::Fold) => text += "X-Line: a\r\n b\r\n",
        Some(Fault::Chunk) | None => {}
    }
    if quirk(2, 3) {
        text += "X-Forwarded-For: 6.6.6.6\r\nx_real_ip: 6.6.6.6\r\nTE: trailers\r\n";
    }
    let mut framing = ask.body.as_ref().map(framing_field).unwrap_or_default();
    if quirk(3, 2) {
        framing = framing.to_ascii_lowercase();
    }
    if quirk(4, 2) {
        text += &std::mem::take(&mut framing);
    }
    let _ = write!(text, "X-Id: {id}\r\nX-Mine:   a, b  \r\n");
    let mut options = vec![];
    if !ask.keeps && !ask.old {
        options.push("close");
    }
    if ask.keeps && (ask.old || quirk(5, 3)) {
        options.push("Keep-Alive");
    }
    if ask.upgrades {
        options.push("upgrade");
        text += "Upgrade: echo, h2c\r\n";
    }
    if quirk(6, 3) {
        options.push("X-Real-IP, X-Hop");
        text += "X-Hop: 1\r\n";
    }
    if !options.is_empty() {
        let _ = write!(text, "Connection: {}\r\n", options.join(", "));
    }
    if ask.expects.is_some() {
        text += "Expect: 100-continue\r\n";
    }
    text + &framing + "\r\n"
}

/// The body as the visitor sends it.
pub fn request_body(ask: &Ask, id: AskId) -> Vec<u8> {
    let Some(body) = &ask.body else { return Vec::new() };
    let content = content(id, Kind::Request, body.length);
    let mut bytes = framed(&content, body.framing, Some(ask.quirk));
    if ask.fault == Some(Fault::Chunk) {
        let sound = framed(&content, body.framing, None).len() - b"0\r\n\r\n".len();
        bytes = framed(&content, body.framing, None);
        bytes.truncate(sound);
        bytes.extend(b"-1\r\n\r\n0\r\n\r\n");
    }
    bytes
}

/// Whether it takes trailers.
fn asks_trailers(ask: &Ask) -> bool {
    !ask.old && mix(ask.quirk, 2).is_multiple_of(3)
}

/// The head as the home must get it.
pub fn forwarded_head(ledger: &Ledger, id: AskId) -> String {
    let ask = &ledger.asks[id];
    let (host, from) = (host(ask), ledger.calls[ask.call].from);
    let path = path(ask, id);
    let mut text = format!("{} {path} HTTP/1.1\r\nHost: {host}\r\n", ask.method);
    let _ = write!(text, "X-Id: {id}\r\nX-Mine: a, b\r\n");
    if ask.expects.is_some() {
        text += "Expect: 100-continue\r\n";
    }
    text += &ask.body.as_ref().map(framing_field).unwrap_or_default();
    match (ask.upgrades, asks_trailers(ask)) {
        (false, false) => {}
        (true, false) => text += "Connection: upgrade\r\nUpgrade: echo\r\n",
        (false, true) => text += "TE: trailers\r\nConnection: TE\r\n",
        (true, true) => text += "TE: trailers\r\nConnection: upgrade, TE\r\nUpgrade: echo\r\n",
    }
    text += "CDN-Loop: underpass\r\n";
    let _ = write!(
        text,
        "X-Forwarded-For: {from}\r\nX-Forwarded-Host: {host}\r\nX-Forwarded-Port: 80\r\n\
         X-Forwarded-Proto: http\r\nX-Real-IP: {from}\r\n\r\n"
    );
    text
}

/// The body as the home must get it.
pub fn forwarded_body(ask: &Ask, id: AskId) -> Vec<u8> {
    let Some(body) = &ask.body else { return Vec::new() };
    framed(&content(id, Kind::Request, body.length), body.framing, None)
}

/// As the visitor writes it.
fn host(ask: &Ask) -> String {
    let upper = mix(ask.quirk, 7).is_multiple_of(4);
    let port = if mix(ask.quirk, 8).is_multiple_of(4) { ":80" } else { "" };
    let name = match ask.to {
        To::Home(_) if goes_by_path(ask) => "way.example".to_owned(),
        To::Home(home) if upper => format!("A.H{home}.Example"),
        To::Home(home) => format!("h{home}.example"),
        To::Nobody => "nobody.example".to_owned(),
        To::Gone => "gone.example".to_owned(),
        To::Shut(home) => format!("shut{home}.example"),
        To::Secure => "secure.example".to_owned(),
    };
    name + port
}

/// A home has a name of its own, and a path of a name that it shares with all others: two services.
pub fn goes_by_path(ask: &Ask) -> bool {
    matches!(ask.to, To::Home(_)) && mix(ask.quirk, 10).is_multiple_of(4)
}

fn path(ask: &Ask, id: AskId) -> String {
    match ask.to {
        To::Home(home) if goes_by_path(ask) => format!("/h{home}/x/{id}?q"),
        _ => format!("/{id}?q"),
    }
}

/// The request that the head of a forwarded request names.
pub fn id_of(head: &str) -> Option<AskId> {
    let path = head.split(' ').nth(1)?;
    path.strip_suffix("?q")?.rsplit('/').next()?.parse().ok()
}

// Responses.

/// The interim responses, as they pass through unchanged.
pub fn interims(ask: &Ask, id: AskId) -> Vec<String> {
    let mut all = Vec::new();
    if ask.old || ask.reply.old {
        return all;
    }
    if ask.expects.is_some() && ask.reply.says_100 {
        all.push("HTTP/1.1 100 Continue\r\n\r\n".to_owned());
    }
    all.extend((0..ask.reply.hints).map(|number| hint(id, number)));
    all
}

fn hint(id: AskId, number: usize) -> String {
    format!("HTTP/1.1 103 Early Hints\r\nX-Id: {id}\r\nLink: <{number}>\r\n\r\n")
}

/// Of [`interims`], this is what the home says at once.
pub fn is_100(interim: &str) -> bool {
    interim.starts_with("HTTP/1.1 100")
}

/// The hints, as the home sends them, whether the visitor may get them or not.
pub fn hints(ask: &Ask, id: AskId) -> String {
    if ask.reply.old { String::new() } else { (0..ask.reply.hints).map(|n| hint(id, n)).collect() }
}

/// The final response, head and body, as the home sends it.
pub fn reply(ask: &Ask, id: AskId) -> Vec<u8> {
    let reply = &ask.reply;
    let version = if reply.old { "1.0" } else { "1.1" };
    let mut text = format!("HTTP/{version} {} Fine\r\nX-Id: {id}\r\n", reply.status);
    if mix(ask.quirk, 20).is_multiple_of(3) {
        text += "Keep-Alive: timeout=5\r\nX-Hop: 2\r\nConnection: x-hop\r\n";
    }
    match reply.status {
        101 => text += "Upgrade: echo\r\nConnection: Upgrade\r\n",
        204 => {}
        _ => text += &framing_field(&reply.payload),
    }
    match reply.then {
        Then::Close(_) => text += "Connection: close\r\n",
        _ if reply.old && keeps_old(ask) => text += "Connection: Keep-Alive\r\n",
        _ => {}
    }
    let mut bytes = (text + "\r\n").into_bytes();
    if !ask.is_bodiless() {
        let content = content(id, Kind::Response, reply.payload.length);
        bytes.extend(framed(&content, reply.payload.framing, Some(ask.quirk)));
    }
    if reply.then == Then::Babble {
        bytes.extend(b"HTTP/1.1 200 Stale\r\nX-Id: 0\r\nContent-Length: 5\r\n\r\nstale");
    }
    bytes
}

/// A home that speaks HTTP/1.0 keeps its connection if it says so.
fn keeps_old(ask: &Ask) -> bool {
    mix(ask.quirk, 21).is_multiple_of(2)
}

/// The final head as the visitor must get it.
pub fn answer_head(ask: &Ask, id: AskId, persists: bool) -> String {
    let reply = &ask.reply;
    let mut text = format!("HTTP/1.1 {} Fine\r\nX-Id: {id}\r\n", reply.status);
    match (reply.status, reply.payload.framing) {
        (101, _) => text += "Connection: upgrade\r\nUpgrade: echo\r\n",
        (204, _) => {}
        (_, Framing::Chunked(_)) if ask.old || ask.is_bodiless() => {}
        _ => text += &framing_field(&reply.payload),
    }
    match persists {
        _ if reply.status == 101 => {}
        false => text += "Connection: close\r\n",
        true if ask.old => text += "Connection: keep-alive\r\n",
        true => {}
    }
    text + "\r\n"
}

/// The body as the visitor must get it, and whether its end is the connection's.
pub fn answer_body(ask: &Ask, id: AskId) -> (Vec<u8>, bool) {
    if ask.is_bodiless() {
        return (Vec::new(), false);
    }
    let Payload { length, framing } = ask.reply.payload;
    let content = content(id, Kind::Response, length);
    match framing {
        Framing::Length => (content, false),
        Framing::Chunked(_) if !ask.old => {
            let mut body = framed(&content, framing, None);
            // A trailer that may stand behind a body goes to who asked for it; no length does.
            if asks_trailers(ask) && says_trailers(ask.quirk) {
                body.truncate(body.len() - b"\r\n".len());
                body.extend(b"X-Id: 1\r\n\r\n");
            }
            (body, false)
        }
        Framing::Chunked(_) | Framing::UntilClose => (content, true),
    }
}

/// The home's response ends with its connection.
pub fn is_until_close(ask: &Ask) -> bool {
    !ask.is_bodiless() && ask.reply.payload.framing == Framing::UntilClose
}

/// The home closes its connection behind the response, though the response does not say so.
pub fn closes_unsaid(ask: &Ask) -> bool {
    is_until_close(ask) || ask.reply.old && !keeps_old(ask)
}

/// Whether the visitor's connection must live on after the answer; `None` if it may or may not.
pub fn must_persist(ledger: &Ledger, id: AskId) -> Option<bool> {
    let ask = &ledger.asks[id];
    let call = &ledger.calls[ask.call];
    if !ask.keeps || answer_body(ask, id).1 {
        return Some(false);
    }
    let is_last = id + 1 == call.asks.end;
    let ends = match call.leaves {
        Leaves::Finishes => is_last,
        Leaves::AfterSent(_, How::Fin) | Leaves::AfterReceived(_, How::Fin) => true,
        _ => false,
    };
    let early = ask.has_body() && ask.reply.begins != Begins::Whole;
    if ends || early { None } else { Some(true) }
}
