//! MD5 crypt, of which `$apr1$` is one with a name of its own: what no kept crate has.
//!
//! Poul-Henning Kamp's, as in APR's `apr_md5_encode`.

use md5::{Digest as _, Md5};

/// The digest of a password. `name` is `$1$` or `$apr1$`; the salt has at most 8 bytes.
pub(super) fn digest(name: &str, salt: &[u8], password: &[u8]) -> [u8; 16] {
    let inner = hash(&[password, salt, password]);
    let mut first = Md5::new();
    first.update(password);
    first.update(name);
    first.update(salt);
    // As many bytes of the inner digest, again and again, as the password has.
    for part in password.chunks(inner.len()) {
        first.update(&inner[..part.len()]);
    }
    // A byte for each bit of the password's length, the lowest first.
    let mut length = password.len();
    while length > 0 {
        let byte = if length & 1 == 1 { 0 } else { password[0] };
        first.update([byte]);
        length >>= 1;
    }
    let mut digest: [u8; 16] = first.finalize().into();
    for round in 0..ROUNDS {
        let is_odd = round % 2 == 1;
        let (before, after): (&[u8], &[u8]) =
            if is_odd { (password, &digest) } else { (&digest, password) };
        let salt = if round % 3 == 0 { &[] } else { salt };
        let again = if round % 7 == 0 { &[] } else { password };
        digest = hash(&[before, salt, again, after]);
    }
    digest
}

fn hash(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Md5::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

const ROUNDS: u32 = 1000;
