//! Whether what runs at home answers: when to look next, and what a row of looks comes to.

use super::time::Time;
use crate::config::HealthCheck;

/// Of one service.
#[derive(Debug)]
pub struct Health {
    check: HealthCheck,
    is_well: bool,
    /// Looks in a row that came to the contrary of `is_well`.
    contrary: u8,
    next: Time,
}

impl Health {
    /// It is taken for well until looks say otherwise; the first is due at once.
    pub fn new(check: HealthCheck, now: Time) -> Health {
        Health { check, is_well: true, contrary: 0, next: now }
    }

    /// What the file says of the looks.
    pub fn check(&self) -> &HealthCheck {
        &self.check
    }

    /// Whether it answers, as far as is known.
    pub fn is_well(&self) -> bool {
        self.is_well
    }

    /// When the next look is due.
    pub fn due_at(&self) -> Time {
        self.next
    }

    /// A look begins: until when it may take.
    pub fn begin(&mut self, now: Time) -> Time {
        self.next = now + self.check.interval;
        now + self.check.timeout
    }

    /// What a look came to; whether that makes it another than it was.
    pub fn note(&mut self, has_passed: bool) -> bool {
        if has_passed == self.is_well {
            self.contrary = 0;
            return false;
        }
        self.contrary += 1;
        let needed = if self.is_well { self.check.fall } else { self.check.rise };
        if self.contrary < needed {
            return false;
        }
        (self.is_well, self.contrary) = (has_passed, 0);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Probe;

    #[test]
    fn it_falls_and_rises_after_as_many_looks_in_a_row_as_the_file_says() {
        let (interval, timeout) = (Duration::from_secs(10), Duration::from_secs(3));
        let check = HealthCheck { probe: Probe::Tcp, interval, timeout, fall: 3, rise: 2 };
        let mut now = Time::default();
        let mut health = Health::new(check, now);
        assert_eq!(health.due_at(), now, "the first look is due at once");
        let looks = [
            (false, false, true),
            (false, false, true),
            (true, false, true),
            (false, false, true),
            (false, false, true),
            (false, true, false),
            (true, false, false),
            (false, false, false),
            (true, false, false),
            (true, true, true),
        ];
        for (index, (has_passed, changes, is_well)) in looks.into_iter().enumerate() {
            assert_eq!(health.begin(now), now + timeout);
            assert_eq!(health.note(has_passed), changes, "look {index}");
            assert_eq!(health.is_well(), is_well, "look {index}");
            assert_eq!(health.due_at(), now + interval);
            now = now + interval;
        }
    }
}
