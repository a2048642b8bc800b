//! Puzzles that responders under attack give us (RFC 8019), solved in a thread of its own: it may take seconds of work.

use super::aside::Aside;
use crypto::PuzzleSolver;
use mio::Waker;
use proto::PuzzleJob;
use std::io;
use std::sync::Arc;

/// How many puzzles may wait. One that does not is not solved: whoever wants it goes on without after a while.
const MAX_WAITING: usize = 16;
/// Keys that are tried at a time.
const PIECE: u32 = 4096;

/// Solves puzzles: each with its solution, if there is one.
pub type Solver = Aside<PuzzleJob, (PuzzleJob, Option<Vec<u8>>)>;

/// Begins; `waker` is woken at each solution.
///
/// # Errors
/// There is no thread to be had.
pub fn start(waker: Arc<Waker>) -> io::Result<Solver> {
    Aside::start("puzzles", MAX_WAITING, waker, |job: PuzzleJob| {
        let mut solver = PuzzleSolver::new(job.puzzle.clone());
        while solver.work(PIECE) {}
        let solution = solver.solution().map(<[u8]>::to_vec);
        (job, solution)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crypto::{Prf, Puzzle};
    use mio::{Events, Poll, Token};
    use model::SaId;
    use std::time::Duration;

    #[test]
    fn a_solution_wakes_the_daemon() {
        let mut poll = Poll::new().unwrap();
        let solver = start(Arc::new(Waker::new(poll.registry(), Token(7)).unwrap())).unwrap();
        let prf = Prf::new(wire::PrfId::HMAC_SHA2_256).unwrap();
        let puzzle = Puzzle { prf, difficulty: 8, content: b"cookie".to_vec() };
        solver.ask(PuzzleJob { sa: SaId(3), puzzle: puzzle.clone() });
        let mut events = Events::with_capacity(1);
        poll.poll(&mut events, Some(Duration::from_secs(30))).unwrap();
        assert_eq!(events.iter().next().map(|e| e.token()), Some(Token(7)));
        let (job, solution) = solver.answer().unwrap();
        assert_eq!(job.sa, SaId(3));
        assert!(puzzle.check(&solution.unwrap()).unwrap() >= 8);
        assert!(solver.answer().is_none());
    }
}
