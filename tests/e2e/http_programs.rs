//! The HTTP entry as the programs that people use see it: curl, wrk, a browser, Python, Java.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::harness::{Proc, alone, run, run_ok};
use crate::home::Site;
use crate::http_house::Sites;
use crate::visitor::Curl;

/// The same names on both ports, each request by its own name.
#[test]
fn curl_reaches_two_sites_on_both_ports_by_the_same_names() {
    let sites = Sites::start();
    let (pi, local) = (&sites.pi, &sites.local);
    for (host, name, site) in [
        ("pi.example.com", "pi", pi),
        ("www.pi.example.com", "pi", pi),
        ("local.example.com", "local", local),
        ("www.local.example.com", "local", local),
    ] {
        let url = format!("http://{host}/whoami");
        let body = run_ok(&mut sites.estate.curl(&[&url]));
        assert_eq!(body, format!("{name} {host} 127.0.0.1\n"));
        let curl = Curl::new(sites.estate.vps.https, &site.authority.own);
        let answer = curl.args(&["--http1.1"]).get(&format!("https://{host}/whoami"));
        assert_eq!(answer.body, format!("{name} {host} HTTP/1.1\n"), "{answer:?}");
    }
    // As an HTTP proxy would be asked: absolute-form.
    let proxy = format!("http://{}", sites.estate.http);
    let mut curl = Command::new("curl");
    curl.args(["-q", "-sS", "--max-time", "60", "--noproxy", "", "-x", &proxy]);
    curl.arg("http://x.local.example.com/whoami");
    assert_eq!(run_ok(&mut curl), "local x.local.example.com 127.0.0.1\n");
    // HTTP/2 by upgrade is not to be had; the request is answered all the same.
    let args = ["--http2", "-w", "%{http_version}", "http://pi.example.com/whoami"];
    let body = run_ok(&mut sites.estate.curl(&args));
    assert_eq!(body, "pi pi.example.com 127.0.0.1\n1.1");
    // By prior knowledge: closed with a word that says why, and curl gives up.
    let args = ["--http2-prior-knowledge", "http://pi.example.com/whoami"];
    assert!(!run(&mut sites.estate.curl(&args), b"").status.success());
    let args = ["--http1.0", "http://pi.example.com/whoami"];
    assert_eq!(run_ok(&mut sites.estate.curl(&args)), "pi pi.example.com 127.0.0.1\n");
    sites.estate.assert_steady();
}

/// Thousands of requests, some of them on connections that both homes share in turn.
#[test]
fn wrk_sees_no_error() {
    let _alone = alone();
    let sites = Sites::start();
    let wrk = |args: &[&str]| {
        let mut command = Command::new("wrk");
        command.args(["-d", "2s", "--timeout", "10s"]).args(args);
        let text = run_ok(command.arg(format!("http://{}/whoami", sites.estate.http)));
        assert!(!text.contains("Socket errors") && !text.contains("Non-2xx"), "{text}");
        text
    };
    for host in ["Host: pi.example.com", "Host: local.example.com"] {
        let text = wrk(&["-t", "1", "-c", "32", "-H", host]);
        let requests = text.lines().find_map(|line| line.split_once(" requests in "));
        let count: u32 = requests.expect(&text).0.trim().parse().unwrap();
        assert!(count > 100, "{text}");
        eprintln!("{count} requests in 2 s, {host}");
    }
    let script = sites.estate.vps.dir.write("order.lua", include_str!("visitors/order.lua"));
    let text = wrk(&["-t", "8", "-c", "8", "-s", &script.display().to_string()]);
    let answers = text.lines().find_map(|line| line.strip_prefix("answers: ")).expect(&text);
    let (count, wrong) = answers.split_once(", wrong: ").unwrap();
    assert_eq!(wrong, "0", "{text}");
    assert!(count.parse::<u32>().unwrap() > 100, "{text}");
    sites.estate.assert_steady();
}

/// A page, and what it is made of from both homes: scripts, pictures, frames, and a form that
/// is sent by script.
#[test]
fn a_browser_loads_a_page_from_both_homes() {
    // The smallest GIF that browsers take.
    const GIF: &[u8] = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\x04\x01\0\0\0\0,\
        \0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";
    const EACH: usize = 8;
    let _alone = alone();
    let sites = Sites::start();
    let mut parts = String::new();
    for (name, site) in [("pi", &sites.pi), ("local", &sites.local)] {
        let base = format!("http://{name}.example.com/files");
        for at in 0..EACH {
            let padding = "/".repeat(20_000 * at);
            let script = format!("mark('{name}-script-{at}');\n//{padding}\n");
            write(site, &format!("{at}.js"), script.as_bytes());
            write(site, &format!("{at}.gif"), GIF);
            parts += &format!(
                "<img src=\"{base}/{at}.gif\" onload=\"mark('{name}-picture-{at}')\">\n\
                 <script src=\"{base}/{at}.js\"></script>\n"
            );
        }
        write(site, "frame.html", format!("<p>frame of {name}").as_bytes());
        parts += &format!(
            "<iframe src=\"{base}/frame.html\" onload=\"mark('{name}-frame')\"></iframe>\n"
        );
    }
    let page = format!(
        "<!doctype html><title>both</title><p id=\"marks\"></p><script>\n\
         function mark(what) {{\n\
             document.getElementById('marks').append(what + ' ');\n\
         }}\n\
         // Synchronous, so that the page is not done before.\n\
         const request = new XMLHttpRequest();\n\
         request.open('POST', '/up', false);\n\
         request.send('x'.repeat(300000));\n\
         mark('sent-' + request.responseText.split(' ')[0]);\n\
         </script>\n{parts}"
    );
    write(&sites.pi, "page.html", page.as_bytes());

    let dir = &sites.estate.vps.dir;
    let mut chromium = Command::new("chromium");
    chromium
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"])
        .args(["--no-first-run", "--disable-background-networking", "--disable-sync"])
        .args(["--disable-component-update", "--disable-extensions", "--no-proxy-server"])
        .args(["--disable-dev-shm-usage", "--disable-features=HttpsUpgrades,HttpsFirstModeV2"])
        .arg(format!("--user-data-dir={}", dir.path("profile").display()))
        .arg(format!("--host-resolver-rules=MAP *.example.com {}", sites.estate.http))
        .args(["--timeout=60000", "--dump-dom", "http://pi.example.com/files/page.html"])
        .env("HOME", dir.path("browser"));
    let mut browser = Proc::start("chromium", dir, &chromium);
    let status = browser.wait_exit(Duration::from_secs(90));
    let seen = browser.log();
    assert!(status.success(), "{status}: {seen}");
    let marks = seen.split("id=\"marks\">").nth(1).and_then(|rest| rest.split("</p>").next());
    let mut marks: Vec<&str> = marks.expect(&seen).split_whitespace().collect();
    marks.sort_unstable();
    let mut wanted = vec!["sent-300000".to_owned()];
    for name in ["pi", "local"] {
        wanted.push(format!("{name}-frame"));
        for kind in ["script", "picture"] {
            wanted.extend((0..EACH).map(|at| format!("{name}-{kind}-{at}")));
        }
    }
    wanted.sort_unstable();
    assert_eq!(marks, wanted);
    sites.estate.assert_steady();
}

#[test]
fn python_requests_is_served() {
    let sites = Sites::start();
    write(&sites.pi, "page", &[b'.'; 200_000]);
    let script = sites.estate.vps.dir.write("visit.py", include_str!("visitors/visit.py"));
    let (ip, port) = (sites.estate.http.ip().to_string(), sites.estate.http.port().to_string());
    // Debian's, which has python3-requests; another one may come first in PATH.
    let mut python = Command::new("/usr/bin/python3");
    python.arg(script).args([ip, port]);
    assert_eq!(run_ok(&mut python), "all is well\n");
    sites.estate.assert_steady();
}

/// Java's client sends `Upgrade: h2c` with its first requests; its WebSocket is a real one.
#[test]
fn java_is_served_though_it_asks_for_h2c() {
    let _alone = alone();
    let sites = Sites::start();
    let dir = &sites.estate.vps.dir;
    let script = dir.write("Visit.java", include_str!("visitors/Visit.java"));
    let ip = sites.estate.http.ip();
    let names = ["pi", "local", "up"].map(|name| format!("{ip} {name}.example.com\n"));
    let hosts = dir.write("hosts", &names.concat());
    let mut java = Command::new("java");
    java.arg(format!("-Djdk.net.hosts.file={}", hosts.display()));
    java.args(["-XX:TieredStopAtLevel=1", "-Xmx256m"]);
    java.arg(script).arg(sites.estate.http.port().to_string());
    assert_eq!(run_ok(&mut java), "all is well\n");
    sites.estate.assert_steady();
}

fn write(site: &Site, name: &str, bytes: &[u8]) {
    let path: &Path = &site.www().join(name);
    fs::write(path, bytes).unwrap();
}
