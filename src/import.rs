//! `underpass import`: one underpass file in the place of rathole's and of Traefik's labels.
//!
//! The rathole file is edited where it stands ([`rathole`]): names, tokens and keys stay, so that
//! the clients at home go on unchanged. What the labels say ([`compose`], [`traefik`], [`rule`],
//! [`hosts`]) becomes `type` and `hosts`, and what they say and nobody here can do becomes a
//! comment. Before anything is given out, it has gone through our own parser.

mod compose;
mod hosts;
mod rathole;
mod rule;
mod traefik;
mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;

use self::rathole::{Key, Sheet, quote, quote_list};
use self::traefik::{Named, Routing, Service};
use self::variables::Variables;
use crate::config::{Config, ServerService, ServiceKind, show_ports};

/// A file by its name and what is in it.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// As the user named it.
    pub name: &'a str,
    /// What is in it.
    pub text: &'a str,
}

/// The new file's text, or what is wrong, which quotes no value.
///
/// Of the files one is the rathole file that is wanted as an underpass file, of either role. A
/// client's may come with the server's, which knows the types of services. The docker-compose file
/// with Traefik's labels is told by its name's end, `.yml` or `.yaml`.
pub fn import(files: &[File<'_>], env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let is_yaml = |file: &File<'_>| file.name.ends_with(".yml") || file.name.ends_with(".yaml");
    let (composes, files): (Vec<_>, Vec<_>) = files.iter().copied().partition(is_yaml);
    let compose = match composes[..] {
        [] => None,
        [one] => Some(one),
        _ => return Err("one docker-compose file, please".into()),
    };
    let sources = files.iter().map(|file| Source::read(*file, env));
    let sources = sources.collect::<Result<Vec<_>, _>>()?;
    let mut work = match &sources[..] {
        [one] => {
            let mut work = Work::new(one)?;
            if one.config.server.is_some() {
                work.server(compose)?;
            } else if compose.is_some() {
                return Err("the labels belong to the server: name its file too".into());
            }
            work
        }
        [one, other] => {
            let (client, server) = match (&one.config.client, &other.config.server) {
                (Some(_), Some(_)) => (one, other),
                _ => (other, one),
            };
            if client.config.client.is_none() || server.config.server.is_none() {
                return Err("two files are a client's and its server's".into());
            }
            let mut server = Work::new(server)?;
            server.server(compose)?;
            Work { kinds: server.kinds, ..Work::new(client)? }
        }
        _ => return Err("a rathole file of either role, please, and perhaps the other".into()),
    };
    work.client();
    work.finish(compose, env)
}

/// A rathole file that loads.
struct Source<'a> {
    file: File<'a>,
    config: Config,
}

impl<'a> Source<'a> {
    fn read(file: File<'a>, env: &dyn Fn(&str) -> Option<String>) -> Result<Source<'a>, String> {
        let config = parse(file, env).map_err(|error| error.to_string())?;
        Ok(Source { file, config })
    }
}

/// Parses with stand-ins for variables that are not set here.
fn parse(
    file: File<'_>,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, crate::config::ConfigError> {
    let is_key = |name: &str| {
        let variable = format!("${{{name}}}");
        let mut lines = file.text.lines().filter(|line| line.contains(&variable));
        lines.any(|line| line.contains("_key"))
    };
    let stand_in = |name: &str| match is_key(name) {
        true => SAMPLE_KEY.to_owned(),
        false => "example.com".to_owned(),
    };
    Config::parse(file.name, file.text, &|name| env(name).or_else(|| Some(stand_in(name))))
}

/// A file on its way.
struct Work<'a> {
    source: &'a Source<'a>,
    sheet: Sheet<'a>,
    /// The types of services that the server's file tells; `None`: there is no such file.
    kinds: Option<BTreeMap<String, ServiceKind>>,
    /// For the new file's head.
    notes: Vec<String>,
}

impl<'a> Work<'a> {
    fn new(source: &'a Source<'a>) -> Result<Work<'a>, String> {
        let sheet = Sheet::read(source.file.text);
        let sheet = sheet.ok_or_else(|| format!("{}: not TOML", source.file.name))?;
        let notes = source.config.warnings.clone();
        Ok(Work { source, sheet, kinds: None, notes })
    }

    /// Gives the server's services what the labels say.
    fn server(&mut self, compose: Option<File<'_>>) -> Result<(), String> {
        let Some(server) = &self.source.config.server else { return Ok(()) };
        let mut variables = Variables::default();
        if let Some(File { name, text }) = compose {
            let containers = compose::read(name, text, &mut variables);
            let containers = containers.map_err(|error| error.to_string())?;
            let routing = traefik::read(&containers);
            self.note_labels(name, &routing, &variables, server);
            self.give_routes(&routing, &variables, server, &containers);
        }
        let mut kinds = self.kinds.take().unwrap_or_default();
        for service in &server.services {
            kinds.entry(service.name.clone()).or_insert(service.kind);
        }
        self.kinds = Some(kinds);
        Ok(())
    }

    fn note_labels(
        &mut self,
        file: &str,
        routing: &Routing,
        variables: &Variables,
        server: &crate::config::ServerConfig,
    ) {
        let notes = routing.notes.iter();
        self.notes
            .extend(notes.map(|(line, note)| format!("{file}:{line}: {}", variables.unfold(note))));
        let hosts = routing.services.values().filter_map(|service| match service {
            Service::Named { hosts, .. } => Some(hosts),
            Service::Ports(_) => None,
        });
        let used: BTreeSet<&str> = hosts.flatten().flat_map(|host| variables.of(host)).collect();
        if !used.is_empty() {
            let names = used.into_iter().collect::<Vec<_>>().join(", ");
            self.notes.push(format!("from the environment, as in {file}: {names}"));
        }
        for name in &variables.with_default {
            let note = format!("{file}: the default of ${{{name}}} stays behind: set the variable");
            self.notes.push(note);
        }
        for port in routing.services.keys() {
            let bound =
                |service: &ServerService| service.bind_addrs.iter().any(|a| a.port() == *port);
            if !server.services.iter().any(bound) {
                let rathole = self.source.file.name;
                self.notes.push(format!("{file}: no service of {rathole} has port {port}"));
            }
        }
    }

    fn give_routes(
        &mut self,
        routing: &Routing,
        variables: &Variables,
        server: &crate::config::ServerConfig,
        containers: &[compose::Container],
    ) {
        if let Some(tunnel) = self.sheet.find(&["server", "bind_addr"]) {
            let mut lines = Vec::new();
            for (key, addrs, there) in [
                ("http_addr", &routing.http_addrs, &server.http_addrs),
                ("https_addr", &routing.https_addrs, &server.https_addrs),
            ] {
                let addrs: Vec<String> = addrs.iter().cloned().collect();
                if !addrs.is_empty() && there.is_empty() {
                    lines.push(format!("{key} = {}", quote_list(&addrs)));
                }
            }
            self.sheet.add_below(&tunnel, &lines);
        }
        let docker = containers.iter().find(|container| traefik::is_rathole(container));
        for service in &server.services {
            let path = ["server", "services", &service.name, "bind_addr"];
            let Some(bind) = self.sheet.find(&path) else { continue };
            let outside: Vec<Option<String>> =
                service.bind_addrs.iter().map(|addr| self.outside(docker, addr)).collect();
            let routed = service.bind_addrs.iter().find_map(|a| routing.services.get(&a.port()));
            match routed {
                Some(Service::Ports(addrs)) => {
                    let addrs: Vec<String> = addrs.iter().cloned().collect();
                    self.sheet.set(&bind, quote_list(&addrs));
                }
                Some(Service::Named { entry, hosts, condition, fallback }) => {
                    let kind = match entry {
                        Named::Http => ServiceKind::Http,
                        Named::Https => ServiceKind::Https,
                    };
                    let mut lines = self.type_line(&["server", "services", &service.name], kind);
                    let hosts: Vec<String> = hosts.iter().map(|h| variables.unfold(h)).collect();
                    lines.push(format!("hosts = {}", quote_list(&hosts)));
                    if let Some(condition) = condition {
                        let value = quote(&variables.unfold(&condition.value));
                        lines.push(format!("{} = {value}", condition.key));
                    }
                    if *fallback {
                        lines.push("fallback = true".into());
                    }
                    let old = self.sheet.show(&bind);
                    let kept = outside.iter().all(Option::is_some) && docker.is_some();
                    if kept {
                        lines.push(old);
                        self.sheet.replace(&bind, &lines, None);
                    } else {
                        self.sheet.replace(&bind, &lines, Some(&old));
                    }
                    let kinds = self.kinds.get_or_insert_default();
                    kinds.insert(service.name.clone(), kind);
                }
                None => self.move_ports(&bind, service, outside),
            }
        }
    }

    /// Where a port is reached from outside. Without Docker, where it says.
    fn outside(&self, docker: Option<&compose::Container>, addr: &SocketAddr) -> Option<String> {
        let Some(docker) = docker else { return Some(addr.to_string()) };
        let outside = traefik::published(docker, addr.port())?;
        let same = outside == format!("0.0.0.0:{}", addr.port());
        Some(if same { addr.to_string() } else { outside })
    }

    /// Nobody gets in where nobody got in: a port that Docker did not publish is for this host.
    fn move_ports(&mut self, bind: &Key, service: &ServerService, outside: Vec<Option<String>>) {
        let old: Vec<String> = service.bind_addrs.iter().map(SocketAddr::to_string).collect();
        let moved = service.bind_addrs.iter().zip(outside).map(|(addr, outside)| match outside {
            Some(outside) => outside,
            None => format!("127.0.0.1:{}", addr.port()),
        });
        let moved: Vec<String> = moved.collect();
        if moved == old {
            return;
        }
        let note = format!(
            "{}:{}: service {}: bind_addr is now what the compose file publishes of it, or of \
             this host alone",
            self.source.file.name,
            self.sheet.line(bind),
            service.name
        );
        self.notes.push(note);
        let addrs: Option<Vec<SocketAddr>> = moved.iter().map(|addr| addr.parse().ok()).collect();
        self.sheet.set(bind, quote_list(&addrs.map_or(moved, |addrs| show_ports(&addrs))));
    }

    /// Gives the client's services the types that they have at the server.
    fn client(&mut self) {
        let Some(client) = &self.source.config.client else { return };
        let mut guessed = Vec::new();
        for service in &client.services {
            let Some(local) = &service.local_addr else { continue };
            let path = ["client", "services", &service.name, "local_addr"];
            let Some(key) = self.sheet.find(&path) else { continue };
            let kind = match &self.kinds {
                Some(kinds) => kinds.get(&service.name).copied().unwrap_or(service.kind),
                None => match (service.kind, local.port) {
                    (ServiceKind::Tcp, 80) => ServiceKind::Http,
                    (ServiceKind::Tcp, 443) => ServiceKind::Https,
                    (kind, _) => kind,
                },
            };
            if kind == service.kind {
                continue;
            }
            if kind == ServiceKind::Web {
                let note = format!(
                    "service {}: it is of type web at the server: say so, with the host alone \
                     in local_addr, or with local_http_addr and local_https_addr",
                    service.name
                );
                self.notes.push(note);
                continue;
            }
            if self.kinds.is_none() {
                guessed.push(service.name.clone());
            }
            let mut lines = self.type_line(&["client", "services", &service.name], kind);
            if !lines.is_empty() {
                lines.push(self.sheet.show(&key));
                self.sheet.replace(&key, &lines, None);
            }
        }
        if !guessed.is_empty() {
            let note = format!(
                "the types of {} are guessed from the ports 80 and 443; name the server's files \
                 too (`import CLIENT SERVER COMPOSE`) to have them from there",
                guessed.join(", ")
            );
            self.notes.push(note);
        }
    }

    /// The line of a service's type, unless it has one, which is then another.
    fn type_line(&mut self, service: &[&str], kind: ServiceKind) -> Vec<String> {
        let value = quote(kind.as_str());
        match self.sheet.find(&[service, &["type"]].concat()) {
            Some(key) => {
                self.sheet.set(&key, value);
                Vec::new()
            }
            None => vec![format!("type = {value}")],
        }
    }

    /// The head and the file, tried.
    fn finish(
        self,
        compose: Option<File<'_>>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<String, String> {
        let Work { source, sheet, notes, .. } = self;
        let mut text = String::new();
        let names: Vec<&str> =
            [source.file.name].into_iter().chain(compose.map(|file| file.name)).collect();
        let mut say = |line: &str| {
            // A name in the files may hold a line feed; a comment must not end there.
            let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            let _ = writeln!(text, "# {line}"); // writing to a String cannot fail
        };
        say(&format!("Imported by underpass from {}.", names.join(" and ")));
        if source.config.server.is_some() && compose.is_some() {
            say("Type and hosts of a service are from Traefik's routers; a bind_addr that only");
            say("Traefik came to is behind a `#`. `*` is one whole label, `_` in it allowed.");
            say("rathole's clients can go on as they are.");
        }
        if source.config.client.is_some() {
            say("It speaks underpass's own protocol; protocol = \"rathole\" in [client] dials a");
            say("rathole server. Each service has the type that it has at the server.");
        }
        if !notes.is_empty() {
            say("What differs, or is not carried over:");
            notes.iter().for_each(|note| say(&format!("- {note}")));
        }
        let text = text + "\n" + &sheet.finish();
        let file = File { name: "the imported file", text: &text };
        match parse(file, env) {
            Ok(_) => Ok(text),
            Err(error) => Err(format!("{error} (nothing is printed)")),
        }
    }
}

/// 32 bytes in base64.
const SAMPLE_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// What the fuzz target checks.
#[doc(hidden)]
pub mod fuzz {
    use super::{File, import};

    /// A rathole file, a zero byte, a docker-compose file. Panics if the import does, or if an
    /// error shows what a variable holds.
    pub fn check(bytes: &[u8]) {
        const MARKER: &str = "mark (er) 0123456789";
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        if text.contains("mark") {
            return; // names are quoted, and this one would look like the variable
        }
        let (rathole, compose) = text.split_once('\0').unwrap_or((text, ""));
        let rathole = File { name: "r.toml", text: rathole };
        let compose = File { name: "c.yml", text: compose };
        for files in [&[rathole][..], &[rathole, compose]] {
            if let Err(error) = import(files, &|_| Some(MARKER.to_owned())) {
                assert!(!error.contains(MARKER), "{error}");
            }
            // Without variables, the names can be names.
            let _ = import(files, &|_| None);
        }
    }
}
