//! The stacks: what is started for each, with which configuration.

use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::home::NAME;
use super::load;
use super::process::{self, Running};
use super::report::Side;

/// One thing to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// rathole with Noise, HAProxy in front.
    Peer,
    /// underpass with the default cipher, ChaChaPoly: the same as rathole's.
    Underpass,
    /// underpass with AES-GCM.
    UnderpassAes,
}

impl Kind {
    pub(crate) fn from_word(word: &str) -> io::Result<Kind> {
        match word.trim() {
            "peer" => Ok(Kind::Peer),
            "underpass" => Ok(Kind::Underpass),
            "underpass-aes" => Ok(Kind::UnderpassAes),
            other => Err(io::Error::other(format!("STACKS: there is no stack {other:?}"))),
        }
    }

    /// The Noise pattern of underpass's stacks.
    pub(crate) fn noise_pattern(self) -> Option<&'static str> {
        match self {
            Kind::Peer => None,
            Kind::Underpass => Some("Noise_NK_25519_ChaChaPoly_BLAKE2s"),
            Kind::UnderpassAes => Some("Noise_NK_25519_AESGCM_BLAKE2s"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Peer => "rathole + HAProxy",
            Kind::Underpass => "underpass",
            Kind::UnderpassAes => "underpass, AES-GCM",
        })
    }
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

    /// Comes back once a visitor of `address` has been served.
    fn wait_until_served(&mut self, address: SocketAddr) -> io::Result<()> {
        const PATIENCE: Duration = Duration::from_secs(15);
        let end = Instant::now() + PATIENCE;
        while let Err(error) = load::probe(address) {
            for process in self.vps.iter_mut().chain(&mut self.home) {
                process.check()?;
            }
            if Instant::now() > end {
                let words = self.vps.iter().chain(&self.home).map(Running::last_words);
                let words = words.collect::<Vec<_>>().join("\n");
                return Err(io::Error::other(format!(
                    "{} does not serve: {error}\n{words}",
                    self.kind
                )));
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
}

impl Workshop {
    pub(crate) fn new(folder: PathBuf, home: SocketAddr) -> Workshop {
        Workshop { folder, home }
    }

    /// Starts a stack and waits until it serves.
    pub(crate) fn start(&self, kind: Kind) -> io::Result<Stack> {
        let stack = match kind.noise_pattern() {
            None => self.start_peer(kind)?,
            Some(pattern) => self.start_underpass(kind, pattern)?,
        };
        thread::sleep(Duration::from_millis(500));
        Ok(stack)
    }

    fn start_peer(&self, kind: Kind) -> io::Result<Stack> {
        let program = rathole().ok_or(io::ErrorKind::NotFound)?;
        let [tunnel, service, front] = free_addresses()?;
        let (private, public) = key_pair("Noise_NK_25519_ChaChaPoly_BLAKE2s")?;
        let home = self.home;
        let server = self.write(
            "rathole-server.toml",
            &format!(
                "[server]\nbind_addr = \"{tunnel}\"\n\
             [server.transport]\ntype = \"noise\"\n\
             [server.transport.noise]\nlocal_private_key = \"{private}\"\n\
             [server.services.home]\ntoken = \"{TOKEN}\"\nbind_addr = \"{service}\"\n"
            ),
        )?;
        let client = self.write(
            "rathole-client.toml",
            &format!(
                "[client]\nremote_addr = \"{tunnel}\"\n\
             [client.transport]\ntype = \"noise\"\n\
             [client.transport.noise]\nremote_public_key = \"{public}\"\n\
             [client.services.home]\ntoken = \"{TOKEN}\"\nlocal_addr = \"{home}\"\n"
            ),
        )?;
        // One thread: the VPS has one processor. Without splicing, as Debian's example has it.
        let router = self.write(
            "haproxy.cfg",
            &format!(
                "global\n  nbthread 1\n  maxconn 8000\n\
             defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n\
             frontend tls\n  bind {front}\n  tcp-request inspect-delay 10s\n\
             \x20 tcp-request content accept if {{ req.ssl_hello_type 1 }}\n\
             \x20 use_backend home if {{ req.ssl_sni -i {NAME} }}\n\
             backend home\n  server home {service}\n"
            ),
        )?;
        let run = |role: &str, config: &Path, log: &str| {
            let mut command = Command::new(&program);
            command.arg(role).arg(config);
            Running::start(command, &self.folder.join(log))
        };
        let vps = vec![run("--server", &server, "rathole-server.log")?];
        let home = vec![run("--client", &client, "rathole-client.log")?];
        let mut stack = Stack { kind, front, vps, home };
        stack.wait_until_served(service)?;
        let mut command = Command::new(haproxy().ok_or(io::ErrorKind::NotFound)?);
        command.args(["-db", "-f"]).arg(&router);
        stack.vps.push(Running::start(command, &self.folder.join("haproxy.log"))?);
        stack.wait_until_served(front)?;
        Ok(stack)
    }

    fn start_underpass(&self, kind: Kind, pattern: &str) -> io::Result<Stack> {
        let [tunnel, front] = free_addresses()?;
        let (private, public) = key_pair(pattern)?;
        let home = self.home;
        let server = self.write(
            "server.toml",
            &format!(
                "[server]\nbind_addr = \"{tunnel}\"\nhttps_addr = \"{front}\"\n\
             [server.transport]\ntype = \"noise\"\n\
             [server.transport.noise]\npattern = \"{pattern}\"\n\
             local_private_key = \"{private}\"\n\
             [server.services.home]\ntype = \"https\"\ntoken = \"{TOKEN}\"\nhosts = [\"{NAME}\"]\n"
            ),
        )?;
        let client = self.write(
            "client.toml",
            &format!(
                "[client]\nremote_addr = \"{tunnel}\"\n\
             [client.transport]\ntype = \"noise\"\n\
             [client.transport.noise]\npattern = \"{pattern}\"\n\
             remote_public_key = \"{public}\"\n\
             [client.services.home]\ntype = \"https\"\ntoken = \"{TOKEN}\"\n\
             local_addr = \"{home}\"\n"
            ),
        )?;
        let program = std::env::var_os("UNDERPASS")
            .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_underpass")), PathBuf::from);
        let run = |role: &str, config: &Path, log: &str| {
            let mut command = Command::new(&program);
            command.arg(role).arg(config);
            Running::start(command, &self.folder.join(log))
        };
        let vps = vec![run("--server", &server, "server.log")?];
        let home = vec![run("--client", &client, "client.log")?];
        let mut stack = Stack { kind, front, vps, home };
        stack.wait_until_served(front)?;
        Ok(stack)
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

/// Of no worth: everything here is on loopback and gone in minutes.
const TOKEN: &str = "a token for the bench";

/// A private and a public key for `pattern`, in base64.
fn key_pair(pattern: &str) -> io::Result<(String, String)> {
    let pattern = pattern.parse().map_err(io::Error::other)?;
    let keys = snow::Builder::new(pattern).generate_keypair().map_err(io::Error::other)?;
    Ok((STANDARD.encode(keys.private), STANDARD.encode(keys.public)))
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
