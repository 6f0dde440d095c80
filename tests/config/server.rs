//! What a server's file may say, and what is said of what it may not.

use super::*;

#[test]
fn trusted_proxies_are_networks_or_addresses() {
    let file = |networks: &str| {
        server("").replacen(
            "default_token",
            &format!("trusted_proxies = {networks}\ndefault_token"),
            1,
        )
    };
    let no_services = [
        "f.toml:4: server.https_addr: no service of type https or web takes its \
                        visitors",
        "f.toml:2: server.services: there are no services",
    ];
    let load = |networks| good(&file(networks), &no_services).server.expect("[server]");
    let config = load("['10.0.0.0/8', '2001:db8::/32', '192.0.2.1']");
    for (address, is_trusted) in [
        ("10.255.0.1", true),
        ("11.0.0.1", false),
        ("2001:db8:ffff::1", true),
        ("2001:db9::1", false),
        ("192.0.2.1", true),
        ("192.0.2.2", false),
        ("::ffff:10.0.0.1", true),
        ("::ffff:11.0.0.1", false),
        ("::1", false),
    ] {
        let address = address.parse().expect("an address");
        assert_eq!(config.trusted_proxies.contain(address), is_trusted, "{address}");
    }
    assert!(load("'::1'").trusted_proxies.contain("::1".parse().expect("an address")));
    assert!(!load("[]").trusted_proxies.contain("0.0.0.0".parse().expect("an address")));
    let wrong = "must be a network or an address: `10.0.0.0/8`, `2001:db8::/32`, `192.0.2.1`";
    for (network, error) in [
        ("10.0.0.1/8", "has bits set behind the first 8; the network is `10.0.0.0/8`"),
        ("2001:db8::1/32", "has bits set behind the first 32; the network is `2001:db8::/32`"),
        ("::ffff:10.0.0.0/104", "an IPv4 network is written as one: `10.0.0.0/8`"),
        ("::ffff:10.0.0.1", "an IPv4 network is written as one: `10.0.0.0/8`"),
        ("10.0.0.0/33", wrong),
        ("10.0.0.0/", wrong),
        ("10.0.0/24", wrong),
        ("", wrong),
        ("10.0.0.0-10.0.0.9", wrong),
        ("lb.example.com", wrong),
        ("10.0.0.1:80", wrong),
        (MARKER, wrong),
    ] {
        bad(
            &file(&format!("[\n'10.0.0.0/8',\n'{network}']")),
            &format!("f.toml:7: server.trusted_proxies[1]: {error}"),
        );
    }
    let two = server("").replacen(
        "default_token",
        "trusted_http_proxies = '10.0.0.0/8'\nforwarded = 'both'\ndefault_token",
        1,
    );
    let config = good(&two, &no_services).server.expect("[server]");
    assert!(config.trusted_http_proxies.contain("10.0.0.1".parse().expect("an address")));
    assert!(!config.trusted_proxies.contain("10.0.0.1".parse().expect("an address")));
    assert_eq!(config.forwarded, Form::Both);
    let none = good(&two.replace("'both'", "'none'"), &no_services).server.expect("[server]");
    assert_eq!(none.forwarded, Form::None);
    bad(
        &two.replace("'both'", "'mark-er_0123456789'"),
        "f.toml:6: server.forwarded: must be x, rfc7239, both or none",
    );
    bad(
        &two.replace("10.0.0.0/8", "11.0.0.0/7"),
        "f.toml:5: server.trusted_http_proxies: has bits set behind the first 7; the network is \
         `10.0.0.0/7`",
    );
    let everybody = "f.toml:5: server.trusted_proxies: everybody is believed: only for ports that \
                     proxies alone can reach";
    good(&file("'0.0.0.0/0'"), &[no_services[0], everybody, no_services[1]]);
}

#[test]
fn a_server_file_says_what_is_wrong_in_it() {
    let pi = format!("[server.services.pi]\ntype = \"https\"\ntoken = \"{MARKER}\"\n");
    for (services, error) in [
        // Keys.
        (
            "[server.services.pi]\ntokn = 'x'",
            "11: server.services.pi.tokn: unknown key; did you mean `token`?",
        ),
        (
            "[server.services.pi]\nsmell = 1",
            "11: server.services.pi.smell: unknown key; known here: type, token, hosts, fallback, \
             path_prefix, alpn, redirect_https, passthrough, postgres, bind_addr, nodelay, \
             udp_idle_time, udp_max_sessions, allow, deny, max_visitors, rate, bandwidth, \
             response_timeout, idle_timeout, balance",
        ),
        (
            "[server.services.pi]\nlocal_addr = 'a:1'",
            "11: server.services.pi.local_addr: this key belongs in the client's file",
        ),
        (
            "[server.services.'a b\\']\nx = 1",
            "11: server.services.\"a b\\\\\".x: unknown key; known here: \
          type, token, hosts, fallback, path_prefix, alpn, redirect_https, passthrough, postgres, \
             bind_addr, nodelay, udp_idle_time, udp_max_sessions, allow, deny, max_visitors, \
             rate, bandwidth, response_timeout, idle_timeout, balance",
        ),
        ("[server.limit]", "10: server.limit: unknown key; did you mean `limits`?"),
        ("[sever]", "10: sever: unknown key; did you mean `server`?"),
        // Types. A value is never quoted.
        (
            "[server.services.pi]\ntoken = 123456789",
            "11: server.services.pi.token: must be a string in \
          quotes, not an integer",
        ),
        (
            "[server.services]\npi = 'mark-er_0123456789'",
            "11: server.services.pi: must be a table, not a string",
        ),
        (
            "[server.services.pi]\nbind_addr = '[::1]:1'\nnodelay = 'mark-er_0123456789'",
            "12: server.services.pi.nodelay: must be \
          true or false, not a string",
        ),
        (
            "[server.limits]\nmax_visitors = 0",
            "11: server.limits.max_visitors: must be a whole number from \
          1 to 1073741824",
        ),
        (
            "[server.limits]\nmax_visitors = 'mark-er_0123456789'",
            "11: server.limits.max_visitors: must be a \
          whole number from 1 to 1073741824, not a string",
        ),
        (
            "[server.services.pi]\ntype = 'https'\nhosts = [\n1]",
            "13: server.services.pi.hosts[0]: must be a string in quotes, \
          not an integer",
        ),
        // TOML itself.
        ("token = mark-er_0123456789", "10: string values must be quoted, expected literal string"),
        (
            "[server.services.pi]\ntoken = 'mark-er_0123456789",
            "11: invalid literal string, expected `'`",
        ),
        ("[server.services.pi]\ntoken = 'a'\ntoken = 'mark-er_0123456789'", "12: duplicate key"),
        // Variables.
        (
            "[server.services.pi]\ntoken = '${PI_TOKN}'",
            "11: server.services.pi.token: environment variable \
          PI_TOKN is not set (a literal `${` is `$${`)",
        ),
        (
            "[server.services.pi]\ntoken = '${mark-er_0123456789}'",
            "11: server.services.pi.token: `${` without \
          a variable's name and `}`; a literal `${` is `$${`",
        ),
        (
            "[server.services.pi]\ntoken = '${EMPTY}'",
            "11: server.services.pi.token: must not be empty: write the same secret here and in \
          the other side's file, such as what `openssl rand -hex 16` prints",
        ),
        // Services.
        (
            "[server.services.pi]\ntype = 'mark-er_0123456789'",
            "11: server.services.pi.type: must be tcp, udp, \
          http, https or web",
        ),
        (
            "[server.services.pi]\ntype = 'udp'",
            "10: server.services.pi.bind_addr: missing: where visitors come in, such as \
          `0.0.0.0:5080`",
        ),
        (
            "[server.services.pi]\nudp_idle_time = 5\nbind_addr = '0.0.0.0:1'",
            "11: server.services.pi.udp_idle_time: type tcp does not use it",
        ),
        (
            "[server.services.pi]\ntype = 'udp'\nudp_idle_time = 0\nbind_addr = '0.0.0.0:1'",
            "12: server.services.pi.udp_idle_time: must be a whole number from 1 to 86400",
        ),
        (
            "[server.services.pi]\ntype = 'udp'\nudp_max_sessions = 65536\nbind_addr = '0.0.0.0:1'",
            "12: server.services.pi.udp_max_sessions: must be a whole number from 1 to 65535",
        ),
        (
            "[server.services.pi]\ntype = 'udp'\nbind_addr = ['0.0.0.0:443', '1.2.3.4:443']",
            "12: server.services.pi.bind_addr[1]: this address is taken by \
          server.services.pi.bind_addr[0] (line 12)",
        ),
        (
            "[server.services.pi]",
            "10: server.services.pi.bind_addr: missing: where visitors come in, such as \
          `0.0.0.0:5080`",
        ),
        (
            "[server.services.pi]\nhosts = 'a'",
            "11: server.services.pi.hosts: names need type = \"http\", \
          \"https\" or \"web\"",
        ),
        (
            "[server.services.pi]\ntype = 'web'\nhosts = 'a'",
            "11: server.services.pi.type: type web needs \
          `http_addr` in [server]",
        ),
        (
            "[server.services.pi]\ntype = 'https'",
            "10: server.services.pi.hosts: missing: the names it takes, \
          such as `pi.example.com`",
        ),
        (
            "[server.services.'']\nbind_addr = '0.0.0.0:1'",
            "10: server.services.\"\": a service's name has 1 \
          to 255 bytes",
        ),
        (
            "[server.services.\"a\\nb\"]\nbind_addr = '0.0.0.0:1'",
            "10: server.services.\"a\\nb\": a service's \
          name has no control characters",
        ),
        // Addresses.
        (
            "[server.services.pi]\nbind_addr = ':80'",
            "11: server.services.pi.bind_addr: must be a literal \
          address and a port: `0.0.0.0:443` or `[::]:443`",
        ),
        (
            "[server.services.pi]\nbind_addr = '0.0.0.0:30100-30000'",
            "11: server.services.pi.bind_addr: the range ends before it begins",
        ),
        (
            "[server.services.pi]\nbind_addr = ['0.0.0.0:1', '0.0.0.0:0-9']",
            "11: server.services.pi.bind_addr[1]: port 0 cannot be in a range",
        ),
        (
            "[server.services.pi]\nbind_addr = '0.0.0.0:65000-65536'",
            "11: server.services.pi.bind_addr: the highest port is 65535",
        ),
        (
            "[server.services.pi]\nbind_addr = '0.0.0.0:1-2-3'",
            "11: server.services.pi.bind_addr: must be a literal \
          address and a port: `0.0.0.0:443` or `[::]:443`",
        ),
        (
            "[server.services.pi]\nbind_addr = 'a:1-2'",
            "11: server.services.pi.bind_addr: must be a literal \
          address and a port: `0.0.0.0:443` or `[::]:443`",
        ),
        (
            "[server.services.pi]\nbind_addr = '0.0.0.0:10000-12047'",
            "11: server.services.pi.bind_addr: too many: a file may have 2048 ports",
        ),
        (
            "[server.services.pi]\nbind_addr = '0.0.0.0:1-65535'",
            "11: server.services.pi.bind_addr: too many: a file may have 2048 ports",
        ),
        (
            "[server.services.pi]\nbind_addr = ['127.0.0.1:400-500', '[::1]:5']",
            "11: server.services.pi.bind_addr[0]: port 443 of this range \
          is taken by server.https_addr[0] (line 4)",
        ),
        (
            "[server.services.a]\nbind_addr = '127.0.0.1:7-9'\n[server.services.b]\n\
          bind_addr = ['[::]:7-9', '0.0.0.0:9']",
            "13: server.services.b.bind_addr[0]: this address \
          is taken by server.services.a.bind_addr (line 11)",
        ),
        (
            "[server.services.pi]\nbind_addr = '127.0.0.1:443'",
            "11: server.services.pi.bind_addr: this address \
          is taken by server.https_addr[0] (line 4)",
        ),
        (
            "[server.services.pi]\nbind_addr = ['127.0.0.1:0', '127.0.0.1:0', '127.0.0.1:5',\n\
          '127.0.0.2:5', '0.0.0.0:5']",
            "12: server.services.pi.bind_addr[4]: this address is taken by \
          server.services.pi.bind_addr[2] (line 11)",
        ),
    ] {
        bad(&server(services), &format!("f.toml:{error}"));
    }
    for (rest, error) in [
        (
            "hosts = 'www*.a'",
            "13: server.services.pi.hosts: `*` stands for one whole label, as in \
          `www.*.example.com`",
        ),
        (
            "hosts = ['a', '/(/']",
            "13: server.services.pi.hosts[1]: not a regular expression of this engine \
          (no look-around, back-references or \\p)",
        ),
        (
            "hosts = ['a.b', 'A.B.']",
            "13: server.services.pi.hosts[1]: the same as server.services.pi.hosts[0] \
          (line 13); one service only can have it",
        ),
        (
            "hosts = ['a.b',\n'c']\n[server.services.b]\ntype = 'https'\nhosts = 'C'",
            "17: server.services.b.hosts: \
          the same as server.services.pi.hosts[1] (line 14); one service only can have it",
        ),
        (
            "fallback = true\n[server.services.b]\ntype = 'https'\nfallback = true",
            "16: \
          server.services.b.fallback: the same as server.services.pi.fallback (line 13); \
          one service only can have it",
        ),
    ] {
        bad(&server(&format!("{pi}{rest}")), &format!("f.toml:{error}"));
    }
}

#[test]
fn visitors_without_a_service_and_ssh_have_their_keys() {
    let with = |keys: &str, services: &str| {
        server(services).replace("https_addr", &format!("{keys}\nhttps_addr"))
    };
    let shell = "[server.services.shell]";
    let none = "f.toml:2: server.services: there are no services";
    let config = good(&with("unknown_sni = 'drop'", ""), &[NOBODY, none]);
    let config = config.server.expect("[server]");
    assert_eq!((config.no_sni, config.unknown_sni), (Refusal::Alert, Refusal::Drop));
    assert_eq!(config.ssh, None);
    let config = good(&with("ssh_service = 'shell'", shell), &[NOBODY]).server.expect("[server]");
    assert_eq!(config.ssh, Some(Ssh { service: 0, wait: Duration::from_secs(2) }));
    assert!(config.services[0].bind_addrs.is_empty(), "a port of its own is not needed");
    let config =
        good(&with("ssh_service = 'shell'\nssh_wait = 9", shell), &[&NOBODY.replace(":5:", ":6:")]);
    assert_eq!(config.server.expect("[server]").ssh.map(|ssh| ssh.wait.as_secs()), Some(9));
    let fallback = "[server.services.a]\ntype = 'https'\nfallback = true";
    good(
        &with("no_sni = 'drop'", fallback),
        &["f.toml:4: server.no_sni: not used: a service with `fallback = true` takes these \
             visitors"],
    );

    for (keys, services, error) in [
        (
            "no_sni = 'mark-er_0123456789'",
            "",
            "no_sni: must be alert or drop; `fallback = true` gives them to a service",
        ),
        (
            "unknown_sni = 'service'",
            "",
            "unknown_sni: must be alert or drop; `hosts = [\"**\"]` gives them to a service",
        ),
        ("ssh_wait = 3", "", "ssh_wait: needs `ssh_service`"),
        ("ssh_wait = 10", "", "ssh_wait: must be a whole number from 1 to 9"),
        (
            "ssh_service = 'other'",
            shell,
            "services.shell.bind_addr: missing: where visitors come \
            in, such as `0.0.0.0:5080`",
        ),
        ("ssh_service = 'none'", "", "ssh_service: there is no service of this name"),
        ("ssh_service = 'a'", fallback, "ssh_service: the service must be of type tcp"),
    ] {
        let line = if error.starts_with("services") { 11 } else { 4 };
        bad(&with(keys, services), &format!("f.toml:{line}: server.{error}"));
    }
    bad(
        &with("ssh_service = 'shell'", shell).replace("https_addr = [", "http_addr = ["),
        "f.toml:4: server.ssh_service: needs `https_addr`, where its visitors come in",
    );
}

const NOBODY: &str =
    "f.toml:5: server.https_addr: no service of type https or web takes its visitors";

#[test]
fn own_pages_are_read_beside_the_file() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    std::fs::create_dir_all(folder.join("sub/dir.html")).expect("a folder");
    for (name, bytes) in [
        ("404.html", b"<p>\xc3\xbc".to_vec()),
        ("sub/503.txt", b"later\n".to_vec()),
        ("largest.HTM", vec![b'x'; 64 * 1024]),
        ("larger.txt", vec![b'x'; 64 * 1024 + 1]),
        ("latin1.txt", b"\xfc".to_vec()),
        ("page.php", b"x".to_vec()),
    ] {
        std::fs::write(folder.join(name), bytes).expect("a file");
    }
    let file = folder.join("server.toml").display().to_string();
    let parse = |pages: &str| {
        let text = format!("error_pages = {pages}\n[server.transport]\n");
        Config::parse(&file, &server("").replace("[server.transport]\n", &text), &|_| None)
    };
    let absolute = folder.join("404.html").display().to_string();
    for pages in [
        "{ 404 = '404.html', 503 = 'sub/503.txt', 400 = 'largest.HTM' }".to_owned(),
        format!("{{ 505 = '{absolute}' }}"),
    ] {
        parse(&pages).unwrap_or_else(|error| panic!("{error}"));
    }
    for (pages, error) in [
        ("1", "error_pages: must be a table, not an integer"),
        ("{ 404 = 1 }", "error_pages.404: must be a string in quotes, not an integer"),
        (
            "{ 200 = '404.html' }",
            "error_pages.200: no such page; there are 400, 403, 404, 405, 408, 413, 414, 429, \
             431, 501, 502, 503, 504, 505, 508",
        ),
        ("{ 404 = 'page.php' }", "error_pages.404: the file's name ends in `.html` or `.txt`"),
        (
            "{ 404 = 'none.html' }",
            "error_pages.404: cannot read the file: No such file or directory (os error 2)",
        ),
        ("{ 404 = 'sub/dir.html' }", "error_pages.404: cannot read the file: it is no file"),
        ("{ 404 = 'larger.txt' }", "error_pages.404: the file has more than 65536 bytes"),
        ("{ 404 = 'latin1.txt' }", "error_pages.404: the file is not UTF-8"),
    ] {
        let Err(found) = parse(pages) else { panic!("this should not load: {pages}") };
        assert_eq!(found.to_string(), format!("{file}:6: server.{error}"));
    }
}

#[test]
fn the_access_log_is_off_unless_asked_for() {
    let log = |table: &str| {
        let config = good(&server(&format!("[server.access_log]\n{table}\n{SERVICE}")), &[]);
        config.server.expect("[server]").access_log
    };
    assert!(good(&server(SERVICE), &[]).server.expect("[server]").access_log.is_none());
    let shown = |table: &str| {
        let log = log(table).expect("an access log");
        (log.path.map(|path| path.display().to_string()), log.format)
    };
    assert_eq!(shown(""), (None, AccessLogFormat::Clf));
    assert_eq!(shown("path = \"-\""), (None, AccessLogFormat::Clf));
    let json = "path = \"/var/log/a\"\nformat = \"json\"";
    assert_eq!(shown(json), (Some("/var/log/a".to_owned()), AccessLogFormat::Json));
    for (line, error) in [
        ("path = \"\"", "path: must not be empty; `-` is standard output"),
        ("format = \"combined\"", "format: must be clf or json"),
    ] {
        let text = server(&format!("[server.access_log]\n{line}\n{SERVICE}"));
        bad(&text, &format!("f.toml:11: server.access_log.{error}"));
    }
}
