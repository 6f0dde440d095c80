//! Passwords: the lines that `htpasswd` makes, and who changes them.

use std::net::SocketAddr;

use super::doors::reload;
use super::{Ask, htpasswd, server_door};
use crate::harness::free_port;
use crate::house::Vps;

/// Every format that apache2-utils makes but plain text and DES crypt.
const FORMATS: [&str; 5] = ["-nb", "-nbB", "-nbs", "-nb2", "-nb5"];

fn code(door: SocketAddr, user: &str, password: &str) -> u16 {
    Ask::get("/api/v1/status").login(user, password).at(door).status()
}

#[test]
fn every_format_of_htpasswd_lets_its_user_in_and_nobody_else() {
    let vps = Vps::new();
    let door = free_port(vps.ip);
    let user = |format: &str| format!("user{}", format.replace('-', ""));
    // With what a password may have: colons, dollars, blanks, and letters of two bytes.
    let password = |format: &str| format!("p\u{e4}ss: $word {format}");
    let lines = FORMATS.map(|format| htpasswd(format, &user(format), &password(format)));
    let _server = vps.server(&server_door(door, &format!("users = {lines:?}\n")));
    for format in FORMATS {
        assert_eq!(code(door, &user(format), &password(format)), 200, "{format}");
        assert_eq!(code(door, &user(format), "wrong"), 401, "{format}");
    }
    assert_eq!(code(door, "nobody", &password("-nb")), 401);
    assert_eq!(code(door, &user("-nb"), &password("-nbB")), 401, "another one's");
    // With users, a door's Host may be any: the password is what counts.
    let ask = Ask::get("/").host("any.example").login(&user("-nb"), &password("-nb"));
    assert_eq!(ask.at(door).status(), 200);
    for target in ["/", "/page.js", "/metrics", "/api/v1/status", "/api/v1/events", "/nothing"] {
        let answer = Ask::get(target).at(door);
        let expected = if target == "/nothing" { 404 } else { 401 };
        assert_eq!(answer.status(), expected, "{target}");
    }
}

#[test]
fn the_article_s_line_works_from_env_file_without_escaping() {
    let mut vps = Vps::new();
    let (door, http) = (free_port(vps.ip), free_port(vps.ip));
    let line = htpasswd("-nb", "admin", "secret");
    assert!(line.starts_with("admin:$apr1$"), "{line}");
    vps.dir.write(".env", &format!("SITE_HOSTNAME=example.com\nTRAEFIK_AUTH={line}\n"));
    vps.server_extra = format!("http_addr = \"{http}\"\n");
    let table = server_door(door, "host = \"underpass.${SITE_HOSTNAME}\"\n")
        + "users = [\"${TRAEFIK_AUTH}\"]\n";
    let file = "env_file = \".env\"\n".to_owned() + &vps.server_file(&table);
    let server = vps.underpass("server", "--server", &file);
    crate::harness::wait_until(crate::harness::PATIENCE, "it listens", || {
        std::net::TcpStream::connect(door).is_ok()
    });
    for at in [door, http] {
        let ask = || Ask::get("/").host("underpass.example.com");
        assert_eq!(ask().at(at).status(), 401);
        assert_eq!(ask().login("admin", "wrong").at(at).status(), 401);
        assert_eq!(ask().login("nobody", "secret").at(at).status(), 401);
        assert_eq!(ask().login("admin", "secret").at(at).status(), 200);
    }
    // Another password in the other file: the former one is over at once.
    let line = htpasswd("-nbs", "admin", "another");
    vps.dir.write(".env", &format!("SITE_HOSTNAME=example.com\nTRAEFIK_AUTH={line}\n"));
    reload(&vps, &server, "server", &file);
    assert_eq!(code(door, "admin", "secret"), 401);
    assert_eq!(code(door, "admin", "another"), 200);
}

#[test]
fn another_file_s_users_are_the_users_at_once() {
    let vps = Vps::new();
    let door = free_port(vps.ip);
    let ann = htpasswd("-nbB", "ann", "secret");
    let bob = htpasswd("-nbs", "bob", "hello");
    let table = |users: &[&str]| server_door(door, &format!("users = {users:?}\n"));
    let server = vps.server(&table(&[&ann, &bob]));
    assert_eq!((code(door, "ann", "secret"), code(door, "bob", "hello")), (200, 200));
    let load = |table: &str| reload(&vps, &server, "server", &vps.server_file(table));
    load(&table(&[&bob]));
    assert_eq!((code(door, "ann", "secret"), code(door, "bob", "hello")), (401, 200));
    // A file that is wrong changes nobody.
    load(&table(&["ann:nonsense"]));
    server.wait_for_log(&["not reloaded", "server.admin.users"]);
    assert_eq!((code(door, "ann", "secret"), code(door, "bob", "hello")), (401, 200));
    // From a file of their own.
    vps.dir.write("users", &format!("# all\n{ann}\n\n"));
    load(&server_door(door, "users_file = \"users\"\n"));
    assert_eq!((code(door, "ann", "secret"), code(door, "bob", "hello")), (200, 401));
    // Nobody at all: the port is a loopback one, so everybody here may look.
    load(&server_door(door, ""));
    assert_eq!(Ask::get("/api/v1/status").at(door).status(), 200);
    assert_eq!(Ask::get("/api/v1/status").host("evil.example").at(door).status(), 421);
    load(&table(&[&ann]));
    assert_eq!(Ask::get("/api/v1/status").at(door).status(), 401);
    // Their hashes are secrets as tokens are, and in no log.
    for word in ["$2y$", "{SHA}", "secret", "hello"] {
        assert!(!server.log().contains(word), "{word}");
    }
}
