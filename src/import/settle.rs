//! Who takes whom at one entry: Traefik asks its routers one after another, underpass the more
//! exact pattern first. What would give a visitor to somebody else than Traefik did is dropped, or
//! said more exactly.

use std::cmp::Ordering;

use super::matching::Visitors;
use super::region::{Condition, Extra, Names};
use super::variables::Variables;
use crate::proto::route::{Entry, Pattern};

/// Visitors of a router, and what becomes of them.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    /// The router's number.
    pub(super) router: usize,
    pub(super) rank: Rank,
    pub(super) visitors: Visitors,
    pub(super) outcome: Outcome,
}

/// What becomes of visitors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// They come to this service, or are sent to https in its name.
    To { service: usize, redirect: bool },
    /// They are not let in, or to somebody that is not here.
    Kept,
}

/// When Traefik asks a router: what is greater is asked first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rank {
    /// Where Traefik ends TLS, it looks at names before it asks routers that pass TLS on.
    pub(super) class: Class,
    /// The router's, or the length of its rule but for variables.
    pub(super) priority: i64,
    /// Variables whose length is not known, sorted.
    pub(super) variables: Vec<char>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// By priority.
    Usual,
    /// A router that ends TLS, for a name.
    EndsTls,
    /// A router that ends TLS, for whoever else comes: only a router for all comes after it.
    EndsTlsOfAll,
}

/// A claim that gets nobody, or not all that it asks for, and why.
#[derive(Debug)]
pub(super) struct Dropped {
    pub(super) router: usize,
    pub(super) what: String,
    pub(super) why: Why,
}

#[derive(Debug)]
pub(super) enum Why {
    /// No pattern of ours says it; the text is why.
    Unsaid(String),
    /// This router gets all of it.
    TakenBy(usize),
    /// This router gets some of it, and our file could not leave them to it.
    PartOf(usize),
    /// Its service takes others already.
    OtherVisitors,
    /// Its service takes plain HTTP from others.
    NotRedirected,
    /// There are more claims than are looked at.
    TooMany,
}

/// A claim, and whether our file makes it.
#[derive(Debug)]
struct Item {
    claim: Claim,
    made: bool,
}

/// The claims that our file can make, and those that it cannot.
pub(super) fn settle(
    entry: Entry,
    mut claims: Vec<Claim>,
    variables: &Variables<'_>,
) -> (Vec<Claim>, Vec<Dropped>) {
    claims.sort_by(|a, b| b.rank.priority.cmp(&a.rank.priority).then(a.router.cmp(&b.router)));
    let mut table = Table { entry, variables, items: Vec::new(), dropped: Vec::new() };
    let too_many = claims.len() > MOST;
    for claim in claims {
        let item = table.item(claim);
        table.items.push(item);
    }
    if too_many {
        for at in 0..table.items.len() {
            table.drop(at, Why::TooMany);
        }
    }
    table.one_redirect();
    table.one_condition();
    let mut steps = 0;
    while let Some((at, other)) = table.wrong() {
        steps += 1;
        if steps > MOST || !table.repair(at, other) {
            table.give_up(at, other);
        }
    }
    let made = table.items.into_iter().filter(|item| item.made).map(|item| item.claim);
    (made.collect(), table.dropped)
}

struct Table<'a> {
    entry: Entry,
    variables: &'a Variables<'a>,
    /// What Traefik asks first, first.
    items: Vec<Item>,
    dropped: Vec<Dropped>,
}

impl Table<'_> {
    fn item(&mut self, claim: Claim) -> Item {
        let wanted = claim.outcome != Outcome::Kept;
        let unsaid = match (&claim.visitors.unsaid, &claim.visitors.names.said) {
            (Some(why), _) => Some(why.clone()),
            (None, None) => Some("no pattern says its names".into()),
            (None, Some(_)) => None,
        };
        if let Some(why) = &unsaid
            && wanted
        {
            let what = shown(&claim.visitors, self.variables);
            self.dropped.push(Dropped {
                router: claim.router,
                what,
                why: Why::Unsaid(why.clone()),
            });
        }
        Item { claim, made: wanted && unsaid.is_none() }
    }

    fn drop(&mut self, at: usize, why: Why) {
        let item = &mut self.items[at];
        if item.made {
            item.made = false;
            let what = shown(&item.claim.visitors, self.variables);
            self.dropped.push(Dropped { router: item.claim.router, what, why });
        }
    }

    /// A service sends all of its plain HTTP to https, or none.
    fn one_redirect(&mut self) {
        for at in 0..self.items.len() {
            let Outcome::To { service, redirect: true } = self.items[at].claim.outcome else {
                continue;
            };
            let plain = Outcome::To { service, redirect: false };
            if self.items.iter().any(|item| item.made && item.claim.outcome == plain) {
                self.drop(at, Why::NotRedirected);
            }
        }
    }

    /// A service asks for one thing beside the name: nothing if any of its routers does, else what
    /// the first of them asks for.
    fn one_condition(&mut self) {
        for at in 0..self.items.len() {
            if !self.items[at].made {
                continue;
            }
            let claim = &self.items[at].claim;
            let own = self.items.iter().filter(|i| i.made && i.claim.outcome == claim.outcome);
            let own: Vec<&Claim> = own.map(|item| &item.claim).collect();
            let without = own.iter().find(|c| c.visitors.extra == Extra::NONE);
            let Some(chosen) = without.or(own.first()) else { continue };
            let chosen = &chosen.visitors.extra;
            if claim.visitors.extra == *chosen {
                continue;
            }
            let said = own.iter().any(|other| {
                other.visitors.extra == *chosen
                    && other.visitors.names.covers(&claim.visitors.names)
                    && chosen.covers(&claim.visitors.extra)
            });
            match said {
                true => self.items[at].made = false,
                false => self.drop(at, Why::OtherVisitors),
            }
        }
    }

    /// A claim that our file makes and that takes visitors whom Traefik gives to another one.
    fn wrong(&self) -> Option<(usize, usize)> {
        let made = (0..self.items.len()).filter(|at| self.items[*at].made);
        let mut pairs = made.flat_map(|at| (0..self.items.len()).map(move |other| (at, other)));
        pairs.find(|(at, other)| self.is_wrong(&self.items[*at], &self.items[*other]))
    }

    fn is_wrong(&self, item: &Item, other: &Item) -> bool {
        let (claim, rival) = (&item.claim, &other.claim);
        claim.outcome != rival.outcome
            && claim.visitors.names.overlaps(&rival.visitors.names)
            && claim.visitors.extra.overlaps(&rival.visitors.extra)
            && claim.outranks(rival) != Some(true)
            && !(other.made && self.wins(rival, claim))
    }

    /// Says more exactly whom the other claim takes from this one.
    fn repair(&mut self, at: usize, other: usize) -> bool {
        let (claim, rival) = (&self.items[at].claim, &self.items[other].claim);
        if !self.items[other].made || rival.outranks(claim) != Some(true) {
            return false;
        }
        let Some(names) = rival.visitors.names.both(&claim.visitors.names) else { return false };
        if names.said.is_none() {
            return false;
        }
        let visitors = Visitors { names, ..rival.visitors.clone() };
        let exact = Claim { visitors, ..rival.clone() };
        if !self.wins(&exact, claim) {
            return false;
        }
        self.items.insert(other, Item { claim: exact, made: true });
        true
    }

    fn give_up(&mut self, at: usize, other: usize) {
        let (claim, rival) = (&self.items[at].claim, &self.items[other]);
        let all = rival.claim.visitors.names.covers(&claim.visitors.names)
            && rival.claim.visitors.extra.covers(&claim.visitors.extra)
            && rival.claim.outranks(claim) == Some(true)
            && rival.claim.visitors.unsaid.is_none();
        let router = rival.claim.router;
        self.drop(at, if all { Why::TakenBy(router) } else { Why::PartOf(router) });
    }

    /// Whether underpass gives `claim` all visitors that are the other's too.
    fn wins(&self, claim: &Claim, other: &Claim) -> bool {
        let (Some(a), Some(b)) =
            (self.pattern(&claim.visitors.names), self.pattern(&other.visitors.names))
        else {
            return false;
        };
        // Of addresses, underpass looks at `**` alone.
        let addresses = self.entry == Entry::Http
            && b.as_str() == "**"
            && a.as_str() != "**"
            && claim.visitors.names.takes_addresses();
        match a.cmp_precedence(&b) {
            _ if addresses => false,
            Ordering::Less => true,
            Ordering::Greater => false,
            Ordering::Equal if a.as_str() != b.as_str() => {
                service_of(claim.outcome) < service_of(other.outcome) // regexes: the file's order
            }
            Ordering::Equal => {
                match (&claim.visitors.extra.condition, &other.visitors.extra.condition) {
                    (Condition::None, _) | (Condition::Alpn(_), Condition::Alpn(_)) => false,
                    (_, Condition::None) => true,
                    (Condition::Path(a), Condition::Path(b)) => a.len() > b.len(),
                    _ => false,
                }
            }
        }
    }

    fn pattern(&self, names: &Names) -> Option<Pattern> {
        let text = self.variables.resolve(names.said.as_ref()?);
        Pattern::parse(&text.replace(Variables::RESERVED, "v")).ok()
    }
}

impl Claim {
    /// Whether Traefik asks this one first; `None`: nobody knows.
    fn outranks(&self, other: &Claim) -> Option<bool> {
        let is_any = |claim: &Claim| claim.visitors.names.is_any();
        match (self.rank.class, other.rank.class) {
            (Class::Usual, Class::Usual) => {
                let known = self.rank.variables == other.rank.variables;
                let order = self.rank.priority.cmp(&other.rank.priority);
                (known && order != Ordering::Equal).then_some(order == Ordering::Greater)
            }
            (Class::EndsTls, Class::Usual) => Some(true),
            (Class::Usual, Class::EndsTls) => Some(false),
            (Class::EndsTlsOfAll, Class::Usual) => Some(is_any(other)),
            (Class::Usual, Class::EndsTlsOfAll) => Some(!is_any(self)),
            _ => None,
        }
    }
}

fn service_of(outcome: Outcome) -> Option<usize> {
    match outcome {
        Outcome::To { service, .. } => Some(service),
        Outcome::Kept => None,
    }
}

/// The names, and what is asked for beside them.
pub(super) fn shown(visitors: &Visitors, variables: &Variables<'_>) -> String {
    let names = match &visitors.names.said {
        Some(said) if said == "**" => "any name".into(),
        Some(said) => variables.unfold(said),
        None => "a part of its rule".into(),
    };
    match &visitors.extra.condition {
        Condition::None => names,
        Condition::Path(path) => format!("{names} with a path from {path} on"),
        Condition::Alpn(protocol) => format!("{names} with ALPN {protocol}"),
    }
}

/// Claims of one entry; nobody has as many.
const MOST: usize = 400;
