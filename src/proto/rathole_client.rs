//! The client's side of a rathole control channel: proves the token of its one service, and is
//! then told when to dial data channels.
//!
//! ```text
//! client   hello(SHA-256(name))               auth
//! server                       hello(nonce)          ack   commands ...
//! due                          Hello                 Ack   Command
//! ```
//!
//! The engine sends and receives; this decides.

use std::time::Duration;

use super::keepalive::Keepalive;
use super::rathole_server::{name_digest, session_key};
use super::time::Time;
use crate::config::ClientService;
use crate::wire::rathole::{Ack, Command, Digest, HELLO, Hello, Reject, TAG};

/// A channel that has stood for so long was of use: a failure after it is the first again.
/// rathole's.
const STOOD: Duration = Duration::from_secs(3);

/// A control channel from its hello on.
pub struct ControlChannel {
    step: Step,
    /// The server's heartbeats; the client has no word of its own.
    pub pulse: Keepalive,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Hello,
    Ack { key: Digest },
    Up { key: Digest, since: Time },
}

/// What the server has to say next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Its hello, for [`ControlChannel::handle_hello`].
    Hello,
    /// Its ack, for [`ControlChannel::handle_ack`].
    Ack,
    /// A command, for [`ControlChannel::handle_command`].
    Command,
}

/// What goes out first.
pub fn hello(service: &ClientService) -> [u8; HELLO] {
    Hello::Control(name_digest(&service.name)).encode()
}

impl ControlChannel {
    /// The hello has been sent. `timeout`: silence after which the server counts as dead.
    pub fn new(timeout: Option<Duration>, now: Time) -> ControlChannel {
        ControlChannel { step: Step::Hello, pulse: Keepalive::new(None, timeout, now) }
    }

    /// What the server has to say next.
    pub fn due(&self) -> Due {
        match self.step {
            Step::Hello => Due::Hello,
            Step::Ack { .. } => Due::Ack,
            Step::Up { .. } => Due::Command,
        }
    }

    /// The server's hello: what proves `token`, to be sent.
    pub fn handle_hello(&mut self, bytes: &[u8; HELLO], token: &[u8]) -> Result<Digest, Reject> {
        let Hello::Control(nonce) = Hello::decode(bytes)? else { return Err(Reject::UnknownTag) };
        let key = session_key(token, &nonce);
        self.step = Step::Ack { key };
        Ok(key)
    }

    /// The server's ack: after `Ok` the channel is up, else the server closes it.
    pub fn handle_ack(&mut self, bytes: [u8; TAG], now: Time) -> Result<Ack, Reject> {
        let ack = Ack::decode(bytes)?;
        if let (Ack::Ok, Step::Ack { key }) = (ack, self.step) {
            self.step = Step::Up { key, since: now };
            self.pulse.heard(now);
        }
        Ok(ack)
    }

    /// A command; each is a sign of life.
    pub fn handle_command(&mut self, bytes: [u8; TAG], now: Time) -> Result<Command, Reject> {
        self.pulse.heard(now);
        Command::decode(bytes)
    }

    /// The hello of a data channel, while the control channel is up.
    pub fn data_hello(&self) -> Option<[u8; HELLO]> {
        match self.step {
            Step::Up { key, .. } => Some(Hello::Data(key).encode()),
            Step::Hello | Step::Ack { .. } => None,
        }
    }

    /// Whether the server has taken our token.
    pub fn is_up(&self) -> bool {
        self.due() == Due::Command
    }

    /// Whether it has been up for so long that a pause before the next one need not grow.
    pub fn has_stood(&self, now: Time) -> bool {
        matches!(self.step, Step::Up { since, .. } if now - since >= STOOD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // What rathole 0.5.0 said, from tests/corpus.
    const NONCE: &[u8; HELLO] = include_bytes!("../../tests/corpus/rathole/server_hello.bin");
    const AUTH: &Digest = include_bytes!("../../tests/corpus/rathole/auth.bin");
    const TOKEN: &[u8] = b"token";

    #[test]
    fn a_channel_comes_up_as_rathole_s_own_client_does() {
        let start = Time::default();
        let mut channel = ControlChannel::new(Some(Duration::from_secs(40)), start);
        assert_eq!((channel.due(), channel.data_hello()), (Due::Hello, None));
        assert_eq!(channel.handle_hello(NONCE, TOKEN), Ok(*AUTH));
        assert_eq!((channel.due(), channel.data_hello()), (Due::Ack, None));
        let up = start + Duration::from_secs(1);
        assert_eq!(channel.handle_ack([0; TAG], up), Ok(Ack::Ok));
        assert_eq!(channel.due(), Due::Command);
        assert_eq!(channel.data_hello(), Some(Hello::Data(*AUTH).encode()));
        assert!(!channel.has_stood(up) && channel.has_stood(up + STOOD));
        let later = up + Duration::from_secs(30);
        assert_eq!(channel.handle_command([1, 0, 0, 0], later), Ok(Command::Heartbeat));
        assert_eq!(channel.pulse.deadline(), Some(later + Duration::from_secs(40)));
        assert_eq!(channel.handle_command([2, 0, 0, 0], later), Err(Reject::UnknownTag));
    }

    #[test]
    fn a_refusal_leaves_it_down() {
        for (bytes, ack) in [([1, 0, 0, 0], Ack::NoSuchService), ([2, 0, 0, 0], Ack::WrongToken)] {
            let mut channel = ControlChannel::new(None, Time::default());
            channel.handle_hello(NONCE, TOKEN).expect("a hello");
            assert_eq!(channel.handle_ack(bytes, Time::default()), Ok(ack));
            assert_eq!((channel.due(), channel.data_hello()), (Due::Ack, None));
        }
        let mut channel = ControlChannel::new(None, Time::default());
        let data = Hello::Data(*AUTH).encode();
        assert_eq!(channel.handle_hello(&data, TOKEN), Err(Reject::UnknownTag));
    }
}
