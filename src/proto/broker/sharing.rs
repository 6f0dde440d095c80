//! Services that several homes have at once: which of them gets the next visitor.
//!
//! Those that are well come before those that have refused their last visitors, and among either
//! those that are not for emergencies. Within the first of these groups that has anybody the
//! service's [`Balance`] decides.

use std::cmp::Reverse;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use super::{Broker, Effect, Instance, Service, ServiceId};
use crate::proto::network::Network;
use crate::proto::time::Time;
pub use crate::wire::message::Part;

/// How visitors are spread over the homes that share a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// To the one with the fewest visitors for its weight.
    Least,
    /// In turn, each as often as its weight says.
    RoundRobin,
    /// Everybody from one network to the same one.
    Source,
}

impl Balance {
    /// Its word in a file.
    pub fn as_str(self) -> &'static str {
        match self {
            Balance::Least => "least",
            Balance::RoundRobin => "round_robin",
            Balance::Source => "source",
        }
    }
}

/// Homes that share a service at most.
pub const HOMES: usize = 16;
/// A home that has refused so many visitors in a row comes behind the others,
const REFUSALS: u8 = 3;
/// and one visitor is sent there every so often, to see.
const RETRY: Duration = Duration::from_secs(10);

/// A session that has a service.
#[derive(Debug)]
pub(super) struct Holder<I> {
    pub(super) session: I,
    /// Names it to [`Balance::Source`], over a reconnect too.
    key: u64,
    part: Part,
    /// Visitors who are on its links or wait for one.
    pub(super) visitors: u32,
    /// Visitors in a row whom it could not bring home.
    refusals: u8,
    /// When the next one is sent there all the same.
    retry_at: Time,
    /// What it is owed by [`Balance::RoundRobin`].
    credit: i64,
    /// When it had its last visitor; the first of equals is whoever waits longest.
    last_turn: u64,
}

impl<I> Holder<I> {
    pub(super) fn new(session: I, key: u64, part: Part, visitors: u32) -> Holder<I> {
        let retry_at = Time::default();
        Holder { session, key, part, visitors, refusals: 0, retry_at, credit: 0, last_turn: 0 }
    }

    fn is_suspect(&self, now: Time) -> bool {
        self.refusals >= REFUSALS && now < self.retry_at
    }

    /// Whom to prefer it to: the least comes first.
    fn rank(&self, now: Time) -> (bool, bool) {
        (self.is_suspect(now), self.part.backup)
    }
}

/// A name for [`Balance::Source`]: a native client's is that of its process, so that it keeps its
/// visitors when its line was cut.
pub(super) fn key_of(instance: Option<Instance>, session: impl Hash) -> u64 {
    match instance {
        Some(instance) => digest(instance),
        None => digest(session),
    }
}

fn digest(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// A bit for each of a service's holders.
type Group = u16;
const _: () = assert!(HOMES <= Group::BITS as usize);

/// Which holder of a group gets a visitor of `network`.
///
/// `Source` is rendezvous hashing: each home draws a number for the network, and the highest wins,
/// so that a home that goes or comes moves nobody but its own visitors. With the numbers drawn as
/// `-weight / ln(u)`, `u` even in (0, 1), each wins as often as its weight says.
fn choose<I>(
    balance: Balance,
    holders: &mut [Holder<I>],
    group: Group,
    network: Network,
) -> Option<usize> {
    let indices = (0..holders.len()).filter(|index| group & (1 << index) != 0);
    match balance {
        Balance::Least => indices.min_by(|a, b| {
            let (a, b) = (&holders[*a], &holders[*b]);
            let load = |own: &Holder<I>, other: &Holder<I>| {
                (u64::from(own.visitors) + 1) * u64::from(other.part.weight)
            };
            load(a, b).cmp(&load(b, a)).then(a.last_turn.cmp(&b.last_turn))
        }),
        Balance::RoundRobin => {
            let mut total = 0;
            for index in indices.clone() {
                holders[index].credit += i64::from(holders[index].part.weight);
                total += i64::from(holders[index].part.weight);
            }
            let order =
                |index: &usize| (holders[*index].credit, Reverse(holders[*index].last_turn));
            let next = indices.max_by_key(order)?;
            holders[next].credit -= total;
            Some(next)
        }
        Balance::Source => indices.max_by(|a, b| {
            let drawn = |index: usize| {
                let holder = &holders[index];
                let even = (digest((network, holder.key)) >> 11) as f64 + 0.5;
                -f64::from(holder.part.weight) / (even / (1u64 << 53) as f64).ln()
            };
            drawn(*a).total_cmp(&drawn(*b))
        }),
    }
}

impl<I: Copy + Ord + Hash> Broker<I> {
    /// Sets how a service is shared; `None`: it has one home. Of several, the last one stays.
    pub fn set_balance(&mut self, service: ServiceId, balance: Option<Balance>) {
        let Some(slot) = self.find_mut(service) else { return };
        slot.balance = balance;
        if balance.is_none() {
            let stays = slot.holders.len().saturating_sub(1);
            let others: Vec<I> = slot.holders[..stays].iter().map(|it| it.session).collect();
            for session in others {
                self.withdraw(session, service, super::Withdrawn::ByAnother);
            }
        }
    }

    /// Whether a session may have a service beside those who have it.
    pub fn has_place(&self, service: ServiceId, session: I) -> bool {
        let has_room = |slot: &Service<I>| slot.balance.is_none() || slot.holders.len() < HOMES;
        self.find(service).is_some_and(has_room) || self.has(session, service)
    }

    /// Whether several homes may have a service.
    pub fn is_shared(&self, service: ServiceId) -> bool {
        self.find(service).is_some_and(|slot| slot.balance.is_some())
    }

    /// Whether a visitor of a service could be sent to another home than these.
    pub fn has_another(&self, service: ServiceId, tried: &[I]) -> bool {
        self.is_shared(service) && self.usable(service, tried).next().is_some()
    }

    /// What runs at a home answers, or not: its client says so.
    pub fn set_health(&mut self, id: I, service: ServiceId, is_well: bool) {
        let Some(holder) = self.holder_mut(id, service) else { return };
        holder.part.is_well = is_well;
        if is_well {
            holder.refusals = 0;
        } else {
            self.effects.push_back(Effect::Moved { session: id, service });
            self.leave_queue(id, service);
        }
    }

    /// A home could not take a visitor. Where it has the service alone, that changes nothing.
    pub fn refused(&mut self, id: I, service: ServiceId, now: Time) {
        if self.is_shared(service)
            && let Some(holder) = self.holder_mut(id, service)
        {
            holder.refusals = holder.refusals.saturating_add(1);
            holder.retry_at = now + RETRY;
        }
    }

    /// A home has taken a visitor.
    pub fn accepted(&mut self, id: I, service: ServiceId) {
        if let Some(holder) = self.holder_mut(id, service) {
            holder.refusals = 0;
        }
    }

    /// Whether a home has refused its last visitor, and it is of interest whether it takes the
    /// next.
    pub fn is_doubtful(&self, id: I, service: ServiceId) -> bool {
        let holders = self.find(service).into_iter().flat_map(|slot| &slot.holders);
        holders.filter(|it| it.session == id).any(|it| it.refusals > 0)
    }

    /// The sessions that have a service, each with what its client has said of it, and how many
    /// visitors it has.
    pub fn holders(&self, service: ServiceId) -> impl Iterator<Item = (I, Part, u32)> + '_ {
        let holders = self.find(service).into_iter().flat_map(|slot| &slot.holders);
        holders.map(|holder| (holder.session, holder.part, holder.visitors))
    }

    /// The home for a visitor of `network` that is none of `tried`.
    pub(super) fn pick(
        &mut self,
        service: ServiceId,
        network: Network,
        tried: &[I],
        now: Time,
    ) -> Option<I> {
        let best = self.usable(service, tried).map(|(_, holder)| holder.rank(now)).min()?;
        let of_best = self.usable(service, tried).filter(|(_, holder)| holder.rank(now) == best);
        let group: Group = of_best.fold(0, |group, (index, _)| group | 1 << index);
        let Broker { services, turns, .. } = self;
        let Service { balance, holders, .. } = services.get_mut(service)?;
        // Alone, it has whoever comes; and there is nobody to be sent to in its place.
        let Some(balance) = *balance else { return Some(holders.first()?.session) };
        let index = choose(balance, holders, group, network)?;
        let holder = &mut holders[index];
        *turns += 1;
        holder.last_turn = *turns;
        if holder.refusals >= REFUSALS {
            holder.retry_at = now + RETRY;
        }
        Some(holder.session)
    }

    /// The homes that take a service's visitors, but for those that were tried; each with its place
    /// among the holders.
    pub(super) fn usable(
        &self,
        service: ServiceId,
        tried: &[I],
    ) -> impl Iterator<Item = (usize, &Holder<I>)> {
        let holders = self.find(service).into_iter().flat_map(|slot| &slot.holders);
        holders.enumerate().filter(|(_, it)| {
            it.part.is_well && !self.is_draining(it.session) && !tried.contains(&it.session)
        })
    }

    pub(super) fn holder_mut(&mut self, id: I, service: ServiceId) -> Option<&mut Holder<I>> {
        self.find_mut(service)?.holders.iter_mut().find(|holder| holder.session == id)
    }
}
