//! The ends of directions, of connections and of a server: FIN, reset, silence.

use super::*;

// P7.

/// More than all buffers on the way together, in both orders.
#[test]
fn p7_a_large_reply_follows_a_half_close() {
    const REPLY: usize = 24 << 20;
    let mut play = Play::settled(7, tuning(), 1);
    let before = play.holdings();
    let begin = play.now();
    // The end comes with the first bytes.
    let asks = vec![Act::Fin, Act::AwaitEnd];
    let answers = vec![Act::AwaitEnd, Act::Send(REPLY), Act::Fin];
    // Read in ten minutes: silence would be over after five.
    let slowly = |acts| sips(acts, REPLY / 600, SECOND);
    let stories = [
        play.visit(0, begin, Ending::VisitorFirst, eager(asks.clone()), eager(answers.clone())),
        play.visit(0, begin, Ending::VisitorFirst, slowly(asks.clone()), eager(answers.clone())),
        play.visit(0, begin, Ending::HomeFirst, eager(answers.clone()), eager(asks.clone())),
        play.visit(0, begin, Ending::HomeFirst, eager(answers), slowly(asks)),
    ];
    play.run(11 * MINUTE);
    for (story, slow) in stories.into_iter().zip([false, true, false, true]) {
        let ends = [Party::Visitor, Party::Home].map(|party| play.judge(story, party).unwrap());
        let done = ends[0].max(ends[1]);
        let ten_minutes = done >= begin + 9 * MINUTE;
        assert_eq!(ten_minutes, slow, "story {story} took {:?}", done - begin);
    }
    play.run(QUIET);
    assert_eq!(play.holdings(), before);
}

#[test]
fn p7_a_peer_that_never_closes_is_cut_after_five_minutes_of_silence() {
    const SILENCE: Duration = HALF_CLOSED_SILENCE;
    let mut play = Play::settled(71, tuning(), 1);
    let before = play.holdings();
    let begin = play.now();
    let ends = vec![Act::Fin, Act::AwaitEnd];
    let stays = vec![Act::Send(100), pause(24 * HOUR), Act::Send(1), Act::Fin];
    // A byte in time postpones it.
    let speaks = [drip(3, SILENCE - SECOND), stays[1..].to_vec()].concat();
    let stories = [
        (Ending::VisitorFirst, ends.clone(), stays.clone()),
        (Ending::HomeFirst, stays, ends.clone()),
        (Ending::VisitorFirst, ends.clone(), speaks.clone()),
        (Ending::HomeFirst, speaks, ends),
    ]
    .map(|(ending, visitor, home)| play.visit(0, begin, ending, eager(visitor), eager(home)));
    play.run(MINUTE);
    let conns = |play: &Play| play.holdings().into_iter().map(|(_, census)| census.conns);
    let mut held = conns(&play).collect::<Vec<_>>();
    for (pair, bytes) in stories.chunks(2).zip([0, 2]) {
        let cut = begin + bytes * (SILENCE - SECOND) + SILENCE;
        play.run_until(cut);
        assert_eq!(conns(&play).collect::<Vec<_>>(), held, "cut too early");
        play.run(SLACK);
        // Two connections, and their links, which are spare now and too many.
        held.iter_mut().for_each(|conns| *conns -= 4);
        assert_eq!(conns(&play).collect::<Vec<_>>(), held, "not cut");
        play.assert_cut(pair[0], Party::Visitor, cut);
        play.assert_cut(pair[1], Party::Home, cut);
    }
    // Whoever would not close finds out when it speaks.
    play.run(25 * HOUR);
    for (story, party, sent) in [(0, 1, 100), (2, 1, 3)] {
        let witness = &play.book.borrow().stories[stories[story]].witnesses[party];
        assert_eq!((witness.end, witness.sent), (Some(End::Reset), sent), "{witness:?}");
    }
    assert_eq!(play.holdings(), before);
}

/// In the middle of a transfer, with all buffers on the way full, and at rest.
#[test]
fn p7_a_reset_goes_through_each_way() {
    let mut play = Play::settled(72, tuning(), 1);
    let before = play.holdings();
    let begin = play.now();
    let at = begin + 10 * SECOND;
    let rests = eager(vec![Act::Send(100), Act::AwaitEnd]);
    let pours = eager(vec![Act::Send(24 << 20), Act::AwaitEnd]);
    let breaks = vec![Act::Send(100), pause(10 * SECOND), Act::Reset];
    let thirsty = sips(breaks.clone(), 1000, SECOND);
    let mut stories = Vec::new();
    for (peer, breaker) in [(rests, eager(breaks)), (pours, thirsty)] {
        let (ending, home) = (Ending::VisitorResets, peer.clone());
        stories.push((play.visit(0, begin, ending, breaker.clone(), home), Party::Home));
        let ending = Ending::HomeResets;
        stories.push((play.visit(0, begin, ending, peer, breaker), Party::Visitor));
    }
    play.run_until(at + SECOND);
    for (story, party) in stories {
        play.judge(story, party).unwrap();
        play.assert_cut(story, party, at);
    }
    play.run(QUIET);
    assert_eq!(play.holdings(), before);
}

/// As browsers break a download that is cancelled, and as a home breaks that has said its last
/// word.
#[test]
fn p7_a_reset_behind_a_half_close_goes_through_each_way() {
    let mut play = Play::settled(73, tuning(), 1);
    let before = play.holdings();
    let begin = play.now();
    let at = begin + 10 * SECOND;
    // Who has read an end learns of more only by what it says.
    let drips = eager(drip(400, 50 * MILLI));
    let pours = eager(vec![Act::Send(24 << 20), pause(MINUTE)]);
    let breaks = vec![Act::Send(100), Act::Fin, pause(10 * SECOND), Act::Reset];
    let thirsty = sips(breaks.clone(), 1000, SECOND);
    let mut stories = Vec::new();
    for (peer, breaker) in [(drips, eager(breaks)), (pours, thirsty)] {
        let (ending, home) = (Ending::VisitorResets, peer.clone());
        stories.push((play.visit(0, begin, ending, breaker.clone(), home), Party::Home));
        let ending = Ending::HomeResets;
        stories.push((play.visit(0, begin, ending, peer, breaker), Party::Visitor));
    }
    play.run_until(begin + 8 * SECOND);
    assert_eq!(play.dials_until(at + SECOND), [], "no link is lost by it");
    for (story, party) in stories {
        play.judge(story, party).unwrap();
        play.assert_cut(story, party, at);
    }
    play.run(QUIET);
    assert_eq!(play.holdings(), before);
}

#[test]
fn p7_a_server_that_stops_ends_no_request_to_a_rathole_client() {
    let file = server_config(&[Dialect::Rathole], true, Ports::One);
    let mut play = Play::with(7, tuning(), true, FEW, &file);
    play.start_rathole_site(0);
    play.run(WARM_UP);
    let visitor = eager(vec![pause(MINUTE), Act::Fin, Act::AwaitEnd]);
    let home = eager(vec![Act::Send(2000), Act::AwaitEnd, Act::Fin]);
    let visit = play.visit(0, play.now(), Ending::VisitorFirst, visitor, home);
    play.run(10 * SECOND);
    let Some(Actor::Server(mut server, _)) = play.driver.stop(play.server) else {
        panic!("no server")
    };
    let at = play.now();
    server.stop();
    drop(server);
    play.run(SECOND);
    // An end would be taken for a whole request, and that is what its book would call wrong.
    play.assert_cut(visit, Party::Home, at);
    play.assert_cut(visit, Party::Visitor, at);
}
