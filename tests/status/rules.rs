//! What lies in `config/` for Prometheus and Grafana: promtool takes it, its alerts come when they
//! should, and it asks for nothing that underpass does not say.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use underpass::admin::metrics::Format;

use super::metrics::{series, shown, text};
use crate::support::statuses;

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), name].iter().collect()
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn promtool_takes_the_files_and_the_alerts_come() {
    for (about, what, file) in [
        ("check", "config", "config/prometheus/prometheus.yml"),
        ("check", "rules", "config/prometheus/underpass.rules.yml"),
        ("test", "rules", "tests/status/rules_test.yml"),
    ] {
        let output = Command::new("promtool").args([about, what]).arg(path(file)).output();
        let output = output.expect("promtool");
        assert!(output.status.success(), "{file}: {}", shown(&output));
    }
    // A rule without a test is none that is known to work.
    let tests = read("tests/status/rules_test.yml");
    let rules = read("config/prometheus/underpass.rules.yml");
    let alerts: Vec<_> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        assert!(tests.contains(alert), "{alert} has no test");
    }
}

#[test]
fn rules_and_dashboard_ask_for_what_there_is() {
    let names: BTreeSet<String> = [statuses::server(), statuses::client()]
        .into_iter()
        .flat_map(|status| series(&text(status, Format::Text)).into_keys())
        .map(|series| series.split('{').next().unwrap_or_default().to_owned())
        .collect();
    let rules = read("config/prometheus/underpass.rules.yml");
    let dashboard = read("config/grafana/underpass.json");
    let mut expressions = Vec::new();
    collect(&serde_json::from_str(&dashboard).expect("JSON"), &mut expressions);
    assert!(expressions.len() > 30, "{expressions:#?}");
    for (whose, text) in [("rules", rules), ("dashboard", expressions.join("\n"))] {
        let asked = metrics_in(&text);
        assert!(asked.len() > 10, "{whose}: {asked:?}");
        let unknown: Vec<_> = asked.difference(&names).collect();
        assert!(unknown.is_empty(), "{whose}: {unknown:?}");
    }
    // All but what only a histogram's parts are.
    let shown = metrics_in(&expressions.join("\n"));
    let part = |name: &str| ["_sum", "_count", "_bucket"].iter().any(|end| name.ends_with(end));
    let missing: Vec<_> = names.difference(&shown).filter(|name| !part(name)).collect();
    assert_eq!(missing, DASHBOARD_LEAVES_OUT, "add it to the dashboard, or here");
    let api = read("API.md");
    let untold: Vec<_> = names.iter().filter(|name| !part(name) && !api.contains(*name)).collect();
    assert!(untold.is_empty(), "not in API.md: {untold:?}");
}

/// Of the past reload the dashboard shows what came of it, and in a drain it is soon gone.
const DASHBOARD_LEAVES_OUT: [&str; 5] = [
    "underpass_config_last_reload_success_timestamp_seconds",
    "underpass_draining",
    "underpass_local_received_bytes_total",
    "underpass_local_sent_bytes_total",
    "underpass_local_visitors",
];

/// Each expression and each variable's query.
fn collect(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                match value.as_str() {
                    Some(text) if ["expr", "definition"].contains(&&**key) => out.push(text.into()),
                    _ => collect(value, out),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, out)),
        _ => {}
    }
}

/// Words that look like the names of ours.
fn metrics_in(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("underpass_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}
