//! What both roles say of the program around them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::net::Net;
use crate::proto::time::Time;
use crate::status::{Configuration, Process, Program};

/// What the program has told its engine of the file and the logs.
#[derive(Debug, Default)]
pub struct About {
    file: String,
    loaded: Time,
    reloads: u64,
    failed_reloads: u64,
    error: Option<String>,
    /// Lines that each of the logs has dropped.
    dropped: Vec<Arc<AtomicU64>>,
}

impl About {
    /// Where the configuration is.
    pub fn set_file(&mut self, file: String) {
        self.file = file;
    }

    /// One more log that counts what it drops.
    pub fn add_log(&mut self, dropped: Arc<AtomicU64>) {
        self.dropped.push(dropped);
    }

    /// The file has been read anew, and runs; or the reason why not.
    pub fn reloaded(&mut self, error: Option<&str>, now: Time) {
        self.error = error.map(str::to_owned);
        match error {
            Some(_) => self.failed_reloads += 1,
            None => {
                self.reloads += 1;
                self.loaded = now;
            }
        }
    }

    /// What a snapshot says of the program. `held` bytes wait, and `memory` may.
    pub(super) fn program<N: Net>(
        &self,
        net: &N,
        draining: bool,
        (held, memory): (usize, usize),
    ) -> Program {
        let facts = net.facts();
        let dropped = self.dropped.iter().map(|log| log.load(Ordering::Relaxed));
        Program {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time: net.wall(),
            started: wall(net, Time::default()),
            draining,
            configuration: Configuration {
                file: self.file.clone(),
                loaded: wall(net, self.loaded),
                reloads: self.reloads,
                failed_reloads: self.failed_reloads,
                error: self.error.clone(),
            },
            process: Process {
                descriptors: facts.descriptors,
                descriptor_limit: net.descriptor_limit() as u64,
                resident_bytes: facts.resident,
                held_bytes: held as u64,
                held_limit_bytes: memory as u64,
                cpu_seconds: facts.cpu,
                longest_turn_seconds: facts.longest_turn.as_secs_f64(),
                dropped_log_lines: dropped.sum(),
            },
        }
    }
}

/// A moment by the calendar, in seconds since 1970.
pub(super) fn wall<N: Net>(net: &N, at: Time) -> f64 {
    net.wall() - (net.now() - at).as_secs_f64()
}
