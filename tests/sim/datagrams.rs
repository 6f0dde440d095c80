//! UDP visitors, who ask and ask again until they are answered, and what answers at home. Every
//! datagram that arrives must be one that was sent, whole, to whom it was meant for; it may come
//! late, twice, or never.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use underpass::engine::net::{Net, Token, Wake};
use underpass::proto::time::Time;

use super::driver::Program;
use super::net::{SimNet, SimUdp};
use super::rng::{Rng, splitmix};

/// What all of them share.
pub type Post = Rc<RefCell<Ledger>>;
/// A visitor's number.
pub type AskerId = usize;

/// An unanswered question is asked again after so long.
const AGAIN: Duration = Duration::from_secs(5);
/// So often.
const ATTEMPTS: u32 = 40;
/// Bytes that say whose a datagram is.
const MARK: usize = 8;
/// The longest datagram.
const LONGEST: usize = 65_507;

/// See [`Post`].
#[derive(Default)]
pub struct Ledger {
    pub askers: Vec<Asker>,
    /// Whom each socket at a home speaks for.
    sources: BTreeMap<(usize, SocketAddr), AskerId>,
    /// What must not happen in any world.
    pub wrong: Vec<String>,
}

/// One visitor's plan, and what came of it.
#[derive(Debug)]
pub struct Asker {
    home: usize,
    /// Which port of the home's is meant.
    port: u16,
    questions: Vec<Question>,
    /// How often it asks a question that is not answered.
    attempts: u32,
}

#[derive(Debug)]
struct Question {
    length: usize,
    answers: Vec<usize>,
    /// After the answer, before the next question.
    pause: u64,
    asked: u32,
    answered: bool,
}

impl Ledger {
    /// Somebody with some questions of up to `longest` bytes for a port of a home's.
    pub fn add(&mut self, home: usize, port: u16, longest: usize, rng: &mut Rng) -> AskerId {
        let most = longest.min(LONGEST) as u64;
        let length = |rng: &mut Rng| rng.log_between(MARK as u64, most) as usize;
        let questions = (0..rng.between(1, 6)).map(|_| Question {
            length: length(rng),
            answers: (0..rng.between(1, 3)).map(|_| length(rng)).collect(),
            // Some are longer than a session may be idle.
            pause: *rng.pick(&[0, 1_000, 1_000_000_000, 1_000_000_000, 30_000_000_000]),
            asked: 0,
            answered: false,
        });
        let questions = questions.collect();
        self.askers.push(Asker { home, port, questions, attempts: ATTEMPTS });
        self.askers.len() - 1
    }

    /// Somebody with so many questions of `length` bytes, one a second, each answered at once.
    pub fn add_steady(&mut self, home: usize, port: u16, length: usize, count: usize) -> AskerId {
        let question = || Question {
            length,
            answers: vec![length],
            pause: 1_000_000_000,
            asked: 0,
            answered: false,
        };
        let questions = (0..count).map(|_| question()).collect();
        self.askers.push(Asker { home, port, questions, attempts: ATTEMPTS });
        self.askers.len() - 1
    }

    /// Somebody who says one datagram, to which there is no answer.
    pub fn add_mute(&mut self, home: usize, port: u16) -> AskerId {
        let question =
            Question { length: MARK, answers: Vec::new(), pause: 0, asked: 0, answered: false };
        self.askers.push(Asker { home, port, questions: vec![question], attempts: 1 });
        self.askers.len() - 1
    }

    /// How many sockets at its home have spoken for `id`.
    pub fn sessions_of(&self, id: AskerId) -> usize {
        self.sources.values().filter(|whose| **whose == id).count()
    }

    /// Whether every question of `id` has been answered.
    pub fn is_answered(&self, id: AskerId) -> bool {
        self.askers[id].questions.iter().all(|question| question.answered)
    }

    /// Whether the first question of `id` has been.
    pub fn is_begun(&self, id: AskerId) -> bool {
        self.askers[id].questions[0].answered
    }

    /// Those who asked in vain.
    pub fn unanswered(&self) -> impl Iterator<Item = String> + '_ {
        let all = (0..self.askers.len()).filter(|id| !self.is_answered(*id));
        all.map(|id| format!("asker {id} was not answered: {:?}", self.askers[id]))
    }

    /// The question that a datagram at a home is: whose and which.
    fn asked(&self, datagram: &[u8], home: usize, port: u16) -> Result<(AskerId, usize), String> {
        let (id, number) = self.check(datagram, 0, |question| question.length)?;
        let asker = &self.askers[id];
        if (asker.home, asker.port) != (home, port) {
            return Err(format!("asker {id} came to home {home}:{port}: {asker:?}"));
        }
        Ok((id, number))
    }

    /// Checks every byte. `voice` is 0 for questions, else the answer's number.
    fn check(
        &self,
        datagram: &[u8],
        voice: u8,
        length: impl Fn(&Question) -> usize,
    ) -> Result<(AskerId, usize), String> {
        let strange = || format!("{} strange bytes: {:02x?}", datagram.len(), first(datagram));
        let (id, number, _) = mark(datagram).ok_or_else(strange)?;
        let question = self.askers.get(id).and_then(|asker| asker.questions.get(number));
        let question = question.filter(|question| question.asked > 0).ok_or_else(strange)?;
        match datagram == content(id, number, voice, length(question)) {
            true => Ok((id, number)),
            false => Err(strange()),
        }
    }
}

fn first(datagram: &[u8]) -> &[u8] {
    &datagram[..datagram.len().min(2 * MARK)]
}

fn mark(datagram: &[u8]) -> Option<(AskerId, usize, u8)> {
    let [a, b, c, d, question, voice, 0x5e, 0xed] = *datagram.first_chunk::<MARK>()? else {
        return None;
    };
    Some((u32::from_le_bytes([a, b, c, d]) as AskerId, question.into(), voice))
}

/// A datagram like no other.
fn content(id: AskerId, question: usize, voice: u8, length: usize) -> Vec<u8> {
    let mut bytes = (id as u32).to_le_bytes().to_vec();
    bytes.extend([question as u8, voice, 0x5e, 0xed]);
    let mut state = u64::from_le_bytes(bytes[..MARK].try_into().unwrap());
    while bytes.len() < length {
        bytes.extend(splitmix(&mut state).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The UDP visitors of one host.
pub struct UdpVisitors {
    net: SimNet,
    post: Post,
    /// When, where to and who; the last is the next.
    plans: Vec<(Time, SocketAddr, AskerId)>,
    talks: Vec<Talk>,
    wakes: Vec<Wake>,
}

struct Talk {
    id: AskerId,
    to: SocketAddr,
    /// `None`: it has gone.
    socket: Option<SimUdp>,
    /// The question that it is at.
    at: usize,
    /// When it asks, for the first time or again.
    due: Time,
}

impl UdpVisitors {
    /// Nobody yet.
    pub fn new(net: SimNet, post: Post) -> UdpVisitors {
        UdpVisitors { net, post, plans: Vec::new(), talks: Vec::new(), wakes: Vec::new() }
    }

    /// One more visitor.
    pub fn plan(&mut self, start: Time, to: SocketAddr, id: AskerId) {
        self.plans.push((start, to, id));
        self.plans.sort_by_key(|plan| std::cmp::Reverse(*plan));
    }

    /// Nobody is left.
    pub fn are_done(&self) -> bool {
        self.plans.is_empty() && self.talks.iter().all(|talk| talk.socket.is_none())
    }

    fn read(&mut self, index: usize) {
        let mut datagram = vec![0; LONGEST + 1];
        let now = self.net.now();
        let talk = &mut self.talks[index];
        let Some(socket) = &mut talk.socket else { return };
        while let Ok((length, from)) = self.net.receive(socket, &mut datagram) {
            let mut post = self.post.borrow_mut();
            let datagram = &datagram[..length];
            let voice = mark(datagram).map_or(0, |(_, _, voice)| voice);
            let answer = |question: &Question| {
                let number = usize::from(voice).checked_sub(1);
                number.and_then(|number| question.answers.get(number)).copied().unwrap_or(0)
            };
            match post.check(datagram, voice, answer) {
                Ok((id, _)) if id != talk.id => {
                    let line = format!("asker {} was told what asker {id} asked", talk.id);
                    post.wrong.push(line);
                }
                Ok((id, _)) if from != talk.to => {
                    post.wrong.push(format!("asker {id} asked {}, and {from} answers", talk.to));
                }
                Ok((id, number)) => {
                    let question = &mut post.askers[id].questions[number];
                    question.answered = true;
                    if number == talk.at {
                        talk.at += 1;
                        talk.due = Time(now.0 + question.pause);
                    }
                }
                Err(strange) => post.wrong.push(format!("asker {} got {strange}", talk.id)),
            }
        }
    }

    fn ask(&mut self, index: usize) {
        let now = self.net.now();
        let talk = &mut self.talks[index];
        let Some(socket) = &mut talk.socket else { return };
        let mut post = self.post.borrow_mut();
        let Asker { questions, attempts, .. } = &mut post.askers[talk.id];
        let question = questions.get_mut(talk.at);
        let Some(question) = question.filter(|question| question.asked < *attempts) else {
            talk.socket = None;
            return;
        };
        question.asked += 1;
        // Whether it goes or is lost here makes no difference.
        let _ =
            self.net.send(socket, &content(talk.id, talk.at, 0, question.length), Some(talk.to));
        talk.due = now + AGAIN;
    }
}

impl Program for UdpVisitors {
    fn turn(&mut self) -> io::Result<bool> {
        self.net.poll(None, &mut self.wakes)?;
        let now = self.net.now();
        while let Some((_, to, id)) = self.plans.pop_if(|plan| plan.0 <= now) {
            let any = "0.0.0.0:0".parse().unwrap();
            let (socket, _) = self.net.bind_udp(any, Token(self.talks.len() as u64))?;
            self.talks.push(Talk { id, to, socket: Some(socket), at: 0, due: now });
        }
        let ready: Vec<usize> = self.wakes.drain(..).filter_map(index).collect();
        ready.into_iter().for_each(|index| self.read(index));
        for index in 0..self.talks.len() {
            if self.talks[index].socket.is_some() && self.talks[index].due <= now {
                self.ask(index);
            }
        }
        Ok(true)
    }

    fn next_deadline(&self) -> Option<Time> {
        let talks = self.talks.iter().filter(|talk| talk.socket.is_some()).map(|talk| talk.due);
        talks.chain(self.plans.last().map(|plan| plan.0)).min()
    }
}

/// What answers at one home.
pub struct UdpHomes {
    net: SimNet,
    post: Post,
    home: usize,
    addresses: Vec<SocketAddr>,
    sockets: Vec<SimUdp>,
    wakes: Vec<Wake>,
}

impl UdpHomes {
    /// At `addresses`.
    pub fn new(net: SimNet, post: Post, home: usize, addresses: Vec<SocketAddr>) -> UdpHomes {
        let (sockets, wakes) = (Vec::new(), Vec::new());
        let mut homes = UdpHomes { net, post, home, addresses, sockets, wakes };
        homes.open();
        homes
    }

    /// Is there (again).
    pub fn open(&mut self) {
        for (index, address) in self.addresses.iter().enumerate() {
            self.sockets.push(self.net.bind_udp(*address, Token(index as u64)).unwrap().0);
        }
    }

    /// Is there no more.
    pub fn close(&mut self) {
        self.sockets.clear();
    }

    fn answer(&mut self, index: usize) {
        let mut datagram = vec![0; LONGEST + 1];
        let Some(socket) = self.sockets.get_mut(index) else { return };
        let (home, port) = (self.home, self.addresses[index].port());
        while let Ok((length, from)) = self.net.receive(socket, &mut datagram) {
            let mut post = self.post.borrow_mut();
            let (id, number) = match post.asked(&datagram[..length], home, port) {
                Ok(asked) => asked,
                Err(strange) => {
                    post.wrong.push(format!("home {home} got {strange}"));
                    continue;
                }
            };
            let speaks_for = *post.sources.entry((home, from)).or_insert(id);
            if speaks_for != id {
                post.wrong.push(format!("{from} speaks for askers {speaks_for} and {id}"));
            }
            for (answer, length) in post.askers[id].questions[number].answers.iter().enumerate() {
                let datagram = content(id, number, answer as u8 + 1, *length);
                let _ = self.net.send(socket, &datagram, Some(from));
            }
        }
    }
}

impl Program for UdpHomes {
    fn turn(&mut self) -> io::Result<bool> {
        self.net.poll(None, &mut self.wakes)?;
        let ready: Vec<usize> = self.wakes.drain(..).filter_map(index).collect();
        ready.into_iter().for_each(|index| self.answer(index));
        Ok(true)
    }

    fn next_deadline(&self) -> Option<Time> {
        None
    }
}

fn index(wake: Wake) -> Option<usize> {
    match wake {
        Wake::Ready(ready) => Some(ready.token.0 as usize),
        _ => None,
    }
}
