//! What the limits that a person sets do to visitors: who is let in, who has a seat at which
//! service, and how fast bytes go.

use std::net::{IpAddr, SocketAddr};

use log::debug;

use super::Server;
use crate::engine::conns::ConnId;
use crate::engine::net::Net;
use crate::engine::relay::Pace;
use crate::proto::admission::Holder;
use crate::proto::bandwidth::{Bandwidths, Way};
use crate::proto::gates::{Guest, Refused, Seat};
use crate::proto::services::ServiceId;
use crate::proto::time::Time;

impl<N: Net> Server<N> {
    fn guest(&self, address: IpAddr) -> Guest {
        Guest { address, is_many: self.holder(address) == Holder::Many }
    }

    fn guest_of(&mut self, id: ConnId) -> Option<Guest> {
        let address = self.visitor(id)?.address;
        Some(self.guest(address.ip()))
    }

    /// A visitor, or a request of one, is at the door of the house.
    pub(super) fn knock(&mut self, id: ConnId) -> Result<(), Refused> {
        let now = self.core.now();
        let Some(guest) = self.guest_of(id) else { return Ok(()) };
        self.gates.knock(guest, now)
    }

    /// It goes on to a service, where it needs no seat: nobody at home will hear of it.
    pub(super) fn pass(&mut self, id: ConnId, service: ServiceId) -> Result<(), Refused> {
        let now = self.core.now();
        let Some(guest) = self.guest_of(id) else { return Ok(()) };
        self.gates.pass(service, guest, now)
    }

    /// It goes on to a service and takes a seat there, if it may.
    pub(super) fn enter(&mut self, id: ConnId, service: ServiceId) -> Result<(), Refused> {
        self.leave_seat(id);
        let now = self.core.now();
        let Some(guest) = self.guest_of(id) else { return Ok(()) };
        let seat = self.gates.enter(service, guest, now)?;
        match self.visitor(id) {
            Some(visitor) => visitor.seat = Some(seat),
            None => self.gates.leave(seat),
        }
        Ok(())
    }

    /// It is at no service any more.
    pub(super) fn leave_seat(&mut self, id: ConnId) {
        if let Some(seat) = self.visitor(id).and_then(|visitor| visitor.seat.take()) {
            let service = seat.service();
            self.bandwidths.leave(service, id);
            self.gates.leave(seat);
            self.forget_service(service);
        }
    }

    /// What is known of a service that the file has no more goes with the last who is on it.
    pub(super) fn forget_service(&mut self, service: ServiceId) {
        if !self.services.is_listed(service) && self.gates.forget(service) {
            self.bandwidths.forget(service);
            self.services.forget(service);
            self.stats.forget(service);
            self.online_since.remove(service);
            if let Some(history) = self.core.desk.history() {
                history.forget(service);
            }
            self.complaints.retain(|kind, _| kind.service() != Some(service));
        }
    }

    /// A visitor of a UDP service begins a session, if it may.
    pub(super) fn admits_session(
        &mut self,
        service: ServiceId,
        visitor: SocketAddr,
    ) -> Result<(), Refused> {
        let now = self.core.now();
        let guest = self.guest(visitor.ip());
        if !self.gates.lets_in(guest.address) {
            return Err(Refused::Denied);
        }
        self.gates.knock(guest, now)?;
        self.gates.pass(service, guest, now)
    }

    /// Turns a visitor away that is not let in, without a word.
    pub(super) fn keep_out(&mut self, id: ConnId, refused: Refused) {
        if let Some(visitor) = self.visitor(id) {
            debug!("visitor {}: {}", visitor.address, refused.end());
        }
        self.drop_visitor(id, refused.end());
    }

    /// Whether bytes of `source` have to wait for a visitor's share of the bandwidth. Then it has
    /// its turn when that is there.
    pub(super) fn must_wait(&mut self, id: ConnId, way: Way, source: ConnId) -> bool {
        let Some(service) = self.limited_service(id) else { return false };
        self.core.conns.get(source).is_some_and(|conn| conn.may_bring())
            && self.bandwidths.grant(service, way, id, self.core.now()) == 0
    }

    /// Bytes of a visitor's have moved, which [`Server::must_wait`] was asked about.
    pub(super) fn note_moved(&mut self, id: ConnId, way: Way, bytes: usize) {
        if let Some(service) = self.limited_service(id) {
            self.bandwidths.spent(service, way, id, bytes);
        }
    }

    /// The pace of a relay; `None`: nothing limits it.
    pub(super) fn limited_service(&mut self, id: ConnId) -> Option<ServiceId> {
        let service = self.visitor(id)?.seat.as_ref().map(Seat::service)?;
        self.bandwidths.limits(service).then_some(service)
    }
}

/// A visitor's share of the bandwidths that its service's bytes go through.
pub(super) struct Share<'a> {
    pub(super) bandwidths: &'a mut Bandwidths<ConnId>,
    pub(super) service: ServiceId,
    pub(super) visitor: ConnId,
    pub(super) now: Time,
    pub(super) wants_word: bool,
}

impl Pace for Share<'_> {
    fn grant(&mut self, way: Way) -> usize {
        self.bandwidths.grant(self.service, way, self.visitor, self.now)
    }

    fn spent(&mut self, way: Way, bytes: usize) {
        self.bandwidths.spent(self.service, way, self.visitor, bytes);
    }

    fn wants_word(&self) -> bool {
        self.wants_word
    }
}
