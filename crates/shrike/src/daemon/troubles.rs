//! What the operating system, and by ICMP routers and hosts, say about datagrams that are sent: kept for the diagnosis.

use linux::{SendFailure, send_trouble};
use model::{Event, Instant, SendError, SendTrouble, Tombstone};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// What is said of an SA's first datagram may be noted a little before the SA's own time.
const SLACK: Duration = Duration::from_secs(1);
/// What was said longer before an SA's end had nothing to do with it: as long as a request is repeated, and some more.
const BEFORE_END: Duration = Duration::from_secs(300);
/// So many pairs of address and trouble are remembered.
const MOST: usize = 64;

/// What was said of datagrams to one address.
struct Seen {
    to: SocketAddr,
    trouble: SendTrouble,
    count: u64,
    last: Instant,
    reporter: Option<IpAddr>,
}

/// What was said, by address.
#[derive(Default)]
pub struct Troubles {
    seen: Vec<Seen>,
}

impl Troubles {
    /// A datagram could not be sent.
    pub fn refused(&mut self, now: Instant, to: SocketAddr, error: &io::Error) {
        if let Some(trouble) = send_trouble(error) {
            self.note(now, to, trouble, None);
        }
    }

    /// Something was reported about a datagram that left.
    pub fn reported(&mut self, now: Instant, failure: &SendFailure) {
        if let Some(trouble) = failure.trouble {
            self.note(now, failure.remote, trouble, failure.reporter);
        }
    }

    fn note(&mut self, now: Instant, to: SocketAddr, trouble: SendTrouble, reporter: Option<IpAddr>) {
        if let Some(known) = self.seen.iter_mut().find(|seen| (seen.to, seen.trouble) == (to, trouble)) {
            (known.count, known.last, known.reporter) = (known.count.saturating_add(1), now, reporter);
            return;
        }
        if self.seen.len() >= MOST
            && let Some((oldest, _)) = self.seen.iter().enumerate().min_by_key(|(_, seen)| seen.last)
        {
            self.seen.swap_remove(oldest);
        }
        self.seen.push(Seen { to, trouble, count: 1, last: now, reporter });
    }

    /// The latest about one address and port.
    pub fn of(&self, now: Instant, to: SocketAddr) -> Option<SendError> {
        self.list(now).into_iter().find(|error| error.to == to)
    }

    /// All of it, the latest first.
    pub fn list(&self, now: Instant) -> Vec<SendError> {
        let told = |seen: &Seen| {
            let Seen { to, trouble, count, last, reporter } = *seen;
            SendError { to, trouble, count, last: now.since(last), reporter }
        };
        let mut all: Vec<SendError> = self.seen.iter().map(told).collect();
        all.sort_by_key(|error| error.last);
        all
    }
}

impl super::Core {
    /// An SA ended: what was said of its datagrams while it was there is kept with that.
    pub fn keep_trouble(&self, now: Instant, event: &mut Event) {
        if let Event::Ended(tombstone) | Event::RekeyFailed(tombstone) = event {
            keep(&self.troubles, now, tombstone);
        }
    }
}

/// Adds what was said while the SA was there, if anything was.
pub(super) fn keep(troubles: &Troubles, now: Instant, tombstone: &mut Tombstone) {
    let told = troubles.of(now, tombstone.sa.remote);
    let (begun, over) = (tombstone.ended + tombstone.sa.age + SLACK, tombstone.ended);
    let near = |error: &SendError| error.last <= begun.min(over + BEFORE_END) && error.last + SLACK >= over;
    let told = told.filter(near);
    tombstone.sa.send_error = tombstone.sa.send_error.take().or(told);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troubles_are_counted_for_each_address_and_the_newest_are_kept() {
        let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
        let host = |n: u8| IpAddr::from([192, 0, 2, n]);
        let address = |n: u8| SocketAddr::new(host(n), 500);
        let mut troubles = Troubles::default();
        let refused =
            SendFailure { remote: address(1), trouble: Some(SendTrouble::PortUnreachable), reporter: Some(host(9)) };
        troubles.reported(at(1), &refused);
        troubles.reported(at(3), &refused);
        troubles.refused(at(2), address(1), &io::Error::from_raw_os_error(1)); // EPERM
        troubles.refused(at(2), address(1), &io::ErrorKind::WouldBlock.into());
        let told = |e: &SendError| (e.to, e.trouble, e.count, e.last.as_secs(), e.reporter);
        assert_eq!(
            troubles.list(at(10)).iter().map(told).collect::<Vec<_>>(),
            [
                (address(1), SendTrouble::PortUnreachable, 2, 7, Some(host(9))),
                (address(1), SendTrouble::NotPermitted, 1, 8, None),
            ]
        );
        for n in 0..200 {
            troubles.refused(at(20 + u64::from(n)), address(n), &io::Error::from_raw_os_error(1));
        }
        let all = troubles.list(at(300));
        assert_eq!((all.len(), all[0].to), (MOST, address(199)));
    }

    /// What was said of an attempt's datagrams is kept with its end; what was said before it began, or of another peer, is not.
    #[test]
    fn an_end_has_what_was_said_while_it_was_tried() {
        let mut sim = sim::Sim::new(4);
        let a = sim.add(sim::Site::new("a", "192.0.2.1").to("192.0.2.2"));
        let b = sim.add(sim::Site::new("b", "192.0.2.2").to("192.0.2.1"));
        sim.blocks.push(sim::Block { to: Some(sim.address(b)), ..sim::Block::default() });
        sim.initiate(a, b);
        sim.run_for(Duration::from_secs(300));
        let gone = sim.tombstones(a).remove(0);
        let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
        let kept = |to: &str, seconds| {
            let mut troubles = Troubles::default();
            troubles.refused(at(seconds), to.parse().unwrap(), &io::Error::from_raw_os_error(13)); // EACCES
            let mut tombstone = Tombstone { ended: Duration::ZERO, ..gone.clone() };
            keep(&troubles, at(1000), &mut tombstone);
            tombstone.sa.send_error.map(|error| error.trouble)
        };
        assert_eq!(kept("192.0.2.2:500", 990), Some(SendTrouble::NotPermitted));
        assert_eq!(kept("192.0.2.3:500", 990), None);
        assert_eq!(kept("192.0.2.2:500", 1), None);
        let mut old = Tombstone { ended: Duration::ZERO, ..gone };
        old.sa.age = Duration::from_secs(9000);
        let mut troubles = Troubles::default();
        troubles.refused(at(100), old.sa.remote, &io::Error::from_raw_os_error(13));
        keep(&troubles, at(1000), &mut old);
        assert_eq!(old.sa.send_error, None, "long before its end");
    }
}
