//! Tests of the routing of names.

use super::*;
use std::net::IpAddr;

use proptest::prelude::*;

/// A table of one entry, in which pattern `i` belongs to service `i`.
fn table(patterns: &[&str]) -> RouteTable {
    let mut table = RouteTable::default();
    for (service, text) in patterns.iter().enumerate() {
        let pattern = Pattern::parse(text).expect(text);
        assert!(table.insert(Entry::Https, &pattern, None, service).is_ok(), "{text} twice");
    }
    table
}

fn dns(name: &str) -> HostName {
    HostName::Dns(Hostname::parse(name.as_bytes()).expect(name))
}

/// Without ALPN.
const TLS: Ask<'_> = Ask::Https { alpn: Alpn::NONE };

fn get(target: &[u8]) -> Ask<'_> {
    Ask::Http { target }
}

fn found<'a>(outcome: Result<Option<Match<'a>>, AmbiguousPath>) -> Option<Match<'a>> {
    outcome.expect("no path that may be read in two ways")
}

fn find<'a>(table: &'a RouteTable, name: &str) -> Option<&'a str> {
    found(table.find(&dns(name), TLS)).map(|found| found.pattern)
}

#[test]
fn what_wins_does_not_depend_on_the_order() {
    // What wins first: each takes the name that no earlier one takes.
    let patterns = [
        ("pi.example.com", "pi.example.com"),
        ("*.example.com", "x.example.com"),
        ("pi.*.com", "pi.other.com"),
        ("*.*.com", "x.other.com"),
        ("**.a.pi.example.com", "x.a.pi.example.com"),
        ("**.*.pi.example.com", "x.b.pi.example.com"),
        ("**.pi.example.com", "x.pi.example.com"),
        ("**.com", "com.com"),
        ("/x[0-9]+/", "x42"),
        ("**", "net"),
    ];
    let mut order = patterns.map(|(pattern, _)| pattern);
    for _ in 0..order.len() {
        order.rotate_left(1);
        let table = table(&order);
        for (pattern, name) in patterns {
            assert_eq!(find(&table, name), Some(pattern), "{name} among {order:?}");
        }
        let listed = table.list(Entry::Https);
        assert_eq!(
            listed.iter().map(|route| route.pattern).collect::<Vec<_>>(),
            [
                "pi.example.com",
                "*.example.com",
                "pi.*.com",
                "*.*.com",
                "**.a.pi.example.com",
                "**.*.pi.example.com",
                "**.pi.example.com",
                "**.com",
                "/x[0-9]+/",
                "**",
            ]
        );
    }
}

#[test]
fn a_star_is_one_label_and_two_stars_are_one_or_more() {
    let one = table(&["*.example.com", "www.*.example.com"]);
    assert_eq!(find(&one, "example.com"), None);
    assert_eq!(find(&one, "a.b.example.com"), None);
    assert_eq!(find(&one, "www.a.example.com"), Some("www.*.example.com"));
    let more = table(&["**.example.com", "*"]);
    assert_eq!(find(&more, "example.com"), None);
    assert_eq!(find(&more, "a.b.c.example.com"), Some("**.example.com"));
    assert_eq!(find(&more, "localhost"), Some("*"));
}

#[test]
fn a_dead_end_among_literals_does_not_hide_a_star() {
    let table = table(&["x.a.com", "*.*.com", "**.a.com"]);
    assert_eq!(find(&table, "y.a.com"), Some("*.*.com"));
    assert_eq!(find(&table, "z.y.a.com"), Some("**.a.com"));
}

#[test]
fn regexes_are_anchored_and_go_by_the_file() {
    let table = table(&["/a|b/", "/[a-z]+/", "/(?i)X.*/"]);
    assert_eq!(find(&table, "a"), Some("/a|b/"));
    assert_eq!(find(&table, "ab"), Some("/[a-z]+/"));
    assert_eq!(find(&table, "a.b"), None);
    assert_eq!(find(&table, "x.b"), Some("/(?i)X.*/"));
}

#[test]
fn p2_no_name_and_an_address_reach_the_fallback_and_a_name_never_does() {
    let address = HostName::Ip(IpAddr::from([192, 0, 2, 1]));
    let mut table = table(&["a", "/.*/"]);
    assert_eq!(table.find(&HostName::Empty, TLS), Ok(None));
    assert_eq!(table.find(&address, TLS), Ok(None));
    assert_eq!(table.set_fallback(Entry::Https, 7), Ok(()));
    assert_eq!(table.set_fallback(Entry::Https, 8), Err(7));
    let fallback = Ok(Some(Match { service: 7, pattern: FALLBACK, condition: None }));
    assert_eq!(table.find(&HostName::Empty, TLS), fallback);
    assert_eq!(table.find(&address, TLS), fallback);
    assert_eq!(table.find(&HostName::Empty, get(b"/")), Ok(None), "of that entry alone");
    let any = Pattern::parse("**").expect("a pattern");
    assert_eq!(table.insert(Entry::Https, &any, None, 9), Ok(2));
    let any = Ok(Some(Match { service: 9, pattern: "**", condition: None }));
    assert_eq!(table.find(&address, TLS), any);
    assert_eq!(table.find(&HostName::Empty, TLS), fallback);

    let mut table = RouteTable::default();
    assert_eq!(table.set_fallback(Entry::Https, 7), Ok(()));
    assert_eq!(table.find(&dns("a"), TLS), Ok(None));
}

#[test]
fn a_pattern_has_one_owner_however_it_is_written() {
    for (one, other) in
        [("a.b", "A.b."), ("*.b", "*.B"), ("**.b", "**.b."), ("**", "**."), ("/a/", "/a/")]
    {
        let mut table = table(&["first", one]);
        let pattern = Pattern::parse(other).expect(other);
        assert_eq!(table.insert(Entry::Https, &pattern, None, 2), Err(1), "{one} and {other}");
        assert_eq!(table.insert(Entry::Http, &pattern, None, 2), Ok(0), "another entry");
        assert_eq!(table.list(Entry::Https).len(), 2);
    }
}

/// A table of one entry, with a condition for each pattern; pattern `i` belongs to service `i`.
fn conditional(entry: Entry, claims: &[(&str, &str)]) -> RouteTable {
    let mut table = RouteTable::default();
    for (service, (host, condition)) in claims.iter().enumerate() {
        let host = Pattern::parse(host).expect("a pattern");
        let condition = condition_of(entry, condition);
        assert!(table.insert(entry, &host, condition, service).is_ok(), "{claims:?}");
    }
    table
}

fn condition_of(entry: Entry, text: &str) -> Option<Condition> {
    match (text, entry) {
        ("", _) => None,
        (path, Entry::Http) => Some(Condition::Path(PathPrefix::parse(path).expect(path))),
        (protocol, Entry::Https) => Some(Condition::Alpn(protocol.into())),
    }
}

fn service_for(table: &RouteTable, name: &str, ask: Ask<'_>) -> Option<usize> {
    found(table.find(&dns(name), ask)).map(|found| found.service)
}

#[test]
fn the_longest_path_of_a_name_wins_and_names_go_first() {
    let table = conditional(
        Entry::Http,
        &[
            ("a.com", ""),
            ("a.com", "/api"),
            ("a.com", "/api/v2"),
            ("**.com", "/api"),
            ("b.com", "/only"),
            ("**", "/only"),
        ],
    );
    for (name, target, service) in [
        ("a.com", "/", Some(0)),
        ("a.com", "/apis", Some(0)),
        ("a.com", "*", Some(0)),
        ("a.com", "/?/api", Some(0)),
        ("a.com", "/api?x=//../", Some(1)),
        ("a.com", "/api/v2x", Some(1)),
        ("a.com", "/api/v2?", Some(2)),
        ("a.com", "/api/v2/x", Some(2)),
        ("b.com", "/only/x", Some(4)),
        // None of the name's own takes it, so the next pattern is asked.
        ("b.com", "/api", Some(3)),
        ("b.com", "/", None),
        ("c.org", "/only", Some(5)),
        ("c.org", "/api", None),
    ] {
        let ask = get(target.as_bytes());
        assert_eq!(service_for(&table, name, ask), service, "{name}{target}");
    }
    let listed: Vec<_> = table.list(Entry::Http).iter().map(|route| route.service).collect();
    assert_eq!(listed, [2, 1, 0, 4, 3, 5]);
}

#[test]
fn p9_a_path_is_refused_only_where_prefixes_decide() {
    let hosts = [("a.com", ""), ("b.com", ""), ("b.com", "/api"), ("**.com", "/x")];
    let table = conditional(Entry::Http, &hosts);
    assert_eq!(service_for(&table, "a.com", get(b"//api/../x")), Some(0));
    for target in [&b"//api"[..], b"/x/../y", b"/%61pi?q"] {
        assert_eq!(table.find(&dns("b.com"), get(target)), Err(AmbiguousPath));
    }
    assert_eq!(service_for(&table, "b.com", get(b"//x")), Some(1), "never asks the other");
    assert_eq!(table.find(&dns("c.com"), get(b"//x")), Err(AmbiguousPath));
    assert_eq!(service_for(&table, "c.com", get(b"//api")), None);
}

#[test]
fn p15_an_offered_protocol_beats_the_bare_name() {
    let claims = [("a.com", ""), ("a.com", "acme-tls/1"), ("**", "h2"), ("b.com", "acme-tls/1")];
    let table = conditional(Entry::Https, &claims);
    let ask = |list| Ask::Https { alpn: Alpn::parse(list).expect("a list") };
    let acme = ask(b"\x0aacme-tls/1");
    let browser = ask(b"\x02h2\x08http/1.1");
    assert_eq!(service_for(&table, "a.com", acme), Some(1));
    assert_eq!(service_for(&table, "a.com", ask(b"\x02h2\x0aacme-tls/1")), Some(1));
    assert_eq!(service_for(&table, "a.com", ask(b"\x0aacme-tls/2")), Some(0));
    assert_eq!(service_for(&table, "a.com", browser), Some(0), "the name goes first");
    assert_eq!(service_for(&table, "a.com", TLS), Some(0));
    assert_eq!(service_for(&table, "b.com", acme), Some(3));
    assert_eq!(service_for(&table, "b.com", browser), Some(2));
    assert_eq!(service_for(&table, "b.com", TLS), None);
}

#[test]
fn a_condition_has_one_owner_in_a_pattern() {
    for (entry, condition) in [(Entry::Http, "/api"), (Entry::Https, "h2"), (Entry::Http, "")] {
        let mut table = conditional(entry, &[("x", ""), ("a", condition)]);
        let again = |table: &mut RouteTable, host, condition| {
            let host = Pattern::parse(host).expect("a pattern");
            table.insert(entry, &host, condition_of(entry, condition), 7)
        };
        assert_eq!(again(&mut table, "A.", condition), Err(1), "{condition}");
        assert_eq!(again(&mut table, "b", condition), Ok(2), "another name");
    }
}

/// Whether a pattern's labels match a name's, both from the right.
fn naive_matches(pattern: &[&str], name: &[&str]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        (["**"], [_, ..]) => true,
        ([p, pattern @ ..], [n, name @ ..]) => {
            (p == n || *p == "*") && naive_matches(pattern, name)
        }
        _ => false,
    }
}

/// The module's list, read again: a smaller rank wins.
fn naive_rank(pattern: &[&str]) -> (usize, usize, Vec<bool>) {
    let stars = pattern.iter().map(|label| *label == "*").collect();
    match pattern {
        ["**"] => (3, 0, stars),
        [.., "**"] => (2, usize::MAX - pattern.len(), stars),
        _ if pattern.contains(&"*") => (1, 0, stars),
        _ => (0, 0, stars),
    }
}

fn labels(most: usize, label: &'static str) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(label, 1..=most)
}

proptest! {
    #[test]
    fn the_trie_agrees_with_trying_every_pattern(
        patterns in prop::collection::vec((labels(4, "[ab*]"), any::<bool>()), 0..24),
        any_name in any::<bool>(),
        names in prop::collection::vec(labels(5, "[abc]"), 1..16),
    ) {
        let mut patterns: Vec<String> = patterns
            .into_iter()
            .map(|(labels, deep)| ["", "**."][usize::from(deep)].to_owned() + &labels.join("."))
            .chain(any_name.then(|| "**".to_owned()))
            .collect();
        patterns.sort();
        patterns.dedup();
        let texts: Vec<&str> = patterns.iter().map(|text| &**text).collect();
        let table = table(&texts);
        for name in names {
            let name = name.join(".");
            let from_right: Vec<&str> = name.rsplit('.').collect();
            let best = texts
                .iter()
                .map(|text| (text, text.rsplit('.').collect::<Vec<_>>()))
                .filter(|(_, labels)| naive_matches(labels, &from_right))
                .min_by_key(|(_, labels)| naive_rank(labels))
                .map(|(text, _)| *text);
            prop_assert_eq!(find(&table, &name), best, "{} among {:?}", name, texts);
        }
    }

    #[test]
    fn paths_agree_with_trying_every_claim(
        claims in prop::collection::btree_set(
            ("(\\*\\*|[ab*](\\.[ab*])?)", "(/[pq]){0,3}"), 1..12
        ),
        asked in prop::collection::vec(("[ab](\\.[ab])?", "(/[pqr]x?){1,4}"), 1..16),
    ) {
        let claims: Vec<(&str, &str)> = claims.iter().map(|(a, b)| (&**a, &**b)).collect();
        let table = conditional(Entry::Http, &claims);
        for (name, path) in asked {
            let from_right: Vec<&str> = name.rsplit('.').collect();
            let best = claims
                .iter()
                .enumerate()
                .map(|(service, (host, prefix))| {
                    (service, host.rsplit('.').collect::<Vec<_>>(), *prefix)
                })
                .filter(|(_, host, prefix)| {
                    // Segment by segment, where the table compares bytes.
                    let mut segments = path.split('/');
                    naive_matches(host, &from_right)
                        && prefix.split('/').all(|wanted| segments.next() == Some(wanted))
                })
                .min_by_key(|(_, host, prefix)| (naive_rank(host), Reverse(prefix.len())))
                .map(|(service, ..)| service);
            let found = service_for(&table, &name, get(path.as_bytes()));
            prop_assert_eq!(found, best, "{}{} among {:?}", name, path, claims);
        }
    }
}
