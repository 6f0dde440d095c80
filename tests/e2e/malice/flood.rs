//! Floods of RESET, faster than it is read: no loop is held by one, and no deadline waits for it.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use underpass::wire::message::{Message, Reason, kind};

use super::native::{Native, frame};
use super::{Clear, Pace, hostile, visits, visits_until};
use crate::harness::{PATIENCE, alone};
use crate::visitor::{client_hello, connect_from, reset};

/// A visitor of the hostile client's own.
fn accomplice(clear: &Clear) -> TcpStream {
    let mut stream = connect_from(hostile(1, 2), clear.vps.https).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&client_hello(Some("evil.example.com"))).unwrap();
    stream
}

/// How honest visitors fare while each of `flooders` says RESET of `lease` as fast as it can,
/// and that each of them is ended within `limit`.
#[track_caller]
fn endures(clear: &Clear, flooders: Vec<Native>, lease: u32, limit: Duration) {
    let quiet = visits(&[clear.ask()], 200, 4, PATIENCE);
    quiet.assert_all_served();
    let count = flooders.len();
    let (enough, ended) = (AtomicBool::new(false), AtomicBool::new(false));
    let start = Instant::now();
    let (seen, lives) = thread::scope(|scope| {
        let floods: Vec<_> = flooders
            .into_iter()
            .map(|native| {
                let enough = &enough;
                scope.spawn(move || {
                    flood(native, lease, limit * 2, enough);
                    start.elapsed()
                })
            })
            .collect();
        let visitors = scope.spawn(|| visits_until(&[clear.ask()], Pace::of(4), PATIENCE, &ended));
        let lives: Vec<_> = floods.into_iter().map(|it| it.join().unwrap()).collect();
        ended.store(true, Ordering::Relaxed);
        (visitors.join().unwrap(), lives)
    });
    enough.store(true, Ordering::Relaxed);
    let longest = lives.into_iter().max().unwrap_or_default();
    eprintln!("{count} floods ended after {longest:?}; quiet: {quiet}; meanwhile: {seen}");
    seen.assert_all_served();
    assert!(longest < limit + Duration::from_secs(2), "a flood went on for {longest:?}");
    let bound = quiet.p99() * 5 + Duration::from_millis(100);
    assert!(seen.p99() < bound, "p99 {:?} during floods, {:?} before", seen.p99(), quiet.p99());
}

/// Says RESET until the server ends it, or for so long.
fn flood(native: Native, lease: u32, most: Duration, enough: &AtomicBool) {
    let reset = frame(&Message::Reset { lease, reason: Reason::Broken });
    let flood = reset.repeat(64 * 1024 / reset.len());
    let start = Instant::now();
    let mut stream = &native.stream;
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    while start.elapsed() < most && !enough.load(Ordering::Relaxed) {
        // What was cut by a timeout would be no frame any more, and so an end for another reason.
        let mut rest = &flood[..];
        while !rest.is_empty() {
            match stream.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
            if start.elapsed() > most {
                break;
            }
        }
    }
}

/// A stranger that says RESET and nothing else, faster than it is read: it proves nothing, and is
/// gone after 5 s at the latest.
#[test]
fn a_stranger_that_floods_the_greeting_meets_its_deadline() {
    let _alone = alone();
    let clear = Clear::start();
    let dial = |number| Native::dial(hostile(number, 2), clear.vps.tunnel).unwrap();
    endures(&clear, (0..2).map(dial).collect(), u32::MAX, Duration::from_secs(5));
}

/// The same on spare links, of a client with a valid token: no lease has begun, so RESET is wrong.
#[test]
fn a_flood_on_a_spare_link_is_an_error() {
    let _alone = alone();
    let clear = Clear::start();
    let mut session = clear.evil(1);
    let wanted = session.links_wanted().unwrap();
    let links = (0..wanted.min(2)).map(|_| session.link().unwrap()).collect();
    endures(&clear, links, u32::MAX, Duration::from_secs(1));
}

/// And on a link whose visitor has broken: RESET of an earlier lease means nothing, so it may be
/// said; the second that the link has for its end is none the longer for it.
#[test]
fn a_flood_on_a_link_that_settles_meets_its_deadline() {
    let _alone = alone();
    let clear = Clear::start();
    let mut session = clear.evil(2);
    session.links_wanted().unwrap();
    let links = (0..2)
        .map(|_| {
            let mut link = session.link().unwrap();
            let visitor = accomplice(&clear);
            link.expect(kind::OPEN).unwrap();
            reset(visitor);
            while link.hear().unwrap().0 != kind::RESET {}
            link
        })
        .collect();
    endures(&clear, links, 0, Duration::from_secs(1));
}
