//! The simulated world: hosts, processes, virtual time, and the faults that befall them. TCP itself
//! is in [`super::tcp`]. Nothing here knows the engine; one seed decides everything.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use underpass::engine::net::{Readiness, Wake};
use underpass::proto::time::Time;

use super::rng::{Rng, splitmix};
use super::tcp::{Conn, Listener};
use super::udp::{Flight, UdpSocket};

/// Linux's numbers, so that [`io::Error::raw_os_error`] is what it would be.
pub mod errno {
    pub const EMFILE: i32 = 24;
    pub const EPIPE: i32 = 32;
    pub const EMSGSIZE: i32 = 90;
    pub const EADDRINUSE: i32 = 98;
    pub const ENETUNREACH: i32 = 101;
    pub const ECONNRESET: i32 = 104;
    pub const ETIMEDOUT: i32 = 110;
    pub const ECONNREFUSED: i32 = 111;
}

/// A line that is dead for longer kills the TCP connections that cross it (keepalive, or data that
/// nobody acknowledges).
pub const DEAD_LINE: Duration = Duration::from_secs(60);

/// The world as its processes hold it. Single-threaded; borrowed only inside one call.
pub type Shared = Rc<RefCell<World>>;
/// Index of a host.
pub type HostId = usize;
/// Index of a process: one epoll, one table of descriptors.
pub type ProcessId = usize;
/// Index of a connection; `ends[0]` dialled, `ends[1]` was dialled.
pub type ConnId = usize;

/// How this world behaves, drawn from the seed.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// Send and receive buffers, in bytes: each connection draws between these, logarithmically.
    pub window: (u64, u64),
    /// One-way delay between two hosts, in nanoseconds: each pair draws between these.
    pub latency: (u64, u64),
    /// Nanoseconds for one byte: each pair draws between these.
    pub byte_time: (u64, u64),
    /// Segments are cut at a random length up to this, drawn for each connection.
    pub segment: (u64, u64),
    /// Delay that varies from segment to segment, at most.
    pub jitter: u64,
    /// `connect` to an address that nobody has fails at once; else it is never answered.
    pub no_route: bool,
    /// A connection within a host is made, or refused, when `connect` returns (Linux's loopback).
    pub instant_loopback: bool,
    /// The edges that Linux gives and nobody should need: a FIN acknowledged, `shutdown` called.
    pub idle_edges: bool,
    /// One wake-up in so many comes twice; 0 is never.
    pub spurious: u64,
    /// A reset may overtake (lose) what was in flight before it.
    pub lossy_resets: bool,
    /// A splice may move less than waits: a pipe has slots for segments, not for bytes.
    pub short_splices: bool,
    /// One write in so many has urgent data behind it; 0 is none.
    pub urgent: u64,
    /// At most so many events from one `poll`.
    pub poll_batch: usize,
    /// A process runs up to so many nanoseconds after it could have.
    pub lateness: u64,
    /// A process is busy for up to so many nanoseconds after each turn.
    pub work: u64,
    /// Look-ups fail, or answer, after at most this.
    pub lookup: u64,
    /// Receive buffers of UDP sockets, in bytes: each draws between these, logarithmically.
    pub udp_queue: (u64, u64),
    /// One datagram in so many between two hosts is lost; 0 is none.
    pub udp_loss: u64,
    /// One in so many arrives twice; 0 is none.
    pub udp_twice: u64,
    /// One in so many finds the send buffer full; 0 is none.
    pub udp_full: u64,
}

impl Tuning {
    /// As close to Linux's loopback as it gets: for the conformance test.
    pub fn loopback() -> Tuning {
        Tuning {
            window: (256 << 10, 256 << 10),
            latency: (20_000, 20_000),
            byte_time: (1, 1),
            segment: (1 << 16, 1 << 16),
            jitter: 0,
            no_route: false,
            instant_loopback: true,
            idle_edges: true,
            spurious: 0,
            lossy_resets: false,
            short_splices: false,
            urgent: 0,
            poll_batch: 1024,
            lateness: 0,
            work: 0,
            lookup: 1_000_000,
            udp_queue: (200_000, 200_000),
            udp_loss: 0,
            udp_twice: 0,
            udp_full: 0,
        }
    }

    /// Drawn from the seed. A pair's delay and a connection's window go together: even a window of
    /// one byte moves enough for no deadline of the engine to fire (see [`World::draw_window`]).
    pub fn draw(rng: &mut Rng, faulty: bool) -> Tuning {
        let window = *rng.pick(&[(1, 1 << 20), (1, 64), (1 << 10, 1 << 14), (1 << 16, 1 << 20)]);
        let latency = *rng.pick(&[(5_000, 50_000), (100_000, 2_000_000), (5_000, 80_000_000)]);
        let segment = *rng.pick(&[(1, 1 << 16), (1448, 1448), (1 << 16, 1 << 16), (200, 3000)]);
        Tuning {
            window,
            latency,
            byte_time: (1, 200),
            segment,
            jitter: *rng.pick(&[0, 1_000, 500_000, 5_000_000]),
            no_route: rng.chance(1, 2),
            instant_loopback: rng.chance(1, 2),
            idle_edges: rng.chance(1, 2),
            spurious: *rng.pick(&[0, 0, 5, 50]),
            lossy_resets: faulty,
            short_splices: true,
            urgent: *rng.pick(&[0, 0, 3, 100]),
            poll_batch: *rng.pick(&[1, 2, 7, 64, 1024, 1024]),
            lateness: *rng.pick(&[0, 0, 50_000, 3_000_000]),
            work: *rng.pick(&[1_000, 20_000, 200_000]),
            lookup: *rng.pick(&[0, 1_000_000, 300_000_000]),
            udp_queue: if faulty { (1 << 10, 1 << 18) } else { (1 << 20, 1 << 20) },
            udp_loss: if faulty { 10 } else { 0 },
            udp_twice: if faulty { 20 } else { 0 },
            udp_full: if faulty { 30 } else { 0 },
        }
    }
}

/// One address on the network.
#[derive(Debug)]
struct Host {
    address: IpAddr,
    /// No packet leaves or enters before this.
    down_until: Time,
}

/// One epoll instance with its descriptors.
pub(super) struct Process {
    pub(super) host: HostId,
    pub(super) name: &'static str,
    rng: Rng,
    /// So that splices change no other draw.
    splice_rng: Rng,
    /// In the order of their first change since the last `poll`; each at most once.
    ready: VecDeque<Source>,
    /// What its helper threads have found.
    pub(super) told: VecDeque<Wake>,
    open: usize,
    pub(super) limit: usize,
    /// Descriptors that it asked for and did not get.
    denied: usize,
    /// Polls so far, and the most bytes that it read of one connection between two.
    pub(super) turn: u64,
    pub(super) most_read: usize,
    /// The clock as of the last `poll`.
    now: Time,
    /// How far a fault moved this process's clock ahead of the world's.
    ahead: u64,
}

/// What an epoll item stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Listener(usize),
    /// Connection and side.
    End(ConnId, usize),
    Udp(usize),
}

/// What will happen at some moment.
#[derive(Debug)]
pub(super) enum Happening {
    /// The first segments of `pipes[side]` reach the other end.
    Arrive(ConnId, usize),
    /// Acknowledgement and window news for the sender of `pipes[side]`.
    Acknowledge(ConnId, usize),
    /// The dialler's SYN reaches the other host, for the nth time.
    Syn(ConnId, u32),
    /// The answer to it reaches the dialler: yes or no.
    SynAnswer(ConnId, bool),
    /// A wake-up that nothing caused.
    Spurious(Source),
    /// A look-up ends, or the check of a password.
    Told(ProcessId, Wake),
    /// A datagram reaches its host.
    Datagram(Box<Flight>),
    /// A connected UDP socket learns that nobody took its datagram.
    Unreachable(usize),
    /// Keepalive's probe by `ends[side]`.
    Probe(ConnId, usize),
    /// The host has been unreachable for [`DEAD_LINE`]; `down_until` is as it was then.
    GiveUp(HostId, Time),
}

/// See the module.
pub struct World {
    pub(super) now: Time,
    pub(super) rng: Rng,
    pub(super) tuning: Tuning,
    hosts: Vec<Host>,
    pub(super) processes: Vec<Process>,
    pub(super) conns: Vec<Conn>,
    pub(super) listeners: Vec<Listener>,
    pub(super) udp: Vec<UdpSocket>,
    /// For UDP alone, so that its draws change nobody else's.
    pub(super) udp_rng: Rng,
    /// By whom, where, and whom.
    pub(super) accepted: Vec<(ProcessId, SocketAddr, SocketAddr)>,
    /// Delay and time for a byte of each pair of hosts, the lower index first.
    lines: BTreeMap<(HostId, HostId), (u64, u64)>,
    pub(super) names: BTreeMap<String, Vec<IpAddr>>,
    names_fail_until: Time,
    agenda: BinaryHeap<Reverse<Entry>>,
    /// Numbers the entries, so that equal times keep their order.
    entries: u64,
    pub(super) next_port: u16,
    pub(super) next_udp_port: u16,
    trace: u64,
    /// Print closes and resets.
    pub(super) telling: bool,
}

/// Ordered by time, then by number.
struct Entry(Time, u64, Happening);

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

impl World {
    /// An empty world.
    pub fn new(seed: u64, tuning: Tuning) -> World {
        World {
            now: Time(1_000_000_000),
            rng: Rng::new(seed),
            tuning,
            hosts: Vec::new(),
            processes: Vec::new(),
            conns: Vec::new(),
            listeners: Vec::new(),
            udp: Vec::new(),
            udp_rng: Rng::new(seed ^ 0x0dd),
            accepted: Vec::new(),
            lines: BTreeMap::new(),
            names: BTreeMap::new(),
            names_fail_until: Time(0),
            agenda: BinaryHeap::new(),
            entries: 0,
            next_port: 32_768,
            next_udp_port: 32_768,
            trace: 0,
            telling: std::env::var("TELL").is_ok(),
        }
    }

    /// The same, as processes hold it.
    pub fn shared(seed: u64, tuning: Tuning) -> Shared {
        Rc::new(RefCell::new(World::new(seed, tuning)))
    }

    /// One more host.
    pub fn add_host(&mut self, address: IpAddr) -> HostId {
        self.hosts.push(Host { address, down_until: Time(0) });
        self.hosts.len() - 1
    }

    /// One more process on `host`, with `limit` descriptors.
    pub fn add_process(&mut self, host: HostId, name: &'static str, limit: usize) -> ProcessId {
        let rng = self.rng.fork();
        let splice_rng = rng.clone().fork();
        self.processes.push(Process {
            host,
            name,
            rng,
            splice_rng,
            ready: VecDeque::new(),
            told: VecDeque::new(),
            open: 0,
            limit,
            denied: 0,
            turn: 0,
            most_read: 0,
            now: self.now,
            ahead: 0,
        });
        self.processes.len() - 1
    }

    /// A line of the hosts table.
    pub fn add_name(&mut self, name: &str, addresses: Vec<IpAddr>) {
        self.names.insert(name.to_owned(), addresses);
    }

    /// Every connection that was taken from a listener: by which process, at which of its
    /// addresses, and from whom.
    pub fn accepted(&self) -> &[(ProcessId, SocketAddr, SocketAddr)] {
        &self.accepted
    }

    /// What [`World::add_process`] called it.
    pub fn process_name(&self, process: ProcessId) -> &'static str {
        self.processes[process].name
    }

    /// The world's time; a process may see another ([`World::jump_clock`]).
    pub fn now(&self) -> Time {
        self.now
    }

    /// A hash of everything that happened so far: equal for equal seeds.
    pub fn trace(&self) -> u64 {
        self.trace
    }

    /// Folds something that happened into the trace.
    pub(super) fn note(&mut self, what: u64) {
        let mut mixed = self.trace ^ what.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.now.0;
        self.trace = splitmix(&mut mixed);
    }

    /// When the network moves next.
    pub fn next_happening(&self) -> Option<Time> {
        self.agenda.peek().map(|Reverse(entry)| entry.0)
    }

    /// Moves the time to `until` and lets everything due by then happen. Stops earlier, at the
    /// first moment that made a process ready, if there is one.
    pub fn advance(&mut self, until: Time) {
        while let Some(at) = self.next_happening().filter(|at| *at <= until) {
            let Some(Reverse(Entry(_, _, happening))) = self.agenda.pop() else { break };
            self.now = self.now.max(at);
            self.happen(happening);
            if self.next_happening() != Some(at) && self.anyone_ready() {
                return;
            }
        }
        self.now = self.now.max(until);
    }

    fn anyone_ready(&self) -> bool {
        (0..self.processes.len()).any(|process| self.has_wakes(process))
    }

    /// Whether `poll` would report something.
    pub fn has_wakes(&self, process: ProcessId) -> bool {
        let process = &self.processes[process];
        !process.ready.is_empty() || !process.told.is_empty()
    }

    pub(super) fn at(&mut self, at: Time, happening: Happening) {
        self.entries += 1;
        self.agenda.push(Reverse(Entry(at, self.entries, happening)));
    }

    pub(super) fn after(&mut self, nanos: u64, happening: Happening) {
        self.at(Time(self.now.0 + nanos), happening);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrive(conn, side) => self.arrive(conn, side),
            Happening::Acknowledge(conn, side) => self.acknowledge(conn, side),
            Happening::Syn(conn, attempt) => self.syn(conn, attempt),
            Happening::SynAnswer(conn, yes) => self.syn_answer(conn, yes),
            Happening::Datagram(flight) => self.datagram_arrives(*flight),
            Happening::Unreachable(socket) => self.unreachable(socket),
            Happening::Probe(conn, side) => self.probe(conn, side),
            Happening::Spurious(source) => self.wake(source),
            Happening::Told(process, wake) => self.processes[process].told.push_back(wake),
            Happening::GiveUp(host, down_until) => {
                if self.hosts[host].down_until == down_until {
                    self.give_up(host);
                }
            }
        }
    }

    // Processes.

    /// What [`underpass::engine::net::Net::poll`] does. Never waits: whoever drives the world does.
    pub(super) fn poll(&mut self, process: ProcessId, wakes: &mut Vec<Wake>) {
        let now = self.process_time(process);
        self.processes[process].now = now;
        self.processes[process].turn += 1;
        while let Some(wake) = self.processes[process].told.pop_front() {
            self.note(1);
            wakes.push(wake);
        }
        let before = wakes.len();
        while wakes.len() - before < self.tuning.poll_batch {
            let Some(source) = self.processes[process].ready.pop_front() else { break };
            let Some(readiness) = self.take_event(source) else { continue };
            let Readiness { token, readable, writable, read_closed, urgent, broken } = readiness;
            let flags = [readable, writable, read_closed, urgent, broken];
            let bits = flags.iter().fold(process as u64, |sum, flag| sum << 1 | u64::from(*flag));
            self.note(token.0 ^ bits << 48);
            wakes.push(Wake::Ready(readiness));
        }
    }

    /// The clock as `process` sees it now; its own [`World::process_now`] moves only with `poll`.
    pub fn process_time(&self, process: ProcessId) -> Time {
        Time(self.now.0 + self.processes[process].ahead)
    }

    /// When, by the world's clock, the clock of `process` shows `time`.
    pub fn world_time(&self, process: ProcessId, time: Time) -> Time {
        Time(time.0.saturating_sub(self.processes[process].ahead))
    }

    pub(super) fn process_now(&self, process: ProcessId) -> Time {
        self.processes[process].now
    }

    pub(super) fn fill_random(&mut self, process: ProcessId, out: &mut [u8]) {
        self.processes[process].rng.fill(out);
    }

    /// From how many bytes on `process` splices; `None` if it has no pipe.
    pub(super) fn draw_splice_worth(&mut self, process: ProcessId) -> Option<usize> {
        *self.processes[process].splice_rng.pick(&[None, Some(1), Some(100), Some(16 * 1024)])
    }

    /// How many of `most` bytes fit into the pipe.
    pub(super) fn draw_splice(&mut self, process: ProcessId, most: usize) -> usize {
        let rng = &mut self.processes[process].splice_rng;
        if self.tuning.short_splices && rng.chance(1, 2) {
            rng.log_between(1, most as u64) as usize
        } else {
            most
        }
    }

    /// Whether `process` sends urgent data behind what it writes now.
    pub(super) fn draw_urgent(&mut self, process: ProcessId) -> bool {
        let one_in = self.tuning.urgent;
        one_in > 0 && self.processes[process].splice_rng.chance(1, one_in)
    }

    /// How many descriptors `process` has open.
    pub fn open_descriptors(&self, process: ProcessId) -> usize {
        self.processes[process].open
    }

    /// How often `process` asked for a descriptor and got none.
    pub fn denied_descriptors(&self, process: ProcessId) -> usize {
        self.processes[process].denied
    }

    /// The most bytes that `process` has read of one connection in one turn.
    pub fn most_read(&self, process: ProcessId) -> usize {
        self.processes[process].most_read
    }

    /// From now on `process` may have `limit` descriptors.
    pub fn set_limit(&mut self, process: ProcessId, limit: usize) {
        self.processes[process].limit = limit;
    }

    pub(super) fn take_descriptor(&mut self, process: ProcessId) -> io::Result<()> {
        let process = &mut self.processes[process];
        if process.open >= process.limit {
            process.denied += 1;
            return Err(io::Error::from_raw_os_error(errno::EMFILE));
        }
        process.open += 1;
        Ok(())
    }

    pub(super) fn give_descriptor(&mut self, process: ProcessId) {
        let process = &mut self.processes[process];
        let name = process.name;
        process.open =
            process.open.checked_sub(1).unwrap_or_else(|| panic!("{name}: closed twice"));
    }

    /// Queues an event for `source`, unless one is queued already or it is not registered.
    pub(super) fn wake(&mut self, source: Source) {
        let (process, registered, queued) = self.item(source);
        if !registered || *queued {
            return;
        }
        *queued = true;
        self.processes[process].ready.push_back(source);
        if self.tuning.spurious > 0 && self.rng.chance(1, self.tuning.spurious) {
            let delay = self.rng.between(1, 5_000_000);
            self.after(delay, Happening::Spurious(source));
        }
    }

    /// The registration of `source`: the process, whether there is one, and whether it is queued.
    fn item(&mut self, source: Source) -> (ProcessId, bool, &mut bool) {
        match source {
            Source::Listener(id) => {
                let listener = &mut self.listeners[id];
                (listener.process, listener.open, &mut listener.queued)
            }
            Source::End(conn, side) => {
                let end = &mut self.conns[conn].ends[side];
                (end.process, end.held && end.token.is_some(), &mut end.queued)
            }
            Source::Udp(id) => {
                let socket = &mut self.udp[id];
                (socket.process, socket.open, &mut socket.queued)
            }
        }
    }

    /// The flags of a queued event, as they are now; `None` if it was closed or has none.
    fn take_event(&mut self, source: Source) -> Option<Readiness> {
        let (_, registered, queued) = self.item(source);
        *queued = false;
        if !registered {
            return None;
        }
        match source {
            Source::Listener(id) => self.listeners[id].readiness(),
            Source::End(conn, side) => self.conns[conn].take_readiness(side),
            Source::Udp(id) => self.udp[id].readiness(),
        }
    }

    // Names.

    pub(super) fn resolve(&mut self, process: ProcessId, query: u64, host: &str, port: u16) {
        let addresses = match host.parse::<IpAddr>() {
            Ok(literal) => Some(vec![literal]),
            Err(_) if self.now < self.names_fail_until => None,
            Err(_) => self.names.get(host).cloned(),
        };
        let found = addresses
            .map(|list| list.into_iter().map(|ip| SocketAddr::new(ip, port)).collect::<Vec<_>>());
        let result = found.ok_or_else(|| io::Error::other("simulated: no such name"));
        self.tell_later(process, Wake::Resolved { query, result });
    }

    /// What a helper thread of the process has found, after the time that a look-up takes.
    pub(super) fn tell_later(&mut self, process: ProcessId, wake: Wake) {
        let delay = self.rng.between(0, self.tuning.lookup);
        self.after(delay, Happening::Told(process, wake));
    }

    // Addresses and lines.

    pub(super) fn host_address(&self, host: HostId) -> IpAddr {
        self.hosts[host].address
    }

    /// The host that has `address`, seen from `from`: loopback is the host itself.
    pub(super) fn host_of(&self, from: HostId, address: IpAddr) -> Option<HostId> {
        if address.is_loopback() || address.is_unspecified() {
            return Some(from);
        }
        self.hosts.iter().position(|host| host.address == address)
    }

    /// Delay and time for a byte between two hosts.
    pub(super) fn line(&mut self, a: HostId, b: HostId) -> (u64, u64) {
        if a == b {
            return (self.tuning.latency.0.min(20_000), 1);
        }
        let key = (a.min(b), a.max(b));
        if let Some(line) = self.lines.get(&key) {
            return *line;
        }
        let (low, high) = self.tuning.latency;
        let latency = self.rng.log_between(low, high);
        let (low, high) = self.tuning.byte_time;
        let byte_time = self.rng.log_between(low, high);
        self.lines.insert(key, (latency, byte_time));
        (latency, byte_time)
    }

    /// A buffer's size for a line with this delay: as the tuning says, but at least what moves
    /// 40 KB in a second, or no handshake would ever be in time.
    pub(super) fn draw_window(&mut self, latency: u64) -> usize {
        let (low, high) = self.tuning.window;
        let Tuning { jitter, lateness, work, .. } = self.tuning;
        let round_trip = 2 * latency + jitter + lateness + 4 * work;
        let least = round_trip * 40_000 / 1_000_000_000;
        self.rng.log_between(low, high).max(least).max(1) as usize
    }

    /// When packets between two hosts pass again; `None` if they pass now.
    pub(super) fn blocked_until(&self, a: HostId, b: HostId) -> Option<Time> {
        let until = self.hosts[a].down_until.max(self.hosts[b].down_until);
        (a != b && until > self.now).then_some(until)
    }

    // Faults.

    /// Nothing enters or leaves `host` for `span`: packets vanish and are sent again later.
    pub fn isolate(&mut self, host: HostId, span: Duration) {
        let until = self.now + span;
        let host_state = &mut self.hosts[host];
        if until <= host_state.down_until {
            return;
        }
        host_state.down_until = until;
        if span > DEAD_LINE {
            let patience = DEAD_LINE.as_nanos() as u64 + self.rng.below(15_000_000_000);
            if Time(self.now.0 + patience) < until {
                self.after(patience, Happening::GiveUp(host, until));
            }
        }
    }

    /// The clock of `process` leaps ahead of everybody else's.
    pub fn jump_clock(&mut self, process: ProcessId, span: Duration) {
        self.processes[process].ahead += span.as_nanos() as u64;
    }

    /// Every look-up of a name started from now on fails, for `span`.
    pub fn break_names(&mut self, span: Duration) {
        self.names_fail_until = self.now + span;
    }
}
