//! Files that change while everything goes on, in a fifth of the seeds: what is in all of them goes
//! on as if nothing were. At the end each file is what it was.

use super::*;
pub use crate::operator::Desk;
use crate::operator::Operator;

/// Whoever is on a session that is left has so long, but for what a turn takes.
const LEAVING_TIME: u64 = 29 * SECOND;
/// From the first reload to the last one.
const SPAN: u64 = 40 * SECOND;

pub fn are_meant(seed: u64) -> bool {
    seed % 5 == 2
}

impl Scenario {
    /// Plans reloads of all engines, and visitors of a service that comes and goes; the operator's
    /// task comes back.
    pub(super) fn add_reloads(&mut self, begin: Time) -> usize {
        let mut plan = Vec::new();
        let moves = self.reload_rng.chance(1, 3) && !self.malice;
        for _ in 0..self.reload_rng.log_between(2, 24) {
            let at = Time(begin.0 + self.reload_rng.below(SPAN));
            let engine = self.reload_rng.below(self.engines.len() as u64) as usize;
            let file = match engine {
                0 => self.draw_server_file(),
                client => self.draw_client_file(client, moves),
            };
            plan.push((at, engine, file));
        }
        for engine in 0..self.engines.len() {
            plan.push((Time(begin.0 + SPAN), engine, self.engines[engine].2.clone()));
        }
        plan.sort_by_key(|(at, _, _)| *at);
        if moves {
            // Which of them lead elsewhere: all that differ from the one before.
            let remote = |file: &str| file.lines().nth(1).map(str::to_owned);
            for engine in 1..self.engines.len() {
                let mut last = remote(&self.engines[engine].2);
                for (at, _, file) in plan.iter().filter(|(_, of, _)| *of == engine) {
                    if remote(file) != last {
                        self.moves.push((engine - 1, *at));
                    }
                    last = remote(file);
                }
            }
        }
        if !self.malice {
            for _ in 0..self.reload_rng.below(4) {
                let start = Time(begin.0 + self.reload_rng.below(SPAN));
                self.add_guest(start);
            }
        }
        let host = self.add_host([10, 0, 9, 9]);
        let (process, _) = self.process(host, "operator");
        let operator = Operator::new(self.world(), &self.desk, plan);
        let task = self.driver.add();
        self.driver.start(task, process, Actor::Operator(operator));
        task
    }

    /// The server's, with services more, others in front of those that stay, and other settings.
    fn draw_server_file(&mut self) -> String {
        let rng = &mut self.reload_rng;
        let mut file = self.engines[0].2.clone();
        let mut guests = String::new();
        if rng.chance(1, 2) {
            guests += "[server.services.guest]\ntype = \"https\"\ntoken = \"t0\"\n\
                       hosts = [\"guest.example\"]\npassthrough = \"raw\"\n";
        }
        // Few descriptors are for visitors.
        let most = if self.limit > 128 { 3 } else { 1 };
        for number in 0..rng.below(most) {
            let port = 6000 + number;
            let kind = *rng.pick(&["tcp", "udp"]);
            guests += &format!(
                "[server.services.port{number}]\ntype = \"{kind}\"\ntoken = \"t0\"\n\
                 bind_addr = \"0.0.0.0:{port}\"\n"
            );
        }
        let first = file.find("[server.services.").expect("a service");
        match rng.chance(1, 2) {
            true => file.insert_str(first, &guests),
            false => file += &guests,
        }
        if rng.chance(1, 2) {
            let seconds = rng.between(5, 40);
            file = file.replacen(
                "[server]\n",
                &format!("[server]\nheartbeat_interval = {seconds}\nbandwidth = \"50 MB/s\"\n"),
                1,
            );
        }
        if rng.chance(1, 2) && self.limit > 128 {
            let both = "https_addr = [\"0.0.0.0:8443\", \"0.0.0.0:443\"]";
            file = file.replacen("https_addr = \"0.0.0.0:443\"", both, 1);
        }
        if rng.chance(1, 2) {
            // Each home has proved one of them.
            let home = rng.below(self.homes.len() as u64);
            let both = format!("token = [\"another\", \"t{home}\"]\n");
            file = file.replace(&format!("token = \"t{home}\"\n"), &both);
        }
        file
    }

    /// A client's, likewise; its home may have another name, its server as well.
    fn draw_client_file(&mut self, engine: usize, moves: bool) -> String {
        let rng = &mut self.reload_rng;
        let home = engine - 1;
        let mut file = self.engines[engine].2.clone();
        let local = if file.contains("127.0.0.1") {
            "127.0.0.1".to_owned()
        } else {
            format!("traefik{home}")
        };
        if rng.chance(1, 2) && home == 0 {
            let key = match self.dialects[home] {
                Dialect::Native => "type = \"https\"\nlocal_https_addr",
                Dialect::Rathole => "local_addr",
            };
            let guest =
                format!("[client.services.guest]\ntoken = \"t0\"\n{key} = \"{local}:443\"\n");
            let first = file.find("[client.services.").expect("a service");
            file.insert_str(first, &guest);
        }
        if rng.chance(1, 2) {
            let alias = format!("alias{home}");
            self.world().borrow_mut().add_alias(&alias, &local);
            file = file.replace(&format!("\"{local}:"), &format!("\"{alias}:"));
        }
        let rng = &mut self.reload_rng;
        if moves && rng.chance(1, 3) {
            let (one, other) = ("\"vps.example:", "\"10.0.0.1:");
            let there = if file.contains(one) { (one, other) } else { (other, one) };
            file = file.replacen(there.0, there.1, 1);
        }
        file
    }

    /// A visitor of the service that comes and goes.
    fn add_guest(&mut self, start: Time) {
        self.draws_guest = true;
        let id = self.add_story(Ending::Both, start, Some(0));
        self.draws_guest = false;
        self.guests.push(id);
    }

    /// Whether a story may have ended otherwise than it was meant to: its home went to another
    /// server more than 30 s before it was done, or its service was not there when it came.
    pub(super) fn is_excused(&self, id: usize, story: &Story) -> bool {
        let [visitor, home] = &story.witnesses;
        let is_refused = !home.began && matches!(visitor.end, Some(End::Eof | End::Reset));
        if self.guests.contains(&id) && is_refused {
            return true;
        }
        story.home.is_some() && self.has_moved_during(story.home, visitor.done)
    }

    /// Whether a home's client (any, for `None`) had left its server for long at that time.
    pub(super) fn has_moved_during(&self, home: Option<usize>, done: Option<u64>) -> bool {
        let is_its = |of: &usize| home.is_none_or(|home| home == *of);
        let late = |at: &Time| done.is_none_or(|done| done > at.0 + LEAVING_TIME);
        self.moves.iter().any(|(of, at)| is_its(of) && late(at))
    }
}
