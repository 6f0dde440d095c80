//! Who changes the engines' files while they run, and asks them to read what is new.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use underpass::engine::net::{Signal, Wake};
use underpass::proto::time::Time;

use super::programs::File;
use super::world::{ProcessId, Shared, World};

/// The engines' files, and as which process each engine runs.
#[derive(Clone, Default)]
pub struct Desk {
    engines: Rc<RefCell<Vec<Engine>>>,
}

type Engine = (File, Option<ProcessId>);

impl Desk {
    pub fn add(&self, text: &str) {
        self.engines.borrow_mut().push((Rc::new(RefCell::new(text.to_owned())), None));
    }

    pub fn file(&self, engine: usize) -> File {
        self.engines.borrow()[engine].0.clone()
    }

    /// `None`: it does not run.
    pub fn set_process(&self, engine: usize, process: Option<ProcessId>) {
        self.engines.borrow_mut()[engine].1 = process;
    }
}

/// The program.
pub struct Operator {
    world: Shared,
    desk: Desk,
    /// When, which engine, its file from then on.
    plan: VecDeque<(Time, usize, String)>,
}

impl Operator {
    /// `plan` is in the order of time.
    pub fn new(world: &Shared, desk: &Desk, plan: Vec<(Time, usize, String)>) -> Operator {
        Operator { world: world.clone(), desk: desk.clone(), plan: plan.into() }
    }

    pub fn is_done(&self) -> bool {
        self.plan.is_empty()
    }

    pub fn next_deadline(&self) -> Option<Time> {
        self.plan.front().map(|(at, _, _)| *at)
    }

    pub fn turn(&mut self) -> bool {
        let now = self.world.borrow().now();
        while self.plan.front().is_some_and(|(at, _, _)| *at <= now) {
            let Some((_, engine, text)) = self.plan.pop_front() else { break };
            if std::env::var("SEED").is_ok() {
                println!("{now:?} engine {engine} has another file:\n{text}");
            }
            let (file, process) = self.desk.engines.borrow()[engine].clone();
            *file.borrow_mut() = text;
            if let Some(process) = process {
                self.world.borrow_mut().report(process, Wake::Signal(Signal::Reload));
            }
        }
        true
    }
}

impl World {
    /// A further name for what another one stands for.
    pub fn add_alias(&mut self, alias: &str, name: &str) {
        let addresses = match self.names.get(name) {
            Some(addresses) => addresses.clone(),
            None => vec![name.parse().expect("an address")],
        };
        self.add_name(alias, addresses);
    }

    /// The next `poll` of a process reports this.
    pub fn report(&mut self, process: ProcessId, wake: Wake) {
        self.processes[process].told.push_back(wake);
    }
}
