//! The HTTP entry against what real clients send first and what attackers would: the manifest's
//! verdict and name for every case, whole and split at every byte.

mod support;

use support::cases;
use underpass::wire::Status;
use underpass::wire::host::{self, HostName};
use underpass::wire::http::request::{self, Request};
use underpass::wire::http::{HeadScan, Kind, Reject, Slots, body, response};

/// Cases where ours is not the manifest's first verdict, with the reason.
const OTHER_VERDICT: &[(&str, &str)] = &[
    // Well-formed, and refused by what they ask: this is no proxy.
    ("h-curl-proxy-connect", "connect"),
    ("h-httpclient-tunnel", "connect"),
    // Bare LF is a line's end to some parsers and part of it to others (P9).
    ("made-http-bare-lf", "invalid"),
    // 505: what HTTP/1.2 would mean is not known.
    ("made-http-version-1.2", "invalid"),
];

#[test]
fn every_request_gets_the_manifest_verdict_and_name() {
    let cases = cases("http");
    assert_eq!(cases.len(), 120, "cases in the manifest");
    for case in &cases {
        let outcome = read(&case.bytes, [case.bytes.len()]);
        let other = OTHER_VERDICT.iter().find(|(name, _)| *name == case.name);
        let wanted = other.map_or(case.verdict(), |(_, verdict)| verdict);
        assert_eq!(verdict(&outcome), wanted, "{}: {outcome:?}", case.name);
        if let Ok(Status::Complete(found)) = &outcome {
            assert_eq!(found.name.as_deref(), case.text("host_normalised"), "{}", case.name);
            assert_eq!(found.port.map(usize::from), case.number("port"), "{}", case.name);
            if let Some(length) = case.number("head_len") {
                assert_eq!(found.end, length, "{}", case.name);
                assert_eq!(Some(found.method.as_str()), case.text("method"), "{}", case.name);
                let authority = case.text("host").unwrap_or_default();
                assert_eq!(found.authority, authority, "{}", case.name);
            }
        }
        // Of the longest the ends of all reads count, and a sample of the others.
        let step = if case.bytes.len() > 4096 { 97 } else { 1 };
        for cut in (0..case.bytes.len()).step_by(step) {
            assert_eq!(read(&case.bytes, [cut]), outcome, "{} cut at {cut}", case.name);
        }
        assert_eq!(read(&case.bytes, (0..case.bytes.len()).step_by(step)), outcome);
    }
}

#[test]
fn fuzz_checks_hold() {
    for case in cases("http") {
        request::fuzz::check(&case.bytes);
        response::fuzz::check(&case.bytes);
        body::fuzz::check(&case.bytes);
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Found {
    name: Option<String>,
    port: Option<u16>,
    method: String,
    authority: String,
    end: usize,
}

/// Scans at each of `cuts`, then whole; parses what was found.
fn read(bytes: &[u8], cuts: impl IntoIterator<Item = usize>) -> Result<Status<Found>, Reject> {
    let mut scan = HeadScan::new(Kind::Request);
    for cut in cuts.into_iter().chain([bytes.len()]) {
        if let Status::Complete(head) = scan.scan(&bytes[..cut])? {
            let end = head.end;
            let mut slots = Slots::new();
            let request = Request::parse(&bytes[head], &mut slots)?;
            let name = match request.host {
                HostName::Dns(name) => Some(name.to_string()),
                HostName::Ip(address) if address.is_ipv6() => Some(format!("[{address}]")),
                HostName::Ip(address) => Some(address.to_string()),
                HostName::Empty => None,
            };
            let authority = request.authority.unwrap_or_default();
            let port = host::parse_authority(authority).expect("parsed before").port;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let (method, authority) = (text(request.method.0), text(authority));
            return Ok(Status::Complete(Found { name, port, method, authority, end }));
        }
    }
    Ok(Status::Partial)
}

fn verdict(outcome: &Result<Status<Found>, Reject>) -> &'static str {
    match outcome {
        Ok(Status::Complete(Found { name: Some(_), .. })) => "ok",
        // An HTTP/1.1 request without Host has no name; that it is answered 400 is RFC 9112 3.2.
        Ok(Status::Complete(Found { name: None, .. })) | Err(Reject::NoHost) => "no-name",
        Ok(Status::Partial) => "incomplete",
        Err(Reject::Http2) => "not-http1",
        Err(Reject::Connect) => "connect",
        Err(_) => "invalid",
    }
}
