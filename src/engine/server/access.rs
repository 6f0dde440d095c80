//! What the access log says of a visitor, gathered while it is here; nothing without the log.
//!
//! A connection that is passed through gives one record, when it is closed. A visitor of the HTTP
//! entry gives one for each request, from what [`crate::proto::http_entry`] sums up; a connection
//! on which no byte of a request came gives none. Behind 101 the request's record waits for the
//! connection's end.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Server;
use super::doors::LeadsTo;
use super::visitor::{Doing, Visitor};
use crate::config::ServerService;
use crate::engine::conns::ConnId;
use crate::engine::net::Net;
use crate::proto::access::{Entry, Record, Sink, VisitEnd};
use crate::proto::http_entry::Summary;
use crate::proto::services::ServiceId;
use crate::proto::time::Time;
use crate::wire::host::HostName;

/// A visitor's part of the log.
pub(super) struct Account {
    entry: Entry,
    /// Of a connection, its accept; of a request, its first byte. `None` between requests.
    began: Option<Time>,
    first_byte: Option<Time>,
    name: String,
    /// What it is called, also when the file has it no more.
    service: Option<Arc<ServerService>>,
    client: Option<SocketAddr>,
    /// It is a load balancer's own: no line, unless a service takes it.
    is_check: bool,
    /// Why it was told to go, if it was: whatever follows is no longer of interest.
    end: Option<VisitEnd>,
    /// The request that led to 101, and what the socket had read and written by then.
    upgrade: Option<(Summary, u64, u64)>,
}

impl<N: Net> Server<N> {
    /// From now on `sink`, if there is one, is told of every request and every connection.
    pub fn log_access(&mut self, sink: Option<Box<dyn Sink>>) {
        self.access = sink;
    }

    /// For a visitor that comes in through a door.
    pub(super) fn open_account(&self, leads_to: LeadsTo) -> Option<Box<Account>> {
        let now = self.core.now();
        self.access.as_ref()?;
        let entry = leads_to.entry();
        let began = (entry != Entry::Http).then_some(now);
        Some(Box::new(Account {
            entry,
            began,
            first_byte: None,
            name: String::new(),
            service: None,
            client: None,
            is_check: false,
            end: None,
            upgrade: None,
        }))
    }

    /// A visitor was not let in at all.
    pub(super) fn log_refused(&mut self, visitor: SocketAddr, leads_to: LeadsTo, end: VisitEnd) {
        let (now, entry) = (self.core.now(), leads_to.entry());
        let service = match leads_to {
            LeadsTo::Service { service, .. } => Some(self.services.name(service)),
            _ => None,
        };
        if let Some(sink) = &mut self.access
            && entry != Entry::Http
        {
            sink.record(&Record {
                now,
                duration: Duration::ZERO,
                first_byte: None,
                visitor,
                peer: None,
                entry,
                name: "",
                service,
                client: None,
                request: None,
                status: None,
                bytes_in: 0,
                bytes_out: 0,
                end,
                reason: None,
            });
        }
    }

    fn account(&mut self, id: ConnId) -> Option<&mut Account> {
        self.visitor(id)?.account.as_deref_mut()
    }

    /// What the visitor asks for, and who has it.
    pub(super) fn note_name(&mut self, id: ConnId, name: &HostName) {
        if let Some(account) = self.account(id) {
            account.name.clear();
            // Writing to a String cannot fail.
            let _ = match name {
                HostName::Dns(name) => account.name.write_str(name.as_str()),
                HostName::Ip(address) => write!(account.name, "{address}"),
                HostName::Empty => Ok(()),
            };
        }
    }

    /// No visitor is behind the connection.
    pub(super) fn note_check(&mut self, id: ConnId) {
        if let Some(account) = self.account(id) {
            account.is_check = true;
        }
    }

    /// The visitor counts as one of a service's own port.
    pub(super) fn note_port(&mut self, id: ConnId) {
        if let Some(account) = self.account(id) {
            account.entry = Entry::Tcp;
        }
    }

    /// Who has what the visitor asks for.
    pub(super) fn note_service(&mut self, id: ConnId, service: ServiceId) {
        if self.access.is_none() {
            return;
        }
        let owner = self.broker.owner(service);
        let client = owner.and_then(|owner| self.session(owner)).map(|session| session.address);
        let service = self.services.get(service).cloned();
        if let Some(account) = self.account(id) {
            (account.service, account.client) = (service, client);
        }
    }

    /// Bytes may have gone out to a visitor.
    pub(super) fn note_first_byte(&mut self, id: ConnId) {
        let now = self.core.now();
        let Some(conn) = self.core.conns.plain(id) else { return };
        let Visitor { doing, account: Some(account), .. } = &mut conn.stage else { return };
        let has_answer = match doing {
            Doing::Http(http) => http.has_answered(),
            _ => conn.socket.written() > 0,
        };
        if has_answer && account.first_byte.is_none() {
            account.first_byte = Some(now);
        }
    }

    /// The first byte of a request may have come.
    pub(super) fn note_request(&mut self, id: ConnId) {
        let now = self.core.now();
        let Some(visitor) = self.visitor(id) else { return };
        if let (Some(account), Doing::Http(http)) = (&mut visitor.account, &visitor.doing)
            && account.began.is_none()
            && !http.is_idle()
        {
            account.began = Some(now);
        }
    }

    /// The visitor is told to go: why it ends, whatever comes after it.
    pub(super) fn note_end(&mut self, id: ConnId, end: VisitEnd) {
        if let Some(account) = self.account(id)
            && account.end.is_none()
        {
            account.end = Some(end);
        }
    }

    /// A request is over.
    pub(super) fn log_request(&mut self, id: ConnId, summary: &Summary) {
        let (bytes_in, bytes_out) = (summary.bytes_in, summary.bytes_out);
        self.write_record(id, Some(summary), (bytes_in, bytes_out), summary.end);
        if let Some(account) = self.account(id) {
            (account.began, account.first_byte) = (None, None);
            (account.service, account.client) = (None, None);
            account.name.clear();
        }
    }

    /// After 101: the request's record is written at the connection's end.
    pub(super) fn note_upgrade(&mut self, id: ConnId, summary: Option<Summary>, unread: usize) {
        let Some(conn) = self.core.conns.plain(id) else { return };
        let visitor = &mut conn.stage;
        if let (Some(account), Some(summary)) = (&mut visitor.account, summary) {
            let read = conn.socket.read().saturating_sub(unread as u64);
            let written = conn.socket.written() + conn.socket.backlog() as u64;
            account.upgrade = Some((summary, read, written));
        }
    }

    /// The visitor's connection is about to be closed.
    pub(super) fn log_end(&mut self, id: ConnId, end: VisitEnd) {
        let Some(conn) = self.core.conns.plain(id) else { return };
        let (read, written) = (conn.socket.read(), conn.socket.written());
        let Visitor { doing, account: Some(account), .. } = &mut conn.stage else { return };
        if let Some((mut summary, read_before, written_before)) = account.upgrade.take() {
            summary.bytes_in = read.saturating_sub(read_before);
            summary.bytes_out = written.saturating_sub(written_before);
            summary.end = end;
            return self.log_request(id, &summary);
        }
        if matches!(doing, Doing::Proxied(proxied) if proxied.held.is_empty()) {
            // A load balancer has looked whether the port is open.
        } else if let Doing::Http(http) = doing {
            if let Some(summary) = http.abandon(end) {
                self.log_request(id, &summary);
            }
        } else if account.entry != Entry::Http {
            let end = account.end.unwrap_or(end);
            self.write_record(id, None, (read, written), end);
        }
    }

    fn write_record(
        &mut self,
        id: ConnId,
        summary: Option<&Summary>,
        (bytes_in, bytes_out): (u64, u64),
        end: VisitEnd,
    ) {
        let now = self.core.now();
        let Some(sink) = &mut self.access else { return };
        let Some(visitor) = self.core.plain(id) else { return };
        let Visitor { address, account: Some(account), .. } = &visitor.stage else { return };
        if account.is_check && account.service.is_none() {
            return;
        }
        let began = account.began.unwrap_or(now);
        let brought = summary.and_then(|summary| summary.visitor);
        let why = summary.and_then(|summary| summary.why).filter(|_| end == VisitEnd::BadAnswer);
        let status = summary.and_then(|summary| summary.status);
        let first_byte = account.first_byte.or(status.map(|_| now));
        sink.record(&Record {
            now,
            duration: now - began,
            first_byte: first_byte.map(|first| first - began),
            visitor: brought.map_or(*address, |ip| SocketAddr::new(ip, 0)),
            peer: brought.map(|_| *address),
            entry: account.entry,
            name: &account.name,
            service: account.service.as_ref().map(|service| &*service.name),
            client: account.client,
            request: summary.and_then(|summary| summary.line.as_ref()),
            status,
            bytes_in,
            bytes_out,
            end,
            reason: why.and_then(|why| why.reason()),
        });
    }
}
