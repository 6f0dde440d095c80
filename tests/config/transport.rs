//! Keys, patterns and the proxy on the way.

use super::*;

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
