//! Addresses: where to listen (literal) and where to dial (a name will do).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::HostPort;
use super::error::ConfigError;
use super::raw::{Place, Text};
use crate::wire::host::{HostName, parse_authority};

/// Every address that the server listens on, by port: no two may be one.
#[derive(Default)]
pub(super) struct Listeners {
    taken: HashMap<u16, Vec<(IpAddr, Place)>>,
}

impl Listeners {
    /// The addresses in `texts`, each free so far and now taken.
    pub(super) fn claim(&mut self, texts: Vec<Text>) -> Result<Vec<SocketAddr>, ConfigError> {
        let claim = |Text { value, place }: Text| {
            let addr = parse_listen(&value).map_err(|reason| place.error(reason))?;
            let taken = self.taken.entry(addr.port()).or_default();
            if let Some((_, owner)) = taken.iter().find(|(ip, _)| overlap(*ip, addr)) {
                let owner = owner.mention();
                return Err(place.error(format!("this address is taken by {owner}")));
            }
            taken.push((addr.ip(), place));
            Ok(addr)
        };
        texts.into_iter().map(claim).collect()
    }
}

impl HostPort {
    /// `name:port`, `192.0.2.1:port` or `[2001:db8::1]:port`; the port may be missing.
    pub(super) fn parse(text: &Text) -> Result<(String, Option<u16>), ConfigError> {
        let wrong = || text.place.error("must be a name or an address, and a port: `host:80`");
        if text.value.parse::<std::net::Ipv6Addr>().is_ok() {
            return Err(text.place.error("an IPv6 address stands in brackets: `[::1]:80`"));
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
}

impl std::fmt::Display for HostPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// A literal address and a port; `localhost` is the IPv4 one.
fn parse_listen(text: &str) -> Result<SocketAddr, &'static str> {
    let literal = text.parse().ok();
    let localhost = || {
        let port = text.strip_prefix("localhost:")?.parse().ok()?;
        Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    };
    literal.or_else(localhost).ok_or_else(|| match is_range(text) {
        true => "a range of ports is not supported yet in this version: one port for each service",
        false => "must be a literal address and a port: `0.0.0.0:443` or `[::]:443`",
    })
}

/// `address:30000-30100`
fn is_range(text: &str) -> bool {
    let number = |text: &str| text.parse::<u16>().is_ok();
    let ports = text.rsplit_once(':').and_then(|(_, ports)| ports.split_once('-'));
    ports.is_some_and(|(first, last)| number(first) && number(last))
}

/// One port of one family, and either address covers the other; port 0 is a free one each time.
/// IPv6 listeners take IPv6 visitors alone, so `0.0.0.0` and `[::]` go together.
fn overlap(taken: IpAddr, addr: SocketAddr) -> bool {
    let ip = addr.ip();
    let wildcard = taken.is_unspecified() || ip.is_unspecified();
    addr.port() != 0 && taken.is_ipv4() == ip.is_ipv4() && (taken == ip || wildcard)
}
