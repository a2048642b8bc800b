//! The two halves of a Child SA and what is counted about them (RFC 4301 section 4.4.2).

use crate::engine::EngineError;
use crate::replay::ReplayWindow;
use crate::spd::Age;
use crypto::v2::EspKeys;
use crypto::{Cipher, EspOpener, EspSealer, Integrity};
use model::dataplane::{ChildInstall, EspSa, HeaderFields, Mode, TfcPadding};
use model::{Instant, SaId, TrafficSelector};
use std::net::SocketAddr;
use wire::registry::IntegrityId;

/// Octets of SPI and sequence number.
pub(crate) const HEADER: usize = 8;

/// Packets from the end of a sequence number space at which a new SA is asked for: 2^28 of 2^32.
const SEQUENCE_RESERVE: u64 = 1 << 28;

/// A Child SA as the data plane knows it.
#[derive(Debug)]
pub(crate) struct ChildSa {
    pub(crate) child: SaId,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) encapsulated: bool,
    pub(crate) mode: Mode,
    pub(crate) inbound: InboundSa,
    pub(crate) outbound: OutboundSa,
    pub(crate) local_ts: Vec<TrafficSelector>,
    pub(crate) remote_ts: Vec<TrafficSelector>,
    /// What the outer header has of the inner one, and the reverse.
    pub(crate) header: HeaderFields,
    /// How far what we send is padded.
    pub(crate) tfc_padding: TfcPadding,
    /// Whether the policies are ours to set.
    pub(crate) policies: bool,
    /// Where they come among those of equal selectors, once they are set.
    pub(crate) age: Option<Age>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) soft_bytes: Option<u64>,
    pub(crate) soft_packets: Option<u64>,
    pub(crate) hard_bytes: Option<u64>,
    pub(crate) hard_packets: Option<u64>,
    /// The soft limit was reported: once is enough.
    pub(crate) soft_expired: bool,
    /// The address last reported as the peer's new one.
    pub(crate) moved_to: Option<SocketAddr>,
}

#[derive(Debug)]
pub(crate) struct InboundSa {
    pub(crate) spi: u32,
    pub(crate) opener: EspOpener,
    pub(crate) window: ReplayWindow,
    pub(crate) esn: bool,
    pub(crate) traffic: Traffic,
}

#[derive(Debug)]
pub(crate) struct OutboundSa {
    pub(crate) spi: u32,
    pub(crate) sealer: EspSealer,
    /// The last sequence number used; the first packet carries 1 (RFC 4303 section 3.3.3).
    sequence: u64,
    pub(crate) esn: bool,
    pub(crate) traffic: Traffic,
}

/// What passed in one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) octets: u64,
    pub(crate) packets: u64,
    pub(crate) last: Option<Instant>,
}

impl Traffic {
    pub(crate) fn count(&mut self, now: Instant, octets: usize) {
        self.octets += octets as u64;
        self.packets += 1;
        self.last = Some(now);
    }

    fn reached(&self, octets: Option<u64>, packets: Option<u64>) -> bool {
        octets.is_some_and(|limit| self.octets >= limit) || packets.is_some_and(|limit| self.packets >= limit)
    }
}

impl ChildSa {
    pub(crate) fn new(now: Instant, install: &ChildInstall) -> Result<Self, EngineError> {
        let (cipher, integrity, keys) = algorithms(&install.inbound)?;
        let opener = EspOpener::new(cipher, integrity, &keys).map_err(EngineError::Key)?;
        let (cipher, integrity, keys) = algorithms(&install.outbound)?;
        let sealer = EspSealer::new(cipher, integrity, &keys).map_err(EngineError::Key)?;
        let esn = install.esn;
        Ok(Self {
            child: install.child,
            local: install.local,
            remote: install.remote,
            encapsulated: install.encapsulated,
            mode: install.mode,
            inbound: InboundSa {
                spi: install.inbound.spi,
                opener,
                window: ReplayWindow::new(install.replay_window, esn),
                esn,
                traffic: Traffic::default(),
            },
            outbound: OutboundSa { spi: install.outbound.spi, sealer, sequence: 0, esn, traffic: Traffic::default() },
            local_ts: install.local_ts.clone(),
            remote_ts: install.remote_ts.clone(),
            header: install.header,
            tfc_padding: install.tfc_padding,
            policies: install.policies,
            age: None,
            deadline: install.hard_lifetime.map(|lifetime| now + lifetime),
            soft_bytes: install.soft_bytes,
            soft_packets: install.soft_packets,
            hard_bytes: install.hard_bytes,
            hard_packets: install.hard_packets,
            soft_expired: false,
            moved_to: None,
        })
    }

    /// Whether a hard limit was reached: this packet was the last one (RFC 4301 section 4.4.2.1).
    pub(crate) fn hard_expires(&self) -> bool {
        let over = |traffic: &Traffic| traffic.reached(self.hard_bytes, self.hard_packets);
        over(&self.inbound.traffic) || over(&self.outbound.traffic)
    }

    /// Whether a limit was passed that has not been reported yet; from now on it has.
    pub(crate) fn soft_expires(&mut self) -> bool {
        let over = |traffic: &Traffic| traffic.reached(self.soft_bytes, self.soft_packets);
        let expires = !self.soft_expired
            && (over(&self.inbound.traffic)
                || over(&self.outbound.traffic)
                || self.outbound.sequence >= self.outbound.last_sequence() - SEQUENCE_RESERVE);
        self.soft_expired |= expires;
        expires
    }
}

impl OutboundSa {
    fn last_sequence(&self) -> u64 {
        if self.esn { u64::MAX } else { u32::MAX.into() }
    }

    /// The next packet's sequence number; `None` once all are used: they never cycle (RFC 4303 section 3.3.3).
    pub(crate) fn next_sequence(&mut self) -> Option<u64> {
        if self.sequence >= self.last_sequence() {
            return None;
        }
        self.sequence += 1;
        Some(self.sequence)
    }

    #[cfg(test)]
    pub(crate) fn skip_to(&mut self, sequence: u64) {
        self.sequence = sequence;
    }
}

fn algorithms(sa: &EspSa) -> Result<(Cipher, Option<Integrity>, EspKeys), EngineError> {
    let cipher = Cipher::new(sa.encryption.id, sa.encryption.key_length).map_err(EngineError::Algorithm)?;
    let integrity = match sa.integrity {
        None | Some(IntegrityId::NONE) => None,
        Some(id) => Some(Integrity::new(id).map_err(EngineError::Algorithm)?),
    };
    let keys = EspKeys { encryption: sa.encryption_key.clone(), integrity: sa.integrity_key.clone() };
    Ok((cipher, integrity, keys))
}
