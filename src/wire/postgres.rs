//! PostgreSQL's first words before TLS (its manual, "Message Formats": SSLRequest, GSSENCRequest).
//!
//! ```text
//! visitor   length 8, u32 | 80877103, u32        server   S: go on with TLS; N: not
//! ```

use super::Status;

/// "May we speak TLS?"
pub const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
/// "May we speak Kerberos?", which libpq asks first if it has a ticket.
const GSS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];
/// The answer that a ClientHello follows.
pub const YES: u8 = b'S';
/// The answer that another request follows, or the end.
pub const NO: u8 = b'N';

/// What a visitor asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// TLS.
    Tls,
    /// Kerberos.
    Gss,
}

/// How `bytes` begin; `None`: as something else.
pub fn read(bytes: &[u8]) -> Option<Status<Request>> {
    for (wanted, request) in [(SSL_REQUEST, Request::Tls), (GSS_REQUEST, Request::Gss)] {
        let common = bytes.len().min(wanted.len());
        if bytes[..common] == wanted[..common] {
            let is_whole = common == wanted.len();
            return Some(if is_whole { Status::Complete(request) } else { Status::Partial });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_at_every_length() {
        for (whole, request) in [(SSL_REQUEST, Request::Tls), (GSS_REQUEST, Request::Gss)] {
            for end in 0..whole.len() {
                assert_eq!(read(&whole[..end]), Some(Status::Partial));
            }
            let more = [&whole[..], b"more"].concat();
            assert_eq!(read(&more), Some(Status::Complete(request)));
        }
        // A startup message in the clear, a cancel request, TLS, HTTP.
        let others: [&[u8]; 4] =
            [b"\0\0\0\x29\0\x03\0\0", b"\0\0\0\x10\x04\xd2\x16\x2e", b"\x16\x03\x01", b"GET"];
        for other in others {
            assert_eq!(read(other), None, "{}", other.escape_ascii());
        }
    }
}
