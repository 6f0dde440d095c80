//! Does the simulator tell the truth? One script of system calls runs on real loopback sockets and
//! in the simulated world, and writes down what it sees; the two transcripts must be equal.

mod rig;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;

use underpass::engine::mio_net::MioNet;
use underpass::engine::net::{Net, Token, Wake};

use super::net::SimNet;
use super::world::{Tuning, World};
use rig::{Real, Rig, Simulated};

/// The script's state: the rig, and what was seen.
struct Script<R: Rig> {
    rig: R,
    seen: Vec<String>,
    tokens: u64,
}

type Stream<R> = <<R as Rig>::N as Net>::Stream;
type Udp<R> = <<R as Rig>::N as Net>::Udp;

impl<R: Rig> Script<R> {
    fn note<T: Debug>(&mut self, what: &str, result: io::Result<T>) -> Option<T> {
        let text = match &result {
            Ok(value) => format!("{what}: {value:?}"),
            Err(error) => format!("{what}: {:?}", error.kind()),
        };
        self.seen.push(text);
        result.ok()
    }

    /// Writes down who woke, and every flag that was told meanwhile.
    fn settle(&mut self, what: &str) {
        let mut wakes = Vec::new();
        self.rig.settle(&mut wakes);
        let mut events = BTreeMap::<u64, [bool; 5]>::new();
        for wake in wakes {
            let Wake::Ready(ready) = wake else { continue };
            let ends = [ready.read_closed, ready.urgent, ready.broken];
            let told = [ready.readable, ready.writable, ends[0], ends[1], ends[2]];
            let sum = events.entry(ready.token.0).or_default();
            *sum = std::array::from_fn(|i| sum[i] || told[i]);
        }
        let names = ["readable", "writable", "read_closed", "urgent", "broken"];
        let list = events.iter().map(|(token, flags)| {
            let set = names.iter().zip(flags).filter(|(_, on)| **on).map(|(name, _)| *name);
            format!("{token}={}", set.collect::<Vec<_>>().join("+"))
        });
        let line = format!("{what} -> {}", list.collect::<Vec<_>>().join(" "));
        self.seen.push(line);
    }

    fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    /// A connection: dialler and accepted end, registered, at rest. Odd token, then even.
    fn pair(&mut self, what: &str) -> [Stream<R>; 2] {
        self.seen.push(format!("== {what}"));
        let (mut listener, address) = self.listen();
        let mut dialler = self.rig.net().connect(address).unwrap();
        let (first, second) = (self.token(), self.token());
        self.rig.net().register(&mut dialler, first).unwrap();
        self.rig.settle(&mut Vec::new());
        self.rig.net().connect_result(&dialler).unwrap();
        let mut accepted = self.rig.net().accept(&mut listener).unwrap().0;
        self.rig.net().register(&mut accepted, second).unwrap();
        drop(listener);
        self.rig.settle(&mut Vec::new());
        self.seen.push(format!("{} dialled, {} accepted", first.0, second.0));
        [dialler, accepted]
    }

    fn listen(&mut self) -> (<R::N as Net>::Listener, SocketAddr) {
        let token = self.token();
        self.rig.net().listen("127.0.0.1:0".parse().unwrap(), token).unwrap()
    }

    fn write(&mut self, stream: &mut Stream<R>, count: usize) {
        let result = self.rig.net().write(stream, &vec![7; count]);
        self.note(&format!("write {count}"), result);
    }

    fn read(&mut self, stream: &mut Stream<R>, count: usize) {
        let result = self.rig.net().read(stream, &mut vec![0; count]);
        self.note(&format!("read {count}"), result);
    }

    fn shutdown(&mut self, stream: &mut Stream<R>) {
        let result = self.rig.net().shutdown_write(stream);
        self.note("shutdown", result);
    }

    /// Writes until both buffers are full; how much that is differs, so it is not noted.
    fn fill(&mut self, stream: &mut Stream<R>) -> usize {
        let mut total = 0;
        let block = vec![7; 50_000];
        let mut before = usize::MAX;
        while std::mem::replace(&mut before, total) != total {
            while let Ok(count) = self.rig.net().write(stream, &block) {
                total += count;
            }
            self.rig.settle(&mut Vec::new());
        }
        total
    }

    /// Reads until nothing is left.
    fn drain(&mut self, stream: &mut Stream<R>) -> usize {
        let mut total = 0;
        let mut block = vec![0; 50_000];
        while let Ok(count @ 1..) = self.rig.net().read(stream, &mut block) {
            total += count;
        }
        total
    }

    fn splice_in(&mut self, stream: &mut Stream<R>, most: usize) {
        let result = self.rig.net().splice_in(stream, most);
        self.note(&format!("splice in {most}"), result);
    }

    fn splice_out(&mut self, stream: &mut Stream<R>) {
        let result = self.rig.net().splice_out(stream);
        self.note("splice out", result);
    }

    fn empty_pipe(&mut self) {
        let mut left = [0; 100];
        let length = self.rig.net().empty_pipe(&mut left);
        self.seen.push(format!("left in the pipe: {:?}", &left[..length]));
    }

    fn run(mut self) -> Vec<String> {
        self.connecting();
        self.listening();
        self.edges();
        self.ending();
        self.breaking();
        self.filling();
        self.splicing();
        self.urging();
        self.datagrams();
        self.seen
    }

    fn send(&mut self, socket: &mut Udp<R>, count: usize, to: Option<SocketAddr>) {
        let result = self.rig.net().send(socket, &vec![7; count], to);
        self.note(&format!("send {count}"), result);
    }

    /// Notes the length; the sender comes back.
    fn receive(&mut self, socket: &mut Udp<R>, count: usize) -> Option<SocketAddr> {
        let result = self.rig.net().receive(socket, &mut vec![0; count]);
        let (length, from) = match result {
            Ok((length, from)) => (Ok(length), Some(from)),
            Err(error) => (Err(error), None),
        };
        self.note(&format!("receive {count}"), length);
        from
    }

    fn datagrams(&mut self) {
        self.seen.push("== datagrams".into());
        let any = "127.0.0.1:0".parse().unwrap();
        let token = self.token();
        let (mut home, address) = self.rig.net().bind_udp(any, token).unwrap();
        let token = self.token();
        let mut visitor = self.rig.net().connect_udp(address, token).unwrap();
        self.settle("bound and connected");
        for count in [0, 1, 1000, 65_507] {
            self.send(&mut visitor, count, None);
        }
        self.send(&mut visitor, 65_508, None);
        self.settle("four came");
        self.receive(&mut home, 10);
        self.settle("one taken: no edge for the rest");
        self.receive(&mut home, 10);
        self.receive(&mut home, 10); // cut
        let from = self.receive(&mut home, 70_000);
        self.receive(&mut home, 10);
        self.send(&mut home, 20, from);
        self.send(&mut home, 0, from);
        self.settle("answered");
        let peer = self.receive(&mut visitor, 100);
        self.seen.push(format!("from its peer: {}", peer == Some(address)));
        self.receive(&mut visitor, 100);
        self.receive(&mut visitor, 100);

        self.seen.push("== datagrams to nobody".into());
        let token = self.token();
        let (mut stranger, _) = self.rig.net().bind_udp(any, token).unwrap();
        self.send(&mut stranger, 5, from);
        self.settle("a connected socket hears its peer alone");
        drop(home);
        self.send(&mut visitor, 5, None);
        self.settle("refused");
        self.receive(&mut visitor, 100);
        self.receive(&mut visitor, 100);
        self.send(&mut visitor, 5, None);
        self.settle("refused again");
        self.send(&mut visitor, 5, None);
        self.settle("the error took the place of sending");
        let token = self.token();
        let (mut home, _) = self.rig.net().bind_udp(address, token).unwrap();
        self.send(&mut visitor, 6, None);
        self.settle("somebody is there again");
        self.receive(&mut home, 100);
        self.send(&mut stranger, 5, Some(address));
        drop(home);
        self.send(&mut stranger, 5, Some(address));
        self.settle("an unconnected socket is told nothing");
        self.receive(&mut stranger, 100);
    }

    fn urging(&mut self) {
        for (ends, splices) in [(false, false), (true, false), (false, true), (true, true)] {
            let what = format!("urgent data; ends: {ends}, splices: {splices}");
            let [mut a, mut b] = self.pair(&what);
            self.write(&mut a, 4);
            self.rig.urge(&mut a);
            self.write(&mut a, 5);
            if ends {
                self.shutdown(&mut a);
            }
            self.settle("came");
            if splices {
                for _ in 0..2 {
                    self.splice_in(&mut b, 100);
                    self.empty_pipe();
                }
            } else {
                self.read(&mut b, 100);
            }
            self.settle("up to the mark: no edge");
            self.read(&mut b, 100);
            self.read(&mut b, 100);
            self.settle("all of it");
        }
        let [mut a, mut b] = self.pair("nothing but urgent data");
        self.rig.urge(&mut a);
        self.settle("came");
        self.read(&mut b, 100);
        self.write(&mut a, 3);
        self.settle("and a little more");
        self.splice_in(&mut b, 100);
        self.empty_pipe();
    }

    fn connecting(&mut self) {
        self.seen.push("== connect, and data before accept and before register".into());
        let (mut listener, address) = self.listen();
        self.settle("listening");
        let mut dialler = self.rig.net().connect(address).unwrap();
        let token = self.token();
        self.rig.net().register(&mut dialler, token).unwrap();
        self.settle("connected");
        let result = self.rig.net().connect_result(&dialler);
        self.note("connect_result", result);
        self.write(&mut dialler, 10);
        self.settle("written before accept");
        let (mut accepted, peer) = self.rig.net().accept(&mut listener).unwrap();
        let same = self.rig.net().local_addr(&dialler).unwrap() == peer;
        self.seen.push(format!("peer's address is the dialler's: {same}"));
        self.settle("accepted");
        let token = self.token();
        self.rig.net().register(&mut accepted, token).unwrap();
        self.settle("registered with data");
        self.read(&mut accepted, 100);
        self.read(&mut accepted, 100);
        let again = self.rig.net().accept(&mut listener).map(|_| ());
        self.note("accept again", again);
        self.settle("quiet");

        self.seen.push("== refused".into());
        drop(listener);
        self.settle("listener gone");
        let mut stream = self.rig.net().connect(address).unwrap();
        let token = self.token();
        self.rig.net().register(&mut stream, token).unwrap();
        self.settle("refused");
        let result = self.rig.net().connect_result(&stream);
        self.note("connect_result", result);
        self.read(&mut stream, 10);
        self.write(&mut stream, 10);
        self.settle("quiet");
    }

    fn listening(&mut self) {
        self.seen.push("== a listener's edges".into());
        let (mut listener, address) = self.listen();
        let first = self.rig.net().connect(address).unwrap();
        let second = self.rig.net().connect(address).unwrap();
        self.settle("two wait");
        let one = self.rig.net().accept(&mut listener).unwrap();
        self.settle("one taken, one waits: no edge");
        let third = self.rig.net().connect(address).unwrap();
        self.settle("another came");
        drop((one, first, second));

        self.seen.push("== reset before accept".into());
        let fourth = self.rig.net().connect(address).unwrap();
        self.settle("it waits");
        self.rig.net().abort(fourth);
        self.settle("it was reset");
        for _ in 0..2 {
            drop(self.rig.net().accept(&mut listener).unwrap());
        }
        let (mut dead, _) = self.rig.net().accept(&mut listener).unwrap();
        let token = self.token();
        self.rig.net().register(&mut dead, token).unwrap();
        self.settle("registered");
        self.read(&mut dead, 10);
        self.read(&mut dead, 10);
        drop(third);

        self.seen.push("== the listener closes before accept".into());
        let mut fifth = self.rig.net().connect(address).unwrap();
        let token = self.token();
        self.rig.net().register(&mut fifth, token).unwrap();
        self.settle("it waits");
        drop(listener);
        self.settle("closed");
        self.read(&mut fifth, 10);
        self.read(&mut fifth, 10);
        self.write(&mut fifth, 10);
    }

    fn edges(&mut self) {
        let [mut a, mut b] = self.pair("edges of reading");
        self.settle("quiet");
        self.write(&mut a, 100);
        self.settle("100 came");
        self.read(&mut b, 40);
        self.settle("40 read: no edge for the rest");
        self.write(&mut a, 10);
        self.settle("10 more came");
        self.read(&mut b, 1000);
        self.read(&mut b, 1000);
        self.settle("all read");
        self.write(&mut a, 5);
        self.rig.arrive();
        self.read(&mut b, 1000);
        self.settle("read before poll: the edge comes all the same");
        self.write(&mut b, 5);
        self.settle("the other way");
        self.read(&mut a, 1000);
    }

    fn ending(&mut self) {
        let [mut a, mut b] = self.pair("half-close with data before it");
        self.write(&mut a, 30);
        self.shutdown(&mut a);
        self.settle("30 and FIN");
        self.read(&mut b, 10);
        self.read(&mut b, 100);
        self.read(&mut b, 100);
        self.read(&mut b, 100);
        self.write(&mut a, 1);
        self.write(&mut b, 50);
        self.settle("data after the other's FIN");
        self.read(&mut a, 100);
        self.shutdown(&mut b);
        self.settle("both ended");
        self.read(&mut a, 100);
        self.read(&mut b, 100);
        self.write(&mut a, 1);
        self.write(&mut b, 1);
        self.settle("and nothing more");

        let [mut a, b] = self.pair("abort after both ended: no reset");
        let mut b = b;
        self.shutdown(&mut a);
        self.shutdown(&mut b);
        self.settle("both ended");
        self.rig.net().abort(b);
        self.settle("aborted");
        self.read(&mut a, 10);
        self.read(&mut a, 10);

        let [a, mut b] = self.pair("close with everything read");
        drop(a);
        self.settle("closed");
        self.read(&mut b, 10);
        self.write(&mut b, 10);
        self.settle("a write brings a reset");
        self.read(&mut b, 10);
        self.write(&mut b, 10);
        self.write(&mut b, 10);
    }

    fn breaking(&mut self) {
        let [a, mut b] = self.pair("reset");
        self.rig.net().abort(a);
        self.settle("reset");
        self.read(&mut b, 10);
        self.read(&mut b, 10);
        self.write(&mut b, 10);

        let [a, mut b] = self.pair("reset, written to first");
        self.rig.net().abort(a);
        self.settle("reset");
        self.write(&mut b, 10);
        self.write(&mut b, 10);
        self.read(&mut b, 10);

        let [mut a, mut b] = self.pair("reset behind unread data");
        self.write(&mut a, 20);
        self.settle("20 came");
        self.rig.net().abort(a);
        self.settle("reset");
        self.read(&mut b, 5);
        self.read(&mut b, 100);
        self.read(&mut b, 100);
        self.read(&mut b, 100);

        let [mut a, mut b] = self.pair("close with unread data");
        self.write(&mut a, 20);
        self.settle("20 came");
        self.read(&mut b, 5);
        drop(b);
        self.settle("closed over 15 unread bytes");
        self.read(&mut a, 10);
        self.read(&mut a, 10);
        self.write(&mut a, 10);

        let [mut a, mut b] = self.pair("close with unread FIN only");
        self.shutdown(&mut a);
        self.settle("FIN");
        self.write(&mut b, 3);
        drop(b);
        self.settle("closed");
        self.read(&mut a, 10);
        self.read(&mut a, 10);

        let [mut a, mut b] = self.pair("FIN, then reset");
        self.shutdown(&mut a);
        self.settle("FIN");
        self.rig.net().abort(a);
        self.settle("reset after FIN");
        self.read(&mut b, 10);
        self.write(&mut b, 10);
        self.write(&mut b, 10);

        let [mut a, b] = self.pair("reset meets our FIN");
        self.shutdown(&mut a);
        self.settle("FIN");
        self.rig.net().abort(b);
        self.settle("reset");
        self.read(&mut a, 10);
        self.read(&mut a, 10);
        self.write(&mut a, 10);

        let [mut a, b] = self.pair("data for one that closed, while it still sends");
        let mut b = b;
        self.write(&mut b, 25);
        drop(b);
        self.settle("25 and FIN");
        self.write(&mut a, 4);
        self.settle("reset");
        self.read(&mut a, 100);
        self.read(&mut a, 100);
        self.write(&mut a, 4);
    }

    fn filling(&mut self) {
        let [mut a, mut b] = self.pair("edges of writing");
        let sent = self.fill(&mut a);
        self.settle("full");
        let (mut got, mut told) = (0, false);
        let writer = Token(self.tokens - 1);
        while got < sent {
            got += self.drain(&mut b);
            let mut wakes = Vec::new();
            self.rig.settle(&mut wakes);
            told |= wakes.iter().any(|wake| match wake {
                Wake::Ready(ready) => ready.token == writer && ready.writable,
                _ => false,
            });
        }
        self.seen.push(format!("all arrived: {}, room was told: {told}", got == sent));
        self.write(&mut a, 10);
        self.settle("not full any more: only the peer");
        self.read(&mut b, 100);
        self.settle("and room is no news");

        let [mut a, mut b] = self.pair("FIN behind a full buffer, then close");
        let sent = self.fill(&mut a);
        self.shutdown(&mut a);
        self.rig.settle(&mut Vec::new());
        drop(a);
        let mut got = 0;
        loop {
            got += self.drain(&mut b);
            if self.rig.net().read(&mut b, &mut [0; 1]).is_ok_and(|count| count == 0) {
                break;
            }
            self.rig.settle(&mut Vec::new());
        }
        self.seen.push(format!("all arrived: {}", got == sent));

        let [mut a, b] = self.pair("reset with a full buffer");
        self.fill(&mut a);
        self.rig.settle(&mut Vec::new());
        self.rig.net().abort(b);
        self.settle("reset");
        self.write(&mut a, 10);
        self.write(&mut a, 10);
        self.read(&mut a, 10);
    }

    fn splicing(&mut self) {
        // The real net makes its pipe when asked.
        let _ = self.rig.net().splice_worth();
        let [mut a, mut b] = self.pair("splice");
        let [mut c, mut d] = self.pair("to");
        self.splice_in(&mut b, 50);
        self.write(&mut a, 10);
        self.settle("ten bytes are here");
        self.splice_in(&mut b, 4);
        let head = self.rig.net().write_more(&mut c, &[9; 3]);
        self.note("write more", head);
        self.splice_out(&mut c);
        self.empty_pipe();
        self.splice_in(&mut b, 50);
        self.empty_pipe();
        self.splice_in(&mut b, 50);
        self.settle("head and four bytes have gone on");
        self.read(&mut d, 100);
        self.write(&mut a, 5);
        self.shutdown(&mut a);
        self.settle("an end behind bytes");
        self.splice_in(&mut b, 50);
        self.splice_out(&mut c);
        self.splice_in(&mut b, 50);
        self.splice_in(&mut b, 50);

        let [mut a, mut b] = self.pair("splice into a full buffer");
        let sent = self.fill(&mut b);
        self.write(&mut a, 10);
        self.settle("bytes for the full one");
        self.splice_in(&mut b, 10);
        self.splice_out(&mut b);
        self.empty_pipe();
        let mut got = 0;
        while got < sent {
            got += self.drain(&mut a);
            self.rig.settle(&mut Vec::new());
        }
        self.write(&mut a, 10);
        self.rig.settle(&mut Vec::new());
        self.splice_in(&mut b, 10);
        self.splice_out(&mut b);
        self.settle("there is room again");
        self.read(&mut a, 100);

        let [mut a, b] = self.pair("splice from and to a broken one");
        self.write(&mut a, 10);
        self.rig.settle(&mut Vec::new());
        self.rig.net().abort(b);
        self.rig.settle(&mut Vec::new());
        self.splice_in(&mut a, 10);
        let [mut c, mut d] = self.pair("from");
        self.write(&mut c, 3);
        self.rig.settle(&mut Vec::new());
        self.splice_in(&mut d, 10);
        self.splice_out(&mut a);
        self.empty_pipe();
    }
}

fn simulated() -> Vec<String> {
    let world = World::shared(1, Tuning::loopback());
    let process = {
        let mut world = world.borrow_mut();
        let host = world.add_host("10.0.0.1".parse().unwrap());
        world.add_process(host, "script", 1000)
    };
    let seen = Script {
        rig: Simulated(SimNet::new(&world, process), world.clone()),
        seen: Vec::new(),
        tokens: 0,
    }
    .run();
    assert_eq!(world.borrow().open_descriptors(process), 0);
    seen
}

#[test]
fn the_simulator_tells_the_truth() {
    let real = Script { rig: Real(MioNet::new().unwrap()), seen: Vec::new(), tokens: 0 }.run();
    let simulated = simulated();
    let differ = (0..real.len().max(simulated.len())).find(|i| real.get(*i) != simulated.get(*i));
    if let Some(line) = differ {
        let part = real[..line].iter().rposition(|line| line.starts_with("==")).unwrap_or(0);
        panic!("real:\n{:#?}\nsimulated:\n{:#?}", &real[part..=line], &simulated[part..=line]);
    }
}
