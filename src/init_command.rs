//! `underpass init`: the files of a server and of its homes, with keys and tokens that are new, and
//! what to do with them.
//!
//! ```text
//! DIR/server.toml  DIR/.env            for the VPS
//! DIR/NAME/client.toml  DIR/NAME/.env  for the home NAME
//! ```
//!
//! Nothing is given out that our own parser does not take, and nothing is overwritten.

mod files;
mod homes;
mod texts;

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use underpass::config::{Config, HostPort, NoiseConfig, ServerConfig, ServiceKind, Transport};
use underpass::proto::noise;

use files::NewFile;
use homes::{Claims, Home};
use texts::{CLIENT_FILE, ENV_FILE, ENV_LINE, PRIVATE_KEY, SERVER_FILE};

/// What stands on the command line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The VPS, and `NAME=HOST[,HOST...]` for each home.
    pub(crate) words: Vec<String>,
    /// Where the files are, or shall be.
    pub(crate) dir: PathBuf,
    /// More homes for the server that is there.
    pub(crate) add: bool,
}

/// Writes the files; the text says what to do with them.
pub(crate) fn run(asked: &Asked) -> Result<String, String> {
    let (mut homes, mut server) = (Vec::new(), None);
    for word in &asked.words {
        match (word.contains('='), &server) {
            (true, _) => homes.push(Home::parse(word)?),
            (false, None) => server = Some(homes::server(word)?),
            (false, Some(_)) => return Err(format!("{word}: a home is NAME=HOST; there is a VPS")),
        }
    }
    if homes.is_empty() {
        return Err("no home is named: NAME=HOST, such as pi=pi.example.com".into());
    }
    let dir = &*asked.dir;
    let at = dir.join(SERVER_FILE);
    let mut ground = match asked.add {
        true => Ground::found(&at, server)?,
        false => Ground::new(server)?,
    };
    homes.iter_mut().try_for_each(|home| {
        home.token = random()?.iter().map(|byte| format!("{byte:02x}")).collect();
        ground.claims.take(home, ground.kind)
    })?;
    let Ground { server, key, kind, text, .. } = ground;
    let private = STANDARD.encode(key);
    let public = STANDARD.encode(noise::public_key(key));
    let lines: String = homes.iter().map(|home| texts::service(home, kind)).collect();
    let text = text + &lines;
    let value = |name: &str| match homes.iter().find(|home| home.variable == name) {
        Some(home) => Some(home.token.clone()),
        None if asked.add => std::env::var(name).ok(),
        None => (name == PRIVATE_KEY).then(|| private.clone()),
    };
    let mut set = Vec::new();
    match asked.add {
        // As it will be once the lines are in it.
        true => try_it(&at, &text, &value)?,
        false => {
            try_it(&at, &without_env_file(&text), &value)?;
            set.push(NewFile::open(at, text));
            let secrets = texts::server_env(&private, &homes);
            set.push(NewFile::secret(dir.join(ENV_FILE), secrets));
        }
    }
    for home in &homes {
        let dir = dir.join(&home.name);
        let at = dir.join(CLIENT_FILE);
        let text = texts::client(&server, &public, home, kind);
        try_it(&at, &without_env_file(&text), &value)?;
        set.push(NewFile::open(at, text));
        set.push(NewFile::secret(dir.join(ENV_FILE), texts::client_env(home)));
    }
    files::write(dir, &set)?;
    Ok(match asked.add {
        true => texts::additions(dir, &server, &homes, &lines),
        false => texts::steps(dir, &server, &homes),
    })
}

/// What homes are added to.
struct Ground {
    /// Where they dial to.
    server: HostPort,
    /// The server's private one.
    key: [u8; 32],
    /// Of their services.
    kind: ServiceKind,
    claims: Claims,
    /// The server's file without them.
    text: String,
}

impl Ground {
    /// A server that is to be.
    fn new(server: Option<HostPort>) -> Result<Ground, String> {
        let server = server.ok_or(
            "the VPS is missing: init vps.example.com NAME=HOST (or init --add NAME=HOST)",
        )?;
        let text = texts::server(&server);
        let (kind, claims) = (ServiceKind::Web, Claims::default());
        Ok(Ground { server, key: random()?, kind, claims, text })
    }

    /// The server whose file is there.
    fn found(at: &Path, server: Option<HostPort>) -> Result<Ground, String> {
        let wrong = |reason: &str| Err(format!("{}: {reason}", at.display()));
        let config = Config::load(at).map_err(|error| error.to_string())?;
        let Some(known) = config.server else { return wrong("has no [server]") };
        let kind = match (&known.http_addrs[..], &known.https_addrs[..]) {
            ([], []) => return wrong("has neither http_addr nor https_addr"),
            ([], _) => ServiceKind::Https,
            (_, []) => ServiceKind::Http,
            _ => ServiceKind::Web,
        };
        let Some(key) = private_key(&known) else {
            return wrong("has no Noise key, of which a home has to know the public one");
        };
        let server = match server {
            Some(server) => {
                let port = known.bind_addrs.first().map_or(server.port, |addr| addr.port());
                HostPort { port, ..server }
            }
            None => match remote_addr(at) {
                Some(server) => server,
                None => {
                    return wrong(
                        "beside it no home's client.toml says where the server is: \
                         init VPS --add NAME=HOST",
                    );
                }
            },
        };
        match fs::read_to_string(at) {
            Ok(text) => {
                Ok(Ground { server, key, kind, claims: Claims::of(&known), text: text + "\n" })
            }
            Err(error) => wrong(&error.to_string()),
        }
    }
}

/// Whether our own parser takes it.
fn try_it(at: &Path, text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
    let parsed = Config::parse(&at.display().to_string(), text, env);
    parsed.map(|_| ()).map_err(|error| error.to_string())
}

/// To be tried before there is an `.env`; the lines keep their numbers.
fn without_env_file(text: &str) -> String {
    text.replacen(ENV_LINE, "", 1)
}

fn private_key(server: &ServerConfig) -> Option<[u8; 32]> {
    let Transport::Noise(NoiseConfig { local_private_key: Some(key), .. }) = &server.transport
    else {
        return None;
    };
    key.expose().try_into().ok()
}

/// Where the homes of a set dial to.
fn remote_addr(server_file: &Path) -> Option<HostPort> {
    let folders = fs::read_dir(server_file.parent()?.join(".")).ok()?.flatten();
    let mut clients =
        folders.filter_map(|folder| Config::load(&folder.path().join(CLIENT_FILE)).ok()?.client);
    // A set has one server; whoever has added more to a home's file adds them to this one's too.
    clients.next()?.servers.into_iter().next().map(|server| server.addr)
}

fn random() -> Result<[u8; 32], String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| format!("no key: {error}"))?;
    Ok(bytes)
}
