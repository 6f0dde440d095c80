//! The program from outside: what it prints, where, and its exit status.

use std::path::PathBuf;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const KEY: &str = "MIDlbJw0wqZtQ8Y5Z7nLu3rJqG5m2oVfJ0bX1c2d3e4=";

/// Runs the program in the samples' folder.
fn underpass(args: &[&str]) -> Output {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "config"].iter().collect();
    Command::new(env!("CARGO_BIN_EXE_underpass"))
        .args(args)
        .current_dir(folder)
        .env_clear()
        .envs([("UNDERPASS_PRIVATE_KEY", KEY), ("UNDERPASS_PUBLIC_KEY", KEY)])
        .envs([("PI_TOKEN", "one home's own token"), ("LOCAL_TOKEN", "another home's token")])
        .output()
        .expect("the program runs")
}

/// Status, stdout, stderr.
fn run(args: &[&str]) -> (i32, String, String) {
    let output = underpass(args);
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("an exit"), text(output.stdout), text(output.stderr))
}

fn done(args: &[&str], stdout: &str) {
    assert_eq!(run(args), (0, stdout.to_owned(), String::new()), "{args:?}");
}

#[test]
fn check_prints_the_routes_what_wins_first() {
    done(
        &["check", "server.toml"],
        "\
server.toml: ok
warning: services pi, local have names right under example.com: a certificate for *.example.com \
at one home makes browsers send it the other's requests too (HTTP/2 connection coalescing); give \
each home a certificate for its own names alone
http   pi.example.com           pi
http   **.pi.example.com        pi
https  local.example.com        local
https  www.local.example.com    local
https  pi.example.com           pi
https  *.local.example.com      local
https  www.*.local.example.com  local
https  **.pi.example.com        pi
port   0.0.0.0:5022             pi-ssh
",
    );
    done(
        &["check", "client.toml"],
        "client.toml: ok\nhttp   pi      traefik:80\nhttps  pi      traefik:443\n\
         port   pi-ssh  127.0.0.1:22\n",
    );
}

#[test]
fn explain_names_the_service_and_the_pattern() {
    for (name, shown, https) in [
        ("pi.example.com", "pi.example.com", "service pi, by pi.example.com"),
        ("A.PI.Example.com.:8443", "a.pi.example.com", "service pi, by **.pi.example.com"),
        (
            "www.x.local.example.com",
            "www.x.local.example.com",
            "service local, by www.*.local.example.com",
        ),
        ("example.com", "example.com", "nobody: no pattern matches"),
        ("", "no name", "nobody: no pattern matches"),
        ("::1", "::1", "nobody: no pattern matches (visitors send no SNI for an address)"),
        ("a b", "invalid: byte not allowed in a name", "nobody: a TLS alert"),
    ] {
        // `local` is a service of type https, `pi` of type web.
        let http = match name {
            "a b" => "nobody: status 400",
            "::1" => "nobody: no pattern matches",
            _ if https.contains("service local") => "nobody: no pattern matches",
            _ => https,
        };
        let stdout = format!("name   {shown}\nhttp   {http}\nhttps  {https}\n");
        done(&["explain", "server.toml", name], &stdout);
    }
}

#[test]
fn check_and_explain_show_paths_and_protocols() {
    let file = [env!("CARGO_TARGET_TMPDIR"), "conditions.toml"].iter().collect::<PathBuf>();
    let service = |name: &str, rest: &str| {
        format!("[server.services.{name}]\ntoken = 'long enough a token'\n{rest}\n")
    };
    let text = [
        format!(
            "[server]\nbind_addr = '[::1]:1'\nhttp_addr = '[::1]:2'\nhttps_addr = '[::1]:3'\n\
             transport = {{ type = 'noise', noise = {{ local_private_key = '{KEY}' }} }}\n"
        ),
        service("site", "type = 'web'\nhosts = ['a.b', '**']"),
        service("api", "type = 'http'\nhosts = 'a.b'\npath_prefix = '/api'"),
        service("acme", "type = 'https'\nhosts = '**.b'\nalpn = 'acme-tls/1'"),
    ];
    std::fs::write(&file, text.concat()).expect("a file");
    let file = file.to_str().expect("UTF-8");
    done(
        &["check", file],
        &format!(
            "{file}: ok\n\
             http   a.b with path /api         api\n\
             http   a.b                        site\n\
             http   **                         site\n\
             https  a.b                        site\n\
             https  **.b with alpn acme-tls/1  acme\n\
             https  **                         site\n"
        ),
    );
    for (name, lines) in [
        (
            "a.b",
            "name   a.b\nhttp   service site, by a.b\n\
             http   service api, by a.b with path /api\nhttps  service site, by a.b\n",
        ),
        (
            "c.b",
            "name   c.b\nhttp   service site, by **\nhttps  service site, by **\n\
             https  service acme, by **.b with alpn acme-tls/1\n",
        ),
        (
            "A.b:80/api/x?y",
            "name   a.b\nhttp   service api, by a.b with path /api\nhttps  service site, by a.b\n",
        ),
        (
            "a.b//api",
            "name   a.b\nhttp   nobody: status 400, the path may be read in two ways\n\
             https  service site, by a.b\n",
        ),
    ] {
        done(&["explain", file, name], lines);
    }
}

#[test]
fn check_shows_limits() {
    let file = [env!("CARGO_TARGET_TMPDIR"), "limits.toml"].iter().collect::<PathBuf>();
    let text = format!(
        "[server]\nbind_addr = '[::1]:1'\nhttp_addr = '[::1]:2'\ndeny = '192.0.2.0/24'\n\
         idle_timeout = 30\nhead_timeout = 20\nbandwidth = '1.5 GB/s'\n\
         transport = {{ type = 'noise', noise = {{ local_private_key = '{KEY}' }} }}\n\
         [server.services.site]\ntoken = 'long enough a token'\ntype = 'http'\nhosts = 'a.b'\n\
         allow = ['10.0.0.0/8', '192.168.0.0/16', '172.16.0.0/12', '::1', '127.0.0.1']\n\
         deny = '10.0.0.1'\nmax_visitors = 9\nrate = {{ per_second = 5, burst = 7 }}\n\
         bandwidth = '8 Mbit/s'\nresponse_timeout = 0\n"
    );
    std::fs::write(&file, text).expect("a file");
    let file = file.to_str().expect("UTF-8");
    let rows = [
        ("http", "a.b", "site"),
        ("limit", "deny 192.0.2.0/24", "all services"),
        ("limit", "1.5 GB/s each way", "all services"),
        ("limit", "30 s between requests", "all services"),
        ("limit", "20 s for a hello or a head", "all services"),
        ("limit", "allow 10.0.0.0/8, 127.0.0.1, 172.16.0.0/12 and 2 more", "site"),
        ("limit", "deny 10.0.0.1", "site"),
        ("limit", "5 a second for a network, 7 at once", "site"),
        ("limit", "1 MB/s each way", "site"),
        ("limit", "9 visitors at once", "site"),
        ("limit", "no limit for an answer", "site"),
    ];
    let rows = rows.map(|(entry, limit, whose)| format!("{entry:5}  {limit:53}  {whose}\n"));
    done(&["check", file], &format!("{file}: ok\n{}", rows.concat()));
}

#[test]
fn genkey_prints_a_pair_as_rathole_does() {
    let (status, stdout, _) = run(&["--genkey"]);
    assert_eq!(status, 0);
    let lines: Vec<_> = stdout.split('\n').collect();
    let ["Private Key:", private, "", "Public Key:", public, ""] = *lines else {
        panic!("{stdout}")
    };
    for key in [private, public] {
        assert_eq!(STANDARD.decode(key).expect("base64").len(), 32);
    }
    assert_ne!(run(&["--genkey"]).1, stdout, "a new pair each time");
}

#[test]
fn errors_go_to_stderr_with_a_status() {
    for (args, status, stderr) in [
        (
            &["check", "none.toml"][..],
            1,
            "none.toml: cannot read it: No such file or directory (os error 2)\n",
        ),
        (
            &["explain", "client.toml", "a"],
            1,
            "client.toml: has no [server], which alone routes names\n",
        ),
        (&["--server", "client.toml"], 1, "client.toml: has no [server]\n"),
        (&["--client", "server.toml"], 1, "server.toml: has no [client]\n"),
        (
            &[],
            2,
            "a configuration file is missing. To begin: make keys by `underpass --genkey`, write \
             server.toml for\nthe VPS and client.toml for each home (README has both), try each by \
             `underpass check FILE`, and\nrun it by `underpass FILE`.\nTry `underpass --help`.\n",
        ),
        (&["--what"], 2, "invalid option '--what'\nTry `underpass --help`.\n"),
    ] {
        assert_eq!(run(args), (status, String::new(), format!("underpass: {stderr}")), "{args:?}");
    }
}

#[test]
fn help_and_version_go_to_stdout() {
    done(&["--version"], &format!("underpass {}\n", env!("CARGO_PKG_VERSION")));
    let (status, stdout, stderr) = run(&["--help"]);
    assert!(status == 0 && stdout.contains("underpass check CONFIG") && stderr.is_empty());
}

#[test]
fn check_says_what_a_reload_changes_and_no_secret() {
    let folder: PathBuf = [env!("CARGO_TARGET_TMPDIR"), "against"].iter().collect();
    std::fs::create_dir_all(&folder).expect("a folder");
    let write = |name: &str, text: String| {
        std::fs::write(folder.join(name), text).expect("a file");
        folder.join(name).to_str().expect("UTF-8").to_owned()
    };
    let secrets = ["the first token of pi", "the second token of pi", "another key", "me:secret"];
    let server = |head: &str, services: &str| {
        format!(
            "[server]\nbind_addr = '[::1]:1'\nhttps_addr = '[::1]:3'\n{head}\n\
             [server.transport]\ntype = 'noise'\nnoise = {{ local_private_key = '{KEY}' }}\n\
             {services}"
        )
    };
    let pi = |tokens: &str, rest: &str| {
        format!("[server.services.pi]\ntype = 'https'\ntoken = {tokens}\n{rest}\n")
    };
    let old = write(
        "old.toml",
        server(
            "heartbeat_interval = 5\nallow = '192.0.2.0/24'",
            &pi(&format!("'{}'", secrets[0]), "hosts = ['pi.test', 'old.test']\nmax_visitors = 5"),
        ) + "[server.services.gone]\ntoken = 'long enough a token'\nbind_addr = '[::1]:4'\n",
    );
    let new = write(
        "new.toml",
        server(
            "watch = false\nmax_visitors = 9",
            &pi(
                &format!("['{}', '{}']", secrets[1], secrets[0]),
                "hosts = ['pi.test', 'new.test']\nbandwidth = '1 MB/s'",
            ),
        )
        .replace("[::1]:3", "127.0.0.1:3")
            + "[server.services.come]\ntype = 'https'\ntoken = 'long enough a token'\n\
               hosts = 'old.test'\n",
    );
    done(
        &["check", &new, "--against", &old],
        &format!(
            "{new}: ok, against {old}\n\
             https_addr: 127.0.0.1:3 instead of [::1]:3\n\
             watch: false instead of true\n\
             heartbeat_interval: 10 s instead of 5 s\n\
             max_visitors: 9 instead of 65536\n\
             networks: none instead of allow 192.0.2.0/24\n\
             service pi: a new token\n\
             service pi: max_visitors: none instead of 5\n\
             service pi: bandwidth: 1 MB/s instead of none\n\
             service gone removed\n\
             service come added\n\
             https old.test: come instead of pi\n\
             https new.test: pi instead of nobody\n"
        ),
    );
    let (_, back, _) = run(&["check", &old, "--against", &new]);
    assert!(back.contains("\nservice pi: an old token counts no more\n"), "{back}");
    done(
        &["check", &old, "--against", &old],
        &format!("{old}: ok, against {old}\nnothing changes\n"),
    );

    let client = |head: &str, key: &str, rest: &str| {
        format!(
            "[client]\nremote_addr = 'vps:2333'\n{head}\n[client.transport]\ntype = 'noise'\n\
             noise = {{ remote_public_key = '{key}' }}\n{rest}"
        )
    };
    let service = |name: &str, token: &str, local: &str| {
        format!("[client.services.{name}]\ntoken = '{token}'\nlocal_addr = '{local}'\n")
    };
    let old_client = write("c-old.toml", client("", KEY, &service("pi", secrets[0], "a:1")));
    let other = KEY.replace('M', "N");
    let proxy = "tcp = { proxy = 'socks5://me:secret@p:1' }\n";
    let new_client = write(
        "c-new.toml",
        client("retry_interval = 2", &other, proxy) + &service("pi", secrets[1], "b:1-2"),
    );
    done(
        &["check", &new_client, "--against", &old_client],
        &format!(
            "{new_client}: ok, against {old_client}\n\
             transport.noise.remote_public_key: another one\n\
             transport.tcp.proxy: socks5://p:1 instead of none\n\
             transport.tcp.proxy's login: another one\n\
             retry_interval: 2 s instead of 1 s\n\
             service pi: a new token\n\
             service pi: an old token counts no more\n\
             service pi: local_addr: b:1-2 instead of a:1\n\
             service pi: retry_interval: 2 s instead of 1 s\n"
        ),
    );
    done(
        &["check", &new_client, "--against", &old],
        &format!(
            "{new_client}: ok, against {old}\n[server] is only in the old file\n\
             [client] is only in the new file\n"
        ),
    );
    let (status, out, error) = run(&["check", &new, "--against", "none.toml"]);
    assert_eq!((status, &*out), (1, ""));
    assert_eq!(
        error,
        "underpass: none.toml: cannot read it: No such file or directory (os error 2)\n"
    );
}

/// Who may look, and where; names of users, but nothing of their passwords.
#[test]
fn the_admin_page_shows_in_what_is_checked_compared_and_explained() {
    let folder: PathBuf = [env!("CARGO_TARGET_TMPDIR"), "admin"].iter().collect();
    std::fs::create_dir_all(&folder).expect("a folder");
    let hash = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";
    let write = |name: &str, users: &str, bind_addr: &str| {
        let text = format!(
            "[server]\nbind_addr = '[::1]:1'\nhttp_addr = '[::1]:2'\nhttps_addr = '[::1]:3'\n\
             [server.admin]\nusers = {users}\nhost = 'u.test'\nbind_addr = {bind_addr}\n\
             [server.transport]\ntype = 'noise'\nnoise = {{ local_private_key = '{KEY}' }}\n\
             [server.services.all]\ntype = 'web'\ntoken = 'long enough a token'\nhosts = '**'\n"
        );
        std::fs::write(folder.join(name), text).expect("a file");
        folder.join(name).to_str().expect("UTF-8").to_owned()
    };
    let old = write("old.toml", &format!("['ann:{hash}']"), "'unix:/a'");
    let new = write("new.toml", &format!("['ann:{hash}', 'bob:{hash}']"), "['unix:/a', '[::1]:4']");
    let other = write("other.toml", &format!("['ann:{}']", hash.replace("5en", "6en")), "[]");

    let (status, out, _) = run(&["check", &new]);
    assert_eq!(status, 0);
    let rows = "http   **       all\nhttps  **       all\n\
                http   u.test   the admin page: a password, 2 users\n\
                file   unix:/a  the admin page: no password\n\
                port   [::1]:4  the admin page: a password, 2 users\n";
    let (head, found) = out.split_once("http   **").expect("rows");
    assert_eq!(format!("http   **{found}"), rows);
    assert!(
        head.contains("server.admin.host: a password to `http_addr` crosses the net"),
        "{head}"
    );

    done(
        &["check", &new, "--against", &old],
        &format!(
            "{new}: ok, against {old}\nadmin.bind_addr: unix:/a, [::1]:4 instead of unix:/a\n\
             admin.users: ann, bob instead of ann\n"
        ),
    );
    done(
        &["check", &other, "--against", &old],
        &format!(
            "{other}: ok, against {old}\nadmin.bind_addr: none instead of unix:/a\n\
             admin.users: another one\n"
        ),
    );
    done(
        &["explain", &old, "U.test./api"],
        "name   u.test\nhttp   the admin page\nhttps  service all, by **\n",
    );
}
