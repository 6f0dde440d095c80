//! Sessions whose clients are about to leave.

use std::hash::Hash;

use super::{Broker, Effect, Parted};

impl<I: Copy + Ord + Hash> Broker<I> {
    /// A session's client is about to leave: its services are for nobody new, unless another client
    /// claims them. Each of its links goes as soon as nobody is on it and nobody waits.
    pub fn drain(&mut self, id: I) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.draining = true;
            self.let_spares_go(id);
        }
    }

    /// Whether a session's client is about to leave.
    pub fn is_draining(&self, id: I) -> bool {
        self.sessions.get(&id).is_some_and(|session| session.draining)
    }

    pub(super) fn let_spares_go(&mut self, id: I) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if !session.draining || !session.queue.is_empty() {
            return;
        }
        while let Some(link) = session.pool.yield_one() {
            session.links.remove(&link);
            self.effects.push_back(Effect::LetGo { link, why: Parted::Draining });
        }
    }
}
