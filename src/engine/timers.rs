//! Deadlines: a heap of (time, connection), checked lazily against the connection's own deadline.
//!
//! A connection's `armed` is its earliest entry in the heap. Moving a deadline to later touches
//! nothing: the entry comes up early, finds the deadline ahead, and is put back. So a deadline that
//! moves with every byte costs one entry each time it would have passed. Entries of connections
//! that have ended stay until they come up, or until a sweep when they are the most.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::conns::ConnId;
use crate::proto::time::Time;

/// One connection's deadline.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    at: Time,
    armed: Time,
}

/// Two words less in every connection than two `Option`s.
const NEVER: Time = Time(u64::MAX);

impl Deadline {
    /// When it passes, if there is one.
    pub fn at(&self) -> Option<Time> {
        self.is_set().then_some(self.at)
    }

    /// Whether there is one.
    pub fn is_set(&self) -> bool {
        self.at != NEVER
    }
}

impl Default for Deadline {
    fn default() -> Deadline {
        Deadline { at: NEVER, armed: NEVER }
    }
}

/// The heap.
#[derive(Debug, Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<(Time, ConnId)>>,
}

impl Timers {
    /// Sets, moves or (`None`) clears a deadline.
    pub fn set(&mut self, id: ConnId, deadline: &mut Deadline, at: Option<Time>) {
        deadline.at = at.unwrap_or(NEVER);
        if deadline.at < deadline.armed {
            deadline.armed = deadline.at;
            self.heap.push(Reverse((deadline.at, id)));
        }
    }

    /// Entries in the heap, stale ones among them.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether the heap is empty.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Drops every entry that is not some connection's earliest.
    pub fn sweep(&mut self, mut deadline_of: impl FnMut(ConnId) -> Option<Deadline>) {
        let mut armed = |id| deadline_of(id).map(|deadline| deadline.armed);
        self.heap.retain(|Reverse((at, id))| armed(*id) == Some(*at));
    }

    /// When to look again.
    pub fn next(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// The next entry that has come up; the caller gives it to [`Timers::is_due`].
    pub fn pop(&mut self, now: Time) -> Option<(Time, ConnId)> {
        self.heap.peek().filter(|Reverse((at, _))| *at <= now)?;
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// Whether the deadline has passed, for an entry of [`Timers::pop`]; if it lies ahead, it is
    /// armed again.
    pub fn is_due(&mut self, entry: (Time, ConnId), deadline: &mut Deadline, now: Time) -> bool {
        let (at, id) = entry;
        if deadline.armed != at {
            return false;
        }
        deadline.armed = NEVER;
        let is_due = deadline.at <= now;
        let later = if is_due { None } else { deadline.at() };
        self.set(id, deadline, later);
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::conns::Conns;

    #[test]
    fn moved_and_cleared_deadlines_do_not_fire() {
        let mut conns = Conns::new();
        let id = conns.insert(());
        let (mut timers, mut deadline) = (Timers::default(), Deadline::default());
        timers.set(id, &mut deadline, Some(Time(10)));
        timers.set(id, &mut deadline, Some(Time(20)));
        assert_eq!(timers.pop(Time(9)), None);
        let entry = timers.pop(Time(12)).expect("came up early");
        assert!(!timers.is_due(entry, &mut deadline, Time(12)));
        assert_eq!(timers.next(), Some(Time(20)));
        timers.set(id, &mut deadline, Some(Time(15)));
        let entry = timers.pop(Time(15)).expect("the nearer one");
        assert!(timers.is_due(entry, &mut deadline, Time(15)));
        let entry = timers.pop(Time(30)).expect("the stale one");
        assert!(!timers.is_due(entry, &mut deadline, Time(30)));
        timers.set(id, &mut deadline, Some(Time(40)));
        timers.set(id, &mut deadline, None);
        let entry = timers.pop(Time(40)).expect("cleared");
        assert!(!timers.is_due(entry, &mut deadline, Time(40)));
        assert_eq!(timers.next(), None);
        timers.set(id, &mut deadline, Some(Time(60)));
        timers.set(id, &mut deadline, Some(Time(50)));
        timers.sweep(|_| Some(deadline));
        assert_eq!((timers.len(), timers.next()), (1, Some(Time(50))));
        timers.sweep(|_| None);
        assert!(timers.is_empty());
    }
}
