//! Lists and ranges of ports.

use super::*;

#[test]
fn ports_are_counted_in_order_and_each_once() {
    let bind = "['0.0.0.0:9', '0.0.0.0:30-32', '[::]:30-32', '[::]:9', '127.0.0.1:0', '[::1]:0']";
    let text = format!("[server.services.a]\nbind_addr = {bind}");
    let config = parse(&server(&text)).expect("it loads");
    let service = &config.server.expect("[server]").services[0];
    let ports: Vec<_> = service.bind_addrs.iter().map(|addr| addr.port()).collect();
    assert_eq!(ports, [9, 30, 31, 32, 30, 31, 32, 9, 0, 0]);
    assert_eq!(service.port_offsets(), [0, 1, 2, 3, 1, 2, 3, 0, 4, 5]);
    assert_eq!(service.ports(), 6);
    let shown = ["0.0.0.0:9", "0.0.0.0:30-32", "[::]:30-32", "[::]:9", "127.0.0.1:0", "[::1]:0"];
    assert_eq!(underpass::config::show_ports(&service.bind_addrs), shown);

    let text = "[client.services.a]\nlocal_addr = 'nas:65000-65535'\n\
                [client.services.b]\nlocal_addr = '[::1]:5-5'";
    let services = good(&client(text), &[]).client.expect("[client]").services;
    let port = |service: usize, offset| services[service].local_port(offset);
    let at = |host: &str, port| Some(HostPort { host: host.into(), port });
    assert_eq!([services[0].local_ports, services[1].local_ports], [536, 1]);
    assert_eq!(port(0, 0), at("nas", 65000));
    assert_eq!(port(0, 535), at("nas", 65535));
    assert_eq!([port(0, 536), port(0, u16::MAX)], [None, None]);
    assert_eq!([port(1, 0), port(1, u16::MAX)], [at("::1", 5), at("::1", 5)]);
    for (port, goes) in [(64999, false), (65000, true), (65535, true)] {
        let target = HostPort { host: "nas".into(), port };
        assert_eq!(services[0].goes_to(&target), goes, "{port}");
    }
}

#[test]
fn as_many_ports_as_may_be_load_in_no_time() {
    let started = std::time::Instant::now();
    // Three tunnels and entries stand before them.
    let text = server("[server.services.a]\nbind_addr = '0.0.0.0:10000-12044'");
    let services = |text: &str| parse(text).expect("loads").server.expect("[server]").services;
    assert_eq!(services(&text)[0].ports(), 2045);
    // All on one port: each is compared with all before it.
    let list: Vec<_> = (0..2045).map(|i| format!("'127.0.{}.{}:1'", i / 256, i % 256)).collect();
    let text = server(&format!("[server.services.a]\nbind_addr = [{}]", list.join(",")));
    let service = &services(&text)[0];
    assert_eq!((service.bind_addrs.len(), service.ports()), (2045, 1));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

/// As rathole's listeners on Linux: the wildcard of IPv6 is both families, however it is written.
#[test]
fn the_wildcard_of_ipv6_is_both_families() {
    let show = |addrs: &[std::net::SocketAddr]| {
        addrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    for (value, expected) in [
        ("'[::]:7'", "[::]:7 0.0.0.0:7"),
        ("':::7'", "[::]:7 0.0.0.0:7"),
        ("'::1:7'", "[::1]:7"),
        ("['[::]:7', '0.0.0.0:7']", "[::]:7 0.0.0.0:7"),
        ("['192.0.2.1:7', '[::]:7']", "192.0.2.1:7 [::]:7"),
        ("'[::]:0'", "[::]:0"),
    ] {
        let text = |key: &str| {
            let bind = if key == "bind_addr" { "" } else { "bind_addr = '0.0.0.0:2333'\n" };
            format!("[server]\n{bind}{key} = {value}\n")
        };
        for key in ["bind_addr", "http_addr", "https_addr"] {
            let config = Config::parse("s.toml", &text(key), &|_| None).expect(value);
            let server = config.server.expect("[server]");
            let addrs = match key {
                "bind_addr" => &server.bind_addrs,
                "http_addr" => &server.http_addrs,
                _ => &server.https_addrs,
            };
            assert_eq!(show(addrs), expected, "{key} = {value}");
        }
        let service = format!(
            "[server]\nbind_addr = '0.0.0.0:2333'\n[server.services.a]\ntoken = 't'\n\
             bind_addr = {value}\n"
        );
        let config = Config::parse("s.toml", &service, &|_| None).expect(value);
        let server = config.server.expect("[server]");
        assert_eq!(show(&server.services[0].bind_addrs), expected, "{value}");
        assert_eq!(server.services[0].ports(), 1, "one port: {value}");
    }
    // A second service on the port is an error that names both.
    let two = "[server]\nbind_addr = '0.0.0.0:2333'\n[server.services.a]\ntoken = 't'\n\
               bind_addr = '[::]:7'\n[server.services.b]\ntoken = 't'\nbind_addr = '0.0.0.0:7'\n";
    let error = Config::parse("s.toml", two, &|_| None).expect_err("taken").to_string();
    let taken = "s.toml:8: server.services.b.bind_addr: this address is taken by \
                 server.services.a.bind_addr (line 5)";
    assert_eq!(error, taken);
}
