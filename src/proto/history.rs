//! What has passed each service lately: an hour by 5 seconds, and a day by the minute.
//!
//! A sample has 12 bytes, so that a service's hour and day are 26 KB; the memory is taken as they
//! fill, and only by services that have had visitors.

use std::collections::VecDeque;
use std::time::Duration;

use super::services::{ByService, ServiceId};
use super::time::Time;
use crate::limits;

/// Samples of all services together, and of each.
#[derive(Debug)]
pub struct History {
    next: Time,
    /// Samples taken by 5 seconds.
    taken: u64,
    all: Series,
    services: ByService<Series>,
    kept: usize,
}

/// Between two samples of the hour, which are summed up for those of the day.
pub const STEP: Duration = Duration::from_secs(5);
const STEPS_A_MINUTE: u64 = 12;
const HOUR: usize = 720;
const DAY: usize = 1440;

/// A service's totals so far, as they are counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes from visitors.
    pub received: u64,
    /// Bytes to visitors.
    pub sent: u64,
    /// Visitors now.
    pub visitors: u64,
}

/// One step.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    /// Bytes from visitors; whole up to 16 MB, then to 7 digits.
    pub received: f32,
    /// Bytes to visitors.
    pub sent: f32,
    /// Visitors at its end.
    pub visitors: f32,
}

#[derive(Debug, Default)]
struct Series {
    before: Totals,
    hour: VecDeque<Sample>,
    day: VecDeque<Sample>,
    minute: Sample,
}

impl Series {
    fn take(&mut self, now: Totals, is_minute: bool) {
        let sample = Sample {
            received: now.received.saturating_sub(self.before.received) as f32,
            sent: now.sent.saturating_sub(self.before.sent) as f32,
            visitors: now.visitors as f32,
        };
        self.before = now;
        push(&mut self.hour, sample, HOUR);
        self.minute.received += sample.received;
        self.minute.sent += sample.sent;
        self.minute.visitors = sample.visitors;
        if is_minute {
            push(&mut self.day, std::mem::take(&mut self.minute), DAY);
        }
    }
}

fn push(samples: &mut VecDeque<Sample>, sample: Sample, most: usize) {
    if samples.len() >= most {
        samples.pop_front();
    }
    samples.push_back(sample);
}

/// Which samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// Of the last hour.
    Hour,
    /// Of the last day.
    Day,
}

impl Span {
    /// Seconds between two samples.
    pub fn step(self) -> u64 {
        match self {
            Span::Hour => STEP.as_secs(),
            Span::Day => STEP.as_secs() * STEPS_A_MINUTE,
        }
    }
}

impl History {
    /// The first step begins now.
    pub fn new(now: Time) -> History {
        let all = Series::default();
        History { next: now + STEP, taken: 0, all, services: ByService::default(), kept: 0 }
    }

    /// When the next sample is due.
    pub fn next(&self) -> Time {
        self.next
    }

    /// Takes a sample of each of `services`, if that is due. A step is as long as it was late.
    pub fn sample(&mut self, now: Time, services: impl Iterator<Item = (ServiceId, Totals)>) {
        if now < self.next {
            return;
        }
        self.next = now + STEP;
        self.taken += 1;
        let is_minute = self.taken.is_multiple_of(STEPS_A_MINUTE);
        let mut all = Totals::default();
        for (id, totals) in services {
            all.received += totals.received;
            all.sent += totals.sent;
            all.visitors += totals.visitors;
            if self.services.get(id).is_none() {
                if totals == Totals::default() || self.kept >= limits::HISTORIES_KEPT {
                    continue;
                }
                self.kept += 1;
                self.services.insert(id, Series::default());
            }
            if let Some(series) = self.services.get_mut(id) {
                series.take(totals, is_minute);
            }
        }
        self.all.take(all, is_minute);
    }

    /// A service is gone.
    pub fn forget(&mut self, service: ServiceId) {
        if self.services.remove(service).is_some() {
            self.kept -= 1;
        }
    }

    /// Samples of a service, or of all together; the oldest first. Empty if there are none.
    pub fn of(&self, service: Option<ServiceId>, span: Span) -> impl Iterator<Item = Sample> {
        let series = match service {
            Some(service) => self.services.get(service),
            None => Some(&self.all),
        };
        let samples = series.map(|series| match span {
            Span::Hour => &series.hour,
            Span::Day => &series.day,
        });
        samples.into_iter().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_and_a_day_are_kept_and_no_more() {
        let mut history = History::new(Time(0));
        let id = ServiceId::nth(3);
        let mut totals = Totals::default();
        for step in 1..=20_000_u64 {
            let now = Time(0) + STEP * step as u32;
            assert_eq!(history.next(), now);
            totals.received += 2;
            totals.visitors = step;
            history.sample(now, [(id, totals), (ServiceId::nth(4), Totals::default())].into_iter());
        }
        for of in [Some(id), None] {
            let hour: Vec<Sample> = history.of(of, Span::Hour).collect();
            let last = Sample { received: 2.0, sent: 0.0, visitors: 20_000.0 };
            assert_eq!((hour.len(), hour.last()), (HOUR, Some(&last)));
            let day: Vec<Sample> = history.of(of, Span::Day).collect();
            let last = Sample { received: 24.0, sent: 0.0, visitors: 19_992.0 };
            assert_eq!((day.len(), day.last()), (DAY, Some(&last)));
        }
        assert_eq!(history.of(Some(ServiceId::nth(4)), Span::Hour).count(), 0, "nobody came");
        history.forget(id);
        assert_eq!(history.of(Some(id), Span::Day).count(), 0);
    }

    #[test]
    fn an_early_look_is_no_sample() {
        let mut history = History::new(Time(0));
        history.sample(Time(1), std::iter::empty());
        assert_eq!(history.of(None, Span::Hour).count(), 0);
    }
}
