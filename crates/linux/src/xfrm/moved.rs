//! What an SA keeps when it moves: sequence numbers, anti-replay window and counters.
//!
//! Sequence numbers of an outbound SA must not repeat, for IVs are made of them (RFC 4303 section 2.2, RFC 4106 section 3),
//! and should not jump either: a peer's monitor takes that for loss. A state that is read while the SA lives may be old when
//! it is removed. The kernel's own notice of the removal is not: it is made after the SA is dead, and a dead SA gives no
//! numbers.

use super::{Side, Xfrm, XfrmError, message};
use crate::netlink::{Attributes, Reply, Socket};
use model::dataplane::ChildInstall;
use std::io;
use std::net::IpAddr;
use zeroize::Zeroizing;

/// Multicast group of added, changed and removed SAs: XFRMNLGRP_SA.
const SA_GROUP: u8 = 3;

/// Outbound sequence numbers that are skipped where the kernel did not tell the last one, for packets that were sent
/// between reading and removing.
const JUMP: u32 = 1 << 16;

/// Attributes of an SA that survive its move.
#[derive(Debug)]
pub(super) struct Carried {
    pub(super) attributes: Vec<(u16, Zeroizing<Vec<u8>>)>,
}

impl Carried {
    /// From an SA's `struct xfrm_usersa_info` and its attributes.
    fn read(info: Option<&[u8]>, found: Attributes<'_>) -> Self {
        let mut attributes = Vec::new();
        if let Some(current) = info.and_then(message::current_lifetime) {
            attributes.push((message::ATTRIBUTE_LIFETIME, Zeroizing::new(current.to_vec())));
        }
        for kind in [message::ATTRIBUTE_REPLAY_ESN, message::ATTRIBUTE_REPLAY] {
            if let Some(state) = found.get(kind) {
                attributes.push((kind, Zeroizing::new(state.to_vec())));
                break;
            }
        }
        Self { attributes }
    }

    /// From the notice that an SA was removed: `struct xfrm_usersa_id`, with the rest as attributes.
    fn of_removed(notice: &Reply, destination: IpAddr, spi: u32) -> Option<Self> {
        if notice.kind != message::DELETE_SA {
            return None;
        }
        let found = notice.attributes(message::SA_ID);
        let info = found.get(message::ATTRIBUTE_SA)?;
        let state = message::read_sa(info)?;
        let carried = Self::read(Some(info), found);
        // Without a replay state it does not say what it is read for.
        ((state.destination, state.spi) == (destination, spi) && carried.attributes.len() == 2).then_some(carried)
    }

    /// Leaves out the numbers that may have been used since it was read.
    fn skip_numbers(&mut self, esn: bool) {
        for (kind, state) in &mut self.attributes {
            match *kind {
                // `oseq` is the second word, its high half the fourth.
                message::ATTRIBUTE_REPLAY_ESN => advance(state, 4, Some(12).filter(|_| esn), JUMP),
                message::ATTRIBUTE_REPLAY => advance(state, 0, None, JUMP),
                _ => {}
            }
        }
    }
}

/// A socket that hears of removed SAs when it is asked to.
pub(super) fn open_removals() -> io::Result<Socket> {
    let removals = Socket::open(libc::NETLINK_XFRM, 1 << (SA_GROUP - 1))?;
    // The notices of all SAs carry keys, and need not wait in a buffer.
    removals.subscribe(SA_GROUP, false)?;
    Ok(removals)
}

impl Xfrm {
    /// Removes an SA and says what its successor goes on with: exactly what it had, if the kernel tells. If not, the window
    /// may miss what was received in between, which could be replayed once, and numbers are skipped.
    pub(super) fn take_out(&mut self, install: &ChildInstall, side: Side) -> Result<Carried, XfrmError> {
        let reply = self.read_sa(install, side)?;
        let listening = self.removals.subscribe(SA_GROUP, true);
        let deleted = self.delete_sa(install, side);
        // It was delivered before the request was acknowledged: there is nothing to wait for.
        let removed = self.removals.notifications().unwrap_or_default();
        // Where it was lost among others' the state read before has to do.
        let _ = self.removals.take_lost();
        if listening.is_ok() {
            let _ = self.removals.subscribe(SA_GROUP, false);
        }
        deleted?;
        let (sa, _, destination) = side.of(install);
        let exact = removed.iter().find_map(|notice| Carried::of_removed(notice, destination.ip(), sa.spi));
        Ok(exact.unwrap_or_else(|| {
            let mut carried = Carried::read(reply.fixed(message::SA_INFO), reply.attributes(message::SA_INFO));
            if side == Side::Outbound {
                carried.skip_numbers(install.esn);
            }
            carried
        }))
    }
}

/// Adds to a sequence number in a replay state. Without a high half it stops at the end: it must not cycle.
fn advance(state: &mut [u8], low: usize, high: Option<usize>, by: u32) {
    let read = |state: &[u8], at: usize| {
        state.get(at..).and_then(|rest| rest.first_chunk()).map(|octets| u32::from_ne_bytes(*octets))
    };
    let Some(sequence) = read(state, low) else { return };
    let (advanced, carry) = sequence.overflowing_add(by);
    let advanced = match high {
        None if carry => u32::MAX,
        Some(at) if carry => {
            let next = read(state, at).unwrap_or(0).saturating_add(1);
            if let Some(place) = state.get_mut(at..at + 4) {
                place.copy_from_slice(&next.to_ne_bytes());
            }
            advanced
        }
        _ => advanced,
    };
    if let Some(place) = state.get_mut(low..low + 4) {
        place.copy_from_slice(&advanced.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn numbers_are_skipped_into_the_high_half_and_never_cycle() {
        let carried = |kind, state: &[u32], esn| {
            let mut carried = Carried { attributes: vec![(kind, Zeroizing::new(words(state)))] };
            carried.skip_numbers(esn);
            carried.attributes[0].1.to_vec()
        };
        let esn = message::ATTRIBUTE_REPLAY_ESN;
        assert_eq!(carried(esn, &[1, 5, 0, 0, 0, 32], true), words(&[1, JUMP + 5, 0, 0, 0, 32]));
        assert_eq!(carried(esn, &[1, u32::MAX, 0, 7, 0, 32], true), words(&[1, JUMP - 1, 0, 8, 0, 32]));
        assert_eq!(carried(esn, &[1, u32::MAX - 1, 0, 0, 0, 64], false), words(&[1, u32::MAX, 0, 0, 0, 64]));
        assert_eq!(carried(message::ATTRIBUTE_REPLAY, &[9, 0, 0], false), words(&[JUMP + 9, 0, 0]));
    }

    #[test]
    fn a_notice_counts_for_its_own_sa_and_with_its_numbers_only() {
        let destination: IpAddr = "192.0.2.2".parse().unwrap();
        let mut info = vec![0; message::SA_INFO];
        info[56..60].copy_from_slice(&[192, 0, 2, 2]);
        info[72..76].copy_from_slice(&7u32.to_be_bytes());
        info[160..168].copy_from_slice(&300u64.to_ne_bytes());
        info[212..214].copy_from_slice(&2u16.to_ne_bytes());
        let notice = |kind, with_numbers: bool| {
            let mut octets = vec![0; message::SA_ID];
            let numbers = words(&[3, 0, 0]);
            let mut attributes = vec![(message::ATTRIBUTE_SA, &info)];
            attributes.extend(with_numbers.then_some((message::ATTRIBUTE_REPLAY, &numbers)));
            for (kind, value) in attributes {
                octets.extend((value.len() as u16 + 4).to_ne_bytes());
                octets.extend(kind.to_ne_bytes());
                octets.extend(value);
            }
            Reply::new(kind, &octets)
        };
        let deleted = notice(message::DELETE_SA, true);
        let carried = Carried::of_removed(&deleted, destination, 7).unwrap();
        assert_eq!(carried.attributes[0].1[..8], 300u64.to_ne_bytes());
        assert_eq!(carried.attributes[1], (message::ATTRIBUTE_REPLAY, Zeroizing::new(words(&[3, 0, 0]))));
        assert!(Carried::of_removed(&deleted, destination, 8).is_none());
        assert!(Carried::of_removed(&deleted, "192.0.2.3".parse().unwrap(), 7).is_none());
        for other in [notice(message::NEW_SA, true), notice(message::DELETE_SA, false)] {
            assert!(Carried::of_removed(&other, destination, 7).is_none());
        }
        assert!(Carried::of_removed(&Reply::new(message::DELETE_SA, &[0; 20]), destination, 7).is_none());
    }
}
