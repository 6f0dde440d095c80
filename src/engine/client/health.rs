//! Looks at what runs at home: a connection, or a request, every so often. The servers are told
//! when it does not answer any more, and when it does again.

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::net::SocketAddr;

use log::{info, warn};

use super::home::HomeStep;
use super::names::in_order;
use super::{Client, Tunnel};
use crate::config::{ClientService, HostPort, Probe, ServiceKind};
use crate::engine::conn::{Carrier as _, Conn, Gone};
use crate::engine::conns::ConnId;
use crate::engine::net::Net;
use crate::proto::health::Health;
use crate::proto::numbered::Number;
use crate::proto::time::Time;
use crate::wire::proxy_header;

/// The services that are looked at.
pub(super) type Watches = BTreeMap<Number, Watch>;

/// One of them.
pub(super) struct Watch {
    health: Health,
    target: HostPort,
    look: Look,
}

enum Look {
    /// The next one is not due.
    None,
    /// The name's address is sought until then.
    Resolving(Time),
    /// On this connection.
    Under(ConnId),
}

/// What a look has come to on its connection.
pub(super) struct Looking {
    service: Number,
    /// Addresses that were not tried.
    rest: VecDeque<SocketAddr>,
    until: Time,
    /// What is asked once the connection is there, if anything is.
    request: Option<Vec<u8>>,
    /// It has been.
    has_asked: bool,
    /// The beginning of the answer.
    answer: Vec<u8>,
}

/// `HTTP/1.1 200`, from which the status is read.
const STATUS: usize = 12;

impl<N: Net> Client<N> {
    /// Takes what the file says of looks. A service whose looks have changed is well until they say
    /// otherwise.
    pub(super) fn watch_homes(&mut self) {
        let now = self.core.now();
        let mut former = std::mem::take(&mut self.watches);
        for (number, service) in self.services.iter() {
            let Some(check) = service.health_check.clone() else { continue };
            let Some(target) = target(service) else { continue };
            let is_same = |it: &Watch| *it.health.check() == check && it.target == target;
            let watch = match former.get(&number).is_some_and(is_same) {
                true => former.remove(&number),
                false => None,
            };
            let health = || Health::new(check, now);
            let watch =
                watch.unwrap_or_else(|| Watch { health: health(), target, look: Look::None });
            self.watches.insert(number, watch);
        }
        for (number, watch) in former {
            if let Look::Under(conn) = watch.look {
                self.core.abort(conn);
            }
            // It may be looked at in another way now, and is told of anew.
            if !watch.health.is_well() {
                self.tell_health(number, true);
            }
        }
    }

    /// When [`Client::look_at_homes`] is due.
    pub(super) fn next_health_check(&self) -> Option<Time> {
        let at = |watch: &Watch| match watch.look {
            Look::None => Some(watch.health.due_at()),
            Look::Resolving(until) => Some(until),
            Look::Under(_) => None,
        };
        self.watches.values().filter_map(at).min()
    }

    /// Begins the looks that are due.
    pub(super) fn look_at_homes(&mut self) {
        let now = self.core.now();
        let mut next = 0;
        while let Some((number, watch)) = self.watches.range_mut(next..).next() {
            let number = *number;
            next = number + 1;
            let (until, is_new) = match watch.look {
                Look::None if watch.health.due_at() <= now => (watch.health.begin(now), true),
                Look::Resolving(until) => (until, false),
                Look::None | Look::Under(_) => continue,
            };
            watch.look = Look::Resolving(until);
            let target = watch.target.clone();
            if is_new && self.known_addresses(&target).is_none() {
                self.look_up_home(target.clone(), None);
            }
            match self.known_addresses(&target) {
                Some(addresses) => self.begin_look(number, addresses, until),
                None if until <= now => self.look_over(number, Err("its name has no address")),
                None => {}
            }
        }
    }

    fn begin_look(&mut self, number: Number, addresses: Vec<SocketAddr>, until: Time) {
        let Some(service) = self.services.get(number) else { return };
        let rest = in_order(addresses, service.prefer_ipv6).into();
        let request = request(service);
        let (has_asked, answer) = (false, Vec::new());
        let looking = Looking { service: number, rest, until, request, has_asked, answer };
        self.dial_look(Box::new(looking));
    }

    /// Dials the first address that is left.
    fn dial_look(&mut self, mut looking: Box<Looking>) {
        let number = looking.service;
        while let Some(address) = looking.rest.pop_front() {
            let Ok(stream) = self.core.io.net.connect(address) else { continue };
            let until = looking.until;
            let Ok(id) = self.adopt_home(stream, HomeStep::Looked(looking)) else { break };
            self.core.set_deadline(id, Some(until));
            if let Some(watch) = self.watches.get_mut(&number) {
                watch.look = Look::Under(id);
            }
            return;
        }
        self.look_over(number, Err("it cannot be reached"));
    }

    /// An event of a look's connection.
    pub(super) fn advance_look(&mut self, id: ConnId) {
        let Some(conn) = self.core.conns.plain(id) else { return };
        let HomeStep::Looked(looking) = &mut conn.stage.step else { return };
        let (number, asks) = (looking.service, looking.request.is_some());
        match self.core.io.net.connect_result(conn.socket.stream_mut()) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(_) => return self.look_elsewhere(id),
            Ok(()) => {}
        }
        let result = if asks { self.hear_look(id) } else { Some(Ok(())) };
        if let Some(result) = result {
            self.core.abort(id);
            self.look_over(number, result);
        }
    }

    /// Asks, and reads the answer's status; what that comes to, once it is here.
    fn hear_look(&mut self, id: ConnId) -> Option<Result<(), &'static str>> {
        const BROKEN: Option<Result<(), &str>> = Some(Err("its connection broke"));
        let conn = self.core.conns.plain(id)?;
        let HomeStep::Looked(looking) = &mut conn.stage.step else { return None };
        let io = &mut self.core.io;
        if !std::mem::replace(&mut looking.has_asked, true)
            && let Some(request) = &looking.request
            && conn.socket.send(&mut io.net, &mut io.buffers, request).is_err()
        {
            return BROKEN;
        }
        loop {
            let pulled: Result<_, Gone> = conn.pull(io);
            let Ok(pulled) = pulled else { return BROKEN };
            let HomeStep::Looked(looking) = &mut conn.stage.step else { return None };
            let room = STATUS - looking.answer.len();
            looking.answer.extend_from_slice(&io.scratch.clear[..pulled.data.min(room)]);
            if looking.answer.len() == STATUS {
                return Some(match &*looking.answer {
                    [b'H', b'T', b'T', b'P', b'/', b'1', b'.', _, b' ', b'2' | b'3', ..] => Ok(()),
                    [b'H', b'T', b'T', b'P', b'/', ..] => Err("its answer is an error"),
                    _ => Err("its answer is no HTTP"),
                });
            }
            if pulled.end.is_some() {
                return BROKEN;
            }
            if !pulled.moved {
                return None;
            }
        }
    }

    /// A look's connection has come to nothing: the next address has its turn.
    pub(super) fn look_elsewhere(&mut self, id: ConnId) {
        let Some(conn) = self.core.plain(id) else { return };
        let step = std::mem::replace(&mut conn.stage.step, HomeStep::Parting);
        self.core.abort(id);
        if let HomeStep::Looked(looking) = step {
            self.dial_look(looking);
        }
    }

    /// A look has taken too long.
    pub(super) fn look_overdue(&mut self, id: ConnId) {
        let Some(conn) = self.core.plain(id) else { return };
        let HomeStep::Looked(looking) = &conn.stage.step else { return };
        let number = looking.service;
        self.core.abort(id);
        self.look_over(number, Err("it did not answer in time"));
    }

    fn look_over(&mut self, number: Number, result: Result<(), &'static str>) {
        let Some(watch) = self.watches.get_mut(&number) else { return };
        watch.look = Look::None;
        let changes = watch.health.note(result.is_ok());
        self.note_look(number, result);
        if !changes {
            return;
        }
        let name = self.services.name(number);
        match result {
            Ok(()) => info!("service {name} answers again"),
            Err(why) => warn!("service {name} is down: {why}"),
        }
        self.tell_health(number, result.is_ok());
    }

    /// Tells every server whether what runs at home answers.
    fn tell_health(&mut self, number: Number, is_well: bool) {
        let controls = self.core.conns.iter().filter_map(|(id, conn)| match conn {
            Conn::Tunnel(conn) => matches!(&conn.stage, Tunnel::Control(_)).then_some(id),
            Conn::Plain(_) | Conn::Admin(_) => None,
        });
        let controls: Vec<ConnId> = controls.collect();
        for id in controls {
            let message = self.session(id).and_then(|it| it.set_health(number, is_well));
            if let Some(message) = message
                && let Err(gone) = self.core.say(id, &message)
            {
                self.end_session(id, gone);
            }
        }
    }
}

/// Whether what runs at home answers, as far as is known.
pub(super) fn is_well(watches: &Watches, number: Number) -> bool {
    watches.get(&number).is_none_or(|watch| watch.health.is_well())
}

/// Where the looks go: where the service's visitors do.
fn target(service: &ClientService) -> Option<HostPort> {
    let check = service.health_check.as_ref()?;
    let http = service.local_http_addr.as_ref();
    match (service.kind, &check.probe) {
        (ServiceKind::Web, Probe::Http { .. }) | (ServiceKind::Http, _) => http.cloned(),
        _ => service.local_addr.clone(),
    }
}

/// What is asked, unless a connection is enough. Where visitors' addresses are told in front of all
/// else, a header says that this is nobody's connection.
fn request(service: &ClientService) -> Option<Vec<u8>> {
    let Probe::Http { path, host } = &service.health_check.as_ref()?.probe else { return None };
    let mut request = Vec::new();
    if let Some(version) = service.proxy_protocol {
        proxy_header::write_local(version, &mut request);
    }
    let text = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: underpass\r\nConnection: close\r\n\r\n"
    );
    request.extend_from_slice(text.as_bytes());
    Some(request)
}
