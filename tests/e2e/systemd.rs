//! Under a service manager: a stand-in that listens to what it is told and hands sockets over, and
//! systemd itself, in a namespace, with the units of `config/systemd/`.

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{PATIENCE, Proc, SECRET, eventually, free_port, run, run_ok, wait_until};
use crate::home::Home;
use crate::house::{Vps, client_port, client_service, server_port, server_service};
use crate::http_house::{Lot, naming};
use crate::visitor::{client_hello, connect, home, visit};

/// What a service manager hears.
struct Ear {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Ear {
    /// From now on `vps` starts programs that talk to it, with so many milliseconds of patience.
    fn new(vps: &mut Vps, name: &str, watchdog: Option<u64>) -> Ear {
        let path = vps.dir.path(name);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut wrapper = vec!["env".to_owned(), format!("NOTIFY_SOCKET={}", path.display())];
        wrapper.extend(watchdog.map(|millis| format!("WATCHDOG_USEC={}", millis * 1000)));
        vps.wrapper = wrapper;
        Ear { socket, heard: Vec::new() }
    }

    fn listen(&mut self) {
        let mut message = [0; 4096];
        match self.socket.recv(&mut message) {
            Ok(length) => {
                let text = String::from_utf8(message[..length].to_vec()).unwrap();
                self.heard.extend(text.lines().map(str::to_owned));
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
    }

    /// Waits for a line that begins so, and forgets what came up to it.
    #[track_caller]
    fn wait_for(&mut self, begin: &str) -> String {
        let start = Instant::now();
        loop {
            if let Some(at) = self.heard.iter().position(|line| line.starts_with(begin)) {
                return self.heard.drain(..=at).next_back().unwrap();
            }
            assert!(start.elapsed() < PATIENCE, "no {begin}, but {:?}", self.heard);
            self.listen();
        }
    }

    /// How many lines there are of `line` within `span`.
    fn count(&mut self, line: &str, span: Duration) -> usize {
        // What has waited so far is another time's.
        let waiting = |ear: &mut Ear| {
            ear.heard.clear();
            ear.listen();
            !ear.heard.is_empty()
        };
        while waiting(self) {}
        let start = Instant::now();
        while start.elapsed() < span {
            self.listen();
        }
        self.heard.iter().filter(|heard| *heard == line).count()
    }
}

#[test]
fn the_server_tells_when_it_listens_reloads_and_stops() {
    let mut vps = Vps::new();
    let mut ear = Ear::new(&mut vps, "notify", None);
    let services = server_service("pi", &["pi.example.com"]);
    let mut server = vps.server(&services);
    ear.wait_for("READY=1");
    ear.wait_for("STATUS=0 of 2 services online");
    vps.wrapper.clear();
    let there = Home::named(vps.ip, "pi");
    let client = vps.client_ready("client", &client_service("pi", there.address));
    ear.wait_for("STATUS=2 of 2 services online");

    // A reload that succeeds, one that does not, and one that does again.
    server.signal(Signal::HUP);
    ear.wait_for("RELOADING=1");
    let when = ear.wait_for("MONOTONIC_USEC=");
    assert!(when["MONOTONIC_USEC=".len()..].parse::<u64>().unwrap() > 0, "{when}");
    ear.wait_for("READY=1");
    let file = vps.dir.path("server.toml");
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, good.replace("bind_addr", "bind_adr")).unwrap();
    server.signal(Signal::HUP);
    ear.wait_for("RELOADING=1");
    let status = ear.wait_for("STATUS=2 of 2 services online; not reloaded: ");
    assert!(status.contains("server.toml:2:") && status.contains("bind_addr"), "{status}");
    ear.wait_for("READY=1");
    assert_eq!(visit(vps.https, "pi.example.com"), home("pi"));
    fs::write(&file, good).unwrap();
    server.signal(Signal::HUP);
    ear.wait_for("RELOADING=1");
    let status = ear.wait_for("STATUS=");
    assert_eq!(status, "STATUS=2 of 2 services online");
    ear.wait_for("READY=1");

    drop(client);
    ear.wait_for("STATUS=0 of 2 services online");
    server.signal(Signal::TERM);
    ear.wait_for("STOPPING=1");
    assert!(server.wait_exit(PATIENCE).success());
}

#[test]
fn a_drain_is_told_with_its_length() {
    let mut vps = Vps { server_extra: "drain_time = 300\n".to_owned(), ..Vps::new() };
    let mut ear = Ear::new(&mut vps, "notify", None);
    let mut server = vps.server(&server_service("pi", &["pi.example.com"]));
    vps.wrapper.clear();
    let echo = Home::echo(vps.ip);
    let _client = vps.client_ready("client", &client_service("pi", echo.address));
    let hello = client_hello(Some("pi.example.com"));
    let mut visitor = connect(vps.https).unwrap();
    visitor.write_all(&hello).unwrap();
    visitor.read_exact(&mut vec![0; hello.len()]).unwrap();
    server.signal(Signal::TERM);
    ear.wait_for("STOPPING=1");
    let more = ear.wait_for("EXTEND_TIMEOUT_USEC=");
    let micros: u64 = more["EXTEND_TIMEOUT_USEC=".len()..].parse().unwrap();
    assert!((300_000_000..400_000_000).contains(&micros), "{micros}");
    ear.wait_for("STATUS=stopping; ");
    drop(visitor);
    assert!(server.wait_exit(PATIENCE).success());
}

/// A boot is not held up by a server that is down.
#[test]
fn the_client_is_ready_at_once_and_tells_what_is_missing() {
    let mut vps = Vps::new();
    let mut ear = Ear::new(&mut vps, "notify", None);
    let there = Home::named(vps.ip, "pi");
    let services = client_service("pi", there.address) + &vps.ready_service();
    let mut client = vps.client("client", &services);
    ear.wait_for("READY=1");
    let status = ear.wait_for("STATUS=0 of 2 services up; no session with");
    assert!(status.to_lowercase().contains("refused"), "{status}");
    vps.wrapper.clear();
    let server = vps.server(&server_service("pi", &["pi.example.com"]));
    let status = ear.wait_for("STATUS=2 of 2 services up");
    assert_eq!(status, "STATUS=2 of 2 services up");
    drop(server);
    ear.wait_for("STATUS=0 of 2 services up; no session with");
    client.signal(Signal::HUP);
    ear.wait_for("RELOADING=1");
    ear.wait_for("READY=1");
    client.signal(Signal::TERM);
    ear.wait_for("STOPPING=1");
    assert!(client.wait_exit(PATIENCE).success());
}

#[test]
fn the_watchdog_is_fed_by_who_turns_and_by_nobody_else() {
    let mut vps = Vps::new();
    let mut ear = Ear::new(&mut vps, "server", Some(200));
    let server = vps.server(&server_service("pi", &["pi.example.com"]));
    let mut ear_of_client = Ear::new(&mut vps, "client", Some(200));
    let echo = Home::echo(vps.ip);
    let client = vps.client_ready("client", &client_service("pi", echo.address));
    // Twenty are due in two seconds; a busy machine may swallow some.
    let alive = |ear: &mut Ear| {
        let fed = ear.count("WATCHDOG=1", Duration::from_secs(2));
        assert!((8..=25).contains(&fed), "{fed} signs of life in 2 s");
    };
    for ear in [&mut ear, &mut ear_of_client] {
        alive(ear);
    }
    // Under load, too.
    let mut visitor = connect(vps.https).unwrap();
    visitor.write_all(&client_hello(Some("pi.example.com"))).unwrap();
    let mut reader = visitor.try_clone().unwrap();
    let load = std::thread::spawn(move || {
        let mut sink = vec![0; 1 << 16];
        while reader.read(&mut sink).is_ok_and(|length| length > 0) {}
    });
    let writer = std::thread::spawn(move || {
        let until = Instant::now() + Duration::from_secs(4);
        while Instant::now() < until && visitor.write_all(&[7; 1 << 16]).is_ok() {}
    });
    alive(&mut ear);
    writer.join().unwrap();
    load.join().unwrap();
    for (process, ear) in [(&server, &mut ear), (&client, &mut ear_of_client)] {
        process.signal(Signal::STOP);
        // What was sent before is read first.
        wait_until(PATIENCE, "silence", || {
            ear.count("WATCHDOG=1", Duration::from_millis(300)) == 0
        });
        assert_eq!(ear.count("WATCHDOG=1", Duration::from_secs(1)), 0);
        process.signal(Signal::CONT);
        ear.wait_for("WATCHDOG=1");
    }
}

/// Opens sockets, passes them as systemd does, and becomes the program.
const PASS: &str = r#"
import os, socket, sys
sockets = []
for word in sys.argv[1].split():
    kind, host, port = word.rsplit("/", 2)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    s = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.bind((host, int(port)))
    if kind == "tcp":
        s.listen(64)
    sockets.append(s)
sockets.append(socket.socketpair(socket.AF_UNIX)[0])
high = [os.dup2(s.fileno(), 100 + i) for i, s in enumerate(sockets)]
for s in sockets:
    s.detach()
os.closerange(3, 100)
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i)
os.closerange(3 + len(high), 5000)
os.environ.update(LISTEN_FDS=str(len(high)), LISTEN_PID=str(os.getpid()))
os.execvp(sys.argv[2], sys.argv[2:])
"#;

fn passing(vps: &mut Vps, sockets: &[(&str, SocketAddr)]) {
    let words = sockets.iter().map(|(kind, at)| format!("{kind}/{}/{}", at.ip(), at.port()));
    let words: Vec<String> = words.collect();
    vps.wrapper = ["/usr/bin/python3", "-c", PASS, &words.join(" ")].map(str::to_owned).into();
}

/// The inodes of the sockets of this process, TCP's that listen and UDP's, that are bound to one of
/// `addresses`.
fn sockets_at(process: &Proc, addresses: &[SocketAddr]) -> BTreeSet<String> {
    let entries = fs::read_dir(format!("/proc/{}/fd", process.pid())).unwrap();
    let names = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let open: BTreeSet<String> = names.map(|name| name.display().to_string()).collect();
    // "0100007F:0050": the words of an address as the machine keeps them, then the port.
    let bound: Vec<String> = addresses.iter().map(proc_net_name).collect();
    let tables = ["tcp", "udp"]
        .map(|table| fs::read_to_string(format!("/proc/{}/net/{table}", process.pid())).unwrap());
    let rows = tables.iter().flat_map(|table| table.lines().skip(1));
    rows.filter_map(|row| {
        let columns: Vec<&str> = row.split_whitespace().collect();
        let (local, remote, inode) = (columns[1], columns[2], columns[9]);
        let waits = remote == "00000000:0000";
        (waits && bound.iter().any(|name| name == local)).then(|| format!("socket:[{inode}]"))
    })
    .filter(|socket| open.contains(socket))
    .collect()
}

/// An IPv4 address as the tables in /proc/net write it.
fn proc_net_name(address: &SocketAddr) -> String {
    let SocketAddr::V4(address) = address else { panic!("{address} is not IPv4") };
    let words = u32::from_ne_bytes(address.ip().octets());
    format!("{words:08X}:{:04X}", address.port())
}

#[test]
fn passed_sockets_are_taken_by_their_address() {
    let mut vps = Vps::new();
    let (udp, own, unwanted) = (free_port(vps.ip), free_port(vps.ip), free_port(vps.ip));
    let passed = [("tcp", vps.https), ("udp", udp), ("tcp", unwanted), ("tcp", vps.tunnel)];
    passing(&mut vps, &passed);
    let at_home = UdpSocket::bind((vps.ip, 0)).unwrap();
    at_home.set_read_timeout(Some(PATIENCE)).unwrap();
    let udp_service = |role: &str, key: &str, at: SocketAddr| {
        format!(
            "[{role}.services.udp]\ntype = \"udp\"\ntoken = \"{SECRET}-udp\"\n{key} = \"{at}\"\n"
        )
    };
    let services = server_service("pi", &["pi.example.com"])
        + &udp_service("server", "bind_addr", udp)
        + &server_port("own", own);
    let server = vps.server(&services);
    vps.wrapper.clear();
    server.wait_for_log(&[&format!("the passed socket {unwanted} is closed")]);
    server.wait_for_log(&["the passed socket 4 is not used", "neither TCP nor UDP"]);
    assert!(!server.log().contains(&format!("socket {}", vps.https)), "{}", server.log());
    let refused = TcpStream::connect(unwanted).map_err(|error| error.kind());
    assert_eq!(refused.map(drop), Err(ErrorKind::ConnectionRefused));

    let there = Home::named(vps.ip, "pi");
    let local = at_home.local_addr().unwrap();
    let services = client_service("pi", there.address)
        + &udp_service("client", "local_addr", local)
        + &client_port("own", there.address);
    let _client = vps.client_ready("client", &services);
    let works = || {
        assert_eq!(visit(vps.https, "pi.example.com"), home("pi"));
        let visitor = UdpSocket::bind((vps.ip, 0)).unwrap();
        visitor.set_read_timeout(Some(PATIENCE)).unwrap();
        visitor.send_to(b"word", udp).unwrap();
        let mut heard = [0; 8];
        let (length, from) = at_home.recv_from(&mut heard).unwrap();
        at_home.send_to(&heard[..length], from).unwrap();
        assert_eq!(visitor.recv_from(&mut heard).unwrap(), (4, udp));
        assert!(TcpStream::connect(own).is_ok());
    };
    works();
    // Over a reload they stay what they are.
    let listening = || sockets_at(&server, &[vps.https, udp, vps.tunnel]);
    let before = listening();
    assert_eq!(before.len(), 3, "{before:?}");
    server.signal(Signal::HUP);
    server.wait_for_log(&["reloaded: nothing has changed"]);
    works();
    assert_eq!(listening(), before);
    // None is for other programs.
    for entry in fs::read_dir(format!("/proc/{}/fdinfo", server.pid())).unwrap() {
        let path = entry.unwrap().path();
        let number: u32 = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let Ok(info) = fs::read_to_string(&path) else { continue };
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        let flags = u32::from_str_radix(flags.trim(), 8).unwrap();
        const CLOEXEC: u32 = 0o2_000_000;
        assert!(number < 3 || flags & CLOEXEC != 0, "descriptor {number}: {info}");
    }
}

/// As `ListenStream=80` is without more words: one socket for both families.
#[test]
fn a_passed_socket_may_be_for_both_families() {
    let mut vps = Vps::new();
    let http = free_port(vps.ip);
    let any = SocketAddr::from(([0u16; 8], http.port()));
    passing(&mut vps, &[("tcp", any)]);
    let home = naming(vps.ip, "pi");
    vps.server_extra = format!("http_addr = \"[::]:{}\"\n", http.port());
    let lot = Lot::http("pi", home.address);
    let server = vps.server(&lot.server_service());
    vps.wrapper.clear();
    let _client = vps.client_ready("client", &lot.client_service());
    assert!(!server.log().contains("passed socket 127"), "{}", server.log());
    assert!(!server.log().contains("is closed"), "{}", server.log());
    for address in [http, SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], http.port()))] {
        let mut visitor = crate::http_house::Peer::new(connect(address).unwrap());
        assert_eq!(visitor.get("pi.example.com", "/x").text(), "pi /x", "{address}");
    }
}

/// systemd as process 1 of namespaces of its own, with a `/run` of its own and this network.
struct Systemd {
    child: Child,
    pid: String,
}

const BOOT: &str = r#"
mount --make-rprivate / && mount -t tmpfs tmpfs /run && mount -t cgroup2 cgroup2 /sys/fs/cgroup &&
mount -t proc proc /proc && mkdir -p /run/systemd/system /run/lock || exit 1
printf '[Unit]\nDefaultDependencies=no\n' > /run/systemd/system/none.target
exec env -i container=lxc PATH="$PATH" \
    "$(command -v /usr/lib/systemd/systemd /lib/systemd/systemd | head -1)" \
    --system --unit=none.target --log-target=null --show-status=no
"#;

impl Systemd {
    fn boot() -> Systemd {
        let child = Command::new("unshare")
            .args(["-m", "-p", "-f", "-u", "-i", "-C", "--kill-child", "bash", "-c", BOOT])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let pid = eventually(PATIENCE, "systemd runs", || {
            let pids = fs::read_to_string(&children).ok()?;
            pids.split_whitespace().next().map(str::to_owned)
        });
        let systemd = Systemd { child, pid };
        wait_until(PATIENCE, "systemd answers", || systemd.run("systemctl list-units").0);
        systemd
    }

    /// A shell command inside: whether it succeeds, and what it says.
    fn run(&self, command: &str) -> (bool, String) {
        let mut inside = Command::new("nsenter");
        inside.args(["-t", &self.pid, "-m", "-p", "-u", "-i", "-C", "bash", "-c", command]);
        let output = run(&mut inside, b"");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    #[track_caller]
    fn run_ok(&self, command: &str) -> String {
        let (done, text) = self.run(command);
        assert!(done, "{command}: {text}");
        text
    }

    fn property(&self, unit: &str, name: &str) -> String {
        self.run_ok(&format!("systemctl show {unit} -P {name}")).trim().to_owned()
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A unit of ours for this place, with more lines for its last section but one.
fn unit(name: &str, more: &str) -> String {
    let path = format!("{}/config/systemd/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(path).unwrap();
    text.replace("/usr/local/bin/underpass", "/run/up/underpass")
        .replace("/etc/underpass/", "/run/up/")
        .replace("[Unit]\n", "[Unit]\nDefaultDependencies=no\n")
        .replace("After=network-online.target\nWants=network-online.target\n", "")
        .replace("\n[Install]", &format!("{more}\n[Install]"))
}

#[test]
fn systemd_runs_the_units_as_they_are() {
    let vps = Vps::new();
    let http = free_port(vps.ip);
    let home = naming(vps.ip, "pi");
    let lot = Lot::http("pi", home.address);
    let vps = Vps { server_extra: format!("http_addr = \"{http}\"\n"), ..vps };
    let systemd = Systemd::boot();
    let write = |path: &str, text: &str| {
        let from = vps.dir.write("to-copy", text);
        systemd.run_ok(&format!("mkdir -p /run/up && cat {} > {path}", from.display()));
    };
    write("/run/up/server.toml", &vps.server_file(&lot.server_service()));
    write("/run/up/client.toml", &vps.client_file(&lot.client_service()));
    let program = env!("CARGO_BIN_EXE_underpass");
    systemd.run_ok(&format!("install -m 755 {program} /run/up/underpass"));
    write("/run/systemd/system/underpass-server.service", &unit("underpass-server.service", ""));
    let watched = unit("underpass-client.service", "WatchdogSec=2\n");
    write("/run/systemd/system/underpass-client.service", &watched);
    let socket = format!(
        "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream={http}\nListenStream={}\n\
         BindIPv6Only=ipv6-only\n",
        vps.https
    );
    write("/run/systemd/system/underpass-server.socket", &socket);
    systemd.run_ok("systemctl daemon-reload && systemctl start underpass-server.socket");

    // The first visitor starts it, and waits meanwhile.
    let mut early = crate::http_house::Peer::new(connect(http).unwrap());
    early.say("GET /x HTTP/1.1\r\nHost: nobody.example\r\n\r\n");
    assert_eq!(early.response("GET").status(), 404);
    drop(early);
    assert_eq!(systemd.property("underpass-server", "ActiveState"), "active");
    systemd.run_ok("systemctl start underpass-client");
    let status = |unit: &str, begin: &str| {
        wait_until(PATIENCE, &format!("{unit} is {begin}"), || {
            systemd.property(unit, "StatusText").starts_with(begin)
        });
    };
    status("underpass-client", "1 of 1 services up");
    status("underpass-server", "1 of 1 services online");
    let ask = || {
        let mut visitor = crate::http_house::Peer::new(connect(http).unwrap());
        visitor.get("pi.example.com", "/x").text().to_owned()
    };
    assert_eq!(ask(), "pi /x");
    let user = systemd.run_ok("stat -c %U /proc/$(systemctl show underpass-server -P MainPID)");
    assert_ne!(user.trim(), "root");

    // Over a restart nobody is refused.
    systemd.run_ok("systemctl --no-block restart underpass-server");
    for _ in 0..20 {
        let mut visitor = crate::http_house::Peer::new(connect(http).unwrap());
        let answer = visitor.get("pi.example.com", "/x");
        assert!(matches!(answer.status(), 200 | 503), "{answer:?}");
    }
    status("underpass-server", "1 of 1 services online");
    assert_eq!(systemd.property("underpass-server", "Result"), "success");

    // One that hangs is ended and started anew.
    let pid = systemd.property("underpass-client", "MainPID");
    systemd.run_ok(&format!("kill -STOP {pid}"));
    wait_until(PATIENCE, "the watchdog bites", || {
        systemd.property("underpass-client", "NRestarts") == "1"
    });
    status("underpass-client", "1 of 1 services up");
    assert_eq!(ask(), "pi /x");
    for unit in ["underpass-client.service", "underpass-server.socket underpass-server.service"] {
        systemd.run_ok(&format!("systemctl stop {unit}"));
    }
    assert_eq!(systemd.property("underpass-server", "Result"), "success");
}

/// `notify-reload` is of systemd 253; an older one says so, and keeps to `notify`.
#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let vps = Vps::new();
    let program = env!("CARGO_BIN_EXE_underpass");
    for name in ["underpass-server.service", "underpass-client.service", "underpass-server.socket"]
    {
        let folder = format!("{}/config/systemd", env!("CARGO_MANIFEST_DIR"));
        let text = fs::read_to_string(format!("{folder}/{name}")).unwrap();
        vps.dir.write(name, &text.replace("/usr/local/bin/underpass", program));
    }
    for name in ["underpass-server.service", "underpass-client.service", "underpass-server.socket"]
    {
        let path = vps.dir.path(name);
        let output = run(Command::new("systemd-analyze").arg("verify").arg(&path), b"");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let is_fault = |line: &&str| {
            line.contains("underpass")
                && !line.ends_with("Failed to parse service type, ignoring: notify-reload")
        };
        let faults: Vec<&str> = text.lines().filter(is_fault).collect();
        assert!(output.status.success() && faults.is_empty(), "{name}: {text}");
        if name.ends_with(".service") {
            let mut security = Command::new("systemd-analyze");
            security.args(["security", "--offline=true", "--threshold=20"]).arg(&path);
            let report = run_ok(&mut security);
            assert!(report.contains("Overall exposure level"), "{report}");
        }
    }
}
