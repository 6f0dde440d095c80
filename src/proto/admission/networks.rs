//! Who holds how many: networks, each with its members by their standing, below the four classes.
//!
//! ```text
//! class ── 192.0.2.7             one IPv4 address
//!       ── session 12            a client's session, for links
//!       ── 2001:db8:5::/48 ── 2001:db8:5:1::/64
//!       │                  ── 2001:db8:5:2::/64
//!       ── Many                  trusted proxies: counted, but in no order of size
//! ```
//!
//! Siblings are kept in the order of their size, as in an LFU cache: a chain of buckets, one for
//! each size that occurs. A size changes by one at a time, so a node moves to the next bucket:
//! O(1). There are at most √(2·members) sizes, 362 for 65,536 members: so far does an eviction look
//! at most.

use std::collections::HashMap;

use slab::Slab;

use super::list::{Key, Link, Linked, List, NONE, insert};
use super::{BY_STALL, BY_STANDING, CLASSES, Class, Holder, STANDINGS, Standing};
use crate::proto::network::Network;

/// Of a node, in the list of its bucket.
const BY_SIZE: usize = 0;

/// What one can hold as: a holder of [`Holder`], or the IPv6 /48 around one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Name {
    Many,
    Session(u64),
    Network(Network),
    /// The first 48 bits of an IPv6 address: what one site has, or a carrier gives to many.
    Site(u64),
}

impl Name {
    pub(super) fn of(holder: Holder) -> Name {
        match holder {
            Holder::Many => Name::Many,
            Holder::Session(session) => Name::Session(session),
            Holder::Address(address) => Name::Network(address.into()),
        }
    }

    /// The site around an IPv6 network.
    fn site(self) -> Option<Name> {
        match self {
            Name::Network(Network::V6(half)) => Some(Name::Site(half >> 16)),
            _ => None,
        }
    }
}

/// A network or a site.
#[derive(Debug)]
pub(super) struct Node {
    class: Class,
    pub(super) name: Name,
    /// The site around it; [`NONE`] if it is right below the class.
    pub(super) site: Key,
    /// Members by standing; a site's are those of its networks.
    counts: [u32; STANDINGS],
    /// A network's members by standing, longest in it first.
    pub(super) members: [List<BY_STANDING>; STANDINGS],
    /// A site's networks.
    networks: Sizes,
    bucket: Key,
    link: Link,
    /// Bytes held for unproved members, and for others.
    pub(super) bytes: [usize; 2],
    /// A network's members that hold bytes, likewise, longest stalled first.
    pub(super) stalled: [List<BY_STALL>; 2],
}

impl Linked<BY_SIZE> for Node {
    fn link(&self) -> &Link {
        &self.link
    }
    fn link_mut(&mut self) -> &mut Link {
        &mut self.link
    }
}

impl Node {
    fn new(class: Class, name: Name, site: Key) -> Node {
        Node {
            class,
            name,
            site,
            counts: [0; STANDINGS],
            members: [List::EMPTY; STANDINGS],
            networks: Sizes::NONE,
            bucket: NONE,
            link: Link::LOOSE,
            bytes: [0; 2],
            stalled: [List::EMPTY; 2],
        }
    }

    pub(super) fn size(&self) -> usize {
        self.counts.iter().sum::<u32>() as usize
    }

    /// How many may be asked to go for a newcomer.
    pub(super) fn dispensable(&self) -> usize {
        (self.counts[Standing::Unproved as usize] + self.counts[Standing::Idle as usize]) as usize
    }

    /// The standing of its most dispensable member; of a node without any, the last.
    fn lowest(&self) -> Standing {
        let standings = [Standing::Unproved, Standing::Idle];
        let lowest = standings.into_iter().find(|standing| self.counts[*standing as usize] > 0);
        lowest.unwrap_or(Standing::Busy)
    }

    pub(super) fn is_site(&self) -> bool {
        matches!(self.name, Name::Site(_))
    }
}

/// Siblings of one size.
#[derive(Debug)]
struct Bucket {
    /// Above 0.
    size: usize,
    /// By [`Node::lowest`]; the one that came to it first is the first.
    nodes: [List<BY_SIZE>; STANDINGS],
    /// The next sizes that occur: `smaller.size < size < larger.size`.
    smaller: Key,
    larger: Key,
}

/// The chain of buckets of one family of siblings. Invariant: none of them is empty.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    smallest: Key,
    largest: Key,
}

impl Sizes {
    const NONE: Sizes = Sizes { smallest: NONE, largest: NONE };
}

/// Where somebody is counted, whether or not anything of it is here yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// The network, and what is right below the class: the same, or its site. [`NONE`] if nothing
    /// of it is here.
    network: Key,
    top: Key,
    pub(super) is_many: bool,
    /// Whether it is a network of the net's, which has a share.
    pub(super) has_share: bool,
    /// How much of the network's members, and of the site's, is here.
    pub(super) network_size: usize,
    /// `None` if there is none around it.
    pub(super) site_size: Option<usize>,
}

impl Place {
    /// Of one who holds nothing.
    pub(super) const NOBODY: Place = Place {
        network: NONE,
        top: NONE,
        is_many: false,
        has_share: false,
        network_size: 0,
        site_size: None,
    };
}

/// All of them.
#[derive(Debug)]
pub(super) struct Networks {
    /// The first [`CLASSES`] stand for many, and stay for good.
    pub(super) nodes: Slab<Node>,
    by_name: HashMap<(Class, Name), Key>,
    buckets: Slab<Bucket>,
    classes: [Sizes; CLASSES],
}

impl Networks {
    pub(super) fn new() -> Networks {
        let mut nodes = Slab::new();
        for class in Class::ALL {
            insert(&mut nodes, Node::new(class, Name::Many, NONE));
        }
        let (by_name, buckets) = (HashMap::new(), Slab::new());
        Networks { nodes, by_name, buckets, classes: [Sizes::NONE; CLASSES] }
    }

    /// Who stands for many in a class.
    pub(super) fn many(&self, class: Class) -> &Node {
        &self.nodes[class as usize]
    }

    pub(super) fn node(&self, key: Key) -> &Node {
        &self.nodes[key as usize]
    }

    /// Networks and sites that hold something.
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Where `name` is counted.
    pub(super) fn place(&self, class: Class, name: Name) -> Place {
        let find = |name| self.by_name.get(&(class, name)).copied().unwrap_or(NONE);
        let size = |key| if key == NONE { 0 } else { self.node(key).size() };
        if name == Name::Many {
            let network_size = self.many(class).size();
            return Place { is_many: true, network_size, ..Place::NOBODY };
        }
        let network = find(name);
        let site = name.site().map(find);
        Place {
            network,
            top: site.unwrap_or(network),
            is_many: false,
            has_share: !matches!(name, Name::Session(_)),
            network_size: size(network),
            site_size: site.map(size),
        }
    }

    /// One more is counted with `name`; returns its network.
    pub(super) fn join(&mut self, class: Class, name: Name, standing: Standing) -> Key {
        let network = match name {
            Name::Many => class as Key,
            name => {
                let site = name.site().map_or(NONE, |site| self.find_or_insert(class, site, NONE));
                self.find_or_insert(class, name, site)
            }
        };
        self.recount(network, |counts| counts[standing as usize] += 1);
        network
    }

    /// One fewer; the network is gone with the last.
    pub(super) fn leave(&mut self, network: Key, standing: Standing) {
        self.recount(network, |counts| counts[standing as usize] -= 1);
    }

    /// One of `network` stands differently.
    pub(super) fn restand(&mut self, network: Key, from: Standing, to: Standing) {
        self.recount(network, |counts| {
            counts[from as usize] -= 1;
            counts[to as usize] += 1;
        });
    }

    /// The network that gives one up to a newcomer to a full class, and the standing of the member
    /// that goes. `newcomer` is not one of many.
    pub(super) fn giver(&self, class: Class, newcomer: Place) -> Option<(Key, Standing)> {
        self.giver_among(self.classes[class as usize], newcomer.top, newcomer.network)
    }

    /// The same where the newcomer's own site has its share.
    pub(super) fn giver_of_own(&self, newcomer: Place) -> Option<(Key, Standing)> {
        (newcomer.top != NONE).then(|| self.own_giver(newcomer.top, newcomer.network)).flatten()
    }

    /// The same where the newcomer's own network has its share.
    pub(super) fn giver_of_network(&self, newcomer: Place) -> Option<(Key, Standing)> {
        (newcomer.network != NONE).then(|| self.own_giver(newcomer.network, NONE)).flatten()
    }

    /// The largest network if it holds more than one and has somebody dispensable.
    pub(super) fn largest_dispensable(&self, class: Class) -> Option<(Key, Standing)> {
        let largest = self.classes[class as usize].largest;
        (largest != NONE && self.bucket(largest).size > 1).then_some(largest)?;
        self.dispensable_in(largest).map(|node| self.descend(node))
    }

    /// Of the holders who have somebody dispensable, the one with most gives one up.
    pub(super) fn largest_with_dispensable(&self, class: Class) -> Option<(Key, Standing)> {
        let mut bucket = self.classes[class as usize].largest;
        while bucket != NONE {
            if let Some(node) = self.dispensable_in(bucket) {
                return Some(self.descend(node));
            }
            bucket = self.bucket(bucket).smaller;
        }
        None
    }

    /// The members who stand for many give one up.
    pub(super) fn giver_of_many(&self, class: Class) -> Option<(Key, Standing)> {
        self.own_giver(class as Key, NONE)
    }

    /// Whether nobody holds more than the newcomer's holder, and it holds something.
    pub(super) fn is_largest(&self, class: Class, newcomer: Place) -> bool {
        let held = newcomer.site_size.unwrap_or(newcomer.network_size);
        let largest = self.classes[class as usize].largest;
        held > 0 && largest != NONE && held >= self.bucket(largest).size
    }

    /// The networks of a site.
    pub(super) fn networks_of(&self, site: Key) -> impl Iterator<Item = Key> + '_ {
        let bucket = |key| (key != NONE).then_some(key);
        let largest = bucket(self.node(site).networks.largest);
        let buckets = std::iter::successors(largest, move |key| bucket(self.bucket(*key).smaller));
        let lists = buckets.flat_map(|key| &self.bucket(key).nodes);
        lists.flat_map(|list| list.iter(&self.nodes))
    }

    /// How many holders right below the class would give up for a newcomer that then holds `held`:
    /// those that are dispensable and of a holder with at least as many.
    pub(super) fn surplus(&self, class: Class, newcomer: Place, held: usize) -> usize {
        let mut sum = 0;
        let mut bucket = self.classes[class as usize].largest;
        while bucket != NONE && self.bucket(bucket).size >= held {
            let Bucket { size, ref nodes, smaller, .. } = *self.bucket(bucket);
            let over = size - held + 1;
            let dispensable = &nodes[..Standing::Busy as usize];
            let others = dispensable.iter().flat_map(|list| list.iter(&self.nodes));
            sum += others
                .filter(|node| *node != newcomer.top)
                .map(|node| self.node(node).dispensable().min(over))
                .sum::<usize>();
            bucket = smaller;
        }
        sum
    }

    /// Among siblings: `own` is the newcomer's, `below` its network where `own` is a site.
    fn giver_among(&self, siblings: Sizes, own: Key, below: Key) -> Option<(Key, Standing)> {
        let held = if own == NONE { 0 } else { self.node(own).size() };
        let mut bucket = siblings.largest;
        let most = if bucket == NONE { 0 } else { self.bucket(bucket).size };
        if held >= most {
            return (own != NONE).then(|| self.own_giver(own, below)).flatten();
        }
        if let Some(node) = self.dispensable_in(bucket) {
            return Some(self.descend(node));
        }
        if held + 1 < most - 1
            && let Some(node) = self.bucket(bucket).nodes[Standing::Busy as usize].first()
        {
            return Some(self.descend(node));
        }
        while bucket != NONE && self.bucket(bucket).size > held {
            if let Some(node) = self.dispensable_in(bucket) {
                return Some(self.descend(node));
            }
            bucket = self.bucket(bucket).smaller;
        }
        (own != NONE).then(|| self.own_giver(own, below)).flatten()
    }

    /// What the newcomer's own network gives up, or its site, by the rules among its networks.
    fn own_giver(&self, own: Key, below: Key) -> Option<(Key, Standing)> {
        let node = self.node(own);
        if node.is_site() {
            return self.giver_among(node.networks, below, NONE);
        }
        (node.dispensable() > 0).then(|| (own, node.lowest()))
    }

    /// From a node that gives one up to the network that does: in a site, the largest that has
    /// somebody as dispensable as the site has.
    fn descend(&self, node: Key) -> (Key, Standing) {
        let Node { networks, .. } = *self.node(node);
        let mut bucket = networks.largest;
        while bucket != NONE {
            if let Some(network) = self.dispensable_in(bucket) {
                return (network, self.node(network).lowest());
            }
            bucket = self.bucket(bucket).smaller;
        }
        let busy = match networks.largest {
            NONE => None,
            largest => self.bucket(largest).nodes[Standing::Busy as usize].first(),
        };
        let network = busy.unwrap_or(node);
        (network, self.node(network).lowest())
    }

    /// The first of one size with somebody dispensable: unproved before idle.
    fn dispensable_in(&self, bucket: Key) -> Option<Key> {
        let nodes = &self.bucket(bucket).nodes;
        let [unproved, idle] = [Standing::Unproved, Standing::Idle].map(|s| nodes[s as usize]);
        unproved.first().or(idle.first())
    }

    fn find_or_insert(&mut self, class: Class, name: Name, site: Key) -> Key {
        let nodes = &mut self.nodes;
        let insert = || insert(nodes, Node::new(class, name, site));
        *self.by_name.entry((class, name)).or_insert_with(insert)
    }

    /// Changes the counts of a network and of its site, by at most one in all, and their places.
    fn recount(&mut self, network: Key, change: impl Fn(&mut [u32; STANDINGS])) {
        let mut key = network;
        while key != NONE {
            let node = &mut self.nodes[key as usize];
            let (class, name, site) = (node.class, node.name, node.site);
            let before = (node.size(), node.lowest());
            change(&mut node.counts);
            let after = (node.size(), node.lowest());
            if name != Name::Many {
                self.rank(key, before, after);
                if after.0 == 0 {
                    self.by_name.remove(&(class, name));
                    self.nodes.remove(key as usize);
                }
            }
            key = site;
        }
    }

    /// Moves a node from one size and standing to another, one apart; size 0 is in no bucket.
    fn rank(&mut self, node: Key, before: (usize, Standing), after: (usize, Standing)) {
        if before == after {
            return;
        }
        let (class, site) = (self.node(node).class, self.node(node).site);
        let old = self.node(node).bucket;
        if old != NONE {
            self.buckets[old as usize].nodes[before.1 as usize].remove(&mut self.nodes, node);
        }
        let new = match after.0 {
            0 => NONE,
            size if size == before.0 => old,
            size => self.bucket_beside(class, site, old, size),
        };
        if new != NONE {
            self.buckets[new as usize].nodes[after.1 as usize].push(&mut self.nodes, node);
        }
        self.nodes[node as usize].bucket = new;
        if old != NONE && self.bucket(old).nodes.iter().all(List::is_empty) {
            self.remove_bucket(class, site, old);
        }
    }

    /// The bucket for `size`, which is one more or less than that of `beside`; without one it is 1.
    fn bucket_beside(&mut self, class: Class, site: Key, beside: Key, size: usize) -> Key {
        let (smaller, larger) = match beside {
            NONE => (NONE, self.sizes(class, site).smallest),
            beside if self.bucket(beside).size < size => (beside, self.bucket(beside).larger),
            beside => (self.bucket(beside).smaller, beside),
        };
        for neighbour in [smaller, larger] {
            if neighbour != NONE && self.bucket(neighbour).size == size {
                return neighbour;
            }
        }
        let nodes = [List::EMPTY; STANDINGS];
        let key = insert(&mut self.buckets, Bucket { size, nodes, smaller, larger });
        self.tie(class, site, smaller, key);
        self.tie(class, site, key, larger);
        key
    }

    fn remove_bucket(&mut self, class: Class, site: Key, bucket: Key) {
        let Bucket { smaller, larger, .. } = self.buckets.remove(bucket as usize);
        self.tie(class, site, smaller, larger);
    }

    /// Makes two buckets neighbours, or one the first or the last of the chain.
    fn tie(&mut self, class: Class, site: Key, smaller: Key, larger: Key) {
        match smaller {
            NONE => self.sizes_mut(class, site).smallest = larger,
            smaller => self.buckets[smaller as usize].larger = larger,
        }
        match larger {
            NONE => self.sizes_mut(class, site).largest = smaller,
            larger => self.buckets[larger as usize].smaller = smaller,
        }
    }

    fn bucket(&self, key: Key) -> &Bucket {
        &self.buckets[key as usize]
    }

    fn sizes(&self, class: Class, site: Key) -> Sizes {
        if site == NONE { self.classes[class as usize] } else { self.node(site).networks }
    }

    fn sizes_mut(&mut self, class: Class, site: Key) -> &mut Sizes {
        match site {
            NONE => &mut self.classes[class as usize],
            site => &mut self.nodes[site as usize].networks,
        }
    }
}
