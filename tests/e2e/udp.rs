//! UDP services: datagrams whole, each visitor its own answers, and nobody waits for another.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::harness::{PATIENCE, SECRET, free_port, wait_until};
use crate::house::{Transport, Vps, settled};

/// The longest datagram over IPv4.
pub(crate) const LONGEST: usize = 65_507;
/// Datagrams may be lost; who asks, asks again after so long.
const AGAIN: Duration = Duration::from_millis(500);

/// Something at home that answers each datagram.
pub(crate) struct UdpHome {
    pub(crate) address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl UdpHome {
    /// `answer` is given the sender and the datagram.
    pub(crate) fn start(
        address: SocketAddr,
        mut answer: impl FnMut(SocketAddr, &[u8]) -> Vec<u8> + Send + 'static,
    ) -> UdpHome {
        let socket = UdpSocket::bind(address).unwrap();
        let address = socket.local_addr().unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut datagram = vec![0; LONGEST + 1];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut datagram) else { continue };
                let answer = answer(from, &datagram[..length]);
                // An empty datagram is an answer, too: only to another one.
                if length == 0 || !answer.is_empty() {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        UdpHome { address, stop, thread: Some(thread) }
    }

    /// Answers with what [`turned`] makes of a datagram.
    pub(crate) fn turning(address: SocketAddr) -> UdpHome {
        UdpHome::start(address, |_, datagram| turned(datagram))
    }

    /// Answers with the port of whoever asks, before what it asks.
    pub(crate) fn naming(address: SocketAddr) -> UdpHome {
        let port = |from: SocketAddr| from.port().to_be_bytes();
        UdpHome::start(address, move |from, datagram| [&port(from), datagram].concat())
    }
}

impl Drop for UdpHome {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking(), "a home has panicked");
    }
}

/// The same length, each byte another, and the last first.
pub(crate) fn turned(datagram: &[u8]) -> Vec<u8> {
    datagram.iter().rev().map(|byte| byte ^ 0x5a).collect()
}

/// A datagram like no other.
pub(crate) fn datagram(seed: usize, length: usize) -> Vec<u8> {
    let mut state = seed as u64 + 1;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

pub(crate) fn visitor(to: SocketAddr) -> UdpSocket {
    let any = SocketAddr::new(to.ip(), 0);
    let socket = UdpSocket::bind(any).unwrap();
    // So that an answer from any other address or port is never seen.
    socket.connect(to).unwrap();
    socket
}

/// Asks until the answer for which `is_it` holds comes; it may panic over what must not come.
#[track_caller]
pub(crate) fn ask(
    socket: &UdpSocket,
    question: &[u8],
    mut is_it: impl FnMut(&[u8]) -> bool,
) -> Vec<u8> {
    let mut answer = vec![0; LONGEST + 1];
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let _ = socket.send(question); // an error of ICMP's is told once and means nothing here
        let again = Instant::now() + AGAIN;
        loop {
            let left = again.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            socket.set_read_timeout(Some(left)).unwrap();
            match socket.recv(&mut answer) {
                Ok(length) if is_it(&answer[..length]) => return answer[..length].to_vec(),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(_) => break,
            }
        }
    }
    panic!("not within {PATIENCE:?}: an answer to {} bytes", question.len());
}

/// Asks for each of `lengths`, and wants the turned datagram back, whole.
#[track_caller]
pub(crate) fn ask_lengths(to: SocketAddr, lengths: &[usize], seed: usize) {
    let socket = visitor(to);
    let mut earlier = BTreeSet::new();
    for length in lengths {
        let question = datagram(seed + length, *length);
        let expected = turned(&question);
        ask(&socket, &question, |answer| {
            let known = answer == expected || earlier.contains(answer);
            assert!(known, "{} strange bytes for {length}", answer.len());
            answer == expected
        });
        earlier.insert(expected);
    }
}

/// Asks a [`UdpHome::naming`]; the port at home that asks for this visitor.
#[track_caller]
pub(crate) fn port_at_home(socket: &UdpSocket, question: &[u8]) -> u16 {
    let answer = ask(socket, question, |answer| answer.get(2..) == Some(question));
    u16::from_be_bytes([answer[0], answer[1]])
}

pub(crate) fn server_udp(name: &str, bind: &str, more: &str) -> String {
    format!(
        "[server.services.{name}]\ntype = \"udp\"\ntoken = \"{SECRET}-{name}\"\n\
         bind_addr = {bind}\n{more}\n"
    )
}

pub(crate) fn client_udp(name: &str, home: &str) -> String {
    format!(
        "[client.services.{name}]\ntype = \"udp\"\ntoken = \"{SECRET}-{name}\"\n\
         local_addr = \"{home}\"\n"
    )
}

pub(crate) fn quoted(address: SocketAddr) -> String {
    format!("\"{address}\"")
}

/// A port of `[::1]` that nobody uses.
fn free_port_v6() -> SocketAddr {
    let address = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap().local_addr();
    address.unwrap()
}

pub(crate) const LENGTHS: [usize; 16] = [
    1, 2, 3, 100, 1200, 1472, 1473, 2048, 2049, 9000, 16_384, 32_767, 65_000, 65_505, 65_506,
    LONGEST,
];

#[test]
fn datagrams_of_every_length_arrive_whole_both_ways_over_ipv4_and_ipv6() {
    for transport in [Transport::Noise, Transport::Tcp] {
        let vps = Vps::with(transport);
        let (v4, v6) = (free_port(vps.ip), free_port_v6());
        let home4 = UdpHome::turning((vps.ip, 0).into());
        let home6 = UdpHome::turning((Ipv6Addr::LOCALHOST, 0).into());
        let other = free_port(vps.ip);
        let _server = vps.server(
            &(server_udp("both", &format!("[\"{v4}\", \"{v6}\"]"), "")
                + &server_udp("six", &quoted(other), "")),
        );
        let both = client_udp("both", &home4.address.to_string());
        let six = client_udp("six", &home6.address.to_string());
        let _client = vps.client_ready("client", &(both + &six));
        thread::scope(|scope| {
            for (seed, to) in [v4, v6, other].into_iter().enumerate() {
                scope.spawn(move || ask_lengths(to, &LENGTHS, seed << 20));
            }
        });
    }
}

/// With `proxy_protocol`, a session's first datagram has the header in front, and no other.
#[test]
fn the_home_is_told_who_the_visitor_is_before_its_first_datagram() {
    use proxy_header::{ParseConfig, Protocol, ProxyHeader};

    let vps = Vps::new();
    let (v4, v6) = (free_port(vps.ip), free_port_v6());
    let (heard, hears) = std::sync::mpsc::channel();
    let home = UdpHome::start((vps.ip, 0).into(), move |_, datagram| {
        heard.send(datagram.to_vec()).unwrap();
        datagram[datagram.len() - 6..].to_vec()
    });
    let _server = vps.server(&server_udp("dns", &format!("[\"{v4}\", \"{v6}\"]"), ""));
    let service = client_udp("dns", &home.address.to_string()) + "proxy_protocol = \"v2\"\n";
    let _client = vps.client_ready("client", &service);
    for door in [v4, v6] {
        let socket = visitor(door);
        for question in [b"first.", b"second"] {
            ask(&socket, question, |answer| answer == question);
        }
        let first: Vec<u8> = hears.recv().unwrap();
        let (header, length) = ProxyHeader::parse(&first, ParseConfig::default()).unwrap();
        let addresses = header.proxied_address().unwrap();
        assert_eq!(addresses.source, socket.local_addr().unwrap());
        assert_eq!((addresses.destination, addresses.protocol), (door, Protocol::Datagram));
        assert_eq!(&first[length..], b"first.");
        for other in hears.try_iter() {
            assert!(other == b"first." || other == b"second", "{other:?}");
        }
    }
}

/// A first datagram that has no room for the header cannot go; the header waits for the next one,
/// also where the first one waited for the home's name.
#[test]
fn a_header_that_cannot_go_with_the_first_datagram_goes_with_the_next() {
    let vps = Vps::new();
    let door = free_port(vps.ip);
    let (heard, hears) = std::sync::mpsc::channel();
    let home = UdpHome::start(([127, 0, 0, 1], 0).into(), move |_, datagram| {
        heard.send(datagram.to_vec()).unwrap();
        datagram[datagram.len() - 6..].to_vec()
    });
    let _server = vps.server(&server_udp("dns", &quoted(door), ""));
    let local = format!("localhost:{}", home.address.port());
    let service = client_udp("dns", &local) + "proxy_protocol = \"v2\"\n";
    let _client = vps.client_ready("client", &service);
    let socket = visitor(door);
    socket.send(&datagram(1, LONGEST)).unwrap();
    ask(&socket, b"second", |answer| answer == b"second");
    let first: Vec<u8> = hears.recv().unwrap();
    let (_, length) = proxy_header::ProxyHeader::parse(&first, Default::default()).unwrap();
    assert_eq!(&first[length..], b"second");
}

/// One service, 100 visitors at once: each has a port of its own at home and hears its own answers
/// alone. The port's number is a TCP service's too.
#[test]
fn a_hundred_visitors_at_once_get_their_own_answers() {
    let vps = Vps::new();
    let port = free_port(vps.ip);
    let home = UdpHome::naming((vps.ip, 0).into());
    let tcp = crate::house::server_port("tcp", port);
    let _server = vps.server(&(tcp + &server_udp("dns", &quoted(port), "")));
    let client = vps.client_ready("client", &client_udp("dns", &home.address.to_string()));
    let before = settled(&[&client])[0];
    let ports: BTreeSet<u16> = thread::scope(|scope| {
        let visits: Vec<_> = (0..100)
            .map(|number| {
                scope.spawn(move || {
                    let socket = visitor(port);
                    let mut ports = BTreeSet::new();
                    for question in 0..10 {
                        let question = datagram(number * 1000 + question, 40 + question * 100);
                        ports.insert(port_at_home(&socket, &question));
                    }
                    assert_eq!(ports.len(), 1, "one visitor, one port at home");
                    ports.pop_first().unwrap()
                })
            })
            .collect();
        visits.into_iter().map(|visit| visit.join().unwrap()).collect()
    });
    assert_eq!(ports.len(), 100);
    assert!(client.descriptors() <= before + 100 + 4, "one socket for each, and few links");
}

/// One visitor is flooded with answers and reads none, one home reads nothing of what floods it:
/// the others do not notice.
#[test]
fn a_stalled_visitor_and_a_stalled_home_block_nobody() {
    let vps = Vps::new();
    let [loud, deaf] = [free_port(vps.ip), free_port(vps.ip)];
    let there = UdpHome::start((vps.ip, 0).into(), |_, datagram| match datagram.len() {
        LONGEST => vec![7; LONGEST],
        _ => turned(datagram),
    });
    let ears = UdpSocket::bind((vps.ip, 0)).unwrap();
    let services = server_udp("loud", &quoted(loud), "") + &server_udp("deaf", &quoted(deaf), "");
    let mut server = vps.server(&services);
    let services = client_udp("loud", &there.address.to_string())
        + &client_udp("deaf", &ears.local_addr().unwrap().to_string());
    let mut client = vps.client_ready("client", &services);
    ask_lengths(loud, &[10], 1);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for to in [loud, deaf] {
            let done = &done;
            scope.spawn(move || {
                let socket = visitor(to);
                let longest = vec![1; LONGEST];
                while !done.load(Ordering::Relaxed) {
                    let _ = socket.send(&longest);
                    thread::sleep(Duration::from_millis(1));
                }
            });
        }
        let answered = std::panic::catch_unwind(|| {
            for seed in 2..22 {
                ask_lengths(loud, &[10, 1000], seed << 10);
            }
        });
        done.store(true, Ordering::Relaxed);
        answered.unwrap();
    });
    server.assert_running();
    client.assert_running();
}

#[test]
fn a_session_ends_when_idle_and_its_visitor_begins_anew() {
    let vps = Vps::new();
    let port = free_port(vps.ip);
    let home = UdpHome::naming((vps.ip, 0).into());
    let server = vps.server(&server_udp("dns", &quoted(port), "udp_idle_time = 1"));
    let client = vps.client_ready("client", &client_udp("dns", &home.address.to_string()));
    let before = settled(&[&server, &client]);
    let socket = visitor(port);
    let first = port_at_home(&socket, b"first");
    assert_eq!(port_at_home(&socket, b"again"), first);
    wait_until(PATIENCE, "the socket at home is closed", || {
        UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, first)).is_ok()
    });
    // The link is spare again.
    assert_eq!(settled(&[&server, &client]), before);
    port_at_home(&socket, b"once more");
}

#[test]
fn a_home_that_restarts_ends_no_session() {
    let vps = Vps::new();
    let port = free_port(vps.ip);
    let home = UdpHome::naming((vps.ip, 0).into());
    let address = home.address;
    let _server = vps.server(&server_udp("game", &quoted(port), ""));
    let client = vps.client_ready("client", &client_udp("game", &address.to_string()));
    let socket = visitor(port);
    let first = port_at_home(&socket, b"before");
    drop(home);
    for _ in 0..5 {
        socket.send(b"is anybody there?").unwrap();
        thread::sleep(Duration::from_millis(20));
    }
    let _home = UdpHome::naming(address);
    assert_eq!(port_at_home(&socket, b"after"), first, "the same session");
    drop(client);
}

#[test]
fn a_client_or_a_server_that_restarts_is_used_again() {
    let vps = Vps::new();
    let port = free_port(vps.ip);
    let home = UdpHome::turning((vps.ip, 0).into());
    let services = server_udp("dns", &quoted(port), "");
    let mut server = vps.server(&services);
    let served = client_udp("dns", &home.address.to_string());
    let mut client = vps.client_ready("client", &served);
    let socket = visitor(port);
    let lengths = |seed| {
        let question = datagram(seed, 300);
        let expected = turned(&question);
        ask(&socket, &question, |answer| answer == expected);
    };
    lengths(1);
    client.stop();
    client = vps.client_ready("client", &served);
    lengths(2);
    client.kill();
    client = vps.client_ready("client", &served);
    lengths(3);
    server.stop();
    server = vps.server(&services);
    lengths(4);
    server.kill();
    server = vps.server(&services);
    lengths(5);
    client.assert_running();
    server.assert_running();
}

#[test]
fn of_too_many_sessions_the_longest_idle_goes() {
    let vps = Vps::new();
    let port = free_port(vps.ip);
    let home = UdpHome::naming((vps.ip, 0).into());
    let _server = vps.server(&server_udp("dns", &quoted(port), "udp_max_sessions = 3"));
    let client = vps.client_ready("client", &client_udp("dns", &home.address.to_string()));
    let before = settled(&[&client])[0];
    let kept = visitor(port);
    let its_port = port_at_home(&kept, b"the one that keeps talking");
    let others: Vec<_> = (0..20)
        .map(|number| {
            let other = visitor(port);
            let first = port_at_home(&other, format!("number {number}").as_bytes());
            assert_eq!(port_at_home(&kept, format!("still {number}").as_bytes()), its_port);
            (other, first)
        })
        .collect();
    assert!(client.descriptors() <= before + 3 + 4, "three sockets, and few links");
    // The first one's has gone; it begins anew.
    let (first, its_old_port) = &others[0];
    let gone = UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, *its_old_port));
    assert!(gone.is_ok(), "its socket at home is closed");
    assert_ne!(port_at_home(first, b"I was here"), *its_old_port);
}

/// A range of ports, each to its own at home.
#[test]
fn ports_of_a_range_go_to_ports_of_a_range() {
    let vps = Vps::new();
    let first = free_run(&vps, 3);
    let at_home = free_run(&vps, 3);
    let port = |base: SocketAddr, offset: u16| SocketAddr::new(base.ip(), base.port() + offset);
    let homes: Vec<_> = (0..3u16)
        .map(|offset| {
            UdpHome::start(port(at_home, offset), move |_, asked| [&[offset as u8], asked].concat())
        })
        .collect();
    let range = |base: SocketAddr| format!("{base}-{}", base.port() + 2);
    let _server = vps.server(&server_udp("voice", &format!("\"{}\"", range(first)), ""));
    let _client = vps.client_ready("client", &client_udp("voice", &range(at_home)));
    for offset in [2, 0, 1, 2] {
        let socket = visitor(port(first, offset));
        ask(&socket, b"which?", |answer| {
            assert_eq!(answer, [&[offset as u8][..], b"which?"].concat());
            true
        });
    }
    drop(homes);
}

/// The first of `count` ports that follow each other.
fn free_run(vps: &Vps, count: u16) -> SocketAddr {
    loop {
        let ports: Vec<_> = (0..count).map(|_| free_port(vps.ip)).collect();
        if ports.windows(2).all(|pair| pair[0].port() + 1 == pair[1].port()) {
            return ports[0];
        }
    }
}
