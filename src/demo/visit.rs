//! A visitor: opens a page over HTTP or HTTPS and finds out who answered.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, Error as TlsError, RootCertStore, StreamOwned,
};

use super::site::Site;

/// For each step of a visit; loopback needs milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// Far more than a page of the demo has.
const PAGE_BYTES: u64 = 64 * 1024;

/// Who answered a visitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// A home: its page said so, and over HTTPS its certificate was good for the name.
    Home(&'static str),
    /// Nobody: the server refused the name with the TLS alert `unrecognized_name`.
    Unrecognized,
    /// Nobody: the server's own page for a name that it does not know.
    NotFound,
    /// Anything else.
    Failed(String),
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Home(home) => f.write_str(home),
            Answer::Unrecognized => f.write_str("nobody: unrecognized_name"),
            Answer::NotFound => f.write_str("nobody: 404"),
            Answer::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

/// Knows every home's certificate, so that a stranger's or the wrong one is noticed.
pub(super) struct Visitor {
    tls: Arc<ClientConfig>,
    certificates: Vec<(&'static str, CertificateDer<'static>)>,
}

impl Visitor {
    pub(super) fn new(sites: &[Site]) -> io::Result<Visitor> {
        let mut roots = RootCertStore::empty();
        for site in sites {
            roots.add(site.authority.der.clone()).map_err(io::Error::other)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let certificates = sites.iter().map(|site| (site.home, site.certificate.clone())).collect();
        Ok(Visitor { tls: Arc::new(tls), certificates })
    }

    /// Asks at `front` for `name` over plain HTTP; `None`: as one who knows the address alone.
    pub(super) fn visit_http(&self, front: SocketAddr, name: Option<&str>) -> Answer {
        match fetch_http(front, name) {
            Ok(page) if page.starts_with("HTTP/1.1 404 ") => Answer::NotFound,
            Ok(page) => {
                let mut homes = self.certificates.iter().map(|(home, _)| *home);
                let home = homes.find(|home| is_page_of(&page, home));
                home.map_or_else(|| Answer::Failed("another page".into()), Answer::Home)
            }
            Err(error) => Answer::Failed(error.to_string()),
        }
    }

    /// The same over HTTPS.
    pub(super) fn visit(&self, front: SocketAddr, name: Option<&str>) -> Answer {
        match self.fetch(front, name) {
            Ok(answer) => answer,
            Err(error) if is_unrecognized(&error) => Answer::Unrecognized,
            Err(error) => Answer::Failed(error.to_string()),
        }
    }

    fn fetch(&self, front: SocketAddr, name: Option<&str>) -> io::Result<Answer> {
        let server = match name {
            Some(name) => ServerName::try_from(name.to_owned()).map_err(io::Error::other)?,
            None => ServerName::from(IpAddr::from(Ipv4Addr::LOCALHOST)),
        };
        let socket = connect(front)?;
        let tls = ClientConnection::new(Arc::clone(&self.tls), server).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(tls, socket);
        let page = ask(&mut stream, name)?;
        let shown = stream.conn.peer_certificates().and_then(|chain| chain.first());
        let home = self.certificates.iter().find(|(_, own)| Some(own) == shown);
        let Some((home, _)) = home else {
            return Ok(Answer::Failed("a stranger's certificate".into()));
        };
        if is_page_of(&page, home) {
            Ok(Answer::Home(home))
        } else {
            Ok(Answer::Failed(format!("{home}'s certificate with another page")))
        }
    }
}

fn fetch_http(front: SocketAddr, name: Option<&str>) -> io::Result<String> {
    ask(&mut connect(front)?, name)
}

fn connect(front: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&front, PATIENCE)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// One request, and the answer to its end: a connection that is cut, not closed, is an error.
fn ask(stream: &mut (impl Read + Write), name: Option<&str>) -> io::Result<String> {
    let host = name.unwrap_or("127.0.0.1");
    write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    stream.flush()?;
    let mut page = String::new();
    stream.take(PAGE_BYTES).read_to_string(&mut page)?;
    Ok(page)
}

fn is_page_of(page: &str, home: &str) -> bool {
    page.starts_with("HTTP/1.1 200 ") && page.contains(&format!("\r\nHome: {home}\r\n"))
}

fn is_unrecognized(error: &io::Error) -> bool {
    let alert = TlsError::AlertReceived(AlertDescription::UnrecognisedName);
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
    error.kind() == ErrorKind::InvalidData && tls == Some(&alert)
}

#[cfg(test)]
mod tests {
    use std::net::{Shutdown, TcpListener};
    use std::thread;

    use super::*;

    fn sites() -> [Site; 2] {
        [("pi", "pi.example.test"), ("local", "local.example.test")]
            .map(|(home, domain)| Site::start(home, domain).expect("a site starts"))
    }

    #[test]
    fn a_home_is_known_by_its_certificate_and_its_page() {
        let sites = sites();
        let visitor = Visitor::new(&sites).expect("a visitor");
        for name in ["pi.example.test", "x.pi.example.test", "PI.Example.TEST"] {
            assert_eq!(visitor.visit(sites[0].https, Some(name)), Answer::Home("pi"), "{name}");
        }
    }

    #[test]
    fn over_http_a_home_is_known_by_its_page() {
        let sites = sites();
        let visitor = Visitor::new(&sites).expect("a visitor");
        let name = Some("pi.example.test");
        assert_eq!(visitor.visit_http(sites[0].http, name), Answer::Home("pi"));
        assert_eq!(visitor.visit_http(sites[1].http, name), Answer::Home("local"));
        assert!(matches!(visitor.visit_http(sites[0].https, name), Answer::Failed(_)));
    }

    #[test]
    fn the_wrong_home_is_noticed() {
        let sites = sites();
        let visitor = Visitor::new(&sites).expect("a visitor");
        for name in [Some("local.example.test"), Some("nobody.example.test"), None] {
            let answer = visitor.visit(sites[0].https, name);
            assert!(matches!(answer, Answer::Failed(_)), "{name:?}: {answer:?}");
        }
    }

    #[test]
    fn only_the_one_alert_counts_as_unrecognized() {
        let sites = sites();
        let visitor = Visitor::new(&sites).expect("a visitor");
        let refusals: [(&[u8], bool); 4] = [
            (&[21, 3, 3, 0, 2, 2, 112], true), // fatal unrecognized_name
            (&[21, 3, 3, 0, 2, 2, 40], false), // fatal handshake_failure
            (&[21, 3, 3, 0, 2, 2], false),     // cut short
            (&[], false),                      // a bare close
        ];
        for (bytes, unrecognized) in refusals {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            let front = listener.local_addr().expect("bound");
            let server = thread::spawn(move || -> io::Result<()> {
                let (mut stream, _) = listener.accept()?;
                stream.write_all(bytes)?;
                stream.shutdown(Shutdown::Write)?;
                io::copy(&mut stream, &mut io::sink()).map(|_| ())
            });
            let answer = visitor.visit(front, Some("pi.example.test"));
            assert_eq!(answer == Answer::Unrecognized, unrecognized, "{bytes:?}: {answer:?}");
            server.join().expect("no panic").expect("the server's end");
        }
    }
}
