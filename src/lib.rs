//! underpass: many home servers behind one VPS.
//!
//! Modules in reading order; each may use those above it, never those below:
//!
//! - [`wire`]: pure bytes. What a ClientHello, a frame, a message looks like.
//! - [`proto`]: state machines. What the protocol decides, given bytes and the time.
//! - [`config`]: what the user writes, parsed into types that cannot be wrong.
//! - [`explain`]: which service gets a name, for people.
//! - [`admin`]: what the admin door is asked, and answers.
//! - [`import`]: rathole's files and Traefik's labels as ours.
//! - [`limits`]: every bound and deadline, with its reason.
//! - [`status`]: how it is, in one snapshot for whoever looks.
//! - [`admin`]: that snapshot in the forms that programs and people read.
//! - [`engine`]: the only code that owns sockets. Generic over [`engine::net::Net`], so that the
//!   same code runs on mio and on the simulated network of `tests/sim`.
//! - [`file_watch`]: files under watch by inotify.
//! - [`line_writer`]: lines for a place that may block, written by a thread of their own.
//! - [`access_log`]: where the engine's records of visitors go.
//!
//! ARCHITECTURE.md has the map and the invariants, PROTOCOL.md every byte between the two roles.

#![forbid(unsafe_code)]

pub mod access_log;
pub mod admin;
pub mod config;
pub mod engine;
pub mod explain;
pub mod file_watch;
pub mod import;
pub mod limits;
pub mod line_writer;
pub mod proto;
pub mod status;
pub mod wire;
