//! Noise: from the first handshake message to sealed frames, buffer to buffer.
//!
//! No prologue, empty payloads in handshake messages (as rathole 0.5 has it). The ephemeral key's
//! randomness is an argument, so that a simulated run repeats bit for bit.

use std::fmt;
use std::sync::Arc;

use snow::params::{CipherChoice, DHChoice, HashChoice, NoiseParams};
use snow::resolvers::{CryptoResolver, DefaultResolver, RingResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{HandshakeState, TransportState};

use super::cipher::SmallKey;
use super::dh::{Agreed, KeyPair, X25519};
use crate::config::{NoiseConfig, Transport};
use crate::wire::frame;

/// The longest handshake message that is taken: no pattern of 25519 needs half of it.
pub const MAX_HANDSHAKE_MESSAGE: usize = 512;

/// How the tunnel of one configuration is protected.
#[derive(Clone)]
pub enum Protection {
    /// Transport `tcp`.
    None,
    /// Transport `noise`; never empty. The server takes a client by any of them, the client
    /// tries one at a time.
    Noise(Arc<[Suite]>),
}

/// A pattern and the keys for it.
#[derive(Clone)]
pub struct Suite {
    params: NoiseParams,
    local_key: Option<KeyPair>,
    remote_public_key: Option<Vec<u8>>,
}

/// A private key's public one, on the curve 25519.
pub fn public_key(private: [u8; 32]) -> [u8; 32] {
    *KeyPair::new(private).public()
}

/// Which end of the tunnel we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client: speaks first.
    Initiator,
    /// The server.
    Responder,
}

/// Randomness for one handshake.
pub type Seed = [u8; 32];

/// Why a tunnel connection's bytes are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// A handshake message that does not fit the keys or the pattern.
    Handshake,
    /// The peer has another static key than the one configured.
    PeerKey,
    /// A message that does not decrypt.
    Decrypt,
    /// A message of no bytes: it says nothing, and rathole takes it for an end of file.
    Empty,
}

impl Protection {
    /// Checks patterns and keys together by setting handshakes up.
    pub fn new(transport: &Transport, side: Side) -> Result<Protection, String> {
        let Transport::Noise(config) = transport else { return Ok(Protection::None) };
        let mut suites = Vec::new();
        for pattern in &config.patterns {
            let suite = Suite::new(pattern, config)?;
            suite
                .handshake(side, [0; 32], &Agreed::default())
                .map_err(|error| error.to_string())?;
            suites.push(suite);
        }
        Ok(Protection::Noise(suites.into()))
    }

    /// How many patterns a client has to try.
    pub fn patterns(&self) -> usize {
        match self {
            Protection::None => 1,
            Protection::Noise(suites) => suites.len(),
        }
    }
}

impl Suite {
    fn new(pattern: &str, config: &NoiseConfig) -> Result<Suite, String> {
        let params: NoiseParams =
            pattern.parse().map_err(|_| format!("{pattern} is not a Noise pattern"))?;
        if params.handshake.pattern.is_oneway() {
            return Err(format!("{pattern} is for one direction only"));
        }
        let local_key = match &config.local_private_key {
            Some(key) => {
                let key = key.expose().try_into().map_err(|_| "local_private_key has 32 bytes")?;
                Some(KeyPair::new(key))
            }
            None => None,
        };
        Ok(Suite { params, local_key, remote_public_key: config.remote_public_key.clone() })
    }

    fn handshake(
        &self,
        side: Side,
        seed: Seed,
        agreed: &Agreed,
    ) -> Result<HandshakeState, snow::Error> {
        let ours = Ours { seed, own: self.local_key.clone(), agreed: agreed.clone() };
        let mut builder = snow::Builder::with_resolver(self.params.clone(), Box::new(ours));
        if let Some(key) = &self.local_key {
            builder = builder.local_private_key(key.private())?;
        }
        if let Some(key) = &self.remote_public_key {
            builder = builder.remote_public_key(key)?;
        }
        match side {
            Side::Initiator => builder.build_initiator(),
            Side::Responder => builder.build_responder(),
        }
    }
}

/// What protects one tunnel connection.
pub enum Channel {
    /// A server's before the first message: nothing has been computed for it.
    Awaiting(Box<Awaiting>),
    /// Messages are exchanged until both sides have the keys.
    Handshaking(Box<Handshake>),
    /// Bodies are Noise messages.
    Sealed(Box<TransportState>),
    /// Transport `tcp`: bodies are clear.
    Clear,
}

/// What a server needs to read a first message.
pub struct Awaiting {
    suites: Arc<[Suite]>,
    seed: Seed,
}

/// A handshake under way.
pub struct Handshake {
    state: HandshakeState,
    /// Who the peer must be, also where the pattern sends its key instead of presupposing it.
    peer_key: Option<Vec<u8>>,
}

/// A handshake's hash ties what is proved later to this very connection (Noise specification,
/// section 11.2). All zero without Noise.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HandshakeHash {
    bytes: [u8; 64],
}

impl HandshakeHash {
    /// Of a connection that had no handshake.
    pub const NONE: HandshakeHash = HandshakeHash { bytes: [0; 64] };

    /// 64 bytes; shorter hashes are padded with zeros.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Channel {
    /// A client's fresh connection; `pattern` is which one.
    pub fn initiate(
        protection: &Protection,
        pattern: usize,
        seed: Seed,
    ) -> Result<Channel, Reject> {
        match protection {
            Protection::None => Ok(Channel::Clear),
            Protection::Noise(suites) => {
                let suite = &suites[pattern % suites.len()];
                let state = suite.handshake(Side::Initiator, seed, &Agreed::default());
                Ok(Channel::shaking(suite, state.map_err(|_| Reject::Handshake)?))
            }
        }
    }

    /// A server's fresh connection. It costs next to nothing: keys are agreed on by
    /// [`Channel::read_handshake`].
    pub fn respond(protection: &Protection, seed: Seed) -> Channel {
        match protection {
            Protection::None => Channel::Clear,
            Protection::Noise(suites) => {
                Channel::Awaiting(Box::new(Awaiting { suites: Arc::clone(suites), seed }))
            }
        }
    }

    fn shaking(suite: &Suite, state: HandshakeState) -> Channel {
        let peer_key = suite.remote_public_key.clone();
        Channel::Handshaking(Box::new(Handshake { state, peer_key }))
    }

    /// Whether the first message is still to come, and the keys are to be agreed on with it.
    pub fn is_awaiting(&self) -> bool {
        matches!(self, Channel::Awaiting(_))
    }

    /// The hash, once the handshake is done; then messages can be sealed and opened.
    pub fn established(&mut self) -> Result<Option<HandshakeHash>, Reject> {
        let handshake = match self {
            Channel::Clear => return Ok(Some(HandshakeHash::NONE)),
            Channel::Handshaking(handshake) if handshake.state.is_handshake_finished() => handshake,
            Channel::Awaiting(_) | Channel::Handshaking(_) | Channel::Sealed(_) => return Ok(None),
        };
        let state = &handshake.state;
        let wanted = &handshake.peer_key;
        if let (Some(key), Some(wanted)) = (state.get_remote_static(), wanted)
            && key != wanted
        {
            return Err(Reject::PeerKey);
        }
        let mut bytes = [0; 64];
        let hash = state.get_handshake_hash();
        bytes[..hash.len()].copy_from_slice(hash);
        if let Channel::Handshaking(handshake) = std::mem::replace(self, Channel::Clear) {
            let state = handshake.state.into_transport_mode().map_err(|_| Reject::Handshake)?;
            *self = Channel::Sealed(Box::new(state));
        }
        Ok(Some(HandshakeHash { bytes }))
    }

    /// Handshake: takes the peer's message. A server with several patterns goes on with the first
    /// that the message fits.
    pub fn read_handshake(&mut self, message: &[u8]) -> Result<(), Reject> {
        let mut payload = [0; MAX_HANDSHAKE_MESSAGE];
        match self {
            Channel::Awaiting(awaiting) => {
                let Awaiting { suites, seed } = &mut **awaiting;
                let agreed = Agreed::default();
                let begun = suites.iter().find_map(|suite| {
                    let mut state = suite.handshake(Side::Responder, *seed, &agreed).ok()?;
                    state.read_message(message, &mut payload).ok()?;
                    Some(Channel::shaking(suite, state))
                });
                *self = begun.ok_or(Reject::Handshake)?;
                Ok(())
            }
            Channel::Handshaking(handshake) => {
                let read = handshake.state.read_message(message, &mut payload);
                read.map(|_| ()).map_err(|_| Reject::Handshake)
            }
            Channel::Sealed(_) | Channel::Clear => Err(Reject::Handshake),
        }
    }

    /// Handshake: appends our next message, framed, if it is our turn.
    pub fn write_handshake(&mut self, out: &mut Vec<u8>) -> Result<(), Reject> {
        let Channel::Handshaking(handshake) = self else { return Ok(()) };
        let state = &mut handshake.state;
        if state.is_handshake_finished() || !state.is_my_turn() {
            return Ok(());
        }
        let mut message = [0; MAX_HANDSHAKE_MESSAGE];
        let length = state.write_message(&[], &mut message).map_err(|_| Reject::Handshake)?;
        out.extend_from_slice(&frame::header(length));
        out.extend_from_slice(&message[..length]);
        Ok(())
    }

    /// Bytes that a frame takes around what is in it.
    pub fn overhead(&self) -> usize {
        match self {
            Channel::Clear => frame::HEADER,
            Channel::Awaiting(_) | Channel::Handshaking(_) | Channel::Sealed(_) => {
                frame::HEADER + frame::NOISE_TAG
            }
        }
    }

    /// Writes the frame of `clear`, at least one byte, to the front of `out`; returns its length.
    /// `out` has [`Channel::overhead`] bytes more than `clear`.
    pub fn seal(&mut self, clear: &[u8], out: &mut [u8]) -> Result<usize, Reject> {
        let (head, body) = out.split_at_mut(frame::HEADER);
        let length = match self {
            Channel::Clear => {
                body[..clear.len()].copy_from_slice(clear);
                clear.len()
            }
            Channel::Sealed(state) => {
                state.write_message(clear, body).map_err(|_| Reject::Decrypt)?
            }
            Channel::Awaiting(_) | Channel::Handshaking(_) => return Err(Reject::Handshake),
        };
        head.copy_from_slice(&frame::header(length));
        Ok(frame::HEADER + length)
    }

    /// Writes what is in `body` to the front of `out`, which is at least as long; returns its
    /// length, never 0.
    pub fn open(&mut self, body: &[u8], out: &mut [u8]) -> Result<usize, Reject> {
        let length = match self {
            Channel::Clear => {
                out[..body.len()].copy_from_slice(body);
                body.len()
            }
            Channel::Sealed(state) => state.read_message(body, out).map_err(|_| Reject::Decrypt)?,
            Channel::Awaiting(_) | Channel::Handshaking(_) => return Err(Reject::Handshake),
        };
        if length == 0 { Err(Reject::Empty) } else { Ok(length) }
    }
}

/// Hands out the seed once, since a handshake makes one ephemeral key; ciphers with small keys; and
/// keys that are not derived twice.
struct Ours {
    seed: Seed,
    own: Option<KeyPair>,
    agreed: Agreed,
}

impl CryptoResolver for Ours {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(OneKey(Some(self.seed))))
    }
    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        match choice {
            DHChoice::Curve25519 => {
                Some(Box::new(X25519::new(self.own.clone(), self.agreed.clone())))
            }
            _ => None,
        }
    }
    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        RingResolver.resolve_hash(choice).or_else(|| DefaultResolver.resolve_hash(choice))
    }
    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        Some(Box::new(SmallKey::new(*choice)))
    }
}

struct OneKey(Option<Seed>);

impl Random for OneKey {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), snow::Error> {
        let seed = self.0.take().ok_or(snow::Error::Rng)?;
        out.copy_from_slice(seed.get(..out.len()).ok_or(snow::Error::Rng)?);
        Ok(())
    }
}

impl fmt::Debug for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Protection::None => f.write_str("tcp"),
            Protection::Noise(suites) => {
                f.debug_list().entries(suites.iter().map(|suite| &suite.params.name)).finish()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    /// One message of a handshake, if it is `from`'s turn.
    fn step(from: &mut Channel, to: &mut Channel) {
        let mut bytes = Vec::new();
        from.write_handshake(&mut bytes).expect("write");
        if !bytes.is_empty() {
            to.read_handshake(&bytes[frame::HEADER..]).expect("read");
        }
    }

    /// Runs a whole handshake and returns both channels.
    fn pair(pattern: &str) -> (Channel, Channel) {
        let keys = || {
            let builder = snow::Builder::new(pattern.parse().expect("pattern"));
            builder.generate_keypair().expect("keypair")
        };
        let (server, client) = (keys(), keys());
        let suite = |own: &snow::Keypair, peer: Option<&snow::Keypair>| {
            let config = NoiseConfig {
                patterns: vec![pattern.to_owned()],
                local_private_key: Some(Secret::new(own.private.clone())),
                remote_public_key: peer.map(|peer| peer.public.clone()),
            };
            Protection::Noise([Suite::new(pattern, &config).expect("suite")].into())
        };
        let needs_initiator = pattern.contains("_KK");
        let initiator = suite(&client, Some(&server));
        let responder = suite(&server, needs_initiator.then_some(&client));
        let mut a = Channel::initiate(&initiator, 0, [3; 32]).expect("initiator");
        let mut b = Channel::respond(&responder, [4; 32]);
        let (mut hash_a, mut hash_b) = (None, None);
        while hash_a.is_none() || hash_b.is_none() {
            step(&mut a, &mut b);
            step(&mut b, &mut a);
            hash_a = hash_a.or_else(|| a.established().expect("the right key"));
            hash_b = hash_b.or_else(|| b.established().expect("the right key"));
        }
        assert!(hash_a == hash_b && hash_a != Some(HandshakeHash::NONE));
        (a, b)
    }

    #[test]
    fn patterns_agree_and_frames_come_back() {
        for pattern in [
            "Noise_NK_25519_ChaChaPoly_BLAKE2s",
            "Noise_NK_25519_AESGCM_SHA256",
            "Noise_XX_25519_ChaChaPoly_BLAKE2b",
            "Noise_KK_25519_AESGCM_SHA512",
            "Noise_IK_25519_ChaChaPoly_SHA256",
        ] {
            let (mut a, mut b) = pair(pattern);
            let mut framed = [0; 100];
            let length = a.seal(b"hello\x12", &mut framed).expect("seal");
            assert_eq!(length, 6 + a.overhead());
            let mut clear = [0; 100];
            let opened = b.open(&framed[frame::HEADER..length], &mut clear).expect("open");
            assert_eq!(&clear[..opened], b"hello\x12");
            framed[frame::HEADER] ^= 1;
            assert_eq!(b.open(&framed[frame::HEADER..length], &mut clear), Err(Reject::Decrypt));
        }
    }

    #[test]
    fn a_server_with_several_patterns_finds_the_one_that_is_meant() {
        let patterns = ["Noise_NK_25519_ChaChaPoly_BLAKE2s", "Noise_NK_25519_AESGCM_SHA256"];
        let keys = snow::Builder::new(patterns[0].parse().expect("pattern"));
        let keys = keys.generate_keypair().expect("keypair");
        let config = NoiseConfig {
            patterns: patterns.map(str::to_owned).to_vec(),
            local_private_key: Some(Secret::new(keys.private)),
            remote_public_key: Some(keys.public),
        };
        let transport = Transport::Noise(config);
        let server = Protection::new(&transport, Side::Responder).expect("both");
        let client = Protection::new(&transport, Side::Initiator).expect("both");
        assert_eq!(client.patterns(), 2);
        for pattern in 0..4 {
            let mut a = Channel::initiate(&client, pattern, [3; 32]).expect("initiator");
            let mut b = Channel::respond(&server, [4; 32]);
            assert!(b.is_awaiting() && b.established() == Ok(None), "nothing is decided yet");
            step(&mut a, &mut b);
            step(&mut b, &mut a);
            let hashes = (a.established().expect("done"), b.established().expect("done"));
            assert!(hashes.0.is_some() && hashes.0 == hashes.1, "pattern {pattern}");
        }
        // A message of neither.
        let mut b = Channel::respond(&server, [4; 32]);
        assert_eq!(b.read_handshake(&[7; 48]), Err(Reject::Handshake));
    }

    #[test]
    fn a_wrong_server_key_is_found_by_both_sides() {
        let pattern = "Noise_NK_25519_ChaChaPoly_BLAKE2s";
        let config = NoiseConfig {
            patterns: vec![pattern.to_owned()],
            local_private_key: None,
            remote_public_key: Some(vec![9; 32]),
        };
        let client = Protection::Noise([Suite::new(pattern, &config).expect("suite")].into());
        let private = Some(Secret::new(vec![7; 32]));
        let config = NoiseConfig { local_private_key: private, remote_public_key: None, ..config };
        let server = Protection::Noise([Suite::new(pattern, &config).expect("suite")].into());
        let mut a = Channel::initiate(&client, 0, [3; 32]).expect("initiator");
        let mut b = Channel::respond(&server, [4; 32]);
        let mut bytes = Vec::new();
        a.write_handshake(&mut bytes).expect("write");
        assert_eq!(b.read_handshake(&bytes[frame::HEADER..]), Err(Reject::Handshake));
    }
}
