//! rathole's messages, recorded between a rathole 0.5.0 server and its client (service `pi`, token
//! `token`): they are the seeds for fuzzing, and what this project takes them for.

use std::fs;
use std::path::Path;

use underpass::wire::rathole::{self, Ack, Command, DatagramHeader, Hello, Start};
use underpass::wire::{Status, rathole::TAG};

fn seed(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/rathole");
    fs::read(folder.join(name).with_extension("bin")).expect("part of the project")
}

fn tags(bytes: &[u8]) -> Vec<[u8; TAG]> {
    bytes.chunks(TAG).map(|tag| tag.try_into().expect("whole tags")).collect()
}

#[test]
fn a_recorded_control_channel_is_understood() {
    let hello = |name| Hello::decode(&seed(name).try_into().expect("37 bytes"));
    let auth: rathole::Digest = seed("auth").try_into().expect("32 bytes");
    assert!(matches!(hello("control_hello"), Ok(Hello::Control(_))));
    assert!(matches!(hello("server_hello"), Ok(Hello::Control(_))));
    assert_eq!(hello("data_hello"), Ok(Hello::Data(auth)), "the auth is the session key");
    let after = tags(&seed("ok_and_commands"));
    assert_eq!(Ack::decode(after[0]), Ok(Ack::Ok));
    let commands: Vec<_> = after[1..].iter().map(|tag| Command::decode(*tag)).collect();
    assert!(commands[..3].iter().all(|command| *command == Ok(Command::CreateDataChannel)));
    assert_eq!(commands[3..], [Ok(Command::Heartbeat)]);
    assert_eq!(Ack::decode(tags(&seed("ack_wrong_token"))[0]), Ok(Ack::WrongToken));
}

#[test]
fn recorded_data_channels_are_understood() {
    let tcp = seed("start_tcp_and_bytes");
    assert_eq!(Start::decode(tags(&tcp[..TAG])[0]), Ok(Start::Tcp));
    assert_eq!(&tcp[TAG..], b"hello");
    assert_eq!(Start::decode(tags(&seed("start_udp"))[0]), Ok(Start::Udp));
    let bytes = seed("datagrams");
    let mut rest = &bytes[..];
    let mut payloads = Vec::new();
    while let Ok(Status::Complete((header, taken))) = DatagramHeader::first(rest) {
        let (payload, behind) = rest[taken..].split_at(header.length.into());
        payloads.push((header.visitor.to_string(), payload));
        rest = behind;
    }
    let expected = [("127.0.0.1:50000", &b"ping"[..]), ("[::1]:50001", b"ping6")];
    assert_eq!(payloads, expected.map(|(visitor, payload)| (visitor.to_owned(), payload)));
}

#[test]
fn every_seed_holds_what_the_fuzz_target_checks() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/rathole");
    let mut seen = 0;
    for entry in fs::read_dir(folder).expect("part of the project") {
        let bytes = fs::read(entry.expect("readable").path()).expect("readable");
        (0..=bytes.len()).for_each(|cut| rathole::fuzz::check(&bytes[..cut]));
        seen += 1;
    }
    assert_eq!(seen, 11);
}
