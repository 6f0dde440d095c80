//! Another file while everything goes on. Whatever can fail comes first: keys are made, and what is
//! new to listen on is bound. Then all changes at once, between two turns.

use std::io::{self, ErrorKind};

use super::doors::{self, Room};
use super::sessions::Control;
use super::visitor::Doing;
use super::{Server, https_port};
use crate::config::changes::{self, Change};
use crate::config::{ServerConfig, ServerService};
use crate::engine::conn::Conn;
use crate::engine::conns::ConnId;
use crate::engine::net::Net;
use crate::proto::control_server::why_lost;
use crate::proto::noise::{Protection, Side};
use crate::proto::services::{Plan, ServiceId};
use crate::wire::message::Message;

impl<N: Net> Server<N> {
    /// Takes another file's configuration. If that cannot be, nothing has changed.
    ///
    /// Services with the same name and type go on, with all who are on them; those that are gone
    /// lose their sessions, and whoever waits for them is turned away. Listeners whose addresses
    /// stay are not touched. A session whose token is no longer one loses the service at once, with
    /// its visitors.
    pub fn reload(&mut self, config: ServerConfig) -> io::Result<Vec<Change>> {
        let protection = Protection::new(&config.transport, Side::Responder)
            .map_err(|reason| io::Error::new(ErrorKind::InvalidInput, reason))?;
        let net = &mut self.core.io.net;
        let room = Room::new(self.descriptors, doors::count(&config), &config)?;
        let services = self.services.plan(&config.services);
        let doors = doors::plan(&self.doors, &config, &services, net, &mut self.numbers)?;
        let udp = self.udp.plan(&config, &services, net)?;
        let desk = self.core.desk.plan(config.admin.as_ref(), net)?;
        let changes = changes::server(&self.config, &config);
        let forgiven = self.forgiven(&config, &services);
        // From here on nothing fails.
        self.core.io.net.set_tcp(&config.tcp);
        self.protection = protection;
        self.services.commit(&services, &config.services);
        doors::commit(&mut self.doors, doors);
        for door in self.doors.values() {
            // With the former options it is as good as it was.
            let _ = self.core.io.net.retune(&door.listener);
        }
        self.knocked.retain(|door| self.doors.contains_key(door));
        self.commit_udp(udp, &services.gone);
        self.https_port = https_port(&config, &self.doors);
        self.core.commit_desk(desk, config.admin.as_ref());
        self.config = config;
        self.gates.reload(&self.config, &self.services);
        let now = self.core.now();
        let all = self.config.visitors.bandwidth;
        for waited in self.bandwidths.reload(all, &self.services, now) {
            self.core.enqueue(waited);
        }
        self.channels = room.channels;
        self.core.admission.set_capacity(room.capacity);
        for service in &services.new {
            self.broker.add(*service);
            self.stats.add(*service);
        }
        for service in &services.gone {
            self.broker.remove(*service);
        }
        self.set_balances();
        self.revoke();
        for (session, number) in forgiven {
            // One that cannot be told will notice by itself.
            let _ = self.core.say(session, &Message::Withdrawn { number });
        }
        self.follow_up();
        for service in &services.gone {
            self.forget_service(*service);
        }
        self.renew_visitors();
        if let Some(access) = &mut self.access {
            access.reopen();
        }
        Ok(changes)
    }

    /// Tells the broker how each service is shared.
    pub(super) fn set_balances(&mut self) {
        for (index, service) in self.config.services.iter().enumerate() {
            self.broker.set_balance(self.services.at(index), service.balance);
        }
    }

    /// Sessions that hold what they could not ask for any more lose it.
    fn revoke(&mut self) {
        let sessions: Vec<ConnId> = self.broker.sessions().collect();
        for id in sessions {
            let Some(session) = self.session(id) else { continue };
            let held: Vec<_> = match &session.control {
                Control::Native(control) => {
                    let holdings = control.holdings().iter();
                    holdings.map(|held| (held.service, held.ports, held.token)).collect()
                }
                Control::Rathole(channel) => vec![(channel.service, 1, channel.token)],
            };
            for (service, ports, token) in held {
                let settings = self.services.get(service);
                let settings = settings.filter(|_| self.services.is_listed(service));
                if let Some(why) = settings.and_then(|it| why_lost(it, ports, &token)) {
                    self.broker.withdraw(id, service, why);
                }
            }
        }
    }

    /// Registrations that were refused, of services of which the file has another word now: each
    /// session with the number that it may ask for again.
    fn forgiven(&mut self, config: &ServerConfig, plan: &Plan) -> Vec<(ConnId, u16)> {
        let is_news = |(index, service): &(usize, &ServerService)| {
            let id: ServiceId = plan.at(*index);
            self.services.get(id).is_none_or(|former| {
                former.tokens != service.tokens || former.ports() != service.ports()
            })
        };
        let news = config.services.iter().enumerate().filter(is_news);
        let names: Vec<&str> = news.map(|(_, service)| &*service.name).collect();
        let mut forgiven = Vec::new();
        let ids: Vec<ConnId> = self.core.conns.iter().map(|(id, _)| id).collect();
        for id in ids {
            let Some(session) = self.session(id) else { continue };
            let Control::Native(control) = &mut session.control else { continue };
            for name in &names {
                while let Some(number) = control.forgive(name) {
                    forgiven.push((id, number));
                }
            }
        }
        forgiven
    }

    /// Visitors of the HTTP entry stay for many requests: the next one is answered as this file
    /// says.
    fn renew_visitors(&mut self) {
        let ids: Vec<ConnId> = self.core.conns.iter().map(|(id, _)| id).collect();
        for id in ids {
            let Some(Conn::Plain(conn)) = self.core.conns.get_mut(id) else { continue };
            let address = conn.stage.address.ip();
            let Doing::Http(http) = &mut conn.stage.doing else { continue };
            let is_proxy = self.config.trusted_http_proxies.contain(address);
            http.renew(&self.config, is_proxy);
        }
    }
}
