//! A helper thread for what takes its time: questions go in, answers come back with a wake-up.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// Answers questions by their numbers, one after another; each gets exactly one answer. The thread
/// is started by the first question and ends with the worker.
pub(super) struct Worker<Q, A> {
    /// The thread's.
    name: &'static str,
    work: fn(Q) -> A,
    /// Called, on either thread, when an answer is ready.
    wake: Arc<dyn Fn() + Send + Sync>,
    questions: Option<Sender<(u64, Q)>>,
    answers: Receiver<(u64, A)>,
    answered: Sender<(u64, A)>,
}

impl<Q: Send + 'static, A: Send + 'static> Worker<Q, A> {
    pub(super) fn new(
        name: &'static str,
        work: fn(Q) -> A,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> Worker<Q, A> {
        let (answered, answers) = channel();
        Worker { name, work, wake, questions: None, answers, answered }
    }

    /// Asks. `without` is the answer if there can be no thread.
    pub(super) fn ask(&mut self, number: u64, question: Q, without: impl FnOnce() -> A) {
        if self.questions.is_none() {
            self.questions = self.start();
        }
        let asked = self.questions.as_ref().is_some_and(|it| it.send((number, question)).is_ok());
        if !asked {
            self.questions = None;
            self.answer_now(number, without());
        }
    }

    /// Answers what was never asked.
    pub(super) fn answer_now(&self, number: u64, answer: A) {
        // The receiver lives as long as `self`.
        let _ = self.answered.send((number, answer));
        (self.wake)();
    }

    /// The next answer that is ready.
    pub(super) fn answer(&mut self) -> Option<(u64, A)> {
        self.answers.try_recv().ok()
    }

    fn start(&self) -> Option<Sender<(u64, Q)>> {
        let (questions, inbox) = channel::<(u64, Q)>();
        let (work, answered, wake) = (self.work, self.answered.clone(), self.wake.clone());
        let answer_all = move || {
            for (number, question) in inbox {
                if answered.send((number, work(question))).is_err() {
                    return;
                }
                wake();
            }
        };
        let thread = thread::Builder::new().name(self.name.to_owned()).spawn(answer_all);
        thread.ok().map(|_| questions)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{RecvTimeoutError, sync_channel};
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_question_has_one_answer_and_a_wake_up() {
        let (awake, woken) = sync_channel(100);
        let wake = Arc::new(move || awake.send(()).expect("somebody waits"));
        let length = |text: String| text.len();
        let mut worker = Worker::new("test", length, wake);
        assert!(worker.questions.is_none(), "no thread before it is needed");
        worker.answer_now(9, 90);
        for number in 0..5 {
            worker.ask(number, "x".repeat(number as usize), || 0);
        }
        let mut answers = Vec::new();
        for _ in 0..6 {
            woken.recv_timeout(Duration::from_secs(30)).expect("a wake-up for each");
            answers.extend(worker.answer());
        }
        assert_eq!(answers, [(9, 90), (0, 0), (1, 1), (2, 2), (3, 3), (4, 4)]);
        // With the worker ends the thread, which has the last copy of `wake`.
        drop(worker);
        let end = woken.recv_timeout(Duration::from_secs(30));
        assert_eq!(end, Err(RecvTimeoutError::Disconnected));
    }

    #[test]
    fn without_a_thread_the_answer_comes_at_once() {
        let mut worker = Worker::new("test", |number: u8| number, Arc::new(|| ()));
        // As if the thread were gone.
        worker.questions = Some(channel().0);
        worker.ask(1, 2, || 3);
        assert_eq!(worker.answer(), Some((1, 3)));
        worker.ask(2, 4, || 3);
        let answer = std::iter::repeat_with(|| worker.answer()).flatten().next();
        assert_eq!(answer, Some((2, 4)), "another thread");
    }
}
