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
note: services pi, local have names right under example.com: a certificate for *.example.com \
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
            "[server]\nbind_addr = '0.0.0.0:1'\nhttp_addr = '0.0.0.0:2'\nhttps_addr = '0.0.0.0:3'\n\
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
        "[server]\nbind_addr = '0.0.0.0:1'\nhttp_addr = '0.0.0.0:2'\ndeny = '192.0.2.0/24'\n\
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
            "a configuration file is missing. To begin: `underpass init vps.example.com \
             pi=pi.example.com` makes\nthe files for the VPS and for each home, with keys and \
             tokens, and says what to do with them; by\n`underpass FILE` each is run. rathole's \
             and Traefik's files are read by `underpass import`.\nTry `underpass --help`.\n",
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
            "[server]\nbind_addr = '0.0.0.0:1'\nhttp_addr = '0.0.0.0:2'\nhttps_addr = '0.0.0.0:3'\n\
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

/// A folder that is not there yet.
fn new_folder(name: &str) -> PathBuf {
    let folder: PathBuf = [env!("CARGO_TARGET_TMPDIR"), name].iter().collect();
    let _ = std::fs::remove_dir_all(&folder); // of a former run
    folder
}

/// Every file below a folder.
fn files(folder: &std::path::Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut all: Vec<PathBuf> = entries
        .flat_map(|entry| match entry.path().is_dir() {
            true => files(&entry.path()),
            false => vec![entry.path()],
        })
        .collect();
    all.sort();
    all
}

#[test]
fn init_overwrites_nothing_and_writes_all_or_nothing() {
    let folder = new_folder("init set");
    let dir = folder.to_str().expect("UTF-8");
    let words = ["init", "192.0.2.1:4000", "pi=pi.test,**.pi.test", "b=b.test", "--dir", dir];
    let (status, said, error) = run(&words);
    assert_eq!((status, &*error), (0, ""), "{said}");
    let paths = ["b/.env", "b/client.toml", "pi/.env", "pi/client.toml", "server.toml"];
    let mut expected: Vec<PathBuf> = paths.map(|path| folder.join(path)).to_vec();
    expected.push(folder.join(".env"));
    expected.sort();
    assert_eq!(files(&folder), expected);
    // Words for a shell, and what a zone takes.
    assert!(said.contains(&format!("  pi: '{dir}/pi/client.toml' '{dir}/pi/.env'\n")), "{said}");
    assert!(
        said.contains(
            "DNS:\n  pi.test    A      192.0.2.1\n  *.pi.test  A      192.0.2.1\n  b.test"
        ),
        "{said}"
    );
    assert!(said.contains("80 and 443 for visitors, 4000 for homes"), "{said}");
    let client = std::fs::read_to_string(folder.join("pi/client.toml")).expect("it is there");
    assert!(client.contains("remote_addr = \"192.0.2.1:4000\"\n"), "{client}");

    let contents = |paths: &[PathBuf]| -> Vec<String> {
        paths.iter().map(|path| std::fs::read_to_string(path).expect("a file")).collect()
    };
    let before = contents(&expected);
    let in_the_way = ["server.toml", ".env", "pi/client.toml"];
    for (gone, there) in in_the_way.iter().enumerate() {
        let (status, said, error) = run(&words);
        assert_eq!((status, &*said), (1, ""));
        let expected = format!("{dir}/{there} is there already (nothing is written)\n");
        assert_eq!(error, format!("underpass: {expected}"));
        assert!(in_the_way[..gone].iter().all(|gone| !folder.join(gone).exists()));
        std::fs::rename(folder.join(there), folder.join(format!("away-{gone}"))).expect("there");
    }
    for (gone, there) in in_the_way.iter().enumerate() {
        std::fs::rename(folder.join(format!("away-{gone}")), folder.join(there)).expect("moved");
    }
    assert_eq!(contents(&expected), before);

    let (status, said, error) = run(&["init", "--add", "pi=x.test", "--dir", dir]);
    assert_eq!((status, &*said, &*error), (1, "", "underpass: there are two homes pi\n"));
    let (_, _, error) = run(&["init", "--add", "c=A.pi.test,**.pi.test", "--dir", dir]);
    assert_eq!(error, "underpass: **.pi.test: for pi and for c; one home only can have it\n");
    let (status, said, error) = run(&["init", "--add", "c=c.test", "d=d.test", "--dir", dir]);
    assert_eq!((status, &*error), (0, ""));
    for word in ["C_TOKEN=", "[server.services.c]", "D_TOKEN=", "[server.services.d]"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert_eq!(contents(&expected), before, "--add leaves what is there as it is");
    let client = std::fs::read_to_string(folder.join("d/client.toml")).expect("it is there");
    assert!(client.contains("remote_addr = \"192.0.2.1:4000\"\n"), "{client}");

    // Homes' folders have gone to the homes.
    for home in ["b", "pi", "c", "d"] {
        std::fs::remove_dir_all(folder.join(home)).expect("it is there");
    }
    let (_, _, error) = run(&["init", "--add", "c=c.test", "--dir", dir]);
    assert_eq!(
        error,
        format!(
            "underpass: {dir}/server.toml: beside it no home's client.toml says where the server \
             is: init VPS --add NAME=HOST\n"
        )
    );
    let (status, _, error) = run(&["init", "vps.test", "--add", "c=c.test", "--dir", dir]);
    assert_eq!((status, &*error), (0, ""));
    let client = std::fs::read_to_string(folder.join("c/client.toml")).expect("it is there");
    assert!(client.contains("remote_addr = \"vps.test:4000\"\n"), "{client}");
}

#[test]
fn init_says_what_is_wrong_and_writes_nothing() {
    let folder = new_folder("no-set");
    let dir = folder.to_str().expect("UTF-8");
    for (words, why) in [
        (&["vps.test"][..], "no home is named: NAME=HOST, such as pi=pi.example.com"),
        (
            &["pi=pi.test"],
            "the VPS is missing: init vps.example.com NAME=HOST (or init --add NAME=HOST)",
        ),
        (&["vps.test", "pi", "pi=a.b"], "pi: a home is NAME=HOST; there is a VPS"),
        (&["vps.test", "pi=a..b"], "pi: `a..b`: a label of the name is empty"),
        (&["vps.test", "pi=a.b", "x=c.d,A.B."], "a.b: for pi and for x; one home only can have it"),
        (
            &["--add", "pi=a.b"],
            "DIR/server.toml: cannot read it: No such file or directory (os error 2)",
        ),
    ] {
        let words = [&["init", "--dir", dir], words].concat();
        let expected = format!("underpass: {}\n", why.replace("DIR", dir));
        assert_eq!(run(&words), (1, String::new(), expected));
        assert!(!folder.exists(), "{words:?}");
    }
    // No folder for anybody.
    let (status, _, error) = run(&["init", "vps.test", "pi=a.b", "--dir", "/proc/underpass"]);
    assert_eq!(status, 1);
    assert!(error.starts_with("underpass: /proc/underpass: cannot write it: "), "{error}");
    // Something else stands where a home's folder would be.
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("pi"), "").expect("a file");
    let (status, _, error) = run(&["init", "vps.test", "pi=a.b", "--dir", dir]);
    assert_eq!(status, 1);
    assert!(error.starts_with(&format!("underpass: {dir}/pi/client.toml: cannot ")), "{error}");
    assert_eq!(files(&folder), [folder.join("pi")]);
}

#[test]
fn check_tells_addresses_that_only_look_right() {
    let folder = new_folder("addresses");
    std::fs::create_dir_all(&folder).expect("a folder");
    let write = |name: &str, text: String| {
        std::fs::write(folder.join(name), text).expect("a file");
        folder.join(name).to_str().expect("UTF-8").to_owned()
    };
    let server = |name: &str, lines: &str| {
        let text = format!(
            "[server]\n{lines}\n[server.transport]\ntype = 'noise'\n\
             noise = {{ local_private_key = '{KEY}' }}\n[server.services.a]\ntype = 'https'\n\
             token = 'long enough a token'\nhosts = 'a.b'\n"
        );
        write(name, text)
    };
    let lines = |file: &str| -> Vec<String> {
        let (status, said, _) = run(&["check", file]);
        assert_eq!(status, 0, "{said}");
        let told = said.lines().filter(|line| !line.contains("congestion_control"));
        let told = told.filter(|line| line.starts_with("warning") || line.starts_with("note"));
        told.map(|line| line.replace(&format!("{file}:"), "")).collect()
    };
    let file = server("both.toml", "bind_addr = '[::]:2333'\nhttps_addr = ['[::]:443']");
    assert_eq!(
        lines(&file),
        [
            "note: 2: server.bind_addr: `[::]` is both families: IPv4 comes in here too",
            "note: 3: server.https_addr[0]: `[::]` is both families: IPv4 comes in here too",
        ]
    );
    let file = server(
        "one.toml",
        "bind_addr = ['[::]:2333', '0.0.0.0:2333']\nhttps_addr = ['[::]:443', '192.0.2.1:443']",
    );
    let told = "note: 3: server.https_addr[0]: `[::]` is IPv6 alone here: the same key has the \
                port's IPv4 address";
    assert_eq!(lines(&file), [told]);
    let file = server(
        "loopback.toml",
        "bind_addr = '127.0.0.1:2333'\nhttps_addr = ['[::1]:443', '[::ffff:127.0.0.1]:443']",
    );
    assert_eq!(
        lines(&file),
        [
            "warning: 2: server.bind_addr: this machine alone reaches it: homes come to \
         `0.0.0.0:2333`",
            "warning: 3: server.https_addr: this machine alone reaches it: visitors come to \
         `0.0.0.0:443`",
        ]
    );
    let proxied = "bind_addr = '0.0.0.0:2333'\nhttps_addr = '127.0.0.1:443'\n\
                   trusted_proxies = '127.0.0.1'";
    assert_eq!(lines(&server("proxied.toml", proxied)), [] as [&str; 0]);

    let text = format!(
        "[client]\nremote_addr = '[::]:2333'\n[client.transport]\ntype = 'noise'\n\
         noise = {{ remote_public_key = '{KEY}' }}\n[client.services.a]\ntype = 'web'\n\
         token = 'long enough a token'\nlocal_addr = '127.0.0.1'\nlocal_https_addr = '0.0.0.0:1'\n\
         [client.services.b]\ntoken = 'long enough a token'\nlocal_addr = '0.0.0.0:22'\n"
    );
    let told = |place: &str, instead: &str| {
        let reason = "means every address of this machine, to listen and not to dial";
        format!("warning: {place}: {reason}: give {instead}")
    };
    assert_eq!(
        lines(&write("client.toml", text)),
        [
            told("2: client.remote_addr", "the server's name or address"),
            told("10: client.services.a.local_https_addr", "127.0.0.1"),
            told("13: client.services.b.local_addr", "127.0.0.1"),
        ]
    );
}
