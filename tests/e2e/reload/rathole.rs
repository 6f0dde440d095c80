//! rathole's own hot reload at the other end: whatever its file watcher takes, this end takes too.

use std::io::{Read, Write};
use std::net::SocketAddr;

use super::{Talk, reload};
use crate::harness::{PATIENCE, free_port, wait_until};
use crate::home::Home;
use crate::house::{Vps, client_port, server_port};
use crate::rathole;
use crate::visitor::connect;

const NAMES: [&str; 3] = ["a", "b", "c"];

#[track_caller]
fn wait_echo(port: SocketAddr) {
    wait_until(PATIENCE, &format!("{port} echoes"), || {
        let Ok(mut stream) = connect(port) else { return false };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut back = [0];
        stream.write_all(b"x").is_ok() && stream.read_exact(&mut back).is_ok()
    });
}

/// Services come and go on both sides, and who is on one that goes stays.
fn play(rathole_is_server: bool) {
    let mut vps = Vps::new();
    let echo = Home::echo(vps.ip);
    let ports = NAMES.map(|_| free_port(vps.ip));
    let server_file = |of: &[usize]| {
        let services: String = of.iter().map(|i| server_port(NAMES[*i], ports[*i])).collect();
        // What rathole's file has no word for.
        let file = vps.server_file(&services);
        file.replace(&format!("https_addr = \"{}\"\n", vps.https), "")
    };
    let first = server_file(&[0, 1]);
    let server_files: Vec<String> = [&[0, 2][..], &[0, 1, 2]].map(server_file).to_vec();
    if rathole_is_server {
        vps.client_extra = "protocol = \"rathole\"\n".into();
    }
    let client_file = |of: &[usize]| {
        let services = of.iter().map(|i| client_port(NAMES[*i], echo.address));
        vps.client_file(&services.collect::<String>())
    };
    let (server, client) = match rathole_is_server {
        true => (
            rathole::start(&vps, "server", &first),
            vps.underpass("client", "--client", &client_file(&[0, 1])),
        ),
        false => (
            vps.underpass("server", "--server", &first),
            rathole::start(&vps, "client", &client_file(&[0, 1])),
        ),
    };
    // The one reads what is written by itself, the other is asked.
    let change_server = |file: &str| match rathole_is_server {
        true => _ = vps.dir.write("server.toml", file),
        false => reload(&vps, &server, "server", file),
    };
    let change_client = |of: &[usize]| match rathole_is_server {
        true => reload(&vps, &client, "client", &client_file(of)),
        false => _ = vps.dir.write("client.toml", &client_file(of)),
    };
    wait_echo(ports[0]);
    wait_echo(ports[1]);
    let mut on_a = Talk::at_port(ports[0]);
    let mut on_b = Talk::at_port(ports[1]);
    change_client(&[0, 2]);
    change_server(&server_files[0]);
    wait_echo(ports[2]);
    on_a.goes_on();
    on_b.goes_on();
    change_server(&server_files[1]);
    change_client(&[2, 1, 0]);
    wait_echo(ports[1]);
    on_a.goes_on();
    on_b.goes_on();
    Talk::at_port(ports[0]).goes_on();
    Talk::at_port(ports[2]).goes_on();
}

#[test]
fn a_rathole_client_changes_its_services_and_so_does_this_server() {
    play(false);
}

#[test]
fn a_rathole_server_changes_its_services_and_so_does_this_client() {
    play(true);
}
