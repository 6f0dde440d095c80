//! The tunnel: transports, patterns, keys, tokens, and services with a port of their own.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::thread;

use crate::harness::{PATIENCE, Proc, SECRET, free_port, wait_until};
use crate::home::Home;
use crate::house::{
    Keys, Transport, Vps, client_port, client_service, returns_to, server_port, server_service,
    settled,
};
use crate::visitor::{INTERNAL_ERROR, Seen, connect, home, visit};

#[test]
fn a_tcp_service_has_a_port_of_its_own_over_noise_and_over_tcp() {
    for transport in [Transport::Noise, Transport::Tcp] {
        let plain = matches!(transport, Transport::Tcp);
        let vps = Vps::with(transport);
        let there = Home::echo(vps.ip);
        let port = free_port(vps.ip);
        let server = vps.server(&server_port("echo", port));
        let client = vps.client_ready("client", &client_port("echo", there.address));
        let before = settled(&[&server, &client]);
        thread::scope(|scope| {
            for seed in 0..40 {
                scope.spawn(move || echo_all(port, seed));
            }
        });
        if plain {
            server.wait_for_log(&["warn", "encrypt"]);
            client.wait_for_log(&["warn", "encrypt"]);
        }
        returns_to(&before, &[&server, &client]);
    }
}

/// Sends 300 KB and an end, and wants both back.
pub(crate) fn echo_all(port: SocketAddr, seed: u32) {
    let sent: Vec<u8> = (0..300_000_u32).map(|i| (i.wrapping_mul(i ^ seed) >> 7) as u8).collect();
    echo(port, &sent);
}

/// Sends `sent` and an end, and wants both back.
pub(crate) fn echo(port: SocketAddr, sent: &[u8]) {
    let mut visitor = connect(port).unwrap();
    let mut writer = visitor.try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut back = Vec::new();
        visitor.read_to_end(&mut back).unwrap();
        assert!(back == sent, "{} bytes came back of {}", back.len(), sent.len());
    });
}

/// A home that speaks first, as ssh's does: no byte of the visitor's is needed.
#[test]
fn a_home_that_speaks_first_is_heard() {
    let vps = Vps::new();
    let there = Home::start(vps.ip, |mut stream| {
        let _ = stream.write_all(b"SSH-2.0-test\r\n");
        let _ = stream.read(&mut [0; 64]);
    });
    let port = free_port(vps.ip);
    let _server = vps.server(&server_port("ssh", port));
    let mut client = vps.client_ready("client", &client_port("ssh", there.address));
    let mut visitor = connect(port).unwrap();
    let mut banner = [0; 14];
    visitor.read_exact(&mut banner).unwrap();
    assert_eq!(&banner, b"SSH-2.0-test\r\n");

    // With the client gone the port has nothing to say: its visitors are let go at once.
    drop(visitor);
    client.stop();
    wait_until(PATIENCE, "the port's visitors are let go", || {
        let Ok(mut visitor) = connect(port) else { return true };
        match visitor.read(&mut banner) {
            Ok(n) => n == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    });
}

/// One side's file names a pattern, the other's leaves it to the processor.
#[test]
fn a_pattern_that_one_side_names_is_found() {
    let named = Transport::Pattern("Noise_NK_25519_ChaChaPoly_BLAKE2s");
    for (server, client) in [(named, Transport::Noise), (Transport::Noise, named)] {
        let mut vps = Vps::with(server);
        let there = Home::named(vps.ip, "pi");
        let _server = vps.server(&server_service("pi", &["pi.example.com"]));
        vps.transport = client;
        let client = vps.client("client", &client_service("pi", there.address));
        vps.wait_served("pi.example.com", "pi");
        assert!(!client.log().contains("no session"), "{}", client.log());
    }
}

#[test]
fn any_pattern_of_snow_carries_the_tunnel() {
    for pattern in [
        "Noise_NK_25519_AESGCM_SHA256",
        "Noise_XK_25519_ChaChaPoly_BLAKE2s",
        "Noise_KK_25519_AESGCM_BLAKE2b",
        "Noise_IK_25519_ChaChaPoly_SHA512",
        "Noise_XX_25519_AESGCM_BLAKE2s",
        "Noise_NX_25519_ChaChaPoly_BLAKE2s",
        "Noise_NN_25519_ChaChaPoly_BLAKE2s",
    ] {
        let vps = Vps::with(Transport::Pattern(pattern));
        let there = Home::named(vps.ip, "pi");
        let port = free_port(vps.ip);
        let echo = Home::echo(vps.ip);
        let services = server_service("pi", &["pi.example.com"]) + &server_port("echo", port);
        let _server = vps.server(&services);
        let services = client_service("pi", there.address) + &client_port("echo", echo.address);
        let _client = vps.client("client", &services);
        vps.wait_served("pi.example.com", "pi");
        echo_all(port, 1);
    }
}

/// A client that expects another server is no client, and a server that takes only the holder of
/// one key (KK) takes no other.
#[test]
fn a_wrong_key_on_either_side_is_refused_and_disturbs_nobody() {
    for pattern in ["Noise_NK_25519_ChaChaPoly_BLAKE2s", "Noise_KK_25519_ChaChaPoly_BLAKE2s"] {
        let mut vps = Vps::with(Transport::Pattern(pattern));
        let (right, wrong) = (Home::named(vps.ip, "right"), Home::named(vps.ip, "wrong"));
        let services = server_service("right", &["right.example.com"])
            + &server_service("wrong", &["wrong.example.com"]);
        let _server = vps.server(&services);
        let _right = vps.client("right", &client_service("right", right.address));
        vps.wait_served("right.example.com", "right");
        let stranger = match pattern.contains("KK") {
            true => &mut vps.client_keys,
            false => &mut vps.server_keys,
        };
        *stranger = Keys::new();
        let client = vps.client("wrong", &client_service("wrong", wrong.address));
        // To the server it is a stranger like any other; whoever set it up at home reads why.
        client.wait_for_log(&["key"]);
        assert_eq!(visit(vps.https, "wrong.example.com"), Seen::Alert(INTERNAL_ERROR));
        assert_eq!(visit(vps.https, "right.example.com"), home("right"));
    }
}

/// Where the pattern sends the server's key instead of presupposing it, a configured
/// `remote_public_key` still says who the server must be.
#[test]
fn a_configured_key_is_checked_also_when_the_pattern_transmits_it() {
    for pattern in ["Noise_XX_25519_ChaChaPoly_BLAKE2s", "Noise_NX_25519_ChaChaPoly_BLAKE2s"] {
        let mut vps = Vps::with(Transport::Pattern(pattern));
        let there = Home::named(vps.ip, "pi");
        let _server = vps.server(&server_service("pi", &["pi.example.com"]));
        vps.server_keys = Keys::new();
        let client = vps.client("client", &client_service("pi", there.address));
        client.wait_for_log(&["key"]);
        assert_eq!(visit(vps.https, "pi.example.com"), Seen::Alert(INTERNAL_ERROR));
        assert_eq!(there.accepted(), 0);
    }
}

#[test]
fn a_wrong_token_is_said_on_both_sides_and_disturbs_nobody() {
    let vps = Vps::new();
    let (right, thief) = (Home::named(vps.ip, "right"), Home::named(vps.ip, "thief"));
    let hosts = |name: &str| format!("{name}.example.com");
    let services = server_service("pi", &[&hosts("pi")])
        + &server_service("local", &[&hosts("local")])
        + &server_service("away", &[&hosts("away")]);
    let mut server = vps.server(&services);
    let right_client = vps.client("right", &client_service("pi", right.address));
    vps.wait_served("pi.example.com", "right");

    // One session: a token that is right, one that is wrong for a service that somebody has, and
    // one that is wrong for a free service.
    let wrong = |service: String| service.replace(SECRET, &format!("{SECRET}-not"));
    let services = client_service("local", thief.address)
        + &wrong(client_service("pi", thief.address))
        + &wrong(client_service("away", thief.address));
    let mut thief_client = vps.client("thief", &services);
    vps.wait_served("local.example.com", "thief");
    for name in ["pi", "away"] {
        thief_client.wait_for_log(&["token", name]);
        server.wait_for_log(&["token", name]);
    }
    for _ in 0..20 {
        assert_eq!(visit(vps.https, "pi.example.com"), home("right"));
        assert_eq!(visit(vps.https, "away.example.com"), Seen::Alert(INTERNAL_ERROR));
        assert_eq!(visit(vps.https, "local.example.com"), home("thief"));
    }
    server.assert_running();
    thief_client.assert_running();
    assert_no_word_of(&right_client, "token");
}

/// Server and client must agree on a service's name and type; both say when they do not.
#[test]
fn a_service_that_the_other_side_knows_otherwise_is_said_on_both_sides() {
    let vps = Vps::new();
    let there = Home::named(vps.ip, "pi");
    let services =
        server_service("pi", &["pi.example.com"]) + &server_port("door", free_port(vps.ip));
    let server = vps.server(&services);
    let services = client_service("pi", there.address)
        + &client_service("door", there.address)
        + &client_service("nowhere", there.address);
    let client = vps.client("client", &services);
    vps.wait_served("pi.example.com", "pi");
    for process in [&server, &client] {
        process.wait_for_log(&["door", "type"]);
    }
    client.wait_for_log(&["nowhere"]);
    server.wait_for_log(&["nowhere", "not in this file"]);
}

/// Lists of addresses, IPv6 among them, for every listener; a name at home; `web` as a type.
#[test]
fn several_addresses_and_a_name_at_home() {
    let vps = Vps::new();
    let there = Home::named("127.0.0.1".parse().unwrap(), "pi");
    let (second, http) = (free_port(vps.ip), free_port(vps.ip));
    let six = std::net::TcpListener::bind("[::1]:0").unwrap().local_addr().unwrap();
    let port = free_port(vps.ip);
    let services = "[server.services.pi]\ntype = \"web\"\n".to_owned()
        + &format!("token = \"{SECRET}-pi\"\nhosts = [\"pi.example.com\"]\n")
        + &server_port("raw", port).replace(&format!("\"{port}\""), &format!("[\"{port}\"]"));
    let file = vps
        .server_file(&services)
        .replace(&format!("\"{}\"", vps.https), &format!("[\"{}\", \"{second}\"]", vps.https))
        .replace(&format!("\"{}\"", vps.tunnel), &format!("[\"{}\", \"{six}\"]", vps.tunnel));
    let file = file.replace("https_addr", &format!("http_addr = \"{http}\"\nhttps_addr"));
    let _server = vps.underpass("server", "--server", &file);
    let services = format!(
        "[client.services.pi]\ntype = \"web\"\ntoken = \"{SECRET}-pi\"\n\
         local_http_addr = \"localhost:9\"\nlocal_https_addr = \"localhost:{}\"\n",
        there.address.port()
    ) + &client_port("raw", there.address);
    let file = vps.client_file(&services).replace(&vps.tunnel.to_string(), &six.to_string());
    let _client = vps.underpass("client", "--client", &file);
    for entry in [vps.https, second] {
        wait_until(PATIENCE, "each listener serves", || {
            visit(entry, "pi.example.com") == home("pi")
        });
    }
    wait_until(PATIENCE, "the port serves", || crate::visitor::say(port, b"?") == home("pi"));
}

fn assert_no_word_of(process: &Proc, word: &str) {
    let log = process.log().to_lowercase();
    assert!(!log.contains(word), "{word}: {log}");
}
