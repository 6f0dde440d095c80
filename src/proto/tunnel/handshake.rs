//! From the first byte to the keys.

use super::{Codec, Reject};
use crate::proto::noise::HandshakeHash;
use crate::wire::Status;
use crate::wire::frame;

impl Codec {
    /// Appends our next handshake message to `out`, if it is our turn. The handshake's hash, once,
    /// when nothing of it is left to read; messages may follow.
    pub fn shake(&mut self, out: &mut Vec<u8>) -> Result<Option<HandshakeHash>, Reject> {
        self.channel.write_handshake(out).map_err(Reject::Noise)?;
        self.channel.established().map_err(Reject::Noise)
    }

    /// The peer's handshake message, if all of it is at the front of `wire`: the bytes that were
    /// taken.
    pub fn hear_shake(&mut self, wire: &[u8]) -> Result<usize, Reject> {
        match frame::first(wire, self.max_body).map_err(Reject::Frame)? {
            Status::Partial => Ok(0),
            Status::Complete((body, taken)) => {
                self.channel.read_handshake(body).map_err(Reject::Noise)?;
                Ok(taken)
            }
        }
    }

    /// Server: whether the peer's first message is still to be read, and keys to be agreed on with
    /// it: the one thing that a stranger can make the server pay dearly for.
    pub fn is_awaiting(&self) -> bool {
        self.channel.is_awaiting()
    }

    /// How many bytes of a handshake message are missing behind `wire`, at most; 0 when it is all
    /// here.
    pub fn lacks_of_shake(&self, wire: &[u8]) -> Result<usize, Reject> {
        Ok(match frame::first(wire, self.max_body).map_err(Reject::Frame)? {
            Status::Partial => frame::HEADER + self.max_body - wire.len(),
            Status::Complete(_) => 0,
        })
    }
}
