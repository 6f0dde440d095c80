//! What looking costs, and what those cost who look and do not read.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::state::Events;
use super::{Ask, server_door, status};
use crate::harness::{PATIENCE, Proc, alone, free_port, wait_until};
use crate::house::{Vps, server_service};
use crate::malice::hostile;

/// A server with so many services, and nobody at home.
fn with_services(count: usize) -> (Vps, Proc, SocketAddr) {
    let vps = Vps::new();
    let door = free_port(vps.ip);
    let services: String = (0..count)
        .map(|number| {
            let name = format!("service-{number}");
            server_service(&name, &[&format!("{name}.example.com")])
        })
        .collect();
    let server = vps.server(&(server_door(door, "") + &services));
    // It is the last door that opens.
    status(door);
    (vps, server, door)
}

/// Asks, with room for little, and never reads. Half of all places are for one network.
fn deaf(door: SocketAddr, target: &str, number: usize) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((hostile(number, 4), 0)).into()).unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    socket.connect(&door.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.write_all(&Ask::get(target).bytes()).unwrap();
    stream
}

/// Told once.
fn is_reset(stream: &TcpStream) -> bool {
    !matches!(stream.take_error(), Ok(None))
}

#[test]
fn who_does_not_read_is_closed_and_holds_little() {
    let _alone = alone();
    let (_vps, server, door) = with_services(1000);
    let answer = Ask::get("/metrics").at(door);
    assert!(answer.body.len() > 100_000, "{} bytes", answer.body.len());
    let before = (server.resident(), server.descriptors());
    for target in ["/metrics", "/api/v1/status"] {
        let start = Instant::now();
        let deaf: Vec<TcpStream> = (0..24).map(|number| deaf(door, target, number)).collect();
        let held = || status(door)["process"]["held_bytes"].as_u64().unwrap();
        let held = held();
        let mut most = 0;
        let mut gone: Vec<Option<Duration>> = vec![None; deaf.len()];
        while gone.iter().any(Option::is_none) {
            assert!(start.elapsed() < PATIENCE, "{target}: they stay: {gone:?}");
            thread::sleep(Duration::from_millis(50));
            most = most.max(server.resident());
            for (stream, gone) in deaf.iter().zip(&mut gone) {
                if gone.is_none() && is_reset(stream) {
                    *gone = Some(start.elapsed());
                }
            }
        }
        let last = gone.iter().flatten().max().unwrap();
        let grown = most.saturating_sub(before.0);
        eprintln!(
            "24 who do not read {target}: gone after {last:?}, {held} bytes held, {} KB more",
            grown / 1000
        );
        assert!(*last < Duration::from_secs(15), "{target}: {last:?}");
        let first = gone.iter().flatten().min().unwrap();
        assert!(*first > Duration::from_secs(3), "{target}: {first:?}, it had no time at all");
        assert!(grown < 32_000_000, "{target}: {grown} bytes more");
        wait_until(PATIENCE, "no descriptor is left", || server.descriptors() <= before.1 + 1);
    }
}

#[test]
fn a_watcher_who_does_not_read_is_closed() {
    let _alone = alone();
    let (_vps, server, door) = with_services(1000);
    let before = server.resident();
    let deaf: Vec<TcpStream> = (0..8).map(|number| deaf(door, "/api/v1/events", number)).collect();
    let (mut most, mut gone) = (0, vec![false; deaf.len()]);
    let start = Instant::now();
    wait_until(Duration::from_secs(90), "they are closed", || {
        most = most.max(server.resident());
        for (stream, gone) in deaf.iter().zip(&mut gone) {
            *gone |= is_reset(stream);
        }
        gone.iter().all(|gone| *gone)
    });
    let grown = most.saturating_sub(before);
    eprintln!("8 deaf watchers: gone after {:?}, {} KB more", start.elapsed(), grown / 1000);
    assert!(grown < 32_000_000, "{grown} bytes more");
}

#[test]
fn twenty_watchers_of_sixty_services_cost_next_to_nothing() {
    let _alone = alone();
    let (_vps, _server, door) = with_services(60);
    let cpu = || status(door)["process"]["cpu_seconds"].as_f64().unwrap();
    let mut watchers: Vec<Events> =
        (0..20).map(|number| Events::of_from(hostile(number, 2), door)).collect();
    for watcher in &mut watchers {
        watcher.next();
    }
    let time = Duration::from_secs(10);
    let enough = AtomicBool::new(false);
    let (before, start) = (cpu(), Instant::now());
    let events = thread::scope(|scope| {
        let watching = watchers.into_iter().map(|mut watcher| {
            let enough = &enough;
            scope.spawn(move || {
                let mut count = 0;
                while !enough.load(Ordering::Relaxed) {
                    watcher.next();
                    count += 1;
                }
                count
            })
        });
        let watching: Vec<_> = watching.collect();
        thread::sleep(time);
        enough.store(true, Ordering::Relaxed);
        let counts: Vec<usize> = watching.into_iter().map(|it| it.join().unwrap()).collect();
        counts
    });
    let (used, took) = (cpu() - before, start.elapsed().as_secs_f64());
    eprintln!(
        "20 watchers, {:?} events each: {:.2} ms in {took:.1} s, {:.3} % of a core",
        events.iter().max(),
        used * 1e3,
        100.0 * used / took
    );
    assert!(events.iter().all(|count| *count >= 4), "{events:?}");
    assert!(used < took / 100.0, "{used} s of {took}");
}

#[test]
fn a_scrape_of_a_thousand_services_leaves_the_loop_its_turns() {
    let _alone = alone();
    let (_vps, _server, door) = with_services(1000);
    let longest = || status(door)["process"]["longest_turn_seconds"].as_f64().unwrap();
    let before = longest();
    let start = Instant::now();
    let numbers = super::metrics(door);
    let took = start.elapsed();
    assert!(numbers.len() > 3000, "{} series", numbers.len());
    let asked = longest();
    // What was told is what the turn before it took: ask again.
    let after = longest().max(asked);
    eprintln!(
        "{} series with promtool in {took:?}; the longest turn {before:.4} s before, {after:.4} s \
         after",
        numbers.len()
    );
    // Of a build that is not optimised; a released one has a fifth.
    assert!(after < 0.1, "{after} s");
}
