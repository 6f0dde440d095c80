//! HTTP/2 connection coalescing (RFC 9113 9.1.1): a browser that holds a connection to home A
//! sends home B's requests over it if A's certificate covers B's name, and bytes inside TLS cannot
//! be routed again. It takes a wildcard certificate, which covers one label.

use std::collections::{BTreeMap, BTreeSet};

use super::ServerConfig;
use crate::proto::route::{Condition, Entry};

impl ServerConfig {
    /// One warning for each name under which two services have theirs, so that a wildcard
    /// certificate of one home would cover the other's. For `check`; not a fault of the file.
    pub fn coalescing_warnings(&self) -> Vec<String> {
        let mut parents: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        let mut deep = Vec::new();
        for route in self.routes.list(Entry::Https) {
            // A regex, a single label, `**` and the fallback have no parent to name.
            let Some((first, parent)) = route.pattern.split_once('.') else { continue };
            // A browser's connection is one that offers h2.
            let without_h2 =
                matches!(route.condition, Some(Condition::Alpn(alpn)) if &**alpn != "h2");
            if first.starts_with('/') || !parent.contains('.') || without_h2 {
                continue;
            }
            parents.entry(parent).or_default().insert(route.service);
            if first == "**" {
                deep.push((parent, route.service));
            }
        }
        for (parent, services) in &mut parents {
            let below =
                |top: &str| parent.strip_suffix(top).is_some_and(|rest| rest.ends_with('.'));
            services.extend(deep.iter().filter(|(top, _)| below(top)).map(|(_, service)| service));
        }
        let shared = parents.into_iter().filter(|(_, services)| services.len() > 1);
        shared.map(|(parent, services)| self.explain(parent, &services)).collect()
    }

    fn explain(&self, parent: &str, services: &BTreeSet<usize>) -> String {
        let names: Vec<_> = services.iter().map(|&service| &*self.services[service].name).collect();
        format!(
            "services {} have names right under {parent}: a certificate for *.{parent} at one home \
             makes browsers send it the other's requests too (HTTP/2 connection coalescing); give \
             each home a certificate for its own names alone",
            names.join(", "),
        )
    }
}
