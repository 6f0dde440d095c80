//! P8, P9: what the HTTP entry refuses, passes and makes of responses, in tables: for the machine
//! by itself, for the whole program, and for HAProxy as a control.

use underpass::proto::http_entry::HalfEnd;

use Then::{Bad, Closed, Cut as CutOff, Kept, Left};

/// `~` at the start of a row stands for this.
pub(crate) const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n";
/// `^` for this.
pub(crate) const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\n";
/// Stands behind every row; whoever disagrees about where a request ends would forward it.
pub(crate) const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: b\r\n\r\n";
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

pub(crate) fn expand(row: &str) -> String {
    match row.split_at_checked(1) {
        Some(("~", rest)) => format!("{GET}{rest}"),
        Some(("^", rest)) => format!("{POST}{rest}"),
        _ => row.to_owned(),
    }
}

/// Bytes as in Latin-1, so that rows can hold any.
pub(crate) fn bytes(row: &str) -> Vec<u8> {
    row.chars().map(|c| u8::try_from(u32::from(c)).expect("Latin-1")).collect()
}

pub(crate) const REFUSED: &[(u16, &str)] = &[
    // Lines
    (400, "\n"),
    (400, "\r\r\n"),
    (400, "\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET / HTTP/1.1\nHost: a\n\n"),
    (400, "GET / HTTP/1.1\r\nHost: a\n\r\n"),
    (400, "GET / HTTP/1.1\nHost: a\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"),
    (400, "~X: a\rb\r\n\r\n"),
    (400, "~X: a\nb\r\n\r\n"),
    (400, "~X: a\r\n\n"),
    (400, "~\rX: a\r\n\r\n"),
    // First line
    (400, "GET /\r\n\r\n"),
    (400, "GET\r\n\r\n"),
    (400, "GET / \r\nHost: a\r\n\r\n"),
    (400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
    (400, " GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET /\tHTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET /#x HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET x HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "G@T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "G:T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "(GET) / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "G\u{c9}T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "\x16\x03\x01\x02\0"),
    (400, "SSH-2.0-OpenSSH_9.2\r\n"),
    // PROXY headers of who is no trusted proxy
    (400, "PROXY TCP4 192.0.2.7 203.0.113.1 50000 80\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "PROXY UNKNOWN\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    // Version
    (400, "GET / http/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET / HTTP/1.10\r\nHost: a\r\n\r\n"),
    (400, "GET / HTTP/1\r\nHost: a\r\n\r\n"),
    (400, "GET / HTTP/11\r\nHost: a\r\n\r\n"),
    (400, "GET / HTTP/1.x\r\nHost: a\r\n\r\n"),
    (400, "GET / HTTP/01.1\r\nHost: a\r\n\r\n"),
    (400, "GET / ICY/1.1\r\nHost: a\r\n\r\n"),
    (505, "GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
    (505, "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    (505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    (505, "GET / HTTP/9.9\r\nHost: a\r\n\r\n"),
    (505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0"),
    // Method
    (405, "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"),
    (405, "CONNECT a:443 HTTP/1.0\r\n\r\n"),
    (405, "connect a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"),
    // Field names
    (400, "~X : y\r\n\r\n"),
    (400, "~X\t: y\r\n\r\n"),
    (400, "~: y\r\n\r\n"),
    (400, "~X\r\n\r\n"),
    (400, "~X Y: z\r\n\r\n"),
    (400, "~X@Y: z\r\n\r\n"),
    (400, "~X[]: z\r\n\r\n"),
    (400, "~\"X\": z\r\n\r\n"),
    (400, "~X\u{e9}: z\r\n\r\n"),
    (400, "~X\0: z\r\n\r\n"),
    (400, "~Content-Length : 5\r\n\r\n"),
    (400, "~Transfer-Encoding : chunked\r\n\r\n"),
    (400, "~Transfer-Encoding\0: chunked\r\n\r\n"),
    (400, "~Content-Length\x0b: 5\r\n\r\n"),
    // Field values
    (400, "~X: \0\r\n\r\n"),
    (400, "~X: a\x01b\r\n\r\n"),
    (400, "~X: a\x0bb\r\n\r\n"),
    (400, "~X: a\x7fb\r\n\r\n"),
    (400, "~X: a\x1b[0m\r\n\r\n"),
    // Folding
    (400, "~X: a\r\n b\r\n\r\n"),
    (400, "~X: a\r\n\tb\r\n\r\n"),
    (400, "~X: a\r\n \r\n\r\n"),
    (400, "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost:\r\n a\r\n\r\n"),
    (400, "~Transfer-Encoding:\r\n chunked\r\n\r\n"),
    // Host
    (400, "GET / HTTP/1.1\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nX-Host: a\r\n\r\n"),
    (400, "GET http://a/ HTTP/1.1\r\n\r\n"),
    (400, "~Host: a\r\n\r\n"),
    (400, "~Host: b\r\n\r\n"),
    (400, "~host: b\r\n\r\n"),
    (400, "~X: y\r\nHOST:\r\n\r\n"),
    (400, "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a:x\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: ::1\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: *\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a..b\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: http://a\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: a#b\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: \u{e4}\r\n\r\n"),
    // Absolute-form
    (400, "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET http://a b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET http://a:x/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET http://a\\b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET http://a/#x HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET http:/a HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    (400, "GET //a:80@b HTTP/1.1\r\nHost: a@b\r\n\r\n"),
    (400, "GET http://a/ HTTP/1.1\r\nHost: b c\r\n\r\n"),
    (400, "GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    // Content-Length
    (400, "^Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    (400, "^Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
    (400, "^Content-Length: 5\r\ncontent-length: 0\r\n\r\nhello"),
    (400, "^Content-Length: 5, 5\r\n\r\nhello"),
    (400, "^Content-Length: 5,\r\n\r\nhello"),
    (400, "^Content-Length:\r\n\r\n"),
    (400, "^Content-Length: +5\r\n\r\nhello"),
    (400, "^Content-Length: -5\r\n\r\nhello"),
    (400, "^Content-Length: 0x5\r\n\r\nhello"),
    (400, "^Content-Length: 5a\r\n\r\nhello"),
    (400, "^Content-Length: 5 5\r\n\r\nhello"),
    (400, "^Content-Length: 5.0\r\n\r\nhello"),
    (400, "^Content-Length: \"5\"\r\n\r\nhello"),
    (400, "^Content-Length: 5;\r\n\r\nhello"),
    (400, "^Content-Length: \u{b2}\r\n\r\nhello"),
    (413, "^Content-Length: 18446744073709551616\r\n\r\n"),
    (413, "^Content-Length: 99999999999999999999999\r\n\r\n"),
    // Both
    (400, "^Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, "^Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    (400, "^Transfer-Encoding: gzip\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    (400, "^Transfer-Encoding:\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    // Transfer-Encoding
    (501, "^Transfer-Encoding: gzip\r\n\r\n"),
    (501, "^Transfer-Encoding: identity\r\n\r\n"),
    (501, "^Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    (501, "^Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    (501, "^Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    (501, "^Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (501, "^Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
    (501, "^Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    (501, "^Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n"),
    (501, "^Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n"),
    (501, "^Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    (501, "^Transfer-Encoding: \u{a0}chunked\r\n\r\n0\r\n\r\n"),
    (501, "^Transfer-Encoding:\r\n\r\n"),
    (400, "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, "POST / HTTP/1.0\r\nTransfer-Encoding: identity\r\n\r\n"),
    // Connection
    (400, "~Connection: close, @\r\n\r\n"),
    (400, "~Connection: a b\r\n\r\n"),
];

/// What is let through: the request; how its head begins at the home, without what is always
/// added; its body there. The host is that of the head.
pub(crate) const PASSED: &[(&str, &str, &str)] = &[
    ("~\r\n", "~", ""),
    ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "~", ""),
    ("\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "~", ""),
    ("get / HTTP/1.1\r\nHost: a\r\n\r\n", "get / HTTP/1.1\r\nHost: a\r\n", ""),
    ("M-SEARCH /x HTTP/1.1\r\nhost:a\r\n\r\n", "M-SEARCH /x HTTP/1.1\r\nHost: a\r\n", ""),
    ("GET / HTTP/1.1\r\nHost: \t A.:80 \t\r\n\r\n", "GET / HTTP/1.1\r\nHost: A.:80\r\n", ""),
    ("GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / HTTP/1.1\r\nHost: \r\n", ""),
    ("GET / HTTP/1.1\r\nHost: [::1]:8\r\n\r\n", "GET / HTTP/1.1\r\nHost: [::1]:8\r\n", ""),
    ("GET /?a|b{c}^` HTTP/1.1\r\nHost: a\r\n\r\n", "GET /?a|b{c}^` HTTP/1.1\r\nHost: a\r\n", ""),
    ("GET //x/../y HTTP/1.1\r\nHost: a\r\n\r\n", "GET //x/../y HTTP/1.1\r\nHost: a\r\n", ""),
    ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n", ""),
    // Absolute-form
    ("GET http://a/x?y HTTP/1.1\r\nHost: b\r\n\r\n", "GET /x?y HTTP/1.1\r\nHost: a\r\n", ""),
    ("GET HTTP://A:81 HTTP/1.1\r\nHost: b\r\n\r\n", "GET / HTTP/1.1\r\nHost: A:81\r\n", ""),
    ("GET http://a?q HTTP/1.1\r\nHost:\r\n\r\n", "GET /?q HTTP/1.1\r\nHost: a\r\n", ""),
    ("GET https://a/x HTTP/1.1\r\nHost: a\r\n\r\n", "GET /x HTTP/1.1\r\nHost: a\r\n", ""),
    ("OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n", ""),
    ("GET http://a/ HTTP/1.0\r\n\r\n", "~", ""),
    // Fields
    ("~X:y\r\nX:  z \t\r\nY:\r\n\r\n", "~X: y\r\nX: z\r\nY: \r\n", ""),
    ("~X: a\tb, \"c\"\r\n\r\n", "~X: a\tb, \"c\"\r\n", ""),
    ("~!#$%&'*+-.^_`|~0aZ: x\r\n\r\n", "~!#$%&'*+-.^_`|~0aZ: x\r\n", ""),
    ("~Cookie: a=b\r\nAccept: */*\r\n\r\n", "~Cookie: a=b\r\nAccept: */*\r\n", ""),
    // Hop by hop
    ("~Connection: keep-alive\r\nKeep-Alive: 5\r\n\r\n", "~", ""),
    ("~Proxy-Connection: keep-alive\r\nTE: deflate\r\nTrailer: X\r\n\r\n", "~", ""),
    (
        "~Connection: TE\r\nTE: deflate;q=0.5, Trailers\r\n\r\n",
        "~TE: trailers\r\nConnection: TE\r\n",
        "",
    ),
    (
        "~Connection: Upgrade\r\nTE: trailers\r\nUpgrade: x\r\n\r\n",
        "~TE: trailers\r\nConnection: upgrade, TE\r\nUpgrade: x\r\n",
        "",
    ),
    ("GET / HTTP/1.0\r\nHost: a\r\nTE: trailers\r\n\r\n", "~", ""),
    (
        "^Transfer-Encoding: chunked\r\n\r\n2 ; a = b\r\nhi\r\n0\t;c\r\n\r\n",
        "^Transfer-Encoding: chunked\r\n",
        "2\r\nhi\r\n0\r\n\r\n",
    ),
    ("~Connection: X, y ,,Z\r\nx: 1\r\nY: 2\r\nZ: 3\r\nW: 4\r\n\r\n", "~W: 4\r\n", ""),
    ("~X: 1\r\nConnection: a\r\nConnection: x\r\n\r\n", "~", ""),
    ("~Proxy-Authorization: Basic eDp5\r\nAuthorization: z\r\n\r\n", "~Authorization: z\r\n", ""),
    ("^Connection: Content-Length\r\nContent-Length: 2\r\n\r\nhi", "^Content-Length: 2\r\n", "hi"),
    (
        "^Connection: host, transfer-encoding\r\nContent-Length: 0\r\n\r\n",
        "^Content-Length: 0\r\n",
        "",
    ),
    (
        "^Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "^Transfer-Encoding: chunked\r\n",
        "0\r\n\r\n",
    ),
    // Forwarded fields
    ("~X-Forwarded-For: 1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\n\r\n", "~", ""),
    ("~x_forwarded_for: 1\r\nX-Forwarded_Host: 2\r\nX_Real_IP: 3\r\n\r\n", "~", ""),
    ("~X-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\nX-Forwarded-Host: b\r\n\r\n", "~", ""),
    ("~Forwarded: for=1.2.3.4\r\nX-Forwarded-Prefix: /x\r\n\r\n", "~", ""),
    ("~Connection: X-Forwarded-For, X-Real-IP, X-Forwarded-Proto\r\n\r\n", "~", ""),
    // Upgrade
    (
        "~Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n",
        "~Sec-WebSocket-Key: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n",
        "",
    ),
    (
        "~Connection: keep-alive, Upgrade\r\nUpgrade: h2c, websocket\r\n\r\n",
        "~Connection: upgrade\r\nUpgrade: websocket\r\n",
        "",
    ),
    (
        "~Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n",
        "~",
        "",
    ),
    ("~HTTP2-Settings: AAMA\r\n\r\n", "~", ""),
    ("~Upgrade: websocket\r\n\r\n", "~", ""),
    ("~Connection: upgrade\r\n\r\n", "~", ""),
    // Bodies
    ("^Content-Length: 005\r\n\r\nhello", "^Content-Length: 5\r\n", "hello"),
    ("~Content-Length: 0\r\n\r\n", "~Content-Length: 0\r\n", ""),
    ("~Content-Length: 2\r\n\r\nhi", "~Content-Length: 2\r\n", "hi"),
    (
        "^Transfer-Encoding: Chunked\r\n\r\n05;x=\"y\"\r\nhello\r\n0A\r\n0123456789\r\n00\r\n\r\n",
        "^Transfer-Encoding: chunked\r\n",
        "5\r\nhello\r\na\r\n0123456789\r\n0\r\n\r\n",
    ),
    (
        "^Transfer-Encoding: chunked\r\nTrailer: Host\r\n\r\n\
         0;a\r\nHost: b\r\nX-Real-IP: 1\r\n\r\n",
        "^Transfer-Encoding: chunked\r\n",
        "0\r\n\r\n",
    ),
    (
        "^Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
        "^Expect: 100-continue\r\nContent-Length: 2\r\n",
        "hi",
    ),
    (
        "^Content_Length: 9\r\nTransfer_Encoding: chunked\r\nContent-Length: 2\r\n\r\nhi",
        "^Content_Length: 9\r\nTransfer_Encoding: chunked\r\nContent-Length: 2\r\n",
        "hi",
    ),
];

/// Bodies that break off what had begun: the home sees a reset, the visitor a page.
pub(crate) const BROKEN: &[&str] = &[
    "x\r\n",
    "\r\n",
    "-1\r\nx\r\n",
    "0x1\r\nx\r\n",
    " 1\r\nx\r\n",
    "1 \r\nx\r\n",
    "1\nx\r\n",
    "1\r\nxy\r\n",
    "1\r\nx\n0\r\n\r\n",
    "1\r\nx\r0\r\n\r\n",
    "1;a\nx\r\n0\r\n\r\n",
    "1;\0\r\nx\r\n0\r\n\r\n",
    "ffffffffffffffff1\r\nx\r\n",
    "5\r\nhello\r\n0\r\nX\r\n\r\n",
    "5\r\nhello\r\n0\r\nX : y\r\n\r\n",
    "5\r\nhello\r\n0\r\n folded\r\n\r\n",
    "5\r\nhello\r\n0\r\nX: y\n\r\n",
    "5\r\nhello\r\n0\r\n\n",
];

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

/// Why a control does otherwise, and the rows with the status that it gives.
pub(crate) type Differences = &'static [(&'static str, &'static [(u16, &'static str)])];

/// Requests of the tables above to which HAProxy (Debian's 2.6, no options) answers otherwise; 200
/// means that it passes them on.
pub(crate) const HAPROXY: Differences = &[
    (
        "It takes a bare LF for a line end.",
        &[
            (200, "1;a\nx\r\n0\r\n\r\n"),
            (200, "1\r\nx\n0\r\n\r\n"),
            (200, "5\r\nhello\r\n0\r\nX: y\n\r\n"),
            (200, "5\r\nhello\r\n0\r\n\n"),
            (200, "GET / HTTP/1.1\nHost: a\n\n"),
            (200, "GET / HTTP/1.1\nHost: a\r\n\r\n"),
            (200, "GET / HTTP/1.1\r\nHost: a\n\r\n"),
            (200, "~X: a\r\n\n"),
        ],
    ),
    (
        "It skips any number of empty lines, also of a bare LF.",
        &[(200, "\n"), (200, "\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")],
    ),
    (
        "It takes any white space between the parts of a first line for one space.",
        &[
            (200, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
            (200, "GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
            (200, "GET /\tHTTP/1.1\r\nHost: a\r\n\r\n"),
            (200, "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        ],
    ),
    (
        "It leaves the target to the home.",
        &[
            (200, "GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
            (200, "OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n"),
        ],
    ),
    (
        "It passes absolute-form on as it came, and leaves the authority to the home.",
        &[
            (200, "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
            (200, "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n"),
            (200, "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        ],
    ),
    (
        "Authority and Host must agree for it; RFC 9112 3.2.2 lets the authority win.",
        &[
            (400, "GET HTTP://A:81 HTTP/1.1\r\nHost: b\r\n\r\n"),
            (400, "GET http://a/x?y HTTP/1.1\r\nHost: b\r\n\r\n"),
            (400, "GET http://a?q HTTP/1.1\r\nHost:\r\n\r\n"),
        ],
    ),
    (
        "It takes any version of this form, and sends HTTP/1.1 on.",
        &[
            (200, "GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
            (200, "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
            (200, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
            (200, "GET / HTTP/9.9\r\nHost: a\r\n\r\n"),
        ],
    ),
    (
        "The preface begins HTTP/2 for it, on any port.",
        &[(0, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\u{12}\u{4}\0\0\0\0\0")],
    ),
    (
        "It passes CONNECT on, and becomes a tunnel.",
        &[
            (200, "CONNECT a:443 HTTP/1.0\r\n\r\n"),
            (200, "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"),
            (200, "connect a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"),
        ],
    ),
    (
        "It leaves control characters in values to the home.",
        &[
            (200, "~X: \0\r\n\r\n"),
            (200, "~X: a\u{1b}[0m\r\n\r\n"),
            (200, "~X: a\u{1}b\r\n\r\n"),
            (200, "~X: a\u{7f}b\r\n\r\n"),
            (200, "~X: a\u{b}b\r\n\r\n"),
        ],
    ),
    (
        "It unfolds to spaces, which RFC 9112 5.2 allows.",
        &[
            (200, "GET / HTTP/1.1\r\nHost:\r\n a\r\n\r\n"),
            (200, "~X: a\r\n \r\n\r\n"),
            (200, "~X: a\r\n b\r\n\r\n"),
            (200, "~X: a\r\n\tb\r\n\r\n"),
        ],
    ),
    (
        "It routes by no name here, and leaves the name's form to the home.",
        &[
            (200, "GET / HTTP/1.1\r\nHost: *\r\n\r\n"),
            (200, "GET / HTTP/1.1\r\nHost: ::1\r\n\r\n"),
            (200, "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"),
            (200, "GET / HTTP/1.1\r\nHost: \u{e4}\r\n\r\n"),
            (200, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
            (200, "GET / HTTP/1.1\r\nHost: a#b\r\n\r\n"),
            (200, "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
            (200, "GET / HTTP/1.1\r\nHost: a..b\r\n\r\n"),
            (200, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
            (200, "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n"),
            (200, "GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n"),
            (200, "GET / HTTP/1.1\r\nHost: a:x\r\n\r\n"),
            (200, "GET / HTTP/1.1\r\nHost: http://a\r\n\r\n"),
            (200, "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
            (200, "GET //a:80@b HTTP/1.1\r\nHost: a@b\r\n\r\n"),
        ],
    ),
    (
        "It asks for no Host, and makes identical ones one.",
        &[
            (200, "GET / HTTP/1.1\r\nX-Host: a\r\n\r\n"),
            (200, "GET / HTTP/1.1\r\n\r\n"),
            (200, "GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
            (200, "GET http://a/ HTTP/1.1\r\n\r\n"),
            (200, "~Host: a\r\n\r\n"),
        ],
    ),
    (
        "It makes identical lengths one, which RFC 9110 8.6 allows.",
        &[
            (200, "^Content-Length: 5, 5\r\n\r\nhello"),
            (200, "^Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
        ],
    ),
    ("It passes 2^64 on as it came.", &[(200, "^Content-Length: 18446744073709551616\r\n\r\n")]),
    (
        "It refuses this too, by another status.",
        &[
            (400, "^Content-Length: 99999999999999999999999\r\n\r\n"),
            (400, "^Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
            (400, "^Transfer-Encoding: \u{a0}chunked\r\n\r\n0\r\n\r\n"),
            (400, "^Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
            (400, "^Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
            (400, "^Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n"),
            (400, "^Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            (400, "^Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
            (400, "^Transfer-Encoding: gzip\r\n\r\n"),
            (400, "^Transfer-Encoding: identity\r\n\r\n"),
            (400, "^Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
            (400, "^Transfer-Encoding:\r\n\r\n"),
            (422, "^Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        ],
    ),
    (
        "Transfer-Encoding wins and the length is removed, which RFC 9112 6.3 allows.",
        &[
            (200, "^Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            (200, "^Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
        ],
    ),
    (
        "It skips an empty element, and sends the list on as it came.",
        &[(200, "^Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n")],
    ),
    (
        "It takes chunks in HTTP/1.0 too, and closes behind them.",
        &[(200, "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")],
    ),
    (
        "It leaves what Connection names unread.",
        &[(200, "~Connection: a b\r\n\r\n"), (200, "~Connection: close, @\r\n\r\n")],
    ),
    ("It leaves what a chunk's extension is made of unread.", &[(200, "1;\0\r\nx\r\n0\r\n\r\n")]),
    (
        "It wants a Sec-WebSocket-Key of the right length; here the home decides.",
        &[
            (400, "~Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"),
            (400, "~Connection: keep-alive, Upgrade\r\nUpgrade: h2c, websocket\r\n\r\n"),
        ],
    ),
];

/// Requests that HAProxy refuses in one run and passes on in the next: a bad trailer stands behind
/// what it may have sent on already.
pub(crate) const HAPROXY_VARIES: &[&str] =
    &["5\r\nhello\r\n0\r\nX : y\r\n\r\n", "5\r\nhello\r\n0\r\nX\r\n\r\n"];

/// Responses that it takes otherwise; 0 stands for a status that is no number.
pub(crate) const HAPROXY_RESPONSES: Differences = &[
    (
        "It refuses white space before a colon.",
        &[(502, "HTTP/1.1 200 OK\r\nX : a\nContent-Length\t: 2\r\n\nok")],
    ),
    ("It skips empty lines in front.", &[(200, "\r\nHTTP/1.1 200 OK\r\n\r\n")]),
    (
        "It takes any white space between the parts of a first line for one space.",
        &[(200, "HTTP/1.1  200 OK\r\n\r\n")],
    ),
    (
        "It takes any number of any digits for a status.",
        &[
            (0, "HTTP/1.1 20 OK\r\n\r\n"),
            (99, "HTTP/1.1 099 OK\r\n\r\n"),
            (200, "HTTP/1.1 2000 OK\r\n\r\n"),
        ],
    ),
    (
        "It takes any version of this form, and sends HTTP/1.1 on.",
        &[(200, "HTTP/1.2 200 OK\r\n\r\n"), (200, "HTTP/2.0 200 OK\r\n\r\n")],
    ),
    (
        "It sends interim responses to HTTP/1.0, and takes them from it.",
        &[
            (100, "HTTP/1.0 100 C\r\n\r\nHTTP/1.0 200 OK\r\n\r\n"),
            (103, "HTTP/1.1 103 EH\r\nLink: x\r\n\r\nHTTP/1.1 204 \r\n\r\n"),
        ],
    ),
    (
        "It leaves control characters in values to the visitor.",
        &[(200, "HTTP/1.1 200 OK\r\nX: \0\r\n\r\n")],
    ),
    (
        "It unfolds to spaces, which RFC 9112 5.2 allows.",
        &[(200, "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n")],
    ),
    (
        "The bad chunk came in one piece with the head, so it had sent nothing yet.",
        &[
            (502, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok!\r\n0\r\n\r\n"),
            (502, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        ],
    ),
];
