//! What the server's owner is told of clients that do not get in.

use std::io::{Read, Write};

use underpass::wire::message::Registration;

use super::native::{HTTPS, Session};
use super::{Clear, hostile};
use crate::harness::PATIENCE;
use crate::home::Home;
use crate::house::{Keys, Vps, client_service, server_service};
use crate::visitor::connect_from;

/// A client with the wrong key is seen on the server, and so are those who never get through the
/// handshake: counted, in one line a minute.
#[test]
fn a_client_with_the_wrong_key_is_a_line_in_the_servers_log() {
    let vps = Vps::new();
    let there = Home::named(vps.ip, "pi");
    let server = vps.server(&server_service("pi", &["pi.example.com"]));
    let mut wrong = Vps::new();
    wrong.tunnel = vps.tunnel;
    wrong.server_keys = Keys::new();
    let client = wrong.client("wrong", &client_service("pi", there.address));
    client.wait_for_log(&["handshake", "key"]);
    let line = server.wait_for_log(&["handshake", "fail"]);
    assert!(line.contains("127.0.0.1"), "whose? {line}");
    // Others fail in numbers, and it is not a line each.
    let others: Vec<_> = (0..300)
        .map(|number| {
            let mut stream = connect_from(hostile(number, 50), vps.tunnel).unwrap();
            let _ = stream.write_all(&[&[0x30, 0x00][..], &[0xee; 48]].concat());
            stream
        })
        .collect();
    for mut stream in others {
        // At its deadline at the latest.
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.read(&mut [0; 64]);
    }
    let log = server.log();
    let lines = log.lines().filter(|line| line.to_lowercase().contains("handshake")).count();
    assert!(lines <= 2, "{lines} lines for 300 failed handshakes");
}

/// A client that asks for a service which is not in the server's file is told of by that name. It
/// is a stranger's word: escaped, and cut.
#[test]
fn an_unknown_service_is_told_of_by_its_name() {
    let clear = Clear::start();
    let mut session = Session::open(hostile(0, 1), clear.vps.tunnel, 1).unwrap();
    let name = [b"pie\n[2026] \x1b[31m".as_slice(), &[b'x'; 200]].concat();
    let frame = session.register(0, HTTPS, &name);
    session.control.stream.write_all(&frame).unwrap();
    assert_eq!(session.registration().unwrap(), Registration::UnknownService);
    let line = clear.server.wait_for_log(&["service", "not in this file"]);
    eprintln!("{line}");
    assert!(line.contains(r"pie\n[2026]"), "the name is missing: {line}");
    let log = clear.server.log();
    assert!(!log.contains('\x1b') && !log.contains("\n[2026] "), "not escaped: {log}");
    assert!(!line.contains(&"x".repeat(150)), "not cut: {line}");
}
