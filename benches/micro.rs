//! The parts that a visitor or a byte passes through, each by itself: `cargo bench --bench micro`.

#![expect(clippy::unwrap_used, reason = "a bench that cannot begin is a failure")]

use std::hint::black_box;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, Divan};

use underpass::config::Config;
use underpass::proto::noise::{Channel, Protection, Side};
use underpass::proto::route::{Ask, Entry, Pattern, RouteTable};
use underpass::wire::client_hello::{Alpn, HelloScan};
use underpass::wire::frame;
use underpass::wire::host::{HostName, Hostname};
use underpass::wire::http::request::Request;
use underpass::wire::http::{HeadScan, Kind, Slots};

fn main() {
    Divan::from_args().main();
}

/// The first flights of programs that visit sites.
const HELLOS: [(&str, &[u8]); 2] = [
    ("openssl", include_bytes!("stack/client_hello.bin")),
    ("chromium", include_bytes!("../tests/corpus/tls/chromium-0.bin")),
];

/// From the first byte to the name, allocated by nobody.
#[divan::bench(args = ["openssl", "chromium"])]
fn client_hello(bencher: Bencher, who: &str) {
    let (_, bytes) = HELLOS.into_iter().find(|(name, _)| *name == who).unwrap();
    let mut scratch = vec![0; 1 << 17];
    bencher.counter(BytesCount::new(bytes.len())).bench_local(|| {
        let mut scan = HelloScan::new();
        black_box(scan.feed(black_box(bytes), &mut scratch)).is_ok()
    });
}

/// A browser's request: its head found, taken apart and looked over.
#[divan::bench]
fn http_head(bencher: Bencher) {
    let bytes = include_bytes!("../tests/corpus/http/h-chromium.bin");
    bencher.counter(BytesCount::new(bytes.len())).bench_local(|| {
        let mut scan = HeadScan::new(Kind::Request);
        let Ok(underpass::wire::Status::Complete(head)) = scan.scan(black_box(bytes)) else {
            panic!("a whole head");
        };
        let mut slots = Slots::new();
        black_box(Request::parse(&bytes[head], &mut slots)).is_ok()
    });
}

/// Names in the table: exact ones, and the pattern for what lies below each.
#[divan::bench(args = [10, 1_000, 100_000])]
fn route(bencher: Bencher, names: usize) {
    let mut table = RouteTable::default();
    for number in 0..names {
        for text in [format!("home{number}.example.com"), format!("**.home{number}.example.com")] {
            let pattern = Pattern::parse(&text).unwrap();
            table.insert(Entry::Https, &pattern, None, number).unwrap();
        }
    }
    let name = format!("www.home{}.example.com", names / 2);
    let name = HostName::Dns(Hostname::parse(name.as_bytes()).unwrap());
    let ask = Ask::Https { alpn: Alpn::NONE };
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        black_box(table.find(black_box(&name), ask).is_ok_and(|found| found.is_some()))
    });
}

const CHACHA: &str = "Noise_NK_25519_ChaChaPoly_BLAKE2s";
const AES: &str = "Noise_NK_25519_AESGCM_BLAKE2s";

/// Bytes of a frame: what one is best cut into.
const FRAMES: [usize; 5] = [64, 1 << 10, 4 << 10, 16 << 10, 65_000];

#[divan::bench(args = FRAMES)]
fn seal_chacha(bencher: Bencher, length: usize) {
    seal(bencher, CHACHA, length);
}

#[divan::bench(args = FRAMES)]
fn seal_aes(bencher: Bencher, length: usize) {
    seal(bencher, AES, length);
}

fn seal(bencher: Bencher, pattern: &str, length: usize) {
    let (mut channel, _) = channels(pattern);
    let (clear, mut out) = (vec![7; length], vec![0; length + 64]);
    bencher
        .counter(BytesCount::new(length))
        .bench_local(|| channel.seal(black_box(&clear), &mut out).unwrap());
}

#[divan::bench(args = FRAMES)]
fn open_chacha(bencher: Bencher, length: usize) {
    open(bencher, CHACHA, length);
}

#[divan::bench(args = FRAMES)]
fn open_aes(bencher: Bencher, length: usize) {
    open(bencher, AES, length);
}

/// Every message opens once: it is sealed anew outside the measured part.
fn open(bencher: Bencher, pattern: &str, length: usize) {
    let (mut from, mut to) = channels(pattern);
    let clear = vec![7; length];
    let mut out = vec![0; length + 64];
    bencher
        .counter(BytesCount::new(length))
        .with_inputs(|| {
            let mut framed = vec![0; length + 64];
            let sealed = from.seal(&clear, &mut framed).unwrap();
            framed.truncate(sealed);
            framed
        })
        .bench_local_values(|framed| to.open(&framed[frame::HEADER..], &mut out).unwrap());
}

/// A client's and a server's work for one link.
#[divan::bench(args = [CHACHA, AES])]
fn handshake(bencher: Bencher, pattern: &str) {
    let sides = protections(pattern);
    bencher.bench_local(|| shake(&sides));
}

/// A server's work for a stranger that says nothing, or something that no pattern fits.
#[divan::bench(args = [CHACHA, AES])]
fn silent_stranger(bencher: Bencher, pattern: &str) {
    let (_, server) = protections(pattern);
    bencher.bench_local(|| Channel::respond(black_box(&server), [4; 32]));
}

#[divan::bench(args = [CHACHA, AES])]
fn stranger_with_junk(bencher: Bencher, pattern: &str) {
    let (_, server) = protections(pattern);
    bencher.bench_local(|| {
        Channel::respond(&server, [4; 32]).read_handshake(black_box(&[7; 48])).is_err()
    });
}

fn channels(pattern: &str) -> (Channel, Channel) {
    shake(&protections(pattern))
}

fn shake((client, server): &(Protection, Protection)) -> (Channel, Channel) {
    let mut client = Channel::initiate(client, 0, [3; 32]).unwrap();
    let mut server = Channel::respond(server, [4; 32]);
    let mut message = Vec::new();
    client.write_handshake(&mut message).unwrap();
    server.read_handshake(&message[frame::HEADER..]).unwrap();
    message.clear();
    server.write_handshake(&mut message).unwrap();
    client.read_handshake(&message[frame::HEADER..]).unwrap();
    assert!(client.established().unwrap().is_some() && server.established().unwrap().is_some());
    (client, server)
}

fn protections(pattern: &str) -> (Protection, Protection) {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let keys = snow::Builder::new(pattern.parse().unwrap()).generate_keypair().unwrap();
    let (private, public) = (STANDARD.encode(keys.private), STANDARD.encode(keys.public));
    let noise = |role: &str, key: &str| {
        format!(
            "[{role}.transport]\ntype = \"noise\"\n[{role}.transport.noise]\n\
             pattern = \"{pattern}\"\n{key}\n[{role}.services]\n"
        )
    };
    let file = format!(
        "[server]\nbind_addr = \"127.0.0.1:2333\"\n{}[client]\nremote_addr = \"a:1\"\n{}",
        noise("server", &format!("local_private_key = \"{private}\"")),
        noise("client", &format!("remote_public_key = \"{public}\""))
    );
    let config = Config::parse("bench", &file, &|_| None).unwrap();
    let (client, server) = (config.client.unwrap(), config.server.unwrap());
    let client = Protection::new(&client.servers[0].transport, Side::Initiator).unwrap();
    (client, Protection::new(&server.transport, Side::Responder).unwrap())
}
