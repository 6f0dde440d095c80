//! From Traefik's model to ours: for each way in, who is served for which names, and what of it
//! our file can say.

use std::collections::{BTreeMap, BTreeSet};

use super::dashboard::{Admin, login, of_page, whole_names};
use super::dynamic::{Dynamic, Layer, Router, Target};
use super::matching::{Matching, Visitors};
use super::middleware::{Effect, effect};
use super::ports::Protocol;
use super::region::{Condition, Extra, Names};
use super::rule::Rule;
use super::settings::Place;
use super::settle::{Claim, Class, Dropped, Outcome, Rank, Why, settle};
use super::static_config::{EntryPoint, Static, Syntax};
use super::variables::Variables;
use crate::proto::route::Entry;

/// Where a router's service leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Backend {
    /// rathole's service of this number.
    Service(usize),
    /// Where homes dial in.
    Tunnel,
    /// Traefik's dashboard, in whose place is the admin page.
    Dashboard,
}

/// What our file says.
#[derive(Debug, Default)]
pub(super) struct Routing {
    pub(super) services: BTreeMap<usize, Routed>,
    pub(super) http_addrs: BTreeSet<String>,
    pub(super) https_addrs: BTreeSet<String>,
    /// In the place of Traefik's dashboard.
    pub(super) admin: Option<Admin>,
    /// More addresses of the tunnel.
    pub(super) tunnel_addrs: BTreeSet<String>,
    /// What is not carried over, and where it stands.
    pub(super) notes: BTreeSet<(Place, String)>,
}

/// What Traefik sends to one of rathole's services.
#[derive(Debug, Default)]
pub(super) struct Routed {
    /// By name, at this entry.
    pub(super) entry: Option<Entry>,
    /// Patterns; variables are folded.
    pub(super) hosts: Vec<String>,
    pub(super) condition: Option<Condition>,
    pub(super) fallback: bool,
    pub(super) redirect: bool,
    /// All that come to these addresses.
    pub(super) ports: BTreeSet<String>,
    /// The PROXY header that the home waits for.
    pub(super) proxy_header: Option<u8>,
    /// The routers, for notes.
    pub(super) routers: BTreeSet<String>,
    pub(super) place: Option<Place>,
}

/// Finds what a service's target is.
pub(super) type Find<'a> = &'a dyn Fn(&Target, Layer) -> Result<Backend, String>;

/// Reads who is served, and says it our way.
pub(super) fn route(
    known: &Static,
    dynamic: &Dynamic,
    variables: &Variables<'_>,
    find: Find<'_>,
) -> Routing {
    let mut reading = Reading {
        known,
        dynamic,
        variables,
        routing: Routing::default(),
        ends: vec![None; dynamic.routers.len()],
        sides: known.entry_points.iter().map(|_| Sides::default()).collect(),
    };
    if let Some(doubt) = &known.doubt {
        for router in &dynamic.routers {
            reading.note(router, doubt);
        }
        return reading.routing;
    }
    for at in 0..dynamic.routers.len() {
        if let Err(why) = reading.read_router(at, find) {
            reading.note(&dynamic.routers[at], &why);
        }
    }
    reading.redirections();
    reading.raw();
    reading.one_entry_each();
    reading.names();
    reading.routing
}

/// What comes in at one entry point.
#[derive(Debug, Default)]
struct Sides {
    plain: Vec<Claim>,
    tls: Vec<Claim>,
    /// Some router wants TLS here, whoever it takes.
    has_tls: bool,
    /// TCP that is not TLS, or UDP: each router wants all of it.
    raw: Vec<(usize, Rank, bool)>,
}

struct Reading<'a> {
    known: &'a Static,
    dynamic: &'a Dynamic,
    variables: &'a Variables<'a>,
    routing: Routing,
    /// Where each router leads to.
    ends: Vec<Option<(Backend, Option<u8>)>>,
    /// By the entry point's number.
    sides: Vec<Sides>,
}

impl<'a> Reading<'a> {
    fn note(&mut self, router: &Router, why: &str) {
        let text = format!("router {}: {why}", router.name);
        self.routing.notes.insert((router.place.clone(), self.variables.unfold(&text)));
    }

    /// Puts what one router takes at the entry points that it has.
    fn read_router(&mut self, at: usize, find: Find<'_>) -> Result<(), String> {
        let router = &self.dynamic.routers[at];
        if let Some(broken) = &router.broken {
            return Err(broken.clone());
        }
        let entry_points = self.entry_points(router);
        let visitors = self.visitors(router)?;
        let end = self.end(router, find);
        let rank = self.rank(router);
        let mut reasons = BTreeSet::new();
        let mut reached = false;
        for number in entry_points {
            let entry_point = &self.known.entry_points[number];
            if (entry_point.protocol == Protocol::Udp) != (router.layer == Layer::Udp) {
                continue;
            }
            reached = true;
            if entry_point.outside.is_empty() {
                reasons.insert(format!(
                    "nobody outside reaches its entry point {}: Docker does not publish {}",
                    entry_point.name, entry_point.port
                ));
                continue;
            }
            let outcome = end.clone().and_then(|end| self.outcome(router, entry_point, end));
            match end {
                Ok((Backend::Dashboard, _)) => {
                    let (visitors, rank) = whole_names(&visitors, &rank);
                    self.put(at, number, &visitors, &rank, outcome, &mut reasons);
                }
                _ => self.put(at, number, &visitors, &rank, outcome, &mut reasons),
            }
        }
        if !reached {
            let wanted = router.entry_points.as_ref().map(|names| names.join(", "));
            reasons.insert(match wanted {
                Some(names) => format!("Traefik has no entry point {names} of its kind"),
                None => "Traefik has no entry point of its kind".into(),
            });
        }
        self.ends[at] = end.ok();
        for why in reasons {
            self.note(router, &why);
        }
        Ok(())
    }

    /// The numbers of its entry points.
    fn entry_points(&self, router: &Router) -> Vec<usize> {
        let all = self.known.entry_points.iter().enumerate();
        let of_udp = |one: &EntryPoint| one.protocol == Protocol::Udp;
        match &router.entry_points {
            Some(names) => {
                all.filter(|(_, one)| names.contains(&one.name)).map(|(at, _)| at).collect()
            }
            None if router.layer == Layer::Udp => {
                all.filter(|(_, one)| of_udp(one)).map(|(at, _)| at).collect()
            }
            None => all.filter(|(_, one)| one.is_default).map(|(at, _)| at).collect(),
        }
    }

    /// Whom the rule takes; an error where Traefik takes the rule for none.
    fn visitors(&self, router: &Router) -> Result<Vec<Visitors>, String> {
        if router.layer == Layer::Udp {
            return Ok(vec![Visitors { names: Names::some(), extra: Extra::NONE, unsaid: None }]);
        }
        let syntax = match (&router.syntax, self.known.syntax) {
            (Some(text), Syntax::V3 | Syntax::Either) if text == "v2" => Syntax::V2,
            (Some(text), _) if text == "v3" => Syntax::V3,
            (_, syntax) => syntax,
        };
        let matching = Matching { layer: router.layer, syntax, variables: self.variables };
        let rule = Rule::parse(&router.rule).map_err(|error| error.to_string())?;
        matching.visitors(&rule)
    }

    /// What its service leads to. The error: nobody here.
    fn end(&self, router: &Router, find: Find<'_>) -> Result<(Backend, Option<u8>), String> {
        let name = router.service.as_deref().unwrap_or_default();
        let shown = name.strip_suffix("@docker").unwrap_or(name);
        match (router.layer, name) {
            (Layer::Http, "api@internal" | "dashboard@internal") => {
                return Ok((Backend::Dashboard, None));
            }
            (_, internal) if internal.ends_with("@internal") => {
                return Err(format!("{internal} is Traefik's own; underpass has no like of it"));
            }
            _ => {}
        }
        let Some(service) = self.dynamic.services.get(&(router.layer, name.to_owned())) else {
            return Err(format!("there is no service {shown}"));
        };
        let why = |why: &str| match shown.strip_suffix('/') {
            Some(own) => format!("its service, the container {own}: {why}"),
            None => format!("its service {shown}: {why}"),
        };
        let target = service.target.as_ref().map_err(|reason| why(reason))?;
        let backend = find(target, router.layer).map_err(|reason| why(&reason))?;
        Ok((backend, target.proxy_header))
    }

    fn rank(&self, router: &Router) -> Rank {
        let rule = self.variables.resolve(&router.rule);
        let mut variables: Vec<char> = rule.chars().filter(|c| Variables::RESERVED(*c)).collect();
        let unknown: usize = variables.iter().map(|c| c.len_utf8()).sum();
        variables.sort_unstable();
        let class = Class::Usual;
        match router.priority {
            0 => Rank { class, priority: (rule.len() - unknown) as i64, variables },
            priority => Rank { class, priority, variables: Vec::new() },
        }
    }

    /// What becomes of its visitors at one entry point. The error: they are kept out, or whatever
    /// else is none of ours.
    fn outcome(
        &self,
        router: &Router,
        entry_point: &EntryPoint,
        end: (Backend, Option<u8>),
    ) -> Result<Outcome, String> {
        let mut middlewares = Vec::new();
        if router.layer == Layer::Http {
            let of_entry = entry_point.middlewares.iter();
            middlewares.extend(of_entry.map(|name| match name.contains('@') {
                true => name.clone(),
                false => format!("{name}@docker"),
            }));
        }
        middlewares.extend(router.middlewares.iter().cloned());
        let tls = router.tls || entry_point.tls && router.layer == Layer::Http;
        let ends_tls = || {
            format!(
                "Traefik ends TLS on its entry point {}; underpass passes it through to the home",
                entry_point.name
            )
        };
        if end.0 == Backend::Dashboard {
            login(self.dynamic, router.layer, &middlewares).map_err(of_page)?;
            return if tls { Err(of_page(ends_tls())) } else { Ok(DASHBOARD) };
        }
        let redirect = match effect(self.dynamic, router.layer, &middlewares) {
            Effect::Pass(_) => false,
            Effect::ToHttps => true,
            Effect::Keep(why) => return Err(why),
        };
        if tls && !router.passthrough {
            return Err(ends_tls());
        }
        match end.0 {
            Backend::Service(service) => Ok(Outcome::To { service, redirect }),
            Backend::Tunnel if router.layer == Layer::Tcp && !tls => Ok(TUNNEL),
            Backend::Tunnel => Err("it leads to where homes dial in, by a name".into()),
            Backend::Dashboard => Ok(DASHBOARD),
        }
    }

    fn put(
        &mut self,
        at: usize,
        number: usize,
        visitors: &[Visitors],
        rank: &Rank,
        outcome: Result<Outcome, String>,
        reasons: &mut BTreeSet<String>,
    ) {
        let router = &self.dynamic.routers[at];
        let entry_point = &self.known.entry_points[number];
        let kept = outcome.clone().unwrap_or_else(|why| {
            reasons.insert(why);
            Outcome::Kept
        });
        let claims = |rank: &Rank| -> Vec<Claim> {
            let claim = |visitors: &Visitors| Claim {
                router: at,
                rank: rank.clone(),
                visitors: visitors.clone(),
                outcome: kept,
            };
            visitors.iter().map(claim).collect()
        };
        if outcome.is_ok()
            && let Effect::Pass(lost) = effect(self.dynamic, router.layer, &router.middlewares)
            && !lost.is_empty()
        {
            reasons.insert(format!("without its middlewares {}", lost.join(", ")));
        }
        let side = &mut self.sides[number];
        side.has_tls |= router.tls || entry_point.tls && router.layer == Layer::Http;
        match (router.layer, router.tls || entry_point.tls && router.layer == Layer::Http) {
            (Layer::Http, false) => side.plain.extend(claims(rank)),
            (Layer::Http, true) => {
                side.tls.extend(ends_tls(at, router, rank, self.variables));
            }
            (Layer::Tcp, true) => side.tls.extend(claims(rank)),
            (Layer::Tcp, false) => {
                let all = visitors.iter().all(|v| v.names.is_any() && v.unsaid.is_none());
                let bare = visitors.iter().all(|v| v.extra == Extra::NONE);
                match visitors.iter().any(|v| v.names.is_any()) {
                    true => side.raw.push((at, rank.clone(), all && bare && outcome.is_ok())),
                    false => {
                        reasons.insert("names are seen in TLS alone, and it is without".into());
                    }
                }
            }
            (Layer::Udp, _) => side.raw.push((at, rank.clone(), outcome.is_ok())),
        }
    }

    /// Where all plain HTTP is sent to https before a router is asked, it is.
    fn redirections(&mut self) {
        for number in 0..self.sides.len() {
            let Some(redirection) = self.known.entry_points[number].redirection else { continue };
            let entry_point = &self.known.entry_points[number].name;
            let (mut lost, mut unseen) = (Vec::new(), Vec::new());
            for claim in &mut self.sides[number].plain {
                if claim.rank.priority > redirection.priority && claim.rank.variables.is_empty() {
                    continue;
                }
                match claim.outcome {
                    DASHBOARD => {
                        claim.outcome = Outcome::Kept;
                        unseen.push(claim.router);
                    }
                    Outcome::To { service, .. } if redirection.to_https => {
                        claim.outcome = Outcome::To { service, redirect: true };
                    }
                    Outcome::To { .. } => {
                        claim.outcome = Outcome::Kept;
                        lost.push(claim.router);
                    }
                    Outcome::Kept => {}
                }
            }
            for router in unseen {
                let why = format!("its entry point {entry_point} redirects plain HTTP");
                self.note(&self.dynamic.routers[router], &of_page(why));
            }
            for router in lost {
                let why = format!(
                    "its entry point {entry_point} redirects elsewhere than to https at port 443"
                );
                self.note(&self.dynamic.routers[router], &why);
            }
        }
    }

    /// TCP and UDP on entry points of their own: a port here.
    fn raw(&mut self) {
        for number in 0..self.sides.len() {
            let entry_point = &self.known.entry_points[number];
            let raw = std::mem::take(&mut self.sides[number].raw);
            let first = raw.iter().max_by_key(|(_, rank, _)| rank.priority);
            let Some((first, rank, carried)) = first else { continue };
            let equal = raw.iter().filter(|(_, other, _)| {
                other.priority == rank.priority || other.variables != rank.variables
            });
            let several = equal.count() > 1;
            let tls = self.sides[number].has_tls;
            for (router, ..) in &raw {
                let why = match router == first {
                    false => format!("it is not the first on its entry point {}", entry_point.name),
                    true if several => {
                        format!("several want all of its entry point {}", entry_point.name)
                    }
                    true if tls => format!(
                        "TLS on its entry point {} goes elsewhere, and here an address has one of \
                         both",
                        entry_point.name
                    ),
                    true => continue,
                };
                self.note(&self.dynamic.routers[*router], &why);
            }
            // Whatever is not TLS has gone there.
            let name = &self.dynamic.routers[*first].name;
            let why = format!("router {name} takes all that is not TLS on its entry point");
            for claim in std::mem::take(&mut self.sides[number].plain) {
                self.note(&self.dynamic.routers[claim.router], &why);
            }
            let router = &self.dynamic.routers[*first];
            if *carried && !several && !tls {
                let outside = entry_point.outside.iter().cloned();
                match self.ends[*first] {
                    Some((Backend::Service(service), proxy_header)) => {
                        let routed = self.routing.services.entry(service).or_default();
                        routed.ports.extend(outside);
                        routed.serve(router, proxy_header);
                    }
                    Some((Backend::Tunnel, _)) => self.routing.tunnel_addrs.extend(outside),
                    Some((Backend::Dashboard, _)) | None => {}
                }
            }
        }
    }

    /// A service has names at one entry: the one of its first router.
    fn one_entry_each(&mut self) {
        let mut first: BTreeMap<usize, (usize, Entry)> = BTreeMap::new();
        for side in &self.sides {
            let plain = side.plain.iter().map(|claim| (claim, Entry::Http));
            for (claim, entry) in plain.chain(side.tls.iter().map(|claim| (claim, Entry::Https))) {
                let Outcome::To { service, .. } = claim.outcome else { continue };
                let known = first.entry(service).or_insert((claim.router, entry));
                if claim.router < known.0 {
                    *known = (claim.router, entry);
                }
            }
        }
        let mut lost = BTreeSet::new();
        for side in &mut self.sides {
            for (claims, entry) in [(&mut side.plain, Entry::Http), (&mut side.tls, Entry::Https)] {
                for claim in claims {
                    if let Outcome::To { service, .. } = claim.outcome
                        && first[&service].1 != entry
                    {
                        claim.outcome = Outcome::Kept;
                        lost.insert(claim.router);
                    }
                }
            }
        }
        for router in lost {
            let why = "its service has the visitors of another entry: plain HTTP or TLS, not both";
            self.note(&self.dynamic.routers[router], why);
        }
    }

    /// Names at both entries: each entry here is one of Traefik's, or several that are alike.
    fn names(&mut self) {
        let tls_first = |number: usize, sides: &[Sides], points: &[EntryPoint]| {
            points[number].port == 443 && sides[number].tls.iter().any(Claim::is_served)
        };
        let http: Vec<usize> = (0..self.sides.len())
            .filter(|number| !tls_first(*number, &self.sides, &self.known.entry_points))
            .collect();
        let http = self.alike(Entry::Http, &http);
        let https: Vec<usize> = (0..self.sides.len()).filter(|n| !http.contains(n)).collect();
        let https = self.alike(Entry::Https, &https);
        for (entry, chosen) in [(Entry::Http, &http), (Entry::Https, &https)] {
            self.left_behind(entry, chosen);
            let Some(&number) = chosen.first() else { continue };
            let claims = self.sides[number].of(entry).clone();
            let (made, dropped) = settle(entry, claims, self.variables);
            for one in dropped {
                self.note_dropped(one);
            }
            if !made.is_empty() {
                let addrs = chosen.iter().flat_map(|n| &self.known.entry_points[*n].outside);
                let addrs: Vec<String> = addrs.cloned().collect();
                self.routing.addrs(entry).extend(addrs);
            }
            for claim in made {
                self.serve(entry, claim);
            }
        }
    }

    /// The entry point that most of the entry's routers are on, and those that are like it.
    fn alike(&self, entry: Entry, numbers: &[usize]) -> Vec<usize> {
        let usual = if entry == Entry::Http { 80 } else { 443 };
        let served = |number: &usize| {
            let claims = self.sides[*number].of(entry).iter().filter(|claim| claim.is_served());
            claims.map(|claim| claim.router).collect::<BTreeSet<_>>().len()
        };
        let best = numbers.iter().filter(|number| served(number) > 0).max_by_key(|number| {
            let is_usual = self.known.entry_points[**number].port == usual;
            (is_usual, served(number), std::cmp::Reverse(**number))
        });
        let Some(best) = best else { return Vec::new() };
        let key = |number: &usize| -> BTreeSet<(usize, Outcome)> {
            let claims = self.sides[*number].of(entry).iter();
            claims.map(|claim| (claim.router, claim.outcome)).collect()
        };
        let others = numbers.iter().filter(|number| *number != best && key(number) == key(best));
        [best].into_iter().chain(others).copied().collect()
    }

    /// Routers on entry points that our entry is not.
    fn left_behind(&mut self, entry: Entry, chosen: &[usize]) {
        for number in (0..self.sides.len()).filter(|number| !chosen.contains(number)) {
            let entry_point = &self.known.entry_points[number];
            let routers: BTreeSet<usize> = {
                let claims = self.sides[number].of(entry).iter().filter(|claim| claim.is_served());
                claims.map(|claim| claim.router).collect()
            };
            let (what, key) = match entry {
                Entry::Http => ("plain HTTP", "http_addr"),
                Entry::Https => ("TLS", "https_addr"),
            };
            let why = format!(
                "{what} on its entry point {} ({}) is not carried over: here each name is on all \
                 of {key}, and that entry point has not the same routers, or its address has both",
                entry_point.name,
                entry_point.outside.join(", ")
            );
            for router in routers {
                self.note(&self.dynamic.routers[router], &why);
            }
        }
    }

    fn note_dropped(&mut self, dropped: Dropped) {
        let name = |router: usize| {
            let router = &self.dynamic.routers[router];
            format!("router {} ({})", router.name, router.place)
        };
        let what = dropped.what;
        let why = match dropped.why {
            Why::Unsaid(why) => why,
            Why::TakenBy(other) => format!("{what} never comes to it: {} takes it", name(other)),
            Why::PartOf(other) => format!(
                "{what} stays behind: {} takes some of these visitors, or may, and here it would \
                 not",
                name(other)
            ),
            Why::OtherVisitors => format!(
                "{what} stays behind: another router gives its service other visitors: use a \
                 service each"
            ),
            Why::NotRedirected => format!(
                "{what} stays behind: it is sent to https, and its service takes plain HTTP from \
                 others"
            ),
            Why::TooMany => format!("{what} stays behind: there are too many routers"),
        };
        self.note(&self.dynamic.routers[dropped.router], &why);
    }

    fn serve(&mut self, entry: Entry, claim: Claim) {
        let Outcome::To { service, redirect } = claim.outcome else { return };
        if claim.outcome == DASHBOARD {
            return self.serve_admin(&claim);
        }
        let router = &self.dynamic.routers[claim.router];
        let proxy_header = self.ends[claim.router].and_then(|(_, header)| header);
        let routed = self.routing.services.entry(service).or_default();
        routed.entry = Some(entry);
        routed.redirect = redirect;
        let Visitors { names, extra, .. } = claim.visitors;
        routed.fallback |= names.nameless && extra == Extra::NONE;
        if extra != Extra::NONE {
            routed.condition = Some(extra.condition);
        }
        let said = names.said.unwrap_or_default();
        if !routed.hosts.contains(&said) {
            routed.hosts.push(said);
        }
        routed.serve(router, proxy_header);
    }

    /// In the place of the dashboard.
    fn serve_admin(&mut self, claim: &Claim) {
        let router = &self.dynamic.routers[claim.router];
        let said = claim.visitors.names.said.as_deref().unwrap_or_default();
        match Admin::new(self.dynamic, router, said, self.routing.admin.as_ref()) {
            Ok(admin) => self.routing.admin = Some(admin),
            Err(why) => self.note(router, &of_page(why)),
        }
    }
}

impl Routed {
    fn serve(&mut self, router: &Router, proxy_header: Option<u8>) {
        self.proxy_header = self.proxy_header.or(proxy_header);
        self.routers.insert(router.name.clone());
        self.place.get_or_insert_with(|| router.place.clone());
    }
}

impl Routing {
    pub(super) fn addrs(&mut self, entry: Entry) -> &mut BTreeSet<String> {
        match entry {
            Entry::Http => &mut self.http_addrs,
            Entry::Https => &mut self.https_addrs,
        }
    }
}

impl Sides {
    fn of(&self, entry: Entry) -> &Vec<Claim> {
        match entry {
            Entry::Http => &self.plain,
            Entry::Https => &self.tls,
        }
    }
}

impl Claim {
    fn is_served(&self) -> bool {
        self.outcome != Outcome::Kept
    }
}

/// A router that ends TLS takes all names that its rule has in Host, whatever else it says; without
/// any it takes those that nobody else wants.
fn ends_tls(at: usize, router: &Router, rank: &Rank, variables: &Variables<'_>) -> Vec<Claim> {
    let rule = Rule::parse(&router.rule);
    let names = rule.as_ref().map(Rule::hosts).unwrap_or_default();
    let claim = |names: Names, class| Claim {
        router: at,
        rank: Rank { class, ..rank.clone() },
        visitors: Visitors { names, extra: Extra::NONE, unsaid: None },
        outcome: Outcome::Kept,
    };
    match names.is_empty() {
        true => vec![claim(Names::all(), Class::EndsTlsOfAll)],
        false => names
            .into_iter()
            .map(|name| claim(Names::host(name, variables), Class::EndsTls))
            .collect(),
    }
}

/// A router that leads to where homes dial in has no service's number.
const TUNNEL: Outcome = Outcome::To { service: usize::MAX, redirect: false };
/// Nor has one that leads to the dashboard.
const DASHBOARD: Outcome = Outcome::To { service: usize::MAX - 1, redirect: false };
