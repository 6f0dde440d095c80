//! What differs between two configurations, in words: for the log of a reload, and for `check`.
//! No secret is shown.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::time::Duration;

use super::quantity::show_size;
use super::{
    AccessLogConfig, AccessLogFormat, AdminAddr, AdminConfig, ClientConfig, ClientService,
    HttpTimes, NoiseConfig, RemoteServer, Secret, ServerConfig, ServerLimits, ServerService, Ssh,
    TcpOptions, Transport, UdpOptions, VisitorLimits, show_ports,
};
use crate::proto::broker::Balance;
use crate::proto::http_entry::Redirect;
use crate::proto::route::Entry;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change(String);

impl Change {
    /// A whole role came or went, which no reload does.
    pub fn of_role(role: &str, came: bool) -> Change {
        let which = if came { "only in the new file" } else { "only in the old file" };
        Change(format!("[{role}] is {which}"))
    }
}

impl Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a running server changes when it gets `new` in the place of `old`.
pub fn server(old: &ServerConfig, new: &ServerConfig) -> Vec<Change> {
    let mut changes = Facts::of_server(old).differences(&Facts::of_server(new));
    changes.extend(services(
        &old.services.iter().map(Part::of_server).collect::<Vec<_>>(),
        &new.services.iter().map(Part::of_server).collect::<Vec<_>>(),
    ));
    changes.extend(names(old).differences(&names(new)));
    changes
}

/// What a running client changes when it gets `new` in the place of `old`.
pub fn client(old: &ClientConfig, new: &ClientConfig) -> Vec<Change> {
    let mut changes = Facts::of_client(old).differences(&Facts::of_client(new));
    changes.extend(services(
        &old.services.iter().map(Part::of_client).collect::<Vec<_>>(),
        &new.services.iter().map(Part::of_client).collect::<Vec<_>>(),
    ));
    changes
}

/// A service.
struct Part<'a> {
    name: &'a str,
    kind: &'static str,
    tokens: &'a [Secret],
    facts: Facts,
}

fn services(old: &[Part<'_>], new: &[Part<'_>]) -> Vec<Change> {
    let mut changes = Vec::new();
    for was in old {
        let name = was.name;
        let Some(is) = new.iter().find(|part| part.name == name) else {
            changes.push(Change(format!("service {name} removed")));
            continue;
        };
        if is.kind != was.kind {
            changes
                .push(Change(format!("service {name}: type {} instead of {}", is.kind, was.kind)));
        }
        let lacks = |part: &Part<'_>, token: &Secret| !part.tokens.contains(token);
        if is.tokens.iter().any(|token| lacks(was, token)) {
            changes.push(Change(format!("service {name}: a new token")));
        }
        if was.tokens.iter().any(|token| lacks(is, token)) {
            changes.push(Change(format!("service {name}: an old token counts no more")));
        }
        changes.extend(was.facts.differences(&is.facts));
    }
    let is_new = |part: &&Part<'_>| old.iter().all(|was| was.name != part.name);
    let added = new.iter().filter(is_new);
    changes.extend(added.map(|part| Change(format!("service {} added", part.name))));
    changes
}

/// Who gets a name, at each entry.
fn names(config: &ServerConfig) -> Facts {
    let mut facts = Facts::below("");
    for (entry, shown) in [(Entry::Http, "http"), (Entry::Https, "https")] {
        for found in config.routes.list(entry) {
            let condition = found.condition.map(|it| format!(" with {it}")).unwrap_or_default();
            let service = &config.services[found.service].name;
            facts.say(&format!("{shown} {}{condition}", found.pattern), Some(service));
        }
    }
    facts.absent = "nobody";
    facts
}

/// What a configuration says: keys in order, and values.
struct Facts {
    /// In front of each key.
    prefix: String,
    /// In the order in which they were said.
    keys: Vec<String>,
    values: BTreeMap<String, Fact>,
    /// In the place of a value that is not there.
    absent: &'static str,
}

struct Fact {
    /// `None`: a secret, or too much.
    shown: Option<String>,
    /// Equal if and only if the facts are.
    whole: Vec<u8>,
}

impl Facts {
    fn below(prefix: &str) -> Facts {
        let (keys, values) = (Vec::new(), BTreeMap::new());
        Facts { prefix: prefix.to_owned(), keys, values, absent: "none" }
    }

    fn add(&mut self, key: &str, fact: Option<Fact>) {
        let key = format!("{}{key}", self.prefix);
        if let Some(fact) = fact {
            self.values.insert(key.clone(), fact);
        }
        self.keys.push(key);
    }

    fn say(&mut self, key: &str, value: Option<impl Display>) {
        let fact = |text: String| Fact { whole: text.clone().into_bytes(), shown: Some(text) };
        self.add(key, value.map(|value| fact(value.to_string())));
    }

    fn hide(&mut self, key: &str, value: Option<&[u8]>) {
        self.add(key, value.map(|value| Fact { shown: None, whole: value.to_vec() }));
    }

    fn say_all(&mut self, key: &str, values: Vec<String>) {
        self.say(key, (!values.is_empty()).then(|| values.join(", ")));
    }

    fn seconds(&mut self, key: &str, time: Option<Duration>) {
        self.say(key, time.map(|time| format!("{} s", time.as_secs())));
    }

    fn differences(&self, new: &Facts) -> Vec<Change> {
        let only_new = new.keys.iter().filter(|key| !self.keys.contains(key));
        let show = |fact: Option<&Fact>| match fact {
            Some(fact) => fact.shown.clone(),
            None => Some(self.absent.to_owned()),
        };
        let whole = |fact: Option<&Fact>| fact.map(|fact| fact.whole.clone());
        let mut changes = Vec::new();
        for key in self.keys.iter().chain(only_new) {
            let (was, is) = (self.values.get(key), new.values.get(key));
            if whole(was) == whole(is) {
                continue;
            }
            changes.push(Change(match (show(was), show(is)) {
                (Some(was), Some(is)) if was != is => format!("{key}: {is} instead of {was}"),
                _ => format!("{key}: another one"),
            }));
        }
        changes
    }

    // Each field by name, so that a new one cannot be forgotten.
    fn of_server(config: &ServerConfig) -> Facts {
        let ServerConfig {
            bind_addrs,
            http_addrs,
            https_addrs,
            watch,
            transport,
            rathole,
            tcp,
            heartbeat_interval,
            drain_time,
            services,
            routes: _, // see `names`
            public_https_port,
            pages,
            no_sni,
            unknown_sni,
            ssh,
            limits: ServerLimits { max_visitors, max_visitors_per_address, memory },
            visitors,
            head_timeout,
            http_times,
            trusted_proxies,
            trusted_http_proxies,
            forwarded,
            access_log,
            admin,
            listeners: _, // the addresses above
        } = config;
        let mut facts = Facts::below("");
        facts.say_all("bind_addr", show_ports(bind_addrs));
        facts.say_all("http_addr", show_ports(http_addrs));
        facts.say_all("https_addr", show_ports(https_addrs));
        facts.say("watch", Some(watch));
        facts.transport(transport);
        facts.tcp(tcp);
        facts.say("rathole", Some(rathole));
        facts.seconds("heartbeat_interval", *heartbeat_interval);
        facts.seconds("drain_time", Some(*drain_time));
        facts.say("public_https_port", public_https_port.as_ref());
        for page in pages.all() {
            facts.hide(&format!("error_pages.{}", page.status), Some(&page.body));
        }
        facts.say("no_sni", Some(no_sni.as_str()));
        facts.say("unknown_sni", Some(unknown_sni.as_str()));
        facts.say("ssh_service", ssh.map(|Ssh { service, .. }| &services[service].name));
        facts.seconds("ssh_wait", ssh.map(|Ssh { wait, .. }| wait));
        facts.say("max_visitors", Some(max_visitors));
        facts.say("max_visitors_per_address", max_visitors_per_address.as_ref());
        facts.say("memory", Some(format!("{memory} bytes")));
        facts.seconds("head_timeout", Some(*head_timeout));
        facts.limits(visitors, http_times);
        facts.say_all("trusted_proxies", trusted_proxies.show());
        facts.say_all("trusted_http_proxies", trusted_http_proxies.show());
        facts.say("forwarded", Some(format!("{forwarded:?}").to_lowercase()));
        if let Some(AccessLogConfig { path, format, place: _ }) = access_log {
            let path = path.as_ref().map_or("-".into(), |path| path.display().to_string());
            facts.say("access_log.path", Some(path));
            facts.say(
                "access_log.format",
                Some(match format {
                    AccessLogFormat::Clf => "clf",
                    AccessLogFormat::Json => "json",
                }),
            );
        }
        facts.admin(admin.as_ref());
        facts
    }

    fn of_client(config: &ClientConfig) -> Facts {
        let ClientConfig {
            servers,
            watch,
            protocol,
            tcp,
            prefer_ipv6,
            heartbeat_timeout,
            drain_time,
            retry_interval,
            services: _,
            admin,
        } = config;
        let mut facts = Facts::below("");
        facts.servers(servers);
        facts.say("watch", Some(watch));
        facts.say("protocol", Some(format!("{protocol:?}").to_lowercase()));
        facts.tcp(tcp);
        facts.say("prefer_ipv6", Some(prefer_ipv6));
        facts.seconds("heartbeat_timeout", *heartbeat_timeout);
        facts.seconds("drain_time", Some(*drain_time));
        facts.seconds("retry_interval", Some(*retry_interval));
        facts.admin(admin.as_ref());
        facts
    }

    fn admin(&mut self, admin: Option<&AdminConfig>) {
        let Some(AdminConfig { bind_addrs, host, users, place: _ }) = admin else { return };
        self.say_all("admin.bind_addr", bind_addrs.iter().map(AdminAddr::to_string).collect());
        self.say("admin.host", host.as_ref());
        let names: Vec<&str> = users.names().collect();
        let shown = Some(names.join(", "));
        let fact = Fact { shown, whole: users.digest().to_vec() };
        self.add("admin.users", (!users.is_empty()).then_some(fact));
    }

    /// Those of a list have all but their addresses in common.
    fn servers(&mut self, servers: &[RemoteServer]) {
        let (alike, named): (Vec<&RemoteServer>, Vec<_>) =
            servers.iter().partition(|server| server.name.is_empty());
        self.say_all("remote_addr", alike.iter().map(|server| server.addr.to_string()).collect());
        if let Some(first) = alike.first() {
            self.remote(first);
        }
        for server in named {
            self.prefix = format!("server {}: ", server.name);
            self.say("remote_addr", Some(&server.addr));
            self.remote(server);
            self.prefix.clear();
        }
    }

    fn remote(&mut self, server: &RemoteServer) {
        let RemoteServer { name: _, addr: _, all_addresses, transport, proxy, .. } = server;
        self.say("resolve", all_addresses.then_some("all"));
        self.hide("default_token", server.default_token().map(Secret::expose));
        self.transport(transport);
        self.say("transport.tcp.proxy", proxy.as_ref());
        let login = proxy.as_ref().and_then(|proxy| proxy.login.as_ref());
        let login = login.map(|login| [login.user.expose(), login.password.expose()].join(&b':'));
        self.hide("transport.tcp.proxy's login", login.as_deref());
    }

    fn transport(&mut self, transport: &Transport) {
        match transport {
            Transport::Tcp => self.say("transport.type", Some("tcp")),
            Transport::Noise(noise) => {
                let NoiseConfig { patterns, local_private_key, remote_public_key } = noise;
                self.say("transport.type", Some("noise"));
                self.say_all("transport.noise.pattern", patterns.clone());
                let key = local_private_key.as_ref().map(Secret::expose);
                self.hide("transport.noise.local_private_key", key);
                self.hide("transport.noise.remote_public_key", remote_public_key.as_deref());
            }
        }
    }

    fn tcp(&mut self, tcp: &TcpOptions) {
        let TcpOptions { keepalive, proxy: _, congestion } = tcp; // see `remote`
        self.say("congestion_control", Some(congestion));
        self.seconds("transport.tcp.keepalive_secs", keepalive.map(|keepalive| keepalive.idle));
        let interval = keepalive.map(|keepalive| keepalive.interval);
        self.seconds("transport.tcp.keepalive_interval", interval);
    }

    fn limits(&mut self, limits: &VisitorLimits, times: &HttpTimes) {
        let VisitorLimits { access, rate, bandwidth } = limits;
        let access_shown = access.show();
        let whole = access.show_up_to(usize::MAX).concat().into_bytes();
        let shown = Some(access_shown.join(", "));
        self.add("networks", (!access_shown.is_empty()).then_some(Fact { shown, whole }));
        self.say("rate", rate.as_ref());
        self.say("bandwidth", bandwidth.map(|bytes| format!("{}/s", show_size(bytes))));
        self.seconds("response_timeout", times.response);
        self.seconds("idle_timeout", Some(times.idle));
    }

    fn udp(&mut self, udp: &UdpOptions) {
        let UdpOptions { idle_time, max_sessions } = udp;
        self.seconds("udp_idle_time", Some(*idle_time));
        self.say("udp_max_sessions", Some(max_sessions));
    }
}

impl<'a> Part<'a> {
    fn of_server(service: &'a ServerService) -> Part<'a> {
        let ServerService {
            name,
            kind,
            tokens,
            bind_addrs,
            redirect_https,
            passthrough,
            postgres,
            udp,
            visitors,
            max_visitors,
            http_times,
            balance,
        } = service;
        let mut facts = Facts::below(&format!("service {name}: "));
        facts.say_all("bind_addr", show_ports(bind_addrs));
        facts.say(
            "redirect_https",
            redirect_https.map(|redirect| match redirect {
                Redirect::Permanent => 308,
                Redirect::Moved => 301,
            }),
        );
        facts.say("passthrough", Some(format!("{passthrough:?}").to_lowercase()));
        facts.say("postgres", Some(postgres));
        facts.udp(udp);
        facts.say("max_visitors", max_visitors.as_ref());
        facts.limits(visitors, http_times);
        facts.say("balance", balance.map(Balance::as_str));
        Part { name, kind: kind.as_str(), tokens, facts }
    }

    fn of_client(service: &'a ClientService) -> Part<'a> {
        let ClientService {
            name,
            kind,
            token,
            has_own_token: _, // `token` differs where it matters
            local_addr,
            local_ports,
            local_http_addr,
            local_https_addr,
            prefer_ipv6,
            retry_interval,
            udp,
            proxy_protocol,
            weight,
            backup,
            health_check,
        } = service;
        let mut facts = Facts::below(&format!("service {name}: "));
        if kind.entries().is_empty() {
            facts.say(
                "local_addr",
                local_addr.as_ref().map(|first| match local_ports {
                    1 => first.to_string(),
                    ports => format!("{first}-{}", first.port + (ports - 1)),
                }),
            );
        }
        facts.say("local_http_addr", local_http_addr.as_ref());
        facts.say("local_https_addr", local_https_addr.as_ref());
        facts.say("prefer_ipv6", Some(prefer_ipv6));
        facts.seconds("retry_interval", Some(*retry_interval));
        facts.udp(udp);
        facts.say("proxy_protocol", proxy_protocol.map(|it| format!("{it:?}").to_lowercase()));
        facts.say("weight", Some(weight));
        facts.say("backup", Some(backup));
        facts.say("health_check", health_check.as_ref());
        Part { name, kind: kind.as_str(), tokens: std::slice::from_ref(token), facts }
    }
}
