//! Transfers that take hours.

use super::*;

// P16.

#[test]
fn p16_a_slow_transfer_has_no_deadline() {
    // Twelve hours at forty bytes a second, each way; the ends stay open until all is there.
    const RATE: usize = 40;
    const CRAWL: usize = 12 * 3600 * RATE;
    let mut play = Play::settled(16, tuning(), 1);
    let before = play.holdings();
    let begin = play.now();
    let crawls = |end| sips([vec![Act::Send(CRAWL)], end].concat(), RATE, SECOND);
    let visitor = crawls(vec![pause(13 * HOUR), Act::Fin, Act::AwaitEnd]);
    let home = crawls(vec![Act::AwaitEnd, Act::Fin]);
    let crawl = play.visit(0, begin, Ending::VisitorFirst, visitor, home);
    // Words with hours of silence between them, in turns.
    let talks = [Act::Send(1000), pause(4 * HOUR)].repeat(6);
    let visitor = eager([talks.clone(), vec![Act::AwaitEnd, Act::Fin]].concat());
    let home = eager([vec![pause(2 * HOUR)], talks, vec![Act::Fin]].concat());
    let talk = play.visit(0, begin, Ending::HomeFirst, visitor, home);
    play.run(11 * HOUR);
    let on_the_way = |play: &Play| {
        let Story { witnesses, .. } = &play.book.borrow().stories[crawl];
        witnesses.iter().all(|witness| witness.received < CRAWL)
    };
    assert!(on_the_way(&play), "that was no crawl");
    play.run(16 * HOUR);
    for (story, hours) in [(crawl, 13), (talk, 26)] {
        let done = play.judge(story, Party::Visitor).unwrap();
        assert!(done >= begin + hours * HOUR, "done after {:?}", done - begin);
    }
    play.run(QUIET);
    assert_eq!(play.holdings(), before);
}

/// 24 MB each way over a line of 6 KB/s.
#[test]
fn p16_a_large_transfer_takes_the_hour_that_it_needs() {
    const LARGE: usize = 24 << 20;
    let byte_time = (nanos(SECOND) / 6000, nanos(SECOND) / 6000);
    let mut play = Play::settled(161, Tuning { byte_time, ..tuning() }, 1);
    let begin = play.now();
    let both = || eager(vec![Act::Send(LARGE), Act::Fin]);
    let story = play.visit(0, begin, Ending::Both, both(), both());
    play.run(2 * HOUR);
    let done = play.judge(story, Party::Visitor).unwrap();
    assert!(done >= begin + HOUR, "done after {:?}", done - begin);
}

/// The ordinary slow reader: the home sends its whole reply and closes, which it had done long ago
/// when the visitor has read the reply. Its own silence is no reason to cut it short.
#[test]
fn p16_a_slow_reader_gets_all_of_a_reply_that_its_home_has_closed_behind() {
    let mut play = Play::settled(162, tuning(), 1);
    let begin = play.now();
    let visitor = sips(vec![Act::AwaitEnd, Act::Fin], 600, SECOND);
    let home = eager(vec![Act::Send(512 * 1024), Act::Fin]);
    let story = play.visit(0, begin, Ending::HomeFirst, visitor, home);
    play.run(4 * HOUR);
    let done = play.judge(story, Party::Visitor).unwrap();
    assert!(done >= begin + 2 * Duration::from_secs(300), "too fast to show anything");
}
