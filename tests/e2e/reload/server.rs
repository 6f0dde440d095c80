//! At the server: services, names, listeners, tokens.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Talk, reload, with_token, with_tokens};
use crate::harness::{PATIENCE, alone, free_port, wait_until};
use crate::home::Home;
use crate::house::{Vps, client_port, client_service, server_port, server_service};
use crate::http_house::{Peer, get, naming};
use crate::udp::{UdpHome, ask, client_udp, port_at_home, quoted, server_udp, visitor};
use crate::visitor::{INTERNAL_ERROR, Seen, UNRECOGNIZED_NAME, connect, visit};

/// The service that [`Vps::server`] adds, in a file that is written anew.
fn ready() -> String {
    server_service("ready", &["ready.test"])
}

fn refuses(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err()
}

#[test]
fn services_come_and_go_and_who_is_on_one_that_goes_stays() {
    let vps = Vps::new();
    let echo = Home::echo(vps.ip);
    let [a, b] = ["a", "b"].map(|name| server_service(name, &[&format!("{name}.test")]));
    let server = vps.server(&(a.clone() + &b));
    let homes = ["a", "b", "c"].map(|name| client_service(name, echo.address)).concat();
    // The client asks for c too, and is refused.
    let client = vps.client_ready("client", &homes);
    let mut on_a = Talk::by_name(vps.https, "a.test");
    let mut on_b = Talk::by_name(vps.https, "b.test");

    let c = server_service("c", &["c.test"]);
    reload(&vps, &server, "server", &vps.server_file(&(c.clone() + &ready() + &a)));
    server.wait_for_log(&["reloaded", "service b", "removed"]);
    server.wait_for_log(&["reloaded", "service c", "added"]);
    assert_eq!(visit(vps.https, "b.test"), Seen::Alert(UNRECOGNIZED_NAME));
    // Without a word from anybody at home.
    wait_until(PATIENCE, "c is served", || {
        visit(vps.https, "c.test") != Seen::Alert(INTERNAL_ERROR)
    });
    Talk::by_name(vps.https, "c.test").goes_on();
    on_a.goes_on();
    on_b.goes_on();

    // The name of one is another's, at once.
    let moved = server_service("c", &["c.test", "a.test"]);
    let a_elsewhere = server_service("a", &["elsewhere.test"]);
    reload(&vps, &server, "server", &vps.server_file(&(moved + &a_elsewhere + &b + &ready())));
    Talk::by_name(vps.https, "a.test").goes_on();
    Talk::by_name(vps.https, "elsewhere.test").goes_on();
    wait_until(PATIENCE, "b is back", || visit(vps.https, "b.test") != Seen::Alert(INTERNAL_ERROR));
    Talk::by_name(vps.https, "b.test").goes_on();
    on_a.goes_on();
    on_b.goes_on();
    assert_eq!(client.log().matches("connected to").count(), 1, "one session for all of it");
}

#[test]
fn listeners_come_go_and_stay_in_any_order() {
    let vps = Vps::new();
    let echo = Home::echo(vps.ip);
    let ports: Vec<SocketAddr> = (0..4).map(|_| free_port(vps.ip)).collect();
    let server = vps.server(&(server_port("a", ports[0]) + &server_port("b", ports[1])));
    let homes = client_port("a", echo.address) + &client_port("b", echo.address);
    let _client = vps.client_ready("client", &homes);
    let mut on_a = Talk::at_port(ports[0]);
    let mut on_b = Talk::at_port(ports[1]);

    // b moves, and stands in front of a; the entry has a second address.
    let second = free_port(vps.ip);
    let file = vps.server_file(&(server_port("b", ports[2]) + &server_port("a", ports[0])));
    let more = format!("https_addr = [\"{second}\", \"{}\"]", vps.https);
    let file = file.replace(&format!("https_addr = \"{}\"", vps.https), &more) + &ready();
    reload(&vps, &server, "server", &file);
    assert!(refuses(ports[1]) && !refuses(ports[0]));
    Talk::at_port(ports[2]).goes_on();
    Talk::at_port(ports[0]).goes_on();
    assert_eq!(visit(second, "ready.test"), visit(vps.https, "ready.test"));
    on_a.goes_on();
    on_b.goes_on();

    // The two change their ports with each other: no listener is opened or closed.
    let swapped = server_port("a", ports[2]) + &server_port("b", ports[0]) + &ready();
    let listening = server.log().matches("listening on").count();
    reload(&vps, &server, "server", &vps.server_file(&swapped));
    assert!(refuses(second));
    Talk::at_port(ports[0]).goes_on();
    Talk::at_port(ports[2]).goes_on();
    let closed = "no longer listening on";
    assert_eq!(server.log().matches(closed).count(), 2, "b's first, and the entry's second");
    assert_eq!(server.log().matches("listening on").count(), listening + 1, "that line alone");

    // A port that somebody has: nothing changes, not even what could.
    let taken = TcpListener::bind(ports[3]).unwrap();
    let wrong = server_port("a", ports[3]) + &server_service("new", &["new.test"]);
    reload(&vps, &server, "server", &vps.server_file(&wrong));
    server.wait_for_log(&["not reloaded", &format!("cannot listen on {}", ports[3])]);
    assert_eq!(visit(vps.https, "new.test"), Seen::Alert(UNRECOGNIZED_NAME));
    Talk::at_port(ports[2]).goes_on();
    drop(taken);
    reload(&vps, &server, "server", &vps.server_file(&(wrong + &ready())));
    Talk::at_port(ports[3]).goes_on();
    assert!(refuses(ports[2]) && refuses(ports[0]));
    on_a.goes_on();
    on_b.goes_on();
}

#[test]
fn a_file_that_is_wrong_changes_nothing() {
    let vps = Vps::new();
    let echo = Home::echo(vps.ip);
    let server = vps.server(&server_service("a", &["a.test"]));
    let client = vps.client_ready("client", &client_service("a", echo.address));
    let mut on_a = Talk::by_name(vps.https, "a.test");
    let wrong = vps.server_file(&server_service("a", &["not a name"]));
    reload(&vps, &server, "server", &wrong);
    let line = server.wait_for_log(&["not reloaded", "server.toml"]);
    assert!(line.contains("hosts"), "{line}");
    reload(&vps, &client, "client", "[client]\nremote_addr = 7\n");
    client.wait_for_log(&["not reloaded", "remote_addr"]);
    // Nor does a file of the other role.
    reload(&vps, &server, "server", &vps.client_file(&client_service("a", echo.address)));
    server.wait_for_log(&["not reloaded", "has no [server]"]);
    on_a.goes_on();
    Talk::by_name(vps.https, "a.test").goes_on();
}

#[test]
fn udp_ports_that_stay_keep_their_sessions() {
    let vps = Vps::new();
    let [here, there] = [free_port(vps.ip), free_port(vps.ip)];
    let home = UdpHome::naming(SocketAddr::from((vps.ip, 0)));
    let udp = |address: SocketAddr| server_udp("game", &quoted(address), "");
    let server = vps.server(&udp(here));
    let _client = vps.client_ready("client", &client_udp("game", &home.address.to_string()));
    let player = visitor(here);
    let port = port_at_home(&player, b"first");
    let more = server_port("more", free_port(vps.ip));
    reload(&vps, &server, "server", &vps.server_file(&(more + &udp(here) + &ready())));
    assert_eq!(port_at_home(&player, b"second"), port, "the same session");
    reload(&vps, &server, "server", &vps.server_file(&(udp(there) + &ready())));
    let late = visitor(there);
    ask(&late, b"third", |answer| answer.ends_with(b"third"));
    assert!(std::net::UdpSocket::bind(here).is_ok(), "the port is free");
}

#[test]
fn http_visitors_are_answered_by_the_new_file_from_their_next_request_on() {
    let mut vps = Vps::new();
    let http = free_port(vps.ip);
    let (one, other) = (naming(vps.ip, "one"), naming(vps.ip, "other"));
    vps.server_extra = format!("http_addr = \"{http}\"\n");
    let site = |name: &str, host: &str, more: &str| {
        let secret = crate::harness::SECRET;
        format!(
            "[server.services.{name}]\ntype = \"http\"\ntoken = \"{secret}-{name}\"\n\
             hosts = [\"{host}\"]\n{more}\n"
        )
    };
    let local = |name: &str, home: SocketAddr| {
        let text = client_service(name, home).replace("\"https\"", "\"http\"");
        text.replace("local_https_addr", "local_addr")
    };
    let server = vps.server(&(site("one", "a.test", "") + &site("other", "b.test", "")));
    let homes = local("one", one.address) + &local("other", other.address);
    let _client = vps.client_ready("client", &homes);
    let mut kept = Peer::new(connect(http).unwrap());
    kept.say(get("a.test", "/"));
    assert_eq!(kept.response("GET").text(), "one /");
    // The services stand the other way round, and have each other's name.
    let swapped = site("other", "a.test", "") + &site("one", "b.test", "") + &ready();
    reload(&vps, &server, "server", &vps.server_file(&swapped));
    kept.say(get("a.test", "/"));
    assert_eq!(kept.response("GET").text(), "other /");
    kept.say(get("b.test", "/"));
    assert_eq!(kept.response("GET").text(), "one /");
    let full = site("other", "a.test", "deny = \"127.0.0.0/8\"") + &site("one", "b.test", "");
    reload(&vps, &server, "server", &vps.server_file(&(full + &ready())));
    kept.say(get("a.test", "/"));
    assert_eq!(kept.response("GET").status(), 403);
    vps.server_extra += "deny = \"127.0.0.0/8\"\n";
    reload(&vps, &server, "server", &vps.server_file(&(site("one", "b.test", "") + &ready())));
    let mut kept = Peer::new(kept.stream);
    kept.say(get("b.test", "/"));
    assert_eq!(kept.response("GET").status(), 403, "the house's list, too");
}

#[test]
fn a_revoked_token_costs_its_home_the_service_and_the_visitors_within_100_ms() {
    let _alone = alone();
    let vps = Vps::new();
    let echo = Home::echo(vps.ip);
    let kept = server_service("kept", &["kept.test"]) + &ready();
    let lost = |token| with_tokens("lost", "lost.test", &[token]) + &kept;
    let server =
        vps.server(&(with_tokens("lost", "lost.test", &["old"]) + &kept.replace(&ready(), "")));
    let homes = with_token("lost", echo.address, "old") + &client_service("kept", echo.address);
    let client = vps.client_ready("client", &homes);
    let mut on_kept = Talk::by_name(vps.https, "kept.test");
    for token in ["new", "old"] {
        if token == "old" {
            // It may have it again as soon as its token is one.
            reload(&vps, &server, "server", &vps.server_file(&lost("old")));
            wait_until(PATIENCE, "the home is back", || {
                visit(vps.https, "lost.test") != Seen::Alert(INTERNAL_ERROR)
            });
        }
        let on_lost = Talk::by_name(vps.https, "lost.test");
        vps.dir.write("server.toml", &vps.server_file(&lost("new")));
        let start = Instant::now();
        server.signal(Signal::HUP);
        let within = on_lost.ends_after(start);
        assert!(within < Duration::from_millis(100), "after {within:?}");
        assert_eq!(visit(vps.https, "lost.test"), Seen::Alert(INTERNAL_ERROR));
        on_kept.goes_on();
        client.wait_for_log(&["service lost", "has another token"]);
    }
    Talk::by_name(vps.https, "kept.test").goes_on();
    assert_eq!(client.log().matches("connected to").count(), 1, "one session for all of it");
}

#[test]
fn a_token_is_changed_by_way_of_two_without_a_failed_visitor() {
    let vps = Vps::new();
    let echo = Home::echo(vps.ip);
    let server_with =
        |tokens: &[&str]| vps.server_file(&(with_tokens("a", "a.test", tokens) + &ready()));
    let client_with =
        |token| vps.client_file(&(with_token("a", echo.address, token) + &vps.ready_service()));
    let server = vps.server(&with_tokens("a", "a.test", &["old"]));
    let client = vps.client_ready("client", &with_token("a", echo.address, "old"));
    let stop = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let visitors = {
        let (stop, served, https) = (Arc::clone(&stop), Arc::clone(&served), vps.https);
        thread::spawn(move || {
            let mut stays = Talk::by_name(https, "a.test");
            while !stop.load(Ordering::Relaxed) {
                Talk::by_name(https, "a.test").goes_on();
                stays.goes_on();
                served.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let more = |what: &str| {
        let before = served.load(Ordering::Relaxed);
        wait_until(PATIENCE, what, || {
            assert!(!visitors.is_finished(), "a visitor has failed, {what}");
            served.load(Ordering::Relaxed) > before + 20
        });
    };
    more("before the change");
    reload(&vps, &server, "server", &server_with(&["new", "old"]));
    more("while both are good");
    reload(&vps, &client, "client", &client_with("new"));
    // Its proof has been judged when a later service of the same list is.
    wait_until(PATIENCE, "the client has asked again", || {
        client.log().matches("service a is up").count() == 2
    });
    more("with the new one at home");
    reload(&vps, &server, "server", &server_with(&["new"]));
    more("after the old one is gone");
    stop.store(true, Ordering::Relaxed);
    visitors.join().expect("no visitor has failed");
    // And the old one is good for nothing any more.
    reload(&vps, &client, "client", &client_with("old"));
    client.wait_for_log(&["service a", "has another token"]);
}
