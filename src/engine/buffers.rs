//! Memory for bytes on their way: one scratch for the thread, and buffers that a connection holds
//! only while its peer is blocked or a frame is not whole.

use crate::wire::frame;

/// A batch: what one read takes at most. Several frames, so that one write carries them all; with
/// their headers and tags a little less than 64 KB, which is what one segment holds at most.
pub const BATCH: usize = 63 * 1024;

/// What one splice moves at most. Almost two batches: each costs the kernel as much as it costs to
/// wake the other end. Not more, since what the sink does not take has to wait in user space.
pub const SPLICE: usize = 124 * 1024;

/// The thread's scratch. Bytes lie here only within one step of one connection.
///
/// ```text
/// wire   as on a tunnel connection: frames
/// clear  as on a plain one, or what a frame held; the byte after a run is the frame's kind
/// ```
pub struct Scratch {
    /// Holds a whole frame behind a cut one, or a sealed batch.
    pub wire: Box<[u8]>,
    /// Holds what `wire` holds, opened; a cipher wants room for the tag while it works.
    pub clear: Box<[u8]>,
    /// A message being encoded.
    pub message: Vec<u8>,
}

impl Scratch {
    /// The only allocation of this size.
    pub fn new() -> Scratch {
        let wire = 2 * BATCH;
        Scratch {
            wire: vec![0; wire].into_boxed_slice(),
            clear: vec![0; wire + frame::MAX_BODY].into_boxed_slice(),
            message: Vec::with_capacity(frame::MAX_BODY),
        }
    }
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch::new()
    }
}

/// Buffers lent to connections. What comes back is kept for the next one, within bounds.
#[derive(Debug, Default)]
pub struct Buffers {
    free: Vec<Vec<u8>>,
    lent: usize,
}

/// Buffers kept for reuse: those of a busy minute, not those of a flood.
const KEPT: usize = 32;
/// A kept buffer's capacity at most.
const KEPT_CAPACITY: usize = 4 * BATCH;

impl Buffers {
    /// Makes `buffer` hold `bytes` behind what it holds. An empty buffer is one that is not lent.
    pub fn append(&mut self, buffer: &mut Vec<u8>, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if buffer.is_empty() {
            self.lent += 1;
            if let Some(kept) = self.free.pop() {
                *buffer = kept;
            }
        }
        buffer.extend_from_slice(bytes);
    }

    /// Drops the first `length` bytes of a buffer; whether there were any.
    pub fn take_front(&mut self, buffer: &mut Vec<u8>, length: usize) -> bool {
        if length == buffer.len() {
            self.give_back(buffer);
        } else {
            buffer.drain(..length);
        }
        length > 0
    }

    /// Takes a buffer's memory back.
    pub fn give_back(&mut self, buffer: &mut Vec<u8>) {
        if buffer.is_empty() {
            return;
        }
        self.lent -= 1;
        let mut buffer = std::mem::take(buffer);
        if self.free.len() < KEPT && buffer.capacity() <= KEPT_CAPACITY {
            buffer.clear();
            self.free.push(buffer);
        }
    }

    /// How many are lent: none, when every connection is idle.
    pub fn lent(&self) -> usize {
        self.lent
    }
}
