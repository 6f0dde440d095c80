//! What counts as one at the other end of the net, and a bounded memory of such.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use super::time::Time;

/// An IPv4 address, or an IPv6 /64, which is what one subscriber has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {
    /// The address.
    V4(Ipv4Addr),
    /// The upper half of the address.
    V6(u64),
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Network {
        match address.to_canonical() {
            IpAddr::V4(ip) => Network::V4(ip),
            IpAddr::V6(ip) => Network::V6((u128::from(ip) >> 64) as u64),
        }
    }
}

/// What is remembered of a network, until when it says something.
pub trait Fades {
    /// From then on it says no more than nothing would.
    fn forget_at(&self) -> Time;
}

/// Remembers something of each of at most `most` networks. When there are too many, what says
/// nothing any more goes, and then what would soonest: down to three quarters, so that looking for
/// them costs O(1) for each newcomer.
#[derive(Debug)]
pub struct Memory<T> {
    entries: HashMap<Network, T>,
    /// At least 4.
    most: usize,
}

impl<T: Fades + Default> Memory<T> {
    /// Nothing is remembered yet.
    pub fn new(most: usize) -> Memory<T> {
        Memory { entries: HashMap::new(), most: most.max(4) }
    }

    /// What is remembered of a network.
    pub fn get(&self, network: Network) -> Option<&T> {
        self.entries.get(&network)
    }

    /// The same to change, from nothing if need be.
    pub fn entry(&mut self, network: Network, now: Time) -> &mut T {
        if self.entries.len() >= self.most && !self.entries.contains_key(&network) {
            self.forget(now);
        }
        self.entries.entry(network).or_default()
    }

    /// How many networks are remembered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn forget(&mut self, now: Time) {
        self.entries.retain(|_, entry| entry.forget_at() > now);
        let kept = self.most - self.most / 4;
        if self.entries.len() > kept {
            let fading = self.entries.iter().map(|(network, entry)| (entry.forget_at(), *network));
            let mut fading: Vec<(Time, Network)> = fading.collect();
            let surplus = fading.len() - kept;
            fading.select_nth_unstable(surplus);
            for (_, network) in &fading[..surplus] {
                self.entries.remove(network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Until(u64);
    impl Fades for Until {
        fn forget_at(&self) -> Time {
            Time(self.0)
        }
    }

    #[test]
    fn one_subscriber_is_one_network() {
        let network = |text: &str| Network::from(text.parse::<IpAddr>().expect("an address"));
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:3:4:5:6"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }

    #[test]
    fn what_says_nothing_goes_first_and_then_what_would_soonest() {
        let mut memory = Memory::<Until>::new(8);
        for (number, until) in (0..8).zip([10, 90, 20, 80, 30, 70, 40, 60]) {
            memory.entry(Network::V6(number), Time(0)).0 = until;
        }
        memory.entry(Network::V6(3), Time(25)).0 = 81;
        assert_eq!(memory.len(), 8, "nobody has to go for one that is there");
        memory.entry(Network::V6(8), Time(25)).0 = 100;
        assert_eq!(memory.len(), 7, "two said nothing any more");
        memory.entry(Network::V6(9), Time(26)).0 = 100;
        memory.entry(Network::V6(10), Time(26)).0 = 100;
        assert_eq!(memory.len(), 7, "the two that would have soonest, too");
        let left = |number| memory.get(Network::V6(number)).is_some();
        assert_eq!([1, 3, 5, 7, 8, 9, 10].map(left), [true; 7]);
        assert_eq!([0, 2, 4, 6].map(left), [false; 4]);
    }
}
