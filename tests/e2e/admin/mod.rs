//! The admin door of the real program, in both roles: who may come in, what it says, and what those
//! who mean harm get there.

mod attacks;
mod counters;
mod doors;
mod health;
mod load;
mod page;
mod scrape;
mod state;
mod users;

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::Value;

use crate::harness::{PATIENCE, run, run_ok};
use crate::http_house::{Message, read_response};
use crate::visitor::{connect, connect_from};

/// A question, about to be asked.
#[derive(Clone)]
struct Ask {
    method: &'static str,
    target: String,
    host: String,
    fields: String,
    from: Option<Ipv4Addr>,
}

impl Ask {
    fn get(target: &str) -> Ask {
        let (target, host) = (target.to_owned(), "localhost".to_owned());
        // Where the page comes compressed, it comes in no other way.
        let fields = "Accept-Encoding: gzip\r\n".to_owned();
        Ask { method: "GET", target, host, fields, from: None }
    }

    fn method(self, method: &'static str) -> Ask {
        Ask { method, ..self }
    }

    fn host(self, host: &str) -> Ask {
        Ask { host: host.to_owned(), ..self }
    }

    /// A whole line, without its end.
    fn field(self, line: &str) -> Ask {
        Ask { fields: format!("{}{line}\r\n", self.fields), ..self }
    }

    fn login(self, user: &str, password: &str) -> Ask {
        let login = format!("{user}:{password}");
        let encoded = base64::engine::general_purpose::STANDARD.encode(login);
        self.field(&format!("Authorization: Basic {encoded}"))
    }

    fn from(self, address: Ipv4Addr) -> Ask {
        Ask { from: Some(address), ..self }
    }

    fn bytes(&self) -> Vec<u8> {
        let Ask { method, target, host, fields, .. } = self;
        format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n").into_bytes()
    }

    fn open(&self, door: SocketAddr) -> io::Result<TcpStream> {
        let try_open = || match self.from {
            None => connect(door),
            Some(from) => connect_from(from, door),
        };
        // The admin door is the last that a program opens.
        let is_refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        let start = Instant::now();
        let mut opened = try_open();
        while opened.as_ref().is_err_and(is_refused) && start.elapsed() < PATIENCE / 4 {
            thread::sleep(Duration::from_millis(10));
            opened = try_open();
        }
        let stream = opened?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// The answer of a TCP door.
    #[track_caller]
    fn at(&self, door: SocketAddr) -> Message {
        self.try_at(door).unwrap_or_else(|error| panic!("{} {}: {error}", self.method, self.target))
    }

    fn try_at(&self, door: SocketAddr) -> io::Result<Message> {
        let mut stream = self.open(door)?;
        stream.write_all(&self.bytes())?;
        hear(stream, self.method)
    }

    /// The answer of a door in the file system.
    #[track_caller]
    fn at_path(&self, path: &Path) -> Message {
        self.try_at_path(path).unwrap_or_else(|error| panic!("{}: {error}", self.target))
    }

    fn try_at_path(&self, path: &Path) -> io::Result<Message> {
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&self.bytes())?;
        hear(stream, self.method)
    }

    #[track_caller]
    fn json_at(&self, door: SocketAddr) -> Value {
        let answer = self.at(door);
        assert_eq!(answer.status(), 200, "{answer:?}");
        serde_json::from_slice(&answer.body).unwrap()
    }
}

/// The one answer of a connection and its end, which is an orderly one. What every answer has is
/// looked at here.
fn hear(stream: impl Read, method: &str) -> io::Result<Message> {
    let mut reader = BufReader::new(stream);
    let answer = read_response(&mut reader, method)?;
    let mut behind = Vec::new();
    reader.read_to_end(&mut behind)?;
    assert!(behind.is_empty(), "{} behind {answer:?}", behind.escape_ascii());
    assert_protected(&answer);
    Ok(answer)
}

/// No browser may do with it what the page does not.
#[track_caller]
fn assert_protected(answer: &Message) {
    let policy = answer.field("content-security-policy").unwrap_or_default();
    for word in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(word), "{answer:?}");
    }
    assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    let is_cors = |(name, _): &(String, String)| name.starts_with("access-control");
    assert!(!answer.fields.iter().any(is_cors), "{answer:?}");
}

/// `/api/v1/status` of a door that asks for no password.
#[track_caller]
fn status(door: SocketAddr) -> Value {
    Ask::get("/api/v1/status").json_at(door)
}

/// The one of `list` whose `key` is `value`.
#[track_caller]
fn one<'a>(list: &'a Value, key: &str, value: &str) -> &'a Value {
    let found = list.as_array().unwrap().iter().find(|item| item[key] == value);
    found.unwrap_or_else(|| panic!("no {key} {value} in {list:#}"))
}

/// `[{kind, count}]`, by kind.
fn counts(list: &Value) -> BTreeMap<&str, u64> {
    let pairs = list.as_array().unwrap().iter();
    pairs.map(|it| (it["kind"].as_str().unwrap(), it["count"].as_u64().unwrap())).collect()
}

/// `/metrics` of a door that asks for no password, by series; promtool finds nothing to say of it.
#[track_caller]
fn metrics(door: SocketAddr) -> BTreeMap<String, f64> {
    let answer = Ask::get("/metrics").at(door);
    let type_ = answer.field("content-type").unwrap();
    assert!(type_.starts_with("text/plain; version=0.0.4"), "{type_}");
    let output = run(Command::new("promtool").args(["check", "metrics"]), &answer.body);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.trim().is_empty(), "promtool: {said}");
    let lines = answer.text().lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.map(|line| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        (series.to_owned(), value.parse().unwrap())
    });
    pairs.collect()
}

/// A line for `users`, by the program that everybody makes them with.
fn htpasswd(format: &str, user: &str, password: &str) -> String {
    let mut words: Vec<&str> = format.split(' ').collect();
    words.extend([user, password]);
    run_ok(Command::new("htpasswd").args(words)).trim().to_owned()
}

/// `[server.admin]` at this address, with `more` lines.
fn server_door(door: SocketAddr, more: &str) -> String {
    format!("[server.admin]\nbind_addr = \"{door}\"\n{more}")
}

/// `[client.admin]` at this address.
fn client_door(door: SocketAddr) -> String {
    format!("[client.admin]\nbind_addr = \"{door}\"\n")
}
