//! Limits that a person sets: who may come, how many, how often, how fast, how long they wait.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use proptest::prelude::*;
use underpass::config::{AccessList, Congestion, Rate, ServerConfig};

use crate::{SERVICE, bad, good, parse, server};

/// A file with `lines` in `[server]`, the first of which is line 5, and others behind the service's
/// table, from line 14 on.
fn file(lines: &str, of_service: &str) -> String {
    let of_server = format!("{lines}\ndefault_token");
    server(&format!("{SERVICE}\n{of_service}\n")).replacen("default_token", &of_server, 1)
}

fn load(lines: &str, of_service: &str) -> ServerConfig {
    good(&file(lines, of_service), &[]).server.expect("[server]")
}

fn wrong(line: &str, reason: &str) {
    bad(&file("", line), &format!("f.toml:14: server.services.a.{reason}"));
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn without_limits_there_are_none_but_the_defaults() {
    let server = load("", "");
    assert!(server.visitors.access.admits(Ipv4Addr::LOCALHOST.into()));
    assert!(server.visitors.access.admits(Ipv6Addr::LOCALHOST.into()));
    assert_eq!((server.visitors.rate, server.visitors.bandwidth), (None, None));
    assert_eq!((server.head_timeout, server.limits.memory), (10 * SECOND, 64_000_000));
    let service = &server.services[0];
    assert_eq!((service.max_visitors, service.visitors.rate), (None, None));
    assert_eq!(service.http_times, server.http_times);
    assert_eq!(server.http_times.response, Some(300 * SECOND));
    assert_eq!(server.http_times.idle, 60 * SECOND);
}

#[test]
fn each_limit_is_the_services_or_the_servers() {
    let lines = "rate = { per_second = 50, burst = 100 }\nbandwidth = '20 MB/s'\n";
    let [of_server, of_service] = [(lines, ""), ("", lines)].map(|(all, one)| load(all, one));
    let rate = Some(Rate { per_second: 50, burst: 100 });
    for (set, unset) in [
        (&of_server.visitors, &of_server.services[0].visitors),
        (&of_service.services[0].visitors, &of_service.visitors),
    ] {
        assert_eq!((set.rate, set.bandwidth), (rate, Some(20_000_000)));
        assert_eq!((unset.rate, unset.bandwidth), (None, None));
    }
    let burst = load("", "rate = { per_second = 3 }").services[0].visitors.rate;
    assert_eq!(burst, Some(Rate { per_second: 3, burst: 3 }), "the same at once as in a second");
    assert_eq!(load("", "max_visitors = 7").services[0].max_visitors, Some(7));
    let all = load("max_visitors = 7\n", "");
    assert_eq!((all.limits.max_visitors, all.services[0].max_visitors), (7, None));
    assert_eq!(load("limits = { memory = '128 MB' }\n", "").limits.memory, 128_000_000);
    bad(
        &file("max_visitors = 7\nlimits = { max_visitors = 8 }", ""),
        "f.toml:5: server.max_visitors: the same as server.limits.max_visitors (line 6); in one of \
         them",
    );
}

#[test]
fn times_of_the_server_are_the_services_defaults() {
    let web = "response_timeout = 0\n";
    let text = |of_server: &str, of_service: &str| {
        file(&format!("http_addr = '[::1]:80'\n{of_server}"), of_service)
            .replace("\"https\"\nhosts", "\"web\"\nhosts")
    };
    let times = |of_server: &str, of_service: &str| {
        let server = good(&text(of_server, of_service), &[]).server.expect("[server]");
        let times = server.services[0].http_times;
        (times.response.map(|time| time.as_secs()), times.idle.as_secs())
    };
    assert_eq!(times("", ""), (Some(300), 60));
    assert_eq!(times("", web), (None, 60));
    assert_eq!(times(web, ""), (None, 60));
    assert_eq!(times(web, "response_timeout = 5\nidle_timeout = 6\n"), (Some(5), 6));
    assert_eq!(times("idle_timeout = 7\n", web), (None, 7));
    assert_eq!(load("head_timeout = 30\n", "").head_timeout, 30 * SECOND);
    let seconds = "must be a whole number from";
    for (line, error) in [
        ("head_timeout = 1", format!("head_timeout: {seconds} 2 to 600")),
        ("head_timeout = '10 s'", format!("head_timeout: {seconds} 2 to 600, not a string")),
        ("idle_timeout = 0", format!("idle_timeout: {seconds} 1 to 31536000")),
        ("response_timeout = -1", format!("response_timeout: {seconds} 0 to 31536000")),
    ] {
        bad(&file(line, ""), &format!("f.toml:5: server.{error}"));
    }
    wrong(
        "idle_timeout = 1",
        "idle_timeout: needs type = \"http\" or \"web\": it is about plain HTTP",
    );
}

#[test]
fn ssh_waits_for_less_time_than_a_hello_has() {
    let ssh = |lines: &str| {
        let service = "[server.services.ssh]";
        file(&format!("ssh_service = 'ssh'\n{lines}"), service)
    };
    let wait = |lines: &str| {
        good(&ssh(lines), &[]).server.expect("[server]").ssh.expect("ssh").wait.as_secs()
    };
    assert_eq!(wait("head_timeout = 60\nssh_wait = 59"), 59);
    assert_eq!(wait("head_timeout = 3"), 2);
    bad(
        &ssh("head_timeout = 3\nssh_wait = 3"),
        "f.toml:7: server.ssh_wait: must be a whole number from 1 to 2",
    );
    bad(
        &ssh("head_timeout = 2"),
        "f.toml:2: server.ssh_wait: missing: with this `head_timeout`, 1 to 1; 2 is the default",
    );
    assert_eq!(wait("head_timeout = 2\nssh_wait = 1"), 1);
}

#[test]
fn quantities_have_units() {
    let bandwidth =
        |text: &str| load("", &format!("bandwidth = '{text}'")).services[0].visitors.bandwidth;
    for (text, bytes) in [
        ("20 MB/s", 20_000_000),
        ("20MB/s", 20_000_000),
        ("160 Mbit/s", 20_000_000),
        ("8 kbit/s", 1_000),
        ("1.5 GB/s", 1_500_000_000),
        ("0.1 Gbit/s", 12_500_000),
        ("1 kB/s", 1_000),
        ("8.001 kbit/s", 1_000),
        ("1000 GB/s", 1_000_000_000_000),
    ] {
        assert_eq!(bandwidth(text), Some(bytes), "{text}");
    }
    let wanted = "bandwidth: must be such as `20 MB/s` or `160 Mbit/s`: kB, MB, GB, kbit, Mbit or \
                  Gbit, `/s` (1 MB is 1,000,000 bytes)";
    for text in [
        "20 MB",
        "20 mb/s",
        "20 Mb/s",
        "20 Mbps",
        "20 MiB/s",
        "20  MB/s",
        " 20 MB/s",
        "20 MB/s ",
        "20 MB /s",
        "20 MB/h",
        "-20 MB/s",
        "+20 MB/s",
        "1e3 kB/s",
        "1,5 MB/s",
        ".5 MB/s",
        "5. MB/s",
        "1.2.3 MB/s",
        "20",
        "MB/s",
        "",
        "20 kbits/s",
        "20 /s",
        "20 bit/s",
        "20 Bit/s",
        "9999999999999 MB/s",
        "2 MBbit/s",
    ] {
        wrong(&format!("bandwidth = '{text}'"), wanted);
    }
    wrong("bandwidth = 20", &format!("{wanted}, in quotes"));
    wrong("bandwidth = true", "bandwidth: must be a string in quotes, not a boolean");
    for text in ["0 MB/s", "0.9 kB/s", "7.9 kbit/s", "1001 GB/s"] {
        wrong(&format!("bandwidth = '{text}'"), "bandwidth: must be 1 kB/s to 1000 GB/s");
    }
    let memory = |value: &str, reason: &str| {
        let text = file(&format!("limits = {{ memory = {value} }}"), "");
        bad(&text, &format!("f.toml:5: server.limits.memory: {reason}"));
    };
    let wanted = "must be a size such as `64 MB`: kB, MB or GB (1 MB is 1,000,000 bytes)";
    for value in ["'64'", "'64 MB/s'", "'64 Mbit'", "'64 MiB'", "'64 M'", "'lots'"] {
        memory(value, wanted);
    }
    memory("64", &format!("{wanted}, in quotes"));
    memory("'999 kB'", "must be 1 MB to 4 GB");
    memory("'5 GB'", "must be 1 MB to 4 GB");
}

#[test]
fn wrong_numbers_and_tables_are_told() {
    let million = "must be a whole number from 1 to 1000000";
    for (line, error) in [
        ("max_visitors = 0", "max_visitors: must be a whole number from 1 to 1073741824"),
        ("rate = 50", "rate: must be a table: `{ per_second = 50, burst = 100 }`"),
        ("rate = {}", "rate.per_second: missing: how many may come in a second, such as 50"),
        ("rate = { per_second = 0 }", &format!("rate.per_second: {million}")),
        ("rate = { per_second = 1, burst = 0 }", &format!("rate.burst: {million}")),
        (
            "rate = { per_second = 1, bursts = 9 }",
            "rate.bursts: unknown key; did you mean `burst`?",
        ),
        ("allow = []", "allow: names no network, so nobody could come; such as `192.0.2.0/24`"),
        (
            "deny = '10.0.0.1/8'",
            "deny: has bits set behind the first 8; the network is `10.0.0.0/8`",
        ),
        (
            "allow = ['10.0.0.0/8', 'nas']",
            "allow[1]: must be a network or an address: `10.0.0.0/8`, `2001:db8::/32`, `192.0.2.1`",
        ),
    ] {
        wrong(line, error);
    }
    bad(
        &file("", "allow = ['::/0', '10.0.0.0/8']\ndeny = '10.0.0.0/8'"),
        "f.toml:15: server.services.a.deny: the same network as server.services.a.allow[1] \
         (line 14); in one of them",
    );
    bad(
        &server("[server.services.d]\ntype = 'udp'\nbind_addr = '[::1]:53'\nmax_visitors = 3"),
        "f.toml:13: server.services.d.max_visitors: type udp has `udp_max_sessions` instead",
    );
}

fn access(lines: &str) -> AccessList {
    load("", lines).services.swap_remove(0).visitors.access
}

#[test]
fn the_longest_match_decides_who_may_come() {
    let admits =
        |list: &AccessList, address: &str| list.admits(address.parse().expect("an address"));
    let deny = access("deny = ['10.0.0.0/8', '2001:db8::/32', '192.0.2.1']");
    for (address, may_come) in [
        ("10.1.2.3", false),
        ("::ffff:10.1.2.3", false),
        ("11.0.0.0", true),
        ("192.0.2.1", false),
        ("192.0.2.2", true),
        ("2001:db8:ffff::", false),
        ("2001:db9::", true),
    ] {
        assert_eq!(admits(&deny, address), may_come, "{address}");
    }
    let both = "allow = ['10.0.0.0/8', '10.1.1.0/24']\ndeny = ['10.1.0.0/16', '10.1.1.9']";
    for (address, may_come) in [
        ("10.0.0.1", true),
        ("10.1.0.1", false),
        ("10.1.1.1", true),
        ("10.1.1.9", false),
        ("11.0.0.1", false),
        ("::1", false),
        ("::ffff:10.0.0.1", true),
    ] {
        assert_eq!(admits(&access(both), address), may_come, "{address}");
    }
    let all_but = access("allow = ['0.0.0.0/0', '::/0']\ndeny = '::1'");
    let seen = ["1.2.3.4", "2001:db8::1", "::1"].map(|address| admits(&all_but, address));
    assert_eq!(seen, [true, true, false]);
}

/// A network of a few addresses near each other, so that many overlap.
fn network() -> impl Strategy<Value = (IpAddr, u8)> {
    let v4 = (0..4u32, 28..=32u8).prop_map(|(low, length)| {
        let bits = 0x0a00_0000 | low << 2;
        (IpAddr::V4(Ipv4Addr::from_bits(bits & u32::MAX << (32 - length))), length)
    });
    let v6 = (0..4u128, 124..=128u8).prop_map(|(low, length)| {
        let bits = 0x2001_0db8 << 96 | low << 2;
        (IpAddr::V6(Ipv6Addr::from_bits(bits & u128::MAX << (128 - length))), length)
    });
    prop_oneof![v4, v6]
}

/// How many bits two addresses of one family have in common from the left.
fn common(one: IpAddr, other: IpAddr) -> Option<u32> {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            Some((one.to_bits() ^ other.to_bits()).leading_zeros())
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            Some((one.to_bits() ^ other.to_bits()).leading_zeros())
        }
        _ => None,
    }
}

proptest! {
    #[test]
    fn the_list_is_as_the_naive_one(
        rules in proptest::collection::vec((network(), any::<bool>()), 1..8),
        low in 0..16u8,
    ) {
        let mut kept: Vec<((IpAddr, u8), bool)> = Vec::new();
        for (network, may_come) in rules {
            if !kept.iter().any(|(known, _)| *known == network) {
                kept.push((network, may_come));
            }
        }
        let list = |kind: bool| {
            let of_kind = kept.iter().filter(|(_, may_come)| *may_come == kind);
            let shown = of_kind.map(|((address, length), _)| format!("'{address}/{length}'"));
            shown.collect::<Vec<_>>().join(", ")
        };
        let (allow, deny) = (list(true), list(false));
        let mut lines = format!("deny = [{deny}]");
        if !allow.is_empty() {
            lines += &format!("\nallow = [{allow}]");
        }
        let list = access(&lines);
        let v4 = Ipv4Addr::new(10, 0, 0, low);
        let v6 = IpAddr::from(Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(low)));
        let mapped = IpAddr::from(v4.to_ipv6_mapped());
        for (address, as_if) in [(v4.into(), v4.into()), (v6, v6), (mapped, v4.into())] {
            let matching = kept.iter().filter(|((network, length), _)| {
                common(*network, as_if).is_some_and(|bits| bits >= u32::from(*length))
            });
            let longest = matching.max_by_key(|((_, length), _)| *length);
            let expected = longest.map_or(allow.is_empty(), |(_, may_come)| *may_come);
            prop_assert_eq!(list.admits(address), expected, "{} in\n{}", address, &lines);
        }
    }
}

#[test]
fn those_who_are_here_have_a_while_when_it_ends() {
    let drain = |line: &str| load(line, "").drain_time;
    assert_eq!(drain(""), 3 * SECOND);
    assert_eq!(drain("drain_time = 0"), Duration::ZERO);
    assert_eq!(drain("drain_time = 600"), 600 * SECOND);
    bad(
        &file("drain_time = 601", ""),
        "f.toml:5: server.drain_time: must be a whole number from 0 to 600",
    );
    let client = |line: &str| format!("[client]\nremote_addr = 'a:1'\n{line}\n[client.services]");
    let drain =
        |line: &str| parse(&client(line)).expect("sound").client.expect("[client]").drain_time;
    assert_eq!([drain(""), drain("drain_time = 9")], [3 * SECOND, 9 * SECOND]);
    bad(
        &client("drain_time = -1"),
        "f.toml:3: client.drain_time: must be a whole number from 0 to 600",
    );
}

#[test]
fn congestion_control_is_a_name_or_one_of_two_words() {
    let client = |line: &str| format!("[client]\nremote_addr = 'a:1'\n{line}\n[client.services]");
    let of = |line: &str| {
        let server = parse(&file(line, "")).expect("sound").server.expect("[server]");
        let client = parse(&client(line)).expect("sound").client.expect("[client]");
        assert_eq!(server.tcp.congestion, client.tcp.congestion, "{line}");
        server.tcp.congestion
    };
    assert_eq!(of(""), Congestion::Auto);
    assert_eq!(of("congestion_control = 'auto'"), Congestion::Auto);
    assert_eq!(of("congestion_control = 'system'"), Congestion::System);
    assert_eq!(of("congestion_control = 'cubic'"), Congestion::Named("cubic".into()));
    for name in ["", "BBR", "a b", "a_name_of_over_15"] {
        let error = "must be auto, system or one of \
                     /proc/sys/net/ipv4/tcp_available_congestion_control";
        let text = file(&format!("congestion_control = '{name}'"), "");
        bad(&text, &format!("f.toml:5: server.congestion_control: {error}"));
    }
}
