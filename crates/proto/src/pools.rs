//! Virtual addresses for peers that ask for one: IKEv2's CFG payload (RFC 7296 section 3.15) and IKEv1's Mode-Config.
//!
//! A lease belongs to an identity. It outlives the IKE SA, so that a peer that comes back gets the address it had; an
//! address whose owner is away is given to another only when no unused one is left.

use config::{Pool, PoolAttribute};
use model::{Identity, Instant};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address and who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: IpAddr,
    /// Its owner.
    pub identity: Identity,
    /// How many IKE SAs use it; none while the owner is away.
    pub users: u32,
    /// When that changed last.
    pub since: Instant,
}

#[derive(Debug)]
struct State {
    pool: Pool,
    leases: BTreeMap<IpAddr, Lease>,
    /// The addresses of each owner, so that nobody's is looked for among all.
    by_owner: BTreeSet<(Identity, IpAddr)>,
    /// Those whose owners are away, the one that was left longest ago first.
    away: BTreeSet<(Instant, IpAddr)>,
    /// How many addresses were given out in order; those behind have never been.
    next: u128,
}

/// All pools, by name.
#[derive(Debug, Default)]
pub struct Pools {
    pools: BTreeMap<String, State>,
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(a.to_bits()),
        IpAddr::V6(a) => a.to_bits(),
    }
}

impl State {
    fn contains(&self, address: IpAddr) -> bool {
        let within = |(first, last): &(IpAddr, IpAddr)| {
            first.is_ipv4() == address.is_ipv4() && *first <= address && address <= *last
        };
        self.pool.ranges.iter().any(within)
    }

    /// The address at a position, counted through all ranges.
    fn at(&self, mut position: u128) -> Option<IpAddr> {
        for (first, last) in &self.pool.ranges {
            let size = number(*last).checked_sub(number(*first))?.saturating_add(1);
            if position < size {
                let found = number(*first).checked_add(position)?;
                return Some(match first {
                    IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(found).ok()?)),
                    IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(found)),
                });
            }
            position -= size;
        }
        None
    }

    fn is_ipv4(&self) -> bool {
        self.pool.base.is_ipv4()
    }

    /// With these leases, whatever it had before.
    fn with(self, leases: BTreeMap<IpAddr, Lease>) -> Self {
        let by_owner = leases.values().map(|lease| (lease.identity.clone(), lease.address)).collect();
        let away = leases.values().filter(|lease| lease.users == 0).map(|lease| (lease.since, lease.address)).collect();
        Self { leases, by_owner, away, ..self }
    }

    /// There is a lease as `to` makes it of the one that was there before.
    fn change(&mut self, address: IpAddr, to: impl FnOnce(Option<Lease>) -> Lease) {
        let before = self.leases.remove(&address);
        let owner = before.as_ref().map(|lease| lease.identity.clone());
        if let Some(lease) = before.as_ref().filter(|lease| lease.users == 0) {
            self.away.remove(&(lease.since, address));
        }
        let lease = to(before);
        if owner.as_ref() != Some(&lease.identity) {
            owner.into_iter().for_each(|owner| _ = self.by_owner.remove(&(owner, address)));
            self.by_owner.insert((lease.identity.clone(), address));
        }
        if lease.users == 0 {
            self.away.insert((lease.since, address));
        }
        self.leases.insert(address, lease);
    }

    fn take(&mut self, address: IpAddr, identity: &Identity, now: Instant) -> IpAddr {
        self.change(address, |before| {
            let users = before.map_or(0, |lease| lease.users) + 1;
            Lease { address, identity: identity.clone(), users, since: now }
        });
        address
    }

    /// What an owner has or had, by address.
    fn of(&self, identity: &Identity) -> impl Iterator<Item = &Lease> {
        const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let from = (identity.clone(), FIRST); // an IPv4 address is before any of IPv6
        let own = self.by_owner.range(from..).take_while(move |(owner, _)| owner == identity);
        own.filter_map(|(_, address)| self.leases.get(address))
    }

    /// One that its owner left, the same owner's first.
    fn existing(&self, identity: &Identity, asked: IpAddr) -> Option<IpAddr> {
        let own = |lease: &&Lease| lease.identity == *identity;
        // The same end asks again for what it has: a new IKE SA beside the old one.
        if let Some(lease) = self.leases.get(&asked).filter(own) {
            return Some(lease.address);
        }
        self.of(identity).find(|lease| lease.users == 0).map(|lease| lease.address)
    }

    fn fresh(&mut self, asked: IpAddr) -> Option<IpAddr> {
        if !asked.is_unspecified() && self.contains(asked) && !self.leases.contains_key(&asked) {
            return Some(asked);
        }
        while let Some(address) = self.at(self.next) {
            self.next += 1;
            if !self.leases.contains_key(&address) {
                return Some(address);
            }
        }
        // None left that nobody ever had: the one that was left longest ago.
        self.away.first().map(|(_, address)| *address)
    }
}

impl Pools {
    /// Adds a pool, or replaces the one of that name. Leases that lie within the new one stay.
    pub fn load(&mut self, pool: Pool) {
        let name = pool.name.clone();
        let leases = self.pools.remove(&name).map(|old| old.leases).unwrap_or_default();
        let state = State { pool, leases: BTreeMap::new(), by_owner: BTreeSet::new(), away: BTreeSet::new(), next: 0 };
        let leases = leases.into_iter().filter(|(address, _)| state.contains(*address)).collect();
        self.pools.insert(name, state.with(leases));
    }

    /// Forgets a pool. Returns whether there was one. Those who have an address of it keep it.
    pub fn unload(&mut self, name: &str) -> bool {
        self.pools.remove(name).is_some()
    }

    /// The pools, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Pool> {
        self.pools.values().map(|state| &state.pool)
    }

    /// The leases of a pool, by address.
    pub fn leases(&self, name: &str) -> impl Iterator<Item = &Lease> {
        self.pools.get(name).into_iter().flat_map(|state| state.leases.values())
    }

    /// An address for a peer from the first of these pools that has one, of the family of `asked`. `asked` is the address
    /// that the peer would like, unspecified if any. `None` if no pool has one left.
    pub fn acquire(&mut self, names: &[String], identity: &Identity, asked: IpAddr, now: Instant) -> Option<IpAddr> {
        let fitting = |state: &State| state.is_ipv4() == asked.is_ipv4();
        // What it had, in whichever pool, comes before anything new.
        for name in names {
            let Some(state) = self.pools.get_mut(name).filter(|state| fitting(state)) else { continue };
            if let Some(address) = state.existing(identity, asked) {
                return Some(state.take(address, identity, now));
            }
        }
        for name in names {
            let Some(state) = self.pools.get_mut(name).filter(|state| fitting(state)) else { continue };
            if let Some(address) = state.fresh(asked) {
                return Some(state.take(address, identity, now));
            }
        }
        None
    }

    /// The address of this family that an identity has or had, in the first of these pools with one.
    pub fn held(&self, names: &[String], identity: &Identity, ipv4: bool) -> Option<IpAddr> {
        let fitting = names.iter().filter_map(|name| self.pools.get(name)).filter(|state| state.is_ipv4() == ipv4);
        fitting.flat_map(|state| state.of(identity)).next().map(|lease| lease.address)
    }

    /// Whether one of these pools has addresses of IPv4, or of IPv6, free or not.
    pub fn have(&self, names: &[String], ipv4: bool) -> bool {
        names.iter().filter_map(|name| self.pools.get(name)).any(|state| state.is_ipv4() == ipv4)
    }

    /// An IKE SA that used an address is gone.
    pub fn release(&mut self, names: &[String], identity: &Identity, address: IpAddr, now: Instant) {
        for name in names {
            let Some(state) = self.pools.get_mut(name) else { continue };
            let lease = state.leases.get(&address).cloned();
            if let Some(lease) = lease.filter(|lease| lease.identity == *identity && lease.users > 0) {
                return state.change(address, |_| Lease { users: lease.users - 1, since: now, ..lease });
            }
        }
    }

    /// What users of these pools are told beside their address, in order.
    pub fn attributes<'a>(&'a self, names: &'a [String]) -> impl Iterator<Item = &'a PoolAttribute> {
        names.iter().filter_map(|name| self.pools.get(name)).flat_map(|state| state.pool.attributes.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ConfigRef;
    use proptest::prelude::*;

    const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

    fn pools() -> (Pools, Vec<String>) {
        let address = |last| IpAddr::from([10, 0, 0, last]);
        let source = ConfigRef { file: "test".into(), line: 1, key: "pools.p".into() };
        let (ranges, attributes) = (vec![(address(1), address(2))], Vec::new());
        let mut pools = Pools::default();
        pools.load(Pool { name: "p".into(), base: address(1), ranges, attributes, source });
        (pools, vec!["p".into()])
    }

    fn user(name: &str) -> Identity {
        name.parse().unwrap()
    }

    /// What a look at every lease says, where an index is asked.
    fn agrees(state: &State) -> bool {
        let all = || state.leases.values();
        state.by_owner == all().map(|lease| (lease.identity.clone(), lease.address)).collect()
            && state.away == all().filter(|l| l.users == 0).map(|l| (l.since, l.address)).collect()
    }

    proptest! {
        #[test]
        fn leases_are_found_as_if_all_were_looked_at(
            steps in proptest::collection::vec((0..6_u8, 0..5_u8, 0..8_u8), 0..80),
        ) {
            let (mut pools, names) = pools();
            let range = |last: u8| vec![(IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, last]))];
            for (n, (what, who, last)) in steps.into_iter().enumerate() {
                let (user, now) = (user(&format!("{who}@x")), Instant::from_nanos(n as u64 / 2));
                let asked = if last < 4 { IpAddr::from([10, 0, 0, last]) } else { ANY };
                let state = &pools.pools["p"];
                let scanned = state.leases.values().find(|lease| lease.identity == user).map(|lease| lease.address);
                prop_assert_eq!(pools.held(&names, &user, true), scanned);
                match what {
                    0..3 => {
                        let own: Vec<Lease> = state.leases.values().filter(|l| l.identity == user).cloned().collect();
                        let again = own.iter().find(|l| l.address == asked).or(own.iter().find(|l| l.users == 0));
                        let again = again.map(|lease| lease.address);
                        let left = state.leases.values().filter(|l| l.users == 0).min_by_key(|l| l.since).cloned();
                        let all = state.leases.len() == usize::from(state.pool.ranges[0] == range(4)[0]) * 2 + 2;
                        let got = pools.acquire(&names, &user, asked, now);
                        if again.is_some() {
                            prop_assert_eq!(got, again);
                        } else if all {
                            prop_assert_eq!(got, left.map(|lease| lease.address));
                        }
                    }
                    3 | 4 => pools.release(&names, &user, IpAddr::from([10, 0, 0, last]), now),
                    _ => {
                        let ranges = range(if last < 4 { 2 } else { 4 });
                        let pool = Pool { ranges, ..pools.pools["p"].pool.clone() };
                        pools.load(pool);
                    }
                }
                prop_assert!(agrees(&pools.pools["p"]));
            }
        }
    }

    #[test]
    fn a_peer_that_comes_back_gets_its_address_again() {
        let (mut pools, names) = pools();
        let at = Instant::from_nanos;
        let first = pools.acquire(&names, &user("a@x"), ANY, at(1)).unwrap();
        let second = pools.acquire(&names, &user("b@x"), ANY, at(2)).unwrap();
        assert_eq!((first.to_string().as_str(), second.to_string().as_str()), ("10.0.0.1", "10.0.0.2"));
        assert_eq!(pools.acquire(&names, &user("c@x"), ANY, at(3)), None, "both are in use");
        pools.release(&names, &user("c@x"), first, at(4));
        assert_eq!(pools.acquire(&names, &user("c@x"), ANY, at(4)), None, "only its owner gives an address back");
        pools.release(&names, &user("b@x"), second, at(5));
        pools.release(&names, &user("a@x"), first, at(6));
        assert_eq!(pools.acquire(&names, &user("a@x"), second, at(7)), Some(first));
        assert_eq!(pools.acquire(&names, &user("a@x"), first, at(8)), Some(first), "the same for a second IKE SA");
        assert_eq!(pools.acquire(&names, &user("c@x"), ANY, at(9)), Some(second), "the one left longest ago");
        assert_eq!(pools.held(&names, &user("a@x"), true), Some(first));
        assert_eq!((pools.held(&names, &user("a@x"), false), pools.held(&names, &user("b@x"), true)), (None, None));
        pools.release(&names, &user("a@x"), first, at(10));
        assert_eq!(pools.leases("p").map(|lease| lease.users).collect::<Vec<_>>(), [1, 1]);
    }

    #[test]
    fn families_and_wishes_are_obeyed() {
        let (mut pools, names) = pools();
        let now = Instant::from_nanos(0);
        assert_eq!(pools.acquire(&names, &user("a@x"), Ipv6Addr::UNSPECIFIED.into(), now), None);
        assert_eq!(pools.acquire(&["other".to_string()], &user("a@x"), ANY, now), None);
        let wish = IpAddr::from([10, 0, 0, 2]);
        assert_eq!(pools.acquire(&names, &user("a@x"), wish, now), Some(wish));
        assert_ne!(pools.acquire(&names, &user("b@x"), wish, now), Some(wish), "somebody else's");
        let outside = IpAddr::from([10, 0, 0, 9]);
        assert_eq!(pools.acquire(&names, &user("c@x"), outside, now), None);
        assert!(pools.have(&names, true) && !pools.have(&names, false));
        assert_eq!(pools.iter().count(), 1);
        assert!(pools.unload("p") && !pools.unload("p"));
    }
}
