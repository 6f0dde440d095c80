//! What rathole's clients do otherwise than native ones: a control channel for each service, whose
//! client is asked for data channels and never answers, and data channels that are lent once.
//!
//! Both are the native ones' stages: a control channel is a session with one service, a data
//! channel is a link. Here is how they come about, and what the server says on them.

use log::info;

use super::sessions::{Control, Session};
use super::{Complaint, Server, Tunnel};
use crate::config::ServiceKind;
use crate::engine::conn::{Gone, Turn};
use crate::engine::conns::ConnId;
use crate::engine::net::Net;
use crate::limits;
use crate::proto::broker::Part;
use crate::proto::control_server::why_lost;
use crate::proto::link_pool::Terms;
use crate::proto::rathole_server::{Claim, ControlChannel, Refusal};
use crate::wire::message::Registration;
use crate::wire::rathole::{self, AUTH, Ack, Command, Digest, HELLO, Hello, Reject, Start};

impl<N: Net> Server<N> {
    /// A stranger that speaks rathole's dialect: hello, and on a control channel auth.
    pub(super) fn greet_rathole(&mut self, id: ConnId) -> Result<(), Gone> {
        let Some(greeting) = self.greeting(id) else { return Ok(()) };
        let address = greeting.address;
        if !self.config.rathole {
            self.complain(Complaint::Rathole, || {
                format!(
                    "client {address} speaks rathole's protocol, and is refused: the file has \
                     `rathole = false`"
                )
            });
            return Err(Gone::Closed);
        }
        if self.greeting(id).is_some_and(|greeting| greeting.claim.is_none()) {
            let Some(hello) = self.hear_alone::<HELLO>(id)? else { return Ok(()) };
            self.hear_hello_of_rathole(id, &hello)?;
        }
        if self.greeting(id).is_some()
            && let Some(auth) = self.hear_alone::<AUTH>(id)?
        {
            return self.hear_auth(id, &auth);
        }
        Ok(())
    }

    /// The next message of a stranger, which has no reason to say more before it is answered.
    fn hear_alone<const LENGTH: usize>(
        &mut self,
        id: ConnId,
    ) -> Result<Option<[u8; LENGTH]>, Gone> {
        let conn = self.core.conns.tunnel(id).ok_or(Gone::Unexpected)?;
        let turn = conn.take(&mut self.core.io)?;
        if matches!(turn, Turn::Done(_)) && conn.has_unread() {
            return Err(Gone::Unexpected);
        }
        Ok(self.core.go_on(id, turn))
    }

    fn hear_hello_of_rathole(&mut self, id: ConnId, hello: &[u8; HELLO]) -> Result<(), Gone> {
        let Some(address) = self.greeting(id).map(|greeting| greeting.address) else {
            return Ok(());
        };
        let name = match Hello::decode(hello) {
            Ok(Hello::Control(name)) => name,
            Ok(Hello::Data(key)) => return self.add_channel(id, &key),
            Err(reject) => {
                if let Reject::Version(version) = reject {
                    self.complain(Complaint::Version, || {
                        format!(
                            "client {address} speaks version {version} of rathole's protocol, \
                             this server {}: use rathole 0.5, or underpass",
                            rathole::VERSION
                        )
                    });
                }
                return Err(Gone::Rathole(reject));
            }
        };
        self.may_try(address)?;
        let mut nonce = [0; 32];
        self.core.io.net.random(&mut nonce);
        let (claim, now) = (Claim::new(&name, &nonce, &self.services), self.core.now());
        if let Some(greeting) = self.greeting(id) {
            greeting.claim = Some(claim);
            let until = greeting.step(now);
            self.core.set_deadline(id, Some(until));
        }
        self.core.push(id, &Hello::Control(nonce).encode())
    }

    fn hear_auth(&mut self, id: ConnId, auth: &Digest) -> Result<(), Gone> {
        let (interval, now) = (self.config.heartbeat_interval, self.core.now());
        let Some(greeting) = self.greeting(id) else { return Ok(()) };
        let Some(claim) = &greeting.claim else { return Ok(()) };
        let address = greeting.address;
        let channel = match claim.judge(auth, interval, now) {
            Ok(channel) => channel,
            Err(Refusal { ack, service }) => {
                // A name that is not in the file is a stranger's word; here it is a digest, too.
                let name = service.map(|service| self.services.name(service).to_owned());
                let kind = match name {
                    Some(_) => Registration::WrongToken,
                    None => Registration::UnknownService,
                };
                self.complain(Complaint::Registration(kind), || match name {
                    Some(name) => {
                        format!("client {address} (rathole) has the wrong token for service {name}")
                    }
                    None => format!(
                        "client {address} (rathole) asks for a service that is not in this file"
                    ),
                });
                if ack == Ack::WrongToken {
                    self.gate.failed(address.ip(), now);
                }
                self.core.push(id, &ack.encode())?;
                return Err(Gone::Closed);
            }
        };
        self.establish(id, channel)
    }

    /// The token is proved: the service is this client's at once, whoever had it.
    fn establish(&mut self, id: ConnId, channel: ControlChannel) -> Result<(), Gone> {
        let Some(address) = self.greeting(id).map(|greeting| greeting.address) else {
            return Ok(());
        };
        let service = channel.service;
        // The file may be another one since the claim.
        let settings = self.services.get(service).filter(|_| self.services.is_listed(service));
        let Some(settings) = settings else { return Err(Gone::Closed) };
        if why_lost(settings, 1, &channel.token).is_some() {
            return Err(Gone::Closed);
        }
        let (name, kind) = (&settings.name, settings.kind);
        let terms = match kind {
            ServiceKind::Udp => Terms::RATHOLE_UDP,
            _ => Terms::RATHOLE_TCP,
        };
        let is_shared = self.broker.is_shared(service);
        let was_taken = !is_shared && self.broker.holders(service).next().is_some();
        if !self.broker.has_place(service, id) {
            return Err(Gone::Crowded);
        }
        if !was_taken {
            info!("service {name} is served by client {address} (rathole)");
        } else if self.takeovers.admit(self.core.now()).is_some() {
            // Two rathole clients with one service take it from each other for ever.
            info!("service {name} is served by client {address} (rathole), which took it over");
        }
        self.core.push(id, &Ack::Ok.encode())?;
        if let Some(conn) = self.core.tunnel(id) {
            let session = Session::new(address, Control::Rathole(channel));
            conn.stage = Tunnel::Control(Box::new(session));
        }
        self.prove(id, terms.within(self.channels))?;
        self.give(id, service, Part::default());
        self.core.enqueue(id);
        Ok(())
    }

    /// A data channel comes with the session key of its control channel.
    fn add_channel(&mut self, id: ConnId, key: &Digest) -> Result<(), Gone> {
        let owns = |id: &ConnId| {
            let control = self.session_at(*id).map(|session| &session.control);
            matches!(control, Some(Control::Rathole(channel)) if channel.owns(key))
        };
        let session = self.broker.sessions().find(owns);
        let session = session.ok_or(Gone::Unexpected)?;
        if !self.take_in_link(id, session) {
            return Err(Gone::Unexpected);
        }
        self.core.enqueue(id);
        Ok(())
    }

    /// A client says nothing on a control channel; what comes is its end.
    pub(super) fn hear_rathole(&mut self, id: ConnId) -> Result<(), Gone> {
        let Some(conn) = self.core.conns.tunnel(id) else { return Ok(()) };
        let turn = conn.hear_nothing(&mut self.core.io)?;
        if conn.socket.backlog() > limits::CONTROL_BACKLOG {
            return Err(Gone::Unexpected);
        }
        self.core.go_on(id, turn);
        Ok(())
    }

    /// Asks the client for so many data channels.
    pub(super) fn ask_for_channels(&mut self, id: ConnId, missing: usize) -> Result<(), Gone> {
        self.core.push(id, &Command::CreateDataChannel.encode().repeat(missing))
    }

    /// Lends a data channel to a visitor, with what it has said so far, or to the datagrams of
    /// many. The client learns nothing else about them.
    pub(super) fn start_forwarding(
        &mut self,
        link: ConnId,
        start: Start,
        said: &[u8],
    ) -> Result<(), Gone> {
        let conn = self.core.conns.tunnel(link).ok_or(Gone::Unexpected)?;
        conn.codec().lend_stream();
        self.core.push(link, &[&start.encode()[..], said].concat())
    }
}
