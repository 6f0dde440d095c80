//! One GET at the admin door, by a blocking socket with a deadline.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use socket2::{Domain, SockAddr, Socket, Type};

use underpass::config::{AdminAddr, Config, admin_doors};

use crate::cli::Role;

/// For one door, from the first packet to the last byte.
const PATIENCE: Duration = Duration::from_secs(5);
/// Tens of thousands of services.
const ANSWER_BYTES: usize = 32 * 1024 * 1024;
/// Has `user:password`.
const LOGIN: &str = "UNDERPASS_ADMIN";

/// Where to ask, the best first, and as whom.
pub(crate) struct Doors {
    doors: Vec<Door>,
    /// A field with its line end, or nothing.
    authorization: String,
}

struct Door {
    at: AdminAddr,
    /// The Host that it is known by.
    host: String,
}

impl Doors {
    /// Of the role that runs with this file. A file that is wrong now will do, if its doors can be
    /// read.
    pub(crate) fn of(path: &Path, role: Option<Role>) -> Result<Doors, String> {
        let shown = path.display();
        let bytes =
            std::fs::read(path).map_err(|error| format!("{shown}: cannot read it: {error}"))?;
        let text = String::from_utf8_lossy(&bytes);
        let roles = match role {
            Some(Role::Server) => &["server"][..],
            Some(Role::Client) => &["client"],
            None => &["server", "client"],
        };
        let mut found: Vec<(&str, Vec<Door>)> = Vec::new();
        for role in roles {
            let doors = admin_doors(&text, role).into_iter().map(Door::new).collect::<Vec<_>>();
            if !doors.is_empty() {
                found.push((role, doors));
            }
        }
        if found.is_empty() {
            found = from_all(path, roles)?;
        }
        let mut doors = match found.len() {
            0 => return Err(how_to_have_one(path, &text, roles)),
            1 => found.remove(0).1,
            _ => return Err(format!("{shown}: has both roles: say --server or --client")),
        };
        doors.sort_by_key(|door| match &door.at {
            AdminAddr::Unix(_) => 0, // asks for no password
            AdminAddr::Tcp(addr) if addr.ip().is_loopback() => 1,
            AdminAddr::Tcp(_) => 2,
        });
        let authorization = match std::env::var(LOGIN) {
            Ok(login) => format!("Authorization: Basic {}\r\n", STANDARD.encode(login)),
            Err(_) => String::new(),
        };
        Ok(Doors { doors, authorization })
    }

    /// The body of the first answer.
    pub(crate) fn get(&self, target: &str) -> Result<Vec<u8>, String> {
        let mut unanswered = Vec::new();
        for door in &self.doors {
            match self.get_at(door, target) {
                Ok((200, body)) => return Ok(body),
                Ok((status, _)) => return Err(self.refused(&door.at, status)),
                Err(error) => unanswered.push(format!("{}: {error}", door.at)),
            }
        }
        Err(format!("nobody answers at {}", unanswered.join("; ")))
    }

    fn refused(&self, at: &AdminAddr, status: u16) -> String {
        let knows = !self.authorization.is_empty();
        match status {
            401 if knows => format!("{at}: does not take what {LOGIN} has"),
            401 => format!("{at}: asks for a password: {LOGIN}=USER:PASSWORD in the environment"),
            429 => format!("{at}: too many wrong passwords; it takes none for a minute"),
            _ => format!("{at}: answers with status {status}"),
        }
    }

    fn get_at(&self, door: &Door, target: &str) -> io::Result<(u16, Vec<u8>)> {
        let end = Instant::now() + PATIENCE;
        let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer within 5 s");
        let left =
            || Some(end.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero());
        let (domain, addr) = match &door.at {
            AdminAddr::Tcp(addr) => (Domain::for_address(*addr), (*addr).into()),
            AdminAddr::Unix(path) => (Domain::UNIX, SockAddr::unix(path)?),
        };
        let mut socket = Socket::new(domain, Type::STREAM, None)?;
        // Also that of connect(2).
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.connect(&addr).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => late(),
            _ => error,
        })?;
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {}\r\n{}Connection: close\r\n\r\n",
            door.host, self.authorization
        );
        socket.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        let mut room = [0; 16 * 1024];
        loop {
            socket.set_read_timeout(Some(left().ok_or_else(late)?))?;
            match socket.read(&mut room) {
                Ok(0) => return parse(&answer),
                Ok(count) => answer.extend_from_slice(&room[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(late()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if answer.len() > ANSWER_BYTES {
                return Err(wrong("the answer is too long"));
            }
        }
    }
}

impl Door {
    fn new(at: AdminAddr) -> Door {
        let at = match at {
            AdminAddr::Tcp(addr) => AdminAddr::Tcp(on_this_machine(addr)),
            unix => unix,
        };
        let host = match &at {
            AdminAddr::Tcp(addr) => addr.to_string(),
            AdminAddr::Unix(_) => "localhost".to_owned(),
        };
        Door { at, host }
    }
}

fn on_this_machine(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    addr
}

/// What only the whole file says: addresses with variables in them, and the name at the HTTP entry.
fn from_all<'a>(path: &Path, roles: &[&'a str]) -> Result<Vec<(&'a str, Vec<Door>)>, String> {
    let config = Config::load(path).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    for role in roles {
        let (admin, http_addrs) = match (*role, &config.server, &config.client) {
            ("server", Some(server), _) => (&server.admin, &server.http_addrs[..]),
            ("client", _, Some(client)) => (&client.admin, &[][..]),
            _ => continue,
        };
        let Some(admin) = admin else { continue };
        let mut doors: Vec<Door> = admin.bind_addrs.iter().cloned().map(Door::new).collect();
        if let Some(host) = &admin.host {
            doors.extend(
                http_addrs.iter().map(|addr| Door {
                    host: host.to_string(),
                    ..Door::new(AdminAddr::Tcp(*addr))
                }),
            );
        }
        found.push((*role, doors));
    }
    Ok(found)
}

fn how_to_have_one(path: &Path, text: &str, roles: &[&str]) -> String {
    let is_there = |role: &&&str| text.contains(&format!("[{role}"));
    let role = roles.iter().find(is_there).or(roles.first()).copied().unwrap_or("server");
    format!(
        "{}: has no [{role}.admin], where the running program is asked. Add these lines:\n\n\
         [{role}.admin]\n\
         # For `underpass status`, Prometheus and a browser on this machine; nobody else gets in.\n\
         bind_addr = \"127.0.0.1:9333\"\n",
        path.display()
    )
}

/// A whole answer: its status and its body.
fn parse(answer: &[u8]) -> io::Result<(u16, Vec<u8>)> {
    let cut = || wrong("the answer is cut off");
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut fields);
    let length = match head.parse(answer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Err(cut()),
        Err(_) => return Err(wrong("the answer is no HTTP")),
    };
    let status = head.code.unwrap_or_default(); // complete, so there is one
    let field = |name: &str| {
        let same = |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case(name);
        head.headers.iter().find(same).and_then(|field| str::from_utf8(field.value).ok())
    };
    let body = &answer[length..];
    if field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        return Ok((status, unchunked(body).ok_or_else(cut)?));
    }
    let body = match field("content-length").map(|length| length.trim().parse::<usize>()) {
        Some(Ok(length)) => body.get(..length).ok_or_else(cut)?,
        Some(Err(_)) => return Err(wrong("the answer is no HTTP")),
        None => body,
    };
    Ok((status, body.to_vec()))
}

/// The chunks' bytes, one behind the other; `None`: the last one is not there.
fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let Ok(httparse::Status::Complete((at, size))) = httparse::parse_chunk_size(rest) else {
            return None;
        };
        if size == 0 {
            return Some(whole);
        }
        let end = at.checked_add(usize::try_from(size).ok()?)?;
        whole.extend_from_slice(rest.get(at..end)?);
        rest = rest[end..].strip_prefix(b"\r\n")?;
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whole_or_not_at_all() {
        const LENGTH: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabcd";
        const CHUNKS: &[u8] =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
        for (answer, cut) in [(LENGTH, LENGTH.len()), (CHUNKS, CHUNKS.len() - 2)] {
            assert_eq!(parse(answer).ok(), Some((200, b"abcd".to_vec())));
            for length in 0..cut {
                assert!(parse(&answer[..length]).is_err(), "{length}");
            }
        }
        let open = b"HTTP/1.0 404 No\r\n\r\nabcd".as_slice();
        assert_eq!(parse(open).ok(), Some((404, b"abcd".to_vec())));
        for hostile in [
            &b"220 mail.example.com ESMTP\r\n"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\na",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        ] {
            assert!(parse(hostile).is_err());
        }
    }
}
