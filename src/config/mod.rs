//! What the user writes, parsed into types that cannot be wrong.
//!
//! [`Config::load`] reads a file; every error names the file, the line, the key and what would be
//! right. No error quotes a line or a value: either may be a token.
//!
//! The keys are rathole's and more: a file of rathole 0.5 loads unchanged. What it says and this
//! version cannot do is an error that says so, never silence.

mod addr;
mod admin;
pub mod changes;
mod client;
mod coalescing;
mod doors;
mod env_file;
mod error;
mod files;
pub(crate) mod interpolate;
pub mod keys;
mod mistakes;
mod networks;
mod pages;
mod proxy;
mod quantity;
mod raw;
mod remote;
mod secret;
mod server;
mod service;
mod sharing;
mod tokens;
mod transport;
mod visitors;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeTable;

use addr::{Layer, Listeners};
use env_file::ReadFile;
use files::Files;

use crate::limits;
use crate::proto::broker::Balance;
use crate::proto::http_entry::Redirect;
use crate::proto::http_entry::page::Pages;
use crate::proto::route::{Entry, RouteTable};
use crate::wire::http::forwarded;
use crate::wire::proxy_header;

pub use addr::show_ports;
pub use admin::{AdminAddr, AdminConfig};
pub use doors::admin_doors;
pub use error::ConfigError;
pub use files::SeenFile;
pub use networks::{AccessList, Networks};
pub use proxy::{Login, Proxy, ProxyScheme};
pub use raw::nearest;
pub use remote::RemoteServer;
pub use secret::Secret;
pub use sharing::{HealthCheck, Probe};
pub use visitors::{HttpTimes, Rate, VisitorLimits};

/// One file: either role or both.
#[derive(Debug)]
pub struct Config {
    /// `[server]`.
    pub server: Option<ServerConfig>,
    /// `[client]`.
    pub client: Option<ClientConfig>,
    /// What loads but deserves a line in the log, each with file and line.
    pub warnings: Vec<String>,
    /// What works, and may not be what was meant: for `check`. Each with file and line.
    pub hints: Vec<String>,
}

impl Config {
    /// Reads a file, with `${NAME}` from the process's environment. A pipe will do.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        Config::load_noting(path, &mut Vec::new())
    }

    /// The same; `seen` gets the files that were read, also where that has failed: one of them must
    /// change before it can succeed.
    pub fn load_noting(path: &Path, seen: &mut Vec<SeenFile>) -> Result<Config, ConfigError> {
        Config::load_from(path, true, seen)
    }

    /// The same once more, later. A pipe is refused: its reader waits for a writer.
    pub fn load_again(path: &Path, seen: &mut Vec<SeenFile>) -> Result<Config, ConfigError> {
        Config::load_from(path, false, seen)
    }

    fn load_from(
        path: &Path,
        pipes: bool,
        seen: &mut Vec<SeenFile>,
    ) -> Result<Config, ConfigError> {
        let file = path.display().to_string();
        let bytes = files::read_configuration(path, pipes, seen).map_err(|error| ConfigError {
            file: file.clone(),
            line: None,
            key: String::new(),
            reason: format!("cannot read it: {error}"),
        })?;
        let text = text(&file, bytes)?;
        let files = Files::beside(path, seen);
        let env = |name: &str| std::env::var(name).ok();
        Config::parse_with(&file, &text, &env, &|name, most| files.read(name, most))
    }

    /// Parses a file's text. `file_name` is for errors, and files that it names lie beside it;
    /// `env` answers `${NAME}`.
    pub fn parse(
        file_name: &str,
        text: &str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config, ConfigError> {
        let mut seen = Vec::new();
        let files = Files::beside(Path::new(file_name), &mut seen);
        Config::parse_with(file_name, text, env, &|name, most| files.read(name, most))
    }

    fn parse_with(
        file_name: &str,
        text: &str,
        env: &dyn Fn(&str) -> Option<String>,
        file: ReadFile<'_>,
    ) -> Result<Config, ConfigError> {
        // An editor of Windows may have put a byte order mark in front.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let source = raw::Source::new(file_name, text, env);
        let tree = source.parse()?;
        Config::read(&source, tree.get_ref(), env, file)
    }

    /// What the tree of a file says.
    fn read(
        source: &raw::Source<'_>,
        tree: &DeTable<'_>,
        env: &dyn Fn(&str) -> Option<String>,
        file: ReadFile<'_>,
    ) -> Result<Config, ConfigError> {
        let root = source.root(tree, &keys::ROOT)?;
        let variables = env_file::read(&root, env, file)?;
        let env = |name: &str| env(name).or_else(|| variables.get(name).cloned());
        let with_variables = source.with_env_file(&env);
        let root = match root.has("env_file") {
            true => with_variables.root(tree, &keys::ROOT)?,
            false => root,
        };
        let (mut warnings, mut hints) = (Vec::new(), Vec::new());
        let server = root.section("server", &keys::SERVER)?;
        let server = server
            .map(|section| server::read(&section, file, &mut warnings, &mut hints))
            .transpose()?;
        let client = root.section("client", &keys::CLIENT)?;
        let mut listeners = server.as_ref().map(|it| it.listeners.clone()).unwrap_or_default();
        let client = client
            .map(|section| client::read(&section, file, &mut listeners, &mut warnings, &mut hints))
            .transpose()?;
        if server.is_none() && client.is_none() {
            return Err(root.place.error("neither [server] nor [client] is here"));
        }
        Ok(Config { server, client, warnings, hints })
    }
}

/// `[server]`: the role on the VPS.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where clients dial in.
    pub bind_addrs: Vec<SocketAddr>,
    /// Where visitors' plain HTTP comes in.
    pub http_addrs: Vec<SocketAddr>,
    /// Where visitors' TLS comes in.
    pub https_addrs: Vec<SocketAddr>,
    /// Reload by itself when one of the files changes.
    pub watch: bool,
    /// How the tunnel is protected.
    pub transport: Transport,
    /// rathole's clients are served.
    pub rathole: bool,
    /// Socket options of tunnel connections.
    pub tcp: TcpOptions,
    /// Pause between pings on a native session; `None`: no pings and no dead-peer detection.
    pub heartbeat_interval: Option<Duration>,
    /// Who is here when the program is asked to end has so long at most.
    pub drain_time: Duration,
    /// In the order of the file. A service's number is its index here.
    pub services: Vec<ServerService>,
    /// Names to services.
    pub routes: RouteTable,
    /// Where visitors reach the TLS entry, if not at its own port.
    pub public_https_port: Option<u16>,
    /// The user's own pages for the HTTP entry.
    pub pages: Arc<Pages>,
    /// What a visitor of the TLS entry gets that sends no name, and has no fallback.
    pub no_sni: Refusal,
    /// What a visitor of the TLS entry gets whose name no service has.
    pub unknown_sni: Refusal,
    /// Who takes the visitors of the TLS entry that speak SSH.
    pub ssh: Option<Ssh>,
    /// Bounds that the file may set.
    pub limits: ServerLimits,
    /// What the file sets for the visitors of all services together.
    pub visitors: VisitorLimits,
    /// How long a visitor may take to say what it wants: a ClientHello, the head of a request.
    pub head_timeout: Duration,
    /// Of the HTTP entry, where no service is known.
    pub http_times: HttpTimes,
    /// Peers of visitors' ports that begin each connection with a PROXY header, and must.
    pub trusted_proxies: Networks,
    /// HTTP proxies whose forwarded fields are kept and appended to.
    pub trusted_http_proxies: Networks,
    /// How homes are told where a request comes from.
    pub forwarded: forwarded::Form,
    /// `None`: no access log.
    pub access_log: Option<AccessLogConfig>,
    /// `None`: nobody can look at it.
    pub admin: Option<AdminConfig>,
    /// Which key says that an address is listened on.
    listeners: Listeners,
}

impl ServerConfig {
    /// What to say when an address cannot be listened on.
    pub fn cannot_listen(&self, at: SocketAddr, error: &io::Error) -> io::Error {
        self.listeners.explain(Layer::Tcp, at, error)
    }

    /// The same for UDP.
    pub fn cannot_bind(&self, at: SocketAddr, error: &io::Error) -> io::Error {
        self.listeners.explain(Layer::Udp, at, error)
    }
}

/// How the bytes of a service's TLS visitors cross the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passthrough {
    /// Encrypted once more.
    Sealed,
    /// As they are, which is TLS: moved by splice(2), never copied.
    Raw,
}

/// How a TLS visitor is turned away whom no service takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// By the alert `unrecognized_name`.
    Alert,
    /// By a close, without a word.
    Drop,
}

impl Refusal {
    /// As in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Refusal::Alert => "alert",
            Refusal::Drop => "drop",
        }
    }
}

/// `ssh_service` and `ssh_wait`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ssh {
    /// The service's number.
    pub service: usize,
    /// A visitor that has said nothing for so long waits to be spoken to, and goes there too.
    pub wait: Duration,
}

/// `[server.access_log]`.
#[derive(Debug, Clone)]
pub struct AccessLogConfig {
    /// `None`: standard output.
    pub path: Option<PathBuf>,
    /// How a line looks.
    pub format: AccessLogFormat,
    /// Of `path`.
    place: raw::Place,
}

impl AccessLogConfig {
    /// What to say when the file cannot be opened.
    pub fn error(&self, error: &io::Error) -> ConfigError {
        self.place.error(format!("cannot open it to write: {error}"))
    }
}

/// `format = "…"` of the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// As Traefik's common format.
    Clf,
    /// One object a line.
    Json,
}

/// Bounds on what strangers can open; `[server.limits]`.
#[derive(Debug, Clone)]
pub struct ServerLimits {
    /// Visitors' connections in all. Bounded by the descriptor limit too.
    pub max_visitors: usize,
    /// Visitors' connections of one address (an IPv6 /64 counts as one); `None`: half of all.
    pub max_visitors_per_address: Option<usize>,
    /// Bytes that are held in all, for those who do not take them and until what comes is whole.
    pub memory: usize,
}

/// `[server.services.NAME]`.
#[derive(Debug, Clone)]
pub struct ServerService {
    /// Its name; 1 to 255 bytes.
    pub name: String,
    /// What kind of visitors it takes.
    pub kind: ServiceKind,
    /// A client proves to have one of these secrets; at least one, no two equal.
    pub tokens: Vec<Secret>,
    /// Ports of its own, ranges written out.
    pub bind_addrs: Vec<SocketAddr>,
    /// Its visitors over plain HTTP are sent to TLS (kinds `http`, `web`).
    pub redirect_https: Option<Redirect>,
    /// How TLS visitors' bytes cross the tunnel.
    pub passthrough: Passthrough,
    /// Its TLS visitors speak PostgreSQL, which asks in the clear before it begins TLS.
    pub postgres: bool,
    /// For type `udp`.
    pub udp: UdpOptions,
    /// What the file sets for its visitors.
    pub visitors: VisitorLimits,
    /// How many of them there may be at once.
    pub max_visitors: Option<usize>,
    /// For those of the HTTP entry.
    pub http_times: HttpTimes,
    /// How several homes share it; `None`: the one that came last has it alone.
    pub balance: Option<Balance>,
}

impl ServerService {
    /// For each of `bind_addrs` its port's place among the service's ports, counted from 0: what
    /// the client adds to the first port of its own range. A port that comes again on another
    /// address (IPv4 and IPv6) is the same one.
    pub fn port_offsets(&self) -> Vec<u16> {
        let mut known = HashMap::new();
        let mut count = 0; // up to limits::LISTENERS
        let offset = |addr: &SocketAddr| {
            let port = addr.port();
            match known.get(&port) {
                Some(offset) if port != 0 => *offset,
                _ => {
                    known.insert(port, count);
                    count += 1;
                    count - 1
                }
            }
        };
        self.bind_addrs.iter().map(offset).collect()
    }

    /// How many ports it has.
    pub fn ports(&self) -> u16 {
        self.port_offsets().into_iter().max().map_or(0, |last| last + 1)
    }
}

/// The sessions of a UDP service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpOptions {
    /// A session ends after so long without a datagram.
    pub idle_time: Duration,
    /// How many there may be; the one that is idle for longest goes.
    pub max_sessions: usize,
}

impl Default for UdpOptions {
    fn default() -> UdpOptions {
        UdpOptions { idle_time: limits::UDP_IDLE_TIME, max_sessions: limits::UDP_SESSIONS }
    }
}

/// `type = "…"` of a service. The number is its code in REGISTER (PROTOCOL.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ServiceKind {
    /// A TCP port of its own.
    Tcp = 0,
    /// A UDP port of its own.
    Udp = 1,
    /// The HTTP entry, by Host.
    Http = 2,
    /// The TLS entry, by SNI.
    Https = 3,
    /// Both entries.
    Web = 4,
}

impl ServiceKind {
    /// As in `type = "…"`.
    pub fn as_str(self) -> &'static str {
        match self {
            ServiceKind::Tcp => "tcp",
            ServiceKind::Udp => "udp",
            ServiceKind::Http => "http",
            ServiceKind::Https => "https",
            ServiceKind::Web => "web",
        }
    }

    /// Its visitors come in through these entries, by name.
    pub fn entries(self) -> &'static [Entry] {
        match self {
            ServiceKind::Tcp | ServiceKind::Udp => &[],
            ServiceKind::Http => &[Entry::Http],
            ServiceKind::Https => &[Entry::Https],
            ServiceKind::Web => &[Entry::Http, Entry::Https],
        }
    }
}

/// `[client]`: the role at home.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// At least one; no two with the same address.
    pub servers: Vec<RemoteServer>,
    /// Reload by itself when one of the files changes.
    pub watch: bool,
    /// What the servers speak.
    pub protocol: Protocol,
    /// Socket options of tunnel connections.
    pub tcp: TcpOptions,
    /// Dial a server's IPv6 addresses first.
    pub prefer_ipv6: bool,
    /// Silence after which the server counts as dead; `None`: never.
    pub heartbeat_timeout: Option<Duration>,
    /// Visitors that are here when the program is asked to end have so long at most.
    pub drain_time: Duration,
    /// First pause before dialling again, up to 5 s; doubles, with jitter, up to 5 s.
    pub retry_interval: Duration,
    /// In the order of the file.
    pub services: Vec<ClientService>,
    /// `None`: nobody can look at it.
    pub admin: Option<AdminConfig>,
}

/// `protocol = "…"` of `[client]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// underpass's own: one control session for all services, and links.
    Native,
    /// rathole 0.5's: a control channel for each service, and a data channel for each visitor.
    Rathole,
}

/// `[client.services.NAME]`.
#[derive(Debug, Clone)]
pub struct ClientService {
    /// Its name, the same as on the server.
    pub name: String,
    /// Its type, the same as on the server.
    pub kind: ServiceKind,
    /// The secret that proves the right to it; see [`RemoteServer::token_of`].
    pub token: Secret,
    /// It is not the default one.
    pub has_own_token: bool,
    /// Where visitors of the service's own port go. Kind `web`: the same as the TLS entry's.
    pub local_addr: Option<HostPort>,
    /// 1: all visitors go to that port. More: as many ports from there on, one for each of the
    /// server's.
    pub local_ports: u16,
    /// Where visitors of the HTTP entry go (kinds `http`, `web`).
    pub local_http_addr: Option<HostPort>,
    /// Where visitors of the TLS entry go (kinds `https`, `web`).
    pub local_https_addr: Option<HostPort>,
    /// Dial the local IPv6 addresses first.
    pub prefer_ipv6: bool,
    /// As [`ClientConfig::retry_interval`], where each service has a connection of its own.
    pub retry_interval: Duration,
    /// For type `udp` over rathole's protocol.
    pub udp: UdpOptions,
    /// Tell the local server the visitor's address, in a header before its first byte.
    pub proxy_protocol: Option<proxy_header::Version>,
    /// Where homes share it: how much this one takes beside others, 1 to 100.
    pub weight: u8,
    /// Where homes share it: this one takes visitors only when no other is well.
    pub backup: bool,
    /// How what runs there is looked at.
    pub health_check: Option<HealthCheck>,
}

impl ClientService {
    /// Where visitors of the server's port number `offset` go; `None`: it has no such port.
    pub fn local_port(&self, offset: u16) -> Option<HostPort> {
        let first = self.local_addr.as_ref()?;
        let offset = match self.local_ports {
            1 => 0,
            ports => Some(offset).filter(|offset| *offset < ports)?,
        };
        Some(HostPort { port: first.port + offset, ..first.clone() })
    }

    /// Visitors may be sent there.
    pub fn goes_to(&self, target: &HostPort) -> bool {
        let offset = |first: &HostPort| target.port.checked_sub(first.port);
        let of_range = self.local_addr.as_ref().and_then(offset);
        let named = [&self.local_http_addr, &self.local_https_addr];
        named.into_iter().flatten().any(|address| address == target)
            || of_range.and_then(|offset| self.local_port(offset)).as_ref() == Some(target)
    }
}

/// `[….transport]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// No encryption.
    Tcp,
    /// Noise.
    Noise(NoiseConfig),
}

/// `[….transport.noise]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoiseConfig {
    /// Any names that snow accepts, at least one. A server takes all of them, in this order; a
    /// client tries one after another.
    pub patterns: Vec<String>,
    /// This side's static key, 32 bytes.
    pub local_private_key: Option<Secret>,
    /// The other side's static key, 32 bytes.
    pub remote_public_key: Option<Vec<u8>>,
}

/// `[….transport.tcp]`, for tunnel connections of every transport.
#[derive(Debug, Clone)]
pub struct TcpOptions {
    /// `None`: no keepalive.
    pub keepalive: Option<Keepalive>,
    /// Client: dial the servers through this, unless their own tables say otherwise.
    pub proxy: Option<Proxy>,
    /// `congestion_control`, one level up: also for visitors.
    pub congestion: Congestion,
}

/// `congestion_control`: how fast TCP sends on what crosses the net.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Congestion {
    /// BBR where this process may have it, else what the system takes.
    #[default]
    Auto,
    /// What the system takes.
    System,
    /// The kernel's name of one.
    Named(String),
}

impl fmt::Display for Congestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Congestion::Auto => "auto",
            Congestion::System => "system",
            Congestion::Named(name) => name,
        })
    }
}

/// When TCP asks whether the other host is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe.
    pub idle: Duration,
    /// Pause between probes.
    pub interval: Duration,
}

/// A name or a literal address, and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// A name, or a literal IPv4 or IPv6 address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A file's bytes as text.
fn text(file: &str, bytes: Vec<u8>) -> Result<String, ConfigError> {
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|&&byte| byte == b'\n').count();
        let (file, key, reason) = (file.to_owned(), String::new(), "not UTF-8".to_owned());
        ConfigError { file, line: Some(line), key, reason }
    })
}

/// What the fuzz target checks.
#[doc(hidden)]
pub mod fuzz {
    use super::Config;

    /// Panics if parsing does, or if what a variable holds shows where it must not: never in an
    /// error, and in a `Config`'s `Debug` only as part of a regex, which is no secret.
    pub fn check(bytes: &[u8]) {
        const MARKER: &str = "mark (er) 0123456789";
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        if text.contains("mark") {
            return; // keys are quoted, and this one would look like the variable
        }
        // As an env_file, too.
        let itself = |_: &str, _| Ok(bytes.to_vec());
        match Config::parse_with("fuzz.toml", text, &|_| Some(MARKER.to_owned()), &itself) {
            Err(error) => assert!(!format!("{error} {error:?}").contains(MARKER), "{error}"),
            Ok(config) => {
                let regexes = text.contains(['/', '\\']);
                assert!(regexes || !format!("{config:?}").contains(MARKER), "shown");
            }
        }
    }
}
