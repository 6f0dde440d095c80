//! How it is: homes, their lines, what is registered and what is not, and who gets a name.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{Ask, client_door, metrics, one, server_door, status};
use crate::harness::{PATIENCE, SECRET, eventually, free_port, wait_until};
use crate::home::Home;
use crate::house::{Vps, client_port, server_port, server_service};
use crate::pitfalls_line::Relay;
use crate::visitor::connect;

fn wall() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// Server-sent events of one stream.
pub(super) struct Events(BufReader<TcpStream>);

impl Events {
    fn of(door: SocketAddr) -> Events {
        Events::asked(Ask::get("/api/v1/events"), door)
    }

    pub(super) fn of_from(source: Ipv4Addr, door: SocketAddr) -> Events {
        Events::asked(Ask::get("/api/v1/events").from(source), door)
    }

    fn asked(ask: Ask, door: SocketAddr) -> Events {
        let mut stream = ask.open(door).unwrap();
        stream.write_all(&ask.bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let head = crate::http_house::read_head(&mut reader).unwrap();
        assert_eq!(head.field("content-type"), Some("text/event-stream"), "{head:?}");
        super::assert_protected(&head);
        Events(reader)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line
    }

    #[track_caller]
    pub(super) fn next(&mut self) -> Value {
        assert_eq!(self.line(), "event: status\n");
        let data = self.line();
        let data = data.strip_prefix("data: ").unwrap_or_else(|| panic!("no data: {data}"));
        assert_eq!(self.line(), "\n");
        serde_json::from_str(data).unwrap()
    }
}

#[test]
fn events_come_at_once_and_every_two_seconds_until_the_program_ends() {
    let vps = Vps::new();
    let doors = [free_port(vps.ip), free_port(vps.ip)];
    let mut server = vps.server(&server_door(doors[0], ""));
    let mut client = vps.client_ready("client", &client_door(doors[1]));
    for (door, role) in doors.into_iter().zip(["server", "client"]) {
        let start = Instant::now();
        let mut events = Events::of(door);
        let first = events.next();
        assert!(start.elapsed() < Duration::from_secs(1), "at once");
        assert_eq!(first["role"], role);
        let second = events.next();
        let third = events.next();
        let times = [&first, &second, &third].map(|event| event["time"].as_f64().unwrap());
        let pause = times[2] - times[1];
        assert!((1.9..4.0).contains(&pause), "{times:?}");
        // It is the snapshot that is asked for elsewhere.
        let asked = status(door);
        let keys =
            |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
        assert_eq!(keys(&third), keys(&asked));
    }
    // What happens is in the next one.
    let mut events = Events::of(doors[0]);
    assert_eq!(events.next()["services"][0]["online"], true);
    client.stop();
    let start = Instant::now();
    while events.next()["services"][0]["online"] == true {
        assert!(start.elapsed() < PATIENCE, "nobody says that it is gone");
    }
    server.stop();
    let mut rest = Vec::new();
    events.0.read_to_end(&mut rest).unwrap();
}

#[test]
fn a_round_trip_is_measured_soon_and_what_comes_back_is_counted() {
    let mut vps = Vps::new();
    let doors = [free_port(vps.ip), free_port(vps.ip)];
    let _server = vps.server(&server_door(doors[0], ""));
    let mut relay = Relay::start(vps.ip, vps.tunnel);
    vps.dial = Some(relay.address);
    let begun = wall();
    let _client = vps.client_ready("client", &client_door(doors[1]));
    let home = || status(doors[0])["homes"][0].clone();
    let at_server = |seen: &Value| seen["homes"][0]["round_trip_seconds"].as_f64();
    let at_client = |seen: &Value| seen["servers"][0]["round_trip_seconds"].as_f64();
    for (door, ask) in doors.into_iter().zip([&at_server as &dyn Fn(&Value) -> _, &at_client]) {
        let trip = eventually(PATIENCE, "a round trip", || ask(&status(door)));
        assert!(trip < 1.0, "{trip} s on one machine");
        let since = match door == doors[0] {
            true => status(door)["homes"][0]["since"].as_f64().unwrap(),
            false => status(door)["servers"][0]["since"].as_f64().unwrap(),
        };
        let after = wall() - since;
        assert!(after < 4.0, "{after} s, and 2 on a quiet machine");
        assert!((begun - 0.1..=wall()).contains(&since), "{since} of {begun}");
    }
    let first = home();
    assert_eq!((&first["reconnects"], &first["services"]), (&0.into(), &json!(["ready"])));
    assert_eq!(first["draining"], false);
    assert!(first["least_round_trip_seconds"].as_f64() <= first["round_trip_seconds"].as_f64());
    assert!(first["spare_links"].as_u64() >= Some(1), "{first}");
    for times in 1..=2 {
        relay.cut();
        wait_until(PATIENCE, "the home is gone", || home().is_null());
        relay.restore();
        wait_until(PATIENCE * 2, "the home is back", || home()["reconnects"] == times);
    }
    vps.wait_ready();
    let upstream = status(doors[1])["servers"][0].clone();
    assert_eq!((&upstream["sessions"], &upstream["state"]), (&3.into(), &"connected".into()));
    let numbers = metrics(doors[0]);
    assert_eq!(numbers["underpass_home_reconnects_total{service=\"ready\"}"], 2.0);
    let sessions = "underpass_server_sessions_total";
    let numbers = metrics(doors[1]);
    let found = numbers.iter().find(|(name, _)| name.starts_with(sessions)).unwrap();
    assert_eq!(*found.1, 3.0);
}

#[test]
fn a_service_is_offline_since_its_home_went() {
    let vps = Vps::new();
    let door = free_port(vps.ip);
    let begun = wall();
    let server = vps.server(&server_door(door, ""));
    let service = || one(&status(door)["services"], "name", "ready").clone();
    let since = |service: &Value| service["since"].as_f64().unwrap();
    let never = service();
    assert_eq!((&never["online"], &never["home"]), (&false.into(), &Value::Null));
    assert!((begun - 0.5..wall()).contains(&since(&never)), "{never}");
    let client = vps.client_ready("client", "");
    let online = service();
    assert_eq!(online["online"], true);
    assert!(online["home"].as_str().unwrap().starts_with("127."), "{online}");
    assert!(since(&online) > since(&never) && since(&online) <= wall(), "{online}");
    // It stays so while it stands.
    wait_until(PATIENCE, "a second has passed", || wall() - since(&online) > 1.0);
    assert!((since(&service()) - since(&online)).abs() < 0.01);
    let before = wall();
    drop(client);
    let offline = eventually(PATIENCE, "it is offline", || {
        Some(service()).filter(|service| service["online"] == false)
    });
    assert!((before - 0.01..=wall()).contains(&since(&offline)), "{offline} {before}");
    assert_eq!(offline["home"], Value::Null);
    wait_until(PATIENCE, "a second has passed", || wall() - since(&offline) > 1.0);
    assert!((since(&service()) - since(&offline)).abs() < 0.01);
    assert_eq!(metrics(door)["underpass_service_online{service=\"ready\",type=\"https\"}"], 0.0);
    drop(server);
}

#[test]
fn a_client_says_what_is_registered_and_why_something_is_not() {
    let vps = Vps::new();
    let (door, port) = (free_port(vps.ip), free_port(vps.ip));
    let echo = Home::echo(vps.ip);
    let services = server_port("port", port) + &server_port("other", free_port(vps.ip));
    let mut server = vps.server(&services);
    let wrong = client_port("other", echo.address)
        .replace(&format!("{SECRET}-other"), &format!("{SECRET}!"));
    let file = client_door(door)
        + &client_port("port", echo.address)
        + &wrong
        + &client_port("nobody", echo.address);
    let _client = vps.client_ready("client", &file);
    let of = |seen: &Value, name: &str| {
        let registration = &one(&seen["services"], "name", name)["registrations"][0];
        let text = |key: &str| registration[key].as_str().unwrap_or_default().to_owned();
        (text("state"), text("reason"))
    };
    wait_until(PATIENCE, "all are answered for", || {
        ["port", "other", "nobody"].iter().all(|name| of(&status(door), name).0 != "pending")
    });
    let seen = status(door);
    assert_eq!(of(&seen, "port"), ("registered".into(), String::new()));
    let (state, reason) = of(&seen, "other");
    assert!(state == "refused" && reason.contains("token"), "{state}: {reason}");
    let (state, reason) = of(&seen, "nobody");
    assert!(state == "refused" && reason.contains("service"), "{state}: {reason}");
    let upstream = &seen["servers"][0];
    assert_eq!(upstream["address"], vps.tunnel.to_string());
    assert_eq!(upstream["state"], "connected");
    // Nobody has asked at home yet; then somebody has, and it is there.
    let at_home = |seen: &Value| one(&seen["services"], "name", "port").clone();
    let never = at_home(&seen);
    assert_eq!((&never["answers"], &never["asked"]), (&Value::Null, &Value::Null));
    let visit = || {
        let mut visitor = connect(port).unwrap();
        let _ = visitor.write_all(b"hello");
        let _ = visitor.read(&mut [0; 5]);
    };
    let before = wall();
    visit();
    let there = at_home(&status(door));
    assert_eq!((&there["answers"], &there["error"]), (&true.into(), &Value::Null));
    let asked = there["asked"].as_f64().unwrap();
    assert!((before - 0.01..=wall()).contains(&asked), "{there}");
    // What runs at home has stopped.
    drop(echo);
    visit();
    let gone = at_home(&status(door));
    assert_eq!(gone["answers"], false);
    assert!(gone["error"].as_str().unwrap().to_lowercase().contains("refused"), "{gone}");
    let server_label = vps.tunnel.to_string();
    let numbers = metrics(door);
    let registered = |service: &str| {
        numbers[&format!(
            "underpass_service_registered{{service=\"{service}\",server=\"{server_label}\"}}"
        )]
    };
    assert_eq!(["port", "other", "nobody"].map(registered), [1.0, 0.0, 0.0]);
    // The server ends: it is waited for, and the reason is known.
    server.stop();
    wait_until(PATIENCE, "it is gone", || status(door)["servers"][0]["state"] != "connected");
    let seen = status(door);
    assert!(seen["servers"][0]["error"].is_string(), "{seen:#}");
    assert_eq!(of(&seen, "port").0, "pending");
}

#[test]
fn explain_says_who_gets_a_name() {
    let mut vps = Vps::new();
    let (door, http) = (free_port(vps.ip), free_port(vps.ip));
    vps.server_extra = format!("http_addr = \"{http}\"\n");
    let service = server_service("pi", &["pi.example.com", "**.pi.example.com"]);
    let web = service.replace("\"https\"", "\"http\"") + "path_prefix = \"/api\"\n";
    let _server = vps.server(&(server_door(door, "") + &web));
    let lines = |query: &str| {
        let answer = Ask::get(&format!("/api/v1/explain?{query}")).json_at(door);
        answer["lines"].as_array().unwrap().iter().map(|line| line.to_string()).collect::<String>()
    };
    assert!(lines("name=www.pi.example.com&path=/api/x").contains("service pi"));
    assert!(lines("name=nobody.example.org").contains("nobody"));
    assert!(lines("name=www.pi.example.com&path=/other").contains("nobody"));
    let odd = lines("name=%3Cscript%3E");
    assert!(!odd.contains("service pi"), "{odd}");
}
