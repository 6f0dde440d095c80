//! Visitors: from their first byte to a link, and the answer to those who get none.

use std::net::{IpAddr, SocketAddr};

use log::debug;

use super::Server;
use super::access::{Account, Visit};
use super::again::Again;
use super::arrival::Proxied;
use super::http::Http;
use super::postgres;
use crate::config::Refusal;
use crate::engine::conn::{Carrier as _, Conn, PlainConn, Pulled};
use crate::engine::conns::ConnId;
use crate::engine::net::Net;
use crate::engine::pair::Parting;
use crate::limits;
use crate::proto::access::VisitEnd;
use crate::proto::admission::Standing;
use crate::proto::broker::{Answer, Denial, Seeker};
use crate::proto::gates::{Refused, Seat};
use crate::proto::route::Ask;
use crate::proto::services::ServiceId;
use crate::proto::time::Time;
use crate::wire::Status;
use crate::wire::client_hello::{HelloScan, Reject, looks_like_http, looks_like_ssh};
use crate::wire::host::{HostName, Hostname};
use crate::wire::message::Entry;

/// A visitor's connection.
pub(super) struct Visitor {
    pub(super) address: SocketAddr,
    /// What brought it, if that is a trusted proxy.
    pub(super) through: Option<Box<Through>>,
    pub(super) doing: Doing,
    pub(super) kept: Option<Box<Kept>>,
    /// At the service that it is with.
    pub(super) seat: Option<Seat>,
    pub(super) visit: Visit,
    /// `None` without an access log.
    pub(super) account: Option<Box<Account>>,
}

/// What is kept of a visitor that is on a link, until its home has said a word.
#[derive(Default)]
pub(super) struct Kept {
    /// Its hello, while its home is asked in PostgreSQL's words whether it speaks TLS.
    pub(super) asking: Option<postgres::Asking>,
    /// All that it has said, as long as another home can be asked.
    pub(super) again: Option<Again>,
}

impl Kept {
    fn held(&self) -> usize {
        let asking = self.asking.as_ref().map_or(0, |asking| asking.hello.len());
        asking + self.again.as_ref().map_or(0, |again| again.held())
    }
}

/// A trusted proxy, which stands between a visitor and us.
pub(super) struct Through {
    pub(super) proxy: IpAddr,
    /// What the visitor has dialled, if the proxy says; else the connection's own address.
    pub(super) local: Option<SocketAddr>,
}

impl Visitor {
    /// Whose connection this is.
    pub(super) fn peer(&self) -> IpAddr {
        self.through.as_ref().map_or(self.address.ip(), |through| through.proxy)
    }
}

pub(super) enum Doing {
    /// It was accepted a moment ago.
    Arriving,
    /// It comes through a trusted proxy, which has not said yet for whom.
    Proxied(Box<Proxied>),
    /// Its ClientHello is not whole.
    Hello(Box<Hello>),
    /// It speaks HTTP, with one home after another.
    Http(Box<Http>),
    /// Its service is known; it waits for a link.
    Waiting(Box<Waiting>),
    /// It is on a link.
    Relayed { link: ConnId },
    /// The last bytes go out. `listen`: it has not ended its side and gets time to read ours, since
    /// closing on unread bytes would reset the connection and our answer with it.
    Parting { listen: Option<Box<Linger>> },
}

/// How much longer a visitor that was told no may go on sending.
#[derive(Debug)]
pub(super) struct Linger {
    until: Time,
    bytes: u64,
}

impl Linger {
    fn new(now: Time) -> Linger {
        Linger { until: now + limits::LINGER_TIME, bytes: limits::LINGER_BYTES }
    }
}

/// A visitor before its route.
pub(super) struct Hello {
    pub(super) scan: HelloScan,
    /// Whom it asks for, once it is whole.
    pub(super) name: Option<Hostname>,
    /// All that it has said.
    pub(super) held: Vec<u8>,
    /// PostgreSQL's requests that it may still make before its hello.
    pub(super) requests: u8,
    /// The deadline for all of it; before that, one for its first byte may apply.
    until: Option<Time>,
}

/// A visitor with a route and without a link.
pub(super) struct Waiting {
    pub(super) service: ServiceId,
    pub(super) entry: Entry,
    /// Which of the service's own ports it came to.
    pub(super) offset: u16,
    pub(super) name: Option<Hostname>,
    /// All that it has said.
    pub(super) held: Vec<u8>,
    /// Sessions of homes that could not be reached.
    pub(super) tried: Vec<ConnId>,
}

impl Hello {
    pub(super) fn new(held: Vec<u8>, until: Option<Time>) -> Hello {
        Hello { scan: HelloScan::new(), name: None, held, requests: postgres::REQUESTS, until }
    }

    /// It has until then for its first byte, if that has not come; whether it has not.
    pub(super) fn hurry(&mut self, until: Time) -> bool {
        let is_silent = self.held.is_empty();
        if is_silent {
            self.until = Some(self.until.map_or(until, |at| at.min(until)));
        }
        is_silent
    }
}

impl Waiting {
    /// For a visitor of a port of the service's own, which has said `held`.
    pub(super) fn for_port(service: ServiceId, offset: u16, held: Vec<u8>) -> Waiting {
        let tried = Vec::new();
        Waiting { service, entry: Entry::Tcp, offset, name: None, held, tried }
    }
}

impl Visitor {
    pub(super) fn asking(&self) -> Option<&postgres::Asking> {
        self.kept.as_ref()?.asking.as_ref()
    }

    pub(super) fn again(&self) -> Option<&Again> {
        self.kept.as_ref()?.again.as_ref()
    }

    pub(super) fn kept(&mut self) -> &mut Kept {
        self.kept.get_or_insert_default()
    }

    /// The service whose link it waits for.
    pub(super) fn waits_for(&self) -> Option<ServiceId> {
        match &self.doing {
            Doing::Waiting(waiting) => Some(waiting.service),
            Doing::Http(http) => http.waiting,
            _ => None,
        }
    }

    /// The link that it is on.
    pub(super) fn link(&self) -> Option<ConnId> {
        match &self.doing {
            Doing::Relayed { link } => Some(*link),
            Doing::Http(http) => http.link,
            _ => None,
        }
    }

    /// Bytes of its that wait outside of its socket.
    pub(super) fn held(&self) -> usize {
        match &self.doing {
            Doing::Proxied(proxied) => proxied.held.len(),
            Doing::Hello(hello) => hello.held.len(),
            Doing::Http(http) => http.held(),
            Doing::Waiting(waiting) => waiting.held.len(),
            Doing::Relayed { .. } => self.kept.as_ref().map_or(0, |kept| kept.held()),
            Doing::Arriving | Doing::Parting { .. } => 0,
        }
    }
}

/// Reads of one hello before others have their turn.
const BUDGET: usize = 8;

/// TLS alert records (RFC 8446, sections 5.1 and 6): fatal, in the version that every client reads.
const UNRECOGNIZED_NAME: &[u8] = &[0x15, 3, 3, 0, 2, 2, 112];
/// Known name, home offline: told apart from a wrong name, and a reason to try again later.
pub(super) const INTERNAL_ERROR: &[u8] = &[0x15, 3, 3, 0, 2, 2, 80];
const DECODE_ERROR: &[u8] = &[0x15, 3, 3, 0, 2, 2, 50];

/// To plain HTTP on the TLS port.
const SPEAKS_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain\r\nContent-Length: 58\r\nConnection: close\r\n\r\n\
    This port speaks TLS. Use https:// instead of http:// here";

impl<N: Net> Server<N> {
    /// Reads a hello until it is whole, then routes.
    pub(super) fn hear_hello(&mut self, id: ConnId) {
        for _ in 0..BUDGET {
            if !self.scan_hello(id) {
                return;
            }
            if !self.hold_more(id) {
                return;
            }
        }
        self.core.enqueue(id);
    }

    /// Reads once more of what a visitor says before its route is known, and keeps it; whether
    /// there was anything. One that leaves now is let go.
    pub(super) fn hold_more(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.core.conns.plain(id) else { return false };
        let end = match conn.pull(&mut self.core.io) {
            Ok(Pulled { end: Some(_), .. }) => VisitEnd::VisitorLeft,
            Ok(pulled) => {
                let visitor = &mut conn.stage;
                let held = match &mut visitor.doing {
                    Doing::Proxied(proxied) => &mut proxied.held,
                    Doing::Hello(hello) => &mut hello.held,
                    _ => return false,
                };
                let io = &mut self.core.io;
                io.buffers.append(held, &io.scratch.clear[..pulled.data]);
                return pulled.moved;
            }
            Err(_) => VisitEnd::VisitorReset,
        };
        self.drop_visitor(id, end);
        false
    }

    /// Looks at what has come of a hello, and acts if that decides; whether more must come.
    pub(super) fn scan_hello(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.core.conns.plain(id) else { return false };
        let Doing::Hello(hello) = &mut conn.stage.doing else { return false };
        let reject = match hello.scan.feed(&hello.held, &mut self.core.io.scratch.wire) {
            Ok(Status::Partial) => return true,
            Ok(Status::Complete(found)) => {
                let asked = hello.requests < postgres::REQUESTS;
                let name = found.name;
                hello.name = name;
                let hello = found;
                let host = name.map_or(HostName::Empty, HostName::Dns);
                // No path decides here, so none is ambiguous.
                let routed = self.config.routes.find(&host, Ask::Https { alpn: hello.alpn });
                let service = routed.ok().flatten().map(|found| self.services.at(found.service));
                // Who asked in PostgreSQL's words is no visitor of a web server.
                let service = service.filter(|at| !asked || self.is_postgres(*at));
                if self.comes_back(id, service) {
                    return false;
                }
                self.route(id, name, service);
                return false;
            }
            Err(reject) => reject,
        };
        match reject {
            Reject::NotTls => return self.hear_other(id),
            Reject::Name(_) => self.refuse_name(id, self.config.unknown_sni, VisitEnd::Malformed),
            _ => self.answer_and_part(id, DECODE_ERROR, VisitEnd::Malformed),
        }
        false
    }

    /// What comes is not TLS; whether more must come.
    fn hear_other(&mut self, id: ConnId) -> bool {
        if !self.visitor(id).is_some_and(|visitor| matches!(visitor.doing, Doing::Hello(_))) {
            return false;
        }
        if let Some(more) = self.hear_postgres(id) {
            return more;
        }
        let Some(conn) = self.core.plain(id) else { return false };
        let Doing::Hello(hello) = &conn.stage.doing else { return false };
        let http = looks_like_http(&hello.held);
        let ssh = self.config.ssh.map(|ssh| (looks_like_ssh(&hello.held), ssh.service));
        match (http, ssh) {
            (_, Some((Status::Complete(true), service))) => self.send_to_ssh(id, service),
            (Status::Complete(true), _) => {
                self.answer_and_part(id, SPEAKS_TLS, VisitEnd::WrongProtocol)
            }
            (Status::Partial, _) | (_, Some((Status::Partial, _))) => return true,
            _ => self.drop_visitor(id, VisitEnd::WrongProtocol),
        }
        false
    }

    /// No whole hello in time; one that has said nothing at all may wait for SSH to speak first.
    pub(super) fn hello_overdue(&mut self, id: ConnId) {
        let now = self.core.now();
        let Some(visitor) = self.visitor(id) else { return };
        let Doing::Hello(hello) = &visitor.doing else { return };
        let (is_silent, until) = (hello.held.is_empty(), hello.until);
        match self.config.ssh {
            Some(ssh) if is_silent => self.send_to_ssh(id, ssh.service),
            _ if until.is_some_and(|until| now < until) => self.core.set_deadline(id, until),
            _ => self.drop_visitor(id, VisitEnd::Timeout),
        }
    }

    /// A whole hello asks for `name`, which `service` takes.
    fn route(&mut self, id: ConnId, name: Option<Hostname>, service: Option<ServiceId>) {
        self.note_name(id, &name.map_or(HostName::Empty, HostName::Dns));
        let Some(service) = service else {
            return match name {
                Some(_) => self.refuse_name(id, self.config.unknown_sni, VisitEnd::UnknownName),
                None => self.refuse_name(id, self.config.no_sni, VisitEnd::NoName),
            };
        };
        let entry = Entry::Https;
        self.note_service(id, service);
        match self.enter(id, service) {
            Ok(()) => {}
            Err(refused @ Refused::Full) => {
                return self.answer_and_part(id, INTERNAL_ERROR, refused.end());
            }
            Err(refused) => return self.keep_out(id, refused),
        }
        let tried = Vec::new();
        self.send_to(id, |held| Waiting { service, entry, offset: 0, name, held, tried });
    }

    /// To the service that takes SSH, as if it had come to a port of that service.
    fn send_to_ssh(&mut self, id: ConnId, service: usize) {
        self.note_port(id);
        let service = self.services.at(service);
        self.note_service(id, service);
        if let Err(refused) = self.enter(id, service) {
            return self.keep_out(id, refused);
        }
        self.send_to(id, |held| Waiting::for_port(service, 0, held));
    }

    /// A visitor has its route: it waits for a link, with what it has said.
    fn send_to(&mut self, id: ConnId, waiting: impl FnOnce(Vec<u8>) -> Waiting) {
        let Some(visitor) = self.visitor(id) else { return };
        let Doing::Hello(hello) = &mut visitor.doing else { return };
        let held = std::mem::take(&mut hello.held);
        visitor.doing = Doing::Waiting(Box::new(waiting(held)));
        self.place(id);
    }

    /// Turns a TLS visitor away whom no service takes.
    fn refuse_name(&mut self, id: ConnId, how: Refusal, end: VisitEnd) {
        match how {
            Refusal::Alert => self.answer_and_part(id, UNRECOGNIZED_NAME, end),
            Refusal::Drop => self.drop_visitor(id, end),
        }
    }

    /// Gives a waiting visitor a link, or a place in the queue for one.
    pub(super) fn place(&mut self, id: ConnId) {
        let now = self.core.now();
        let Some(Visitor { doing: Doing::Waiting(waiting), .. }) = self.visitor(id) else { return };
        let service = waiting.service;
        // It has said where it wants to go, and that exists.
        self.core.set_standing(id, Standing::Busy);
        self.note_service(id, service);
        let conns = &self.core.conns;
        let Some(Conn::Plain(PlainConn { stage: visitor, .. })) = conns.get(id) else { return };
        let Doing::Waiting(waiting) = &visitor.doing else { return };
        let network = visitor.address.ip().into();
        let seeker = Seeker { id, network, service, tried: &waiting.tried };
        match self.broker.ask(seeker, now) {
            Answer::Link { link, session } => self.open(id, link, session),
            Answer::Queued => self.core.set_deadline(id, Some(now + limits::LINK_WAIT)),
            Answer::No(Denial::Offline) => self.turn_away(id, VisitEnd::Offline),
            Answer::No(Denial::Crowded) => self.turn_away(id, VisitEnd::NoLink),
        }
    }

    /// The link that a waiting visitor was about to have is gone.
    pub(super) fn place_again(&mut self, id: ConnId) {
        match self.is_http(id) {
            true => self.http_place_again(id),
            false => self.place(id),
        }
    }

    /// Ends a visitor that has to make room for others.
    pub(super) fn evict_visitor(&mut self, id: ConnId, end: VisitEnd) {
        let Some(visitor) = self.visitor(id) else { return };
        match visitor.doing {
            Doing::Relayed { link } => self.cut_relay(link, id, end),
            // What it has been told may not be whole.
            Doing::Http(_) | Doing::Parting { .. } => self.abort_visitor(id, end),
            _ => self.drop_visitor(id, end),
        }
    }

    pub(super) fn is_http(&mut self, visitor: ConnId) -> bool {
        self.visitor(visitor).is_some_and(|visitor| matches!(visitor.doing, Doing::Http(_)))
    }

    /// A waiting visitor is not read from; only its breaking is of interest.
    pub(super) fn watch_waiting(&mut self, id: ConnId) {
        if self.core.conns.is_broken(id) {
            self.drop_visitor(id, VisitEnd::VisitorReset);
        }
    }

    /// Tells a visitor with a route that there is no way there now.
    pub(super) fn turn_away(&mut self, id: ConnId, end: VisitEnd) {
        let Some(visitor) = self.visitor(id) else { return };
        let waiting = match &visitor.doing {
            Doing::Waiting(waiting) => waiting,
            Doing::Http(_) => return self.http_turned_away(id),
            _ => return,
        };
        match waiting.entry {
            Entry::Https => self.answer_and_part(id, INTERNAL_ERROR, end),
            Entry::Tcp | Entry::Http | Entry::Udp => self.abort_visitor(id, end),
        }
    }

    /// Sends a last word and closes once it is read.
    pub(super) fn answer_and_part(&mut self, id: ConnId, answer: &[u8], end: VisitEnd) {
        self.leave_queues(id);
        self.note_end(id, end);
        let now = self.core.now();
        let Some(conn) = self.core.conns.plain(id) else { return };
        let visitor = &mut conn.stage;
        debug!("visitor {}: {end}", visitor.address);
        visitor.doing = Doing::Parting { listen: Some(Box::new(Linger::new(now))) };
        self.core.set_standing(id, Standing::Idle);
        let Some(conn) = self.core.conns.plain(id) else { return };
        let io = &mut self.core.io;
        if conn.socket.send(&mut io.net, &mut io.buffers, answer).is_err() {
            return self.abort_visitor(id, VisitEnd::VisitorReset);
        }
        conn.socket.finish(&mut io.net);
        let patience = match conn.socket.is_clear() {
            true => limits::PARTING_TIME,
            false => limits::HALF_CLOSED_SILENCE,
        };
        self.core.set_deadline(id, Some(now + patience));
        self.part(id);
    }

    /// Both directions of its relay have ended; what waits is still written.
    pub(super) fn leave_after_flush(&mut self, id: ConnId) {
        self.leave_seat(id);
        if let Some(visitor) = self.visitor(id) {
            visitor.doing = Doing::Parting { listen: None };
            self.part(id);
        }
    }

    /// Writes what is left, and reads on where the visitor needs time.
    pub(super) fn part(&mut self, id: ConnId) {
        let now = self.core.now();
        let Some(conn) = self.core.conns.plain(id) else { return };
        let Doing::Parting { listen } = &conn.stage.doing else { return };
        let lingers = listen.is_some();
        let was_clear = conn.socket.is_clear();
        match self.core.part(id) {
            Parting::Broken => return self.abort_visitor(id, VisitEnd::VisitorReset),
            Parting::Clear if !lingers => return self.close_visitor(id, VisitEnd::Done),
            Parting::Waits if !lingers => return,
            Parting::Clear if !was_clear => {
                self.core.set_deadline(id, Some(now + limits::PARTING_TIME));
            }
            Parting::Clear | Parting::Waits => {}
        }
        if lingers {
            self.linger(id);
        }
    }

    /// Throws away what a visitor still sends: an upload that was refused. It is stayed with while
    /// bytes come, within bounds, since it may read the answer only behind its last byte.
    fn linger(&mut self, id: ConnId) {
        let now = self.core.now();
        for _ in 0..BUDGET {
            let Some(conn) = self.core.conns.plain(id) else { return };
            let pulled = match conn.pull(&mut self.core.io) {
                Ok(pulled) => pulled,
                Err(_) => return self.abort_visitor(id, VisitEnd::VisitorReset),
            };
            let is_clear = conn.socket.is_clear();
            if pulled.end.is_some() {
                if is_clear {
                    return self.close_visitor(id, VisitEnd::Done);
                }
                // It has ended its side and still reads ours.
                conn.stage.doing = Doing::Parting { listen: None };
                return;
            }
            if !pulled.moved {
                return;
            }
            let Doing::Parting { listen: Some(linger) } = &mut conn.stage.doing else { return };
            let Some(left) = linger.bytes.checked_sub(pulled.data as u64) else {
                return self.give_up_parting(id);
            };
            linger.bytes = left;
            let until = linger.until;
            if is_clear {
                self.core.set_deadline(id, Some((now + limits::PARTING_TIME).min(until)));
            }
        }
        self.core.enqueue(id);
    }

    /// Its time to read is over. What still waits must not be taken for the whole answer.
    pub(super) fn give_up_parting(&mut self, id: ConnId) {
        match self.core.conns.is_clear(id) {
            true => self.drop_visitor(id, VisitEnd::Idle),
            false => self.abort_visitor(id, VisitEnd::Idle),
        }
    }

    pub(super) fn visitor(&mut self, id: ConnId) -> Option<&mut Visitor> {
        self.core.plain(id).map(|conn| &mut conn.stage)
    }

    /// Closes a visitor that nothing is owed.
    pub(super) fn drop_visitor(&mut self, id: ConnId, end: VisitEnd) {
        if let Some(visitor) = self.visitor(id) {
            debug!("visitor {}: {end}", visitor.address);
            self.close_visitor(id, end);
        }
    }

    /// Closes a visitor with a reset.
    pub(super) fn abort_visitor(&mut self, id: ConnId, end: VisitEnd) {
        if let Some(visitor) = self.visitor(id) {
            debug!("visitor {}: {end}", visitor.address);
            self.log_end(id, end);
            self.leave_queues(id);
            self.core.abort(id);
        }
    }

    fn close_visitor(&mut self, id: ConnId, end: VisitEnd) {
        if self.visitor(id).is_some() {
            self.log_end(id, end);
            self.leave_queues(id);
            self.core.close(id);
        }
    }

    /// Takes a visitor out of whatever it stands in, and the buffers that it has lent.
    fn leave_queues(&mut self, id: ConnId) {
        self.leave_seat(id);
        let Some(visitor) = self.visitor(id) else { return };
        let mut held = match &mut visitor.doing {
            Doing::Http(_) => return self.leave_http(id),
            Doing::Proxied(proxied) => std::mem::take(&mut proxied.held),
            Doing::Hello(hello) => std::mem::take(&mut hello.held),
            Doing::Waiting(waiting) => std::mem::take(&mut waiting.held),
            Doing::Relayed { .. } => {
                let Some(kept) = visitor.kept.take() else { return };
                let Kept { asking, again } = *kept;
                let hello = asking.map(|asking| asking.hello);
                let held = again.map(|mut again| again.take_held());
                for mut bytes in hello.into_iter().chain(held) {
                    self.core.io.buffers.give_back(&mut bytes);
                }
                return;
            }
            Doing::Arriving | Doing::Parting { .. } => return,
        };
        self.core.io.buffers.give_back(&mut held);
        self.broker.forget(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::server::Tunnel;
    use crate::engine::table::Seat as Row;

    #[test]
    fn the_page_for_plain_http_says_its_own_length() {
        let text = std::str::from_utf8(SPEAKS_TLS).expect("ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("has a body");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
    }

    /// An idle visitor is a row of the table, its link another one; benches/README.md has the sum.
    #[test]
    fn a_connection_is_small() {
        let row = size_of::<Row<mio::net::TcpStream, Visitor, Tunnel>>();
        assert!(row <= 232, "{row}"); // 8 of them for debug assertions
    }
}
