//! The native protocol's seeds for fuzzing are what the messages' own encoder says, byte for byte:
//! PROTOCOL.md is checked against them by hand, so they must not drift.

use std::fs;
use std::path::Path;

use underpass::wire::message::Message;
use underpass::wire::{frame, message};

#[test]
fn the_seeds_decode_and_come_back_byte_for_byte() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/message");
    let mut seen = 0;
    for entry in fs::read_dir(folder).expect("the folder is part of the project") {
        let path = entry.expect("readable").path();
        let bytes = fs::read(&path).expect("readable");
        let (kind, payload) = bytes.split_last().expect("not empty");
        let decoded = Message::decode(*kind, payload);
        let decoded = decoded.unwrap_or_else(|reject| panic!("{}: {reject:?}", path.display()));
        let mut again = Vec::new();
        decoded.encode(&mut again);
        assert_eq!(again, bytes, "{}", path.display());
        message::fuzz::check(&bytes);
        frame::fuzz::check(&bytes);
        seen += 1;
    }
    assert_eq!(seen, 20, "one of each message, and each answer with a check of its own");
}
