//! The home: takes a visitor's ClientHello and then one command, and does what it says.
//!
//! ```text
//! visitor -> home    ClientHello | op u8 | 7 zero bytes | n u64 LE
//! D  download        home sends n bytes
//! U  upload          visitor sends n bytes; home answers with one byte
//! E  echo            home sends back whatever comes
//! I  idle            home answers with one byte and keeps the connection
//! X  let go          home closes all kept connections, and answers with one byte
//! ```
//!
//! The ClientHello is HELLO but for its name and its random bytes. The visitor closes first, always,
//! as browsers do.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// What `openssl s_client -servername pi.example.com` says first.
pub(crate) const HELLO: &[u8] = include_bytes!("client_hello.bin");
/// The name in [`HELLO`].
const NAME: &str = "pi.example.com";
/// Its 32 random bytes: two hellos that are the same are one visitor in a loop.
const RANDOM: Range<usize> = 11..43;
/// First flights so far.
static VISITORS: AtomicU64 = AtomicU64::new(0);
/// Bytes of a command.
pub(crate) const COMMAND_BYTES: usize = 16;
/// So many have names; the highest number has four digits.
pub(crate) const HOMES_MAX: usize = 10_000;

/// The name of home `number`, below [`HOMES_MAX`]. All are of one length: so is every hello.
pub(crate) fn name(number: usize) -> String {
    if number == 0 { NAME.to_owned() } else { format!("{number:04}.home.test") }
}

/// [`HELLO`] before and after its name.
fn around_name() -> (&'static [u8], &'static [u8]) {
    let at = HELLO.windows(NAME.len()).position(|bytes| bytes == NAME.as_bytes());
    let (before, rest) = HELLO.split_at(at.expect("HELLO asks for NAME"));
    (before, &rest[NAME.len()..])
}

/// What a visitor wants of the home.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Command {
    Download(u64),
    Upload(u64),
    Echo,
    Idle,
    LetGo,
}

impl Command {
    /// The first flight of a visitor of home `number`: a hello like no other, and this command.
    pub(crate) fn first_flight(self, number: usize) -> Vec<u8> {
        let (op, n) = match self {
            Command::Download(n) => (b'D', n),
            Command::Upload(n) => (b'U', n),
            Command::Echo => (b'E', 0),
            Command::Idle => (b'I', 0),
            Command::LetGo => (b'X', 0),
        };
        let (before, after) = around_name();
        let mut bytes = [before, name(number).as_bytes(), after].concat();
        let visitor = VISITORS.fetch_add(1, Ordering::Relaxed);
        bytes[RANDOM][..8].copy_from_slice(&visitor.to_le_bytes());
        bytes.extend_from_slice(&[op, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&n.to_le_bytes());
        bytes
    }

    fn parse(bytes: [u8; COMMAND_BYTES]) -> io::Result<Command> {
        let [op, _, _, _, _, _, _, _, n @ ..] = bytes;
        let n = u64::from_le_bytes(n);
        match op {
            b'D' => Ok(Command::Download(n)),
            b'U' => Ok(Command::Upload(n)),
            b'E' => Ok(Command::Echo),
            b'I' => Ok(Command::Idle),
            b'X' => Ok(Command::LetGo),
            _ => Err(ErrorKind::InvalidData.into()),
        }
    }
}

/// The role `home`: says its address on standard output, then serves for ever.
pub(crate) fn run() -> io::Result<()> {
    /// More than visitors who are busy at once; idle ones hold no thread.
    const WORKERS: usize = 128;
    let listener = Arc::new(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
    let kept = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..WORKERS {
        let (listener, kept) = (Arc::clone(&listener), Arc::clone(&kept));
        thread::Builder::new().stack_size(64 * 1024).spawn(move || work(&listener, &kept))?;
    }
    writeln!(io::stdout(), "{}", listener.local_addr()?)?;
    super::process::wait_for_parent()
}

fn work(listener: &TcpListener, kept: &Mutex<Vec<TcpStream>>) {
    let mut buffer = vec![b'.'; 64 * 1024];
    loop {
        // A failed connection is the visitor's to report; a failed accept passes.
        if let Ok((stream, _)) = listener.accept() {
            let _ = serve(stream, kept, &mut buffer);
        }
    }
}

fn serve(mut stream: TcpStream, kept: &Mutex<Vec<TcpStream>>, buffer: &mut [u8]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut flight = [0; HELLO.len() + COMMAND_BYTES];
    stream.read_exact(&mut flight)?;
    let (hello, command) = flight.split_at(HELLO.len());
    let (before, after) = around_name();
    let begins = hello.starts_with(&before[..RANDOM.start])
        && hello[RANDOM.end..].starts_with(&before[RANDOM.end..]);
    if !(begins && hello.ends_with(after)) {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut bytes = [0; COMMAND_BYTES];
    bytes.copy_from_slice(command);
    match Command::parse(bytes)? {
        Command::Download(mut left) => {
            while left > 0 {
                let n = left.min(buffer.len() as u64);
                stream.write_all(&buffer[..n as usize])?;
                left -= n;
            }
        }
        Command::Upload(mut left) => {
            while left > 0 {
                let n = stream.read(buffer)? as u64;
                if n == 0 {
                    break;
                }
                left -= n.min(left);
            }
            stream.write_all(b".")?;
        }
        Command::Echo => loop {
            let n = stream.read(buffer)?;
            if n == 0 {
                return Ok(());
            }
            stream.write_all(&buffer[..n])?;
        },
        Command::Idle => {
            stream.write_all(b".")?;
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
            return Ok(());
        }
        Command::LetGo => {
            kept.lock().unwrap_or_else(PoisonError::into_inner).clear();
            stream.write_all(b".")?;
        }
    }
    while stream.read(buffer)? > 0 {}
    Ok(())
}
