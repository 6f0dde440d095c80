//! Floods of datagrams from nowhere.

use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use super::hostile;
use crate::harness::free_port;
use crate::house::Vps;
use crate::udp::{UdpHome, client_udp, port_at_home, quoted, server_udp, visitor};

/// More visitors than a service has sessions, each with one datagram that gets no answer: they make
/// room for each other, and whoever is answered keeps the session that it has.
#[test]
fn sessions_without_an_answer_make_room_first() {
    const FLOOD: usize = 2_000;
    let vps = Vps::new();
    let port = free_port(vps.ip);
    // To answer a datagram of the flood would be to take part in it.
    let there = UdpHome::start((vps.ip, 0).into(), |from, asked| match asked {
        b"flood" => Vec::new(),
        _ => [&from.port().to_be_bytes(), asked].concat(),
    });
    let _server = vps.server(&server_udp("dns", &quoted(port), "udp_max_sessions = 64"));
    let service = client_udp("dns", &there.address.to_string());
    let _client = vps.client_ready("client", &service);
    let honest: Vec<UdpSocket> = (0..8).map(|_| visitor(port)).collect();
    let ports = |round: usize| -> Vec<u16> {
        let ask = |(number, socket)| port_at_home(socket, format!("{round}: {number}").as_bytes());
        honest.iter().enumerate().map(ask).collect()
    };
    let before = ports(0);
    for round in 1..4 {
        for number in 0..FLOOD {
            // Sockets of the flood are closed again at once: each comes from a port of its own.
            let socket = UdpSocket::bind((hostile(number, 50), 0)).unwrap();
            socket.send_to(b"flood", port).unwrap();
            if number % 50 == 0 {
                thread::sleep(Duration::from_millis(2));
            }
        }
        assert_eq!(ports(round), before, "sessions in use have begun anew after flood {round}");
    }
}
