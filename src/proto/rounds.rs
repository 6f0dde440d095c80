//! Finds visitors that come back: a home whose `local_addr` leads to this server sends each on as
//! a new one. Over TLS it says the very bytes that the first one said, which hold 32 random ones,
//! so nobody else's hello is the same (RFC 8446 4.1.2).

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::time::Duration;

use super::time::Time;
use crate::limits::ROUNDS;

/// The hellos that came last.
#[derive(Debug)]
pub struct Rounds {
    /// A ring; each with the time that it came.
    seen: Box<[(u64, Time)]>,
    /// Where the next one goes.
    next: usize,
}

/// Beyond so many in one round of a loop, it is found a few rounds later.
const KEPT: usize = 256;
/// Longer than a few rounds over the slowest line.
const WINDOW: Duration = Duration::from_secs(5);

impl Default for Rounds {
    fn default() -> Rounds {
        Rounds { seen: vec![(0, Time::default()); KEPT].into(), next: 0 }
    }
}

impl Rounds {
    /// Takes a hello in; whether it has been here too often.
    pub fn is_loop(&mut self, hello: &[u8], now: Time) -> bool {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(hello);
        let same = |(other, at): &&(u64, Time)| *other == hash && now - *at < WINDOW;
        let rounds = self.seen.iter().filter(same).count();
        self.seen[self.next] = (hash, now);
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
            assert!(!rounds.is_loop(&number.to_be_bytes(), start), "all differ");
        }
        let again: Vec<bool> = (0..5).map(|_| rounds.is_loop(b"again", start)).collect();
        assert_eq!(again, [false, false, false, true, true]);
        assert!(!rounds.is_loop(b"again", start + WINDOW), "long ago");
    }
}
