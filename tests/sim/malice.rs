//! Fixed plays in virtual time in which somebody means harm: visitors, strangers on the tunnel
//! port, and clients with a valid token. Each holds the server to what it promises the others
//! meanwhile. What a network of simulated sockets cannot show, the tests in `e2e` do with the real
//! program.

mod clients;
mod strangers;
mod visitors;

use std::time::Duration;

use underpass::config::ServiceKind;
use underpass::engine::core::Census;
use underpass::proto::time::Time;

use super::ear;
use super::files::{Dialect, HOME_PORT, Ports, ROGUE, server_config, server_port};
use super::hostile::{Claim, LinkPart, Malice, Part};
use super::play::*;
use super::programs::Actor;
use super::story::{Act, Ending, Party, Reading, Script, Story, StoryId, client_hello};
use super::world::Tuning;

/// Somebody who comes while others do harm is served within this; in peace it takes a third of it.
const PATIENCE: Duration = Duration::from_millis(500);
/// Bytes that the server reads of one connection in a turn: a relay's batches, in its own turn and
/// in that of its link.
const TURN: usize = 640 * 1024;

/// The token that the rogue has.
fn rogue() -> Claim {
    Claim { name: "rogue".to_owned(), kind: ServiceKind::Web, token: "rogue".to_owned() }
}

impl Play {
    /// A server for `homes` homes and a rogue, with `keys` in its `[server]`; all homes are up.
    fn besieged(tuning: Tuning, homes: usize, noise: bool, limit: usize, keys: &str) -> Play {
        let file = server_config(&vec![Dialect::Native; homes], noise, Ports::One) + ROGUE;
        let file = file.replacen("[server]\n", &format!("[server]\n{keys}"), 1);
        let mut play = Play::with(10, tuning, noise, limit, &file);
        for home in 0..homes {
            let site = play.add_site(home);
            play.start(site);
        }
        play.run(WARM_UP);
        play
    }

    /// Visitors of `home` from the first crowd, one each `gap` for `span`, with their moments.
    fn guests(&mut self, home: usize, gap: Duration, span: Duration) -> Vec<(StoryId, Time)> {
        let count = span.as_nanos() / gap.as_nanos();
        let starts = (0..count as u32).map(|number| self.now() + gap * number);
        let starts = starts.collect::<Vec<_>>();
        starts.into_iter().map(|at| (self.drop_in(home, at), at)).collect()
    }

    #[track_caller]
    fn assert_all_served(&self, guests: &[(StoryId, Time)]) {
        guests.iter().for_each(|(guest, at)| self.assert_served(*guest, *at + PATIENCE));
    }

    /// All that is scarce has been given back but for listeners, sessions and spare links.
    #[track_caller]
    fn assert_at_rest(&self) {
        let census = self.held_by(self.server).1;
        let Census { admitted: [strangers, sessions, links, visitors, _], .. } = census;
        assert_eq!((strangers, sessions, visitors), (0, self.sites.len(), 0), "{census:?}");
        assert_eq!(sessions + links, census.conns, "{census:?}");
        assert_eq!((census.held, census.buffers, census.waiting), (0, 0, 0), "{census:?}");
        assert_eq!(self.denied(), 0, "a descriptor was missing");
    }

    /// Nobody kept the server for himself.
    #[track_caller]
    fn assert_fair_turns(&self) {
        let process = self.driver.tasks[self.server].process;
        let most = self.driver.world.borrow().most_read(process);
        assert!(most <= TURN, "{most} bytes of one connection in one turn");
    }
}
