//! `/metrics` as texts: Debian's promtool has nothing to say of the classic form, and the strict
//! parser of Prometheus' Python client reads the other one.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use underpass::admin::metrics::{Format, Scrape};
use underpass::status::{ClientStatus, Count, ServerStatus, Status, Traffic};

use crate::support::statuses::{self, NOW};

pub(crate) fn text(status: Status, format: Format) -> String {
    Scrape::new(Arc::new(status), format).collect()
}

/// Both roles as they are in a test, after a start, and with a thousand services.
fn all() -> [(&'static str, Status); 5] {
    [
        ("a server", statuses::server()),
        ("a client", statuses::client()),
        ("an empty server", Status::Server(ServerStatus::default())),
        ("an empty client", Status::Client(ClientStatus::default())),
        ("a thousand services", statuses::crowd(1000)),
    ]
}

#[test]
fn promtool_has_nothing_to_say() {
    for (name, status) in all() {
        let output = pipe("promtool", &["check", "metrics"], &text(status, Format::Text));
        assert_eq!(shown(&output), "", "{name}");
        assert!(output.status.success(), "{name}");
    }
    // Nor is it silent of anything.
    let output = pipe("promtool", &["check", "metrics"], "# TYPE a_total gauge\na_total 1\n");
    assert!(shown(&output).contains("no help text") && !output.status.success());
}

#[test]
fn a_strict_parser_reads_the_same_from_either_form() {
    const PARSE: &str = "\
import sys
from prometheus_client.parser import text_string_to_metric_families as classic
from prometheus_client.openmetrics.parser import text_string_to_metric_families as strict
for family in (strict if sys.argv[1] == 'strict' else classic)(sys.stdin.read()):
    for sample in family.samples:
        labels = sorted((k, float(v) if k == 'le' else v) for k, v in sample.labels.items() if v)
        print(sample.name, labels, float(sample.value))
";
    for (name, status) in all() {
        let read = |form: &str, format| {
            let text = text(status.clone(), format);
            let output = pipe("/usr/bin/python3", &["-c", PARSE, form], &text);
            assert!(output.status.success(), "{name}, {form}: {}", shown(&output));
            let mut lines: Vec<_> = shown(&output).lines().map(str::to_owned).collect();
            let sum = lines.len();
            lines.sort_unstable();
            lines.dedup();
            assert_eq!(sum, lines.len(), "{name}, {form}: a series twice");
            lines
        };
        let (strict, classic) =
            (read("strict", Format::OpenMetrics), read("classic", Format::Text));
        assert_eq!(strict, classic, "{name}");
        assert!(strict.len() > 13, "{name}: {strict:#?}");
    }
}

#[test]
fn each_number_is_the_snapshots() {
    for (status, lines) in [
        (
            statuses::server(),
            &[
                r#"underpass_build_info{version="0.1.0",role="server"} 1"#,
                r#"underpass_config_reloads_total{result="failure"} 1"#,
                r#"underpass_config_last_reload_successful 0"#,
                r#"underpass_service_online{service="cabin",type="https"} 0"#,
                r#"underpass_service_online{service="pi-ssh",type="tcp"} 1"#,
                r#"underpass_active_visitors{service="pi"} 3"#,
                r#"underpass_waiting_visitors{service="pi"} 1"#,
                r#"underpass_visitors_total{service="pi",entry="https",end="done"} 2000"#,
                r#"underpass_visitors_total{service="",entry="https",end="no_name"} 23"#,
                r#"underpass_responses_total{service="pi",entry="http",class="2xx"} 1001"#,
                r#"underpass_received_bytes_total{service="pi-ssh",entry="tcp"} 300001"#,
                r#"underpass_sent_bytes_total{service="pi",entry="http"} 10000002"#,
                r#"underpass_link_wait_seconds_sum{service="pi",entry="http"} 125.0"#,
                r#"underpass_link_wait_seconds_bucket{service="pi",entry="http",le="0.0025"} 21"#,
                r#"underpass_link_wait_seconds_bucket{service="pi",entry="http",le="+Inf"} 186"#,
                r#"underpass_link_wait_seconds_count{service="pi",entry="http"} 186"#,
                r#"underpass_homes 2"#,
                r#"underpass_home_links{state="spare"} 13"#,
                r#"underpass_home_round_trip_seconds{service="pi"} 0.0213"#,
                r#"underpass_home_least_round_trip_seconds{service="pi-ssh"} 0.0187"#,
                r#"underpass_home_reconnects_total{service="pi"} 2"#,
                r#"underpass_tunnel_rejected_total{reason="wrong_token"} 41"#,
                r#"process_open_fds 97"#,
                r#"process_cpu_seconds_total 12.34"#,
            ][..],
        ),
        (
            statuses::client(),
            &[
                r#"underpass_build_info{version="0.1.0",role="client"} 1"#,
                r#"underpass_server_state{server="old.example.com:2333",state="waiting"} 1"#,
                r#"underpass_server_state{server="old.example.com:2333",state="connected"} 0"#,
                r#"underpass_server_sessions_total{server="vps.example.com:2333"} 3"#,
                r#"underpass_server_links{server="vps.example.com:2333",state="used"} 4"#,
                r#"underpass_service_registered{service="nas",server="vps.example.com:2333"} 0"#,
                r#"underpass_service_registered{service="pi",server="vps.example.com:2333"} 1"#,
                r#"underpass_local_answers{service="nas"} 0"#,
                r#"underpass_local_dials_total{service="nas",result="unreachable"} 3"#,
                r#"underpass_local_visitors{service="pi"} 3"#,
                r#"underpass_local_sent_bytes_total{service="pi"} 6789012"#,
            ],
        ),
    ] {
        let text = text(status, Format::Text);
        let have: BTreeSet<&str> = text.lines().collect();
        for line in lines {
            assert!(have.contains(line), "{line}\nis not in\n{text}");
        }
    }
    let text = text(statuses::server(), Format::OpenMetrics);
    assert!(text.contains(
        "\n# HELP underpass_received_bytes Bytes from visitors, as read from their sockets.\n\
         # TYPE underpass_received_bytes counter\n# UNIT underpass_received_bytes bytes\n\
         underpass_received_bytes_total{service=\"pi\",entry=\"http\"} 100001\n"
    ));
    assert!(text.ends_with("\n# EOF\n"), "{text}");
}

/// The number of series does not grow with what visitors and strangers do, and nothing that they
/// choose is a label.
#[test]
fn labels_are_of_the_file() {
    let Status::Server(mut status) = statuses::server() else { panic!("a server") };
    let before = series(&text(Status::Server(status.clone()), Format::Text));
    let before: Vec<_> = before.keys().cloned().collect();
    for number in 0..1000_u32 {
        let mut failure = status.failures[0].clone();
        failure.name = format!("stranger-{number}");
        failure.visitor = format!("192.0.2.{}", number % 256);
        failure.service = None;
        status.failures.push(failure);
        let mut home = status.homes[0].clone();
        home.address = format!("203.0.113.1:{number}");
        home.program = format!("underpass {number}");
        status.homes.push(home);
    }
    status.tunnel.wrong_tokens += 1_000_000;
    let after = series(&text(Status::Server(status), Format::Text));
    let after: Vec<_> = after.keys().cloned().collect();
    assert_eq!(before, after);
    assert!(after.iter().all(|name| !name.contains("192.0.2") && !name.contains("203.0.113")));
}

#[test]
fn a_label_may_hold_anything() {
    let hostile = "a\"b\\c\nd{} 1\n# EOF\n\u{1b}[2J\u{202e}é";
    let Status::Server(mut status) = statuses::server() else { panic!("a server") };
    status.services[0].name = hostile.to_owned();
    status.strays.push(Traffic {
        entry: "http".to_owned(),
        ends: vec![Count { kind: "done".to_owned(), count: 1 }],
        ..Traffic::default()
    });
    let text = text(Status::Server(status), Format::Text);
    let line =
        "underpass_active_visitors{service=\"a\\\"b\\\\c\\nd{} 1\\n# EOF\\n\u{1b}[2J\u{202e}é\"} 3";
    assert!(text.lines().any(|have| have == line), "{text}");
    let output = pipe("promtool", &["check", "metrics"], &text);
    assert_eq!(shown(&output), "");
}

/// One that is being left may be of a server that stays.
#[test]
fn a_server_is_there_once() {
    let Status::Client(mut status) = statuses::client() else { panic!("a client") };
    let mut left = status.servers[0].clone();
    left.state = "leaving".to_owned();
    left.sessions = 99;
    status.servers.insert(0, left);
    let mut with = status.services[0].registrations[0].clone();
    with.state = "withdrawn".to_owned();
    status.services[0].registrations.insert(0, with);
    let series = series(&text(Status::Client(status), Format::Text));
    let server = r#"server="vps.example.com:2333""#;
    assert_eq!(series[&format!("underpass_server_sessions_total{{{server}}}")], "3");
    let registered = format!("underpass_service_registered{{service=\"pi\",{server}}}");
    assert_eq!(series[&registered], "1");
}

/// Several homes with one service are one series: the worst of them.
#[test]
fn a_service_at_two_homes_has_one_round_trip() {
    let Status::Server(mut status) = statuses::server() else { panic!("a server") };
    let mut other = status.homes[0].clone();
    other.round_trip_seconds = Some(0.5);
    other.services = vec!["pi".to_owned(), "not in the file".to_owned()];
    status.homes.push(other);
    let text = text(Status::Server(status), Format::Text);
    let series = series(&text);
    assert_eq!(series[r#"underpass_home_round_trip_seconds{service="pi"}"#], "0.5");
    assert_eq!(series[r#"underpass_home_round_trip_seconds{service="pi-ssh"}"#], "0.0213");
    assert!(!text.contains("not in the file"));
}

/// So that the loop has its turns: what is made at a time does not grow with the services.
#[test]
fn a_slice_is_small_however_many_services_there_are() {
    let status = Arc::new(statuses::crowd(1000));
    for format in [Format::Text, Format::OpenMetrics] {
        let slices: Vec<_> = Scrape::new(Arc::clone(&status), format).collect();
        let longest = slices.iter().map(String::len).max();
        assert!(longest < Some(200_000), "{longest:?}");
        assert!(slices.len() > 150, "{}", slices.len());
        let mut heads = BTreeSet::new();
        for line in slices.iter().flat_map(|slice| slice.lines()) {
            assert!(!line.starts_with('#') || heads.insert(line.to_owned()), "twice: {line}");
        }
    }
}

/// A form's numbers by their names and labels; each once.
pub(crate) fn series(text: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').expect("a name and a number");
        let former = all.insert(name.to_owned(), value.to_owned());
        assert_eq!(former, None, "{name} twice");
    }
    assert!(all.len() > 10, "{text}");
    all
}

pub(crate) fn pipe(program: &str, args: &[&str], input: &str) -> Output {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().expect("it is piped");
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input.as_bytes()));
        child.wait_with_output().expect("an output")
    })
}

pub(crate) fn shown(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

#[test]
fn times_are_since_1970() {
    let series = series(&text(statuses::server(), Format::Text));
    let number = |name: &str| series[name].parse::<f64>().expect("a number");
    assert_eq!(number("process_start_time_seconds"), NOW - 345_600.0);
    let loaded = number("underpass_config_last_reload_success_timestamp_seconds");
    assert_eq!(loaded, NOW - 3_600.0);
}
