//! Round trips: a line of 40 ms each way between client and server, and what it costs a visitor.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{PATIENCE, Proc, alone, free_port};
use crate::home::Home;
use crate::house::{Vps, client_port, server_port};

/// What the line takes each way.
const ONE_WAY: Duration = Duration::from_millis(40);
/// There and back.
const ROUND_TRIP: Duration = Duration::from_millis(80);
/// Well below a round trip, well above what a busy machine adds.
const SLACK: Duration = Duration::from_millis(50);

/// Passes connections on to `to`, each byte [`ONE_WAY`] later. Dialling takes no time on it.
fn delayed(at: SocketAddr, to: SocketAddr) {
    let listener = TcpListener::bind(at).unwrap();
    thread::spawn(move || {
        for near in listener.incoming() {
            let (Ok(near), Ok(far)) = (near, TcpStream::connect(to)) else { continue };
            for stream in [&near, &far] {
                stream.set_nodelay(true).unwrap();
            }
            later(near.try_clone().unwrap(), far.try_clone().unwrap());
            later(far, near);
        }
    });
}

fn later(mut from: TcpStream, mut to: TcpStream) {
    let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut piece = [0; 65536];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            let _ = sender.send((Instant::now() + ONE_WAY, piece[..length].to_vec()));
        }
    });
    thread::spawn(move || {
        for (due, piece) in receiver {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&piece).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}

/// A visit to an echo: from dialling to the answer.
fn visit(at: SocketAddr) -> Duration {
    let start = Instant::now();
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"is it far?").unwrap();
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"is it far?");
    start.elapsed()
}

/// A server and a client with an echo, the line between them; where visitors go in.
fn far_away(vps: &mut Vps) -> (SocketAddr, (Proc, Proc, Home)) {
    let (door, line) = (free_port(vps.ip), free_port(vps.ip));
    let echo = Home::echo(vps.ip);
    let server = vps.server(&server_port("echo", door));
    delayed(line, vps.tunnel);
    vps.dial = Some(line);
    let client = vps.client_ready("client", &client_port("echo", echo.address));
    (door, (server, client, echo))
}

/// The fastest of some: one more round trip would be in each of them.
#[test]
fn a_warm_link_adds_no_round_trip_to_the_line_itself() {
    let _alone = alone();
    let mut vps = Vps::new();
    let (door, _programs) = far_away(&mut vps);
    let (home, direct) = (Home::echo(vps.ip), free_port(vps.ip));
    delayed(direct, home.address);
    let fastest = |at| (0..10).map(|_| visit(at)).min().unwrap();
    let (direct, tunnelled) = (fastest(direct), fastest(door));
    eprintln!("direct {direct:?}, through the tunnel {tunnelled:?}");
    assert!(direct >= ROUND_TRIP, "the line is shorter than it should be: {direct:?}");
    assert!(tunnelled >= ROUND_TRIP, "the tunnel is not on the line: {tunnelled:?}");
    assert!(tunnelled < direct + SLACK, "direct {direct:?}, through the tunnel {tunnelled:?}");
}

/// A hundred at once, far more than the spare links at rest: the request for more, and the new
/// links' handshake and greeting, are two round trips that all of them share.
#[test]
fn a_burst_on_a_cold_pool_waits_for_one_handshake() {
    let _alone = alone();
    let mut worst = Vec::new();
    for _ in 0..3 {
        let mut vps = Vps::new();
        let (door, _programs) = far_away(&mut vps);
        let visits: Vec<_> = (0..100).map(|_| thread::spawn(move || visit(door))).collect();
        let mut took: Vec<Duration> =
            visits.into_iter().map(|visit| visit.join().unwrap()).collect();
        took.sort();
        eprintln!("fastest {:?}, median {:?}, slowest {:?}", took[0], took[50], took[99]);
        assert!(took[50] > ROUND_TRIP + ONE_WAY, "the pool was not cold: {took:?}");
        worst.push(took[99]);
    }
    // One machine runs a hundred visitors, both programs and the line.
    let best = *worst.iter().min().unwrap();
    assert!(best < 3 * ROUND_TRIP + 2 * SLACK, "the slowest of each burst: {worst:?}");
}
