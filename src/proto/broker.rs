//! Brings visitors and links together: which session has which service, which of its links are
//! spare, and who waits for one. Pure book-keeping: connections have names here and nothing else.
//!
//! Whoever handles a connection tells the broker what has become of it. What follows from that for
//! other connections comes out as [`Effect`]s, which the engine carries out one after another when
//! it is done with the connection at hand. So nothing ends a connection in the midst of another's
//! turn.
//!
//! ```text
//! visitor --ask--> a spare link at once          --> Answer::Link
//!             +--> a place in a session's queue  --> Answer::Queued ... Effect::Open
//!             |                                      (its service moves, its session ends: the
//!             |                                       queue goes along, or Effect::Again, or
//!             |                                       Effect::TurnAway)
//!             +--> nobody is there               --> Answer::No
//! ```
//!
//! Invariants: a link is either in its session's pool or lent; a visitor stands in at most one
//! queue; a service has one session, or several where it is shared ([`sharing`]), which list it.

mod drain;
mod effect;
mod sharing;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;

use super::link_pool::{LinkPool, Terms};
use super::network::Network;
use super::services::{ByService, ServiceId};
use super::time::Time;
use crate::limits;
pub use effect::{Answer, Denial, Effect, Parted, Replaced, Seeker, Withdrawn};
use sharing::Holder;
pub use sharing::{Balance, HOMES, Part};

/// Names a client process, which says it in HELLO.
pub type Instance = [u8; 32];

/// The books; `I` names a connection.
#[derive(Debug)]
pub struct Broker<I> {
    services: ByService<Service<I>>,
    sessions: HashMap<I, Session<I>>,
    /// Those who wait: in which session's queue, and where.
    places: HashMap<I, (I, Place)>,
    next_place: Place,
    /// Links asked for and not here yet, of all sessions.
    owed: usize,
    /// Visitors that were sent to one of several homes.
    turns: u64,
    effects: VecDeque<Effect<I>>,
}

/// A place in a queue; whoever came first has the lowest.
type Place = u64;

#[derive(Debug)]
struct Service<I> {
    /// How its homes share it; `None`: whoever came last has it alone.
    balance: Option<Balance>,
    /// Who has it, in the order of coming.
    holders: Vec<Holder<I>>,
    /// The client that had it has come back and is about to register it: until then, so long.
    promise: Option<(I, Time)>,
}

#[derive(Debug)]
struct Session<I> {
    /// Of a native client. Without one, a session is for one service, and its links that are lent
    /// outlive it.
    instance: Option<Instance>,
    services: Vec<ServiceId>,
    /// Its client is about to leave: nobody new comes, those who wait are still served.
    draining: bool,
    pool: LinkPool<I>,
    /// All links that it has.
    links: BTreeMap<I, LinkState>,
    queue: BTreeMap<Place, (I, ServiceId)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LinkState {
    Spare,
    /// To a visitor of this service.
    Lent(ServiceId),
    /// To the datagrams of many.
    Shared(ServiceId),
}

impl<I: Copy + Ord + Hash> Broker<I> {
    /// For so many services, which nobody has yet.
    pub fn new(services: usize) -> Broker<I> {
        let free = |index| (ServiceId::nth(index), Service::free());
        Broker {
            services: (0..services).map(free).collect(),
            sessions: HashMap::new(),
            places: HashMap::new(),
            next_place: 0,
            owed: 0,
            turns: 0,
            effects: VecDeque::new(),
        }
    }

    /// One more service, which nobody has yet.
    pub fn add(&mut self, service: ServiceId) {
        self.services.insert(service, Service::free());
    }

    /// A service is no more: its sessions lose it, and those who wait for it are turned away.
    /// Whoever is on a link goes on.
    pub fn remove(&mut self, service: ServiceId) {
        let holders: Vec<I> = self.holders(service).map(|(session, ..)| session).collect();
        for session in holders {
            self.withdraw(session, service, Withdrawn::Gone);
        }
        self.turn_away(service);
        self.services.remove(service);
    }

    /// The client of a session gives a service up. Whoever is on a link goes on.
    pub fn release(&mut self, id: I, service: ServiceId) {
        if self.has(id, service) {
            self.leave(id, service);
        }
    }

    /// A session loses a service, and is told. With [`Withdrawn::Revoked`], its visitors go too.
    pub fn withdraw(&mut self, id: I, service: ServiceId, why: Withdrawn) {
        if !self.has(id, service) {
            return;
        }
        self.leave(id, service);
        self.let_spares_go(id);
        let Some(session) = self.sessions.get(&id) else { return };
        if why == Withdrawn::Revoked {
            let was_for = |state: &LinkState| match state {
                LinkState::Lent(of) | LinkState::Shared(of) => *of == service,
                LinkState::Spare => false,
            };
            for (link, _) in session.links.iter().filter(|(_, state)| was_for(state)) {
                self.effects.push_back(Effect::LetGo { link: *link, why: Parted::Revoked });
            }
        }
        self.effects.push_back(match session.instance {
            Some(_) => Effect::Withdraw { session: id, service, why },
            None => Effect::End { session: id, why: Replaced::Withdrawn(why) },
        });
    }

    /// Takes a service out of a session, and those who wait for it out of its queue.
    fn leave(&mut self, id: I, service: ServiceId) {
        self.effects.push_back(Effect::Moved { session: id, service });
        self.drop_holder(id, service);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.services.retain(|other| *other != service);
        }
        self.leave_queue(id, service);
    }

    fn drop_holder(&mut self, id: I, service: ServiceId) {
        if let Some(slot) = self.services.get_mut(service) {
            slot.holders.retain(|holder| holder.session != id);
        }
    }

    /// Those who wait for a service at a session that has it no more go to another home, if there
    /// is one; else nobody has use for the service's waiting any more.
    fn leave_queue(&mut self, id: I, service: ServiceId) {
        if !self.has_taker(service) {
            return self.turn_away(service);
        }
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let mut left = 0;
        session.queue.retain(|_, (visitor, of)| {
            if *of == service {
                left += 1;
                self.places.remove(visitor);
                self.effects.push_back(Effect::Again { visitor: *visitor });
            }
            *of != service
        });
        if let Some(holder) = self.holder_mut(id, service) {
            holder.visitors -= left;
        }
    }

    /// Turns all away who wait for a service, in whichever queue.
    fn turn_away(&mut self, service: ServiceId) {
        for (id, session) in &mut self.sessions {
            let slot = self.services.get_mut(service);
            let mut holder =
                slot.and_then(|slot| slot.holders.iter_mut().find(|it| it.session == *id));
            session.queue.retain(|_, (visitor, of)| {
                if *of == service {
                    if let Some(holder) = &mut holder {
                        holder.visitors -= 1;
                    }
                    self.places.remove(visitor);
                    self.effects.push_back(Effect::TurnAway { visitor: *visitor });
                }
                *of != service
            });
        }
    }

    /// The session that has a service, where only one has it.
    pub fn owner(&self, service: ServiceId) -> Option<I> {
        match self.find(service)?.holders.as_slice() {
            [holder] => Some(holder.session),
            _ => None,
        }
    }

    /// Whether a session has a service.
    pub fn has(&self, id: I, service: ServiceId) -> bool {
        self.holders(service).any(|(session, ..)| session == id)
    }

    /// Whether a visitor of the service would get a link, or might if it waits.
    pub fn is_online(&self, service: ServiceId, now: Time) -> bool {
        self.has_taker(service) || self.heir_of(service, now).is_some()
    }

    /// What is to be done; until `None`, after each connection's turn.
    pub fn poll_effect(&mut self) -> Option<Effect<I>> {
        self.effects.pop_front()
    }

    /// A visitor wants to be brought to a service.
    pub fn ask(&mut self, seeker: Seeker<'_, I>, now: Time) -> Answer<I> {
        let Seeker { id: visitor, network, service, tried } = seeker;
        let holder = self.pick(service, network, tried, now);
        let id = holder.or_else(|| self.heir_of(service, now).filter(|id| !tried.contains(id)));
        let Some(id) = id else { return Answer::No(Denial::Offline) };
        let Some(session) = self.sessions.get_mut(&id) else {
            return Answer::No(Denial::Offline);
        };
        if holder.is_some()
            && let Some(link) = session.lend(LinkState::Lent(service))
        {
            session.pool.note_need(session.queue.len(), now);
            self.count_in(id, service);
            self.effects.push_back(Effect::Ask { session: id });
            return Answer::Link { link, session: id };
        }
        if session.queue.len() >= limits::VISITORS_WAITING {
            return Answer::No(Denial::Crowded);
        }
        session.queue.insert(self.next_place, (visitor, service));
        session.pool.note_need(session.queue.len(), now);
        self.places.insert(visitor, (id, self.next_place));
        self.next_place += 1;
        self.count_in(id, service);
        self.effects.push_back(Effect::Ask { session: id });
        Answer::Queued
    }

    /// A spare link for a service's datagrams, of the home that is next; they do not wait for one.
    pub fn ask_for_datagrams(
        &mut self,
        service: ServiceId,
        network: Network,
        now: Time,
    ) -> Option<(I, I)> {
        let id = self.pick(service, network, &[], now)?;
        let session = self.sessions.get_mut(&id)?;
        let link = session.lend(LinkState::Shared(service));
        session.pool.note_need(session.queue.len(), now);
        self.effects.push_back(Effect::Ask { session: id });
        Some((link?, id))
    }

    /// A session has one more visitor of a service.
    fn count_in(&mut self, id: I, service: ServiceId) {
        if let Some(holder) = self.holder_mut(id, service) {
            holder.visitors += 1;
        }
    }

    fn count_out(&mut self, id: I, service: ServiceId) {
        if let Some(holder) = self.holder_mut(id, service) {
            holder.visitors -= 1;
        }
    }

    /// A visitor waits no longer.
    pub fn forget(&mut self, visitor: I) {
        let place = self.places.remove(&visitor);
        if let Some((session, place)) = place
            && let Some(queue) = self.sessions.get_mut(&session).map(|it| &mut it.queue)
            && let Some((_, service)) = queue.remove(&place)
        {
            self.count_out(session, service);
            self.let_spares_go(session);
        }
    }

    /// A client has proved a token for the first time: a session, without a service yet.
    pub fn begin_session(&mut self, id: I, instance: Option<Instance>, terms: Terms) {
        let session = Session {
            instance,
            services: Vec::new(),
            draining: false,
            pool: LinkPool::new(terms),
            links: BTreeMap::new(),
            queue: BTreeMap::new(),
        };
        self.sessions.insert(id, session);
    }

    /// A session has proved a service's token: it has the service from now on, beside those who
    /// share it ([`Broker::has_place`]) or in place of whoever had it. Those who wait for it come
    /// along.
    pub fn claim(&mut self, id: I, service: ServiceId, part: Part, now: Time) {
        let instance = self.sessions.get(&id).and_then(|session| session.instance);
        let Some(slot) = self.services.get(service) else { return };
        let is_shared = slot.balance.is_some();
        let is_same = |former: &I| {
            let former = self.sessions.get(former).and_then(|session| session.instance);
            instance.is_some() && former == instance
        };
        let others = slot.holders.iter().map(|holder| holder.session).filter(|it| *it != id);
        let former = others.into_iter().find(|former| !is_shared || is_same(former));
        if let Some(former) = former {
            self.take_from(former, id, service, now);
        } else if let Some((heir, _)) = self.promise_of(service).filter(|(heir, _)| *heir != id) {
            self.move_queue(heir, id, |waits_for| waits_for == service);
        }
        if let Some(session) = self.sessions.get_mut(&id)
            && !session.services.contains(&service)
        {
            session.services.push(service);
        }
        let visitors = self.visitors_of(id, service);
        if let Some(slot) = self.find_mut(service) {
            slot.promise = None;
            slot.holders.retain(|holder| holder.session != id);
            let key = sharing::key_of(instance, id);
            slot.holders.push(Holder::new(id, key, part, visitors));
        }
        self.serve(id, now);
        self.effects.push_back(Effect::Ask { session: id });
    }

    /// Visitors of a service who are on a session's links, or wait for one.
    fn visitors_of(&self, id: I, service: ServiceId) -> u32 {
        let Some(session) = self.sessions.get(&id) else { return 0 };
        let is_lent = |state: &&LinkState| **state == LinkState::Lent(service);
        let lent = session.links.values().filter(is_lent).count();
        let waiting = session.queue.values().filter(|(_, of)| *of == service).count();
        (lent + waiting) as u32
    }

    /// Takes a service from `former` for `heir`.
    fn take_from(&mut self, former: I, heir: I, service: ServiceId, now: Time) {
        self.effects.push_back(Effect::Moved { session: former, service });
        self.drop_holder(former, service);
        let instance = |id| self.sessions.get(&id).and_then(|session| session.instance);
        let (old, new) = (instance(former), instance(heir));
        let Some(session) = self.sessions.get_mut(&former) else { return };
        session.services.retain(|other| *other != service);
        let why = match old {
            None => Replaced::ByAnother,
            Some(_) if old == new => Replaced::ByItself,
            Some(_) => {
                self.effects.push_back(Effect::Withdraw {
                    session: former,
                    service,
                    why: Withdrawn::ByAnother,
                });
                return self.move_queue(former, heir, |waits_for| waits_for == service);
            }
        };
        // What else it had, its client is about to register again.
        for service in std::mem::take(&mut session.services) {
            self.effects.push_back(Effect::Moved { session: former, service });
            self.drop_holder(former, service);
            if let Some(slot) = self.find_mut(service) {
                slot.promise = Some((heir, now + limits::LINK_WAIT));
            }
        }
        self.move_queue(former, heir, |_| true);
        self.effects.push_back(Effect::End { session: former, why });
    }

    /// Moves those who wait for certain services from one queue to another.
    fn move_queue(&mut self, from: I, to: I, moves: impl Fn(ServiceId) -> bool) {
        let Some(session) = self.sessions.get_mut(&from) else { return };
        let queue = std::mem::take(&mut session.queue);
        let (moved, stay): (BTreeMap<_, _>, _) =
            queue.into_iter().partition(|(_, (_, service))| moves(*service));
        session.queue = stay;
        for (place, (visitor, service)) in moved {
            self.count_out(from, service);
            self.count_in(to, service);
            let Some(session) = self.sessions.get_mut(&to) else { return };
            session.queue.insert(place, (visitor, service));
            self.places.insert(visitor, (to, place));
        }
        self.let_spares_go(from);
    }

    /// A session's connection has ended. Its links go; a rathole client's channels that carry a
    /// visitor go on, as with rathole: they need nothing of the control channel's, and a client
    /// that has lost that one alone dials it again. Those of datagrams go, as with rathole, or
    /// their visitors would keep to them when it is back. Whether it had begun.
    pub fn end_session(&mut self, id: I) -> bool {
        let Some(session) = self.sessions.remove(&id) else { return false };
        self.owed -= session.pool.owed();
        for service in session.services {
            self.drop_holder(id, service);
        }
        let are_bound = session.instance.is_some();
        for (link, state) in session.links {
            if are_bound || !matches!(state, LinkState::Lent(_)) {
                self.effects.push_back(Effect::LetGo { link, why: Parted::SessionEnded });
            }
        }
        for (visitor, service) in session.queue.into_values() {
            self.places.remove(&visitor);
            self.effects.push_back(match self.has_taker(service) {
                true => Effect::Again { visitor },
                false => Effect::TurnAway { visitor },
            });
        }
        true
    }

    /// A link has proved that it belongs to a session; `false`: it is one too many, close it.
    pub fn link_arrived(&mut self, id: I, link: I, now: Time) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        let owed = session.pool.owed();
        let is_welcome = session.pool.arrived(link, session.queue.len(), now);
        self.owed = self.owed - owed + session.pool.owed();
        if is_welcome {
            session.links.insert(link, LinkState::Spare);
            self.serve(id, now);
            self.effects.push_back(Effect::Ask { session: id });
        }
        is_welcome
    }

    /// A link that was lent is free for the next visitor.
    pub fn link_returned(&mut self, id: I, link: I, now: Time) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if let Some(state @ (LinkState::Lent(_) | LinkState::Shared(_))) =
            session.links.get_mut(&link)
        {
            let former = std::mem::replace(state, LinkState::Spare);
            session.pool.returned(link);
            if let LinkState::Lent(service) = former {
                self.count_out(id, service);
            }
        }
        self.serve(id, now);
        self.effects.push_back(Effect::Ask { session: id });
    }

    /// A link is gone; `visitor`, if one was on it, is to be told.
    pub fn link_lost(&mut self, id: I, link: I, visitor: Option<I>) {
        if let Some(visitor) = visitor {
            self.effects.push_back(Effect::Cut { visitor, link });
        }
        let Some(session) = self.sessions.get_mut(&id) else { return };
        match session.links.remove(&link) {
            Some(LinkState::Spare) => session.pool.lost_spare(link),
            Some(LinkState::Shared(_)) => session.pool.lost_lent(),
            Some(LinkState::Lent(service)) => {
                session.pool.lost_lent();
                self.count_out(id, service);
            }
            None => return,
        }
        self.effects.push_back(Effect::Ask { session: id });
    }

    /// Whether a session's client was asked for links that have not come.
    pub fn is_owed(&self, id: I) -> bool {
        self.sessions.get(&id).is_some_and(|session| session.pool.owed() > 0)
    }

    /// How many links a session's visitors wait for, beyond those that are spare.
    pub fn needs(&self, id: I) -> usize {
        let needs =
            |session: &Session<I>| session.pool.shortage(session.queue.len()) + session.pool.owed();
        self.sessions.get(&id).map_or(0, needs)
    }

    /// How many links to ask a session's client for; they are owed from then on. `free` is for how
    /// many more there is room, those owed not taken off. Where that is too little for those who
    /// wait, other sessions give up spare ones, all but the last of each.
    pub fn links_to_ask(&mut self, id: I, free: usize, now: Time) -> usize {
        let needs = self.needs(id);
        let mut free = free;
        while free < needs && self.reclaim(id) {
            free += 1;
        }
        let unclaimed = free.saturating_sub(self.owed);
        let Some(session) = self.sessions.get_mut(&id) else { return 0 };
        if session.draining && session.queue.is_empty() {
            return 0;
        }
        let missing = session.pool.ask(session.queue.len(), free, unclaimed, now);
        self.owed += missing;
        missing
    }

    /// Lets a spare link go of the session that has most of them, but not of `heir`'s.
    fn reclaim(&mut self, heir: I) -> bool {
        let others = self.sessions.iter_mut().filter(|(id, _)| **id != heir);
        let Some((_, session)) = others.max_by_key(|(id, session)| (session.pool.ease(), **id))
        else {
            return false;
        };
        if session.pool.ease() == 0 {
            return false;
        }
        let Some(link) = session.pool.yield_one() else { return false };
        session.links.remove(&link);
        self.effects.push_back(Effect::LetGo { link, why: Parted::Needed });
        true
    }

    /// A session's own time has come: what is surplus goes, what was owed for too long is asked for
    /// again.
    pub fn tend(&mut self, id: I, now: Time) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        self.owed -= session.pool.write_off(now);
        while let Some(link) = session.pool.shed(now) {
            session.links.remove(&link);
            self.effects.push_back(Effect::LetGo { link, why: Parted::Surplus });
        }
        self.effects.push_back(Effect::Ask { session: id });
    }

    /// When to call [`Broker::tend`].
    pub fn tend_at(&self, id: I) -> Option<Time> {
        let pool = &self.sessions.get(&id)?.pool;
        pool.shed_at().into_iter().chain(pool.write_off_at()).min()
    }

    /// Whether a session has a service.
    pub fn has_service(&self, id: I) -> bool {
        self.sessions.get(&id).is_some_and(|session| !session.services.is_empty())
    }

    /// Whether anybody is on one of a session's links.
    pub fn has_visitors(&self, id: I) -> bool {
        let is_lent = |state: &LinkState| *state != LinkState::Spare;
        self.sessions.get(&id).is_some_and(|session| session.links.values().any(is_lent))
    }

    /// All sessions.
    pub fn sessions(&self) -> impl Iterator<Item = I> + '_ {
        self.sessions.keys().copied()
    }

    /// How many visitors wait.
    pub fn waiting(&self) -> usize {
        self.places.len()
    }

    /// The same, by the service that they wait for.
    pub fn waiting_by_service(&self) -> BTreeMap<ServiceId, usize> {
        let mut waiting = BTreeMap::new();
        for (_, service) in self.sessions.values().flat_map(|session| session.queue.values()) {
            *waiting.entry(*service).or_default() += 1;
        }
        waiting
    }

    /// How many links of a session are spare, and how many are lent.
    pub fn links_of(&self, id: I) -> (usize, usize) {
        let states = self.sessions.get(&id).into_iter().flat_map(|session| session.links.values());
        let (spare, lent): (Vec<&LinkState>, Vec<_>) =
            states.partition(|state| **state == LinkState::Spare);
        (spare.len(), lent.len())
    }

    /// The services that a session has.
    pub fn services_of(&self, id: I) -> impl Iterator<Item = ServiceId> {
        self.sessions.get(&id).into_iter().flat_map(|session| session.services.iter().copied())
    }

    /// Gives a session's spare links to those of its queue whose service it has.
    fn serve(&mut self, id: I, now: Time) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        while !session.pool.is_empty() {
            let has = |service| session.services.contains(service);
            let next = session.queue.iter().find(|(_, (_, service))| has(service));
            let Some((place, (visitor, service))) = next.map(|(place, waits)| (*place, *waits))
            else {
                break;
            };
            let Some(link) = session.lend(LinkState::Lent(service)) else { break };
            session.queue.remove(&place);
            session.pool.note_need(session.queue.len(), now);
            self.places.remove(&visitor);
            self.effects.push_back(Effect::Open { visitor, link, session: id });
        }
        self.let_spares_go(id);
    }

    /// Whether a session has a service and gives it to new visitors.
    pub fn has_taker(&self, service: ServiceId) -> bool {
        self.usable(service, &[]).next().is_some()
    }

    /// The session that is about to have a service, if nobody has it.
    fn heir_of(&self, service: ServiceId, now: Time) -> Option<I> {
        let promise = self.find(service)?.promise.filter(|(_, until)| now < *until);
        let heir = promise.map(|(heir, _)| heir)?;
        // One that has it and takes nobody now is no better than the others.
        (self.sessions.contains_key(&heir) && !self.has(heir, service)).then_some(heir)
    }

    fn promise_of(&self, service: ServiceId) -> Option<(I, Time)> {
        self.find(service)?.promise
    }

    fn find(&self, id: ServiceId) -> Option<&Service<I>> {
        self.services.get(id)
    }

    fn find_mut(&mut self, id: ServiceId) -> Option<&mut Service<I>> {
        self.services.get_mut(id)
    }
}

impl<I> Service<I> {
    /// That nobody has.
    fn free() -> Service<I> {
        Service { balance: None, holders: Vec::new(), promise: None }
    }
}

impl<I: Copy + Ord> Session<I> {
    fn lend(&mut self, state: LinkState) -> Option<I> {
        let link = self.pool.lend()?;
        self.links.insert(link, state);
        Some(link)
    }
}

#[cfg(test)]
mod tests;
