//! The measurements: each on a stack that was started for it, each with a deadline. One that fails
//! is said and leaves its cells empty; the others go on.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use super::load::{self, Direction};
use super::plan::Plan;
use super::process::{self, Role, Watchdog};
use super::report::{Axis, Figure, Report, Side, Work};
use super::stacks::{self, Kind, Shape, Stack, Workshop};

/// Short connections open at once.
const CROWDS: [usize; 3] = [1, 16, 64];
/// Streams of a bulk transfer.
const STREAMS: [usize; 2] = [1, 8];
/// Connections of the latency measurement.
const PING_CONNECTIONS: [usize; 2] = [1, 64];
/// Visitors who are busy beside idle connections or routes.
const BUSY: usize = 16;
/// Round trips on each connection that do not count.
const WARM_UP_TRIPS: usize = 200;
/// For one measurement, beyond what the plan wants of it.
const PATIENCE: Duration = Duration::from_secs(180);

/// One run.
pub(crate) struct Run<'a> {
    plan: &'a Plan,
    home: &'a Role,
    workshop: &'a Workshop,
    /// Of one process; a stack's have it from here.
    descriptors: u64,
    report: Report,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        plan: &'a Plan,
        home: &'a Role,
        workshop: &'a Workshop,
        descriptors: u64,
    ) -> Run<'a> {
        let report = Report::new(plan.stacks.clone());
        Run { plan, home, workshop, descriptors, report }
    }

    /// All rounds.
    pub(crate) fn measure(&mut self) -> io::Result<()> {
        let stacks = self.startable();
        for round in 1..=self.plan.rounds {
            say(&format!("round {round} of {}", self.plan.rounds));
            self.report.begin_round();
            for kind in in_turn(&stacks, round) {
                say(&format!("  {kind}"));
                self.idle(kind, self.plan.idle);
                self.busy(kind);
            }
            for kind in in_turn(&stacks, round) {
                self.floor(kind)?;
            }
        }
        for round in 1..=self.plan.rounds_large {
            say(&format!("large round {round} of {}", self.plan.rounds_large));
            self.report.begin_round();
            for kind in in_turn(&stacks, round) {
                say(&format!("  {kind}"));
                self.idle(kind, self.plan.idle_large);
                self.idle_homes(kind);
                self.beside_connections(kind);
                self.beside_routes(kind);
            }
        }
        Ok(())
    }

    /// The stacks whose programs are here and take the configuration.
    fn startable(&mut self) -> Vec<Kind> {
        let (mut kinds, missing) = stacks::available(&self.plan.stacks);
        missing.into_iter().for_each(|line| self.report.note(line));
        kinds.retain(|kind| self.start(*kind, Shape::ONE).is_some());
        kinds
    }

    /// A fresh stack, or a note why there is none.
    fn start(&mut self, kind: Kind, shape: Shape) -> Option<Stack> {
        // What visitors of the last stack have left at home is closed by now on their side.
        let started =
            load::let_go_of_idle(self.home.address).and_then(|()| self.workshop.start(kind, shape));
        match started {
            Ok(stack) => Some(stack),
            Err(error) => {
                self.report.note(format!("{kind} does not start: {error}"));
                None
            }
        }
    }

    /// One measurement on `stack`, with a deadline: then the stack is killed, which ends all waits.
    fn attempt(
        &mut self,
        stack: &mut Stack,
        what: &str,
        job: impl FnOnce(&Stack, &Plan, &mut Report) -> io::Result<()>,
    ) {
        let watchdog = stack.watched(PATIENCE + 8 * self.plan.span + self.plan.quiet);
        let done = job(stack, self.plan, &mut self.report);
        drop(watchdog);
        if let Err(error) = done {
            let ended = stack.check().err().map(|end| format!(" ({end})")).unwrap_or_default();
            self.report.note(format!("{}, {what}: {error}{ended}", stack.kind));
        }
    }

    /// Whether there is memory for `wanted` more bytes, and room for `descriptors` in a process.
    fn has_room(&mut self, what: &str, wanted: u64, descriptors: usize) -> bool {
        let free = process::available_memory().unwrap_or(0);
        if free < wanted {
            let megabytes = |bytes: u64| bytes / 1_000_000;
            let (wanted, free) = (megabytes(wanted), megabytes(free));
            self.report
                .note(format!("{what}: not measured, {wanted} MB wanted and {free} MB free"));
        } else if self.descriptors < descriptors as u64 {
            let limit = self.descriptors;
            self.report
                .note(format!("{what}: not measured, {descriptors} descriptors wanted of {limit}"));
        } else {
            return true;
        }
        false
    }

    fn has_room_for_idle(&mut self, kind: Kind, count: usize) -> bool {
        let what = format!("{kind}, {count} idle connections");
        // A visitor's connection is two descriptors; links that wait, listeners and files beside.
        self.has_room(&what, kind.connection_bytes() * count as u64, 2 * count + 1500)
    }

    /// Memory at start, and of so many idle connections.
    fn idle(&mut self, kind: Kind, count: usize) {
        if !self.has_room_for_idle(kind, count) {
            return;
        }
        let Some(mut stack) = self.start(kind, Shape::ONE) else { return };
        self.attempt(&mut stack, &format!("{count} idle connections"), |stack, _, report| {
            measure_memory(stack, count, report)
        });
    }

    fn busy(&mut self, kind: Kind) {
        let Some(mut stack) = self.start(kind, Shape::ONE) else { return };
        self.attempt(&mut stack, "bulk transfers", measure_bulk);
        self.attempt(&mut stack, "short connections", measure_short);
        self.attempt(&mut stack, "latency", measure_latency);
    }

    /// The floor of a gigabyte: one process that does nothing else.
    fn floor(&mut self, kind: Kind) -> io::Result<()> {
        let Some(floor) = kind.floor()? else {
            return Ok(());
        };
        say(&format!("  {kind}, {floor}"));
        let role = Role::start(&["floor", floor.word(), &self.home.address.to_string()])?;
        let _watchdog = Watchdog::over(vec![role.id()], PATIENCE);
        match measure_floor(&role, self.plan.megabytes * 1_000_000) {
            Ok(seconds) => self.report.add_floor(kind, &floor, seconds),
            Err(error) => self.report.note(format!("{floor}: {error}")),
        }
        Ok(())
    }

    /// What homes cost the VPS that nobody visits.
    fn idle_homes(&mut self, kind: Kind) {
        let homes = self.plan.homes;
        let what = format!("{homes} idle homes");
        let wanted = kind.home_bytes() * homes as u64;
        if !self.has_room(&format!("{kind}, {what}"), wanted, 11 * homes + 1500) {
            return;
        }
        let mut with_one = Vec::new();
        if let Some(mut stack) = self.start(kind, Shape::ONE) {
            self.attempt(&mut stack, "memory with one home", |stack, _, _| {
                with_one = process::memory(&stack.ids(Side::Vps))?;
                Ok(())
            });
        }
        let shape = Shape { services: homes, homes };
        let Some(mut stack) = self.start(kind, shape) else { return };
        self.attempt(&mut stack, &what, |stack, plan, report| {
            measure_idle_homes(stack, plan, &with_one, report)
        });
    }

    fn beside_connections(&mut self, kind: Kind) {
        let counts = self.plan.crowds();
        let Some(mut stack) = self.start(kind, Shape::ONE) else { return };
        let mut open = Vec::new();
        for count in counts {
            if !self.has_room_for_idle(kind, count - open.len()) {
                return;
            }
            let what = format!("busy beside {count} idle connections");
            self.attempt(&mut stack, &what, |stack, plan, report| {
                open.extend(load::open_idle(stack.front, open.len()..count)?);
                measure_work(stack, plan, Axis::Connections, count, report)
            });
        }
    }

    fn beside_routes(&mut self, kind: Kind) {
        for services in self.plan.route_counts() {
            let shape = Shape { services, homes: 1 };
            let Some(mut stack) = self.start(kind, shape) else { continue };
            let what = format!("busy beside {services} routes");
            self.attempt(&mut stack, &what, |stack, plan, report| {
                measure_work(stack, plan, Axis::Routes, services, report)
            });
        }
    }

    pub(crate) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let Plan { rounds, rounds_large, idle_large, .. } = self.plan;
        self.report.print(out)?;
        writeln!(
            out,
            "\nMedians of rounds: {rounds}; {rounds_large} for {idle_large} idle connections, idle \
             homes and what follows. With several processes on a side: the sum, then each. The \
             peer is {}. A ratio is the median of the rounds' own ratios, with the lowest and the \
             highest. {} without a pattern in its files takes {} here.",
            Kind::Peer,
            Kind::Underpass,
            stacks::default_pattern()?,
        )?;
        self.report.print_scaling(out)?;
        self.report.print_notes(out)?;
        out.flush()
    }
}

/// Every other round goes backwards, so that a drift of the machine favours nobody.
fn in_turn(stacks: &[Kind], round: usize) -> Vec<Kind> {
    let mut order = stacks.to_vec();
    if round.is_multiple_of(2) {
        order.reverse();
    }
    order
}

fn measure_floor(role: &Role, bytes: u64) -> io::Result<f64> {
    let before = process::settled_cpu(&[role.id()])?;
    load::feed_floor(role.address, bytes)?;
    let after = process::settled_cpu(&[role.id()])?;
    Ok((after[0] - before[0]) / (bytes as f64 / 1e9))
}

fn measure_memory(stack: &Stack, count: usize, report: &mut Report) -> io::Result<()> {
    for side in Side::BOTH {
        report.add(stack.kind, Figure::MemoryAtStart(side), process::memory(&stack.ids(side))?);
    }
    // The first connections touch code and fill caches; that is not what one more costs.
    drop(load::open_idle(stack.front, 0..64)?);
    thread::sleep(Duration::from_secs(1));
    let before =
        [process::memory(&stack.ids(Side::Vps))?, process::memory(&stack.ids(Side::Home))?];
    let visitors = load::open_idle(stack.front, 0..count)?;
    thread::sleep(Duration::from_secs(2));
    for (side, before) in Side::BOTH.into_iter().zip(before) {
        let after = process::memory(&stack.ids(side))?;
        let each = before.iter().zip(after).map(|(b, a)| (a - b) / visitors.len() as f64);
        report.add(stack.kind, Figure::MemoryPerIdle(side, count), each.collect());
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
    warm_up(stack)?;
    for crowd in CROWDS {
        let before = stack.cpu()?;
        let result = short(stack, crowd, plan, report)?;
        let spent = stack.cpu()?.since(before);
        let each_second = result.done as f64 / result.took.as_secs_f64();
        report.add(stack.kind, Figure::ShortRate(crowd), vec![each_second]);
        for side in Side::BOTH {
            let figure = Figure::CpuPerShort(side, crowd);
            report.add(stack.kind, figure, spent.each(side, result.done as f64 / 1e6));
        }
    }
    Ok(())
}

/// A cold stack has few spare links.
fn warm_up(stack: &Stack) -> io::Result<()> {
    load::short(stack.front, BUSY, Duration::from_millis(500)).map(|_| ())
}

fn short(stack: &Stack, crowd: usize, plan: &Plan, report: &mut Report) -> io::Result<load::Short> {
    /// Hundreds of times what a short connection takes.
    const STALL: Duration = Duration::from_millis(900);
    let result = load::short(stack.front, crowd, plan.span)?;
    let who = format!("{}, short connections, {crowd} at once", stack.kind);
    if let Some(error) = &result.first_error {
        let all = result.done + result.failed;
        report.note(format!("{who}: {} of {all} failed: {error}", result.failed));
    }
    if result.slowest > STALL {
        report.note(format!("{who}: one took {:.1} s", result.slowest.as_secs_f64()));
    }
    Ok(result)
}

fn measure_latency(stack: &Stack, plan: &Plan, report: &mut Report) -> io::Result<()> {
    for connections in PING_CONNECTIONS {
        // With many at once, so many more round trips are enough of them.
        let trips = if connections == 1 { plan.pings } else { plan.pings.div_ceil(5) };
        let open = load::open_echo(stack.front, connections)?;
        load::ping_pong(&open, WARM_UP_TRIPS)?;
        let mut times = load::ping_pong(&open, trips)?;
        times.sort_unstable();
        for percent in [50, 99] {
            let time = times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6;
            report.add(stack.kind, Figure::PingPong(connections, percent), vec![time]);
        }
    }
    Ok(())
}

fn measure_idle_homes(
    stack: &Stack,
    plan: &Plan,
    with_one: &[f64],
    report: &mut Report,
) -> io::Result<()> {
    const MINUTE: Duration = Duration::from_secs(60);
    // Spare links that the first visit of each home has used are replaced by then.
    thread::sleep(Duration::from_secs(3));
    let vps = stack.ids(Side::Vps);
    process::settled_cpu(&vps)?;
    let before = process::cpu_of(&vps)?;
    thread::sleep(plan.quiet);
    let after = process::cpu_of(&vps)?;
    let minutes = plan.quiet.as_secs_f64() / MINUTE.as_secs_f64();
    let spent = before.iter().zip(after).map(|(before, after)| (after - before) / minutes);
    report.add(stack.kind, Figure::CpuOfIdleHomes(plan.homes), spent.collect());
    let more = (plan.homes.max(2) - 1) as f64;
    let memory = process::memory(&vps)?;
    let each: Vec<f64> = with_one.iter().zip(memory).map(|(one, all)| (all - one) / more).collect();
    if !each.is_empty() {
        report.add(stack.kind, Figure::MemoryPerHome(plan.homes), each);
    }
    Ok(())
}

/// What busy visitors cost the VPS beside `count` of something.
fn measure_work(
    stack: &Stack,
    plan: &Plan,
    axis: Axis,
    count: usize,
    report: &mut Report,
) -> io::Result<()> {
    warm_up(stack)?;
    let before = stack.cpu()?;
    let result = short(stack, BUSY, plan, report)?;
    let spent = stack.cpu()?.since(before).each(Side::Vps, result.done as f64 / 1e6);
    report.add(stack.kind, Figure::Scaling(axis, Work::ShortConnection, count), spent);
    let open = load::open_echo(stack.front, BUSY)?;
    load::ping_pong(&open, WARM_UP_TRIPS)?;
    let before = stack.cpu()?;
    let trips = load::ping_pong(&open, plan.pings.div_ceil(2))?.len();
    let spent = stack.cpu()?.since(before).each(Side::Vps, trips as f64 / 1e6);
    report.add(stack.kind, Figure::Scaling(axis, Work::RoundTrip, count), spent);
    Ok(())
}

/// Progress goes to standard error: standard output has the tables alone.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
