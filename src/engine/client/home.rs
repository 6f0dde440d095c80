//! Connections to the services at home.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use log::debug;

use super::health::Looking;
use super::link::LinkStep;
use super::names::in_order;
use super::{Client, Complaint};
use crate::config::HostPort;
use crate::engine::conn::{Conn, PlainConn};
use crate::engine::conns::ConnId;
use crate::engine::net::Net;
use crate::engine::pair::{Pair, Parting, Way};
use crate::engine::relay::Unlimited;
use crate::engine::socket::{Counted, Socket};
use crate::limits;
use crate::wire::message::{Message, Reason};

/// A connection to a service.
pub(super) struct Home {
    pub(super) step: HomeStep,
    /// Of its socket's bytes.
    pub(super) counted: Counted,
}

pub(super) enum HomeStep {
    /// Under way; what the visitor has said so far waits in the socket.
    Dialling { link: ConnId, dial: Box<Dial> },
    /// The visitor is on it.
    Relayed { link: ConnId },
    /// The lease is over; the last bytes go out.
    Parting,
    /// Nobody is: it is there to see whether the service answers.
    Looked(Box<Looking>),
}

/// A dial and its alternatives.
pub(super) struct Dial {
    target: HostPort,
    rest: VecDeque<SocketAddr>,
}

impl<N: Net> Client<N> {
    pub(super) fn found_home(
        &mut self,
        target: HostPort,
        links: Vec<ConnId>,
        result: io::Result<Vec<SocketAddr>>,
    ) {
        let addresses = match result {
            Ok(addresses) => {
                self.names.remember(target.clone(), &addresses, self.core.now());
                addresses
            }
            Err(error) => {
                let host = target.host.clone();
                let text = format!("local_addr {host} cannot be resolved: {error}");
                self.home_error = Some(text.clone());
                self.complain(Complaint::Name, || text);
                // If there is no such name any more, what was there is not this home.
                let last = self.names.last(&target, self.core.now());
                last.filter(|_| error.kind() == ErrorKind::TimedOut).unwrap_or_default()
            }
        };
        self.found_udp_homes(&target, &addresses);
        for link in links {
            let Some(details) = self.link(link) else { continue };
            let LinkStep::Resolving { held } = &mut details.step else { continue };
            if addresses.is_empty() {
                self.refuse_visitor(link, Reason::Unresolved);
            } else {
                let held = std::mem::take(held);
                self.core.set_deadline(link, None);
                self.dial_home(link, target.clone(), addresses.clone(), held);
            }
        }
    }

    /// Dials a service for the visitor on `link`.
    pub(super) fn dial_home(
        &mut self,
        link: ConnId,
        target: HostPort,
        addresses: Vec<SocketAddr>,
        held: Vec<u8>,
    ) {
        let prefer_ipv6 = self.prefers_ipv6(&target);
        let rest = in_order(addresses, prefer_ipv6).into();
        let deadline = self.core.now() + limits::HOME_DIAL_TIME;
        match self.try_dial(link, Box::new(Dial { target, rest }), held) {
            Some(home) => {
                self.core.set_deadline(home, Some(deadline));
                self.set_step(link, LinkStep::Leased { home });
            }
            None => self.refuse_visitor(link, Reason::Refused),
        }
    }

    /// Starts on the first address that can be dialled at all.
    fn try_dial(&mut self, link: ConnId, mut dial: Box<Dial>, mut held: Vec<u8>) -> Option<ConnId> {
        while let Some(address) = dial.rest.pop_front() {
            let stream = match self.core.io.net.connect(address) {
                Ok(stream) => stream,
                Err(error) => {
                    self.complain_of_home(&dial.target, &error);
                    continue;
                }
            };
            let step = HomeStep::Dialling { link, dial };
            let home = match self.adopt_home(stream, step) {
                Ok(home) => home,
                Err(error) => {
                    debug!("dial to {address}: {error}");
                    break;
                }
            };
            if let Some(conn) = self.core.plain(home) {
                conn.socket.hold(held);
            }
            return Some(home);
        }
        self.core.io.buffers.give_back(&mut held);
        None
    }

    /// A connection to a service, under way.
    pub(super) fn adopt_home(&mut self, stream: N::Stream, step: HomeStep) -> io::Result<ConnId> {
        let (socket, counted) = (Socket::connecting(stream), Counted::default());
        let conn = PlainConn { socket, stage: Home { step, counted } };
        self.core.adopt(Conn::Plain(conn), None)
    }

    /// A dial's event: it has succeeded, or failed, or neither.
    pub(super) fn advance_dial(&mut self, id: ConnId) {
        let Some(conn) = self.core.conns.plain(id) else { return };
        match self.core.io.net.connect_result(conn.socket.stream_mut()) {
            Ok(()) => {
                let HomeStep::Dialling { link, .. } = conn.stage.step else { return };
                conn.stage.step = HomeStep::Relayed { link };
                self.note_dial(link, Ok(()));
                self.core.set_deadline(id, None);
                if self.link(link).is_some_and(|link| link.confirm)
                    && let Err(gone) = self.core.say(link, &Message::Accepted)
                {
                    return self.lose_link(link, gone);
                }
                self.relay(link, id);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => self.dial_failed(id, error),
        }
    }

    /// The next address has its turn, or the visitor is told.
    pub(super) fn dial_failed(&mut self, id: ConnId, error: io::Error) {
        let Some(conn) = self.core.plain(id) else { return };
        let held = conn.socket.take_held();
        let HomeStep::Dialling { link, dial } =
            std::mem::replace(&mut conn.stage.step, HomeStep::Parting)
        else {
            return;
        };
        self.core.abort(id);
        self.complain_of_home(&dial.target, &error);
        self.names.doubt(&dial.target);
        let timed_out = error.kind() == ErrorKind::TimedOut;
        let deadline = self.core.now() + limits::HOME_DIAL_TIME;
        match self.try_dial(link, dial, held) {
            Some(home) => {
                self.core.set_deadline(home, Some(deadline));
                self.set_step(link, LinkStep::Leased { home });
            }
            None if timed_out => self.refuse_visitor(link, Reason::Unreachable),
            None => self.refuse_visitor(link, Reason::Refused),
        }
    }

    /// Moves bytes between a link and a connection at home.
    pub(super) fn relay(&mut self, link: ConnId, home: ConnId) {
        let Some(conn) = self.core.plain(home) else { return };
        if matches!(conn.stage.step, HomeStep::Dialling { .. }) {
            return self.watch_link(link);
        }
        let pair = self.core.relay(link, home, &mut Unlimited { wants_word: false });
        self.after_turn(link, home, pair);
    }

    /// One direction has ended and the other has been silent for too long.
    pub(super) fn cut_silent(&mut self, link: ConnId, home: ConnId) {
        let pair = self.core.break_off(link, home, Reason::Idle);
        self.after_turn(link, home, pair);
    }

    fn after_turn(&mut self, link: ConnId, home: ConnId, pair: Pair) {
        match pair {
            Pair::GoesOn => {}
            Pair::Over(way) => {
                self.count_bytes(link, home);
                match way {
                    Way::Parts => {
                        if let Some(conn) = self.core.plain(home) {
                            conn.stage.step = HomeStep::Parting;
                        }
                        self.part(home);
                    }
                    Way::Breaks | Way::Reset(_) => self.core.abort(home),
                }
                self.start_settling(link);
            }
            Pair::LinkGone(gone) => self.lose_link(link, gone),
        }
    }

    /// Both directions have ended; what waits is still written.
    pub(super) fn part(&mut self, id: ConnId) {
        match self.core.part(id) {
            Parting::Waits => {}
            Parting::Clear => self.core.close(id),
            Parting::Broken => self.core.abort(id),
        }
    }

    fn prefers_ipv6(&self, target: &HostPort) -> bool {
        self.services.iter().any(|(_, service)| service.prefer_ipv6 && service.goes_to(target))
    }

    fn complain_of_home(&mut self, target: &HostPort, error: &io::Error) {
        let text = format!("service at {target} cannot be reached: {error}");
        self.home_error = Some(text.clone());
        self.complain(Complaint::Home, || text);
    }
}
