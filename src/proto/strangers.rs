//! Who has proved nothing yet. Such connections are few, in all and for each address; when there is
//! no room, the one that has waited longest goes: a stranger who means it is quick.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// A stranger's place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// The queue; `I` names a connection.
#[derive(Debug)]
pub struct Strangers<I> {
    /// In the order of arrival.
    queue: BTreeMap<Ticket, (I, Option<IpAddr>)>,
    by_address: HashMap<IpAddr, BTreeSet<Ticket>>,
    next: u64,
    most: usize,
    most_per_address: usize,
}

impl<I: Copy> Strangers<I> {
    /// Room for `most`, of them `most_per_address` from one address.
    pub fn new(most: usize, most_per_address: usize) -> Strangers<I> {
        let (queue, by_address) = (BTreeMap::new(), HashMap::new());
        Strangers { queue, by_address, next: 0, most, most_per_address }
    }

    /// Makes room for one more from `address`: the stranger to close, if there is no room. `None`
    /// is one that stands for many, such as a load balancer: only the bound on all holds for it.
    pub fn make_room(&mut self, address: Option<IpAddr>) -> Option<I> {
        let own = address.and_then(|address| self.by_address.get(&network(address)));
        let ticket = match own {
            Some(own) if own.len() >= self.most_per_address => own.first().copied(),
            _ if self.queue.len() >= self.most => self.oldest(),
            _ => None,
        }?;
        self.leave(ticket)
    }

    /// The stranger who has waited longest, to be closed.
    pub fn evict(&mut self) -> Option<I> {
        let ticket = self.oldest()?;
        self.leave(ticket)
    }

    /// A stranger comes in; `address` as in [`Strangers::make_room`].
    pub fn enter(&mut self, id: I, address: Option<IpAddr>) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        let network = address.map(network);
        self.queue.insert(ticket, (id, network));
        if let Some(network) = network {
            self.by_address.entry(network).or_default().insert(ticket);
        }
        ticket
    }

    /// A stranger has proved something, or has gone.
    pub fn leave(&mut self, ticket: Ticket) -> Option<I> {
        let (id, network) = self.queue.remove(&ticket)?;
        if let Some(network) = network
            && let Some(own) = self.by_address.get_mut(&network)
        {
            own.remove(&ticket);
            if own.is_empty() {
                self.by_address.remove(&network);
            }
        }
        Some(id)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    fn oldest(&self) -> Option<Ticket> {
        self.queue.first_key_value().map(|(ticket, _)| *ticket)
    }
}

/// What counts as one address: one subscriber has a whole IPv6 /64.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_waiting_goes_first_in_all_and_per_address() {
        let parse = |text: &str| text.parse::<IpAddr>().ok();
        let a = parse("192.0.2.1");
        let b = parse("2001:db8::1");
        let b_too = parse("2001:db8::ffff:1");
        let mut strangers = Strangers::new(3, 2);
        let first = strangers.enter(1, a);
        strangers.enter(2, b);
        assert_eq!(strangers.make_room(b), None);
        strangers.enter(3, b_too);
        assert_eq!(strangers.make_room(b), Some(2), "the address is full");
        strangers.enter(4, b);
        assert_eq!(strangers.make_room(a), Some(1), "all is full");
        assert_eq!(strangers.leave(first), None);
        assert_eq!((strangers.len(), strangers.evict()), (2, Some(3)));
    }

    #[test]
    fn one_that_stands_for_many_has_no_bound_of_its_own() {
        let mut strangers = Strangers::new(3, 1);
        let first = strangers.enter(1, None);
        for id in [2, 3] {
            assert_eq!(strangers.make_room(None), None);
            strangers.enter(id, None);
        }
        assert_eq!(strangers.make_room(None), Some(1), "all is full");
        assert_eq!(strangers.leave(first), None);
        assert_eq!(strangers.evict(), Some(2));
    }
}
