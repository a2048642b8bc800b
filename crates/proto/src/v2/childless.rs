//! Childless initiation (RFC 6023): IKE_AUTH makes the IKE SA alone, and CREATE_CHILD_SA the first Child SA, if there is to
//! be one, with a key exchange of its own.
//!
//! ```text
//! HDR, SAi1, KEi, Ni  -->
//!                     <--  HDR, SAr1, KEr, Nr, [CERTREQ,] N(CHILDLESS_IKEV2_SUPPORTED)
//! HDR, SK {IDi, [CERT,] [CERTREQ,] [IDr,] AUTH, [CP(CFG_REQUEST)]}  -->
//!                     <--  HDR, SK {IDr, [CERT,] AUTH, [CP(CFG_REPLY)]}
//! ```
//!
//! The responder decides whether that may be (section 3): it says so in IKE_SA_INIT. `childless` in the configuration says
//! what we do, in either role.

use super::child;
use super::configuration;
use super::exchange::{Task, Verdict};
use super::sa::IkeSa;
use crate::context::{Context, Effect};
use config::{Childless, Connection};
use model::{ChildState, FailureKind, Instant};
use std::sync::Arc;
use wire::grammar::RuleId;
use wire::v2::{Chain, ChainBuilder};
use wire::{NotifyType, ProtocolId};

// ---------------------------------------------------------------------------------------------------------- initiator

/// Whether IKE_AUTH is to ask for no Child SA; `chain` is the answer to IKE_SA_INIT. Notes whether the responder could.
///
/// # Errors
/// It has to be so, and the responder does not do it: section 3 forbids to try.
pub(super) fn begins(sa: &mut IkeSa, connection: &Connection, chain: &Chain<'_>) -> Result<bool, FailureKind> {
    let supported = chain.notify(NotifyType::CHILDLESS_IKEV2_SUPPORTED).is_some();
    sa.peer_does_childless = supported;
    let required = sa.children.is_empty() || connection.childless == Childless::Force;
    if required && !supported {
        return Err(FailureKind::ChildlessMismatch { ours: true });
    }
    Ok(required || (supported && connection.childless == Childless::Prefer))
}

/// The first Child SA takes its turn as the first request under the IKE SA.
pub(super) fn postpone(sa: &mut IkeSa) {
    if let Some(first) = sa.children.first() {
        sa.queue.push_front(Task::CreateChild { child: first.id });
    }
}

/// The IKE SA stands, and nothing was said of Child SAs. What was waiting for it follows.
pub(super) fn finish(sa: &mut IkeSa, cx: &mut Context, now: Instant, chain: &Chain<'_>) -> Verdict {
    if let Some(reason) = configuration::failure(sa, chain.error().map(|n| n.kind)) {
        // RFC 7296 section 3.15.4: without the address that the configuration needs the IKE SA is of no use.
        sa.queue.clear();
        sa.enqueue(cx, now, Task::DeleteIke { reason });
        return Verdict::Keep;
    }
    resolve(sa);
    if let Some(old) = sa.replaces.take() {
        cx.effects.push(Effect::Replace { old, by: sa.id });
    }
    Verdict::Keep
}

/// `dynamic` stands for the virtual addresses, which are known now.
fn resolve(sa: &mut IkeSa) {
    let (Some(connection), false) = (sa.connection.clone(), sa.wishes.is_empty()) else { return };
    let ends = sa.ends();
    for larval in sa.children.iter_mut().filter(|c| c.state == ChildState::Larval && c.trigger.is_none()) {
        if let Some(config) = child::config_of(&connection, &larval.name) {
            let known = child::configured_for(config, &ends.inner_local, &ends.inner_remote);
            (larval.local_ts, larval.remote_ts) = (known.local, known.remote);
        }
    }
}

// ---------------------------------------------------------------------------------------------------------- responder

/// Says in the answer to IKE_SA_INIT that it may be, if one of the connections that the addresses allow does it.
pub(super) fn announce(chain: &mut ChainBuilder, candidates: &[Arc<Connection>]) {
    if candidates.iter().any(|c| c.childless != Childless::Never) {
        // Section 4: the Protocol ID of this notification is 1.
        chain.notify(ProtocolId::IKE, &[], NotifyType::CHILDLESS_IKEV2_SUPPORTED, &[]);
    }
}

/// Whether a connection takes an IKE_AUTH request of this row.
///
/// # Errors
/// It is for the other kind.
pub(super) fn permits(connection: &Connection, request: RuleId) -> Result<(), FailureKind> {
    match (connection.childless, request) {
        (Childless::Never, RuleId::IkeAuthChildlessRequest) => Err(FailureKind::ChildlessMismatch { ours: false }),
        (Childless::Force, RuleId::IkeAuthRequest) => Err(FailureKind::ChildlessMismatch { ours: true }),
        _ => Ok(()),
    }
}
