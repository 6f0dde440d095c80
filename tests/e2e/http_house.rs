//! The HTTP entry's set-up: homes behind clients of their own, and both ends of HTTP by hand.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::harness::{PATIENCE, Proc, SECRET, free_port};
use crate::home::{Connections, Home, Site, digest};
use crate::house::{Vps, returns_to, settled};
use crate::visitor::connect;

/// One home: its service on the server and at its own client.
pub(crate) struct Lot {
    name: &'static str,
    kind: &'static str,
    hosts: Vec<String>,
    more: &'static str,
    targets: String,
}

impl Lot {
    /// `NAME.example.com` and all below it, on the HTTP entry.
    pub(crate) fn http(name: &'static str, address: SocketAddr) -> Lot {
        let hosts = vec![format!("{name}.example.com"), format!("**.{name}.example.com")];
        let targets = format!("local_addr = \"{address}\"\n");
        Lot { name, kind: "http", hosts, more: "", targets }
    }

    /// The same names on both entries.
    pub(crate) fn web(name: &'static str, http: SocketAddr, https: SocketAddr) -> Lot {
        let targets = format!("local_http_addr = \"{http}\"\nlocal_https_addr = \"{https}\"\n");
        Lot { kind: "web", targets, ..Lot::http(name, http) }
    }

    pub(crate) fn hosts(mut self, hosts: &[&str]) -> Lot {
        self.hosts = hosts.iter().map(|&host| host.to_owned()).collect();
        self
    }

    /// Takes what has no name.
    pub(crate) fn fallback(self) -> Lot {
        self.more("fallback = true\n")
    }

    /// More lines for the server's file.
    pub(crate) fn more(mut self, lines: &'static str) -> Lot {
        self.more = lines;
        self
    }

    pub(crate) fn server_service(&self) -> String {
        let Lot { name, kind, hosts, more, .. } = self;
        format!(
            "[server.services.{name}]\ntype = \"{kind}\"\ntoken = \"{SECRET}-{name}\"\n\
             hosts = {hosts:?}\n{more}"
        )
    }

    pub(crate) fn client_service(&self) -> String {
        let Lot { name, kind, targets, .. } = self;
        format!(
            "[client.services.{name}]\ntype = \"{kind}\"\ntoken = \"{SECRET}-{name}\"\n{targets}"
        )
    }
}

/// A server with an HTTP entry, a client for each home, and a service `away` that nobody claims.
pub(crate) struct Estate {
    pub(crate) server: Proc,
    pub(crate) clients: Vec<Proc>,
    pub(crate) http: SocketAddr,
    lots: Vec<Lot>,
    before: Vec<usize>,
    pub(crate) vps: Vps,
}

impl Estate {
    pub(crate) fn start(lots: Vec<Lot>) -> Estate {
        Estate::on(Vps::new(), lots)
    }

    pub(crate) fn on(vps: Vps, lots: Vec<Lot>) -> Estate {
        Estate::with_tables(vps, lots, "")
    }

    /// The same with further tables in the server's file.
    pub(crate) fn with_tables(mut vps: Vps, lots: Vec<Lot>, tables: &str) -> Estate {
        let http = free_port(vps.ip);
        vps.server_extra += &format!("http_addr = \"{http}\"\n");
        let away = Lot::http("away", http);
        let services = lots.iter().chain([&away]).map(Lot::server_service);
        let server = vps.server(&(services.collect::<String>() + tables));
        let mut estate =
            Estate { server, clients: Vec::new(), http, lots, before: Vec::new(), vps };
        for number in 0..estate.lots.len() {
            let client = estate.client(number);
            client.wait_for_log(&[estate.lots[number].name, "is up"]);
            estate.clients.push(client);
        }
        estate.before = settled(&estate.processes());
        estate
    }

    fn client(&self, number: usize) -> Proc {
        let lot = &self.lots[number];
        self.vps.client(&format!("{}-client", lot.name), &lot.client_service())
    }

    /// The client of a home that was stopped; whoever needs it visits until it answers.
    pub(crate) fn start_again(&mut self, number: usize) {
        self.clients[number] = self.client(number);
    }

    pub(crate) fn processes(&self) -> Vec<&Proc> {
        self.clients.iter().chain([&self.server]).collect()
    }

    /// No descriptor more than before the first visitor, in any process.
    #[track_caller]
    pub(crate) fn assert_steady(&self) {
        returns_to(&self.before, &self.processes());
    }

    pub(crate) fn visitor(&self) -> Peer {
        Peer::new(connect(self.http).unwrap())
    }

    /// The answer to one request on a connection of its own.
    #[track_caller]
    pub(crate) fn ask(&self, request: &str) -> Message {
        let mut visitor = self.visitor();
        visitor.say(request);
        visitor.response(request.split(' ').next().unwrap())
    }

    /// curl, for http URLs of any name.
    pub(crate) fn curl(&self, args: &[&str]) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["-q", "-sS", "--noproxy", "*", "--max-time", "120", "--connect-to"]);
        curl.arg(format!("::{}:{}", self.http.ip(), self.http.port())).args(args);
        curl
    }
}

/// The picture: two nginx sites by the same names on both entries, and a third home that
/// hashes what is sent to it.
pub(crate) struct Sites {
    pub(crate) pi: Site,
    pub(crate) local: Site,
    _uploads: Home,
    /// Last, for the directory that holds everybody's logs.
    pub(crate) estate: Estate,
}

impl Sites {
    pub(crate) fn start() -> Sites {
        let vps = Vps::new();
        let site = |name, host| Site::start(&vps.dir, vps.ip, name, &[host, &format!("*.{host}")]);
        let (pi, local) = (site("pi", "pi.example.com"), site("local", "local.example.com"));
        let uploads = hashing_home(vps.ip, pi.www());
        let lots = vec![
            Lot::web("pi", pi.plain_address, pi.address),
            Lot::web("local", local.plain_address, local.address),
            Lot::http("up", uploads.address),
        ];
        Sites { estate: Estate::on(vps, lots), pi, local, _uploads: uploads }
    }
}

pub(crate) fn get(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// A response of 200 with a length.
pub(crate) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Answers every request of every connection, one after another; an empty answer is the end.
pub(crate) fn answering(
    ip: Ipv4Addr,
    answer: impl Fn(&Message) -> String + Send + Sync + 'static,
) -> Home {
    Home::start(ip, move |stream| {
        let mut visitor = Peer::new(stream);
        while let Ok(request) = read_request(&mut visitor.reader) {
            let answer = answer(&request);
            if answer.is_empty() || visitor.stream.write_all(answer.as_bytes()).is_err() {
                break;
            }
        }
    })
}

/// Says `NAME PATH` to every request.
pub(crate) fn naming(ip: Ipv4Addr, name: &'static str) -> Home {
    answering(ip, move |request| ok(&format!("{name} {}", request.path())))
}

/// An upload, of either framing, is answered with its length and SHA-256; `GET /NAME` is answered
/// with that file of `folder`, chunked.
fn hashing_home(ip: Ipv4Addr, folder: PathBuf) -> Home {
    Home::start(ip, move |stream| {
        let mut visitor = Peer::new(stream);
        while let Ok(head) = read_head(&mut visitor.reader) {
            if hash_or_send(&mut visitor, &head, &folder).is_err() {
                break;
            }
        }
    })
}

fn hash_or_send(visitor: &mut Peer, head: &Message, folder: &std::path::Path) -> io::Result<()> {
    if head.start.starts_with("GET ") {
        let mut file = std::fs::File::open(folder.join(&head.path()[1..]))?;
        visitor.stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        // Chunks of many sizes, none of them a round one.
        for size in [1, 77, 16_001, 65_537, 500_009].into_iter().cycle() {
            let mut chunk = vec![0; size];
            let length = file.read(&mut chunk)?;
            let lines = [format!("{length:x}\r\n").as_bytes(), &chunk[..length], b"\r\n"].concat();
            visitor.stream.write_all(&lines)?;
            if length == 0 {
                return Ok(());
            }
        }
    }
    if head.field("expect").is_some() {
        visitor.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let (read, hash) = match head.length() {
        Some(length) => digest(&mut visitor.reader.by_ref().take(length))?,
        None => digest(&mut Chunks::new(&mut visitor.reader))?,
    };
    visitor.stream.write_all(ok(&format!("{read} {hash}\n")).as_bytes())
}

/// A whole request or response.
#[derive(Debug)]
pub(crate) struct Message {
    /// The first line.
    pub(crate) start: String,
    /// Names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    #[track_caller]
    pub(crate) fn status(&self) -> u16 {
        let status =
            self.start.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        status.unwrap_or_else(|| panic!("no status line: {self:?}"))
    }

    pub(crate) fn path(&self) -> &str {
        self.start.split(' ').nth(1).unwrap()
    }

    /// The value of a field that stands there once at most.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut found = self.fields.iter().filter(|(known, _)| known == name);
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "two of {name}: {self:?}");
        value
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn length(&self) -> Option<u64> {
        self.field("content-length").map(|length| length.parse().unwrap())
    }
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    if !line.ends_with(b"\r\n") {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    line.truncate(line.len() - 2);
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// A head in the one canonical form; anything else is an error.
pub(crate) fn read_head(reader: &mut impl BufRead) -> io::Result<Message> {
    let mut message = Message { start: read_line(reader)?, fields: Vec::new(), body: Vec::new() };
    loop {
        let line = read_line(reader)?;
        match line.split_once(": ") {
            _ if line.is_empty() => return Ok(message),
            Some((name, value)) => {
                message.fields.push((name.to_ascii_lowercase(), value.to_owned()));
            }
            None => return Err(io::Error::other(format!("not canonical: {line:?}"))),
        }
    }
}

pub(crate) fn read_request(reader: &mut impl BufRead) -> io::Result<Message> {
    let mut message = read_head(reader)?;
    if message.field("transfer-encoding").is_some() {
        Chunks::new(reader).read_to_end(&mut message.body)?;
    } else if let Some(length) = message.length() {
        read_length(reader, length, &mut message.body)?;
    }
    Ok(message)
}

/// The response to a request of this method.
pub(crate) fn read_response(reader: &mut impl BufRead, method: &str) -> io::Result<Message> {
    let mut message = read_head(reader)?;
    if method == "HEAD" || matches!(message.status(), 100..200 | 204 | 304) {
        return Ok(message);
    }
    if message.field("transfer-encoding").is_some() {
        Chunks::new(reader).read_to_end(&mut message.body)?;
    } else if let Some(length) = message.length() {
        read_length(reader, length, &mut message.body)?;
    } else {
        reader.read_to_end(&mut message.body)?;
    }
    Ok(message)
}

fn read_length(reader: &mut impl BufRead, length: u64, body: &mut Vec<u8>) -> io::Result<()> {
    match reader.take(length).read_to_end(body)? as u64 == length {
        true => Ok(()),
        false => Err(ErrorKind::UnexpectedEof.into()),
    }
}

/// The content of a chunked body; its trailers are read and dropped.
pub(crate) struct Chunks<R> {
    reader: R,
    left: u64,
    done: bool,
}

impl<R: BufRead> Chunks<R> {
    pub(crate) fn new(reader: R) -> Chunks<R> {
        Chunks { reader, left: 0, done: false }
    }
}

impl<R: BufRead> Read for Chunks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.done {
            let size = read_line(&mut self.reader)?;
            self.left = u64::from_str_radix(&size, 16).map_err(io::Error::other)?;
            if self.left == 0 {
                while !read_line(&mut self.reader)?.is_empty() {}
                self.done = true;
            }
        }
        if self.done {
            return Ok(0);
        }
        let most = buffer.len().min(usize::try_from(self.left).unwrap());
        let length = self.reader.read(&mut buffer[..most])?;
        if length == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.left -= length as u64;
        if self.left == 0 && !read_line(&mut self.reader)?.is_empty() {
            return Err(io::Error::other("no line end behind a chunk"));
        }
        Ok(length)
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Fin,
    Reset,
}

/// One end of a connection played by hand: a visitor, or a home.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    pub(crate) reader: BufReader<TcpStream>,
}

impl Peer {
    pub(crate) fn new(stream: TcpStream) -> Peer {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE * 2)).unwrap();
        stream.set_write_timeout(Some(PATIENCE * 2)).unwrap();
        let reader = BufReader::with_capacity(64 * 1024, stream.try_clone().unwrap());
        Peer { stream, reader }
    }

    #[track_caller]
    pub(crate) fn say(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).unwrap();
    }

    #[track_caller]
    pub(crate) fn request(&mut self) -> Message {
        read_request(&mut self.reader).unwrap()
    }

    /// The response to a request of this method.
    #[track_caller]
    pub(crate) fn response(&mut self, method: &str) -> Message {
        read_response(&mut self.reader, method).unwrap()
    }

    /// Asks and hears.
    #[track_caller]
    pub(crate) fn get(&mut self, host: &str, path: &str) -> Message {
        self.say(get(host, path));
        self.response("GET")
    }

    /// The next `length` bytes.
    #[track_caller]
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.reader.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// All that still comes, and the end behind it.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> (Vec<u8>, End) {
        let mut bytes = Vec::new();
        match self.reader.read_to_end(&mut bytes) {
            Ok(_) => (bytes, End::Fin),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => (bytes, End::Reset),
            Err(error) => panic!("no end: {error}, after {}", bytes.escape_ascii()),
        }
    }

    /// Asserts that nothing comes for so long.
    #[track_caller]
    pub(crate) fn assert_silent(&mut self, time: Duration) {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let heard = self.reader.fill_buf().map(<[u8]>::to_vec);
        self.stream.set_read_timeout(Some(PATIENCE * 2)).unwrap();
        let kind = heard.as_ref().map_err(io::Error::kind);
        assert!(matches!(kind, Err(ErrorKind::WouldBlock | ErrorKind::TimedOut)), "{heard:?}");
    }

    pub(crate) fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    pub(crate) fn reset(self) {
        // The reader's copy goes first: a reset needs the last one.
        drop(self.reader);
        crate::visitor::reset(self.stream);
    }
}

impl Connections {
    /// The next connection of a home that is played by hand.
    #[track_caller]
    pub(crate) fn peer(&self) -> Peer {
        Peer::new(self.next())
    }

    /// Nobody has come since the last one.
    pub(crate) fn is_empty(&self) -> bool {
        self.try_next().is_none()
    }
}
