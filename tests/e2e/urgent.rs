//! Urgent data (RFC 6093), as FTP's ABOR and telnet's Synch have it: the urgent byte itself is not
//! for those who do not ask for it, as on a direct connection, but all around it arrives.

use std::io::{Read, Write};
use std::net::TcpStream;

use rustix::process::Signal;
use socket2::SockRef;

use crate::harness::{PATIENCE, Proc, free_port, wait_until};
use crate::home::Home;
use crate::house::{Transport, Vps, client_port, client_service, server_port, server_service};
use crate::visitor::{Seen, client_hello, connect, say};

/// Says bytes, urgent ones and bytes again while `proxy` looks away.
fn say_around_urgent(stream: &mut TcpStream, proxy: &Proc) {
    proxy.signal(Signal::STOP);
    stream.write_all(b"AAAA").unwrap();
    SockRef::from(&*stream).send_out_of_band(b"B").unwrap();
    stream.write_all(b"CCCC").unwrap();
    proxy.signal(Signal::CONT);
}

#[track_caller]
fn hears_all(stream: &mut TcpStream) {
    let mut heard = [0; 8];
    stream.read_exact(&mut heard).expect("what lies behind urgent data");
    assert_eq!(&heard, b"AAAACCCC");
}

#[test]
fn what_lies_behind_urgent_data_goes_through_each_way() {
    for transport in [Transport::Noise, Transport::Tcp] {
        let vps = Vps::with(transport);
        let (port, greeter_port) = (free_port(vps.ip), free_port(vps.ip));
        let (there, connections) = Home::by_hand(vps.ip);
        let greeter = Home::named(vps.ip, "greeter");
        let server = vps.server(
            &(server_port("tcp", port)
                + &server_service("tls", &["pi.example.com"])
                + "passthrough = \"raw\"\n"
                + &server_port("greeter", greeter_port)),
        );
        let services = client_port("tcp", there.address)
            + &client_service("tls", there.address)
            + &client_port("greeter", greeter.address);
        let client = vps.client_ready("client", &services);
        wait_until(PATIENCE, "served", || {
            say(greeter_port, b"?") == Seen::Home("I am greeter".into())
        });
        for hello in [Vec::new(), client_hello(Some("pi.example.com"))] {
            let at = if hello.is_empty() { port } else { vps.https };
            let mut visitor = connect(at).unwrap();
            visitor.write_all(&hello).unwrap();
            let mut home = connections.next();
            home.read_exact(&mut vec![0; hello.len()]).unwrap();
            // Large batches first: what follows them is spliced where it can be.
            for long in [0, 256 * 1024] {
                let batch = vec![7; long];
                visitor.write_all(&batch).unwrap();
                home.read_exact(&mut vec![0; long]).unwrap();
                say_around_urgent(&mut visitor, &server);
                hears_all(&mut home);
                home.write_all(&batch).unwrap();
                visitor.read_exact(&mut vec![0; long]).unwrap();
                say_around_urgent(&mut home, &client);
                hears_all(&mut visitor);
            }
        }
    }
}
