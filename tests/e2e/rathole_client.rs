//! A client with `protocol = "rathole"`: with the real rathole server, with our own, and with
//! servers played by the test.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::harness::{PATIENCE, Proc, SECRET, alone, eventually, free_port, run_ok, wait_until};
use crate::home::{Home, digest};
use crate::house::{Keys, Transport, Vps, client_port, returns_to, server_port, settled};
use crate::rathole;
use crate::tunnel::echo_all;
use crate::visitor::{connect, reset};

/// Whose server reads the file, which is rathole's.
#[derive(Debug, Clone, Copy)]
enum Server {
    Rathole,
    Underpass,
}

impl Server {
    fn start(self, vps: &Vps, services: &str) -> Proc {
        let transport = match vps.transport {
            Transport::Tcp => "type = \"tcp\"\n".to_owned(),
            _ => format!(
                "type = \"noise\"\n[server.transport.noise]\nlocal_private_key = \"{}\"\n",
                vps.server_keys.private
            ),
        };
        let file = format!(
            "[server]\nbind_addr = \"{}\"\n[server.transport]\n{transport}{services}",
            vps.tunnel
        );
        let server = match self {
            Server::Underpass => vps.underpass("server", "--server", &file),
            Server::Rathole => rathole::start(vps, "rathole", &file),
        };
        wait_until(PATIENCE, "the server listens", || TcpStream::connect(vps.tunnel).is_ok());
        server
    }
}

/// A place for a rathole client.
fn vps(transport: Transport) -> Vps {
    let mut vps = Vps::with(transport);
    vps.client_extra = "protocol = \"rathole\"\n".to_owned();
    vps
}

/// Waits until the port echoes.
#[track_caller]
fn wait_echo(port: SocketAddr) {
    wait_until(PATIENCE, "the port echoes", || {
        let Ok(mut visitor) = connect(port) else { return false };
        let mut back = [0; 2];
        visitor.write_all(b"hi").is_ok() && visitor.read_exact(&mut back).is_ok() && &back == b"hi"
    });
}

#[test]
fn bytes_pass_whole_both_ways_over_tcp_and_noise() {
    const SIZE: u64 = 100 << 20;
    let _alone = alone();
    for server in [Server::Rathole, Server::Underpass] {
        for transport in [Transport::Tcp, Transport::Noise] {
            let vps = vps(transport);
            let there = Home::echo(vps.ip);
            let (port, other) = (free_port(vps.ip), free_port(vps.ip));
            let services = server_port("echo", port) + &server_port("other", other);
            let _server = server.start(&vps, &services);
            let services =
                client_port("echo", there.address) + &client_port("other", there.address);
            let client = vps.client("client", &services);
            wait_echo(port);
            wait_echo(other);
            let before = settled(&[&client]);

            let mut visitor = connect(port).unwrap();
            let mut writer = visitor.try_clone().unwrap();
            let sent = thread::spawn(move || {
                let (mut hash, mut block) = (Sha256::new(), vec![0u8; 1 << 20]);
                for round in 0..SIZE >> 20 {
                    let mut state = round ^ 0x9e37_79b9_7f4a_7c15;
                    for byte in &mut block {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        *byte = (state >> 56) as u8;
                    }
                    hash.update(&block);
                    writer.write_all(&block).unwrap();
                }
                writer.shutdown(Shutdown::Write).unwrap();
                hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
            });
            let (length, back) = digest(&mut visitor).unwrap();
            assert_eq!((length, back), (SIZE, sent.join().unwrap()), "{server:?}");

            thread::scope(|scope| {
                for seed in 0..50 {
                    let port = if seed % 2 == 0 { port } else { other };
                    scope.spawn(move || echo_all(port, seed));
                }
            });
            returns_to(&before, &[&client]);
        }
    }
}

#[test]
fn either_side_may_stop_and_come_back() {
    for server in [Server::Rathole, Server::Underpass] {
        let vps = vps(Transport::Noise);
        let there = Home::echo(vps.ip);
        let port = free_port(vps.ip);
        let services = client_port("echo", there.address);
        // The client is there first.
        let mut client = vps.client("client", &services);
        client.wait_for_log(&["service echo: no session with server", "refused"]);
        let mut there = server.start(&vps, &server_port("echo", port));
        wait_echo(port);
        for orderly in [true, false] {
            match orderly {
                true => client.stop(),
                false => client.kill(),
            }
            client = vps.client("client", &services);
            wait_echo(port);
        }
        // A rathole server that is killed leaves no time for a goodbye.
        there.kill();
        drop(there);
        let _server = server.start(&vps, &server_port("echo", port));
        wait_echo(port);
        let up =
            |log: String| log.lines().filter(|line| line.contains("service echo is up")).count();
        assert!(up(client.log()) >= 2, "{}", client.log());
        client.stop();
    }
}

#[test]
fn ends_and_resets_are_passed_on_as_far_as_the_protocol_can() {
    for server in [Server::Rathole, Server::Underpass] {
        let vps = vps(Transport::Noise);
        let (there, connections) = Home::by_hand(vps.ip);
        let (port, closed) = (free_port(vps.ip), free_port(vps.ip));
        let nowhere = free_port(vps.ip);
        let services = server_port("hand", port) + &server_port("closed", closed);
        let _server = server.start(&vps, &services);
        let services = client_port("hand", there.address) + &client_port("closed", nowhere);
        let client = vps.client("client", &services);
        client.wait_for_log(&["service hand is up"]);
        client.wait_for_log(&["service closed is up"]);
        let visit = || eventually(PATIENCE, "the port is open", || connect(port).ok());

        // A half-close, and an answer after it.
        let mut visitor = visit();
        visitor.write_all(b"all of it").unwrap();
        visitor.shutdown(Shutdown::Write).unwrap();
        let mut home = connections.next();
        let mut heard = Vec::new();
        home.read_to_end(&mut heard).unwrap();
        assert_eq!(heard, b"all of it");
        home.write_all(b"the answer").unwrap();
        drop(home);
        heard.clear();
        visitor.read_to_end(&mut heard).unwrap();
        assert_eq!(heard, b"the answer", "{server:?}");

        // A home that breaks off does not leave its visitor hanging, nor the other way round.
        let mut visitor = visit();
        visitor.write_all(b"x").unwrap();
        let mut home = connections.next();
        home.read_exact(&mut [0]).unwrap();
        reset(home);
        let ends = |stream: &mut TcpStream| match stream.read(&mut [0; 16]) {
            Ok(0) => true,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
            Ok(_) => false,
        };
        assert!(ends(&mut visitor), "{server:?}");
        let mut visitor = visit();
        visitor.write_all(b"x").unwrap();
        let mut home = connections.next();
        home.read_exact(&mut [0]).unwrap();
        reset(visitor);
        assert!(ends(&mut home), "{server:?}");

        // A home that is down: its visitor is let go at once, and the log says why.
        let mut visitor = eventually(PATIENCE, "the port is open", || connect(closed).ok());
        assert!(ends(&mut visitor), "{server:?}");
        client.wait_for_log(&[&format!("service at {nowhere} cannot be reached")]);
    }
}

/// What is wrong is said in one line, tried again with growing pauses, and disturbs nobody.
#[test]
fn what_a_server_refuses_is_said_and_tried_again() {
    for server in [Server::Rathole, Server::Underpass] {
        let mut vps = vps(Transport::Noise);
        let there = Home::echo(vps.ip);
        let (port, other) = (free_port(vps.ip), free_port(vps.ip));
        let services = server_port("echo", port) + &server_port("other", other);
        let _server = server.start(&vps, &services);
        let wrong = client_port("other", there.address)
            .replace(&format!("{SECRET}-other"), &format!("{SECRET}-wrong"));
        let services =
            client_port("echo", there.address) + &wrong + &client_port("nowhere", there.address);
        let client = vps.client("client", &services);
        let other = "service other: no session with server";
        client.wait_for_log(&[other, "the server's file has another token"]);
        let nowhere = "service nowhere: no session with server";
        client.wait_for_log(&[nowhere, "the server's file has no service of that name"]);
        wait_echo(port);
        let lines = |log: &str, what| log.lines().filter(|line| line.contains(what)).count();
        wait_until(PATIENCE, "both are asked for again", || {
            lines(&client.log(), other) >= 2 && lines(&client.log(), nowhere) >= 2
        });
        assert_eq!(lines(&client.log(), "service echo is up"), 1);

        vps.server_keys = Keys::new();
        let stranger = vps.client("stranger", &client_port("echo", there.address));
        stranger.wait_for_log(&["service echo: no session with server", "remote_public_key"]);
        vps.transport = Transport::Tcp;
        let clear = vps.client("clear", &client_port("echo", there.address));
        clear.wait_for_log(&["service echo: no session with server", "before its ack"]);
        wait_echo(port);
    }
}

/// A server by hand over transport `tcp`: up to the ack, and what it was told.
fn play(listener: &TcpListener) -> (TcpStream, [u8; 37], [u8; 32]) {
    let (mut control, _) = listener.accept().unwrap();
    let (mut hello, mut auth) = ([0; 37], [0; 32]);
    control.read_exact(&mut hello).unwrap();
    let mut answer = vec![0, 0, 0, 0, 1];
    answer.extend([7; 32]);
    control.write_all(&answer).unwrap();
    control.read_exact(&mut auth).unwrap();
    control.write_all(&[0; 4]).unwrap();
    (control, hello, auth)
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

#[test]
fn a_control_channel_that_dies_takes_its_spare_channels_and_no_visitor() {
    let mut vps = vps(Transport::Tcp);
    vps.client_extra += "heartbeat_timeout = 2\n";
    let listener = TcpListener::bind(vps.tunnel).unwrap();
    let there = Home::echo(vps.ip);
    let client = vps.client("client", &client_port("echo", there.address));
    let (mut control, hello, auth) = play(&listener);
    assert_eq!(hello[..5], [0, 0, 0, 0, 1]);
    assert_eq!(hello[5..], sha256(&[b"echo"]));
    assert_eq!(auth, sha256(&[SECRET.as_bytes(), b"-echo", &[7; 32]]));
    control.write_all(&[0; 8]).unwrap();
    let channel = || {
        let (mut channel, _) = listener.accept().unwrap();
        let mut hello = [0; 37];
        channel.read_exact(&mut hello).unwrap();
        assert_eq!((&hello[..5], &hello[5..]), (&[1, 0, 0, 0, 1][..], &auth[..]));
        channel
    };
    let (mut used, mut spare) = (channel(), channel());
    // The visitor's first bytes come with the command.
    used.write_all(b"\0\0\0\0first").unwrap();
    let mut back = [0; 5];
    used.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"first");
    // Heartbeats keep it alive; silence ends it.
    for _ in 0..4 {
        thread::sleep(Duration::from_millis(750));
        control.write_all(&[1, 0, 0, 0]).unwrap();
    }
    let silent = Instant::now();
    assert!(!client.log().contains("no session"), "{}", client.log());
    client.wait_for_log(&["service echo: no session with server", "timed out"]);
    assert!(silent.elapsed() > Duration::from_millis(1500), "{:?}", silent.elapsed());
    let end = spare.read(&mut back);
    assert!(matches!(&end, Ok(0)) || end.is_err(), "{end:?}");
    used.write_all(b"later").unwrap();
    used.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"later");
    // And the channel is dialled again.
    let _control = play(&listener);
}

/// Whatever a server does wrong, the client says so, lets go in time, and comes back.
#[test]
fn garbage_silence_and_early_ends_are_survived() {
    let vps = vps(Transport::Tcp);
    let hello = {
        let mut bytes = vec![0, 0, 0, 0, 1];
        bytes.extend([7; 32]);
        bytes
    };
    let listener = TcpListener::bind(vps.tunnel).unwrap();
    let there = Home::echo(vps.ip);
    let mut client = vps.client("client", &client_port("echo", there.address));
    let serve = |bytes: &[u8], hold: bool| {
        let (mut control, _) = listener.accept().unwrap();
        let _ = control.write_all(bytes);
        if hold {
            // Until the client has had enough.
            control.set_read_timeout(Some(PATIENCE)).unwrap();
            let _ = control.read_to_end(&mut Vec::new());
        }
    };
    serve(b"HTTP/1.1 400 Bad Request\r\nServer: something else\r\n\r\n", true);
    let not_rathole = "before its ack: it may not be a rathole server";
    client.wait_for_log(&["a rathole message that may not be", not_rathole]);
    let start = Instant::now();
    serve(b"", true);
    client.wait_for_log(&["service echo: no session", "timed out", "before its ack"]);
    assert!(start.elapsed() < PATIENCE);
    let mut other = hello.clone();
    other[4] = 2;
    serve(&other, true);
    client.wait_for_log(&["service echo: no session", "Version(2)"]);
    let whole = [&hello[..], &[9, 0, 0, 0]].concat();
    serve(&whole, true);
    client.wait_for_log(&["service echo: no session", "UnknownTag"]);
    serve(&hello[..20], false);
    let lines = || client.log().lines().filter(|line| line.contains(not_rathole)).count();
    wait_until(PATIENCE, "a hello that is cut", || lines() == 4);
    client.assert_running();
    let cpu = client.cpu();
    // Then a sound one.
    let (mut control, ..) = play(&listener);
    control.write_all(&[0; 4]).unwrap();
    let (mut channel, _) = listener.accept().unwrap();
    channel.read_exact(&mut [0; 37]).unwrap();
    // An end in the middle of a command is an end.
    channel.write_all(&[0, 0]).unwrap();
    drop(channel);
    // A command for UDP on a TCP service is said.
    control.write_all(&[0; 4]).unwrap();
    let (mut channel, _) = listener.accept().unwrap();
    channel.read_exact(&mut [0; 37]).unwrap();
    channel.write_all(&[1, 0, 0, 0]).unwrap();
    client.wait_for_log(&["service echo: its type is tcp here and udp on the server"]);
    assert!(client.cpu() - cpu < Duration::from_secs(1), "it spins");
}

/// One clear line, whatever the transport, and the client stays to try again.
#[test]
fn a_native_client_knows_a_rathole_server_when_it_meets_one() {
    for transport in [Transport::Tcp, Transport::Noise] {
        let vps = Vps::with(transport);
        let port = free_port(vps.ip);
        let there = Home::echo(vps.ip);
        let mut server = Server::Rathole.start(&vps, &server_port("echo", port));
        let client = vps.client("client", &client_port("echo", there.address));
        let line = "it speaks rathole's protocol: set protocol = \"rathole\" in [client], \
                    or run underpass there";
        client.wait_for_log(&["no session with server", line]);
        let lines = || client.log().lines().filter(|text| text.contains(line)).count();
        wait_until(PATIENCE, "it is tried again", || lines() >= 2);
        let others = client.log().lines().filter(|text| !text.contains(line)).count();
        assert!(others <= 2, "{}", client.log());
        // And when underpass runs there, it is used.
        server.kill();
        drop(server);
        let _server = Server::Underpass.start(&vps, &server_port("echo", port));
        wait_echo(port);
    }
}

/// The client knows a server that is neither by the same means, and says no such thing of it.
#[test]
fn a_server_that_closes_on_hello_is_not_taken_for_rathole_s() {
    let vps = Vps::with(Transport::Tcp);
    let there = Home::echo(vps.ip);
    let server = Home::start_at(vps.tunnel, |mut stream| {
        let _ = stream.read(&mut [0; 4096]);
    });
    let client = vps.client("client", &client_port("echo", there.address));
    client.wait_for_log(&["no session with server", "it may not be an underpass server"]);
    wait_until(PATIENCE, "it is probed and tried again", || server.accepted() >= 4);
    assert!(!client.log().contains("rathole"), "{}", client.log());
}

/// `--genkey` prints the same shape, with and without the curve; each takes the other's keys.
#[test]
fn genkey_prints_what_rathole_prints() {
    let shape = |printed: &str| {
        let mask =
            |line: &str| if line.ends_with('=') { line.len().to_string() } else { line.into() };
        printed.split('\n').map(mask).collect::<Vec<String>>()
    };
    for curve in [&[][..], &["x25519"]] {
        let printed = |program: &Path| run_ok(Command::new(program).arg("--genkey").args(curve));
        let theirs = printed(&rathole::program());
        let ours = printed(Path::new(env!("CARGO_BIN_EXE_underpass")));
        assert_eq!(shape(&ours), shape(&theirs), "{ours}\n{theirs}");
        for text in [ours, theirs] {
            let keys: Vec<&str> = text.lines().filter(|line| line.ends_with('=')).collect();
            let &[private, public] = &keys[..] else { panic!("{text}") };
            let mut vps = vps(Transport::Noise);
            vps.server_keys = Keys { private: private.into(), public: public.into() };
            let there = Home::echo(vps.ip);
            let port = free_port(vps.ip);
            let _server = Server::Rathole.start(&vps, &server_port("echo", port));
            let _client = vps.client("client", &client_port("echo", there.address));
            wait_echo(port);
        }
    }
}
