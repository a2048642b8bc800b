//! Puzzles that responders under attack give us (RFC 8019), solved in a thread of its own: it may take seconds of work.

use crypto::PuzzleSolver;
use mio::Waker;
use proto::PuzzleJob;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// How many puzzles may wait.
const MAX_WAITING: usize = 16;
/// Keys that are tried at a time.
const PIECE: u32 = 4096;

/// A puzzle and its solution, if there is one.
pub type Solved = (PuzzleJob, Option<Vec<u8>>);

/// Solves, one after the other.
pub struct Solver {
    jobs: SyncSender<PuzzleJob>,
    solved: Receiver<Solved>,
}

impl Solver {
    /// Begins; `waker` is woken at each solution.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(waker: Arc<Waker>) -> io::Result<Self> {
        let (jobs, asked) = sync_channel(MAX_WAITING);
        let (tell, solved) = channel();
        std::thread::Builder::new().name("puzzles".into()).spawn(move || serve(&asked, &tell, &waker))?;
        Ok(Self { jobs, solved })
    }

    /// Has it solved. With too many waiting already it is not: whoever wants it goes on without after a while.
    pub fn solve(&self, job: PuzzleJob) {
        let _ = self.jobs.try_send(job);
    }

    /// The next one that is solved, or was given up.
    pub fn solved(&self) -> Option<Solved> {
        self.solved.try_recv().ok()
    }
}

fn serve(asked: &Receiver<PuzzleJob>, tell: &Sender<Solved>, waker: &Waker) {
    while let Ok(job) = asked.recv() {
        let mut solver = PuzzleSolver::new(job.puzzle.clone());
        while solver.work(PIECE) {}
        let solution = solver.solution().map(<[u8]>::to_vec);
        if tell.send((job, solution)).is_err() {
            return;
        }
        // If it cannot be woken, the next thing that happens shows the solution.
        let _ = waker.wake();
    }
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
        let solver = Solver::start(Arc::new(Waker::new(poll.registry(), Token(7)).unwrap())).unwrap();
        let prf = Prf::new(wire::PrfId::HMAC_SHA2_256).unwrap();
        let puzzle = Puzzle { prf, difficulty: 8, content: b"cookie".to_vec() };
        solver.solve(PuzzleJob { sa: SaId(3), puzzle: puzzle.clone() });
        let mut events = Events::with_capacity(1);
        poll.poll(&mut events, Some(Duration::from_secs(30))).unwrap();
        assert_eq!(events.iter().next().map(|e| e.token()), Some(Token(7)));
        let (job, solution) = solver.solved().unwrap();
        assert_eq!(job.sa, SaId(3));
        assert!(puzzle.check(&solution.unwrap()).unwrap() >= 8);
        assert!(solver.solved().is_none());
    }
}
