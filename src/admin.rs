//! The admin door: what a person or a program is told who looks at a role. Bytes and the snapshot
//! ([`crate::status`]) come in, answers go out; the engine owns the sockets.

pub mod metrics;
pub mod reply;
pub mod request;
