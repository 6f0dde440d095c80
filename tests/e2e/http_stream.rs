//! Bytes in motion on the HTTP entry: a gigabyte each way, events one by one, upgrades, bodies
//! that are waited for, answers that come early, and visitors and homes that leave.

use std::fs::File;
use std::io::{Read, Write};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{PATIENCE, Proc, alone, run, run_ok, wait_until};
use crate::home::{Frame, Home, digest, websocket_accept};
use crate::house::Vps;
use crate::http_house::{End, Estate, Lot, Peer, Sites, answering, get, ok, read_head};
use crate::transfer::write_noise;

/// A gigabyte each way and in each framing; no process grows by it.
#[test]
fn a_gigabyte_each_way_by_length_and_in_chunks() {
    const SIZE: u64 = 1 << 30;
    let _alone = alone();
    let sites = Sites::start();
    let resident = sites.estate.processes().into_iter().map(Proc::resident).collect::<Vec<_>>();
    let file = sites.pi.www().join("big");
    let hash = write_noise(&file, SIZE);
    // By nginx with a length, by the other home in chunks.
    for url in ["http://pi.example.com/files/big", "http://up.example.com/big"] {
        let start = Instant::now();
        let mut curl = sites.estate.curl(&[url]);
        let mut child = curl.stdout(Stdio::piped()).spawn().unwrap();
        let seen = digest(child.stdout.as_mut().unwrap()).unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(seen, (SIZE, hash.clone()), "{url}");
        eprintln!("{url}: {:?}", start.elapsed());
    }
    // With a length and `Expect: 100-continue`; of standard input curl knows no length.
    let name = file.display().to_string();
    for args in [&["-T", &name, "--expect100-timeout", "60"][..], &["-T", "-", "-H", "Expect:"]] {
        let start = Instant::now();
        let mut curl = sites.estate.curl(args);
        curl.arg("http://up.example.com/up").stdin(File::open(&file).unwrap());
        let output = curl.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said, format!("{SIZE} {hash}\n"), "{args:?}: {output:?}");
        eprintln!("{args:?}: {:?}", start.elapsed());
    }
    for (process, before) in sites.estate.processes().into_iter().zip(resident) {
        let now = process.resident();
        assert!(now < before + (16 << 20), "{before} bytes before, {now} after");
    }
    sites.estate.assert_steady();
}

/// One home played by hand, behind one client.
fn by_hand() -> (Estate, crate::home::Connections, Home) {
    let vps = Vps::new();
    let (home, connections) = Home::by_hand(vps.ip);
    let estate = Estate::on(vps, vec![Lot::http("pi", home.address)]);
    (estate, connections, home)
}

/// Server-sent events, chunked and not: each arrives before the next one is said. Then the visitor
/// leaves, and a home that says nothing more is told soon.
#[test]
fn events_arrive_at_once_and_the_visitors_end_at_home_too() {
    let (estate, connections, _home) = by_hand();
    for chunked in [true, false] {
        for by_reset in [true, false] {
            let mut visitor = estate.visitor();
            visitor.say(get("pi.example.com", "/events"));
            let mut there = connections.peer();
            there.request();
            let framing = if chunked { "Transfer-Encoding: chunked\r\n" } else { "" };
            there.say(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{framing}\r\n"
            ));
            let head = read_head(&mut visitor.reader).unwrap();
            assert_eq!(head.field("content-type"), Some("text/event-stream"));
            for number in 0..20 {
                let event = format!("id: {number}\ndata: {}\n\n", "e".repeat(number * 40));
                let bytes = match chunked {
                    true => format!("{:x}\r\n{event}\r\n", event.len()),
                    false => event,
                };
                let start = Instant::now();
                there.say(&bytes);
                assert_eq!(visitor.bytes(bytes.len()), bytes.as_bytes());
                assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
                thread::sleep(Duration::from_millis(10));
            }
            let start = Instant::now();
            if by_reset {
                visitor.reset();
            } else {
                drop(visitor);
                // An end alone may be a half-close (P7), so an answer that goes on finds out.
                let said = if chunked { "1\r\n.\r\n" } else { "." };
                while there.stream.write_all(said.as_bytes()).is_ok() {
                    assert!(start.elapsed() < PATIENCE, "it is never told");
                    thread::sleep(Duration::from_millis(20));
                }
                continue;
            }
            assert_eq!(there.rest(), (Vec::new(), End::Reset));
            assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        }
    }
    estate.assert_steady();
}

/// Whoever leaves in mid-transfer ends the work at the other end, both ways.
#[test]
fn leaving_ends_the_others_work_soon() {
    let (estate, connections, _home) = by_hand();
    let soon = |start: Instant| {
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    };
    // While the home works and says nothing yet.
    let mut visitor = estate.visitor();
    visitor.say(get("pi.example.com", "/report"));
    let mut there = connections.peer();
    there.request();
    let start = Instant::now();
    visitor.reset();
    assert_eq!(there.rest(), (Vec::new(), End::Reset));
    soon(start);
    // Closed in order it looks like a half-close, and the home is told of that at once too.
    let mut visitor = estate.visitor();
    visitor.say(get("pi.example.com", "/report"));
    let mut there = connections.peer();
    there.request();
    let start = Instant::now();
    drop(visitor);
    assert_eq!(there.rest(), (Vec::new(), End::Fin));
    soon(start);
    drop(there);
    // In the middle of a download that never ends.
    let mut visitor = estate.visitor();
    visitor.say(get("pi.example.com", "/flood"));
    let mut there = connections.peer();
    there.request();
    there.say("HTTP/1.1 200 OK\r\n\r\n");
    let flood = thread::spawn(move || while there.stream.write_all(&[b'.'; 65536]).is_ok() {});
    visitor.bytes(1 << 20);
    let start = Instant::now();
    drop(visitor);
    wait_until(PATIENCE, "the flood ends", || flood.is_finished());
    soon(start);
    // In the middle of an upload: an upload that was cut off is never taken for a whole one.
    for (framing, end) in [
        ("Content-Length: 100", End::Fin),
        ("Content-Length: 100", End::Reset),
        ("Transfer-Encoding: chunked", End::Fin),
        ("Transfer-Encoding: chunked", End::Reset),
    ] {
        let mut visitor = estate.visitor();
        visitor.say(format!("PUT /x HTTP/1.1\r\nHost: pi.example.com\r\n{framing}\r\n\r\n"));
        visitor.say("5\r\nhello\r\n");
        let mut there = connections.peer();
        read_head(&mut there.reader).unwrap();
        assert_eq!(there.bytes(10), b"5\r\nhello\r\n", "at once");
        let start = Instant::now();
        match end {
            End::Fin => visitor.finish(),
            End::Reset => visitor.reset(),
        }
        assert_eq!(there.rest(), (Vec::new(), End::Reset), "{framing}, {end:?}");
        soon(start);
    }
    // A visitor that has ended its direction behind a whole request still wants the answer.
    let mut visitor = estate.visitor();
    visitor.say(get("pi.example.com", "/half"));
    visitor.finish();
    let mut there = connections.peer();
    there.request();
    thread::sleep(Duration::from_millis(300));
    there.say(ok("half"));
    assert_eq!(visitor.response("GET").text(), "half");
    assert_eq!(visitor.rest(), (Vec::new(), End::Fin));
    drop((there, visitor));
    estate.assert_steady();
}

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A visitor and a home with an open WebSocket between them.
fn web_socket(estate: &Estate, connections: &crate::home::Connections) -> (Peer, Peer) {
    let mut visitor = estate.visitor();
    // The first words of the visitor come with the request, the home's with its answer.
    visitor.say(format!(
        "GET /ws HTTP/1.1\r\nHost: pi.example.com\r\nConnection: keep-alive, Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\nearly"
    ));
    let mut there = connections.peer();
    let request = there.request();
    assert_eq!(request.field("upgrade"), Some("websocket"));
    assert_eq!(request.field("connection").map(str::to_lowercase).as_deref(), Some("upgrade"));
    assert_eq!(request.field("sec-websocket-key"), Some(KEY));
    // Before 101 nothing raw passes.
    there.assert_silent(Duration::from_millis(200));
    there.say(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\nhello",
        websocket_accept(KEY)
    ));
    let answer = visitor.response("GET");
    assert_eq!(answer.status(), 101);
    assert_eq!(answer.field("sec-websocket-accept"), Some(&*websocket_accept(KEY)));
    assert_eq!(answer.field("upgrade"), Some("websocket"));
    assert_eq!(answer.field("connection").map(str::to_lowercase).as_deref(), Some("upgrade"));
    assert_eq!(visitor.bytes(5), b"hello");
    assert_eq!(there.bytes(5), b"early");
    (visitor, there)
}

/// After 101 both directions are raw, each with an end of its own.
#[test]
fn a_web_socket_is_a_raw_relay_with_both_ends() {
    let (estate, connections, _home) = by_hand();
    let (mut visitor, mut there) = web_socket(&estate, &connections);
    for length in [0, 1, 125, 126, 65_535, 65_536, 3_000_000] {
        let payload: Vec<u8> = (0..length).map(|at: usize| (at * 7 + length) as u8).collect();
        let frame = Frame { opcode: Frame::BINARY, payload };
        // Both at once, each longer than any buffer on the way.
        let (mut out, mut back) = (&visitor.stream, &there.stream);
        thread::scope(|scope| {
            scope.spawn(|| frame.write(&mut out, Some([9, 8, 7, 6])).unwrap());
            scope.spawn(|| frame.write(&mut back, None).unwrap());
            let to_home = scope.spawn(|| Frame::read(&mut there.reader).unwrap());
            assert!(Frame::read(&mut visitor.reader).unwrap() == frame, "{length} to the visitor");
            assert!(to_home.join().unwrap() == frame, "{length} to the home");
        });
    }
    // What looks like HTTP is none any more.
    let smuggled = get("away.example.com", "/");
    visitor.say(&smuggled);
    assert_eq!(there.bytes(smuggled.len()), smuggled.as_bytes());
    visitor.finish();
    assert_eq!(there.rest(), (Vec::new(), End::Fin));
    there.say("the other direction goes on");
    there.finish();
    assert_eq!(visitor.rest(), (b"the other direction goes on".to_vec(), End::Fin));
    // A reset is passed on as one, from either end.
    let (visitor, mut there) = web_socket(&estate, &connections);
    visitor.reset();
    assert_eq!(there.rest().1, End::Reset);
    let (mut visitor, there) = web_socket(&estate, &connections);
    there.reset();
    assert_eq!(visitor.rest().1, End::Reset);
    drop(visitor);
    estate.assert_steady();
}

/// 101 is for those who have asked for it; who is refused goes on in HTTP.
#[test]
fn an_upgrade_is_passed_only_if_it_was_asked_for() {
    let (estate, connections, _home) = by_hand();
    let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";
    for more in ["", "Upgrade: websocket\r\n", "Connection: Upgrade\r\nUpgrade: h2c\r\n"] {
        let mut visitor = estate.visitor();
        visitor.say(format!("GET / HTTP/1.1\r\nHost: pi.example.com\r\n{more}\r\n"));
        let mut there = connections.peer();
        assert_eq!(there.request().field("upgrade"), None, "{more:?}");
        there.say(format!("{switch}HTTP/1.1 200 OK\r\n\r\n"));
        assert_eq!(visitor.response("GET").status(), 502, "{more:?}");
    }
    let mut visitor = estate.visitor();
    visitor.say(
        "GET / HTTP/1.1\r\nHost: pi.example.com\r\nConnection: upgrade\r\n\
         Upgrade: websocket\r\n\r\n",
    );
    let mut there = connections.peer();
    there.request();
    there.say("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno");
    assert_eq!(visitor.response("GET").text(), "no");
    visitor.say(get("pi.example.com", "/"));
    there.request();
    there.say(ok("as before"));
    assert_eq!(visitor.response("GET").text(), "as before");
    drop((visitor, there));
    estate.assert_steady();
}

/// A home that says 100, one that says nothing and waits, and one that refuses at once.
#[test]
fn a_body_that_is_waited_for() {
    const ASKS: &str = "POST /up HTTP/1.1\r\nHost: pi.example.com\r\nExpect: 100-continue\r\n\
                        Content-Length: 5\r\n\r\n";
    let (estate, connections, _home) = by_hand();
    let ask = || {
        let mut visitor = estate.visitor();
        visitor.say(ASKS);
        let mut there = connections.peer();
        let head = read_head(&mut there.reader).unwrap();
        assert_eq!(head.field("expect"), Some("100-continue"));
        (visitor, there)
    };
    let (mut visitor, mut there) = ask();
    // The home's word alone counts, not one from the middle.
    visitor.assert_silent(Duration::from_millis(300));
    there.say("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
    let hints = visitor.response("POST");
    assert_eq!((hints.status(), hints.field("link")), (103, Some("</x>")));
    there.say("HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(visitor.response("POST").status(), 100);
    visitor.say("hello");
    assert_eq!(there.bytes(5), b"hello");
    there.say(ok("thanks"));
    assert_eq!(visitor.response("POST").text(), "thanks");
    // The connection goes on.
    visitor.say(get("pi.example.com", "/next"));
    assert_eq!(there.request().path(), "/next");
    there.say(ok("next"));
    assert_eq!(visitor.response("GET").text(), "next");

    drop((visitor, there));
    // A visitor that does not wait for ever.
    let (mut visitor, mut there) = ask();
    visitor.say("hello");
    assert_eq!(there.bytes(5), b"hello");
    there.say(ok("thanks"));
    assert_eq!(visitor.response("POST").text(), "thanks");

    for status in ["417 Expectation Failed", "413 Content Too Large", "401 Unauthorized"] {
        let (mut visitor, mut there) = ask();
        there.say(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno"));
        let answer = visitor.response("POST");
        assert_eq!((answer.status(), answer.text()), (status[..3].parse().unwrap(), "no"));
        // What follows could be the body or a request: there is no going on.
        assert_eq!(answer.field("connection"), Some("close"));
        assert_eq!(visitor.rest(), (Vec::new(), End::Fin));
        // Nothing that was not a whole request is left at home.
        let (said, _) = there.rest();
        assert_eq!(said, b"");
    }
    drop((visitor, there));
    // curl keeps its body to itself, and shows the answer.
    let file = estate.vps.dir.write("body", &"x".repeat(100_000));
    let name = file.display().to_string();
    let args = ["-T", &name, "--expect100-timeout", "60", "-H", "Expect: 100-continue"];
    let mut command = estate.curl(&args);
    command.args(["-w", " %{http_code} %{size_upload}", "http://pi.example.com/"]);
    let curling = thread::spawn(move || run_ok(&mut command));
    let mut there = connections.peer();
    read_head(&mut there.reader).unwrap();
    there.say("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno");
    assert_eq!(curling.join().unwrap(), "no 417 0");
    assert_eq!(there.rest().0, b"");
    drop(there);
    estate.assert_steady();
}

/// A final answer while the body is still coming: it reaches the visitor, also one that only
/// listens after it has sent everything.
#[test]
fn an_early_answer_reaches_a_visitor_that_goes_on_sending() {
    const SIZE: usize = 3 << 20;
    let (estate, connections, _home) = by_hand();
    for close in ["", "Connection: close\r\n"] {
        for chunked in [false, true] {
            let mut visitor = estate.visitor();
            let framing = match chunked {
                false => format!("Content-Length: {SIZE}"),
                true => "Transfer-Encoding: chunked".to_owned(),
            };
            visitor.say(format!("POST / HTTP/1.1\r\nHost: pi.example.com\r\n{framing}\r\n\r\n"));
            let mut there = connections.peer();
            read_head(&mut there.reader).unwrap();
            there.say(format!(
                "HTTP/1.1 413 Content Too Large\r\n{close}Content-Length: 8\r\n\r\ntoo much"
            ));
            let mut sender = visitor.stream.try_clone().unwrap();
            let sending = thread::spawn(move || {
                // Some of it before it looks, and all that is taken behind it.
                for _ in 0..SIZE / 65536 {
                    let piece = [b'1'; 65536];
                    let written = match chunked {
                        true => write!(sender, "10000\r\n").and_then(|()| {
                            sender.write_all(&piece)?;
                            sender.write_all(b"\r\n")
                        }),
                        false => sender.write_all(&piece),
                    };
                    if written.is_err() {
                        break;
                    }
                }
            });
            thread::sleep(Duration::from_millis(200));
            let answer = visitor.response("POST");
            assert_eq!((answer.status(), answer.text()), (413, "too much"), "{framing}");
            assert_eq!(answer.field("connection"), Some("close"));
            drop((there, visitor));
            sending.join().unwrap();
        }
    }
    // As curl does it, with a body that it does not ask about.
    let file = estate.vps.dir.write("body", &"x".repeat(SIZE));
    let name = file.display().to_string();
    let mut command = estate.curl(&["-T", &name, "-H", "Expect:", "-w", " %{http_code}"]);
    command.arg("http://pi.example.com/");
    let curling = thread::spawn(move || run(&mut command, b""));
    let mut there = connections.peer();
    read_head(&mut there.reader).unwrap();
    there.say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\n\r\ntoo much");
    let output = curling.join().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "too much 413", "{output:?}");
    drop(there);
    estate.assert_steady();
}

/// Back-pressure from end to end: who does not read stops the one who writes, fills no memory on
/// the way, and disturbs nobody.
#[test]
fn who_does_not_read_stops_the_sender() {
    const VISITORS: usize = 30;
    let _alone = alone();
    let vps = Vps::new();
    let flood = Home::start(vps.ip, |stream| {
        let mut visitor = Peer::new(stream);
        read_head(&mut visitor.reader).unwrap();
        visitor.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = [b"10000\r\n", &[b'.'; 65536][..], b"\r\n"].concat();
        visitor.stream.set_write_timeout(None).unwrap();
        while visitor.stream.write_all(&chunk).is_ok() {}
    });
    let lively = answering(vps.ip, |_| ok("lively"));
    let (deaf, _unread) = Home::by_hand(vps.ip);
    let estate = Estate::on(
        vps,
        vec![
            Lot::http("flood", flood.address),
            Lot::http("deaf", deaf.address),
            Lot::http("lively", lively.address),
        ],
    );
    let resident = estate.processes().into_iter().map(Proc::resident).collect::<Vec<_>>();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut visitors = Vec::new();
        for number in 0..VISITORS {
            let mut visitor = estate.visitor();
            if number % 2 == 0 {
                visitor.say(get("flood.example.com", "/"));
            } else {
                visitor.say(
                    "PUT / HTTP/1.1\r\nHost: deaf.example.com\r\n\
                     Content-Length: 99999999999\r\n\r\n",
                );
                let mut stream = visitor.stream.try_clone().unwrap();
                stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
                let stop = &stop;
                scope.spawn(move || {
                    while !stop.load(Ordering::SeqCst) {
                        let _ = stream.write(&[9; 65536]);
                    }
                });
            }
            visitors.push(visitor);
        }
        thread::sleep(Duration::from_secs(3));
        let start = Instant::now();
        let mut visitor = estate.visitor();
        let mut worst = Duration::ZERO;
        while start.elapsed() < Duration::from_secs(2) {
            let asked = Instant::now();
            assert_eq!(visitor.get("lively.example.com", "/").text(), "lively");
            worst = worst.max(asked.elapsed());
            thread::sleep(Duration::from_millis(20));
        }
        assert!(worst < Duration::from_secs(1), "{worst:?} for one of the others");
        for (process, before) in estate.processes().into_iter().zip(&resident) {
            let each = process.resident().saturating_sub(*before) / VISITORS as u64;
            eprintln!("{each} bytes for a visitor that stands still");
            assert!(each < 600_000, "{each} bytes for each of {VISITORS}");
        }
        stop.store(true, Ordering::SeqCst);
        // It has not lost a byte: the flood goes on for one who reads again.
        let first = &mut visitors[0];
        read_head(&mut first.reader).unwrap();
        let mut chunks = crate::http_house::Chunks::new(&mut first.reader);
        let mut content = vec![0; 20 << 20];
        chunks.read_exact(&mut content).unwrap();
        assert!(content.iter().all(|&byte| byte == b'.'));
        visitors.into_iter().for_each(Peer::reset);
    });
    estate.assert_steady();
}
