//! Which home each request of the HTTP entry reaches, and what is said when none does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{PATIENCE, eventually, free_port, wait_until};
use crate::home::Home;
use crate::house::Vps;
use crate::http_house::{End, Estate, Lot, Peer, answering, get, naming, ok, read_request};
use crate::visitor::{Seen, UNRECOGNIZED_NAME, home, visit};

/// P8: one connection, A, B, A; the home's connection is used again while its own requests follow
/// each other, and given back when another's comes.
#[test]
fn p8_keep_alive_changes_homes_with_every_request() {
    let vps = Vps::new();
    let (pi, local) = (naming(vps.ip, "pi"), naming(vps.ip, "local"));
    let lots = vec![Lot::http("pi", pi.address), Lot::http("local", local.address)];
    let estate = Estate::on(vps, lots);
    let mut visitor = estate.visitor();
    let names = ["pi", "local", "pi", "pi", "pi", "local", "local", "pi"];
    for (at, name) in names.into_iter().enumerate() {
        let answer = visitor.get(&format!("{name}.example.com"), &format!("/{at}"));
        assert_eq!(answer.text(), format!("{name} /{at}"));
    }
    assert_eq!((pi.accepted(), local.accepted()), (3, 2), "connections at home");
    drop(visitor);
    estate.assert_steady();
}

/// P8: fifty requests in one write over both homes. One of them stops in the middle of its
/// eleventh answer: that one and those behind it are told, the other home's are answered, and all
/// of them in the order of asking. When it is back it is served on the same connection.
#[test]
fn p8_fifty_pipelined_requests_while_one_home_stops() {
    const STOPS: &str = "/20";
    for client_goes in [true, false] {
        let vps = Vps::new();
        let pi = naming(vps.ip, "pi");
        let (reached, stop) = (mpsc::sync_channel(1), Arc::new(AtomicBool::new(false)));
        let local = {
            let (reached, stop) = (reached.0, stop.clone());
            answering(vps.ip, move |request| {
                if request.path() == STOPS {
                    reached.send(()).unwrap();
                    wait_until(PATIENCE, "the stop", || stop.load(Ordering::SeqCst));
                    // Never a whole answer.
                    return String::new();
                }
                ok(&format!("local {}", request.path()))
            })
        };
        let local_address = local.address;
        let lots = vec![Lot::http("pi", pi.address), Lot::http("local", local_address)];
        let mut estate = Estate::on(vps, lots);
        let mut visitor = estate.visitor();
        let name = |at: usize| ["local", "pi"][at % 2];
        let host = |at: usize| format!("{}.example.com", name(at));
        visitor.say((0..50).map(|at| get(&host(at), &format!("/{at}"))).collect::<String>());
        reached.1.recv_timeout(PATIENCE).expect("request 20 reaches its home");
        let mut local = Some(local);
        if client_goes {
            estate.clients[1].kill();
            stop.store(true, Ordering::SeqCst);
        } else {
            // Nobody listens any more; then the connection that is there ends.
            let stopped = local.take().unwrap();
            let ending = thread::spawn(move || drop(stopped));
            wait_until(PATIENCE, "it listens no more", || ending.is_finished());
            stop.store(true, Ordering::SeqCst);
        }
        let mut statuses = Vec::new();
        for at in 0..50 {
            let answer = visitor.response("GET");
            if at % 2 == 1 || at < 20 {
                assert_eq!(answer.text(), format!("{} /{at}", name(at)), "request {at}");
            } else {
                assert_eq!(answer.field("retry-after").is_some(), answer.status() == 503);
                statuses.push(answer.status());
            }
        }
        if client_goes {
            // The request at home was cut off; a link's end may be seen before its session's.
            assert_eq!(statuses[0], 502, "{statuses:?}");
            assert!(statuses.is_sorted(), "{statuses:?}");
            assert_eq!(statuses.last(), Some(&503), "{statuses:?}");
            estate.start_again(1);
        } else {
            assert_eq!(statuses, [502; 15]);
            local = Some(Home::start_at(local_address, |stream| {
                let mut visitor = Peer::new(stream);
                while let Ok(request) = read_request(&mut visitor.reader) {
                    visitor.say(ok(&format!("local {}", request.path())));
                }
            }));
        }
        let back = eventually(PATIENCE, "the home is served again", || {
            let answer = visitor.get("local.example.com", "/back");
            (answer.status() == 200).then(|| answer.text().to_owned())
        });
        assert_eq!(back, "local /back");
        drop((visitor, local));
        estate.assert_steady();
    }
}

/// A connection that the home has closed between two requests: the visitor does not notice.
#[test]
fn a_kept_connection_that_the_home_closed_is_replaced() {
    let (home, connections) = Home::by_hand(Vps::new().ip);
    let estate = Estate::start(vec![Lot::http("pi", home.address)]);
    for method in ["GET", "POST"] {
        let mut visitor = estate.visitor();
        let ask = |path: &str| {
            format!("{method} {path} HTTP/1.1\r\nHost: pi.example.com\r\nContent-Length: 0\r\n\r\n")
        };
        visitor.say(ask("/1"));
        let mut there = connections.peer();
        there.request();
        there.say(ok("1"));
        assert_eq!(visitor.response(method).text(), "1");
        // Its end is there long before the next request.
        drop(there);
        thread::sleep(Duration::from_millis(300));
        visitor.say(ask("/2"));
        let mut there = connections.peer();
        assert_eq!(there.request().path(), "/2");
        there.say(ok("2"));
        assert_eq!(visitor.response(method).text(), "2");
        // It closes at the very moment of the next request.
        visitor.say(ask("/3"));
        assert_eq!(there.request().path(), "/3");
        drop(there);
        if method == "GET" {
            let mut there = connections.peer();
            assert_eq!(there.request().path(), "/3", "repeated on a fresh connection");
            there.say(ok("3"));
            assert_eq!(visitor.response(method).text(), "3");
            // Once, not twice.
            visitor.say(ask("/4"));
            assert_eq!(there.request().path(), "/4");
            drop(there);
            let mut there = connections.peer();
            assert_eq!(there.request().path(), "/4");
            drop(there);
        }
        // What may have been done is not done again.
        assert_eq!(visitor.response(method).status(), 502);
        assert!(connections.is_empty(), "{method} was repeated");
    }
    estate.assert_steady();
}

/// A page for each reason, and a connection that goes on behind it.
#[test]
fn who_reaches_no_home_is_told_why() {
    let vps = Vps::new();
    let pi = naming(vps.ip, "pi");
    // A home that takes connections and says nothing of HTTP.
    let junk = Home::named(vps.ip, "junk");
    let lots = vec![
        Lot::http("pi", pi.address),
        Lot::http("refusing", free_port(vps.ip)),
        Lot::http("junk", junk.address),
    ];
    let estate = Estate::on(vps, lots);
    let mut visitor = estate.visitor();
    for round in 0..2 {
        for (host, status) in [
            ("pi.example.com", 200),
            ("nobody.example.com", 404),
            ("example.com", 404),
            ("192.0.2.1", 404),
            ("[2001:db8::1]:80", 404),
            ("", 404),
            ("away.example.com", 503),
            ("pi.example.com", 200),
            ("refusing.example.com", 502),
            ("junk.example.com", 502),
        ] {
            let start = Instant::now();
            let method = ["GET", "HEAD"][round];
            visitor.say(format!("{method} /x HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            let answer = visitor.response(method);
            assert_eq!(answer.status(), status, "{host}");
            assert!(start.elapsed() < Duration::from_secs(4), "{host}: {:?}", start.elapsed());
            if status == 200 {
                continue;
            }
            assert_eq!(answer.field("retry-after").is_some(), status == 503, "{host}");
            assert_eq!(answer.field("content-type"), Some("text/plain"));
            assert_eq!(answer.text().starts_with(&status.to_string()), method == "GET");
            let all = format!("{answer:?}").to_lowercase();
            assert!(!all.contains("underpass") && answer.body.len() < 200, "{all}");
        }
    }
    drop(visitor);
    estate.assert_steady();
}

/// P3: a head has ten seconds in all, whether its sender is silent or drips; later heads have them
/// from their first byte on. Others are served in the meantime.
#[test]
fn p3_a_head_that_does_not_end_is_given_up_after_ten_seconds() {
    let vps = Vps::new();
    let pi = naming(vps.ip, "pi");
    let estate = Estate::on(vps, vec![Lot::http("pi", pi.address)]);
    let estate = &estate;
    let in_time = |start: Instant| {
        let seconds = start.elapsed().as_secs_f32();
        assert!((9.0..15.0).contains(&seconds), "{seconds} s");
    };
    thread::scope(|scope| {
        for part in ["", "G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: pi.example.com\r\n"] {
            scope.spawn(move || {
                let start = Instant::now();
                let mut visitor = estate.visitor();
                visitor.say(part);
                let (said, end) = visitor.rest();
                in_time(start);
                assert_eq!(end, End::Fin, "{part:?}");
                let told = said.starts_with(b"HTTP/1.1 408 ");
                assert!(told || part.is_empty() && said.is_empty(), "{}", said.escape_ascii());
            });
        }
        scope.spawn(move || {
            let mut visitor = estate.visitor();
            // The first head drips within its time; the second one begins later and never ends.
            visitor.get("pi.example.com", "/");
            thread::sleep(Duration::from_secs(3));
            let start = Instant::now();
            let mut stream = visitor.stream.try_clone().unwrap();
            scope.spawn(move || {
                use std::io::Write;
                while stream.write_all(b"G").is_ok() && start.elapsed() < PATIENCE {
                    thread::sleep(Duration::from_millis(500));
                }
            });
            assert_eq!(visitor.response("GET").status(), 408);
            in_time(start);
        });
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(12) {
            let asked = Instant::now();
            assert_eq!(estate.visitor().get("pi.example.com", "/").text(), "pi /");
            assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
            thread::sleep(Duration::from_millis(100));
        }
    });
    estate.assert_steady();
}

/// What a name gives on port 80, and on 443.
enum Gives {
    Home(&'static str),
    /// 404, and the alert `unrecognized_name`.
    Unknown,
    /// 400, and an alert.
    Invalid,
    /// 404, and an alert: RFC 6066 knows no addresses.
    Address,
}

/// P5: names are normalised once, and give the same answer on both entries.
#[test]
fn p5_a_name_means_the_same_on_both_entries() {
    let vps = Vps::new();
    let tls = ["pi", "star"].map(|name| Home::named(vps.ip, name));
    let plain = ["pi", "star"].map(|name| naming(vps.ip, name));
    let lots = vec![
        Lot::web("pi", plain[0].address, tls[0].address).hosts(&[
            "pi.example.com",
            "xn--4ca.example.com",
            "a_b.example.com",
        ]),
        Lot::web("star", plain[1].address, tls[1].address).hosts(&["*.example.net"]),
    ];
    let estate = Estate::on(vps, lots);
    let (label, long) = ("a".repeat(63), ["a"; 127].join("."));
    let names = [
        ("pi.example.com", Gives::Home("pi")),
        ("PI.Example.COM", Gives::Home("pi")),
        ("pi.example.com.", Gives::Home("pi")),
        ("Pi.EXAMPLE.com.", Gives::Home("pi")),
        ("XN--4CA.example.com", Gives::Home("pi")),
        ("a_b.example.com", Gives::Home("pi")),
        ("x.example.net", Gives::Home("star")),
        (&format!("{label}.example.net"), Gives::Home("star")),
        ("x.y.example.net", Gives::Unknown),
        ("example.net", Gives::Unknown),
        ("xpi.example.com", Gives::Unknown),
        ("pi.example.com.evil.org", Gives::Unknown),
        ("pi", Gives::Unknown),
        (&long, Gives::Unknown),
        (&format!("{long}.a"), Gives::Invalid),
        (&format!("{label}a.example.net"), Gives::Invalid),
        ("*.example.net", Gives::Invalid),
        ("pi..example.com", Gives::Invalid),
        (".pi.example.com", Gives::Invalid),
        ("pi.example.com..", Gives::Invalid),
        (".", Gives::Invalid),
        ("pi.example.com/x", Gives::Invalid),
        ("pi.example.com\0", Gives::Invalid),
        ("pi.example.com%00", Gives::Invalid),
        ("p\u{ef}.example.com", Gives::Invalid),
        ("192.0.2.1", Gives::Address),
    ];
    for (name, gives) in names {
        let port80 = |name: &str| estate.ask(&get(name, "/"));
        let (answer, with_port) = (port80(name), port80(&format!("{name}:80")));
        assert_eq!(answer.start, with_port.start, "{name:?} with a port");
        let seen = visit(estate.vps.https, name);
        let alert = matches!(seen, Seen::Alert(_));
        match gives {
            Gives::Home(wanted) => {
                assert_eq!(answer.text(), format!("{wanted} /"), "{name:?}");
                assert_eq!(seen, home(wanted), "{name:?}");
            }
            Gives::Unknown => {
                assert_eq!(answer.status(), 404, "{name:?}");
                assert_eq!(seen, Seen::Alert(UNRECOGNIZED_NAME), "{name:?}");
            }
            Gives::Invalid => assert_eq!((answer.status(), alert), (400, true), "{name:?}"),
            Gives::Address => assert_eq!((answer.status(), alert), (404, true), "{name:?}"),
        }
    }
    estate.assert_steady();
}

/// An address and no name at all: `**` takes the first, fallback takes both.
#[test]
fn what_has_no_name_goes_to_the_fallback() {
    let vps = Vps::new();
    let (any, rest) = (naming(vps.ip, "any"), naming(vps.ip, "rest"));
    for (lot, address) in [
        (Lot::http("any", any.address).hosts(&["**"]), "any /"),
        (Lot::http("rest", rest.address).fallback(), "rest /"),
    ] {
        let takes_nameless = address.starts_with("rest");
        let estate = Estate::start(vec![lot]);
        for host in ["192.0.2.1", "192.0.2.1:80", "[2001:db8::1]", "[::1]:8080"] {
            assert_eq!(estate.ask(&get(host, "/")).text(), address, "{host}");
        }
        for request in [
            "GET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.0\r\nHost:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        ] {
            let answer = estate.ask(request);
            match takes_nameless {
                true => assert_eq!(answer.text(), "rest /", "{request:?}"),
                false => assert_eq!(answer.status(), 404, "{request:?}"),
            }
        }
        // HTTP/1.1 without Host is an error, whoever could take it (RFC 9112, 3.2).
        assert_eq!(estate.ask("GET / HTTP/1.1\r\n\r\n").status(), 400);
        estate.assert_steady();
    }
}
