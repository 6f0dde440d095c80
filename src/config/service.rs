//! What the two roles' tables have in common.

use std::time::Duration;

use super::error::ConfigError;
use super::raw::Section;
use super::{ServiceKind, UdpOptions};
use crate::limits;

/// Its `type`; `tcp` without one, as in rathole.
pub(super) fn read_kind(section: &Section<'_>) -> Result<ServiceKind, ConfigError> {
    let Some(text) = section.text("type")? else { return Ok(ServiceKind::Tcp) };
    match &*text.value {
        "tcp" => Ok(ServiceKind::Tcp),
        "http" => Ok(ServiceKind::Http),
        "https" => Ok(ServiceKind::Https),
        "web" => Ok(ServiceKind::Web),
        "udp" => Ok(ServiceKind::Udp),
        _ => Err(text.place.error("must be tcp, udp, http, https or web")),
    }
}

/// How long those who are here may stay once the program is asked to end.
pub(super) fn read_drain_time(section: &Section<'_>) -> Result<Duration, ConfigError> {
    let seconds = section.number("drain_time", 0..=DRAIN_TIME_MAX)?;
    Ok(seconds.map_or(limits::DRAIN_TIME, Duration::from_secs))
}

/// What a UDP service may say of its sessions; the others must not.
pub(super) fn read_udp(
    section: &Section<'_>,
    kind: ServiceKind,
) -> Result<UdpOptions, ConfigError> {
    for key in UDP_KEYS {
        if section.has(key) && kind != ServiceKind::Udp {
            let reason = format!("type {} does not use it", kind.as_str());
            return Err(section.place_of(key).error(reason));
        }
    }
    let [idle_time, max_sessions] = UDP_KEYS;
    let idle_time = section.number(idle_time, 1..=UDP_IDLE_MAX)?.map(Duration::from_secs);
    let max_sessions = section.number(max_sessions, 1..=UDP_SESSIONS_MAX)?;
    Ok(UdpOptions {
        idle_time: idle_time.unwrap_or(limits::UDP_IDLE_TIME),
        max_sessions: max_sessions.map_or(limits::UDP_SESSIONS, |most| most as usize),
    })
}

pub(super) const UDP_KEYS: [&str; 2] = ["udp_idle_time", "udp_max_sessions"];
/// Longer, and a service manager's patience ends first.
const DRAIN_TIME_MAX: u64 = 600;
/// A day.
const UDP_IDLE_MAX: u64 = 24 * 60 * 60;
/// As many sockets as one client's tokens count on every system, and ports of one address.
const UDP_SESSIONS_MAX: u64 = 65_535;

/// Names go over the wire behind a length byte, and into log lines.
pub(super) fn check_name(name: &str, section: &Section<'_>) -> Result<(), ConfigError> {
    match name.len() {
        1..=255 if !name.contains(char::is_control) => Ok(()),
        1..=255 => Err(section.place.error("a service's name has no control characters")),
        _ => Err(section.place.error("a service's name has 1 to 255 bytes")),
    }
}

/// Heartbeats: 0 is never, absent is the default.
pub(super) fn or_never(seconds: Option<u64>, default: Duration) -> Option<Duration> {
    let time = seconds.map_or(default, Duration::from_secs);
    (!time.is_zero()).then_some(time)
}
