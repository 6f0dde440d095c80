//! The page of the real program, in a real browser: what strangers have chosen is text there.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::doors::reload;
use super::{client_door, server_door, status};
use crate::harness::{PATIENCE, free_port, run_ok, wait_until};
use crate::house::{Vps, server_service};
use crate::http_house::get;
use crate::visitor::{client_hello, connect};

/// A script, if anybody takes it for one.
const SCRIPT: &str = "<img src=x onerror=document.title='taken'>";

/// Says something and hears the answer out.
fn say(to: SocketAddr, said: &[u8]) {
    let mut stream = connect(to).unwrap();
    stream.write_all(said).unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
}

/// Opens the page in Chromium, waits for `words`, and gives its text, having looked that no script
/// ran, no element of a stranger's is there, and the browser complains of nothing.
fn text_of(door: SocketAddr, words: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page");
    let script = r#"
import json, sys
sys.path.insert(0, sys.argv[1])
from chromium import Chromium
browser = Chromium()
try:
    tab = browser.tab()
    tab.look(1200)
    tab.go(sys.argv[2])
    shown = "document.body && document.body.textContent.includes(%s)"
    tab.wait(shown % json.dumps(sys.argv[3]), 20)
    assert tab.run("document.title") != "taken", "a script has run"
    assert tab.run("document.querySelectorAll('img').length") == 0, "an element of a stranger's"
    complaints = tab.complaints()
    assert not complaints, complaints
    print(tab.run("document.body.textContent"))
finally:
    browser.close()
"#;
    let url = format!("http://{door}/");
    run_ok(Command::new("python3").args(["-B", "-c", script]).arg(folder).args([&url, words]))
}

#[test]
fn names_that_are_scripts_are_text() {
    let mut vps = Vps::new();
    let (door, client_at, http) = (free_port(vps.ip), free_port(vps.ip), free_port(vps.ip));
    vps.server_extra = format!("http_addr = \"{http}\"\n");
    let tables = server_door(door, "") + &server_service("away", &["away.example.com"]);
    let server = vps.server(&tables);
    let _client = vps.client_ready("client", &client_door(client_at));
    // What is no name at all, and what is one.
    for name in [SCRIPT, "<script>alert(1)</script>", "away.example.com", "nobody.example.org"] {
        say(vps.https, &client_hello(Some(name)));
        say(http, get(name, "/").as_bytes());
        say(http, format!("GET /{SCRIPT} HTTP/1.1\r\nHost: {name}\r\n\r\n").as_bytes());
    }
    wait_until(PATIENCE, "all are noted", || {
        status(door)["failures"].as_array().unwrap().len() >= 8
    });
    // The file is its owner's, but its errors quote it.
    let wrong = format!("[server.services.x]\n\"{SCRIPT}\" = 1\n");
    reload(&vps, &server, "server", &vps.server_file(&(tables + &wrong)));
    let error = status(door)["configuration"]["error"].as_str().unwrap().to_owned();
    assert!(error.contains("<img"), "{error}");
    let text = text_of(door, "onerror=");
    assert!(text.contains(SCRIPT), "{text}");
    for shown in ["away.example.com", "nobody.example.org", "ready"] {
        assert!(text.contains(shown), "no {shown}: {text}");
    }
    assert!(text_of(client_at, "ready").contains(&vps.tunnel.to_string()));
}
