//! One address, and as many connections as it can open.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::{Doors, honest, hostile, visits};
use crate::harness::{PATIENCE, alone, wait_until};
use crate::house::Vps;
use crate::http_house::get;
use crate::visitor::{client_hello, connect_from};

/// At 1,024 descriptors there is room for about 310 visitors. One address does not get all of it,
/// whether its connections are idle or busy: who comes from elsewhere is served.
#[test]
fn one_address_does_not_fill_the_house() {
    const HOSTILE: usize = 400;
    let _alone = alone();
    let doors = Doors::open(Vps::new(), 1024, "");
    visits(&doors.asks(), 20, 4, PATIENCE).assert_all_served();
    let hello = client_hello(Some("pi.example.com"));
    let busy = |number| {
        let mut stream = connect_from(hostile(number, 1), doors.vps.https).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        stream.write_all(&hello).ok()?;
        let mut echo = vec![0; hello.len()];
        stream.read_exact(&mut echo).ok()?;
        Some(stream)
    };
    // Those who are not let in time out one by one, so a few are enough to know that it is full.
    let gather = |name: &str, come: &dyn Fn(usize) -> Option<TcpStream>| -> Vec<TcpStream> {
        let (mut held, mut refused) = (Vec::new(), 0);
        for number in 0..HOSTILE {
            match come(number) {
                Some(stream) => held.push(stream),
                None => refused += 1,
            }
            if refused > 2 {
                break;
            }
        }
        eprintln!("{name}: {} held by one address, {refused} refused", held.len());
        held
    };
    let idle = |number| {
        let mut stream = connect_from(hostile(number, 1), doors.http).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        stream.write_all(get("nobody.example.org", "/").as_bytes()).ok()?;
        stream.read(&mut [0; 4096]).ok().filter(|length| *length > 0)?;
        Some(stream)
    };
    for (name, come) in [("idle", &idle as &dyn Fn(usize) -> _), ("busy", &busy)] {
        let held = gather(name, come);
        let seen = visits(&doors.asks(), 100, 20, Duration::from_secs(3));
        eprintln!("among {} {name} ones: {seen}", held.len());
        seen.assert_all_served();
        // Nor are those who are served already the ones who make room.
        let mut early: Vec<TcpStream> = (0..50)
            .map(|number| {
                let mut stream = connect_from(honest(number), doors.vps.https).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                stream.write_all(&hello).unwrap();
                stream.read_exact(&mut vec![0; hello.len()]).expect("served");
                stream
            })
            .collect();
        let more: Vec<_> = (0..HOSTILE)
            .filter_map(|number| {
                let stream = connect_from(hostile(number, 1), doors.http).ok()?;
                (&stream).write_all(get("nobody.example.org", "/").as_bytes()).ok()?;
                Some(stream)
            })
            .collect();
        for stream in &mut early {
            stream.write_all(&hello).unwrap();
            stream.read_exact(&mut vec![0; hello.len()]).expect("still served");
        }
        drop((held, more, early));
        // All of them have gone before the next ones come.
        wait_until(PATIENCE, "the house is empty again", || doors.server.descriptors() < 80);
    }
}
