//! What goes wrong in half of the seeds, and that every home is served again afterwards.

use super::*;

/// After the last fault, a home is served within this.
const RECOVERY: Duration = Duration::from_secs(15);
/// More, if a process vanished without a word: its peer learns it from its next ping.
const UNHEARD: Duration = Duration::from_secs(25);
/// The same for rathole's clients, whose default waits longer for a heartbeat.
const UNHEARD_BY_RATHOLE: Duration = Duration::from_secs(40);

/// What goes wrong, and for how long.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// So many TCP connections between hosts are reset.
    Cut(u64),
    /// A host is unreachable: 0 the server's, then the clients'.
    Lose(usize),
    /// An engine's process dies and comes back; its connections are reset, or vanish.
    Crash { engine: usize, silent: bool },
    /// An engine is stopped in order, at once or when it has drained, and started again.
    Restart { engine: usize, drains: bool },
    /// An engine's process stands still.
    Pause(usize),
    /// An engine's clock leaps.
    Jump(usize),
    /// What runs at a home stops listening.
    HomeStops(usize),
    /// No name can be looked up.
    Names,
    /// An engine can open no further descriptor.
    Starve(usize),
    /// A second process of a client, with the same tokens, beside the first.
    Twin(usize),
}

impl Scenario {
    /// Draws faults, lets them happen, and sees that every home is served again after the last.
    pub(super) fn trouble(&mut self) -> io::Result<Vec<String>> {
        let mut schedule: BTreeMap<u64, Vec<(Fault, Option<Duration>)>> = BTreeMap::new();
        let begin = self.driver.now().0;
        let mut healed = begin;
        let mut unheard = false;
        for _ in 0..self.rng.log_between(1, 6) {
            let at = begin + self.rng.below(40 * SECOND);
            let engine = self.rng.below(self.engines.len() as u64) as usize;
            let span = self.rng.log_between(SECOND / 1000, 100 * SECOND);
            let fault = match self.rng.below(11) {
                0 | 1 => Fault::Cut(self.rng.log_between(1, 20)),
                2 => Fault::Lose(engine),
                3 => Fault::Crash { engine, silent: self.rng.chance(1, 2) },
                4 => Fault::Restart { engine, drains: self.rng.chance(1, 2) },
                5 => Fault::Pause(engine),
                6 => Fault::Jump(engine),
                7 => Fault::HomeStops(self.rng.below(self.homes.len() as u64) as usize),
                8 => Fault::Twin(self.rng.between(1, self.homes.len() as u64) as usize),
                9 => Fault::Starve(engine),
                _ => Fault::Names,
            };
            unheard |= matches!(fault, Fault::Crash { silent: true, .. });
            let span = if matches!(fault, Fault::Cut(_)) { 0 } else { span };
            let begins = Some(Duration::from_nanos(span));
            schedule.entry(at).or_default().push((fault, begins));
            schedule.entry(at + span).or_default().push((fault, None));
            healed = healed.max(at + span);
        }
        let mut down = vec![0; self.engines.len()];
        for (at, changes) in schedule {
            self.driver.run_until(Time(at), |_| false)?;
            for (fault, begins) in changes {
                self.change(fault, begins, &mut down)?;
            }
        }
        let patience = match (unheard, self.dialects.contains(&Dialect::Rathole)) {
            (true, false) => RECOVERY + UNHEARD,
            (true, true) => RECOVERY + UNHEARD_BY_RATHOLE,
            (false, _) => RECOVERY,
        };
        self.rescue(Time(healed), patience)
    }

    /// A fault begins (and lasts so long), or ends. `down` counts what holds each engine down.
    fn change(
        &mut self,
        fault: Fault,
        begins: Option<Duration>,
        down: &mut [u32],
    ) -> io::Result<()> {
        if std::env::var("SEED").is_ok() {
            println!("{:?} {fault:?} {begins:?}", self.driver.now());
        }
        match (fault, begins) {
            (Fault::Cut(count), Some(_)) => {
                for _ in 0..count {
                    let conns = self.world().borrow().cuttable();
                    if !conns.is_empty() {
                        let conn = *self.rng.pick(&conns);
                        self.world().borrow_mut().cut(conn);
                    }
                }
            }
            (Fault::Lose(engine), Some(span)) => {
                let host = self.engines[engine].0;
                self.world().borrow_mut().isolate(host, span);
            }
            (Fault::Crash { engine, silent }, Some(_)) => {
                down[engine] += 1;
                let task = self.engines[engine].1;
                let process = self.driver.tasks[task].process;
                self.desk.set_process(engine, None);
                if let Some(program) = self.driver.stop(task) {
                    if engine == 0 {
                        self.crashed.push(process);
                    }
                    self.world().borrow_mut().crash(process, silent);
                    drop(program);
                    self.all_closed(process);
                }
            }
            (Fault::Restart { engine, drains }, Some(_)) => {
                down[engine] += 1;
                self.desk.set_process(engine, None);
                let task = self.engines[engine].1;
                if !drains || !self.drain(task) {
                    self.stop_in_order(task);
                }
            }
            (Fault::Twin(engine), Some(_)) => {
                let task = self.driver.add();
                self.start_engine(engine, task)?;
                self.twins.push((engine, task));
            }
            (Fault::Twin(engine), None) => {
                if let Some(at) = self.twins.iter().position(|(twin, _)| *twin == engine) {
                    let (_, task) = self.twins.remove(at);
                    self.stop_in_order(task);
                }
            }
            (Fault::Crash { engine, .. } | Fault::Restart { engine, .. }, None) => {
                down[engine] -= 1;
                if down[engine] == 0 {
                    let task = self.engines[engine].1;
                    // One that drains still is ended by a second signal.
                    self.stop_in_order(task);
                    self.all_closed(self.driver.tasks[task].process);
                    self.start_engine(engine, task)?;
                }
            }
            (Fault::Pause(engine), Some(span)) => {
                let until = self.driver.now() + span;
                let task = self.engines[engine].1;
                let paused = &mut self.driver.tasks[task].paused_until;
                *paused = until.max(*paused);
            }
            (Fault::Jump(engine), Some(span)) => {
                let task = self.engines[engine].1;
                let process = self.driver.tasks[task].process;
                if self.driver.tasks[task].program.is_some() {
                    self.world().borrow_mut().jump_clock(process, span);
                    self.driver.touched(task);
                }
            }
            (Fault::Starve(engine), begins) => {
                let process = self.driver.tasks[self.engines[engine].1].process;
                let mut world = self.world().borrow_mut();
                let open = world.open_descriptors(process);
                world.set_limit(process, if begins.is_some() { open } else { self.limit });
            }
            (Fault::HomeStops(home), begins) => {
                let (_, task, web) = self.homes[home];
                if let Some(Actor::Homes(homes)) = &mut self.driver.tasks[task].program {
                    homes.close();
                    if begins.is_none() {
                        homes.open();
                    }
                }
                let udp = self.udp_homes[home];
                if let Some(Actor::UdpHomes(homes)) = &mut self.driver.tasks[udp].program {
                    homes.close();
                    if begins.is_none() {
                        homes.open();
                    }
                }
                if let Some(Actor::WebHomes(homes)) = &mut self.driver.tasks[web].program {
                    homes.close();
                    if begins.is_none() {
                        homes.open();
                    }
                }
            }
            (Fault::Names, Some(span)) => self.world().borrow_mut().break_names(span),
            (_, None) => {}
        }
        Ok(())
    }

    /// Asks an engine to end; whether it takes its time.
    fn drain(&mut self, task: usize) -> bool {
        let drains = self.driver.tasks[task].program.as_mut().is_some_and(Actor::drain);
        self.driver.touched(task);
        drains
    }

    pub(super) fn stop_in_order(&mut self, task: usize) {
        let process = self.driver.tasks[task].process;
        if let Some(mut program) = self.driver.stop(task) {
            match &mut program {
                Actor::Server(server, _) => server.stop(),
                Actor::Client(client, _) => client.stop(),
                Actor::Visitors(_) | Actor::Homes(_) => {}
                Actor::WebVisitors(_) | Actor::WebHomes(_) => {}
                Actor::UdpVisitors(_) | Actor::UdpHomes(_) | Actor::Impostors(_) => {}
                Actor::Operator(_) | Actor::Lookers(_) => {}
            }
            drop(program);
            self.all_closed(process);
        }
    }

    pub(super) fn all_closed(&self, process: ProcessId) {
        let world = self.world().borrow();
        let open = world.open_descriptors(process);
        let name = world.process_name(process);
        assert_eq!(open, 0, "the {name}'s end left descriptors open");
    }

    /// Fresh visitors for every home after the last fault; one of each must be served in time.
    fn rescue(&mut self, healed: Time, patience: Duration) -> io::Result<Vec<String>> {
        let mut attempts: Vec<Vec<usize>> = vec![Vec::new(); self.homes.len()];
        let mut calls = attempts.clone();
        let draw = self.web_draw();
        let mut askers = attempts.clone();
        for wait in (0..patience.as_secs() - 1).step_by(2) {
            for (home, ids) in attempts.iter_mut().enumerate() {
                // One after the other: the smallest house has room for six, and would turn the
                // last of so many away.
                let turn = Duration::from_millis(1 + 600 * home as u64);
                let start = healed + Duration::from_secs(wait) + turn;
                ids.push(self.add_story(Ending::Both, start, Some(home)));
                askers[home].push(self.add_asker(start, Some(home)));
                let (from, task) = *self.web_rng.pick(&self.web_visitors);
                let rng = &mut self.web_rng;
                let call = draw.plain(from, home, &mut self.calls.borrow_mut(), rng);
                self.plan_call(task, start + Duration::from_millis(300), call);
                calls[home].push(call);
            }
        }
        let slack = Duration::from_secs(self.longest / 20_000 + 10);
        self.driver.run_until(healed + patience + slack, |_| false)?;
        let book = self.book.borrow();
        let served = |id: &usize| {
            let story = &book.stories[*id];
            self.judge(story).is_ok() && !story.opening.is_empty()
        };
        let web = self.calls.borrow();
        let called = |id: &usize| web::judge::is_served(&web, *id);
        let late = |home, kind| format!("home {home} has no {kind} {patience:?} after the faults");
        let post = self.post.borrow();
        let homes = 0..self.homes.len();
        let udp = homes.clone().filter(|home| !askers[*home].iter().any(|id| post.is_begun(*id)));
        let udp = udp.map(|home| late(home, "UDP"));
        let tls = homes.clone().filter(|home| !attempts[*home].iter().any(served));
        let http = homes.filter(|home| !calls[*home].iter().any(called));
        Ok(tls
            .map(|home| late(home, "TLS"))
            .chain(http.map(|home| late(home, "HTTP")))
            .chain(udp)
            .collect())
    }

    // The oracle.
}
