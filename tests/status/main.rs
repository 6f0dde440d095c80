//! What a role says of itself, before those who read it: Prometheus and its tools, programs that
//! read the API as API.md has it, people at a terminal.

mod api;
mod command;
mod metrics;
mod rules;
mod scrape;

#[path = "../support/mod.rs"]
mod support;
