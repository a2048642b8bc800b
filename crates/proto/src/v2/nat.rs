//! NAT detection (RFC 7296 section 2.23): each end says, as a hash, where it thinks the datagram comes from and goes to.

use model::NatState;
use std::net::{IpAddr, SocketAddr};
use wire::v2::{Chain, ChainBuilder};
use wire::{NotifyType, ProtocolId, SpiPair};

fn hash(spis: SpiPair, address: SocketAddr) -> [u8; 20] {
    let port = address.port().to_be_bytes();
    match address.ip() {
        IpAddr::V4(a) => crypto::sha1(&[&spis.initiator.0, &spis.responder.0, &a.octets(), &port]),
        IpAddr::V6(a) => crypto::sha1(&[&spis.initiator.0, &spis.responder.0, &a.octets(), &port]),
    }
}

/// Adds both notifications. `pretend` holds random octets to send in place of our address' hash, so that the peer finds a
/// NAT and encapsulates (`encap = yes`).
pub(crate) fn announce(
    chain: &mut ChainBuilder,
    spis: SpiPair,
    local: SocketAddr,
    remote: SocketAddr,
    pretend: Option<[u8; 20]>,
) {
    let source = pretend.unwrap_or_else(|| hash(spis, local));
    chain.notify(ProtocolId::NONE, &[], NotifyType::NAT_DETECTION_SOURCE_IP, &source);
    chain.notify(ProtocolId::NONE, &[], NotifyType::NAT_DETECTION_DESTINATION_IP, &hash(spis, remote));
}

/// What the peer's notifications say. A peer that sends none does not do NAT traversal: no NAT is assumed.
pub(crate) fn detect(
    chain: &Chain<'_>,
    spis: SpiPair,
    local: SocketAddr,
    remote: SocketAddr,
    forced: bool,
) -> NatState {
    let behind = |kind: NotifyType, address: SocketAddr| {
        let expected = hash(spis, address);
        let mut sent = chain.notifies().filter(|n| n.kind == kind).map(|n| n.data).peekable();
        sent.peek().is_some() && sent.all(|data| data != expected)
    };
    let supported = chain.notify(NotifyType::NAT_DETECTION_SOURCE_IP).is_some();
    NatState {
        local: behind(NotifyType::NAT_DETECTION_DESTINATION_IP, local),
        remote: behind(NotifyType::NAT_DETECTION_SOURCE_IP, remote),
        forced: forced && supported,
    }
}
