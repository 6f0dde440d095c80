//! Networks of addresses: whose word is taken, and who may come.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::error::ConfigError;
use super::raw::{Place, Section, Text};

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

    /// All of them.
    pub(super) fn show(&self) -> Vec<String> {
        self.0.iter().map(show).collect()
    }

    /// Whether one of them has all addresses of its family.
    pub(super) fn contain_all_of_a_family(&self) -> bool {
        self.0.iter().any(|network| network.prefix_len() == 0)
    }
}

/// `allow` and `deny`: of the networks that have an address, the one with the longest prefix
/// decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessList {
    /// Whether those from there may come.
    rules: HashMap<IpNet, bool>,
    /// The lengths of the prefixes in `rules`, the longest first: of IPv4, of IPv6.
    lengths: [Vec<u8>; 2],
    /// Whether those of no network here may come: there is no `allow`.
    others: bool,
}

/// Lets everybody in.
impl Default for AccessList {
    fn default() -> AccessList {
        AccessList { rules: HashMap::new(), lengths: [Vec::new(), Vec::new()], others: true }
    }
}

impl AccessList {
    pub(super) fn read(section: &Section<'_>) -> Result<AccessList, ConfigError> {
        let mut list = AccessList::default();
        let mut places: HashMap<IpNet, Place> = HashMap::new();
        for (key, may_come) in [("allow", true), ("deny", false)] {
            for Text { value, place } in section.texts(key)? {
                let network = parse(&value).map_err(|why| place.error(why))?;
                if list.rules.insert(network, may_come) == Some(!may_come) {
                    let owner = places.get(&network).map(Place::mention).unwrap_or_default();
                    return Err(place.error(format!("the same network as {owner}; in one of them")));
                }
                list.lengths[family(network.addr())].push(network.prefix_len());
                places.insert(network, place);
            }
        }
        if section.has("allow") {
            list.others = false;
            if !list.rules.values().any(|may_come| *may_come) {
                let reason = "names no network, so nobody could come; such as `192.0.2.0/24`";
                return Err(section.place_of("allow").error(reason));
            }
        }
        for lengths in &mut list.lengths {
            lengths.sort_unstable_by_key(|&length| Reverse(length));
            lengths.dedup();
        }
        Ok(list)
    }

    /// Whether a visitor with this address may come. An IPv4 address in IPv6's clothes is one.
    pub fn admits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let networks = self.lengths[family(address)].iter().filter_map(|&length| {
            let network = IpNet::new(address, length).ok()?; // the lengths are of this family
            self.rules.get(&network.trunc())
        });
        networks.copied().next().unwrap_or(self.others)
    }

    /// What is allowed and what is denied, in words; of many networks the first.
    pub(super) fn show(&self) -> Vec<String> {
        self.show_up_to(NETWORKS_SHOWN)
    }

    pub(super) fn show_up_to(&self, most: usize) -> Vec<String> {
        let list = |word: &str, kind: bool| {
            let of_kind = self.rules.iter().filter(|(_, may_come)| **may_come == kind);
            let mut networks: Vec<IpNet> = of_kind.map(|(network, _)| *network).collect();
            networks.sort_unstable();
            let shown: Vec<_> = networks.iter().take(most).map(show).collect();
            let more = match networks.len().saturating_sub(most) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            (!networks.is_empty()).then(|| format!("{word} {}{more}", shown.join(", ")))
        };
        list("allow", true).into_iter().chain(list("deny", false)).collect()
    }
}

fn show(network: &IpNet) -> String {
    match network.prefix_len() == network.max_prefix_len() {
        true => network.addr().to_string(),
        false => network.to_string(),
    }
}

fn family(address: IpAddr) -> usize {
    usize::from(address.is_ipv6())
}

const NETWORKS_SHOWN: usize = 3;

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
