//! End to end, with real programs: nginx at home, curl and `openssl s_client` as visitors, and the
//! built `underpass` between them. Nothing here knows the inside of the program: it is started with
//! a configuration file, looked at through /proc, and stopped by signals.
//!
//! Every test has its own directory and its own loopback address (127.x.y.z), so that tests run
//! beside each other and no outgoing connection can take a port that a test was promised. Tests
//! that load the machine, or that measure time under load, take [`harness::alone`].
//!
//! `E2E_SERVER` and `E2E_CLIENT` name other programs than the one just built, such as
//! `qemu-aarch64-static target/static/underpass-aarch64`.
//! `E2E_LOG=debug` sets the programs' `RUST_LOG`; a failing test prints the end of their logs.
//! `E2E_KEEP=1` keeps the directories.

#![expect(clippy::unwrap_used, reason = "in a test, a surprise is a failure")]

mod harness;
mod home;
mod house;
mod http_house;
mod malice;
mod pki;
mod rathole;
mod visitor;

mod access_log;
mod acme;
mod admin;
mod answers;
mod article;
mod bounds;
mod busy_line;
mod cli;
mod drain;
mod hints;
mod http_control;
mod http_fields;
mod http_homes;
mod http_hostile;
mod http_programs;
mod http_routes;
mod http_stream;
mod init;
mod lifecycle;
mod limits;
mod line;
mod log;
mod loops;
mod names;
mod pitfalls_close;
mod pitfalls_flood;
mod pitfalls_line;
mod ports;
mod programs;
mod proxied;
mod proxy;
mod rathole_client;
mod rathole_server;
mod raw;
mod reload;
mod resolver;
mod round_trips;
mod servers;
mod sharing;
mod small;
mod systemd;
mod transfer;
mod tunnel;
mod udp;
mod udp_rathole;
mod urgent;
mod watch;

#[path = "../support/mod.rs"]
mod support;
