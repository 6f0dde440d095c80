//! What is otherwise with a rathole server: each service has a control channel of its own, on which
//! the server asks for data channels; each of those is lent to one visitor, and closed.

use log::info;

use super::line::{LineId, Way};
use super::link::Link;
use super::session::{BUDGET, Control, Step};
use super::{Client, Complaint, Tunnel};
use crate::config::ServiceKind;
use crate::engine::conn::{Carrier as _, Gone};
use crate::engine::conns::ConnId;
use crate::engine::net::Net;
use crate::engine::pair::Patience;
use crate::limits;
use crate::proto::lease::Lease;
use crate::proto::rathole_client::{self, ControlChannel, Due};
use crate::wire::frame;
use crate::wire::rathole::{Ack, Command, Hello, Start};

impl<N: Net> Client<N> {
    /// The handshake of a control connection is done: asks for the line's service.
    pub(super) fn open_channel(&mut self, id: ConnId, line: LineId) -> Result<(), Gone> {
        let its = self.lines.get(&line).ok_or(Gone::Unexpected)?;
        let channel = ControlChannel::new(its.to.heartbeat_timeout, self.core.now());
        let service = its.service.and_then(|service| self.services.get(service));
        let hello = rathole_client::hello(service.ok_or(Gone::Unexpected)?);
        let Some(conn) = self.core.conns.tunnel(id) else { return Ok(()) };
        conn.codec().speak_rathole();
        conn.codec().allow(limits::CONTROL_BODY);
        if let Tunnel::Control(control) = &mut conn.stage {
            control.step = Step::Channel(Box::new(channel));
        }
        self.core.push(id, &hello)?;
        self.hear_channel(id)
    }

    /// Says rathole's hello for a service that nobody has, to a server that may be rathole's.
    pub(super) fn ask_dialect(&mut self, id: ConnId) -> Result<(), Gone> {
        let mut nobody = [0; 32];
        self.core.io.net.random(&mut nobody);
        let Some(conn) = self.core.conns.tunnel(id) else { return Ok(()) };
        conn.codec().speak_rathole();
        conn.codec().allow(limits::CONTROL_BODY);
        if let Tunnel::Control(control) = &mut conn.stage {
            control.step = Step::Asked;
        }
        self.core.push(id, &Hello::Control(nobody).encode())?;
        self.hear_dialect(id)
    }

    /// A rathole server answers with a hello and at once with the ack that there is no such
    /// service; underpass, which speaks that protocol too, wants to see a token first.
    pub(super) fn hear_dialect(&mut self, id: ConnId) -> Result<(), Gone> {
        let now = self.core.now();
        let Some(conn) = self.core.conns.tunnel(id) else { return Ok(()) };
        conn.flush(&mut self.core.io)?;
        let is_asked = |control: &Control| matches!(control.step, Step::Asked);
        if matches!(&conn.stage, Tunnel::Control(control) if is_asked(control)) {
            let turn = conn.take(&mut self.core.io)?;
            let Some(hello) = self.core.go_on(id, turn) else { return Ok(()) };
            Hello::decode(&hello).map_err(Gone::Rathole)?;
            if let Some(control) = self.control(id) {
                control.step = Step::Answered;
            }
            self.core.set_deadline(id, Some(now + limits::PROBE_ACK_TIME));
        }
        let Some(conn) = self.core.conns.tunnel(id) else { return Ok(()) };
        let turn = conn.take(&mut self.core.io)?;
        match self.core.go_on(id, turn).map(Ack::decode) {
            None => Ok(()),
            Some(Ok(Ack::NoSuchService)) => Err(Gone::OtherProtocol),
            Some(_) => Err(Gone::Unexpected),
        }
    }

    /// What the server says on a control channel.
    pub(super) fn hear_channel(&mut self, id: ConnId) -> Result<(), Gone> {
        for _ in 0..BUDGET {
            let Some(conn) = self.core.conns.tunnel(id) else { return Ok(()) };
            conn.flush(&mut self.core.io)?;
            let Tunnel::Control(control) = &conn.stage else { return Ok(()) };
            let Step::Channel(channel) = &control.step else { return Ok(()) };
            let heard = match channel.due() {
                Due::Hello => self.hear_hello(id)?,
                Due::Ack => self.hear_ack(id)?,
                Due::Command => self.hear_command(id)?,
            };
            if !heard {
                return Ok(());
            }
            self.set_session_deadline(id);
        }
        self.core.enqueue(id);
        Ok(())
    }

    /// The next message of a server's, if it is here.
    fn take<const LENGTH: usize>(&mut self, id: ConnId) -> Result<Option<[u8; LENGTH]>, Gone> {
        let conn = self.core.conns.tunnel(id).ok_or(Gone::Unexpected)?;
        let turn = conn.take(&mut self.core.io)?;
        Ok(self.core.go_on(id, turn))
    }

    fn hear_hello(&mut self, id: ConnId) -> Result<bool, Gone> {
        let Some(hello) = self.take(id)? else { return Ok(false) };
        let Some(conn) = self.core.tunnel(id) else { return Ok(false) };
        let Tunnel::Control(control) = &mut conn.stage else { return Ok(false) };
        let Step::Channel(channel) = &mut control.step else { return Ok(false) };
        let line = self.lines.get(&control.line).ok_or(Gone::Unexpected)?;
        let service = line.service.and_then(|service| self.services.get(service));
        let token = line.to.server.token_of(service.ok_or(Gone::Unexpected)?).expose();
        let auth = channel.handle_hello(&hello, token).map_err(Gone::Rathole)?;
        self.core.push(id, &auth)?;
        Ok(true)
    }

    fn hear_ack(&mut self, id: ConnId) -> Result<bool, Gone> {
        let now = self.core.now();
        let Some(ack) = self.take(id)? else { return Ok(false) };
        let Some(control) = self.control(id) else { return Ok(false) };
        let Step::Channel(channel) = &mut control.step else { return Ok(false) };
        let (line, server) = (control.line, control.server);
        match channel.handle_ack(ack, now).map_err(Gone::Rathole)? {
            Ack::Ok => {
                let its = self.lines.get_mut(&line).ok_or(Gone::Unexpected)?;
                its.way = Way::Up { control: id, server };
                (its.since, its.error) = (now, None);
                its.sessions += 1;
                let name = its.service.map_or("", |service| self.services.name(service));
                info!("service {name} is up on {} (rathole)", its.to.server_at(server));
                self.stands(line);
                Ok(true)
            }
            refusal => Err(Gone::Refused(refusal)),
        }
    }

    fn hear_command(&mut self, id: ConnId) -> Result<bool, Gone> {
        let now = self.core.now();
        let Some(command) = self.take(id)? else { return Ok(false) };
        let Some(control) = self.control(id) else { return Ok(false) };
        let line = control.line;
        let Step::Channel(channel) = &mut control.step else { return Ok(false) };
        match channel.handle_command(command, now).map_err(Gone::Rathole)? {
            Command::CreateDataChannel => {
                if let Some(line) = self.lines.get_mut(&line) {
                    line.owed = self.most_links.min(line.owed + 1);
                }
            }
            Command::Heartbeat => {}
        }
        Ok(true)
    }

    /// The handshake of a data channel is done: says whose it is. The server answers only when it
    /// has a visitor.
    pub(super) fn join_channel(&mut self, id: ConnId, line: LineId) -> Result<(), Gone> {
        let control = self.control_of(line).ok_or(Gone::Unexpected)?;
        let Some(control) = self.control(control) else {
            return Err(Gone::Unexpected);
        };
        let Step::Channel(channel) = &control.step else { return Err(Gone::Unexpected) };
        let hello = channel.data_hello().ok_or(Gone::Unexpected)?;
        if let Some(conn) = self.core.tunnel(id) {
            conn.codec().speak_rathole();
            conn.codec().allow(frame::MAX_BODY);
        }
        self.core.push(id, &hello)?;
        self.link_stands(id, line);
        self.hear_start(id)
    }

    /// A data channel waits for its visitor.
    pub(super) fn hear_start(&mut self, id: ConnId) -> Result<(), Gone> {
        let Some(conn) = self.core.conns.tunnel(id) else { return Ok(()) };
        conn.flush(&mut self.core.io)?;
        let Some(start) = self.take(id)? else { return Ok(()) };
        let Some(conn) = self.core.conns.tunnel(id) else { return Ok(()) };
        let Tunnel::Link(Link { line, .. }) = conn.stage else { return Err(Gone::Unexpected) };
        let number = self.lines.get(&line).and_then(|line| line.service);
        let number = number.ok_or(Gone::Unexpected)?;
        let service = self.services.get(number).ok_or(Gone::Unexpected)?;
        match (Start::decode(start).map_err(Gone::Rathole)?, service.kind) {
            (Start::Tcp, kind) if kind != ServiceKind::Udp => {
                conn.codec().lend_stream();
                let target = service.local_addr.clone();
                self.welcome_visitor(id, number, target, Vec::new());
                Ok(())
            }
            (Start::Udp, ServiceKind::Udp) => {
                conn.codec().lend_stream();
                self.begin_datagrams(id, number);
                Ok(())
            }
            (start, kind) => {
                let (name, kind) = (service.name.clone(), kind.as_str());
                let there = if start == Start::Udp { "udp" } else { "tcp" };
                self.complain(Complaint::Refusal(line), || {
                    format!("service {name}: its type is {kind} here and {there} on the server")
                });
                Err(Gone::Unexpected)
            }
        }
    }

    /// A data channel whose visitor has gone: writes what is left, and closes. A server that takes
    /// nothing of it for long is given up.
    pub(super) fn settle_channel(&mut self, id: ConnId) {
        // Over is what has ended in order: after a reset the channel is aborted, for the server.
        let patience = Patience::Silence(limits::HALF_CLOSED_SILENCE);
        match self.core.settle(id, Lease::is_over, patience) {
            Ok(true) => self.close_link(id),
            Ok(false) => {}
            Err(gone) => self.lose_link(id, gone),
        }
    }
}
