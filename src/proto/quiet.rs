//! Keeps the log quiet: of one kind of event, so many lines a minute; the rest is counted.

use std::time::Duration;

use super::time::Time;

/// Lines of one kind in a [`WINDOW`], if nothing else is said.
const LINES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);

/// One kind of event.
#[derive(Debug)]
pub struct Quiet {
    /// Lines in a window at most.
    most: u32,
    window: Time,
    lines: u32,
    dropped: u64,
}

impl Quiet {
    /// So many lines a minute.
    pub fn with(most: u32) -> Quiet {
        Quiet { most, window: Time::default(), lines: 0, dropped: 0 }
    }

    /// Whether to write this line, and how many were dropped since the last one.
    pub fn admit(&mut self, now: Time) -> Option<u64> {
        if now - self.window >= WINDOW {
            (self.window, self.lines) = (now, 0);
        }
        if self.lines == self.most {
            self.dropped += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.dropped))
    }
}

impl Default for Quiet {
    fn default() -> Quiet {
        Quiet::with(LINES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted() {
        let mut quiet = Quiet::default();
        let start = Time::default() + WINDOW;
        let written = (0..100).filter(|_| quiet.admit(start).is_some()).count();
        assert_eq!(written, LINES as usize);
        assert_eq!(quiet.admit(start + WINDOW), Some(100 - u64::from(LINES)));
        assert_eq!(quiet.admit(start + WINDOW), Some(0));
    }
}
