//! A token or a private key, which no log line can show.

use std::fmt;

use subtle::ConstantTimeEq as _;

/// Masks itself in `Debug` and `Display`. Two of them are compared in a time that tells nothing but
/// whether they are of one length.
#[derive(Clone)]
pub struct Secret(Box<[u8]>);

impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl Secret {
    /// Wraps the bytes.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Secret {
        Secret(bytes.into())
    }

    /// The bytes, for a proof or a handshake; never for a log or an error.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// The same for every secret, so that not even the length shows.
const MASK: &str = "MASKED";
