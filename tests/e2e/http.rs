//! The HTTP entry between real programs: two nginx sites by Host, curl, raw visitors that keep and
//! pipeline, WebSockets, server-sent events, and homes that record what reaches them.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{PATIENCE, Proc, SECRET, alone, eventually, free_port, run, wait_until};
use crate::home::{Frame, Home, Site, digest, read_head, websocket_accept};
use crate::house::{Vps, returns_to, settled};
use crate::transfer::write_noise;

/// A server with the HTTP entry, and the clients behind it.
struct Port80 {
    server: Proc,
    clients: Vec<Proc>,
    http: SocketAddr,
    _vps: Vps,
}

impl Port80 {
    /// One client for each home: its name, and where it answers.
    fn start(homes: &[(&str, SocketAddr)]) -> Port80 {
        Port80::on(Vps::new(), homes)
    }

    fn on(mut vps: Vps, homes: &[(&str, SocketAddr)]) -> Port80 {
        let http = free_port(vps.ip);
        vps.server_extra = format!("http_addr = \"{http}\"\n");
        let names = homes.iter().map(|(name, _)| *name).chain(["away"]);
        let services: String = names
            .map(|name| {
                format!(
                    "[server.services.{name}]\ntype = \"http\"\ntoken = \"{SECRET}-{name}\"\n\
                     hosts = [\"{name}.example.com\", \"**.{name}.example.com\"]\n"
                )
            })
            .collect();
        let server = vps.server(&services);
        let clients = homes.iter().map(|(name, address)| {
            let service = format!(
                "[client.services.{name}]\ntype = \"http\"\ntoken = \"{SECRET}-{name}\"\n\
                 local_addr = \"{address}\"\n"
            );
            let client = vps.client(&format!("{name}-client"), &service);
            client.wait_for_log(&[name, "is up"]);
            client
        });
        let clients = clients.collect();
        Port80 { server, clients, http, _vps: vps }
    }

    fn processes(&self) -> Vec<&Proc> {
        self.clients.iter().chain([&self.server]).collect()
    }

    fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Says `request` on a connection of its own, and reads to the end.
    fn ask(&self, request: &str) -> String {
        let mut stream = self.dial();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    }

    fn status(&self, request: &str) -> String {
        self.ask(request).split(' ').nth(1).unwrap_or("none").to_owned()
    }

    fn curl(&self, url: &str) -> Command {
        let mut curl = Command::new("curl");
        let to = format!("::{}:{}", self.http.ip(), self.http.port());
        curl.args(["-sS", "--max-time", "120", "--connect-to", &to, url]);
        curl
    }
}

/// One response from a connection that goes on: status line, and the body by Content-Length.
fn read_response(reader: &mut impl BufRead) -> (String, String) {
    let mut status = String::new();
    reader.read_line(&mut status).unwrap();
    let fields = read_head(reader).unwrap();
    let length = fields.get("content-length").map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (status.trim_end().to_owned(), String::from_utf8(body).unwrap())
}

/// nginx behind the HTTP entry.
fn site(vps: &Vps, name: &'static str) -> Site {
    Site::start(&vps.dir, vps.ip, name, &[&format!("{name}.example.com")])
}

fn two_sites() -> (Port80, Site, Site) {
    let vps = Vps::new();
    let (pi, local) = (site(&vps, "pi"), site(&vps, "local"));
    let homes = [("pi", pi.plain_address), ("local", local.plain_address)];
    let port80 = Port80::on(vps, &homes);
    (port80, pi, local)
}

fn get(host: &str, more: &str) -> String {
    format!("GET /whoami HTTP/1.1\r\nHost: {host}\r\n{more}\r\n")
}

#[test]
fn each_request_of_a_kept_connection_finds_its_own_home() {
    let (port80, _pi, _local) = two_sites();
    let before = settled(&port80.processes());
    let stream = port80.dial();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    for name in ["pi", "local", "pi", "pi", "local", "local", "pi"] {
        (&stream).write_all(get(&format!("x.{name}.example.com"), "").as_bytes()).unwrap();
        let (status, body) = read_response(&mut reader);
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(body.starts_with(&format!("{name} x.{name}.example.com ")), "{body}");
    }
    drop((stream, reader));
    // P5: one name, however it is written.
    for host in ["PI.example.com", "pi.example.com.", "pi.example.com:80", "www.Pi.Example.com"] {
        assert!(port80.ask(&get(host, "Connection: close\r\n")).contains("\r\n\r\npi "), "{host}");
    }
    returns_to(&before, &port80.processes());
}

/// P8: fifty requests at once over both homes, one of which stops in between.
#[test]
fn p8_pipelined_requests_are_answered_in_their_order_though_a_home_stops() {
    let (mut port80, _pi, _local) = two_sites();
    let mut stream = port80.dial();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let row = |count: usize| -> String {
        (0..count).map(|at| get(["pi.example.com", "local.example.com"][at % 2], "")).collect()
    };
    stream.write_all(row(50).as_bytes()).unwrap();
    for at in 0..50 {
        let (status, body) = read_response(&mut reader);
        assert_eq!(status, "HTTP/1.1 200 OK", "request {at}");
        assert!(body.starts_with(["pi ", "local "][at % 2]), "request {at}: {body}");
    }
    port80.clients[1].stop();
    stream.write_all(row(50).as_bytes()).unwrap();
    for at in 0..50 {
        let (status, body) = read_response(&mut reader);
        match at % 2 {
            0 => assert!(status.ends_with("200 OK") && body.starts_with("pi "), "{at}: {body}"),
            _ => assert!(status.starts_with("HTTP/1.1 503 "), "request {at}: {status}"),
        }
    }
}

#[test]
fn who_gets_no_home_gets_a_page() {
    let home = Home::by_hand(Vps::new().ip);
    let gone = free_port(home.0.address.ip().to_string().parse().unwrap());
    let port80 = Port80::start(&[("pi", home.0.address), ("broken", gone)]);
    let close = "Connection: close\r\n";
    for (host, status) in [
        ("nobody.example.com", "404"),
        ("away.example.com", "503"),
        ("broken.example.com", "502"),
        ("192.0.2.1", "404"),
        ("pi..example.com", "400"),
        ("*.example.com", "400"),
    ] {
        let answer = port80.ask(&get(host, close));
        assert_eq!(answer.split(' ').nth(1), Some(status), "{host}: {answer}");
        assert_eq!(answer.contains("Retry-After: "), status == "503", "{host}: {answer}");
        assert!(!answer.to_lowercase().contains("underpass"), "{answer}");
    }
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: pi.example.com\r\nHost: local.example.com\r\n\r\n", "400"),
        ("GET / HTTP/1.1\nHost: pi.example.com\n\n", "400"),
        (
            "POST / HTTP/1.1\r\nHost: pi.example.com\r\nContent-Length: 1\r\n\
          Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "400",
        ),
        ("POST / HTTP/1.1\r\nHost: pi.example.com\r\nTransfer-Encoding: gzip\r\n\r\n", "501"),
        ("GET / HTTP/1.1\r\nHost: pi.example.com\r\nX: a\r\n b\r\n\r\n", "400"),
        ("CONNECT pi.example.com:443 HTTP/1.1\r\nHost: pi.example.com:443\r\n\r\n", "405"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"),
        ("GET / HTTP/1.0\r\n\r\n", "404"),
    ] {
        assert_eq!(port80.status(request), status, "{request:?}");
    }
    assert_eq!(home.0.accepted(), 0, "nothing of all that has reached the home");
}

/// What a visitor says of itself is not believed; what is for one hop ends there.
#[test]
fn p9_the_home_sees_one_canonical_request() {
    let (home, connections) = Home::by_hand(Vps::new().ip);
    let port80 = Port80::start(&[("pi", home.address)]);
    let mut visitor = port80.dial();
    visitor
        .write_all(
            b"POST http://pi.example.com/a?b HTTP/1.1\r\nHost: other.example.com\r\n\
              X-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.7\r\nX-Real-IP: 6.6.6.8\r\n\
              Connection: keep-alive, X-Forwarded-Proto, X-Hop, Upgrade, HTTP2-Settings\r\n\
              X-Hop: 1\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nKeep-Alive: 5\r\n\
              Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nTrailer: 1\r\n\r\n",
        )
        .unwrap();
    let stream = connections.next();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "POST /a?b HTTP/1.1\r\n");
    let mut fields: Vec<(String, String)> = read_head(&mut reader).unwrap().into_iter().collect();
    fields.sort();
    let expected = [
        ("host", "pi.example.com".to_owned()),
        ("transfer-encoding", "chunked".to_owned()),
        ("x-forwarded-for", "127.0.0.1".to_owned()),
        ("x-forwarded-host", "pi.example.com".to_owned()),
        ("x-forwarded-port", port80.http.port().to_string()),
        ("x-forwarded-proto", "http".to_owned()),
        ("x-real-ip", "127.0.0.1".to_owned()),
    ];
    let expected: Vec<_> = expected.into_iter().map(|(name, v)| (name.to_owned(), v)).collect();
    assert_eq!(fields, expected);
    let mut body = [0; 13];
    reader.read_exact(&mut body).unwrap();
    assert_eq!(&body, b"3\r\nabc\r\n0\r\n\r\n");
    (&stream).write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
    let mut reader = BufReader::new(visitor);
    assert_eq!(read_response(&mut reader).0, "HTTP/1.1 204 No Content");
}

#[test]
fn a_gigabyte_each_way_over_http() {
    const SIZE: u64 = 1 << 30;
    let _alone = alone();
    let (port80, pi, _local) = two_sites();
    let before = settled(&port80.processes());
    let file = pi.www().join("big");
    let expected = write_noise(&file, SIZE);
    let mut curl = port80.curl("http://pi.example.com/files/big");
    let mut child = curl.stdout(Stdio::piped()).spawn().unwrap();
    assert_eq!(digest(child.stdout.as_mut().unwrap()).unwrap(), (SIZE, expected.clone()));
    assert!(child.wait().unwrap().success());
    // With Expect: 100-continue, which curl sends by itself for a body of this size.
    let mut curl = port80.curl("http://local.example.com/up");
    let output = run(curl.arg("-T").arg(&file), b"");
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{SIZE} {expected}\n"));
    // Chunked: curl does not know the length of its standard input. nginx gives it a length.
    let mut curl = port80.curl("http://local.example.com/up");
    curl.args(["-T", "-", "-H", "Expect:"]).stdin(File::open(&file).unwrap());
    let output = curl.stdout(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    returns_to(&before, &port80.processes());
}

#[test]
fn a_websocket_becomes_a_raw_relay() {
    let (port80, _pi, _local) = two_sites();
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    let mut stream = port80.dial();
    write!(
        stream,
        "GET /ws HTTP/1.1\r\nHost: pi.example.com\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )
    .unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut status = String::new();
    reader.read_line(&mut status).unwrap();
    assert!(status.starts_with("HTTP/1.1 101 "), "{status}");
    assert_eq!(read_head(&mut reader).unwrap()["sec-websocket-accept"], websocket_accept(key));
    for length in [0, 5, 126, 70_000] {
        let payload: Vec<u8> = (0..length).map(|at| at as u8).collect();
        let frame = Frame { opcode: Frame::BINARY, payload };
        frame.write(&mut stream, Some([1, 2, 3, 4])).unwrap();
        assert!(Frame::read(&mut reader).unwrap() == frame, "{length} bytes");
    }
    let bye = Frame { opcode: Frame::CLOSE, payload: vec![3, 232] };
    bye.write(&mut stream, Some([0; 4])).unwrap();
    assert!(Frame::read(&mut reader).unwrap() == bye);
    assert_eq!(reader.read(&mut [0]).unwrap(), 0, "the home's end arrives");
}

#[test]
fn events_arrive_one_by_one_and_a_visitor_that_leaves_is_noticed() {
    let (home, connections) = Home::by_hand(Vps::new().ip);
    let port80 = Port80::start(&[("pi", home.address)]);
    let before = settled(&port80.processes());
    let mut visitor = port80.dial();
    visitor.write_all(get("pi.example.com", "Accept: text/event-stream\r\n").as_bytes()).unwrap();
    let mut stream = connections.next();
    read_head(&mut BufReader::new(stream.try_clone().unwrap())).unwrap();
    stream
        .write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                     Transfer-Encoding: chunked\r\n\r\n",
        )
        .unwrap();
    let mut reader = BufReader::new(visitor);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    read_head(&mut reader).unwrap();
    for number in 0..20 {
        let start = Instant::now();
        let event = format!("data: {number}\n\n");
        write!(stream, "{:x}\r\n{event}\r\n", event.len()).unwrap();
        let mut chunk = vec![0; format!("{:x}\r\n{event}\r\n", event.len()).len()];
        reader.read_exact(&mut chunk).unwrap();
        assert!(start.elapsed() < Duration::from_secs(1), "event {number}");
        assert!(String::from_utf8(chunk).unwrap().contains(&event));
    }
    // The visitor goes; the home's next words find nobody, and its connection ends.
    drop(reader);
    wait_until(PATIENCE, "the home's connection ends", || stream.write_all(b"1\r\n.\r\n").is_err());
    returns_to(&before, &port80.processes());
}

#[test]
fn an_early_answer_and_a_home_that_breaks_off() {
    let (home, connections) = Home::by_hand(Vps::new().ip);
    let port80 = Port80::start(&[("pi", home.address)]);
    // 413 while the body is still coming.
    let mut visitor = port80.dial();
    visitor
        .write_all(b"POST /up HTTP/1.1\r\nHost: pi.example.com\r\nContent-Length: 9999\r\n\r\nab")
        .unwrap();
    let mut stream = connections.next();
    read_head(&mut BufReader::new(stream.try_clone().unwrap())).unwrap();
    stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno").unwrap();
    let mut reader = BufReader::new(visitor.try_clone().unwrap());
    let (status, body) = read_response(&mut reader);
    assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 413 Too Large", "no"));
    drop((stream, visitor, reader));
    // Before its first byte: 502. Behind it: never an answer that looks whole.
    for (said, seen) in [("", "502"), ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "cut")] {
        let mut visitor = port80.dial();
        visitor.write_all(get("pi.example.com", "").as_bytes()).unwrap();
        let mut stream = connections.next();
        read_head(&mut BufReader::new(stream.try_clone().unwrap())).unwrap();
        stream.write_all(said.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Both).unwrap();
        let mut answer = Vec::new();
        // The wait is for the bytes; the end, of either kind, comes behind them.
        let end = eventually(PATIENCE, "an end", || {
            let mut piece = [0; 4096];
            match visitor.read(&mut piece) {
                Ok(0) => Some(Ok(())),
                Ok(length) => {
                    answer.extend_from_slice(&piece[..length]);
                    seen.eq("502").then_some(Ok(()))
                }
                Err(error) => Some(Err(error)),
            }
        });
        let text = String::from_utf8_lossy(&answer);
        match seen {
            "502" => assert!(text.starts_with("HTTP/1.1 502 "), "{text}"),
            _ => assert!(end.is_err(), "a cut answer ends with a reset: {text}"),
        }
    }
}

#[test]
fn p3_a_slow_head_ends_in_time() {
    let port80 = Port80::start(&[]);
    let start = Instant::now();
    let drip = |text: &'static str| {
        let mut stream = port80.dial();
        move || {
            let mut answer = String::new();
            for byte in text.bytes().cycle().take(30) {
                if stream.write_all(&[byte]).is_err() {
                    break;
                }
                thread::sleep(Duration::from_millis(500));
                if start.elapsed() > Duration::from_secs(12) {
                    break;
                }
            }
            let _ = stream.read_to_string(&mut answer);
            (answer, start.elapsed())
        }
    };
    let (slow, silent) = (thread::spawn(drip("GET /aaaaaaaaaaaaaaaaaaaaaaaa")), port80.dial());
    let mut end = String::new();
    (&silent).read_to_string(&mut end).unwrap();
    assert_eq!(end, "", "who has said nothing is owed nothing");
    assert!((9..14).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    let (answer, after) = slow.join().unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(after < Duration::from_secs(16), "{after:?}");
}
