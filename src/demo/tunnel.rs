//! The demo's server and clients: the real engines, each on a thread of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use underpass::config::Config;
use underpass::engine::client::Client;
use underpass::engine::core::Flow;
use underpass::engine::mio_net::{MioNet, Stopper};
use underpass::engine::server::Server;

/// For an engine to start and for it to stop; it takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// The secrets of one run.
pub(super) struct Secrets {
    private_key: String,
    public_key: String,
    /// One for each home.
    tokens: Vec<String>,
}

impl Secrets {
    /// Fresh ones for so many homes.
    pub(super) fn new(homes: usize) -> io::Result<Secrets> {
        let pattern = PATTERN.parse().map_err(io::Error::other)?;
        let keys = snow::Builder::new(pattern).generate_keypair().map_err(io::Error::other)?;
        let token = |_| super::random().map(|bytes: [u8; 32]| STANDARD.encode(bytes));
        Ok(Secrets {
            private_key: STANDARD.encode(keys.private),
            public_key: STANDARD.encode(keys.public),
            tokens: (0..homes).map(token).collect::<io::Result<_>>()?,
        })
    }
}

/// Only its key type matters: the configuration leaves the pattern at its default.
const PATTERN: &str = "Noise_NK_25519_ChaChaPoly_BLAKE2s";

/// What the tunnel needs to know of a home.
pub(super) struct Home<'a> {
    /// Its service's name.
    pub(super) name: &'a str,
    /// Its names: this one and all below it.
    pub(super) domain: &'a str,
    /// Its site, over TLS.
    pub(super) https: SocketAddr,
    /// Its site, without.
    pub(super) http: SocketAddr,
}

/// A server and one client for each home; they stop with this value.
pub(super) struct Tunnel {
    /// Where visitors' plain HTTP comes in.
    pub(super) http: SocketAddr,
    /// Where visitors' TLS comes in.
    pub(super) https: SocketAddr,
    /// Where clients dial in.
    pub(super) clients_dial: SocketAddr,
    /// The server last: its clients say goodbye first.
    _engines: Vec<Running>,
}

impl Tunnel {
    /// Everything is under way afterwards, not yet registered.
    pub(super) fn start(homes: &[Home], secrets: &Secrets) -> io::Result<Tunnel> {
        let config = parse("server", &server_file(homes, secrets))?.server;
        let config = config.ok_or(io::ErrorKind::InvalidInput)?;
        let (server, addresses) = Running::start("server", move |net| {
            let mut server = Server::new(config, net)?;
            Ok((server.local_addrs(), Box::new(move || server.turn())))
        })?;
        // In the order of the configuration; it has one of each.
        let [clients_dial, http, https] = addresses[..] else {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        };
        let mut engines = Vec::new();
        for (home, token) in homes.iter().zip(&secrets.tokens) {
            let text = client_file(home, token, clients_dial, &secrets.public_key);
            let config = parse("client", &text)?.client.ok_or(io::ErrorKind::InvalidInput)?;
            let (client, ()) = Running::start(home.name, move |net| {
                let mut client = Client::new(config, net)?;
                Ok(((), Box::new(move || client.turn())))
            })?;
            engines.push(client);
        }
        engines.push(server);
        Ok(Tunnel { http, https, clients_dial, _engines: engines })
    }
}

fn parse(name: &str, text: &str) -> io::Result<Config> {
    Config::parse(name, text, &|_| None).map_err(io::Error::other)
}

fn server_file(homes: &[Home], secrets: &Secrets) -> String {
    let mut text = format!(
        "[server]\n\
         bind_addr = \"127.0.0.1:0\"\n\
         http_addr = \"127.0.0.1:0\"\n\
         https_addr = \"127.0.0.1:0\"\n\
         [server.transport]\n\
         type = \"noise\"\n\
         [server.transport.noise]\n\
         local_private_key = \"{}\"\n",
        secrets.private_key,
    );
    for (Home { name, domain, .. }, token) in homes.iter().zip(&secrets.tokens) {
        text += &format!(
            "[server.services.{name}]\n\
             type = \"web\"\n\
             token = \"{token}\"\n\
             hosts = [\"{domain}\", \"**.{domain}\"]\n"
        );
    }
    text
}

fn client_file(home: &Home, token: &str, server: SocketAddr, public_key: &str) -> String {
    let Home { name, https, http, .. } = home;
    format!(
        "[client]\n\
         remote_addr = \"{server}\"\n\
         [client.transport]\n\
         type = \"noise\"\n\
         [client.transport.noise]\n\
         remote_public_key = \"{public_key}\"\n\
         [client.services.{name}]\n\
         type = \"web\"\n\
         token = \"{token}\"\n\
         local_http_addr = \"{http}\"\n\
         local_https_addr = \"{https}\"\n"
    )
}

/// One turn of an engine.
type Turn = Box<dyn FnMut() -> io::Result<Flow>>;

/// An engine on its thread.
struct Running {
    stopper: Stopper,
    /// Hears nothing; hangs up when the thread ends.
    alive: Receiver<()>,
}

impl Running {
    /// Runs what `build` makes on a new thread; what else `build` tells comes back.
    fn start<T: Send + 'static>(
        name: &str,
        build: impl FnOnce(MioNet) -> io::Result<(T, Turn)> + Send + 'static,
    ) -> io::Result<(Running, T)> {
        let (tells, told) = mpsc::channel();
        let (lives, alive) = mpsc::channel();
        let thread = thread::Builder::new().name(name.to_owned());
        let name = name.to_owned();
        thread.spawn(move || {
            let _lives: mpsc::Sender<()> = lives;
            let made = MioNet::new().and_then(|net| {
                let stopper = net.stopper();
                build(net).map(|(told, turn)| (stopper, told, turn))
            });
            let mut turn = match made {
                Ok((stopper, told, turn)) => {
                    let _ = tells.send(Ok((stopper, told)));
                    turn
                }
                Err(error) => {
                    let _ = tells.send(Err(error));
                    return;
                }
            };
            loop {
                match turn() {
                    Ok(Flow::Stop) => return,
                    Ok(_) => {}
                    Err(error) => return log::error!("{name}: {error}"),
                }
            }
        })?;
        let (stopper, told) = told.recv_timeout(PATIENCE).map_err(io::Error::other)??;
        Ok((Running { stopper, alive }, told))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopper.stop();
        // A thread that does not heed it ends with the process, soon.
        let _ = self.alive.recv_timeout(PATIENCE);
    }
}
