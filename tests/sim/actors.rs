//! Scripted visitors and homes: programs over [`SimNet`] that follow their stories' scripts.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use underpass::engine::net::{Net, Token, Wake};
use underpass::proto::time::Time;
use underpass::wire::Status;
use underpass::wire::proxy_header;

use super::driver::Program;
use super::net::{SimListener, SimNet, SimStream};
use super::story::{
    Act, Book, End, Ending, Ledger, OPENING_MARK, Party, Reading, Script, StoryId, Witness,
    story_of,
};

/// The tokens of a home's listeners start here; below are conversations.
const LISTENERS: u64 = 1 << 32;
/// Bytes moved at once.
const BLOCK: usize = 16 * 1024;

/// One end of a conversation under way.
struct Talk {
    stream: Option<SimStream>,
    party: Party,
    /// The one that it came to; 0 for a visitor's.
    port: u16,
    /// A home learns it from the first bytes.
    story: Option<StoryId>,
    /// Of a home: which time it is that the visitor came to one.
    arrival: usize,
    script: Script,
    connected: bool,
    /// A proxy's header: what is left to be sent.
    header: Vec<u8>,
    /// First bytes, until they name the story.
    opening: Vec<u8>,
    began: Time,
    /// The next act, and what is left of it if it is a `Send`.
    act: usize,
    left: usize,
    paused_until: Time,
    /// No reading before.
    sip_after: Time,
    /// What the reading has seen; an error of a write counts as a reset.
    end: Option<End>,
    broken: bool,
    timer: Option<Time>,
}

impl Talk {
    fn new(party: Party, stream: SimStream, began: Time) -> Talk {
        Talk {
            stream: Some(stream),
            party,
            port: 0,
            story: None,
            arrival: 0,
            script: Script::default(),
            connected: party == Party::Home,
            header: Vec::new(),
            opening: Vec::new(),
            began,
            act: 0,
            left: 0,
            paused_until: Time(0),
            sip_after: Time(0),
            end: None,
            broken: false,
            timer: None,
        }
    }

    fn know(&mut self, id: StoryId, book: &Book) {
        let story = &mut book.borrow_mut().stories[id];
        self.story = Some(id);
        self.script = story.scripts[self.party as usize].clone();
        if self.party == Party::Visitor {
            self.header = story.header.clone();
        }
        if let Reading::After(nanos) = self.script.reading {
            self.sip_after = Time(self.began.0 + nanos);
        }
    }

    fn witness(&self, book: &Book, note: impl FnOnce(&mut Witness)) {
        if let Some(id) = self.story.filter(|_| !self.is_over(book)) {
            note(&mut book.borrow_mut().stories[id].witnesses[self.party as usize]);
        }
    }

    /// Does all that can be done now; sets the timer for what cannot.
    fn step(&mut self, net: &mut SimNet, book: &Book) {
        let now = net.now();
        self.timer = None;
        if !self.connected {
            let Some(stream) = &self.stream else { return };
            match net.connect_result(stream) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.finish(net, book, Some(End::Refused)),
                Ok(()) => self.connected = true,
            }
            let address = net.local_addr(stream).ok();
            self.witness(book, |witness| {
                witness.began = true;
                witness.address = address;
            });
        }
        self.read(net, book, now);
        self.act(net, book, now);
        let acted = self.broken || self.act >= self.script.acts.len();
        match self.end {
            Some(End::Eof) if !acted => {}
            Some(end) if self.story.is_some() || self.party == Party::Home => {
                let end = if self.broken { End::Reset } else { end };
                self.finish(net, book, Some(end));
            }
            _ => {}
        }
    }

    fn read(&mut self, net: &mut SimNet, book: &Book, now: Time) {
        let mut block = [0; BLOCK];
        let mut sip = match self.script.reading {
            Reading::Sips(bytes, _) => bytes,
            _ => usize::MAX,
        };
        while self.end.is_none() {
            if now < self.sip_after {
                return self.wait(self.sip_after);
            }
            let Some(stream) = &mut self.stream else { return };
            let most = sip.min(BLOCK);
            match net.read(stream, &mut block[..most]) {
                Ok(0) => {
                    self.end = Some(End::Eof);
                    if let Some(id) = self.story.filter(|_| !self.broken) {
                        book.borrow_mut().check_eof(id, self.party);
                    }
                }
                Ok(count) => {
                    self.take(&block[..count], book);
                    sip -= count;
                    if let (0, Reading::Sips(bytes, pause)) = (sip, self.script.reading) {
                        sip = bytes;
                        self.sip_after = Time(now.0 + pause);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.end = Some(End::Reset),
            }
        }
    }

    fn take(&mut self, bytes: &[u8], book: &Book) {
        if let Some(id) = self.story {
            if !self.is_over(book) {
                book.borrow_mut().check(id, self.party, bytes);
            }
            return;
        }
        self.opening.extend(bytes);
        // Whoever is told the visitor's address is told it first. No hello begins like a header.
        let mut told = None;
        if let Ok(read) = proxy_header::read(&self.opening) {
            let Status::Complete(header) = read else { return };
            told = header.ends.map(|ends| ends.source);
            if self.opening.len() < header.length + OPENING_MARK {
                return;
            }
            self.opening.drain(..header.length);
        }
        if self.opening.len() < OPENING_MARK {
            return;
        }
        let opening = std::mem::take(&mut self.opening);
        let id = story_of(&opening).filter(|id| *id < book.borrow().stories.len());
        let Some(id) = id else {
            let line = format!("a home got bytes of nobody: {:02x?}", &opening[..OPENING_MARK]);
            return book.borrow_mut().wrong.push(line);
        };
        self.know(id, book);
        self.arrive(id, book);
        self.witness(book, |witness| witness.address = told);
        book.borrow_mut().check(id, self.party, &opening);
    }

    /// A visitor's first bytes are at a home. Where homes share a service, another one may have
    /// had them, whose line broke before a byte of its answer came through: what that one sees
    /// from here on is nobody's.
    fn arrive(&mut self, id: StoryId, book: &Book) {
        let mut book = book.borrow_mut();
        let Ledger { stories, homes_share, wrong } = &mut *book;
        let witness = &mut stories[id].witnesses[1];
        if witness.began && !*homes_share {
            wrong.push(format!("story {id} came to a home twice"));
        }
        let arrivals = witness.arrivals + 1;
        *witness = Witness { began: true, arrivals, ..Witness::default() };
        self.arrival = arrivals;
    }

    /// It goes on at another home.
    fn is_over(&self, book: &Book) -> bool {
        let arrivals = |id: StoryId| book.borrow().stories[id].witnesses[1].arrivals;
        self.party == Party::Home && self.story.is_some_and(|id| arrivals(id) != self.arrival)
    }

    fn act(&mut self, net: &mut SimNet, book: &Book, now: Time) {
        let Some(id) = self.story else { return };
        while !self.header.is_empty() && !self.broken {
            let Some(stream) = &mut self.stream else { return };
            match net.write(stream, &self.header) {
                Ok(count) => drop(self.header.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.broken = true,
            }
        }
        while !self.broken && self.end != Some(End::Reset) {
            if now < self.paused_until {
                return self.wait(self.paused_until);
            }
            let Some(act) = self.script.acts.get(self.act).copied() else { return };
            let Some(stream) = &mut self.stream else { return };
            match act {
                Act::Send(count) => {
                    if self.left == 0 {
                        self.left = count;
                    }
                    let mut block = [0; BLOCK];
                    let block = &mut block[..self.left.min(BLOCK)];
                    let offset = book.borrow().stories[id].witnesses[self.party as usize].sent;
                    book.borrow().stories[id].stream(id, self.party, offset, block);
                    match net.write(stream, block) {
                        Ok(count) => {
                            self.left -= count;
                            self.witness(book, |witness| witness.sent += count);
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                        Err(_) => self.broken = true,
                    }
                    if self.left > 0 {
                        continue;
                    }
                }
                Act::Pause(nanos) => self.paused_until = Time(now.0 + nanos),
                Act::AwaitEnd if self.end.is_none() => return,
                Act::AwaitEnd => {}
                Act::Fin => {
                    self.broken |= net.shutdown_write(stream).is_err();
                    self.witness(book, |witness| witness.finished = true);
                }
                Act::Reset => {
                    self.witness(book, |witness| witness.left = true);
                    if let Some(stream) = self.stream.take() {
                        net.abort(stream);
                    }
                    return self.finish(net, book, None);
                }
                Act::Close => {
                    self.witness(book, |witness| witness.left = true);
                    return self.finish(net, book, None);
                }
            }
            self.act += 1;
        }
    }

    fn wait(&mut self, until: Time) {
        self.timer = Some(self.timer.map_or(until, |timer| timer.min(until)));
    }

    fn finish(&mut self, net: &mut SimNet, book: &Book, end: Option<End>) {
        self.stream = None;
        self.end = end;
        self.timer = None;
        let now = net.now().0;
        self.witness(book, |witness| {
            witness.end = end;
            witness.done = Some(now);
        });
        if self.story.is_none() && self.party == Party::Home && end == Some(End::Eof) {
            let line = format!("a home saw an end after {} bytes", self.opening.len());
            book.borrow_mut().wrong.push(line);
        }
    }
}

/// The visitors of one host.
pub struct Visitors {
    net: SimNet,
    book: Book,
    /// When, where to and which; the last is the next.
    plans: Vec<(Time, SocketAddr, StoryId)>,
    talks: Vec<Talk>,
    wakes: Vec<Wake>,
}

impl Visitors {
    /// Nobody yet.
    pub fn new(net: SimNet, book: Book) -> Visitors {
        Visitors { net, book, plans: Vec::new(), talks: Vec::new(), wakes: Vec::new() }
    }

    /// One more visitor.
    pub fn plan(&mut self, start: Time, to: SocketAddr, story: StoryId) {
        self.plans.push((start, to, story));
        self.plans.sort_by_key(|plan| std::cmp::Reverse(*plan));
    }

    /// Nobody is left.
    pub fn are_done(&self) -> bool {
        self.plans.is_empty() && self.talks.iter().all(|talk| talk.stream.is_none())
    }
}

impl Program for Visitors {
    fn turn(&mut self) -> io::Result<bool> {
        self.net.poll(None, &mut self.wakes)?;
        let now = self.net.now();
        while let Some((_, to, story)) = self.plans.pop_if(|plan| plan.0 <= now) {
            let Ok(mut stream) = self.net.connect(to) else {
                let witness = &mut self.book.borrow_mut().stories[story].witnesses[0];
                (witness.end, witness.done) = (Some(End::Refused), Some(now.0));
                continue;
            };
            self.net.register(&mut stream, Token(self.talks.len() as u64))?;
            let mut talk = Talk::new(Party::Visitor, stream, now);
            talk.know(story, &self.book);
            self.talks.push(talk);
        }
        step_all(&mut self.talks, &mut self.wakes, &mut self.net, &self.book);
        Ok(true)
    }

    fn next_deadline(&self) -> Option<Time> {
        let timers = self.talks.iter().filter_map(|talk| talk.timer);
        timers.chain(self.plans.last().map(|plan| plan.0)).min()
    }
}

/// What runs at one home.
pub struct Homes {
    net: SimNet,
    book: Book,
    /// This home's number in the stories.
    home: usize,
    addresses: Vec<SocketAddr>,
    listeners: Vec<SimListener>,
    talks: Vec<Talk>,
    wakes: Vec<Wake>,
}

impl Homes {
    /// Listens at `addresses`.
    pub fn new(net: SimNet, book: Book, home: usize, addresses: Vec<SocketAddr>) -> Homes {
        let mut homes = Homes {
            net,
            book,
            home,
            addresses,
            listeners: Vec::new(),
            talks: Vec::new(),
            wakes: Vec::new(),
        };
        homes.open();
        homes
    }

    /// Listens (again).
    pub fn open(&mut self) {
        for (i, address) in self.addresses.iter().enumerate() {
            let token = Token(LISTENERS + i as u64);
            self.listeners.push(self.net.listen(*address, token).unwrap().0);
        }
    }

    /// Listens no more.
    pub fn close(&mut self) {
        self.listeners.clear();
    }

    /// Nobody is left.
    pub fn are_done(&self) -> bool {
        self.talks.iter().all(|talk| talk.stream.is_none())
    }

    /// Whether it has had a part in this story.
    pub fn met(&self, story: StoryId) -> bool {
        self.talks.iter().any(|talk| talk.story == Some(story))
    }
}

impl Program for Homes {
    fn turn(&mut self) -> io::Result<bool> {
        self.net.poll(None, &mut self.wakes)?;
        let now = self.net.now();
        for listener in &mut self.listeners {
            while let Ok((mut stream, _)) = self.net.accept(listener) {
                self.net.register(&mut stream, Token(self.talks.len() as u64))?;
                let port = self.net.local_addr(&stream)?.port();
                self.talks.push(Talk { port, ..Talk::new(Party::Home, stream, now) });
            }
        }
        let known = |talk: &Talk| talk.story;
        let before: Vec<_> = self.talks.iter().map(known).collect();
        step_all(&mut self.talks, &mut self.wakes, &mut self.net, &self.book);
        for (talk, before) in self.talks.iter().zip(before) {
            let Some(id) = talk.story.filter(|_| before.is_none()) else { continue };
            let planned = self.book.borrow().stories[id].home;
            let meant = self.book.borrow().stories[id].ending != Ending::Refused;
            let port = self.book.borrow().stories[id].port;
            if port.is_some_and(|port| talk.port != port) {
                let line = format!("story {id} came to port {}, not {port:?}", talk.port);
                self.book.borrow_mut().wrong.push(line);
            }
            if planned != Some(self.home) || !meant {
                let line = format!("story {id} came to home {}, not {planned:?}", self.home);
                self.book.borrow_mut().wrong.push(line);
            }
        }
        Ok(true)
    }

    fn next_deadline(&self) -> Option<Time> {
        self.talks.iter().filter_map(|talk| talk.timer).min()
    }
}

/// Everybody who woke or whose time has come.
fn step_all(talks: &mut [Talk], wakes: &mut Vec<Wake>, net: &mut SimNet, book: &Book) {
    for wake in wakes.drain(..) {
        let Wake::Ready(ready) = wake else { continue };
        let talk = talks.get_mut(ready.token.0 as usize);
        if let Some(talk) = talk.filter(|talk| talk.stream.is_some()) {
            talk.step(net, book);
        }
    }
    let now = net.now();
    for talk in talks.iter_mut().filter(|talk| talk.timer.is_some_and(|timer| timer <= now)) {
        talk.step(net, book);
    }
}
