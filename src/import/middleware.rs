//! What middlewares do to a router's visitors.

use super::dynamic::{Dynamic, Layer};
use super::settings::Setting;

/// What becomes of a visitor on its way through middlewares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// It comes to the service; the middlewares that shape its request stay behind.
    Pass(Vec<String>),
    /// It is sent to https, at the usual port.
    ToHttps,
    /// It may be kept out, or asked for something: a sentence that says so.
    Keep(String),
}

/// Of middlewares one after another, each with its provider.
pub(super) fn effect(dynamic: &Dynamic, layer: Layer, names: &[String]) -> Effect {
    effect_within(dynamic, layer, names, CHAINS)
}

fn effect_within(dynamic: &Dynamic, layer: Layer, names: &[String], depth: usize) -> Effect {
    let mut lost = Vec::new();
    for name in names {
        let shown = name.strip_suffix("@docker").unwrap_or(name);
        let one = match dynamic.middlewares.get(&(layer, name.clone())) {
            Some(middleware) => of_one(dynamic, layer, name, middleware, depth),
            None => Effect::Keep(format!("its middleware {shown} is not here")),
        };
        match one {
            Effect::Pass(more) if more.is_empty() => lost.push(shown.to_owned()),
            Effect::Pass(more) => lost.extend(more),
            decided => return decided,
        }
    }
    Effect::Pass(lost)
}

fn of_one(
    dynamic: &Dynamic,
    layer: Layer,
    name: &str,
    middleware: &Setting,
    depth: usize,
) -> Effect {
    let (shown, provider) = name.rsplit_once('@').unwrap_or((name, "docker"));
    let keep = |why: &str| Effect::Keep(format!("its middleware {shown} {why}"));
    let [kind] = &middleware.below[..] else {
        return keep("has not just one type, or is there twice and differs");
    };
    match &*kind.name.to_ascii_lowercase() {
        "redirectscheme" => {
            let port = kind.text("port").unwrap_or_default();
            match (kind.text("scheme"), port) {
                (Some("https"), "" | "443") => Effect::ToHttps,
                _ => keep("redirects elsewhere than to https at port 443"),
            }
        }
        "chain" => {
            let names = members(kind, provider);
            match depth.checked_sub(1) {
                Some(depth) => effect_within(dynamic, layer, &names, depth),
                None => keep("is a chain of chains"),
            }
        }
        "headers" => match kind.leaves().iter().find(|(path, _)| keeps_out(path)) {
            Some((path, _)) => keep(&format!("may keep people out by headers.{path}")),
            None => Effect::Pass(Vec::new()),
        },
        known if HARMLESS.contains(&known) => Effect::Pass(Vec::new()),
        "basicauth" | "digestauth" | "forwardauth" => keep(
            "asks who they are, which underpass cannot: protect the service at home, then give it \
             `type` and `hosts`",
        ),
        known @ ("addprefix" | "stripprefix" | "stripprefixregex" | "replacepath"
        | "replacepathregex") => keep(&format!("changes the path ({known})")),
        known => keep(&format!("may keep people out ({known})")),
    }
}

/// Of a chain, with their providers.
pub(super) fn members(chain: &Setting, provider: &str) -> Vec<String> {
    let full = |name: &String| match name.contains('@') {
        true => name.clone(),
        false => format!("{name}@{provider}"),
    };
    chain.list("middlewares").unwrap_or_default().iter().map(full).collect()
}

/// Of the keys of `headers`.
fn keeps_out(path: &str) -> bool {
    path.starts_with("ssl")
        || path.starts_with("allowedhosts")
        || path.starts_with("hostsproxyheaders")
}

/// Middlewares that let everybody through.
const HARMLESS: &[&str] = &[
    "compress",
    "contenttype",
    "retry",
    "circuitbreaker",
    "buffering",
    "errors",
    "ratelimit",
    "inflightreq",
    "inflightconn",
    "passtlsclientcert",
    "grpcweb",
];

/// Chains within chains.
pub(super) const CHAINS: usize = 8;
