//! P1, P2, P7, P13, P16: first bytes, last bytes, and what lies between them.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{PATIENCE, alone, free_port};
use crate::home::{Connections, Home};
use crate::house::{
    Pair, Vps, client_port, client_service, returns_to, server_port, server_service, settled,
};
use crate::support::{Case, cases};
use crate::visitor::{Seen, client_hello, connect, look, reset, say};

/// Other verdicts than the manifest's first that a sound parser may give.
fn also_accepted(case: &Case) -> impl Iterator<Item = &str> {
    case.expect["also_accepted"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Calls `check` for every case, many at a time.
fn for_each(cases: &[Case], check: impl Fn(&Case) + Sync) {
    const THREADS: usize = 32;
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    check(case);
                }
            });
        }
    });
}

/// A home that answers with what it has read when the visitor's end comes, `I got `, its length,
/// and the bytes.
fn recorder(ip: std::net::Ipv4Addr) -> Home {
    Home::start(ip, |mut stream| {
        let mut got = Vec::new();
        if stream.read_to_end(&mut got).is_ok() {
            let _ = stream.write_all(format!("I got {}\n", got.len()).as_bytes());
            let _ = stream.write_all(&got);
        }
    })
}

/// P1: hellos of real programs in pieces, with pauses between them, and byte by byte. Each must
/// be decided on the whole, and reach the home as it was sent.
#[test]
fn p1_a_split_hello_with_pauses_reaches_the_home_byte_for_byte() {
    let vps = Vps::new();
    let there = recorder(vps.ip);
    let server = vps.server(&server_service("any", &["**"]));
    let client = vps.client_ready("client", &client_service("any", there.address));
    let before = settled(&[&server, &client]);
    let cases: Vec<Case> = cases("tls")
        .into_iter()
        .filter(|case| case.verdict() == "ok" && also_accepted(case).count() == 0)
        .collect();
    assert!(cases.len() > 100, "{} cases", cases.len());
    let pause = || thread::sleep(Duration::from_millis(40));
    for_each(&cases, |case| {
        let (bytes, name) = (&case.bytes, &case.name);
        let length = bytes.len();
        // Inside the record's header, inside the name most often, just before the end; and whole.
        let cuts = [&[][..], &[1, 4, 9, length / 2, length - 1], &[3, 6, length / 3]];
        for cuts in cuts {
            let mut visitor = connect(vps.https).unwrap();
            let mut start = 0;
            for &cut in cuts.iter().chain([&length]) {
                visitor.write_all(&bytes[start..cut]).unwrap();
                start = cut;
                if cut != length {
                    pause();
                }
            }
            visitor.shutdown(Shutdown::Write).unwrap();
            assert_recorded(visitor, bytes, name);
        }
        // Every byte a segment of its own, for those that end where the hello does.
        if length < 4000 {
            let mut visitor = connect(vps.https).unwrap();
            for byte in bytes.chunks(1) {
                visitor.write_all(byte).unwrap();
            }
            visitor.shutdown(Shutdown::Write).unwrap();
            assert_recorded(visitor, bytes, name);
        }
    });
    returns_to(&before, &[&server, &client]);
}

#[track_caller]
fn assert_recorded(mut visitor: TcpStream, bytes: &[u8], name: &str) {
    let seen = look(&mut visitor);
    assert_eq!(seen, Seen::Home(format!("I got {}", bytes.len())), "{name}");
    let mut got = Vec::new();
    visitor.read_to_end(&mut got).unwrap();
    assert!(got == bytes, "{name}: other bytes arrived");
}

/// P2: what is incomplete or malformed is never taken for a visitor without a name; only a whole
/// hello without one reaches the fallback.
#[test]
fn p2_no_broken_or_unfinished_hello_reaches_the_fallback() {
    let vps = Vps::new();
    let (any, fallback) = (Home::named(vps.ip, "any"), Home::named(vps.ip, "fallback"));
    let services = server_service("any", &["**"])
        + &server_service("rest", &["rest.example.com"])
        + "fallback = true\n";
    let server = vps.server(&services);
    let services = client_service("any", any.address) + &client_service("rest", fallback.address);
    let client = vps.client_ready("client", &services);
    let before = settled(&[&server, &client]);
    for_each(&cases("tls"), |case| {
        let mut visitor = connect(vps.https).unwrap();
        visitor.write_all(&case.bytes).unwrap();
        // The unfinished ones are left waiting for their deadline: an end would decide for them.
        let seen = look(&mut visitor);
        let may = |verdict: &str| {
            case.verdict() == verdict || also_accepted(case).any(|other| other == verdict)
        };
        let right = match &seen {
            Seen::Home(said) if said == "I am fallback" => may("no-name"),
            Seen::Home(said) if said == "I am any" => may("ok"),
            // A 400 to those who speak HTTP.
            Seen::Home(said) => said.starts_with("HTTP/1.1 400") && may("not-tls"),
            Seen::Alert(_) | Seen::Closed | Seen::Reset => {
                ["invalid", "incomplete", "not-tls"].into_iter().any(may)
            }
            Seen::Nothing(_) => false,
        };
        assert!(right, "{}: {} by the manifest, but {seen:?}", case.name, case.verdict());
    });
    // An end of file decides nothing either.
    let cut_off = cases("tls").into_iter().filter(|case| case.verdict() == "incomplete");
    for_each(&cut_off.collect::<Vec<_>>(), |case| {
        let mut visitor = connect(vps.https).unwrap();
        visitor.write_all(&case.bytes).unwrap();
        visitor.shutdown(Shutdown::Write).unwrap();
        let seen = look(&mut visitor);
        assert!(!matches!(seen, Seen::Home(_) | Seen::Nothing(_)), "{}: {seen:?}", case.name);
    });
    returns_to(&before, &[&server, &client]);
}

/// One server and one client with a home played by the test, entered by name and by a port.
struct Crossing {
    server: crate::harness::Proc,
    client: crate::harness::Proc,
    connections: Connections,
    _home: Home,
    port: SocketAddr,
    vps: Vps,
}

impl Crossing {
    fn start() -> Crossing {
        let vps = Vps::new();
        let (home, connections) = Home::by_hand(vps.ip);
        let port = free_port(vps.ip);
        let services = server_service("named", &["pi.example.com"]) + &server_port("port", port);
        let server = vps.server(&services);
        let services = client_service("named", home.address) + &client_port("port", home.address);
        let client = vps.client_ready("client", &services);
        Crossing { server, client, connections, _home: home, port, vps }
    }

    /// The two entries, each with the first bytes that open it.
    fn entries(&self) -> [(SocketAddr, Vec<u8>); 2] {
        let hello = client_hello(Some("pi.example.com"));
        [(self.vps.https, hello), (self.port, b"GO".to_vec())]
    }

    /// A visitor that has sent `first`, and its connection at home, which has read it.
    fn cross(&self, entry: SocketAddr, first: &[u8]) -> (TcpStream, TcpStream) {
        let mut visitor = connect(entry).unwrap();
        visitor.write_all(first).unwrap();
        let mut there = self.connections.next();
        let mut got = vec![0; first.len()];
        there.read_exact(&mut got).unwrap();
        assert_eq!(got, first);
        (visitor, there)
    }
}

/// P7: the end comes with the first bytes, or after them; the reply is 100 MB and whole.
#[test]
fn p7_send_then_fin_still_gets_the_whole_reply() {
    const REPLY: usize = 100_000_000;
    let _alone = alone();
    let crossing = Crossing::start();
    let before = settled(&[&crossing.server, &crossing.client]);
    for (entry, first) in crossing.entries() {
        let mut visitor = connect(entry).unwrap();
        // First bytes and end in one go: the end is there before anything is routed.
        visitor.write_all(&first).unwrap();
        visitor.shutdown(Shutdown::Write).unwrap();
        let mut there = crossing.connections.next();
        let mut got = Vec::new();
        there.read_to_end(&mut got).unwrap();
        assert_eq!(got, first, "the end reaches the home after the bytes");
        let writer = thread::spawn(move || {
            let block: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 253) as u8).collect();
            for _ in 0..REPLY / block.len() {
                there.write_all(&block).unwrap();
            }
        });
        let mut total = 0;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let n = visitor.read(&mut buffer).unwrap();
            let place = |i: usize| ((total + i) % 1_000_000 % 253) as u8;
            assert!((0..n).all(|i| buffer[i] == place(i)), "changed after {total} bytes");
            total += n;
            if n == 0 {
                break;
            }
        }
        writer.join().unwrap();
        assert_eq!(total, REPLY);
        returns_to(&before, &[&crossing.server, &crossing.client]);
    }
}

/// P7: each direction ends by itself, in either order; a peer that never closes holds its own
/// direction only, and whoever comes to the end later can still speak.
#[test]
fn p7_one_direction_ends_and_the_other_goes_on() {
    let crossing = Crossing::start();
    let before = settled(&[&crossing.server, &crossing.client]);
    thread::scope(|scope| {
        for (entry, first) in crossing.entries() {
            for visitor_first in [true, false] {
                let (visitor, there) = crossing.cross(entry, &first);
                let (ends, stays) = if visitor_first { (visitor, there) } else { (there, visitor) };
                scope.spawn(|| end_one_direction(ends, stays));
            }
        }
    });
    returns_to(&before, &[&crossing.server, &crossing.client]);
}

fn end_one_direction(mut ends: TcpStream, mut stays: TcpStream) {
    ends.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stays.read(&mut [0; 64]).unwrap(), 0, "the end arrives");
    // Longer than a hello, a dial or a proof may take: no such deadline is left running.
    thread::sleep(Duration::from_secs(11));
    for number in 0..100_u8 {
        stays.write_all(&[number; 1000]).unwrap();
        let mut block = [0; 1000];
        ends.read_exact(&mut block).unwrap();
        assert_eq!(block, [number; 1000]);
    }
    drop(stays);
    assert_eq!(ends.read(&mut [0; 64]).unwrap(), 0, "the other end arrives");
}

/// P7: a reset is no end of file, whoever sends it and whenever.
#[test]
fn p7_a_reset_of_either_side_arrives_as_a_reset() {
    let crossing = Crossing::start();
    let before = settled(&[&crossing.server, &crossing.client]);
    for (entry, first) in crossing.entries() {
        for visitor_resets in [true, false] {
            for half_closed in [true, false] {
                let (visitor, there) = crossing.cross(entry, &first);
                let (resets, mut feels) =
                    if visitor_resets { (visitor, there) } else { (there, visitor) };
                if half_closed {
                    feels.shutdown(Shutdown::Write).unwrap();
                }
                reset(resets);
                let felt = feels.read(&mut [0; 64]).map_err(|error| error.kind());
                let case = format!("{entry}: visitor resets {visitor_resets}, {half_closed}");
                assert_eq!(felt, Err(ErrorKind::ConnectionReset), "{case}");
            }
        }
        // A visitor that resets in the middle of a big reply: the home's writes end.
        let (visitor, mut there) = crossing.cross(entry, &first);
        let writer = thread::spawn(move || {
            let start = Instant::now();
            while start.elapsed() < PATIENCE {
                if there.write_all(&[7; 65536]).is_err() {
                    return true;
                }
            }
            false
        });
        let mut some = [0; 100_000];
        (&visitor).read_exact(&mut some).unwrap();
        reset(visitor);
        assert!(writer.join().unwrap(), "the home goes on writing to nobody");
    }
    // The links are clean: the next visitors get their own bytes and nothing else.
    for (entry, first) in crossing.entries() {
        for number in 0..20 {
            let (mut visitor, mut there) = crossing.cross(entry, &first);
            there.write_all(&[number; 3]).unwrap();
            drop(there);
            let mut got = Vec::new();
            visitor.read_to_end(&mut got).unwrap();
            assert_eq!(got, [number; 3]);
        }
    }
    returns_to(&before, &[&crossing.server, &crossing.client]);
}

/// P13: TCP_NODELAY on the visitor's leg, on both ends of the links and of the control session,
/// and on the leg to the home.
#[test]
fn p13_no_leg_waits_for_nagle() {
    let crossing = Crossing::start();
    for (entry, first) in crossing.entries() {
        let (_visitor, there) = crossing.cross(entry, &first);
        let at_home = there.local_addr().unwrap();
        let server = crossing.server.tcp_connections();
        let client = crossing.client.tcp_connections();
        let tunnel = crossing.vps.tunnel;
        assert!(server.iter().any(|leg| leg.local == entry), "no visitor's leg: {server:?}");
        assert!(server.iter().filter(|leg| leg.local == tunnel).count() >= 2, "{server:?}");
        assert!(client.iter().filter(|leg| leg.peer == tunnel).count() >= 2, "{client:?}");
        assert!(client.iter().any(|leg| leg.peer == at_home), "no leg to the home: {client:?}");
        for leg in server.iter().chain(&client) {
            assert!(leg.nodelay, "{leg:?}");
        }
    }
}

/// P16: nothing limits how long a transfer takes, or how long it may be silent between two open
/// ends. The longest deadline of a young connection is 10 s, a silent tunnel is dead after 25 s.
#[test]
fn p16_slow_and_silent_transfers_outlive_every_deadline() {
    let pair = Pair::start();
    let crossing = Crossing::start();
    // 8 MB at 200 KB a second: 40 s.
    let page: String = (0..1_000_000).map(|i| format!("{i:07}\n")).collect();
    fs::write(pair.pi.www().join("page"), &page).unwrap();
    let slow = |direction: &str| {
        let curl = pair.curl("pi").args(&["--limit-rate", "200k"]);
        if direction == "down" {
            let answer = curl.get("https://pi.example.com/files/page");
            assert!(answer.body == page, "{} bytes: {}", answer.body.len(), answer.errors);
        } else {
            let answer = curl.upload(&pair.pi.www().join("page")).get("https://pi.example.com/up");
            assert!(answer.body.starts_with(&format!("{} ", page.len())), "{answer:?}");
        }
    };
    let crossing = &crossing;
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| slow("down"));
        scope.spawn(|| slow("up"));
        for (entry, first) in crossing.entries() {
            // One visitor after the other, so that each finds its own connection at home.
            let (mut visitor, mut there) = crossing.cross(entry, &first);
            scope.spawn(move || {
                for silence in [16, 28] {
                    thread::sleep(Duration::from_secs(silence));
                    for (from, to) in [(true, "home"), (false, "visitor")] {
                        let (from, mut to_stream) =
                            if from { (&visitor, &there) } else { (&there, &visitor) };
                        let mut from = from;
                        from.write_all(to.as_bytes()).unwrap();
                        let mut got = vec![0; to.len()];
                        to_stream.read_exact(&mut got).unwrap();
                        assert_eq!(got, to.as_bytes(), "after {silence} s");
                    }
                }
                visitor.shutdown(Shutdown::Write).unwrap();
                assert_eq!(there.read(&mut [0; 8]).unwrap(), 0);
                drop(there);
                assert_eq!(visitor.read(&mut [0; 8]).unwrap(), 0);
            });
        }
    });
    assert!(start.elapsed() > Duration::from_secs(38), "too fast to show anything");
}

/// A home that refuses: the visitor is told at once, whatever its entry.
#[test]
fn a_home_that_refuses_ends_the_visit_at_once() {
    let vps = Vps::new();
    let nobody = free_port(vps.ip);
    let port = free_port(vps.ip);
    let services = server_service("named", &["pi.example.com"]) + &server_port("port", port);
    let server = vps.server(&services);
    let services = client_service("named", nobody) + &client_port("port", nobody);
    let client = vps.client_ready("client", &services);
    let before = settled(&[&server, &client]);
    for (entry, first) in [(vps.https, client_hello(Some("pi.example.com"))), (port, vec![1])] {
        for _ in 0..20 {
            let start = Instant::now();
            let seen = say(entry, &first);
            assert!(matches!(seen, Seen::Alert(_) | Seen::Reset | Seen::Closed), "{seen:?}");
            assert!(start.elapsed() < Duration::from_secs(4), "told after {:?}", start.elapsed());
        }
    }
    returns_to(&before, &[&server, &client]);
}
