//! The connections that come in by the admin door, of either role. Each asks one thing and is
//! closed when it has its answer; those who watch stay.
//!
//! ```text
//! Head --whole, may ask--> (the role answers) --> Sending --all out--> Parting
//!   '----- a password -----> Checking --right----'   '--- Watching: the snapshot, again and again
//! ```
//!
//! It is a door like any other: its connections have a class of their own with the admission, a
//! deadline for all that they owe, and what waits for them is charged. [`crate::admin`] reads the
//! requests and has the answers; the role is asked for what only it knows.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use log::{debug, warn};

use super::conn::{Conn, Io};
use super::conns::ConnId;
use super::core::Core;
use super::desk::{AdminConn, Caller, DeskPlan, Stage};
use super::net::Net;
use super::socket::{Received, Socket};
use crate::admin::metrics::{Format, Scrape};
use crate::admin::reply::{Health, JSON, Length, Whole, write_head};
use crate::admin::request::{Named, Question, Refusal, Request};
use crate::config::{AdminAddr, AdminConfig};
use crate::limits;
use crate::proto::admin_guard::Verdict;
use crate::proto::admission::{Class, Holder, Standing};
use crate::proto::history::{History, Span, Totals};
use crate::proto::services::ServiceId;
use crate::status::{Series, Status};
use crate::wire;

/// A role at the admin door: what it has to say there, and how it has its turns.
pub(super) trait Informant<N: Net, P, T>: Sized {
    /// Where the door is.
    fn core(&mut self) -> &mut Core<N, P, T>;
    /// What has been counted of each service.
    fn totals(&mut self) -> Vec<(ServiceId, Totals)>;
    /// The snapshot.
    fn status(&mut self) -> Status;
    /// Services with a history, by the names that the file gives them.
    fn names(&self) -> Vec<(ServiceId, String)>;
    /// Who gets a name; the error says why that cannot be said.
    fn explain(&self, asked: &str) -> Result<Vec<String>, &'static str>;
    /// Whether visitors are welcome.
    fn health(&self) -> Health;

    /// Somebody at the door has its turn.
    fn hear_admin(&mut self, id: ConnId) {
        if let Some(request) = self.core().hear_admin(id) {
            self.answer_admin(id, &request);
        }
    }

    /// A password has been checked.
    fn checked(&mut self, ticket: u64, is_right: bool) {
        if let Some((id, request)) = self.core().checked(ticket, is_right) {
            self.answer_admin(id, &request);
        }
    }

    /// Answers what may be answered.
    fn answer_admin(&mut self, id: ConnId, request: &Request) {
        let told = ask(self, &request.question);
        self.core().answer_admin(id, request, told);
    }

    /// Takes a sample for the plots, and tells those who watch, if it is time.
    fn tell_watchers(&mut self) {
        let now = self.core().now();
        if self.core().desk.history().is_some_and(|history| history.next() <= now) {
            let totals = self.totals();
            if let Some(history) = self.core().desk.history() {
                history.sample(now, totals.into_iter());
            }
        }
        if self.core().watchers_are_due() {
            let json = to_json(&self.status());
            self.core().tell_watchers(&json);
        }
    }
}

/// Reads of one head before others have their turn, and slices of one answer.
const BUDGET: usize = 8;

impl<N: Net, P, T> Core<N, P, T> {
    /// Opens the listeners of the first file.
    pub(super) fn open_desk(&mut self, config: Option<&AdminConfig>) -> io::Result<()> {
        let plan = self.desk.plan(config, &mut self.io.net)?;
        self.commit_desk(plan, config);
        Ok(())
    }

    /// From now on they are those of the plan, and users are those of the file.
    pub(super) fn commit_desk(
        &mut self,
        plan: DeskPlan<N::Listener>,
        config: Option<&AdminConfig>,
    ) {
        let mut key = [0; 32];
        self.io.net.random(&mut key);
        let now = self.now();
        if self.desk.commit(plan, config, key, now) {
            self.part_watchers();
        }
    }

    /// Whoever watches has to come again, and to say who it is: a page does so by itself.
    fn part_watchers(&mut self) {
        let until = self.now() + limits::ADMIN_TIME;
        for id in std::mem::take(&mut self.desk.watchers) {
            if self.is_watching(id) {
                self.part_admin(id);
                self.set_deadline(id, Some(until));
            }
        }
    }

    /// Takes who waits at the doors, within a budget.
    pub(super) fn accept_admins(&mut self) {
        let now = self.now();
        let mut next = 0;
        while let Some(id) = self.desk.knocked.range(next..).next().copied() {
            next = id + 1;
            for _ in 0..BUDGET {
                let Some(door) = self.desk.doors.get_mut(&id) else { break };
                if door.pause.is_some_and(|until| now < until) {
                    break;
                }
                door.pause = None;
                let is_unix = matches!(door.at, AdminAddr::Unix(_));
                match self.io.net.accept(&mut door.listener) {
                    Ok((stream, address)) => {
                        let is_in = self.admit_admin(stream, address, is_unix);
                        if let Some(door) = self.desk.doors.get_mut(&id) {
                            door.accepted += u64::from(is_in);
                            door.refused += u64::from(!is_in);
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        self.desk.knocked.remove(&id);
                        break;
                    }
                    Err(error) => {
                        debug!("cannot accept on {}: {error}", door.shown());
                        if !matches!(
                            error.kind(),
                            ErrorKind::ConnectionAborted | ErrorKind::Interrupted
                        ) {
                            door.pause = Some(now + limits::ACCEPT_PAUSE);
                            break;
                        }
                    }
                }
            }
        }
    }

    fn admit_admin(&mut self, stream: N::Stream, address: SocketAddr, is_unix: bool) -> bool {
        let (now, id) = (self.now(), self.conns.next_id());
        let holder = if is_unix { Holder::Many } else { Holder::Address(address.ip()) };
        let standing = Standing::Unproved;
        let Ok(permit) = self.admission.admit(Class::Admin, id, holder, standing, now) else {
            debug!("admin {address}: too many are here");
            self.io.net.abort(stream);
            return false;
        };
        let named = match is_unix || self.desk.has_users() {
            true => Named::Anybody,
            false => Named::Loopback,
        };
        let from = Caller { address: address.ip(), named, is_trusted: is_unix };
        let conn = AdminConn::new(Socket::accepted(stream), from, Vec::new());
        match self.adopt(Conn::Admin(conn), Some(permit)) {
            Ok(id) => self.set_deadline(id, Some(now + limits::ADMIN_TIME)),
            Err(error) => debug!("admin {address}: {error}"),
        }
        true
    }

    /// A visitor of the HTTP entry has asked for the page's own name, and `held` is all that it has
    /// said since: from here on it is somebody at this door. Whether there is room.
    pub(super) fn turn_admin(&mut self, id: ConnId, address: IpAddr, held: Vec<u8>) -> bool {
        let now = self.now();
        let holder = Holder::Address(address);
        if self.promote(id, Class::Admin, holder, Standing::Unproved).is_err() {
            return false;
        }
        let from = Caller { address, named: Named::Anybody, is_trusted: false };
        let buffers = &mut self.io.buffers;
        self.conns
            .rework(id, |conn| Conn::Admin(AdminConn::new(conn.into_socket(buffers), from, held)));
        self.set_deadline(id, Some(now + limits::ADMIN_TIME));
        self.enqueue(id);
        true
    }

    fn admin(&mut self, id: ConnId) -> Option<&mut AdminConn<N::Stream>> {
        match self.conns.get_mut(id)? {
            Conn::Admin(conn) => Some(conn),
            Conn::Plain(_) | Conn::Tunnel(_) => None,
        }
    }

    /// A turn of somebody at the door: what it asks for, if that is to be answered now.
    pub(super) fn hear_admin(&mut self, id: ConnId) -> Option<Request> {
        match &*self.admin(id)?.stage {
            Stage::Head { .. } => self.hear_head(id),
            Stage::Checking(_) | Stage::Watching | Stage::Parting => {
                self.watch_admin(id);
                None
            }
            Stage::Metrics(_) | Stage::History { .. } => {
                self.write_on(id);
                None
            }
        }
    }

    fn hear_head(&mut self, id: ConnId) -> Option<Request> {
        for _ in 0..BUDGET {
            let conn = self.admin(id)?;
            let Stage::Head { scan, held } = &mut *conn.stage else { return None };
            match scan.scan(held) {
                Ok(wire::Status::Complete(head)) => {
                    let request = Request::read(&held[head], conn.from.named);
                    return match request {
                        Ok(request) => self.may_ask(id, request),
                        Err(refusal) => {
                            self.refuse_admin(id, refusal);
                            None
                        }
                    };
                }
                Err(reject) => {
                    self.refuse_admin(id, Refusal::Malformed(reject));
                    return None;
                }
                Ok(wire::Status::Partial) => {}
            }
            let Some(Conn::Admin(conn)) = self.conns.get_mut(id) else { return None };
            let Stage::Head { held, .. } = &mut *conn.stage else { return None };
            let Io { net, scratch, .. } = &mut self.io;
            match conn.socket.receive(net, &mut scratch.clear[..]) {
                Ok(Received::Bytes(length)) => held.extend_from_slice(&scratch.clear[..length]),
                Ok(Received::Blocked) => return None,
                Ok(Received::End) | Err(_) => {
                    self.close(id);
                    return None;
                }
            }
        }
        self.enqueue(id);
        None
    }

    fn refuse_admin(&mut self, id: ConnId, refusal: Refusal) {
        self.send_whole(id, &Whole::refusal(refusal), false);
    }

    /// Whether who asks may: at once, or when its password has been checked.
    fn may_ask(&mut self, id: ConnId, request: Request) -> Option<Request> {
        let now = self.now();
        let conn = self.admin(id)?;
        let from = conn.from;
        if from.is_trusted || request.question.is_open() {
            return Some(request);
        }
        let Some(guard) = &mut self.desk.guard else {
            self.close(id);
            return None;
        };
        let is_head = request.is_head;
        let verdict = guard.ask(request.authorization.as_deref(), from.address, now);
        let no = match verdict {
            Verdict::Allowed => return Some(request),
            Verdict::Check(job) => {
                let ticket = job.ticket();
                self.io.net.check_password(ticket, job);
                self.desk.checks.insert(ticket, id);
                if let Some(conn) = self.admin(id) {
                    *conn.stage = Stage::Checking(request);
                }
                return None;
            }
            Verdict::Challenge => Whole::challenge(),
            Verdict::TooMany { retry_after } => Whole::too_many(retry_after),
            Verdict::Busy => Whole::busy(),
        };
        self.send_whole(id, &no, is_head);
        None
    }

    /// A password has been checked: the request that waited for it, if it may be answered.
    pub(super) fn checked(&mut self, ticket: u64, is_right: bool) -> Option<(ConnId, Request)> {
        let now = self.now();
        let is_right = self.desk.guard.as_mut()?.checked(ticket, is_right, now);
        let id = self.desk.checks.remove(&ticket)?;
        let conn = self.admin(id)?;
        let Stage::Checking(request) = &*conn.stage else { return None };
        let request = request.clone();
        if is_right {
            return Some((id, request));
        }
        warn!("admin {}: wrong user or password", conn.from.address);
        self.send_whole(id, &Whole::challenge(), request.is_head);
        None
    }

    /// Answers what [`Core::hear_admin`] or [`Core::checked`] gave.
    pub(super) fn answer_admin(&mut self, id: ConnId, request: &Request, told: Told) {
        let is_head = request.is_head;
        let length = match request.takes_chunks {
            true => Length::Chunks,
            false => Length::UntilClose,
        };
        self.set_standing(id, Standing::Busy);
        match told {
            Told::Whole(whole) => self.send_whole(id, &whole, is_head),
            Told::Metrics(status, format) => {
                let scrape = Scrape::new(status, format);
                let stage = Stage::Metrics(Box::new(scrape));
                self.begin_slices(id, (format.content_type(), "", length), stage, is_head);
            }
            Told::History(span, names) => {
                let all = std::iter::once((None, String::new()));
                let services = all.chain(names.into_iter().map(|(id, name)| (Some(id), name)));
                let stage = Stage::History { span, services: services.collect(), next: 0 };
                self.begin_slices(id, (JSON, "", length), stage, is_head);
            }
            Told::Events(json) => {
                let kind = ("text/event-stream", UNBUFFERED, Length::UntilClose);
                self.begin_slices(id, kind, Stage::Watching, is_head);
                if let Some(Conn::Admin(conn)) = self.conns.get(id)
                    && matches!(*conn.stage, Stage::Watching)
                {
                    if self.desk.watchers.is_empty() {
                        self.desk.tick = self.now() + limits::EVENTS_PAUSE;
                    }
                    self.desk.watchers.push(id);
                    self.set_deadline(id, None);
                    self.send_admin(id, &event(&json));
                }
            }
        }
    }

    fn begin_slices(
        &mut self,
        id: ConnId,
        (media_type, fields, length): (&str, &str, Length),
        stage: Stage,
        is_head: bool,
    ) {
        let mut head = Vec::new();
        write_head(200, media_type, fields, length, &mut head);
        if let Some(conn) = self.admin(id) {
            conn.is_chunked = length == Length::Chunks;
            *conn.stage = if is_head { Stage::Parting } else { stage };
        }
        if self.send_admin(id, &head) {
            match is_head {
                true => self.part_admin(id),
                false => self.write_on(id),
            }
        }
    }

    fn send_whole(&mut self, id: ConnId, whole: &Whole, is_head: bool) {
        let mut answer = Vec::new();
        whole.write(is_head, &mut answer);
        if let Some(conn) = self.admin(id) {
            *conn.stage = Stage::Parting;
        }
        if self.send_admin(id, &answer) {
            self.part_admin(id);
        }
    }

    /// Sends, and gives it time to take that; whether it is still there.
    fn send_admin(&mut self, id: ConnId, bytes: &[u8]) -> bool {
        let Some(Conn::Admin(conn)) = self.conns.get_mut(id) else { return false };
        let Io { net, buffers, .. } = &mut self.io;
        if conn.socket.send(net, buffers, bytes).is_err() {
            self.abort(id);
            return false;
        }
        let is_clear = conn.socket.is_clear();
        let watches = matches!(*conn.stage, Stage::Watching);
        if !(watches && is_clear) {
            self.set_deadline(id, Some(self.now() + limits::ADMIN_TIME));
        }
        true
    }

    /// The answer ends here.
    fn part_admin(&mut self, id: ConnId) {
        let Some(Conn::Admin(conn)) = self.conns.get_mut(id) else { return };
        *conn.stage = Stage::Parting;
        conn.socket.finish(&mut self.io.net);
        self.enqueue(id);
    }

    /// Writes the next slices while they are taken.
    fn write_on(&mut self, id: ConnId) {
        for _ in 0..BUDGET {
            let now = self.now();
            let Some(Conn::Admin(conn)) = self.conns.get_mut(id) else { return };
            let Io { net, buffers, .. } = &mut self.io;
            match conn.socket.flush(net, buffers) {
                Ok(_) if conn.socket.is_broken() => return self.abort(id),
                Ok(true) => self.set_deadline(id, Some(now + limits::ADMIN_TIME)),
                Ok(false) => {}
                Err(_) => return self.abort(id),
            }
            let Some(Conn::Admin(conn)) = self.conns.get_mut(id) else { return };
            if !conn.socket.is_clear() {
                return;
            }
            let slice = match &mut *conn.stage {
                Stage::Metrics(scrape) => scrape.next(),
                Stage::History { span, services, next } => {
                    let slice = self.desk.history.as_ref().and_then(|history| {
                        history_slice(history, *span, services, *next, self.io.net.wall())
                    });
                    *next += 1;
                    slice
                }
                _ => return,
            };
            let is_last = slice.is_none();
            let text = match (slice, conn.is_chunked) {
                (Some(slice), _) if slice.is_empty() => continue,
                (Some(slice), true) => format!("{:x}\r\n{slice}\r\n", slice.len()),
                (None, true) => "0\r\n\r\n".to_owned(),
                (slice, false) => slice.unwrap_or_default(),
            };
            if !self.send_admin(id, text.as_bytes()) {
                return;
            }
            if is_last {
                return self.part_admin(id);
            }
        }
        self.enqueue(id);
    }

    /// Nothing more is expected of it but its end.
    fn watch_admin(&mut self, id: ConnId) {
        for _ in 0..BUDGET {
            let Some(Conn::Admin(conn)) = self.conns.get_mut(id) else { return };
            let Io { net, buffers, scratch } = &mut self.io;
            let flushed = conn.socket.flush(net, buffers);
            let is_parting = conn.is_parting();
            let is_clear = conn.socket.is_clear();
            match (flushed, conn.socket.receive(net, &mut scratch.clear[..])) {
                (Err(_), _) | (_, Err(_)) => return self.abort(id),
                (Ok(_), Ok(Received::End)) if is_parting && is_clear => return self.close(id),
                (Ok(_), Ok(Received::End)) if !is_parting => return self.abort(id),
                (Ok(moved), Ok(Received::End | Received::Blocked)) => {
                    match (is_parting, is_clear) {
                        // Closing on what it may still send would reset the answer.
                        (true, true) if moved => {
                            self.set_deadline(id, Some(self.now() + limits::PARTING_TIME));
                        }
                        (false, true) if moved && self.is_watching(id) => {
                            self.set_deadline(id, None);
                        }
                        _ => {}
                    }
                    return;
                }
                (Ok(_), Ok(Received::Bytes(_))) => {}
            }
        }
        self.enqueue(id);
    }

    fn is_watching(&self, id: ConnId) -> bool {
        let is_so = |conn: &AdminConn<_>| matches!(*conn.stage, Stage::Watching);
        matches!(self.conns.get(id), Some(Conn::Admin(conn)) if is_so(conn))
    }

    /// It has had its time.
    pub(super) fn admin_overdue(&mut self, id: ConnId) {
        match self.admin(id).map(|conn| conn.is_parting() && conn.socket.is_clear()) {
            Some(true) => self.close(id),
            Some(false) => self.abort(id),
            None => {}
        }
    }

    /// Whether it is time to tell those who watch; then [`Core::tell_watchers`] is due.
    pub(super) fn watchers_are_due(&mut self) -> bool {
        if self.desk.watchers.is_empty() || self.now() < self.desk.tick {
            return false;
        }
        let conns = &self.conns;
        self.desk.watchers.retain(|id| conns.get(*id).is_some());
        !self.desk.watchers.is_empty()
    }

    /// Tells those who watch; who has not taken what it was told last is told later.
    pub(super) fn tell_watchers(&mut self, json: &str) {
        self.desk.tick = self.now() + limits::EVENTS_PAUSE;
        let event = event(json);
        for id in self.desk.watchers.clone() {
            if self.conns.is_clear(id) {
                self.send_admin(id, &event);
            }
        }
    }
}

/// Proxies in between are not to wait for more of it.
const UNBUFFERED: &str = "X-Accel-Buffering: no\r\n";

/// What a role says to a question.
pub(super) enum Told {
    /// All at once.
    Whole(Whole),
    /// These numbers.
    Metrics(Arc<Status>, Format),
    /// The samples of these services.
    History(Span, Vec<(ServiceId, String)>),
    /// This now, and what follows to who watches.
    Events(String),
}

/// Asks a role.
fn ask<N: Net, P, T>(role: &mut impl Informant<N, P, T>, question: &Question) -> Told {
    match question {
        Question::Page { part, takes_gzip } => Told::Whole(Whole::part(*part, *takes_gzip)),
        Question::Health => Told::Whole(Whole::health(role.health())),
        Question::Metrics(format) => Told::Metrics(Arc::new(role.status()), *format),
        Question::Status => Told::Whole(Whole::json(200, to_json(&role.status()).into_bytes())),
        Question::Events => Told::Events(to_json(&role.status())),
        Question::History(span) => Told::History(*span, role.names()),
        Question::Explain(asked) => Told::Whole(match role.explain(asked) {
            Ok(lines) => {
                let answer = serde_json::json!({ "name": asked, "lines": lines });
                Whole::json(200, answer.to_string().into_bytes())
            }
            Err(error) => {
                Whole::json(400, serde_json::json!({ "error": error }).to_string().into_bytes())
            }
        }),
    }
}

/// As the API has it.
fn to_json(status: &Status) -> String {
    // It has no maps with strange keys, and no numbers that JSON has not.
    serde_json::to_string(status).unwrap_or_default()
}

/// Tells those who watch how a role is (HTML, server-sent events).
fn event(json: &str) -> Vec<u8> {
    format!("event: status\ndata: {json}\n\n").into_bytes()
}

/// The part of a [`crate::status::History`] at `next`; `None` behind the last.
fn history_slice(
    history: &History,
    span: Span,
    services: &[(Option<ServiceId>, String)],
    next: usize,
    time: f64,
) -> Option<String> {
    if next == services.len() {
        return Some("]}\n".to_owned());
    }
    let (service, name) = services.get(next)?;
    let mut series = Series { name: name.clone(), ..Series::default() };
    for sample in history.of(*service, span) {
        series.received.push(sample.received as u64);
        series.sent.push(sample.sent as u64);
        series.visitors.push(sample.visitors as u64);
    }
    let begin = match next {
        0 => format!("{{\"step\":{},\"time\":{time},\"services\":[", span.step()),
        _ => String::new(),
    };
    if series.visitors.is_empty() && next > 0 {
        return Some(begin);
    }
    let comma = if next > 0 { "," } else { "" };
    Some(begin + comma + &serde_json::to_string(&series).unwrap_or_default())
}
