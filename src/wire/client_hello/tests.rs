//! Tests of the ClientHello's parser.

use super::*;

/// A hello with these extensions, in records of at most `cut` bytes.
fn hello(extensions: &[(u16, &[u8])], cut: usize) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; RANDOM]);
    body.extend([0, 0, 2, 0x13, 1, 1, 0]);
    let mut block = Vec::new();
    for (kind, data) in extensions {
        block.extend(kind.to_be_bytes());
        block.extend((data.len() as u16).to_be_bytes());
        block.extend(*data);
    }
    body.extend((block.len() as u16).to_be_bytes());
    body.extend(block);
    records(&message(CLIENT_HELLO, &body), cut)
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32).to_be_bytes();
    [&[kind], &length[1..], body].concat()
}

fn records(message: &[u8], cut: usize) -> Vec<u8> {
    let record = |part: &[u8]| {
        let [high, low] = (part.len() as u16).to_be_bytes();
        [&[HANDSHAKE, 3, 1, high, low], part].concat()
    };
    message.chunks(cut).flat_map(record).collect()
}

fn server_name(names: &[&str]) -> Vec<u8> {
    let entry = |name: &&str| {
        let [high, low] = (name.len() as u16).to_be_bytes();
        [&[HOST_NAME, high, low], name.as_bytes()].concat()
    };
    let list: Vec<u8> = names.iter().flat_map(entry).collect();
    [&(list.len() as u16).to_be_bytes(), &list[..]].concat()
}

/// Name and protocols of a complete hello.
type Outcome = Result<Status<(Option<String>, Vec<Vec<u8>>)>, Reject>;

fn outcome(stream: &[u8]) -> Outcome {
    fuzz::check(stream);
    let mut scratch = vec![0; CLIENT_HELLO_BYTES];
    Ok(match HelloScan::new().feed(stream, &mut scratch)? {
        Status::Partial => Status::Partial,
        Status::Complete(hello) => Status::Complete((
            hello.name.map(|name| name.to_string()),
            hello.alpn.map(<[u8]>::to_vec).collect(),
        )),
    })
}

#[test]
fn p1_name_and_protocols_whatever_the_records() {
    let sni = server_name(&["Pi.Example.com."]);
    let alpn = b"\0\x0c\x02h2\x08http/1.1";
    for cut in [1, 2, 3, 7, 100, RECORD_BYTES] {
        let stream = hello(&[(ALPN, alpn), (SERVER_NAME, &sni), (0xfe0d, b"ech")], cut);
        let protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let expected = (Some("pi.example.com".to_owned()), protocols);
        assert_eq!(outcome(&stream), Ok(Status::Complete(expected)), "cut {cut}");
    }
}

#[test]
fn p2_incomplete_malformed_and_no_name_are_three_outcomes() {
    let named = hello(&[(SERVER_NAME, &server_name(&["a.example"]))], 40);
    for length in 0..named.len() {
        assert_eq!(outcome(&named[..length]), Ok(Status::Partial), "{length} bytes");
    }
    assert_eq!(outcome(&hello(&[], 40)), Ok(Status::Complete((None, vec![]))));
    let without_block =
        message(CLIENT_HELLO, &[&[3, 3][..], &[7; RANDOM], &[0, 0, 2, 1, 2, 1, 0]].concat());
    assert_eq!(outcome(&records(&without_block, 9)), Ok(Status::Complete((None, vec![]))));
    assert_eq!(outcome(&hello(&[(SERVER_NAME, b"")], 40)), Err(Reject::ServerName));
}

#[test]
fn p4_two_names_and_empty_protocols_are_refused() {
    let twice = server_name(&["a", "a"]);
    assert_eq!(outcome(&hello(&[(SERVER_NAME, &twice)], 99)), Err(Reject::TwoNames));
    let once = server_name(&["a"]);
    let extensions: [(u16, &[u8]); 2] = [(SERVER_NAME, &once), (SERVER_NAME, &once)];
    assert_eq!(outcome(&hello(&extensions, 99)), Err(Reject::TwoNames));
    let empty_names = [&[0x3e, 0x80][..], &[0; 16000]].concat();
    for list in [&empty_names[..], b"", b"\0\0", b"\0\x03\x02h2h", b"\0\x02\x02h", b"\0\x02\x01h1"]
    {
        assert_eq!(outcome(&hello(&[(ALPN, list)], 99)), Err(Reject::Alpn));
    }
    let extensions: [(u16, &[u8]); 2] = [(ALPN, b"\0\x02\x01h"), (ALPN, b"\0\x02\x01h")];
    assert_eq!(outcome(&hello(&extensions, 99)), Err(Reject::TwoAlpn));
    let dotted = hello(&[(SERVER_NAME, &server_name(&["192.0.2.1"]))], 99);
    assert_eq!(outcome(&dotted), Err(Reject::Name(host::Reject::Address)));
}

#[test]
fn the_earliest_byte_decides() {
    for (stream, reject) in [
        (&b"G"[..], Reject::NotTls),
        (b"\x15", Reject::NotTls),
        (b"\x16\x02", Reject::RecordVersion),
        (b"\x16\x03\x01\0\0", Reject::EmptyRecord),
        (b"\x16\x03\x01\x41", Reject::LongRecord),
        (b"\x16\x03\x01\x40\x01", Reject::LongRecord),
        (b"\x16\x03\x01\0\x09\x02", Reject::NotClientHello),
        (b"\x16\x03\x01\0\x09\x01\x01", Reject::LongHello),
        (b"\x16\x03\x01\0\x09\x01\x00\xff\xfd", Reject::LongHello),
        (b"\x16\x03\x01\0\x01\x01\x15", Reject::ForeignRecord),
    ] {
        assert_eq!(outcome(stream), Err(reject), "{stream:x?}");
        assert_eq!(outcome(&stream[..stream.len() - 1]), Ok(Status::Partial), "{stream:x?}");
    }
    let longest_record = b"\x16\x03\x01\x40\x00\x01\x00\xff\xfc";
    assert_eq!(outcome(longest_record), Ok(Status::Partial));
}

#[test]
fn a_hello_of_the_greatest_length_fits_in_the_stream_bound() {
    let mut body = vec![0; CLIENT_HELLO_BYTES - MESSAGE_HEADER];
    body[..2].copy_from_slice(&[3, 3]);
    let stream = records(&message(CLIENT_HELLO, &body), 1);
    assert!(stream.len() <= STREAM_BYTES);
    assert_eq!(outcome(&stream[..stream.len() - 1]), Ok(Status::Partial));
    assert_eq!(outcome(&stream), Err(Reject::CipherSuites));
}

#[test]
fn the_last_record_is_waited_for_and_what_follows_is_not_looked_at() {
    let mut stream = hello(&[(SERVER_NAME, &server_name(&["a"]))], 9999);
    let whole = outcome(&stream);
    assert!(matches!(whole, Ok(Status::Complete(_))));
    stream.extend(b"GET / HTTP/1.1");
    assert_eq!(outcome(&stream), whole);
    stream.truncate(stream.len() - 14);
    stream[4] += 2;
    assert_eq!(outcome(&stream), Ok(Status::Partial));
    stream.extend(b"\xff\xff");
    assert_eq!(outcome(&stream), whole);
}

#[test]
fn a_short_scratch_is_no_panic() {
    let stream = hello(&[], 9);
    assert_eq!(HelloScan::new().feed(&stream, &mut [0; 20]), Err(Reject::LongHello));
}

#[test]
fn http_is_told_from_other_protocols() {
    for (stream, answer) in [
        ("", Status::Partial),
        ("GET", Status::Partial),
        ("GET ", Status::Complete(true)),
        ("UPDATEREDIRECTREF /", Status::Complete(true)),
        ("GET\r", Status::Complete(false)),
        (" ", Status::Complete(false)),
        ("SSH-2.0-OpenSSH_9.6 Debian", Status::Complete(false)),
        ("\x16\x03\x01", Status::Complete(false)),
        ("<stream ", Status::Complete(false)),
    ] {
        assert_eq!(looks_like_http(stream.as_bytes()), answer, "{stream:?}");
    }
    let longest = [b'A'; METHOD_BYTES + 1];
    assert_eq!(looks_like_http(&longest[1..]), Status::Partial);
    assert_eq!(looks_like_http(&longest), Status::Complete(false));
}
