//! 200 reloads in a minute while visitors come in by every entry: none of a service that stays
//! fails, none waits, and nothing is left over.

use std::io::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Talk, reload};
use crate::harness::{PATIENCE, Proc, SECRET, alone, free_port};
use crate::home::Home;
use crate::house::{
    Vps, client_port, client_service, returns_to, server_port, server_service, settled,
};
use crate::http_house::{Peer, get, naming};
use crate::udp::{UdpHome, client_udp, quoted, server_udp, turned, visitor};
use crate::visitor::{INTERNAL_ERROR, Seen, client_hello, connect, look};

const RELOADS: u32 = 200;
const SPAN: Duration = Duration::from_secs(60);
/// For what the machine does meanwhile without a reload.
const BASELINE: Duration = Duration::from_secs(10);
/// Between two visitors of one of the four entries: 50 a second in all.
const PAUSE: Duration = Duration::from_millis(80);
/// A visitor may wait for so much longer than one without a reload.
const DELAY: Duration = Duration::from_millis(50);

/// Where the visitors go.
struct Street {
    http: SocketAddr,
    https: SocketAddr,
    port: SocketAddr,
    udp: SocketAddr,
}

impl Street {
    /// One visitor at one of the four entries.
    fn visit(&self, entry: usize) {
        match entry {
            0 => Talk::by_name(self.https, "kept.test").goes_on(),
            1 => Talk::at_port(self.port).goes_on(),
            2 => {
                let mut peer = Peer::new(connect(self.http).unwrap());
                peer.say(get("kept.test", "/"));
                assert_eq!(peer.response("GET").text(), "site /");
            }
            _ => exchange(&visitor(self.udp)),
        }
    }

    /// Visitors at all entries, as long as `goes_on`, and four who stay; the longest of each.
    fn visitors(&self, goes_on: &AtomicBool) -> Vec<(usize, Duration)> {
        thread::scope(|scope| {
            let entries = (0..4).map(|entry| {
                scope.spawn(move || {
                    let mut stays: Box<dyn FnMut()> = match entry {
                        0 => stay(Talk::by_name(self.https, "kept.test")),
                        1 => stay(Talk::at_port(self.port)),
                        2 => {
                            let mut peer = Peer::new(connect(self.http).unwrap());
                            Box::new(move || {
                                peer.say(get("kept.test", "/"));
                                assert_eq!(peer.response("GET").text(), "site /");
                            })
                        }
                        _ => {
                            let socket = visitor(self.udp);
                            Box::new(move || exchange(&socket))
                        }
                    };
                    let (mut count, mut longest) = (0, Duration::ZERO);
                    let mut next = Instant::now();
                    while goes_on.load(Ordering::Relaxed) {
                        for visit in [&mut stays as &mut dyn FnMut(), &mut || self.visit(entry)] {
                            let start = Instant::now();
                            visit();
                            longest = longest.max(start.elapsed());
                        }
                        count += 1;
                        next += PAUSE;
                        thread::sleep(next.saturating_duration_since(Instant::now()));
                    }
                    (count, longest)
                })
            });
            let entries: Vec<_> = entries.collect();
            entries.into_iter().map(|entry| entry.join().expect("no visitor fails")).collect()
        })
    }
}

fn stay(mut talk: Talk) -> Box<dyn FnMut()> {
    Box::new(move || talk.goes_on())
}

/// One question and its answer; a datagram that is lost is a visitor that has failed.
fn exchange(socket: &UdpSocket) {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send(b"anybody home?").unwrap();
    let mut answer = [0; 64];
    let length = socket.recv(&mut answer).expect("an answer");
    assert_eq!(answer[..length], turned(b"anybody home?")[..]);
}

/// The files of the `round`th reload differ in what is not `kept`, and in the order of all.
fn server_services(street: &Street, spare: &[SocketAddr], round: u32) -> String {
    let site = |name: &str, host: &str, more: &str| {
        format!(
            "[server.services.{name}]\ntype = \"http\"\ntoken = \"{SECRET}-{name}\"\n\
             hosts = [\"{host}\"]\n{more}\n"
        )
    };
    let tokens = match round % 3 {
        0 => String::new(),
        _ => format!("[\"{SECRET}-{round}\", \"{SECRET}-port\"]"),
    };
    let mut port = server_port("port", street.port);
    if !tokens.is_empty() {
        port = port.replace(&format!("\"{SECRET}-port\""), &tokens);
    }
    let list = ["", "deny = \"192.0.2.0/24\"\n", "allow = [\"127.0.0.0/8\", \"::1\"]\n"];
    let list = list[(round % 3) as usize];
    let rate = ["", "bandwidth = \"100 MB/s\"\n"][(round % 2) as usize];
    let mut parts = vec![
        site("kept", "kept.test", list),
        server_service("tls", &["kept.test"]) + list + rate,
        port + rate,
        server_udp("udp", &quoted(street.udp), "udp_idle_time = 2\n"),
        server_service("ready", &["ready.test"]),
    ];
    let at = spare[(round as usize / 2) % spare.len()];
    match round % 4 {
        0 => {}
        1 => parts.push(site("guest", "guest.test", "") + &server_port("other", at)),
        2 => parts.push(server_service("guest", &["guest.test", "moved.test"])),
        _ => parts.push(server_udp("other", &quoted(at), "") + &site("guest", "moved.test", "")),
    }
    let by = round as usize % parts.len();
    parts.rotate_left(by);
    parts.concat()
}

fn client_services(homes: &Homes, vps: &Vps, round: u32) -> String {
    let Homes { echo, site, udp } = homes;
    let local = |name: &str| {
        let text = client_service(name, site.address).replace("\"https\"", "\"http\"");
        text.replace("local_https_addr", "local_addr")
    };
    let mut parts = vec![
        local("kept"),
        client_service("tls", echo.address),
        client_port("port", echo.address),
        client_udp("udp", &udp.address.to_string()),
        vps.ready_service(),
    ];
    match round % 3 {
        0 => {}
        1 => parts.push(local("guest") + &client_port("other", echo.address)),
        _ => parts.push(client_service("guest", echo.address)),
    }
    let by = round as usize % parts.len();
    parts.rotate_left(by);
    parts.concat()
}

struct Homes {
    echo: Home,
    site: Home,
    udp: UdpHome,
}

#[test]
fn two_hundred_reloads_in_a_minute_are_no_visitors_business() {
    let _alone = alone();
    let mut vps = Vps::new();
    let ip = vps.ip;
    let street =
        Street { http: free_port(ip), https: vps.https, port: free_port(ip), udp: free_port(ip) };
    let spare: Vec<SocketAddr> = (0..3).map(|_| free_port(ip)).collect();
    let (echo, site) = (Home::echo(ip), naming(ip, "site"));
    let homes = Homes { echo, site, udp: UdpHome::turning(SocketAddr::from((ip, 0))) };
    let page = vps.dir.path("page.html");
    let base = format!("http_addr = \"{}\"\n", street.http);
    vps.server_extra.clone_from(&base);
    let services = server_services(&street, &spare, 0);
    let without_ready = services.replace(&server_service("ready", &["ready.test"]), "");
    let server = vps.server(&without_ready);
    let client =
        vps.underpass("client", "--client", &vps.client_file(&client_services(&homes, &vps, 0)));
    vps.wait_ready();
    let baseline = with_visitors(&street, || thread::sleep(BASELINE));
    let usual = baseline.iter().map(|(_, longest)| *longest).max().unwrap();
    let before = settled(&[&server, &client]);

    let mut resident = Vec::new();
    let meanwhile = with_visitors(&street, || {
        let start = Instant::now();
        for round in 1..=RELOADS {
            if round % 4 == 3 {
                let file = vps.client_file(&client_services(&homes, &vps, round));
                ask(&vps, &client, "client", &file);
            } else {
                vps.dir.write("page.html", &format!("<p>{round}</p>"));
                vps.server_extra = format!("{base}head_timeout = {}\n", 10 + round % 5);
                let file = vps.server_file(&server_services(&street, &spare, round));
                let pages = format!("\n[server.error_pages]\n404 = \"{}\"\n", page.display());
                let file = if round % 2 == 0 { file + &pages } else { file };
                ask(&vps, &server, "server", &file);
            }
            resident.push((server.resident(), client.resident()));
            let next = start + SPAN * round / RELOADS;
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    });
    for (count, longest) in &meanwhile {
        eprintln!("{count} visitors, {longest:?} at most; {usual:?} without reloads");
        assert!(*count as u128 >= SPAN.as_millis() / PAUSE.as_millis() * 9 / 10, "{count}");
        assert!(*longest <= usual + DELAY, "{longest:?}, and {usual:?} without reloads");
    }
    for (name, program) in [("server", &server), ("client", &client)] {
        let log = program.log();
        assert!(!log.contains("not reloaded"), "{name}: {log}");
        assert!(log.matches("reloaded").count() as u32 >= RELOADS / 4, "{name}");
    }
    let [early, late] = [20, resident.len() - 1].map(|at| resident[at]);
    assert!(late.0 < early.0 + 3_000_000, "the server grows: {early:?} {late:?}");
    assert!(late.1 < early.1 + 3_000_000, "the client grows: {early:?} {late:?}");

    // Back to the first files: no descriptor more, and every place is free.
    vps.server_extra = base + "max_visitors = 8\n";
    reload(&vps, &client, "client", &vps.client_file(&client_services(&homes, &vps, 0)));
    let few =
        services.replace("[server.services.tls]\n", "[server.services.tls]\nmax_visitors = 3\n");
    reload(&vps, &server, "server", &vps.server_file(&few));
    returns_to(&before, &[&server, &client]);
    let mut seated: Vec<Talk> = (0..3).map(|_| Talk::by_name(street.https, "kept.test")).collect();
    let mut fourth = connect(street.https).unwrap();
    fourth.write_all(&client_hello(Some("kept.test"))).unwrap();
    assert_eq!(look(&mut fourth), Seen::Alert(INTERNAL_ERROR), "3 seats, taken");
    drop(fourth);
    seated.push(Talk::at_port(street.port));
    seated.iter_mut().for_each(Talk::goes_on);
    drop(seated);
    returns_to(&before, &[&server, &client]);
}

/// What visitors see while something is done.
fn with_visitors(street: &Street, deed: impl FnOnce()) -> Vec<(usize, Duration)> {
    let goes_on = AtomicBool::new(true);
    thread::scope(|scope| {
        let visitors = scope.spawn(|| street.visitors(&goes_on));
        deed();
        goes_on.store(false, Ordering::Relaxed);
        visitors.join().expect("no visitor fails")
    })
}

/// Asks for a reload, and does not wait for it.
fn ask(vps: &Vps, program: &Proc, name: &str, file: &str) {
    let written = vps.dir.write(&format!("{name}.new"), file);
    std::fs::rename(written, vps.dir.path(&format!("{name}.toml"))).unwrap();
    program.signal(Signal::HUP);
}
