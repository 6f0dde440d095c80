//! Token buckets: so many at once, so many a second, for each network and in all.
//!
//! A bucket is the moment when it will be full again (the generic cell rate algorithm, ITU-T
//! I.371): a token that is taken puts that off by the time one takes to come. Nothing has to be
//! filled.

use std::time::Duration;

use super::network::{Fades, Memory, Network};
use super::time::Time;

/// How many tokens come a second, and how many a bucket holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Between two tokens.
    interval: Duration,
    /// From empty to full.
    whole: Duration,
}

impl Rate {
    /// Both at least one.
    pub const fn new(per_second: u32, burst: u32) -> Rate {
        let per_second = if per_second == 0 { 1 } else { per_second };
        Rate::every(Duration::from_nanos(1_000_000_000 / per_second as u64), burst)
    }

    /// One token in each of these.
    pub const fn every(interval: Duration, burst: u32) -> Rate {
        let burst = if burst == 0 { 1 } else { burst };
        Rate { interval, whole: interval.saturating_mul(burst) }
    }
}

/// One bucket, full at first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    full_at: Time,
}

impl Bucket {
    /// Takes a token, or says when one will be there.
    pub fn take(&mut self, rate: Rate, now: Time) -> Result<(), Time> {
        self.look(rate, now)?;
        self.full_at = self.full_at.max(now) + rate.interval;
        Ok(())
    }

    /// Gives back a token that was taken.
    pub fn give_back(&mut self, rate: Rate) {
        let nanos = u64::try_from(rate.interval.as_nanos()).unwrap_or(u64::MAX);
        self.full_at = Time(self.full_at.0.saturating_sub(nanos));
    }

    /// Whether there is a token, or when.
    pub fn look(&self, rate: Rate, now: Time) -> Result<(), Time> {
        let full_at = self.full_at.max(now) + rate.interval;
        if full_at - now <= rate.whole {
            return Ok(());
        }
        Err(now + ((full_at - now) - rate.whole))
    }
}

/// A full bucket says no more than none.
impl Fades for Bucket {
    fn forget_at(&self) -> Time {
        self.full_at
    }
}

/// A bucket for each network, and one for all.
#[derive(Debug)]
pub struct Buckets {
    each: Rate,
    all: Option<Rate>,
    networks: Memory<Bucket>,
    common: Bucket,
}

impl Buckets {
    /// `all` is `None` if only each network is bounded. Of `most` networks a bucket is kept; past
    /// that, the fullest are forgotten.
    pub fn new(each: Rate, all: Option<Rate>, most: usize) -> Buckets {
        Buckets { each, all, networks: Memory::new(most), common: Bucket::default() }
    }

    /// Takes a token of the network's and one of all, or none: then says when both will be there
    /// if nobody else takes them.
    pub fn take(&mut self, network: Network, now: Time) -> Result<(), Time> {
        let own = self.networks.get(network).copied().unwrap_or_default();
        let own = own.look(self.each, now);
        let common = self.all.map_or(Ok(()), |all| self.common.look(all, now));
        match (own, common) {
            (Ok(()), Ok(())) => {}
            (Err(at), Ok(())) | (Ok(()), Err(at)) => return Err(at),
            (Err(own), Err(common)) => return Err(own.max(common)),
        }
        if let Some(all) = self.all {
            self.common.take(all, now)?;
        }
        self.networks.entry(network, now).take(self.each, now)
    }

    /// Gives back the network's token, and that of all.
    pub fn give_back(&mut self, network: Network, now: Time) {
        if self.networks.get(network).is_some() {
            self.networks.entry(network, now).give_back(self.each);
        }
        if let Some(all) = self.all {
            self.common.give_back(all);
        }
    }

    /// Other rates from now on; what was taken stays taken.
    pub fn set_rates(&mut self, each: Rate, all: Option<Rate>) {
        (self.each, self.all) = (each, all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Network = Network::V6(1);
    const B: Network = Network::V6(2);

    fn at(milliseconds: u64) -> Time {
        Time(milliseconds * 1_000_000)
    }

    /// How many tokens there are now.
    fn drain(buckets: &mut Buckets, network: Network, now: Time) -> (usize, Time) {
        let mut taken = 0;
        loop {
            match buckets.take(network, now) {
                Ok(()) => taken += 1,
                Err(at) => return (taken, at),
            }
        }
    }

    #[test]
    fn a_bucket_holds_a_burst_and_fills_at_its_rate() {
        let mut buckets = Buckets::new(Rate::new(10, 5), None, 100);
        assert_eq!(drain(&mut buckets, A, at(1000)), (5, at(1100)));
        assert_eq!(buckets.take(A, at(1099)), Err(at(1100)));
        assert_eq!(drain(&mut buckets, A, at(1100)), (1, at(1200)));
        assert_eq!(drain(&mut buckets, A, at(1450)), (3, at(1500)), "250 ms beyond one are kept");
        assert_eq!(drain(&mut buckets, A, at(9000)), (5, at(9100)), "no more than it holds");
    }

    #[test]
    fn a_network_does_not_empty_anothers_but_all_have_a_bound() {
        let mut buckets = Buckets::new(Rate::new(10, 5), Some(Rate::new(20, 8)), 100);
        assert_eq!(drain(&mut buckets, A, at(0)).0, 5);
        assert_eq!(drain(&mut buckets, A, at(0)).0, 0, "refused ones cost the others nothing");
        assert_eq!(drain(&mut buckets, B, at(0)), (3, at(50)));
        assert_eq!(buckets.take(A, at(0)), Err(at(100)), "the later of both");
        assert_eq!(drain(&mut buckets, B, at(50)).0, 1);
    }

    #[test]
    fn what_is_given_back_was_never_taken() {
        let every_minute = Rate::every(Duration::from_secs(60), 3);
        let mut buckets = Buckets::new(every_minute, Some(Rate::new(1, 4)), 100);
        assert_eq!(drain(&mut buckets, A, at(0)).0, 3);
        buckets.give_back(A, at(0));
        buckets.give_back(A, at(0));
        buckets.give_back(B, at(0));
        assert_eq!(drain(&mut buckets, A, at(0)).0, 2);
        assert_eq!(drain(&mut buckets, B, at(0)).0, 2, "what all have left");
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_fullest() {
        let mut buckets = Buckets::new(Rate::new(1, 10), None, 8);
        assert_eq!(drain(&mut buckets, A, at(0)).0, 10);
        for other in 100..8_000 {
            buckets.take(Network::V6(other), at(other)).expect("the first of its network");
            assert!(buckets.networks.len() <= 8);
        }
        assert_eq!(drain(&mut buckets, A, at(7_999)).0, 7, "the emptiest was kept all the while");
    }
}
