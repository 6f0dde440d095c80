//! After visitors of every kind, each counter of either role is exactly what was sent.

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Ask, client_door, counts, metrics, one, server_door, status};
use crate::harness::{PATIENCE, free_port, wait_until};
use crate::home::Home;
use crate::house::{Vps, client_port, client_service, server_port, server_service};
use crate::http_house::{Lot, get, naming, read_response};
use crate::udp::{UdpHome, client_udp, datagram, quoted, server_udp, turned};
use crate::visitor::{client_hello, connect, reset};

/// What one entry to one service, or to none, has counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Sum {
    ends: BTreeMap<String, u64>,
    statuses: BTreeMap<String, u64>,
    received: u64,
    sent: u64,
    /// Visits that got a link, and that got a byte of an answer.
    linked: u64,
    answered: u64,
}

impl Sum {
    fn read(traffic: &Value) -> Sum {
        let owned = |list: &Value| {
            counts(list).into_iter().map(|(word, count)| (word.to_owned(), count)).collect()
        };
        let observed = |histogram: &Value| {
            let buckets = histogram["counts"].as_array().unwrap();
            buckets.iter().map(|count| count.as_u64().unwrap()).sum()
        };
        Sum {
            ends: owned(&traffic["ends"]),
            statuses: owned(&traffic["statuses"]),
            received: traffic["received_bytes"].as_u64().unwrap(),
            sent: traffic["sent_bytes"].as_u64().unwrap(),
            linked: observed(&traffic["link_wait"]),
            answered: observed(&traffic["first_byte"]),
        }
    }

    fn ended(&mut self, word: &str, count: u64) {
        *self.ends.entry(word.into()).or_default() += count;
    }

    fn status(&mut self, class: &str, count: u64) {
        *self.statuses.entry(class.into()).or_default() += count;
    }
}

/// By service ("" for none) and entry.
type Books = BTreeMap<(String, String), Sum>;

fn books(status: &Value) -> Books {
    let mut books = Books::new();
    let mut add = |service: &str, list: &Value| {
        for traffic in list.as_array().unwrap() {
            let entry = traffic["entry"].as_str().unwrap();
            books.insert((service.to_owned(), entry.to_owned()), Sum::read(traffic));
        }
    };
    add("", &status["strays"]);
    for service in status["services"].as_array().unwrap() {
        add(service["name"].as_str().unwrap(), &service["traffic"]);
    }
    books
}

fn of<'a>(books: &'a mut Books, service: &str, entry: &str) -> &'a mut Sum {
    books.entry((service.into(), entry.into())).or_default()
}

/// The metrics of the same numbers.
fn assert_same_as_metrics(books: &Books, series: &BTreeMap<String, f64>) {
    let mut left = series.clone();
    left.retain(|name, _| {
        ["visitors_total", "responses_total", "received_bytes_total", "sent_bytes_total"]
            .iter()
            .any(|known| name.starts_with(&format!("underpass_{known}{{")))
    });
    let mut take = |name: String, value: u64| {
        assert_eq!(left.remove(&name), Some(value as f64), "{name}");
    };
    for ((service, entry), sum) in books {
        let labels = format!("service=\"{service}\",entry=\"{entry}\"");
        for (end, count) in &sum.ends {
            take(format!("underpass_visitors_total{{{labels},end=\"{end}\"}}"), *count);
        }
        for (class, count) in &sum.statuses {
            take(format!("underpass_responses_total{{{labels},class=\"{class}\"}}"), *count);
        }
        take(format!("underpass_received_bytes_total{{{labels}}}"), sum.received);
        take(format!("underpass_sent_bytes_total{{{labels}}}"), sum.sent);
        for (name, count) in [("link_wait", sum.linked), ("first_byte", sum.answered)] {
            let known = series.get(&format!("underpass_{name}_seconds_count{{{labels}}}"));
            // Those whom no service takes have none of their own where there is nothing to say.
            let expected = (!service.is_empty() || count > 0).then_some(count as f64);
            assert_eq!(known.copied(), expected, "{name} of {labels}");
        }
    }
    left.retain(|_, value| *value != 0.0);
    assert!(left.is_empty(), "nobody has sent {left:?}");
}

/// One connection that is passed through to an echo: says all of it and its end, and reads as much.
fn echoed(to: SocketAddr, first: &[u8], more: usize) -> u64 {
    let mut stream = connect(to).unwrap();
    let said = [first, &vec![b'x'; more]].concat();
    let mut writer = stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(&said).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).unwrap();
        assert!(heard == said, "another one's bytes");
    });
    said.len() as u64
}

/// Requests on one connection, and what went over its socket each way. The last one closes it.
fn requests(to: SocketAddr, requests: &[(&str, u16)]) -> (u64, u64) {
    struct Counted(TcpStream, u64);
    impl Read for Counted {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let length = self.0.read(buffer)?;
            self.1 += length as u64;
            Ok(length)
        }
    }
    let mut stream = connect(to).unwrap();
    let mut reader = BufReader::new(Counted(stream.try_clone().unwrap(), 0));
    let mut said = 0;
    for (request, expected) in requests {
        stream.write_all(request.as_bytes()).unwrap();
        said += request.len() as u64;
        let method = request.split(' ').next().unwrap();
        let answer = read_response(&mut reader, method).unwrap();
        assert_eq!(answer.status(), *expected, "{request}");
    }
    stream.shutdown(Shutdown::Write).unwrap();
    reader.read_to_end(&mut Vec::new()).unwrap();
    (said, reader.get_ref().1)
}

/// A visit that gets nothing but what the server itself says; what that was.
fn turned_away(to: SocketAddr, said: &[u8]) -> (u64, u64) {
    let mut stream = connect(to).unwrap();
    stream.write_all(said).unwrap();
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard);
    (said.len() as u64, heard.len() as u64)
}

/// A home that reads a little, says a little, and resets.
fn breaking(ip: std::net::Ipv4Addr) -> Home {
    Home::start(ip, |mut stream| {
        let mut heard = [0; 5];
        if stream.read_exact(&mut heard).is_ok() {
            let _ = stream.write_all(b"half");
            // So that what was said has gone before the reset.
            std::thread::sleep(Duration::from_millis(200));
            reset(stream);
        }
    })
}

/// Reads what comes before a reset.
fn broken(to: SocketAddr) -> (u64, u64) {
    let mut stream = connect(to).unwrap();
    stream.write_all(b"hello").unwrap();
    let mut heard = [0; 4];
    stream.read_exact(&mut heard).unwrap();
    assert!(stream.read(&mut heard).is_err(), "a reset");
    (5, 4)
}

fn datagrams(to: SocketAddr, lengths: &[usize]) -> (u64, u64) {
    let socket = UdpSocket::bind((to.ip(), 0)).unwrap();
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = vec![0; 65_536];
    for (seed, length) in lengths.iter().enumerate() {
        let said = datagram(seed, *length);
        socket.send(&said).unwrap();
        let heard = socket.recv(&mut buffer).unwrap();
        assert!(buffer[..heard] == turned(&said), "another answer");
    }
    let sum = lengths.iter().sum::<usize>() as u64;
    (sum, sum)
}

#[test]
fn every_counter_of_both_roles_is_what_was_sent() {
    let mut vps = Vps::new();
    let [http, tcp, gone, breaks, dns, server_at, client_at] =
        std::array::from_fn(|_| free_port(vps.ip));
    vps.server_extra = format!("http_addr = \"{http}\"\n");
    let (echo, site) = (Home::echo(vps.ip), naming(vps.ip, "pi"));
    let breaking = breaking(vps.ip);
    let udp = UdpHome::turning(SocketAddr::new(vps.ip.into(), 0));
    let nowhere = free_port(vps.ip);
    let pi = Lot::web("pi", site.address, echo.address);
    let away = server_service("away", &["away.example.com"]);
    let _server = vps.server(
        &(server_door(server_at, "")
            + &pi.server_service()
            + &away
            + &Lot::http("off", http).server_service()
            + &server_port("port", tcp)
            + &server_port("gone", gone)
            + &server_port("breaks", breaks)
            + &server_udp("dns", &quoted(dns), "udp_idle_time = 1")),
    );
    let _client = vps.client_ready(
        "client",
        &(client_door(client_at)
            + &pi.client_service()
            + &client_port("port", echo.address)
            + &client_port("gone", nowhere)
            + &client_port("breaks", breaking.address)
            + &client_udp("dns", &udp.address.to_string())),
    );
    // The port was looked at, and `ready` visited.
    let visited = |seen: &Value| one(&seen["services"], "name", "ready")["visitors"] != 0;
    wait_until(PATIENCE, "nobody is here", || !visited(&status(server_at)));
    let before = status(server_at);
    let mut expected = books(&before);
    let listened = |status: &Value, address: SocketAddr| {
        let door = one(&status["listeners"], "address", &address.to_string());
        (door["accepted"].as_u64().unwrap(), door["refused"].as_u64().unwrap())
    };

    let hello = client_hello(Some("www.pi.example.com"));
    for more in [0, 1, 5_000, 300_000, 2_000_000] {
        let sum = of(&mut expected, "pi", "https");
        let bytes = echoed(vps.https, &hello, more);
        (sum.received, sum.sent) = (sum.received + bytes, sum.sent + bytes);
        (sum.linked, sum.answered) = (sum.linked + 1, sum.answered + 1);
        sum.ended("done", 1);
    }
    let post = "POST /up HTTP/1.1\r\nHost: pi.example.com\r\nContent-Length: 5\r\n\r\nhello";
    let page = get("pi.example.com", "/");
    let (said, heard) =
        requests(http, &[(&page, 200), (post, 200), (&page, 200), (&page, 200), (&page, 200)]);
    let sum = of(&mut expected, "pi", "http");
    (sum.received, sum.sent) = (said, heard);
    // A link is asked for once, and kept for all.
    (sum.linked, sum.answered) = (1, 5);
    sum.ended("done", 5);
    sum.status("2xx", 5);
    for (host, service, end, status, class) in [
        ("off.example.com", "off", "offline", 503, "5xx"),
        ("nobody.example.org", "", "unknown_name", 404, "4xx"),
    ] {
        let (said, heard) = requests(http, &[(&get(host, "/"), status)]);
        let sum = of(&mut expected, service, "http");
        (sum.received, sum.sent, sum.answered) = (said, heard, 1);
        sum.ended(end, 1);
        sum.status(class, 1);
    }
    for (name, service, end) in
        [("nobody.example.org", "", "unknown_name"), ("away.example.com", "away", "offline")]
    {
        let (said, heard) = turned_away(vps.https, &client_hello(Some(name)));
        assert!(heard > 0, "an alert");
        let sum = of(&mut expected, service, "https");
        (sum.received, sum.sent) = (sum.received + said, sum.sent + heard);
        sum.ended(end, 1);
    }
    let (said, heard) = turned_away(vps.https, b"SSH-2.0-x\r\n");
    let sum = of(&mut expected, "", "https");
    (sum.received, sum.sent) = (sum.received + said, sum.sent + heard);
    sum.ended("wrong_protocol", 1);
    for more in [1, 70_000] {
        let bytes = echoed(tcp, b"hello", more);
        let sum = of(&mut expected, "port", "tcp");
        (sum.received, sum.sent) = (sum.received + bytes, sum.sent + bytes);
        (sum.linked, sum.answered) = (sum.linked + 1, sum.answered + 1);
        sum.ended("done", 1);
    }
    for _ in 0..2 {
        let (said, heard) = broken(breaks);
        let sum = of(&mut expected, "breaks", "tcp");
        (sum.received, sum.sent) = (sum.received + said, sum.sent + heard);
        (sum.linked, sum.answered) = (sum.linked + 1, sum.answered + 1);
        sum.ended("home_reset", 1);
    }
    for _ in 0..3 {
        let (said, heard) = turned_away(gone, b"");
        assert_eq!(heard, 0);
        let sum = of(&mut expected, "gone", "tcp");
        sum.received += said;
        sum.linked += 1;
        sum.ended("home_refused", 1);
    }
    for lengths in [&[1, 100][..], &[9_000], &[5, 5, 5]] {
        let (said, heard) = datagrams(dns, lengths);
        let sum = of(&mut expected, "dns", "udp");
        (sum.received, sum.sent) = (sum.received + said, sum.sent + heard);
        sum.answered += 1;
        sum.ended("idle", 1);
    }

    let start = Instant::now();
    let seen = loop {
        let seen = status(server_at);
        let now = books(&seen);
        if now == expected {
            break seen;
        }
        let differs = || {
            let all: std::collections::BTreeSet<_> = now.keys().chain(expected.keys()).collect();
            let pairs = all.into_iter().map(|key| (key, now.get(key), expected.get(key)));
            pairs.filter(|(_, now, expected)| now != expected).collect::<Vec<_>>()
        };
        assert!(start.elapsed() < PATIENCE, "seen, and expected: {:#?}", differs());
        std::thread::sleep(Duration::from_millis(50));
    };
    for service in seen["services"].as_array().unwrap() {
        assert_eq!((&service["visitors"], &service["waiting"]), (&0.into(), &0.into()));
    }
    for (address, came) in [(vps.https, 8), (http, 3), (tcp, 2), (gone, 3), (breaks, 2), (dns, 3)] {
        let (accepted, refused) = listened(&seen, address);
        let before = listened(&before, address);
        assert_eq!((accepted - before.0, refused), (came, before.1), "{address}");
    }
    let numbers = metrics(server_at);
    assert_same_as_metrics(&expected, &numbers);
    for listener in seen["listeners"].as_array().unwrap() {
        let [address, entry, service] =
            ["address", "entry", "service"].map(|key| listener[key].as_str().unwrap_or_default());
        let labels = format!("address=\"{address}\",entry=\"{entry}\",service=\"{service}\"");
        let name = format!("underpass_listener_accepted_total{{{labels}}}");
        let accepted = listener["accepted"].as_u64().unwrap() as f64;
        // Looking is a connection, too.
        let more = if entry == "admin" { 1.0 } else { 0.0 };
        assert_eq!(numbers.get(&name), Some(&(accepted + more)), "{name}: {numbers:#?}");
    }
    let failures = seen["failures"].as_array().unwrap();
    let failed = |service: &str, end: &str| {
        let is_it =
            |it: &&Value| it["service"].as_str().unwrap_or("") == service && it["end"] == end;
        failures.iter().filter(is_it).count()
    };
    assert_eq!(failed("gone", "home_refused"), 3, "{failures:#?}");
    assert_eq!(failed("breaks", "home_reset"), 2, "{failures:#?}");
    assert_eq!(failed("away", "offline"), 1, "{failures:#?}");
    assert_eq!(failed("dns", "idle"), 0, "it is how they end: {failures:#?}");
    let unknown = failures.iter().find(|it| it["name"] == "nobody.example.org").unwrap();
    assert_eq!(unknown["visitor"], "127.0.0.1");

    at_home(client_at, &expected, site.accepted() as u64);
    history_has(server_at, &seen);
    let at_home = status(client_at);
    let services = at_home["services"].as_array().unwrap();
    let all: u64 = services.iter().map(|it| it["sent_bytes"].as_u64().unwrap()).sum();
    wait_until(PATIENCE, "the next sample at home", || {
        let history = Ask::get("/api/v1/history").json_at(client_at);
        sampled(&history, "") == all
    });
}

/// The client has passed as many bytes as the server where they are passed through as they are.
#[track_caller]
fn at_home(client_at: SocketAddr, expected: &Books, http_dials: u64) {
    let seen = status(client_at);
    let numbers = metrics(client_at);
    let dials = |name: &str| counts(&one(&seen["services"], "name", name)["dials"]);
    assert_eq!(dials("port"), [("connected", 2)].into());
    assert_eq!(dials("breaks"), [("connected", 2)].into());
    assert_eq!(dials("gone"), [("refused", 3)].into());
    assert_eq!(dials("pi"), [("connected", 5 + http_dials)].into());
    for (name, entry) in [("port", "tcp"), ("breaks", "tcp"), ("dns", "udp"), ("gone", "tcp")] {
        let service = one(&seen["services"], "name", name);
        let sum = &expected[&(name.to_owned(), entry.to_owned())];
        let bytes = if name == "gone" { (0, 0) } else { (sum.received, sum.sent) };
        let counted = ["received_bytes", "sent_bytes"].map(|key| service[key].as_u64().unwrap());
        assert_eq!((counted[0], counted[1]), bytes, "{name}");
        let of = |word: &str| {
            numbers[&format!("underpass_local_{word}_bytes_total{{service=\"{name}\"}}")]
        };
        assert_eq!((of("received"), of("sent")), (bytes.0 as f64, bytes.1 as f64), "{name}");
        assert_eq!(service["visitors"], 0, "{name}");
    }
    let refused = &numbers["underpass_local_dials_total{service=\"gone\",result=\"refused\"}"];
    assert_eq!(*refused, 3.0);
    assert_eq!(numbers["underpass_local_answers{service=\"gone\"}"], 0.0);
    assert_eq!(numbers["underpass_local_answers{service=\"port\"}"], 1.0);
    let gone = one(&seen["services"], "name", "gone");
    assert_eq!(gone["answers"], false);
    let error = gone["error"].as_str().unwrap().to_lowercase();
    assert!(error.contains("refused"), "{error}");
    let port = one(&seen["services"], "name", "port");
    assert_eq!((&port["answers"], &port["error"]), (&true.into(), &Value::Null));
}

/// All bytes to visitors that the samples of a service have; "" is all of them.
#[track_caller]
fn sampled(history: &Value, name: &str) -> u64 {
    let series = one(&history["services"], "name", name);
    let [received, sent, visitors] =
        ["received", "sent", "visitors"].map(|key| series[key].as_array().unwrap());
    assert_eq!((received.len(), sent.len()), (visitors.len(), visitors.len()));
    sent.iter().map(|bytes| bytes.as_u64().unwrap()).sum()
}

/// The samples of the last hour have all bytes, of each service and of all.
#[track_caller]
fn history_has(door: SocketAddr, seen: &Value) {
    let total = |name: Option<&str>| -> u64 {
        let services = seen["services"].as_array().unwrap().iter();
        let services = services.filter(|it| name.is_none_or(|name| it["name"] == name));
        let traffic = services.flat_map(|it| it["traffic"].as_array().unwrap());
        traffic.map(|it| it["sent_bytes"].as_u64().unwrap()).sum()
    };
    wait_until(PATIENCE, "the next sample", || {
        let history = Ask::get("/api/v1/history").json_at(door);
        sampled(&history, "") == total(None)
    });
    let history = Ask::get("/api/v1/history?range=hour").json_at(door);
    assert_eq!(history["step"], 5);
    for name in ["pi", "port", "dns", "breaks"] {
        assert_eq!(sampled(&history, name), total(Some(name)), "{name}");
    }
    assert_eq!(Ask::get("/api/v1/history?range=day").json_at(door)["step"], 60);
}

/// Nobody has asked for it anywhere else.
#[test]
fn a_client_that_may_not_and_strangers_are_counted_at_the_tunnel_port() {
    let vps = Vps::new();
    let door = free_port(vps.ip);
    let _server = vps.server(&(server_door(door, "") + &server_port("port", free_port(vps.ip))));
    let mut stranger = connect(vps.tunnel).unwrap();
    // A first Noise message of the right length that no key opens.
    stranger.write_all(&[&[0x30, 0x00][..], &[7; 48]].concat()).unwrap();
    let tunnel = |key: &str| status(door)["tunnel"][key].as_u64().unwrap();
    wait_until(PATIENCE, "it is counted", || tunnel("failed_handshakes") == 1);
    let wrong = client_port("port", vps.ready.address).replace("s3cr3t-port", "s3cr3t-wrong");
    let unknown = client_service("nobody", vps.ready.address);
    let client = vps.client_ready("client", &(wrong + &unknown));
    wait_until(PATIENCE, "both are counted", || {
        (tunnel("wrong_tokens"), tunnel("unknown_services")) == (1, 1)
    });
    let numbers = metrics(door);
    for reason in ["failed_handshake", "wrong_token", "unknown_service"] {
        let series = format!("underpass_tunnel_rejected_total{{reason=\"{reason}\"}}");
        assert_eq!(numbers.get(&series), Some(&1.0), "{series}: {numbers:#?}");
    }
    drop(client);
}
