//! Which connection a peer belongs to.

use crate::credentials::certified_identity;
use crate::names::Names;
use config::{AddressPattern, AuthMethod, Connection};
use model::Identity;
use std::net::IpAddr;
use std::sync::Arc;

/// How well a list of patterns fits an address: 0 not at all, the larger the closer.
fn fit(patterns: &[AddressPattern], address: IpAddr, names: &Names) -> u32 {
    let matches = |pattern: &AddressPattern| match pattern {
        AddressPattern::Name(name) => names.has(name, address),
        other => other.matches(address),
    };
    patterns
        .iter()
        .filter(|p| matches(p))
        .map(|p| match p {
            AddressPattern::Any => 1,
            AddressPattern::Subnet(..) | AddressPattern::Range(..) => 2,
            _ => 3,
        })
        .max()
        .unwrap_or(if patterns.is_empty() { 1 } else { 0 })
}

/// The connections that name this address of a peer, alone or in a range, by the closest kind of pattern only.
pub(crate) fn naming<'a>(
    connections: impl Iterator<Item = &'a Arc<Connection>>,
    remote: IpAddr,
    names: &Names,
) -> Vec<&'a Arc<Connection>> {
    const ANYBODY: u32 = 1;
    let negotiating = connections.filter(|c| c.negotiates());
    let fitting: Vec<_> = negotiating.map(|c| (fit(&c.remote_addrs, remote, names), c)).collect();
    let best = fitting.iter().map(|(fit, _)| *fit).max().unwrap_or_default();
    fitting.into_iter().filter(|(fit, _)| *fit > ANYBODY && *fit == best).map(|(_, c)| c).collect()
}

/// The connections that these addresses allow, the most specific first, then in the order of the configuration.
pub(crate) fn by_addresses<'a>(
    connections: impl Iterator<Item = &'a Arc<Connection>>,
    local: IpAddr,
    remote: IpAddr,
    names: &Names,
) -> Vec<Arc<Connection>> {
    let mut found: Vec<(u32, &Arc<Connection>)> = connections
        .filter(|c| c.negotiates())
        .filter_map(|c| match (fit(&c.local_addrs, local, names), fit(&c.remote_addrs, remote, names)) {
            (0, _) | (_, 0) => None,
            (l, r) => Some((4 * r + l, c)),
        })
        .collect();
    found.sort_by_key(|(score, _)| std::cmp::Reverse(*score)); // stable: the configuration's order among equals
    found.into_iter().map(|(_, c)| Arc::clone(c)).collect()
}

/// How well a connection fits the identities of IKE_AUTH: the peer's, and the one of ours that it asked for.
pub(crate) fn identity_fit(
    connection: &Connection,
    peer: &Identity,
    asked_for: Option<&Identity>,
    local: IpAddr,
) -> Option<u32> {
    let remote = connection.remote.id.matches(peer)?;
    let own = match asked_for {
        None => 1,
        Some(asked) => match (certified_identity(&connection.local), connection.local.id.kind()) {
            (Some(own), _) if connection.local.method == AuthMethod::Pubkey => own.matches(asked)?,
            // Without an identity of our own we are whoever the peer asks for, best our address.
            (_, model::IdKind::Any) if *asked == Identity::from(local) => 2,
            _ => connection.local.id.matches(asked)?,
        },
    };
    Some(remote * 100 + own)
}
