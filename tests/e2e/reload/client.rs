//! At home: services, local addresses, another server.

use std::net::SocketAddr;

use super::{Talk, reload};
use crate::harness::{PATIENCE, free_port, wait_until};
use crate::home::Home;
use crate::house::{Vps, client_port, client_service, server_port, server_service};
use crate::udp::{UdpHome, ask, client_udp, quoted, server_udp, visitor};
use crate::visitor::{INTERNAL_ERROR, Seen, home, visit};

#[test]
fn services_come_go_and_move_on_the_session_that_stands() {
    let vps = Vps::new();
    let echo = Home::echo(vps.ip);
    let port = free_port(vps.ip);
    let services = ["a", "b", "c"].map(|name| server_service(name, &[&format!("{name}.test")]));
    let server = vps.server(&(services.concat() + &server_udp("game", &quoted(port), "")));
    let game = UdpHome::start(SocketAddr::from((vps.ip, 0)), |_, asked| [b"one ", asked].concat());
    let homes = ["a", "b"].map(|name| client_service(name, echo.address)).concat();
    let udp = client_udp("game", &game.address.to_string());
    let client = vps.client_ready("client", &(homes + &udp));
    let mut on_a = Talk::by_name(vps.https, "a.test");
    let mut on_b = Talk::by_name(vps.https, "b.test");
    let player = visitor(port);
    ask(&player, b"hello", |answer| answer == b"one hello");

    // b is gone, c is new and first, a goes to another place; so does the game.
    let (named, other) = (
        Home::named(vps.ip, "another"),
        UdpHome::start(SocketAddr::from((vps.ip, 0)), |_, asked| [b"two ", asked].concat()),
    );
    let file = client_service("c", echo.address)
        + &client_service("a", named.address)
        + &client_udp("game", &other.address.to_string())
        + &vps.ready_service();
    reload(&vps, &client, "client", &vps.client_file(&file));
    server.wait_for_log(&["service b is given up"]);
    assert_eq!(visit(vps.https, "b.test"), Seen::Alert(INTERNAL_ERROR));
    assert_eq!(visit(vps.https, "a.test"), home("another"));
    wait_until(PATIENCE, "c is served", || {
        visit(vps.https, "c.test") != Seen::Alert(INTERNAL_ERROR)
    });
    Talk::by_name(vps.https, "c.test").goes_on();
    on_a.goes_on();
    on_b.goes_on();
    ask(&player, b"still", |answer| answer == b"one still");
    ask(&visitor(port), b"new", |answer| answer == b"two new");

    // And b comes back.
    reload(&vps, &client, "client", &vps.client_file(&(file + &client_service("b", echo.address))));
    wait_until(PATIENCE, "b is served", || {
        visit(vps.https, "b.test") != Seen::Alert(INTERNAL_ERROR)
    });
    on_b.goes_on();
    assert_eq!(client.log().matches("connected to").count(), 1, "one session for all of it");
}

#[test]
fn another_server_has_its_session_before_the_former_one_is_let_go() {
    let (old, new) = (Vps::new(), Vps::new());
    let echo = Home::echo(old.ip);
    let port = free_port(old.ip);
    let service = |port| server_service("a", &["a.test"]) + &server_port("ssh", port);
    let _old_server = old.server(&service(port));
    let homes = client_service("a", echo.address) + &client_port("ssh", echo.address);
    let client = old.client_ready("client", &homes);
    let file = |vps: &Vps| vps.client_file(&(homes.clone() + &old.ready_service()));
    let mut on_old = [Talk::by_name(old.https, "a.test"), Talk::at_port(port)];
    let goes_on = |talks: &mut [Talk]| talks.iter_mut().for_each(Talk::goes_on);

    // Nobody is there yet: the old one stays, for new visitors too.
    reload(&old, &client, "client", &file(&new));
    client.wait_for_log(&["no session with", &new.tunnel.to_string()]);
    Talk::by_name(old.https, "a.test").goes_on();
    goes_on(&mut on_old);

    let new_port = free_port(new.ip);
    let _new_server = new.server(&service(new_port));
    wait_until(PATIENCE, "the new server serves", || {
        visit(new.https, "a.test") != Seen::Alert(INTERNAL_ERROR)
    });
    wait_until(PATIENCE, "the old one is let go", || {
        visit(old.https, "a.test") == Seen::Alert(INTERNAL_ERROR)
    });
    let mut on_new = [Talk::by_name(new.https, "a.test"), Talk::at_port(new_port)];
    goes_on(&mut on_old);
    goes_on(&mut on_new);

    // And back; then the last visitor of the old session leaves, and it ends.
    reload(&old, &client, "client", &file(&old));
    wait_until(PATIENCE, "the first one serves again", || {
        visit(old.https, "a.test") != Seen::Alert(INTERNAL_ERROR)
    });
    Talk::by_name(old.https, "a.test").goes_on();
    goes_on(&mut on_new);
    drop(on_new);
    let to_new = || client.tcp_connections().iter().filter(|tcp| tcp.peer == new.tunnel).count();
    wait_until(PATIENCE, "nothing is left of the session", || to_new() == 0);
}

#[test]
fn another_transport_is_another_session_with_the_same_server() {
    let mut vps = Vps::new();
    let echo = Home::echo(vps.ip);
    let second = free_port(vps.ip);
    let server = vps.server(&server_service("a", &["a.test"]));
    let homes = client_service("a", echo.address);
    let client = vps.client_ready("client", &homes);
    let mut stays = Talk::by_name(vps.https, "a.test");
    // The server listens at another place as well, and the client goes there.
    let both = format!("bind_addr = [\"{}\", \"{second}\"]", vps.tunnel);
    let services = server_service("a", &["a.test"]) + &server_service("ready", &["ready.test"]);
    let file = vps.server_file(&services);
    let file = file.replace(&format!("bind_addr = \"{}\"", vps.tunnel), &both);
    reload(&vps, &server, "server", &file);
    vps.dial = Some(second);
    reload(&vps, &client, "client", &vps.client_file(&(homes + &vps.ready_service())));
    for _ in 0..50 {
        Talk::by_name(vps.https, "a.test").goes_on();
        stays.goes_on();
    }
    client.wait_for_log(&["is let go"]);
    stays.goes_on();
    Talk::by_name(vps.https, "a.test").goes_on();
}

#[test]
fn a_rathole_client_of_ours_takes_what_rathole_s_own_file_watcher_takes() {
    let mut vps = Vps::new();
    vps.client_extra = "protocol = \"rathole\"\n".into();
    let echo = Home::echo(vps.ip);
    let ports: Vec<SocketAddr> = (0..3).map(|_| free_port(vps.ip)).collect();
    let names = ["a", "b", "c"];
    let at = |range: std::ops::Range<usize>| {
        range.map(|i| server_port(names[i], ports[i])).collect::<String>()
    };
    let ready = server_port("ready", free_port(vps.ip));
    let server = vps.underpass("server", "--server", &vps.server_file(&at(0..2)));
    let client_file = |names: &[&str]| {
        let services = names.iter().map(|name| client_port(name, echo.address));
        vps.client_file(&services.collect::<String>())
    };
    let client = vps.underpass("client", "--client", &client_file(&["a", "b"]));
    let serves = |port: SocketAddr| {
        wait_until(PATIENCE, &format!("{port} is served"), || {
            use std::io::{Read, Write};
            let Ok(mut stream) = crate::visitor::connect(port) else { return false };
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(b"x").is_ok() && stream.read_exact(&mut [0]).is_ok()
        });
    };
    serves(ports[0]);
    serves(ports[1]);
    let mut talks = [Talk::at_port(ports[0]), Talk::at_port(ports[1])];
    // A service is removed at home and another one added, then the same at the server.
    reload(&vps, &client, "client", &client_file(&["c", "a"]));
    reload(&vps, &server, "server", &vps.server_file(&(at(2..3) + &ready + &at(0..1))));
    serves(ports[2]);
    talks.iter_mut().for_each(Talk::goes_on);
    Talk::at_port(ports[0]).goes_on();
    reload(&vps, &server, "server", &vps.server_file(&at(0..3)));
    reload(&vps, &client, "client", &client_file(&["b", "c"]));
    serves(ports[1]);
    talks.iter_mut().for_each(Talk::goes_on);
    Talk::at_port(ports[1]).goes_on();
    Talk::at_port(ports[2]).goes_on();
}
