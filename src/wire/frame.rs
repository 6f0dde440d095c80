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
//!
//! In a lease that allows it, DATA also comes as a raw run: in clear, and never looked at.
//!
//! ```text
//! | 0: u16 | length: u32 LE, at least 1 | `length` bytes of the visitor's or the home's |
//! ```

use super::Status;

/// Bytes of the length in front of a body.
pub const HEADER: usize = 2;
/// The longest body: a Noise message (Noise specification, revision 34, section 3).
pub const MAX_BODY: usize = 65_535;
/// What Noise adds to each message.
pub const NOISE_TAG: usize = 16;
/// The longest payload: a body without tag and kind.
pub const MAX_PAYLOAD: usize = MAX_BODY - NOISE_TAG - 1;

/// Bytes in front of a raw run.
pub const RUN_HEADER: usize = HEADER + 4;

/// What the stream of a tunnel connection consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A frame: its body.
    Frame(&'a [u8]),
    /// The header of a raw run: how many bytes follow.
    Run(u32),
}

/// Why a frame is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// A body of no bytes: it says nothing, and rathole takes it for an end of file.
    Empty,
    /// Longer than what may come at this point.
    TooLong,
    /// The same, as HTTP begins.
    Http,
    /// The same, as TLS does.
    Tls,
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
        return Err(match header {
            b"HT" | b"GE" | b"PO" | b"HE" => Reject::Http,
            [0x14..=0x17, 3] => Reject::Tls,
            _ => Reject::TooLong,
        });
    }
    Ok(match rest.get(..length) {
        Some(body) => Status::Complete((body, HEADER + length)),
        None => Status::Partial,
    })
}

/// The first piece of `bytes`, if it is whole, and the bytes that it takes; of a run, its header.
/// Where there are no `runs`, one is an empty frame.
pub fn next(
    bytes: &[u8],
    max_body: usize,
    runs: bool,
) -> Result<Status<(Piece<'_>, usize)>, Reject> {
    if runs && bytes.starts_with(&[0; HEADER]) {
        let length = bytes[HEADER..].first_chunk().map(|length| u32::from_le_bytes(*length));
        return match length {
            None => Ok(Status::Partial),
            Some(0) => Err(Reject::Empty),
            Some(length) => Ok(Status::Complete((Piece::Run(length), RUN_HEADER))),
        };
    }
    Ok(match first(bytes, max_body)? {
        Status::Partial => Status::Partial,
        Status::Complete((body, taken)) => Status::Complete((Piece::Frame(body), taken)),
    })
}

/// The header of a raw run of `length` bytes.
pub fn run_header(length: usize) -> [u8; RUN_HEADER] {
    debug_assert!(0 < length && u32::try_from(length).is_ok());
    let mut header = [0; RUN_HEADER];
    header[HEADER..].copy_from_slice(&(length as u32).to_le_bytes());
    header
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
        check_pieces(bytes);
    }

    /// Pieces come whole or not at all, and a run takes as many bytes as it says.
    fn check_pieces(bytes: &[u8]) {
        let mut at = 0;
        while let Ok(Status::Complete((piece, taken))) = next(&bytes[at..], MAX_BODY, true) {
            for cut in 0..taken.min(RUN_HEADER) {
                assert_eq!(next(&bytes[at..at + cut], MAX_BODY, true), Ok(Status::Partial));
            }
            let run = match piece {
                Piece::Frame(body) => {
                    assert_eq!(first(&bytes[at..], MAX_BODY), Ok(Status::Complete((body, taken))));
                    0
                }
                Piece::Run(length) => {
                    assert_eq!(run_header(length as usize), bytes[at..at + taken]);
                    assert_eq!(next(&bytes[at..], MAX_BODY, false), Err(Reject::Empty));
                    length as usize
                }
            };
            at = bytes.len().min(at + taken + run);
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

    #[test]
    fn a_run_is_one_only_where_there_may_be_runs() {
        let bytes = [0, 0, 2, 0, 0, 0, b'a', b'b', 1, 0, 7];
        assert_eq!(next(&bytes, 10, false), Err(Reject::Empty));
        for cut in 2..RUN_HEADER {
            assert_eq!(next(&bytes[..cut], 10, true), Ok(Status::Partial), "cut at {cut}");
        }
        assert_eq!(next(&bytes, 10, true), Ok(Status::Complete((Piece::Run(2), RUN_HEADER))));
        assert_eq!(next(&bytes[8..], 10, true), Ok(Status::Complete((Piece::Frame(&[7]), 3))));
        assert_eq!(next(&[0; RUN_HEADER], 10, true), Err(Reject::Empty));
        assert_eq!(run_header(2), bytes[..RUN_HEADER]);
        fuzz::check(&bytes);
    }
}
