//! The servers of `[client]`: `remote_addr`, one or a list, or a table for each. What a table does
//! not say, `[client]` says for it.

use super::addr::hint_at_unspecified;
use super::error::ConfigError;
use super::raw::{Keys, Place, Section, Text};
use super::service::check_name;
use super::tokens::Tokens;
use super::transport::{self, Role};
use super::{ClientService, HostPort, Proxy, Secret, TcpOptions, Transport};
use crate::limits;

/// A server that the client has a session with, or a name that stands for several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteServer {
    /// Its table's; nothing, if it has none.
    pub name: String,
    /// Its tunnel address.
    pub addr: HostPort,
    /// `resolve = "all"`: each address of the name is a server.
    pub all_addresses: bool,
    /// How the tunnel is protected.
    pub transport: Transport,
    /// It is dialled through this.
    pub proxy: Option<Proxy>,
    /// Of services that have no token of their own, if it is not [`ClientService::token`].
    default_token: Option<Secret>,
}

impl RemoteServer {
    /// What proves the right to a service there.
    pub fn token_of<'a>(&'a self, service: &'a ClientService) -> &'a Secret {
        match &self.default_token {
            Some(token) if !service.has_own_token => token,
            Some(_) | None => &service.token,
        }
    }

    /// The file's token for all services there.
    pub(super) fn default_token(&self) -> Option<&Secret> {
        self.default_token.as_ref()
    }
}

/// At least one server, and the options of connections to all of them.
pub(super) fn read(
    section: &Section<'_>,
    role: Role,
    tokens: &mut Tokens,
    warnings: &mut Vec<String>,
    hints: &mut Vec<String>,
) -> Result<(Vec<RemoteServer>, TcpOptions), ConfigError> {
    let mut of_all = Vec::new();
    let (transport, tcp) = transport::read(section, role, &mut of_all)?;
    let like_all = |addr: HostPort, all_addresses| RemoteServer {
        name: String::new(),
        addr,
        all_addresses,
        transport: transport.clone(),
        proxy: tcp.proxy.clone(),
        default_token: None,
    };
    let all_addresses = reads_all(section)?;
    let (texts, tables) = (section.texts("remote_addr")?, section.sections("servers", &KEYS)?);
    let mut servers = Servers::default();
    let (mut is_like_all, mut have_tokens) = (!texts.is_empty(), texts.is_empty());
    for text in &texts {
        hints.extend(hint_at_unspecified(text, "the server's name or address"));
        servers.add(like_all(HostPort::parse_with_port(text)?, all_addresses), text, section)?;
    }
    for (name, table) in &tables {
        if section.has("remote_addr") {
            let reason = "remote_addr is here too: either that, or a table for each server";
            return Err(section.place_of("servers").error(reason));
        }
        check_name(name, table)?;
        let Some(text) = table.text("remote_addr")? else {
            return Err(table.place_of("remote_addr").error(MISSING));
        };
        hints.extend(hint_at_unspecified(&text, "the server's name or address"));
        let all_addresses = if table.has("resolve") { reads_all(table)? } else { all_addresses };
        let mut server = like_all(HostPort::parse_with_port(&text)?, all_addresses);
        server.name = name.clone();
        let (transport, proxy) = transport::read_one(table, role, warnings)?;
        is_like_all |= transport.is_none();
        server.transport = transport.unwrap_or(server.transport);
        server.proxy = proxy.or(server.proxy);
        server.default_token = tokens.of_server(name, table)?;
        have_tokens &= server.default_token.is_some();
        servers.add(server, &text, if table.has("resolve") { table } else { section })?;
    }
    let servers = servers.list;
    if let (true, Some(first)) = (have_tokens, servers.first()) {
        tokens.fall_back_on(first.default_token.clone(), section.place_of("default_token"));
    }
    if servers.is_empty() {
        let (key, reason) = match (section.has("remote_addr"), section.has("servers")) {
            (true, _) => ("remote_addr", "names no server"),
            (_, true) => ("servers", "names no server: each has a table `[client.servers.NAME]`"),
            _ => ("remote_addr", MISSING),
        };
        return Err(section.place_of(key).error(reason));
    }
    if is_like_all {
        warnings.append(&mut of_all);
    }
    Ok((servers, tcp))
}

/// Those read so far, and where.
#[derive(Default)]
struct Servers {
    list: Vec<RemoteServer>,
    places: Vec<Place>,
}

impl Servers {
    /// One more; `resolve` stands in `section`, if anywhere.
    fn add(
        &mut self,
        server: RemoteServer,
        text: &Text,
        section: &Section<'_>,
    ) -> Result<(), ConfigError> {
        let is_same = |other: &RemoteServer| {
            let HostPort { host, port } = &other.addr;
            *port == server.addr.port && host.eq_ignore_ascii_case(&server.addr.host)
        };
        if let Some(other) = self.list.iter().position(is_same) {
            let other = self.places[other].mention();
            return Err(text.place.error(format!("the same server as {other}")));
        }
        if self.list.len() == limits::SERVERS {
            let reason = format!("too many: a client has {} servers at most", limits::SERVERS);
            return Err(text.place.error(reason));
        }
        if server.all_addresses && server.proxy.is_some() {
            let reason = "must be one: the proxy looks the server's name up itself";
            return Err(section.place_of("resolve").error(reason));
        }
        self.places.push(text.place.clone());
        self.list.push(server);
        Ok(())
    }
}

/// Whether each address of a name is a server.
fn reads_all(section: &Section<'_>) -> Result<bool, ConfigError> {
    let Some(text) = section.text("resolve")? else { return Ok(false) };
    match &*text.value {
        "one" => Ok(false),
        "all" => Ok(true),
        _ => Err(text.place.error("must be one (the first that answers) or all")),
    }
}

const MISSING: &str = "missing: the server's bind_addr, such as `vps.example.com:2333`";

/// Those of `[client.servers.NAME]`.
pub(super) const KEYS: Keys =
    Keys { known: &["remote_addr", "resolve", "default_token", "transport"], elsewhere: None };
