//! Homes that lead back to the server that sends them their visitors.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};

use crate::harness::{PATIENCE, SECRET, free_port, own_address, wait_until};
use crate::home::Home;
use crate::house::{Vps, client_port, client_service, server_port, server_service};
use crate::http_homes::{JSON_LOG, records};
use crate::http_house::{Estate, Lot, get, naming};
use crate::visitor::{INTERNAL_ERROR, Seen, client_hello, connect, look, visit};

/// A home whose local_addr leads back to the server, by way of a router at home.
#[test]
fn a_home_that_leads_back_stalls_nobody() {
    let entry: Arc<OnceLock<SocketAddr>> = Arc::default();
    let to = Arc::clone(&entry);
    let router = Home::start(own_address(), move |stream| {
        let Some(to) = to.get() else { return };
        let Ok(there) = TcpStream::connect(to) else { return };
        copy_both_ways(stream, there);
    });
    let vps = Vps::new();
    let https = vps.https;
    let fine = naming(vps.ip, "fine");
    let lots = vec![
        Lot::web("loop", router.address, https).more(JSON_LOG),
        Lot::http("fine", fine.address),
    ];
    let estate = Estate::on(vps, lots);
    entry.set(estate.http).unwrap();
    let answer = estate.ask(&get("loop.example.com", "/"));
    assert_eq!(answer.status(), 508, "{answer:?}");
    estate.server.wait_for_log(&["home loop", "leads back to this server", "local_addr"]);
    wait_until(PATIENCE, "as many records as rounds", || records(&estate.server).len() >= 4);
    assert!(records(&estate.server).len() <= 5);
    assert_eq!(visit(https, "loop.example.com"), Seen::Alert(INTERNAL_ERROR));
    assert_eq!(estate.ask(&get("fine.example.com", "/x")).text(), "fine /x");
    estate.assert_steady();
}

fn copy_both_ways(one: TcpStream, other: TcpStream) {
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        let mut bytes = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut bytes) {
            if to.write_all(&bytes[..length]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(std::net::Shutdown::Write);
    };
    let (from, to) = (one.try_clone().unwrap(), other.try_clone().unwrap());
    let back = std::thread::spawn(move || copy(other, one));
    copy(from, to);
    let _ = back.join();
}

/// Nothing tells such a visitor from another one but that nobody ever answers.
#[test]
fn a_port_whose_home_leads_back_is_found() {
    let vps = Vps::new();
    let there = Home::named(vps.ip, "pi");
    let port = free_port(vps.ip);
    let services = server_service("pi", &["pi.example.com"]) + &server_port("round", port);
    let server = vps.server(&services);
    let services = client_service("pi", there.address) + &client_port("round", port);
    let client = vps.client_ready("client", &services);
    vps.wait_served("pi.example.com", "pi");
    let before = crate::house::settled(&[&server, &client]);
    let mut visitor = connect(port).unwrap();
    visitor.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(!matches!(visitor.read(&mut [0]), Ok(1..)), "nobody is there to say anything");
    server.wait_for_log(&["home round", "leads back to this server", "local_addr"]);
    vps.wait_served("pi.example.com", "pi");
    crate::house::returns_to(&before, &[&server, &client]);
}

/// The home says in a PROXY header that it is the visitor, and the server takes its word.
#[test]
fn a_home_that_leads_back_with_a_proxy_header_is_found() {
    let mut vps = Vps::new();
    vps.server_extra = "trusted_proxies = [\"127.0.0.0/8\"]\n".into();
    let server = vps.server(&server_service("round", &["round.example.com"]));
    let services = format!(
        "[client.services.round]\ntype = \"https\"\ntoken = \"{SECRET}-round\"\n\
         local_addr = \"{}\"\nproxy_protocol = \"v2\"\n",
        vps.https
    );
    let client = vps.client("client", &services);
    client.wait_for_log(&["service round is up"]);
    let ask = || {
        let mut visitor = connect(vps.https).unwrap();
        let mut said = b"PROXY TCP4 203.0.113.5 203.0.113.1 5000 443\r\n".to_vec();
        said.extend(client_hello(Some("round.example.com")));
        visitor.write_all(&said).unwrap();
        look(&mut visitor)
    };
    assert_eq!(ask(), Seen::Alert(INTERNAL_ERROR));
    server.wait_for_log(&["home round", "leads back to this server"]);
}
