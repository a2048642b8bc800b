//! The peer's requests and our answers to them: what is new, what is a repetition, and what is kept for it.
//!
//! RFC 7296 section 2.3: until it is told otherwise a peer has one request under way. Whoever announces more with
//! SET_WINDOW_SIZE takes them in any order, and keeps as many answers.

use super::exchange::Verdict;
use super::fragments::{Divisible, Reassembly, SMALLER_AFTER};
use super::sa::IkeSa;
use crate::context::Context;
use model::DropReason;
use std::collections::BTreeMap;
use wire::v2::{Chain, ChainBuilder};
use wire::{NotifyType, ProtocolId};

/// How many octets of a request identify it.
const FINGERPRINT: usize = 16;

/// One request is answered again at most this often: a peer's own limit is far below.
const MAX_REPEATS: u32 = 64;

/// The largest window that can be announced.
pub(crate) const MAX_WINDOW: u32 = 64;

/// The end of a message, which covers its checksum: a repetition is the same to the last octet.
pub(super) fn fingerprint(message: &[u8]) -> &[u8] {
    message.get(message.len().saturating_sub(FINGERPRINT)..).unwrap_or(message)
}

/// A request and what we answered.
struct Answered {
    request: Vec<u8>,
    reply: Vec<Vec<u8>>,
    /// What the reply is made of, if it may have to be divided into smaller fragments.
    whole: Option<Box<Divisible>>,
    repeated: u32,
}

/// What the peer's last requests were and what we answered.
pub(crate) struct Replies {
    /// Message ID of the next request: all before it have come.
    next: u32,
    /// How many requests the peer may have under way.
    window: u32,
    /// By message ID: as many as the peer may repeat, and those that came early.
    answered: BTreeMap<u32, Answered>,
    /// Requests of which not all fragments are here, not more than the window has.
    partial: BTreeMap<u32, Reassembly>,
}

impl Default for Replies {
    fn default() -> Self {
        Self { next: 0, window: 1, answered: BTreeMap::new(), partial: BTreeMap::new() }
    }
}

impl Replies {
    /// The peer has been told that it may have so many requests under way. There is no way back (section 2.3).
    pub fn widen(&mut self, window: u32) {
        self.window = self.window.max(window.min(MAX_WINDOW));
    }

    /// Whether a request with this message ID would be a new one within the window.
    pub fn accepts(&self, message_id: u32) -> bool {
        message_id.checked_sub(self.next).is_some_and(|ahead| ahead < self.window) && !self.is_answered(message_id)
    }

    /// Whether a request with this message ID was answered, and the answer is kept.
    pub fn is_answered(&self, message_id: u32) -> bool {
        self.answered.contains_key(&message_id)
    }

    /// Keeps the answer to a request.
    pub fn remember(&mut self, message_id: u32, request: &[u8], reply: &[Vec<u8>], whole: Option<Box<Divisible>>) {
        let (request, reply) = (fingerprint(request).to_vec(), reply.to_vec());
        let answered = Answered { request, reply, whole, repeated: 0 };
        self.answered.insert(message_id, answered);
        self.partial.remove(&message_id);
        // The last message ID is never left behind: an IKE SA ends long before (RFC 7296 section 2.2).
        while self.answered.contains_key(&self.next) && self.next < u32::MAX {
            self.next += 1;
        }
        // The peer has an answer to whatever is further back than its window reaches.
        let oldest = self.next.saturating_sub(self.window);
        self.answered = self.answered.split_off(&oldest);
        self.partial = self.partial.split_off(&self.next);
    }

    /// The answer to give again to the same request.
    pub fn repeat(&mut self, message_id: u32, request: &[u8]) -> Result<Vec<Vec<u8>>, DropReason> {
        let same = |answered: &Answered| answered.request == fingerprint(request);
        if !self.answered.get(&message_id).is_some_and(same) {
            return Err(DropReason::UnexpectedMessageId);
        }
        self.again(message_id)
    }

    /// The answer to give again to a request that is known to be that one.
    pub fn again(&mut self, message_id: u32) -> Result<Vec<Vec<u8>>, DropReason> {
        let answered = self.answered.get_mut(&message_id).filter(|a| !a.reply.is_empty());
        let answered = answered.ok_or(DropReason::UnexpectedMessageId)?;
        if answered.repeated >= MAX_REPEATS {
            return Err(DropReason::RepeatLimit);
        }
        answered.repeated += 1;
        Ok(answered.reply.clone())
    }

    /// What an answer is made of that was given so often that its datagrams may be too long for the path.
    pub fn take_divisible(&mut self, message_id: u32) -> Option<Box<Divisible>> {
        let answered = self.answered.get_mut(&message_id)?;
        if answered.repeated < SMALLER_AFTER {
            return None;
        }
        answered.whole.take()
    }

    /// The answer is these datagrams from now on.
    pub fn divided(&mut self, message_id: u32, reply: &[Vec<u8>]) {
        if let Some(answered) = self.answered.get_mut(&message_id) {
            answered.reply = reply.to_vec();
        }
    }

    /// How often a request was answered again.
    pub fn repeats(&self, message_id: u32) -> u32 {
        self.answered.get(&message_id).map_or(0, |answered| answered.repeated)
    }

    /// Where the fragments of a request within the window are kept.
    pub(super) fn partial(&mut self, message_id: u32) -> &mut Reassembly {
        self.partial.entry(message_id).or_default()
    }
}

/// Tells the peer how many requests it may have under way, if that is more than one.
pub(super) fn announce(cx: &Context, chain: &mut ChainBuilder, replies: &mut Replies) {
    let window = cx.settings.window_size.min(MAX_WINDOW);
    if window > 1 {
        chain.notify(ProtocolId::NONE, &[], NotifyType::SET_WINDOW_SIZE, &window.to_be_bytes());
        replies.widen(window);
    }
}

/// What the peer says about its window, once it has proven itself: as many requests of ours may be under way, if we want
/// as many (section 2.3).
pub(super) fn take(sa: &mut IkeSa, cx: &mut Context, chain: &Chain<'_>, verdict: &Verdict) {
    let told = chain.notify(NotifyType::SET_WINDOW_SIZE).and_then(|n| <[u8; 4]>::try_from(n.data).ok());
    let Some(told) = told.filter(|_| sa.is_established() && matches!(verdict, Verdict::Keep)) else { return };
    let window = u32::from_be_bytes(told).min(cx.settings.window_size).min(MAX_WINDOW);
    if sa.pending.widen(window) {
        sa.log(cx, "IKE", 2, format!("the peer takes {} requests at once: {window} of ours", u32::from_be_bytes(told)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(replies: &mut Replies, id: u32) {
        replies.remember(id, &id.to_be_bytes(), &[vec![id as u8]], None);
    }

    #[test]
    fn without_an_announcement_one_after_the_other() {
        let mut replies = Replies::default();
        assert!(replies.accepts(0) && !replies.accepts(1));
        answer(&mut replies, 0);
        assert!(replies.accepts(1) && !replies.accepts(0) && !replies.accepts(2));
        assert_eq!(replies.repeat(0, &0_u32.to_be_bytes()), Ok(vec![vec![0]]));
        assert_eq!(replies.repeat(0, b"another"), Err(DropReason::UnexpectedMessageId));
        answer(&mut replies, 1);
        assert_eq!(replies.repeat(0, &0_u32.to_be_bytes()), Err(DropReason::UnexpectedMessageId), "too old");
        for _ in 0..MAX_REPEATS {
            assert!(replies.again(1).is_ok());
        }
        assert_eq!(replies.again(1), Err(DropReason::RepeatLimit));
    }

    proptest! {
        #[test]
        fn any_order_within_the_window_is_served_once_and_kept_as_long_as_it_may_be_repeated(
            window in 1..=MAX_WINDOW, choices in proptest::collection::vec(any::<u32>(), 1..300),
        ) {
            let mut replies = Replies::default();
            replies.widen(window);
            // The peer: requests that were answered, and the lowest that was not.
            let (mut lowest, mut done) = (0_u32, std::collections::BTreeSet::new());
            for choice in choices {
                let id = lowest + choice % window;
                prop_assert_eq!(replies.accepts(id), !done.contains(&id));
                if done.insert(id) {
                    answer(&mut replies, id);
                }
                // An answer may be lost: whatever the peer's window still has may be asked for again.
                prop_assert_eq!(replies.repeat(id, &id.to_be_bytes()), Ok(vec![vec![id as u8]]));
                prop_assert!(!replies.accepts(lowest + window) || done.contains(&lowest));
                while done.contains(&lowest) {
                    lowest += 1;
                }
                let back = lowest.saturating_sub(window);
                prop_assert!((back..lowest).all(|id| replies.is_answered(id)));
                prop_assert!(replies.answered.len() <= 2 * window as usize);
            }
        }

        #[test]
        fn no_message_id_panics(ids in proptest::collection::vec(any::<u32>(), 0..50), window in 1..=MAX_WINDOW) {
            let mut replies = Replies::default();
            replies.widen(window);
            replies.next = u32::MAX - 3;
            for id in ids.into_iter().chain(u32::MAX - 5..=u32::MAX) {
                if replies.accepts(id) {
                    answer(&mut replies, id);
                }
                let _ = replies.again(id);
            }
        }
    }
}
