//! Whether Traefik takes a container's labels at all: one label that it does not know, or whose
//! value it cannot read, and none of them counts.

use regex_lite::Regex;

use super::compose::{Container, Label};
use super::rule::Rule;
use super::settings::{Setting, parse_bool};
use super::static_config::Static;

/// Why Traefik takes none of the container's labels.
pub(super) fn refusal(known: &Static, container: &Container, labels: &Setting) -> Option<String> {
    if let Some(unread) = &container.unread {
        return Some(unread.clone());
    }
    let traefik = labels.get("traefik")?;
    let root = |label: &&Label| {
        let root = label.key.split('.').next().unwrap_or_default();
        root != "traefik" && root.eq_ignore_ascii_case("traefik")
    };
    let mut all = container.labels.iter().chain(&container.swarm_labels);
    if let Some(label) = all.find(root) {
        return Some(format!("{}: Traefik wants `traefik` in small letters", label.place));
    }
    if let Some(constraints) = &known.constraints
        && !meets(constraints, labels)
    {
        return Some(format!("it may not meet providers.docker.constraints ({constraints})"));
    }
    for (path, label) in traefik.leaves() {
        let names: Vec<&str> = path.split('.').collect();
        if !is_known(&names) {
            return Some(format!("{}: Traefik knows no label traefik.{path}", label.place));
        }
        let value = label.value.as_deref().unwrap_or_default();
        if !is_good(&names, value) {
            return Some(format!(
                "{}: Traefik cannot read the value of traefik.{path}",
                label.place
            ));
        }
    }
    missing_port(container, traefik)
}

/// A service without a port, in a container that Docker knows no port of.
fn missing_port(container: &Container, traefik: &Setting) -> Option<String> {
    if container.lowest_port().is_some() {
        return None;
    }
    for layer in ["http", "tcp", "udp"] {
        let Some(part) = traefik.get(layer) else { continue };
        let services = part.get("services").map(|all| &all.below[..]).unwrap_or_default();
        let lacks_port = |service: &&Setting| {
            let balancer = service.get("loadbalancer");
            let server = balancer.and_then(|balancer| balancer.get("server"));
            service.below.is_empty()
                || balancer.is_some()
                    && server.is_none_or(|s| s.get("port").is_none() && s.get("url").is_none())
        };
        if let Some(service) = services.iter().find(lacks_port) {
            return Some(format!("its service {} has no port", service.name));
        }
        if services.is_empty() && (layer == "http" || part.get("routers").is_some()) {
            return Some(format!("Docker knows no port of it, and its {layer} labels name none"));
        }
    }
    None
}

/// ``Label(`key`, `value`) && …``; what cannot be read is not met.
fn meets(constraints: &str, labels: &Setting) -> bool {
    fn holds(rule: &Rule, labels: &Setting) -> bool {
        match rule {
            Rule::And(all) => all.iter().all(|rule| holds(rule, labels)),
            Rule::Or(all) => all.iter().any(|rule| holds(rule, labels)),
            Rule::Not(rule) => known(rule) && !holds(rule, labels),
            Rule::Matcher(name, arguments) => match (&**name, &arguments[..]) {
                ("label", [key, value]) => labels.text(key) == Some(value),
                ("labelregex" | "labelregexp", [key, value]) => labels
                    .text(key)
                    .is_some_and(|text| Regex::new(value).is_ok_and(|regex| regex.is_match(text))),
                _ => false,
            },
        }
    }
    fn known(rule: &Rule) -> bool {
        rule.matchers().iter().all(|name| ["label", "labelregex", "labelregexp"].contains(name))
    }
    Rule::parse(constraints).is_ok_and(|rule| holds(&rule, labels))
}

/// Whether Traefik has a label of this name, below `traefik`.
fn is_known(names: &[&str]) -> bool {
    match names {
        ["enable"] | ["docker", "network" | "lbswarm" | "allownonrunning"] => true,
        ["swarm", "network" | "lbswarm"] => true,
        ["docker" | "swarm", ..] => false,
        ["http", "routers", _, rest @ ..] => is_router(rest, HTTP_ROUTER),
        ["tcp", "routers", _, rest @ ..] => is_router(rest, TCP_ROUTER),
        ["udp", "routers", _, rest @ ..] => is_router(rest, &["entrypoints", "service"]),
        ["http", "services", _, kind, rest @ ..] => match *kind {
            "loadbalancer" => {
                matches!(rest, ["server", key] if SERVER.contains(key))
                    || matches!(rest, [key, ..] if HTTP_BALANCER.contains(key))
            }
            kind => ["weighted", "mirroring", "failover", "highestrandomweight"].contains(&kind),
        },
        ["tcp", "services", _, "loadbalancer", rest @ ..] => match rest {
            ["server", key] => ["port", "tls", "address"].contains(key),
            ["proxyprotocol"] | ["proxyprotocol", "version"] => true,
            ["terminationdelay" | "serverstransport" | "healthcheck", ..] => true,
            _ => false,
        },
        ["udp", "services", _, "loadbalancer", "server", "port"] => true,
        ["tcp", "services", _, "weighted", ..] | ["udp", "services", _, "weighted", ..] => true,
        ["http", "middlewares", _, kind, ..] => HTTP_MIDDLEWARES.contains(kind),
        ["tcp", "middlewares", _, kind, ..] => TCP_MIDDLEWARES.contains(kind),
        ["http" | "tcp", "serverstransports" | "models", ..] => true,
        ["http" | "tcp" | "udp", ..] => false,
        ["tls", ..] => true,
        // Traefik leaves the others alone.
        _ => true,
    }
}

fn is_router(rest: &[&str], keys: &[&str]) -> bool {
    match rest {
        ["tls"] => keys.contains(&"tls"),
        ["tls", "passthrough"] => keys == TCP_ROUTER,
        ["tls", key, ..] => {
            keys.contains(&"tls") && ["options", "certresolver", "domains"].contains(key)
        }
        ["observability", ..] => keys == HTTP_ROUTER,
        [key] => keys.contains(key),
        _ => false,
    }
}

/// Whether Traefik can read a value: numbers and booleans.
fn is_good(names: &[&str], value: &str) -> bool {
    match names {
        ["enable"] | [.., "tls", "passthrough"] => parse_bool(value).is_some(),
        [.., "loadbalancer", "passhostheader"] => parse_bool(value).is_some(),
        ["http" | "tcp", "routers", _, "priority"] => value.parse::<i64>().is_ok(),
        [.., "proxyprotocol", "version"] => value.parse::<i64>().is_ok(),
        _ => true,
    }
}

const HTTP_ROUTER: &[&str] = &[
    "rule",
    "rulesyntax",
    "entrypoints",
    "middlewares",
    "service",
    "priority",
    "tls",
    "parentrefs",
];
const TCP_ROUTER: &[&str] =
    &["rule", "rulesyntax", "entrypoints", "middlewares", "service", "priority", "tls"];
const SERVER: &[&str] = &["port", "scheme", "url", "weight", "preservepath"];
const HTTP_BALANCER: &[&str] = &[
    "sticky",
    "strategy",
    "healthcheck",
    "passivehealthcheck",
    "passhostheader",
    "responseforwarding",
    "serverstransport",
];
const HTTP_MIDDLEWARES: &[&str] = &[
    "addprefix",
    "stripprefix",
    "stripprefixregex",
    "replacepath",
    "replacepathregex",
    "chain",
    "ipwhitelist",
    "ipallowlist",
    "headers",
    "errors",
    "ratelimit",
    "redirectregex",
    "redirectscheme",
    "basicauth",
    "digestauth",
    "forwardauth",
    "inflightreq",
    "buffering",
    "circuitbreaker",
    "compress",
    "passtlsclientcert",
    "retry",
    "contenttype",
    "grpcweb",
    "plugin",
];
const TCP_MIDDLEWARES: &[&str] = &["inflightconn", "ipwhitelist", "ipallowlist"];
