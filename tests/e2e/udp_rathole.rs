//! UDP services over rathole's protocol: rathole 0.5.0 and underpass at either end.
//!
//! rathole reads datagrams into 2,048 bytes, the server those of visitors, the client those of the
//! home, and cuts longer ones. So longer ones are sent here only where underpass reads them.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::harness::{PATIENCE, Proc, free_port, free_ports, wait_until};
use crate::house::{Transport, Vps};
use crate::rathole;
use crate::udp::{
    LENGTHS, LONGEST, UdpHome, ask, ask_lengths, client_udp, datagram, port_at_home, quoted,
    server_udp, turned, visitor,
};

/// What rathole carries at most of what it reads from a UDP socket.
const RATHOLE_LONGEST: usize = 2048;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Rathole,
    Underpass,
}

use Program::{Rathole, Underpass};

impl Program {
    /// Both read rathole's file.
    fn server(self, vps: &Vps, services: &str) -> Proc {
        let transport = match vps.transport {
            Transport::Tcp => "type = \"tcp\"\n".to_owned(),
            _ => format!(
                "type = \"noise\"\n[server.transport.noise]\nlocal_private_key = \"{}\"\n",
                vps.server_keys.private
            ),
        };
        let at = vps.tunnel;
        let file = format!("[server]\nbind_addr = \"{at}\"\n[server.transport]\n{transport}");
        let file = file + services;
        match self {
            Rathole => rathole::start(vps, "rathole-server", &file),
            Underpass => vps.underpass("server", "--server", &file),
        }
    }

    fn client(self, vps: &mut Vps, services: &str) -> Proc {
        vps.client_extra = match self {
            Rathole => String::new(),
            Underpass => "protocol = \"rathole\"\n".to_owned(),
        };
        match self {
            Rathole => rathole::client(vps, "rathole-client", services),
            Underpass => vps.client("client", services),
        }
    }
}

/// Answers what is too long for rathole's answer with a digest, and `long` with something long.
fn home(vps: &Vps) -> UdpHome {
    UdpHome::start((vps.ip, 0).into(), |_, asked| match asked {
        b"long" => datagram(99, LONGEST),
        _ if asked.len() > RATHOLE_LONGEST => Sha256::digest(asked).to_vec(),
        _ => turned(asked),
    })
}

fn long_question(to: SocketAddr) {
    let question = datagram(98, LONGEST);
    let digest = Sha256::digest(&question).to_vec();
    ask(&visitor(to), &question, |answer| answer == digest);
}

fn long_answer(to: SocketAddr) {
    ask(&visitor(to), b"long", |answer| answer == datagram(99, LONGEST));
}

fn pair(server: Program, client: Program) {
    for transport in [Transport::Tcp, Transport::Noise] {
        let mut vps = Vps::with(transport);
        let (port, all) = (free_port(vps.ip), free_port(vps.ip));
        let (there, whole) = (home(&vps), UdpHome::turning((vps.ip, 0).into()));
        let mut at_vps = server.server(&vps, &server_services(port, all));
        let services = client_udp("dns", &there.address.to_string())
            + &client_udp("all", &whole.address.to_string());
        let mut at_home = client.client(&mut vps, &services);
        ask_lengths(port, &[1, 2, 100, 1472, RATHOLE_LONGEST], 1);
        if server == Underpass {
            long_question(port);
        }
        if client == Underpass {
            long_answer(port);
        }
        if (server, client) == (Underpass, Underpass) {
            ask_lengths(all, &LENGTHS, 2 << 20);
        }
        thread::scope(|scope| {
            for number in 3..43 {
                let to = if number % 2 == 0 { port } else { all };
                scope.spawn(move || ask_lengths(to, &[20, 40, 900, 60], number << 20));
            }
        });
        at_home.kill();
        at_home = client.client(&mut vps, &services);
        ask_lengths(port, &[300], 50 << 20);
        at_vps.kill();
        at_vps = server.server(&vps, &server_services(port, all));
        ask_lengths(port, &[300], 51 << 20);
        at_vps.assert_running();
        at_home.assert_running();
    }
}

fn server_services(port: SocketAddr, all: SocketAddr) -> String {
    server_udp("dns", &quoted(port), "") + &server_udp("all", &quoted(all), "")
}

#[test]
fn rathole_s_client_with_our_server() {
    pair(Underpass, Rathole);
}

#[test]
fn our_client_with_rathole_s_server() {
    pair(Rathole, Underpass);
}

#[test]
fn our_client_with_our_server() {
    pair(Underpass, Underpass);
}

/// What the others are measured with.
#[test]
fn rathole_s_client_with_rathole_s_server() {
    pair(Rathole, Rathole);
}

/// A session that is idle ends at our server, and its channel with the last one; the next datagram
/// gets another channel of rathole's client, and with it another port at home.
#[test]
fn an_idle_session_of_rathole_s_client_gives_its_channel_up() {
    let mut vps = Vps::new();
    let port = free_port(vps.ip);
    let there = UdpHome::naming((vps.ip, 0).into());
    let _server = Underpass.server(&vps, &server_udp("dns", &quoted(port), "udp_idle_time = 1"));
    let _client = Rathole.client(&mut vps, &client_udp("dns", &there.address.to_string()));
    let socket = visitor(port);
    for round in 0..4 {
        let first = port_at_home(&socket, format!("{round}: first").as_bytes());
        wait_until(PATIENCE, "a session that was idle begins anew", || {
            thread::sleep(Duration::from_millis(1500));
            port_at_home(&socket, format!("{round}: again").as_bytes()) != first
        });
    }
}

/// As a STUN client does: one visitor asks at two ports of a service, and each one answers.
#[test]
fn a_visitor_of_two_ports_is_answered_by_each() {
    let mut vps = Vps::new();
    let doors = free_ports::<2>(vps.ip);
    let there = UdpHome::turning((vps.ip, 0).into());
    let bind = format!("[\"{}\", \"{}\"]", doors[0], doors[1]);
    let _server = Underpass.server(&vps, &server_udp("dns", &bind, ""));
    let _client = Underpass.client(&mut vps, &client_udp("dns", &there.address.to_string()));
    let socket = visitor(doors[0]);
    for (round, door) in [doors[0], doors[1], doors[0]].into_iter().enumerate() {
        socket.connect(door).unwrap();
        let question = datagram(round, 100);
        ask(&socket, &question, |answer| answer == turned(&question));
    }
}
