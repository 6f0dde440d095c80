//! Homes, clients and servers that stop and come back. After each: no descriptor left over.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{PATIENCE, free_port, wait_until};
use crate::home::{Home, read_head};
use crate::house::{Pair, Vps, client_service, returns_to, server_service, settled};
use crate::visitor::{INTERNAL_ERROR, Seen, TlsStream, client_hello, connect, look, visit};

#[test]
fn a_home_that_stops_and_comes_back() {
    let mut pair = Pair::start();
    let before = settled(&pair.processes());

    // nginx stops: the client stays, its visitors are told at once, the other home's never know.
    pair.pi.stop();
    for _ in 0..10 {
        let start = Instant::now();
        let answer = pair.whoami("pi.example.com", "pi");
        assert!(answer.exit != 0 && answer.status == 0, "{answer:?}");
        assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
    }
    assert_eq!(pair.whoami("local.example.com", "local").exit, 0);
    returns_to(&before, &pair.processes());

    pair.pi.start_again(&pair.vps.dir);
    let answer = pair.whoami("pi.example.com", "pi");
    assert_eq!(answer.body, "pi pi.example.com HTTP/1.1\n", "{answer:?}");
    returns_to(&before, &pair.processes());
}

#[test]
fn a_client_that_stops_and_comes_back() {
    let mut pair = Pair::start();
    let before = settled(&pair.processes());
    for orderly in [true, false] {
        // A live visitor when it happens: its connection ends.
        let mut visitor = TlsStream::open(pair.vps.https, "pi.example.com", &pair.pi.authority.own);
        visitor.write.write_all(b"GET /whoami HTTP/1.1\r\nHost: pi.example.com\r\n\r\n").unwrap();
        read_head(&mut visitor.read).unwrap();
        match orderly {
            true => pair.pi_client.stop(),
            false => pair.pi_client.kill(),
        }
        visitor.read.read_to_end(&mut Vec::new()).unwrap();
        pair.vps.wait_seen("pi.example.com", &Seen::Alert(INTERNAL_ERROR));
        assert_eq!(pair.whoami("local.example.com", "local").exit, 0);
        returns_to(&before[..1], &[&pair.server]);

        pair.pi_client = pair.vps.client("pi-client", &Pair::pi_services(&pair.pi));
        pair.wait_served("pi");
        returns_to(&before, &pair.processes());
    }
}

#[test]
fn a_server_that_stops_and_comes_back() {
    let mut pair = Pair::start();
    let before = settled(&pair.processes());
    for orderly in [true, false] {
        match orderly {
            true => pair.server.stop(),
            false => pair.server.kill(),
        }
        let links_gone = || pair.pi_client.descriptors() < before[1];
        wait_until(PATIENCE, "the client lets its links go", links_gone);
        pair.server = pair.vps.server(&Pair::server_services());
        let back = Instant::now();
        pair.wait_all_served();
        assert!(back.elapsed() < Duration::from_secs(10), "back after {:?}", back.elapsed());
        returns_to(&before, &pair.processes());
    }
}

/// A client may be there before its server, and a home may come after its client.
#[test]
fn the_order_of_starting_does_not_matter() {
    let vps = Vps::new();
    let address = free_port(vps.ip);
    let services = client_service("pi", address) + &vps.ready_service();
    let client = vps.client("client", &services);
    client.wait_for_log(&["refused"]);
    let _server = vps.server(&server_service("pi", &["pi.example.com"]));
    vps.wait_ready();
    assert!(!matches!(visit(vps.https, "pi.example.com"), Seen::Home(_)));
    let _home = Home::named_at(address, "pi");
    vps.wait_served("pi.example.com", "pi");
}

/// SIGTERM and SIGINT: exit code 0, promptly, with visitors in mid-stream; they see an end.
#[test]
fn a_signal_stops_either_role_in_order_with_live_visitors() {
    for signal in [Signal::TERM, Signal::INT] {
        for role in ["server", "client"] {
            let [server_extra, client_extra] = ["drain_time = 1\n"; 2].map(str::to_owned);
            let vps = Vps { server_extra, client_extra, ..Vps::new() };
            let home = Home::echo(vps.ip);
            let mut server = vps.server(&server_service("pi", &["pi.example.com"]));
            let mut client = vps.client_ready("client", &client_service("pi", home.address));
            let mut visitors: Vec<_> = (0..20)
                .map(|_| {
                    let hello = client_hello(Some("pi.example.com"));
                    let mut visitor = connect(vps.https).unwrap();
                    visitor.write_all(&hello).unwrap();
                    let mut echo = vec![0; hello.len()];
                    visitor.read_exact(&mut echo).unwrap();
                    visitor
                })
                .collect();
            let stopped = if role == "server" { &mut server } else { &mut client };
            stopped.signal(signal);
            let status = stopped.wait_exit(Duration::from_secs(5));
            assert_eq!(status.code(), Some(0), "{role} after {signal:?}: {status}");
            for visitor in &mut visitors {
                let seen = look(visitor);
                assert!(matches!(seen, Seen::Closed | Seen::Reset), "{role}: {seen:?}");
            }
            if role == "client" {
                // The server has heard the goodbye.
                assert_eq!(visit(vps.https, "pi.example.com"), Seen::Alert(INTERNAL_ERROR));
                server.assert_running();
            }
        }
    }
}
