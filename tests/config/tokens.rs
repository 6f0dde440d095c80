//! What `check` says of tokens, and nobody else.

use crate::{KEY, MARKER, bad, client, parse, server};

const LONG: &str = "0123456789abcdef";

/// The hints of a file that loads.
fn hints(text: &str) -> Vec<String> {
    let config = parse(text).unwrap_or_else(|error| panic!("{error}\nin\n{text}"));
    let shown = format!("{:?} {config:?}", config.hints);
    assert!(![MARKER, KEY, LONG].iter().any(|secret| shown.contains(secret)), "{shown}");
    config.hints
}

/// A service of the TLS entry: its table starts at a line of its own, and its token, if it has one,
/// is the third.
fn service(name: &str, hosts: &str, token: Option<&str>) -> String {
    let token = token.map(|token| format!("token = '{token}'\n")).unwrap_or_default();
    format!("[server.services.{name}]\ntype = 'https'\n{token}hosts = {hosts}\n")
}

#[test]
fn short_tokens_are_pointed_out_once_each() {
    let reason = "a token of under 16 characters can be guessed; `openssl rand -hex 32` makes one \
                  that cannot";
    let three = |one, two, three| {
        service("pi-a", "'a.pi.test'", Some(one))
            + &service("pi-b", "'b.pi.test'", Some(two))
            + &service("pi-c", "'c.pi.test'", three)
    };
    assert_eq!(hints(&server(&three(LONG, LONG, None))), [""; 0], "16 are enough");
    assert_eq!(
        hints(&server(&three("short", &LONG[1..], Some("short")))),
        [
            format!("f.toml:12: server.services.pi-a.token: {reason}"),
            format!("f.toml:16: server.services.pi-b.token: {reason}"),
        ]
    );
    let default = |text: String| text.replacen(MARKER, "short", 1);
    assert_eq!(
        hints(&default(server(&three(LONG, LONG, None)))),
        [format!("f.toml:5: server.default_token: {reason}")]
    );
    assert_eq!(hints(&default(server(&three(LONG, LONG, Some(LONG))))), [""; 0], "nobody has it");
    let own = "[client.services.x]\nlocal_addr = 'a:1'\n";
    assert_eq!(hints(&default(client(own))), [format!("f.toml:4: client.default_token: {reason}")]);
    let own = own.to_owned() + "token = 'short'\n";
    assert_eq!(hints(&client(&own)), [format!("f.toml:11: client.services.x.token: {reason}")]);
}

/// What a hint says behind its place.
fn explain(services: &str) -> String {
    format!(
        "one token for services {services}: a client that has it can take all of them, and of two \
         clients the one that dialled last has them; if they are at different homes, give the \
         services of each home a `token` of their own"
    )
}

#[test]
fn a_token_for_two_homes_is_pointed_out() {
    let two = |pi, local| {
        service("pi", "'pi.example.com'", pi) + &service("local", "'local.example.com'", local)
    };
    let other = "another token that is long";
    assert_eq!(hints(&server(&two(Some(LONG), Some(other)))), [""; 0]);
    assert_eq!(hints(&server(&two(None, Some(LONG)))), [""; 0]);
    assert_eq!(
        hints(&server(&two(Some(LONG), Some(LONG)))),
        [format!(
            "f.toml:16: server.services.local.token: {}",
            explain("pi and local, as server.services.pi.token (line 12)")
        )]
    );
    // Nobody has said that they belong together.
    assert_eq!(
        hints(&server(&two(None, None))),
        [format!("f.toml:5: server.default_token: {}", explain("pi and local"))]
    );
    let same = hints(&server(&two(None, Some(MARKER))));
    let text = explain("pi and local");
    assert_eq!(same, [format!("f.toml:15: server.services.local.token: {text}")]);
    // A client's file is one home's.
    let mine =
        "[client.services.pi]\nlocal_addr = 'a:1'\n[client.services.nas]\nlocal_addr = 'a:2'";
    assert_eq!(hints(&client(mine)), [""; 0]);
}

/// One home may well have several services and one token.
#[test]
fn services_that_belong_together_may_share_a_token() {
    let shared = |pairs: &[(&str, &str)]| {
        let services = pairs.iter().map(|(name, hosts)| service(name, hosts, Some(LONG)));
        let hints = hints(&server(&services.collect::<String>()));
        assert!(hints.len() < 2, "{hints:?}");
        let names = hints.first().and_then(|hint| {
            hint.split("one token for services ").nth(1)?.split([',', ':']).next()
        });
        names.unwrap_or_default().to_owned()
    };
    // By their names.
    assert_eq!(shared(&[("pi-http", "'a.test'"), ("pi-https", "'b.test'")]), "");
    assert_eq!(shared(&[("Pi_http", "'a.test'"), ("pi", "'b.test'")]), "");
    assert_eq!(shared(&[("pi", "'a.test'"), ("pine", "'b.test'")]), "pi and pine");
    // By their hosts.
    assert_eq!(shared(&[("a", "'pi.test'"), ("b", "['x.test', '**.pi.test']")]), "");
    assert_eq!(shared(&[("a", "'*.pi.test'"), ("b", "'PI.test.'")]), "");
    assert_eq!(shared(&[("a", "'pi.test'"), ("b", "'api.test'")]), "a and b");
    assert_eq!(shared(&[("a", "'**'"), ("b", "'/x.*/'")]), "a and b");
    // By way of a third one.
    let third = ("a-more", "'x.pi.test'");
    assert_eq!(shared(&[("a", "'a.test'"), ("b", "'pi.test'"), third]), "");
    // All are named, in the order of the file.
    let four = [("a", "'a.test'"), ("b", "'b.test'"), ("c", "'c.test'"), ("b-too", "'d.test'")];
    let services = four.iter().map(|(name, hosts)| service(name, hosts, Some(LONG)));
    let [hint] = &hints(&server(&services.collect::<String>()))[..] else { panic!("one hint") };
    assert!(hint.contains("services a and b, b-too and c, as"), "{hint}");
}

#[test]
fn the_samples_and_the_articles_files() {
    // There, one variable is one home's token.
    let sample = |text: &str| {
        let env = |name: &str| {
            Some(if name.ends_with("_KEY") { KEY.to_owned() } else { format!("{LONG} {name}") })
        };
        underpass::config::Config::parse("f.toml", text, &env).expect("it loads").hints
    };
    assert_eq!(sample(include_str!("../../config/server.toml")), [""; 0]);
    assert_eq!(sample(include_str!("../../config/client.toml")), [""; 0]);
    // The article's tokens are placeholders, one for each home.
    let server = include_str!("../article/rathole.server.toml");
    let places = |text: &str, key: &str, filled: &str| {
        let hints = hints(&text.replace(key, filled));
        let place = |hint: String| hint.split(": a token of under 16").next().map(str::to_owned);
        hints.into_iter().filter_map(place).collect::<Vec<_>>()
    };
    assert_eq!(
        places(server, "private_key\"", &format!("{KEY}\"")),
        [
            "f.toml:16: server.services.pi-traefik-http.token",
            "f.toml:25: server.services.local-traefik-http.token"
        ]
    );
    let client = include_str!("../article/rathole.client.pi.toml");
    assert_eq!(
        places(client, "\"public_key", &format!("\"{KEY}")),
        ["f.toml:16: client.services.pi-traefik-http.token"]
    );
}

#[test]
fn a_server_takes_several_tokens_and_a_client_says_one() {
    let tokens = |text: &str| -> Vec<Vec<u8>> {
        let config = parse(text).unwrap_or_else(|error| panic!("{error}\nin\n{text}"));
        let service = &config.server.expect("[server]").services[0];
        service.tokens.iter().map(|token| token.expose().to_vec()).collect()
    };
    let with = |token: &str| server(&(service("pi", "'pi.test'", None) + token));
    let (new, old) = (b"the new one of pi".to_vec(), b"the old one of pi".to_vec());
    assert_eq!(tokens(&with("token = ['the new one of pi']")), std::slice::from_ref(&new));
    let both = with("token = ['the new one of pi', 'the old one of pi']");
    assert_eq!(tokens(&both), [new.clone(), old.clone()]);
    // As when one variable follows the other.
    let same = with("token = ['the new one of pi', 'the new one of pi']");
    assert_eq!(tokens(&same), std::slice::from_ref(&new));
    let default = with("").replace(
        &format!("default_token = \"{MARKER}\""),
        "default_token = ['the new one of pi', 'the old one of pi']",
    );
    assert_eq!(tokens(&default), [new, old]);

    let place = "f.toml:13: server.services.pi.token";
    bad(&with("token = []"), &format!("{place}: names no token: `[\"new\", \"old\"]` takes both"));
    let nine = ["'a'"; 9].join(",");
    let many = "too many: 8 at most, each is tried on every proof";
    bad(&with(&format!("token = [{nine}]")), &format!("{place}: {many}"));
    bad(
        &with("token = ['a', 7]"),
        &format!("{place}[1]: must be a string in quotes, not an integer"),
    );
    bad(
        &with("token = [\n'a',\n'']"),
        "f.toml:15: server.services.pi.token[1]: must not be empty: write the same secret here and \
         in the other side's file, such as what `openssl rand -hex 16` prints",
    );
    let own = "[client.services.x]\nlocal_addr = 'a:1'\ntoken = ['a']";
    let one = "must be one token: a list of those to take is for the server's file";
    bad(&client(own), &format!("f.toml:11: client.services.x.token: {one}"));
    let default = client("").replace(&format!("\"{MARKER}\""), "['a', 'b']");
    bad(&default, &format!("f.toml:4: client.default_token: {one}"));
}

#[test]
fn a_token_that_ends_a_line_is_a_warning() {
    let reason = "the token ends in a line end, which belongs to it: is it meant?";
    let ended = |text: String| {
        let warnings = parse(&text).expect("it loads").warnings;
        assert!(!warnings.concat().contains(LONG));
        warnings.into_iter().filter(|warning| warning.ends_with(reason)).collect::<Vec<_>>()
    };
    let with = |token: &str| server(&(service("pi", "'pi.test'", None) + "token = " + token));
    assert_eq!(ended(with(&format!("\"{LONG}\""))), [""; 0]);
    assert_eq!(ended(with(&format!("\"{LONG}\\n \""))), [""; 0]);
    let place = "f.toml:13: server.services.pi.token";
    assert_eq!(ended(with(&format!("\"{LONG}\\n\""))), [format!("{place}: {reason}")]);
    let both = with(&format!("['{LONG}', \"{LONG}\\r\\n\"]"));
    assert_eq!(ended(both), [format!("{place}[1]: {reason}")]);
    let own = format!("[client.services.x]\nlocal_addr = 'a:1'\ntoken = \"{LONG}\\n\"");
    assert_eq!(ended(client(&own)), [format!("f.toml:11: client.services.x.token: {reason}")]);
}

#[test]
fn each_of_several_tokens_is_looked_at() {
    let short = "a token of under 16 characters can be guessed; `openssl rand -hex 32` makes one \
                 that cannot";
    let two = |other: &str| {
        service("pi", "'pi.test'", None) + &format!("token = ['{LONG}',\n'{other}']\n")
    };
    let place = "f.toml:14: server.services.pi.token[1]";
    assert_eq!(hints(&server(&two("short"))), [format!("{place}: {short}")]);
    // Another home has the old one of the first.
    let old = format!("{LONG} old");
    let text = two(&old) + &service("local", "'local.test'", Some(&old));
    assert_eq!(
        hints(&server(&text)),
        [format!(
            "f.toml:17: server.services.local.token: {}",
            explain("pi and local, as server.services.pi.token[1] (line 14)")
        )]
    );
}
