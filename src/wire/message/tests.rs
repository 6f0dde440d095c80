//! Every message, there and back.

use super::*;

/// One of each kind.
pub(crate) fn samples() -> Vec<Message<'static>> {
    let visitor = "192.0.2.7:50000".parse().expect("literal");
    let local = "[2001:db8::1]:443".parse().expect("literal");
    vec![
        Message::Hello { min_version: 1, max_version: 3, instance: [7; 32] },
        Message::LinkHello { version: 1, session: 1 << 40, proof: [8; 32] },
        Message::Welcome { version: 1, session: 9, key: [1; 32], nonce: [2; 32] },
        Message::Refused { min_version: 2, max_version: 4 },
        Message::Register(Register {
            number: 3,
            kind: 0,
            if_free: true,
            ports: 101,
            part: Part { weight: 100, backup: true, is_well: false },
            proof: [5; 32],
            name: b"pi",
        }),
        Message::Registered { number: 3, answer: Registration::Taken },
        Message::Registered { number: 3, answer: Registration::WrongPorts },
        Message::Withdrawn { number: 300 },
        Message::Links { count: 4 },
        Message::Ping(u64::MAX),
        Message::Pong(0),
        Message::Goodbye,
        Message::Release { number: 9 },
        Message::Draining,
        Message::Health { number: 7, is_well: true },
        Message::Ready,
        Message::Accepted,
        Message::Open(Open {
            lease: 77,
            service: 1,
            entry: Entry::Https,
            visitor,
            local,
            offset: 258,
            raw: true,
            confirm: true,
            name: b"pi.example.com",
            first_bytes: b"\x16\x03\x01",
        }),
        Message::Fin,
        Message::Reset { lease: 77, reason: Reason::Refused },
    ]
}

#[test]
fn every_message_comes_back_and_is_refused_when_cut() {
    for message in samples() {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        fuzz::check(&bytes);
        let (kind, payload) = bytes.split_last().expect("has a kind");
        assert_eq!(Message::decode(*kind, payload), Ok(message));
        // Name and first bytes take what is left, so only cuts before them are malformed.
        let fixed = match message {
            Message::Register(register) => payload.len() - register.name.len(),
            Message::Open(open) => payload.len() - open.first_bytes.len(),
            _ => payload.len(),
        };
        for cut in 0..fixed {
            assert!(Message::decode(*kind, &payload[..cut]).is_err(), "{message:?} at {cut}");
        }
    }
}

#[test]
fn first_messages_are_long_enough_for_rathole_to_refuse_at_once() {
    for message in &samples()[..2] {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        assert!(bytes.len() >= 37);
        assert!(u32::from_le_bytes(MAGIC) > 1);
    }
}
