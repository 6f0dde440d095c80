//! README and the pages of `docs/` are true: their configurations load, their commands are ones
//! that tests or CI run, their links lead somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use underpass::config::Config;
#[cfg(feature = "demo")]
use underpass::config::keys;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
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
    let blocks = blocks(page, "toml");
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

/// A server's file, and those of the two homes that share its service.
#[test]
fn the_files_for_a_spare_home_load_and_belong_together() {
    let blocks = blocks(include_str!("../docs/a-spare-home.md"), "toml");
    let files = blocks.iter().map(|text| {
        let config = Config::parse("f.toml", text, &environment);
        let config = config.unwrap_or_else(|error| panic!("{error} in\n{text}"));
        assert_eq!(config.warnings, Vec::<String>::new(), "{text}");
        config
    });
    let files: Vec<Config> = files.collect();
    let [server, usual, spare] = &files[..] else { panic!("three files") };
    let site = &server.server.as_ref().expect("[server]").services[0];
    assert_eq!(site.balance.map(|it| it.as_str()), Some("least"));
    let parts = [usual, spare].map(|file| {
        let service = &file.client.as_ref().expect("[client]").services[0];
        assert_eq!((&service.name, service.kind), (&site.name, site.kind));
        assert!(service.health_check.is_some());
        (service.weight, service.backup)
    });
    assert_eq!(parts, [(3, false), (1, true)]);
}

/// A server's file and a home's, which dials each address of the server's name.
#[test]
fn the_files_for_kubernetes_load_and_belong_together() {
    let read = |name: &str| {
        let path = root().join("config/kubernetes").join(name);
        let text = fs::read_to_string(path).expect("UTF-8");
        let config = Config::parse(name, &text, &environment);
        let config = config.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.warnings, Vec::<String>::new(), "{name}");
        config
    };
    let server = read("server.toml").server.expect("[server]");
    let client = read("client.toml").client.expect("[client]");
    assert!(client.servers[0].all_addresses);
    assert_eq!(client.servers[0].addr.port, server.bind_addrs[0].port());
    assert_eq!(client.services[0].name, server.services[0].name);
}

/// README and every page of `docs/`, by the path from the project's folder.
fn pages() -> BTreeMap<PathBuf, String> {
    let docs = fs::read_dir(root().join("docs")).expect("docs");
    let docs = docs.map(|it| it.expect("a file").path());
    let pages = docs.filter(|path| path.extension().is_some_and(|it| it == "md"));
    let pages = pages.chain([root().join("README.md"), root().join("SECURITY.md")]);
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("UTF-8");
        (path.strip_prefix(root()).expect("below").to_owned(), text)
    };
    pages.map(read).collect()
}

/// The blocks whose first line is this: a language, or a language and a place.
fn blocks<'a>(text: &'a str, opening: &str) -> Vec<&'a str> {
    let open = format!("```{opening}\n");
    let ends = |block: &'a str| block.split_once("```").map(|(text, _)| text);
    text.split(&open).skip(1).filter_map(ends).collect()
}

#[test]
fn the_configurations_load_and_belong_together() {
    let parse = |name: &str, text: &str| {
        Config::parse(name, text, &environment).unwrap_or_else(|error| panic!("{error}"))
    };
    let pages = pages();
    for (page, text) in &pages {
        blocks(text, "toml")
            .into_iter()
            .for_each(|text| drop(parse(&page.to_string_lossy(), text)));
    }
    let by_hand = blocks(&pages[Path::new("docs/by-hand.md")], "toml");
    let [server, client] = by_hand[..] else { panic!("a server's file and a client's") };
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
        "cargo run --release -- demo",
        "tests/all",
        "underpass --genkey",
        "underpass check new.toml --against server.toml",
        "underpass check server.toml",
        "underpass explain server.toml www.pi.example.com",
        "underpass import rathole.server.toml docker-compose.yml > server.toml",
        "underpass server.toml",
    ];
    let pages = pages();
    let all = pages.values().flat_map(|text| blocks(text, "sh"));
    let commands: BTreeSet<&str> = all.flat_map(str::lines).collect();
    assert_eq!(commands, BTreeSet::from(known));
}

/// Commands that say where they belong are run as they stand by `tests/readme/run` and
/// `tests/docker/run`: README's three ways, and whatever the pages have.
#[test]
fn the_commands_of_the_three_ways_have_a_place() {
    let pages = pages();
    let readme = &pages[Path::new("README.md")];
    let ways: Vec<&str> = readme.split("\n### ").skip(1).collect();
    for (way, title) in ways.iter().zip(["From source", "The Debian package", "Docker Compose"]) {
        assert!(way.split_once('\n').is_some_and(|(first, _)| first.ends_with(title)), "{title}");
        assert!(!blocks(way, "sh vps").is_empty() && blocks(way, "sh home").len() == 1, "{title}");
    }
    assert_eq!(ways.len(), 3);
    let openings = pages.values().flat_map(|text| text.lines());
    for opening in openings.filter(|line| line.starts_with("```sh")) {
        let place = opening.trim_start_matches("```sh").trim();
        assert!(["", "here", "vps", "home"].contains(&place), "{opening}");
    }
    for program in ["tests/readme/run", "tests/docker/run"] {
        let all = fs::read_to_string(root().join("tests/all")).expect("tests/all");
        assert!(all.contains(program), "{program} is a step of tests/all");
    }
}

/// Written anew by `WRITE=1 cargo test --test readme reference`. Releases have no sentences.
#[cfg(feature = "demo")]
#[test]
fn the_reference_is_the_table_of_the_code() {
    let page = keys::reference();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference.md");
    if std::env::var_os("WRITE").is_some() {
        fs::write(path, &page).expect("the page is written");
    }
    let written = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(written, page, "docs/reference.md: WRITE=1 cargo test --test readme reference");
}

#[test]
fn the_unit_is_the_one_that_is_tested() {
    let pages = pages();
    let all: Vec<&str> = pages.values().flat_map(|text| blocks(text, "ini")).collect();
    let [unit] = all[..] else { panic!("one unit") };
    assert_eq!(unit, include_str!("../config/systemd/underpass-server.service"));
}

#[test]
fn links_lead_somewhere_and_readme_has_every_page() {
    let pages = pages();
    let mut wrong = Vec::new();
    let mut linked = BTreeSet::new();
    for (page, text) in &pages {
        let folder = page.parent().expect("a folder");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')) {
            let (path, anchor) = link.0.split_once('#').unwrap_or((link.0, ""));
            if path.starts_with("http") {
                continue;
            }
            let target = if path.is_empty() { page.clone() } else { clean(&folder.join(path)) };
            if page == Path::new("README.md") {
                linked.insert(target.clone());
            }
            let there = root().join(&target);
            let is_there = match (anchor, fs::read_to_string(&there)) {
                ("", _) => there.exists(),
                (anchor, Ok(text)) => anchors(&text).contains(anchor),
                (_, Err(_)) => false,
            };
            if !is_there {
                wrong.push(format!("{}: {}", page.display(), link.0));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let unlinked: Vec<_> = pages.keys().filter(|page| page.starts_with("docs")).collect();
    let unlinked: Vec<_> = unlinked.into_iter().filter(|page| !linked.contains(*page)).collect();
    assert!(unlinked.is_empty(), "README leads to none of {unlinked:?}");
}

/// `docs/../SECURITY.md` is `SECURITY.md`.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part.as_os_str().to_str() {
            Some("..") => assert!(clean.pop(), "{}", path.display()),
            _ => clean.push(part),
        }
    }
    clean
}

/// Those of a page's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = |it: &char| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_');
        title.chars().filter(kept).map(|it| if it == ' ' { '-' } else { it }).collect()
    };
    headings.map(anchor).collect()
}

/// What the table of symptoms quotes is what this program says, or one of these others.
#[test]
fn symptoms_are_quoted_as_they_are_said() {
    const OTHERS: [&str; 4] =
        ["unrecognized name", "internal error", "address already in use", "permission denied"];
    let pages = pages();
    let page = &pages[Path::new("docs/when-something-is-wrong.md")];
    let mut said = String::new();
    sources(&root().join("src"), &mut said);
    let quotes: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with('|') && !line.contains("---"))
        .flat_map(|line| line.split('"').skip(1).step_by(2).collect::<Vec<_>>())
        .filter(|quote| !OTHERS.contains(quote) && !quote.contains('`') && !quote.contains('='))
        .collect();
    assert!(quotes.len() >= 4, "{quotes:?}");
    for quote in quotes {
        assert!(said.contains(quote), "{quote:?}");
    }
}

/// All code, with texts that go on in the next line in one.
fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("a file").path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let lines = fs::read_to_string(&path).expect("UTF-8");
            let mut goes_on = false;
            for line in lines.lines() {
                let line = if goes_on { line.trim_start() } else { line };
                goes_on = line.ends_with('\\');
                text.push_str(line.strip_suffix('\\').unwrap_or(line));
                text.push_str(if goes_on { "" } else { "\n" });
            }
        }
    }
}
