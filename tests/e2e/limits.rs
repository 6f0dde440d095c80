//! Limits that a person sets: who may come, how many at once, how often, how fast, how long they
//! may take. For each way in, with the words that the access log has for it.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{PATIENCE, Proc, SECRET, alone, free_port, wait_until};
use crate::home::Home;
use crate::house::{Vps, client_port, client_service, server_port, server_service};
use crate::http_house::{Message, Peer, answering, get, naming, ok};
use crate::udp::{UdpHome, ask, client_udp, datagram, quoted, server_udp, turned};
use crate::visitor::{INTERNAL_ERROR, Seen, client_hello, connect_from, home, look};

/// Three networks that visitors come from.
const ONE: Ipv4Addr = Ipv4Addr::new(127, 99, 1, 5);
const TWO: Ipv4Addr = Ipv4Addr::new(127, 99, 2, 5);
const THREE: Ipv4Addr = Ipv4Addr::new(127, 99, 3, 5);

/// A home that both entries and a port of its own lead to, with limits on each of its services, and
/// another one without.
struct House {
    http: SocketAddr,
    https: SocketAddr,
    port: SocketAddr,
    _homes: [Home; 3],
    _server: Proc,
    _client: Proc,
    /// Last, for the directory that holds everybody's logs.
    vps: Vps,
}

impl House {
    /// `of_server` is for `[server]`, `of_services` for each limited service.
    fn new(of_server: &str, of_services: &str, web: Home, echo: Home) -> House {
        let mut vps = Vps::new();
        let (http, port) = (free_port(vps.ip), free_port(vps.ip));
        let log = vps.dir.path("access.log");
        vps.server_extra = format!(
            "http_addr = \"{http}\"\n{of_server}\n\
             access_log = {{ path = \"{}\", format = \"json\" }}\n",
            log.display()
        );
        let site = |name: &str, more: &str| {
            format!(
                "[server.services.{name}]\ntype = \"http\"\ntoken = \"{SECRET}-{name}\"\n\
                 hosts = [\"{name}.example.com\"]\n{more}\n"
            )
        };
        let free = naming(vps.ip, "free");
        let services = site("web", of_services)
            + &site("free", "")
            + &server_service("tls", &["tls.example.com"])
            + of_services
            + "\n"
            + &server_port("port", port)
            + of_services
            + "\n";
        let server = vps.server(&services);
        let local = |name: &str, home: SocketAddr| {
            format!(
                "[client.services.{name}]\ntype = \"http\"\ntoken = \"{SECRET}-{name}\"\n\
                 local_addr = \"{home}\"\n"
            )
        };
        let services = local("web", web.address)
            + &local("free", free.address)
            + &client_service("tls", echo.address)
            + &client_port("port", echo.address);
        let client = vps.client_ready("client", &services);
        let (https, homes) = (vps.https, [web, echo, free]);
        House { http, https, port, _homes: homes, _server: server, _client: client, vps }
    }

    /// With homes that answer and echo.
    fn plain(of_server: &str, of_services: &str) -> House {
        let ip = Ipv4Addr::LOCALHOST;
        House::new(of_server, of_services, naming(ip, "web"), Home::echo(ip))
    }

    fn ask(&self, from: Ipv4Addr, host: &str) -> Message {
        let mut visitor = Peer::new(come(from, self.http));
        visitor.say(get(host, "/"));
        visitor.response("GET")
    }

    /// Says a hello, and looks who answers; `None`: what was said comes back.
    fn greet(&self, from: Ipv4Addr) -> (TcpStream, Option<Seen>) {
        echoed(come(from, self.https), &client_hello(Some("tls.example.com")))
    }

    fn enter(&self, from: Ipv4Addr) -> (TcpStream, Option<Seen>) {
        echoed(come(from, self.port), b"anybody?\n")
    }

    /// How many lines of the access log an entry and an end have, once there are `expected`.
    #[track_caller]
    fn wait_logged(&self, entry: &str, end: &str, expected: usize) {
        let path = self.vps.dir.path("access.log");
        let mut found = 0;
        wait_until(PATIENCE, &format!("{expected} lines of {entry} with {end}"), || {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            found = lines.filter(|line| line["entry"] == entry && line["end"] == end).count();
            found >= expected
        });
        assert_eq!(found, expected, "{entry} {end}");
    }
}

fn come(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let stream = connect_from(from, to).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Whether a connection is one to an echo.
fn echoed(mut stream: TcpStream, said: &[u8]) -> (TcpStream, Option<Seen>) {
    // One that is closed already may be reset by it.
    let _ = stream.write_all(said);
    let mut first = [0];
    match stream.peek(&mut first) {
        Ok(1) if first[0] == said[0] => {
            let mut back = vec![0; said.len()];
            stream.read_exact(&mut back).unwrap();
            assert_eq!(back, said);
            (stream, None)
        }
        _ => {
            let seen = look(&mut stream);
            (stream, Some(seen))
        }
    }
}

/// Whether a connection is ended before it has said anything; a reset may come as early as in
/// connect.
fn is_shut(from: Ipv4Addr, door: SocketAddr) -> bool {
    let Ok(mut stream) = connect_from(from, door) else { return true };
    if stream.set_read_timeout(Some(PATIENCE)).is_err() {
        return true;
    }
    matches!(look(&mut stream), Seen::Closed | Seen::Reset)
}

/// Ended without a word.
fn is_closed(seen: Option<Seen>) -> bool {
    matches!(seen, Some(Seen::Closed | Seen::Reset))
}

#[test]
fn the_house_and_each_service_say_who_may_come() {
    let house = House::plain("deny = \"127.99.1.0/24\"", "deny = \"127.99.2.5\"");
    // The house does not wait for a word.
    for door in [house.http, house.https, house.port] {
        assert!(is_shut(ONE, door));
    }
    // Nor does a service that has the port to itself.
    assert!(is_shut(TWO, house.port));
    assert!(is_closed(house.greet(TWO).1));
    let refused = house.ask(TWO, "web.example.com");
    assert_eq!((refused.status(), refused.field("retry-after")), (403, None));
    assert_eq!(house.ask(TWO, "free.example.com").text(), "free /", "only to that service");
    for other in [THREE, Ipv4Addr::new(127, 99, 2, 6)] {
        assert_eq!(house.ask(other, "web.example.com").text(), "web /");
        assert_eq!(house.greet(other).1, None);
        assert_eq!(house.enter(other).1, None);
    }
    house.wait_logged("https", "denied", 2);
    house.wait_logged("tcp", "denied", 2);
    house.wait_logged("http", "denied", 1);
}

#[test]
fn with_an_allow_nobody_else_may_come() {
    let house = House::plain(
        "",
        "allow = [\"127.99.2.0/24\", \"127.99.0.0/16\"]\ndeny = \"127.99.1.0/24\"",
    );
    for from in [ONE, Ipv4Addr::LOCALHOST] {
        assert_eq!(house.ask(from, "web.example.com").status(), 403);
        assert!(is_closed(house.greet(from).1) && is_closed(house.enter(from).1));
    }
    assert_eq!(house.ask(TWO, "web.example.com").status(), 200);
    assert_eq!(house.greet(TWO).1, None);
    assert_eq!(house.enter(THREE).1, None);
}

/// It is the visitor that counts, not the load balancer that brings it.
#[test]
fn who_comes_through_a_proxy_is_known_by_its_header() {
    let limits = "trusted_proxies = \"127.99.3.0/24\"\n\
                  deny = [\"192.0.2.0/28\", \"127.99.3.0/24\"]";
    let house = House::plain(limits, "deny = \"192.0.2.16/28\"");
    let seen = |visitor: &str, door: SocketAddr, said: &[u8]| {
        let mut stream = come(THREE, door);
        let header = format!("PROXY TCP4 {visitor} 198.51.100.1 5000 443\r\n");
        stream.write_all(header.as_bytes()).unwrap();
        echoed(stream, said).1
    };
    let hello = client_hello(Some("tls.example.com"));
    for visitor in ["192.0.2.1", "192.0.2.17"] {
        assert!(is_closed(seen(visitor, house.https, &hello)), "{visitor}");
        assert!(is_closed(seen(visitor, house.port, b"x")), "{visitor}");
    }
    assert_eq!(seen("192.0.2.33", house.https, &hello), None);
    assert_eq!(seen("192.0.2.33", house.port, b"x"), None);
    // Its own checks are no visitor's.
    let mut check = come(THREE, house.https);
    check.write_all(b"PROXY UNKNOWN\r\n").unwrap();
    assert_eq!(echoed(check, &hello).1, None);
    let mut visitor = Peer::new(come(THREE, house.http));
    visitor.say(format!(
        "PROXY TCP4 192.0.2.17 198.51.100.1 5000 80\r\n{}",
        get("web.example.com", "/")
    ));
    assert_eq!(visitor.response("GET").status(), 403);
}

#[test]
fn a_full_service_says_so_and_has_room_again() {
    let (web, connections) = Home::by_hand(Ipv4Addr::LOCALHOST);
    let house = House::new("", "max_visitors = 2", web, Home::echo(Ipv4Addr::LOCALHOST));
    let mut held: Vec<TcpStream> = [ONE, TWO].map(|from| house.greet(from).0).into();
    assert_eq!(house.greet(THREE).1, Some(Seen::Alert(INTERNAL_ERROR)));
    held.extend([ONE, TWO].map(|from| house.enter(from).0));
    assert!(is_closed(house.enter(THREE).1));
    house.wait_logged("https", "service_full", 1);
    house.wait_logged("tcp", "service_full", 1);
    drop(held);
    let served = || house.greet(THREE).1.is_none() && house.enter(THREE).1.is_none();
    wait_until(PATIENCE, "there is room again", served);

    // Over HTTP it is requests under way that count, not connections that are kept.
    let mut under_way = [ONE, TWO].map(|from| {
        let mut visitor = Peer::new(come(from, house.http));
        visitor.say(get("web.example.com", "/"));
        (visitor, Peer::new(connections.next()))
    });
    let mut third = Peer::new(come(THREE, house.http));
    third.say(get("web.example.com", "/"));
    let full = third.response("GET");
    assert_eq!((full.status(), full.field("retry-after")), (503, Some("10")));
    assert!(full.text().contains("many visitors"), "{}", full.text());
    assert_eq!(house.ask(THREE, "free.example.com").status(), 200);
    let (visitor, at_home) = &mut under_way[0];
    at_home.request();
    at_home.say(ok("first"));
    assert_eq!(visitor.response("GET").text(), "first");
    third.say(get("web.example.com", "/again"));
    let mut at_home = Peer::new(connections.next());
    assert_eq!(at_home.request().path(), "/again");
    at_home.say(ok("third"));
    assert_eq!(third.response("GET").text(), "third");
    house.wait_logged("http", "service_full", 1);
}

#[test]
fn who_comes_too_often_is_told_when_to_come_again() {
    let house = House::plain("", "rate = { per_second = 1, burst = 3 }");
    // Each request on a connection counts.
    let mut visitor = Peer::new(come(ONE, house.http));
    let mut ask = |path: &str| {
        visitor.say(get("web.example.com", path));
        visitor.response("GET")
    };
    assert_eq!(["/1", "/2", "/3"].map(|path| ask(path).status()), [200; 3]);
    let refused = ask("/4");
    assert_eq!((refused.status(), refused.field("retry-after")), (429, Some("1")));
    assert_eq!(house.ask(TWO, "web.example.com").status(), 200, "another network has its own");
    assert_eq!(house.ask(ONE, "free.example.com").status(), 200, "and another service");
    thread::sleep(Duration::from_millis(1100));
    assert_eq!(ask("/5").status(), 200, "the connection lives on, and there is a token again");
    house.wait_logged("http", "rate_limited", 1);
    for entry in [House::greet, House::enter] {
        let seen = [(); 3].map(|()| entry(&house, ONE).1);
        assert_eq!(seen, [None, None, None]);
        assert!(is_closed(entry(&house, ONE).1));
        assert_eq!(entry(&house, TWO).1, None);
    }
    house.wait_logged("https", "rate_limited", 1);
    house.wait_logged("tcp", "rate_limited", 1);
}

/// All that a network does counts together at the door of the house.
#[test]
fn the_house_has_a_rate_of_its_own() {
    let house = House::plain("rate = { per_second = 1, burst = 4 }", "");
    assert_eq!(house.greet(ONE).1, None);
    assert_eq!(house.enter(ONE).1, None);
    assert_eq!(house.ask(ONE, "nobody.example.com").status(), 404);
    assert_eq!(house.ask(ONE, "web.example.com").status(), 200);
    assert_eq!(house.ask(ONE, "free.example.com").status(), 429);
    assert!(is_closed(house.greet(ONE).1) && is_closed(house.enter(ONE).1));
    assert_eq!(house.ask(TWO, "web.example.com").status(), 200);
}

/// How many bytes come in `time`.
fn read_for(stream: &mut TcpStream, time: Duration) -> u64 {
    let (start, mut total, mut buffer) = (Instant::now(), 0, vec![0; 64 * 1024]);
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    while start.elapsed() < time {
        if let Ok(length) = stream.read(&mut buffer) {
            total += length as u64;
        }
    }
    total
}

/// A service's bytes go at its rate, each way, and its visitors share it.
#[test]
fn a_service_has_its_bandwidth_and_its_visitors_share_it() {
    const RATE: f64 = 2e6;
    let _alone = alone();
    let ip = Ipv4Addr::LOCALHOST;
    let page = "x".repeat(3_000_000);
    let web = answering(ip, move |request| {
        let size = request.path()[1..].parse().unwrap();
        ok(&page[..size])
    });
    let flood = Home::start(ip, |mut stream| {
        let mut word = [0; 4];
        let _ = stream.read_exact(&mut word);
        match &word {
            b"down" => while stream.write_all(&[7; 65_536]).is_ok() {},
            _ => _ = std::io::copy(&mut stream, &mut std::io::sink()),
        }
    });
    let house = House::new("", "bandwidth = \"2 MB/s\"", web, flood);
    let begin = |word: &[u8]| {
        let mut stream = come(ONE, house.port);
        stream.write_all(word).unwrap();
        stream
    };
    // Two downloads for three seconds. What is on its way in buffers when it begins is no more than
    // some hundred kilobytes; an unlimited one moves hundreds of megabytes.
    let time = Duration::from_secs(3);
    let mut downs = [begin(b"down"), begin(b"down")];
    let moved: Vec<u64> = thread::scope(|scope| {
        let reading: Vec<_> =
            downs.iter_mut().map(|stream| scope.spawn(|| read_for(stream, time))).collect();
        // Another service is not held up, nor is the other way.
        assert_eq!(house.ask(TWO, "free.example.com").status(), 200);
        reading.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    drop(downs);
    let all = moved.iter().sum::<u64>() as f64;
    assert!((0.7 * RATE * 3.0..1.1 * RATE * 3.0).contains(&all), "{moved:?}");
    assert!(moved[0].abs_diff(moved[1]) as f64 <= 0.25 * all, "not shared: {moved:?}");

    // An upload, whose sender is not told that it is slow but by TCP.
    let mut up = begin(b"up..");
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < time {
        sent += up.write(&[7; 65_536]).unwrap();
    }
    // Beside the rate there is what fits into the buffers on the way.
    assert!(sent as f64 <= 1.1 * RATE * 3.0 + 8e6, "{sent}");

    // Over HTTP, both a response and a request's body.
    let mut visitor = Peer::new(come(TWO, house.http));
    drop(up);
    let start = Instant::now();
    visitor.say(get("web.example.com", "/3000000"));
    assert_eq!(visitor.response("GET").body.len(), 3_000_000);
    assert!(start.elapsed() > Duration::from_millis(1300), "{:?}", start.elapsed());
    let start = Instant::now();
    let body = "y".repeat(3_000_000);
    let head = "POST /0 HTTP/1.1\r\nHost: web.example.com\r\nContent-Length: 3000000\r\n\r\n";
    visitor.say(head.to_owned() + &body);
    assert_eq!(visitor.response("POST").status(), 200);
    assert!(start.elapsed() > Duration::from_millis(1300), "{:?}", start.elapsed());
}

#[test]
fn all_services_share_the_bandwidth_of_the_house() {
    let _alone = alone();
    let ip = Ipv4Addr::LOCALHOST;
    let flood = Home::start(ip, |mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        while stream.write_all(&[7; 65_536]).is_ok() {}
    });
    let house = House::new("bandwidth = \"16 Mbit/s\"", "", naming(ip, "web"), flood);
    let mut tls = come(ONE, house.https);
    tls.write_all(&client_hello(Some("tls.example.com"))).unwrap();
    let mut port = come(TWO, house.port);
    port.write_all(b"?").unwrap();
    let time = Duration::from_secs(3);
    let moved: Vec<u64> = thread::scope(|scope| {
        let readers = [&mut tls, &mut port];
        let reading = readers.map(|stream| scope.spawn(|| read_for(stream, time)));
        reading.map(|reader| reader.join().unwrap()).into()
    });
    let all = moved.iter().sum::<u64>() as f64;
    assert!((0.7 * 6e6..1.1 * 6e6).contains(&all), "{moved:?}");
    assert!(moved[0].abs_diff(moved[1]) as f64 <= 0.25 * all, "not shared: {moved:?}");
}

#[test]
fn timeouts_are_as_the_file_has_them() {
    let ip = Ipv4Addr::LOCALHOST;
    let web = answering(ip, |request| {
        if request.path() == "/slow" {
            thread::sleep(Duration::from_secs(3));
        }
        ok("here")
    });
    let mut vps = Vps::new();
    let http = free_port(vps.ip);
    vps.server_extra = format!("http_addr = \"{http}\"\nhead_timeout = 2\nidle_timeout = 1\n");
    let site = |name: &str, more: &str| {
        format!(
            "[server.services.{name}]\ntype = \"http\"\ntoken = \"{SECRET}-{name}\"\n\
             hosts = [\"{name}.example.com\"]\n{more}\n"
        )
    };
    let services = site("quick", "response_timeout = 1") + &site("calm", "idle_timeout = 30");
    let _server = vps.server(&services);
    let local = |name: &str| {
        format!(
            "[client.services.{name}]\ntype = \"http\"\ntoken = \"{SECRET}-{name}\"\n\
             local_addr = \"{}\"\n",
            web.address
        )
    };
    let _client = vps.client_ready("client", &(local("quick") + &local("calm")));
    let ask = |host: &str, path: &str| {
        let mut visitor = Peer::new(come(ONE, http));
        let start = Instant::now();
        visitor.say(get(host, path));
        let status = visitor.response("GET").status();
        (status, start.elapsed(), visitor)
    };
    // The home has its time, whichever the service's is.
    let (status, took, _) = ask("quick.example.com", "/slow");
    assert!(status == 504 && took >= Duration::from_secs(1), "{status} after {took:?}");
    assert_eq!(ask("calm.example.com", "/slow").0, 200);
    // So has the visitor between two requests.
    let until_closed = |visitor: &mut Peer| {
        let start = Instant::now();
        assert_eq!(visitor.stream.read(&mut [0]).unwrap(), 0);
        start.elapsed()
    };
    let took = until_closed(&mut ask("quick.example.com", "/").2);
    assert!((900..10_000).contains(&took.as_millis()), "{took:?}");
    let mut calm = ask("calm.example.com", "/").2;
    thread::sleep(Duration::from_millis(2500));
    calm.say(get("calm.example.com", "/"));
    assert_eq!(calm.response("GET").status(), 200);
    // And for its first head.
    let start = Instant::now();
    let mut half = come(ONE, vps.https);
    half.write_all(&client_hello(Some("x"))[..20]).unwrap();
    assert_eq!(look(&mut half), Seen::Closed);
    let took = start.elapsed();
    assert!((1900..9_000).contains(&took.as_millis()), "{took:?}");
    let mut half = Peer::new(come(ONE, http));
    half.say("GET / HTT");
    assert_eq!(half.response("GET").status(), 408);
}

#[test]
fn datagrams_have_limits_too() {
    let vps = Vps::new();
    let [listed, limited, narrow] = [(); 3].map(|()| free_port(vps.ip));
    let there = UdpHome::turning((vps.ip, 0).into());
    let services = server_udp("listed", &quoted(listed), "deny = \"127.99.1.0/24\"")
        + &server_udp("limited", &quoted(limited), "rate = { per_second = 1, burst = 2 }")
        + &server_udp("narrow", &quoted(narrow), "bandwidth = \"100 kB/s\"");
    let _server = vps.server(&services);
    let services = ["listed", "limited", "narrow"]
        .map(|name| client_udp(name, &there.address.to_string()))
        .concat();
    let _client = vps.client_ready("client", &services);
    let visitor = |from: Ipv4Addr, to: SocketAddr| {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        socket.connect(to).unwrap();
        socket
    };
    let question = datagram(1, 100);
    let is_it = |answer: &[u8]| answer == turned(&question);
    let silent = |socket: &UdpSocket| {
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        socket.send(&question).unwrap();
        socket.recv(&mut [0; 200]).is_err()
    };
    ask(&visitor(TWO, listed), &question, is_it);
    assert!(silent(&visitor(ONE, listed)));
    // Two sessions at once, and what is begun goes on; of another network, others.
    let first = visitor(ONE, limited);
    ask(&first, &question, is_it);
    ask(&visitor(ONE, limited), &question, is_it);
    let refused = (0..3).filter(|_| silent(&visitor(ONE, limited))).count();
    assert!(refused >= 2, "{refused}");
    ask(&first, &question, is_it);
    ask(&visitor(TWO, limited), &question, is_it);
    // 1 MB of datagrams in no time: some 16 KB of them have an answer, and later ones again.
    let socket = visitor(ONE, narrow);
    let big = datagram(2, 1000);
    for _ in 0..1000 {
        let _ = socket.send(&big);
    }
    let mut answers = 0;
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    while socket.recv(&mut [0; 2000]).is_ok() {
        answers += 1;
    }
    assert!((1..300).contains(&answers), "{answers} answers");
    ask(&socket, &big, |answer| answer == turned(&big));
}

/// What has limits may also be told from what has none: nothing of this is on by default.
#[test]
fn without_limits_nobody_is_refused() {
    let house = House::plain("", "");
    for _ in 0..50 {
        assert_eq!(house.greet(ONE).1, None);
        assert_eq!(house.enter(ONE).1, None);
        assert_eq!(house.ask(ONE, "web.example.com").text(), "web /");
    }
    assert_eq!(crate::visitor::visit(house.https, "ready.test"), home("ready"));
}
