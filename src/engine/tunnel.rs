//! What lies around the bytes of a tunnel connection: a proxy to get through, keys, frames, and
//! whose turn the link is.
//!
//! A tunnel connection speaks one of two dialects: the native protocol, messages in frames, or
//! rathole's, a byte stream whose end of file is TCP's and whose reset is the connection's own.

use std::ops::Range;

use super::buffers::{BATCH, DATA_PER_FRAME, SPLICE, Scratch};
use super::conn::{Io, READS, Turn};
use super::gone::Gone;
use super::net::Net;
use super::socket::{Received, Socket};
use crate::proto::lease::{self, Heard, Lease};
use crate::proto::noise::{self, Channel, Side};
use crate::proto::passage::{self, Passage};
use crate::wire::Status;
use crate::wire::frame::{self, Piece};
use crate::wire::message::{Entry, Message, Reason, kind};
use crate::wire::rathole;

/// What lies around a tunnel connection's bytes.
pub struct Tunnel {
    /// The way through a proxy, until it is open; all else comes after.
    pub(super) passage: Option<Box<Passage>>,
    /// Keys, or the way to them.
    pub channel: Channel,
    /// Of a link: who uses it.
    pub lease: Lease,
    pub(super) dialect: Dialect,
    /// Which end of the link we are: the client says READY, the server hears it.
    pub(super) side: Side,
    /// Received and not yet opened: less than a frame, or what lay behind a message.
    pub(super) inbox: Vec<u8>,
    /// rathole's dialect: opened and not yet taken.
    pub(super) unread: Vec<u8>,
    /// The longest body that may come.
    pub(super) max_body: usize,
    /// Of the lease in force: DATA may come, and goes, as raw runs.
    pub(super) raw: bool,
    /// Bytes of a run that are still to come.
    run_left: usize,
    /// The length of the last run: what the next one may be expected to have.
    last_run: usize,
}

/// How the peer speaks inside the encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The server learns it by the first message.
    Unknown,
    /// Messages in frames, each with its kind.
    Native,
    /// A byte stream: over Noise frames without a kind, over `tcp` no frames at all.
    Rathole,
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

/// What ends a run of data.
#[derive(Debug)]
pub enum End {
    /// End of file, or FIN.
    Fin,
    /// RESET of the lease in force.
    Reset(Reason),
    /// Another message: its kind, and where its payload lies in `scratch.clear`.
    Message(u8, Range<usize>),
}

/// What [`Tunnel::fill`] found.
pub(super) enum Filled {
    /// Bytes up to here.
    To(usize),
    /// Nothing new.
    Nothing,
    /// The connection's end, behind whole frames.
    End,
}

impl Tunnel {
    /// A tunnel connection before its first byte.
    pub fn new(channel: Channel, side: Side) -> Tunnel {
        let dialect = match side {
            Side::Initiator => Dialect::Native,
            Side::Responder => Dialect::Unknown,
        };
        Tunnel {
            passage: None,
            channel,
            lease: Lease::none(),
            dialect,
            side,
            inbox: Vec::new(),
            unread: Vec::new(),
            max_body: noise::MAX_HANDSHAKE_MESSAGE,
            raw: false,
            run_left: 0,
            last_run: 0,
        }
    }

    /// Client: speaks rathole's dialect from the first message on.
    pub fn speak_rathole(&mut self) {
        self.dialect = Dialect::Rathole;
    }

    /// Server: whether DATA of the lease that begins is raw: where nothing is sealed anyway, and
    /// where that is `wished` for what is TLS itself.
    pub fn choose_raw(&mut self, entry: Entry, wished: bool) -> bool {
        self.raw = match self.channel {
            Channel::Clear => entry != Entry::Udp,
            _ => wished && entry == Entry::Https,
        };
        self.raw
    }

    /// Client: what the server has chosen, unless it would bare what nothing else protects.
    pub fn accept_raw(&mut self, entry: Entry, raw: bool) -> Result<(), Gone> {
        let allowed = entry == Entry::Https || matches!(self.channel, Channel::Clear);
        self.raw = raw;
        if raw && !allowed { Err(Gone::Unexpected) } else { Ok(()) }
    }

    /// From now on bodies of up to `max` bytes may come.
    pub fn allow(&mut self, max: usize) {
        self.max_body = max;
    }

    /// Goes on through the proxy, if there is one; done when the way is open.
    pub(super) fn pass<S, N: Net<Stream = S>>(
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

    pub(super) fn pull<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
    ) -> Result<Pulled, Gone> {
        if self.dialect == Dialect::Unknown
            && matches!(self.channel, Channel::Clear)
            && !self.hear_dialect(socket, io)?
        {
            return Ok(Pulled::default());
        }
        if !self.unread.is_empty() {
            let data = self.unread.len();
            io.scratch.clear[..data].copy_from_slice(&self.unread);
            io.buffers.give_back(&mut self.unread);
            return Ok(Pulled { data, moved: true, ..Pulled::default() });
        }
        match self.dialect {
            Dialect::Rathole => self.pull_stream(socket, io),
            _ if self.is_within_run() => self.pull_run(socket, io),
            Dialect::Native | Dialect::Unknown => self.pull_frames(socket, io, usize::MAX),
        }
    }

    /// As [`Tunnel::pull`], but for bytes that go on as they are: at least `worth` of them at once
    /// stay in the net's pipe. The header of a long run is read by itself for that.
    pub(super) fn draw<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
        worth: usize,
    ) -> Result<Pulled, Gone> {
        if self.is_clear_stream() {
            let is_long = self.unread.is_empty() && socket.is_busy(worth);
            return match is_long {
                true => self.splice(socket, io, SPLICE),
                false => self.pull(socket, io),
            };
        }
        let kept = self.inbox.len();
        if self.last_run >= worth && self.run_left == 0 && kept < frame::RUN_HEADER {
            let pulled = self.pull_frames(socket, io, frame::RUN_HEADER - kept)?;
            if self.run_left == 0 {
                return Ok(pulled);
            }
        }
        match self.is_within_run() && self.run_left >= worth && socket.may_splice() {
            true => self.splice(socket, io, self.run_left.min(SPLICE)),
            false => self.pull(socket, io),
        }
    }

    fn splice<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
        most: usize,
    ) -> Result<Pulled, Gone> {
        let received = socket.receive_piped(&mut io.net, most).map_err(Gone::Io)?;
        if received == Received::End {
            return self.pull(socket, io);
        }
        let pulled = self.hear_raw(received)?;
        Ok(Pulled { piped: pulled.data > 0, ..pulled })
    }

    /// The rest of a run needs no frame around it.
    fn pull_run<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
    ) -> Result<Pulled, Gone> {
        let room = &mut io.scratch.clear[..self.run_left.min(BATCH)];
        let received = socket.receive(&mut io.net, room).map_err(Gone::Io)?;
        self.hear_raw(received)
    }

    /// Bytes of a run or of a clear stream, as the socket has them.
    fn hear_raw(&mut self, received: Received) -> Result<Pulled, Gone> {
        match received {
            Received::Bytes(length) if self.dialect != Dialect::Rathole => {
                let data = self.hear_run(length)?;
                Ok(Pulled { data, moved: true, ..Pulled::default() })
            }
            Received::End => self.hear_end_of_file(),
            received => Ok(Pulled::plain(received)),
        }
    }

    /// So many bytes of a run are here; how many of them are to be used: all or none.
    fn hear_run(&mut self, length: usize) -> Result<usize, Gone> {
        self.run_left -= length;
        Ok(if self.lease.hear_data(length).map_err(Gone::Lease)? { length } else { 0 })
    }

    /// What the socket has next are bytes of a run.
    fn is_within_run(&self) -> bool {
        self.run_left > 0 && self.inbox.is_empty()
    }

    /// Without encryption the connection's first bytes tell the dialect; whether they are here.
    fn hear_dialect<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
    ) -> Result<bool, Gone> {
        loop {
            match rathole::is_hello(&self.inbox) {
                Status::Partial => {}
                Status::Complete(false) => self.dialect = Dialect::Native,
                Status::Complete(true) => {
                    self.dialect = Dialect::Rathole;
                    self.unread = std::mem::take(&mut self.inbox);
                }
            }
            if self.dialect != Dialect::Unknown {
                return Ok(true);
            }
            let mut tag = [0; rathole::TAG];
            let room = &mut tag[self.inbox.len()..];
            match socket.receive(&mut io.net, room).map_err(Gone::Io)? {
                Received::Bytes(read) => io.buffers.append(&mut self.inbox, &room[..read]),
                Received::Blocked => return Ok(false),
                Received::End => return Err(Gone::Closed),
            }
        }
    }

    /// rathole's dialect.
    pub(super) fn pull_stream<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
    ) -> Result<Pulled, Gone> {
        if self.lease.said() == lease::End::Reset {
            return Err(Gone::Closed);
        }
        if !self.is_clear_stream() {
            return self.pull_frames(socket, io, usize::MAX);
        }
        let room = &mut io.scratch.clear[..BATCH];
        let received = socket.receive(&mut io.net, room).map_err(Gone::Io)?;
        self.hear_raw(received)
    }

    /// ```text
    /// scratch.wire   | inbox | read now ......................|
    ///                | frame | frame | frame | cut frame      |   the rest goes back to the inbox
    /// scratch.clear  | data         kind|
    ///                        | data        kind|                  each over the kind before it
    ///                                | message kind|
    /// ```
    /// In rathole's dialect there are no kinds: all is data. So is what is here of a raw run. At
    /// most `most` bytes are read.
    fn pull_frames<S, N: Net<Stream = S>>(
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
        let mut pulled = Pulled { moved: true, ..Pulled::default() };
        let mut at = 0;
        while pulled.end.is_none() {
            let wire = &io.scratch.wire[at..filled];
            let clear = &mut io.scratch.clear[pulled.data..];
            if self.run_left > 0 && !wire.is_empty() {
                let length = self.run_left.min(wire.len());
                clear[..length].copy_from_slice(&wire[..length]);
                pulled.data += self.hear_run(length)?;
                at += length;
                continue;
            }
            let Status::Complete((piece, taken)) = self.next_piece(wire)? else { break };
            at += taken;
            let body = match piece {
                Piece::Frame(body) => body,
                Piece::Run(length) => {
                    self.run_left = length as usize;
                    self.last_run = self.run_left;
                    continue;
                }
            };
            let length = self.channel.open(body, clear).map_err(Gone::Noise)?;
            if self.dialect == Dialect::Unknown {
                self.dialect = match rathole::is_hello(&clear[..length]) {
                    Status::Complete(true) => Dialect::Rathole,
                    _ => Dialect::Native,
                };
            }
            if self.dialect == Dialect::Rathole {
                pulled.data += length;
                continue;
            }
            let kind = clear[length - 1];
            let payload = pulled.data..pulled.data + length - 1;
            pulled.end = match kind {
                kind::DATA => {
                    if self.lease.hear_data(payload.len()).map_err(Gone::Lease)? {
                        pulled.data = payload.end;
                    }
                    None
                }
                kind::FIN => {
                    self.lease.hear_fin().map_err(Gone::Lease)?;
                    Some(End::Fin)
                }
                kind::RESET => self.hear_reset(&io.scratch.clear[payload])?,
                kind::READY if self.side == Side::Responder => {
                    self.lease.hear_ready().map_err(Gone::Lease)?.then_some(End::Fin)
                }
                kind => Some(End::Message(kind, payload)),
            };
        }
        self.keep(io, at..filled);
        Ok(pulled)
    }

    /// TCP's end of file: a FIN where a rathole channel is lent, else the connection's end.
    fn hear_end_of_file(&mut self) -> Result<Pulled, Gone> {
        if self.dialect != Dialect::Rathole || self.lease.heard() != lease::End::Open {
            return Err(Gone::Closed);
        }
        self.lease.hear_fin().map_err(Gone::Lease)?;
        self.release_if_ended();
        Ok(Pulled { end: Some(End::Fin), moved: true, ..Pulled::default() })
    }

    /// A rathole channel is lent once: when both directions have ended, nothing is to come.
    pub(super) fn release_if_ended(&mut self) {
        if self.lease.has_ended() && !self.lease.is_over() {
            self.lease.say_ready();
        }
    }

    pub(super) fn is_clear_stream(&self) -> bool {
        self.dialect == Dialect::Rathole && matches!(self.channel, Channel::Clear)
    }

    fn hear_reset(&mut self, payload: &[u8]) -> Result<Option<End>, Gone> {
        let message = Message::decode(kind::RESET, payload).map_err(Gone::Message)?;
        let Message::Reset { lease, reason } = message else { return Ok(None) };
        Ok(match self.lease.hear_reset(lease).map_err(Gone::Lease)? {
            Heard::Stale => None,
            Heard::Broken => Some(End::Reset(reason)),
        })
    }

    /// Brings the inbox to the front of `scratch.wire`, and what the socket has behind it unless
    /// the inbox holds a whole frame already: at most `most` bytes. An end inside a frame is an
    /// error.
    pub(super) fn fill<S, N: Net<Stream = S>>(
        &mut self,
        socket: &mut Socket<S>,
        io: &mut Io<N>,
        most: usize,
    ) -> Result<Filled, Gone> {
        let kept = self.inbox.len();
        let whole = self.has_whole_piece()?;
        if !whole && !socket.is_readable() {
            return Ok(Filled::Nothing);
        }
        io.scratch.wire[..kept].copy_from_slice(&self.inbox);
        let read = match whole {
            true => 0,
            false => {
                let end = kept.saturating_add(most).min(io.scratch.wire.len());
                let room = &mut io.scratch.wire[kept..end];
                match socket.receive(&mut io.net, room).map_err(Gone::Io)? {
                    Received::Bytes(read) => read,
                    Received::Blocked => return Ok(Filled::Nothing),
                    Received::End if kept == 0 => return Ok(Filled::End),
                    Received::End => return Err(Gone::Closed),
                }
            }
        };
        Ok(Filled::To(kept + read))
    }

    /// Keeps what has not been opened.
    pub(super) fn keep<N>(&mut self, io: &mut Io<N>, rest: Range<usize>) {
        let Io { scratch, buffers, .. } = io;
        if rest.is_empty() {
            buffers.give_back(&mut self.inbox);
        } else {
            if self.inbox.is_empty() {
                buffers.append(&mut self.inbox, &scratch.wire[rest]);
            } else {
                self.inbox.clear();
                self.inbox.extend_from_slice(&scratch.wire[rest]);
            }
        }
    }

    /// Whether there is something to take without reading.
    fn has_whole_piece(&self) -> Result<bool, Gone> {
        match self.run_left {
            0 => Ok(self.next_piece(&self.inbox)? != Status::Partial),
            _ => Ok(!self.inbox.is_empty()),
        }
    }

    fn next_piece<'a>(&self, bytes: &'a [u8]) -> Result<Status<(Piece<'a>, usize)>, Gone> {
        frame::next(bytes, self.max_body, self.raw).map_err(Gone::Frame)
    }

    /// Puts the first `length` bytes of `scratch.clear` into `scratch.wire`: sealed, as DATA frames
    /// or in rathole's dialect as frames without a kind; or as a raw run.
    pub(super) fn wrap(&mut self, scratch: &mut Scratch, length: usize) -> Result<usize, Gone> {
        if self.raw {
            let (head, run) = scratch.wire.split_at_mut(frame::RUN_HEADER);
            head.copy_from_slice(&frame::run_header(length));
            run[..length].copy_from_slice(&scratch.clear[..length]);
            return Ok(frame::RUN_HEADER + length);
        }
        let mut sealed = 0;
        let mut start = 0;
        while start < length {
            let end = length.min(start + DATA_PER_FRAME);
            let out = &mut scratch.wire[sealed..];
            let result = if self.dialect == Dialect::Rathole {
                self.channel.seal(&scratch.clear[start..end], out)
            } else {
                // The kind goes where the next frame's first byte is, for as long as it takes.
                let borrowed = std::mem::replace(&mut scratch.clear[end], kind::DATA);
                let result = self.channel.seal(&scratch.clear[start..=end], out);
                scratch.clear[end] = borrowed;
                result
            };
            sealed += result.map_err(Gone::Noise)?;
            start = end;
        }
        Ok(sealed)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::{NoiseConfig, Transport};
    use crate::engine::buffers::Buffers;
    use crate::engine::conn::Conn;
    use crate::engine::mio_net::MioNet;
    use crate::engine::net::{Token, Wake};
    use crate::engine::relay;
    use crate::proto::noise::Protection;

    #[test]
    fn only_what_is_tls_itself_goes_raw_where_the_rest_is_sealed() {
        let transport = Transport::Noise(NoiseConfig {
            patterns: vec!["Noise_NN_25519_ChaChaPoly_BLAKE2s".to_owned()],
            local_private_key: None,
            remote_public_key: None,
        });
        let protection = Protection::new(&transport, Side::Responder).expect("a pattern");
        let mut sealed = Tunnel::new(Channel::respond(&protection, [1; 32]), Side::Responder);
        for entry in [Entry::Tcp, Entry::Http, Entry::Udp] {
            assert!(!sealed.choose_raw(entry, true), "{entry:?}");
            assert!(sealed.accept_raw(entry, false).is_ok(), "{entry:?}");
            assert!(sealed.accept_raw(entry, true).is_err(), "{entry:?}");
        }
        assert!(sealed.choose_raw(Entry::Https, true) && !sealed.choose_raw(Entry::Https, false));
        assert!(sealed.accept_raw(Entry::Https, true).is_ok());
        let mut clear = Tunnel::new(Channel::Clear, Side::Responder);
        assert!(clear.choose_raw(Entry::Tcp, false) && !clear.choose_raw(Entry::Udp, true));
    }

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
        let stale = [&[6, 0][..], &0_u32.to_le_bytes(), &[0, kind::RESET]].concat();
        let most = (READS * Scratch::new().wire.len()) as u64;
        for settles in [false, true] {
            let mut link = Link::leased(false);
            let lease = &mut link.conn.tunnel.as_mut().expect("it is one").lease;
            lease.say_reset();
            if !settles {
                lease.hear_fin().expect("open");
                lease.hear_ready().expect("ended");
            }
            let mut peer = link.peer.take().expect("it is there");
            let flood = stale.repeat(1 << 20);
            let writer = std::thread::spawn(move || peer.write_all(&flood));
            let mut turns = 0;
            let all = 8 << 20;
            while link.conn.socket.read() < all {
                let before = link.conn.socket.read();
                link.await_event();
                let more = match settles {
                    true => relay::settle(&mut link.io, &mut link.conn, Lease::is_over)
                        .map(|turn| matches!(turn, Turn::More)),
                    false => {
                        link.conn.hear_nothing(&mut link.io).map(|turn| matches!(turn, Turn::More))
                    }
                };
                let read = link.conn.socket.read() - before;
                assert!(read <= most, "{read} bytes in one turn");
                turns += usize::from(more.expect("old news is no error"));
            }
            writer.join().expect("no panic").expect("it was read");
            assert!(turns > 0, "no turn was used up");
        }
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
            assert!(link.conn.tunnel.as_ref().is_some_and(|tunnel| tunnel.channel.is_awaiting()));
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
            let tunnel = link.conn.tunnel.as_mut().expect("it is one");
            (tunnel.dialect, tunnel.raw) = (Dialect::Native, raw);
            tunnel.lease.open_next();
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

        fn await_event(&mut self) {
            let mut wakes = Vec::new();
            let soon = self.io.net.now() + std::time::Duration::from_millis(20);
            self.io.net.poll(Some(soon), &mut wakes).expect("epoll");
            for wake in wakes {
                if let Wake::Ready(readiness) = wake {
                    self.conn.socket.note(&readiness);
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
