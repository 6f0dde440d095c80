//! Who may stay: the one owner of everything scarce. Whoever takes a place holds a [`Permit`] for
//! it, in the connection, and gives it back when that ends; so counts cannot drift.
//!
//! **Who holds most gives first.** When a class is full, its largest network ([`networks`] says
//! what that is) gives up its most dispensable member for a newcomer: unproved before idle before
//! busy, the one that has stood so for longest first. From there:
//!
//! 1. A newcomer of the largest network itself displaces a dispensable member of its own, or
//!    nobody.
//! 2. The largest network gives a dispensable member; of several as large, one with an unproved
//!    member before one with an idle one, and then the one that has been so for longest.
//! 3. If it has only busy ones, it gives one if the newcomer's network still holds fewer than it
//!    does afterwards.
//! 4. If not, the largest that has a dispensable member and holds more than the newcomer's gives
//!    one.
//! 5. Then the newcomer's own, then those who stand for many ([`Holder::Many`]). Else it is
//!    refused.
//!
//! Within an IPv6 /48 the same rules hold among its /64s. A newcomer that stands for many comes as
//! the first of its network; before anybody's busy member, and before anybody's only one, it
//! displaces one of its kind.
//!
//! **Shares.** A network (an IPv4 address, an IPv6 /64) has at most half of a class, an IPv6 /48
//! three quarters; past that it displaces a dispensable member of its own or is refused, however
//! much room there is. Sessions have no share: a server with one home gives it all, until another
//! one comes.
//!
//! **Bytes.** See [`bytes`].
//!
//! Whoever has been named for eviction counts no more from then on, though its permit is out yet.
//! Everything is O(1) and allocates only as the tables grow, but for evictions and
//! [`Admission::room`].

use std::net::IpAddr;

use slab::Slab;

use super::time::Time;
use list::{Key, Link, Linked, List, NONE, insert};
use networks::{Name, Networks, Place};

mod bytes;
mod list;
mod networks;

/// What a place is for; each class has a capacity of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// A tunnel connection that has proved nothing.
    Stranger,
    /// A client's control session.
    Session,
    /// A link for visitors.
    Link,
    /// A visitor of a service.
    Visitor,
    /// Somebody at the admin door.
    Admin,
}

const CLASSES: usize = 5;

impl Class {
    const ALL: [Class; CLASSES] =
        [Class::Stranger, Class::Session, Class::Link, Class::Visitor, Class::Admin];
}

/// Whose account a place is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// A trusted proxy, which stands for many: no share, and never the one who holds most.
    Many,
    /// Its network counts: the IPv4 address, or the IPv6 /64 and the /48 around it.
    Address(IpAddr),
    /// A client's session.
    Session(u64),
}

/// How dispensable somebody is: the first is the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It has not said or shown yet what it is here for.
    Unproved,
    /// It is of use, but not in use.
    Idle,
    /// It is in use.
    Busy,
}

const STANDINGS: usize = 3;

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The class is full, and nobody in it has to make room for this one.
    Full,
    /// The network holds its share.
    Share,
}

/// Why one has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pressure {
    /// Another one takes its place.
    MadeRoom,
    /// It holds memory that others need.
    Stalled,
}

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Places for each class.
    pub strangers: usize,
    /// See [`Class::Session`].
    pub sessions: usize,
    /// See [`Class::Link`].
    pub links: usize,
    /// See [`Class::Visitor`].
    pub visitors: usize,
    /// See [`Class::Admin`].
    pub admins: usize,
    /// Bytes held for all together; a quarter of it for those unproved.
    pub memory: usize,
    /// Visitors of one network; half of all if `None`.
    pub visitors_per_network: Option<usize>,
}

impl Capacity {
    /// For those who admit nobody.
    pub const NONE: Capacity = Capacity {
        strangers: 0,
        sessions: 0,
        links: 0,
        visitors: 0,
        admins: 0,
        memory: 0,
        visitors_per_network: None,
    };

    fn of(&self, class: Class) -> usize {
        match class {
            Class::Stranger => self.strangers,
            Class::Session => self.sessions,
            Class::Link => self.links,
            Class::Visitor => self.visitors,
            Class::Admin => self.admins,
        }
    }

    /// Of one network: at least one, or nobody would ever be admitted.
    fn network_share(&self, class: Class) -> usize {
        let set = if class == Class::Visitor { self.visitors_per_network } else { None };
        set.unwrap_or(self.of(class) / 2).max(1)
    }

    /// Of one IPv6 /48: no less than of one network in it.
    fn site_share(&self, class: Class) -> usize {
        (self.of(class) - self.of(class) / 4).max(self.network_share(class))
    }
}

/// A place of one's own. It is given back with [`Admission::release`], never dropped.
#[derive(Debug)]
#[must_use = "a permit that is dropped takes its place for ever"]
pub struct Permit {
    member: Key,
    #[cfg(debug_assertions)]
    owner: u32,
}

/// Who has a permit.
#[derive(Debug)]
struct Member<I> {
    id: I,
    class: Class,
    standing: Standing,
    state: State,
    /// While [`State::In`].
    network: Key,
    /// In its network's list for its standing, or among those to go.
    turn: Link,
    /// Held for it; 0 unless [`State::In`].
    bytes: usize,
    /// In its network's list of the stalled, if `bytes > 0`.
    stall: Link,
    /// When `bytes` was last 0 or last became fewer, or it last got another standing or name.
    stalled_since: Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It counts.
    In,
    /// It counts no more, and has yet to be named.
    Going(Pressure),
    /// It has been named; only its permit is still out.
    Gone,
}

/// Lists that a member can be in; see [`Member::turn`] and [`Member::stall`].
const BY_STANDING: usize = 0;
const BY_STALL: usize = 1;

impl<I> Linked<BY_STANDING> for Member<I> {
    fn link(&self) -> &Link {
        &self.turn
    }
    fn link_mut(&mut self) -> &mut Link {
        &mut self.turn
    }
}

impl<I> Linked<BY_STALL> for Member<I> {
    fn link(&self) -> &Link {
        &self.stall
    }
    fn link_mut(&mut self) -> &mut Link {
        &mut self.stall
    }
}

/// What is there at a moment; all zero when every permit is back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    /// Permits that are out.
    pub permits: usize,
    /// Of them, those that count: by class.
    pub counted: [usize; CLASSES],
    /// Networks and sites that hold something.
    pub networks: usize,
    /// Bytes held, of them for the unproved.
    pub bytes: usize,
    /// See `bytes`.
    pub unproved_bytes: usize,
}

/// The owner; `I` names a connection.
#[derive(Debug)]
pub struct Admission<I> {
    capacity: Capacity,
    members: Slab<Member<I>>,
    networks: Networks,
    /// Those that count.
    counts: [usize; CLASSES],
    /// Held for the unproved, and for others: the sum of the members' bytes.
    bytes: [usize; 2],
    /// Those to be named, in order.
    going: List<BY_STANDING>,
    #[cfg(debug_assertions)]
    owner: u32,
}

impl<I: Copy> Admission<I> {
    /// Nobody is here.
    pub fn new(capacity: Capacity) -> Admission<I> {
        Admission {
            capacity,
            members: Slab::new(),
            networks: Networks::new(),
            counts: [0; CLASSES],
            bytes: [0; 2],
            going: List::EMPTY,
            #[cfg(debug_assertions)]
            owner: next_owner(),
        }
    }

    /// Another capacity from now on, as after a reload. Whoever is here stays until a newcomer or
    /// memory asks for more than there is.
    pub fn set_capacity(&mut self, capacity: Capacity) {
        self.capacity = capacity;
        self.relieve();
    }

    /// A place in `class`, on `holder`'s account, if there is one or somebody has to make room.
    pub fn admit(
        &mut self,
        class: Class,
        id: I,
        holder: Holder,
        standing: Standing,
        now: Time,
    ) -> Result<Permit, Refused> {
        let name = Name::of(holder);
        loop {
            let place = self.networks.place(class, name);
            let giver = if let Some(own) = self.over_share(class, place) {
                own.ok_or(Refused::Share)?
            } else if self.count(class) >= self.capacity.of(class) {
                self.giver(class, place).ok_or(Refused::Full)?
            } else {
                break;
            };
            self.evict_from(giver);
        }
        let member = insert(
            &mut self.members,
            Member {
                id,
                class,
                standing,
                state: State::In,
                network: NONE,
                turn: Link::LOOSE,
                bytes: 0,
                stall: Link::LOOSE,
                stalled_since: now,
            },
        );
        self.enter(member, name, now);
        Ok(Permit {
            member,
            #[cfg(debug_assertions)]
            owner: self.owner,
        })
    }

    /// A place is free again. Of one that has been evicted it was already.
    pub fn release(&mut self, permit: Permit) {
        self.check_owner(&permit);
        match self.member(permit.member).state {
            State::In => _ = self.withdraw(permit.member),
            State::Going(_) => self.going.remove(&mut self.members, permit.member),
            State::Gone => {}
        }
        self.members.remove(permit.member as usize);
    }

    /// It stands so since now; the same again changes nothing.
    pub fn stand(&mut self, permit: &Permit, standing: Standing, now: Time) {
        self.check_owner(permit);
        let key = permit.member;
        let Member { standing: before, state, network, bytes, .. } = *self.member(key);
        if state != State::In || before == standing {
            return;
        }
        self.hold(key, 0, now);
        let lists = &mut self.networks.nodes[network as usize].members;
        lists[before as usize].remove(&mut self.members, key);
        lists[standing as usize].push(&mut self.members, key);
        self.networks.restand(network, before, standing);
        self.members[key as usize].standing = standing;
        self.hold(key, bytes, now);
        self.relieve();
    }

    /// Moves it to another account: a PROXY header has said who it is. If that one's share is used
    /// up by others who are busy, it stays where it was.
    pub fn name(&mut self, permit: &Permit, holder: Holder, now: Time) -> Result<(), Refused> {
        self.check_owner(permit);
        let (key, name) = (permit.member, Name::of(holder));
        let Member { class, state, network, .. } = *self.member(key);
        if state != State::In || self.networks.node(network).name == name {
            return Ok(());
        }
        let (old, bytes) = self.withdraw(key);
        let mut refused = false;
        while let Some(own) = self.over_share(class, self.networks.place(class, name)) {
            let Some(giver) = own else {
                refused = true;
                break;
            };
            self.evict_from(giver);
        }
        self.enter(key, if refused { old } else { name }, now);
        self.hold(key, bytes, now);
        if refused { Err(Refused::Share) } else { Ok(()) }
    }

    /// What is held for it at present, all of it, in bytes: what a slow reader has not taken, or
    /// what is not whole yet. `moved`: some of it has been taken since it was charged last, so that
    /// it does not stall, however much there is again.
    pub fn charge(&mut self, permit: &Permit, bytes: usize, moved: bool, now: Time) {
        self.check_owner(permit);
        let Member { state, bytes: before, .. } = *self.member(permit.member);
        if state != State::In || (before == bytes && (bytes == 0 || !moved)) {
            return;
        }
        if moved {
            self.hold(permit.member, 0, now);
        }
        self.hold(permit.member, bytes, now);
        self.relieve();
    }

    /// The next one to be ended. Its place is free already; its permit has yet to come back.
    pub fn poll_eviction(&mut self) -> Option<(I, Pressure)> {
        let key = self.going.first()?;
        self.going.remove(&mut self.members, key);
        let member = &mut self.members[key as usize];
        let State::Going(pressure) = member.state else {
            unreachable!("only those who go are in their list");
        };
        member.state = State::Gone;
        Some((member.id, pressure))
    }

    /// Whether it is of use to accept one from anybody: there is room, or somebody would make it
    /// for one who holds nothing yet.
    pub fn may_admit(&self, class: Class) -> bool {
        let nobody = Place::NOBODY;
        self.count(class) < self.capacity.of(class) || self.giver(class, nobody).is_some()
    }

    /// How many more of this holder's there can be beside those it has: free places, and those that
    /// holders of more would give up who are not busy. Only a bound from below.
    pub fn room(&self, class: Class, holder: Holder) -> usize {
        let place = self.networks.place(class, Name::of(holder));
        let free = self.capacity.of(class).saturating_sub(self.count(class));
        if place.is_many || self.count(class) > self.capacity.of(class) {
            return free;
        }
        let (mut yes, mut no) = (free, self.capacity.of(class) + 1);
        if let Some((network, site)) = self.shares(class, place) {
            let left = network.saturating_sub(place.network_size);
            let left = left.min(site.saturating_sub(place.site_size.unwrap_or(0)));
            (yes, no) = (yes.min(left), no.min(left + 1));
        }
        let held = place.site_size.unwrap_or(place.network_size);
        while yes + 1 < no {
            let more = yes + (no - yes) / 2;
            if self.networks.surplus(class, place, held + more) >= more - free {
                yes = more;
            } else {
                no = more;
            }
        }
        yes
    }

    /// Of the holders who have somebody dispensable, the one with most gives one up; `false`: all
    /// are busy.
    pub fn make_room(&mut self, class: Class) -> bool {
        let giver = self.networks.largest_with_dispensable(class);
        giver.into_iter().for_each(|giver| self.evict_from(giver));
        giver.is_some()
    }

    /// Places that nobody has.
    pub fn free(&self, class: Class) -> usize {
        self.capacity.of(class).saturating_sub(self.count(class))
    }

    /// Bytes held in all.
    pub fn held(&self) -> usize {
        self.bytes.iter().sum()
    }

    /// Those in `class` that count.
    pub fn count(&self, class: Class) -> usize {
        self.counts[class as usize]
    }

    /// Whether it has been evicted: it will be named, or has been.
    pub fn is_evicted(&self, permit: &Permit) -> bool {
        self.check_owner(permit);
        self.member(permit.member).state != State::In
    }

    /// What is there, for tests.
    pub fn census(&self) -> Census {
        Census {
            permits: self.members.len(),
            counted: self.counts,
            networks: self.networks.len(),
            bytes: self.held(),
            unproved_bytes: self.bytes[0],
        }
    }

    /// Whether every permit is back.
    pub fn is_empty(&self) -> bool {
        self.census() == Census::default()
    }

    /// The shares of the network and of its site; `None` for one without.
    fn shares(&self, class: Class, place: Place) -> Option<(usize, usize)> {
        place
            .has_share
            .then(|| (self.capacity.network_share(class), self.capacity.site_share(class)))
    }

    /// Whether one more is too much for its network or its site: then who of it gives one up, if
    /// anybody.
    fn over_share(&self, class: Class, place: Place) -> Option<Option<(Key, Standing)>> {
        let (network, site) = self.shares(class, place)?;
        if place.network_size >= network {
            Some(self.networks.giver_of_network(place))
        } else if place.site_size.is_some_and(|size| size >= site) {
            Some(self.networks.giver_of_own(place))
        } else {
            None
        }
    }

    /// Who gives one up where the class is full; see the rules above.
    fn giver(&self, class: Class, place: Place) -> Option<(Key, Standing)> {
        let networks = &self.networks;
        if place.is_many {
            let largest = networks.largest_dispensable(class);
            return largest
                .or_else(|| networks.giver_of_many(class))
                .or_else(|| networks.giver(class, place));
        }
        let giver = networks.giver(class, place);
        let largest = networks.is_largest(class, place);
        giver.or_else(|| (!largest).then(|| networks.giver_of_many(class)).flatten())
    }

    /// The member of a network that has stood so for longest makes room.
    fn evict_from(&mut self, (network, standing): (Key, Standing)) {
        let longest = self.networks.node(network).members[standing as usize].first();
        debug_assert!(longest.is_some(), "a network gives up what it has");
        if let Some(longest) = longest {
            self.evict(longest, Pressure::MadeRoom);
        }
    }

    fn evict(&mut self, key: Key, pressure: Pressure) {
        self.withdraw(key);
        self.members[key as usize].state = State::Going(pressure);
        self.going.push(&mut self.members, key);
    }

    /// Counts a member that is nowhere.
    fn enter(&mut self, key: Key, name: Name, now: Time) {
        let Member { class, standing, .. } = *self.member(key);
        let network = self.networks.join(class, name, standing);
        let member = &mut self.members[key as usize];
        member.network = network;
        member.stalled_since = now;
        let lists = &mut self.networks.nodes[network as usize].members;
        lists[standing as usize].push(&mut self.members, key);
        self.counts[class as usize] += 1;
    }

    /// Counts it no more, nor its bytes; returns where it was, and how many they were.
    fn withdraw(&mut self, key: Key) -> (Name, usize) {
        let Member { class, standing, network, bytes, stalled_since, .. } = *self.member(key);
        self.hold(key, 0, stalled_since);
        let node = &mut self.networks.nodes[network as usize];
        node.members[standing as usize].remove(&mut self.members, key);
        let name = node.name;
        self.networks.leave(network, standing);
        self.members[key as usize].network = NONE;
        self.counts[class as usize] -= 1;
        (name, bytes)
    }

    fn member(&self, key: Key) -> &Member<I> {
        &self.members[key as usize]
    }

    #[cfg(debug_assertions)]
    fn check_owner(&self, permit: &Permit) {
        assert_eq!(permit.owner, self.owner, "a permit of another admission");
    }

    #[cfg(not(debug_assertions))]
    fn check_owner(&self, _: &Permit) {}
}

/// A number of its own for every admission of the process.
#[cfg(debug_assertions)]
fn next_owner() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests;
