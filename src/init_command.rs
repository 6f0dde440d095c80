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

use underpass::config::{
    ClientConfig, Config, HostPort, NoiseConfig, ServerConfig, ServiceKind, Transport,
};
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
    let (homes, servers): (Vec<&String>, Vec<&String>) =
        asked.words.iter().partition(|word| word.contains('='));
    let server = match servers[..] {
        [] => None,
        [one] => Some(homes::server(one)?),
        [one, other, ..] => {
            return Err(format!("two servers, {one} and {other}: a home is NAME=HOST"));
        }
    };
    let homes = homes.into_iter().map(|word| Home::parse(word));
    let homes = homes.collect::<Result<Vec<Home>, String>>()?;
    match (asked.add, server, &homes[..]) {
        (_, _, []) => Err("no home is named: NAME=HOST, such as pi=pi.example.com".into()),
        (true, server, homes) => add(&asked.dir, server, homes),
        (false, Some(server), homes) => begin(&asked.dir, &server, homes),
        (false, None, _) => {
            Err("the VPS is missing: init vps.example.com NAME=HOST (or init --add NAME=HOST)"
                .into())
        }
    }
}

/// A new set.
fn begin(dir: &Path, server: &HostPort, homes: &[Home]) -> Result<String, String> {
    let mut claims = Claims::default();
    homes.iter().try_for_each(|home| claims.take(home, ServiceKind::Web))?;
    let private = random()?;
    let public = STANDARD.encode(noise::public_key(private));
    let private = STANDARD.encode(private);
    let tokens = tokens(homes)?;
    let at = server_place(dir);
    let text = texts::server(server, homes);
    let secrets = |name: &str| match name {
        PRIVATE_KEY => Some(private.clone()),
        _ => token_of(homes, &tokens, name),
    };
    Config::parse(&at.display().to_string(), &without_env_file(&text), &secrets)
        .map_err(|error| error.to_string())?;
    let mut variables = vec![(PRIVATE_KEY, &*private)];
    variables.extend(homes.iter().zip(&tokens).map(|(home, token)| (&*home.variable, &**token)));
    let mut set = vec![
        NewFile::open(at, text),
        NewFile::secret(dir.join(ENV_FILE), texts::server_env(&variables)),
    ];
    for (home, token) in homes.iter().zip(&tokens) {
        set.extend(client(dir, home, token, server, &public, ServiceKind::Web)?);
    }
    files::write(dir, &set)?;
    Ok(texts::steps(dir, server, homes))
}

/// More homes for the server whose file is there.
fn add(dir: &Path, server: Option<HostPort>, homes: &[Home]) -> Result<String, String> {
    let at = server_place(dir);
    let name = at.display().to_string();
    let config = Config::load(&at).map_err(|error| error.to_string())?;
    let Some(known) = config.server else {
        return Err(format!("{name}: has no [server]"));
    };
    let kind = match (&known.http_addrs[..], &known.https_addrs[..]) {
        ([], []) => return Err(format!("{name}: has neither http_addr nor https_addr")),
        ([], _) => ServiceKind::Https,
        (_, []) => ServiceKind::Http,
        _ => ServiceKind::Web,
    };
    let public = STANDARD.encode(noise::public_key(private_key(&known).ok_or_else(|| {
        format!("{name}: without a Noise key of its own, which a new home would have to know")
    })?));
    let server = match server {
        Some(server) => {
            let port = known.bind_addrs.first().map_or(server.port, |addr| addr.port());
            HostPort { port, ..server }
        }
        None => remote_addr(dir).ok_or_else(|| {
            format!(
                "no client.toml below {} says where the server is: init VPS --add NAME=HOST",
                dir.display()
            )
        })?,
    };
    let mut claims = Claims::of(&known);
    homes.iter().try_for_each(|home| claims.take(home, kind))?;
    let tokens = tokens(homes)?;
    let lines: String = homes.iter().map(|home| texts::service(home, kind)).collect();
    // As it will be once they are in it.
    let text =
        fs::read_to_string(&at).map_err(|error| format!("{name}: cannot read it: {error}"))?;
    let env = |name: &str| token_of(homes, &tokens, name).or_else(|| std::env::var(name).ok());
    Config::parse(&name, &format!("{text}\n{lines}"), &env).map_err(|error| error.to_string())?;
    let mut set = Vec::new();
    for (home, token) in homes.iter().zip(&tokens) {
        set.extend(client(dir, home, token, &server, &public, kind)?);
    }
    files::write(dir, &set)?;
    Ok(texts::additions(dir, &server, homes, &tokens, &lines))
}

/// A home's two files, tried.
fn client(
    dir: &Path,
    home: &Home,
    token: &str,
    server: &HostPort,
    public: &str,
    kind: ServiceKind,
) -> Result<[NewFile; 2], String> {
    let dir = dir.join(&home.name);
    let at = dir.join(CLIENT_FILE);
    let text = texts::client(server, public, home, kind);
    let env = |name: &str| (name == home.variable).then(|| token.to_owned());
    Config::parse(&at.display().to_string(), &without_env_file(&text), &env)
        .map_err(|error| error.to_string())?;
    let secrets = texts::client_env(home, token);
    Ok([NewFile::open(at, text), NewFile::secret(dir.join(ENV_FILE), secrets)])
}

fn server_place(dir: &Path) -> PathBuf {
    dir.join(SERVER_FILE)
}

/// To be tried before there is an `.env`; the lines keep their numbers.
fn without_env_file(text: &str) -> String {
    text.replacen(ENV_LINE, "", 1)
}

fn token_of(homes: &[Home], tokens: &[String], variable: &str) -> Option<String> {
    let found = homes.iter().position(|home| home.variable == variable)?;
    tokens.get(found).cloned()
}

fn private_key(server: &ServerConfig) -> Option<[u8; 32]> {
    let Transport::Noise(NoiseConfig { local_private_key: Some(key), .. }) = &server.transport
    else {
        return None;
    };
    key.expose().try_into().ok()
}

/// Where the homes of a set dial to.
fn remote_addr(dir: &Path) -> Option<HostPort> {
    let mut clients: Vec<PathBuf> =
        fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path().join(CLIENT_FILE)).collect();
    clients.sort();
    let client = |path: &PathBuf| -> Option<ClientConfig> { Config::load(path).ok()?.client };
    clients.iter().find_map(client).map(|client| client.remote_addr)
}

fn tokens(homes: &[Home]) -> Result<Vec<String>, String> {
    let token = |_| {
        let bytes = random()?;
        Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    };
    homes.iter().map(token).collect()
}

fn random() -> Result<[u8; 32], String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| format!("no key: {error}"))?;
    Ok(bytes)
}
