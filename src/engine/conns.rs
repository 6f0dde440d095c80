//! The table of connections. An id is an index and a generation, so that an event that was under
//! way when its connection ended misses the next one in the same slot.

use slab::Slab;

use super::net::Token;

/// Half of a token's bits for each part; a mio token is a usize.
const HALF: u32 = usize::BITS / 2;
const MASK: u64 = (1 << HALF) - 1;
/// How many connections the ids can tell apart: 65,535 where a usize has 32 bits.
pub const MOST: usize = MASK as usize;

/// Names one connection for ever. Generation 0 is never given to a connection: tokens that have it
/// are the listeners'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    index: u32,
    generation: u32,
}

impl ConnId {
    /// As the [`Net`](super::net::Net) knows it.
    pub fn token(self) -> Token {
        Token(u64::from(self.generation) << HALF | u64::from(self.index))
    }

    /// The connection that a token names, or the number of a listener.
    pub fn from_token(token: Token) -> Result<ConnId, usize> {
        let index = (token.0 & MASK) as u32;
        match (token.0 >> HALF & MASK) as u32 {
            0 => Err(index as usize),
            generation => Ok(ConnId { index, generation }),
        }
    }

    /// What a peer says that [`ConnId::to_bits`] gave; it names nothing if it is made up.
    pub fn from_bits(bits: u64) -> ConnId {
        let (index, generation) = ((bits & MASK) as u32, (bits >> HALF & MASK) as u32);
        ConnId { index, generation }
    }

    /// As one number, for LINK_HELLO.
    pub fn to_bits(self) -> u64 {
        self.token().0
    }
}

/// A slab whose slots remember which generation they hold.
#[derive(Debug)]
pub struct Conns<T> {
    slab: Slab<(u32, T)>,
    /// Of the last connection inserted.
    generation: u32,
}

impl<T> Conns<T> {
    /// No connections.
    pub fn new() -> Conns<T> {
        Conns { slab: Slab::new(), generation: 0 }
    }

    /// The id that the next [`Conns::insert`] gives.
    pub fn next_id(&self) -> ConnId {
        let generation = match (self.generation + 1) & MASK as u32 {
            0 => 1,
            generation => generation,
        };
        ConnId { index: self.slab.vacant_key() as u32, generation }
    }

    /// Adds a connection.
    pub fn insert(&mut self, conn: T) -> ConnId {
        let id = self.next_id();
        self.generation = id.generation;
        self.slab.insert((id.generation, conn));
        id
    }

    /// The connection, unless it has ended.
    pub fn get(&self, id: ConnId) -> Option<&T> {
        let (generation, conn) = self.slab.get(id.index as usize)?;
        (*generation == id.generation).then_some(conn)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut T> {
        let (generation, conn) = self.slab.get_mut(id.index as usize)?;
        (*generation == id.generation).then_some(conn)
    }

    /// Two different connections at once.
    pub fn pair_mut(&mut self, a: ConnId, b: ConnId) -> Option<(&mut T, &mut T)> {
        if a.index == b.index {
            return None;
        }
        let (first, second) = self.slab.get2_mut(a.index as usize, b.index as usize)?;
        (first.0 == a.generation && second.0 == b.generation)
            .then_some((&mut first.1, &mut second.1))
    }

    /// Takes a connection out.
    pub fn remove(&mut self, id: ConnId) -> Option<T> {
        self.get(id)?;
        Some(self.slab.remove(id.index as usize).1)
    }

    /// All of them, to change them.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slab.iter_mut().map(|(_, (_, conn))| conn)
    }

    /// Puts what `make` makes of a connection in its place.
    pub fn rework(&mut self, id: ConnId, make: impl FnOnce(T) -> T) {
        if self.get(id).is_none() {
            return;
        }
        let (generation, conn) = self.slab.remove(id.index as usize);
        // A slab gives the slot that was freed last (its documentation).
        let at = self.slab.insert((generation, make(conn)));
        debug_assert_eq!(at, id.index as usize);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &T)> {
        self.slab.iter().map(|(index, (generation, conn))| {
            (ConnId { index: index as u32, generation: *generation }, conn)
        })
    }
}

impl<T> Default for Conns<T> {
    fn default() -> Conns<T> {
        Conns::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_slot_is_another_connection() {
        let mut conns = Conns::new();
        let old = conns.insert('a');
        assert_eq!(conns.remove(old), Some('a'));
        let new = conns.insert('b');
        assert_eq!((old.index, conns.get(old), conns.get(new)), (new.index, None, Some(&'b')));
        assert_eq!(conns.remove(old), None);
        assert_eq!(ConnId::from_token(new.token()), Ok(new));
        assert_eq!(ConnId::from_token(Token(7)), Err(7));
        assert!(conns.pair_mut(new, new).is_none());
        let other = conns.insert('c');
        assert_eq!(conns.pair_mut(other, new), Some((&mut 'c', &mut 'b')));
    }
}
