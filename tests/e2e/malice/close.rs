//! A RESET behind a FIN is heard at once, both ways: who has half-closed and then breaks is gone
//! for the other end, and the link is free for the next visitor (PROTOCOL.md, section 6).

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{PATIENCE, Proc, alone, free_port};
use crate::home::Home;
use crate::house::{Transport, Vps, client_port, server_port, settled};
use crate::visitor::{connect, reset};

/// Who half-closes and breaks.
#[derive(Debug, Clone, Copy)]
enum Breaker {
    Visitor,
    Home,
}

/// As browsers do over a cancelled download.
#[test]
fn a_visitor_that_breaks_behind_its_end_stops_its_home_at_once() {
    for transport in [Transport::Noise, Transport::Tcp] {
        breaks_behind_its_end(transport, Breaker::Visitor);
    }
}

#[test]
fn a_home_that_breaks_behind_its_end_stops_its_visitor_at_once() {
    for transport in [Transport::Noise, Transport::Tcp] {
        breaks_behind_its_end(transport, Breaker::Home);
    }
}

fn breaks_behind_its_end(transport: Transport, breaker: Breaker) {
    const TURNS: usize = 7;
    let _alone = alone();
    let vps = Vps::with(transport);
    let port = free_port(vps.ip);
    let (there, connections) = Home::by_hand(vps.ip);
    let server = vps.server(&server_port("files", port));
    let client = vps.client_ready("client", &client_port("files", there.address));
    settled(&[&server, &client]);
    let before = links(&client, &vps);
    let mut times: Vec<Duration> = (0..TURNS)
        .map(|_| {
            let mut visitor = connect(port).unwrap();
            visitor.write_all(b"?").unwrap();
            let mut home = connections.next();
            home.read_exact(&mut [0]).unwrap();
            match breaker {
                Breaker::Visitor => time_to_stop(visitor, home),
                Breaker::Home => time_to_stop(home, visitor),
            }
        })
        .collect();
    times.sort();
    // All of them have gone by now, and the links are as many as before, and the same.
    settled(&[&server, &client]);
    let kept = links(&client, &vps).intersection(&before).count();
    eprintln!("{breaker:?}: {times:?}; {kept} of {} links kept", before.len());
    let median = times[TURNS / 2];
    assert!(median < Duration::from_millis(200), "{breaker:?}: stopped after {times:?}");
    assert_eq!(kept, before.len(), "{breaker:?}: it has cost links");
}

/// `breaker` half-closes, and resets once that is known; how long `other` still sends.
fn time_to_stop(breaker: TcpStream, mut other: TcpStream) -> Duration {
    breaker.shutdown(Shutdown::Write).unwrap();
    assert_eq!(other.read(&mut [0; 64]).unwrap(), 0, "the end comes first");
    let mut sender = other.try_clone().unwrap();
    let sends = thread::spawn(move || {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if sender.write_all(&[7; 100]).is_err() {
                return Instant::now();
            }
            thread::sleep(Duration::from_millis(2));
        }
        panic!("it sends for ever");
    });
    // It is in the midst of it, and what it says is read.
    (&breaker).read_exact(&mut [0; 1000]).unwrap();
    let broken = Instant::now();
    reset(breaker);
    sends.join().unwrap().saturating_duration_since(broken)
}

/// The client's connections to the server, by their local ports.
fn links(client: &Proc, vps: &Vps) -> BTreeSet<u16> {
    let all = client.tcp_connections().into_iter();
    all.filter(|leg| leg.peer == vps.tunnel).map(|leg| leg.local.port()).collect()
}
