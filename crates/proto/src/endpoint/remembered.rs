//! What is remembered of SAs that ended, and of rekeyings that failed: so many of them.

use super::Endpoint;
use crate::ike_sa::IkeSa;
use crate::timers::Reason;
use crate::v2;
use model::{DropReason, FailureKind, Instant, Role, SaId, Tombstone};
use std::collections::BTreeSet;

impl Endpoint {
    /// SAs that ended, the latest first.
    pub fn tombstones(&self, now: Instant) -> Vec<Tombstone> {
        let again_in = |t: &Tombstone| match (self.sas.get(&t.sa.id), t.child.is_some() || t.rekeying.is_some()) {
            (_, false) => self.cx.timers.deadline(t.sa.id, Reason::Again),
            (Some(IkeSa::V2(sa)), true) => v2::due(sa, &self.cx, t),
            _ => None,
        };
        // Of a child that is refused again and again the latest says when it is asked for.
        let mut told: BTreeSet<(SaId, &Option<String>)> = BTreeSet::new();
        let with_age = |t: &'_ Tombstone| {
            let again_in = again_in(t).map(|at| at.since(now));
            Tombstone { ended: now.since(t.at), again_in, ..t.clone() }
        };
        let latest = |t: &Tombstone, first: bool| Tombstone { again_in: t.again_in.filter(|_| first), ..t.clone() };
        let all = self.tombstones.iter().rev();
        all.map(|t| latest(&with_age(t), t.child.is_none() || told.insert((t.sa.id, &t.child)))).collect()
    }

    /// Whoever has keys can have SAs end as fast as it makes them: those that are over take no more than their share of memory.
    pub(super) fn forget_oldest(&mut self) {
        while let Some(oldest) = self.closed.front().copied() {
            let there = self.sas.get(&oldest).is_some_and(IkeSa::is_closed);
            if there && self.closed.len() <= self.cx.settings.closed.max(1) {
                return;
            }
            self.closed.pop_front();
            if there {
                self.forget(oldest);
            }
        }
    }

    /// Remembers why an SA ended. Strangers' first messages share one place per address and reason, so that a flood of
    /// them cannot wash out what matters.
    pub(super) fn bury(&mut self, tombstone: Tombstone) {
        if matches!(tombstone.failure.kind, FailureKind::TooManyOfPeer { .. }) {
            self.cx.dropped(DropReason::IkeSaLimitPeer, tombstone.sa.remote);
        }
        if tombstone.rekeying.is_some() {
            // It is tried again every few seconds, for as long as the SA lives.
            let about = |t: &Tombstone| (t.rekeying, t.sa.id, t.child.clone(), t.failure.kind.code());
            self.tombstones.retain(|t| about(t) != about(&tombstone));
        }
        if tombstone.sa.established.is_none() && tombstone.sa.role == Role::Responder {
            let same = |t: &Tombstone| {
                t.sa.established.is_none()
                    && t.sa.remote.ip() == tombstone.sa.remote.ip()
                    && t.failure.kind.code() == tombstone.failure.kind.code()
            };
            self.tombstones.retain(|t| !same(t));
        }
        if self.tombstones.len() >= self.cx.settings.tombstones.max(1) {
            let stranger = |t: &Tombstone| t.sa.established.is_none() && t.sa.role == Role::Responder;
            let victim = self.tombstones.iter().position(stranger).unwrap_or(0);
            self.tombstones.remove(victim);
        }
        self.tombstones.push_back(tombstone);
    }
}
