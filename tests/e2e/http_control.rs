//! The strictness tables against HAProxy, as a control: where it answers otherwise, the table of
//! differences says why. A row that is refused here for no good reason would show up there.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use crate::harness::{PATIENCE, Proc, Scratch, free_port, own_address, wait_until};
use crate::home::Home;
use crate::http_house::{Chunks, Peer};
use crate::support::http_rows::haproxy::{Differences, HAPROXY, HAPROXY_RESPONSES, HAPROXY_VARIES};
use crate::support::http_rows::responses::RESPONSES;
use crate::support::http_rows::responses::Then::{Bad, Closed, Cut, Kept, Left};
use crate::support::http_rows::{BROKEN, OK, PASSED, REFUSED, SMUGGLED, bytes, expand};
use crate::visitor::connect;
use underpass::proto::http_entry::HalfEnd as Side;

/// HAProxy in front of one home, with its own idea of strictness.
struct Control {
    haproxy: Proc,
    entry: std::net::SocketAddr,
    _home: Home,
    _dir: Scratch,
}

impl Control {
    fn start(serve: impl Fn(std::net::TcpStream) + Send + Sync + 'static) -> Control {
        let (dir, ip) = (Scratch::new(), own_address());
        let home = Home::start(ip, serve);
        let entry = free_port(ip);
        let address = home.address;
        // Its waits are short: some rows never end for a parser that wants more.
        let file = dir.write(
            "haproxy.cfg",
            &format!(
                "defaults\n mode http\n timeout connect 5s\n timeout client 1s\n \
                 timeout server 2s\n timeout http-request 1s\n http-reuse never\n\
                 listen control\n bind {entry}\n server home {address}\n"
            ),
        );
        let debian = std::path::Path::new("/usr/sbin/haproxy");
        let program = if debian.exists() { debian } else { std::path::Path::new("haproxy") };
        let mut command = Command::new(program);
        command.args(["-db", "-q", "-f"]).arg(file);
        let haproxy = Proc::start("haproxy", &dir, &command);
        wait_until(PATIENCE, "HAProxy listens", || connect(entry).is_ok());
        Control { haproxy, entry, _home: home, _dir: dir }
    }

    /// The status of the first answer to these bytes; 0 without any.
    fn status(&self, request: &[u8]) -> u16 {
        let mut visitor = Peer::new(connect(self.entry).unwrap());
        visitor.stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let _ = (&visitor.stream).write_all(request);
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        while answer.len() < 12 {
            match visitor.reader.read(&mut piece) {
                Ok(length) if length > 0 => answer.extend_from_slice(&piece[..length]),
                _ => break,
            }
        }
        let text = String::from_utf8_lossy(&answer);
        text.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0)
    }
}

/// What differs from the table of differences, each way, in the rows that HAProxy takes the same
/// way each time.
fn compare(mut rows: Vec<(String, u16, u16)>, table: Differences) {
    rows.retain(|(row, ..)| !HAPROXY_VARIES.contains(&row.as_str()));
    let listed = table.iter().flat_map(|(_, rows)| rows.iter());
    let known: HashMap<&str, u16> = listed.clone().map(|&(status, row)| (row, status)).collect();
    assert_eq!(known.len(), listed.count(), "a row twice");
    let mut unused: HashSet<&str> = known.keys().copied().collect();
    let mut findings = Vec::new();
    for (row, ours, theirs) in &rows {
        if known.get(row.as_str()).unwrap_or(ours) != theirs {
            findings.push(format!("({theirs}, {row:?}), // here {ours}"));
        }
        if ours != theirs {
            unused.remove(row.as_str());
        }
    }
    findings.extend(unused.into_iter().map(|row| format!("no difference any more: {row:?}")));
    assert!(findings.is_empty(), "{}\n{} findings", findings.join("\n"), findings.len());
}

/// Rows are independent of each other; those that HAProxy waits for take a second each.
fn in_parallel<T: Sync>(
    rows: &[T],
    run: impl Fn(&T) -> (String, u16, u16) + Sync,
) -> Vec<(String, u16, u16)> {
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for part in rows.chunks(rows.len().div_ceil(8)) {
            let (run, done) = (&run, &done);
            scope.spawn(move || {
                for row in part {
                    let seen = run(row);
                    done.lock().unwrap().push(seen);
                }
            });
        }
    });
    done.into_inner().unwrap()
}

#[test]
fn requests_as_haproxy_takes_them() {
    let mut control = Control::start(|stream| {
        let mut visitor = Peer::new(stream);
        let mut seen = Vec::new();
        let mut byte = [0];
        while !seen.ends_with(b"\r\n\r\n") && visitor.reader.read_exact(&mut byte).is_ok() {
            seen.push(byte[0]);
        }
        // Whether a chunked body is sound is known at its end; before that, no answer.
        let chunked = String::from_utf8_lossy(&seen).contains("transfer-encoding: ");
        let mut body = Vec::new();
        if !chunked || Chunks::new(&mut visitor.reader).read_to_end(&mut body).is_ok() {
            let _ = visitor.stream.write_all(OK.as_bytes());
        }
        let _ = visitor.reader.read_to_end(&mut body);
    });
    let refused = REFUSED.iter().map(|&(status, row)| (row.to_owned(), status, expand(row)));
    let passed = PASSED.iter().map(|&(row, ..)| (row.to_owned(), 200, expand(row)));
    let broken = BROKEN.iter().map(|row| {
        let request = expand("^Transfer-Encoding: chunked\r\n\r\n") + row;
        ((*row).to_owned(), 400, request)
    });
    let rows: Vec<_> = refused.chain(passed).chain(broken).collect();
    let seen = in_parallel(&rows, |(row, ours, request)| {
        let tail = if *ours == 200 { "" } else { SMUGGLED };
        (row.clone(), *ours, control.status(&bytes(&format!("{request}{tail}"))))
    });
    control.haproxy.assert_running();
    compare(seen, HAPROXY);
}

#[test]
fn responses_as_haproxy_takes_them() {
    let (next, rows) = (std::sync::Arc::new(Mutex::new(("", None))), RESPONSES);
    let said = next.clone();
    let mut control = Control::start(move |stream| {
        let mut visitor = Peer::new(stream);
        if crate::http_house::read_request(&mut visitor.reader).is_err() {
            return;
        }
        let (response, end) = *said.lock().unwrap();
        let _ = visitor.stream.write_all(bytes(response).as_slice());
        match end {
            None => drop(visitor.reader.read_to_end(&mut Vec::new())),
            Some(Side::Fin) => drop(visitor),
            Some(Side::Reset) => {
                thread::sleep(Duration::from_millis(100));
                visitor.reset();
            }
        }
    });
    let mut seen = Vec::new();
    for (head, response, end, then) in rows {
        *next.lock().unwrap() = (*response, *end);
        let ours = match then {
            Bad => 502,
            Kept(text) | Left(_, text) | Closed(text) | Cut(text) => text[9..12].parse().unwrap(),
        };
        let theirs = control.status(format!("{head}\r\n").as_bytes());
        seen.push(((*response).to_owned(), ours, theirs));
    }
    control.haproxy.assert_running();
    compare(seen, HAPROXY_RESPONSES);
}
