//! Traefik's static configuration: where it listens, whose labels it reads, and how it reads rules.
//! It has one source: a file if there is one, else flags, else variables of the environment.

use std::rc::Rc;

use super::compose::{Container, Network};
use super::ports::{Protocol, Reached};
use super::settings::{Place, Setting, parse_bool, path_of};
use super::variables::Variables;

/// What Traefik is told at its start.
#[derive(Debug)]
pub(super) struct Static {
    pub(super) entry_points: Vec<EntryPoint>,
    /// Why nothing of it is known, or why what is known is not enough to let anybody in.
    pub(super) doubt: Option<String>,
    pub(super) labels: LabelSource,
    /// Containers count without `traefik.enable=true`.
    pub(super) exposed_by_default: bool,
    pub(super) default_rule: Option<String>,
    pub(super) constraints: Option<String>,
    pub(super) reads_files: bool,
    pub(super) syntax: Syntax,
    /// What stays behind, with its place.
    pub(super) notes: Vec<(Place, String)>,
}

/// Whose labels Traefik reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LabelSource {
    /// The containers' own.
    Containers,
    /// `deploy.labels`.
    Swarm,
    Nobody,
}

/// How Traefik reads rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    /// Several arguments; expressions are literal but for `{name:regex}`, and whole.
    V2,
    /// One argument; expressions are regular ones of Go, found anywhere unless they have anchors.
    V3,
    /// Nobody here says which Traefik it is: what the two read alike.
    Either,
}

/// Where visitors come in.
#[derive(Debug, Clone)]
pub(super) struct EntryPoint {
    pub(super) name: String,
    /// Where Traefik listens.
    pub(super) port: u16,
    pub(super) protocol: Protocol,
    /// Where it is reached from outside; perhaps nowhere.
    pub(super) outside: Vec<String>,
    /// Routers without `entrypoints` are here.
    pub(super) is_default: bool,
    /// Its HTTP routers end TLS.
    pub(super) tls: bool,
    /// Of all its HTTP routers, before their own.
    pub(super) middlewares: Vec<String>,
    pub(super) redirection: Option<Redirection>,
}

/// `http.redirections.entryPoint`: all plain HTTP is sent elsewhere.
#[derive(Debug, Clone, Copy)]
pub(super) struct Redirection {
    /// Where `redirect_https` sends it too.
    pub(super) to_https: bool,
    pub(super) priority: i64,
}

impl Static {
    /// From the files that were given, or from what the containers say.
    pub(super) fn read(
        files: &[Setting],
        containers: &[Container],
        variables: &Variables<'_>,
    ) -> Static {
        let traefik = find_traefik(containers);
        let named = traefik.map_or(Syntax::Either, |traefik| version(&traefik.image));
        let (settings, doubt) = match (files, traefik) {
            ([], None) => {
                let reason = "no container here is Traefik, so its entry points are unknown: name \
                              its traefik.yml too";
                (None, Some(reason.to_owned()))
            }
            ([], Some(traefik)) => of_container(traefik),
            ([one], _) => (Some(one.clone()), None),
            (_, _) => (None, Some("there are two static configurations of Traefik".into())),
        };
        let root = settings.unwrap_or_else(|| {
            let file: Rc<str> = "?".into();
            Setting::root(Place { file, line: 1 })
        });
        let mut read = Static {
            entry_points: Vec::new(),
            doubt,
            labels: label_source(&root),
            exposed_by_default: true,
            default_rule: None,
            constraints: None,
            reads_files: root.has_part("providers.file"),
            syntax: match (named, root.text("core.defaultrulesyntax")) {
                (Syntax::V3 | Syntax::Either, Some("v2")) => Syntax::V2,
                (Syntax::Either, Some("v3")) => Syntax::V3,
                (named, _) => named,
            },
            notes: Vec::new(),
        };
        let provider = if read.labels == LabelSource::Swarm && root.has_part("providers.swarm") {
            "providers.swarm"
        } else {
            "providers.docker"
        };
        if let Some(provider) = root.get(provider) {
            read.exposed_by_default = provider.flag("exposedbydefault").unwrap_or(true);
            read.default_rule = provider.text("defaultrule").map(str::to_owned);
            let constraints = provider.text("constraints");
            read.constraints = constraints.filter(|text| !text.is_empty()).map(str::to_owned);
        }
        read.other_providers(&root);
        read.read_entry_points(&root, traefik, containers, variables);
        read
    }

    /// Routers that nobody shows us may take anybody.
    fn other_providers(&mut self, root: &Setting) {
        let known = ["docker", "swarm", "file", "providersthrottleduration", "precedence"];
        let providers = root.get("providers").map(|providers| &providers.below[..]);
        let other = providers
            .unwrap_or_default()
            .iter()
            .find(|provider| !known.iter().any(|known| provider.name.eq_ignore_ascii_case(known)));
        if let Some(other) = other {
            self.doubt.get_or_insert(format!(
                "providers.{} ({}) has routers that are not seen here, and may take its visitors",
                other.name, other.place
            ));
        }
    }

    fn read_entry_points(
        &mut self,
        root: &Setting,
        traefik: Option<&Container>,
        containers: &[Container],
        variables: &Variables<'_>,
    ) {
        let Some(entry_points) = root.get("entrypoints") else {
            // Without any, Traefik has one.
            if self.doubt.is_none() {
                let mut http = Setting { name: "http".into(), ..Setting::root(root.place.clone()) };
                http.insert(["address"], ":80", &root.place);
                let http = read_entry_point(&http, root, traefik, containers, variables);
                self.entry_points.extend(http);
            }
            return;
        };
        for setting in &entry_points.below {
            let read = read_entry_point(setting, root, traefik, containers, variables);
            match read {
                Some(entry_point) => self.entry_points.push(entry_point),
                None => self.notes.push((
                    setting.place.clone(),
                    format!("entry point {}: its address cannot be read", setting.name),
                )),
            }
            if setting.get("http.redirections.entrypoint.to").is_some() {
                let note = format!(
                    "entry point {}: names that no service here has are not redirected",
                    setting.name
                );
                self.notes.push((setting.place.clone(), note));
            }
            for (key, here) in [
                ("proxyprotocol", "trusted_proxies in [server]"),
                ("forwardedheaders", "trusted_http_proxies in [server]"),
            ] {
                if let Some(lost) = setting.get(key) {
                    let note = format!(
                        "entry point {}: its {} stays behind; the like of it here is {here}",
                        setting.name, lost.name
                    );
                    self.notes.push((lost.place.clone(), note));
                }
            }
        }
        let some_default = entry_points.below.iter().any(|one| one.flag("asdefault") == Some(true));
        for entry_point in &mut self.entry_points {
            let said = entry_points.get(&entry_point.name).and_then(|one| one.flag("asdefault"));
            entry_point.is_default = match some_default {
                true => said == Some(true),
                false => entry_point.name != "traefik",
            };
        }
    }
}

/// By its image, or by what it runs.
pub(super) fn is_traefik(container: &Container) -> bool {
    container.image.name == "traefik"
        || container
            .words()
            .next()
            .is_some_and(|word| word.rsplit('/').next().is_some_and(|program| program == "traefik"))
}

/// The first that says something of itself.
fn find_traefik(containers: &[Container]) -> Option<&Container> {
    let mut all: Vec<&Container> = containers.iter().filter(|one| is_traefik(one)).collect();
    all.sort_by_key(|one| flags(one).is_none() && variables_of(one).is_none());
    all.first().copied()
}

/// The tag's word; `latest`, which nobody needs to write, is 3 now.
fn version(image: &super::compose::Image) -> Syntax {
    let Some(tag) = &image.tag else {
        return if image.has_digest || image.name != "traefik" {
            Syntax::Either
        } else {
            Syntax::V3
        };
    };
    let number = tag.strip_prefix('v').unwrap_or(tag);
    let number: String = number.chars().take_while(char::is_ascii_digit).collect();
    match &*number {
        "2" => Syntax::V2,
        "3" => Syntax::V3,
        _ if tag == "latest" => Syntax::V3,
        _ => Syntax::Either,
    }
}

/// What a Traefik container says of its configuration; without a word, a file says it.
fn of_container(traefik: &Container) -> (Option<Setting>, Option<String>) {
    let flags = flags(traefik);
    let named = flags.as_ref().and_then(|flags| flags.text("configfile").map(str::to_owned));
    let mounted = traefik.mounts.iter().find(|mount| {
        let place = mount.trim_end_matches('/');
        let (folder, file) = place.rsplit_once('/').unwrap_or(("", place));
        let is_file = ["traefik.yml", "traefik.yaml", "traefik.toml"].contains(&file);
        place == "/etc/traefik" || is_file && ["", "/etc/traefik"].contains(&folder)
    });
    if let Some(file) = named.as_ref().or(mounted) {
        let reason = format!("Traefik's static configuration is in {file}: name that file too");
        return (None, Some(reason));
    }
    if let Some(unread) = &traefik.unread {
        return (None, Some(format!("container {}: {unread}", traefik.name)));
    }
    match flags.or_else(|| variables_of(traefik)) {
        Some(settings) => (Some(settings), None),
        None => {
            let reason = format!(
                "container {} says nothing of Traefik's configuration: name its traefik.yml too",
                traefik.name
            );
            (None, Some(reason))
        }
    }
}

/// `--a.b=c`, `--a.b c` or `--a.b`, which is true.
fn flags(traefik: &Container) -> Option<Setting> {
    let mut words = traefik.command.iter().peekable();
    let mut root = Setting::root(traefik.place.clone());
    while let Some((word, place)) = words.next() {
        let Some(flag) = word.strip_prefix('-') else { continue };
        let flag = flag.strip_prefix('-').unwrap_or(flag);
        let (key, value) = match flag.split_once('=') {
            Some((key, value)) => (key, value),
            None => {
                let next = words.next_if(|(next, _)| !next.starts_with('-'));
                (flag, next.map_or("true", |(value, _)| &**value))
            }
        };
        root.insert(path_of(key), value, place);
    }
    (!root.below.is_empty()).then_some(root)
}

/// `TRAEFIK_A_B=c`.
fn variables_of(traefik: &Container) -> Option<Setting> {
    let mut root = Setting::root(traefik.place.clone());
    for variable in &traefik.environment {
        let key = variable.key.to_ascii_lowercase();
        if let Some(key) = key.strip_prefix("traefik_") {
            root.insert(key.split('_'), &variable.value, &variable.place);
        }
    }
    (!root.below.is_empty()).then_some(root)
}

fn label_source(root: &Setting) -> LabelSource {
    if root.has_part("providers.swarm") {
        return LabelSource::Swarm;
    }
    if !root.has_part("providers.docker") {
        return LabelSource::Nobody;
    }
    match root.flag("providers.docker.swarmmode") {
        Some(true) => LabelSource::Swarm,
        _ => LabelSource::Containers,
    }
}

fn read_entry_point(
    setting: &Setting,
    root: &Setting,
    traefik: Option<&Container>,
    containers: &[Container],
    variables: &Variables<'_>,
) -> Option<EntryPoint> {
    let (host, port, protocol) = read_address(variables.resolve(setting.text("address")?).trim())?;
    Some(EntryPoint {
        name: setting.name.clone(),
        port,
        protocol,
        outside: outside(traefik, containers, &host, port, protocol),
        is_default: setting.name != "traefik",
        tls: setting.has_part("http.tls"),
        middlewares: setting.list("http.middlewares").unwrap_or_default(),
        redirection: read_redirection(setting, root, variables),
    })
}

/// `:80`, `127.0.0.1:80/tcp`, `[::]:53/udp`.
fn read_address(text: &str) -> Option<(String, u16, Protocol)> {
    let (address, protocol) = match text.split_once('/') {
        Some((address, "udp")) => (address, Protocol::Udp),
        Some((address, "tcp")) => (address, Protocol::Tcp),
        Some(_) => return None,
        None => (text, Protocol::Tcp),
    };
    let (host, port) = address.rsplit_once(':')?;
    let host = match host {
        "" | "[::]" => "0.0.0.0",
        "localhost" => "127.0.0.1",
        host => host,
    };
    Some((host.to_owned(), port.parse().ok()?, protocol))
}

/// Where an entry point is reached: as Docker publishes it, or as it says.
fn outside(
    traefik: Option<&Container>,
    containers: &[Container],
    host: &str,
    port: u16,
    protocol: Protocol,
) -> Vec<String> {
    let bound = || vec![format!("{host}:{port}")];
    let Some(traefik) = traefik else { return bound() };
    match traefik.reached(containers, port, protocol).0 {
        Reached::AsBound => bound(),
        // What listens on loopback in a container is reached by nobody.
        Reached::At(_) if host.starts_with("127.") || host == "[::1]" => Vec::new(),
        Reached::At(at) => at,
    }
}

fn read_redirection(
    setting: &Setting,
    root: &Setting,
    variables: &Variables<'_>,
) -> Option<Redirection> {
    let redirection = setting.get("http.redirections.entrypoint")?;
    let to = redirection.text("to")?;
    let port = match to.strip_prefix(':') {
        Some(port) => port.parse().ok(),
        None => {
            let target = root.get("entrypoints").and_then(|all| all.get(to));
            let address = target.and_then(|target| target.text("address"));
            address.and_then(|text| read_address(&variables.resolve(text))).map(|(_, port, _)| port)
        }
    };
    let scheme = redirection.text("scheme").unwrap_or("https");
    let priority = redirection.text("priority").and_then(|text| text.parse().ok());
    let to_https = scheme == "https" && port == Some(443);
    Some(Redirection { to_https, priority: priority.unwrap_or(i64::MAX - 1) })
}

/// Whether a container that says nothing, or something, counts.
pub(super) fn is_exposed(settings: &Setting, by_default: bool) -> bool {
    match settings.text("traefik.enable") {
        None => by_default,
        Some(text) => parse_bool(text) == Some(true),
    }
}

/// The host's network, where container and host are one.
pub(super) fn is_on_host(container: &Container) -> bool {
    container.network == Network::Host
}
