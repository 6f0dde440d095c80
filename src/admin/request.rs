//! What the admin door is asked: one request for each connection, which only reads.

use crate::proto::history::Span;
use crate::wire::host::HostName;
use crate::wire::http::request::{Request as Head, Target};
use crate::wire::http::{Fields, Framing, Reject, Slots, Version};

use super::metrics::Format;

/// A request that may be answered, once its sender may ask at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What it is about.
    pub question: Question,
    /// The answer is wanted without its body.
    pub is_head: bool,
    /// The answer may come in chunks (RFC 9112 7.1).
    pub takes_chunks: bool,
    /// The credentials that it brings.
    pub authorization: Option<Vec<u8>>,
}

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// A part of the page, which is only to be had compressed.
    Page {
        /// Which.
        part: Part,
        /// That may be sent.
        takes_gzip: bool,
    },
    /// Whether it serves.
    Health,
    /// For Prometheus.
    Metrics(Format),
    /// The snapshot.
    Status,
    /// What has passed lately.
    History(Span),
    /// Who gets a name, and path.
    Explain(String),
    /// The snapshot, again and again.
    Events,
}

/// A file of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `/`
    Html,
    /// `/page.css`
    Css,
    /// `/page.js`
    Js,
}

/// Why there is no answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It cannot be read.
    Malformed(Reject),
    /// It brings a body.
    Body,
    /// It does not only read.
    Method,
    /// Nothing is there.
    NotFound,
    /// A parameter is missing or is none.
    Parameter,
    /// Another site's page has made the browser ask.
    CrossSite,
    /// It asks somebody else.
    Misdirected,
}

/// Whom requests at a door may name as `Host`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// Anybody: a password is asked for, or the file system says who may come.
    Anybody,
    /// This machine alone: a page that has made its own name lead here (DNS rebinding) is told so.
    Loopback,
}

impl Request {
    /// Reads a whole head.
    pub fn read(head: &[u8], named: Named) -> Result<Request, Refusal> {
        let mut slots = Slots::new();
        let head = Head::parse(head, &mut slots).map_err(Refusal::Malformed)?;
        if !matches!(head.framing, Framing::None | Framing::Length(0)) {
            return Err(Refusal::Body);
        }
        if !head.method.reads() {
            return Err(Refusal::Method);
        }
        if named == Named::Loopback && !is_loopback(&head.host) {
            return Err(Refusal::Misdirected);
        }
        let Target::Origin(target) = head.target else { return Err(Refusal::NotFound) };
        let (path, query) = match target.iter().position(|byte| *byte == b'?') {
            Some(at) => (&target[..at], &target[at + 1..]),
            None => (target, &b""[..]),
        };
        if is_cross_site(head.fields, path) {
            return Err(Refusal::CrossSite);
        }
        let accept = head.fields.named("accept").next().unwrap_or_default();
        let page = |part| Question::Page { part, takes_gzip: takes_gzip(head.fields) };
        let question = match path {
            b"/" => page(Part::Html),
            b"/page.css" => page(Part::Css),
            b"/page.js" => page(Part::Js),
            b"/healthz" | b"/ping" => Question::Health,
            b"/metrics" => Question::Metrics(Format::from_accept(accept)),
            b"/api/v1/status" => Question::Status,
            b"/api/v1/history" => match parameter(query, "range").as_deref() {
                None | Some("hour") => Question::History(Span::Hour),
                Some("day") => Question::History(Span::Day),
                Some(_) => return Err(Refusal::Parameter),
            },
            b"/api/v1/explain" => {
                let name = parameter(query, "name").filter(|name| !name.is_empty());
                let path = parameter(query, "path").unwrap_or_default();
                Question::Explain(name.ok_or(Refusal::Parameter)? + &path)
            }
            b"/api/v1/events" => Question::Events,
            _ => return Err(Refusal::NotFound),
        };
        Ok(Request {
            question,
            is_head: head.method.is_head(),
            takes_chunks: head.version == Version::Http11,
            authorization: head.fields.named("authorization").next().map(<[u8]>::to_vec),
        })
    }
}

impl Question {
    /// Whether it is answered without a password: load balancers have none.
    pub fn is_open(&self) -> bool {
        *self == Question::Health
    }
}

fn is_loopback(host: &HostName) -> bool {
    match host {
        HostName::Dns(name) => name.as_str() == "localhost",
        HostName::Ip(address) => address.is_loopback(),
        HostName::Empty => false,
    }
}

/// Whether a page of another site has made the browser ask (Fetch Metadata). A link that somebody
/// follows to the page itself is none of that: it brings nothing, and gets what holds no data.
fn is_cross_site(fields: Fields<'_, '_>, path: &[u8]) -> bool {
    let first = |name| fields.named(name).next();
    let Some(site) = first("sec-fetch-site") else { return false };
    let follows_link = path == b"/"
        && first("sec-fetch-mode") == Some(b"navigate")
        && first("sec-fetch-dest") == Some(b"document");
    !matches!(site, b"same-origin" | b"none") && !follows_link
}

/// Whether a field says so (RFC 9110 12.5.3); a weight of nothing says that it does not.
fn takes_gzip(fields: Fields<'_, '_>) -> bool {
    let codings = fields.named("accept-encoding").flat_map(|value| value.split(|it| *it == b','));
    codings.map(<[u8]>::trim_ascii).any(|coding| {
        let (name, rest) = coding.split_at(coding.iter().take_while(|it| **it != b';').count());
        let is_none = rest.split(|it| *it == b'=').next_back().is_some_and(|weight| {
            !weight.is_empty() && weight.iter().all(|it| matches!(it, b'0' | b'.' | b' '))
        });
        [&b"gzip"[..], b"*"].iter().any(|it| name.trim_ascii().eq_ignore_ascii_case(it)) && !is_none
    })
}

/// The first value of `name` in a query, percent-decoded; what is no UTF-8 is replaced.
fn parameter(query: &[u8], name: &str) -> Option<String> {
    let value = query.split(|byte| *byte == b'&').find_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        (&pair[..at] == name.as_bytes()).then_some(&pair[at + 1..])
    })?;
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((byte, behind)) = rest.split_first() {
        let pair = behind.first_chunk::<2>().filter(|_| *byte == b'%');
        let hex = pair.and_then(|pair| {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8) // below 256
        });
        (rest, decoded) = match (hex, *byte) {
            (Some(byte), _) => (&behind[2..], [&decoded[..], &[byte]].concat()),
            (None, b'+') => (behind, [&decoded[..], b" "].concat()),
            (None, byte) => (behind, [&decoded[..], &[byte]].concat()),
        };
    }
    Some(String::from_utf8_lossy(&decoded).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str, fields: &str, named: Named) -> Result<Question, Refusal> {
        let head = format!("{line} HTTP/1.1\r\n{fields}\r\n");
        Request::read(head.as_bytes(), named).map(|request| request.question)
    }

    fn get(target: &str) -> Result<Question, Refusal> {
        let fields = "Host: localhost\r\nAccept-Encoding: br, gzip;q=0.5\r\n";
        read(&format!("GET {target}"), fields, Named::Loopback)
    }

    #[test]
    fn what_is_asked_is_found_by_its_path() {
        assert_eq!(get("/"), Ok(Question::Page { part: Part::Html, takes_gzip: true }));
        assert_eq!(get("/api/v1/history?range=day"), Ok(Question::History(Span::Day)));
        assert_eq!(get("/api/v1/history?range=year"), Err(Refusal::Parameter));
        assert_eq!(get("/api/v1/explain"), Err(Refusal::Parameter));
        let asked = get("/api/v1/explain?x=1&name=a%2Eb+c%zz%&path=/%C3%A4").expect("sound");
        assert_eq!(asked, Question::Explain("a.b c%zz%/\u{e4}".to_owned()));
        assert_eq!(get("/api/v2/status"), Err(Refusal::NotFound));
        assert_eq!(get("http://localhost/"), Err(Refusal::NotFound));
    }

    #[test]
    fn the_page_is_compressed() {
        for (fields, expected) in [
            ("", false),
            ("Accept-Encoding: identity\r\n", false),
            ("Accept-Encoding: gzip;q=0\r\n", false),
            ("Accept-Encoding: deflate, GZIP\r\n", true),
            ("Accept-Encoding: *\r\n", true),
        ] {
            let fields = format!("Host: localhost\r\n{fields}");
            let asked = read("GET /", &fields, Named::Loopback);
            let page = Question::Page { part: Part::Html, takes_gzip: expected };
            assert_eq!(asked, Ok(page), "{fields}");
        }
    }

    #[test]
    fn it_only_reads() {
        let host = "Host: 127.0.0.1:9333\r\n";
        assert_eq!(read("POST /", host, Named::Loopback), Err(Refusal::Method));
        let with_body = format!("{host}Content-Length: 1\r\n");
        assert_eq!(read("GET /", &with_body, Named::Loopback), Err(Refusal::Body));
        let head = format!("HEAD /metrics HTTP/1.1\r\n{host}Authorization: Basic eA==\r\n\r\n");
        let request = Request::read(head.as_bytes(), Named::Loopback).expect("sound");
        assert!(request.is_head && request.authorization.as_deref() == Some(b"Basic eA=="));
    }

    #[test]
    fn another_site_gets_nothing() {
        for (host, named, expected) in [
            ("evil.example", Named::Loopback, false),
            ("evil.example", Named::Anybody, true),
            ("[::1]:9333", Named::Loopback, true),
            ("192.168.1.5", Named::Loopback, false),
        ] {
            let asked = read("GET /api/v1/status", &format!("Host: {host}\r\n"), named);
            assert_eq!(asked.is_ok(), expected, "{host}: {asked:?}");
        }
        let from = |site, mode, dest, target: &str| {
            let fields = format!(
                "Host: localhost\r\nAccept-Encoding: gzip\r\nSec-Fetch-Site: {site}\r\n\
                 Sec-Fetch-Mode: {mode}\r\nSec-Fetch-Dest: {dest}\r\n"
            );
            read(&format!("GET {target}"), &fields, Named::Loopback).is_ok()
        };
        assert!(from("same-origin", "cors", "empty", "/api/v1/status"));
        assert!(from("none", "navigate", "document", "/metrics"));
        assert!(from("cross-site", "navigate", "document", "/"), "a link");
        assert!(!from("cross-site", "navigate", "iframe", "/"));
        assert!(!from("cross-site", "no-cors", "script", "/page.js"));
        assert!(!from("same-site", "cors", "empty", "/api/v1/status"));
        assert!(!from("cross-site", "navigate", "document", "/api/v1/status"));
    }
}
