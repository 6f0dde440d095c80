//! Configuration files, good and bad: what loads, and the exact text of what does not.

mod admin;
mod client;
mod env_file;
mod folder;
mod limits;
mod names;
mod ports;
mod rathole;
mod server;
mod servers;
mod tokens;
mod transport;

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use underpass::config::{
    AccessLogFormat, Config, ConfigError, HostPort, Passthrough, Protocol, ProxyScheme, Refusal,
    Ssh, Transport,
};
use underpass::proto::http_entry::Redirect;
use underpass::wire::http::forwarded::Form;
use underpass::wire::proxy_header::Version;

/// Stands wherever a file has a secret, and must show nowhere.
const MARKER: &str = "mark-er_0123456789";
/// 32 bytes in base64; no error and no `Debug` may show it either.
const KEY: &str = "MIDlbJw0wqZtQ8Y5Z7nLu3rJqG5m2oVfJ0bX1c2d3e4=";
/// A service of a server's file.
const SERVICE: &str = "[server.services.a]\ntype = \"https\"\nhosts = [\"a.example\"]";

fn parse(text: &str) -> Result<Config, ConfigError> {
    let env = HashMap::from([
        ("UNDERPASS_PRIVATE_KEY", KEY),
        ("UNDERPASS_PUBLIC_KEY", KEY),
        ("PI_TOKEN", MARKER),
        ("LOCAL_TOKEN", MARKER),
        ("EMPTY", ""),
        ("PORT", "5080"),
    ]);
    Config::parse("f.toml", text, &|name| env.get(name).map(|value| (*value).to_owned()))
}

/// A file that loads, silently but for the warnings given.
fn good(text: &str, warnings: &[&str]) -> Config {
    let config = parse(text).unwrap_or_else(|error| panic!("{error}\nin\n{text}"));
    assert_eq!(config.warnings, warnings, "{text}");
    let debug = format!("{config:?}");
    assert!(!debug.contains(MARKER) && !debug.contains(KEY), "{debug}");
    config
}

fn bad(text: &str, error: &str) {
    let Err(found) = parse(text) else { panic!("this should not load:\n{text}") };
    assert_eq!(found.to_string(), error, "{text}");
    let debug = format!("{found} {found:?}");
    assert!(!debug.contains(MARKER) && !debug.contains(KEY), "{debug}");
}

/// A server file around `services`; its first line is line 10.
fn server(services: &str) -> String {
    format!(
        r#"# a server
[server]
bind_addr = "0.0.0.0:2333"
https_addr = ["0.0.0.0:443", "[::]:443"]
default_token = "{MARKER}"
[server.transport]
type = "noise"
[server.transport.noise]
local_private_key = "{KEY}"
{services}"#
    )
}

/// A client file around `services`; its first line is line 9.
fn client(services: &str) -> String {
    format!(
        r#"# a client
[client]
remote_addr = "vps.example.com:2333"
default_token = "{MARKER}"
[client.transport]
type = "noise"
[client.transport.noise]
remote_public_key = "{KEY}"
{services}"#
    )
}

#[test]
fn the_samples_load_without_a_word() {
    let server = good(include_str!("../../config/server.toml"), &[]).server.expect("[server]");
    assert_eq!(server.services.len(), 3);
    assert_eq!(server.heartbeat_interval, Some(Duration::from_secs(10)));
    let names: Vec<_> = server.services.iter().map(|service| &*service.name).collect();
    assert_eq!(names, ["pi", "local", "pi-ssh"], "the file's order");
    assert_eq!(server.services[0].tokens[0].expose(), MARKER.as_bytes());
    let Transport::Noise(noise) = server.transport else { panic!("noise") };
    assert_eq!(noise.local_private_key.expect("a key").expose().len(), 32);

    let client = good(include_str!("../../config/client.toml"), &[]).client.expect("[client]");
    assert_eq!(client.heartbeat_timeout, Some(Duration::from_secs(25)));
    assert_eq!(client.retry_interval, Duration::from_secs(1));
    let traefik = |port| Some(HostPort { host: "traefik".into(), port });
    assert_eq!(client.services[0].local_https_addr, traefik(443));
    assert_eq!(client.services[0].local_http_addr, traefik(80));
}

#[test]
fn the_articles_files_load_once_they_have_keys() {
    let server = include_str!("../article/rathole.server.toml")
        .replace("private_key\"", &format!("{KEY}\""));
    let server = good(&server, &[]).server.expect("[server]");
    let ports: Vec<_> = server.services.iter().map(|s| s.bind_addrs[0].port()).collect();
    assert_eq!(ports, [5080, 5443, 5081, 5444]);
    for client in [
        include_str!("../article/rathole.client.pi.toml"),
        include_str!("../article/rathole.client.local.toml"),
    ] {
        let client = good(&client.replace("\"public_key", &format!("\"{KEY}")), &[]);
        let client = client.client.expect("[client]");
        let ports = client.services.iter().map(|s| s.local_addr.as_ref().map(|addr| addr.port));
        assert_eq!(ports.collect::<Vec<_>>(), [Some(80), Some(443)]);
    }
    bad(
        include_str!("../article/rathole.server.toml"),
        "f.toml:10: server.transport.noise.local_private_key: must be a key of 32 bytes in base64, \
         as `underpass --genkey` prints it",
    );
}

#[test]
fn variables_are_read_once_and_a_doubled_dollar_is_one() {
    let config = good(
        &server(
            "[server.services.a]\nbind_addr = '127.0.0.1:${PORT}'\ntoken = '$${PORT}-$5-${PORT}'",
        ),
        &["f.toml:4: server.https_addr: no service of type https or web takes its visitors"],
    );
    let service = &config.server.expect("[server]").services[0];
    assert_eq!(service.bind_addrs[0].port(), 5080);
    assert_eq!(service.tokens[0].expose(), b"${PORT}-$5-5080");
}

#[test]
fn the_fuzz_check_holds_on_every_prefix_of_every_file_here() {
    for text in [
        include_str!("../../config/server.toml"),
        include_str!("../../config/client.toml"),
        include_str!("../article/rathole.server.toml"),
        include_str!("../article/rathole.client.pi.toml"),
        include_str!("../article/rathole.client.local.toml"),
    ] {
        let holed = text.replace("\"\n", "${X}\"\n");
        for end in 0..=holed.len() {
            underpass::config::fuzz::check(&holed.as_bytes()[..end]);
        }
    }
}

#[test]
fn what_cannot_be_read_is_an_error_too() {
    let folder = std::env::temp_dir().join(format!("underpass-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("f.toml");
    let error = |path: &Path| {
        let error = Config::load(path).expect_err("not a file").to_string();
        error.replace(&*path.display().to_string(), "f.toml")
    };
    assert_eq!(error(&path), "f.toml: cannot read it: No such file or directory (os error 2)");
    std::fs::write(&path, b"[server]\n\ntoken = \"\xff\"").expect("written");
    assert_eq!(error(&path), "f.toml:3: not UTF-8");
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[test]
fn a_byte_order_mark_in_front_does_no_harm() {
    let text = "\u{feff}[server]\nbind_addr = '0.0.0.0:2333'\nx = 1\n";
    let error = Config::parse("s.toml", text, &|_| None).expect_err("a key that is none");
    assert!(error.to_string().starts_with("s.toml:3: server.x: "), "{error}");
    let good = text.replace("x = 1\n", "");
    assert!(Config::parse("s.toml", &good, &|_| None).is_ok());
}
