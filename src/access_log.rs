//! Where the lines of the access log go: standard output or a file, by a thread of their own
//! ([`crate::line_writer`]).
//!
//! A disk may be slow, full or gone, and a reader of standard output may stand still; the engine
//! waits for none of them. What is dropped meanwhile is counted; both are said in the ordinary log,
//! and once more when writing works again.

mod format;

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant, SystemTime};

use log::{info, warn};
use rustix::fs::OFlags;

use crate::config::{AccessLogConfig, AccessLogFormat};
use crate::line_writer::{LineWriter, Outlet, WAITING};
use crate::proto::access::{Record, Sink};
use crate::proto::quiet::Quiet;
use crate::proto::time::Time;

/// At the end, the last lines get so long.
const LAST_LINES: Duration = Duration::from_secs(2);

/// The engine's end: takes records, and waits for nobody.
pub struct AccessLog {
    format: AccessLogFormat,
    lines: LineWriter,
    /// The line at hand.
    line: Vec<u8>,
    count: u64,
    complaints: Quiet,
}

impl AccessLog {
    /// Opens the file, or makes it, and starts the writer.
    pub fn open(config: &AccessLogConfig) -> io::Result<AccessLog> {
        let destination = Destination {
            file: open(config.path.as_deref())?,
            path: config.path.clone(),
            started: Instant::now(),
            complaints: Quiet::default(),
        };
        Ok(AccessLog {
            format: config.format,
            lines: LineWriter::start("access log", WAITING, destination)?,
            line: Vec::new(),
            count: 0,
            complaints: Quiet::default(),
        })
    }

    /// See [`LineWriter::dropped`].
    pub fn dropped(&self) -> Arc<AtomicU64> {
        self.lines.dropped()
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
        let Err(dropped) = self.lines.push(&self.line) else { return };
        if self.complaints.admit(record.now).is_some() {
            warn!("access log: cannot be written fast enough, {dropped} lines dropped so far");
        }
    }

    fn reopen(&mut self) {
        self.lines.reopen();
    }
}

/// The last lines are written if that works at once.
impl Drop for AccessLog {
    fn drop(&mut self) {
        if !self.lines.close(LAST_LINES) {
            warn!("access log: the last lines are not written yet, and are lost");
        }
    }
}

/// The other end.
struct Destination {
    file: File,
    /// `None`: standard output.
    path: Option<PathBuf>,
    started: Instant,
    complaints: Quiet,
}

impl Outlet for Destination {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    /// The old file stays in use if there is no new one.
    fn reopen(&mut self) -> bool {
        let Some(path) = &self.path else { return false };
        match open(Some(path)) {
            Ok(file) => self.file = file,
            Err(error) => {
                warn!("access log: cannot be reopened, the old file goes on: {error}");
                return false;
            }
        }
        info!("access log: reopened");
        true
    }

    fn fails(&mut self, error: &io::Error) {
        if self.may_complain() {
            warn!("access log: cannot be written: {error}; trying again");
        }
    }

    fn works_again(&mut self, dropped: u64) -> bool {
        let may_complain = self.may_complain();
        if may_complain {
            warn!("access log: is written again; {dropped} lines were dropped");
        }
        may_complain
    }

    fn gives_up(&mut self) {
        warn!("access log: its last lines could not be written");
    }
}

impl Destination {
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
