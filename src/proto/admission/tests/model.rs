//! Admission again, as a plain list of members that is searched anew for every question, and the
//! property that the two never differ: who is admitted, who goes and in which order, all sums.

use std::cmp::Reverse;
use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::proto::network::Network;

#[derive(Debug, Clone, Copy, PartialEq)]
struct Entry {
    id: u32,
    class: Class,
    /// Right below the class, and the network itself; `None` is one that stands for many.
    account: Option<(Name, Name)>,
    standing: Standing,
    /// When it came to its network or got its standing.
    stands_since: u64,
    bytes: usize,
    stalled_since: u64,
}

/// Members and, for each site and network, when its size or its lowest standing last changed.
#[derive(Debug, Default)]
struct Model {
    entries: Vec<Entry>,
    ranked: Vec<(Class, Name, (usize, Standing), u64)>,
    evicted: Vec<(u32, Pressure)>,
    /// Counts every change: who is first among equals.
    step: u64,
}

fn account(holder: Holder) -> Option<(Name, Name)> {
    match Name::of(holder) {
        Name::Many => None,
        network @ Name::Network(Network::V6(half)) => Some((Name::Site(half >> 16), network)),
        other => Some((other, other)),
    }
}

impl Model {
    fn count(&self, class: Class) -> usize {
        self.entries.iter().filter(|entry| entry.class == class).count()
    }

    fn of(&self, class: Class, name: Name) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| {
            entry.class == class
                && entry.account.is_some_and(|(top, network)| top == name || network == name)
        })
    }

    fn size(&self, class: Class, name: Name) -> usize {
        self.of(class, name).count()
    }

    fn lowest(&self, class: Class, name: Name) -> Standing {
        self.of(class, name).map(|entry| entry.standing).min().unwrap_or(Busy)
    }

    /// Notes when sizes and lowest standings have changed.
    fn rerank(&mut self) {
        let mut names: Vec<(Class, Name)> = Vec::new();
        for entry in &self.entries {
            for name in entry.account.into_iter().flat_map(|(top, network)| [top, network]) {
                if !names.contains(&(entry.class, name)) {
                    names.push((entry.class, name));
                }
            }
        }
        let old = std::mem::take(&mut self.ranked);
        self.step += 1;
        for (class, name) in names {
            let rank = (self.size(class, name), self.lowest(class, name));
            let before = old.iter().find(|(c, n, ..)| (*c, *n) == (class, name));
            let since = match before {
                Some((_, _, same, since)) if *same == rank => *since,
                _ => self.step,
            };
            self.ranked.push((class, name, rank, since));
        }
    }

    /// Those right below the class, or below a site of it.
    fn siblings(&self, class: Class, site: Option<Name>) -> Vec<Name> {
        let mut names = Vec::new();
        for (top, network) in
            self.entries.iter().filter(|entry| entry.class == class).filter_map(|e| e.account)
        {
            let name = match site {
                None => top,
                Some(site) if site == top => network,
                Some(_) => continue,
            };
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The first in order: larger, then more dispensable, then so for longer.
    fn first(&self, class: Class, names: impl Iterator<Item = Name>) -> Option<Name> {
        names.min_by_key(|name| {
            let since = self.ranked.iter().find(|(c, n, ..)| (*c, *n) == (class, *name));
            let since = since.map(|(.., since)| *since);
            (Reverse(self.size(class, *name)), self.lowest(class, *name), since)
        })
    }

    fn member_of(&self, class: Class, network: Name) -> Option<u32> {
        let first =
            self.of(class, network).min_by_key(|entry| (entry.standing, entry.stands_since));
        first.map(|entry| entry.id)
    }

    fn give(&self, class: Class, name: Name) -> Option<u32> {
        if !matches!(name, Name::Site(_)) {
            return self.member_of(class, name);
        }
        let networks = self.siblings(class, Some(name));
        let soft = networks.iter().copied().filter(|name| self.lowest(class, *name) < Busy);
        let network = self.first(class, soft);
        let network = network.or_else(|| self.first(class, networks.iter().copied()))?;
        self.member_of(class, network)
    }

    fn own(&self, class: Class, own: Name, network: Name) -> Option<u32> {
        if matches!(own, Name::Site(_)) {
            self.giver(class, Some(own), Some((network, network)))
        } else {
            (self.lowest(class, own) < Busy).then(|| self.member_of(class, own)).flatten()
        }
    }

    fn giver(
        &self,
        class: Class,
        site: Option<Name>,
        newcomer: Option<(Name, Name)>,
    ) -> Option<u32> {
        let siblings = self.siblings(class, site);
        let size = |name: &Name| self.size(class, *name);
        let held = newcomer.map_or(0, |(own, _)| size(&own));
        let most = siblings.iter().map(size).max().unwrap_or(0);
        let own = || newcomer.and_then(|(own, network)| self.own(class, own, network));
        if held >= most {
            return own();
        }
        let largest = siblings.iter().copied().filter(|name| size(name) == most);
        let largest = self.first(class, largest)?;
        if self.lowest(class, largest) < Busy || held + 1 < most - 1 {
            return self.give(class, largest);
        }
        let soft = siblings.iter().copied();
        let soft = soft.filter(|name| size(name) > held && self.lowest(class, *name) < Busy);
        match self.first(class, soft) {
            Some(name) => self.give(class, name),
            None => own(),
        }
    }

    fn many(&self, class: Class) -> Option<u32> {
        let many = self.entries.iter().filter(|entry| entry.class == class);
        let many = many.filter(|entry| entry.account.is_none() && entry.standing < Busy);
        many.min_by_key(|entry| (entry.standing, entry.stands_since)).map(|entry| entry.id)
    }

    fn full(&self, class: Class, newcomer: Option<(Name, Name)>) -> Option<u32> {
        let tops = self.siblings(class, None);
        let most = tops.iter().map(|name| self.size(class, *name)).max().unwrap_or(0);
        let Some((top, _)) = newcomer else {
            let largest = tops.into_iter().filter(|name| self.size(class, *name) == most);
            let largest = self.first(class, largest);
            let largest = largest.filter(|name| most > 1 && self.lowest(class, *name) < Busy);
            let largest = largest.and_then(|name| self.give(class, name));
            return largest.or_else(|| self.many(class)).or_else(|| self.giver(class, None, None));
        };
        let held = self.size(class, top);
        let many = || if held == 0 || held < most { self.many(class) } else { None };
        self.giver(class, None, newcomer).or_else(many)
    }

    /// Whose share is used up, and who of it goes.
    fn share(
        &self,
        capacity: &Capacity,
        class: Class,
        newcomer: Option<(Name, Name)>,
    ) -> Option<Option<u32>> {
        let (top, network) = newcomer?;
        if matches!(network, Name::Session(_)) {
            None
        } else if self.size(class, network) >= capacity.network_share(class) {
            Some(self.own(class, network, network))
        } else if top != network && self.size(class, top) >= capacity.site_share(class) {
            Some(self.own(class, top, network))
        } else {
            None
        }
    }

    fn evict(&mut self, id: u32, pressure: Pressure) {
        self.entries.retain(|entry| entry.id != id);
        self.evicted.push((id, pressure));
        self.rerank();
    }

    fn admit(&mut self, capacity: &Capacity, entry: Entry) -> Verdict {
        loop {
            let Entry { class, account, .. } = entry;
            let gone = match self.share(capacity, class, account) {
                Some(own) => own.ok_or(Refused::Share)?,
                None if self.count(class) >= capacity.of(class) => {
                    self.full(class, account).ok_or(Refused::Full)?
                }
                None => break,
            };
            self.evict(gone, Pressure::MadeRoom);
        }
        self.put(entry);
        Ok(())
    }

    fn put(&mut self, entry: Entry) {
        self.entries.push(entry);
        self.rerank();
    }

    fn name(&mut self, capacity: &Capacity, id: u32, holder: Holder) -> Verdict {
        let Some(at) = self.entries.iter().position(|entry| entry.id == id) else { return Ok(()) };
        if self.entries[at].account == account(holder) {
            return Ok(());
        }
        let mut entry = self.entries.remove(at);
        self.rerank();
        let mut verdict = Ok(());
        while let Some(own) = self.share(capacity, entry.class, account(holder)) {
            let Some(gone) = own else {
                verdict = Err(Refused::Share);
                break;
            };
            self.evict(gone, Pressure::MadeRoom);
        }
        (entry.stands_since, entry.stalled_since) = (self.step + 1, self.step + 1);
        if verdict.is_ok() {
            entry.account = account(holder);
        }
        self.put(entry);
        verdict
    }

    fn stand(&mut self, id: u32, standing: Standing) {
        let step = self.step + 1;
        let entry = self.entries.iter_mut().find(|entry| entry.id == id);
        if let Some(entry) = entry.filter(|entry| entry.standing != standing) {
            let Entry { bytes, id, .. } = *entry;
            let fresh = Entry { standing, stands_since: step, stalled_since: step, ..*entry };
            *entry = fresh;
            assert!(fresh.bytes == bytes && fresh.id == id);
        }
        self.rerank();
    }

    fn charge(&mut self, id: u32, bytes: usize) {
        let step = self.step + 1;
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.id == id) {
            if bytes < entry.bytes || entry.bytes == 0 {
                entry.stalled_since = step;
            }
            entry.bytes = bytes;
        }
        self.rerank();
    }

    fn held(&self, unproved: bool) -> usize {
        let counted = self.entries.iter().filter(|e| !unproved || e.standing == Unproved);
        counted.map(|entry| entry.bytes).sum()
    }

    /// Evicts for bytes. Which of several holders of as many bytes goes is left open: `hint` says.
    fn relieve(&mut self, memory: usize, hint: &[(u32, Pressure)]) -> Result<(), String> {
        for (unproved, bound) in [(true, memory / 4), (false, memory)] {
            if self.held(unproved) <= bound {
                continue;
            }
            while self.held(unproved) > bound - bound / 8 {
                let options = self.stalled(unproved);
                let said = hint.get(self.evicted.len()).map(|(id, _)| *id);
                let id = options.iter().copied().find(|id| Some(*id) == said);
                let id = id.ok_or_else(|| format!("{said:?} is none of {options:?}"))?;
                self.evict(id, Pressure::Stalled);
            }
        }
        Ok(())
    }

    /// Who may go: the longest stalled of whoever holds most.
    fn stalled(&self, unproved: bool) -> Vec<u32> {
        let counts = |e: &&Entry| (!unproved || e.standing == Unproved) && e.bytes > 0;
        let counted: Vec<&Entry> = self.entries.iter().filter(counts).collect();
        let longest = |entries: &mut dyn Iterator<Item = &&Entry>| {
            entries.min_by_key(|entry| entry.stalled_since).map(|entry| **entry)
        };
        let sum = |class: Class, name: Name| -> usize {
            let all = self.of(class, name).filter(|entry| counts(entry));
            all.map(|entry| entry.bytes).sum()
        };
        let accounts = counted.iter().filter_map(|e| e.account.map(|(t, n)| (e.class, t, n)));
        let accounts: Vec<(Class, Name, Name)> = accounts.collect();
        let most = accounts.iter().map(|(class, top, _)| sum(*class, *top)).max().unwrap_or(0);
        let many = longest(&mut counted.iter().filter(|entry| entry.account.is_none()));
        if let Some(many) = many.filter(|many| many.bytes > most) {
            return vec![many.id];
        }
        let mut options = Vec::new();
        for (class, top, network) in &accounts {
            let inner = accounts.iter().filter(|(c, t, _)| (c, t) == (class, top));
            let inner = inner.map(|(class, _, network)| sum(*class, *network)).max();
            if sum(*class, *top) == most && Some(sum(*class, *network)) == inner {
                let own = counted.iter().filter(|entry| {
                    entry.class == *class && entry.account.is_some_and(|(_, n)| n == *network)
                });
                options.extend(longest(&mut own.into_iter()).map(|entry| entry.id));
            }
        }
        options
    }
}

/// What is done, with `usize`s that pick one of those who have a permit.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Admit(Class, Holder, Standing),
    Release(usize),
    Stand(usize, Standing),
    Name(usize, Holder),
    Charge(usize, usize),
    Poll,
    Resize(usize),
}

fn holders() -> impl Strategy<Value = Holder> {
    // A few of each kind, so that they meet.
    let v6 = |site: u16, network: u16| Ipv6Addr::new(0x2001, 0xdb8, site, network, 0, 0, 0, 1);
    prop_oneof![
        2 => Just(Holder::Many),
        4 => (0..4u8).prop_map(|last| Holder::Address(Ipv4Addr::new(192, 0, 2, last).into())),
        4 => (0..3u16, 0..3u16).prop_map(move |(s, n)| Holder::Address(v6(s, n).into())),
        2 => (0..3u64).prop_map(Holder::Session),
    ]
}

fn standings() -> impl Strategy<Value = Standing> {
    prop_oneof![1 => Just(Unproved), 1 => Just(Idle), 3 => Just(Busy)]
}

fn deeds() -> impl Strategy<Value = Deed> {
    let classes = prop_oneof![1 => Just(Class::Link), 3 => Just(Class::Visitor)];
    prop_oneof![
        8 => (classes, holders(), standings()).prop_map(|(c, h, s)| Deed::Admit(c, h, s)),
        2 => any::<usize>().prop_map(Deed::Release),
        4 => (any::<usize>(), standings()).prop_map(|(at, s)| Deed::Stand(at, s)),
        2 => (any::<usize>(), holders()).prop_map(|(at, h)| Deed::Name(at, h)),
        4 => (any::<usize>(), 0..400usize).prop_map(|(at, bytes)| Deed::Charge(at, bytes)),
        2 => Just(Deed::Poll),
        1 => (6..14usize).prop_map(Deed::Resize),
    ]
}

/// Runs both; what is the same is asserted after each deed.
fn run(deeds: &[Deed], mut capacity: Capacity) -> Result<(), TestCaseError> {
    let mut admission = Admission::new(capacity);
    let mut model = Model::default();
    let mut permits: Vec<(u32, Permit)> = Vec::new();
    let mut evicted: Vec<(u32, Pressure)> = Vec::new();
    for (id, deed) in (0..).zip(deeds) {
        let now = Time(u64::from(id));
        let pick = |at: usize| (!permits.is_empty()).then(|| at % permits.len());
        match *deed {
            Deed::Admit(class, holder, standing) => {
                let room = admission.room(class, holder);
                let may = admission.may_admit(class);
                let newcomer = account(holder);
                let since = model.step + 1_000_000;
                let entry = Entry {
                    id,
                    class,
                    account: newcomer,
                    standing,
                    stands_since: since,
                    bytes: 0,
                    stalled_since: since,
                };
                let fresh = model.count(class) < capacity.of(class)
                    || model.giver(class, None, None).is_some()
                    || model.many(class).is_some();
                prop_assert_eq!(may, fresh, "may_admit");
                let permit = admission.admit(class, id, holder, standing, now);
                let expected = model.admit(&capacity, entry);
                if let Some(last) = model.entries.last_mut().filter(|entry| entry.id == id) {
                    (last.stands_since, last.stalled_since) = (model.step, model.step);
                }
                prop_assert_eq!(permit.as_ref().map(|_| ()).map_err(|no| *no), expected);
                prop_assert!(room == 0 || permit.is_ok(), "there was room for {}", room);
                permits.extend(permit.ok().map(|permit| (id, permit)));
            }
            Deed::Release(at) => {
                if let Some(at) = pick(at) {
                    let (id, permit) = permits.swap_remove(at);
                    admission.release(permit);
                    model.entries.retain(|entry| entry.id != id);
                    // One that was to be named is not any more.
                    let named = evicted.len();
                    let mut index = 0;
                    model.evicted.retain(|(other, _)| {
                        index += 1;
                        index <= named || *other != id
                    });
                    model.rerank();
                }
            }
            Deed::Stand(at, standing) => {
                if let Some(at) = pick(at) {
                    admission.stand(&permits[at].1, standing, now);
                    model.stand(permits[at].0, standing);
                }
            }
            Deed::Name(at, holder) => {
                if let Some(at) = pick(at) {
                    let verdict = admission.name(&permits[at].1, holder, now);
                    prop_assert_eq!(verdict, model.name(&capacity, permits[at].0, holder));
                }
            }
            Deed::Charge(at, bytes) => {
                if let Some(at) = pick(at) {
                    admission.charge(&permits[at].1, bytes, false, now);
                    model.charge(permits[at].0, bytes);
                }
            }
            Deed::Poll => {}
            Deed::Resize(size) => {
                capacity.visitors = size;
                admission.set_capacity(capacity);
            }
        }
        // Those to go are looked at without taking them: a permit may come back first.
        let going = admission.going.iter(&admission.members).map(|key| {
            let member = admission.member(key);
            let State::Going(pressure) = member.state else { unreachable!("in the list") };
            (member.id, pressure)
        });
        let seen: Vec<(u32, Pressure)> = evicted.iter().copied().chain(going).collect();
        model.relieve(capacity.memory, &seen).map_err(TestCaseError::fail)?;
        prop_assert_eq!(&seen, &model.evicted, "who has to go");
        if matches!(deed, Deed::Poll) {
            evicted.extend(std::iter::from_fn(|| admission.poll_eviction()));
        }
        let census = admission.census();
        prop_assert_eq!(census.counted, Class::ALL.map(|class| model.count(class)));
        prop_assert_eq!(
            (census.bytes, census.unproved_bytes),
            (model.held(false), model.held(true))
        );
        prop_assert_eq!(
            (census.permits, census.networks),
            (permits.len(), {
                let mut names: Vec<_> = model.ranked.iter().map(|(c, n, ..)| (*c, *n)).collect();
                names.dedup();
                names.len()
            })
        );
    }
    permits.drain(..).for_each(|(_, permit)| admission.release(permit));
    prop_assert!(admission.is_empty(), "{:?}", admission.census());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn admission_does_what_the_model_says(
        deeds in vec(deeds(), 1..160),
        visitors_per_network in prop_oneof![3 => Just(None), 1 => (1..6usize).prop_map(Some)],
    ) {
        let capacity = Capacity { links: 8, visitors: 12, visitors_per_network, ..PLENTY };
        let capacity = Capacity { memory: 1200, ..capacity };
        run(&deeds, capacity)?;
    }

    #[test]
    fn all_that_there_is_room_for_are_admitted(
        deeds in vec((holders(), standings()), 1..60),
        holder in holders(),
    ) {
        let capacity = Capacity { visitors: 24, ..PLENTY };
        let mut admission = Admission::new(capacity);
        let mut permits = Vec::new();
        for (id, (other, standing)) in (0..).zip(&deeds) {
            let now = Time(u64::from(id));
            permits.extend(admission.admit(Class::Visitor, id, *other, *standing, now));
        }
        let count = |admission: &Admission<u32>| {
            admission.networks.place(Class::Visitor, Name::of(holder)).network_size
        };
        let (before, room) = (count(&admission), admission.room(Class::Visitor, holder));
        for _ in 0..room {
            let permit = admission.admit(Class::Visitor, 0, holder, Busy, Time(1000));
            permits.push(permit.map_err(|no| TestCaseError::fail(format!("{no:?} of {room}")))?);
        }
        prop_assert_eq!(count(&admission), before + room, "none of its own went for them");
        permits.drain(..).for_each(|permit| admission.release(permit));
        prop_assert!(admission.is_empty());
    }
}
