//! A real Prometheus gets every number of both roles, in either form.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use underpass::admin::metrics::Format;
use underpass::status::Status;

use super::metrics::{series, text};
use crate::support::prometheus::Prometheus;
use crate::support::statuses;

#[test]
fn prometheus_scrapes_both_roles() {
    // By its Accept field, as a program does; and the classic form whatever it asks for.
    let by_accept = [serve(statuses::server(), None), serve(statuses::client(), None)];
    let classic = [
        serve(statuses::server(), Some(Format::Text)),
        serve(statuses::client(), Some(Format::Text)),
    ];
    let targets = [&by_accept[0], &by_accept[1], &classic[0], &classic[1]];
    let targets: Vec<String> = targets.map(|one| one.address.clone()).into();
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("prometheus-{}", std::process::id()));
    let prometheus = Prometheus::start(&folder, &targets, None);
    assert_eq!(prometheus.value("count(up == 1) == 4"), 4.0);
    assert_eq!(prometheus.errors(), Vec::<String>::new());
    assert!(by_accept.iter().all(|one| one.open.load(Ordering::Relaxed) > 0), "OpenMetrics");

    for (target, status) in targets.iter().zip([
        statuses::server(),
        statuses::client(),
        statuses::server(),
        statuses::client(),
    ]) {
        let series = series(&text(status, Format::Text));
        // One of its own for `up`, and five for the scrape.
        let samples = prometheus.value(&format!("scrape_samples_scraped{{instance='{target}'}}"));
        assert_eq!(samples, series.len() as f64);
        for (name, value) in series.iter().filter(|(name, _)| !name.contains("le=")) {
            let selector = match name.strip_suffix('}') {
                Some(labels) => format!("{labels},instance=\"{target}\"}}"),
                None => format!("{name}{{instance=\"{target}\"}}"),
            };
            assert_eq!(prometheus.value(&selector).to_string(), as_number(value), "{selector}");
        }
        if !series.contains_key("underpass_homes") {
            continue;
        }
        let waited = format!(
            "histogram_quantile(0.5, sum by (le) (underpass_link_wait_seconds_bucket{{\
             instance='{target}',service='pi',entry='http'}}))"
        );
        let half = prometheus.value(&waited);
        assert!((0.25..0.5).contains(&half), "{half}"); // of 186, the 93rd
    }
}

fn as_number(text: &str) -> String {
    text.parse::<f64>().expect("a number").to_string()
}

struct Served {
    address: String,
    /// How often OpenMetrics was given.
    open: Arc<AtomicUsize>,
}

/// A snapshot, to whoever comes.
fn serve(status: Status, always: Option<Format>) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let open = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&open);
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                head.push(byte[0].to_ascii_lowercase());
            }
            let head = String::from_utf8_lossy(&head);
            let accept = head.lines().find_map(|line| line.strip_prefix("accept:"));
            let asked = Format::from_accept(accept.unwrap_or_default().as_bytes());
            let format = always.unwrap_or(asked);
            counted.fetch_add(usize::from(format == Format::OpenMetrics), Ordering::Relaxed);
            let (kind, body) = (format.content_type(), text(status.clone(), format));
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n");
            let _ = write!(stream, "Connection: close\r\n\r\n{body}");
        }
    });
    Served { address, open }
}
