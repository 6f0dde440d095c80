//! Users and the hashes of their passwords, as Apache's `htpasswd` writes them.
//!
//! A line is `USER:HASH`. Taken are bcrypt (`-B`), SHA-512 and SHA-256 crypt (`-5`, `-2`), apr1 MD5
//! (the default) and `{SHA}` (`-s`); refused are what is no hash (`-p`) and DES crypt (`-d`), of
//! which eight characters count. No error quotes a hash, and nothing here shows one.

mod crypt64;
mod hash;
mod md5_crypt;

use std::fmt;

use ring::digest::{Context, SHA256};
use subtle::Choice;

use hash::Hash;

pub use hash::BadHash;

/// Who may come in.
#[derive(Clone, Default)]
pub struct Users {
    /// No two of one name.
    users: Vec<User>,
    /// Of each scheme that is used, the first hash: see [`Users::is_right`].
    samples: Vec<Hash>,
}

#[derive(Clone)]
struct User {
    name: Box<str>,
    hash: Hash,
    /// Of both: another user, or another hash, has another one.
    mark: [u8; 32],
}

impl Users {
    /// Adds the user of a line.
    pub fn add(&mut self, line: &str) -> Result<(), BadLine> {
        let bad = |name: &str, what: What| Err(BadLine { user: shown(name), what });
        let line = line.trim();
        let Some((name, rest)) = line.split_once(':') else { return bad("", What::NoColon) };
        if name.is_empty() || name.len() > NAME_BYTES || name.contains(char::is_control) {
            return bad("", What::Name);
        }
        // Apache ignores what stands behind another colon.
        let text = rest.split(':').next().unwrap_or_default();
        let hash = Hash::parse(text).or_else(|why| {
            // As in a Compose file, where `$$` is a `$`.
            let halved = text.replace("$$", "$");
            Hash::parse(&halved).map_err(|_| why)
        });
        let hash = match hash {
            Ok(hash) => hash,
            Err(why) => return bad(name, What::Hash(why)),
        };
        if self.users.iter().any(|user| &*user.name == name) {
            return bad(name, What::Twice);
        }
        if self.users.len() == MOST_USERS {
            return bad(name, What::TooMany);
        }
        if self.samples.iter().all(|sample| sample.scheme() != hash.scheme()) {
            self.samples.push(hash.clone());
        }
        let mut mark = Context::new(&SHA256);
        mark.update(&(name.len() as u64).to_be_bytes());
        mark.update(name.as_bytes());
        hash.feed(&mut mark);
        self.users.push(User { name: name.into(), hash, mark: finish(mark) });
        Ok(())
    }

    /// Whether there is such a user with this password. It takes as long for a user whom there is
    /// not, or whose hash is a cheap one: a hash of each scheme that is used is made in any case.
    pub fn is_right(&self, name: &[u8], password: &[u8]) -> bool {
        let user = self.find(name);
        let mut is_right = Choice::from(0);
        for sample in &self.samples {
            let own = user.map(|user| &user.hash).filter(|own| own.scheme() == sample.scheme());
            let fits = own.unwrap_or(sample).is_of(password);
            is_right |= fits & Choice::from(u8::from(own.is_some()));
        }
        // In C a password ends at a zero: no hash is of one with a zero in it.
        bool::from(is_right) && !password.contains(&0)
    }

    /// Stands for the user with the hash that is stored; `None`: there is no such user.
    pub(super) fn mark(&self, name: &[u8]) -> Option<&[u8; 32]> {
        self.find(name).map(|user| &user.mark)
    }

    fn find(&self, name: &[u8]) -> Option<&User> {
        self.users.iter().find(|user| user.name.as_bytes() == name)
    }

    /// There is nobody.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.users.iter().map(|user| &*user.name)
    }

    /// Equal for equal users with equal hashes, and for no others.
    pub fn digest(&self) -> [u8; 32] {
        let mut whole = Context::new(&SHA256);
        for user in &self.users {
            whole.update(&user.mark);
        }
        finish(whole)
    }
}

fn finish(hash: Context) -> [u8; 32] {
    *hash.finish().as_ref().first_chunk().expect("SHA-256 has 32 bytes")
}

/// How many there are, and no more.
impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Users({})", self.users.len())
    }
}

/// Why a line is none. Its text names the user, if that is a plain word, and quotes nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    user: Option<String>,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    NoColon,
    Name,
    Hash(BadHash),
    Twice,
    TooMany,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "user {user}: ")?;
        }
        match self.what {
            What::NoColon => {
                f.write_str("a user's line is USER:HASH, as `htpasswd -nB USER` prints it")
            }
            What::Name => {
                write!(f, "a user's name has 1 to {NAME_BYTES} bytes and no control characters")
            }
            What::Hash(why) => why.fmt(f),
            What::Twice => f.write_str("there is a line of this user already"),
            What::TooMany => write!(f, "too many: there may be {MOST_USERS} users"),
        }
    }
}

impl std::error::Error for BadLine {}

/// A name that cannot be a slip: what else stands before a colon may be a secret.
fn shown(name: &str) -> Option<String> {
    let plain = |c: char| c.is_alphanumeric() || "._-@+".contains(c);
    let is_plain = !name.is_empty() && name.len() <= 64 && name.chars().all(plain);
    is_plain.then(|| name.to_owned())
}

/// As in `htpasswd`.
const NAME_BYTES: usize = 255;
/// Each is looked at in each check.
const MOST_USERS: usize = 1000;
