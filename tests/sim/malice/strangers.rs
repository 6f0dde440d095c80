//! Strangers on the tunnel port, who have no token.

use super::*;

/// So wide that it holds far more than a turn should read.
fn wide() -> Tuning {
    Tuning { window: (4 << 20, 4 << 20), ..tuning() }
}

/// RESET of a lease that nobody has begun, as fast as the line takes it.
#[test]
fn a_reset_before_any_lease_ends_the_connection() {
    for noise in [true, false] {
        let mut play = Play::besieged(wide(), 1, noise, FEW, "");
        let gang = play.add_impostors(0);
        let begin = play.now();
        for number in 0..4 {
            let start = begin + number * SECOND;
            play.send_impostor(&gang, start, Part::Resets(500_000), start);
        }
        let guests = play.guests(0, SECOND / 4, 8 * SECOND);
        play.run(4 * SECOND + SLACK);
        let tally = gang.report.borrow().clone();
        assert_eq!((tally.shaken, tally.open_sessions), (4, 0), "{tally:?}");
        play.run(8 * SECOND);
        play.assert_all_served(&guests);
        play.assert_fair_turns();
        play.assert_at_rest();
    }
}

/// Wrong tokens as fast as they go, on one connection after the other.
#[test]
fn tokens_are_not_guessed_without_bound() {
    for noise in [true, false] {
        let mut play = Play::besieged(wide(), 1, noise, FEW, "");
        let (gang, site) = (play.add_impostors(0), play.sites[0].client);
        let (begin, until) = (play.now(), play.now() + MINUTE);
        let claim = Claim { name: "web0".to_owned(), ..rogue() };
        play.send_impostor(&gang, begin, Part::Guesses { claim, count: 20_000 }, until);
        let guests = play.guests(0, SECOND / 2, MINUTE);
        play.run(MINUTE + 2 * SECOND);
        let tally = gang.report.borrow().clone();
        // At once, after ten seconds, and after twenty more; then it waits for forty.
        assert!((8..=3 * 8).contains(&tally.refused), "{tally:?}");
        play.assert_all_served(&guests);
        play.assert_fair_turns();
        play.run(MINUTE);
        play.assert_at_rest();
        // Whoever has the token is let in all the same.
        if let Some(Actor::Client(mut client, _)) = play.driver.stop(site) {
            client.stop();
        }
        play.start(0);
        play.run(5 * SECOND);
        let guest = play.drop_in(0, play.now());
        play.run(SECOND);
        play.assert_served(guest, play.now());
    }
}
