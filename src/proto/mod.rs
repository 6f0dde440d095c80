//! State machines: bytes and the time go in, bytes and decisions come out. No sockets, no clock.

pub mod route;
pub mod time;
