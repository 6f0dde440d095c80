//! `underpass status`, before a program that answers as we like.

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use underpass::status::{ClientStatus, Failure, ServerStatus, Status};

use crate::support::statuses;

#[test]
fn a_server_as_a_table() {
    let at = tcp(ok(&json(&statuses::server())));
    let (code, out, err) = run(&at.file("server-table", "server"), &[], None);
    assert_eq!((code, &*err), (3, ""), "a service is offline");
    assert_eq!(
        out,
        "\
underpass 0.1.0, server, up 4 d
server.toml, read 1 h ago
NOT WHAT RUNS: server.toml:12: server.services.pi: unknown key \"host\"
memory 9.4 MB, 66 kB held; descriptors 97 of 524288; longest turn 4.2 ms
log lines dropped: 6

SERVICE  TYPE   STATE             HOME                VISITORS   PING
pi       web    online 2 h        198.51.100.7:51234         3  21 ms
pi-ssh   tcp    online 2 h        198.51.100.7:51234         1  21 ms
cabin    https  OFFLINE 2 d 21 h  -                          0      -

HOME                PROGRAM          FOR     PING  LEAST    LINKS  SERVICES
198.51.100.7:51234  underpass 0.1.0  2 h    21 ms  19 ms  4 of 12         2
203.0.113.9:40000   rathole leaving  1 min      -      -   0 of 5         0

junk at the tunnel: 31 failed handshakes, 37 timeouts, 41 wrong tokens, 43
    unknown services, 4 strangers
junk at https: 17 unknown name, 19 malformed, 23 no name
12 s ago, https, 192.0.2.44, cabin.example.com: no home has this service
"
    );
}

/// A health check asks whether the program answers: a home that is away is no reason to end it.
#[test]
fn who_is_alive_may_have_services_offline() {
    let at = tcp(ok(&json(&statuses::server())));
    let (code, out, err) = run(&at.file("alive", "server"), &["--alive"], None);
    assert_eq!((code, &*err), (0, ""));
    assert!(out.contains("OFFLINE"), "{out}");
    let none = std::env::temp_dir().join("underpass-nobody-is-here.sock");
    let door = format!("[server.admin]\nbind_addr = 'unix:{}'\n", none.display());
    let file = write("dead", &door);
    assert_eq!(run(&file, &["--alive"], None).0, 1);
}

#[test]
fn a_client_as_a_table() {
    let at = tcp(ok(&json(&statuses::client())));
    let (code, out, err) = run(&at.file("client-table", "client"), &[], None);
    assert_eq!((code, &*err), (3, ""), "a service is refused");
    assert_eq!(
        out,
        "\
underpass 0.1.0, client, up 4 d
client.toml, read 1 h ago
NOT WHAT RUNS: client.toml:12: server.services.pi: unknown key \"host\"
memory 9.4 MB, 66 kB held; descriptors 97 of 524288; longest turn 4.2 ms
log lines dropped: 6

SERVER                STATE           PING  LEAST    LINKS  SESSIONS
vps.example.com:2333  connected 2 h  21 ms  19 ms  4 of 12         3
old.example.com:2333  waiting 1 min      -      -   0 of 0         1

SERVICE  TYPE  AT HOME          STATE       VISITORS  ANSWERS
pi       web   traefik:443      registered         3  yes, 4 s
nas      tcp   192.168.1.9:445  refused            0  NO, 1 h

old.example.com:2333: connection refused
nas: refused by vps.example.com:2333: the server's file has no such service
nas: 192.168.1.9:445: connection refused
"
    );
}

#[test]
fn the_exit_status_says_whether_all_are_online() {
    let Status::Server(mut server) = statuses::server() else { panic!("a server") };
    server.services.pop();
    let Status::Client(mut client) = statuses::client() else { panic!("a client") };
    client.services.pop();
    let empty = ServerStatus { services: vec![], homes: vec![], ..server.clone() };
    for (role, status) in [
        ("server", Status::Server(server)),
        ("client", Status::Client(client)),
        ("server", Status::Server(empty)),
        ("client", Status::Client(ClientStatus::default())),
    ] {
        let at = tcp(ok(&json(&status)));
        let (code, out, err) = run(&at.file("all-online", role), &[], None);
        assert_eq!((code, &*err), (0, ""), "{out}");
    }
}

#[test]
fn it_asks_the_unix_socket_first_and_then_the_ports() {
    let path = PathBuf::from(format!("/tmp/underpass-status-{}.sock", std::process::id()));
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).expect("a socket");
    let by_unix =
        serve(move || listener.accept().ok().map(|(it, _)| it), ok("{\"role\":\"server\"}"));
    let by_tcp = tcp(ok("{\"role\":\"client\"}"));
    let port = by_tcp.address.expect("a port").port();
    // The wildcard is asked on this machine, and what is wrong with the rest does not matter.
    let text = format!(
        "[server]\nwhatever = 1\n[server.admin]\nbind_addr = ['0.0.0.0:{port}', 'unix:{}']\n",
        path.display()
    );
    let file = write("unix-first", &text);
    let (code, out, _) = run(&file, &["--json"], None);
    assert_eq!((code, &*out), (0, "{\"role\":\"server\"}\n"));
    assert_eq!(by_tcp.requests.lock().expect("no panic").len(), 0);
    let requests = by_unix.requests.lock().expect("no panic").clone();
    assert_eq!(
        requests,
        ["GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"]
    );
    fs::remove_file(&path).expect("it is there");
    let (code, out, _) = run(&file, &["--json"], None);
    assert_eq!((code, &*out), (0, "{\"role\":\"client\"}\n"));
    let requests = by_tcp.requests.lock().expect("no panic").clone();
    let host = format!("Host: 127.0.0.1:{port}\r\n");
    assert!(requests[0].contains(&host), "{requests:?}");
}

#[test]
fn a_password_comes_from_the_environment() {
    let at = tcp(ok("{\"role\":\"server\"}"));
    let file = at.file("password", "server");
    let (code, ..) = run(&file, &[], Some("admin:pass:word"));
    assert_eq!(code, 0);
    let requests = at.requests.lock().expect("no panic").clone();
    assert!(requests[0].contains("\r\nAuthorization: Basic YWRtaW46cGFzczp3b3Jk\r\n"));

    let answer = |status: &str| format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
    for (status, login, why) in [
        (
            "401 Unauthorized",
            None,
            "asks for a password: UNDERPASS_ADMIN=USER:PASSWORD in the environment",
        ),
        ("401 Unauthorized", Some("a:b"), "does not take what UNDERPASS_ADMIN has"),
        (
            "429 Too Many Requests",
            Some("a:b"),
            "too many wrong passwords; it takes none for a minute",
        ),
        ("404 Not Found", None, "answers with status 404"),
    ] {
        let at = tcp(answer(status).into_bytes());
        let (code, out, err) = run(&at.file("refused", "server"), &[], login);
        let address = at.address.expect("a port");
        assert_eq!((code, &*out), (1, ""), "{status}");
        assert_eq!(err, format!("underpass: {address}: {why}\n"));
    }
}

#[test]
fn what_does_not_answer_is_said() {
    // Nobody listens, or it is somebody else.
    let gone = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = gone.local_addr().expect("bound");
    drop(gone);
    let none = format!("/tmp/underpass-none-{}.sock", std::process::id());
    let text = format!("[client.admin]\nbind_addr = ['{address}', 'unix:{none}']\n");
    let (code, out, err) = run(&write("nobody", &text), &[], None);
    assert_eq!((code, &*out), (1, ""));
    assert_eq!(
        err,
        format!(
            "underpass: nobody answers at unix:{none}: No such file or directory (os error 2); \
             {address}: Connection refused (os error 111)\n"
        )
    );
    for (answer, why) in [
        (&b""[..], "nobody answers at ADDRESS: the answer is cut off"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "nobody answers at ADDRESS: the answer is no HTTP"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}",
            "nobody answers at ADDRESS: the answer is cut off",
        ),
        (
            b"HTTP/1.1 200 OK\r\n\r\n{\"role\":\"cook\"}",
            "the answer is not what underpass says: it has no role",
        ),
    ] {
        let at = tcp(answer.to_vec());
        let (code, out, err) = run(&at.file("other", "server"), &[], None);
        let address = at.address.expect("a port").to_string();
        assert_eq!((code, &*out), (1, ""));
        assert_eq!(err, format!("underpass: {}\n", why.replace("ADDRESS", &address)));
    }
}

#[test]
fn one_that_says_nothing_has_five_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let text = format!("[server.admin]\nbind_addr = '{address}'\n");
    let begin = std::time::Instant::now();
    let (code, _, err) = run(&write("silent", &text), &[], None);
    assert_eq!(code, 1);
    assert_eq!(err, format!("underpass: nobody answers at {address}: no answer within 5 s\n"));
    let took = begin.elapsed().as_secs_f64();
    assert!((5.0..15.0).contains(&took), "{took}");
}

#[test]
fn without_a_door_it_says_which_lines_to_add() {
    let (code, out, err) = run(&write("no-door", CLIENT), &[], None);
    assert_eq!((code, &*out), (1, ""));
    let (first, lines) = err.split_once("\n\n").expect("two parts");
    assert!(first.ends_with(
        "no-door.toml: has no [client.admin], where the running program is asked. Add these lines:"
    ));
    assert_eq!(lines.trim_end().lines().count(), 3);
    // They are such that it goes on.
    let file = write("door-added", &format!("{CLIENT}{lines}"));
    let (_, _, err) = run(&file, &[], None);
    let asked = err.starts_with("underpass: nobody answers at 127.0.0.1:9333");
    assert!(asked || err.is_empty() || err.starts_with("underpass: 127.0.0.1:9333"), "{err}");

    let both = "[server.admin]\nbind_addr = '[::1]:1'\n[client.admin]\nbind_addr = '[::1]:2'\n";
    let file = write("both", both);
    let (code, _, err) = run(&file, &[], None);
    assert_eq!(code, 1);
    assert!(err.ends_with("both.toml: has both roles: say --server or --client\n"), "{err}");
    for (role, port) in [("--server", 1), ("--client", 2)] {
        let (_, _, err) = run(&file, &[role], None);
        assert!(err.contains(&format!("at [::1]:{port}: ")), "{err}");
    }
    let (code, _, err) = run(&PathBuf::from("none.toml"), &[], None);
    assert_eq!(code, 1);
    assert!(err.starts_with("underpass: none.toml: cannot read it: "), "{err}");
}

/// A stranger chooses the name that it asks for.
#[test]
fn a_strangers_name_is_text() {
    let Status::Server(mut status) = statuses::server() else { panic!("a server") };
    let hostile = "a\u{1b}[2J\u{9b}31m\nSERVICE\r\u{202e}\u{7}b";
    status.failures = vec![Failure { name: hostile.into(), ..status.failures[0].clone() }];
    status.services[0].name = hostile.into();
    let body = json(&Status::Server(status));
    let at = tcp(ok(&body));
    let file = at.file("hostile", "server");
    let (_, out, _) = run(&file, &[], None);
    assert!(out.contains("a?[2J?31m?SERVICE???b"), "{out}");
    let moves = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
    assert!(!out.contains(moves), "{out:?}");
    let (_, out, _) = run(&file, &["--json"], None);
    assert!(!out.contains(moves), "{out:?}");
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    assert_eq!(read(&out), read(&body), "it says the same");
}

#[test]
fn everything_fits_the_screen() {
    let Status::Server(mut status) = statuses::crowd(20) else { panic!("a server") };
    for service in &mut status.services {
        service.name = "a-name-as-long-as-people-make-them-when-they-may-".repeat(4);
        service.home = Some("[2001:db8:1234:5678:9abc:def0:1234:5678]:51234".into());
    }
    let at = tcp(ok(&json(&Status::Server(status))));
    let (_, out, _) = run(&at.file("wide", "server"), &[], None);
    let long = out.lines().find(|line| line.chars().count() > 80);
    assert_eq!(long, None, "{out}");
    assert!(out.contains("a-name-as-lon") && out.contains('…'), "{out}");
}

#[test]
fn watch_asks_again_and_shows_how_much_passes() {
    let Status::Server(mut status) = statuses::server() else { panic!("a server") };
    let first = json(&Status::Server(status.clone()));
    status.program.time += 2.0;
    status.services[0].traffic[0].received_bytes += 3_000_000;
    status.services[0].traffic[1].sent_bytes += 1_000_000;
    let second = json(&Status::Server(status));
    let at = tcp_of(vec![ok(&first), ok(&second)]);
    let mut child = command(&at.file("watch", "server"), &["--watch"], None)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let row = lines.find_map(|line| line.ok().filter(|line| line.ends_with(" 2.0 MB")));
    child.kill().expect("it runs");
    child.wait().expect("an end");
    let row = row.expect("a rate");
    assert!(row.starts_with("pi  "), "{row}");
    assert!(!row.contains('\u{1b}'), "no terminal, no escape");
}

const CLIENT: &str = "\
[client]
remote_addr = 'vps:2333'
[client.transport]
type = 'noise'
noise = { remote_public_key = 'MIDlbJw0wqZtQ8Y5Z7nLu3rJqG5m2oVfJ0bX1c2d3e4=' }
[client.services.pi]
token = 'long enough a token'
local_addr = '127.0.0.1:1'
";

struct Fixture {
    address: Option<SocketAddr>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Fixture {
    /// A configuration with this door.
    fn file(&self, name: &str, role: &str) -> PathBuf {
        let address = self.address.expect("a port");
        write(name, &format!("[{role}.admin]\nbind_addr = '{address}'\n"))
    }
}

fn tcp(answer: Vec<u8>) -> Fixture {
    tcp_of(vec![answer])
}

fn tcp_of(answers: Vec<Vec<u8>>) -> Fixture {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().ok();
    let fixture = serve_all(move || listener.accept().ok().map(|(it, _)| it), answers);
    Fixture { address, ..fixture }
}

fn serve<S: Read + Write>(
    accept: impl Fn() -> Option<S> + Send + 'static,
    answer: Vec<u8>,
) -> Fixture {
    serve_all(accept, vec![answer])
}

/// One answer for each connection, the last one for all that follow.
fn serve_all<S: Read + Write>(
    accept: impl Fn() -> Option<S> + Send + 'static,
    answers: Vec<Vec<u8>>,
) -> Fixture {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    thread::spawn(move || {
        let mut answers = answers.into_iter().peekable();
        while let Some(mut stream) = accept() {
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                request.push(byte[0]);
            }
            seen.lock().expect("no panic").push(String::from_utf8_lossy(&request).into_owned());
            let answer = answers.peek().cloned().expect("there is one");
            let _ = stream.write_all(&answer);
            if answers.len() > 1 {
                answers.next();
            }
        }
    });
    Fixture { address: None, requests }
}

fn ok(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

fn json(status: &Status) -> String {
    serde_json::to_string(status).expect("it has no maps")
}

fn write(name: &str, text: &str) -> PathBuf {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.toml"));
    fs::write(&file, text).expect("a file");
    file
}

fn command(file: &PathBuf, args: &[&str], login: Option<&str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_underpass"));
    command.arg("status").arg(file).args(args).env_clear();
    command.envs(login.map(|login| ("UNDERPASS_ADMIN", login)));
    command
}

/// Status, stdout, stderr.
fn run(file: &PathBuf, args: &[&str], login: Option<&str>) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        command(file, args, login).output().expect("the program runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code().expect("an exit"), text(stdout), text(stderr))
}
