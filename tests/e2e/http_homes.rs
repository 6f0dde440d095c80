//! Homes as they really answer, load balancers as they really ask, and uploads as they are really
//! refused.

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{PATIENCE, Proc, free_port, own_address, run_ok, wait_until};
use crate::home::Home;
use crate::house::Vps;
use crate::http_house::{Estate, Lot, Peer, answering, get, naming, ok, read_head, read_request};
use crate::visitor::{connect, connect_from};

/// Where these tests' load balancers dial from: one speaks PROXY, one HTTP.
const BALANCER: Ipv4Addr = Ipv4Addr::new(127, 99, 0, 19);
const HTTP_BALANCER: Ipv4Addr = Ipv4Addr::new(127, 99, 0, 20);
/// Goes to the server's own output.
pub(crate) const JSON_LOG: &str = "[server.access_log]\nformat = \"json\"\n";

/// Records of the access log on the server's output.
pub(crate) fn records(server: &Proc) -> Vec<serde_json::Value> {
    let log = server.log();
    let records = log.lines().filter_map(|line| serde_json::from_str(line).ok());
    // The set-up looks whether the TLS port is open.
    records.filter(|record: &serde_json::Value| record["end"] != "visitor_left").collect()
}

#[test]
fn homes_are_read_where_they_have_one_meaning() {
    let ip = own_address();
    let home = answering(ip, |request| {
        match request.path() {
            "/lf" => "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
            "/colon" => "HTTP/1.1 200 OK\r\nX-Odd : y\r\nContent-Length : 2\r\n\r\nok",
            "/lengths" => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
            // As ESPAsyncWebServer pads.
            "/padded" => {
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                 2   \r\nok\r\n0   \r\n\r\n"
            }
            "/extended" => {
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                 2 ; a = \"b\"\r\nok\r\n0\r\n\r\n"
            }
            "/both" => {
                "HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n\
                 2\r\nok\r\n0\r\n\r\n"
            }
            "/old" => "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        }
        .to_owned()
    });
    let estate = Estate::start(vec![Lot::http("pi", home.address)]);
    let mut visitor = estate.visitor();
    for path in ["/lf", "/colon", "/lengths", "/padded", "/extended", "/both", "/old", "/lf"] {
        let answer = visitor.get("pi.example.com", path);
        assert_eq!((answer.status(), answer.text()), (200, "ok"), "{path}");
        assert_eq!(answer.field("connection"), None, "{path}: the visitor's connection goes on");
        // A real client reads it too.
        let url = format!("http://pi.example.com{path}");
        assert_eq!(run_ok(&mut estate.curl(&[&url])), "ok");
    }
    assert_eq!(visitor.get("pi.example.com", "/unclear").status(), 502);
    drop(visitor);
    estate.assert_steady();
}

#[test]
fn early_hints_pass_in_any_number_and_200_cookies_too() {
    let ip = own_address();
    let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload; as=style\r\n\r\n";
    let home = answering(ip, move |_| {
        let cookies: String = (0..200).map(|n| format!("Set-Cookie: c{n}=v\r\n")).collect();
        hint.repeat(40) + &format!("HTTP/1.1 200 OK\r\n{cookies}Content-Length: 2\r\n\r\nok")
    });
    let estate = Estate::start(vec![Lot::http("rails", home.address)]);
    let mut visitor = estate.visitor();
    visitor.say(get("rails.example.com", "/"));
    for _ in 0..40 {
        assert_eq!(visitor.response("GET").status(), 103);
    }
    let answer = visitor.response("GET");
    assert_eq!(answer.fields.iter().filter(|(name, _)| name == "set-cookie").count(), 200);
    let said = run_ok(&mut estate.curl(&["-i", "http://rails.example.com/"]));
    assert_eq!(said.matches("103 Early Hints").count(), 40);
    assert_eq!(said.matches("Set-Cookie: ").count(), 200);
}

#[test]
fn trailers_go_to_visitors_that_ask_for_them() {
    let home = answering(own_address(), |request| {
        let asked = request.field("te") == Some("trailers");
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Server-Timing\r\n\
             X-Asked: {asked}\r\n\r\n2\r\nok\r\n0\r\nServer-Timing: db;dur=5\r\n\
             Content-Length: 7\r\n\r\n"
        )
    });
    let estate = Estate::start(vec![Lot::http("grpc", home.address)]);
    let told = |more: &str| {
        let mut visitor = estate.visitor();
        visitor.say(format!("GET / HTTP/1.1\r\nHost: grpc.example.com\r\n{more}\r\n"));
        visitor.finish();
        String::from_utf8(visitor.rest().0).unwrap()
    };
    let with = told("TE: trailers\r\nConnection: TE\r\n");
    assert!(with.contains("X-Asked: true\r\n") && with.contains("Trailer: Server-Timing\r\n"));
    assert!(with.ends_with("0\r\nServer-Timing: db;dur=5\r\n\r\n"), "{with}");
    let without = told("");
    assert!(without.contains("X-Asked: false\r\n") && !without.contains("Trailer"), "{without}");
    assert!(without.ends_with("\r\n2\r\nok\r\n0\r\n\r\n"), "{without}");
}

#[test]
fn what_a_502_was_is_said_in_both_logs() {
    let home = answering(own_address(), |request| match request.path() {
        "/colon" => "HTTP/1.1 200 OK\r\nno colon here\r\n\r\n".into(),
        "/chunk" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".into(),
        _ => ok("fine"),
    });
    let estate = Estate::start(vec![Lot::http("odd", home.address).more(JSON_LOG)]);
    assert_eq!(estate.ask(&get("odd.example.com", "/colon")).status(), 502);
    let line =
        estate.server.wait_for_log(&["home odd", "response head has a field without a colon"]);
    assert!(line.contains("client 127."), "which home: {line}");
    let mut visitor = estate.visitor();
    visitor.say(get("odd.example.com", "/chunk"));
    visitor.rest();
    estate.server.wait_for_log(&["home odd", "response body has a malformed chunk size"]);
    assert_eq!(estate.ask(&get("odd.example.com", "/")).status(), 200);
    wait_until(PATIENCE, "three records", || records(&estate.server).len() >= 3);
    let ends: Vec<_> = records(&estate.server)
        .iter()
        .map(|record| format!("{} {} {}", record["path"], record["end"], record["reason"]))
        .collect();
    assert_eq!(
        ends,
        [
            "\"/colon\" \"bad_answer\" \"field_without_colon\"",
            "\"/chunk\" \"bad_answer\" \"chunk_size\"",
            "\"/\" \"done\" null",
        ]
    );
    // It may come over and over, and is said ten times a minute.
    for _ in 0..30 {
        estate.ask(&get("odd.example.com", "/colon"));
    }
    let said = estate.server.log().matches("without a colon").count();
    assert!(said <= 11, "{said} lines");
}

/// PROPFIND on a kept connection that the home closes on it is sent again; POST is not.
#[test]
fn what_may_be_repeated_is_on_a_connection_that_was_closed() {
    let home = Home::start(own_address(), |stream| {
        let mut visitor = Peer::new(stream);
        // One answer to a connection; the next request ends it.
        if read_request(&mut visitor.reader).is_ok() {
            let _ = visitor.stream.write_all(ok("once").as_bytes());
            let _ = read_request(&mut visitor.reader);
        }
    });
    let estate = Estate::start(vec![Lot::http("dav", home.address)]);
    for method in ["PROPFIND", "OPTIONS", "REPORT", "SEARCH"] {
        let mut visitor = estate.visitor();
        assert_eq!(visitor.get("dav.example.com", "/").text(), "once");
        visitor.say(format!("{method} / HTTP/1.1\r\nHost: dav.example.com\r\n\r\n"));
        assert_eq!(visitor.response(method).text(), "once", "{method}");
    }
    let mut visitor = estate.visitor();
    visitor.get("dav.example.com", "/");
    visitor.say("POST / HTTP/1.1\r\nHost: dav.example.com\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(visitor.response("POST").status(), 502);
}

/// A home that ends its connection after an answer is not asked on it again, whatever is asked.
#[test]
fn a_connection_that_the_home_has_closed_is_not_used() {
    let home = Home::start(own_address(), |stream| {
        let mut visitor = Peer::new(stream);
        if read_request(&mut visitor.reader).is_ok() {
            let _ = visitor.stream.write_all(ok("once").as_bytes());
        }
    });
    let estate = Estate::start(vec![Lot::http("short", home.address)]);
    let settled = || {
        let links = estate.clients[0].tcp_connections();
        links.iter().filter(|it| it.peer == home.address || it.local == home.address).count() == 0
    };
    let mut visitor = estate.visitor();
    for _ in 0..20 {
        visitor.say("POST / HTTP/1.1\r\nHost: short.example.com\r\nContent-Length: 1\r\n\r\nx");
        assert_eq!(visitor.response("POST").text(), "once");
        wait_until(PATIENCE, "the end has come to the client", settled);
        // And to the server: the FIN is in the kernel behind it, or a moment later.
        std::thread::yield_now();
    }
}

/// A client that reads only once it has sent all, over seconds: the answer is there.
#[test]
fn a_refused_upload_can_be_read_behind_its_last_byte() {
    let home = Home::start(own_address(), |mut stream| {
        let mut reader = std::io::BufReader::new(stream.try_clone().unwrap());
        if read_head(&mut reader).is_ok() {
            let answer = "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n\
                          Content-Length: 8\r\n\r\ntoo long";
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let estate = Estate::start(vec![Lot::http("up", home.address)]);
    let script = format!(
        "import http.client, time\n\
         def body():\n    for n in range(60):\n        time.sleep(0.1); yield bytes(200000)\n\
         c = http.client.HTTPConnection('{}', {})\n\
         h = {{'Host': 'up.example.com', 'Content-Length': '12000000'}}\n\
         c.request('POST', '/', body(), h)\n\
         r = c.getresponse(); print(r.status, r.read().decode())\n",
        estate.http.ip(),
        estate.http.port()
    );
    let start = Instant::now();
    let said = run_ok(Command::new("/usr/bin/python3").args(["-c", &script]));
    assert_eq!(said, "413 too long\n");
    assert!(start.elapsed() > Duration::from_secs(5), "it was read behind the last byte");
}

/// Who goes on sending for ever is not stayed with for ever: 64 MB, or 30 s of drops.
#[test]
fn a_refused_upload_is_read_within_bounds() {
    let home = Home::start(own_address(), |mut stream| {
        let mut reader = std::io::BufReader::new(stream.try_clone().unwrap());
        if read_head(&mut reader).is_ok() {
            let _ = stream.write_all(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno");
        }
    });
    let estate = Estate::start(vec![Lot::http("up", home.address)]);
    let begin = || {
        let mut visitor = Peer::new(connect(estate.http).unwrap());
        let head = "POST / HTTP/1.1\r\nHost: up.example.com\r\nContent-Length: 999999999\r\n\r\n";
        visitor.stream.write_all(head.as_bytes()).unwrap();
        assert_eq!(read_head(&mut visitor.reader).unwrap().status(), 401);
        visitor.stream
    };
    // What is on its way when it ends is not counted.
    const ON_THE_WAY: usize = 16 * 1024 * 1024;
    let mut flood = begin();
    let (mut sent, piece) = (0, vec![0; 256 * 1024]);
    while flood.write_all(&piece).is_ok() {
        sent += piece.len();
    }
    let most = 64 * 1024 * 1024;
    assert!((most - piece.len()..most + ON_THE_WAY).contains(&sent), "{sent}");
    let (mut drops, start) = (begin(), Instant::now());
    while drops.write_all(b".").is_ok() {
        assert!(start.elapsed() < Duration::from_secs(60), "it never ends");
        std::thread::sleep(Duration::from_millis(100)); // its pace
    }
    assert!(start.elapsed() > Duration::from_secs(25), "{:?}", start.elapsed());
}

/// HAProxy as a load balancer, with every check that it makes by itself, and a visitor through it.
#[test]
fn a_load_balancer_s_checks_are_answered_and_leave_no_line() {
    let mut vps = Vps::new();
    vps.server_extra = format!(
        "trusted_proxies = [\"{BALANCER}\"]\ntrusted_http_proxies = [\"{HTTP_BALANCER}\"]\n"
    );
    let ip = vps.ip;
    let home = naming(ip, "pi");
    let https = vps.https;
    let estate = Estate::on(vps, vec![Lot::http("pi", home.address).more(JSON_LOG)]);
    let (http, front) = (estate.http, free_port(ip));
    let mut config = format!(
        "global\n maxconn 1000\ndefaults\n mode http\n timeout connect 10s\n timeout client 30s\n \
         timeout server 30s\n timeout check 10s\n log stdout format raw local0\n \
         option log-health-checks\nfrontend f\n bind {front}\n default_backend plain\n"
    );
    for (name, checks, at) in [
        ("plain", "option httpchk", format!("{http} check send-proxy-v2 check-send-proxy")),
        ("old", "option httpchk", format!("{http} check send-proxy check-send-proxy")),
        ("headerless", "option httpchk GET /x HTTP/1.1", format!("{http} check")),
        ("healthz", "option httpchk GET /healthz", format!("{http} check")),
        ("tcp", "", format!("{http} check send-proxy-v2")),
        ("tls", "", format!("{https} check send-proxy-v2 check-send-proxy")),
    ] {
        config += &format!(
            "backend {name}\n {checks}\n source {BALANCER}\n server s {at} inter 200ms rise 3\n"
        );
    }
    let file = estate.vps.dir.write("haproxy.cfg", &config);
    let mut command = Command::new("haproxy");
    command.env("PATH", "/usr/sbin:/usr/bin:/bin").args(["-db", "-f"]).arg(file);
    let haproxy = Proc::start("haproxy", &estate.vps.dir, &command);
    for name in ["plain", "old", "headerless", "healthz"] {
        haproxy.wait_for_log(&[&format!("server {name}/s"), "succeeded", "code: 200"]);
    }
    for name in ["tcp", "tls"] {
        haproxy.wait_for_log(&[&format!("server {name}/s"), "succeeded"]);
    }
    // Many rounds later nothing has failed, and there is no line.
    let log = haproxy.log();
    assert!(!log.contains("failed"), "{log}");
    assert_eq!(records(&estate.server), [] as [serde_json::Value; 0]);
    // What a visitor asks through it goes to the home, the same path too.
    wait_until(PATIENCE, "HAProxy listens", || connect(front).is_ok());
    let mut visitor = Peer::new(connect(front).unwrap());
    assert_eq!(visitor.get("pi.example.com", "/healthz").text(), "pi /healthz");
    wait_until(PATIENCE, "its line", || records(&estate.server).len() == 1);

    // An HTTP proxy that says whom it brings; without that it asks for itself.
    let mut proxy = Peer::new(connect_from(HTTP_BALANCER, http).unwrap());
    proxy.say("GET /ping HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(proxy.response("GET").text(), "ok\n");
    proxy.say("OPTIONS / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(proxy.response("OPTIONS").status(), 200);
    for (forwarded, who) in [
        ("X-Forwarded-For: 6.6.6.6, 198.51.100.7", "198.51.100.7"),
        ("X-Forwarded-For: 198.51.100.8, 127.99.0.20", "198.51.100.8"),
    ] {
        let before = records(&estate.server).len();
        proxy.say(format!("GET /ping HTTP/1.1\r\nHost: pi.example.com\r\n{forwarded}\r\n\r\n"));
        assert_eq!(proxy.response("GET").text(), "pi /ping");
        wait_until(PATIENCE, "its line", || records(&estate.server).len() > before);
        let record = records(&estate.server).pop().unwrap();
        assert_eq!(record["visitor"], who, "{record}");
        assert!(record["peer"].as_str().unwrap().starts_with("127.99.0.20:"), "{record}");
    }
    // Nobody else is told how this server is.
    let status = estate.ask("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").status();
    assert_eq!(status, 404, "a stranger's is a name that nobody has");
}

#[test]
fn forwarded_none_tells_a_home_nothing() {
    let mut vps = Vps::new();
    vps.server_extra = "forwarded = \"none\"\n".into();
    let home = answering(vps.ip, |request| {
        let names: Vec<_> = request.fields.iter().map(|(name, _)| name.as_str()).collect();
        ok(&names.join(" "))
    });
    let estate = Estate::on(vps, vec![Lot::http("quiet", home.address)]);
    let request = "GET / HTTP/1.1\r\nHost: quiet.example.com\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n";
    assert_eq!(estate.ask(request).text(), "host cdn-loop");
}
