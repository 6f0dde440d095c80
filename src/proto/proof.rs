//! Proofs of a token and of a session key: HMAC-SHA256 (RFC 2104), bound to the connection's
//! handshake, so that a proof seen on one connection is worth nothing on another.

use ring::digest::{self, SHA256};
use ring::hmac::{self, HMAC_SHA256};
use subtle::ConstantTimeEq;

use super::noise::HandshakeHash;

/// A proof as it travels.
pub type Proof = [u8; 32];

/// Proves a service's token:
/// `HMAC(token, "underpass service" | handshake hash (64) | nonce (32) | kind (1) | name)`.
pub fn service(
    token: &[u8],
    hash: &HandshakeHash,
    nonce: &[u8; 32],
    kind: u8,
    name: &[u8],
) -> Proof {
    hmac(token, &[b"underpass service", hash.as_bytes(), nonce, &[kind], name])
}

/// Proves that a link belongs to a live session: `HMAC(key, "underpass link" | handshake hash)`.
pub fn link(key: &[u8; 32], hash: &HandshakeHash) -> Proof {
    hmac(key, &[b"underpass link", hash.as_bytes()])
}

/// Stands for a token of ours where it was proved, so that nobody keeps the token itself.
pub type Mark = [u8; 32];

/// See [`Mark`].
pub fn mark(token: &[u8]) -> Mark {
    sha256(&[token])
}

/// SHA-256 of the parts, one behind the other.
pub(super) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = digest::Context::new(&SHA256);
    for part in parts {
        hash.update(part);
    }
    *hash.finish().as_ref().first_chunk().expect("32 bytes")
}

/// Whether two proofs are equal, in constant time.
pub fn matches(expected: &Proof, given: &Proof) -> bool {
    expected.ct_eq(given).into()
}

/// HMAC-SHA256 of the parts, one behind the other.
pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> Proof {
    let mut mac = hmac::Context::with_key(&hmac::Key::new(HMAC_SHA256, key));
    for part in parts {
        mac.update(part);
    }
    *mac.sign().as_ref().first_chunk().expect("32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_counts() {
        let hash = HandshakeHash::NONE;
        let proof = service(b"token", &hash, &[1; 32], 3, b"pi");
        assert!(matches(&proof, &service(b"token", &hash, &[1; 32], 3, b"pi")));
        for other in [
            service(b"Token", &hash, &[1; 32], 3, b"pi"),
            service(b"token", &hash, &[2; 32], 3, b"pi"),
            service(b"token", &hash, &[1; 32], 4, b"pi"),
            service(b"token", &hash, &[1; 32], 3, b"po"),
        ] {
            assert!(!matches(&proof, &other));
        }
        assert_ne!(link(&[1; 32], &hash), link(&[2; 32], &hash));
    }
}
