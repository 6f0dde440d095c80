//! A small machine: one processor and 64 MB for the server.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::alone;
use crate::home::Home;
use crate::house::{Vps, client_service, returns_to, server_service, settled};
use crate::visitor::{client_hello, connect_from};

const MEMORY: u64 = 64 << 20;
const IDLE: usize = 2_000;
const BUSY: usize = 200;
/// What a busy visitor sends and gets back in one visit.
const PIECE: usize = 64 * 1024;

/// Two thousand idle visitors and two hundred busy ones: all are served, and the server, which can
/// have no more than 64 MB of data, does not grow from one round of visits to the next.
#[test]
fn one_processor_and_64_mb_serve_2000_idle_and_200_busy_visitors() {
    let _alone = alone();
    let mut vps = Vps::new();
    let echo = Home::echo(vps.ip);
    let limit = format!("--data={MEMORY}");
    vps.wrapper = ["taskset", "-c", "0", "prlimit", &limit].map(str::to_owned).to_vec();
    let server = vps.server(&server_service("pi", &["pi.example.com"]));
    vps.wrapper.clear();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    assert!(limits.contains(&format!("Max data size             {MEMORY} ")), "{limits}");
    let client = vps.client_ready("client", &client_service("pi", echo.address));
    let before = settled(&[&server, &client]);

    let mut idle: Vec<TcpStream> = (0..IDLE).map(|number| arrive(150, number, vps.https)).collect();
    let mut resident = Vec::new();
    for round in 0..4 {
        let start = Instant::now();
        let busy = (0..BUSY).map(|number| {
            let https = vps.https;
            thread::spawn(move || {
                while start.elapsed() < Duration::from_secs(3) {
                    let mut visitor = arrive(160, number, https);
                    said_is_heard(&mut visitor, PIECE);
                }
            })
        });
        let busy: Vec<_> = busy.collect();
        busy.into_iter().for_each(|thread| thread.join().expect("a busy visitor was served"));
        resident.push(server.resident());
        eprintln!("round {round}: {} KB", resident[round] / 1024);
    }
    assert!(resident[3] < MEMORY, "{resident:?}");
    assert!(resident[3] <= resident[1] + (2 << 20), "it grows: {resident:?}");
    idle.iter_mut().for_each(|visitor| said_is_heard(visitor, 100));
    drop(idle);
    returns_to(&before, &[&server, &client]);
}

/// A visitor from an address of its own, whose hello has come back from the echo.
fn arrive(net: u8, number: usize, https: SocketAddr) -> TcpStream {
    let source = Ipv4Addr::new(127, net, (number >> 8) as u8, number as u8);
    let mut visitor = connect_from(source, https).unwrap();
    let hello = client_hello(Some("pi.example.com"));
    visitor.write_all(&hello).unwrap();
    let mut echo = vec![0; hello.len()];
    visitor.read_exact(&mut echo).unwrap();
    assert!(echo == hello);
    visitor
}

fn said_is_heard(visitor: &mut TcpStream, length: usize) {
    let said: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
    visitor.write_all(&said).unwrap();
    let mut heard = vec![0; length];
    visitor.read_exact(&mut heard).unwrap();
    assert!(heard == said);
}
