//! Another configuration while everything goes on.

use std::io::{self, ErrorKind};

use super::Server;
use crate::config::ServerConfig;
use crate::config::changes::Change;
use crate::engine::net::Net;

impl<N: Net> Server<N> {
    /// Takes another configuration. If that cannot be, nothing has changed.
    pub fn reload(&mut self, _config: ServerConfig) -> io::Result<Vec<Change>> {
        let reason = "this build takes its file at the start only";
        Err(io::Error::new(ErrorKind::Unsupported, reason))
    }
}
