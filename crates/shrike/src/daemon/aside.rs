//! What takes too long for the event loop is done in a thread of its own, one after the other: names are asked for, lists
//! fetched, puzzles solved.

use mio::Waker;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};

/// A thread that answers questions.
pub struct Aside<Question, Answer> {
    questions: SyncSender<Question>,
    answers: Receiver<Answer>,
}

impl<Question: Send + 'static, Answer: Send + 'static> Aside<Question, Answer> {
    /// Begins the thread of this name, in which at most `most` questions wait; `waker` is woken at each answer.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(
        name: &str,
        most: usize,
        waker: Arc<Waker>,
        mut answer: impl FnMut(Question) -> Answer + Send + 'static,
    ) -> io::Result<Self> {
        let (questions, asked) = sync_channel(most);
        let (tell, answers) = channel();
        let serve = move || {
            while let Ok(question) = asked.recv() {
                if tell.send(answer(question)).is_err() {
                    return;
                }
                // If it cannot be woken, the next thing that happens shows the answer.
                let _ = waker.wake();
            }
        };
        std::thread::Builder::new().name(name.into()).spawn(serve)?;
        Ok(Self { questions, answers })
    }

    /// Asks. With too many questions waiting already it does not: whoever needs the answer asks again, or goes on without.
    pub fn ask(&self, question: Question) {
        let _ = self.questions.try_send(question);
    }

    /// The next answer, if there is one.
    pub fn answer(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}
