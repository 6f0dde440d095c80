//! The sockets, the clock and the randomness that the engine needs: the one seam between it and
//! the operating system. [`super::mio_net`] is the real one; `tests/sim` has the simulated one.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use super::facts::Facts;
use crate::config::TcpOptions;
use crate::proto::admin_guard::Job;
use crate::proto::time::Time;

/// What the engine calls a socket; comes back with each of its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// What [`Net::poll`] reports.
#[derive(Debug)]
pub enum Wake {
    /// A socket's readiness changed (edge-triggered, as epoll's EPOLLET).
    Ready(Readiness),
    /// A look-up asked for by [`Net::resolve`] has ended.
    Resolved {
        /// The number given to [`Net::resolve`].
        query: u64,
        /// The addresses, in the order to try them; never empty.
        result: io::Result<Vec<SocketAddr>>,
    },
    /// A password given to [`Net::check_password`] has been looked at.
    Checked {
        /// The number given to [`Net::check_password`].
        ticket: u64,
        /// What the job has found.
        is_right: bool,
    },
    /// Someone wants the process to do something.
    Signal(Signal),
}

/// The state of a socket when the event was taken, exactly as epoll tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    /// Whose.
    pub token: Token,
    /// Bytes, an end of file, an error, or (a listener) a connection can be taken.
    pub readable: bool,
    /// The send buffer has room, or the connection attempt has ended.
    pub writable: bool,
    /// The peer has ended its direction: a read will come to the end of file.
    pub read_closed: bool,
    /// The peer has sent urgent data (EPOLLPRI): a read stops at its mark, whatever lies behind.
    pub urgent: bool,
    /// The connection is broken (EPOLLERR; not EPOLLHUP, which also means that both directions have
    /// ended in order).
    pub broken: bool,
}

/// A wish from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM, SIGINT: stop in order.
    Stop,
    /// SIGUSR1: log files were moved away, open them anew.
    ReopenLogs,
    /// SIGHUP: the file is to be read anew.
    Reload,
}

/// Sockets never block: [`io::ErrorKind::WouldBlock`] says wait for the next event. Registration is
/// once for both directions, edge-triggered. Dropping a socket closes it.
pub trait Net {
    /// A listening TCP socket.
    type Listener;
    /// A TCP connection; TCP_NODELAY and keepalive are set on each.
    type Stream;
    /// A UDP socket.
    type Udp;

    /// The time of the last [`Net::poll`]; moves only there.
    fn now(&self) -> Time;

    /// Fills `out` with randomness fit for keys.
    fn random(&mut self, out: &mut [u8]);

    /// The options of connections from now on; those that are accepted have their listener's.
    fn set_tcp(&mut self, options: &TcpOptions);

    /// Gives a listener the options that [`Net::set_tcp`] was told last.
    fn retune(&mut self, listener: &Self::Listener) -> io::Result<()>;

    /// A connection that was started here crosses the net, as those that are accepted do: how fast
    /// TCP sends on it is as the options say. At home the system knows best.
    fn send_far(&mut self, stream: &Self::Stream);

    /// How many descriptors this process may have open.
    fn descriptor_limit(&self) -> usize;

    /// Listens on `address`; the address with the port that it got comes back.
    fn listen(
        &mut self,
        address: SocketAddr,
        token: Token,
    ) -> io::Result<(Self::Listener, SocketAddr)>;

    /// Listens on a socket in the file system; who comes there has no address, and gets `[::]:0`.
    fn listen_unix(&mut self, path: &Path, token: Token) -> io::Result<Self::Listener>;

    /// How the process is.
    fn facts(&self) -> Facts;

    /// The time by the calendar: seconds since 1970 (UTC).
    fn wall(&self) -> f64;

    /// The next waiting connection, unregistered, with the peer's address.
    fn accept(&mut self, listener: &mut Self::Listener) -> io::Result<(Self::Stream, SocketAddr)>;

    /// Starts a connection, unregistered. Its end is told as writable; [`Net::connect_result`]
    /// then says which.
    fn connect(&mut self, address: SocketAddr) -> io::Result<Self::Stream>;

    /// From now on events of `stream` come with `token`; its present state counts as an edge.
    fn register(&mut self, stream: &mut Self::Stream, token: Token) -> io::Result<()>;

    /// `Ok` once connected, `WouldBlock` while under way, else why it failed.
    fn connect_result(&mut self, stream: &Self::Stream) -> io::Result<()>;

    /// The address of this end.
    fn local_addr(&self, stream: &Self::Stream) -> io::Result<SocketAddr>;

    /// Reads at most `into.len()` bytes; 0 is the end of file.
    fn read(&mut self, stream: &mut Self::Stream, into: &mut [u8]) -> io::Result<usize>;

    /// Writes a first part of `bytes`; its length comes back.
    fn write(&mut self, stream: &mut Self::Stream, bytes: &[u8]) -> io::Result<usize>;

    /// The same for bytes behind which more are written at once: they may wait for those.
    fn write_more(&mut self, stream: &mut Self::Stream, bytes: &[u8]) -> io::Result<usize>;

    /// How many bytes must wait for it to be worth moving them through the pipe rather than by a
    /// read and a write. `None`: there is no pipe.
    fn splice_worth(&mut self) -> Option<usize>;

    /// Moves at most `most` bytes from a connection into the pipe, which must be empty; they are
    /// never seen (splice(2)). Fewer do not mean that no more wait, and neither does 0: it is the
    /// end of file, or a mark of urgent data, which a splice does not get past as a read does.
    fn splice_in(&mut self, from: &mut Self::Stream, most: usize) -> io::Result<usize>;

    /// Moves a first part of what is in the pipe to a connection; its length comes back.
    fn splice_out(&mut self, to: &mut Self::Stream) -> io::Result<usize>;

    /// Takes what is left in the pipe out of it: how much that was. `into` has room for it.
    fn empty_pipe(&mut self, into: &mut [u8]) -> usize;

    /// Ends the outgoing direction (FIN) after what was written.
    fn shutdown_write(&mut self, stream: &mut Self::Stream) -> io::Result<()>;

    /// Closes with a reset (RST); what was written and not yet sent is lost.
    fn abort(&mut self, stream: Self::Stream);

    /// A UDP socket at `address`; its events come with `token`, and tell of reading alone. The
    /// address with the port that it got comes back.
    fn bind_udp(
        &mut self,
        address: SocketAddr,
        token: Token,
    ) -> io::Result<(Self::Udp, SocketAddr)>;

    /// The same at a free port, for datagrams to and from `peer` alone. Whether somebody is there
    /// is not known: that nobody was comes as an error of a later call, once.
    fn connect_udp(&mut self, peer: SocketAddr, token: Token) -> io::Result<Self::Udp>;

    /// The next datagram that waits: its length and its sender. One that is longer than `into` is
    /// cut.
    fn receive(
        &mut self,
        socket: &mut Self::Udp,
        into: &mut [u8],
    ) -> io::Result<(usize, SocketAddr)>;

    /// Sends one datagram, whole or not at all; to the peer if `to` is `None`. `WouldBlock`: the
    /// send buffer is full, and no event will tell of room.
    fn send(
        &mut self,
        socket: &mut Self::Udp,
        datagram: &[u8],
        to: Option<SocketAddr>,
    ) -> io::Result<()>;

    /// Looks `host` up without blocking; ends as [`Wake::Resolved`], always. Literal addresses too.
    fn resolve(&mut self, query: u64, host: &str, port: u16);

    /// Runs `job` without blocking; ends as [`Wake::Checked`], always.
    fn check_password(&mut self, ticket: u64, job: Job);

    /// Waits for events until `until` (`None`: as long as it takes; the past: not at all), moves
    /// the clock, and appends what happened to `wakes`.
    fn poll(&mut self, until: Option<Time>, wakes: &mut Vec<Wake>) -> io::Result<()>;
}
