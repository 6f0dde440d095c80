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
mod process;
mod report;
mod stacks;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs, thread};

use load::Direction;
use process::Role;
use report::{Figure, Report, Side};
use stacks::{Kind, Stack, Workshop};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["home"] => home::run(),
        ["floor", pattern, sink] => floor::run(pattern, sink),
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

/// How much of everything; each has a variable of the environment.
struct Plan {
    /// `ROUNDS`: each stack is measured so often, in turn; the medians are shown.
    rounds: usize,
    /// `MB`: bytes of one bulk measurement, in 10^6.
    megabytes: u64,
    /// `SECONDS`: length of one measurement of short connections.
    span: Duration,
    /// `PINGS`: round trips of the latency measurement.
    pings: usize,
    /// `IDLE`: visitor connections open at once for the memory measurement.
    idle: usize,
    /// `STACKS`: which ones, comma-separated: `peer`, `underpass`, `underpass-aes`.
    stacks: Vec<Kind>,
}

impl Plan {
    fn from_environment() -> io::Result<Plan> {
        let stacks = env::var("STACKS").unwrap_or_else(|_| "peer,underpass".into());
        let stacks: io::Result<Vec<Kind>> = stacks.split(',').map(Kind::from_word).collect();
        Ok(Plan {
            rounds: number("ROUNDS", 5)? as usize,
            megabytes: number("MB", 1000)?,
            span: Duration::from_secs(number("SECONDS", 2)?),
            pings: number("PINGS", 5000)? as usize,
            idle: number("IDLE", 2000)? as usize,
            stacks: stacks?,
        })
    }
}

/// A variable of the environment, 1 or more.
fn number(name: &str, default: u64) -> io::Result<u64> {
    let Some(text) = env::var_os(name) else {
        return Ok(default);
    };
    let parsed = text.to_str().and_then(|text| text.parse().ok());
    let good = parsed.filter(|number| *number > 0);
    good.ok_or_else(|| io::Error::other(format!("{name} wants a number, 1 or more")))
}

/// Short connections open at once.
const CROWDS: [usize; 3] = [1, 16, 64];
/// Streams of a bulk transfer.
const STREAMS: [usize; 2] = [1, 8];

fn measure(plan: &Plan) -> io::Result<()> {
    process::raise_descriptor_limit()?;
    let (stacks, missing) = stacks::available(&plan.stacks);
    for line in &missing {
        say(line);
    }
    let folder = scratch_folder()?;
    process::stop_with_signals(folder.clone())?;
    let home = Role::start(&["home"])?;
    let workshop = Workshop::new(folder, home.address);
    let mut report = Report::new(plan.stacks.clone());
    for round in 1..=plan.rounds {
        // Every other round goes backwards, so that a drift of the machine favours nobody.
        let mut order = stacks.clone();
        if round % 2 == 0 {
            order.reverse();
        }
        for kind in order {
            say(&format!("round {round} of {}: {kind}", plan.rounds));
            let stack = workshop.start(kind)?;
            measure_memory(&stack, plan, &mut report)?;
            drop(stack);
            load::let_go_of_idle(home.address)?;
            let stack = workshop.start(kind)?;
            measure_bulk(&stack, plan, &mut report)?;
            measure_short(&stack, plan, &mut report)?;
            measure_latency(&stack, plan, &mut report)?;
        }
        for kind in &stacks {
            let Some(pattern) = kind.noise_pattern() else {
                continue;
            };
            say(&format!("round {round} of {}: the floor of {kind}", plan.rounds));
            let seconds = measure_floor(pattern, &home, plan)?;
            report.add_floor(*kind, seconds);
        }
    }
    let mut out = io::stdout().lock();
    report.print(&mut out, plan.rounds, plan.idle)?;
    for line in &missing {
        writeln!(out, "{line}")?;
    }
    out.flush()
}

/// The floor of a gigabyte: one process that reads, encrypts and writes, and does nothing else.
fn measure_floor(pattern: &str, home: &Role, plan: &Plan) -> io::Result<f64> {
    let floor = Role::start(&["floor", pattern, &home.address.to_string()])?;
    let bytes = plan.megabytes * 1_000_000;
    let before = process::settled_cpu(&[floor.id()])?;
    load::feed_floor(floor.address, bytes)?;
    let after = process::settled_cpu(&[floor.id()])?;
    Ok((after[0] - before[0]) / (bytes as f64 / 1e9))
}

fn measure_memory(stack: &Stack, plan: &Plan, report: &mut Report) -> io::Result<()> {
    for side in Side::BOTH {
        report.add(stack.kind, Figure::MemoryAtStart(side), process::memory(&stack.ids(side))?);
    }
    // The first connections touch code and fill caches; that is not what one more costs.
    drop(load::open_idle(stack.front, 64)?);
    thread::sleep(Duration::from_secs(1));
    let before =
        [process::memory(&stack.ids(Side::Vps))?, process::memory(&stack.ids(Side::Home))?];
    let visitors = load::open_idle(stack.front, plan.idle)?;
    thread::sleep(Duration::from_secs(2));
    for (side, before) in Side::BOTH.into_iter().zip(before) {
        let after = process::memory(&stack.ids(side))?;
        let each = before.iter().zip(after).map(|(b, a)| (a - b) / visitors.len() as f64);
        report.add(stack.kind, Figure::MemoryPerIdle(side), each.collect());
    }
    Ok(())
}

fn measure_bulk(stack: &Stack, plan: &Plan, report: &mut Report) -> io::Result<()> {
    let bytes = plan.megabytes * 1_000_000;
    load::bulk(stack.front, Direction::Download, 1, bytes / 10)?;
    for direction in [Direction::Download, Direction::Upload] {
        for streams in STREAMS {
            let before = stack.cpu()?;
            let took = load::bulk(stack.front, direction, streams, bytes)?;
            let spent = stack.cpu()?.since(before);
            let rate = bytes as f64 / 1e6 / took.as_secs_f64();
            report.add(stack.kind, Figure::Rate(direction, streams), vec![rate]);
            for side in Side::BOTH {
                let figure = Figure::CpuPerGigabyte(side, direction, streams);
                report.add(stack.kind, figure, spent.each(side, bytes as f64 / 1e9));
            }
        }
    }
    Ok(())
}

fn measure_short(stack: &Stack, plan: &Plan, report: &mut Report) -> io::Result<()> {
    load::short(stack.front, 16, Duration::from_millis(500))?;
    for crowd in CROWDS {
        let before = stack.cpu()?;
        let result = load::short(stack.front, crowd, plan.span)?;
        let spent = stack.cpu()?.since(before);
        if let Some(error) = &result.first_error {
            say(&format!("{}: {} short connections failed: {error}", stack.kind, result.failed));
        }
        let each_second = result.done as f64 / result.took.as_secs_f64();
        report.add(stack.kind, Figure::ShortRate(crowd), vec![each_second]);
        for side in Side::BOTH {
            let figure = Figure::CpuPerShort(side, crowd);
            report.add(stack.kind, figure, spent.each(side, result.done as f64 / 1e6));
        }
    }
    Ok(())
}

fn measure_latency(stack: &Stack, plan: &Plan, report: &mut Report) -> io::Result<()> {
    let mut trips = load::ping_pong(stack.front, plan.pings)?;
    trips.sort_unstable();
    for percent in [50, 99] {
        let trip = trips[(trips.len() - 1) * percent / 100];
        report.add(stack.kind, Figure::PingPong(percent), vec![trip.as_secs_f64() * 1e6]);
    }
    Ok(())
}

/// A folder of this run's own, below the one that cargo gives to benches.
fn scratch_folder() -> io::Result<PathBuf> {
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("stack-{}", process::own_id()));
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Progress goes to standard error: standard output has the table alone.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
