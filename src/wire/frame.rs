//! Frames: how messages lie in a tunnel connection's byte stream.
//!
//! ```text
//! | length: u16 LE | body: `length` bytes                                  |
//!                  | over Noise: one Noise message; with transport tcp: as is
//! body in clear:   | payload ...                              | kind: u8  |
//! ```
//!
//! The kind comes last, as TLS 1.3 does it (RFC 8446, section 5.2): a run of DATA frames is then
//! decrypted into one contiguous run of bytes, each frame over the kind byte of the one before.
//! Handshake messages are framed too and have no kind.

use super::Status;

/// Bytes of the length in front of a body.
pub const HEADER: usize = 2;
/// The longest body: a Noise message (Noise specification, revision 34, section 3).
pub const MAX_BODY: usize = 65_535;
/// What Noise adds to each message.
pub const NOISE_TAG: usize = 16;
/// The longest payload: a body without tag and kind.
pub const MAX_PAYLOAD: usize = MAX_BODY - NOISE_TAG - 1;

/// Why a frame is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// A body of no bytes: it says nothing, and rathole takes it for an end of file.
    Empty,
    /// Longer than what may come at this point.
    TooLong,
}

/// The first frame of `bytes`, if it is whole: its body and the bytes that it takes in all.
pub fn first(bytes: &[u8], max_body: usize) -> Result<Status<(&[u8], usize)>, Reject> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
        return Ok(Status::Partial);
    };
    let length = usize::from(u16::from_le_bytes(*header));
    if length == 0 {
        return Err(Reject::Empty);
    }
    if length > max_body {
        return Err(Reject::TooLong);
    }
    Ok(match rest.get(..length) {
        Some(body) => Status::Complete((body, HEADER + length)),
        None => Status::Partial,
    })
}

/// The header of a body of `length` bytes.
pub fn header(length: usize) -> [u8; HEADER] {
    debug_assert!(0 < length && length <= MAX_BODY);
    (length as u16).to_le_bytes()
}

/// For the fuzz target of this name.
#[doc(hidden)]
pub mod fuzz {
    use super::*;

    /// Any cut of `bytes` gives the same frames, and none overlaps.
    pub fn check(bytes: &[u8]) {
        let mut at = 0;
        while let Ok(Status::Complete((body, taken))) = first(&bytes[at..], MAX_BODY) {
            assert_eq!(taken, HEADER + body.len());
            assert_eq!(header(body.len()), bytes[at..at + HEADER]);
            for cut in [0, 1, HEADER, taken - 1] {
                assert_eq!(first(&bytes[at..at + cut], MAX_BODY), Ok(Status::Partial));
            }
            at += taken;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_whole_only_with_its_last_byte() {
        let bytes = [3, 0, b'a', b'b', b'c', 9];
        for cut in 0..5 {
            assert_eq!(first(&bytes[..cut], 10), Ok(Status::Partial), "cut at {cut}");
        }
        assert_eq!(first(&bytes, 10), Ok(Status::Complete((&b"abc"[..], 5))));
        assert_eq!(first(&[0, 0], 10), Err(Reject::Empty));
        assert_eq!(first(&[11, 0], 10), Err(Reject::TooLong));
        fuzz::check(&[1, 0, 7, 2, 0, 8, 8, 4]);
    }
}
