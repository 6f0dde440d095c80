//! What lies around the bytes of a tunnel connection: a proxy to get through, and then the codec,
//! with what it has not taken yet.

use std::ops::Range;

use super::buffers::{BATCH, SPLICE};
use super::conn::{Io, READS, Turn};
use super::gone::Gone;
use super::net::Net;
use super::socket::{Received, Socket};
use crate::proto::noise::{Channel, HandshakeHash, Side};
use crate::proto::passage::{self, Passage};
use crate::proto::tunnel::{Codec, Expects};
pub use crate::proto::tunnel::{Dialect, End};

/// What lies around a tunnel connection's bytes.
pub struct Tunnel {
    /// The way through a proxy, until it is open; all else comes after.
    pub(super) passage: Option<Box<Passage>>,
    /// What the bytes mean.
    pub codec: Codec,
    /// Received and not yet taken by the codec: less than a frame, or what lay behind a message.
    pub(super) inbox: Vec<u8>,
    /// rathole's dialect: opened and not yet taken.
    pub(super) unread: Vec<u8>,
}

/// What a pull gave.
#[derive(Debug, Default)]
pub struct Pulled {
    /// Bytes at the front of `scratch.clear` for the other end of the relay.
    pub data: usize,
    /// They lie in the net's pipe instead.
    pub piped: bool,
    /// What came behind them.
    pub end: Option<End>,
    /// Something was read or opened, if only a part of a frame.
    pub moved: bool,
}

impl Pulled {
    /// What a plain connection gave.
    pub(super) fn plain(received: Received) -> Pulled {
        match received {
            Received::Bytes(data) => Pulled { data, moved: true, ..Pulled::default() },
            Received::End => Pulled { end: Some(End::Fin), moved: true, ..Pulled::default() },
            Received::Blocked => Pulled::default(),
        }
    }
}

/// What [`Tunnel::fill`] found.
enum Filled {
    /// Bytes up to here.
    To(usize),
    /// Nothing new.
    Nothing,
    /// The connection's end.
    End,
}

impl Tunnel {
    /// A tunnel connection before its first byte.
    pub fn new(channel: Channel, side: Side) -> Tunnel {
        let codec = Codec::new(channel, side);
        Tunnel { passage: None, codec, inbox: Vec::new(), unread: Vec::new() }
    }

    /// Goes on through the proxy, if there is one; done when the way is open.
    fn pass<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
    ) -> Result<Turn<()>, Gone> {
        for _ in 0..READS {
            let Some(passage) = &mut self.passage else { return Ok(Turn::Done(())) };
            let said = passage.poll_send();
            socket.send(&mut io.net, &mut io.buffers, &said).map_err(Gone::Io)?;
            match socket.receive(&mut io.net, &mut io.scratch.wire) {
                Ok(Received::Bytes(read)) => {
                    if passage.handle(&io.scratch.wire[..read]).map_err(Gone::Proxy)? {
                        self.passage = None;
                    }
                }
                Ok(Received::Blocked) => return Ok(Turn::Waiting),
                Ok(Received::End) | Err(_) => return Err(Gone::Proxy(passage::Reject::Closed)),
            }
        }
        Ok(Turn::More)
    }

    /// See [`Conn::await_hands`](super::conn::Conn::await_hands).
    pub(super) fn await_hands<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
    ) -> Result<Turn<bool>, Gone> {
        if !self.codec.is_awaiting() {
            return Ok(Turn::Done(false));
        }
        for _ in 0..READS {
            // What lies behind the message can wait in the kernel.
            let lacking = self.codec.lacks_of_shake(&self.inbox)?;
            if lacking == 0 {
                return Ok(Turn::Done(true));
            }
            let room = &mut io.scratch.wire[..lacking];
            match socket.receive(&mut io.net, room).map_err(Gone::Io)? {
                Received::Bytes(read) => io.buffers.append(&mut self.inbox, &room[..read]),
                Received::Blocked => return Ok(Turn::Waiting),
                Received::End => return Err(Gone::Closed),
            }
        }
        Ok(Turn::More)
    }

    /// See [`Conn::shake_hands`](super::conn::Conn::shake_hands).
    pub(super) fn shake_hands<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
    ) -> Result<Turn<HandshakeHash>, Gone> {
        match self.pass(socket, io)? {
            Turn::Done(()) => {}
            Turn::Waiting => return Ok(Turn::Waiting),
            Turn::More => return Ok(Turn::More),
        }
        for _ in 0..READS {
            io.scratch.message.clear();
            let hash = self.codec.shake(&mut io.scratch.message)?;
            socket.send(&mut io.net, &mut io.buffers, &io.scratch.message).map_err(Gone::Io)?;
            if let Some(hash) = hash {
                return Ok(Turn::Done(hash));
            }
            let filled = match self.fill(socket, io, usize::MAX)? {
                Filled::To(filled) => filled,
                Filled::Nothing => return Ok(Turn::Waiting),
                Filled::End => return Err(Gone::Closed),
            };
            let taken = self.codec.hear_shake(&io.scratch.wire[..filled])?;
            self.keep(io, taken..filled);
        }
        Ok(Turn::More)
    }

    /// Takes one batch in.
    pub(super) fn pull<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
    ) -> Result<Pulled, Gone> {
        match self.unread.len() {
            0 => self.receive(socket, io, None),
            data => {
                io.scratch.clear[..data].copy_from_slice(&self.unread);
                io.buffers.give_back(&mut self.unread);
                Ok(Pulled { data, moved: true, ..Pulled::default() })
            }
        }
    }

    /// As [`Tunnel::pull`], but for bytes that go on as they are: at least `worth` of them at once
    /// stay in the net's pipe.
    pub(super) fn draw<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
        worth: usize,
    ) -> Result<Pulled, Gone> {
        match self.unread.is_empty() && socket.may_splice() {
            true => self.receive(socket, io, Some(worth)),
            false => self.pull(socket, io),
        }
    }

    /// Takes one batch in, past what was put back. With `worth`, what goes on as it is may stay in
    /// the net's pipe.
    pub(super) fn receive<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
        worth: Option<usize>,
    ) -> Result<Pulled, Gone> {
        loop {
            match self.codec.expects(self.inbox.len(), worth.unwrap_or(usize::MAX))? {
                Expects::Frames(most) => {
                    let pulled = self.receive_frames(socket, io, most)?;
                    let is_empty = pulled.data == 0 && pulled.end.is_none();
                    // What was asked for by itself tells how to read on.
                    if most == usize::MAX || !pulled.moved || !is_empty {
                        return Ok(pulled);
                    }
                }
                Expects::Data(most) => {
                    // A stream has no length: it is as long as it was before.
                    let is_long = |worth| match most {
                        usize::MAX => socket.is_busy(worth),
                        most => most >= worth,
                    };
                    return match worth.is_some_and(is_long) {
                        true => self.splice(socket, io, most.min(SPLICE)),
                        false => self.receive_data(socket, io, most.min(BATCH)),
                    };
                }
            }
        }
    }

    fn splice<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
        most: usize,
    ) -> Result<Pulled, Gone> {
        match socket.receive_piped(&mut io.net, most).map_err(Gone::Io)? {
            Received::End => self.receive_data(socket, io, most.min(BATCH)),
            received => {
                let pulled = self.hear_data(received)?;
                Ok(Pulled { piped: pulled.data > 0, ..pulled })
            }
        }
    }

    /// Data that nothing lies around are read to where they are wanted.
    fn receive_data<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
        most: usize,
    ) -> Result<Pulled, Gone> {
        let room = &mut io.scratch.clear[..most];
        let received = socket.receive(&mut io.net, room).map_err(Gone::Io)?;
        self.hear_data(received)
    }

    fn hear_data(&mut self, received: Received) -> Result<Pulled, Gone> {
        match received {
            Received::Bytes(length) => {
                let data = self.codec.hear_data(length)?;
                Ok(Pulled { data, moved: true, ..Pulled::default() })
            }
            Received::Blocked => Ok(Pulled::default()),
            Received::End => self.hear_end_of_file(),
        }
    }

    fn hear_end_of_file(&mut self) -> Result<Pulled, Gone> {
        let end = Some(self.codec.hear_end_of_file(self.inbox.len())?);
        Ok(Pulled { end, moved: true, ..Pulled::default() })
    }

    fn receive_frames<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
        most: usize,
    ) -> Result<Pulled, Gone> {
        let filled = match self.fill(socket, io, most)? {
            Filled::To(filled) => filled,
            Filled::Nothing => return Ok(Pulled::default()),
            Filled::End => return self.hear_end_of_file(),
        };
        let wire = &io.scratch.wire[..filled];
        let opened = self.codec.open(wire, &mut io.scratch.clear)?;
        self.keep(io, opened.taken..filled);
        Ok(Pulled { data: opened.data, end: opened.end, moved: true, piped: false })
    }

    /// Brings the inbox to the front of `scratch.wire`, and what the socket has behind it unless
    /// the codec can take something of the inbox already: at most `most` bytes.
    fn fill<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
        most: usize,
    ) -> Result<Filled, Gone> {
        let kept = self.inbox.len();
        let whole = self.codec.has_whole(&self.inbox)?;
        if !whole && !socket.is_readable() {
            return Ok(Filled::Nothing);
        }
        io.scratch.wire[..kept].copy_from_slice(&self.inbox);
        if whole {
            return Ok(Filled::To(kept));
        }
        let end = kept.saturating_add(most).min(io.scratch.wire.len());
        let room = &mut io.scratch.wire[kept..end];
        Ok(match socket.receive(&mut io.net, room).map_err(Gone::Io)? {
            Received::Bytes(read) => Filled::To(kept + read),
            Received::Blocked => Filled::Nothing,
            Received::End => Filled::End,
        })
    }

    /// Keeps what was not taken.
    fn keep<N>(&mut self, io: &mut Io<N>, rest: Range<usize>) {
        let Io { scratch, buffers, .. } = io;
        if rest.is_empty() {
            buffers.give_back(&mut self.inbox);
        } else if self.inbox.is_empty() {
            buffers.append(&mut self.inbox, &scratch.wire[rest]);
        } else {
            self.inbox.clear();
            self.inbox.extend_from_slice(&scratch.wire[rest]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::{NoiseConfig, Transport};
    use crate::engine::buffers::Buffers;
    use crate::engine::buffers::Scratch;
    use crate::engine::conn::Conn;
    use crate::engine::mio_net::MioNet;
    use crate::engine::net::{Token, Wake};
    use crate::engine::relay;
    use crate::proto::lease::{self, Lease};
    use crate::proto::noise::Protection;
    use crate::wire::frame;
    use crate::wire::message::{Entry, Reason, kind};

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
        assert!(link.conn.lease().is_some_and(Lease::has_ended));
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
        conn: Conn<mio::net::TcpStream, ()>,
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
            let mut conn = Conn::tunnel(socket, channel, Side::Responder, ());
            io.net.register(conn.socket.stream_mut(), Token(1)).expect("epoll");
            Link { peer, io, conn }
        }

        fn codec(&mut self) -> &mut Codec {
            &mut self.conn.tunnel.as_mut().expect("it is one").codec
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
}
