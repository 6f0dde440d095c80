//! Seeds to scenarios: a server, its clients and homes, visitors with their stories over TLS and
//! TCP or their calls over HTTP, for half of the seeds faults, and for every tenth people who mean
//! harm.

mod faults;
mod malice;
mod oracle;
mod reloads;
mod stories;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use underpass::config::Config;
use underpass::engine::client::Client;
use underpass::engine::server::Server;
use underpass::proto::time::Time;

use self::reloads::Desk;
use super::actors::{Homes, Visitors};
use super::datagrams::{self, UdpHomes, UdpVisitors};
use super::diary::{self, Diary, Scribe};
use super::driver::Driver;
use super::files::{
    Dialect, HOME_PORT, Ports, UDP_HOME_PORT, client_config, rathole_client_config, server_config,
    server_port, udp_port,
};
use super::lookers::{ADMIN_FILE, Lookers, Seen};
use super::net::{SPLICED, SimNet};
use super::programs::Actor;
use super::rng::Rng;
use super::story::{
    Act, Book, End, Ending, Party, Reading, Script, Story, Witness, client_hello, hello_with_alpn,
};
use super::web;
use super::world::{HostId, ProcessId, Shared, Tuning, World};
pub use oracle::judge;

/// Seeds of a plain `cargo test`; `SEEDS=2000` for more, `FIRST=2000` to begin with another.
const SEEDS: u64 = 200;
/// From the start until visitors come: everybody has registered and dialled its spare links.
const WARM_UP: Duration = Duration::from_secs(20);
/// Quiet before the descriptors are counted.
const QUIET: Duration = Duration::from_secs(90);
/// Between two beats of all control connections there is a moment of silence.
const HEARTBEATS: Duration = Duration::from_secs(60);
/// Homes at most.
const HOMES: usize = 3;

const SECOND: u64 = 1_000_000_000;

struct Scenario {
    driver: Driver<Actor>,
    book: Book,
    calls: web::plan::Book,
    diary: Diary,
    /// Servers that died without a word.
    crashed: Vec<ProcessId>,
    rng: Rng,
    /// For HTTP, so that neither kind's draws change the other's.
    web_rng: Rng,
    post: datagrams::Post,
    udp_rng: Rng,
    /// The server, then the clients: host, task, configuration.
    engines: Vec<(HostId, usize, String)>,
    /// The descriptors that the engines may have open.
    limit: usize,
    /// Second processes of clients: which, and their tasks.
    twins: Vec<(usize, usize)>,
    /// Each home's host and task, and the task of its HTTP server.
    homes: Vec<(HostId, usize, usize)>,
    /// Each visitor host's task, and its address with the task of its HTTP visitors.
    visitors: Vec<usize>,
    web_visitors: Vec<(IpAddr, usize)>,
    /// The tasks of what answers UDP at each home, and of each visitor host's UDP visitors.
    udp_homes: Vec<usize>,
    udp_visitors: Vec<usize>,
    server: IpAddr,
    ports: Ports,
    /// What each home's client speaks.
    dialects: Vec<Dialect>,
    faulty: bool,
    noise: bool,
    /// Somebody means harm: hosts of visitors, and of impostors; and who is to be served meanwhile.
    malice: bool,
    malice_rng: Rng,
    mob: Vec<usize>,
    gangs: Vec<usize>,
    /// Somebody looks at the server's admin door.
    looked_at: bool,
    probes: Vec<(usize, Time)>,
    /// The longest story, in bytes of each direction.
    longest: u64,
    /// The engines' files, which change in a fifth of the seeds.
    desk: Desk,
    reload_rng: Rng,
    /// Homes whose client went to another server, and when.
    moves: Vec<(usize, Time)>,
    /// Stories of a service that comes and goes.
    guests: Vec<usize>,
    /// The next story is one of them.
    draws_guest: bool,
}

/// Runs one seed. The trace comes back, or what was wrong.
fn run(seed: u64) -> Result<u64, String> {
    let mut rng = Rng::new(seed);
    let malice = malice::is_meant(seed);
    let faulty = rng.chance(1, 2) && !malice;
    let tuning = Tuning::draw(&mut rng, faulty);
    let mut scenario = Scenario::new(seed, rng, tuning, faulty);
    let done = scenario.play(seed, faulty).map_err(|error| format!("an engine failed: {error}"))?;
    let trace = scenario.driver.world.borrow().trace();
    if std::env::var("SEED").is_ok() {
        print!("{}", scenario.report());
    }
    let ends = scenario.end();
    let wrong: Vec<_> = done.into_iter().chain(ends).collect();
    if wrong.is_empty() { Ok(trace) } else { Err(wrong.join("\n")) }
}

impl Scenario {
    fn new(seed: u64, mut rng: Rng, tuning: Tuning, faulty: bool) -> Scenario {
        // Small windows make many events of few bytes.
        let longest = match tuning.window {
            (_, high) if high <= 64 => 600,
            (1, _) => 5_000,
            _ if rng.chance(1, 10) => 600_000,
            _ => 40_000,
        };
        let world = World::shared(seed, tuning);
        let mut scenario = Scenario {
            driver: Driver::new(world),
            book: Book::default(),
            calls: web::plan::Book::default(),
            diary: Diary::default(),
            crashed: Vec::new(),
            web_rng: Rng::new(seed ^ 0x0080),
            post: datagrams::Post::default(),
            udp_rng: Rng::new(seed ^ 0x00dd),
            udp_homes: Vec::new(),
            udp_visitors: Vec::new(),
            engines: Vec::new(),
            limit: if faulty { *rng.pick(&[4096, 4096, 128, 64]) } else { 4096 },
            twins: Vec::new(),
            homes: Vec::new(),
            visitors: Vec::new(),
            web_visitors: Vec::new(),
            server: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
            ports: *rng.pick(&[Ports::One, Ports::Several, Ports::Joined]),
            dialects: draw_dialects(&mut Rng::new(seed ^ 0x0040)),
            faulty,
            noise: true,
            malice: malice::is_meant(seed),
            malice_rng: Rng::new(seed ^ 0x0666),
            mob: Vec::new(),
            gangs: Vec::new(),
            looked_at: seed % 5 == 1,
            probes: Vec::new(),
            longest,
            desk: Desk::default(),
            reload_rng: Rng::new(seed ^ 0x4e10),
            moves: Vec::new(),
            guests: Vec::new(),
            draws_guest: false,
            rng: rng.fork(),
        };
        if scenario.dialects.contains(&Dialect::Rathole) {
            scenario.ports = Ports::One; // all that its channels can tell apart
            // A control channel and a spare one for each service fill the smallest house.
            scenario.limit = scenario.limit.max(128);
        } else if scenario.malice {
            // In the smaller one there is not room for all.
            scenario.limit = *scenario.malice_rng.pick(&[1024, 4096]);
        }
        scenario.calls.borrow_mut().calm = !faulty;
        if scenario.limit < 128 {
            scenario.ports = Ports::One; // or the listeners leave no descriptor for visitors
        }
        scenario.people(&mut rng);
        for (_, _, file) in &scenario.engines {
            scenario.desk.add(file);
        }
        scenario
    }

    fn world(&self) -> &Shared {
        &self.driver.world
    }

    fn process(&self, host: HostId, name: &'static str) -> (ProcessId, SimNet) {
        let limit = if matches!(name, "server" | "client") { self.limit } else { 100_000 };
        let process = self.world().borrow_mut().add_process(host, name, limit);
        (process, SimNet::new(self.world(), process))
    }

    /// Hosts, homes and visitors; the engines are started later.
    fn people(&mut self, rng: &mut Rng) {
        let noise = rng.chance(3, 4);
        self.noise = noise;
        let homes = rng.between(1, HOMES as u64) as usize;
        self.dialects.truncate(homes);
        let host = self.world().borrow_mut().add_host(self.server);
        self.world().borrow_mut().add_name("vps.example", vec![self.server]);
        let task = self.driver.add();
        let mut file = server_config(&self.dialects, noise, self.ports) + malice::file(self.malice);
        if self.looked_at {
            file += ADMIN_FILE;
        }
        self.engines.push((host, task, file));
        for home in 0..homes {
            let host = self.add_host([10, 0, 1, home as u8 + 1]);
            let task = self.driver.add();
            // What runs at home is on the client's own host, or on one beside it with a name.
            let beside = rng.chance(1, 3);
            let local = if beside { format!("traefik{home}") } else { "127.0.0.1".to_owned() };
            let remote = *rng.pick(&["vps.example", "10.0.0.1"]);
            let config = match self.dialects[home] {
                Dialect::Rathole => rathole_client_config(home, remote, &local, noise),
                Dialect::Native => client_config(home, remote, &local, noise, self.ports),
            };
            self.engines.push((host, task, config));
            let (at, ip) = if beside {
                let address = [10, 0, 1, home as u8 + 101];
                (self.add_host(address), IpAddr::from(address))
            } else {
                (host, IpAddr::V4(Ipv4Addr::LOCALHOST))
            };
            self.world().borrow_mut().add_name(&local, vec![ip]);
            let (process, net) = self.process(at, "home");
            let ports = [443, HOME_PORT, HOME_PORT + 1, HOME_PORT + 2];
            let addresses = ports.map(|port| SocketAddr::new(ip, port)).to_vec();
            let program = Actor::Homes(Homes::new(net, self.book.clone(), home, addresses));
            let task = self.driver.add();
            self.driver.start(task, process, program);
            let (process, net) = self.process(at, "web");
            let address = SocketAddr::new(ip, 80);
            let program = web::home::Homes::new(net, self.calls.clone(), home, address);
            let web = self.driver.add();
            self.driver.start(web, process, Actor::WebHomes(program));
            self.homes.push((at, task, web));
            let (process, net) = self.process(at, "UDP home");
            let ports = UDP_HOME_PORT..UDP_HOME_PORT + 3;
            let addresses = ports.map(|port| SocketAddr::new(ip, port)).collect();
            let program = UdpHomes::new(net, self.post.clone(), home, addresses);
            let task = self.driver.add();
            self.driver.start(task, process, Actor::UdpHomes(program));
            self.udp_homes.push(task);
        }
        let hosts = rng.between(1, 3) as usize;
        for number in 0..if self.malice { malice::HOSTS } else { hosts } as u8 {
            let address = [10, 0, 2, number + 1];
            let host = self.add_host(address);
            let (process, net) = self.process(host, "visitors");
            let task = self.driver.add();
            let program = Actor::Visitors(Visitors::new(net, self.book.clone()));
            self.driver.start(task, process, program);
            self.visitors.push(task);
            let (process, net) = self.process(host, "web visitors");
            let entry = SocketAddr::new(self.server, 80);
            let program = web::visitor::Visitors::new(net, self.calls.clone(), entry);
            let task = self.driver.add();
            self.driver.start(task, process, Actor::WebVisitors(program));
            self.web_visitors.push((IpAddr::from(address), task));
            let (process, net) = self.process(host, "UDP visitors");
            let task = self.driver.add();
            let program = UdpVisitors::new(net, self.post.clone());
            self.driver.start(task, process, Actor::UdpVisitors(program));
            self.udp_visitors.push(task);
        }
    }

    fn add_host(&self, address: [u8; 4]) -> HostId {
        self.world().borrow_mut().add_host(IpAddr::from(address))
    }

    /// Those at the server's admin door.
    fn add_lookers(&mut self, seed: u64, begin: Time, calm: bool) -> (usize, Seen) {
        let host = self.engines[0].0;
        let (process, net) = self.process(host, "lookers");
        let span = (begin, begin + Duration::from_secs(60));
        let lookers = Lookers::new(net, seed, span, Duration::from_millis(700), calm);
        let seen = lookers.seen();
        let task = self.driver.add();
        self.driver.start(task, process, Actor::Lookers(lookers));
        (task, seen)
    }

    fn start_engine(&mut self, engine: usize, task: usize) -> io::Result<()> {
        let (host, its, _) = &self.engines[engine];
        let name = if engine == 0 { "server" } else { "client" };
        let (process, net) = self.process(*host, name);
        let file = self.desk.file(engine).borrow().clone();
        let config = Config::parse(name, &file, &|_| None).map_err(io::Error::other)?;
        if *its == task {
            self.desk.set_process(engine, Some(process));
        }
        let program = match (config.server, config.client) {
            (Some(config), _) => {
                let mut server = Server::new(config, net)?;
                let diary = self.diary.clone();
                server.log_access(Some(Box::new(Scribe { process, diary })));
                Actor::Server(server, self.desk.file(engine))
            }
            (_, Some(config)) => Actor::Client(Client::new(config, net)?, self.desk.file(engine)),
            (None, None) => return Err(io::Error::other("an empty configuration")),
        };
        self.driver.start(task, process, program);
        Ok(())
    }

    /// The whole play; what was wrong comes back.
    fn play(&mut self, seed: u64, faulty: bool) -> io::Result<Vec<String>> {
        let mut order: Vec<usize> = (0..self.engines.len()).collect();
        if self.rng.chance(1, 3) {
            order.reverse(); // the clients meet a server that is not there yet
        }
        for engine in order {
            self.start_engine(engine, self.engines[engine].1)?;
            self.driver.run_for(Duration::from_nanos(self.rng.below(2 * SECOND)))?;
        }
        self.driver.run_for(WARM_UP)?;
        let visitors = self.rng.log_between(1, 60);
        let burst = self.rng.chance(1, 4);
        let span = if burst { 1_000_000 } else { 30 * SECOND };
        let begin = self.driver.now();
        // Of one kind, of the other, or of both.
        let kinds = self.web_rng.below(3);
        if kinds != 0 {
            for _ in 0..visitors {
                let start = Time(begin.0 + self.rng.below(span));
                let ending = self.draw_ending();
                self.add_story(ending, start, None);
            }
        }
        if kinds != 1 {
            self.add_calls(begin, span);
        }
        if self.udp_rng.chance(2, 3) {
            for _ in 0..self.udp_rng.log_between(1, if self.longest <= 600 { 5 } else { 20 }) {
                let start = Time(begin.0 + self.udp_rng.below(span));
                self.add_asker(start, None);
            }
        }
        if self.malice {
            self.add_malice(begin);
        }
        let lookers = self.looked_at.then(|| self.add_lookers(seed, begin, !faulty));
        let operator = reloads::are_meant(seed).then(|| self.add_reloads(begin));
        let mut wrong = Vec::new();
        if faulty {
            wrong.extend(self.trouble()?);
        }
        let patience = self.driver.now() + Duration::from_secs(1000);
        self.driver.run_until(patience, |driver| {
            driver.tasks.iter().all(|task| match &task.program {
                Some(Actor::Visitors(visitors)) => visitors.are_done(),
                Some(Actor::Homes(homes)) => homes.are_done(),
                Some(Actor::WebVisitors(visitors)) => visitors.are_done(),
                Some(Actor::WebHomes(homes)) => homes.are_done(),
                Some(Actor::UdpVisitors(visitors)) => visitors.are_done(),
                Some(Actor::Operator(operator)) => operator.is_done(),
                _ => true,
            })
        })?;
        if let Some(operator) = operator {
            drop(self.driver.stop(operator));
        }
        if let Some((task, seen)) = lookers {
            drop(self.driver.stop(task));
            wrong.append(&mut seen.borrow_mut().wrong);
        }
        wrong.extend(self.left_hanging());
        for gang in std::mem::take(&mut self.gangs) {
            drop(self.driver.stop(gang));
        }
        if !faulty {
            wrong.extend(self.judge_probes());
            let book = self.book.borrow();
            wrong.extend(book.stories.iter().enumerate().filter_map(|(id, story)| {
                if self.is_excused(id, story) {
                    return None;
                }
                self.judge(story).err().map(|why| format!("story {id} ({:?}): {why}", story.ending))
            }));
            let calls = self.calls.borrow();
            let judged = |id| web::judge::judge(&calls, id).err();
            let all = 0..calls.calls.len();
            let all = all.filter(|id| !self.has_moved_during(None, calls.calls[*id].seen.done));
            wrong.extend(all.filter_map(|id| judged(id).map(|why| format!("call {id}: {why}"))));
            if self.moves.is_empty() {
                wrong.extend(self.post.borrow().unanswered());
            }
        }
        self.driver.run_for(QUIET)?;
        // A heartbeat may crawl through a window of one byte just now, and its ends hold buffers.
        self.driver.run_until_silent(HEARTBEATS)?;
        wrong.extend(self.count_descriptors());
        let calls = self.calls.borrow();
        let world = self.world().borrow();
        let diary = self.diary.borrow();
        wrong.extend(diary::judge(&diary, &world, &self.crashed, &calls));
        for task in &self.driver.tasks {
            if let Some(Actor::Server(server, _)) = &task.program {
                wrong.extend(diary::judge_counters(&diary, task.process, server.stats()));
            }
        }
        drop(diary);
        drop((calls, world));
        wrong.extend(std::mem::take(&mut self.book.borrow_mut().wrong));
        wrong.extend(std::mem::take(&mut self.calls.borrow_mut().wrong));
        wrong.extend(std::mem::take(&mut self.post.borrow_mut().wrong));
        Ok(wrong)
    }
}

/// All native for most seeds; else each home's is drawn.
fn draw_dialects(rng: &mut Rng) -> Vec<Dialect> {
    let mixed = rng.chance(1, 4);
    let mut draw = || if mixed && rng.chance(2, 3) { Dialect::Rathole } else { Dialect::Native };
    (0..HOMES).map(|_| draw()).collect()
}

// The tests.

/// A seed's outcome; a panic (an assertion of the engine or of the world) is one too.
fn outcome(seed: u64) -> Result<u64, String> {
    catch_unwind(AssertUnwindSafe(|| run(seed))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied());
        Err(format!("panicked: {}", text.unwrap_or("?")))
    })
}

#[test]
fn every_seed_ends_well() {
    if let Ok(seed) = std::env::var("SEED") {
        let _ = env_logger::try_init();
        let seed = seed.parse().expect("SEED is a number");
        return run(seed).map(|_| ()).unwrap_or_else(|wrong| panic!("seed {seed}:\n{wrong}"));
    }
    let number =
        |key, default| std::env::var(key).map_or(default, |text| text.parse().expect("a number"));
    let (first, seeds) = (number("FIRST", 0), number("SEEDS", SEEDS));
    let next = AtomicU64::new(first);
    let failures = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        return;
                    }
                    if let Err(wrong) = outcome(seed) {
                        failures.lock().unwrap().push((seed, wrong));
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    let list = failures.iter().take(10).map(|(seed, wrong)| format!("SEED={seed}\n{wrong}\n"));
    let list = list.collect::<String>();
    assert!(failures.is_empty(), "{} of {seeds} seeds failed:\n{list}", failures.len());
    let spliced = SPLICED.load(Ordering::Relaxed);
    assert!(spliced > 1000 * seeds, "{spliced} bytes were spliced: the relay copies all");
}

#[test]
fn a_seed_repeats_bit_for_bit() {
    for seed in [3, 4, 5, 6] {
        assert_eq!(outcome(seed), outcome(seed), "seed {seed}");
    }
}
