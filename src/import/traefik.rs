//! Traefik's labels: which rathole service gets which visitors, and what has no place here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::compose::{Container, Label};
use super::hosts::{self, Syntax, Wanted};
use super::rule::Rule;

/// What the labels say about the rathole services, by the port of their `bind_addr`.
#[derive(Debug, Default)]
pub(super) struct Routing {
    pub(super) services: BTreeMap<u16, Service>,
    /// Where names come in, as `http_addr` and `https_addr`.
    pub(super) http_addrs: BTreeSet<String>,
    pub(super) https_addrs: BTreeSet<String>,
    /// What could not be carried over: a line of the file, and why.
    pub(super) notes: Vec<(usize, String)>,
}

/// What Traefik sends to one rathole service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Service {
    /// Visitors by name.
    Named { entry: Named, hosts: Vec<String>, condition: Option<Condition>, fallback: bool },
    /// All that come to these addresses.
    Ports(BTreeSet<String>),
}

/// The entry of a named service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Named {
    Http,
    Https,
}

/// A key beside `hosts`, and its value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Condition {
    pub(super) key: &'static str,
    pub(super) value: String,
}

/// Reads the labels of the containers that are rathole, or of all if none is.
pub(super) fn read(containers: &[Container]) -> Routing {
    let mut reading = Reading::new(containers);
    for container in containers {
        let foreign = containers.iter().any(is_rathole) && !is_rathole(container);
        reading.labels(container, foreign);
    }
    reading.finish()
}

/// By its image, its name or what it runs.
pub(super) fn is_rathole(container: &Container) -> bool {
    container.image.contains("rathole")
        || container.name.contains("rathole")
        || container.command.iter().any(|word| word.contains("rathole"))
}

/// Where a port of the container can be reached from outside. The address is the IPv4 one: not
/// every host has IPv6.
pub(super) fn published(container: &Container, port: u16) -> Option<String> {
    let Some(ports) = &container.ports else { return Some(format!("0.0.0.0:{port}")) };
    ports.iter().find_map(|mapping| {
        let mapping = mapping.split('/').next().unwrap_or_default();
        let (outside, inside) = mapping.rsplit_once(':')?;
        let (address, outside) = outside.rsplit_once(':').unwrap_or(("0.0.0.0", outside));
        let found = inside.parse() == Ok(port) && outside.parse::<u16>().is_ok();
        found.then(|| format!("{address}:{outside}"))
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    Http,
    Tcp,
    Udp,
}

/// A router's labels.
#[derive(Debug, Default)]
struct Router {
    line: usize,
    /// It belongs to a container that is not rathole.
    foreign: Option<String>,
    rule: String,
    entry_points: Vec<String>,
    service: Option<String>,
    tls: bool,
    passthrough: bool,
    middlewares: Vec<String>,
    priority: Option<usize>,
    syntax: Option<Syntax>,
}

struct Reading {
    syntax: Syntax,
    /// Each entry point's port and address outside; empty if Traefik's command does not say.
    entry_points: BTreeMap<String, (u16, String)>,
    routers: BTreeMap<(Layer, String), Router>,
    /// By layer and name: the port that the service's containers listen on.
    backends: BTreeMap<(Layer, String), u16>,
    /// Each middleware's types.
    middlewares: HashMap<String, BTreeSet<String>>,
    /// Names that somebody has, so that no service asks for one again.
    taken: HashMap<(Named, Option<Condition>, Wanted), u16>,
    routing: Routing,
}

impl Reading {
    fn new(containers: &[Container]) -> Reading {
        let is_traefik = |container: &&Container| {
            let image = container.image.rsplit('/').next().unwrap_or_default();
            image.split(':').next() == Some("traefik")
        };
        let traefik = containers.iter().find(is_traefik);
        let tag = traefik.and_then(|traefik| traefik.image.rsplit_once(':')).map(|(_, tag)| tag);
        let templates = || {
            let labels = containers.iter().flat_map(|container| &container.labels);
            let mut rules = labels.filter(|label| label.key.ends_with(".rule"));
            rules.any(|label| label.value.contains("Regexp(`{") || label.value.contains(":["))
        };
        let syntax = match tag.map(|tag| tag.trim_start_matches('v')) {
            Some(tag) if tag.starts_with('2') => Syntax::V2,
            Some(tag) if tag.starts_with(|c: char| c.is_ascii_digit()) => Syntax::V3,
            _ if templates() => Syntax::V2,
            _ => Syntax::V3,
        };
        let mut entry_points = BTreeMap::new();
        for container in containers {
            for word in &container.command {
                let word = word.trim_start_matches('-');
                let Some((key, address)) = word.split_once('=') else { continue };
                let key = key.to_ascii_lowercase();
                let name =
                    key.strip_prefix("entrypoints.").and_then(|k| k.strip_suffix(".address"));
                let port =
                    address.split('/').next().and_then(|a| a.rsplit(':').next()?.parse().ok());
                if let (Some(name), Some(port)) = (name, port) {
                    let outside = published(container, port);
                    let outside = outside.unwrap_or_else(|| format!("0.0.0.0:{port}"));
                    entry_points.insert(name.to_owned(), (port, outside));
                }
            }
        }
        Reading {
            syntax,
            entry_points,
            routers: BTreeMap::new(),
            backends: BTreeMap::new(),
            middlewares: HashMap::new(),
            taken: HashMap::new(),
            routing: Routing::default(),
        }
    }

    fn labels(&mut self, container: &Container, foreign: bool) {
        let disabled = |label: &Label| label.key == "traefik.enable" && label.value == "false";
        if container.labels.iter().any(disabled) {
            return;
        }
        for Label { key, value, line } in &container.labels {
            let path: Vec<&str> = key.split('.').collect();
            let (layer, rest) = match &path[..] {
                ["traefik", "http", rest @ ..] => (Layer::Http, rest),
                ["traefik", "tcp", rest @ ..] => (Layer::Tcp, rest),
                ["traefik", "udp", rest @ ..] => (Layer::Udp, rest),
                _ => continue,
            };
            match rest {
                ["routers", name, property @ ..] => {
                    let router = self.routers.entry((layer, (*name).to_owned())).or_default();
                    router.line = if router.line == 0 { *line } else { router.line };
                    router.foreign = foreign.then(|| container.name.clone());
                    router.set(property, value);
                }
                ["services", name, "loadbalancer", "server", "port"] if !foreign => {
                    if let Ok(port) = value.parse() {
                        self.backends.insert((layer, (*name).to_owned()), port);
                    }
                }
                ["middlewares", name, kind, ..] => {
                    let kinds = self.middlewares.entry((*name).to_owned()).or_default();
                    kinds.insert((*kind).to_owned());
                }
                _ => {}
            }
        }
    }

    /// The routers, the most urgent first: where two ask for one name, it is theirs.
    fn finish(mut self) -> Routing {
        let mut routers: Vec<_> = std::mem::take(&mut self.routers).into_iter().collect();
        let urgency = |router: &Router| router.priority.unwrap_or(router.rule.chars().count());
        routers.sort_by_key(|(_, router)| (std::cmp::Reverse(urgency(router)), router.line));
        for ((layer, name), router) in routers {
            if let Err(why) = self.route(layer, &name, &router) {
                self.note(router.line, &name, &why);
            }
        }
        let addresses = [&self.routing.http_addrs, &self.routing.https_addrs];
        if addresses.iter().any(|addresses| addresses.len() > 1) {
            let reason = "several entry points of one kind: here each name is on all of them";
            self.routing.notes.push((1, reason.into()));
        }
        self.routing.notes.sort();
        self.routing
    }

    fn note(&mut self, line: usize, router: &str, why: &str) {
        self.routing.notes.push((line, format!("router {router}: {why}")));
    }

    /// Carries one router over, as far as it goes.
    fn route(&mut self, layer: Layer, name: &str, router: &Router) -> Result<(), String> {
        let port = self.backend(layer, router)?;
        self.check_middlewares(name, router)?;
        if layer == Layer::Udp {
            return self.give_ports(port, self.addresses(layer, router)?);
        }
        let rule = Rule::parse(&router.rule).map_err(|error| error.to_string())?;
        let (asked, lost) = ask(&rule, layer, router.syntax.unwrap_or(self.syntax));
        for why in lost {
            self.note(router.line, name, &why);
        }
        if router.priority.is_some() {
            let why = "its priority: here an exact name comes before `*`, `*` before `**`, and a \
                       /regex/ last";
            self.note(router.line, name, why);
        }
        match layer {
            Layer::Tcp if !router.tls => {
                if !asked.iter().any(|asked| asked.wanted == [Wanted::Anybody]) {
                    return Err("names are seen in TLS alone, and it is without".into());
                }
                return self.give_ports(port, self.addresses(layer, router)?);
            }
            Layer::Tcp if !router.passthrough => {
                return Err(
                    "Traefik ends TLS there; underpass passes it through to the home".into()
                );
            }
            Layer::Http if router.tls => {
                return Err("Traefik ends TLS there; underpass passes it through: give the home \
                            the certificate, and the name to its service of type https"
                    .into());
            }
            _ => {}
        }
        let addresses = self.addresses(layer, router)?;
        let entry = if layer == Layer::Http { Named::Http } else { Named::Https };
        for asked in asked {
            self.give_names(port, name, router.line, entry, asked)?;
        }
        let known = self.routing.services.contains_key(&port);
        let all = match entry {
            Named::Http => &mut self.routing.http_addrs,
            Named::Https => &mut self.routing.https_addrs,
        };
        all.extend(addresses.into_iter().filter(|_| known));
        Ok(())
    }

    /// The port of the router's service: the named one, or the only one of its layer.
    fn backend(&self, layer: Layer, router: &Router) -> Result<u16, String> {
        let internal = router.service.as_ref().filter(|service| service.ends_with("@internal"));
        if let Some(service) = internal {
            return Err(format!("{service} is Traefik's own; underpass has no dashboard"));
        }
        if let Some(container) = &router.foreign {
            return Err(format!("it leads to the container {container}, not to rathole"));
        }
        let Some(service) = &router.service else {
            let mut all = self.backends.iter().filter(|((of, _), _)| *of == layer);
            return match (all.next(), all.next()) {
                (Some((_, port)), None) => Ok(*port),
                _ => Err("it does not say its service".into()),
            };
        };
        let name = service.strip_suffix("@docker").unwrap_or(service);
        let port = self.backends.get(&(layer, name.to_ascii_lowercase()));
        port.copied().ok_or_else(|| format!("its service {service} has no label with a port"))
    }

    /// A middleware that only shapes requests is left behind; one that keeps people out is not.
    fn check_middlewares(&mut self, name: &str, router: &Router) -> Result<(), String> {
        for used in &router.middlewares {
            let known = self.middlewares.get(used.strip_suffix("@docker").unwrap_or(used));
            let harmless = |kind: &String| HARMLESS.contains(&kind.as_str());
            if !known.is_some_and(|kinds| kinds.iter().all(harmless)) {
                return Err(format!(
                    "its middleware {used} may keep people out, which underpass cannot: protect \
                     the service at home, then give it `type` and `hosts`"
                ));
            }
        }
        if !router.middlewares.is_empty() {
            let why = format!("without its middlewares {}", router.middlewares.join(", "));
            self.note(router.line, name, &why);
        }
        Ok(())
    }

    /// Where the router's visitors come in.
    fn addresses(&self, layer: Layer, router: &Router) -> Result<Vec<String>, String> {
        let usual = |name: &str| match name {
            "web" | "http" => Some((80, "0.0.0.0:80".to_owned())),
            "websecure" | "https" => Some((443, "0.0.0.0:443".to_owned())),
            _ => None,
        };
        let wanted = match (&router.entry_points[..], layer) {
            ([], Layer::Http) => vec!["web".to_owned()],
            ([], Layer::Tcp) if router.tls => vec!["websecure".to_owned()],
            ([], _) => return Err("it does not say its entry point".into()),
            (named, _) => named.to_vec(),
        };
        let mut addresses = Vec::new();
        for name in wanted {
            let found = self.entry_points.get(&name.to_ascii_lowercase()).cloned();
            match found.or_else(|| usual(&name)) {
                Some((443, _)) if layer == Layer::Http => {
                    return Err(format!(
                        "Traefik ends TLS on its entry point {name}; underpass passes it through"
                    ));
                }
                Some((_, address)) => addresses.push(address),
                None => return Err(format!("the address of its entry point {name} is not here")),
            }
        }
        Ok(addresses)
    }

    fn give_ports(&mut self, port: u16, addresses: Vec<String>) -> Result<(), String> {
        let new = || Service::Ports(BTreeSet::new());
        match self.routing.services.entry(port).or_insert_with(new) {
            Service::Ports(all) => all.extend(addresses),
            Service::Named { .. } => return Err("its service has names already".into()),
        }
        Ok(())
    }

    fn give_names(
        &mut self,
        port: u16,
        router: &str,
        line: usize,
        entry: Named,
        asked: Asked,
    ) -> Result<(), String> {
        let (hosts, condition) = (Vec::new(), asked.condition.clone());
        let new = Service::Named { entry, hosts, condition, fallback: false };
        let mut wanted = Vec::new();
        for one in asked.wanted {
            let key = (entry, asked.condition.clone(), one.clone());
            match *self.taken.entry(key).or_insert(port) {
                owner if owner == port => wanted.push(one),
                _ => self.note(line, router, "a name of it has gone to another router's service"),
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let service = self.routing.services.entry(port).or_insert(new);
        let Service::Named { entry: same, hosts, condition, fallback } = service else {
            return Err("its service has a port of its own already".into());
        };
        if *same != entry || *condition != asked.condition {
            return Err(
                "another router gives its service other visitors: use a service each".into()
            );
        }
        for wanted in wanted {
            let pattern = match wanted {
                Wanted::Pattern(pattern) => pattern,
                Wanted::Anybody => {
                    *fallback |= condition.is_none();
                    "**".to_owned()
                }
            };
            if !hosts.contains(&pattern) {
                hosts.push(pattern);
            }
        }
        Ok(())
    }
}

impl Router {
    fn set(&mut self, property: &[&str], value: &str) {
        let list = || value.split(',').map(|part| part.trim().to_owned()).collect();
        match property {
            ["rule"] => self.rule = value.to_owned(),
            ["entrypoints"] => self.entry_points = list(),
            ["service"] => self.service = Some(value.to_owned()),
            ["middlewares"] => self.middlewares = list(),
            ["priority"] => self.priority = value.parse().ok(),
            ["rulesyntax"] => {
                self.syntax = Some(if value == "v2" { Syntax::V2 } else { Syntax::V3 });
            }
            ["tls"] => self.tls = value != "false",
            ["tls", "passthrough"] => (self.tls, self.passthrough) = (true, value == "true"),
            ["tls", ..] => self.tls = true,
            _ => {}
        }
    }
}

/// Names, and what else a visitor must ask for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    wanted: Vec<Wanted>,
    condition: Option<Condition>,
}

/// What a rule asks for, each way by itself, and what of it cannot be said here.
fn ask(rule: &Rule, layer: Layer, syntax: Syntax) -> (Vec<Asked>, Vec<String>) {
    if let Rule::Or(rules) = rule {
        let (asked, lost): (Vec<_>, Vec<_>) =
            rules.iter().map(|rule| ask(rule, layer, syntax)).unzip();
        return (merged(asked.into_iter().flatten()), lost.concat());
    }
    let all_of = if let Rule::And(rules) = rule { &rules[..] } else { std::slice::from_ref(rule) };
    let mut condition = None;
    let mut names = Vec::new();
    for rule in all_of {
        match rule {
            Rule::Matcher(name, arguments) => match (layer, &**name, &arguments[..]) {
                (Layer::Http, "pathprefix", [value]) if condition.is_none() => {
                    condition = Some(Condition { key: "path_prefix", value: value.clone() });
                }
                (Layer::Tcp, "alpn", [value]) if condition.is_none() => {
                    condition = Some(Condition { key: "alpn", value: value.clone() });
                }
                _ => names.push(rule),
            },
            rule => names.push(rule),
        }
    }
    let lost = |why: String| (Vec::new(), vec![why]);
    match &names[..] {
        [Rule::Matcher(name, arguments)] => match names_of(layer, name, arguments, syntax) {
            Ok(wanted) => (vec![Asked { wanted, condition }], Vec::new()),
            Err(why) => lost(format!("{name}: {why}")),
        },
        [rule @ Rule::Or(_)] if condition.is_some() => {
            let (mut asked, lost) = ask(rule, layer, syntax);
            if asked.iter().any(|asked| asked.condition.is_some()) {
                return (Vec::new(), vec!["conditions within conditions".into()]);
            }
            asked.iter_mut().for_each(|asked| asked.condition = condition.clone());
            (asked, lost)
        }
        [] => lost("it asks for no name".into()),
        _ => lost(format!("a part of its rule ({}) has no like here", rule.matchers().join(", "))),
    }
}

/// Neighbours with the same condition as one.
fn merged(all: impl Iterator<Item = Asked>) -> Vec<Asked> {
    let mut merged: Vec<Asked> = Vec::new();
    for asked in all {
        match merged.last_mut() {
            Some(last) if last.condition == asked.condition => last.wanted.extend(asked.wanted),
            _ => merged.push(asked),
        }
    }
    merged
}

fn names_of(
    layer: Layer,
    matcher: &str,
    arguments: &[String],
    syntax: Syntax,
) -> Result<Vec<Wanted>, &'static str> {
    let expressions = |text: &String| hosts::regexp(text, syntax);
    let all: Result<Vec<Vec<Wanted>>, _> = match (layer, matcher) {
        (Layer::Http, "host" | "hostheader") => {
            arguments.iter().map(|name| hosts::literal(name, false).map(|w| vec![w])).collect()
        }
        (Layer::Tcp, "hostsni") => {
            arguments.iter().map(|name| hosts::literal(name, true).map(|w| vec![w])).collect()
        }
        (Layer::Http, "hostregexp") | (Layer::Tcp, "hostsniregexp") => {
            arguments.iter().map(expressions).collect()
        }
        _ => Err("underpass has no like of it"),
    };
    all.map(|all| all.concat())
}

/// Middlewares that let everybody through.
const HARMLESS: &[&str] = &[
    "redirectscheme",
    "redirectregex",
    "headers",
    "compress",
    "contenttype",
    "retry",
    "circuitbreaker",
    "buffering",
    "errors",
    "ratelimit",
    "inflightreq",
    "inflightconn",
];
