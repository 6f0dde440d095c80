//! Visitors that do not read: what is held for them has a bound in all, and none of them outlives
//! the link that its answer came by.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::{Ask, honest, hostile, visits};
use crate::harness::{PATIENCE, alone, wait_until};
use crate::home::Home;
use crate::house::{Vps, client_service, returns_to, server_service, settled};
use crate::http_house::{Estate, Lot, answering, get, ok};
use crate::visitor::{client_hello, reset};

/// A home that says this much to whoever says anything, and then waits.
const DOWNLOAD: usize = 640 * 1024;

pub(super) fn downloads(vps: &Vps) -> Home {
    Home::start(vps.ip, |mut stream| {
        let mut buffer = [0; 4096];
        if stream.read(&mut buffer).is_ok_and(|length| length > 0) {
            let _ = stream.write_all(&vec![7; DOWNLOAD]);
            while stream.read(&mut buffer).is_ok_and(|length| length > 0) {}
        }
    })
}

/// A connection for which the kernel keeps little on either side: small segments, a small window.
fn connect_narrow(source: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_recv_buffer_size(4096)?;
    socket.set_tcp_mss(1000)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    Ok(socket.into())
}

/// A visitor that asks for a download and does not read it.
pub(super) fn stalled(source: Ipv4Addr, https: SocketAddr) -> Option<TcpStream> {
    let mut stream = connect_narrow(source, https).ok()?;
    stream.write_all(&client_hello(Some("files.example.com"))).ok()?;
    stream.set_nonblocking(true).unwrap();
    Some(stream)
}

/// What those who do not read may have is bounded in all: past 64 MB the longest-stalled go, and
/// others are served.
#[test]
fn those_who_do_not_read_have_a_bound_in_all() {
    const STALLED: usize = 1_500;
    /// `[server.limits] memory`, and what the process has besides, allocator's slack included.
    const BOUND: u64 = 64_000_000 + (16 << 20);
    let _alone = alone();
    let vps = Vps::new();
    let (files, echo) = (downloads(&vps), Home::echo(vps.ip));
    let services = server_service("files", &["files.example.com"])
        + &server_service("pi", &["pi.example.com"]);
    let server = vps.server(&services);
    let services = client_service("files", files.address) + &client_service("pi", echo.address);
    let client = vps.client_ready("client", &services);
    let before = settled(&[&server, &client]);
    let resident = server.resident();
    for addresses in [1, 50] {
        let held: Vec<TcpStream> = (0..STALLED)
            .filter_map(|number| stalled(hostile(number, addresses), vps.https))
            .collect();
        // Until nothing moves any more.
        settled(&[&server, &client]);
        let ask = Ask::Hello { to: vps.https, host: "pi.example.com" };
        let seen = visits(&[ask], 200, 10, Duration::from_secs(5));
        let start = Instant::now();
        let mut most = server.resident();
        while start.elapsed() < Duration::from_secs(3) {
            most = most.max(server.resident());
            thread::sleep(Duration::from_millis(20));
        }
        let left = held.iter().filter(|stream| matches!(stream.take_error(), Ok(None))).count();
        eprintln!(
            "{STALLED} stalled downloads from {addresses} addresses, {left} left: \
             {resident} bytes resident before, {most} at most; {seen}"
        );
        seen.assert_all_served();
        let grown = most.saturating_sub(resident);
        assert!(grown < BOUND, "{grown} bytes for {STALLED} who do not read, bound {BOUND}");
        held.into_iter().for_each(reset);
        returns_to(&before, &[&server, &client]);
    }
}

/// An answer that is cut off by the loss of its link cannot be ended in order: the visitor is reset
/// then, also one that does not read what is already there.
#[test]
fn a_visitor_that_does_not_read_does_not_outlive_its_link() {
    let vps = Vps::new();
    let body = "x".repeat(8 << 20);
    let site = answering(vps.ip, move |_| ok(&body));
    let mut estate = Estate::on(vps, vec![Lot::http("site", site.address)]);
    let before = estate.server.descriptors();
    let visitors: Vec<TcpStream> = (0..8)
        .map(|number| {
            let mut stream = connect_narrow(honest(number), estate.http).unwrap();
            stream.write_all(get("site.example.com", "/").as_bytes()).unwrap();
            stream
        })
        .collect();
    wait_until(PATIENCE, "all are on links", || {
        estate.server.descriptors() >= before + visitors.len()
    });
    // Until nothing moves any more.
    settled(&[&estate.server]);
    estate.clients[0].kill();
    // No link is left, no spare one either, and no session; nor may a visitor be.
    let start = Instant::now();
    wait_until(PATIENCE, "the visitors have gone with their links", || {
        estate.server.descriptors() < before
    });
    eprintln!("gone after {:?}", start.elapsed());
    drop(visitors);
}
