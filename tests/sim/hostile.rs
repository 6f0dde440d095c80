//! Strangers on the tunnel port, and clients with a valid token who mean harm: tunnel connections
//! by hand, each with a part to play. What becomes of them is written down for whoever wrote the
//! play.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use underpass::config::{Config, ServiceKind};
use underpass::engine::net::{Net, Token, Wake};
use underpass::proto::noise::{Channel, HandshakeHash, Protection, Side};
use underpass::proto::proof;
use underpass::proto::time::Time;
use underpass::wire::Status;
use underpass::wire::frame::{self, Piece};
use underpass::wire::message::{
    self, Entry, Message, Open, Reason, Register, Registration, VERSION, kind,
};

use super::driver::Program;
use super::net::{SimNet, SimStream};
use super::rng::Rng;

/// Bytes read at once.
const BLOCK: usize = 16 * 1024;
/// Who pours keeps so many bytes ready to be written.
const POURED_AHEAD: usize = 16 * 1024;
/// A pause before an impostor dials again.
const AGAIN: Duration = Duration::from_millis(100);

/// What has become of the impostors of one host.
pub type Report = Rc<RefCell<Tally>>;

/// See [`Report`].
#[derive(Debug, Default, Clone)]
pub struct Tally {
    /// Connections that were dialled, and those whose handshake is done.
    pub dialled: usize,
    pub shaken: usize,
    /// REGISTERs that were accepted, and that were refused for their token.
    pub accepted: usize,
    pub refused: usize,
    /// Links that the server took in, and visitors on them.
    pub links: usize,
    pub leases: usize,
    /// Messages that were poured out.
    pub poured: usize,
    /// Connections of each kind that are open.
    pub open_sessions: usize,
    pub open_links: usize,
    /// Since when the longest-lived connection that pours has been connected, and when the last
    /// one of them was ended.
    pub pours_since: Option<Time>,
    pub cut_at: Option<Time>,
}

/// A service that somebody has the token of.
#[derive(Debug, Clone)]
pub struct Claim {
    pub name: String,
    pub kind: ServiceKind,
    pub token: String,
}

/// What an impostor does.
#[derive(Debug, Clone)]
pub enum Part {
    /// Says RESET of the last of all leases, before any, so often.
    Resets(usize),
    /// Says a wrong token so often.
    Guesses { claim: Claim, count: usize },
    /// Opens a session with a token.
    Client(Malice),
}

/// A client with a valid token.
#[derive(Debug, Clone)]
pub struct Malice {
    pub claim: Claim,
    /// How often it registers.
    pub registers: usize,
    /// Links that it dials beside those asked for.
    pub surplus: usize,
    /// Whether it dials those asked for.
    pub obeys: bool,
    pub links: LinkPart,
    /// Says on the control session what belongs on links.
    pub confused: bool,
}

/// What a client's links do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkPart {
    /// Ends when the visitor does, and is ready for the next.
    Polite,
    /// Ends when the visitor does, and is never ready again.
    NeverReady,
    /// Neither ends nor answers.
    Mute,
    /// Says RESET of the last of all leases, so often, while it is spare.
    Resets(usize),
    /// Dials so many more when a visitor comes.
    Greedy(usize),
    /// Says what belongs elsewhere.
    Confused,
}

impl Malice {
    /// Registers once and does what a client does.
    pub fn polite(claim: Claim) -> Malice {
        let links = LinkPart::Polite;
        Malice { claim, registers: 1, surplus: 0, obeys: true, links, confused: false }
    }
}

#[derive(Clone)]
enum Role {
    Part(Part),
    Link { session: u64, key: [u8; 32], part: LinkPart },
}

/// One tunnel connection.
struct Tunnel {
    stream: Option<SimStream>,
    role: Role,
    /// Dials again until then when it is cut.
    until: Time,
    connected: bool,
    channel: Channel,
    hash: Option<HandshakeHash>,
    /// Of WELCOME.
    nonce: [u8; 32],
    key: [u8; 32],
    session: u64,
    inbox: Vec<u8>,
    /// What is left of a raw run.
    run_left: usize,
    outbox: Vec<u8>,
    /// Messages that are still to be poured.
    to_pour: usize,
    settled: bool,
}

/// The impostors of one host.
pub struct Impostors {
    net: SimNet,
    to: SocketAddr,
    protection: Protection,
    rng: Rng,
    report: Report,
    /// When, what, and until when again; the last is the next.
    plans: Vec<(Time, Role, Time)>,
    tunnels: Vec<Tunnel>,
    /// Connections in all.
    most: usize,
    wakes: Vec<Wake>,
}

impl Impostors {
    /// Nobody yet. `config` is a client's of the server at `to`.
    pub fn new(net: SimNet, to: SocketAddr, config: &str, seed: u64) -> Impostors {
        let config = Config::parse("client", config, &|_| None).unwrap().client.unwrap();
        Impostors {
            net,
            to,
            protection: Protection::new(&config.servers[0].transport, Side::Initiator).unwrap(),
            rng: Rng::new(seed),
            report: Report::default(),
            plans: Vec::new(),
            tunnels: Vec::new(),
            most: usize::MAX,
            wakes: Vec::new(),
        }
    }

    /// No more than so many connections, one after the other: each may cost a handshake.
    pub fn within(self, most: usize) -> Impostors {
        Impostors { most, ..self }
    }

    /// What becomes of them.
    pub fn report(&self) -> Report {
        self.report.clone()
    }

    /// One more, who comes again until `until` whenever it is cut.
    pub fn plan(&mut self, start: Time, part: Part, until: Time) {
        self.plan_role(start, Role::Part(part), until);
    }

    fn plan_role(&mut self, start: Time, role: Role, until: Time) {
        let at = self.plans.partition_point(|plan| plan.0 > start);
        self.plans.insert(at, (start, role, until));
    }

    fn dial(&mut self, role: Role, until: Time) -> io::Result<()> {
        if self.tunnels.len() >= self.most {
            return Ok(());
        }
        let mut seed = [0; 32];
        self.rng.fill(&mut seed);
        let Ok(mut stream) = self.net.connect(self.to) else { return Ok(()) };
        self.net.register(&mut stream, Token(self.tunnels.len() as u64))?;
        self.report.borrow_mut().dialled += 1;
        let channel = Channel::initiate(&self.protection, 0, seed).unwrap();
        self.tunnels.push(Tunnel {
            stream: Some(stream),
            role,
            until,
            connected: false,
            channel,
            hash: None,
            nonce: [0; 32],
            key: [0; 32],
            session: 0,
            inbox: Vec::new(),
            run_left: 0,
            outbox: Vec::new(),
            to_pour: 0,
            settled: false,
        });
        Ok(())
    }

    /// One connection's turn.
    fn step(&mut self, index: usize) {
        let tunnel = &mut self.tunnels[index];
        if tunnel.stream.is_none() {
            return;
        }
        let mut links = 0;
        let goes_on = tunnel.step(&mut self.net, &mut self.rng, &self.report, &mut links);
        let (now, until) = (self.net.now(), tunnel.until);
        let link = tunnel.link();
        if !goes_on {
            tunnel.end(now, &self.report);
            let again = now + AGAIN;
            if let Some(role) = Some(tunnel.role.clone()).filter(|_| again < until) {
                self.plan_role(again, role, until);
            }
        }
        if let Some(link) = link {
            // A link that is lost is not dialled again: the server asks for another.
            (0..links).for_each(|_| self.plan_role(now, link.clone(), now));
        }
    }
}

impl Program for Impostors {
    fn turn(&mut self) -> io::Result<bool> {
        self.net.poll(None, &mut self.wakes)?;
        let now = self.net.now();
        while let Some((_, role, until)) = self.plans.pop_if(|plan| plan.0 <= now) {
            self.dial(role, until)?;
        }
        let mut wakes = std::mem::take(&mut self.wakes);
        for wake in wakes.drain(..) {
            let Wake::Ready(ready) = wake else { continue };
            if (ready.token.0 as usize) < self.tunnels.len() {
                self.step(ready.token.0 as usize);
            }
        }
        self.wakes = wakes;
        Ok(true)
    }

    fn next_deadline(&self) -> Option<Time> {
        self.plans.last().map(|plan| plan.0)
    }
}

impl Tunnel {
    /// What the links of its session are.
    fn link(&self) -> Option<Role> {
        match &self.role {
            Role::Part(Part::Client(malice)) => {
                Some(Role::Link { session: self.session, key: self.key, part: malice.links })
            }
            Role::Part(_) => None,
            link @ Role::Link { .. } => Some(link.clone()),
        }
    }

    /// Does all that can be done now; whether the connection goes on. `links`: so many more.
    fn step(
        &mut self,
        net: &mut SimNet,
        rng: &mut Rng,
        report: &Report,
        links: &mut usize,
    ) -> bool {
        let Some(mut stream) = self.stream.take() else { return false };
        if !self.connected {
            match net.connect_result(&stream) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.stream = Some(stream);
                    return true;
                }
                Err(_) => return false,
                Ok(()) => self.connected = true,
            }
            self.channel.write_handshake(&mut self.outbox).unwrap();
            self.try_begin(rng, report, net.now());
        }
        let mut block = [0; BLOCK];
        loop {
            match net.read(&mut stream, &mut block) {
                Ok(0) => return self.leave(stream),
                Ok(count) => self.inbox.extend(&block[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return self.leave(stream),
            }
            if !self.hear(rng, report, net.now(), links) {
                return self.leave(stream);
            }
        }
        loop {
            self.pour(rng, report);
            if self.outbox.is_empty() {
                break;
            }
            match net.write(&mut stream, &self.outbox) {
                Ok(count) => drop(self.outbox.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return self.leave(stream),
            }
        }
        self.stream = Some(stream);
        true
    }

    /// The connection is over; its socket closes when `stream` is dropped.
    fn leave(&mut self, stream: SimStream) -> bool {
        drop(stream);
        false
    }

    fn end(&mut self, now: Time, report: &Report) {
        let mut report = report.borrow_mut();
        if !std::mem::replace(&mut self.settled, true) && self.hash.is_some() {
            match self.role {
                Role::Link { .. } => report.open_links -= 1,
                Role::Part(_) => report.open_sessions -= 1,
            }
        }
        if self.pours() {
            report.cut_at = Some(now);
        }
    }

    fn pours(&self) -> bool {
        match &self.role {
            Role::Part(Part::Client(_)) => false,
            Role::Part(_) => true,
            Role::Link { part, .. } => matches!(part, LinkPart::Resets(_)),
        }
    }

    /// The handshake may be done.
    fn try_begin(&mut self, rng: &mut Rng, report: &Report, now: Time) {
        let Some(hash) = self.channel.established().unwrap() else { return };
        self.hash = Some(hash);
        let mut tally = report.borrow_mut();
        tally.shaken += 1;
        match self.role {
            Role::Link { .. } => tally.open_links += 1,
            Role::Part(_) => tally.open_sessions += 1,
        }
        if self.pours() && tally.pours_since.is_none() {
            tally.pours_since = Some(now);
        }
        drop(tally);
        match self.role.clone() {
            Role::Part(Part::Resets(count)) => self.to_pour = count,
            Role::Part(Part::Guesses { .. } | Part::Client(_)) => {
                let mut instance = [0; 32];
                rng.fill(&mut instance);
                let (min_version, max_version) = (VERSION, VERSION);
                self.say(&Message::Hello { min_version, max_version, instance });
            }
            Role::Link { session, key, .. } => {
                let proof = proof::link(&key, &hash);
                self.say(&Message::LinkHello { version: VERSION, session, proof });
            }
        }
    }

    /// Takes in what has come; whether all of it was in order.
    fn hear(&mut self, rng: &mut Rng, report: &Report, now: Time, links: &mut usize) -> bool {
        loop {
            let skipped = self.run_left.min(self.inbox.len());
            self.inbox.drain(..skipped);
            self.run_left -= skipped;
            let (body, taken) = match frame::next(&self.inbox, frame::MAX_BODY, true) {
                Ok(Status::Complete((Piece::Frame(body), taken))) => (body.to_vec(), taken),
                Ok(Status::Complete((Piece::Run(length), taken))) => {
                    self.run_left = length as usize;
                    self.inbox.drain(..taken);
                    continue;
                }
                Ok(Status::Partial) => return true,
                Err(_) => return false,
            };
            self.inbox.drain(..taken);
            if self.hash.is_none() {
                if self.channel.read_handshake(&body).is_err() {
                    return false;
                }
                self.channel.write_handshake(&mut self.outbox).unwrap();
                self.try_begin(rng, report, now);
                continue;
            }
            let mut clear = vec![0; body.len()];
            let Ok(length) = self.channel.open(&body, &mut clear) else { return false };
            let (kind, payload) = clear[..length].split_last().expect("never empty");
            if *kind != kind::DATA {
                let Ok(message) = Message::decode(*kind, payload) else { return false };
                self.answer(&message, report, links);
            }
        }
    }

    fn answer(&mut self, message: &Message<'_>, report: &Report, links: &mut usize) {
        match *message {
            Message::Welcome { session, key, nonce, .. } => {
                (self.session, self.key, self.nonce) = (session, key, nonce);
                match &self.role {
                    Role::Part(Part::Guesses { count, .. }) => self.to_pour = *count,
                    Role::Part(Part::Client(malice)) => self.to_pour = malice.registers,
                    _ => {}
                }
            }
            Message::Registered { answer, .. } => {
                let mut tally = report.borrow_mut();
                tally.accepted += usize::from(answer == Registration::Accepted);
                tally.refused += usize::from(answer == Registration::WrongToken);
                drop(tally);
                if let Role::Part(Part::Client(malice)) = &mut self.role
                    && answer == Registration::Accepted
                {
                    *links += std::mem::take(&mut malice.surplus);
                    if malice.confused {
                        self.talk_nonsense();
                    }
                }
            }
            Message::Links { count } => {
                if let Role::Part(Part::Client(Malice { obeys: true, .. })) = &self.role {
                    *links += usize::from(count);
                }
            }
            Message::Ping(value) => self.say(&Message::Pong(value)),
            Message::Ready => {
                report.borrow_mut().links += 1;
                match self.role {
                    Role::Link { part: LinkPart::Resets(count), .. } => self.to_pour = count,
                    Role::Link { part: LinkPart::Confused, .. } => self.talk_nonsense(),
                    _ => {}
                }
            }
            Message::Open(_) => {
                report.borrow_mut().leases += 1;
                if let Role::Link { part: LinkPart::Greedy(count), .. } = self.role {
                    *links += count;
                }
            }
            Message::Fin | Message::Reset { .. } => self.part_from(message),
            _ => {}
        }
    }

    /// A visitor's direction has ended.
    fn part_from(&mut self, end: &Message<'_>) {
        let Role::Link { part, .. } = self.role else { return };
        match (part, *end) {
            (LinkPart::Mute, _) => {}
            (LinkPart::NeverReady, Message::Reset { lease, .. }) => {
                self.say(&Message::Reset { lease, reason: Reason::Answer });
            }
            (LinkPart::NeverReady, _) => self.say(&Message::Fin),
            (_, Message::Reset { lease, .. }) => {
                self.say(&Message::Reset { lease, reason: Reason::Answer });
                self.say(&Message::Ready);
            }
            _ => self.say(&Message::Ready),
        }
    }

    /// What belongs elsewhere.
    fn talk_nonsense(&mut self) {
        let address = SocketAddr::from(([203, 0, 113, 1], 1));
        self.say(&Message::Open(Open {
            lease: 1,
            service: 0,
            entry: Entry::Https,
            visitor: address,
            local: address,
            offset: 0,
            raw: false,
            confirm: false,
            name: b"",
            first_bytes: b"",
        }));
    }

    /// Fills up what is to be written.
    fn pour(&mut self, rng: &mut Rng, report: &Report) {
        while self.to_pour > 0 && self.outbox.len() < POURED_AHEAD {
            self.to_pour -= 1;
            report.borrow_mut().poured += 1;
            match self.role.clone() {
                Role::Part(Part::Guesses { claim, .. }) => {
                    let mut token = [0; 16];
                    rng.fill(&mut token);
                    self.register(&claim, &token);
                }
                Role::Part(Part::Client(malice)) => {
                    let token = malice.claim.token.clone();
                    self.register(&malice.claim, token.as_bytes());
                }
                _ => self.say(&Message::Reset { lease: u32::MAX, reason: Reason::Broken }),
            }
        }
    }

    fn register(&mut self, claim: &Claim, token: &[u8]) {
        let Some(hash) = self.hash else { return };
        let (kind, name) = (claim.kind as u8, claim.name.as_bytes());
        let proof = proof::service(token, &hash, &self.nonce, kind, name);
        let register = Register {
            number: 1,
            kind,
            if_free: false,
            ports: 1,
            part: message::Part::default(),
            proof,
            name,
        };
        self.say(&Message::Register(register));
    }

    fn say(&mut self, message: &Message<'_>) {
        let mut clear = Vec::new();
        message.encode(&mut clear);
        let mut sealed = vec![0; clear.len() + self.channel.overhead()];
        let length = self.channel.seal(&clear, &mut sealed).unwrap();
        self.outbox.extend(&sealed[..length]);
    }
}
