//! When to ping a peer and when to give it up. Anything it says counts as life, on any connection:
//! a ping, or the answer to it, may wait behind all that a slow line has to carry.

use std::time::Duration;

use super::time::Time;

/// From the begin of a session to its first ping.
const FIRST_PING: Duration = Duration::from_secs(1);

/// One session's pulse.
#[derive(Debug, Clone)]
pub struct Keepalive {
    interval: Option<Duration>,
    timeout: Option<Duration>,
    heard_at: Time,
    ping_at: Time,
    /// The last round trip, and the least.
    round_trip: Option<(Duration, Duration)>,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing until [`Keepalive::deadline`].
    Nothing,
    /// Send PING.
    Ping,
    /// The peer has been silent for too long.
    Dead,
}

impl Keepalive {
    /// `None` switches pings or the time-out off.
    pub fn new(interval: Option<Duration>, timeout: Option<Duration>, now: Time) -> Keepalive {
        let ping_at = now + interval.unwrap_or_default();
        Keepalive { interval, timeout, heard_at: now, ping_at, round_trip: None }
    }

    /// The first ping is soon: nobody waits a heartbeat to learn how good the line is.
    pub fn measuring(self, now: Time) -> Keepalive {
        Keepalive { ping_at: self.ping_at.min(now + FIRST_PING), ..self }
    }

    /// The peer has answered a ping that was sent at `sent`, as it says.
    pub fn answered(&mut self, sent: Time, now: Time) {
        if sent <= now {
            let last = now - sent;
            let least = self.round_trip.map_or(last, |(_, least)| least.min(last));
            self.round_trip = Some((last, least));
        }
    }

    /// The last round trip that was measured, and the least.
    pub fn round_trip(&self) -> Option<(Duration, Duration)> {
        self.round_trip
    }

    /// The peer said something then.
    pub fn heard(&mut self, at: Time) {
        self.heard_at = self.heard_at.max(at);
    }

    /// What is due at `now`; a ping is due once each interval.
    pub fn poll(&mut self, now: Time) -> Due {
        if self.timeout.is_some_and(|timeout| now >= self.heard_at + timeout) {
            return Due::Dead;
        }
        match self.interval {
            Some(interval) if now >= self.ping_at => {
                self.ping_at = now + interval;
                Due::Ping
            }
            _ => Due::Nothing,
        }
    }

    /// When to call [`Keepalive::poll`] again.
    pub fn deadline(&self) -> Option<Time> {
        let ping = self.interval.map(|_| self.ping_at);
        let dead = self.timeout.map(|timeout| self.heard_at + timeout);
        ping.into_iter().chain(dead).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_then_gives_up_unless_something_is_heard() {
        let second = Duration::from_secs(1);
        let start = Time::default();
        let mut pulse = Keepalive::new(Some(10 * second), Some(25 * second), start);
        assert_eq!(pulse.deadline(), Some(start + 10 * second));
        assert_eq!(pulse.poll(start + 9 * second), Due::Nothing);
        assert_eq!(pulse.poll(start + 10 * second), Due::Ping);
        assert_eq!(pulse.poll(start + 20 * second), Due::Ping);
        assert_eq!(pulse.deadline(), Some(start + 25 * second));
        assert_eq!(pulse.poll(start + 25 * second), Due::Dead);
        pulse.heard(start + 24 * second);
        assert_eq!(pulse.poll(start + 25 * second), Due::Nothing);
        assert_eq!(Keepalive::new(None, None, start).deadline(), None);
        let mut pulse = Keepalive::new(Some(10 * second), None, start).measuring(start);
        assert_eq!((pulse.poll(start + second), pulse.round_trip()), (Due::Ping, None));
        pulse.answered(start + second, start + 3 * second);
        pulse.answered(start + 3 * second, start + 8 * second);
        pulse.answered(start + 9 * second, start + 8 * second);
        assert_eq!(pulse.round_trip(), Some((5 * second, 2 * second)));
    }
}
