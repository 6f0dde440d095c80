//! A client that has no session says what it saw, once for each try, and nothing that contradicts
//! it.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::harness::{PATIENCE, Proc, SECRET, free_port, wait_until};
use crate::home::Home;
use crate::house::{Keys, Vps, client_service, server_service};

/// Bytes that may be read as a cause.
const CAUSES: [&str; 6] =
    ["remote_public_key", "speaks HTTP", "speaks TLS", "nothing came", "another token", "refused"];

fn lines(client: &Proc) -> Vec<String> {
    let log = client.log();
    log.lines().filter(|line| line.contains("no session with")).map(str::to_owned).collect()
}

#[test]
fn what_was_seen_is_said_and_nothing_else() {
    let vps = Vps::new();
    let _server = vps.server(&server_service("a", &["a.test"]));
    type Serve = fn(TcpStream);
    let http: Serve = |mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    };
    let tls: Serve = |mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(&[0x15, 3, 1, 0, 2, 2, 10]);
    };
    let silent: Serve = |mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    };
    let others = [http, tls, silent].map(|serve| Home::start(vps.ip, serve));
    let at_home = client_service("a", vps.ready.address);
    let nobody = free_port(vps.ip);
    let at = |address| Vps { dial: Some(address), ..Vps::new() };
    let wrong_key = Vps { server_keys: Keys::new(), ..at(vps.tunnel) };
    let mut wrong_token = at(vps.tunnel);
    wrong_token.server_keys.public.clone_from(&vps.server_keys.public);
    let token = at_home.replace(&format!("{SECRET}-a"), &format!("{SECRET}-no"));
    let cases = [
        (at(others[0].address), &at_home, "speaks HTTP"),
        (at(others[1].address), &at_home, "speaks TLS"),
        (at(others[2].address), &at_home, "nothing came"),
        (at(nobody), &at_home, "refused"),
        (wrong_key, &at_home, "remote_public_key"),
        (wrong_token, &token, "another token"),
    ];
    let clients = cases.each_ref().map(|(vps, services, _)| vps.client("client", services));
    for ((_, _, cause), client) in cases.iter().zip(&clients) {
        wait_until(PATIENCE * 2, cause, || lines(client).len() >= 2);
        for line in lines(client) {
            let said: Vec<&str> = CAUSES.into_iter().filter(|cause| line.contains(cause)).collect();
            // Who refuses a token refuses the services.
            let is_right = said == [*cause] || (*cause == "another token" && said.len() == 2);
            assert!(is_right && line.contains(cause), "{cause}: {line}");
        }
    }
}
