//! The access log, read by public parsers; and what happens when it cannot be written.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::thread;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{PATIENCE, Scratch, eventually, free_port, run, run_ok, wait_until};
use crate::house::{Vps, server_service};
use crate::http_house::{Estate, Lot, get, naming};
use crate::udp::{UdpHome, ask_lengths, client_udp, server_udp};
use crate::visitor::{Seen, UNRECOGNIZED_NAME, connect, reset, say, visit};

/// A server with an access log, and one home for both entries.
fn logging(path: &Path, format: &str) -> (Estate, crate::home::Home, crate::home::Home) {
    let mut vps = Vps::new();
    let path = path.display();
    vps.server_extra = format!("access_log = {{ path = \"{path}\", format = \"{format}\" }}\n");
    let web = naming(vps.ip, "pi");
    let tls = crate::home::Home::named(vps.ip, "pi");
    let lots = vec![Lot::web("pi", web.address, tls.address)];
    (Estate::on(vps, lots), web, tls)
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Waits until the log has a line in which `find` finds what it looks for.
#[track_caller]
fn find(path: &Path, what: &str, find: impl Fn(&str) -> bool) -> String {
    eventually(PATIENCE, what, || lines(path).into_iter().find(|line| find(line)))
}

/// One visit of each kind, each of which gives one line; how many they are.
fn visit_in_every_way(estate: &Estate) -> usize {
    let mut visitor = estate.visitor();
    assert_eq!(visitor.get("pi.example.com", "/first?a=b").status(), 200);
    assert_eq!(visitor.get("pi.example.com", "/second").status(), 200);
    visitor.say(
        "POST /up HTTP/1.1\r\nHost: pi.example.com\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\n\r\n",
    );
    assert_eq!(visitor.response("POST").status(), 200);
    drop(visitor);
    let hostile = b"GET /\"\\x HTTP/1.1\r\nHost: pi.example.com\r\n\
        User-Agent: a\" \\ \xff\xc3\xa4\t\x1b[31m\r\nReferer: \"-\" \"\r\n\r\n";
    // Escape is no byte of a field: 400.
    assert_eq!(estate.ask(&String::from_utf8_lossy(hostile)).status(), 400);
    let hostile = "GET /\"\\x HTTP/1.1\r\nHost: pi.example.com\r\n\
        User-Agent: a\" \\ \u{e4}\t\r\nReferer: \"-\" \"\r\n\r\n";
    assert_eq!(estate.ask(hostile).status(), 200);
    assert_eq!(estate.ask(&get("nobody.example.com", "/")).status(), 404);
    assert_eq!(estate.ask(&get("away.example.com", "/")).status(), 503);
    let mut cut = connect(estate.http).unwrap();
    cut.write_all(b"GET /half HTTP/1.1\r\nHost").unwrap();
    drop(cut);
    // No byte, no request, no line.
    drop(connect(estate.http).unwrap());
    assert_eq!(visit(estate.vps.https, "pi.example.com"), crate::visitor::home("pi"));
    let unknown = Seen::Alert(UNRECOGNIZED_NAME);
    assert_eq!(visit(estate.vps.https, "nobody.example.com"), unknown);
    assert_eq!(say(estate.vps.https, b"SSH-2.0-x\r\n"), Seen::Closed);
    let mut half = connect(estate.vps.https).unwrap();
    half.write_all(b"\x16\x03").unwrap();
    reset(half);
    12
}

#[test]
fn every_visit_has_a_line_of_json() {
    let dir = Scratch::new();
    let path = dir.path("access.log");
    let (estate, _web, _tls) = logging(&path, "json");
    let before = lines(&path).len();
    let expected = visit_in_every_way(&estate);
    wait_until(PATIENCE, "all lines", || lines(&path).len() >= before + expected);
    // All of it is JSON to jq, too.
    let ends = run_ok(Command::new("jq").args(["-r", ".end"]).arg(&path));
    assert_eq!(ends.lines().count(), lines(&path).len());
    let all: Vec<Value> =
        lines(&path)[before..].iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(all.len(), expected, "{all:#?}");
    let one = |key: &str, value: &str| {
        let mut found = all.iter().filter(|line| line[key] == value);
        let line = found.next().unwrap_or_else(|| panic!("no {key} {value}: {all:#?}"));
        assert!(found.next().is_none(), "two of {key} {value}: {all:#?}");
        line
    };
    let first = one("path", "/first?a=b");
    for (key, value) in [
        ("visitor", "127.0.0.1"),
        ("entry", "http"),
        ("name", "pi.example.com"),
        ("service", "pi"),
        ("method", "GET"),
        ("protocol", "HTTP/1.1"),
        ("end", "done"),
    ] {
        assert_eq!(first[key], value, "{first}");
    }
    let body = "pi /first?a=b".len();
    assert_eq!((&first["status"], &first["bytes_in"]), (&200.into(), &0.into()), "{first}");
    assert_eq!(first["bytes_out"], body, "{first}");
    assert!(first["client"].as_str().unwrap().contains(':'), "{first}");
    let seconds = |key: &str| first[key].as_f64().unwrap();
    assert!(seconds("first_byte") <= seconds("duration") && seconds("duration") < 20.0);
    assert_eq!(one("path", "/up")["bytes_in"], 5);
    assert_eq!(one("user_agent", "a\" \\ ä")["referer"], "\"-\" \"");
    let statuses = |status: u16| all.iter().filter(|line| line["status"] == status).count();
    assert_eq!([200, 400, 404, 503].map(statuses), [4, 1, 1, 1], "{all:#?}");
    let half = one("end", "visitor_left");
    assert!(half.get("status").is_none() && half.get("path").is_none(), "{half}");
    let ends = |end: &str| {
        all.iter().filter(|line| line["entry"] == "https" && line["end"] == end).count()
    };
    let words = ["done", "unknown_name", "wrong_protocol", "visitor_reset"];
    assert_eq!(words.map(ends), [1, 1, 1, 1], "{all:#?}");
    let passed = all.iter().find(|line| line["entry"] == "https" && line["end"] == "done").unwrap();
    assert!(passed["bytes_in"].as_u64() > Some(20), "{passed}");
    assert_eq!(passed["bytes_out"], "I am pi\n".len(), "{passed}");
}

/// goaccess, told Traefik's format as its manual has it (its own name for it is newer than Debian's
/// goaccess).
/// A UDP session is one line, when it has ended.
#[test]
fn every_udp_session_has_a_line() {
    let dir = Scratch::new();
    let path = dir.path("access.log");
    let mut vps = Vps::new();
    let shown = path.display();
    vps.server_extra = format!("access_log = {{ path = \"{shown}\", format = \"json\" }}\n");
    let door = free_port(vps.ip);
    let home = UdpHome::turning((vps.ip, 0).into());
    let _server = vps.server(&server_udp("dns", &format!("\"{door}\""), "udp_idle_time = 1"));
    let _client = vps.client_ready("client", &client_udp("dns", &home.address.to_string()));
    ask_lengths(door, &[100, 100, 100], 1);
    let line = find(&path, "the session's line", |line| line.contains("\"udp\""));
    let line: Value = serde_json::from_str(&line).unwrap();
    for (key, value) in
        [("visitor", &*vps.ip.to_string()), ("entry", "udp"), ("service", "dns"), ("end", "idle")]
    {
        assert_eq!(line[key], value, "{line}");
    }
    // Who asks may ask again.
    for key in ["bytes_in", "bytes_out"] {
        let bytes = line[key].as_u64().unwrap();
        assert!(bytes >= 300 && bytes.is_multiple_of(100), "{key}: {line}");
    }
    assert!(line["client"].as_str().unwrap().contains(':'), "{line}");
}

#[test]
fn every_visit_has_a_line_that_goaccess_reads() {
    let dir = Scratch::new();
    let path = dir.path("access.log");
    let (estate, _web, _tls) = logging(&path, "clf");
    let before = lines(&path).len();
    let expected = visit_in_every_way(&estate);
    wait_until(PATIENCE, "all lines", || lines(&path).len() >= before + expected);
    let report = dir.path("report.json");
    let invalid = dir.path("invalid.log");
    run_ok(
        Command::new("goaccess")
            .arg(&path)
            .args(["--no-global-config", "--date-format=%d/%b/%Y", "--time-format=%T"])
            .arg("--log-format=%h - %e [%d:%t %^] \"%r\" %s %b \"%R\" \"%u\" %^ \"%v\" \"%U\" %Lms")
            .arg(format!("--invalid-requests={}", invalid.display()))
            .arg("-o")
            .arg(&report),
    );
    let report: Value = serde_json::from_str(&fs::read_to_string(report).unwrap()).unwrap();
    let general = &report["general"];
    assert_eq!(general["failed_requests"], 0, "{}", fs::read_to_string(invalid).unwrap());
    assert_eq!(general["valid_requests"], lines(&path).len(), "{general}");
    let ours = lines(&path);
    let first = ours.iter().find(|line| line.contains("/first?a=b")).unwrap();
    assert!(first.starts_with("127.0.0.1 - - ["), "{first}");
    assert!(first.contains("] \"GET /first?a=b HTTP/1.1\" 200 13 \"-\" \"-\" "), "{first}");
    assert!(first.contains(" \"pi\" \"127.") && first.ends_with("ms"), "{first}");
    assert!(ours.iter().all(|line| line.is_ascii() && !line.contains('\x1b')), "{ours:#?}");
}

#[test]
fn a_file_that_was_moved_away_is_opened_anew() {
    let dir = Scratch::new();
    let (path, moved) = (dir.path("access.log"), dir.path("access.log.1"));
    let (mut estate, _web, _tls) = logging(&path, "json");
    estate.ask(&get("pi.example.com", "/before"));
    find(&path, "a line", |line| line.contains("/before"));
    fs::rename(&path, &moved).unwrap();
    // Until it is told, it goes on in the old file.
    estate.ask(&get("pi.example.com", "/between"));
    find(&moved, "a line in the old file", |line| line.contains("/between"));
    estate.server.signal(Signal::USR1);
    wait_until(PATIENCE, "the new file", || path.exists());
    estate.ask(&get("pi.example.com", "/after"));
    find(&path, "a line in the new file", |line| line.contains("/after"));
    assert!(!lines(&path).iter().any(|line| line.contains("/between")));
    // A client has no access log, and does not mind.
    estate.clients[0].signal(Signal::USR1);
    assert_eq!(estate.ask(&get("pi.example.com", "/still")).status(), 200);
    estate.clients[0].assert_running();
    estate.server.stop();
    find(&path, "the last line", |line| line.contains("/still"));
}

/// Each of so many requests, one after another on one connection, has its answer.
fn flood(estate: &Estate, requests: usize) {
    let mut visitor = estate.visitor();
    let long = "x".repeat(2000);
    for number in 0..requests {
        let request = get("pi.example.com", &format!("/{number}?{long}"));
        visitor.say(request);
        assert_eq!(visitor.response("GET").status(), 200);
    }
}

#[test]
fn a_full_disk_stops_no_visitor() {
    let dir = Scratch::new();
    let path = dir.path("access.log");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let (mut estate, _web, _tls) = logging(&path, "json");
    flood(&estate, 1500);
    estate.server.wait_for_log(&["access log", "cannot be written", "No space left"]);
    estate.server.wait_for_log(&["access log", "lines dropped"]);
    let said = estate.server.log().lines().filter(|line| line.contains("access log")).count();
    assert!(said < 30, "{said} lines about the access log");
    // There is room again: what waited is written, and what is missing is said.
    fs::remove_file(&path).unwrap();
    estate.server.signal(Signal::USR1);
    let said = estate.server.wait_for_log(&["access log", "written again", "dropped"]);
    estate.ask(&get("pi.example.com", "/last"));
    find(&path, "a line", |line| line.contains("\"/last\""));
    let mut numbers = said.split_whitespace().rev().filter_map(|word| word.parse::<usize>().ok());
    let dropped = numbers.next().unwrap();
    let written = lines(&path);
    let asked = |line: &&String| line.contains("/last") || line.contains("?xxx");
    assert_eq!(written.iter().filter(asked).count() + dropped, 1501, "{said}");
    assert!(written.iter().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    estate.server.stop();
}

#[test]
fn a_disk_that_stays_full_does_not_hold_up_the_end() {
    let dir = Scratch::new();
    let path = dir.path("access.log");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let (mut estate, _web, _tls) = logging(&path, "clf");
    assert_eq!(estate.ask(&get("pi.example.com", "/")).status(), 200);
    estate.server.wait_for_log(&["access log", "cannot be written"]);
    estate.server.stop();
    estate.server.wait_for_log(&["access log", "could not be written"]);
}

#[test]
fn a_reader_that_stands_still_stops_no_visitor() {
    let dir = Scratch::new();
    let path = dir.path("access.log");
    run_ok(Command::new("mkfifo").arg(&path));
    // For reading and writing, which waits for nobody.
    let mut reader = File::options().read(true).write(true).open(&path).unwrap();
    let (estate, _web, _tls) = logging(&path, "json");
    flood(&estate, 1500);
    estate.server.wait_for_log(&["access log", "lines dropped"]);
    assert_eq!(estate.ask(&get("pi.example.com", "/meanwhile")).status(), 200);
    // The reader goes on, at its own pace.
    thread::spawn(move || while reader.read(&mut [0; 65_536]).is_ok_and(|length| length > 0) {});
    estate.server.wait_for_log(&["access log", "written again", "dropped"]);
}

#[test]
fn a_log_that_cannot_be_opened_is_an_error_before_visitors_come() {
    let mut vps = Vps::new();
    let path = vps.dir.path("absent/access.log");
    vps.server_extra = format!("access_log = {{ path = \"{}\" }}\n", path.display());
    let text = vps.server_file(&server_service("pi", &["pi.example.com"]));
    let file = vps.dir.write("server.toml", &text);
    let line = 1 + text.lines().position(|line| line.starts_with("access_log")).unwrap();
    let expected = format!(
        "server.toml:{line}: server.access_log.path: cannot open it to write: \
         No such file or directory"
    );
    for arguments in [&["check"][..], &["--server"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_underpass"));
        let output = run(command.args(arguments).arg(&file), b"");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains(&expected), "{arguments:?}: {errors}");
        assert!(!errors.contains("listening"), "{errors}");
    }
    assert!(connect(vps.https).is_err());
    assert!(!path.exists());
}
