//! Visitors who mean harm: they hold places, bytes and links.

use super::*;

const HTTP: u16 = 80;
/// Answered by 404, behind which the connection stays.
const ASKS_NOBODY: &[u8] = b"GET /hostile HTTP/1.1\r\nHost: nobody.example\r\n\r\n";

impl Play {
    /// So many crowds beside the first one, in turns.
    fn mob(&mut self, crowds: usize) -> impl Fn(usize) -> usize + use<> {
        let first = self.crowds.len();
        (0..crowds).for_each(|_| _ = self.add_crowd());
        move |number| first + number % crowds
    }

    /// Somebody who asks the HTTP entry for a home that there is not.
    fn ask_nobody(&mut self, start: Time) -> StoryId {
        let acts = vec![Act::Send(ASKS_NOBODY.len()), Act::Fin];
        self.stranger(0, HTTP, start, ASKS_NOBODY.to_vec(), acts)
    }
}

/// 270 connections with 63 KB of an unfinished second head each are 17 MB.
#[test]
fn bytes_of_those_who_have_been_routed_shut_no_door() {
    const HEAD: usize = 63 * 1024;
    for crowds in [1, 50] {
        let mut play = Play::besieged(tuning(), 1, true, 4096, "");
        let mob = play.mob(crowds);
        let begin = play.now() + SECOND;
        let words = [ASKS_NOBODY, b"GET /hostile?", &[b'a'; HEAD][13..]].concat();
        for number in 0..270 {
            let acts = vec![Act::Send(ASKS_NOBODY.len()), pause(SECOND), Act::Send(HEAD)];
            play.stranger(mob(number), HTTP, begin, words.clone(), acts);
        }
        play.run_until(begin + 2 * SECOND);
        let guests = play.guests(0, SECOND / 5, 6 * SECOND);
        let asks = (0..30).map(|number| play.now() + SECOND * number / 5).collect::<Vec<_>>();
        let asks = asks.into_iter().map(|at| play.ask_nobody(at)).collect::<Vec<_>>();
        play.run(8 * SECOND);
        play.assert_all_served(&guests);
        for id in asks {
            let answer = play.book.borrow().stories[id].witnesses[0].first.clone();
            assert!(answer.starts_with(b"HTTP/1.1 404"), "{answer:?} with {crowds} crowds");
        }
        play.run(MINUTE);
        play.assert_at_rest();
    }
}

/// More than there is room for, whatever they do with their places, and wherever they come from.
#[test]
fn nobody_fills_the_house() {
    const LIMIT: usize = 1024;
    /// The visitors that they have room for: some go to listeners, to those on the tunnel port and
    /// to spare links, and each visitor needs a link.
    const HOUSE: usize = 309;
    const MOB: usize = 400;
    let stays = || [Act::Send(1), pause(HOUR)];
    for crowds in [1, 50] {
        for kind in ["silent", "half a hello", "kept alive", "at home"] {
            let mut play = Play::besieged(tuning(), 1, true, LIMIT, "");
            let mob = play.mob(crowds);
            let begin = play.now() + SECOND;
            for number in 0..MOB {
                let (crowd, start) = (mob(number), begin + number as u32 * MILLI);
                let nothing = Script::default();
                let id = match kind {
                    "silent" => play.stranger(crowd, HTTPS, start, Vec::new(), vec![]),
                    "half a hello" => {
                        play.stranger(crowd, HTTPS, start, vec![22; 1], stays().to_vec())
                    }
                    "kept alive" => {
                        let acts = vec![Act::Send(ASKS_NOBODY.len())];
                        play.stranger(crowd, HTTP, start, ASKS_NOBODY.to_vec(), acts)
                    }
                    _ => {
                        let visitor = eager(vec![pause(MINUTE), Act::Reset]);
                        play.intrude(crowd, Some(0), "h0.example", start, [visitor, nothing])
                    }
                };
                assert!(id > 0 || number == 0);
            }
            let mut most = 0;
            play.watch(3 * SECOND, |census| most = most.max(census.admitted[3]));
            // Half of what there is, for one; and the house is full.
            let share = if crowds == 1 { HOUSE / 2 } else { HOUSE };
            assert!((share - share / 10..=share).contains(&most), "{most} of {share}: {kind}");
            let guests = play.guests(0, SECOND / 4, 5 * SECOND);
            play.run(7 * SECOND);
            for (guest, at) in &guests {
                let done = play.judge(*guest, Party::Visitor);
                let done = done.unwrap_or_else(|why| panic!("{kind}, {crowds} crowds: {why}"));
                assert!(done <= *at + PATIENCE, "{kind}, {crowds} crowds: {:?}", done - *at);
            }
            play.run(3 * MINUTE);
            play.assert_at_rest();
        }
    }
}

/// Nobody reads what their home sends; there is no deadline between two open ends, but memory.
#[test]
fn downloads_that_nobody_reads_are_bound_in_bytes() {
    const MEMORY: usize = 8_000_000;
    for crowds in [1, 50] {
        let keys = format!("limits.memory = \"{} MB\"\n", MEMORY / 1_000_000);
        let mut play = Play::besieged(tuning(), 1, true, 4096, &keys);
        let mob = play.mob(crowds);
        let begin = play.now() + SECOND;
        for number in 0..400 {
            let lazy = Script {
                acts: vec![pause(10 * MINUTE), Act::Reset],
                reading: Reading::After(nanos(HOUR)),
            };
            let pours = eager(vec![Act::Send(400_000), Act::AwaitEnd, Act::Fin]);
            play.intrude(mob(number), Some(0), "h0.example", begin, [lazy, pours]);
        }
        // Somebody reads slowly, but reads.
        let reader = sips(vec![Act::AwaitEnd, Act::Fin], 2000, SECOND);
        let replies = eager(vec![Act::Send(600_000), Act::Fin]);
        let slow = play.visit(0, begin, Ending::HomeFirst, reader, replies);
        let guests = play.guests(0, SECOND / 2, 20 * SECOND);
        let mut most = 0;
        play.watch(10 * SECOND, |census| most = most.max(census.held));
        assert!((MEMORY / 2..=MEMORY).contains(&most), "{most} bytes with {crowds} crowds");
        play.watch(9 * MINUTE, |census| most = most.max(census.held));
        assert!(most <= MEMORY, "{most} bytes with {crowds} crowds");
        play.assert_all_served(&guests);
        play.judge(slow, Party::Visitor).unwrap();
        play.run(5 * MINUTE);
        play.assert_at_rest();
    }
}

/// 64 visitors of each of five homes leave spare links behind; then 340 come to one of them.
#[test]
fn spare_links_are_one_reserve_for_all() {
    const HOMES: usize = 5;
    let mut play = Play::besieged(tuning(), HOMES, true, 1152, "");
    // No network holds more than its share.
    let mob = play.mob(20);
    let begin = play.now() + SECOND;
    let stay = |play: &mut Play, number: usize, home: usize, start: Time| {
        (play.stay_from(mob(number), home, start, 5 * SECOND), start + 5 * SECOND)
    };
    let mut guests = Vec::new();
    for number in 0..64 * HOMES {
        guests.push(stay(&mut play, number, number % HOMES, begin));
    }
    let rush = begin + 7 * SECOND;
    for number in 0..340 {
        guests.push(stay(&mut play, number, 0, rush + number as u32 * MILLI));
    }
    play.run_until(rush + 9 * SECOND);
    for (guest, leaves) in guests {
        play.assert_served(guest, leaves + SECOND);
    }
    play.run(MINUTE);
    play.assert_at_rest();
}
