//! rathole's files, keys and protocol.

use super::*;

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
    assert_eq!(server.services[0].tokens[0].expose(), MARKER.as_bytes());
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
    assert!(matches!(client.servers[0].transport, Transport::Noise(_)));
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
    let Transport::Noise(noise) = client.servers[0].transport.clone() else { panic!("noise") };
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
