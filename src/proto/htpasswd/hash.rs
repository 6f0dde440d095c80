//! One hash of a password: read from its text, and compared with what a password gives.

use std::fmt;
use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, NO_PAD, STANDARD};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, digest};
use sha_crypt::{Params, sha256_crypt, sha512_crypt};
use subtle::{Choice, ConstantTimeEq as _};

use super::crypt64::{self, MD5, SHA256, SHA512};
use super::md5_crypt;

/// A hash and what it was made with. Not `Debug`: it can be guessed at.
#[derive(Clone)]
pub(super) struct Hash {
    scheme: Scheme,
    salt: Salt,
    /// As the scheme's text has it, but for bcrypt and `{SHA}`, whose bytes these are.
    digest: Box<[u8]>,
}

/// `bytes[..len]`, then zeroes.
#[derive(Clone, Copy)]
struct Salt {
    bytes: [u8; SALT_BYTES],
    /// `len <= SALT_BYTES`; bcrypt's is that.
    len: usize,
}

/// How a hash is made. Equal ones take the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    /// `$apr1$`
    Apr1,
    /// `$1$`, which differs from it in that name alone.
    Md5Crypt,
    /// `{SHA}`
    Sha1,
    /// `$5$`
    Sha256Crypt { rounds: Params },
    /// `$6$`
    Sha512Crypt { rounds: Params },
    /// `$2a$`, `$2b$`, `$2y$`: one scheme, under names that tell of bugs of former programs.
    Bcrypt { cost: u32 },
}

/// Why a text is no hash. Quotes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadHash {
    /// None that is known here.
    None,
    /// It looks like DES crypt.
    Des,
    /// It begins as one of these, and goes on otherwise.
    Broken(&'static str),
    /// More than a check may cost.
    Cost,
    /// The same for `$5$` and `$6$`, or less than these can have.
    Rounds,
}

impl Hash {
    pub(super) fn parse(text: &str) -> Result<Hash, BadHash> {
        if let Some(digest) = text.strip_prefix("{SHA}") {
            let digest = STANDARD.decode(digest).ok().filter(|digest| digest.len() == 20);
            let broken = BadHash::Broken("{SHA}");
            let digest = digest.ok_or(broken)?;
            return Hash::new(Scheme::Sha1, &[], digest).ok_or(broken);
        }
        let parts = text.strip_prefix('$').and_then(|text| text.split_once('$'));
        match parts {
            Some(("apr1", rest)) => crypt(Scheme::Apr1, "apr1", rest),
            Some(("1", rest)) => crypt(Scheme::Md5Crypt, "MD5 crypt", rest),
            Some(("5", rest)) => {
                let (rounds, rest) = rounds(rest, "SHA-256 crypt")?;
                crypt(Scheme::Sha256Crypt { rounds }, "SHA-256 crypt", rest)
            }
            Some(("6", rest)) => {
                let (rounds, rest) = rounds(rest, "SHA-512 crypt")?;
                crypt(Scheme::Sha512Crypt { rounds }, "SHA-512 crypt", rest)
            }
            Some(("2a" | "2b" | "2y", rest)) => bcrypt(rest),
            _ if text.len() == DES_BYTES && text.bytes().all(crypt64::has) => Err(BadHash::Des),
            _ => Err(BadHash::None),
        }
    }

    pub(super) fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whether it is of this password: slowly, and always as slowly. bcrypt looks at the first 72
    /// bytes, as it does everywhere.
    pub(super) fn is_of(&self, password: &[u8]) -> Choice {
        let salt = &self.salt.bytes[..self.salt.len];
        let made: Box<[u8]> = match self.scheme {
            Scheme::Apr1 => crypt64::write(&md5_crypt::digest("$apr1$", salt, password), &MD5),
            Scheme::Md5Crypt => crypt64::write(&md5_crypt::digest("$1$", salt, password), &MD5),
            Scheme::Sha1 => digest(&SHA1_FOR_LEGACY_USE_ONLY, password).as_ref().into(),
            Scheme::Sha256Crypt { rounds } => {
                crypt64::write(&sha256_crypt(password, salt, rounds), &SHA256)
            }
            Scheme::Sha512Crypt { rounds } => {
                crypt64::write(&sha512_crypt(password, salt, rounds), &SHA512)
            }
            Scheme::Bcrypt { cost } => bcrypt_digest(cost, self.salt.bytes, password),
        };
        made.ct_eq(&self.digest)
    }

    /// All of it, unambiguously.
    pub(super) fn feed(&self, into: &mut Context) {
        let Hash { scheme, salt, digest } = self;
        into.update(format!("{scheme:?} {}:", salt.len).as_bytes());
        into.update(&salt.bytes);
        into.update(digest); // of one length within a scheme
    }

    /// `None`: the salt is too long.
    fn new(scheme: Scheme, salt: &[u8], digest: impl Into<Box<[u8]>>) -> Option<Hash> {
        let mut bytes = [0; SALT_BYTES];
        bytes.get_mut(..salt.len())?.copy_from_slice(salt);
        Some(Hash { scheme, salt: Salt { bytes, len: salt.len() }, digest: digest.into() })
    }
}

/// `SALT$DIGEST`
fn crypt(scheme: Scheme, name: &'static str, text: &str) -> Result<Hash, BadHash> {
    let (salt_bytes, digest_bytes) = match scheme {
        Scheme::Apr1 | Scheme::Md5Crypt => (8, 22),
        Scheme::Sha256Crypt { .. } => (16, 43),
        Scheme::Sha512Crypt { .. } => (16, 86),
        Scheme::Sha1 | Scheme::Bcrypt { .. } => return Err(BadHash::Broken(name)),
    };
    let broken = BadHash::Broken(name);
    let (salt, digest) = text.split_once('$').ok_or(broken)?;
    let is_whole = salt.len() <= salt_bytes
        && salt.bytes().all(|byte| byte.is_ascii_graphic())
        && digest.len() == digest_bytes
        && digest.bytes().all(crypt64::has);
    let hash = is_whole.then(|| Hash::new(scheme, salt.as_bytes(), digest.as_bytes()));
    hash.flatten().ok_or(broken)
}

/// `rounds=N$`, which may be missing, and what follows.
fn rounds<'a>(text: &'a str, name: &'static str) -> Result<(Params, &'a str), BadHash> {
    let Some(text) = text.strip_prefix("rounds=") else { return Ok((Params::default(), text)) };
    let (number, rest) = text.split_once('$').ok_or(BadHash::Broken(name))?;
    let rounds = number.parse().ok().filter(|rounds| ROUNDS.contains(rounds));
    let rounds = rounds.and_then(|rounds| Params::new(rounds).ok());
    Ok((rounds.ok_or(BadHash::Rounds)?, rest))
}

/// `COST$`, 22 characters of salt and 31 of digest.
fn bcrypt(text: &str) -> Result<Hash, BadHash> {
    let broken = BadHash::Broken("bcrypt");
    let (cost, rest) = text.split_once('$').ok_or(broken)?;
    let is_number = cost.len() == 2 && cost.bytes().all(|byte| byte.is_ascii_digit());
    let cost = cost.parse().ok().filter(|_| is_number).ok_or(broken)?;
    let (salt, digest) = rest.split_at_checked(22).ok_or(broken)?;
    let decode = |text: &str, bytes: usize| {
        let decoded = BCRYPT.decode(text).ok().filter(|decoded| decoded.len() == bytes);
        decoded.ok_or(broken)
    };
    let (salt, digest) = (decode(salt, SALT_BYTES)?, decode(digest, BCRYPT_BYTES)?);
    match COST.contains(&cost) {
        true => Hash::new(Scheme::Bcrypt { cost }, &salt, digest).ok_or(broken),
        false => Err(BadHash::Cost),
    }
}

fn bcrypt_digest(cost: u32, salt: [u8; SALT_BYTES], password: &[u8]) -> Box<[u8]> {
    // The zero that ends a string in C counts, where there is room for it.
    let mut key = [0; 72];
    let len = password.len().min(key.len());
    key[..len].copy_from_slice(&password[..len]);
    let used = (len + 1).min(key.len());
    bcrypt::bcrypt(cost, salt, &key[..used])[..BCRYPT_BYTES].into()
}

impl fmt::Display for BadHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadHash::None => f.write_str(
                "what follows is no hash that is taken, and a password itself is not: \
                 `htpasswd -nB USER` makes a line (a `$` may have been lost where the line was \
                 taken for one with variables)",
            ),
            BadHash::Des => f.write_str(
                "DES crypt (`htpasswd -d`) is not taken: 8 characters of a password count, and all \
                 can be tried; `htpasswd -nB USER` makes a better line",
            ),
            BadHash::Broken(name) => write!(
                f,
                "the {name} hash is not whole or has more than belongs to it; `htpasswd -nB USER` \
                 makes a line"
            ),
            BadHash::Cost => write!(
                f,
                "bcrypt's cost must be {} to {}: each step more doubles the time of a check, which \
                 is seconds by then",
                COST.start(),
                COST.end(),
            ),
            BadHash::Rounds => {
                write!(f, "the rounds must be {} to {}", ROUNDS.start(), ROUNDS.end())
            }
        }
    }
}

/// Programs do not agree about the bits of the last character that mean nothing.
const BCRYPT: GeneralPurpose = GeneralPurpose::new(&alphabet::BCRYPT, LENIENT);
const LENIENT: GeneralPurposeConfig = NO_PAD.with_decode_allow_trailing_bits(true);
/// Two of salt, eleven of digest.
const DES_BYTES: usize = 13;
/// The least that bcrypt has, and some seconds.
const COST: RangeInclusive<u32> = 4..=16;
/// The longest salt, and bcrypt's.
const SALT_BYTES: usize = 16;
/// A byte less than it computes.
const BCRYPT_BYTES: usize = 23;
/// The least that crypt(3) has, and as long as the dearest of bcrypt.
const ROUNDS: RangeInclusive<u32> = 1000..=5_000_000;
