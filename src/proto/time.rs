//! Time as an argument: nanoseconds since the engine's start, from [`crate::engine::net::Net`].

use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment, in nanoseconds since an arbitrary start. Never the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

impl Time {
    /// How long the engine has been running then.
    pub fn since_start(self) -> Duration {
        self - Time(0)
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, span: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// The span since an earlier moment; zero if it is not earlier.
impl Sub for Time {
    type Output = Duration;
    fn sub(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}
