//! PROXY headers out and in, and an HTTP proxy's own fields: nginx and HAProxy at home are told who
//! the visitor is, HAProxy in front tells us, and nobody else is believed.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use crate::harness::{PATIENCE, Proc, SECRET, Scratch, free_port, run_ok, wait_until};
use crate::home::Home;
use crate::house::{Vps, server_port};
use crate::http_house::{End, Peer, get, naming};
use crate::pki::{Authority, Certificate};
use crate::visitor::{Seen, client_hello, connect, connect_from, home, look, say};

/// Where these tests' load balancers dial from.
const BALANCER: Ipv4Addr = Ipv4Addr::new(127, 99, 0, 9);

/// Debian keeps servers where only root's PATH leads.
fn program(name: &str) -> Command {
    let debian = Path::new("/usr/sbin").join(name);
    Command::new(if debian.exists() { debian } else { name.into() })
}

fn start_haproxy(name: &str, dir: &Scratch, listeners: &str, up: SocketAddr) -> Proc {
    let file = dir.write(
        &format!("{name}.cfg"),
        &format!(
            "global\n maxconn 4000\ndefaults\n mode tcp\n timeout connect 20s\n \
             timeout client 60s\n timeout server 60s\n{listeners}"
        ),
    );
    let mut command = program("haproxy");
    command.args(["-db", "-f"]).arg(file);
    let haproxy = Proc::start(name, dir, &command);
    wait_until(PATIENCE, "HAProxy listens", || connect(up).is_ok());
    haproxy
}

/// A service of the web entry at both ends, and what its client says to the home.
fn web(name: &str, http: SocketAddr, https: SocketAddr, version: &str) -> (String, String) {
    let head = format!(
        "[server.services.{name}]\ntype = \"web\"\ntoken = \"{SECRET}-{name}\"\n\
         hosts = [\"{name}.example.com\"]\n"
    );
    let client = format!(
        "[client.services.{name}]\ntype = \"web\"\ntoken = \"{SECRET}-{name}\"\n\
         local_http_addr = \"{http}\"\nlocal_https_addr = \"{https}\"\n\
         proxy_protocol = \"{version}\"\n"
    );
    (head, client)
}

fn port_service(name: &str, local: SocketAddr, version: &str) -> String {
    format!(
        "[client.services.{name}]\ntoken = \"{SECRET}-{name}\"\nlocal_addr = \"{local}\"\n\
         proxy_protocol = \"{version}\"\n"
    )
}

/// A server on an IPv4 and an IPv6 address; nginx, told in version 1, and HAProxy, told in version
/// 2, at home. Both write down who came.
struct Told {
    http: [SocketAddr; 2],
    https: [SocketAddr; 2],
    port: [SocketAddr; 2],
    authority: Certificate,
    _nginx: Proc,
    haproxy: Proc,
    _programs: [Proc; 2],
    _homes: [Home; 3],
    vps: Vps,
}

impl Told {
    fn start(server_extra: &str) -> Told {
        let mut vps = Vps::new();
        vps.server_extra = server_extra.into();
        let ip = vps.ip;
        let both = |four: SocketAddr| [four, SocketAddr::from((Ipv6Addr::LOCALHOST, four.port()))];
        let (http, https, port) = (both(free_port(ip)), both(vps.https), both(free_port(ip)));
        let authority = Authority::new(&vps.dir, "ng");
        let certificate = authority.site(&vps.dir, &["ng.example.com"]);
        let [ng_http, ng_https] = [free_port(ip), free_port(ip)];
        let nginx = start_nginx(&vps.dir, ng_http, ng_https, &certificate);
        let homes = [naming(ip, "ha"), Home::named(ip, "ha"), Home::echo(ip)];
        let [ha_http, ha_https, ha_port] = [free_port(ip), free_port(ip), free_port(ip)];
        let mut listeners = String::new();
        for (name, bind, home) in [
            ("http", ha_http, &homes[0]),
            ("https", ha_https, &homes[1]),
            ("port", ha_port, &homes[2]),
        ] {
            listeners += &format!(
                "listen {name}\n bind {bind} accept-proxy\n log stdout format raw local0\n \
                 log-format \"{name} %ci %cp %fi %fp %[fc_pp_authority]\"\n \
                 server home {}\n",
                home.address
            );
        }
        let haproxy = start_haproxy("home-haproxy", &vps.dir, &listeners, ha_http);
        let (ng, ha) = (web("ng", ng_http, ng_https, "v1"), web("ha", ha_http, ha_https, "v2"));
        let ports = server_port("port", port[0])
            .replace(&format!("\"{}\"", port[0]), &format!("[\"{}\", \"{}\"]", port[0], port[1]));
        let file = vps.server_file(&(ng.0 + &ha.0 + &ports)).replacen(
            &format!("https_addr = \"{}\"", https[0]),
            &format!(
                "https_addr = [\"{}\", \"{}\"]\nhttp_addr = [\"{}\", \"{}\"]",
                https[0], https[1], http[0], http[1]
            ),
            1,
        );
        let server = vps.underpass("server", "--server", &file);
        wait_until(PATIENCE, "the server listens", || connect(vps.tunnel).is_ok());
        let client = vps.client("client", &(ng.1 + &ha.1 + &port_service("port", ha_port, "v2")));
        for service in ["ng", "ha", "port"] {
            client.wait_for_log(&[service, "is up"]);
        }
        Told {
            http,
            https,
            port,
            authority: authority.own,
            _nginx: nginx,
            haproxy,
            _programs: [server, client],
            _homes: homes,
            vps,
        }
    }

    /// What each home has written down by now, of visitors alone.
    fn written(&self) -> BTreeSet<String> {
        let nginx = std::fs::read_to_string(self.vps.dir.path("access.log")).unwrap_or_default();
        let log = self.haproxy.log();
        // HAProxy's other lines are about itself.
        let named =
            |line: &&str| ["http ", "https ", "port "].iter().any(|it| line.starts_with(it));
        let haproxy = log.lines().filter(named).map(|line| line.trim_end().trim_end_matches(" -"));
        nginx.lines().chain(haproxy).map(str::to_owned).collect()
    }

    /// Waits until exactly these lines are written.
    #[track_caller]
    fn assert_written(&self, expected: &BTreeSet<String>) {
        let start = std::time::Instant::now();
        while self.written().len() < expected.len() && start.elapsed() < PATIENCE * 3 {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let written = self.written();
        let wrong: Vec<_> = written.symmetric_difference(expected).take(10).collect();
        assert!(wrong.is_empty(), "{} of {}: {wrong:?}", written.len(), expected.len());
    }
}

fn start_nginx(dir: &Scratch, http: SocketAddr, https: SocketAddr, site: &Certificate) -> Proc {
    let (file, key, log) = (site.file.display(), site.key.display(), dir.path("access.log"));
    let conf = dir.write(
        "told-nginx.conf",
        &format!(
            "daemon off; master_process off; pid {log}.pid; error_log stderr warn;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n\
             log_format who '$request_uri $proxy_protocol_addr $proxy_protocol_port \
             $proxy_protocol_server_addr $proxy_protocol_server_port';\n\
             access_log {log} who; default_type text/plain;\n\
             client_body_temp_path {log}.1; proxy_temp_path {log}.2; fastcgi_temp_path {log}.3;\n\
             uwsgi_temp_path {log}.4; scgi_temp_path {log}.5;\n\
             ssl_certificate {file}; ssl_certificate_key {key};\n\
             server {{ listen {http} proxy_protocol; listen {https} ssl proxy_protocol;\n\
             location / {{ return 200 \"ng $http_x_forwarded_for\\n\"; }}\n\
             location /fields {{ return 200 \"$http_x_forwarded_for|$http_x_forwarded_proto|\
             $http_x_real_ip|$http_forwarded\"; }} }}\n}}\n",
            log = log.display(),
        ),
    );
    let mut command = program("nginx");
    command.args(["-e", "stderr", "-c"]).arg(conf);
    let nginx = Proc::start("told-nginx", dir, &command);
    wait_until(PATIENCE, "nginx listens", || connect(https).is_ok());
    nginx
}

/// A visitor of one of two doors, from a source of its own where there are many, and its ends.
fn visit(number: usize, doors: [SocketAddr; 2], six: bool) -> (TcpStream, String) {
    let stream = match six {
        true => connect(doors[1]).unwrap(),
        false => connect_from(source(number), doors[0]).unwrap(),
    };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let ends = ends_of(&stream);
    (stream, ends)
}

fn source(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 98, (number / 250) as u8, 1 + (number % 250) as u8)
}

/// `address port` of both ends, the visitor's first.
fn ends(from: SocketAddr, to: SocketAddr) -> String {
    format!("{} {} {} {}", from.ip(), from.port(), to.ip(), to.port())
}

fn ends_of(stream: &TcpStream) -> String {
    ends(stream.local_addr().unwrap(), stream.peer_addr().unwrap())
}

#[test]
fn a_thousand_visitors_are_each_known_at_home() {
    let it = Told::start("");
    let mut expected = BTreeSet::new();
    for number in 0..1000 {
        // One in five of each kind is an IPv6 visitor.
        let six = number / 5 % 5 == 4;
        let line = match number % 5 {
            0 => {
                let (stream, ends) = visit(number, it.http, six);
                let mut visitor = Peer::new(stream);
                let answer = visitor.get("ng.example.com", &format!("/{number}"));
                // The same address in HTTP's own words.
                let from = visitor.stream.local_addr().unwrap().ip();
                assert_eq!(answer.text(), format!("ng {from}\n"));
                format!("/{number} {}", ends)
            }
            1 => {
                let door = it.https[usize::from(six)];
                let source = if six { "::1".into() } else { source(number).to_string() };
                let seen = run_ok(
                    Command::new("curl")
                        .args(["-q", "-sS", "--noproxy", "*", "--max-time", "60", "--cacert"])
                        .arg(&it.authority.file)
                        .args(["--interface", &source, "--connect-to"])
                        .arg(format!("::{}:{}", bracketed(door.ip()), door.port()))
                        .args(["-o", "/dev/null", "-w", "%{http_code} %{local_ip} %{local_port}"])
                        .arg(format!("https://ng.example.com/{number}")),
                );
                let [status, ip, port] = seen.split(' ').collect::<Vec<_>>()[..] else {
                    panic!("{seen}");
                };
                assert_eq!((status, ip), ("200", source.as_str()), "{seen}");
                let from = SocketAddr::new(ip.parse().unwrap(), port.parse().unwrap());
                format!("/{number} {}", ends(from, door))
            }
            2 => {
                let (stream, ends) = visit(number, it.http, six);
                let mut visitor = Peer::new(stream);
                assert_eq!(visitor.get("ha.example.com", "/").text(), "ha /");
                format!("http {} ha.example.com", ends)
            }
            3 => {
                let (mut stream, ends) = visit(number, it.https, six);
                // The name is told as it is routed.
                stream.write_all(&client_hello(Some("HA.example.COM"))).unwrap();
                assert_eq!(look(&mut stream), home("ha"));
                format!("https {} ha.example.com", ends)
            }
            _ => {
                let (mut stream, ends) = visit(number, it.port, six);
                stream.write_all(b"echo me").unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                let mut back = String::new();
                stream.read_to_string(&mut back).unwrap();
                assert_eq!(back, "echo me", "the header is not the visitor's");
                format!("port {}", ends)
            }
        };
        assert!(expected.insert(line));
    }
    assert_eq!(expected.len(), 1000);
    it.assert_written(&expected);
}

fn bracketed(ip: IpAddr) -> String {
    if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() }
}

/// The header of version 2 is told byte by byte where no program at hand shows its ALPN.
#[test]
fn the_first_protocol_that_a_hello_offers_is_told() {
    let vps = Vps::new();
    let (there, connections) = Home::by_hand(vps.ip);
    let service = crate::house::client_service("pi", there.address) + "proxy_protocol = \"v2\"\n";
    let _server = vps.server(&crate::house::server_service("pi", &["pi.example.com"]));
    let _client = vps.client_ready("client", &service);
    let mut visitor = Command::new("openssl");
    visitor.args(["s_client", "-connect", &vps.https.to_string(), "-servername"]);
    visitor.args(["pi.example.com", "-alpn", "acme-tls/1,h2"]);
    visitor.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
    let mut visitor = visitor.stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut stream = connections.next();
    let mut header = vec![0; 16 + 12 + 3 + 10 + 3 + 14];
    stream.read_exact(&mut header).unwrap();
    let mut hello = [0; 3];
    stream.read_exact(&mut hello).unwrap();
    visitor.kill().unwrap();
    visitor.wait().unwrap();
    assert_eq!(header[..16], *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x2a");
    assert_eq!(header[16..24], [[127, 0, 0, 1], vps.ip.octets()].concat());
    assert_eq!(header[26..28], vps.https.port().to_be_bytes());
    assert_eq!(header[28..], *b"\x01\0\x0aacme-tls/1\x02\0\x0epi.example.com");
    assert_eq!(hello[..2], [0x16, 3]);
}

/// HAProxy in front, in either version, and again at home: what comes out is what came in.
#[test]
fn behind_a_load_balancer_the_visitor_is_who_it_says() {
    let it = Told::start(&format!("trusted_proxies = [\"{BALANCER}/32\"]\n"));
    let ip = it.vps.ip;
    let mut expected = BTreeSet::new();
    for send in ["send-proxy", "send-proxy-v2"] {
        let both = |four: SocketAddr| [four, SocketAddr::from((Ipv6Addr::LOCALHOST, four.port()))];
        let doors = [(); 3].map(|()| both(free_port(ip)));
        let targets = [it.http[0], it.https[0], it.port[0]];
        let mut listeners = String::new();
        for (number, (door, target)) in doors.iter().zip(targets).enumerate() {
            listeners += &format!(
                "listen lb{number}\n bind {}\n bind {}\n server vps {target} {send} \
                 source {BALANCER}\n",
                door[0], door[1]
            );
        }
        let _balancer = start_haproxy(send, &it.vps.dir, &listeners, doors[0][0]);
        for number in 0..60 {
            let six = number % 2 == 1;
            let line = match number % 3 {
                0 => {
                    let (stream, ends) = visit(number, doors[0], six);
                    let mut visitor = Peer::new(stream);
                    // Two requests: the header speaks for the connection.
                    for _ in 0..2 {
                        let answer = visitor.get("ng.example.com", &format!("/{send}-{number}"));
                        let from = visitor.stream.local_addr().unwrap().ip();
                        assert_eq!(answer.text(), format!("ng {from}\n"));
                    }
                    format!("/{send}-{number} {}", ends)
                }
                1 => {
                    let (mut stream, ends) = visit(number, doors[1], six);
                    stream.write_all(&client_hello(Some("ha.example.com"))).unwrap();
                    assert_eq!(look(&mut stream), home("ha"));
                    format!("https {} ha.example.com", ends)
                }
                _ => {
                    let (mut stream, ends) = visit(number, doors[2], six);
                    stream.write_all(b"echo me").unwrap();
                    stream.shutdown(Shutdown::Write).unwrap();
                    let mut back = String::new();
                    stream.read_to_string(&mut back).unwrap();
                    assert_eq!(back, "echo me");
                    format!("port {}", ends)
                }
            };
            assert!(expected.insert(line));
        }
    }
    it.assert_written(&expected);
}

#[test]
fn trusted_proxies_must_say_it_and_nobody_else_is_believed() {
    let it = Told::start(&format!("trusted_proxies = [\"{BALANCER}/32\"]\n"));
    let v1 = b"PROXY TCP4 192.0.2.7 203.0.113.1 50000 443\r\n".to_vec();
    let v2 =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xcb\0\x71\x01\xc3\x50\x01\xbb".to_vec();
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec();
    let hello = client_hello(Some("ha.example.com"));
    let request = get("ng.example.com", "/believed");
    let from_balancer = |to: SocketAddr, bytes: &[u8]| {
        let mut stream = connect_from(BALANCER, to).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    };

    // Trusted, without a header: refused at every door, on the first byte.
    for to in [it.http[0], it.https[0], it.port[0]] {
        for bytes in [&b"G"[..], &hello, request.as_bytes(), b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0"] {
            // Over HTTP it may be a check, which has none.
            if to == it.http[0] && bytes == b"G" {
                continue;
            }
            assert_eq!(look(&mut from_balancer(to, bytes)), Seen::Reset);
        }
    }
    let mut expected = BTreeSet::new();
    // With one: who it says; by itself, or unknown: the connection's own addresses.
    for header in [&v1, &v2] {
        let mut stream = from_balancer(it.https[0], &[&header[..], &hello].concat());
        assert_eq!(look(&mut stream), home("ha"));
    }
    expected.insert("https 192.0.2.7 50000 203.0.113.1 443 ha.example.com".to_owned());
    for header in [&local[..], b"PROXY UNKNOWN\r\n"] {
        let mut stream = from_balancer(it.https[0], &[header, &hello].concat());
        let ends = ends_of(&stream);
        assert_eq!(look(&mut stream), home("ha"));
        expected.insert(format!("https {ends} ha.example.com"));
    }
    // Cut at every byte.
    let whole = [&v2[..], request.as_bytes()].concat();
    let mut peers: Vec<_> = (1..v2.len() + 2)
        .map(|cut| (cut, Peer::new(from_balancer(it.http[0], &whole[..cut]))))
        .collect();
    for (cut, peer) in &mut peers {
        peer.say(&whole[*cut..]);
        assert_eq!(peer.response("GET").text(), "ng 192.0.2.7\n", "cut at {cut}");
    }
    expected.insert("/believed 192.0.2.7 50000 203.0.113.1 443".to_owned());

    // Who is named speaks for itself, and says nothing that is believed of itself.
    let forged = get("ng.example.com", "/fields").replacen(
        "\r\n",
        "\r\nX-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n",
        1,
    );
    let mut named = Peer::new(from_balancer(it.http[0], &[&v1[..], forged.as_bytes()].concat()));
    assert_eq!(named.response("GET").text(), "192.0.2.7|http|192.0.2.7|");
    expected.insert("/fields 192.0.2.7 50000 203.0.113.1 443".to_owned());

    // From anybody else: not TLS, not HTTP, or the bytes of who knows what protocol.
    let refused = Seen::Home("HTTP/1.1 400 Bad Request\r".into());
    assert_eq!(say(it.https[0], &[&v1[..], &hello].concat()), refused);
    assert_eq!(say(it.https[0], &[&v2[..], &hello].concat()), Seen::Closed);
    for header in [&v1, &v2] {
        assert_eq!(say(it.http[0], &[&header[..], request.as_bytes()].concat()), refused);
        let mut stream = connect(it.port[0]).unwrap();
        let ends = ends_of(&stream);
        stream.write_all(header).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let (back, end) = Peer::new(stream).rest();
        assert_eq!((back, end), (header.clone(), End::Fin), "bytes like any others");
        expected.insert(format!("port {ends}"));
    }
    drop(peers);
    it.assert_written(&expected);
}

/// HAProxy that has ended TLS in front, without PROXY headers: its fields are kept, in each form.
#[test]
fn the_fields_of_a_trusted_http_proxy_are_kept_and_nobody_elses() {
    let it =
        Told::start(&format!("trusted_http_proxies = [\"{BALANCER}\"]\nforwarded = \"both\"\n"));
    let door = free_port(it.vps.ip);
    let listener = format!(
        "listen lb\n mode http\n bind {door}\n option forwardfor\n \
         http-request set-header X-Forwarded-Proto https\n \
         http-request set-header Forwarded for=%[src];proto=https\n \
         server vps {} source {BALANCER}\n",
        it.http[0]
    );
    let _balancer = start_haproxy("http-haproxy", &it.vps.dir, &listener, door);
    let forged = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: gopher\r\n\
                  Forwarded: for=6.6.6.6\r\n";
    let request = get("ng.example.com", "/fields").replacen("\r\n", &format!("\r\n{forged}"), 1);
    let ask = |stream: TcpStream| {
        let mut visitor = Peer::new(stream);
        visitor.say(&request);
        visitor.response("GET").text().to_owned()
    };
    let ours = "host=ng.example.com;proto=http";
    for number in 0..20 {
        let from = source(number);
        // Through it: what it says behind what was forged, and itself.
        assert_eq!(
            ask(connect_from(from, door).unwrap()),
            format!(
                "6.6.6.6, {from}, {BALANCER}|https|{from}|for={from};proto=https, \
                 for={BALANCER};{ours}"
            )
        );
        // Past it.
        assert_eq!(
            ask(connect_from(from, it.http[0]).unwrap()),
            format!("{from}|http|{from}|for={from};{ours}")
        );
    }
    assert_eq!(ask(connect(it.http[1]).unwrap()), format!("::1|http|::1|for=\"[::1]\";{ours}"));
}
