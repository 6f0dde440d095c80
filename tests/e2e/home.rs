//! What runs at home: nginx with its own certificate, and small TCP servers for what nginx cannot
//! show (hashing an upload, echoing a WebSocket, taking a stream down to its last byte).

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use base64::Engine;
use sha2::{Digest, Sha256};

use crate::harness::{PATIENCE, Proc, Scratch, free_port, own_address, run, wait_until};
use crate::pki::{Authority, Certificate};

/// A TCP server with a thread for each connection.
pub(crate) struct Home {
    pub(crate) address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Home {
    pub(crate) fn start(ip: Ipv4Addr, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Home {
        Home::start_at(SocketAddr::from((ip, 0)), serve)
    }

    pub(crate) fn start_at(
        address: SocketAddr,
        serve: impl Fn(TcpStream) + Send + Sync + 'static,
    ) -> Home {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let stopping = Arc::new(AtomicBool::new(false));
        let thread = {
            let (accepted, stopping) = (accepted.clone(), stopping.clone());
            let serve = Arc::new(serve);
            thread::spawn(move || {
                for stream in listener.incoming() {
                    if stopping.load(Ordering::SeqCst) {
                        break;
                    }
                    let Ok(stream) = stream else { continue };
                    accepted.fetch_add(1, Ordering::SeqCst);
                    let serve = serve.clone();
                    thread::spawn(move || serve(stream));
                }
            })
        };
        Home { address, accepted, stopping, thread: Some(thread) }
    }

    /// Says `I am NAME` and a line feed as soon as a first byte has come, then reads to the end.
    pub(crate) fn named(ip: Ipv4Addr, name: &'static str) -> Home {
        Home::named_at(SocketAddr::from((ip, 0)), name)
    }

    /// The same at an address that was promised to somebody.
    pub(crate) fn named_at(address: SocketAddr, name: &'static str) -> Home {
        Home::start_at(address, move |mut stream| {
            let mut buffer = [0; 4096];
            if stream.read(&mut buffer).is_ok_and(|n| n > 0) {
                let _ = stream.write_all(format!("I am {name}\n").as_bytes());
                while stream.read(&mut buffer).is_ok_and(|n| n > 0) {}
            }
        })
    }

    /// Sends back what comes, and the end of it.
    pub(crate) fn echo(ip: Ipv4Addr) -> Home {
        Home::start(ip, |mut stream| {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(n) = stream.read(&mut buffer) {
                if n == 0 || stream.write_all(&buffer[..n]).is_err() {
                    break;
                }
            }
        })
    }

    /// Hands each connection over, for a test that plays the home itself.
    pub(crate) fn by_hand(ip: Ipv4Addr) -> (Home, Connections) {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1024);
        let home = Home::start(ip, move |stream| {
            let _ = sender.send(stream);
        });
        (home, Connections(receiver))
    }

    /// How many connections have come so far.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // The accept loop wakes for one more connection and ends.
        if TcpStream::connect(self.address).is_ok() {
            let _ = self.thread.take().unwrap().join();
        }
    }
}

/// The connections of [`Home::by_hand`], in order.
pub(crate) struct Connections(std::sync::mpsc::Receiver<TcpStream>);

impl Connections {
    #[track_caller]
    pub(crate) fn next(&self) -> TcpStream {
        let stream = self.0.recv_timeout(PATIENCE).expect("no visitor reached the home");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub(crate) fn try_next(&self) -> Option<TcpStream> {
        self.0.try_recv().ok()
    }
}

/// An HTTPS site: nginx with a certificate of the home's own authority.
///
/// `/whoami` names the home, the name asked for and the protocol; `/files/` serves [`Site::www`];
/// `/slow/` the same at 32 KB a second; `/up` hashes an upload; `/ws` echoes a WebSocket;
/// `/status` counts connections. A second port asks for a client certificate.
pub(crate) struct Site {
    nginx: Option<Proc>,
    name: &'static str,
    dir: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) mtls_address: SocketAddr,
    /// The same site without TLS.
    pub(crate) plain_address: SocketAddr,
    pub(crate) authority: Authority,
    pub(crate) visitor: Certificate,
    _backend: Home,
}

impl Site {
    pub(crate) fn start(dir: &Scratch, ip: Ipv4Addr, name: &'static str, hosts: &[&str]) -> Site {
        let authority = Authority::new(dir, name);
        let certificate = authority.site(dir, hosts);
        let visitor = authority.visitor(dir, "a friend");
        let backend = Home::start(ip, |stream| {
            let _ = serve_backend(stream);
        });
        let prefix = dir.path(&format!("{name}-nginx"));
        std::fs::create_dir_all(prefix.join("www")).unwrap();
        let mut site = Site {
            nginx: None,
            name,
            dir: prefix,
            address: free_port(ip),
            mtls_address: free_port(ip),
            plain_address: free_port(ip),
            authority,
            visitor,
            _backend: backend,
        };
        let conf = site.configuration(&certificate);
        std::fs::write(site.dir.join("nginx.conf"), conf).unwrap();
        site.start_again(dir);
        site
    }

    /// Where the files below `/files/` and `/slow/` are.
    pub(crate) fn www(&self) -> PathBuf {
        self.dir.join("www")
    }

    pub(crate) fn stop(&mut self) {
        self.nginx.as_mut().unwrap().stop();
    }

    pub(crate) fn start_again(&mut self, dir: &Scratch) {
        // Debian keeps it where only root's PATH leads.
        let debian = Path::new("/usr/sbin/nginx");
        let program = if debian.exists() { debian } else { Path::new("nginx") };
        let mut command = Command::new(program);
        command.args(["-e", "stderr", "-c", "nginx.conf", "-p"]).arg(&self.dir);
        self.nginx = Some(Proc::start(&format!("{}-nginx", self.name), dir, &command));
        let up = || TcpStream::connect(self.address).is_ok();
        wait_until(PATIENCE, "nginx listens", up);
    }

    fn configuration(&self, certificate: &Certificate) -> String {
        let (name, address, mtls_address) = (self.name, self.address, self.mtls_address);
        let plain_address = self.plain_address;
        let backend = self._backend.address;
        let certificate_file = certificate.file.display();
        let key = certificate.key.display();
        let authority = self.authority.own.file.display();
        format!(
            r#"
daemon off; master_process off; pid nginx.pid; error_log stderr warn;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
    access_log off; default_type text/plain; sendfile on; tcp_nodelay on;
    client_body_temp_path temp-body; proxy_temp_path temp-proxy; fastcgi_temp_path temp-fcgi;
    uwsgi_temp_path temp-uwsgi; scgi_temp_path temp-scgi;
    client_max_body_size 0; proxy_http_version 1.1; proxy_request_buffering off;
    keepalive_timeout 300s; send_timeout 300s; client_body_timeout 300s; proxy_read_timeout 300s;
    ssl_certificate {certificate_file}; ssl_certificate_key {key};
    server {{
        listen {address} ssl http2 backlog=2048;
        location = /whoami {{ return 200 "{name} $ssl_server_name $server_protocol\n"; }}
        location = /status {{ stub_status; }}
        location /files/ {{ alias www/; }}
        location /slow/ {{ alias www/; limit_rate 32k; }}
        location = /up {{ proxy_pass http://{backend}; }}
        location = /ws {{
            proxy_pass http://{backend};
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
        }}
    }}
    server {{
        listen {plain_address} backlog=2048;
        location = /whoami {{ return 200 "{name} $host $http_x_forwarded_for\n"; }}
        location /files/ {{ alias www/; }}
        location = /up {{ proxy_pass http://{backend}; }}
        location = /ws {{
            proxy_pass http://{backend};
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
        }}
    }}
    server {{
        listen {mtls_address} ssl;
        ssl_client_certificate {authority}; ssl_verify_client on;
        location = /whoami {{ return 200 "{name} $ssl_server_name $ssl_client_s_dn\n"; }}
    }}
}}
"#
        )
    }
}

/// One plain HTTP request behind nginx: an upload, answered with its length and SHA-256, or a
/// WebSocket, echoed.
fn serve_backend(stream: TcpStream) -> io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::with_capacity(64 * 1024, stream);
    let fields = read_head(&mut reader)?;
    if let Some(key) = fields.get("sec-websocket-key") {
        let accept = websocket_accept(key);
        write!(
            writer,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        )?;
        loop {
            let frame = Frame::read(&mut reader)?;
            match frame.opcode {
                Frame::PING => Frame { opcode: Frame::PONG, ..frame }.write(&mut writer, None)?,
                Frame::CLOSE => return frame.write(&mut writer, None),
                _ => frame.write(&mut writer, None)?,
            }
        }
    }
    let length = fields.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = reader.take(length);
    let (read, hash) = digest(&mut body)?;
    let answer = format!("{read} {hash}\n");
    write!(
        writer,
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
        answer.len()
    )?;
    writer.shutdown(Shutdown::Write)
}

/// The fields of an HTTP head, names in lower case; the first line is left out.
pub(crate) fn read_head(reader: &mut impl BufRead) -> io::Result<HashMap<String, String>> {
    let mut fields = HashMap::new();
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end().split_once(':') {
            _ if line == "\r\n" => return Ok(fields),
            Some((name, value)) => {
                fields.insert(name.to_lowercase(), value.trim().to_owned());
            }
            None => {}
        }
    }
}

/// Reads to the end: how much it was, and its SHA-256 in hexadecimal.
pub(crate) fn digest(reader: &mut impl Read) -> io::Result<(u64, String)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    loop {
        match reader.read(&mut buffer)? {
            0 => break,
            n => {
                hasher.update(&buffer[..n]);
                total += n as u64;
            }
        }
    }
    let hash = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((total, hash))
}

/// RFC 6455, 4.2.2: the answer to `Sec-WebSocket-Key`. SHA-1 is left to the `openssl` program.
pub(crate) fn websocket_accept(key: &str) -> String {
    let input = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let output = run(Command::new("openssl").args(["dgst", "-sha1", "-binary"]), input.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(output.stdout)
}

/// A whole WebSocket frame (RFC 6455, 5.2), never fragmented here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) const BINARY: u8 = 2;
    pub(crate) const CLOSE: u8 = 8;
    pub(crate) const PING: u8 = 9;
    pub(crate) const PONG: u8 = 10;

    /// With a mask when a client writes, without when a server does.
    pub(crate) fn write(&self, to: &mut impl Write, mask: Option<[u8; 4]>) -> io::Result<()> {
        let mut bytes = vec![0x80 | self.opcode];
        let masked = if mask.is_some() { 0x80 } else { 0 };
        match self.payload.len() {
            n @ 0..=125 => bytes.push(masked | n as u8),
            n @ 126..=0xffff => {
                bytes.push(masked | 126);
                bytes.extend((n as u16).to_be_bytes());
            }
            n => {
                bytes.push(masked | 127);
                bytes.extend((n as u64).to_be_bytes());
            }
        }
        bytes.extend(mask.iter().flatten());
        let key = mask.unwrap_or_default();
        bytes.extend(self.payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        to.write_all(&bytes)?;
        to.flush()
    }

    pub(crate) fn read(from: &mut impl Read) -> io::Result<Frame> {
        let mut head = [0; 2];
        from.read_exact(&mut head)?;
        let length = match head[1] & 0x7f {
            126 => {
                let mut length = [0; 2];
                from.read_exact(&mut length)?;
                u16::from_be_bytes(length).into()
            }
            127 => {
                let mut length = [0; 8];
                from.read_exact(&mut length)?;
                u64::from_be_bytes(length)
            }
            short => short.into(),
        };
        let mut key = [0; 4];
        if head[1] & 0x80 != 0 {
            from.read_exact(&mut key)?;
        }
        let mut payload = vec![0; length as usize];
        from.read_exact(&mut payload)?;
        for (byte, key) in payload.iter_mut().zip(key.iter().cycle()) {
            *byte ^= key;
        }
        Ok(Frame { opcode: head[0] & 0x0f, payload })
    }
}

#[test]
fn websocket_accept_of_the_rfc() {
    // RFC 6455, 1.3.
    assert_eq!(websocket_accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn websocket_frames_come_back() {
    for length in [0, 1, 125, 126, 65535, 65536, 100_000] {
        let payload: Vec<u8> = (0..length).map(|i| i as u8).collect();
        let frame = Frame { opcode: Frame::BINARY, payload };
        for mask in [None, Some([1, 2, 3, 4])] {
            let mut bytes = Vec::new();
            frame.write(&mut bytes, mask).unwrap();
            assert_eq!(Frame::read(&mut bytes.as_slice()).unwrap(), frame);
        }
    }
}

/// The sites by themselves, with no tunnel: what fails here is the machine's affair.
#[test]
fn a_site_answers_its_visitors_directly() {
    use crate::visitor::{Curl, TlsStream, s_client};
    let (dir, ip) = (Scratch::new(), own_address());
    let mut site = Site::start(&dir, ip, "pi", &["pi.example.com", "*.pi.example.com"]);
    let curl = |address| Curl::new(address, &site.authority.own);
    let url = "https://www.pi.example.com/whoami";
    let answer = curl(site.address).args(&["--http1.1"]).get(url);
    assert_eq!(answer.body, "pi www.pi.example.com HTTP/1.1\n", "{answer:?}");
    let answer = curl(site.address).args(&["--http2"]).get(url);
    assert_eq!((answer.version.as_str(), answer.status), ("2", 200), "{answer:?}");
    let answer = curl(site.mtls_address).identity(&site.visitor).get(url);
    assert_eq!(answer.body, "pi www.pi.example.com CN=a friend\n", "{answer:?}");
    assert_eq!(curl(site.mtls_address).get(url).status, 400);
    let stranger = Authority::new(&dir, "stranger");
    assert_eq!(Curl::new(site.address, &stranger.own).get(url).exit, 60);

    let file = dir.write("upload", "four");
    let answer = curl(site.address).upload(&file).get("https://pi.example.com/up");
    // sha256sum of "four".
    let hash = "04efaf080f5a3e74e1c29d1ca6a48569382cbbcd324e8d59d2b83ef21c039f00";
    assert_eq!(answer.body, format!("4 {hash}\n"), "{answer:?}");

    let text = s_client(site.address, Some("PI.example.com"), None);
    assert!(text.contains("CN = pi.example.com"), "{text}");

    let mut tls = TlsStream::open(site.address, "pi.example.com", &site.authority.own);
    write!(
        tls.write,
        "GET /ws HTTP/1.1\r\nHost: pi.example.com\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .unwrap();
    let fields = read_head(&mut tls.read).unwrap();
    assert_eq!(fields["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let frame = Frame { opcode: Frame::BINARY, payload: vec![7; 70_000] };
    frame.write(&mut tls.write, Some([5; 4])).unwrap();
    assert!(Frame::read(&mut tls.read).unwrap() == frame);

    site.stop();
    assert_eq!(Curl::new(site.address, &site.authority.own).get(url).status, 0);
    site.start_again(&dir);
    assert_eq!(Curl::new(site.address, &site.authority.own).get(url).status, 200);
}
