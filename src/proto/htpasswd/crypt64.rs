//! How crypt(3) writes a digest: six bits a character, the lowest first, of bytes in an order of
//! each scheme's own.

/// The bytes of `digest` at the places in `order`: three of them are four characters, and one or
/// two that are left one more than they are.
pub(super) fn write(digest: &[u8], order: &[u8]) -> Box<[u8]> {
    let mut text = Vec::new();
    for places in order.chunks(3) {
        let byte = |place: &u8| u32::from(digest[usize::from(*place)]);
        let word = places.iter().fold(0, |word, place| word << 8 | byte(place));
        text.extend((0..=places.len()).map(|at| ALPHABET[(word >> (6 * at) & 63) as usize]));
    }
    text.into()
}

/// Whether it can stand in such a text.
pub(super) fn has(byte: u8) -> bool {
    ALPHABET.contains(&byte)
}

const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Of the 16 bytes of `$1$` and `$apr1$`.
pub(super) const MD5: [u8; 16] = [0, 6, 12, 1, 7, 13, 2, 8, 14, 3, 9, 15, 4, 10, 5, 11];

/// Of the 32 bytes of `$5$`.
#[rustfmt::skip]
pub(super) const SHA256: [u8; 32] = [
    0, 10, 20, 21, 1, 11, 12, 22, 2, 3, 13, 23, 24, 4, 14, 15, 25, 5, 6, 16, 26, 27, 7, 17, 18, 28,
    8, 9, 19, 29, 31, 30,
];

/// Of the 64 bytes of `$6$`.
#[rustfmt::skip]
pub(super) const SHA512: [u8; 64] = [
    0, 21, 42, 22, 43, 1, 44, 2, 23, 3, 24, 45, 25, 46, 4, 47, 5, 26, 6, 27, 48, 28, 49, 7, 50, 8,
    29, 9, 30, 51, 31, 52, 10, 53, 11, 32, 12, 33, 54, 34, 55, 13, 56, 14, 35, 15, 36, 57, 37, 58,
    16, 59, 17, 38, 18, 39, 60, 40, 61, 19, 62, 20, 41, 63,
];
