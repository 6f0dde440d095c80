//! The world as one process sees it through the engine's seam.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use underpass::config::TcpOptions;
use underpass::engine::facts::Facts;
use underpass::engine::net::{Net, Token, Wake};
use underpass::proto::admin_guard::Job;
use underpass::proto::time::Time;

use super::world::{ConnId, ProcessId, Shared};

/// Bytes spliced so far, in all worlds.
pub static SPLICED: AtomicU64 = AtomicU64::new(0);

/// One process's system calls.
pub struct SimNet {
    world: Shared,
    process: ProcessId,
    /// From how many bytes on this process splices, if it has a pipe.
    worth: Option<usize>,
    /// What was spliced in and has not come out.
    pipe: Vec<u8>,
}

impl SimNet {
    /// The system calls of `process`.
    pub fn new(world: &Shared, process: ProcessId) -> SimNet {
        // Windows are small here, and so is what is worth it.
        let worth = world.borrow_mut().draw_splice_worth(process);
        SimNet { world: world.clone(), process, worth, pipe: Vec::new() }
    }
}

/// Closes itself when dropped.
pub struct SimListener {
    world: Shared,
    id: usize,
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.world.borrow_mut().close_listener(self.id);
    }
}

/// Closes itself when dropped.
pub struct SimStream {
    world: Shared,
    conn: ConnId,
    side: usize,
    /// Taken by [`Net::abort`]: nothing is left to close.
    aborted: bool,
}

impl SimStream {
    /// `send` of one byte with MSG_OOB.
    pub fn write_urgent(&mut self) {
        self.world.borrow_mut().write_urgent(self.conn, self.side);
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        if !self.aborted {
            self.world.borrow_mut().close(self.conn, self.side);
        }
    }
}

/// Closes itself when dropped.
pub struct SimUdp {
    world: Shared,
    id: usize,
}

impl Drop for SimUdp {
    fn drop(&mut self) {
        self.world.borrow_mut().close_udp(self.id);
    }
}

impl Net for SimNet {
    type Listener = SimListener;
    type Stream = SimStream;
    type Udp = SimUdp;

    fn now(&self) -> Time {
        self.world.borrow().process_now(self.process)
    }

    fn random(&mut self, out: &mut [u8]) {
        self.world.borrow_mut().fill_random(self.process, out);
    }

    /// Who is dead on a simulated line is found after the same time, and lines are as fast as they
    /// are, whatever the file says.
    fn set_tcp(&mut self, _: &TcpOptions) {}

    fn retune(&mut self, _: &SimListener) -> io::Result<()> {
        Ok(())
    }

    fn send_far(&mut self, _: &SimStream) {}

    fn descriptor_limit(&self) -> usize {
        self.world.borrow().processes[self.process].limit
    }

    fn listen(
        &mut self,
        address: SocketAddr,
        token: Token,
    ) -> io::Result<(SimListener, SocketAddr)> {
        let (id, bound) = self.world.borrow_mut().listen(self.process, address, token)?;
        Ok((SimListener { world: self.world.clone(), id }, bound))
    }

    fn listen_unix(&mut self, _: &Path, _: Token) -> io::Result<SimListener> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn facts(&self) -> Facts {
        Facts::default()
    }

    fn wall(&self) -> f64 {
        self.now().since_start().as_secs_f64()
    }

    fn accept(&mut self, listener: &mut SimListener) -> io::Result<(SimStream, SocketAddr)> {
        let (conn, peer) = self.world.borrow_mut().accept(listener.id)?;
        Ok((SimStream { world: self.world.clone(), conn, side: 1, aborted: false }, peer))
    }

    fn connect(&mut self, address: SocketAddr) -> io::Result<SimStream> {
        let conn = self.world.borrow_mut().connect(self.process, address)?;
        Ok(SimStream { world: self.world.clone(), conn, side: 0, aborted: false })
    }

    fn register(&mut self, stream: &mut SimStream, token: Token) -> io::Result<()> {
        self.world.borrow_mut().register(stream.conn, stream.side, token);
        Ok(())
    }

    fn connect_result(&mut self, stream: &SimStream) -> io::Result<()> {
        self.world.borrow_mut().connect_result(stream.conn)
    }

    fn local_addr(&self, stream: &SimStream) -> io::Result<SocketAddr> {
        Ok(self.world.borrow().local_addr(stream.conn, stream.side))
    }

    fn read(&mut self, stream: &mut SimStream, into: &mut [u8]) -> io::Result<usize> {
        self.world.borrow_mut().read(stream.conn, stream.side, into)
    }

    fn write(&mut self, stream: &mut SimStream, bytes: &[u8]) -> io::Result<usize> {
        self.world.borrow_mut().write(stream.conn, stream.side, bytes)
    }

    fn write_more(&mut self, stream: &mut SimStream, bytes: &[u8]) -> io::Result<usize> {
        self.write(stream, bytes)
    }

    fn splice_worth(&mut self) -> Option<usize> {
        self.worth
    }

    fn splice_in(&mut self, from: &mut SimStream, most: usize) -> io::Result<usize> {
        assert!(self.pipe.is_empty(), "bytes of another connection are in the pipe");
        let most = self.world.borrow_mut().draw_splice(self.process, most);
        let mut bytes = vec![0; most];
        let read = self.world.borrow_mut().splice_in(from.conn, from.side, &mut bytes)?;
        bytes.truncate(read);
        self.pipe = bytes;
        SPLICED.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }

    fn splice_out(&mut self, to: &mut SimStream) -> io::Result<usize> {
        assert!(!self.pipe.is_empty());
        let bytes = std::mem::take(&mut self.pipe);
        let written = self.write(to, &bytes);
        self.pipe = bytes[*written.as_ref().unwrap_or(&0)..].to_vec();
        written
    }

    fn empty_pipe(&mut self, into: &mut [u8]) -> usize {
        let left = std::mem::take(&mut self.pipe);
        into[..left.len()].copy_from_slice(&left);
        left.len()
    }

    fn shutdown_write(&mut self, stream: &mut SimStream) -> io::Result<()> {
        self.world.borrow_mut().shutdown_write(stream.conn, stream.side)
    }

    fn abort(&mut self, mut stream: SimStream) {
        stream.aborted = true;
        self.world.borrow_mut().abort(stream.conn, stream.side);
    }

    fn bind_udp(&mut self, address: SocketAddr, token: Token) -> io::Result<(SimUdp, SocketAddr)> {
        let (id, bound) = self.world.borrow_mut().bind_udp(self.process, address, token)?;
        Ok((SimUdp { world: self.world.clone(), id }, bound))
    }

    fn connect_udp(&mut self, peer: SocketAddr, token: Token) -> io::Result<SimUdp> {
        let id = self.world.borrow_mut().connect_udp(self.process, peer, token)?;
        Ok(SimUdp { world: self.world.clone(), id })
    }

    fn receive(&mut self, socket: &mut SimUdp, into: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.world.borrow_mut().receive_datagram(socket.id, into)
    }

    fn send(
        &mut self,
        socket: &mut SimUdp,
        datagram: &[u8],
        to: Option<SocketAddr>,
    ) -> io::Result<()> {
        self.world.borrow_mut().send_datagram(socket.id, datagram, to)
    }

    fn resolve(&mut self, query: u64, host: &str, port: u16) {
        self.world.borrow_mut().resolve(self.process, query, host, port);
    }

    fn check_password(&mut self, ticket: u64, job: Job) {
        let wake = Wake::Checked { ticket, is_right: job.run() };
        self.world.borrow_mut().tell_later(self.process, wake);
    }

    fn poll(&mut self, _until: Option<Time>, wakes: &mut Vec<Wake>) -> io::Result<()> {
        assert!(self.pipe.is_empty(), "bytes were left in the pipe");
        self.world.borrow_mut().poll(self.process, wakes);
        Ok(())
    }
}
