//! Traefik's dynamic configuration: routers, services and middlewares, from the labels of the
//! containers that count and from the file provider's files.

use std::collections::{BTreeMap, HashMap};

use super::compose::{Container, Label};
use super::schema;
use super::settings::{Place, Setting, path_of};
use super::static_config::{LabelSource, Static, is_exposed};

/// What a router sees of its visitors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Layer {
    Http,
    Tcp,
    Udp,
}

impl Layer {
    pub(super) const ALL: [Layer; 3] = [Layer::Http, Layer::Tcp, Layer::Udp];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Layer::Http => "http",
            Layer::Tcp => "tcp",
            Layer::Udp => "udp",
        }
    }
}

/// A router.
#[derive(Debug, Clone)]
pub(super) struct Router {
    pub(super) layer: Layer,
    /// As its labels spell it; `name@file` for one of a file.
    pub(super) name: String,
    provider: &'static str,
    pub(super) place: Place,
    pub(super) rule: String,
    /// `None`: all that are the default.
    pub(super) entry_points: Option<Vec<String>>,
    /// With its provider: `name@docker`.
    pub(super) service: Option<String>,
    pub(super) tls: bool,
    pub(super) passthrough: bool,
    /// With their providers.
    pub(super) middlewares: Vec<String>,
    /// 0: the rule's length.
    pub(super) priority: i64,
    pub(super) syntax: Option<String>,
    /// Why Traefik does not have it at all: it takes nobody.
    pub(super) broken: Option<String>,
}

/// Where a service leads to.
#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) place: Place,
    pub(super) target: Result<Target, String>,
}

/// A port of one container, or of a host.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) at: At,
    pub(super) port: u16,
    /// The version of the PROXY header that goes before the visitor's bytes.
    pub(super) proxy_header: Option<u8>,
    /// What stays behind of the service.
    pub(super) lost: Vec<String>,
}

/// Who listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum At {
    /// The container of this name.
    Container(String),
    /// The host of a URL.
    Host(String),
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Dynamic {
    pub(super) routers: Vec<Router>,
    pub(super) services: HashMap<(Layer, String), Service>,
    /// Each with its types below it.
    pub(super) middlewares: HashMap<(Layer, String), Setting>,
    pub(super) notes: Vec<(Place, String)>,
}

impl Dynamic {
    pub(super) fn read(known: &Static, containers: &[Container], files: &[Setting]) -> Dynamic {
        let mut dynamic = Dynamic::default();
        let mut seen: BTreeMap<(Layer, String), usize> = BTreeMap::new();
        for container in containers {
            dynamic.read_container(known, container, &mut seen);
        }
        for file in files {
            if known.reads_files || known.doubt.is_some() {
                dynamic.read_file(file, &mut seen);
            } else {
                let note = "Traefik does not read it: there is no providers.file";
                dynamic.notes.push((file.place.clone(), format!("{}: {note}", file.place.file)));
            }
        }
        dynamic
    }

    fn read_container(
        &mut self,
        known: &Static,
        container: &Container,
        seen: &mut BTreeMap<(Layer, String), usize>,
    ) {
        let settings = label_tree(&container.labels);
        let swarm = label_tree(&container.swarm_labels);
        let (settings, other, where_else) = match known.labels {
            LabelSource::Swarm => (swarm, settings, "labels"),
            _ => (settings, swarm, "deploy.labels"),
        };
        self.unread_labels(container, &settings, &other, where_else);
        let Some(traefik) = settings.get("traefik") else { return };
        let routes = Layer::ALL.iter().any(|layer| traefik.get(layer.as_str()).is_some());
        let closed = match () {
            () if !routes => return,
            () if known.labels == LabelSource::Nobody && known.doubt.is_none() => {
                Some("Traefik reads no labels: there is no providers.docker".to_owned())
            }
            () => schema::refusal(known, container, &settings).or_else(|| {
                let exposed = is_exposed(&settings, known.exposed_by_default);
                (!exposed).then(|| match settings.text("traefik.enable") {
                    Some(_) => "traefik.enable is not true".to_owned(),
                    None => {
                        "exposedByDefault is false, and it has no traefik.enable=true".to_owned()
                    }
                })
            }),
        };
        if let Some(why) = closed {
            let note = format!("container {}: none of its routers counts: {why}", container.name);
            self.notes.push((traefik.place.clone(), note));
            return;
        }
        let udp_or_tcp =
            [Layer::Tcp, Layer::Udp].iter().any(|layer| traefik.get(layer.as_str()).is_some());
        for layer in Layer::ALL {
            match traefik.get(layer.as_str()) {
                Some(part) => self.read_labels(layer, part, container, known, seen),
                None if layer == Layer::Http && !udp_or_tcp => {}
                None => {}
            }
        }
    }

    /// Labels that no Traefik of this kind reads.
    fn unread_labels(
        &mut self,
        container: &Container,
        settings: &Setting,
        other: &Setting,
        where_else: &str,
    ) {
        let name = &container.name;
        if let Some(traefik) = other.get("traefik") {
            let note = format!("container {name}: Traefik does not read its {where_else} here");
            self.notes.push((traefik.place.clone(), note));
        }
        let old = ["frontend", "backend", "port", "protocol", "weight"];
        let traefik = settings.get("traefik").map(|traefik| &traefik.below[..]);
        let mut first = traefik.unwrap_or_default().iter().filter(|below| {
            old.iter().any(|old| below.name.eq_ignore_ascii_case(old))
                || below.get("frontend").is_some()
        });
        if let Some(label) = first.next() {
            let path = label.leaves().first().map(|(path, _)| format!(".{path}"));
            let note = format!(
                "container {name}: traefik.{}{} is a label of Traefik 1, which is not carried over",
                label.name,
                path.unwrap_or_default()
            );
            self.notes.push((label.place.clone(), note));
        }
    }

    fn read_labels(
        &mut self,
        layer: Layer,
        part: &Setting,
        container: &Container,
        known: &Static,
        seen: &mut BTreeMap<(Layer, String), usize>,
    ) {
        let mut names = Vec::new();
        for setting in part.get("services").map(|all| &all.below[..]).unwrap_or_default() {
            names.push(format!("{}@docker", setting.name));
            self.add_service(layer, setting, Some(container), "docker");
        }
        if names.is_empty() && part.get("routers").is_some() {
            // The container's own, at its lowest port. Its name has a character that no label has.
            let mut own = Setting::root(part.place.clone());
            own.name = format!("{}/", container.name);
            names.push(format!("{}@docker", own.name));
            self.add_service(layer, &own, Some(container), "docker");
        }
        for setting in part.get("middlewares").map(|all| &all.below[..]).unwrap_or_default() {
            self.add_middleware(layer, setting, "docker");
        }
        for setting in part.get("routers").map(|all| &all.below[..]).unwrap_or_default() {
            let mut router = read_router(layer, setting, "docker");
            if router.service.is_none() {
                match &names[..] {
                    [one] => router.service = Some(one.clone()),
                    _ => {
                        router.broken =
                            Some("it does not say its service, and there are several".into())
                    }
                }
            }
            if router.rule.is_empty() && layer != Layer::Udp {
                router.broken.get_or_insert(match (&known.default_rule, layer) {
                    (Some(rule), Layer::Http) => {
                        format!("it has the defaultRule ({rule}), whose names are not known here")
                    }
                    (None, Layer::Http) => "it has no rule".into(),
                    _ => "it has no rule, and Traefik does not take it".into(),
                });
            }
            self.add_router(router, seen);
        }
    }

    fn read_file(&mut self, file: &Setting, seen: &mut BTreeMap<(Layer, String), usize>) {
        for layer in Layer::ALL {
            let Some(part) = file.get(layer.as_str()) else { continue };
            for setting in part.get("services").map(|all| &all.below[..]).unwrap_or_default() {
                self.add_service(layer, setting, None, "file");
            }
            for setting in part.get("middlewares").map(|all| &all.below[..]).unwrap_or_default() {
                self.add_middleware(layer, setting, "file");
            }
            for setting in part.get("routers").map(|all| &all.below[..]).unwrap_or_default() {
                let mut router = read_router(layer, setting, "file");
                if router.service.is_none() {
                    router.broken = Some("it does not say its service".into());
                }
                self.add_router(router, seen);
            }
        }
    }

    /// Two of one name that differ are none.
    fn add_router(&mut self, router: Router, seen: &mut BTreeMap<(Layer, String), usize>) {
        let key = (router.layer, format!("{}@{}", router.name, router.provider));
        let Some(&first) = seen.get(&key) else {
            seen.insert(key, self.routers.len());
            self.routers.push(router);
            return;
        };
        let first = &mut self.routers[first];
        let same = first.rule == router.rule
            && first.entry_points == router.entry_points
            && first.service == router.service
            && (first.tls, first.passthrough, first.priority)
                == (router.tls, router.passthrough, router.priority)
            && (&first.middlewares, &first.syntax) == (&router.middlewares, &router.syntax);
        if !same {
            let twice = format!("it is there twice ({} too), and differs", router.place);
            first.broken = Some(twice);
        }
    }

    fn add_service(
        &mut self,
        layer: Layer,
        setting: &Setting,
        container: Option<&Container>,
        provider: &str,
    ) {
        let target = read_target(layer, setting, container);
        let key = (layer, format!("{}@{provider}", setting.name));
        let service = Service { place: setting.place.clone(), target };
        if let Some(first) = self.services.get_mut(&key) {
            first.target = Err(format!("it has servers at {} too", service.place));
            return;
        }
        self.services.insert(key, service);
    }

    fn add_middleware(&mut self, layer: Layer, setting: &Setting, provider: &str) {
        let key = (layer, format!("{}@{provider}", setting.name));
        let values = |setting: &Setting| -> Vec<_> {
            let leaves = setting.leaves().into_iter();
            leaves.map(|(path, leaf)| (path, leaf.value.clone())).collect()
        };
        match self.middlewares.get_mut(&key) {
            // Two that differ are none: what has no types is not known.
            Some(first) if values(first) != values(setting) => first.below.clear(),
            Some(_) => {}
            None => drop(self.middlewares.insert(key, setting.clone())),
        }
    }
}

/// The labels as a tree; Docker has them in no order, and Traefik sorts them.
fn label_tree(labels: &[Label]) -> Setting {
    let mut labels: Vec<&Label> = labels.iter().collect();
    labels.sort_by(|a, b| a.key.cmp(&b.key));
    let place = labels.first().map(|label| label.place.clone());
    let mut root = Setting::root(place.unwrap_or(Place { file: "?".into(), line: 1 }));
    for label in labels {
        root.insert(path_of(&label.key), &label.value, &label.place);
    }
    root
}

fn read_router(layer: Layer, setting: &Setting, provider: &'static str) -> Router {
    let full = |name: &str| match name.contains('@') {
        true => name.to_owned(),
        false => format!("{name}@{provider}"),
    };
    let middlewares = setting.list("middlewares").unwrap_or_default();
    let name = match provider {
        "file" => format!("{}@file", setting.name),
        _ => setting.name.clone(),
    };
    let service = setting.text("service").filter(|name| !name.is_empty());
    Router {
        layer,
        name,
        provider,
        place: first_line(setting),
        rule: setting.text("rule").unwrap_or_default().to_owned(),
        entry_points: setting.list("entrypoints").filter(|list| !list.is_empty()),
        service: service.map(full),
        tls: setting.has_part("tls"),
        passthrough: setting.flag("tls.passthrough") == Some(true),
        middlewares: middlewares.iter().map(|name| full(name)).collect(),
        priority: setting.text("priority").and_then(|text| text.parse().ok()).unwrap_or(0),
        syntax: setting.text("rulesyntax").map(str::to_owned),
        broken: None,
    }
}

/// The first of its lines, where it stands in one file.
fn first_line(setting: &Setting) -> Place {
    let leaves = setting.leaves();
    let places = leaves.iter().map(|(_, leaf)| &leaf.place);
    places.filter(|place| place.file == setting.place.file).min().unwrap_or(&setting.place).clone()
}

/// Where a service's one server is.
fn read_target(
    layer: Layer,
    setting: &Setting,
    container: Option<&Container>,
) -> Result<Target, String> {
    if let Some(other) =
        setting.below.iter().find(|kind| !kind.name.eq_ignore_ascii_case("loadbalancer"))
    {
        return Err(format!("underpass has no like of {}", other.name));
    }
    let balancer = setting.get("loadbalancer");
    let (at, port) = match container {
        Some(container) => {
            let server = balancer.and_then(|balancer| balancer.get("server"));
            if server.is_some_and(|s| s.get("url").is_some() || s.get("address").is_some()) {
                return Err("its server is a URL, not a port of the container".into());
            }
            let port = match server.and_then(|server| server.text("port")) {
                Some(port) => port.parse().map_err(|_| "its server.port is no port".to_owned())?,
                None => container.lowest_port().ok_or("it has no server.port")?,
            };
            (At::Container(container.name.clone()), port)
        }
        None => {
            let key = if layer == Layer::Http { "url" } else { "address" };
            let servers = balancer.and_then(|balancer| balancer.get("servers"));
            match servers.map(|servers| &servers.below[..]) {
                Some([one]) => read_url(one.text(key).unwrap_or_default())?,
                _ => return Err("it has not just one server".into()),
            }
        }
    };
    let mut target = Target { at, port, proxy_header: None, lost: Vec::new() };
    let Some(balancer) = balancer else { return Ok(target) };
    let server = balancer.get("server");
    match server.and_then(|server| server.text("scheme")) {
        None | Some("http" | "") => {}
        Some(scheme) => {
            return Err(format!(
                "Traefik speaks {scheme} to it (server.scheme); here it is plain HTTP"
            ));
        }
    }
    if server.and_then(|server| server.flag("tls")) == Some(true) {
        return Err("Traefik speaks TLS to it (server.tls)".into());
    }
    target.proxy_header = read_proxy_header(balancer)?;
    for part in &balancer.below {
        let name = part.name.to_ascii_lowercase();
        let plain = ["server", "servers", "proxyprotocol"].contains(&&*name)
            || name == "passhostheader" && part.value.as_deref().is_none_or(|v| v != "false");
        if !plain {
            target.lost.push(name);
        }
    }
    Ok(target)
}

/// `proxyprotocol=true`, or its version, which is 2 without a word.
fn read_proxy_header(balancer: &Setting) -> Result<Option<u8>, String> {
    if balancer.get("serverstransport").is_some() {
        return Err("it has a serversTransport, which underpass does not read".into());
    }
    if !balancer.has_part("proxyprotocol") {
        return Ok(None);
    }
    match balancer.text("proxyprotocol.version") {
        None | Some("2" | "") => Ok(Some(2)),
        Some("1") => Ok(Some(1)),
        Some(_) => Err("its proxyprotocol.version is neither 1 nor 2".into()),
    }
}

/// `http://host:port`, or `host:port`.
fn read_url(text: &str) -> Result<(At, u16), String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    if scheme != "http" {
        return Err(format!("Traefik speaks {scheme} to it; here it is plain HTTP"));
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !path.is_empty() {
        return Err("its URL has a path".into());
    }
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "80"));
    let port = port.parse().map_err(|_| "its URL has no port".to_owned())?;
    Ok((At::Host(host.to_owned()), port))
}
