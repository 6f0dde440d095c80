//! Ports that Docker publishes: where what listens in a container is reached from outside.

use super::compose::{Container, Network};
use super::settings::Place;
use super::variables::Variables;
use super::yaml::Node;

/// What a port is a port of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

/// An entry of `ports`, in either syntax.
#[derive(Debug, Clone)]
pub(super) struct Publishing {
    pub(super) place: Place,
    protocol: Protocol,
    /// The host's address, as our file would have it; variables are folded.
    host: String,
    outside: Outside,
    /// First and last port in the container.
    inside: (u16, u16),
}

/// The host's port.
#[derive(Debug, Clone)]
enum Outside {
    /// As many as in the container, from here on.
    From(u16),
    /// A variable that is not set here.
    Variable(String),
    /// Docker chooses, or what stands there is none; the text says which.
    Unknown(&'static str),
}

/// Where a port of a container is reached from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reached {
    /// Where it listens: the network is the host's.
    AsBound,
    /// On these addresses with ports; perhaps on none.
    At(Vec<String>),
}

impl Publishing {
    pub(super) fn read(port: &Node, place: Place, variables: &mut Variables<'_>) -> Publishing {
        let mut get = |key: &str| {
            let text = port.get(key).and_then(|node| node.text());
            text.map(|text| variables.fold(text)).unwrap_or_default()
        };
        let (host, outside, inside, protocol) = match port.text() {
            Some(text) => short(&variables.fold(text)),
            None => (get("host_ip"), get("published"), get("target"), get("protocol")),
        };
        let [outside, inside, protocol] =
            [outside, inside, protocol].map(|text| variables.resolve(&text).trim().to_owned());
        let protocol = match protocol.to_ascii_lowercase().as_str() {
            "udp" => Protocol::Udp,
            _ => Protocol::Tcp,
        };
        let inside = range(&inside);
        let outside = match (range(&outside), inside) {
            _ if outside.is_empty() => Outside::Unknown("Docker chooses its number"),
            (Some((first, last)), Some((low, high))) if last - first == high - low => {
                Outside::From(first)
            }
            (Some(_), _) => Outside::Unknown("Docker chooses its number from a range"),
            (None, Some((low, high))) if low == high && is_variable(&outside) => {
                Outside::Variable(outside)
            }
            (None, _) => Outside::Unknown("its number is none"),
        };
        let host = match host.trim() {
            "" => "0.0.0.0".to_owned(),
            host if host.contains(':') && !host.starts_with('[') => format!("[{host}]"),
            host => host.to_owned(),
        };
        Publishing { place, protocol, host, outside, inside: inside.unwrap_or((0, 0)) }
    }

    /// Where the container's port is reached through this entry.
    fn address(&self, port: u16, protocol: Protocol) -> Option<Result<String, &'static str>> {
        let (first, last) = self.inside;
        let fits = self.protocol == protocol && port != 0 && (first..=last).contains(&port);
        fits.then(|| match &self.outside {
            Outside::From(outside) => Ok(format!("{}:{}", self.host, outside + (port - first))),
            Outside::Variable(outside) => Ok(format!("{}:{outside}", self.host)),
            Outside::Unknown(why) => Err(*why),
        })
    }
}

impl Container {
    /// Where a port is reached from outside, and what could not be told of that.
    pub(super) fn reached(
        &self,
        all: &[Container],
        port: u16,
        protocol: Protocol,
    ) -> (Reached, Vec<(Place, &'static str)>) {
        self.reached_within(all, port, protocol, BORROWED)
    }

    fn reached_within(
        &self,
        all: &[Container],
        port: u16,
        protocol: Protocol,
        depth: usize,
    ) -> (Reached, Vec<(Place, &'static str)>) {
        match &self.network {
            Network::Host => return (Reached::AsBound, Vec::new()),
            Network::Nothing => return (Reached::At(Vec::new()), Vec::new()),
            Network::Of(name) => {
                let lender = all.iter().find(|c| c.name == *name || c.aliases.contains(name));
                return match (lender, depth.checked_sub(1)) {
                    (Some(lender), Some(depth)) => {
                        lender.reached_within(all, port, protocol, depth)
                    }
                    _ => (Reached::At(Vec::new()), Vec::new()),
                };
            }
            Network::Own => {}
        }
        let (mut at, mut unknown) = (Vec::new(), Vec::new());
        for publishing in &self.published {
            match publishing.address(port, protocol) {
                Some(Ok(address)) if !at.contains(&address) => at.push(address),
                Some(Err(why)) => unknown.push((publishing.place.clone(), why)),
                Some(Ok(_)) | None => {}
            }
        }
        (Reached::At(at), unknown)
    }

    /// The port that Traefik takes where no label names one: the lowest that Docker knows of.
    pub(super) fn lowest_port(&self) -> Option<u16> {
        let published = self.published.iter().filter(|p| p.protocol == Protocol::Tcp);
        let ports = published.map(|publishing| publishing.inside.0).filter(|port| *port != 0);
        ports.chain(self.exposed.iter().copied()).min()
    }
}

/// `[[host:]outside:]inside[/protocol]` as its parts.
fn short(text: &str) -> (String, String, String, String) {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, ""));
    let (before, inside) = match ports.rsplit_once(':') {
        Some((before, inside)) => (Some(before), inside),
        None => (None, ports),
    };
    let (host, outside) = match before {
        None => ("", ""),
        Some(before) => before.rsplit_once(':').unwrap_or(("", before)),
    };
    (host.to_owned(), outside.to_owned(), inside.to_owned(), protocol.to_owned())
}

/// `80` or `8000-8010`.
fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first != 0 && first <= last).then_some((first, last))
}

fn is_variable(text: &str) -> bool {
    let mut chars = text.chars();
    matches!((chars.next(), chars.next()), (Some(c), None) if Variables::RESERVED(c))
}

/// Networks of networks.
const BORROWED: usize = 4;

#[cfg(test)]
mod tests {
    use super::super::compose::{self, Tree};
    use super::*;

    fn reached(ports: &str, port: u16, protocol: Protocol) -> String {
        let env = |name: &str| (name == "P").then(|| "81".to_owned());
        let mut variables = Variables::new(&env);
        let text = format!("services:\n  a:\n    ports: {ports}\n");
        let files: [Tree; 1] = [("c.yml".into(), Node::read(&text).expect(ports))];
        let containers = compose::read(&files, &mut variables);
        let (reached, unknown) = containers[0].reached(&containers, port, protocol);
        let Reached::At(at) = reached else { panic!("{ports}") };
        let at: Vec<_> = at.iter().map(|at| variables.unfold(at)).collect();
        let why: Vec<_> = unknown.iter().map(|(_, why)| *why).collect();
        [at.join(" "), why.join(" ")].concat()
    }

    #[test]
    fn ports_in_every_syntax() {
        for (ports, port, at) in [
            ("['80:80']", 80, "0.0.0.0:80"),
            ("['8000:80']", 80, "0.0.0.0:8000"),
            ("['80:80']", 81, ""),
            ("['80:80/tcp']", 80, "0.0.0.0:80"),
            ("['80:80/udp']", 80, ""),
            ("['127.0.0.1:80:80']", 80, "127.0.0.1:80"),
            ("['[::1]:80:80']", 80, "[::1]:80"),
            ("['::1:80:80']", 80, "[::1]:80"),
            ("['80:80', '127.0.0.1:81:80']", 80, "0.0.0.0:80 127.0.0.1:81"),
            ("['5000-5100:5000-5100']", 5080, "0.0.0.0:5080"),
            ("['6000-6100:5000-5100']", 5080, "0.0.0.0:6080"),
            ("['6000-6100:5000']", 5000, "Docker chooses its number from a range"),
            ("['80']", 80, "Docker chooses its number"),
            ("['127.0.0.1::80']", 80, "Docker chooses its number"),
            ("[80:80]", 80, "0.0.0.0:80"),
            ("[{target: 80, published: 81}]", 80, "0.0.0.0:81"),
            ("[{target: 80, published: '81', host_ip: 192.0.2.1}]", 80, "192.0.2.1:81"),
            ("[{target: 80, published: 81, protocol: udp}]", 80, ""),
            ("[{target: 80}]", 80, "Docker chooses its number"),
            ("['${A}:80:80']", 80, "${A}:80"),
            ("['${A:-192.0.2.9}:80:80']", 80, "192.0.2.9:80"),
            ("['${A}:80']", 80, "0.0.0.0:${A}"),
            ("['${P}:80']", 80, "0.0.0.0:81"),
            ("['${A:-82}:80']", 80, "0.0.0.0:82"),
        ] {
            assert_eq!(reached(ports, port, Protocol::Tcp), at, "{ports}");
        }
        assert_eq!(reached("['53:53/udp', '53:53']", 53, Protocol::Udp), "0.0.0.0:53");
    }
}
