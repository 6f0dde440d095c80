//! `underpass status`: asks the program that runs with a file how it is, and prints it.

mod ask;
mod shown;
mod tables;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::cli::Role;
use ask::Doors;

/// Not every service can be used.
const EXIT_OFFLINE: u8 = 3;
/// Of `--watch`.
const PAUSE: Duration = Duration::from_secs(2);
/// To the terminal's first place, and what stands behind is gone.
const CLEAR: &str = "\x1b[H\x1b[J";

/// Prints to stdout, and to stderr why not. `alive`: an answer is all that counts, as for a health
/// check, whose restart would bring no home back and cost the others theirs.
pub(crate) fn run(
    path: &Path,
    role: Option<Role>,
    json: bool,
    watch: bool,
    alive: bool,
) -> ExitCode {
    let doors = match Doors::of(path, role) {
        Ok(doors) => doors,
        Err(error) => {
            crate::complain(&error);
            return ExitCode::FAILURE;
        }
    };
    let clear = if watch && !json && io::stdout().is_terminal() { CLEAR } else { "" };
    let mut before = None;
    loop {
        let asked = doors.get("/api/v1/status").and_then(|body| read(&body));
        let printed = match &asked {
            Ok((text, _)) if json => print(&format!("{text}\n")),
            Ok((_, status)) => print(&format!("{clear}{}", tables::of(status, before.as_ref()))),
            Err(error) if watch && !clear.is_empty() => print(&format!("{clear}{error}\n")),
            Err(error) => {
                crate::complain(error);
                Ok(())
            }
        };
        if printed.is_err() {
            return ExitCode::FAILURE; // whoever closed the pipe has read enough
        }
        let asked = asked.ok().map(|(_, status)| status);
        if !watch {
            return match asked {
                Some(status) if alive || tables::all_online(&status) => ExitCode::SUCCESS,
                Some(_) => ExitCode::from(EXIT_OFFLINE),
                None => ExitCode::FAILURE,
            };
        }
        before = asked;
        thread::sleep(PAUSE);
    }
}

/// The answer as it came, and what is in it; neither has anything left that moves a cursor.
fn read(body: &[u8]) -> Result<(String, Value), String> {
    let text = String::from_utf8_lossy(body);
    let mut status: Value = serde_json::from_str(&text)
        .map_err(|error| format!("the answer is not what underpass says: {error}"))?;
    if status["role"] != "server" && status["role"] != "client" {
        return Err("the answer is not what underpass says: it has no role".into());
    }
    shown::clean(&mut status);
    Ok((shown::escape(text.trim_end()), status))
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
