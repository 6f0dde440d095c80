//! Why a visitor gets a page in place of its home's answer, or no whole answer.

use std::fmt;

use crate::proto::access;
use crate::proto::gates::Refused;
use crate::wire::http::{self, body};

/// Why a page was sent or a connection broken off; for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The request's head.
    Request(http::Reject),
    /// The request's body.
    RequestBody(body::Reject),
    /// The visitor ended in the middle of its body.
    CutRequest,
    /// The visitor did not send a head in time.
    Slow,
    /// No service has this name.
    UnknownHost,
    /// The path may be read in two ways, which two homes may do.
    AmbiguousPath,
    /// A request without a name, which is needed to ask again over TLS.
    NameNeeded,
    /// It has been here before: a home sends it back.
    Loop,
    /// A load balancer brings a visitor without the header that says who it is.
    NoHeader,
    /// The limits of the file.
    Refused(Refused),
    /// The home is not there.
    Offline,
    /// No link in time.
    NoLink,
    /// The home's response head.
    Response(http::Reject),
    /// The home's response body.
    ResponseBody(body::Reject),
    /// 101 that nobody asked for, or before the request was whole.
    Switched,
    /// Longer interim responses than anybody needs.
    EndlessInterim,
    /// The home ended before or in the middle of its response.
    CutResponse,
    /// The home did not answer in time.
    Silent,
}

impl Why {
    /// The status of the page that says so.
    pub fn status(self) -> u16 {
        match self {
            Why::Request(reject) => reject.status(),
            Why::RequestBody(_) | Why::CutRequest | Why::AmbiguousPath | Why::NameNeeded => 400,
            Why::NoHeader => 400,
            Why::Slow => 408,
            Why::Loop => 508,
            Why::UnknownHost => 404,
            Why::Refused(Refused::Denied) => 403,
            Why::Refused(Refused::TooOften { .. }) => 429,
            Why::Offline | Why::NoLink | Why::Refused(Refused::Full) => 503,
            Why::Silent => 504,
            Why::Response(_)
            | Why::ResponseBody(_)
            | Why::Switched
            | Why::EndlessInterim
            | Why::CutResponse => 502,
        }
    }
}

impl Why {
    /// Its word in the access log.
    pub fn end(self) -> access::VisitEnd {
        match self {
            Why::Request(_) | Why::RequestBody(_) | Why::AmbiguousPath => {
                access::VisitEnd::Malformed
            }
            Why::NameNeeded => access::VisitEnd::NoName,
            Why::NoHeader => access::VisitEnd::Malformed,
            Why::Loop => access::VisitEnd::Loop,
            Why::CutRequest => access::VisitEnd::VisitorLeft,
            Why::Slow => access::VisitEnd::Timeout,
            Why::UnknownHost => access::VisitEnd::UnknownName,
            Why::Refused(refused) => refused.end(),
            Why::Offline => access::VisitEnd::Offline,
            Why::NoLink => access::VisitEnd::NoLink,
            Why::Response(_) | Why::ResponseBody(_) | Why::Switched | Why::EndlessInterim => {
                access::VisitEnd::BadAnswer
            }
            Why::CutResponse => access::VisitEnd::HomeReset,
            Why::Silent => access::VisitEnd::HomeSilent,
        }
    }
}

impl Why {
    /// What was wrong with the home's answer, as a word for the access log; stable.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Why::Response(reject) => Some(reject.word()),
            Why::ResponseBody(reject) => Some(reject.word()),
            Why::Switched => Some("switched_unasked"),
            Why::EndlessInterim => Some("endless_interim"),
            _ => None,
        }
    }

    /// Whether it is the home's doing.
    pub fn is_of_home(self) -> bool {
        matches!(self.status(), 502 | 504)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Request(reject) => return write!(f, "request head has {reject}"),
            Why::RequestBody(reject) => return write!(f, "request body has {reject}"),
            Why::CutRequest => "request cut off",
            Why::Slow => "no request in time",
            Why::UnknownHost => "unknown host",
            Why::AmbiguousPath => "ambiguous path",
            Why::NameNeeded => "no name to redirect to",
            Why::Loop => "request that has been here before",
            Why::NoHeader => "no PROXY header, though it is a trusted proxy",
            Why::Refused(refused) => return write!(f, "{}", refused.end()),
            Why::Offline => "home is offline",
            Why::NoLink => "no link in time",
            Why::Response(reject) => return write!(f, "response head has {reject}"),
            Why::ResponseBody(reject) => return write!(f, "response body has {reject}"),
            Why::Switched => "response is a 101 that nobody asked for",
            Why::EndlessInterim => "interim responses without an end",
            Why::CutResponse => "response is cut off",
            Why::Silent => "no response in time",
        })
    }
}
