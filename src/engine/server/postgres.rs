//! Visitors of services with `postgres = true`. PostgreSQL begins TLS in a way of its own: the
//! client asks in the clear, the server says yes, and only then the ClientHello comes.
//!
//! ```text
//! visitor   SSLRequest >  < S   ClientHello >                            (or the hello at once)
//! home                                OPEN, SSLRequest >  < S  ClientHello >  < all else
//! ```
//!
//! This server answers for a home that it does not know yet, and asks the home once the hello has
//! said which it is: a server of any version gets what it expects, also from a visitor that spares
//! itself the question (libpq's `sslnegotiation=direct`). It costs a round trip to the home.

use log::debug;

use super::visitor::Doing;
use super::{Complaint, Server};
use crate::engine::conn::Carrier as _;
use crate::engine::conns::ConnId;
use crate::engine::net::Net;
use crate::limits;
use crate::proto::access::VisitEnd;
use crate::proto::services::ServiceId;
use crate::wire::Status;
use crate::wire::client_hello::HelloScan;
use crate::wire::postgres::{self, NO, Request, YES};

/// A visitor whose home is asked.
pub(super) struct Asking {
    service: ServiceId,
    /// What it is told when it has said yes.
    pub(super) hello: Vec<u8>,
}

/// That a visitor may make: for Kerberos, which is declined, and for TLS.
pub(super) const REQUESTS: u8 = 2;

impl<N: Net> Server<N> {
    /// What has come is not TLS. If it is PostgreSQL's request, it is answered. `None`: it is not,
    /// or no service wants it; else whether more must come.
    pub(super) fn hear_postgres(&mut self, id: ConnId) -> Option<bool> {
        if !self.config.services.iter().any(|service| service.postgres) {
            return None;
        }
        let conn = self.core.conns.plain(id)?;
        let Doing::Hello(hello) = &mut conn.stage.doing else { return None };
        let answer = match postgres::read(&hello.held)? {
            Status::Partial => return Some(true),
            Status::Complete(Request::Tls) => YES,
            Status::Complete(Request::Gss) => NO,
        };
        hello.requests = hello.requests.checked_sub(1)?;
        hello.scan = HelloScan::new();
        let io = &mut self.core.io;
        io.buffers.take_front(&mut hello.held, postgres::SSL_REQUEST.len());
        let has_more = !hello.held.is_empty();
        if conn.socket.send(&mut io.net, &mut io.buffers, &[answer]).is_err() {
            self.abort_visitor(id, VisitEnd::VisitorReset);
            return Some(false);
        }
        Some(if has_more { self.scan_hello(id) } else { true })
    }

    /// Whether a service's visitors begin TLS in PostgreSQL's way.
    pub(super) fn is_postgres(&self, service: ServiceId) -> bool {
        self.services.get(service).is_some_and(|service| service.postgres)
    }

    /// What a visitor's home is told first: its hello, or PostgreSQL's question in its place, and
    /// the hello is kept for the answer.
    pub(super) fn ask_home_first(&mut self, id: ConnId, service: ServiceId, held: &mut Vec<u8>) {
        if !self.is_postgres(service) {
            return;
        }
        if let Some(visitor) = self.visitor(id) {
            let hello = std::mem::take(held);
            visitor.kept().asking = Some(Asking { service, hello });
            self.core.io.buffers.append(held, &postgres::SSL_REQUEST);
            let until = self.core.now() + limits::LINK_WAIT;
            self.core.set_deadline(id, Some(until));
        }
    }

    /// The home's answer to that question; whether the relay may go on.
    pub(super) fn hear_home_first(&mut self, link: ConnId, visitor: ConnId) -> bool {
        let Some(details) = self.visitor(visitor) else { return false };
        if details.asking().is_none() {
            return true;
        }
        let Some(conn) = self.core.conns.tunnel(link) else { return false };
        let pulled = match conn.pull(&mut self.core.io) {
            Ok(pulled) => pulled,
            Err(gone) => {
                self.lose_link(link, gone);
                return false;
            }
        };
        let heard = self.core.io.scratch.clear[..pulled.data].to_vec();
        let hello = match (heard.as_slice(), pulled.end) {
            ([], None) => return false,
            ([YES], None) => self.visitor(visitor).and_then(|details| details.kept().asking.take()),
            (said, _) => {
                self.refuse_postgres(link, visitor, !said.is_empty());
                return false;
            }
        };
        let Some(Asking { mut hello, .. }) = hello else { return false };
        self.core.set_deadline(visitor, None);
        let pushed = self.core.push(link, &hello);
        self.core.io.buffers.give_back(&mut hello);
        match pushed {
            Ok(()) => true,
            Err(gone) => {
                self.lose_link(link, gone);
                false
            }
        }
    }

    /// The home speaks no TLS, or no PostgreSQL; `has_said` something else, or nothing.
    fn refuse_postgres(&mut self, link: ConnId, visitor: ConnId, has_said: bool) {
        let asking = self.visitor(visitor).and_then(|details| details.asking());
        let service = asking.map(|asking| asking.service);
        if let Some(service) = service.filter(|_| has_said) {
            let name = self.services.name(service).to_owned();
            self.complain(Complaint::Answer(service), || {
                format!("home {name}: its PostgreSQL does not take TLS (`ssl = on`?)")
            });
        }
        debug!("PostgreSQL at home does not take TLS");
        self.cut_relay(link, visitor, VisitEnd::BadAnswer);
    }
}
