//! Admission's rules one by one, and all of them against a model that keeps a plain list.

use super::*;
use std::time::Duration;

mod model;

/// As much as no test needs.
const PLENTY: Capacity = Capacity {
    strangers: 100,
    sessions: 100,
    links: 100,
    visitors: 100,
    admins: 1000,
    memory: 1 << 20,
    visitors_per_network: None,
};

/// An admission with its permits, and a clock that goes on by a second with every call.
struct House {
    admission: Admission<u32>,
    permits: Vec<(u32, Permit)>,
    now: Time,
}

impl House {
    fn with(capacity: Capacity) -> House {
        House { admission: Admission::new(capacity), permits: Vec::new(), now: Time::default() }
    }

    fn with_visitors(visitors: usize) -> House {
        House::with(Capacity { visitors, ..PLENTY })
    }

    fn tick(&mut self) -> Time {
        self.now = self.now + Duration::from_secs(1);
        self.now
    }

    fn enter(&mut self, class: Class, id: u32, holder: Holder, standing: Standing) -> Verdict {
        let now = self.tick();
        let permit = self.admission.admit(class, id, holder, standing, now);
        permit.map(|permit| self.permits.push((id, permit)))
    }

    fn visit(&mut self, id: u32, holder: Holder, standing: Standing) -> Verdict {
        self.enter(Class::Visitor, id, holder, standing)
    }

    fn permit(&self, id: u32) -> &Permit {
        let found = self.permits.iter().find(|(other, _)| *other == id);
        &found.expect("one that was admitted").1
    }

    fn stand(&mut self, id: u32, standing: Standing) {
        let now = self.tick();
        let at = self.permits.iter().position(|(other, _)| *other == id).expect("admitted");
        self.admission.stand(&self.permits[at].1, standing, now);
    }

    fn charge(&mut self, id: u32, bytes: usize) {
        let now = self.tick();
        let at = self.permits.iter().position(|(other, _)| *other == id).expect("admitted");
        self.admission.charge(&self.permits[at].1, bytes, false, now);
    }

    fn name(&mut self, id: u32, holder: Holder) -> Verdict {
        let now = self.tick();
        let at = self.permits.iter().position(|(other, _)| *other == id).expect("admitted");
        self.admission.name(&self.permits[at].1, holder, now)
    }

    fn release(&mut self, id: u32) {
        let at = self.permits.iter().position(|(other, _)| *other == id).expect("admitted");
        self.admission.release(self.permits.remove(at).1);
    }

    fn evicted(&mut self) -> Vec<(u32, Pressure)> {
        std::iter::from_fn(|| self.admission.poll_eviction()).collect()
    }

    /// Who made room.
    fn gone(&mut self) -> Vec<u32> {
        let evicted = self.evicted();
        assert!(evicted.iter().all(|(_, pressure)| *pressure == Pressure::MadeRoom), "{evicted:?}");
        evicted.into_iter().map(|(id, _)| id).collect()
    }

    /// With every permit back, nothing is left.
    fn finish(self) {
        let House { mut admission, permits, .. } = self;
        permits.into_iter().for_each(|(_, permit)| admission.release(permit));
        assert!(admission.is_empty(), "{:?}", admission.census());
    }

    fn stalled(&mut self) -> Vec<u32> {
        let evicted = self.evicted();
        assert!(evicted.iter().all(|(_, pressure)| *pressure == Pressure::Stalled), "{evicted:?}");
        evicted.into_iter().map(|(id, _)| id).collect()
    }
}

type Verdict = Result<(), Refused>;

fn at(address: &str) -> Holder {
    Holder::Address(address.parse().expect("an address"))
}

use Standing::{Busy, Idle, Unproved};

const A: &str = "192.0.2.1";
const B: &str = "192.0.2.2";
const C: &str = "192.0.2.3";
const D: &str = "192.0.2.4";

#[test]
fn the_largest_network_gives_its_most_dispensable_member() {
    let mut house = House::with_visitors(6);
    for (id, standing) in [(1, Busy), (2, Idle), (3, Unproved)] {
        house.visit(id, at(A), standing).expect("room");
    }
    for (id, address) in [(4, B), (5, B), (6, C)] {
        house.visit(id, at(address), Unproved).expect("room");
    }
    for (id, gone) in [(7, 3), (8, 2)] {
        house.visit(id, at(D), Busy).expect("somebody makes room");
        assert_eq!(house.gone(), [gone], "{id}: the largest gives, the unproved first");
        house.release(id);
        house.visit(100 + id, at(A), Idle).expect("room");
        house.stand(100 + id, Busy);
    }
    assert_eq!(house.admission.count(Class::Visitor), 6);
    house.finish();
}

#[test]
fn the_one_that_has_stood_so_for_longest_goes_first() {
    let mut house = House::with_visitors(4);
    for id in 1..=3 {
        house.visit(id, Holder::Many, Busy).expect("room");
    }
    house.visit(4, Holder::Many, Busy).expect("room");
    for id in [3, 1, 2] {
        house.stand(id, Idle);
    }
    house.stand(3, Idle);
    for (id, gone) in [(5, 3), (6, 1), (7, 2)] {
        house.visit(id, Holder::Many, Busy).expect("somebody makes room");
        assert_eq!(house.gone(), [gone]);
    }
    assert_eq!(house.visit(8, Holder::Many, Busy), Err(Refused::Full), "all are busy");
    assert!(!house.admission.may_admit(Class::Visitor));
    house.finish();
}

#[test]
fn a_busy_one_goes_only_for_a_network_that_still_holds_fewer() {
    let mut house = House::with(Capacity { links: 5, ..PLENTY });
    for id in 1..=5 {
        house.enter(Class::Link, id, Holder::Session(1), Busy).expect("room");
    }
    assert_eq!(house.enter(Class::Link, 9, Holder::Session(1), Busy), Err(Refused::Full));
    house.enter(Class::Link, 6, Holder::Session(2), Busy).expect("1 against 4");
    house.enter(Class::Link, 7, Holder::Session(2), Busy).expect("2 against 3");
    assert_eq!(house.gone(), [1, 2]);
    assert_eq!(house.enter(Class::Link, 9, Holder::Session(2), Busy), Err(Refused::Full));
    assert!(house.admission.may_admit(Class::Link));
    house.enter(Class::Link, 8, Holder::Session(3), Busy).expect("1 against 2");
    assert_eq!(house.gone(), [3]);
    assert_eq!(house.enter(Class::Link, 9, Holder::Session(4), Busy), Err(Refused::Full));
    assert!(!house.admission.may_admit(Class::Link));
    house.finish();
}

#[test]
fn below_a_largest_network_of_busy_ones_somebody_dispensable_is_found() {
    let mut house = House::with_visitors(4);
    for (id, address, standing) in [(1, A, Busy), (2, A, Busy), (3, B, Idle), (4, C, Unproved)] {
        house.visit(id, at(address), standing).expect("room");
    }
    assert_eq!(house.visit(5, at(A), Unproved), Err(Refused::Share));
    house.visit(5, at(D), Unproved).expect("somebody makes room");
    assert_eq!(house.gone(), [4], "unproved before idle among networks of one size");
    house.visit(6, at(C), Busy).expect("somebody makes room");
    assert_eq!(house.gone(), [5]);
    house.visit(7, at(C), Busy).expect_err("C holds as many as B");
    house.visit(8, at(D), Busy).expect("somebody makes room");
    assert_eq!(house.gone(), [3]);
    house.finish();
}

#[test]
fn one_network_has_at_most_half_and_displaces_only_its_own() {
    let mut house = House::with_visitors(8);
    for id in 1..=4 {
        house.visit(id, at(A), Busy).expect("within the share");
    }
    assert_eq!(house.admission.room(Class::Visitor, at(A)), 0);
    assert_eq!(house.admission.room(Class::Visitor, at(B)), 4);
    assert_eq!(house.visit(5, at(A), Busy), Err(Refused::Share));
    house.stand(2, Idle);
    house.visit(5, at("::ffff:192.0.2.1"), Busy).expect("its own idle one makes room");
    assert_eq!(house.gone(), [2]);
    house.finish();

    let mut house = House::with(Capacity { visitors_per_network: Some(1), ..PLENTY });
    house.visit(1, at(A), Busy).expect("room");
    assert_eq!(house.visit(2, at(A), Busy), Err(Refused::Share));
    house.visit(3, at(B), Busy).expect("room");
    house.finish();
}

#[test]
fn a_site_has_three_quarters_and_each_network_in_it_half() {
    let mut house = House::with_visitors(8);
    let [a, b, c] = ["2001:db8:5:a::1", "2001:db8:5:b::1", "2001:db8:5:c::1"].map(at);
    for id in 1..=4 {
        house.visit(id, a, Busy).expect("within the share");
    }
    assert_eq!(house.visit(9, at("2001:db8:5:a:1:2:3:4"), Busy), Err(Refused::Share));
    for id in 5..=6 {
        house.visit(id, b, Busy).expect("within the share");
    }
    assert_eq!(house.admission.room(Class::Visitor, c), 0);
    assert_eq!(house.admission.room(Class::Visitor, at("2001:db8:6::1")), 2);
    house.visit(7, c, Busy).expect("1 against 3, within the site");
    assert_eq!(house.gone(), [1]);
    assert_eq!(house.visit(8, b, Busy), Err(Refused::Share), "3 against 2");
    house.stand(6, Idle);
    house.visit(8, b, Busy).expect("its own idle one makes room");
    assert_eq!(house.gone(), [6]);
    house.finish();
}

#[test]
fn the_largest_network_of_the_largest_site_gives() {
    let mut house = House::with_visitors(8);
    for (id, address) in
        [(1, "2001:db8:5:a::1"), (2, "2001:db8:5:b::1"), (3, "2001:db8:5:b::2"), (4, A), (5, A)]
    {
        house.visit(id, at(address), Idle).expect("room");
    }
    for (id, address) in [(6, B), (7, B), (8, C)] {
        house.visit(id, at(address), Busy).expect("room");
    }
    house.visit(9, at(D), Busy).expect("somebody makes room");
    assert_eq!(house.gone(), [2], "the site holds 3, and 2 of them in one network");
    house.finish();
}

#[test]
fn a_session_may_have_all_until_another_one_comes() {
    let mut house = House::with(Capacity { links: 10, ..PLENTY });
    for id in 0..10 {
        assert_eq!(house.admission.room(Class::Link, Holder::Session(1)), 10 - id as usize);
        house.enter(Class::Link, id, Holder::Session(1), Idle).expect("no share");
    }
    assert_eq!(house.admission.room(Class::Link, Holder::Session(2)), 5);
    for id in 10..15 {
        house.enter(Class::Link, id, Holder::Session(2), Busy).expect("spare ones make room");
    }
    assert_eq!(house.gone(), [0, 1, 2, 3, 4]);
    assert_eq!(house.admission.room(Class::Link, Holder::Session(2)), 0);
    house.finish();
}

#[test]
fn room_is_made_by_the_largest_who_has_somebody_dispensable() {
    let mut house = House::with(Capacity { links: 10, ..PLENTY });
    for id in 0..5 {
        house.enter(Class::Link, id, Holder::Session(1), Busy).expect("room");
    }
    for id in 5..8 {
        house.enter(Class::Link, id, Holder::Session(2), Idle).expect("room");
    }
    while house.admission.make_room(Class::Link) {}
    assert_eq!(house.gone(), [5, 6, 7]);
    house.finish();
}

#[test]
fn those_who_stand_for_many_go_only_unproved_or_idle_and_never_as_the_largest() {
    let mut house = House::with_visitors(6);
    for id in 1..=4 {
        house.visit(id, Holder::Many, if id < 3 { Idle } else { Busy }).expect("no share");
    }
    house.visit(5, at(A), Idle).expect("room");
    house.visit(6, at(B), Busy).expect("room");
    house.visit(7, Holder::Many, Busy).expect("somebody makes room");
    assert_eq!(house.gone(), [1], "one of its kind before anybody's only one");
    house.visit(8, at(C), Busy).expect("somebody makes room");
    assert_eq!(house.gone(), [5], "a network before those who stand for many");
    house.visit(9, at(D), Busy).expect("somebody makes room");
    assert_eq!(house.gone(), [2]);
    assert_eq!(house.visit(10, at("192.0.2.9"), Busy), Err(Refused::Full));
    assert_eq!(house.visit(10, Holder::Many, Busy), Err(Refused::Full));
    house.finish();
}

#[test]
fn a_header_moves_it_to_its_network_or_it_stays() {
    let mut house = House::with_visitors(4);
    for id in 1..=3 {
        house.visit(id, Holder::Many, Unproved).expect("room");
    }
    house.charge(3, 1000);
    for id in 1..=2 {
        house.name(id, at(A)).expect("within the share");
        house.stand(id, Busy);
    }
    assert_eq!(house.name(3, at(A)), Err(Refused::Share));
    assert_eq!((house.admission.held(), house.admission.count(Class::Visitor)), (1000, 3));
    house.stand(2, Idle);
    house.name(3, at(A)).expect("its own idle one makes room");
    assert_eq!((house.gone(), house.admission.held()), (vec![2], 1000));
    house.name(3, at(A)).expect("nothing changes");
    assert_eq!(house.admission.count(Class::Visitor), 2);
    house.finish();
}

#[test]
fn one_that_was_evicted_counts_no_more_whatever_is_done_with_its_permit() {
    let mut house = House::with_visitors(2);
    house.visit(1, at(A), Unproved).expect("room");
    house.visit(2, at(B), Unproved).expect("room");
    house.charge(1, 500);
    house.visit(3, at(C), Unproved).expect("somebody makes room");
    let before = house.admission.census();
    assert_eq!((before.permits, before.bytes), (3, 0), "1 counts no more");
    assert!(house.admission.is_evicted(house.permit(1)));
    house.charge(1, 700);
    house.stand(1, Busy);
    house.name(1, at(C)).expect("nothing to refuse");
    assert_eq!(house.admission.census(), before);
    house.release(1);
    assert!(house.evicted().is_empty(), "it has ended by itself before it was named");
    house.visit(4, at(D), Busy).expect("somebody makes room");
    assert_eq!(house.gone(), [2]);
    house.release(2);
    assert_eq!(house.admission.count(Class::Visitor), 2);
    house.finish();
}

#[test]
fn classes_do_not_cost_each_other_a_place() {
    let mut house = House::with(Capacity { strangers: 2, visitors: 2, ..PLENTY });
    for (id, address) in [(1, A), (2, B)] {
        house.visit(id, at(address), Idle).expect("room");
    }
    for (id, address) in [(3, A), (4, B), (5, C), (6, D)] {
        house.enter(Class::Stranger, id, at(address), Unproved).expect("room, or made");
    }
    assert_eq!(house.gone(), [3, 4]);
    assert_eq!(house.admission.count(Class::Visitor), 2);
    house.finish();
}

#[test]
fn past_the_memory_the_one_who_holds_most_gives_its_longest_stalled() {
    let mut house = House::with(Capacity { memory: 8000, ..PLENTY });
    for (id, address) in [(1, A), (2, A), (3, A), (4, B)] {
        house.visit(id, at(address), Busy).expect("room");
    }
    for (id, bytes) in [(4, 3000), (1, 2000), (2, 1500), (3, 1000), (1, 1900)] {
        house.charge(id, bytes);
    }
    assert_eq!((house.admission.held(), house.stalled().len()), (7400, 0));
    house.charge(3, 2000);
    assert_eq!(house.stalled(), [2], "1 has read since 2 did; 4 holds longer, but less than A");
    assert_eq!(house.admission.held(), 6900, "7000 is an eighth below");
    house.charge(1, 9000);
    assert_eq!(house.stalled(), [3, 1], "a single one too");
    assert_eq!(house.admission.held(), 3000);
    house.finish();
}

#[test]
fn bytes_of_the_unproved_have_a_quarter_and_cost_nobody_else() {
    let mut house = House::with(Capacity { memory: 8000, ..PLENTY });
    for (id, address, standing) in [(1, A, Busy), (2, B, Unproved), (3, B, Unproved), (4, C, Idle)]
    {
        house.visit(id, at(address), standing).expect("room");
    }
    house.charge(1, 5000);
    house.charge(2, 1000);
    house.charge(3, 1000);
    assert!(house.stalled().is_empty());
    house.charge(3, 1001);
    assert_eq!(house.stalled(), [2]);
    assert_eq!(house.admission.census().unproved_bytes, 1001);
    house.charge(4, 1500);
    house.stand(4, Unproved);
    assert_eq!(house.stalled(), [4], "one that is unproved again counts as such");
    house.stand(3, Busy);
    assert_eq!((house.admission.held(), house.admission.census().unproved_bytes), (6001, 0));
    house.finish();
}

#[test]
fn a_site_is_one_holder_of_bytes_and_many_are_each_their_own() {
    let mut house = House::with(Capacity { memory: 8000, ..PLENTY });
    for (id, address) in [(1, "2001:db8:5:a::1"), (2, "2001:db8:5:b::1"), (3, A)] {
        house.visit(id, at(address), Busy).expect("room");
    }
    for id in 4..=7 {
        house.visit(id, Holder::Many, Busy).expect("room");
        house.charge(id, 1000);
    }
    house.charge(1, 1200);
    house.charge(2, 1000);
    house.charge(3, 1500);
    assert!(house.stalled().is_empty());
    house.charge(3, 1801);
    assert_eq!(house.stalled(), [1], "the site's 2200 are most, and 1200 most of the site");
    house.charge(3, 800);
    house.charge(2, 3000);
    assert!(house.stalled().is_empty());
    house.charge(2, 300);
    house.charge(4, 1100);
    house.charge(5, 5000);
    assert_eq!(house.stalled(), [4, 5], "no network holds more than each of those");
    house.finish();
}

#[test]
fn a_smaller_capacity_holds_from_the_next_newcomer_on() {
    let mut house = House::with_visitors(8);
    for id in 1..=4 {
        house.visit(id, at(&format!("192.0.2.{id}")), Idle).expect("room");
        house.charge(id, 1000);
    }
    house.admission.set_capacity(Capacity { visitors: 2, memory: 3000, ..PLENTY });
    assert_eq!(house.stalled(), [1, 2]);
    house.admission.set_capacity(Capacity { visitors: 1, memory: 3000, ..PLENTY });
    assert_eq!(house.admission.room(Class::Visitor, at(A)), 0);
    house.visit(9, at("192.0.2.9"), Idle).expect("they make room");
    assert_eq!((house.gone(), house.admission.count(Class::Visitor)), (vec![3, 4], 1));
    house.admission.set_capacity(Capacity { visitors: 0, ..PLENTY });
    assert!(house.visit(10, at(A), Idle).is_err());
    house.finish();
}

#[test]
#[should_panic(expected = "a permit of another admission")]
fn a_permit_belongs_to_one_admission() {
    let mut one = Admission::new(PLENTY);
    let mut other = Admission::<u32>::new(PLENTY);
    let permit = one.admit(Class::Visitor, 1, at(A), Busy, Time::default()).expect("room");
    other.release(permit);
}
