//! Control sessions: their messages, the services that they have, and their end.

use std::net::SocketAddr;
use std::time::Duration;

use log::{debug, info};

use super::greeting::Why;
use super::{Complaint, Server, Tunnel};
use crate::engine::conn::{Carrier as _, Conn, Event, Gone};
use crate::engine::conns::ConnId;
use crate::engine::net::Net;
use crate::limits;
use crate::proto::admission::{Class, Holder, Standing};
use crate::proto::broker::{Part, Withdrawn};
use crate::proto::control_server::{Asked, ControlServer, Holding};
use crate::proto::keepalive::{Due, Keepalive};
use crate::proto::link_pool::Terms;
use crate::proto::rathole_server::ControlChannel;
use crate::proto::services::ServiceId;
use crate::proto::time::Time;
use crate::wire::message::{Message, Registration};
use crate::wire::rathole;

/// A client's control session. Its connection's id names it.
pub(super) struct Session {
    pub(super) address: SocketAddr,
    pub(super) control: Control,
    /// A token has been proved; until then it is a stranger.
    pub(super) proved: bool,
    /// Since when it is.
    pub(super) since: Time,
    /// How often its client was here before.
    pub(super) comebacks: u64,
}

/// What its client speaks.
pub(super) enum Control {
    /// All services of one client.
    Native(ControlServer),
    /// One service.
    Rathole(ControlChannel),
}

impl Control {
    pub(super) fn pulse(&mut self) -> &mut Keepalive {
        match self {
            Control::Native(control) => &mut control.pulse,
            Control::Rathole(channel) => &mut channel.pulse,
        }
    }
}

impl Session {
    pub(super) fn new(address: SocketAddr, control: Control) -> Session {
        Session { address, control, proved: false, since: Time::default(), comebacks: 0 }
    }

    /// The last one measured.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        let pulse = match &self.control {
            Control::Native(control) => &control.pulse,
            Control::Rathole(channel) => &channel.pulse,
        };
        pulse.round_trip().map(|(last, _)| last)
    }
}

/// Messages of one connection before others have their turn.
const BUDGET: usize = 32;

impl<N: Net> Server<N> {
    /// The messages of a control session.
    pub(super) fn hear_control(&mut self, id: ConnId) {
        let heard = match self.session(id).map(|session| &session.control) {
            Some(Control::Native(_)) => self.hear_native(id),
            Some(Control::Rathole(_)) => self.hear_rathole(id),
            None => Ok(()),
        };
        if let Err(gone) = heard {
            self.end_session(id, gone);
        }
    }

    fn hear_native(&mut self, id: ConnId) -> Result<(), Gone> {
        for _ in 0..BUDGET {
            let now = self.core.now();
            let Some(conn) = self.core.conns.tunnel(id) else { return Ok(()) };
            conn.flush(&mut self.core.io)?;
            if conn.socket.backlog() > limits::CONTROL_BACKLOG {
                return Err(Gone::Unexpected);
            }
            let pulled = conn.pull(&mut self.core.io)?;
            let Tunnel::Control(session) = &mut conn.stage else { return Ok(()) };
            let Control::Native(control) = &mut session.control else { return Ok(()) };
            let asked = match pulled.end {
                None if pulled.moved => continue,
                None => return Ok(()),
                Some(Event::Fin | Event::Reset(_)) => return Err(Gone::Unexpected),
                Some(Event::Message(kind, payload)) => {
                    let payload = &self.core.io.scratch.clear[payload];
                    let message = Message::decode(kind, payload).map_err(Gone::Message)?;
                    control.handle(&message, &self.services, now)
                }
            };
            match asked.map_err(|_| Gone::Unexpected)? {
                Asked::Nothing => {}
                Asked::Answer(message) => self.core.say(id, &message)?,
                Asked::Claim { holding, part, if_free } => {
                    self.claim(id, holding, part, if_free)?;
                }
                Asked::Health { service, is_well } => self.set_health(id, service, is_well),
                Asked::Release(service) => {
                    info!("service {} is given up by its client", self.services.name(service));
                    self.broker.release(id, service);
                    self.let_idle(id)?;
                }
                Asked::Refuse { number, name, answer, is_last } => {
                    if answer == Registration::WrongToken
                        && let Some(session) = self.session(id)
                    {
                        let address = session.address.ip();
                        self.gate.failed(address, now);
                    }
                    self.refuse(id, number, &name, answer)?;
                    if is_last {
                        return Err(Gone::Guessing);
                    }
                }
                Asked::Drain => self.drain_session(id),
                Asked::Close => return Err(Gone::Closed),
            }
        }
        self.core.enqueue(id);
        Ok(())
    }

    /// A token is proved: the service is this session's, unless it was only asked for if free.
    fn claim(
        &mut self,
        id: ConnId,
        holding: Holding,
        part: Part,
        if_free: bool,
    ) -> Result<(), Gone> {
        let Holding { service, number, .. } = holding;
        let has_it = self.broker.has(id, service);
        let is_free = has_it || self.broker.is_shared(service) || !self.broker.has_taker(service);
        if (if_free && !is_free) || !self.broker.has_place(service, id) {
            return self.core.say(id, &Message::Registered { number, answer: Registration::Taken });
        }
        self.prove(id, Terms::NATIVE)?;
        let Some(session) = self.session(id) else { return Ok(()) };
        if let Control::Native(control) = &mut session.control {
            control.grant(holding);
        }
        let address = session.address;
        let accepted = Registration::Accepted;
        self.core.say(id, &Message::Registered { number, answer: accepted })?;
        if !has_it {
            let name = self.services.name(service);
            info!("service {name} is served by client {address}");
        }
        // Who has it may have another part in it now.
        self.give(id, service, part);
        Ok(())
    }

    /// What runs at a home answers, or does not.
    fn set_health(&mut self, id: ConnId, service: ServiceId, is_well: bool) {
        let Some(address) = self.session(id).map(|session| session.address) else { return };
        let (name, is) = (self.services.name(service), if is_well { "answers" } else { "is down" });
        info!("service {name}: what runs at client {address} {is}");
        self.broker.set_health(id, service, is_well);
        if !is_well {
            self.move_on(id, service);
        }
        self.note_online(service);
    }

    /// The first proof makes a stranger a session.
    pub(super) fn prove(&mut self, id: ConnId, terms: Terms) -> Result<(), Gone> {
        let now = self.core.now();
        let Some(session) = self.session(id) else { return Ok(()) };
        if session.proved {
            return Ok(());
        }
        (session.proved, session.since) = (true, now);
        let address = session.address;
        let instance = match &session.control {
            Control::Native(control) => Some(control.instance()),
            Control::Rathole(_) => None,
        };
        self.core
            .promote(id, Class::Session, Holder::Many, Standing::Busy)
            .map_err(|_| Gone::Crowded)?;
        self.gate.joined(address.ip());
        if let Some(instance) = instance {
            let comebacks = self.clients.joined(instance);
            if let Some(session) = self.session(id) {
                session.comebacks = comebacks;
            }
        }
        self.broker.begin_session(id, instance, terms);
        self.core.set_deadline(id, None);
        Ok(())
    }

    /// A session has a service from now on.
    pub(super) fn give(&mut self, id: ConnId, service: ServiceId, part: Part) {
        let now = self.core.now();
        self.broker.claim(id, service, part, now);
        self.note_online(service);
        // What has a service has a reason to be here, whoever else comes from its network.
        let _ = self.core.name(id, Holder::Many);
        self.core.set_standing(id, Standing::Busy);
    }

    /// Tells a session that it has a service no more.
    pub(super) fn withdraw(&mut self, id: ConnId, service: ServiceId, why: Withdrawn) {
        let Some(session) = self.session(id) else { return };
        let address = session.address;
        let Control::Native(control) = &mut session.control else { return };
        let Some(number) = control.withdraw(service) else { return };
        let name = self.services.name(service);
        info!("service {name} is taken from client {address}: {}", Why::from(why));
        // A loser that cannot be told will notice by itself.
        let _ = self.core.say(id, &Message::Withdrawn { number });
        if let Err(gone) = self.let_idle(id) {
            self.end_session(id, gone);
        }
    }

    /// A session that has lost a service may wait to have one again, as long as nobody needs its
    /// place. One with visitors has a use still.
    fn let_idle(&mut self, id: ConnId) -> Result<(), Gone> {
        if self.broker.has_service(id) || self.broker.has_visitors(id) {
            return Ok(());
        }
        let Some(session) = self.session(id) else { return Ok(()) };
        let address = session.address;
        self.core.set_standing(id, Standing::Idle);
        self.core.name(id, Holder::Address(address.ip())).map_err(|_| Gone::Crowded)
    }

    fn refuse(
        &mut self,
        id: ConnId,
        number: u16,
        name: &str,
        answer: Registration,
    ) -> Result<(), Gone> {
        match answer {
            Registration::WrongToken => self.junk.wrong_tokens += 1,
            Registration::UnknownService => self.junk.unknown_services += 1,
            _ => {}
        }
        if let Some(address) = self.session(id).map(|session| session.address) {
            self.complain(Complaint::Registration(answer), || match answer {
                Registration::WrongToken => {
                    format!("client {address} has the wrong token for service {name}")
                }
                Registration::WrongKind => {
                    format!("client {address} has service {name} with another type")
                }
                Registration::WrongPorts => format!(
                    "client {address} has another number of ports for service {name} than this file"
                ),
                _ => format!("client {address} asks for service {name}, which is not in this file"),
            });
        }
        self.core.say(id, &Message::Registered { number, answer })
    }

    /// Pings, silence, and spare links that are no longer needed.
    pub(super) fn tend_control(&mut self, id: ConnId) {
        let now = self.core.now();
        let Some(session) = self.session(id) else { return };
        if !session.proved {
            self.junk.timeouts += 1;
            return self.close_stranger(id, "nothing proved in time");
        }
        let mut due = session.control.pulse().poll(now);
        if due == Due::Dead {
            // It may be busy with what its links carry.
            let is_its = |stage: &Tunnel| matches!(stage, Tunnel::Link(link) if link.session == id);
            let heard = self.core.last_heard(is_its);
            let Some(session) = self.session(id) else { return };
            let pulse = session.control.pulse();
            heard.into_iter().for_each(|at| pulse.heard(at));
            due = pulse.poll(now);
        }
        let Some(session) = self.session(id) else { return };
        let is_rathole = matches!(session.control, Control::Rathole(_));
        let told = match due {
            Due::Nothing => self.let_idle(id),
            Due::Dead => return self.end_session(id, "silent for too long"),
            Due::Ping if is_rathole => self.core.push(id, &rathole::Command::Heartbeat.encode()),
            Due::Ping => self.core.say(id, &Message::Ping(now.0)),
        };
        match told {
            // A ping is no reason to look after the links before their time.
            Ok(()) if self.broker.tend_at(id).is_some_and(|at| now < at) => {
                self.set_session_deadline(id);
            }
            Ok(()) => self.broker.tend(id, now),
            Err(gone) => self.end_session(id, gone),
        }
    }

    /// Asks a session's client for as many links as are missing.
    pub(super) fn ask_for_links(&mut self, id: ConnId) {
        let now = self.core.now();
        let mut free = self.room_for_links();
        if free < self.broker.needs(id) {
            free = self.room_for_links_of(id);
        }
        let missing = self.broker.links_to_ask(id, free, now);
        let Some(session) = self.session(id) else { return };
        let asked = match session.control {
            Control::Native(_) => self.say_links(id, missing),
            Control::Rathole(_) => self.ask_for_channels(id, missing),
        };
        match asked {
            Ok(()) => self.set_session_deadline(id),
            Err(gone) => self.end_session(id, gone),
        }
    }

    fn say_links(&mut self, id: ConnId, mut missing: usize) -> Result<(), Gone> {
        while missing > 0 {
            let count = u16::try_from(missing).unwrap_or(u16::MAX);
            missing -= usize::from(count);
            self.core.say(id, &Message::Links { count })?;
        }
        Ok(())
    }

    fn set_session_deadline(&mut self, id: ConnId) {
        let tend_at = self.broker.tend_at(id);
        let Some(session) = self.session(id) else { return };
        let pulse = session.control.pulse().deadline();
        self.core.set_deadline(id, pulse.into_iter().chain(tend_at).min());
    }

    /// Ends a session; the broker knows what goes with it.
    pub(super) fn end_session(&mut self, id: ConnId, why: impl Into<Why>) {
        let why = why.into();
        let Some(session) = self.session(id) else { return };
        let address = session.address;
        match session.proved {
            // Whoever took over is named in the log.
            true if !matches!(why, Why::TakenOver) => info!("client {address} has gone: {why}"),
            _ => debug!("client {address}: {why}"),
        }
        let services: Vec<ServiceId> = self.broker.services_of(id).collect();
        let was_let_in = self.broker.end_session(id);
        for service in services {
            self.note_online(service);
        }
        if was_let_in {
            self.gate.left(address.ip());
        }
        self.core.close(id);
    }

    /// A session, to look at.
    pub(super) fn session_at(&self, id: ConnId) -> Option<&Session> {
        match self.core.conns.get(id)? {
            Conn::Tunnel(conn) => match &conn.stage {
                Tunnel::Control(session) => Some(session),
                Tunnel::Greeting(_) | Tunnel::Link(_) => None,
            },
            Conn::Plain(_) | Conn::Admin(_) => None,
        }
    }

    pub(super) fn session(&mut self, id: ConnId) -> Option<&mut Session> {
        match &mut self.core.tunnel(id)?.stage {
            Tunnel::Control(session) => Some(session),
            Tunnel::Greeting(_) | Tunnel::Link(_) => None,
        }
    }
}
