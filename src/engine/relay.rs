//! The relay between a link and a plain connection: one copy loop, used for both directions and by
//! both roles.

use super::conn::{Carrier, Dialect, Event, Gone, Io, PlainConn, READS, TunnelConn, Turn};
use super::conns::ConnId;
use super::net::Net;
use super::table::Table;
use crate::proto::bandwidth::Way;
use crate::proto::lease::{Lease, LeaseEnd};
use crate::wire::message::Reason;

/// Batches each way before others have their turn.
const BUDGET: usize = 4;

/// Where a relay stands after its turn.
#[derive(Debug)]
pub enum Outcome {
    /// Nothing moves until an event comes.
    Waiting {
        /// Of this turn.
        progress: Progress,
    },
    /// The budget is used up.
    More {
        /// Of this turn.
        progress: Progress,
    },
    /// Both directions have ended in order. The link is free; the plain connection may still have
    /// bytes to write.
    Done,
    /// The plain connection is broken; the peer has been told.
    PlainBroken,
    /// The peer has said RESET, and has been answered; the link is free.
    PeerReset(Reason),
    /// The link is gone.
    LinkGone(Gone),
}

/// What a turn of a relay has brought.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Something has moved.
    pub moved: bool,
    /// The peer has ended, the plain connection has been told all and still owes its own end: its
    /// silence has a deadline. Each role times its own plain connection alone; the other one is the
    /// other role's to time, and bytes that wait for a slow reader are no silence. A rathole peer
    /// times nothing: there the link's end is awaited too.
    pub awaits_end: bool,
}

/// How fast bytes may go. Asked before each batch.
pub trait Pace {
    /// Bytes that may be read now, `usize::MAX` for any number. 0: none, and whoever says so sees
    /// to another turn.
    fn grant(&mut self, way: Way) -> usize;
    /// So many were.
    fn spent(&mut self, way: Way, bytes: usize);

    /// Whether a peer that ends in order before it has said a byte has broken its connection.
    fn wants_word(&self) -> bool;
}

/// As fast as they can.
pub struct Unlimited {
    /// See [`Pace::wants_word`].
    pub wants_word: bool,
}

impl Pace for Unlimited {
    fn grant(&mut self, _: Way) -> usize {
        usize::MAX
    }

    fn spent(&mut self, _: Way, _: usize) {}

    fn wants_word(&self) -> bool {
        self.wants_word
    }
}

/// Moves what can be moved between `link` and `plain`.
pub fn relay<N: Net, P, T>(
    io: &mut Io<N>,
    conns: &mut Table<N::Stream, P, T>,
    link: ConnId,
    plain: ConnId,
    pace: &mut impl Pace,
) -> Outcome {
    let Some((link, plain)) = conns.pair(link, plain) else {
        return Outcome::LinkGone(Gone::Unexpected);
    };
    let mut progress = Progress { moved: false, awaits_end: false };
    for _ in 0..BUDGET {
        let mut moved = false;
        match up(io, plain, link, pace) {
            Ok(up) => moved |= up,
            Err(Cut::Source(_)) => return plain_broken(io, link, Reason::Broken),
            Err(Cut::Sink(gone)) => return Outcome::LinkGone(gone),
            Err(Cut::Reset(_)) => unreachable!("a plain connection has no RESET"),
        }
        match down(io, link, plain, pace) {
            Ok(down) => moved |= down,
            Err(Cut::Source(gone)) => return Outcome::LinkGone(gone),
            Err(Cut::Sink(_)) => return plain_broken(io, link, Reason::Broken),
            Err(Cut::Reset(reason)) => {
                return match link.say_reset(io, Reason::Answer) {
                    Ok(()) => Outcome::PeerReset(reason),
                    Err(gone) => Outcome::LinkGone(gone),
                };
            }
        }
        let lease = link.lease();
        if lease.has_ended() {
            return Outcome::Done;
        }
        let one_has_ended = match link.dialect() {
            Dialect::Rathole => lease.said() != lease.heard(),
            _ => lease.said() == LeaseEnd::Open && lease.heard() != LeaseEnd::Open,
        };
        progress.awaits_end = one_has_ended && link.socket.is_clear() && plain.socket.is_clear();
        if !moved {
            // Whoever is broken and has nothing left to read is cut, though nobody reads from it.
            if link.socket.is_broken() {
                return Outcome::LinkGone(Gone::Closed);
            }
            if plain.socket.is_broken() {
                return plain_broken(io, link, Reason::Broken);
            }
            return Outcome::Waiting { progress };
        }
        progress.moved = true;
    }
    Outcome::More { progress }
}

/// Reads a link whose plain connection has gone up to `until` (the peer's end; for a server, its
/// READY), and writes what is left.
pub fn settle<N: Net, T>(
    io: &mut Io<N>,
    link: &mut TunnelConn<N::Stream, T>,
    until: fn(&Lease) -> bool,
) -> Result<Turn<()>, Gone> {
    link.flush(io)?;
    for _ in 0..READS {
        if until(link.lease()) {
            return Ok(if link.socket.is_clear() { Turn::Done(()) } else { Turn::Waiting });
        }
        let pulled = link.pull(io)?;
        match pulled.end {
            None if pulled.moved => {}
            None => return Ok(Turn::Waiting),
            Some(Event::Fin | Event::Reset(_)) => {}
            Some(Event::Message(..)) => return Err(Gone::Unexpected),
        }
    }
    Ok(Turn::More)
}

/// Tells the peer that the plain connection is broken.
pub fn plain_broken<N: Net, T>(
    io: &mut Io<N>,
    link: &mut TunnelConn<N::Stream, T>,
    reason: Reason,
) -> Outcome {
    match link.say_reset(io, reason) {
        Ok(()) => Outcome::PlainBroken,
        Err(gone) => Outcome::LinkGone(gone),
    }
}

enum Cut {
    Source(Gone),
    Sink(Gone),
    Reset(Reason),
}

fn up<N: Net, P, T>(
    io: &mut Io<N>,
    plain: &mut PlainConn<N::Stream, P>,
    link: &mut TunnelConn<N::Stream, T>,
    pace: &mut impl Pace,
) -> Result<bool, Cut> {
    let open = link.lease().said() == LeaseEnd::Open;
    pump(io, plain, link, open, (Way::Up, pace))
}

fn down<N: Net, P, T>(
    io: &mut Io<N>,
    link: &mut TunnelConn<N::Stream, T>,
    plain: &mut PlainConn<N::Stream, P>,
    pace: &mut impl Pace,
) -> Result<bool, Cut> {
    match link.lease().heard() {
        LeaseEnd::Open => pump(io, link, plain, true, (Way::Down, pace)),
        _ => Ok(pump(io, link, plain, false, (Way::Down, pace))? | hear_reset(io, link)?),
    }
}

/// Behind its FIN the peer may say RESET as long as our direction is open. It brings nothing, so it
/// does not wait for a slow reader. rathole has no word for it: there the link itself breaks.
fn hear_reset<N: Net, T>(io: &mut Io<N>, link: &mut TunnelConn<N::Stream, T>) -> Result<bool, Cut> {
    if link.lease().has_ended() || link.dialect() == Dialect::Rathole {
        return Ok(false);
    }
    let pulled = link.pull(io).map_err(Cut::Source)?;
    match pulled.end {
        None => Ok(pulled.moved),
        Some(Event::Reset(reason)) => Err(Cut::Reset(reason)),
        Some(Event::Fin | Event::Message(..)) => Err(Cut::Source(Gone::Unexpected)),
    }
}

/// One batch in one direction; whether anything moved. What could not be written before goes
/// first, and as long as it cannot, nothing is read: that is the flow control.
fn pump<N: Net>(
    io: &mut Io<N>,
    source: &mut impl Carrier<N>,
    sink: &mut impl Carrier<N>,
    open: bool,
    (way, pace): (Way, &mut impl Pace),
) -> Result<bool, Cut> {
    let flushed = sink.flush(io).map_err(Cut::Sink)?;
    if !open || !sink.socket().is_clear() {
        return Ok(flushed);
    }
    // Whoever has nothing to say does not queue for its share.
    let most = if source.may_give() { pace.grant(way) } else { usize::MAX };
    if most == 0 {
        return Ok(flushed);
    }
    // A splice moves more at once than a share has.
    let is_raw = most == usize::MAX && source.is_raw() && sink.is_raw();
    let pulled = match is_raw.then(|| io.net.splice_worth()).flatten() {
        Some(worth) => source.draw(io, worth),
        None => source.pull(io),
    };
    let pulled = pulled.map_err(Cut::Source)?;
    if pulled.data > 0 {
        pace.spent(way, pulled.data);
    }
    match pulled.data {
        0 => {}
        length if pulled.piped => sink.push_piped(io, length).map_err(Cut::Sink)?,
        length => sink.push(io, length).map_err(Cut::Sink)?,
    }
    match pulled.end {
        None => Ok(flushed || pulled.moved),
        Some(Event::Fin) if way == Way::Down && pace.wants_word() && !sink.socket().has_had() => {
            Err(Cut::Reset(Reason::Broken))
        }
        Some(Event::Fin) => {
            sink.finish(io).map_err(Cut::Sink)?;
            Ok(true)
        }
        Some(Event::Reset(reason)) => Err(Cut::Reset(reason)),
        Some(Event::Message(..)) => Err(Cut::Source(Gone::Unexpected)),
    }
}
