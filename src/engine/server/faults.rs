//! What went wrong with a visitor, said to the owner of the house: of each service so many lines a
//! minute, so that one home's faults do not drown another's.

use std::net::SocketAddr;

use log::{Level, debug};

use super::visitor::{Doing, INTERNAL_ERROR};
use super::{Complaint, Server};
use crate::engine::conn::{Conn, PlainConn};
use crate::engine::conns::ConnId;
use crate::engine::net::Net;
use crate::engine::table::Table;
use crate::proto::access::VisitEnd;
use crate::proto::admission::{Class, Refused};
use crate::proto::http_entry::Why;
use crate::proto::services::ServiceId;

impl<N: Net> Server<N> {
    /// A page was sent, or a connection broken off; `detail` is what the home's client has said.
    pub(super) fn say_refusal(
        &mut self,
        id: ConnId,
        service: Option<ServiceId>,
        why: Why,
        detail: Option<String>,
    ) {
        let Some(visitor) = self.visitor(id) else { return };
        debug!("visitor {}: {why}", visitor.address);
        let Some(service) = service else { return };
        if why == Why::Loop {
            return self.say_loop(service);
        }
        if !why.is_of_home() {
            return;
        }
        let home = self.home_of(service);
        let detail = detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
        self.say(Level::Info, Complaint::Answer(service), || format!("{home}: {why}{detail}"));
    }

    /// Visitors of a service come back as visitors.
    pub(super) fn say_loop(&mut self, service: ServiceId) {
        let home = self.home_of(service);
        self.say(Level::Warn, Complaint::Loop(service), || {
            format!(
                "{home} leads back to this server: its visitors come in again; look at the \
                 local_addr of this service in the client's file"
            )
        });
    }

    /// Whether a TLS visitor comes from the very home that it asks for, and has done so too often
    /// with the same hello; then it is turned away.
    pub(super) fn comes_back(&mut self, id: ConnId, service: Option<ServiceId>) -> bool {
        let Some(service) = service.filter(|service| self.is_from_home(id, *service)) else {
            return false;
        };
        let (conns, now) = (&self.core.conns, self.core.now());
        let Some(Conn::Plain(PlainConn { stage: visitor, .. })) = conns.get(id) else {
            return false;
        };
        let Doing::Hello(hello) = &visitor.doing else { return false };
        if !self.rounds.is_loop((&hello.held, id), now, |id| is_unanswered(conns, id)) {
            return false;
        }
        self.say_loop(service);
        self.answer_and_part(id, INTERNAL_ERROR, VisitEnd::Loop);
        true
    }

    /// Whether a visitor of a service's own port is one of a row that its home sends round.
    pub(super) fn comes_round(&mut self, id: ConnId, service: ServiceId) -> bool {
        if !self.is_from_home(id, service) {
            return false;
        }
        let (conns, now) = (&self.core.conns, self.core.now());
        let is_loop = self.rounds.is_row((service, id), now, |id| is_unanswered(conns, id));
        if is_loop {
            self.say_loop(service);
        }
        is_loop
    }

    /// Whether a visitor comes from where the home of a service is.
    fn is_from_home(&mut self, id: ConnId, service: ServiceId) -> bool {
        let Some(peer) = self.visitor(id).map(|visitor| visitor.peer()) else { return false };
        let homes: Vec<ConnId> = self.broker.holders(service).map(|(home, ..)| home).collect();
        let is_there = |home| self.session(home).is_some_and(|it| it.address.ip() == peer);
        homes.into_iter().any(is_there)
    }

    /// There is no room for one more visitor.
    pub(super) fn say_full(&mut self) {
        let visitors = self.core.admission.count(Class::Visitor);
        self.say(Level::Info, Complaint::Full, || {
            format!("the house is full: {visitors} visitors; others wait to be accepted")
        });
    }

    /// A visitor is not let in.
    pub(super) fn say_refused(&mut self, address: SocketAddr, refused: Refused) {
        match refused {
            Refused::Full => self.say_full(),
            Refused::Share => self.say(Level::Info, Complaint::Crowd, || {
                format!("a visitor is turned away: {} has used its share up", address.ip())
            }),
        }
    }

    /// `home NAME`, with the address of the client that serves it.
    fn home_of(&mut self, service: ServiceId) -> String {
        let name = self.services.name(service).to_owned();
        let owner = self.broker.owner(service);
        match owner.and_then(|owner| self.session(owner)) {
            Some(session) => format!("home {name} (client {})", session.address),
            None => format!("home {name}"),
        }
    }
}

/// Whether nobody has said a word to a visitor.
fn is_unanswered<S, P, T>(conns: &Table<S, P, T>, id: ConnId) -> bool {
    conns.get(id).is_some_and(|conn| conn.socket().written() == 0)
}
