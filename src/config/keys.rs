//! Every key that a file may have: the one table of them. Reading refuses what is not here, an
//! unknown key's error knows what is near, and docs/reference.md is written from it (a test holds
//! both equal).
//!
//! Of each key: its name; what it takes; what counts where it is absent; when a change takes effect
//! on a reload; what it does. All but the name is for the reference alone, and not in releases.

/// The keys of one table of a file.
pub(super) struct Keys {
    /// The ones that it may have.
    pub(super) known: &'static [&'static str],
    /// The same table in the other role's file, and that role: a frequent slip.
    pub(super) elsewhere: Option<(&'static Keys, &'static str)>,
    /// Of each key what it takes, its default, when it takes effect, and what it does.
    #[cfg(any(test, feature = "demo"))]
    about: &'static [[&'static str; 4]],
}

macro_rules! keys {
    ($($table:ident: $([$name:literal, $takes:literal, $default:literal,
        $when:literal, $does:literal],)* $(elsewhere: $other:ident, $role:literal)?;)*) => {
        $(pub(super) static $table: Keys = Keys {
            known: &[$($name),*],
            elsewhere: keys!(@elsewhere $($other, $role)?),
            #[cfg(any(test, feature = "demo"))]
            about: &[$([$takes, $default, $when, $does]),*],
        };)*
    };
    (@elsewhere) => { None };
    (@elsewhere $other:ident, $role:literal) => { Some((&$other, $role)) };
}

keys! {
    ROOT:
        ["env_file", "file, or list", "none", "at once",
            "Where `${NAME}` is looked up after the environment: a file in Compose's format, \
             beside this one. It is read anew at each reload."],
        ["server", "table", "", "", ""],
        ["client", "table", "", "", ""],
    ;

    SERVER:
        ["bind_addr", "address, or list", "needed", "at once; what stays is not touched",
            "Where homes dial in. `[::]` is both families."],
        ["http_addr", "address, or list", "none", "at once; what stays is not touched",
            "Where visitors' plain HTTP comes in, routed by Host, request by request."],
        ["https_addr", "address, or list", "none", "at once; what stays is not touched",
            "Where visitors' TLS comes in, routed by SNI and passed through."],
        ["default_token", "text, or list", "none", "at once; who proved one that is gone loses it",
            "For services without a token of their own."],
        ["watch", "true or false", "true", "at once",
            "Take the file anew when it changes, or one that it names; else on SIGHUP alone."],
        ["transport", "table", "", "", ""],
        ["heartbeat_interval", "seconds", "10", "next handshake",
            "Between pings to each home; 0: none, and a home that is cut off is not noticed."],
        ["drain_time", "seconds, 0 to 600", "3", "at once",
            "What visitors have to come to an end when the program is told to stop."],
        ["congestion_control", "word", "`auto`", "next handshake, next visitor",
            "`auto`: BBR where the kernel lets this process; `system`; or the kernel's name of \
             one."],
        ["rathole", "true or false", "true", "next handshake", "Serve rathole's clients too."],
        ["services", "table", "", "", ""],
        ["limits", "table", "", "", ""],
        ["allow", "networks", "everybody", "next visitor, or request",
            "Who may come, to any service: the longest prefix of `allow` and `deny` decides."],
        ["deny", "networks", "nobody", "next visitor, or request", "Who may not."],
        ["max_visitors", "number", "65536", "next visitor, or request",
            "At once; the same as `server.limits.max_visitors`."],
        ["rate", "table", "", "", ""],
        ["bandwidth", "text: `20 MB/s`, `160 Mbit/s`", "none", "at once, for who is there too",
            "Each way, for all visitors together, shared fairly."],
        ["response_timeout", "seconds", "300", "next visitor, or request",
            "What a home may take to answer over plain HTTP; 0: as long as it likes."],
        ["idle_timeout", "seconds", "60", "next visitor, or request",
            "What a visitor may take between two requests over plain HTTP."],
        ["head_timeout", "seconds, 2 to 600", "10", "next visitor, or request",
            "For a whole ClientHello, or the head of a request."],
        ["trusted_proxies", "networks", "none", "next visitor, or request",
            "Load balancers: every connection from there begins with a PROXY header, which says \
             who the visitor is."],
        ["trusted_http_proxies", "networks", "none", "next visitor, or request",
            "HTTP proxies whose `X-Forwarded-*`, `X-Real-IP` and `Forwarded` are kept on \
             `http_addr`."],
        ["forwarded", "`x`, `rfc7239`, `both`, `none`", "`x`", "next visitor, or request",
            "How homes are told who asks over plain HTTP: `X-Forwarded-*` and `X-Real-IP`, or \
             `Forwarded`."],
        ["public_https_port", "port", "that of `https_addr`", "next visitor, or request",
            "Where visitors reach `https_addr`, for `redirect_https`."],
        ["error_pages", "table", "", "", ""],
        ["no_sni", "`alert` or `drop`", "`alert`", "next visitor",
            "For TLS visitors that send no name, without a service that has `fallback`."],
        ["unknown_sni", "`alert` or `drop`", "`alert`", "next visitor",
            "For TLS visitors whose name nobody has."],
        ["ssh_service", "a service's name", "none", "next visitor",
            "Gets the visitors of `https_addr` that speak SSH, or say nothing for `ssh_wait`; of \
             type `tcp`."],
        ["ssh_wait", "seconds", "2", "next visitor",
            "How long a visitor may say nothing before it goes to `ssh_service`."],
        ["access_log", "table", "", "", ""],
        ["admin", "table", "", "", ""],
        elsewhere: CLIENT, "client";

    RATE:
        ["per_second", "number", "needed", "next visitor, or request",
            "New connections, or requests over plain HTTP, of one network (an IPv4 address, an \
             IPv6 /64) in the long run."],
        ["burst", "number", "as `per_second`", "next visitor, or request",
            "At once, by a network that has not come for a while."],
    ;

    LIMITS:
        ["max_visitors", "number", "65536", "next visitor, or request",
            "Visitors at once; fewer where the descriptors are."],
        ["max_visitors_per_address", "number", "half of them", "next visitor, or request",
            "Of one network at once."],
        ["memory", "text: `64 MB`, 1 MB to 4 GB", "`64 MB`", "at once",
            "Bytes held for visitors who do not read, and until what they say is whole. Beyond it, \
             who stalls the longest goes."],
    ;

    ACCESS_LOG:
        ["path", "file", "`-`, standard output", "at once", "Where the lines go."],
        ["format", "`clf` or `json`", "`clf`", "at once", "As Traefik writes them, or JSON."],
    ;

    SERVER_ADMIN:
        ["bind_addr", "address, or list", "needed without `host`",
            "at once; what stays is not touched",
            "Where page, metrics and JSON are: `127.0.0.1:9333`, or `unix:/path` (mode 0660, no \
             password)."],
        ["host", "name", "none", "at once", "Also on `http_addr` under this name; needs users."],
        ["users", "htpasswd lines", "none", "at once; who has changed is asked anew",
            "Who may look, as `htpasswd -nb` prints them. Without any, only loopback and Unix \
             sockets are taken."],
        ["users_file", "file", "none", "at once; who has changed is asked anew",
            "The same in a file, beside this one."],
    ;

    CLIENT_ADMIN:
        ["bind_addr", "address, or list", "needed", "at once; what stays is not touched",
            "Where page, metrics and JSON are: `127.0.0.1:9333`, or `unix:/path` (mode 0660, no \
             password)."],
        ["users", "htpasswd lines", "none", "at once; who has changed is asked anew",
            "Who may look. Without any, only loopback and Unix sockets are taken."],
        ["users_file", "file", "none", "at once; who has changed is asked anew",
            "The same in a file, beside this one."],
        elsewhere: SERVER_ADMIN, "server";

    SERVER_SERVICE:
        ["type", "`tcp`, `udp`, `http`, `https`, `web`", "`tcp`",
            "at once, as if it went and another came",
            "`web` is http and https together, by names; tcp and udp have ports of their own."],
        ["token", "text, or list", "`default_token`",
            "at once; who proved one that is gone loses it",
            "Whoever proves it gets the service. A list takes each, for a change without a gap."],
        ["hosts", "patterns", "needed for names, without `fallback`",
            "next visitor, or request",
            "The names that lead here: `pi.example.com`, `*.x`, `**.x`, `/regex/`, `**`."],
        ["fallback", "true or false", "false", "next visitor, or request",
            "Take the visitors that send no name."],
        ["path_prefix", "path", "every path", "next visitor, or request",
            "Type http: requests for it and all below it; the longest wins. `/api*` is a text."],
        ["alpn", "text, or list", "any", "next visitor, or request",
            "Type https: visitors whose TLS offers this protocol, such as `acme-tls/1`."],
        ["redirect_https", "true, false, 301 or 308", "false", "next visitor, or request",
            "Send plain HTTP to https, but for ACME's HTTP-01. true is 308."],
        ["passthrough", "`sealed` or `raw`", "`sealed`", "next visitor, or request",
            "`raw`: what TLS visitors say is not encrypted once more, and moved by splice(2)."],
        ["postgres", "true or false", "false", "next visitor, or request",
            "Take its PostgreSQL visitors on `https_addr`, who ask in the clear first."],
        ["bind_addr", "address, range, or list", "needed for tcp and udp",
            "at once; what stays is not touched",
            "Its own ports: `0.0.0.0:5022`, `0.0.0.0:30000-30100`."],
        ["nodelay", "true or false", "true", "not used", "TCP_NODELAY is always on."],
        ["udp_idle_time", "seconds, 1 to 86400", "60", "at once",
            "Without a datagram, until a visitor's session ends."],
        ["udp_max_sessions", "number, 1 to 65535", "4096", "at once",
            "At once; the one that is idle for longest goes."],
        ["allow", "networks", "everybody", "next visitor, or request",
            "Who may come: the longest prefix of `allow` and `deny` decides."],
        ["deny", "networks", "nobody", "next visitor, or request", "Who may not."],
        ["max_visitors", "number", "no bound of its own", "next visitor, or request",
            "At once: connections, or requests under way over plain HTTP."],
        ["rate", "table", "", "", ""],
        ["bandwidth", "text: `20 MB/s`, `160 Mbit/s`", "none", "at once, for who is there too",
            "Each way, for the service as a whole, shared fairly."],
        ["response_timeout", "seconds", "as in `[server]`", "next visitor, or request",
            "What the home may take to answer over plain HTTP; 0: as long as it likes."],
        ["idle_timeout", "seconds", "as in `[server]`", "next visitor, or request",
            "What a visitor may take between two requests over plain HTTP."],
        ["balance", "`least`, `round_robin`, `source`", "none: the newest proof has it",
            "at once",
            "Up to 16 homes share the service: who has fewest visitors for its weight, by turns, \
             or one home for each visitor's network."],
        elsewhere: CLIENT_SERVICE, "client";

    HEALTH_CHECK:
        ["type", "`tcp` or `http`", "`tcp`", "at once", "How the client asks what runs at home."],
        ["path", "path", "`/`", "at once", "Type http: what is asked for."],
        ["host", "name", "that of `local_addr`", "at once", "Type http: its Host."],
        ["interval", "seconds", "10", "at once", "Between two looks."],
        ["timeout", "seconds", "3", "at once", "For one of them."],
        ["fall", "number, 1 to 100", "3", "at once", "Looks in a row that fail, until it is down."],
        ["rise", "number, 1 to 100", "2", "at once", "That succeed, until it is up again."],
    ;

    REMOTE:
        ["remote_addr", "host:port", "needed", "at once, for this server alone",
            "As in `[client]`: one of several servers that are not alike."],
        ["resolve", "`one` or `all`", "as in `[client]`", "at once, for this server alone",
            "As in `[client]`."],
        ["default_token", "text", "as in `[client]`", "at once, for this server alone",
            "For services without one of their own."],
        ["transport", "table", "", "", ""],
    ;

    ONE:
        ["type", "`noise` or `tcp`", "as in `[client]`", "at once, for this server alone",
            "`tcp` is a tunnel without encryption, with a warning."],
        ["tcp", "table", "", "", ""],
        ["noise", "table", "", "", ""],
    ;

    ONE_TCP:
        ["proxy", "`socks5://`, `http://`", "as in `[client]`", "at once, for this server alone",
            "The way to this server."],
    ;

    CLIENT:
        ["remote_addr", "host:port, or list", "needed without `servers`",
            "at once; the new session stands before the old goes",
            "The server's `bind_addr`; resolved again for each dial. A list: several servers, a \
             session with each."],
        ["servers", "table", "", "", ""],
        ["resolve", "`one` or `all`", "`one`",
            "at once; the new session stands before the old goes",
            "`all`: each address of the name is a server, looked up anew every 30 s."],
        ["protocol", "`native` or `rathole`", "`native`",
            "at once; the new session stands before the old goes",
            "`rathole`: the server is rathole 0.5."],
        ["default_token", "text", "none", "at once", "For services without one of their own."],
        ["watch", "true or false", "true", "at once",
            "Take the file anew when it changes, or one that it names; else on SIGHUP alone."],
        ["transport", "table", "", "", ""],
        ["heartbeat_timeout", "seconds", "25", "next handshake",
            "Of silence, after which the server is taken for dead; 0: never. 40 with protocol \
             rathole."],
        ["drain_time", "seconds, 0 to 600", "3", "at once",
            "What visitors have to come to an end when the program is told to stop."],
        ["congestion_control", "word", "`auto`", "next handshake, next visitor",
            "`auto`: BBR where the kernel lets this process; `system`; or the kernel's name of \
             one."],
        ["retry_interval", "seconds, 1 to 5", "1", "next handshake", "Before the first new dial."],
        ["prefer_ipv6", "true or false", "false", "next handshake",
            "Dial the server's IPv6 addresses first."],
        ["services", "table", "", "", ""],
        ["admin", "table", "", "", ""],
        elsewhere: SERVER, "server";

    CLIENT_SERVICE:
        ["type", "`tcp`, `udp`, `http`, `https`, `web`", "`tcp`",
            "at once, as if it went and another came", "As in the server's file."],
        ["token", "text", "`default_token`", "at once", "As in the server's file."],
        ["local_addr", "host, host:port, or range", "needed", "next visitor",
            "What answers at home. Of type web a host, whose ports 80 and 443 are meant."],
        ["local_http_addr", "host:port", "port 80 of `local_addr`", "next visitor",
            "Types web and http: where plain HTTP goes."],
        ["local_https_addr", "host:port", "port 443 of `local_addr`", "next visitor",
            "Types web and https: where TLS goes."],
        ["nodelay", "true or false", "true", "not used", "TCP_NODELAY is always on."],
        ["retry_interval", "seconds, 1 to 5", "as in `[client]`", "next handshake",
            "With protocol rathole alone: before the first new dial."],
        ["prefer_ipv6", "true or false", "false", "next visitor",
            "Dial IPv6 addresses of `local_addr` first."],
        ["proxy_protocol", "`v1` or `v2`", "none", "next visitor",
            "Tell the local server the visitor's address by a PROXY header; v2 for udp too."],
        ["udp_idle_time", "seconds, 1 to 86400", "60", "at once",
            "With protocol rathole alone; else the server's file says it."],
        ["udp_max_sessions", "number, 1 to 65535", "4096", "at once",
            "With protocol rathole alone; else the server's file says it."],
        ["weight", "number, 1 to 100", "1", "at once",
            "Where several homes share the service (`balance`): how much of it this one takes."],
        ["backup", "true or false", "false", "at once",
            "Take visitors only when no other home is well."],
        ["health_check", "table", "", "", ""],
        elsewhere: SERVER_SERVICE, "server";

    TRANSPORT:
        ["type", "`noise` or `tcp`", "`tcp`", "next handshake",
            "`tcp` is a tunnel without encryption, with a warning. At home a change takes effect \
             at once: the new session stands before the old goes. So does one of its keys."],
        ["tcp", "table", "", "", ""],
        ["tls", "table", "", "", ""],
        ["noise", "table", "", "", ""],
        ["websocket", "table", "", "", ""],
    ;

    TCP:
        ["nodelay", "true or false", "true", "not used", "TCP_NODELAY is always on."],
        ["keepalive_secs", "seconds", "20", "next handshake, next visitor",
            "Idle time before TCP's keepalive probes; 0: none."],
        ["keepalive_interval", "seconds", "8", "next handshake, next visitor",
            "Between the probes."],
        ["proxy", "`socks5://`, `http://`", "none", "at once",
            "At home: the way to the server, `socks5://user:password@host:1080`."],
    ;

    NOISE:
        ["pattern", "text, or list", "AES-GCM where both CPUs can, or ChaChaPoly", "next handshake",
            "Noise's name of the handshake: `Noise_NK_25519_ChaChaPoly_BLAKE2s`."],
        ["local_private_key", "32 bytes in base64", "needed by the server", "next handshake",
            "The server's private key, from `underpass --genkey`."],
        ["remote_public_key", "32 bytes in base64", "needed by the client", "next handshake",
            "The server's public key, from `underpass --genkey`."],
    ;

    TLS:
        ["hostname", "text", "none", "not used", "rathole's."],
        ["trusted_root", "text", "none", "not used", "rathole's."],
        ["pkcs12", "text", "none", "not used", "rathole's."],
        ["pkcs12_password", "text", "none", "not used", "rathole's."],
    ;

    WEBSOCKET:
        ["tls", "true or false", "false", "not used", "rathole's."],
    ;
}

/// Where each table may stand. `NAME` is a service's or a server's name.
#[cfg(any(test, feature = "demo"))]
const TABLES: &[(&str, &Keys)] = &[
    ("", &ROOT),
    ("server", &SERVER),
    ("server.limits", &LIMITS),
    ("server.rate", &RATE),
    ("server.transport", &TRANSPORT),
    ("server.transport.noise", &NOISE),
    ("server.transport.tcp", &TCP),
    ("server.transport.tls", &TLS),
    ("server.transport.websocket", &WEBSOCKET),
    ("server.admin", &SERVER_ADMIN),
    ("server.access_log", &ACCESS_LOG),
    ("server.services.NAME", &SERVER_SERVICE),
    ("server.services.NAME.rate", &RATE),
    ("client", &CLIENT),
    ("client.transport", &TRANSPORT),
    ("client.transport.noise", &NOISE),
    ("client.transport.tcp", &TCP),
    ("client.transport.tls", &TLS),
    ("client.transport.websocket", &WEBSOCKET),
    ("client.admin", &CLIENT_ADMIN),
    ("client.servers.NAME", &REMOTE),
    ("client.servers.NAME.transport", &ONE),
    ("client.servers.NAME.transport.noise", &NOISE),
    ("client.servers.NAME.transport.tcp", &ONE_TCP),
    ("client.services.NAME", &CLIENT_SERVICE),
    ("client.services.NAME.health_check", &HEALTH_CHECK),
];

/// The page of them all, docs/reference.md.
#[cfg(any(test, feature = "demo"))]
pub fn reference() -> String {
    let mut page = REFERENCE_HEAD.to_owned();
    for (table, keys) in TABLES {
        let title = if table.is_empty() { "At the top of a file" } else { &format!("[{table}]") };
        page += &format!("\n## {title}\n\n");
        page += "| key | takes | default | a change takes effect | what it does |\n";
        page += "| --- | --- | --- | --- | --- |\n";
        for (key, [takes, default, when, does]) in keys.known.iter().zip(keys.about) {
            if *takes != "table" {
                page += &format!("| `{key}` | {takes} | {default} | {when} | {does} |\n");
            }
        }
        if *table == "server" {
            page += "| `error_pages.STATUS` | file, `.html` or `.txt` | a page of ours | next \
                     visitor, or request | The page for 404, 503, …: up to 64 KB, beside this \
                     file. |\n";
        }
    }
    page
}

#[cfg(any(test, feature = "demo"))]
const REFERENCE_HEAD: &str = "\
# Every key

Written from the table that the program reads files by (`src/config/keys.rs`); a test holds them
equal. [config/server.toml](../config/server.toml) and [config/client.toml](../config/client.toml)
show them in place, and `underpass check FILE` says what is wrong with one, with file, line and key.

- An *address* is `0.0.0.0:443`, `[::]:443` (both families) or `127.0.0.1:9333`.
- *Networks* are a list of `192.0.2.0/24`, `2001:db8::/32` and single addresses.
- `${NAME}` in any text reads the environment, or `env_file`.
- No key needs a restart. \"A change takes effect\" says when one counts after a reload
  ([how](changing-the-file.md)); visitors and homes that it is not about notice nothing.
- MB is 1,000,000 bytes.
";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limits;

    #[test]
    fn every_key_is_told_once_and_whole() {
        for (table, keys) in TABLES {
            assert_eq!(keys.known.len(), keys.about.len());
            for (at, key) in keys.known.iter().enumerate() {
                assert!(!keys.known[..at].contains(key), "{table}.{key} twice");
                let [takes, rest @ ..] = keys.about[at];
                if takes == "table" {
                    let below = format!("{table}.{key}");
                    let below = below.trim_start_matches('.');
                    let is_below = |it: &str| it == below || it == format!("{below}.NAME");
                    let known = TABLES.iter().any(|(it, _)| is_below(it)) || *key == "error_pages";
                    assert!(known, "[{below}] has no keys here");
                } else {
                    assert!(rest.iter().all(|it| !it.is_empty()), "{table}.{key}");
                    assert!(!rest.concat().contains(['|', '\n']), "{table}.{key}");
                }
            }
        }
    }

    /// What reading takes where nothing is said.
    #[test]
    fn defaults_are_those_of_the_code() {
        let seconds = |time: Duration| time.as_secs().to_string();
        let defaults = [
            (&SERVER, "heartbeat_interval", seconds(limits::HEARTBEAT_INTERVAL)),
            (&SERVER, "drain_time", seconds(limits::DRAIN_TIME)),
            (&SERVER, "max_visitors", limits::MAX_VISITORS.to_string()),
            (&SERVER, "response_timeout", seconds(limits::HTTP_RESPONSE_TIME)),
            (&SERVER, "idle_timeout", seconds(limits::HTTP_IDLE_TIME)),
            (&SERVER, "head_timeout", seconds(limits::HEAD_TIME)),
            (&SERVER, "ssh_wait", seconds(limits::SSH_WAIT)),
            (&LIMITS, "max_visitors", limits::MAX_VISITORS.to_string()),
            (&LIMITS, "memory", format!("`{} MB`", limits::MEMORY / 1_000_000)),
            (&SERVER_SERVICE, "udp_idle_time", seconds(limits::UDP_IDLE_TIME)),
            (&SERVER_SERVICE, "udp_max_sessions", limits::UDP_SESSIONS.to_string()),
            (&CLIENT, "heartbeat_timeout", seconds(limits::HEARTBEAT_TIMEOUT)),
            (&CLIENT, "drain_time", seconds(limits::DRAIN_TIME)),
            (&CLIENT, "retry_interval", seconds(limits::RETRY_INTERVAL)),
            (&CLIENT_SERVICE, "udp_idle_time", seconds(limits::UDP_IDLE_TIME)),
            (&CLIENT_SERVICE, "udp_max_sessions", limits::UDP_SESSIONS.to_string()),
            (&TCP, "keepalive_secs", seconds(limits::KEEPALIVE_IDLE)),
            (&TCP, "keepalive_interval", seconds(limits::KEEPALIVE_INTERVAL)),
        ];
        for (keys, key, default) in defaults {
            let at = keys.known.iter().position(|known| *known == key).expect(key);
            assert_eq!(keys.about[at][1], default, "{key}");
        }
    }
}
