//! Connections, of two types: plain ones, a socket and nothing else, and tunnel ones, with a codec
//! around the bytes. The two ends of a relay are one of each; what they have in common is
//! [`Carrier`], so that the copy loop is one.

use super::buffers::{BATCH, Buffers, SPLICE, Scratch};
use super::desk::AdminConn;
pub use super::gone::Gone;
use super::net::Net;
use super::socket::{Received, Socket};
pub use super::tunnel::TunnelConn;
pub use crate::proto::tunnel::{Dialect, Event};

/// What every step of a connection needs beside the connection.
pub struct Io<N> {
    /// The sockets and the clock.
    pub net: N,
    /// The thread's scratch.
    pub scratch: Scratch,
    /// Memory for those who wait.
    pub buffers: Buffers,
}

/// Reads of one connection before others have their turn.
pub(super) const READS: usize = 8;

/// How a step ends that reads until what it waits for is here, or its budget is used up.
#[derive(Debug)]
pub enum Turn<T> {
    /// It is here.
    Done(T),
    /// Nothing more is to be read; an event will come.
    Waiting,
    /// Others have their turn, and then this one goes on: see [`Core::go_on`](super::core::Core).
    More,
}

/// What a pull gave.
#[derive(Debug, Default)]
pub struct Pulled {
    /// Bytes at the front of `scratch.clear` for the other end of the relay.
    pub data: usize,
    /// They lie in the net's pipe instead.
    pub piped: bool,
    /// What came behind them.
    pub end: Option<Event>,
    /// Something was read or opened, if only a part of a frame.
    pub moved: bool,
}

impl Pulled {
    /// What a socket gave with nothing around it.
    pub(super) fn plain(received: Received) -> Pulled {
        match received {
            Received::Bytes(data) => Pulled { data, moved: true, ..Pulled::default() },
            Received::End => Pulled { end: Some(Event::Fin), moved: true, ..Pulled::default() },
            Received::Blocked => Pulled::default(),
        }
    }
}

/// One end of a relay.
pub trait Carrier<N: Net> {
    /// Its TCP connection.
    fn socket(&mut self) -> &mut Socket<N::Stream>;

    /// Whether a pull may bring bytes.
    fn may_give(&self) -> bool;

    /// Takes one batch in: data to the front of `scratch.clear`, and what ended it.
    fn pull(&mut self, io: &mut Io<N>) -> Result<Pulled, Gone>;

    /// Sends the first `length` bytes of `scratch.clear`; on a link, as DATA.
    fn push(&mut self, io: &mut Io<N>, length: usize) -> Result<(), Gone>;

    /// Whether bytes can lie on it as the other end of a relay has them: with nothing around them,
    /// or as raw runs.
    fn is_raw(&self) -> bool;

    /// As [`Carrier::pull`] between two that are raw: at least `worth` bytes at once stay in the
    /// net's pipe. [`Carrier::push_piped`] is next then.
    fn draw(&mut self, io: &mut Io<N>, worth: usize) -> Result<Pulled, Gone>;

    /// Sends the `length` bytes that [`Carrier::draw`] has left in the net's pipe; on a link, a
    /// run.
    fn push_piped(&mut self, io: &mut Io<N>, length: usize) -> Result<(), Gone>;

    /// Ends our direction: FIN behind what was pushed.
    fn finish(&mut self, io: &mut Io<N>) -> Result<(), Gone>;

    /// Writes what waits; whether anything moved.
    fn flush(&mut self, io: &mut Io<N>) -> Result<bool, Gone> {
        self.socket().flush(&mut io.net, &mut io.buffers).map_err(Gone::Io)
    }
}

/// A connection of either role: `P` says what a plain one is to the role, `T` what a tunnel one is.
pub enum Conn<S, P, T> {
    /// A visitor, or a service at home.
    Plain(PlainConn<S, P>),
    /// A control session or a link, or what may become one.
    Tunnel(TunnelConn<S, T>),
    /// Somebody at the admin door.
    Admin(AdminConn<S>),
}

impl<S, P, T> Conn<S, P, T> {
    /// Whether a pull may bring bytes.
    pub fn may_bring(&self) -> bool {
        match self {
            Conn::Plain(conn) => conn.socket.is_readable(),
            Conn::Tunnel(conn) => conn.may_bring(),
            Conn::Admin(conn) => conn.socket.is_readable(),
        }
    }

    /// Its TCP connection.
    pub fn socket(&self) -> &Socket<S> {
        match self {
            Conn::Plain(conn) => &conn.socket,
            Conn::Tunnel(conn) => &conn.socket,
            Conn::Admin(conn) => &conn.socket,
        }
    }

    /// The same, to change it.
    pub fn socket_mut(&mut self) -> &mut Socket<S> {
        match self {
            Conn::Plain(conn) => &mut conn.socket,
            Conn::Tunnel(conn) => &mut conn.socket,
            Conn::Admin(conn) => &mut conn.socket,
        }
    }

    /// Bytes of memory for what waits here: for the peer to take it, or to be whole.
    pub fn held(&self) -> usize {
        match self {
            Conn::Plain(conn) => conn.socket.footprint(),
            Conn::Tunnel(conn) => conn.held(),
            Conn::Admin(conn) => conn.held(),
        }
    }

    /// Gives what it was lent back, but for what waits to be written.
    pub(super) fn into_socket(self, buffers: &mut Buffers) -> Socket<S> {
        match self {
            Conn::Plain(conn) => conn.socket,
            Conn::Tunnel(conn) => conn.into_socket(buffers),
            Conn::Admin(conn) => conn.socket,
        }
    }
}

/// A plain connection.
pub struct PlainConn<S, P> {
    /// The TCP connection.
    pub socket: Socket<S>,
    /// What it is.
    pub stage: P,
}

impl<N: Net, P> Carrier<N> for PlainConn<N::Stream, P> {
    fn socket(&mut self) -> &mut Socket<N::Stream> {
        &mut self.socket
    }

    fn may_give(&self) -> bool {
        self.socket.is_readable()
    }

    fn pull(&mut self, io: &mut Io<N>) -> Result<Pulled, Gone> {
        let room = &mut io.scratch.clear[..BATCH];
        self.socket.receive(&mut io.net, room).map(Pulled::plain).map_err(Gone::Io)
    }

    fn push(&mut self, io: &mut Io<N>, length: usize) -> Result<(), Gone> {
        let Io { net, scratch, buffers } = io;
        self.socket.send(net, buffers, &scratch.clear[..length]).map_err(Gone::Io)
    }

    fn is_raw(&self) -> bool {
        true
    }

    fn draw(&mut self, io: &mut Io<N>, worth: usize) -> Result<Pulled, Gone> {
        if !self.socket.is_busy(worth) {
            return self.pull(io);
        }
        match self.socket.receive_piped(&mut io.net, SPLICE).map_err(Gone::Io)? {
            Received::End => self.pull(io),
            received => {
                let pulled = Pulled::plain(received);
                Ok(Pulled { piped: pulled.data > 0, ..pulled })
            }
        }
    }

    fn push_piped(&mut self, io: &mut Io<N>, length: usize) -> Result<(), Gone> {
        let Io { net, scratch, buffers } = io;
        let sent = self.socket.send_piped(net, buffers, &mut scratch.wire, &[], length);
        sent.map_err(Gone::Io)
    }

    fn finish(&mut self, io: &mut Io<N>) -> Result<(), Gone> {
        self.socket.finish(&mut io.net);
        Ok(())
    }
}
