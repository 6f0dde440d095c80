//! One hash of a password: read from its text, and compared with what a password gives.

use std::fmt;
use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, NO_PAD, STANDARD};
use sha2::{Digest as _, Sha256};

/// A hash and what it was made with. Not `Debug`: it can be guessed at.
#[derive(Clone)]
pub(super) struct Hash {
    scheme: Scheme,
    salt: Box<[u8]>,
    /// As the scheme's text has it, but for bcrypt and `{SHA}`, whose bytes these are.
    digest: Box<[u8]>,
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
    Sha256Crypt { rounds: u32 },
    /// `$6$`
    Sha512Crypt { rounds: u32 },
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
            let digest = digest.ok_or(BadHash::Broken("{SHA}"))?;
            return Ok(Hash { scheme: Scheme::Sha1, salt: [].into(), digest: digest.into() });
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
            _ if text.len() == DES_BYTES && text.bytes().all(is_crypt64) => Err(BadHash::Des),
            _ => Err(BadHash::None),
        }
    }

    pub(super) fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// All of it, unambiguously.
    pub(super) fn feed(&self, into: &mut Sha256) {
        let (number, cost) = match self.scheme {
            Scheme::Apr1 => (0, 0),
            Scheme::Md5Crypt => (1, 0),
            Scheme::Sha1 => (2, 0),
            Scheme::Sha256Crypt { rounds } => (3, rounds),
            Scheme::Sha512Crypt { rounds } => (4, rounds),
            Scheme::Bcrypt { cost } => (5, cost),
        };
        into.update([number, self.salt.len() as u8]); // salts are short
        into.update(cost.to_be_bytes());
        into.update(&self.salt);
        into.update(&self.digest); // of one length within a scheme
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
        && digest.bytes().all(is_crypt64);
    match is_whole {
        true => Ok(Hash { scheme, salt: salt.as_bytes().into(), digest: digest.as_bytes().into() }),
        false => Err(broken),
    }
}

/// `rounds=N$`, which may be missing, and what follows.
fn rounds<'a>(text: &'a str, name: &'static str) -> Result<(u32, &'a str), BadHash> {
    let Some(text) = text.strip_prefix("rounds=") else { return Ok((USUAL_ROUNDS, text)) };
    let (number, rest) = text.split_once('$').ok_or(BadHash::Broken(name))?;
    match number.parse() {
        Ok(rounds) if ROUNDS.contains(&rounds) => Ok((rounds, rest)),
        _ => Err(BadHash::Rounds),
    }
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
        decoded.map(Vec::into_boxed_slice).ok_or(broken)
    };
    let (salt, digest) = (decode(salt, 16)?, decode(digest, 23)?);
    match COST.contains(&cost) {
        true => Ok(Hash { scheme: Scheme::Bcrypt { cost }, salt, digest }),
        false => Err(BadHash::Cost),
    }
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

/// The alphabet of crypt(3).
fn is_crypt64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/')
}

/// Programs do not agree about the bits of the last character that mean nothing.
const BCRYPT: GeneralPurpose = GeneralPurpose::new(&alphabet::BCRYPT, LENIENT);
const LENIENT: GeneralPurposeConfig = NO_PAD.with_decode_allow_trailing_bits(true);
/// Two of salt, eleven of digest.
const DES_BYTES: usize = 13;
/// The least that bcrypt has, and some seconds.
const COST: RangeInclusive<u32> = 4..=16;
/// What no number means.
const USUAL_ROUNDS: u32 = 5000;
/// The least that crypt(3) has, and as long as the dearest of bcrypt.
const ROUNDS: RangeInclusive<u32> = 1000..=5_000_000;
