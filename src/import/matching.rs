//! A router's rule as the visitors that it takes: names, and what else they ask for.

use super::dynamic::Layer;
use super::hosts;
use super::region::{Condition, Extra, Names};
use super::rule::Rule;
use super::static_config::Syntax;
use super::variables::Variables;
use crate::proto::route::PathPrefix;

/// Visitors that a rule takes: those that have the name and the extra.
#[derive(Debug, Clone)]
pub(super) struct Visitors {
    pub(super) names: Names,
    pub(super) extra: Extra,
    /// Why our file cannot say just these.
    pub(super) unsaid: Option<String>,
}

/// Reads rules of one layer.
pub(super) struct Matching<'a> {
    pub(super) layer: Layer,
    pub(super) syntax: Syntax,
    pub(super) variables: &'a Variables<'a>,
}

impl Matching<'_> {
    /// All that the rule takes. The error: Traefik does not take the rule, so nobody comes.
    pub(super) fn visitors(&self, rule: &Rule) -> Result<Vec<Visitors>, String> {
        match rule {
            Rule::Matcher(name, arguments) => self.matcher(name, arguments),
            Rule::Or(rules) => {
                let mut all = Vec::new();
                for rule in rules {
                    all.extend(self.visitors(rule)?);
                }
                Ok(bounded(all))
            }
            Rule::And(rules) => {
                let mut all = vec![everybody()];
                for rule in rules {
                    let more = self.visitors(rule)?;
                    let pairs = all.iter().flat_map(|a| more.iter().filter_map(|b| both(a, b)));
                    all = bounded(pairs.collect());
                }
                Ok(all)
            }
            Rule::Not(rule) => {
                self.visitors(rule)?;
                Ok(vec![some("`!` has no like here")])
            }
        }
    }

    fn matcher(&self, name: &str, arguments: &[String]) -> Result<Vec<Visitors>, String> {
        let count = arguments.len();
        let one = count == 1 || count > 0 && self.syntax != Syntax::V3;
        let known: &[&str] = match self.layer {
            Layer::Http => HTTP_MATCHERS,
            Layer::Tcp | Layer::Udp => TCP_MATCHERS,
        };
        if !known.contains(&name) || name == "hostheader" && self.syntax == Syntax::V3 {
            return Err(format!("Traefik knows no matcher {name}"));
        }
        let single =
            !["header", "headerregexp", "headers", "headersregexp", "query", "queryregexp"]
                .contains(&name);
        if count == 0 || single && !one {
            return Err(format!("Traefik wants one argument in {name}"));
        }
        match name {
            "host" | "hostheader" | "hostsni" => {
                arguments.iter().map(|text| self.literal(name, text)).collect()
            }
            "hostregexp" | "hostsniregexp" => {
                let all: Result<Vec<_>, String> =
                    arguments.iter().map(|text| self.expression(name, text)).collect();
                Ok(all?.concat())
            }
            "pathprefix" => Ok(arguments.iter().map(|text| self.prefix(text)).collect()),
            "alpn" => Ok(arguments.iter().map(|text| alpn(text)).collect()),
            "path" => {
                let path = |text: &String| Visitors {
                    extra: Extra { condition: front(text), whole: false },
                    ..some("Path has no like here")
                };
                Ok(arguments.iter().map(path).collect())
            }
            _ => Ok(vec![some(&format!("{name} has no like here"))]),
        }
    }

    fn literal(&self, name: &str, text: &str) -> Result<Visitors, String> {
        let sni = name == "hostsni";
        Ok(match hosts::literal(text, sni, self.syntax) {
            Ok(wanted) => named(Names::new(&wanted, self.variables)),
            Err(why) => Visitors {
                unsaid: Some(format!("{name}: {why}")),
                ..named(Names::unsaid(text, self.variables))
            },
        })
    }

    fn expression(&self, name: &str, text: &str) -> Result<Vec<Visitors>, String> {
        match hosts::regexp(text, self.syntax) {
            Ok(all) => {
                Ok(all.iter().map(|wanted| named(Names::new(wanted, self.variables))).collect())
            }
            Err(why) => Ok(vec![some(&format!("{name}: {why}"))]),
        }
    }

    fn prefix(&self, text: &str) -> Visitors {
        let whole = Extra { condition: Condition::Path(text.to_owned()), whole: true };
        let folded = text.contains(Variables::RESERVED);
        match PathPrefix::parse(&format!("{text}*")) {
            _ if text == "/" => everybody(),
            Ok(_) if !folded => Visitors { extra: whole, ..everybody() },
            _ => Visitors {
                extra: Extra { condition: front(text), whole: false },
                ..some("PathPrefix: underpass takes letters, digits and -._~ between slashes alone")
            },
        }
    }
}

fn everybody() -> Visitors {
    named(Names::all())
}

fn named(names: Names) -> Visitors {
    Visitors { names, extra: Extra::NONE, unsaid: None }
}

/// Nobody knows which.
fn some(why: &str) -> Visitors {
    let extra = Extra { condition: Condition::None, whole: false };
    Visitors { names: Names::some(), extra, unsaid: Some(why.to_owned()) }
}

fn alpn(protocol: &str) -> Visitors {
    let said = (1..=255).contains(&protocol.len())
        && protocol.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'$');
    let extra = Extra { condition: Condition::Alpn(protocol.to_owned()), whole: said };
    let unsaid = (!said).then(|| "ALPN: no protocol's name".to_owned());
    Visitors { names: everybody().names, extra, unsaid }
}

/// What each path that the text stands for begins with.
fn front(text: &str) -> Condition {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-._~".contains(c);
    let end = text.find(|c| !plain(c)).unwrap_or(text.len());
    match &text[..end] {
        "" | "/" => Condition::None,
        front => Condition::Path(front.to_owned()),
    }
}

/// Those that are in both; `None`: nobody is.
fn both(a: &Visitors, b: &Visitors) -> Option<Visitors> {
    if !a.names.overlaps(&b.names) {
        return None;
    }
    let extra = a.extra.both(&b.extra)?;
    let mut unsaid = a.unsaid.clone().or(b.unsaid.clone());
    if !extra.whole && unsaid.is_none() {
        unsaid = Some("two protocols at once".into());
    }
    // Names that no pattern says are no better known for being fewer.
    let (known, other) = if a.unsaid.is_none() { (a, b) } else { (b, a) };
    let names = match other.names.is_any() {
        true => known.names.clone(),
        false => known.names.both(&other.names).unwrap_or_else(|| {
            unsaid.get_or_insert("two names at once".into());
            known.names.clone()
        }),
    };
    Some(Visitors { names, extra, unsaid })
}

/// So many that it could take forever are some of all.
fn bounded(all: Vec<Visitors>) -> Vec<Visitors> {
    if all.len() <= MOST { all } else { vec![some("the rule has too many ways")] }
}

const MOST: usize = 64;

const HTTP_MATCHERS: &[&str] = &[
    "host",
    "hostheader",
    "hostregexp",
    "path",
    "pathprefix",
    "pathregexp",
    "method",
    "header",
    "headers",
    "headerregexp",
    "headersregexp",
    "query",
    "queryregexp",
    "clientip",
];
const TCP_MATCHERS: &[&str] = &["hostsni", "hostsniregexp", "alpn", "clientip"];
