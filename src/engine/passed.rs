//! Sockets that the service manager has opened and hands over (sd_listen_fds(3)).
//!
//! They are matched by address with what the file wants to listen on; what is wanted and was not
//! passed is opened as usual.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use listenfd::ListenFd;
use socket2::SockRef;

/// Those that nobody has taken yet.
#[derive(Debug, Default)]
pub struct Passed {
    tcp: Vec<Listener>,
    udp: Vec<(SocketAddr, UdpSocket)>,
}

#[derive(Debug)]
struct Listener {
    address: SocketAddr,
    /// IPv4 visitors come to it as well.
    is_dual: bool,
    socket: TcpListener,
}

impl Passed {
    /// All that LISTEN_FDS speaks of, and what is to be said of those that are of no use. They are
    /// not passed on to other programs.
    ///
    /// It changes the environment, so that no child believes to be meant: to be called before there
    /// is a second thread.
    pub fn from_env() -> (Passed, Vec<String>) {
        let mut handed = ListenFd::from_env();
        let (mut passed, mut complaints) = (Passed::default(), Vec::new());
        for number in 0..handed.len() {
            let taken = match handed.take_tcp_listener(number) {
                Ok(Some(socket)) => passed.add_tcp(socket),
                _ => match handed.take_udp_socket(number) {
                    Ok(Some(socket)) => passed.add_udp(socket),
                    _ => {
                        // Closed with what it is taken as, if it is one.
                        let _ = handed.take_unix_listener(number);
                        let _ = handed.take_unix_datagram(number);
                        Err(io::Error::other("it is neither TCP nor UDP"))
                    }
                },
            };
            if let Err(error) = taken {
                complaints.push(format!("the passed socket {number} is not used: {error}"));
            }
        }
        (passed, complaints)
    }

    fn add_tcp(&mut self, socket: TcpListener) -> io::Result<()> {
        let sock = SockRef::from(&socket);
        if !sock.is_listener()? {
            return Err(io::Error::other("it is a connection; Accept=no is needed"));
        }
        let address = socket.local_addr()?;
        let is_dual = address.is_ipv6() && !sock.only_v6()?;
        self.tcp.push(Listener { address, is_dual, socket });
        Ok(())
    }

    fn add_udp(&mut self, socket: UdpSocket) -> io::Result<()> {
        let address = socket.local_addr()?;
        if address.is_ipv6() && !SockRef::from(&socket).only_v6()? {
            let reason = format!(
                "{address} (UDP) is for IPv4 as well; BindIPv6Only=ipv6-only, and a socket for each"
            );
            return Err(io::Error::other(reason));
        }
        self.udp.push((address, socket));
        Ok(())
    }

    /// Closes those that are for none of these addresses, and says what is to be said of them.
    pub fn keep(&mut self, tcp: &[SocketAddr], udp: &[SocketAddr]) -> Vec<String> {
        let mut closed = Vec::new();
        self.tcp.retain(|listener| {
            let is_wanted = tcp.iter().any(|wanted| listener.is_for(*wanted));
            if !is_wanted {
                closed.push(format!("{}", listener.address));
            }
            is_wanted
        });
        self.udp.retain(|(address, _)| {
            let is_wanted = udp.contains(address);
            if !is_wanted {
                closed.push(format!("{address} (UDP)"));
            }
            is_wanted
        });
        let complain = |address| {
            format!("the passed socket {address} is closed: the file does not listen there")
        };
        closed.into_iter().map(complain).collect()
    }

    /// The one for this address. One for both families is two doors, for the file names each.
    pub fn take_tcp(&mut self, wanted: SocketAddr) -> io::Result<Option<TcpListener>> {
        let Some(at) = self.tcp.iter().position(|listener| listener.is_for(wanted)) else {
            return Ok(None);
        };
        match self.tcp[at].is_dual {
            true => self.tcp[at].socket.try_clone().map(Some),
            false => Ok(Some(self.tcp.swap_remove(at).socket)),
        }
    }

    /// The one for this address.
    pub fn take_udp(&mut self, wanted: SocketAddr) -> Option<UdpSocket> {
        let at = self.udp.iter().position(|(address, _)| *address == wanted)?;
        Some(self.udp.swap_remove(at).1)
    }
}

impl Listener {
    fn is_for(&self, wanted: SocketAddr) -> bool {
        let any = |ip: std::net::IpAddr| SocketAddr::new(ip, self.address.port());
        let is_other_half = self.is_dual
            && self.address == any(Ipv6Addr::UNSPECIFIED.into())
            && wanted == any(Ipv4Addr::UNSPECIFIED.into());
        self.address == wanted || is_other_half
    }
}
