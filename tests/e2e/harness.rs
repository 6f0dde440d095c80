//! Processes, directories, addresses and waiting: what every test here stands on.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Resource, Rlimit, Signal, getrlimit, kill_process, pidfd_getfd, pidfd_open, setrlimit,
};
use socket2::SockRef;

/// No healthy step here takes longer, even on a busy machine; a failing one does.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Asks until there is an answer; panics with `what` when there is none in time.
#[track_caller]
pub(crate) fn eventually<T>(within: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < within, "not within {within:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// [`eventually`] for a plain condition.
#[track_caller]
pub(crate) fn wait_until(within: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    eventually(within, what, || holds().then_some(()));
}

/// Held by a test that loads the machine or measures time under load: one of them at a time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The soft descriptor limit becomes the hard one, which is returned.
pub(crate) fn raise_descriptor_limit() -> u64 {
    static RAISE: Once = Once::new();
    RAISE.call_once(|| {
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// A loopback address of the caller's own. The process id is in it, for two runs at a time.
pub(crate) fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let (bank, number) = (number / 254, number % 254);
    assert!(bank < 4, "more addresses than there are for one run");
    let run = std::process::id();
    // 127.16.0.0 to 127.79.255.255; the floods' visitors come from 127.100.0.0 on.
    let second = 16 + 16 * bank as u8 + (run >> 8) as u8 % 16;
    Ipv4Addr::new(127, second, run as u8, 1 + number as u8)
}

/// A port of `ip` that nobody uses: given out once, and below those that the kernel chooses from
/// (`ip_local_port_range`) for whoever names none.
pub(crate) fn free_port(ip: Ipv4Addr) -> SocketAddr {
    free_ports::<1>(ip)[0]
}

/// So many that follow each other.
pub(crate) fn free_ports<const N: usize>(ip: Ipv4Addr) -> [SocketAddr; N] {
    static NEXT: AtomicU16 = AtomicU16::new(10_000);
    loop {
        let first = NEXT.fetch_add(N as u16, Ordering::Relaxed);
        assert!(first < 32_000, "more ports than there are below the kernel's");
        let addresses = std::array::from_fn(|i| SocketAddr::from((ip, first + i as u16)));
        if addresses.iter().all(|address| TcpListener::bind(address).is_ok()) {
            return addresses;
        }
    }
}

/// A directory that goes with its owner.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("underpass-e2e-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::env::var_os("E2E_KEEP").is_none() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// A child process: killed, by its id, when dropped.
pub(crate) struct Proc {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Proc {
    /// Starts `command` with its output in `NAME.log` (appended to, so that the log of a process
    /// that is started again goes on). `setpriv` becomes the program itself; through it the child
    /// dies with the thread that started it, also when the test runner is killed.
    pub(crate) fn start(name: &str, dir: &Scratch, command: &Command) -> Proc {
        let log = dir.path(&format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log).unwrap();
        let mut wrapped = Command::new("setpriv");
        wrapped.args(["--pdeathsig", "KILL", "--"]);
        wrapped.arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(key, value),
                None => wrapped.env_remove(key),
            };
        }
        let child = wrapped
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Proc { name: name.into(), child, log }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    /// Waits for a line of the log that holds all of `words`, in any case.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, words: &[&str]) -> String {
        let what = format!("{}: a log line with {words:?}", self.name);
        eventually(PATIENCE, &what, || {
            let log = self.log();
            let has_all = |line: &&str| {
                let line = line.to_lowercase();
                words.iter().all(|word| line.contains(&word.to_lowercase()))
            };
            log.lines().find(has_all).map(str::to_owned)
        })
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid() as i32).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for the process to end.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self, within: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        eventually(within, &what, || self.child.try_wait().unwrap())
    }

    #[track_caller]
    pub(crate) fn assert_running(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "{} has ended by itself: {ended:?}", self.name);
    }

    /// SIGTERM, and the end, which must be an orderly one.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.wait_exit(PATIENCE);
        assert!(status.success(), "{}: {status}", self.name);
    }

    /// SIGKILL, and the end.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// How many descriptors are open.
    pub(crate) fn descriptors(&self) -> usize {
        self.descriptor_numbers().len()
    }

    fn descriptor_numbers(&self) -> Vec<i32> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
    }

    /// The TCP connections, as copies of the process's descriptors (root, or a lax ptrace policy).
    pub(crate) fn tcp_connections(&self) -> Vec<TcpConnection> {
        let pid = Pid::from_raw(self.pid() as i32).unwrap();
        let process = pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        let mut found = Vec::new();
        for number in self.descriptor_numbers() {
            let none = rustix::process::PidfdGetfdFlags::empty();
            let copy = match pidfd_getfd(&process, number, none) {
                Ok(copy) => copy,
                // Closed in the meantime.
                Err(rustix::io::Errno::BADF) => continue,
                Err(error) => panic!("pidfd_getfd: {error}; this test wants root"),
            };
            let socket = SockRef::from(&copy);
            let (Ok(local), Ok(peer)) = (socket.local_addr(), socket.peer_addr()) else {
                continue;
            };
            if let (Some(local), Some(peer)) = (local.as_socket(), peer.as_socket()) {
                let nodelay = socket.tcp_nodelay().unwrap();
                found.push(TcpConnection { local, peer, nodelay });
            }
        }
        found
    }

    /// Processor time used so far.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // The name, in parentheses, may hold spaces; utime and stime are fields 14 and 15.
        let (_, rest) = stat.rsplit_once(')').unwrap();
        let ticks: u64 =
            rest.split_whitespace().skip(11).take(2).map(|f| f.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.pid())).unwrap();
        let pages: u64 = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
        pages * 4096
    }

    /// The most that it has been since the start.
    pub(crate) fn most_resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

/// One of a process's TCP connections.
#[derive(Debug)]
pub(crate) struct TcpConnection {
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) nodelay: bool,
}

impl Drop for Proc {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(60)..];
            eprintln!("---- {} ({} lines of log)\n{}", self.name, lines.len(), tail.join("\n"));
            return;
        }
        // Every token and key of these tests starts so: none may ever be logged.
        assert!(!self.log().contains(SECRET), "{} logged a secret", self.name);
    }
}

/// How each token of these tests begins.
pub(crate) const SECRET: &str = "s3cr3t";

/// Runs a command to its end and gives back its output; `input` goes to its standard input.
pub(crate) fn run(command: &mut Command, input: &[u8]) -> std::process::Output {
    use std::io::Write;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{:?}: {e}", command.get_program()));
    // A program that ends without reading its input is none of our business here.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// [`run`] for what must succeed.
#[track_caller]
pub(crate) fn run_ok(command: &mut Command) -> String {
    let output = run(command, b"");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
