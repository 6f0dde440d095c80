//! Tunnel connections over loopback, where splices are what they are.

use std::io::Write;
use std::net::{TcpListener, TcpStream};

use super::*;
use crate::config::{NoiseConfig, Transport};
use crate::engine::mio_net::MioNet;
use crate::engine::net::{Token, Wake};
use crate::engine::relay;
use crate::proto::lease;
use crate::proto::noise::Protection;
use crate::wire::message::{Entry, kind};

#[test]
fn a_raw_run_is_heard_however_it_is_cut_and_only_where_it_may_come() {
    let run = [&frame::run_header(300)[..], &[7; 300]].concat();
    for raw in [true, false] {
        for worth in [1, 100, 1000] {
            let mut link = Link::leased(raw);
            let heard: Result<Vec<_>, _> =
                run.chunks(41).map(|part| link.hear(part, worth)).collect();
            match heard {
                Ok(heard) => assert!(raw && heard.concat() == [7; 300]),
                Err(Gone::Frame(frame::Reject::Empty)) => assert!(!raw),
                Err(gone) => panic!("{gone}"),
            }
        }
    }
}

#[test]
fn no_run_comes_behind_an_end_and_no_end_inside_a_run() {
    let fin = [1, 0, kind::FIN];
    let run = [&frame::run_header(3)[..], b"abc"].concat();
    let mut link = Link::leased(true);
    let heard = link.hear(&[&run[..], &fin, &run].concat(), 1000).expect("the end hides it");
    assert_eq!(heard, b"abc");
    assert!(matches!(link.hear(b"", 1000), Err(Gone::Lease(lease::Reject::AfterEnd))));

    let mut link = Link::leased(true);
    assert_eq!(link.hear(&run[..8], 1000).expect("a part"), b"ab");
    drop(link.peer.take());
    assert!(matches!(link.hear(b"", 1000), Err(Gone::Closed)));
}

#[test]
fn after_our_reset_a_run_is_thrown_away() {
    let run = [&frame::run_header(300)[..], &[7; 300]].concat();
    let mut link = Link::leased(true);
    link.conn.say_reset(&mut link.io, Reason::Broken).expect("open");
    assert_eq!(link.hear(&run[..100], 1).expect("nothing wrong"), b"");
    assert_eq!(link.hear(&run[100..], 1).expect("nothing wrong"), b"");
    assert!(link.hear(&[1, 0, kind::FIN], 1).is_ok());
    assert!(link.conn.lease().has_ended());
}

#[test]
fn who_says_nothings_without_end_has_its_turns_like_others() {
    // After our own RESET, DATA of no bytes, which costs none of our patience.
    let nothing = [1, 0, kind::DATA];
    let most = (READS * Scratch::new().wire.len()) as u64;
    let mut link = Link::leased(false);
    link.codec().reset(Reason::Broken);
    let mut peer = link.peer.take().expect("it is there");
    let flood = nothing.repeat(1 << 20);
    let all = flood.len() as u64;
    let writer = std::thread::spawn(move || peer.write_all(&flood).map(|()| peer));
    let mut turns = 0;
    while link.conn.socket.read() < all {
        let before = link.conn.socket.read();
        link.await_event();
        let turn = relay::settle(&mut link.io, &mut link.conn, Lease::is_over);
        let read = link.conn.socket.read() - before;
        assert!(read <= most, "{read} bytes in one turn");
        turns += usize::from(matches!(turn.expect("nothing wrong"), Turn::More));
    }
    drop(writer.join().expect("no panic").expect("it was read"));
    assert!(turns > 0, "no turn was used up");
}

#[test]
fn a_reset_is_said_once_for_a_lease_and_not_without_one() {
    let reset = [&[6, 0][..], &1_u32.to_le_bytes(), &[0, kind::RESET]].concat();
    let mut link = Link::leased(false);
    link.codec().reset(Reason::Broken);
    let ends = [1, 0, kind::FIN, 1, 0, kind::READY];
    assert_eq!(link.hear(&ends[..3], 1).expect("in turn"), b"");
    assert_eq!(link.hear(&ends[3..], 1).expect("in turn"), b"");
    assert!(link.hear(&reset, 1).is_ok(), "it may have crossed our end");
    let twice = link.hear(&reset, 1);
    assert!(matches!(twice, Err(Gone::Lease(lease::Reject::ResetTwice))));
}

#[test]
fn no_keys_are_agreed_on_before_somebody_says_so() {
    let transport = Transport::Noise(NoiseConfig {
        patterns: vec!["Noise_NN_25519_ChaChaPoly_BLAKE2s".to_owned()],
        local_private_key: None,
        remote_public_key: None,
    });
    let protection = |side| Protection::new(&transport, side).expect("a pattern");
    let client = Channel::initiate(&protection(Side::Initiator), 0, [2; 32]);
    let mut client = client.expect("a channel");
    let mut message = Vec::new();
    client.write_handshake(&mut message).expect("its turn");
    let responder = Channel::respond(&protection(Side::Responder), [1; 32]);
    let mut link = Link::fresh(responder);
    let mut peer = link.peer.take().expect("it is there");
    let (first, rest) = message.split_at(20);
    for (part, whole) in [(&b""[..], false), (first, false), (rest, true)] {
        peer.write_all(part).expect("loopback");
        link.await_event();
        // Asked twice: what is here is here.
        for _ in 0..2 {
            match link.conn.await_hands(&mut link.io).expect("no fault") {
                Turn::Waiting => assert!(!whole),
                Turn::Done(costs) => assert!(whole && costs),
                Turn::More => panic!("one message"),
            }
        }
        assert!(link.codec().is_awaiting());
    }
    let shaken = link.conn.shake_hands(&mut link.io).expect("fits");
    assert!(matches!(shaken, Turn::Done(_)), "NN has two messages");
    assert!(matches!(link.conn.await_hands(&mut link.io), Ok(Turn::Done(false))));
}

/// A server's link over loopback, in a lease.
struct Link {
    peer: Option<TcpStream>,
    io: Io<MioNet>,
    conn: TunnelConn<mio::net::TcpStream, ()>,
}

impl Link {
    fn leased(raw: bool) -> Link {
        let mut link = Link::fresh(Channel::Clear);
        // It has said who it is.
        let hello = [2, 0, b'?', kind::PING];
        assert!(matches!(link.hear(&hello, 1), Ok(heard) if heard.is_empty()));
        let entry = if raw { Entry::Https } else { Entry::Udp };
        assert_eq!(link.codec().lend(entry, raw).1, raw);
        link
    }

    fn fresh(channel: Channel) -> Link {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        let peer = Some(TcpStream::connect(address).expect("loopback"));
        let stream = listener.accept().expect("loopback").0;
        stream.set_nonblocking(true).expect("a socket");
        let mut net = MioNet::new().expect("epoll");
        assert!(net.splice_worth().is_some(), "no pipe");
        let mut io = Io { net, scratch: Scratch::new(), buffers: Buffers::default() };
        let socket = Socket::accepted(mio::net::TcpStream::from_std(stream));
        let mut conn = TunnelConn::new(socket, channel, Side::Responder, ());
        io.net.register(conn.socket.stream_mut(), Token(1)).expect("epoll");
        Link { peer, io, conn }
    }

    fn codec(&mut self) -> &mut Codec {
        self.conn.codec()
    }

    /// Until there is something to read, for a little while.
    fn await_event(&mut self) {
        let mut wakes = Vec::new();
        let until = self.io.net.now() + std::time::Duration::from_millis(50);
        while !self.conn.socket.is_readable() && self.io.net.now() < until {
            self.io.net.poll(Some(until), &mut wakes).expect("epoll");
            for wake in wakes.drain(..) {
                if let Wake::Ready(readiness) = wake {
                    self.conn.socket.note(&readiness);
                }
            }
        }
    }

    /// The peer says `bytes`; what the relay gets of it.
    fn hear(&mut self, bytes: &[u8], worth: usize) -> Result<Vec<u8>, Gone> {
        if let Some(peer) = &mut self.peer {
            peer.write_all(bytes).expect("loopback");
        }
        self.await_event();
        let mut heard = Vec::new();
        loop {
            let pulled = self.conn.draw(&mut self.io, worth)?;
            let bytes = match pulled.piped {
                true => {
                    let Io { net, scratch, .. } = &mut self.io;
                    let left = net.empty_pipe(&mut scratch.wire);
                    &scratch.wire[..left]
                }
                false => &self.io.scratch.clear[..pulled.data],
            };
            assert_eq!(bytes.len(), pulled.data);
            heard.extend_from_slice(bytes);
            if !pulled.moved || pulled.end.is_some() {
                return Ok(heard);
            }
        }
    }
}
