//! The article's set-up: its rathole files as they are, and what `import` makes of them and of its
//! Traefik labels, with real programs at both ends.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::Command;

use crate::harness::{PATIENCE, Proc, SECRET, free_port, run_ok, wait_until};
use crate::home::Home;
use crate::house::Vps;
use crate::rathole;
use crate::visitor::{Seen, UNRECOGNIZED_NAME, connect, home, say, visit};

const SERVER: &str = include_str!("../article/rathole.server.toml");
const CLIENTS: [(&str, &str); 2] = [
    ("pi", include_str!("../article/rathole.client.pi.toml")),
    ("local", include_str!("../article/rathole.client.local.toml")),
];

/// A file of the article with keys, tokens and addresses of this machine in the place of its own.
fn settle(text: &str, vps: &Vps, more: &[(&str, String)]) -> String {
    let mut text = text.to_owned();
    let own = [
        ("\"private_key\"", format!("\"{}\"", vps.server_keys.private)),
        ("\"public_key\"", format!("\"{}\"", vps.server_keys.public)),
        ("\"secret_token", format!("\"{SECRET}_token")),
        ("\"0.0.0.0:2333\"", format!("\"{}\"", vps.tunnel)),
        ("\"123.123.123.123:2333\"", format!("\"{}\"", vps.tunnel)),
    ];
    for (old, new) in own.iter().chain(more) {
        text = text.replace(old, new);
    }
    text
}

/// Both services of both homes; each says who it is, to TLS and to HTTP in its own way.
struct Homes {
    homes: Vec<(Home, Home)>,
}

impl Homes {
    fn start(vps: &Vps) -> Homes {
        let web = |name: &'static str| {
            Home::start(vps.ip, move |mut stream| {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut byte) {
                        Ok(1) => head.push(byte[0]),
                        _ => return,
                    }
                }
                let length = name.len();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{name}");
                let _ = stream.write_all(answer.as_bytes());
            })
        };
        let pair = |name| (web(name), Home::named(vps.ip, name));
        Homes { homes: vec![pair("pi"), pair("local")] }
    }

    /// What stands for `traefik:80` and `traefik:443` at a home.
    fn targets(&self, number: usize) -> [(&'static str, String); 2] {
        let (http, https) = &self.homes[number];
        [
            ("\"traefik:80\"", format!("\"{}\"", http.address)),
            ("\"traefik:443\"", format!("\"{}\"", https.address)),
        ]
    }
}

/// Status and body, or nothing.
fn get(entry: SocketAddr, host: &str) -> (String, String) {
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    if let Ok(mut stream) = connect(entry)
        && stream.write_all(request.as_bytes()).is_ok()
    {
        let _ = stream.read_to_string(&mut answer); // a cut answer is another one
    }
    let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
    (status, body)
}

/// Starts the homes' clients with these files.
fn start_clients(vps: &Vps, files: [String; 2], program: &str) -> [Proc; 2] {
    let [pi, local] = files;
    [("pi", pi), ("local", local)].map(|(name, file)| match program {
        "rathole" => rathole::start(vps, name, &file),
        _ => vps.underpass(name, "--client", &file),
    })
}

/// The rathole files with other keys, tokens and addresses alone; a port for each service.
fn serve_unchanged(program: &str) {
    let vps = Vps::new();
    let homes = Homes::start(&vps);
    let ports = ["5080", "5443", "5081", "5444"].map(|port| (port, free_port(vps.ip)));
    let server = ports.iter().fold(settle(SERVER, &vps, &[]), |file, (port, address)| {
        file.replace(&format!("\"0.0.0.0:{port}\""), &format!("\"{address}\""))
    });
    let _server = vps.underpass("server", "--server", &server);
    let files = [0, 1].map(|number| settle(CLIENTS[number].1, &vps, &homes.targets(number)));
    let _clients = start_clients(&vps, files, program);
    for (number, (name, _)) in CLIENTS.into_iter().enumerate() {
        let (http, https) = (ports[2 * number].1, ports[2 * number + 1].1);
        wait_until(PATIENCE, "the HTTP port is served", || get(http, "any.name").1 == name);
        wait_until(PATIENCE, "the TLS port is served", || say(https, b"?") == home(name));
    }
}

#[test]
fn the_articles_files_work_unchanged_with_our_clients() {
    serve_unchanged("underpass");
}

#[test]
fn the_articles_files_work_unchanged_with_ratholes_clients() {
    serve_unchanged("rathole");
}

/// The imported server file, names on both entries; the clients' files imported too, or unchanged.
fn serve_imported(program: &str) {
    let mut vps = Vps::new();
    vps.wrapper = vec!["env".into(), "SITE_HOSTNAME=example.com".into()];
    vps.wrapper.push("TRAEFIK_AUTH=admin:$apr1$UTUqVY6B$SG8yMVVUQ4Or3SA.nIC2k1".into());
    let homes = Homes::start(&vps);
    let import = |files: &[&str]| {
        let paths = files.iter().map(|name| vps.dir.path(name));
        run_ok(Command::new(env!("CARGO_BIN_EXE_underpass")).arg("import").args(paths))
    };
    // Which address the tunnel's port gets depends on what Docker publishes: it stays as it was.
    let published = settle(SERVER, &vps, &[]).replace(&vps.tunnel.to_string(), "0.0.0.0:2333");
    vps.dir.write("rathole.server.toml", &published);
    vps.dir.write("compose.yml", include_str!("../article/docker-compose.vps.yml"));
    let http = free_port(vps.ip);
    let entries = [
        ("\"0.0.0.0:80\"", format!("\"{http}\"")),
        ("\"0.0.0.0:443\"", format!("\"{}\"", vps.https)),
    ];
    let file = settle(&import(&["rathole.server.toml", "compose.yml"]), &vps, &entries);
    let _server = vps.underpass("server", "--server", &file);
    let files = [0, 1].map(|number| {
        let (name, file) = CLIENTS[number];
        let file = settle(file, &vps, &homes.targets(number));
        let old = format!("rathole.{name}.toml");
        vps.dir.write(&old, &file);
        // The types come from the server's files: no port here is 80 or 443.
        let imported = import(&[&old, "rathole.server.toml", "compose.yml"]);
        if program == "rathole" { file } else { imported }
    });
    let _clients = start_clients(&vps, files, program);
    for (name, _) in CLIENTS {
        for host in ["H", "www.H", "a-1.H", "www.a.H"] {
            let host = format!("{}.example.com", host.replace('H', name));
            let served = ("200".to_owned(), name.to_owned());
            wait_until(PATIENCE, "the name is served on 443", || {
                visit(vps.https, &host) == home(name)
            });
            wait_until(PATIENCE, "the name is served on 80", || get(http, &host) == served);
        }
        for host in ["a.b.H.example.com", "H.example.com.evil", "xH.example.com"] {
            let host = host.replace('H', name);
            assert_eq!(visit(vps.https, &host), Seen::Alert(UNRECOGNIZED_NAME), "{host}");
            assert_eq!(get(http, &host).0, "404", "{host}");
        }
    }
    let kept = fs::read_to_string(vps.dir.path("rathole.server.toml")).unwrap();
    assert_eq!(kept, published, "the import writes nothing");
}

#[test]
fn the_imported_files_serve_the_names_on_80_and_443() {
    serve_imported("underpass");
}

#[test]
fn the_imported_server_file_serves_the_names_with_ratholes_clients_unchanged() {
    serve_imported("rathole");
}
