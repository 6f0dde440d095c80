//! Writes bytes with pauses between them.

use std::io::ErrorKind;

use underpass::engine::net::Net;
use underpass::proto::time::Time;

use super::plan::Pace;
use crate::net::{SimNet, SimStream};

/// What is still to be written.
#[derive(Default)]
pub struct Pen {
    bytes: Vec<u8>,
    /// `at <= bytes.len()`
    at: usize,
    /// Pauses that are left, of so many nanoseconds.
    pauses: Pace,
    /// Bytes to the next one.
    stride: usize,
    until: Time,
}

/// What came of writing.
pub enum Wrote {
    All,
    Blocked,
    Paused(Time),
    Broken,
}

impl Pen {
    /// Behind what is there already.
    pub fn load(&mut self, bytes: &[u8], pace: Pace) {
        if self.is_empty() {
            (self.at, self.stride) = (0, 0);
            self.bytes.clear();
        }
        self.bytes.extend(bytes);
        self.pauses = pace;
        let left = self.bytes.len() - self.at;
        self.stride = left / (pace.0 as usize + 1) + 1;
    }

    pub fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Writes `most` bytes at most; `count` is moved by what was written.
    pub fn write(
        &mut self,
        net: &mut SimNet,
        stream: &mut SimStream,
        most: usize,
        count: &mut usize,
    ) -> Wrote {
        let now = net.now();
        let mut left = most;
        while !self.is_empty() && left > 0 {
            if now < self.until {
                return Wrote::Paused(self.until);
            }
            let rest = &self.bytes[self.at..];
            let mut length = rest.len().min(left);
            if self.pauses.0 > 0 {
                length = length.min(self.stride);
            }
            match net.write(stream, &rest[..length]) {
                Ok(written) => {
                    self.at += written;
                    *count += written;
                    left -= written;
                    if self.pauses.0 > 0 {
                        self.stride -= written;
                        if self.stride == 0 {
                            self.pauses.0 -= 1;
                            self.stride =
                                (self.bytes.len() - self.at) / (self.pauses.0 as usize + 1) + 1;
                            self.until = Time(now.0 + self.pauses.1);
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Wrote::Blocked,
                Err(_) => return Wrote::Broken,
            }
        }
        Wrote::All
    }
}
