//! Names, by /etc/hosts and by a real name server.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Proc, Scratch, free_port, own_address};
use crate::home::Home;
use crate::house::{Vps, client_service, server_service};
use crate::udp::{UdpHome, ask, client_udp, quoted, server_udp, visitor};
use crate::visitor::{client_hello, connect, home, visit};

/// A name server for names under `test`, which these options tell it. What it does not know there
/// does not exist, such as an IPv6 address.
pub(crate) fn name_server(dir: &Scratch, ip: Ipv4Addr, names: &[&str]) -> Proc {
    let mut dnsmasq = Command::new("dnsmasq");
    dnsmasq.args(["--no-daemon", "--no-resolv", "--no-hosts", "--conf-file=/dev/null"]);
    dnsmasq.args(["--bind-interfaces", "--user=root", "--local=/test/"]);
    dnsmasq.args(names).arg(format!("--listen-address={ip}"));
    let name_server = Proc::start("dnsmasq", dir, &dnsmasq);
    name_server.wait_for_log(&["started"]);
    name_server
}

/// The client finds the server by the name server that /etc/resolv.conf names, one home by it too,
/// and another home by /etc/hosts.
#[test]
fn names_come_from_the_hosts_file_and_from_a_name_server() {
    let mut vps = Vps::new();
    let (served, listed) = (Home::named(vps.ip, "served"), Home::named(vps.ip, "listed"));
    let server_ip = own_address();
    let resolv = vps.dir.write("resolv.conf", &format!("nameserver {server_ip}\n"));
    let hosts = vps.dir.write("hosts", &format!("{} listed.home.test\n", vps.ip));
    let records = ["vps.test", "served.home.test"];
    let records = records.map(|name| format!("--host-record={name},{}", vps.ip));
    let _name_server = name_server(&vps.dir, server_ip, &records.each_ref().map(String::as_str));

    let names = [("served", "served.home.test"), ("listed", "listed.home.test")];
    let server = names.map(|(name, _)| server_service(name, &[&format!("{name}.example.com")]));
    let _server = vps.server(&server.concat());
    // Files of its own in /etc, in a mount namespace of its own.
    let script = format!(
        "mount --bind {} /etc/resolv.conf && mount --bind {} /etc/hosts && exec \"$@\"",
        resolv.display(),
        hosts.display()
    );
    vps.wrapper = ["unshare", "-m", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec();
    let by_name = |name: &str, at: SocketAddr, service: String| {
        service.replace(&at.to_string(), &format!("{name}:{}", at.port()))
    };
    let services = [
        by_name("served.home.test", served.address, client_service("served", served.address)),
        by_name("listed.home.test", listed.address, client_service("listed", listed.address)),
    ];
    let file = by_name("vps.test", vps.tunnel, vps.client_file(&services.concat()));
    assert!(file.contains("vps.test:") && file.contains("listed.home.test:"), "{file}");
    let _client = vps.underpass("client", "--client", &file);
    vps.wait_served("served.example.com", "served");
    vps.wait_served("listed.example.com", "listed");
}

/// Its own /etc/resolv.conf and /etc/hosts for what `vps` starts next.
fn with_names(vps: &mut Vps, name_server: Ipv4Addr, hosts: &str) {
    let resolv = vps.dir.write("resolv.conf", &format!("nameserver {name_server}\n"));
    let hosts = vps.dir.write("hosts", hosts);
    let script = format!(
        "mount --bind {} /etc/resolv.conf && mount --bind {} /etc/hosts && exec \"$@\"",
        resolv.display(),
        hosts.display()
    );
    vps.wrapper = ["unshare", "-m", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec();
}

/// Each look-up has a thread of its own: neither another home nor the server's own name waits for
/// one that nobody answers.
#[test]
fn a_name_that_nobody_answers_for_holds_up_no_other() {
    let mut vps = Vps::new();
    let name_server = own_address();
    // It takes all questions, and is silent.
    let _silent = UdpSocket::bind((name_server, 53)).unwrap();
    let listed = Home::named(vps.ip, "listed");
    let services = ["dead", "listed"].map(|name| server_service(name, &[&format!("{name}.test")]));
    let mut server = vps.server(&services.concat());
    let hosts = format!("{} listed.home.test vps.test\n", vps.ip);
    let server_wrapper = vps.wrapper.clone();
    with_names(&mut vps, name_server, &hosts);
    let service = |name: &str| {
        let service = client_service(name, listed.address);
        service.replace(&vps.ip.to_string(), &format!("{name}.home.test"))
    };
    let file = vps.client_file(&(service("dead") + &service("listed")));
    let file = file.replace(&vps.tunnel.to_string(), &format!("vps.test:{}", vps.tunnel.port()));
    let client = vps.underpass("client", "--client", &file);
    vps.wait_served("listed.test", "listed");
    // Two of them for one name: the look-up is one.
    let waiting = [0, 1].map(|_| {
        let mut stream = connect(vps.https).unwrap();
        stream.write_all(&client_hello(Some("dead.test"))).unwrap();
        stream
    });
    // What was found a moment ago is fresh for 5 s, and shows nothing.
    thread::sleep(Duration::from_secs(6));
    let mut stream = connect(vps.https).unwrap();
    stream.write_all(&client_hello(Some("dead.test"))).unwrap();
    let begun = Instant::now();
    assert_eq!(visit(vps.https, "listed.test"), home("listed"));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    server.kill();
    vps.wrapper = server_wrapper;
    let _server = vps.server(&services.concat());
    let begun = Instant::now();
    vps.wait_served("listed.test", "listed");
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    drop((waiting, stream, client));
}

/// What a name server said an hour ago is better than nothing; while it is there, its word counts.
#[test]
fn the_last_answer_is_used_while_the_name_server_is_silent() {
    let mut vps = Vps::new();
    let name_server_ip = own_address();
    let (old, new) = (Home::named(vps.ip, "old"), own_address());
    let port = old.address.port();
    let new = Home::named_at(SocketAddr::from((new, port)), "new");
    let hosts = vps.dir.write("names", &format!("{} moves.test\n", vps.ip));
    let names = format!("--addn-hosts={}", hosts.display());
    let name_server = name_server(&vps.dir, name_server_ip, &[&names]);
    let _server = vps.server(&server_service("moves", &["moves.example.com"]));
    with_names(&mut vps, name_server_ip, "127.0.0.1 localhost\n");
    let service = client_service("moves", old.address).replace(&vps.ip.to_string(), "moves.test");
    let _client = vps.client("client", &service);
    vps.wait_served("moves.example.com", "old");
    name_server.signal(Signal::STOP);
    // Longer than an answer is fresh.
    thread::sleep(Duration::from_secs(6));
    for _ in 0..3 {
        let begun = Instant::now();
        assert_eq!(visit(vps.https, "moves.example.com"), home("old"));
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
    vps.dir.write("names", &format!("{} moves.test\n", new.address.ip()));
    name_server.signal(Signal::CONT);
    name_server.signal(Signal::HUP);
    thread::sleep(Duration::from_secs(6));
    vps.wait_served("moves.example.com", "new");
    assert_eq!(visit(vps.https, "moves.example.com"), home("new"), "the name's word counts");
}

/// A home of UDP that moves while one visitor goes on sending, as WireGuard does, is found again.
#[test]
fn a_udp_home_that_moves_is_found_by_who_goes_on_sending() {
    let mut vps = Vps::new();
    let name_server_ip = own_address();
    let [old_ip, new_ip] = [own_address(), own_address()];
    let old = UdpHome::start(SocketAddr::from((old_ip, 0)), |_, asked| [b"old ", asked].concat());
    let there = SocketAddr::from((new_ip, old.address.port()));
    let hosts = vps.dir.write("names", &format!("{old_ip} moves.test\n"));
    let names = format!("--addn-hosts={}", hosts.display());
    let name_server = name_server(&vps.dir, name_server_ip, &[&names]);
    let port = free_port(vps.ip);
    let _server = vps.server(&server_udp("game", &quoted(port), ""));
    with_names(&mut vps, name_server_ip, "127.0.0.1 localhost\n");
    let at_home = format!("moves.test:{}", old.address.port());
    let _client = vps.client_ready("client", &client_udp("game", &at_home));
    let player = visitor(port);
    ask(&player, b"hello", |answer| answer == b"old hello");
    // Its container is another one now: the old address is nobody's, and says nothing.
    drop(old);
    let _nobody = UdpSocket::bind((old_ip, there.port())).unwrap();
    let _new = UdpHome::start(there, |_, asked| [b"new ", asked].concat());
    vps.dir.write("names", &format!("{new_ip} moves.test\n"));
    name_server.signal(Signal::HUP);
    let begun = Instant::now();
    ask(&player, b"hello", |answer| answer == b"new hello");
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
}
