//! A Child SA that came to nothing under an IKE SA that stays is asked for again later, if the configuration wants it to be
//! there or packets do: one refusal is not the last word, as with whole IKE SAs (`endpoint/again.rs`). What an operator begins
//! is answered with the failure and not repeated.

use super::child::{self, ChildSa, Selectors};
use super::exchange::Task;
use super::sa::IkeSa;
use crate::backoff::after_refusal;
use crate::context::Context;
use crate::timers::Reason;
use model::{ChildState, Instant, SaId, Tombstone, TrafficSelector};

/// What a placeholder was for.
pub(super) struct Wish {
    name: String,
    selectors: Selectors,
    trigger: Option<(TrafficSelector, TrafficSelector)>,
    refused: u32,
}

/// The wish of a placeholder that is about to go, if it is to be repeated.
pub(super) fn wish(larval: &ChildSa) -> Option<Wish> {
    let selectors = Selectors { local: larval.local_ts.clone(), remote: larval.remote_ts.clone() };
    let (name, trigger, refused) = (larval.name.clone(), larval.trigger, larval.refused);
    (!larval.once).then_some(Wish { name, selectors, trigger, refused })
}

/// Makes a placeholder for a wish, whose turn comes in a while. Where another Child SA of the name is up a packet's is not
/// repeated: the next packet asks.
pub(super) fn ask_later(sa: &mut IkeSa, cx: &mut Context, now: Instant, wish: Wish) {
    let Wish { name, selectors, trigger, refused } = wish;
    let others = sa.children.iter().any(|c| c.name == name && c.state != ChildState::Deleting);
    if sa.is_leaving() || (others && trigger.is_some()) {
        return;
    }
    let Some(config) = sa.connection.clone().and_then(|c| child::config_of(&c, &name).cloned()) else { return };
    let mut larval = ChildSa::larval(cx, &config, selectors);
    (larval.trigger, larval.refused) = (trigger, refused.saturating_add(1));
    let pause = after_refusal(refused, u32::from_be_bytes(cx.random()));
    cx.timers.set(sa.id, Reason::ChildLifetime(larval.id), now + pause);
    sa.children.push(larval);
    sa.log(cx, "IKE", 1, format!("asking for CHILD_SA {name} again in {} s", pause.as_secs()));
}

/// Whether this is a placeholder that waits for its turn after a refusal.
pub(super) fn waits(sa: &IkeSa, cx: &Context, child: &ChildSa) -> bool {
    let due = cx.timers.deadline(sa.id, Reason::ChildLifetime(child.id));
    child.refused > 0 && child.state == ChildState::Larval && due.is_some()
}

/// Somebody wants it now: it does not wait any longer.
pub(crate) fn ask_now(sa: &mut IkeSa, cx: &mut Context, now: Instant, name: &str) {
    let waiting: Vec<SaId> = sa.children.iter().filter(|c| c.name == name && waits(sa, cx, c)).map(|c| c.id).collect();
    for child in waiting {
        cx.timers.cancel(sa.id, Reason::ChildLifetime(child));
        sa.enqueue(cx, now, Task::CreateChild { child });
    }
}

/// When a rekeying that failed is tried again: of the Child SA of this name, or of the IKE SA.
fn rekeyed(sa: &IkeSa, cx: &Context, child: Option<&str>) -> Option<Instant> {
    let Some(name) = child else { return sa.rekey_at };
    let up = sa.children.iter().filter(|c| c.name == name && c.state == ChildState::Installed);
    let due = up.filter_map(|c| Some((cx.timers.deadline(sa.id, Reason::ChildLifetime(c.id))?, c.expires)));
    due.filter(|(at, expires)| Some(*at) != *expires).map(|(at, _)| at).min()
}

/// When that is tried again which this is about: a child that is asked for, or a rekeying.
pub(crate) fn due(sa: &IkeSa, cx: &Context, about: &Tombstone) -> Option<Instant> {
    if about.rekeying.is_some() {
        return rekeyed(sa, cx, about.child.as_deref()).filter(|_| sa.is_established());
    }
    let name = about.child.as_deref()?;
    let of_name = sa.children.iter().filter(|c| c.name == name && waits(sa, cx, c));
    of_name.filter_map(|c| cx.timers.deadline(sa.id, Reason::ChildLifetime(c.id))).min()
}
