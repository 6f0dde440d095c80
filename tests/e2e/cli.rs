//! What the command line starts; what it prints is `tests/cli.rs`'s business.

use std::process::Command;

use base64::Engine;

use crate::harness::{PATIENCE, Proc, SECRET, Scratch, run, run_ok, wait_until};
use crate::home::Home;
use crate::house::{Keys, Vps, client_service, server_service};
use crate::visitor::{home, visit};

/// The keys that `--genkey` prints are a pair: a tunnel with them comes up.
#[test]
fn genkey_prints_a_pair_that_works() {
    let printed = run_ok(Command::new(env!("CARGO_BIN_EXE_underpass")).arg("--genkey"));
    // As rathole prints it: a title line, then the key.
    let after = |title: &str| {
        let mut lines = printed.lines();
        lines.find(|line| line.to_lowercase().starts_with(title)).unwrap();
        let key = lines.next().unwrap().trim().to_owned();
        let bytes = base64::engine::general_purpose::STANDARD.decode(&key).unwrap();
        assert_eq!(bytes.len(), 32, "{printed}");
        key
    };
    let keys = Keys { private: after("private key"), public: after("public key") };
    let again = run_ok(Command::new(env!("CARGO_BIN_EXE_underpass")).arg("--genkey"));
    assert_ne!(printed, again);

    let vps = Vps { server_keys: keys, ..Vps::new() };
    let there = Home::named(vps.ip, "pi");
    let _server = vps.server(&server_service("pi", &["pi.example.com"]));
    let _client = vps.client("client", &client_service("pi", there.address));
    vps.wait_served("pi.example.com", "pi");
}

/// `underpass CONFIG` takes the role that the file has; a file of both roles serves both options.
#[test]
fn the_role_is_inferred_or_chosen_and_variables_are_read() {
    let vps = Vps::new();
    let there = Home::named(vps.ip, "pi");
    let named = |name: &str| format!("{SECRET}-{name}");
    let server = vps.server_file(&server_service("pi", &["pi.example.com"]));
    let client = vps.client_file(&client_service("pi", there.address));
    let [server, client] = [server, client].map(|file| file.replace(&named("pi"), "${PI_TOKEN}"));
    let both = format!("{server}\n{client}");
    let start = |name: &str, arguments: &[&str], file: &str| {
        let path = vps.dir.write(&format!("{name}.toml"), file);
        let mut command = Command::new(env!("CARGO_BIN_EXE_underpass"));
        command.args(arguments).arg(path).env("PI_TOKEN", named("pi")).env_remove("RUST_LOG");
        Proc::start(name, &vps.dir, &command)
    };
    for (round, (server_role, client_role, server_file, client_file)) in
        [(&[][..], &[][..], &server, &client), (&["--server"], &["--client"], &both, &both)]
            .into_iter()
            .enumerate()
    {
        let mut server = start(&format!("server-{round}"), server_role, server_file);
        let mut client = start(&format!("client-{round}"), client_role, client_file);
        wait_until(PATIENCE, "the service answers", || {
            server.assert_running();
            client.assert_running();
            visit(vps.https, "pi.example.com") == home("pi")
        });
    }
}

#[test]
fn an_address_in_use_ends_the_start_with_a_line_that_names_it() {
    let dir = Scratch::new();
    let vps = Vps::new();
    let taken = std::net::TcpListener::bind(vps.https).unwrap();
    let file = dir.write("server.toml", &vps.server_file(""));
    let mut command = Command::new(env!("CARGO_BIN_EXE_underpass"));
    let output = run(command.arg("--server").arg(file).env_remove("RUST_LOG"), b"");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains(&taken.local_addr().unwrap().to_string()), "{said}");
}
