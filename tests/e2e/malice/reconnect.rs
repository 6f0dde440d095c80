//! A client that comes back, and those who wait for its services.

use std::io::Write;
use std::net::TcpStream;
use std::thread;

use underpass::wire::message::{Message, Registration, kind};

use super::honest;
use super::native::{HTTPS, Session};
use crate::harness::PATIENCE;
use crate::house::{Transport, Vps, server_service};
use crate::visitor::{Seen, client_hello, connect_from, look};

/// A client that comes back has more than one service, and its visitors wait for all of them: who
/// waits for the second is not turned away when the first is registered again.
#[test]
fn those_who_wait_for_any_service_are_kept_when_a_client_comes_back() {
    const SERVICES: [&str; 3] = ["a", "b", "c"];
    let vps = Vps::with(Transport::Tcp);
    let hosts: Vec<String> = SERVICES.iter().map(|name| format!("{name}.example.com")).collect();
    let services: String =
        SERVICES.iter().zip(&hosts).map(|(name, host)| server_service(name, &[host])).collect();
    let _server = vps.server(&services);
    let register = |session: &mut Session| {
        let frames = SERVICES
            .iter()
            .zip(0..)
            .map(|(name, number)| session.register(number, HTTPS, name.as_bytes()));
        let frames = frames.collect::<Vec<_>>().concat();
        session.control.stream.write_all(&frames).unwrap();
        for name in SERVICES {
            assert_eq!(session.registration().unwrap(), Registration::Accepted, "{name}");
        }
    };
    let mut first = Session::open(honest(0), vps.tunnel, 7).unwrap();
    register(&mut first);
    // It brings no links, as one whose line has died.
    let visitors: Vec<TcpStream> = hosts
        .iter()
        .map(|host| {
            let mut stream = connect_from(honest(1), vps.https).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(&client_hello(Some(host))).unwrap();
            stream
        })
        .collect();
    // They wait when the links for them are asked for.
    let mut wanted = 0;
    while wanted < SERVICES.len() {
        wanted += first.links_wanted().unwrap();
    }
    let mut second = Session::open(honest(0), vps.tunnel, 7).unwrap();
    register(&mut second);
    let homes: Vec<_> = SERVICES
        .iter()
        .map(|_| {
            let mut link = second.link().unwrap();
            thread::spawn(move || {
                let open = link.expect(kind::OPEN)?;
                let Ok(Message::Open(open)) = Message::decode(kind::OPEN, &open) else {
                    return Err(std::io::Error::other("no OPEN"));
                };
                let answer = format!("I am number {}\n", open.service);
                // Without encryption DATA is a raw run, or a frame.
                let mut frame = answer.into_bytes();
                frame.push(kind::DATA);
                let length = u16::try_from(frame.len()).unwrap().to_le_bytes();
                link.stream.write_all(&[&length[..], &frame].concat())?;
                Ok(link)
            })
        })
        .collect();
    for ((number, mut visitor), name) in visitors.into_iter().enumerate().zip(SERVICES) {
        let seen = look(&mut visitor);
        let wanted = Seen::Home(format!("I am number {number}"));
        assert_eq!(seen, wanted, "the visitor who waited for {name}");
    }
    for home in homes {
        home.join().unwrap().unwrap();
    }
}
