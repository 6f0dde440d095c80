//! rathole 0.5.0's client at this server: every kind of service, restarts, both clients on one
//! address, and what a hostile peer may try.

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{PATIENCE, Proc, SECRET, free_port, wait_until};
use crate::home::{Home, digest};
use crate::house::{
    Keys, Transport, Vps, client_port, returns_to, server_port, server_service, settled,
};
use crate::http_house::{Peer, get, naming, read_head};
use crate::rathole;
use crate::visitor::{INTERNAL_ERROR, Seen, client_hello, connect, home, look, say, visit};

const TRANSPORTS: [Transport; 2] = [Transport::Noise, Transport::Tcp];

/// How a visitor comes in.
#[derive(Debug, Clone, Copy)]
enum Entry {
    /// A port of the service's own.
    Port(SocketAddr),
    Https(SocketAddr),
    Http(SocketAddr),
}

/// A server with a service of each kind, for one rathole client, whose homes send all back.
struct Stack {
    port: SocketAddr,
    http: SocketAddr,
    services: String,
    _homes: [Home; 2],
    /// Last, for the directory that holds everybody's logs.
    vps: Vps,
}

impl Stack {
    fn new(transport: Transport) -> Stack {
        let mut vps = Vps::with(transport);
        let (port, http) = (free_port(vps.ip), free_port(vps.ip));
        vps.server_extra = format!("http_addr = \"{http}\"\n");
        let (echo, site) = (Home::echo(vps.ip), echoing_site(vps.ip));
        let services = client_port("port", echo.address)
            + &client_port("tls", echo.address)
            + &client_port("site", site.address)
            + &client_port("ready", vps.ready.address);
        Stack { port, http, services, _homes: [echo, site], vps }
    }

    fn server(&self) -> Proc {
        let site = format!(
            "[server.services.site]\ntype = \"http\"\ntoken = \"{SECRET}-site\"\n\
             hosts = [\"site.example.com\"]\n"
        );
        let tls = server_service("tls", &["tls.example.com"]);
        self.vps.server(&(server_port("port", self.port) + &tls + &site))
    }

    fn client(&self) -> Proc {
        rathole::client(&self.vps, "rathole", &self.services)
    }

    fn entries(&self) -> [Entry; 3] {
        [Entry::Port(self.port), Entry::Https(self.vps.https), Entry::Http(self.http)]
    }

    /// Waits until every entry leads home.
    #[track_caller]
    fn wait_served(&self) {
        for entry in self.entries() {
            wait_until(PATIENCE, &format!("{entry:?} is served"), || {
                there_and_back(entry, 10, 1).is_ok_and(|[sent, back]| sent == back)
            });
        }
    }
}

/// An HTTP home that answers with the request's body.
fn echoing_site(ip: Ipv4Addr) -> Home {
    Home::start(ip, |stream| {
        let mut visitor = Peer::new(stream);
        while let Ok(head) = read_head(&mut visitor.reader) {
            let length = head.length().unwrap_or(0);
            let line = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            let mut body = visitor.reader.by_ref().take(length);
            if visitor.stream.write_all(line.as_bytes()).is_err()
                || io::copy(&mut body, &mut visitor.stream).is_err()
            {
                break;
            }
        }
    })
}

/// Sends `size` bytes, with an end behind them unless HTTP says the length, while what comes back
/// is read to its end: the length and hash of what went and of what came.
fn there_and_back(entry: Entry, size: u64, seed: u64) -> io::Result<[(u64, String); 2]> {
    let (address, opening) = match entry {
        Entry::Port(address) => (address, Vec::new()),
        Entry::Https(address) => (address, client_hello(Some("tls.example.com"))),
        Entry::Http(address) => {
            let head = format!(
                "POST /echo HTTP/1.1\r\nHost: site.example.com\r\nContent-Length: {size}\r\n\r\n"
            );
            (address, head.into_bytes())
        }
    };
    let mut visitor = connect(address)?;
    visitor.write_all(&opening)?;
    let mut writer = visitor.try_clone()?;
    thread::scope(|scope| {
        let sending = scope.spawn(move || {
            let sent = digest(&mut Copying { from: Noise(seed).take(size), to: &mut writer });
            if !matches!(entry, Entry::Http(_)) {
                writer.shutdown(Shutdown::Write)?;
            }
            sent
        });
        let mut reader = BufReader::new(visitor);
        let back = match entry {
            Entry::Port(_) => digest(&mut reader),
            Entry::Https(_) => {
                reader.read_exact(&mut vec![0; opening.len()])?;
                digest(&mut reader)
            }
            Entry::Http(_) => match read_head(&mut reader)?.status() {
                200 => digest(&mut reader.take(size)),
                status => Err(io::Error::other(format!("{status}"))),
            },
        };
        Ok([sending.join().unwrap()?, back?])
    })
}

/// Bytes that do not compress or repeat.
struct Noise(u64);

impl Read for Noise {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        for piece in into.chunks_mut(8) {
            self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            piece.copy_from_slice(&(self.0 ^ self.0 >> 29).to_le_bytes()[..piece.len()]);
        }
        Ok(into.len())
    }
}

/// What is read from one is written to the other.
struct Copying<R, W> {
    from: R,
    to: W,
}

impl<R: Read, W: Write> Read for Copying<R, W> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(into)?;
        self.to.write_all(&into[..length])?;
        Ok(length)
    }
}

#[track_caller]
fn assert_there_and_back(entry: Entry, size: u64, seed: u64) {
    let [sent, back] = there_and_back(entry, size, seed).unwrap();
    assert_eq!((sent.0, &sent), (size, &back), "{entry:?}");
}

#[test]
fn every_kind_of_service_is_served_by_a_rathole_client() {
    for transport in TRANSPORTS {
        let stack = Stack::new(transport);
        let server = stack.server();
        let client = stack.client();
        stack.wait_served();
        server.wait_for_log(&["service port is served", "rathole"]);
        let before = settled(&[&server, &client]);
        for entry in stack.entries() {
            assert_there_and_back(entry, 100 << 20, 1);
            thread::scope(|scope| {
                for seed in 0..50 {
                    scope.spawn(move || assert_there_and_back(entry, 30_000, seed));
                }
            });
        }
        returns_to(&before, &[&server, &client]);
    }
}

#[test]
fn either_side_may_come_first_or_start_again() {
    for transport in TRANSPORTS {
        let stack = Stack::new(transport);
        let mut client = stack.client();
        client.wait_for_log(&["Retry in"]);
        let mut server = stack.server();
        stack.wait_served();

        client.kill();
        server.wait_for_log(&["has gone"]);
        wait_until(PATIENCE, "the home is known to be offline", || {
            visit(stack.vps.https, "tls.example.com") == Seen::Alert(INTERNAL_ERROR)
        });
        let _client = stack.client();
        stack.wait_served();

        // In order, and as by a crash.
        server.stop();
        let mut server = stack.server();
        stack.wait_served();
        server.kill();
        let _server = stack.server();
        stack.wait_served();
    }
}

/// A client that came back does not wait for its dead session; whoever is on a channel stays there.
#[test]
fn a_new_client_has_the_service_at_once_and_nobody_s_visitor_is_cut() {
    let vps = Vps::new();
    let port = free_port(vps.ip);
    let server = vps.server(&server_port("pi", port));
    let (old, new) = (Home::named(vps.ip, "old"), Home::named(vps.ip, "new"));
    let seen = |expected: &str| {
        wait_until(PATIENCE, &format!("{expected} serves"), || {
            let greeted = connect(port).and_then(|mut visitor| {
                visitor.set_read_timeout(Some(Duration::from_millis(500)))?;
                visitor.write_all(b"?")?;
                Ok(look(&mut visitor))
            });
            greeted.is_ok_and(|greeted| greeted == home(expected))
        });
    };
    // This one is stopped and cannot know that it has lost the service.
    let silent = rathole::client(&vps, "old", &client_port("pi", old.address));
    seen("old");
    let mut staying = connect(port).unwrap();
    staying.write_all(b"?").unwrap();
    assert_eq!(look(&mut staying), home("old"));
    silent.signal(Signal::STOP);
    let mut rathole = rathole::client(&vps, "new", &client_port("pi", new.address));
    seen("new");
    server.wait_for_log(&["service pi is served", "took it over"]);
    silent.signal(Signal::CONT);
    staying.write_all(b"still here").unwrap();
    staying.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(staying.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
    drop(silent);

    // A native client takes it from a rathole one, and back.
    let third = Home::named(vps.ip, "native");
    let native = vps.client("native", &client_port("pi", third.address));
    native.wait_for_log(&["pi", "is up"]);
    rathole.kill();
    seen("native");
    let _rathole = rathole::client(&vps, "again", &client_port("pi", new.address));
    seen("new");
}

#[test]
fn native_and_rathole_clients_share_one_address() {
    for transport in TRANSPORTS {
        let mut vps = Vps::with(transport);
        let http = free_port(vps.ip);
        vps.server_extra = format!("http_addr = \"{http}\"\n");
        let names = ["pi", "local"];
        let [pi, local] = names.map(|name| naming(vps.ip, name));
        let web = names.map(|name| {
            format!(
                "[server.services.{name}]\ntype = \"http\"\ntoken = \"{SECRET}-{name}\"\n\
                 hosts = [\"{name}.example.com\"]\n"
            )
        });
        let _server = vps.server(&web.concat());
        let services = format!(
            "[client.services.pi]\ntype = \"http\"\ntoken = \"{SECRET}-pi\"\n\
             local_addr = \"{}\"\n",
            pi.address
        );
        let _native = vps.client_ready("native", &services);
        let _rathole = rathole::client(&vps, "rathole", &client_port("local", local.address));
        let answers = |host: &str| {
            let mut visitor = Peer::new(connect(http).unwrap());
            visitor.say(get(host, "/"));
            visitor.response("GET").status() == 200
        };
        wait_until(PATIENCE, "both are served", || {
            names.map(|name| answers(&format!("{name}.example.com"))) == [true, true]
        });

        // Each request goes to its own home; a channel is kept as long as the visitor stays there.
        let before = [pi.accepted(), local.accepted()];
        let mut visitor = Peer::new(connect(http).unwrap());
        for (number, name) in ["local", "local", "pi", "pi", "local"].into_iter().enumerate() {
            visitor.say(get(&format!("{name}.example.com"), &format!("/{number}")));
            let answer = visitor.response("GET");
            assert_eq!((answer.status(), answer.text()), (200, &*format!("{name} /{number}")));
        }
        assert_eq!([pi.accepted(), local.accepted()], [before[0] + 1, before[1] + 2]);
    }
}

/// A channel is closed when its visitor's next request goes elsewhere, not when the visitor leaves.
#[test]
fn the_home_of_an_earlier_request_is_let_go() {
    let mut vps = Vps::new();
    let http = free_port(vps.ip);
    vps.server_extra = format!("http_addr = \"{http}\"\n");
    let (first, connections) = Home::by_hand(vps.ip);
    let web = |name: &str| {
        format!(
            "[server.services.{name}]\ntype = \"http\"\ntoken = \"{SECRET}-{name}\"\n\
             hosts = [\"{name}.example.com\"]\n"
        )
    };
    let _server = vps.server(&(web("first") + &web("second")));
    let second = naming(vps.ip, "second");
    let services = client_port("first", first.address) + &client_port("second", second.address);
    let rathole = rathole::client(&vps, "rathole", &services);
    for service in ["first", "second"] {
        rathole.wait_for_log(&[service, "established"]);
    }
    let mut visitor = Peer::new(connect(http).unwrap());
    visitor.say(get("first.example.com", "/"));
    let mut home = Peer::new(connections.next());
    assert_eq!(read_head(&mut home.reader).unwrap().path(), "/");
    home.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(visitor.response("GET").text(), "ok");
    visitor.say(get("second.example.com", "/2"));
    assert_eq!(visitor.response("GET").text(), "second /2");
    let mut more = Vec::new();
    home.reader.read_to_end(&mut more).unwrap();
    assert!(more.is_empty(), "{}", more.escape_ascii());
}

/// rathole's client gives up a server that sends no heartbeat.
#[test]
fn heartbeats_keep_a_rathole_client_that_wants_them() {
    let mut vps = Vps::new();
    vps.server_extra = "heartbeat_interval = 1\n".into();
    vps.client_extra = "heartbeat_timeout = 3\n".into();
    let port = free_port(vps.ip);
    let echo = Home::echo(vps.ip);
    let server = vps.server(&server_port("port", port));
    let rathole = rathole::client(&vps, "rathole", &client_port("port", echo.address));
    rathole.wait_for_log(&["established"]);
    // Longer than the time-out: there is nothing else to wait for.
    thread::sleep(Duration::from_secs(5));
    assert!(!rathole.log().contains("timed out") && !server.log().contains("has gone"));
    assert_there_and_back(Entry::Port(port), 10, 1);
}

#[test]
fn wrong_tokens_names_and_keys_are_told_and_disturb_nobody() {
    for transport in TRANSPORTS {
        let mut stack = Stack::new(transport);
        let server = stack.server();
        let _client = stack.client();
        stack.wait_served();
        let before = settled(&[&server]);

        let wrong = format!(
            "[client.services.port]\ntoken = \"{SECRET}-other\"\nlocal_addr = \"{}\"\n",
            stack.vps.ready.address
        );
        let mut stranger = rathole::client(&stack.vps, "wrong-token", &wrong);
        server.wait_for_log(&["wrong token", "service port", "rathole"]);
        stranger.wait_for_log(&["Incorrect token"]);
        stranger.kill();

        let unknown = client_port("nobody", stack.vps.ready.address);
        let mut stranger = rathole::client(&stack.vps, "unknown", &unknown);
        server.wait_for_log(&["not in this file", "rathole"]);
        stranger.wait_for_log(&["Service not exist"]);
        stranger.kill();

        if matches!(transport, Transport::Noise) {
            stack.vps.server_keys = Keys::new();
            let mut stranger = rathole::client(&stack.vps, "wrong-key", &stack.services);
            stranger.wait_for_log(&["error"]);
            stranger.kill();
        }
        for entry in stack.entries() {
            assert_there_and_back(entry, 1000, 2);
        }
        returns_to(&before, &[&server]);
    }
}

/// `rathole = false`: they are turned away before a word, said in a few lines, and native clients
/// never notice.
#[test]
fn rathole_s_clients_are_refused_where_the_file_says_so() {
    for transport in TRANSPORTS {
        let mut stack = Stack::new(transport);
        stack.vps.server_extra += "rathole = false\n";
        let server = stack.server();
        let mut refused = stack.client();
        let line = server.wait_for_log(&["rathole's protocol", "rathole = false"]);
        assert!(line.contains("client 127."), "{line}");
        refused.wait_for_log(&["Failed to"]);
        refused.kill();
        let ip = stack.vps.ip;
        let port = Home::named(ip, "port");
        let native = stack.vps.client_ready("native", &client_port("port", port.address));
        let before = settled(&[&server, &native]);
        if matches!(transport, Transport::Tcp) {
            for _ in 0..100 {
                let seen = say(stack.vps.tunnel, HELLO);
                assert!(matches!(seen, Seen::Closed | Seen::Reset), "not even a nonce: {seen:?}");
            }
        }
        assert_eq!(say(stack.port, b"?"), home("port"));
        returns_to(&before, &[&server, &native]);
        let said = server.log().lines().filter(|line| line.contains("rathole = false")).count();
        assert!((1..=11).contains(&said), "{said} lines");
        assert!(!refused.log().contains("established"), "{}", refused.log());
    }
}

/// A hello of rathole's for a service, and the auth that follows: `tests/corpus` has both.
const HELLO: &[u8] = include_bytes!("../corpus/rathole/control_hello.bin");
const AUTH: &[u8] = include_bytes!("../corpus/rathole/auth.bin");
const DATA_HELLO: &[u8] = include_bytes!("../corpus/rathole/data_hello.bin");

#[test]
fn hostile_peers_disturb_nobody() {
    let stack = Stack::new(Transport::Tcp);
    let server = stack.server();
    let _client = stack.client();
    stack.wait_served();
    let before = settled(&[&server]);
    let tunnel = stack.vps.tunnel;

    // One that closes at every byte of its handshake, in order or with a reset.
    let whole = [HELLO, AUTH].concat();
    for cut in 0..whole.len() {
        for resets in [false, true] {
            let mut peer = connect(tunnel).unwrap();
            peer.write_all(&whole[..cut]).unwrap();
            if resets {
                crate::visitor::reset(peer);
            }
        }
    }
    // Who says what may not be is closed at once; who says nothing, soon.
    let mut version = HELLO.to_vec();
    version[4] = 2;
    let told = [version, [HELLO, AUTH, b"and more"].concat(), DATA_HELLO.to_vec(), vec![7; 600]];
    let silent = [Vec::new(), HELLO[..20].to_vec(), HELLO.to_vec()];
    let start = Instant::now();
    let mut peers: Vec<_> = told
        .iter()
        .chain(&silent)
        .map(|bytes| {
            let mut peer = connect(tunnel).unwrap();
            peer.write_all(bytes).unwrap();
            peer
        })
        .collect();
    for (number, peer) in peers.iter_mut().enumerate() {
        let is_silent = number >= told.len();
        let _ = io::copy(peer, &mut io::sink());
        let patience = if is_silent { PATIENCE } else { Duration::from_secs(4) };
        assert!(start.elapsed() < patience, "{number} is still there");
    }
    server.wait_for_log(&["version 2 of rathole's protocol"]);
    for entry in stack.entries() {
        assert_there_and_back(entry, 1000, 3);
    }
    returns_to(&before, &[&server]);
}

/// The same over Noise: the stream of a real client's first bytes, cut at every byte, also inside a
/// frame's length. rathole's own server spins there.
#[test]
fn a_peer_that_closes_inside_a_frame_is_let_go() {
    let mut stack = Stack::new(Transport::Noise);
    let server = stack.server();
    let _client = stack.client();
    stack.wait_served();
    let before = settled(&[&server]);
    // Recorded from a real client by a listener in the server's place, which answers nothing.
    let listener = std::net::TcpListener::bind((stack.vps.ip, 0)).unwrap();
    stack.vps.dial = Some(listener.local_addr().unwrap());
    let recorded = rathole::client(&stack.vps, "recorded", &stack.services);
    let (mut peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut first = vec![0; 2 + 48];
    peer.read_exact(&mut first).unwrap();
    drop((peer, listener, recorded));
    assert_eq!(first[..2], [48, 0], "the first message of NK is 48 bytes");
    first.extend([53, 0]);
    first.extend([9; 53]);
    let cpu = server.cpu();
    for cut in 0..first.len() {
        let mut peer = connect(stack.vps.tunnel).unwrap();
        peer.write_all(&first[..cut]).unwrap();
        // The server's message, and no more than that.
        peer.shutdown(Shutdown::Write).unwrap();
        let mut said = Vec::new();
        let _ = peer.read_to_end(&mut said);
        assert!(said.len() <= 2 + 48, "{cut}: {}", said.len());
    }
    assert!(server.cpu() - cpu < Duration::from_secs(2), "it spins");
    for entry in stack.entries() {
        assert_there_and_back(entry, 1000, 3);
    }
    returns_to(&before, &[&server]);
}
