//! Every key that a file may have, from the tables that reading goes by: what a list of them for
//! people must have.

use super::raw::Keys;
use super::{ROOT_KEYS, admin, client, remote, server, sharing, transport, visitors};

/// Each key with dots. `NAME` is a service's or a server's name, `STATUS` a page's.
pub fn all() -> Vec<String> {
    let mut all = vec!["server.error_pages.STATUS".to_owned()];
    for (table, keys) in TABLES {
        for key in keys.known {
            let path = if table.is_empty() { (*key).to_owned() } else { format!("{table}.{key}") };
            let below = format!("{path}.");
            let is_table = TABLES.iter().any(|(table, _)| format!("{table}.").starts_with(&below));
            if !is_table && path != "server.error_pages" {
                all.push(path);
            }
        }
    }
    all
}

/// Where each table may stand.
const TABLES: &[(&str, &Keys)] = &[
    ("", &ROOT_KEYS),
    ("server", &server::KEYS),
    ("server.rate", &visitors::RATE_KEYS),
    ("server.limits", &server::LIMIT_KEYS),
    ("server.access_log", &server::ACCESS_LOG_KEYS),
    ("server.admin", &admin::SERVER_ADMIN_KEYS),
    ("server.transport", &transport::TRANSPORT_KEYS),
    ("server.transport.tcp", &transport::TCP_KEYS),
    ("server.transport.noise", &transport::NOISE_KEYS),
    ("server.transport.tls", &transport::TLS_KEYS),
    ("server.transport.websocket", &transport::WEBSOCKET_KEYS),
    ("server.services.NAME", &server::SERVICE_KEYS),
    ("server.services.NAME.rate", &visitors::RATE_KEYS),
    ("client", &client::KEYS),
    ("client.admin", &admin::CLIENT_ADMIN_KEYS),
    ("client.transport", &transport::TRANSPORT_KEYS),
    ("client.transport.tcp", &transport::TCP_KEYS),
    ("client.transport.noise", &transport::NOISE_KEYS),
    ("client.transport.tls", &transport::TLS_KEYS),
    ("client.transport.websocket", &transport::WEBSOCKET_KEYS),
    ("client.servers.NAME", &remote::KEYS),
    ("client.servers.NAME.transport", &transport::ONE_KEYS),
    ("client.servers.NAME.transport.tcp", &transport::ONE_TCP_KEYS),
    ("client.servers.NAME.transport.noise", &transport::NOISE_KEYS),
    ("client.services.NAME", &client::SERVICE_KEYS),
    ("client.services.NAME.health_check", &sharing::HEALTH_CHECK_KEYS),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// A table that reading knows, and this list does not, would be missed.
    #[test]
    fn every_table_of_the_sources_is_here() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config");
        let sources = fs::read_dir(folder)
            .expect("the sources")
            .map(|file| fs::read_to_string(file.expect("a file").path()).expect("UTF-8"));
        let tables: usize = sources
            .map(|text| {
                text.matches(concat!("_KEYS: ", "Keys")).count()
                    + text.matches(concat!("const KEYS: ", "Keys")).count()
                    + text.matches(concat!("_KEYS: raw::", "Keys")).count()
            })
            .sum();
        let known: HashSet<Vec<&str>> =
            TABLES.iter().map(|(_, keys)| keys.known.to_vec()).collect();
        assert_eq!(known.len(), tables);
    }
}
