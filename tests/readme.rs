//! The README is true: its configuration loads, its commands are ones that tests or CI run.

use std::collections::BTreeSet;

use underpass::config::{Config, keys};

const README: &str = include_str!("../README.md");

/// The blocks of one language.
fn blocks(language: &str) -> Vec<&'static str> {
    let open = format!("```{language}\n");
    let ends = |block: &'static str| block.split_once("```").map(|(text, _)| text);
    README.split(&open).skip(1).filter_map(ends).collect()
}

#[test]
fn the_configurations_load_and_belong_together() {
    let environment = |name: &str| {
        let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        Some(if name.ends_with("_KEY") { key } else { "token" }.to_owned())
    };
    let [server, client] = blocks("toml")[..] else { panic!("a server's file and a client's") };
    let parse = |name: &str, text: &str| {
        Config::parse(name, text, &environment).unwrap_or_else(|error| panic!("{error}"))
    };
    let (server, client) = (parse("server.toml", server), parse("client.toml", client));
    assert_eq!((server.warnings, client.warnings), (vec![], vec![]));
    let server = server.server.expect("[server]");
    for service in client.client.expect("[client]").services {
        let same = server.services.iter().find(|known| known.name == service.name);
        assert_eq!(same.map(|known| known.kind), Some(service.kind), "{}", service.name);
    }
}

/// The demo and `tests/all` are run by CI, which is `tests/all`; the others by the tests of the
/// command line (`--genkey`, `check`, `explain`, a file alone), those of `import`, and by the lint
/// and bench builds.
#[test]
fn the_commands_are_known() {
    let known = [
        ".ci/static",
        "cargo build --release --no-default-features",
        "cargo run --release -- demo",
        "tests/all",
        "underpass --genkey",
        "underpass check new.toml --against server.toml",
        "underpass check server.toml",
        "underpass explain server.toml www.pi.example.com",
        "underpass import rathole.server.toml docker-compose.yml > server.toml",
        "underpass server.toml",
    ];
    let commands: BTreeSet<&str> = blocks("sh").into_iter().flat_map(str::lines).collect();
    assert_eq!(commands, BTreeSet::from(known));
}

/// The table says of each key when a change takes effect, and has no others.
#[test]
fn every_key_has_its_time() {
    let (_, section) = README.split_once("| key | takes effect |\n").expect("the table");
    let (table, _) = section.split_once("\n\n").expect("its end");
    let mut listed = Vec::new();
    for row in table.lines().skip(1) {
        let [_, keys, when, _] = row.split('|').collect::<Vec<_>>()[..] else { panic!("{row}") };
        let when = when.trim();
        let known = ["at once", "next handshake", "next visitor", "not used", "restart"];
        assert!(known.iter().any(|known| when.starts_with(known)), "{row}");
        for key in keys.split(',') {
            let key = key.trim().strip_prefix('`').and_then(|key| key.strip_suffix('`'));
            listed.push(key.unwrap_or_else(|| panic!("{row}")).to_owned());
        }
    }
    let all: BTreeSet<String> = keys::all().into_iter().collect();
    assert!(all.len() > 80, "{all:?}");
    let table: BTreeSet<String> = listed.iter().cloned().collect();
    let missing: Vec<_> = all.difference(&table).collect();
    let strange: Vec<_> = table.difference(&all).collect();
    assert_eq!((missing, strange), (vec![], vec![]), "keys that the table lacks, or invents");
    assert_eq!(listed.len(), table.len(), "a key twice");
}

#[test]
fn the_unit_is_the_one_that_is_tested() {
    let [unit] = blocks("ini")[..] else { panic!("one unit") };
    assert_eq!(unit, include_str!("../config/systemd/underpass-server.service"));
}
