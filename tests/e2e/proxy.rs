//! A client behind a proxy: real ones, and ones that answer wrong.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::Command;

use crate::harness::{PATIENCE, Proc, SECRET, free_port, wait_until};
use crate::home::Home;
use crate::house::{Transport, Vps, client_port, server_port};
use crate::tunnel::echo_all;

/// What the SOCKS5 proxy knows its user by; a URL cannot hold it as it is.
const PASSWORD: &str = "s3cr3t@:/%ü";
const PASSWORD_IN_URL: &str = "s3cr3t%40%3A%2F%25%C3%BC";

fn microsocks(vps: &Vps, address: SocketAddr) -> Proc {
    let mut command = Command::new("microsocks");
    command.args(["-i", &address.ip().to_string(), "-p", &address.port().to_string()]);
    command.args(["-u", "me", "-P", PASSWORD]);
    Proc::start("microsocks", &vps.dir, &command)
}

fn tinyproxy(vps: &Vps, address: SocketAddr) -> Proc {
    let text = format!(
        "Listen {}\nPort {}\nAllow 127.0.0.0/8\nBasicAuth me {SECRET}-pass\nLogLevel Connect\n",
        address.ip(),
        address.port()
    );
    let file = vps.dir.write("tinyproxy.conf", &text);
    let mut command = Command::new("tinyproxy");
    command.arg("-d").arg("-c").arg(file);
    Proc::start("tinyproxy", &vps.dir, &command)
}

/// A client's file that dials `localhost`, so that a proxy's log shows whether it got the name.
fn file(vps: &Vps, proxy: &str, services: &str) -> String {
    let tcp = format!("[client.transport.tcp]\nproxy = \"{proxy}\"\n");
    let port = vps.tunnel.port();
    let dial = format!("remote_addr = \"{}\"", vps.tunnel);
    vps.client_file(&(tcp + services))
        .replace(&dial, &format!("remote_addr = \"localhost:{port}\""))
}

#[test]
fn control_session_and_links_pass_through_real_proxies() {
    type Start = fn(&Vps, SocketAddr) -> Proc;
    for (start, scheme, password, transport) in [
        (microsocks as Start, "socks5", PASSWORD_IN_URL, Transport::Noise),
        (tinyproxy as Start, "http", "s3cr3t-pass", Transport::Noise),
        (microsocks as Start, "socks5", PASSWORD_IN_URL, Transport::Tcp),
    ] {
        let mut vps = Vps::with(transport);
        vps.tunnel = free_port([127, 0, 0, 1].into());
        let there = Home::echo(vps.ip);
        let port = free_port(vps.ip);
        let server = vps.server(&server_port("echo", port));
        let address = free_port(vps.ip);
        let mut proxy = start(&vps, address);

        let url = format!("{scheme}://me:{password}@{address}");
        let services = client_port("echo", there.address) + &vps.ready_service();
        let client = vps.underpass("client", "--client", &file(&vps, &url, &services));
        vps.wait_ready();
        let way = format!("localhost:{} through proxy {scheme}://{address}", vps.tunnel.port());
        client.wait_for_log(&["connected to server", &way]);
        proxy.wait_for_log(&["localhost"]);
        for seed in 0..8 {
            echo_all(port, seed);
        }
        // Every connection to the server is the proxy's: the client has none.
        let tunnels = |process: &Proc| {
            let connections = process.tcp_connections();
            connections.iter().filter(|connection| connection.peer == vps.tunnel).count()
        };
        assert_eq!(tunnels(&client), 0);
        assert!(tunnels(&proxy) >= 2, "control session and links");
        drop(server);

        // A proxy that goes and comes back is found again.
        let _server = vps.server(&server_port("echo", port));
        proxy.kill();
        client.wait_for_log(&["no session with server", &way, "refused"]);
        let _proxy = start(&vps, address);
        vps.wait_ready();
        echo_all(port, 9);
    }
}

#[test]
fn a_proxy_that_refuses_is_named_and_asked_again() {
    let vps = Vps::new();
    let (socks5, http) = (free_port(vps.ip), free_port(vps.ip));
    let _microsocks = microsocks(&vps, socks5);
    let _tinyproxy = tinyproxy(&vps, http);
    let services = vps.ready_service();
    for (name, url, why) in [
        (
            "wrong",
            format!("socks5://me:{SECRET}-no@{socks5}"),
            "it does not take this user and password",
        ),
        ("none", format!("socks5://{socks5}"), "it wants another way to log in"),
        (
            "denied",
            format!("http://me:{SECRET}-no@{http}"),
            "it wants another user and password (status",
        ),
        ("anonymous", format!("http://{http}"), "(status 407)"),
        // It waits for the end of a line.
        ("mixed", format!("socks5://me:{SECRET}@{http}"), "it did not answer in time"),
        ("crossed", format!("http://me:{SECRET}@{socks5}"), "it does not speak HTTP"),
        // The server is not up: what the proxy says about it is passed on.
        ("down", format!("socks5://me:{PASSWORD_IN_URL}@{socks5}"), "it does not connect"),
        ("absent", format!("http://me:{SECRET}-pass@{http}"), "it does not connect (status 500)"),
    ] {
        let client = vps.underpass(name, "--client", &file(&vps, &url, &services));
        let shown = url.split_once("://").unwrap().0.to_owned();
        client.wait_for_log(&["no session with server", &format!("through proxy {shown}://"), why]);
        let lines = || client.log().lines().filter(|line| line.contains(why)).count();
        wait_until(PATIENCE, "it is asked again", || lines() >= 2);
    }
}

/// What no proxy should do: each is given up within the time for a dial, with a line.
#[test]
fn a_proxy_that_answers_wrong_or_not_at_all_is_given_up() {
    type Serve = fn(std::net::TcpStream);
    let silent: Serve = |mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    };
    let dripping: Serve = |mut stream| {
        while stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(500));
        }
    };
    let early: Serve = |mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nwelcome");
        let _ = stream.read_to_end(&mut Vec::new());
    };
    let closing: Serve = |mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 200 O");
    };
    let vps = Vps::new();
    for (name, serve, why) in [
        ("silent", silent, "it did not answer in time"),
        ("dripping", dripping, "it did not answer in time"),
        ("early", early, "it sent bytes that nobody asked for"),
        ("closing", closing, "it closed the connection"),
    ] {
        let proxy = Home::start(vps.ip, serve);
        let url = format!("http://me:{SECRET}@{}", proxy.address);
        let services = vps.ready_service();
        let client = vps.underpass(name, "--client", &file(&vps, &url, &services));
        client.wait_for_log(&["no session with server", "through proxy http://", why]);
        wait_until(PATIENCE, "it is asked again", || proxy.accepted() >= 2);
    }
}
