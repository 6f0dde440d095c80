//! What a service's homes share: how the server spreads visitors over them, and at home how much
//! of them this one takes, and whether what runs there is looked at.

use std::fmt;
use std::time::Duration;

use super::ServiceKind;
use super::error::ConfigError;
use super::keys;
use super::raw::Section;
use crate::proto::broker::Balance;

/// How what runs at home is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// From one look to the next.
    pub interval: Duration,
    /// What does not answer in that time has failed.
    pub timeout: Duration,
    /// So many failures in a row, and it is down.
    pub fall: u8,
    /// So many successes in a row, and it is up again.
    pub rise: u8,
}

/// What a look asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// Whether it takes a connection.
    Tcp,
    /// Whether it answers GET with a status from 200 to 399.
    Http {
        /// Of the request's target.
        path: String,
        /// Of its Host.
        host: String,
    },
}

impl fmt::Display for HealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.probe {
            Probe::Tcp => f.write_str("a connection"),
            Probe::Http { path, host } => write!(f, "GET {path} of {host}"),
        }?;
        let HealthCheck { interval, timeout, fall, rise, .. } = self;
        let (interval, timeout) = (interval.as_secs(), timeout.as_secs());
        write!(f, " every {interval} s, {timeout} s at most, fall {fall}, rise {rise}")
    }
}

/// How a service's visitors are spread; `None`: it has one home at a time.
pub(super) fn read_balance(section: &Section<'_>) -> Result<Option<Balance>, ConfigError> {
    let Some(text) = section.text("balance")? else { return Ok(None) };
    match &*text.value {
        "least" => Ok(Some(Balance::Least)),
        "round_robin" => Ok(Some(Balance::RoundRobin)),
        "source" => Ok(Some(Balance::Source)),
        _ => Err(text.place.error("must be least, round_robin or source")),
    }
}

/// `weight`: how much of a shared service's visitors this home takes.
pub(super) fn read_weight(section: &Section<'_>) -> Result<u8, ConfigError> {
    Ok(section.number("weight", 1..=100)?.map_or(1, |weight| weight as u8))
}

/// `health_check`, of a service whose visitors go to `host`.
pub(super) fn read_health_check(
    section: &Section<'_>,
    kind: ServiceKind,
    host: &str,
) -> Result<Option<HealthCheck>, ConfigError> {
    const KEY: &str = "health_check";
    let Some(table) = section.section(KEY, &keys::HEALTH_CHECK)? else { return Ok(None) };
    if kind == ServiceKind::Udp {
        let reason = "type udp does not use it: nothing takes a connection";
        return Err(section.place_of(KEY).error(reason));
    }
    let asked = table.text("type")?;
    let probe = match asked.as_ref().map(|text| &*text.value) {
        None | Some("tcp") => {
            for key in ["path", "host"] {
                if table.has(key) {
                    return Err(table.place_of(key).error("needs type = \"http\""));
                }
            }
            Probe::Tcp
        }
        Some("http") if kind == ServiceKind::Https => {
            let reason = "what takes these visitors speaks TLS: type = \"tcp\"";
            return Err(table.place_of("type").error(reason));
        }
        Some("http") => read_http_probe(&table, host)?,
        Some(_) => return Err(table.place_of("type").error("must be tcp or http")),
    };
    let seconds =
        |key, most, usual| Ok(Duration::from_secs(table.number(key, 1..=most)?.unwrap_or(usual)));
    let times = |key, usual| Ok(table.number(key, 1..=100)?.map_or(usual, |times| times as u8));
    let interval = seconds("interval", 3600, INTERVAL)?;
    let timeout = seconds("timeout", 3600, TIMEOUT.min(interval.as_secs()))?;
    if timeout > interval {
        let reason = format!("must be at most the interval, {} s", interval.as_secs());
        return Err(table.place_of("timeout").error(reason));
    }
    let (fall, rise) = (times("fall", 3)?, times("rise", 2)?);
    Ok(Some(HealthCheck { probe, interval, timeout, fall, rise }))
}

fn read_http_probe(table: &Section<'_>, host: &str) -> Result<Probe, ConfigError> {
    let is_visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    let path = match table.text("path")? {
        None => "/".to_owned(),
        Some(text) if text.value.starts_with('/') && is_visible(&text.value) => text.value,
        Some(text) => {
            let reason = "must begin with / and have visible ASCII characters, such as /health";
            return Err(text.place.error(reason));
        }
    };
    let host = match table.text("host")? {
        None => host.to_owned(),
        Some(text) if !text.value.is_empty() && is_visible(&text.value) => text.value,
        Some(text) => return Err(text.place.error("must be a name, such as pi.example.com")),
    };
    Ok(Probe::Http { path, host })
}

/// Seconds between two looks.
const INTERVAL: u64 = 10;
/// Seconds for one.
const TIMEOUT: u64 = 3;
