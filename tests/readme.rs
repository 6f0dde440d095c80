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

/// Written anew by `WRITE=1 cargo test --test readme reference`.
#[test]
fn the_reference_is_the_table_of_the_code() {
    let page = keys::reference();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference.md");
    if std::env::var_os("WRITE").is_some() {
        std::fs::write(path, &page).expect("the page is written");
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(written, page, "docs/reference.md: WRITE=1 cargo test --test readme reference");
}

#[test]
fn the_unit_is_the_one_that_is_tested() {
    let [unit] = blocks("ini")[..] else { panic!("one unit") };
    assert_eq!(unit, include_str!("../config/systemd/underpass-server.service"));
}
