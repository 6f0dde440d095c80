//! Services with several ports of their own: ranges and lists.

use std::net::SocketAddr;

use crate::harness::{PATIENCE, SECRET, free_port, free_ports, wait_until};
use crate::home::Home;
use crate::house::Vps;
use crate::visitor::{Seen, home, say};

/// A table of either file: `key` is `bind_addr` or `local_addr`.
fn service(role: &str, name: &str, key: &str, addresses: &str) -> String {
    format!("[{role}.services.{name}]\ntoken = \"{SECRET}-{name}\"\n{key} = {addresses}\n")
}

fn range(ports: &[SocketAddr]) -> String {
    format!("\"{}-{}\"", ports[0], ports[ports.len() - 1].port())
}

#[track_caller]
fn reaches(port: SocketAddr, seen: &Seen) {
    wait_until(PATIENCE, "the port is served", || say(port, b"?") == *seen);
}

#[test]
fn each_port_of_a_range_or_a_list_reaches_its_own_at_home() {
    let vps = Vps::new();
    let (here, there) = (free_ports::<3>(vps.ip), free_ports::<3>(vps.ip));
    let names = ["first", "second", "third"];
    let _homes = [0, 1, 2].map(|i| Home::named_at(there[i], names[i]));
    // Out of order: it is the place in the list that counts.
    let (alone, pair) = (free_port(vps.ip), free_ports::<2>(vps.ip));
    let list = format!("[{}, \"{alone}\"]", range(&pair));
    let joined = free_ports::<3>(vps.ip);
    let services = service("server", "range", "bind_addr", &range(&here))
        + &service("server", "list", "bind_addr", &list)
        + &service("server", "joined", "bind_addr", &range(&joined));
    let server = vps.server(&services);
    let services = service("client", "range", "local_addr", &range(&there))
        + &service("client", "list", "local_addr", &range(&there))
        + &service("client", "joined", "local_addr", &format!("\"{}\"", there[1]));
    let _client = vps.client_ready("client", &services);
    for (port, name) in here.into_iter().zip(names) {
        reaches(port, &home(name));
    }
    for (port, name) in pair.into_iter().chain([alone]).zip(names) {
        reaches(port, &home(name));
    }
    for port in joined {
        reaches(port, &home("second"));
    }
    let line = format!("listening on {} for service range", range(&here).replace('"', ""));
    server.wait_for_log(&[&line]);
}

#[test]
fn ranges_of_different_lengths_are_said_on_both_sides() {
    let vps = Vps::new();
    let (here, there) = (free_ports::<3>(vps.ip), free_ports::<2>(vps.ip));
    let homes = there.map(|address| Home::named_at(address, "home"));
    let server = vps.server(&service("server", "range", "bind_addr", &range(&here)));
    let services = service("client", "range", "local_addr", &range(&there));
    let client = vps.client_ready("client", &services);
    for process in [&server, &client] {
        process.wait_for_log(&["range", "number"]);
    }
    for port in here {
        assert_eq!(say(port, b"?"), Seen::Reset);
    }
    assert_eq!(homes.map(|home| home.accepted()), [0, 0]);
}
