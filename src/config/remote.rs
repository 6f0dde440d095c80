//! The servers of `[client]`.

use super::{HostPort, Proxy, Transport};

/// A server that the client has a session with, or a name that stands for several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteServer {
    /// Its tunnel address.
    pub addr: HostPort,
    /// How the tunnel is protected.
    pub transport: Transport,
    /// It is dialled through this.
    pub proxy: Option<Proxy>,
}
