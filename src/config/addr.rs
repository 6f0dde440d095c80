//! Addresses: where to listen (literal) and where to dial (a name will do).

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::error::ConfigError;
use super::raw::{Place, Text};
use super::{HostPort, ServerConfig};
use crate::limits;
use crate::wire::host::{HostName, parse_authority};

/// Every address that the server listens on, by port: no two may be one.
#[derive(Debug, Clone, Default)]
pub(super) struct Listeners {
    /// The addresses taken on each port, and which of `places` said so. A TCP and a UDP port of
    /// one number are two.
    taken: HashMap<(Layer, u16), Vec<(IpAddr, usize)>>,
    places: Vec<Place>,
    /// Sockets in the file system.
    paths: Vec<(PathBuf, Place)>,
    /// What a `[::]` takes in.
    notes: Vec<String>,
    /// At most [`limits::LISTENERS`].
    count: usize,
}

/// What a port is a port of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Layer {
    Tcp,
    Udp,
}

impl Listeners {
    /// The addresses in `texts`, each free so far and now taken.
    pub(super) fn claim(&mut self, texts: Vec<Text>) -> Result<Vec<SocketAddr>, ConfigError> {
        let mut all = Vec::new();
        for text in texts {
            all.push((parse_port(&text)?, 1, text.place));
        }
        self.take_all(Layer::Tcp, all)
    }

    /// As [`Listeners::claim`], where a text may also say a range: `0.0.0.0:30000-30100`.
    pub(super) fn claim_ports(
        &mut self,
        layer: Layer,
        texts: Vec<Text>,
    ) -> Result<Vec<SocketAddr>, ConfigError> {
        let mut all = Vec::new();
        for text in texts {
            let (first, count) = parse_listen(&text)?;
            all.push((first, count, text.place));
        }
        self.take_all(layer, all)
    }

    /// Takes a socket's path, if it is free so far.
    pub(super) fn claim_path(&mut self, path: PathBuf, place: Place) -> Result<(), ConfigError> {
        if let Some((_, owner)) = self.paths.iter().find(|(taken, _)| *taken == path) {
            return Err(place.error(format!("this path is taken by {}", owner.mention())));
        }
        self.paths.push((path, place));
        Ok(())
    }

    /// What to say when `at` cannot be listened on: with file, line and key.
    pub(super) fn explain(&self, layer: Layer, at: SocketAddr, error: &io::Error) -> io::Error {
        let note = if layer == Layer::Udp { " (UDP)" } else { "" };
        let reason = format!("cannot listen on {at}{note}: {error}");
        let taken = self.taken.get(&(layer, at.port()));
        let owner = taken.and_then(|taken| taken.iter().find(|(ip, _)| *ip == at.ip()));
        match owner {
            Some((_, place)) => io::Error::new(error.kind(), self.places[*place].error(reason)),
            None => io::Error::new(error.kind(), reason),
        }
    }

    /// Takes first ports with counts. As on Linux without IPV6_V6ONLY, `[::]` is both families,
    /// unless the same key says what the port's IPv4 addresses are; then both go together.
    fn take_all(
        &mut self,
        layer: Layer,
        all: Vec<(SocketAddr, u16, Place)>,
    ) -> Result<Vec<SocketAddr>, ConfigError> {
        let has = |addr: &SocketAddr, count: u16, port: u16| {
            (addr.port()..=addr.port() + (count - 1)).contains(&port)
        };
        let says_ipv4 = |port: u16| {
            all.iter().any(|(addr, count, _)| addr.is_ipv4() && has(addr, *count, port))
        };
        let mut addrs = Vec::new();
        for (addr, count, place) in &all {
            self.take(layer, *addr, *count, place.clone(), &mut addrs)?;
            // Port 0 is another one each time.
            if addr.ip() != IpAddr::from(Ipv6Addr::UNSPECIFIED) || addr.port() == 0 {
                continue;
            }
            let ports = addr.port()..=addr.port() + (count - 1);
            let alone = ports.clone().filter(|port| !says_ipv4(*port));
            let before = addrs.len();
            for port in alone {
                let other = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
                self.take(layer, other, 1, place.clone(), &mut addrs)?;
            }
            if addrs.len() > before {
                let reason = "`[::]` is both families: IPv4 comes in here too";
                self.notes.push(place.warning(reason));
            } else if !all.iter().any(|(it, ..)| it.ip() == IpAddr::from(Ipv4Addr::UNSPECIFIED)) {
                let reason = "`[::]` is IPv6 alone here: the same key has the port's IPv4 address";
                self.notes.push(place.warning(reason));
            }
        }
        Ok(addrs)
    }

    /// Takes `count` ports from `first` on.
    fn take(
        &mut self,
        layer: Layer,
        first: SocketAddr,
        count: u16,
        place: Place,
        addrs: &mut Vec<SocketAddr>,
    ) -> Result<(), ConfigError> {
        self.count += usize::from(count);
        if self.count > limits::LISTENERS {
            let reason = format!("too many: a file may have {} ports", limits::LISTENERS);
            return Err(place.error(reason));
        }
        for port in first.port()..=first.port() + (count - 1) {
            let mut addr = first;
            addr.set_port(port);
            let taken = self.taken.entry((layer, port)).or_default();
            if let Some((_, owner)) = taken.iter().find(|(ip, _)| overlap(*ip, addr)) {
                let owner = self.places[*owner].mention();
                return Err(place.error(match count {
                    1 => format!("this address is taken by {owner}"),
                    _ => format!("port {port} of this range is taken by {owner}"),
                }));
            }
            taken.push((addr.ip(), self.places.len()));
            addrs.push(addr);
        }
        self.places.push(place);
        Ok(())
    }
}

impl ServerConfig {
    /// What its addresses are that may be read in two ways. For `check`; nothing is wrong.
    pub fn address_notes(&self) -> &[String] {
        &self.listeners.notes
    }
}

/// That no one but this machine comes to where homes, or visitors, are meant to.
pub(super) fn only_loopback(addrs: &[SocketAddr]) -> bool {
    !addrs.is_empty() && addrs.iter().all(|addr| addr.ip().is_loopback())
}

/// Of an address that is dialled: what is wrong with one that is for listening alone.
pub(super) fn hint_at_unspecified(text: &Text, instead: &str) -> Option<String> {
    let is_one = ["0.0.0.0", "[::]"].iter().any(|any| {
        text.value.strip_prefix(any).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    });
    let reason = "means every address of this machine, to listen and not to dial";
    is_one.then(|| text.place.warning(format!("{reason}: give {instead}")))
}

/// Addresses as a file would have them: ports that follow each other as a range.
pub fn show_ports(addrs: &[SocketAddr]) -> Vec<String> {
    let follows = |one: &SocketAddr, next: &SocketAddr| {
        one.ip() == next.ip() && one.port().checked_add(1) == Some(next.port())
    };
    let show = |run: &[SocketAddr]| match run {
        [first, .., last] => format!("{first}-{}", last.port()),
        _ => run[0].to_string(), // chunks are not empty
    };
    addrs.chunk_by(follows).map(show).collect()
}

impl HostPort {
    /// `name:port`, `192.0.2.1:port` or `[2001:db8::1]:port`; the port may be missing.
    pub(super) fn parse(text: &Text) -> Result<(String, Option<u16>), ConfigError> {
        let wrong = || text.place.error("must be a name or an address, and a port: `host:80`");
        if text.value.parse::<Ipv6Addr>().is_ok() {
            return Err(text.place.error("an IPv6 address stands in brackets: `[::1]:80`"));
        }
        // `[fe80::1%eth0]:80`: an address of a link, by that link.
        if let Some((address, zone, rest)) = split_zone(&text.value) {
            let value = format!("[{address}]{rest}");
            let (host, port) = HostPort::parse(&Text { value, place: text.place.clone() })?;
            return match zone.is_empty() || zone.contains(|c: char| !c.is_ascii_graphic()) {
                true => Err(wrong()),
                false => Ok((format!("{host}%{zone}"), port)),
            };
        }
        let authority = parse_authority(text.value.as_bytes()).map_err(|_| wrong())?;
        if authority.port == Some(0) {
            return Err(text.place.error("port 0 cannot be dialled"));
        }
        let host = match authority.host {
            HostName::Ip(address) => address.to_string(),
            // As it was written: a final dot keeps the resolver from its search list.
            HostName::Dns(_) => text.value.split(':').next().unwrap_or_default().to_owned(),
            HostName::Empty => return Err(wrong()),
        };
        Ok((host, authority.port))
    }

    /// As [`HostPort::parse`], with a port.
    pub(super) fn parse_with_port(text: &Text) -> Result<HostPort, ConfigError> {
        match HostPort::parse(text)? {
            (host, Some(port)) => Ok(HostPort { host, port }),
            (_, None) => Err(text.place.error("the port is missing: `host:80`")),
        }
    }

    /// As [`HostPort::parse_with_port`], or a range: its first port, and how many there are.
    pub(super) fn parse_with_ports(text: Text) -> Result<(HostPort, u16), ConfigError> {
        let (value, count) = split_range(&text)?;
        let first = Text { value: value.into_owned(), place: text.place };
        Ok((HostPort::parse_with_port(&first)?, count))
    }
}

impl std::fmt::Display for HostPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// An IPv6 address in brackets with a zone: address, zone, and what stands behind.
fn split_zone(text: &str) -> Option<(&str, &str, &str)> {
    let (inside, rest) = text.strip_prefix('[')?.split_once(']')?;
    let (address, zone) = inside.split_once('%')?;
    Some((address, zone, rest))
}

/// One address, without a range of ports.
pub(super) fn parse_port(text: &Text) -> Result<SocketAddr, ConfigError> {
    match parse_listen(text)? {
        (addr, 1) => Ok(addr),
        _ => Err(text.place.error("a range of ports is for a service's bind_addr")),
    }
}

/// A literal address with its first port, and how many ports; `localhost` is the IPv4 one. An IPv6
/// address may lack its brackets, as rathole's may: `:::2333`.
fn parse_listen(text: &Text) -> Result<(SocketAddr, u16), ConfigError> {
    let (value, count) = split_range(text)?;
    let literal = value.parse().ok();
    let localhost = || {
        let port = value.strip_prefix("localhost:")?.parse().ok()?;
        Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    };
    let bare = || {
        let (host, port) = value.rsplit_once(':')?;
        Some(SocketAddr::from((host.parse::<Ipv6Addr>().ok()?, port.parse().ok()?)))
    };
    let reason = "must be a literal address and a port: `0.0.0.0:443` or `[::]:443`";
    let first = literal.or_else(localhost).or_else(bare).ok_or_else(|| text.place.error(reason))?;
    // `[::ffff:192.0.2.1]` is an IPv4 address, and no IPv6 socket of ours can have it.
    Ok((SocketAddr::new(first.ip().to_canonical(), first.port()), count))
}

/// `host:30000-30100` as `host:30000` and the number of ports. What is no range is left alone.
fn split_range(text: &Text) -> Result<(Cow<'_, str>, u16), ConfigError> {
    let digits = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let split = text.value.rsplit_once(':').and_then(|(host, ports)| {
        let (first, last) = ports.split_once('-')?;
        [first, last].iter().all(digits).then_some((host, first, last))
    });
    let Some((host, first, last)) = split else { return Ok(((&*text.value).into(), 1)) };
    let port = |digits: &str| match digits.parse::<u16>() {
        Ok(0) => Err(text.place.error("port 0 cannot be in a range")),
        Ok(port) => Ok(port),
        Err(_) => Err(text.place.error("the highest port is 65535")),
    };
    let (first, last) = (port(first)?, port(last)?);
    match last.checked_sub(first) {
        Some(more) => Ok((format!("{host}:{first}").into(), more + 1)),
        None => Err(text.place.error("the range ends before it begins")),
    }
}

/// One port of one family, and either address covers the other; port 0 is a free one each time.
/// A listener of ours takes visitors of its own family alone, so `0.0.0.0` and `[::]` go together.
fn overlap(taken: IpAddr, addr: SocketAddr) -> bool {
    let ip = addr.ip();
    let wildcard = taken.is_unspecified() || ip.is_unspecified();
    addr.port() != 0 && taken.is_ipv4() == ip.is_ipv4() && (taken == ip || wildcard)
}
