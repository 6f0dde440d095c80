//! What the operating system says of this process.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::proto::time::Time;

/// How a process is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Facts {
    /// Open descriptors.
    pub descriptors: u64,
    /// Bytes of memory in use.
    pub resident: u64,
    /// Seconds of processor time.
    pub cpu: f64,
    /// The longest turn of the loop in the last minute.
    pub longest_turn: Duration,
}

impl Facts {
    /// Asks; what cannot be had is 0.
    pub(super) fn ask(longest_turn: Duration) -> Facts {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        Facts {
            // The folder that is being read is open, too.
            descriptors: fs::read_dir("/proc/self/fd")
                .map_or(0, |entries| (entries.count() as u64).saturating_sub(1)),
            resident: resident(&fs::read_to_string("/proc/self/status").unwrap_or_default()),
            cpu: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
            longest_turn,
        }
    }
}

/// `VmRSS:     3456 kB` (proc(5)).
fn resident(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// The longest turn of the last minute, within half of one.
#[derive(Debug, Default)]
pub(super) struct LongestTurn {
    since: Time,
    current: Duration,
    before: Duration,
}

const WINDOW: Duration = Duration::from_secs(30);

impl LongestTurn {
    pub(super) fn note(&mut self, now: Time, turn: Duration) {
        let age = now - self.since;
        if age >= WINDOW {
            self.before = if age < 2 * WINDOW { self.current } else { Duration::ZERO };
            (self.since, self.current) = (now, Duration::ZERO);
        }
        self.current = self.current.max(turn);
    }

    pub(super) fn get(&self) -> Duration {
        self.current.max(self.before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found() {
        let facts = Facts::ask(Duration::ZERO);
        assert!(facts.descriptors >= 3 && facts.resident > 100_000, "{facts:?}");
        assert_eq!(resident("VmPeak:\t 9 kB\nVmRSS:\t  7 kB\n"), 7168);
    }

    #[test]
    fn a_long_turn_is_forgotten_after_a_minute() {
        let mut longest = LongestTurn::default();
        let at = |seconds| Time(0) + Duration::from_secs(seconds);
        longest.note(at(1), Duration::from_millis(9));
        longest.note(at(31), Duration::from_millis(2));
        assert_eq!(longest.get(), Duration::from_millis(9));
        longest.note(at(62), Duration::from_millis(1));
        assert_eq!(longest.get(), Duration::from_millis(2));
        longest.note(at(500), Duration::from_millis(1));
        assert_eq!(longest.get(), Duration::from_millis(1));
    }
}
