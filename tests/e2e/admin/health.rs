//! `/healthz` and `/ping`: what load balancers and containers ask.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Ask, client_door, htpasswd, server_door};
use crate::harness::{PATIENCE, eventually, free_port, wait_until};
use crate::home::Home;
use crate::house::{Vps, client_port, server_port};
use crate::visitor::connect;

fn health(door: SocketAddr) -> (u16, String) {
    let mut health = Ask::get("/healthz").at(door);
    let ping = Ask::get("/ping").at(door);
    if health.status() != ping.status() {
        // It has changed between the two.
        health = Ask::get("/healthz").at(door);
    }
    assert_eq!((health.status(), health.text()), (ping.status(), ping.text()));
    (health.status(), health.text().trim().to_owned())
}

#[test]
fn a_server_is_starting_until_its_homes_are_here_or_for_ten_seconds() {
    let vps = Vps::new();
    let door = free_port(vps.ip);
    let users = format!("users = [{:?}]\n", htpasswd("-nbs", "ann", "secret"));
    let begun = Instant::now();
    // No password is asked for here, though there are users.
    let server = vps.server(&server_door(door, &users));
    assert_eq!(health(door), (503, "starting".into()));
    assert_eq!(Ask::get("/metrics").at(door).status(), 401);
    // Nobody comes.
    let serving = || (health(door) == (200, "ok".into())).then(|| begun.elapsed());
    let after = eventually(PATIENCE, "it serves without homes", serving);
    assert!(after > Duration::from_secs(9), "after {after:?}");
    drop(server);
    // Now its only home comes at once.
    let begun = Instant::now();
    let server = vps.server(&server_door(door, ""));
    let _client = vps.client_ready("client", "");
    assert_eq!(health(door), (200, "ok".into()));
    assert!(begun.elapsed() < Duration::from_secs(9), "too late to show anything");
    drop(server);
}

#[test]
fn a_client_is_starting_until_its_services_are_registered_or_for_ten_seconds() {
    let vps = Vps::new();
    let doors = [free_port(vps.ip), free_port(vps.ip)];
    let _server = vps.server("");
    let known = vps.client_ready("known", &client_door(doors[0]));
    assert_eq!(health(doors[0]), (200, "ok".into()));
    drop(known);
    let begun = Instant::now();
    let nowhere = client_port("nobody", free_port(vps.ip));
    let _unknown = vps.client("unknown", &(client_door(doors[1]) + &nowhere));
    wait_until(PATIENCE, "it listens", || connect(doors[1]).is_ok());
    assert_eq!(health(doors[1]), (503, "starting".into()));
    let serving = || (health(doors[1]).0 == 200).then(|| begun.elapsed());
    let after = eventually(PATIENCE, "it is over with starting", serving);
    assert!(after > Duration::from_secs(9), "after {after:?}");
}

#[test]
fn who_drains_says_so_until_it_ends() {
    let mut vps = Vps::new();
    vps.server_extra = "drain_time = 600\n".into();
    vps.client_extra = "drain_time = 600\n".into();
    let (doors, port) = ([free_port(vps.ip), free_port(vps.ip)], free_port(vps.ip));
    let echo = Home::echo(vps.ip);
    let mut server = vps.server(&(server_door(doors[0], "") + &server_port("echo", port)));
    let services = client_door(doors[1]) + &client_port("echo", echo.address);
    let mut client = vps.client_ready("client", &services);
    assert_eq!(doors.map(health), [(200, "ok".into()), (200, "ok".into())]);
    let mut visitor = connect(port).unwrap();
    say_and_hear(&mut visitor);
    client.signal(rustix::process::Signal::TERM);
    wait_until(PATIENCE, "the client says so", || health(doors[1]) == (503, "draining".into()));
    assert_eq!(super::status(doors[1])["draining"], true);
    wait_until(PATIENCE, "the server knows", || {
        let status = super::status(doors[0]);
        status["homes"].as_array().unwrap().iter().all(|home| home["draining"] == true)
    });
    assert_ne!(health(doors[0]).1, "draining", "the server stays");
    server.signal(rustix::process::Signal::TERM);
    wait_until(PATIENCE, "the server says so", || health(doors[0]) == (503, "draining".into()));
    say_and_hear(&mut visitor);
    assert_eq!(Ask::get("/").at(doors[0]).status(), 200);
    // Whoever looks keeps nobody here.
    let watcher = Ask::get("/api/v1/events").open(doors[0]).unwrap();
    drop(visitor);
    assert!(server.wait_exit(PATIENCE).success());
    assert!(client.wait_exit(PATIENCE).success());
    drop(watcher);
}

fn say_and_hear(visitor: &mut std::net::TcpStream) {
    use std::io::{Read, Write};
    visitor.write_all(b"hello").unwrap();
    let mut heard = [0; 5];
    visitor.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
}
