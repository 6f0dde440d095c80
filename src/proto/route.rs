//! Which service takes a visitor, by the name that it asks for.
//!
//! | pattern | matches |
//! | --- | --- |
//! | `a.b.c` | that name |
//! | `*` as a label | exactly one whole label, in any position |
//! | `**.` in front | one or more labels; what follows may hold `*` |
//! | `/regex/` | the whole normalised name, by a linear-time engine |
//! | `**` | any name, and an address as Host |
//! | fallback | no name at all; an address that no `**` takes |
//!
//! What wins does not depend on the order in the file, regexes among themselves excepted:
//!
//! 1. The exact name.
//! 2. Patterns with `*`, compared label by label from the right: at the first difference a literal
//!    beats a `*`. `*.b.c` beats `a.*.c`.
//! 3. `**.` patterns: the one with more labels after it; of equally many, as in 2.
//! 4. Regexes, the first in the file.
//! 5. `**`.
//! 6. The fallback, which no DNS name reaches.
//!
//! Several services may have one pattern if all but one of them ask for more than the name
//! ([`Condition`]): a protocol that the visitor offers by ALPN, or the front of the path. Within a
//! pattern, a condition beats none, and a longer path a shorter one. A pattern of whose services
//! none takes the visitor counts as if it were not there.
//!
//! Labels live in a trie, read from the right, so a lookup costs the name's labels and not the
//! number of services, regexes again excepted: those are tried one by one. No step allocates,
//! except the regex engine on its first run.

mod path;
mod pattern;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;

use crate::wire::client_hello::Alpn;
use crate::wire::host::{HostName, Hostname};
use pattern::Kind;

pub use path::{AmbiguousPath, PathPrefix, PrefixError};
pub use pattern::{Pattern, PatternError};

/// Where visitors that carry a name come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Entry {
    /// Plain HTTP, by Host.
    Http,
    /// TLS, by SNI.
    Https,
}

/// What a visitor says beside the name.
#[derive(Debug, Clone, Copy)]
pub enum Ask<'a> {
    /// To the HTTP entry.
    Http {
        /// The request's target, in origin-form or `*`.
        target: &'a [u8],
    },
    /// To the TLS entry.
    Https {
        /// The protocols that it offers.
        alpn: Alpn<'a>,
    },
}

impl Ask<'_> {
    /// Whom it asks.
    pub fn entry(&self) -> Entry {
        match self {
            Ask::Http { .. } => Entry::Http,
            Ask::Https { .. } => Entry::Https,
        }
    }
}

/// What a service asks for beside the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// A request under this path.
    Path(PathPrefix),
    /// A hello that offers this protocol (RFC 7301).
    Alpn(Box<str>),
}

/// The routes of both entries.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    http: Routes,
    https: Routes,
}

/// Who takes a visitor, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match<'a> {
    /// The service's number.
    pub service: usize,
    /// The pattern that won, or [`FALLBACK`].
    pub pattern: &'a str,
    /// What else the service asks for, and the visitor has.
    pub condition: Option<&'a Condition>,
}

/// What [`Match::pattern`] says when the fallback won.
pub const FALLBACK: &str = "fallback";

impl RouteTable {
    /// Who takes a visitor that asks for `name`; without SNI or Host, that is `Empty`. A path may
    /// be refused because prefixes decide about it and not all programs read it alike.
    pub fn find(&self, name: &HostName, ask: Ask<'_>) -> Result<Option<Match<'_>>, AmbiguousPath> {
        let routes = self.routes(ask.entry());
        let found = match name {
            HostName::Dns(name) => return routes.find(name, ask).transpose(),
            HostName::Ip(_) => routes.any.and_then(|any| routes.routes[any].find(ask)),
            HostName::Empty => None,
        };
        found.or(routes.matched_fallback().map(Ok)).transpose()
    }

    /// Gives `pattern` to `service`, under `condition` if there is one. `Ok`: the claim's number in
    /// this entry, counted from 0. `Err`: the number of the claim that is the same.
    pub fn insert(
        &mut self,
        entry: Entry,
        pattern: &Pattern,
        condition: Option<Condition>,
        service: usize,
    ) -> Result<usize, usize> {
        self.routes_mut(entry).insert(pattern, condition, service)
    }

    /// Makes `service` the entry's fallback. `Err`: the service that is it already.
    pub fn set_fallback(&mut self, entry: Entry, service: usize) -> Result<(), usize> {
        match &mut self.routes_mut(entry).fallback {
            Some(taken) => Err(*taken),
            free => {
                *free = Some(service);
                Ok(())
            }
        }
    }

    /// All routes of an entry, what wins first; the fallback last.
    pub fn list(&self, entry: Entry) -> Vec<Match<'_>> {
        let routes = self.routes(entry);
        let mut order: Vec<&Route> = routes.routes.iter().collect();
        order.sort_by(|a, b| a.pattern.cmp_precedence(&b.pattern));
        let claims = order
            .into_iter()
            .flat_map(|route| route.claims.iter().map(|claim| claim.matched(&route.pattern)));
        claims.chain(routes.matched_fallback()).collect()
    }

    fn routes(&self, entry: Entry) -> &Routes {
        match entry {
            Entry::Http => &self.http,
            Entry::Https => &self.https,
        }
    }

    fn routes_mut(&mut self, entry: Entry) -> &mut Routes {
        match entry {
            Entry::Http => &mut self.http,
            Entry::Https => &mut self.https,
        }
    }
}

/// One entry's routes.
#[derive(Debug, Clone)]
struct Routes {
    /// In the order of the file.
    routes: Vec<Route>,
    /// The trie; `nodes[0]` is the root, which ends no pattern: `root.whole == root.deep == None`.
    nodes: Vec<Node>,
    /// The routes that are regexes, in the order of the file.
    regexes: Vec<usize>,
    /// The route that is `**`.
    any: Option<usize>,
    /// The service, not a route.
    fallback: Option<usize>,
    /// How many claims there are.
    claims: usize,
}

/// A pattern and who has it.
#[derive(Debug, Clone)]
struct Route {
    pattern: Pattern,
    /// What wins first: the one without a condition is the last. Never empty; no two conditions
    /// are equal.
    claims: Vec<Claim>,
}

/// A service's part of a route.
#[derive(Debug, Clone)]
struct Claim {
    number: usize,
    condition: Option<Condition>,
    service: usize,
}

/// A place in the trie: the labels on the way to it from the root are a name's last ones.
///
/// ```text
/// root - com - example - pi      whole: pi.example.com
///                  |     `- *    whole: *.pi.example.com, deep: **.*.pi.example.com
///                  `- deep: **.example.com
/// ```
#[derive(Debug, Clone, Default)]
struct Node {
    literals: HashMap<Box<str>, usize>,
    star: Option<usize>,
    /// The route of the pattern that ends here.
    whole: Option<usize>,
    /// The route of `**.` and the way to here.
    deep: Option<usize>,
}

/// `None`: nobody here takes the visitor, who may fit elsewhere.
type Found<'a> = Option<Result<Match<'a>, AmbiguousPath>>;

impl Default for Routes {
    fn default() -> Routes {
        Routes {
            routes: Vec::new(),
            nodes: vec![Node::default()],
            regexes: Vec::new(),
            any: None,
            fallback: None,
            claims: 0,
        }
    }
}

impl Routes {
    fn find(&self, name: &Hostname, ask: Ask<'_>) -> Found<'_> {
        let mut deep = None;
        self.walk(ROOT, Some(name.as_str()), 0, ask, &mut deep)
            .or(deep.map(|(_, found)| found))
            .or_else(|| self.find_regex(name, ask))
            .or_else(|| self.any.and_then(|any| self.routes[any].find(ask)))
    }

    /// The best pattern without `**` for the labels in `rest`, below `node`; on the way, the
    /// deepest `**`. Literals go first, so the first end reached is the best. Two ways at each
    /// label at most, and never more steps in all than the trie has nodes.
    fn walk<'a>(
        &'a self,
        node: usize,
        rest: Option<&str>,
        depth: usize,
        ask: Ask<'_>,
        deep: &mut Option<(usize, Result<Match<'a>, AmbiguousPath>)>,
    ) -> Found<'a> {
        let node = &self.nodes[node];
        let Some(rest) = rest else {
            return node.whole.and_then(|route| self.routes[route].find(ask));
        };
        if let Some(route) = node.deep
            && deep.is_none_or(|(deepest, _)| deepest < depth)
            && let Some(found) = self.routes[route].find(ask)
        {
            *deep = Some((depth, found));
        }
        let (rest, label) = match rest.rsplit_once('.') {
            Some((rest, label)) => (Some(rest), label),
            None => (None, rest),
        };
        let literal = node.literals.get(label).copied();
        let mut ways = literal.into_iter().chain(node.star);
        ways.find_map(|node| self.walk(node, rest, depth + 1, ask, deep))
    }

    fn find_regex(&self, name: &Hostname, ask: Ask<'_>) -> Found<'_> {
        let routes = self.regexes.iter().map(|&route| &self.routes[route]);
        let mut fitting = routes.filter(|route| match &route.pattern.kind {
            Kind::Regex(regex) => regex.is_match(name.as_str()),
            Kind::Whole | Kind::Deep | Kind::Any => false,
        });
        fitting.find_map(|route| route.find(ask))
    }

    fn insert(
        &mut self,
        pattern: &Pattern,
        condition: Option<Condition>,
        service: usize,
    ) -> Result<usize, usize> {
        let route = self.route_of(pattern);
        let number = self.claims;
        self.routes[route].claim(Claim { number, condition, service })?;
        self.claims += 1;
        Ok(number)
    }

    /// The pattern's route, which may be new.
    fn route_of(&mut self, pattern: &Pattern) -> usize {
        let fresh = self.routes.len();
        let route = match pattern.kind {
            Kind::Whole => {
                let end = self.grow(pattern);
                *self.nodes[end].whole.get_or_insert(fresh)
            }
            Kind::Deep => {
                let end = self.grow(pattern);
                *self.nodes[end].deep.get_or_insert(fresh)
            }
            Kind::Any => *self.any.get_or_insert(fresh),
            Kind::Regex(_) => {
                let same = |&route: &usize| self.routes[route].pattern.text == pattern.text;
                match self.regexes.iter().copied().find(same) {
                    Some(route) => route,
                    None => {
                        self.regexes.push(fresh);
                        fresh
                    }
                }
            }
        };
        if route == fresh {
            self.routes.push(Route { pattern: pattern.clone(), claims: Vec::new() });
        }
        route
    }

    /// The node at the end of the pattern's labels.
    fn grow(&mut self, pattern: &Pattern) -> usize {
        let mut at = ROOT;
        for label in pattern.labels() {
            let fresh = self.nodes.len();
            let node = &mut self.nodes[at];
            at = match label {
                "*" => *node.star.get_or_insert(fresh),
                label => *node.literals.entry(label.into()).or_insert(fresh),
            };
            if at == fresh {
                self.nodes.push(Node::default());
            }
        }
        at
    }

    fn matched_fallback(&self) -> Option<Match<'_>> {
        self.fallback.map(|service| Match { service, pattern: FALLBACK, condition: None })
    }
}

impl Route {
    /// Which of its services takes a visitor whose name has led here.
    fn find(&self, ask: Ask<'_>) -> Found<'_> {
        if let Ask::Http { target } = ask
            && let Err(ambiguous) = self.check_path(target)
        {
            return Some(Err(ambiguous));
        }
        let claim = self.claims.iter().find(|claim| claim.takes(ask))?;
        Some(Ok(claim.matched(&self.pattern)))
    }

    /// Without prefixes, every path is as good as another.
    fn check_path(&self, target: &[u8]) -> Result<(), AmbiguousPath> {
        let mut prefixes = self.claims.iter().filter_map(|claim| match &claim.condition {
            Some(Condition::Path(prefix)) => Some(prefix),
            Some(Condition::Alpn(_)) | None => None,
        });
        match prefixes.clone().next() {
            Some(_) => path::check(path::path_of(target), &mut prefixes),
            None => Ok(()),
        }
    }

    /// `Err`: the number of the claim that has the same condition.
    fn claim(&mut self, claim: Claim) -> Result<(), usize> {
        if let Some(same) = self.claims.iter().find(|other| other.condition == claim.condition) {
            return Err(same.number);
        }
        self.claims.push(claim);
        self.claims.sort_by_key(|claim| match &claim.condition {
            Some(Condition::Path(prefix)) => (false, Reverse(prefix.rank())),
            Some(Condition::Alpn(_)) => (false, Reverse((0, false))),
            None => (true, Reverse((0, false))),
        });
        Ok(())
    }
}

impl Claim {
    fn takes(&self, ask: Ask<'_>) -> bool {
        match (&self.condition, ask) {
            (None, _) => true,
            (Some(Condition::Path(prefix)), Ask::Http { target }) => {
                prefix.covers(path::path_of(target))
            }
            (Some(Condition::Alpn(protocol)), Ask::Https { mut alpn }) => {
                alpn.any(|offered| offered == protocol.as_bytes())
            }
            (Some(_), _) => false,
        }
    }

    fn matched<'a>(&'a self, pattern: &'a Pattern) -> Match<'a> {
        Match { service: self.service, pattern: &pattern.text, condition: self.condition.as_ref() }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Condition::Path(prefix) => write!(f, "path {}", prefix.as_str()),
            Condition::Alpn(protocol) => write!(f, "alpn {protocol}"),
        }
    }
}

/// The trie's first node.
const ROOT: usize = 0;

#[cfg(test)]
mod tests {
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
        let claims =
            [("a.com", ""), ("a.com", "acme-tls/1"), ("**", "h2"), ("b.com", "acme-tls/1")];
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
}
