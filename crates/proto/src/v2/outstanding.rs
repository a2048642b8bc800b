//! Our requests that wait for their answers, and how many there may be.
//!
//! RFC 7296 section 2.3: one at a time, until the peer says with SET_WINDOW_SIZE that it takes more. Answers come in any
//! order. What changes the IKE SA itself is asked alone: everything before it is answered then, and nothing follows it.

use super::create_child_sa::{Creating, Crossing, What};
use super::exchange::{Pending, Task};
use model::{Instant, SaId};
use std::collections::BTreeMap;

/// From this message ID on an IKE SA is only replaced or deleted: the IDs must not wrap (RFC 7296 section 2.2).
pub(super) const LAST_IDS: u32 = u32::MAX - 1024;
/// With this one it can only be deleted.
pub(super) const LAST_ID: u32 = u32::MAX - 1;

/// The requests under way, by message ID.
pub(crate) struct Outstanding {
    requests: BTreeMap<u32, Pending>,
    /// How many the peer takes, but not more than we want.
    window: u32,
}

impl Default for Outstanding {
    fn default() -> Self {
        Self { requests: BTreeMap::new(), window: 1 }
    }
}

impl Outstanding {
    /// The peer takes so many. There is no way back (section 2.3).
    pub fn widen(&mut self, window: u32) -> bool {
        let wider = window > self.window;
        self.window = self.window.max(window);
        wider
    }

    /// Whether the request with this message ID may be sent: all those that are further back than the window are answered.
    pub fn admits(&self, message_id: u32) -> bool {
        self.requests.keys().next().is_none_or(|oldest| message_id.saturating_sub(*oldest) < self.window)
    }

    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub fn len(&self) -> usize {
        self.requests.len()
    }

    pub fn insert(&mut self, request: Pending) {
        self.requests.insert(request.message_id, request);
    }

    pub fn take(&mut self, message_id: u32) -> Option<Pending> {
        self.requests.remove(&message_id)
    }

    pub fn clear(&mut self) {
        self.requests.clear();
    }

    pub fn get(&self, message_id: u32) -> Option<&Pending> {
        self.requests.get(&message_id)
    }

    /// The oldest one.
    pub fn first(&self) -> Option<&Pending> {
        self.requests.values().next()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Pending> {
        self.requests.values()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Pending> {
        self.requests.values_mut()
    }

    pub fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.iter().map(|request| &request.task)
    }

    /// What the CREATE_CHILD_SA requests need when they are answered.
    pub fn creating(&self) -> impl Iterator<Item = &Creating> {
        self.iter().filter_map(|request| request.creating.as_deref())
    }

    pub fn creating_mut(&mut self) -> impl Iterator<Item = &mut Creating> {
        self.iter_mut().filter_map(|request| request.creating.as_deref_mut())
    }

    /// What our request to replace this Child SA is to become.
    pub fn rekeying(&mut self, child: SaId) -> Option<&mut What> {
        let of_child = |request: &&mut Pending| request.task == Task::RekeyChild { child };
        Some(&mut self.iter_mut().find(of_child)?.creating.as_mut()?.what)
    }

    /// What takes the place of a Child SA that both ends replace at once, if the peer, which has all nonces, deletes it before we
    /// have its answer (RFC 7296 section 2.8.1): the old one, or the one that it made.
    pub fn crossed(&self, child: SaId) -> Option<SaId> {
        self.iter().find_map(|request| match (&request.task, &request.creating.as_deref()?.what) {
            (Task::RekeyChild { child: old }, What::Rekeyed { new, crossing: Some(Crossing { made, .. }), .. }) => {
                let of_old = (*old == child).then_some(*made);
                of_old.or_else(|| (*made == child).then_some(new.id))
            }
            _ => None,
        })
    }

    /// What our request to replace the IKE SA is to become.
    pub fn rekeying_ike(&mut self) -> Option<&mut What> {
        let of_ike = |request: &&mut Pending| request.task == Task::RekeyIke;
        Some(&mut self.iter_mut().find(of_ike)?.creating.as_mut()?.what)
    }

    /// When the first of them is to be sent again.
    pub fn due(&self) -> Option<Instant> {
        self.iter().filter_map(|request| request.due).min()
    }

    /// How often the one was sent again that was so most often.
    pub fn resent(&self) -> u32 {
        self.iter().map(|request| request.resent).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use wire::ExchangeType;
    use wire::grammar::RuleId;

    fn request(message_id: u32) -> Pending {
        Pending {
            message_id,
            exchange: ExchangeType::INFORMATIONAL,
            message: Vec::new(),
            whole: None,
            before: 0,
            resent: message_id,
            since: Instant::ZERO,
            waiting_for: RuleId::InformationalResponse,
            task: Task::Liveness,
            due: Some(Instant::from_nanos(1000 - u64::from(message_id))),
            creating: None,
        }
    }

    proptest! {
        #[test]
        fn whatever_order_answers_come_in_nothing_is_beyond_the_window(
            window in 1..=64_u32, choices in proptest::collection::vec(any::<u32>(), 1..300),
        ) {
            let (mut outstanding, mut next) = (Outstanding::default(), 0);
            prop_assert_eq!(outstanding.widen(window), window > 1);
            prop_assert!(!outstanding.widen(window - 1), "there is no way back");
            for choice in choices {
                let any = choice as usize % outstanding.len().max(1);
                let any = outstanding.iter().nth(any).map(|request| request.message_id);
                if choice % 2 == 0 && outstanding.admits(next) {
                    outstanding.insert(request(next));
                    next += 1;
                } else if let Some(id) = any {
                    prop_assert!(outstanding.take(id).is_some() && outstanding.get(id).is_none());
                }
                prop_assert!(outstanding.len() <= window as usize);
                let ids: Vec<u32> = outstanding.iter().map(|r| r.message_id).collect();
                if let (Some(oldest), Some(newest)) = (ids.first(), ids.last()) {
                    prop_assert!(newest - oldest < window);
                    prop_assert_eq!(outstanding.admits(next), next - oldest < window);
                    prop_assert_eq!(outstanding.due().map(Instant::as_nanos), Some(1000 - u64::from(*newest)));
                    prop_assert_eq!(outstanding.resent(), *newest);
                }
            }
        }
    }
}
