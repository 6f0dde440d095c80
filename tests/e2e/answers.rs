//! What the server answers by itself, and the visitors of port 443 that are not for a name: the
//! redirect to TLS, pages, refusals, SSH.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{PATIENCE, Proc, free_port, wait_until};
use crate::home::Home;
use crate::house::{Vps, client_port, client_service, server_port, server_service};
use crate::http_house::{Estate, Lot, naming};
use crate::visitor::{Seen, UNRECOGNIZED_NAME, client_hello, connect, home, look, s_client, say};

/// curl follows the redirect from :80 to the home's own certificate on :443, also by POST.
#[test]
fn curl_follows_the_redirect_to_the_home() {
    let vps = Vps::new();
    let site = crate::home::Site::start(&vps.dir, vps.ip, "pi", &["pi.example.com"]);
    let lot = Lot::web("pi", site.plain_address, site.address);
    let mut estate = Estate::on(vps, vec![lot.more("redirect_https = true\n")]);
    // It goes before the directory of its log.
    let site = site;
    let ca = site.authority.own.file.display().to_string();
    let https = estate.vps.https;
    // curl takes the first rule that fits: the port says which entry.
    let tls = format!("pi.example.com:{}:{https}", https.port());
    let plain = format!("pi.example.com:80:{}", estate.http);
    for method in ["GET", "POST", "HEAD"] {
        let shows = if method == "HEAD" { "--head" } else { "-i" };
        let mut curl = Command::new("curl");
        curl.args(["-q", "-sS", "--noproxy", "*", "--max-time", "120", "--http1.1", "-L"]);
        curl.args(["--connect-to", &plain, "--connect-to", &tls, "--cacert", &ca]);
        curl.args(["-X", method, shows, "http://pi.example.com/whoami?x=1"]);
        let output = curl.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{method}: {output:?}");
        let location = format!("Location: https://pi.example.com:{}/whoami?x=1\r\n", https.port());
        assert!(text.starts_with("HTTP/1.1 308 ") && text.contains(&location), "{text}");
        let body = "pi pi.example.com HTTP/1.1\n";
        assert_eq!(text.ends_with(body), method != "HEAD", "{method}: {text}");
    }
    // With the home offline too; the connection goes on.
    estate.clients[0].kill();
    let mut visitor = estate.visitor();
    for _ in 0..3 {
        assert_eq!(visitor.get("PI.example.com.", "/").status(), 308);
    }
    wait_until(PATIENCE, "the home is known to be offline", || {
        visitor.get("pi.example.com", "/.well-known/acme-challenge/x").status() == 503
    });
}

#[test]
fn paths_of_one_name_go_to_their_homes_and_own_pages_are_shown() {
    let mut vps = Vps::new();
    fs::create_dir(vps.dir.path("pages")).unwrap();
    vps.dir.write("pages/404.html", "<h1>nobody</h1>");
    vps.dir.write("pages/503.txt", "later\n");
    vps.server_extra += "error_pages = { 404 = \"pages/404.html\", 503 = \"pages/503.txt\" }\n";
    let (site, api) = (naming(vps.ip, "site"), naming(vps.ip, "api"));
    let hosts = &["pi.example.com"];
    let lots = vec![
        Lot::http("site", site.address).hosts(hosts),
        Lot::http("api", api.address).hosts(hosts).more("path_prefix = \"/api\"\n"),
    ];
    let estate = Estate::on(vps, lots);
    let mut visitor = estate.visitor();
    for (path, wanted) in [
        ("/", "site /"),
        ("/api", "api /api"),
        ("/apis", "site /apis"),
        ("/api/a%2Fb?q", "api /api/a%2Fb?q"),
        ("http://pi.example.com/api/x", "api /api/x"),
        ("/x//api;y=1", "site /x//api;y=1"),
    ] {
        assert_eq!(visitor.get("pi.example.com", path).text(), wanted);
    }
    for path in ["//api", "/%61pi", "/x/../api", "/API", "/api%2fx"] {
        assert_eq!(visitor.get("pi.example.com", path).status(), 400, "{path}");
    }
    for (host, status, kind, body) in [
        ("none.example.com", 404, "text/html; charset=utf-8", "<h1>nobody</h1>"),
        ("away.example.com", 503, "text/plain; charset=utf-8", "later\n"),
    ] {
        let answer = visitor.get(host, "/");
        assert_eq!((answer.status(), answer.text()), (status, body));
        assert_eq!(answer.field("content-type"), Some(kind));
        assert_eq!(answer.field("retry-after").is_some(), status == 503);
    }
    drop(visitor);
    estate.assert_steady();
}

/// P5: whatever a name looks like, it has one service or none, the same on both entries.
#[test]
fn p5_a_name_has_the_same_answer_on_both_entries() {
    let vps = Vps::new();
    let (pi, any) = (naming(vps.ip, "pi"), naming(vps.ip, "any"));
    let (pi_tls, any_tls) = (Home::named(vps.ip, "pi"), Home::named(vps.ip, "any"));
    let lots = vec![
        Lot::web("pi", pi.address, pi_tls.address).hosts(&["pi.test", "*.pi.test"]),
        Lot::web("any", any.address, any_tls.address).hosts(&["**.test", "xn--bcher-kva.example"]),
    ];
    let estate = Estate::on(vps, lots);
    let long = format!("{}.test", ["a"; 124].join("."));
    let longer = format!("{}.test", ["a"; 126].join("."));
    let label = format!("{}.test", "a".repeat(64));
    for (name, wanted) in [
        ("pi.test", "pi"),
        ("PI.Test", "pi"),
        ("pi.test.", "pi"),
        ("x.pi.test", "pi"),
        ("X.PI.TEST.", "pi"),
        ("x.y.pi.test", "any"),
        ("_x.test", "any"),
        ("-x-.test", "any"),
        ("123.test", "any"),
        ("xn--bcher-kva.EXAMPLE", "any"),
        (&long, "any"),
        ("test", ""),
        ("pi.test.example", ""),
        ("pi.tes", ""),
        ("*.pi.test", "invalid"),
        ("pi.test..", "invalid"),
        (".pi.test", "invalid"),
        ("pi..test", "invalid"),
        ("pi .test", "invalid"),
        ("pi/.test", "invalid"),
        ("pi\0.test", "invalid"),
        ("b\u{fc}cher.test", "invalid"),
        (&longer, "invalid"),
        (&label, "invalid"),
    ] {
        let tls = say(estate.vps.https, &client_hello(Some(name)));
        let http = estate.ask(&format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n"));
        match wanted {
            "" => assert_eq!((tls, http.status()), (Seen::Alert(UNRECOGNIZED_NAME), 404), "{name}"),
            "invalid" => {
                assert_eq!((tls, http.status()), (Seen::Alert(UNRECOGNIZED_NAME), 400), "{name}");
            }
            _ => assert_eq!((tls, http.text()), (home(wanted), &*format!("{wanted} /")), "{name}"),
        }
    }
}

/// P2: what a visitor without a service gets is chosen; a malformed hello never has a choice.
#[test]
fn p2_no_name_and_unknown_names_are_dropped_where_that_is_asked_for() {
    for (extra, nameless, unknown) in [
        ("no_sni = \"drop\"\n", Seen::Closed, Seen::Alert(UNRECOGNIZED_NAME)),
        ("unknown_sni = \"drop\"\n", Seen::Alert(UNRECOGNIZED_NAME), Seen::Closed),
    ] {
        let mut vps = Vps::new();
        vps.server_extra += extra;
        let _server = vps.server("");
        assert_eq!(say(vps.https, &client_hello(None)), nameless, "{extra}");
        for name in ["x.test", "192.0.2.1", "a b"] {
            assert_eq!(say(vps.https, &client_hello(Some(name))), unknown, "{extra}{name}");
        }
        let mut malformed = client_hello(None);
        *malformed.last_mut().unwrap() ^= 1;
        malformed[50] ^= 0xff;
        assert_eq!(say(vps.https, &malformed), Seen::Alert(50), "{extra}");
    }
}

/// A server with `ssh_service`, whose home is `at`, and a client.
fn with_ssh(extra: &str, at: SocketAddr) -> (Vps, Proc, Proc, Home) {
    let mut vps = Vps::new();
    vps.server_extra += &format!("ssh_service = \"shell\"\n{extra}");
    let site = Home::named(vps.ip, "site");
    let shell = server_port("shell", free_port(vps.ip)).replace("bind_addr", "# bind_addr");
    let server = vps.server(&(server_service("site", &["site.test"]) + &shell));
    let services = client_service("site", site.address) + &client_port("shell", at);
    let client = vps.client_ready("client", &services);
    vps.wait_served("site.test", "site");
    (vps, server, client, site)
}

/// OpenSSH through port 443, beside TLS: a key, a command, and 1 MB both ways.
#[test]
fn ssh_goes_through_port_443() {
    let ip = crate::harness::own_address();
    let sshd_address = free_port(ip);
    let (vps, _server, _client, _site) = with_ssh("", sshd_address);
    let key = |name: &str| {
        let file = vps.dir.path(name);
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&file);
        assert!(keygen.status().unwrap().success());
        file.display().to_string()
    };
    let (host_key, own_key) = (key("host"), key("own"));
    let config = format!(
        "ListenAddress {sshd_address}\nHostKey {host_key}\nAuthorizedKeysFile {own_key}.pub\n\
         StrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\n"
    );
    let config = vps.dir.write("sshd_config", &config);
    // Wanted by an sshd that root starts; others do not need it.
    let _ = fs::create_dir_all("/run/sshd");
    let mut sshd = Command::new("/usr/sbin/sshd");
    sshd.args(["-D", "-e", "-f"]).arg(config);
    let sshd = Proc::start("sshd", &vps.dir, &sshd);
    wait_until(PATIENCE, "sshd listens", || connect(sshd_address).is_ok());

    let file = vps.dir.path("file");
    let bytes: Vec<u8> =
        (0..1u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(&file, &bytes).unwrap();
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "none", "-i", &own_key, "-p", &vps.https.port().to_string()]);
    for option in ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes"] {
        ssh.args(["-o", option]);
    }
    let user = Command::new("id").arg("-un").output().unwrap().stdout;
    let user = String::from_utf8(user).unwrap();
    ssh.arg(format!("{}@{}", user.trim(), vps.ip)).arg("cat");
    let output = ssh.stdin(fs::File::open(&file).unwrap()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}\n{}", sshd.log());
    assert!(output.stdout == bytes, "{} bytes came back", output.stdout.len());
    // TLS beside it.
    assert!(s_client(vps.https, Some("none.test"), None).contains("unrecognized name"));
}

/// Who waits to be spoken to gets SSH after a while; who says something else does not.
#[test]
fn a_visitor_that_waits_to_be_spoken_to_gets_ssh() {
    let ip = crate::harness::own_address();
    let shell = Home::start(ip, |mut stream| {
        stream.write_all(b"SSH-2.0-test\r\n").unwrap();
        let mut said = [0; 64];
        let length = stream.read(&mut said).unwrap();
        stream.write_all(&said[..length]).unwrap();
    });
    let (vps, _server, _client, _site) = with_ssh("ssh_wait = 1\n", shell.address);
    let banner = Seen::Home("SSH-2.0-test\r".into());
    let start = Instant::now();
    let mut silent = connect(vps.https).unwrap();
    assert_eq!(look(&mut silent), banner);
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    silent.write_all(b"SSH-2.0-me\r\n").unwrap();
    assert_eq!(look(&mut silent), Seen::Home("SSH-2.0-me\r".into()));

    // In pieces, and byte for byte.
    let start = Instant::now();
    let mut prompt = connect(vps.https).unwrap();
    for piece in ["S", "SH", "-2.0-x", "\r\n"] {
        prompt.write_all(piece.as_bytes()).unwrap();
    }
    assert_eq!(look(&mut prompt), banner);
    assert!(start.elapsed() < PATIENCE);
    let mut said = [0; 10];
    prompt.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"SSH-2.0-x\r");

    // What has begun something else is not sent there, however long it takes.
    let reached = shell.accepted();
    assert_eq!(say(vps.https, b"SSX-2.0-x\r\n"), Seen::Closed);
    assert_eq!(
        say(vps.https, b"GET / HTTP/1.1\r\n\r\n"),
        Seen::Home("HTTP/1.1 400 Bad Request\r".into())
    );
    let hello = client_hello(Some("site.test"));
    let mut slow = connect(vps.https).unwrap();
    slow.write_all(&hello[..9]).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    slow.write_all(&hello[9..]).unwrap();
    assert_eq!(look(&mut slow), home("site"));
    assert_eq!(shell.accepted(), reached);
}
