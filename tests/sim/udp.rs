//! UDP as Linux's kernel does it: queues of datagrams, loss, reordering, and ICMP's answers as
//! errors of a connected socket. `conformance.rs` runs the same script on real sockets.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use underpass::engine::net::{Readiness, Token};

use super::world::{Happening, HostId, ProcessId, Source, Tuning, World, errno};

/// What a datagram over IPv4 carries at most.
const LONGEST: usize = 65_507;

/// A UDP socket. Never reused; `open` turns false once.
pub(super) struct UdpSocket {
    pub(super) process: ProcessId,
    host: HostId,
    address: SocketAddr,
    peer: Option<SocketAddr>,
    token: Token,
    pub(super) queued: bool,
    pub(super) open: bool,
    /// `SO_ERROR`: told once.
    error: Option<i32>,
    received: VecDeque<(SocketAddr, Vec<u8>)>,
    /// Bytes in `received`, and how many there may be.
    bytes: usize,
    capacity: usize,
}

/// A datagram on its way.
#[derive(Debug)]
pub(super) struct Flight {
    sender: usize,
    from: SocketAddr,
    host: HostId,
    to: SocketAddr,
    bytes: Vec<u8>,
}

impl UdpSocket {
    pub(super) fn readiness(&self) -> Option<Readiness> {
        let broken = self.error.is_some();
        let readable = broken || !self.received.is_empty();
        let token = self.token;
        let (read_closed, urgent) = (false, false);
        let event = Readiness { token, readable, writable: broken, read_closed, urgent, broken };
        readable.then_some(event)
    }

    fn takes(&self, flight: &Flight) -> bool {
        let ip = self.address.ip();
        self.open
            && self.host == flight.host
            && self.address.port() == flight.to.port()
            && ip.is_ipv4() == flight.to.is_ipv4()
            && (ip.is_unspecified() || ip == flight.to.ip())
            && self.peer.is_none_or(|peer| peer == flight.from)
    }
}

/// System calls.
impl World {
    pub(super) fn bind_udp(
        &mut self,
        process: ProcessId,
        address: SocketAddr,
        token: Token,
    ) -> io::Result<(usize, SocketAddr)> {
        let host = self.processes[process].host;
        let mut bound = address;
        if bound.port() == 0 {
            bound.set_port(self.fresh_udp_port());
        }
        let is_same = |socket: &UdpSocket| {
            socket.open && socket.host == host && socket.address.port() == bound.port()
        };
        if self.udp.iter().any(is_same) {
            return Err(io::Error::from_raw_os_error(errno::EADDRINUSE));
        }
        self.take_descriptor(process)?;
        let (low, high) = self.tuning.udp_queue;
        let capacity = self.udp_rng.log_between(low, high) as usize;
        self.udp.push(UdpSocket {
            process,
            host,
            address: bound,
            peer: None,
            token,
            queued: false,
            open: true,
            error: None,
            received: VecDeque::new(),
            bytes: 0,
            capacity,
        });
        Ok((self.udp.len() - 1, bound))
    }

    pub(super) fn connect_udp(
        &mut self,
        process: ProcessId,
        peer: SocketAddr,
        token: Token,
    ) -> io::Result<usize> {
        let from = self.processes[process].host;
        if self.host_of(from, peer.ip()).is_none() && self.tuning.no_route {
            return Err(io::Error::from_raw_os_error(errno::ENETUNREACH));
        }
        let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        let (id, mut address) = self.bind_udp(process, any, token)?;
        address.set_ip(self.source_ip(from, peer.ip()));
        (self.udp[id].address, self.udp[id].peer) = (address, Some(peer));
        Ok(id)
    }

    pub(super) fn close_udp(&mut self, id: usize) {
        self.udp[id].open = false;
        self.udp[id].received = VecDeque::new();
        self.note(5);
        self.give_descriptor(self.udp[id].process);
    }

    pub(super) fn receive_datagram(
        &mut self,
        id: usize,
        into: &mut [u8],
    ) -> io::Result<(usize, SocketAddr)> {
        let socket = &mut self.udp[id];
        if let Some(error) = socket.error.take() {
            self.note(6);
            return Err(io::Error::from_raw_os_error(error));
        }
        let Some((from, datagram)) = socket.received.pop_front() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        socket.bytes -= datagram.len();
        let length = datagram.len().min(into.len());
        into[..length].copy_from_slice(&datagram[..length]);
        self.note(7);
        Ok((length, from))
    }

    pub(super) fn send_datagram(
        &mut self,
        id: usize,
        bytes: &[u8],
        to: Option<SocketAddr>,
    ) -> io::Result<()> {
        let socket = &mut self.udp[id];
        if let Some(error) = socket.error.take() {
            return Err(io::Error::from_raw_os_error(error)); // and nothing is sent
        }
        if bytes.len() > LONGEST {
            return Err(io::Error::from_raw_os_error(errno::EMSGSIZE));
        }
        let to = to.or(socket.peer).expect("an unconnected socket is told whom to send to");
        let (from_host, mut from) = (socket.host, socket.address);
        let full = self.tuning.udp_full;
        if full > 0 && self.udp_rng.chance(1, full) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let Some(host) = self.host_of(from_host, to.ip()) else {
            return match self.tuning.no_route {
                true => Err(io::Error::from_raw_os_error(errno::ENETUNREACH)),
                false => Ok(()),
            };
        };
        if from.ip().is_unspecified() {
            from.set_ip(self.source_ip(from_host, to.ip()));
        }
        self.note(8);
        let Tuning { udp_loss, udp_twice, .. } = self.tuning;
        let mut befalls =
            |one_in: u64| host != from_host && one_in > 0 && self.udp_rng.chance(1, one_in);
        let copies = if befalls(udp_loss) { 0 } else { 1 + usize::from(befalls(udp_twice)) };
        for _ in 0..copies {
            if self.blocked_until(from_host, host).is_some() {
                continue;
            }
            // Each datagram has a delay of its own, so that one overtakes another.
            let (latency, _) = self.line(from_host, host);
            let jitter = if host == from_host { 0 } else { self.tuning.jitter };
            let delay = latency + self.udp_rng.below(jitter + 1);
            let flight = Flight { sender: id, from, host, to, bytes: bytes.to_vec() };
            self.after(delay, Happening::Datagram(Box::new(flight)));
        }
        Ok(())
    }
}

/// What the kernel does by itself.
impl World {
    /// Of the whole run, as with TCP: a port is nobody else's later.
    fn fresh_udp_port(&mut self) -> u16 {
        self.next_udp_port = self.next_udp_port.checked_add(1).unwrap_or(32_768);
        self.next_udp_port
    }

    fn source_ip(&self, from: HostId, to: IpAddr) -> IpAddr {
        if to.is_loopback() || to.is_unspecified() { to } else { self.host_address(from) }
    }

    pub(super) fn datagram_arrives(&mut self, flight: Flight) {
        let sender = &self.udp[flight.sender];
        if self.blocked_until(sender.host, flight.host).is_some() {
            return;
        }
        let takers = (0..self.udp.len()).filter(|id| self.udp[*id].takes(&flight));
        // A socket that is connected to the sender comes first.
        let Some(id) = takers.max_by_key(|id| self.udp[*id].peer.is_some()) else {
            if sender.open && sender.peer.is_some() {
                let (latency, _) = self.line(self.udp[flight.sender].host, flight.host);
                self.after(latency, Happening::Unreachable(flight.sender));
            }
            return;
        };
        let socket = &mut self.udp[id];
        if socket.bytes + flight.bytes.len() > socket.capacity && !socket.received.is_empty() {
            return;
        }
        socket.bytes += flight.bytes.len();
        socket.received.push_back((flight.from, flight.bytes));
        self.wake(Source::Udp(id));
    }

    pub(super) fn unreachable(&mut self, id: usize) {
        if self.udp[id].open {
            self.udp[id].error = Some(errno::ECONNREFUSED);
            self.wake(Source::Udp(id));
        }
    }

    /// The sockets of a process that has died; they can still be dropped.
    pub(super) fn crash_udp(&mut self, process: ProcessId) {
        self.udp.iter_mut().filter(|udp| udp.process == process).for_each(|udp| udp.open = false);
    }
}
