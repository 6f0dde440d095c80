//! Snapshots for tests: one of each role in which nothing is empty and no number is another's.

use underpass::status::{
    BUCKETS, ClientStatus, Configuration, Count, Failure, Histogram, Home, HomeService, Listener,
    Process, Program, Registration, ServedService, ServerStatus, Status, Traffic, TunnelJunk,
    Upstream,
};

/// 2 December 2026, 00:00:00 UTC.
pub(crate) const NOW: f64 = 1_796_169_600.0;

/// Two homes, one of them rathole's; three services, one of them offline.
pub(crate) fn server() -> Status {
    Status::Server(server_status())
}

pub(crate) fn server_status() -> ServerStatus {
    ServerStatus {
        program: program("server.toml"),
        services: vec![
            ServedService {
                name: "pi".into(),
                r#type: "web".into(),
                names: vec!["pi.example.com".into(), "*.pi.example.com".into()],
                ports: vec![],
                online: true,
                home: Some("198.51.100.7:51234".into()),
                balance: None,
                shares: vec![],
                since: NOW - 7_200.0,
                visitors: 3,
                waiting: 1,
                traffic: vec![traffic("http", 1_000), traffic("https", 2_000)],
            },
            ServedService {
                name: "pi-ssh".into(),
                r#type: "tcp".into(),
                names: vec![],
                ports: vec!["0.0.0.0:2222".into(), "[::]:2222".into()],
                online: true,
                home: Some("198.51.100.7:51234".into()),
                balance: None,
                shares: vec![],
                since: NOW - 7_200.0,
                visitors: 1,
                waiting: 0,
                traffic: vec![traffic("tcp", 3_000)],
            },
            ServedService {
                name: "cabin".into(),
                r#type: "https".into(),
                names: vec!["cabin.example.com".into()],
                ports: vec![],
                online: false,
                home: None,
                balance: None,
                shares: vec![],
                since: NOW - 250_000.0,
                visitors: 0,
                waiting: 0,
                traffic: vec![traffic("https", 4_000)],
            },
        ],
        homes: vec![
            Home {
                address: "198.51.100.7:51234".into(),
                program: "underpass 0.1.0".into(),
                since: NOW - 7_200.0,
                round_trip_seconds: Some(0.0213),
                least_round_trip_seconds: Some(0.0187),
                spare_links: 8,
                used_links: 4,
                reconnects: 2,
                draining: false,
                services: vec!["pi".into(), "pi-ssh".into()],
            },
            Home {
                address: "203.0.113.9:40000".into(),
                program: "rathole".into(),
                since: NOW - 90.0,
                round_trip_seconds: None,
                least_round_trip_seconds: None,
                spare_links: 5,
                used_links: 0,
                reconnects: 0,
                draining: true,
                services: vec![],
            },
        ],
        listeners: vec![
            listener("0.0.0.0:2333", "tunnel", None, 51),
            listener("0.0.0.0:80", "http", None, 61),
            listener("0.0.0.0:443", "https", None, 71),
            listener("0.0.0.0:2222", "tcp", Some("pi-ssh"), 81),
            listener("127.0.0.1:9333", "admin", None, 91),
        ],
        strays: vec![Traffic {
            entry: "https".into(),
            ends: vec![count("unknown_name", 17), count("malformed", 19), count("no_name", 23)],
            received_bytes: 4_321,
            sent_bytes: 321,
            ..Traffic::default()
        }],
        tunnel: TunnelJunk {
            strangers: 4,
            failed_handshakes: 31,
            timeouts: 37,
            wrong_tokens: 41,
            unknown_services: 43,
        },
        failures: vec![Failure {
            time: NOW - 12.5,
            entry: "https".into(),
            visitor: "192.0.2.44".into(),
            name: "cabin.example.com".into(),
            service: Some("cabin".into()),
            end: "offline".into(),
            why: "no home has this service".into(),
        }],
    }
}

/// Connected to one server, waiting for another.
pub(crate) fn client() -> Status {
    Status::Client(client_status())
}

pub(crate) fn client_status() -> ClientStatus {
    let registered = |server: &str| Registration {
        server: server.into(),
        resolved: None,
        state: "registered".into(),
        reason: None,
    };
    ClientStatus {
        program: program("client.toml"),
        servers: vec![
            Upstream {
                address: "vps.example.com:2333".into(),
                resolved: None,
                state: "connected".into(),
                since: NOW - 7_200.0,
                error: None,
                round_trip_seconds: Some(0.0213),
                least_round_trip_seconds: Some(0.0187),
                spare_links: 8,
                used_links: 4,
                sessions: 3,
            },
            Upstream {
                address: "old.example.com:2333".into(),
                resolved: None,
                state: "waiting".into(),
                since: NOW - 60.0,
                error: Some("connection refused".into()),
                round_trip_seconds: None,
                least_round_trip_seconds: None,
                spare_links: 0,
                used_links: 0,
                sessions: 1,
            },
        ],
        services: vec![
            HomeService {
                name: "pi".into(),
                r#type: "web".into(),
                local_addr: "traefik:443".into(),
                registrations: vec![
                    registered("vps.example.com:2333"),
                    Registration {
                        server: "old.example.com:2333".into(),
                        resolved: None,
                        state: "pending".into(),
                        reason: None,
                    },
                ],
                visitors: 3,
                received_bytes: 12_345,
                sent_bytes: 6_789_012,
                answers: Some(true),
                asked: Some(NOW - 4.0),
                error: None,
                dials: vec![count("connected", 101), count("refused", 7)],
            },
            HomeService {
                name: "nas".into(),
                r#type: "tcp".into(),
                local_addr: "192.168.1.9:445".into(),
                registrations: vec![Registration {
                    server: "vps.example.com:2333".into(),
                    resolved: None,
                    state: "refused".into(),
                    reason: Some("the server's file has no such service".into()),
                }],
                visitors: 0,
                received_bytes: 11,
                sent_bytes: 13,
                answers: Some(false),
                asked: Some(NOW - 3_600.0),
                error: Some("connection refused".into()),
                dials: vec![count("refused", 5), count("unreachable", 3)],
            },
        ],
    }
}

/// As many services, each on both web entries and used; ten for each home.
pub(crate) fn crowd(services: usize) -> Status {
    let one = server_status();
    let name = |number: usize| format!("service-{number:04}");
    let served = |number: usize| ServedService {
        name: name(number),
        names: vec![format!("{}.example.com", name(number))],
        ..one.services[0].clone()
    };
    let home = |number: usize| Home {
        address: format!("198.51.100.{}:{}", number % 250, 40_000 + number),
        services: (number * 10..number * 10 + 10).map(name).collect(),
        ..one.homes[0].clone()
    };
    Status::Server(ServerStatus {
        services: (0..services).map(served).collect(),
        homes: (0..services / 10).map(home).collect(),
        ..one
    })
}

fn program(file: &str) -> Program {
    Program {
        version: "0.1.0".into(),
        time: NOW,
        started: NOW - 345_600.0,
        draining: false,
        configuration: Configuration {
            file: file.into(),
            loaded: NOW - 3_600.0,
            reloads: 2,
            failed_reloads: 1,
            error: Some(format!("{file}:12: server.services.pi: unknown key \"host\"")),
        },
        process: Process {
            descriptors: 97,
            descriptor_limit: 524_288,
            resident_bytes: 9_437_184,
            held_bytes: 65_536,
            held_limit_bytes: 67_108_864,
            cpu_seconds: 12.34,
            longest_turn_seconds: 0.0042,
            dropped_log_lines: 6,
        },
    }
}

fn traffic(entry: &str, base: u64) -> Traffic {
    let statuses = match entry {
        "http" => vec![count("2xx", base + 1), count("3xx", 4), count("4xx", 2), count("5xx", 1)],
        _ => vec![],
    };
    Traffic {
        entry: entry.into(),
        ends: vec![count("done", base), count("offline", 5), count("home_refused", 3)],
        statuses,
        received_bytes: base * 100 + 1,
        sent_bytes: base * 10_000 + 2,
        link_wait: histogram(base),
        first_byte: histogram(base + 10),
    }
}

fn histogram(base: u64) -> Histogram {
    let mut counts = [0; BUCKETS.len() + 1];
    for (at, count) in counts.iter_mut().enumerate() {
        *count = base / 100 + at as u64;
    }
    Histogram { sum: base as f64 / 8.0, counts }
}

fn listener(address: &str, entry: &str, service: Option<&str>, accepted: u64) -> Listener {
    let service = service.map(str::to_owned);
    Listener {
        address: address.into(),
        entry: entry.into(),
        service,
        accepted,
        refused: accepted / 10,
    }
}

fn count(kind: &str, count: u64) -> Count {
    Count { kind: kind.into(), count }
}
