//! P10, P18: clients that hang, and lines that go away and come back.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{PATIENCE, alone, wait_until};
use crate::home::Home;
use crate::house::{Vps, client_service, returns_to, server_service, settled};
use crate::visitor::{Seen, client_hello, connect, home, reset, visit, visit_within};

/// The line between a client and its server, of which the test decides.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    state: Arc<AtomicU8>,
    first: Arc<Mutex<Vec<u8>>>,
    _home: Home,
}

/// Bytes pass.
const PASSES: u8 = 0;
/// Nothing passes and nobody is told: what a lost line looks like.
const SILENT: u8 = 1;
/// All connections are reset, and new ones too.
const CUT: u8 = 2;

impl Relay {
    pub(crate) fn start(ip: Ipv4Addr, to: SocketAddr) -> Relay {
        let state = Arc::new(AtomicU8::new(PASSES));
        let first = Arc::new(Mutex::new(Vec::new()));
        let shared = (state.clone(), first.clone());
        let accept = move |near: TcpStream| {
            let (state, first) = &shared;
            // A line that is gone lets no connection through; one that is silent, not even later.
            let far = match state.load(Ordering::SeqCst) {
                PASSES => TcpStream::connect(to).ok(),
                _ => None,
            };
            let Some(far) = far else {
                wait_for_cut(state);
                return reset(near);
            };
            for stream in [&near, &far] {
                stream.set_nodelay(true).unwrap();
                stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            }
            thread::scope(|scope| {
                scope.spawn(|| pass(&near, &far, state, |bytes| note(first, bytes)));
                pass(&far, &near, state, |_| {});
            });
            // A line that was silent forgets what was under way, and its connections.
            if state.load(Ordering::SeqCst) != PASSES {
                reset(near);
                reset(far);
            }
        };
        let home = Home::start(ip, accept);
        Relay { address: home.address, state, first, _home: home }
    }

    /// Up to 64 KB of what the first client has sent.
    pub(crate) fn first_bytes(&self) -> Vec<u8> {
        self.first.lock().unwrap().clone()
    }

    /// Resets everything; [`Relay::restore`] lets connections through again.
    pub(crate) fn cut(&mut self) {
        self.state.store(CUT, Ordering::SeqCst);
    }

    fn silence(&mut self) {
        self.state.store(SILENT, Ordering::SeqCst);
    }

    pub(crate) fn restore(&mut self) {
        self.state.store(PASSES, Ordering::SeqCst);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.cut();
    }
}

/// Copies until an end, an error, or until the line has been away.
fn pass(mut from: &TcpStream, mut to: &TcpStream, state: &AtomicU8, note: impl Fn(&[u8])) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if state.load(Ordering::SeqCst) != PASSES {
            // What is here now never arrives: a connection does not outlive a lost line here.
            wait_for_cut(state);
            return;
        }
        match from.read(&mut buffer) {
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(n) => {
                note(&buffer[..n]);
                if to.write_all(&buffer[..n]).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => {
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
        }
    }
}

/// Holds a dead connection open for as long as the line is silent.
fn wait_for_cut(state: &AtomicU8) {
    while state.load(Ordering::SeqCst) == SILENT {
        thread::sleep(Duration::from_millis(5));
    }
}

fn note(first: &Mutex<Vec<u8>>, bytes: &[u8]) {
    let mut first = first.lock().unwrap();
    if first.len() < 64 * 1024 {
        first.extend(bytes);
    }
}

/// P10: a client that hangs with its sockets open is replaced at once by another one with the
/// same token; woken up, it is told, does not fight, and serves again when the other is gone.
#[test]
fn p10_a_hanging_client_is_replaced_at_once_and_does_not_fight() {
    let _alone = alone();
    let vps = Vps::new();
    let (first_home, second_home) = (Home::named(vps.ip, "first"), Home::named(vps.ip, "second"));
    let other_home = Home::named(vps.ip, "other");
    let services = server_service("pi", &["pi.example.com"])
        + &server_service("other", &["other.example.com"]);
    let server = vps.server(&services);
    // The first client has a service more, which it keeps.
    let services =
        client_service("pi", first_home.address) + &client_service("other", other_home.address);
    let mut first = vps.client("first", &services);
    vps.wait_served("pi.example.com", "first");
    vps.wait_served("other.example.com", "other");
    let before = settled(&[&server]);

    first.signal(Signal::STOP);
    let start = Instant::now();
    let mut second = vps.client("second", &client_service("pi", second_home.address));
    wait_until(PATIENCE, "the second client serves", || {
        // Until then a visitor may be sent to the hanging one, who says nothing.
        let patience = Duration::from_millis(300);
        visit_within(vps.https, "pi.example.com", patience) == home("second")
    });
    let taken = start.elapsed();
    assert!(taken < Duration::from_secs(3), "taken over after {taken:?}");

    first.signal(Signal::CONT);
    let (start, mut visits) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(12) {
        assert_eq!(visit(vps.https, "pi.example.com"), home("second"));
        visits += 1;
        thread::sleep(Duration::from_millis(20));
    }
    vps.wait_served("other.example.com", "other");
    first.assert_running();
    // P19: two that claim one service are not a hundred lines.
    for process in [&server, &first, &second] {
        let lines = process.log().lines().count();
        assert!(lines < 40, "{lines} lines in {:?}, {visits} visits", start.elapsed());
    }

    second.stop();
    vps.wait_served("pi.example.com", "first");
    returns_to(&before, &[&server]);
}

/// P18: the line goes away, by resets or in silence, and comes back, twenty times over. Each time
/// the home is served again in less than 10 s; memory and descriptors stay flat.
#[test]
fn p18_a_line_that_comes_and_goes_twenty_times() {
    let mut vps = Vps::new();
    vps.server_extra = "heartbeat_interval = 1\n".into();
    vps.client_extra = "heartbeat_timeout = 3\n".into();
    let there = Home::named(vps.ip, "pi");
    let mut relay = Relay::start(vps.ip, vps.tunnel);
    vps.dial = Some(relay.address);
    let server = vps.server(&server_service("pi", &["pi.example.com"]));
    let client = vps.client_ready("client", &client_service("pi", there.address));
    let before = settled(&[&server, &client]);
    let resident = || [&server, &client].map(|process| process.resident());
    let mut resident_early = resident();
    let mut slowest = Duration::ZERO;
    for cycle in 0..20 {
        match cycle % 4 {
            0 => relay.silence(),
            _ => relay.cut(),
        }
        // Gone is what both sides have noticed: the server has no home, the client no link.
        wait_until(PATIENCE, "the server gives the client up", || {
            matches!(visit(vps.https, "pi.example.com"), Seen::Alert(_))
        });
        wait_until(PATIENCE, "the client gives its links up", || client.descriptors() < before[1]);
        relay.restore();
        let start = Instant::now();
        vps.wait_served("pi.example.com", "pi");
        slowest = slowest.max(start.elapsed());
        let limit = Duration::from_secs(10);
        assert!(start.elapsed() < limit, "cycle {cycle}: back after {:?}", start.elapsed());
        if cycle == 4 {
            resident_early = resident();
        }
    }
    eprintln!("slowest return: {slowest:?}");
    returns_to(&before, &[&server, &client]);
    for (late, early) in resident().into_iter().zip(resident_early) {
        assert!(late < early + (4 << 20), "resident memory: {early} early, {late} late");
    }
}

/// With the line in silence a visitor of the server is not kept waiting for the home's return.
#[test]
fn p18_a_silent_line_ends_its_visitors() {
    let mut vps = Vps::new();
    vps.server_extra = "heartbeat_interval = 1\n".into();
    vps.client_extra = "heartbeat_timeout = 3\n".into();
    let there = Home::echo(vps.ip);
    let mut relay = Relay::start(vps.ip, vps.tunnel);
    vps.dial = Some(relay.address);
    let server = vps.server(&server_service("pi", &["pi.example.com"]));
    let client = vps.client_ready("client", &client_service("pi", there.address));
    let hello = client_hello(Some("pi.example.com"));
    let mut visitor = connect(vps.https).unwrap();
    visitor.write_all(&hello).unwrap();
    visitor.read_exact(&mut vec![0; hello.len()]).unwrap();
    relay.silence();
    // When the session is dead, so are its links and their visitors: by a reset.
    let end = visitor.read(&mut [0; 16]).map_err(|error| error.kind());
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
    relay.restore();
    vps.wait_ready();
    drop((server, client));
}
