//! A home's web site: one page over HTTP and HTTPS, with a certificate made on the spot.
//!
//! Threads that block are fine here: this plays the part of nginx, not of underpass.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A visitor of the demo who says nothing for so long has gone.
const PATIENCE: Duration = Duration::from_secs(10);
/// A request's head; curl's is a hundred bytes.
const HEAD_BYTES: usize = 8 * 1024;

/// A running site; its threads end with the process.
pub(super) struct Site {
    /// Whose site it is.
    pub(super) home: &'static str,
    /// Where it speaks TLS.
    pub(super) https: SocketAddr,
    /// Where it speaks plain HTTP.
    pub(super) http: SocketAddr,
    /// What a visitor must trust: this home's own certificate authority.
    pub(super) authority: Authority,
    /// What the site shows.
    pub(super) certificate: CertificateDer<'static>,
}

/// A home's own self-signed certificate authority.
pub(super) struct Authority {
    /// For curl's `--cacert`.
    pub(super) pem: String,
    /// For the demo's own visitors.
    pub(super) der: CertificateDer<'static>,
}

impl Site {
    /// A site for `domain` and the names one label below it, on free ports.
    pub(super) fn start(home: &'static str, domain: &str) -> io::Result<Site> {
        let (authority, certificate, key) = certify(home, domain).map_err(io::Error::other)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|config| {
                let chain = vec![certificate.clone()];
                config.with_no_client_auth().with_single_cert(chain, key.into())
            })
            .map_err(io::Error::other)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let config = Arc::new(config);
        // What goes wrong with one visitor, that visitor sees and reports.
        let https = listen(move |visitor| {
            let _ = serve_https(visitor, Arc::clone(&config), home);
        })?;
        let http = listen(move |visitor| {
            let _ = serve_http(visitor, home);
        })?;
        Ok(Site { home, https, http, authority, certificate })
    }
}

/// Serves each visitor of a free port on a thread of its own.
fn listen(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for visitor in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(visitor));
        }
    });
    Ok(address)
}

/// An authority, and a certificate by it for `domain` and `*.domain`.
fn certify(
    home: &str,
    domain: &str,
) -> Result<(Authority, CertificateDer<'static>, PrivatePkcs8KeyDer<'static>), rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("underpass demo: {home}'s own"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate()?;
    let own = params.self_signed(&key)?;
    let issuer = Issuer::new(params, key);

    let mut params = CertificateParams::new([domain.to_owned(), format!("*.{domain}")])?;
    params.distinguished_name.push(DnType::CommonName, domain);
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;

    let authority = Authority { pem: own.pem(), der: own.der().clone() };
    Ok((authority, certificate.der().clone(), key.serialize_der().into()))
}

fn serve_http(mut visitor: TcpStream, home: &str) -> io::Result<()> {
    be_patient(&visitor)?;
    serve_page(&mut visitor, home)?;
    part(&mut visitor)
}

fn serve_https(visitor: TcpStream, config: Arc<ServerConfig>, home: &str) -> io::Result<()> {
    be_patient(&visitor)?;
    let tls = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(tls, visitor);
    serve_page(&mut stream, home)?;
    stream.conn.send_close_notify();
    stream.flush()?;
    part(&mut stream.sock)
}

fn be_patient(visitor: &TcpStream) -> io::Result<()> {
    visitor.set_nodelay(true)?;
    visitor.set_read_timeout(Some(PATIENCE))?;
    visitor.set_write_timeout(Some(PATIENCE))
}

/// Closing with unread bytes would be a reset, and could overtake the page.
fn part(visitor: &mut TcpStream) -> io::Result<()> {
    visitor.shutdown(Shutdown::Write)?;
    io::copy(visitor, &mut io::sink()).map(|_| ())
}

/// One request, one page; over whatever carries the bytes.
fn serve_page(stream: &mut (impl Read + Write), home: &str) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD_BYTES {
            return Err(ErrorKind::InvalidData.into());
        }
        // Byte by byte, so as not to read past the head; a page of the demo may be slow.
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    request.parse(&head).map_err(io::Error::other)?;
    let path = request.path.unwrap_or("/");
    let host = request.headers.iter().find(|field| field.name.eq_ignore_ascii_case("host"));
    let host = host.map_or("".into(), |field| String::from_utf8_lossy(field.value));
    let page = format!("This is {home}, at home. You asked for {host}{path}\n");
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Home: {home}\r\nConnection: close\r\n\r\n{page}",
        page.len(),
    );
    stream.write_all(answer.as_bytes())?;
    stream.flush()
}
