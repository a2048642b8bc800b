//! Both ends began at once, and now there are two IKE SAs with the same Child SAs: one of them goes.
//!
//! ```text
//! A: IKE_SA_INIT ->   <- IKE_SA_INIT :B        (after a power cut, or because both have traffic)
//!    ... two IKE SAs, each with a Child SA for the same traffic ...
//! A: INFORMATIONAL request in B's SA ->        A's SA has the lower SPIs: A asks whether B has its own
//!    <- answer
//! A: Delete of A's SA ->
//! ```
//!
//! RFC 7296 has such a rule for rekeyings that cross (section 2.8.1: the end that made the one with the lowest nonce deletes
//! it) and none for two first negotiations; both stay then, and are rekeyed for ever. The same idea holds here, by the SPIs,
//! which both ends know too: the end that began the SA with the lower ones deletes it, once the peer has shown that it has
//! the other and that one carries everything. Both tell in IKE_AUTH that they know the rule (`v2/one_of_two.rs`).
//!
//! Other implementations do not. If both SAs are there still after [`PATIENCE`], the older one goes, whoever began it, under the
//! same conditions. The older one, for the newer one's policies are in the peer's kernel: of OpenIKED's a Delete of the newer
//! one would take them away, and libreswan deletes the older one itself.

use super::Endpoint;
use crate::child::ChildSa;
use crate::ike_sa::IkeSa;
use crate::timers::Reason;
use crate::v2;
use config::Unique;
use model::{Instant, SaId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Two IKE SAs were begun at once if one was begun no later than this after the other was up: for so long a peer that uses
/// strongSwan's defaults repeats its first request.
const AT_ONCE: Duration = Duration::from_secs(165);

/// So long the peer has for deleting one of the two: longer than libreswan keeps a superfluous one (5 s).
const PATIENCE: Duration = Duration::from_secs(10);

/// The SAs that stay, each with the one that goes, and since when both are up. After a power cut every SA may be one of two.
#[derive(Default)]
pub(super) struct Twins {
    by_stays: BTreeMap<SaId, (SaId, Instant)>,
    /// The same the other way round: that goes, that stays.
    by_goes: BTreeSet<(SaId, SaId)>,
}

impl Twins {
    fn insert(&mut self, stays: SaId, goes: SaId, since: Instant) {
        self.remove(stays);
        self.by_stays.insert(stays, (goes, since));
        self.by_goes.insert((goes, stays));
    }

    fn remove(&mut self, stays: SaId) -> Option<(SaId, Instant)> {
        let (goes, since) = self.by_stays.remove(&stays)?;
        self.by_goes.remove(&(goes, stays));
        Some((goes, since))
    }

    /// Those that stay where this one goes.
    fn staying(&self, goes: SaId) -> Vec<SaId> {
        self.by_goes.range((goes, SaId(0))..=(goes, SaId(u32::MAX))).map(|(_, stays)| *stays).collect()
    }

    /// The pairs that this one is one of, by the one that stays: which stays, which goes, since when.
    fn of(&self, id: SaId) -> Vec<(SaId, SaId, Instant)> {
        let mut stays: BTreeSet<SaId> = self.staying(id).into_iter().collect();
        stays.insert(id);
        let pair = |stays: SaId| self.by_stays.get(&stays).map(|(goes, since)| (stays, *goes, *since));
        stays.into_iter().filter_map(pair).collect()
    }

    /// An SA is no more.
    fn forget(&mut self, id: SaId) {
        for (stays, ..) in self.of(id) {
            self.remove(stays);
        }
    }

    /// One that goes has this heir.
    fn hand_over(&mut self, goes: SaId, heir: SaId) {
        for stays in self.staying(goes) {
            if let Some((_, since)) = self.remove(stays) {
                self.insert(stays, heir, since);
            }
        }
    }
}

impl Endpoint {
    /// An IKE SA is up. If there is another one that was begun at the same time by the other end, and we are to delete one of
    /// them, the peer is asked whether it has the other; else it has time to delete one.
    pub(super) fn find_twin(&mut self, now: Instant, id: SaId) {
        let Some(new) = self.ikev2(id) else { return };
        let Some(peer) = new.local_id.clone().zip(new.remote_id.clone()) else { return };
        let known = self.cx.peers.with(&peer).into_iter().flatten();
        let others = known.filter(|(_, at)| at.ip() == new.remote.ip()).filter_map(|(other, _)| self.ikev2(*other));
        let spis = |sa: &v2::IkeSa| (sa.spis.initiator, sa.spis.responder);
        let goes_first = |one: &v2::IkeSa, other: &v2::IkeSa| {
            if both_know(one, other) { spis(one) < spis(other) } else { older(one, other) }
        };
        // There may be more than one, of which the peer has lost some: each has to show that it is there.
        let pairs: Vec<(SaId, SaId)> = others
            .filter(|other| are_twins(new, other))
            .map(|twin| if goes_first(new, twin) { (new, twin) } else { (twin, new) })
            .filter(|(goes, stays)| began(goes) || began(stays)) // else the peer did both, and knows what for
            .map(|(goes, stays)| (goes.id, stays.id))
            .collect();
        for (goes, stays) in pairs {
            self.twins.insert(stays, goes, now);
            self.ask_whether_it_has(now, goes, stays);
        }
    }

    /// The peer is asked whether it has the one that stays: now, or when the time is over in which it can delete the other.
    fn ask_whether_it_has(&mut self, now: Instant, goes: SaId, stays: SaId) {
        if self.ikev2(goes).zip(self.ikev2(stays)).is_some_and(|(goes, stays)| is_ours_to_delete(goes, stays)) {
            self.ask_for_twin(stays, now);
        } else if let Some((_, since)) = self.twins.by_stays.get(&stays) {
            self.cx.timers.set(stays, Reason::Twin, *since + PATIENCE);
        }
    }

    /// The peer is asked whether it has the IKE SA that stays of two.
    pub(super) fn ask_for_twin(&mut self, stays: SaId, now: Instant) {
        if self.twins.by_stays.contains_key(&stays)
            && let Some(sa) = self.sas.get_mut(&stays).and_then(IkeSa::v2)
        {
            sa.enqueue(&mut self.cx, now, v2::Task::Liveness);
        }
    }

    /// An IKE SA has had a message: if it is one of two, its twin may go now.
    pub(super) fn close_twin(&mut self, now: Instant, id: SaId) {
        for pair in self.twins.of(id) {
            self.close_one_of(now, pair);
        }
    }

    fn close_one_of(&mut self, now: Instant, (stays, goes, since): (SaId, SaId, Instant)) {
        let both = self.ikev2(stays).zip(self.ikev2(goes));
        // One that is being replaced has an heir soon, and one that ends is forgotten here too.
        let Some((heir, old)) = both.filter(|(heir, old)| stands_alone(heir) && stands_alone(old)) else { return };
        // More requests than are under way: one was answered.
        let proven = usize::try_from(heir.next_request).is_ok_and(|sent| sent > heir.pending.len());
        let due = is_ours_to_delete(old, heir) || since + PATIENCE <= now;
        if due && proven && old.pending.is_empty() && old.queue.is_empty() && carries_all_of(heir, old) {
            self.twins.remove(stays);
            self.retire(now, goes, stays);
        } else if heir.children.is_empty()
            && heir.pending.is_empty()
            && heir.queue.is_empty()
            && since + AT_ONCE <= now
            && old.children.iter().any(ChildSa::is_installed)
        {
            // What it carried was deleted and made anew under the other one: so it is that one that stays.
            self.twins.remove(stays);
            self.retire(now, stays, goes);
        }
    }

    /// The IKE SA that carries Child SAs for the same connection and peer beside this one, which has none and is asked nothing:
    /// what was left over of two that began at once, and lost its children, is not rekeyed.
    pub(super) fn carrier_beside(&self, id: SaId) -> Option<SaId> {
        let idle = |sa: &&v2::IkeSa| sa.children.is_empty() && sa.queue.is_empty() && sa.pending.is_empty();
        let left = self.ikev2(id).filter(|sa| stands_alone(sa)).filter(idle)?;
        let peer = left.local_id.clone().zip(left.remote_id.clone())?;
        let known = self.cx.peers.with(&peer).into_iter().flatten();
        let mut others = known.filter(|(other, at)| **other != id && at.ip() == left.remote.ip());
        others.find_map(|(other, _)| {
            let other = self.ikev2(*other).filter(|sa| stands_alone(sa) && sa.name() == left.name())?;
            let wanted = other.connection.as_ref().is_some_and(|c| c.unique != Unique::Never);
            (wanted && other.children.iter().any(ChildSa::is_installed)).then_some(other.id)
        })
    }

    /// Whether this is one of two, and the one that goes as soon as it can.
    pub(super) fn is_twin_that_goes(&self, id: SaId) -> bool {
        !self.twins.staying(id).is_empty()
    }

    /// A rekeying put `heir` in the place of one of the two.
    pub(super) fn twin_inherits(&mut self, now: Instant, old: SaId, heir: SaId) {
        self.twins.hand_over(old, heir);
        if let Some((goes, since)) = self.twins.remove(old)
            && self.ikev2(heir).is_some()
        {
            self.twins.insert(heir, goes, since);
            self.ask_whether_it_has(now, goes, heir);
        }
    }

    /// An SA is gone.
    pub(super) fn forget_twin(&mut self, id: SaId) {
        self.twins.forget(id);
    }

    pub(super) fn ikev2(&self, id: SaId) -> Option<&v2::IkeSa> {
        match self.sas.get(&id) {
            Some(IkeSa::V2(sa)) => Some(sa),
            _ => None,
        }
    }
}

/// Established, and no other one takes its place or is replaced by it.
fn stands_alone(sa: &v2::IkeSa) -> bool {
    sa.is_established() && !sa.is_leaving() && sa.replaces.is_none() && sa.heir().is_none() && !sa.undecided
}

/// Whether we began it: rekeying may exchange the roles, and does not change this.
fn began(sa: &v2::IkeSa) -> bool {
    sa.redirection.client
}

/// Whether the rule by the SPIs holds for the two.
fn both_know(one: &v2::IkeSa, other: &v2::IkeSa) -> bool {
    one.one_of_two.known && other.one_of_two.known
}

/// Whether it is for us to delete the one that goes, without waiting for the peer.
fn is_ours_to_delete(goes: &v2::IkeSa, stays: &v2::IkeSa) -> bool {
    both_know(goes, stays) && began(goes)
}

/// Whether the peer was done with this one before the other: with both it is when our IKE_AUTH message comes, answer or request.
fn older(one: &v2::IkeSa, other: &v2::IkeSa) -> bool {
    let sent = |sa: &v2::IkeSa| (sa.one_of_two.proof_sent, sa.id);
    sent(one) < sent(other)
}

/// Whether the two were begun at once for the same purpose: by both ends, or by one that thought the other one lost.
fn are_twins(new: &v2::IkeSa, other: &v2::IkeSa) -> bool {
    let wanted = |sa: &v2::IkeSa| sa.connection.as_ref().is_some_and(|c| c.unique != Unique::Never);
    let bare = |sa: &v2::IkeSa| sa.virtual_addresses.own.is_empty() && sa.virtual_addresses.assigned.is_empty();
    let single = |sa: &v2::IkeSa| stands_alone(sa) && wanted(sa) && bare(sa);
    let at_once = other.established.is_some_and(|up| new.created <= up + AT_ONCE);
    new.id != other.id
        && single(new)
        && single(other)
        && at_once
        && new.name() == other.name()
        && (new.local.ip(), new.remote.ip()) == (other.local.ip(), other.remote.ip())
}

/// Whether each Child SA of `old` has one in `heir` for the same traffic, and there is one at all: a child that was just deleted
/// may be about to be made anew.
fn carries_all_of(heir: &v2::IkeSa, old: &v2::IkeSa) -> bool {
    heir.children.iter().any(ChildSa::is_installed)
        && old.children.iter().filter(|child| child.is_installed()).all(|child| {
            heir.children.iter().any(|other| {
                other.is_installed()
                    && !heir.is_child_leaving(other)
                    && other.name == child.name
                    && other.local_ts == child.local_ts
                    && other.remote_ts == child.remote_ts
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pairs_are_found_from_both_ends(steps in proptest::collection::vec((0..4_u8, 0..5_u32, 0..5_u32), 0..40)) {
            let (mut twins, mut model) = (Twins::default(), BTreeMap::<SaId, (SaId, Instant)>::new());
            for (n, (what, one, other)) in steps.into_iter().enumerate() {
                let (one, other, since) = (SaId(one), SaId(other), Instant::from_nanos(n as u64));
                match what {
                    0 | 1 => {
                        twins.insert(one, other, since);
                        model.insert(one, (other, since));
                    }
                    2 => {
                        twins.forget(one);
                        model.retain(|stays, (goes, _)| *stays != one && *goes != one);
                    }
                    _ => {
                        twins.hand_over(one, other);
                        model.values_mut().filter(|(goes, _)| *goes == one).for_each(|(goes, _)| *goes = other);
                    }
                }
                prop_assert_eq!(&twins.by_stays, &model);
                let turned: BTreeSet<(SaId, SaId)> = model.iter().map(|(stays, (goes, _))| (*goes, *stays)).collect();
                prop_assert_eq!(&twins.by_goes, &turned);
                for id in (0..5).map(SaId) {
                    let all = model.iter().filter(|(stays, (goes, _))| **stays == id || *goes == id);
                    let scanned: Vec<_> = all.map(|(stays, (goes, since))| (*stays, *goes, *since)).collect();
                    prop_assert_eq!(twins.of(id), scanned);
                }
            }
        }
    }
}
