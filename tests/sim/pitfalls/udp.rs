//! Plays over UDP: a client with few descriptors, and two services whose visitors want them all.

use super::*;
use crate::datagrams::{AskerId, Post, UdpHomes, UdpVisitors};

/// Descriptors of a client that lets it have [`SOCKETS`] sockets for the sessions of UDP services.
const TIGHT: usize = 50;
const SOCKETS: usize = 8;
/// The ports of the two services, at the server and at home.
const SERVICES: [(u16, u16); 2] = [(5000, 5353), (5010, 5354)];
/// Where they run, a name that must be looked up.
const DEN: &str = "den.example";

struct Udp {
    play: Play,
    post: Post,
    /// The task of the visitors.
    visitors: usize,
}

impl Udp {
    /// A client with both services and few descriptors, which finds names after `lookup`.
    fn new(seed: u64, lookup: Duration) -> Udp {
        Udp::with(seed, lookup, TIGHT)
    }

    /// The same with so many descriptors.
    fn with(seed: u64, lookup: Duration, limit: usize) -> Udp {
        let tuning = Tuning { lookup: nanos(lookup), ..tuning() };
        let mut play = Play::new(seed, tuning, SERVICES.len(), true, FEW);
        play.limit = limit;
        let site = play.add_site(0);
        let (host, post) = (play.sites[site].host, Post::default());
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        play.driver.world.borrow_mut().add_name(DEN, vec![here]);
        let config = client_config(0, "vps.example", DEN, true, Ports::One);
        let second = format!(
            "[client.services.udp1]\ntype = \"udp\"\ntoken = \"t1\"\nlocal_addr = \"{DEN}:{}\"\n",
            SERVICES[1].1
        );
        play.sites[site].config = config + &second;
        for (home, (_, port)) in SERVICES.into_iter().enumerate() {
            let (process, net) = play.process(host, "UDP home");
            let homes = UdpHomes::new(net, post.clone(), home, vec![SocketAddr::new(here, port)]);
            let task = play.driver.add();
            play.driver.start(task, process, Actor::UdpHomes(homes));
        }
        let host = play.driver.world.borrow_mut().add_host(IpAddr::from([10, 0, 3, 1]));
        let (process, net) = play.process(host, "UDP visitors");
        let visitors = play.driver.add();
        let program = Actor::UdpVisitors(UdpVisitors::new(net, post.clone()));
        play.driver.start(visitors, process, program);
        play.start(site);
        play.run(WARM_UP);
        Udp { play, post, visitors }
    }

    /// A visitor of a service with so many questions, one a second.
    fn add(&mut self, service: usize, start: Time, questions: usize) -> AskerId {
        let id = self.post.borrow_mut().add_steady(service, SERVICES[service].1, 100, questions);
        self.plan(service, start, id)
    }

    /// Somebody who says one datagram to a service, and hears nothing.
    fn add_mute(&mut self, service: usize, start: Time) -> AskerId {
        let id = self.post.borrow_mut().add_mute(service, SERVICES[service].1);
        self.plan(service, start, id)
    }

    fn plan(&mut self, service: usize, start: Time, id: AskerId) -> AskerId {
        let to = SocketAddr::from(([10, 0, 0, 1], SERVICES[service].0));
        let task = &mut self.play.driver.tasks[self.visitors];
        if let Some(Actor::UdpVisitors(visitors)) = &mut task.program {
            visitors.plan(start, to, id);
        }
        self.play.driver.touched(self.visitors);
        id
    }

    /// The sockets that the client has for UDP sessions.
    fn sockets(&self) -> usize {
        self.play.held_by(self.play.sites[0].client).1.udp_sessions
    }

    fn run(&mut self, span: Duration) {
        self.play.run(span);
        let wrong = std::mem::take(&mut self.post.borrow_mut().wrong);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

#[test]
fn a_udp_service_with_many_sessions_leaves_room_for_another_one() {
    let mut udp = Udp::new(21, MILLI);
    let begin = udp.play.now();
    (0..SOCKETS).for_each(|_| _ = udp.add(0, begin, 1));
    udp.run(SECOND);
    assert_eq!(udp.sockets(), SOCKETS);
    let others = Vec::from_iter((0..3).map(|_| udp.add(1, begin + SECOND, 6)));
    udp.run(10 * SECOND);
    let post = udp.post.borrow();
    for id in others {
        assert!(post.is_answered(id), "{:?}", post.askers[id]);
        assert_eq!(post.sessions_of(id), 1, "asker {id} kept its socket at home");
    }
    assert_eq!(udp.sockets(), SOCKETS);
}

#[test]
fn udp_sessions_that_wait_for_a_name_count_as_sockets() {
    let mut udp = Udp::new(22, 2 * SECOND);
    let begin = udp.play.now();
    for _ in 0..SOCKETS {
        udp.add(0, begin, 1);
        udp.add(1, begin, 1);
    }
    udp.run(4 * SECOND);
    assert_eq!(udp.sockets(), SOCKETS);
}

/// A datagram each 10 ms from somebody new, who never hears an answer.
#[test]
fn a_flood_of_single_datagrams_ends_no_session_that_is_in_use() {
    const IN_USE: usize = 6;
    let mut udp = Udp::with(23, MILLI, FEW);
    let begin = udp.play.now();
    // One question a second, each answered at once; the server has room for two more sessions.
    let talks = Vec::from_iter((0..IN_USE).map(|_| udp.add(0, begin, 30)));
    for number in 0..2000 {
        udp.add_mute(0, begin + SECOND + number * 10 * MILLI);
    }
    udp.run(40 * SECOND);
    let post = udp.post.borrow();
    for id in talks {
        assert!(post.is_answered(id), "{:?}", post.askers[id]);
        assert_eq!(post.sessions_of(id), 1, "asker {id} lost its session");
    }
}
