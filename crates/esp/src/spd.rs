//! Which Child SA carries an outgoing packet: the protecting half of the Security Policy Database (RFC 4301 section 4.4.1).

use crate::packet::InnerPacket;
use model::{SaId, TrafficSelector};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::net::IpAddr;

/// Policies by the network of their destination. A lookup costs one hash lookup per prefix length in use, so it does not
/// grow with the number of SAs.
#[derive(Debug, Default)]
pub(crate) struct Spd {
    v4: Family,
    v6: Family,
    installed: u64,
}

#[derive(Debug, Default)]
struct Family {
    /// Longest prefix first.
    lengths: BTreeMap<Reverse<u8>, Networks>,
}

type Networks = HashMap<u128, Vec<Policy>, BuildHasherDefault<MixHasher>>;

#[derive(Clone, Copy, Debug)]
struct Policy {
    rank: Rank,
    owner: SaId,
    target: Target,
    local: TrafficSelector,
    remote: TrafficSelector,
}

/// What becomes of a packet that meets a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The Child SA in this slot carries it.
    Slot(usize),
    /// It asks for a Child SA.
    Trap(SaId),
}

/// The order within one destination network: the narrower selector first, of equals an SA before a trap, then the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    local_addresses: u128,
    any_protocol: bool,
    ports: u32,
    trap: bool,
    newest: Age,
}

/// When a policy came: the newer first. What succeeds another one comes right behind it, and takes over when that goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Age {
    newest: Reverse<u64>,
    behind: u64,
}

/// Where a policy comes among those of equal selectors.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// Before all.
    First,
    /// Right behind this one.
    Behind(Age),
    /// Where it was.
    Again(Age),
}

impl Spd {
    /// Adds a policy for each pair of selectors of one family, before those of equal selectors or where `place` says.
    pub(crate) fn insert(
        &mut self,
        owner: SaId,
        target: Target,
        local: &[TrafficSelector],
        remote: &[TrafficSelector],
        place: Place,
    ) -> Age {
        self.installed += 1;
        let age = match place {
            Place::Behind(other) => Age { newest: other.newest, behind: self.installed },
            Place::First => Age { newest: Reverse(self.installed), behind: 0 },
            Place::Again(age) => age,
        };
        for remote in remote {
            for local in local.iter().filter(|local| local.is_ipv6() == remote.is_ipv6()) {
                let rank = Rank {
                    local_addresses: bits(local.end).saturating_sub(bits(local.start)),
                    any_protocol: local.protocol == 0 && remote.protocol == 0,
                    ports: port_span(local) + port_span(remote),
                    trap: matches!(target, Target::Trap(_)),
                    newest: age,
                };
                let policy = Policy { rank, owner, target, local: *local, remote: *remote };
                let family = if remote.is_ipv6() { &mut self.v6 } else { &mut self.v4 };
                for (network, length) in remote.networks() {
                    let bucket = family.lengths.entry(Reverse(length)).or_default().entry(bits(network)).or_default();
                    let at = bucket.partition_point(|other| other.rank <= rank);
                    bucket.insert(at, policy);
                }
            }
        }
        age
    }

    /// Forgets the policies that [`insert`](Self::insert) made for these selectors.
    pub(crate) fn remove(&mut self, owner: SaId, remote: &[TrafficSelector]) {
        for remote in remote {
            let family = if remote.is_ipv6() { &mut self.v6 } else { &mut self.v4 };
            for (network, length) in remote.networks() {
                let Some(networks) = family.lengths.get_mut(&Reverse(length)) else { continue };
                if let Some(bucket) = networks.get_mut(&bits(network)) {
                    bucket.retain(|policy| policy.owner != owner);
                    if bucket.is_empty() {
                        networks.remove(&bits(network));
                    }
                }
                if networks.is_empty() {
                    family.lengths.remove(&Reverse(length));
                }
            }
        }
    }

    /// What protects an outgoing packet: the narrowest destination network decides, then the
    /// narrowest source, protocol and ports, then the newest SA (so a rekeyed SA takes over at once),
    /// and a trap last.
    pub(crate) fn lookup(&self, packet: &InnerPacket) -> Option<Target> {
        let destination = bits(packet.destination);
        let (family, width) = if packet.destination.is_ipv6() { (&self.v6, 128) } else { (&self.v4, 32u32) };
        family.lengths.iter().find_map(|(Reverse(length), networks)| {
            let host_bits = width - u32::from(*length);
            let network = destination & u128::MAX.checked_shl(host_bits).unwrap_or(0);
            let bucket = networks.get(&network)?;
            bucket.iter().find(|policy| packet.matches(&policy.local, &policy.remote)).map(|policy| policy.target)
        })
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn port_span(selector: &TrafficSelector) -> u32 {
    u32::from(selector.end_port).saturating_sub(u32::from(selector.start_port))
}

/// Spreads integers over a hash table without a random seed: this crate has no system randomness, and the keys stored are
/// our own SPIs and our own policies, so a peer cannot choose colliding ones.
#[derive(Debug, Default)]
pub(crate) struct MixHasher(u64);

impl Hasher for MixHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, octets: &[u8]) {
        for &octet in octets {
            self.write_u64(octet.into());
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        // The finaliser of SplitMix64: every input bit reaches every output bit.
        let mut mixed = (self.0 ^ number).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.0 = mixed ^ (mixed >> 31);
    }

    fn write_u128(&mut self, number: u128) {
        self.write_u64(number as u64);
        self.write_u64((number >> 64) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::tests::packet;

    fn ts(text: &str) -> TrafficSelector {
        text.parse().unwrap()
    }

    fn find(spd: &Spd, source: &str, destination: &str, protocol: u8, port: u8) -> Option<usize> {
        match spd.lookup(&InnerPacket::parse(&packet(source, destination, protocol, &[0, port, 0, port])).unwrap())? {
            Target::Slot(slot) => Some(slot),
            Target::Trap(SaId(trap)) => Some(1000 + trap as usize),
        }
    }

    #[test]
    fn a_trap_is_for_what_no_child_sa_carries() {
        let mut spd = Spd::default();
        let (local, remote) = ([ts("10.1.0.0/16")], [ts("10.2.0.0/16")]);
        spd.insert(SaId(1), Target::Slot(1), &local, &remote, Place::First);
        spd.insert(SaId(7), Target::Trap(SaId(7)), &local, &remote, Place::First);
        assert_eq!(find(&spd, "10.1.0.1", "10.2.0.1", 6, 80), Some(1), "though the trap is newer");
        spd.remove(SaId(1), &remote);
        assert_eq!(find(&spd, "10.1.0.1", "10.2.0.1", 6, 80), Some(1007));
        spd.insert(SaId(2), Target::Slot(2), &local, &[ts("10.2.0.0/28")], Place::First);
        assert_eq!(find(&spd, "10.1.0.1", "10.2.0.1", 6, 80), Some(2));
        assert_eq!(find(&spd, "10.1.0.1", "10.2.0.16", 6, 80), Some(1007), "the peer narrowed");
        spd.remove(SaId(7), &remote);
        assert_eq!(find(&spd, "10.1.0.1", "10.2.0.16", 6, 80), None);
    }

    #[test]
    fn the_narrower_wins_then_the_newer() {
        let mut spd = Spd::default();
        spd.insert(SaId(1), Target::Slot(1), &[ts("10.1.0.0/16")], &[ts("0.0.0.0/0")], Place::First);
        spd.insert(SaId(2), Target::Slot(2), &[ts("10.1.0.0/16")], &[ts("10.2.0.0/16")], Place::First);
        spd.insert(SaId(3), Target::Slot(3), &[ts("10.1.0.0/16")], &[ts("10.2.0.0/16[tcp/80]")], Place::First);
        assert_eq!(find(&spd, "10.1.0.1", "192.0.2.1", 17, 80), Some(1));
        assert_eq!(find(&spd, "10.1.0.1", "10.2.0.1", 17, 80), Some(2));
        assert_eq!(find(&spd, "10.1.0.1", "10.2.0.1", 6, 80), Some(3));
        assert_eq!(find(&spd, "10.9.0.1", "10.2.0.1", 6, 80), None);
        spd.insert(SaId(4), Target::Slot(4), &[ts("10.1.0.0/16")], &[ts("10.2.0.0/16")], Place::First);
        assert_eq!(find(&spd, "10.1.0.1", "10.2.0.1", 17, 80), Some(4));
        spd.remove(SaId(4), &[ts("10.2.0.0/16")]);
        assert_eq!(find(&spd, "10.1.0.1", "10.2.0.1", 17, 80), Some(2));
        spd.remove(SaId(2), &[ts("10.2.0.0/16")]);
        assert_eq!(find(&spd, "10.1.0.1", "10.2.0.1", 17, 80), Some(1));
    }

    #[test]
    fn ranges_and_both_families() {
        let mut spd = Spd::default();
        spd.insert(
            SaId(1),
            Target::Slot(1),
            &[ts("10.1.0.1"), ts("2001:db8:1::/48")],
            &[ts("10.2.0.3-10.2.0.9"), ts("2001:db8:2::/48")],
            Place::First,
        );
        assert_eq!(find(&spd, "10.1.0.1", "10.2.0.3", 17, 1), Some(1));
        assert_eq!(find(&spd, "10.1.0.1", "10.2.0.9", 17, 1), Some(1));
        assert_eq!(find(&spd, "10.1.0.1", "10.2.0.10", 17, 1), None);
        assert_eq!(find(&spd, "2001:db8:1::1", "2001:db8:2::1", 17, 1), Some(1));
        assert_eq!(find(&spd, "2001:db8:1::1", "2001:db8:3::1", 17, 1), None);
        spd.remove(SaId(1), &[ts("10.2.0.3-10.2.0.9"), ts("2001:db8:2::/48")]);
        assert!(spd.v4.lengths.is_empty() && spd.v6.lengths.is_empty());
    }

    #[test]
    fn a_successor_takes_over_when_its_predecessor_goes() {
        let (mut spd, local, remote) = (Spd::default(), [ts("10.1.0.0/16")], [ts("10.2.0.0/16")]);
        let looked_up = |spd: &Spd| find(spd, "10.1.0.1", "10.2.0.1", 6, 80);
        spd.insert(SaId(1), Target::Slot(1), &local, &remote, Place::First);
        let old = spd.insert(SaId(2), Target::Slot(2), &local, &remote, Place::First);
        let new = spd.insert(SaId(3), Target::Slot(3), &local, &remote, Place::Behind(old));
        assert_eq!(looked_up(&spd), Some(2));
        spd.insert(SaId(4), Target::Slot(4), &local, &remote, Place::Behind(new));
        spd.remove(SaId(2), &remote);
        assert_eq!(looked_up(&spd), Some(3), "and not the one that was there before both");
        spd.remove(SaId(3), &remote);
        spd.insert(SaId(3), Target::Slot(3), &local, &remote, Place::Again(new));
        assert_eq!(looked_up(&spd), Some(3), "changed, and still before its own successor");
        spd.remove(SaId(3), &remote);
        assert_eq!(looked_up(&spd), Some(4));
    }
}
