//! NAT detection of IKEv1 (RFC 3947 section 3.2): NAT-D payloads with messages 3 and 4 of main mode, 2 and 3 of
//! aggressive mode.

use model::NatState;
use std::net::SocketAddr;
use wire::SpiPair;

fn hash(h: crypto::v1::Hash, cookies: SpiPair, address: SocketAddr) -> Vec<u8> {
    crypto::v1::nat_d(h, cookies.initiator, cookies.responder, address.ip(), address.port())
}

/// Our two payloads: first where the message goes, then where it comes from. `pretend` replaces the latter.
pub(super) fn payloads(
    h: crypto::v1::Hash,
    cookies: SpiPair,
    local: SocketAddr,
    remote: SocketAddr,
    pretend: Option<[u8; 32]>,
) -> [Vec<u8>; 2] {
    let source = hash(h, cookies, local);
    let source = match pretend {
        Some(random) => random.iter().copied().cycle().take(source.len()).collect(),
        None => source,
    };
    [hash(h, cookies, remote), source]
}

/// What the peer's payloads say; none means that it does not do NAT traversal.
pub(super) fn detect(
    h: crypto::v1::Hash,
    cookies: SpiPair,
    local: SocketAddr,
    remote: SocketAddr,
    sent: &[&[u8]],
    forced: bool,
) -> NatState {
    let Some((destination, sources)) = sent.split_first() else { return NatState::default() };
    let (own, peer) = (hash(h, cookies, local), hash(h, cookies, remote));
    NatState {
        local: *destination != own.as_slice(),
        remote: !sources.is_empty() && sources.iter().all(|s| *s != peer.as_slice()),
        forced,
    }
}
