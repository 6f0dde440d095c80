//! The set-up under test: a VPS, and clients at home.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine;

use crate::harness::{
    PATIENCE, Proc, SECRET, Scratch, free_port, own_address, raise_descriptor_limit, wait_until,
};
use crate::home::{Home, Site};
use crate::visitor::{Answer, Curl, Seen, home, visit};

/// The pattern when a configuration names none.
pub(crate) const DEFAULT_PATTERN: &str = "Noise_NK_25519_ChaChaPoly_BLAKE2s";

/// A static key pair in base64, as configuration files have it.
pub(crate) struct Keys {
    pub(crate) private: String,
    pub(crate) public: String,
}

impl Keys {
    /// Made by snow, not by the program: so `--genkey` and this check each other.
    pub(crate) fn new() -> Keys {
        let pair = snow::Builder::new(DEFAULT_PATTERN.parse().unwrap()).generate_keypair().unwrap();
        let encode = |key: &[u8]| base64::engine::general_purpose::STANDARD.encode(key);
        Keys { private: encode(&pair.private), public: encode(&pair.public) }
    }
}

/// How a test wants its tunnel.
#[derive(Clone, Copy)]
pub(crate) enum Transport {
    /// The default pattern.
    Noise,
    /// Another one; all keys are given to both sides.
    Pattern(&'static str),
    /// No encryption.
    Tcp,
}

/// Addresses, keys and files of one server and its clients.
pub(crate) struct Vps {
    pub(crate) dir: Scratch,
    pub(crate) ip: Ipv4Addr,
    /// Where clients dial in.
    pub(crate) tunnel: SocketAddr,
    /// The TLS entry.
    pub(crate) https: SocketAddr,
    pub(crate) transport: Transport,
    pub(crate) server_keys: Keys,
    pub(crate) client_keys: Keys,
    /// More lines for `[server]`.
    pub(crate) server_extra: String,
    /// More lines for `[client]`.
    pub(crate) client_extra: String,
    /// What the client dials, if not [`Vps::tunnel`] itself.
    pub(crate) dial: Option<SocketAddr>,
    /// How the programs are started, for instance by `prlimit`.
    pub(crate) wrapper: Vec<String>,
    /// The home of [`Vps::ready_service`].
    pub(crate) ready: Home,
}

impl Vps {
    pub(crate) fn new() -> Vps {
        raise_descriptor_limit();
        let ip = own_address();
        Vps {
            dir: Scratch::new(),
            ip,
            tunnel: free_port(ip),
            https: free_port(ip),
            transport: Transport::Noise,
            server_keys: Keys::new(),
            client_keys: Keys::new(),
            server_extra: String::new(),
            client_extra: String::new(),
            dial: None,
            wrapper: Vec::new(),
            ready: Home::named(ip, "ready"),
        }
    }

    pub(crate) fn with(transport: Transport) -> Vps {
        Vps { transport, ..Vps::new() }
    }

    pub(crate) fn server_file(&self, services: &str) -> String {
        let (tunnel, https, extra) = (self.tunnel, self.https, &self.server_extra);
        let private = &self.server_keys.private;
        let transport = match self.transport {
            Transport::Tcp => "type = \"tcp\"\n".into(),
            Transport::Noise => format!(
                "type = \"noise\"\n[server.transport.noise]\nlocal_private_key = \"{private}\"\n"
            ),
            Transport::Pattern(pattern) => format!(
                "type = \"noise\"\n[server.transport.noise]\npattern = \"{pattern}\"\n\
                 local_private_key = \"{private}\"\nremote_public_key = \"{}\"\n",
                self.client_keys.public
            ),
        };
        format!(
            "[server]\nbind_addr = \"{tunnel}\"\nhttps_addr = \"{https}\"\n{extra}\n\
             [server.transport]\n{transport}{services}"
        )
    }

    pub(crate) fn client_file(&self, services: &str) -> String {
        let (dial, extra) = (self.dial.unwrap_or(self.tunnel), &self.client_extra);
        let public = &self.server_keys.public;
        let transport = match self.transport {
            Transport::Tcp => "type = \"tcp\"\n".into(),
            Transport::Noise => format!(
                "type = \"noise\"\n[client.transport.noise]\nremote_public_key = \"{public}\"\n"
            ),
            Transport::Pattern(pattern) => format!(
                "type = \"noise\"\n[client.transport.noise]\npattern = \"{pattern}\"\n\
                 local_private_key = \"{}\"\nremote_public_key = \"{public}\"\n",
                self.client_keys.private
            ),
        };
        format!(
            "[client]\nremote_addr = \"{dial}\"\n{extra}\n[client.transport]\n{transport}{services}"
        )
    }

    /// Starts the server and waits until it listens.
    pub(crate) fn server(&self, services: &str) -> Proc {
        let services = services.to_owned() + &server_service("ready", &["ready.test"]);
        let server = self.underpass("server", "--server", &self.server_file(&services));
        let listens = |address| std::net::TcpStream::connect(address).is_ok();
        wait_until(PATIENCE, "the server listens", || listens(self.tunnel) && listens(self.https));
        server
    }

    /// Starts a client; whoever needs it visits until it answers.
    pub(crate) fn client(&self, name: &str, services: &str) -> Proc {
        self.underpass(name, "--client", &self.client_file(services))
    }

    /// A further service for the end of a client's list: when it answers, all before it do.
    pub(crate) fn ready_service(&self) -> String {
        client_service("ready", self.ready.address)
    }

    #[track_caller]
    pub(crate) fn wait_ready(&self) {
        self.wait_served("ready.test", "ready");
    }

    /// Starts a client and waits until it serves, without a visit to its homes.
    #[track_caller]
    pub(crate) fn client_ready(&self, name: &str, services: &str) -> Proc {
        let client = self.client(name, &(services.to_owned() + &self.ready_service()));
        self.wait_ready();
        client
    }

    pub(crate) fn underpass(&self, name: &str, role: &str, file: &str) -> Proc {
        let file = self.dir.write(&format!("{name}.toml"), file);
        let program = program(role);
        let wrapper = self.wrapper.iter().map(String::as_str);
        let words: Vec<&str> = wrapper.chain(program.split(' ')).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(role).arg(file);
        match std::env::var("E2E_LOG") {
            Ok(level) => command.env("RUST_LOG", level),
            Err(_) => command.env_remove("RUST_LOG"),
        };
        Proc::start(name, &self.dir, &command)
    }

    /// Waits until a bare visitor that asks for `host` is answered by the home `name`.
    #[track_caller]
    pub(crate) fn wait_served(&self, host: &str, name: &str) {
        self.wait_seen(host, &home(name));
    }

    /// Waits until a bare visitor that asks for `host` sees `expected`.
    #[track_caller]
    pub(crate) fn wait_seen(&self, host: &str, expected: &Seen) {
        let mut last = None;
        let start = Instant::now();
        while last.as_ref() != Some(expected) {
            let what = format!("{host} gives {expected:?}, last seen {last:?}");
            assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
            std::thread::sleep(Duration::from_millis(10));
            last = Some(visit(self.https, host));
        }
    }
}

/// The program for a role, with what it takes to run it: `E2E_SERVER`, `E2E_CLIENT`, or the one
/// just built.
fn program(role: &str) -> String {
    let variable = if role == "--server" { "E2E_SERVER" } else { "E2E_CLIENT" };
    std::env::var(variable).unwrap_or_else(|_| env!("CARGO_BIN_EXE_underpass").to_owned())
}

/// A service of the TLS entry in the server's file.
pub(crate) fn server_service(name: &str, hosts: &[&str]) -> String {
    format!(
        "[server.services.{name}]\ntype = \"https\"\ntoken = \"{SECRET}-{name}\"\n\
         hosts = {hosts:?}\n"
    )
}

/// The same in a client's file.
pub(crate) fn client_service(name: &str, home: SocketAddr) -> String {
    format!(
        "[client.services.{name}]\ntype = \"https\"\ntoken = \"{SECRET}-{name}\"\n\
         local_https_addr = \"{home}\"\n"
    )
}

/// A service with a port of its own, in the server's file.
pub(crate) fn server_port(name: &str, bind: SocketAddr) -> String {
    format!("[server.services.{name}]\ntoken = \"{SECRET}-{name}\"\nbind_addr = \"{bind}\"\n")
}

/// The same in a client's file.
pub(crate) fn client_port(name: &str, home: SocketAddr) -> String {
    format!("[client.services.{name}]\ntoken = \"{SECRET}-{name}\"\nlocal_addr = \"{home}\"\n")
}

/// The counts once they have not changed for a while: what later counts are compared with.
pub(crate) fn settled(processes: &[&Proc]) -> Vec<usize> {
    let count = || processes.iter().map(|process| process.descriptors()).collect::<Vec<_>>();
    let mut last = (count(), Instant::now());
    wait_until(PATIENCE * 2, "the number of descriptors settles", || {
        let now = count();
        if now != last.0 {
            last = (now, Instant::now());
        }
        last.1.elapsed() > Duration::from_millis(1500)
    });
    last.0
}

/// No descriptor is left over: each count comes back to `before` or below.
#[track_caller]
pub(crate) fn returns_to(before: &[usize], processes: &[&Proc]) {
    let mut now = Vec::new();
    let start = Instant::now();
    while now.is_empty() || now.iter().zip(before).any(|(now, before)| now > before) {
        assert!(start.elapsed() < PATIENCE * 2, "descriptors: {before:?} before, {now:?} after");
        std::thread::sleep(Duration::from_millis(20));
        now = processes.iter().map(|process| process.descriptors()).collect();
    }
}

/// The picture: two nginx homes with certificates of their own, each behind its client.
pub(crate) struct Pair {
    pub(crate) server: Proc,
    pub(crate) pi_client: Proc,
    pub(crate) local_client: Proc,
    pub(crate) pi: Site,
    pub(crate) local: Site,
    pub(crate) vps: Vps,
}

impl Pair {
    pub(crate) fn start() -> Pair {
        let vps = Vps::new();
        let pi_names =
            ["pi.example.com", "*.pi.example.com", "a.b.pi.example.com", "door.example.org"];
        let pi = Site::start(&vps.dir, vps.ip, "pi", &pi_names);
        let local_names = ["local.example.com", "*.local.example.com"];
        let local = Site::start(&vps.dir, vps.ip, "local", &local_names);
        let server = vps.server(&Pair::server_services());
        let pi_client = vps.client("pi-client", &Pair::pi_services(&pi));
        let local_client = vps.client("local-client", &Pair::local_services(&local));
        let pair = Pair { server, pi_client, local_client, pi, local, vps };
        pair.wait_all_served();
        pair
    }

    pub(crate) fn server_services() -> String {
        server_service("pi", &["pi.example.com", "**.pi.example.com"])
            + &server_service("local", &["local.example.com", "**.local.example.com"])
            // An exact name below `**.pi.example.com`: it wins, and asks for a certificate.
            + &server_service("vault", &["vault.pi.example.com"])
            // Nobody claims this one.
            + &server_service("away", &["away.example.com"])
    }

    pub(crate) fn pi_services(pi: &Site) -> String {
        client_service("pi", pi.address) + &client_service("vault", pi.mtls_address)
    }

    pub(crate) fn local_services(local: &Site) -> String {
        client_service("local", local.address)
    }

    pub(crate) fn wait_all_served(&self) {
        self.wait_served("pi");
        self.wait_served("local");
    }

    /// Waits until `NAME.example.com` answers as the home of that name.
    #[track_caller]
    pub(crate) fn wait_served(&self, name: &str) {
        let mut last = String::new();
        let start = Instant::now();
        loop {
            let answer = self.whoami(&format!("{name}.example.com"), name);
            if answer.exit == 0 {
                assert!(answer.body.starts_with(&format!("{name} ")), "{answer:?}");
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{name} is not served: {last}");
            last = answer.errors;
        }
    }

    pub(crate) fn curl(&self, home: &str) -> Curl {
        let site = if home == "local" { &self.local } else { &self.pi };
        Curl::new(self.vps.https, &site.authority.own)
    }

    /// `/whoami` of `host`, whose certificate must be of `home`'s authority.
    pub(crate) fn whoami(&self, host: &str, home: &str) -> Answer {
        self.curl(home).args(&["--http1.1"]).get(&format!("https://{host}/whoami"))
    }

    pub(crate) fn processes(&self) -> [&Proc; 3] {
        [&self.server, &self.pi_client, &self.local_client]
    }
}
