//! Why connections end.

use std::fmt;
use std::io;

use crate::proto::{lease, noise, passage, tunnel};
use crate::wire::{datagram, frame, message, rathole};

/// Why a connection ends.
#[derive(Debug)]
pub enum Gone {
    /// The peer closed it.
    Closed,
    /// The network broke it.
    Io(io::Error),
    /// There is no way through the proxy.
    Proxy(passage::Reject),
    /// A frame that may not be.
    Frame(frame::Reject),
    /// A message that the keys do not open.
    Noise(noise::Reject),
    /// A message that may not be.
    Message(message::Reject),
    /// A message of rathole's that may not be.
    Rathole(rathole::Reject),
    /// The server has refused every service; why the last one.
    AllRefused(&'static str),
    /// A rathole server's refusal of a service.
    Refused(rathole::Ack),
    /// The server speaks rathole's protocol, and we ours.
    OtherProtocol,
    /// A record on a UDP link that may not be.
    Datagram(datagram::Reject),
    /// A message out of turn.
    Lease(lease::Reject),
    /// A message that does not belong here.
    Unexpected,
    /// Too many wrong proofs.
    Guessing,
    /// There is no room for one more of its kind.
    Crowded,
}

impl From<tunnel::Reject> for Gone {
    fn from(reject: tunnel::Reject) -> Gone {
        match reject {
            tunnel::Reject::Frame(reject) => Gone::Frame(reject),
            tunnel::Reject::Noise(reject) => Gone::Noise(reject),
            tunnel::Reject::Message(reject) => Gone::Message(reject),
            tunnel::Reject::Lease(reject) => Gone::Lease(reject),
            tunnel::Reject::Unexpected => Gone::Unexpected,
            tunnel::Reject::Closed => Gone::Closed,
        }
    }
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gone::Closed => f.write_str("the peer has closed the connection"),
            Gone::Io(error) => error.fmt(f),
            Gone::Proxy(reject) => reject.fmt(f),
            Gone::Frame(frame::Reject::Empty) => f.write_str("an empty frame"),
            Gone::Frame(frame::Reject::TooLong) => f.write_str("a frame that is too long"),
            Gone::Frame(frame::Reject::Http) => f.write_str("it speaks HTTP"),
            Gone::Frame(frame::Reject::Tls) => f.write_str("it speaks TLS"),
            Gone::Noise(noise::Reject::Handshake) => {
                f.write_str("the Noise handshake failed: other keys, or another pattern")
            }
            Gone::Noise(noise::Reject::PeerKey) => {
                f.write_str("the peer's key is not remote_public_key")
            }
            Gone::Noise(noise::Reject::Decrypt) => f.write_str("a message that does not decrypt"),
            Gone::Noise(noise::Reject::Empty) => f.write_str("an empty message"),
            Gone::Message(reject) => write!(f, "a message that may not be ({reject:?})"),
            Gone::Rathole(reject) => write!(f, "a rathole message that may not be ({reject:?})"),
            Gone::Refused(rathole::Ack::NoSuchService) => {
                f.write_str("the server's file has no service of that name")
            }
            Gone::Refused(_) => f.write_str("the server's file has another token"),
            Gone::AllRefused(why) => write!(f, "it has refused every service: {why}"),
            Gone::OtherProtocol => f.write_str(
                "it speaks rathole's protocol: set protocol = \"rathole\" in [client], or run \
                 underpass there",
            ),
            Gone::Datagram(reject) => write!(f, "a datagram that may not be ({reject:?})"),
            Gone::Lease(reject) => write!(f, "a message out of turn ({reject:?})"),
            Gone::Unexpected => f.write_str("a message that does not belong here"),
            Gone::Guessing => f.write_str("too many wrong tokens"),
            Gone::Crowded => f.write_str("no room for one more"),
        }
    }
}
