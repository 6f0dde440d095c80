//! underpass beside the stack that it replaces: rathole with HAProxy in front, in one run.
//!
//! `cargo bench --bench stack` starts each stack in turn on loopback, with the same visitors and
//! the same home, and prints a table. `benches/README.md` says what is measured and how to set it.
//!
//! The binary runs itself again in the roles `home` and `floor`, so that neither the visitors nor
//! the home are in the figures: only the processes of a stack are, by their process ids.

mod floor;
mod home;
mod load;
mod measure;
mod plan;
mod process;
mod report;
mod stacks;

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use measure::Run;
use plan::Plan;
use process::Role;
use stacks::Workshop;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["home"] => home::run(),
        ["floor", word, sink] => floor::run(word, sink),
        // `cargo test --all-targets` starts every bench too, but without this word.
        _ if words.contains(&"--bench") => Plan::from_environment().and_then(|plan| measure(&plan)),
        _ => writeln!(io::stdout(), "run it with: cargo bench --bench stack"),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "stack: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Descriptors of one process: two for each of 9,000 visitors, spare links, and more than enough.
const DESCRIPTORS: u64 = 65_536;

fn measure(plan: &Plan) -> io::Result<()> {
    let descriptors = process::raise_descriptor_limit(DESCRIPTORS)?;
    let folder = scratch_folder()?;
    process::stop_with_signals(folder.clone())?;
    let home = Role::start(&["home"])?;
    // HAProxy wants two descriptors for each, and some of its own, or does not start.
    let visitors = (plan.most_idle() + 1000).min((descriptors as usize).saturating_sub(200) / 2);
    let workshop = Workshop::new(folder, home.address, visitors);
    let mut run = Run::new(plan, &home, &workshop, descriptors);
    run.measure()?;
    run.print(&mut io::stdout().lock())
}

/// A folder of this run's own, below the one that cargo gives to benches.
fn scratch_folder() -> io::Result<PathBuf> {
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("stack-{}", process::own_id()));
    fs::create_dir_all(&folder)?;
    Ok(folder)
}
