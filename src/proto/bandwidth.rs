//! How many bytes a second: one shaper for one direction of one service, or of all of them. Its
//! bytes are shared fairly by those who want more than there are. No sockets: whoever moves bytes
//! asks first, and is named when it may ask again.
//!
//! The calls, for a connection that has something to move:
//!
//! ```text
//! grant -> n > 0:  move up to n, then spent(what was moved)
//!       -> 0:      wait; once poll_ready names it, grant again
//! leave, when it ends
//! ```
//!
//! A bucket holds bytes: it fills at the rate, up to a burst of 50 ms of it. While it lasts,
//! whoever asks has a grant. Then all queue, and whoever is named may move one quantum before it
//! queues again, at the end: round robin. Whoever can move whole frames only may spend more than
//! its grant; the bucket is in debt then, and all wait longer, so the rate holds all the same.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use super::services::{ByService, ServiceId, Services};
use super::time::Time;

/// One direction; `I` is a connection's name.
#[derive(Debug)]
pub struct Shaper<I> {
    /// Bytes a second.
    rate: u64,
    /// In the bucket, in billionths of a byte: `level <= burst * BILLION`; below 0 is debt.
    level: i128,
    /// Bytes.
    burst: u64,
    /// `level` is that of this moment.
    filled: Time,
    /// Bytes that those have been named for who have not asked since `filled`.
    promised: u64,
    /// Those who wait, and some who have left.
    queue: VecDeque<I>,
    /// Those who wait or have been named. A waiting one stands in `queue` once.
    members: HashMap<I, Member>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Waiting,
    /// May go before those who wait.
    Named,
}

impl<I: Copy + Eq + Hash> Shaper<I> {
    /// A full bucket. `rate` is in bytes a second, at least 1.
    pub fn new(rate: u64, now: Time) -> Shaper<I> {
        let burst = (rate / BURSTS_A_SECOND).max(QUANTUM);
        Shaper {
            rate: rate.max(1),
            level: i128::from(burst) * BILLION,
            burst,
            filled: now,
            promised: 0,
            queue: VecDeque::new(),
            members: HashMap::new(),
        }
    }

    /// How many bytes `id` may move now. 0: it waits, and will be named.
    pub fn grant(&mut self, id: I, now: Time) -> usize {
        self.fill(now);
        let member = self.members.get(&id).copied();
        let has_turn = match member {
            Some(Member::Waiting) => false,
            Some(Member::Named) => true,
            None => self.queue.is_empty(),
        };
        let bytes = u64::try_from(self.level / BILLION).unwrap_or(0).min(QUANTUM);
        if has_turn && bytes >= QUANTUM / 4 {
            return bytes as usize; // at most QUANTUM
        }
        match member {
            Some(Member::Waiting) => return 0,
            // Others had the bytes before it asked.
            Some(Member::Named) => self.queue.push_front(id),
            None => self.queue.push_back(id),
        }
        self.members.insert(id, Member::Waiting);
        0
    }

    /// `id` has moved so many bytes, usually of a grant. If it has more, it asks again.
    pub fn spent(&mut self, id: I, bytes: usize) {
        self.pay(bytes);
        if self.members.get(&id) == Some(&Member::Named) {
            self.members.remove(&id);
            self.promised = self.promised.saturating_sub(QUANTUM);
        }
    }

    /// Another rate from now on; who waits keeps its place.
    pub fn set_rate(&mut self, rate: u64, now: Time) {
        self.fill(now);
        self.rate = rate.max(1);
        self.burst = (rate / BURSTS_A_SECOND).max(QUANTUM);
        // What was too much at another rate is not paid back at this one.
        let (least, most) = (-i128::from(QUANTUM), i128::from(self.burst));
        self.level = self.level.clamp(least * BILLION, most * BILLION);
    }

    /// Whether there is anything for one who cannot wait, such as a datagram.
    pub fn has_some(&mut self, now: Time) -> bool {
        self.fill(now);
        self.level > 0
    }

    /// `id` has ended.
    pub fn leave(&mut self, id: I) {
        self.members.remove(&id);
        if self.queue.front() == Some(&id) {
            self.queue.pop_front();
        }
        // Those who left elsewhere in the queue are found when they come up, or when they are many.
        if self.queue.len() > 2 * self.members.len() + 16 {
            self.queue.retain(|id| self.members.get(id) == Some(&Member::Waiting));
        }
    }

    /// The next one that may ask again.
    pub fn poll_ready(&mut self, now: Time) -> Option<I> {
        self.fill(now);
        while let Some(&id) = self.queue.front() {
            if self.members.get(&id) != Some(&Member::Waiting) {
                self.queue.pop_front();
                continue;
            }
            if self.level < i128::from(self.promised + QUANTUM) * BILLION {
                return None;
            }
            self.queue.pop_front();
            self.members.insert(id, Member::Named);
            self.promised += QUANTUM;
            return Some(id);
        }
        None
    }

    /// When there may be somebody to name; `None`: nobody waits.
    pub fn next(&self) -> Option<Time> {
        if self.queue.is_empty() {
            return None;
        }
        let missing = i128::from(self.promised + QUANTUM) * BILLION - self.level;
        let nanos = u64::try_from(missing.max(0)).unwrap_or(u64::MAX).div_ceil(self.rate);
        Some(self.filled + Duration::from_nanos(nanos))
    }

    fn pay(&mut self, bytes: usize) {
        self.level -= bytes as i128 * BILLION;
    }

    /// What has come in since the last time.
    fn fill(&mut self, now: Time) {
        let elapsed = now - self.filled;
        if elapsed.is_zero() {
            return;
        }
        // u64's nanoseconds times u64's rate are below 2^127.
        let more = elapsed.as_nanos() as i128 * i128::from(self.rate);
        self.level = (self.level + more).min(i128::from(self.burst) * BILLION);
        self.filled = now;
        self.promised = 0;
    }
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the visitor to its home.
    Up,
    /// From the home to its visitor.
    Down,
}

/// The shapers of a server: two for each service with a limit, and two for all services together.
#[derive(Debug)]
pub struct Bandwidths<I> {
    all: Option<Pair<I>>,
    services: ByService<Pair<I>>,
}

/// [`Way::Up`], [`Way::Down`].
type Pair<I> = Box<[Shaper<I>; 2]>;

impl<I: Copy + Eq + Hash> Bandwidths<I> {
    /// Bytes a second of all services together, and of each.
    pub fn new(all: Option<u64>, services: &Services, now: Time) -> Bandwidths<I> {
        let mut bandwidths = Bandwidths { all: None, services: ByService::default() };
        bandwidths.reload(all, services, now);
        bandwidths
    }

    /// The same of another file. Those who wait for a limit
    /// that is no more come back: nobody names them any more.
    pub fn reload(&mut self, all: Option<u64>, services: &Services, now: Time) -> Vec<I> {
        let mut freed = Vec::new();
        set(&mut self.all, all, &mut freed, now);
        for (id, service) in services.iter() {
            let mut pair = self.services.remove(id);
            set(&mut pair, service.visitors.bandwidth, &mut freed, now);
            if let Some(pair) = pair {
                self.services.insert(id, pair);
            }
        }
        freed
    }

    /// A service is no more, and nobody is on it.
    pub fn forget(&mut self, service: ServiceId) {
        self.services.remove(service);
    }

    /// Whether anything limits a service.
    pub fn limits(&self, service: ServiceId) -> bool {
        self.all.is_some() || self.services.get(service).is_some()
    }

    /// As [`Shaper::grant`], of both shapers that a service's bytes go through.
    pub fn grant(&mut self, service: ServiceId, way: Way, id: I, now: Time) -> usize {
        let mut granted = usize::MAX;
        for pair in self.pairs(service) {
            granted = granted.min(pair[way as usize].grant(id, now));
            if granted == 0 {
                // Where it had its turn before, it keeps it.
                break;
            }
        }
        granted
    }

    /// Moves so many bytes of one who cannot wait, if there is anything left: whether it may.
    pub fn take(&mut self, service: ServiceId, way: Way, bytes: usize, now: Time) -> bool {
        if !self.pairs(service).all(|pair| pair[way as usize].has_some(now)) {
            return false;
        }
        self.pairs(service).for_each(|pair| pair[way as usize].pay(bytes));
        true
    }

    /// As [`Shaper::spent`].
    pub fn spent(&mut self, service: ServiceId, way: Way, id: I, bytes: usize) {
        self.pairs(service).for_each(|pair| pair[way as usize].spent(id, bytes));
    }

    /// As [`Shaper::leave`].
    pub fn leave(&mut self, service: ServiceId, id: I) {
        self.pairs(service).for_each(|pair| pair.iter_mut().for_each(|shaper| shaper.leave(id)));
    }

    /// As [`Shaper::poll_ready`].
    pub fn poll_ready(&mut self, now: Time) -> Option<I> {
        let mut pairs = self.services.values_mut().chain(&mut self.all);
        pairs.find_map(|pair| pair.iter_mut().find_map(|shaper| shaper.poll_ready(now)))
    }

    /// As [`Shaper::next`].
    pub fn next(&self) -> Option<Time> {
        let pairs = self.services.iter().map(|(_, pair)| pair).chain(&self.all);
        pairs.flat_map(|pair| pair.iter().filter_map(Shaper::next)).min()
    }

    fn pairs(&mut self, service: ServiceId) -> impl Iterator<Item = &mut Pair<I>> {
        self.services.get_mut(service).into_iter().chain(&mut self.all)
    }
}

/// Sets, changes or takes a limit away.
fn set<I: Copy + Eq + Hash>(
    pair: &mut Option<Pair<I>>,
    rate: Option<u64>,
    freed: &mut Vec<I>,
    now: Time,
) {
    match (pair.as_mut(), rate) {
        (Some(pair), Some(rate)) => pair.iter_mut().for_each(|shaper| shaper.set_rate(rate, now)),
        (None, Some(rate)) => {
            *pair = Some(Box::new([Shaper::new(rate, now), Shaper::new(rate, now)]));
        }
        (Some(former), None) => {
            freed.extend(former.iter().flat_map(|shaper| shaper.members.keys().copied()));
            *pair = None;
        }
        (None, None) => {}
    }
}

const BILLION: i128 = 1_000_000_000;
/// A burst is 50 ms of the rate: less than a person notices, more than a loop's turn.
const BURSTS_A_SECOND: u64 = 20;
/// Bytes at a time for each that waits: a frame, which cannot be moved in part.
const QUANTUM: u64 = 16 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;

    const SECOND: Duration = Duration::from_secs(1);

    /// How much each of `readers` moves in the time after `from`, up to `until`. Each moves what it
    /// is granted, in whole pieces of its own size, as often as it is let.
    fn run(rate: u64, pieces: &[usize], from: Duration, until: Duration) -> Vec<u64> {
        let start = Time(77);
        let mut shaper = Shaper::new(rate, start);
        let mut moved = vec![0; pieces.len()];
        let mut ready: VecDeque<usize> = (0..pieces.len()).collect();
        let mut now = start;
        while now - start < until {
            while let Some(reader) = ready.pop_front() {
                let granted = shaper.grant(reader, now);
                if granted == 0 {
                    continue;
                }
                let bytes = granted.next_multiple_of(pieces[reader]);
                shaper.spent(reader, bytes);
                if now - start >= from {
                    moved[reader] += bytes as u64;
                }
                ready.push_back(reader);
            }
            now = shaper.next().expect("somebody waits").max(Time(now.0 + 1));
            ready.extend(std::iter::from_fn(|| shaper.poll_ready(now)));
        }
        moved
    }

    #[test]
    fn the_rate_holds_and_is_shared() {
        for rate in [100_000, 1_000_000, 20_000_000, 1_000_000_000] {
            for readers in [1, 2, 7, 50] {
                // Long enough for each to have its turn a hundred times.
                let turn = Duration::from_secs_f64(readers as f64 * 65_536.0 / rate as f64);
                let span = (turn * 100).max(SECOND);
                let moved = run(rate, &vec![1; readers], SECOND, SECOND + span);
                let all: u64 = moved.iter().sum();
                let expected = rate as f64 * span.as_secs_f64();
                let off = (all as f64 / expected - 1.0).abs();
                assert!(off < 0.02, "{rate} for {readers}: {all} in {span:?}");
                for one in &moved {
                    let off = (*one as f64 * readers as f64 / expected - 1.0).abs();
                    assert!(off < 0.1, "{rate} for {readers}: {moved:?}");
                }
            }
        }
    }

    #[test]
    fn whole_frames_do_not_break_the_rate() {
        for piece in [16 * 1024, 63 * 1024, 500_000] {
            let moved = run(1_000_000, &[piece; 3], SECOND, 61 * SECOND);
            let all: u64 = moved.iter().sum();
            assert!((58_800_000..61_200_000).contains(&all), "{piece}: {moved:?}");
            let fair = moved.iter().all(|one| one.abs_diff(all / 3) < all / 30);
            assert!(fair, "{piece}: {moved:?}");
        }
    }

    #[test]
    fn nobody_waits_while_there_is_enough() {
        let mut now = Time(0);
        let mut shaper = Shaper::new(1_000_000, now);
        for round in 0..1000 {
            // A tenth of the rate, by ever another one.
            now = now + Duration::from_millis(10);
            assert!(shaper.grant(round, now) >= 1000);
            shaper.spent(round, 1000);
            assert_eq!((shaper.poll_ready(now), shaper.next()), (None, None));
        }
        assert!(shaper.members.is_empty() && shaper.members.capacity() == 0, "no memory either");
    }

    #[test]
    fn a_burst_is_50_ms_of_the_rate_however_long_nobody_came() {
        let mut now = Time(0);
        let mut shaper = Shaper::new(20_000_000, now);
        for _ in 0..3 {
            let mut burst = 0;
            while let granted @ 1.. = shaper.grant(1, now) {
                shaper.spent(1, granted);
                burst += granted;
            }
            assert!((950_000..=1_000_000).contains(&burst), "{burst}");
            shaper.leave(1);
            now = now + 3600 * SECOND;
        }
    }

    #[test]
    fn who_left_or_has_nothing_to_say_keeps_nobody_waiting() {
        let mut now = Time(0);
        let mut shaper = Shaper::new(1_000_000, now);
        while let granted @ 1.. = shaper.grant(0, now) {
            shaper.spent(0, granted);
        }
        for id in 1..100 {
            assert_eq!(shaper.grant(id, now), 0);
        }
        // 0 is at the front, has its turn and does not use it; the next ones have left.
        (1..50).for_each(|id| shaper.leave(id));
        let mut named = Vec::new();
        while let Some(at) = shaper.next() {
            now = at.max(now);
            while let Some(id) = shaper.poll_ready(now) {
                named.push(id);
                if id != 0 {
                    shaper.spent(id, 16_384);
                    shaper.leave(id);
                }
            }
            assert!(named.len() < 60, "{named:?}");
        }
        assert_eq!(named, [&[0][..], &(50..100).collect::<Vec<_>>()].concat());
        // It may use it later, before others and once.
        assert_eq!(shaper.members.len(), 1);
        shaper.leave(0);
        assert!(shaper.members.is_empty() && shaper.queue.is_empty());
    }

    #[test]
    fn a_queue_of_those_who_left_is_bounded() {
        let mut shaper = Shaper::new(1_000, Time(0));
        while let granted @ 1.. = shaper.grant(0, Time(0)) {
            shaper.spent(0, granted);
        }
        for id in 1..10_000 {
            assert_eq!(shaper.grant(id, Time(0)), 0);
            shaper.leave(id);
            assert!(shaper.queue.len() < 20, "{}", shaper.queue.len());
        }
    }

    /// Two services with a limit of their own each, and one for both, which is less than their sum:
    /// all three hold.
    #[test]
    fn the_limit_of_all_holds_beside_those_of_each() {
        let mut now = Time(0);
        let services = services(["2 MB/s", "10 MB/s", ""]);
        let mut lines = Bandwidths::new(Some(6_000_000), &services, now);
        let mut moved = [0; 3];
        // Four readers of each, which want all that they can get.
        let mut ready: VecDeque<usize> = (0..12).collect();
        while now < Time(0) + 20 * SECOND {
            while let Some(reader) = ready.pop_front() {
                let service = services.at(reader % 3);
                let granted = lines.grant(service, Way::Down, reader, now);
                if granted > 0 {
                    lines.spent(service, Way::Down, reader, granted);
                    moved[reader % 3] += granted;
                    ready.push_back(reader);
                }
            }
            now = lines.next().expect("somebody waits").max(Time(now.0 + 1));
            ready.extend(std::iter::from_fn(|| lines.poll_ready(now)));
        }
        let all: usize = moved.iter().sum();
        assert!((117_000_000..123_000_000).contains(&all), "{moved:?}");
        assert!(moved[0] < 41_000_000 && moved.iter().all(|one| *one > 25_000_000), "{moved:?}");
        // The other way has its own.
        let [first, unlimited] = [services.at(0), services.at(2)];
        assert!(lines.grant(unlimited, Way::Up, 99, now) > 0);
        assert!(lines.limits(unlimited));
        // Another file: who waits for a limit that stays waits on, the others are free.
        assert!(!lines.reload(None, &services, now).is_empty(), "all have waited for that one");
        assert!(!lines.limits(unlimited) && lines.limits(first));
        let second = services.at(1);
        for service in [first, second] {
            for reader in 100..103 {
                while let granted @ 1.. = lines.grant(service, Way::Down, reader, now) {
                    lines.spent(service, Way::Down, reader, granted);
                }
            }
        }
        let other = self::services(["1 kB/s", "", ""]);
        let mut freed = lines.reload(None, &other, now);
        freed.retain(|reader| *reader >= 100);
        freed.sort_unstable();
        assert_eq!(freed, [100, 101, 102]);
        let shaper = &mut lines.services.get_mut(first).expect("limited")[1];
        assert!(shaper.rate == 1_000 && shaper.members.contains_key(&102));
        assert!(shaper.next().is_some_and(|next| next < now + 60 * SECOND));
        lines.forget(first);
        assert!(!lines.limits(first));
    }

    fn services(bandwidths: [&str; 3]) -> Services {
        let mut text = "[server]\nbind_addr = '[::1]:1'\n".to_owned();
        for (port, bandwidth) in (2..).zip(bandwidths) {
            text +=
                &format!("[server.services.s{port}]\ntoken = 'a'\nbind_addr = '[::1]:{port}'\n");
            if !bandwidth.is_empty() {
                text += &format!("bandwidth = '{bandwidth}'\n");
            }
        }
        let config = Config::parse("f.toml", &text, &|_| None);
        let config = config.unwrap_or_else(|error| panic!("{error}"));
        Services::new(&config.server.expect("[server]").services)
    }

    #[derive(Debug, Clone)]
    enum Step {
        Ask(u8, usize),
        Leave(u8),
        Later(u64),
        Poll,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..6u8, 0..200_000usize).prop_map(|(id, bytes)| Step::Ask(id, bytes)),
            1 => (0..6u8).prop_map(Step::Leave),
            2 => (0..100_000_000u64).prop_map(Step::Later),
            3 => Just(Step::Poll),
        ]
    }

    proptest! {
        /// Whatever is asked in whatever order: never more than the rate allows, a burst and one
        /// overdraft apart, and whoever waits is named.
        #[test]
        fn any_order_of_calls_keeps_the_rate(
            rate in 1_000..10_000_000u64,
            steps in proptest::collection::vec(step(), 1..200),
        ) {
            let mut now = Time(0);
            let mut shaper = Shaper::new(rate, now);
            let (mut moved, mut last) = (0, 0);
            for step in steps {
                match step {
                    Step::Ask(id, bytes) => {
                        if shaper.grant(id, now) > 0 {
                            shaper.spent(id, bytes);
                            moved += bytes as u64;
                            last = bytes as u64;
                        }
                    }
                    Step::Leave(id) => shaper.leave(id),
                    Step::Later(nanos) => now = now + Duration::from_nanos(nanos),
                    Step::Poll => while shaper.poll_ready(now).is_some() {},
                }
                let allowed = u128::from(rate) * u128::from(now.0) / 1_000_000_000;
                let most = allowed as u64 + shaper.burst + last;
                prop_assert!(moved <= most, "{moved} of {most} at {now:?}");
            }
            let waiting: Vec<u8> = (0..6)
                .filter(|id| shaper.members.get(id) == Some(&Member::Waiting))
                .collect();
            let mut named = Vec::new();
            while let Some(at) = shaper.next() {
                now = now.max(at);
                named.extend(std::iter::from_fn(|| shaper.poll_ready(now)));
                now = now + SECOND;
            }
            named.sort_unstable();
            prop_assert_eq!(named, waiting);
        }
    }
}
