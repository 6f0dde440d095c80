//! Stacks as people write them: each kind of label, flag and file that matters, and those of
//! `tests/import-cases`.

use super::Stack;
use super::tables::tables;

pub(crate) const TRAEFIK: &str = "image: traefik:v3.7";

/// The usual two entry points.
const USUAL: &[&str] = &["--entrypoints.web.address=:80", "--entrypoints.websecure.address=:443"];

/// With a container whose services have the labels' ports.
pub(crate) fn stack(name: &str, flags: &[&str], labels: &[String]) -> Stack {
    let mut text = format!("services:\n  traefik:\n    {TRAEFIK}\n    command:\n");
    let docker = "--providers.docker=true";
    let mut ports = Vec::new();
    for flag in [docker].iter().chain(flags) {
        text += &format!("      - '{flag}'\n");
        let (key, value) = flag.split_once('=').unwrap_or((flag, ""));
        if key.to_ascii_lowercase().ends_with(".address") {
            let port = value.rsplit(':').next().expect("a port");
            ports.push(format!("'{}:{port}'", port.split('/').next().expect("a port")));
        }
    }
    text += &format!("    ports: [{}]\n", ports.join(", "));
    text += "  rathole:\n    image: rapiz1/rathole\n    ports: ['2333:2333']\n    labels:\n";
    for label in labels {
        text += &format!("      - '{label}'\n");
    }
    Stack { name: name.into(), compose: vec![text], ..Stack::default() }
}

/// `kind.name.key=value`: `http.r.rule=…`, `tcp.r.tls=…`; services `a` and `b` are there.
fn labels(short: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for layer in ["http", "tcp"] {
        for (name, port) in [("a", 5080), ("b", 5443), ("c", 5022)] {
            let service =
                format!("traefik.{layer}.services.{name}.loadbalancer.server.port={port}");
            all.push(service);
        }
    }
    for label in short {
        all.push(match label.split_once('.') {
            Some((layer @ ("http" | "tcp" | "udp"), rest)) => {
                format!("traefik.{layer}.routers.{rest}")
            }
            _ => (*label).to_owned(),
        });
    }
    all
}

const NAMES: [&str; 6] = ["a.x.test", "b.x.test", "x.test", "a.b.x.test", "y.test", "1.2.3.4"];

/// Each with whether somebody gets to a home, or to https, by both.
pub(crate) fn all() -> Vec<(Stack, bool)> {
    let mut all = Vec::new();
    for (name, flags, short, homes) in tables() {
        let mut one = stack(name, if flags.is_empty() { USUAL } else { flags }, &labels(short));
        one.names = NAMES.map(str::to_owned).to_vec();
        all.push((one, homes));
    }
    for (name, text, homes) in files() {
        let env = [("SERVER_IP", "192.0.2.1"), ("SITE", "x.test"), ("EMPTY", "")];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let compose = text.split("\n===\n").map(str::to_owned).collect();
        let names = ["w.x.test", "v.other.test", "e.empty.test"].map(str::to_owned).to_vec();
        all.push((Stack { name: name.into(), compose, env, names, ..Stack::default() }, homes));
    }
    all.extend(with_files());
    all
}

fn files() -> Vec<(&'static str, &'static str, bool)> {
    macro_rules! case {
        ($name:literal, $homes:literal) => {
            ($name, include_str!(concat!("../import-cases/", $name, ".yml")), $homes)
        };
    }
    vec![
        case!("merge-key", false),
        case!("not-exposed", false),
        case!("path-auth", false),
        case!("proxy-protocol", true),
        case!("redirect", true),
        case!("rule-length", true),
        case!("tls-on-web", true),
        case!("two-entries", true),
        case!("two-files", true),
        case!("variables", true),
        case!("default-port", true),
        case!("two-containers", true),
        case!("swarm", false),
        case!("environment", true),
        case!("continued", true),
    ]
}

/// With Traefik's own files.
fn with_files() -> Vec<(Stack, bool)> {
    let compose = include_str!("../import-cases/file-provider.yml");
    let fixed = include_str!("../import-cases/file-provider.static.yml");
    let dynamic = include_str!("../import-cases/file-provider.dynamic.yml");
    let one = |name: &str, fixed: &str| Stack {
        name: name.into(),
        compose: vec![compose.into()],
        fixed: Some(fixed.into()),
        dynamic: vec![dynamic.into()],
        ..Stack::default()
    };
    let closed = "    exposedByDefault: false\n";
    vec![
        (one("file-provider", fixed), true),
        (one("file-provider without labels", &fixed.replace("  docker: {}\n", "")), true),
        (
            one(
                "file-provider, closed",
                &fixed.replace("docker: {}\n", &format!("docker:\n{closed}")),
            ),
            true,
        ),
        (one("no file provider", &fixed.replace("  file: {directory: /d}\n", "")), true),
    ]
}
