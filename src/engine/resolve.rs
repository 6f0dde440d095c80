//! Names to addresses on one helper thread, because getaddrinfo blocks.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// A question: its number, host and port.
type Question = (u64, String, u16);
/// Its answer.
type Answer = (u64, io::Result<Vec<SocketAddr>>);

/// Questions go to the thread, answers come back with a wake-up. The thread is started by the
/// first question that needs it and ends with the resolver.
pub(super) struct Resolver {
    wake: Option<Box<dyn Fn() + Send>>,
    questions: Option<Sender<Question>>,
    answers: Receiver<Answer>,
    answered: Sender<Answer>,
    immediate: Box<dyn Fn() + Send>,
}

impl Resolver {
    /// `wake` is called, on either thread, when an answer is ready.
    pub(super) fn new(wake: impl Fn() + Send + Clone + 'static) -> Resolver {
        let (answered, answers) = channel();
        Resolver {
            wake: Some(Box::new(wake.clone())),
            questions: None,
            answers,
            answered,
            immediate: Box::new(wake),
        }
    }

    /// Asks; every question gets exactly one answer.
    pub(super) fn ask(&mut self, query: u64, host: &str, port: u16) {
        if let Ok(ip) = host.parse::<IpAddr>() {
            self.answer_now(query, Ok(vec![SocketAddr::new(ip, port)]));
            return;
        }
        if let Some(wake) = self.wake.take() {
            self.questions = self.start(wake);
        }
        let question = (query, host.to_owned(), port);
        let asked = self.questions.as_ref().is_some_and(|thread| thread.send(question).is_ok());
        if !asked {
            self.answer_now(query, Err(io::Error::other("the resolver's thread is gone")));
        }
    }

    /// The next answer that is ready.
    pub(super) fn answer(&mut self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }

    fn answer_now(&self, query: u64, result: io::Result<Vec<SocketAddr>>) {
        // The receiver lives as long as `self`.
        let _ = self.answered.send((query, result));
        (self.immediate)();
    }

    fn start(&self, wake: Box<dyn Fn() + Send>) -> Option<Sender<Question>> {
        let (questions, inbox) = channel::<Question>();
        let answered = self.answered.clone();
        let work = move || {
            for (query, host, port) in inbox {
                if answered.send((query, look_up(&host, port))).is_err() {
                    return;
                }
                wake();
            }
        };
        thread::Builder::new().name("resolver".to_owned()).spawn(work).ok().map(|_| questions)
    }
}

fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in (host, port).to_socket_addrs()? {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}
