//! What a client's file may say, and what is said of what it may not.

use super::*;

#[test]
fn local_addresses_have_the_ports_that_their_type_has() {
    let local = |host: &str, port| Some(HostPort { host: host.into(), port });
    let cases = [
        ("tcp", "local_addr = 'ssh:22'", local("ssh", 22), None, None),
        ("http", "local_addr = 'Traefik.'", local("Traefik.", 80), local("Traefik.", 80), None),
        ("http", "local_addr = 'a:8080'", local("a", 8080), local("a", 8080), None),
        ("https", "local_addr = '[::1]'", local("::1", 443), None, local("::1", 443)),
        ("tcp", "local_addr = '[fe80::1%eth0]:22'", local("fe80::1%eth0", 22), None, None),
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
            "remote_addr = '[fe80::1%]:1'",
            "2: client.remote_addr: must be a name or an address, and a port: `host:80`",
        ),
        (
            "remote_addr = '[a%eth0]:1'",
            "2: client.remote_addr: must be a name or an address, and a port: `host:80`",
        ),
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
