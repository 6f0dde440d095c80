//! Networks of addresses: whose word is taken.

use std::net::IpAddr;

use ipnet::IpNet;

use super::error::ConfigError;
use super::raw::Text;

/// A list of IPv4 and IPv6 networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// `10.0.0.0/8`, `2001:db8::/32`, or an address by itself.
    pub(super) fn read(texts: Vec<Text>) -> Result<Networks, ConfigError> {
        let read = |Text { value, place }: Text| parse(&value).map_err(|why| place.error(why));
        texts.into_iter().map(read).collect::<Result<_, _>>().map(Networks)
    }

    /// Whether one of them has this address.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether one of them has all addresses of its family.
    pub(super) fn contain_all_of_a_family(&self) -> bool {
        self.0.iter().any(|network| network.prefix_len() == 0)
    }
}

/// What a reason quotes is a network, and so no secret.
fn parse(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse());
    let network: IpNet = network.map_err(
        |_| "must be a network or an address: `10.0.0.0/8`, `2001:db8::/32`, `192.0.2.1`",
    )?;
    if network.addr().to_canonical().is_ipv4() != network.addr().is_ipv4() {
        return Err("an IPv4 network is written as one: `10.0.0.0/8`".into());
    }
    let right = network.trunc();
    if right == network {
        return Ok(network);
    }
    let prefix = right.prefix_len();
    Err(format!("has bits set behind the first {prefix}; the network is `{right}`"))
}
