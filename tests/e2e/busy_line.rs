//! A session whose pings do not get through for what its links carry.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::wait_until;
use crate::home::Home;
use crate::house::{Vps, client_service, server_service};
use crate::visitor::{client_hello, connect};

/// Passes all connections on. Of the first one, the session, it holds one direction back when told
/// to: as if it waited behind all that the links have to carry.
fn start_line(vps: &Vps, holds: Arc<AtomicBool>, holds_pings: bool) -> Home {
    let (to, count) = (vps.tunnel, AtomicUsize::new(0));
    Home::start(vps.ip, move |near| {
        let is_session = count.fetch_add(1, Ordering::SeqCst) == 0;
        let Ok(far) = TcpStream::connect(to) else { return };
        let pass = |mut from: &TcpStream, mut to: &TcpStream, is_held: bool| {
            let mut bytes = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                while is_held && is_session && holds.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_millis(10));
                }
                if to.write_all(&bytes[..count]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(std::net::Shutdown::Both);
        };
        thread::scope(|scope| {
            scope.spawn(|| pass(&near, &far, !holds_pings));
            pass(&far, &near, holds_pings);
        });
    })
}

/// A download on a full uplink, then an upload on a full downlink.
#[test]
fn a_session_is_not_given_up_while_its_links_deliver() {
    for uploads in [false, true] {
        let mut vps = Vps::new();
        // Given up after 2.5 s of silence at the server, 3 s at home.
        vps.server_extra = "heartbeat_interval = 1\n".into();
        vps.client_extra = "heartbeat_timeout = 3\n".into();
        let server = vps.server(&server_service("a", &["a.test"]));
        let holds = Arc::new(AtomicBool::new(false));
        let line = start_line(&vps, holds.clone(), uploads);
        vps.dial = Some(line.address);
        let there = Home::start(vps.ip, move |mut stream| {
            let mut bytes = [0; 4096];
            let _ = stream.read(&mut bytes);
            let _ = stream.write_all(b"!");
            match uploads {
                true => while stream.read(&mut bytes).is_ok_and(|count| count > 0) {},
                false => {
                    while stream.write_all(&bytes[..1000]).is_ok() {
                        thread::sleep(Duration::from_millis(50));
                    }
                }
            }
        });
        let client = vps.client_ready("client", &client_service("a", there.address));
        let mut visitor = connect(vps.https).unwrap();
        visitor.write_all(&client_hello(Some("a.test"))).unwrap();
        visitor.read_exact(&mut [0]).unwrap();
        holds.store(true, Ordering::SeqCst);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(9) {
            match uploads {
                true => {
                    visitor.write_all(&[0; 1000]).expect("the upload goes on");
                    thread::sleep(Duration::from_millis(50));
                }
                false => visitor.read_exact(&mut [0; 1000]).expect("the download goes on"),
            }
        }
        for program in [&server, &client] {
            let log = program.log();
            assert!(!log.contains("no session with") && !log.contains("has gone"), "{log}");
        }
        // Nothing moves any more: now it is silence.
        drop(visitor);
        let begun = Instant::now();
        wait_until(Duration::from_secs(8), "it is given up", || {
            client.log().contains("no session with") || server.log().contains("has gone")
        });
        assert!(begun.elapsed() > Duration::from_secs(1), "at once, for another reason");
    }
}
