//! Every metric family: its name, its meaning, and where its values are.

use std::collections::HashMap;
use std::fmt;

use prometheus_client::metrics::MetricType::{self, Counter, Gauge, Info};
use prometheus_client::registry::Unit::{self, Bytes, Seconds};

use super::samples::{Number, Samples};
use super::source::Source;
use crate::status::{Home, Listener, ServerStatus, Status, Traffic};

/// One of them. Its full name is `name`, the unit, and `total` or `info` if the kind asks for it.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) unit: Option<Unit>,
    pub(super) kind: MetricType,
    pub(super) help: &'static str,
    pub(super) source: Source,
}

const fn gauge(name: &'static str, help: &'static str, source: Source) -> Family {
    Family { name, unit: None, kind: Gauge, help, source }
}

const fn counter(name: &'static str, help: &'static str, source: Source) -> Family {
    Family { name, unit: None, kind: Counter, help, source }
}

const fn of(
    unit: Unit,
    kind: MetricType,
    [name, help]: [&'static str; 2],
    source: Source,
) -> Family {
    Family { name, unit: Some(unit), kind, help, source }
}

/// In the order in which they are written.
pub(super) static ALL: &[Family] = &[
    Family {
        name: "underpass_build",
        unit: None,
        kind: Info,
        help: "Which underpass this is, and in which role it runs.",
        source: Source::Both(|status, out| {
            let role = match status {
                Status::Server(_) => "server",
                Status::Client(_) => "client",
            };
            out.info(&[("version", &status.program().version), ("role", role)])
        }),
    },
    gauge(
        "underpass_draining",
        "1 while it is about to end and takes no new visitors.",
        Source::Program(|program, out| out.put(&[], program.draining)),
    ),
    gauge(
        "underpass_config_last_reload_successful",
        "1 if the file as it is now is what runs.",
        Source::Program(|program, out| out.put(&[], program.configuration.error.is_none())),
    ),
    of(
        Seconds,
        Gauge,
        [
            "underpass_config_last_reload_success_timestamp",
            "When the configuration that runs was read, since 1970.",
        ],
        Source::Program(|program, out| out.put(&[], program.configuration.loaded)),
    ),
    counter(
        "underpass_config_reloads",
        "Reloads of the configuration, by whether they succeeded.",
        Source::Program(|program, out| {
            out.put(&[("result", "success")], program.configuration.reloads)?;
            out.put(&[("result", "failure")], program.configuration.failed_reloads)
        }),
    ),
    of(
        Bytes,
        Gauge,
        ["underpass_held", "Bytes that wait for somebody to take them, or to be whole."],
        Source::Program(|program, out| out.put(&[], program.process.held_bytes)),
    ),
    of(
        Bytes,
        Gauge,
        [
            "underpass_held_limit",
            "How many bytes may wait before the longest-stalled has to go; 0 without a bound.",
        ],
        Source::Program(|program, out| out.put(&[], program.process.held_limit_bytes)),
    ),
    of(
        Seconds,
        Gauge,
        [
            "underpass_longest_turn",
            "The longest time between two looks at what has happened, in the last minute.",
        ],
        Source::Program(|program, out| out.put(&[], program.process.longest_turn_seconds)),
    ),
    counter(
        "underpass_dropped_log_lines",
        "Lines that a slow reader of the logs has cost.",
        Source::Program(|program, out| out.put(&[], program.process.dropped_log_lines)),
    ),
    // Under the names that every program's have.
    of(
        Seconds,
        Counter,
        ["process_cpu", "Total user and system CPU time spent in seconds."],
        Source::Program(|program, out| out.put(&[], program.process.cpu_seconds)),
    ),
    gauge(
        "process_open_fds",
        "Number of open file descriptors.",
        Source::Program(|program, out| out.put(&[], program.process.descriptors)),
    ),
    gauge(
        "process_max_fds",
        "Maximum number of open file descriptors.",
        Source::Program(|program, out| out.put(&[], program.process.descriptor_limit)),
    ),
    of(
        Bytes,
        Gauge,
        ["process_resident_memory", "Resident memory size in bytes."],
        Source::Program(|program, out| out.put(&[], program.process.resident_bytes)),
    ),
    of(
        Seconds,
        Gauge,
        ["process_start_time", "Start time of the process since unix epoch in seconds."],
        Source::Program(|program, out| out.put(&[], program.started)),
    ),
    gauge(
        "underpass_service_online",
        "1 while a home has the service registered.",
        Source::Served(|service, out| {
            out.put(&[("service", &service.name), ("type", &service.r#type)], service.online)
        }),
    ),
    gauge(
        "underpass_active_visitors",
        "Visitors at the service now.",
        Source::Served(|service, out| out.put(&[("service", &service.name)], service.visitors)),
    ),
    gauge(
        "underpass_waiting_visitors",
        "Of the visitors at the service now, those that wait for a link.",
        Source::Served(|service, out| out.put(&[("service", &service.name)], service.waiting)),
    ),
    counter(
        "underpass_visitors",
        "Visits that are over, by how they ended, in the words of the access log: over HTTP \
         requests, elsewhere connections and UDP sessions. Those without a service none took.",
        Source::Traffic(|service, traffic, out| {
            let labels = [("service", service), ("entry", &*traffic.entry)];
            // So that there is a series to count from before the first visitor.
            if !service.is_empty() && traffic.ends.iter().all(|end| end.kind != "done") {
                out.put(&[labels[0], labels[1], ("end", "done")], 0)?;
            }
            out.counts(labels, "end", &traffic.ends)
        }),
    ),
    counter(
        "underpass_responses",
        "Answers over HTTP, by class of their status.",
        Source::Traffic(|service, traffic, out| {
            let labels = [("service", service), ("entry", &*traffic.entry)];
            out.counts(labels, "class", &traffic.statuses)
        }),
    ),
    of(
        Bytes,
        Counter,
        ["underpass_received", "Bytes from visitors, as read from their sockets."],
        Source::Traffic(|service, traffic, out| {
            out.put(&[("service", service), ("entry", &traffic.entry)], traffic.received_bytes)
        }),
    ),
    of(
        Bytes,
        Counter,
        ["underpass_sent", "Bytes to visitors, as written to their sockets."],
        Source::Traffic(|service, traffic, out| {
            out.put(&[("service", service), ("entry", &traffic.entry)], traffic.sent_bytes)
        }),
    ),
    of(
        Seconds,
        MetricType::Histogram,
        ["underpass_link_wait", "How long visitors waited for a link to the home."],
        Source::Traffic(|service, traffic, out| {
            // Those whom no service takes never wait for one.
            let any = !service.is_empty() || traffic.link_wait.count() != 0;
            if any { out.histogram(times(service, traffic), &traffic.link_wait) } else { Ok(()) }
        }),
    ),
    of(
        Seconds,
        MetricType::Histogram,
        [
            "underpass_first_byte",
            "From the first byte of the request, or from the accept of the connection, until the \
             first byte of the answer.",
        ],
        Source::Traffic(|service, traffic, out| {
            let any = !service.is_empty() || traffic.first_byte.count() != 0;
            if any { out.histogram(times(service, traffic), &traffic.first_byte) } else { Ok(()) }
        }),
    ),
    gauge(
        "underpass_homes",
        "Clients with a session.",
        Source::Server(|status, out| out.put(&[], status.homes.len() as u64)),
    ),
    gauge(
        "underpass_home_links",
        "Links of all homes: those that wait for visitors, and those with visitors.",
        Source::Server(|status, out| {
            let sum = |of: fn(&Home) -> u64| status.homes.iter().map(of).sum::<u64>();
            out.put(&[("state", "spare")], sum(|home| home.spare_links))?;
            out.put(&[("state", "used")], sum(|home| home.used_links))
        }),
    ),
    of(
        Seconds,
        Gauge,
        [
            "underpass_home_round_trip",
            "The last round trip measured to the home that has the service.",
        ],
        Source::Server(|status, out| of_homes(status, out, |home| home.round_trip_seconds)),
    ),
    of(
        Seconds,
        Gauge,
        [
            "underpass_home_least_round_trip",
            "The least round trip to the home that has the service, of its session.",
        ],
        Source::Server(|status, out| of_homes(status, out, |home| home.least_round_trip_seconds)),
    ),
    counter(
        "underpass_home_reconnects",
        "How often the home that has the service has come back.",
        Source::Server(|status, out| of_homes(status, out, |home| Some(home.reconnects))),
    ),
    counter(
        "underpass_listener_accepted",
        "Connections let in; of UDP, sessions.",
        Source::Server(|status, out| of_listeners(status, out, |listener| listener.accepted)),
    ),
    counter(
        "underpass_listener_refused",
        "Connections turned away at once: no room, too many of one address, not allowed.",
        Source::Server(|status, out| of_listeners(status, out, |listener| listener.refused)),
    ),
    gauge(
        "underpass_tunnel_strangers",
        "Connections to the tunnel port that have proved nothing yet.",
        Source::Server(|status, out| out.put(&[], status.tunnel.strangers)),
    ),
    counter(
        "underpass_tunnel_rejected",
        "What came to the tunnel port and was let in nowhere, by why.",
        Source::Server(|status, out| {
            let tunnel = &status.tunnel;
            out.put(&[("reason", "failed_handshake")], tunnel.failed_handshakes)?;
            out.put(&[("reason", "timeout")], tunnel.timeouts)?;
            out.put(&[("reason", "wrong_token")], tunnel.wrong_tokens)?;
            out.put(&[("reason", "unknown_service")], tunnel.unknown_services)
        }),
    ),
    gauge(
        "underpass_server_state",
        "1 for the state that the way to the server is in.",
        Source::Upstream(|server, out| {
            ["connected", "connecting", "waiting", "leaving"].into_iter().try_for_each(|state| {
                let labels = [("server", &*server.address), ("state", state)];
                out.put(&labels, server.state == state)
            })
        }),
    ),
    counter(
        "underpass_server_sessions",
        "Sessions with the server so far.",
        Source::Upstream(|server, out| out.put(&[("server", &server.address)], server.sessions)),
    ),
    of(
        Seconds,
        Gauge,
        ["underpass_server_round_trip", "The last round trip measured to the server."],
        Source::Upstream(|server, out| {
            out.put_any(&[("server", &server.address)], server.round_trip_seconds)
        }),
    ),
    of(
        Seconds,
        Gauge,
        [
            "underpass_server_least_round_trip",
            "The least round trip to the server, of the session.",
        ],
        Source::Upstream(|server, out| {
            out.put_any(&[("server", &server.address)], server.least_round_trip_seconds)
        }),
    ),
    gauge(
        "underpass_server_links",
        "Links to the server: those that wait for visitors, and those with visitors.",
        Source::Upstream(|server, out| {
            let address = ("server", &*server.address);
            out.put(&[address, ("state", "spare")], server.spare_links)?;
            out.put(&[address, ("state", "used")], server.used_links)
        }),
    ),
    gauge(
        "underpass_service_registered",
        "1 while the server has the service registered for this client.",
        Source::Kept(|service, out| {
            let all = &service.registrations;
            all.iter().enumerate().try_for_each(|(at, with)| {
                // Each server once: one that is being left may be the same by another way.
                if all[..at].iter().any(|other| other.server == with.server) {
                    return Ok(());
                }
                let is_in = all
                    .iter()
                    .any(|other| other.server == with.server && other.state == "registered");
                out.put(&[("service", &service.name), ("server", &with.server)], is_in)
            })
        }),
    ),
    gauge(
        "underpass_local_answers",
        "1 if what runs at home took the last connection; nothing before there was one.",
        Source::Kept(|service, out| out.put_any(&[("service", &service.name)], service.answers)),
    ),
    counter(
        "underpass_local_dials",
        "Connections to what runs at home, by what came of them.",
        Source::Kept(|service, out| {
            let name = ("service", &*service.name);
            let mut dials = service.dials.iter();
            dials.try_for_each(|dial| out.put(&[name, ("result", &dial.kind)], dial.count))
        }),
    ),
    gauge(
        "underpass_local_visitors",
        "Visitors at what runs at home now.",
        Source::Kept(|service, out| out.put(&[("service", &service.name)], service.visitors)),
    ),
    of(
        Bytes,
        Counter,
        ["underpass_local_received", "Bytes from visitors to what runs at home."],
        Source::Kept(|service, out| out.put(&[("service", &service.name)], service.received_bytes)),
    ),
    of(
        Bytes,
        Counter,
        ["underpass_local_sent", "Bytes of what runs at home to visitors."],
        Source::Kept(|service, out| out.put(&[("service", &service.name)], service.sent_bytes)),
    ),
];

fn times<'a>(service: &'a str, traffic: &'a Traffic) -> [(&'a str, &'a str); 2] {
    [("service", service), ("entry", &traffic.entry)]
}

/// A value of the home that has a service, for each service that one has. Of several homes with the
/// same service, the highest.
fn of_homes<T: Into<Number> + PartialOrd + Copy>(
    status: &ServerStatus,
    out: &mut Samples<'_>,
    value: fn(&Home) -> Option<T>,
) -> fmt::Result {
    let mut values: HashMap<&str, T> = HashMap::new();
    for home in &status.homes {
        let Some(value) = value(home) else { continue };
        for service in &home.services {
            let highest = values.entry(service).or_insert(value);
            if value > *highest {
                *highest = value;
            }
        }
    }
    let mut services = status.services.iter().map(|service| &*service.name);
    services.try_for_each(|name| out.put_any(&[("service", name)], values.get(name).copied()))
}

fn of_listeners(
    status: &ServerStatus,
    out: &mut Samples<'_>,
    value: fn(&Listener) -> u64,
) -> fmt::Result {
    status.listeners.iter().try_for_each(|listener| {
        let service = listener.service.as_deref().unwrap_or_default();
        let labels =
            [("address", &*listener.address), ("entry", &listener.entry), ("service", service)];
        out.put(&labels, value(listener))
    })
}
