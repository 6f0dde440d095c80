//! The parsers of `wire` against what real clients send and what attackers would: the manifest's
//! verdict for every case, whatever the split over segments and records.

mod support;

use support::{Case, cases, host_value};
use underpass::limits::CLIENT_HELLO_BYTES;
use underpass::wire::Status;
use underpass::wire::client_hello::{self, ClientHello, HelloScan, Reject};
use underpass::wire::host::{self, Authority, HostName, Hostname};

/// Cases where the manifest allows a second verdict and ours is that one, with the reason.
const OTHER_VERDICT: &[(&str, &str)] = &[
    // The first byte decides that this is no hello; an alert is not worth answering.
    ("bad-tls-rec-alert-first", "not-tls"),
    ("bad-tls-rec-alert-then-hello", "not-tls"),
    ("bad-tls-rec-heartbeat-first", "not-tls"),
    // 0x16 in front: a handshake record of an unknown version, as bad-tls-rec-version-feff is.
    ("bad-tls-not-dtls", "invalid"),
];

#[test]
fn p2_every_hello_gets_the_manifest_verdict_name_and_protocols() {
    let mut scratch = vec![0; CLIENT_HELLO_BYTES];
    let cases = cases("tls");
    assert_eq!(cases.len(), 300, "cases in the manifest");
    for case in &cases {
        let outcome = HelloScan::new().feed(&case.bytes, &mut scratch);
        let other = OTHER_VERDICT.iter().find(|(name, _)| *name == case.name);
        let wanted = other.map_or(case.verdict(), |(_, verdict)| verdict);
        assert_eq!(verdict(&outcome), wanted, "{}: {outcome:?}", case.name);
        if let Ok(Status::Complete(hello)) = outcome {
            let name = hello.name.map(|name| name.to_string());
            assert_eq!(name.as_deref(), case.text("sni_normalised"), "{}", case.name);
            if let Some(protocols) = case.expect["alpn"].as_array() {
                let sent: Vec<String> = hello.alpn.map(latin1).collect();
                assert_eq!(&sent, protocols, "{}", case.name);
            }
        }
    }
    for (name, verdict) in OTHER_VERDICT {
        let case = cases.iter().find(|case| case.name == *name).expect("a case for every entry");
        let accepted = case.expect["also_accepted"].as_array().expect("more than one verdict");
        assert!(accepted.iter().any(|accepted| accepted == verdict), "{name}");
    }
}

#[test]
fn p1_the_scan_finds_the_manifest_offsets() {
    let mut checked = 0;
    for case in cases("tls") {
        let Ok(Status::Complete(extent)) = HelloScan::new().scan(&case.bytes) else {
            continue;
        };
        if let Some(hello_end) = case.number("hello_end") {
            assert_eq!(extent.records_end, hello_end, "{}", case.name);
            assert_eq!(Some(extent.message_len), case.number("hello_len"), "{}", case.name);
            checked += 1;
        }
    }
    assert!(checked > 100);
}

/// Two segments, cut at every byte. The first one alone is incomplete, or says what the whole does:
/// so a hello truncated at any length is never decided on otherwise.
#[test]
fn p1_split_hello_in_two_segments_at_every_byte() {
    let mut scratch = vec![0; CLIENT_HELLO_BYTES];
    let mut scratch_whole = vec![0; CLIENT_HELLO_BYTES];
    for case in cases("tls") {
        let whole = HelloScan::new().feed(&case.bytes, &mut scratch_whole);
        let complete_at = match HelloScan::new().scan(&case.bytes) {
            Ok(Status::Complete(extent)) => extent.records_end,
            _ => 0,
        };
        for cut in 0..case.bytes.len() {
            let mut scan = HelloScan::new();
            let part = scan.feed(&case.bytes[..cut], &mut scratch);
            if part != Ok(Status::Partial) {
                assert_eq!(part, whole, "{} at {cut}", case.name);
                assert!(cut >= complete_at, "{} at {cut}: decided on a part", case.name);
            }
            let rest = scan.feed(&case.bytes, &mut scratch);
            assert_eq!(rest, whole, "{} after {cut}", case.name);
        }
    }
}

#[test]
fn p1_split_hello_byte_by_byte() {
    let mut scratch = vec![0; CLIENT_HELLO_BYTES];
    for case in cases("tls") {
        let whole = HelloScan::new().feed(&case.bytes, &mut scratch).map(owned);
        assert_eq!(byte_by_byte(&case.bytes), whole, "{}", case.name);
    }
}

#[test]
fn p1_split_hello_in_records_of_any_size() {
    let mut scratch = vec![0; CLIENT_HELLO_BYTES];
    let mut checked = 0;
    for case in cases("tls") {
        let Ok(Status::Complete(extent)) = HelloScan::new().scan(&case.bytes) else {
            continue;
        };
        let whole = HelloScan::new().feed(&case.bytes, &mut scratch).map(owned);
        for size in [1, 2, 3, 5, 64, 1000] {
            let recut = recut(&case.bytes, extent.records_end, size);
            let outcome = HelloScan::new().feed(&recut, &mut scratch).map(owned);
            assert_eq!(outcome, whole, "{} in records of {size}", case.name);
            if size == 1 {
                assert_eq!(byte_by_byte(&recut), whole, "{} byte by byte, too", case.name);
            }
        }
        checked += 1;
    }
    assert!(checked > 200);
}

#[test]
fn client_hello_fuzz_check_holds() {
    for case in cases("tls").iter().chain(&cases("http")) {
        client_hello::fuzz::check(&case.bytes);
    }
}

#[test]
fn a_plain_http_request_is_told_from_a_hello() {
    for case in cases("http").iter().filter(|case| case.verdict() == "ok") {
        let unusual = ["made-http-method-lower", "made-http-leading-crlf"];
        let expected = !unusual.contains(&case.name.as_str());
        let answer = client_hello::looks_like_http(&case.bytes);
        assert_eq!(answer, Status::Complete(expected), "{}", case.name);
    }
    for case in cases("tls").iter().filter(|case| case.verdict() != "not-tls") {
        let answer = client_hello::looks_like_http(&case.bytes);
        assert_eq!(answer, Status::Complete(false), "{}", case.name);
    }
}

/// Refused, but not for their Host, which is `pi.example.com`.
const HOST_IS_FINE: &[&str] = &["bad-http-header-nul", "bad-http-rl-long"];

#[test]
fn p5_every_host_value_gives_the_manifest_name_and_port() {
    let mut checked = 0;
    for case in cases("http") {
        let Some(value) = the_host_value(&case) else {
            continue;
        };
        let authority = host::parse_authority(value);
        checked += 1;
        let Ok(Authority { host, port }) = authority else {
            assert_eq!(case.verdict(), "invalid", "{}: {authority:?}", case.name);
            continue;
        };
        let text = match host {
            HostName::Dns(name) => Some(name.to_string()),
            HostName::Ip(address) if address.is_ipv6() => Some(format!("[{address}]")),
            HostName::Ip(address) => Some(address.to_string()),
            HostName::Empty => None,
        };
        let verdict = if text.is_some() { "ok" } else { "no-name" };
        if !HOST_IS_FINE.contains(&case.name.as_str()) {
            assert_eq!(case.verdict(), verdict, "{}", case.name);
        }
        assert_eq!(text.as_deref(), case.text("host_normalised"), "{}", case.name);
        assert_eq!(port.map(usize::from), case.number("port"), "{}", case.name);
        assert_eq!(host::parse_host(value), Ok(host), "{}", case.name);
    }
    assert!(checked > 70, "{checked} Host values");
}

/// A name asked for on one entry is the same name, or none, on the other.
#[test]
fn p5_the_same_answer_on_both_entries() {
    let sent = cases("tls").into_iter().filter_map(|case| Some(case.text("sni")?.to_owned()));
    let hosts = cases("http").into_iter().filter_map(|case| Some(the_host_value(&case)?.to_vec()));
    let mut valid = 0;
    for value in sent.map(String::into_bytes).chain(hosts) {
        host::fuzz::check(&value);
        match (Hostname::parse(&value), host::parse_host(&value)) {
            (Ok(name), host) => {
                valid += 1;
                assert_eq!(host, Ok(HostName::Dns(name)));
            }
            (Err(_), Ok(HostName::Dns(_))) => assert!(value.contains(&b':'), "a port alone"),
            (Err(_), _) => {}
        }
    }
    assert!(valid > 200);
}

/// The Host value of a case whose verdict is about it, checked against the manifest's own.
fn the_host_value(case: &Case) -> Option<&[u8]> {
    let sent = case.text("host_header")?;
    let by_target = case.text("target_host").is_some() && case.text("host") != Some(sent);
    if by_target {
        return None;
    }
    let value = host_value(&case.bytes).expect("a Host field where the manifest has one");
    assert_eq!(latin1(value), sent, "{}", case.name);
    Some(value)
}

fn verdict(outcome: &Result<Status<ClientHello<'_>>, Reject>) -> &'static str {
    match outcome {
        Ok(Status::Complete(ClientHello { name: Some(_), .. })) => "ok",
        Ok(Status::Complete(ClientHello { name: None, .. })) => "no-name",
        Ok(Status::Partial) => "incomplete",
        Err(Reject::NotTls) => "not-tls",
        Err(_) => "invalid",
    }
}

/// A hello's name and protocols, free of the scratch buffer.
type Owned = Status<(Option<Hostname>, Vec<Vec<u8>>)>;

fn owned(status: Status<ClientHello<'_>>) -> Owned {
    match status {
        Status::Complete(hello) => {
            Status::Complete((hello.name, hello.alpn.map(<[u8]>::to_vec).collect()))
        }
        Status::Partial => Status::Partial,
    }
}

fn byte_by_byte(stream: &[u8]) -> Result<Owned, Reject> {
    let mut scratch = vec![0; CLIENT_HELLO_BYTES];
    let mut scan = HelloScan::new();
    for end in 0..=stream.len() {
        match scan.feed(&stream[..end], &mut scratch)? {
            Status::Partial => {}
            complete => return Ok(owned(complete)),
        }
    }
    Ok(Status::Partial)
}

/// The stream with the records up to `records_end` cut anew, into bodies of `size` bytes.
fn recut(stream: &[u8], records_end: usize, size: usize) -> Vec<u8> {
    let (mut records, after) = stream.split_at(records_end);
    let mut bodies = Vec::new();
    while let [_, _, _, high, low, rest @ ..] = records {
        let (body, next) = rest.split_at(u16::from_be_bytes([*high, *low]).into());
        bodies.extend(body);
        records = next;
    }
    let mut recut = Vec::new();
    for body in bodies.chunks(size) {
        recut.extend([22, 3, 1]);
        recut.extend((body.len() as u16).to_be_bytes());
        recut.extend(body);
    }
    recut.extend(after);
    recut
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}
