//! How much of everything; each has a variable of the environment.

use std::env;
use std::io;
use std::time::Duration;

use super::home::HOMES_MAX;
use super::stacks::Kind;

pub(crate) struct Plan {
    /// `ROUNDS`: each stack is measured so often, in turn; the medians are shown.
    pub(crate) rounds: usize,
    /// `ROUNDS_LARGE`: the same for what takes long: the largest number of idle connections, idle
    /// homes, scaling.
    pub(crate) rounds_large: usize,
    /// `MB`: bytes of one bulk measurement, in 10^6.
    pub(crate) megabytes: u64,
    /// `SECONDS`: length of one measurement of short connections.
    pub(crate) span: Duration,
    /// `PINGS`: round trips of the latency measurement.
    pub(crate) pings: usize,
    /// `IDLE`: visitor connections open at once for the memory measurement.
    pub(crate) idle: usize,
    /// `IDLE_LARGE`: the same, once more, and the most in the scaling table.
    pub(crate) idle_large: usize,
    /// `HOMES`: idle homes at one server.
    pub(crate) homes: usize,
    /// `QUIET`: so long the idle homes are watched.
    pub(crate) quiet: Duration,
    /// `ROUTES`: the most in the scaling table.
    pub(crate) routes: usize,
    /// `STACKS`: which ones, comma-separated.
    pub(crate) stacks: Vec<Kind>,
}

impl Plan {
    pub(crate) fn from_environment() -> io::Result<Plan> {
        let stacks = env::var("STACKS")
            .unwrap_or_else(|_| "peer,underpass-chacha,underpass,underpass-raw".into());
        let stacks: io::Result<Vec<Kind>> = stacks.split(',').map(Kind::from_word).collect();
        Ok(Plan {
            rounds: number("ROUNDS", 5, MANY)? as usize,
            rounds_large: number("ROUNDS_LARGE", 1, MANY)? as usize,
            megabytes: number("MB", 1000, MANY)?,
            span: Duration::from_secs(number("SECONDS", 2, MANY)?),
            pings: number("PINGS", 5000, MANY)? as usize,
            idle: number("IDLE", 2000, MANY)? as usize,
            idle_large: number("IDLE_LARGE", 9000, MANY)? as usize,
            homes: number("HOMES", 1000, HOMES_MAX as u64)? as usize,
            quiet: Duration::from_secs(number("QUIET", 30, MANY)?),
            routes: number("ROUTES", 1000, HOMES_MAX as u64)? as usize,
            stacks: stacks?,
        })
    }

    /// The connections of the scaling table.
    pub(crate) fn crowds(&self) -> Vec<usize> {
        up_to(self.idle_large, &[10, 100, 1000])
    }

    /// The routes of the scaling table.
    pub(crate) fn route_counts(&self) -> Vec<usize> {
        up_to(self.routes, &[1, 10])
    }

    pub(crate) fn most_idle(&self) -> usize {
        self.idle.max(self.idle_large)
    }
}

/// Those of `steps` below `most`, and `most`.
fn up_to(most: usize, steps: &[usize]) -> Vec<usize> {
    steps.iter().copied().filter(|step| *step < most).chain([most]).collect()
}

const MANY: u64 = 1_000_000;

/// A variable of the environment, 1 to `most`.
fn number(name: &str, default: u64, most: u64) -> io::Result<u64> {
    let Some(text) = env::var_os(name) else {
        return Ok(default);
    };
    let parsed = text.to_str().and_then(|text| text.parse().ok());
    let good = parsed.filter(|number| (1..=most).contains(number));
    good.ok_or_else(|| io::Error::other(format!("{name} wants a number, 1 to {most}")))
}
