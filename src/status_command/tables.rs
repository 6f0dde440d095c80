//! A snapshot as tables for people, in 80 columns.
//!
//! It is read by name from the JSON, and what is not there is not shown: so a program of another
//! version can be asked too.

use std::fmt::Write as _;

use serde_json::Value;

use super::shown::{bytes, round_trip, time};

/// Every service of the file can be used.
pub(super) fn all_online(status: &Value) -> bool {
    list(status, "services").iter().all(is_online)
}

/// All of it. `before`: an earlier one, to say how fast bytes pass.
pub(super) fn of(status: &Value, before: Option<&Value>) -> String {
    let mut text = String::new();
    head(status, &mut text);
    text.push('\n');
    match word(status, "role") {
        "server" => server(status, before, &mut text),
        _ => client(status, before, &mut text),
    }
    text
}

/// What it is, whether it runs what its file says, and what it uses.
fn head(status: &Value, out: &mut String) {
    let now = number(status, "time");
    let up = time(now - number(status, "started"));
    let (version, role) = (word(status, "version"), word(status, "role"));
    let draining = if is(status, "draining") { ", about to end" } else { "" };
    line(out, &format!("underpass {version}, {role}, up {up}{draining}"));
    let configuration = &status["configuration"];
    let read = time(now - number(configuration, "loaded"));
    line(out, &format!("{}, read {read} ago", word(configuration, "file")));
    if let Some(error) = configuration["error"].as_str() {
        line(out, &format!("NOT WHAT RUNS: {error}"));
    }
    let process = &status["process"];
    line(
        out,
        &format!(
            "memory {}, {} held; descriptors {} of {}; longest turn {}",
            bytes(number(process, "resident_bytes")),
            bytes(number(process, "held_bytes")),
            count(process, "descriptors"),
            count(process, "descriptor_limit"),
            round_trip(number(process, "longest_turn_seconds")),
        ),
    );
    if count(process, "dropped_log_lines") != 0 {
        line(out, &format!("log lines dropped: {}", count(process, "dropped_log_lines")));
    }
}

/// How many of the homes that share a service are well.
fn shares(service: &Value) -> String {
    let shares = list(service, "shares");
    let well = shares.iter().filter(|share| is(share, "well")).count();
    if shares.is_empty() { "-".to_owned() } else { format!("{well} of {} homes", shares.len()) }
}

fn server(status: &Value, before: Option<&Value>, out: &mut String) {
    let now = number(status, "time");
    let homes = list(status, "homes");
    let rows = list(status, "services").iter().map(|service| {
        let address = service["home"].as_str();
        let home = homes.iter().find(|home| home["address"].as_str() == address);
        let trip = home.and_then(|home| home["round_trip_seconds"].as_f64());
        let state = if is_online(service) { "online" } else { "OFFLINE" };
        vec![
            word(service, "name").to_owned(),
            word(service, "type").to_owned(),
            format!("{state} {}", time(now - number(service, "since"))),
            address.map_or_else(|| shares(service), str::to_owned),
            count(service, "visitors").to_string(),
            trip.map_or("-".to_owned(), round_trip),
            rate(status, before, service),
        ]
    });
    let columns = [
        Column::cut("SERVICE"),
        Column::whole("TYPE"),
        Column::whole("STATE"),
        Column::cut("HOME"),
        Column::number("VISITORS"),
        Column::number("PING"),
        Column::number("BYTES/S"),
    ];
    table(&columns[..6 + usize::from(before.is_some())], rows, out);

    let rows = homes.iter().map(|home| {
        let trip = |key| home[key].as_f64().map_or("-".to_owned(), round_trip);
        let draining = if is(home, "draining") { " leaving" } else { "" };
        vec![
            word(home, "address").to_owned(),
            word(home, "program").to_owned() + draining,
            time(now - number(home, "since")),
            trip("round_trip_seconds"),
            trip("least_round_trip_seconds"),
            links(home),
            list(home, "services").len().to_string(),
        ]
    });
    let columns = [
        Column::cut("HOME"),
        Column::cut("PROGRAM"),
        Column::whole("FOR"),
        Column::number("PING"),
        Column::number("LEAST"),
        Column::number("LINKS"),
        Column::number("SERVICES"),
    ];
    if homes.is_empty() {
        line(out, "no home is connected");
    } else {
        table(&columns, rows, out);
    }
    junk(status, out);
    for failure in list(status, "failures").iter().take(FAILURES) {
        let ago = time(now - number(failure, "time"));
        let (visitor, name) = (word(failure, "visitor"), word(failure, "name"));
        let (entry, why) = (word(failure, "entry"), word(failure, "why"));
        line(out, &format!("{ago} ago, {entry}, {visitor}, {name}: {why}"));
    }
}

/// What came and was let in nowhere, in a line for each kind of door; none where nothing did.
fn junk(status: &Value, out: &mut String) {
    let tunnel = &status["tunnel"];
    let kinds = ["failed_handshakes", "timeouts", "wrong_tokens", "unknown_services", "strangers"];
    let said = kinds.iter().filter(|kind| count(tunnel, kind) != 0);
    let said: Vec<_> =
        said.map(|kind| format!("{} {}", count(tunnel, kind), kind.replace('_', " "))).collect();
    if !said.is_empty() {
        line(out, &format!("junk at the tunnel: {}", said.join(", ")));
    }
    for strays in list(status, "strays") {
        let ends = list(strays, "ends").iter();
        let said: Vec<_> = ends
            .map(|end| format!("{} {}", count(end, "count"), word(end, "kind").replace('_', " ")))
            .collect();
        if !said.is_empty() {
            line(out, &format!("junk at {}: {}", word(strays, "entry"), said.join(", ")));
        }
    }
}

fn client(status: &Value, before: Option<&Value>, out: &mut String) {
    let now = number(status, "time");
    let servers = list(status, "servers");
    let rows = servers.iter().map(|server| {
        let trip = |key| server[key].as_f64().map_or("-".to_owned(), round_trip);
        vec![
            server_name(server, "address"),
            format!("{} {}", word(server, "state"), time(now - number(server, "since"))),
            trip("round_trip_seconds"),
            trip("least_round_trip_seconds"),
            links(server),
            count(server, "sessions").to_string(),
        ]
    });
    let columns = [
        Column::cut("SERVER"),
        Column::whole("STATE"),
        Column::number("PING"),
        Column::number("LEAST"),
        Column::number("LINKS"),
        Column::number("SESSIONS"),
    ];
    table(&columns, rows, out);

    let services = list(status, "services");
    let rows = services.iter().map(|service| {
        let first = list(service, "registrations").first();
        let state = match is_online(service) {
            true => "registered",
            false => first.map_or("-", |with| word(with, "state")),
        };
        let answers = match (service["answers"].as_bool(), service["asked"].as_f64()) {
            (Some(true), Some(asked)) => format!("yes, {}", time(now - asked)),
            (Some(false), Some(asked)) => format!("NO, {}", time(now - asked)),
            _ => "-".to_owned(),
        };
        vec![
            word(service, "name").to_owned(),
            word(service, "type").to_owned(),
            word(service, "local_addr").to_owned(),
            state.to_owned(),
            count(service, "visitors").to_string(),
            answers,
            rate(status, before, service),
        ]
    });
    let columns = [
        Column::cut("SERVICE"),
        Column::whole("TYPE"),
        Column::cut("AT HOME"),
        Column::whole("STATE"),
        Column::number("VISITORS"),
        Column::whole("ANSWERS"),
        Column::number("BYTES/S"),
    ];
    table(&columns[..6 + usize::from(before.is_some())], rows, out);

    for server in servers {
        if let Some(error) = server["error"].as_str() {
            line(out, &format!("{}: {error}", server_name(server, "address")));
        }
    }
    for service in services {
        let name = word(service, "name");
        for with in list(service, "registrations") {
            if let Some(reason) = with["reason"].as_str() {
                let (server, state) = (server_name(with, "server"), word(with, "state"));
                line(out, &format!("{name}: {state} by {server}: {reason}"));
            }
        }
        if let Some(error) = service["error"].as_str() {
            line(out, &format!("{name}: {}: {error}", word(service, "local_addr")));
        }
    }
}

/// As in the file; of a name that stands for several, with the one that it is.
fn server_name(of: &Value, key: &str) -> String {
    match of["resolved"].as_str() {
        Some(resolved) => format!("{} ({resolved})", word(of, key)),
        None => word(of, key).to_owned(),
    }
}

/// Those with visitors, of all.
fn links(of: &Value) -> String {
    let used = count(of, "used_links");
    format!("{used} of {}", used + count(of, "spare_links"))
}

/// At the server as it says, at home with any server.
fn is_online(service: &Value) -> bool {
    let registered = |with: &Value| with["state"] == "registered";
    is(service, "online") || list(service, "registrations").iter().any(registered)
}

/// Bytes a second, both ways together, since `before`.
fn rate(status: &Value, before: Option<&Value>, service: &Value) -> String {
    let Some(before) = before else { return String::new() };
    let seconds = number(status, "time") - number(before, "time");
    let same = |other: &&Value| other["name"] == service["name"];
    let Some(former) = list(before, "services").iter().find(same) else { return "-".to_owned() };
    match passed(service) - passed(former) {
        difference if seconds > 0.0 && difference >= 0.0 => bytes(difference / seconds),
        _ => "-".to_owned(), // it was started anew
    }
}

fn passed(service: &Value) -> f64 {
    let of = |it: &Value| number(it, "received_bytes") + number(it, "sent_bytes");
    of(service) + list(service, "traffic").iter().map(of).sum::<f64>()
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("-")
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or(0.0)
}

fn count(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or(0)
}

fn is(value: &Value, key: &str) -> bool {
    value[key].as_bool().unwrap_or(false)
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// A line of its own words, broken at [`COLUMNS`] where it can be.
fn line(out: &mut String, text: &str) {
    let mut column = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if column != 0 && column + 1 + length > COLUMNS {
            out.push_str("\n   ");
            column = 3;
        }
        if column != 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out.push('\n');
}

struct Column {
    title: &'static str,
    is_number: bool,
    may_be_cut: bool,
}

impl Column {
    const fn whole(title: &'static str) -> Column {
        Column { title, is_number: false, may_be_cut: false }
    }

    const fn cut(title: &'static str) -> Column {
        Column { title, is_number: false, may_be_cut: true }
    }

    const fn number(title: &'static str) -> Column {
        Column { title, is_number: true, may_be_cut: false }
    }
}

/// The rows with their columns in line, and an empty line behind. What may be cut is cut where the
/// row would be too long.
fn table(columns: &[Column], rows: impl Iterator<Item = Vec<String>>, out: &mut String) {
    let rows: Vec<_> = rows.collect();
    let length = |cell: &String| cell.chars().count();
    let mut widths: Vec<usize> = columns.iter().map(|column| column.title.len()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(length(cell));
        }
    }
    while widths.iter().sum::<usize>() + 2 * (widths.len() - 1) > COLUMNS {
        let may = |at: &usize| columns[*at].may_be_cut && widths[*at] > NARROWEST;
        let Some(widest) = (0..columns.len()).filter(may).max_by_key(|at| widths[*at]) else {
            break;
        };
        widths[widest] -= 1;
    }
    let titles = columns.iter().map(|column| column.title.to_owned()).collect();
    for row in std::iter::once(&titles).chain(&rows) {
        let mut text = String::new();
        for ((cell, width), column) in row.iter().zip(&widths).zip(columns) {
            let cell = match length(cell) > *width {
                true => cell.chars().take(width - 1).chain(['…']).collect(),
                false => cell.clone(),
            };
            // Writing to a String cannot fail.
            let _ = match column.is_number {
                true => write!(text, "{cell:>width$}  "),
                false => write!(text, "{cell:width$}  "),
            };
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out.push('\n');
}

/// Of a terminal, as they have been since punched cards.
const COLUMNS: usize = 80;
/// Of what is left of a name that is cut.
const NARROWEST: usize = 8;
/// Those are shown; the page has all.
const FAILURES: usize = 5;
