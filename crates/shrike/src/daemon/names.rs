//! Host names of the configuration, asked for in a thread of its own: an answer may take seconds.

use super::aside::Aside;
use mio::Waker;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;

/// How many questions may wait.
const MAX_WAITING: usize = 256;

/// Asks the system, as a program asks for any host name: `/etc/hosts`, DNS and what else `nsswitch.conf` says. An answer is
/// a name with its addresses, or why there are none.
pub type Resolver = Aside<String, (String, Result<Vec<IpAddr>, String>)>;

/// Begins; `waker` is woken at each answer.
///
/// # Errors
/// There is no thread to be had.
pub fn start(waker: Arc<Waker>) -> io::Result<Resolver> {
    Aside::start("resolver", MAX_WAITING, waker, |name: String| {
        // The port is none of the question.
        let found = (name.as_str(), 500).to_socket_addrs();
        let found = found.map(|all| all.map(|a| a.ip()).collect()).map_err(|e| e.to_string());
        (name, found)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll, Token};
    use std::time::Duration;

    #[test]
    fn an_answer_wakes_the_daemon() {
        let mut poll = Poll::new().unwrap();
        let resolver = start(Arc::new(Waker::new(poll.registry(), Token(7)).unwrap())).unwrap();
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
