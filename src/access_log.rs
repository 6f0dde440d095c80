//! Where the lines of the access log go: standard output or a file.
//!
//! ```text
//! engine:  record -> line -> | lines, bounded | -> batch -> write     one thread that may block
//!                            '----- swapped ------'
//! ```
//!
//! A disk may be slow, full or gone, and a reader of standard output may stand still; the engine
//! waits for none of them. What does not fit any more is dropped and counted; both are said in the
//! ordinary log, and once more when writing works again. What the writer has taken it never drops:
//! it tries again until it can, so a line is whole or not there at all.

mod format;

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use log::{info, warn};
use rustix::fs::OFlags;

use crate::config::{AccessLogConfig, AccessLogFormat};
use crate::proto::access::{Record, Sink};
use crate::proto::quiet::Quiet;
use crate::proto::time::Time;

/// Bytes of lines that wait for the writer, and as many again in its hands: ten seconds of a busy
/// server.
const WAITING: usize = 1024 * 1024;
/// After a write that failed, if nothing else comes first.
const RETRY: Duration = Duration::from_secs(1);
/// After a write that would block: a reader is slow.
const RETRY_SOON: Duration = Duration::from_millis(20);
/// At the end, the last lines get so long.
const LAST_LINES: Duration = Duration::from_secs(2);

/// The engine's end: takes records, and waits for nobody.
pub struct AccessLog {
    format: AccessLogFormat,
    shared: Arc<Shared>,
    /// The line at hand.
    line: Vec<u8>,
    count: u64,
    complaints: Quiet,
}

struct Shared {
    state: Mutex<State>,
    /// Something for the writer.
    work: Condvar,
    /// The writer has ended.
    over: Condvar,
}

#[derive(Default)]
struct State {
    /// Whole lines; `lines.len() <= WAITING`
    lines: Vec<u8>,
    /// Since writing last worked.
    dropped: u64,
    reopen: bool,
    stop: bool,
    stopped: bool,
}

impl AccessLog {
    /// Opens the file, or makes it, and starts the writer.
    pub fn open(config: &AccessLogConfig) -> io::Result<AccessLog> {
        let file = open(config.path.as_deref())?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            work: Condvar::new(),
            over: Condvar::new(),
        });
        let writer = Writer {
            file,
            path: config.path.clone(),
            shared: Arc::clone(&shared),
            batch: Vec::new(),
            written: 0,
            failing: false,
            started: Instant::now(),
            complaints: Quiet::default(),
        };
        thread::Builder::new().name("access log".to_owned()).spawn(move || writer.run())?;
        Ok(AccessLog {
            format: config.format,
            shared,
            line: Vec::new(),
            count: 0,
            complaints: Quiet::default(),
        })
    }

    /// Whether [`AccessLog::open`] would find a place, without making a file.
    pub fn check(config: &AccessLogConfig) -> io::Result<()> {
        let Some(path) = &config.path else { return Ok(()) };
        match options().open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let found = folder.unwrap_or(Path::new(".")).metadata()?;
                if found.is_dir() { Ok(()) } else { Err(ErrorKind::NotADirectory.into()) }
            }
            opened => opened.map(|_| ()),
        }
    }
}

impl Sink for AccessLog {
    fn record(&mut self, record: &Record<'_>) {
        self.count += 1;
        self.line.clear();
        // The wall clock may step; how long something took is the other clock's business.
        let now = SystemTime::now();
        let began = now.checked_sub(record.duration).unwrap_or(now);
        format::line(self.format, record, began, self.count, &mut self.line);
        let mut state = self.shared.lock();
        if state.lines.len() + self.line.len() <= WAITING {
            let was_idle = state.lines.is_empty();
            state.lines.extend_from_slice(&self.line);
            if was_idle {
                self.shared.work.notify_one();
            }
            return;
        }
        state.dropped += 1;
        let dropped = state.dropped;
        drop(state);
        if self.complaints.admit(record.now).is_some() {
            warn!("access log: cannot be written fast enough, {dropped} lines dropped so far");
        }
    }

    fn reopen(&mut self) {
        self.shared.lock().reopen = true;
        self.shared.work.notify_one();
    }
}

/// The last lines are written if that works at once.
impl Drop for AccessLog {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.stop = true;
        self.shared.work.notify_one();
        let waited = self.shared.over.wait_timeout_while(state, LAST_LINES, |state| !state.stopped);
        if waited.unwrap_or_else(PoisonError::into_inner).1.timed_out() {
            warn!("access log: the last lines are not written yet, and are lost");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nobody panics while holding it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that waits for the disk.
struct Writer {
    file: File,
    /// `None`: standard output.
    path: Option<PathBuf>,
    shared: Arc<Shared>,
    /// Taken from [`State::lines`]; the first `written` bytes are out. `written <= batch.len()`
    batch: Vec<u8>,
    written: usize,
    /// The last write failed.
    failing: bool,
    started: Instant,
    complaints: Quiet,
}

impl Writer {
    fn run(mut self) {
        let mut pause = None;
        while self.wait(pause) {
            pause = self.write();
        }
        if self.written < self.batch.len() {
            warn!("access log: its last lines could not be written");
        }
        self.shared.lock().stopped = true;
        self.shared.over.notify_one();
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
            self.written = 0;
            self.batch.clear();
            std::mem::swap(&mut self.batch, &mut state.lines);
        }
        let go_on = !state.stop || !self.failing && !self.batch.is_empty();
        drop(state);
        if reopen {
            self.reopen();
        }
        go_on
    }

    /// Writes the batch; how long to wait if that cannot be done now.
    fn write(&mut self) -> Option<Duration> {
        while self.written < self.batch.len() {
            let error = match self.file.write(&self.batch[self.written..]) {
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
            if !self.failing && self.may_complain() {
                warn!("access log: cannot be written: {error}; trying again");
            }
            self.failing = true;
            return Some(RETRY);
        }
        let failed = std::mem::take(&mut self.failing);
        let has_dropped = self.shared.lock().dropped > 0;
        if (failed || has_dropped) && self.may_complain() {
            let dropped = std::mem::take(&mut self.shared.lock().dropped);
            warn!("access log: is written again; {dropped} lines were dropped");
        }
        None
    }

    /// The old file stays in use if there is no new one.
    fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match open(Some(path)) {
            Ok(file) => {
                self.file = file;
                // A line that was cut goes into the new file whole.
                let whole = self.batch[..self.written].iter().rposition(|&byte| byte == b'\n');
                if self.written < self.batch.len() {
                    self.written = whole.map_or(0, |at| at + 1);
                }
                info!("access log: reopened");
            }
            Err(error) => warn!("access log: cannot be reopened, the old file goes on: {error}"),
        }
    }

    fn may_complain(&mut self) -> bool {
        self.complaints.admit(Time::default() + self.started.elapsed()).is_some()
    }
}

fn open(path: Option<&Path>) -> io::Result<File> {
    match path {
        // A descriptor of our own: the buffer of `io::stdout` would hold cut lines back.
        None => Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
        Some(path) => options().create(true).open(path),
    }
}

/// Not blocking: a pipe without a reader is an error at once, and a slow one does not hold up the
/// end. For a plain file it means nothing.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.append(true).mode(MODE).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    options
}

/// Visitors' addresses are nobody else's business.
const MODE: u32 = 0o640;
/// What the two buffers keep of their memory when nothing is to be done.
const KEPT: usize = 64 * 1024;
