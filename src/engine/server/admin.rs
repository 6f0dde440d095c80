//! What the server says of itself at the admin door, gathered from where it is kept.

use std::collections::BTreeMap;

use super::doors::LeadsTo;
use super::sessions::Control;
use super::visitor::Visitor;
use super::{Server, Tunnel};
use crate::admin::reply::Health;
use crate::config::{ServerService, show_ports};
use crate::engine::admin::Informant;
use crate::engine::conn::Conn;
use crate::engine::conns::ConnId;
use crate::engine::core::Core;
use crate::engine::net::Net;
use crate::explain;
use crate::limits;
use crate::proto::access::Entry;
use crate::proto::admission::Class;
use crate::proto::broker::Part;
use crate::proto::history::Totals;
use crate::proto::route;
use crate::proto::services::ServiceId;
use crate::proto::stats;
use crate::status::{
    Count, Failure, Home, Listener, ServedService, ServerStatus, Share, Status, Traffic,
};
use crate::wire::host::HostName;

impl<N: Net> Server<N> {
    /// Whether a visitor of the HTTP entry asks for the page's own name, and may come in. Then it
    /// is no visitor any more.
    pub(super) fn is_for_admin(&mut self, id: ConnId, name: &HostName) -> bool {
        let host = self.config.admin.as_ref().and_then(|admin| admin.host);
        let address = self.visitor(id).map(|visitor| visitor.address.ip());
        host.is_some_and(|host| *name == HostName::Dns(host))
            && address.is_some_and(|address| self.gates.lets_in(address))
            && self.knock(id).is_ok()
    }

    /// Notes since when a service is online, or not.
    pub(super) fn note_online(&mut self, service: ServiceId) {
        let (now, is_online) = (self.core.now(), self.broker.has_taker(service));
        match self.online_since.get_mut(service) {
            Some(since) if since.0 == is_online => {}
            Some(since) => *since = (is_online, now),
            None => _ = self.online_since.insert(service, (is_online, now)),
        }
    }

    fn served(&mut self) -> Vec<ServedService> {
        let mut names = BTreeMap::<usize, Vec<String>>::new();
        for entry in [route::Entry::Http, route::Entry::Https] {
            for found in self.config.routes.list(entry) {
                let name = match found.condition {
                    Some(condition) => format!("{} with {condition}", found.pattern),
                    None => found.pattern.to_owned(),
                };
                let known = names.entry(found.service).or_default();
                if !known.contains(&name) {
                    known.push(name);
                }
            }
        }
        let waiting = self.broker.waiting_by_service();
        let mut served = Vec::new();
        for (index, service) in self.config.services.iter().enumerate() {
            let id = self.services.at(index);
            let (_, since) = self.online_since.get(id).copied().unwrap_or_default();
            let traffic = self.stats.of_service(id).map(|(entry, it)| show(entry, it));
            served.push(ServedService {
                name: service.name.clone(),
                r#type: service.kind.as_str().to_owned(),
                names: names.remove(&index).unwrap_or_default(),
                ports: show_ports(&service.bind_addrs),
                online: self.broker.has_taker(id),
                home: self.broker.owner(id).and_then(|owner| self.address_of(owner)),
                balance: service.balance.map(|balance| balance.as_str().to_owned()),
                shares: self.shares_of(id, service),
                since: self.core.wall(since),
                visitors: (self.gates.taken_at(id) + self.udp.sessions_of(id)) as u64,
                waiting: waiting.get(&id).copied().unwrap_or_default() as u64,
                traffic: traffic.collect(),
            });
        }
        served
    }

    fn shares_of(&self, id: ServiceId, service: &ServerService) -> Vec<Share> {
        let holders = self.broker.holders(id).filter(|_| service.balance.is_some());
        let shares = holders.filter_map(|(session, part, visitors)| {
            let (home, visitors) = (self.address_of(session)?, u64::from(visitors));
            let Part { weight, backup, is_well: well } = part;
            Some(Share { home, weight, backup, well, visitors })
        });
        shares.collect()
    }

    fn address_of(&self, session: ConnId) -> Option<String> {
        Some(self.session_at(session)?.address.to_string())
    }

    fn homes(&self) -> Vec<Home> {
        let mut homes = Vec::new();
        for (id, conn) in self.core.conns.iter() {
            let Conn::Tunnel(conn) = conn else { continue };
            let Tunnel::Control(session) = &conn.stage else { continue };
            if !session.proved {
                continue;
            }
            let (spare, used) = self.broker.links_of(id);
            let services = self.broker.services_of(id);
            let (program, pulse) = match &session.control {
                Control::Native(control) => ("underpass", &control.pulse),
                Control::Rathole(channel) => ("rathole", &channel.pulse),
            };
            let round_trip = pulse.round_trip();
            homes.push(Home {
                address: session.address.to_string(),
                program: program.to_owned(),
                since: self.core.wall(session.since),
                round_trip_seconds: round_trip.map(|(last, _)| last.as_secs_f64()),
                least_round_trip_seconds: round_trip.map(|(_, least)| least.as_secs_f64()),
                spare_links: spare as u64,
                used_links: used as u64,
                reconnects: session.comebacks,
                draining: self.broker.is_draining(id),
                services: services.map(|it| self.services.name(it).to_owned()).collect(),
            });
        }
        homes.sort_by(|a, b| a.services.cmp(&b.services).then(a.since.total_cmp(&b.since)));
        homes
    }

    fn listeners(&self) -> Vec<Listener> {
        let mut doors: Vec<_> = self.doors.values().collect();
        doors.sort_by_key(|door| door.place);
        let of_tcp = doors.into_iter().map(|door| {
            let (entry, service) = match door.leads_to {
                LeadsTo::Tunnel => ("tunnel", None),
                LeadsTo::Service { service, .. } => ("tcp", Some(service)),
                other => (other.entry().as_str(), None),
            };
            let service = service.map(|service| self.services.name(service).to_owned());
            let (accepted, refused) = (door.accepted, door.refused);
            let (address, entry) = (door.address.to_string(), entry.to_owned());
            Listener { address, entry, service, accepted, refused }
        });
        let of_udp = self.udp.listeners().map(|(address, service, accepted)| Listener {
            address: address.to_string(),
            entry: Entry::Udp.as_str().to_owned(),
            service: Some(self.services.name(service).to_owned()),
            accepted,
            refused: 0,
        });
        of_tcp.chain(of_udp).chain(self.core.desk.listeners()).collect()
    }
}

impl<N: Net> Informant<N, Visitor, Tunnel> for Server<N> {
    fn core(&mut self) -> &mut Core<N, Visitor, Tunnel> {
        &mut self.core
    }

    fn totals(&mut self) -> Vec<(ServiceId, Totals)> {
        self.count_all_bytes();
        let totals = self.services.iter().map(|(id, _)| {
            let traffic = self.stats.of_service(id).map(|(_, traffic)| traffic);
            let sum = |(received, sent), traffic: &stats::Traffic| {
                (received + traffic.received, sent + traffic.sent)
            };
            let (received, sent) = traffic.fold((0, 0), sum);
            let visitors = (self.gates.taken_at(id) + self.udp.sessions_of(id)) as u64;
            (id, Totals { received, sent, visitors })
        });
        totals.collect()
    }

    fn status(&mut self) -> Status {
        self.count_all_bytes();
        let draining = self.is_draining();
        let program = self.core.program(draining, self.config.limits.memory);
        let mut tunnel = self.junk;
        tunnel.strangers = self.core.admission.count(Class::Stranger) as u64;
        let failures = self.stats.failures().into_iter().map(|failed| Failure {
            time: self.core.wall(failed.at),
            entry: failed.entry.as_str().to_owned(),
            visitor: failed.visitor.to_canonical().to_string(),
            name: failed.name.clone(),
            service: failed.service.map(|service| self.services.name(service).to_owned()),
            end: failed.end.as_str().to_owned(),
            why: failed.end.in_words().to_owned(),
        });
        let failures = failures.collect();
        Status::Server(ServerStatus {
            program,
            homes: self.homes(),
            listeners: self.listeners(),
            strays: self.stats.strays().map(|(entry, it)| show(entry, it)).collect(),
            tunnel,
            failures,
            services: self.served(),
        })
    }

    fn names(&self) -> Vec<(ServiceId, String)> {
        self.services.iter().map(|(id, service)| (id, service.name.clone())).collect()
    }

    fn explain(&self, asked: &str) -> Result<Vec<String>, &'static str> {
        Ok(explain::explain(&self.config, asked))
    }

    fn health(&self) -> Health {
        let (online, all) = self.online();
        match self.core.now() {
            _ if self.is_draining() => Health::Draining,
            now if now.since_start() < limits::STARTING_TIME && online < all => Health::Starting,
            _ => Health::Serving,
        }
    }
}

fn show(entry: Entry, traffic: &stats::Traffic) -> Traffic {
    Traffic {
        entry: entry.as_str().to_owned(),
        ends: traffic.ends().map(|(end, count)| Count::new(end.as_str(), count)).collect(),
        statuses: traffic.classes().map(|(class, count)| Count::new(class, count)).collect(),
        received_bytes: traffic.received,
        sent_bytes: traffic.sent,
        link_wait: traffic.link_wait,
        first_byte: traffic.first_byte,
    }
}
