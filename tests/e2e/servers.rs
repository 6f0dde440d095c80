//! Several servers for one home: behind a load balancer, behind a name, in a file that changes.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{PATIENCE, Proc, alone, eventually, free_port, own_address, wait_until};
use crate::home::Home;
use crate::house::{Vps, client_service, server_service};
use crate::reload::{Talk, reload};
use crate::resolver::name_server;
use crate::visitor::{INTERNAL_ERROR, Seen, connect, home, visit};

/// The file that the documentation gives away.
const HAPROXY: &str = include_str!("../../config/haproxy/haproxy.cfg");
/// Where HAProxy dials from.
const BALANCER: Ipv4Addr = Ipv4Addr::new(127, 99, 0, 15);
/// As its file says.
const CHECK: Duration = Duration::from_secs(1);
const NAME: &str = "a.test";

/// A client's table for a server, under this name.
fn table(name: &str, vps: &Vps) -> String {
    format!(
        "[client.servers.{name}]\nremote_addr = \"{}\"\n[client.servers.{name}.transport]\n\
         type = \"noise\"\n[client.servers.{name}.transport.noise]\nremote_public_key = \"{}\"\n",
        vps.tunnel, vps.server_keys.public
    )
}

/// A client with these servers, each with a key of its own.
fn client_file(servers: &[(&str, &Vps)], services: &str) -> String {
    let tables: Vec<String> = servers.iter().map(|(name, vps)| table(name, vps)).collect();
    format!("[client]\n{}{services}", tables.concat())
}

fn server(vps: &Vps) -> Proc {
    let file = vps.server_file(&server_service("a", &[NAME]));
    let server = vps.underpass("server", "--server", &file);
    wait_until(PATIENCE, "it listens", || connect(vps.https).is_ok());
    server
}

fn wait_here(vps: &Vps) {
    wait_until(PATIENCE, "the home is there", || visit(vps.https, NAME) == home("a"));
}

/// A visit through HAProxy: when it began, and whether the home answered.
struct Visit {
    begun: Instant,
    ended: Instant,
    seen: Seen,
}

#[test]
fn a_server_behind_haproxy_dies_twenty_times_and_nobody_else_notices() {
    const DEATHS: usize = 20;
    let _alone = alone();
    let (mut one, mut two) = (Vps::new(), Vps::new());
    let doors = [&one, &two].map(|vps| free_port(vps.ip));
    for (vps, door) in [&mut one, &mut two].into_iter().zip(doors) {
        vps.server_extra =
            format!("trusted_proxies = [\"{BALANCER}\"]\nadmin.bind_addr = \"{door}\"\n");
    }
    let mut first = server(&one);
    let _second = server(&two);
    let there = Home::named(one.ip, "a");
    let file = client_file(&[("one", &one), ("two", &two)], &client_service("a", there.address));
    let client = one.underpass("client", "--client", &file);
    wait_here(&one);
    wait_here(&two);

    let entry = free_port(own_address());
    let config = HAPROXY
        .replace("bind :443", &format!("bind {entry}"))
        .replace("bind :80", &format!("bind {}", free_port(own_address())))
        .replace("192.0.2.1:443 check", &format!("{} check port {}", one.https, doors[0].port()))
        .replace("192.0.2.2:443 check", &format!("{} check port {}", two.https, doors[1].port()))
        .replace("192.0.2.1:80 check", &format!("{} check port {}", one.https, doors[0].port()))
        .replace("192.0.2.2:80 check", &format!("{} check port {}", two.https, doors[1].port()))
        .replace("send-proxy-v2", &format!("send-proxy-v2 source {BALANCER}"));
    let config = one.dir.write("haproxy.cfg", &config);
    let mut command = Command::new("haproxy");
    command.args(["-db", "-f"]).arg(config);
    let _haproxy = Proc::start("haproxy", &one.dir, &command);
    wait_until(PATIENCE, "HAProxy has both", || visit(entry, NAME) == home("a"));

    let (stop, visits) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let (mut kills, mut on_other) = (Vec::new(), Vec::new());
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    let begun = Instant::now();
                    let seen = visit(entry, NAME);
                    let visit = Visit { begun, ended: Instant::now(), seen };
                    visits.lock().unwrap().push(visit);
                    thread::sleep(Duration::from_millis(20));
                }
            });
        }
        // Who is on the other server, without HAProxy, all the while.
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                assert_eq!(visit(two.https, NAME), home("a"), "on the server that lives");
                on_other.push(());
                thread::sleep(Duration::from_millis(20));
            }
        });
        for _ in 0..DEATHS {
            let killed = Instant::now();
            first.kill();
            first = server(&one);
            kills.push((killed, Instant::now()));
            // Dialled again by itself, and then taken by HAProxy.
            wait_here(&one);
            thread::sleep(CHECK);
        }
        stop.store(true, Ordering::SeqCst);
    });
    let visits = visits.into_inner().unwrap();
    let failed: Vec<&Visit> = visits.iter().filter(|visit| visit.seen != home("a")).collect();
    // Whoever was on it when it died, or came to it before the next check: while it is dead, nobody
    // is sent there, and once it listens, it says that it has no home yet.
    for visit in &failed {
        let is_hit = |(killed, listens): &(Instant, Instant)| {
            visit.ended >= *killed && visit.begun <= *listens + CHECK
        };
        let before = kills.iter().rev().find(|(killed, _)| visit.ended >= *killed);
        let told = before.map(|(killed, listens)| {
            let since = |at: &Instant| visit.begun.saturating_duration_since(*at);
            (since(killed), since(listens), visit.ended - visit.begun)
        });
        assert!(kills.iter().any(is_hit), "{:?} after a death and a start: {told:?}", visit.seen);
    }
    let (all, failed) = (visits.len(), failed.len());
    eprintln!("{failed} of {all} visits failed over {DEATHS} deaths; {} beside", on_other.len());
    assert!(all > 1000 && failed < all / 2, "{failed} of {all}");
    let log = client.log();
    assert_eq!(log.matches("connected to server").count(), DEATHS + 2, "{log}");
}

/// The name's addresses by a real name server: one that comes later is found within 30 s, and one
/// that has gone keeps its visitors until its session ends.
#[test]
fn each_address_of_a_name_is_a_server() {
    let mut all = [Vps::new(), Vps::new(), Vps::new()];
    let keys = all[0].server_keys.private.clone();
    let (public, port) = (all[0].server_keys.public.clone(), all[0].tunnel.port());
    for vps in &mut all {
        // Servers with one file.
        vps.server_keys.private.clone_from(&keys);
        vps.tunnel.set_port(port);
    }
    let mut servers = all.each_ref().map(server);
    let dir = &all[0].dir;
    let named = |which: &[usize]| -> String {
        which.iter().map(|server| format!("{} all.test\n", all[*server].ip)).collect()
    };
    let hosts = dir.write("hosts", &named(&[0, 1]));
    let name_server_ip = own_address();
    let resolv = dir.write("resolv.conf", &format!("nameserver {name_server_ip}\n"));
    let names = format!("--addn-hosts={}", hosts.display());
    let name_server = name_server(dir, name_server_ip, &[&names]);

    let there = Home::named(all[0].ip, "a");
    let script = format!("mount --bind {} /etc/resolv.conf && exec \"$@\"", resolv.display());
    let mut at_home = Vps::new();
    at_home.wrapper = ["unshare", "-m", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec();
    let file = format!(
        "[client]\nremote_addr = \"all.test:{port}\"\nresolve = \"all\"\n\
         transport.type = \"noise\"\ntransport.noise.remote_public_key = \"{public}\"\n{}",
        client_service("a", there.address)
    );
    let client = at_home.underpass("client", "--client", &file);
    wait_here(&all[0]);
    wait_here(&all[1]);
    assert_eq!(visit(all[2].https, NAME), Seen::Alert(INTERNAL_ERROR), "it has no such address");

    dir.write("hosts", &named(&[1, 2]));
    name_server.signal(Signal::HUP);
    let begun = Instant::now();
    let found = Duration::from_secs(30);
    wait_until(found, "the third one is found", || visit(all[2].https, NAME) == home("a"));
    eprintln!("found after {:?}", begun.elapsed());
    // The first one is none of the name's by now.
    assert_eq!(visit(all[0].https, NAME), home("a"), "its session stands");
    servers[0].kill();
    servers[0] = server(&all[0]);
    client.wait_for_log(&["let go", &all[0].tunnel.to_string()]);
    let end = Instant::now() + Duration::from_secs(7);
    while Instant::now() < end {
        assert_eq!(visit(all[0].https, NAME), Seen::Alert(INTERNAL_ERROR), "dialled again");
        thread::sleep(Duration::from_millis(200));
    }
    for vps in &all[1..] {
        assert_eq!(visit(vps.https, NAME), home("a"));
    }
}

#[test]
fn servers_come_and_go_with_the_file_and_status_shows_each() {
    let (one, two) = (Vps::new(), Vps::new());
    let _servers = [server(&one), server(&two)];
    let echo = Home::echo(one.ip);
    let socket = one.dir.path("admin.sock");
    let services = client_service("a", echo.address)
        + &format!("[client.admin]\nbind_addr = \"unix:{}\"\n", socket.display());
    let file = |servers: &[(&str, &Vps)]| client_file(servers, &services);
    let client = one.underpass("client", "--client", &file(&[("one", &one)]));
    let serves = |vps: &Vps| {
        wait_until(PATIENCE, "served", || visit(vps.https, NAME) != Seen::Alert(INTERNAL_ERROR));
    };
    serves(&one);
    let mut on_one = Talk::by_name(one.https, NAME);
    reload(&one, &client, "client", &file(&[("one", &one), ("two", &two)]));
    serves(&two);
    let mut on_two = Talk::by_name(two.https, NAME);
    on_one.goes_on();
    assert_eq!(client.log().matches("connected to server").count(), 2, "the first one stayed");

    let status = || -> serde_json::Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_underpass"));
        command.arg("status").arg("--json").arg(one.dir.path("client.toml"));
        let output = command.output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let states = || -> Vec<(String, String)> {
        let status = status();
        let servers = status["servers"].as_array().unwrap().clone();
        let word = |server: &serde_json::Value, key: &str| server[key].as_str().unwrap().to_owned();
        servers.iter().map(|server| (word(server, "address"), word(server, "state"))).collect()
    };
    let connected = |vps: &Vps| (vps.tunnel.to_string(), "connected".to_owned());
    assert_eq!(states(), [connected(&one), connected(&two)]);
    let registered = status()["services"][0]["registrations"].as_array().unwrap().len();
    assert_eq!(registered, 2);

    // The first one leaves the file: its visitors have their time, and new ones go elsewhere.
    reload(&one, &client, "client", &file(&[("two", &two)]));
    wait_until(PATIENCE, "it is let go", || visit(one.https, NAME) == Seen::Alert(INTERNAL_ERROR));
    on_one.goes_on();
    on_two.goes_on();
    assert!(states().contains(&(one.tunnel.to_string(), "leaving".to_owned())));
    drop(on_one);
    wait_until(PATIENCE, "it is gone", || states() == [connected(&two)]);
    // A server that nobody is at: the other one does not wait for it.
    let nowhere = Vps::new();
    reload(&one, &client, "client", &file(&[("nowhere", &nowhere), ("two", &two)]));
    eventually(PATIENCE, "it is said", || {
        states().contains(&(nowhere.tunnel.to_string(), "waiting".to_owned())).then_some(())
    });
    on_two.goes_on();
    assert_eq!(client.log().matches("connected to server").count(), 2);
}

/// `haproxy -c` knows the file, and the page shows it.
#[test]
fn the_file_for_haproxy_is_one() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config/haproxy/haproxy.cfg");
    let output = Command::new("haproxy").args(["-c", "-f", file]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !said.contains("WARNING"), "{said}");
}
