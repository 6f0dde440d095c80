//! What the two roles' tables have in common.

use std::time::Duration;

use super::error::ConfigError;
use super::raw::Section;
use super::{Secret, ServiceKind};

/// Its `type`; `tcp` without one, as in rathole.
pub(super) fn read_kind(section: &Section<'_>) -> Result<ServiceKind, ConfigError> {
    let Some(text) = section.text("type")? else { return Ok(ServiceKind::Tcp) };
    match &*text.value {
        "tcp" => Ok(ServiceKind::Tcp),
        "http" => Ok(ServiceKind::Http),
        "https" => Ok(ServiceKind::Https),
        "web" => Ok(ServiceKind::Web),
        "udp" => Err(text.place.error("UDP services are not supported yet in this version")),
        _ => Err(text.place.error("must be tcp, udp, http, https or web")),
    }
}

/// Names go over the wire behind a length byte, and into log lines.
pub(super) fn check_name(name: &str, section: &Section<'_>) -> Result<(), ConfigError> {
    match name.len() {
        1..=255 if !name.contains(char::is_control) => Ok(()),
        1..=255 => Err(section.place.error("a service's name has no control characters")),
        _ => Err(section.place.error("a service's name has 1 to 255 bytes")),
    }
}

/// A token, under the key of a service's own or of the default.
pub(super) fn read_token(section: &Section<'_>, key: &str) -> Result<Option<Secret>, ConfigError> {
    match section.text(key)? {
        Some(text) if text.value.is_empty() => Err(text.place.error("must not be empty")),
        text => Ok(text.map(|text| Secret::new(text.value.into_bytes()))),
    }
}

/// Neither a token of its own nor a default; the line is the service's header.
pub(super) fn missing_token(section: &Section<'_>) -> ConfigError {
    let reason = "missing: a secret that server and client share; or set `default_token`";
    section.place_of("token").error(reason)
}

/// Heartbeats: 0 is never, absent is the default.
pub(super) fn or_never(seconds: Option<u64>, default: Duration) -> Option<Duration> {
    let time = seconds.map_or(default, Duration::from_secs);
    (!time.is_zero()).then_some(time)
}
