//! A request head (RFC 9112 3): what routing and forwarding need of it, or why it is refused.

use super::{Fields, Framing, HeadScan, Kind, Options, Reject, Slots, Version};
use super::{first_line, is_token, rewrite, starts_with};
use crate::wire::Status;
use crate::wire::host::{self, HostName};

/// A request that can be read in one way only.
#[derive(Debug, Clone, Copy)]
pub struct Request<'h, 'a> {
    /// A token.
    pub method: Method<'a>,
    /// What is asked for.
    pub target: Target<'a>,
    /// What the visitor speaks.
    pub version: Version,
    /// Whom it asks: the target's authority if it has one, else Host (RFC 9112 3.2.2).
    pub host: HostName,
    /// The same as it was sent; `None` only in HTTP/1.0 without Host.
    pub authority: Option<&'a [u8]>,
    /// Never `UntilClose`.
    pub framing: Framing,
    /// What `Connection` says.
    pub options: Options,
    /// All of them, in order.
    pub fields: Fields<'h, 'a>,
}

/// Case-sensitive (RFC 9110 9.1): `get` is a method that nobody knows, and the home's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method<'a>(pub &'a [u8]);

impl Method<'_> {
    /// Whether the response has no body.
    pub fn is_head(self) -> bool {
        self.0 == b"HEAD"
    }

    /// Whether it asks for a representation and nothing else.
    pub fn reads(self) -> bool {
        [&b"GET"[..], b"HEAD"].contains(&self.0)
    }

    /// Whether doing it twice is doing it once (RFC 9110 9.2.2, and IANA's registry for those of
    /// WebDAV and CalDAV).
    pub fn is_repeatable(self) -> bool {
        const METHODS: &[&[u8]] = &[
            b"GET",
            b"HEAD",
            b"OPTIONS",
            b"PUT",
            b"DELETE",
            b"TRACE",
            b"QUERY",
            b"PROPFIND",
            b"PROPPATCH",
            b"REPORT",
            b"SEARCH",
            b"MKCOL",
            b"MKCALENDAR",
            b"COPY",
            b"MOVE",
            b"UNLOCK",
            b"ACL",
        ];
        METHODS.contains(&self.0)
    }
}

/// The forms of a target (RFC 9112 3.2); CONNECT's own is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// A path, with its query: begins with `/`.
    Origin(&'a [u8]),
    /// What follows the authority of an absolute-form: nothing, or begins with `/` or `?`.
    Absolute(&'a [u8]),
    /// `*`, with OPTIONS alone.
    Asterisk,
}

impl<'h, 'a> Request<'h, 'a> {
    /// Reads `head`, which [`HeadScan`] has found.
    pub fn parse(head: &'a [u8], slots: &'h mut Slots<'a>) -> Result<Request<'h, 'a>, Reject> {
        Request::read(head, slots, true)
    }

    /// The same, without Host if need be: load balancers check so.
    pub fn parse_nameless(
        head: &'a [u8],
        slots: &'h mut Slots<'a>,
    ) -> Result<Request<'h, 'a>, Reject> {
        Request::read(head, slots, false)
    }

    fn read(
        head: &'a [u8],
        slots: &'h mut Slots<'a>,
        needs_host: bool,
    ) -> Result<Request<'h, 'a>, Reject> {
        let version = check_first_line(first_line(head))?;
        let mut parsed = httparse::Request::new(&mut []);
        let status = parsed.parse_with_uninit_headers(head, &mut slots.0);
        let status = status.map_err(|error| Reject::of_head(error, head))?;
        if status != httparse::Status::Complete(head.len()) {
            return Err(Reject::FirstLine);
        }
        let fields = Fields::check(parsed.headers)?;
        let method = Method(parsed.method.unwrap_or_default().as_bytes());
        if !is_token(method.0) {
            return Err(Reject::Method);
        }
        if method.0.eq_ignore_ascii_case(b"CONNECT") {
            return Err(Reject::Connect);
        }
        let (target, of_target) = split_target(parsed.path.unwrap_or_default().as_bytes(), method)?;
        let mut hosts = fields.named("host");
        let of_field = hosts.next();
        if hosts.next().is_some() {
            return Err(Reject::TwoHosts);
        }
        if of_field.is_none() && version == Version::Http11 && needs_host {
            return Err(Reject::NoHost);
        }
        let mut host = host::parse_host(of_field.unwrap_or_default())?;
        if let Some(authority) = of_target {
            host = host::parse_host(authority)?;
            if host == HostName::Empty {
                return Err(Reject::Host(host::Reject::Empty));
            }
        }
        let framing = fields.framing_of_request(version)?;
        let authority = of_target.or(of_field);
        let options = fields.options()?;
        Ok(Request { method, target, version, host, authority, framing, options, fields })
    }

    /// Whether it asks for another protocol that may be forwarded (RFC 9110 7.8).
    pub fn asks_upgrade(&self) -> bool {
        let asks = self.version == Version::Http11 && self.options.upgrade;
        asks && self.fields.protocols().next().is_some()
    }

    /// Whether it asks how this server is.
    pub fn asks_health(&self) -> bool {
        let target = match self.target {
            Target::Origin(target) | Target::Absolute(target) => target,
            Target::Asterisk => return false,
        };
        let path = target.split(|&byte| byte == b'?').next().unwrap_or_default();
        [&b"/healthz"[..], b"/ping"].contains(&path)
    }

    /// Whether trailers of the response may be sent to it (RFC 9110 6.5.1); HTTP/1.0 has no chunks.
    pub fn takes_trailers(&self) -> bool {
        self.version == Version::Http11 && self.fields.takes_trailers()
    }

    /// Whether the visitor may wait for 100 before it sends the body (RFC 9110 10.1.1).
    pub fn expects_continue(&self) -> bool {
        let mut expected = self.fields.named("expect");
        self.version == Version::Http11
            && expected.any(|value| value.eq_ignore_ascii_case(b"100-continue"))
    }
}

/// Tells another version (505) from no version (400), which httparse does not.
fn check_first_line(line: &[u8]) -> Result<Version, Reject> {
    if line == b"PRI * HTTP/2.0" {
        return Err(Reject::Http2);
    }
    match line.rsplit(|&byte| byte == b' ').next().unwrap_or_default() {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Err(Reject::Version),
        _ => Err(Reject::FirstLine),
    }
}

/// The target, and the authority that an absolute-form has. The scheme of an absolute-form means
/// nothing here: the connection is what it is.
fn split_target<'a>(
    target: &'a [u8],
    method: Method<'_>,
) -> Result<(Target<'a>, Option<&'a [u8]>), Reject> {
    // A fragment never leaves a client; homes differ about where it ends a path.
    if !target.iter().all(|&byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(Reject::Target);
    }
    match target {
        b"*" if method.0 == b"OPTIONS" => return Ok((Target::Asterisk, None)),
        [b'/', ..] => return Ok((Target::Origin(target), None)),
        _ => {}
    }
    let mut schemes = [&b"http://"[..], b"https://"].into_iter();
    let scheme = schemes.find(|scheme| starts_with(target, scheme)).ok_or(Reject::Target)?;
    let after = &target[scheme.len()..];
    let end = after.iter().position(|byte| b"/?".contains(byte)).unwrap_or(after.len());
    let (authority, rest) = after.split_at(end);
    Ok((Target::Absolute(rest), Some(authority)))
}

/// For the fuzz target `http_request`.
#[doc(hidden)]
pub mod fuzz {
    use super::super::forwarded::{self, Form, Visitor};
    use super::*;
    use std::net::Ipv4Addr;

    /// Any cut gives the same head; what is forwarded is read as what came, and rewriting it again
    /// changes nothing but a trusted proxy's lists.
    pub fn check(bytes: &[u8]) {
        let outcome = HeadScan::new(Kind::Request).scan(bytes);
        let mut scan = HeadScan::new(Kind::Request);
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
        let Ok(request) = Request::parse(&bytes[range], &mut slots) else { return };
        for is_proxy in [false, true] {
            for form in [Form::X, Form::Rfc7239, Form::Both, Form::None] {
                let stranger = Visitor::stranger(Ipv4Addr::LOCALHOST.into(), 80);
                check_forwarding(&request, &Visitor { is_proxy, form, ..stranger });
            }
        }
    }

    fn check_forwarding(request: &Request<'_, '_>, visitor: &Visitor) {
        let mut once = Vec::new();
        rewrite::request(request, visitor, &mut once);
        let found = HeadScan::new(Kind::Request).scan(&once);
        // Forwarding may take a head beyond the bounds that hold for visitors.
        let Ok(Status::Complete(range)) = found else {
            assert!(matches!(found, Err(Reject::LongHead | Reject::ManyFields)), "{found:?}");
            return;
        };
        assert_eq!(range, 0..once.len());
        let mut slots = Slots::new();
        let again = Request::parse(&once, &mut slots).expect("what is forwarded is sound");
        assert_eq!(again.host, request.host);
        assert_eq!(again.authority, request.authority);
        assert_eq!(again.framing, request.framing);
        assert_eq!(again.method, request.method);
        assert_eq!(again.asks_upgrade(), request.asks_upgrade());
        assert_eq!(again.takes_trailers(), request.takes_trailers());
        assert!(!matches!(again.target, Target::Absolute(_)));
        if visitor.is_proxy {
            return; // it is appended to each time
        }
        let mut twice = Vec::new();
        rewrite::request(&again, visitor, &mut twice);
        // Each round leaves its mark, and nothing else.
        let unmarked = |head: &[u8]| {
            let mark = str::from_utf8(forwarded::MARK).expect("ASCII").trim_end();
            let lines = head.split_inclusive(|&byte| byte == b'\n');
            let others = lines.filter(|line| line.trim_ascii_end() != mark.as_bytes());
            others.map(|line| line.escape_ascii().to_string()).collect::<String>()
        };
        assert_eq!(unmarked(&once), unmarked(&twice));
        assert_eq!(forwarded::rounds(again.fields), forwarded::rounds(request.fields) + 1);
    }
}
