//! Names, by /etc/hosts and by a real name server.

use std::net::SocketAddr;
use std::process::Command;

use crate::harness::{Proc, own_address};
use crate::home::Home;
use crate::house::{Vps, client_service, server_service};

/// The client finds the server by the name server that /etc/resolv.conf names, one home by it too,
/// and another home by /etc/hosts.
#[test]
fn names_come_from_the_hosts_file_and_from_a_name_server() {
    let mut vps = Vps::new();
    let (served, listed) = (Home::named(vps.ip, "served"), Home::named(vps.ip, "listed"));
    let server_ip = own_address();
    let resolv = vps.dir.write("resolv.conf", &format!("nameserver {server_ip}\n"));
    let hosts = vps.dir.write("hosts", &format!("{} listed.home.test\n", vps.ip));
    let mut dnsmasq = Command::new("dnsmasq");
    dnsmasq.args(["--no-daemon", "--no-resolv", "--no-hosts", "--conf-file=/dev/null"]);
    // What it does not know under `test` does not exist, such as an IPv6 address.
    dnsmasq.args(["--bind-interfaces", "--user=root", "--local=/test/"]);
    dnsmasq.arg(format!("--listen-address={server_ip}"));
    for name in ["vps.test", "served.home.test"] {
        dnsmasq.arg(format!("--host-record={name},{}", vps.ip));
    }
    let name_server = Proc::start("dnsmasq", &vps.dir, &dnsmasq);
    name_server.wait_for_log(&["started"]);

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
