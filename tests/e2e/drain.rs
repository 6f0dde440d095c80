//! The way to the end: whoever is here when a signal comes is served, nobody new is, and the other
//! side is told.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{PATIENCE, Proc, SECRET, free_port, wait_until};
use crate::home::{Connections, Home};
use crate::house::{Vps, client_port, client_service, server_port, server_service};
use crate::http_house::{End, Estate, Lot, Peer, get, ok};
use crate::visitor::{INTERNAL_ERROR, Seen, client_hello, connect, connect_from, home, visit};

/// Longer than any test: whoever ends sooner ends since nobody is left.
const LONG: &str = "drain_time = 600\n";

/// A server and a client of this file's lines, with `pi` on both entries, played by hand.
struct Stage {
    connections: Connections,
    _home: Home,
    estate: Estate,
}

impl Stage {
    fn new(drain: &str) -> Stage {
        Stage::with(drain, "")
    }

    /// The same, with more lines of the server's.
    fn with(drain: &str, lines: &str) -> Stage {
        let mut vps = Vps::new();
        vps.server_extra = format!("{drain}{lines}");
        vps.client_extra = drain.to_owned();
        let (home, connections) = Home::by_hand(vps.ip);
        let lot = Lot::web("pi", home.address, home.address);
        Stage { connections, _home: home, estate: Estate::on(vps, vec![lot]) }
    }

    /// A visitor of the TLS entry, and the home's end of it.
    fn passed_through(&self) -> (Peer, Peer) {
        let hello = client_hello(Some("pi.example.com"));
        let mut visitor = Peer::new(connect(self.estate.vps.https).unwrap());
        visitor.say(&hello);
        let mut home = self.connections.peer();
        assert_eq!(home.bytes(hello.len()), hello);
        (visitor, home)
    }

    /// A visitor who waits for its answer, and the home's end of it.
    fn asking(&self) -> (Peer, Peer) {
        let mut visitor = self.estate.visitor();
        visitor.say(get("pi.example.com", "/"));
        let mut home = self.connections.peer();
        home.request();
        (visitor, home)
    }

    /// A visitor whose connection is kept for a next request.
    fn kept(&self) -> (Peer, Peer) {
        let (mut visitor, mut home) = self.asking();
        home.say(ok("first"));
        assert_eq!(visitor.response("GET").text(), "first");
        (visitor, home)
    }

    fn stop_server(&self) {
        stop(&self.estate.server);
    }
}

/// SIGTERM, and the moment from which it counts.
fn stop(process: &Proc) {
    process.signal(Signal::TERM);
    process.wait_for_log(&["stopping: no new visitors"]);
}

#[track_caller]
fn ends(process: &mut Proc) {
    let status = process.wait_exit(PATIENCE);
    assert!(status.success(), "{status}");
}

/// Both directions of a connection that is passed through.
#[track_caller]
fn flows(visitor: &mut Peer, home: &mut Peer) {
    visitor.say("to the home");
    assert_eq!(home.bytes(11), b"to the home");
    home.say("to the visitor");
    assert_eq!(visitor.bytes(14), b"to the visitor");
}

#[track_caller]
fn assert_refused(address: SocketAddr) {
    let refused = TcpStream::connect(address).map(drop).map_err(|error| error.kind());
    assert_eq!(refused, Err(ErrorKind::ConnectionRefused), "{address}");
}

#[test]
fn whoever_is_under_way_is_served_and_the_last_one_ends_it() {
    let mut stage = Stage::new(LONG);
    let (mut asking, mut asked) = stage.asking();
    let (mut reading, mut said) = stage.asking();
    said.say("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n");
    said.say(vec![b'x'; 100_000]);
    assert_eq!(reading.bytes(17), b"HTTP/1.1 200 OK\r\n");
    let (mut visitor, mut home) = stage.passed_through();
    stage.stop_server();
    for address in [stage.estate.http, stage.estate.vps.https, stage.estate.vps.tunnel] {
        assert_refused(address);
    }
    // An answer that has not begun says that it is the last one.
    asked.say(ok("whole"));
    let answer = asking.response("GET");
    assert_eq!((answer.text(), answer.field("connection")), ("whole", Some("close")));
    assert_eq!(asking.rest(), (vec![], End::Fin));
    // One that has begun is whole.
    said.say(vec![b'y'; 100_000]);
    let (rest, end) = reading.rest();
    assert!(rest.ends_with(&vec![b'y'; 100_000]), "{} bytes", rest.len());
    assert_eq!(end, End::Fin);
    flows(&mut visitor, &mut home);
    stage.estate.server.assert_running();
    home.say("the last word");
    home.finish();
    assert_eq!(visitor.rest(), (b"the last word".to_vec(), End::Fin));
    visitor.finish();
    assert_eq!(home.rest(), (vec![], End::Fin));
    ends(&mut stage.estate.server);
}

#[test]
fn who_is_longer_than_the_time_is_cut_off_and_knows_it() {
    let mut stage = Stage::new("drain_time = 2\n");
    let (mut visitor, mut home) = stage.passed_through();
    let (mut asking, mut asked) = stage.asking();
    asked.say("HTTP/1.1 200 OK\r\n\r\nthe beginning of what has no length");
    assert_eq!(asking.bytes(17), b"HTTP/1.1 200 OK\r\n");
    let begin = Instant::now();
    stage.stop_server();
    flows(&mut visitor, &mut home);
    assert_eq!(visitor.rest(), (vec![], End::Reset));
    let took = begin.elapsed();
    assert!((2.0..10.0).contains(&took.as_secs_f64()), "cut off after {took:?}");
    assert_eq!(asking.rest().1, End::Reset);
    assert_eq!(home.rest().1, End::Reset);
    ends(&mut stage.estate.server);
}

#[test]
fn a_kept_connection_is_closed_and_a_request_that_has_begun_is_the_last() {
    let mut stage = Stage::new(LONG);
    let (mut kept, mut kept_at_home) = stage.kept();
    let (mut begun, mut home_of_begun) = stage.kept();
    let request = get("pi.example.com", "/second");
    begun.say(&request[..30]);
    let mut silent = stage.estate.visitor();
    let mut new = stage.estate.visitor();
    new.say(&request[..30]);
    let (mut visitor, mut home) = stage.passed_through();
    stage.stop_server();
    // One who has never asked for anything has a moment more; the home has an end, too.
    for closed in [&mut kept, &mut silent, &mut kept_at_home] {
        assert_eq!(closed.rest(), (vec![], End::Fin));
    }
    begun.say(&request[30..]);
    assert_eq!(home_of_begun.request().path(), "/second");
    home_of_begun.say(ok("second"));
    new.say(&request[30..]);
    let mut home_of_new = stage.connections.peer();
    home_of_new.request();
    home_of_new.say(ok("second"));
    for mut last in [begun, new] {
        let answer = last.response("GET");
        assert_eq!((answer.text(), answer.field("connection")), ("second", Some("close")));
        assert_eq!(last.rest(), (vec![], End::Fin));
    }
    flows(&mut visitor, &mut home);
    stage.estate.server.assert_running();
    drop((visitor, home));
    ends(&mut stage.estate.server);
}

/// Its next check is refused; one that has begun is answered.
#[test]
fn a_load_balancer_s_check_says_that_it_ends() {
    let source = Ipv4Addr::new(127, 99, 0, 23);
    let mut stage = Stage::with(LONG, &format!("trusted_proxies = [\"{source}\"]\n"));
    let check = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let come = || Peer::new(connect_from(source, stage.estate.http).unwrap());
    let (mut before, mut begun) = (come(), come());
    before.say(check);
    assert_eq!(before.response("GET").status(), 200);
    begun.say(&check[..20]);
    stop(&stage.estate.server);
    begun.say(&check[20..]);
    assert_eq!(begun.response("GET").status(), 503);
    ends(&mut stage.estate.server);
}

#[test]
fn a_second_signal_ends_it_at_once_and_so_does_no_time() {
    for (drain, second) in [(LONG, true), ("drain_time = 0\n", false)] {
        for role in ["server", "client"] {
            let mut stage = Stage::new(drain);
            let (mut visitor, mut home) = stage.passed_through();
            let process = match role {
                "server" => &mut stage.estate.server,
                _ => &mut stage.estate.clients[0],
            };
            if second {
                stop(process);
                flows(&mut visitor, &mut home);
            }
            process.signal(if second { Signal::INT } else { Signal::TERM });
            ends(process);
            assert_eq!(visitor.rest(), (vec![], End::Reset), "{role}");
            assert_eq!(home.rest(), (vec![], End::Reset), "{role}");
        }
    }
}

#[test]
fn without_visitors_either_role_ends_at_once() {
    let mut stage = Stage::new(LONG);
    drop(stage.kept());
    stage.estate.assert_steady();
    for process in [&mut stage.estate.clients[0], &mut stage.estate.server] {
        process.signal(Signal::TERM);
        ends(process);
    }
}

#[test]
fn a_home_that_stops_keeps_its_visitors_and_is_offline_for_others() {
    let mut stage = Stage::new(LONG);
    let (mut visitor, mut home) = stage.passed_through();
    let (mut asking, mut asked) = stage.asking();
    let (mut kept, mut kept_at_home) = stage.kept();
    stop(&stage.estate.clients[0]);
    stage.estate.server.wait_for_log(&["takes no new visitors"]);
    // Its connection is not held for a next request, which finds the home offline.
    assert_eq!(kept_at_home.rest(), (vec![], End::Fin));
    drop(kept_at_home);
    let answer = kept.get("pi.example.com", "/");
    assert_eq!((answer.status(), answer.field("connection")), (503, None));
    assert_eq!(visit(stage.estate.vps.https, "pi.example.com"), Seen::Alert(INTERNAL_ERROR));
    asked.say(ok("whole"));
    assert_eq!(asking.response("GET").text(), "whole");
    flows(&mut visitor, &mut home);
    stage.estate.clients[0].assert_running();
    home.finish();
    visitor.finish();
    assert_eq!(visitor.rest(), (vec![], End::Fin));
    ends(&mut stage.estate.clients[0]);
    stage.estate.server.assert_running();
}

/// As in an update at home: the new process is there before the old one has gone.
#[test]
fn another_client_may_have_the_services_of_one_that_stops() {
    let vps = Vps { client_extra: LONG.to_owned(), ..Vps::new() };
    let (old_home, connections) = Home::by_hand(vps.ip);
    let new_home = Home::named(vps.ip, "new");
    let _server = vps.server(&server_service("pi", &["pi.example.com"]));
    let mut old = vps.client_ready("old", &client_service("pi", old_home.address));
    let hello = client_hello(Some("pi.example.com"));
    let mut visitor = Peer::new(connect(vps.https).unwrap());
    visitor.say(&hello);
    let mut home = connections.peer();
    home.bytes(hello.len());
    let new = vps.client("new", &client_service("pi", new_home.address));
    vps.wait_served("pi.example.com", "new");
    // It has lost the service, and asks for it every few seconds, but not from now on.
    stop(&old);
    flows(&mut visitor, &mut home);
    for _ in 0..5 {
        assert_eq!(visit(vps.https, "pi.example.com"), self::home("new"));
    }
    drop((visitor, home));
    ends(&mut old);
    assert_eq!(visit(vps.https, "pi.example.com"), self::home("new"));
    drop(new);
}

#[test]
fn homes_are_told_and_are_back_soon_after_a_restart() {
    let mut stage = Stage::new(LONG);
    let (mut visitor, mut home) = stage.passed_through();
    stage.stop_server();
    stage.estate.clients[0].wait_for_log(&["is about to stop: no new visitors"]);
    flows(&mut visitor, &mut home);
    drop((visitor, home));
    ends(&mut stage.estate.server);
    let file = stage.estate.vps.dir.path("server.toml");
    let file = std::fs::read_to_string(file).unwrap();
    let back = Instant::now();
    stage.estate.server = stage.estate.vps.underpass("server", "--server", &file);
    wait_until(PATIENCE, "the home is back", || {
        let Ok(mut visitor) = connect(stage.estate.vps.https) else { return false };
        visitor.write_all(&client_hello(Some("pi.example.com"))).unwrap();
        let Some(mut home) = stage.connections.try_next() else { return false };
        home.read_exact(&mut [0; 5]).is_ok()
    });
    assert!(back.elapsed() < Duration::from_secs(10), "back after {:?}", back.elapsed());
}

#[test]
fn sessions_of_datagrams_go_on_as_long_as_others_do_and_none_begins() {
    let vps = Vps { server_extra: LONG.to_owned(), ..Vps::new() };
    let (door, tcp) = (free_port(vps.ip), free_port(vps.ip));
    let at_home = UdpSocket::bind((vps.ip, 0)).unwrap();
    at_home.set_read_timeout(Some(PATIENCE)).unwrap();
    let (stream_home, connections) = Home::by_hand(vps.ip);
    let mut server = vps.server(
        &(format!(
            "[server.services.udp]\ntype = \"udp\"\ntoken = \"{SECRET}-udp\"\n\
             bind_addr = \"{door}\"\n"
        ) + &server_port("tcp", tcp)),
    );
    let _client = vps.client_ready(
        "client",
        &(format!(
            "[client.services.udp]\ntype = \"udp\"\ntoken = \"{SECRET}-udp\"\n\
             local_addr = \"{}\"\n",
            at_home.local_addr().unwrap()
        ) + &client_port("tcp", stream_home.address)),
    );
    let visitor = || {
        let socket = UdpSocket::bind((vps.ip, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect(door).unwrap();
        socket
    };
    let echoes = |visitor: &UdpSocket, word: &[u8]| {
        let mut heard = [0; 16];
        visitor.send(word).unwrap();
        let (length, from) = at_home.recv_from(&mut heard).unwrap();
        assert_eq!(&heard[..length], word);
        at_home.send_to(word, from).unwrap();
        assert_eq!(visitor.recv(&mut heard).unwrap(), word.len());
    };
    let old = visitor();
    echoes(&old, b"before");
    let mut stream = connect(tcp).unwrap();
    stream.write_all(b"here").unwrap();
    let mut home = connections.peer();
    assert_eq!(home.bytes(4), b"here");
    stop(&server);
    visitor().send(b"new").unwrap();
    // What comes behind it is the old one's.
    echoes(&old, b"after");
    drop((stream, home));
    ends(&mut server);
}

/// rathole's protocol has no word for it: the closed control channel takes the service away, and
/// the data channels go on.
#[test]
fn a_client_of_a_rathole_server_drains_without_a_word() {
    let vps = Vps { client_extra: format!("protocol = \"rathole\"\n{LONG}"), ..Vps::new() };
    let (there, connections) = Home::by_hand(vps.ip);
    let port = free_port(vps.ip);
    let mut server = vps.server(&server_port("pi", port));
    let mut client = vps.client("client", &client_port("pi", there.address));
    client.wait_for_log(&["pi is up"]);
    let mut visitor = Peer::new(connect(port).unwrap());
    visitor.say("hello");
    let mut home = connections.peer();
    assert_eq!(home.bytes(5), b"hello");
    stop(&client);
    let is_offline = || {
        let mut other = connect(port).unwrap();
        let _ = other.write_all(b"other");
        matches!(other.read(&mut [0]), Err(error) if error.kind() == ErrorKind::ConnectionReset)
    };
    wait_until(PATIENCE, "the service is offline", is_offline);
    flows(&mut visitor, &mut home);
    client.assert_running();
    home.finish();
    visitor.finish();
    assert_eq!(visitor.rest(), (vec![], End::Fin));
    drop(home);
    ends(&mut client);
    server.assert_running();
}
