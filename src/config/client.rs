//! `[client]`.

use std::time::Duration;

use super::addr::{Listeners, hint_at_unspecified};
use super::admin;
use super::env_file::ReadFile;
use super::error::ConfigError;
use super::raw::{Keys, Section, Text};
use super::service::{UDP_KEYS, check_name, or_never, read_drain_time, read_kind, read_udp};
use super::sharing::{read_health_check, read_weight};
use super::tokens::{Holder, Tokens};
use super::transport::{self, Role};
use super::{ClientConfig, ClientService, HostPort, Protocol, ServiceKind, remote};
use crate::limits;
use crate::wire::proxy_header::Version;

pub(super) fn read(
    section: &Section<'_>,
    file: ReadFile<'_>,
    listeners: &mut Listeners,
    warnings: &mut Vec<String>,
    hints: &mut Vec<String>,
) -> Result<ClientConfig, ConfigError> {
    let protocol = read_protocol(section)?;
    let (role, silence) = match protocol {
        Protocol::Native => (Role::Client, limits::HEARTBEAT_TIMEOUT),
        Protocol::Rathole => (Role::RatholeClient, limits::RATHOLE_HEARTBEAT_TIMEOUT),
    };
    let mut tokens = Tokens::read(section, Holder::Client)?;
    let (servers, tcp) = remote::read(section, role, &mut tokens, warnings, hints)?;
    let timeout = section.number("heartbeat_timeout", 0..=transport::SECONDS_MAX)?;
    let mut client = ClientConfig {
        servers,
        watch: section.flag("watch")?.unwrap_or(true),
        protocol,
        tcp,
        prefer_ipv6: section.flag("prefer_ipv6")?.unwrap_or(false),
        heartbeat_timeout: or_never(timeout, silence),
        drain_time: read_drain_time(section)?,
        retry_interval: read_retry(section, warnings)?.unwrap_or(limits::RETRY_INTERVAL),
        services: Vec::new(),
        admin: admin::read_client(section, file, listeners, hints)?,
    };
    for (name, service) in section.sections("services", &SERVICE_KEYS)? {
        check_name(&name, &service)?;
        let read = read_service(name, &service, &mut tokens, &client, warnings)?;
        for key in ["local_addr", "local_http_addr", "local_https_addr"] {
            let local = service.text(key)?;
            hints.extend(local.and_then(|text| hint_at_unspecified(&text, "127.0.0.1")));
        }
        client.services.push(read);
    }
    if client.services.is_empty() {
        warnings.push(section.place_of("services").warning("there are no services"));
    }
    warnings.extend(tokens.line_ends());
    hints.extend(tokens.short());
    Ok(client)
}

fn read_service(
    name: String,
    section: &Section<'_>,
    tokens: &mut Tokens,
    client: &ClientConfig,
    warnings: &mut Vec<String>,
) -> Result<ClientService, ConfigError> {
    let [token] = tokens.of_service(&name, section)?.try_into().expect("a client's is one");
    let kind = read_kind(section)?;
    let targets = Targets::read(section, kind)?;
    let retry_interval = match client.protocol {
        Protocol::Rathole => read_retry(section, warnings)?,
        Protocol::Native => {
            if section.number("retry_interval", 0..=transport::SECONDS_MAX)?.is_some() {
                let reason =
                    "not used: one session carries all services; [client] has its retry_interval";
                warnings.push(section.place_of("retry_interval").warning(reason));
            }
            None
        }
    };
    let udp = read_udp(section, kind)?;
    for key in UDP_KEYS {
        if section.has(key) && client.protocol == Protocol::Native {
            warnings.push(section.place_of(key).warning("not used: the server's file says it"));
        }
    }
    section.check_nodelay(warnings)?;
    let proxy_protocol = read_proxy_protocol(section, kind)?;
    let host = targets.http.as_ref().or(targets.port.as_ref()).map_or("", |target| &target.host);
    let health_check = read_health_check(section, kind, host)?;
    if client.protocol == Protocol::Rathole {
        check_for_rathole(section, kind, targets.ports)?;
        for key in ["weight", "backup", "health_check"] {
            if section.has(key) {
                let reason = "a rathole server has one home for a service";
                return Err(section.place_of(key).error(reason));
            }
        }
    }
    Ok(ClientService {
        name,
        kind,
        token,
        has_own_token: section.has("token"),
        local_addr: targets.port,
        local_ports: targets.ports,
        local_http_addr: targets.http,
        local_https_addr: targets.https,
        prefer_ipv6: section.flag("prefer_ipv6")?.unwrap_or(false),
        retry_interval: retry_interval.unwrap_or(client.retry_interval),
        udp,
        proxy_protocol,
        weight: read_weight(section)?,
        backup: section.flag("backup")?.unwrap_or(false),
        health_check,
    })
}

/// Where a service's visitors go at home, by the way they came in.
struct Targets {
    /// The service's own port, or the first of its ports.
    port: Option<HostPort>,
    ports: u16,
    http: Option<HostPort>,
    https: Option<HostPort>,
}

impl Targets {
    fn read(section: &Section<'_>, kind: ServiceKind) -> Result<Targets, ConfigError> {
        let local = section.text("local_addr")?;
        let (http_key, https_key) = ("local_http_addr", "local_https_addr");
        let (wants_http, wants_https) = match kind {
            ServiceKind::Tcp | ServiceKind::Udp => (false, false),
            ServiceKind::Http => (true, false),
            ServiceKind::Https => (false, true),
            ServiceKind::Web => (true, true),
        };
        for (key, wanted) in [(http_key, wants_http), (https_key, wants_https)] {
            if section.has(key) && !wanted {
                let reason = format!("type {} does not use it", kind.as_str());
                return Err(section.place_of(key).error(reason));
            }
        }
        let mut targets = Targets { port: None, ports: 1, http: None, https: None };
        if wants_http {
            targets.http = Some(read_entry(section, http_key, HTTP_PORT, local.as_ref(), kind)?);
        }
        if wants_https {
            targets.https = Some(read_entry(section, https_key, HTTPS_PORT, local.as_ref(), kind)?);
        }
        match (&targets.https, &targets.http, local) {
            (Some(target), _, _) | (None, Some(target), _) => targets.port = Some(target.clone()),
            (None, None, Some(local)) => {
                let (first, ports) = HostPort::parse_with_ports(local)?;
                (targets.port, targets.ports) = (Some(first), ports);
            }
            (None, None, None) => {
                let reason = "missing: where visitors go, such as `127.0.0.1:80`";
                return Err(section.place_of("local_addr").error(reason));
            }
        }
        Ok(targets)
    }
}

/// Where one entry's visitors go: its own key, or `local_addr` with the entry's usual port.
fn read_entry(
    section: &Section<'_>,
    key: &str,
    usual_port: u16,
    local: Option<&Text>,
    kind: ServiceKind,
) -> Result<HostPort, ConfigError> {
    let own = section.text(key)?;
    if let Some(local) = local
        && kind == ServiceKind::Web
        && HostPort::parse(local)?.1.is_some()
    {
        let reason = "type web has two ports: give the host alone (80 and 443 are used), \
                      or local_http_addr and local_https_addr";
        return Err(local.place.error(reason));
    }
    match own.as_ref().or(local) {
        Some(text) => {
            let (host, port) = HostPort::parse(text)?;
            Ok(HostPort { host, port: port.unwrap_or(usual_port) })
        }
        None => {
            let reason = format!("missing: where its visitors go, such as `traefik` (or {key})");
            Err(section.place_of("local_addr").error(reason))
        }
    }
}

fn read_proxy_protocol(
    section: &Section<'_>,
    kind: ServiceKind,
) -> Result<Option<Version>, ConfigError> {
    let Some(text) = section.text("proxy_protocol")? else { return Ok(None) };
    match &*text.value {
        "v1" if kind == ServiceKind::Udp => {
            Err(text.place.error("must be v2: v1 has no word for UDP"))
        }
        "v1" => Ok(Some(Version::V1)),
        "v2" => Ok(Some(Version::V2)),
        _ => Err(text.place.error("must be v1 or v2")),
    }
}

/// A rathole server tells its clients nothing of a visitor, so a service has one way in and one
/// port at home. Types `http` and `https` are as good as `tcp`.
fn check_for_rathole(
    section: &Section<'_>,
    kind: ServiceKind,
    ports: u16,
) -> Result<(), ConfigError> {
    let (key, reason) = if kind == ServiceKind::Web {
        let reason = "a rathole server does not say which entry a visitor comes in by: \
                      two services, of type http and https";
        ("type", reason)
    } else if ports > 1 {
        let reason = "a rathole server does not say which port a visitor comes in by: \
                      a service for each port";
        ("local_addr", reason)
    } else if section.has("proxy_protocol") {
        ("proxy_protocol", "a rathole server does not say where a visitor comes from")
    } else {
        return Ok(());
    };
    Err(section.place_of(key).error(reason))
}

/// The first pause between dials. rathole's may be 0 or an hour; here a line that is back is soon
/// used, and a loop has a pause.
fn read_retry(
    section: &Section<'_>,
    warnings: &mut Vec<String>,
) -> Result<Option<Duration>, ConfigError> {
    let seconds = section.number("retry_interval", 0..=transport::SECONDS_MAX)?;
    let Some(asked) = seconds.map(Duration::from_secs) else { return Ok(None) };
    let used = asked.clamp(limits::RETRY_INTERVAL, limits::RETRY_MAX);
    if used != asked {
        let reason = format!("{} s are used: the first pause has 1 to 5 s", used.as_secs());
        warnings.push(section.place_of("retry_interval").warning(reason));
    }
    Ok(Some(used))
}

fn read_protocol(section: &Section<'_>) -> Result<Protocol, ConfigError> {
    let Some(text) = section.text("protocol")? else { return Ok(Protocol::Native) };
    match &*text.value {
        "native" => Ok(Protocol::Native),
        "rathole" => Ok(Protocol::Rathole),
        _ => Err(text.place.error("must be native or rathole")),
    }
}

pub(super) const KEYS: Keys =
    Keys { known: KEY_NAMES, elsewhere: Some((super::server::KEY_NAMES, "server")) };
pub(super) const KEY_NAMES: &[&str] = &[
    "remote_addr",
    "servers",
    "resolve",
    "protocol",
    "default_token",
    "watch",
    "transport",
    "heartbeat_timeout",
    "drain_time",
    "congestion_control",
    "retry_interval",
    "prefer_ipv6",
    "services",
    "admin",
];

pub(super) const SERVICE_KEYS: Keys = Keys {
    known: SERVICE_KEY_NAMES,
    elsewhere: Some((super::server::SERVICE_KEY_NAMES, "server")),
};
pub(super) const SERVICE_KEY_NAMES: &[&str] = &[
    "type",
    "token",
    "local_addr",
    "local_http_addr",
    "local_https_addr",
    "nodelay",
    "retry_interval",
    "prefer_ipv6",
    "proxy_protocol",
    "udp_idle_time",
    "udp_max_sessions",
    "weight",
    "backup",
    "health_check",
];

const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;
