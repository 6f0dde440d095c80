//! Links: dialled when the server asks, introduced, and then lent to one visitor after another.

use std::ops::Range;
use std::time::Duration;

use log::debug;

use super::line::{Line, LineId, Role, Way};
use super::{Client, Tunnel};
use crate::config::{HostPort, Protocol};
use crate::engine::conn::{Carrier as _, Conn, Dialect, Event, Gone, READS};
use crate::engine::conns::ConnId;
use crate::engine::net::Net;
use crate::engine::pair::Patience;
use crate::limits;
use crate::proto::lease::Lease;
use crate::proto::noise::HandshakeHash;
use crate::proto::numbered::Number;
use crate::proto::time::Time;
use crate::wire::Status;
use crate::wire::client_hello::HelloScan;
use crate::wire::frame;
use crate::wire::message::{Entry, Message, Open, Reason, VERSION};
use crate::wire::proxy_header::{self, Ends, Tlvs, Version};

/// A link.
pub(super) struct Link {
    pub(super) line: LineId,
    /// When it was dialled.
    pub(super) begun: Time,
    pub(super) step: LinkStep,
    /// Of the visitor that is on it, or was last.
    pub(super) service: Option<Number>,
    /// The server wants to know when that one's connection at home is there.
    pub(super) confirm: bool,
}

pub(super) enum LinkStep {
    Connecting,
    Shaking,
    /// LINK_HELLO is sent; READY is due.
    Introduced,
    /// In the server's pool.
    Spare,
    /// A visitor is on it; its service's name is being looked up. What it has said so far.
    Resolving {
        held: Vec<u8>,
    },
    /// A visitor is on it.
    Leased {
        home: ConnId,
    },
    /// The datagrams of a UDP service's visitors are on it. What has come of the next record.
    Datagrams {
        service: Number,
        cut: Vec<u8>,
    },
    /// The home's connection has gone; the peer's end or our own last bytes are still under way.
    Settling,
}

impl LinkStep {
    pub(super) fn is_new(&self) -> bool {
        matches!(self, LinkStep::Connecting | LinkStep::Shaking | LinkStep::Introduced)
    }
}

impl<N: Net> Client<N> {
    /// Dials what is owed, within bounds.
    pub(super) fn dial_links(&mut self, id: LineId) {
        let at_once = (limits::LINKS_DIALLED_AT_ONCE / self.lines.len()).max(1);
        while self.has_room_for_link(id) {
            let Some(line) = self.lines.get(&id) else { return };
            let Way::Up { server, .. } = line.way else { return };
            let wanted = line.owed.min(at_once);
            if line.link_pause.is_some() || line.dialling >= wanted {
                return;
            }
            let (begun, step) = (self.core.now(), LinkStep::Connecting);
            let link = Link { line: id, begun, step, service: None, confirm: false };
            match self.dial_tunnel(id, server, Tunnel::Link(link)) {
                Ok(_) => {
                    self.links += 1;
                    if let Some(line) = self.lines.get_mut(&id) {
                        line.links += 1;
                        line.dialling += 1;
                    }
                }
                Err(error) => {
                    debug!("link to {server}: {error}");
                    self.pause_links(id);
                }
            }
        }
    }

    /// Whether a line may have one more: a crowd at one server leaves some to the others.
    fn has_room_for_link(&self, id: LineId) -> bool {
        let least = (self.most_links / (2 * self.lines.len())).min(limits::LINKS_OF_EACH);
        let lacks = |(other, line): (&LineId, &Line)| match line.role {
            Role::Active | Role::Next if *other != id => least.saturating_sub(line.links),
            _ => 0,
        };
        self.links + self.lines.iter().map(lacks).sum::<usize>() < self.most_links
    }

    fn pause_links(&mut self, id: LineId) {
        let (random, now) = (self.random(), self.core.now());
        let Some(line) = self.lines.get_mut(&id) else { return };
        line.link_pause = Some(now + line.link_backoff.next(random));
    }

    /// A link has no answer in time. One that is new has more if its session shows that the line is
    /// slow, or the queue before it long.
    pub(super) fn link_overdue(&mut self, id: ConnId) {
        let Some(&mut Link { line, begun, ref step, .. }) = self.link(id) else { return };
        let is_new = step.is_new();
        let round_trip = self.control_of(line).and_then(|control| self.round_trip(control));
        let slow = round_trip.map_or(Duration::ZERO, |(last, _)| last * 2);
        let step = limits::SERVER_STEP_TIME.max(slow);
        if !is_new || !self.core.still_begins(id, begun, step) {
            self.lose_link(id, "no answer in time");
        }
    }

    /// A link before READY.
    pub(super) fn advance_new_link(&mut self, id: ConnId) {
        if let Err(gone) = self.try_advance_new_link(id) {
            self.lose_link(id, gone);
        }
    }

    fn try_advance_new_link(&mut self, id: ConnId) -> Result<(), Gone> {
        let Some(conn) = self.core.conns.tunnel(id) else { return Ok(()) };
        let Tunnel::Link(link) = &mut conn.stage else { return Ok(()) };
        let line = link.line;
        match link.step {
            LinkStep::Connecting => {
                match self.core.io.net.connect_result(conn.socket.stream_mut()) {
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                    result => result.map_err(Gone::Io)?,
                }
                link.step = LinkStep::Shaking;
                self.try_advance_new_link(id)
            }
            LinkStep::Shaking => {
                conn.flush(&mut self.core.io)?;
                let turn = conn.shake_hands(&mut self.core.io)?;
                let Some(hash) = self.core.go_on(id, turn) else { return Ok(()) };
                match self.lines.get(&line).map(|line| line.to.protocol) {
                    Some(Protocol::Native) => self.introduce(id, line, &hash),
                    Some(Protocol::Rathole) => self.join_channel(id, line),
                    None => Err(Gone::Unexpected),
                }
            }
            _ => self.await_ready(id, line),
        }
    }

    /// The handshake of a link is done: says whose it is.
    fn introduce(&mut self, id: ConnId, line: LineId, hash: &HandshakeHash) -> Result<(), Gone> {
        self.set_step(id, LinkStep::Introduced);
        let Some(conn) = self.core.tunnel(id) else { return Ok(()) };
        conn.codec().allow(frame::MAX_BODY);
        let control = self.control_of(line).ok_or(Gone::Unexpected)?;
        let proof = self.session(control).and_then(|session| session.link_proof(hash));
        let Some((session, proof)) = proof else { return Err(Gone::Unexpected) };
        self.core.say(id, &Message::LinkHello { version: VERSION, session, proof })?;
        self.await_ready(id, line)
    }

    fn await_ready(&mut self, id: ConnId, line: LineId) -> Result<(), Gone> {
        for _ in 0..READS {
            let Some(conn) = self.core.conns.tunnel(id) else { return Ok(()) };
            conn.flush(&mut self.core.io)?;
            let pulled = conn.pull(&mut self.core.io)?;
            match pulled.end {
                None if pulled.moved => {}
                None => return Ok(()),
                Some(Event::Message(kind, payload)) => {
                    let payload = &self.core.io.scratch.clear[payload];
                    let message = Message::decode(kind, payload).map_err(Gone::Message)?;
                    let Message::Ready = message else { return Err(Gone::Unexpected) };
                    self.link_stands(id, line);
                    // OPEN may have come with READY.
                    self.hear_spare(id);
                    return Ok(());
                }
                Some(Event::Fin | Event::Reset(_)) => return Err(Gone::Unexpected),
            }
        }
        self.core.enqueue(id);
        Ok(())
    }

    /// The server has one more of the links that it wanted.
    pub(super) fn link_stands(&mut self, id: ConnId, line: LineId) {
        self.set_step(id, LinkStep::Spare);
        self.core.set_deadline(id, None);
        let Some(line) = self.lines.get_mut(&line) else { return };
        line.owed = line.owed.saturating_sub(1);
        line.dialling -= 1;
        line.link_backoff.reset();
    }

    /// A spare link waits for OPEN.
    pub(super) fn hear_spare(&mut self, id: ConnId) {
        let heard = match self.core.conns.tunnel(id).map(|conn| conn.dialect()) {
            Some(Dialect::Rathole) => self.hear_start(id),
            Some(Dialect::Native | Dialect::Unknown) => self.try_hear_spare(id),
            None => return,
        };
        if let Err(gone) = heard {
            self.lose_link(id, gone);
        }
    }

    fn try_hear_spare(&mut self, id: ConnId) -> Result<(), Gone> {
        for _ in 0..READS {
            let Some(conn) = self.core.conns.tunnel(id) else { return Ok(()) };
            conn.flush(&mut self.core.io)?;
            let pulled = conn.pull(&mut self.core.io)?;
            match pulled.end {
                None if pulled.moved => {}
                None => return Ok(()),
                Some(Event::Fin | Event::Reset(_)) => return Err(Gone::Unexpected),
                Some(Event::Message(kind, payload)) => return self.hear_open(id, kind, payload),
            }
        }
        self.core.enqueue(id);
        Ok(())
    }

    /// A message on a spare link, which lies in `scratch.clear`: it can only be OPEN.
    fn hear_open(&mut self, id: ConnId, kind: u8, payload: Range<usize>) -> Result<(), Gone> {
        let Some(conn) = self.core.conns.tunnel(id) else { return Ok(()) };
        let io = &mut self.core.io;
        let message = Message::decode(kind, &io.scratch.clear[payload]).map_err(Gone::Message)?;
        let Message::Open(open) = message else { return Err(Gone::Unexpected) };
        conn.codec().hear_open(&open)?;
        if open.entry == Entry::Udp {
            let service = open.service;
            self.begin_datagrams(id, service);
            return Ok(());
        }
        let service = self.services.get(open.service);
        let mut held = Vec::new();
        if let Some(version) = service.and_then(|service| service.proxy_protocol) {
            let header = &mut io.scratch.message;
            write_proxy_header(version, &open, &mut io.scratch.wire, header);
            io.buffers.append(&mut held, header);
        }
        io.buffers.append(&mut held, open.first_bytes);
        let target = service.and_then(|service| match open.entry {
            Entry::Tcp => service.local_port(open.offset),
            Entry::Http => service.local_http_addr.clone(),
            Entry::Https => service.local_https_addr.clone(),
            Entry::Udp => None, // above
        });
        log_open(&open, target.as_ref());
        let (number, confirm) = (open.service, open.confirm);
        if let Some(link) = self.link(id) {
            link.confirm = confirm;
        }
        self.welcome_visitor(id, number, target, held);
        Ok(())
    }

    /// Finds the address of a visitor's service.
    pub(super) fn welcome_visitor(
        &mut self,
        id: ConnId,
        service: Number,
        target: Option<HostPort>,
        mut held: Vec<u8>,
    ) {
        if let Some(link) = self.link(id) {
            link.service = Some(service);
        }
        let Some(target) = target else {
            self.core.io.buffers.give_back(&mut held);
            return self.refuse_visitor(id, Reason::NoService);
        };
        if let Some(addresses) = self.known_addresses(&target) {
            return self.dial_home(id, target, addresses, held);
        }
        self.set_step(id, LinkStep::Resolving { held });
        let deadline = self.wait_for(&target);
        self.core.set_deadline(id, Some(deadline));
        self.look_up_home(target, Some(id));
    }

    /// The visitor cannot be served: says so on its link.
    pub(super) fn refuse_visitor(&mut self, id: ConnId, reason: Reason) {
        self.note_dial(id, Err(reason));
        self.core.set_deadline(id, None);
        let Some(conn) = self.core.conns.tunnel(id) else { return };
        if let Tunnel::Link(Link { step: LinkStep::Resolving { held }, .. }) = &mut conn.stage {
            self.core.io.buffers.give_back(held);
        }
        match conn.say_reset(&mut self.core.io, reason) {
            Ok(()) => self.start_settling(id),
            Err(gone) => self.lose_link(id, gone),
        }
    }

    /// A link whose visitor waits for an address is not read from; only its breaking matters.
    pub(super) fn watch_link(&mut self, id: ConnId) {
        if self.core.conns.is_broken(id) {
            self.lose_link(id, "broken");
        }
    }

    pub(super) fn start_settling(&mut self, id: ConnId) {
        self.set_step(id, LinkStep::Settling);
        self.settle(id);
    }

    /// Reads a link up to the peer's end and writes what is left; then it is spare again.
    pub(super) fn settle(&mut self, id: ConnId) {
        let dialect = self.core.conns.tunnel(id).map(|conn| conn.dialect());
        if dialect == Some(Dialect::Rathole) {
            return self.settle_channel(id);
        }
        // In order, the end may take as long as a slow visitor takes to read.
        match self.core.settle(id, Lease::has_ended, Patience::Endless) {
            Ok(true) => self.free_link(id),
            Ok(false) => {}
            Err(gone) => self.lose_link(id, gone),
        }
    }

    /// Both directions of the lease have ended: says so, and is spare again.
    fn free_link(&mut self, id: ConnId) {
        let Some(conn) = self.core.conns.tunnel(id) else { return };
        if let Err(gone) = conn.say_ready(&mut self.core.io) {
            return self.lose_link(id, gone);
        }
        self.set_step(id, LinkStep::Spare);
        self.core.set_deadline(id, None);
        // The next OPEN may be here already.
        self.core.enqueue(id);
    }

    /// Closes a link that has served its one visitor.
    pub(super) fn close_link(&mut self, id: ConnId) {
        let Some(line) = self.link(id).map(|link| link.line) else { return };
        self.core.close(id);
        self.uncount_link(line);
    }

    fn uncount_link(&mut self, line: LineId) {
        self.links -= 1;
        if let Some(line) = self.lines.get_mut(&line) {
            line.links -= 1;
        }
    }

    /// Closes a link, and resets the connection at home that is on it.
    pub(super) fn lose_link(&mut self, id: ConnId, why: impl std::fmt::Display) {
        let Some(link) = self.link(id) else { return };
        if let LinkStep::Leased { home } = link.step {
            self.count_bytes(id, home);
        }
        let Some(link) = self.link(id) else { return };
        let line = link.line;
        let mut step = std::mem::replace(&mut link.step, LinkStep::Settling);
        debug!("link: {why}");
        self.core.abort(id);
        self.uncount_link(line);
        match &mut step {
            LinkStep::Leased { home } => self.core.abort(*home),
            LinkStep::Resolving { held } => self.core.io.buffers.give_back(held),
            LinkStep::Datagrams { service, cut } => {
                self.core.io.buffers.give_back(cut);
                self.forget_datagrams(*service, id);
            }
            _ => {}
        }
        if step.is_new()
            && let Some(its) = self.lines.get_mut(&line)
        {
            its.dialling -= 1;
            if its.link_pause.is_none() {
                self.pause_links(line);
            }
        }
    }

    /// The session has ended. A rathole server's channels that carry a visitor go on, as with
    /// rathole's client: they need nothing of the control channel.
    pub(super) fn lose_links_of(&mut self, id: LineId) {
        let Some(line) = self.lines.get(&id) else { return };
        let are_bound = line.to.protocol == Protocol::Native;
        let is_lost = |link: &Link| {
            let is_idle = link.step.is_new() || matches!(link.step, LinkStep::Spare);
            link.line == id && (are_bound || is_idle)
        };
        let lost = self.core.conns.iter().filter(|(_, conn)| match conn {
            Conn::Tunnel(conn) => matches!(&conn.stage, Tunnel::Link(link) if is_lost(link)),
            Conn::Plain(_) | Conn::Admin(_) => false,
        });
        let links: Vec<ConnId> = lost.map(|(id, _)| id).collect();
        for link in links {
            self.lose_link(link, "its session has ended");
        }
        let Some(line) = self.lines.get_mut(&id) else { return };
        line.owed = 0;
        line.link_pause = None;
        line.link_backoff.reset();
    }

    /// The session that a line carries.
    pub(super) fn control_of(&self, line: LineId) -> Option<ConnId> {
        match self.lines.get(&line)?.way {
            Way::Up { control, .. } => Some(control),
            _ => None,
        }
    }

    pub(super) fn set_step(&mut self, id: ConnId, step: LinkStep) {
        if let Some(link) = self.link(id) {
            link.step = step;
        }
    }

    pub(super) fn link(&mut self, id: ConnId) -> Option<&mut Link> {
        match &mut self.core.tunnel(id)?.stage {
            Tunnel::Link(link) => Some(link),
            Tunnel::Control(_) => None,
        }
    }
}

/// Replaces `header` by what the home's server is to be told of a visitor. What it offers by ALPN
/// is in its hello, which OPEN brings whole but for one of 64 KB; `scratch` is for one in pieces.
fn write_proxy_header(version: Version, open: &Open<'_>, scratch: &mut [u8], header: &mut Vec<u8>) {
    let hello = match (version, open.entry) {
        (Version::V2, Entry::Https) => HelloScan::new().feed(open.first_bytes, scratch),
        _ => Ok(Status::Partial),
    };
    let alpn = match hello {
        Ok(Status::Complete(mut hello)) => hello.alpn.next().unwrap_or_default(),
        _ => &[],
    };
    let ends = Ends { source: open.visitor, destination: open.local };
    header.clear();
    proxy_header::write(version, ends, Tlvs { authority: open.name, alpn }, header);
}

fn log_open(open: &Open<'_>, target: Option<&HostPort>) {
    if log::log_enabled!(log::Level::Debug) {
        let name = String::from_utf8_lossy(open.name).into_owned();
        match target {
            Some(target) => debug!("visitor {} for {name:?} goes to {target}", open.visitor),
            None => debug!("visitor {} for {name:?}: no such service here", open.visitor),
        }
    }
}
