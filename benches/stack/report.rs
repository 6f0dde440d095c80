//! The tables: medians over the rounds, and ratios taken round by round.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use super::floor::Floor;
use super::load::Direction;
use super::stacks::Kind;

/// Which machine a process would be on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Side {
    Vps,
    Home,
}

impl Side {
    pub(crate) const BOTH: [Side; 2] = [Side::Vps, Side::Home];

    fn name(self) -> &'static str {
        match self {
            Side::Vps => "VPS",
            Side::Home => "home",
        }
    }
}

/// What was measured; the order is the table's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Figure {
    /// Seconds.
    CpuPerGigabyte(Side, Direction, usize),
    /// 10^6 bytes a second.
    Rate(Direction, usize),
    /// Microseconds, with so many at once.
    CpuPerShort(Side, usize),
    /// Connections a second, with so many at once.
    ShortRate(usize),
    /// Microseconds, on so many connections at once, at a percentile.
    PingPong(usize, usize),
    /// Bytes, with so many open.
    MemoryPerIdle(Side, usize),
    /// Bytes.
    MemoryAtStart(Side),
    /// Bytes on the VPS, with so many homes.
    MemoryPerHome(usize),
    /// Seconds a minute on the VPS, with so many homes.
    CpuOfIdleHomes(usize),
    /// Microseconds on the VPS, with so many of what stands beside; of the scaling tables.
    Scaling(Axis, Work, usize),
}

/// What there may be many of, and should cost nobody else anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Axis {
    /// Other visitors' connections, open and idle.
    Connections,
    /// Services with a name each, in the files of the VPS.
    Routes,
}

impl Axis {
    const BOTH: [Axis; 2] = [Axis::Connections, Axis::Routes];

    fn name(self) -> &'static str {
        match self {
            Axis::Connections => "idle connections",
            Axis::Routes => "routes",
        }
    }
}

/// What is done beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Work {
    ShortConnection,
    /// A ping-pong on a connection that stays open.
    RoundTrip,
}

impl Work {
    const BOTH: [Work; 2] = [Work::ShortConnection, Work::RoundTrip];

    fn name(self) -> &'static str {
        match self {
            Work::ShortConnection => "short connection",
            Work::RoundTrip => "request-response",
        }
    }
}

impl Figure {
    fn name(self) -> String {
        let bulk = |direction, streams| match (direction, streams) {
            (Direction::Download, 1) => "download, 1 stream".to_owned(),
            (Direction::Upload, 1) => "upload, 1 stream".to_owned(),
            (Direction::Download, n) => format!("download, {n} streams"),
            (Direction::Upload, n) => format!("upload, {n} streams"),
        };
        match self {
            Figure::CpuPerGigabyte(side, direction, streams) => {
                format!("CPU s per GB, {}, {}", side.name(), bulk(direction, streams))
            }
            Figure::Rate(direction, streams) => format!("MB/s, {}", bulk(direction, streams)),
            Figure::CpuPerShort(side, crowd) => {
                format!("CPU us per short connection, {}, {crowd} at once", side.name())
            }
            Figure::ShortRate(crowd) => format!("short connections a second, {crowd} at once"),
            Figure::PingPong(connections, percent) => {
                let s = if connections == 1 { "" } else { "s" };
                format!("ping-pong p{percent}, us, {connections} connection{s}")
            }
            Figure::MemoryPerIdle(side, count) => {
                format!("KB per idle visitor connection, {}, {count} open", side.name())
            }
            Figure::MemoryAtStart(side) => format!("MB resident at start, {}", side.name()),
            Figure::MemoryPerHome(homes) => format!("KB per idle home, VPS, {homes} homes"),
            Figure::CpuOfIdleHomes(homes) => format!("CPU s a minute, VPS, {homes} idle homes"),
            Figure::Scaling(axis, work, count) => {
                format!("CPU us per {}, VPS, {count} {}", work.name(), axis.name())
            }
        }
    }

    /// In the unit of [`Figure::name`].
    fn shown(self, value: f64) -> String {
        match self {
            Figure::CpuPerGigabyte(..) => format!("{value:.2}"),
            Figure::MemoryPerIdle(..) | Figure::MemoryPerHome(_) => {
                format!("{:.1}", value / 1024.0)
            }
            Figure::CpuOfIdleHomes(_) => format!("{value:.3}"),
            Figure::MemoryAtStart(_) => format!("{:.1}", value / 1024.0 / 1024.0),
            _ => format!("{value:.0}"),
        }
    }
}

/// The cost beside many may be so many times that beside few, and still counts as the same.
const FLAT: f64 = 1.25;

/// One figure of one stack, by round: a value for each process.
type Samples = BTreeMap<usize, Vec<f64>>;
/// The same, each round's sum.
type Sums = BTreeMap<usize, f64>;

/// Everything measured so far.
pub(crate) struct Report {
    columns: Vec<Kind>,
    samples: BTreeMap<Figure, BTreeMap<Kind, Samples>>,
    /// Seconds per gigabyte.
    floors: BTreeMap<Kind, (Floor, Sums)>,
    round: usize,
    /// What was not measured, and why; what went wrong.
    notes: Vec<String>,
}

impl Report {
    pub(crate) fn new(columns: Vec<Kind>) -> Report {
        Report {
            columns,
            samples: BTreeMap::new(),
            floors: BTreeMap::new(),
            round: 0,
            notes: Vec::new(),
        }
    }

    /// Is said below the tables, and on standard error at once.
    pub(crate) fn note(&mut self, line: String) {
        let _ = writeln!(io::stderr(), "{line}");
        self.notes.push(line);
    }

    /// What is added from now on is of another round: ratios are taken within one.
    pub(crate) fn begin_round(&mut self) {
        self.round += 1;
    }

    /// This round's values of a figure, one for each process that has a part in it.
    pub(crate) fn add(&mut self, kind: Kind, figure: Figure, parts: Vec<f64>) {
        let samples = self.samples.entry(figure).or_default().entry(kind).or_default();
        samples.insert(self.round, parts);
    }

    /// This round's floor of `kind`.
    pub(crate) fn add_floor(&mut self, kind: Kind, floor: &Floor, seconds: f64) {
        let entry = self.floors.entry(kind).or_insert_with(|| (floor.clone(), Sums::new()));
        entry.1.insert(self.round, seconds);
    }

    /// The main table, in Markdown.
    pub(crate) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let mut rows = vec![self.header()];
        let main = self.samples.iter().filter(|(figure, _)| !matches!(figure, Figure::Scaling(..)));
        rows.extend(main.map(|(figure, by_kind)| self.row(*figure, by_kind)));
        rows.extend(self.columns.iter().filter_map(|kind| self.floor_row(*kind)));
        print_aligned(out, &rows)
    }

    /// The scaling tables, in Markdown, each with a line on what is not flat.
    pub(crate) fn print_scaling(&self, out: &mut impl Write) -> io::Result<()> {
        Axis::BOTH.into_iter().try_for_each(|axis| self.print_axis(out, axis))
    }

    pub(crate) fn print_notes(&self, out: &mut impl Write) -> io::Result<()> {
        self.notes.iter().try_for_each(|line| writeln!(out, "\n{line}"))
    }

    fn print_axis(&self, out: &mut impl Write, axis: Axis) -> io::Result<()> {
        let on_axis = self.samples.keys().filter_map(|figure| match figure {
            Figure::Scaling(of, _, count) if *of == axis => Some(*count),
            _ => None,
        });
        let counts: Vec<usize> = on_axis.collect::<BTreeSet<_>>().into_iter().collect();
        let [fewest, .., most] = counts[..] else {
            return Ok(());
        };
        let mut header = vec![format!("CPU us, VPS, beside so many {}", axis.name())];
        header.extend(counts.iter().map(usize::to_string));
        header.push(format!("{most} / {fewest}"));
        let mut rows = vec![header];
        let mut steep = Vec::new();
        for (kind, work) in self.columns.iter().flat_map(|kind| Work::BOTH.map(|work| (kind, work)))
        {
            let none = Samples::new();
            let at = |count| {
                let by_kind = self.samples.get(&Figure::Scaling(axis, work, count));
                sums(by_kind.and_then(|by_kind| by_kind.get(kind)).unwrap_or(&none))
            };
            let costs: Vec<f64> =
                counts.iter().filter_map(|count| middle(at(*count).into_values())).collect();
            let name = format!("{kind}: {}", work.name());
            if !costs.is_empty() && !is_flat(&costs) {
                steep.push(name.clone());
            }
            let cell = |count: &usize| {
                let cost = middle(at(*count).into_values());
                cost.map_or_else(String::new, |cost| format!("{cost:.1}"))
            };
            let mut row = vec![name];
            row.extend(counts.iter().map(cell));
            row.push(ratio_cell(&at(most), &at(fewest)));
            rows.push(row);
        }
        writeln!(out)?;
        print_aligned(out, &rows)?;
        match &steep[..] {
            [] => writeln!(out, "\nFlat: no cost is more than {FLAT} times one to its left."),
            steep => writeln!(
                out,
                "\nNot flat, a cost is more than {FLAT} times one to its left: {}.",
                steep.join("; ")
            ),
        }
    }

    fn header(&self) -> Vec<String> {
        let mut cells = vec![String::new()];
        cells.extend(self.columns.iter().map(Kind::to_string));
        cells.extend(self.compared().map(|kind| format!("{kind} / peer")));
        cells
    }

    fn row(&self, figure: Figure, by_kind: &BTreeMap<Kind, Samples>) -> Vec<String> {
        let none = Samples::new();
        let samples = |kind| by_kind.get(&kind).unwrap_or(&none);
        let mut cells = vec![figure.name()];
        cells.extend(self.columns.iter().map(|kind| value_cell(figure, samples(*kind))));
        let peer = sums(samples(Kind::Peer));
        cells.extend(self.compared().map(|kind| ratio_cell(&sums(samples(kind)), &peer)));
        cells
    }

    /// The floor stands in its stack's column, the stack's ratios to it in the last one.
    fn floor_row(&self, kind: Kind) -> Option<Vec<String>> {
        let (name, floor) = self.floors.get(&kind)?;
        let ratio = |direction| {
            let figure = Figure::CpuPerGigabyte(Side::Vps, direction, 1);
            let stack = self.samples.get(&figure).and_then(|by_kind| by_kind.get(&kind));
            ratio_cell(&stack.map(sums).unwrap_or_default(), floor)
        };
        let ratios = format!(
            "of the floor: {} down, {} up",
            ratio(Direction::Download),
            ratio(Direction::Upload)
        );
        let mut cells = vec![format!("CPU s per GB, {name}")];
        let value = middle(floor.values().copied())
            .map(|seconds| format!("{seconds:.2}"))
            .unwrap_or_default();
        let only =
            |text: &str, column| if column == kind { text.to_owned() } else { String::new() };
        cells.extend(self.columns.iter().map(|column| only(&value, *column)));
        cells.extend(self.compared().map(|column| only(&ratios, column)));
        Some(cells)
    }

    /// The columns that are set against the peer.
    fn compared(&self) -> impl Iterator<Item = Kind> {
        self.columns.iter().copied().filter(|kind| *kind != Kind::Peer)
    }
}

fn value_cell(figure: Figure, samples: &Samples) -> String {
    let Some(total) = middle(sums(samples).into_values()) else {
        return String::new();
    };
    let parts = samples.values().map(Vec::len).max().unwrap_or(0);
    let total = figure.shown(total);
    if parts < 2 {
        return total;
    }
    let part = |i: usize| {
        middle(samples.values().filter_map(|round| round.get(i).copied()))
            .map_or_else(String::new, |value| figure.shown(value))
    };
    format!("{total} ({})", (0..parts).map(part).collect::<Vec<_>>().join(" + "))
}

/// What both have in the same round.
fn ratio_cell(of: &Sums, to: &Sums) -> String {
    let both = of.iter().filter_map(|(round, of)| Some(of / to.get(round)?));
    let ratios: Vec<f64> = both.collect();
    let Some(median) = middle(ratios.iter().copied()) else {
        return String::new();
    };
    let low = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let high = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if ratios.len() == 1 {
        format!("{median:.2}")
    } else {
        format!("{median:.2} ({low:.2}-{high:.2})")
    }
}

fn sums(samples: &Samples) -> Sums {
    samples.iter().map(|(round, parts)| (*round, parts.iter().sum())).collect()
}

/// Whether none, from the fewest to the most, is much dearer than one before it.
fn is_flat(costs: &[f64]) -> bool {
    let mut least = f64::INFINITY;
    costs.iter().all(|cost| {
        least = least.min(*cost);
        cost / least <= FLAT
    })
}

/// The median.
fn middle(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[half]),
        _ => Some(f64::midpoint(sorted[half - 1], sorted[half])),
    }
}

fn print_aligned(out: &mut impl Write, rows: &[Vec<String>]) -> io::Result<()> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |i: usize| rows.iter().map(|row| row[i].len()).max().unwrap_or(0).max(3);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for (number, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            write!(out, "| {cell:width$} ")?;
        }
        writeln!(out, "|")?;
        if number == 0 {
            for width in &widths {
                write!(out, "| {} ", "-".repeat(*width))?;
            }
            writeln!(out, "|")?;
        }
    }
    Ok(())
}
