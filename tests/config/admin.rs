//! `[server.admin]` and `[client.admin]`: where, for whom, and what is wrong with them.

use underpass::config::{AdminAddr, AdminConfig, Config, ConfigError};

use crate::folder::Folder;
use crate::{MARKER, bad, client, good, parse, server};

/// What `htpasswd -nbB`, `-nb`, `-nbs`, `-nb2` and `-nb5` print for "secret".
const BCRYPT: &str = "$2y$05$jlZO76vShsfLgp/NhgGpMu5GwEZT16qXq8Z0QNkmbsU8Xu0907jHG";
const APR1: &str = "$apr1$UTUqVY6B$SG8yMVVUQ4Or3SA.nIC2k1";
const SHA: &str = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";
const SHA256: &str = "$5$pnZu6d8pbs52Rn7v$VEBi7XIr/opraHW6mZgtfoOm.pDPMKWPXPe75cqXjk4";
const SHA512: &str = "$6$rounds=2000$iAgECUFFvn8nOUAj$Vzta7K49puAFIYJvlN3PSudJHrvaOCnoURAitd/\
                      DRDY/8KqIaOUpspfC1e90gG9ieNadTk6h849QzE.g/Mqac1";

/// A server's file with this in `[server.admin]`, from line 11 on; a service has `a.example`.
fn with_admin(lines: &str) -> String {
    server(&format!(
        "[server.admin]\n{lines}\n[server.services.a]\ntype = 'web'\nhosts = ['a.example', \
         '**.b.example']\n"
    ))
    .replace("https_addr", "http_addr = '0.0.0.0:80'\nhttps_addr")
}

fn admin(lines: &str) -> AdminConfig {
    let config = good(&with_admin(lines), &[]);
    config.server.expect("[server]").admin.expect("[server.admin]")
}

fn names(admin: &AdminConfig) -> Vec<&str> {
    admin.users.names().collect()
}

/// What is said of `key` in line 12, the first of `[server.admin]`'s.
fn wrong(lines: &str, key: &str, reason: &str) {
    let error = format!("f.toml:12: server.admin.{key}: {reason}");
    bad(&with_admin(lines), &error);
}

#[test]
fn it_is_where_the_file_says() {
    let tcp = |text: &str| AdminAddr::Tcp(text.parse().expect("an address"));
    let unix = |path: &str| AdminAddr::Unix(path.into());
    for (value, addrs) in [
        ("'127.0.0.1:9333'", vec![tcp("127.0.0.1:9333")]),
        ("'localhost:9333'", vec![tcp("127.0.0.1:9333")]),
        ("'[::1]:9333'", vec![tcp("[::1]:9333")]),
        ("'127.8.0.1:0'", vec![tcp("127.8.0.1:0")]),
        ("'unix:/run/underpass/admin.sock'", vec![unix("/run/underpass/admin.sock")]),
        ("['[::1]:1', 'unix:/a b']", vec![unix("/a b"), tcp("[::1]:1")]),
    ] {
        let admin = admin(&format!("bind_addr = {value}"));
        assert_eq!(admin.bind_addrs, addrs, "{value}");
        assert!(admin.users.is_empty() && admin.host.is_none());
    }
    assert_eq!(unix("/run/x").to_string(), "unix:/run/x");
    let none = good(&server(crate::SERVICE), &[]).server.expect("[server]");
    assert!(none.admin.is_none(), "nothing is open that nobody asked for");
}

#[test]
fn without_users_it_is_for_this_machine_alone() {
    let reason = "without `users` or `users_file`, only a loopback address such as \
                  `127.0.0.1:9333` or a `unix:/path` is taken: everybody who reaches another one \
                  would be let in";
    wrong("bind_addr = '0.0.0.0:9333'", "bind_addr", reason);
    wrong("bind_addr = ['[::1]:1', '[::]:9333']", "bind_addr[1]", reason);
    wrong("bind_addr = '192.0.2.1:9333'", "bind_addr", reason);
    let open = with_admin(&format!("bind_addr = '0.0.0.0:9333'\nusers = 'bob:{BCRYPT}'"));
    let config = good(&open, &[]);
    assert_eq!(
        config.hints,
        ["f.toml:12: server.admin.bind_addr: a password crosses the net in the clear where this \
          address is reached over one that others use: `127.0.0.1:9333`, through `ssh -L`, shows \
          it to nobody"],
    );
}

#[test]
fn the_host_is_one_name_that_no_service_has() {
    let users = format!("users = 'bob:{BCRYPT}'");
    let config = good(&with_admin(&format!("host = 'Under.b.example.'\n{users}")), &[]);
    assert_eq!(
        config.hints,
        ["f.toml:12: server.admin.host: a password to `http_addr` crosses the net in the clear, \
          and who reads along has it: a `bind_addr` on loopback, through `ssh -L`, shows it to \
          nobody"],
    );
    let admin = config.server.expect("[server]").admin.expect("[server.admin]");
    assert_eq!(admin.host.map(|host| host.to_string()).as_deref(), Some("under.b.example"));
    assert_eq!(admin.bind_addrs, []);

    for (host, reason) in [
        ("a.example", "a service has this name in its `hosts`; one of both only can have it"),
        ("A.EXAMPLE.", "a service has this name in its `hosts`; one of both only can have it"),
        (
            "*.example",
            "byte not allowed in a name: it is one name, such as `underpass.example.com`",
        ),
        ("", "empty name: it is one name, such as `underpass.example.com`"),
        (
            "192.0.2.1",
            "address in place of a name: it is one name, such as `underpass.example.com`",
        ),
    ] {
        wrong(&format!("host = '{host}'\n{users}"), "host", reason);
    }
    let reason = "needs `users` or `users_file`: everybody can reach it";
    wrong("host = 'u.example'\nbind_addr = '[::1]:1'", "host", reason);
    let text = server(&format!("[server.admin]\nhost = 'u.example'\n{users}"));
    bad(
        &text,
        "f.toml:11: server.admin.host: needs `http_addr` in [server], where its visitors come in",
    );
    let missing = "missing: where it is reached, such as `127.0.0.1:9333`, or `host`";
    bad(&with_admin(&users), &format!("f.toml:11: server.admin.bind_addr: {missing}"));
}

#[test]
fn users_are_htpasswds_lines() {
    let lines = [
        format!("a:{BCRYPT}"),
        format!("b:{APR1}"),
        format!("c:{SHA}"),
        format!("d:{SHA256}"),
        format!("josé:{SHA512}"),
    ];
    let list = format!("bind_addr = '[::1]:1'\nusers = ['{}']", lines.join("', '"));
    assert_eq!(names(&admin(&list)), ["a", "b", "c", "d", "josé"]);
    for value in [lines.join(","), lines.join("\n"), format!("# all\n\n {} \n", lines.join(" ,\n"))]
    {
        let value = format!("bind_addr = '[::1]:1'\nusers = '''{value}'''");
        assert_eq!(names(&admin(&value)), ["a", "b", "c", "d", "josé"], "{value}");
    }
    // As a Compose file wants them.
    let doubled = format!("bind_addr = '[::1]:1'\nusers = 'b:{}'", APR1.replace('$', "$$"));
    let single = format!("bind_addr = '[::1]:1'\nusers = 'b:{APR1}'");
    assert_eq!(admin(&doubled).users.digest(), admin(&single).users.digest());
    let other = single.replace("UTU", "UTV");
    assert_ne!(admin(&other).users.digest(), admin(&single).users.digest());
}

#[test]
fn a_line_that_is_none_is_named_and_never_shown() {
    let taken = "there is a line of this user already";
    let plain = "user bob: what follows is no hash that is taken, and a password itself is not: \
                 `htpasswd -nB USER` makes a line (a `$` may have been lost where the line was \
                 taken for one with variables)";
    let broken = |name: &str| {
        format!(
            "user bob: the {name} hash is not whole or has more than belongs to it; `htpasswd -nB \
             USER` makes a line"
        )
    };
    for (line, reason) in [
        (MARKER.to_owned(), "a user's line is USER:HASH, as `htpasswd -nB USER` prints it".into()),
        (
            format!(":{MARKER}"),
            "a user's name has 1 to 255 bytes and no control characters".to_owned(),
        ),
        (format!("bob:{MARKER}"), plain.into()),
        (format!("bob:{{PLAIN}}{MARKER}"), plain.into()),
        ("bob:".into(), plain.into()),
        (format!("{MARKER} it is:x"), plain.replacen("user bob: ", "", 1)),
        (
            "bob:.LSk3huargCG2".into(),
            "user bob: DES crypt (`htpasswd -d`) is not taken: 8 characters of a password count, \
             and all can be tried; `htpasswd -nB USER` makes a better line"
                .into(),
        ),
        (format!("bob:$2y$05${MARKER}"), broken("bcrypt")),
        (format!("bob:{}", &BCRYPT[..BCRYPT.len() - 1]), broken("bcrypt")),
        (format!("bob:{BCRYPT}x"), broken("bcrypt")),
        (format!("bob:{APR1}x"), broken("apr1")),
        (format!("bob:{}", APR1.replace("UTU", "too long ")), broken("apr1")),
        (format!("bob:$apr1${MARKER}"), broken("apr1")),
        (format!("bob:$1${MARKER}"), broken("MD5 crypt")),
        (format!("bob:{SHA256}="), broken("SHA-256 crypt")),
        (format!("bob:{SHA512}="), broken("SHA-512 crypt")),
        ("bob:{SHA}AAAA".into(), broken("{SHA}")),
        (
            format!("bob:{}", BCRYPT.replace("$05$", "$17$")),
            "user bob: bcrypt's cost must be 4 to 16: each step more doubles the time of a check, \
             which is seconds by then"
                .into(),
        ),
        (
            format!("bob:{}", SHA512.replace("2000", "5000001")),
            "user bob: the rounds must be 1000 to 5000000".into(),
        ),
        (
            format!("bob:{}", SHA512.replace("2000", "999")),
            "user bob: the rounds must be 1000 to 5000000".into(),
        ),
        (format!("bob:{APR1},bob:{APR1}"), format!("user bob: {taken}")),
    ] {
        wrong(&format!("users = '{line}'\nbind_addr = '[::1]:1'"), "users", &reason);
        let list = format!("users = ['x:{APR1}', '{line}']\nbind_addr = '[::1]:1'");
        wrong(&list, "users[1]", &reason);
    }
    let none = "names no user: a line is USER:HASH, as `htpasswd -nB USER` prints it";
    for value in ["[]", "''", "['', ' ,']", "'${EMPTY}'"] {
        wrong(&format!("users = {value}\nbind_addr = '[::1]:1'"), "users", none);
    }
}

#[test]
fn no_two_listen_at_one_address() {
    wrong(
        "bind_addr = '127.0.0.1:2333'",
        "bind_addr",
        "this address is taken by server.bind_addr (line 3)",
    );
    wrong(
        "bind_addr = ['unix:/a', 'unix:/a']",
        "bind_addr[1]",
        "this path is taken by server.admin.bind_addr[0] (line 12)",
    );
    wrong(
        "bind_addr = '127.0.0.1:1-2'",
        "bind_addr",
        "a range of ports is for a service's bind_addr",
    );
    for path in ["", "admin.sock", "./x", "/run/"] {
        let reason = "must be an absolute path: `unix:/run/underpass/admin.sock`";
        wrong(&format!("bind_addr = 'unix:{path}'"), "bind_addr", reason);
    }
    let long = format!("bind_addr = 'unix:/{}'", "x".repeat(107));
    wrong(&long, "bind_addr", "a socket's path has at most 107 bytes, none of them 0");
    // Both roles in one file.
    let both = with_admin("bind_addr = ['[::1]:9333', 'unix:/a']")
        + &client("[client.admin]\nbind_addr = '[::1]:9334'\n");
    assert!(parse(&both).is_ok());
    let error = parse(&both.replace("9334", "9333")).expect_err("taken").to_string();
    assert!(error.contains("client.admin.bind_addr: this address is taken by server.admin."));
    let error = parse(&both.replace("[::1]:9334", "unix:/a")).expect_err("taken").to_string();
    assert!(error.contains("client.admin.bind_addr: this path is taken by server.admin."));
}

#[test]
fn a_client_has_it_too_but_for_the_host() {
    let service = "[client.services.a]\nlocal_addr = 'a:1'\n";
    let with = |lines: &str| client(&format!("[client.admin]\n{lines}\n{service}"));
    let config = good(&with("bind_addr = '127.0.0.1:9333'"), &[]).client.expect("[client]");
    let admin = config.admin.expect("[client.admin]");
    assert_eq!(admin.bind_addrs.len(), 1);
    let error = std::io::Error::from(std::io::ErrorKind::AddrInUse);
    let error = admin.cannot_listen(&admin.bind_addrs[0], &error).to_string();
    let start = "f.toml:10: client.admin.bind_addr: cannot listen on 127.0.0.1:9333: ";
    assert!(error.starts_with(start), "{error}");
    bad(
        &with("host = 'a.b'"),
        "f.toml:10: client.admin.host: this key belongs in the server's file",
    );
    bad(
        &with(""),
        "f.toml:9: client.admin.bind_addr: missing: where it is reached, such as `127.0.0.1:9333`",
    );
}

impl Folder {
    fn load_admin(&self, head: &str, admin: &str) -> Result<Config, ConfigError> {
        let text = format!(
            "{head}\n[server]\nbind_addr = '[::1]:1'\nhttp_addr = '[::1]:2'\n[server.admin]\n\
             {admin}"
        );
        self.parse(&text, &|_| None)
    }

    /// Without the folder.
    fn error(&self, admin: &str) -> String {
        self.shown(&self.load_admin("", admin).expect_err("no such users"))
    }
}

/// The article's stack: its `.env`, its label.
#[test]
fn the_articles_line_works_from_env_file_with_quotes_and_without() {
    let folder = Folder::new("admin-env");
    let admin = "host = 'traefik.amd2.${SITE_HOSTNAME}'\nusers = '${TRAEFIK_AUTH}'";
    for hash in [APR1, BCRYPT, SHA, SHA256, SHA512] {
        let line = format!("admin:{hash}");
        let doubled = line.replace('$', "$$");
        let escaped = line.replace('$', "\\$");
        for value in [
            line.clone(),
            format!("'{line}'"),
            format!("\"{line}\""),
            doubled.clone(),
            format!("'{doubled}'"),
            format!("\"{doubled}\""),
            format!("\"{escaped}\""),
            format!("{line} # the dashboard's"),
            format!("{line},other:{hash}"),
        ] {
            let env = format!("SITE_HOSTNAME=example.com\nTRAEFIK_AUTH={value}\n");
            folder.with(".env", env);
            let config = folder.load_admin("env_file = '.env'", admin);
            let config = config.unwrap_or_else(|error| panic!("{value}: {error}"));
            let admin = config.server.expect("[server]").admin.expect("[server.admin]");
            assert_eq!(names(&admin)[0], "admin", "{value}");
            let plain = folder.load_admin("", &format!("bind_addr = '[::1]:3'\nusers = '{line}'"));
            let plain = plain.expect("it loads").server.expect("[server]").admin;
            let has_other = value.contains("other");
            let same = plain.expect("[server.admin]").users.digest() == admin.users.digest();
            assert_eq!(same, !has_other, "{value}");
        }
    }
}

#[test]
fn users_may_have_a_file() {
    let folder = Folder::new("admin-file");
    let write = |text: &[u8]| _ = folder.with("users", text);
    let admin = "bind_addr = '[::1]:3'\nusers_file = 'users'\n";
    write(format!("\u{feff}# who\r\n\r\n  a,b:{APR1}\r\nb:{SHA}:more\n").as_bytes());
    let config = folder.load_admin("", admin).expect("it loads");
    let found = config.server.expect("[server]").admin.expect("[server.admin]");
    assert_eq!(names(&found), ["a,b", "b"]);
    let both = folder.load_admin("", &format!("{admin}users = 'c:{BCRYPT}'")).expect("it loads");
    let found = both.server.expect("[server]").admin.expect("[server.admin]");
    assert_eq!(names(&found), ["c", "a,b", "b"]);

    write(format!("a:{APR1}\n\na:{SHA}").as_bytes());
    assert_eq!(folder.error(admin), "users:3: user a: there is a line of this user already");
    write(format!("# none\n{MARKER}").as_bytes());
    let error = folder.error(admin);
    assert_eq!(error, "users:2: a user's line is USER:HASH, as `htpasswd -nB USER` prints it");
    write(b"\n# a\n");
    let none = "the file names no user; `htpasswd -B FILE USER` adds one";
    assert_eq!(folder.error(admin), format!("f.toml:7: server.admin.users_file: {none}"));
    write(b"a:b\n\xff");
    assert_eq!(folder.error(admin), "users:2: not UTF-8");
    write(&[b'#'; 64 * 1024 + 1]);
    let long = "the file has more than 65536 bytes";
    assert_eq!(folder.error(admin), format!("f.toml:7: server.admin.users_file: {long}"));
    let gone = "cannot read the file: No such file or directory (os error 2)";
    assert_eq!(
        folder.error("users_file = 'none'"),
        format!("f.toml:6: server.admin.users_file: {gone}"),
    );
}
