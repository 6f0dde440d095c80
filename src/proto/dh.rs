//! X25519 for Noise (RFC 7748), without what was computed before.
//!
//! snow derives a key pair's public half for each handshake, and a server that tries one pattern
//! after the other agrees anew for each. The static key's public half is derived once here, and
//! what it agrees on with a peer is remembered for the next pattern.

use std::sync::{Arc, Mutex, PoisonError};

use curve25519_dalek::montgomery::MontgomeryPoint;
use snow::types::{Dh, Random};

/// A key, private or public, or a secret that two have agreed on.
pub(super) type Key = [u8; 32];

/// A key and its public half.
#[derive(Clone)]
pub(super) struct KeyPair {
    private: Key,
    public: Key,
}

/// What a static key has agreed on last in one handshake, and with whom.
#[derive(Clone, Default)]
pub(super) struct Agreed(Arc<Mutex<Option<(Key, Key)>>>);

impl KeyPair {
    /// Derives the public half.
    pub(super) fn new(private: Key) -> KeyPair {
        KeyPair { private, public: MontgomeryPoint::mul_base_clamped(private).to_bytes() }
    }

    /// The private half.
    pub(super) fn private(&self) -> &Key {
        &self.private
    }

    /// The public half.
    pub(super) fn public(&self) -> &Key {
        &self.public
    }
}

/// A key of a handshake: the static one, or an ephemeral one.
pub(super) struct X25519 {
    pair: KeyPair,
    /// The static key, should it be set, and whether it is.
    own: Option<KeyPair>,
    is_own: bool,
    agreed: Agreed,
}

impl X25519 {
    /// No key yet. `own` is the static one that may come.
    pub(super) fn new(own: Option<KeyPair>, agreed: Agreed) -> X25519 {
        let pair = KeyPair { private: [0; 32], public: [0; 32] };
        X25519 { pair, own, is_own: false, agreed }
    }
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, private: &[u8]) {
        let private = *private.first_chunk().expect("a key of 32 bytes");
        let own = self.own.clone().filter(|own| own.private == private);
        self.is_own = own.is_some();
        self.pair = own.unwrap_or_else(|| KeyPair::new(private));
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        let mut private = [0; 32];
        rng.try_fill_bytes(&mut private)?;
        (self.pair, self.is_own) = (KeyPair::new(private), false);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.pair.public
    }

    fn privkey(&self) -> &[u8] {
        &self.pair.private
    }

    fn dh(&self, peer: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let peer = *peer.first_chunk().ok_or(snow::Error::Dh)?;
        let agree = || MontgomeryPoint(peer).mul_clamped(self.pair.private).to_bytes();
        let secret = if self.is_own { self.agreed.with(peer, agree) } else { agree() };
        out[..secret.len()].copy_from_slice(&secret);
        Ok(())
    }
}

impl Agreed {
    fn with(&self, peer: Key, agree: impl FnOnce() -> Key) -> Key {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *last {
            Some((with, secret)) if with == peer => secret,
            _ => last.insert((peer, agree())).1,
        }
    }
}

#[cfg(test)]
mod tests {
    use snow::params::DHChoice;
    use snow::resolvers::{CryptoResolver as _, DefaultResolver};

    use super::*;

    struct Fixed(Key);

    impl Random for Fixed {
        fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), snow::Error> {
            out.copy_from_slice(&self.0);
            Ok(())
        }
    }

    #[test]
    fn it_agrees_with_the_other_implementation() {
        let keys: Vec<Key> =
            (0..8_u8).map(|seed| std::array::from_fn(|i| seed ^ i as u8)).collect();
        let agreed = Agreed::default();
        for private in &keys {
            let own = KeyPair::new(keys[0]);
            let mut theirs = DefaultResolver.resolve_dh(&DHChoice::Curve25519).expect("has it");
            theirs.set(private);
            let mut set = X25519::new(Some(own.clone()), agreed.clone());
            set.set(private);
            let mut generated = X25519::new(Some(own), agreed.clone());
            generated.generate(&mut Fixed(*private)).expect("randomness");
            for ours in [&set, &generated] {
                assert_eq!((ours.pubkey(), ours.privkey()), (theirs.pubkey(), theirs.privkey()));
                // Twice each, and others in between: what is remembered is of the same peer.
                for peer in keys.iter().chain(&keys).flat_map(|peer| [peer, peer]) {
                    let (mut a, mut b) = ([0; 32], [0; 32]);
                    ours.dh(peer, &mut a).expect("agrees");
                    theirs.dh(peer, &mut b).expect("agrees");
                    assert_eq!(a, b);
                }
            }
        }
        assert!(X25519::new(None, agreed).dh(&[0; 31], &mut [0; 32]).is_err());
    }

    #[test]
    fn what_a_static_key_has_agreed_on_is_not_computed_twice() {
        let agreed = Agreed::default();
        assert_eq!(agreed.with([1; 32], || [2; 32]), [2; 32]);
        assert_eq!(agreed.with([1; 32], || unreachable!("it is known")), [2; 32]);
        assert_eq!(agreed.with([3; 32], || [4; 32]), [4; 32]);
    }
}
