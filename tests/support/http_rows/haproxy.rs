//! Where HAProxy, as a control, does otherwise than these tables say.

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

/// Messages that HAProxy refuses in one run and passes on in the next: a bad chunk or trailer
/// stands behind what it may have sent on already.
pub(crate) const HAPROXY_VARIES: &[&str] = &[
    "5\r\nhello\r\n0\r\nX : y\r\n\r\n",
    "5\r\nhello\r\n0\r\nX\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\
     X : y\r\nContent-Length: 9\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok!\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
];

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
];
