//! Finds visitors that come back: a home whose `local_addr` leads to this server sends each on as
//! a new one.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::time::Duration;

use super::time::Time;
use crate::limits::{ROUNDS, ROUNDS_OF_A_PORT};

/// The visitors that came last; `I` names one.
#[derive(Debug)]
pub struct Rounds<I> {
    /// A ring: what they have in common with others, whose it was, when it came.
    seen: Box<[Option<(u64, I, Time)>]>,
    /// Where the next one goes.
    next: usize,
}

/// Beyond so many in one round of a loop, it is found a few rounds later.
const KEPT: usize = 256;
/// Longer than a few rounds over the slowest line.
const WINDOW: Duration = Duration::from_secs(5);
/// The same for a row of many.
const WINDOW_OF_A_ROW: Duration = Duration::from_secs(60);
/// Who comes in a rush has its answer sooner.
const PATIENCE: Duration = Duration::from_secs(1);
/// Of a row, one of those that come within so long is kept.
const SPACING: Duration = Duration::from_millis(50);

impl<I: Copy> Default for Rounds<I> {
    fn default() -> Rounds<I> {
        Rounds { seen: vec![None; KEPT].into(), next: 0 }
    }
}

impl<I: Copy> Rounds<I> {
    /// Takes a TLS visitor in, who comes from where its home is; whether too many with the same
    /// hello are here that have no answer yet, as `waits` says. In a loop each says the very bytes
    /// that the first one said, which hold 32 random ones, so nobody else's hello is the same (RFC
    /// 8446 4.1.2); who replays one gets an answer each time.
    pub fn is_loop(
        &mut self,
        (hello, id): (&[u8], I),
        now: Time,
        waits: impl Fn(I) -> bool,
    ) -> bool {
        let mark = mark(hello);
        let rounds = self.count(mark, |at| now - at < WINDOW, waits);
        self.take_in(mark, id, now);
        rounds >= ROUNDS
    }

    /// Takes a visitor of a port of its own in, who comes from where its home is; whether it is one
    /// of a long row at that service that have no answer for a while. Nothing else tells a loop
    /// there from people at home, who come by another way and are answered.
    pub fn is_row(
        &mut self,
        (service, id): (impl Hash, I),
        now: Time,
        waits: impl Fn(I) -> bool,
    ) -> bool {
        let mark = mark(service);
        let ages = |at| (PATIENCE..WINDOW_OF_A_ROW).contains(&(now - at));
        let rounds = self.count(mark, ages, waits);
        // A loop on one machine would push its own past out of the ring.
        if self.count(mark, |at| now - at < SPACING, |_| true) == 0 {
            self.take_in(mark, id, now);
        }
        rounds >= ROUNDS_OF_A_PORT
    }

    /// How many have this mark, came at a time that counts, and wait.
    fn count(&self, mark: u64, counts: impl Fn(Time) -> bool, waits: impl Fn(I) -> bool) -> usize {
        let same = |(other, id, at): &&(u64, I, Time)| *other == mark && counts(*at) && waits(*id);
        self.seen.iter().flatten().filter(same).count()
    }

    fn take_in(&mut self, mark: u64, id: I, now: Time) {
        self.seen[self.next] = Some((mark, id, now));
        self.next = (self.next + 1) % KEPT;
    }
}

fn mark(of: impl Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_hello_may_come_three_times_in_a_while() {
        let (mut rounds, start) = (Rounds::default(), Time::default() + WINDOW * 2);
        for number in 0..1000u32 {
            let hello = (&number.to_be_bytes()[..], number);
            assert!(!rounds.is_loop(hello, start, |_| true), "all differ");
        }
        let again: Vec<bool> =
            (0..5).map(|id| rounds.is_loop((b"again", id), start, |_| true)).collect();
        assert_eq!(again, [false, false, false, true, true]);
        assert!(!rounds.is_loop((b"again", 9), start, |_| false), "all have been answered");
        assert!(!rounds.is_loop((b"again", 9), start + WINDOW, |_| true), "long ago");
    }

    #[test]
    fn a_rush_is_no_row() {
        let (mut rounds, start) = (Rounds::default(), Time::default() + WINDOW);
        for id in 0..100u32 {
            assert!(!rounds.is_row((7, id), start, |_| true), "all at once");
        }
        assert!(!rounds.is_row((7, 100), start + PATIENCE, |_| true), "one of them is kept");
    }

    #[test]
    fn a_row_that_waits_is_found_however_fast_it_grows() {
        let step = Duration::from_millis(1);
        let (mut rounds, mut now) = (Rounds::default(), Time::default() + WINDOW);
        let mut is_row = |now, waits: &dyn Fn(u32) -> bool| rounds.is_row((7, 0), now, waits);
        let steps = (0..5000).find(|_| {
            now = now + step;
            is_row(now, &|_| true)
        });
        let expected = PATIENCE + SPACING * 15;
        assert_eq!(steps, Some(expected.as_millis() as usize));
        assert!(!is_row(now, &|_| false), "they have their answers");
        assert!(!is_row(now + WINDOW_OF_A_ROW, &|_| true), "long ago");
        assert!(!rounds.is_row((8, 0), now, |_| true), "of another service");
    }
}
