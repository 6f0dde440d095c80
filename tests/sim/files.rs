//! Configuration files: of a server with some homes, and of each home's client.

use std::fmt::Write as _;

/// What a home's client speaks to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Native,
    Rathole,
}

/// The ports of a home's TCP service, three of them where there are several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// One at the server, one at home.
    One,
    /// A list with a range in it at the server, a range at home.
    Several,
    /// A range at the server, all to one port at home.
    Joined,
}

impl Ports {
    pub fn at_server(self) -> u16 {
        if self == Ports::One { 1 } else { 3 }
    }

    /// `bind_addr`, from port `first` on.
    pub fn bind(self, first: u16) -> String {
        match self {
            Ports::One => format!("\"0.0.0.0:{first}\""),
            Ports::Several => {
                format!("[\"0.0.0.0:{first}\", \"0.0.0.0:{}-{}\"]", first + 1, first + 2)
            }
            Ports::Joined => format!("\"0.0.0.0:{first}-{}\"", first + 2),
        }
    }

    /// `:port` or `:port-port` of `local_addr`.
    pub fn local(self, first: u16) -> String {
        match self {
            Ports::Several => format!("{first}-{}", first + 2),
            Ports::One | Ports::Joined => first.to_string(),
        }
    }

    /// Where a visitor of the server's port number `offset` arrives.
    pub fn at_home(self, offset: u16) -> u16 {
        if self == Ports::Several { HOME_PORT + offset } else { HOME_PORT }
    }
}

/// The first port of home number `home`'s UDP service: a TCP service may have the same.
pub fn udp_port(home: usize) -> u16 {
    server_port(home)
}

/// The first port of home number `home`'s TCP service.
pub fn server_port(home: usize) -> u16 {
    5000 + 10 * home as u16
}

/// The first one at home.
pub const HOME_PORT: u16 = 2222;
/// The same of its UDP service.
pub const UDP_HOME_PORT: u16 = 5353;

pub fn server_config(dialects: &[Dialect], noise: bool, ports: Ports) -> String {
    let mut text = "[server]\nbind_addr = \"0.0.0.0:2333\"\nhttps_addr = \"0.0.0.0:443\"\n\
         http_addr = \"0.0.0.0:80\"\n[server.services.gone]\ntype = \"http\"\n\
         token = \"t\"\nhosts = [\"gone.example\"]\n\
         [server.services.secure]\ntype = \"web\"\ntoken = \"t\"\n\
         hosts = [\"secure.example\"]\nredirect_https = true\n"
        .to_owned();
    let key = format!("local_private_key = \"{}\"", keys().0);
    text += &transport("server", noise, &key);
    for (home, dialect) in dialects.iter().enumerate() {
        let passthrough = if home == 0 { "sealed" } else { "raw" };
        let (bind, udp_bind) = (ports.bind(server_port(home)), ports.bind(udp_port(home)));
        let kinds: &[_] = match dialect {
            Dialect::Native => &[("web", "")],
            // Its channels do not tell the entries apart.
            Dialect::Rathole => &[("http", "-http"), ("https", "-https")],
        };
        for (kind, suffix) in kinds {
            let raw = match *kind {
                "http" => String::new(),
                _ => format!("passthrough = \"{passthrough}\"\n"),
            };
            let _ = write!(
                text,
                "[server.services.web{home}{suffix}]\ntype = \"{kind}\"\ntoken = \"t{home}\"\n{raw}\
                 hosts = [\"h{home}.example\", \"**.h{home}.example\"]\n\
                 [server.services.shut{home}{suffix}]\ntype = \"{kind}\"\ntoken = \"t{home}\"\n\
                 hosts = [\"shut{home}.example\"]\n"
            );
        }
        let _ = write!(
            text,
            "[server.services.path{home}]\ntype = \"http\"\ntoken = \"t{home}\"\n\
             hosts = [\"way.example\"]\npath_prefix = \"/h{home}\"\n\
             [server.services.alpn{home}]\ntype = \"https\"\ntoken = \"t{home}\"\n\
             hosts = [\"way.example\"]\nalpn = [\"x-{home}\"]\n\
             passthrough = \"raw\"\n\
             [server.services.tcp{home}]\ntoken = \"t{home}\"\nbind_addr = {bind}\n\
             [server.services.udp{home}]\ntype = \"udp\"\ntoken = \"t{home}\"\n\
             bind_addr = {udp_bind}\nudp_idle_time = 20\nudp_max_sessions = 8\n"
        );
    }
    text
}

pub fn client_config(home: usize, remote: &str, local: &str, noise: bool, ports: Ports) -> String {
    let (tcp, udp) = (ports.local(HOME_PORT), ports.local(UDP_HOME_PORT));
    let mut text = format!("[client]\nremote_addr = \"{remote}:2333\"\n");
    let key = format!("remote_public_key = \"{}\"", keys().1);
    text += &transport("client", noise, &key);
    let _ = write!(
        text,
        "[client.services.web{home}]\ntype = \"web\"\ntoken = \"t{home}\"\n\
         local_http_addr = \"{local}:80\"\nlocal_https_addr = \"{local}:443\"\n\
         [client.services.shut{home}]\ntype = \"web\"\ntoken = \"t{home}\"\n\
         local_http_addr = \"{local}:9\"\nlocal_https_addr = \"{local}:9\"\n\
         [client.services.path{home}]\ntype = \"http\"\ntoken = \"t{home}\"\n\
         local_http_addr = \"{local}:80\"\n\
         [client.services.alpn{home}]\ntype = \"https\"\ntoken = \"t{home}\"\n\
         local_https_addr = \"{local}:443\"\n\
         [client.services.udp{home}]\ntype = \"udp\"\ntoken = \"t{home}\"\n\
         local_addr = \"{local}:{udp}\"\n\
         [client.services.tcp{home}]\ntoken = \"t{home}\"\n\
         local_addr = \"{local}:{tcp}\"\n"
    );
    text
}

/// A service for a client that means harm, to be added to a server's file.
pub const ROGUE: &str = "[server.services.rogue]\ntype = \"web\"\ntoken = \"rogue\"\n\
    hosts = [\"rogue.example\"]\n";

/// The same for rathole's protocol, where each service has one way in.
pub fn rathole_client_config(home: usize, remote: &str, local: &str, noise: bool) -> String {
    let mut text = format!("[client]\nremote_addr = \"{remote}:2333\"\nprotocol = \"rathole\"\n");
    let key = format!("remote_public_key = \"{}\"", keys().1);
    text += &transport("client", noise, &key);
    let services = [
        (format!("web{home}-http"), 80),
        (format!("web{home}-https"), 443),
        (format!("shut{home}-http"), 9),
        (format!("shut{home}-https"), 9),
        (format!("path{home}"), 80),
        (format!("alpn{home}"), 443),
        (format!("tcp{home}"), HOME_PORT),
    ];
    for (name, port) in services {
        let _ = write!(
            text,
            "[client.services.{name}]\ntoken = \"t{home}\"\nlocal_addr = \"{local}:{port}\"\n"
        );
    }
    let _ = write!(
        text,
        "[client.services.udp{home}]\ntype = \"udp\"\ntoken = \"t{home}\"\n\
         local_addr = \"{local}:{UDP_HOME_PORT}\"\nudp_idle_time = 25\n"
    );
    text
}

fn transport(role: &str, noise: bool, key: &str) -> String {
    if noise {
        format!("[{role}.transport]\ntype = \"noise\"\n[{role}.transport.noise]\n{key}\n")
    } else {
        format!("[{role}.transport]\ntype = \"tcp\"\n")
    }
}

/// The server's key pair (RFC 7748, section 6.1: Alice's), in base64.
fn keys() -> (&'static str, &'static str) {
    ("dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=", "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=")
}
