//! The README is true: its configuration loads, its commands are ones that tests or CI run.

use std::collections::BTreeSet;

use underpass::config::{Config, keys};

const README: &str = include_str!("../README.md");

/// The blocks of one language.
fn blocks_of(page: &'static str, language: &str) -> Vec<&'static str> {
    let open = format!("```{language}\n");
    let ends = |block: &'static str| block.split_once("```").map(|(text, _)| text);
    page.split(&open).skip(1).filter_map(ends).collect()
}

fn blocks(language: &str) -> Vec<&'static str> {
    blocks_of(README, language)
}

fn environment(name: &str) -> Option<String> {
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    Some(match name {
        "ADMIN_AUTH" => "ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=".to_owned(),
        name if name.ends_with("_KEY") => key.to_owned(),
        _ => "0123456789abcdef".to_owned(),
    })
}

/// The three ways to say several servers, and the file that all of those have.
#[test]
fn the_files_for_more_than_one_vps_load_and_belong_together() {
    let page = include_str!("../docs/more-than-one-vps.md");
    let blocks = blocks_of(page, "toml");
    let (server, clients) = blocks.split_last().expect("files");
    let parse = |text: &str| {
        let config = Config::parse("f.toml", text, &environment);
        let config = config.unwrap_or_else(|error| panic!("{error} in\n{text}"));
        assert_eq!(config.warnings, Vec::<String>::new(), "{text}");
        config
    };
    let server = parse(server).server.expect("[server]");
    let counts = clients.iter().map(|text| {
        let client = parse(text).client.expect("[client]");
        for service in &client.services {
            let same = server.services.iter().find(|known| known.name == service.name);
            assert_eq!(same.map(|known| known.kind), Some(service.kind), "{}", service.name);
        }
        (client.servers.len(), client.servers[0].all_addresses)
    });
    assert_eq!(counts.collect::<Vec<_>>(), [(2, false), (2, false), (1, true)]);
}

#[test]
fn the_configurations_load_and_belong_together() {
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
