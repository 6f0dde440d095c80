//! What the tests of malice share: where hostile and honest ones come from, and how the honest ones
//! fare meanwhile.
//!
//! Hostile ones come from 127.200.0.0/16, honest ones from 127.210.0.0/16; each test is alone while
//! it measures.

mod address;
mod clients;
mod close;
mod datagrams;
mod figures;
mod flood;
mod frozen;
mod guesses;
mod held;
mod junk;
mod keys;
mod native;
mod reconnect;
mod seen;
mod spare;
mod stalled;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Proc, SECRET, free_port};
use crate::home::Home;
use crate::house::{Transport, Vps, client_service, server_service};
use crate::http_house::naming;
use crate::visitor::{client_hello, connect_from};

/// One of `many` hostile addresses.
pub(crate) fn hostile(number: usize, many: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 200, 0, 1 + (number % many) as u8)
}

/// One of a hundred honest addresses.
pub(crate) fn honest(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 210, 0, 1 + (number % 100) as u8)
}

/// The program starts with no more than `limit` descriptors.
pub(crate) fn with_descriptors(limit: usize) -> Vec<String> {
    ["prlimit".to_owned(), format!("--nofile={limit}:{limit}"), "--".to_owned()].into()
}

/// A server with entries of both kinds, and a home at each: `pi` sends TLS back, `site` answers
/// requests.
pub(crate) struct Doors {
    pub(crate) server: Proc,
    _client: Proc,
    pub(crate) http: SocketAddr,
    _homes: [Home; 2],
    /// Last, for the directory that holds everybody's logs.
    pub(crate) vps: Vps,
}

impl Doors {
    /// `limit` descriptors for the server; `services` are more of its services.
    pub(crate) fn open(mut vps: Vps, limit: usize, services: &str) -> Doors {
        let http = free_port(vps.ip);
        // Before what may be a table.
        vps.server_extra = format!("http_addr = \"{http}\"\n{}", vps.server_extra);
        let (echo, site) = (Home::echo(vps.ip), naming(vps.ip, "site"));
        let site_service = format!(
            "[server.services.site]\ntype = \"http\"\ntoken = \"{SECRET}-site\"\n\
             hosts = [\"site.example.com\"]\n"
        );
        vps.wrapper = with_descriptors(limit);
        let pi = server_service("pi", &["pi.example.com"]);
        let server = vps.server(&(pi + &site_service + services));
        vps.wrapper = Vec::new();
        let services = client_service("pi", echo.address)
            + &format!(
                "[client.services.site]\ntype = \"http\"\ntoken = \"{SECRET}-site\"\n\
                 local_addr = \"{}\"\n",
                site.address
            );
        let client = vps.client_ready("client", &services);
        Doors { server, _client: client, http, _homes: [echo, site], vps }
    }

    /// What honest visitors ask for.
    pub(crate) fn asks(&self) -> [Ask; 2] {
        [
            Ask::Hello { to: self.vps.https, host: "pi.example.com" },
            Ask::Request { to: self.http, host: "site.example.com" },
        ]
    }
}

/// A server without encryption, an honest home on it, and a service for the hostile client.
pub(crate) struct Clear {
    pub(crate) server: Proc,
    _client: Proc,
    _echo: Home,
    /// Last, for the directory that holds everybody's logs.
    pub(crate) vps: Vps,
}

impl Clear {
    pub(crate) fn start() -> Clear {
        let vps = Vps::with(Transport::Tcp);
        let echo = Home::echo(vps.ip);
        let services = server_service("pi", &["pi.example.com"])
            + &server_service("evil", &["evil.example.com"]);
        let server = vps.server(&services);
        let client = vps.client_ready("client", &client_service("pi", echo.address));
        Clear { server, _client: client, _echo: echo, vps }
    }

    pub(crate) fn ask(&self) -> Ask {
        Ask::Hello { to: self.vps.https, host: "pi.example.com" }
    }

    pub(crate) fn evil(&self, instance: u64) -> native::Session {
        native::Session::registered(hostile(0, 1), self.vps.tunnel, instance, native::HTTPS, "evil")
    }
}

/// How an honest visitor comes in.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    /// A ClientHello that the home sends back.
    Hello { to: SocketAddr, host: &'static str },
    /// A request, answered with 200, on a connection of its own.
    Request { to: SocketAddr, host: &'static str },
}

impl Ask {
    /// A visit from `source`: how long it took, or what went wrong.
    pub(crate) fn visit(&self, source: Ipv4Addr, patience: Duration) -> Result<Duration, String> {
        let start = Instant::now();
        self.try_visit(source, patience).map_err(|error| {
            format!("{self:?} from {source}: {error} after {:?}", start.elapsed())
        })?;
        Ok(start.elapsed())
    }

    fn try_visit(&self, source: Ipv4Addr, patience: Duration) -> Result<(), String> {
        let text = |error: std::io::Error| error.to_string();
        let connect = |to| -> std::io::Result<TcpStream> {
            let stream = connect_from(source, to)?;
            stream.set_read_timeout(Some(patience))?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        match self {
            Ask::Hello { to, host } => {
                let hello = client_hello(Some(host));
                let mut stream = connect(*to).map_err(text)?;
                stream.write_all(&hello).map_err(text)?;
                let mut echo = vec![0; hello.len()];
                stream.read_exact(&mut echo).map_err(text)?;
                if echo == hello { Ok(()) } else { Err(format!("{}", echo.escape_ascii())) }
            }
            Ask::Request { to, host } => {
                let mut stream = connect(*to).map_err(text)?;
                // In two pieces, as a slow line brings it.
                stream.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n").map_err(text)?;
                thread::sleep(Duration::from_millis(2));
                write!(stream, "Host: {host}\r\n\r\n").map_err(text)?;
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).map_err(text)?;
                match answer.starts_with(b"HTTP/1.1 200 ") {
                    true => Ok(()),
                    false => Err(format!("{:?}", String::from_utf8_lossy(&answer))),
                }
            }
        }
    }
}

/// What honest visitors have seen.
#[derive(Debug, Default)]
pub(crate) struct Visits {
    /// Of those that were served, sorted.
    pub(crate) times: Vec<Duration>,
    pub(crate) failures: Vec<String>,
}

impl Visits {
    pub(crate) fn p99(&self) -> Duration {
        self.at(99)
    }

    pub(crate) fn median(&self) -> Duration {
        self.at(50)
    }

    fn at(&self, hundredths: usize) -> Duration {
        self.times.get(self.times.len() * hundredths / 100).copied().unwrap_or_default()
    }

    /// Nobody was turned away.
    #[track_caller]
    pub(crate) fn assert_all_served(&self) {
        let (failed, all) = (self.failures.len(), self.failures.len() + self.times.len());
        let first = self.failures.iter().take(3).collect::<Vec<_>>();
        assert!(failed == 0, "{failed} of {all} honest visitors failed: {first:#?}");
        assert!(all > 0, "no honest visitor came");
    }
}

impl std::fmt::Display for Visits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (served, failed) = (self.times.len(), self.failures.len());
        let (median, p99) = (self.median(), self.p99());
        write!(f, "{served} served, {failed} failed, median {median:?}, p99 {p99:?}")
    }
}

/// How many honest visitors there are, and how long each stays away between two visits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) at_once: usize,
    pub(crate) pause: Duration,
}

impl Pace {
    /// As people do, if briskly: visitors are not to measure their own crowd alone.
    pub(crate) fn of(at_once: usize) -> Pace {
        Pace { at_once, pause: Duration::from_millis(5) }
    }
}

/// `count` visits in all, by `at_once` visitors, for each of `asks` in turn.
pub(crate) fn visits(asks: &[Ask], count: usize, at_once: usize, patience: Duration) -> Visits {
    let next = AtomicUsize::new(0);
    let goes_on = || next.fetch_add(1, Ordering::Relaxed) < count;
    come_and_go(asks, Pace::of(at_once), patience, goes_on)
}

/// Visits until `enough` is set.
pub(crate) fn visits_until(
    asks: &[Ask],
    pace: Pace,
    patience: Duration,
    enough: &AtomicBool,
) -> Visits {
    come_and_go(asks, pace, patience, || !enough.load(Ordering::Relaxed))
}

fn come_and_go(
    asks: &[Ask],
    Pace { at_once, pause }: Pace,
    patience: Duration,
    goes_on: impl Fn() -> bool + Sync,
) -> Visits {
    let goes_on = &goes_on;
    let visitor = |first: usize| {
        // Not all at the same moment.
        thread::sleep(pause * first as u32 / at_once as u32);
        let mut seen = Vec::new();
        while goes_on() {
            let number = first + seen.len();
            seen.push(asks[number % asks.len()].visit(honest(number), patience));
            thread::sleep(pause);
        }
        seen
    };
    let all: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..at_once).map(|first| scope.spawn(move || visitor(first))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut visits = Visits::default();
    for visit in all {
        match visit {
            Ok(time) => visits.times.push(time),
            Err(failure) => visits.failures.push(failure),
        }
    }
    visits.times.sort();
    visits
}

/// It was full, if it was, before it was out of descriptors.
#[track_caller]
pub(crate) fn assert_no_descriptor_missed(server: &Proc) {
    let log = server.log();
    let missed = log
        .lines()
        .find(|line| line.contains("cannot accept") || line.contains("Too many open files"));
    assert!(missed.is_none(), "out of descriptors before it is full: {missed:?}");
}
