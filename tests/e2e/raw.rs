//! Raw passthrough: TLS crosses the tunnel as it is, and nothing else does.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread;

use crate::harness::{PATIENCE, alone, free_port, wait_until};
use crate::home::{Home, Site, digest};
use crate::house::{
    Vps, client_port, client_service, returns_to, server_port, server_service, settled,
};
use crate::transfer::write_noise;
use crate::tunnel::echo;
use crate::visitor::{Curl, client_hello, connect, reset};

/// The line between client and server, with all that has crossed it.
struct Tap {
    home: Home,
    up: Arc<Mutex<Vec<u8>>>,
    /// To the client.
    down: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    fn start(ip: Ipv4Addr, to: SocketAddr) -> Tap {
        let (up, down) = (Arc::default(), Arc::default());
        let shared = (Arc::clone(&up), Arc::clone(&down));
        let home = Home::start(ip, move |near| {
            let Ok(far) = TcpStream::connect(to) else { return };
            thread::scope(|scope| {
                scope.spawn(|| copy(&near, &far, &shared.0));
                copy(&far, &near, &shared.1);
            });
        });
        Tap { home, up, down }
    }

    /// In which directions a word has crossed: up, down.
    fn has_seen(&self, word: &[u8]) -> [bool; 2] {
        [&self.up, &self.down].map(|seen| {
            let seen = seen.lock().unwrap();
            seen.windows(word.len()).any(|window| window == word)
        })
    }
}

fn copy(mut from: &TcpStream, mut to: &TcpStream, seen: &Mutex<Vec<u8>>) {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        seen.lock().unwrap().extend_from_slice(&piece[..length]);
        if to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn raw_service(name: &str, hosts: &[&str]) -> String {
    server_service(name, hosts) + "passthrough = \"raw\"\n"
}

/// Says the same word, again and again, behind a ClientHello if there is a name, until `bytes` have
/// come back from an echo.
fn repeat(at: SocketAddr, name: Option<&str>, word: &[u8; 16], bytes: usize) {
    let hello = name.map(|name| client_hello(Some(name))).unwrap_or_default();
    echo(at, &[&hello[..], &word.repeat(bytes / word.len())].concat());
}

#[test]
fn only_what_visitors_say_over_tls_to_a_raw_service_crosses_as_it_is() {
    let mut vps = Vps::new();
    let port = free_port(vps.ip);
    let echo = Home::echo(vps.ip);
    let services = raw_service("raw", &["raw.example.com"])
        + &server_service("sealed", &["sealed.example.com"])
        + &server_port("port", port);
    let server = vps.server(&services);
    let tap = Tap::start(vps.ip, vps.tunnel);
    vps.dial = Some(tap.home.address);
    let services = client_service("raw", echo.address)
        + &client_service("sealed", echo.address)
        + &client_port("port", echo.address);
    let client = vps.client_ready("client", &services);
    // The first raw byte makes the pipe.
    repeat(vps.https, Some("raw.example.com"), b"protects itself!", 16);
    let before = settled(&[&server, &client]);

    const BYTES: usize = 1 << 20;
    repeat(vps.https, Some("sealed.example.com"), b"sealed with keys", BYTES);
    repeat(port, None, b"nothing else is.", BYTES);
    repeat(vps.https, Some("raw.example.com"), b"protects itself!", BYTES);
    // The same links again: what was raw is sealed for the next visitor, and the other way round.
    for _ in 0..20 {
        repeat(vps.https, Some("sealed.example.com"), b"sealed with keys", 4096);
        repeat(vps.https, Some("raw.example.com"), b"protects itself!", 65_536);
    }
    assert_eq!(tap.has_seen(b"protects itself!"), [true, true]);
    assert_eq!(tap.has_seen(b"sealed with keys"), [false, false]);
    assert_eq!(tap.has_seen(b"nothing else is."), [false, false]);
    // The name is in the ClientHello, which OPEN brings; the echo sends it back as it is.
    assert_eq!(tap.has_seen(b"raw.example.com"), [true, false]);
    let dials = tap.home.accepted();
    assert!(dials <= 12, "{dials} connections for 43 visitors, one after the other");
    returns_to(&before, &[&server, &client]);
}

#[test]
fn raw_files_each_way_have_the_same_hash_and_resets_cost_nobody_else() {
    const SIZE: u64 = 256 << 20;
    let _alone = alone();
    let vps = Vps::new();
    let pi = Site::start(&vps.dir, vps.ip, "pi", &["pi.example.com"]);
    let (by_hand, at_home) = Home::by_hand(vps.ip);
    let server = vps.server(
        &(raw_service("pi", &["pi.example.com"]) + &raw_service("hand", &["hand.example.com"])),
    );
    let services = client_service("pi", pi.address) + &client_service("hand", by_hand.address);
    let client = vps.client_ready("client", &services);
    let curl = || Curl::new(vps.https, &pi.authority.own);
    // The first raw byte makes the pipe.
    assert_eq!(curl().get("https://pi.example.com/whoami").status, 200);
    let before = settled(&[&server, &client]);
    let file = pi.www().join("big");
    let expected = write_noise(&file, SIZE);

    thread::scope(|scope| {
        scope.spawn(|| {
            let answer = curl().upload(&file).get("https://pi.example.com/up");
            assert_eq!(answer.body, format!("{SIZE} {expected}\n"), "upload: {answer:?}");
        });
        let mut command = curl().command("https://pi.example.com/files/big");
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let seen = digest(child.stdout.as_mut().unwrap()).unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(seen, (SIZE, expected.clone()), "download");
    });

    // In the middle of a megabyte that nobody reads, either end breaks; the other one is told.
    let megabyte = vec![0x17; 1 << 20];
    for visitor_breaks in [true, false] {
        let mut visitor = connect(vps.https).unwrap();
        visitor.write_all(&client_hello(Some("hand.example.com"))).unwrap();
        let mut home = at_home.next();
        home.read_exact(&mut [0; 5]).unwrap();
        let (mut writer, mut far) = (visitor.try_clone().unwrap(), home.try_clone().unwrap());
        let (one, other) = (megabyte.clone(), megabyte.clone());
        let writers = [
            thread::spawn(move || _ = writer.write_all(&one)),
            thread::spawn(move || _ = far.write_all(&other)),
        ];
        let (breaks, mut told) = if visitor_breaks { (visitor, home) } else { (home, visitor) };
        (&breaks).read_exact(&mut [0; 100_000]).unwrap();
        reset(breaks);
        let mut rest = Vec::new();
        assert!(told.read_to_end(&mut rest).is_err(), "an end instead of a reset");
        drop(told);
        for writer in writers {
            writer.join().unwrap();
        }
        vps.wait_ready();
    }
    wait_until(PATIENCE, "the raw service serves again", || {
        curl().get("https://pi.example.com/whoami").status == 200
    });
    returns_to(&before, &[&server, &client]);
}
