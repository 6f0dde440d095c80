//! Finds visitors that come back: a home whose `local_addr` leads to this server sends each on as
//! a new one. Over TLS it says the very bytes that the first one said, which hold 32 random ones,
//! so nobody else's hello is the same (RFC 8446 4.1.2).

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::time::Duration;

use super::time::Time;
use crate::limits::ROUNDS;

/// The hellos that came last; `I` names a visitor.
#[derive(Debug)]
pub struct Rounds<I> {
    /// A ring: what each said, whose it was, when it came.
    seen: Box<[Option<(u64, I, Time)>]>,
    /// Where the next one goes.
    next: usize,
}

/// Beyond so many in one round of a loop, it is found a few rounds later.
const KEPT: usize = 256;
/// Longer than a few rounds over the slowest line.
const WINDOW: Duration = Duration::from_secs(5);

impl<I: Copy> Default for Rounds<I> {
    fn default() -> Rounds<I> {
        Rounds { seen: vec![None; KEPT].into(), next: 0 }
    }
}

impl<I: Copy> Rounds<I> {
    /// Takes a hello in; whether too many with the same are here that have no answer yet, as
    /// `waits` says: who replays a hello gets one each time, in a loop nobody does.
    pub fn is_loop(
        &mut self,
        (hello, id): (&[u8], I),
        now: Time,
        waits: impl Fn(I) -> bool,
    ) -> bool {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(hello);
        let same =
            |(other, id, at): &&(u64, I, Time)| *other == hash && now - *at < WINDOW && waits(*id);
        let rounds = self.seen.iter().flatten().filter(same).count();
        self.seen[self.next] = Some((hash, id, now));
        self.next = (self.next + 1) % KEPT;
        rounds >= ROUNDS
    }
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
}
