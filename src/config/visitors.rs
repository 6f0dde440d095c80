//! Limits that a person sets: on the visitors of one service, or in `[server]` on all of them.

use std::fmt;
use std::time::Duration;

use super::ServiceKind;
use super::error::ConfigError;
use super::keys;
use super::networks::AccessList;
use super::quantity::{read_bandwidth, show_size};
use super::raw::Section;
use super::transport::SECONDS_MAX;
use crate::limits;
use crate::proto::route::Entry;

/// Of one service, or of all together. A visitor must be within both.
#[derive(Debug, Clone, Default)]
pub struct VisitorLimits {
    /// Who may come at all.
    pub access: AccessList,
    /// How often those of one network may (an IPv4 address, an IPv6 /64).
    pub rate: Option<Rate>,
    /// Bytes a second, each way, for all visitors together.
    pub bandwidth: Option<u64>,
}

/// `rate = { per_second = 50, burst = 100 }`: connections, or requests over plain HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In the long run; at least 1.
    pub per_second: u32,
    /// At once, by whoever has not come for a while; at least 1.
    pub burst: u32,
}

/// How long a visitor of the HTTP entry waits, and is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpTimes {
    /// For the home's answer, from the end of the request; `None`: for ever.
    pub response: Option<Duration>,
    /// For the next request.
    pub idle: Duration,
}

impl Default for HttpTimes {
    fn default() -> HttpTimes {
        HttpTimes { response: Some(limits::HTTP_RESPONSE_TIME), idle: limits::HTTP_IDLE_TIME }
    }
}

impl VisitorLimits {
    pub(super) fn read(section: &Section<'_>) -> Result<VisitorLimits, ConfigError> {
        Ok(VisitorLimits {
            access: AccessList::read(section)?,
            rate: read_rate(section)?,
            bandwidth: read_bandwidth(section, "bandwidth", BANDWIDTH)?,
        })
    }

    /// Each that is set, in words.
    pub fn show(&self) -> Vec<String> {
        let access = self.access.show().into_iter();
        let rate = self.rate.map(|rate| rate.to_string());
        let bandwidth = self.bandwidth.map(|bytes| format!("{}/s each way", show_size(bytes)));
        access.chain(rate).chain(bandwidth).collect()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rate { per_second, burst } = self;
        write!(f, "{per_second} a second for a network, {burst} at once")
    }
}

impl HttpTimes {
    /// What is not set is as in `default`.
    pub(super) fn read(
        section: &Section<'_>,
        default: HttpTimes,
    ) -> Result<HttpTimes, ConfigError> {
        let [response, idle] = HTTP_TIME_KEYS;
        let response = section.number(response, 0..=SECONDS_MAX)?.map(Duration::from_secs);
        let idle = section.number(idle, 1..=SECONDS_MAX)?.map(Duration::from_secs);
        Ok(HttpTimes {
            response: match response {
                Some(time) => (!time.is_zero()).then_some(time),
                None => default.response,
            },
            idle: idle.unwrap_or(default.idle),
        })
    }

    /// Those that are not as in `default`, in words.
    pub fn show(&self, default: HttpTimes) -> Vec<String> {
        let response = (self.response != default.response).then(|| match self.response {
            Some(time) => format!("{} s for an answer", time.as_secs()),
            None => "no limit for an answer".to_owned(),
        });
        let idle = (self.idle != default.idle)
            .then(|| format!("{} s between requests", self.idle.as_secs()));
        response.into_iter().chain(idle).collect()
    }
}

/// Keys of a service that its type has no use for.
pub(super) fn check_use(section: &Section<'_>, kind: ServiceKind) -> Result<(), ConfigError> {
    for key in HTTP_TIME_KEYS {
        if section.has(key) && !kind.entries().contains(&Entry::Http) {
            let reason = "needs type = \"http\" or \"web\": it is about plain HTTP";
            return Err(section.place_of(key).error(reason));
        }
    }
    if section.has("max_visitors") && kind == ServiceKind::Udp {
        let reason = "type udp has `udp_max_sessions` instead";
        return Err(section.place_of("max_visitors").error(reason));
    }
    Ok(())
}

fn read_rate(section: &Section<'_>) -> Result<Option<Rate>, ConfigError> {
    if section.has_number("rate") {
        let reason = "must be a table: `{ per_second = 50, burst = 100 }`";
        return Err(section.place_of("rate").error(reason));
    }
    let Some(section) = section.section("rate", &keys::RATE)? else { return Ok(None) };
    let number = |key| Ok(section.number(key, 1..=RATE_MAX)?.map(|number| number as u32));
    let Some(per_second) = number("per_second")? else {
        let reason = "missing: how many may come in a second, such as 50";
        return Err(section.place_of("per_second").error(reason));
    };
    let burst = number("burst")?.unwrap_or(per_second);
    Ok(Some(Rate { per_second, burst }))
}

pub(super) const HTTP_TIME_KEYS: [&str; 2] = ["response_timeout", "idle_timeout"];
/// Below it a page takes minutes; above it no line exists.
const BANDWIDTH: std::ops::RangeInclusive<u64> = 1_000..=1_000_000_000_000;
/// More visits than a server can serve in a second.
const RATE_MAX: u64 = 1_000_000;
