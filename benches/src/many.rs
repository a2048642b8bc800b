//! Two endpoints with many IKE SAs between them: what one more costs, and what they cost while nothing happens.

use crate::peers::{CLOSED, gateway_with, unlimited};
use crate::{Datagram, Side, Suite, cpu_time, initiator};
use std::ops::Range;
use std::time::Duration;

/// A gateway that asks every peer that is silent whether it lives, and one endpoint with a connection for each peer.
pub struct Many {
    gateway: Side,
    peers: Side,
    suite: Suite,
}

/// What the gateway took while nothing happened but signs of life.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// CPU time.
    pub taken: Duration,
    /// Requests that it sent.
    pub requests: usize,
}

impl Many {
    /// Room for so many peers, of which none is there yet.
    pub fn new(suite: Suite, peers: u32) -> Self {
        let gateway = gateway_with(suite, unlimited(), 0, "dpd_delay = 30s\n rekey_time = 0");
        Self { gateway, peers: initiator(suite, 0..peers), suite }
    }

    /// These set up an IKE SA with a Child SA each. CPU time of the gateway, and of the endpoint that has all the peers.
    pub fn begin(&mut self, numbers: Range<u32>) -> (Duration, Duration) {
        let (mut times, mut requests) = ((Duration::ZERO, Duration::ZERO), Vec::new());
        let before = self.gateway.ike_up;
        let count = numbers.len();
        let start = cpu_time();
        numbers.for_each(|n| self.peers.initiate(n, &mut requests));
        times.1 += cpu_time() - start;
        for _request in self.suite.requests() {
            let (gateway, peers) = self.exchange(&mut requests);
            times = (times.0 + gateway, times.1 + peers);
        }
        assert_eq!(self.gateway.ike_up, before + count, "failure: {:?}", self.gateway.failure);
        assert_eq!(self.peers.endpoint.sizes(), self.gateway.endpoint.sizes());
        times
    }

    /// The gateway takes what the peers sent, and they take its answers. What they say to that is in `requests` then.
    fn exchange(&mut self, requests: &mut Vec<Datagram>) -> (Duration, Duration) {
        let mut replies = Vec::with_capacity(requests.len());
        let start = cpu_time();
        requests.drain(..).for_each(|request| self.gateway.receive(&request, &mut replies));
        let middle = cpu_time();
        replies.iter().for_each(|reply| self.peers.receive(reply, requests));
        (middle - start, cpu_time() - middle)
    }

    /// Lets whole seconds pass.
    pub fn idle(&mut self, seconds: u32) -> Idle {
        let mut idle = Idle { taken: Duration::ZERO, requests: 0 };
        for _ in 0..seconds {
            let (mut asked, mut answers, mut more) = (Vec::new(), Vec::new(), Vec::new());
            let start = cpu_time();
            self.gateway.wait(Duration::from_secs(1), &mut asked);
            idle.taken += cpu_time() - start;
            self.peers.wait(Duration::from_secs(1), &mut more);
            asked.iter().for_each(|request| self.peers.receive(request, &mut answers));
            let start = cpu_time();
            answers.iter().for_each(|answer| self.gateway.receive(answer, &mut more));
            idle.taken += cpu_time() - start;
            idle.requests += asked.len();
            assert!(more.is_empty(), "there is nothing to say but that");
        }
        idle
    }

    /// The gateway deletes everything, up to the end of what is remembered. Its CPU time.
    pub fn end(mut self) -> Duration {
        let (mut deletes, mut answers, mut more) = (Vec::new(), Vec::new(), Vec::new());
        let start = cpu_time();
        self.gateway.terminate(&mut deletes);
        let mut taken = cpu_time() - start;
        deletes.iter().for_each(|delete| self.peers.receive(delete, &mut answers));
        let start = cpu_time();
        answers.iter().for_each(|answer| self.gateway.receive(answer, &mut more));
        self.gateway.wait(CLOSED, &mut more);
        taken += cpu_time() - start;
        assert_eq!((self.gateway.endpoint.sizes(), self.peers.endpoint.sizes()), ((0, 0), (0, 0)));
        assert_eq!(self.gateway.endpoint.poll_timeout(), None, "nothing is left");
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_come_stay_and_go() {
        let mut many = Many::new(Suite::ALL[0], 5);
        many.begin(0..3);
        many.begin(3..5);
        // Each is asked once in 30 s, and answers.
        assert_eq!(many.idle(95).requests, 3 * 5);
        many.end();
    }
}
