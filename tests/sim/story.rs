//! One visitor's story: what both ends will do, and what was seen of it. The ends share it through
//! the [`Ledger`], so that each byte and each ending is checked at the moment it is seen.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use super::rng::{Rng, splitmix};

/// Everybody's stories.
pub type Book = Rc<RefCell<Ledger>>;
/// A story's number.
pub type StoryId = usize;

/// See [`Book`].
#[derive(Default)]
pub struct Ledger {
    pub stories: Vec<Story>,
    /// Homes share services: a visitor may come to a second one.
    pub homes_share: bool,
    /// What must not happen in any world.
    pub wrong: Vec<String>,
}

/// Which end of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    Visitor = 0,
    Home = 1,
}

impl Party {
    pub fn other(self) -> Party {
        if self == Party::Visitor { Party::Home } else { Party::Visitor }
    }
}

/// The plan and what came of it.
#[derive(Debug)]
pub struct Story {
    pub ending: Ending,
    /// The home that may see it; `None`: nobody may.
    pub home: Option<usize>,
    /// The port there at which it must arrive; `None`: any.
    pub port: Option<u16>,
    /// What a proxy says before the visitor's first bytes; no home may see it.
    pub header: Vec<u8>,
    /// The visitor's first bytes (a hello), which the home must see too.
    pub opening: Vec<u8>,
    /// What the visitor and the home do.
    pub scripts: [Script; 2],
    /// What they saw.
    pub witnesses: [Witness; 2],
}

/// How a story is meant to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The visitor ends its direction first; the home answers the end.
    VisitorFirst,
    /// The home does.
    HomeFirst,
    /// Neither waits for the other.
    Both,
    VisitorResets,
    HomeResets,
    /// The visitor closes both directions at once and reads no more.
    VisitorCloses,
    /// Nothing listens at home.
    Refused,
    /// The visitor stops in the middle of its hello.
    HalfHello,
    UnknownName,
    NoName,
    Junk,
    /// The visitor means harm: how it ends is nobody's care.
    Hostile,
}

/// One end's plan.
#[derive(Debug, Clone, Default)]
pub struct Script {
    pub acts: Vec<Act>,
    pub reading: Reading,
}

/// One step of an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// So many bytes of its stream (for a visitor the opening is the stream's beginning).
    Send(usize),
    /// Nanoseconds.
    Pause(u64),
    /// Until the peer has ended its direction.
    AwaitEnd,
    /// End the direction.
    Fin,
    /// Break the connection.
    Reset,
    /// Close without reading what comes.
    Close,
}

/// How an end reads.
#[derive(Debug, Clone, Copy, Default)]
pub enum Reading {
    #[default]
    Eager,
    /// Not before so many nanoseconds after the start.
    After(u64),
    /// So many bytes, then a pause of so many nanoseconds.
    Sips(usize, u64),
}

/// What an end has seen and done.
#[derive(Debug, Default, Clone)]
pub struct Witness {
    /// It had a connection.
    pub began: bool,
    /// A visitor's own; of a home, who it was told that the visitor is.
    pub address: Option<SocketAddr>,
    pub sent: usize,
    pub received: usize,
    /// It ended its direction after all it had to send.
    pub finished: bool,
    /// It broke the connection, or closed it without reading all.
    pub left: bool,
    pub end: Option<End>,
    /// When it let go of the connection.
    pub done: Option<u64>,
    /// How often it came to a home; what is here is of the last time.
    pub arrivals: usize,
    /// The first bytes of what came, for stories that end before any home.
    pub first: Vec<u8>,
}

/// The last thing an end saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// End of file.
    Eof,
    /// An error other than a refused connection.
    Reset,
    /// Never connected.
    Refused,
}

impl Story {
    /// Fills `out` with what `party` sends from `offset` on.
    pub fn stream(&self, id: StoryId, party: Party, offset: usize, out: &mut [u8]) {
        let opening = if party == Party::Visitor { self.opening.as_slice() } else { &[] };
        let from_opening = opening.len().saturating_sub(offset).min(out.len());
        if from_opening > 0 {
            out[..from_opening].copy_from_slice(&opening[offset..offset + from_opening]);
        }
        let mut at = offset + from_opening;
        let mut rest = &mut out[from_opening..];
        while !rest.is_empty() {
            let mut state = (id as u64) << 32 ^ (party as u64) << 63 ^ (at / 8) as u64;
            let block = splitmix(&mut state).to_le_bytes();
            let block = &block[at % 8..];
            let count = block.len().min(rest.len());
            rest[..count].copy_from_slice(&block[..count]);
            rest = &mut rest[count..];
            at += count;
        }
    }

    /// What the visitor got is the server's: no home may know of it, or none does and it is
    /// (the beginning of) a TLS alert.
    fn may_be_alert(&self) -> bool {
        let alert = [21, 3, 1, 0, 2, 2];
        let [visitor, home] = &self.witnesses;
        if self.home.is_none() {
            return true;
        }
        let alike = |at: usize, byte: u8| at == 2 || at == 6 || alert.get(at) == Some(&byte);
        !home.began && visitor.first.iter().enumerate().all(|(at, byte)| alike(at, *byte))
    }

    /// What `party`'s script sends in all.
    pub fn total(&self, party: Party) -> usize {
        let sends = self.scripts[party as usize].acts.iter();
        sends.map(|act| if let Act::Send(count) = act { *count } else { 0 }).sum()
    }
}

impl Ledger {
    /// Checks bytes that `party` of story `id` received.
    pub fn check(&mut self, id: StoryId, party: Party, bytes: &[u8]) {
        let story = &mut self.stories[id];
        let sender = party.other();
        let offset = story.witnesses[party as usize].received;
        let sent = story.witnesses[sender as usize].sent;
        let mut expected = vec![0; bytes.len()];
        story.stream(id, sender, offset, &mut expected);
        let witness = &mut story.witnesses[party as usize];
        witness.received += bytes.len();
        let room = 64usize.saturating_sub(witness.first.len());
        witness.first.extend(&bytes[..bytes.len().min(room)]);
        if party == Party::Visitor && story.may_be_alert() {
            return; // the server's own words; judged at the end
        }
        if let Some(at) = bytes.iter().zip(&expected).position(|(a, b)| a != b) {
            let line = format!("story {id}: {party:?} got a wrong byte at {}", offset + at);
            self.wrong.push(line);
        } else if offset + bytes.len() > sent {
            let line = format!("story {id}: {party:?} got bytes that were never sent");
            self.wrong.push(line);
        }
    }

    /// `party` of story `id` saw an end of file: only after all bytes of a finished stream.
    pub fn check_eof(&mut self, id: StoryId, party: Party) {
        let story = &self.stories[id];
        if party == Party::Visitor && story.may_be_alert() {
            return;
        }
        let [mine, peer] = [party, party.other()].map(|p| &story.witnesses[p as usize]);
        let closes = matches!(story.ending, Ending::VisitorCloses | Ending::Hostile);
        let closed = closes && party == Party::Home;
        if !(peer.finished || closed) || mine.received != peer.sent {
            let line = format!(
                "story {id} ({:?}): {party:?} saw an end after {} of {} bytes, peer finished: {}",
                story.ending, mine.received, peer.sent, peer.finished
            );
            self.wrong.push(line);
        }
    }
}

/// Where the story's number stands in a hello made by [`client_hello`].
const MARK: std::ops::Range<usize> = 11..19;
/// So many bytes of an opening name its story.
pub const OPENING_MARK: usize = MARK.end;
/// With it, the mark cannot be a stray byte.
const MARK_TAG: u64 = 0x5eed_0000_0000;

/// The story that the first bytes of a conversation name.
pub fn story_of(opening: &[u8]) -> Option<StoryId> {
    let bytes: [u8; 8] = opening.get(MARK)?.try_into().ok()?;
    let mark = u64::from_le_bytes(bytes);
    (mark >> 32 == MARK_TAG >> 32).then_some((mark & 0xffff_ffff) as StoryId)
}

/// The first bytes of something else than TLS, with the story's number in them.
pub fn greeting(id: StoryId, words: &[u8; MARK.start]) -> Vec<u8> {
    [words, &(MARK_TAG | id as u64).to_le_bytes()[..], b"\r\n"].concat()
}

/// A ClientHello of about `length` bytes that asks for `name`, with the story's number in its
/// random, cut into TLS records of random length.
pub fn client_hello(id: StoryId, name: Option<&str>, length: usize, rng: &mut Rng) -> Vec<u8> {
    hello_with_alpn(id, name, &[], length, rng)
}

/// The same with these protocols offered.
pub fn hello_with_alpn(
    id: StoryId,
    name: Option<&str>,
    alpn: &[&str],
    length: usize,
    rng: &mut Rng,
) -> Vec<u8> {
    fn block<const N: usize>(out: &mut Vec<u8>, body: &[u8]) {
        out.extend(&(body.len() as u32).to_be_bytes()[4 - N..]);
        out.extend(body);
    }
    fn extension(out: &mut Vec<u8>, kind: u16, body: &[u8]) {
        out.extend(kind.to_be_bytes());
        block::<2>(out, body);
    }
    let mut extensions = Vec::new();
    let pad_first = rng.chance(1, 2);
    let padding = vec![0; length.saturating_sub(110)];
    if pad_first {
        extension(&mut extensions, 21, &padding);
    }
    if let Some(name) = name {
        let mut entry = vec![0];
        block::<2>(&mut entry, name.as_bytes());
        let mut list = Vec::new();
        block::<2>(&mut list, &entry);
        extension(&mut extensions, 0, &list);
    }
    if !alpn.is_empty() {
        let (mut names, mut list) = (Vec::new(), Vec::new());
        alpn.iter().for_each(|name| block::<1>(&mut names, name.as_bytes()));
        block::<2>(&mut list, &names);
        extension(&mut extensions, 16, &list);
    }
    extension(&mut extensions, 43, &[2, 3, 4]);
    if !pad_first {
        extension(&mut extensions, 21, &padding);
    }

    let mut random = [0; 32];
    rng.fill(&mut random);
    random[..8].copy_from_slice(&(MARK_TAG | id as u64).to_le_bytes());
    let mut body = vec![3, 3];
    body.extend(random);
    block::<1>(&mut body, &[]);
    block::<2>(&mut body, &[0x13, 1, 0x13, 2]);
    block::<1>(&mut body, &[0]);
    block::<2>(&mut body, &extensions);
    let mut message = vec![1];
    block::<3>(&mut message, &body);

    // The first record holds the random, so that the mark has one place.
    let longest = *rng.pick(&[16_384, 16_384, 16_384, 300, 60]);
    let mut hello = Vec::new();
    let mut rest = message.as_slice();
    while !rest.is_empty() {
        let least = if hello.is_empty() { 40 } else { 1 };
        let count = if longest == 16_384 { longest } else { rng.between(least, longest) };
        let (record, after) = rest.split_at((count as usize).min(rest.len()));
        hello.extend([22, 3, 1]);
        block::<2>(&mut hello, record);
        rest = after;
    }
    hello
}
