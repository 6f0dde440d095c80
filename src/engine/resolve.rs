//! Names to addresses on helper threads, because getaddrinfo blocks: one name that nobody answers
//! for holds up no other one.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// The addresses, at least one.
type Answer = io::Result<Vec<SocketAddr>>;
/// The same without a port, or why there are none; for all who have asked.
type Found = Result<Vec<SocketAddr>, (ErrorKind, String)>;

/// Threads at most; more names wait for one.
const THREADS: usize = 64;
/// Of each: a name server's answers lie there.
const STACK: usize = 256 * 1024;

/// Literal addresses are answered at once, and start no thread.
///
/// Invariant: `asked` has the names in `waiting` and those that a thread looks up, each once;
/// `running <= THREADS`.
pub(super) struct Resolver {
    look_up: fn(&str) -> Found,
    wake: Arc<dyn Fn() + Send + Sync>,
    /// Who wants to know, by name: numbers of questions, and ports.
    asked: BTreeMap<String, Vec<(u64, u16)>>,
    waiting: VecDeque<String>,
    running: usize,
    ready: VecDeque<(u64, Answer)>,
    answers: Receiver<(String, Found)>,
    answered: Sender<(String, Found)>,
}

impl Resolver {
    /// `wake` is called, on any thread, when an answer is ready.
    pub(super) fn new(wake: Arc<dyn Fn() + Send + Sync>) -> Resolver {
        let (answered, answers) = channel();
        Resolver {
            look_up,
            wake,
            asked: BTreeMap::new(),
            waiting: VecDeque::new(),
            running: 0,
            ready: VecDeque::new(),
            answers,
            answered,
        }
    }

    /// Asks; every question gets exactly one answer.
    pub(super) fn ask(&mut self, query: u64, host: &str, port: u16) {
        if let Ok(ip) = host.parse::<IpAddr>() {
            self.ready.push_back((query, Ok(vec![SocketAddr::new(ip, port)])));
            return (self.wake)();
        }
        let askers = self.asked.entry(host.to_owned()).or_default();
        askers.push((query, port));
        if askers.len() == 1 {
            self.waiting.push_back(host.to_owned());
            self.start_threads();
        }
    }

    /// The next answer that is ready, with its question's number.
    pub(super) fn answer(&mut self) -> Option<(u64, Answer)> {
        while self.ready.is_empty() {
            let (name, found) = self.answers.try_recv().ok()?;
            self.running -= 1;
            self.tell(&name, &found);
            self.start_threads();
        }
        self.ready.pop_front()
    }

    fn tell(&mut self, name: &str, found: &Found) {
        for (query, port) in self.asked.remove(name).unwrap_or_default() {
            let with_port = |mut address: SocketAddr| {
                address.set_port(port);
                address
            };
            self.ready.push_back((
                query,
                match found {
                    Ok(addresses) => Ok(addresses.iter().copied().map(with_port).collect()),
                    Err((kind, text)) => Err(io::Error::new(*kind, text.clone())),
                },
            ));
        }
    }

    fn start_threads(&mut self) {
        while self.running < THREADS
            && let Some(name) = self.waiting.pop_front()
        {
            let (look_up, answered, wake) =
                (self.look_up, self.answered.clone(), self.wake.clone());
            let its = name.clone();
            let work = move || {
                // Nobody is there to hear it if the program ends.
                let found = look_up(&its);
                if answered.send((its, found)).is_ok() {
                    wake();
                }
            };
            let thread = thread::Builder::new().name("resolver".to_owned()).stack_size(STACK);
            match thread.spawn(work) {
                Ok(_) => self.running += 1,
                Err(error) => {
                    self.tell(&name, &Err((error.kind(), error.to_string())));
                    (self.wake)();
                }
            }
        }
    }
}

/// An error of kind [`ErrorKind::TimedOut`] says that nobody has answered, rather than that there
/// is no such name.
fn look_up(name: &str) -> Found {
    let found = (name, 0).to_socket_addrs().map_err(|error| {
        let text = error.to_string();
        // EAI_AGAIN in the words of glibc and of musl; std has no other.
        let is_temporary = ["Temporary failure", "Try again"].iter().any(|it| text.contains(it));
        (if is_temporary { ErrorKind::TimedOut } else { error.kind() }, text)
    })?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err((ErrorKind::NotFound, "the name has no address".to_owned()));
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, sync_channel};
    use std::time::Duration;

    use super::*;

    /// A resolver for which each name but `now` waits until it is let go.
    fn held(name: &str) -> Found {
        let gate = GATE.lock().expect("not poisoned").clone();
        if name != "now" {
            let _ = gate.expect("a gate").lock().expect("not poisoned").recv();
        }
        match name {
            "none" => Err((ErrorKind::TimedOut, "nobody".to_owned())),
            _ => Ok(vec![SocketAddr::from(([192, 0, 2, 1], 0))]),
        }
    }

    static GATE: Mutex<Option<Arc<Mutex<Receiver<()>>>>> = Mutex::new(None);

    #[test]
    fn a_name_without_an_answer_holds_up_no_other() {
        let (let_go, gate) = sync_channel(1000);
        *GATE.lock().expect("not poisoned") = Some(Arc::new(Mutex::new(gate)));
        let (awake, woken) = sync_channel(1000);
        let wake = Arc::new(move || awake.send(()).expect("somebody waits"));
        let mut resolver = Resolver { look_up: held, ..Resolver::new(wake) };
        let next = |resolver: &mut Resolver| loop {
            if let Some((query, answer)) = resolver.answer() {
                return (query, answer.map(|all| all[0].port()).map_err(|error| error.kind()));
            }
            woken.recv_timeout(Duration::from_secs(30)).expect("an answer");
        };
        // Two ask for one name, and get one look-up.
        resolver.ask(1, "none", 1);
        resolver.ask(2, "none", 2);
        resolver.ask(3, "192.0.2.7", 3);
        resolver.ask(4, "now", 4);
        assert_eq!(resolver.running, 2);
        assert_eq!((next(&mut resolver), next(&mut resolver)), ((3, Ok(3)), (4, Ok(4))));
        // As many as there may be, and one more, which waits.
        (0..THREADS).for_each(|n| resolver.ask(100 + n as u64, &format!("n{n}"), 9));
        resolver.ask(5, "now", 5);
        assert_eq!((resolver.running, resolver.waiting.len()), (THREADS, 2));
        resolver.ask(6, "192.0.2.7", 6);
        assert_eq!(next(&mut resolver), (6, Ok(6)), "a literal address never waits");
        (0..THREADS + 2).for_each(|_| let_go.send(()).expect("threads wait"));
        let mut answers: Vec<_> = (0..THREADS + 3).map(|_| next(&mut resolver)).collect();
        answers.sort_by_key(|(query, _)| *query);
        let timed_out = Err(ErrorKind::TimedOut);
        assert_eq!(answers[..3], [(1, timed_out), (2, timed_out), (5, Ok(5))]);
        assert_eq!((resolver.running, resolver.asked.len()), (0, 0));
    }

    #[test]
    fn a_name_in_the_hosts_file_is_found() {
        assert!(look_up("localhost").expect("every system has it")[0].ip().is_loopback());
        assert!(look_up("no.such.name.invalid").is_err());
    }
}
