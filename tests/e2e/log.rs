//! The ordinary log where nobody reads it: it goes to a pipe that is full.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open};

use crate::harness::{PATIENCE, Proc, run_ok, wait_until};
use crate::home::Home;
use crate::house::{Vps, client_service, server_service};
use crate::visitor::{home, visit};

/// A pipe in which there is no room, for one role's stderr.
struct Full {
    path: PathBuf,
    /// Both of its ends; not blocking.
    file: File,
}

impl Full {
    fn new(vps: &Vps) -> Full {
        let path = vps.dir.path("stderr");
        run_ok(Command::new("mkfifo").arg(&path));
        let file =
            open(&path, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let mut full = Full { path, file: File::from(file) };
        while full.has_room() {}
        full
    }

    fn has_room(&mut self) -> bool {
        match self.file.write(&[b'\n'; 1024]) {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Runs `start` with all that it starts talking into the pipe.
    fn around<T>(&self, vps: &mut Vps, start: impl FnOnce(&Vps) -> T) -> T {
        let script = "export RUST_LOG=debug; exec \"$@\" 2>\"$0\"";
        let path = self.path.to_str().unwrap();
        vps.wrapper = ["sh", "-c", script, path].map(str::to_owned).into();
        let started = start(vps);
        vps.wrapper.clear();
        started
    }
}

/// A name that makes lines long.
fn long_name() -> String {
    ["x".repeat(60), "y".repeat(60), "z".repeat(60), "example.com".into()].join(".")
}

/// One role with a stderr that is full, and the home behind both.
fn deaf(role: &str) -> (Vps, Full, Proc, Proc, Home) {
    let mut vps = Vps::new();
    let full = Full::new(&vps);
    let there = Home::named(vps.ip, "pi");
    let services = server_service("pi", &["**"]);
    let server = |vps: &Vps| vps.server(&services);
    let client = |vps: &Vps| vps.client_ready("client", &client_service("pi", there.address));
    let (server, client) = if role == "server" {
        let server = full.around(&mut vps, server);
        (server, client(&vps))
    } else {
        let server = server(&vps);
        (server, full.around(&mut vps, client))
    };
    (vps, full, server, client, there)
}

#[test]
fn a_stderr_that_nobody_reads_stops_neither_role() {
    for role in ["server", "client"] {
        let (vps, mut full, mut server, mut client, _home) = deaf(role);
        for number in 0..2_000 {
            assert_eq!(visit(vps.https, "pi.example.com"), home("pi"), "{role}: {number}");
        }
        assert!(!full.has_room(), "{role}: it was never full");
        for process in [&mut client, &mut server] {
            process.signal(rustix::process::Signal::TERM);
            let status = process.wait_exit(Duration::from_secs(5));
            assert!(status.success(), "{role}: {status}");
        }
    }
}

/// What found no room is counted, and said once somebody reads on.
#[test]
fn lines_that_were_dropped_are_spoken_of_when_there_is_room_again() {
    let (vps, mut full, _server, mut client, _home) = deaf("client");
    let name = long_name();
    // Over 1 MB of lines wait, and no more do.
    for _ in 0..5_000 {
        assert_eq!(visit(vps.https, &name), home("pi"));
    }
    let mut text = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    wait_until(PATIENCE, "the notice", || {
        match full.file.read(&mut piece) {
            Ok(length) => text.extend_from_slice(&piece[..length]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        String::from_utf8_lossy(&text).contains("lines are missing here")
    });
    let text = String::from_utf8_lossy(&text).into_owned();
    let notices: Vec<&str> = text.lines().filter(|line| line.contains("missing")).collect();
    let [notice] = notices[..] else { panic!("{notices:?}") };
    let missing = notice.split(' ').find_map(|word| word.parse::<usize>().ok()).unwrap();
    assert!((100..50_000).contains(&missing), "{notice}");
    assert_eq!(notice.split(' ').next(), Some("underpass:"), "a line of its own: {notice}");
    // From here on nothing is missing, and what is said at the end is not lost.
    let reader = thread::spawn(move || {
        let mut text = String::new();
        let mut file = File::open(&full.path).unwrap();
        drop(full);
        file.read_to_string(&mut text).unwrap();
        text
    });
    assert_eq!(visit(vps.https, "last.example.com"), home("pi"));
    client.stop();
    let rest = reader.join().unwrap();
    assert!(rest.contains("last.example.com") && !rest.contains("missing"), "{rest}");
}
