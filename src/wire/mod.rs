//! Pure bytes: no time, no I/O, no logging, and no allocation where a visitor's bytes are parsed.

pub mod client_hello;
pub mod datagram;
pub mod frame;
pub mod host;
pub mod http;
pub mod http_connect;
pub mod message;
pub mod postgres;
pub mod proxy_header;
pub mod rathole;
pub mod reader;
pub mod socks5;

/// "Need more bytes" is a value, not an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status<T> {
    /// The input decides the question.
    Complete(T),
    /// What came so far is well-formed; wait for more.
    Partial,
}
