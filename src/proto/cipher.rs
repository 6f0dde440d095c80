//! The ciphers of Noise, by ring, in 32 bytes a direction.
//!
//! ring's key type has room for an expanded AES key, 544 bytes, whatever the cipher; two of them
//! were most of what an idle link weighed. So the key is kept as it is, and ring's made of it for
//! each message: a copy for ChaCha20, some 150 ns for AES, beside microseconds for 16 KB.

use ring::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, Tag, UnboundKey};
use snow::params::CipherChoice;
use snow::types::Cipher;

use crate::wire::frame::NOISE_TAG;

/// One direction's key. Nonces are snow's to count.
pub(super) struct SmallKey {
    cipher: CipherChoice,
    key: [u8; 32],
}

impl SmallKey {
    /// For a pattern's cipher; the key is set later.
    pub(super) fn new(cipher: CipherChoice) -> SmallKey {
        SmallKey { cipher, key: [0; 32] }
    }

    fn expand(&self) -> LessSafeKey {
        let algorithm = match self.cipher {
            CipherChoice::ChaChaPoly => &CHACHA20_POLY1305,
            CipherChoice::AESGCM => &AES_256_GCM,
        };
        LessSafeKey::new(UnboundKey::new(algorithm, &self.key).expect("a key of 32 bytes"))
    }

    /// 32 bits of zeros and the counter: little-endian for ChaChaPoly, big-endian for AES-GCM
    /// (Noise specification, sections 12.3 and 12.4).
    fn nonce(&self, counter: u64) -> Nonce {
        let mut bytes = [0; 12];
        bytes[4..].copy_from_slice(&match self.cipher {
            CipherChoice::ChaChaPoly => counter.to_le_bytes(),
            CipherChoice::AESGCM => counter.to_be_bytes(),
        });
        Nonce::assume_unique_for_key(bytes)
    }
}

impl Cipher for SmallKey {
    fn name(&self) -> &'static str {
        match self.cipher {
            CipherChoice::ChaChaPoly => "ChaChaPoly",
            CipherChoice::AESGCM => "AESGCM",
        }
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.key = *key;
    }

    fn encrypt(&self, counter: u64, ad: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (text, tag) = out[..plaintext.len() + NOISE_TAG].split_at_mut(plaintext.len());
        text.copy_from_slice(plaintext);
        let nonce = self.nonce(counter);
        let sealed = self.expand().seal_in_place_separate_tag(nonce, Aad::from(ad), text);
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
        let (nonce, tag) = (self.nonce(counter), Tag::from(*tag));
        self.expand()
            .open_in_place_separate_tag(nonce, Aad::from(ad), tag, out, 0..)
            .map_err(|_| snow::Error::Decrypt)?;
        Ok(text.len())
    }
}

#[cfg(test)]
mod tests {
    use snow::resolvers::{CryptoResolver as _, DefaultResolver};

    use super::*;

    /// The RFCs' test vectors have nonces that no counter gives; the other implementation that
    /// snow brings is as good a witness.
    #[test]
    fn they_agree_with_the_other_implementation() {
        for choice in [CipherChoice::ChaChaPoly, CipherChoice::AESGCM] {
            let key = std::array::from_fn(|at| at as u8);
            let mut ours = SmallKey::new(choice);
            ours.set(&key);
            let mut theirs = DefaultResolver.resolve_cipher(&choice).expect("has it");
            theirs.set(&key);
            assert_eq!(ours.name(), theirs.name());
            for (counter, length) in [(0, 0), (1, 1), (2, 16), (1 << 40, 1000), (!1, 60_000)] {
                let text: Vec<u8> = (0..length).map(|at| at as u8).collect();
                let (mut a, mut b) = (vec![0; length + 20], vec![0; length + 20]);
                assert_eq!(ours.encrypt(counter, b"ad", &text, &mut a), length + NOISE_TAG);
                assert_eq!(theirs.encrypt(counter, b"ad", &text, &mut b), length + NOISE_TAG);
                assert!(a == b, "{length} bytes");
                let sealed = &a[..length + NOISE_TAG];
                let mut opened = vec![0; length];
                let result = ours.decrypt(counter, b"ad", sealed, &mut opened);
                assert_eq!(result.expect("opens"), length);
                assert!(opened == text);
                assert!(ours.decrypt(counter, b"da", sealed, &mut opened).is_err());
                assert!(ours.decrypt(counter ^ 1, b"ad", sealed, &mut opened).is_err());
            }
            assert!(ours.decrypt(0, b"", &[0; 15], &mut [0; 15]).is_err(), "shorter than its tag");
            assert!(ours.decrypt(0, b"", &[0; 20], &mut [0; 3]).is_err(), "no room");
        }
    }
}
