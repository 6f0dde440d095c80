//! The server's services: what the file says of each, under a name that outlives the file.
//!
//! A service that a new file has again, with the same type, keeps its id, and so its session, its
//! links and its visitors. One that is gone keeps its settings as long as somebody is still on it;
//! its slot is given to another one only after that, with another generation.

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::config::ServerService;

/// Names a service for ever: one that is gone and another that came in its place differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceId {
    index: u32,
    /// Never 0, so that an `Option` of one is no larger.
    generation: NonZeroU32,
}

impl ServiceId {
    /// The first service in a slot; of a server that has read one file, the file's at this place.
    pub const fn nth(index: usize) -> ServiceId {
        ServiceId { index: index as u32, generation: NonZeroU32::MIN }
    }

    /// As one number, for who cannot know what a service is.
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation.get()) << 32 | u64::from(self.index)
    }

    /// What [`ServiceId::to_bits`] gave.
    pub fn from_bits(bits: u64) -> ServiceId {
        let generation = NonZeroU32::new((bits >> 32) as u32).unwrap_or(NonZeroU32::MIN);
        ServiceId { index: bits as u32, generation }
    }

    fn index(self) -> usize {
        self.index as usize
    }
}

/// Something for each service; an id of an earlier generation finds nothing.
#[derive(Debug)]
pub struct ByService<T> {
    slots: Vec<Option<(NonZeroU32, T)>>,
}

impl<T> Default for ByService<T> {
    fn default() -> ByService<T> {
        ByService { slots: Vec::new() }
    }
}

impl<T> FromIterator<(ServiceId, T)> for ByService<T> {
    fn from_iter<I: IntoIterator<Item = (ServiceId, T)>>(all: I) -> ByService<T> {
        let mut by_service = ByService::default();
        all.into_iter().for_each(|(id, value)| _ = by_service.insert(id, value));
        by_service
    }
}

impl<T> ByService<T> {
    /// What is kept for a service.
    pub fn get(&self, id: ServiceId) -> Option<&T> {
        let (generation, value) = self.slots.get(id.index())?.as_ref()?;
        (*generation == id.generation).then_some(value)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, id: ServiceId) -> Option<&mut T> {
        let (generation, value) = self.slots.get_mut(id.index())?.as_mut()?;
        (*generation == id.generation).then_some(value)
    }

    /// Keeps `value` for a service; what was kept in its slot comes back.
    pub fn insert(&mut self, id: ServiceId, value: T) -> Option<T> {
        if self.slots.len() <= id.index() {
            self.slots.resize_with(id.index() + 1, || None);
        }
        self.slots[id.index()].replace((id.generation, value)).map(|(_, former)| former)
    }

    /// Keeps nothing for a service any more.
    pub fn remove(&mut self, id: ServiceId) -> Option<T> {
        self.get(id)?;
        self.slots[id.index()].take().map(|(_, value)| value)
    }

    /// All that is kept.
    pub fn iter(&self) -> impl Iterator<Item = (ServiceId, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let (generation, value) = slot.as_ref()?;
            Some((ServiceId { index: index as u32, generation: *generation }, value))
        })
    }

    /// The same, to change it.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (ServiceId, &mut T)> {
        self.slots.iter_mut().enumerate().filter_map(|(index, slot)| {
            let (generation, value) = slot.as_mut()?;
            Some((ServiceId { index: index as u32, generation: *generation }, value))
        })
    }

    /// The same, to change it.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().flatten().map(|(_, value)| value)
    }
}

/// The services of a server.
#[derive(Debug)]
pub struct Services {
    /// Those of the file, in its order.
    listed: Vec<ServiceId>,
    /// Those, and those that are gone and still needed.
    known: ByService<Known>,
    /// Of each slot, that of the last service in it.
    generations: Vec<Option<NonZeroU32>>,
}

#[derive(Debug)]
struct Known {
    settings: Arc<ServerService>,
    is_listed: bool,
}

/// Another file's services beside those of now.
#[derive(Debug)]
pub struct Plan {
    /// In the order of the new file.
    listed: Vec<ServiceId>,
    /// Of those, the ones that were not there.
    pub new: Vec<ServiceId>,
    /// Those that are there no more.
    pub gone: Vec<ServiceId>,
}

impl Plan {
    /// The service at `index` of the new file's list.
    pub fn at(&self, index: usize) -> ServiceId {
        self.listed[index]
    }
}

impl Services {
    /// Those of the first file.
    pub fn new(file: &[ServerService]) -> Services {
        let mut services =
            Services { listed: Vec::new(), known: ByService::default(), generations: Vec::new() };
        let plan = services.plan(file);
        services.commit(&plan, file);
        services
    }

    /// The service at `index` of the file's list.
    pub fn at(&self, index: usize) -> ServiceId {
        self.listed[index]
    }

    /// What the file says of a service; what it said, if that is gone and somebody needs it still.
    pub fn get(&self, id: ServiceId) -> Option<&Arc<ServerService>> {
        self.known.get(id).map(|known| &known.settings)
    }

    /// Its name; nothing, if it is forgotten.
    pub fn name(&self, id: ServiceId) -> &str {
        self.get(id).map_or("", |settings| &settings.name)
    }

    /// Those of the file, in its order.
    pub fn iter(&self) -> impl Iterator<Item = (ServiceId, &ServerService)> {
        self.listed.iter().filter_map(|id| Some((*id, &**self.get(*id)?)))
    }

    /// Which services of another file are those of now: those with the same name and type.
    pub fn plan(&self, file: &[ServerService]) -> Plan {
        let mut generations = self.generations.clone();
        let mut free =
            (0..).filter(|index| self.known.slots.get(*index).is_none_or(Option::is_none));
        let mut new = Vec::new();
        let mut listed = Vec::new();
        for service in file {
            let is_same =
                |known: &ServerService| known.name == service.name && known.kind == service.kind;
            let same = self.iter().find(|(_, known)| is_same(known)).map(|(id, _)| id);
            listed.push(same.unwrap_or_else(|| {
                // The slots have no end.
                let index = free.next().unwrap_or(usize::MAX);
                if generations.len() <= index {
                    generations.resize(index + 1, None);
                }
                let last = generations[index];
                let generation =
                    last.and_then(|last| last.checked_add(1)).unwrap_or(NonZeroU32::MIN);
                generations[index] = Some(generation);
                let id = ServiceId { index: index as u32, generation };
                new.push(id);
                id
            }));
        }
        let gone = self.listed.iter().filter(|id| !listed.contains(id)).copied().collect();
        Plan { listed, new, gone }
    }

    /// From now on the other file's hold.
    pub fn commit(&mut self, plan: &Plan, file: &[ServerService]) {
        for id in &plan.gone {
            if let Some(known) = self.known.get_mut(*id) {
                known.is_listed = false;
            }
        }
        for (id, service) in plan.listed.iter().zip(file) {
            let settings = Arc::new(service.clone());
            self.known.insert(*id, Known { settings, is_listed: true });
            if self.generations.len() <= id.index() {
                self.generations.resize(id.index() + 1, None);
            }
            self.generations[id.index()] = Some(id.generation);
        }
        self.listed = plan.listed.clone();
    }

    /// Whether the file has it.
    pub fn is_listed(&self, id: ServiceId) -> bool {
        self.known.get(id).is_some_and(|known| known.is_listed)
    }

    /// Nobody is on one that is gone any more.
    pub fn forget(&mut self, id: ServiceId) {
        if !self.is_listed(id) {
            self.known.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn file(services: &[(&str, &str)]) -> Vec<ServerService> {
        let mut text = "[server]\nbind_addr = '[::1]:1'\n".to_owned();
        for (port, (name, kind)) in (2..).zip(services) {
            text += &format!(
                "[server.services.{name}]\ntype = '{kind}'\ntoken = 'a'\n\
                 bind_addr = '[::1]:{port}'\n"
            );
        }
        let config = Config::parse("f.toml", &text, &|_| None);
        config.unwrap_or_else(|error| panic!("{error}")).server.expect("[server]").services
    }

    fn change(services: &mut Services, list: &[(&str, &str)]) -> Plan {
        let file = file(list);
        let plan = services.plan(&file);
        services.commit(&plan, &file);
        plan
    }

    #[test]
    fn the_same_name_and_type_is_the_same_service_wherever_it_stands() {
        let mut services = Services::new(&file(&[("a", "tcp"), ("b", "tcp")]));
        let [a, b] = [services.at(0), services.at(1)];
        assert_eq!([a, b], [ServiceId::nth(0), ServiceId::nth(1)]);
        let plan = change(&mut services, &[("c", "tcp"), ("b", "tcp"), ("a", "tcp")]);
        assert_eq!([services.at(1), services.at(2)], [b, a]);
        assert_eq!((plan.new, plan.gone), (vec![services.at(0)], vec![]));
        let plan = change(&mut services, &[("a", "udp"), ("b", "tcp")]);
        assert_ne!(services.at(0), a, "another type is another service");
        assert_eq!(plan.gone.len(), 2);
        assert_eq!((services.name(a), services.is_listed(a)), ("a", false), "still needed");
        assert_eq!(services.iter().map(|(id, _)| id).collect::<Vec<_>>(), [services.at(0), b]);
    }

    #[test]
    fn a_slot_is_used_again_when_nobody_needs_it_and_no_id_is() {
        let mut services = Services::new(&file(&[("a", "tcp")]));
        let first = services.at(0);
        change(&mut services, &[]);
        change(&mut services, &[("a", "tcp")]);
        let second = services.at(0);
        assert_ne!(second.index(), first.index(), "somebody is on the first one still");
        services.forget(second);
        assert!(services.is_listed(second), "what the file has is never forgotten");
        services.forget(first);
        let mut ids = vec![first, second];
        for _ in 0..200 {
            for id in change(&mut services, &[]).gone {
                services.forget(id);
            }
            change(&mut services, &[("a", "tcp")]);
            assert!(!ids.contains(&services.at(0)));
            ids.push(services.at(0));
        }
        assert!(services.known.slots.len() <= 2, "as many slots as at once");
        assert_eq!((services.get(first).is_none(), services.name(first)), (true, ""));
        assert_eq!(ServiceId::from_bits(ids[7].to_bits()), ids[7]);
    }
}
