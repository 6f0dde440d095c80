//! The HTTP entry against what real clients send first and what attackers would: the manifest's
//! verdict and name for every case, whole and split at every byte.

mod support;

use support::cases;
use underpass::proto::http_entry;
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

/// A fuzzer's first minute, in every run: the corpus with bytes changed, doubled and taken out.
#[test]
fn fuzz_checks_hold_on_what_is_nearly_sound() {
    const TELLING: &[u8] = b"\r\n\0\t :;,0159aAfF/*?#@-_.HTP\x7f\x80\xff";
    let mut seeds: Vec<Vec<u8>> = cases("http").into_iter().map(|case| case.bytes).collect();
    seeds.retain(|bytes| bytes.len() < 700);
    for text in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close, x\r\nX: y\r\n\r\nhello",
        "HTTP/1.1 101 SP\r\nConnection: upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
        "HTTP/1.1 304 \r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST http://a?x HTTP/1.1\r\nHost: b\r\nUpgrade: h2c, x\r\nConnection: upgrade\r\n\r\n",
        "PUT / HTTP/1.0\r\nX_Forwarded-For: x\r\nConnection: X\r\nContent-Length: 1\r\n\r\n",
        "\x00\x01\x05HTTP/1.1 200 OK\nX : y\nContent-Length: 2, 2\n\nok",
        "\x01\x00\x05HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n\
         2 \r\nok\n0 ;a\r\nX : y\n\n",
        "\x04\x01\x05HTTP/1.1 102 P\n\nHTTP/1.0 200\nConnection: x\n\nok",
        "\x02\x035;a=b\r\nhello\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\nGET",
        "\x01\x03some content",
    ] {
        // Weighted: each is one of a hundred.
        seeds.extend(std::iter::repeat_n(text.as_bytes().to_vec(), 10));
    }
    let mut seed: u64 = 0x2545_f491_4f6c_dd1d;
    let mut below = |bound: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % bound as u64) as usize
    };
    for _ in 0..20_000 {
        let mut bytes = seeds[below(seeds.len())].clone();
        for _ in 0..1 + below(3) {
            let at = below(bytes.len());
            match below(4) {
                0 => bytes[at] = TELLING[below(TELLING.len())],
                1 => bytes.insert(at, TELLING[below(TELLING.len())]),
                2 if bytes.len() > 2 => drop(bytes.remove(at)),
                _ => {
                    let end = at + below(bytes.len() - at + 1);
                    let again = bytes[at..end].to_vec();
                    bytes.splice(at..at, again);
                }
            }
        }
        request::fuzz::check(&bytes);
        response::fuzz::check(&bytes);
        body::fuzz::check(&bytes);
        http_entry::fuzz::check(&bytes);
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
