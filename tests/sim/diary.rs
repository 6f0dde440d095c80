//! The access log as the simulation keeps it: every record of every server process, and what must
//! be true of them. Each connection that was accepted and each request that was answered has one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use underpass::proto::access::{Entry, Record, Sink, VisitEnd};
use underpass::proto::stats::Stats;
use underpass::proto::time::Time;

use super::web::plan::{Ask, AskId, Begins, Fault, Ledger, Outcome};
use super::world::{ProcessId, World};

/// All records, in their order.
pub type Diary = Rc<RefCell<Vec<Written>>>;

/// A record, kept.
#[derive(Debug, Clone)]
pub struct Written {
    process: ProcessId,
    visitor: SocketAddr,
    entry: Entry,
    /// Of a request: the number that its path ends with.
    ask: Option<AskId>,
    service: Option<String>,
    client: Option<SocketAddr>,
    status: Option<u16>,
    bytes_in: u64,
    bytes_out: u64,
    end: VisitEnd,
}

/// Writes the records of one server process into a diary.
pub struct Scribe {
    pub process: ProcessId,
    pub diary: Diary,
}

impl Sink for Scribe {
    fn record(&mut self, record: &Record<'_>) {
        let Record { now, duration, first_byte, entry, .. } = *record;
        assert!(duration <= now - Time(0), "began before the world: {record:?}");
        assert!(first_byte.unwrap_or(Duration::ZERO) <= duration, "{record:?}");
        assert!(record.status.is_none() || entry == Entry::Http, "{record:?}");
        let path = record.request.map(|line| String::from_utf8_lossy(line.target()).into_owned());
        let ask = path.filter(|path| !path.starts_with("/hostile")).map(|path| {
            let number = path.strip_suffix("?q").and_then(|path| path.rsplit('/').next());
            number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{path}"))
        });
        self.diary.borrow_mut().push(Written {
            process: self.process,
            visitor: record.visitor,
            entry,
            ask,
            service: record.service.map(str::to_owned),
            client: record.client,
            status: record.status,
            bytes_in: record.bytes_in,
            bytes_out: record.bytes_out,
            end: record.end,
        });
    }

    fn reopen(&mut self) {}
}

/// What is wrong with a diary when all visitors have gone. `crashed`: server processes that died
/// with visitors of whom they could not say anything any more.
pub fn judge(
    diary: &[Written],
    world: &World,
    crashed: &[ProcessId],
    calls: &Ledger,
) -> Vec<String> {
    let mut wrong = connections(diary, world, crashed);
    wrong.extend(sessions(diary));
    wrong.extend(requests(diary, !crashed.is_empty(), calls));
    wrong
}

/// What a server process that has no visitors any more has counted is what its records say.
pub fn judge_counters(diary: &[Written], process: ProcessId, stats: &Stats) -> Vec<String> {
    let mut wrong = Vec::new();
    for entry in Entry::ALL {
        let records = || diary.iter().filter(|it| it.process == process && it.entry == entry);
        let mut ends = BTreeMap::<VisitEnd, u64>::new();
        let mut classes = BTreeMap::<u16, u64>::new();
        for record in records() {
            *ends.entry(record.end).or_default() += 1;
            if let Some(status) = record.status {
                *classes.entry(status / 100).or_default() += 1;
            }
        }
        let counted = stats.of_entry(entry);
        let counted_ends: BTreeMap<_, _> = counted.ends().collect();
        if counted_ends != ends {
            wrong.push(format!("{entry:?}: counted {counted_ends:?}, recorded {ends:?}"));
        }
        let classes: Vec<_> =
            classes.iter().map(|(it, count)| (format!("{it}xx"), *count)).collect();
        let counted_classes: Vec<_> =
            counted.classes().map(|(it, count)| (it.to_owned(), count)).collect();
        if counted_classes != classes {
            wrong.push(format!("{entry:?}: counted {counted_classes:?}, recorded {classes:?}"));
        }
        let bytes = (counted.received, counted.sent);
        let recorded = records()
            .fold((0, 0), |(received, sent), it| (received + it.bytes_in, sent + it.bytes_out));
        // Over HTTP a record has the bodies alone, and they are framed anew on the way.
        if entry != Entry::Http && bytes != recorded {
            wrong.push(format!("{entry:?}: counted {bytes:?} bytes, recorded {recorded:?}"));
        }
    }
    wrong
}

/// Each accepted connection that is passed through has one record, which says where it went.
fn connections(diary: &[Written], world: &World, crashed: &[ProcessId]) -> Vec<String> {
    let mut balance = BTreeMap::<(ProcessId, SocketAddr), i32>::new();
    for (process, local, visitor) in world.accepted() {
        let passes_through =
            world.process_name(*process) == "server" && !matches!(local.port(), 80 | 2333 | 9333);
        if passes_through {
            *balance.entry((*process, *visitor)).or_default() += 1;
        }
    }
    let mut wrong = Vec::new();
    let passed_through = |written: &&Written| matches!(written.entry, Entry::Https | Entry::Tcp);
    for written in diary.iter().filter(passed_through) {
        *balance.entry((written.process, written.visitor)).or_default() -= 1;
        let has_home = written.service.is_some() && written.client.is_some();
        if written.end == VisitEnd::Done && !has_home {
            wrong.push(format!("done without a home: {written:?}"));
        }
        if written.ask.is_some() {
            wrong.push(format!("a connection with a request: {written:?}"));
        }
    }
    for ((process, visitor), missing) in balance {
        if missing < 0 || missing > 0 && !crashed.contains(&process) {
            wrong.push(format!("{visitor} lacks {missing} records of process {process}"));
        }
    }
    wrong
}

/// Each UDP session began with a datagram for a home that was there.
fn sessions(diary: &[Written]) -> Vec<String> {
    let of_udp = diary.iter().filter(|written| written.entry == Entry::Udp);
    let is_wrong = |written: &&Written| {
        written.service.is_none() || written.client.is_none() || written.end == VisitEnd::Done
    };
    of_udp.filter(is_wrong).map(|written| format!("a strange session: {written:?}")).collect()
}

/// Each answered request has one record, with the answer's status and the bodies' lengths; no
/// request has two.
fn requests(diary: &[Written], crashed: bool, calls: &Ledger) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut records = BTreeMap::<AskId, &Written>::new();
    // Heads that faults held up for too long, by visitor: such a record has no path to know it by.
    let mut cut_heads = BTreeMap::<IpAddr, usize>::new();
    for written in diary.iter().filter(|written| written.entry == Entry::Http) {
        match written.ask {
            Some(ask) => {
                if let Some(other) = records.insert(ask, written) {
                    wrong.push(format!("two records: {other:?}, {written:?}"));
                }
            }
            None if written.status == Some(TOO_SLOW) => {
                *cut_heads.entry(written.visitor.ip()).or_default() += 1;
            }
            None => {}
        }
    }
    let mut is_cut_head = |ask: &Ask| {
        let left = cut_heads.get_mut(&calls.calls[ask.call].from).filter(|left| **left > 0);
        left.map(|left| *left -= 1).is_some()
    };
    for (id, ask) in calls.asks.iter().enumerate() {
        let record = records.get(&id);
        let demand = match (ask.outcome, record) {
            (None, _) => Ok(()),
            // Its head is none, so its record has no path to know it by.
            (Some(_), None) if !matches!(ask.fault, None | Some(Fault::Chunk)) => Ok(()),
            // Its connection went on, and so did its record.
            (Some(_), None) if crashed && ask.upgrades => Ok(()),
            (Some(Outcome::Page { status: TOO_SLOW, .. }), None)
                if !calls.calm && is_cut_head(ask) =>
            {
                Ok(())
            }
            (Some(_), None) => Err("has no record"),
            (Some(outcome), Some(record)) => check(ask, outcome, record, calls.calm),
        };
        if let Err(what) = demand {
            wrong.push(format!("request {id} {what}: {record:?} of {ask:?}"));
        }
    }
    wrong
}

/// Request Timeout: the head did not come in time.
const TOO_SLOW: u16 = 408;

fn check(ask: &Ask, outcome: Outcome, record: &Written, calm: bool) -> Result<(), &'static str> {
    let demand = |holds: bool, what| if holds { Ok(()) } else { Err(what) };
    match outcome {
        Outcome::Page { status, .. } => {
            demand(record.status == Some(status), "has another status")?;
            demand(record.end != VisitEnd::Done, "is done, though no home answered")
        }
        Outcome::Answered { .. } => {
            demand(record.status == Some(ask.reply.status), "has another status")?;
            if ask.reply.status == 101 {
                let (up, down) = ask.reply.raw;
                demand(record.bytes_out >= down as u64, "lacks bytes after 101")?;
                return demand(!calm || record.bytes_in <= up as u64, "has more than was sent");
            }
            let content = if ask.is_bodiless() { 0 } else { ask.reply.payload.length };
            demand(record.bytes_out == content as u64, "has another length")?;
            let body = ask.body.as_ref().map_or(0, |body| body.length) as u64;
            demand(record.bytes_in <= body, "has more body than was sent")?;
            let was_read = record.end == VisitEnd::Done && ask.reply.begins == Begins::Whole;
            demand(!calm || !was_read || record.bytes_in == body, "has less body than was sent")
        }
    }
}
