//! The ordinary log: one line an event, to stderr, by a thread of its own
//! ([`underpass::line_writer`]). A stderr that nobody reads stops neither role; what finds no room
//! meanwhile is counted, and said in its place.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::panic::{self, PanicHookInfo};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;

use env_logger::{Builder, Env, Target};
use underpass::line_writer::{LineWriter, Outlet, WAITING};

/// At the end, and in a panic, the last lines get so long: who reads stderr does it faster.
const LAST_LINES: Duration = Duration::from_secs(1);
const THREAD: &str = "log";

/// Dropped at the end of the program: what is still to be written is written then.
pub(crate) struct StderrLog(Arc<LineWriter>);

impl StderrLog {
    /// From now on what is logged goes to the thread, and the message of a panic too. RUST_LOG as
    /// everywhere, `info` without it.
    pub(crate) fn start() -> io::Result<StderrLog> {
        // A descriptor of our own: whoever holds the lock of `io::stderr` may be in a write.
        let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        let lines = Arc::new(LineWriter::start(THREAD, WAITING, Stderr(stderr))?);
        let pipe = Target::Pipe(Box::new(Pipe(Arc::clone(&lines))));
        let level = Env::default().default_filter_or("info");
        Builder::from_env(level).format_target(false).target(pipe).init();
        let (usual, panicked) = (panic::take_hook(), Arc::clone(&lines));
        // The usual hook alone has backtraces. Who asks for them is there to read them.
        let backtrace = std::env::var_os("RUST_BACKTRACE").is_some_and(|set| set != "0");
        panic::set_hook(Box::new(move |panic| match thread::current().name() {
            Some(THREAD) => usual(panic),
            _ if backtrace => usual(panic),
            name => log_panic(&panicked, name.unwrap_or("<unnamed>"), panic),
        }));
        Ok(StderrLog(lines))
    }

    /// Counts the lines that were dropped.
    pub(crate) fn dropped(&self) -> Arc<AtomicU64> {
        self.0.dropped()
    }

    /// A line in the program's own words, behind those that are logged.
    pub(crate) fn say(&self, text: &str) {
        let _ = self.0.push(format!("underpass: {text}\n").as_bytes()); // counted there
    }
}

impl Drop for StderrLog {
    fn drop(&mut self) {
        self.0.close(LAST_LINES); // where nobody reads, nobody is to be told
    }
}

/// As the usual hook says it. The program may be over right after it.
fn log_panic(lines: &LineWriter, thread: &str, panic: &PanicHookInfo<'_>) {
    let _ = lines.push(format!("\nthread '{thread}' {panic}\n").as_bytes());
    lines.flush(LAST_LINES);
}

/// What env_logger writes into: a whole line at a time.
struct Pipe(Arc<LineWriter>);

impl Write for Pipe {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _ = self.0.push(line); // counted there
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Stderr(File);

impl Outlet for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn gap(&self, dropped: u64) -> Option<String> {
        let lines = if dropped == 1 { "1 line is" } else { &format!("{dropped} lines are") };
        Some(format!("underpass: {lines} missing here: stderr was not read fast enough\n"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Outlet for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("a lock").extend_from_slice(bytes);
            Ok(bytes.len())
        }
    }

    #[test]
    fn a_panic_is_written_before_the_program_may_end() {
        let kept = Arc::default();
        let lines = LineWriter::start(THREAD, WAITING, Kept(Arc::clone(&kept))).expect("a thread");
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| log_panic(&lines, "unlucky", panic)));
        let panics = || panic!("on purpose");
        let thread = thread::Builder::new().name("unlucky".to_owned()).spawn(panics);
        assert!(thread.expect("a thread").join().is_err());
        panic::set_hook(usual);
        let text = String::from_utf8(kept.lock().expect("a lock").clone()).expect("UTF-8");
        assert!(text.contains("thread 'unlucky' panicked at src/stderr_log.rs"), "{text}");
        assert!(text.contains("on purpose"), "{text}");
    }
}
