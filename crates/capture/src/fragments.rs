//! Puts IP packets together that arrived in pieces (RFC 791 section 3.2, RFC 8200 section 4.5), in bounded memory, and tells
//! which of them never became whole.

use crate::{Piece, tracker::Place};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// So many packets are followed at a time; more make the oldest ones be forgotten.
const MAX_PACKETS: usize = 1024;
/// So many octets of pieces are kept at a time.
const MAX_OCTETS: usize = 4 << 20;
/// What a piece costs beside its octets.
const OVERHEAD: usize = 64;
/// So many pieces of a packet: one of 64 KiB has 119 where the path takes no more than RFC 791 asks for, 576 octets.
const MAX_PIECES: usize = 256;
/// No IP packet has more content.
const MAX_CONTENT: usize = 65_535;
/// Nanoseconds after which an identification is used for another packet. Linux waits as long for the rest.
const MAX_AGE: u64 = 30_000_000_000;
/// So many nanoseconds after a packet is whole, what comes with its identification is the same packet at another interface.
const SAME_PACKET: u64 = 100_000_000;
/// The header of UDP (RFC 768).
const UDP: usize = 8;

/// Sender, receiver and identification of a packet. All are UDP's, whose identifications are its own (RFC 791 section 2.3).
type Id = (IpAddr, IpAddr, u32);

/// What came of the pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    /// Packets that were put together.
    pub whole: u64,
    /// Pieces that were there already.
    pub duplicate: u64,
    /// Pieces that say otherwise than earlier ones, and are not believed.
    pub overlapping: u64,
}

/// An IKE message that came in fragments of IP and is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Sender.
    pub source: SocketAddr,
    /// Receiver.
    pub destination: SocketAddr,
    /// The message, without the non-ESP marker.
    pub octets: Vec<u8>,
}

/// What the first fragment says.
pub(crate) struct Beginning {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// Octets before the message: UDP's header, and the non-ESP marker where there is one.
    pub before: usize,
    /// Where the tracker put what the first fragment has of the message.
    pub of: Option<Place>,
}

/// A message that is whole, and what its first fragment said.
pub(crate) struct Assembled {
    pub beginning: Beginning,
    pub octets: Vec<u8>,
}

#[derive(Default)]
enum Is {
    /// Pieces are kept.
    #[default]
    Collecting,
    /// It was put together, or is known not to be: whatever comes of it soon is nothing new.
    Done(u64),
    /// It is none of IKE's.
    Other,
    /// RFC 5722 section 4: with pieces that overlap it is nothing at all.
    Refused,
}

#[derive(Default)]
struct Packet {
    begun: u64,
    is: Is,
    /// Where each piece begins, where it ended on the line, and what the capture has of it.
    pieces: BTreeMap<usize, (usize, Vec<u8>)>,
    whole: Option<usize>,
    beginning: Option<Beginning>,
    /// How many pieces of it came.
    count: u64,
}

impl Packet {
    fn cost(&self) -> usize {
        self.pieces.values().map(|(_, octets)| octets.len() + OVERHEAD).sum()
    }

    fn forget_pieces(&mut self, is: Is) -> usize {
        let cost = self.cost();
        self.pieces.clear();
        self.is = is;
        cost
    }

    /// Whether every octet up to the end was on the line.
    fn is_whole(&self) -> bool {
        let Some(whole) = self.whole else { return false };
        let reached = self.pieces.iter().try_fold(0, |reached, (from, (to, _))| (*from <= reached).then_some(*to));
        reached.is_some_and(|reached| reached >= whole)
    }

    /// The content of the packet, unless the capture kept parts of the pieces only (tcpdump's snapshot length).
    fn content(&self) -> Option<Vec<u8>> {
        let mut content = Vec::with_capacity(self.whole?);
        for (from, (to, octets)) in &self.pieces {
            (from + octets.len() == *to && *from == content.len()).then_some(())?;
            content.extend_from_slice(octets);
        }
        content.truncate(self.whole?);
        Some(content)
    }
}

/// Packets in pieces.
#[derive(Default)]
pub(crate) struct Fragments {
    young: BTreeMap<Id, Packet>,
    old: BTreeMap<Id, Packet>,
    octets: usize,
    torn: Vec<Place>,
    /// Pieces of packets that did not become whole.
    left_out: u64,
    told: Pieces,
}

impl Fragments {
    /// Takes the first fragment of a message.
    pub(crate) fn begin(&mut self, time: u64, piece: &Piece<'_>, beginning: Beginning) -> Option<Assembled> {
        let ends = (beginning.source.ip(), beginning.destination.ip());
        self.with(time, ends, piece, Some(beginning))
    }

    /// Takes another fragment.
    pub(crate) fn take(&mut self, time: u64, ends: (IpAddr, IpAddr), piece: &Piece<'_>) -> Option<Assembled> {
        self.with(time, ends, piece, None)
    }

    /// Takes the first fragment of a packet that is none of IKE's: what follows of it is not kept.
    pub(crate) fn other(&mut self, time: u64, (from, to): (IpAddr, IpAddr), id: u32) {
        let id = (from, to, id);
        let mut packet = self.packet(time, id, |packet| packet.beginning.is_none());
        self.octets -= packet.forget_pieces(Is::Other);
        packet.count = 0;
        self.keep(id, packet);
    }

    /// What is known of the packet, which is taken out; a new one where nothing is, or what is known is of another packet
    /// with the same identification.
    fn packet(&mut self, time: u64, id: Id, same: impl FnOnce(&Packet) -> bool) -> Packet {
        let known = self.young.remove(&id).or_else(|| self.old.remove(&id));
        let current = |packet: &Packet| match packet.is {
            Is::Done(at) => time != 0 && time.abs_diff(at) < SAME_PACKET,
            Is::Collecting | Is::Other | Is::Refused => time.abs_diff(packet.begun) < MAX_AGE,
        };
        match known {
            Some(packet) if current(&packet) && same(&packet) => packet,
            other => {
                if let Some(packet) = other {
                    self.forget(packet);
                }
                Packet { begun: time, ..Packet::default() }
            }
        }
    }

    fn with(
        &mut self,
        time: u64,
        (from, to): (IpAddr, IpAddr),
        piece: &Piece<'_>,
        beginning: Option<Beginning>,
    ) -> Option<Assembled> {
        let id = (from, to, piece.id);
        let begins = beginning.is_some();
        let mut packet = self.packet(time, id, |packet| !begins || !matches!(packet.is, Is::Other));
        match packet.is {
            Is::Collecting => {
                packet.count += 1;
                packet.beginning = packet.beginning.take().or(beginning);
                self.put(&mut packet, piece, from.is_ipv6());
            }
            Is::Done(_) => self.told.duplicate += 1,
            Is::Refused => self.left_out += 1,
            Is::Other => {}
        }
        let assembled = self.assembled(time, &mut packet);
        self.keep(id, packet);
        assembled
    }

    /// Keeps a piece of a packet.
    fn put(&mut self, packet: &mut Packet, piece: &Piece<'_>, strict: bool) {
        let (from, to) = (piece.offset, piece.offset + piece.octets);
        // RFC 791 section 3.2, RFC 8200 section 4.5: all but the last are multiples of eight octets long.
        if piece.octets == 0 || to > MAX_CONTENT || (piece.whole.is_none() && !piece.octets.is_multiple_of(8)) {
            return;
        }
        if let Some((end, octets)) = packet.pieces.get(&from)
            && *end == to
            && octets.as_slice() == piece.data
        {
            self.told.duplicate += 1;
            return;
        }
        let end = packet.whole.or(piece.whole);
        let last = packet.pieces.last_key_value().map_or(0, |(_, (end, _))| *end);
        let longer = end.is_some_and(|end| to > end || last > end || piece.whole.is_some_and(|whole| whole != end));
        let over = packet.pieces.range(..to).next_back().is_some_and(|(_, (end, _))| *end > from);
        let many = packet.pieces.len() >= MAX_PIECES;
        if longer || over || many {
            self.told.overlapping += u64::from(longer || over);
            // RFC 5722 section 4 for IPv6. For IPv4 nothing is said, and receivers differ: what came first stays.
            if strict || many {
                self.octets -= packet.forget_pieces(Is::Refused);
                packet.beginning = None;
                return;
            }
            if longer {
                return;
            }
        }
        packet.whole = end;
        let mut at = packet.pieces.range(..=from).next_back().map_or(from, |(_, (end, _))| from.max(*end));
        let mut gaps = Vec::new();
        for (begin, (end, _)) in packet.pieces.range(from..to) {
            if *begin > at {
                gaps.push((at, *begin));
            }
            at = at.max(*end);
        }
        if at < to {
            gaps.push((at, to));
        }
        for (begin, end) in gaps {
            let kept = piece.data.get(begin - from..).unwrap_or_default();
            let kept = kept.get(..end - begin).unwrap_or(kept).to_vec();
            self.octets += kept.len() + OVERHEAD;
            packet.pieces.insert(begin, (end, kept));
        }
    }

    fn assembled(&mut self, time: u64, packet: &mut Packet) -> Option<Assembled> {
        if !matches!(packet.is, Is::Collecting) || packet.beginning.is_none() || !packet.is_whole() {
            return None;
        }
        let content = packet.content();
        self.octets -= packet.forget_pieces(Is::Done(time));
        let beginning = packet.beginning.take()?;
        // What the capture kept a part of is not torn, and is not to be had either.
        let mut octets = content?;
        packet.count = 0;
        self.told.whole += 1;
        let length = octets.get(4..6).and_then(|length| length.first_chunk()).map(|length| u16::from_be_bytes(*length));
        octets.truncate(usize::from(length?).max(UDP));
        octets.drain(..beginning.before.min(octets.len()));
        Some(Assembled { beginning, octets })
    }

    fn keep(&mut self, id: Id, packet: Packet) {
        self.young.insert(id, packet);
        while self.young.len() >= MAX_PACKETS / 2 || self.octets > MAX_OCTETS {
            let old = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            for packet in old.into_values() {
                self.forget(packet);
            }
        }
    }

    fn forget(&mut self, mut packet: Packet) {
        self.octets -= packet.forget_pieces(Is::Other);
        if let Some(Beginning { of: Some(place), .. }) = packet.beginning {
            // A flood of them tells no more than a few.
            if self.torn.len() < MAX_PACKETS {
                self.torn.push(place);
            }
        }
        self.left_out += packet.count;
    }

    /// Octets that are kept.
    #[cfg(test)]
    pub(crate) fn octets(&self) -> usize {
        self.octets
    }

    /// Where messages are that did not become whole, how many pieces are left over, and what came of the others.
    pub(crate) fn finish(mut self) -> (Vec<Place>, u64, Pieces) {
        for packets in [std::mem::take(&mut self.old), std::mem::take(&mut self.young)] {
            for packet in packets.into_values() {
                self.forget(packet);
            }
        }
        (self.torn, self.left_out, self.told)
    }
}
