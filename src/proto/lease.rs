//! A lease: one visitor's use of a link, from OPEN until each side has said its end and has read
//! the other's. Then the link is free for the next one.
//!
//! ```text
//!   said    Open --FIN--> Fin          heard   the same, by the peer's messages
//!            |             |
//!            +---RESET-----+--> Reset          ended  <=>  said != Open && heard != Open
//! ```
//!
//! The server learns that the client has read its end by READY; until then bytes of this lease may
//! still wait in front of a slow service at home, and the next visitor would wait behind them. A
//! client that ends its direction last says READY in place of FIN, so that the usual end costs one
//! message each way.
//!
//! A RESET may follow a FIN (a visitor that half-closed and then broke). It may also cross the
//! peer's own FIN, after which the lease is over for the peer and the next one may have begun:
//! therefore RESET names its lease, and one that names an earlier lease is dropped.

/// How one direction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseEnd {
    /// More DATA may come.
    Open,
    /// Ended by FIN.
    Fin,
    /// Ended by RESET.
    Reset,
}

/// The lease that a link is in; between leases, the last one.
///
/// Invariant: `released => said != Open && heard != Open`; before the first lease, `!begun`.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    number: u32,
    said: LeaseEnd,
    heard: LeaseEnd,
    /// READY has been said (by the client) or heard (by the server).
    released: bool,
    /// There has been a lease.
    begun: bool,
    acceptance: Acceptance,
    /// The last lease of which the peer has said RESET.
    reset: Option<u32>,
    /// DATA that may still be thrown away after we said RESET.
    patience: usize,
}

/// Whether what runs at home has taken the connection (ACCEPTED).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Acceptance {
    NotAsked,
    Asked,
    Said,
}

/// What the peer did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// OPEN while the link is in use.
    OpenInUse,
    /// OPEN with a number that is not the next one.
    OpenOutOfOrder,
    /// DATA or FIN after the peer's own end, or without a lease.
    AfterEnd,
    /// READY while our direction is open, or twice.
    ReadyEarly,
    /// RESET of a lease that has not begun.
    ResetAhead,
    /// RESET of a lease for which it has been said, or of one before that.
    ResetTwice,
    /// Too much DATA after our RESET.
    Deaf,
    /// ACCEPTED that was not asked for, or twice, or behind an end.
    AcceptedUnasked,
}

/// What a RESET means to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Of an earlier lease: nothing.
    Stale,
    /// The connection is broken; our own end is due if it is still open.
    Broken,
}

/// DATA thrown away after our RESET; what is in flight on a fast long line. After that the link
/// is closed, which is cheaper than reading on.
const PATIENCE: usize = 1024 * 1024;

impl Lease {
    /// A fresh link: no lease yet.
    pub fn none() -> Lease {
        let (said, heard) = (LeaseEnd::Fin, LeaseEnd::Fin);
        let acceptance = Acceptance::NotAsked;
        let (released, begun) = (true, false);
        Lease { number: 0, said, heard, released, begun, acceptance, reset: None, patience: 0 }
    }

    /// The number that RESET names.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Server: begins the next lease; its number goes into OPEN.
    pub fn open_next(&mut self) -> u32 {
        debug_assert!(self.is_over());
        let number = self.number.wrapping_add(1);
        let (said, heard) = (LeaseEnd::Open, LeaseEnd::Open);
        let (released, begun, reset) = (false, true, self.reset);
        let acceptance = Acceptance::NotAsked;
        let patience = PATIENCE;
        *self = Lease { number, said, heard, released, begun, acceptance, reset, patience };
        number
    }

    /// Client: the peer's OPEN.
    pub fn hear_open(&mut self, number: u32) -> Result<(), Reject> {
        if !self.is_over() {
            return Err(Reject::OpenInUse);
        }
        if number != self.number.wrapping_add(1) {
            return Err(Reject::OpenOutOfOrder);
        }
        self.open_next();
        Ok(())
    }

    /// Server: OPEN asks for ACCEPTED.
    pub fn ask_acceptance(&mut self) {
        self.acceptance = Acceptance::Asked;
    }

    /// Server: the client's ACCEPTED.
    pub fn hear_accepted(&mut self) -> Result<(), Reject> {
        if self.acceptance != Acceptance::Asked || self.heard != LeaseEnd::Open {
            return Err(Reject::AcceptedUnasked);
        }
        self.acceptance = Acceptance::Said;
        Ok(())
    }

    /// Server: whether ACCEPTED has come since this was asked last.
    pub fn take_acceptance(&mut self) -> bool {
        let is_said = self.acceptance == Acceptance::Said;
        if is_said {
            self.acceptance = Acceptance::NotAsked;
        }
        is_said
    }

    /// The peer's DATA: whether it is to be used (else it is thrown away).
    pub fn hear_data(&mut self, length: usize) -> Result<bool, Reject> {
        if self.heard != LeaseEnd::Open {
            return Err(Reject::AfterEnd);
        }
        if self.said == LeaseEnd::Reset {
            self.patience = self.patience.checked_sub(length).ok_or(Reject::Deaf)?;
        }
        Ok(self.said != LeaseEnd::Reset)
    }

    /// The peer's FIN.
    pub fn hear_fin(&mut self) -> Result<(), Reject> {
        if self.heard != LeaseEnd::Open {
            return Err(Reject::AfterEnd);
        }
        self.heard = LeaseEnd::Fin;
        Ok(())
    }

    /// Server: the client's READY, which ends its direction too if that was open. Whether it did.
    pub fn hear_ready(&mut self) -> Result<bool, Reject> {
        if self.released || self.said == LeaseEnd::Open {
            return Err(Reject::ReadyEarly);
        }
        self.released = true;
        let ends = self.heard == LeaseEnd::Open;
        if ends {
            self.heard = LeaseEnd::Fin;
        }
        Ok(ends)
    }

    /// Client: both directions have ended and READY goes out.
    pub fn say_ready(&mut self) {
        debug_assert!(self.has_ended() && !self.released);
        self.released = true;
    }

    /// The peer's RESET, which it says once for a lease.
    pub fn hear_reset(&mut self, number: u32) -> Result<Heard, Reject> {
        if !self.begun {
            return Err(Reject::ResetAhead);
        }
        if self.reset.is_some_and(|last| number.wrapping_sub(last).wrapping_sub(1) > u32::MAX / 2) {
            return Err(Reject::ResetTwice);
        }
        self.reset = Some(number);
        if number == self.number {
            if self.has_ended() {
                return Ok(Heard::Stale);
            }
            self.heard = LeaseEnd::Reset;
            return Ok(Heard::Broken);
        }
        // Numbers wrap; what lies in the half behind us is old.
        if number.wrapping_sub(self.number) > u32::MAX / 2 {
            Ok(Heard::Stale)
        } else {
            Err(Reject::ResetAhead)
        }
    }

    /// We send FIN.
    pub fn say_fin(&mut self) {
        debug_assert_eq!(self.said, LeaseEnd::Open);
        self.said = LeaseEnd::Fin;
    }

    /// We send RESET, if there is anybody left to tell: `false` when both directions have ended or
    /// we have said it already.
    pub fn say_reset(&mut self) -> bool {
        if self.has_ended() || self.said == LeaseEnd::Reset {
            return false;
        }
        self.said = LeaseEnd::Reset;
        true
    }

    /// How our direction stands.
    pub fn said(&self) -> LeaseEnd {
        self.said
    }

    /// How the peer's direction stands.
    pub fn heard(&self) -> LeaseEnd {
        self.heard
    }

    /// Whether both directions have ended.
    pub fn has_ended(&self) -> bool {
        self.said != LeaseEnd::Open && self.heard != LeaseEnd::Open
    }

    /// Whether the link is free for the next lease.
    pub fn is_over(&self) -> bool {
        self.released
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_free_when_both_ends_are_said_and_heard_and_the_client_says_so() {
        let (mut server, mut client) = (Lease::none(), Lease::none());
        assert_eq!(server.open_next(), 1);
        assert_eq!(client.hear_open(1), Ok(()));
        assert_eq!(client.hear_open(2), Err(Reject::OpenInUse));
        assert_eq!(server.hear_data(9), Ok(true));
        assert_eq!(server.hear_ready(), Err(Reject::ReadyEarly));
        // The home ends first: FIN, and READY once the server's FIN is read.
        client.say_fin();
        server.hear_fin().expect("first end");
        server.say_fin();
        assert!(server.has_ended() && !server.is_over());
        client.hear_fin().expect("first end");
        client.say_ready();
        assert_eq!(server.hear_ready(), Ok(false));
        assert!(server.is_over() && client.is_over());
        assert_eq!(server.hear_data(1), Err(Reject::AfterEnd));
        assert_eq!(client.hear_open(1), Err(Reject::OpenOutOfOrder));
        // The visitor ends first: the client's READY is its end too.
        client.hear_open(server.open_next()).expect("in order");
        server.say_fin();
        client.hear_fin().expect("first end");
        client.say_fin();
        client.say_ready();
        assert_eq!(server.hear_ready(), Ok(true));
        assert_eq!((server.heard(), server.is_over()), (LeaseEnd::Fin, true));
        assert_eq!(server.hear_ready(), Err(Reject::ReadyEarly));
    }

    #[test]
    fn a_reset_that_crosses_a_fin_cannot_touch_the_next_lease() {
        let mut client = Lease::none();
        let mut server = Lease::none();
        client.hear_open(server.open_next()).expect("in order");
        client.say_fin();
        server.hear_fin().expect("first end");
        // The client's socket breaks after its FIN, while the server's FIN is on its way.
        assert!(client.say_reset());
        server.say_fin();
        assert_eq!(server.hear_reset(client.number()), Ok(Heard::Stale));
        assert_eq!(client.hear_fin(), Ok(()));
        client.say_ready();
        assert_eq!(server.hear_ready(), Ok(false));
        let next = server.open_next();
        assert_eq!(server.hear_reset(next - 1), Err(Reject::ResetTwice));
        assert_eq!(server.heard(), LeaseEnd::Open);
        assert_eq!(client.hear_open(next), Ok(()));
        assert_eq!(client.hear_reset(next + 1), Err(Reject::ResetAhead));
    }

    #[test]
    fn no_reset_comes_before_the_first_lease() {
        for number in [0, 1, u32::MAX / 2, u32::MAX] {
            assert_eq!(Lease::none().hear_reset(number), Err(Reject::ResetAhead), "{number}");
        }
    }

    #[test]
    fn after_our_reset_data_is_thrown_away_but_not_for_ever() {
        let mut lease = Lease::none();
        lease.open_next();
        assert!(lease.say_reset());
        assert!(!lease.say_reset());
        assert_eq!(lease.hear_data(PATIENCE), Ok(false));
        assert_eq!(lease.hear_data(1), Err(Reject::Deaf));
        assert_eq!(lease.hear_reset(lease.number()), Ok(Heard::Broken));
        assert!(lease.has_ended() && !lease.is_over());
        assert_eq!(lease.hear_reset(lease.number()), Err(Reject::ResetTwice));
    }
}
