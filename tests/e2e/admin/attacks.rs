//! Those who mean harm at the admin door: they guess, they drip, they fill the house; visitors and
//! whoever may look do not notice.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Ask, counts, htpasswd, one, server_door, status};
use crate::harness::{PATIENCE, alone, free_port, wait_until};
use crate::house::Vps;
use crate::malice::{Doors, Pace, Visits, honest, hostile, visits_until, with_descriptors};
use crate::visitor::connect_from;

/// As apache2-utils makes it, and costlier: some 10 ms.
const BCRYPT: &str = "-nbB -C 8";

fn login(user: &str, password: &str) -> Ask {
    Ask::get("/api/v1/status").login(user, password)
}

/// Visitors who come and go for so long.
fn window(doors: &Doors, time: Duration) -> Visits {
    let (asks, enough) = (doors.asks(), AtomicBool::new(false));
    let pace = Pace { at_once: 20, pause: Duration::from_millis(100) };
    thread::scope(|scope| {
        let visitors = scope.spawn(|| visits_until(&asks, pace, PATIENCE, &enough));
        thread::sleep(time);
        enough.store(true, Ordering::Relaxed);
        visitors.join().unwrap()
    })
}

/// The window of three that the machine disturbs least.
fn best(doors: &Doors) -> Visits {
    let windows = (0..3).map(|_| window(doors, Duration::from_secs(1)));
    windows.min_by_key(Visits::p99).unwrap()
}

/// What came of guesses, by status; 0 where there was no answer.
type Answers = Mutex<BTreeMap<u16, usize>>;

/// Threads that guess, each so often that all of them make a thousand a second: some wait for an
/// answer.
const GUESSERS: usize = 32;

fn guess(door: SocketAddr, part: usize, addresses: usize, enough: &AtomicBool, seen: &Answers) {
    let mut next = Instant::now();
    let mut number = part;
    while !enough.load(Ordering::Relaxed) {
        let from = hostile(number, addresses);
        let answer = login("ann", &format!("guess {number}")).from(from).try_at(door);
        let status = answer.map_or(0, |answer| answer.status());
        *seen.lock().unwrap().entry(status).or_default() += 1;
        number += GUESSERS;
        next += Duration::from_millis(GUESSERS as u64);
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

#[test]
fn guesses_at_a_thousand_a_second_move_no_visitor_and_lock_nobody_else_out() {
    let _alone = alone();
    let vps = Vps::new();
    let door = free_port(vps.ip);
    let lines = ["ann", "bob"].map(|user| htpasswd(BCRYPT, user, "secret"));
    let users = format!("users = {lines:?}\n");
    let doors = Doors::open(vps, 4096, &server_door(door, &users));
    window(&doors, Duration::from_millis(500));
    let quiet = best(&doors);
    for (addresses, me, user) in [(1, 91, "ann"), (50, 92, "bob")] {
        let (enough, seen) = (AtomicBool::new(false), Answers::default());
        let start = Instant::now();
        let (among, waited) = thread::scope(|scope| {
            for part in 0..GUESSERS {
                let (enough, seen) = (&enough, &seen);
                scope.spawn(move || guess(door, part, addresses, enough, seen));
            }
            let _end = Enough(&enough);
            let among = best(&doors);
            // Somebody of another network, who has not been here yet and waits in the queue.
            let begun = Instant::now();
            let mine = login(user, "secret").from(honest(me));
            wait_until(PATIENCE, "the right password from elsewhere", || {
                mine.try_at(door).is_ok_and(|answer| match answer.status() {
                    200 => true,
                    status => {
                        assert_eq!(status, 503, "{answer:?}");
                        false
                    }
                })
            });
            (among, begun.elapsed())
        });
        let seen = seen.into_inner().unwrap();
        let (count, took) = (seen.values().sum::<usize>(), start.elapsed());
        eprintln!(
            "guesses of {addresses} addresses: {count} in {took:?}, {seen:?}; visitors quiet \
             {quiet}; among {among}; the right one after {waited:?}"
        );
        // A busy machine makes fewer.
        assert!(count as f64 > 250.0 * took.as_secs_f64(), "{count} guesses in {took:?}");
        among.assert_all_served();
        let bound = quiet.p99().max(Duration::from_millis(4)) * 5;
        assert!(among.p99() < bound, "p99 {:?} among, quiet {:?}", among.p99(), quiet.p99());
        assert_eq!(seen.get(&200), None, "a guess was right");
        let wrong = seen.get(&401).copied().unwrap_or_default();
        // Ten at once and ten a minute, of each.
        let most = addresses * (11 + took.as_secs() as usize / 6);
        assert!(wrong <= most, "{wrong} were checked");
        // All others wait for their minute, or for a place in the queue.
        let later = [429, 503].iter().filter_map(|status| seen.get(status)).sum::<usize>();
        assert!(later > count / 2, "{seen:?}");
        assert!(waited < Duration::from_secs(10), "{waited:?} for the right password");
    }
    // They have to wait, and are told how long; the right password does not help them.
    for number in 0..11 {
        login("ann", &format!("again {number}")).from(hostile(0, 1)).at(door);
    }
    let answer = login("ann", "secret").from(hostile(0, 1)).at(door);
    assert_eq!(answer.status(), 429);
    let seconds: u64 = answer.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=6).contains(&seconds), "{seconds}");
    assert!(doors.server.most_resident() < 64_000_000);
}

/// Ends what goes on when dropped, by a failing assertion too.
struct Enough<'a>(&'a AtomicBool);

impl Drop for Enough<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn an_unknown_user_takes_as_long_as_a_wrong_password() {
    let _alone = alone();
    let vps = Vps::new();
    let door = free_port(vps.ip);
    let lines = [htpasswd(BCRYPT, "ann", "secret"), htpasswd(BCRYPT, "bob", "hello")];
    let _server = vps.server(&server_door(door, &format!("users = {lines:?}\n")));
    let time = |user: &str, number: u8| {
        let from = Ipv4Addr::new(127, 201, 0, 1 + number);
        let ask = Ask::get("/").login(user, "wrong").from(from);
        let start = Instant::now();
        assert_eq!(ask.at(door).status(), 401);
        start.elapsed()
    };
    time("ann", 0);
    let mut times = [Vec::new(), Vec::new()];
    for number in 0..20 {
        times[0].push(time("ann", number));
        times[1].push(time(&format!("nobody{number}"), number));
    }
    let [known, unknown] = times.map(|mut times| {
        times.sort();
        times[times.len() / 2]
    });
    eprintln!("a wrong password {known:?}, an unknown user {unknown:?}");
    assert!(known > Duration::from_millis(3), "{known:?}: nothing was computed");
    let ratio = unknown.as_secs_f64() / known.as_secs_f64();
    assert!((0.75..1.25).contains(&ratio), "{known:?} and {unknown:?}");
}

fn looks(path: &Path) -> Duration {
    let start = Instant::now();
    assert_eq!(Ask::get("/api/v1/status").at_path(path).status(), 200);
    start.elapsed()
}

/// A TCP port and a socket in the file system.
fn both(door: SocketAddr, path: &Path) -> String {
    format!("[server.admin]\nbind_addr = [\"{door}\", \"unix:{}\"]\n", path.display())
}

#[test]
fn who_drips_goes_after_ten_seconds_and_keeps_nobody_out() {
    let _alone = alone();
    let vps = Vps::new();
    let (door, path) = (free_port(vps.ip), vps.dir.path("admin.sock"));
    let _server = vps.server(&both(door, &path));
    let start = Instant::now();
    let line = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ";
    let mut dripping: Vec<(TcpStream, Option<Duration>)> = Vec::new();
    for number in 0..100 {
        let mut stream = connect_from(hostile(number, 50), door).unwrap();
        let _ = stream.write_all(&line[..number % line.len()]);
        stream.set_nonblocking(true).unwrap();
        dripping.push((stream, None));
        // Meanwhile somebody looks, again and again.
        if number % 10 == 9 {
            assert!(looks(&path) < Duration::from_secs(5));
        }
    }
    let mut open = dripping.len();
    let mut slowest = Duration::ZERO;
    while open > 0 {
        assert!(start.elapsed() < PATIENCE, "{open} drip on after {:?}", start.elapsed());
        thread::sleep(Duration::from_millis(200));
        slowest = slowest.max(looks(&path));
        open = 0;
        for (stream, ended) in &mut dripping {
            if ended.is_some() {
                continue;
            }
            let is_gone = stream.write_all(b"x").is_err()
                || match stream.read(&mut [0; 512]) {
                    Ok(0) => true,
                    Ok(_) => false,
                    Err(error) => error.kind() != ErrorKind::WouldBlock,
                };
            match is_gone {
                true => *ended = Some(start.elapsed()),
                false => open += 1,
            }
        }
    }
    let times: Vec<Duration> = dripping.iter().filter_map(|(_, ended)| *ended).collect();
    let stayed = times.iter().filter(|time| **time > Duration::from_secs(8)).count();
    eprintln!(
        "{stayed} of 100 dripped on for long, the last {:?}; the slowest look {slowest:?}",
        times.iter().max()
    );
    // More than a few and no more than there are places.
    assert!((8..=32).contains(&stayed), "{times:?}");
    assert!(*times.iter().max().unwrap() < Duration::from_secs(15));
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert_eq!(status(door)["role"], "server");
}

#[test]
fn a_full_house_can_still_be_looked_at() {
    let _alone = alone();
    let mut vps = Vps::new();
    let (door, path) = (free_port(vps.ip), vps.dir.path("admin.sock"));
    vps.wrapper = with_descriptors(256);
    let server = vps.server(&both(door, &path));
    // Visitors who never say whole what they want, from many addresses.
    let mut here = Vec::new();
    for number in 0..600 {
        let from = Ipv4Addr::new(127, 202, (number / 200) as u8, 1 + (number % 200) as u8);
        let mut stream = connect_from(from, vps.https).unwrap();
        let _ = stream.write_all(b"\x16\x03");
        here.push(stream);
    }
    let https = vps.https.to_string();
    let ends = |seen: &serde_json::Value| {
        let strays = seen["strays"].as_array().unwrap().iter();
        let ends = strays.flat_map(|entry| counts(&entry["ends"]).into_iter().collect::<Vec<_>>());
        let full = ends.filter(|(word, _)| matches!(*word, "made_room" | "crowded"));
        full.map(|(_, count)| count).sum::<u64>() + {
            one(&seen["listeners"], "address", &https)["refused"].as_u64().unwrap()
        }
    };
    wait_until(PATIENCE, "the house is full", || ends(&status(door)) > 300);
    for _ in 0..20 {
        assert!(looks(&path) < Duration::from_secs(5));
        // At first it is starting.
        assert!(matches!(Ask::get("/healthz").at(door).status(), 200 | 503));
        assert_eq!(Ask::get("/metrics").at(door).status(), 200);
    }
    crate::malice::assert_no_descriptor_missed(&server);
    drop(here);
}

/// Nobody is asked for a password twice at a time: one thread checks, the loop goes on.
#[test]
fn a_slow_check_stops_nobody() {
    let _alone = alone();
    let vps = Vps::new();
    let door = free_port(vps.ip);
    // Some 100 ms each.
    let line = htpasswd("-nbB -C 11", "ann", "secret");
    let _server = vps.server(&server_door(door, &format!("users = [{line:?}]\n")));
    let state = AtomicU8::new(0);
    thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let answer = login("ann", "secret").from(honest(1)).at(door);
            state.store(1, Ordering::SeqCst);
            answer.status()
        });
        let mut slowest = Duration::ZERO;
        let mut times = 0;
        while state.load(Ordering::SeqCst) == 0 {
            let start = Instant::now();
            assert_eq!(Ask::get("/ping").at(door).status(), 503);
            slowest = slowest.max(start.elapsed());
            times += 1;
        }
        assert_eq!(asked.join().unwrap(), 200);
        eprintln!("{times} health checks meanwhile, the slowest {slowest:?}");
        assert!(times >= 3, "{times} health checks during one password");
    });
    // From now on it is known.
    let start = Instant::now();
    assert_eq!(login("ann", "secret").from(honest(2)).at(door).status(), 200);
    assert!(start.elapsed() < Duration::from_millis(50), "{:?}", start.elapsed());
}
