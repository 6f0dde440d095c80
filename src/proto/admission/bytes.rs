//! Bytes held for members, and who goes when they are too many. `memory` bounds all of them, a
//! quarter of it those of the unproved, which cost a stranger nothing to send.
//!
//! Past either bound, the network (of one class; an IPv6 /48 as one) that holds most of what is
//! exhausted gives up its longest-stalled member, until it is an eighth below. So a search through
//! the networks is paid for by an eighth of the bound in new bytes, and [`Admission::charge`] costs
//! O(1). Those who stand for many never hold most together: each of them counts for itself.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::list::{Key, NONE};
use super::networks::{Networks, Node};
use super::{Admission, CLASSES, Class, Member, Pressure, Standing};
use crate::proto::time::Time;

/// Which bytes are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unproved,
    All,
}

impl<I: Copy> Admission<I> {
    /// Holds so much for a member that counts; it keeps its place among the stalled while that
    /// grows.
    pub(super) fn hold(&mut self, key: Key, bytes: usize, now: Time) {
        let member = &mut self.members[key as usize];
        let (network, kind) = (member.network, kind(member));
        let before = std::mem::replace(&mut member.bytes, bytes);
        let moves = bytes < before || before == 0;
        if moves {
            member.stalled_since = now;
        }
        let mut node = network;
        while node != NONE {
            let Node { bytes: held, site, .. } = &mut self.networks.nodes[node as usize];
            held[kind] = held[kind] - before + bytes;
            node = *site;
        }
        self.bytes[kind] = self.bytes[kind] - before + bytes;
        let stalled = &mut self.networks.nodes[network as usize].stalled[kind];
        if moves && before > 0 {
            stalled.remove(&mut self.members, key);
        }
        if moves && bytes > 0 {
            stalled.push(&mut self.members, key);
        }
    }

    /// Evicts until both bounds hold again, if one does not.
    pub(super) fn relieve(&mut self) {
        for kind in [Kind::Unproved, Kind::All] {
            let bound = self.bound(kind);
            if self.held_as(kind) > bound {
                self.sweep(kind, bound - bound / 8);
            }
        }
    }

    fn sweep(&mut self, kind: Kind, goal: usize) {
        let tops = self.networks.nodes.iter().skip(CLASSES).filter(|(_, node)| node.site == NONE);
        let tops = tops.map(|(key, _)| key as Key);
        let mut holders = Holders::new(&self.networks, tops, kind);
        let mut sites: HashMap<Key, Holders> = HashMap::new();
        while self.held_as(kind) > goal {
            let many = self.longest_stalled_of_many(kind);
            let many = many.filter(|many| self.member(*many).bytes > holders.most());
            let member = many.or_else(|| {
                let top = holders.pop()?;
                let network = if self.networks.node(top).is_site() {
                    let networks = &self.networks;
                    let site = sites.entry(top);
                    let site = site
                        .or_insert_with(|| Holders::new(networks, networks.networks_of(top), kind));
                    let network = site.pop()?;
                    let member = self.longest_stalled(self.networks.node(network), kind)?;
                    site.put_back(&self.networks, network, self.member(member).bytes);
                    network
                } else {
                    top
                };
                let member = self.longest_stalled(self.networks.node(network), kind)?;
                holders.put_back(&self.networks, top, self.member(member).bytes);
                Some(member)
            });
            let Some(member) = member else { break };
            self.evict(member, Pressure::Stalled);
        }
    }

    fn longest_stalled_of_many(&self, kind: Kind) -> Option<Key> {
        let longest = Class::ALL
            .into_iter()
            .filter_map(|class| self.longest_stalled(self.networks.many(class), kind));
        longest.min_by_key(|member| self.member(*member).stalled_since)
    }

    fn longest_stalled(&self, network: &Node, kind: Kind) -> Option<Key> {
        let lists = match kind {
            Kind::Unproved => &network.stalled[..1],
            Kind::All => &network.stalled[..],
        };
        let longest = lists.iter().filter_map(|list| list.first());
        longest.min_by_key(|member| self.member(*member).stalled_since)
    }

    fn held_as(&self, kind: Kind) -> usize {
        kind.of(&self.bytes)
    }

    fn bound(&self, kind: Kind) -> usize {
        match kind {
            Kind::Unproved => self.capacity.memory / 4,
            Kind::All => self.capacity.memory,
        }
    }
}

/// Siblings that hold bytes, the one with most on top; among equals the first of the table.
struct Holders {
    kind: Kind,
    heap: BinaryHeap<(usize, Reverse<Key>)>,
}

impl Holders {
    fn new(networks: &Networks, keys: impl Iterator<Item = Key>, kind: Kind) -> Holders {
        let heap = keys.map(|key| (kind.of(&networks.node(key).bytes), Reverse(key)));
        Holders { kind, heap: heap.filter(|(bytes, _)| *bytes > 0).collect() }
    }

    fn most(&self) -> usize {
        self.heap.peek().map_or(0, |(bytes, _)| *bytes)
    }

    fn pop(&mut self) -> Option<Key> {
        self.heap.pop().map(|(_, Reverse(key))| key)
    }

    /// One that is about to give up so many bytes.
    fn put_back(&mut self, networks: &Networks, key: Key, fewer: usize) {
        let left = self.kind.of(&networks.node(key).bytes) - fewer;
        if left > 0 {
            self.heap.push((left, Reverse(key)));
        }
    }
}

impl Kind {
    /// Of bytes held for the unproved, and for others.
    fn of(self, [unproved, others]: &[usize; 2]) -> usize {
        match self {
            Kind::Unproved => *unproved,
            Kind::All => unproved + others,
        }
    }
}

/// Which of two sums a member's bytes are in.
fn kind<I>(member: &Member<I>) -> usize {
    usize::from(member.standing != Standing::Unproved)
}
