//! The fields that say where a request comes from. What a visitor says in them is dropped, and they
//! are said anew; of an HTTP proxy that is trusted they are kept and appended to.
//!
//! Two forms of the same: the `X-Forwarded-` fields that everybody reads, and `Forwarded` (RFC
//! 7239). One is not translated into the other: in a form that is not asked for, nothing passes.

use std::net::IpAddr;

use super::request::Request;
use super::rewrite::{field, put};
use super::{Fields, is_one_of, is_token, list, put_text, starts_with, trim};
use crate::wire::host::HostName;

/// What the home is told about a visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visitor {
    /// Where it comes from.
    pub address: IpAddr,
    /// The port of ours that it dialled.
    pub port: u16,
    /// It is an HTTP proxy that is trusted: what it says of its own visitors is believed.
    pub is_proxy: bool,
    /// How the home is told.
    pub form: Form,
    /// Whose the connection is.
    pub origin: Origin,
}

/// Whose a connection is, behind a load balancer that speaks the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// A visitor's.
    #[default]
    Visitor,
    /// The balancer's own, says its header (LOCAL, UNKNOWN).
    Balancer,
    /// The balancer's, without the header that visitors come with: it can be a check alone.
    Headerless,
}

/// `forwarded = "…"`. In [`Form::None`] not even a trusted proxy's fields pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// `X-Forwarded-For`, `-Host`, `-Port`, `-Proto` and `X-Real-IP`.
    #[default]
    X,
    /// `Forwarded`.
    Rfc7239,
    /// All of them.
    Both,
    /// None: a home that wants to know has `proxy_protocol`, or does not want to know.
    None,
}

impl Visitor {
    /// Somebody whose word is not taken, told of in the usual form.
    pub fn stranger(address: IpAddr, port: u16) -> Visitor {
        let (form, origin) = (Form::default(), Origin::Visitor);
        Visitor { address, port, is_proxy: false, form, origin }
    }
}

/// Whether a trusted proxy says that its own visitor came by TLS, which it has ended: to send that
/// one to TLS again would never end.
pub fn came_by_tls(request: &Request<'_, '_>, visitor: &Visitor) -> bool {
    let said = Said { fields: visitor.is_proxy.then_some(request.fields) };
    let is = |value: &[u8], wanted: &[u8]| value.eq_ignore_ascii_case(wanted);
    let hop = said.last("forwarded").and_then(|value| list(value).last()).unwrap_or_default();
    said.last("x-forwarded-proto").is_some_and(|proto| is(proto, b"https"))
        || hop
            .split(|&byte| byte == b';')
            .map(trim)
            .any(|pair| is(pair, b"proto=https") || is(pair, b"proto=\"https\""))
}

/// Whether a balancer asks this on its own account, without a visitor: for a path that says whether
/// this server is well, or for no name at all.
pub fn is_check(request: &Request<'_, '_>, visitor: &Visitor) -> bool {
    let is_own = match visitor.origin {
        Origin::Balancer | Origin::Headerless => true,
        // An HTTP proxy says whom it brings.
        Origin::Visitor => {
            let mut names = request.fields.iter().map(|(name, _)| name);
            visitor.is_proxy
                && !names.any(|name| is_one_of(name, &[b"x-forwarded-for", b"forwarded"]))
        }
    };
    is_own && (request.host == HostName::Empty || request.asks_health())
}

/// Whom a trusted proxy brings: of those that it and the proxies before it name, the last one that
/// is none of `proxies`. `None`: it names nobody, or somebody without an address.
pub fn visitor_of(fields: Fields<'_, '_>, proxies: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let mut last = None;
    let values = fields.named("x-forwarded-for").flat_map(list);
    let hops = fields.named("forwarded").flat_map(list).filter_map(for_of);
    for named in values.chain(hops) {
        match parse_node(named) {
            Some(address) if proxies(address) => {}
            other => last = Some(other),
        }
    }
    last.flatten()
}

/// `for=` of one hop (RFC 7239 4).
fn for_of(hop: &[u8]) -> Option<&[u8]> {
    let mut pairs = hop.split(|&byte| byte == b';').map(trim);
    let pair = pairs.find(|pair| starts_with(pair, b"for="))?;
    let value = &pair["for=".len()..];
    Some(value.strip_prefix(b"\"").and_then(|it| it.strip_suffix(b"\"")).unwrap_or(value))
}

/// An address, which may stand in brackets and have a port (RFC 7239 6).
fn parse_node(node: &[u8]) -> Option<IpAddr> {
    let node = std::str::from_utf8(node).ok()?;
    let bare = node.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|it| it.0);
    let address = bare.unwrap_or(node).parse().ok();
    let with_port = || node.parse::<std::net::SocketAddrV4>().ok().map(|it| (*it.ip()).into());
    address.or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

/// How often a request has been here already, by what this program adds to each ([`MARK`]); or by
/// a `Via` that names it.
pub fn rounds(fields: Fields<'_, '_>) -> usize {
    let name = |member: &[u8]| {
        let name = member.split(|&byte| byte == b';').next().unwrap_or_default();
        trim(name).eq_ignore_ascii_case(b"underpass")
    };
    // `1.1 NAME comment`
    let via = |member: &[u8]| {
        member
            .split(|&byte| byte == b' ')
            .nth(1)
            .is_some_and(|it| it.eq_ignore_ascii_case(b"underpass"))
    };
    let loops = fields.named("cdn-loop").flat_map(list).filter(|member| name(member)).count();
    loops + fields.named("via").flat_map(list).filter(|member| via(member)).count()
}

/// Says to whoever forwards this back that it has been here (RFC 8586). `Via` would say it too, and
/// make nginx at home leave compression out.
pub(super) const MARK: &[u8] = b"CDN-Loop: underpass\r\n";

/// Whether a field of this name goes no further as it came.
pub(super) fn ends_here(name: &[u8], visitor: &Visitor) -> bool {
    match visitor.is_proxy && visitor.form != Form::None {
        // A proxy knows nothing of a visitor's `X_Forwarded_For`.
        true => is_said_anew(name) || is_forwarded(name) && name.contains(&b'_'),
        false => is_forwarded(name),
    }
}

/// Appends the fields of `visitor`'s request.
pub(super) fn write(request: &Request<'_, '_>, visitor: &Visitor, out: &mut Vec<u8>) {
    let said = Said { fields: visitor.is_proxy.then_some(request.fields) };
    if matches!(visitor.form, Form::X | Form::Both) {
        write_x(request, visitor, said, out);
    }
    if matches!(visitor.form, Form::Rfc7239 | Form::Both) {
        write_rfc7239(request, visitor, said, out);
    }
}

fn write_x(request: &Request<'_, '_>, visitor: &Visitor, said: Said<'_, '_>, out: &mut Vec<u8>) {
    let address = visitor.address.to_canonical();
    put(out, &[b"X-Forwarded-For: "]);
    said.put_all("x-forwarded-for", out);
    put_text(out, format_args!("{address}\r\n"));
    if let Some(host) = said.last("x-forwarded-host").or(request.authority) {
        field(out, b"X-Forwarded-Host", host);
    }
    match said.last("x-forwarded-port") {
        Some(port) => field(out, b"X-Forwarded-Port", port),
        None => put_text(out, format_args!("X-Forwarded-Port: {}\r\n", visitor.port)),
    }
    let proto = said.last("x-forwarded-proto").unwrap_or(b"http");
    field(out, b"X-Forwarded-Proto", proto);
    match said.last("x-real-ip") {
        Some(ip) => field(out, b"X-Real-IP", ip),
        None => {
            // The last one is whom the proxy itself has seen.
            let seen = said.last("x-forwarded-for").and_then(|value| list(value).last());
            let seen = seen.and_then(|ip| std::str::from_utf8(ip).ok()?.parse().ok());
            put_text(out, format_args!("X-Real-IP: {}\r\n", seen.unwrap_or(address)));
        }
    }
}

fn write_rfc7239(
    request: &Request<'_, '_>,
    visitor: &Visitor,
    said: Said<'_, '_>,
    out: &mut Vec<u8>,
) {
    put(out, &[b"Forwarded: "]);
    said.put_all("forwarded", out);
    match visitor.address.to_canonical() {
        IpAddr::V4(ip) => put_text(out, format_args!("for={ip}")),
        IpAddr::V6(ip) => put_text(out, format_args!("for=\"[{ip}]\"")),
    }
    match request.authority {
        None => {}
        Some(host) if is_token(host) => put(out, &[b";host=", host]),
        // It holds no quote and no backslash: it is a name or an address, and a port.
        Some(host) => put(out, &[b";host=\"", host, b"\""]),
    }
    put(out, &[b";proto=http\r\n"]);
}

/// What is believed: the fields of a trusted proxy's request, or nothing.
#[derive(Clone, Copy)]
struct Said<'h, 'a> {
    fields: Option<Fields<'h, 'a>>,
}

impl<'a> Said<'_, 'a> {
    fn all(self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        let fields = self.fields.into_iter();
        fields.flat_map(move |fields| fields.named(name)).filter(|value| !value.is_empty())
    }

    /// Of several, the one that the proxy itself has added.
    fn last(self, name: &'static str) -> Option<&'a [u8]> {
        self.all(name).last()
    }

    /// One list of all fields, with a comma behind it for one more member.
    fn put_all(self, name: &'static str, out: &mut Vec<u8>) {
        for value in self.all(name) {
            out.extend_from_slice(value);
            out.extend_from_slice(b", ");
        }
    }
}

fn is_said_anew(name: &[u8]) -> bool {
    const NAMES: &[&[u8]] = &[
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
        b"x-real-ip",
    ];
    is_one_of(name, NAMES)
}

/// Says where a request came from: nobody but us may. A home that reads fields as environment
/// variables takes `_` for `-` (P9). The rarer `X-Forwarded-` fields are
/// believed by some homes too, and nothing true can be said in them here.
fn is_forwarded(name: &[u8]) -> bool {
    let same =
        |(it, byte): (&u8, &u8)| it.eq_ignore_ascii_case(byte) || *it == b'_' && *byte == b'-';
    let is = |wanted: &[u8]| name.len() >= wanted.len() && name.iter().zip(wanted).all(same);
    match name.first() {
        Some(b'x' | b'X') => is(b"x-forwarded-") || name.len() == 9 && is(b"x-real-ip"),
        Some(b'f' | b'F') => name.len() == 9 && starts_with(name, b"forwarded"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Slots, rewrite};
    use super::*;

    #[test]
    fn forwarded_names_are_told_from_others() {
        for name in ["X-Forwarded-For", "x_forwarded_for", "X-FORWARDED_PROTO", "x-forwarded-port"]
        {
            assert!(is_forwarded(name.as_bytes()), "{name}");
        }
        for name in ["X-Real-IP", "x_real_ip", "X_Real-Ip", "Forwarded", "X-Forwarded-Prefix"] {
            assert!(is_forwarded(name.as_bytes()), "{name}");
        }
        for name in ["X-Real-IPs", "X-Real", "X", "Forwarded-For", "XX-Forwarded-For", "X-Forward"]
        {
            assert!(!is_forwarded(name.as_bytes()), "{name}");
        }
    }

    /// The fields that a home is told with a request that has these.
    fn told(fields: &str, visitor: &Visitor) -> String {
        let head = format!("GET / HTTP/1.1\r\nHost: a:8080\r\n{fields}\r\n");
        let mut slots = Slots::new();
        let request = Request::parse(head.as_bytes(), &mut slots).expect("sound");
        let mut out = Vec::new();
        rewrite::request(&request, visitor, &mut out);
        let out = String::from_utf8(out).expect("text");
        let rest = out.strip_prefix("GET / HTTP/1.1\r\nHost: a:8080\r\n").expect("the same start");
        let rest = rest.replacen(std::str::from_utf8(MARK).expect("ASCII"), "", 1);
        rest.strip_suffix("\r\n").expect("an empty line").replace("\r\n", "|")
    }

    const X: &str = "X-Forwarded-For: 10.0.0.1|X-Forwarded-Host: a:8080|X-Forwarded-Port: 80|\
                     X-Forwarded-Proto: http|X-Real-IP: 10.0.0.1|";

    fn visitor(is_proxy: bool, form: Form) -> Visitor {
        let address = "::ffff:10.0.0.1".parse().expect("an address");
        Visitor { is_proxy, form, ..Visitor::stranger(address, 80) }
    }

    #[test]
    fn what_a_stranger_says_is_dropped_in_every_form() {
        for fields in [
            "",
            "X-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n",
            "x_forwarded_for: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nforwarded: for=6.6.6.7\r\n",
            "X-Forwarded-Prefix: /admin\r\nX-Forwarded-Proto: https\r\nForwarded:\r\n",
            "Connection: X-Forwarded-For, Forwarded\r\nForwarded: for=6.6.6.6;proto=https\r\n",
        ] {
            let rfc = "Forwarded: for=10.0.0.1;host=\"a:8080\";proto=http|";
            assert_eq!(told(fields, &visitor(false, Form::X)), X, "{fields:?}");
            assert_eq!(told(fields, &visitor(false, Form::Rfc7239)), rfc, "{fields:?}");
            assert_eq!(told(fields, &visitor(false, Form::None)), "", "{fields:?}");
            assert_eq!(told(fields, &visitor(true, Form::None)), "", "{fields:?}");
            let both = format!("{X}{rfc}");
            assert_eq!(told(fields, &visitor(false, Form::Both)), both, "{fields:?}");
        }
    }

    #[test]
    fn what_a_trusted_proxy_says_is_kept_and_appended_to() {
        for (fields, expected) in [
            ("", X),
            // It has ended TLS and knows the visitor.
            (
                "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: \
                 443\r\nX-Forwarded-Host: b\r\nX-Real-IP: 192.0.2.7\r\n",
                "X-Forwarded-For: 192.0.2.7, 10.0.0.1|X-Forwarded-Host: b|X-Forwarded-Port: 443|\
                 X-Forwarded-Proto: https|X-Real-IP: 192.0.2.7|",
            ),
            // Several fields are one list; whom the proxy itself has seen is the last.
            (
                "X-Forwarded-For: 6.6.6.6, x\r\nx-forwarded-for:\r\n\
                 X-FORWARDED-FOR: 2001:db8::7\r\n",
                "X-Forwarded-For: 6.6.6.6, x, 2001:db8::7, 10.0.0.1|X-Forwarded-Host: a:8080|\
                 X-Forwarded-Port: 80|X-Forwarded-Proto: http|X-Real-IP: 2001:db8::7|",
            ),
            // Nothing takes away what it says, and nothing stands in for it.
            (
                "Connection: X-Forwarded-For\r\nX-Forwarded-For: unknown\r\nX_Forwarded_For: \
                 6.6.6.6\r\nX_Real_IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n",
                "X-Forwarded-For: unknown, 10.0.0.1|X-Forwarded-Host: a:8080|X-Forwarded-Port: 80|\
                 X-Forwarded-Proto: http|X-Real-IP: 10.0.0.1|",
            ),
            ("X-Forwarded-Prefix: /a\r\n", &format!("X-Forwarded-Prefix: /a|{X}")),
        ] {
            assert_eq!(told(fields, &visitor(true, Form::X)), expected, "{fields:?}");
        }
        for (fields, expected) in [
            ("", "for=10.0.0.1"),
            ("Forwarded: for=192.0.2.7;proto=https\r\n", "for=192.0.2.7;proto=https, for=10.0.0.1"),
            (
                "Forwarded: for=a, for=b\r\nforwarded: for=c\r\n",
                "for=a, for=b, for=c, for=10.0.0.1",
            ),
            ("X-Forwarded-For: 192.0.2.7\r\n", "for=10.0.0.1"),
        ] {
            let expected = format!("Forwarded: {expected};host=\"a:8080\";proto=http|");
            assert_eq!(told(fields, &visitor(true, Form::Rfc7239)), expected, "{fields:?}");
        }
    }

    fn parsed<T>(fields: &str, look: impl FnOnce(&Request<'_, '_>) -> T) -> T {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut slots = Slots::new();
        look(&Request::parse(head.as_bytes(), &mut slots).expect("sound"))
    }

    #[test]
    fn the_visitor_is_the_last_whom_no_trusted_proxy_is() {
        for (fields, visitor) in [
            ("", None),
            ("X-Forwarded-For: 192.0.2.7\r\n", Some("192.0.2.7")),
            // What stands before it, the visitor may have written.
            ("X-Forwarded-For: 6.6.6.6, 192.0.2.7, 10.0.0.2\r\n", Some("192.0.2.7")),
            ("X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.7\r\n", Some("192.0.2.7")),
            ("X-Forwarded-For: 192.0.2.7, unknown\r\n", None),
            ("X-Forwarded-For: 10.0.0.1, 10.0.0.2\r\n", None),
            ("X-Forwarded-For: 192.0.2.7:4711\r\n", Some("192.0.2.7")),
            ("X-Forwarded-For: ::ffff:192.0.2.7\r\n", Some("192.0.2.7")),
            ("Forwarded: for=192.0.2.7;proto=https\r\n", Some("192.0.2.7")),
            ("Forwarded: For=\"[2001:db8::7]:4711\", for=10.0.0.1\r\n", Some("2001:db8::7")),
            ("Forwarded: for=_hidden\r\n", None),
        ] {
            let trusted = |ip: IpAddr| matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 10);
            let found = parsed(fields, |request| visitor_of(request.fields, trusted));
            assert_eq!(found, visitor.map(|it| it.parse().expect("an address")), "{fields:?}");
        }
    }

    #[test]
    fn rounds_are_counted() {
        for (fields, count) in [
            ("", 0),
            ("CDN-Loop: cloudflare; subreqs=1, underpass\r\n", 1),
            ("CDN-Loop: underpass\r\nCDN-Loop: other, Underpass;x=y\r\n", 2),
            ("Via: 1.1 a, 1.1 underpass\r\nVia: 1.0 underpass (x)\r\n", 2),
            ("Via: 1.1 underpasses\r\nCDN-Loop: my-underpass\r\n", 0),
        ] {
            assert_eq!(parsed(fields, |request| rounds(request.fields)), count, "{fields:?}");
        }
    }

    #[test]
    fn a_trusted_proxy_alone_can_have_ended_tls() {
        for (fields, by_tls) in [
            ("", false),
            ("X-Forwarded-Proto: https\r\n", true),
            ("X-Forwarded-Proto: HTTPS\r\n", true),
            ("X-Forwarded-Proto: http\r\n", false),
            ("X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n", false),
            ("Forwarded: for=192.0.2.7;Proto=https\r\n", true),
            ("Forwarded: for=192.0.2.7; proto=\"https\" ;host=a\r\n", true),
            ("Forwarded: for=192.0.2.7;proto=https, for=192.0.2.8;proto=http\r\n", false),
            ("X_Forwarded_Proto: https\r\n", false),
        ] {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
            let mut slots = Slots::new();
            let request = Request::parse(head.as_bytes(), &mut slots).expect("sound");
            assert_eq!(came_by_tls(&request, &visitor(true, Form::X)), by_tls, "{fields:?}");
            assert!(!came_by_tls(&request, &visitor(false, Form::X)), "{fields:?}");
        }
    }

    #[test]
    fn rfc_7239_quotes_what_is_no_token() {
        let six = Visitor {
            form: Form::Rfc7239,
            ..Visitor::stranger("2001:db8::7".parse().expect("an address"), 80)
        };
        let expected = "Forwarded: for=\"[2001:db8::7]\";host=\"a:8080\";proto=http|";
        assert_eq!(told("", &six), expected);
    }
}
