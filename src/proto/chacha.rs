//! ChaChaPoly for Noise, by ring, in 32 bytes a direction.
//!
//! ring's key type has room for an expanded AES key, 544 bytes, whatever the cipher; two of them
//! were most of what an idle link weighed. ChaCha20 has nothing to expand, so the key is kept as
//! it is and ring's made of it for each message, which costs a copy.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, Tag, UnboundKey};
use snow::types::Cipher;

use crate::wire::frame::NOISE_TAG;

/// One direction's key. Nonces are snow's to count.
#[derive(Default)]
pub(super) struct ChaChaPoly {
    key: [u8; 32],
}

impl ChaChaPoly {
    fn key(&self) -> LessSafeKey {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &self.key);
        LessSafeKey::new(key.expect("a key of 32 bytes"))
    }
}

/// 32 bits of zeros and the little-endian counter (Noise specification, section 12.3).
fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.key = *key;
    }

    fn encrypt(&self, counter: u64, ad: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (text, tag) = out[..plaintext.len() + NOISE_TAG].split_at_mut(plaintext.len());
        text.copy_from_slice(plaintext);
        let sealed = self.key().seal_in_place_separate_tag(nonce(counter), Aad::from(ad), text);
        tag.copy_from_slice(sealed.expect("under 64 KB").as_ref());
        plaintext.len() + NOISE_TAG
    }

    fn decrypt(
        &self,
        counter: u64,
        ad: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<usize, snow::Error> {
        let (text, tag) = sealed.split_last_chunk::<NOISE_TAG>().ok_or(snow::Error::Decrypt)?;
        let out = out.get_mut(..text.len()).ok_or(snow::Error::Decrypt)?;
        out.copy_from_slice(text);
        self.key()
            .open_in_place_separate_tag(nonce(counter), Aad::from(ad), Tag::from(*tag), out, 0..)
            .map_err(|_| snow::Error::Decrypt)?;
        Ok(text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of RFC 8439, section 2.8.2, has a nonce that no counter gives; the other
    /// implementation that snow brings is as good a witness.
    #[test]
    fn it_agrees_with_the_other_implementation() {
        use snow::params::CipherChoice;
        use snow::resolvers::{CryptoResolver as _, DefaultResolver};
        let key = std::array::from_fn(|at| at as u8);
        let mut ours = ChaChaPoly::default();
        ours.set(&key);
        let mut theirs = DefaultResolver.resolve_cipher(&CipherChoice::ChaChaPoly).expect("has it");
        theirs.set(&key);
        for (counter, length) in [(0, 0), (1, 1), (2, 16), (1 << 40, 1000), (u64::MAX - 1, 60_000)]
        {
            let text: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let (mut a, mut b) = (vec![0; length + 20], vec![0; length + 20]);
            assert_eq!(ours.encrypt(counter, b"ad", &text, &mut a), length + NOISE_TAG);
            assert_eq!(theirs.encrypt(counter, b"ad", &text, &mut b), length + NOISE_TAG);
            assert!(a == b, "{length} bytes");
            let sealed = &a[..length + NOISE_TAG];
            let mut opened = vec![0; length];
            assert_eq!(ours.decrypt(counter, b"ad", sealed, &mut opened).expect("opens"), length);
            assert!(opened == text);
            assert!(ours.decrypt(counter, b"da", sealed, &mut opened).is_err());
            assert!(ours.decrypt(counter ^ 1, b"ad", sealed, &mut opened).is_err());
        }
        assert!(ours.decrypt(0, b"", &[0; 15], &mut [0; 15]).is_err(), "shorter than its tag");
        assert!(ours.decrypt(0, b"", &[0; 20], &mut [0; 3]).is_err(), "no room");
    }
}
