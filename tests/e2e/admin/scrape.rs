//! A real Prometheus scrapes both roles, one of them with a password.

use super::{client_door, htpasswd, server_door};
use crate::harness::free_port;
use crate::house::{Vps, client_port, server_port};
use crate::support::prometheus::Prometheus;
use crate::visitor::connect;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

#[test]
fn prometheus_counts_the_visitors() {
    let vps = Vps::new();
    let (server_at, client_at, port) = (free_port(vps.ip), free_port(vps.ip), free_port(vps.ip));
    let home = TcpListener::bind((vps.ip, 0)).unwrap();
    let local = home.local_addr().unwrap();
    thread::spawn(move || {
        for stream in home.incoming().map_while(Result::ok) {
            let mut stream = stream;
            let mut said = [0; 5];
            stream.read_exact(&mut said).unwrap();
            stream.write_all(b"world!").unwrap();
        }
    });
    let users = format!("users = [{:?}]\n", htpasswd("-nb", "admin", "secret"));
    let _server = vps.server(&(server_port("port", port) + &server_door(server_at, &users)));
    let client = vps.client("client", &(client_door(client_at) + &client_port("port", local)));
    client.wait_for_log(&["service port is up"]);
    for _ in 0..7 {
        let mut visitor = connect(port).unwrap();
        visitor.write_all(b"hello").unwrap();
        let mut heard = Vec::new();
        visitor.read_to_end(&mut heard).unwrap();
        assert_eq!(heard, b"world!");
    }
    let targets = [server_at.to_string(), client_at.to_string()];
    let prometheus =
        Prometheus::start(&vps.dir.path("prometheus"), &targets, Some(("admin", "secret")));
    assert_eq!(prometheus.value("count(up == 1) == 2"), 2.0);
    assert_eq!(prometheus.errors(), Vec::<String>::new());
    for (series, expected) in [
        ("underpass_visitors_total{service='port',entry='tcp',end='done'}", 7.0),
        ("underpass_received_bytes_total{service='port',entry='tcp'}", 35.0),
        ("underpass_sent_bytes_total{service='port',entry='tcp'}", 42.0),
        ("underpass_first_byte_seconds_count{service='port',entry='tcp'}", 7.0),
        ("underpass_service_online{service='port'}", 1.0),
        ("underpass_local_dials_total{service='port',result='connected'}", 7.0),
        ("underpass_local_sent_bytes_total{service='port'}", 42.0),
        ("underpass_local_answers{service='port'}", 1.0),
    ] {
        assert_eq!(prometheus.value(series), expected, "{series}");
    }
}
