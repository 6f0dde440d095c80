//! Every bound and every deadline, with its reason. What a user has a reason to change is a key of
//! the configuration too; the constants here are then the defaults.

use std::time::Duration;

/// A ClientHello, from accept to its last byte: ten times what a bad mobile line needs.
pub const CLIENT_HELLO_TIME: Duration = Duration::from_secs(10);
/// The handshake message's bytes; post-quantum hellos are 2 KB, resumption tickets up to 16 KB.
pub const CLIENT_HELLO_BYTES: usize = 64 * 1024;

/// Visitors in all, at most, where the descriptor limit allows as many: 64 MB at 1 KB each.
pub const MAX_VISITORS: usize = 65_536;
/// Visitors of one address: half of all, so that one stranger alone cannot fill the table, and a
/// carrier's NAT or a load test can still come from one address.
pub const MAX_VISITORS_PER_ADDRESS: usize = 32_768;

/// Between the server's pings on a native session.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// Silence after which the server counts as dead: two pings lost, and a slow line.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(25);
/// The longest pause before the client dials again: a line that is back is used in 5 s.
pub const RETRY_MAX: Duration = Duration::from_secs(5);
/// The first pause before the client dials again.
pub const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Silence before the first TCP keepalive probe; rathole's.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(20);
/// Between TCP keepalive probes; rathole's.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(8);
