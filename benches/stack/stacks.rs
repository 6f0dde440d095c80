//! The stacks: what is started for each, with which configuration.

use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use underpass::config::{Config, Transport};

use super::floor::Floor;
use super::home;
use super::load;
use super::process::{self, Running, Watchdog};
use super::report::Side;

/// One thing to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// rathole with Noise, HAProxy in front.
    Peer,
    /// underpass with rathole's pattern.
    ChaCha,
    /// underpass as it comes: no pattern in its files.
    Underpass,
    /// The same, and visitors' bytes cross unencrypted: `passthrough = "raw"`.
    Raw,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Peer, Kind::ChaCha, Kind::Underpass, Kind::Raw];

    pub(crate) fn from_word(word: &str) -> io::Result<Kind> {
        let found = Kind::ALL.into_iter().find(|kind| kind.word() == word.trim());
        found.ok_or_else(|| io::Error::other(format!("STACKS: there is no stack {word:?}")))
    }

    /// In `STACKS`.
    fn word(self) -> &'static str {
        match self {
            Kind::Peer => "peer",
            Kind::ChaCha => "underpass-chacha",
            Kind::Underpass => "underpass",
            Kind::Raw => "underpass-raw",
        }
    }

    /// The Noise pattern in its files, if there is one.
    fn pattern(self) -> Option<&'static str> {
        match self {
            Kind::Peer | Kind::ChaCha => Some(RATHOLE_PATTERN),
            Kind::Underpass | Kind::Raw => None,
        }
    }

    /// What its VPS side at least does with a visitor's bytes.
    pub(crate) fn floor(self) -> io::Result<Option<Floor>> {
        Ok(match self {
            Kind::Peer => None,
            Kind::ChaCha => Some(Floor::Encrypt(RATHOLE_PATTERN.to_owned())),
            Kind::Underpass => Some(Floor::Encrypt(default_pattern()?)),
            Kind::Raw => Some(Floor::Splice),
        })
    }

    /// Bytes of memory for one visitor on both sides, the kernel's too; rather too many.
    pub(crate) fn connection_bytes(self) -> u64 {
        1024 * if self == Kind::Peer { 400 } else { 50 }
    }

    /// The same for an idle home: nine channels, or a process of its own with five connections.
    pub(crate) fn home_bytes(self) -> u64 {
        if self == Kind::Peer { 9 * self.connection_bytes() } else { 4 * 1024 * 1024 }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Peer => "rathole + HAProxy",
            Kind::ChaCha => "underpass, ChaChaPoly",
            Kind::Underpass => "underpass",
            Kind::Raw => "underpass, raw",
        })
    }
}

/// rathole's default.
const RATHOLE_PATTERN: &str = "Noise_NK_25519_ChaChaPoly_BLAKE2s";

/// What underpass's client asks for on this machine when its file names no pattern.
pub(crate) fn default_pattern() -> io::Result<String> {
    let (_, public) = key_pair(RATHOLE_PATTERN)?;
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let text = client_file(Kind::Underpass, nowhere, &public, 0, nowhere);
    let config = Config::parse("client", &text, &|_| None).map_err(io::Error::other)?;
    let server = config.client.and_then(|client| client.servers.into_iter().next());
    let transport = server.map(|server| server.transport);
    match transport {
        Some(Transport::Noise(noise)) => noise.patterns.into_iter().next(),
        _ => None,
    }
    .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// How large a stack is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Services in the files of the VPS, each with one name.
    pub(crate) services: usize,
    /// The first so many are at home: a client is connected for each. At least 1: home 0 is the one
    /// that all visitors go to.
    pub(crate) homes: usize,
}

impl Shape {
    /// One of everything.
    pub(crate) const ONE: Shape = Shape { services: 1, homes: 1 };
}

/// Those of `wanted` whose programs are here, and a line for what is not.
pub(crate) fn available(wanted: &[Kind]) -> (Vec<Kind>, Vec<String>) {
    let absent: Vec<&str> = [("rathole", rathole()), ("haproxy", haproxy())]
        .into_iter()
        .filter_map(|(name, found)| found.is_none().then_some(name))
        .collect();
    let can = |kind: &Kind| *kind != Kind::Peer || absent.is_empty();
    let lines = if wanted.iter().all(can) {
        Vec::new()
    } else {
        let names = absent.join(" and ");
        vec![format!("{} was not measured: no {names} here (benches/README.md).", Kind::Peer)]
    };
    (wanted.iter().copied().filter(can).collect(), lines)
}

fn rathole() -> Option<PathBuf> {
    find_program("RATHOLE", "rathole")
}

fn haproxy() -> Option<PathBuf> {
    find_program("HAPROXY", "haproxy")
}

/// The file that `variable` names, or `name` on the search path, or where Debian puts daemons.
fn find_program(variable: &str, name: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Some(PathBuf::from(path)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// A running stack; it ends with this value.
pub(crate) struct Stack {
    pub(crate) kind: Kind,
    /// Where visitors go.
    pub(crate) front: SocketAddr,
    vps: Vec<Running>,
    home: Vec<Running>,
}

impl Stack {
    pub(crate) fn ids(&self, side: Side) -> Vec<u32> {
        let processes = match side {
            Side::Vps => &self.vps,
            Side::Home => &self.home,
        };
        processes.iter().map(Running::id).collect()
    }

    /// Processor time of each process so far.
    pub(crate) fn cpu(&self) -> io::Result<Cpu> {
        let mut ids = self.ids(Side::Vps);
        let vps = ids.len();
        ids.extend(self.ids(Side::Home));
        let mut all = process::settled_cpu(&ids)?;
        let home = all.split_off(vps);
        Ok(Cpu { vps: all, home })
    }

    /// From now on it has so long, while the watchdog lives.
    pub(crate) fn watched(&self, time: Duration) -> Watchdog {
        Watchdog::over(Side::BOTH.into_iter().flat_map(|side| self.ids(side)).collect(), time)
    }

    /// An error if one of its processes has ended by itself.
    pub(crate) fn check(&mut self) -> io::Result<()> {
        self.vps.iter_mut().chain(&mut self.home).try_for_each(Running::check)
    }

    /// Comes back once a visitor of home `number` has been served at `address`.
    fn wait_until_served(
        &mut self,
        address: SocketAddr,
        number: usize,
        end: Instant,
    ) -> io::Result<()> {
        while let Err(error) = load::probe(address, number) {
            self.check()?;
            if Instant::now() > end {
                let words = self.vps.iter().chain(self.home.first()).map(Running::last_words);
                let words = words.collect::<Vec<_>>().join("\n");
                let name = home::name(number);
                return Err(io::Error::other(format!("{name} is not served: {error}\n{words}")));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

/// Seconds of processor time, one figure for each process of a side.
pub(crate) struct Cpu {
    vps: Vec<f64>,
    home: Vec<f64>,
}

impl Cpu {
    pub(crate) fn since(&self, earlier: Cpu) -> Cpu {
        let minus =
            |now: &[f64], then: Vec<f64>| now.iter().zip(then).map(|(a, b)| a - b).collect();
        Cpu { vps: minus(&self.vps, earlier.vps), home: minus(&self.home, earlier.home) }
    }

    /// One side's seconds for each of `units`.
    pub(crate) fn each(&self, side: Side, units: f64) -> Vec<f64> {
        let seconds = match side {
            Side::Vps => &self.vps,
            Side::Home => &self.home,
        };
        seconds.iter().map(|seconds| seconds / units).collect()
    }
}

/// Where stacks are made: a folder for their files, which goes away with this value.
pub(crate) struct Workshop {
    folder: PathBuf,
    home: SocketAddr,
    /// Visitors' connections that HAProxy is to allow.
    visitors: usize,
}

impl Workshop {
    pub(crate) fn new(folder: PathBuf, home: SocketAddr, visitors: usize) -> Workshop {
        Workshop { folder, home, visitors }
    }

    /// Starts a stack and waits until it serves all its homes.
    pub(crate) fn start(&self, kind: Kind, shape: Shape) -> io::Result<Stack> {
        let end = Instant::now() + START_PATIENCE + START_PATIENCE_PER_HOME * shape.homes as u32;
        let mut stack = match kind {
            Kind::Peer => self.start_peer(shape, end)?,
            Kind::ChaCha | Kind::Underpass | Kind::Raw => self.start_underpass(kind, shape)?,
        };
        for number in 0..shape.homes {
            stack.wait_until_served(stack.front, number, end)?;
        }
        thread::sleep(Duration::from_millis(500));
        Ok(stack)
    }

    fn start_peer(&self, shape: Shape, end: Instant) -> io::Result<Stack> {
        let program = rathole().ok_or(io::ErrorKind::NotFound)?;
        let [tunnel, services, front] = free_addresses()?;
        let (private, public) = key_pair(RATHOLE_PATTERN)?;
        let mut server = format!(
            "[server]\nbind_addr = \"{tunnel}\"\n\
             [server.transport]\ntype = \"noise\"\n\
             [server.transport.noise]\nlocal_private_key = \"{private}\"\n"
        );
        for number in 0..shape.services {
            let address = service_address(number, services.port());
            server += &format!(
                "[server.services.home{number}]\ntoken = \"{TOKEN}\"\nbind_addr = \"{address}\"\n"
            );
        }
        let server = self.write("rathole-server.toml", &server)?;
        let vps = vec![self.run(&program, "--server", &server)?];
        let mut stack = Stack { kind: Kind::Peer, front, vps, home: Vec::new() };
        for first in (0..shape.homes).step_by(RATHOLE_SERVICES) {
            let numbers = first..shape.homes.min(first + RATHOLE_SERVICES);
            let text = self.rathole_client_file(tunnel, &public, numbers.clone());
            let client = self.write(&format!("rathole-client{first}.toml"), &text)?;
            stack.home.push(self.run(&program, "--client", &client)?);
            // Before HAProxy is there, which would try again only a second later.
            for number in numbers {
                let address = service_address(number, services.port());
                stack.wait_until_served(address, number, end)?;
            }
        }
        let router = self.write_router(front, services.port(), shape)?;
        let haproxy = haproxy().ok_or(io::ErrorKind::NotFound)?;
        stack.vps.push(self.run(&haproxy, "-f", &router)?);
        Ok(stack)
    }

    /// A control channel for each service: the process is as many clients as it has services.
    fn rathole_client_file(
        &self,
        tunnel: SocketAddr,
        public: &str,
        numbers: Range<usize>,
    ) -> String {
        let mut text = format!(
            "[client]\nremote_addr = \"{tunnel}\"\n\
             [client.transport]\ntype = \"noise\"\n\
             [client.transport.noise]\nremote_public_key = \"{public}\"\n"
        );
        for number in numbers {
            let home = self.home;
            text += &format!(
                "[client.services.home{number}]\ntoken = \"{TOKEN}\"\nlocal_addr = \"{home}\"\n"
            );
        }
        text
    }

    /// HAProxy's file, with the names in a map, which is its way to have many of them.
    fn write_router(&self, front: SocketAddr, port: u16, shape: Shape) -> io::Result<PathBuf> {
        let numbers = 0..shape.services;
        let lines: String =
            numbers.clone().map(|n| format!("{} home{n}\n", home::name(n))).collect();
        let map = self.write("haproxy.map", &lines)?;
        // One thread: the VPS has one processor. Without splicing, as Debian's example has it.
        let mut text = format!(
            "global\n  nbthread 1\n  maxconn {}\n\
             defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n\
             frontend tls\n  bind {front}\n  tcp-request inspect-delay 10s\n\
             \x20 tcp-request content accept if {{ req.ssl_hello_type 1 }}\n\
             \x20 use_backend %[req.ssl_sni,lower,map_str({})]\n",
            self.visitors,
            map.display(),
        );
        for number in numbers {
            let address = service_address(number, port);
            text += &format!("backend home{number}\n  server home {address}\n");
        }
        self.write("haproxy.cfg", &text)
    }

    fn start_underpass(&self, kind: Kind, shape: Shape) -> io::Result<Stack> {
        let [tunnel, front] = free_addresses()?;
        let (private, public) = key_pair(RATHOLE_PATTERN)?;
        let server =
            self.write("server.toml", &server_file(kind, tunnel, front, &private, shape))?;
        let program = std::env::var_os("UNDERPASS")
            .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_underpass")), PathBuf::from);
        let vps = vec![self.run(&program, "--server", &server)?];
        let mut stack = Stack { kind, front, vps, home: Vec::new() };
        for number in 0..shape.homes {
            let text = client_file(kind, tunnel, &public, number, self.home);
            let client = self.write(&format!("client{number}.toml"), &text)?;
            stack.home.push(self.run(&program, "--client", &client)?);
        }
        Ok(stack)
    }

    /// A process with this configuration; its log is beside that.
    fn run(&self, program: &Path, option: &str, config: &Path) -> io::Result<Running> {
        let mut command = Command::new(program);
        command.arg(option).arg(config);
        Running::start(command, &config.with_extension("log"))
    }

    fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn server_file(
    kind: Kind,
    tunnel: SocketAddr,
    front: SocketAddr,
    private: &str,
    shape: Shape,
) -> String {
    let mut text = format!(
        "[server]\nbind_addr = \"{tunnel}\"\nhttps_addr = \"{front}\"\n\
         [server.transport]\ntype = \"noise\"\n\
         [server.transport.noise]\nlocal_private_key = \"{private}\"\n{}",
        pattern_line(kind)
    );
    let passthrough = if kind == Kind::Raw { "passthrough = \"raw\"\n" } else { "" };
    for number in 0..shape.services {
        let name = home::name(number);
        text += &format!(
            "[server.services.home{number}]\ntype = \"https\"\ntoken = \"{TOKEN}\"\n\
             hosts = [\"{name}\"]\n{passthrough}"
        );
    }
    text
}

/// The client of home `number`.
fn client_file(
    kind: Kind,
    tunnel: SocketAddr,
    public: &str,
    number: usize,
    home: SocketAddr,
) -> String {
    format!(
        "[client]\nremote_addr = \"{tunnel}\"\n\
         [client.transport]\ntype = \"noise\"\n\
         [client.transport.noise]\nremote_public_key = \"{public}\"\n{}\
         [client.services.home{number}]\ntype = \"https\"\ntoken = \"{TOKEN}\"\n\
         local_addr = \"{home}\"\n",
        pattern_line(kind)
    )
}

fn pattern_line(kind: Kind) -> String {
    kind.pattern().map(|pattern| format!("pattern = \"{pattern}\"\n")).unwrap_or_default()
}

/// Services of one rathole client, each with nine connections; the next client is started when all
/// are up. rathole's server makes one handshake after another, each with 5 s from its accept, and
/// never gets through 1,000 services that come at once.
const RATHOLE_SERVICES: usize = 50;
/// For a stack to serve its first home.
const START_PATIENCE: Duration = Duration::from_secs(15);
/// For each home.
const START_PATIENCE_PER_HOME: Duration = Duration::from_millis(100);
/// Of no worth: everything here is on loopback and gone in minutes.
const TOKEN: &str = "a token for the bench";

/// A private and a public key for `pattern`, in base64.
fn key_pair(pattern: &str) -> io::Result<(String, String)> {
    let pattern = pattern.parse().map_err(io::Error::other)?;
    let keys = snow::Builder::new(pattern).generate_keypair().map_err(io::Error::other)?;
    Ok((STANDARD.encode(keys.private), STANDARD.encode(keys.public)))
}

/// Where rathole's server takes the visitors of home `number`: the same port of another loopback
/// address for each, so that no connection that is dialled meanwhile can have the port already.
fn service_address(number: usize, port: u16) -> SocketAddr {
    let [high, low] = u16::try_from(number).expect("below HOMES_MAX").to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(127, 2, high, low), port))
}

/// Loopback addresses with ports that were free a moment ago, all different.
fn free_addresses<const N: usize>() -> io::Result<[SocketAddr; N]> {
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    let mut held = Vec::new();
    for address in &mut addresses {
        let listener = TcpListener::bind(*address)?;
        *address = listener.local_addr()?;
        held.push(listener);
    }
    Ok(addresses)
}
