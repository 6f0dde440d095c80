//! The sessions of a UDP service: who they are with, how long they may be idle, and how many there
//! may be. Pure book-keeping; the engine owns the sockets.
//!
//! Where there is no room, a session that never had an answer goes before one that is in use: a
//! flood of single datagrams ends nobody's call.
//!
//! Invariant: `by_key`, both of `by_use` together, and `sessions` hold the same sessions, each
//! once.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Duration;

use slab::Slab;

use super::time::Time;

/// `K` says who a session is with, `V` is what the engine keeps of it.
#[derive(Debug)]
pub struct UdpSessions<K, V> {
    sessions: Slab<Session<K, V>>,
    by_key: HashMap<K, usize>,
    /// Those that were never answered, and those that were; in each the one that is idle for
    /// longest comes first.
    by_use: [BTreeSet<(Time, usize)>; 2],
    /// Of the last session that began.
    generation: u32,
    /// `None`: for ever.
    idle_time: Option<Duration>,
    most: usize,
}

#[derive(Debug)]
struct Session<K, V> {
    key: K,
    value: V,
    generation: u32,
    used: Time,
    answered: bool,
}

/// Names one session for ever, also on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpSessionId {
    index: u32,
    generation: u32,
}

impl UdpSessionId {
    /// As one number.
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// What a peer says that [`UdpSessionId::to_bits`] gave; it names nothing if it is made up.
    pub fn from_bits(bits: u64) -> UdpSessionId {
        UdpSessionId { index: bits as u32, generation: (bits >> 32) as u32 }
    }
}

impl<K: Clone + Eq + Hash, V> UdpSessions<K, V> {
    /// None yet; at most `most`, and each for at most `idle_time` without a datagram.
    pub fn new(idle_time: Option<Duration>, most: usize) -> UdpSessions<K, V> {
        UdpSessions {
            sessions: Slab::new(),
            by_key: HashMap::new(),
            by_use: [BTreeSet::new(), BTreeSet::new()],
            generation: 0,
            idle_time,
            most,
        }
    }

    /// Other bounds from now on. Where there are more than `most`, each new one ends an old one, as
    /// before.
    pub fn set_bounds(&mut self, idle_time: Option<Duration>, most: usize) {
        (self.idle_time, self.most) = (idle_time, most);
    }

    /// The session with `key`.
    pub fn find(&self, key: &K) -> Option<UdpSessionId> {
        let index = *self.by_key.get(key)?;
        let generation = self.sessions.get(index)?.generation;
        Some(UdpSessionId { index: index as u32, generation })
    }

    /// What it is, unless it has ended.
    pub fn get(&self, id: UdpSessionId) -> Option<(&K, &V)> {
        let session = self.sessions.get(id.index as usize)?;
        (session.generation == id.generation).then_some((&session.key, &session.value))
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, id: UdpSessionId) -> Option<&mut V> {
        let session = self.sessions.get_mut(id.index as usize)?;
        (session.generation == id.generation).then_some(&mut session.value)
    }

    /// A datagram of its has passed.
    pub fn used(&mut self, id: UdpSessionId, now: Time) {
        let Some(session) = self.sessions.get_mut(id.index as usize) else { return };
        if session.generation == id.generation && session.used != now {
            let by_use = &mut self.by_use[usize::from(session.answered)];
            by_use.remove(&(session.used, id.index as usize));
            session.used = now;
            by_use.insert((now, id.index as usize));
        }
    }

    /// It has had an answer: whoever it is with is no stranger.
    pub fn answered(&mut self, id: UdpSessionId) {
        let Some(session) = self.sessions.get_mut(id.index as usize) else { return };
        if session.generation == id.generation && !session.answered {
            session.answered = true;
            let entry = (session.used, id.index as usize);
            self.by_use[0].remove(&entry);
            self.by_use[1].insert(entry);
        }
    }

    /// Ends a session if there is no room for one more: as [`UdpSessions::end_idlest`].
    pub fn make_room(&mut self) -> Option<(UdpSessionId, K, V)> {
        if self.sessions.len() < self.most { None } else { self.end_idlest() }
    }

    /// Ends the session that is idle for longest, of those without an answer if there are any.
    pub fn end_idlest(&mut self) -> Option<(UdpSessionId, K, V)> {
        let (_, index) = *self.by_use.iter().find_map(BTreeSet::first)?;
        self.remove(index)
    }

    /// A session with somebody who has none.
    pub fn begin(&mut self, key: K, value: V, now: Time) -> UdpSessionId {
        debug_assert!(!self.by_key.contains_key(&key));
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let index = self.sessions.insert(Session {
            key: key.clone(),
            value,
            generation,
            used: now,
            answered: false,
        });
        self.by_key.insert(key, index);
        self.by_use[0].insert((now, index));
        UdpSessionId { index: index as u32, generation }
    }

    /// Ends a session.
    pub fn end(&mut self, id: UdpSessionId) -> Option<(K, V)> {
        self.get(id)?;
        let (_, key, value) = self.remove(id.index as usize)?;
        Some((key, value))
    }

    /// Ends a session that has been idle for too long; call until `None`.
    pub fn expire(&mut self, now: Time) -> Option<(UdpSessionId, K, V)> {
        self.deadline().filter(|at| *at <= now)?;
        let (_, index) = self.by_use.iter().filter_map(BTreeSet::first).min()?;
        self.remove(*index)
    }

    /// When the next one will have been idle for too long.
    pub fn deadline(&self) -> Option<Time> {
        let (used, _) = self.by_use.iter().filter_map(BTreeSet::first).min()?;
        Some(*used + self.idle_time?)
    }

    /// Those for which `wanted` holds.
    pub fn those(&self, mut wanted: impl FnMut(&K, &V) -> bool) -> Vec<UdpSessionId> {
        let matching = self.sessions.iter().filter(|(_, one)| wanted(&one.key, &one.value));
        let id = |(index, one): (usize, &Session<K, V>)| UdpSessionId {
            index: index as u32,
            generation: one.generation,
        };
        matching.map(id).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    fn remove(&mut self, index: usize) -> Option<(UdpSessionId, K, V)> {
        let session = self.sessions.try_remove(index)?;
        let Session { key, value, generation, used, answered } = session;
        self.by_key.remove(&key);
        self.by_use[usize::from(answered)].remove(&(used, index));
        Some((UdpSessionId { index: index as u32, generation }, key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IDLE: u64 = 100;

    type UdpIdBits = u64;

    /// What may happen: somebody's datagram, an answer, an end, time passing.
    #[derive(Debug, Clone)]
    enum Step {
        Datagram(u8),
        Answer(u8),
        End(u8),
        Wait(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (0..12u8).prop_map(Step::Datagram),
            2 => (0..12u8).prop_map(Step::Answer),
            1 => (0..12u8).prop_map(Step::End),
            3 => (0..60u64).prop_map(Step::Wait),
        ];
        proptest::collection::vec(step, 0..200)
    }

    proptest! {
        /// Against a list in the order of use.
        #[test]
        fn it_is_a_list_in_the_order_of_use(steps in steps(), most in 1..6usize) {
            let mut table = UdpSessions::new(Some(Duration::from_nanos(IDLE)), most);
            let mut list: Vec<(u8, Time, UdpSessionId)> = Vec::new();
            let (mut now, mut known) = (Time(0), Vec::new());
            let mut answered: BTreeSet<UdpIdBits> = BTreeSet::new();
            for step in steps {
                match step {
                    Step::Wait(nanos) => {
                        now = Time(now.0 + nanos);
                        while let Some((id, key, value)) = table.expire(now) {
                            let (first, used, wanted) = list.remove(0);
                            prop_assert_eq!((key, value, id), (first, first, wanted));
                            prop_assert!(used.0 + IDLE <= now.0);
                        }
                        prop_assert!(list.iter().all(|(_, used, _)| used.0 + IDLE > now.0));
                    }
                    Step::Answer(key) => {
                        if let Some(id) = table.find(&key) {
                            table.answered(id);
                            answered.insert(id.to_bits());
                        }
                    }
                    Step::End(key) => {
                        let at = list.iter().position(|one| one.0 == key);
                        let ended = table.find(&key).and_then(|id| table.end(id));
                        prop_assert_eq!(ended, at.map(|_| (key, key)));
                        at.map(|at| list.remove(at));
                    }
                    Step::Datagram(key) => {
                        let id = match table.find(&key) {
                            Some(id) => {
                                table.used(id, now);
                                let at = list.iter().position(|one| one.0 == key);
                                prop_assert_eq!(list.remove(at.expect("known")).2, id);
                                id
                            }
                            None => {
                                let full = list.len() == most;
                                let gone = table.make_room().map(|(_, key, _)| key);
                                let is_unanswered = |one: &(u8, Time, UdpSessionId)| {
                                    !answered.contains(&one.2.to_bits())
                                };
                                let first = list.iter().position(is_unanswered).unwrap_or(0);
                                prop_assert_eq!(gone, full.then(|| list.remove(first).0));
                                table.begin(key, key, now)
                            }
                        };
                        prop_assert_eq!(UdpSessionId::from_bits(id.to_bits()), id);
                        known.push(id);
                        // Of those used at one moment the table may end any first.
                        list.push((key, now, id));
                        list.sort_by_key(|(_, used, id)| (*used, id.index));
                    }
                }
                prop_assert_eq!(table.len(), list.len());
                let by_use: usize = table.by_use.iter().map(BTreeSet::len).sum();
                prop_assert_eq!(by_use, list.len());
                prop_assert_eq!(table.by_key.len(), list.len());
                let first = list.first().map(|(_, used, _)| Time(used.0 + IDLE));
                prop_assert_eq!(table.deadline(), first);
                for id in &known {
                    let key = list.iter().find(|one| one.2 == *id).map(|one| &one.0);
                    prop_assert_eq!(table.get(*id).map(|(key, _)| key), key, "an old id");
                }
            }
        }
    }

    #[test]
    fn without_an_idle_time_only_room_ends_a_session() {
        let mut table = UdpSessions::new(None, 2);
        for key in 0..2 {
            assert!(table.make_room().is_none());
            table.begin(key, (), Time(key));
        }
        assert_eq!((table.deadline(), table.expire(Time(u64::MAX))), (None, None));
        let first = table.find(&0).expect("it began");
        table.used(first, Time(5));
        assert_eq!(table.make_room().map(|(_, key, ())| key), Some(1));
        assert_eq!(table.those(|key, ()| *key == 0), [first]);
    }
}
