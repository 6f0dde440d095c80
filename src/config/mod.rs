//! What the user writes, parsed into types that cannot be wrong.
//!
//! [`Config::load`] reads a file; private raw types (`raw.rs`) take the TOML, and every error
//! names the file, the line, the key and what would be right. A source line is never quoted in an
//! error: it may hold a token.

use std::net::SocketAddr;
use std::time::Duration;

use crate::proto::route::RouteTable;

/// One file: either role or both.
#[derive(Debug)]
pub struct Config {
    /// `[server]`.
    pub server: Option<ServerConfig>,
    /// `[client]`.
    pub client: Option<ClientConfig>,
    /// What loads but deserves a line in the log, each with file and line.
    pub warnings: Vec<String>,
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
    /// How the tunnel is protected.
    pub transport: Transport,
    /// Pause between pings on a native session; `None`: no pings and no dead-peer detection.
    pub heartbeat_interval: Option<Duration>,
    /// In the order of the file. A service's number is its index here.
    pub services: Vec<ServerService>,
    /// Names to services.
    pub routes: RouteTable,
    /// Bounds that the file may set.
    pub limits: ServerLimits,
}

/// Bounds on what strangers can open; `[server.limits]`.
#[derive(Debug, Clone)]
pub struct ServerLimits {
    /// Visitors' connections in all. Bounded by the descriptor limit too.
    pub max_visitors: usize,
    /// Visitors' connections of one address (an IPv6 /64 counts as one).
    pub max_visitors_per_address: usize,
}

/// `[server.services.NAME]`.
#[derive(Debug, Clone)]
pub struct ServerService {
    /// Its name; 1 to 255 bytes.
    pub name: String,
    /// What kind of visitors it takes.
    pub kind: ServiceKind,
    /// The secret that a client proves to have.
    pub token: Secret,
    /// Ports of its own.
    pub bind_addrs: Vec<SocketAddr>,
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

/// `[client]`: the role at home.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The server's tunnel address.
    pub remote_addr: HostPort,
    /// How the tunnel is protected.
    pub transport: Transport,
    /// Silence after which the server counts as dead; `None`: never.
    pub heartbeat_timeout: Option<Duration>,
    /// First pause before dialling again; doubles, with jitter, up to 5 s.
    pub retry_interval: Duration,
    /// In the order of the file.
    pub services: Vec<ClientService>,
}

/// `[client.services.NAME]`.
#[derive(Debug, Clone)]
pub struct ClientService {
    /// Its name, the same as on the server.
    pub name: String,
    /// Its type, the same as on the server.
    pub kind: ServiceKind,
    /// The secret that proves the right to it.
    pub token: Secret,
    /// Where its TCP (kind `tcp`) or UDP bytes go.
    pub local_addr: Option<HostPort>,
    /// Where visitors of the HTTP entry go (kinds `http`, `web`).
    pub local_http_addr: Option<HostPort>,
    /// Where visitors of the TLS entry go (kinds `https`, `web`).
    pub local_https_addr: Option<HostPort>,
}

/// `[….transport]`.
#[derive(Debug, Clone)]
pub enum Transport {
    /// No encryption.
    Tcp,
    /// Noise.
    Noise(NoiseConfig),
}

/// `[….transport.noise]`.
#[derive(Debug, Clone)]
pub struct NoiseConfig {
    /// Any name that snow accepts.
    pub pattern: String,
    /// This side's static key, 32 bytes.
    pub local_private_key: Option<Secret>,
    /// The other side's static key, 32 bytes.
    pub remote_public_key: Option<Vec<u8>>,
}

/// A name or a literal address, and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A name, or a literal IPv4 or IPv6 address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}
