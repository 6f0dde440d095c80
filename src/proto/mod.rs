//! State machines: bytes and the time go in, bytes and decisions come out. No sockets, no clock.

pub mod access;
pub mod backoff;
mod cipher;
pub mod control_client;
pub mod control_server;
mod dh;
pub mod http_entry;
pub mod keepalive;
pub mod lease;
pub mod link_pool;
pub mod noise;
pub mod passage;
pub mod proof;
pub mod quiet;
pub mod rathole_client;
pub mod rathole_server;
pub mod route;
pub mod strangers;
pub mod time;
pub mod udp_sessions;
