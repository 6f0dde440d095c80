//! Processes: starting them, stopping them, and what /proc says about them.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal};
use rustix::process::{getrlimit, kill_process, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};

/// A process that ends with this value, by its id.
pub(crate) struct Running {
    child: Child,
    /// Where its output went.
    log: PathBuf,
}

impl Running {
    /// Starts `command`, its output into `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> io::Result<Running> {
        let file = File::create(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let mut running = running();
        let child = command.spawn().map_err(|error| {
            let program = command.get_program().to_string_lossy();
            io::Error::new(error.kind(), format!("{program}: {error}"))
        })?;
        running.push(child.id());
        Ok(Running { child, log: log.to_owned() })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// An error with the end of its log, if it has ended by itself.
    pub(crate) fn check(&mut self) -> io::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(io::Error::other(format!("{status}: {}", self.last_words()))),
        }
    }

    /// The last lines of its log.
    pub(crate) fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// This binary in one of its other roles. Ends when this value does, or the process that has it.
pub(crate) struct Role {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Role {
    pub(crate) fn start(arguments: &[&str]) -> io::Result<Role> {
        let mut running = running();
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        running.push(child.id());
        drop(running);
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        match line.trim().parse() {
            Ok(address) => Ok(Role { child, address }),
            Err(_) => {
                stop(&mut child);
                Err(io::Error::other(format!("the role {arguments:?} does not start")))
            }
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// For a [`Role`]: comes back when the process that started this one is gone.
pub(crate) fn wait_for_parent() -> io::Result<()> {
    io::stdin().read_to_end(&mut Vec::new()).map(|_| ())
}

/// The processes that run now, for [`stop_with_signals`].
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

fn running() -> MutexGuard<'static, Vec<u32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends `child`, and waits for it so that its id is free.
fn stop(child: &mut Child) {
    running().retain(|id| *id != child.id());
    let _ = child.kill();
    let _ = child.wait();
}

/// From now on SIGINT and SIGTERM end this process and all that it has started, and take `folder`
/// away: values are not dropped then.
pub(crate) fn stop_with_signals(folder: PathBuf) -> io::Result<()> {
    let (mut signalled, signals) = UnixStream::pair()?;
    signal_hook::low_level::pipe::register(SIGINT, signals.try_clone()?)?;
    signal_hook::low_level::pipe::register(SIGTERM, signals)?;
    thread::spawn(move || {
        let _ = signalled.read_exact(&mut [0]);
        // Held to the end: nothing new is started meanwhile.
        let running = running();
        kill(running.iter());
        let _ = fs::remove_dir_all(&folder);
        std::process::exit(1);
    });
    Ok(())
}

pub(crate) fn own_id() -> u32 {
    std::process::id()
}

/// While it lives, processes have so long; then they are killed, and whoever waits for one of them
/// gets an error instead.
pub(crate) struct Watchdog {
    /// Says nothing; hangs up with this value.
    _alive: Sender<()>,
}

impl Watchdog {
    pub(crate) fn over(ids: Vec<u32>, time: Duration) -> Watchdog {
        let (alive, watched) = mpsc::channel();
        thread::spawn(move || {
            if watched.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
                // An id that is in the list has not been waited for: it is nobody else's.
                let running = running();
                kill(ids.iter().filter(|id| running.contains(id)));
            }
        });
        Watchdog { _alive: alive }
    }
}

fn kill<'a>(ids: impl Iterator<Item = &'a u32>) {
    for id in ids.filter_map(|id| Pid::from_raw(i32::try_from(*id).ok()?)) {
        let _ = kill_process(id, Signal::KILL);
    }
}

/// To `wanted` where that is allowed, else to the hard limit; what is started later inherits it.
/// Says what it is now.
pub(crate) fn raise_descriptor_limit(wanted: u64) -> io::Result<u64> {
    let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let set = |limit| {
        let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
        setrlimit(Resource::Nofile, limit)
    };
    if hard < wanted && set(wanted).is_ok() {
        return Ok(wanted);
    }
    set(hard)?;
    Ok(hard)
}

/// Bytes that the kernel would give without swapping.
pub(crate) fn available_memory() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    Ok(number(line.and_then(|rest| rest.split_whitespace().next()))? * 1024)
}

/// Seconds of processor time of each process so far, once what is still under way has ended.
pub(crate) fn settled_cpu(ids: &[u32]) -> io::Result<Vec<f64>> {
    const PAUSE: Duration = Duration::from_millis(50);
    const QUIET_SECONDS: f64 = 0.000_5;
    let mut last = cpu_of(ids)?;
    for _ in 0..40 {
        thread::sleep(PAUSE);
        let now = cpu_of(ids)?;
        let spent = now.iter().sum::<f64>() - last.iter().sum::<f64>();
        last = now;
        if spent < QUIET_SECONDS {
            break;
        }
    }
    Ok(last)
}

/// Seconds of processor time of each process so far.
pub(crate) fn cpu_of(ids: &[u32]) -> io::Result<Vec<f64>> {
    ids.iter().map(|id| precise_cpu(*id).or_else(|_| coarse_cpu(*id))).collect()
}

/// From `/proc/PID/task/TID/schedstat`, in nanoseconds. (The file without `task` is the first
/// thread's alone.)
fn precise_cpu(id: u32) -> io::Result<f64> {
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{id}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        nanoseconds += number(text.split_whitespace().next())?;
    }
    Ok(nanoseconds as f64 / 1e9)
}

/// From `/proc/PID/stat`, in ticks of 10 ms, for kernels without schedstat.
fn coarse_cpu(id: u32) -> io::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The second field is the program's name in brackets, and may hold anything.
    let rest = text.rsplit(')').next().unwrap_or_default();
    let mut fields = rest.split_whitespace().skip(11);
    let ticks = number(fields.next())? + number(fields.next())?;
    Ok(ticks as f64 / 100.0)
}

/// Resident bytes of each process.
pub(crate) fn memory(ids: &[u32]) -> io::Result<Vec<f64>> {
    let one = |id: &u32| -> io::Result<f64> {
        let text = fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        Ok(number(line.and_then(|rest| rest.split_whitespace().next()))? as f64 * 1024.0)
    };
    ids.iter().map(one).collect()
}

fn number(word: Option<&str>) -> io::Result<u64> {
    let parsed = word.and_then(|word| word.parse().ok());
    parsed.ok_or_else(|| io::Error::other("unexpected text below /proc"))
}
