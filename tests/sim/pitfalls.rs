//! Fixed plays in virtual time: where programs of this kind broke, by the numbers of the list that
//! the tests' names carry. Ten minutes or ten hours cost what happens in them, so each play asserts
//! the moments at which things happen, not only that they do.

mod udp;

use std::collections::BTreeMap;
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
use underpass::wire::proxy_header::{self, Ends, Version};

use super::actors::{Homes, Visitors};
use super::driver::Driver;
use super::net::SimNet;
use super::rng::Rng;
use super::scenario::{
    Actor, Dialect, Ports, client_config, judge, rathole_client_config, server_config,
};
use super::story::{
    Act, Book, End, Ending, Party, Reading, Script, Story, StoryId, client_hello, greeting,
};
use super::world::{HostId, ProcessId, Tuning, World};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// From the start until all have registered and dialled their spare links.
const WARM_UP: Duration = Duration::from_secs(20);
/// Until a rush is forgotten and only spare links are left.
const QUIET: Duration = Duration::from_secs(60);
/// What may pass between a moment and its being seen: delays on the way, and the tuning's lateness.
const SLACK: Duration = Duration::from_millis(200);
/// What is promised, whatever `limits.rs` says.
const PROOF_TIME: Duration = Duration::from_secs(5);
const HELLO_TIME: Duration = Duration::from_secs(10);
const HALF_CLOSED_SILENCE: Duration = Duration::from_secs(300);
const STRANGERS: usize = 512;
/// Descriptors of an engine: few, so that a count that drifts is soon out of room.
const FEW: usize = 256;
/// Descriptors that let all strangers in.
const MANY: usize = 8 * STRANGERS;
const HTTPS: u16 = 443;
const TUNNEL: u16 = 2333;

/// Where a client runs and what it serves.
struct Site {
    host: HostId,
    /// The client's task.
    client: usize,
    config: String,
    /// The task of what runs beside it.
    homes: usize,
}

/// A server and what is around it.
struct Play {
    driver: Driver<Actor>,
    book: Book,
    rng: Rng,
    noise: bool,
    /// Descriptors of each engine.
    limit: usize,
    server_host: HostId,
    server: usize,
    sites: Vec<Site>,
    /// Hosts of visitors and strangers: their tasks.
    crowds: Vec<usize>,
}

/// A line of 10 ms each way with some jitter, and processes that are a millisecond late at most.
fn tuning() -> Tuning {
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
    fn new(seed: u64, tuning: Tuning, homes: usize, noise: bool, limit: usize) -> Play {
        let file = server_config(&vec![Dialect::Native; homes], noise, Ports::One);
        Play::with(seed, tuning, noise, limit, &file)
    }

    /// The same with a server of this file.
    fn with(seed: u64, tuning: Tuning, noise: bool, limit: usize, file: &str) -> Play {
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
            sites: Vec::new(),
            crowds: Vec::new(),
        };
        let (process, net) = play.process(server_host, "server");
        let config = Config::parse("server", file, &|_| None).unwrap();
        let program = Actor::Server(Server::new(config.server.unwrap(), net).unwrap());
        play.driver.start(server, process, program);
        play.add_crowd();
        play
    }

    /// The usual: as many sites as homes, all up.
    fn settled(seed: u64, tuning: Tuning, homes: usize) -> Play {
        let mut play = Play::new(seed, tuning, homes, true, FEW);
        for home in 0..homes {
            let site = play.add_site(home);
            play.start(site);
        }
        play.run(WARM_UP);
        play
    }

    fn process(&self, host: HostId, name: &'static str) -> (ProcessId, SimNet) {
        let limit = if matches!(name, "server" | "client") { self.limit } else { 100_000 };
        let process = self.driver.world.borrow_mut().add_process(host, name, limit);
        (process, SimNet::new(&self.driver.world, process))
    }

    /// A host with the services of `home`; several may serve one home. Its client does not run yet.
    fn add_site(&mut self, home: usize) -> usize {
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
    fn start(&mut self, site: usize) {
        let Site { host, client, ref config, .. } = self.sites[site];
        let config = Config::parse("client", config, &|_| None).unwrap();
        let (process, net) = self.process(host, "client");
        let program = Actor::Client(Client::new(config.client.unwrap(), net).unwrap());
        self.driver.start(client, process, program);
    }

    /// A site whose client speaks rathole's protocol.
    fn start_rathole_site(&mut self, home: usize) {
        let site = self.add_site(home);
        let config = rathole_client_config(home, "vps.example", "127.0.0.1", self.noise);
        self.sites[site].config = config;
        self.start(site);
    }

    /// One more host of visitors.
    fn add_crowd(&mut self) -> usize {
        let address = IpAddr::from([10, 0, 2, self.crowds.len() as u8 + 1]);
        let host = self.driver.world.borrow_mut().add_host(address);
        let (process, net) = self.process(host, "visitors");
        let task = self.driver.add();
        let program = Actor::Visitors(Visitors::new(net, self.book.clone()));
        self.driver.start(task, process, program);
        self.crowds.push(task);
        self.crowds.len() - 1
    }

    fn now(&self) -> Time {
        self.driver.now()
    }

    fn run(&mut self, span: Duration) {
        self.driver.run_for(span).unwrap();
        let wrong = std::mem::take(&mut self.book.borrow_mut().wrong);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    fn run_until(&mut self, at: Time) {
        let span = at - self.now();
        self.run(span);
    }

    /// A visitor of `home`. Both send what their scripts say, the visitor behind its hello.
    fn visit(
        &mut self,
        home: usize,
        start: Time,
        ending: Ending,
        visitor: Script,
        at_home: Script,
    ) -> StoryId {
        let id = self.book.borrow().stories.len();
        let name = format!("h{home}.example");
        let opening = client_hello(id, Some(&name), 300, &mut self.rng);
        let mut scripts = [visitor, at_home];
        scripts[0].acts.insert(0, Act::Send(opening.len()));
        let (home, port, witnesses) = (Some(home), Some(HTTPS), Default::default());
        let header = Vec::new();
        let story = Story { ending, home, port, header, opening, scripts, witnesses };
        self.tell(0, HTTPS, start, story)
    }

    /// A short visit: each side says something and ends.
    fn drop_in(&mut self, home: usize, start: Time) -> StoryId {
        let visitor = eager(vec![Act::Fin]);
        self.visit(home, start, Ending::Both, visitor, eager(vec![Act::Send(2000), Act::Fin]))
    }

    /// Somebody whose bytes no home may see.
    fn stranger(
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

    fn tell(&mut self, crowd: usize, port: u16, start: Time, story: Story) -> StoryId {
        self.book.borrow_mut().stories.push(story);
        let id = self.book.borrow().stories.len() - 1;
        let task = self.crowds[crowd];
        if let Some(Actor::Visitors(visitors)) = &mut self.driver.tasks[task].program {
            visitors.plan(start, SocketAddr::from(([10, 0, 0, 1], port)), id);
        }
        self.driver.touched(task);
        id
    }

    /// What a story has come to; what is wrong with it, or when `party` let go.
    fn judge(&self, id: StoryId, party: Party) -> Result<Time, String> {
        let story = &self.book.borrow().stories[id];
        judge(story)?;
        let done = story.witnesses[party as usize].done;
        done.map(Time).ok_or_else(|| format!("the {party:?} is not done"))
    }

    #[track_caller]
    fn assert_served(&self, id: StoryId, by: Time) {
        let visitor = self.judge(id, Party::Visitor).unwrap_or_else(|why| {
            panic!("story {id} by {by:?}, now {:?}: {why}", self.now());
        });
        assert!(visitor <= by, "story {id} was done at {visitor:?}, not by {by:?}");
    }

    /// `party` saw a reset at `at`, or within [`SLACK`] after it.
    #[track_caller]
    fn assert_cut(&self, id: StoryId, party: Party, at: Time) {
        let witness = self.book.borrow().stories[id].witnesses[party as usize].clone();
        let done = witness.done.map(Time);
        let in_time = done.is_some_and(|done| at <= done && done <= at + SLACK);
        assert!(witness.end == Some(End::Reset) && in_time, "{party:?} at {at:?}: {witness:?}");
    }

    fn served_at(&self, site: usize, id: StoryId) -> bool {
        match &self.driver.tasks[self.sites[site].homes].program {
            Some(Actor::Homes(homes)) => homes.met(id),
            _ => false,
        }
    }

    /// Open descriptors and the engine's own figures: the server's, then the clients'.
    fn holdings(&self) -> Vec<(usize, Census)> {
        let clients = self.sites.iter().map(|site| site.client);
        std::iter::once(self.server).chain(clients).map(|task| self.held_by(task)).collect()
    }

    fn held_by(&self, task: usize) -> (usize, Census) {
        let task = &self.driver.tasks[task];
        let census = match &task.program {
            Some(Actor::Server(server)) => server.census(),
            Some(Actor::Client(client)) => client.census(),
            _ => return (0, Census::default()),
        };
        (self.driver.world.borrow().open_descriptors(task.process), census)
    }

    /// What the server has open and no client knows of: its listeners and strangers.
    fn strangers(&self) -> usize {
        let known = self.sites.iter().map(|site| self.held_by(site.client).0);
        self.held_by(self.server).0 - known.sum::<usize>()
    }
}

fn eager(acts: Vec<Act>) -> Script {
    Script { acts, reading: Reading::Eager }
}

fn sips(acts: Vec<Act>, bytes: usize, pause: Duration) -> Script {
    Script { acts, reading: Reading::Sips(bytes, nanos(pause)) }
}

fn pause(span: Duration) -> Act {
    Act::Pause(nanos(span))
}

fn nanos(span: Duration) -> u64 {
    span.as_nanos() as u64
}

/// `count` bytes, one each `gap`.
fn drip(count: usize, gap: Duration) -> Vec<Act> {
    [Act::Send(1), pause(gap)].repeat(count)
}

// P3.

#[test]
fn p3_deadlines_are_not_moved_by_dripping_bytes() {
    const EACH: usize = 20;
    for noise in [true, false] {
        let mut play = Play::new(3, tuning(), 1, noise, MANY);
        play.add_site(0);
        play.start(0);
        play.run(WARM_UP);
        let before = play.holdings();
        let begin = play.now() + SECOND;
        let hello = client_hello(usize::MAX >> 32, Some("h0.example"), 2000, &mut Rng::new(1));
        let greeting = if noise { handshake(&play.sites[0].config) } else { greetings() };
        for (port, words) in [(HTTPS, &hello), (TUNNEL, &greeting)] {
            for _ in 0..EACH {
                for sent in [0, 1, 5, 8] {
                    let acts = Vec::from_iter((sent > 0).then_some(Act::Send(sent)));
                    play.stranger(0, port, begin, words.clone(), acts);
                }
                play.stranger(0, port, begin, words.clone(), drip(60, SECOND));
                // All but the last byte of a hello, then one byte a second of what may follow.
                let most = if noise || port == HTTPS { words.len() - 20 } else { 41 };
                let acts = [vec![Act::Send(most)], drip(19, SECOND)].concat();
                play.stranger(0, port, begin, words.clone(), acts);
            }
        }
        let guests = [0, 1, 4, 6, 9].map(|wait| {
            let start = begin + wait * SECOND + SLACK;
            (play.drop_in(0, start), start + SLACK)
        });
        let (base, strangers) = (play.strangers(), 6 * EACH);
        for (at, deadline, left) in [
            (begin + PROOF_TIME, "the tunnels'", [2 * strangers, strangers]),
            (begin + HELLO_TIME, "the visitors'", [strangers, 0]),
        ] {
            play.run_until(at);
            assert_eq!(play.strangers(), base + left[0], "just before {deadline} deadline");
            play.run(SLACK);
            assert_eq!(play.strangers(), base + left[1], "just after {deadline} deadline");
        }
        for (guest, by) in guests {
            play.assert_served(guest, by);
        }
        play.run(QUIET);
        assert_eq!(play.holdings(), before);
    }
}

/// A client's first Noise message, framed.
fn handshake(config: &str) -> Vec<u8> {
    let config = Config::parse("client", config, &|_| None).unwrap().client.unwrap();
    let protection = Protection::new(&config.transport, Side::Initiator).unwrap();
    let mut message = Vec::new();
    let mut channel = Channel::initiate(&protection, 0, [7; 32]).unwrap();
    channel.write_handshake(&mut message).unwrap();
    message
}

/// Without Noise: HELLO, and pings behind it, by somebody who has no token.
fn greetings() -> Vec<u8> {
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

// P7.

/// More than all buffers on the way together, in both orders.
#[test]
fn p7_a_large_reply_follows_a_half_close() {
    const REPLY: usize = 24 << 20;
    let mut play = Play::settled(7, tuning(), 1);
    let before = play.holdings();
    let begin = play.now();
    // The end comes with the first bytes.
    let asks = vec![Act::Fin, Act::AwaitEnd];
    let answers = vec![Act::AwaitEnd, Act::Send(REPLY), Act::Fin];
    // Read in ten minutes: silence would be over after five.
    let slowly = |acts| sips(acts, REPLY / 600, SECOND);
    let stories = [
        play.visit(0, begin, Ending::VisitorFirst, eager(asks.clone()), eager(answers.clone())),
        play.visit(0, begin, Ending::VisitorFirst, slowly(asks.clone()), eager(answers.clone())),
        play.visit(0, begin, Ending::HomeFirst, eager(answers.clone()), eager(asks.clone())),
        play.visit(0, begin, Ending::HomeFirst, eager(answers), slowly(asks)),
    ];
    play.run(11 * MINUTE);
    for (story, slow) in stories.into_iter().zip([false, true, false, true]) {
        let ends = [Party::Visitor, Party::Home].map(|party| play.judge(story, party).unwrap());
        let done = ends[0].max(ends[1]);
        let ten_minutes = done >= begin + 9 * MINUTE;
        assert_eq!(ten_minutes, slow, "story {story} took {:?}", done - begin);
    }
    play.run(QUIET);
    assert_eq!(play.holdings(), before);
}

#[test]
fn p7_a_peer_that_never_closes_is_cut_after_five_minutes_of_silence() {
    const SILENCE: Duration = HALF_CLOSED_SILENCE;
    let mut play = Play::settled(71, tuning(), 1);
    let before = play.holdings();
    let begin = play.now();
    let ends = vec![Act::Fin, Act::AwaitEnd];
    let stays = vec![Act::Send(100), pause(24 * HOUR), Act::Send(1), Act::Fin];
    // A byte in time postpones it.
    let speaks = [drip(3, SILENCE - SECOND), stays[1..].to_vec()].concat();
    let stories = [
        (Ending::VisitorFirst, ends.clone(), stays.clone()),
        (Ending::HomeFirst, stays, ends.clone()),
        (Ending::VisitorFirst, ends.clone(), speaks.clone()),
        (Ending::HomeFirst, speaks, ends),
    ]
    .map(|(ending, visitor, home)| play.visit(0, begin, ending, eager(visitor), eager(home)));
    play.run(MINUTE);
    let conns = |play: &Play| play.holdings().into_iter().map(|(_, census)| census.conns);
    let mut held = conns(&play).collect::<Vec<_>>();
    for (pair, bytes) in stories.chunks(2).zip([0, 2]) {
        let cut = begin + bytes * (SILENCE - SECOND) + SILENCE;
        play.run_until(cut);
        assert_eq!(conns(&play).collect::<Vec<_>>(), held, "cut too early");
        play.run(SLACK);
        // Two connections, and their links, which are spare now and too many.
        held.iter_mut().for_each(|conns| *conns -= 4);
        assert_eq!(conns(&play).collect::<Vec<_>>(), held, "not cut");
        play.assert_cut(pair[0], Party::Visitor, cut);
        play.assert_cut(pair[1], Party::Home, cut);
    }
    // Whoever would not close finds out when it speaks.
    play.run(25 * HOUR);
    for (story, party, sent) in [(0, 1, 100), (2, 1, 3)] {
        let witness = &play.book.borrow().stories[stories[story]].witnesses[party];
        assert_eq!((witness.end, witness.sent), (Some(End::Reset), sent), "{witness:?}");
    }
    assert_eq!(play.holdings(), before);
}

/// In the middle of a transfer, with all buffers on the way full, and at rest.
#[test]
fn p7_a_reset_goes_through_each_way() {
    let mut play = Play::settled(72, tuning(), 1);
    let before = play.holdings();
    let begin = play.now();
    let at = begin + 10 * SECOND;
    let rests = eager(vec![Act::Send(100), Act::AwaitEnd]);
    let pours = eager(vec![Act::Send(24 << 20), Act::AwaitEnd]);
    let breaks = vec![Act::Send(100), pause(10 * SECOND), Act::Reset];
    let thirsty = sips(breaks.clone(), 1000, SECOND);
    let mut stories = Vec::new();
    for (peer, breaker) in [(rests, eager(breaks)), (pours, thirsty)] {
        let (ending, home) = (Ending::VisitorResets, peer.clone());
        stories.push((play.visit(0, begin, ending, breaker.clone(), home), Party::Home));
        let ending = Ending::HomeResets;
        stories.push((play.visit(0, begin, ending, peer, breaker), Party::Visitor));
    }
    play.run_until(at + SECOND);
    for (story, party) in stories {
        play.judge(story, party).unwrap();
        play.assert_cut(story, party, at);
    }
    play.run(QUIET);
    assert_eq!(play.holdings(), before);
}

/// As browsers break a download that is cancelled, and as a home breaks that has said its last
/// word.
#[test]
fn p7_a_reset_behind_a_half_close_goes_through_each_way() {
    let mut play = Play::settled(73, tuning(), 1);
    let before = play.holdings();
    let begin = play.now();
    let at = begin + 10 * SECOND;
    // Who has read an end learns of more only by what it says.
    let drips = eager(drip(400, 50 * MILLI));
    let pours = eager(vec![Act::Send(24 << 20), pause(MINUTE)]);
    let breaks = vec![Act::Send(100), Act::Fin, pause(10 * SECOND), Act::Reset];
    let thirsty = sips(breaks.clone(), 1000, SECOND);
    let mut stories = Vec::new();
    for (peer, breaker) in [(drips, eager(breaks)), (pours, thirsty)] {
        let (ending, home) = (Ending::VisitorResets, peer.clone());
        stories.push((play.visit(0, begin, ending, breaker.clone(), home), Party::Home));
        let ending = Ending::HomeResets;
        stories.push((play.visit(0, begin, ending, peer, breaker), Party::Visitor));
    }
    play.run_until(begin + 8 * SECOND);
    assert_eq!(dials_until(&mut play, at + SECOND), [], "no link is lost by it");
    for (story, party) in stories {
        play.judge(story, party).unwrap();
        play.assert_cut(story, party, at);
    }
    play.run(QUIET);
    assert_eq!(play.holdings(), before);
}

#[test]
fn p7_a_server_that_stops_ends_no_request_to_a_rathole_client() {
    let file = server_config(&[Dialect::Rathole], true, Ports::One);
    let mut play = Play::with(7, tuning(), true, FEW, &file);
    play.start_rathole_site(0);
    play.run(WARM_UP);
    let visitor = eager(vec![pause(MINUTE), Act::Fin, Act::AwaitEnd]);
    let home = eager(vec![Act::Send(2000), Act::AwaitEnd, Act::Fin]);
    let visit = play.visit(0, play.now(), Ending::VisitorFirst, visitor, home);
    play.run(10 * SECOND);
    let Some(Actor::Server(mut server)) = play.driver.stop(play.server) else {
        panic!("no server")
    };
    let at = play.now();
    server.stop();
    drop(server);
    play.run(SECOND);
    // An end would be taken for a whole request, and that is what its book would call wrong.
    play.assert_cut(visit, Party::Home, at);
    play.assert_cut(visit, Party::Visitor, at);
}

// P10.

/// Who serves, by visitors that come every half second for a minute; the number of changes.
fn changes_of_owner(play: &mut Play, of: &mut usize) -> usize {
    let begin = play.now();
    let visits = (0..120).map(|n| begin + n * SECOND / 2).collect::<Vec<_>>();
    let visits = visits.into_iter().map(|at| (play.drop_in(0, at), at)).collect::<Vec<_>>();
    play.run(61 * SECOND);
    let mut changes = 0;
    for (id, at) in visits {
        play.assert_served(id, at + SECOND);
        let owner = (0..2).find(|site| play.served_at(*site, id)).unwrap();
        changes += usize::from(std::mem::replace(of, owner) != owner);
    }
    changes
}

#[test]
fn p10_a_new_session_does_not_wait_for_the_dead_one() {
    // The first one's sleep, and when in it the second one comes: with the server thinking well of
    // the sleeper, and after it has been given up.
    for (sleep, wait) in [(14, 1), (120, 1), (120, 40)] {
        let mut play = Play::new(10, tuning(), 1, true, FEW);
        let [first, second] = [0, 1].map(|_| play.add_site(0));
        play.start(first);
        play.run(WARM_UP);
        let before = play.drop_in(0, play.now());
        play.run(SECOND);
        play.assert_served(before, play.now());
        assert!(play.served_at(first, before));
        let stays = || eager(vec![Act::Send(100), pause(HOUR), Act::AwaitEnd]);
        let long = play.visit(0, play.now(), Ending::Both, stays(), stays());
        play.run(SECOND);

        let sleeps = play.now();
        let wakes = sleeps + sleep * SECOND;
        play.driver.tasks[play.sites[first].client].paused_until = wakes;
        play.run(wait * SECOND);
        play.start(second);
        let starts = play.now();
        let soon = play.drop_in(0, starts + SECOND / 2);
        play.run(2 * SECOND);
        play.assert_served(soon, starts + SECOND);
        assert!(play.served_at(second, soon), "the sleeper had a visitor");

        play.run_until(wakes);
        // A visitor of the sleeper stays with it for two pings and a half, the first under way.
        let left = play.book.borrow().stories[long].witnesses[0].clone();
        let given_up = (sleeps + 15 * SECOND)..=(sleeps + 26 * SECOND);
        match left.done {
            None => assert!(sleep < 25, "the sleeper's visitor hangs"),
            Some(at) => assert!(given_up.contains(&Time(at)) && left.end == Some(End::Reset)),
        }
        let mut owner = second;
        let changes = changes_of_owner(&mut play, &mut owner);
        assert!(changes <= 1, "they fight: {changes} changes in a minute");
        if sleep < 25 {
            // Its session lives on: it has been told, and asks politely.
            assert_eq!((changes, owner), (0, second));
        }
        assert_eq!(changes_of_owner(&mut play, &mut owner), 0, "they fight on");

        // Whoever had it goes: the other one was told, so it knows that it has to ask.
        let task = play.sites[owner].client;
        if let Some(Actor::Client(mut client)) = play.driver.stop(task) {
            client.stop();
        }
        play.run(6 * SECOND);
        let last = play.drop_in(0, play.now());
        play.run(SECOND);
        play.assert_served(last, play.now());
        assert!(play.served_at(1 - owner, last));
    }
}

// P11.

#[test]
fn p11_silent_peers_at_the_tunnel_port_keep_nobody_waiting() {
    const PEERS: u64 = 500;
    // Silent ones; then ones that replay a recorded first message, which costs the server most.
    for replay in [false, true] {
        let mut play = Play::new(11, tuning(), 1, true, MANY);
        play.add_site(0);
        let crowds = [0, 1, 2, 3].map(|_| play.add_crowd());
        let words = if replay { handshake(&play.sites[0].config) } else { Vec::new() };
        let base = play.strangers();
        // They come all the time, one each two milliseconds; the client finds a full house.
        let begin = play.now() + SECOND;
        for peer in 0..4 * PEERS {
            let start = begin + Duration::from_nanos(play.rng.below(4 * nanos(SECOND)));
            let acts = Vec::from_iter(replay.then_some(Act::Send(words.len())));
            play.stranger(crowds[peer as usize % 4], TUNNEL, start, words.clone(), acts);
        }
        play.run_until(begin + 2 * SECOND);
        assert_eq!(play.strangers() - base, STRANGERS);
        play.start(0);
        let visit = play.drop_in(0, play.now() + SECOND);
        let by = play.now() + 2 * SECOND;
        // Beside its own, and those of the strangers, the server needs few.
        let (full, mut most) = (base + STRANGERS, 0);
        let server = play.driver.tasks[play.server].process;
        let world = play.driver.world.clone();
        let look = |_: &mut Driver<Actor>| {
            most = most.max(world.borrow().open_descriptors(server));
            false
        };
        play.driver.run_until(by, look).unwrap();
        play.assert_served(visit, by);
        assert!((full..=full + 10).contains(&most), "{most} open, {full} with all strangers");
        play.run(PROOF_TIME + 2 * SECOND);
        assert_eq!(play.strangers(), base);
    }
}

// P12.

#[test]
fn p12_few_descriptors_hold_the_channels_of_many_rathole_services() {
    // 24 services, each with a control channel; with eight spare ones for each they would be 198.
    const HOMES: usize = 3;
    let file = server_config(&[Dialect::Rathole; HOMES], true, Ports::One);
    let mut play = Play::with(12, tuning(), true, 128, &file);
    (0..HOMES).for_each(|home| play.start_rathole_site(home));
    play.run(WARM_UP);
    let before = play.holdings();
    let begin = play.now();
    let at = |visit: usize| begin + SECOND * visit as u32 / 4;
    let visits = Vec::from_iter((0..30).map(|visit| play.drop_in(visit % HOMES, at(visit))));
    let by = at(30) + SECOND;
    play.run_until(by);
    visits.into_iter().for_each(|visit| play.assert_served(visit, by));
    play.run(MINUTE);
    assert_eq!(play.holdings(), before);
}

// P16.

#[test]
fn p16_a_slow_transfer_has_no_deadline() {
    // Twelve hours at forty bytes a second, each way; the ends stay open until all is there.
    const RATE: usize = 40;
    const CRAWL: usize = 12 * 3600 * RATE;
    let mut play = Play::settled(16, tuning(), 1);
    let before = play.holdings();
    let begin = play.now();
    let crawls = |end| sips([vec![Act::Send(CRAWL)], end].concat(), RATE, SECOND);
    let visitor = crawls(vec![pause(13 * HOUR), Act::Fin, Act::AwaitEnd]);
    let home = crawls(vec![Act::AwaitEnd, Act::Fin]);
    let crawl = play.visit(0, begin, Ending::VisitorFirst, visitor, home);
    // Words with hours of silence between them, in turns.
    let talks = [Act::Send(1000), pause(4 * HOUR)].repeat(6);
    let visitor = eager([talks.clone(), vec![Act::AwaitEnd, Act::Fin]].concat());
    let home = eager([vec![pause(2 * HOUR)], talks, vec![Act::Fin]].concat());
    let talk = play.visit(0, begin, Ending::HomeFirst, visitor, home);
    play.run(11 * HOUR);
    let on_the_way = |play: &Play| {
        let Story { witnesses, .. } = &play.book.borrow().stories[crawl];
        witnesses.iter().all(|witness| witness.received < CRAWL)
    };
    assert!(on_the_way(&play), "that was no crawl");
    play.run(16 * HOUR);
    for (story, hours) in [(crawl, 13), (talk, 26)] {
        let done = play.judge(story, Party::Visitor).unwrap();
        assert!(done >= begin + hours * HOUR, "done after {:?}", done - begin);
    }
    play.run(QUIET);
    assert_eq!(play.holdings(), before);
}

/// 24 MB each way over a line of 6 KB/s.
#[test]
fn p16_a_large_transfer_takes_the_hour_that_it_needs() {
    const LARGE: usize = 24 << 20;
    let byte_time = (nanos(SECOND) / 6000, nanos(SECOND) / 6000);
    let mut play = Play::settled(161, Tuning { byte_time, ..tuning() }, 1);
    let begin = play.now();
    let both = || eager(vec![Act::Send(LARGE), Act::Fin]);
    let story = play.visit(0, begin, Ending::Both, both(), both());
    play.run(2 * HOUR);
    let done = play.judge(story, Party::Visitor).unwrap();
    assert!(done >= begin + HOUR, "done after {:?}", done - begin);
}

/// The ordinary slow reader: the home sends its whole reply and closes, which it had done long ago
/// when the visitor has read the reply. Its own silence is no reason to cut it short.
#[test]
fn p16_a_slow_reader_gets_all_of_a_reply_that_its_home_has_closed_behind() {
    let mut play = Play::settled(162, tuning(), 1);
    let begin = play.now();
    let visitor = sips(vec![Act::AwaitEnd, Act::Fin], 600, SECOND);
    let home = eager(vec![Act::Send(512 * 1024), Act::Fin]);
    let story = play.visit(0, begin, Ending::HomeFirst, visitor, home);
    play.run(4 * HOUR);
    let done = play.judge(story, Party::Visitor).unwrap();
    assert!(done >= begin + 2 * Duration::from_secs(300), "too fast to show anything");
}

// P18.

const HOMES: usize = 5;
const OUTAGES: usize = 200;
const OUTAGE: Duration = Duration::from_secs(600);

#[test]
fn p18_a_line_that_is_gone_for_ten_minutes_serves_again_in_ten_seconds_200_times_over() {
    let mut play = Play::settled(18, tuning(), HOMES);
    play.run(QUIET);
    let before = play.holdings();
    for outage in 0..OUTAGES {
        // One client's line, or the server's; with the server's, its router may reset everything
        // first, so that all clients know in the same moment.
        let (host, gone) = match outage % 4 {
            0 => (play.sites[0].host, 0..1),
            _ => (play.server_host, 0..HOMES),
        };
        play.driver.world.borrow_mut().isolate(host, OUTAGE);
        if outage % 4 > 1 {
            let mut world = play.driver.world.borrow_mut();
            world.cuttable().into_iter().for_each(|conn| world.cut(conn));
        }
        let heals = play.now() + OUTAGE;
        let dials = dials_until(&mut play, heals);
        for site in 0..HOMES {
            let dialled = dials.iter().filter(|(_, client)| *client == site).count();
            // Five seconds for each attempt and a pause of half to all of five, but for those
            // until the loss is known and the first pauses.
            let expected = if gone.contains(&site) { 54..=84 } else { 0..=0 };
            assert!(expected.contains(&dialled), "outage {outage}: client {site}: {dialled} dials");
        }
        assert!(rushes(&dials) <= 1, "outage {outage}: a thundering herd: {dials:?}");

        let late = serve_all(&mut play, heals);
        assert!(late.is_empty(), "outage {outage}: homes {late:?} are not served");
        // The visitors leave nothing that a later round would have to go through.
        play.run(QUIET);
        assert_eq!(play.holdings(), before, "after outage {outage}");
    }
}

/// Lets the play run; who dialled when.
fn dials_until(play: &mut Play, until: Time) -> Vec<(Time, usize)> {
    let process_of = |site: &Site| play.driver.tasks[site.client].process;
    let clients: Vec<ProcessId> = play.sites.iter().map(process_of).collect();
    let mut dials = Vec::new();
    let mut seen = play.driver.world.borrow().conns.len();
    let watch = |driver: &mut Driver<Actor>| {
        let world = driver.world.borrow();
        for conn in &world.conns[seen..] {
            let by = clients.iter().position(|client| *client == conn.ends[0].process);
            dials.extend(by.map(|client| (world.now(), client)));
        }
        seen = world.conns.len();
        false
    };
    play.driver.run_until(until, watch).unwrap();
    play.run(Duration::ZERO);
    dials
}

/// Tenths of a second in which more than three clients dialled. One is chance, or the moment when
/// all lost the server.
fn rushes(dials: &[(Time, usize)]) -> usize {
    let mut tenths: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (at, client) in dials {
        let tenth = tenths.entry(at.0 / nanos(100 * MILLI)).or_default();
        if !tenth.contains(client) {
            tenth.push(*client);
        }
    }
    tenths.values().filter(|clients| clients.len() > 3).count()
}

/// A visitor each second for whoever has not been served since `healed`, until all are; those who
/// are not after ten seconds.
fn serve_all(play: &mut Play, healed: Time) -> Vec<usize> {
    let mut unserved: Vec<usize> = (0..HOMES).collect();
    for second in 1..=10 {
        let visits: Vec<_> = unserved.iter().map(|home| play.drop_in(*home, play.now())).collect();
        play.run_until(healed + second * SECOND);
        let served = |at: usize| play.judge(visits[at], Party::Visitor).is_ok();
        let waiting = unserved.iter().enumerate().filter(|(at, _)| !served(*at));
        unserved = waiting.map(|(_, home)| *home).collect();
        if unserved.is_empty() {
            break;
        }
    }
    unserved
}

// Addresses.

/// Through a trusted proxy a visitor is who it says, for the home and for the bounds; a proxy that
/// does not say is refused, and nobody else is believed. However the bytes are cut.
#[test]
fn trusted_proxies_are_believed_and_nobody_else() {
    /// Its crowd is the second one.
    const PROXY: &str = "10.0.2.2/32";
    for seed in 0..30 {
        let mut rng = Rng::new(seed);
        let file = server_config(&[Dialect::Native], true, Ports::One).replacen(
            "[server]\n",
            &format!(
                "[server]\nlimits.max_visitors_per_address = 3\ntrusted_proxies = '{PROXY}'\n"
            ),
            1,
        );
        let mut play = Play::with(seed, Tuning::draw(&mut rng, false), true, FEW, &file);
        play.add_site(0);
        let version = *rng.pick(&["v1", "v2"]);
        let told = format!("proxy_protocol = '{version}'\ntoken =");
        // Datagrams have no header before them.
        let udp = |token: &str| format!("type = \"udp\"\n{token}");
        let config = play.sites[0].config.replace("token =", &told);
        play.sites[0].config = config.replace(&udp(&told), &udp("token ="));
        play.start(0);
        let proxy = play.add_crowd();
        play.run(WARM_UP);

        let start = play.now() + SECOND;
        let mut come = |play: &mut Play, crowd, header: &[u8], home| {
            let id = play.book.borrow().stories.len();
            let opening = client_hello(id, Some("h0.example"), 300, &mut rng);
            let stay = vec![Act::Send(opening.len()), pause(30 * SECOND), Act::Fin];
            let scripts = [eager(stay), eager(vec![Act::Send(2000), Act::Fin])];
            let (ending, header) = (Ending::Both, header.to_vec());
            let (port, witnesses) = (Some(443), Default::default());
            let story = Story { ending, home, port, header, opening, scripts, witnesses };
            play.tell(crowd, HTTPS, start, story)
        };
        let from = |source: &str| {
            let ends = Ends {
                source: source.parse().unwrap(),
                destination: "203.0.113.1:443".parse().unwrap(),
            };
            [Version::V1, Version::V2].map(|version| {
                let mut header = Vec::new();
                proxy_header::write(version, ends, Default::default(), &mut header);
                header
            })
        };
        let mut known = Vec::new();
        for (number, header) in ["192.0.2.1:1", "[2001:db8::1]:2"]
            .iter()
            .flat_map(|source| from(source).map(|header| (source, header)))
        {
            known.push((come(&mut play, proxy, &header, Some(0)), Some(number.parse().unwrap())));
        }
        // By itself, as often as it likes.
        for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"].repeat(3) {
            known.push((come(&mut play, proxy, header, Some(0)), None));
        }
        for _ in 0..3 {
            known.push((come(&mut play, 0, b"", Some(0)), None));
        }
        let crowd = [(); 3].map(|()| from("198.51.100.1:3")).concat();
        let crowd = crowd.iter().map(|header| come(&mut play, proxy, header, Some(0)));
        let crowd = crowd.collect::<Vec<_>>();
        let refused = [
            come(&mut play, proxy, b"", None),
            come(&mut play, proxy, b"PROXY TCP4 192.0.2.1 203.0.113.1 1 65536\r\n", None),
        ];
        play.run(3 * MINUTE);

        for (id, address) in known {
            play.judge(id, Party::Visitor).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
            let [visitor, home] = play.book.borrow().stories[id].witnesses.clone();
            let expected = address.or(visitor.address);
            assert_eq!(home.address, expected, "seed {seed}, story {id}");
            assert!(expected.is_some());
        }
        let began = |id: &StoryId| play.book.borrow().stories[*id].witnesses[1].began;
        assert_eq!(crowd.iter().filter(|id| began(id)).count(), 3, "seed {seed}");
        for id in refused {
            let [visitor, home] = play.book.borrow().stories[id].witnesses.clone();
            assert_eq!((visitor.end, home.began), (Some(End::Reset), false), "seed {seed}");
        }
        // Nobody else's header is one.
        let start = play.now() + SECOND;
        for header in from("192.0.2.1:1") {
            let hello = client_hello(usize::MAX >> 32, Some("h0.example"), 300, &mut rng);
            let bytes = [header, hello].concat();
            let acts = vec![Act::Send(bytes.len())];
            play.stranger(0, HTTPS, start, bytes, acts);
        }
        play.run(MINUTE);
        assert_eq!(play.held_by(play.server).1.buffers, 0, "seed {seed}");
    }
}

/// On the TLS port, who speaks SSH goes to the service for it at once, and who waits for the other
/// side's first word after two seconds, whatever it says then; nobody else does.
#[test]
fn ssh_shares_the_tls_port() {
    for seed in 0..30 {
        let mut rng = Rng::new(seed);
        let file = server_config(&[Dialect::Native], true, Ports::One).replacen(
            "[server]\n",
            "[server]\nssh_service = 'tcp0'\nssh_wait = 2\n",
            1,
        );
        let mut play = Play::with(seed, Tuning::draw(&mut rng, false), true, FEW, &file);
        play.add_site(0);
        play.start(0);
        play.run(WARM_UP);
        let start = play.now() + SECOND;
        let mut come = |words, first: Duration, home, port| {
            let id = play.book.borrow().stories.len();
            let opening = greeting(id, words);
            let acts = vec![pause(first), Act::Send(opening.len() + 500), Act::Fin];
            let scripts = [eager(acts), eager(vec![Act::Send(2000), Act::Fin])];
            let (ending, header, witnesses) = (Ending::Both, Vec::new(), Default::default());
            let story = Story { ending, home, port, header, opening, scripts, witnesses };
            play.tell(0, HTTPS, start, story)
        };
        let at_home = Some(2222);
        let served = [
            come(b"SSH-2.0-sim", Duration::ZERO, Some(0), at_home),
            come(b"SSH-2.0-sim", SECOND, Some(0), at_home),
            come(b"hello there", 3 * SECOND, Some(0), at_home),
        ];
        let dropped = come(b"hello there", Duration::ZERO, None, None);
        let secure = play.drop_in(0, start);
        play.run(3 * MINUTE);
        for id in served.into_iter().chain([secure]) {
            play.judge(id, Party::Visitor).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        }
        let [visitor, home] = play.book.borrow().stories[dropped].witnesses.clone();
        assert!(visitor.end.is_some() && !home.began, "seed {seed}: {visitor:?}");
    }
}

/// P3: a header is waited for within the time that the visitor has for its hello.
#[test]
fn p3_a_dripping_header_does_not_move_the_deadline() {
    let file = server_config(&[Dialect::Native], true, Ports::One).replacen(
        "[server]\n",
        "[server]\ntrusted_proxies = '10.0.2.1'\n",
        1,
    );
    let mut play = Play::with(3, tuning(), true, FEW, &file);
    play.add_site(0);
    play.start(0);
    play.run(WARM_UP);
    let begin = play.now() + SECOND;
    let mut bytes = b"PROXY TCP4 192.0.2.1 203.0.113.1 1 2\r\n".to_vec();
    let header = bytes.len();
    bytes.extend(client_hello(usize::MAX >> 32, Some("h0.example"), 300, &mut Rng::new(1)));
    // Half a header; a whole one in 4 s, and half a hello.
    for (port, gap) in [(HTTPS, SECOND), (80, SECOND), (5000, SECOND), (HTTPS, SECOND / 10)] {
        play.stranger(0, port, begin, bytes.clone(), drip(header + 200, gap));
    }
    let ids = 0..play.book.borrow().stories.len();
    play.run_until(begin + (HELLO_TIME - SLACK));
    for id in ids.clone() {
        let witness = play.book.borrow().stories[id].witnesses[0].clone();
        assert!(witness.began && witness.end.is_none(), "{id}: {witness:?}");
    }
    play.run_until(begin + HELLO_TIME + SLACK);
    for id in ids {
        let witness = play.book.borrow().stories[id].witnesses[0].clone();
        assert!(witness.end.is_some(), "{id}: {witness:?}");
    }
}
