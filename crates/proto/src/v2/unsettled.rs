//! What crossed, with a peer that does not do its part afterwards.
//!
//! RFC 7296 sections 2.8.1 and 2.8.2 say which of two SAs goes that both ends made in place of the same one, and who deletes
//! it. Not everybody does: libreswan 4.10 keeps both Child SAs; of two IKE SAs it keeps the Child SAs under the one that
//! answered last, so that they go with that one when its maker deletes it; and an answer that comes while it makes one of its
//! own is lost to it for good. What it sends with is then not what we have, or the other way round, and nobody would notice.
//!
//! ```text
//! Child SA, ours won     the peer has not deleted its own: ours is replaced, and then all older ones go by our hand
//! IKE SA, ours lost      CREATE_CHILD_SA {N(REKEY_SA)} under the peer's -> N(CHILD_SA_NOT_FOUND): made anew (section 2.25);
//!                        only then ours goes
//! IKE SA, ours won       the peer's goes by our hand
//! a request that is repeated although it was answered, and ours was too: a new IKE SA takes the place of this one
//! ```
//!
//! Nothing is deleted before there is something newer that the peer has: libreswan's kernel has the policies of its newest
//! Child SA only. Two of us know that both keep to the rule (`one_of_two`), and none of this happens.

use super::exchange::Task;
use super::sa::IkeSa;
use crate::context::{Context, Effect};
use crate::timers::Reason;
use model::{ChildState, FailureKind, Instant, SaId};
use std::time::Duration;

/// So long a peer has for deleting what it is to delete: some repetitions of its request.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// So long the IKE SA of ours that is to go stays beside the peer's: the Child SAs are replaced in that time.
pub(crate) const STAYS: Duration = Duration::from_secs(5);

/// A request that comes so often again is not one whose answers are lost.
const REPEATS: u32 = 4;

/// Whether the peer may not keep to the rules for what crosses.
pub(crate) fn doubtful(sa: &IkeSa) -> bool {
    !sa.one_of_two.known
}

/// Both ends replaced a Child SA, and the peer is to delete the one that it made.
pub(super) fn peer_is_to_delete(sa: &IkeSa, cx: &mut Context, now: Instant, made: SaId) {
    let due = now + PATIENCE;
    let sooner = cx.timers.deadline(sa.id, Reason::ChildLifetime(made)).is_some_and(|at| at < due);
    if doubtful(sa) && !sooner {
        cx.timers.set(sa.id, Reason::ChildLifetime(made), due);
    }
}

/// It has not: first the one that stays is replaced, so that the peer sends by a newer one than this.
pub(super) fn not_deleted(sa: &mut IkeSa, cx: &mut Context, now: Instant, left: SaId) {
    let Some(by) = sa.children.iter().find(|c| c.id == left).and_then(|c| c.replaced_by) else { return };
    if sa.children.iter().any(|c| c.id == by && matches!(c.state, ChildState::Installed | ChildState::Rekeying)) {
        sa.log(
            cx,
            "IKE",
            1,
            format!("the peer has not deleted the Child SA {{{}}} that it made at once with ours", left.0),
        );
        peer_is_to_delete(sa, cx, now, left);
        sa.enqueue(cx, now, Task::RekeyChild { child: by });
    } else {
        delete(sa, cx, now, left, by);
    }
}

/// A Child SA of ours has a successor: what the peer left beside it goes too.
pub(super) fn succeeded(sa: &mut IkeSa, cx: &mut Context, now: Instant, old: SaId) {
    let left = |c: &&super::child::ChildSa| c.state == ChildState::Rekeyed && c.replaced_by == Some(old) && c.id != old;
    let left: Vec<SaId> = sa.children.iter().filter(left).filter(|_| doubtful(sa)).map(|c| c.id).collect();
    left.into_iter().for_each(|child| delete(sa, cx, now, child, old));
}

fn delete(sa: &mut IkeSa, cx: &mut Context, now: Instant, child: SaId, by: SaId) {
    if let Some(spi) = sa.children.iter().find(|c| c.id == child).map(|c| c.spi_in) {
        sa.enqueue(cx, now, Task::DeleteChild { spi, reason: FailureKind::Replaced { by } });
    }
}

/// Both ends replaced the IKE SA, and this one of the peer's has the Child SAs: whether it has them there too shows when they are
/// replaced.
pub(crate) fn prove_children(sa: &mut IkeSa, cx: &mut Context, now: Instant) {
    let live = sa.children.iter().filter(|c| c.state == ChildState::Installed && !sa.is_child_leaving(c));
    let live: Vec<SaId> = live.filter(|_| doubtful(sa)).map(|c| c.id).collect();
    for child in live {
        sa.enqueue(cx, now, Task::RekeyChild { child });
    }
}

/// A request of the peer came while one of ours for an SA was under way.
pub(super) fn note_crossing(sa: &mut IkeSa, message_id: u32) {
    if sa.pending.creating().next().is_some() {
        sa.crossed = Some(message_id);
    }
}

/// The peer repeats a request that was answered. Where one of ours crossed it, and that one was answered, the way is not what
/// fails: the peer cannot take our answer, and never will under this IKE SA.
pub(super) fn repeated(sa: &mut IkeSa, cx: &mut Context, message_id: u32) {
    let answered = sa.pending.creating().next().is_none() && sa.heir().is_none();
    if sa.crossed != Some(message_id) || !answered || !doubtful(sa) || sa.replies.repeats(message_id) < REPEATS {
        return;
    }
    let Some(child) = sa.children.iter().find(|c| c.is_installed()).map(|c| c.name.clone()) else { return };
    sa.crossed = None; // once is enough
    sa.log(cx, "IKE", 1, "the peer does not take our answer, under a new IKE SA it may".to_string());
    cx.effects.push(Effect::Renew { old: sa.id, child });
}
