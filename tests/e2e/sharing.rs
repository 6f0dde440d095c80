//! Several homes for one service: who gets the visitors, and what becomes of them when a home fails
//! in each of the ways that homes have.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{PATIENCE, Proc, SECRET, alone, free_port, wait_until};
use crate::home::Home;
use crate::house::Vps;
use crate::visitor::{INTERNAL_ERROR, Seen, client_hello, connect, connect_from, look, say, visit};

const NAME: &str = "both.test";
const GET: &str = "GET / HTTP/1.1\r\nHost: both.test\r\nConnection: close\r\n\r\n";

/// A server whose two services are shared.
struct House {
    // Its folder goes last.
    _server: Proc,
    vps: Vps,
    http: SocketAddr,
    own: SocketAddr,
}

/// A home: what runs there, and its client.
struct Member {
    name: &'static str,
    program: Option<Home>,
    address: SocketAddr,
    file: String,
    client: Proc,
}

impl House {
    fn new(balance: &str) -> House {
        let mut vps = Vps::new();
        let (http, own) = (free_port(vps.ip), free_port(vps.ip));
        vps.server_extra = format!("http_addr = \"{http}\"\nheartbeat_interval = 1\n");
        let services = format!(
            "[server.services.both]\ntype = \"web\"\ntoken = \"{SECRET}\"\nhosts = [\"{NAME}\"]\n\
             balance = \"{balance}\"\n[server.services.own]\ntoken = \"{SECRET}-own\"\n\
             bind_addr = \"{own}\"\nbalance = \"{balance}\"\n"
        );
        let _server = vps.server(&services);
        House { _server, vps, http, own }
    }

    /// A home with what its file says of its part.
    fn member(&self, name: &'static str, part: &str) -> Member {
        let program = both(SocketAddr::from((self.vps.ip, 0)), name);
        let address = program.address;
        let services = format!(
            "[client.services.both]\ntype = \"web\"\ntoken = \"{SECRET}\"\n{part}\
             local_http_addr = \"{address}\"\nlocal_https_addr = \"{address}\"\n\
             [client.services.own]\ntoken = \"{SECRET}-own\"\nlocal_addr = \"{address}\"\n{part}"
        );
        let file = self.vps.client_file(&services);
        let client = self.vps.underpass(name, "--client", &file);
        client.wait_for_log(&["service own is up"]);
        Member { name, program: Some(program), address, file, client }
    }

    /// One visitor by each way in, and who has answered it.
    fn visit_each(&self) -> [(&'static str, Seen); 3] {
        let own = say(self.own, b"hello");
        [("tls", visit(self.vps.https, NAME)), ("tcp", own), ("http", get(self.http))]
    }

    fn wait_for(&self, name: &str) {
        let is_its = |seen: &Seen| *seen == Seen::Home(format!("I am {name}"));
        wait_until(2 * PATIENCE, name, || is_its(&visit(self.vps.https, NAME)));
    }
}

/// Says who it is to whoever has said a word: in HTTP if that was HTTP.
fn both(address: SocketAddr, name: &'static str) -> Home {
    Home::start_at(address, move |mut stream| {
        let mut buffer = [0; 4096];
        let Ok(length @ 1..) = stream.read(&mut buffer) else { return };
        let line = format!("I am {name}\n");
        let answer = match buffer[..length].starts_with(b"GET ") {
            true => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{line}", line.len()),
            false => line,
        };
        let _ = stream.write_all(answer.as_bytes());
        while stream.read(&mut buffer).is_ok_and(|length| length > 0) {}
    })
}

/// The last line of the answer to a GET, if it is a 200.
fn get(entry: SocketAddr) -> Seen {
    let answer = connect(entry).and_then(|mut stream| {
        stream.write_all(GET.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    });
    match answer {
        Ok(answer) if answer.starts_with("HTTP/1.1 200") => {
            Seen::Home(answer.lines().last().unwrap_or_default().to_owned())
        }
        Ok(answer) => Seen::Home(answer.lines().next().unwrap_or_default().to_owned()),
        Err(error) => Seen::Nothing(error.kind()),
    }
}

fn count(seen: impl Iterator<Item = Seen>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for seen in seen {
        let Seen::Home(name) = seen else { panic!("{seen:?}") };
        *counts.entry(name).or_default() += 1;
    }
    counts
}

#[test]
fn each_policy_spreads_visitors_as_it_says() {
    let two_to_one = BTreeMap::from([("I am one".to_owned(), 20), ("I am two".to_owned(), 10)]);
    let house = House::new("round_robin");
    let (one, _two) = (house.member("one", "weight = 2\n"), house.member("two", ""));
    for way in 0..3 {
        let seen = (0..30).map(|_| match way {
            0 => visit(house.vps.https, NAME),
            1 => say(house.own, b"hello"),
            _ => get(house.http),
        });
        assert_eq!(count(seen), two_to_one, "way {way}");
    }
    // Another weight in the file counts at once.
    let file = one.file.replace("weight = 2", "weight = 1");
    house.vps.dir.write("one.toml", &file);
    one.client.wait_for_log(&["reloaded"]);
    let half = BTreeMap::from([("I am one".to_owned(), 10), ("I am two".to_owned(), 10)]);
    wait_until(PATIENCE, "they have the same weight", || {
        count((0..20).map(|_| visit(house.vps.https, NAME))) == half
    });

    let house = House::new("least");
    let _members = [house.member("one", "weight = 2\n"), house.member("two", "")];
    // They all stay.
    let mut visitors: Vec<_> = (0..30).map(|_| connect(house.vps.https).unwrap()).collect();
    let seen = visitors.iter_mut().map(|stream| {
        stream.write_all(&client_hello(Some(NAME))).unwrap();
        look(stream)
    });
    assert_eq!(count(seen), two_to_one);

    let house = House::new("source");
    let _members = [house.member("one", ""), house.member("two", "")];
    let ask = |host: u8| {
        let mut stream = connect_from(Ipv4Addr::new(127, 77, 3, host), house.vps.https).unwrap();
        stream.write_all(&client_hello(Some(NAME))).unwrap();
        look(&mut stream)
    };
    let homes: Vec<Seen> = (1..=40).map(ask).collect();
    let again: Vec<Seen> = (1..=40).map(ask).collect();
    assert_eq!(homes, again, "each network keeps to its home");
    // One draw of a million has fewer than 5 of 40 on one side.
    let counts = count(homes.into_iter());
    assert!(counts.len() == 2 && counts.values().all(|count| *count >= 5), "{counts:?}");
}

/// Asks without a pause by every way in, while `what` goes on; nobody may fail.
fn nobody_fails(house: &House, during: &str, what: impl FnOnce()) {
    let (stop, failed) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let slowest = Mutex::new(Duration::ZERO);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    let begun = Instant::now();
                    for (way, seen) in house.visit_each() {
                        if !matches!(&seen, Seen::Home(line) if line.starts_with("I am ")) {
                            failed.lock().unwrap().push((way, seen));
                        }
                    }
                    let mut slowest = slowest.lock().unwrap();
                    *slowest = begun.elapsed().max(*slowest);
                    thread::sleep(Duration::from_millis(5));
                }
            });
        }
        // Also when something is wrong, or the others are waited for without end.
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let _stop = Stop(&stop);
        // The load is under way before and behind.
        thread::sleep(Duration::from_millis(100));
        what();
        thread::sleep(Duration::from_millis(100));
    });
    // A heartbeat and a half of silence, or three looks, and what a busy machine adds.
    let slowest = slowest.into_inner().unwrap();
    assert!(slowest < Duration::from_secs(12), "{during}: {slowest:?}");
    assert_eq!(failed.into_inner().unwrap(), [], "{during}");
}

#[test]
fn a_home_that_fails_in_any_way_costs_nobody_who_has_had_no_byte() {
    const CHECKED: &str = "health_check = { type = \"http\", interval = 1, timeout = 1, fall = 2, \
                           rise = 1 }\n";
    let _alone = alone();
    let house = House::new("round_robin");
    // The spare one is not looked at, so that nothing but what happens to it tells of it.
    let mut one = house.member("one", CHECKED);
    let _two = house.member("two", "");
    house.wait_for("one");
    house.wait_for("two");
    let only_two = |house: &House, within: Duration| {
        wait_until(within, "the other home has all", || {
            (0..6).all(|_| visit(house.vps.https, NAME) == Seen::Home("I am two".to_owned()))
        });
    };

    nobody_fails(&house, "its program stops", || {
        drop(one.program.take());
        only_two(&house, Duration::from_secs(1));
    });
    nobody_fails(&house, "its program starts", || {
        one.program = Some(both(one.address, one.name));
        house.wait_for("one");
    });
    nobody_fails(&house, "its client is killed", || {
        one.client.kill();
        only_two(&house, Duration::from_secs(1));
        one.client = house.vps.underpass("one", "--client", &one.file);
        house.wait_for("one");
    });
    nobody_fails(&house, "its client is frozen", || {
        one.client.signal(Signal::STOP);
        // 2.5 heartbeats, and some for the machine.
        only_two(&house, Duration::from_secs(5));
        one.client.signal(Signal::CONT);
        house.wait_for("one");
    });
    nobody_fails(&house, "its program hangs", || {
        drop(one.program.take());
        let silent = Home::start_at(one.address, |mut stream| {
            while stream.read(&mut [0; 1024]).is_ok_and(|length| length > 0) {}
        });
        only_two(&house, Duration::from_secs(8));
        drop(silent);
        one.program = Some(both(one.address, one.name));
        house.wait_for("one");
        assert!(one.program.is_some_and(|program| program.accepted() > 0));
    });
}

/// What the former check has found is no word about the new one: it is well until that says
/// otherwise.
#[test]
fn a_check_that_changes_in_the_file_begins_anew() {
    let house = House::new("least");
    let check = "health_check = { interval = 1, timeout = 1, fall = 1, rise = 100 }\n";
    let mut one = house.member("one", check);
    drop(one.program.take());
    one.client.wait_for_log(&["service both is down"]);
    one.program = Some(both(one.address, one.name));
    wait_until(PATIENCE, "nobody comes there", || {
        visit(house.vps.https, NAME) == Seen::Alert(INTERNAL_ERROR)
    });
    house.vps.dir.write("one.toml", &one.file.replace("rise = 100", "rise = 99"));
    house.wait_for("one");
    assert!(one.program.is_some_and(|program| program.accepted() > 0));
}
