//! The real network: mio (epoll) behind [`Net`]. The only place that reads the clock, and
//! the only one that knows mio.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use mio::event::Event;
use mio::net::{TcpListener, TcpStream, UdpSocket};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token as MioToken, Waker};
use rustix::net::SendFlags;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook_mio::v1_0::Signals;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::conns::MOST;
use super::facts::{Facts, LongestTurn};
use super::far::Far;
use super::net::{Net, Readiness, Signal, Token, Wake};
use super::passed::Passed;
use super::resolve::Resolver;
use super::unix_door::UnixDoor;
use super::worker::Worker;
use crate::config::{SeenFile, TcpOptions};
use crate::file_watch::FileWatch;
use crate::limits;
use crate::proto::admin_guard::Job;
use crate::proto::time::Time;

const WAKER: MioToken = MioToken(usize::MAX);
const SIGNALS: MioToken = MioToken(usize::MAX - 1);
const FILES: MioToken = MioToken(usize::MAX - 2);
/// What to say when [`MioNet::watch`] fails.
pub const UNWATCHED: &str = "not every change of the files will be seen (SIGHUP reloads them)";
/// Events taken from the kernel at once.
const EVENTS: usize = 1024;

/// mio's poll, the signals, the helper threads and the clock.
pub struct MioNet {
    poll: Poll,
    events: Events,
    started: Instant,
    now: Time,
    signals: Option<Signals>,
    files: Option<FileWatch>,
    stop: Arc<Stop>,
    resolver: Resolver,
    passwords: Worker<Job, bool>,
    descriptor_limit: usize,
    keepalive: Option<TcpKeepalive>,
    far: Far,
    pipe: Option<Pipe>,
    /// Sockets that were opened by others.
    passed: Passed,
    /// A poll ends then, though nothing happens.
    wake_at: Option<Time>,
    longest_turn: LongestTurn,
}

/// What is listened on.
pub enum MioListener {
    /// A port.
    Tcp(TcpListener),
    /// A socket in the file system.
    Unix(UnixDoor),
}

/// For splice(2), which moves bytes between a socket and a pipe only.
struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    /// Bytes in it.
    filled: usize,
}

/// Stops an engine from another thread.
#[derive(Clone)]
pub struct Stopper(Arc<Stop>);

struct Stop {
    wished: AtomicBool,
    waker: Waker,
}

impl Stopper {
    /// The engine's next poll reports [`Signal::Stop`].
    pub fn stop(&self) {
        self.0.wished.store(true, Ordering::Release);
        // A waker fails only when its poll is gone, and then nobody is left to stop.
        let _ = self.0.waker.wake();
    }
}

impl MioNet {
    /// Without signals: for an engine on a thread of its own.
    pub fn new() -> io::Result<MioNet> {
        let poll = Poll::new()?;
        let stop = Arc::new(Stop {
            wished: AtomicBool::new(false),
            waker: Waker::new(poll.registry(), WAKER)?,
        });
        let wake = Arc::clone(&stop);
        let wake: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
            let _ = wake.waker.wake();
        });
        Ok(MioNet {
            poll,
            events: Events::with_capacity(EVENTS),
            started: Instant::now(),
            now: Time::default(),
            signals: None,
            files: None,
            stop,
            resolver: Resolver::new(wake.clone()),
            passwords: Worker::new("passwords", Job::run, wake),
            descriptor_limit: raise_descriptor_limit(),
            keepalive: Some(probes(limits::KEEPALIVE_IDLE, limits::KEEPALIVE_INTERVAL)),
            far: Far::default(),
            pipe: None,
            passed: Passed::default(),
            wake_at: None,
            longest_turn: LongestTurn::default(),
        })
    }

    /// SIGTERM and SIGINT become [`Signal::Stop`], SIGUSR1 [`Signal::ReopenLogs`], SIGHUP
    /// [`Signal::Reload`].
    pub fn with_signals() -> io::Result<MioNet> {
        let mut net = MioNet::new()?;
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1, SIGHUP])?;
        net.poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
        net.signals = Some(signals);
        Ok(net)
    }

    /// Where it is asked to listen at an address of these, they are taken.
    pub fn take_over(&mut self, passed: Passed) {
        self.passed = passed;
    }

    /// The next polls end then at the latest, though nothing happens.
    pub fn wake_at(&mut self, at: Option<Time>) {
        self.wake_at = at;
    }

    /// From now on a change of these files is [`Signal::Reload`]; of none, none is. An error says
    /// that some changes will not be seen.
    pub fn watch(&mut self, files: Vec<SeenFile>) -> io::Result<()> {
        if files.is_empty() {
            self.files = None;
            return Ok(());
        }
        let watch = match &mut self.files {
            Some(watch) => watch,
            none => {
                let watch = FileWatch::new()?;
                let mut source = SourceFd(&watch.descriptor());
                self.poll.registry().register(&mut source, FILES, Interest::READABLE)?;
                none.insert(watch)
            }
        };
        watch.set(files, elapsed(self.started))
    }

    /// A handle that stops the engine from another thread.
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.stop))
    }

    /// No Nagle delay on any leg (P13); dead hosts are found within a minute.
    fn tune(&self, socket: SockRef<'_>) -> io::Result<()> {
        socket.set_tcp_nodelay(true)?;
        match &self.keepalive {
            Some(keepalive) => socket.set_tcp_keepalive(keepalive),
            // A listener that stays may have had it.
            None => socket.set_keepalive(false),
        }
    }

    /// Bound and registered, with buffers as large as the kernel gives to anybody.
    fn udp_at(&self, address: SocketAddr, token: Token) -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        self.adopt_udp(socket, token)
    }

    fn adopt_udp(&self, socket: Socket, token: Token) -> io::Result<UdpSocket> {
        socket.set_nonblocking(true)?;
        socket.set_recv_buffer_size(limits::UDP_SOCKET_BUFFER)?;
        socket.set_send_buffer_size(limits::UDP_SOCKET_BUFFER)?;
        let mut socket = UdpSocket::from_std(socket.into());
        self.poll.registry().register(&mut socket, mio_token(token), Interest::READABLE)?;
        Ok(socket)
    }

    /// Registered; what is accepted inherits the options (Linux), so that an accept is one call and
    /// not six.
    fn adopt_listener(
        &mut self,
        socket: Socket,
        token: Token,
    ) -> io::Result<(MioListener, SocketAddr)> {
        socket.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(socket.into());
        let address = listener.local_addr()?;
        self.poll.registry().register(&mut listener, mio_token(token), Interest::READABLE)?;
        let listener = MioListener::Tcp(listener);
        self.retune(&listener)?;
        Ok((listener, address))
    }

    fn outside_wakes(&mut self, wakes: &mut Vec<Wake>) {
        let signals = self.signals.iter_mut().flat_map(Signals::pending);
        wakes.extend(signals.map(|signal| match signal {
            SIGUSR1 => Wake::Signal(Signal::ReopenLogs),
            SIGHUP => Wake::Signal(Signal::Reload),
            _ => Wake::Signal(Signal::Stop),
        }));
        if self.stop.wished.swap(false, Ordering::AcqRel) {
            wakes.push(Wake::Signal(Signal::Stop));
        }
        while let Some((query, result)) = self.resolver.answer() {
            wakes.push(Wake::Resolved { query, result });
        }
        while let Some((ticket, is_right)) = self.passwords.answer() {
            wakes.push(Wake::Checked { ticket, is_right });
        }
    }
}

impl Net for MioNet {
    type Listener = MioListener;
    type Stream = TcpStream;
    type Udp = UdpSocket;

    fn now(&self) -> Time {
        self.now
    }

    fn random(&mut self, out: &mut [u8]) {
        getrandom::fill(out).expect("the operating system has randomness");
    }

    fn set_tcp(&mut self, options: &TcpOptions) {
        let keepalive = options.keepalive;
        self.keepalive = keepalive.map(|keepalive| probes(keepalive.idle, keepalive.interval));
        self.far = Far::new(&options.congestion);
    }

    fn retune(&mut self, listener: &MioListener) -> io::Result<()> {
        let MioListener::Tcp(listener) = listener else { return Ok(()) };
        self.tune(SockRef::from(listener))?;
        self.far.tune(SockRef::from(listener));
        Ok(())
    }

    fn send_far(&mut self, stream: &TcpStream) {
        self.far.tune(SockRef::from(stream));
    }

    fn descriptor_limit(&self) -> usize {
        self.descriptor_limit
    }

    fn listen(
        &mut self,
        address: SocketAddr,
        token: Token,
    ) -> io::Result<(MioListener, SocketAddr)> {
        if let Some(listener) = self.passed.take_tcp(address)? {
            return self.adopt_listener(listener.into(), token);
        }
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            // So that "0.0.0.0:80" and "[::]:80" can stand beside each other on every system.
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        socket.listen(limits::BACKLOG)?;
        self.adopt_listener(socket, token)
    }

    fn listen_unix(&mut self, path: &Path, token: Token) -> io::Result<MioListener> {
        let door = UnixDoor::open(path)?;
        let mut source = SourceFd(&door.descriptor());
        self.poll.registry().register(&mut source, mio_token(token), Interest::READABLE)?;
        Ok(MioListener::Unix(door))
    }

    fn facts(&self) -> Facts {
        Facts::ask(self.longest_turn.get())
    }

    fn wall(&self) -> f64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.map_or(0.0, |since| since.as_secs_f64())
    }

    fn accept(&mut self, listener: &mut MioListener) -> io::Result<(TcpStream, SocketAddr)> {
        let listener = match listener {
            MioListener::Tcp(listener) => listener,
            MioListener::Unix(door) => {
                let nowhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
                return Ok((TcpStream::from_std(door.accept()?), nowhere));
            }
        };
        // To a socket for both families, IPv4 visitors come as IPv6 ones.
        let (stream, address) = listener.accept()?;
        Ok((stream, canonical(address)))
    }

    fn connect(&mut self, address: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address)?;
        self.tune(SockRef::from(&stream))?;
        Ok(stream)
    }

    fn register(&mut self, stream: &mut TcpStream, token: Token) -> io::Result<()> {
        let all = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        self.poll.registry().register(stream, mio_token(token), all)
    }

    fn connect_result(&mut self, stream: &TcpStream) -> io::Result<()> {
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            Err(error) => Err(error),
        }
    }

    fn local_addr(&self, stream: &TcpStream) -> io::Result<SocketAddr> {
        stream.local_addr().map(canonical)
    }

    fn read(&mut self, stream: &mut TcpStream, into: &mut [u8]) -> io::Result<usize> {
        stream.read(into)
    }

    fn write(&mut self, stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
        stream.write(bytes)
    }

    fn write_more(&mut self, stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(stream, bytes, SendFlags::MORE | SendFlags::NOSIGNAL)?)
    }

    fn splice_worth(&mut self) -> Option<usize> {
        if self.pipe.is_none() {
            self.pipe = Pipe::new().ok(); // or once there are descriptors again
        }
        self.pipe.is_some().then_some(limits::SPLICE_WORTH)
    }

    fn splice_in(&mut self, from: &mut TcpStream, most: usize) -> io::Result<usize> {
        let pipe = self.pipe.as_mut().ok_or(io::ErrorKind::Unsupported)?;
        debug_assert_eq!(pipe.filled, 0);
        let moved = splice(from, None, &pipe.into, None, most, SpliceFlags::NONBLOCK)?;
        pipe.filled = moved;
        Ok(moved)
    }

    fn splice_out(&mut self, to: &mut TcpStream) -> io::Result<usize> {
        let pipe = self.pipe.as_mut().ok_or(io::ErrorKind::Unsupported)?;
        let moved = splice(&pipe.out, None, to, None, pipe.filled, SpliceFlags::NONBLOCK)?;
        pipe.filled -= moved;
        Ok(moved)
    }

    fn empty_pipe(&mut self, into: &mut [u8]) -> usize {
        let Some(pipe) = &mut self.pipe else { return 0 };
        let left = std::mem::take(&mut pipe.filled);
        if left > 0 {
            let read = rustix::io::read(&pipe.out, &mut into[..left]);
            // One read takes all that is in a pipe (pipe(7)), and it is nobody else's.
            assert_eq!(read, Ok(left), "the pipe holds what was moved into it");
        }
        left
    }

    fn shutdown_write(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        stream.shutdown(Shutdown::Write)
    }

    fn abort(&mut self, stream: TcpStream) {
        // Lingering for no time makes the close a reset (tcp(7), SO_LINGER).
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }

    fn bind_udp(
        &mut self,
        address: SocketAddr,
        token: Token,
    ) -> io::Result<(UdpSocket, SocketAddr)> {
        let socket = match self.passed.take_udp(address) {
            Some(socket) => self.adopt_udp(socket.into(), token)?,
            None => self.udp_at(address, token)?,
        };
        let address = socket.local_addr()?;
        Ok((socket, address))
    }

    fn connect_udp(&mut self, peer: SocketAddr, token: Token) -> io::Result<UdpSocket> {
        let any = match peer {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = self.udp_at(any, token)?;
        socket.connect(peer)?;
        Ok(socket)
    }

    fn receive(
        &mut self,
        socket: &mut UdpSocket,
        into: &mut [u8],
    ) -> io::Result<(usize, SocketAddr)> {
        socket.recv_from(into)
    }

    fn send(
        &mut self,
        socket: &mut UdpSocket,
        datagram: &[u8],
        to: Option<SocketAddr>,
    ) -> io::Result<()> {
        match to {
            Some(to) => socket.send_to(datagram, to),
            None => socket.send(datagram),
        }
        .map(|_| ())
    }

    fn resolve(&mut self, query: u64, host: &str, port: u16) {
        self.resolver.ask(query, host, port);
    }

    fn check_password(&mut self, ticket: u64, job: Job) {
        self.passwords.ask(ticket, job, || false);
    }

    fn poll(&mut self, until: Option<Time>, wakes: &mut Vec<Wake>) -> io::Result<()> {
        // Work between polls took time that a deadline must not wait for again.
        let quiet = self.files.as_ref().and_then(FileWatch::deadline);
        let until = [until, quiet, self.wake_at].into_iter().flatten().min();
        let now = elapsed(self.started);
        self.longest_turn.note(now, now - self.now);
        let timeout = until.map(|until| until - now);
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => result?,
        }
        self.now = elapsed(self.started);
        let mut outside = false;
        for event in &self.events {
            match event.token() {
                WAKER | SIGNALS => outside = true,
                FILES => self.files.iter_mut().for_each(|files| files.handle_events(self.now)),
                token => wakes.push(Wake::Ready(readiness(token, event))),
            }
        }
        if outside {
            self.outside_wakes(wakes);
        }
        match self.files.as_mut().map(|files| files.poll_changed(self.now)) {
            Some(Ok(true)) => wakes.push(Wake::Signal(Signal::Reload)),
            Some(Err(error)) => log::warn!("{UNWATCHED}: {error}"),
            Some(Ok(false)) | None => {}
        }
        Ok(())
    }
}

impl Pipe {
    fn new() -> io::Result<Pipe> {
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // It holds so many segments, of whatever size: enough for a batch from a real network. A
        // smaller one, where the system grants no more, moves less at once.
        let _ = fcntl_setpipe_size(&into, limits::PIPE_SIZE);
        Ok(Pipe { out, into, filled: 0 })
    }
}

fn readiness(token: MioToken, event: &Event) -> Readiness {
    Readiness {
        token: Token(token.0 as u64),
        readable: event.is_readable() || event.is_read_closed() || event.is_error(),
        writable: event.is_writable() || event.is_error(),
        read_closed: event.is_read_closed(),
        urgent: event.is_priority(),
        broken: event.is_error(),
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn mio_token(token: Token) -> MioToken {
    // `ConnId` packs its halves into a usize (conns.rs), so nothing is cut off.
    MioToken(token.0 as usize)
}

fn elapsed(started: Instant) -> Time {
    Time::default() + started.elapsed()
}

fn probes(idle: Duration, interval: Duration) -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(idle)
        .with_interval(interval)
        .with_retries(limits::KEEPALIVE_RETRIES)
}

/// Raises the soft limit to the hard one and returns it, or what ids can name if that is less.
fn raise_descriptor_limit() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            limit = raised;
        }
    }
    // `None` is "no limit", which the kernel does not really grant.
    let limit =
        limit.current.map_or(1 << 20, |current| usize::try_from(current).unwrap_or(1 << 20));
    limit.min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Congestion, Keepalive};

    #[test]
    fn keepalive_changes_for_a_listener_that_stays() {
        let mut net = MioNet::new().expect("a poll");
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (mut listener, address) = net.listen(loopback, Token(1)).expect("a port");
        let mut accepted = |net: &mut MioNet, keepalive: Option<Keepalive>| {
            let congestion = Congestion::default();
            net.set_tcp(&TcpOptions { keepalive, proxy: None, congestion });
            net.retune(&listener).expect("options");
            let _visitor = std::net::TcpStream::connect(address).expect("it listens");
            let (stream, _) = net.accept(&mut listener).expect("a visitor");
            let socket = SockRef::from(&stream);
            let is_on = socket.keepalive().expect("an option");
            is_on.then(|| socket.tcp_keepalive_time().expect("an option"))
        };
        let [long, short] = [77, 7].map(Duration::from_secs);
        for idle in [long, short] {
            let keepalive = Keepalive { idle, interval: short };
            assert_eq!(accepted(&mut net, Some(keepalive)), Some(idle));
        }
        assert_eq!(accepted(&mut net, None), None);
    }
}
