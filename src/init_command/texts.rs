//! The files' texts, and what a person is told to do with them.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::slice;

use underpass::config::{HostPort, ServiceKind};
use underpass::proto::route::Pattern;

use super::homes::Home;

pub(super) const SERVER_FILE: &str = "server.toml";
pub(super) const CLIENT_FILE: &str = "client.toml";
pub(super) const ENV_FILE: &str = ".env";
pub(super) const ENV_LINE: &str = "env_file = \".env\"";
pub(super) const PRIVATE_KEY: &str = "UNDERPASS_PRIVATE_KEY";

/// `server.toml` up to the homes.
pub(super) fn server(server: &HostPort) -> String {
    let port = server.port;
    format!(
        "\
# The server, {}. After a change, `underpass check server.toml` tries this file; one
# that runs takes it by itself. `underpass init --add NAME=HOST` makes one more home.

{ENV_LINE}                       # beside this file: what ${{NAME}} stands for

[server]
bind_addr  = \"0.0.0.0:{port}\"             # where homes dial in
http_addr  = \"0.0.0.0:80\"               # where visitors come in; \"[::]:80\" is IPv6 as well
https_addr = \"0.0.0.0:443\"
rathole    = false                      # true: rathole's clients may dial in too

[server.transport]
type = \"noise\"

[server.transport.noise]
local_private_key = \"${{{PRIVATE_KEY}}}\"

[server.admin]                          # for `underpass status server.toml`; for the page as well:
bind_addr = \"unix:{SOCKET}\"          # ssh -L 9333:{SOCKET} VPS

# A home: its names, and the token by which it shows that they are its own.
",
        server.host
    )
}

/// A home's lines in `server.toml`.
pub(super) fn service(home: &Home, kind: ServiceKind) -> String {
    let hosts: Vec<String> = home.hosts.iter().map(|host| quote(host.as_str())).collect();
    format!(
        "
[server.services.{}]
type  = \"{}\"
token = \"${{{}}}\"
hosts = [{}]
# redirect_https = true                 # plain HTTP is sent to TLS, but for a CA's checks
",
        home.name,
        kind.as_str(),
        home.variable,
        hosts.join(", ")
    )
}

/// As TOML has strings; a regex may have a backslash.
fn quote(text: &str) -> String {
    let mark = if text.contains(['\\', '"']) { '\'' } else { '"' };
    format!("{mark}{text}{mark}")
}

/// A home's `client.toml`.
pub(super) fn client(server: &HostPort, public: &str, home: &Home, kind: ServiceKind) -> String {
    let (name, variable, kind) = (&home.name, &home.variable, kind.as_str());
    format!(
        "\
# The home {name}. After a change, `underpass check client.toml` tries this file; one that runs
# takes it by itself.

{ENV_LINE}                       # beside this file: what ${{NAME}} stands for

[client]
remote_addr = \"{server}\"

[client.transport]
type = \"noise\"

[client.transport.noise]
remote_public_key = \"{public}\"   # the server's

[client.admin]                          # for `underpass status client.toml`, and a page:
bind_addr = \"127.0.0.1:9333\"            # http://127.0.0.1:9333

[client.services.{name}]
type       = \"{kind}\"
token      = \"${{{variable}}}\"
local_addr = \"127.0.0.1\"                # who answers at home, on ports 80 and 443: nginx, Caddy,
                                        # Traefik (\"traefik\" in its Compose network); on others:
# local_http_addr  = \"127.0.0.1:8080\"   # these two, instead of local_addr
# local_https_addr = \"127.0.0.1:8443\"
# proxy_protocol   = \"v2\"               # if it expects a PROXY header: the visitor's address
"
    )
}

/// Beside `server.toml`.
pub(super) fn server_env(private: &str, homes: &[Home]) -> String {
    let mut text = format!(
        "# Secrets: with these, anybody can be this server, or each of its homes.\n\
         {PRIVATE_KEY}={private}\n"
    );
    variables(homes, &mut text);
    text
}

/// Beside a home's `client.toml`.
pub(super) fn client_env(home: &Home) -> String {
    let mut text = format!("# A secret: with it, anybody can be the home {}.\n", home.name);
    variables(slice::from_ref(home), &mut text);
    text
}

fn variables(homes: &[Home], text: &mut String) {
    for Home { variable, token, .. } in homes {
        let _ = writeln!(text, "{variable}={token}"); // writing to a String cannot fail
    }
}

/// What to do with a new set.
pub(super) fn steps(dir: &Path, server: &HostPort, homes: &[Home]) -> String {
    let at = |name: &str| shell(&dir.join(name).display().to_string());
    let mut text = format!(
        "Copy to {ETC} on {}:\n  {} {}\nand to {ETC} at the home\n",
        server.host,
        at(SERVER_FILE),
        at(ENV_FILE)
    );
    copies(dir, homes, &mut text);
    let _ = write!(
        text,
        "
Each {ENV_FILE} has secrets. Who runs underpass must own it: `chown underpass {ETC}{ENV_FILE}`.

DNS:
"
    );
    let address = match server.host.parse::<IpAddr>() {
        Ok(_) => None,
        Err(_) => Some([server.host.clone(), "A".into(), "the VPS's address".into()]),
    };
    records(address, server, homes, &mut text);
    let _ = write!(
        text,
        "
Ports, TCP, in the VPS's firewall: 80 and 443 for visitors, {} for homes. At home: none.

Then on the VPS:
  underpass check {ETC}{SERVER_FILE}
  systemctl enable --now underpass-server     # or: underpass {ETC}{SERVER_FILE}
at each home:
  underpass check {ETC}{CLIENT_FILE}
  systemctl enable --now underpass-client     # or: underpass {ETC}{CLIENT_FILE}
and, to see which homes are online, on the VPS:
  underpass status {ETC}{SERVER_FILE}
",
        server.port
    );
    text
}

/// What to do with more homes for a server.
pub(super) fn additions(dir: &Path, server: &HostPort, homes: &[Home], lines: &str) -> String {
    let mut text = format!("Copy to {ETC} at the home\n");
    copies(dir, homes, &mut text);
    text += "\nAppend to .env on the server, or to what stands in its place:\n\n";
    variables(homes, &mut text);
    text += "\nthen to server.toml, which one that runs takes by itself:\n";
    text += lines;
    text += "\nDNS:\n";
    records(None, server, homes, &mut text);
    text
}

/// Each home with its files.
fn copies(dir: &Path, homes: &[Home], text: &mut String) {
    for Home { name, .. } in homes {
        let at = |file: &str| shell(&dir.join(name).join(file).display().to_string());
        let _ = writeln!(text, "  {name}: {} {}", at(CLIENT_FILE), at(ENV_FILE));
    }
}

/// What the names' zones have to say, in columns.
fn records(first: Option<[String; 3]>, server: &HostPort, homes: &[Home], text: &mut String) {
    let (kind, value) = match server.host.parse() {
        Ok(IpAddr::V4(_)) => ("A", server.host.clone()),
        Ok(IpAddr::V6(_)) => ("AAAA", server.host.clone()),
        Err(_) => ("CNAME", format!("{}.", server.host)),
    };
    let mut rows: Vec<[String; 3]> = first.into_iter().collect();
    for host in homes.iter().flat_map(|home| &home.hosts) {
        let row = [dns_name(host), kind.to_owned(), value.clone()];
        if row[0] != server.host && !rows.contains(&row) {
            rows.push(row);
        }
    }
    let width = rows.iter().map(|[name, ..]| name.len()).max().unwrap_or(0);
    for [name, kind, value] in rows {
        let _ = writeln!(text, "  {name:width$}  {kind:5}  {value}");
    }
}

/// What a pattern's names are in a zone, where a star is the first label alone, and stands for as
/// many labels as there are.
fn dns_name(pattern: &Pattern) -> String {
    let pattern = pattern.as_str();
    match pattern.rsplit_once("*.") {
        _ if pattern.starts_with('/') || pattern == "**" => format!("what {pattern} is for"),
        Some((_, rest)) => format!("*.{rest}"),
        None => pattern.to_owned(),
    }
}

/// A word of a shell's.
fn shell(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:,@%".contains(&byte);
    match !word.is_empty() && word.bytes().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

const ETC: &str = "/etc/underpass/";
const SOCKET: &str = "/run/underpass/admin.sock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_a_record() {
        for (pattern, name) in [
            ("pi.example.com", "pi.example.com"),
            ("*.pi.example.com", "*.pi.example.com"),
            ("**.pi.example.com", "*.pi.example.com"),
            ("www.*.pi.example.com", "*.pi.example.com"),
            ("*.a.*.example.com", "*.example.com"),
            ("**", "what ** is for"),
        ] {
            assert_eq!(dns_name(&Pattern::parse(pattern).expect(pattern)), name);
        }
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        for (word, quoted) in [
            ("a/.env", "a/.env"),
            ("my set/.env", "'my set/.env'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(shell(word), quoted);
        }
    }
}
