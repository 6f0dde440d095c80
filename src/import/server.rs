//! A server's file: what Traefik's model says of its services, put where they stand.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::compose::{self, Container, Network};
use super::dashboard::Admin;
use super::dynamic::{At, Dynamic, Layer, Target};
use super::inputs::{Inputs, Source};
use super::ports::{Protocol, Reached};
use super::rathole::{Key, quote, quote_list};
use super::region::Condition;
use super::routing::{Backend, Routed, Routing, route};
use super::static_config::{Static, is_on_host, is_traefik};
use super::variables::{Env, Variables};
use super::{AtServer, Work};
use crate::config::{ConfigError, ServerConfig, ServerService, ServiceKind, show_ports};
use crate::proto::route::Entry;

/// What the files beside rathole's say.
pub(super) struct Model<'a> {
    routing: Routing,
    variables: Variables<'a>,
    containers: Vec<Container>,
    rathole: Rathole,
    /// Whether there are such files.
    present: bool,
    /// Of a docker-compose file.
    compose: Option<String>,
}

/// Where rathole's server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rathole {
    /// In no container here, so on the host.
    Host,
    Container(usize),
    /// In one of several.
    Unclear,
}

/// What is left out because our own parser does not take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Culprit {
    Service(usize),
    Entry(Entry),
    Tunnel,
    Admin,
}

impl<'a> Model<'a> {
    pub(super) fn read(inputs: &Inputs<'_>, source: &Source<'_>, env: Env<'a>) -> Model<'a> {
        let mut variables = Variables::new(env);
        let containers = compose::read(&inputs.compose, &mut variables);
        let known = Static::read(&inputs.statics, &containers, &variables);
        let rathole = find_rathole(&containers);
        let mut model = Model {
            routing: Routing::default(),
            variables,
            containers,
            rathole,
            present: !inputs.is_rathole_alone(),
            compose: inputs.compose.first().map(|(name, _)| name.to_string()),
        };
        let Some(server) = source.config.server.as_ref().filter(|_| model.present) else {
            return model;
        };
        let dynamic = Dynamic::read(&known, &model.containers, &inputs.dynamics);
        let known = without_unseen_files(known, inputs);
        let find = |target: &Target, layer| model.find(server, source, target, layer);
        let mut routing = route(&known, &dynamic, &model.variables, &find);
        let unfold = |text: String| model.variables.unfold(&text);
        let more = known.notes.into_iter().chain(dynamic.notes);
        routing.notes.extend(more.map(|(place, text)| (place, unfold(text))));
        model.routing = routing;
        model
    }

    /// Which of rathole's ports a target is.
    fn find(
        &self,
        server: &ServerConfig,
        source: &Source<'_>,
        target: &Target,
        layer: Layer,
    ) -> Result<Backend, String> {
        let docker = self.docker();
        let here = match (&target.at, docker) {
            (At::Container(name), Some(docker)) => {
                let borrows = |one: &Container| {
                    one.name == docker.name
                        || matches!(&one.network, Network::Of(lender) if *lender == docker.name)
                };
                self.containers.iter().any(|one| one.name == *name && borrows(one))
            }
            (At::Host(host), Some(docker)) => {
                *host == docker.name
                    || docker.aliases.contains(host)
                    || is_on_host(docker) && is_host(host)
            }
            (At::Host(host), None) => self.rathole == Rathole::Host && is_host(host),
            (At::Container(_), None) => false,
        };
        if !here {
            let (At::Container(name) | At::Host(name)) = &target.at;
            return Err(match self.rathole {
                Rathole::Unclear => "which container is rathole's server is not clear".into(),
                _ => format!("it leads to the container {name}, not to rathole"),
            });
        }
        let reached = |addr: &SocketAddr| {
            addr.port() == target.port
                && (docker.is_none_or(is_on_host) || addr.ip().is_unspecified())
        };
        let fits = |service: &ServerService| {
            (service.kind == ServiceKind::Udp) == (layer == Layer::Udp)
                && service.bind_addrs.iter().any(reached)
        };
        if let Some(found) = server.services.iter().position(fits) {
            return Ok(Backend::Service(found));
        }
        if layer != Layer::Udp && server.bind_addrs.iter().any(reached) {
            return Ok(Backend::Tunnel);
        }
        Err(format!("no service of {} has port {}", source.file.name, target.port))
    }

    fn docker(&self) -> Option<&Container> {
        match self.rathole {
            Rathole::Container(at) => Some(&self.containers[at]),
            Rathole::Host | Rathole::Unclear => None,
        }
    }

    /// Where what rathole binds is reached from outside.
    fn outside(&self, addr: &SocketAddr, protocol: Protocol) -> Vec<String> {
        let Some(docker) = self.docker() else {
            return match self.rathole {
                Rathole::Unclear => Vec::new(),
                _ => vec![addr.to_string()],
            };
        };
        match docker.reached(&self.containers, addr.port(), protocol).0 {
            Reached::AsBound => vec![addr.to_string()],
            // In a container, loopback is nobody's but its own.
            Reached::At(_) if !addr.ip().is_unspecified() => Vec::new(),
            Reached::At(at) => {
                let same = format!("0.0.0.0:{}", addr.port());
                let show = |one| if one == same { addr.to_string() } else { one };
                at.into_iter().map(show).collect()
            }
        }
    }

    /// What to leave out of the file, so that the rest of it is good: the first of these that is
    /// still in it. Nothing: it is none of ours.
    pub(super) fn blame(&self, error: &ConfigError, server: &ServerConfig) -> Vec<Culprit> {
        let mut culprits = Vec::new();
        if self.present {
            culprits.extend(self.culprit(&error.key, server));
            for (key, entry) in [("http_addr", Entry::Http), ("https_addr", Entry::Https)] {
                if error.reason.contains(&format!("taken by server.{key}")) {
                    culprits.push(Culprit::Entry(entry));
                }
            }
        }
        culprits
    }

    fn culprit(&self, key: &str, server: &ServerConfig) -> Option<Culprit> {
        let rest = key.strip_prefix("server.")?;
        if rest.starts_with("admin") {
            return self.routing.admin.is_some().then_some(Culprit::Admin);
        }
        for (name, culprit) in [
            ("http_addr", Culprit::Entry(Entry::Http)),
            ("https_addr", Culprit::Entry(Entry::Https)),
            ("bind_addr", Culprit::Tunnel),
        ] {
            if rest.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
            {
                return Some(culprit);
            }
        }
        let rest = rest.strip_prefix("services.")?;
        let is_it = |service: &ServerService| {
            let name = &service.name;
            rest.starts_with(&format!("{name}.")) || rest.starts_with(&format!("{name:?}."))
        };
        server.services.iter().position(is_it).map(Culprit::Service)
    }
}

impl Work<'_> {
    /// Gives the server's services what the model says, but for what `closed` leaves out.
    pub(super) fn server(&mut self, model: &Model<'_>, closed: &[(Culprit, String)]) {
        let Some(server) = &self.source.config.server else { return };
        let is_closed = |culprit| closed.iter().any(|(known, _)| *known == culprit);
        if model.present {
            self.note_model(model, server, closed);
            self.entries(model, server, closed);
            if !is_closed(Culprit::Tunnel) {
                self.tunnel(model, server);
            }
        }
        let mut known = self.at_server.take().unwrap_or_default();
        for (number, service) in server.services.iter().enumerate() {
            let mut routed = model.routing.services.get(&number);
            let out = is_closed(Culprit::Service(number))
                || routed
                    .and_then(|routed| routed.entry)
                    .is_some_and(|e| is_closed(Culprit::Entry(e)));
            if out {
                routed = None;
            }
            if model.present {
                self.place_service(model, service, routed, out);
            }
            let kind = match routed.and_then(|routed| routed.entry) {
                Some(Entry::Http) => ServiceKind::Http,
                Some(Entry::Https) => ServiceKind::Https,
                None => service.kind,
            };
            let proxy_header = routed.and_then(|routed| routed.proxy_header);
            known.insert(service.name.clone(), AtServer { kind, proxy_header });
        }
        self.at_server = Some(known);
        if !is_closed(Culprit::Admin) && !is_closed(Culprit::Entry(Entry::Http)) {
            self.admin(model, server);
        }
    }

    /// Traefik's dashboard becomes the admin page.
    fn admin(&mut self, model: &Model<'_>, server: &ServerConfig) {
        let Some(Admin { host, login, router, place }) = &model.routing.admin else { return };
        let Some(tunnel) = self.sheet.find(&["server", "bind_addr"]) else { return };
        if server.admin.is_some() {
            let why = "the file has a [server.admin] already, which stays as it is";
            return self.notes.push(format!("{place}: router {router}: {why}"));
        }
        let mut lines = vec![format!("host = {}", quote(&model.variables.unfold(host)))];
        let users: Vec<String> =
            model.unfold_all(&login.users).iter().map(|line| quote(line)).collect();
        if !users.is_empty() {
            lines.push(format!("users = [{}]", users.join(", ")));
        }
        if let Some(name) = &login.users_file {
            lines.push(format!("users_file = {}", quote(&model.variables.unfold(name))));
        }
        self.sheet.add_table(&tunnel, "server", "admin", &lines);
        self.notes.push(format!(
            "{place}: router {router}: in the place of Traefik's dashboard there is the page of \
             [server.admin]"
        ));
    }

    fn note_model(
        &mut self,
        model: &Model<'_>,
        server: &ServerConfig,
        closed: &[(Culprit, String)],
    ) {
        let notes = model.routing.notes.iter();
        self.notes.extend(notes.map(|(place, text)| format!("{place}: {text}")));
        for (culprit, reason) in closed {
            self.notes.push(model.left_out(culprit, reason, server));
        }
        for (number, routed) in &model.routing.services {
            if let (Some(version), Some(place)) = (routed.proxy_header, &routed.place) {
                let name = &server.services[*number].name;
                let routers: Vec<&str> = routed.routers.iter().map(|router| &**router).collect();
                self.notes.push(format!(
                    "{place}: router {}: the home waits for a PROXY header: in the client's file, \
                     service {name} needs proxy_protocol = \"v{version}\"",
                    routers.join(", ")
                ));
            }
        }
        let hosts = model.routing.services.values().flat_map(|routed| &routed.hosts);
        let mut used: BTreeSet<&str> = hosts.flat_map(|host| model.variables.of(host)).collect();
        if let Some(Admin { host, login, .. }) = &model.routing.admin {
            let texts = login.users.iter().chain(&login.users_file).chain([host]);
            used.extend(texts.flat_map(|text| model.variables.of(text)));
        }
        let Some(file) = &model.compose else { return };
        if !used.is_empty() {
            let names = used.into_iter().collect::<Vec<_>>().join(", ");
            self.notes.push(format!("from the environment, as in {file}: {names}"));
        }
        for name in &model.variables.defaults {
            self.notes
                .push(format!("{file}: ${{{name}}} is not set here: its default is written out"));
        }
        match model.rathole {
            Rathole::Container(_) => {}
            Rathole::Host => self.notes.push(format!(
                "{file}: no container is rathole's server: it is taken to run on the host itself"
            )),
            Rathole::Unclear => self.notes.push(format!(
                "{file}: several containers may be rathole's server: all its ports are of this \
                 host alone until you say which"
            )),
        }
    }

    /// Where names come in.
    fn entries(&mut self, model: &Model<'_>, server: &ServerConfig, closed: &[(Culprit, String)]) {
        let Some(tunnel) = self.sheet.find(&["server", "bind_addr"]) else { return };
        let mut lines = Vec::new();
        for (key, entry, addrs, there) in [
            ("http_addr", Entry::Http, &model.routing.http_addrs, &server.http_addrs),
            ("https_addr", Entry::Https, &model.routing.https_addrs, &server.https_addrs),
        ] {
            let out = closed.iter().any(|(culprit, _)| *culprit == Culprit::Entry(entry));
            if !addrs.is_empty() && there.is_empty() && !out {
                lines.push(format!("{key} = {}", quote_list(&model.unfold_all(addrs))));
            }
        }
        self.sheet.add_below(&tunnel, &lines);
    }

    /// Where homes dial in: as Docker publishes it.
    fn tunnel(&mut self, model: &Model<'_>, server: &ServerConfig) {
        let Some(key) = self.sheet.find(&["server", "bind_addr"]) else { return };
        let old: Vec<String> = server.bind_addrs.iter().map(SocketAddr::to_string).collect();
        let mut new: Vec<String> = Vec::new();
        for addr in &server.bind_addrs {
            new.extend(model.outside(addr, Protocol::Tcp));
        }
        new.extend(model.routing.tunnel_addrs.iter().cloned());
        if new.is_empty() {
            new = server.bind_addrs.iter().map(of_this_host).collect();
        }
        new.dedup();
        if new == old {
            return;
        }
        let new = model.unfold_all(&new);
        self.notes.push(format!(
            "{}:{}: the tunnel's bind_addr is now {}, as Docker publishes it: homes dial in there",
            self.source.file.name,
            self.sheet.line(&key),
            new.join(", ")
        ));
        self.sheet.set(&key, quote_list(&new));
    }

    /// Puts one service where its visitors come in.
    fn place_service(
        &mut self,
        model: &Model<'_>,
        service: &ServerService,
        routed: Option<&Routed>,
        out: bool,
    ) {
        let path = ["server", "services", &service.name, "bind_addr"];
        let Some(bind) = self.sheet.find(&path) else { return };
        let protocol = match service.kind {
            ServiceKind::Udp => Protocol::Udp,
            _ => Protocol::Tcp,
        };
        let mut ports: Vec<String> = Vec::new();
        if !out {
            ports.extend(routed.iter().flat_map(|routed| routed.ports.iter().cloned()));
            for addr in &service.bind_addrs {
                // Without Docker, a port that Traefik came to was of this host alone.
                if model.docker().is_some() || routed.is_none() {
                    ports.extend(model.outside(addr, protocol));
                }
            }
        }
        let mut seen = BTreeSet::new();
        ports.retain(|port| seen.insert(port.clone()));
        let entry = routed.and_then(|routed| routed.entry);
        let old: Vec<String> = service.bind_addrs.iter().map(SocketAddr::to_string).collect();
        let Some((routed, entry)) = routed.zip(entry) else {
            if ports.is_empty() {
                ports = service.bind_addrs.iter().map(of_this_host).collect();
            }
            if ports != old {
                self.move_ports(model, &bind, service, ports);
            }
            return;
        };
        let kind = if entry == Entry::Http { ServiceKind::Http } else { ServiceKind::Https };
        let mut lines = self.type_line(&path[..3], kind);
        let hosts = model.unfold_all(&routed.hosts);
        lines.push(format!("hosts = {}", quote_list(&hosts)));
        match &routed.condition {
            Some(Condition::Path(text)) => {
                lines.push(format!("path_prefix = {}", quote(&format!("{text}*"))));
            }
            Some(Condition::Alpn(protocol)) => lines.push(format!("alpn = {}", quote(protocol))),
            Some(Condition::None) | None => {}
        }
        if routed.fallback {
            lines.push("fallback = true".into());
        }
        if routed.redirect {
            lines.push("redirect_https = true".into());
        }
        let shown = self.sheet.show(&bind);
        if ports == old {
            lines.push(shown);
            self.sheet.replace(&bind, &lines, None);
        } else if ports.is_empty() {
            self.sheet.replace(&bind, &lines, Some(&shown));
        } else {
            lines.push(format!("bind_addr = {}", quote_list(&model.shown_ports(&ports))));
            self.sheet.replace(&bind, &lines, Some(&shown));
        }
    }

    /// Nobody gets in where nobody got in.
    fn move_ports(
        &mut self,
        model: &Model<'_>,
        bind: &Key,
        service: &ServerService,
        ports: Vec<String>,
    ) {
        let note = format!(
            "{}:{}: service {}: bind_addr is now what the compose file publishes of it, or of \
             this host alone",
            self.source.file.name,
            self.sheet.line(bind),
            service.name
        );
        self.notes.push(note);
        self.sheet.set(bind, quote_list(&model.shown_ports(&ports)));
    }
}

impl Model<'_> {
    fn unfold_all<'b>(&self, texts: impl IntoIterator<Item = &'b String>) -> Vec<String> {
        texts.into_iter().map(|text| self.variables.unfold(text)).collect()
    }

    /// Ports that follow each other as a range, where all of them are literal.
    fn shown_ports(&self, ports: &[String]) -> Vec<String> {
        let addrs: Option<Vec<SocketAddr>> = ports.iter().map(|port| port.parse().ok()).collect();
        addrs.map_or_else(|| self.unfold_all(ports), |addrs| show_ports(&addrs))
    }

    fn left_out(&self, culprit: &Culprit, reason: &str, server: &ServerConfig) -> String {
        let mut place = String::new();
        let what = match culprit {
            Culprit::Service(number) => {
                let routed = self.routing.services.get(number);
                if let Some(known) = routed.and_then(|routed| routed.place.as_ref()) {
                    place = format!("{known}: ");
                }
                let routers =
                    routed.map(|routed| routed.routers.iter().cloned().collect::<Vec<_>>());
                let routers = routers.filter(|routers| !routers.is_empty());
                let routers = routers.map(|routers| format!(" (router {})", routers.join(", ")));
                let name = &server.services[*number].name;
                format!("service {name}{} is of this host alone", routers.unwrap_or_default())
            }
            Culprit::Entry(Entry::Http) => "no name of plain HTTP is carried over".into(),
            Culprit::Entry(Entry::Https) => "no name of TLS is carried over".into(),
            Culprit::Tunnel => "the tunnel's bind_addr is as it was".into(),
            Culprit::Admin => {
                let admin = self.routing.admin.as_ref();
                if let Some(Admin { place: known, router, .. }) = admin {
                    place = format!("{known}: router {router}: ");
                }
                let file = admin.and_then(|admin| admin.login.users_file.as_ref());
                let file = file.map(|name| self.variables.unfold(name));
                let file = file.map(|name| format!(", whose users are in {name} (usersFile)"));
                let page = "the dashboard's place, [server.admin], is not opened";
                format!("{page}{}", file.unwrap_or_default())
            }
        };
        format!("{place}{what}: {reason}")
    }
}

/// By its image, by what it runs or is built from, or by its name; Traefik and rathole's clients
/// are none.
fn find_rathole(containers: &[Container]) -> Rathole {
    let score = |container: &Container| -> Option<u32> {
        let words: Vec<&str> = container.words().collect();
        let program = |word: &&str| word.rsplit('/').next() == Some("rathole");
        let runs = container.image.name.contains("rathole")
            || container.build.contains("rathole")
            || words.iter().any(program)
            || words.iter().any(|word| word.contains("rathole") && word.ends_with(".toml"));
        let named = container.name.contains("rathole");
        if is_traefik(container) || !runs && !named {
            return None;
        }
        let says = |options: &[&str], file: &str| {
            words.iter().any(|word| options.contains(word) || word.ends_with(file))
        };
        let server = says(&["--server", "-s"], "server.toml");
        let client = says(&["--client", "-c"], "client.toml");
        if client && !server {
            return None;
        }
        Some(u32::from(server) * 2 + u32::from(runs))
    };
    let scores: Vec<Option<u32>> = containers.iter().map(score).collect();
    let Some(best) = scores.iter().flatten().max() else { return Rathole::Host };
    let mut all = (0..containers.len()).filter(|at| scores[*at] == Some(*best));
    match (all.next(), all.next()) {
        (Some(one), None) => Rathole::Container(one),
        _ => Rathole::Unclear,
    }
}

/// Routers in files that nobody named may take anybody.
fn without_unseen_files(mut known: Static, inputs: &Inputs<'_>) -> Static {
    if known.reads_files && inputs.dynamics.is_empty() {
        known.doubt.get_or_insert_with(|| {
            "Traefik's file provider has routers too, and may give its visitors to them: name the \
             files that it reads too"
                .into()
        });
    }
    known
}

/// A name or address of the host itself.
fn is_host(host: &str) -> bool {
    let loopback = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    loopback || ["localhost", "host.docker.internal", "172.17.0.1"].contains(&host)
}

fn of_this_host(addr: &SocketAddr) -> String {
    match addr {
        SocketAddr::V4(_) => format!("127.0.0.1:{}", addr.port()),
        SocketAddr::V6(_) => format!("[::1]:{}", addr.port()),
    }
}
