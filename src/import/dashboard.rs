//! Traefik's dashboard, in whose place there is the admin page: for which name, and for whom.

use super::dynamic::{Dynamic, Layer, Router};
use super::matching::Visitors;
use super::middleware::{CHAINS, Effect, effect, members};
use super::region::Extra;
use super::settings::Place;
use super::settle::Rank;

/// The admin page at the HTTP entry.
#[derive(Debug)]
pub(super) struct Admin {
    /// Variables are folded, here and in the login.
    pub(super) host: String,
    pub(super) login: Login,
    /// For notes.
    pub(super) router: String,
    pub(super) place: Place,
}

impl Admin {
    /// Of a router that has `name` to itself. There is one page, with one name and one list of
    /// users.
    pub(super) fn new(
        dynamic: &Dynamic,
        router: &Router,
        name: &str,
        known: Option<&Admin>,
    ) -> Result<Admin, String> {
        if name.contains(['*', '/']) {
            return Err(format!("{name} is not one name"));
        }
        // Those of its entry point let everybody through, or the router would not be here.
        let login = login(dynamic, router.layer, &router.middlewares)?;
        match known {
            Some(known) if (&*known.host, &known.login) != (name, &login) => {
                let (host, router) = (&known.host, &known.router);
                Err(format!("router {router} has it already, for {host} and users of its own"))
            }
            _ => Ok(Admin {
                host: name.to_owned(),
                login,
                router: router.name.clone(),
                place: router.place.clone(),
            }),
        }
    }
}

/// Who a page of Traefik's own lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Login {
    /// Lines of htpasswd; variables are folded.
    pub(super) users: Vec<String>,
    pub(super) users_file: Option<String>,
}

/// Of middlewares that ask everybody for a password, once, and for nothing else. The error: why
/// they are not such.
pub(super) fn login(dynamic: &Dynamic, layer: Layer, names: &[String]) -> Result<Login, String> {
    let mut asking = Vec::new();
    let mut rest = Vec::new();
    for name in flat(dynamic, layer, names, CHAINS) {
        let middleware = dynamic.middlewares.get(&(layer, name.clone()));
        match middleware.map(|middleware| &middleware.below[..]) {
            Some([kind]) if kind.name.eq_ignore_ascii_case("basicauth") => asking.push(kind),
            _ => rest.push(name),
        }
    }
    match effect(dynamic, layer, &rest) {
        Effect::Pass(_) => {}
        Effect::ToHttps => return Err("it is sent to https, where underpass has no page".into()),
        Effect::Keep(why) => return Err(why),
    }
    let kind = match asking[..] {
        [kind] => kind,
        [] => return Err("it asks nobody for a password, and the page here is for users".into()),
        _ => return Err("it asks for several passwords, and the page here for one".into()),
    };
    let users = kind.list("users").unwrap_or_default();
    let users_file = kind.text("usersfile").filter(|name| !name.is_empty()).map(str::to_owned);
    match users.is_empty() && users_file.is_none() {
        true => Err("its basicauth knows no users".into()),
        false => Ok(Login { users, users_file }),
    }
}

/// The middlewares in the place of their chains; what is not known stays as it is.
fn flat(dynamic: &Dynamic, layer: Layer, names: &[String], depth: usize) -> Vec<String> {
    let mut all = Vec::new();
    for name in names {
        let middleware = dynamic.middlewares.get(&(layer, name.clone()));
        match middleware.map(|middleware| &middleware.below[..]) {
            Some([kind]) if kind.name.eq_ignore_ascii_case("chain") && depth > 0 => {
                let (_, provider) = name.rsplit_once('@').unwrap_or((name, "docker"));
                all.extend(flat(dynamic, layer, &members(kind, provider), depth - 1));
            }
            _ => all.push(name.clone()),
        }
    }
    all
}

/// What the admin page would have to take: names with all their paths, asked last, so that another
/// router that wants some of these visitors keeps them.
pub(super) fn whole_names(visitors: &[Visitors], rank: &Rank) -> (Vec<Visitors>, Rank) {
    if visitors.iter().all(|visitors| visitors.extra == Extra::NONE) {
        return (visitors.to_vec(), rank.clone());
    }
    let mut whole: Vec<Visitors> = Vec::new();
    for one in visitors {
        if whole.iter().all(|other| one.unsaid.is_some() || other.names.said != one.names.said) {
            whole.push(Visitors { extra: Extra::NONE, ..one.clone() });
        }
    }
    (whole, Rank { priority: i64::MIN, variables: Vec::new(), ..*rank })
}

/// Why a router of the dashboard is not carried over.
pub(super) fn of_page(why: String) -> String {
    format!("the dashboard's place, [server.admin], is not opened for it: {why}")
}
