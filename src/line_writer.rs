//! Lines for a place that may be slow, full or gone: a thread of their own writes them, and who has
//! one to say waits for nobody.
//!
//! ```text
//! anybody:  push -> | lines, bounded | -> batch -> Outlet     one thread that may block
//!                   '----- swapped ------'
//! ```
//!
//! What does not fit any more is dropped and counted, and said once there is room again. What the
//! thread has taken it never drops: it tries again until it can, so a line is whole or not there at
//! all.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Bytes of lines that usually wait for the thread, and as many again in its hands: ten seconds of
/// a busy server.
pub const WAITING: usize = 1024 * 1024;
/// After a write that failed, if nothing else comes first.
const RETRY: Duration = Duration::from_secs(1);
/// After a write that would block: a reader is slow.
const RETRY_SOON: Duration = Duration::from_millis(20);
/// What the two buffers keep of their memory when nothing is to be done.
const KEPT: usize = 64 * 1024;

/// Where the lines go. Every function is called on the thread, and may take its time.
pub trait Outlet: Send + 'static {
    /// As [`io::Write::write`].
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// From now on to a new place, if there is one: then a line that was cut is written whole.
    fn reopen(&mut self) -> bool {
        false
    }

    /// A line to stand behind the last one before `dropped` lines that are missing. `None`: they
    /// are spoken of elsewhere, in [`Outlet::works_again`].
    fn gap(&self, dropped: u64) -> Option<String> {
        let _ = dropped;
        None
    }

    /// A write has failed, the one before had not.
    fn fails(&mut self, error: &io::Error) {
        let _ = error;
    }

    /// All is written after failures, or with lines missing; whether that could be said.
    fn works_again(&mut self, dropped: u64) -> bool {
        let _ = dropped;
        false
    }

    /// The end has come, and the last lines cannot be written.
    fn gives_up(&mut self) {}
}

/// The near end: takes lines.
pub struct LineWriter {
    shared: Arc<Shared>,
    /// Bytes.
    bound: usize,
    /// Lines that were dropped so far.
    dropped: Arc<AtomicU64>,
}

struct Shared {
    state: Mutex<State>,
    /// Something for the thread.
    work: Condvar,
    /// The thread has written all that there was, or has ended.
    idle: Condvar,
}

#[derive(Default)]
struct State {
    /// Whole lines; `lines.len() <= bound`
    lines: Vec<u8>,
    /// The thread has some in its hands.
    in_hand: bool,
    /// Since that was last said.
    dropped: u64,
    reopen: bool,
    stop: bool,
    stopped: bool,
}

impl LineWriter {
    /// Starts the thread, called `name`. At most `bound` bytes wait for it.
    pub fn start(name: &str, bound: usize, outlet: impl Outlet) -> io::Result<LineWriter> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            work: Condvar::new(),
            idle: Condvar::new(),
        });
        let writer = Writer {
            outlet,
            shared: Arc::clone(&shared),
            batch: Vec::new(),
            written: 0,
            failing: false,
        };
        thread::Builder::new().name(name.to_owned()).spawn(move || writer.run())?;
        Ok(LineWriter { shared, bound, dropped: Arc::default() })
    }

    /// Takes a line, with its line feed. The error: there is no room for it; so many were dropped
    /// since the last time that could be said.
    pub fn push(&self, line: &[u8]) -> Result<(), u64> {
        let mut state = self.shared.lock();
        if state.lines.len() + line.len() > self.bound {
            state.dropped += 1;
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return Err(state.dropped);
        }
        let was_empty = state.lines.is_empty();
        state.lines.extend_from_slice(line);
        if was_empty {
            self.shared.work.notify_one();
        }
        Ok(())
    }

    /// Counts the lines that were dropped, as long as somebody has it.
    pub fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }

    /// See [`Outlet::reopen`].
    pub fn reopen(&self) {
        self.shared.lock().reopen = true;
        self.shared.work.notify_one();
    }

    /// Waits until all is written; whether that took no longer than `within`.
    pub fn flush(&self, within: Duration) -> bool {
        let busy = |state: &mut State| !state.stopped && (state.in_hand || !state.lines.is_empty());
        self.shared.wait_idle(self.shared.lock(), within, busy)
    }

    /// Ends the thread once all is written, or at once if writing fails; whether it has ended
    /// within that time.
    pub fn close(&self, within: Duration) -> bool {
        let mut state = self.shared.lock();
        state.stop = true;
        self.shared.work.notify_one();
        self.shared.wait_idle(state, within, |state| !state.stopped)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nobody panics while holding it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_idle(
        &self,
        state: MutexGuard<'_, State>,
        within: Duration,
        busy: impl FnMut(&mut State) -> bool,
    ) -> bool {
        let waited = self.idle.wait_timeout_while(state, within, busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

/// The thread.
struct Writer<O> {
    outlet: O,
    shared: Arc<Shared>,
    /// Taken from [`State::lines`]; the first `written` bytes are out. `written <= batch.len()`
    batch: Vec<u8>,
    written: usize,
    /// The last write failed.
    failing: bool,
}

impl<O: Outlet> Writer<O> {
    fn run(mut self) {
        let mut pause = None;
        while self.wait(pause) {
            pause = self.write();
        }
        if self.written < self.batch.len() {
            self.outlet.gives_up();
        }
        self.shared.lock().stopped = true;
        self.shared.idle.notify_all();
    }

    /// Waits for lines, or for `pause` with those at hand; whether to go on.
    fn wait(&mut self, pause: Option<Duration>) -> bool {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        if let Some(pause) = pause {
            let idle = |state: &mut State| !(state.reopen || state.stop && self.failing);
            let waited = shared.work.wait_timeout_while(state, pause, idle);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        } else {
            if state.lines.is_empty() {
                state.lines.shrink_to(KEPT);
                self.batch.shrink_to(KEPT);
            }
            let idle = |state: &mut State| state.lines.is_empty() && !state.reopen && !state.stop;
            let waited = shared.work.wait_while(state, idle);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        let reopen = std::mem::take(&mut state.reopen);
        if self.written == self.batch.len() {
            self.take(&mut state);
        }
        let go_on = !state.stop || !self.failing && !self.batch.is_empty();
        drop(state);
        if reopen && self.outlet.reopen() && self.written < self.batch.len() {
            let whole = self.batch[..self.written].iter().rposition(|&byte| byte == b'\n');
            self.written = whole.map_or(0, |at| at + 1);
        }
        go_on
    }

    /// The lines that wait, and what is to be said of those that found no room behind them.
    fn take(&mut self, state: &mut State) {
        self.written = 0;
        self.batch.clear();
        std::mem::swap(&mut self.batch, &mut state.lines);
        state.in_hand = !self.batch.is_empty();
        if state.dropped > 0
            && let Some(line) = self.outlet.gap(state.dropped)
        {
            self.batch.extend_from_slice(line.as_bytes());
            state.dropped = 0;
        }
    }

    /// Writes the batch; how long to wait if that cannot be done now.
    fn write(&mut self) -> Option<Duration> {
        while self.written < self.batch.len() {
            let error = match self.outlet.write(&self.batch[self.written..]) {
                Ok(0) => ErrorKind::WriteZero.into(),
                Ok(length) => {
                    self.written += length;
                    continue;
                }
                Err(error) => error,
            };
            match error.kind() {
                ErrorKind::Interrupted => continue,
                ErrorKind::WouldBlock => return Some(RETRY_SOON),
                _ => {}
            }
            if !self.failing {
                self.outlet.fails(&error);
            }
            self.failing = true;
            return Some(RETRY);
        }
        let mut state = self.shared.lock();
        state.in_hand = false;
        if state.lines.is_empty() {
            self.shared.idle.notify_all();
        }
        let dropped = state.dropped;
        drop(state);
        let has_failed = std::mem::take(&mut self.failing);
        if (has_failed || dropped > 0) && self.outlet.works_again(dropped) {
            self.shared.lock().dropped -= dropped;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Takes what it is given while its gate is open.
    #[derive(Clone, Default)]
    struct Gate(Arc<(Mutex<Inside>, Condvar)>);

    #[derive(Default)]
    struct Inside {
        is_open: bool,
        is_broken: bool,
        /// A write waits before the gate.
        waits: bool,
        text: String,
    }

    impl Gate {
        fn set(&self, change: impl FnOnce(&mut Inside)) {
            change(&mut self.0.0.lock().expect("a lock"));
            self.0.1.notify_all();
        }

        fn wait(&self, until: impl Fn(&Inside) -> bool) -> MutexGuard<'_, Inside> {
            let inside = self.0.0.lock().expect("a lock");
            let (inside, timeout) = self
                .0
                .1
                .wait_timeout_while(inside, PATIENCE, |inside| !until(inside))
                .expect("a lock");
            assert!(!timeout.timed_out(), "{:?}", inside.text);
            inside
        }
    }

    impl Outlet for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.set(|inside| inside.waits = true);
            let mut inside = self.wait(|inside| inside.is_open || inside.is_broken);
            if inside.is_broken {
                return Err(ErrorKind::BrokenPipe.into());
            }
            // Not all at once.
            let length = bytes.len().min(3);
            inside.text.push_str(std::str::from_utf8(&bytes[..length]).expect("ASCII"));
            Ok(length)
        }

        fn gap(&self, dropped: u64) -> Option<String> {
            Some(format!("-{dropped}\n"))
        }
    }

    /// A thread that holds one line and waits with it.
    fn stuck(bound: usize) -> (LineWriter, Gate) {
        let gate = Gate::default();
        let lines = LineWriter::start("lines", bound, gate.clone()).expect("a thread");
        lines.push(b"first\n").expect("room");
        drop(gate.wait(|inside| inside.waits));
        (lines, gate)
    }

    #[test]
    fn what_finds_no_room_is_counted_where_it_is_missing() {
        let (lines, gate) = stuck(10);
        assert_eq!(lines.push(b"1234\n"), Ok(()));
        assert_eq!(lines.push(b"5678\n"), Ok(()), "as many as there is room for");
        assert_eq!([lines.push(b"9\n"), lines.push(b"10\n")], [Err(1), Err(2)]);
        assert!(!lines.flush(Duration::from_millis(1)), "nothing is written yet");
        gate.set(|inside| inside.is_open = true);
        assert!(lines.flush(PATIENCE));
        assert_eq!(lines.push(b"11\n"), Ok(()));
        assert!(lines.close(PATIENCE));
        assert_eq!(gate.wait(|_| true).text, "first\n1234\n5678\n-2\n11\n");
    }

    #[test]
    fn the_end_waits_for_the_last_lines_and_not_for_ever() {
        let (lines, gate) = stuck(10);
        assert_eq!(lines.push(b"last\n"), Ok(()));
        assert!(!lines.close(Duration::from_millis(1)));
        gate.set(|inside| inside.is_open = true);
        assert!(lines.close(PATIENCE));
        assert_eq!(gate.wait(|_| true).text, "first\nlast\n");
    }

    #[test]
    fn the_end_does_not_wait_where_writing_fails() {
        let (lines, gate) = stuck(10);
        gate.set(|inside| inside.is_broken = true);
        assert!(lines.close(PATIENCE));
        assert_eq!(gate.wait(|_| true).text, "");
    }
}
