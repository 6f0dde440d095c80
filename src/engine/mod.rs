//! The only code that owns sockets. [`server`] and [`client`] are the two roles; the rest is what
//! both stand on, from the seam ([`net`]) upwards.

pub mod about;
pub mod admin;
pub mod buffers;
pub mod conn;
pub mod conns;
pub mod core;
pub mod desk;
pub mod facts;
pub mod far;
pub mod gone;
pub mod mio_net;
pub mod net;
pub mod pair;
pub mod passed;
pub mod relay;
mod resolve;
pub mod socket;
pub mod table;
pub mod timers;
pub mod tunnel;
pub mod udp;
pub mod unix_door;
mod worker;

pub mod client;
pub mod server;
