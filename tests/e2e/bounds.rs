//! What visitors cost: memory while idle or while they do not read, links that are used again,
//! and the bounds that a file may set.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Proc, alone, wait_until};
use crate::home::Home;
use crate::house::{Vps, client_service, returns_to, server_service, settled};
use crate::visitor::{client_hello, connect, connect_from, home, reset, visit};

/// Visitors one after another share the links that are there: no new TCP connection and no new
/// handshake for each, and nothing is left of any.
#[test]
fn visitors_one_after_another_use_the_same_links() {
    let vps = Vps::new();
    let there = Home::named(vps.ip, "pi");
    let server = vps.server(&server_service("pi", &["pi.example.com"]));
    let client = vps.client_ready("client", &client_service("pi", there.address));
    let before = settled(&[&server, &client]);
    let links = || -> BTreeSet<u16> {
        let legs = client.tcp_connections().into_iter();
        legs.filter(|leg| leg.peer == vps.tunnel).map(|leg| leg.local.port()).collect()
    };
    let links_before = links();
    let mut all = links_before.clone();
    for number in 0..500 {
        assert_eq!(visit(vps.https, "pi.example.com"), home("pi"));
        if number % 25 == 0 {
            all.extend(links());
        }
    }
    let new = all.len() - links_before.len();
    assert!(new < 10, "{new} links were dialled for 500 visitors");
    returns_to(&before, &[&server, &client]);
}

/// An idle visitor holds no buffer on either side.
#[test]
fn idle_visitors_cost_little_memory() {
    const VISITORS: u64 = 2_000;
    let _alone = alone();
    let vps = Vps::new();
    let there = Home::echo(vps.ip);
    let server = vps.server(&server_service("pi", &["pi.example.com"]));
    let client = vps.client_ready("client", &client_service("pi", there.address));
    let before = settled(&[&server, &client]);
    let resident = [&server, &client].map(Proc::resident);
    let hello = client_hello(Some("pi.example.com"));
    let visitors: Vec<TcpStream> = (0..VISITORS)
        .map(|number| {
            let source = Ipv4Addr::new(127, 140, (number >> 8) as u8, number as u8);
            let mut visitor = connect_from(source, vps.https).unwrap();
            visitor.write_all(&hello).unwrap();
            let mut echo = vec![0; hello.len()];
            visitor.read_exact(&mut echo).unwrap();
            visitor
        })
        .collect();
    for (process, before) in [(&server, resident[0]), (&client, resident[1])] {
        let each = process.resident().saturating_sub(before) / VISITORS;
        eprintln!("{each} bytes for an idle visitor");
        // Noise state, two sockets' worth of bookkeeping; a buffer would be 16 KB and more.
        assert!(each < 1_500, "{each} bytes for an idle visitor");
    }
    drop(visitors);
    returns_to(&before, &[&server, &client]);
}

/// TCP itself is the flow control: a visitor that does not read, and a home that does not, stop
/// the other end and fill no memory on the way; everybody else goes on.
#[test]
fn those_who_do_not_read_fill_no_memory() {
    const VISITORS: usize = 60;
    let _alone = alone();
    let vps = Vps::new();
    let flood = Home::start(vps.ip, |mut stream| while stream.write_all(&[7; 65536]).is_ok() {});
    // Its connections wait to be taken, and nobody takes them.
    let (deaf, _unread) = Home::by_hand(vps.ip);
    let lively = Home::named(vps.ip, "lively");
    let services = server_service("flood", &["flood.example.com"])
        + &server_service("deaf", &["deaf.example.com"])
        + &server_service("lively", &["lively.example.com"]);
    let server = vps.server(&services);
    let services = client_service("flood", flood.address)
        + &client_service("deaf", deaf.address)
        + &client_service("lively", lively.address);
    let client = vps.client_ready("client", &services);
    let before = settled(&[&server, &client]);
    let resident = [&server, &client].map(Proc::resident);

    let mut visitors = Vec::new();
    for number in 0..VISITORS {
        let host = if number % 2 == 0 { "flood.example.com" } else { "deaf.example.com" };
        let mut visitor = connect(vps.https).unwrap();
        visitor.write_all(&client_hello(Some(host))).unwrap();
        visitor.set_nonblocking(true).unwrap();
        visitors.push(visitor);
    }
    // Into the deaf ones goes what fits; then nothing moves any more.
    let mut still = Instant::now();
    let start = Instant::now();
    while still.elapsed() < Duration::from_secs(2) && start.elapsed() < Duration::from_secs(20) {
        for visitor in visitors.iter_mut().skip(1).step_by(2) {
            if visitor.write(&[9; 65536]).is_ok() {
                still = Instant::now();
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
    for (process, before) in [(&server, resident[0]), (&client, resident[1])] {
        let each = process.resident().saturating_sub(before) / VISITORS as u64;
        eprintln!("{each} bytes for a visitor who does not read");
        assert!(each < 600_000, "{each} bytes for each of {VISITORS}");
    }
    let cpu = || [&server, &client].map(Proc::cpu);
    let cpu_before = cpu();
    let start = Instant::now();
    let mut visits = 0;
    while start.elapsed() < Duration::from_secs(2) {
        assert_eq!(visit(vps.https, "lively.example.com"), home("lively"));
        visits += 1;
        thread::sleep(Duration::from_millis(100));
    }
    assert!(visits > 5, "{visits} visits in {:?}", start.elapsed());
    for (used, before) in cpu().into_iter().zip(cpu_before) {
        assert!(used - before < Duration::from_millis(500), "it spins while nothing moves");
    }
    // By a reset: an end of file would stand behind bytes that nobody reads.
    visitors.into_iter().for_each(reset);
    returns_to(&before, &[&server, &client]);
    let back = [&server, &client].map(Proc::resident);
    for (back, before) in back.into_iter().zip(resident) {
        assert!(back < before + (24 << 20), "resident {before} before, {back} after");
    }
}

/// `[server.limits]`: visitors in all, and of one address; who is over it does not disturb others.
#[test]
fn visitors_are_bounded_in_all_and_for_each_address() {
    let mut vps = Vps::new();
    vps.server_extra = "[server.limits]\nmax_visitors = 30\nmax_visitors_per_address = 10\n".into();
    let there = Home::echo(vps.ip);
    let server = vps.server(&server_service("pi", &["pi.example.com"]));
    let client = vps.client_ready("client", &client_service("pi", there.address));
    let before = settled(&[&server, &client]);
    let hello = client_hello(Some("pi.example.com"));
    let served = |visitor: &mut TcpStream| {
        let patience = Some(Duration::from_millis(500));
        visitor.set_read_timeout(patience).unwrap();
        let written = visitor.write_all(&hello).is_ok();
        let mut echo = vec![0; hello.len()];
        written && visitor.read_exact(&mut echo).is_ok() && echo == hello
    };
    let mut held: Vec<TcpStream> = Vec::new();
    let mut enter = |address: u8, count: usize| {
        let source = Ipv4Addr::new(127, 150, 0, address);
        // Whoever is not let in is reset, as early as in connect.
        let let_in = (0..count).filter_map(|_| {
            let mut visitor = connect_from(source, vps.https).ok()?;
            served(&mut visitor).then_some(visitor)
        });
        held.extend(let_in);
        // Who holds most makes room for who holds less: some may have gone since.
        held.retain_mut(|visitor| {
            visitor.set_nonblocking(true).unwrap();
            let is_here = matches!(
                visitor.read(&mut [0]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock
            );
            visitor.set_nonblocking(false).unwrap();
            is_here
        });
        held.len()
    };
    assert_eq!(enter(1, 12), 10, "of one address");
    assert_eq!(enter(2, 12), 20, "of another address");
    assert_eq!(enter(3, 8), 28, "of a third one");
    server.wait_for_log(&["127.150.0.1", "has used its share up"]);
    assert_eq!(enter(4, 12), 30, "in all");
    server.wait_for_log(&["the house is full", "30 visitors"]);
    drop(held);
    wait_until(Duration::from_secs(5), "there is room again", || {
        let mut visitor = connect(vps.https).unwrap();
        served(&mut visitor)
    });
    returns_to(&before, &[&server, &client]);
}
