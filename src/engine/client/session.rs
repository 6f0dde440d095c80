//! The control session: finding the server, the greeting, its messages, its end.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use log::{debug, error, info};

use super::{Client, Lookup, Stage, in_order};
use crate::engine::conn::{Conn, End, Gone, Hands};
use crate::engine::conns::ConnId;
use crate::engine::net::Net;
use crate::engine::socket::Socket;
use crate::limits;
use crate::proto::control_client::{Asked, ControlClient};
use crate::proto::keepalive::Due;
use crate::proto::noise::{Channel, Side};
use crate::proto::time::Time;
use crate::wire::message::{Message, Registration, VERSION};

/// The way to the server.
pub(super) enum Line {
    /// Dialled again at this time.
    Down { until: Time },
    /// Its name is being looked up.
    Resolving,
    /// A connection is under way; these addresses are left to try.
    Dialling { rest: VecDeque<SocketAddr> },
    /// The session stands; links are dialled to the same address.
    Up { control: ConnId, server: SocketAddr },
}

/// The control connection.
pub(super) struct Control {
    server: SocketAddr,
    step: Step,
}

enum Step {
    Connecting,
    Shaking,
    Session(Box<ControlClient>),
}

/// Messages before others have their turn.
const BUDGET: usize = 32;

impl<N: Net> Client<N> {
    /// Looks the server's name up, each time anew: it may have moved.
    pub(super) fn look_for_server(&mut self) {
        self.line = Line::Resolving;
        self.look_up(Lookup::Server);
    }

    pub(super) fn found_server(&mut self, result: io::Result<Vec<SocketAddr>>) {
        match result {
            Ok(addresses) => {
                let addresses = in_order(addresses, self.config.prefer_ipv6);
                self.line = Line::Dialling { rest: addresses.into() };
                self.dial_server("no address");
            }
            Err(error) => self.rest(format!("its name cannot be resolved: {error}")),
        }
    }

    /// Dials the next address; `why` the last one was given up.
    fn dial_server(&mut self, why: impl ToString) {
        let Line::Dialling { rest } = &mut self.line else { return };
        let Some(server) = rest.pop_front() else { return self.rest(why.to_string()) };
        if let Err(error) = self.try_dial_server(server) {
            self.dial_server(format!("{server}: {error}"));
        }
    }

    fn try_dial_server(&mut self, server: SocketAddr) -> io::Result<()> {
        let stage = Stage::Control(Box::new(Control { server, step: Step::Connecting }));
        let id = self.dial_tunnel(server, stage)?;
        let deadline = self.core.now() + limits::SERVER_DIAL_TIME;
        self.core.set_deadline(id, Some(deadline));
        Ok(())
    }

    /// Starts a tunnel connection, of either kind.
    pub(super) fn dial_tunnel(&mut self, server: SocketAddr, stage: Stage) -> io::Result<ConnId> {
        let mut seed = [0; 32];
        self.core.io.net.random(&mut seed);
        let channel = Channel::new(&self.protection, Side::Initiator, seed)
            .map_err(|_| io::Error::other("the Noise keys do not fit the pattern"))?;
        let stream = self.core.io.net.connect(server)?;
        self.core.adopt(Conn::tunnel(Socket::connecting(stream), channel, Side::Initiator, stage))
    }

    /// Pauses before the next attempt.
    fn rest(&mut self, why: String) {
        let mut random = [0; 8];
        self.core.io.net.random(&mut random);
        let pause = self.backoff.next(u64::from_le_bytes(random));
        self.line = Line::Down { until: self.core.now() + pause };
        let server = self.config.remote_addr.clone();
        self.complain(|| {
            format!("no session with server {server}: {why}; again in {:.1} s", seconds(pause))
        });
    }

    pub(super) fn advance_control(&mut self, id: ConnId) {
        if let Err(gone) = self.try_advance_control(id) {
            self.end_session(id, gone);
        }
    }

    fn try_advance_control(&mut self, id: ConnId) -> Result<(), Gone> {
        let now = self.core.now();
        let Some(conn) = self.core.conns.get_mut(id) else { return Ok(()) };
        let Stage::Control(control) = &mut conn.stage else { return Ok(()) };
        match &mut control.step {
            Step::Connecting => {
                match self.core.io.net.connect_result(conn.socket.stream_mut()) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    result => result.map_err(Gone::Io)?,
                }
                control.step = Step::Shaking;
                self.try_advance_control(id)
            }
            Step::Shaking => match conn.shake_hands(&mut self.core.io)? {
                Hands::Waiting => conn.flush(&mut self.core.io).map(|_| ()),
                Hands::Shaken(hash) => {
                    if let Some(tunnel) = &mut conn.tunnel {
                        tunnel.allow(limits::CONTROL_BODY);
                    }
                    let instance = self.instance;
                    let hello =
                        Message::Hello { min_version: VERSION, max_version: VERSION, instance };
                    conn.say(&mut self.core.io, &hello)?;
                    let services = self.config.services.len();
                    let timeout = self.config.heartbeat_timeout;
                    let session = ControlClient::new(hash, services, timeout, now);
                    if let Stage::Control(control) = &mut conn.stage {
                        control.step = Step::Session(Box::new(session));
                    }
                    self.hear_session(id)
                }
            },
            Step::Session(_) => self.hear_session(id),
        }
    }

    fn hear_session(&mut self, id: ConnId) -> Result<(), Gone> {
        for _ in 0..BUDGET {
            let now = self.core.now();
            let Some(conn) = self.core.conns.get_mut(id) else { return Ok(()) };
            conn.flush(&mut self.core.io)?;
            if conn.socket.backlog() > limits::CONTROL_BACKLOG {
                return Err(Gone::Unexpected);
            }
            let pulled = conn.pull(&mut self.core.io)?;
            let Stage::Control(control) = &mut conn.stage else { return Ok(()) };
            let Step::Session(session) = &mut control.step else { return Ok(()) };
            let server = control.server;
            let asked = match pulled.end {
                None if pulled.moved => continue,
                None => return Ok(()),
                Some(End::Fin | End::Reset(_)) => return Err(Gone::Unexpected),
                Some(End::Message(kind, payload)) => {
                    let payload = &self.core.io.scratch.clear[payload];
                    let message = Message::decode(kind, payload).map_err(Gone::Message)?;
                    session.handle(&message, now).map_err(|_| Gone::Unexpected)?
                }
            };
            match asked {
                Asked::Nothing => {}
                Asked::Answer(message) => self.core.say(id, &message)?,
                Asked::Register => {
                    self.register(id)?;
                    info!("connected to server {server}");
                    self.line = Line::Up { control: id, server };
                }
                Asked::Log(number, answer) => self.log_standing(id, number, answer)?,
                Asked::Links(count) => {
                    self.owed += usize::from(count);
                    self.dial_links();
                }
                Asked::Close => return Err(Gone::Closed),
                Asked::OtherVersions(min, max) => {
                    self.complain(|| {
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

    fn register(&mut self, id: ConnId) -> Result<(), Gone> {
        let Some(conn) = self.core.conns.get_mut(id) else { return Ok(()) };
        let Stage::Control(control) = &conn.stage else { return Ok(()) };
        let Step::Session(session) = &control.step else { return Ok(()) };
        for message in session.registrations(&self.config.services) {
            conn.say(&mut self.core.io, &message)?;
        }
        Ok(())
    }

    fn log_standing(
        &mut self,
        id: ConnId,
        number: u16,
        answer: Option<Registration>,
    ) -> Result<(), Gone> {
        let Some(service) = self.config.services.get(usize::from(number)) else { return Ok(()) };
        let name = service.name.clone();
        let kind = service.kind.as_str();
        match answer {
            None => info!("service {name} has been taken over by another client"),
            Some(Registration::Accepted) => {
                self.backoff.reset();
                info!("service {name} is up");
            }
            Some(Registration::Taken) => info!("service {name} is served by another client"),
            Some(Registration::UnknownService) => self.complain(|| {
                format!("service {name}: the server's file has no service of that name")
            }),
            Some(Registration::WrongToken) => {
                self.complain(|| format!("service {name}: the server's file has another token"));
            }
            Some(Registration::WrongKind) => self.complain(|| {
                format!("service {name}: its type is {kind} here and another in the server's file")
            }),
        }
        match self.session(id) {
            Some(session) if session.is_refused() => {
                error!("the server has refused every service");
                Err(Gone::Closed)
            }
            _ => Ok(()),
        }
    }

    /// Pings, silence, and services to be asked for again; or the greeting took too long.
    pub(super) fn tend_control(&mut self, id: ConnId) {
        let now = self.core.now();
        let services = std::mem::take(&mut self.config.services);
        let result = self.try_tend_control(id, &services, now);
        self.config.services = services;
        match result {
            Ok(()) => self.set_session_deadline(id),
            Err(why) => self.end_session(id, why),
        }
    }

    fn try_tend_control(
        &mut self,
        id: ConnId,
        services: &[crate::config::ClientService],
        now: Time,
    ) -> Result<(), Gone> {
        let silent = || Gone::Io(io::ErrorKind::TimedOut.into());
        let Some(conn) = self.core.conns.get_mut(id) else { return Ok(()) };
        let Stage::Control(control) = &mut conn.stage else { return Ok(()) };
        let Step::Session(session) = &mut control.step else { return Err(silent()) };
        if !session.is_welcome() {
            return Err(silent());
        }
        let due = session.pulse.poll(now);
        let mut again = Vec::new();
        while let Some(message) = session.ask_again(services, now) {
            again.push(message);
        }
        for message in again {
            conn.say(&mut self.core.io, &message)?;
        }
        match due {
            Due::Nothing => Ok(()),
            Due::Ping => conn.say(&mut self.core.io, &Message::Ping(now.0)),
            Due::Dead => Err(silent()),
        }
    }

    fn set_session_deadline(&mut self, id: ConnId) {
        if let Some(session) = self.session(id)
            && session.is_welcome()
        {
            let at = session.deadline();
            self.core.set_deadline(id, at);
        }
    }

    /// Ends the control connection, with it every link, and dials again.
    fn end_session(&mut self, id: ConnId, why: Gone) {
        let Some(Stage::Control(control)) = self.core.stage(id) else { return };
        let server = control.server;
        let hint = match (&control.step, &why) {
            (Step::Shaking, Gone::Closed | Gone::Io(_)) => {
                " during the Noise handshake: remote_public_key is not the server's key, or the \
                 patterns differ"
            }
            (Step::Session(session), Gone::Closed | Gone::Io(_)) if !session.is_welcome() => {
                " before its welcome: it may not be an underpass server"
            }
            _ => "",
        };
        let why = format!("{server}: {why}{hint}");
        let was_up = matches!(self.line, Line::Up { .. });
        debug!("control connection with {why}");
        self.core.close(id);
        self.lose_all_links();
        if was_up {
            self.rest(why);
        } else {
            self.dial_server(why);
        }
    }

    pub(super) fn session(&mut self, id: ConnId) -> Option<&mut ControlClient> {
        let Some(Stage::Control(control)) = self.core.stage(id) else { return None };
        match &mut control.step {
            Step::Session(session) => Some(session),
            Step::Connecting | Step::Shaking => None,
        }
    }
}

fn seconds(span: Duration) -> f64 {
    span.as_secs_f64()
}
