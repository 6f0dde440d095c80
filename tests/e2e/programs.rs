//! What people run at home beside web servers, as it is: real servers of Debian behind ports of
//! their own, and real clients that do not know of the tunnel. Where Debian has no server, or no
//! client that runs without a screen, that side is spoken by hand.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::{
    PATIENCE, Proc, SECRET, Scratch, eventually, free_port, free_ports, own_address, run, run_ok,
    wait_until,
};
use crate::home::Home;
use crate::house::Vps;
use crate::pki::Authority;
use crate::visitor::{INTERNAL_ERROR, Seen, connect, visit};

/// A server and a client with these services: a name, `tcp` or `udp`, the visitors' port and the
/// home's.
struct Tunnel {
    _programs: [Proc; 2],
    _vps: Vps,
}

impl Tunnel {
    fn start(vps: Vps, services: &[(&str, &str, SocketAddr, SocketAddr)]) -> Tunnel {
        let side = |role: &str, key: &str| {
            let table = |(name, kind, here, there): &(&str, &str, SocketAddr, SocketAddr)| {
                let address = if role == "server" { here } else { there };
                format!(
                    "[{role}.services.{name}]\ntype = \"{kind}\"\ntoken = \"{SECRET}-{name}\"\n\
                     {key} = \"{address}\"\n"
                )
            };
            services.iter().map(table).collect::<String>()
        };
        let server = vps.server(&side("server", "bind_addr"));
        let client = vps.client_ready("client", &side("client", "local_addr"));
        Tunnel { _programs: [server, client], _vps: vps }
    }

    /// One TCP service.
    fn tcp(name: &str, home: SocketAddr) -> (Tunnel, SocketAddr) {
        let vps = Vps::new();
        let port = free_port(vps.ip);
        (Tunnel::start(vps, &[(name, "tcp", port, home)]), port)
    }

    /// One UDP service.
    fn udp(name: &str, home: SocketAddr) -> (Tunnel, SocketAddr) {
        let vps = Vps::new();
        let port = free_port(vps.ip);
        (Tunnel::start(vps, &[(name, "udp", port, home)]), port)
    }
}

/// A program of Debian's, which keeps servers where only root's PATH leads.
fn program(name: &str) -> Command {
    let places = ["/usr/sbin", "/usr/games", "/usr/bin"].map(|folder| Path::new(folder).join(name));
    let found = places.into_iter().find(|place| place.exists());
    Command::new(found.unwrap_or_else(|| name.into()))
}

/// Starts a server and waits until its port is open.
#[track_caller]
fn serve(dir: &Scratch, name: &str, command: &Command, address: SocketAddr) -> Proc {
    let server = Proc::start(name, dir, command);
    wait_until(PATIENCE, name, || connect(address).is_ok());
    server
}

/// Control on one port, each file on another of a range that the server names to its client.
#[test]
fn ftp_is_served_with_passive_data_ports() {
    let dir = Scratch::new();
    let vps = Vps::new();
    let (here, there) = (free_ports::<4>(vps.ip), own_address());
    let at_home = here.map(|address| SocketAddr::from((there, address.port())));
    let files = dir.path("files");
    fs::create_dir_all(&files).unwrap();
    let content: Vec<u8> = (0..300_000u32).map(|n| (n.wrapping_mul(n) >> 3) as u8).collect();
    fs::write(files.join("file.bin"), &content).unwrap();
    let empty = dir.path("empty");
    fs::create_dir_all(&empty).unwrap();
    let conf = dir.write(
        "vsftpd.conf",
        &format!(
            "listen=YES\nlisten_address={there}\nlisten_port={}\nbackground=NO\n\
             anonymous_enable=YES\nno_anon_password=YES\nanon_root={}\npasv_address={}\n\
             pasv_min_port={}\npasv_max_port={}\npasv_promiscuous=YES\nseccomp_sandbox=NO\n\
             secure_chroot_dir={}\npam_service_name=vsftpd\n",
            here[0].port(),
            files.display(),
            vps.ip,
            here[1].port(),
            here[3].port(),
            empty.display()
        ),
    );
    let _ftp = serve(&dir, "vsftpd", program("vsftpd").arg(conf), at_home[0]);
    let services: Vec<_> =
        ["control", "data1", "data2", "data3"].into_iter().zip(here).zip(at_home).collect();
    let services: Vec<_> =
        services.into_iter().map(|((name, here), there)| (name, "tcp", here, there)).collect();
    let _it = Tunnel::start(vps, &services);
    for _ in 0..3 {
        let got = dir.path("got.bin");
        run_ok(
            Command::new("curl")
                .args(["-q", "-sS", "--max-time", "30", "--disable-epsv", "--no-ftp-skip-pasv-ip"])
                .arg(format!("ftp://{}/file.bin", here[0]))
                .arg("-o")
                .arg(&got),
        );
        assert_eq!(fs::read(got).unwrap(), content);
    }
}

/// The server speaks first, and both negotiate in bytes of their own.
#[test]
fn telnet_is_served() {
    let home = Home::start(own_address(), |stream| {
        let stdio = || Stdio::from(std::os::fd::OwnedFd::from(stream.try_clone().unwrap()));
        let mut telnetd = program("telnetd");
        telnetd.args(["-h", "-E", "/bin/sh"]).stdin(stdio()).stdout(stdio()).stderr(Stdio::null());
        let _ = telnetd.status();
    });
    let (_it, port) = Tunnel::tcp("telnet", home.address);
    let mut telnet = Command::new("telnet")
        .args([port.ip().to_string(), port.port().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = telnet.stdin.take().unwrap();
    let mut output = telnet.stdout.take().unwrap();
    let mut heard = Vec::new();
    let mut until = |wanted: &str| {
        let mut byte = [0];
        while !String::from_utf8_lossy(&heard).contains(wanted) {
            assert_eq!(output.read(&mut byte).unwrap(), 1, "{}", heard.escape_ascii());
            heard.push(byte[0]);
        }
    };
    until("# ");
    input.write_all(b"echo I am $((6*7))\n").unwrap();
    until("I am 42");
    input.write_all(b"exit\n").unwrap();
    drop(input);
    telnet.wait().unwrap();
}

#[test]
fn smtp_is_served() {
    let dir = Scratch::new();
    let address = free_port(own_address());
    let mut smtpd = Command::new("/usr/bin/python3");
    smtpd.args(["-W", "ignore", "-u", "-m", "smtpd", "-n", "-c", "DebuggingServer"]);
    smtpd.arg(address.to_string());
    let smtpd = serve(&dir, "smtpd", &smtpd, address);
    let (_it, port) = Tunnel::tcp("smtp", address);
    let said = run_ok(
        Command::new("swaks")
            .args(["--to", "pi@example.com", "--from", "visitor@example.com"])
            .args(["--server", &port.ip().to_string(), "--port", &port.port().to_string()])
            .args(["--helo", "visitor.example.com", "--body", "sent through the tunnel"]),
    );
    assert!(said.contains("221"), "{said}");
    smtpd.wait_for_log(&["sent through the tunnel"]);
}

#[test]
fn mysql_is_served() {
    let dir = Scratch::new();
    let address = free_port(own_address());
    let data = dir.path("mysql");
    fs::create_dir_all(&data).unwrap();
    run_ok(
        program("mariadb-install-db")
            .args(["--no-defaults", "--user=root", "--skip-test-db"])
            .arg("--auth-root-authentication-method=normal")
            .arg(format!("--datadir={}", data.display())),
    );
    let mut mariadbd = program("mariadbd");
    mariadbd.args(["--no-defaults", "--user=root", "--skip-name-resolve", "--skip-grant-tables"]);
    mariadbd.arg("--skip-networking=0");
    mariadbd.arg(format!("--datadir={}", data.display()));
    mariadbd.arg(format!("--socket={}", data.join("s").display()));
    mariadbd.arg(format!("--bind-address={}", address.ip()));
    mariadbd.arg(format!("--port={}", address.port()));
    let _mariadbd = serve(&dir, "mariadbd", &mariadbd, address);
    let (_it, port) = Tunnel::tcp("mysql", address);
    let mut mariadb = Command::new("mariadb");
    mariadb.args(["--no-defaults", "-u", "root", "-N", "-h", &port.ip().to_string()]);
    mariadb.args(["-P", &port.port().to_string(), "-e"]);
    mariadb.arg("select 6 * 7; select repeat('x', 1000000);");
    let said = run_ok(&mut mariadb);
    assert!(said.starts_with("42\n") && said.len() > 1_000_000, "{} bytes", said.len());
}

/// Remote Desktop: xrdp, and the first words of its client ([MS-RDPBCGR] 2.2.1.1), since a real
/// one needs a screen.
#[test]
fn rdp_is_served() {
    let dir = Scratch::new();
    let address = free_port(own_address());
    let ini = fs::read_to_string("/etc/xrdp/xrdp.ini").unwrap();
    let lines = ini.lines().map(|line| match line.split_once('=') {
        Some(("port", "3389")) => format!("port=tcp://{address}"),
        Some(("LogFile", _)) => format!("LogFile={}", dir.path("xrdp-own.log").display()),
        _ => line.to_owned(),
    });
    let ini = dir.write("xrdp.ini", &lines.collect::<Vec<_>>().join("\n"));
    let mut xrdp = program("xrdp");
    xrdp.args(["--nodaemon", "--config"]).arg(ini);
    let _xrdp = serve(&dir, "xrdp", &xrdp, address);
    let (_it, port) = Tunnel::tcp("rdp", address);
    let mut visitor = connect(port).unwrap();
    visitor.set_read_timeout(Some(PATIENCE)).unwrap();
    // TPKT, X.224 Connection Request, RDP_NEG_REQ for TLS.
    let request = b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x01\0\0\0";
    visitor.write_all(request).unwrap();
    let mut answer = [0; 19];
    visitor.read_exact(&mut answer).unwrap();
    // TPKT, Connection Confirm, RDP_NEG_RSP or RDP_NEG_FAILURE.
    assert_eq!((answer[0], answer[5]), (3, 0xd0), "{}", answer.escape_ascii());
    assert!([2, 3].contains(&answer[11]), "{}", answer.escape_ascii());
}

/// Debian has no server: the status that a client's list of servers asks for, by hand on both
/// sides.
#[test]
fn minecraft_is_served() {
    const STATUS: &str = "{\"version\":{\"name\":\"1.21\",\"protocol\":767}}";
    let home = Home::start(own_address(), |mut stream| {
        let handshake = read_packet(&mut stream);
        assert_eq!(handshake[0], 0);
        assert!(handshake.windows(14).any(|it| it == b"mc.example.com"));
        assert_eq!(read_packet(&mut stream), [0], "a status request");
        let json = [&[0, STATUS.len() as u8], STATUS.as_bytes()].concat();
        write_packet(&mut stream, &json);
        let ping = read_packet(&mut stream);
        write_packet(&mut stream, &ping);
    });
    let (_it, port) = Tunnel::tcp("minecraft", home.address);
    let mut visitor = connect(port).unwrap();
    visitor.set_read_timeout(Some(PATIENCE)).unwrap();
    // Protocol 767, the name, the port, "status next".
    let handshake = [&b"\0\xff\x05\x0emc.example.com\x63\xdd\x01"[..]].concat();
    write_packet(&mut visitor, &handshake);
    write_packet(&mut visitor, &[0]);
    assert!(read_packet(&mut visitor).ends_with(STATUS.as_bytes()));
    write_packet(&mut visitor, b"\x0112345678");
    assert_eq!(read_packet(&mut visitor), b"\x0112345678");
}

/// A length of one byte, and so many bytes.
fn read_packet(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0];
    stream.read_exact(&mut length).unwrap();
    let mut packet = vec![0; usize::from(length[0])];
    stream.read_exact(&mut packet).unwrap();
    packet
}

fn write_packet(stream: &mut TcpStream, packet: &[u8]) {
    stream.write_all(&[&[packet.len() as u8], packet].concat()).unwrap();
}

/// curl as the camera's client; the camera by hand.
#[test]
fn rtsp_is_served() {
    let home = Home::start(own_address(), |mut stream| {
        let mut request = Vec::new();
        let mut byte = [0];
        while stream.read(&mut byte).is_ok_and(|read| read == 1) {
            request.push(byte[0]);
            if request.ends_with(b"\r\n\r\n") {
                let text = String::from_utf8_lossy(&request).into_owned();
                assert!(text.starts_with("OPTIONS "), "{text}");
                let sequence = text.lines().find(|line| line.starts_with("CSeq:")).unwrap();
                let answer =
                    format!("RTSP/1.0 200 OK\r\n{sequence}\r\nPublic: DESCRIBE, PLAY\r\n\r\n");
                stream.write_all(answer.as_bytes()).unwrap();
                request.clear();
            }
        }
    });
    let (_it, port) = Tunnel::tcp("rtsp", home.address);
    let mut curl = Command::new("curl");
    curl.args(["-q", "-sS", "--max-time", "20", "-i"]).arg(format!("rtsp://{port}/camera"));
    let said = run_ok(&mut curl);
    assert!(said.contains("RTSP/1.0 200 OK") && said.contains("DESCRIBE"), "{said}");
}

#[test]
fn dns_is_served() {
    let dir = Scratch::new();
    let address = free_port(own_address());
    let mut dnsmasq = program("dnsmasq");
    dnsmasq.args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"]);
    dnsmasq.args(["--bind-interfaces", "--user=root", "--pid-file="]);
    dnsmasq.arg(format!("--listen-address={}", address.ip()));
    dnsmasq.arg(format!("--port={}", address.port()));
    dnsmasq.arg("--address=/pi.example.com/192.0.2.7");
    let _dnsmasq = serve(&dir, "dnsmasq", &dnsmasq, address);
    let (_it, port) = Tunnel::udp("dns", address);
    let mut dig = Command::new("dig");
    dig.args([&format!("@{}", port.ip()), "-p", &port.port().to_string()]);
    dig.args(["+short", "+tries=10", "+timeout=2", "pi.example.com", "A"]);
    assert_eq!(run_ok(&mut dig), "192.0.2.7\n");
}

/// A game of Debian's: the server is found and tells its name, as to the list of servers.
#[test]
fn teeworlds_is_served() {
    let dir = Scratch::new();
    let address = free_port(own_address());
    let mut teeworlds = program("teeworlds-server");
    teeworlds.arg(format!("bindaddr {}", address.ip()));
    teeworlds.arg(format!("sv_port {}", address.port()));
    teeworlds.args(["sv_name underpass-home", "sv_register 0"]);
    let teeworlds = Proc::start("teeworlds", &dir, &teeworlds);
    teeworlds.wait_for_log(&["server name is", "underpass-home"]);
    let (_it, port) = Tunnel::udp("teeworlds", address);
    let visitor = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    visitor.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let ask = |what: &[u8], is_answer: &dyn Fn(&[u8]) -> bool| {
        eventually(PATIENCE, "an answer", || {
            visitor.send_to(what, port).unwrap();
            let mut answer = [0; 2048];
            let length = visitor.recv(&mut answer).ok()?;
            Some(answer[..length].to_vec()).filter(|answer| is_answer(answer))
        })
    };
    // A token for a token, so that no address can be forged; then the question.
    let mine = b"\x11\x22\x33\x44";
    let hello = [&b"\x04\0\0\xff\xff\xff\xff\x05"[..], mine, &[0; 508]].concat();
    let answer = ask(&hello, &|answer| answer.len() >= 12 && answer[3..7] == mine[..]);
    let question = [b"\x21", &answer[8..12], mine, b"\xff\xff\xff\xffgie3\x01"].concat();
    let answer = ask(&question, &|answer| answer.windows(4).any(|four| four == b"inf3"));
    assert!(answer.windows(14).any(|it| it == b"underpass-home"), "{}", answer.escape_ascii());
}

/// Two WireGuard peers in network namespaces of their own, one of which reaches the other by the
/// tunnel alone.
#[test]
fn wireguard_is_served() {
    let dir = Scratch::new();
    let vps = Vps::new();
    let (here, there) = (free_port(vps.ip), free_port(Ipv4Addr::LOCALHOST));
    let mark = std::process::id();
    let names = ["h", "v"].map(|side| format!("up{side}{}", mark % 100_000));
    let keys = [0, 1].map(|_| {
        let private = run_ok(Command::new("wg").arg("genkey"));
        let public = run(Command::new("wg").arg("pubkey"), private.as_bytes());
        (private, String::from_utf8(public.stdout).unwrap().trim().to_owned())
    });
    let ip = |args: &[&str]| run_ok(Command::new("ip").args(args));
    let mut sides = Vec::new();
    for (number, name) in names.iter().enumerate() {
        ip(&["netns", "add", name]);
        let mut wireguard = Command::new("wireguard-go");
        wireguard.args(["--foreground", name]).env("LOG_LEVEL", "error");
        sides.push(Namespace { name: name.clone(), _peer: Proc::start(name, &dir, &wireguard) });
        // Its UDP socket stays where it was started.
        wait_until(PATIENCE, "WireGuard's device", || {
            run(Command::new("wg").args(["show", name]), b"").status.success()
        });
        let private = dir.write(&format!("{name}.key"), &keys[number].0);
        let mut wg = Command::new("wg");
        wg.args(["set", name, "private-key"]).arg(private);
        if number == 0 {
            wg.args(["listen-port", &there.port().to_string()]);
        }
        wg.args(["peer", &keys[1 - number].1, "allowed-ips", "10.77.0.0/24"]);
        if number == 1 {
            wg.args(["endpoint", &here.to_string()]);
        }
        run_ok(&mut wg);
        ip(&["link", "set", name, "netns", name]);
        let address = format!("10.77.0.{}/24", number + 1);
        ip(&["-n", name, "address", "add", &address, "dev", name]);
        ip(&["-n", name, "link", "set", name, "up"]);
    }
    let _it = Tunnel::start(vps, &[("wireguard", "udp", here, there)]);
    dir.write("page", "through WireGuard");
    let mut web = Command::new("ip");
    web.args(["netns", "exec", &names[0], "/usr/bin/python3", "-m", "http.server", "8080"]);
    web.arg("--bind").arg("10.77.0.1").arg("--directory").arg(dir.path(""));
    let _web = Proc::start("web", &dir, &web);
    let page = eventually(PATIENCE, "a page through WireGuard", || {
        let mut curl = Command::new("ip");
        curl.args(["netns", "exec", &names[1], "curl", "-q", "-sS", "--max-time", "5"]);
        let output = run(curl.arg("http://10.77.0.1:8080/page"), b"");
        output.status.success().then_some(output.stdout)
    });
    assert_eq!(page, b"through WireGuard");
}

/// Goes with the test.
struct Namespace {
    name: String,
    _peer: Proc,
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = run(Command::new("ip").args(["netns", "del", &self.name]), b"");
    }
}

/// libpq asks in the clear before it speaks TLS; openssl speaks it at once, as newer libpq does.
#[test]
fn postgres_is_routed_by_the_name_of_its_tls() {
    let vps = Vps::new();
    let authority = Authority::new(&vps.dir, "pg");
    let clear = Home::start(own_address(), |mut stream| {
        if stream.read_exact(&mut [0; 8]).is_ok() {
            let _ = stream.write_all(b"N");
        }
    });
    let mut homes = Vec::new();
    let (mut server, mut client) = (String::new(), String::new());
    for name in ["one", "two", "clear"] {
        let address = match name {
            "clear" => clear.address,
            _ => free_port(own_address()),
        };
        if name != "clear" {
            let certificate = authority.site(&vps.dir, &[&format!("{name}.example.com")]);
            homes.push(start_postgres(&vps.dir, name, address, &certificate));
        }
        server += &format!(
            "[server.services.{name}]\ntype = \"https\"\ntoken = \"{SECRET}-{name}\"\n\
             hosts = [\"{name}.example.com\"]\npostgres = true\n"
        );
        client += &format!(
            "[client.services.{name}]\ntype = \"https\"\ntoken = \"{SECRET}-{name}\"\n\
             local_addr = \"{address}\"\n"
        );
    }
    let server = vps.server(&server);
    let client = vps.client_ready("client", &client);
    for name in ["one", "two", "clear"] {
        client.wait_for_log(&[&format!("service {name} is up")]);
    }
    let ask = |name: &str, mode: &str| {
        let at = vps.https;
        let address = format!(
            "host={name}.example.com hostaddr={} port={} user=postgres dbname=postgres \
             sslmode={mode} connect_timeout=20 sslrootcert={}",
            at.ip(),
            at.port(),
            authority.own.file.display()
        );
        let sql = "select current_setting('cluster_name') || ' ' || ssl from pg_stat_ssl \
                   where pid = pg_backend_pid()";
        run(Command::new("psql").arg(address).args(["-X", "-A", "-t", "-c", sql]), b"")
    };
    for name in ["one", "two"] {
        for mode in ["require", "verify-full"] {
            let said = ask(name, mode);
            let errors = String::from_utf8_lossy(&said.stderr);
            let row = String::from_utf8_lossy(&said.stdout);
            assert_eq!(row, format!("{name} true\n"), "{mode}: {errors}");
        }
    }
    // A home without TLS is told of.
    assert!(!ask("clear", "require").status.success());
    server.wait_for_log(&["home clear", "does not take TLS"]);
    // A name that nobody has, and one of a service that speaks no PostgreSQL.
    for name in ["nobody", "ready"] {
        assert!(!ask(name, "require").status.success(), "{name}");
    }
    // At once.
    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-connect", &vps.https.to_string()]);
    openssl.args(["-servername", "one.example.com", "-alpn", "postgresql", "-CAfile"]);
    openssl.arg(&authority.own.file).args(["-verify_return_error", "-brief"]);
    let said = run(&mut openssl, b"");
    let errors = String::from_utf8_lossy(&said.stderr);
    assert!(errors.contains("CONNECTION ESTABLISHED"), "{errors}");
    // TLS visitors of others are served as ever, and a home without TLS is said to be one.
    assert_eq!(visit(vps.https, "ready.test"), crate::visitor::home("ready"));
    assert_eq!(visit(vps.https, "nobody.test"), Seen::Alert(crate::visitor::UNRECOGNIZED_NAME));
    assert_ne!(visit(vps.https, "one.example.com"), Seen::Alert(INTERNAL_ERROR));
    drop(homes.remove(1));
    assert!(!ask("two", "require").status.success());
    drop(server);
}

/// Without the option, PostgreSQL's question is no TLS, as ever.
#[test]
fn postgres_is_not_answered_where_nobody_asked_for_it() {
    let vps = Vps::new();
    let _server = vps.server("");
    assert_eq!(crate::visitor::say(vps.https, b"\0\0\0\x08\x04\xd2\x16\x2f"), Seen::Closed);
}

fn start_postgres(
    dir: &Scratch,
    name: &str,
    address: SocketAddr,
    certificate: &crate::pki::Certificate,
) -> Proc {
    let data = dir.path(&format!("{name}-data"));
    fs::create_dir_all(&data).unwrap();
    // It refuses to run as root.
    let as_user = |program: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]);
        let bin = fs::read_dir("/usr/lib/postgresql").unwrap().next().unwrap().unwrap().path();
        command.arg(bin.join("bin").join(program));
        command
    };
    let own = |path: &Path| run_ok(Command::new("chown").args(["-R", "postgres"]).arg(path));
    own(&data);
    for parent in data.ancestors().skip(1).take(2) {
        run_ok(Command::new("chmod").arg("a+x").arg(parent));
    }
    let mut initdb = as_user("initdb");
    initdb.args(["-A", "trust", "-U", "postgres", "--no-locale", "-E", "UTF8", "-N", "-D"]);
    run_ok(initdb.arg(&data));
    fs::copy(&certificate.file, data.join("server.crt")).unwrap();
    fs::copy(&certificate.key, data.join("server.key")).unwrap();
    run_ok(Command::new("chmod").arg("600").arg(data.join("server.key")));
    own(&data);
    let mut postgres = as_user("postgres");
    postgres.arg("-D").arg(&data).arg("-k").arg(&data);
    postgres.args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()]);
    postgres.args(["-c", "ssl=on", "-c", "fsync=off", "-c", &format!("cluster_name={name}")]);
    serve(dir, name, &postgres, address)
}
