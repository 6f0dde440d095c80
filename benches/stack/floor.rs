//! The floor: what no tunnel can go below. One thread that reads 64 KB, encrypts, writes: one
//! message and one write for each read, as cheap as it can be had. Or, where nothing is encrypted,
//! one that has the kernel move 64 KB into a pipe and out of it.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use rustix::pipe::{SpliceFlags, pipe, splice};
use snow::{Builder, TransportState};

use super::home::Command;

/// Which floor.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Floor {
    /// With the cipher of this Noise pattern.
    Encrypt(String),
    Splice,
}

impl Floor {
    /// What [`run`] is told.
    pub(crate) fn word(&self) -> &str {
        match self {
            Floor::Encrypt(pattern) => pattern,
            Floor::Splice => SPLICE,
        }
    }
}

impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Floor::Encrypt(pattern) => {
                let cipher = pattern.split('_').nth(3).unwrap_or(pattern);
                write!(f, "floor: read 64 KB, encrypt ({cipher}), write")
            }
            Floor::Splice => write!(f, "floor: splice 64 KB into a pipe and out of it"),
        }
    }
}

const SPLICE: &str = "splice";
/// What a pipe holds, unless told otherwise.
const PIPE_BYTES: usize = 64 * 1024;
/// The longest Noise message.
const MESSAGE_BYTES: usize = 65_535;
/// What one read takes. A little below the longest that a message holds: with its tag and its
/// length it still fits into one segment of loopback (MTU 65,536), else each message costs two.
const CHUNK_BYTES: usize = 65_000;
/// The length before each message on a stream.
const LENGTH_BYTES: usize = 2;

/// The role `floor`: says its address on standard output, then passes one connection on to the
/// home at `sink`, as [`Floor::word`] says.
pub(crate) fn run(word: &str, sink: &str) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    writeln!(io::stdout(), "{}", listener.local_addr()?)?;
    let (from, _) = listener.accept()?;
    let mut to = TcpStream::connect(sink)?;
    to.set_nodelay(true)?;
    to.write_all(&Command::Upload(u64::MAX).first_flight(0))?;
    if word == SPLICE {
        splice_on(from, to)?;
    } else {
        encrypt_on(from, to, transport(word).map_err(io::Error::other)?)?;
    }
    super::process::wait_for_parent()
}

fn splice_on(mut from: TcpStream, to: TcpStream) -> io::Result<()> {
    let (pipe_out, pipe_in) = pipe()?;
    loop {
        let mut held = splice(&from, None, &pipe_in, None, PIPE_BYTES, SpliceFlags::MOVE)?;
        if held == 0 {
            return from.write_all(b".");
        }
        while held > 0 {
            held -= splice(&pipe_out, None, &to, None, held, SpliceFlags::MOVE)?;
        }
    }
}

fn encrypt_on(
    mut from: TcpStream,
    mut to: TcpStream,
    mut cipher: TransportState,
) -> io::Result<()> {
    let mut plain = vec![0; CHUNK_BYTES];
    let mut sealed = vec![0; LENGTH_BYTES + MESSAGE_BYTES];
    loop {
        let n = from.read(&mut plain)?;
        if n == 0 {
            return from.write_all(b".");
        }
        let (length, message) = sealed.split_at_mut(LENGTH_BYTES);
        let n = cipher.write_message(&plain[..n], message).map_err(io::Error::other)?;
        length.copy_from_slice(&(n as u16).to_be_bytes());
        to.write_all(&sealed[..LENGTH_BYTES + n])?;
    }
}

/// The initiator's end of a session whose handshake was made on the spot.
fn transport(pattern: &str) -> Result<TransportState, snow::Error> {
    let keys = Builder::new(pattern.parse()?).generate_keypair()?;
    let mut initiator =
        Builder::new(pattern.parse()?).remote_public_key(&keys.public)?.build_initiator()?;
    let mut responder =
        Builder::new(pattern.parse()?).local_private_key(&keys.private)?.build_responder()?;
    let (mut wire, mut rest) = ([0; MESSAGE_BYTES], [0; MESSAGE_BYTES]);
    let n = initiator.write_message(&[], &mut wire)?;
    responder.read_message(&wire[..n], &mut rest)?;
    let n = responder.write_message(&[], &mut wire)?;
    initiator.read_message(&wire[..n], &mut rest)?;
    initiator.into_transport_mode()
}
