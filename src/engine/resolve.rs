//! Names to addresses on a helper thread, because getaddrinfo blocks.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use super::worker::Worker;

/// Host and port.
type Question = (String, u16);
/// The addresses, at least one.
type Answer = io::Result<Vec<SocketAddr>>;

/// Literal addresses are answered at once, and start no thread.
pub(super) struct Resolver(Worker<Question, Answer>);

impl Resolver {
    /// `wake` is called, on either thread, when an answer is ready.
    pub(super) fn new(wake: Arc<dyn Fn() + Send + Sync>) -> Resolver {
        Resolver(Worker::new("resolver", look_up, wake))
    }

    /// Asks; every question gets exactly one answer.
    pub(super) fn ask(&mut self, query: u64, host: &str, port: u16) {
        if let Ok(ip) = host.parse::<IpAddr>() {
            self.0.answer_now(query, Ok(vec![SocketAddr::new(ip, port)]));
            return;
        }
        let gone = || Err(io::Error::other("there is no thread for it"));
        self.0.ask(query, (host.to_owned(), port), gone);
    }

    /// The next answer that is ready, with its question's number.
    pub(super) fn answer(&mut self) -> Option<(u64, Answer)> {
        self.0.answer()
    }
}

fn look_up((host, port): Question) -> Answer {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in (host, port).to_socket_addrs()? {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}
