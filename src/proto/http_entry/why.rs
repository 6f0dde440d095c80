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
    /// More interim responses than anybody needs.
    ManyInterim,
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
            Why::Slow => 408,
            Why::UnknownHost => 404,
            Why::Refused(Refused::Denied) => 403,
            Why::Refused(Refused::TooOften { .. }) => 429,
            Why::Offline | Why::NoLink | Why::Refused(Refused::Full) => 503,
            Why::Silent => 504,
            Why::Response(_)
            | Why::ResponseBody(_)
            | Why::Switched
            | Why::ManyInterim
            | Why::CutResponse => 502,
        }
    }
}

impl Why {
    /// Its word in the access log.
    pub fn end(self) -> access::End {
        match self {
            Why::Request(_) | Why::RequestBody(_) | Why::AmbiguousPath => access::End::Malformed,
            Why::NameNeeded => access::End::NoName,
            Why::CutRequest => access::End::VisitorLeft,
            Why::Slow => access::End::Timeout,
            Why::UnknownHost => access::End::UnknownName,
            Why::Refused(refused) => refused.end(),
            Why::Offline => access::End::Offline,
            Why::NoLink => access::End::NoLink,
            Why::Response(_) | Why::ResponseBody(_) | Why::Switched | Why::ManyInterim => {
                access::End::BadAnswer
            }
            Why::CutResponse => access::End::HomeReset,
            Why::Silent => access::End::HomeSilent,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Request(reject) => return write!(f, "request: {reject}"),
            Why::RequestBody(reject) => return write!(f, "request body: {reject}"),
            Why::CutRequest => "request cut off",
            Why::Slow => "no request in time",
            Why::UnknownHost => "unknown host",
            Why::AmbiguousPath => "ambiguous path",
            Why::NameNeeded => "no name to redirect to",
            Why::Refused(refused) => return write!(f, "{}", refused.end()),
            Why::Offline => "home is offline",
            Why::NoLink => "no link in time",
            Why::Response(reject) => return write!(f, "response: {reject}"),
            Why::ResponseBody(reject) => return write!(f, "response body: {reject}"),
            Why::Switched => "response: 101 out of turn",
            Why::ManyInterim => "response: too many interim ones",
            Why::CutResponse => "response cut off",
            Why::Silent => "home does not answer",
        })
    }
}
