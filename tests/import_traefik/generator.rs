//! Label sets from the grammar of rules, middlewares and entry points: always the same ones.

use super::Stack;
use super::cases::{TRAEFIK, stack};

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((x ^ (x >> 31)) % end as u64).expect("below a usize")
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// Entry points, and what they are told.
const STATICS: &[&[&str]] = &[
    &["--entrypoints.web.address=:80", "--entrypoints.websecure.address=:443"],
    &[
        "--entrypoints.web.address=:80",
        "--entrypoints.websecure.address=:443",
        "--providers.docker.exposedbydefault=false",
    ],
    &[
        "--entrypoints.web.address=:80",
        "--entrypoints.websecure.address=:443",
        "--entrypoints.web.http.redirections.entrypoint.to=:443",
    ],
    &[
        "--entrypoints.web.address=:80",
        "--entrypoints.websecure.address=:443",
        "--entrypoints.websecure.http.tls=true",
        "--entrypoints.websecure.asdefault=true",
        "--entrypoints.lan.address=:8081",
        "--entrypoints.lan.http.middlewares=auth@docker",
    ],
    &[
        "--entrypoints.web.address=:80",
        "--entrypoints.websecure.address=:443",
        "--core.defaultrulesyntax=v2",
    ],
    &["--entrypoints.web.address=:80", "--entrypoints.lan.address=:8081"],
];

/// So many stacks; those of one static configuration follow each other.
pub(crate) fn all(count: usize) -> Vec<Stack> {
    let of_each = count.div_ceil(STATICS.len());
    let numbered = STATICS.iter().flat_map(|flags| (0..of_each).map(move |i| (*flags, i)));
    let make = |(at, (flags, i)): (usize, (&[&str], usize))| one(flags, at, i);
    numbered.enumerate().map(make).take(count).collect()
}

fn one(flags: &[&str], seed: usize, number: usize) -> Stack {
    let mut random = Random(seed as u64);
    let old = flags.iter().any(|flag| flag.ends_with("=v2"));
    let mut labels: Vec<String> = Vec::new();
    for (name, port) in PORTS {
        labels.push(format!("traefik.http.services.{name}.loadbalancer.server.port={port}"));
        labels.push(format!("traefik.tcp.services.{name}.loadbalancer.server.port={port}"));
    }
    labels.extend(MIDDLEWARES.iter().map(|label| (*label).to_owned()));
    if !random.once_in(8) {
        labels.push(format!("traefik.enable={}", random.of(&["true", "1", "T", "true"])));
    }
    for router in 0..1 + random.below(4) {
        let tcp = random.once_in(3);
        let layer = if tcp { "tcp" } else { "http" };
        let mut label = |key: &str, value: &str| {
            labels.push(format!("traefik.{layer}.routers.r{router}.{key}={value}"));
        };
        label("rule", &rule(&mut random, tcp, old, number, 2));
        let service = PORTS[random.below(PORTS.len())].0;
        label("service", service);
        if !random.once_in(4) {
            let usual = if tcp { "websecure" } else { "web" };
            label("entrypoints", random.of(&[usual, usual, usual, "web,websecure", "lan"]));
        }
        if tcp {
            match random.below(6) {
                0 => {}
                1 => label("tls", "true"),
                _ => label("tls.passthrough", "true"),
            }
        } else {
            if random.once_in(8) {
                label("tls", random.of(&["true", "false", "TRUE"]));
            }
            if random.once_in(4) {
                label(
                    "middlewares",
                    random.of(&["auth", "head", "https", "strip", "head,auth", "no"]),
                );
            }
        }
        if random.once_in(5) {
            label("priority", random.of(&["1", "20", "30", "100", "0", "-1"]));
        }
    }
    let mut stack = stack(&format!("generated {seed}"), flags, &labels);
    stack.names = ["a.x", "b.a.x"].map(|name| format!("{name}{number}.test")).to_vec();
    assert!(stack.compose[0].contains(TRAEFIK));
    stack
}

fn rule(random: &mut Random, tcp: bool, old: bool, number: usize, depth: usize) -> String {
    if depth > 0 {
        let mut more = || rule(random, tcp, old, number, depth - 1);
        let (one, other) = (more(), more());
        match random.below(8) {
            0 => return format!("{one} || {other}"),
            1 => return format!("({one}) && ({other})"),
            2 if random.once_in(2) => return format!("({one}) && !({other})"),
            3 if !tcp => {
                let path = random.of(&["/api", "/api/", "/admin", "/a", "/"]);
                return format!("({one}) && PathPrefix(`{path}`)");
            }
            4 if !tcp && random.once_in(2) => return format!("({one}) && Path(`/api`)"),
            5 if tcp && random.once_in(2) => return format!("({one}) && ALPN(`h2`)"),
            _ => return one,
        }
    }
    let name = |text: &str| text.replace("x", &format!("x{number}")) + ".test";
    let literal = name(random.of(&["a.x", "b.a.x", "c.x", "x"]));
    let sni = if tcp { "HostSNI" } else { "Host" };
    match (random.below(6), old) {
        (0, _) if random.once_in(3) => match tcp {
            true => "HostSNI(`*`)".into(),
            false => "PathPrefix(`/api`)".into(),
        },
        (1, false) => format!("{sni}(`*.{}`)", name(random.of(&["x", "a.x"]))),
        (2, false) => {
            let expressions =
                ["^[a-z0-9-]+\\.x", "^.+\\.x", "^(www\\.)?a\\.x", "^[a-c]\\.x", "a\\.x"];
            format!(
                "{sni}Regexp(`{}\\.test$$`)",
                random.of(&expressions).replace('x', &format!("x{number}"))
            )
        }
        (1 | 2, true) => {
            let templates = ["{s:[a-z0-9-]+}.x", "{s:.+}.x", "a.x", "{s:[a-c]}.x"];
            format!("{sni}Regexp(`{}`)", name(random.of(&templates)))
        }
        (3, true) => format!("{sni}(`{literal}`, `{}`)", name("d.x")),
        _ => format!("{sni}(`{literal}`)"),
    }
}

const PORTS: [(&str, u16); 5] = [("p", 5080), ("q", 5443), ("s", 5022), ("t", 5090), ("u", 5091)];

/// The password is `secret`.
const MIDDLEWARES: &[&str] = &[
    "traefik.http.middlewares.auth.basicauth.users=u:$$apr1$$abcdefgh$$h9FWgUz3n9YxylKLlR5SQ/",
    "traefik.http.middlewares.head.headers.customrequestheaders.X-A=b",
    "traefik.http.middlewares.https.redirectscheme.scheme=https",
    "traefik.http.middlewares.strip.stripprefix.prefixes=/api",
];
