//! What becomes of a home's responses.

use underpass::proto::http_entry::HalfEnd;

use super::{GET, OK};
use Then::{Bad, Closed, Cut as CutOff, Kept, Left};

/// What becomes of a response.
pub(crate) enum Then {
    /// The visitor gets this; the link is kept.
    Kept(&'static str),
    /// The visitor gets this; the link is left, the visitor's connection kept.
    Left(HalfEnd, &'static str),
    /// The visitor gets this, and its connection is closed in order.
    Closed(&'static str),
    /// A page, 502; the link is reset.
    Bad,
    /// The visitor gets this and a reset.
    Cut(&'static str),
}
pub(crate) const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: a\r\n";
pub(crate) const OLD: &str = "GET / HTTP/1.0\r\nHost: a\r\n";
pub(crate) const OLD_KEPT: &str = "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n";
pub(crate) const TRAILERS: &str = "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n";
pub(crate) const LAST: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";

pub(crate) const RESPONSES: &[(&str, &str, Option<HalfEnd>, Then)] = &[
    (GET, OK, None, Kept(OK)),
    (GET, "HTTP/1.1 204 \r\n\r\n", None, Kept("HTTP/1.1 204 \r\n\r\n")),
    (
        GET,
        "HTTP/1.1 304 NM\r\nContent-Length: 9\r\n\r\n",
        None,
        Kept("HTTP/1.1 304 NM\r\nContent-Length: 9\r\n\r\n"),
    ),
    (
        GET,
        "HTTP/1.1 304 NM\r\nTransfer-Encoding: chunked\r\n\r\n",
        None,
        Kept("HTTP/1.1 304 NM\r\n\r\n"),
    ),
    (GET, "HTTP/1.1 204 NC\r\nContent-Length: 0\r\n\r\n", None, Kept("HTTP/1.1 204 NC\r\n\r\n")),
    (
        HEAD,
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
        None,
        Kept("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
    ),
    (
        HEAD,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        None,
        Kept("HTTP/1.1 200 OK\r\n\r\n"),
    ),
    (HEAD, "HTTP/1.1 200 OK\r\n\r\n", None, Kept("HTTP/1.1 200 OK\r\n\r\n")),
    (
        HEAD,
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        None,
        Left(HalfEnd::Reset, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"),
    ),
    (
        GET,
        "HTTP/1.1 200\r\nContent-Length:02\r\n\r\nok",
        None,
        Kept("HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok"),
    ),
    (
        GET,
        "HTTP/1.1 999 \r\nContent-Length: 0\r\n\r\n",
        None,
        Kept("HTTP/1.1 999 \r\nContent-Length: 0\r\n\r\n"),
    ),
    (
        GET,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n02;x\r\nok\r\n0\r\nX: y\r\n\r\n",
        None,
        Kept("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ),
    (
        GET,
        "HTTP/1.1 200 OK\r\nConnection: close, X\r\nX: y\r\nKeep-Alive: 5\r\n\
         Content-Length: 0\r\n\r\n",
        None,
        Left(HalfEnd::Fin, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ),
    (
        GET,
        "HTTP/1.1 426 UR\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n",
        None,
        Kept("HTTP/1.1 426 UR\r\nContent-Length: 0\r\n\r\n"),
    ),
    (GET, "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", None, Left(HalfEnd::Fin, OK)),
    (
        GET,
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
        None,
        Kept(OK),
    ),
    (
        GET,
        "HTTP/1.1 200 OK\r\n\r\nuntil the end",
        Some(HalfEnd::Fin),
        Closed("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end"),
    ),
    (
        GET,
        "HTTP/1.1 200 OK\r\n\r\nuntil the",
        Some(HalfEnd::Reset),
        CutOff("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the"),
    ),
    (GET, OK, Some(HalfEnd::Fin), Left(HalfEnd::Fin, OK)),
    (GET, OK, Some(HalfEnd::Reset), Left(HalfEnd::Reset, OK)),
    (LAST, OK, None, Closed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")),
    (OLD, OK, None, Closed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")),
    (
        OLD_KEPT,
        OK,
        None,
        Kept("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok"),
    ),
    (
        OLD_KEPT,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        None,
        Closed("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok"),
    ),
    (
        OLD_KEPT,
        "HTTP/1.1 103 EH\r\nLink: x\r\n\r\nHTTP/1.1 204 \r\n\r\n",
        None,
        Kept("HTTP/1.1 204 \r\nConnection: keep-alive\r\n\r\n"),
    ),
    (
        GET,
        "HTTP/1.1 103 EH\r\nLink: x\r\n\r\nHTTP/1.1 204 \r\n\r\n",
        None,
        Kept("HTTP/1.1 103 EH\r\nLink: x\r\n\r\nHTTP/1.1 204 \r\n\r\n"),
    ),
    (
        GET,
        "HTTP/1.1 100 \r\nContent-Length: 5\r\n\r\nHTTP/1.1 204 \r\n\r\n",
        None,
        Kept("HTTP/1.1 100 \r\n\r\nHTTP/1.1 204 \r\n\r\n"),
    ),
    // What a home is forgiven, since it has one meaning
    (
        GET,
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        None,
        Kept("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ),
    (
        GET,
        "HTTP/1.1 200 OK\r\nX : a\nContent-Length\t: 2\r\n\nok",
        None,
        Kept("HTTP/1.1 200 OK\r\nX: a\r\nContent-Length: 2\r\n\r\nok"),
    ),
    (GET, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 02\r\n\r\nok", None, Kept(OK)),
    (GET, "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", None, Kept(OK)),
    (
        GET,
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n\
         2  \r\nok\n0\r\n\r\n",
        None,
        Left(
            HalfEnd::Fin,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
    ),
    (
        GET,
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nok\r\n0\r\n\r\n",
        None,
        Left(
            HalfEnd::Fin,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
    ),
    (
        GET,
        "HTTP/1.1 204 \r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
        None,
        Left(HalfEnd::Fin, "HTTP/1.1 204 \r\n\r\n"),
    ),
    // Trailers
    (
        TRAILERS,
        "HTTP/1.1 200 OK\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nok\r\n0\r\nX : y\r\nContent-Length: 9\r\n\r\n",
        None,
        Kept(
            "HTTP/1.1 200 OK\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n\
             2\r\nok\r\n0\r\nX: y\r\n\r\n",
        ),
    ),
    (
        GET,
        "HTTP/1.1 200 OK\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n",
        None,
        Kept("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ),
    (
        "GET / HTTP/1.0\r\nHost: a\r\nTE: trailers\r\n",
        "HTTP/1.1 200 OK\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n",
        None,
        Closed("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"),
    ),
    // More than was asked for
    (
        GET,
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 EVIL\r\n\r\n",
        None,
        Left(HalfEnd::Reset, OK),
    ),
    (GET, "HTTP/1.1 204 \r\n\r\nx", None, Left(HalfEnd::Reset, "HTTP/1.1 204 \r\n\r\n")),
    (
        GET,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nx",
        None,
        Left(HalfEnd::Reset, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ),
    // Not HTTP, or not sound
    (GET, "", Some(HalfEnd::Fin), Bad),
    (GET, "", Some(HalfEnd::Reset), Bad),
    (GET, "HTTP/1.1 200 OK\r\nContent-", Some(HalfEnd::Fin), Bad),
    (GET, "<html>hello</html>", None, Bad),
    (GET, "\r\nHTTP/1.1 200 OK\r\n\r\n", None, Bad),
    (GET, "HTTP/2.0 200 OK\r\n\r\n", None, Bad),
    (GET, "HTTP/1.2 200 OK\r\n\r\n", None, Bad),
    (GET, "ICY 200 OK\r\n\r\n", None, Bad),
    (GET, "HTTP/1.1 20 OK\r\n\r\n", None, Bad),
    (GET, "HTTP/1.1 2000 OK\r\n\r\n", None, Bad),
    (GET, "HTTP/1.1 099 OK\r\n\r\n", None, Bad),
    (GET, "HTTP/1.1  200 OK\r\n\r\n", None, Bad),
    (GET, "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", None, Bad),
    (GET, "HTTP/1.1 200 OK\r\nX: \0\r\n\r\n", None, Bad),
    (GET, "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", None, Bad),
    (GET, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", None, Bad),
    (GET, "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok", None, Bad),
    (GET, "HTTP/1.1 200 OK\r\nContent-Length: 2,\r\n\r\nok", None, Bad),
    (GET, "HTTP/1.1 200 OK\r\nX\r\n\r\n", None, Bad),
    (GET, "HTTP/1.1 200 OK\r\nX Y: a\r\n\r\n", None, Bad),
    (GET, "HTTP/1.1 200 OK\n a: b\n\n", None, Bad),
    (GET, "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nok", None, Bad),
    (GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", None, Bad),
    (GET, "HTTP/1.0 100 C\r\n\r\nHTTP/1.0 200 OK\r\n\r\n", None, Bad),
    (GET, "HTTP/1.1 101 SP\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", None, Bad),
    // Broken off in the middle
    (
        GET,
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
        Some(HalfEnd::Fin),
        CutOff("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok"),
    ),
    (
        GET,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        Some(HalfEnd::Fin),
        CutOff("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"),
    ),
    (
        GET,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok!\r\n0\r\n\r\n",
        None,
        CutOff("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok"),
    ),
    (
        GET,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        None,
        CutOff("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ),
];
