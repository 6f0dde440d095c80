//! Names: who waits for which, and what was found last.
//!
//! An answer that is not fresh any more is used only where a new one does not come: what has moved
//! is found by the name, and a name server that is down stops nobody.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

use super::Client;
use super::line::{LineId, Way};
use super::link::LinkStep;
use crate::config::HostPort;
use crate::engine::conns::ConnId;
use crate::engine::net::Net;
use crate::limits;
use crate::proto::time::Time;
use crate::wire::message::Reason;

/// Look-ups, and what has come of them.
#[derive(Default)]
pub(super) struct Names {
    lookups: BTreeMap<u64, Lookup>,
    next_query: u64,
    known: BTreeMap<HostPort, Known>,
}

/// What was found last.
struct Known {
    addresses: Vec<SocketAddr>,
    found: Time,
    /// Nothing was there since.
    is_doubted: bool,
}

/// Who waits for a name's address.
pub(super) enum Lookup {
    Server {
        line: LineId,
    },
    /// Each address is a server.
    Servers {
        name: HostPort,
    },
    Home {
        target: HostPort,
        links: Vec<ConnId>,
        asked: Time,
    },
}

impl Names {
    pub(super) fn remember(&mut self, name: HostPort, addresses: &[SocketAddr], found: Time) {
        let known = Known { addresses: addresses.to_vec(), found, is_doubted: false };
        self.known.insert(name, known);
    }

    /// Nothing was there: it may have moved.
    pub(super) fn doubt(&mut self, name: &HostPort) {
        if let Some(known) = self.known.get_mut(name) {
            known.is_doubted = true;
        }
    }

    /// What was found last, if that is not too long ago.
    pub(super) fn last(&self, name: &HostPort, now: Time) -> Option<Vec<SocketAddr>> {
        let known = self.known.get(name)?;
        (now - known.found < limits::RESOLVED_USABLE).then(|| known.addresses.clone())
    }

    /// How long somebody may wait for an answer, if it is only to be newer than the last one.
    fn is_late(&self, name: &HostPort, now: Time) -> bool {
        self.lookups.values().any(|lookup| match lookup {
            Lookup::Home { target, asked, .. } => {
                target == name && *asked + limits::RESOLVE_WAIT <= now
            }
            Lookup::Server { .. } | Lookup::Servers { .. } => false,
        })
    }
}

impl<N: Net> Client<N> {
    /// Addresses that need no look-up, were looked up a moment ago, or must do, since no other ones
    /// come.
    pub(super) fn known_addresses(&self, target: &HostPort) -> Option<Vec<SocketAddr>> {
        if let Ok(ip) = target.host.parse::<IpAddr>() {
            return Some(vec![(ip, target.port).into()]);
        }
        let (now, names) = (self.core.now(), &self.names);
        let known = names.known.get(target)?;
        let is_fresh = now - known.found < limits::RESOLVED_FRESH && !known.is_doubted;
        names.last(target, now).filter(|_| is_fresh || names.is_late(target, now))
    }

    /// How long a visitor may wait for a look-up: not for long if the last answer can be used.
    pub(super) fn wait_for(&self, target: &HostPort) -> Time {
        let now = self.core.now();
        match self.names.last(target, now) {
            Some(_) => now + limits::RESOLVE_WAIT,
            None => now + limits::HOME_DIAL_TIME,
        }
    }

    /// A visitor has waited long enough for an address: the last one is used, if there is one.
    pub(super) fn tire_of_waiting(&mut self, id: ConnId) {
        let target = self.names.lookups.values().find_map(|lookup| match lookup {
            Lookup::Home { target, links, .. } if links.contains(&id) => Some(target.clone()),
            _ => None,
        });
        let last = target.and_then(|target| {
            let addresses = self.names.last(&target, self.core.now())?;
            Some((target, addresses))
        });
        let Some((target, addresses)) = last else {
            return self.refuse_visitor(id, Reason::Unresolved);
        };
        let Some(LinkStep::Resolving { held }) = self.link(id).map(|link| &mut link.step) else {
            return;
        };
        let held = std::mem::take(held);
        self.core.set_deadline(id, None);
        self.dial_home(id, target, addresses, held);
    }

    /// A server's name, or its proxy's.
    fn resolved_server(&mut self, id: LineId, mut result: io::Result<Vec<SocketAddr>>) {
        let now = self.core.now();
        let Some(line) = self.lines.get(&id) else { return };
        let name = line.to.dialled();
        match &result {
            Ok(addresses) => self.names.remember(name.clone(), addresses, now),
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                result = self.names.last(name, now).map_or(result, Ok);
            }
            Err(_) => {}
        }
        if let Way::Resolving { .. } = line.way {
            self.found_server(id, result);
        }
    }

    /// Asks for the addresses of a name at home, once for all who wait for them.
    pub(super) fn look_up_home(&mut self, target: HostPort, link: Option<ConnId>) {
        for lookup in self.names.lookups.values_mut() {
            if let Lookup::Home { target: same, links, .. } = lookup
                && *same == target
            {
                return links.extend(link);
            }
        }
        let asked = self.core.now();
        self.look_up(Lookup::Home { target, links: link.into_iter().collect(), asked });
    }

    /// Asks for a name's addresses.
    pub(super) fn look_up(&mut self, lookup: Lookup) {
        let query = self.names.next_query;
        self.names.next_query += 1;
        let target = match &lookup {
            Lookup::Server { line } => match self.lines.get(line) {
                Some(line) => line.to.dialled(),
                None => return,
            },
            Lookup::Servers { name } => name,
            Lookup::Home { target, .. } => target,
        };
        self.core.io.net.resolve(query, &target.host, target.port);
        self.names.lookups.insert(query, lookup);
    }

    pub(super) fn looked_up(&mut self, query: u64, result: io::Result<Vec<SocketAddr>>) {
        match self.names.lookups.remove(&query) {
            None => {}
            Some(Lookup::Server { line }) => self.resolved_server(line, result),
            Some(Lookup::Servers { name }) => self.found_servers(&name, result),
            Some(Lookup::Home { target, links, .. }) => self.found_home(target, links, result),
        }
    }
}

/// The order in which to try addresses.
pub(super) fn in_order(mut addresses: Vec<SocketAddr>, prefer_ipv6: bool) -> Vec<SocketAddr> {
    addresses.sort_by_key(|address| address.is_ipv6() != prefer_ipv6);
    addresses
}
