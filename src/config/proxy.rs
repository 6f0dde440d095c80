//! `proxy` of `[client.transport.tcp]`: `socks5://user:password@host:port`, or `http://…`.

use std::fmt;

use super::error::ConfigError;
use super::raw::{Place, Text};
use super::{HostPort, Secret};

/// `proxy` of `[….transport.tcp]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// How it is asked.
    pub scheme: ProxyScheme,
    /// Where it is.
    pub addr: HostPort,
    /// Who we are, if it wants to know.
    pub login: Option<Login>,
}

/// What a proxy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyScheme {
    /// SOCKS5 (RFC 1928).
    Socks5,
    /// HTTP CONNECT (RFC 9110, section 9.3.6).
    Http,
}

/// For a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// 1 to 255 bytes.
    pub user: Secret,
    /// 0 to 255 bytes.
    pub password: Secret,
}

impl Proxy {
    /// A URL (RFC 3986) of scheme, login, host and port. No error quotes it: it has a password.
    pub(super) fn parse(text: &Text) -> Result<Proxy, ConfigError> {
        let place = &text.place;
        let (scheme, rest) = text.value.split_once("://").ok_or_else(|| place.error(FORM))?;
        let scheme = match &*scheme.to_ascii_lowercase() {
            "socks5" => ProxyScheme::Socks5,
            "http" => ProxyScheme::Http,
            _ => return Err(place.error(FORM)),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            let reason = "nothing follows the port; in a password `/` is %2F, `?` %3F and `#` %23";
            return Err(place.error(reason));
        }
        // A password's own `@` should be %40, but there is no doubt about which one is the last.
        let (login, addr) = match authority.rsplit_once('@') {
            Some((login, addr)) => (Some(login), addr),
            None => (None, authority),
        };
        let addr = Text { value: addr.to_owned(), place: place.clone() };
        let login = login.map(|login| read_login(login, scheme, place)).transpose()?;
        Ok(Proxy { scheme, addr: HostPort::parse_with_port(&addr)?, login })
    }
}

/// Without the login.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            ProxyScheme::Socks5 => "socks5",
            ProxyScheme::Http => "http",
        };
        write!(f, "{scheme}://{}", self.addr)
    }
}

fn read_login(text: &str, scheme: ProxyScheme, place: &Place) -> Result<Login, ConfigError> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let decode = |part| {
        let bytes = percent_decoded(part).ok_or_else(|| {
            place.error("a `%` in the login stands before two hexadecimal digits; itself is %25")
        })?;
        match bytes.len() > LOGIN_BYTES || bytes.iter().any(u8::is_ascii_control) {
            true => Err(place.error("user and password have at most 255 bytes, none of control")),
            false => Ok(bytes),
        }
    };
    let (user, password) = (decode(user)?, decode(password)?);
    if user.is_empty() {
        return Err(place.error("the login has a password and no user"));
    }
    if scheme == ProxyScheme::Http && user.contains(&b':') {
        return Err(place.error("an HTTP proxy's user has no colon (RFC 7617)"));
    }
    Ok(Login { user: Secret::new(user), password: Secret::new(password) })
}

/// RFC 3986 section 2.1.
fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_first_chunk::<2>()?;
        let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
        bytes.push(u8::try_from(high? * 16 + low?).ok()?);
        rest = after;
    }
    Some(bytes)
}

const FORM: &str = "must be socks5://host:port or http://host:port, with user:password@ if needed";
/// What SOCKS5 can carry (RFC 1929).
const LOGIN_BYTES: usize = 255;
