//! A link and the plain connection that is on it: what the turns of their relay come to, the
//! deadlines that move with their bytes, the last bytes of the one and the way back of the other.
//! Both roles have the same to do; what becomes of the two in a role's books is the role's.

use std::time::Duration;

use super::conn::{Carrier as _, Gone};
use super::conns::ConnId;
use super::core::Core;
use super::net::Net;
use super::relay::{self, Outcome, Pace, Progress};
use crate::limits;
use crate::proto::lease::{Lease, LeaseEnd};
use crate::wire::message::Reason;

/// What a turn of a pair has come to.
#[must_use]
pub enum Pair {
    /// It goes on; its next turn will come.
    GoesOn,
    /// The relay is over: the link settles, and the plain connection goes in this way.
    Over(Way),
    /// The link is gone, and the plain connection has lost it.
    LinkGone(Gone),
}

/// How a plain connection goes when its relay is over.
pub enum Way {
    /// In order: it parts, see [`Core::part`].
    Parts,
    /// With a reset: it is broken, or was broken off.
    Breaks,
    /// With a reset, as the peer's has gone.
    Reset(Reason),
}

/// How far a plain connection is that parts.
pub enum Parting {
    /// Something is still to be written.
    Waits,
    /// All is written.
    Clear,
    /// It is broken.
    Broken,
}

/// How long a link may take to settle in order.
#[derive(Clone, Copy)]
pub enum Patience {
    /// As long as its session lives.
    Endless,
    /// So long from when it begins to.
    Once(Duration),
    /// So long from the last byte that it took.
    Silence(Duration),
}

impl<N: Net, P, T> Core<N, P, T> {
    /// Moves bytes between a link and the plain connection on it.
    pub fn relay(&mut self, link: ConnId, plain: ConnId, pace: &mut impl Pace) -> Pair {
        let outcome = relay::relay(&mut self.io, &mut self.conns, link, plain, pace);
        self.conclude(link, plain, outcome)
    }

    /// Breaks a relay off from this side.
    pub fn break_off(&mut self, link: ConnId, plain: ConnId, reason: Reason) -> Pair {
        let outcome = match self.conns.tunnel(link) {
            Some(conn) => relay::plain_broken(&mut self.io, conn, reason),
            None => Outcome::LinkGone(Gone::Unexpected),
        };
        self.conclude(link, plain, outcome)
    }

    fn conclude(&mut self, link: ConnId, plain: ConnId, outcome: Outcome) -> Pair {
        match outcome {
            Outcome::Waiting { progress } => {
                self.note_progress(plain, progress);
                Pair::GoesOn
            }
            Outcome::More { progress } => {
                self.note_progress(plain, progress);
                self.enqueue(link);
                Pair::GoesOn
            }
            Outcome::Done => {
                let until = self.now() + limits::HALF_CLOSED_SILENCE;
                self.set_deadline(plain, Some(until));
                Pair::Over(Way::Parts)
            }
            Outcome::PlainBroken => Pair::Over(Way::Breaks),
            Outcome::PeerReset(reason) => Pair::Over(Way::Reset(reason)),
            Outcome::LinkGone(gone) => Pair::LinkGone(gone),
        }
    }

    /// A plain connection that owes its end has a deadline that moves with its bytes.
    fn note_progress(&mut self, plain: ConnId, progress: Progress) {
        let is_set = self.conns.deadline(plain).is_some();
        match progress.awaits_end {
            true if progress.moved || !is_set => {
                let until = self.now() + limits::HALF_CLOSED_SILENCE;
                self.set_deadline(plain, Some(until));
            }
            false if is_set => self.set_deadline(plain, None),
            _ => {}
        }
    }

    /// Writes what is left on a plain connection whose relay is over, or that has had its answer.
    /// As long as it takes some of it, it has time.
    pub fn part(&mut self, plain: ConnId) -> Parting {
        let Some(conn) = self.conns.plain(plain) else { return Parting::Broken };
        let flushed = conn.flush(&mut self.io);
        if flushed.is_err() || conn.socket.is_broken() {
            return Parting::Broken;
        }
        if conn.socket.is_clear() {
            return Parting::Clear;
        }
        if matches!(flushed, Ok(true)) {
            let until = self.now() + limits::HALF_CLOSED_SILENCE;
            self.set_deadline(plain, Some(until));
        }
        Parting::Waits
    }

    /// Reads a link whose plain connection has gone up to `until` (the peer's end; for a server,
    /// its READY), and writes what is left. Whether that is done. After a reset it may not take
    /// long.
    pub fn settle(
        &mut self,
        link: ConnId,
        until: fn(&Lease) -> bool,
        patience: Patience,
    ) -> Result<bool, Gone> {
        let now = self.now();
        let is_set = self.conns.deadline(link).is_some();
        let Some(conn) = self.conns.tunnel(link) else { return Ok(false) };
        let before = conn.socket.backlog();
        let turn = relay::settle(&mut self.io, conn, until)?;
        let is_reset = conn.lease().said() == LeaseEnd::Reset;
        let moves = conn.socket.backlog() < before;
        if self.go_on(link, turn).is_some() {
            return Ok(true);
        }
        let patience = match patience {
            _ if is_reset && !is_set => Some(limits::RESET_ANSWER_TIME),
            Patience::Once(patience) if !is_set => Some(patience),
            Patience::Silence(patience) if moves || !is_set => Some(patience),
            Patience::Endless | Patience::Once(_) | Patience::Silence(_) => None,
        };
        if let Some(patience) = patience {
            self.set_deadline(link, Some(now + patience));
        }
        Ok(false)
    }
}
