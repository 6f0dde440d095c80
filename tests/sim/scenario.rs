//! Seeds to scenarios: a server, its clients and homes, visitors with their stories over TLS and
//! TCP or their calls over HTTP, and for half of the seeds faults. The oracle is at the end.

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
use underpass::engine::core::Flow;
use underpass::engine::server::Server;
use underpass::proto::time::Time;

use super::actors::{Homes, Visitors};
use super::datagrams::{self, UdpHomes, UdpVisitors};
use super::diary::{self, Diary, Scribe};
use super::driver::{Driver, Program};
use super::net::{SPLICED, SimNet};
use super::rng::Rng;
use super::story::{
    Act, Book, End, Ending, Party, Reading, Script, Story, Witness, hello_with_alpn,
};
use super::web;
use super::world::{HostId, ProcessId, Shared, Tuning, World};

/// Seeds of a plain `cargo test`; `SEEDS=2000` for more, `FIRST=2000` to begin with another.
const SEEDS: u64 = 200;
/// From the start until visitors come: everybody has registered and dialled its spare links.
const WARM_UP: Duration = Duration::from_secs(20);
/// Bytes that wait on one connection at most: two batches, one that was cut and one behind it.
const BACKLOG: usize = 2 * underpass::engine::buffers::BATCH;
/// Quiet before the descriptors are counted.
const QUIET: Duration = Duration::from_secs(90);
/// Between two beats of all control connections there is a moment of silence.
const HEARTBEATS: Duration = Duration::from_secs(60);
/// After the last fault, a home is served within this.
const RECOVERY: Duration = Duration::from_secs(15);
/// More, if a process vanished without a word: its peer learns it from its next ping.
const UNHEARD: Duration = Duration::from_secs(25);
/// The same for rathole's clients, whose default waits longer for a heartbeat.
const UNHEARD_BY_RATHOLE: Duration = Duration::from_secs(40);
/// Links that a session keeps at rest (DESIGN.md, section 1).
const SPARE_LINKS: usize = 4;
/// Homes at most.
const HOMES: usize = 3;
/// The services of a client that speaks rathole's protocol, each with a control channel of its own,
/// and the spare data channels of one: all of them where nothing is scarce or fails.
const TCP_SERVICES: usize = 7;
const SPARE_CHANNELS: usize = 8;
/// The same for its UDP service.
const SPARE_UDP_CHANNELS: usize = 2;

const SECOND: u64 = 1_000_000_000;

/// A program of the scenario.
#[expect(clippy::large_enum_variant, reason = "there are ten of them")]
pub(super) enum Actor {
    Server(Server<SimNet>),
    Client(Client<SimNet>),
    Visitors(Visitors),
    Homes(Homes),
    WebVisitors(web::visitor::Visitors),
    WebHomes(web::home::Homes),
    UdpVisitors(UdpVisitors),
    UdpHomes(UdpHomes),
}

impl Program for Actor {
    fn turn(&mut self) -> io::Result<bool> {
        let (flow, census) = match self {
            Actor::Server(server) => (server.turn()?, server.census()),
            Actor::Client(client) => (client.turn()?, client.census()),
            Actor::Visitors(visitors) => return visitors.turn(),
            Actor::Homes(homes) => return homes.turn(),
            Actor::WebVisitors(visitors) => return visitors.turn(),
            Actor::WebHomes(homes) => return homes.turn(),
            Actor::UdpVisitors(visitors) => return visitors.turn(),
            Actor::UdpHomes(homes) => return homes.turn(),
        };
        assert!(census.backlog <= BACKLOG, "back-pressure failed: {census:?}");
        Ok(flow == Flow::Continue)
    }

    fn next_deadline(&self) -> Option<Time> {
        match self {
            Actor::Server(server) => server.next_deadline(),
            Actor::Client(client) => client.next_deadline(),
            Actor::Visitors(visitors) => visitors.next_deadline(),
            Actor::Homes(homes) => homes.next_deadline(),
            Actor::WebVisitors(visitors) => visitors.next_deadline(),
            Actor::WebHomes(homes) => homes.next_deadline(),
            Actor::UdpVisitors(visitors) => visitors.next_deadline(),
            Actor::UdpHomes(homes) => homes.next_deadline(),
        }
    }
}

/// What goes wrong, and for how long.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// So many TCP connections between hosts are reset.
    Cut(u64),
    /// A host is unreachable: 0 the server's, then the clients'.
    Lose(usize),
    /// An engine's process dies and comes back; its connections are reset, or vanish.
    Crash { engine: usize, silent: bool },
    /// An engine is stopped in order and started again.
    Restart(usize),
    /// An engine's process stands still.
    Pause(usize),
    /// An engine's clock leaps.
    Jump(usize),
    /// What runs at a home stops listening.
    HomeStops(usize),
    /// No name can be looked up.
    Names,
    /// An engine can open no further descriptor.
    Starve(usize),
    /// A second process of a client, with the same tokens, beside the first.
    Twin(usize),
}

/// What a home's client speaks to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Native,
    Rathole,
}

/// The ports of a home's TCP service, three of them where there are several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ports {
    /// One at the server, one at home.
    One,
    /// A list with a range in it at the server, a range at home.
    Several,
    /// A range at the server, all to one port at home.
    Joined,
}

impl Ports {
    fn at_server(self) -> u16 {
        if self == Ports::One { 1 } else { 3 }
    }

    /// `bind_addr`, from port `first` on.
    fn bind(self, first: u16) -> String {
        match self {
            Ports::One => format!("\"0.0.0.0:{first}\""),
            Ports::Several => {
                format!("[\"0.0.0.0:{first}\", \"0.0.0.0:{}-{}\"]", first + 1, first + 2)
            }
            Ports::Joined => format!("\"0.0.0.0:{first}-{}\"", first + 2),
        }
    }

    /// `:port` or `:port-port` of `local_addr`.
    fn local(self, first: u16) -> String {
        match self {
            Ports::Several => format!("{first}-{}", first + 2),
            Ports::One | Ports::Joined => first.to_string(),
        }
    }

    /// Where a visitor of the server's port number `offset` arrives.
    fn at_home(self, offset: u16) -> u16 {
        if self == Ports::Several { HOME_PORT + offset } else { HOME_PORT }
    }
}

/// The first port of home number `home`'s UDP service: a TCP service may have the same.
fn udp_port(home: usize) -> u16 {
    server_port(home)
}

/// The first port of home number `home`'s TCP service.
fn server_port(home: usize) -> u16 {
    5000 + 10 * home as u16
}

/// The first one at home.
const HOME_PORT: u16 = 2222;
/// The same of its UDP service.
const UDP_HOME_PORT: u16 = 5353;

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
    /// The longest story, in bytes of each direction.
    longest: u64,
}

/// Runs one seed. The trace comes back, or what was wrong.
fn run(seed: u64) -> Result<u64, String> {
    let mut rng = Rng::new(seed);
    let faulty = rng.chance(1, 2);
    let tuning = Tuning::draw(&mut rng, faulty);
    let mut scenario = Scenario::new(seed, rng, tuning, faulty);
    let done = scenario.play(faulty).map_err(|error| format!("an engine failed: {error}"))?;
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
            longest,
            rng: rng.fork(),
        };
        if scenario.dialects.contains(&Dialect::Rathole) {
            scenario.ports = Ports::One; // all that its channels can tell apart
            // A control channel and a spare one for each service fill the smallest house.
            scenario.limit = scenario.limit.max(128);
        }
        scenario.calls.borrow_mut().calm = !faulty;
        if scenario.limit < 128 {
            scenario.ports = Ports::One; // or the listeners leave no descriptor for visitors
        }
        scenario.people(&mut rng);
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
        let homes = rng.between(1, HOMES as u64) as usize;
        self.dialects.truncate(homes);
        let host = self.world().borrow_mut().add_host(self.server);
        self.world().borrow_mut().add_name("vps.example", vec![self.server]);
        let task = self.driver.add();
        self.engines.push((host, task, server_config(&self.dialects, noise, self.ports)));
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
        for number in 0..rng.between(1, 3) as u8 {
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

    fn start_engine(&mut self, engine: usize, task: usize) -> io::Result<()> {
        let (host, _, config) = &self.engines[engine];
        let name = if engine == 0 { "server" } else { "client" };
        let (process, net) = self.process(*host, name);
        let config = Config::parse(name, config, &|_| None).map_err(io::Error::other)?;
        let program = match (config.server, config.client) {
            (Some(config), _) => {
                let mut server = Server::new(config, net)?;
                let diary = self.diary.clone();
                server.log_access(Box::new(Scribe { process, diary }));
                Actor::Server(server)
            }
            (_, Some(config)) => Actor::Client(Client::new(config, net)?),
            (None, None) => return Err(io::Error::other("an empty configuration")),
        };
        self.driver.start(task, process, program);
        Ok(())
    }

    /// The whole play; what was wrong comes back.
    fn play(&mut self, faulty: bool) -> io::Result<Vec<String>> {
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
                _ => true,
            })
        })?;
        wrong.extend(self.left_hanging());
        if !faulty {
            let book = self.book.borrow();
            wrong.extend(book.stories.iter().enumerate().filter_map(|(id, story)| {
                self.judge(story).err().map(|why| format!("story {id} ({:?}): {why}", story.ending))
            }));
            let calls = self.calls.borrow();
            let judged = |id| web::judge::judge(&calls, id).err();
            let all = 0..calls.calls.len();
            wrong.extend(all.filter_map(|id| judged(id).map(|why| format!("call {id}: {why}"))));
            wrong.extend(self.post.borrow().unanswered());
        }
        self.driver.run_for(QUIET)?;
        // A heartbeat may crawl through a window of one byte just now, and its ends hold buffers.
        self.driver.run_until_silent(HEARTBEATS)?;
        wrong.extend(self.count_descriptors());
        let calls = self.calls.borrow();
        let world = self.world().borrow();
        wrong.extend(diary::judge(&self.diary.borrow(), &world, &self.crashed, &calls));
        drop((calls, world));
        wrong.extend(std::mem::take(&mut self.book.borrow_mut().wrong));
        wrong.extend(std::mem::take(&mut self.calls.borrow_mut().wrong));
        wrong.extend(std::mem::take(&mut self.post.borrow_mut().wrong));
        Ok(wrong)
    }

    /// A visitor over UDP.
    fn add_asker(&mut self, start: Time, home: Option<usize>) -> datagrams::AskerId {
        let rng = &mut self.udp_rng;
        let drawn = rng.below(self.homes.len() as u64) as usize;
        let home = home.unwrap_or(drawn);
        let offset = rng.below(u64::from(self.ports.at_server())) as u16;
        let at_home = UDP_HOME_PORT + (self.ports.at_home(offset) - HOME_PORT);
        let id = self.post.borrow_mut().add(home, at_home, self.longest as usize, rng);
        let to = SocketAddr::new(self.server, udp_port(home) + offset);
        let task = *rng.pick(&self.udp_visitors);
        if let Some(Actor::UdpVisitors(visitors)) = &mut self.driver.tasks[task].program {
            visitors.plan(start, to, id);
        }
        self.driver.touched(task);
        id
    }

    fn draw_ending(&mut self) -> Ending {
        *self.rng.pick(&[
            Ending::VisitorFirst,
            Ending::VisitorFirst,
            Ending::VisitorFirst,
            Ending::HomeFirst,
            Ending::HomeFirst,
            Ending::Both,
            Ending::Both,
            Ending::VisitorResets,
            Ending::VisitorResets,
            Ending::HomeResets,
            Ending::HomeResets,
            Ending::VisitorCloses,
            Ending::Refused,
            Ending::HalfHello,
            Ending::UnknownName,
            Ending::NoName,
            Ending::Junk,
        ])
    }

    /// Writes a story and plans its visitor. Its home is drawn, unless given.
    fn add_story(&mut self, ending: Ending, start: Time, home: Option<usize>) -> usize {
        let drawn = self.rng.below(self.homes.len() as u64) as usize;
        let home = home.unwrap_or(drawn);
        let id = self.book.borrow().stories.len();
        let rng = &mut self.rng;
        let tcp = rng.chance(1, 4)
            && !matches!(
                ending,
                Ending::Refused
                    | Ending::HalfHello
                    | Ending::UnknownName
                    | Ending::NoName
                    | Ending::Junk
            );
        let name = match ending {
            Ending::UnknownName => Some("nobody.example".to_owned()),
            Ending::NoName => None,
            Ending::Refused => Some(format!("shut{home}.example")),
            // All homes have this name; the protocol says whose it is.
            _ if id % 4 == 3 => Some("way.example".to_owned()),
            _ if rng.chance(1, 2) => Some(format!("h{home}.example")),
            _ => Some(format!("A.b.H{home}.Example")),
        };
        let most = if self.longest <= 600 { 300 } else { 6_000 };
        let length = rng.log_between(128, most) as usize;
        let protocol = format!("x-{home}");
        let alpn = match name.as_deref() {
            Some("way.example") => vec!["h2", &protocol],
            _ => Vec::new(),
        };
        let mut opening = hello_with_alpn(id, name.as_deref(), &alpn, length, rng);
        match ending {
            Ending::HalfHello => {
                opening.truncate(rng.between(1, opening.len() as u64 - 1) as usize)
            }
            Ending::Junk => {
                rng.fill(&mut opening);
                opening[0] = *rng.pick(b"GPS\x00\x80\x17"); // no handshake record
            }
            _ => {}
        }
        let scripts = draw_scripts(ending, opening.len(), self.longest, rng);
        let nobody = matches!(
            ending,
            Ending::HalfHello | Ending::UnknownName | Ending::NoName | Ending::Junk
        );
        let witnesses = [Witness::default(), Witness::default()];
        let home_of_story = (!nobody).then_some(home);
        let offset = rng.below(self.ports.at_server().into()) as u16;
        let (port, at_home) = match tcp {
            true => (server_port(home) + offset, self.ports.at_home(offset)),
            false => (443, 443),
        };
        let (home, port_there) = (home_of_story, Some(at_home));
        let header = Vec::new();
        let story = Story { ending, home, port: port_there, header, opening, scripts, witnesses };
        self.book.borrow_mut().stories.push(story);
        let task = *self.rng.pick(&self.visitors);
        if let Some(Actor::Visitors(visitors)) = &mut self.driver.tasks[task].program {
            visitors.plan(start, SocketAddr::new(self.server, port), id);
        }
        self.driver.touched(task);
        id
    }

    /// HTTP visitors.
    fn add_calls(&mut self, begin: Time, span: u64) {
        let tiny = self.longest <= 600;
        let draw = self.web_draw();
        for _ in 0..self.web_rng.log_between(1, if tiny { 8 } else { 24 }) {
            let start = Time(begin.0 + self.web_rng.below(span));
            let (from, task) = *self.web_rng.pick(&self.web_visitors);
            let call = draw.call(from, &mut self.calls.borrow_mut(), &mut self.web_rng);
            self.plan_call(task, start, call);
        }
    }

    fn web_draw(&self) -> web::draw::Draw {
        let tiny = self.longest <= 600;
        let longest = if tiny { 300 } else { self.longest.min(150_000) };
        web::draw::Draw { homes: self.homes.len(), longest, most: if tiny { 4 } else { 20 } }
    }

    fn plan_call(&mut self, task: usize, start: Time, call: usize) {
        if let Some(Actor::WebVisitors(visitors)) = &mut self.driver.tasks[task].program {
            visitors.plan(start, call);
        }
        self.driver.touched(task);
    }

    // Faults.

    /// Draws faults, lets them happen, and sees that every home is served again after the last.
    fn trouble(&mut self) -> io::Result<Vec<String>> {
        let mut schedule: BTreeMap<u64, Vec<(Fault, Option<Duration>)>> = BTreeMap::new();
        let begin = self.driver.now().0;
        let mut healed = begin;
        let mut unheard = false;
        for _ in 0..self.rng.log_between(1, 6) {
            let at = begin + self.rng.below(40 * SECOND);
            let engine = self.rng.below(self.engines.len() as u64) as usize;
            let span = self.rng.log_between(SECOND / 1000, 100 * SECOND);
            let fault = match self.rng.below(11) {
                0 | 1 => Fault::Cut(self.rng.log_between(1, 20)),
                2 => Fault::Lose(engine),
                3 => Fault::Crash { engine, silent: self.rng.chance(1, 2) },
                4 => Fault::Restart(engine),
                5 => Fault::Pause(engine),
                6 => Fault::Jump(engine),
                7 => Fault::HomeStops(self.rng.below(self.homes.len() as u64) as usize),
                8 => Fault::Twin(self.rng.between(1, self.homes.len() as u64) as usize),
                9 => Fault::Starve(engine),
                _ => Fault::Names,
            };
            unheard |= matches!(fault, Fault::Crash { silent: true, .. });
            let span = if matches!(fault, Fault::Cut(_)) { 0 } else { span };
            let begins = Some(Duration::from_nanos(span));
            schedule.entry(at).or_default().push((fault, begins));
            schedule.entry(at + span).or_default().push((fault, None));
            healed = healed.max(at + span);
        }
        let mut down = vec![0; self.engines.len()];
        for (at, changes) in schedule {
            self.driver.run_until(Time(at), |_| false)?;
            for (fault, begins) in changes {
                self.change(fault, begins, &mut down)?;
            }
        }
        let patience = match (unheard, self.dialects.contains(&Dialect::Rathole)) {
            (true, false) => RECOVERY + UNHEARD,
            (true, true) => RECOVERY + UNHEARD_BY_RATHOLE,
            (false, _) => RECOVERY,
        };
        self.rescue(Time(healed), patience)
    }

    /// A fault begins (and lasts so long), or ends. `down` counts what holds each engine down.
    fn change(
        &mut self,
        fault: Fault,
        begins: Option<Duration>,
        down: &mut [u32],
    ) -> io::Result<()> {
        if std::env::var("SEED").is_ok() {
            println!("{:?} {fault:?} {begins:?}", self.driver.now());
        }
        match (fault, begins) {
            (Fault::Cut(count), Some(_)) => {
                for _ in 0..count {
                    let conns = self.world().borrow().cuttable();
                    if !conns.is_empty() {
                        let conn = *self.rng.pick(&conns);
                        self.world().borrow_mut().cut(conn);
                    }
                }
            }
            (Fault::Lose(engine), Some(span)) => {
                let host = self.engines[engine].0;
                self.world().borrow_mut().isolate(host, span);
            }
            (Fault::Crash { engine, silent }, Some(_)) => {
                down[engine] += 1;
                let task = self.engines[engine].1;
                let process = self.driver.tasks[task].process;
                if let Some(program) = self.driver.stop(task) {
                    if engine == 0 {
                        self.crashed.push(process);
                    }
                    self.world().borrow_mut().crash(process, silent);
                    drop(program);
                    self.all_closed(process);
                }
            }
            (Fault::Restart(engine), Some(_)) => {
                down[engine] += 1;
                self.stop_in_order(self.engines[engine].1);
            }
            (Fault::Twin(engine), Some(_)) => {
                let task = self.driver.add();
                self.start_engine(engine, task)?;
                self.twins.push((engine, task));
            }
            (Fault::Twin(engine), None) => {
                if let Some(at) = self.twins.iter().position(|(twin, _)| *twin == engine) {
                    let (_, task) = self.twins.remove(at);
                    self.stop_in_order(task);
                }
            }
            (Fault::Crash { engine, .. } | Fault::Restart(engine), None) => {
                down[engine] -= 1;
                if down[engine] == 0 {
                    self.start_engine(engine, self.engines[engine].1)?;
                }
            }
            (Fault::Pause(engine), Some(span)) => {
                let until = self.driver.now() + span;
                let task = self.engines[engine].1;
                let paused = &mut self.driver.tasks[task].paused_until;
                *paused = until.max(*paused);
            }
            (Fault::Jump(engine), Some(span)) => {
                let task = self.engines[engine].1;
                let process = self.driver.tasks[task].process;
                if self.driver.tasks[task].program.is_some() {
                    self.world().borrow_mut().jump_clock(process, span);
                    self.driver.touched(task);
                }
            }
            (Fault::Starve(engine), begins) => {
                let process = self.driver.tasks[self.engines[engine].1].process;
                let mut world = self.world().borrow_mut();
                let open = world.open_descriptors(process);
                world.set_limit(process, if begins.is_some() { open } else { self.limit });
            }
            (Fault::HomeStops(home), begins) => {
                let (_, task, web) = self.homes[home];
                if let Some(Actor::Homes(homes)) = &mut self.driver.tasks[task].program {
                    homes.close();
                    if begins.is_none() {
                        homes.open();
                    }
                }
                let udp = self.udp_homes[home];
                if let Some(Actor::UdpHomes(homes)) = &mut self.driver.tasks[udp].program {
                    homes.close();
                    if begins.is_none() {
                        homes.open();
                    }
                }
                if let Some(Actor::WebHomes(homes)) = &mut self.driver.tasks[web].program {
                    homes.close();
                    if begins.is_none() {
                        homes.open();
                    }
                }
            }
            (Fault::Names, Some(span)) => self.world().borrow_mut().break_names(span),
            (_, None) => {}
        }
        Ok(())
    }

    fn stop_in_order(&mut self, task: usize) {
        let process = self.driver.tasks[task].process;
        if let Some(mut program) = self.driver.stop(task) {
            match &mut program {
                Actor::Server(server) => server.stop(),
                Actor::Client(client) => client.stop(),
                Actor::Visitors(_) | Actor::Homes(_) => {}
                Actor::WebVisitors(_) | Actor::WebHomes(_) => {}
                Actor::UdpVisitors(_) | Actor::UdpHomes(_) => {}
            }
            drop(program);
            self.all_closed(process);
        }
    }

    fn all_closed(&self, process: ProcessId) {
        let world = self.world().borrow();
        let open = world.open_descriptors(process);
        let name = world.process_name(process);
        assert_eq!(open, 0, "the {name}'s end left descriptors open");
    }

    /// Fresh visitors for every home after the last fault; one of each must be served in time.
    fn rescue(&mut self, healed: Time, patience: Duration) -> io::Result<Vec<String>> {
        let mut attempts: Vec<Vec<usize>> = vec![Vec::new(); self.homes.len()];
        let mut calls = attempts.clone();
        let draw = self.web_draw();
        let mut askers = attempts.clone();
        for wait in (0..patience.as_secs() - 1).step_by(2) {
            for (home, ids) in attempts.iter_mut().enumerate() {
                // One after the other: the smallest house has room for six, and would turn the
                // last of so many away.
                let turn = Duration::from_millis(1 + 600 * home as u64);
                let start = healed + Duration::from_secs(wait) + turn;
                ids.push(self.add_story(Ending::Both, start, Some(home)));
                askers[home].push(self.add_asker(start, Some(home)));
                let (from, task) = *self.web_rng.pick(&self.web_visitors);
                let rng = &mut self.web_rng;
                let call = draw.plain(from, home, &mut self.calls.borrow_mut(), rng);
                self.plan_call(task, start + Duration::from_millis(300), call);
                calls[home].push(call);
            }
        }
        let slack = Duration::from_secs(self.longest / 20_000 + 10);
        self.driver.run_until(healed + patience + slack, |_| false)?;
        let book = self.book.borrow();
        let served = |id: &usize| {
            let story = &book.stories[*id];
            self.judge(story).is_ok() && !story.opening.is_empty()
        };
        let web = self.calls.borrow();
        let called = |id: &usize| web::judge::is_served(&web, *id);
        let late = |home, kind| format!("home {home} has no {kind} {patience:?} after the faults");
        let post = self.post.borrow();
        let homes = 0..self.homes.len();
        let udp = homes.clone().filter(|home| !askers[*home].iter().any(|id| post.is_begun(*id)));
        let udp = udp.map(|home| late(home, "UDP"));
        let tls = homes.clone().filter(|home| !attempts[*home].iter().any(served));
        let http = homes.filter(|home| !calls[*home].iter().any(called));
        Ok(tls
            .map(|home| late(home, "TLS"))
            .chain(http.map(|home| late(home, "HTTP")))
            .chain(udp)
            .collect())
    }

    // The oracle.

    /// [`judge`], but for what rathole's protocol has no word for: a reset may arrive as an end.
    fn judge(&self, story: &Story) -> Result<(), String> {
        let [visitor, home] = &story.witnesses;
        let is_told = match story.ending {
            Ending::VisitorResets => !home.began || home.end.is_some(),
            Ending::HomeResets => home.left && visitor.end.is_some(),
            _ => false,
        };
        let speaks = story.home.map(|home| self.dialects[home]);
        if speaks == Some(Dialect::Rathole) && is_told { Ok(()) } else { judge(story) }
    }

    fn left_hanging(&self) -> Vec<String> {
        let book = self.book.borrow();
        let hangs = |witness: &Witness| witness.began && witness.done.is_none();
        let stories = book.stories.iter().enumerate();
        let calls = self.calls.borrow();
        let open = |(id, call): (usize, &web::plan::Call)| {
            let hangs = call.seen.began && call.seen.done.is_none();
            hangs.then(|| format!("call {id} hangs: {call:?}"))
        };
        let at_home =
            self.homes.iter().filter_map(|(_, _, web)| match &self.driver.tasks[*web].program {
                Some(Actor::WebHomes(homes)) if !homes.are_done() => {
                    Some(format!("{} HTTP connections hang at a home", homes.hanging()))
                }
                _ => None,
            });
        let http: Vec<_> = calls.calls.iter().enumerate().filter_map(open).chain(at_home).collect();
        stories
            .flat_map(|(id, story)| {
                let parties = [Party::Visitor, Party::Home];
                parties.into_iter().filter(|p| hangs(&story.witnesses[*p as usize])).map(move |p| {
                    format!(
                        "story {id} ({:?}): the {p:?} hangs: {:?}",
                        story.ending, story.witnesses
                    )
                })
            })
            .chain(http)
            .collect()
    }

    /// At rest: listeners, a control session and spare links for each client, and nothing else.
    fn count_descriptors(&self) -> Vec<String> {
        let world = self.world().borrow();
        let open = |engine: usize| {
            let task = &self.driver.tasks[self.engines[engine].1];
            world.open_descriptors(task.process)
        };
        let clients: Vec<usize> = (1..self.engines.len()).map(open).collect();
        // A home has as many ports over UDP as over TCP.
        let listeners = 3 + self.homes.len() * 2 * usize::from(self.ports.at_server());
        let server = open(0);
        let mut wrong = Vec::new();
        let all = TCP_SERVICES * (1 + SPARE_CHANNELS) + 1 + SPARE_UDP_CHANNELS;
        let least = 2 * (TCP_SERVICES + 1);
        let is_right = |(open, dialect): (&usize, &Dialect)| match dialect {
            Dialect::Native => (2..=1 + SPARE_LINKS).contains(open),
            Dialect::Rathole if self.faulty => (least..=all).contains(open),
            Dialect::Rathole => *open == all,
        };
        if !clients.iter().zip(&self.dialects).all(is_right) {
            wrong.push(format!("at rest the clients have {clients:?} descriptors open"));
        }
        if server != listeners + clients.iter().sum::<usize>() {
            wrong.push(format!("at rest the server has {server} open, the clients {clients:?}"));
        }
        for engine in 0..self.engines.len() {
            let census = match &self.driver.tasks[self.engines[engine].1].program {
                Some(Actor::Server(server)) => server.census(),
                Some(Actor::Client(client)) => client.census(),
                _ => continue,
            };
            let listeners = if engine == 0 { listeners } else { 0 };
            if census.conns + listeners != open(engine) || census.buffers != 0 {
                wrong.push(format!("at rest engine {engine} holds {census:?}"));
            }
        }
        wrong
    }

    /// Everything is dropped: no descriptor may be left.
    fn end(mut self) -> Vec<String> {
        let mut wrong = Vec::new();
        for engine in 0..self.engines.len() {
            let task = self.engines[engine].1;
            let process = self.driver.tasks[task].process;
            match self.driver.stop(task) {
                Some(program) => drop(program),
                None => wrong.push(format!("engine {engine} does not run any more")),
            }
            self.all_closed(process);
        }
        wrong
    }

    /// All stories, one a line: for a look at one seed.
    fn report(&self) -> String {
        let mut text = format!("{:#?}\n", self.world().borrow().tuning);
        for (id, story) in self.book.borrow().stories.iter().enumerate() {
            let Story { ending, home, scripts, witnesses, .. } = story;
            let _ = writeln!(text, "{id} {ending:?} home {home:?}");
            for (name, side) in [("visitor", 0), ("home", 1)] {
                let _ = writeln!(text, "  {name} {:?} {:?}", scripts[side], witnesses[side]);
            }
        }
        let calls = self.calls.borrow();
        for (id, call) in calls.calls.iter().enumerate() {
            let _ = writeln!(text, "call {id} {call:?}");
            for id in call.asks.clone() {
                let _ = writeln!(text, "  request {id} {:?}", calls.asks[id]);
            }
        }
        text
    }
}

/// What must have come of a story in a world without faults.
pub(super) fn judge(story: &Story) -> Result<(), String> {
    let [visitor, home] = &story.witnesses;
    let seen = || format!("{:?}", story.witnesses);
    let demand = |what: bool| if what { Ok(()) } else { Err(seen()) };
    let alert = |first: &[u8]| matches!(first, [21, 3, _, 0, 2, 2, _]);
    let ended = matches!(visitor.end, Some(End::Eof | End::Reset));
    match story.ending {
        Ending::VisitorFirst | Ending::HomeFirst | Ending::Both => {
            demand(visitor.end == Some(End::Eof) && home.end == Some(End::Eof))?;
            demand(visitor.finished && home.finished)?;
            demand(visitor.sent == story.total(Party::Visitor) && visitor.sent == home.received)?;
            demand(home.sent == story.total(Party::Home) && home.sent == visitor.received)
        }
        Ending::VisitorResets => demand(!home.began || home.end == Some(End::Reset)),
        Ending::HomeResets => demand(home.left && visitor.end == Some(End::Reset)),
        Ending::VisitorCloses => demand(!home.began || home.end.is_some()),
        Ending::Refused => demand(ended && !home.began),
        Ending::HalfHello => demand(ended && visitor.first.is_empty()),
        Ending::UnknownName => {
            let alerted = matches!(visitor.first[..], [21, 3, _, 0, 2, 2, 112]);
            demand(alerted && visitor.end == Some(End::Eof))
        }
        Ending::NoName => demand(alert(&visitor.first) && visitor.end == Some(End::Eof)),
        Ending::Junk => demand(ended), // an alert, or an answer in HTTP to what looks like it
    }
}

/// The two ends' plans. The visitor's stream begins with an opening of `opening` bytes.
fn draw_scripts(ending: Ending, opening: usize, longest: u64, rng: &mut Rng) -> [Script; 2] {
    let quiet = |acts| Script { acts, reading: Reading::Eager };
    if matches!(ending, Ending::HalfHello | Ending::UnknownName | Ending::NoName | Ending::Junk) {
        let acts = sends(opening, rng, SECOND);
        return [quiet([acts, vec![Act::AwaitEnd]].concat()), Script::default()];
    }
    let amount = |rng: &mut Rng| match rng.below(4) {
        0 => 0,
        _ => rng.log_between(1, longest) as usize,
    };
    // The hello has 10 s in all.
    let mut visitor = sends(opening, rng, SECOND / 2);
    let (up, down) = (amount(rng), amount(rng));
    visitor.extend(sends(up, rng, 3 * SECOND));
    let mut home = sends(down, rng, 3 * SECOND);
    let both_open = !matches!(ending, Ending::HomeFirst | Ending::Both);
    if both_open && rng.chance(1, 30) {
        // Between two open ends there is no deadline (P16); after the first end there is one.
        visitor.push(Act::Pause(600 * SECOND));
    }
    match ending {
        Ending::VisitorFirst => {
            visitor.extend([Act::Fin, Act::AwaitEnd]);
            // The answer after the end, before it, or around it.
            home.insert(rng.below(home.len() as u64 + 1) as usize, Act::AwaitEnd);
            home.extend([Act::AwaitEnd, Act::Fin]);
        }
        Ending::HomeFirst => {
            let at = rng.below(visitor.len() as u64 + 1) as usize;
            let opened = visitor.iter().scan(0, |sum, act| {
                if let Act::Send(count) = act {
                    *sum += count;
                }
                Some(*sum)
            });
            // Not before the home can know whom it talks to.
            let least = opened.take_while(|sum| *sum < opening).count() + 1;
            visitor.insert(at.max(least), Act::AwaitEnd);
            visitor.push(Act::Fin);
            home.push(Act::Fin);
        }
        Ending::Both => {
            visitor.push(Act::Fin);
            home.push(Act::Fin);
        }
        Ending::VisitorResets => {
            visitor.push(Act::Reset);
            home.push(Act::AwaitEnd);
        }
        Ending::HomeResets => {
            visitor.push(Act::AwaitEnd);
            home.push(Act::Reset);
        }
        Ending::VisitorCloses => {
            visitor.push(Act::Close);
            home.extend([Act::AwaitEnd, Act::Fin]);
        }
        _ => visitor.push(Act::AwaitEnd),
    }
    let reading = |total: usize, rng: &mut Rng| match rng.below(4) {
        0 => Reading::After(rng.below(20 * SECOND)),
        1 => Reading::Sips(total / 50 + 1, rng.below(SECOND / 5)),
        _ => Reading::Eager,
    };
    [
        Script { acts: visitor, reading: reading(down, rng) },
        // Its first reading names the story, so a home's laziness begins after that.
        Script { acts: home, reading: reading(up + opening, rng) },
    ]
}

/// `total` bytes in some pieces, with pauses of `pauses` at most in all.
fn sends(total: usize, rng: &mut Rng, pauses: u64) -> Vec<Act> {
    let mut acts = Vec::new();
    let pieces = *rng.pick(&[1, 1, 2, 3, 6]);
    let mut left = total;
    for piece in 0..pieces {
        let last = piece + 1 == pieces;
        let count = if last { left } else { rng.below(left as u64 + 1) as usize };
        if count > 0 {
            acts.push(Act::Send(count));
            left -= count;
        }
        if rng.chance(1, 2) {
            acts.push(Act::Pause(rng.log_between(1, (pauses / pieces).max(1))));
        }
    }
    acts
}

/// All native for most seeds; else each home's is drawn.
fn draw_dialects(rng: &mut Rng) -> Vec<Dialect> {
    let mixed = rng.chance(1, 4);
    let mut draw = || if mixed && rng.chance(2, 3) { Dialect::Rathole } else { Dialect::Native };
    (0..HOMES).map(|_| draw()).collect()
}

pub(super) fn server_config(dialects: &[Dialect], noise: bool, ports: Ports) -> String {
    let mut text = "[server]\nbind_addr = \"0.0.0.0:2333\"\nhttps_addr = \"0.0.0.0:443\"\n\
         http_addr = \"0.0.0.0:80\"\n[server.services.gone]\ntype = \"http\"\n\
         token = \"t\"\nhosts = [\"gone.example\"]\n\
         [server.services.secure]\ntype = \"web\"\ntoken = \"t\"\n\
         hosts = [\"secure.example\"]\nredirect_https = true\n"
        .to_owned();
    let key = format!("local_private_key = \"{}\"", keys().0);
    text += &transport("server", noise, &key);
    for (home, dialect) in dialects.iter().enumerate() {
        let passthrough = if home == 0 { "sealed" } else { "raw" };
        let (bind, udp_bind) = (ports.bind(server_port(home)), ports.bind(udp_port(home)));
        let kinds: &[_] = match dialect {
            Dialect::Native => &[("web", "")],
            // Its channels do not tell the entries apart.
            Dialect::Rathole => &[("http", "-http"), ("https", "-https")],
        };
        for (kind, suffix) in kinds {
            let raw = match *kind {
                "http" => String::new(),
                _ => format!("passthrough = \"{passthrough}\"\n"),
            };
            let _ = write!(
                text,
                "[server.services.web{home}{suffix}]\ntype = \"{kind}\"\ntoken = \"t{home}\"\n{raw}\
                 hosts = [\"h{home}.example\", \"**.h{home}.example\"]\n\
                 [server.services.shut{home}{suffix}]\ntype = \"{kind}\"\ntoken = \"t{home}\"\n\
                 hosts = [\"shut{home}.example\"]\n"
            );
        }
        let _ = write!(
            text,
            "[server.services.path{home}]\ntype = \"http\"\ntoken = \"t{home}\"\n\
             hosts = [\"way.example\"]\npath_prefix = \"/h{home}\"\n\
             [server.services.alpn{home}]\ntype = \"https\"\ntoken = \"t{home}\"\n\
             hosts = [\"way.example\"]\nalpn = [\"x-{home}\"]\n\
             passthrough = \"raw\"\n\
             [server.services.tcp{home}]\ntoken = \"t{home}\"\nbind_addr = {bind}\n\
             [server.services.udp{home}]\ntype = \"udp\"\ntoken = \"t{home}\"\n\
             bind_addr = {udp_bind}\nudp_idle_time = 20\nudp_max_sessions = 8\n"
        );
    }
    text
}

pub(super) fn client_config(
    home: usize,
    remote: &str,
    local: &str,
    noise: bool,
    ports: Ports,
) -> String {
    let (tcp, udp) = (ports.local(HOME_PORT), ports.local(UDP_HOME_PORT));
    let mut text = format!("[client]\nremote_addr = \"{remote}:2333\"\n");
    let key = format!("remote_public_key = \"{}\"", keys().1);
    text += &transport("client", noise, &key);
    let _ = write!(
        text,
        "[client.services.web{home}]\ntype = \"web\"\ntoken = \"t{home}\"\n\
         local_http_addr = \"{local}:80\"\nlocal_https_addr = \"{local}:443\"\n\
         [client.services.shut{home}]\ntype = \"web\"\ntoken = \"t{home}\"\n\
         local_http_addr = \"{local}:9\"\nlocal_https_addr = \"{local}:9\"\n\
         [client.services.path{home}]\ntype = \"http\"\ntoken = \"t{home}\"\n\
         local_http_addr = \"{local}:80\"\n\
         [client.services.alpn{home}]\ntype = \"https\"\ntoken = \"t{home}\"\n\
         local_https_addr = \"{local}:443\"\n\
         [client.services.udp{home}]\ntype = \"udp\"\ntoken = \"t{home}\"\n\
         local_addr = \"{local}:{udp}\"\n\
         [client.services.tcp{home}]\ntoken = \"t{home}\"\n\
         local_addr = \"{local}:{tcp}\"\n"
    );
    text
}

/// The same for rathole's protocol, where each service has one way in.
pub(super) fn rathole_client_config(home: usize, remote: &str, local: &str, noise: bool) -> String {
    let mut text = format!("[client]\nremote_addr = \"{remote}:2333\"\nprotocol = \"rathole\"\n");
    let key = format!("remote_public_key = \"{}\"", keys().1);
    text += &transport("client", noise, &key);
    let services = [
        (format!("web{home}-http"), 80),
        (format!("web{home}-https"), 443),
        (format!("shut{home}-http"), 9),
        (format!("shut{home}-https"), 9),
        (format!("path{home}"), 80),
        (format!("alpn{home}"), 443),
        (format!("tcp{home}"), HOME_PORT),
    ];
    for (name, port) in services {
        let _ = write!(
            text,
            "[client.services.{name}]\ntoken = \"t{home}\"\nlocal_addr = \"{local}:{port}\"\n"
        );
    }
    let _ = write!(
        text,
        "[client.services.udp{home}]\ntype = \"udp\"\ntoken = \"t{home}\"\n\
         local_addr = \"{local}:{UDP_HOME_PORT}\"\nudp_idle_time = 25\n"
    );
    text
}

fn transport(role: &str, noise: bool, key: &str) -> String {
    if noise {
        format!("[{role}.transport]\ntype = \"noise\"\n[{role}.transport.noise]\n{key}\n")
    } else {
        format!("[{role}.transport]\ntype = \"tcp\"\n")
    }
}

/// The server's key pair (RFC 7748, section 6.1: Alice's), in base64.
fn keys() -> (&'static str, &'static str) {
    ("dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=", "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=")
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
