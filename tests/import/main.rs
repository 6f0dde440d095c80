//! `underpass import`: the article's files, label by label what else people write, and that the
//! imported names go where Traefik sent them.

mod dashboard;

use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use regex_lite::Regex;
use underpass::config::{Config, ServerConfig, ServiceKind};
use underpass::import::{File, fuzz, import};
use underpass::proto::route::{Ask, Entry};
use underpass::wire::client_hello::Alpn;
use underpass::wire::host::parse_host;

/// The article has `private_key` and `public_key` in its place, which are no keys.
const KEY: &str = "MIDlbJw0wqZtQ8Y5Z7nLu3rJqG5m2oVfJ0bX1c2d3e4=";
/// A line of htpasswd.
const AUTH: &str = "admin:$apr1$UTUqVY6B$SG8yMVVUQ4Or3SA.nIC2k1";
const LABELS: &str = include_str!("../article/docker-compose.vps.yml");

fn article_server() -> String {
    include_str!("../article/rathole.server.toml").replace("private_key\"", &format!("{KEY}\""))
}

fn article_client() -> String {
    include_str!("../article/rathole.client.pi.toml").replace("\"public_key", &format!("\"{KEY}"))
}

/// The article's `.env`.
fn site(name: &str) -> Option<String> {
    match name {
        "SITE_HOSTNAME" => Some("example.com".to_owned()),
        "TRAEFIK_AUTH" => Some(AUTH.to_owned()),
        _ => None,
    }
}

fn run(files: &[(&str, &str)]) -> Result<String, String> {
    let files: Vec<_> = files.iter().map(|(name, text)| File { name, text }).collect();
    import(&files, &site)
}

fn load(text: &str) -> Config {
    Config::parse("imported.toml", text, &site).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn imported_article() -> ServerConfig {
    let text = run(&[("server.toml", &article_server()), ("compose.yml", LABELS)]).expect("good");
    load(&text).server.expect("[server]")
}

/// Who gets a visitor that asks for `name`.
fn answer(server: &ServerConfig, entry: Entry, name: &str) -> Option<String> {
    let host = parse_host(name.as_bytes()).ok()?;
    let ask = match entry {
        Entry::Http => Ask::Http { target: b"/" },
        Entry::Https => Ask::Https { alpn: Alpn::default() },
    };
    let found = server.routes.find(&host, ask).expect("a plain path")?;
    Some(server.services[found.service].name.clone())
}

#[test]
fn the_articles_names_go_where_traefik_sent_them() {
    let server = imported_article();
    assert_eq!(server.http_addrs, ["0.0.0.0:80".parse().expect("literal")]);
    assert_eq!(server.https_addrs, ["0.0.0.0:443".parse().expect("literal")]);
    let internal: Vec<_> = server.services.iter().flat_map(|s| &s.bind_addrs).collect();
    assert!(internal.is_empty(), "{internal:?}: they were ports between containers");
    for home in ["pi", "local"] {
        for (name, reached) in [
            ("H.example.com", true),
            ("www.H.example.com", true),
            ("a.H.example.com", true),
            ("a-1.H.example.com", true),
            ("www.a.H.example.com", true),
            ("www.www.H.example.com", true),
            ("xn--bcher-kva.H.example.com", true),
            ("A.H.Example.COM", true),
            ("H.EXAMPLE.com.", true),
            ("a.b.H.example.com", false),
            ("www.a.b.H.example.com", false),
            ("xyz.a.H.example.com", false),
            ("www2.a.H.example.com", false),
            ("example.com", false),
            ("www.example.com", false),
            ("xH.example.com", false),
            ("H.example.com.evil", false),
            ("H.example.com.evil.com", false),
            ("H.example.comx", false),
            ("H.examplexcom", false),
            ("Hxexample.com", false),
            (".H.example.com", false),
            ("a..H.example.com", false),
            ("www..H.example.com", false),
            ("H.example.com..", false),
            ("192.0.2.1", false),
            ("", false),
        ] {
            let name = name.replace('H', home);
            let http = reached.then(|| format!("{home}-traefik-http"));
            let https = reached.then(|| format!("{home}-traefik-https"));
            assert_eq!(answer(&server, Entry::Http, &name), http, "{name:?} on 80");
            assert_eq!(answer(&server, Entry::Https, &name), https, "{name:?} on 443");
        }
        let port = answer(&server, Entry::Http, &format!("{home}.example.com:80"));
        assert_eq!(port, Some(format!("{home}-traefik-http")));
    }
}

/// What Traefik 2 makes of the article's expressions: literal but for the braces, and whole.
fn as_traefik(home: &str) -> Regex {
    let sub = "[a-z0-9-]+";
    let names = [
        home.to_owned(),
        format!("www.{home}"),
        format!("{sub}.{home}"),
        format!("www.{sub}.{home}"),
    ];
    let names = names.map(|name| format!("{name}.example.com").replace('.', "\\."));
    Regex::new(&format!("^(?:{})$", names.join("|"))).expect("good")
}

proptest! {
    /// Any name of the labels that matter: ours and Traefik's expressions agree. (A label with `_`
    /// is the one difference, and the imported file says so.)
    #[test]
    fn names_near_the_articles_agree_with_its_expressions(
        labels in proptest::collection::vec(
            prop_oneof![
                Just("www"), Just("pi"), Just("local"), Just("example"), Just("com"), Just("a-1"),
                Just("evil"), Just("examplexcom"),
            ],
            1..7,
        ),
        tail in any::<bool>(),
    ) {
        let mut name = labels.join(".");
        if tail {
            name += ".example.com";
        }
        let server = imported_article();
        for home in ["pi", "local"] {
            let expected = as_traefik(home).is_match(&name);
            let found = answer(&server, Entry::Https, &name);
            prop_assert_eq!(found == Some(format!("{home}-traefik-https")), expected, "{}", name);
        }
    }
}

#[test]
fn the_articles_server_file_keeps_all_but_what_traefik_did() {
    let old = article_server();
    let new = run(&[("server.toml", &old), ("compose.yml", LABELS)]).expect("good");
    let kept = |line: &&str| !line.starts_with("bind_addr = \"0.0.0.0:5");
    let mut lines = new.lines();
    for line in old.lines().filter(kept) {
        assert!(lines.any(|new| new == line), "{line} is gone, or in another place:\n{new}");
    }
    for port in [5080, 5443, 5081, 5444] {
        assert!(new.contains(&format!("\n# bind_addr = \"0.0.0.0:{port}\"\n")), "{new}");
    }
    let note = "# - compose.yml:31: router traefik: in the place of Traefik's dashboard there is \
                the page of [server.admin]\n";
    assert!(new.contains(note), "{new}");
    assert!(new.contains("SITE_HOSTNAME, TRAEFIK_AUTH\n"), "{new}");
    let admin = "\n\n[server.admin]\nhost = \"traefik.amd2.${SITE_HOSTNAME}\"\n\
                 users = [\"${TRAEFIK_AUTH}\"]\n";
    assert!(new.ends_with(admin), "{new}");
    assert!(!new.contains("apr1"), "{new}");
}

#[test]
fn the_articles_client_file_gets_its_types_and_nothing_else() {
    let client = article_client();
    let types = |text: &str| {
        let client = load(text).client.expect("[client]");
        client.services.into_iter().map(|service| (service.name, service.kind)).collect::<Vec<_>>()
    };
    let expected = [
        ("pi-traefik-http".to_owned(), ServiceKind::Http),
        ("pi-traefik-https".to_owned(), ServiceKind::Https),
    ];
    let guessed = run(&[("client.toml", &client)]).expect("good");
    assert_eq!(types(&guessed), expected);
    assert!(guessed.contains("guessed from the ports 80 and 443"), "{guessed}");
    let known =
        run(&[("client.toml", &client), ("server.toml", &article_server()), ("c.yml", LABELS)]);
    let known = known.expect("good");
    assert_eq!(types(&known), expected);
    assert!(!known.contains("guessed"), "{known}");
    let without_types = |text: &str| {
        let body = text.split_once("\n\n").expect("a head").1;
        let lines = body.lines().filter(|line| !line.starts_with("type = \"http"));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    assert_eq!(without_types(&known), client);
    assert_eq!(without_types(&guessed), client);
}

/// A rathole server with a service for each kind of visitor.
fn rathole() -> String {
    "[server]\nbind_addr = \"0.0.0.0:2333\"\ndefault_token = \"t\"\n\
     [server.services.web]\nbind_addr = \"0.0.0.0:5080\"\n\
     [server.services.tls]\nbind_addr = \"0.0.0.0:5443\"\n\
     [server.services.ssh]\nbind_addr = \"0.0.0.0:5022\"\n"
        .to_owned()
}

/// The file of [`rathole`] with these labels on its container, and its notes.
fn labelled(image: &str, labels: &[&str]) -> (String, ServerConfig) {
    let mut compose = format!(
        "services:\n  proxy:\n    image: traefik:{image}\n    \
         ports: ['80:80', '443:443', '22:22']\n    command:\n      - --providers.docker\n      \
         - --entrypoints.web.address=:80\n      - --entrypoints.websecure.address=:443\n      \
         - --entrypoints.ssh.address=:22\n  rathole:\n    image: rapiz1/rathole\n    \
         ports: ['2333:2333']\n    labels:\n      \
         - traefik.http.services.w.loadbalancer.server.port=5080\n      \
         - traefik.tcp.services.t.loadbalancer.server.port=5443\n      \
         - traefik.tcp.services.s.loadbalancer.server.port=5022\n"
    );
    for label in labels {
        compose += &format!("      - '{label}'\n");
    }
    let text = run(&[("r.toml", &rathole()), ("c.yml", &compose)]).unwrap_or_else(|error| {
        panic!("{error}\n{compose}");
    });
    let server = load(&text).server.expect("[server]");
    (text, server)
}

/// The patterns of a service's `hosts`, in the order in which they win.
fn hosts(server: &ServerConfig, entry: Entry, service: &str) -> Vec<String> {
    let routes = server.routes.list(entry).into_iter();
    let own = routes.filter(|route| server.services[route.service].name == service);
    own.map(|route| route.pattern.to_string()).collect()
}

#[test]
fn http_rules() {
    for (image, rule, patterns) in [
        ("v2.9.8", "Host(`A.x`, `b.x`)", &["a.x", "b.x"][..]),
        ("v2.9.8", "Host(`a.x`) || HostRegexp(`{s:[a-z]+}.x`)", &["a.x", "/(?:[a-z]+)\\.x/"]),
        ("v2.9.8", "HostRegexp(`a.${SITE_HOSTNAME}`)", &["a.example.com"]),
        ("v3.1", "HostRegexp(`^.+\\.a\\.x$$`)", &["**.a.x"]),
        ("v3.1", "HostRegexp(`^(.+\\.)?a\\.x$$`) || Host(`b.x`)", &["a.x", "b.x", "**.a.x"]),
        ("latest", "(Host(`a.x`))", &["a.x"]),
    ] {
        let label = format!("traefik.http.routers.r.rule={rule}");
        let (text, server) = labelled(image, &[&label]);
        assert_eq!(hosts(&server, Entry::Http, "web"), patterns, "{rule}\n{text}");
        assert!(!text.contains("router r:"), "{rule}: nothing is lost\n{text}");
    }
}

#[test]
fn what_cannot_be_carried_over_is_said_and_opens_nothing() {
    let web = "traefik.http.routers.r.rule=Host(`a.x`)";
    let tls = "traefik.tcp.routers.r.rule=HostSNI(`a.x`)";
    let through = "traefik.tcp.routers.r.tls.passthrough=true";
    let on_t = "traefik.tcp.routers.r.service=t";
    let on_w = "traefik.http.routers.r.service=w";
    for (labels, said) in [
        (
            &[
                web,
                on_w,
                "traefik.http.routers.r.middlewares=auth",
                "traefik.http.middlewares.auth.basicauth.users=secret:word",
            ][..],
            "its middleware auth asks who they are",
        ),
        (
            &[web, on_w, "traefik.http.routers.r.middlewares=auth@file"],
            "middleware auth@file is not here",
        ),
        (
            &[web, on_w, "traefik.http.routers.r.tls.certresolver=le"],
            "Traefik ends TLS on its entry",
        ),
        (
            &[web, on_w, "traefik.http.routers.r.entrypoints=other"],
            "has no entry point other of its",
        ),
        (&[web, "traefik.http.routers.r.service=api@internal"], "it asks nobody for a password"),
        (&[web, "traefik.http.routers.r.service=ping@internal"], "underpass has no like of it"),
        (&[web, "traefik.http.routers.r.service=gone"], "there is no service gone"),
        (
            &["traefik.http.routers.r.rule=Host(`a.x`) && ClientIP(`192.0.2.0/24`)", on_w],
            "clientip has no like here",
        ),
        (&["traefik.http.routers.r.rule=!Host(`a.x`)", on_w], "`!` has no like here"),
        (&["traefik.http.routers.r.rule=Path(`/a`)", on_w], "Path has no like here"),
        (
            &["traefik.http.routers.r.rule=Host(a.x)", on_w],
            "column 6 of the rule: expected a string",
        ),
        (&["traefik.http.routers.r.rule=HostRegexp(`{s:(?=a)}.x`)", on_w], "another engine"),
        (&[tls, on_t], "names are seen in TLS alone"),
        (&[tls, on_t, "traefik.tcp.routers.r.tls=true"], "underpass passes it through to the home"),
        (&[tls, through], "it does not say its service"),
    ] {
        let (text, server) = labelled("v2.9.8", labels);
        assert!(text.contains("router r: ") && text.contains(said), "{labels:?}\n{text}");
        assert!(!text.contains("secret"), "{text}");
        for service in &server.services {
            assert_eq!(service.kind, ServiceKind::Tcp, "{labels:?}\n{text}");
            // Docker published none of them: they are not opened to the world now.
            assert!(service.bind_addrs[0].ip().is_loopback(), "{labels:?}\n{text}");
        }
    }
}

#[test]
fn tls_names_ports_and_everything_beside_hosts() {
    let (text, server) = labelled(
        "v2.9.8",
        &[
            "traefik.tcp.routers.t.rule=HostSNI(`a.x`, `b.x`)",
            "traefik.tcp.routers.t.service=t",
            "traefik.tcp.routers.t.tls.passthrough=true",
            "traefik.tcp.routers.t.entrypoints=websecure",
            "traefik.tcp.routers.t.priority=3",
            "traefik.tcp.routers.s.rule=HostSNI(`*`)",
            "traefik.tcp.routers.s.entrypoints=ssh",
            "traefik.tcp.routers.s.service=s@docker",
            "traefik.http.routers.w.rule=(Host(`c.x`) || Host(`d.x`)) && PathPrefix(`/api`)",
            "traefik.http.routers.w.entrypoints=web",
            "traefik.http.routers.w.middlewares=https",
            "traefik.http.middlewares.https.compress=true",
        ],
    );
    assert_eq!(hosts(&server, Entry::Https, "tls"), ["a.x", "b.x"], "{text}");
    assert_eq!(hosts(&server, Entry::Http, "web").len(), 2, "{text}");
    assert!(text.contains("\npath_prefix = \"/api*\"\n"), "{text}");
    assert!(text.contains("router w: without its middlewares https"), "{text}");
    assert_eq!(server.services[2].bind_addrs, ["0.0.0.0:22".parse().expect("literal")], "{text}");

    let (text, server) = labelled(
        "v2.9.8",
        &[
            "traefik.tcp.routers.t.rule=HostSNI(`*`)",
            "traefik.tcp.routers.t.service=t",
            "traefik.tcp.routers.t.tls.passthrough=true",
        ],
    );
    assert_eq!(hosts(&server, Entry::Https, "tls").first().map(String::as_str), Some("**"));
    assert_eq!(answer(&server, Entry::Https, "").as_deref(), Some("tls"), "{text}");
}

#[test]
fn a_name_that_two_routers_ask_for_is_the_longer_rules() {
    let (text, server) = labelled(
        "v2.9.8",
        &[
            "traefik.http.services.v.loadbalancer.server.port=5022",
            "traefik.http.routers.a.rule=Host(`a.x`)",
            "traefik.http.routers.a.service=v",
            "traefik.http.routers.b.rule=Host(`a.x`, `b.x`)",
            "traefik.http.routers.b.service=w",
        ],
    );
    assert_eq!(answer(&server, Entry::Http, "a.x").as_deref(), Some("web"), "{text}");
    assert!(text.contains("router a: a.x never comes to it: router b (c.yml:"), "{text}");
}

/// A rathole file with the services of `tests/import-cases`, beside one of its Compose files.
fn case(compose: &str) -> (String, ServerConfig) {
    let rathole = include_str!("../import-cases/rathole.server.toml");
    let env = |name: &str| (name == "SERVER_IP").then(|| "192.0.2.1".to_owned());
    let files = [File { name: "r.toml", text: rathole }, File { name: "c.yml", text: compose }];
    let text = import(&files, &env).unwrap_or_else(|error| panic!("{error}\n{compose}"));
    let config = Config::parse("imported.toml", &text, &env);
    (text, config.expect("it has been tried").server.expect("[server]"))
}

/// Where `web`, `tls`, `ssh` and the tunnel are reached.
fn bound(server: &ServerConfig) -> [String; 4] {
    let show = |addrs: &[std::net::SocketAddr]| {
        addrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    let of = |name: &str| {
        let mut found = server.services.iter().filter(|service| service.name == name);
        show(&found.next().expect("there").bind_addrs)
    };
    [of("web"), of("tls"), of("ssh"), show(&server.bind_addrs)]
}

/// Every port is where Docker published it: in each spelling, on one address, under another number.
#[test]
fn ports_are_where_docker_published_them() {
    let (web, tls, ssh) = ("127.0.0.1:5080", "127.0.0.1:5443", "127.0.0.1:5022");
    let tunnel = "0.0.0.0:2333";
    for (compose, expected) in [
        (include_str!("../import-cases/host-ip.yml"), [web, tls, ssh, tunnel]),
        (include_str!("../import-cases/client-first.yml"), [web, tls, ssh, tunnel]),
        (
            include_str!("../import-cases/port-range.yml"),
            ["0.0.0.0:5080", tls, "0.0.0.0:5022", tunnel],
        ),
        (
            include_str!("../import-cases/port-variables.yml"),
            ["0.0.0.0:8080", tls, "192.0.2.1:5022", tunnel],
        ),
        (include_str!("../import-cases/tunnel-port.yml"), [web, tls, ssh, "0.0.0.0:7000"]),
        // Not published at all.
        ("services:\n  a:\n    image: rapiz1/rathole\n", [web, tls, ssh, "127.0.0.1:2333"]),
        // The tunnel on one address.
        (
            "services:\n  a:\n    image: rathole\n    ports: ['192.0.2.1:2333:2333']\n",
            [web, tls, ssh, "192.0.2.1:2333"],
        ),
        // TCP and UDP are two.
        (
            "services:\n  a:\n    image: rathole\n    ports: ['2333:2333', '5022:5022/udp']\n",
            [web, tls, ssh, tunnel],
        ),
        // The host's network, and that of another container.
        (
            "services:\n  a:\n    image: rathole\n    network_mode: host\n",
            ["0.0.0.0:5080", "0.0.0.0:5443", "0.0.0.0:5022", tunnel],
        ),
        (
            "services:\n  vpn:\n    image: vpn\n    ports: ['2333:2333', '5022:5022']\n  a:\n    \
             image: rathole\n    network_mode: service:vpn\n",
            [web, tls, "0.0.0.0:5022", tunnel],
        ),
        // Traefik, a volume and a network that have rathole in their names are not rathole.
        (
            "services:\n  traefik-for-rathole:\n    image: traefik:v3\n    ports: ['5080:5080']\n  \
             a:\n    image: nginx\n    volumes: ['rathole:/rathole']\n    networks: [rathole]\n    \
             ports: ['5443:5443']\n  r:\n    build: ./rathole\n    ports: ['2333:2333']\n",
            [web, tls, ssh, tunnel],
        ),
        // Two that may be it: which, is not known.
        (
            "services:\n  a:\n    image: rathole\n    ports: ['2333:2333', '5080:5080']\n  b:\n    \
             image: rathole\n    network_mode: host\n",
            [web, tls, ssh, "127.0.0.1:2333"],
        ),
        // None: it runs on the host.
        (
            "services:\n  a:\n    image: nginx\n",
            ["0.0.0.0:5080", "0.0.0.0:5443", "0.0.0.0:5022", tunnel],
        ),
    ] {
        let (text, server) = case(compose);
        assert_eq!(bound(&server), expected, "{compose}\n{text}");
    }
}

#[test]
fn a_home_that_waits_for_a_header_is_told_to_the_client() {
    let rathole = include_str!("../import-cases/rathole.server.toml");
    let compose = include_str!("../import-cases/proxy-protocol.yml");
    let (text, _) = case(compose);
    assert!(text.contains("router t: the home waits for a PROXY header"), "{text}");
    assert!(text.contains("service tls needs proxy_protocol = \"v2\""), "{text}");
    let client = "[client]\nremote_addr = 'vps:2333'\ndefault_token = 't'\n\
                  [client.services.tls]\nlocal_addr = 'nas:8443'\n";
    let text = run(&[("c.toml", client), ("r.toml", rathole), ("c.yml", compose)]).expect("good");
    let service = &load(&text).client.expect("[client]").services[0];
    assert_eq!(service.kind, ServiceKind::Https, "{text}");
    assert!(text.contains("\nproxy_protocol = \"v2\"\nlocal_addr = 'nas:8443'\n"), "{text}");
}

#[test]
fn a_type_that_the_user_wrote_is_no_guess() {
    let client = "[client]\nremote_addr = 'vps:2333'\ndefault_token = 't'\n\
                  [client.services.a]\ntype = 'tcp'\nlocal_addr = 'nas:80'\n\
                  [client.services.b]\nlocal_addr = 'nas:443'\n";
    let text = run(&[("c.toml", client)]).expect("good");
    let kinds: Vec<_> =
        load(&text).client.expect("[client]").services.iter().map(|service| service.kind).collect();
    assert_eq!(kinds, [ServiceKind::Tcp, ServiceKind::Https], "{text}");
}

#[test]
fn what_our_own_parser_refuses_is_left_out_and_named_by_the_users_file() {
    // Traefik's entry point is where rathole's own port is published.
    let compose = "services:\n  traefik:\n    image: traefik:v3\n    network_mode: host\n    \
                   command: [--providers.docker, '--entrypoints.web.address=:5022']\n  \
                   rathole:\n    image: rathole\n    ports: ['2333:2333', '5022:5022']\n    \
                   labels:\n      - traefik.http.routers.w.rule=Host(`w.example.com`)\n      \
                   - traefik.http.services.w.loadbalancer.server.port=5080\n";
    let (text, server) = case(compose);
    assert!(!text.contains("imported file"), "{text}");
    assert!(
        text.contains("\n# - service ssh is of this host alone: this address is taken"),
        "{text}"
    );
    assert!(text.contains("\n# - no name of plain HTTP is carried over: "), "{text}");
    assert!(server.http_addrs.is_empty(), "{text}");
    // A byte order mark does no harm, and every file may have one.
    let mark = |text: &str| format!("\u{feff}{text}");
    let rathole = mark(include_str!("../import-cases/rathole.server.toml"));
    let marked = run(&[("r.toml", &rathole), ("c.yml", &mark(compose))]).expect("good");
    assert_eq!(marked, text);
}

#[test]
fn ports_that_docker_published_stay_open_and_others_do_not_open() {
    let compose = "services:\n  rathole:\n    image: rathole\n    ports:\n      - 2333:2333\n      \
                   - 192.0.2.1:2222:5022\n      - {target: 5080, published: 5080}\n";
    let text = run(&[("r.toml", &rathole()), ("c.yml", compose)]).expect("good");
    let server = load(&text).server.expect("[server]");
    let addrs: Vec<_> = server.services.iter().map(|s| s.bind_addrs[0].to_string()).collect();
    assert_eq!(addrs, ["0.0.0.0:5080", "127.0.0.1:5443", "192.0.2.1:2222"], "{text}");
    assert_eq!(text.matches("bind_addr is now what the compose file").count(), 2, "{text}");
    // The host's own network: all were open.
    let compose = "services:\n  rathole:\n    image: rathole\n    network_mode: host\n";
    let text = run(&[("r.toml", &rathole()), ("c.yml", compose)]).expect("good");
    assert!(text.ends_with(&rathole()), "{text}");
}

#[test]
fn what_is_wrong_is_said_with_file_and_line_and_without_a_value() {
    let secret = "s3cr3t";
    let rathole = rathole().replace("\"t\"", &format!("\"{secret}\""));
    let rathole = rathole.as_str();
    for (files, error) in [
        (&[("c.yml", "services: {}")][..], "a rathole file of either role, please, and perhaps"),
        (&[("a.yml", ""), ("b.yaml", "")], "a.yml:1: not YAML: it is empty"),
        (&[("r.toml", rathole), ("s.toml", rathole)], "two files are a client's and its server's"),
        (&[("r.toml", "[server]\nx = 's3cr3t'")], "r.toml:2: server.x: unknown key"),
        (&[("r.toml", rathole), ("c.yml", "s3cr3t: [")], "c.yml:2: not YAML"),
        (&[("r.toml", rathole), ("c.yml", "a: s3cr3t")], "c.yml: has no `services`"),
        (
            &[
                ("r.toml", "[client]\nremote_addr = 'a:1'\n[client.services]"),
                ("c.yml", "services: {}"),
            ],
            "the labels belong to the server",
        ),
        (
            &[("r.toml", "[server]\ntransport.type = 'tls'\nbind_addr = '0.0.0.0:1'")],
            "r.toml:2: server.transport.type: TLS as a transport is not supported",
        ),
    ] {
        let said = run(files).expect_err(error);
        assert!(said.starts_with(error) && !said.contains(secret), "{said}");
    }
}

#[test]
fn the_fuzz_check_holds_on_prefixes_of_the_articles_files() {
    let server = article_server();
    let whole = format!("{server}\0{LABELS}");
    for end in (0..=whole.len()).filter(|end| end % 7 == 0 || *end == whole.len()) {
        fuzz::check(&whole.as_bytes()[..end]);
    }
}

/// The command prints, and touches no file.
#[test]
fn the_command_prints_to_stdout() {
    let folder = std::env::temp_dir().join(format!("underpass-import-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("server.toml"), article_server()).expect("written");
    std::fs::write(folder.join("compose.yml"), LABELS).expect("written");
    let command = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_underpass"));
        let output = command.args(words).current_dir(&folder).env_clear().output().expect("runs");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, stdout, stderr) = command(&["import", "server.toml", "compose.yml"]);
    assert_eq!((code, &*stderr), (Some(0), ""));
    let expected = run(&[("server.toml", &article_server()), ("compose.yml", LABELS)]);
    assert_eq!(Ok(stdout), expected, "with the variable set or not");
    let (code, stdout, stderr) = command(&["import", "none.toml"]);
    assert_eq!((code, &*stdout), (Some(1), ""));
    assert_eq!(
        stderr,
        "underpass: none.toml: cannot read it: No such file or directory (os error 2)\n"
    );
    let unchanged = std::fs::read_to_string(folder.join("server.toml")).expect("there");
    assert_eq!(unchanged, article_server());
    let left = std::fs::read_dir(Path::new(&folder)).expect("a folder").count();
    assert_eq!(left, 2);
    std::fs::remove_dir_all(&folder).expect("removed");
}
