//! Files that change under a running server, by every way in which programs change them; and wrong
//! ones, which change nothing.

use std::fs::{self, File};
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{PATIENCE, Proc, SECRET, free_port, wait_until};
use crate::home::Home;
use crate::house::{Vps, client_service, server_service};
use crate::visitor::{Seen, home, visit};

/// A server with one home, and its file.
struct House {
    server: Proc,
    client: Proc,
    _home: Home,
    vps: Vps,
}

/// Lines in the file that [`House::wrong`] puts others in the place of.
const TOP: &str = "#top";
const IN_SERVER: &str = "#in-server";
const IN_SERVICE: &str = "#in-service";
const AT_END: &str = "#at-end";

impl House {
    fn start() -> House {
        House::start_with(|_| {})
    }

    /// `prepare` has the directory before the server's file is there.
    fn start_with(prepare: impl FnOnce(&mut Vps)) -> House {
        let mut vps = Vps::new();
        vps.dir.write("404.html", "nobody here");
        vps.dir.write(".env", &format!("# of the server\nPI_TOKEN={SECRET}-pi\n"));
        prepare(&mut vps);
        let home = Home::named(vps.ip, "pi");
        let server = vps.server(&House::services("pi.test", &format!("{SECRET}-pi")));
        let services = client_service("pi", home.address) + &vps.ready_service();
        let client = vps.client("client", &services);
        vps.wait_served("pi.test", "pi");
        vps.wait_ready();
        let house = House { server, client, _home: home, vps };
        house.write(&house.good("pi.test"));
        house.server.wait_for_log(&["reloaded: error_pages.404"]);
        house
    }

    fn services(host: &str, token: &str) -> String {
        format!(
            "[server.services.pi]\ntype = \"https\"\ntoken = \"{token}\"\n\
             hosts = [\"{host}\", \"always.test\"]\n"
        )
    }

    /// A file that loads; its service takes this name.
    fn good(&self, host: &str) -> String {
        let services = House::services(host, "${PI_TOKEN}")
            + IN_SERVICE
            + "\n"
            + &server_service("ready", &["ready.test"])
            + AT_END
            + "\n";
        let file = self.vps.server_file(&services);
        let first = format!("[server]\nerror_pages = {{ 404 = \"404.html\" }}\n{IN_SERVER}\n");
        format!("{TOP}\nenv_file = \".env\"\n{}", file.replacen("[server]\n", &first, 1))
    }

    /// A good file but for one line, the first that begins so; it is marked.
    fn wrong(&self, line: &str, put: &str) -> String {
        let file = self.good("wrong.test");
        let number = file.lines().position(|it| it.starts_with(line)).unwrap();
        let mut lines: Vec<&str> = file.lines().collect();
        let put = format!("{put} #!");
        lines[number] = &put;
        lines.join("\n") + "\n"
    }

    fn path(&self) -> PathBuf {
        self.vps.dir.path("server.toml")
    }

    fn write(&self, text: &str) {
        fs::write(self.path(), text).unwrap();
    }

    /// Waits until the running configuration has this name.
    #[track_caller]
    fn serves(&self, host: &str) {
        self.vps.wait_served(host, "pi");
    }

    fn refusals(&self) -> Vec<String> {
        let log = self.server.log();
        log.lines().filter(|line| line.contains("not reloaded")).map(str::to_owned).collect()
    }

    /// Waits for the next refusal after so many.
    #[track_caller]
    fn refuses(&self, before: usize) -> String {
        wait_until(PATIENCE, "the file is refused", || self.refusals().len() > before);
        let refusals = self.refusals();
        assert_eq!(refusals.len(), before + 1, "said once: {:#?}", &refusals[before..]);
        assert_eq!(visit(self.vps.https, "always.test"), home("pi"), "after {}", refusals[before]);
        refusals[before].clone()
    }

    /// Waits for the line of a reload that finds all as it was.
    #[track_caller]
    fn nothing_changes(&self) {
        self.server.wait_for_log(&["reloaded: nothing has changed"]);
    }

    fn count(&self, words: &str) -> usize {
        self.server.log().matches(words).count()
    }

    /// Each of these is refused, with file, line and key; and a good one after them counts.
    #[track_caller]
    fn refuses_each(&self, rows: &[(&str, &str, &str)]) {
        for (line, put, words) in rows {
            let file = self.wrong(line, put);
            let number = 1 + file.lines().position(|line| line.ends_with("#!")).unwrap();
            let before = self.refusals().len();
            self.write(&file);
            let said = self.refuses(before);
            let place = format!("/server.toml:{number}: {words}");
            assert!(said.contains(&place), "{put}\n{said}\nlacks {place}");
        }
        self.write(&self.good("next.test"));
        self.serves("next.test");
        assert_eq!(self.refusals().len(), rows.len());
    }
}

#[test]
fn what_is_no_toml_or_has_unknown_keys_changes_nothing() {
    House::start().refuses_each(&[
        (IN_SERVER, "= 1", ""),
        (IN_SERVER, "[server", ""),
        (IN_SERVER, "watch = ", ""),
        (IN_SERVER, "watch = 'x", ""),
        (IN_SERVER, "watch = true false", ""),
        (IN_SERVER, "watch = tru", ""),
        (IN_SERVER, "watch = 0x", ""),
        (IN_SERVER, "watch true", ""),
        (IN_SERVER, "\"watch = true", ""),
        (IN_SERVER, "watch = 2026-13-01", ""),
        (IN_SERVER, "error_pages = 1", ""),
        (AT_END, "[server]", ""),
        (AT_END, "[server.services.pi]", ""),
        (TOP, "sever = 1", "sever: unknown key"),
        (
            IN_SERVER,
            "bind_adr = '[::1]:1'",
            "server.bind_adr: unknown key; did you mean `bind_addr`",
        ),
        (IN_SERVER, "remote_addr = 'x:1'", "server.remote_addr: this key belongs in the client's"),
        (IN_SERVER, "limits = { max = 1 }", "server.limits.max: unknown key"),
        (IN_SERVER, "access_log = { file = '-' }", "server.access_log.file: unknown key"),
        (IN_SERVICE, "host = 'x'", "server.services.pi.host: unknown key; did you mean `hosts`"),
        (IN_SERVICE, "local_addr = 'x:1'", "server.services.pi.local_addr: this key belongs in"),
        (IN_SERVICE, "rate = { per_minute = 1 }", "server.services.pi.rate.per_minute: unknown"),
        ("local_private_key", "private_key = 'x'", "server.transport.noise.private_key: unknown"),
    ]);
}

#[test]
fn wrong_types_and_values_change_nothing() {
    let house = House::start();
    let taken = TcpListener::bind(free_port(house.vps.ip)).unwrap();
    let tcp_line = format!("bind_addr = '{}'", taken.local_addr().unwrap());
    let udp = UdpSocket::bind(free_port(house.vps.ip)).unwrap();
    let udp_line = format!(
        "[server.services.u]\ntype = 'udp'\ntoken = '{SECRET}-u'\nbind_addr = '{}'",
        udp.local_addr().unwrap()
    );
    let twice = format!(
        "[server.services.two]\ntype = 'https'\ntoken = '{SECRET}-two'\nhosts = 'ready.test'"
    );
    house.refuses_each(&[
        ("bind_addr", "bind_addr = 7", "server.bind_addr: must be a string"),
        ("bind_addr", "bind_addr = 'x:y'", "server.bind_addr: must be a literal address"),
        ("https_addr", "https_addr = true", "server.https_addr: must be a string"),
        ("env_file", "env_file = 1", "env_file: must be a string"),
        (IN_SERVER, "watch = 'yes'", "server.watch: must be true or false"),
        (IN_SERVER, "heartbeat_interval = '1'", "server.heartbeat_interval: must be a whole"),
        (IN_SERVER, "heartbeat_interval = -1", "server.heartbeat_interval: must be a whole"),
        (IN_SERVER, "head_timeout = 1", "server.head_timeout: must be a whole"),
        (IN_SERVER, "max_visitors = 0", "server.max_visitors: must be a whole"),
        (IN_SERVER, "bandwidth = '1 MB'", "server.bandwidth: must be such as"),
        (IN_SERVER, "allow = []", "server.allow: names no network"),
        (IN_SERVER, "deny = '300.0.0.1'", "server.deny: "),
        (IN_SERVER, "no_sni = 'maybe'", "server.no_sni: must be alert or drop"),
        (IN_SERVER, "public_https_port = 70000", "server.public_https_port: must be a whole"),
        (IN_SERVER, "ssh_service = 'none'", "server.ssh_service: there is no service"),
        (IN_SERVER, "access_log = { path = '/none/x.log' }", "server.access_log.path: cannot open"),
        (IN_SERVICE, "bind_addr = '192.0.2.1:80'", "server.services.pi.bind_addr: cannot listen"),
        (IN_SERVICE, &tcp_line, "server.services.pi.bind_addr: cannot listen"),
        (AT_END, &udp_line, "server.services.u.bind_addr: cannot listen"),
        (IN_SERVICE, "rate = { per_second = 0 }", "server.services.pi.rate.per_second: must be"),
        (IN_SERVICE, "alpn = []", "server.services.pi.alpn: names no protocol"),
        (IN_SERVICE, "redirect_https = true", "server.services.pi.redirect_https: needs type"),
        (IN_SERVICE, "passthrough = 'clear'", "server.services.pi.passthrough: must be sealed"),
        (IN_SERVICE, "bind_addr = '0.0.0.0:0-1'", "server.services.pi.bind_addr: port 0"),
        ("type = \"noise\"", "type = 'tls'", "server.transport.type: TLS"),
        ("local_private_key", "local_private_key = 'AA=='", "server.transport.noise.local_private"),
        ("hosts", "hosts = 1", "server.services.pi.hosts: must be a string"),
        ("hosts", "hosts = []", "server.services.pi.hosts: "),
        ("hosts", "hosts = 'a..b'", "server.services.pi.hosts: "),
        ("hosts", "hosts = '/(/'", "server.services.pi.hosts: "),
        (AT_END, &twice, "server.services.two.hosts: the same as server.services.ready.hosts[0]"),
        ("token", "token = 7", "server.services.pi.token: must be a string"),
        ("token", "token = []", "server.services.pi.token: names no token"),
        ("token", "token = ''", "server.services.pi.token: must not be empty"),
        ("token", "token = '${NONE}'", "server.services.pi.token: environment variable NONE"),
        ("token", "token = '${'", "server.services.pi.token: `${` without"),
    ]);
}

/// What is wrong is another file, or the file as a whole.
#[test]
fn files_that_cannot_be_read_change_nothing() {
    let house = House::start();
    let dir = &house.vps.dir;
    let file = house.path();
    let mut before = 0;
    let mut refused = |words: &str| {
        let said = house.refuses(before);
        assert!(said.contains(words), "{said}\nlacks {words}");
        before += 1;
    };
    let pages = |page: &str| {
        let text = house.good("wrong.test");
        text.replacen("\"404.html\"", &format!("\"{page}\""), 1)
    };
    let key = "/server.toml:4: server.error_pages.404: ";
    house.write(&pages("none.html"));
    refused(&format!("{key}cannot read the file: No such file"));
    // It is there at last: that alone counts.
    dir.write("none.html", "here");
    house.serves("wrong.test");
    house.write(&house.good("pi.test"));
    house.serves("pi.test");
    house.write(&pages("page.css"));
    refused(key);
    house.write(&pages("long.html"));
    refused(key);
    dir.write("long.html", &"x".repeat(100_000));
    refused(&format!("{key}the file has more than"));
    fs::write(dir.path("long.html"), b"\xff").unwrap();
    refused(&format!("{key}the file is not UTF-8"));
    fs::remove_file(dir.path("long.html")).unwrap();
    fs::create_dir(dir.path("long.html")).unwrap();
    refused(&format!("{key}cannot read the file: it is no file"));

    // The file of variables.
    house.write(&house.good("pi.test"));
    house.nothing_changes();
    let variables = format!("PI_TOKEN={SECRET}-pi\n");
    dir.write(".env", &format!("{variables}'{SECRET}'"));
    refused("/.env:2: a line is NAME=value");
    dir.write(".env", &format!("{variables}\nOTHER=\"{SECRET}"));
    refused("/.env:3: OTHER: the quote in front is never closed");
    dir.write(".env", "# none\n");
    refused("server.services.pi.token: environment variable PI_TOKEN is not set, nor in env_file");
    fs::write(dir.path(".env"), b"\n\n\xff").unwrap();
    refused("/.env:3: not UTF-8");
    fs::remove_file(dir.path(".env")).unwrap();
    refused("/server.toml:2: env_file: cannot read the file: No such file");
    dir.write(".env", &format!("# again\n{variables}"));
    house.write(&house.good("variables.test"));
    house.serves("variables.test");

    // The file as a whole.
    house.write("");
    refused("/server.toml:1: neither [server] nor [client] is here");
    house.write(&house.vps.client_file(""));
    refused("/server.toml: has no [server]");
    fs::write(&file, b"[server]\n\xff").unwrap();
    refused("/server.toml:2: not UTF-8");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    refused("/server.toml: cannot read it: it is no file");
    fs::remove_dir(&file).unwrap();
    symlink("elsewhere.toml", &file).unwrap();
    house.serves("always.test");
    dir.write("elsewhere.toml", &house.good("linked.test"));
    house.serves("linked.test");
}

#[test]
fn a_file_may_be_changed_in_every_way() {
    let house = House::start();
    let (file, dir) = (house.path(), &house.vps.dir);
    let aside = dir.path("aside");

    // A rename over it.
    fs::write(&aside, house.good("renamed.test")).unwrap();
    fs::rename(&aside, &file).unwrap();
    house.serves("renamed.test");

    // Half of it, then the rest by another writer: refused once, and then the whole counts.
    let text = house.good("whole.test");
    let half = text.find("https_addr = \"").unwrap() + 14;
    house.write(&text[..half]);
    let said = house.refuses(0);
    assert!(said.contains("/server.toml:"), "{said}");
    house.write(&text);
    house.serves("whole.test");

    // One writer that takes its time: what it has not finished is not read.
    let text = house.good("slow.test");
    let mut writer = File::create(&file).unwrap();
    writer.write_all(&text.as_bytes()[..half]).unwrap();
    quiet_passes();
    writer.write_all(&text.as_bytes()[half..]).unwrap();
    drop(writer);
    house.serves("slow.test");

    // An editor's dance: the old one aside, a new one in its place, the old one away.
    let backup = dir.path("server.toml~");
    fs::rename(&file, &backup).unwrap();
    house.write(&house.good("edited.test"));
    fs::remove_file(&backup).unwrap();
    house.serves("edited.test");
    assert_eq!(house.refusals().len(), 1, "{:#?}", house.refusals());

    // It vanishes, and comes back as it was.
    let unchanged = house.count("reloaded: nothing has changed");
    fs::rename(&file, &aside).unwrap();
    let said = house.refuses(1);
    assert!(said.contains("/server.toml: cannot read it: No such file"), "{said}");
    fs::rename(&aside, &file).unwrap();
    let is_back = || house.count("reloaded: nothing has changed") == unchanged + 1;
    wait_until(PATIENCE, "it is back", is_back);

    // The same bytes are no change, however they come; nor is what else is in the folder.
    let reloads = house.count("reloaded: ");
    house.write(&house.good("edited.test"));
    fs::copy(&file, &aside).unwrap();
    fs::rename(&aside, &file).unwrap();
    dir.write("other", "x");
    quiet_passes();
    assert_eq!(house.count("reloaded: "), reloads, "{}", house.server.log());

    // The files that it names.
    dir.write("404.html", "somebody else");
    house.server.wait_for_log(&["reloaded: error_pages.404: another one"]);
    dir.write(".env", &format!("PI_TOKEN={SECRET}-another"));
    house.server.wait_for_log(&["reloaded: service pi: an old token counts no more"]);
    let gone = Seen::Alert(crate::visitor::INTERNAL_ERROR);
    house.vps.wait_seen("edited.test", &gone);
    dir.write(".env", &format!("PI_TOKEN={SECRET}-pi"));
    house.serves("edited.test");
}

#[test]
fn links_may_be_swapped_and_folders_replaced() {
    // As Kubernetes mounts a ConfigMap, and a link of the user's own to that.
    let house = House::start_with(|vps| {
        let mount = vps.dir.path("mount");
        fs::create_dir_all(mount.join("..v1")).unwrap();
        symlink("..v1", mount.join("..data")).unwrap();
        symlink("..data/server.toml", mount.join("server.toml")).unwrap();
        symlink("mount/server.toml", vps.dir.path("server.toml")).unwrap();
    });
    let mount = house.vps.dir.path("mount");
    let version = |name: &str, host: &str| {
        fs::create_dir(mount.join(name)).unwrap();
        fs::write(mount.join(name).join("server.toml"), house.good(host)).unwrap();
        symlink(name, mount.join("..tmp")).unwrap();
        fs::rename(mount.join("..tmp"), mount.join("..data")).unwrap();
    };
    version("..v2", "second.test");
    fs::remove_dir_all(mount.join("..v1")).unwrap();
    house.serves("second.test");
    version("..v3", "third.test");
    fs::remove_dir_all(mount.join("..v2")).unwrap();
    house.serves("third.test");
    // In the new folder.
    fs::write(mount.join("..v3/server.toml"), house.good("within.test")).unwrap();
    house.serves("within.test");

    // The first link leads elsewhere, as `docker config` updates do it.
    let dir = &house.vps.dir;
    fs::create_dir(dir.path("plain")).unwrap();
    dir.write("plain/server.toml", &house.good("plain.test"));
    symlink("plain/server.toml", dir.path("swap")).unwrap();
    fs::rename(dir.path("swap"), house.path()).unwrap();
    house.serves("plain.test");

    // The folder is another one.
    fs::create_dir(dir.path("new")).unwrap();
    dir.write("new/server.toml", &house.good("folder.test"));
    fs::rename(dir.path("plain"), dir.path("old")).unwrap();
    fs::rename(dir.path("new"), dir.path("plain")).unwrap();
    house.serves("folder.test");
    dir.write("plain/server.toml", &house.good("last.test"));
    house.serves("last.test");
    // The old one is nobody's.
    let reloads = house.count("reloaded: ");
    dir.write("old/server.toml", &house.good("old.test"));
    quiet_passes();
    assert_eq!(house.count("reloaded: "), reloads);
}

#[test]
fn at_home_the_file_is_watched_too() {
    let house = House::start();
    let other = Home::named(house.vps.ip, "other");
    let file = |services: String| house.vps.client_file(&(services + &house.vps.ready_service()));
    house.vps.dir.write("client.toml", &file(client_service("pi", other.address)));
    house.vps.wait_served("pi.test", "other");
    house.vps.dir.write("client.toml", &file("[client.services.pi]\nlocal = 1\n".to_owned()));
    house.client.wait_for_log(&["not reloaded", "/client.toml:", "client.services.pi.local"]);
    assert_eq!(visit(house.vps.https, "pi.test"), home("other"));
}

#[test]
fn who_does_not_want_to_be_watched_says_so() {
    let house = House::start();
    let unwatched = |host: &str| house.good(host).replacen(IN_SERVER, "watch = false", 1);
    house.write(&unwatched("off.test"));
    house.serves("off.test");
    house.server.wait_for_log(&["reloaded: watch: false instead of true"]);
    let reloads = house.count("reloaded: ");
    house.write(&house.good("on.test"));
    quiet_passes();
    assert_eq!(house.count("reloaded: "), reloads);
    house.server.signal(Signal::HUP);
    house.serves("on.test");
    house.write(&house.good("again.test"));
    house.serves("again.test");
}

/// A signal does what no watch can.
#[test]
fn where_inotify_has_no_room_it_is_said() {
    let limit = "echo 0 >/proc/sys/user/max_inotify_instances && exec \"$@\"";
    let mut vps = Vps::new();
    vps.wrapper = ["unshare", "-r", "sh", "-c", limit, "sh"].map(str::to_owned).to_vec();
    let home = Home::named(vps.ip, "pi");
    let server = vps.server(&server_service("pi", &["pi.test"]));
    vps.wrapper.clear();
    server.wait_for_log(&["not every change", "fs.inotify.max_user_instances"]);
    let _client = vps.client("client", &client_service("pi", home.address));
    vps.wait_served("pi.test", "pi");
    vps.dir.write("server.toml", &vps.server_file(&server_service("pi", &["other.test"])));
    server.signal(Signal::HUP);
    vps.wait_served("other.test", "pi");
}

/// Three times as long as the watch waits for more: what would have been seen has been.
fn quiet_passes() {
    let start = Instant::now();
    let passed = || start.elapsed() > Duration::from_millis(900);
    wait_until(PATIENCE, "some time", passed);
}
