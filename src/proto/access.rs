//! What the access log says: one [`Record`] for each HTTP request, and for each connection or UDP
//! session that is passed through as it is. The engine fills records in where things happen and
//! hands them to a [`Sink`], which must not block; how a line looks and where it goes is not its
//! business.

use std::net::SocketAddr;
use std::time::Duration;

use super::time::Time;
use crate::wire::http::Version;
use crate::wire::message::Reason;

/// Takes what the engine has to say about visitors. Called on the engine's thread.
pub trait Sink {
    /// A request or a connection is over.
    fn record(&mut self, record: &Record<'_>);
    /// The file was moved away: from now on into a new one.
    fn reopen(&mut self);
}

/// One line of the access log.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    /// When the line is written, by the engine's clock.
    pub now: Time,
    /// From the first byte of the request, or from the accept of the connection, until `now`.
    pub duration: Duration,
    /// Until the first byte of the answer went out.
    pub first_byte: Option<Duration>,
    /// Who came; port 0 where it is not known.
    pub visitor: SocketAddr,
    /// The trusted HTTP proxy that brought it.
    pub peer: Option<SocketAddr>,
    /// Which way.
    pub entry: Entry,
    /// Host or SNI, normalised; empty if there was none.
    pub name: &'a str,
    /// Who takes the name or the port.
    pub service: Option<&'a str>,
    /// The client that serves it, by the address of its control session.
    pub client: Option<SocketAddr>,
    /// HTTP: what was asked, if that could be read.
    pub request: Option<&'a RequestLine>,
    /// HTTP: the status that went out.
    pub status: Option<u16>,
    /// From the visitor: of a request the content of its body, of a connection every byte.
    pub bytes_in: u64,
    /// To the visitor, counted alike.
    pub bytes_out: u64,
    /// How it ended.
    pub end: VisitEnd,
    /// What was wrong with the home's answer, in a word; of [`VisitEnd::BadAnswer`] alone.
    pub reason: Option<&'static str>,
}

/// The way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entry {
    /// Plain HTTP, by Host.
    Http,
    /// TLS, by SNI.
    Https,
    /// A service's own TCP port.
    Tcp,
    /// A service's own UDP port; a session is what a connection is elsewhere.
    Udp,
}

impl Entry {
    /// All of them, each at the index that it is as a number.
    pub const ALL: [Entry; 4] = [Entry::Http, Entry::Https, Entry::Tcp, Entry::Udp];

    /// Its word in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Entry::Http => "http",
            Entry::Https => "https",
            Entry::Tcp => "tcp",
            Entry::Udp => "udp",
        }
    }
}

/// How a request or a connection ended. The words are stable: others count them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VisitEnd {
    /// Both sides have said all that they had to say.
    Done,
    /// The visitor's connection broke.
    VisitorReset,
    /// The visitor ended before it had said what it wants.
    VisitorLeft,
    /// The home broke off.
    HomeReset,
    /// Nothing at home took the connection.
    HomeRefused,
    /// The home did not begin to answer in time.
    HomeSilent,
    /// The home's answer was no HTTP.
    BadAnswer,
    /// One direction had ended and the other was silent for too long.
    Idle,
    /// The visitor did not say in time what it wants.
    Timeout,
    /// What the visitor said was malformed.
    Malformed,
    /// The visitor does not speak what this port speaks.
    WrongProtocol,
    /// The visitor named nobody, and no service takes such visitors.
    NoName,
    /// The visitor named somebody who is not here.
    UnknownName,
    /// The service's client is not here.
    Offline,
    /// The service's client is here, and had no link free in time.
    NoLink,
    /// The tunnel to the home broke.
    TunnelLost,
    /// The visitor was sent to the TLS entry.
    Redirected,
    /// Too many came from its address.
    Crowded,
    /// It had waited longest when there was no room left.
    MadeRoom,
    /// It did not take what was sent to it, and others needed the memory.
    Stalled,
    /// The limits of the file do not let it in.
    Denied,
    /// As many as the file allows were at the service.
    ServiceFull,
    /// Its network came more often than the file allows.
    RateLimited,
    /// This server was stopped.
    Stopped,
    /// It has been here before: a home leads back to this server.
    Loop,
}

impl VisitEnd {
    /// All of them, each at the index that it is as a number.
    pub const ALL: [VisitEnd; 25] = [
        VisitEnd::Done,
        VisitEnd::VisitorReset,
        VisitEnd::VisitorLeft,
        VisitEnd::HomeReset,
        VisitEnd::HomeRefused,
        VisitEnd::HomeSilent,
        VisitEnd::BadAnswer,
        VisitEnd::Idle,
        VisitEnd::Timeout,
        VisitEnd::Malformed,
        VisitEnd::WrongProtocol,
        VisitEnd::NoName,
        VisitEnd::UnknownName,
        VisitEnd::Offline,
        VisitEnd::NoLink,
        VisitEnd::TunnelLost,
        VisitEnd::Redirected,
        VisitEnd::Crowded,
        VisitEnd::MadeRoom,
        VisitEnd::Stalled,
        VisitEnd::Denied,
        VisitEnd::ServiceFull,
        VisitEnd::RateLimited,
        VisitEnd::Stopped,
        VisitEnd::Loop,
    ];

    /// Its word in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            VisitEnd::Done => "done",
            VisitEnd::VisitorReset => "visitor_reset",
            VisitEnd::VisitorLeft => "visitor_left",
            VisitEnd::HomeReset => "home_reset",
            VisitEnd::HomeRefused => "home_refused",
            VisitEnd::HomeSilent => "home_silent",
            VisitEnd::BadAnswer => "bad_answer",
            VisitEnd::Idle => "idle",
            VisitEnd::Timeout => "timeout",
            VisitEnd::Malformed => "malformed",
            VisitEnd::WrongProtocol => "wrong_protocol",
            VisitEnd::NoName => "no_name",
            VisitEnd::UnknownName => "unknown_name",
            VisitEnd::Offline => "offline",
            VisitEnd::NoLink => "no_link",
            VisitEnd::TunnelLost => "tunnel_lost",
            VisitEnd::Redirected => "redirected",
            VisitEnd::Crowded => "crowded",
            VisitEnd::MadeRoom => "made_room",
            VisitEnd::Stalled => "stalled",
            VisitEnd::Denied => "denied",
            VisitEnd::ServiceFull => "service_full",
            VisitEnd::RateLimited => "rate_limited",
            VisitEnd::Stopped => "stopped",
            VisitEnd::Loop => "loop",
        }
    }

    /// Whether the visitor did not get what it came for, and did not leave by itself.
    pub fn is_failure(self) -> bool {
        use VisitEnd::{Done, Idle, Redirected, Stopped, VisitorLeft, VisitorReset};
        !matches!(self, Done | VisitorReset | VisitorLeft | Idle | Redirected | Stopped)
    }

    /// What happened, for who does not know the words.
    pub fn in_words(self) -> &'static str {
        match self {
            VisitEnd::Done => "both sides have said all that they had to say",
            VisitEnd::VisitorReset => "the visitor's connection broke",
            VisitEnd::VisitorLeft => "the visitor left before it said what it wants",
            VisitEnd::HomeReset => "what runs at home broke the connection off",
            VisitEnd::HomeRefused => "nothing at home took the connection: is the program running?",
            VisitEnd::HomeSilent => "what runs at home did not begin to answer in time",
            VisitEnd::BadAnswer => "what runs at home gave an answer that is no HTTP",
            VisitEnd::Idle => "one side had ended, and the other was silent for too long",
            VisitEnd::Timeout => "the visitor did not say in time what it wants",
            VisitEnd::Malformed => "what the visitor sent was malformed",
            VisitEnd::WrongProtocol => "the visitor does not speak what this port speaks",
            VisitEnd::NoName => "the visitor named nobody, and no service takes such visitors",
            VisitEnd::UnknownName => "no service has the name that the visitor asked for",
            VisitEnd::Offline => "the home of this service is offline",
            VisitEnd::NoLink => "the home is online, and had no link free in time",
            VisitEnd::TunnelLost => "the tunnel to the home broke",
            VisitEnd::Redirected => "the visitor was sent to HTTPS",
            VisitEnd::Crowded => "too many came from the visitor's network",
            VisitEnd::MadeRoom => "there was no room left, and the visitor had waited longest",
            VisitEnd::Stalled => "the visitor did not read, and others needed the memory",
            VisitEnd::Denied => "the file's allow and deny lists do not let the visitor in",
            VisitEnd::ServiceFull => "as many visitors as the file allows were there",
            VisitEnd::RateLimited => "the visitor's network came more often than the file allows",
            VisitEnd::Stopped => "this program was stopped",
            VisitEnd::Loop => "the home leads back to this server: a loop",
        }
    }

    /// The nearest status, for formats that cannot do without where none went out: as nginx gives
    /// one to the sessions of its stream module, and 499 to requests that nobody waited for.
    pub fn status(self) -> u16 {
        match self {
            VisitEnd::Done | VisitEnd::Idle => 200,
            VisitEnd::Malformed | VisitEnd::WrongProtocol | VisitEnd::NoName => 400,
            VisitEnd::Redirected => 308,
            VisitEnd::Denied => 403,
            VisitEnd::UnknownName => 404,
            VisitEnd::RateLimited => 429,
            VisitEnd::Timeout => 408,
            VisitEnd::VisitorReset | VisitEnd::VisitorLeft => 499,
            VisitEnd::HomeReset
            | VisitEnd::HomeRefused
            | VisitEnd::BadAnswer
            | VisitEnd::TunnelLost => 502,
            VisitEnd::Offline
            | VisitEnd::NoLink
            | VisitEnd::Crowded
            | VisitEnd::MadeRoom
            | VisitEnd::Stalled
            | VisitEnd::ServiceFull
            | VisitEnd::Stopped => 503,
            VisitEnd::HomeSilent => 504,
            VisitEnd::Loop => 508,
        }
    }
}

impl From<Reason> for VisitEnd {
    /// The home's word for it.
    fn from(reason: Reason) -> VisitEnd {
        match reason {
            Reason::Broken | Reason::Answer => VisitEnd::HomeReset,
            Reason::Refused
            | Reason::Unreachable
            | Reason::Unresolved
            | Reason::NoService
            | Reason::Busy => VisitEnd::HomeRefused,
            Reason::Idle => VisitEnd::Idle,
        }
    }
}

impl std::fmt::Display for VisitEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the log says of a request's head: as it came, cut at [`METHOD_BYTES`] and so on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestLine {
    /// Method, target, Referer, User-Agent, one behind the other.
    text: Box<[u8]>,
    /// Where the first three end; rising.
    ends: [u16; 3],
    /// What the visitor speaks.
    pub version: Version,
}

/// The longest method that a line holds; the longest one registered has 17.
pub const METHOD_BYTES: usize = 32;
/// The longest target.
pub const TARGET_BYTES: usize = 2048;
/// The longest Referer, and the longest User-Agent.
pub const FIELD_BYTES: usize = 512;

impl RequestLine {
    /// Copies what is to be kept.
    pub fn new(
        version: Version,
        method: &[u8],
        target: &[u8],
        referer: &[u8],
        user_agent: &[u8],
    ) -> RequestLine {
        let parts = [
            cut(method, METHOD_BYTES),
            cut(target, TARGET_BYTES),
            cut(referer, FIELD_BYTES),
            cut(user_agent, FIELD_BYTES),
        ];
        let mut ends = [0; 3];
        let mut end = 0;
        for (slot, part) in ends.iter_mut().zip(parts) {
            end += part.len() as u16; // at most 32 + 2048 + 512
            *slot = end;
        }
        RequestLine { text: parts.concat().into(), ends, version }
    }

    /// `GET`
    pub fn method(&self) -> &[u8] {
        &self.text[..usize::from(self.ends[0])]
    }

    /// Path and query.
    pub fn target(&self) -> &[u8] {
        &self.text[usize::from(self.ends[0])..usize::from(self.ends[1])]
    }

    /// Referer; empty if there was none.
    pub fn referer(&self) -> &[u8] {
        &self.text[usize::from(self.ends[1])..usize::from(self.ends[2])]
    }

    /// User-Agent; empty if there was none.
    pub fn user_agent(&self) -> &[u8] {
        &self.text[usize::from(self.ends[2])..]
    }
}

fn cut(bytes: &[u8], most: usize) -> &[u8] {
    &bytes[..bytes.len().min(most)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_line_is_kept_within_bounds() {
        let line = RequestLine::new(Version::Http11, b"GET", b"/a?b", b"", b"curl");
        assert_eq!(
            [line.method(), line.target(), line.referer(), line.user_agent()],
            [&b"GET"[..], b"/a?b", b"", b"curl"]
        );
        let long = [b'x'; 70_000];
        let line = RequestLine::new(Version::Http10, &long, &long, &long, &long);
        let lengths = [line.method(), line.target(), line.referer(), line.user_agent()];
        let expected = [METHOD_BYTES, TARGET_BYTES, FIELD_BYTES, FIELD_BYTES];
        assert_eq!(lengths.map(<[u8]>::len), expected);
    }

    #[test]
    fn each_stands_where_its_number_says() {
        assert!(VisitEnd::ALL.iter().enumerate().all(|(at, end)| *end as usize == at));
        assert!(Entry::ALL.iter().enumerate().all(|(at, entry)| *entry as usize == at));
    }

    #[test]
    fn every_end_has_a_word_of_its_own() {
        let mut words = VisitEnd::ALL.map(VisitEnd::as_str).to_vec();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), VisitEnd::ALL.len());
    }
}
