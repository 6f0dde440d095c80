//! Tokens: how many may be guessed, and what one that is known may write into the log.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use underpass::wire::message::Registration;

use super::native::{HTTPS, Session};
use super::{Clear, hostile, visits};
use crate::harness::PATIENCE;

/// One connection, as many wrong tokens as it can say in its 5 s: it is told of 8.
#[test]
fn a_connection_may_guess_eight_times() {
    let clear = Clear::start();
    let mut session = Session::open(hostile(0, 1), clear.vps.tunnel, 1).unwrap();
    let wrong = session.register_with(0, HTTPS, b"evil", b"a guess");
    let answers = count_answers(&mut session, &wrong.repeat(200));
    let [accepted, refused] = answers;
    eprintln!("{refused} guesses answered on one connection");
    assert_eq!(accepted, 0);
    assert!(refused <= 8, "{refused} guesses answered on one connection");
    assert!(session.control.is_ended_within(Duration::from_secs(1)), "it is still open");
}

/// Dialling anew gives no new guesses: the address waits.
#[test]
fn an_address_that_guesses_waits() {
    let clear = Clear::start();
    let start = Instant::now();
    let mut guesses = 0;
    while start.elapsed() < Duration::from_secs(5) {
        let Ok(mut session) = Session::open(hostile(0, 1), clear.vps.tunnel, 1) else {
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        let wrong = session.register_with(0, HTTPS, b"evil", b"a guess");
        let _ = session.control.stream.write_all(&wrong.repeat(8));
        for _ in 0..8 {
            guesses += usize::from(session.registration().is_ok());
        }
    }
    eprintln!("{guesses} guesses of one address in 5 s");
    assert!(guesses <= 200, "{guesses} guesses of one address in 5 s");
    visits(&[clear.ask()], 20, 4, PATIENCE).assert_all_served();
}

/// A valid token, said again and again, is not a line in the log each time.
#[test]
fn a_token_said_again_is_no_line_in_the_log() {
    const TIMES: usize = 10_000;
    let clear = Clear::start();
    let mut session = clear.evil(1);
    let before = clear.server.log().lines().count();
    let mut stream = session.control.stream.try_clone().unwrap();
    let again = session.register(0, HTTPS, b"evil");
    let said = thread::spawn(move || {
        for _ in 0..TIMES / 100 {
            if stream.write_all(&again.repeat(100)).is_err() {
                return;
            }
        }
    });
    let mut accepted = 0;
    while accepted < TIMES {
        match session.registration() {
            Ok(Registration::Accepted) => accepted += 1,
            // The server may have enough of it.
            _ => break,
        }
    }
    said.join().unwrap();
    visits(&[clear.ask()], 20, 4, PATIENCE).assert_all_served();
    let lines = clear.server.log().lines().count() - before;
    eprintln!("{lines} lines for a token said {TIMES} times, {accepted} accepted");
    assert!(lines < 20, "{lines} lines for a token that was said {TIMES} times");
}

/// Reads answers to what is said over and over for 5 s: how many were accepted, and refused.
fn count_answers(session: &mut Session, said: &[u8]) -> [usize; 2] {
    let enough = AtomicBool::new(false);
    let mut stream = session.control.stream.try_clone().unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut goes_on = true;
            while goes_on && !enough.load(Ordering::Relaxed) {
                goes_on = stream.write_all(said).is_ok();
            }
        });
        let mut counts = [0; 2];
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(5) {
            match session.registration() {
                Ok(Registration::Accepted) => counts[0] += 1,
                Ok(_) => counts[1] += 1,
                Err(_) => break,
            }
        }
        enough.store(true, Ordering::Relaxed);
        counts
    })
}
