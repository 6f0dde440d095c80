//! Stands in for the real network until `underpass::engine::mio_net` is there.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll};
use underpass::engine::net::{Net, Readiness, Token, Wake};
use underpass::proto::time::Time;

pub struct RealNet {
    poll: Poll,
    events: Events,
    start: Instant,
}

impl RealNet {
    pub fn new() -> io::Result<RealNet> {
        Ok(RealNet { poll: Poll::new()?, events: Events::with_capacity(64), start: Instant::now() })
    }
}

impl Net for RealNet {
    type Listener = TcpListener;
    type Stream = TcpStream;
    fn now(&self) -> Time {
        Time(self.start.elapsed().as_nanos() as u64)
    }
    fn random(&mut self, _: &mut [u8]) {}
    fn descriptor_limit(&self) -> usize {
        1000
    }
    fn listen(
        &mut self,
        address: SocketAddr,
        token: Token,
    ) -> io::Result<(TcpListener, SocketAddr)> {
        let mut listener = TcpListener::bind(address)?;
        let token = mio::Token(token.0 as usize);
        self.poll.registry().register(&mut listener, token, Interest::READABLE)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    }
    fn accept(&mut self, listener: &mut TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
        listener.accept()
    }
    fn connect(&mut self, address: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(address)
    }
    fn register(&mut self, stream: &mut TcpStream, token: Token) -> io::Result<()> {
        let token = mio::Token(token.0 as usize);
        self.poll.registry().register(stream, token, Interest::READABLE | Interest::WRITABLE)
    }
    fn connect_result(&mut self, stream: &TcpStream) -> io::Result<()> {
        match stream.take_error()? {
            Some(error) => Err(error),
            None => stream.peer_addr().map(|_| ()),
        }
    }
    fn local_addr(&self, stream: &TcpStream) -> io::Result<SocketAddr> {
        stream.local_addr()
    }
    fn read(&mut self, stream: &mut TcpStream, into: &mut [u8]) -> io::Result<usize> {
        io::Read::read(stream, into)
    }
    fn write(&mut self, stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(stream, bytes)
    }
    fn shutdown_write(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        stream.shutdown(std::net::Shutdown::Write)
    }
    fn abort(&mut self, stream: TcpStream) {
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }
    fn resolve(&mut self, _: u64, _: &str, _: u16) {}
    fn poll(&mut self, until: Option<Time>, wakes: &mut Vec<Wake>) -> io::Result<()> {
        let timeout = until.map(|until| until - self.now());
        self.poll.poll(&mut self.events, timeout)?;
        wakes.extend(self.events.iter().map(|event| {
            Wake::Ready(Readiness {
                token: Token(event.token().0 as u64),
                readable: event.is_readable(),
                writable: event.is_writable(),
                read_closed: event.is_read_closed(),
                broken: event.is_error(),
            })
        }));
        Ok(())
    }
}
