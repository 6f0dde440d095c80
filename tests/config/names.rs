//! Names, and what decides beside them.

use super::*;

#[test]
fn paths_and_protocols_go_with_names() {
    let service = |name: &str, rest: &str| format!("[server.services.{name}]\n{rest}\n");
    let http = |services: &str| server(services).replace("https_addr", "http_addr");
    let tls = "type = 'https'\nhosts = 'a.b'";
    let plain = "type = 'http'\nhosts = 'a.b'";

    // One name, several services; each condition once.
    let claims =
        [tls, &format!("{tls}\nalpn = 'acme-tls/1'"), &format!("{tls}\nalpn = ['h2', 'x']")];
    let names = ["a", "b", "c"];
    let pairs = names.iter().zip(claims);
    good(&server(&pairs.map(|(name, rest)| service(name, rest)).collect::<String>()), &[]);
    let claims = ["", "path_prefix = '/api'", "path_prefix = '/api/v2'"];
    let pairs = names.iter().zip(claims);
    let services: String =
        pairs.map(|(name, rest)| service(name, &format!("{plain}\n{rest}"))).collect();
    good(&http(&services), &[]);

    let acme = "alpn = ['h2', 'acme-tls/1']";
    let twice = format!("{tls}\n{acme}\n[server.services.b]\n{tls}\nalpn = 'acme-tls/1'");
    for (rest, error) in [
        (
            twice,
            "16: server.services.b.hosts: the same as server.services.a.hosts (line 12); one \
             service only can have it",
        ),
        (
            format!("{tls}\nalpn = []"),
            "13: server.services.a.alpn: names no protocol, such as `acme-tls/1`",
        ),
        (
            format!("{tls}\nalpn = ['h2', 'a b']"),
            "13: server.services.a.alpn[1]: a protocol's name has 1 to 255 visible ASCII \
             characters",
        ),
        (
            format!("{tls}\nalpn = ['h2', 'h2']"),
            "12: server.services.a.hosts: the same as server.services.a.hosts (line 12); one \
             service only can have it",
        ),
        (
            format!("{tls}\nfallback = true\nalpn = 'h2'"),
            "14: server.services.a.alpn: cannot go with `fallback`, which takes visitors for \
             their lack of a name",
        ),
        (
            format!("{tls}\npath_prefix = '/api'"),
            "13: server.services.a.path_prefix: needs type = \"http\": a path inside TLS cannot \
             be seen",
        ),
        (
            "bind_addr = '0.0.0.0:1'\nalpn = 'h2'".to_owned(),
            "12: server.services.a.alpn: names need type = \"http\", \"https\" or \"web\"",
        ),
    ] {
        bad(&server(&service("a", &rest)), &format!("f.toml:{error}"));
    }
    for (rest, error) in [
        (
            "alpn = 'h2'",
            "13: server.services.a.alpn: needs type = \"https\": plain HTTP has no ALPN",
        ),
        (
            "path_prefix = 'api'",
            "13: server.services.a.path_prefix: a path begins with `/`, as in `/api`",
        ),
        (
            "path_prefix = '/'",
            "13: server.services.a.path_prefix: `/` is every path: leave `path_prefix` out",
        ),
        (
            "path_prefix = '/mark%20'",
            "13: server.services.a.path_prefix: a prefix has letters, digits, `-`, `.`, `_` and \
             `~` between its slashes",
        ),
    ] {
        bad(&http(&service("a", &format!("{plain}\n{rest}"))), &format!("f.toml:{error}"));
    }
}

#[test]
fn redirects_are_for_plain_http() {
    let web = |redirect: &str| {
        let service = format!("[server.services.a]\ntype = 'web'\nhosts = 'a.b'\n{redirect}");
        server(&service)
            .replace("https_addr", "public_https_port = 8443\nhttp_addr='[::1]:80'\nhttps_addr")
    };
    for (value, wanted) in [
        ("true", Some(Redirect::Permanent)),
        ("308", Some(Redirect::Permanent)),
        ("301", Some(Redirect::Moved)),
        ("false", None),
    ] {
        let config = good(&web(&format!("redirect_https = {value}")), &[]).server.expect("one");
        assert_eq!(config.services[0].redirect_https, wanted, "{value}");
        assert_eq!(config.public_https_port, Some(8443));
    }
    for (value, error) in [
        ("302", "must be true, 308 (the same), 301 or false"),
        ("-1", "must be true, 308 (the same), 301 or false"),
        ("'true'", "must be true or false, not a string"),
    ] {
        let error = format!("f.toml:15: server.services.a.redirect_https: {error}");
        bad(&web(&format!("redirect_https = {value}")), &error);
    }
    bad(
        &server("[server.services.a]\ntype = 'https'\nhosts = 'a'\nredirect_https = true"),
        "f.toml:13: server.services.a.redirect_https: needs type = \"http\" or \"web\": it is \
         about plain HTTP",
    );
}

#[test]
fn only_tls_goes_raw() {
    let service = |kind: &str, value: &str| {
        let names = if kind == "tcp" { "bind_addr = '[::1]:5'" } else { "hosts = 'a.b'" };
        let text =
            format!("[server.services.a]\ntype = '{kind}'\n{names}\npassthrough = '{value}'");
        server(&text).replace("https_addr", "http_addr='[::1]:80'\nhttps_addr")
    };
    for (kind, value, wanted) in [
        ("https", "raw", Passthrough::Raw),
        ("web", "raw", Passthrough::Raw),
        ("https", "sealed", Passthrough::Sealed),
        ("tcp", "sealed", Passthrough::Sealed),
    ] {
        let text = service(kind, value);
        let config = parse(&text).expect("it is good");
        let config = config.server.expect("[server]");
        assert_eq!(config.services[0].passthrough, wanted, "{kind} {value}");
    }
    for (kind, value, error) in [
        (
            "tcp",
            "raw",
            "raw needs type = \"https\" or \"web\": nothing else encrypts what the tunnel does \
             not",
        ),
        (
            "http",
            "raw",
            "raw needs type = \"https\" or \"web\": nothing else encrypts what the tunnel does \
             not",
        ),
        ("https", "spliced", "must be sealed or raw"),
    ] {
        bad(&service(kind, value), &format!("f.toml:14: server.services.a.passthrough: {error}"));
    }
}

#[test]
fn postgres_is_for_those_with_tls() {
    let service = |kind: &str, value: &str| {
        let names = if kind == "tcp" { "bind_addr = '[::1]:5'" } else { "hosts = 'a.b'" };
        let text = format!("[server.services.a]\ntype = '{kind}'\n{names}\npostgres = {value}");
        server(&text).replace("https_addr", "http_addr='[::1]:80'\nhttps_addr")
    };
    for (kind, value, wanted) in
        [("https", "true", true), ("web", "true", true), ("https", "false", false)]
    {
        let config = parse(&service(kind, value)).expect("it is good").server.expect("[server]");
        assert_eq!(config.services[0].postgres, wanted, "{kind} {value}");
    }
    for kind in ["tcp", "http"] {
        let error = format!("f.toml:14: server.services.a.postgres: type {kind} does not use it");
        bad(&service(kind, "true"), &error);
    }
}

#[test]
fn p6_services_under_one_wildcard_are_pointed_out() {
    let file = |pi: &str, local: &str| {
        let service = |name: &str, hosts: &str| {
            format!("[server.services.{name}]\ntype = 'https'\nhosts = {hosts}\n")
        };
        let text = server(&(service("pi", pi) + &service("local", local)));
        let warnings =
            parse(&text).expect("it loads").server.expect("[server]").coalescing_warnings();
        let parents = warnings.iter().map(|w| {
            let parent = w.strip_prefix("services pi, local have names right under ").expect(w);
            parent.split(':').next().expect("a parent").to_owned()
        });
        parents.collect::<Vec<_>>()
    };
    assert_eq!(file("'pi.example.com'", "'local.example.com'"), ["example.com"]);
    assert_eq!(file("'*.example.com'", "'local.example.com'"), ["example.com"]);
    assert_eq!(file("'**.example.com'", "'a.local.example.com'"), ["local.example.com"]);
    assert_eq!(file("['*.pi.example.com', 'a.com']", "['*.local.example.com', 'b.com']"), [""; 0]);
    assert_eq!(file("['**', '/.*[.]example[.]com/']", "'a.example.com'"), [""; 0]);
}
