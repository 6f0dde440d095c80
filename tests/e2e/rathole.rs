//! rathole 0.5.0 itself, the other program at either end.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::Proc;
use crate::house::Vps;

/// The program: `$RATHOLE`, or what `tests/all` has installed, or the one on the path.
pub(crate) fn program() -> PathBuf {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/rathole/bin/rathole");
    let program = match std::env::var_os("RATHOLE") {
        Some(named) => named.into(),
        None if installed.exists() => installed,
        None => PathBuf::from("rathole"),
    };
    let asked = Command::new(&program).arg("--version").output();
    let version = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    assert!(
        matches!(&version, Ok(text) if text.contains("0.5.0")),
        "this test needs rathole 0.5.0; {} says {version:?}. Run tests/all once, or set RATHOLE",
        program.display()
    );
    program
}

/// Starts rathole with a file in the role that it has.
pub(crate) fn start(vps: &Vps, name: &str, file: &str) -> Proc {
    let file = vps.dir.write(&format!("{name}.toml"), file);
    let mut command = Command::new(program());
    command.arg(file).env("RUST_LOG", "info");
    Proc::start(name, &vps.dir, &command)
}

/// Starts a rathole client; [`crate::house::client_port`] writes its services, whatever the type
/// that they have on the server.
pub(crate) fn client(vps: &Vps, name: &str, services: &str) -> Proc {
    start(vps, name, &vps.client_file(services))
}
