//! What the broker is asked, and what it says: answers to whoever asks, and effects on others.

use crate::proto::network::Network;
use crate::proto::services::ServiceId;

/// Who wants to be brought where.
#[derive(Debug, Clone, Copy)]
pub struct Seeker<'a, I> {
    /// The visitor.
    pub id: I,
    /// Where it comes from.
    pub network: Network,
    /// The service.
    pub service: ServiceId,
    /// Sessions that could not bring it home.
    pub tried: &'a [I],
}

/// What a visitor gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<I> {
    /// This link, which is lent from now on.
    Link {
        /// The link.
        link: I,
        /// Its session.
        session: I,
    },
    /// A place in the queue: [`Effect::Open`], [`Effect::Again`] or [`Effect::TurnAway`] follows,
    /// unless [`super::Broker::forget`] comes first.
    Queued,
    /// Nothing.
    No(Denial),
}

/// Why a visitor gets no link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// No session has the service, or none that was not tried.
    Offline,
    /// Too many wait for its session's links.
    Crowded,
}

/// What is to be done with other connections than the one at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect<I> {
    /// A visitor from the queue has its link, which is lent from now on.
    Open {
        /// The visitor.
        visitor: I,
        /// The link.
        link: I,
        /// Its session.
        session: I,
    },
    /// A visitor from the queue will get none.
    TurnAway {
        /// The visitor.
        visitor: I,
    },
    /// A visitor from the queue will get none there, but another home is to be asked.
    Again {
        /// The visitor.
        visitor: I,
    },
    /// A session has fewer links, or more: its client may be asked for some
    /// ([`super::Broker::links_to_ask`]), and when to tend it has moved
    /// ([`super::Broker::tend_at`]).
    Ask {
        /// The session.
        session: I,
    },
    /// A link is to be closed, with whoever is on it.
    LetGo {
        /// The link.
        link: I,
        /// Why.
        why: Parted,
    },
    /// A visitor's link is gone.
    Cut {
        /// The visitor.
        visitor: I,
        /// The link that it was on.
        link: I,
    },
    /// A session that lives on has lost a service, and is to be told.
    Withdraw {
        /// The session.
        session: I,
        /// The service.
        service: ServiceId,
        /// Why.
        why: Withdrawn,
    },
    /// A service has left a session: what its datagrams were on is given up.
    Moved {
        /// The session.
        session: I,
        /// The service.
        service: ServiceId,
    },
    /// A session has no reason to be any more.
    End {
        /// The session.
        session: I,
        /// Why.
        why: Replaced,
    },
}

/// Why a link is let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parted {
    /// It is spare, and more are than are needed.
    Surplus,
    /// It is spare, and others need its place.
    Needed,
    /// Its session has ended.
    SessionEnded,
    /// It is spare, and its client is about to leave.
    Draining,
    /// Its session has lost the right to the service that it was lent for.
    Revoked,
}

/// Why a session has lost a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withdrawn {
    /// Another client has it.
    ByAnother,
    /// There is no such service any more, or what its client has said of it fits no more.
    Gone,
    /// The token that its client proved is no longer one.
    Revoked,
}

/// Why a session is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// The same client has a new one: the old one is dead, whether it knows or not.
    ByItself,
    /// Another client has the one service that it was for.
    ByAnother,
    /// It was for one service, which it has no more.
    Withdrawn(Withdrawn),
}
