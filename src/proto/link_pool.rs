//! The spare links of one session and the visitors that wait for one: how many links to ask for,
//! which to give out, when to let some go. Pure book-keeping; the engine owns the sockets.
//!
//! Invariant: `owed + spare.len() >= waiting.len() + target` after every [`LinkPool::ask`].

use std::collections::VecDeque;
use std::time::Duration;

use super::time::Time;

/// After a rush, so long until the pool is back at rest.
const MEMORY: Duration = Duration::from_secs(10);

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

/// `L` names a link, `V` a waiting visitor.
#[derive(Debug)]
pub struct LinkPool<L, V> {
    terms: Terms,
    /// Last in, first out: the warmest is used first, the coldest are let go.
    spare: Vec<L>,
    /// First come, first served.
    waiting: VecDeque<V>,
    /// Links in use by visitors.
    leased: usize,
    /// Asked for and not here yet.
    owed: usize,
    /// When one was asked for last, or has come.
    owed_since: Time,
    /// The most links that may exist at once.
    cap: usize,
    /// The highest `leased + waiting` within [`MEMORY`], and when that was.
    peak: usize,
    peak_at: Time,
}

impl<L: Copy + PartialEq, V: Copy + PartialEq> LinkPool<L, V> {
    /// An empty pool that never asks for more than `cap` links in all.
    pub fn new(terms: Terms, cap: usize) -> LinkPool<L, V> {
        LinkPool {
            terms,
            spare: Vec::new(),
            waiting: VecDeque::new(),
            leased: 0,
            owed: 0,
            owed_since: Time::default(),
            cap,
            peak: 0,
            peak_at: Time::default(),
        }
    }

    /// A link for a visitor at once, if one is spare.
    pub fn lease(&mut self, now: Time) -> Option<L> {
        let link = self.spare.pop()?;
        self.leased += 1;
        self.note_peak(now);
        Some(link)
    }

    /// Queues a visitor for the next free link.
    pub fn wait(&mut self, visitor: V, now: Time) {
        self.waiting.push_back(visitor);
        self.note_peak(now);
    }

    /// A visitor that waits no longer.
    pub fn forget_visitor(&mut self, visitor: V) {
        self.waiting.retain(|waiting| *waiting != visitor);
    }

    /// Those who wait, in their order.
    pub fn waiting_visitors(&self) -> impl Iterator<Item = V> + '_ {
        self.waiting.iter().copied()
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// A fresh link has come; `false`: there are too many, close it. One that was not asked for is
    /// taken: the client may not know that we had counted an earlier one, and what is too much is
    /// soon shed.
    pub fn arrived(&mut self, link: L, now: Time) -> bool {
        let room = self.spare.len() + self.leased < self.cap;
        if room {
            self.owed = self.owed.saturating_sub(1);
            self.owed_since = now;
            self.spare.push(link);
        }
        room
    }

    /// A lease is over and the link is free again.
    pub fn returned(&mut self, link: L) {
        self.leased -= 1;
        self.spare.push(link);
    }

    /// A leased link is gone.
    pub fn lost_leased(&mut self) {
        self.leased -= 1;
    }

    /// A link is gone, which may have been spare.
    pub fn lost_spare(&mut self, link: L) {
        self.spare.retain(|spare| *spare != link);
    }

    /// The next waiting visitor with a link for it, which is then leased.
    pub fn serve(&mut self, now: Time) -> Option<(V, L)> {
        if self.spare.is_empty() {
            return None;
        }
        let visitor = self.waiting.pop_front()?;
        Some((visitor, self.lease(now)?))
    }

    /// How many links to ask the client for now; they are then owed.
    pub fn ask(&mut self, now: Time) -> usize {
        let wanted = self.waiting.len() + self.target(now);
        let coming = self.spare.len() + self.owed;
        let room = self.cap.saturating_sub(self.leased + coming);
        let missing = wanted.saturating_sub(coming).min(room);
        if missing > 0 {
            self.owed += missing;
            self.owed_since = now;
        }
        missing
    }

    /// Links that were asked for too long ago are not counted on any more.
    pub fn write_off(&mut self, now: Time) {
        if self.write_off_at().is_some_and(|at| at <= now) {
            self.owed = 0;
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

    /// All spare links and waiting visitors, for a session that ends.
    pub fn drain(&mut self) -> (Vec<L>, VecDeque<V>) {
        (std::mem::take(&mut self.spare), std::mem::take(&mut self.waiting))
    }

    /// Spare, leased and owed links.
    pub fn counts(&self) -> (usize, usize, usize) {
        (self.spare.len(), self.leased, self.owed)
    }

    /// As many spare as visitors came at once lately, within bounds.
    fn target(&self, now: Time) -> usize {
        let recent = if now - self.peak_at < MEMORY { self.peak } else { 0 };
        recent.clamp(self.terms.at_rest, self.terms.at_most)
    }

    fn note_peak(&mut self, now: Time) {
        let load = self.leased + self.waiting.len();
        if load >= self.peak || now - self.peak_at >= MEMORY {
            self.peak = load;
            self.peak_at = now;
        }
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
        let mut pool: LinkPool<u32, u32> = LinkPool::new(Terms::NATIVE, 1000);
        assert_eq!(pool.ask(at(0)), 4);
        assert_eq!(pool.ask(at(0)), 0, "asked once");
        for link in 0..4 {
            assert!(pool.arrived(link, at(0)));
        }
        assert_eq!(pool.lease(at(1)), Some(3), "the warmest");
        assert_eq!(pool.ask(at(1)), 1, "replaced at once");
        for visitor in 0..20 {
            if pool.lease(at(2)).is_none() {
                pool.wait(visitor, at(2));
            }
        }
        // 4 leased, 17 waiting; 21 is the peak, so 17 + 21 are wanted and 1 is owed.
        assert_eq!(pool.ask(at(2)), 37);
        for link in 10..48 {
            assert!(pool.arrived(link, at(0)));
        }
        let mut served = Vec::new();
        while let Some((visitor, _)) = pool.serve(at(3)) {
            served.push(visitor);
        }
        assert_eq!(served, (3..20).collect::<Vec<_>>(), "first come, first served");
        for link in 0..21 {
            pool.returned(link);
        }
        assert!(pool.shed_at().is_some());
        let mut shed = 0;
        while pool.shed(at(13)).is_some() {
            shed += 1;
        }
        assert_eq!((shed, pool.counts()), (38, (4, 0, 0)));
    }

    #[test]
    fn the_cap_holds() {
        let mut pool: LinkPool<u32, u32> = LinkPool::new(Terms::NATIVE, 6);
        assert_eq!(pool.ask(at(0)), 4);
        for visitor in 0..50 {
            pool.wait(visitor, at(0));
        }
        assert_eq!(pool.ask(at(0)), 2);
        pool.forget_visitor(0);
        assert!(pool.arrived(1, at(0)));
        assert_eq!(pool.serve(at(0)), Some((1, 1)));
        assert_eq!(pool.ask(at(0)), 0);
        for link in 2..7 {
            assert!(pool.arrived(link, at(0)));
        }
        assert!(!pool.arrived(7, at(0)), "too many");
    }

    #[test]
    fn what_a_rathole_client_does_not_bring_is_asked_for_again() {
        let mut pool: LinkPool<u32, u32> = LinkPool::new(Terms::RATHOLE_TCP, 100);
        assert_eq!(pool.ask(at(1)), 8);
        for visitor in 0..50 {
            pool.wait(visitor, at(1));
        }
        assert_eq!(pool.ask(at(1)), 50, "one for each, and the spare ones stay eight");
        assert!(pool.arrived(1, at(5)));
        assert_eq!(pool.write_off_at(), Some(at(20)));
        pool.write_off(at(19));
        assert_eq!(pool.ask(at(19)), 0);
        pool.write_off(at(20));
        assert_eq!(pool.ask(at(20)), 57);
        assert_eq!(pool.write_off_at(), Some(at(35)));
    }
}
