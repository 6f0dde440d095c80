//! What comes from the answer, so that it can stand on a terminal; and numbers as people read them.

use std::fmt::Write as _;

use serde_json::Value;

/// Replaces whatever would move a cursor, or turn the writing round, in every text of the answer: a
/// stranger may have chosen it.
pub(super) fn clean(value: &mut Value) {
    match value {
        Value::String(text) if text.chars().any(acts) => {
            *text = text.chars().map(|c| if acts(c) { '?' } else { c }).collect();
        }
        Value::Array(list) => list.iter_mut().for_each(clean),
        Value::Object(members) => members.values_mut().for_each(clean),
        _ => {}
    }
}

/// JSON with the same meaning. Such characters stand in its strings alone; below U+0020 they are
/// escaped there already, or it would not be JSON, but for white space between its words.
pub(super) fn escape(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if acts(c) && c > ' ' {
            let _ = write!(out, "\\u{:04x}", u32::from(c)); // writing to a String cannot fail
        } else {
            out.push(c);
        }
    }
    out
}

/// Control characters, line ends, and those without a width that change how others are shown; all
/// are below U+10000.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{61c}')
}

/// `4 s`, `12 min`, `3 h 5 min`, `2 d 21 h`.
pub(super) fn time(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64; // what is too large becomes the largest
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => two(seconds / 3600, "h", seconds / 60 % 60, "min"),
        _ => two(seconds / 86_400, "d", seconds / 3600 % 24, "h"),
    }
}

fn two(large: u64, unit: &str, small: u64, below: &str) -> String {
    match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {below}"),
    }
}

/// `21 ms`, `0.4 ms`, `1.2 s`.
pub(super) fn round_trip(seconds: f64) -> String {
    let ms = seconds * 1000.0;
    match ms {
        ..9.95 => format!("{ms:.1} ms"),
        ..1000.0 => format!("{ms:.0} ms"),
        _ => format!("{seconds:.1} s"),
    }
}

/// `999 B`, `1.2 kB`, `34 MB`.
pub(super) fn bytes(count: f64) -> String {
    let mut value = count.max(0.0);
    for unit in ["B", "kB", "MB", "GB", "TB"] {
        if value < 999.5 {
            let decimals = if unit == "B" || value >= 9.95 { 0 } else { 1 };
            return format!("{value:.decimals$} {unit}");
        }
        value /= 1000.0;
    }
    format!("{value:.1} PB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_people_read_them() {
        let times = [-1.0, 59.9, 60.0, 3599.0, 7_201.0, 11_100.0, 250_000.0].map(time);
        assert_eq!(times, ["0 s", "59 s", "1 min", "59 min", "2 h", "3 h 5 min", "2 d 21 h"]);
        let trips = [0.0, 0.00042, 0.0213, 0.9994, 1.24].map(round_trip);
        assert_eq!(trips, ["0.0 ms", "0.4 ms", "21 ms", "999 ms", "1.2 s"]);
        let sizes = [0.0, 999.0, 1000.0, 1234.0, 34_000_000.0, 9.99e11, 5e15].map(bytes);
        assert_eq!(sizes, ["0 B", "999 B", "1.0 kB", "1.2 kB", "34 MB", "999 GB", "5.0 PB"]);
    }

    #[test]
    fn nothing_moves_the_cursor() {
        let json = "{\"a\":[\"x\\u001b[2J\\ny\u{202e}z\u{9b}\"],\n\"é\":\"\u{feff}\"}";
        let mut value: Value = serde_json::from_str(json).expect("JSON");
        let escaped = escape(json);
        assert_eq!(serde_json::from_str::<Value>(&escaped).ok(), Some(value.clone()));
        assert!(escaped.chars().all(|c| c == '\n' || !acts(c)), "{escaped}");
        clean(&mut value);
        assert_eq!(value.to_string(), "{\"a\":[\"x?[2J?y?z?\"],\"é\":\"?\"}");
    }
}
