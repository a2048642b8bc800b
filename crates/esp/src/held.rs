//! Packets to be sent by a Child SA whose peer cannot be sent anything for a moment ([`Command::Hold`]).
//!
//! [`Command::Hold`]: model::dataplane::Command::Hold

use model::SaId;
use std::collections::{BTreeMap, VecDeque};

/// So many octets wait for each Child SA: some tens of milliseconds of a gigabit a second.
const MOST_OCTETS: usize = 4 << 20;

/// So many for all of them: whoever replaces many at once has no more of this host's memory.
const MOST_IN_ALL: usize = 64 << 20;

/// What a packet takes beside its octets.
const OVERHEAD: usize = 64;

#[derive(Debug, Default)]
struct Waiting {
    octets: usize,
    packets: VecDeque<Vec<u8>>,
}

/// What waits, as it is inside.
#[derive(Debug, Default)]
pub(crate) struct Held {
    waiting: BTreeMap<SaId, Waiting>,
    /// Octets of all that wait.
    octets: usize,
    /// Waits no more.
    due: VecDeque<Vec<u8>>,
}

impl Held {
    pub(crate) fn hold(&mut self, child: SaId) {
        self.waiting.entry(child).or_default();
    }

    pub(crate) fn holds(&self, child: SaId) -> bool {
        self.waiting.contains_key(&child)
    }

    /// Keeps a packet; false if too much waits already.
    pub(crate) fn keep(&mut self, child: SaId, packet: &[u8]) -> bool {
        let Some(waiting) = self.waiting.get_mut(&child) else { return false };
        let octets = packet.len() + OVERHEAD;
        if waiting.octets + octets > MOST_OCTETS || self.octets + octets > MOST_IN_ALL {
            return false;
        }
        waiting.octets += octets;
        self.octets += octets;
        waiting.packets.push_back(packet.to_vec());
        true
    }

    /// What waits for this Child SA is due, by whatever carries it now.
    pub(crate) fn release(&mut self, child: SaId) {
        let Waiting { octets, packets } = self.waiting.remove(&child).unwrap_or_default();
        self.octets -= octets;
        self.due.extend(packets);
    }

    /// The next packet that is due.
    pub(crate) fn pop(&mut self) -> Option<Vec<u8>> {
        self.due.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_for_each_and_for_all() {
        let mut held = Held::default();
        let packet = vec![0; (1 << 20) - OVERHEAD];
        assert!(!held.keep(SaId(1), &packet), "it does not wait");
        for child in (1..=17).map(SaId) {
            held.hold(child);
            let kept = (0..8).filter(|_| held.keep(child, &packet)).count();
            assert_eq!(kept, if child.0 < 17 { 4 } else { 0 });
        }
        held.release(SaId(3));
        held.release(SaId(3));
        held.release(SaId(18));
        assert!((0..4).all(|_| held.keep(SaId(17), &packet)) && !held.keep(SaId(17), &packet));
        assert_eq!(std::iter::from_fn(|| held.pop()).count(), 4);
        (1..=17).map(SaId).for_each(|child| held.release(child));
        assert_eq!(held.octets, 0);
    }
}
