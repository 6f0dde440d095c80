//! Where the door is: ports, sockets of the file system, a name of the HTTP entry; what it refuses
//! to whom; and a reload that moves it.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::process::Signal;

use super::{Ask, client_door, hear, htpasswd, server_door, status};
use crate::harness::{PATIENCE, Proc, free_port, wait_until};
use crate::house::Vps;
use crate::http_house::{End, Estate, Lot, Message, Peer, get, naming, ok};
use crate::visitor::connect;

/// Writes a program's file anew, asks it to read that, and waits until it has.
#[track_caller]
pub(super) fn reload(vps: &Vps, program: &Proc, name: &str, file: &str) {
    let said = || program.log().matches("reloaded").count();
    let before = said();
    vps.dir.write(&format!("{name}.toml"), file);
    program.signal(Signal::HUP);
    wait_until(PATIENCE, "it has reloaded", || said() > before);
}

/// What is wrong with the request, whatever the door is.
fn refused() -> Vec<(Ask, u16)> {
    let page = || Ask::get("/");
    let from = |site: &str| page().field(&format!("Sec-Fetch-Site: {site}"));
    let api = || Ask::get("/api/v1/status").field("Sec-Fetch-Site: cross-site");
    vec![
        (page(), 200),
        (page().method("POST"), 405),
        (page().method("DELETE"), 405),
        (page().method("OPTIONS").field("Origin: https://evil.example"), 405),
        (page().field("Content-Length: 5"), 413),
        (page().method("POST").field("Transfer-Encoding: chunked"), 413),
        (Ask::get("/nothing"), 404),
        (Ask::get("/../etc/passwd"), 404),
        (Ask::get("/api/v1/history?range=year"), 400),
        (page().field("Bad Name: x"), 400),
        (page().field("Origin: https://evil.example"), 200),
        (from("cross-site"), 403),
        (from("same-site"), 403),
        (from("same-origin"), 200),
        (from("none"), 200),
        // A link that somebody follows shows the page; no script of another site may.
        (
            from("cross-site").field("Sec-Fetch-Mode: navigate").field("Sec-Fetch-Dest: document"),
            200,
        ),
        (from("cross-site").field("Sec-Fetch-Mode: navigate").field("Sec-Fetch-Dest: iframe"), 403),
        (api(), 403),
        (api().field("Sec-Fetch-Mode: navigate").field("Sec-Fetch-Dest: document"), 403),
    ]
}

#[track_caller]
fn assert_reads_only(door: SocketAddr) {
    for (ask, expected) in refused() {
        let answer = ask.at(door);
        assert_eq!(answer.status(), expected, "{} {}: {answer:?}", ask.method, ask.fields);
    }
    let answer = Ask::get("/").method("POST").at(door);
    assert_eq!(answer.field("allow"), Some("GET, HEAD"));
    for target in ["/", "/page.js", "/page.css", "/metrics", "/api/v1/status", "/api/v1/history"] {
        let whole = Ask::get(target).at(door);
        let head = Ask::get(target).method("HEAD").at(door);
        assert_eq!((whole.status(), head.status()), (200, 200), "{target}");
        assert!(!whole.body.is_empty() && head.body.is_empty(), "{target}");
        assert_eq!(whole.field("content-type"), head.field("content-type"), "{target}");
    }
    // It names no loopback address: another site's name may have been made to lead here.
    for host in ["evil.example", "192.0.2.1", "localhost.evil.example", "127.0.0.1.evil.example"] {
        assert_eq!(Ask::get("/api/v1/status").host(host).at(door).status(), 421, "{host}");
    }
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1:9333", "[::1]:9333"] {
        assert_eq!(Ask::get("/api/v1/status").host(host).at(door).status(), 200, "{host}");
    }
}

#[test]
fn a_loopback_port_of_either_role_is_for_reading_only() {
    let vps = Vps::new();
    let doors = [free_port(vps.ip), free_port(vps.ip)];
    let _server = vps.server(&server_door(doors[0], ""));
    let _client = vps.client_ready("client", &client_door(doors[1]));
    doors.into_iter().for_each(assert_reads_only);
    assert_eq!(status(doors[0])["role"], "server");
    assert_eq!(status(doors[1])["role"], "client");
    // The client has no names to explain.
    assert_eq!(Ask::get("/api/v1/explain?name=a.b").at(doors[1]).status(), 400);
    assert_eq!(Ask::get("/api/v1/explain").at(doors[0]).status(), 400);
}

#[test]
fn one_request_is_answered_on_a_connection_and_what_follows_is_none() {
    let vps = Vps::new();
    let door = free_port(vps.ip);
    let _server = vps.server(&server_door(door, ""));
    let mut stream = connect(door).unwrap();
    // Byte by byte, and a second one behind it.
    for byte in Ask::get("/healthz").bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    stream.write_all(&Ask::get("/api/v1/status").bytes()).unwrap();
    let answer = hear(stream, "GET").unwrap();
    assert_eq!(answer.text(), "starting\n");
    // What is no HTTP is told so.
    for junk in ["\x16\x03\x01\x02\x00\x01\r\n\r\n", "GET / HTTP/1.1\nHost: localhost\n\n"] {
        let mut stream = connect(door).unwrap();
        stream.write_all(junk.as_bytes()).unwrap();
        assert_eq!(hear(stream, "GET").unwrap().status(), 400, "{}", junk.escape_debug());
    }
    let mut stream = connect(door).unwrap();
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(70_000));
    let _ = stream.write_all(long.as_bytes());
    assert_eq!(hear(stream, "GET").unwrap().status(), 431);
}

fn asks_at(path: &Path) -> Message {
    Ask::get("/api/v1/status").at_path(path)
}

#[test]
fn a_socket_in_the_file_system_is_of_mode_0660_and_goes_with_its_program() {
    let vps = Vps::new();
    let paths = ["server.sock", "client.sock"].map(|name| vps.dir.path(name));
    let users = format!("users = [{:?}]\n", htpasswd("-nbs", "ann", "secret"));
    let table = |role: &str, path: &Path| {
        format!("[{role}.admin]\nbind_addr = \"unix:{}\"\n{users}", path.display())
    };
    let server_file = table("server", &paths[0]);
    let client_file = table("client", &paths[1]);
    let mut server = vps.server(&server_file);
    let mut client = vps.client_ready("client", &client_file);
    for (path, role) in paths.iter().zip(["server", "client"]) {
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660, "{role}");
        // No password: the file's mode says who may come; and the Host may be any.
        let answer = Ask::get("/api/v1/status").host("any.example").at_path(path);
        assert_eq!(answer.status(), 200, "{answer:?}");
        let status: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(status["role"], role);
        let cross = Ask::get("/metrics").field("Sec-Fetch-Site: cross-site").at_path(path);
        assert_eq!(cross.status(), 403);
    }
    // Killed, they leave their sockets behind; the next ones take them over.
    server.kill();
    client.kill();
    assert!(paths.iter().all(|path| path.exists() && UnixStream::connect(path).is_err()));
    let mut server = vps.server(&server_file);
    let mut client = vps.client_ready("client", &client_file);
    assert!(paths.iter().all(|path| asks_at(path).status() == 200));
    // A second program does not take it from one that runs.
    let mut second = Vps::new();
    second.server_extra.clear();
    let file = second.server_file(&server_file);
    let mut other = second.underpass("server", "--server", &file);
    assert!(!other.wait_exit(PATIENCE).success());
    other.wait_for_log(&["cannot listen", "server.sock", "server.admin.bind_addr"]);
    assert_eq!(asks_at(&paths[0]).status(), 200);
    // In order, they take them away.
    client.stop();
    server.stop();
    assert!(paths.iter().all(|path| !path.exists()));
}

/// A server whose page is at `admin.example.com` beside a home, and has no port of its own.
fn by_name(users: &str) -> (Estate, crate::home::Home) {
    let mut vps = Vps::new();
    vps.server_extra = String::new();
    let home = naming(vps.ip, "pi");
    let lot = Lot::http("pi", home.address);
    let table = format!("[server.admin]\nhost = \"admin.example.com\"\n{users}");
    (Estate::with_tables(vps, vec![lot], &table), home)
}

#[test]
fn a_name_of_the_http_entry_is_the_page_and_all_others_are_their_homes() {
    let users = format!("users = [{:?}]\n", htpasswd("-nbs", "ann", "secret"));
    let (estate, home) = by_name(&users);
    let admin = |target: &str| Ask::get(target).host("admin.example.com");
    let answer = admin("/").at(estate.http);
    assert_eq!(answer.status(), 401);
    let challenge = answer.field("www-authenticate").unwrap();
    assert!(challenge.starts_with("Basic realm="), "{challenge}");
    assert_eq!(admin("/").login("ann", "secret").at(estate.http).status(), 200);
    let other_case = Ask::get("/metrics").host("ADMIN.example.com.:80").login("ann", "secret");
    assert_eq!(other_case.at(estate.http).status(), 200);
    assert_eq!(admin("/ping").at(estate.http).status(), 503, "without a password: starting");
    // Cross-site requests get nothing here, with the right password neither.
    let cross = admin("/api/v1/status").login("ann", "secret").field("Sec-Fetch-Site: cross-site");
    assert_eq!(cross.at(estate.http).status(), 403);
    // On one connection: two to the home, then the page, which is its last.
    let mut visitor = estate.visitor();
    assert_eq!(visitor.get("pi.example.com", "/a").text(), "pi /a");
    assert_eq!(visitor.get("www.pi.example.com", "/b").text(), "pi /b");
    visitor.say(admin("/api/v1/status").login("ann", "secret").bytes());
    let answer = visitor.response("GET");
    assert_eq!((answer.status(), answer.field("connection")), (200, Some("close")));
    assert_eq!(visitor.rest(), (Vec::new(), End::Fin));
    assert_eq!(home.accepted(), 1, "the home's connection was kept for both");
    // All three at once, and one behind it that nobody reads any more.
    let mut visitor = estate.visitor();
    let page = String::from_utf8(admin("/healthz").bytes()).unwrap();
    visitor.say(get("pi.example.com", "/c") + &page + &get("pi.example.com", "/d"));
    assert_eq!(visitor.response("GET").text(), "pi /c");
    assert_eq!(visitor.response("GET").text(), "starting\n");
    assert_eq!(visitor.rest().0, b"");
    assert_eq!(estate.ask(&get("pi.example.com", "/e")).text(), "pi /e");
    // None of it is a visit of any service or of none.
    let answer = admin("/api/v1/status").login("ann", "secret").at(estate.http);
    let status: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let strays = status["strays"].as_array().unwrap();
    assert!(strays.iter().all(|entry| entry["entry"] != "http"), "{strays:?}");
    let pi = &super::one(&status["services"], "name", "pi")["traffic"][0];
    assert_eq!(super::counts(&pi["ends"]), [("done", 4)].into());
    estate.assert_steady();
}

#[test]
fn who_asks_for_the_page_while_the_home_still_answers_waits_its_turn() {
    let users = format!("users = [{:?}]\n", htpasswd("-nbs", "ann", "secret"));
    let mut vps = Vps::new();
    vps.server_extra = String::new();
    let (home, connections) = crate::home::Home::by_hand(vps.ip);
    let table = format!("[server.admin]\nhost = \"admin.example.com\"\n{users}");
    let estate = Estate::with_tables(vps, vec![Lot::http("pi", home.address)], &table);
    let mut visitor = estate.visitor();
    let page = String::from_utf8(Ask::get("/ping").host("admin.example.com").bytes()).unwrap();
    visitor.say(get("pi.example.com", "/slow") + &page);
    let mut at_home = Peer::new(connections.next());
    at_home.request();
    at_home.say(ok("done"));
    assert_eq!(visitor.response("GET").text(), "done");
    assert!(matches!(visitor.response("GET").status(), 200 | 503));
}

#[test]
fn a_reload_adds_moves_and_removes_the_door() {
    let vps = Vps::new();
    let doors = [free_port(vps.ip), free_port(vps.ip)];
    let path = vps.dir.path("admin.sock");
    let server = vps.server("");
    let load = |table: &str| reload(&vps, &server, "server", &vps.server_file(table));
    let listens = |door: &SocketAddr| connect(*door).is_ok();
    load(&server_door(doors[0], ""));
    assert_eq!(status(doors[0])["configuration"]["reloads"], 1);
    // Another port; whoever is at the former one gets its answer.
    let mut under_way = connect(doors[0]).unwrap();
    under_way.write_all(b"GET /api/v1/status HTTP/1.1\r\n").unwrap();
    wait_until(PATIENCE, "it is in", || {
        let status = status(doors[0]);
        super::one(&status["listeners"], "entry", "admin")["accepted"].as_u64() >= Some(3)
    });
    load(&server_door(doors[1], ""));
    assert!(!listens(&doors[0]));
    assert_eq!(status(doors[1])["role"], "server");
    under_way.write_all(b"Host: localhost\r\n\r\n").unwrap();
    assert_eq!(hear(under_way, "GET").unwrap().status(), 200);
    // Both, and one in the file system.
    let list = format!(
        "[server.admin]\nbind_addr = [\"{}\", \"{}\", \"unix:{}\"]\n",
        doors[1],
        doors[0],
        path.display()
    );
    load(&list);
    assert!(doors.iter().all(|door| status(*door)["role"] == "server"));
    assert_eq!(asks_at(&path).status(), 200);
    // A file that is wrong: the door stays and shows it, until one that is right.
    load("[server.services.x]\nnonsense = 1\n");
    let seen = status(doors[1]);
    let error = seen["configuration"]["error"].as_str().unwrap();
    assert!(error.contains("server.toml:") && error.contains("nonsense"), "{error}");
    assert_eq!(seen["configuration"]["failed_reloads"], 1);
    let numbers = super::metrics(doors[1]);
    assert_eq!(numbers["underpass_config_last_reload_successful"], 0.0);
    load(&list);
    let seen = status(doors[0]);
    assert_eq!(seen["configuration"]["error"], serde_json::Value::Null);
    assert_eq!(super::metrics(doors[0])["underpass_config_last_reload_successful"], 1.0);
    // Nothing any more.
    load("");
    assert!(!doors.iter().any(listens) && !path.exists());
    load(&server_door(doors[0], ""));
    assert_eq!(status(doors[0])["configuration"]["reloads"], 6);
}

#[test]
fn a_client_s_door_comes_moves_and_asks_for_a_password_by_reloads() {
    let vps = Vps::new();
    let doors = [free_port(vps.ip), free_port(vps.ip)];
    let _server = vps.server("");
    let client = vps.client_ready("client", "");
    let load = |table: &str| {
        reload(
            &vps,
            &client,
            "client",
            &vps.client_file(&(table.to_owned() + &vps.ready_service())),
        );
    };
    load(&client_door(doors[0]));
    assert_eq!(status(doors[0])["role"], "client");
    let users = format!("users = [{:?}]\n", htpasswd("-nbs", "ann", "secret"));
    load(&(client_door(doors[1]) + &users));
    assert!(connect(doors[0]).is_err());
    let ask = || Ask::get("/api/v1/status");
    assert_eq!(ask().at(doors[1]).status(), 401);
    assert_eq!(ask().login("ann", "wrong").at(doors[1]).status(), 401);
    assert_eq!(ask().login("ann", "secret").at(doors[1]).status(), 200);
    load("[client.services.x]\nnonsense = 1\n");
    let seen = ask().login("ann", "secret").json_at(doors[1]);
    assert!(seen["configuration"]["error"].as_str().unwrap().contains("nonsense"), "{seen:#}");
    load("");
    assert!(connect(doors[1]).is_err());
    // Its session is none of this.
    load(&client_door(doors[0]));
    let seen = status(doors[0]);
    assert_eq!(
        (&seen["servers"][0]["sessions"], &seen["servers"][0]["state"]),
        (&1.into(), &"connected".into())
    );
    assert_eq!(seen["configuration"]["error"], serde_json::Value::Null);
}
