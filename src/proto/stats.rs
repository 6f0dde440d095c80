//! What is counted of visitors, for each service and entry. Counting is adding to numbers that are
//! there: the first visitor of a service and an entry makes room for theirs, no other allocates.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use super::access::{Entry, VisitEnd};
use super::services::{ByService, ServiceId};
use super::time::Time;
use crate::limits;
use crate::status::Histogram;

/// All that is counted.
#[derive(Debug, Default)]
pub struct Stats {
    by_service: ByService<[Option<Box<Traffic>>; Entry::ALL.len()]>,
    /// Of visitors whom no service took.
    strays: [Traffic; Entry::ALL.len()],
    /// Of services that are gone, so that what all have together never shrinks.
    former: [Traffic; Entry::ALL.len()],
    /// The newest last: of visitors who had a service, and of others, who are none's fault.
    failures: [VecDeque<Failed>; 2],
}

/// What has passed an entry to one service, or to none.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    /// Visits that are over, by [`VisitEnd`].
    ends: [u64; VisitEnd::ALL.len()],
    /// Answers by the first digit of their status, from 1.
    classes: [u64; 5],
    /// Bytes from visitors.
    pub received: u64,
    /// Bytes to visitors.
    pub sent: u64,
    /// From the route to a link.
    pub link_wait: Histogram,
    /// From the begin of a visit to the first byte of the answer.
    pub first_byte: Histogram,
}

/// A visit that did not go as the visitor wished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// When it was over.
    pub at: Time,
    /// The way in.
    pub entry: Entry,
    /// Who came.
    pub visitor: IpAddr,
    /// What it asked for, if that is known still.
    pub name: String,
    /// Who has that.
    pub service: Option<ServiceId>,
    /// How it ended.
    pub end: VisitEnd,
}

impl Traffic {
    /// Visits that are over, by how they ended; those that there were.
    pub fn ends(&self) -> impl Iterator<Item = (VisitEnd, u64)> {
        VisitEnd::ALL.into_iter().zip(self.ends).filter(|(_, count)| *count > 0)
    }

    /// Answers by class, as `2xx`; those that there were.
    pub fn classes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CLASSES.into_iter().zip(self.classes).filter(|(_, count)| *count > 0)
    }

    fn add(&mut self, other: &Traffic) {
        for (own, others) in self.ends.iter_mut().zip(other.ends) {
            *own += others;
        }
        for (own, others) in self.classes.iter_mut().zip(other.classes) {
            *own += others;
        }
        self.received += other.received;
        self.sent += other.sent;
        self.link_wait.add(&other.link_wait);
        self.first_byte.add(&other.first_byte);
    }

    fn is_empty(&self) -> bool {
        self.ends().next().is_none() && self.received == 0 && self.sent == 0
    }
}

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl Stats {
    /// A service has come; what it had under the same id stays.
    pub fn add(&mut self, service: ServiceId) {
        if self.by_service.get(service).is_none() {
            self.by_service.insert(service, Default::default());
        }
    }

    /// A service is gone.
    pub fn forget(&mut self, service: ServiceId) {
        for (slot, former) in self.by_service.remove(service).iter().flatten().zip(&mut self.former)
        {
            slot.iter().for_each(|traffic| former.add(traffic));
        }
    }

    /// Bytes have moved.
    pub fn moved(&mut self, service: Option<ServiceId>, entry: Entry, received: u64, sent: u64) {
        let traffic = self.of(service, entry);
        traffic.received += received;
        traffic.sent += sent;
    }

    /// A visit is over.
    pub fn ended(&mut self, service: Option<ServiceId>, entry: Entry, end: VisitEnd) {
        self.of(service, entry).ends[end as usize] += 1;
    }

    /// An answer over HTTP is whole, or broken off.
    pub fn answered(&mut self, service: Option<ServiceId>, status: u16) {
        let class = usize::from(status / 100).saturating_sub(1).min(CLASSES.len() - 1);
        self.of(service, Entry::Http).classes[class] += 1;
    }

    /// A visitor has its link.
    pub fn linked(&mut self, service: Option<ServiceId>, entry: Entry, wait: Duration) {
        self.of(service, entry).link_wait.observe(wait.as_secs_f64());
    }

    /// The first byte of an answer has gone out.
    pub fn first_byte(&mut self, service: Option<ServiceId>, entry: Entry, wait: Duration) {
        self.of(service, entry).first_byte.observe(wait.as_secs_f64());
    }

    /// A visit did not go as it should.
    pub fn failed(&mut self, failed: Failed) {
        let (ring, most) = match failed.service {
            Some(_) => (0, limits::FAILURES_KEPT),
            None => (1, limits::STRAY_FAILURES_KEPT),
        };
        let ring = &mut self.failures[ring];
        if ring.len() >= most {
            ring.pop_front();
        }
        ring.push_back(failed);
    }

    /// Those that are remembered, the newest first.
    pub fn failures(&self) -> Vec<&Failed> {
        let mut all: Vec<&Failed> = self.failures.iter().flatten().collect();
        all.sort_by_key(|failed| std::cmp::Reverse(failed.at));
        all
    }

    /// What has passed to a service, by entry.
    pub fn of_service(&self, service: ServiceId) -> impl Iterator<Item = (Entry, &Traffic)> {
        let all = self.by_service.get(service).into_iter().flatten();
        let all = Entry::ALL.into_iter().zip(all);
        all.filter_map(|(entry, traffic)| Some((entry, traffic.as_deref()?)))
    }

    /// What no service took, by entry; where there was something.
    pub fn strays(&self) -> impl Iterator<Item = (Entry, &Traffic)> {
        let all = Entry::ALL.into_iter().zip(&self.strays);
        all.filter(|(_, traffic)| !traffic.is_empty())
    }

    /// All that has passed an entry, of services that are gone too.
    pub fn of_entry(&self, entry: Entry) -> Traffic {
        let mut all = self.strays[entry as usize].clone();
        all.add(&self.former[entry as usize]);
        for (_, slots) in self.by_service.iter() {
            slots[entry as usize].iter().for_each(|traffic| all.add(traffic));
        }
        all
    }

    fn of(&mut self, service: Option<ServiceId>, entry: Entry) -> &mut Traffic {
        match service.and_then(|service| self.by_service.get_mut(service)) {
            Some(slots) => slots[entry as usize].get_or_insert_default(),
            None => &mut self.strays[entry as usize],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_found_where_it_belongs() {
        let mut stats = Stats::default();
        let (a, b) = (ServiceId::nth(0), ServiceId::nth(1));
        stats.add(a);
        stats.ended(Some(a), Entry::Http, VisitEnd::Done);
        stats.answered(Some(a), 204);
        stats.answered(Some(a), 599);
        stats.moved(Some(a), Entry::Https, 3, 4);
        stats.moved(Some(b), Entry::Https, 1, 2);
        stats.ended(None, Entry::Tcp, VisitEnd::Crowded);
        let of_a: Vec<Entry> = stats.of_service(a).map(|(entry, _)| entry).collect();
        assert_eq!(of_a, [Entry::Http, Entry::Https]);
        let (_, http) = stats.of_service(a).next().expect("http");
        assert_eq!(http.ends().collect::<Vec<_>>(), [(VisitEnd::Done, 1)]);
        assert_eq!(http.classes().collect::<Vec<_>>(), [("2xx", 1), ("5xx", 1)]);
        let strays: Vec<_> = stats.strays().map(|(entry, it)| (entry, it.received)).collect();
        assert_eq!(strays, [(Entry::Https, 1), (Entry::Tcp, 0)], "nobody has added b");
        stats.forget(a);
        assert_eq!(stats.of_service(a).count(), 0);
        let https = stats.of_entry(Entry::Https);
        assert_eq!((https.received, https.sent), (4, 6), "of both");
    }

    #[test]
    fn strangers_do_not_push_out_what_concerns_a_service() {
        let mut stats = Stats::default();
        let failed = |at, service| Failed {
            at: Time(at),
            entry: Entry::Https,
            visitor: [192, 0, 2, 1].into(),
            name: String::new(),
            service,
            end: VisitEnd::Offline,
        };
        stats.failed(failed(1, Some(ServiceId::nth(0))));
        for at in 2..1000 {
            stats.failed(failed(at, None));
        }
        let failures = stats.failures();
        assert_eq!(failures.len(), 1 + limits::STRAY_FAILURES_KEPT);
        assert_eq!((failures[0].at, failures.last().map(|it| it.at)), (Time(999), Some(Time(1))));
    }
}
