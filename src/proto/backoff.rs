//! The pause before dialling again: doubles up to a bound, with jitter, so that homes that lost
//! the same server do not come back in the same instant.

use std::time::Duration;

/// At most so long, however often it failed (a line that was gone for long serves again soon).
const AT_MOST: Duration = Duration::from_secs(5);

/// Counts failures in a row.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    failures: u32,
}

impl Backoff {
    /// `base` is the pause after the first failure.
    pub fn new(base: Duration) -> Backoff {
        Backoff { base: base.min(AT_MOST), failures: 0 }
    }

    /// The dial has led to something useful.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The pause after one more failure: between half and all of it, drawn by `random`.
    pub fn next(&mut self, random: u64) -> Duration {
        let whole = self.base.saturating_mul(1 << self.failures.min(16)).min(AT_MOST);
        self.failures = self.failures.saturating_add(1);
        let half = whole / 2;
        half + half.mul_f64(random as f64 / u64::MAX as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_the_bound_and_starts_over() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        assert_eq!(backoff.next(u64::MAX), Duration::from_secs(1));
        assert_eq!(backoff.next(0), Duration::from_secs(1));
        assert_eq!(backoff.next(u64::MAX), Duration::from_secs(4));
        for _ in 0..100 {
            assert!(backoff.next(u64::MAX) <= AT_MOST);
        }
        backoff.reset();
        assert_eq!(backoff.next(0), Duration::from_millis(500));
    }
}
