//! The floor: what no tunnel can go below. One thread that reads 64 KB, encrypts, writes.
//! One message and one write for each read, as cheap as it can be had.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use snow::{Builder, TransportState};

use super::home::Command;

/// The longest Noise message.
const MESSAGE_BYTES: usize = 65_535;
/// What one read takes. A little below the longest that a message holds: with its tag and its
/// length it still fits into one segment of loopback (MTU 65,536), else each message costs two.
const CHUNK_BYTES: usize = 65_000;
/// The length before each message on a stream.
const LENGTH_BYTES: usize = 2;

/// The role `floor`: says its address on standard output, then passes each connection on to the
/// home at `sink`, encrypted with `pattern`'s cipher.
pub(crate) fn run(pattern: &str, sink: &str) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    writeln!(io::stdout(), "{}", listener.local_addr()?)?;
    let (from, _) = listener.accept()?;
    let mut to = TcpStream::connect(sink)?;
    to.set_nodelay(true)?;
    to.write_all(&Command::Upload(u64::MAX).first_flight())?;
    let cipher = transport(pattern).map_err(io::Error::other)?;
    pass_on(from, to, cipher)?;
    super::process::wait_for_parent()
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, mut cipher: TransportState) -> io::Result<()> {
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
