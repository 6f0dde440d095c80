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
//! Labels live in a trie, read from the right, so a lookup costs the name's labels and not the
//! number of services, regexes again excepted: those are tried one by one. No step allocates,
//! except the regex engine on its first run.

mod pattern;

use std::collections::HashMap;

use crate::wire::host::{HostName, Hostname};
use pattern::Kind;

pub use pattern::{Pattern, PatternError};

/// Where visitors that carry a name come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Entry {
    /// Plain HTTP, by Host.
    Http,
    /// TLS, by SNI.
    Https,
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
}

/// What [`Match::pattern`] says when the fallback won.
pub const FALLBACK: &str = "fallback";

impl RouteTable {
    /// Who takes a visitor that asks `entry` for `name`; without SNI or Host, `name` is `Empty`.
    pub fn find(&self, entry: Entry, name: &HostName) -> Option<Match<'_>> {
        let routes = self.routes(entry);
        let pattern = match name {
            HostName::Dns(name) => return routes.find(name).map(|found| routes.matched(found)),
            HostName::Ip(_) => routes.any,
            HostName::Empty => None,
        };
        pattern.map(|found| routes.matched(found)).or(routes.matched_fallback())
    }

    /// Gives `pattern` to `service`. `Ok`: the route's number in this entry, counted from 0.
    /// `Err`: the number of the route that has the same pattern already.
    pub fn insert(
        &mut self,
        entry: Entry,
        pattern: &Pattern,
        service: usize,
    ) -> Result<usize, usize> {
        self.routes_mut(entry).insert(pattern, service)
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
        let mut order: Vec<usize> = (0..routes.patterns.len()).collect();
        order.sort_by(|&a, &b| routes.patterns[a].0.cmp_precedence(&routes.patterns[b].0));
        let patterns = order.into_iter().map(|found| routes.matched(found));
        patterns.chain(routes.matched_fallback()).collect()
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
    /// In the order of the file, with the service of each; routes are indices into it.
    patterns: Vec<(Pattern, usize)>,
    /// The trie; `nodes[0]` is the root, which ends no pattern: `root.whole == root.deep == None`.
    nodes: Vec<Node>,
    /// The routes that are regexes, in the order of the file.
    regexes: Vec<usize>,
    /// The route that is `**`.
    any: Option<usize>,
    /// The service, not a route.
    fallback: Option<usize>,
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

impl Default for Routes {
    fn default() -> Routes {
        Routes {
            patterns: Vec::new(),
            nodes: vec![Node::default()],
            regexes: Vec::new(),
            any: None,
            fallback: None,
        }
    }
}

impl Routes {
    fn find(&self, name: &Hostname) -> Option<usize> {
        let mut deep = None;
        self.walk(ROOT, Some(name.as_str()), 0, &mut deep)
            .or(deep.map(|(_, route)| route))
            .or_else(|| self.find_regex(name))
            .or(self.any)
    }

    /// The best pattern without `**` for the labels in `rest`, below `node`; on the way, the
    /// deepest `**`. Literals go first, so the first end reached is the best. Two ways at each
    /// label at most, and never more steps in all than the trie has nodes.
    fn walk(
        &self,
        node: usize,
        rest: Option<&str>,
        depth: usize,
        deep: &mut Option<(usize, usize)>,
    ) -> Option<usize> {
        let node = &self.nodes[node];
        let Some(rest) = rest else { return node.whole };
        if let Some(route) = node.deep
            && deep.is_none_or(|(deepest, _)| deepest < depth)
        {
            *deep = Some((depth, route));
        }
        let (rest, label) = match rest.rsplit_once('.') {
            Some((rest, label)) => (Some(rest), label),
            None => (None, rest),
        };
        let literal = node.literals.get(label).copied();
        let mut ways = literal.into_iter().chain(node.star);
        ways.find_map(|node| self.walk(node, rest, depth + 1, deep))
    }

    fn find_regex(&self, name: &Hostname) -> Option<usize> {
        self.regexes.iter().copied().find(|&route| match &self.patterns[route].0.kind {
            Kind::Regex(regex) => regex.is_match(name.as_str()),
            Kind::Whole | Kind::Deep | Kind::Any => false,
        })
    }

    fn insert(&mut self, pattern: &Pattern, service: usize) -> Result<usize, usize> {
        let route = self.patterns.len();
        let taken = match pattern.kind {
            Kind::Whole => {
                let end = self.grow(pattern);
                *self.nodes[end].whole.get_or_insert(route)
            }
            Kind::Deep => {
                let end = self.grow(pattern);
                *self.nodes[end].deep.get_or_insert(route)
            }
            Kind::Any => *self.any.get_or_insert(route),
            Kind::Regex(_) => {
                let same = |&route: &usize| self.patterns[route].0.text == pattern.text;
                match self.regexes.iter().copied().find(same) {
                    Some(taken) => taken,
                    None => {
                        self.regexes.push(route);
                        route
                    }
                }
            }
        };
        if taken != route {
            return Err(taken);
        }
        self.patterns.push((pattern.clone(), service));
        Ok(route)
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

    fn matched(&self, route: usize) -> Match<'_> {
        let (pattern, service) = &self.patterns[route];
        Match { service: *service, pattern: &pattern.text }
    }

    fn matched_fallback(&self) -> Option<Match<'_>> {
        self.fallback.map(|service| Match { service, pattern: FALLBACK })
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
            assert!(table.insert(Entry::Https, &pattern, service).is_ok(), "{text} twice");
        }
        table
    }

    fn dns(name: &str) -> HostName {
        HostName::Dns(Hostname::parse(name.as_bytes()).expect(name))
    }

    fn find<'a>(table: &'a RouteTable, name: &str) -> Option<&'a str> {
        table.find(Entry::Https, &dns(name)).map(|found| found.pattern)
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
        assert_eq!(table.find(Entry::Https, &HostName::Empty), None);
        assert_eq!(table.find(Entry::Https, &address), None);
        assert_eq!(table.set_fallback(Entry::Https, 7), Ok(()));
        assert_eq!(table.set_fallback(Entry::Https, 8), Err(7));
        let fallback = Some(Match { service: 7, pattern: FALLBACK });
        assert_eq!(table.find(Entry::Https, &HostName::Empty), fallback);
        assert_eq!(table.find(Entry::Https, &address), fallback);
        assert_eq!(table.find(Entry::Http, &HostName::Empty), None, "of that entry alone");
        let any = Pattern::parse("**").expect("a pattern");
        assert_eq!(table.insert(Entry::Https, &any, 9), Ok(2));
        let any = Some(Match { service: 9, pattern: "**" });
        assert_eq!(table.find(Entry::Https, &address), any);
        assert_eq!(table.find(Entry::Https, &HostName::Empty), fallback);

        let mut table = RouteTable::default();
        assert_eq!(table.set_fallback(Entry::Https, 7), Ok(()));
        assert_eq!(table.find(Entry::Https, &dns("a")), None);
    }

    #[test]
    fn a_pattern_has_one_owner_however_it_is_written() {
        for (one, other) in
            [("a.b", "A.b."), ("*.b", "*.B"), ("**.b", "**.b."), ("**", "**."), ("/a/", "/a/")]
        {
            let mut table = table(&["first", one]);
            let pattern = Pattern::parse(other).expect(other);
            assert_eq!(table.insert(Entry::Https, &pattern, 2), Err(1), "{one} and {other}");
            assert_eq!(table.insert(Entry::Http, &pattern, 2), Ok(0), "another entry");
            assert_eq!(table.list(Entry::Https).len(), 2);
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
    }
}
