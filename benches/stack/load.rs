//! The visitors: plain blocking threads, so light that the stacks have the processors. Idle ones
//! are sockets without a thread.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::home::Command;

/// Which way a bulk transfer goes, seen from the visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Direction {
    Download,
    Upload,
}

/// For a connect, a read or a write; longer than anything takes in health: a hang becomes an error.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of the answer to a short connection's one request.
const SHORT_ANSWER: usize = 1000;
/// Bytes of a ping.
const PING_BYTES: usize = 64;
/// Bytes that a visitor reads or writes at once.
const CHUNK: usize = 64 * 1024;

/// `bytes` in all over `streams` connections at once; how long it took.
pub(crate) fn bulk(
    front: SocketAddr,
    direction: Direction,
    streams: usize,
    bytes: u64,
) -> io::Result<Duration> {
    let start = Instant::now();
    let each = bytes / streams as u64;
    let all = in_threads(streams, move |_| match direction {
        Direction::Download => download(front, each),
        Direction::Upload => upload(front, each),
    });
    all.into_iter().collect::<io::Result<Vec<()>>>()?;
    Ok(start.elapsed())
}

fn download(front: SocketAddr, mut left: u64) -> io::Result<()> {
    let mut stream = open(front, Command::Download(left))?;
    let mut buffer = vec![0; CHUNK];
    while left > 0 {
        match stream.read(&mut buffer)? as u64 {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            n => left = left.checked_sub(n).ok_or(ErrorKind::InvalidData)?,
        }
    }
    Ok(())
}

fn upload(front: SocketAddr, mut left: u64) -> io::Result<()> {
    let mut stream = open(front, Command::Upload(left))?;
    let buffer = vec![b'.'; CHUNK];
    while left > 0 {
        let n = left.min(CHUNK as u64);
        stream.write_all(&buffer[..n as usize])?;
        left -= n;
    }
    stream.read_exact(&mut [0])
}

/// What [`short`] counted.
#[derive(Default)]
pub(crate) struct Short {
    pub(crate) done: u64,
    pub(crate) failed: u64,
    /// Until the last visitor was done: one who waits long is in the rate.
    pub(crate) took: Duration,
    /// Of one connection.
    pub(crate) slowest: Duration,
    pub(crate) first_error: Option<io::Error>,
}

/// For `span`, `at_once` visitors each open a connection, ask once, read the answer, close, and
/// begin again.
pub(crate) fn short(front: SocketAddr, at_once: usize, span: Duration) -> io::Result<Short> {
    let start = Instant::now();
    let end = start + span;
    let parts = in_threads(at_once, move |_| {
        let mut part = Short::default();
        let mut now = Instant::now();
        while now < end {
            let asked = now;
            match probe(front, 0) {
                Ok(()) => part.done += 1,
                Err(error) => {
                    part.failed += 1;
                    part.first_error.get_or_insert(error);
                    // What fails at once would otherwise be a busy loop.
                    thread::sleep(Duration::from_millis(10));
                }
            }
            now = Instant::now();
            part.slowest = part.slowest.max(now - asked);
        }
        part
    });
    let mut all = Short::default();
    for part in parts {
        all.done += part.done;
        all.failed += part.failed;
        all.slowest = all.slowest.max(part.slowest);
        all.first_error = all.first_error.or(part.first_error);
    }
    all.took = start.elapsed();
    match (all.done, all.first_error) {
        (0, Some(error)) => Err(error),
        (_, first_error) => Ok(Short { first_error, ..all }),
    }
}

/// One short connection to home `number`, from its beginning to its end; also how a stack shows
/// that it is ready.
pub(crate) fn probe(front: SocketAddr, number: usize) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&front, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&Command::Download(SHORT_ANSWER as u64).first_flight(number))?;
    stream.read_exact(&mut [0; SHORT_ANSWER])
}

/// `count` connections on which the home sends back whatever comes.
pub(crate) fn open_echo(front: SocketAddr, count: usize) -> io::Result<Vec<TcpStream>> {
    (0..count).map(|_| open(front, Command::Echo)).collect()
}

/// `trips` round trips on each connection, on all of them at once: the time of each.
pub(crate) fn ping_pong(streams: &[TcpStream], trips: usize) -> io::Result<Vec<Duration>> {
    let parts = in_threads(streams.len(), |i| {
        (0..trips).map(|number| ping(&streams[i], number as u64)).collect()
    });
    let parts = parts.into_iter().collect::<io::Result<Vec<Vec<Duration>>>>()?;
    Ok(parts.concat())
}

fn ping(mut stream: &TcpStream, number: u64) -> io::Result<Duration> {
    let mut ping = [b'p'; PING_BYTES];
    ping[..8].copy_from_slice(&number.to_le_bytes());
    let mut pong = [0; PING_BYTES];
    let start = Instant::now();
    stream.write_all(&ping)?;
    stream.read_exact(&mut pong)?;
    let took = start.elapsed();
    if ping == pong { Ok(took) } else { Err(ErrorKind::InvalidData.into()) }
}

/// Connections that have reached the home and then say nothing, with these numbers.
pub(crate) fn open_idle(front: SocketAddr, numbers: Range<usize>) -> io::Result<Vec<TcpStream>> {
    const OPENERS: usize = 8;
    let parts = in_threads(OPENERS, move |opener| {
        let mine = numbers.clone().filter(|number| number % OPENERS == opener);
        mine.map(|number| {
            let mut stream = connect_from(visitor_address(number), front)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(&Command::Idle.first_flight(0))?;
            stream.read_exact(&mut [0])?;
            Ok(stream)
        })
        .collect()
    });
    let parts = parts.into_iter().collect::<io::Result<Vec<Vec<TcpStream>>>>()?;
    Ok(parts.into_iter().flatten().collect())
}

/// Idle visitors are many people, not one: bounds for one address are not what is measured.
fn visitor_address(number: usize) -> Ipv4Addr {
    let host = u8::try_from(number % 100).expect("below 100");
    Ipv4Addr::new(127, 0, 1, host + 1)
}

/// The home closes what [`open_idle`] has left with it.
pub(crate) fn let_go_of_idle(home: SocketAddr) -> io::Result<()> {
    open(home, Command::LetGo)?.read_exact(&mut [0])
}

/// `bytes` to the role `floor`, until it has passed them on.
pub(crate) fn feed_floor(floor: SocketAddr, bytes: u64) -> io::Result<()> {
    /// So much that each read of the floor is a full one.
    const PLENTY: usize = 16 * CHUNK;
    let mut stream = TcpStream::connect_timeout(&floor, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let buffer = vec![b'.'; PLENTY];
    let mut left = bytes;
    while left > 0 {
        let n = left.min(PLENTY as u64);
        stream.write_all(&buffer[..n as usize])?;
        left -= n;
    }
    stream.shutdown(Shutdown::Write)?;
    stream.read_exact(&mut [0])
}

fn open(front: SocketAddr, command: Command) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&front, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&command.first_flight(0))?;
    Ok(stream)
}

fn connect_from(address: Ipv4Addr, front: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((address, 0)).into())?;
    socket.connect_timeout(&front.into(), PATIENCE)?;
    Ok(socket.into())
}

/// Runs `job` in `count` threads at once, with each one's number.
fn in_threads<T: Send>(count: usize, job: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let job = &job;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|i| scope.spawn(move || job(i))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no visitor panics")).collect()
    })
}
