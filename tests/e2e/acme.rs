//! P15: homes get their certificates from a CA that checks their names through the public ports:
//! lego as the client at home, Pebble (RFC 8555, RFC 8737) as the CA.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use crate::harness::{PATIENCE, Proc, SECRET, Scratch, free_port, wait_until};
use crate::home::Home;
use crate::house::{Vps, client_service, server_service};
use crate::http_house::Peer;
use crate::pki::{Authority, Certificate};
use crate::visitor::connect;

/// A CA that checks names at the entries of `vps`, as all names lead there.
struct Ca {
    directory: String,
    /// Signs the CA's own web server, not what it issues.
    authority: Certificate,
    _pebble: Proc,
    _dns: Dns,
}

impl Ca {
    fn start(vps: &Vps, http: SocketAddr) -> Ca {
        let (api, management) = (free_port(vps.ip), free_port(vps.ip));
        let authority = Authority::new(&vps.dir, "acme");
        let site = authority.site(&vps.dir, &["ca.test"]);
        let config = format!(
            r#"{{"pebble": {{"listenAddress": "{api}", "managementListenAddress": "{management}",
            "certificate": "{}", "privateKey": "{}", "httpPort": {}, "tlsPort": {}}}}}"#,
            site.file.display(),
            site.key.display(),
            http.port(),
            vps.https.port(),
        );
        let config = vps.dir.write("pebble.json", &config);
        let dns = Dns::start(vps);
        let mut command = Command::new("pebble");
        command.arg("-strict").arg("-dnsserver").arg(dns.address.to_string());
        command.arg("-config").arg(config);
        // Its pauses and its refusals of good nonces try clients, not us.
        command.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", "0");
        let pebble = Proc::start("pebble", &vps.dir, &command);
        wait_until(PATIENCE, "the CA listens", || connect(api).is_ok());
        let directory = format!("https://{api}/dir");
        Ca { directory, authority: authority.own, _pebble: pebble, _dns: dns }
    }

    /// A certificate for `name` by lego, which answers the challenge as `how` says.
    fn certify(&self, dir: &Scratch, name: &str, how: &[String]) -> PathBuf {
        let path = dir.path("lego");
        let mut lego = Command::new("lego");
        lego.args(["--accept-tos", "--email", "a@example.com", "--server", &self.directory]);
        lego.arg("--path").arg(&path).args(["--domains", name]).args(how).arg("run");
        lego.env("LEGO_CA_CERTIFICATES", &self.authority.file);
        lego.env("LEGO_CA_SERVER_NAME", "ca.test");
        let mut lego = Proc::start("lego", dir, &lego);
        let status = lego.wait_exit(PATIENCE * 3);
        assert!(status.success(), "{name}: {status}\n{}", lego.log());
        path.join(format!("certificates/{name}.crt"))
    }
}

/// Answers every question for an address with that of the VPS: names lead to its public ports.
struct Dns {
    address: SocketAddr,
}

impl Dns {
    fn start(vps: &Vps) -> Dns {
        let socket = UdpSocket::bind((vps.ip, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let ip = vps.ip.octets();
        thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query) {
                let answer = answer(&query[..length], ip);
                let _ = socket.send_to(&answer, from);
            }
        });
        Dns { address }
    }
}

/// RFC 1035 4: the question again, and an A record if it asks for one.
fn answer(query: &[u8], ip: [u8; 4]) -> Vec<u8> {
    let name = 12 + query[12..].iter().position(|&byte| byte == 0).unwrap() + 1;
    let question = &query[12..name + 4];
    let is_a = query[name..name + 2] == [0, 1];
    let mut answer = [&query[..2], &[0x81, 0x80, 0, 1, 0, is_a.into(), 0, 0, 0, 0]].concat();
    answer.extend(question);
    if is_a {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(ip);
    }
    answer
}

fn names_in(certificate: &PathBuf) -> String {
    let text = fs::read_to_string(certificate).unwrap();
    assert!(text.matches("BEGIN CERTIFICATE").count() > 1, "a chain: {text}");
    let mut openssl = Command::new("openssl");
    openssl.args(["x509", "-noout", "-ext", "subjectAltName", "-in"]).arg(certificate);
    String::from_utf8(openssl.output().unwrap().stdout).unwrap()
}

/// Plain HTTP is sent to TLS, which has no certificate yet; the challenge still reaches the home.
#[test]
fn p15_http_01_passes_the_redirect() {
    let mut vps = Vps::new();
    let (http, at_home) = (free_port(vps.ip), free_port(vps.ip));
    vps.server_extra += &format!("http_addr = \"{http}\"\n");
    let _server = vps.server(&format!(
        "[server.services.pi]\ntype = \"http\"\ntoken = \"{SECRET}-pi\"\n\
         hosts = [\"pi.example.com\"]\nredirect_https = true\n"
    ));
    let _client = vps.client_ready(
        "client",
        &format!(
            "[client.services.pi]\ntype = \"http\"\ntoken = \"{SECRET}-pi\"\n\
             local_addr = \"{at_home}\"\n"
        ),
    );
    let get = |path: &str| Peer::new(connect(http).unwrap()).get("pi.example.com", path);
    let answer = get("/.well-known/acme-challenge/../x?y");
    let location = format!("https://pi.example.com:{}", vps.https.port());
    assert_eq!(answer.status(), 308);
    let there = format!("{location}/.well-known/acme-challenge/../x?y");
    assert_eq!(answer.field("location"), Some(&*there));
    assert_eq!(get("/.well-known/acme-challenge/x").status(), 502, "nobody listens at home yet");

    let ca = Ca::start(&vps, http);
    let how = ["--http".to_owned(), format!("--http.port={at_home}")];
    let certificate = ca.certify(&vps.dir, "pi.example.com", &how);
    assert!(names_in(&certificate).contains("DNS:pi.example.com"));
}

/// The home's own TLS server has the name; the CA's visit goes to lego beside it.
#[test]
fn p15_tls_alpn_01_goes_to_the_service_that_asks_for_it() {
    let vps = Vps::new();
    let at_home = free_port(vps.ip);
    let site = Home::named(vps.ip, "site");
    let acme = server_service("acme", &["**.example.com"]) + "alpn = [\"acme-tls/1\"]\n";
    let _server = vps.server(&(server_service("site", &["**.example.com"]) + &acme));
    let services = client_service("site", site.address) + &client_service("acme", at_home);
    let _client = vps.client_ready("client", &services);
    vps.wait_served("www.example.com", "site");

    let ca = Ca::start(&vps, free_port(vps.ip));
    let how = ["--tls".to_owned(), format!("--tls.port={at_home}")];
    let certificate = ca.certify(&vps.dir, "www.example.com", &how);
    assert!(names_in(&certificate).contains("DNS:www.example.com"));
    vps.wait_served("www.example.com", "site");
}
