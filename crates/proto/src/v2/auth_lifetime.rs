//! Repeated authentication (RFC 4478): the original responder says how long its peer counts as authenticated, in the answer to
//! IKE_AUTH, or at any time:
//!
//! ```text
//!                                  <--  HDR, SK {IDr, [CERT,] AUTH, SAr2, TSi, TSr, N(AUTH_LIFETIME)}
//!
//!                                  <--  HDR, SK {N(AUTH_LIFETIME)}
//! HDR, SK {}                       -->
//! ```

use super::exchange::Task;
use super::sa::{IkeSa, over_time};
use crate::context::Context;
use model::{FailureKind, Identity, Instant};
use std::collections::BTreeSet;
use std::time::Duration;
use wire::v2::{Chain, ChainBuilder};
use wire::{NotifyType, ProtocolId};

/// The least age at which we authenticate anew because the peer says so: each new IKE SA may say so again.
const LEAST_LIFETIME: Duration = Duration::from_secs(10);

/// What a peer is given to authenticate anew "immediately" (RFC 4478 section 2).
const REASONABLE: Duration = Duration::from_secs(60);

/// Whoever deletes its IKE SA within this time of hearing how long it may last has begun anew at once.
const HASTE: Duration = Duration::from_secs(10);

/// So many peers that begin anew at once are remembered.
const MOST_HASTY: usize = 4096;

/// Peers that authenticate anew as soon as they hear when they must. charon does if what is left is shorter than its own
/// `over_time` (24 minutes if nothing is configured); told so again in IKE_AUTH it would never stop. They are told when it is time.
#[derive(Debug, Default)]
pub(crate) struct Hasty(BTreeSet<(Identity, Identity)>);

impl Hasty {
    fn has(&self, sa: &IkeSa) -> bool {
        sa.local_id.clone().zip(sa.remote_id.clone()).is_some_and(|key| self.0.contains(&key))
    }

    fn add(&mut self, sa: &IkeSa) {
        let Some(key) = sa.local_id.clone().zip(sa.remote_id.clone()) else { return };
        if self.0.len() >= MOST_HASTY && !self.0.contains(&key) {
            self.0.pop_first();
        }
        self.0.insert(key);
    }
}

// ---------------------------------------------------------------------------------------------------------- responder

/// RFC 4478 section 1: the initiator hears when the responder wants it to have authenticated anew, where only the initiator
/// can begin that. Elsewhere it would begin at once if that time is short to it, and again and again.
pub(super) fn tell(sa: &mut IkeSa, cx: &mut Context, now: Instant, reply: &mut ChainBuilder) {
    if sa.can_begin_anew() {
        return;
    }
    let over = sa.connection.as_ref().map_or(Duration::ZERO, |c| over_time(c));
    let left = sa.reauth_end.map(|end| end.since(now).saturating_sub(over)).filter(|left| !left.is_zero());
    let Some(left) = left else { return };
    if !cx.hasty.has(sa) {
        return write(left, reply);
    }
    // With some time left to do it in, should the margin be short.
    let margin = REASONABLE.saturating_sub(over).min(left / 2);
    sa.tell_at = Some(now + left.saturating_sub(margin));
    sa.arm_lifetime(cx);
    let seconds = left.saturating_sub(margin).as_secs();
    sa.log(cx, "IKE", 1, format!("the peer authenticates anew as soon as it hears when it must: told in {seconds}s"));
}

/// The time has come to tell a hasty peer: zero is at once (section 2).
pub(crate) fn tell_now(sa: &mut IkeSa, cx: &mut Context, now: Instant) {
    sa.tell_at = None;
    sa.enqueue(cx, now, Task::TellLifetime { end: now });
}

/// An IKE SA ends: remembers a peer that deletes it as soon as it has heard how long it may last.
pub(crate) fn note_end(sa: &IkeSa, cx: &mut Context, now: Instant, kind: &FailureKind) {
    let short = sa.established.is_some_and(|at| now.since(at) <= HASTE);
    let told = sa.reauth_end.is_some() && sa.tell_at.is_none() && !sa.can_begin_anew();
    // Rekeying it soon is no haste.
    if short
        && told
        && sa.replaced_by.is_none()
        && matches!(kind, FailureKind::PeerDeleted | FailureKind::Replaced { .. })
    {
        cx.hasty.add(sa);
    }
}

/// The notification (section 3).
fn write(left: Duration, chain: &mut ChainBuilder) {
    if let Ok(seconds) = u32::try_from(left.as_secs()) {
        chain.notify(ProtocolId::NONE, &[], NotifyType::AUTH_LIFETIME, &seconds.to_be_bytes());
    }
}

/// Has the peer, who alone can, authenticate anew within this time: zero is at once. Should it not, the IKE SA ends (section 2).
/// False if that is sooner the case already.
pub(crate) fn require(sa: &mut IkeSa, cx: &mut Context, now: Instant, within: Duration) -> bool {
    let over = sa.connection.as_ref().map_or(Duration::ZERO, |c| c.over_time);
    let end = now + within.max(REASONABLE) + over.min(REASONABLE);
    if sa.can_begin_anew() || !sa.is_established() || sa.reauth_end.is_some_and(|before| before <= end) {
        return false;
    }
    (sa.reauth_end, sa.tell_at) = (Some(end), None);
    sa.expires = sa.expires.into_iter().chain(sa.reauth_end).min();
    sa.arm_lifetime(cx);
    sa.queue.retain(|task| !matches!(task, Task::TellLifetime { .. }));
    sa.enqueue(cx, now, Task::TellLifetime { end: now + within });
    true
}

/// The request.
pub(super) fn ask(sa: &IkeSa, cx: &mut Context, now: Instant, end: Instant, chain: &mut ChainBuilder) {
    let left = end.since(now);
    sa.log(cx, "IKE", 1, format!("the peer is to authenticate anew in {}s", left.as_secs()));
    write(left, chain);
}

// ---------------------------------------------------------------------------------------------------------- initiator

/// RFC 4478 section 3: the responder says so in seconds, and we authenticate anew before. The earliest of several times
/// holds. Zero is at once, in an INFORMATIONAL exchange (section 2).
pub(super) fn note(sa: &mut IkeSa, cx: &mut Context, now: Instant, chain: &Chain<'_>, alone: bool) {
    let data = chain.notify(NotifyType::AUTH_LIFETIME).and_then(|n| n.data.first_chunk::<4>());
    let Some(lifetime) = data.map(|octets| Duration::from_secs(u32::from_be_bytes(*octets).into())) else { return };
    let over = sa.connection.as_ref().map(|c| c.over_time);
    let Some(over) = over.filter(|_| (alone || !lifetime.is_zero()) && sa.can_begin_anew()) else { return };
    // Early enough to have the new one before the responder ends this one.
    let least = sa.established.map_or(LEAST_LIFETIME, |at| LEAST_LIFETIME.saturating_sub(now.since(at)));
    let after = (lifetime - over.clamp(lifetime / 10, lifetime / 2)).max(least);
    let (at, end) = (now + after, now + after.max(lifetime) + over.max(LEAST_LIFETIME));
    sa.reauth_at = Some(sa.reauth_at.map_or(at, |ours| ours.min(at)));
    sa.reauth_end = Some(sa.reauth_end.map_or(end, |ours| ours.min(end)));
    sa.expires = sa.expires.into_iter().chain(sa.reauth_end).min();
    sa.arm_lifetime(cx);
    let (told, left) = (lifetime.as_secs(), sa.reauth_at.map_or(0, |at| at.since(now).as_secs()));
    sa.log(cx, "IKE", 1, format!("received AUTH_LIFETIME of {told}s, authenticating anew in {left}s"));
}
