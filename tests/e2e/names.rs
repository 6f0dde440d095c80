//! Names on the TLS entry: who answers, with which certificate, and what the others get.

use std::io::{Read, Write};
use std::net::Shutdown;

use crate::home::{Frame, Home, read_head, websocket_accept};
use crate::house::{Pair, Vps, client_service, returns_to, server_service, settled};
use crate::visitor::{
    INTERNAL_ERROR, Seen, TlsStream, UNRECOGNIZED_NAME, client_hello, connect, home, look,
    s_client, say, visit,
};

#[test]
fn every_name_reaches_its_home_and_its_certificate() {
    let pair = Pair::start();
    let before = settled(&pair.processes());
    for (host, home, other) in [
        ("pi.example.com", "pi", "local"),
        ("www.pi.example.com", "pi", "local"),
        ("x.pi.example.com", "pi", "local"),
        ("a.b.pi.example.com", "pi", "local"),
        ("local.example.com", "local", "pi"),
        ("www.local.example.com", "local", "pi"),
    ] {
        for _ in 0..3 {
            let answer = pair.whoami(host, home);
            assert_eq!(answer.body, format!("{home} {host} HTTP/1.1\n"), "{answer:?}");
        }
        // The other home's authority has signed nothing here: curl's 60 is a bad certificate.
        let answer = pair.whoami(host, other);
        assert_eq!(answer.exit, 60, "{host} with {other}'s authority: {answer:?}");

        let site = if home == "pi" { &pair.pi } else { &pair.local };
        let verified = Some((host, &site.authority.own));
        let text = s_client(pair.vps.https, Some(host), verified);
        assert!(text.contains("Verification: OK"), "{host}: {text}");
        assert!(text.contains(&format!("CN = {home}.example.com")), "{host}: {text}");
    }
    returns_to(&before, &pair.processes());
}

#[test]
fn a_client_certificate_passes() {
    let pair = Pair::start();
    let url = "https://vault.pi.example.com/whoami";
    let answer = pair.curl("pi").identity(&pair.pi.visitor).get(url);
    assert_eq!(answer.body, "pi vault.pi.example.com CN=a friend\n", "{answer:?}");
    let answer = pair.curl("pi").get(url);
    assert_eq!(answer.status, 400, "nginx asks for a certificate: {answer:?}");
    // One of another authority will not do.
    let answer = pair.curl("pi").identity(&pair.local.visitor).get(url);
    assert_eq!(answer.status, 400, "{answer:?}");
}

#[test]
fn http2_passes() {
    let pair = Pair::start();
    let answer = pair.curl("pi").args(&["--http2"]).get("https://www.pi.example.com/whoami");
    assert_eq!(answer.version, "2", "{answer:?}");
    assert_eq!(answer.body, "pi www.pi.example.com HTTP/2.0\n", "{answer:?}");
    // Many requests at once on one connection.
    let many = pair.curl("pi").args(&["--http2", "--parallel"]);
    let answer = many.get("https://pi.example.com/whoami?[1-40]");
    assert_eq!(answer.body.matches("pi pi.example.com HTTP/2.0\n").count(), 40, "{answer:?}");
}

#[test]
fn a_websocket_over_tls_passes() {
    let pair = Pair::start();
    let before = settled(&pair.processes());
    let mut tls = TlsStream::open(pair.vps.https, "pi.example.com", &pair.pi.authority.own);
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    write!(
        tls.write,
        "GET /ws HTTP/1.1\r\nHost: pi.example.com\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )
    .unwrap();
    let fields = read_head(&mut tls.read).unwrap();
    assert_eq!(fields["sec-websocket-accept"], websocket_accept(key));
    for length in [1, 125, 4096, 65_536, 1_000_000] {
        let payload = (0..length).map(|i: usize| (i * 7 + length) as u8).collect();
        let frame = Frame { opcode: Frame::BINARY, payload };
        // The echo begins while the frame is still being written, hence two threads.
        std::thread::scope(|scope| {
            let (write, read) = (&mut tls.write, &mut tls.read);
            scope.spawn(|| frame.write(write, Some([9, 8, 7, 6])).unwrap());
            assert!(Frame::read(read).unwrap() == frame, "{length} bytes came back changed");
        });
    }
    let ping = Frame { opcode: Frame::PING, payload: b"still there?".to_vec() };
    ping.write(&mut tls.write, Some([1; 4])).unwrap();
    let pong = Frame::read(&mut tls.read).unwrap();
    assert_eq!(pong, Frame { opcode: Frame::PONG, payload: ping.payload });
    let close = Frame { opcode: Frame::CLOSE, payload: vec![3, 232] };
    close.write(&mut tls.write, Some([2; 4])).unwrap();
    assert_eq!(Frame::read(&mut tls.read).unwrap(), close);
    drop(tls);
    returns_to(&before, &pair.processes());
}

#[test]
fn a_wrong_name_no_name_and_an_absent_home_each_get_their_answer() {
    let pair = Pair::start();
    let before = settled(&pair.processes());
    let https = pair.vps.https;

    // Unknown names: RFC 6066, 3, seen by both programs.
    for name in ["pi.example.org", "example.com", "xpi.example.com", "pi.example.com.evil.org"] {
        assert_eq!(visit(https, name), Seen::Alert(UNRECOGNIZED_NAME), "{name}");
    }
    let text = s_client(https, Some("nobody.example.com"), None);
    assert!(text.contains("alert number 112"), "{text}");
    let answer = pair.whoami("nobody.example.com", "pi");
    assert_eq!(answer.exit, 35, "{answer:?}");
    assert!(answer.errors.contains("unrecognized name"), "{answer:?}");

    // No name, and no fallback to take it.
    assert_eq!(say(https, &client_hello(None)), Seen::Alert(UNRECOGNIZED_NAME));
    let text = s_client(https, None, None);
    assert!(text.contains("SSL alert number"), "{text}");

    // Names that no host can have.
    for name in ["192.0.2.1", "pi..example.com", "*.pi.example.com", "pi.example.com\0.evil.org"] {
        assert!(matches!(visit(https, name), Seen::Alert(_)), "{name:?}");
    }

    // A service that nobody serves: answered at once.
    assert_eq!(visit(https, "away.example.com"), Seen::Alert(INTERNAL_ERROR));
    let text = s_client(https, Some("away.example.com"), None);
    assert!(text.contains("alert number 80"), "{text}");

    // Plain HTTP on the TLS port.
    let url = format!("http://pi.example.com:{}/", https.port());
    let answer = pair.curl("pi").get(&url);
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.body.to_lowercase().contains("https"), "{answer:?}");

    // Not TLS, not HTTP: closed, by an end of file or a reset, and without a word.
    for junk in [&b"SSH-2.0-OpenSSH_9.2\r\n"[..], b"\0\0\0\0\0\0\0\0", b"\n\n\n\n"] {
        let seen = say(https, junk);
        assert!(matches!(seen, Seen::Closed | Seen::Reset | Seen::Alert(_)), "{junk:?}: {seen:?}");
    }
    pair.wait_all_served();
    returns_to(&before, &pair.processes());
}

#[test]
fn a_visitor_without_a_name_goes_to_the_fallback_and_nobody_else_does() {
    let vps = Vps::new();
    let (named, fallback) = (Home::named(vps.ip, "pi"), Home::named(vps.ip, "fallback"));
    let services = server_service("pi", &["pi.example.com"])
        + &server_service("rest", &["rest.example.com"])
        + "fallback = true\n";
    let _server = vps.server(&services);
    let services = client_service("pi", named.address) + &client_service("rest", fallback.address);
    let _client = vps.client("client", &services);
    vps.wait_served("pi.example.com", "pi");
    vps.wait_served("rest.example.com", "fallback");
    assert_eq!(say(vps.https, &client_hello(None)), home("fallback"));
    let before = fallback.accepted();
    assert_eq!(visit(vps.https, "other.example.com"), Seen::Alert(UNRECOGNIZED_NAME));
    assert!(matches!(visit(vps.https, "192.0.2.1"), Seen::Alert(_)));
    assert_eq!(fallback.accepted(), before);
}

#[test]
fn the_narrower_pattern_wins_whatever_the_order() {
    let vps = Vps::new();
    let any = Home::named(vps.ip, "any");
    let regex = Home::named(vps.ip, "regex");
    let wide = Home::named(vps.ip, "wide");
    let star = Home::named(vps.ip, "star");
    let exact = Home::named(vps.ip, "exact");
    // The widest first: the file's order must not matter.
    let homes = [("any", &any), ("regex", &regex), ("wide", &wide), ("star", &star)];
    let services = server_service("any", &["**"])
        + &server_service("regex", &["/[a-z]+[0-9]+\\.example\\.net/", "/cam.*/"])
        + &server_service("wide", &["**.example.com"])
        + &server_service("star", &["*.example.com", "www.*.example.com"])
        + &server_service("exact", &["www.example.com"]);
    let _server = vps.server(&services);
    let mut services = client_service("exact", exact.address);
    for (name, home) in homes {
        services += &client_service(name, home.address);
    }
    let _client = vps.client("client", &services);
    for (host, winner) in [
        ("www.example.com", "exact"),
        ("x.example.com", "star"),
        ("www.x.example.com", "star"),
        ("y.x.example.com", "wide"),
        ("cam1.example.com", "star"),
        ("cam1.example.net", "regex"),
        ("1.example.net", "any"),
        ("example.com", "any"),
    ] {
        vps.wait_served(host, winner);
    }
}

/// P5: case and a trailing dot make no difference; only whole labels count.
#[test]
fn p5_upper_case_and_a_trailing_dot_are_the_same_name() {
    let pair = Pair::start();
    for name in ["PI.Example.COM", "pi.example.com.", "WWW.PI.EXAMPLE.COM.", "X.pi.example.com"] {
        let host = name.trim_end_matches('.').to_lowercase();
        let verified = Some((host.as_str(), &pair.pi.authority.own));
        let text = s_client(pair.vps.https, Some(name), verified);
        assert!(text.contains("CN = pi.example.com"), "{name}: {text}");
    }
    let answer = pair.whoami("LOCAL.example.COM", "local");
    assert_eq!(answer.exit, 0, "{answer:?}");
    for name in ["pi.example.com..", ".pi.example.com", "."] {
        assert!(matches!(visit(pair.vps.https, name), Seen::Alert(_)), "{name:?}");
    }
}

/// The end of what a visitor sends reaches the home, also on the TLS entry, byte for byte.
#[test]
fn what_the_visitor_sends_arrives_byte_for_byte_the_hello_first() {
    let vps = Vps::new();
    let (home, connections) = Home::by_hand(vps.ip);
    let _server = vps.server(&server_service("pi", &["pi.example.com"]));
    let _client = vps.client_ready("client", &client_service("pi", home.address));
    let mut sent = client_hello(Some("pi.example.com"));
    // Pauses, splits and the corpus: see P1.
    sent.extend((0..300_000).map(|i: u32| (i % 251) as u8));
    let mut visitor = connect(vps.https).unwrap();
    visitor.write_all(&sent).unwrap();
    visitor.shutdown(Shutdown::Write).unwrap();
    let mut there = connections.next();
    let mut arrived = Vec::new();
    there.read_to_end(&mut arrived).unwrap();
    assert!(arrived == sent, "{} bytes arrived of {}", arrived.len(), sent.len());
    there.write_all(b"I am pi\n").unwrap();
    assert_eq!(look(&mut visitor), Seen::Home("I am pi".into()));
}
