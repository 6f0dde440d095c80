//! People and programs at the server's admin door, and some who mean harm there. They sit on the
//! server's own host, since nobody else may come in without a password.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use underpass::engine::net::{Net, Token, Wake};
use underpass::proto::time::Time;
use underpass::status::Status;

use super::driver::Program;
use super::net::{SimNet, SimStream};
use super::rng::Rng;

/// Where the door is.
pub const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9333);
/// What opens it in the server's file.
pub const ADMIN_FILE: &str = "[server.admin]\nbind_addr = \"127.0.0.1:9333\"\n";
/// The server gives nobody longer, and who asks in order is answered by then.
const PATIENCE: Duration = Duration::from_secs(30);

/// What they have seen.
pub type Seen = Rc<RefCell<Notes>>;

/// See [`Seen`].
#[derive(Debug, Default)]
pub struct Notes {
    /// Whole answers that were what was asked for.
    pub answers: usize,
    /// Snapshots that came by themselves.
    pub events: usize,
    /// What must not be.
    pub wrong: Vec<String>,
}

/// What one of them does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Asks for this and reads the answer to its end.
    Asks(&'static str),
    /// Watches until then.
    Watches(Time),
    /// Says a byte now and then, and never a whole head.
    Drips,
    /// Asks for all there is and does not read it.
    IsDeaf,
    /// Says what is no request.
    Babbles,
}

const PATHS: [&str; 5] = [
    "/api/v1/status",
    "/metrics",
    "/api/v1/history",
    "/healthz",
    "/api/v1/explain?name=h0.example",
];

/// Answers that take more room than there is.
const LONG: [&str; 2] = ["/metrics", "/api/v1/events"];

struct Looker {
    stream: SimStream,
    way: Way,
    outbox: Vec<u8>,
    heard: Vec<u8>,
    /// Seen up to here, by one who watches.
    read: usize,
    is_connected: bool,
    next_drip: Time,
    until: Time,
}

/// All of one server's.
pub struct Lookers {
    net: SimNet,
    rng: Rng,
    seen: Seen,
    /// One comes so often.
    pause: Duration,
    next: Time,
    last: Time,
    /// Nothing breaks in their world: who asks in order is answered.
    calm: bool,
    all: Vec<Option<Looker>>,
    wakes: Vec<Wake>,
}

impl Lookers {
    /// They come until `last`.
    pub fn new(net: SimNet, seed: u64, span: (Time, Time), pause: Duration, calm: bool) -> Lookers {
        let (rng, seen, (next, last)) = (Rng::new(seed), Seen::default(), span);
        let (all, wakes) = (Vec::new(), Vec::new());
        Lookers { net, rng, seen, pause, next, last, calm, all, wakes }
    }

    /// What they see.
    pub fn seen(&self) -> Seen {
        self.seen.clone()
    }

    fn come(&mut self, now: Time) {
        let way = match self.rng.below(9) {
            0..=3 => Way::Asks(PATHS[self.rng.below(PATHS.len() as u64) as usize]),
            4 | 5 => Way::Watches(now + Duration::from_secs(self.rng.between(1, 9))),
            6 => Way::Drips,
            7 => Way::IsDeaf,
            _ => Way::Babbles,
        };
        let request =
            |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes();
        let outbox = match way {
            Way::Asks(path) => request(path),
            Way::Watches(_) => request("/api/v1/events"),
            Way::IsDeaf => request(LONG[self.rng.below(2) as usize]),
            Way::Drips => Vec::new(),
            Way::Babbles => {
                let mut junk = vec![0; self.rng.log_between(1, 5000) as usize];
                self.rng.fill(&mut junk);
                junk
            }
        };
        let Ok(mut stream) = self.net.connect(ADMIN) else { return };
        if self.net.register(&mut stream, Token(self.all.len() as u64)).is_err() {
            return;
        }
        let (heard, until) = (Vec::new(), now + PATIENCE);
        self.all.push(Some(Looker {
            stream,
            way,
            outbox,
            heard,
            read: 0,
            is_connected: false,
            next_drip: now,
            until,
        }));
    }

    fn step(&mut self, index: usize) {
        let Some(mut looker) = self.all.get_mut(index).and_then(Option::take) else { return };
        match looker.step(&mut self.net, &self.seen) {
            Ok(true) => self.all[index] = Some(looker),
            Ok(false) if self.calm => looker.judge(&self.seen),
            // Whoever means harm, or comes to a server that has stopped, may be cut off.
            Ok(false) | Err(_) => {}
        }
    }
}

impl Looker {
    /// Does what can be done now; whether it goes on.
    fn step(&mut self, net: &mut SimNet, seen: &Seen) -> io::Result<bool> {
        if !self.is_connected {
            match net.connect_result(&self.stream) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                result => result?,
            }
            self.is_connected = true;
        }
        let now = net.now();
        if self.way == Way::Drips && self.next_drip <= now {
            self.outbox.push(b'G');
            self.next_drip = now + Duration::from_secs(1);
        }
        while !self.outbox.is_empty() {
            match net.write(&mut self.stream, &self.outbox) {
                Ok(count) => drop(self.outbox.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let mut block = [0; 4096];
        while self.way != Way::IsDeaf {
            match net.read(&mut self.stream, &mut block) {
                Ok(0) => return Ok(false),
                Ok(count) => self.heard.extend(&block[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if let Way::Watches(until) = self.way {
            self.watch(seen);
            return Ok(now < until);
        }
        Ok(true)
    }

    fn watch(&mut self, seen: &Seen) {
        let text = String::from_utf8_lossy(&self.heard[self.read..]).into_owned();
        let Some((events, _)) = text.rsplit_once("\n\n") else { return };
        self.read += events.len() + 2;
        let data = events.lines().filter_map(|line| line.strip_prefix("data: "));
        for data in data {
            match serde_json::from_str::<Status>(data) {
                Ok(_) => seen.borrow_mut().events += 1,
                Err(error) => seen.borrow_mut().wrong.push(format!("an event: {error}: {data}")),
            }
        }
    }

    /// The connection has ended in order: what was answered.
    fn judge(&self, seen: &Seen) {
        let Way::Asks(path) = self.way else { return };
        let text = String::from_utf8_lossy(&self.heard);
        let demand = |holds: bool, what: &str| {
            if !holds {
                seen.borrow_mut().wrong.push(format!("{path}: {what}: {text:.300}"));
            }
        };
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            return demand(false, "no answer");
        };
        let whole = match head.contains("\r\nTransfer-Encoding: chunked") {
            true => unchunk(body),
            false => Some(body.to_owned()),
        };
        let Some(body) = whole else { return demand(false, "no whole chunks") };
        let is_health = path == "/healthz";
        let is_well = head.starts_with("HTTP/1.1 200 ");
        demand(is_well || is_health && head.starts_with("HTTP/1.1 503 "), "another status");
        match path {
            "/api/v1/status" => {
                demand(serde_json::from_str::<Status>(&body).is_ok(), "no snapshot")
            }
            "/metrics" => demand(body.contains("\nunderpass_build_info{"), "no numbers"),
            "/healthz" => {}
            _ => demand(serde_json::from_str::<serde_json::Value>(&body).is_ok(), "no JSON"),
        }
        seen.borrow_mut().answers += 1;
    }
}

/// The content of whole chunks (RFC 9112 7.1).
fn unchunk(body: &str) -> Option<String> {
    let (mut rest, mut content) = (body, String::new());
    loop {
        let (size, behind) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).ok()?;
        let (chunk, behind) = (behind.get(..size)?, behind.get(size..)?);
        content.push_str(chunk);
        rest = behind.strip_prefix("\r\n")?;
        if size == 0 {
            return rest.is_empty().then_some(content);
        }
    }
}

impl Program for Lookers {
    fn turn(&mut self) -> io::Result<bool> {
        self.net.poll(None, &mut self.wakes)?;
        let now = self.net.now();
        if self.next <= now && now < self.last {
            self.come(now);
            self.next = now + self.pause;
        }
        let mut wakes = std::mem::take(&mut self.wakes);
        for wake in wakes.drain(..) {
            if let Wake::Ready(ready) = wake {
                self.step(ready.token.0 as usize);
            }
        }
        self.wakes = wakes;
        for index in 0..self.all.len() {
            let Some(looker) = &self.all[index] else { continue };
            let is_due = match looker.way {
                Way::Watches(until) => until <= now,
                Way::Drips => looker.next_drip <= now,
                _ => false,
            };
            if looker.until <= now {
                if let Some(Looker { way, heard, .. }) = self.all[index].take()
                    && self.calm
                    && matches!(way, Way::Asks(_) | Way::Drips | Way::Babbles)
                {
                    let heard = String::from_utf8_lossy(&heard).into_owned();
                    let line = format!("{way:?} has been here for {PATIENCE:?}: {heard:.300}");
                    self.seen.borrow_mut().wrong.push(line);
                }
            } else if is_due {
                self.step(index);
            }
        }
        Ok(true)
    }

    fn next_deadline(&self) -> Option<Time> {
        let comes = (self.next < self.last).then_some(self.next);
        let due = self.all.iter().flatten().map(|looker| match looker.way {
            Way::Watches(until) => until.min(looker.until),
            Way::Drips => looker.next_drip.min(looker.until),
            _ => looker.until,
        });
        due.chain(comes).min()
    }
}
