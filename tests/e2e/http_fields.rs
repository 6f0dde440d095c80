//! What becomes of heads and bodies on their way through the HTTP entry: fields that are for one
//! hop, fields that say who asks, and every way a message can say where it ends.

use std::time::Duration;

use crate::home::{Connections, Home};
use crate::house::Vps;
use crate::http_house::{End, Estate, Lot, Message, Peer, get, ok};

/// One home played by hand.
struct ByHand {
    connections: Connections,
    _home: Home,
    estate: Estate,
}

impl ByHand {
    fn start() -> ByHand {
        let vps = Vps::new();
        let (home, connections) = Home::by_hand(vps.ip);
        let estate = Estate::on(vps, vec![Lot::http("pi", home.address)]);
        ByHand { connections, _home: home, estate }
    }

    /// A visitor that has said `request`, and the home that has read it.
    #[track_caller]
    fn ask(&self, request: &str) -> (Peer, Peer, Message) {
        let mut visitor = self.estate.visitor();
        visitor.say(request);
        let mut there = self.connections.peer();
        let message = there.request();
        (visitor, there, message)
    }

    /// All of a response to `request`, as bytes and end.
    #[track_caller]
    fn raw_answer(&self, request: &str, response: &str) -> (String, End) {
        let (mut visitor, mut there, _) = self.ask(request);
        there.say(response);
        there.finish();
        let (said, end) = visitor.rest();
        (String::from_utf8(said).unwrap(), end)
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: pi.example.com\r\n";

/// P9: what says who asks is set afresh, whatever the visitor says about itself.
#[test]
fn p9_forwarded_fields_are_set_afresh_and_never_believed() {
    let it = ByHand::start();
    let port = it.estate.http.port().to_string();
    for more in [
        "",
        "X-Forwarded-For: 6.6.6.6\r\n",
        "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 6.6.6.7\r\nx-forwarded-for:\r\n",
        "X-Forwarded-For: 127.0.0.1, 6.6.6.6\r\nX-Forwarded-Proto: https\r\n",
        "X-Forwarded-Host: evil.example\r\nX-Forwarded-Port: 443\r\nX-Real-IP: 6.6.6.6\r\n",
        "x_forwarded_for: 6.6.6.6\r\nX_FORWARDED-PROTO: https\r\nX-Real_IP: 6.6.6.6\r\n",
        "Connection: X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host\r\n",
        "Connection: close, x-real-ip, X-FORWARDED-PORT\r\nX-Real-Ip: 6.6.6.6\r\n",
        "Connection: Host, Content-Length, Transfer-Encoding\r\n",
    ] {
        let (_, _, request) = it.ask(&format!("{GET}{more}\r\n"));
        for (name, value) in [
            ("host", "pi.example.com"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-host", "pi.example.com"),
            ("x-forwarded-port", &port),
            ("x-forwarded-proto", "http"),
            ("x-real-ip", "127.0.0.1"),
        ] {
            assert_eq!(request.field(name), Some(value), "{more:?}: {request:?}");
        }
        assert_eq!(request.field("cdn-loop"), Some("underpass"));
        assert_eq!(request.fields.len(), 7, "{more:?}: {request:?}");
    }
    // `Host` as it came, and in the field of the same meaning.
    let host = "X.Pi.Example.com.:80";
    let (_, _, request) = it.ask(&get(host, "/"));
    assert_eq!(request.field("host"), Some(host));
    assert_eq!(request.field("x-forwarded-host"), Some(host));
    // In a trailer they are no better.
    let (_, _, request) = it.ask(
        "POST / HTTP/1.1\r\nHost: pi.example.com\r\nTransfer-Encoding: chunked\r\n\
         Trailer: X-Forwarded-For\r\n\r\n2\r\nhi\r\n0\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n",
    );
    assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.text(), "hi");
    it.estate.assert_steady();
}

/// RFC 9110, 7.6.1, both ways; all else passes, in its order.
#[test]
fn fields_for_one_hop_end_there() {
    let it = ByHand::start();
    let (mut visitor, mut there, request) = it.ask(&format!(
        "{GET}A: 1\r\nConnection: keep-alive, X-Hop , ,B\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: keep-alive\r\nX-Hop: 1\r\nb: 2\r\nTE: trailers\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABk\r\nProxy-Authorization: Basic eDp5\r\nTrailer: X\r\n\
         Cookie: a=b\r\nCookie: c=d\r\nAuthorization: x\r\nUpgrade-Insecure-Requests: 1\r\n\
         Content_Length: 5\r\n\r\n"
    ));
    let passed = |message: &Message| -> Vec<String> {
        let own = |name: &str| name == "host" || name.starts_with("x-");
        let others = message.fields.iter().filter(|(name, _)| !own(name));
        others.map(|(name, value)| format!("{name}={value}")).collect()
    };
    let wanted = [
        "a=1",
        "cookie=a=b",
        "cookie=c=d",
        "authorization=x",
        "upgrade-insecure-requests=1",
        "content_length=5",
        "te=trailers",
        "connection=TE",
        "cdn-loop=underpass",
    ];
    assert_eq!(passed(&request), wanted);
    there.say(
        "HTTP/1.1 200 OK\r\nServer: x\r\nConnection: keep-alive, Y-Hop\r\nKeep-Alive: timeout=5\r\n\
         Y-Hop: 1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nUpgrade: h2c\r\nProxy-Connection: close\r\n\
         Date: now\r\nContent-Length: 0\r\n\r\n",
    );
    let wanted = ["server=x", "set-cookie=a", "set-cookie=b", "date=now", "content-length=0"];
    assert_eq!(passed(&visitor.response("GET")), wanted);
    // `Connection: close` is for one hop too: the home's end is not the visitor's.
    visitor.say(format!("{GET}\r\n"));
    there.request();
    there.say("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n1");
    drop(there);
    let answer = visitor.response("GET");
    assert_eq!((answer.text(), answer.field("connection")), ("1", None));
    visitor.say(format!("{GET}Connection: close\r\n\r\n"));
    let mut there = it.connections.peer();
    assert_eq!(there.request().field("connection"), None);
    there.say(ok("2"));
    let answer = visitor.response("GET");
    assert_eq!((answer.text(), answer.field("connection")), ("2", Some("close")));
    assert_eq!(visitor.rest(), (Vec::new(), End::Fin));
    drop((visitor, there));
    it.estate.assert_steady();
}

/// P8: responses without content, whatever their fields say; the next answer stands behind them.
#[test]
fn p8_head_204_and_304_have_no_content() {
    let it = ByHand::start();
    let mut visitor = it.estate.visitor();
    let mut there: Option<Peer> = None;
    for (method, response, length) in [
        ("HEAD", "200 OK\r\nContent-Length: 12345", Some("12345")),
        ("HEAD", "200 OK\r\nTransfer-Encoding: chunked", None),
        ("HEAD", "200 OK\r\nX: y", None),
        ("HEAD", "404 Not Found\r\nContent-Length: 9", Some("9")),
        ("GET", "204 No Content\r\nX: y", None),
        ("GET", "204 No Content\r\nContent-Length: 0", None),
        ("DELETE", "204 No Content\r\nX: y", None),
        ("GET", "304 Not Modified\r\nContent-Length: 777", Some("777")),
        ("GET", "304 Not Modified\r\nTransfer-Encoding: chunked", None),
        ("GET", "304 Not Modified\r\nETag: \"x\"", None),
        ("GET", "200 OK\r\nContent-Length: 0", Some("0")),
    ] {
        visitor.say(format!("{method} /x HTTP/1.1\r\nHost: pi.example.com\r\n\r\n"));
        visitor.say(get("pi.example.com", "/next"));
        let there = there.get_or_insert_with(|| it.connections.peer());
        assert_eq!(there.request().start, format!("{method} /x HTTP/1.1"));
        there.say(format!("HTTP/1.1 {response}\r\n\r\n"));
        let answer = visitor.response(method);
        assert!(answer.start.ends_with(response.lines().next().unwrap()), "{answer:?}");
        assert_eq!(answer.field("content-length"), length, "{method} {response}");
        assert_eq!(answer.field("transfer-encoding"), None, "{method} {response}");
        assert_eq!(there.request().path(), "/next", "behind {method} {response}");
        there.say(ok("next"));
        assert_eq!(visitor.response("GET").text(), "next", "behind {method} {response}");
    }
    drop((visitor, there));
    it.estate.assert_steady();
}

/// P8: chunks of any cut, extensions and trailers, both ways, and the next message behind them.
#[test]
fn p8_chunked_with_extensions_and_trailers() {
    let it = ByHand::start();
    let request = "POST / HTTP/1.1\r\nHost: pi.example.com\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut visitor = it.estate.visitor();
    let mut there = None;
    for pieces in [
        &["5;ext=1\r\nhello\r\n0006\r\n world\r\n0\r\nX-Check: 1\r\nY: 2\r\n\r\n"][..],
        &["5", ";ext=1\r", "\nhel", "lo\r\n0006", "\r\n world\r\n0\r", "\nX-Check: 1\r\n", "\r\n"],
        &["b;a=\"b;c\"\r\n", "hello world", "\r\n", "000", "\r\n\r", "\n"],
    ] {
        visitor.say(request);
        for piece in pieces {
            visitor.say(piece);
            std::thread::sleep(Duration::from_millis(5));
        }
        let there: &mut Peer = there.get_or_insert_with(|| it.connections.peer());
        let message = there.request();
        assert_eq!(message.text(), "hello world");
        assert_eq!(message.field("transfer-encoding"), Some("chunked"));
        // The same as an answer.
        there.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for piece in pieces {
            there.say(piece);
            std::thread::sleep(Duration::from_millis(5));
        }
        let answer = visitor.response("POST");
        assert_eq!(answer.text(), "hello world");
        assert_eq!(answer.field("transfer-encoding"), Some("chunked"));
    }
    drop((visitor, there));
    it.estate.assert_steady();
}

/// A response that ends with its connection is whole only if that ends in order.
#[test]
fn a_response_that_ends_with_its_connection() {
    let it = ByHand::start();
    let long = "x".repeat(1_000_000);
    for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0 200 OK\r\nX: y\r\n\r\n"] {
        let (mut visitor, mut there, _) = it.ask(&format!("{GET}\r\n"));
        let text = format!("{head}{long}");
        let home = std::thread::spawn(move || {
            there.say(text);
            there.finish();
        });
        let answer = visitor.response("GET");
        home.join().unwrap();
        assert_eq!(answer.field("connection"), Some("close"));
        assert!(answer.text() == long, "{} bytes", answer.body.len());
    }
    // Broken off, in each framing: a reset, never an end that looks sound.
    for response in [
        "HTTP/1.1 200 OK\r\n\r\nhel",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n",
    ] {
        let (mut visitor, mut there, _) = it.ask(&format!("{GET}\r\n"));
        there.say(response);
        // All of it has arrived before the home breaks off.
        let wanted = response.rsplit_once("\r\n\r\n").unwrap().1;
        let mut seen = String::new();
        while !seen.ends_with("hel") {
            seen += &String::from_utf8(visitor.bytes(1)).unwrap();
        }
        assert!(seen.contains(wanted.trim_end()), "{seen:?}");
        there.reset();
        let (_, end) = visitor.rest();
        assert_eq!(end, End::Reset, "{response:?}");
    }
    it.estate.assert_steady();
}

/// Visitors of HTTP/1.0: no chunks, no interim responses, closed unless they ask to be kept.
#[test]
fn http_1_0_visitors_get_what_they_understand() {
    const OLD: &str = "GET / HTTP/1.0\r\nHost: pi.example.com\r\n";
    const KEPT: &str = "GET / HTTP/1.0\r\nHost: pi.example.com\r\nConnection: keep-alive\r\n";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n\
                   0\r\nX: y\r\n\r\n";
    let it = ByHand::start();
    for (request, response, wanted) in [
        (OLD, &*ok("hi"), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"),
        (OLD, chunked, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nonetwo"),
        (KEPT, chunked, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nonetwo"),
        (
            OLD,
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
        ),
    ] {
        let answer = it.raw_answer(&format!("{request}\r\n"), response);
        assert_eq!(answer, (wanted.to_owned(), End::Fin), "{request:?} {response:?}");
    }
    // The home is asked in HTTP/1.1, and the visitor is kept if it wants that.
    let (mut visitor, mut there, request) = it.ask(&format!("{KEPT}\r\n"));
    assert_eq!(request.start, "GET / HTTP/1.1");
    there.say(ok("1"));
    let answer = visitor.response("GET");
    assert_eq!((answer.text(), answer.field("connection")), ("1", Some("keep-alive")));
    visitor.say(format!("{OLD}\r\n"));
    there.request();
    there.say(ok("2"));
    assert_eq!(visitor.response("GET").text(), "2");
    assert_eq!(visitor.rest(), (Vec::new(), End::Fin));
    drop((visitor, there));
    // A home of HTTP/1.0.
    for (more, kept) in [("", false), ("Connection: keep-alive\r\n", true)] {
        let (mut visitor, mut there, _) = it.ask(&format!("{GET}\r\n"));
        there.say(format!("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n{more}\r\n1"));
        assert_eq!(visitor.response("GET").text(), "1");
        visitor.say(format!("{GET}\r\n"));
        let mut there = if kept { there } else { it.connections.peer() };
        there.request();
        there.say(ok("2"));
        assert_eq!(visitor.response("GET").text(), "2");
    }
    it.estate.assert_steady();
}

/// RFC 9112, 3.2.2: the absolute form's name wins, and the home is asked in origin form.
#[test]
fn absolute_form_wins_over_host() {
    let it = ByHand::start();
    for (target, path, host) in [
        ("http://pi.example.com/a?b", "/a?b", "pi.example.com"),
        ("http://PI.example.com:80", "/", "PI.example.com:80"),
        ("HTTP://pi.example.com?q", "/?q", "pi.example.com"),
    ] {
        let (_, _, request) =
            it.ask(&format!("GET {target} HTTP/1.1\r\nHost: away.example.com\r\n\r\n"));
        assert_eq!((request.path(), request.field("host")), (path, Some(host)));
        assert_eq!(request.field("x-forwarded-host"), Some(host));
    }
    let (_, _, request) = it.ask("OPTIONS http://pi.example.com HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(request.start, "OPTIONS * HTTP/1.1");
    it.estate.assert_steady();
}
