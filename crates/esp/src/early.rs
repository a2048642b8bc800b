//! Packets of Child SAs that are not installed yet: a peer that answered our request may send before we have its answer.

use model::{Instant, SaId};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// So many Child SAs are waited for at once; a further one takes the place of the oldest.
const MOST_EXPECTED: usize = 16;

/// So many octets are kept for each.
const MOST_OCTETS: usize = 64 << 10;

/// After this time a negotiation has come to nothing, or what was kept for it is of no use.
const PATIENCE: Duration = Duration::from_secs(10);

/// A packet with where it came from and, if that is known, its octet of DSCP and ECN.
pub(crate) type Kept = (SocketAddr, Option<u8>, Vec<u8>);

#[derive(Debug)]
struct Expected {
    child: SaId,
    spi: u32,
    until: Instant,
    octets: usize,
    packets: Vec<Kept>,
}

/// What is kept, by the SPI of the Child SA to come. Nothing of it is authentic.
#[derive(Debug, Default)]
pub(crate) struct Early {
    expected: VecDeque<Expected>,
}

impl Early {
    pub(crate) fn expect(&mut self, now: Instant, child: SaId, spi: u32) {
        self.expected.retain(|e| e.until > now && e.spi != spi);
        if self.expected.len() >= MOST_EXPECTED {
            self.expected.pop_front();
        }
        self.expected.push_back(Expected { child, spi, until: now + PATIENCE, octets: 0, packets: Vec::new() });
    }

    /// Keeps a packet with an unknown SPI, if its Child SA is to come.
    pub(crate) fn keep(&mut self, now: Instant, spi: u32, packet: &[u8], from: SocketAddr, class: Option<u8>) -> bool {
        let Some(expected) = self.expected.iter_mut().find(|e| e.spi == spi && e.until > now) else { return false };
        if expected.octets + packet.len() > MOST_OCTETS {
            return false;
        }
        expected.octets += packet.len();
        expected.packets.push((from, class, packet.to_vec()));
        true
    }

    /// The Child SA is installed, with this SPI or another, or it is gone.
    pub(crate) fn take(&mut self, child: SaId) -> Vec<Kept> {
        let found = self.expected.iter().position(|e| e.child == child);
        found.and_then(|at| self.expected.remove(at)).map(|e| e.packets).unwrap_or_default()
    }
}
