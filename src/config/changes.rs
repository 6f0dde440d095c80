//! What differs between two configurations, in words for the log: what a reload changes.

use std::fmt;

use super::{ClientConfig, ServerConfig};

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change(String);

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a running server changes when it gets `new` in the place of `old`.
pub fn server(old: &ServerConfig, new: &ServerConfig) -> Vec<Change> {
    let kinds = |config: &ServerConfig| -> Vec<_> {
        let services = config.services.iter();
        services.map(|service| (service.name.clone(), service.kind.as_str())).collect()
    };
    services(&kinds(old), &kinds(new))
}

/// What a running client changes when it gets `new` in the place of `old`.
pub fn client(old: &ClientConfig, new: &ClientConfig) -> Vec<Change> {
    let kinds = |config: &ClientConfig| -> Vec<_> {
        let services = config.services.iter();
        services.map(|service| (service.name.clone(), service.kind.as_str())).collect()
    };
    services(&kinds(old), &kinds(new))
}

/// Names and types: those that came, went, or are something else now.
fn services(old: &[(String, &'static str)], new: &[(String, &'static str)]) -> Vec<Change> {
    let find = |list: &[(String, &'static str)], name: &str| {
        list.iter().find(|(other, _)| other == name).map(|(_, kind)| *kind)
    };
    let mut changes = Vec::new();
    for (name, was) in old {
        match find(new, name) {
            None => changes.push(Change(format!("service {name} removed"))),
            Some(kind) if kind != *was => {
                changes.push(Change(format!("service {name}: type {kind} instead of {was}")));
            }
            Some(_) => {}
        }
    }
    for (name, _) in new {
        if find(old, name).is_none() {
            changes.push(Change(format!("service {name} added")));
        }
    }
    changes
}
