//! What is wrong with a file, and where: never a line of it or a value in it, which may be a token.

use std::fmt;

/// Shown as `server.toml:12: server.services.pi.token: what is wrong and what would be right`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file as the user named it.
    pub file: String,
    /// Counted from 1. What is absent has the line of the table that should hold it; `None`: the
    /// file as a whole.
    pub line: Option<usize>,
    /// With dots, from the root; empty where TOML itself is malformed.
    pub key: String,
    /// What is wrong and what would be right. Quotes keys, never values.
    pub reason: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl std::error::Error for ConfigError {}
