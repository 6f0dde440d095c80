//! The codec by itself: an [`Ear`] gives it bytes as an engine does whose socket has them in any
//! pieces, and writes down what they come to.

use super::*;
use crate::config::{NoiseConfig, Transport};
use crate::proto::noise::Protection;
use crate::wire::message::tests::samples;

/// The end of a connection that hears.
struct Ear {
    codec: Codec,
    kept: Vec<u8>,
    heard: Heard,
    /// From how many bytes on a run's are asked for by themselves.
    worth: usize,
}

/// What an [`Ear`] has heard: all data, and each event with its payload and the data before it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Heard {
    data: Vec<u8>,
    events: Vec<(usize, Event, Vec<u8>)>,
}

impl Ear {
    fn new(codec: Codec) -> Ear {
        Ear { codec, kept: Vec::new(), heard: Heard::default(), worth: usize::MAX }
    }

    /// A server's, on a link of a native client that has said who it is.
    fn on_link() -> Ear {
        let mut ear = Ear::new(Codec::new(Channel::Clear, Side::Responder));
        ear.codec.allow(frame::MAX_BODY);
        ear.hear(&[1, 0, kind::GOODBYE, 1, 0, kind::GOODBYE]).expect("in frames");
        ear.heard = Heard::default();
        ear
    }

    fn leased(is_raw: bool) -> Ear {
        let mut ear = Ear::on_link();
        let entry = if is_raw { Entry::Https } else { Entry::Udp };
        assert_eq!(ear.codec.lend(entry, true).1, is_raw);
        ear
    }

    /// The socket has so many bytes more.
    fn hear(&mut self, mut bytes: &[u8]) -> Result<(), Reject> {
        loop {
            if self.codec.has_whole(&self.kept)? {
                self.open()?;
                continue;
            }
            if bytes.is_empty() {
                return Ok(());
            }
            let most = match self.codec.expects(self.kept.len(), self.worth)? {
                Expects::Frames(most) | Expects::Data(most) => most.min(bytes.len()),
            };
            assert!(most > 0, "a read into nothing");
            let (first, rest) = bytes.split_at(most);
            match self.codec.expects(self.kept.len(), self.worth)? {
                Expects::Frames(_) => {
                    self.kept.extend_from_slice(first);
                    self.open()?;
                }
                Expects::Data(_) => {
                    let used = self.codec.hear_data(first.len())?;
                    self.heard.data.extend_from_slice(&first[..used]);
                }
            }
            bytes = rest;
        }
    }

    fn open(&mut self) -> Result<(), Reject> {
        let mut clear = vec![0xee; self.kept.len() + frame::MAX_BODY];
        let opened = self.codec.open(&self.kept, &mut clear)?;
        self.kept.drain(..opened.taken);
        self.heard.data.extend_from_slice(&clear[..opened.data]);
        if let Some(end) = opened.end {
            let payload = match &end {
                Event::Message(_, payload) => clear[payload.clone()].to_vec(),
                Event::Fin | Event::Reset(_) => Vec::new(),
            };
            // Where it lay in the scratch is nobody's business.
            let end = match end {
                Event::Message(kind, payload) => Event::Message(kind, 0..payload.len()),
                end => end,
            };
            self.heard.events.push((self.heard.data.len(), end, payload));
        }
        Ok(())
    }

    fn end(&mut self) -> Result<Event, Reject> {
        self.codec.hear_end_of_file(self.kept.len())
    }
}

fn framed(message: &Message<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    message.encode(&mut body);
    [&frame::header(body.len())[..], &body].concat()
}

fn run(length: usize) -> Vec<u8> {
    [&frame::run_header(length)[..], &vec![7; length]].concat()
}

fn protection(side: Side) -> Protection {
    let transport = Transport::Noise(NoiseConfig {
        patterns: vec!["Noise_NN_25519_ChaChaPoly_BLAKE2s".to_owned()],
        local_private_key: None,
        remote_public_key: None,
    });
    Protection::new(&transport, side).expect("a pattern")
}

/// A client's codec and a server's whose handshake is done, or that need none.
fn pair(is_sealed: bool) -> (Codec, Codec) {
    if !is_sealed {
        return (
            Codec::new(Channel::Clear, Side::Initiator),
            Codec::new(Channel::Clear, Side::Responder),
        );
    }
    let client = Channel::initiate(&protection(Side::Initiator), 0, [1; 32]).expect("a channel");
    let server = Channel::respond(&protection(Side::Responder), [2; 32]);
    let mut client = Codec::new(client, Side::Initiator);
    let mut server = Codec::new(server, Side::Responder);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    assert!(client.shake(&mut first).expect("its turn").is_none());
    assert_eq!(server.hear_shake(&first), Ok(first.len()));
    let one = server.shake(&mut second).expect("its turn").expect("done");
    assert_eq!(client.hear_shake(&second), Ok(second.len()));
    let other = client.shake(&mut first).expect("done").expect("done");
    assert!(one == other);
    (client, server)
}

#[test]
fn a_handshake_message_is_read_when_it_is_whole_and_not_before() {
    let client = Channel::initiate(&protection(Side::Initiator), 0, [1; 32]).expect("a channel");
    let mut client = Codec::new(client, Side::Initiator);
    let mut message = Vec::new();
    client.shake(&mut message).expect("its turn");
    let mut server =
        Codec::new(Channel::respond(&protection(Side::Responder), [2; 32]), Side::Responder);
    for cut in 0..message.len() {
        let cut = &message[..cut];
        assert!(server.lacks_of_shake(cut).expect("no fault") >= message.len() - cut.len());
        assert_eq!((server.hear_shake(cut), server.is_awaiting()), (Ok(0), true));
        assert!(server.shake(&mut Vec::new()).expect("not its turn").is_none());
    }
    let more = [&message[..], b"more"].concat();
    assert_eq!((server.lacks_of_shake(&more), server.is_awaiting()), (Ok(0), true));
    assert_eq!((server.hear_shake(&more), server.is_awaiting()), (Ok(message.len()), false));
    let too_long = frame::header(noise::MAX_HANDSHAKE_MESSAGE + 1);
    assert_eq!(server.lacks_of_shake(&too_long), Err(Reject::Frame(frame::Reject::TooLong)));
}

#[test]
fn only_what_is_tls_itself_goes_raw_where_the_rest_is_sealed() {
    let open = |entry, lease, raw| {
        let address = "192.0.2.1:1".parse().expect("literal");
        let (visitor, local, name, first_bytes) = (address, address, &b""[..], &b""[..]);
        Open {
            lease,
            service: 0,
            entry,
            visitor,
            local,
            offset: 0,
            raw,
            confirm: false,
            name,
            first_bytes,
        }
    };
    for (is_sealed, entry, wished, is_raw) in [
        (true, Entry::Tcp, true, false),
        (true, Entry::Http, true, false),
        (true, Entry::Udp, true, false),
        (true, Entry::Https, true, true),
        (true, Entry::Https, false, false),
        (false, Entry::Tcp, false, true),
        (false, Entry::Https, false, true),
        (false, Entry::Udp, true, false),
    ] {
        let (mut client, mut server) = pair(is_sealed);
        assert_eq!(server.lend(entry, wished), (1, is_raw), "{entry:?}");
        assert_eq!(client.hear_open(&open(entry, 1, is_raw)), Ok(()));
        assert_eq!((client.is_raw(), server.is_raw()), (is_raw, is_raw));
    }
    for entry in [Entry::Tcp, Entry::Http, Entry::Udp] {
        let (mut client, _) = pair(true);
        assert_eq!(client.hear_open(&open(entry, 1, true)), Err(Reject::Unexpected), "{entry:?}");
    }
    let (mut client, _) = pair(false);
    let ahead = Reject::Lease(lease::Reject::OpenOutOfOrder);
    assert_eq!(client.hear_open(&open(Entry::Tcp, 2, false)), Err(ahead));
}

#[test]
fn a_raw_run_is_heard_however_it_is_cut_and_only_where_it_may_come() {
    for is_raw in [true, false] {
        for worth in [1, 100, 1000] {
            for piece in [1, 5, 6, 41, 306] {
                let mut ear = Ear { worth, ..Ear::leased(is_raw) };
                let stream = [run(300), run(300)].concat();
                let result = stream.chunks(piece).try_for_each(|piece| ear.hear(piece));
                match result {
                    Ok(()) => assert!(is_raw && ear.heard.data == [7; 600]),
                    Err(reject) => {
                        assert!(!is_raw && reject == Reject::Frame(frame::Reject::Empty));
                    }
                }
            }
        }
    }
}

#[test]
fn no_run_comes_behind_an_end_and_no_end_inside_a_run() {
    let fin = [1, 0, kind::FIN];
    let mut ear = Ear::leased(true);
    let after_end = Err(Reject::Lease(lease::Reject::AfterEnd));
    assert_eq!(ear.hear(&[&run(3)[..], &fin, &run(3)].concat()), after_end);
    assert_eq!((ear.heard.data.len(), ear.heard.events.len()), (3, 1));

    let mut ear = Ear::leased(true);
    ear.hear(&run(3)[..8]).expect("a part");
    assert_eq!((ear.end(), &ear.heard.data[..]), (Err(Reject::Closed), &[7, 7][..]));
}

#[test]
fn after_our_reset_a_run_is_thrown_away() {
    let mut ear = Ear::leased(true);
    let (lease, reason) = (1, Reason::Broken);
    assert_eq!(ear.codec.reset(reason), Tell::Message(Message::Reset { lease, reason }));
    assert_eq!(ear.codec.reset(reason), Tell::Nothing, "once");
    ear.hear(&run(300)[..100]).expect("nothing wrong");
    ear.hear(&run(300)[100..]).expect("nothing wrong");
    assert_eq!(ear.heard, Heard::default());
    ear.hear(&[1, 0, kind::FIN]).expect("its end");
    assert!(ear.codec.lease().has_ended());
}

/// What a client may say to a server, all of it: a greeting, and a lease with every kind of DATA.
fn client_stream(codec: &mut Codec, is_raw: bool) -> Vec<u8> {
    let mut stream = Vec::new();
    let (mut scratch, mut wire) = (Vec::new(), vec![0; 1 << 17]);
    let mut say = |codec: &mut Codec, message: &Message<'_>, stream: &mut Vec<u8>| {
        let sealed = codec.seal(message, &mut scratch, &mut wire).expect("keys");
        stream.extend_from_slice(&wire[..sealed]);
    };
    for message in samples() {
        if !matches!(message, Message::Fin | Message::Reset { .. } | Message::Ready) {
            say(codec, &message, &mut stream);
        }
    }
    let address = "192.0.2.1:1".parse().expect("literal");
    let open = Open {
        lease: 1,
        service: 0,
        entry: if is_raw { Entry::Https } else { Entry::Udp },
        visitor: address,
        local: address,
        offset: 0,
        raw: is_raw,
        confirm: false,
        name: b"",
        first_bytes: b"",
    };
    codec.hear_open(&open).expect("the first");
    for length in [1, 30, 700] {
        stream.extend(wrapped(codec, length));
    }
    let (lease, reason) = (1, Reason::Refused);
    let Tell::Message(fin) = codec.finish() else { panic!("it has a word for it") };
    say(codec, &fin, &mut stream);
    say(codec, &Message::Reset { lease, reason }, &mut stream);
    stream
}

fn wrapped(codec: &mut Codec, length: usize) -> Vec<u8> {
    let mut clear: Vec<u8> = (0..=length).map(|at| at as u8).collect();
    let before = clear.clone();
    let mut wire = vec![0; 2 * length + 100];
    let sealed = codec.wrap(&mut clear, length, &mut wire).expect("keys");
    assert!(clear == before, "the byte under the kind is back");
    wire.truncate(sealed);
    wire
}

/// The server's side of [`client_stream`], from which all else is heard.
fn server_ear(codec: Codec, is_raw: bool, worth: usize) -> Ear {
    let mut ear = Ear { worth, ..Ear::new(codec) };
    ear.codec.allow(frame::MAX_BODY);
    let entry = if is_raw { Entry::Https } else { Entry::Udp };
    ear.codec.lend(entry, is_raw);
    // One of each message comes.
    ear.codec.ask_acceptance();
    ear
}

/// `pieces` of a stream, each heard for itself, come to what the whole does.
fn hear_in_pieces<'a>(ear: &mut Ear, pieces: impl Iterator<Item = &'a [u8]>) -> Heard {
    for piece in pieces {
        ear.hear(piece).expect("a stream in order");
    }
    assert!(ear.kept.is_empty(), "all of it was taken");
    std::mem::take(&mut ear.heard)
}

#[test]
fn a_native_stream_comes_to_the_same_wherever_it_is_cut() {
    for (is_sealed, is_raw) in [(false, false), (false, true), (true, false), (true, true)] {
        // The keys count messages, so every hearing has a handshake and a stream of its own.
        let fresh = |worth| {
            let (mut client, server) = pair(is_sealed);
            (client_stream(&mut client, is_raw), server_ear(server, is_raw, worth))
        };
        let (stream, mut ear) = fresh(usize::MAX);
        let whole = hear_in_pieces(&mut ear, std::iter::once(&stream[..]));
        assert_eq!(whole.data.len(), 1 + 30 + 700);
        // ACCEPTED is the lease's alone.
        assert_eq!(whole.events.len(), samples().len() - 4 + 2);
        let last = &whole.events[whole.events.len() - 2..];
        assert_eq!([&last[0].1, &last[1].1], [&Event::Fin, &Event::Reset(Reason::Refused)]);
        for worth in [1, 100, usize::MAX] {
            let (stream, mut ear) = fresh(worth);
            assert_eq!(hear_in_pieces(&mut ear, stream.chunks(1)), whole, "byte by byte");
            let cuts =
                if is_sealed { (1..stream.len()).step_by(7) } else { (1..stream.len()).step_by(1) };
            for cut in cuts {
                let (stream, mut ear) = fresh(worth);
                let (first, rest) = stream.split_at(cut);
                let heard = hear_in_pieces(&mut ear, [first, rest].into_iter());
                assert!(heard == whole, "cut at {cut}, worth {worth}: {heard:?}");
            }
        }
    }
}

#[test]
fn a_rathole_stream_comes_to_the_same_wherever_it_is_cut() {
    for is_sealed in [false, true] {
        let hello = rathole::Hello::Data([9; 32]).encode();
        let all = [&hello[..], &[5; 100]].concat();
        let fresh = || {
            let (mut client, server) = pair(is_sealed);
            client.speak_rathole();
            let stream = match client.is_clear_stream() {
                true => all.clone(),
                false => [&all[..20], &all[20..]]
                    .map(|part| {
                        let mut clear = [part, &[0]].concat();
                        let mut wire = vec![0; 200];
                        let sealed = client.wrap(&mut clear, part.len(), &mut wire);
                        wire.truncate(sealed.expect("keys"));
                        wire
                    })
                    .concat(),
            };
            (stream, Ear::new(server))
        };
        let (stream, _) = fresh();
        for cut in 0..stream.len() {
            let (stream, mut ear) = fresh();
            let (first, rest) = stream.split_at(cut);
            let heard = hear_in_pieces(&mut ear, [first, rest].into_iter());
            assert_eq!((&heard.data, heard.events.len()), (&all, 0), "cut at {cut}");
            assert_eq!(ear.codec.dialect(), Dialect::Rathole);
            assert_eq!(ear.end(), Err(Reject::Closed), "it is not lent");
        }
        let (stream, mut ear) = fresh();
        assert_eq!(hear_in_pieces(&mut ear, stream.chunks(1)).data, all);
        // Lent, an end of file is the visitor's; a second one is nobody's.
        ear.codec.lend_stream();
        assert_eq!(ear.end(), Ok(Event::Fin));
        assert_eq!(ear.end(), Err(Reject::Closed));
        assert!(!ear.codec.lease().is_over());
        assert_eq!((ear.codec.finish(), ear.codec.lease().is_over()), (Tell::EndOfFile, true));
    }
}

#[test]
fn an_end_of_file_inside_a_frame_breaks_a_rathole_stream() {
    let (mut client, server) = pair(true);
    client.speak_rathole();
    let hello = rathole::Hello::Data([9; 32]).encode();
    let mut clear = [&hello[..], &[0]].concat();
    let mut wire = vec![0; 100];
    let sealed = client.wrap(&mut clear, hello.len(), &mut wire).expect("keys");
    let mut ear = Ear::new(server);
    ear.hear(&wire[..sealed]).expect("a hello");
    ear.codec.lend_stream();
    for cut in 1..40 {
        let mut ear = Ear { kept: wire[..cut].to_vec(), ..Ear::new(pair(true).1) };
        ear.codec.speak_rathole();
        ear.codec.lend_stream();
        assert_eq!(ear.end(), Err(Reject::Closed), "cut at {cut}");
    }
    assert_eq!(ear.codec.reset(Reason::Broken), Tell::Nothing, "there is no word for it");
    assert_eq!(ear.codec.expects(0, 1), Err(Reject::Closed), "nothing is heard behind it");
}

#[test]
fn a_message_that_is_cut_is_not_heard_and_its_end_is_a_break() {
    for message in samples() {
        let bytes = framed(&message);
        for cut in 0..bytes.len() {
            let mut ear = Ear::leased(false);
            ear.hear(&bytes[..cut]).expect("it may go on");
            assert_eq!(ear.heard, Heard::default(), "{message:?} cut at {cut}");
            assert_eq!(ear.end(), Err(Reject::Closed), "{message:?} cut at {cut}");
        }
    }
}

#[test]
fn a_payload_that_is_cut_or_too_long_is_refused() {
    let cut = Err(Reject::Message(message::Reject::Malformed));
    let said = |body: &[u8]| [&frame::header(body.len())[..], body].concat();
    let reset = framed(&Message::Reset { lease: 1, reason: Reason::Broken });
    let payload = &reset[frame::HEADER..reset.len() - 1];
    for length in (0..payload.len()).chain([payload.len() + 1]) {
        let payload = [payload, b"x"].concat()[..length].to_vec();
        let body = [&payload[..], &[kind::RESET]].concat();
        assert_eq!(Ear::leased(false).hear(&said(&body)), cut, "{length}");
    }
    for kind in [kind::FIN, kind::READY] {
        let mut ear = Ear::leased(false);
        assert_eq!(ear.hear(&said(&[b'x', kind])), cut);
    }
    // The others are for whoever knows what may come: they are told as they are.
    for message in samples() {
        let bytes = framed(&message);
        let (kind, payload) = bytes[frame::HEADER..].split_last().expect("a kind");
        if [kind::FIN, kind::RESET, kind::READY].contains(kind) {
            continue;
        }
        for length in 0..payload.len() {
            let mut ear = Ear::on_link();
            ear.hear(&said(&[&payload[..length], &[*kind]].concat())).expect("a frame");
            let [(0, Event::Message(told, _), heard)] = &ear.heard.events[..] else { panic!() };
            assert_eq!((told, &heard[..]), (kind, &payload[..length]));
            // What is left of these may be whole: shorter names and fewer first bytes.
            let is_open = matches!(message, Message::Open(_) | Message::Register(_));
            let decoded = Message::decode(*kind, heard);
            assert!(decoded.is_err() || is_open, "{message:?} cut to {length}: {decoded:?}");
        }
    }
}

#[test]
fn data_come_back_whatever_their_length() {
    for is_sealed in [false, true] {
        let batch = 4 * DATA_PER_FRAME - 1000;
        for length in [1, DATA_PER_FRAME - 1, DATA_PER_FRAME, DATA_PER_FRAME + 1, batch] {
            let (mut client, server) = pair(is_sealed);
            let mut ear = server_ear(server, false, usize::MAX);
            client.lend_stream();
            let wire = wrapped(&mut client, length);
            let frames = length.div_ceil(DATA_PER_FRAME);
            let around =
                frames * (frame::HEADER + 1 + if is_sealed { frame::NOISE_TAG } else { 0 });
            assert_eq!(wire.len(), length + around);
            ear.hear(&wire).expect("opens");
            let sent: Vec<u8> = (0..length).map(|at| at as u8).collect();
            assert!(ear.heard.data == sent, "{length} bytes");
        }
    }
}

#[test]
fn ends_are_told_in_the_dialect_s_own_way() {
    let (mut client, mut server) = pair(false);
    for codec in [&mut client, &mut server] {
        codec.lend_stream();
    }
    assert_eq!(server.finish(), Tell::Message(Message::Fin));
    let mut ear = Ear::new(client);
    ear.hear(&framed(&Message::Fin)).expect("in turn");
    // The client ends last: READY says it too.
    assert_eq!(ear.codec.finish(), Tell::Nothing);
    assert_eq!(ear.codec.ready(), Message::Ready);
    let mut ear = Ear::new(server);
    ear.codec.hear_dialect(b"undp");
    ear.hear(&framed(&Message::Ready)).expect("in turn");
    assert!(ear.heard.events[0].1 == Event::Fin && ear.codec.lease().is_over());
    // READY is for servers to hear; on a client it is a message like others.
    let mut ear = Ear::new(pair(false).0);
    ear.hear(&framed(&Message::Ready)).expect("a frame");
    assert_eq!(ear.heard.events[0].1, Event::Message(kind::READY, 0..0));
}
