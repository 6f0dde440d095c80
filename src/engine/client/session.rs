//! The control session: the greeting, its messages, its end.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use log::{debug, info};

use super::health::is_well;
use super::home::Home;
use super::line::{Line, LineId, Way};
use super::{Client, Complaint, Tunnel};
use crate::config::Protocol;
use crate::engine::conn::{Carrier as _, Conn, Event, Gone};
use crate::engine::conns::ConnId;
use crate::engine::net::Net;
use crate::limits;
use crate::proto::control_client::{Asked, ControlClient};
use crate::proto::keepalive::{Due, Keepalive};
use crate::proto::noise::HandshakeHash;
use crate::proto::numbered::Number;
use crate::proto::rathole_client::ControlChannel;
use crate::proto::time::Time;
use crate::wire::message::{Message, Registration, VERSION};
use crate::wire::rathole::Reject;

/// The control connection.
pub(super) struct Control {
    pub(super) line: LineId,
    pub(super) server: SocketAddr,
    /// It is to find out why another one ended so: whether the server speaks rathole's protocol.
    probe: Option<String>,
    /// When it was dialled.
    begun: Time,
    pub(super) step: Step,
}

impl Control {
    /// Just dialled.
    pub(super) fn connecting(line: LineId, server: SocketAddr, begun: Time) -> Control {
        Control { line, server, probe: None, begun, step: Step::Connecting }
    }
}

pub(super) enum Step {
    Connecting,
    Shaking,
    Session(Box<ControlClient>),
    /// With a rathole server.
    Channel(Box<ControlChannel>),
    /// Of a probe: rathole's hello is sent.
    Asked,
    /// And answered; the server is rathole's if it also knows that there is no such service.
    Answered,
}

impl Step {
    /// Whether the server has welcomed us.
    fn stands(&self) -> bool {
        match self {
            Step::Session(session) => session.is_welcome(),
            Step::Channel(channel) => channel.is_up(),
            Step::Connecting | Step::Shaking | Step::Asked | Step::Answered => false,
        }
    }

    fn pulse(&mut self) -> Option<&mut Keepalive> {
        match self {
            Step::Session(session) => Some(&mut session.pulse),
            Step::Channel(channel) => Some(&mut channel.pulse),
            Step::Connecting | Step::Shaking | Step::Asked | Step::Answered => None,
        }
    }
}

/// Messages before others have their turn.
pub(super) const BUDGET: usize = 32;

impl<N: Net> Client<N> {
    pub(super) fn advance_control(&mut self, id: ConnId) {
        if let Err(gone) = self.try_advance_control(id) {
            self.end_session(id, gone);
        }
    }

    fn try_advance_control(&mut self, id: ConnId) -> Result<(), Gone> {
        let Some(conn) = self.core.conns.tunnel(id) else { return Ok(()) };
        let Tunnel::Control(control) = &mut conn.stage else { return Ok(()) };
        let (line, is_probe) = (control.line, control.probe.is_some());
        match &mut control.step {
            Step::Connecting => {
                match self.core.io.net.connect_result(conn.socket.stream_mut()) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    result => result.map_err(Gone::Io)?,
                }
                control.step = Step::Shaking;
                self.try_advance_control(id)
            }
            Step::Shaking => {
                conn.flush(&mut self.core.io)?;
                let turn = conn.shake_hands(&mut self.core.io)?;
                let Some(hash) = self.core.go_on(id, turn) else { return Ok(()) };
                match self.lines.get(&line).map(|line| line.to.protocol) {
                    None => Err(Gone::Unexpected),
                    Some(_) if is_probe => self.ask_dialect(id),
                    Some(Protocol::Rathole) => self.open_channel(id, line),
                    Some(Protocol::Native) => self.greet_server(id, line, hash),
                }
            }
            Step::Session(_) => self.hear_session(id),
            Step::Channel(_) => self.hear_channel(id),
            Step::Asked | Step::Answered => self.hear_dialect(id),
        }
    }

    /// The handshake is done: says hello.
    fn greet_server(&mut self, id: ConnId, line: LineId, hash: HandshakeHash) -> Result<(), Gone> {
        let now = self.core.now();
        let Some(line) = self.lines.get(&line) else { return Ok(()) };
        let (instance, timeout) = (line.instance, line.to.heartbeat_timeout);
        let Some(conn) = self.core.conns.tunnel(id) else { return Ok(()) };
        conn.codec().allow(limits::CONTROL_BODY);
        let hello = Message::Hello { min_version: VERSION, max_version: VERSION, instance };
        conn.say(&mut self.core.io, &hello)?;
        let session = ControlClient::new(hash, timeout, now);
        if let Tunnel::Control(control) = &mut conn.stage {
            control.step = Step::Session(Box::new(session));
        }
        self.hear_session(id)
    }

    fn hear_session(&mut self, id: ConnId) -> Result<(), Gone> {
        for _ in 0..BUDGET {
            let now = self.core.now();
            let Some(conn) = self.core.conns.tunnel(id) else { return Ok(()) };
            conn.flush(&mut self.core.io)?;
            if conn.socket.backlog() > limits::CONTROL_BACKLOG {
                return Err(Gone::Unexpected);
            }
            let pulled = conn.pull(&mut self.core.io)?;
            let Tunnel::Control(control) = &mut conn.stage else { return Ok(()) };
            let Step::Session(session) = &mut control.step else { return Ok(()) };
            let (line, server) = (control.line, control.server);
            let asked = match pulled.end {
                None if pulled.moved => continue,
                None => return Ok(()),
                Some(Event::Fin | Event::Reset(_)) => return Err(Gone::Unexpected),
                Some(Event::Message(kind, payload)) => {
                    let payload = &self.core.io.scratch.clear[payload];
                    let message = Message::decode(kind, payload).map_err(Gone::Message)?;
                    session.handle(&message, now).map_err(|_| Gone::Unexpected)?
                }
            };
            match asked {
                Asked::Nothing => {}
                Asked::Answer(message) => self.core.say(id, &message)?,
                Asked::Register => {
                    self.register_all(id)?;
                    if let Some(line) = self.lines.get_mut(&line) {
                        info!("connected to {}", line.to.server_at(server));
                        line.way = Way::Up { control: id, server };
                        (line.since, line.error) = (now, None);
                        line.sessions += 1;
                    }
                }
                Asked::Log(number, answer) => {
                    self.log_standing(id, line, number, answer)?;
                    if self.session(id).is_some_and(|session| session.stands()) {
                        self.stands(line);
                    }
                }
                Asked::Links(count) => {
                    if let Some(line) = self.lines.get_mut(&line) {
                        line.owed += usize::from(count);
                    }
                }
                Asked::Draining => {
                    if let Some(line) = self.lines.get(&line) {
                        let server = line.to.server_at(server);
                        info!("{server} is about to stop: no new visitors");
                    }
                }
                Asked::Close => return Err(Gone::Closed),
                Asked::OtherVersions(min, max) => {
                    self.complain(Complaint::Refusal(line), || {
                        format!(
                            "server {server} speaks versions {min} to {max} of the protocol, this \
                             client {VERSION}: upgrade the older one"
                        )
                    });
                    return Err(Gone::Closed);
                }
            }
            self.set_session_deadline(id);
        }
        self.core.enqueue(id);
        Ok(())
    }

    /// The last round trip of a session, and the least.
    pub(super) fn round_trip(&self, id: ConnId) -> Option<(Duration, Duration)> {
        match &control_of(self.core.conns.get(id)?)?.step {
            Step::Session(session) => session.pulse.round_trip(),
            _ => None,
        }
    }

    /// Whether visitors can come to a service by a session.
    pub(super) fn has(&self, id: ConnId, number: Number) -> bool {
        match self.core.conns.get(id).and_then(control_of).map(|control| &control.step) {
            Some(Step::Session(session)) => session.has(number),
            Some(Step::Channel(channel)) => channel.is_up(),
            _ => false,
        }
    }

    /// How a service stands with the server of a session, and why.
    pub(super) fn standing(
        &self,
        id: ConnId,
        number: Number,
    ) -> (&'static str, Option<&'static str>) {
        match self.core.conns.get(id).and_then(control_of).map(|control| &control.step) {
            Some(Step::Session(session)) => session.standing(number),
            Some(Step::Channel(channel)) if channel.is_up() => ("registered", None),
            _ => ("pending", None),
        }
    }

    fn register_all(&mut self, id: ConnId) -> Result<(), Gone> {
        let numbers: Vec<Number> = self.services.iter().map(|(number, _)| number).collect();
        numbers.into_iter().try_for_each(|number| self.register(id, number))
    }

    /// Asks for a service, if the session is that far.
    pub(super) fn register(&mut self, id: ConnId, number: Number) -> Result<(), Gone> {
        let Some(service) = self.services.get(number) else { return Ok(()) };
        let Some(conn) = self.core.conns.tunnel(id) else { return Ok(()) };
        let Tunnel::Control(control) = &mut conn.stage else { return Ok(()) };
        let Step::Session(session) = &mut control.step else { return Ok(()) };
        let Some(line) = self.lines.get(&control.line) else { return Ok(()) };
        match session.register(number, service, &line.to.server, is_well(&self.watches, number)) {
            Some(message) => conn.say(&mut self.core.io, &message),
            None => Ok(()),
        }
    }

    fn log_standing(
        &mut self,
        id: ConnId,
        line: LineId,
        number: u16,
        answer: Option<Registration>,
    ) -> Result<(), Gone> {
        let Some(service) = self.services.get(number) else { return Ok(()) };
        // Where there are several servers, it matters which.
        let at = match (self.sources.len(), self.lines.get(&line)) {
            (2.., Some(line)) => format!(" at {}", line.shown()),
            (_, Some(Line { address: Some(address), .. })) => format!(" at server {address}"),
            _ => String::new(),
        };
        let name = format!("{}{at}", service.name);
        let (kind, ports) = (service.kind.as_str(), service.local_ports);
        match answer {
            None => {
                info!("service {name} is withdrawn: another client's, or no longer the server's")
            }
            Some(Registration::Accepted) => {
                if let Some(line) = self.lines.get_mut(&line) {
                    line.backoff.reset();
                }
                info!("service {name} is up");
            }
            Some(Registration::Taken) => info!("service {name} is served by another client"),
            Some(Registration::UnknownService) => self.complain(Complaint::Refusal(line), || {
                format!("service {name}: the server's file has no service of that name")
            }),
            Some(Registration::WrongToken) => {
                self.complain(Complaint::Refusal(line), || {
                    format!("service {name}: the server's file has another token")
                });
            }
            Some(Registration::WrongKind) => self.complain(Complaint::Refusal(line), || {
                format!("service {name}: its type is {kind} here and another in the server's file")
            }),
            Some(Registration::WrongPorts) => self.complain(Complaint::Refusal(line), || {
                format!(
                    "service {name}: local_addr has {ports} ports, and the server's bind_addr \
                     another number"
                )
            }),
        }
        match self.session(id) {
            Some(session) if session.is_refused() => {
                Err(Gone::AllRefused(session.standing(number).1.unwrap_or_default()))
            }
            _ => Ok(()),
        }
    }

    /// Pings, silence, and services to be asked for again; or the greeting took too long.
    pub(super) fn tend_control(&mut self, id: ConnId) {
        let now = self.core.now();
        match self.try_tend_control(id, now) {
            Ok(()) => self.set_session_deadline(id),
            Err(why) => self.end_session(id, why),
        }
    }

    fn try_tend_control(&mut self, id: ConnId, now: Time) -> Result<(), Gone> {
        let Some(conn) = self.core.conns.tunnel(id) else { return Ok(()) };
        let silence = conn.silence();
        let Tunnel::Control(control) = &mut conn.stage else { return Ok(()) };
        let (line, begun) = (control.line, control.begun);
        if !control.step.stands() {
            // What a rathole server has to say comes in one breath.
            let may_go_on = !matches!(control.step, Step::Answered);
            return match may_go_on && self.core.still_begins(id, begun, limits::SERVER_STEP_TIME) {
                true => Ok(()),
                false => Err(silence),
            };
        }
        // It may be busy with what its links carry.
        let is_its = |stage: &Tunnel| matches!(stage, Tunnel::Link(link) if link.line == line);
        let heard = match control.step.pulse() {
            Some(pulse) if pulse.deadline().is_some_and(|at| at <= now) => {
                self.core.last_heard(is_its)
            }
            _ => None,
        };
        let Some(conn) = self.core.conns.tunnel(id) else { return Ok(()) };
        let Tunnel::Control(control) = &mut conn.stage else { return Ok(()) };
        if let (Some(pulse), Some(at)) = (control.step.pulse(), heard) {
            pulse.heard(at);
        }
        let session = match &mut control.step {
            Step::Session(session) => session,
            Step::Channel(channel) => match channel.pulse.poll(now) {
                Due::Dead => return Err(silence),
                Due::Nothing | Due::Ping => return Ok(()),
            },
            _ => return Err(silence),
        };
        let due = session.pulse.poll(now);
        let Some(line) = self.lines.get(&control.line) else { return Ok(()) };
        let mut again = Vec::new();
        let is_well = |number| is_well(&self.watches, number);
        while let Some(message) = session.ask_again(&self.services, &line.to.server, is_well, now) {
            again.push(message);
        }
        for message in again {
            conn.say(&mut self.core.io, &message)?;
        }
        match due {
            Due::Nothing => Ok(()),
            Due::Ping => conn.say(&mut self.core.io, &Message::Ping(now.0)),
            Due::Dead => Err(silence),
        }
    }

    pub(super) fn set_session_deadline(&mut self, id: ConnId) {
        let Some(control) = self.control(id) else { return };
        let at = match &control.step {
            Step::Session(session) if session.is_welcome() => session.deadline(),
            Step::Channel(channel) if channel.is_up() => channel.pulse.deadline(),
            // The one for the dial holds.
            _ => return,
        };
        self.core.set_deadline(id, at);
    }

    /// Ends the control connection, with it every link, and dials again.
    pub(super) fn end_session(&mut self, id: ConnId, why: Gone) {
        let now = self.core.now();
        let Some(conn) = self.core.tunnel(id) else { return };
        let Tunnel::Control(control) = &mut conn.stage else { return };
        let (line, server) = (control.line, control.server);
        let hint = match (&control.step, &why) {
            (Step::Connecting, _) if is_silence(&why) => {
                ": no answer at all; the host is off, or a firewall drops what comes"
            }
            (Step::Shaking, _) if is_silence(&why) => {
                " after the connect: nothing came; something else may listen there"
            }
            (Step::Shaking, Gone::Frame(_)) => ": it is no underpass server, or not its bind_addr",
            (Step::Shaking, Gone::Closed | Gone::Io(_)) => {
                " during the Noise handshake: remote_public_key is not the server's key, or the \
                 patterns differ"
            }
            (Step::Session(session), _) if is_silence(&why) && !session.is_welcome() => {
                " before its welcome"
            }
            (Step::Session(session), Gone::Closed | Gone::Io(_)) if !session.is_welcome() => {
                " before its welcome: it may not be an underpass server"
            }
            (
                Step::Channel(channel),
                Gone::Closed | Gone::Io(_) | Gone::Rathole(Reject::UnknownTag),
            ) if !channel.is_up() => " before its ack: it may not be a rathole server",
            _ => "",
        };
        if let Step::Channel(channel) = &control.step
            && channel.has_stood(now)
            && let Some(line) = self.lines.get_mut(&line)
        {
            line.backoff.reset();
        }
        let was_closed = matches!(why, Gone::Closed | Gone::Io(_)) && !is_silence(&why);
        let is_unwelcome = matches!(&control.step, Step::Session(session) if !session.is_welcome());
        let is_shaking = matches!(control.step, Step::Shaking);
        let probe = control.probe.take();
        let is_the_proxy_s = matches!(why, Gone::Proxy(_));
        if is_shaking && probe.is_none() && !is_silence(&why) && !is_the_proxy_s {
            self.try_another_pattern(line, server);
        }
        let is_rathole = matches!(why, Gone::OtherProtocol);
        let why = format!("{server}: {why}{hint}");
        debug!("control connection with {why}");
        self.core.close(id);
        self.lose_links_of(line);
        match probe {
            Some(first) => self.line_failed(line, if is_rathole { why } else { first }),
            None if was_closed && is_unwelcome => self.probe(line, server, why),
            None => self.line_failed(line, why),
        }
    }

    /// The server has closed on our HELLO, as rathole's server does: asks it.
    fn probe(&mut self, line: LineId, server: SocketAddr, why: String) {
        let probe = Some(why.clone());
        let control = Control { probe, ..Control::connecting(line, server, self.core.now()) };
        if self.dial_tunnel(line, server, Tunnel::Control(Box::new(control))).is_err() {
            self.line_failed(line, why);
        }
    }

    pub(super) fn control(&mut self, id: ConnId) -> Option<&mut Control> {
        match &mut self.core.tunnel(id)?.stage {
            Tunnel::Control(control) => Some(control),
            Tunnel::Link(_) => None,
        }
    }

    pub(super) fn session(&mut self, id: ConnId) -> Option<&mut ControlClient> {
        match &mut self.control(id)?.step {
            Step::Session(session) => Some(session),
            _ => None,
        }
    }
}

fn is_silence(why: &Gone) -> bool {
    matches!(why, Gone::Io(error) if error.kind() == io::ErrorKind::TimedOut)
}

fn control_of<S>(conn: &Conn<S, Home, Tunnel>) -> Option<&Control> {
    match conn {
        Conn::Tunnel(conn) => match &conn.stage {
            Tunnel::Control(control) => Some(control),
            Tunnel::Link(_) => None,
        },
        Conn::Plain(_) | Conn::Admin(_) => None,
    }
}
