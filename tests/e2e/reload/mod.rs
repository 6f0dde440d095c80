//! Another file while everything goes on, by SIGHUP: what changes, and above all what does not.

mod client;
mod load;
mod rathole;
mod server;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{PATIENCE, Proc, SECRET, wait_until};
use crate::house::Vps;
use crate::visitor::{client_hello, connect};

/// Writes a program's file anew and asks it to read that; waits until it has, or has said why not.
#[track_caller]
pub(crate) fn reload(vps: &Vps, program: &Proc, name: &str, file: &str) {
    let said = || program.log().matches("reloaded").count();
    let before = said();
    vps.dir.write(&format!("{name}.toml"), file);
    program.signal(Signal::HUP);
    wait_until(PATIENCE, &format!("{name} has reloaded"), || said() > before);
}

/// A visitor of an echo, which knows whether it is still the same connection.
pub(crate) struct Talk(TcpStream);

impl Talk {
    /// Over TLS, by name.
    #[track_caller]
    pub(crate) fn by_name(entry: SocketAddr, name: &str) -> Talk {
        Talk::begin(entry, &client_hello(Some(name)))
    }

    /// At a port of the service's own.
    #[track_caller]
    pub(crate) fn at_port(port: SocketAddr) -> Talk {
        Talk::begin(port, b"hello")
    }

    #[track_caller]
    fn begin(to: SocketAddr, first: &[u8]) -> Talk {
        let stream = connect(to).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut talk = Talk(stream);
        talk.say(first).unwrap();
        talk
    }

    /// Says something, and wants it back.
    fn say(&mut self, said: &[u8]) -> io::Result<()> {
        self.0.write_all(said)?;
        let mut heard = vec![0; said.len()];
        self.0.read_exact(&mut heard)?;
        assert_eq!(heard, said, "another one's bytes");
        Ok(())
    }

    #[track_caller]
    pub(crate) fn goes_on(&mut self) {
        self.say(b"still here?").expect("the visitor's connection goes on");
    }

    /// How long after `start` the connection has ended.
    #[track_caller]
    fn ends_after(mut self, start: Instant) -> Duration {
        let heard = self.0.read(&mut [0]);
        assert!(!matches!(heard, Ok(1..)), "a byte that nobody asked for");
        let timed_out = heard.is_err_and(|error| {
            matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
        });
        assert!(!timed_out, "the connection stands after {PATIENCE:?}");
        start.elapsed()
    }
}

/// A service of the TLS entry in the server's file, with tokens of its own.
fn with_tokens(name: &str, host: &str, tokens: &[&str]) -> String {
    let tokens: Vec<String> = tokens.iter().map(|token| format!("{SECRET}-{token}")).collect();
    format!(
        "[server.services.{name}]\ntype = \"https\"\ntoken = {tokens:?}\nhosts = [\"{host}\"]\n"
    )
}

/// The same in a client's file.
fn with_token(name: &str, home: SocketAddr, token: &str) -> String {
    format!(
        "[client.services.{name}]\ntype = \"https\"\ntoken = \"{SECRET}-{token}\"\n\
         local_https_addr = \"{home}\"\n"
    )
}
