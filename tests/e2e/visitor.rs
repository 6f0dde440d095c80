//! Visitors: curl, `openssl s_client`, and a bare TCP one that writes its own ClientHello.

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use crate::harness::{PATIENCE, run};
use crate::pki::Certificate;

/// What curl saw.
#[derive(Debug)]
pub(crate) struct Answer {
    /// curl's exit code; 0 is success.
    pub(crate) exit: i32,
    /// HTTP status; 0 without a response.
    pub(crate) status: u16,
    /// "1.1" or "2"; "0" without a response.
    pub(crate) version: String,
    pub(crate) body: String,
    /// curl's own words.
    pub(crate) errors: String,
}

/// curl, about to visit `entry` whatever the URL's name resolves to.
pub(crate) struct Curl {
    command: Command,
}

impl Curl {
    pub(crate) fn new(entry: SocketAddr, authority: &Certificate) -> Curl {
        let mut command = Command::new("curl");
        command
            .args(["-q", "-sS", "--noproxy", "*", "--max-time", "120"])
            .arg("--cacert")
            .arg(&authority.file)
            .args(["--connect-to", &format!("::{}:{}", entry.ip(), entry.port())]);
        Curl { command }
    }

    pub(crate) fn args(mut self, args: &[&str]) -> Curl {
        self.command.args(args);
        self
    }

    pub(crate) fn identity(mut self, certificate: &Certificate) -> Curl {
        self.command.arg("--cert").arg(&certificate.file);
        self.command.arg("--key").arg(&certificate.key);
        self
    }

    pub(crate) fn upload(mut self, file: &Path) -> Curl {
        self.command.arg("-T").arg(file);
        self
    }

    /// The command itself, for a caller that reads a big body as it comes.
    pub(crate) fn command(mut self, url: &str) -> Command {
        self.command.arg(url);
        self.command
    }

    pub(crate) fn get(mut self, url: &str) -> Answer {
        const MARK: &str = "\n--curl-- ";
        self.command.args(["-w", &format!("{MARK}%{{http_code}} %{{http_version}}")]).arg(url);
        let output = run(&mut self.command, b"");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, tail) = text.rsplit_once(MARK).unwrap_or((&text, "0 0"));
        let (status, version) = tail.split_once(' ').unwrap();
        Answer {
            exit: output.status.code().unwrap_or(-1),
            status: status.parse().unwrap(),
            version: version.into(),
            body: body.into(),
            errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// `openssl s_client` on `entry`; its standard output and error together.
///
/// `name` is sent as it is, also where RFC 6066 would not have it; `None` sends no name.
/// `verified` is the name that the certificate must have under `authority`.
pub(crate) fn s_client(
    entry: SocketAddr,
    name: Option<&str>,
    verified: Option<(&str, &Certificate)>,
) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-brief", "-connect", &entry.to_string()]);
    match name {
        Some(name) => command.args(["-servername", name]),
        None => command.arg("-noservername"),
    };
    if let Some((host, authority)) = verified {
        command.args(["-verify_return_error", "-verify_hostname", host, "-CAfile"]);
        command.arg(&authority.file);
    }
    let output = run(&mut command, b"");
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text += &String::from_utf8_lossy(&output.stderr);
    text
}

/// A TLS stream through a running `openssl s_client`.
pub(crate) struct TlsStream {
    child: std::process::Child,
    pub(crate) write: ChildStdin,
    pub(crate) read: BufReader<ChildStdout>,
}

impl TlsStream {
    pub(crate) fn open(entry: SocketAddr, name: &str, authority: &Certificate) -> TlsStream {
        let mut child = Command::new("openssl")
            .args(["s_client", "-quiet", "-verify_return_error", "-servername", name])
            .args(["-connect", &entry.to_string(), "-CAfile"])
            .arg(&authority.file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let write = child.stdin.take().unwrap();
        let read = BufReader::new(child.stdout.take().unwrap());
        TlsStream { child, write, read }
    }
}

impl Drop for TlsStream {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a bare visit ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The first line that the home said ([`crate::home::Home::named`]).
    Home(String),
    /// A fatal TLS alert with this description.
    Alert(u8),
    /// An end of file, and nothing before it.
    Closed,
    /// A reset.
    Reset,
    /// Not even a connection, or silence.
    Nothing(ErrorKind),
}

/// TLS alerts (RFC 8446, 6).
pub(crate) const INTERNAL_ERROR: u8 = 80;
pub(crate) const UNRECOGNIZED_NAME: u8 = 112;

/// Sends a ClientHello with `name` and looks who answers.
pub(crate) fn visit(entry: SocketAddr, name: &str) -> Seen {
    say(entry, &client_hello(Some(name)))
}

/// [`visit`] for those who will not wait long.
pub(crate) fn visit_within(entry: SocketAddr, name: &str, within: Duration) -> Seen {
    let mut stream = connect(entry).unwrap();
    stream.set_read_timeout(Some(within)).unwrap();
    match stream.write_all(&client_hello(Some(name))) {
        Ok(()) => look(&mut stream),
        Err(error) => Seen::Nothing(error.kind()),
    }
}

/// Sends `bytes` and looks who answers.
pub(crate) fn say(entry: SocketAddr, bytes: &[u8]) -> Seen {
    match connect(entry).and_then(|mut stream| {
        stream.write_all(bytes)?;
        Ok(stream)
    }) {
        Ok(mut stream) => look(&mut stream),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Seen::Reset,
        Err(error) => Seen::Nothing(error.kind()),
    }
}

/// Reads the first line, or what came in its place.
pub(crate) fn look(stream: &mut TcpStream) -> Seen {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        match stream.read(&mut byte) {
            Ok(0) if line.is_empty() => return Seen::Closed,
            Ok(0) => break,
            Ok(_) if byte[0] == b'\n' && line.first() != Some(&0x15) => break,
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Seen::Reset,
            Err(error) => return Seen::Nothing(error.kind()),
        }
        // An alert record: type, version, length 2, level 2 (fatal), description.
        if let [0x15, 3, _, 0, 2, 2, description] = line[..] {
            return Seen::Alert(description);
        }
    }
    Seen::Home(String::from_utf8_lossy(&line).into_owned())
}

/// What a home named `name` is seen as.
pub(crate) fn home(name: &str) -> Seen {
    Seen::Home(format!("I am {name}"))
}

/// A connection whose reads and writes have a deadline.
pub(crate) fn connect(entry: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&entry, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A connection that comes from `source`.
pub(crate) fn connect_from(source: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // Ports are picked at connect, so that many sources do not wear out one range.
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    Ok(socket.into())
}

/// Ends a connection with a reset.
pub(crate) fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// A small TLS 1.2 ClientHello (RFC 5246, 7.4.1.2) in one record.
pub(crate) fn client_hello(name: Option<&str>) -> Vec<u8> {
    let mut extensions = Vec::new();
    if let Some(name) = name {
        let host_name = [&[0], &length16(name.as_bytes())[..]].concat();
        extensions.extend([0, 0]);
        extensions.extend(length16(&length16(&host_name)));
    }
    // supported_groups: x25519.
    extensions.extend([0, 10, 0, 4, 0, 2, 0, 29]);
    let mut hello = vec![3, 3];
    // Random in life: two hellos are never the same.
    static HELLOS: AtomicU64 = AtomicU64::new(0);
    hello.extend([0x5a; 24]);
    hello.extend(HELLOS.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    hello.push(0);
    // TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, no compression.
    hello.extend([0, 2, 0xc0, 0x2b, 1, 0]);
    hello.extend(length16(&extensions));
    let mut handshake = vec![1, 0];
    handshake.extend(length16(&hello));
    [&[22, 3, 1], &length16(&handshake)[..]].concat()
}

/// `bytes` after their length in two bytes.
fn length16(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes(), bytes].concat()
}

#[test]
fn an_alert_and_a_line_are_told_apart() {
    for (bytes, seen) in [
        (&[0x15, 3, 1, 0, 2, 2, 112][..], Seen::Alert(112)),
        (&[0x15, 3, 3, 0, 2, 2, 10][..], Seen::Alert(10)),
        (&b"I am pi\nand more"[..], home("pi")),
        (&b""[..], Seen::Closed),
    ] {
        let there = crate::home::Home::start(Ipv4Addr::LOCALHOST, move |mut stream| {
            let _ = stream.read(&mut [0; 64]);
            let _ = stream.write_all(bytes);
        });
        assert_eq!(say(there.address, b"?"), seen);
    }
}
