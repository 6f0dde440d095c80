//! P8, P9: what the HTTP entry refuses, passes and makes of responses, in tables: for the machine
//! by itself, for the whole program, and for HAProxy as a control.

pub(crate) mod haproxy;
pub(crate) mod responses;

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
