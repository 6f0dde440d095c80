//! HTTP CONNECT (RFC 9110, section 9.3.6) as its client says and hears it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Status;

/// What a proxy did wrong, or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// This is not the head of an HTTP response.
    NotHttp,
    /// A head of more than [`HEAD_BYTES`] or [`FIELDS`].
    TooLong,
    /// A status other than 2xx.
    Status(u16),
}

/// The longest head that is read.
pub const HEAD_BYTES: usize = 16 * 1024;
/// The most fields in it.
pub const FIELDS: usize = 64;

/// Appends the request. `authority` is host and port; `login` are user and password (RFC 7617).
pub fn encode_connect(authority: &str, login: Option<(&[u8], &[u8])>, out: &mut Vec<u8>) {
    let mut head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
    if let Some((user, password)) = login {
        let credentials = STANDARD.encode([user, b":", password].concat());
        head += &format!("Proxy-Authorization: Basic {credentials}\r\n");
    }
    head += "\r\n";
    out.extend_from_slice(head.as_bytes());
}

/// The answer, once its head is whole, and the bytes that it takes. A 2xx has no body, whatever
/// its fields say; interim answers come before the final one.
pub fn decode_answer(bytes: &[u8]) -> Result<Status<usize>, Reject> {
    let mut at = 0;
    loop {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let head = match response.parse(&bytes[at..]) {
            Ok(head) => head,
            Err(httparse::Error::TooManyHeaders) => return Err(Reject::TooLong),
            Err(_) => return Err(Reject::NotHttp),
        };
        match (head, response.code) {
            (httparse::Status::Complete(length), Some(status)) => match status {
                200..=299 => return Ok(Status::Complete(at + length)),
                // 101 is final, and was not asked for.
                100 | 102..=199 => at += length,
                _ => return Err(Reject::Status(status)),
            },
            _ if bytes.len() > HEAD_BYTES => return Err(Reject::TooLong),
            _ => return Ok(Status::Partial),
        }
    }
}

/// For the fuzz target of this name.
#[doc(hidden)]
pub mod fuzz {
    use super::*;

    /// What is whole is so with its last byte only, whatever follows.
    pub fn check(bytes: &[u8]) {
        let Ok(Status::Complete(taken)) = decode_answer(bytes) else { return };
        for cut in 0..taken {
            assert_eq!(decode_answer(&bytes[..cut]), Ok(Status::Partial), "cut at {cut}");
        }
        assert_eq!(decode_answer(&bytes[..taken]), Ok(Status::Complete(taken)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_the_server_and_says_who_asks() {
        let mut out = Vec::new();
        encode_connect("[2001:db8::1]:2333", Some((b"Aladdin", b"open sesame")), &mut out);
        let text = String::from_utf8(out).expect("ASCII");
        // RFC 7617, section 2 has this user and password.
        assert_eq!(
            text,
            "CONNECT [2001:db8::1]:2333 HTTP/1.1\r\nHost: [2001:db8::1]:2333\r\n\
             Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"
        );
    }

    #[test]
    fn an_answer_is_whole_with_its_head() {
        for head in [
            &b"HTTP/1.0 200 Connection established\r\n\r\n"[..],
            b"HTTP/1.1 200\r\nContent-Length: 5\r\nProxy-Agent: x\r\n\r\n",
            b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 204 None\r\nVia: y\r\n\r\n",
        ] {
            assert_eq!(decode_answer(head), Ok(Status::Complete(head.len())));
            fuzz::check(&[head, b"more"].concat());
        }
    }

    #[test]
    fn a_refusal_has_a_name() {
        let denied = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 9\r\n\r\n";
        assert_eq!(decode_answer(denied), Err(Reject::Status(407)));
        assert_eq!(decode_answer(&denied[..denied.len() - 1]), Ok(Status::Partial));
        assert_eq!(decode_answer(b"HTTP/1.1 101 On\r\n\r\n"), Err(Reject::Status(101)));
        assert_eq!(decode_answer(b"SSH-2.0-x\r\n"), Err(Reject::NotHttp));
        let endless = b"HTTP/1.1 200 OK\r\nX: ".iter().copied().chain([b'a'; HEAD_BYTES]);
        assert_eq!(decode_answer(&endless.collect::<Vec<_>>()), Err(Reject::TooLong));
        let fields = [b"HTTP/1.1 200 OK\r\n".to_vec(), b"X: y\r\n".repeat(FIELDS + 1)].concat();
        assert_eq!(decode_answer(&fields), Err(Reject::TooLong));
    }
}
