//! Sends a visitor of plain HTTP to the same address over TLS.

use std::net::IpAddr;

use super::page::{self, Content};
use crate::wire::host::HostName;
use crate::wire::http::rewrite::Answer;

/// How a service's visitors are told (`redirect_https`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redirect {
    /// 308, which keeps the method (RFC 9110 15.4.9).
    Permanent,
    /// 301 for GET and HEAD, which every client knows; 308 for others, which 301 may turn into GET.
    Moved,
}

/// Whether a CA asks for this to check a name (RFC 8555 8.3), which may have no certificate yet: it
/// goes to the home. Exactly so: nothing else can slip by in plain text.
pub fn is_challenge(target: &[u8]) -> bool {
    let token = target.strip_prefix(b"/.well-known/acme-challenge/").unwrap_or_default();
    let base64url = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    !token.is_empty() && token.iter().all(base64url)
}

impl Redirect {
    /// By what the request does: `reads` for GET and HEAD.
    fn status(self, reads: bool) -> u16 {
        match (self, reads) {
            (Redirect::Moved, true) => 301,
            (Redirect::Moved, false) | (Redirect::Permanent, _) => 308,
        }
    }

    /// Appends the answer. `port` is the one that visitors reach TLS at; `target` is in origin-form
    /// or `*`. `false`, and nothing: there is no name to go to.
    ///
    /// The name is a parsed one and the target has visible ASCII alone, so neither can add a field.
    pub(super) fn write(
        self,
        (host, target): (&HostName, &[u8]),
        port: u16,
        reads: bool,
        answer: Answer,
        out: &mut Vec<u8>,
    ) -> bool {
        let mut location = b"Location: https://".to_vec();
        match host {
            HostName::Dns(name) => location.extend_from_slice(name.as_str().as_bytes()),
            HostName::Ip(IpAddr::V4(ip)) => location.extend_from_slice(ip.to_string().as_bytes()),
            HostName::Ip(IpAddr::V6(ip)) => location.extend(format!("[{ip}]").bytes()),
            HostName::Empty => return false,
        }
        if port != 443 {
            location.extend(format!(":{port}").bytes());
        }
        location.extend_from_slice(if target == b"*" { b"/" } else { target });
        location.extend_from_slice(b"\r\n");
        let (status, reason) = match self.status(reads) {
            301 => (301, "Moved Permanently"),
            _ => (308, "Permanent Redirect"),
        };
        let body = format!("{status} {reason}\n\nThis site is at https:// only.\n");
        let content = Content { media_type: "text/plain", body: body.as_bytes() };
        page::write_answer(status, reason, content, &location, answer, out);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::host::parse_host;
    use crate::wire::http::Version;

    fn location(host: &str, target: &str, port: u16) -> String {
        let host = parse_host(host.as_bytes()).expect(host);
        let answer =
            Answer { to: Version::Http11, to_head: false, persists: true, trailers: false };
        let mut out = Vec::new();
        let asked = (&host, target.as_bytes());
        assert!(Redirect::Permanent.write(asked, port, true, answer, &mut out));
        let text = String::from_utf8(out).expect("ASCII");
        let line = text.lines().find_map(|line| line.strip_prefix("Location: "));
        line.expect("a Location").to_owned()
    }

    #[test]
    fn the_target_keeps_name_path_and_query() {
        for (host, target, port, wanted) in [
            ("a.b", "/", 443, "https://a.b/"),
            ("A.B.:80", "/x%20y/?q=1&r=%0d%0a", 443, "https://a.b/x%20y/?q=1&r=%0d%0a"),
            ("a.b:8080", "//evil.example/..", 8443, "https://a.b:8443//evil.example/.."),
            ("192.0.2.1:80", "/?", 443, "https://192.0.2.1/?"),
            ("[2001:DB8::1]", "/", 444, "https://[2001:db8::1]:444/"),
            ("a.b", "*", 443, "https://a.b/"),
        ] {
            assert_eq!(location(host, target, port), wanted);
        }
        let answer =
            Answer { to: Version::Http10, to_head: false, persists: false, trailers: false };
        let mut out = Vec::new();
        let nowhere = (&HostName::Empty, &b"/"[..]);
        assert!(!Redirect::Moved.write(nowhere, 443, true, answer, &mut out) && out.is_empty());
    }

    #[test]
    fn p15_a_challenge_is_told_from_what_looks_like_one() {
        assert!(is_challenge(
            b"/.well-known/acme-challenge/evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt9_"
        ));
        for target in [
            "/.well-known/acme-challenge/",
            "/.well-known/acme-challenge",
            "/.well-known/acme-challenge/a/b",
            "/.well-known/acme-challenge/../x",
            "/.well-known/acme-challenge/..",
            "/.well-known/acme-challenge/%2e",
            "/.well-known/acme-challenge/a?b",
            "//.well-known/acme-challenge/a",
            "/.Well-Known/acme-challenge/a",
            "/x/.well-known/acme-challenge/a",
            "*",
        ] {
            assert!(!is_challenge(target.as_bytes()), "{target}");
        }
    }
}
