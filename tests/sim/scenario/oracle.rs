//! What must be true of a scenario's outcome.

use super::*;
use underpass::engine::core::Census;

/// For what clients say when they leave.
const GOODBYE: Duration = Duration::from_secs(5);
/// Links that a session keeps at rest.
const SPARE_LINKS: usize = 4;
/// The services of a client that speaks rathole's protocol, each with a control channel of its own,
/// and the spare data channels of one: all of them where nothing is scarce or fails.
const TCP_SERVICES: usize = 7;
const SPARE_CHANNELS: usize = 8;
/// The same for its UDP service.
const SPARE_UDP_CHANNELS: usize = 2;

impl Scenario {
    /// [`judge`], but for what rathole's protocol has no word for: a reset may arrive as an end.
    pub(super) fn judge(&self, story: &Story) -> Result<(), String> {
        let [visitor, home] = &story.witnesses;
        let is_told = match story.ending {
            Ending::VisitorResets => !home.began || home.end.is_some(),
            Ending::HomeResets => home.left && visitor.end.is_some(),
            _ => false,
        };
        let speaks = story.home.map(|home| self.dialects[home]);
        if speaks == Some(Dialect::Rathole) && is_told { Ok(()) } else { judge(story) }
    }

    pub(super) fn left_hanging(&self) -> Vec<String> {
        let book = self.book.borrow();
        let hangs = |witness: &Witness| witness.began && witness.done.is_none();
        let stories = book.stories.iter().enumerate();
        let calls = self.calls.borrow();
        let open = |(id, call): (usize, &web::plan::Call)| {
            let hangs = call.seen.began && call.seen.done.is_none();
            hangs.then(|| format!("call {id} hangs: {call:?}"))
        };
        let at_home =
            self.homes.iter().filter_map(|(_, _, web)| match &self.driver.tasks[*web].program {
                Some(Actor::WebHomes(homes)) if !homes.are_done() => {
                    Some(format!("{} HTTP connections hang at a home", homes.hanging()))
                }
                _ => None,
            });
        let http: Vec<_> = calls.calls.iter().enumerate().filter_map(open).chain(at_home).collect();
        stories
            .flat_map(|(id, story)| {
                let parties = [Party::Visitor, Party::Home];
                parties.into_iter().filter(|p| hangs(&story.witnesses[*p as usize])).map(move |p| {
                    format!(
                        "story {id} ({:?}): the {p:?} hangs: {:?}",
                        story.ending, story.witnesses
                    )
                })
            })
            .chain(http)
            .collect()
    }

    /// At rest: listeners, a control session and spare links for each client, and nothing else.
    pub(super) fn count_descriptors(&self) -> Vec<String> {
        let world = self.world().borrow();
        let open = |engine: usize| {
            let task = &self.driver.tasks[self.engines[engine].1];
            world.open_descriptors(task.process)
        };
        let clients: Vec<usize> = (1..self.engines.len()).map(open).collect();
        // A home has as many ports over UDP as over TCP.
        let listeners = 3
            + usize::from(self.looked_at)
            + self.homes.len() * 2 * usize::from(self.ports.at_server());
        let server = open(0);
        let mut wrong = Vec::new();
        let all = TCP_SERVICES * (1 + SPARE_CHANNELS) + 1 + SPARE_UDP_CHANNELS;
        let least = 2 * (TCP_SERVICES + 1);
        let is_right = |(open, dialect): (&usize, &Dialect)| match dialect {
            Dialect::Native => (2..=1 + SPARE_LINKS).contains(open),
            Dialect::Rathole if self.faulty => (least..=all).contains(open),
            Dialect::Rathole => *open == all,
        };
        if !clients.iter().zip(&self.dialects).all(is_right) {
            wrong.push(format!("at rest the clients have {clients:?} descriptors open"));
        }
        if server != listeners + clients.iter().sum::<usize>() {
            wrong.push(format!("at rest the server has {server} open, the clients {clients:?}"));
        }
        for engine in 0..self.engines.len() {
            let census = match &self.driver.tasks[self.engines[engine].1].program {
                Some(Actor::Server(server, _)) => server.census(),
                Some(Actor::Client(client, _)) => client.census(),
                _ => continue,
            };
            let listeners = if engine == 0 { listeners } else { 0 };
            let is_held = census.buffers + census.held + census.waiting + census.seats > 0;
            let [strangers, _, _, visitors, _] = census.admitted;
            if census.conns + listeners != open(engine) || is_held || strangers + visitors > 0 {
                wrong.push(format!("at rest engine {engine} holds {census:?}"));
            }
        }
        wrong
    }

    /// The clients leave: no place may be taken any more. Then everything is dropped: no descriptor
    /// may be left.
    pub(super) fn end(mut self) -> Vec<String> {
        let gone = |engine: &usize| self.driver.tasks[self.engines[*engine].1].program.is_none();
        let gone = (0..self.engines.len()).filter(gone);
        let gone = gone.map(|engine| format!("engine {engine} does not run any more"));
        let mut wrong: Vec<_> = gone.collect();
        for client in 1..self.engines.len() {
            self.stop_in_order(self.engines[client].1);
        }
        if let Err(error) = self.driver.run_for(GOODBYE) {
            wrong.push(format!("an engine failed: {error}"));
        }
        let server = self.engines[0].1;
        let process = self.driver.tasks[server].process;
        if let Some(Actor::Server(server, _)) = self.driver.stop(server) {
            let census = Census { dropped: 0, ..server.census() };
            if census != Census::default() {
                wrong.push(format!("in an empty house the server holds {census:?}"));
            }
        }
        self.all_closed(process);
        wrong
    }

    /// All stories, one a line: for a look at one seed.
    pub(super) fn report(&self) -> String {
        let mut text = format!("{:#?}\n", self.world().borrow().tuning);
        for (id, story) in self.book.borrow().stories.iter().enumerate() {
            let Story { ending, home, scripts, witnesses, .. } = story;
            let _ = writeln!(text, "{id} {ending:?} home {home:?}");
            for (name, side) in [("visitor", 0), ("home", 1)] {
                let _ = writeln!(text, "  {name} {:?} {:?}", scripts[side], witnesses[side]);
            }
        }
        let calls = self.calls.borrow();
        for (id, call) in calls.calls.iter().enumerate() {
            let _ = writeln!(text, "call {id} {call:?}");
            for id in call.asks.clone() {
                let _ = writeln!(text, "  request {id} {:?}", calls.asks[id]);
            }
        }
        text
    }
}

/// What must have come of a story in a world without faults.
pub fn judge(story: &Story) -> Result<(), String> {
    let [visitor, home] = &story.witnesses;
    let seen = || format!("{:?}", story.witnesses);
    let demand = |what: bool| if what { Ok(()) } else { Err(seen()) };
    let alert = |first: &[u8]| matches!(first, [21, 3, _, 0, 2, 2, _]);
    let ended = matches!(visitor.end, Some(End::Eof | End::Reset));
    match story.ending {
        Ending::VisitorFirst | Ending::HomeFirst | Ending::Both => {
            demand(visitor.end == Some(End::Eof) && home.end == Some(End::Eof))?;
            demand(visitor.finished && home.finished)?;
            demand(visitor.sent == story.total(Party::Visitor) && visitor.sent == home.received)?;
            demand(home.sent == story.total(Party::Home) && home.sent == visitor.received)
        }
        Ending::VisitorResets => demand(!home.began || home.end == Some(End::Reset)),
        Ending::HomeResets => demand(home.left && visitor.end == Some(End::Reset)),
        Ending::VisitorCloses => demand(!home.began || home.end.is_some()),
        Ending::Refused => demand(ended && !home.began),
        Ending::HalfHello => demand(ended && visitor.first.is_empty()),
        Ending::UnknownName => {
            let alerted = matches!(visitor.first[..], [21, 3, _, 0, 2, 2, 112]);
            demand(alerted && visitor.end == Some(End::Eof))
        }
        Ending::NoName => demand(alert(&visitor.first) && visitor.end == Some(End::Eof)),
        Ending::Hostile => Ok(()),
        Ending::Junk => demand(ended), // an alert, or an answer in HTTP to what looks like it
    }
}
