//! What we send while a peer replaces a Child SA that forgets the old one at once.
//!
//! ```text
//! CREATE_CHILD_SA {N(REKEY_SA), ...}  -->
//!                                               from here on what we send by the old one waits
//!                                     <--  SA, Nr, TSi, TSr, a moment later: what was being sent has left
//! D (the old one)                     -->       the peer loads the new one and forgets the old one
//!                                     <--  D
//!                                     <--  INFORMATIONAL {}
//! INFORMATIONAL {}                    -->       it has: what waits leaves by the new one
//! ```
//!
//! RFC 7296 section 2.8 has a peer keep what it replaced until nothing comes by it any more. OpenIKED takes it away as it sends
//! the Delete, with all that is on its way, and may not have loaded the new one when we have the Delete. It does one thing after
//! the other, so when it answers our question it has.

use crate::context::{Context, NOBODY};
use crate::timers::Reason;
use model::dataplane::Command;
use model::{Instant, SaId};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// So long a packet is on its way through this host at most, on a busy processor.
const HEAD_START: Duration = Duration::from_millis(5);

/// So long a packet may take that had chosen the old Child SA when what we send moved: the kernel may let other processes run
/// before it sends it. A peer that takes the old one away at once would drop it.
pub(crate) const ON_ITS_WAY: Duration = Duration::from_millis(50);

/// The Delete comes as soon as the peer has our answer. Where that takes longer, either was lost, or the way is so long that
/// waiting would do more harm than what is lost: the old one carries on.
const AT_MOST: Duration = Duration::from_millis(200);

/// So long a peer may take to load what it made, once we have its Delete, if it does not say that it has.
const LOADS: Duration = Duration::from_millis(100);

/// How a peer that does so begins its Vendor ID (RFC 7296 section 3.12), which it sends in IKE_SA_INIT.
const VENDOR: &[u8] = b"OpenIKED-";

/// Whether a peer with these Vendor IDs forgets at once what it replaced.
pub(crate) fn forgets_at_once<'a>(mut vendor_ids: impl Iterator<Item = &'a [u8]>) -> bool {
    vendor_ids.any(|id| id.starts_with(VENDOR))
}

/// What waits.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Child SAs whose packets wait, and whether the peer has deleted them.
    children: BTreeMap<SaId, bool>,
    /// When the answer leaves that is being made.
    leaves: Option<Instant>,
    /// Answers that leave later, in order.
    answers: VecDeque<Answer>,
}

#[derive(Debug)]
struct Answer {
    at: Instant,
    local: SocketAddr,
    remote: SocketAddr,
    message: Vec<Vec<u8>>,
}

impl Context {
    /// The peer asks for a successor of this Child SA, and is about to forget it: what we send by it waits, and the answer leaves
    /// when what was being sent has.
    pub fn hold(&mut self, now: Instant, child: SaId) {
        let leaves = now + HEAD_START;
        self.held.children.insert(child, false);
        self.held.leaves = Some(leaves);
        self.plane(Command::Hold { child });
        self.timers.set(NOBODY, Reason::Held(child), leaves + AT_MOST);
    }

    /// What we send has just moved away from a Child SA that the peer takes away when it has our answer: that leaves when what was
    /// being sent has.
    pub fn answer_behind_what_is_sent(&mut self, now: Instant) {
        self.held.leaves = Some(now + ON_ITS_WAY);
    }

    /// Sends the answer to a request, at once or when it is due.
    pub fn answer(&mut self, local: SocketAddr, remote: SocketAddr, message: Vec<Vec<u8>>) {
        let Some(at) = self.held.leaves.take() else { return self.transmit_all(local, remote, message) };
        let sooner = self.held.answers.partition_point(|other| other.at <= at);
        self.held.answers.insert(sooner, Answer { at, local, remote, message });
        self.await_answers();
    }

    /// Sends the answers that are due.
    pub fn send_answers(&mut self, now: Instant) {
        while let Some(Answer { local, remote, message, .. }) = self.held.answers.pop_front_if(|next| next.at <= now) {
            self.transmit_all(local, remote, message);
        }
        self.await_answers();
    }

    fn await_answers(&mut self) {
        if let Some(at) = self.held.answers.front().map(|next| next.at) {
            self.timers.set(NOBODY, Reason::Answer, at);
        }
    }

    /// The data plane cannot keep what is sent: it moves when the peer deletes the old one.
    pub fn not_held(&mut self, child: SaId) {
        if self.held.children.get(&child) == Some(&false) {
            self.held.children.remove(&child);
            self.timers.cancel(NOBODY, Reason::Held(child));
        }
    }

    /// Whether what is sent by this Child SA waits.
    pub fn holds(&self, child: SaId) -> bool {
        self.held.children.contains_key(&child)
    }

    /// The peer has deleted a Child SA. True if what we send waits: then it moves when the peer has loaded the new one.
    pub(super) fn moves_later(&mut self, now: Instant, child: SaId) -> bool {
        let Some(deleted) = self.held.children.get_mut(&child) else { return false };
        *deleted = true;
        self.timers.set(NOBODY, Reason::Held(child), now + LOADS);
        true
    }

    /// The peer has loaded the successor, or the time is over in which it deletes this one, or loads that.
    pub fn held_long_enough(&mut self, now: Instant, child: SaId) {
        self.timers.cancel(NOBODY, Reason::Held(child));
        match self.held.children.remove(&child) {
            Some(true) => self.retire(now, child, false),
            Some(false) => self.plane(Command::Release { child }),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_by_its_vendor_id() {
        let other = b"strongSwan".as_slice();
        assert!(forgets_at_once([other, b"OpenIKED-7.2".as_slice()].into_iter()));
        assert!(!forgets_at_once([other, b"OpenIKED".as_slice()].into_iter()));
    }
}
