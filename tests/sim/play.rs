//! What fixed plays are made of: a server, sites and visitors in virtual time, put together by hand
//! where a scenario draws them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use underpass::config::Config;
use underpass::engine::client::Client;
use underpass::engine::core::Census;
use underpass::engine::server::Server;
use underpass::proto::noise::{Channel, Protection, Side};
use underpass::proto::time::Time;
use underpass::wire::frame;
use underpass::wire::message::{Message, VERSION};

use super::actors::{Homes, Visitors};
use super::driver::Driver;
use super::files::{Dialect, Ports, client_config, rathole_client_config, server_config};
use super::hostile::{Impostors, Part, Report};
use super::net::SimNet;
use super::programs::{Actor, File};
use super::rng::Rng;
use super::scenario::judge;
use super::story::{Act, Book, End, Ending, Party, Reading, Script, Story, StoryId, client_hello};
use super::world::{HostId, ProcessId, Tuning, World};

pub const MILLI: Duration = Duration::from_millis(1);
pub const SECOND: Duration = Duration::from_secs(1);
pub const MINUTE: Duration = Duration::from_secs(60);
pub const HOUR: Duration = Duration::from_secs(3600);
/// From the start until all have registered and dialled their spare links.
pub const WARM_UP: Duration = Duration::from_secs(20);
/// Until a rush is forgotten and only spare links are left.
pub const QUIET: Duration = Duration::from_secs(60);
/// What may pass between a moment and its being seen: delays on the way, and the tuning's lateness.
pub const SLACK: Duration = Duration::from_millis(200);
/// What is promised, whatever `limits.rs` says.
pub const PROOF_TIME: Duration = Duration::from_secs(5);
/// The same from one whole message to the next.
pub const STEP_TIME: Duration = Duration::from_secs(10);
pub const HELLO_TIME: Duration = Duration::from_secs(10);
pub const HALF_CLOSED_SILENCE: Duration = Duration::from_secs(300);
pub const STRANGERS: usize = 512;
/// Descriptors of an engine: few, so that a count that drifts is soon out of room.
pub const FEW: usize = 256;
/// Descriptors that let all strangers in.
pub const MANY: usize = 8 * STRANGERS;
pub const HTTPS: u16 = 443;
pub const TUNNEL: u16 = 2333;

/// Where a client runs and what it serves.
pub struct Site {
    pub host: HostId,
    /// The client's task.
    pub client: usize,
    pub config: String,
    /// The task of what runs beside it.
    pub homes: usize,
}

/// A server and what is around it.
pub struct Play {
    pub driver: Driver<Actor>,
    pub book: Book,
    pub rng: Rng,
    pub noise: bool,
    /// Descriptors of each engine.
    pub limit: usize,
    pub server_host: HostId,
    pub server: usize,
    /// Where visitors dial in.
    pub entry: IpAddr,
    pub sites: Vec<Site>,
    /// Hosts of visitors and strangers: their tasks.
    pub crowds: Vec<usize>,
    /// Hosts of impostors so far.
    pub gangs: usize,
}

/// The impostors of one host.
pub struct Gang {
    pub task: usize,
    pub report: Report,
}

/// A line of 10 ms each way with some jitter, and processes that are a millisecond late at most.
pub fn tuning() -> Tuning {
    Tuning {
        window: (64 << 10, 64 << 10),
        latency: (10_000_000, 10_000_000),
        byte_time: (10, 10),
        segment: (1 << 16, 1 << 16),
        jitter: 1_000_000,
        no_route: false,
        instant_loopback: true,
        idle_edges: true,
        spurious: 0,
        lossy_resets: false,
        short_splices: true,
        urgent: 0,
        poll_batch: 64,
        lateness: 1_000_000,
        work: 20_000,
        lookup: 1_000_000,
        udp_queue: (1 << 18, 1 << 18),
        udp_loss: 0,
        udp_twice: 0,
        udp_full: 0,
    }
}

impl Play {
    /// A server for `homes` homes, which runs; one host of visitors.
    pub fn new(seed: u64, tuning: Tuning, homes: usize, noise: bool, limit: usize) -> Play {
        let file = server_config(&vec![Dialect::Native; homes], noise, Ports::One);
        Play::with(seed, tuning, noise, limit, &file)
    }

    /// The same with a server of this file.
    pub fn with(seed: u64, tuning: Tuning, noise: bool, limit: usize, file: &str) -> Play {
        let mut driver = Driver::new(World::shared(seed, tuning));
        let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
        let server_host = driver.world.borrow_mut().add_host(address);
        driver.world.borrow_mut().add_name("vps.example", vec![address]);
        let server = driver.add();
        let mut play = Play {
            driver,
            book: Book::default(),
            rng: Rng::new(seed),
            noise,
            limit,
            server_host,
            server,
            entry: address,
            sites: Vec::new(),
            crowds: Vec::new(),
            gangs: 0,
        };
        let (process, net) = play.process(server_host, "server");
        let config = Config::parse("server", file, &|_| None).unwrap();
        let program =
            Actor::Server(Server::new(config.server.unwrap(), net).unwrap(), File::default());
        play.driver.start(server, process, program);
        play.add_crowd();
        play
    }

    /// The usual: as many sites as homes, all up.
    pub fn settled(seed: u64, tuning: Tuning, homes: usize) -> Play {
        let mut play = Play::new(seed, tuning, homes, true, FEW);
        for home in 0..homes {
            let site = play.add_site(home);
            play.start(site);
        }
        play.run(WARM_UP);
        play
    }

    pub fn process(&self, host: HostId, name: &'static str) -> (ProcessId, SimNet) {
        let limit = if matches!(name, "server" | "client") { self.limit } else { 100_000 };
        let process = self.driver.world.borrow_mut().add_process(host, name, limit);
        (process, SimNet::new(&self.driver.world, process))
    }

    /// A host with the services of `home`; several may serve one home. Its client does not run yet.
    pub fn add_site(&mut self, home: usize) -> usize {
        let address = IpAddr::from([10, 0, 1, self.sites.len() as u8 + 1]);
        let host = self.driver.world.borrow_mut().add_host(address);
        let (process, net) = self.process(host, "home");
        let listen = [443, 2222].map(|port| SocketAddr::from(([127, 0, 0, 1], port))).to_vec();
        let homes = self.driver.add();
        let program = Actor::Homes(Homes::new(net, self.book.clone(), home, listen));
        self.driver.start(homes, process, program);
        let client = self.driver.add();
        let config = client_config(home, "vps.example", "127.0.0.1", self.noise, Ports::One);
        self.sites.push(Site { host, client, config, homes });
        self.sites.len() - 1
    }

    /// Starts a site's client.
    pub fn start(&mut self, site: usize) {
        let Site { host, client, ref config, .. } = self.sites[site];
        let config = Config::parse("client", config, &|_| None).unwrap();
        let (process, net) = self.process(host, "client");
        let program =
            Actor::Client(Client::new(config.client.unwrap(), net).unwrap(), File::default());
        self.driver.start(client, process, program);
    }

    /// A site whose client speaks rathole's protocol.
    pub fn start_rathole_site(&mut self, home: usize) {
        let site = self.add_site(home);
        let config = rathole_client_config(home, "vps.example", "127.0.0.1", self.noise);
        self.sites[site].config = config;
        self.start(site);
    }

    /// One more host of visitors.
    pub fn add_crowd(&mut self) -> usize {
        let address = IpAddr::from([10, 0, 2, self.crowds.len() as u8 + 1]);
        let host = self.driver.world.borrow_mut().add_host(address);
        let (process, net) = self.process(host, "visitors");
        let task = self.driver.add();
        let program = Actor::Visitors(Visitors::new(net, self.book.clone()));
        self.driver.start(task, process, program);
        self.crowds.push(task);
        self.crowds.len() - 1
    }

    /// A host of impostors, who know what the client of `site` does.
    pub fn add_impostors(&mut self, site: usize) -> Gang {
        let address = IpAddr::from([10, 0, 4, self.gangs as u8 + 1]);
        self.gangs += 1;
        let host = self.driver.world.borrow_mut().add_host(address);
        let (process, net) = self.process(host, "impostors");
        let to = SocketAddr::from(([10, 0, 0, 1], TUNNEL));
        let seed = self.rng.next();
        let program = Impostors::new(net, to, &self.sites[site].config, seed);
        let (report, task) = (program.report(), self.driver.add());
        self.driver.start(task, process, Actor::Impostors(program));
        Gang { task, report }
    }

    /// One more impostor, who comes again until `until` whenever it is cut.
    pub fn send_impostor(&mut self, gang: &Gang, start: Time, part: Part, until: Time) {
        if let Some(Actor::Impostors(impostors)) = &mut self.driver.tasks[gang.task].program {
            impostors.plan(start, part, until);
        }
        self.driver.touched(gang.task);
    }

    pub fn now(&self) -> Time {
        self.driver.now()
    }

    pub fn run(&mut self, span: Duration) {
        self.driver.run_for(span).unwrap();
        let wrong = std::mem::take(&mut self.book.borrow_mut().wrong);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// The same, with a look at the server's figures after each turn of anybody.
    pub fn watch(&mut self, span: Duration, mut look: impl FnMut(Census)) {
        let (until, server) = (self.now() + span, self.server);
        let each = |driver: &mut Driver<Actor>| {
            if let Some(Actor::Server(server, _)) = &driver.tasks[server].program {
                look(server.census());
            }
            false
        };
        self.driver.run_until(until, each).unwrap();
        self.run(Duration::ZERO);
    }

    /// How often the server got no descriptor.
    pub fn denied(&self) -> usize {
        let process = self.driver.tasks[self.server].process;
        self.driver.world.borrow().denied_descriptors(process)
    }

    pub fn run_until(&mut self, at: Time) {
        let span = at - self.now();
        self.run(span);
    }

    /// A visitor of `home`. Both send what their scripts say, the visitor behind its hello.
    pub fn visit(
        &mut self,
        home: usize,
        start: Time,
        ending: Ending,
        visitor: Script,
        at_home: Script,
    ) -> StoryId {
        self.hello(0, Some(home), &format!("h{home}.example"), start, ending, [visitor, at_home])
    }

    /// A short visit: each side says something and ends.
    pub fn drop_in(&mut self, home: usize, start: Time) -> StoryId {
        self.drop_in_from(0, home, start)
    }

    /// The same by somebody of another crowd.
    pub fn drop_in_from(&mut self, crowd: usize, home: usize, start: Time) -> StoryId {
        self.stay_from(crowd, home, start, Duration::ZERO)
    }

    /// The same by somebody who stays for a while.
    pub fn stay_from(&mut self, crowd: usize, home: usize, start: Time, span: Duration) -> StoryId {
        let name = format!("h{home}.example");
        let at_home = eager(vec![Act::Send(2000), Act::Fin]);
        let visitor = eager(vec![pause(span), Act::Fin]);
        self.hello(crowd, Some(home), &name, start, Ending::Both, [visitor, at_home])
    }

    /// Somebody who means harm, of `home` or of nobody's. Its script begins with the hello.
    pub fn intrude(
        &mut self,
        crowd: usize,
        home: Option<usize>,
        name: &str,
        start: Time,
        scripts: [Script; 2],
    ) -> StoryId {
        self.hello(crowd, home, name, start, Ending::Hostile, scripts)
    }

    fn hello(
        &mut self,
        crowd: usize,
        home: Option<usize>,
        name: &str,
        start: Time,
        ending: Ending,
        mut scripts: [Script; 2],
    ) -> StoryId {
        let id = self.book.borrow().stories.len();
        let opening = client_hello(id, Some(name), 300, &mut self.rng);
        scripts[0].acts.insert(0, Act::Send(opening.len()));
        let (port, header, witnesses) = (Some(HTTPS), Vec::new(), Default::default());
        let story = Story { ending, home, port, header, opening, scripts, witnesses };
        self.tell(crowd, HTTPS, start, story)
    }

    /// Somebody whose bytes no home may see.
    pub fn stranger(
        &mut self,
        crowd: usize,
        port: u16,
        start: Time,
        opening: Vec<u8>,
        acts: Vec<Act>,
    ) -> StoryId {
        let scripts = [eager([acts, vec![Act::AwaitEnd]].concat()), Script::default()];
        let (ending, witnesses) = (Ending::HalfHello, Default::default());
        let header = Vec::new();
        let story = Story { ending, home: None, port: None, header, opening, scripts, witnesses };
        self.tell(crowd, port, start, story)
    }

    pub fn tell(&mut self, crowd: usize, port: u16, start: Time, story: Story) -> StoryId {
        self.book.borrow_mut().stories.push(story);
        let id = self.book.borrow().stories.len() - 1;
        let task = self.crowds[crowd];
        if let Some(Actor::Visitors(visitors)) = &mut self.driver.tasks[task].program {
            visitors.plan(start, SocketAddr::new(self.entry, port), id);
        }
        self.driver.touched(task);
        id
    }

    /// What a story has come to; what is wrong with it, or when `party` let go.
    pub fn judge(&self, id: StoryId, party: Party) -> Result<Time, String> {
        let story = &self.book.borrow().stories[id];
        judge(story)?;
        let done = story.witnesses[party as usize].done;
        done.map(Time).ok_or_else(|| format!("the {party:?} is not done"))
    }

    #[track_caller]
    pub fn assert_served(&self, id: StoryId, by: Time) {
        let visitor = self.judge(id, Party::Visitor).unwrap_or_else(|why| {
            panic!("story {id} by {by:?}, now {:?}: {why}", self.now());
        });
        assert!(visitor <= by, "story {id} was done at {visitor:?}, not by {by:?}");
    }

    /// `party` saw a reset at `at`, or within [`SLACK`] after it.
    #[track_caller]
    pub fn assert_cut(&self, id: StoryId, party: Party, at: Time) {
        let witness = self.book.borrow().stories[id].witnesses[party as usize].clone();
        let done = witness.done.map(Time);
        let in_time = done.is_some_and(|done| at <= done && done <= at + SLACK);
        assert!(witness.end == Some(End::Reset) && in_time, "{party:?} at {at:?}: {witness:?}");
    }

    pub fn served_at(&self, site: usize, id: StoryId) -> bool {
        match &self.driver.tasks[self.sites[site].homes].program {
            Some(Actor::Homes(homes)) => homes.met(id),
            _ => false,
        }
    }

    /// Open descriptors and the engine's own figures: the server's, then the clients'.
    pub fn holdings(&self) -> Vec<(usize, Census)> {
        let clients = self.sites.iter().map(|site| site.client);
        std::iter::once(self.server).chain(clients).map(|task| self.held_by(task)).collect()
    }

    pub fn held_by(&self, task: usize) -> (usize, Census) {
        let task = &self.driver.tasks[task];
        let census = match &task.program {
            Some(Actor::Server(server, _)) => server.census(),
            Some(Actor::Client(client, _)) => client.census(),
            _ => return (0, Census::default()),
        };
        (self.driver.world.borrow().open_descriptors(task.process), census)
    }

    /// Lets the play run; who dialled when.
    pub fn dials_until(&mut self, until: Time) -> Vec<(Time, usize)> {
        let process_of = |site: &Site| self.driver.tasks[site.client].process;
        let clients: Vec<ProcessId> = self.sites.iter().map(process_of).collect();
        let mut dials = Vec::new();
        let mut seen = self.driver.world.borrow().conns.len();
        let watch = |driver: &mut Driver<Actor>| {
            let world = driver.world.borrow();
            for conn in &world.conns[seen..] {
                let by = clients.iter().position(|client| *client == conn.ends[0].process);
                dials.extend(by.map(|client| (world.now(), client)));
            }
            seen = world.conns.len();
            false
        };
        self.driver.run_until(until, watch).unwrap();
        self.run(Duration::ZERO);
        dials
    }

    /// What the server has open and no client knows of: its listeners and strangers.
    pub fn strangers(&self) -> usize {
        let known = self.sites.iter().map(|site| self.held_by(site.client).0);
        self.held_by(self.server).0 - known.sum::<usize>()
    }
}

pub fn eager(acts: Vec<Act>) -> Script {
    Script { acts, reading: Reading::Eager }
}

pub fn sips(acts: Vec<Act>, bytes: usize, pause: Duration) -> Script {
    Script { acts, reading: Reading::Sips(bytes, nanos(pause)) }
}

pub fn pause(span: Duration) -> Act {
    Act::Pause(nanos(span))
}

pub fn nanos(span: Duration) -> u64 {
    span.as_nanos() as u64
}

/// `count` bytes, one each `gap`.
pub fn drip(count: usize, gap: Duration) -> Vec<Act> {
    [Act::Send(1), pause(gap)].repeat(count)
}

/// A client's first Noise message, framed.
pub fn handshake(config: &str) -> Vec<u8> {
    let config = Config::parse("client", config, &|_| None).unwrap().client.unwrap();
    let protection = Protection::new(&config.servers[0].transport, Side::Initiator).unwrap();
    let mut message = Vec::new();
    let mut channel = Channel::initiate(&protection, 0, [7; 32]).unwrap();
    channel.write_handshake(&mut message).unwrap();
    message
}

/// Without Noise: HELLO, and pings behind it, by somebody who has no token.
pub fn greetings() -> Vec<u8> {
    let hello = Message::Hello { min_version: VERSION, max_version: VERSION, instance: [7; 32] };
    let mut words = Vec::new();
    for message in std::iter::once(hello).chain((0..40).map(Message::Ping)) {
        let mut body = Vec::new();
        message.encode(&mut body);
        words.extend(frame::header(body.len()));
        words.extend(body);
    }
    words
}
