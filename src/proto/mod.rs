//! State machines: bytes and the time go in, bytes and decisions come out. No sockets, no clock.

pub mod access;
pub mod admission;
pub mod backoff;
pub mod broker;
pub mod buckets;
mod cipher;
pub mod control_client;
pub mod control_server;
mod dh;
pub mod gate;
pub mod handshakes;
pub mod http_entry;
pub mod keepalive;
pub mod lease;
pub mod link_pool;
pub mod network;
pub mod noise;
pub mod passage;
pub mod proof;
pub mod quiet;
pub mod rathole_client;
pub mod rathole_server;
pub mod rounds;
pub mod route;
pub mod time;
pub mod udp_sessions;
