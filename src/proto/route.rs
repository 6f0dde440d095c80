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
mod tests;
