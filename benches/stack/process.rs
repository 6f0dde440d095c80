//! Processes: starting them, stopping them, and what /proc says about them.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

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
        let child = command.spawn().map_err(|error| {
            let program = command.get_program().to_string_lossy();
            io::Error::new(error.kind(), format!("{program}: {error}"))
        })?;
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
        let _ = self.child.kill();
        let _ = self.child.wait();
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
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        match line.trim().parse() {
            Ok(address) => Ok(Role { child, address }),
            Err(_) => {
                let status = child.wait()?;
                Err(io::Error::other(format!("role {arguments:?}: {status}")))
            }
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// For a [`Role`]: comes back when the process that started this one is gone.
pub(crate) fn wait_for_parent() -> io::Result<()> {
    io::stdin().read_to_end(&mut Vec::new()).map(|_| ())
}

pub(crate) fn own_id() -> u32 {
    std::process::id()
}

/// To the hard limit; what is started later inherits it.
pub(crate) fn raise_descriptor_limit() -> io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
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

fn cpu_of(ids: &[u32]) -> io::Result<Vec<f64>> {
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
