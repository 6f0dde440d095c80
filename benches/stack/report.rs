//! The table: medians over the rounds, and ratios taken round by round.

use std::collections::BTreeMap;
use std::io::{self, Write};

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
    /// Microseconds, at a percentile.
    PingPong(usize),
    /// Bytes.
    MemoryPerIdle(Side),
    /// Bytes.
    MemoryAtStart(Side),
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
            Figure::PingPong(percent) => format!("ping-pong p{percent}, us"),
            Figure::MemoryPerIdle(side) => {
                format!("KB per idle visitor connection, {}", side.name())
            }
            Figure::MemoryAtStart(side) => format!("MB resident at start, {}", side.name()),
        }
    }

    /// In the unit of [`Figure::name`].
    fn shown(self, value: f64) -> String {
        match self {
            Figure::CpuPerGigabyte(..) => format!("{value:.2}"),
            Figure::MemoryPerIdle(_) => format!("{:.1}", value / 1024.0),
            Figure::MemoryAtStart(_) => format!("{:.1}", value / 1024.0 / 1024.0),
            _ => format!("{value:.0}"),
        }
    }
}

/// One figure of one stack: a row for each round, with a value for each process.
type Samples = Vec<Vec<f64>>;

/// Everything measured so far.
pub(crate) struct Report {
    columns: Vec<Kind>,
    samples: BTreeMap<Figure, BTreeMap<Kind, Samples>>,
    /// Seconds per gigabyte, a value for each round.
    floors: BTreeMap<Kind, Vec<f64>>,
}

impl Report {
    pub(crate) fn new(columns: Vec<Kind>) -> Report {
        Report { columns, samples: BTreeMap::new(), floors: BTreeMap::new() }
    }

    /// This round's values of a figure, one for each process that has a part in it.
    pub(crate) fn add(&mut self, kind: Kind, figure: Figure, parts: Vec<f64>) {
        self.samples.entry(figure).or_default().entry(kind).or_default().push(parts);
    }

    /// This round's floor with the cipher of `kind`.
    pub(crate) fn add_floor(&mut self, kind: Kind, seconds: f64) {
        self.floors.entry(kind).or_default().push(seconds);
    }

    /// A Markdown table.
    pub(crate) fn print(&self, out: &mut impl Write, rounds: usize, idle: usize) -> io::Result<()> {
        let mut rows = vec![self.header()];
        rows.extend(self.samples.iter().map(|(figure, by_kind)| self.row(*figure, by_kind)));
        rows.extend(self.columns.iter().filter_map(|kind| self.floor_row(*kind)));
        print_aligned(out, &rows)?;
        writeln!(
            out,
            "\nMedians of {rounds} round{}, {idle} idle connections. With several processes on a \
             side: the sum, then each. The peer is {}. A ratio is the median of the rounds' own \
             ratios, with the lowest and the highest.",
            if rounds == 1 { "" } else { "s" },
            Kind::Peer,
        )
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
        let floor = self.floors.get(&kind)?;
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
        let mut cells = vec!["CPU s per GB, floor: read 64 KB, encrypt, write".to_owned()];
        let value = middle(floor).map(|seconds| format!("{seconds:.2}")).unwrap_or_default();
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
    let Some(total) = middle(&sums(samples)) else {
        return String::new();
    };
    let parts = samples.iter().map(Vec::len).max().unwrap_or(0);
    let total = figure.shown(total);
    if parts < 2 {
        return total;
    }
    let part = |i: usize| {
        let values: Vec<f64> = samples.iter().filter_map(|round| round.get(i).copied()).collect();
        middle(&values).map_or_else(String::new, |value| figure.shown(value))
    };
    format!("{total} ({})", (0..parts).map(part).collect::<Vec<_>>().join(" + "))
}

fn ratio_cell(of: &[f64], to: &[f64]) -> String {
    let ratios: Vec<f64> = of.iter().zip(to).map(|(of, to)| of / to).collect();
    let Some(median) = middle(&ratios) else {
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

fn sums(samples: &Samples) -> Vec<f64> {
    samples.iter().map(|parts| parts.iter().sum()).collect()
}

/// The median.
fn middle(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
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
