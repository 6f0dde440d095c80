//! Runs programs over a [`World`]: whoever has wake-ups or a deadline gets its turn, and the time
//! moves only when nobody has.

use std::io;
use std::time::Duration;

use underpass::proto::time::Time;

use super::world::{ProcessId, Shared};

/// Turns in a row that do nothing although the program asks for them: it spins.
const IDLE_TURNS: u32 = 1_000;
/// Turns in all; a scenario has some ten thousands.
const TURNS: u64 = 20_000_000;

/// What the engine's roles and the actors have in common.
pub trait Program {
    /// Polls once and handles what came; false to stop.
    fn turn(&mut self) -> io::Result<bool>;
    /// When to be turned again even if nothing happens; the past for unfinished work.
    fn next_deadline(&self) -> Option<Time>;
}

/// One process with its program.
pub struct Task<P> {
    /// Its process.
    pub process: ProcessId,
    /// `None` while it is stopped.
    pub program: Option<P>,
    /// Stopped as by SIGSTOP until then.
    pub paused_until: Time,
    busy_until: Time,
    /// It will be turned then; drawn when it became ready.
    due: Option<Time>,
    /// By the world's clock.
    deadline: Option<Time>,
    idle_turns: u32,
}

/// All programs of a world.
pub struct Driver<P> {
    /// The world.
    pub world: Shared,
    /// In the order in which equal moments are served.
    pub tasks: Vec<Task<P>>,
    turns: u64,
}

impl<P: Program> Driver<P> {
    /// Nobody yet.
    pub fn new(world: Shared) -> Driver<P> {
        Driver { world, tasks: Vec::new(), turns: 0 }
    }

    /// The world's time.
    pub fn now(&self) -> Time {
        self.world.borrow().now()
    }

    /// A task; its index comes back. Give it a program with [`Driver::start`].
    pub fn add(&mut self) -> usize {
        self.tasks.push(Task {
            process: ProcessId::MAX,
            program: None,
            paused_until: Time(0),
            busy_until: Time(0),
            due: None,
            deadline: None,
            idle_turns: 0,
        });
        self.tasks.len() - 1
    }

    /// Starts `program`, which runs as `process`.
    pub fn start(&mut self, task: usize, process: ProcessId, program: P) {
        let deadline = self.deadline_of(&program, process);
        let task = &mut self.tasks[task];
        (task.process, task.deadline, task.due, task.idle_turns) = (process, deadline, None, 0);
        task.program = Some(program);
    }

    /// Ends a task's program; it comes back for dropping.
    pub fn stop(&mut self, task: usize) -> Option<P> {
        let task = &mut self.tasks[task];
        (task.deadline, task.due) = (None, None);
        task.program.take()
    }

    /// Call it after touching a program from outside: its deadline may have changed.
    pub fn touched(&mut self, task: usize) {
        let state = &self.tasks[task];
        let deadline = state.program.as_ref().map(|p| self.deadline_of(p, state.process));
        self.tasks[task].deadline = deadline.flatten();
    }

    fn deadline_of(&self, program: &P, process: ProcessId) -> Option<Time> {
        program.next_deadline().map(|time| self.world.borrow().world_time(process, time))
    }

    /// Lets the world run for `span`.
    pub fn run_for(&mut self, span: Duration) -> io::Result<()> {
        let until = self.now() + span;
        self.run_until(until, |_| false)
    }

    /// Lets the world run until then, or until `done`, which is asked after each turn.
    pub fn run_until(
        &mut self,
        until: Time,
        mut done: impl FnMut(&mut Driver<P>) -> bool,
    ) -> io::Result<()> {
        while self.now() < until {
            let now = self.now();
            self.plan();
            let ready = (0..self.tasks.len())
                .filter(|task| self.tasks[*task].due.is_some_and(|due| due <= now))
                .min_by_key(|task| self.tasks[*task].due);
            match ready {
                Some(task) => {
                    self.turn(task)?;
                    if done(self) {
                        return Ok(());
                    }
                }
                None => {
                    let mut next = until;
                    for task in self.tasks.iter().filter(|task| task.program.is_some()) {
                        next = [task.due.or(task.deadline)]
                            .into_iter()
                            .flatten()
                            .fold(next, Time::min);
                    }
                    self.world.borrow_mut().advance(next);
                }
            }
        }
        Ok(())
    }

    /// Lets what is under way arrive, for `most` at most.
    pub fn run_until_silent(&mut self, most: Duration) -> io::Result<()> {
        let is_silent = |driver: &Driver<P>| {
            let world = driver.world.borrow();
            world.is_silent() && !driver.tasks.iter().any(|task| world.has_wakes(task.process))
        };
        if is_silent(self) {
            return Ok(());
        }
        self.run_until(self.now() + most, |driver| is_silent(driver))
    }

    /// Draws the moment of the turn of everybody who became ready.
    fn plan(&mut self) {
        let mut world = self.world.borrow_mut();
        let now = world.now();
        for task in &mut self.tasks {
            if task.program.is_none() {
                continue;
            }
            let ready = task.deadline.is_some_and(|at| at <= now) || world.has_wakes(task.process);
            if task.due.is_none() && ready {
                let most = world.tuning.lateness;
                let late = world.rng.below(most + 1);
                let earliest = now.max(task.busy_until).max(task.paused_until);
                task.due = Some(Time(earliest.0 + late));
            }
            if let Some(due) = &mut task.due {
                *due = (*due).max(task.paused_until);
            }
        }
    }

    fn turn(&mut self, index: usize) -> io::Result<()> {
        let before = self.world.borrow().trace();
        let process = self.tasks[index].process;
        let Some(mut program) = self.tasks[index].program.take() else { return Ok(()) };
        let goes_on = program.turn()?;
        let deadline = self.deadline_of(&program, process);
        let mut world = self.world.borrow_mut();
        let most = world.tuning.work;
        let busy = 1 + world.rng.below(most.max(1));
        let task = &mut self.tasks[index];
        task.due = None;
        task.busy_until = Time(world.now().0 + busy);
        task.deadline = deadline;
        let wants_more = deadline.is_some_and(|at| at <= world.now());
        let idle = wants_more && world.trace() == before;
        task.idle_turns = if idle { task.idle_turns + 1 } else { 0 };
        assert!(task.idle_turns < IDLE_TURNS, "{} spins", world.process_name(process));
        drop(world);
        if goes_on {
            task.program = Some(program);
        }
        self.turns += 1;
        assert!(self.turns < TURNS, "too many turns");
        Ok(())
    }
}
