//! Several servers for a home: each one's line lives by itself. And lines that are slow.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use underpass::config::Config;
use underpass::engine::server::Server;
use underpass::proto::time::Time;

use super::files::{Dialect, Ports, server_config};
use super::play::*;
use super::programs::{Actor, File};
use super::rng::Rng;
use super::story::{Party, StoryId};
use super::world::Tuning;

const SERVERS: usize = 4;
/// A server that is there again is dialled after 5 s at most, and has its links a little later.
const BACK: Duration = Duration::from_secs(9);

fn address(server: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, server as u8 + 1))
}

/// Servers with one file, of which the first is [`Play::server`]; clients know all by this key.
struct House {
    play: Play,
    file: String,
    /// Their tasks.
    servers: Vec<usize>,
}

impl House {
    fn new(seed: u64, tuning: Tuning, dialect: Dialect, homes: usize, count: usize) -> House {
        let file = server_config(&vec![dialect; homes], true, Ports::One);
        let play = Play::with(seed, tuning, true, FEW, &file);
        let servers = vec![play.server];
        let mut house = House { play, file, servers };
        (1..count).for_each(|_| house.add_server());
        house
    }

    fn add_server(&mut self) {
        let number = self.servers.len();
        self.play.driver.world.borrow_mut().add_host(address(number));
        let task = self.play.driver.add();
        self.servers.push(task);
        self.start_server(number);
    }

    fn start_server(&mut self, number: usize) {
        let world = self.play.driver.world.clone();
        let at = |host: &usize| world.borrow().host_address(*host) == address(number);
        let host = (0..).find(at).unwrap();
        let (process, net) = self.play.process(host, "server");
        let config = Config::parse("server", &self.file, &|_| None).unwrap().server.unwrap();
        let program = Actor::Server(Server::new(config, net).unwrap(), File::default());
        self.play.driver.start(self.servers[number], process, program);
    }

    fn crash(&mut self, number: usize, silent: bool) {
        let task = self.servers[number];
        let process = self.play.driver.tasks[task].process;
        self.play.driver.world.borrow_mut().crash(process, silent);
        self.play.driver.stop(task);
    }

    /// A home whose client has this for `remote_addr`.
    fn add_home(&mut self, home: usize, dialect: Dialect, remote: &str) {
        let site = self.play.add_site(home);
        if dialect == Dialect::Rathole {
            self.play.sites[site].config =
                super::files::rathole_client_config(home, "vps.example", "127.0.0.1", true);
        }
        let config = &mut self.play.sites[site].config;
        *config = config.replace("\"vps.example:2333\"", remote);
        assert!(config.contains(remote));
        self.play.start(site);
    }

    fn drop_in(&mut self, server: usize, home: usize, start: Time) -> StoryId {
        self.play.entry = address(server);
        self.play.drop_in(home, start)
    }
}

fn list(of: std::ops::Range<usize>) -> String {
    let all: Vec<String> = of.map(|server| format!("\"{}:2333\"", address(server))).collect();
    format!("[{}]", all.join(", "))
}

/// Whatever befalls one server, the visitors of the others get what they get; and one that is back
/// is used again. In worlds of all kinds, with both protocols.
#[test]
fn each_server_s_line_lives_by_itself() {
    const SPAN: u64 = 80;
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let dialect = *rng.pick(&[Dialect::Native, Dialect::Native, Dialect::Rathole]);
        let (homes, count) = (rng.between(1, 2) as usize, rng.between(2, SERVERS as u64) as usize);
        let mut house = House::new(seed, Tuning::draw(&mut rng, false), dialect, homes, count);
        (0..homes).for_each(|home| house.add_home(home, dialect, &list(0..count)));
        house.play.run(WARM_UP);
        let begin = house.play.now();
        // A session with one that is gone ends after so long at the latest.
        let silence = match dialect {
            Dialect::Native => 26 * SECOND,
            Dialect::Rathole => 41 * SECOND,
        };
        // When each server but the first crashes, and when it is there again.
        let crashes: Vec<_> = (1..count)
            .map(|server| {
                let crash = begin + SECOND * rng.between(1, 20) as u32;
                (server, crash, crash + SECOND * rng.between(1, 25) as u32)
            })
            .collect();
        let visits: Vec<_> = (0..80)
            .map(|_| {
                let start =
                    begin + SECOND * rng.below(SPAN) as u32 + rng.below(1000) as u32 * MILLI;
                let (server, home) =
                    (rng.below(count as u64) as usize, rng.below(homes as u64) as usize);
                (house.drop_in(server, home, start), server, start)
            })
            .collect();
        let mut plan: Vec<_> = crashes
            .iter()
            .flat_map(|(server, crash, back)| [(*crash, *server, true), (*back, *server, false)])
            .collect();
        plan.sort();
        for (at, server, crashes) in plan {
            house.play.run_until(at);
            match crashes {
                true => house.crash(server, rng.chance(1, 2)),
                false => house.start_server(server),
            }
        }
        house.play.run_until(begin + SECOND * (SPAN as u32 + 60));
        for (id, server, start) in visits {
            // Whoever was there when it crashed, or came before the client had a session again.
            let done = house.play.book.borrow().stories[id].witnesses[0].done;
            let is_hit = crashes.iter().any(|(its, crash, back)| {
                let again = (*back).max(*crash + silence) + BACK;
                *its == server && done.is_none_or(|done| done >= crash.0) && start <= again
            });
            let served = house.play.judge(id, Party::Visitor);
            assert!(is_hit || served.is_ok(), "seed {seed}, server {server}: {served:?}");
        }
    }
}

/// A name that stands for servers: one that comes later has a line within 30 s; one that is the
/// name's no more keeps it until its session ends, and is not dialled again.
#[test]
fn the_addresses_of_a_name_are_servers_as_they_come_and_go() {
    for seed in 0..10 {
        let mut house = House::new(seed, tuning(), Dialect::Native, 1, 3);
        let say = |house: &House, servers: &[usize]| {
            let addresses = servers.iter().map(|server| address(*server)).collect();
            house.play.driver.world.borrow_mut().add_name("all.example", addresses);
        };
        say(&house, &[0, 1]);
        house.add_home(0, Dialect::Native, "\"all.example:2333\"\nresolve = \"all\"");
        house.play.run(WARM_UP);
        let at_once = [0, 1].map(|server| house.drop_in(server, 0, house.play.now()));
        let later = house.drop_in(2, 0, house.play.now());
        house.play.run(2 * SECOND);
        at_once.into_iter().for_each(|id| house.play.assert_served(id, house.play.now()));
        assert!(house.play.judge(later, Party::Visitor).is_err(), "it is not its server yet");
        // No answer is no reason to let anybody go.
        house.play.driver.world.borrow_mut().break_names(MINUTE);
        let more = house.play.rng.below(30) as u32;
        house.play.run(MINUTE + more * SECOND);
        say(&house, &[1, 2]);
        house.play.run(30 * SECOND);
        let all = [0, 1, 2].map(|server| house.drop_in(server, 0, house.play.now()));
        house.play.run(2 * SECOND);
        all.into_iter().for_each(|id| house.play.assert_served(id, house.play.now()));
        // The first one's session ends, and with it its line.
        house.crash(0, false);
        house.play.run(SECOND);
        house.start_server(0);
        let process = house.play.driver.tasks[house.servers[0]].process;
        house.play.run(2 * MINUTE);
        let world = house.play.driver.world.clone();
        let dialled = world
            .borrow()
            .accepted()
            .iter()
            .any(|(by, at, _)| *by == process && at.port() == TUNNEL);
        assert!(!dialled, "it has vanished, and is dialled all the same");
        let others = [1, 2].map(|server| house.drop_in(server, 0, house.play.now()));
        house.play.run(2 * SECOND);
        others.into_iter().for_each(|id| house.play.assert_served(id, house.play.now()));
        // Until it is one of them again.
        say(&house, &[0, 1]);
        house.play.run(30 * SECOND);
        let again = house.drop_in(0, 0, house.play.now());
        house.play.run(2 * SECOND);
        house.play.assert_served(again, house.play.now());
    }
}

/// Each step of a dial has its own time: a round trip of 5 s is slow, and no reason to give up.
/// Nobody is served later than the line needs: 2.5 round trips of a visitor's own are under way.
#[test]
fn a_round_trip_of_five_seconds_is_enough_to_connect() {
    for (noise, seed) in [(true, 1), (false, 2), (true, 3)] {
        let slow = Tuning { latency: (2_500_000_000, 2_500_000_000), ..tuning() };
        let mut play = Play::new(seed, slow, 1, noise, FEW);
        play.add_site(0);
        play.start(0);
        play.run(MINUTE);
        let begin = play.now();
        let visits = [0, 1, 2, 3, 4, 5].map(|n| play.drop_in(0, begin + n * SECOND));
        play.run(MINUTE);
        visits.into_iter().for_each(|id| play.assert_served(id, begin + MINUTE));
        let dials = play.dials_until(play.now() + 5 * MINUTE);
        assert!(dials.len() < 8, "it does not stand: {dials:?}");
    }
}

/// Descriptors at home are for the visitors of all servers.
#[test]
fn a_crowd_at_one_server_leaves_room_for_the_others() {
    let mut house = House::new(7, tuning(), Dialect::Native, 1, 2);
    house.play.limit = 96; // of the client
    house.add_home(0, Dialect::Native, &list(0..2));
    house.play.run(WARM_UP);
    house.play.entry = address(0);
    let begin = house.play.now();
    for number in 0..60 {
        house.play.stay_from(0, 0, begin + number * 10 * MILLI, 5 * MINUTE);
    }
    house.play.run(5 * SECOND);
    // What the other server's links leave is asked for by the crowd.
    house.play.limit = FEW;
    house.crash(1, false);
    house.play.run(SECOND);
    house.start_server(1);
    house.play.run(15 * SECOND);
    let start = house.play.now();
    let visits = [0, 1, 2].map(|n| house.drop_in(1, 0, start + n * SECOND));
    house.play.run(5 * SECOND);
    visits.into_iter().for_each(|id| house.play.assert_served(id, start + 5 * SECOND));
}
