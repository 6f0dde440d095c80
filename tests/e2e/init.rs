//! The files of `underpass init`, unchanged: a VPS, homes and a visitor, each in a network
//! namespace of its own, where the ports are the real ones and names come from a hosts file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{PATIENCE, Proc, Scratch, eventually, run, run_ok, wait_until};
use crate::pki::Authority;

const PROGRAM: &str = env!("CARGO_BIN_EXE_underpass");

/// A machine, as far as its network, its `/etc/hosts` and its `/run` are concerned.
struct Machine {
    namespace: String,
    hosts: PathBuf,
    run: PathBuf,
}

impl Machine {
    /// The one with the switch that all others are at; its address is 10.88.0.1.
    fn vps(dir: &Scratch) -> Machine {
        let machine = Machine::new(dir, "vps");
        machine.ip(&["link", "add", "switch", "type", "bridge"]);
        machine.ip(&["address", "add", "10.88.0.1/24", "dev", "switch"]);
        machine.ip(&["link", "set", "switch", "up"]);
        machine
    }

    /// 10.88.0.NUMBER.
    fn at(dir: &Scratch, vps: &Machine, name: &str, number: u8) -> Machine {
        let machine = Machine::new(dir, name);
        let cable = format!("cable{number}");
        let ends = ["link", "add", "cable", "type", "veth", "peer", "name", &cable];
        machine.ip(&[&ends[..], &["netns", &vps.namespace]].concat());
        machine.ip(&["address", "add", &format!("10.88.0.{number}/24"), "dev", "cable"]);
        machine.ip(&["link", "set", "cable", "up"]);
        vps.ip(&["link", "set", &cable, "master", "switch", "up"]);
        machine
    }

    fn new(dir: &Scratch, name: &str) -> Machine {
        let namespace = format!("init-{}-{name}", std::process::id());
        run_ok(Command::new("ip").args(["netns", "add", &namespace]));
        let run = dir.path(&format!("run-{name}"));
        fs::create_dir(&run).unwrap();
        let machine = Machine { namespace, hosts: dir.path("hosts"), run };
        machine.ip(&["link", "set", "lo", "up"]);
        machine
    }

    fn ip(&self, args: &[&str]) {
        run_ok(Command::new("ip").args(["-n", &self.namespace]).args(args));
    }

    /// `ip netns exec` gives it a mount namespace too.
    fn command(&self, program: &str) -> Command {
        let script = "mount --bind \"$1\" /etc/hosts && mount --bind \"$2\" /run && shift 2 && \
                      exec \"$@\"";
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, "sh", "-c", script, "sh"]);
        command.arg(&self.hosts).arg(&self.run).arg(program).env_remove("RUST_LOG");
        command
    }

    fn underpass(&self, dir: &Scratch, name: &str, file: &Path) -> Proc {
        Proc::start(name, dir, self.command(PROGRAM).arg(file))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = run(Command::new("ip").args(["netns", "del", &self.namespace]), b"");
    }
}

/// A home's nginx, at the ports and the address where a client's file expects it.
fn site(dir: &Scratch, machine: &Machine, name: &str) -> Proc {
    let domain = format!("{name}.example.com");
    let certificate = Authority::new(dir, name).site(dir, &[&domain, &format!("*.{domain}")]);
    let prefix = dir.path(&format!("{name}-nginx"));
    fs::create_dir(&prefix).unwrap();
    let conf = format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr warn; events {{ }}\n\
         http {{\n access_log off; client_body_temp_path b; proxy_temp_path p; \
         fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;\n\
         ssl_certificate {}; ssl_certificate_key {};\n\
         server {{ listen 127.0.0.1:80; location / {{ return 200 \"{name} http $host\"; }} }}\n\
         server {{ listen 127.0.0.1:443 ssl; \
         location / {{ return 200 \"{name} https $ssl_server_name\"; }} }}\n}}\n",
        certificate.file.display(),
        certificate.key.display()
    );
    fs::write(prefix.join("nginx.conf"), conf).unwrap();
    let mut nginx = machine.command("/usr/sbin/nginx");
    nginx.args(["-e", "stderr", "-c", "nginx.conf", "-p"]).arg(&prefix);
    Proc::start(&format!("{name}-nginx"), dir, &nginx)
}

/// Tries a file as a person does; the output is what `check` says of it.
fn check(file: &Path) {
    let said = run_ok(Command::new(PROGRAM).arg("check").arg(file).env_remove("RUST_LOG"));
    let warned = said.lines().any(|line| line.starts_with("warning"));
    assert!(said.contains(": ok\n") && !warned, "{said}");
}

/// What `init --add` wants to be put into a file of the server's, after the line that begins so and
/// up to the one that begins otherwise.
fn part<'a>(said: &'a str, from: &str, to: &str) -> &'a str {
    let (_, after) = said.split_once(from).unwrap_or_else(|| panic!("no {from:?}: {said}"));
    let (_, part) = after.split_once('\n').unwrap();
    part.split_once(to).unwrap_or_else(|| panic!("no {to:?}: {said}")).0
}

fn append(file: &Path, text: &str) {
    let all = fs::read_to_string(file).unwrap() + text;
    fs::write(file, all).unwrap();
}

#[test]
fn the_files_of_init_serve_every_home_and_one_more() {
    let dir = Scratch::new();
    let set = dir.path("my set");
    let init =
        |args: &[&str]| run_ok(Command::new(PROGRAM).arg("init").args(args).arg("--dir").arg(&set));
    let said = init(&[
        "vps.example.com",
        "pi=pi.example.com,**.pi.example.com",
        "local=local.example.com",
    ]);
    let server_file = set.join("server.toml");
    let client_file = |name: &str| set.join(name).join("client.toml");
    for file in [server_file.clone(), client_file("pi"), client_file("local")] {
        check(&file);
        let env = file.with_file_name(".env");
        assert_eq!(fs::metadata(&env).unwrap().permissions().mode() & 0o777, 0o600);
        for line in fs::read_to_string(&env).unwrap().lines().filter(|it| !it.starts_with('#')) {
            let (name, value) = line.split_once('=').unwrap();
            assert!(value.len() >= 44 && !said.contains(value), "{name}: {said}");
            let toml = fs::read_to_string(&file).unwrap();
            assert!(toml.contains(&format!("${{{name}}}")) && !toml.contains(value), "{toml}");
        }
    }

    let names = ["vps", "pi", "www.pi", "local", "garage"];
    let hosts = names.map(|name| format!("10.88.0.1 {name}.example.com\n"));
    dir.write("hosts", &format!("127.0.0.1 localhost\n{}", hosts.concat()));
    let vps = Machine::vps(&dir);
    let homes = [("pi", 2), ("local", 3), ("garage", 4)]
        .map(|(name, number)| (name, Machine::at(&dir, &vps, name, number)));
    let visitor = Machine::at(&dir, &vps, "visitor", 9);
    let _sites: Vec<Proc> = homes.iter().map(|(name, machine)| site(&dir, machine, name)).collect();

    let mut server = vps.underpass(&dir, "server", &server_file);
    let mut clients: Vec<Proc> = homes[..2]
        .iter()
        .map(|(name, machine)| machine.underpass(&dir, name, &client_file(name)))
        .collect();
    let visits = |host: &str, home: &str| {
        for scheme in ["http", "https"] {
            let expected = format!("{home} {scheme} {host}");
            let what = format!("{scheme}://{host} is answered by {home}");
            eventually(PATIENCE, &what, || {
                let mut curl = visitor.command("curl");
                curl.args(["-q", "-sS", "--max-time", "5", "--cacert"]);
                curl.arg(dir.path(&format!("{home}-ca.pem")));
                let output = run(curl.arg(format!("{scheme}://{host}/")), b"");
                (output.stdout == expected.as_bytes()).then_some(())
            });
        }
    };
    visits("pi.example.com", "pi");
    visits("www.pi.example.com", "pi");
    visits("local.example.com", "local");
    // As the last of the steps says.
    let status = |machine: &Machine, file: &Path| {
        let output = run(machine.command(PROGRAM).arg("status").arg(file), b"");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    for (machine, file) in [(&vps, &server_file), (&homes[0].1, &client_file("pi"))] {
        let (code, said) = status(machine, file);
        assert_eq!(code, Some(0), "{said}");
    }
    // The page, as `ssh -L` brings it from the socket, and at home.
    for args in [&["--unix-socket", "/run/underpass/admin.sock"][..], &[]] {
        let machine = if args.is_empty() { &homes[0].1 } else { &vps };
        let mut curl = machine.command("curl");
        let page = run_ok(
            curl.args(["-q", "-sS", "--compressed"]).args(args).arg("http://127.0.0.1:9333/"),
        );
        assert!(page.contains("<html"), "{page}");
    }

    let said = init(&["--add", "garage=garage.example.com"]);
    check(&client_file("garage"));
    append(&server_file.with_file_name(".env"), part(&said, "Append to .env", "\nthen to"));
    append(&server_file, part(&said, "then to server.toml", "\nDNS:"));
    check(&server_file);
    let (_, garage) = &homes[2];
    clients.push(garage.underpass(&dir, "garage", &client_file("garage")));
    visits("garage.example.com", "garage");
    visits("pi.example.com", "pi");
    wait_until(PATIENCE, "all three are online", || status(&vps, &server_file).0 == Some(0));
    assert!(status(&vps, &server_file).1.contains("garage"));
    server.stop();
    clients.iter_mut().for_each(Proc::stop);
}
