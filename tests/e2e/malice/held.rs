//! Bytes of visitors who have had an answer, and so a route: they are held for nobody, and whoever
//! holds the most of them goes first.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::{Doors, hostile, visits};
use crate::harness::{PATIENCE, alone};
use crate::house::Vps;
use crate::http_house::get;
use crate::visitor::connect_from;

/// A request for a name that nobody has, and its 404; the connection is kept alive.
fn lost(source: Ipv4Addr, http: SocketAddr) -> std::io::Result<TcpStream> {
    let mut stream = connect_from(source, http)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(get("nobody.example.org", "/").as_bytes())?;
    let mut answer = [0; 4096];
    let length = stream.read(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer[..length]);
    if !answer.starts_with("HTTP/1.1 404 ") {
        return Err(std::io::Error::other(format!("{answer:?} in place of a 404")));
    }
    assert!(!answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    Ok(stream)
}

/// 270 connections, each with a 404 behind it and 63 KB of an unfinished head: as many bytes as all
/// unfinished hellos and heads may have. They are the ones that go, not who comes next.
#[test]
fn unfinished_heads_behind_an_answer_shut_no_door() {
    const HOSTILE: usize = 270;
    let _alone = alone();
    let doors = Doors::open(Vps::new(), 4096, "");
    visits(&doors.asks(), 20, 4, PATIENCE).assert_all_served();
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(63 * 1024));
    for addresses in [1, 50] {
        let held: Vec<TcpStream> = (0..HOSTILE)
            .filter_map(|number| {
                let mut stream = lost(hostile(number, addresses), doors.http).ok()?;
                // Whoever is closed over it is closed.
                stream.write_all(head.as_bytes()).ok()?;
                Some(stream)
            })
            .collect();
        let seen = visits(&doors.asks(), 100, 10, Duration::from_secs(3));
        eprintln!("{} of {HOSTILE} heads from {addresses} addresses: {seen}", held.len());
        seen.assert_all_served();
    }
}
