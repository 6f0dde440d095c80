//! `[server]`.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::addr::{Layer, Listeners, only_loopback};
use super::admin;
use super::env_file::ReadFile;
use super::error::ConfigError;
use super::pages;
use super::quantity::read_size;
use super::raw::{Keys, Place, Section, Text};
use super::service::{check_name, or_never, read_drain_time, read_kind, read_udp};
use super::sharing::read_balance;
use super::tokens::{Holder, Tokens};
use super::transport::{self, Role};
use super::visitors::check_use;
use super::{
    AccessLogConfig, AccessLogFormat, HttpTimes, Networks, Passthrough, Refusal, ServerConfig,
    ServerLimits, ServerService, ServiceKind, Ssh, VisitorLimits,
};
use crate::limits;
use crate::proto::http_entry::Redirect;
use crate::proto::route::{Ask, Condition, Entry, PathPrefix, Pattern, RouteTable};
use crate::wire::client_hello::Alpn;
use crate::wire::host::HostName;
use crate::wire::http::forwarded::Form;

pub(super) fn read(
    section: &Section<'_>,
    file: ReadFile<'_>,
    warnings: &mut Vec<String>,
    hints: &mut Vec<String>,
) -> Result<ServerConfig, ConfigError> {
    let mut listeners = Listeners::default();
    let bind_addrs = listeners.claim(section.texts("bind_addr")?)?;
    if bind_addrs.is_empty() {
        let place = section.place_of("bind_addr");
        return Err(place.error("missing: where clients dial in, such as `0.0.0.0:2333`"));
    }
    let http_addrs = listeners.claim(section.texts("http_addr")?)?;
    let https_addrs = listeners.claim(section.texts("https_addr")?)?;
    let (transport, tcp) = transport::read(section, Role::Server, warnings)?;
    let interval = section.number("heartbeat_interval", 0..=transport::SECONDS_MAX)?;
    let mut tokens = Tokens::read(section, Holder::Server)?;
    let mut server = ServerConfig {
        bind_addrs,
        http_addrs,
        https_addrs,
        watch: section.flag("watch")?.unwrap_or(true),
        transport,
        tcp,
        rathole: section.flag("rathole")?.unwrap_or(true),
        heartbeat_interval: or_never(interval, limits::HEARTBEAT_INTERVAL),
        drain_time: read_drain_time(section)?,
        services: Vec::new(),
        routes: RouteTable::default(),
        public_https_port: section.number("public_https_port", 1..=65535)?.map(|port| port as u16),
        pages: Arc::new(pages::read(section, file)?),
        no_sni: read_refusal(section, "no_sni", "`fallback = true`")?,
        unknown_sni: read_refusal(section, "unknown_sni", "`hosts = [\"**\"]`")?,
        ssh: None,
        limits: read_limits(section)?,
        visitors: VisitorLimits::read(section)?,
        head_timeout: read_head_timeout(section)?,
        http_times: HttpTimes::read(section, HttpTimes::default())?,
        trusted_proxies: Networks::read(section.texts("trusted_proxies")?)?,
        trusted_http_proxies: Networks::read(section.texts("trusted_http_proxies")?)?,
        forwarded: read_form(section)?,
        access_log: read_access_log(section)?,
        admin: None,
        listeners: Listeners::default(),
    };
    let mut claims = Claims { ssh: section.text("ssh_service")?, ..Claims::default() };
    for (name, service) in section.sections("services", &SERVICE_KEYS)? {
        check_name(&name, &service)?;
        service.check_nodelay(warnings)?;
        let service =
            read_service(name, &service, &mut tokens, &mut server, &mut listeners, &mut claims)?;
        server.services.push(service);
    }
    server.admin = admin::read_server(
        section,
        file,
        &mut listeners,
        &server.http_addrs,
        &server.routes,
        hints,
    )?;
    server.listeners = listeners;
    server.ssh = read_ssh(section, &server, claims.ssh)?;
    warn(section, &server, warnings);
    hint_at_loopback(section, &server, hints);
    warnings.extend(tokens.line_ends());
    hints.extend(tokens.shared());
    hints.extend(tokens.short());
    Ok(server)
}

fn read_service(
    name: String,
    section: &Section<'_>,
    tokens: &mut Tokens,
    server: &mut ServerConfig,
    listeners: &mut Listeners,
    claims: &mut Claims,
) -> Result<ServerService, ConfigError> {
    let tokens = tokens.of_service(&name, section)?;
    let kind = read_kind(section)?;
    let layer = if kind == ServiceKind::Udp { Layer::Udp } else { Layer::Tcp };
    let bind_addrs = listeners.claim_ports(layer, section.texts("bind_addr")?)?;
    let udp = read_udp(section, kind)?;
    if kind.entries().is_empty() {
        for key in ["hosts", "fallback", "path_prefix", "alpn"] {
            if section.has(key) {
                let reason = "names need type = \"http\", \"https\" or \"web\"";
                return Err(section.place_of(key).error(reason));
            }
        }
        let takes_ssh = claims.ssh.as_ref().is_some_and(|ssh| ssh.value == name);
        if bind_addrs.is_empty() && !takes_ssh {
            let reason = "missing: where visitors come in, such as `0.0.0.0:5080`";
            return Err(section.place_of("bind_addr").error(reason));
        }
    }
    claims.read(section, kind, server)?;
    let redirect_https = read_redirect(section, kind)?;
    let passthrough = read_passthrough(section, kind)?;
    check_use(section, kind)?;
    Ok(ServerService {
        name,
        kind,
        tokens,
        bind_addrs,
        redirect_https,
        passthrough,
        postgres: read_postgres(section, kind)?,
        udp,
        visitors: VisitorLimits::read(section)?,
        max_visitors: read_count(section, "max_visitors")?,
        http_times: HttpTimes::read(section, server.http_times)?,
        balance: read_balance(section)?,
    })
}

/// `sealed` or `raw`.
fn read_passthrough(section: &Section<'_>, kind: ServiceKind) -> Result<Passthrough, ConfigError> {
    let Some(Text { value, place }) = section.text("passthrough")? else {
        return Ok(Passthrough::Sealed);
    };
    match &*value {
        "sealed" => Ok(Passthrough::Sealed),
        "raw" if kind.entries().contains(&Entry::Https) => Ok(Passthrough::Raw),
        "raw" => Err(place.error(
            "raw needs type = \"https\" or \"web\": nothing else encrypts what the tunnel does not",
        )),
        _ => Err(place.error("must be sealed or raw")),
    }
}

/// `alert` or `drop`; `way` is how a service takes those visitors.
fn read_refusal(section: &Section<'_>, key: &str, way: &str) -> Result<Refusal, ConfigError> {
    let Some(Text { value, place }) = section.text(key)? else { return Ok(Refusal::Alert) };
    match &*value {
        "alert" => Ok(Refusal::Alert),
        "drop" => Ok(Refusal::Drop),
        _ => Err(place.error(format!("must be alert or drop; {way} gives them to a service"))),
    }
}

/// `ssh_service` and `ssh_wait`.
fn read_ssh(
    section: &Section<'_>,
    server: &ServerConfig,
    name: Option<Text>,
) -> Result<Option<Ssh>, ConfigError> {
    let longest = server.head_timeout.as_secs() - 1;
    let wait = section.number("ssh_wait", 1..=longest)?;
    if name.is_some() && wait.is_none() && limits::SSH_WAIT >= server.head_timeout {
        let reason = format!("missing: with this `head_timeout`, 1 to {longest}; 2 is the default");
        return Err(section.place_of("ssh_wait").error(reason));
    }
    let Some(Text { value, place }) = name else {
        return match wait {
            Some(_) => Err(section.place_of("ssh_wait").error("needs `ssh_service`")),
            None => Ok(None),
        };
    };
    if server.https_addrs.is_empty() {
        return Err(place.error("needs `https_addr`, where its visitors come in"));
    }
    let found = server.services.iter().position(|service| service.name == value);
    let service = found.ok_or_else(|| place.error("there is no service of this name"))?;
    if server.services[service].kind != ServiceKind::Tcp {
        return Err(place.error("the service must be of type tcp"));
    }
    Ok(Some(Ssh { service, wait: wait.map_or(limits::SSH_WAIT, Duration::from_secs) }))
}

/// `postgres = true`, of those with TLS visitors.
fn read_postgres(section: &Section<'_>, kind: ServiceKind) -> Result<bool, ConfigError> {
    const KEY: &str = "postgres";
    if section.has(KEY) && !matches!(kind, ServiceKind::Https | ServiceKind::Web) {
        let reason = format!("type {} does not use it", kind.as_str());
        return Err(section.place_of(KEY).error(reason));
    }
    Ok(section.flag(KEY)?.unwrap_or(false))
}

/// `redirect_https = true`, 301 or 308.
fn read_redirect(
    section: &Section<'_>,
    kind: ServiceKind,
) -> Result<Option<Redirect>, ConfigError> {
    const KEY: &str = "redirect_https";
    let wrong = |reason: &str| Err(section.place_of(KEY).error(reason));
    if section.has(KEY) && !kind.entries().contains(&Entry::Http) {
        return wrong("needs type = \"http\" or \"web\": it is about plain HTTP");
    }
    if section.has_number(KEY) {
        return match section.number(KEY, 301..=308) {
            Ok(Some(301)) => Ok(Some(Redirect::Moved)),
            Ok(Some(308)) => Ok(Some(Redirect::Permanent)),
            _ => wrong("must be true, 308 (the same), 301 or false"),
        };
    }
    Ok(section.flag(KEY)?.unwrap_or(false).then_some(Redirect::Permanent))
}

/// Which key gave each route, to name both where two services claim one.
#[derive(Default)]
struct Claims {
    /// By entry and the claim's number.
    routes: HashMap<(Entry, usize), Place>,
    fallbacks: HashMap<Entry, Place>,
    /// The name of the service that takes SSH, which needs no port of its own.
    ssh: Option<Text>,
}

impl Claims {
    /// Adds the service's names to the table.
    fn read(
        &mut self,
        section: &Section<'_>,
        kind: ServiceKind,
        server: &mut ServerConfig,
    ) -> Result<(), ConfigError> {
        let service = server.services.len();
        let hosts = section.texts("hosts")?;
        let fallback = section.flag("fallback")?.unwrap_or(false);
        let conditions = read_conditions(section, kind, fallback)?;
        for entry in kind.entries() {
            let (key, listens) = match entry {
                Entry::Http => ("http_addr", !server.http_addrs.is_empty()),
                Entry::Https => ("https_addr", !server.https_addrs.is_empty()),
            };
            if !listens {
                let reason = format!("type {} needs `{key}` in [server]", kind.as_str());
                return Err(section.place_of("type").error(reason));
            }
            if hosts.is_empty() && !fallback {
                let place = section.place_of("hosts");
                return Err(place.error("missing: the names it takes, such as `pi.example.com`"));
            }
            for host in &hosts {
                let pattern = Pattern::parse(&host.value);
                let pattern = pattern.map_err(|error| host.place.error(error.to_string()))?;
                for condition in &conditions {
                    let condition = condition.clone();
                    let claim = server.routes.insert(*entry, &pattern, condition, service);
                    let claim = claim.map_err(|taken| {
                        host.place.error(already_at(self.routes.get(&(*entry, taken))))
                    })?;
                    self.routes.insert((*entry, claim), host.place.clone());
                }
            }
            if fallback {
                let place = section.place_of("fallback");
                server
                    .routes
                    .set_fallback(*entry, service)
                    .map_err(|_| place.error(already_at(self.fallbacks.get(entry))))?;
                self.fallbacks.insert(*entry, place);
            }
        }
        Ok(())
    }
}

/// What the service asks for beside a name: any of these, or nothing.
fn read_conditions(
    section: &Section<'_>,
    kind: ServiceKind,
    fallback: bool,
) -> Result<Vec<Option<Condition>>, ConfigError> {
    for (key, needed, why) in [
        ("path_prefix", ServiceKind::Http, "a path inside TLS cannot be seen"),
        ("alpn", ServiceKind::Https, "plain HTTP has no ALPN"),
    ] {
        if !section.has(key) {
            continue;
        }
        let place = section.place_of(key);
        if kind != needed {
            return Err(place.error(format!("needs type = \"{}\": {why}", needed.as_str())));
        }
        if fallback {
            let reason = "cannot go with `fallback`, which takes visitors for their lack of a name";
            return Err(place.error(reason));
        }
    }
    let mut conditions = Vec::new();
    if let Some(text) = section.text("path_prefix")? {
        let prefix = PathPrefix::parse(&text.value);
        let prefix = prefix.map_err(|error| text.place.error(error.to_string()))?;
        conditions.push(Some(Condition::Path(prefix)));
    }
    for Text { value, place } in section.texts("alpn")? {
        // RFC 7301 3.1; visible, since `check` and the log show it.
        if !(1..=255).contains(&value.len()) || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(place.error("a protocol's name has 1 to 255 visible ASCII characters"));
        }
        conditions.push(Some(Condition::Alpn(value.into())));
    }
    if section.has("alpn") && conditions.is_empty() {
        return Err(section.place_of("alpn").error("names no protocol, such as `acme-tls/1`"));
    }
    if conditions.is_empty() {
        conditions.push(None);
    }
    Ok(conditions)
}

fn already_at(place: Option<&Place>) -> String {
    let owner = place.map(Place::mention).unwrap_or_default();
    format!("the same as {owner}; one service only can have it")
}

fn read_form(section: &Section<'_>) -> Result<Form, ConfigError> {
    let Some(text) = section.text("forwarded")? else { return Ok(Form::default()) };
    match &*text.value {
        "x" => Ok(Form::X),
        "rfc7239" => Ok(Form::Rfc7239),
        "both" => Ok(Form::Both),
        "none" => Ok(Form::None),
        _ => Err(text.place.error("must be x, rfc7239, both or none")),
    }
}

/// What it says is for hellos and heads; what comes after has times of its own.
fn read_head_timeout(section: &Section<'_>) -> Result<Duration, ConfigError> {
    let seconds = section.number("head_timeout", 2..=HEAD_TIMEOUT_MAX)?;
    Ok(seconds.map_or(limits::HEAD_TIME, Duration::from_secs))
}

fn read_count(section: &Section<'_>, key: &str) -> Result<Option<usize>, ConfigError> {
    Ok(section.number(key, 1..=VISITORS_MAX)?.map(|number| number as usize))
}

fn read_limits(parent: &Section<'_>) -> Result<ServerLimits, ConfigError> {
    const VISITORS: &str = "max_visitors";
    // In [server] it is about all visitors too.
    let of_server = read_count(parent, VISITORS)?;
    let mut bounds = ServerLimits {
        max_visitors: of_server.unwrap_or(limits::MAX_VISITORS),
        max_visitors_per_address: None,
        memory: limits::MEMORY,
    };
    if let Some(section) = parent.section("limits", &LIMIT_KEYS)? {
        if let Some(most) = read_count(&section, VISITORS)? {
            if of_server.is_some() {
                let owner = section.place_of(VISITORS).mention();
                let reason = format!("the same as {owner}; in one of them");
                return Err(parent.place_of(VISITORS).error(reason));
            }
            bounds.max_visitors = most;
        }
        bounds.max_visitors_per_address = read_count(&section, "max_visitors_per_address")?;
        let memory = read_size(&section, "memory", MEMORY)?;
        bounds.memory = memory.map_or(bounds.memory, |bytes| bytes as usize); // within MEMORY
    }
    Ok(bounds)
}

fn read_access_log(section: &Section<'_>) -> Result<Option<AccessLogConfig>, ConfigError> {
    let Some(section) = section.section("access_log", &ACCESS_LOG_KEYS)? else { return Ok(None) };
    let path = section.text("path")?;
    if path.as_ref().is_some_and(|path| path.value.is_empty()) {
        let reason = "must not be empty; `-` is standard output";
        return Err(section.place_of("path").error(reason));
    }
    let path = path.map(|path| path.value).filter(|path| path != "-").map(PathBuf::from);
    let format = match section.text("format")? {
        None => AccessLogFormat::Clf,
        Some(text) => match &*text.value {
            "clf" => AccessLogFormat::Clf,
            "json" => AccessLogFormat::Json,
            _ => return Err(text.place.error("must be clf or json")),
        },
    };
    Ok(Some(AccessLogConfig { path, format, place: section.place_of("path") }))
}

fn warn(section: &Section<'_>, server: &ServerConfig, warnings: &mut Vec<String>) {
    if !server.http_addrs.is_empty() && server.routes.list(Entry::Http).is_empty() {
        let reason = "no service of type http or web takes its visitors";
        warnings.push(section.place_of("http_addr").warning(reason));
    }
    if !server.https_addrs.is_empty() && server.routes.list(Entry::Https).is_empty() {
        let reason = "no service of type https or web takes its visitors";
        warnings.push(section.place_of("https_addr").warning(reason));
    }
    for (key, networks) in [
        ("trusted_proxies", &server.trusted_proxies),
        ("trusted_http_proxies", &server.trusted_http_proxies),
    ] {
        if networks.contain_all_of_a_family() {
            let reason = "everybody is believed: only for ports that proxies alone can reach";
            warnings.push(section.place_of(key).warning(reason));
        }
    }
    let nameless = server.routes.find(&HostName::Empty, Ask::Https { alpn: Alpn::NONE });
    if section.has("no_sni") && nameless.is_ok_and(|found| found.is_some()) {
        let reason = "not used: a service with `fallback = true` takes these visitors";
        warnings.push(section.place_of("no_sni").warning(reason));
    }
    if server.services.is_empty() {
        warnings.push(section.place_of("services").warning("there are no services"));
    }
}

/// Addresses that look right and that nobody reaches. A proxy on this machine may be meant to: it
/// is one whose word is taken.
fn hint_at_loopback(section: &Section<'_>, server: &ServerConfig, hints: &mut Vec<String>) {
    let is_behind = section.has("trusted_proxies") || section.has("trusted_http_proxies");
    let mut hint = |key: &str, who: &str, port: u16| {
        let reason = format!("this machine alone reaches it: {who} come to `0.0.0.0:{port}`");
        hints.push(section.place_of(key).warning(reason));
    };
    if only_loopback(&server.bind_addrs) {
        hint("bind_addr", "homes", server.bind_addrs[0].port());
    }
    for (key, addrs) in [("http_addr", &server.http_addrs), ("https_addr", &server.https_addrs)] {
        if only_loopback(addrs) && !is_behind {
            hint(key, "visitors", addrs[0].port());
        }
    }
}

pub(super) const KEYS: Keys =
    Keys { known: KEY_NAMES, elsewhere: Some((super::client::KEY_NAMES, "client")) };
pub(super) const KEY_NAMES: &[&str] = &[
    "bind_addr",
    "http_addr",
    "https_addr",
    "default_token",
    "watch",
    "transport",
    "heartbeat_interval",
    "drain_time",
    "congestion_control",
    "rathole",
    "services",
    "limits",
    "allow",
    "deny",
    "max_visitors",
    "rate",
    "bandwidth",
    "response_timeout",
    "idle_timeout",
    "head_timeout",
    "trusted_proxies",
    "trusted_http_proxies",
    "forwarded",
    "public_https_port",
    "error_pages",
    "no_sni",
    "unknown_sni",
    "ssh_service",
    "ssh_wait",
    "access_log",
    "admin",
];

pub(super) const SERVICE_KEYS: Keys = Keys {
    known: SERVICE_KEY_NAMES,
    elsewhere: Some((super::client::SERVICE_KEY_NAMES, "client")),
};
pub(super) const SERVICE_KEY_NAMES: &[&str] = &[
    "type",
    "token",
    "hosts",
    "fallback",
    "path_prefix",
    "alpn",
    "redirect_https",
    "passthrough",
    "postgres",
    "bind_addr",
    "nodelay",
    "udp_idle_time",
    "udp_max_sessions",
    "allow",
    "deny",
    "max_visitors",
    "rate",
    "bandwidth",
    "response_timeout",
    "idle_timeout",
    "balance",
];

pub(super) const LIMIT_KEYS: Keys =
    Keys { known: &["max_visitors", "max_visitors_per_address", "memory"], elsewhere: None };

pub(super) const ACCESS_LOG_KEYS: Keys = Keys { known: &["path", "format"], elsewhere: None };

/// Linux's largest `fs.nr_open` that makes sense here.
const VISITORS_MAX: u64 = 1 << 30;
/// Longer, and who says nothing keeps others out.
const HEAD_TIMEOUT_MAX: u64 = 600;
/// A quarter of the least is a few of the longest heads; 32 bits can count the most.
const MEMORY: RangeInclusive<u64> = 1_000_000..=4_000_000_000;
