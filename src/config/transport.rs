//! `[server.transport]` and `[client.transport]`.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use snow::params::{DHChoice, HandshakeModifier, HandshakePattern, NoiseParams};

use super::error::ConfigError;
use super::raw::{Keys, Place, Section, Text};
use super::{Congestion, Keepalive, NoiseConfig, Proxy, Secret, TcpOptions, Transport};
use crate::limits;

/// Whose file, or whose half of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Server,
    Client,
    /// A client with `protocol = "rathole"`.
    RatholeClient,
}

/// The transport of `[server]` or `[client]`.
pub(super) fn read(
    parent: &Section<'_>,
    role: Role,
    warnings: &mut Vec<String>,
) -> Result<(Transport, TcpOptions), ConfigError> {
    let open = parent.place.below("transport");
    let congestion = read_congestion(parent)?;
    let Some(section) = parent.section("transport", &TRANSPORT_KEYS)? else {
        warnings.push(open.warning(UNENCRYPTED));
        return Ok((Transport::Tcp, TcpOptions { congestion, ..DEFAULT_TCP }));
    };
    let tcp = match section.section("tcp", &TCP_KEYS)? {
        Some(section) => read_tcp(&section, role, warnings)?,
        None => DEFAULT_TCP,
    };
    let tcp = TcpOptions { congestion, ..tcp };
    check_unused(&section, warnings)?;
    Ok((read_type(&section, role, warnings)?, tcp))
}

/// What one of a client's servers has of its own: its transport, its proxy.
pub(super) fn read_one(
    parent: &Section<'_>,
    role: Role,
    warnings: &mut Vec<String>,
) -> Result<(Option<Transport>, Option<Proxy>), ConfigError> {
    let Some(section) = parent.section("transport", &ONE_KEYS)? else { return Ok((None, None)) };
    let proxy = match section.section("tcp", &ONE_TCP_KEYS)? {
        Some(tcp) => tcp.text("proxy")?.map(|text| Proxy::parse(&text)).transpose()?,
        None => None,
    };
    let has_own = section.has("type") || section.has("noise");
    let transport = has_own.then(|| read_type(&section, role, warnings)).transpose()?;
    Ok((transport, proxy))
}

fn read_type(
    section: &Section<'_>,
    role: Role,
    warnings: &mut Vec<String>,
) -> Result<Transport, ConfigError> {
    let transport = match section.text("type")? {
        Some(text) => match &*text.value {
            "noise" => Transport::Noise(read_noise(section, role, warnings)?),
            "tcp" => Transport::Tcp,
            "tls" => return Err(text.place.error(format!("TLS {USE_NOISE}"))),
            "websocket" => return Err(text.place.error(format!("WebSocket {USE_NOISE}"))),
            _ => return Err(text.place.error("must be noise or tcp")),
        },
        None => Transport::Tcp,
    };
    if matches!(transport, Transport::Tcp) {
        warnings.push(section.place_of("type").warning(UNENCRYPTED));
        if section.has("noise") {
            // Its keys are checked all the same: `type` may be the slip.
            section.section("noise", &NOISE_KEYS)?;
            warnings.push(section.place_of("noise").warning("not used: type is not noise"));
        }
    }
    Ok(transport)
}

/// `auto`, `system`, or a name as the kernel has them.
fn read_congestion(parent: &Section<'_>) -> Result<Congestion, ConfigError> {
    let Some(text) = parent.text("congestion_control")? else { return Ok(Congestion::Auto) };
    let is_of_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    match &*text.value {
        "auto" => Ok(Congestion::Auto),
        "system" => Ok(Congestion::System),
        name if (1..CONGESTION_NAME).contains(&name.len()) && name.bytes().all(is_of_name) => {
            Ok(Congestion::Named(name.to_owned()))
        }
        _ => Err(text.place.error(
            "must be auto, system or one of /proc/sys/net/ipv4/tcp_available_congestion_control",
        )),
    }
}

fn read_tcp(
    section: &Section<'_>,
    role: Role,
    warnings: &mut Vec<String>,
) -> Result<TcpOptions, ConfigError> {
    let mut proxy = section.text("proxy")?.map(|text| Proxy::parse(&text)).transpose()?;
    if role == Role::Server && proxy.take().is_some() {
        warnings.push(section.place_of("proxy").warning("not used: the server dials nobody"));
    }
    let seconds = |key, least, default| -> Result<Duration, ConfigError> {
        Ok(section.number(key, least..=KEEPALIVE_MAX)?.map_or(default, Duration::from_secs))
    };
    let idle = seconds("keepalive_secs", 0, limits::KEEPALIVE_IDLE)?;
    let interval = seconds("keepalive_interval", 1, limits::KEEPALIVE_INTERVAL)?;
    section.check_nodelay(warnings)?;
    let keepalive = (!idle.is_zero()).then_some(Keepalive { idle, interval });
    Ok(TcpOptions { keepalive, proxy, congestion: Congestion::Auto })
}

/// Transports that rathole has and this program has not: their tables load, with a warning.
fn check_unused(section: &Section<'_>, warnings: &mut Vec<String>) -> Result<(), ConfigError> {
    if let Some(tls) = section.section("tls", &TLS_KEYS)? {
        for key in TLS_KEYS.known {
            tls.text(key)?;
        }
        warnings.push(tls.place.warning("not used: type is not tls"));
    }
    if let Some(websocket) = section.section("websocket", &WEBSOCKET_KEYS)? {
        websocket.flag("tls")?;
        warnings.push(websocket.place.warning("not used: type is not websocket"));
    }
    Ok(())
}

fn read_noise(
    transport: &Section<'_>,
    role: Role,
    warnings: &mut Vec<String>,
) -> Result<NoiseConfig, ConfigError> {
    let Some(section) = transport.section("noise", &NOISE_KEYS)? else {
        return Err(transport.place_of("noise").error(missing_table(role)));
    };
    let initiator = role != Role::Server;
    let mut private = read_key(&section, "local_private_key")?;
    let public = read_key(&section, "remote_public_key")?;
    let patterns = read_patterns(&section, role)?;
    for (_, handshake, place) in &patterns {
        if private.is_none() && handshake.needs_local_static_key(initiator) {
            let place = section.place_of("local_private_key");
            if handshake.need_known_remote_pubkey(!initiator) {
                let reason = "missing: this side's private key, from `underpass --genkey`";
                return Err(place.error(reason));
            }
            private = Some(make_key().map_err(|error| place.error(error.to_string()))?);
            warnings.push(place.warning("missing: a key is made up for this run, as rathole does"));
        }
        if public.is_none() && handshake.need_known_remote_pubkey(initiator) {
            let whose = if initiator { "server" } else { "client" };
            let reason = format!("missing: the {whose}'s public key, from `underpass --genkey`");
            return Err(section.place_of("remote_public_key").error(reason));
        }
        if initiator && !handshake.need_known_remote_pubkey(initiator) {
            let warning = "this pattern does not prove the server to the client; NK does";
            warnings.push(place.warning(warning));
        }
    }
    Ok(NoiseConfig {
        patterns: patterns.into_iter().map(|(pattern, ..)| pattern).collect(),
        local_private_key: private.map(Secret::new),
        remote_public_key: public,
    })
}

/// The patterns, in the order in which they are tried.
fn read_patterns(
    section: &Section<'_>,
    role: Role,
) -> Result<Vec<(String, HandshakePattern, Place)>, ConfigError> {
    let mut patterns = Vec::new();
    for Text { value, place } in section.texts("pattern")? {
        patterns.push((value.clone(), check_pattern(&value, &place)?, place));
    }
    if patterns.is_empty() {
        let place = section.place_of("pattern");
        for pattern in default_patterns(role) {
            patterns.push(((*pattern).to_owned(), check_pattern(pattern, &place)?, place.clone()));
        }
    }
    if let Some((_, others)) = patterns.split_last() {
        for (_, handshake, place) in others {
            if role == Role::Server && !handshake.need_known_remote_pubkey(true) {
                let reason = "must stand last: the first message of any client fits it";
                return Err(place.error(reason));
            }
        }
    }
    Ok(patterns)
}

/// rathole's pattern, and the same with AES-GCM where the processor has instructions for it, which
/// is half the work. A client tries that one first. A server looks for rathole's first: a rathole
/// client greets it for every visitor, a native one seldom.
fn default_patterns(role: Role) -> &'static [&'static str] {
    match (role, has_aes()) {
        // rathole's server has one pattern, and this is its default.
        (Role::RatholeClient, _) | (_, false) => &[CHACHA_PATTERN],
        (Role::Server, true) => &[CHACHA_PATTERN, AES_PATTERN],
        (Role::Client, true) => &[AES_PATTERN, CHACHA_PATTERN],
    }
}

/// Whether the processor has instructions for AES-GCM.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes")
        && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

/// The name of a handshake that this build can run.
fn check_pattern(pattern: &str, place: &Place) -> Result<HandshakePattern, ConfigError> {
    let params: NoiseParams = pattern.parse().map_err(|_| {
        place.error(format!("not the name of a Noise protocol, such as {CHACHA_PATTERN}"))
    })?;
    let handshake = &params.handshake;
    let psk = |modifier: &HandshakeModifier| matches!(modifier, HandshakeModifier::Psk(_));
    if handshake.modifiers.list.iter().any(psk) {
        return Err(place.error("psk patterns have no key here: tokens prove the client; use NK"));
    }
    if !handshake.modifiers.list.is_empty() {
        return Err(place.error("patterns with modifiers are not supported; use NK"));
    }
    if handshake.pattern.is_oneway() {
        return Err(place.error("a one-way pattern cannot carry answers; use NK"));
    }
    let pattern = handshake.pattern;
    if params.dh != DHChoice::Curve25519 {
        let reason = "this build has no such curve, cipher or hash; 25519, ChaChaPoly or AESGCM, \
                      and BLAKE2s or SHA256 work";
        return Err(place.error(reason));
    }
    Ok(pattern)
}

/// 32 bytes in rathole's base64, the standard alphabet with padding.
fn read_key(section: &Section<'_>, key: &str) -> Result<Option<Vec<u8>>, ConfigError> {
    let Some(text) = section.text(key)? else { return Ok(None) };
    match STANDARD.decode(text.value.trim()) {
        Ok(bytes) if bytes.len() == KEY_BYTES => Ok(Some(bytes)),
        Ok(_) | Err(_) => {
            let reason = "must be a key of 32 bytes in base64, as `underpass --genkey` prints it";
            Err(text.place.error(reason))
        }
    }
}

/// For a pattern that sends this side's key along, so that nobody needs to know it before.
fn make_key() -> Result<Vec<u8>, getrandom::Error> {
    let mut key = vec![0; KEY_BYTES];
    getrandom::fill(&mut key).map(|()| key)
}

fn missing_table(role: Role) -> &'static str {
    match role {
        Role::Server => "missing: a table with local_private_key, from `underpass --genkey`",
        Role::Client | Role::RatholeClient => {
            "missing: a table with remote_public_key, the server's public key"
        }
    }
}

/// A year: no sum of times overflows.
pub(super) const SECONDS_MAX: u64 = 365 * 24 * 60 * 60;
/// Linux's bound on both times (`MAX_TCP_KEEPIDLE`, `MAX_TCP_KEEPINTVL`).
const KEEPALIVE_MAX: u64 = 32_767;
/// Linux's bound on a name, its end included (`TCP_CA_NAME_MAX`).
const CONGESTION_NAME: usize = 16;
const KEY_BYTES: usize = 32;
/// rathole's.
const CHACHA_PATTERN: &str = "Noise_NK_25519_ChaChaPoly_BLAKE2s";
const AES_PATTERN: &str = "Noise_NK_25519_AESGCM_BLAKE2s";
const UNENCRYPTED: &str = "the tunnel is not encrypted; type = \"noise\" is";
const USE_NOISE: &str =
    "as a transport is not supported; use type = \"noise\", with keys from `underpass --genkey`";
const DEFAULT_TCP: TcpOptions = TcpOptions {
    keepalive: Some(Keepalive {
        idle: limits::KEEPALIVE_IDLE,
        interval: limits::KEEPALIVE_INTERVAL,
    }),
    proxy: None,
    congestion: Congestion::Auto,
};

pub(super) const TRANSPORT_KEYS: Keys =
    Keys { known: &["type", "tcp", "tls", "noise", "websocket"], elsewhere: None };
pub(super) const TCP_KEYS: Keys =
    Keys { known: &["nodelay", "keepalive_secs", "keepalive_interval", "proxy"], elsewhere: None };
/// Those of one of a client's servers.
pub(super) const ONE_KEYS: Keys = Keys { known: &["type", "tcp", "noise"], elsewhere: None };
pub(super) const ONE_TCP_KEYS: Keys = Keys { known: &["proxy"], elsewhere: None };
pub(super) const NOISE_KEYS: Keys =
    Keys { known: &["pattern", "local_private_key", "remote_public_key"], elsewhere: None };
pub(super) const TLS_KEYS: Keys =
    Keys { known: &["hostname", "trusted_root", "pkcs12", "pkcs12_password"], elsewhere: None };
pub(super) const WEBSOCKET_KEYS: Keys = Keys { known: &["tls"], elsewhere: None };
