//! What TCP does on connections that cross the net, as `ss` shows it.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{PATIENCE, alone, run_ok, wait_until};
use crate::home::Home;
use crate::house::{Vps, client_service, server_service};
use crate::visitor::{client_hello, connect};

/// `ss`'s lines on the connections with this filter.
fn sockets(filter: &str) -> String {
    run_ok(Command::new("ss").args(["-tinHmO", "state", "established", filter]))
}

fn from(address: SocketAddr) -> String {
    format!("( src {} and sport = :{} )", address.ip(), address.port())
}

fn to(address: SocketAddr) -> String {
    format!("( dst {} and dport = :{} )", address.ip(), address.port())
}

/// Whether there are such connections, and each has that algorithm.
fn all_have(filter: &str, name: &str) -> bool {
    let lines = sockets(filter);
    let mut lines = lines.lines().peekable();
    lines.peek().is_some() && lines.all(|line| line.split_whitespace().any(|word| word == name))
}

/// Links and visitors have the algorithm that the file names, the home's own connections the
/// system's. A reload changes it for those who come then.
#[test]
fn congestion_control_is_as_the_file_says() {
    let read = |name: &str| {
        fs::read_to_string(format!("/proc/sys/net/ipv4/tcp_{name}congestion_control")).unwrap()
    };
    let usual = read("").trim().to_owned();
    // Every process may have reno, and what the system takes.
    let other = if usual == "reno" { "bbr" } else { "reno" };
    if !read("allowed_").split_whitespace().any(|name| name == other) {
        eprintln!("left out: this kernel has {usual} alone");
        return;
    }
    let mut vps = Vps::new();
    vps.server_extra = format!("congestion_control = \"{other}\"\n");
    vps.client_extra = vps.server_extra.clone();
    let there = Home::echo(vps.ip);
    let services = server_service("pi", &["pi.example.com"]);
    let server = vps.server(&services);
    let _client = vps.client_ready("client", &client_service("pi", there.address));
    let visit = || {
        let mut visitor = connect(vps.https).unwrap();
        let hello = client_hello(Some("pi.example.com"));
        visitor.write_all(&hello).unwrap();
        visitor.set_read_timeout(Some(PATIENCE)).unwrap();
        visitor.read_exact(&mut vec![0; hello.len()]).unwrap();
        visitor
    };
    let visitor = visit();
    for far in [from(vps.https), from(vps.tunnel), to(vps.tunnel)] {
        assert!(all_have(&far, other), "{far}: {}", sockets(&far));
    }
    let home = to(there.address);
    assert!(all_have(&home, &usual), "{}", sockets(&home));
    drop(visitor);
    vps.server_extra = "congestion_control = \"system\"\n".into();
    fs::write(vps.dir.path("server.toml"), vps.server_file(&services)).unwrap();
    server.signal(Signal::HUP);
    wait_until(PATIENCE, "the next visitor has the system's", || {
        let _visitor = visit();
        all_have(&from(vps.https), &usual)
    });
}

/// 500 readers at 10 KB/s of what has no end: the VPS's kernel keeps little more than what may be
/// unsent, for all of them. (570 MB without a bound; what has come on links and waits is printed.)
#[test]
fn slow_readers_fill_no_kernel() {
    const READERS: usize = 500;
    let _alone = alone();
    let vps = Vps::new();
    let flood = Home::start(vps.ip, |mut stream| while stream.write_all(&[7; 65536]).is_ok() {});
    let _server = vps.server(&server_service("flood", &["flood.example.com"]));
    let _client = vps.client_ready("client", &client_service("flood", flood.address));
    let mut readers: Vec<TcpStream> = (0..READERS)
        .map(|_| {
            let mut reader = connect(vps.https).unwrap();
            reader.write_all(&client_hello(Some("flood.example.com"))).unwrap();
            reader.set_nonblocking(true).unwrap();
            reader
        })
        .collect();
    let (start, mut piece, mut most) = (Instant::now(), [0; 1000], 0);
    for round in 1..=80 {
        for reader in &mut readers {
            let _ = reader.read(&mut piece);
        }
        if round % 10 == 0 {
            let held = [from(vps.https), from(vps.tunnel)].map(|filter| kernel_memory(&filter));
            let [unread_by_them, unread_here] = held.map(|bytes| bytes / 1_000_000);
            eprintln!("in the kernel: {unread_by_them} MB for visitors, {unread_here} MB of links");
            most = most.max(held[0]);
        }
        let next = start + Duration::from_millis(100) * round;
        std::thread::sleep(next.saturating_duration_since(Instant::now())); // their pace
    }
    assert!(most > READERS * 1000, "they have something to read: {most}");
    assert!(most < 100_000_000, "{most}");
}

/// What the kernel has allocated for these sockets: received and not read, sent and not yet
/// acknowledged, and in reserve (`ss`'s skmem: r, w, f).
fn kernel_memory(filter: &str) -> usize {
    let lines = sockets(filter);
    let memories = lines.split("skmem:(").skip(1).filter_map(|rest| rest.split(')').next());
    let of = |field: &str| match field.split_at(1) {
        ("r" | "w" | "f", bytes) => bytes.parse().unwrap_or(0),
        _ => 0,
    };
    memories.flat_map(|memory| memory.split(',').map(of)).sum()
}
