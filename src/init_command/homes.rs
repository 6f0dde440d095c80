//! What the command line says of the server and of each home.

use std::net::Ipv6Addr;

use underpass::config::{HostPort, ServerConfig, ServiceKind};
use underpass::proto::route::{Pattern, RouteTable};
use underpass::wire::host::{HostName, parse_authority};

/// `NAME=HOST[,HOST...]`.
pub(super) struct Home {
    /// Its service's, and its folder's.
    pub(super) name: String,
    /// Patterns, as a file has them.
    pub(super) hosts: Vec<Pattern>,
    /// What stands for its token in a file.
    pub(super) variable: String,
    /// Empty so far.
    pub(super) token: String,
}

impl Home {
    pub(super) fn parse(word: &str) -> Result<Home, String> {
        let (name, hosts) = word.split_once('=').unwrap_or((word, ""));
        let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let begins = name.starts_with(|first: char| first.is_ascii_alphanumeric());
        if !begins || !name.bytes().all(is_bare) {
            let what = "a home's name, which is its folder's too, has letters, digits, `-` and `_`";
            return Err(format!("`{name}`: {what}, and begins with one of the first two"));
        }
        if hosts.is_empty() {
            return Err(format!("{name}: its names are missing, as in {name}={name}.example.com"));
        }
        let parse = |host: &str| {
            Pattern::parse(host.trim()).map_err(|error| format!("{name}: `{host}`: {error}"))
        };
        let hosts = hosts.split(',').map(parse).collect::<Result<Vec<Pattern>, String>>()?;
        Ok(Home { name: name.to_owned(), hosts, variable: variable(name), token: String::new() })
    }
}

/// A variable's name has no `-`, and no digit in front.
fn variable(name: &str) -> String {
    let digit = if name.starts_with(|first: char| first.is_ascii_digit()) { "HOME_" } else { "" };
    format!("{digit}{}_TOKEN", name.to_ascii_uppercase().replace('-', "_"))
}

/// Where homes dial to: a name or an address, and a port unless it is the usual one.
pub(super) fn server(word: &str) -> Result<HostPort, String> {
    if word.parse::<Ipv6Addr>().is_ok() {
        return Ok(HostPort { host: word.to_owned(), port: TUNNEL_PORT });
    }
    let what = "the VPS's name or address, such as vps.example.com";
    let found = parse_authority(word.as_bytes()).map_err(|it| format!("{word}: {what}: {it}"))?;
    let host = match found.host {
        HostName::Dns(name) => name.to_string(),
        HostName::Ip(address) => address.to_string(),
        HostName::Empty => return Err(format!("empty: {what}")),
    };
    match found.port.unwrap_or(TUNNEL_PORT) {
        port @ (0 | 80 | 443) => Err(format!("port {port} is none for homes to dial in at")),
        port => Ok(HostPort { host, port }),
    }
}

/// Who has which names: a name is one home's.
#[derive(Default)]
pub(super) struct Claims {
    routes: RouteTable,
    /// Of services, by their numbers in `routes`.
    names: Vec<String>,
}

impl Claims {
    /// Those of a server that is there.
    pub(super) fn of(server: &ServerConfig) -> Claims {
        let names = server.services.iter().map(|service| service.name.clone()).collect();
        Claims { routes: server.routes.clone(), names }
    }

    pub(super) fn take(&mut self, home: &Home, kind: ServiceKind) -> Result<(), String> {
        let Home { name, hosts, variable: own, .. } = home;
        if self.names.contains(name) {
            return Err(format!("there are two homes {name}"));
        }
        if let Some(other) = self.names.iter().find(|other| variable(other) == *own) {
            return Err(format!("{name} and {other} are too alike: the token of both is {own}"));
        }
        let service = self.names.len();
        self.names.push(name.clone());
        for (entry, pattern) in
            kind.entries().iter().flat_map(|entry| hosts.iter().map(move |it| (*entry, it)))
        {
            if self.routes.insert(entry, pattern, None, service).is_ok() {
                continue;
            }
            let is_it = |route: &&underpass::proto::route::Match<'_>| {
                route.pattern == pattern.as_str() && route.condition.is_none()
            };
            let owner = self.routes.list(entry).iter().find(is_it).map(|found| found.service);
            let pattern = pattern.as_str();
            return Err(match owner.map(|owner| &*self.names[owner]) {
                Some(owner) if owner != name => {
                    format!("{pattern}: for {owner} and for {name}; one home only can have it")
                }
                _ => format!("{name}: {pattern} comes twice"),
            });
        }
        Ok(())
    }
}

/// rathole's, too.
const TUNNEL_PORT: u16 = 2333;

#[cfg(test)]
mod tests {
    use super::*;

    fn error(word: &str) -> String {
        Home::parse(word).map(|_| ()).expect_err(word)
    }

    #[test]
    fn a_home_has_a_name_that_a_folder_may_have_and_names_as_a_file_has_them() {
        let home = Home::parse("pi=PI.example.com., **.pi.example.com").expect("a home");
        assert_eq!(
            home.hosts.iter().map(Pattern::as_str).collect::<Vec<_>>(),
            ["pi.example.com", "**.pi.example.com"]
        );
        assert_eq!(home.variable, "PI_TOKEN");
        assert_eq!(
            Home::parse("3d-printer=a.b").expect("a home").variable,
            "HOME_3D_PRINTER_TOKEN"
        );
        for name in ["", "../pi", ".pi", "-pi", "a b", "p\u{e4}", "_a"] {
            let said = error(&format!("{name}=a.b"));
            assert!(said.contains("a home's name") && said.contains(name), "{said}");
        }
        assert_eq!(error("pi="), "pi: its names are missing, as in pi=pi.example.com");
        for (hosts, why) in [
            ("a..b", "pi: `a..b`: a label of the name is empty"),
            ("a.b,", "pi: ``: a label of the name is empty"),
            ("a.b,*x.b", "pi: `*x.b`: `*` stands for one whole label, as in `www.*.example.com`"),
        ] {
            assert_eq!(error(&format!("pi={hosts}")), why);
        }
        assert!(error("pi=https://pi.example.com").contains("no port and no path"));
    }

    #[test]
    fn a_server_is_a_name_or_an_address_with_or_without_a_port() {
        for (word, shown) in [
            ("vps.example.com", "vps.example.com:2333"),
            ("VPS.example.com:4000", "vps.example.com:4000"),
            ("192.0.2.1", "192.0.2.1:2333"),
            ("2001:db8::1", "[2001:db8::1]:2333"),
            ("[2001:db8::1]:4000", "[2001:db8::1]:4000"),
        ] {
            assert_eq!(server(word).expect(word).to_string(), shown);
        }
        for word in ["", "a b", "https://vps.example.com", "vps:443", "vps:0", "vps:x", "me@vps"] {
            assert!(server(word).is_err(), "{word}");
        }
    }

    #[test]
    fn a_name_is_one_homes() {
        let take = |words: &[&str]| -> Result<(), String> {
            let mut claims = Claims::default();
            words.iter().try_for_each(|word| claims.take(&Home::parse(word)?, ServiceKind::Web))
        };
        assert_eq!(take(&["a=a.b,*.a.b", "b=b.b,**.a.b"]), Ok(()));
        for (words, why) in [
            (["a=a.b,c.b", "d=d.b,C.b"], "c.b: for a and for d; one home only can have it"),
            (["a=a.b,A.b", "d=d.b"], "a: a.b comes twice"),
            (["a=a.b", "a=d.b"], "there are two homes a"),
            (["a-1=a.b", "A_1=d.b"], "A_1 and a-1 are too alike: the token of both is A_1_TOKEN"),
        ] {
            assert_eq!(take(&words), Err(why.into()));
        }
    }
}
