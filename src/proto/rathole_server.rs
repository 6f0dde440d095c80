//! The server's side of a rathole control channel: who may have which service.
//!
//! ```text
//! client   hello(SHA-256(name))               auth
//! server                       hello(nonce)          ack   commands ...
//!          [nothing yet]       [Claim]               [ControlChannel]
//! ```
//!
//! The engine sends and receives; this decides. Nothing here depends on whether the service exists
//! until the client's auth is here: an answer before it could be hidden by the reset that closing
//! on unread bytes causes.

use std::time::Duration;

use super::keepalive::Keepalive;
use super::proof::{self, Mark, sha256};
use super::services::{ServiceId, Services};
use super::time::Time;
use crate::config::Secret;
use crate::wire::rathole::{Ack, Digest};

/// The name under which a service is asked for.
pub fn name_digest(name: &str) -> Digest {
    sha256(&[name.as_bytes()])
}

/// What proves a token for one control channel, and is then the key of its data channels.
pub fn session_key(token: &[u8], nonce: &Digest) -> Digest {
    sha256(&[token, nonce])
}

/// A client has asked for a service and was given a nonce.
pub struct Claim {
    /// The service, and what proves each of its tokens.
    wanted: Option<(ServiceId, Vec<(Digest, Mark)>)>,
}

/// Why a claim is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// What the client is told.
    pub ack: Ack,
    /// The service, if there is one of that name.
    pub service: Option<ServiceId>,
}

impl Claim {
    /// `nonce` is fresh randomness.
    pub fn new(name: &Digest, nonce: &Digest, services: &Services) -> Claim {
        let found = services.iter().find(|(_, service)| name_digest(&service.name) == *name);
        let wanted = found.map(|(id, service)| {
            let key =
                |token: &Secret| (session_key(token.expose(), nonce), proof::mark(token.expose()));
            (id, service.tokens.iter().map(key).collect())
        });
        Claim { wanted }
    }

    /// Judges the client's auth. `interval` is that of heartbeats.
    pub fn judge(
        &self,
        auth: &Digest,
        interval: Option<Duration>,
        now: Time,
    ) -> Result<ControlChannel, Refusal> {
        let Some((service, keys)) = &self.wanted else {
            return Err(Refusal { ack: Ack::NoSuchService, service: None });
        };
        let service = *service;
        let Some((key, token)) = keys.iter().find(|(key, _)| proof::matches(key, auth)).copied()
        else {
            return Err(Refusal { ack: Ack::WrongToken, service: Some(service) });
        };
        let pulse = Keepalive::new(interval, None, now);
        Ok(ControlChannel { service, token, key, pulse })
    }
}

/// A control channel whose client has proved its token.
pub struct ControlChannel {
    /// Its service.
    pub service: ServiceId,
    /// Of the token that was proved.
    pub token: Mark,
    key: Digest,
    /// Heartbeats; the client has no word to answer them with.
    pub pulse: Keepalive,
}

impl ControlChannel {
    /// Whether a data channel with this key is one of its own.
    pub fn owns(&self, key: &Digest) -> bool {
        proof::matches(&self.key, key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::proto::keepalive::Due;
    use crate::wire::rathole::{HELLO, Hello};

    /// What rathole 0.5.0 said, from tests/corpus.
    const HELLO_FOR_PI: &[u8; HELLO] =
        include_bytes!("../../tests/corpus/rathole/control_hello.bin");
    const NONCE: &[u8; HELLO] = include_bytes!("../../tests/corpus/rathole/server_hello.bin");
    const AUTH: &Digest = include_bytes!("../../tests/corpus/rathole/auth.bin");

    fn digest(hello: &[u8; HELLO]) -> Digest {
        match Hello::decode(hello) {
            Ok(Hello::Control(digest)) => digest,
            other => panic!("{other:?}"),
        }
    }

    fn services(name: &str, token: &str) -> Services {
        let text = format!(
            "[server]\nbind_addr = \"0.0.0.0:2333\"\ndefault_token = [\"new\", \"{token}\"]\n\
             [server.services.other]\nbind_addr = \"0.0.0.0:1\"\n\
             [server.services.{name}]\nbind_addr = \"0.0.0.0:2\"\n"
        );
        let config = Config::parse("test", &text, &|_| None).expect("a server's file");
        Services::new(&config.server.expect("a server").services)
    }

    #[test]
    fn rathole_s_own_proof_is_taken_for_its_service_nonce_and_token_alone() {
        let (name, nonce) = (digest(HELLO_FOR_PI), digest(NONCE));
        let judge = |services: &Services, nonce: &Digest, auth: &Digest| {
            let claim = Claim::new(&name, nonce, services);
            claim.judge(auth, None, Time::default()).map(|channel| (channel.service, channel))
        };
        let (service, channel) =
            judge(&services("pi", "token"), &nonce, AUTH).expect("the right one");
        assert_eq!(service, ServiceId::nth(1));
        assert_eq!(channel.token, proof::mark(b"token"));
        assert!(channel.owns(AUTH) && !channel.owns(&[0; 32]) && !channel.owns(&nonce));
        let refused = |services: &Services, nonce: &Digest, auth: &Digest| {
            judge(services, nonce, auth).err().expect("refused")
        };
        let wrong = Refusal { ack: Ack::WrongToken, service: Some(ServiceId::nth(1)) };
        assert_eq!(refused(&services("pi", "tokem"), &nonce, AUTH), wrong);
        assert_eq!(refused(&services("pi", "token"), &[1; 32], AUTH), wrong);
        assert_eq!(refused(&services("pi", "token"), &nonce, &nonce), wrong);
        let unknown = Refusal { ack: Ack::NoSuchService, service: None };
        assert_eq!(refused(&services("po", "token"), &nonce, AUTH), unknown);
    }

    #[test]
    fn heartbeats_come_each_interval_and_silence_is_no_death() {
        let start = Time::default();
        let interval = Duration::from_secs(30);
        let claim = Claim::new(&digest(HELLO_FOR_PI), &digest(NONCE), &services("pi", "token"));
        let Ok(mut channel) = claim.judge(AUTH, Some(interval), start) else {
            panic!("the right token");
        };
        assert_eq!(channel.pulse.poll(start + interval / 2), Due::Nothing);
        for beat in 1..100 {
            assert_eq!(channel.pulse.poll(start + interval * beat), Due::Ping);
        }
    }
}
