//! Which packets arrived in pieces of which some are missing. The pieces are counted, not kept.

use crate::Piece;
use model::Role;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// So many packets are followed at a time; more make the oldest ones be forgotten.
const MAX_PACKETS: usize = 1024;

/// Sender, receiver and identification of a packet.
type Id = (IpAddr, IpAddr, u32);

#[derive(Default)]
struct Packet {
    seen: usize,
    whole: Option<usize>,
    /// The SA that it has a message of, by number, and who sent it; known from the first fragment.
    of: Option<(usize, Role)>,
}

/// Packets in pieces.
#[derive(Default)]
pub(crate) struct Fragments {
    young: BTreeMap<Id, Packet>,
    old: BTreeMap<Id, Packet>,
    torn: Vec<(usize, Role)>,
}

impl Fragments {
    /// Takes a piece; of the first one of a message, whose it is.
    pub(crate) fn take(&mut self, from: IpAddr, to: IpAddr, piece: Piece, of: Option<(usize, Role)>) {
        let id = (from, to, piece.id);
        let mut packet = self.young.remove(&id).or_else(|| self.old.remove(&id)).unwrap_or_default();
        packet.seen = packet.seen.saturating_add(piece.octets);
        packet.whole = packet.whole.or(piece.whole);
        packet.of = packet.of.or(of);
        if packet.whole.is_some_and(|whole| packet.seen >= whole) {
            return;
        }
        self.young.insert(id, packet);
        if self.young.len() >= MAX_PACKETS / 2 {
            let old = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            self.forget(old);
        }
    }

    fn forget(&mut self, packets: BTreeMap<Id, Packet>) {
        // A flood of them tells no more than a few.
        let room = MAX_PACKETS.saturating_sub(self.torn.len());
        self.torn.extend(packets.into_values().filter_map(|packet| packet.of).take(room));
    }

    /// The SAs, by number, of messages that are not whole, and who sent each of them.
    pub(crate) fn finish(mut self) -> Vec<(usize, Role)> {
        for packets in [std::mem::take(&mut self.old), std::mem::take(&mut self.young)] {
            self.forget(packets);
        }
        self.torn
    }
}
