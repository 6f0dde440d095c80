//! What the client says of itself at the admin door, and what it counts for that.

use std::collections::BTreeMap;

use super::home::Home;
use super::line::{Line, Role, Way};
use super::link::{Link, LinkStep};
use super::{Client, Tunnel};
use crate::admin::reply::Health;
use crate::config::HostPort;
use crate::engine::admin::Informant;
use crate::engine::conn::Conn;
use crate::engine::conns::ConnId;
use crate::engine::core::Core;
use crate::engine::net::Net;
use crate::limits;
use crate::proto::history::Totals;
use crate::proto::numbered::Number;
use crate::proto::services::ServiceId;
use crate::proto::time::Time;
use crate::status::{ClientStatus, Count, HomeService, Registration, Status, Upstream};
use crate::wire::message::Reason;

/// What is counted of a service at home.
#[derive(Debug, Default)]
pub(super) struct Counters {
    received: u64,
    sent: u64,
    /// Dials by what came of them.
    dials: BTreeMap<&'static str, u64>,
    /// The last one.
    last: Option<(Time, Result<(), String>)>,
}

impl<N: Net> Client<N> {
    /// Counts what has moved between a link and a connection at home.
    pub(super) fn count_bytes(&mut self, link: ConnId, home: ConnId) {
        let Some(service) = self.link(link).and_then(|link| link.service) else { return };
        let Some(conn) = self.core.plain(home) else { return };
        // What is read from the home is for the visitor.
        let (sent, received) = conn.stage.counted.take(&conn.socket);
        self.count_moved(service, received, sent);
    }

    /// The same of all, for who is about to look.
    fn count_all_bytes(&mut self) {
        let leased = self.core.conns.iter().filter_map(|(link, conn)| match conn {
            Conn::Tunnel(conn) => match &conn.stage {
                Tunnel::Link(Link { step: LinkStep::Leased { home }, .. }) => Some((link, *home)),
                Tunnel::Link(_) | Tunnel::Control(_) => None,
            },
            Conn::Plain(_) | Conn::Admin(_) => None,
        });
        let leased: Vec<(ConnId, ConnId)> = leased.collect();
        leased.into_iter().for_each(|(link, home)| self.count_bytes(link, home));
    }

    /// Bytes have moved to a service at home, and from it.
    pub(super) fn count_moved(&mut self, service: Number, received: u64, sent: u64) {
        if (received, sent) != (0, 0) {
            let counters = self.counters.entry(service).or_default();
            counters.received += received;
            counters.sent += sent;
        }
    }

    /// What runs at home has taken the connection for the visitor on `link`, or has not.
    pub(super) fn note_dial(&mut self, link: ConnId, came: Result<(), Reason>) {
        let (now, error) = (self.core.now(), self.home_error.take());
        let Some(service) = self.link(link).and_then(|link| link.service) else { return };
        let word = match came {
            Ok(()) => "connected",
            Err(Reason::Unreachable) => "unreachable",
            Err(Reason::Unresolved) => "unresolved",
            Err(Reason::Busy) => "busy",
            Err(_) => "refused",
        };
        let counters = self.counters.entry(service).or_default();
        *counters.dials.entry(word).or_default() += 1;
        let came = came.map_err(|reason| error.unwrap_or_else(|| reason.to_string()));
        counters.last = Some((now, came));
    }

    /// A look at what runs at home came to this.
    pub(super) fn note_look(&mut self, service: Number, came: Result<(), &str>) {
        let now = self.core.now();
        let counters = self.counters.entry(service).or_default();
        counters.last = Some((now, came.map_err(str::to_owned)));
    }

    fn visitors_by_service(&self) -> BTreeMap<Number, u64> {
        let mut visitors = BTreeMap::new();
        for (_, conn) in self.core.conns.iter() {
            if let Conn::Tunnel(conn) = conn
                && let Tunnel::Link(link) = &conn.stage
                && matches!(link.step, LinkStep::Leased { .. } | LinkStep::Resolving { .. })
                && let Some(service) = link.service
            {
                *visitors.entry(service).or_default() += 1;
            }
        }
        for (number, sessions) in self.udp.sessions() {
            *visitors.entry(number).or_default() += sessions as u64;
        }
        visitors
    }

    fn upstreams(&self) -> Vec<Upstream> {
        let mut all: Vec<Upstream> = Vec::new();
        for (id, line) in &self.lines {
            let (mut spare, mut used) = (0, 0);
            for (_, conn) in self.core.conns.iter() {
                let Conn::Tunnel(conn) = conn else { continue };
                let Tunnel::Link(link) = &conn.stage else { continue };
                match link.step {
                    _ if link.line != *id => {}
                    LinkStep::Spare => spare += 1,
                    LinkStep::Leased { .. }
                    | LinkStep::Resolving { .. }
                    | LinkStep::Datagrams { .. }
                    | LinkStep::Settling => used += 1,
                    LinkStep::Connecting | LinkStep::Shaking | LinkStep::Introduced => {}
                }
            }
            let round_trip = match line.way {
                Way::Up { control, .. } => self.round_trip(control),
                _ => None,
            };
            let state = match (line.role, &line.way) {
                (Role::Leaving { .. }, _) => "leaving",
                (_, Way::Up { .. }) => "connected",
                (_, Way::Down { .. }) => "waiting",
                (_, Way::Resolving { .. } | Way::Dialling { .. }) => "connecting",
            };
            all.push(Upstream {
                address: self.shown(line),
                resolved: line.address.map(|address| address.to_string()),
                state: state.to_owned(),
                since: self.core.wall(line.since),
                error: line.error.clone().filter(|_| !matches!(line.way, Way::Up { .. })),
                round_trip_seconds: round_trip.map(|(last, _)| last.as_secs_f64()),
                least_round_trip_seconds: round_trip.map(|(_, least)| least.as_secs_f64()),
                spare_links: spare,
                used_links: used,
                sessions: line.sessions,
            });
        }
        for source in &self.sources {
            let address = source.to.server.addr.to_string();
            let its = all.iter_mut().find(|its| its.address == address);
            match (its, &source.roll) {
                // The first has those of the ones that are no more.
                (Some(its), _) => its.sessions += source.past_sessions,
                (None, Some(roll)) => all.push(Upstream {
                    address,
                    state: if roll.is_asked() { "connecting" } else { "waiting" }.to_owned(),
                    since: self.core.wall(roll.since),
                    error: roll.error.clone(),
                    sessions: source.past_sessions,
                    ..Upstream::default()
                }),
                (None, None) => {}
            }
        }
        all
    }

    /// A server as the file has it; with rathole's protocol, each service has a line of its own.
    fn shown(&self, line: &Line) -> String {
        match line.service {
            Some(number) => format!("{} ({})", line.to.server.addr, self.services.name(number)),
            None => line.to.server.addr.to_string(),
        }
    }

    fn registrations(&self, number: Number) -> Vec<Registration> {
        let of = self.lines.values().filter(|line| line.service.is_none_or(|its| its == number));
        of.map(|line| {
            let (state, reason) = match line.way {
                Way::Up { control, .. } => self.standing(control, number),
                _ => ("pending", None),
            };
            let reason = reason.map(str::to_owned);
            let resolved = line.address.map(|address| address.to_string());
            Registration { server: self.shown(line), resolved, state: state.to_owned(), reason }
        })
        .collect()
    }
}

impl<N: Net> Informant<N, Home, Tunnel> for Client<N> {
    fn core(&mut self) -> &mut Core<N, Home, Tunnel> {
        &mut self.core
    }

    fn totals(&mut self) -> Vec<(ServiceId, Totals)> {
        self.count_all_bytes();
        let visitors = self.visitors_by_service();
        let totals = self.services.iter().map(|(number, _)| {
            let counted = self.counters.get(&number);
            let totals = Totals {
                received: counted.map_or(0, |it| it.received),
                sent: counted.map_or(0, |it| it.sent),
                visitors: visitors.get(&number).copied().unwrap_or_default(),
            };
            (ServiceId::nth(number.into()), totals)
        });
        totals.collect()
    }

    fn status(&mut self) -> Status {
        self.count_all_bytes();
        let program = self.core.program(self.is_draining(), 0);
        let visitors = self.visitors_by_service();
        let show = |local: &Option<HostPort>| local.as_ref().map(HostPort::to_string);
        let services = self.services.iter().map(|(number, service)| {
            let locals = [&service.local_http_addr, &service.local_https_addr, &service.local_addr];
            let mut locals: Vec<String> = locals.into_iter().filter_map(show).collect();
            locals.dedup();
            let none = Counters::default();
            let counters = self.counters.get(&number).unwrap_or(&none);
            let last = counters.last.as_ref();
            HomeService {
                name: service.name.clone(),
                r#type: service.kind.as_str().to_owned(),
                local_addr: locals.join(", "),
                registrations: self.registrations(number),
                visitors: visitors.get(&number).copied().unwrap_or_default(),
                received_bytes: counters.received,
                sent_bytes: counters.sent,
                answers: last.map(|(_, came)| came.is_ok()),
                asked: last.map(|(at, _)| self.core.wall(*at)),
                error: last.and_then(|(_, came)| came.clone().err()),
                dials: counters.dials.iter().map(|(word, it)| Count::new(word, *it)).collect(),
            }
        });
        let services = services.collect();
        Status::Client(ClientStatus { program, servers: self.upstreams(), services })
    }

    fn names(&self) -> Vec<(ServiceId, String)> {
        let all = self.services.iter();
        all.map(|(number, it)| (ServiceId::nth(number.into()), it.name.clone())).collect()
    }

    fn explain(&self, _: &str) -> Result<Vec<String>, &'static str> {
        Err("a client has no names: its server knows who gets them")
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
