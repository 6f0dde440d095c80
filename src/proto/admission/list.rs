//! Doubly linked lists through the entries of a slab: an entry leaves its list in O(1), and no list
//! allocates.

use slab::Slab;

/// An entry of a slab; a slab holds fewer than `u32::MAX`.
pub(super) type Key = u32;

/// No entry.
pub(super) const NONE: Key = Key::MAX;

/// Which entries stand before and after this one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    before: Key,
    after: Key,
}

impl Link {
    /// Of an entry that is in no list.
    pub(super) const LOOSE: Link = Link { before: NONE, after: NONE };
}

/// What can stand in lists: in one for each `WHICH` at a time.
pub(super) trait Linked<const WHICH: usize> {
    fn link(&self) -> &Link;
    fn link_mut(&mut self) -> &mut Link;
}

/// The ends of a list. Invariant: both are [`NONE`], or neither is.
#[derive(Debug, Clone, Copy)]
pub(super) struct List<const WHICH: usize> {
    first: Key,
    last: Key,
}

impl<const WHICH: usize> List<WHICH> {
    pub(super) const EMPTY: List<WHICH> = List { first: NONE, last: NONE };

    /// The one that came first.
    pub(super) fn first(&self) -> Option<Key> {
        (self.first != NONE).then_some(self.first)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first == NONE
    }

    /// `key` is in no list of this kind.
    pub(super) fn push<T: Linked<WHICH>>(&mut self, slab: &mut Slab<T>, key: Key) {
        *slab[key as usize].link_mut() = Link { before: self.last, after: NONE };
        match self.last {
            NONE => self.first = key,
            last => slab[last as usize].link_mut().after = key,
        }
        self.last = key;
    }

    /// `key` is in this list.
    pub(super) fn remove<T: Linked<WHICH>>(&mut self, slab: &mut Slab<T>, key: Key) {
        let Link { before, after } = std::mem::replace(slab[key as usize].link_mut(), Link::LOOSE);
        match before {
            NONE => self.first = after,
            before => slab[before as usize].link_mut().after = after,
        }
        match after {
            NONE => self.last = before,
            after => slab[after as usize].link_mut().before = before,
        }
    }

    /// From the first to the last.
    pub(super) fn iter<'a, T: Linked<WHICH>>(
        &self,
        slab: &'a Slab<T>,
    ) -> impl Iterator<Item = Key> + use<'a, T, WHICH> {
        std::iter::successors(self.first(), |&key| {
            let after = slab[key as usize].link().after;
            (after != NONE).then_some(after)
        })
    }
}

/// Puts `value` into a slab. A slab of `u32::MAX` entries of this size fits no memory.
pub(super) fn insert<T>(slab: &mut Slab<T>, value: T) -> Key {
    slab.insert(value) as Key
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Entry(Link);
    impl Linked<0> for Entry {
        fn link(&self) -> &Link {
            &self.0
        }
        fn link_mut(&mut self) -> &mut Link {
            &mut self.0
        }
    }

    #[test]
    fn any_entry_can_leave_and_the_order_stays() {
        for gone in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
            let mut slab = Slab::new();
            let mut list = List::<0>::EMPTY;
            let mut left: Vec<Key> = Vec::new();
            for _ in 0..3 {
                let key = insert(&mut slab, Entry(Link::LOOSE));
                list.push(&mut slab, key);
                left.push(key);
            }
            for key in gone {
                list.remove(&mut slab, key);
                left.retain(|kept| *kept != key);
                assert_eq!(list.iter(&slab).collect::<Vec<_>>(), left, "{gone:?}");
                assert_eq!(list.first(), left.first().copied());
            }
            assert!(list.is_empty());
        }
    }
}
