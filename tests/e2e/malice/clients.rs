//! Hostile clients with a valid token: sessions and links are bounded for the server as a whole,
//! and one client does not take what others need.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use underpass::wire::message::{Message, kind};

use super::native::{HTTPS, Native, Session};
use super::{Doors, assert_no_descriptor_missed, honest, hostile, visits};
use crate::harness::{PATIENCE, alone};
use crate::home::Home;
use crate::house::{Transport, Vps, client_service, server_service};
use crate::visitor::{client_hello, connect_from};

fn evil() -> String {
    server_service("evil", &["evil.example.com"])
}

/// A home that comes now is let in, and its visitors are served; no descriptor was missing.
#[track_caller]
fn assert_others_live(doors: &Doors) {
    let mut seen = visits(&doors.asks(), 100, 20, Duration::from_secs(5));
    eprintln!("honest ones: {seen}");
    seen.assert_all_served();
    // Many at once, for whom links must be dialled.
    let hello = client_hello(Some("pi.example.com"));
    let come = |number| {
        let mut stream =
            connect_from(honest(number), doors.vps.https).map_err(|e| e.to_string())?;
        stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
        stream.write_all(&hello).map_err(|e| e.to_string())?;
        Ok::<_, String>(stream)
    };
    let all: Vec<_> = (0..260).map(come).collect();
    let all: Vec<_> = all
        .into_iter()
        .map(|stream| {
            let mut stream = stream?;
            stream.read_exact(&mut vec![0; hello.len()]).map_err(|e| e.to_string())?;
            Ok::<_, String>(stream)
        })
        .collect();
    seen.failures.extend(all.iter().filter_map(|one| one.as_ref().err().cloned()));
    eprintln!("260 at once: {} failed", seen.failures.len());
    seen.assert_all_served();
    drop(all);
    let there = Home::named(doors.vps.ip, "late");
    let late = doors.vps.client("late", &client_service("late", there.address));
    late.wait_for_log(&["late", "up"]);
    doors.vps.wait_served("late.example.com", "late");
    assert_no_descriptor_missed(&doors.server);
}

fn late() -> String {
    server_service("late", &["late.example.com"])
}

/// 600 sessions, each of another client that proves the one token there is: at 1,024 descriptors,
/// more than are left. The losers are of no use to anybody, and are not kept at others' cost.
#[test]
fn one_token_does_not_take_the_server_down() {
    let _alone = alone();
    for addresses in [1, 50] {
        let doors = Doors::open(Vps::with(Transport::Tcp), 1024, &(evil() + &late()));
        let mut held = Vec::new();
        let mut refused = 0;
        for number in 0..600 {
            let source = hostile(number, addresses);
            // One that is refused is another that is not held.
            match Session::open(source, doors.vps.tunnel, number as u64) {
                Ok(mut session) => {
                    let register = session.register(0, HTTPS, b"evil");
                    let _ = session.control.stream.write_all(&register);
                    refused += usize::from(session.registration().is_err());
                    held.push(session);
                }
                Err(_) => refused += 1,
            }
        }
        eprintln!(
            "{addresses} addresses: {} sessions, {refused} refused; {} descriptors",
            held.len(),
            doors.server.descriptors()
        );
        assert_others_live(&doors);
    }
}

/// A session that has had a visitor brings 600 links, which nobody has asked for: it may not keep
/// those that others need.
#[test]
fn one_session_does_not_hoard_links() {
    const LINKS: usize = 600;
    let _alone = alone();
    let doors = Doors::open(Vps::with(Transport::Tcp), 1024, &(evil() + &late()));
    let session = Session::registered(hostile(0, 1), doors.vps.tunnel, 1, HTTPS, "evil");
    let mut first = session.link().unwrap();
    let visitor = accomplice(&doors, 0);
    first.expect(kind::OPEN).unwrap();
    let mut held = Vec::new();
    let mut refused = 0;
    for _ in 0..LINKS {
        match session.link() {
            Ok(link) => held.push(link),
            Err(_) => refused += 1,
        }
    }
    eprintln!(
        "{} links taken, {refused} refused; {} descriptors",
        held.len(),
        doors.server.descriptors()
    );
    assert_others_live(&doors);
    drop(visitor);
}

/// A visitor of the hostile client's own, from one of its addresses.
fn accomplice(doors: &Doors, number: usize) -> TcpStream {
    let mut stream = connect_from(hostile(100 + number, 250), doors.vps.https).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&client_hello(Some("evil.example.com"))).unwrap();
    stream
}

/// Visitors that come and go on links whose client never says READY: links on which both sides
/// have ended are not kept at the cost of others. (That they have a deadline, too, is the
/// simulation's to show: a slow home may need many minutes.)
#[test]
fn links_that_never_say_ready_are_not_kept_at_others_cost() {
    const VISITORS: usize = 500;
    let _alone = alone();
    let doors = Doors::open(Vps::with(Transport::Tcp), 1024, &(evil() + &late()));
    let session = Session::registered(hostile(0, 1), doors.vps.tunnel, 1, HTTPS, "evil");
    let mut held: Vec<Native> = Vec::new();
    for number in 0..VISITORS {
        let Ok(mut link) = session.link() else { break };
        link.stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let visitor = accomplice(&doors, number);
        if link.expect(kind::OPEN).is_err() {
            break;
        }
        link.say(&Message::Fin).unwrap();
        visitor.shutdown(Shutdown::Write).unwrap();
        // The visitor has gone in order, and the link is told.
        visitor.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let _ = (&visitor).read(&mut [0; 64]);
        if !matches!(link.hear(), Ok((kind::FIN, _))) {
            break;
        }
        held.push(link);
    }
    eprintln!("{} links settle; {} descriptors", held.len(), doors.server.descriptors());
    assert!(!held.is_empty(), "no link at all");
    assert_others_live(&doors);
    drop(held);
    drop(session);
}
