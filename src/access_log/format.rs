//! How a record looks as a line. Pure: the wall clock is an argument.
//!
//! Whatever a visitor sent is escaped, so that no byte of it can end a line or a field, or speak to
//! the terminal of whoever reads it; [`crate::proto::access`] has cut it to a bounded length.

use std::io::Write as _;
use std::time::{Duration, SystemTime};

use crate::config::AccessLogFormat;
use crate::proto::access::{Entry, Record};
use crate::wire::http::Version;

/// Appends the line, with its line feed. `began` is when the request or the connection began;
/// `count` is how many lines there have been, this one included.
pub(super) fn line(
    format: AccessLogFormat,
    record: &Record<'_>,
    began: SystemTime,
    count: u64,
    out: &mut Vec<u8>,
) {
    let began = began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    match format {
        AccessLogFormat::Clf => clf(record, began, count, out),
        AccessLogFormat::Json => json(record, began, out),
    }
    out.push(b'\n');
}

/// Traefik's "common" format: the combined one, and behind it the number of the request, the
/// router (the service), the server's URL (the client's address) and the milliseconds.
fn clf(record: &Record<'_>, began: Duration, count: u64, out: &mut Vec<u8>) {
    let Civil { year, month, day, hour, minute, second } = Civil::of(began);
    let month = MONTHS[usize::from(month) - 1];
    text(out, format_args!("{} - - ", record.visitor.ip()));
    text(
        out,
        format_args!("[{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000] \""),
    );
    match record.request {
        Some(request) => {
            hex_escaped(out, request.method());
            out.push(b' ');
            hex_escaped(out, request.target());
            text(out, format_args!(" {}", version(request.version)));
        }
        // A connection has no request: what it is for stands in the path's place.
        None => {
            out.extend_from_slice(b"- ");
            hex_escaped_or_dash(out, record.name.as_bytes());
            let protocol = match record.entry {
                Entry::Http => "-",
                Entry::Https => "TLS",
                Entry::Tcp => "TCP",
                Entry::Udp => "UDP",
            };
            text(out, format_args!(" {protocol}"));
        }
    }
    let status = record.status.unwrap_or_else(|| record.end.status());
    text(out, format_args!("\" {status} {} \"", record.bytes_out));
    let request = record.request;
    hex_escaped_or_dash(out, request.map_or(b"", |request| request.referer()));
    out.extend_from_slice(b"\" \"");
    hex_escaped_or_dash(out, request.map_or(b"", |request| request.user_agent()));
    text(out, format_args!("\" {count} \""));
    hex_escaped_or_dash(out, record.service.unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\" \"");
    match record.client {
        Some(client) => text(out, format_args!("{client}")),
        None => out.push(b'-'),
    }
    text(out, format_args!("\" {}ms", record.duration.as_millis()));
}

/// One object; what is not known is not there.
fn json(record: &Record<'_>, began: Duration, out: &mut Vec<u8>) {
    let Civil { year, month, day, hour, minute, second } = Civil::of(began);
    let micros = began.subsec_micros();
    text(
        out,
        format_args!(
            "{{\"time\":\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.\
             {micros:06}Z\",\"visitor\":\"{}\"",
            record.visitor.ip(),
        ),
    );
    if record.visitor.port() != 0 {
        text(out, format_args!(",\"visitor_port\":{}", record.visitor.port()));
    }
    if let Some(peer) = record.peer {
        text(out, format_args!(",\"peer\":\"{peer}\""));
    }
    text(out, format_args!(",\"entry\":\"{}\"", record.entry.as_str()));
    member(out, "name", record.name.as_bytes());
    member(out, "service", record.service.unwrap_or_default().as_bytes());
    if let Some(client) = record.client {
        text(out, format_args!(",\"client\":\"{client}\""));
    }
    if let Some(request) = record.request {
        member(out, "method", request.method());
        member(out, "path", request.target());
        member(out, "protocol", version(request.version).as_bytes());
        member(out, "referer", request.referer());
        member(out, "user_agent", request.user_agent());
    }
    if let Some(status) = record.status {
        text(out, format_args!(",\"status\":{status}"));
    }
    text(out, format_args!(",\"bytes_in\":{},\"bytes_out\":{}", record.bytes_in, record.bytes_out));
    if let Some(first_byte) = record.first_byte {
        text(out, format_args!(",\"first_byte\":{}", Seconds(first_byte)));
    }
    let duration = Seconds(record.duration);
    text(out, format_args!(",\"duration\":{duration},\"end\":\"{}\"", record.end));
    member(out, "reason", record.reason.unwrap_or_default().as_bytes());
    out.push(b'}');
}

/// A string, unless it is empty.
fn member(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    if !value.is_empty() {
        text(out, format_args!(",\"{name}\":\""));
        json_escaped(out, value);
        out.push(b'"');
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
    }
}

/// With microseconds.
struct Seconds(Duration);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:06}", self.0.as_secs(), self.0.subsec_micros())
    }
}

fn text(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes all");
}

fn hex_escaped_or_dash(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes {
        [] => out.push(b'-'),
        bytes => hex_escaped(out, bytes),
    }
}

/// As nginx does: `\xHH` for quotes, backslashes, and all that is not printable ASCII.
fn hex_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => text(out, format_args!("\\x{byte:02X}")),
            b' '..=b'~' => out.push(byte),
            _ => text(out, format_args!("\\x{byte:02X}")),
        }
    }
}

/// ASCII alone (RFC 8259 7). What is not UTF-8 becomes U+FFFD.
fn json_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' | '\\' => out.extend_from_slice(&[b'\\', char as u8]),
                ' '..='~' => out.push(char as u8),
                _ => {
                    for unit in char.encode_utf16(&mut [0; 2]) {
                        text(out, format_args!("\\u{unit:04x}"));
                    }
                }
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

/// UTC, in the Gregorian calendar.
#[derive(Debug, PartialEq, Eq)]
struct Civil {
    year: u64,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

impl Civil {
    /// Of the time since 1970, without leap seconds.
    fn of(since: Duration) -> Civil {
        let seconds = since.as_secs();
        let (mut day, second) = (seconds / 86_400, seconds % 86_400);
        let mut year = 1970;
        while day >= days_of(year) {
            day -= days_of(year);
            year += 1;
        }
        let mut month = 1;
        while day >= days_of_month(year, month) {
            day -= days_of_month(year, month);
            month += 1;
        }
        Civil {
            year,
            month,
            day: day as u8 + 1,
            hour: (second / 3600) as u8,
            minute: (second / 60 % 60) as u8,
            second: (second % 60) as u8,
        }
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
}

fn days_of(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

fn days_of_month(year: u64, month: u8) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::access::{RequestLine, VisitEnd};
    use crate::proto::time::Time;

    const CLF: AccessLogFormat = AccessLogFormat::Clf;
    const JSON: AccessLogFormat = AccessLogFormat::Json;

    fn record() -> Record<'static> {
        Record {
            now: Time(0),
            duration: Duration::from_micros(12_345),
            first_byte: None,
            visitor: "192.0.2.7:4711".parse().expect("an address"),
            peer: None,
            entry: Entry::Https,
            name: "pi.example.com",
            service: Some("pi"),
            client: Some("[2001:db8::1]:999".parse().expect("an address")),
            request: None,
            status: None,
            bytes_in: 517,
            bytes_out: 4096,
            end: VisitEnd::Done,
            reason: None,
        }
    }

    fn written(format: AccessLogFormat, record: &Record<'_>) -> String {
        let began = SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_371_605_000_042);
        let mut out = Vec::new();
        line(format, record, began, 42, &mut out);
        let text = String::from_utf8(out).expect("ASCII");
        assert!(text.is_ascii() && text.ends_with('\n') && text.lines().count() == 1, "{text:?}");
        assert!(!text.trim_end_matches('\n').contains(char::is_control), "{text:?}");
        text.trim_end().to_owned()
    }

    fn parsed(record: &Record<'_>) -> serde_json::Value {
        let text = written(JSON, record);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    #[test]
    fn a_connection_as_a_line() {
        assert_eq!(
            written(CLF, &record()),
            "192.0.2.7 - - [22/Nov/2026:18:20:05 +0000] \"- pi.example.com TLS\" 200 4096 \"-\" \
             \"-\" 42 \"pi\" \"[2001:db8::1]:999\" 12ms"
        );
        assert_eq!(
            written(JSON, &record()),
            "{\"time\":\"2026-11-22T18:20:05.000042Z\",\"visitor\":\"192.0.2.7\",\
             \"visitor_port\":4711,\"entry\":\"https\",\"name\":\"pi.example.com\",\
             \"service\":\"pi\",\"client\":\"[2001:db8::1]:999\",\"bytes_in\":517,\
             \"bytes_out\":4096,\"duration\":0.012345,\"end\":\"done\"}"
        );
    }

    #[test]
    fn a_request_as_a_line() {
        let request = RequestLine::new(Version::Http11, b"GET", b"/a?b=c", b"http://x/", b"curl/8");
        let record = Record {
            entry: Entry::Http,
            request: Some(&request),
            status: Some(404),
            first_byte: Some(Duration::from_millis(1)),
            ..record()
        };
        assert_eq!(
            written(CLF, &record),
            "192.0.2.7 - - [22/Nov/2026:18:20:05 +0000] \"GET /a?b=c HTTP/1.1\" 404 4096 \
             \"http://x/\" \"curl/8\" 42 \"pi\" \"[2001:db8::1]:999\" 12ms"
        );
        let json = parsed(&record);
        for (key, value) in [
            ("method", "GET"),
            ("path", "/a?b=c"),
            ("protocol", "HTTP/1.1"),
            ("referer", "http://x/"),
            ("user_agent", "curl/8"),
        ] {
            assert_eq!(json[key], value, "{json}");
        }
        assert_eq!((&json["status"], &json["first_byte"]), (&404.into(), &0.001.into()));
    }

    #[test]
    fn what_is_not_known_is_a_dash_or_absent() {
        let brought = Record {
            visitor: "198.51.100.7:0".parse().expect("an address"),
            peer: Some("192.0.2.9:4711".parse().expect("an address")),
            end: VisitEnd::BadAnswer,
            reason: Some("field_without_colon"),
            ..record()
        };
        let json = parsed(&brought);
        assert_eq!(
            (&json["visitor"], &json["peer"]),
            (&"198.51.100.7".into(), &"192.0.2.9:4711".into())
        );
        assert_eq!(
            (&json["end"], &json["reason"]),
            (&"bad_answer".into(), &"field_without_colon".into())
        );
        assert!(json.get("visitor_port").is_none());
        let record = Record { name: "", service: None, client: None, ..record() };
        assert!(written(CLF, &record).contains("\"- - TLS\" 200 4096 \"-\" \"-\" 42 \"-\" \"-\" "));
        let json = parsed(&record);
        let absent =
            ["name", "service", "client", "method", "path", "status", "first_byte", "peer"];
        assert!(absent.iter().all(|key| json.get(key).is_none()), "{json}");
    }

    #[test]
    fn no_byte_of_a_visitor_leaves_its_field() {
        for byte in 0..=255u8 {
            let hostile = [b'a', byte, b'z'];
            let request = RequestLine::new(Version::Http11, &hostile, &hostile, &hostile, &hostile);
            let record = Record { entry: Entry::Http, request: Some(&request), ..record() };
            let text = written(CLF, &record);
            assert_eq!(text.matches('"').count(), 10, "{text}");
            let expected = match byte {
                b'"' | b'\\' => format!("a\\x{byte:02X}z"),
                b' '..=b'~' => format!("a{}z", byte as char),
                _ => format!("a\\x{byte:02X}z"),
            };
            assert_eq!(text.matches(&expected).count(), 4, "{text}");
            let char = if byte < 128 { byte as char } else { '\u{fffd}' };
            assert_eq!(parsed(&record)["path"], format!("a{char}z"));
        }
        let request = RequestLine::new(Version::Http11, b"GET", b"/", b"", "ü€😀".as_bytes());
        let record = Record { request: Some(&request), ..record() };
        assert_eq!(parsed(&record)["user_agent"], "ü€😀");
    }

    #[test]
    fn dates_are_right_around_leap_days() {
        let of = |seconds| {
            let Civil { year, month, day, hour, minute, second } =
                Civil::of(Duration::from_secs(seconds));
            format!("{year}-{month}-{day} {hour}:{minute}:{second}")
        };
        assert_eq!(of(0), "1970-1-1 0:0:0");
        assert_eq!(of(951_782_399), "2000-2-28 23:59:59");
        assert_eq!(of(951_782_400), "2000-2-29 0:0:0");
        assert_eq!(of(951_868_800), "2000-3-1 0:0:0");
        assert_eq!(of(1_735_689_599), "2024-12-31 23:59:59");
        assert_eq!(of(4_107_542_400), "2100-3-1 0:0:0");
    }
}
