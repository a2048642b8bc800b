//! Quick modes of ours: one after the other under each ISAKMP SA.

use super::{QuickMode, Step, offer, retire};
use crate::child::{self, Selectors};
use crate::context::Context;
use crate::timers::Reason;
use crate::v1::sa::IsakmpSa;
use model::{Instant, SaId};
use std::time::Duration;

/// How long after message 3 of one quick mode message 1 of the next leaves. Nothing answers message 3. strongSwan reads both at
/// once where they come close together; if the second is refused before the first is read, it forgets the quick mode that the
/// first was to end.
const AFTER_MESSAGE_3: Duration = Duration::from_millis(50);

/// A quick mode of ours that waits until the one under way is over: strongSwan forgets what it has half done when another
/// one comes, and a refusal without an SPI (RFC 2408 section 3.14), which does not say what it is of, is of this one.
pub(in crate::v1) struct Queued {
    child: SaId,
    /// The Child SA whose successor this is to be.
    pub rekeys: Option<SaId>,
}

/// Begins phase 2 for a Child SA that is not there yet, at once or when the quick modes before it are over.
pub(super) fn enqueue(sa: &mut IsakmpSa, cx: &mut Context, now: Instant, child: SaId, rekeys: Option<SaId>) {
    let begun = |q: &QuickMode| matches!(&q.step, Step::Sent(offer) if offer.child == child);
    if sa.queued.iter().any(|q| q.child == child) || sa.quick_modes.values().any(begun) {
        return;
    }
    sa.queued.push_back(Queued { child, rekeys });
    next(sa, cx, now);
}

/// Message 3 leaves: what is queued waits for a moment.
pub(super) fn wait(sa: &mut IsakmpSa, now: Instant) {
    sa.next_quick_mode = Some(now + AFTER_MESSAGE_3);
}

/// One quick mode of ours after the other.
pub(crate) fn next(sa: &mut IsakmpSa, cx: &mut Context, now: Instant) {
    if let Some(at) = sa.next_quick_mode.filter(|at| *at > now && !sa.queued.is_empty()) {
        return cx.timers.set(sa.id, Reason::NextQuickMode, at);
    }
    while !sa.quick_modes.values().any(QuickMode::is_ours) {
        let Some(Queued { child, rekeys }) = sa.queued.pop_front() else { return };
        let connection = sa.connection.clone();
        // What was ended meanwhile is not begun any more.
        let Some(larval) = sa.children.iter().find(|c| c.id == child && !c.is_installed()) else { continue };
        let selectors = Selectors { local: larval.local_ts.clone(), remote: larval.remote_ts.clone() };
        let Some(config) = connection.as_ref().and_then(|c| child::config_of(c, &larval.name)) else { continue };
        offer(sa, cx, now, config, child, &selectors, rekeys);
    }
}

/// Another ISAKMP SA takes over: ours that are not done are not gone on with. Returns the names of the children that were to
/// be made by them and are no successors.
pub(in crate::v1) fn abandon(sa: &mut IsakmpSa, cx: &mut Context) -> Vec<String> {
    let ours: Vec<u32> = sa.quick_modes.iter().filter(|(_, q)| q.is_ours()).map(|(id, _)| *id).collect();
    let mut begun: Vec<(SaId, Option<SaId>)> = sa.queued.drain(..).map(|q| (q.child, q.rekeys)).collect();
    for id in ours {
        cx.timers.cancel(sa.id, Reason::Exchange(id));
        if let Some(QuickMode { step: Step::Sent(offer), .. }) = sa.quick_modes.remove(&id) {
            begun.push((offer.child, offer.rekeys));
        }
        retire(sa, id);
    }
    let mut wanted = Vec::new();
    for (child, rekeys) in begun {
        if let Some(position) = sa.children.iter().position(|c| c.id == child && !c.is_installed()) {
            let larval = sa.children.remove(position);
            wanted.extend(rekeys.is_none().then_some(larval.name));
        }
    }
    wanted
}
