//! What the service manager is told (sd_notify(3)): systemd, or whoever speaks as it does.
//!
//! The messages are sent from the loop itself, so that a watchdog is fed only while it turns; one
//! that finds the manager's queue full is dropped, since nobody waits for it. They are lines of
//! text in one datagram, for which the standard library has all that it takes; the crate
//! `sd-notify` opens a socket for each and waits in `send`.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use underpass::engine::about::About;
use underpass::engine::client::Client;
use underpass::engine::core::Flow;
use underpass::engine::mio_net::MioNet;
use underpass::engine::server::Server;
use underpass::proto::time::Time;

/// The status is looked at so often at most.
const STATUS_PAUSE: Duration = Duration::from_secs(1);
/// Whatever patience the manager has, the loop has other things to do.
const SHORTEST_FEED: Duration = Duration::from_millis(10);
/// Of a status, which is one line.
const STATUS_LENGTH: usize = 500;
/// What the manager waits for beyond `drain_time` before it kills.
const EXTENSION: Duration = Duration::from_secs(10);

/// An engine of either role, as the program and the manager see it.
pub(crate) trait Managed {
    /// One turn.
    fn turn(&mut self) -> io::Result<Flow>;
    /// The network below.
    fn net(&mut self) -> &mut MioNet;
    /// What the program has to tell.
    fn about(&mut self) -> &mut About;
    /// Its clock.
    fn now(&self) -> Time;
    /// How it is, in one line.
    fn status(&self) -> String;
    /// It is about to end: until then at most.
    fn ends_at(&self) -> Option<Time>;
}

impl Managed for Server<MioNet> {
    fn turn(&mut self) -> io::Result<Flow> {
        Server::turn(self)
    }

    fn net(&mut self) -> &mut MioNet {
        Server::net(self)
    }

    fn about(&mut self) -> &mut About {
        Server::about(self)
    }

    fn now(&self) -> Time {
        Server::now(self)
    }

    fn status(&self) -> String {
        let (online, all) = self.online();
        format!("{online} of {all} services online")
    }

    fn ends_at(&self) -> Option<Time> {
        Server::ends_at(self)
    }
}

impl Managed for Client<MioNet> {
    fn turn(&mut self) -> io::Result<Flow> {
        Client::turn(self)
    }

    fn net(&mut self) -> &mut MioNet {
        Client::net(self)
    }

    fn about(&mut self) -> &mut About {
        Client::about(self)
    }

    fn now(&self) -> Time {
        Client::now(self)
    }

    fn status(&self) -> String {
        let (up, all) = self.online();
        match self.last_error().filter(|_| up < all) {
            Some(error) => format!("{up} of {all} services up; {error}"),
            None => format!("{up} of {all} services up"),
        }
    }

    fn ends_at(&self) -> Option<Time> {
        Client::ends_at(self)
    }
}

/// The way to the manager, if there is one.
pub(crate) struct ServiceManager {
    socket: Option<UnixDatagram>,
    /// It waits for a sign of life so long.
    watchdog: Option<Duration>,
    fed: Time,
    /// What it was told last.
    status: String,
    looked: Time,
    /// Why the last reload has failed.
    reload_error: Option<String>,
    is_stopping: bool,
}

impl ServiceManager {
    /// As NOTIFY_SOCKET and WATCHDOG_USEC say; and what is wrong with them, which is no reason not
    /// to run: they may have been meant for whoever started this program.
    pub(crate) fn from_env() -> (ServiceManager, Option<String>) {
        let path = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty());
        let (mut socket, mut complaint) = (None, None);
        if let Some(path) = path {
            match connect(&path) {
                Ok(connected) => socket = Some(connected),
                Err(error) => {
                    let path = path.to_string_lossy();
                    complaint = Some(format!("cannot reach NOTIFY_SOCKET {path}: {error}"));
                }
            }
        }
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let is_meant = match std::env::var_os("WATCHDOG_PID") {
            Some(_) => number("WATCHDOG_PID") == Some(u64::from(std::process::id())),
            None => true,
        };
        let watchdog = number("WATCHDOG_USEC").filter(|micros| is_meant && *micros > 0);
        let manager = ServiceManager {
            watchdog: watchdog.map(Duration::from_micros).filter(|_| socket.is_some()),
            socket,
            fed: Time::default(),
            status: String::new(),
            looked: Time::default(),
            reload_error: None,
            is_stopping: false,
        };
        (manager, complaint)
    }

    /// The engine listens; a client's server may be down, and is no reason to hold up a boot.
    pub(crate) fn ready(&mut self, engine: &mut impl Managed) {
        self.say("READY=1");
        self.feed(engine.now());
        self.tell_status(engine);
        engine.net().wake_at(self.feed_at());
    }

    /// After each turn: feeds the watchdog, tells what is new, and says when the next turn is due.
    pub(crate) fn attend(&mut self, engine: &mut impl Managed) {
        if self.socket.is_none() {
            return;
        }
        let now = engine.now();
        if self.feed_at().is_some_and(|at| at <= now) {
            self.feed(now);
        }
        if let Some(until) = engine.ends_at().filter(|_| !self.is_stopping) {
            self.is_stopping = true;
            let patience = until - now + EXTENSION;
            self.say(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}", patience.as_micros()));
        }
        // A turn that comes too soon after a look has another look behind it.
        let look_at = self.looked + STATUS_PAUSE;
        let looks_again = now < look_at;
        if !looks_again {
            self.tell_status(engine);
        }
        let look_at = looks_again.then_some(look_at);
        engine.net().wake_at(self.feed_at().into_iter().chain(look_at).min());
    }

    /// A reload is over; an error is part of the status until the next one that succeeds.
    pub(crate) fn reloaded(&mut self, engine: &impl Managed, error: Option<String>) {
        self.reload_error = error;
        self.tell_status(engine);
        self.say("READY=1");
    }

    /// A reload begins.
    pub(crate) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// The program is over.
    pub(crate) fn stopping(&mut self) {
        if !std::mem::replace(&mut self.is_stopping, true) {
            self.say("STOPPING=1");
        }
    }

    fn tell_status(&mut self, engine: &impl Managed) {
        self.looked = engine.now();
        let mut status = engine.status();
        if self.is_stopping {
            status.insert_str(0, "stopping; ");
        }
        if let Some(error) = &self.reload_error {
            status += "; not reloaded: ";
            status += error;
        }
        // A line, and not a long one.
        let one_line: String =
            status.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let status = one_line.chars().take(STATUS_LENGTH).collect();
        if self.status != status {
            self.say(&format!("STATUS={status}"));
            self.status = status;
        }
    }

    fn feed(&mut self, now: Time) {
        if self.watchdog.is_some() {
            self.fed = now;
            self.say("WATCHDOG=1");
        }
    }

    /// Twice as often as it must be.
    fn feed_at(&self) -> Option<Time> {
        self.watchdog.map(|patience| self.fed + (patience / 2).max(SHORTEST_FEED))
    }

    fn say(&self, words: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(words.as_bytes())
        {
            log::debug!("the service manager was not told {words:?}: {error}");
        }
    }
}

/// A path, or a name in the abstract namespace behind an `@`.
fn connect(path: &OsStr) -> io::Result<UnixDatagram> {
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(socket)
}
