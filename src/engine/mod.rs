//! The only code that owns sockets.

pub mod net;
