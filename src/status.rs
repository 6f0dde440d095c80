//! How it is: one snapshot of a role, from which the page, the API, the metrics and `underpass
//! status` are made. The engine fills it in; nothing here knows how.
//!
//! The JSON of `/api/v1/status` is this type as serde writes it; API.md has an example of each
//! role. Times are seconds: points in time since 1970 (UTC), others as durations. Counters only
//! grow while the program runs; what a reload takes out of the file is no longer here.

use serde::{Deserialize, Serialize};

/// A snapshot of either role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Status {
    /// Of the one on the VPS.
    Server(ServerStatus),
    /// Of the one at home.
    Client(ClientStatus),
}

/// What both roles say of themselves.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Program {
    /// Of underpass, as `0.1.0`.
    pub version: String,
    /// When the snapshot was taken.
    pub time: f64,
    /// When the program was started.
    pub started: f64,
    /// It is about to end: no new visitors.
    pub draining: bool,
    /// What it was told.
    pub configuration: Configuration,
    /// What it uses.
    pub process: Process,
}

/// The file, and whether it is what runs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Configuration {
    /// Its path.
    pub file: String,
    /// When what runs was read.
    pub loaded: f64,
    /// Reloads that have succeeded.
    pub reloads: u64,
    /// Those that have not.
    pub failed_reloads: u64,
    /// Why the file as it is now does not run, if it does not.
    pub error: Option<String>,
}

/// What the process uses.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Process {
    /// Open descriptors.
    pub descriptors: u64,
    /// How many there may be.
    pub descriptor_limit: u64,
    /// Memory in use.
    pub resident_bytes: u64,
    /// Bytes that wait for somebody to take them, or to be whole.
    pub held_bytes: u64,
    /// How many may wait before the longest-stalled has to go; 0: without a bound.
    pub held_limit_bytes: u64,
    /// Processor time, of user and kernel.
    pub cpu_seconds: f64,
    /// The longest time between two looks at what has happened, in the last minute.
    pub longest_turn_seconds: f64,
    /// Lines that a slow reader of the two logs has cost.
    pub dropped_log_lines: u64,
}

/// The role on the VPS.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ServerStatus {
    /// What both roles have.
    #[serde(flatten)]
    pub program: Program,
    /// Those of the file, in its order.
    pub services: Vec<ServedService>,
    /// Clients with a session.
    pub homes: Vec<Home>,
    /// Where it listens.
    pub listeners: Vec<Listener>,
    /// Visitors whom no service took, for each entry.
    pub strays: Vec<Traffic>,
    /// What came to the tunnel port and was let in nowhere.
    pub tunnel: TunnelJunk,
    /// What has failed lately, the newest first; a few dozen.
    pub failures: Vec<Failure>,
}

/// A service of the server.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ServedService {
    /// As in the file.
    pub name: String,
    /// `https`, `http`, `web`, `tcp` or `udp`.
    pub r#type: String,
    /// The names that visitors ask for, as in the file.
    pub names: Vec<String>,
    /// The ports of its own, as `0.0.0.0:2222`.
    pub ports: Vec<String>,
    /// A home has registered it.
    pub online: bool,
    /// That home's address, if it is the only one.
    pub home: Option<String>,
    /// How several homes share it, if the file lets them: `least`, `round_robin` or `source`.
    pub balance: Option<String>,
    /// Those who do.
    pub shares: Vec<Share>,
    /// Since when it is online, or not.
    pub since: f64,
    /// Visitors at it now.
    pub visitors: u64,
    /// Of those, how many wait for a link.
    pub waiting: u64,
    /// What has passed, for each entry that leads to it.
    pub traffic: Vec<Traffic>,
}

/// A home's part in a service that several share.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Share {
    /// Where its session comes from.
    pub home: String,
    /// How much it takes beside others, 1 to 100.
    pub weight: u8,
    /// It takes visitors only when no other is well.
    pub backup: bool,
    /// What runs there answers, as far as its client knows.
    pub well: bool,
    /// Visitors that it has, or that wait for it.
    pub visitors: u64,
}

/// What has passed one entry, to one service or to none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// `http`, `https`, `tcp` or `udp`.
    pub entry: String,
    /// Visits that are over, by how they ended, in the words of the access log: over HTTP requests,
    /// elsewhere connections and UDP sessions. Only those that there were.
    pub ends: Vec<Count>,
    /// Answers by class, as `2xx`; over HTTP alone. Only those that there were.
    pub statuses: Vec<Count>,
    /// Bytes from visitors, as read from their sockets.
    pub received_bytes: u64,
    /// Bytes to visitors, as written to their sockets.
    pub sent_bytes: u64,
    /// From the route to a link.
    pub link_wait: Histogram,
    /// From the first byte of the request, or from the accept of the connection, until the first
    /// byte of the answer.
    pub first_byte: Histogram,
}

/// How many of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Count {
    /// Its word.
    pub kind: String,
    /// How many.
    pub count: u64,
}

/// Durations. Observation `i` of `counts` is at most [`BUCKETS`]`[i]` seconds and more than the
/// bound before; the last one has no bound.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Histogram {
    /// Of all of them.
    pub sum: f64,
    /// Of each bucket by itself: not cumulative.
    pub counts: [u64; BUCKETS.len() + 1],
}

/// Upper bounds of a [`Histogram`]'s buckets, in seconds.
pub const BUCKETS: [f64; 11] = [0.001, 0.0025, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// A client, as the server sees it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Home {
    /// Where its session comes from.
    pub address: String,
    /// `underpass` or `rathole`, and the version if it says one.
    pub program: String,
    /// Since when.
    pub since: f64,
    /// The last one measured; `None` where it does not answer pings (rathole).
    pub round_trip_seconds: Option<f64>,
    /// The least of the session.
    pub least_round_trip_seconds: Option<f64>,
    /// Links that wait for visitors.
    pub spare_links: u64,
    /// Links with visitors.
    pub used_links: u64,
    /// How often it has come back since this program was started.
    pub reconnects: u64,
    /// It is about to leave: no new visitors.
    pub draining: bool,
    /// The services that it has.
    pub services: Vec<String>,
}

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Listener {
    /// As `0.0.0.0:443`.
    pub address: String,
    /// `tunnel`, `http`, `https`, `tcp`, `udp` or `admin`.
    pub entry: String,
    /// Whose port it is, for `tcp` and `udp`.
    pub service: Option<String>,
    /// Connections let in; of `udp`, sessions.
    pub accepted: u64,
    /// Those turned away at once: no room, too many of one address, not allowed.
    pub refused: u64,
}

/// What came to the tunnel port and was let in nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TunnelJunk {
    /// Connections that have proved nothing yet.
    pub strangers: u64,
    /// Handshakes that failed: another key, or no client of ours.
    pub failed_handshakes: u64,
    /// Strangers who proved nothing in time.
    pub timeouts: u64,
    /// Registrations with a wrong token.
    pub wrong_tokens: u64,
    /// Registrations for services that the file does not have.
    pub unknown_services: u64,
}

/// One visitor that was not served as it wished.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Failure {
    /// When it ended.
    pub time: f64,
    /// The way in.
    pub entry: String,
    /// The visitor's address, without its port.
    pub visitor: String,
    /// What it asked for: a name, perhaps cut. Whatever a stranger says may stand here.
    pub name: String,
    /// Who has that.
    pub service: Option<String>,
    /// How it ended, in the access log's word.
    pub end: String,
    /// The same in plain words.
    pub why: String,
}

/// The role at home.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ClientStatus {
    /// What both roles have.
    #[serde(flatten)]
    pub program: Program,
    /// The servers of the file, each of a name's addresses where those are servers, and those that
    /// are being left.
    pub servers: Vec<Upstream>,
    /// Those of the file, in its order.
    pub services: Vec<HomeService>,
}

/// A server, as the client sees it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Upstream {
    /// As in the file; with rathole's protocol, with the service in parentheses.
    pub address: String,
    /// Of several addresses that the file's name stands for, the one that this is about.
    pub resolved: Option<String>,
    /// `connected`, `connecting`, `waiting` (for the next try) or `leaving`.
    pub state: String,
    /// Since when it is in that state.
    pub since: f64,
    /// What ended the last session or try, if there is none now.
    pub error: Option<String>,
    /// The last one measured.
    pub round_trip_seconds: Option<f64>,
    /// The least of the session.
    pub least_round_trip_seconds: Option<f64>,
    /// Links that wait for visitors.
    pub spare_links: u64,
    /// Links with visitors.
    pub used_links: u64,
    /// Sessions so far.
    pub sessions: u64,
}

/// A service at home.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct HomeService {
    /// As in the file.
    pub name: String,
    /// `tcp` or `udp`, or what the file says of HTTP.
    pub r#type: String,
    /// Where it runs.
    pub local_addr: String,
    /// With each server, in the order of [`ClientStatus::servers`].
    pub registrations: Vec<Registration>,
    /// Visitors at it now.
    pub visitors: u64,
    /// Bytes from visitors to what runs at home.
    pub received_bytes: u64,
    /// Bytes of what runs at home to visitors.
    pub sent_bytes: u64,
    /// Whether what runs at home took the last connection; `None` until there was one.
    pub answers: Option<bool>,
    /// When that was.
    pub asked: Option<f64>,
    /// Why it did not, if it did not.
    pub error: Option<String>,
    /// Connections to what runs at home, by what came of them: `connected`, `refused`,
    /// `unreachable`, `unresolved`, `busy`. Only those that there were.
    pub dials: Vec<Count>,
}

/// What a server says of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Registration {
    /// Which server: its address, as in the file.
    pub server: String,
    /// Of several addresses that the file's name stands for, the one that this is about.
    pub resolved: Option<String>,
    /// `registered`, `pending`, `refused` or `withdrawn`.
    pub state: String,
    /// Why it is refused or withdrawn.
    pub reason: Option<String>,
}

/// What has passed a service in the last time, for plots: `/api/v1/history`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct History {
    /// Between two samples: 5 for the last hour, 60 for the last day.
    pub step: u64,
    /// When the newest samples were taken.
    pub time: f64,
    /// Bytes of each step from and to visitors, and visitors at its end: of each service that has
    /// had visitors, and of all together in front, named "".
    pub services: Vec<Series>,
}

/// Samples of one service, the oldest first; all of the same number.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Series {
    /// Of the service.
    pub name: String,
    /// Bytes from visitors.
    pub received: Vec<u64>,
    /// Bytes to visitors.
    pub sent: Vec<u64>,
    /// Visitors at the end of the step.
    pub visitors: Vec<u64>,
}

impl Status {
    /// What both roles have.
    pub fn program(&self) -> &Program {
        match self {
            Status::Server(status) => &status.program,
            Status::Client(status) => &status.program,
        }
    }

    /// Services that can be used, and all of them.
    pub fn online(&self) -> (usize, usize) {
        let is_up = |service: &HomeService| {
            service.registrations.iter().any(|with| with.state == "registered")
        };
        match self {
            Status::Server(status) => {
                let online = status.services.iter().filter(|service| service.online).count();
                (online, status.services.len())
            }
            Status::Client(status) => {
                let online = status.services.iter().filter(|service| is_up(service)).count();
                (online, status.services.len())
            }
        }
    }
}

impl Count {
    /// So many of a kind.
    pub fn new(kind: &str, count: u64) -> Count {
        Count { kind: kind.to_owned(), count }
    }
}

impl Histogram {
    /// Adds one observation, in seconds.
    pub fn observe(&mut self, seconds: f64) {
        let bucket = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        self.counts[bucket] += 1;
        self.sum += seconds;
    }

    /// Adds those of another one.
    pub fn add(&mut self, other: &Histogram) {
        for (own, others) in self.counts.iter_mut().zip(other.counts) {
            *own += others;
        }
        self.sum += other.sum;
    }

    /// How many observations there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_is_in_the_first_bucket_that_holds_it() {
        let mut histogram = Histogram::default();
        for seconds in [0.0, 0.001, 0.0011, 10.0, 11.0] {
            histogram.observe(seconds);
        }
        assert_eq!(histogram.counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(histogram.count(), 5);
        assert!((histogram.sum - 21.0021).abs() < 1e-9);
    }

    #[test]
    fn it_is_read_as_it_is_written() {
        let server = ServerStatus {
            services: vec![ServedService { name: "pi".to_owned(), ..ServedService::default() }],
            ..ServerStatus::default()
        };
        for status in [Status::Server(server), Status::Client(ClientStatus::default())] {
            let text = serde_json::to_string(&status).expect("it has no maps");
            assert_eq!(serde_json::from_str::<Status>(&text).expect("it was written so"), status);
        }
        let text = serde_json::to_string(&Status::Client(ClientStatus::default()));
        assert!(text.expect("as above").starts_with(r#"{"role":"client","version":"","#));
    }
}
