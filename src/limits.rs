//! Every bound and every deadline, with its reason. What a user has a reason to change is a key of
//! the configuration too; the constants here are then the defaults.

use std::time::Duration;

/// A ClientHello, from accept to its last byte: ten times what a bad mobile line needs.
pub const CLIENT_HELLO_TIME: Duration = Duration::from_secs(10);
/// The handshake message's bytes; post-quantum hellos are 2 KB, resumption tickets up to 16 KB.
pub const CLIENT_HELLO_BYTES: usize = 64 * 1024;
