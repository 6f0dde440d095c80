//! A server that stood still.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{PATIENCE, Proc, alone, eventually, free_port};
use crate::house::{Transport, Vps};
use crate::rathole;
use crate::udp::{UdpHome, client_udp, quoted, server_udp, turned, visitor};

/// A server that stands still for longer than its clients wait, and goes on: rathole's client has
/// registered again by then, and its UDP services are served, also for visitors who have sent all
/// the while.
#[test]
fn udp_of_rathole_s_client_is_back_after_a_frozen_server() {
    const SERVICES: usize = 3;
    const ROUNDS: usize = 6;
    let _alone = alone();
    let mut vps = Vps::with(Transport::Noise);
    vps.client_extra = "heartbeat_timeout = 2\n".to_owned();
    vps.server_extra = "heartbeat_interval = 1\n".to_owned();
    let homes: Vec<UdpHome> = (0..SERVICES).map(|_| UdpHome::turning((vps.ip, 0).into())).collect();
    let doors: Vec<_> = (0..SERVICES).map(|_| free_port(vps.ip)).collect();
    let names = ["a", "b", "c"];
    let services: String =
        names.iter().zip(&doors).map(|(name, door)| server_udp(name, &quoted(*door), "")).collect();
    let server = vps.server(&services);
    let services: String = names
        .iter()
        .zip(&homes)
        .map(|(name, home)| client_udp(name, &home.address.to_string()))
        .collect();
    let client = rathole::client(&vps, "rathole-client", &services);
    let stopping = AtomicBool::new(false);
    thread::scope(|scope| {
        let end = EndOfTalk(&stopping);
        let counts: Vec<_> = doors
            .iter()
            .map(|door| {
                let (socket, count) = (visitor(*door), Arc::default());
                let (stopping, counted) = (&stopping, Arc::clone(&count));
                scope.spawn(move || talk(&socket, stopping, &counted));
                count
            })
            .collect();
        for round in 0..ROUNDS {
            await_answers(&counts, &format!("round {round}, before"));
            let sessions = client_sessions(&client);
            server.signal(Signal::STOP);
            // Until the client has given it up, and is about to dial again.
            eventually(PATIENCE, "the client gives the server up", || {
                (client_sessions(&client) > sessions).then_some(())
            });
            thread::sleep(Duration::from_millis(200 * round as u64));
            server.signal(Signal::CONT);
            let start = Instant::now();
            await_answers(&counts, &format!("round {round}, after the server goes on"));
            eprintln!("round {round}: all answered {:?} after it went on", start.elapsed());
        }
        drop(end);
    });
}

/// How often the client has said that it lost a control channel, or dials again.
fn client_sessions(client: &Proc) -> usize {
    let log = client.log();
    log.lines().filter(|line| line.contains("Retry") || line.contains("retry")).count()
}

/// Asks every 20 ms and counts the answers, late ones too: what waited while the server stood still
/// is answered at once.
fn talk(socket: &UdpSocket, stopping: &AtomicBool, count: &AtomicUsize) {
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut number = 0_u32;
    let mut answer = [0; 64];
    while !stopping.load(Ordering::Relaxed) {
        number += 1;
        let _ = socket.send(&number.to_be_bytes());
        let asked = Instant::now();
        while let Ok(length) = socket.recv(&mut answer) {
            let question = turned(&answer[..length]);
            let question = u32::from_be_bytes(question.try_into().expect("of four bytes"));
            // One of the first seconds says nothing about now.
            count.fetch_add(usize::from(question + 10 >= number), Ordering::Relaxed);
            if question == number {
                break;
            }
        }
        thread::sleep(Duration::from_millis(20).saturating_sub(asked.elapsed()));
    }
}

/// Waits until every visitor has had five more answers.
#[track_caller]
fn await_answers(counts: &[Arc<AtomicUsize>], when: &str) {
    let read = || -> Vec<usize> { counts.iter().map(|it| it.load(Ordering::Relaxed)).collect() };
    let before = read();
    let start = Instant::now();
    loop {
        let now = read();
        if now.iter().zip(&before).all(|(now, before)| *now >= before + 5) {
            return;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "{when}: answers {before:?}, {now:?} {PATIENCE:?} later"
        );
        thread::sleep(Duration::from_millis(10));
    }
}

/// Ends the visitors' talk when dropped, by a failing assertion too.
struct EndOfTalk<'a>(&'a AtomicBool);

impl Drop for EndOfTalk<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
