//! Host names of the configuration, asked for in a thread of its own: an answer may take seconds.

use mio::Waker;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// How many questions may wait.
const MAX_WAITING: usize = 256;

/// A name with its addresses, or why there are none.
pub type Answer = (String, Result<Vec<IpAddr>, String>);

/// Asks the system, as a program asks for any host name: `/etc/hosts`, DNS and what else `nsswitch.conf` says.
pub struct Resolver {
    questions: SyncSender<String>,
    answers: Receiver<Answer>,
}

impl Resolver {
    /// Begins; `waker` is woken at each answer.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(waker: Arc<Waker>) -> io::Result<Self> {
        let (questions, asked) = sync_channel(MAX_WAITING);
        let (tell, answers) = channel();
        std::thread::Builder::new().name("resolver".into()).spawn(move || answer(&asked, &tell, &waker))?;
        Ok(Self { questions, answers })
    }

    /// Asks. With too many questions waiting already it does not: whoever needs the answer asks again.
    pub fn ask(&self, name: String) {
        let _ = self.questions.try_send(name);
    }

    /// The next answer, if there is one.
    pub fn answer(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}

fn answer(asked: &Receiver<String>, tell: &Sender<Answer>, waker: &Waker) {
    while let Ok(name) = asked.recv() {
        // The port is none of the question.
        let found = (name.as_str(), 500).to_socket_addrs();
        let found = found.map(|all| all.map(|a| a.ip()).collect()).map_err(|e| e.to_string());
        if tell.send((name, found)).is_err() {
            return;
        }
        // If it cannot be woken, the next thing that happens shows the answer.
        let _ = waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll, Token};
    use std::time::Duration;

    #[test]
    fn an_answer_wakes_the_daemon() {
        let mut poll = Poll::new().unwrap();
        let resolver = Resolver::start(Arc::new(Waker::new(poll.registry(), Token(7)).unwrap())).unwrap();
        // No question for a server: an address, and what is no name.
        for (name, expected) in [("192.0.2.7", Some([192, 0, 2, 7])), ("a name with blanks", None)] {
            resolver.ask(name.to_string());
            let mut events = Events::with_capacity(1);
            poll.poll(&mut events, Some(Duration::from_secs(30))).unwrap();
            assert_eq!(events.iter().next().map(|e| e.token()), Some(Token(7)));
            let (of, found) = resolver.answer().unwrap();
            assert_eq!((of.as_str(), found.ok()), (name, expected.map(|a| vec![IpAddr::from(a)])));
        }
    }
}
