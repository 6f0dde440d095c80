//! People who mean harm, in every tenth seed: visitors who hold what they can, strangers on the
//! tunnel port, and clients with a valid token of their own. Meanwhile the others are served as
//! ever, and in time.

use super::*;
use crate::files::ROGUE;
use crate::hostile::{Claim, Impostors, LinkPart, Malice, Part};
use underpass::config::ServiceKind;

/// How long they go on.
const SPAN: u64 = 40 * SECOND;
/// A visitor who says and hears little is done within this, whatever others do; on the slowest of
/// the simulated lines it takes half of it in peace.
const PROBE_TIME: Duration = Duration::from_secs(3);
/// Hosts of visitors who mean no harm: none of their networks holds much.
pub(super) const HOSTS: usize = 12;
/// Connections of one host of impostors.
const MOST: usize = 150;
/// The longest unfinished head.
const HEAD: u64 = 60_000;

/// The share of seeds in which somebody means harm.
pub(super) fn is_meant(seed: u64) -> bool {
    seed % 10 == 3
}

/// What the server's file has beside the usual.
pub(super) fn file(malice: bool) -> &'static str {
    if malice { ROGUE } else { "" }
}

impl Scenario {
    /// They come, all of them, and visitors of each home between them.
    pub(super) fn add_malice(&mut self, begin: Time) {
        let mut rng = Rng::new(self.malice_rng.next());
        let networks = *rng.pick(&[1, 3, 20]);
        for number in 0..networks {
            let host = self.add_host([10, 0, 3, number + 1]);
            let (process, net) = self.process(host, "hostile visitors");
            let task = self.driver.add();
            let program = Actor::Visitors(Visitors::new(net, self.book.clone()));
            self.driver.start(task, process, program);
            self.mob.push(task);
        }
        // Small windows make many events of few bytes.
        let most = if self.longest <= 5_000 { 60 } else { 500 };
        for number in 0..rng.log_between(20, most) as usize {
            let start = Time(begin.0 + rng.below(SPAN));
            let task = self.mob[number % self.mob.len()];
            self.add_intruder(task, start, &mut rng);
        }
        for _ in 0..rng.between(1, 2) {
            self.add_gang(begin, &mut rng);
        }
        for second in (1..SPAN / SECOND).step_by(2) {
            for home in 0..self.homes.len() {
                let start = Time(begin.0 + second * SECOND + rng.below(SECOND));
                self.add_probe(start, home, &mut rng);
            }
        }
    }

    /// One visitor who means harm.
    fn add_intruder(&mut self, task: usize, start: Time, rng: &mut Rng) {
        let id = self.book.borrow().stories.len();
        let home = rng.below(self.homes.len() as u64) as usize;
        let longest = self.longest.min(100_000);
        let name = format!("h{home}.example");
        let hello = client_hello(id, Some(&name), 200, rng);
        let (most, rest) = (rng.between(1, hello.len() as u64 - 1) as usize, SPAN / 2);
        let (said, leaves) = (Act::Send(hello.len()), Act::Pause(rng.log_between(1, rest)));
        let asks = b"GET /hostile HTTP/1.1\r\nHost: nobody.example\r\n\r\n";
        let head =
            [&asks[..], &vec![b'x'; rng.log_between(1, longest.min(HEAD)) as usize]].concat();
        let eager = |acts| Script { acts, reading: Reading::Eager };
        let lazy = |acts| Script { acts, reading: Reading::After(u64::MAX / 4) };
        let drips = [Act::Send(1), Act::Pause(SECOND / 2)].repeat(most.min(60));
        let asked = vec![Act::Send(asks.len()), leaves, Act::Send(head.len() - asks.len())];
        let ends = *rng.pick(&[Act::Reset, Act::Close, Act::AwaitEnd]);
        let port = *rng.pick(&[443, 443, 80, 2333]);
        let junk = |rng: &mut Rng| {
            let mut bytes = vec![0; rng.log_between(1, 2000) as usize];
            rng.fill(&mut bytes);
            bytes
        };
        // Where to, whose, what it begins with and does.
        let (port, home, opening, script) = match rng.below(11) {
            0 => (port, None, Vec::new(), eager(vec![leaves, ends])),
            1 => (443, None, hello, eager(vec![Act::Send(most), leaves, ends])),
            2 => (443, None, hello, eager([drips, vec![ends]].concat())),
            3 | 4 => (80, None, head, eager([asked, vec![leaves, ends]].concat())),
            5 => (443, Some(home), hello, lazy(vec![said, Act::Pause(rest), Act::Reset])),
            6 => (443, Some(home), hello, eager(vec![said, Act::Fin, leaves, Act::Reset])),
            7 => (443, Some(home), hello, eager(vec![said, leaves, Act::Reset])),
            8 => (443, Some(home), hello, eager(vec![said, leaves, Act::Close])),
            9 => {
                let bytes = junk(rng);
                (2333, None, bytes.clone(), eager(vec![Act::Send(bytes.len()), leaves, ends]))
            }
            _ => {
                let hello = client_hello(id, Some("rogue.example"), 200, rng);
                let end = *rng.pick(&[Act::Fin, Act::Reset]);
                let acts = vec![Act::Send(hello.len()), leaves, end, Act::Pause(rest), Act::Reset];
                (443, None, hello, eager(acts))
            }
        };
        let sends = Act::Send(rng.log_between(1, longest) as usize);
        let acts = vec![sends, Act::AwaitEnd, Act::Fin];
        let at_home = Script { acts, reading: Reading::Eager };
        let (ending, witnesses) = (Ending::Hostile, Default::default());
        let (header, scripts) = (Vec::new(), [script, at_home]);
        let story = Story { ending, home, port: Some(port), header, opening, scripts, witnesses };
        self.tell(task, start, port, story);
    }

    /// A host of impostors.
    fn add_gang(&mut self, begin: Time, rng: &mut Rng) {
        let host = self.add_host([10, 0, 4, self.gangs.len() as u8 + 1]);
        let (process, net) = self.process(host, "impostors");
        let to = SocketAddr::new(self.server, 2333);
        let config = client_config(0, "vps.example", "127.0.0.1", self.noise, Ports::One);
        let mut impostors = Impostors::new(net, to, &config, rng.next()).within(MOST);
        let until = Time(begin.0 + SPAN);
        let name = "rogue".to_owned();
        let claim = Claim { name: name.clone(), kind: ServiceKind::Web, token: name };
        for _ in 0..rng.between(1, 3) {
            let polite = Malice::polite(claim.clone());
            let few = self.longest <= 5_000;
            let (part, count) = match rng.below(7) {
                0 => (Part::Resets(rng.log_between(1, 10_000) as usize), 1),
                1 => (Part::Guesses { claim: claim.clone(), count: 200 }, 1),
                2 => {
                    let count = rng.log_between(1, if few { 10 } else { 60 });
                    (Part::Client(Malice { obeys: false, ..polite }), count)
                }
                3 => {
                    let surplus = rng.log_between(1, if few { 10 } else { 100 }) as usize;
                    (Part::Client(Malice { surplus, ..polite }), 1)
                }
                4 => (Part::Client(Malice { registers: 300, ..polite }), 1),
                5 => (Part::Client(Malice { confused: true, ..polite }), 1),
                _ => {
                    let resets = LinkPart::Resets(1000);
                    let parts = [LinkPart::NeverReady, LinkPart::Mute, LinkPart::Confused, resets];
                    (Part::Client(Malice { links: *rng.pick(&parts), ..polite }), 1)
                }
            };
            for _ in 0..count {
                impostors.plan(Time(begin.0 + rng.below(SPAN / 2)), part.clone(), until);
            }
        }
        let task = self.driver.add();
        self.driver.start(task, process, Actor::Impostors(impostors));
        self.gangs.push(task);
    }

    /// A visitor who says little and hears little.
    fn add_probe(&mut self, start: Time, home: usize, rng: &mut Rng) {
        let id = self.book.borrow().stories.len();
        let opening = client_hello(id, Some(&format!("h{home}.example")), 200, rng);
        let script = |acts| Script { acts, reading: Reading::Eager };
        let visitor = script(vec![Act::Send(opening.len()), Act::Fin]);
        let scripts = [visitor, script(vec![Act::Send(200), Act::Fin])];
        let (ending, port, witnesses) = (Ending::Both, Some(443), Default::default());
        let header = Vec::new();
        let home = Some(home);
        let story = Story { ending, home, port, header, opening, scripts, witnesses };
        let task = self.visitors[id % self.visitors.len()];
        self.tell(task, start, 443, story);
        self.probes.push((id, start));
    }

    /// Those who were not served in time; nobody had to be told that he was in the way.
    pub(super) fn judge_probes(&self) -> Vec<String> {
        let book = self.book.borrow();
        let late = self.probes.iter().filter_map(|(id, start)| {
            let done = Time(book.stories[*id].witnesses[0].done?);
            let took = done - *start;
            (took > PROBE_TIME).then(|| format!("probe {id} took {took:?}"))
        });
        late.collect()
    }
}
