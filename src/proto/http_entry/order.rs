//! A request under way, from its whole head on.

use std::ops::Range;

use crate::limits;
use crate::wire::host::HostName;
use crate::wire::http::body::{Body, Form};
use crate::wire::http::forwarded::{self, Visitor};
use crate::wire::http::request::Request;
use crate::wire::http::rewrite;
use crate::wire::http::{Kind, Version};

/// What most rewritten heads fit in.
const HEAD_ROOM: usize = 1024;

/// A request whose head is whole.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) host: HostName,
    /// As it is forwarded; during the exchange, only while it may be repeated.
    pub(super) head: Vec<u8>,
    /// Where the target lies in the whole head.
    pub(super) target: Range<usize>,
    pub(super) body: Body,
    pub(super) traits: Traits,
}

/// What the response depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Traits {
    pub(super) version: Version,
    pub(super) is_head: bool,
    /// It is GET or HEAD.
    pub(super) reads: bool,
    /// A load balancer asks how this server is.
    pub(super) is_check: bool,
    /// It has been here too often.
    pub(super) is_loop: bool,
    /// A trusted proxy has ended its visitor's TLS.
    pub(super) came_by_tls: bool,
    pub(super) is_repeatable: bool,
    /// The visitor's connection may live on after it.
    pub(super) persists: bool,
    pub(super) asks_upgrade: bool,
    pub(super) takes_trailers: bool,
    /// The body may be held back until a 100.
    pub(super) expects_continue: bool,
    /// The home is spoken to in HTTP/1.0, which keeps nothing.
    pub(super) home_closes: bool,
}

impl Order {
    pub(super) fn new(request: &Request<'_, '_>, visitor: &Visitor) -> Order {
        let mut head = Vec::with_capacity(HEAD_ROOM);
        let target = rewrite::request(request, visitor, &mut head);
        let traits = Traits {
            version: request.version,
            is_head: request.method.is_head(),
            reads: request.method.reads(),
            is_check: forwarded::is_check(request, visitor),
            is_loop: forwarded::rounds(request.fields) >= limits::ROUNDS,
            came_by_tls: forwarded::came_by_tls(request, visitor),
            is_repeatable: request.method.is_repeatable(),
            persists: request.options.persists(request.version),
            asks_upgrade: request.asks_upgrade(),
            takes_trailers: request.takes_trailers(),
            expects_continue: request.expects_continue(),
            home_closes: request.authority.is_none(),
        };
        let body = Body::new(Kind::Request, request.framing, Form::Chunked);
        Order { host: request.host, head, target, body, traits }
    }

    pub(super) fn target(&self) -> &[u8] {
        self.head.get(self.target.clone()).unwrap_or_default()
    }
}
