//! Every timer has a name and an owner.

use model::{Instant, SaId};
use std::collections::{BTreeMap, BTreeSet};

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The request under way was not answered.
    Retransmit,
    /// The initiator has not gone on.
    HalfOpen,
    /// Nothing was heard from the peer for a while: is it alive? (RFC 7296 section 2.4)
    Liveness,
    /// The NAT mapping needs a packet (RFC 3948 section 4).
    Keepalive,
    /// The IKE SA's lifetime ends.
    IkeLifetime,
    /// An answer in the exchange with this message ID did not come (IKEv1).
    Exchange(u32),
    /// The peer had time to read the end of one quick mode: the next may begin (IKEv1).
    NextQuickMode,
    /// Does a Child SA still carry packets? (`inactivity`)
    Idle(SaId),
    /// The peer had time to delete the one of two IKE SAs begun at once that it began.
    Twin,
    /// A Child SA's lifetime ends.
    ChildLifetime(SaId),
    /// What is still on its way by a Child SA that was replaced has come. Nobody's, for its IKE SA may be gone before.
    Retired(SaId),
    /// A peer that replaces a Child SA has not deleted the old one, or has had the time to load the new one. Nobody's too.
    Held(SaId),
    /// An answer leaves that was to wait for a moment. Nobody's too.
    Answer,
    /// What was refused is begun again. Behind all others: the end of an SA does not cancel it.
    Again,
}

/// The timers of all SAs.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    deadlines: BTreeMap<(SaId, Reason), Instant>,
    queue: BTreeSet<(Instant, SaId, Reason)>,
}

impl Timers {
    /// Sets a timer, replacing the one of the same owner and reason.
    pub fn set(&mut self, sa: SaId, reason: Reason, at: Instant) {
        if let Some(old) = self.deadlines.insert((sa, reason), at) {
            self.queue.remove(&(old, sa, reason));
        }
        self.queue.insert((at, sa, reason));
    }

    pub fn cancel(&mut self, sa: SaId, reason: Reason) {
        if let Some(old) = self.deadlines.remove(&(sa, reason)) {
            self.queue.remove(&(old, sa, reason));
        }
    }

    /// Forgets every timer of an SA.
    pub fn cancel_all(&mut self, sa: SaId) {
        let range = (sa, Reason::Retransmit)..=(sa, Reason::ChildLifetime(SaId(u32::MAX)));
        let reasons: Vec<Reason> = self.deadlines.range(range).map(|((_, reason), _)| *reason).collect();
        for reason in reasons {
            self.cancel(sa, reason);
        }
    }

    pub fn next(&self) -> Option<(Instant, Reason)> {
        self.queue.first().map(|(at, _, reason)| (*at, *reason))
    }

    pub fn deadline(&self, sa: SaId, reason: Reason) -> Option<Instant> {
        self.deadlines.get(&(sa, reason)).copied()
    }

    /// Takes the earliest timer that is due.
    pub fn pop_due(&mut self, now: Instant) -> Option<(SaId, Reason)> {
        let (at, sa, reason) = *self.queue.first()?;
        if at > now {
            return None;
        }
        self.cancel(sa, reason);
        Some((sa, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fire_in_order_and_can_be_replaced() {
        let (mut timers, at) = (Timers::default(), Instant::from_nanos);
        timers.set(SaId(1), Reason::HalfOpen, at(30));
        timers.set(SaId(1), Reason::Retransmit, at(10));
        timers.set(SaId(2), Reason::ChildLifetime(SaId(7)), at(5));
        timers.set(SaId(1), Reason::Retransmit, at(20));
        assert_eq!(timers.next(), Some((at(5), Reason::ChildLifetime(SaId(7)))));
        assert_eq!(timers.pop_due(at(4)), None);
        assert_eq!(timers.pop_due(at(20)), Some((SaId(2), Reason::ChildLifetime(SaId(7)))));
        assert_eq!(timers.pop_due(at(20)), Some((SaId(1), Reason::Retransmit)));
        assert_eq!(timers.pop_due(at(20)), None);
        timers.cancel_all(SaId(1));
        assert_eq!(timers.next(), None);
    }
}
