//! Deadlines that dripping bytes do not move.

use super::*;

// P3.

#[test]
fn p3_deadlines_are_not_moved_by_dripping_bytes() {
    const EACH: usize = 20;
    for noise in [true, false] {
        let mut play = Play::new(3, tuning(), 1, noise, MANY);
        play.add_site(0);
        play.start(0);
        play.run(WARM_UP);
        let before = play.holdings();
        let begin = play.now() + SECOND;
        let hello = client_hello(usize::MAX >> 32, Some("h0.example"), 2000, &mut Rng::new(1));
        let greeting = if noise { handshake(&play.sites[0].config) } else { greetings() };
        for (port, words) in [(HTTPS, &hello), (TUNNEL, &greeting)] {
            for _ in 0..EACH {
                for sent in [0, 1, 5, 8] {
                    let acts = Vec::from_iter((sent > 0).then_some(Act::Send(sent)));
                    play.stranger(0, port, begin, words.clone(), acts);
                }
                play.stranger(0, port, begin, words.clone(), drip(60, SECOND));
                // All but the last byte of a hello, then one byte a second of what may follow.
                let most = if noise || port == HTTPS { words.len() - 20 } else { 41 };
                let acts = [vec![Act::Send(most)], drip(19, SECOND)].concat();
                play.stranger(0, port, begin, words.clone(), acts);
            }
        }
        let guests = [0, 1, 4, 6, 9].map(|wait| {
            let start = begin + wait * SECOND + SLACK;
            (play.drop_in(0, start), start + SLACK)
        });
        let (base, strangers) = (play.strangers(), 6 * EACH);
        // Whose HELLO is whole has a little longer, for a token.
        let greeted = if noise { 0 } else { EACH };
        for (at, deadline, left) in [
            (begin + PROOF_TIME, "the tunnels'", [2 * strangers, strangers + greeted]),
            (begin + HELLO_TIME, "the visitors'", [strangers + greeted, 0]),
        ] {
            play.run_until(at);
            assert_eq!(play.strangers(), base + left[0], "just before {deadline} deadline");
            play.run(SLACK);
            assert_eq!(play.strangers(), base + left[1], "just after {deadline} deadline");
        }
        for (guest, by) in guests {
            play.assert_served(guest, by);
        }
        play.run(QUIET);
        assert_eq!(play.holdings(), before);
    }
}

/// P3: a header is waited for within the time that the visitor has for its hello.
#[test]
fn p3_a_dripping_header_does_not_move_the_deadline() {
    let file = server_config(&[Dialect::Native], true, Ports::One).replacen(
        "[server]\n",
        "[server]\ntrusted_proxies = '10.0.2.1'\n",
        1,
    );
    let mut play = Play::with(3, tuning(), true, FEW, &file);
    play.add_site(0);
    play.start(0);
    play.run(WARM_UP);
    let begin = play.now() + SECOND;
    let mut bytes = b"PROXY TCP4 192.0.2.1 203.0.113.1 1 2\r\n".to_vec();
    let header = bytes.len();
    bytes.extend(client_hello(usize::MAX >> 32, Some("h0.example"), 300, &mut Rng::new(1)));
    // Half a header; a whole one in 4 s, and half a hello.
    for (port, gap) in [(HTTPS, SECOND), (80, SECOND), (5000, SECOND), (HTTPS, SECOND / 10)] {
        play.stranger(0, port, begin, bytes.clone(), drip(header + 200, gap));
    }
    let ids = 0..play.book.borrow().stories.len();
    play.run_until(begin + (HELLO_TIME - SLACK));
    for id in ids.clone() {
        let witness = play.book.borrow().stories[id].witnesses[0].clone();
        assert!(witness.began && witness.end.is_none(), "{id}: {witness:?}");
    }
    play.run_until(begin + HELLO_TIME + SLACK);
    for id in ids {
        let witness = play.book.borrow().stories[id].witnesses[0].clone();
        assert!(witness.end.is_some(), "{id}: {witness:?}");
    }
}
