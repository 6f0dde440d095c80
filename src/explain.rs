//! Which service gets a name, and why: what `underpass explain` and the admin page say.

use std::net::IpAddr;

use crate::config::ServerConfig;
use crate::proto::route::{AmbiguousPath, Ask, Condition, Entry, Match};
use crate::wire::client_hello::Alpn;
use crate::wire::host::{HostName, parse_host};

/// For a name, or a name with a path, at both entries: lines for people.
pub fn explain(server: &ServerConfig, asked: &str) -> Vec<String> {
    let (name, target) = match asked.split_once('/') {
        Some((name, _)) => (name, Some(&asked.as_bytes()[name.len()..])),
        None => (asked, None),
    };
    let address = name.parse::<IpAddr>().map(HostName::Ip); // also IPv6 without brackets
    let (shown, http, https) = match address.or_else(|_| parse_host(name.as_bytes())) {
        Ok(host) => (show(&host), who_over_http(server, &host, target), who_over_tls(server, host)),
        Err(reject) => (
            format!("invalid: {reject}"),
            vec!["nobody: status 400".into()],
            vec!["nobody: a TLS alert".into()],
        ),
    };
    let of = |entry: &'static str, lines: Vec<String>| {
        lines.into_iter().map(move |line| format!("{entry:5}  {line}"))
    };
    let mut lines = vec![format!("name   {shown}")];
    lines.extend(of("http", http).chain(of("https", https)));
    lines
}

fn show(host: &HostName) -> String {
    match host {
        HostName::Dns(name) => name.to_string(),
        HostName::Ip(address) => address.to_string(),
        HostName::Empty => "no name".into(),
    }
}

/// For one target; without one, for `/` and for each prefix that decides about this name.
fn who_over_http(server: &ServerConfig, host: &HostName, target: Option<&[u8]>) -> Vec<String> {
    if let Some(target) = target {
        return vec![who(server, host, Ask::Http { target })];
    }
    let mut lines = vec![who(server, host, Ask::Http { target: b"/" })];
    for condition in conditions(server, Entry::Http) {
        let Condition::Path(prefix) = condition else { continue };
        let ask = Ask::Http { target: prefix.as_str().as_bytes() };
        if decides(server, host, ask, condition) {
            lines.push(who(server, host, ask));
        }
    }
    lines
}

/// Without ALPN, and for each protocol that decides about this name.
fn who_over_tls(server: &ServerConfig, host: HostName) -> Vec<String> {
    let (host, note) = match host {
        HostName::Ip(_) => (HostName::Empty, " (visitors send no SNI for an address)"),
        HostName::Dns(_) | HostName::Empty => (host, ""),
    };
    let bare = who(server, &host, Ask::Https { alpn: Alpn::NONE });
    let mut lines = vec![bare + note];
    for condition in conditions(server, Entry::Https) {
        let Condition::Alpn(protocol) = condition else { continue };
        // Its length was checked when it was read.
        let list = [&[protocol.len() as u8], protocol.as_bytes()].concat();
        let Ok(alpn) = Alpn::parse(&list) else { continue };
        if decides(server, &host, Ask::Https { alpn }, condition) {
            lines.push(who(server, &host, Ask::Https { alpn }));
        }
    }
    lines
}

/// Every condition of an entry once, in the order of the routes.
fn conditions(server: &ServerConfig, entry: Entry) -> Vec<&Condition> {
    let mut all: Vec<&Condition> = Vec::new();
    for condition in server.routes.list(entry).iter().filter_map(|route| route.condition) {
        if !all.contains(&condition) {
            all.push(condition);
        }
    }
    all
}

fn decides(server: &ServerConfig, host: &HostName, ask: Ask<'_>, condition: &Condition) -> bool {
    matches!(server.routes.find(host, ask), Ok(Some(found)) if found.condition == Some(condition))
}

fn who(server: &ServerConfig, host: &HostName, ask: Ask<'_>) -> String {
    let (key, listeners) = match ask.entry() {
        Entry::Http => ("http_addr", &server.http_addrs),
        Entry::Https => ("https_addr", &server.https_addrs),
    };
    if listeners.is_empty() {
        return format!("nobody: there is no {key}");
    }
    let admin = server.admin.as_ref().and_then(|admin| admin.host);
    if ask.entry() == Entry::Http && admin.is_some_and(|admin| *host == HostName::Dns(admin)) {
        return ADMIN.into();
    }
    match server.routes.find(host, ask) {
        Ok(Some(found)) => {
            format!("service {}, by {}", server.services[found.service].name, route(&found))
        }
        Ok(None) => "nobody: no pattern matches".into(),
        Err(AmbiguousPath) => "nobody: status 400, the path may be read in two ways".into(),
    }
}

/// What a service is found by.
pub fn route(found: &Match<'_>) -> String {
    match found.condition {
        Some(condition) => format!("{} with {condition}", found.pattern),
        None => found.pattern.into(),
    }
}

/// Who gets the name of `[server.admin]`.
pub const ADMIN: &str = "the admin page";
