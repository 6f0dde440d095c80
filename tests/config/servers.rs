//! Several servers for one client.

use underpass::config::{ClientConfig, changes};

use super::*;

const NOISE: &str = "transport.type = 'noise'\n\
    transport.noise.remote_public_key = '${UNDERPASS_PUBLIC_KEY}'\n";
const HOME: &str = "[client.services.pi]\nlocal_addr = 'a:1'\n";

fn file(keys: &str) -> String {
    format!("[client]\n{keys}\n{HOME}")
}

fn read(keys: &str) -> ClientConfig {
    good(&file(keys), &[]).client.expect("[client]")
}

fn hosts(client: &ClientConfig) -> Vec<String> {
    client.servers.iter().map(|server| server.addr.to_string()).collect()
}

#[test]
fn a_list_of_servers_that_are_alike() {
    let client = read(&format!(
        "default_token = '{MARKER}'\nresolve = 'all'\n\
         remote_addr = ['vps1.example:2333', '[2001:db8::1]:2333']\n{NOISE}"
    ));
    assert_eq!(hosts(&client), ["vps1.example:2333", "[2001:db8::1]:2333"]);
    for server in &client.servers {
        assert!(server.all_addresses && server.name.is_empty() && server.proxy.is_none());
        assert_eq!(server.transport, client.servers[0].transport);
        assert_eq!(server.token_of(&client.services[0]).expose(), MARKER.as_bytes());
    }
}

#[test]
fn each_server_has_what_its_table_says_and_else_what_all_have() {
    let client = read(&format!(
        "resolve = 'all'\n{NOISE}\
         [client.servers.one]\nremote_addr = 'vps1.example:2333'\ndefault_token = '{MARKER}1'\n\
         [client.servers.two]\nremote_addr = 'vps2.example:2333'\ndefault_token = '{MARKER}2'\n\
         resolve = 'one'\ntransport.tcp.proxy = 'http://proxy.example:3128'\n\
         transport.type = 'noise'\n\
         transport.noise.remote_public_key = '{KEY}'\n\
         transport.noise.pattern = 'Noise_NK_25519_ChaChaPoly_BLAKE2s'\n\
         [client.services.own]\nlocal_addr = 'a:2'\ntoken = '{MARKER}3'"
    ));
    let [one, two] = &client.servers[..] else { panic!("two") };
    assert_eq!((&*one.name, &*two.name), ("one", "two"));
    assert_eq!((one.all_addresses, two.all_addresses), (true, false));
    assert_eq!((one.proxy.is_some(), two.proxy.is_some()), (false, true));
    assert_ne!(one.transport, two.transport);
    let [own, pi] = &client.services[..] else { panic!("two services") };
    let token = |number| format!("{MARKER}{number}").into_bytes();
    assert_eq!(one.token_of(pi).expose(), token(1));
    assert_eq!(two.token_of(pi).expose(), token(2));
    assert_eq!(one.token_of(own).expose(), token(3));
    assert_eq!(two.token_of(own).expose(), token(3));
    // Of `[client]`, for a server whose table has none.
    let client = read(&format!(
        "default_token = '{MARKER}'\n{NOISE}\
         [client.servers.one]\nremote_addr = 'vps1.example:2333'\n\
         [client.servers.two]\nremote_addr = 'vps2.example:2333'\ndefault_token = '{MARKER}2'"
    ));
    let [one, two] = &client.servers[..] else { panic!("two") };
    assert_eq!(one.token_of(&client.services[0]).expose(), MARKER.as_bytes());
    assert_eq!(two.token_of(&client.services[0]).expose(), token(2));
}

#[test]
fn what_no_server_can_be_is_said() {
    let many: Vec<String> = (0..17).map(|number| format!("'a:{}'", number + 1)).collect();
    let many = format!("remote_addr = [{}]", many.join(","));
    for (keys, error) in [
        ("remote_addr = []", "2: client.remote_addr: names no server"),
        (
            "remote_addr = ['a:1', 'b:1', 'A:1']",
            "2: client.remote_addr[2]: the same server as client.remote_addr[0] (line 2)",
        ),
        (&*many, "2: client.remote_addr[16]: too many: a client has 16 servers at most"),
        (
            "[client.servers]",
            "2: client.servers: names no server: each has a table `[client.servers.NAME]`",
        ),
        (
            "remote_addr = 'a:1'\n[client.servers.b]\nremote_addr = 'b:1'",
            "3: client.servers: remote_addr is here too: either that, or a table for each server",
        ),
        (
            "[client.servers.b]\nresolve = 'one'",
            "2: client.servers.b.remote_addr: missing: the server's bind_addr, such as \
             `vps.example.com:2333`",
        ),
        (
            "[client.servers.b]\nremote_addr = 'b:1'\n[client.servers.c]\nremote_addr = 'B:1'",
            "5: client.servers.c.remote_addr: the same server as client.servers.b.remote_addr \
             (line 3)",
        ),
        (
            "[client.servers.b]\nremote_addr = 'b:1'\nheartbeat_timeout = 3",
            "4: client.servers.b.heartbeat_timeout: unknown key; known here: remote_addr, resolve, \
             default_token, transport",
        ),
        (
            "remote_addr = 'a:1'\nresolve = 'any'",
            "3: client.resolve: must be one (the first that answers) or all",
        ),
        (
            "remote_addr = 'a:1'\nresolve = 'all'\ntransport.tcp.proxy = 'http://p:1'",
            "3: client.resolve: must be one: the proxy looks the server's name up itself",
        ),
        (
            "[client.servers.b]\nremote_addr = 'b:1'\ntransport.tcp.keepalive_secs = 3",
            "4: client.servers.b.transport.tcp.keepalive_secs: unknown key; known here: proxy",
        ),
        (
            "[client.servers.b]\nremote_addr = 'b:1'\ndefault_token = 'abcdefghijklmnop'\n\
             [client.servers.c]\nremote_addr = 'c:1'",
            "7: client.services.pi.token: missing: a secret that server and client share; or set \
             `default_token`",
        ),
    ] {
        bad(&file(keys), &format!("f.toml:{error}"));
    }
}

/// Only of what a server uses.
#[test]
fn a_transport_in_the_clear_is_warned_of_where_it_is_used() {
    let own = "transport.type = 'noise'\n\
        transport.noise.remote_public_key = '${UNDERPASS_PUBLIC_KEY}'\n";
    let keys = format!(
        "default_token = '{MARKER}'\n[client.servers.b]\nremote_addr = 'b:1'\n{own}\
         [client.servers.c]\nremote_addr = 'c:1'\n"
    );
    let all_own = format!("{keys}{own}");
    assert_eq!(read(&all_own).servers.len(), 2);
    let warning =
        "f.toml:1: client.transport: the tunnel is not encrypted; type = \"noise\" is".to_owned();
    assert_eq!(parse(&file(&keys)).expect("it loads").warnings, [warning]);
    let clear = format!("{keys}transport.type = 'tcp'\n");
    let warning = "f.toml:9: client.servers.c.transport.type: the tunnel is not encrypted; type = \
                   \"noise\" is";
    assert_eq!(parse(&file(&clear)).expect("it loads").warnings, [warning]);
}

#[test]
fn a_reload_says_which_server_has_changed() {
    let before = read(&format!(
        "default_token = '{MARKER}'\n{NOISE}[client.servers.b]\nremote_addr = 'b:1'\n\
         [client.servers.c]\nremote_addr = 'c:1'"
    ));
    let after = read(&format!(
        "default_token = '{MARKER}'\n{NOISE}[client.servers.b]\nremote_addr = 'b:2'\n\
         default_token = '{MARKER}2'\n[client.servers.d]\nremote_addr = 'd:1'\nresolve = 'all'"
    ));
    let said: Vec<String> =
        changes::client(&before, &after).iter().map(ToString::to_string).collect();
    for change in [
        "server b: remote_addr: b:2 instead of b:1",
        "server b: default_token: another one",
        "server c: remote_addr: none instead of c:1",
        "server d: remote_addr: d:1 instead of none",
        "server d: resolve: all instead of none",
    ] {
        assert!(said.iter().any(|said| said == change), "{change}: {said:?}");
    }
    assert!(changes::client(&before, &before).is_empty());
    let list = |all: &str| read(&format!("default_token = '{MARKER}'\n{NOISE}remote_addr = {all}"));
    let said = changes::client(&list("['a:1', 'b:1']"), &list("['a:1', 'c:1']"));
    let said: Vec<String> = said.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["remote_addr: a:1, c:1 instead of a:1, b:1"]);
}
