//! Packets to be sent by a Child SA whose peer cannot be sent anything for a moment ([`Command::Hold`]).
//!
//! [`Command::Hold`]: model::dataplane::Command::Hold

use model::SaId;
use std::collections::{BTreeMap, VecDeque};

/// So many octets wait for each Child SA: some tens of milliseconds of a gigabit a second.
const MOST_OCTETS: usize = 4 << 20;

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
        let octets = waiting.octets + packet.len() + OVERHEAD;
        if octets > MOST_OCTETS {
            return false;
        }
        waiting.octets = octets;
        waiting.packets.push_back(packet.to_vec());
        true
    }

    /// What waits for this Child SA is due, by whatever carries it now.
    pub(crate) fn release(&mut self, child: SaId) {
        self.due.extend(self.waiting.remove(&child).unwrap_or_default().packets);
    }

    /// The next packet that is due.
    pub(crate) fn pop(&mut self) -> Option<Vec<u8>> {
        self.due.pop_front()
    }
}
