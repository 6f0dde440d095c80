//! P4: a visitor's first bytes are parsed without one allocation, so that no stranger can make the
//! parser grow. Proved with a counting allocator over the whole corpus.

#[path = "support/counting.rs"]
mod counting;
mod support;

use std::hint::black_box;

use counting::allocations;
use support::{Case, cases, host_value};
use underpass::limits::CLIENT_HELLO_BYTES;
use underpass::proto::route::{
    AmbiguousPath, Ask, Condition, Entry, PathPrefix, Pattern, RouteTable,
};
use underpass::wire::Status;
use underpass::wire::client_hello::{Alpn, HelloScan, looks_like_http};
use underpass::wire::host::{HostName, Hostname, parse_authority};
use underpass::wire::http::request::Request;
use underpass::wire::http::{HeadScan, Kind, Slots};

#[test]
fn p4_scanning_and_parsing_hellos_allocates_nothing() {
    let mut scratch = vec![0; CLIENT_HELLO_BYTES];
    for Case { name, bytes, .. } in cases("tls") {
        let count = allocations(|| {
            let mut scan = HelloScan::new();
            for end in 0..=bytes.len() {
                if let Ok(hello) = black_box(scan.feed(&bytes[..end], &mut scratch)) {
                    black_box(hello);
                }
            }
            black_box(looks_like_http(&bytes));
        });
        assert_eq!(count, 0, "{name}");
    }
}

#[test]
fn p4_parsing_names_allocates_nothing() {
    for Case { name, bytes, expect } in cases("tls") {
        let raw = expect["sni"].as_str().unwrap_or_default().as_bytes();
        let count = allocations(|| {
            let _ = black_box(Hostname::parse(raw).map(|name| name.labels().rev().count()));
            let _ = black_box(Hostname::parse(&bytes));
        });
        assert_eq!(count, 0, "{name}");
    }
    for Case { name, bytes, expect } in cases("http") {
        if expect["host_header"].is_null() {
            continue;
        }
        let value = host_value(&bytes).unwrap_or_default();
        let count = allocations(|| {
            let _ = black_box(parse_authority(value));
        });
        assert_eq!(count, 0, "{name}");
    }
}

#[test]
fn p4_scanning_and_parsing_http_heads_allocates_nothing() {
    let mut sound = 0;
    for Case { name, bytes, .. } in cases("http") {
        let count = allocations(|| {
            let mut scan = HeadScan::new(Kind::Request);
            for end in 0..=bytes.len() {
                if let Ok(Status::Complete(head)) = black_box(scan.scan(&bytes[..end])) {
                    let mut slots = Slots::new();
                    let request = black_box(Request::parse(&bytes[head], &mut slots));
                    sound += usize::from(request.is_ok());
                    break;
                }
            }
        });
        assert_eq!(count, 0, "{name}");
    }
    assert!(sound > 60, "{sound} sound heads");
}

#[test]
fn p4_routing_a_name_allocates_nothing() {
    let mut routes = RouteTable::default();
    for (service, text) in
        ["pi.example.com", "www.*.example.com", "**.example.com", "**"].iter().enumerate()
    {
        let pattern = Pattern::parse(text).expect(text);
        let acme = Condition::Alpn("acme-tls/1".into());
        let api = Condition::Path(PathPrefix::parse("/api/v1").expect("a prefix"));
        for (entry, condition, service) in [
            (Entry::Https, None, service),
            (Entry::Https, Some(acme), 10 + service),
            (Entry::Http, None, service),
            (Entry::Http, Some(api), 20 + service),
        ] {
            routes.insert(entry, &pattern, condition, service).expect("a new claim");
        }
    }
    let acme = Alpn::parse(b"\x02h2\x0aacme-tls/1").expect("a list");
    for (name, service) in [("pi.example.com", 0), ("www.a.example.com", 1), ("b.c", 3)] {
        let name = HostName::Dns(Hostname::parse(name.as_bytes()).expect(name));
        for (ask, expected) in [
            (Ask::Https { alpn: Alpn::NONE }, Ok(service)),
            (Ask::Https { alpn: acme }, Ok(10 + service)),
            (Ask::Http { target: b"/x/%20y//z?q" }, Ok(service)),
            (Ask::Http { target: b"/api/v1/a%2Fb" }, Ok(20 + service)),
            (Ask::Http { target: b"/%61pi//v1/../x" }, Err(AmbiguousPath)),
        ] {
            let mut found = Ok(None);
            let count = allocations(|| found = black_box(routes.find(&name, ask)));
            let found = found.map(|found| found.expect("somebody").service);
            assert_eq!((found, count), (expected, 0), "{name:?} {ask:?}");
        }
    }
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(black_box(Box::new(1)))), 1);
}
