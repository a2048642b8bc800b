//! The Delete of an IKE SA that an operator ended by force while the peer had still to answer.
//!
//! RFC 7296 section 2.3 has no room for another request before the oldest one is answered, and a closed IKE SA has no keys (ADR
//! 010). So the Delete is made before these go, and leaves when the answer comes, or when the time for that is over.

use super::exchange::{Task, count_out};
use super::fragments::Sealed;
use super::sa::IkeSa;
use crate::context::Context;
use wire::v2::ChainBuilder;
use wire::{ExchangeType, Header};

/// A Delete that waits for its turn.
pub(super) struct Farewell {
    /// The message ID of the request whose answer makes room for it.
    after: u32,
    header: Header,
    datagrams: Vec<Vec<u8>>,
}

/// The IKE SA is about to be closed: makes the Delete that is queued.
pub(crate) fn prepare(sa: &mut IkeSa, cx: &mut Context) {
    let queued = sa.queue.iter().any(|task| matches!(task, Task::DeleteIke { .. }));
    let Some(after) = sa.pending.first().map(|oldest| oldest.message_id).filter(|_| queued) else { return };
    let header = sa.header(ExchangeType::INFORMATIONAL, sa.next_request, false);
    let mut chain = ChainBuilder::new();
    chain.delete_ike();
    sa.farewell = sa.seal(cx, header, chain).map(|Sealed { datagrams, .. }| Farewell { after, header, datagrams });
}

/// An answer to this request came to a closed IKE SA. Without keys nobody knows whether it is the peer's: at worst the Delete is
/// too early, and the peer drops it.
pub(super) fn answered(sa: &mut IkeSa, cx: &mut Context, message_id: u32) -> bool {
    let its = sa.farewell.as_ref().is_some_and(|farewell| farewell.after == message_id);
    if its {
        send(sa, cx);
    }
    its
}

/// Sends it, if there is one.
pub(crate) fn send(sa: &mut IkeSa, cx: &mut Context) {
    let Some(Farewell { header, datagrams, .. }) = sa.farewell.take() else { return };
    count_out(cx, &header);
    sa.datagrams_out += 1;
    sa.last_word = Some(header.message_id);
    cx.transmit_all(sa.local, sa.remote, datagrams);
}
