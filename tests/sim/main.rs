//! The engine on a simulated network with virtual time, from one seed, bit for bit repeatable.
//!
//! - `world`, `tcp`, `udp`, `net`: the network; as strict as Linux under edge-triggered epoll.
//! - `conformance`: the same script on the simulated and on the real network must read the same.
//! - `files`: configurations of servers and clients.
//! - `programs`: everything that runs in a world, as one type.
//! - `driver`: gives the programs of a world their turns.
//! - `actors`: scripted visitors and homes, which check every byte.
//! - `datagrams`: the same for UDP.
//! - `operator`: changes files and asks the engines to read them.
//! - `hostile`: tunnel connections of strangers, and of clients with a token who mean harm.
//! - `web`: the same for HTTP, where one connection has many requests and homes.
//! - `scenario`: a seed's plan, and what must be true of its outcome.
//! - `diary`: the access log, and what must be true of it.
//! - `ear`: what the engine logs.
//! - `play`: what fixed plays are made of.
//! - `pitfalls`: the plays, one for each way in which programs of this kind broke.
//! - `malice`: the same in which somebody means harm.
//! - `drain`: engines that are asked to end while visitors are there.
//!
//! `SEED=123 cargo test --test sim scenario` runs one seed, `SEEDS=2000` so many,
//! `FIRST=2000 SEEDS=1000` the thousand behind those.

#![allow(dead_code, reason = "parts serve the scenarios only, parts the conformance test only")]
#![allow(missing_docs, unreachable_pub, reason = "a test: nobody else reads its API")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod actors;
mod conformance;
mod datagrams;
mod diary;
mod drain;
mod driver;
mod ear;
mod files;
mod homes;
mod hostile;
mod lookers;
mod malice;
mod net;
mod operator;
mod pitfalls;
mod play;
mod programs;
mod rng;
mod scenario;
mod servers;
mod story;
mod tcp;
mod udp;
mod web;
mod world;
