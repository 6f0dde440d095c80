//! Traefik's dashboard: where it becomes `[server.admin]`, and where it stays shut.

use underpass::config::ServerConfig;

use crate::{AUTH, labelled};

/// [`labelled`] with a router for the dashboard, which asks for a password.
fn dashboard(rule: &str, labels: &[&str]) -> (String, ServerConfig) {
    let rule = format!("traefik.http.routers.r.rule={rule}");
    let users =
        format!("traefik.http.middlewares.auth.basicauth.users={}", AUTH.replace('$', "$$"));
    let mut all = vec![&*rule, &*users, "traefik.http.routers.r.service=api@internal"];
    if !labels.iter().any(|label| label.contains("r.middlewares")) {
        all.push("traefik.http.routers.r.middlewares=auth");
    }
    labelled("v2.9.8", &[&all[..], labels].concat())
}

#[test]
fn the_dashboard_keeps_its_name_and_its_users() {
    let paths = "Host(`d.x`) && (PathPrefix(`/api`) || PathPrefix(`/dashboard`))";
    let other = "traefik.http.routers.o.rule=Host(`o.x`)";
    for (rule, labels) in [
        ("Host(`D.x`)", &[][..]),
        (paths, &[]),
        (paths, &[other, "traefik.http.routers.o.service=w"]),
        (
            "Host(`d.x`)",
            &[
                "traefik.http.routers.r.middlewares=all",
                "traefik.http.middlewares.all.chain.middlewares=small,auth",
                "traefik.http.middlewares.small.compress=true",
            ],
        ),
    ] {
        let (text, server) = dashboard(rule, labels);
        let admin = server.admin.unwrap_or_else(|| panic!("{rule}\n{text}"));
        assert_eq!(admin.host.map(|host| host.to_string()).as_deref(), Some("d.x"), "{text}");
        assert_eq!(admin.users.names().collect::<Vec<_>>(), ["admin"], "{text}");
        assert!(text.contains(&format!("\nusers = [\"{AUTH}\"]\n")), "{text}");
        assert!(admin.bind_addrs.is_empty() && !server.http_addrs.is_empty(), "{text}");
    }
}

#[test]
fn a_dashboard_that_was_shut_otherwise_or_open_stays_shut() {
    let w = "traefik.http.routers.o.service=w";
    let both = "traefik.http.routers.r.middlewares=auth,more";
    let more = |what: &str| format!("traefik.http.middlewares.more.{what}");
    let (list, ask) = (more("ipallowlist.sourcerange=192.0.2.0/24"), more("basicauth.users=b:c"));
    let (paths, all) =
        ("Host(`d.x`) && PathPrefix(`/dashboard`)", "traefik.http.routers.o.rule=Host(`d.x`)");
    for (rule, labels, said) in [
        ("Host(`d.x`)", &["traefik.http.routers.r.middlewares=none"][..], "none is not here"),
        ("Host(`d.x`)", &[both, &list], "its middleware more may keep people out (ipallowlist)"),
        ("Host(`d.x`)", &[both, &ask], "it asks for several passwords"),
        (
            "Host(`d.x`)",
            &["traefik.http.routers.r.entrypoints=websecure", "traefik.http.routers.r.tls=true"],
            "Traefik ends TLS",
        ),
        ("HostRegexp(`{s:[a-z0-9-]+}.x`)", &[], "*.x is not one name"),
        ("Host(`d.x`) && ClientIP(`192.0.2.0/24`)", &[], "clientip has no like here"),
        (paths, &[all, w], "router o"),
    ] {
        let (text, server) = dashboard(rule, labels);
        assert!(server.admin.is_none() && text.contains(said), "{rule} {labels:?}\n{text}");
    }
    // A password in the clear, and a file that is not here.
    for (line, said) in [
        ("users=bob:secret", "user bob: what follows is no hash"),
        (
            "usersfile=/etc/traefik/none",
            "whose users are in /etc/traefik/none (usersFile): cannot read the file",
        ),
    ] {
        let line = format!("traefik.http.middlewares.m.basicauth.{line}");
        let (text, server) =
            dashboard("Host(`d.x`)", &["traefik.http.routers.r.middlewares=m", &line]);
        assert!(server.admin.is_none() && text.contains(said), "{line}\n{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}
