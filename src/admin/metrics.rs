//! The snapshot as Prometheus reads it: `/metrics`.
//!
//! prometheus-client writes the text, of values that are read when they are asked for. It is made a
//! slice at a time, so that the loop has its turns between two of them however many services there
//! are. Labels hold what the file says and words of ours, nothing that visitors or strangers can
//! choose: so the number of series is bounded by the file. A home has the services that it has for
//! its name, since its address comes and goes.

mod families;
mod samples;
mod source;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text, text};
use prometheus_client::registry::Registry;

use crate::status::Status;
use families::Family;
use samples::Samples;

/// In what form the numbers are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The classic one, version 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// What an Accept field asks for: OpenMetrics only where it is named, in our version or in
    /// none, and not after the classic text. Whoever says nothing that we know gets that.
    pub fn from_accept(accept: &[u8]) -> Format {
        let (mut open, mut classic) = (0, 0);
        for range in String::from_utf8_lossy(accept).split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let (mut weight, mut version) = (1000, "");
            for (key, value) in parts.filter_map(|part| part.split_once('=')) {
                match key {
                    "q" | "Q" => weight = per_mille(value),
                    "version" => version = value.trim_matches('"'),
                    _ => {}
                }
            }
            if media.eq_ignore_ascii_case("application/openmetrics-text") {
                if matches!(version, "" | "1.0.0") {
                    open = open.max(weight);
                }
            } else if media.eq_ignore_ascii_case("text/plain") && matches!(version, "" | "0.0.4") {
                classic = classic.max(weight);
            }
        }
        if open > 0 && open >= classic { Format::OpenMetrics } else { Format::Text }
    }

    /// For the Content-Type field.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => prometheus_text::CONTENT_TYPE,
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A weight (RFC 9110 12.4.2), which has up to three digits behind its point; 0 if it is none. The
/// reading of any float there is would be 13 KB of the program.
fn per_mille(weight: &str) -> u16 {
    let (whole, part) = weight.split_once('.').unwrap_or((weight, ""));
    let weight = format!("{whole}{part:0<3}").parse().ok();
    weight.filter(|weight| *weight <= 1000).unwrap_or(0)
}

/// All of a snapshot's numbers, as slices of text: one behind the other they are the answer.
pub struct Scrape {
    status: Arc<Status>,
    format: Format,
    /// The next family, of [`families::ALL`].
    family: usize,
    /// Of that family, the first row that is still to come.
    row: usize,
    /// That family's name and help have been written.
    headed: bool,
}

/// So many services are in one slice, each with up to 14 lines for each entry.
const ROWS: usize = 50;

impl Scrape {
    /// Nothing is written before it is asked for.
    pub fn new(status: Arc<Status>, format: Format) -> Scrape {
        Scrape { status, format, family: 0, row: 0, headed: false }
    }

    /// The next rows of one family, and its head.
    fn write(&mut self, family: &'static Family, rows: usize) -> String {
        let mut out = String::new();
        let mut registry = Registry::default();
        let status = Arc::clone(&self.status);
        let part = self.row..(self.row + ROWS).min(rows);
        registry.register_collector(Box::new(Part { status, family, rows: part }));
        // Writing to a String cannot fail.
        let _ = match self.format {
            Format::Text => prometheus_text::encode(&mut out, &registry),
            Format::OpenMetrics => text::encode_registry(&mut out, &registry),
        };
        out
    }
}

impl Iterator for Scrape {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        while let Some(family) = families::ALL.get(self.family) {
            let rows = family.source.rows(&self.status);
            if self.row >= rows {
                (self.family, self.row, self.headed) = (self.family + 1, 0, false);
                continue;
            }
            let mut slice = self.write(family, rows);
            self.row += ROWS;
            let is_head = |line: &&str| line.starts_with('#');
            let head = slice.split_inclusive('\n').take_while(is_head).map(str::len).sum::<usize>();
            if slice.len() == head {
                continue; // nothing to say of these
            }
            if self.headed {
                slice.drain(..head);
            }
            self.headed = true;
            return Some(slice);
        }
        if self.family > families::ALL.len() || self.format == Format::Text {
            return None;
        }
        self.family = families::ALL.len() + 1;
        Some("# EOF\n".to_owned())
    }
}

/// What the crate asks for its values.
struct Part {
    status: Arc<Status>,
    family: &'static Family,
    rows: std::ops::Range<usize>,
}

impl Collector for Part {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Family { name, help, unit, kind, source } = self.family;
        let encoder = encoder.encode_descriptor(name, help, unit.as_ref(), *kind)?;
        source.write(&self.status, self.rows.clone(), &mut Samples::new(encoder, *kind))
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.family.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_fields_as_scrapers_send_them() {
        for (accept, format) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Format::Text),
            ("text/plain;version=0.0.4", Format::Text),
            // Prometheus 2.
            (
                "application/openmetrics-text;version=1.0.0,\
                 application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            // Prometheus 3.
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 application/openmetrics-text;version=0.0.1;q=0.4,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
                 text/plain;version=0.0.4;q=0.2,/;q=0.1",
                Format::OpenMetrics,
            ),
            ("Application/OpenMetrics-Text", Format::OpenMetrics),
            ("application/openmetrics-text; version=\"1.0.0\"; q=0.5", Format::OpenMetrics),
            ("application/openmetrics-text; version=0.0.1", Format::Text),
            ("application/openmetrics-text;q=0", Format::Text),
            ("application/openmetrics-text;q=0.5, text/plain;q=0.6", Format::Text),
            ("application/openmetrics-text;q=0.050, text/plain;q=0.5", Format::Text),
            ("application/openmetrics-text;q=1.0, text/plain;q=0.999", Format::OpenMetrics),
            ("application/openmetrics-text;q=0.12345", Format::Text),
            ("application/openmetrics-text;q=nonsense", Format::Text),
            ("application/openmetrics-text;q=;;=,,", Format::Text),
        ] {
            assert_eq!(Format::from_accept(accept.as_bytes()), format, "{accept}");
        }
        assert_eq!(Format::from_accept(b"\xff\xfe,;q=\xff"), Format::Text);
    }
}
