//! What is counted of a visitor, and what the access log says of it: gathered while it is here,
//! the one always, the other where there is a log.
//!
//! A connection that is passed through is one visit, over when it is closed. A visitor of the HTTP
//! entry makes one for each request, from what [`crate::proto::http_entry`] concludes; a connection
//! on which no byte of a request came makes none. Behind 101 the request's visit goes on to the
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
use crate::engine::socket::{Counted, Socket};
use crate::proto::access::{Entry, Record, Sink, VisitEnd};
use crate::proto::http_entry::{Concluded, Ended, Summary};
use crate::proto::services::ServiceId;
use crate::proto::stats::{Failed, Stats};
use crate::proto::time::Time;
use crate::wire::host::HostName;

/// A visitor's part of the counters.
pub(super) struct Visit {
    entry: Entry,
    /// It is a load balancer's own: none, unless a service takes it.
    is_check: bool,
    answer: Answer,
    /// Why it was told to go, if it was: whatever follows is no longer of interest.
    end: Option<VisitEnd>,
    /// That it has asked for last.
    pub(super) service: Option<ServiceId>,
    /// Of a connection, its accept; of a request, its first byte. [`NEVER`] between requests.
    began: Time,
    /// Since when it waits for a link: microseconds after `began`; [`NOT_WAITING`] if it does not.
    routed: u32,
    /// Of its socket's bytes.
    counted: Counted,
}

/// How far the answer to a visit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Not a byte of it has gone out.
    Awaited,
    /// One has.
    Begun,
    /// It was 101: what follows belongs to the request.
    Upgraded,
}

/// Later than any moment; smaller than an `Option`, in something that each visitor has.
const NEVER: Time = Time(u64::MAX);
/// More than any service takes to be found.
const NOT_WAITING: u32 = u32::MAX;

impl Visit {
    fn new(entry: Entry, now: Time) -> Visit {
        Visit {
            entry,
            is_check: false,
            answer: Answer::Awaited,
            end: None,
            service: None,
            began: if entry == Entry::Http { NEVER } else { now },
            routed: NOT_WAITING,
            counted: Counted::default(),
        }
    }

    /// Counts what has moved since this was asked last.
    fn count<S>(&mut self, stats: &mut Stats, socket: &Socket<S>) {
        let (received, sent) = self.counted.take(socket);
        if (received, sent) != (0, 0) {
            stats.moved(self.service, self.entry, received, sent);
        }
    }

    /// It waits for a link, if it does not already.
    fn wait(&mut self, now: Time) {
        if self.routed == NOT_WAITING {
            let after = u32::try_from((now - self.began).as_micros()).unwrap_or(u32::MAX);
            self.routed = after.min(NOT_WAITING - 1);
        }
    }

    /// It waits no more; how long it did.
    fn waited(&mut self, now: Time) -> Duration {
        let after = std::mem::replace(&mut self.routed, NOT_WAITING);
        now - (self.began + Duration::from_micros(after.into()))
    }
}

/// A visitor's part of the log.
pub(super) struct Account {
    first_byte: Option<Time>,
    name: String,
    /// What it is called, also when the file has it no more.
    service: Option<Arc<ServerService>>,
    client: Option<SocketAddr>,
    /// The request that led to 101, and what the socket had read and written by then.
    upgrade: Option<(Concluded, u64, u64)>,
}

impl<N: Net> Server<N> {
    /// From now on `sink`, if there is one, is told of every request and every connection.
    pub fn log_access(&mut self, sink: Option<Box<dyn Sink>>) {
        self.access = sink;
    }

    /// For a visitor that comes in through a door.
    pub(super) fn open_visit(&self, leads_to: LeadsTo) -> (Visit, Option<Box<Account>>) {
        let account = self.access.as_ref().map(|_| {
            Box::new(Account {
                first_byte: None,
                name: String::new(),
                service: None,
                client: None,
                upgrade: None,
            })
        });
        (Visit::new(leads_to.entry(), self.core.now()), account)
    }

    /// A visitor was not let in at all.
    pub(super) fn log_refused(&mut self, visitor: SocketAddr, leads_to: LeadsTo, end: VisitEnd) {
        let (now, entry) = (self.core.now(), leads_to.entry());
        let service = match leads_to {
            LeadsTo::Service { service, .. } => Some(service),
            _ => None,
        };
        if entry == Entry::Http {
            return;
        }
        self.stats.ended(service, entry, end);
        let (name, address) = (String::new(), visitor.ip());
        self.stats.failed(Failed { at: now, entry, visitor: address, name, service, end });
        if let Some(sink) = &mut self.access {
            sink.record(&Record {
                now,
                duration: Duration::ZERO,
                first_byte: None,
                visitor,
                peer: None,
                entry,
                name: "",
                service: service.map(|service| self.services.name(service)),
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
            write_name(&mut account.name, name);
        }
    }

    /// No visitor is behind the connection.
    pub(super) fn note_check(&mut self, id: ConnId) {
        if let Some(visitor) = self.visitor(id) {
            visitor.visit.is_check = true;
        }
    }

    /// The visitor counts as one of a service's own port.
    pub(super) fn note_port(&mut self, id: ConnId) {
        if let Some(visitor) = self.visitor(id) {
            visitor.visit.entry = Entry::Tcp;
        }
    }

    /// Who has what the visitor asks for.
    pub(super) fn note_service(&mut self, id: ConnId, service: ServiceId) {
        let now = self.core.now();
        let Some(Visitor { visit, account, .. }) = self.visitor(id) else { return };
        visit.service = Some(service);
        visit.wait(now);
        if account.is_some() {
            let owner = self.broker.owner(service);
            let client = owner.and_then(|owner| self.session(owner)).map(|owner| owner.address);
            let service = self.services.get(service).cloned();
            if let Some(account) = self.account(id) {
                (account.service, account.client) = (service, client);
            }
        }
    }

    /// The visitor has a link of `session`'s.
    pub(super) fn note_link(&mut self, id: ConnId, session: ConnId) {
        let now = self.core.now();
        let client = self.session(session).map(|session| session.address);
        if let Some(account) = self.account(id) {
            account.client = client;
        }
        let Some(conn) = self.core.conns.plain(id) else { return };
        let visit = &mut conn.stage.visit;
        let wait = visit.waited(now);
        self.stats.linked(visit.service, visit.entry, wait);
    }

    /// Counts what has moved on a visitor's socket.
    fn count_bytes(&mut self, id: ConnId) {
        if let Some(conn) = self.core.conns.plain(id) {
            conn.stage.visit.count(&mut self.stats, &conn.socket);
        }
    }

    /// The same of all visitors, for who is about to look.
    pub(super) fn count_all_bytes(&mut self) {
        let stats = &mut self.stats;
        for conn in self.core.conns.iter_plain() {
            conn.stage.visit.count(stats, &conn.socket);
        }
    }

    /// Bytes may have gone out to a visitor.
    pub(super) fn note_first_byte(&mut self, id: ConnId) {
        let now = self.core.now();
        let Some(conn) = self.core.conns.plain(id) else { return };
        let Visitor { doing, visit, account, .. } = &mut conn.stage;
        if visit.answer != Answer::Awaited {
            return;
        }
        let has_begun = match doing {
            Doing::Http(http) => http.has_answered(),
            _ => conn.socket.written() > 0,
        };
        if has_begun {
            visit.answer = Answer::Begun;
            self.stats.first_byte(visit.service, visit.entry, now - visit.began);
            if let Some(account) = account {
                account.first_byte = Some(now);
            }
        }
    }

    /// The first byte of a request may have come.
    pub(super) fn note_request(&mut self, id: ConnId) {
        let now = self.core.now();
        let Some(conn) = self.core.conns.plain(id) else { return };
        let Visitor { doing, visit, .. } = &mut conn.stage;
        if let Doing::Http(http) = doing
            && visit.began == NEVER
            && !http.is_idle()
        {
            // What has gone out until now was the answer to the one before.
            let sent = visit.counted.take_written(&conn.socket);
            self.stats.moved(visit.service, visit.entry, 0, sent);
            visit.began = now;
            visit.service = None;
        }
    }

    /// The visitor is told to go: why it ends, whatever comes after it.
    pub(super) fn note_end(&mut self, id: ConnId, end: VisitEnd) {
        let Some(visitor) = self.visitor(id) else { return };
        if visitor.visit.end.is_none() {
            visitor.visit.end = Some(end);
            if visitor.visit.entry != Entry::Http {
                self.note_failure(id, end);
            }
        }
    }

    /// A visit ends so, and not as the visitor wished.
    fn note_failure(&mut self, id: ConnId, end: VisitEnd) {
        if !end.is_failure() {
            return;
        }
        let at = self.core.now();
        let Some(Visitor { address, doing, visit, account, .. }) = self.visitor(id) else { return };
        let mut name = String::new();
        match (account, doing) {
            (Some(account), _) => name.push_str(&account.name),
            (None, Doing::Http(http)) => write_name(&mut name, http.name()),
            (None, Doing::Hello(hello)) => {
                name.push_str(hello.name.as_ref().map_or("", |it| it.as_str()))
            }
            (None, Doing::Waiting(waiting)) => {
                name.push_str(waiting.name.as_ref().map_or("", |it| it.as_str()));
            }
            _ => {}
        }
        let (entry, visitor, service) = (visit.entry, address.ip(), visit.service);
        self.stats.failed(Failed { at, entry, visitor, name, service, end });
    }

    /// A request is over.
    pub(super) fn log_request(&mut self, id: ConnId, (ended, summary): Concluded) {
        self.count_bytes(id);
        let bytes = summary.as_ref().map_or((0, 0), |it| (it.bytes_in, it.bytes_out));
        if let Some(visitor) = self.visitor(id)
            && let Some(status) = ended.status
            && visitor.visit.answer != Answer::Upgraded
        {
            let service = visitor.visit.service;
            self.stats.answered(service, status);
        }
        self.write_record(id, ended, summary.as_ref(), bytes);
        let Some(Visitor { visit, account, .. }) = self.visitor(id) else { return };
        (visit.began, visit.routed, visit.answer) = (NEVER, NOT_WAITING, Answer::Awaited);
        if let Some(account) = account {
            account.first_byte = None;
            (account.service, account.client) = (None, None);
            account.name.clear();
        }
    }

    /// After 101: the request's visit is over at the connection's end.
    pub(super) fn note_upgrade(&mut self, id: ConnId, upgrade: Option<Concluded>, unread: usize) {
        let Some(conn) = self.core.conns.plain(id) else { return };
        let Visitor { visit, account, .. } = &mut conn.stage;
        let Some(upgrade) = upgrade else { return };
        visit.answer = Answer::Upgraded;
        if let Some(status) = upgrade.0.status {
            self.stats.answered(visit.service, status);
        }
        if let Some(account) = account {
            let read = conn.socket.read().saturating_sub(unread as u64);
            let written = conn.socket.written() + conn.socket.backlog() as u64;
            account.upgrade = Some((upgrade, read, written));
        }
    }

    /// The visitor's connection is about to be closed.
    pub(super) fn log_end(&mut self, id: ConnId, end: VisitEnd) {
        self.count_bytes(id);
        let Some(conn) = self.core.conns.plain(id) else { return };
        let (read, written) = (conn.socket.read(), conn.socket.written());
        let Visitor { doing, visit, account, .. } = &mut conn.stage;
        if visit.answer == Answer::Upgraded {
            let upgrade = account.as_mut().and_then(|account| account.upgrade.take());
            let concluded = match upgrade {
                Some(((ended, summary), read_before, written_before)) => {
                    let summary = summary.map(|summary| Summary {
                        bytes_in: read.saturating_sub(read_before),
                        bytes_out: written.saturating_sub(written_before),
                        ..summary
                    });
                    (Ended { end, ..ended }, summary)
                }
                None => (Ended { end, status: None }, None),
            };
            return self.log_request(id, concluded);
        }
        if matches!(doing, Doing::Proxied(proxied) if proxied.held.is_empty()) {
            // A load balancer has looked whether the port is open.
        } else if let Doing::Http(http) = doing {
            if let Some(concluded) = http.abandon(end) {
                self.log_request(id, concluded);
            }
        } else if visit.entry != Entry::Http {
            let ended = Ended { end: visit.end.unwrap_or(end), status: None };
            self.write_record(id, ended, None, (read, written));
        }
    }

    /// A visit is over: it is counted, and the log says of it what it has gathered.
    fn write_record(
        &mut self,
        id: ConnId,
        Ended { end, status }: Ended,
        summary: Option<&Summary>,
        (bytes_in, bytes_out): (u64, u64),
    ) {
        let now = self.core.now();
        let Some(conn) = self.core.conns.plain(id) else { return };
        let visit = &conn.stage.visit;
        if visit.is_check && visit.service.is_none() {
            return;
        }
        self.stats.ended(visit.service, visit.entry, end);
        if visit.end.is_none() || visit.entry == Entry::Http {
            self.note_failure(id, end);
        }
        let Some(sink) = &mut self.access else { return };
        let Some(conn) = self.core.conns.plain(id) else { return };
        let Visitor { address, visit, account: Some(account), .. } = &conn.stage else { return };
        let began = visit.began.min(now);
        let brought = summary.and_then(|summary| summary.visitor);
        let why = summary.and_then(|summary| summary.why).filter(|_| end == VisitEnd::BadAnswer);
        let first_byte = account.first_byte.or(status.map(|_| now));
        sink.record(&Record {
            now,
            duration: now - began,
            first_byte: first_byte.map(|first| first - began),
            visitor: brought.map_or(*address, |ip| SocketAddr::new(ip, 0)),
            peer: brought.map(|_| *address),
            entry: visit.entry,
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

fn write_name(into: &mut String, name: &HostName) {
    into.clear();
    // Writing to a String cannot fail.
    let _ = match name {
        HostName::Dns(name) => into.write_str(name.as_str()),
        HostName::Ip(address) => write!(into, "{address}"),
        HostName::Empty => Ok(()),
    };
}
