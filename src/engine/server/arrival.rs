//! A visitor's arrival: who it is, whether there is room for it, and which way it goes on.
//!
//! A connection from a trusted proxy brings another's bytes: it begins with a PROXY header, which
//! says whose, and is read within the time that the visitor has for its hello or its head. From
//! anybody else such a header is what any other bytes are.

use std::net::SocketAddr;

use log::debug;

use super::Server;
use super::doors::LeadsTo;
use super::http::Http;
use super::visitor::{Doing, Hello, Through, Visitor, Waiting};
use crate::engine::conn::{Conn, PlainConn};
use crate::engine::conns::ConnId;
use crate::engine::net::Net;
use crate::engine::socket::Socket;
use crate::proto::access::VisitEnd;
use crate::proto::admission::{Class, Standing};
use crate::wire::Status;
use crate::wire::http::forwarded::{self, Origin};
use crate::wire::proxy_header::{self, Header};

/// A visitor whose proxy has not said yet who it is.
pub(super) struct Proxied {
    leads_to: LeadsTo,
    /// The door's port.
    port: u16,
    /// All that has come.
    pub(super) held: Vec<u8>,
}

impl<N: Net> Server<N> {
    /// Whether it is let in.
    pub(super) fn admit_visitor(
        &mut self,
        stream: N::Stream,
        address: SocketAddr,
        leads_to: LeadsTo,
        port: u16,
    ) -> bool {
        let is_proxied = self.config.trusted_proxies.contain(address.ip());
        if !is_proxied && !self.gates.lets_in(address.ip()) {
            debug!("visitor {address}: denied");
            self.log_refused(address, leads_to, VisitEnd::Denied);
            self.core.io.net.abort(stream);
            return false;
        }
        let (now, holder) = (self.core.now(), self.holder(address.ip()));
        let (newcomer, standing) = (self.core.conns.next_id(), Standing::Unproved);
        let admitted = self.core.admission.admit(Class::Visitor, newcomer, holder, standing, now);
        let permit = match admitted {
            Ok(permit) => permit,
            Err(refused) => {
                self.say_refused(address, refused);
                self.log_refused(address, leads_to, VisitEnd::Crowded);
                self.core.io.net.abort(stream);
                return false;
            }
        };
        let (visit, account) = self.open_visit(leads_to);
        let doing = Doing::Arriving;
        let (through, kept, seat) = (None, None, None);
        let visitor = Visitor { address, through, doing, kept, seat, visit, account };
        let conn = PlainConn { socket: Socket::accepted(stream), stage: visitor };
        let id = match self.core.adopt(Conn::Plain(conn), Some(permit)) {
            Ok(id) => id,
            Err(error) => {
                debug!("visitor {address}: {error}");
                return false;
            }
        };
        // Whatever is waited for first, a header too, has this time and no more.
        let patience = match leads_to {
            LeadsTo::Service { .. } if !is_proxied => None,
            _ => Some(self.config.head_timeout),
        };
        let deadline = patience.map(|patience| now + patience);
        self.core.set_deadline(id, deadline);
        if is_proxied {
            let proxied = Proxied { leads_to, port, held: Vec::new() };
            self.set_doing(id, Doing::Proxied(Box::new(proxied)));
        } else {
            self.direct(id, leads_to, port, Vec::new(), Origin::Visitor);
        }
        true
    }

    /// Reads a PROXY header until it is whole.
    pub(super) fn hear_proxy(&mut self, id: ConnId) {
        for _ in 0..BUDGET {
            if !self.hold_more(id) {
                return;
            }
            let Some(visitor) = self.visitor(id) else { return };
            let Doing::Proxied(proxied) = &visitor.doing else { return };
            match proxy_header::read(&proxied.held) {
                Ok(Status::Complete(header)) => {
                    let proxies = &self.config.trusted_proxies;
                    // HAProxy checks by version 1 in its own name.
                    let origin = match header.ends {
                        Some(ends) if !proxies.contain(ends.source.ip()) => Origin::Visitor,
                        Some(_) | None => Origin::Balancer,
                    };
                    return self.introduce(id, header, origin);
                }
                // Over HTTP a balancer may ask how this server is without a header.
                Err(proxy_header::Reject::Missing) if proxied.leads_to == LeadsTo::Http => {
                    let header = Header { ends: None, length: 0 };
                    return self.introduce(id, header, Origin::Headerless);
                }
                Ok(Status::Partial) => {}
                Err(reject) => {
                    debug!("PROXY header: {reject}");
                    return self.abort_visitor(id, VisitEnd::Malformed);
                }
            }
        }
        self.core.enqueue(id);
    }

    /// The proxy has said who it is: what follows is the visitor's own.
    fn introduce(&mut self, id: ConnId, header: Header, origin: Origin) {
        let Some(visitor) = self.visitor(id) else { return };
        let proxy = visitor.address;
        let address = header.ends.map_or(proxy, |ends| ends.source);
        if let Err(refused) = self.core.name(id, self.holder(address.ip())) {
            self.say_refused(address, refused);
            return self.abort_visitor(id, VisitEnd::Crowded);
        }
        let Some(visitor) = self.visitor(id) else { return };
        let Doing::Proxied(proxied) = &mut visitor.doing else { return };
        let leads_to = proxied.leads_to;
        let port = header.ends.map_or(proxied.port, |ends| ends.destination.port());
        let mut held = std::mem::take(&mut proxied.held);
        visitor.doing = Doing::Arriving;
        visitor.address = address;
        let local = header.ends.map(|ends| ends.destination);
        visitor.through = Some(Box::new(Through { proxy: proxy.ip(), local }));
        debug!("visitor {address}: comes through {proxy}");
        self.core.io.buffers.take_front(&mut held, header.length);
        if origin != Origin::Visitor {
            self.note_check(id);
        }
        // A balancer's own checks are no visitors.
        if origin == Origin::Visitor && !self.gates.lets_in(address.ip()) {
            self.core.io.buffers.give_back(&mut held);
            return self.abort_visitor(id, VisitEnd::Denied);
        }
        self.direct(id, leads_to, port, held, origin);
        self.core.enqueue(id);
    }

    /// Sends a visitor on its way; it has said `held`.
    fn direct(&mut self, id: ConnId, leads_to: LeadsTo, port: u16, held: Vec<u8>, origin: Origin) {
        let Some(visitor) = self.visitor(id) else { return };
        let address = visitor.address;
        // On the HTTP entry it is requests that count.
        let mut entered = match leads_to {
            LeadsTo::Http => Ok(()),
            _ if origin != Origin::Visitor => Ok(()),
            _ => self.knock(id),
        };
        if let LeadsTo::Service { service, .. } = leads_to {
            self.note_service(id, service);
            entered = entered.and_then(|()| self.enter(id, service));
        }
        if let Err(refused) = entered {
            let mut held = held;
            self.core.io.buffers.give_back(&mut held);
            return self.keep_out(id, refused);
        }
        match leads_to {
            LeadsTo::Service { service, offset } => {
                if self.comes_round(id, service) {
                    let mut held = held;
                    self.core.io.buffers.give_back(&mut held);
                    return self.abort_visitor(id, VisitEnd::Loop);
                }
                let waiting = Waiting::for_port(service, offset, held);
                self.set_doing(id, Doing::Waiting(Box::new(waiting)));
                self.place(id);
            }
            LeadsTo::Http => {
                let visitor = forwarded::Visitor {
                    address: address.ip(),
                    port,
                    // Who a PROXY header names speaks for itself: only a proxy's word is taken.
                    is_proxy: self.config.trusted_http_proxies.contain(address.ip()),
                    form: self.config.forwarded,
                    origin,
                };
                let is_proxy = visitor.is_proxy;
                let pages = self.config.pages.clone();
                let mut http = Http::new(visitor, held, pages);
                if self.access.is_some() {
                    http.keep_summaries();
                    if is_proxy {
                        http.look_behind(self.config.trusted_http_proxies.clone());
                    }
                }
                if self.is_draining() {
                    http.drain();
                }
                self.set_doing(id, Doing::Http(Box::new(http)));
            }
            LeadsTo::Https | LeadsTo::Tunnel => {
                let until = self.core.conns.deadline(id);
                self.set_doing(id, Doing::Hello(Box::new(Hello::new(held, until))));
                if let Some(ssh) = self.config.ssh {
                    let silent_until = Some(self.core.now() + ssh.wait);
                    self.core.set_deadline(id, silent_until.min(until));
                }
            }
        }
    }

    fn set_doing(&mut self, id: ConnId, doing: Doing) {
        if let Some(visitor) = self.visitor(id) {
            visitor.doing = doing;
        }
    }
}

/// Reads of one header before others have their turn.
const BUDGET: usize = 8;
