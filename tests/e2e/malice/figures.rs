//! The figures: 1,500 hostile connections of each kind, from one address and from fifty, while 50
//! honest visitors come and go.
//!
//! By default a small variant runs, for a machine that is busy with other things;
//! `E2E_FIGURES=full` is the real one. A 99th percentile is that of the median of several windows;
//! in the small variant, of the one that the other tests disturb least: a fault is in all of them.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use underpass::wire::message::{Message, Reason, kind};

use super::native::{HTTPS, Session, frame};
use super::{Ask, Doors, Pace, Visits, hostile, visits_until};
use crate::harness::{PATIENCE, alone};
use crate::house::{Transport, Vps, client_service, server_service};
use crate::http_house::get;
use crate::visitor::{client_hello, connect_from};

/// For the server process; what it holds of others' bytes is bounded by less.
const MEMORY: u64 = 64_000_000;
const LIMITS: &str = "[server.limits]\nmemory = \"32 MB\"\n";

/// How much of it.
#[derive(Clone, Copy)]
struct Scale {
    hostile: usize,
    windows: usize,
    window: Duration,
}

impl Scale {
    fn chosen() -> Scale {
        match is_full() {
            true => Scale { hostile: 1_500, windows: 5, window: Duration::from_secs(3) },
            false => Scale { hostile: 300, windows: 3, window: Duration::from_millis(700) },
        }
    }
}

pub(super) fn is_full() -> bool {
    std::env::var("E2E_FIGURES").is_ok_and(|which| which == "full")
}

/// One hostile connection, or why there is none.
type Come<'a> = dyn Fn(Ipv4Addr, usize) -> std::io::Result<TcpStream> + Sync + 'a;

/// Honest visitors fare well among hostile ones that `come`, and come again when they are closed.
#[track_caller]
fn holds_against(name: &str, doors: &Doors, come: &Come<'_>) {
    holds_against_so_many(name, doors, 1_000, come);
}

/// The same at `rate` of them a second.
#[track_caller]
fn holds_against_so_many(name: &str, doors: &Doors, rate: u32, come: &Come<'_>) {
    let scale = Scale::chosen();
    let asks = doors.asks();
    window(&asks, scale.window);
    let quiet = windows(&asks, scale);
    for addresses in [1, 50] {
        let enough = AtomicBool::new(false);
        let crowd = Crowd::new(scale.hostile, addresses);
        let among = thread::scope(|scope| {
            let end = Enough(&enough);
            for part in 0..PARTS {
                let (crowd, enough) = (&crowd, &enough);
                scope.spawn(move || crowd.keep_coming(part, rate, enough, come));
            }
            let among = windows(&asks, scale);
            let (opened, held) = (crowd.opened.load(Ordering::Relaxed), crowd.held());
            eprintln!(
                "{name}, {addresses} addresses: {opened} opened, {held} held at the end; \
                 quiet p99 {:?} of {:?}, among them {:?} of {:?}; most resident {} KB",
                typical(&quiet),
                p99s(&quiet),
                typical(&among),
                p99s(&among),
                doors.server.most_resident() / 1000,
            );
            assert!(opened >= scale.hostile, "only {opened} hostile connections");
            drop(end);
            among
        });
        for visits in &among {
            visits.assert_all_served();
        }
        let (quiet, among) = (typical(&quiet), typical(&among));
        // Below some milliseconds it is the scheduler that is measured.
        let bound = quiet.max(Duration::from_millis(4)) * 5;
        assert!(
            among < bound,
            "{name}: p99 {among:?} among {addresses} addresses, quiet {quiet:?}"
        );
        let most = doors.server.most_resident();
        assert!(most < MEMORY, "{name}: {most} bytes resident at most");
        super::assert_no_descriptor_missed(&doors.server);
        // The next ones find an empty house.
        thread::sleep(Duration::from_millis(500));
    }
}

/// Fifty visitors who come and go for so long.
fn window(asks: &[Ask], time: Duration) -> Visits {
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        let visitors = scope.spawn(|| {
            let pace = Pace { at_once: 50, pause: Duration::from_millis(200) };
            visits_until(asks, pace, PATIENCE, &enough)
        });
        thread::sleep(time);
        enough.store(true, Ordering::Relaxed);
        visitors.join().unwrap()
    })
}

fn windows(asks: &[Ask], scale: Scale) -> Vec<Visits> {
    (0..scale.windows).map(|_| window(asks, scale.window)).collect()
}

fn p99s(windows: &[Visits]) -> Vec<Duration> {
    let mut all: Vec<_> = windows.iter().map(Visits::p99).collect();
    all.sort();
    all
}

fn typical(windows: &[Visits]) -> Duration {
    p99s(windows)[if is_full() { windows.len() / 2 } else { 0 }]
}

/// Threads that open hostile connections.
const PARTS: usize = 2;

/// Hostile connections, so many at a time.
struct Crowd {
    addresses: usize,
    slots: Vec<Mutex<Option<TcpStream>>>,
    opened: AtomicUsize,
}

impl Crowd {
    fn new(count: usize, addresses: usize) -> Crowd {
        let slots = (0..count).map(|_| Mutex::default()).collect();
        Crowd { addresses, slots, opened: AtomicUsize::new(0) }
    }

    /// Opens what is not there, at most `rate` a second in all, so that it is the server that is
    /// measured and not this.
    fn keep_coming(&self, part: usize, rate: u32, enough: &AtomicBool, come: &Come<'_>) {
        let pause = Duration::from_secs(1) * PARTS as u32 / rate;
        while !enough.load(Ordering::Relaxed) {
            for number in (part..self.slots.len()).step_by(PARTS) {
                if enough.load(Ordering::Relaxed) {
                    return;
                }
                let mut slot = self.slots[number].lock().unwrap();
                if slot.as_ref().is_some_and(is_open) {
                    continue;
                }
                // The old one goes first.
                *slot = None;
                let next = Instant::now() + pause;
                *slot = come(hostile(number, self.addresses), number).ok();
                self.opened.fetch_add(1, Ordering::Relaxed);
                drop(slot);
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn held(&self) -> usize {
        self.slots.iter().filter(|slot| slot.lock().unwrap().as_ref().is_some_and(is_open)).count()
    }
}

/// Whether neither an end nor a reset has come. What has come before it is left unread.
fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).is_ok()
        && match stream.peek(&mut [0]) {
            Ok(length) => length > 0 && matches!(stream.take_error(), Ok(None)),
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
}

/// Ends what goes on when dropped, by a failing assertion too.
pub(super) struct Enough<'a>(pub(super) &'a AtomicBool);

impl Drop for Enough<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn doors(transport: Transport) -> Doors {
    let vps = Vps { server_extra: LIMITS.to_owned(), ..Vps::with(transport) };
    Doors::open(vps, 4096, &server_service("evil", &["evil.example.com"]))
}

/// A connection whose writes do not wait: what does not fit is not said.
fn come_from(source: Ipv4Addr, to: SocketAddr, says: &[u8]) -> std::io::Result<TcpStream> {
    let mut stream = connect_from(source, to)?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    stream.set_write_timeout(Some(Duration::from_millis(500)))?;
    stream.write_all(says)?;
    Ok(stream)
}

#[test]
fn holds_against_unfinished_heads_behind_an_answer() {
    let _alone = alone();
    let doors = doors(Transport::Noise);
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(63 * 1024));
    holds_against("heads", &doors, &|source, _| {
        let request = get("nobody.example.org", "/");
        let mut stream = come_from(source, doors.http, request.as_bytes())?;
        let _ = stream.read(&mut [0; 4096])?;
        stream.write_all(head.as_bytes())?;
        Ok(stream)
    });
}

#[test]
fn holds_against_idle_visitors() {
    let _alone = alone();
    let doors = doors(Transport::Noise);
    holds_against("idle", &doors, &|source, _| {
        let request = get("nobody.example.org", "/");
        let mut stream = come_from(source, doors.http, request.as_bytes())?;
        let _ = stream.read(&mut [0; 4096])?;
        Ok(stream)
    });
}

#[test]
fn holds_against_unfinished_hellos() {
    let _alone = alone();
    let doors = doors(Transport::Noise);
    // A ClientHello of 60 KB in records of 16 KB, of which the end is missing.
    let mut hello = vec![22, 3, 1, 0x40, 0, 1, 0, 0xea, 0x60, 3, 3];
    hello.resize(5 + 0x4000, 0x5a);
    for _ in 0..2 {
        hello.extend([22, 3, 1, 0x40, 0]);
        hello.resize(hello.len() + 0x4000, 0x5a);
    }
    let entry = doors.vps.https;
    holds_against("hellos", &doors, &|source, _| come_from(source, entry, &hello));
}

#[test]
fn holds_against_busy_visitors() {
    let _alone = alone();
    let doors = doors(Transport::Noise);
    let hello = client_hello(Some("pi.example.com"));
    let entry = doors.vps.https;
    holds_against("busy", &doors, &|source, _| come_from(source, entry, &hello));
}

#[test]
fn holds_against_those_who_do_not_read() {
    let _alone = alone();
    let services = server_service("files", &["files.example.com"]);
    let vps = Vps { server_extra: LIMITS.to_owned(), ..Vps::new() };
    let doors = Doors::open(vps, 4096, &services);
    let files = super::stalled::downloads(&doors.vps);
    let service = client_service("files", files.address);
    let client = doors.vps.client("files-client", &service);
    client.wait_for_log(&["files", "is up"]);
    // Each is a download of half a megabyte at first: what they hold is measured, not that.
    holds_against_so_many("stalled", &doors, 200, &|source, _| {
        let stream = super::stalled::stalled(source, doors.vps.https);
        stream.ok_or_else(|| ErrorKind::ConnectionRefused.into())
    });
}

#[test]
fn holds_against_silent_strangers_on_the_tunnel_port() {
    let _alone = alone();
    let doors = doors(Transport::Noise);
    holds_against("strangers", &doors, &|source, number| {
        come_from(source, doors.vps.tunnel, &[0x30][..number % 2])
    });
}

#[test]
fn holds_against_failed_handshakes() {
    let _alone = alone();
    let doors = doors(Transport::Noise);
    let junk = handshake_junk(7);
    holds_against("handshakes", &doors, &|source, _| come_from(source, doors.vps.tunnel, &junk));
}

#[test]
fn holds_against_floods_of_reset() {
    let _alone = alone();
    let doors = doors(Transport::Tcp);
    let reset = frame(&Message::Reset { lease: u32::MAX, reason: Reason::Broken });
    let flood = reset.repeat(64 * 1024 / reset.len());
    holds_against("resets", &doors, &|source, _| come_from(source, doors.vps.tunnel, &flood));
}

#[test]
fn holds_against_guessers() {
    let _alone = alone();
    let doors = doors(Transport::Tcp);
    holds_against("guesses", &doors, &|source, number| {
        let mut session = Session::open(source, doors.vps.tunnel, number as u64)?;
        let wrong = session.register_with(0, HTTPS, b"evil", b"a guess");
        session.control.stream.write_all(&wrong.repeat(50))?;
        Ok(session.control.stream)
    });
}

#[test]
fn holds_against_sessions_of_one_token() {
    let _alone = alone();
    let doors = doors(Transport::Tcp);
    holds_against("sessions", &doors, &|source, number| {
        let mut session = Session::open(source, doors.vps.tunnel, number as u64)?;
        let register = session.register(0, HTTPS, b"evil");
        session.control.stream.write_all(&register)?;
        session.registration()?;
        Ok(session.control.stream)
    });
}

#[test]
fn holds_against_links_that_nobody_asked_for() {
    let _alone = alone();
    let doors = doors(Transport::Tcp);
    let tunnel = doors.vps.tunnel;
    let session = Session::registered(hostile(0, 1), tunnel, 1, HTTPS, "evil");
    holds_against("links", &doors, &|source, _| Ok(session.link_from(source)?.stream));
}

#[test]
fn holds_against_links_that_never_say_ready() {
    let _alone = alone();
    let doors = doors(Transport::Tcp);
    let (tunnel, https) = (doors.vps.tunnel, doors.vps.https);
    let hello = client_hello(Some("evil.example.com"));
    // Sessions end by themselves when they do not answer; there is always one.
    let sessions = Mutex::new(Session::registered(hostile(0, 1), tunnel, 1, HTTPS, "evil"));
    holds_against("settling", &doors, &|source, number| {
        let mut session = sessions.lock().unwrap();
        let mut link = match session.link_from(source) {
            Ok(link) => link,
            Err(_) => {
                *session = Session::registered(source, tunnel, 2 + number as u64, HTTPS, "evil");
                session.link_from(source)?
            }
        };
        link.stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        let visitor = come_from(source, https, &hello)?;
        link.expect(kind::OPEN)?;
        link.say(&Message::Fin)?;
        visitor.shutdown(Shutdown::Write)?;
        Ok(link.stream)
    });
}

/// A first Noise message of the right length that no key opens.
pub(super) fn handshake_junk(seed: u8) -> Vec<u8> {
    [&[0x30, 0x00][..], &[seed; 48]].concat()
}
