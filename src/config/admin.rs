//! `[server.admin]` and `[client.admin]`: where numbers and the page are to be had, and by whom.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ConfigError;
use super::addr::Listeners;
use super::env_file::ReadFile;
use super::raw::{Keys, Place, Section, Text};
use crate::proto::htpasswd::Users;
use crate::proto::route::{Entry, RouteTable};
use crate::wire::host::Hostname;

/// `[server.admin]` or `[client.admin]`.
#[derive(Debug, Clone)]
pub struct AdminConfig {
    /// Ports and sockets of its own. None: it is at `host` alone.
    pub bind_addrs: Vec<AdminAddr>,
    /// The server's: requests for this name at the HTTP entry. Then there are users.
    pub host: Option<Hostname>,
    /// Who may come in. Nobody: whoever reaches it, for all ports are loopback ones. Whoever
    /// reaches a socket of the file system may come in, whatever stands here.
    pub users: Arc<Users>,
    /// Of `bind_addr`.
    pub(super) place: Place,
}

/// Where the admin door is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AdminAddr {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A socket in the file system; an absolute path.
    Unix(PathBuf),
}

impl AdminConfig {
    /// What to say when an address cannot be listened on: with file, line and key.
    pub fn cannot_listen(&self, at: &AdminAddr, error: &io::Error) -> io::Error {
        let missing = matches!(at, AdminAddr::Unix(_)) && error.kind() == io::ErrorKind::NotFound;
        let folder = if missing { "; its folder is missing" } else { "" };
        let reason = format!("cannot listen on {at}: {error}{folder}");
        io::Error::new(error.kind(), self.place.error(reason))
    }
}

impl fmt::Display for AdminAddr {
    /// As in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminAddr::Tcp(addr) => addr.fmt(f),
            AdminAddr::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// `[server.admin]`, when all that visitors can reach is known.
pub(super) fn read_server(
    server: &Section<'_>,
    file: ReadFile<'_>,
    listeners: &mut Listeners,
    http_addrs: &[SocketAddr],
    routes: &RouteTable,
    hints: &mut Vec<String>,
) -> Result<Option<AdminConfig>, ConfigError> {
    let Some(section) = server.section("admin", &SERVER_ADMIN_KEYS)? else { return Ok(None) };
    let mut admin = read(&section, file, listeners, hints)?;
    if let Some(text) = section.text("host")? {
        admin.host = Some(read_host(&text, &admin, http_addrs, routes)?);
        let reason = "a password to `http_addr` crosses the net in the clear, and who reads along \
                      has it: a `bind_addr` on loopback, through `ssh -L`, shows it to nobody";
        hints.push(text.place.warning(reason));
    }
    if admin.bind_addrs.is_empty() && admin.host.is_none() {
        return Err(missing(&section, ", or `host`"));
    }
    Ok(Some(admin))
}

/// `[client.admin]`. `listeners`: what a server in the same file listens on.
pub(super) fn read_client(
    client: &Section<'_>,
    file: ReadFile<'_>,
    listeners: &mut Listeners,
    hints: &mut Vec<String>,
) -> Result<Option<AdminConfig>, ConfigError> {
    let Some(section) = client.section("admin", &CLIENT_ADMIN_KEYS)? else { return Ok(None) };
    let admin = read(&section, file, listeners, hints)?;
    if admin.bind_addrs.is_empty() {
        return Err(missing(&section, ""));
    }
    Ok(Some(admin))
}

fn missing(section: &Section<'_>, or: &str) -> ConfigError {
    let place = section.place_of("bind_addr");
    place.error(format!("missing: where it is reached, such as `127.0.0.1:9333`{or}"))
}

/// What both roles have.
fn read(
    section: &Section<'_>,
    file: ReadFile<'_>,
    listeners: &mut Listeners,
    hints: &mut Vec<String>,
) -> Result<AdminConfig, ConfigError> {
    let users = read_users(section, file)?;
    let (mut bind_addrs, mut ports) = (Vec::new(), Vec::new());
    for text in section.texts("bind_addr")? {
        match text.value.strip_prefix(UNIX) {
            Some(path) => {
                check_path(path, &text.place)?;
                listeners.claim_path(path.into(), text.place)?;
                bind_addrs.push(AdminAddr::Unix(path.into()));
            }
            None => ports.push(text),
        }
    }
    let places: Vec<Place> = ports.iter().map(|text| text.place.clone()).collect();
    for (addr, place) in ports.iter().map(super::addr::parse_port).zip(places) {
        if addr?.ip().to_canonical().is_loopback() {
            continue;
        }
        if users.is_empty() {
            let reason = "without `users` or `users_file`, only a loopback address such as \
                          `127.0.0.1:9333` or a `unix:/path` is taken: everybody who reaches \
                          another one would be let in";
            return Err(place.error(reason));
        }
        let reason = "a password crosses the net in the clear where this address is reached over \
                      one that others use: `127.0.0.1:9333`, through `ssh -L`, shows it to nobody";
        hints.push(place.warning(reason));
    }
    bind_addrs.extend(listeners.claim(ports)?.into_iter().map(AdminAddr::Tcp));
    let users = Arc::new(users);
    Ok(AdminConfig { bind_addrs, host: None, users, place: section.place_of("bind_addr") })
}

/// Of a socket.
fn check_path(path: &str, place: &Place) -> Result<(), ConfigError> {
    let wrong = |reason: &str| Err(place.error(reason));
    if !Path::new(path).is_absolute() || path.ends_with('/') {
        return wrong("must be an absolute path: `unix:/run/underpass/admin.sock`");
    }
    if path.len() > PATH_BYTES || path.contains('\0') {
        return wrong("a socket's path has at most 107 bytes, none of them 0");
    }
    Ok(())
}

fn read_host(
    text: &Text,
    admin: &AdminConfig,
    http_addrs: &[SocketAddr],
    routes: &RouteTable,
) -> Result<Hostname, ConfigError> {
    let wrong = |reason: String| Err(text.place.error(reason));
    let host = match Hostname::parse(text.value.as_bytes()) {
        Ok(host) => host,
        Err(error) => {
            return wrong(format!("{error}: it is one name, such as `underpass.example.com`"));
        }
    };
    if admin.users.is_empty() {
        return wrong("needs `users` or `users_file`: everybody can reach it".into());
    }
    if http_addrs.is_empty() {
        return wrong("needs `http_addr` in [server], where its visitors come in".into());
    }
    if routes.list(Entry::Http).iter().any(|route| route.pattern == host.as_str()) {
        return wrong(
            "a service has this name in its `hosts`; one of both only can have it".into(),
        );
    }
    Ok(host)
}

/// `users` and `users_file`, together where both stand.
fn read_users(section: &Section<'_>, file: ReadFile<'_>) -> Result<Users, ConfigError> {
    let mut users = Users::default();
    for text in section.texts("users")? {
        // Traefik's label has several in one value.
        for (_, line) in lines(&text.value, &[',', '\n']) {
            users.add(line).map_err(|error| text.place.error(error.to_string()))?;
        }
    }
    if section.has("users") && users.is_empty() {
        let reason = "names no user: a line is USER:HASH, as `htpasswd -nB USER` prints it";
        return Err(section.place_of("users").error(reason));
    }
    if let Some(name) = section.text("users_file")? {
        add_file(&mut users, &name, file)?;
    }
    Ok(users)
}

fn add_file(users: &mut Users, name: &Text, file: ReadFile<'_>) -> Result<(), ConfigError> {
    let wrong = |reason: String| Err(name.place.error(reason));
    let bytes = match file(&name.value, FILE_BYTES) {
        Ok(bytes) if bytes.len() > FILE_BYTES => {
            return wrong(format!("the file has more than {FILE_BYTES} bytes"));
        }
        Ok(bytes) => bytes,
        Err(error) => return wrong(format!("cannot read the file: {error}")),
    };
    let path = name.place.beside(&name.value);
    let text = super::text(&path, bytes)?;
    let mut is_empty = true;
    for (number, line) in lines(text.strip_prefix('\u{feff}').unwrap_or(&text), &['\n']) {
        is_empty = false;
        users.add(line).map_err(|error| ConfigError {
            file: path.clone(),
            line: Some(number),
            key: String::new(),
            reason: error.to_string(),
        })?;
    }
    match is_empty {
        true => wrong("the file names no user; `htpasswd -B FILE USER` adds one".into()),
        false => Ok(()),
    }
}

/// Those that are neither empty nor a comment, with their numbers, from 1.
fn lines<'a>(text: &'a str, ends: &'a [char]) -> impl Iterator<Item = (usize, &'a str)> {
    let lines = (1..).zip(text.split(ends).map(str::trim));
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

pub(super) const SERVER_ADMIN_KEYS: Keys =
    Keys { known: &["bind_addr", "host", "users", "users_file"], elsewhere: None };
pub(super) const CLIENT_ADMIN_KEYS: Keys =
    Keys { known: &["bind_addr", "users", "users_file"], elsewhere: Some((&["host"], "server")) };

const UNIX: &str = "unix:";
/// Of `sun_path`, and a zero behind it (unix(7)).
const PATH_BYTES: usize = 107;
/// Hundreds of users.
const FILE_BYTES: usize = 64 * 1024;
