//! The spare links of one session: how many to ask its client for, which to give out, when to let
//! some go. Pure book-keeping for [`super::broker`], which knows who waits; the engine owns the
//! sockets.
//!
//! Invariant: `owed + spare.len() >= waiting + target` after every [`LinkPool::ask`], as far as
//! there is room.

use std::time::Duration;

use super::time::Time;

/// After a rush, so long until the pool is back at rest.
const MEMORY: Duration = Duration::from_secs(10);
/// A link that was lost before its client knew that it was counted comes a second time: so many may
/// be spare beyond what was asked for.
const SLACK: usize = 8;

/// What a pool's client is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Spare links at rest.
    at_rest: usize,
    /// Spare links at most: a burst of that many pays no handshake.
    at_most: usize,
    /// A link that was asked for may take so long; then it counts as lost. `None`: the client keeps
    /// trying for as long as the session lives.
    patience: Option<Duration>,
}

impl Terms {
    /// Spare data channels of a rathole client, where descriptors allow.
    pub const CHANNELS: usize = 8;
    /// A native client's links, for all its services.
    pub const NATIVE: Terms = Terms { at_rest: 4, at_most: 64, patience: None };
    /// A rathole client's channels for one TCP service: rathole's own number, which does not grow.
    /// rathole's client gives a channel up after 10 s.
    pub const RATHOLE_TCP: Terms = Terms {
        at_rest: Terms::CHANNELS,
        at_most: Terms::CHANNELS,
        patience: Some(Duration::from_secs(15)),
    };
    /// The same for a UDP service.
    pub const RATHOLE_UDP: Terms = Terms { at_rest: 2, at_most: 2, ..Terms::RATHOLE_TCP };

    /// The same with no more than `most` spare links.
    pub fn within(self, most: usize) -> Terms {
        let (at_rest, at_most) = (self.at_rest.min(most), self.at_most.min(most));
        Terms { at_rest, at_most, ..self }
    }
}

/// `L` names a link.
#[derive(Debug)]
pub struct LinkPool<L> {
    terms: Terms,
    /// Last in, first out: the warmest is used first, the coldest are let go.
    spare: Vec<L>,
    /// Links in use by visitors, or on their way back from one.
    lent: usize,
    /// Asked for and not here yet.
    owed: usize,
    /// When one was asked for last, or has come.
    owed_since: Time,
    /// The highest number of links that were needed at once within [`MEMORY`], and when that was.
    peak: usize,
    peak_at: Time,
}

impl<L: Copy + PartialEq> LinkPool<L> {
    /// An empty pool.
    pub fn new(terms: Terms) -> LinkPool<L> {
        LinkPool {
            terms,
            spare: Vec::new(),
            lent: 0,
            owed: 0,
            owed_since: Time::default(),
            peak: 0,
            peak_at: Time::default(),
        }
    }

    /// A spare link, which is lent from now on.
    pub fn lend(&mut self) -> Option<L> {
        let link = self.spare.pop()?;
        self.lent += 1;
        Some(link)
    }

    /// Remembers how many links are needed at once: those lent, and one for each of `waiting`.
    pub fn note_need(&mut self, waiting: usize, now: Time) {
        let need = self.lent + waiting;
        if need >= self.peak || now - self.peak_at >= MEMORY {
            self.peak = need;
            self.peak_at = now;
        }
    }

    /// A fresh link has come; `false`: there are too many, close it. A few that were not asked for
    /// are taken, see [`SLACK`], and soon shed.
    pub fn arrived(&mut self, link: L, waiting: usize, now: Time) -> bool {
        let wanted = waiting + self.target(now) + SLACK;
        let welcome = self.owed > 0 || self.spare.len() < wanted;
        if welcome {
            self.owed = self.owed.saturating_sub(1);
            self.owed_since = now;
            self.spare.push(link);
        }
        welcome
    }

    /// A link that was lent is free again.
    pub fn returned(&mut self, link: L) {
        self.lent -= 1;
        self.spare.push(link);
    }

    /// A link that was lent is gone.
    pub fn lost_lent(&mut self) {
        self.lent -= 1;
    }

    /// A spare link is gone.
    pub fn lost_spare(&mut self, link: L) {
        self.spare.retain(|spare| *spare != link);
    }

    /// How many links to ask the client for now; they are then owed. For those who wait, and for
    /// the rest, there is all the room that is `free`, whatever others are owed and may never get;
    /// ahead of need there is no more than is `unclaimed`.
    pub fn ask(&mut self, waiting: usize, free: usize, unclaimed: usize, now: Time) -> usize {
        let coming = self.spare.len() + self.owed;
        let missing = |wanted: usize| (waiting + wanted).saturating_sub(coming);
        let needed = missing(self.terms.at_rest).min(free.saturating_sub(self.owed));
        let missing = needed.max(missing(self.target(now)).min(unclaimed));
        if missing > 0 {
            self.owed += missing;
            self.owed_since = now;
        }
        missing
    }

    /// Links that were asked for too long ago are not counted on any more: how many.
    pub fn write_off(&mut self, now: Time) -> usize {
        match self.write_off_at().is_some_and(|at| at <= now) {
            true => std::mem::take(&mut self.owed),
            false => 0,
        }
    }

    /// When [`LinkPool::write_off`] may have something to do.
    pub fn write_off_at(&self) -> Option<Time> {
        let patience = self.terms.patience.filter(|_| self.owed > 0)?;
        Some(self.owed_since + patience)
    }

    /// A spare link too many, the coldest; call until `None`.
    pub fn shed(&mut self, now: Time) -> Option<L> {
        (self.spare.len() > self.target(now)).then(|| self.spare.remove(0))
    }

    /// When [`LinkPool::shed`] may have something to give, if ever.
    pub fn shed_at(&self) -> Option<Time> {
        (self.spare.len() > self.terms.at_rest).then(|| self.peak_at + MEMORY)
    }

    /// Whether no link is spare.
    pub fn is_empty(&self) -> bool {
        self.spare.is_empty()
    }

    /// How many of `waiting` will get neither a spare link nor one that is on its way.
    pub fn shortage(&self, waiting: usize) -> usize {
        waiting.saturating_sub(self.spare.len() + self.owed)
    }

    /// How many are spare beyond the last one.
    pub fn ease(&self) -> usize {
        self.spare.len().saturating_sub(1)
    }

    /// The coldest spare link, which somebody else needs.
    pub fn yield_one(&mut self) -> Option<L> {
        (!self.spare.is_empty()).then(|| self.spare.remove(0))
    }

    /// Links asked for and not here yet.
    pub fn owed(&self) -> usize {
        self.owed
    }

    /// Spare, lent and owed links.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.spare.len(), self.lent, self.owed)
    }

    /// As many spare as visitors came at once lately, within bounds.
    fn target(&self, now: Time) -> usize {
        let recent = if now - self.peak_at < MEMORY { self.peak } else { 0 };
        recent.clamp(self.terms.at_rest, self.terms.at_most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::default() + Duration::from_secs(seconds)
    }

    #[test]
    fn the_pool_is_filled_ahead_grows_with_the_rush_and_shrinks_after_it() {
        let mut pool: LinkPool<u32> = LinkPool::new(Terms::NATIVE);
        assert_eq!(pool.ask(0, 1000, 1000, at(0)), 4);
        assert_eq!(pool.ask(0, 1000, 1000, at(0)), 0, "asked once");
        for link in 0..4 {
            assert!(pool.arrived(link, 0, at(0)));
        }
        assert_eq!(pool.lend(), Some(3), "the warmest");
        pool.note_need(0, at(1));
        assert_eq!(pool.ask(0, 1000, 1000, at(1)), 1, "replaced at once");
        while pool.lend().is_some() {}
        pool.note_need(17, at(2));
        // 4 are lent and 17 wait: 21 is the peak, so 17 + 21 are wanted, and 1 is owed.
        assert_eq!(pool.ask(17, 1000, 1000, at(2)), 37);
        for link in 10..48 {
            assert!(pool.arrived(link, 17, at(3)));
        }
        for _ in 0..17 {
            assert!(pool.lend().is_some());
        }
        for link in 0..21 {
            pool.returned(link);
        }
        assert_eq!(pool.shed_at(), Some(at(12)));
        let mut shed = 0;
        while pool.shed(at(13)).is_some() {
            shed += 1;
        }
        assert_eq!((shed, pool.counts()), (38, (4, 0, 0)));
    }

    #[test]
    fn no_more_is_asked_for_than_there_is_room() {
        let mut pool: LinkPool<u32> = LinkPool::new(Terms::NATIVE);
        assert_eq!(pool.ask(50, 6, 6, at(0)), 6);
        assert_eq!((pool.ask(50, 6, 0, at(0)), pool.shortage(50)), (0, 44));
        pool.note_need(60, at(0));
        assert_eq!(pool.ask(50, 100, 0, at(0)), 48, "what others are owed is no reason to wait");
        assert_eq!(pool.ask(50, 100, 10, at(0)), 10, "but to have no more than the rest");
    }

    #[test]
    fn what_was_not_asked_for_is_taken_within_reason() {
        let mut pool: LinkPool<u32> = LinkPool::new(Terms::NATIVE);
        let taken = (0..1000).filter(|link| pool.arrived(*link, 0, at(20))).count();
        assert_eq!(taken, 4 + SLACK);
    }

    #[test]
    fn what_a_rathole_client_does_not_bring_is_asked_for_again() {
        let mut pool: LinkPool<u32> = LinkPool::new(Terms::RATHOLE_TCP);
        assert_eq!(pool.ask(0, 1000, 1000, at(1)), 8);
        assert_eq!(
            pool.ask(50, 1000, 1000, at(1)),
            50,
            "one for each, and the spare ones stay eight"
        );
        assert!(pool.arrived(1, 50, at(5)));
        assert_eq!(pool.write_off_at(), Some(at(20)));
        assert_eq!(pool.write_off(at(19)), 0);
        assert_eq!(pool.ask(50, 1000, 1000, at(19)), 0);
        assert_eq!(pool.write_off(at(20)), 57);
        assert_eq!(pool.ask(50, 1000, 1000, at(20)), 57);
        assert_eq!(pool.write_off_at(), Some(at(35)));
    }
}
