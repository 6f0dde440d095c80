//! Configuration files, good and bad: what loads, and the exact text of what does not.

mod limits;
mod tokens;

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use underpass::config::{
    AccessLogFormat, Config, ConfigError, HostPort, Passthrough, Protocol, ProxyScheme, Refusal,
    Ssh, Transport,
};
use underpass::proto::http_entry::Redirect;
use underpass::wire::http::forwarded::Form;
use underpass::wire::proxy_header::Version;

/// Stands wherever a file has a secret, and must show nowhere.
const MARKER: &str = "mark-er_0123456789";
/// 32 bytes in base64; no error and no `Debug` may show it either.
const KEY: &str = "MIDlbJw0wqZtQ8Y5Z7nLu3rJqG5m2oVfJ0bX1c2d3e4=";

fn parse(text: &str) -> Result<Config, ConfigError> {
    let env = HashMap::from([
        ("UNDERPASS_PRIVATE_KEY", KEY),
        ("UNDERPASS_PUBLIC_KEY", KEY),
        ("PI_TOKEN", MARKER),
        ("LOCAL_TOKEN", MARKER),
        ("EMPTY", ""),
        ("PORT", "5080"),
    ]);
    Config::parse("f.toml", text, &|name| env.get(name).map(|value| (*value).to_owned()))
}

/// A file that loads, silently but for the warnings given.
fn good(text: &str, warnings: &[&str]) -> Config {
    let config = parse(text).unwrap_or_else(|error| panic!("{error}\nin\n{text}"));
    assert_eq!(config.warnings, warnings, "{text}");
    let debug = format!("{config:?}");
    assert!(!debug.contains(MARKER) && !debug.contains(KEY), "{debug}");
    config
}

fn bad(text: &str, error: &str) {
    let Err(found) = parse(text) else { panic!("this should not load:\n{text}") };
    assert_eq!(found.to_string(), error, "{text}");
    let debug = format!("{found} {found:?}");
    assert!(!debug.contains(MARKER) && !debug.contains(KEY), "{debug}");
}

/// A server file around `services`; its first line is line 10.
fn server(services: &str) -> String {
    format!(
        r#"# a server
[server]
bind_addr = "0.0.0.0:2333"
https_addr = ["0.0.0.0:443", "[::]:443"]
default_token = "{MARKER}"
[server.transport]
type = "noise"
[server.transport.noise]
local_private_key = "{KEY}"
{services}"#
    )
}

/// A client file around `services`; its first line is line 9.
fn client(services: &str) -> String {
    format!(
        r#"# a client
[client]
remote_addr = "vps.example.com:2333"
default_token = "{MARKER}"
[client.transport]
type = "noise"
[client.transport.noise]
remote_public_key = "{KEY}"
{services}"#
    )
}

#[test]
fn the_samples_load_without_a_word() {
    let server = good(include_str!("../../config/server.toml"), &[]).server.expect("[server]");
    assert_eq!(server.services.len(), 3);
    assert_eq!(server.heartbeat_interval, Some(Duration::from_secs(10)));
    let names: Vec<_> = server.services.iter().map(|service| &*service.name).collect();
    assert_eq!(names, ["pi", "local", "pi-ssh"], "the file's order");
    assert_eq!(server.services[0].token.expose(), MARKER.as_bytes());
    let Transport::Noise(noise) = server.transport else { panic!("noise") };
    assert_eq!(noise.local_private_key.expect("a key").expose().len(), 32);

    let client = good(include_str!("../../config/client.toml"), &[]).client.expect("[client]");
    assert_eq!(client.heartbeat_timeout, Some(Duration::from_secs(25)));
    assert_eq!(client.retry_interval, Duration::from_secs(1));
    let traefik = |port| Some(HostPort { host: "traefik".into(), port });
    assert_eq!(client.services[0].local_https_addr, traefik(443));
    assert_eq!(client.services[0].local_http_addr, traefik(80));
}

#[test]
fn the_articles_files_load_once_they_have_keys() {
    let server = include_str!("../article/rathole.server.toml")
        .replace("private_key\"", &format!("{KEY}\""));
    let server = good(&server, &[]).server.expect("[server]");
    let ports: Vec<_> = server.services.iter().map(|s| s.bind_addrs[0].port()).collect();
    assert_eq!(ports, [5080, 5443, 5081, 5444]);
    for client in [
        include_str!("../article/rathole.client.pi.toml"),
        include_str!("../article/rathole.client.local.toml"),
    ] {
        let client = good(&client.replace("\"public_key", &format!("\"{KEY}")), &[]);
        let client = client.client.expect("[client]");
        let ports = client.services.iter().map(|s| s.local_addr.as_ref().map(|addr| addr.port));
        assert_eq!(ports.collect::<Vec<_>>(), [Some(80), Some(443)]);
    }
    bad(
        include_str!("../article/rathole.server.toml"),
        "f.toml:10: server.transport.noise.local_private_key: must be a key of 32 bytes in base64, \
         as `underpass --genkey` prints it",
    );
}

#[test]
fn every_key_of_rathole_loads() {
    let config = good(
        &format!(
            r#"
[client]
remote_addr = "example.com:2333"
default_token = "{MARKER}"
heartbeat_timeout = 0
retry_interval = 3
prefer_ipv6 = true
[client.transport]
type = "tcp"
[client.transport.tcp]
nodelay = false
keepalive_secs = 30
keepalive_interval = 5
[client.transport.tls]
trusted_root = "ca.pem"
hostname = "example.com"
[client.transport.websocket]
tls = true
[client.services.one]
type = "tcp"
token = "{MARKER}"
local_addr = "[::1]:1081"
nodelay = false
retry_interval = 1
prefer_ipv6 = true

[server]
bind_addr = "localhost:2333"
default_token = "{MARKER}"
heartbeat_interval = 30
[server.transport.tls]
pkcs12 = "identity.pfx"
pkcs12_password = "{MARKER}"
[server.transport.noise]
pattern = "Noise_XX_25519_AESGCM_SHA256"
[server.services.one]
bind_addr = "0.0.0.0:8081"
nodelay = true
"#
        ),
        &[
            "f.toml:31: server.transport.tls: not used: type is not tls",
            "f.toml:31: server.transport.type: the tunnel is not encrypted; type = \"noise\" is",
            "f.toml:34: server.transport.noise: not used: type is not noise",
            "f.toml:11: client.transport.tcp.nodelay: not used: TCP_NODELAY is always on",
            "f.toml:14: client.transport.tls: not used: type is not tls",
            "f.toml:17: client.transport.websocket: not used: type is not websocket",
            "f.toml:9: client.transport.type: the tunnel is not encrypted; type = \"noise\" is",
            "f.toml:24: client.services.one.retry_interval: not used: one session carries all \
             services; [client] has its retry_interval",
            "f.toml:23: client.services.one.nodelay: not used: TCP_NODELAY is always on",
        ],
    );
    let client = config.client.expect("[client]");
    assert!(client.prefer_ipv6 && client.services[0].prefer_ipv6);
    assert_eq!(client.heartbeat_timeout, None);
    assert_eq!(client.retry_interval, Duration::from_secs(3));
    let keepalive = client.tcp.keepalive.expect("keepalive");
    assert_eq!((keepalive.idle.as_secs(), keepalive.interval.as_secs()), (30, 5));
    let server = config.server.expect("[server]");
    assert_eq!(server.bind_addrs, ["127.0.0.1:2333".parse().expect("an address")]);
    assert_eq!(server.heartbeat_interval, Some(Duration::from_secs(30)));
    assert_eq!(server.services[0].token.expose(), MARKER.as_bytes());
}

#[test]
fn noise_patterns_ask_for_the_keys_that_they_use() {
    let file = |role: &str, pattern: &str, keys: &[&str]| {
        let address = if role == "server" { "bind_addr" } else { "remote_addr" };
        let keys: String = keys.iter().map(|key| format!("{key} = \"{KEY}\"\n")).collect();
        format!(
            "[{role}]\n{address} = \"127.0.0.1:1\"\n[{role}.transport]\ntype = \"noise\"\n\
             [{role}.transport.noise]\npattern = \"Noise_{pattern}\"\n{keys}[{role}.services]\n"
        )
    };
    let (own, other) = ("local_private_key", "remote_public_key");
    for (pattern, server_keys, client_keys) in [
        ("NN_25519_ChaChaPoly_BLAKE2s", &[][..], &[][..]),
        ("NK_25519_AESGCM_SHA256", &[own], &[other]),
        ("NX_25519_ChaChaPoly_BLAKE2b", &[own], &[]),
        ("XK_25519_ChaChaPoly_SHA512", &[own], &[own, other]),
        ("XX_25519_ChaChaPoly_BLAKE2s", &[own], &[own]),
        ("IK_25519_ChaChaPoly_BLAKE2s", &[own], &[own, other]),
        ("KK_25519_ChaChaPoly_BLAKE2s", &[own, other], &[own, other]),
        ("XK1_25519_ChaChaPoly_BLAKE2s", &[own], &[own, other]),
    ] {
        for (role, keys) in [("server", server_keys), ("client", client_keys)] {
            let loaded = parse(&file(role, pattern, keys));
            assert!(loaded.is_ok(), "{role} {pattern}: {loaded:?}");
            for missing in keys {
                let kept: Vec<_> = keys.iter().filter(|key| *key != missing).copied().collect();
                let place = format!("f.toml:5: {role}.transport.noise.{missing}: missing: ");
                // A key that the pattern itself sends to the other side can be made up.
                let sent = match role {
                    "server" => pattern[1..].starts_with('X'),
                    _ => pattern.starts_with(['X', 'I']),
                };
                let said = match parse(&file(role, pattern, &kept)) {
                    Err(error) => {
                        assert!(!(sent && *missing == own), "{role} {pattern}: {error}");
                        error.to_string()
                    }
                    Ok(config) => {
                        assert!(sent && *missing == own, "{role} {pattern} without {missing}");
                        config.warnings[0].clone()
                    }
                };
                assert!(said.starts_with(&place), "{said}");
            }
        }
    }
    for (pattern, why) in [
        (
            "NKpsk0_25519_ChaChaPoly_BLAKE2s",
            "psk patterns have no key here: tokens prove the client; use NK",
        ),
        ("N_25519_ChaChaPoly_BLAKE2s", "a one-way pattern cannot carry answers; use NK"),
        (
            "NK_448_ChaChaPoly_BLAKE2s",
            "this build has no such curve, cipher or hash; 25519, ChaChaPoly or AESGCM, and \
             BLAKE2s or SHA256 work",
        ),
        ("??", "not the name of a Noise protocol, such as Noise_NK_25519_ChaChaPoly_BLAKE2s"),
        ("", "not the name of a Noise protocol, such as Noise_NK_25519_ChaChaPoly_BLAKE2s"),
    ] {
        let error = format!("f.toml:6: server.transport.noise.pattern: {why}");
        bad(&file("server", pattern, &[own]), &error);
    }
}

#[test]
fn patterns_may_be_a_list_and_have_a_default() {
    let file = |list: &str| {
        format!(
            "[server]\nbind_addr = '127.0.0.1:2333'\n[server.transport]\ntype = 'noise'\n\
             [server.transport.noise]\n{list}\nlocal_private_key = '{KEY}'\n[server.services]\n"
        )
    };
    let patterns =
        |list: &str| match parse(&file(list)).expect("loads").server.expect("is one").transport {
            Transport::Noise(noise) => noise.patterns,
            Transport::Tcp => panic!("type is noise"),
        };
    let nk = "Noise_NK_25519_ChaChaPoly_BLAKE2s";
    let nx = "Noise_NX_25519_AESGCM_SHA256";
    assert_eq!(patterns(&format!("pattern = ['{nk}', '{nx}']")), [nk, nx]);
    assert_eq!(patterns(&format!("pattern = '{nx}'")), [nx]);
    assert!(patterns("").iter().any(|pattern| pattern == nk), "rathole's is always taken");
    bad(
        &file(&format!("pattern = ['{nx}', '{nk}']")),
        "f.toml:6: server.transport.noise.pattern[0]: must stand last: the first message of any \
         client fits it",
    );
}

#[test]
fn local_addresses_have_the_ports_that_their_type_has() {
    let local = |host: &str, port| Some(HostPort { host: host.into(), port });
    let cases = [
        ("tcp", "local_addr = 'ssh:22'", local("ssh", 22), None, None),
        ("http", "local_addr = 'Traefik.'", local("Traefik.", 80), local("Traefik.", 80), None),
        ("http", "local_addr = 'a:8080'", local("a", 8080), local("a", 8080), None),
        ("https", "local_addr = '[::1]'", local("::1", 443), None, local("::1", 443)),
        ("https", "local_https_addr = 'a:8443'", local("a", 8443), None, local("a", 8443)),
        ("web", "local_addr = 'a'", local("a", 443), local("a", 80), local("a", 443)),
        (
            "web",
            "local_http_addr = 'a:81'\nlocal_https_addr = 'b:444'",
            local("b", 444),
            local("a", 81),
            local("b", 444),
        ),
        (
            "web",
            "local_addr = 'a'\nlocal_https_addr = 'a:444'",
            local("a", 444),
            local("a", 80),
            local("a", 444),
        ),
    ];
    for (kind, keys, port, http, https) in cases {
        let text = client(&format!("[client.services.x]\ntype = '{kind}'\n{keys}"));
        let client = good(&text, &[]).client.expect("[client]");
        let service = &client.services[0];
        assert_eq!(service.kind.as_str(), kind);
        assert_eq!(service.local_addr, port, "{keys}");
        assert_eq!(service.local_http_addr, http, "{keys}");
        assert_eq!(service.local_https_addr, https, "{keys}");
    }
}

#[test]
fn a_service_of_any_type_may_tell_the_visitors_address() {
    for kind in ["tcp", "http", "https", "web"] {
        for (value, version) in [("v1", Version::V1), ("v2", Version::V2)] {
            let port = if kind == "web" { "" } else { ":80" };
            let service = format!(
                "[client.services.pi]\ntype = '{kind}'\nlocal_addr = 'a{port}'\n\
                 proxy_protocol = '{value}'"
            );
            let config = good(&client(&service), &[]).client.expect("[client]");
            assert_eq!(config.services[0].proxy_protocol, Some(version));
        }
    }
}

#[test]
fn trusted_proxies_are_networks_or_addresses() {
    let file = |networks: &str| {
        server("").replacen(
            "default_token",
            &format!("trusted_proxies = {networks}\ndefault_token"),
            1,
        )
    };
    let no_services = [
        "f.toml:4: server.https_addr: no service of type https or web takes its \
                        visitors",
        "f.toml:2: server.services: there are no services",
    ];
    let load = |networks| good(&file(networks), &no_services).server.expect("[server]");
    let config = load("['10.0.0.0/8', '2001:db8::/32', '192.0.2.1']");
    for (address, is_trusted) in [
        ("10.255.0.1", true),
        ("11.0.0.1", false),
        ("2001:db8:ffff::1", true),
        ("2001:db9::1", false),
        ("192.0.2.1", true),
        ("192.0.2.2", false),
        ("::ffff:10.0.0.1", true),
        ("::ffff:11.0.0.1", false),
        ("::1", false),
    ] {
        let address = address.parse().expect("an address");
        assert_eq!(config.trusted_proxies.contain(address), is_trusted, "{address}");
    }
    assert!(load("'::1'").trusted_proxies.contain("::1".parse().expect("an address")));
    assert!(!load("[]").trusted_proxies.contain("0.0.0.0".parse().expect("an address")));
    let wrong = "must be a network or an address: `10.0.0.0/8`, `2001:db8::/32`, `192.0.2.1`";
    for (network, error) in [
        ("10.0.0.1/8", "has bits set behind the first 8; the network is `10.0.0.0/8`"),
        ("2001:db8::1/32", "has bits set behind the first 32; the network is `2001:db8::/32`"),
        ("::ffff:10.0.0.0/104", "an IPv4 network is written as one: `10.0.0.0/8`"),
        ("::ffff:10.0.0.1", "an IPv4 network is written as one: `10.0.0.0/8`"),
        ("10.0.0.0/33", wrong),
        ("10.0.0.0/", wrong),
        ("10.0.0/24", wrong),
        ("", wrong),
        ("10.0.0.0-10.0.0.9", wrong),
        ("lb.example.com", wrong),
        ("10.0.0.1:80", wrong),
        (MARKER, wrong),
    ] {
        bad(
            &file(&format!("[\n'10.0.0.0/8',\n'{network}']")),
            &format!("f.toml:7: server.trusted_proxies[1]: {error}"),
        );
    }
    let two = server("").replacen(
        "default_token",
        "trusted_http_proxies = '10.0.0.0/8'\nforwarded = 'both'\ndefault_token",
        1,
    );
    let config = good(&two, &no_services).server.expect("[server]");
    assert!(config.trusted_http_proxies.contain("10.0.0.1".parse().expect("an address")));
    assert!(!config.trusted_proxies.contain("10.0.0.1".parse().expect("an address")));
    assert_eq!(config.forwarded, Form::Both);
    let none = good(&two.replace("'both'", "'none'"), &no_services).server.expect("[server]");
    assert_eq!(none.forwarded, Form::None);
    bad(
        &two.replace("'both'", "'mark-er_0123456789'"),
        "f.toml:6: server.forwarded: must be x, rfc7239, both or none",
    );
    bad(
        &two.replace("10.0.0.0/8", "11.0.0.0/7"),
        "f.toml:5: server.trusted_http_proxies: has bits set behind the first 7; the network is \
         `10.0.0.0/7`",
    );
    let everybody = "f.toml:5: server.trusted_proxies: everybody is believed: only for ports that \
                     proxies alone can reach";
    good(&file("'0.0.0.0/0'"), &[no_services[0], everybody, no_services[1]]);
}

#[test]
fn variables_are_read_once_and_a_doubled_dollar_is_one() {
    let config = good(
        &server(
            "[server.services.a]\nbind_addr = '127.0.0.1:${PORT}'\ntoken = '$${PORT}-$5-${PORT}'",
        ),
        &["f.toml:4: server.https_addr: no service of type https or web takes its visitors"],
    );
    let service = &config.server.expect("[server]").services[0];
    assert_eq!(service.bind_addrs[0].port(), 5080);
    assert_eq!(service.token.expose(), b"${PORT}-$5-5080");
}

#[test]
fn a_server_file_says_what_is_wrong_in_it() {
    let pi = format!("[server.services.pi]\ntype = \"https\"\ntoken = \"{MARKER}\"\n");
    for (services, error) in [
        // Keys.
        (
            "[server.services.pi]\ntokn = 'x'",
            "11: server.services.pi.tokn: unknown key; did you mean `token`?",
        ),
        (
            "[server.services.pi]\nsmell = 1",
            "11: server.services.pi.smell: unknown key; known here: type, token, hosts, fallback, \
             path_prefix, alpn, redirect_https, passthrough, postgres, bind_addr, nodelay, \
             udp_idle_time, udp_max_sessions, allow, deny, max_visitors, rate, bandwidth, \
             response_timeout, idle_timeout",
        ),
        (
            "[server.services.pi]\nlocal_addr = 'a:1'",
            "11: server.services.pi.local_addr: this key belongs in the client's file",
        ),
        (
            "[server.services.'a b\\']\nx = 1",
            "11: server.services.\"a b\\\\\".x: unknown key; known here: \
          type, token, hosts, fallback, path_prefix, alpn, redirect_https, passthrough, postgres, \
             bind_addr, nodelay, udp_idle_time, udp_max_sessions, allow, deny, max_visitors, \
             rate, bandwidth, response_timeout, idle_timeout",
        ),
        ("[server.limit]", "10: server.limit: unknown key; did you mean `limits`?"),
        ("[sever]", "10: sever: unknown key; did you mean `server`?"),
        // Types. A value is never quoted.
        (
            "[server.services.pi]\ntoken = 123456789",
            "11: server.services.pi.token: must be a string in \
          quotes, not an integer",
        ),
        (
            "[server.services]\npi = 'mark-er_0123456789'",
            "11: server.services.pi: must be a table, not a string",
        ),
        (
            "[server.services.pi]\nbind_addr = '[::1]:1'\nnodelay = 'mark-er_0123456789'",
            "12: server.services.pi.nodelay: must be \
          true or false, not a string",
        ),
        (
            "[server.limits]\nmax_visitors = 0",
            "11: server.limits.max_visitors: must be a whole number from \
          1 to 1073741824",
        ),
        (
            "[server.limits]\nmax_visitors = 'mark-er_0123456789'",
            "11: server.limits.max_visitors: must be a \
          whole number from 1 to 1073741824, not a string",
        ),
        (
            "[server.services.pi]\ntype = 'https'\nhosts = [\n1]",
            "13: server.services.pi.hosts[0]: must be a string in quotes, \
          not an integer",
        ),
        // TOML itself.
        ("token = mark-er_0123456789", "10: string values must be quoted, expected literal string"),
        (
            "[server.services.pi]\ntoken = 'mark-er_0123456789",
            "11: invalid literal string, expected `'`",
        ),
        ("[server.services.pi]\ntoken = 'a'\ntoken = 'mark-er_0123456789'", "12: duplicate key"),
        // Variables.
        (
            "[server.services.pi]\ntoken = '${PI_TOKN}'",
            "11: server.services.pi.token: environment variable \
          PI_TOKN is not set (a literal `${` is `$${`)",
        ),
        (
            "[server.services.pi]\ntoken = '${mark-er_0123456789}'",
            "11: server.services.pi.token: `${` without \
          a variable's name and `}`; a literal `${` is `$${`",
        ),
        (
            "[server.services.pi]\ntoken = '${EMPTY}'",
            "11: server.services.pi.token: must not be empty: write the same secret here and in \
          the other side's file, such as what `openssl rand -hex 16` prints",
        ),
        // Services.
        (
            "[server.services.pi]\ntype = 'mark-er_0123456789'",
            "11: server.services.pi.type: must be tcp, udp, \
          http, https or web",
        ),
        (
            "[server.services.pi]\ntype = 'udp'",
            "10: server.services.pi.bind_addr: missing: where visitors come in, such as \
          `0.0.0.0:5080`",
        ),
        (
            "[server.services.pi]\nudp_idle_time = 5\nbind_addr = '0.0.0.0:1'",
            "11: server.services.pi.udp_idle_time: type tcp does not use it",
        ),
        (
            "[server.services.pi]\ntype = 'udp'\nudp_idle_time = 0\nbind_addr = '0.0.0.0:1'",
            "12: server.services.pi.udp_idle_time: must be a whole number from 1 to 86400",
        ),
        (
            "[server.services.pi]\ntype = 'udp'\nudp_max_sessions = 65536\nbind_addr = '0.0.0.0:1'",
            "12: server.services.pi.udp_max_sessions: must be a whole number from 1 to 65535",
        ),
        (
            "[server.services.pi]\ntype = 'udp'\nbind_addr = ['0.0.0.0:443', '1.2.3.4:443']",
            "12: server.services.pi.bind_addr[1]: this address is taken by \
          server.services.pi.bind_addr[0] (line 12)",
        ),
        (
            "[server.services.pi]",
            "10: server.services.pi.bind_addr: missing: where visitors come in, such as \
          `0.0.0.0:5080`",
        ),
        (
            "[server.services.pi]\nhosts = 'a'",
            "11: server.services.pi.hosts: names need type = \"http\", \
          \"https\" or \"web\"",
        ),
        (
            "[server.services.pi]\ntype = 'web'\nhosts = 'a'",
            "11: server.services.pi.type: type web needs \
          `http_addr` in [server]",
        ),
        (
            "[server.services.pi]\ntype = 'https'",
            "10: server.services.pi.hosts: missing: the names it takes, \
          such as `pi.example.com`",
        ),
        (
            "[server.services.'']\nbind_addr = '0.0.0.0:1'",
            "10: server.services.\"\": a service's name has 1 \
          to 255 bytes",
        ),
        (
            "[server.services.\"a\\nb\"]\nbind_addr = '0.0.0.0:1'",
            "10: server.services.\"a\\nb\": a service's \
          name has no control characters",
        ),
        // Addresses.
        (
            "[server.services.pi]\nbind_addr = ':80'",
            "11: server.services.pi.bind_addr: must be a literal \
          address and a port: `0.0.0.0:443` or `[::]:443`",
        ),
        (
            "[server.services.pi]\nbind_addr = '0.0.0.0:30100-30000'",
            "11: server.services.pi.bind_addr: the range ends before it begins",
        ),
        (
            "[server.services.pi]\nbind_addr = ['0.0.0.0:1', '0.0.0.0:0-9']",
            "11: server.services.pi.bind_addr[1]: port 0 cannot be in a range",
        ),
        (
            "[server.services.pi]\nbind_addr = '0.0.0.0:65000-65536'",
            "11: server.services.pi.bind_addr: the highest port is 65535",
        ),
        (
            "[server.services.pi]\nbind_addr = '0.0.0.0:1-2-3'",
            "11: server.services.pi.bind_addr: must be a literal \
          address and a port: `0.0.0.0:443` or `[::]:443`",
        ),
        (
            "[server.services.pi]\nbind_addr = 'a:1-2'",
            "11: server.services.pi.bind_addr: must be a literal \
          address and a port: `0.0.0.0:443` or `[::]:443`",
        ),
        (
            "[server.services.pi]\nbind_addr = '0.0.0.0:10000-12047'",
            "11: server.services.pi.bind_addr: too many: a file may have 2048 ports",
        ),
        (
            "[server.services.pi]\nbind_addr = '0.0.0.0:1-65535'",
            "11: server.services.pi.bind_addr: too many: a file may have 2048 ports",
        ),
        (
            "[server.services.pi]\nbind_addr = ['127.0.0.1:400-500', '[::1]:5']",
            "11: server.services.pi.bind_addr[0]: port 443 of this range \
          is taken by server.https_addr[0] (line 4)",
        ),
        (
            "[server.services.a]\nbind_addr = '127.0.0.1:7-9'\n[server.services.b]\n\
          bind_addr = ['[::]:7-9', '0.0.0.0:9']",
            "13: server.services.b.bind_addr[0]: this address \
          is taken by server.services.a.bind_addr (line 11)",
        ),
        (
            "[server.services.pi]\nbind_addr = '127.0.0.1:443'",
            "11: server.services.pi.bind_addr: this address \
          is taken by server.https_addr[0] (line 4)",
        ),
        (
            "[server.services.pi]\nbind_addr = ['127.0.0.1:0', '127.0.0.1:0', '127.0.0.1:5',\n\
          '127.0.0.2:5', '0.0.0.0:5']",
            "12: server.services.pi.bind_addr[4]: this address is taken by \
          server.services.pi.bind_addr[2] (line 11)",
        ),
    ] {
        bad(&server(services), &format!("f.toml:{error}"));
    }
    for (rest, error) in [
        (
            "hosts = 'www*.a'",
            "13: server.services.pi.hosts: `*` stands for one whole label, as in \
          `www.*.example.com`",
        ),
        (
            "hosts = ['a', '/(/']",
            "13: server.services.pi.hosts[1]: not a regular expression of this engine \
          (no look-around, back-references or \\p)",
        ),
        (
            "hosts = ['a.b', 'A.B.']",
            "13: server.services.pi.hosts[1]: the same as server.services.pi.hosts[0] \
          (line 13); one service only can have it",
        ),
        (
            "hosts = ['a.b',\n'c']\n[server.services.b]\ntype = 'https'\nhosts = 'C'",
            "17: server.services.b.hosts: \
          the same as server.services.pi.hosts[1] (line 14); one service only can have it",
        ),
        (
            "fallback = true\n[server.services.b]\ntype = 'https'\nfallback = true",
            "16: \
          server.services.b.fallback: the same as server.services.pi.fallback (line 13); \
          one service only can have it",
        ),
    ] {
        bad(&server(&format!("{pi}{rest}")), &format!("f.toml:{error}"));
    }
}

#[test]
fn paths_and_protocols_go_with_names() {
    let service = |name: &str, rest: &str| format!("[server.services.{name}]\n{rest}\n");
    let http = |services: &str| server(services).replace("https_addr", "http_addr");
    let tls = "type = 'https'\nhosts = 'a.b'";
    let plain = "type = 'http'\nhosts = 'a.b'";

    // One name, several services; each condition once.
    let claims =
        [tls, &format!("{tls}\nalpn = 'acme-tls/1'"), &format!("{tls}\nalpn = ['h2', 'x']")];
    let names = ["a", "b", "c"];
    let pairs = names.iter().zip(claims);
    good(&server(&pairs.map(|(name, rest)| service(name, rest)).collect::<String>()), &[]);
    let claims = ["", "path_prefix = '/api'", "path_prefix = '/api/v2'"];
    let pairs = names.iter().zip(claims);
    let services: String =
        pairs.map(|(name, rest)| service(name, &format!("{plain}\n{rest}"))).collect();
    good(&http(&services), &[]);

    let acme = "alpn = ['h2', 'acme-tls/1']";
    let twice = format!("{tls}\n{acme}\n[server.services.b]\n{tls}\nalpn = 'acme-tls/1'");
    for (rest, error) in [
        (
            twice,
            "16: server.services.b.hosts: the same as server.services.a.hosts (line 12); one \
             service only can have it",
        ),
        (
            format!("{tls}\nalpn = []"),
            "13: server.services.a.alpn: names no protocol, such as `acme-tls/1`",
        ),
        (
            format!("{tls}\nalpn = ['h2', 'a b']"),
            "13: server.services.a.alpn[1]: a protocol's name has 1 to 255 visible ASCII \
             characters",
        ),
        (
            format!("{tls}\nalpn = ['h2', 'h2']"),
            "12: server.services.a.hosts: the same as server.services.a.hosts (line 12); one \
             service only can have it",
        ),
        (
            format!("{tls}\nfallback = true\nalpn = 'h2'"),
            "14: server.services.a.alpn: cannot go with `fallback`, which takes visitors for \
             their lack of a name",
        ),
        (
            format!("{tls}\npath_prefix = '/api'"),
            "13: server.services.a.path_prefix: needs type = \"http\": a path inside TLS cannot \
             be seen",
        ),
        (
            "bind_addr = '0.0.0.0:1'\nalpn = 'h2'".to_owned(),
            "12: server.services.a.alpn: names need type = \"http\", \"https\" or \"web\"",
        ),
    ] {
        bad(&server(&service("a", &rest)), &format!("f.toml:{error}"));
    }
    for (rest, error) in [
        (
            "alpn = 'h2'",
            "13: server.services.a.alpn: needs type = \"https\": plain HTTP has no ALPN",
        ),
        (
            "path_prefix = 'api'",
            "13: server.services.a.path_prefix: a path begins with `/`, as in `/api`",
        ),
        (
            "path_prefix = '/'",
            "13: server.services.a.path_prefix: `/` is every path: leave `path_prefix` out",
        ),
        (
            "path_prefix = '/mark%20'",
            "13: server.services.a.path_prefix: a prefix has letters, digits, `-`, `.`, `_` and \
             `~` between its slashes",
        ),
    ] {
        bad(&http(&service("a", &format!("{plain}\n{rest}"))), &format!("f.toml:{error}"));
    }
}

#[test]
fn redirects_are_for_plain_http() {
    let web = |redirect: &str| {
        let service = format!("[server.services.a]\ntype = 'web'\nhosts = 'a.b'\n{redirect}");
        server(&service)
            .replace("https_addr", "public_https_port = 8443\nhttp_addr='[::1]:80'\nhttps_addr")
    };
    for (value, wanted) in [
        ("true", Some(Redirect::Permanent)),
        ("308", Some(Redirect::Permanent)),
        ("301", Some(Redirect::Moved)),
        ("false", None),
    ] {
        let config = good(&web(&format!("redirect_https = {value}")), &[]).server.expect("one");
        assert_eq!(config.services[0].redirect_https, wanted, "{value}");
        assert_eq!(config.public_https_port, Some(8443));
    }
    for (value, error) in [
        ("302", "must be true, 308 (the same), 301 or false"),
        ("-1", "must be true, 308 (the same), 301 or false"),
        ("'true'", "must be true or false, not a string"),
    ] {
        let error = format!("f.toml:15: server.services.a.redirect_https: {error}");
        bad(&web(&format!("redirect_https = {value}")), &error);
    }
    bad(
        &server("[server.services.a]\ntype = 'https'\nhosts = 'a'\nredirect_https = true"),
        "f.toml:13: server.services.a.redirect_https: needs type = \"http\" or \"web\": it is \
         about plain HTTP",
    );
}

#[test]
fn only_tls_goes_raw() {
    let service = |kind: &str, value: &str| {
        let names = if kind == "tcp" { "bind_addr = '[::1]:5'" } else { "hosts = 'a.b'" };
        let text =
            format!("[server.services.a]\ntype = '{kind}'\n{names}\npassthrough = '{value}'");
        server(&text).replace("https_addr", "http_addr='[::1]:80'\nhttps_addr")
    };
    for (kind, value, wanted) in [
        ("https", "raw", Passthrough::Raw),
        ("web", "raw", Passthrough::Raw),
        ("https", "sealed", Passthrough::Sealed),
        ("tcp", "sealed", Passthrough::Sealed),
    ] {
        let text = service(kind, value);
        let config = parse(&text).expect("it is good");
        let config = config.server.expect("[server]");
        assert_eq!(config.services[0].passthrough, wanted, "{kind} {value}");
    }
    for (kind, value, error) in [
        (
            "tcp",
            "raw",
            "raw needs type = \"https\" or \"web\": nothing else encrypts what the tunnel does \
             not",
        ),
        (
            "http",
            "raw",
            "raw needs type = \"https\" or \"web\": nothing else encrypts what the tunnel does \
             not",
        ),
        ("https", "spliced", "must be sealed or raw"),
    ] {
        bad(&service(kind, value), &format!("f.toml:14: server.services.a.passthrough: {error}"));
    }
}

#[test]
fn visitors_without_a_service_and_ssh_have_their_keys() {
    let with = |keys: &str, services: &str| {
        server(services).replace("https_addr", &format!("{keys}\nhttps_addr"))
    };
    let shell = "[server.services.shell]";
    let none = "f.toml:2: server.services: there are no services";
    let config = good(&with("unknown_sni = 'drop'", ""), &[NOBODY, none]);
    let config = config.server.expect("[server]");
    assert_eq!((config.no_sni, config.unknown_sni), (Refusal::Alert, Refusal::Drop));
    assert_eq!(config.ssh, None);
    let config = good(&with("ssh_service = 'shell'", shell), &[NOBODY]).server.expect("[server]");
    assert_eq!(config.ssh, Some(Ssh { service: 0, wait: Duration::from_secs(2) }));
    assert!(config.services[0].bind_addrs.is_empty(), "a port of its own is not needed");
    let config =
        good(&with("ssh_service = 'shell'\nssh_wait = 9", shell), &[&NOBODY.replace(":5:", ":6:")]);
    assert_eq!(config.server.expect("[server]").ssh.map(|ssh| ssh.wait.as_secs()), Some(9));
    let fallback = "[server.services.a]\ntype = 'https'\nfallback = true";
    good(
        &with("no_sni = 'drop'", fallback),
        &["f.toml:4: server.no_sni: not used: a service with `fallback = true` takes these \
             visitors"],
    );

    for (keys, services, error) in [
        (
            "no_sni = 'mark-er_0123456789'",
            "",
            "no_sni: must be alert or drop; `fallback = true` gives them to a service",
        ),
        (
            "unknown_sni = 'service'",
            "",
            "unknown_sni: must be alert or drop; `hosts = [\"**\"]` gives them to a service",
        ),
        ("ssh_wait = 3", "", "ssh_wait: needs `ssh_service`"),
        ("ssh_wait = 10", "", "ssh_wait: must be a whole number from 1 to 9"),
        (
            "ssh_service = 'other'",
            shell,
            "services.shell.bind_addr: missing: where visitors come \
            in, such as `0.0.0.0:5080`",
        ),
        ("ssh_service = 'none'", "", "ssh_service: there is no service of this name"),
        ("ssh_service = 'a'", fallback, "ssh_service: the service must be of type tcp"),
    ] {
        let line = if error.starts_with("services") { 11 } else { 4 };
        bad(&with(keys, services), &format!("f.toml:{line}: server.{error}"));
    }
    bad(
        &with("ssh_service = 'shell'", shell).replace("https_addr = [", "http_addr = ["),
        "f.toml:4: server.ssh_service: needs `https_addr`, where its visitors come in",
    );
}

const NOBODY: &str =
    "f.toml:5: server.https_addr: no service of type https or web takes its visitors";

#[test]
fn own_pages_are_read_beside_the_file() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    std::fs::create_dir_all(folder.join("sub/dir.html")).expect("a folder");
    for (name, bytes) in [
        ("404.html", b"<p>\xc3\xbc".to_vec()),
        ("sub/503.txt", b"later\n".to_vec()),
        ("largest.HTM", vec![b'x'; 64 * 1024]),
        ("larger.txt", vec![b'x'; 64 * 1024 + 1]),
        ("latin1.txt", b"\xfc".to_vec()),
        ("page.php", b"x".to_vec()),
    ] {
        std::fs::write(folder.join(name), bytes).expect("a file");
    }
    let file = folder.join("server.toml").display().to_string();
    let parse = |pages: &str| {
        let text = format!("error_pages = {pages}\n[server.transport]\n");
        Config::parse(&file, &server("").replace("[server.transport]\n", &text), &|_| None)
    };
    let absolute = folder.join("404.html").display().to_string();
    for pages in [
        "{ 404 = '404.html', 503 = 'sub/503.txt', 400 = 'largest.HTM' }".to_owned(),
        format!("{{ 505 = '{absolute}' }}"),
    ] {
        parse(&pages).unwrap_or_else(|error| panic!("{error}"));
    }
    for (pages, error) in [
        ("1", "error_pages: must be a table, not an integer"),
        ("{ 404 = 1 }", "error_pages.404: must be a string in quotes, not an integer"),
        (
            "{ 200 = '404.html' }",
            "error_pages.200: no such page; there are 400, 403, 404, 405, 408, 413, 414, 429, \
             431, 501, 502, 503, 504, 505, 508",
        ),
        ("{ 404 = 'page.php' }", "error_pages.404: the file's name ends in `.html` or `.txt`"),
        (
            "{ 404 = 'none.html' }",
            "error_pages.404: cannot read the file: No such file or directory (os error 2)",
        ),
        ("{ 404 = 'sub/dir.html' }", "error_pages.404: cannot read the file: it is no file"),
        ("{ 404 = 'larger.txt' }", "error_pages.404: the file has more than 65536 bytes"),
        ("{ 404 = 'latin1.txt' }", "error_pages.404: the file is not UTF-8"),
    ] {
        let Err(found) = parse(pages) else { panic!("this should not load: {pages}") };
        assert_eq!(found.to_string(), format!("{file}:6: server.{error}"));
    }
}

#[test]
fn a_client_file_says_what_is_wrong_in_it() {
    for (services, error) in [
        (
            "[client.services.pi]",
            "9: client.services.pi.local_addr: missing: where visitors go, such as \
          `127.0.0.1:80`",
        ),
        (
            "[client.services.pi]\nlocal_addr = 'a'",
            "10: client.services.pi.local_addr: the port is missing: \
          `host:80`",
        ),
        (
            "[client.services.pi]\nlocal_addr = 'a:0'",
            "10: client.services.pi.local_addr: port 0 cannot be \
          dialled",
        ),
        (
            "[client.services.pi]\nlocal_addr = '::1'",
            "10: client.services.pi.local_addr: an IPv6 address \
          stands in brackets: `[::1]:80`",
        ),
        (
            "[client.services.pi]\nlocal_addr = 'a:9-8'",
            "10: client.services.pi.local_addr: the range ends before it begins",
        ),
        (
            "[client.services.pi]\nlocal_addr = 'a:0-8'",
            "10: client.services.pi.local_addr: port 0 cannot be in a range",
        ),
        (
            "[client.services.pi]\ntype = 'http'\nlocal_addr = 'a:80-81'",
            "11: client.services.pi.local_addr: must be a \
          name or an address, and a port: `host:80`",
        ),
        (
            "[client.services.pi]\nlocal_addr = 'http://a:80'",
            "10: client.services.pi.local_addr: must be a \
          name or an address, and a port: `host:80`",
        ),
        (
            "[client.services.pi]\ntype = 'web'\nlocal_addr = 'a:80'",
            "11: client.services.pi.local_addr: type \
          web has two ports: give the host alone (80 and 443 are used), or local_http_addr and \
          local_https_addr",
        ),
        (
            "[client.services.pi]\ntype = 'web'\nlocal_http_addr = 'a'",
            "9: client.services.pi.local_addr: \
          missing: where its visitors go, such as `traefik` (or local_https_addr)",
        ),
        (
            "[client.services.pi]\ntype = 'https'\nlocal_http_addr = 'a'",
            "11: client.services.pi.local_http_addr: \
          type https does not use it",
        ),
        (
            "[client.services.pi]\nlocal_addr = 'a:1'\nproxy_protocol = 'mark-er_0123456789'",
            "11: client.services.pi.proxy_protocol: must be v1 or v2",
        ),
        (
            "[client.services.pi]\ntype = 'udp'\nlocal_addr = 'a:1'\nproxy_protocol = 'v1'",
            "12: client.services.pi.proxy_protocol: must be v2: v1 has no word for UDP",
        ),
        (
            "[client.services.pi]\nlocal_addr = 'a:1'\nproxy_protocol = true",
            "11: client.services.pi.proxy_protocol: must be a string in quotes, not a boolean",
        ),
        (
            "[client.services.pi]\nhosts = 'a'",
            "10: client.services.pi.hosts: this key belongs in the server's \
          file",
        ),
    ] {
        bad(&client(services), &format!("f.toml:{error}"));
    }
    let top = |keys: &str| format!("[client]\n{keys}");
    for (keys, error) in [
        (
            "",
            "1: client.remote_addr: missing: the server's bind_addr, \
          such as `vps.example.com:2333`",
        ),
        ("remote_addr = 'a'", "2: client.remote_addr: the port is missing: `host:80`"),
        (
            "remote_addr = 'a:1'\nprotocol = 'mark-er_0123456789'",
            "3: client.protocol: must be native or rathole",
        ),
        (
            "remote_addr = 'a:1'\nheartbeat_interval = 1",
            "3: client.heartbeat_interval: this key belongs in the \
          server's file",
        ),
        (
            "remote_addr = 'a:1'\n[client.services.x]\nlocal_addr = 'a:1'",
            "3: client.services.x.token: missing: \
          a secret that server and client share; or set `default_token`",
        ),
        (
            "remote_addr = 'a:1'\ntransport.type = 'tls'",
            "3: client.transport.type: TLS as a transport is not \
          supported; use type = \"noise\", with keys from `underpass --genkey`",
        ),
        (
            "remote_addr = 'a:1'\ntransport.type = 'websocket'",
            "3: client.transport.type: WebSocket as a \
          transport is not supported; use type = \"noise\", with keys from `underpass --genkey`",
        ),
        (
            "remote_addr = 'a:1'\ntransport.type = 'noise'",
            "3: client.transport.noise: missing: a table with \
          remote_public_key, the server's public key",
        ),
    ] {
        bad(&top(keys), &format!("f.toml:{error}"));
    }
    bad("", "f.toml:1: neither [server] nor [client] is here");
}

#[test]
fn ports_are_counted_in_order_and_each_once() {
    let bind = "['0.0.0.0:9', '0.0.0.0:30-32', '[::]:30-32', '[::]:9', '127.0.0.1:0', '[::1]:0']";
    let text = format!("[server.services.a]\nbind_addr = {bind}");
    let config = parse(&server(&text)).expect("it loads");
    let service = &config.server.expect("[server]").services[0];
    let ports: Vec<_> = service.bind_addrs.iter().map(|addr| addr.port()).collect();
    assert_eq!(ports, [9, 30, 31, 32, 30, 31, 32, 9, 0, 0]);
    assert_eq!(service.port_offsets(), [0, 1, 2, 3, 1, 2, 3, 0, 4, 5]);
    assert_eq!(service.ports(), 6);
    let shown = ["0.0.0.0:9", "0.0.0.0:30-32", "[::]:30-32", "[::]:9", "127.0.0.1:0", "[::1]:0"];
    assert_eq!(underpass::config::show_ports(&service.bind_addrs), shown);

    let text = "[client.services.a]\nlocal_addr = 'nas:65000-65535'\n\
                [client.services.b]\nlocal_addr = '[::1]:5-5'";
    let services = good(&client(text), &[]).client.expect("[client]").services;
    let port = |service: usize, offset| services[service].local_port(offset);
    let at = |host: &str, port| Some(HostPort { host: host.into(), port });
    assert_eq!([services[0].local_ports, services[1].local_ports], [536, 1]);
    assert_eq!(port(0, 0), at("nas", 65000));
    assert_eq!(port(0, 535), at("nas", 65535));
    assert_eq!([port(0, 536), port(0, u16::MAX)], [None, None]);
    assert_eq!([port(1, 0), port(1, u16::MAX)], [at("::1", 5), at("::1", 5)]);
    for (port, goes) in [(64999, false), (65000, true), (65535, true)] {
        let target = HostPort { host: "nas".into(), port };
        assert_eq!(services[0].goes_to(&target), goes, "{port}");
    }
}

#[test]
fn as_many_ports_as_may_be_load_in_no_time() {
    let started = std::time::Instant::now();
    // Three tunnels and entries stand before them.
    let text = server("[server.services.a]\nbind_addr = '0.0.0.0:10000-12044'");
    let services = |text: &str| parse(text).expect("loads").server.expect("[server]").services;
    assert_eq!(services(&text)[0].ports(), 2045);
    // All on one port: each is compared with all before it.
    let list: Vec<_> = (0..2045).map(|i| format!("'127.0.{}.{}:1'", i / 256, i % 256)).collect();
    let text = server(&format!("[server.services.a]\nbind_addr = [{}]", list.join(",")));
    let service = &services(&text)[0];
    assert_eq!((service.bind_addrs.len(), service.ports()), (2045, 1));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn odd_pauses_are_bounded_with_a_warning() {
    for (asked, used) in [(0, 1), (60, 5)] {
        let text =
            format!("[client]\nremote_addr = 'a:1'\nretry_interval = {asked}\n[client.services]");
        let config = parse(&text).expect("it loads");
        let warning = format!(
            "f.toml:3: client.retry_interval: {used} s are used: the first pause has 1 to 5 s"
        );
        assert!(config.warnings.contains(&warning), "{:?}", config.warnings);
        assert_eq!(config.client.expect("[client]").retry_interval.as_secs(), used);
    }
}

#[test]
fn p6_services_under_one_wildcard_are_pointed_out() {
    let file = |pi: &str, local: &str| {
        let service = |name: &str, hosts: &str| {
            format!("[server.services.{name}]\ntype = 'https'\nhosts = {hosts}\n")
        };
        let text = server(&(service("pi", pi) + &service("local", local)));
        let warnings =
            parse(&text).expect("it loads").server.expect("[server]").coalescing_warnings();
        let parents = warnings.iter().map(|w| {
            let parent = w.strip_prefix("services pi, local have names right under ").expect(w);
            parent.split(':').next().expect("a parent").to_owned()
        });
        parents.collect::<Vec<_>>()
    };
    assert_eq!(file("'pi.example.com'", "'local.example.com'"), ["example.com"]);
    assert_eq!(file("'*.example.com'", "'local.example.com'"), ["example.com"]);
    assert_eq!(file("'**.example.com'", "'a.local.example.com'"), ["local.example.com"]);
    assert_eq!(file("['*.pi.example.com', 'a.com']", "['*.local.example.com', 'b.com']"), [""; 0]);
    assert_eq!(file("['**', '/.*[.]example[.]com/']", "'a.example.com'"), [""; 0]);
}

#[test]
fn the_fuzz_check_holds_on_every_prefix_of_every_file_here() {
    for text in [
        include_str!("../../config/server.toml"),
        include_str!("../../config/client.toml"),
        include_str!("../article/rathole.server.toml"),
        include_str!("../article/rathole.client.pi.toml"),
        include_str!("../article/rathole.client.local.toml"),
    ] {
        let holed = text.replace("\"\n", "${X}\"\n");
        for end in 0..=holed.len() {
            underpass::config::fuzz::check(&holed.as_bytes()[..end]);
        }
    }
}

#[test]
fn what_cannot_be_read_is_an_error_too() {
    let folder = std::env::temp_dir().join(format!("underpass-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("f.toml");
    let error = |path: &Path| {
        let error = Config::load(path).expect_err("not a file").to_string();
        error.replace(&*path.display().to_string(), "f.toml")
    };
    assert_eq!(error(&path), "f.toml: cannot read it: No such file or directory (os error 2)");
    std::fs::write(&path, b"[server]\n\ntoken = \"\xff\"").expect("written");
    assert_eq!(error(&path), "f.toml:3: not UTF-8");
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn a_proxy_is_a_url_with_an_optional_login() {
    let file = |url: &str| client(&format!("[client.transport.tcp]\nproxy = '{url}'"));
    let services = "f.toml:2: client.services: there are no services";
    for (url, scheme, addr, login) in [
        ("socks5://127.0.0.1:1080", ProxyScheme::Socks5, "127.0.0.1:1080", None),
        ("http://p.example:3128/", ProxyScheme::Http, "p.example:3128", None),
        ("SOCKS5://me@[::1]:9", ProxyScheme::Socks5, "[::1]:9", Some(("me", ""))),
        ("http://me:mark-er_0123456789@a:1", ProxyScheme::Http, "a:1", Some(("me", MARKER))),
        ("socks5://m%40e:a@b%3A%2f%C3%BC@a:1", ProxyScheme::Socks5, "a:1", Some(("m@e", "a@b:/ü"))),
    ] {
        let config = good(&file(url), &[services]).client.expect("a client");
        let proxy = config.tcp.proxy.expect("a proxy");
        assert_eq!((proxy.scheme, &*proxy.addr.to_string()), (scheme, addr), "{url}");
        let found =
            proxy.login.as_ref().map(|login| (login.user.expose(), login.password.expose()));
        assert_eq!(found, login.map(|(user, pass)| (user.as_bytes(), pass.as_bytes())), "{url}");
    }
    for (url, reason) in [
        (
            "127.0.0.1:1080",
            "must be socks5://host:port or http://host:port, with user:password@ if needed",
        ),
        (
            "https://a:1",
            "must be socks5://host:port or http://host:port, with user:password@ if needed",
        ),
        ("http://a", "the port is missing: `host:80`"),
        ("http://me:mark-er_0123456789@:1", "must be a name or an address, and a port: `host:80`"),
        (
            "http://me:mark-er_0123456789/@a:1",
            "nothing follows the port; in a password `/` is %2F, `?` %3F and `#` %23",
        ),
        (
            "http://me:mark-er_0123456789%4@a:1",
            "a `%` in the login stands before two hexadecimal digits; itself is %25",
        ),
        ("http://m%3Ae:mark-er_0123456789@a:1", "an HTTP proxy's user has no colon (RFC 7617)"),
        ("socks5://:mark-er_0123456789@a:1", "the login has a password and no user"),
        (
            "socks5://me:mark-er_0123456789%00@a:1",
            "user and password have at most 255 bytes, none of control",
        ),
    ] {
        bad(&file(url), &format!("f.toml:10: client.transport.tcp.proxy: {reason}"));
    }
    let long = "x".repeat(256);
    bad(
        &file(&format!("socks5://{long}@a:1")),
        "f.toml:10: client.transport.tcp.proxy: user and password have at most 255 bytes, \
         none of control",
    );
    // rathole takes the key in a server's file too, where it does nothing.
    let unused = "f.toml:11: server.transport.tcp.proxy: not used: the server dials nobody";
    let text = server("[server.transport.tcp]\nproxy = 'http://u:mark-er_0123456789@a:1'");
    let idle = "f.toml:4: server.https_addr: no service of type https or web takes its visitors";
    let none = "f.toml:2: server.services: there are no services";
    good(&text, &[unused, idle, none]);
}

/// rathole's own examples, as its README has them.
#[test]
fn the_files_of_rathole_s_readme_load_or_say_what_to_use_instead() {
    let clear = "the tunnel is not encrypted; type = \"noise\" is";
    let server = include_str!("../rathole/quickstart.server.toml");
    let server = good(server, &[&format!("f.toml:3: server.transport: {clear}")]).server;
    assert_eq!(server.expect("[server]").services[0].name, "my_nas_ssh");
    let client = include_str!("../rathole/quickstart.client.toml");
    let client = good(client, &[&format!("f.toml:3: client.transport: {clear}")]).client;
    let client = client.expect("[client]");
    assert_eq!(client.protocol, Protocol::Native);
    assert_eq!(client.services[0].local_addr.as_ref().expect("a port").to_string(), "127.0.0.1:22");

    let whole = include_str!("../rathole/specification.toml");
    let config = parse(whole).expect("it loads");
    let unused = |warning: &String| warning.contains(": not used: ") || warning.contains(clear);
    assert!(config.warnings.iter().all(unused), "{:#?}", config.warnings);
    let proxy = config.client.expect("[client]").tcp.proxy.expect("a proxy");
    assert_eq!(proxy.to_string(), "socks5://127.0.0.1:1080");
    assert_eq!(config.server.expect("[server]").services.len(), 2);
    let with = |kind: &str| {
        let (transport, rest) = whole.split_once("type = \"tcp\"").expect("the client's transport");
        format!("{transport}type = \"{kind}\"{rest}")
    };
    let instead = "as a transport is not supported; use type = \"noise\", with keys from \
                   `underpass --genkey`";
    for (kind, error) in [
        ("tls", &*format!("transport.type: TLS {instead}")),
        ("websocket", &*format!("transport.type: WebSocket {instead}")),
        (
            "noise",
            "transport.noise.local_private_key: must be a key of 32 bytes in base64, as \
             `underpass --genkey` prints it",
        ),
    ] {
        let found = parse(&with(kind)).expect_err("refused").to_string();
        assert!(found.ends_with(error), "{found}");
    }
    // With sound keys in place of the words.
    let text = with("noise").replace("key_encoded_in_base64", KEY);
    let client = parse(&text).expect("it loads").client.expect("[client]");
    assert!(matches!(client.transport, Transport::Noise(_)));
}

#[test]
fn a_client_may_speak_rathole_s_protocol() {
    let file = |keys: &str| {
        let top = "[client]\nprotocol = 'rathole'\nretry_interval = 2\n";
        client(keys).replace("[client]\n", top)
    };
    let services = "[client.services.a]\ntype = 'https'\nlocal_addr = 'traefik'\n\
                    [client.services.b]\nlocal_addr = 'a:1'\nretry_interval = 9\n";
    let used = "f.toml:16: client.services.b.retry_interval: \
                5 s are used: the first pause has 1 to 5 s";
    let client = good(&file(services), &[used]).client.expect("[client]");
    assert_eq!(client.protocol, Protocol::Rathole);
    assert_eq!(client.heartbeat_timeout, Some(Duration::from_secs(40)), "rathole's default");
    let pauses = client.services.iter().map(|service| service.retry_interval.as_secs());
    assert_eq!(pauses.collect::<Vec<_>>(), [2, 5]);
    let traefik = client.services[0].local_addr.as_ref().expect("a port");
    assert_eq!(traefik.to_string(), "traefik:443");
    let Transport::Noise(noise) = client.transport else { panic!("noise") };
    assert_eq!(noise.patterns, ["Noise_NK_25519_ChaChaPoly_BLAKE2s"], "rathole's default");
    let says = "a rathole server does not say";
    for (service, error) in [
        (
            "type = 'web'\nlocal_addr = 'traefik'",
            format!(
                "12: client.services.a.type: {says} which entry a visitor comes in by: two \
                 services, of type http and https"
            ),
        ),
        (
            "local_addr = 'a:1-2'",
            format!(
                "12: client.services.a.local_addr: {says} which port a visitor comes in by: a \
                 service for each port"
            ),
        ),
        (
            "local_addr = 'a:1'\nproxy_protocol = 'v2'",
            format!("13: client.services.a.proxy_protocol: {says} where a visitor comes from"),
        ),
    ] {
        bad(&file(&format!("[client.services.a]\n{service}")), &format!("f.toml:{error}"));
    }
}

#[test]
fn rathole_s_clients_are_served_unless_the_file_says_no() {
    let file = |line: &str| {
        server(SERVICE).replacen("default_token", &(line.to_owned() + "\ndefault_token"), 1)
    };
    let served = |line: &str| good(&file(line), &[]).server.expect("[server]").rathole;
    assert_eq!(
        [served(""), served("rathole = true"), served("rathole = false")],
        [true, true, false]
    );
    bad(&file("rathole = 'no'"), "f.toml:5: server.rathole: must be true or false, not a string");
}

#[test]
fn the_access_log_is_off_unless_asked_for() {
    let log = |table: &str| {
        let config = good(&server(&format!("[server.access_log]\n{table}\n{SERVICE}")), &[]);
        config.server.expect("[server]").access_log
    };
    assert!(good(&server(SERVICE), &[]).server.expect("[server]").access_log.is_none());
    let shown = |table: &str| {
        let log = log(table).expect("an access log");
        (log.path.map(|path| path.display().to_string()), log.format)
    };
    assert_eq!(shown(""), (None, AccessLogFormat::Clf));
    assert_eq!(shown("path = \"-\""), (None, AccessLogFormat::Clf));
    let json = "path = \"/var/log/a\"\nformat = \"json\"";
    assert_eq!(shown(json), (Some("/var/log/a".to_owned()), AccessLogFormat::Json));
    for (line, error) in [
        ("path = \"\"", "path: must not be empty; `-` is standard output"),
        ("format = \"combined\"", "format: must be clf or json"),
    ] {
        let text = server(&format!("[server.access_log]\n{line}\n{SERVICE}"));
        bad(&text, &format!("f.toml:11: server.access_log.{error}"));
    }
}

const SERVICE: &str = "[server.services.a]\ntype = \"https\"\nhosts = [\"a.example\"]";

/// As rathole's listeners on Linux: the wildcard of IPv6 is both families, however it is written.
#[test]
fn the_wildcard_of_ipv6_is_both_families() {
    let show = |addrs: &[std::net::SocketAddr]| {
        addrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    for (value, expected) in [
        ("'[::]:7'", "[::]:7 0.0.0.0:7"),
        ("':::7'", "[::]:7 0.0.0.0:7"),
        ("'::1:7'", "[::1]:7"),
        ("['[::]:7', '0.0.0.0:7']", "[::]:7 0.0.0.0:7"),
        ("['192.0.2.1:7', '[::]:7']", "192.0.2.1:7 [::]:7"),
        ("'[::]:0'", "[::]:0"),
    ] {
        let text = |key: &str| {
            let bind = if key == "bind_addr" { "" } else { "bind_addr = '0.0.0.0:2333'\n" };
            format!("[server]\n{bind}{key} = {value}\n")
        };
        for key in ["bind_addr", "http_addr", "https_addr"] {
            let config = Config::parse("s.toml", &text(key), &|_| None).expect(value);
            let server = config.server.expect("[server]");
            let addrs = match key {
                "bind_addr" => &server.bind_addrs,
                "http_addr" => &server.http_addrs,
                _ => &server.https_addrs,
            };
            assert_eq!(show(addrs), expected, "{key} = {value}");
        }
        let service = format!(
            "[server]\nbind_addr = '0.0.0.0:2333'\n[server.services.a]\ntoken = 't'\n\
             bind_addr = {value}\n"
        );
        let config = Config::parse("s.toml", &service, &|_| None).expect(value);
        let server = config.server.expect("[server]");
        assert_eq!(show(&server.services[0].bind_addrs), expected, "{value}");
        assert_eq!(server.services[0].ports(), 1, "one port: {value}");
    }
    // A second service on the port is an error that names both.
    let two = "[server]\nbind_addr = '0.0.0.0:2333'\n[server.services.a]\ntoken = 't'\n\
               bind_addr = '[::]:7'\n[server.services.b]\ntoken = 't'\nbind_addr = '0.0.0.0:7'\n";
    let error = Config::parse("s.toml", two, &|_| None).expect_err("taken").to_string();
    let taken = "s.toml:8: server.services.b.bind_addr: this address is taken by \
                 server.services.a.bind_addr (line 5)";
    assert_eq!(error, taken);
}

#[test]
fn a_byte_order_mark_in_front_does_no_harm() {
    let text = "\u{feff}[server]\nbind_addr = '0.0.0.0:2333'\nx = 1\n";
    let error = Config::parse("s.toml", text, &|_| None).expect_err("a key that is none");
    assert!(error.to_string().starts_with("s.toml:3: server.x: "), "{error}");
    let good = text.replace("x = 1\n", "");
    assert!(Config::parse("s.toml", &good, &|_| None).is_ok());
}
