//! Spare links: what one rush leaves behind is there for the next one.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{assert_no_descriptor_missed, honest, with_descriptors};
use crate::harness::{PATIENCE, Proc, alone, wait_until};
use crate::home::Home;
use crate::house::{Vps, client_service, server_service, settled};
use crate::visitor::{client_hello, connect_from};

/// What a rush leaves behind is the server's to give to the next one: five homes with 64 visitors
/// each, who leave, and then as many visitors of one home as there is room for.
#[test]
fn spare_links_of_a_rush_are_not_missing_in_the_next_one() {
    const RUSH: usize = 64;
    const ROOM: usize = 340;
    const HOMES: [&str; 5] = ["a", "b", "c", "d", "e"];
    let _alone = alone();
    let mut vps = Vps::new();
    vps.wrapper = with_descriptors(1152);
    let echo = Home::echo(vps.ip);
    let hosts: Vec<String> = HOMES.iter().map(|name| format!("{name}.example.com")).collect();
    let services: String =
        HOMES.iter().zip(&hosts).map(|(name, host)| server_service(name, &[host])).collect();
    let server = vps.server(&services);
    vps.wrapper = Vec::new();
    let clients: Vec<Proc> = HOMES
        .iter()
        .map(|name| {
            let client = vps.client(&format!("client-{name}"), &client_service(name, echo.address));
            client.wait_for_log(&[name, "is up"]);
            client
        })
        .collect();
    settled(&[&server]);
    let come = |host: &str, count: usize| -> Vec<Result<TcpStream, String>> {
        let hello = client_hello(Some(host));
        let all: Vec<_> = (0..count)
            .map(|number| {
                let mut stream = connect_from(honest(number), vps.https)?;
                stream.set_read_timeout(Some(Duration::from_secs(12)))?;
                stream.write_all(&hello)?;
                Ok::<_, std::io::Error>(stream)
            })
            .collect();
        let served = |stream: std::io::Result<TcpStream>| {
            let mut stream = stream?;
            stream.read_exact(&mut vec![0; hello.len()])?;
            Ok(stream)
        };
        all.into_iter().map(|it| served(it).map_err(|e: std::io::Error| e.to_string())).collect()
    };
    for host in &hosts {
        let rush = come(host, RUSH);
        let failed = rush.iter().filter(|one| one.is_err()).count();
        assert_eq!(failed, 0, "of the first rush, at {host}");
    }
    wait_until(PATIENCE, "the first visitors have gone", || {
        server.tcp_connections().iter().all(|connection| connection.local != vps.https)
    });
    let start = Instant::now();
    let rush = come(&hosts[0], ROOM);
    let failed: Vec<_> = rush.iter().filter_map(|one| one.as_ref().err()).collect();
    eprintln!("{} of {ROOM} served after {:?}", ROOM - failed.len(), start.elapsed());
    assert!(failed.is_empty(), "{} of {ROOM} were not served: {:?}", failed.len(), failed[0]);
    assert_no_descriptor_missed(&server);
    drop((rush, clients));
}
