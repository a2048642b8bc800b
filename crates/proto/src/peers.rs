//! Who is up with whom: the established SAs by both identities, and by the peer's address.

use model::{Identity, SaId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// Our identity and the peer's.
type Pair = (Identity, Identity);

/// The established SAs, each with its peer's address.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    by_identities: BTreeMap<Pair, BTreeMap<SaId, SocketAddr>>,
    by_address: BTreeSet<(IpAddr, SaId)>,
}

impl Peers {
    /// An SA is up, or its peer is at another address now.
    pub fn note(&mut self, sa: SaId, identities: Pair, at: SocketAddr) {
        let before = self.by_identities.entry(identities).or_default().insert(sa, at);
        if before.map(|at| at.ip()) != Some(at.ip()) {
            before.into_iter().for_each(|old| _ = self.by_address.remove(&(old.ip(), sa)));
            self.by_address.insert((at.ip(), sa));
        }
    }

    /// An SA is no more.
    pub fn forget(&mut self, sa: SaId, identities: &Pair) {
        let Some(sas) = self.by_identities.get_mut(identities) else { return };
        if let Some(at) = sas.remove(&sa) {
            self.by_address.remove(&(at.ip(), sa));
        }
        if sas.is_empty() {
            self.by_identities.remove(identities);
        }
    }

    /// Those of these identities.
    pub fn with(&self, identities: &Pair) -> Option<&BTreeMap<SaId, SocketAddr>> {
        self.by_identities.get(identities)
    }

    /// Whether another SA than `sa` is up with whoever is at this address.
    pub fn another_at(&self, sa: SaId, at: IpAddr) -> bool {
        self.by_address.range((at, SaId(0))..=(at, SaId(u32::MAX))).any(|(_, other)| *other != sa)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_addresses_are_those_of_the_table(
            steps in proptest::collection::vec((0..6_u32, 0..3_u8, 0..4_u8, any::<bool>()), 0..60),
        ) {
            let mut peers = Peers::default();
            let of = |sa: u32| (Identity::ANY, Identity::from_wire(2, &[sa as u8 % 3]));
            for (sa, host, port, up) in steps {
                let at = SocketAddr::from(([192, 0, 2, host], u16::from(port)));
                match up {
                    true => peers.note(SaId(sa), of(sa), at),
                    false => peers.forget(SaId(sa), &of(sa)),
                }
                let all = peers.by_identities.values().flatten();
                let expected: BTreeSet<(IpAddr, SaId)> = all.map(|(sa, at)| (at.ip(), *sa)).collect();
                prop_assert_eq!(&peers.by_address, &expected);
                prop_assert!(peers.by_identities.values().all(|sas| !sas.is_empty()));
                for sa in (0..6).map(SaId) {
                    let scanned = expected.iter().any(|(ip, other)| *ip == at.ip() && *other != sa);
                    prop_assert_eq!(peers.another_at(sa, at.ip()), scanned);
                }
            }
        }
    }
}
