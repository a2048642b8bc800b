//! The IKE SAs of an endpoint, and where each is found by what it is: nothing that happens to one of them looks at all.
//!
//! An index cannot be forgotten: whoever changes an SA got it from [`Table::get_mut`], and what was got is looked at again
//! before the index is next asked.

use crate::ike_sa::IkeSa;
use config::Connection;
use model::SaId;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use wire::IkeSpi;

/// As many SAs may have been changed before the index is brought up to date in any case.
const TOUCHED: usize = 32;

/// What an SA is found by.
#[derive(Clone, Debug, Default)]
struct Facts {
    /// Not of one that is closed, which nobody looks for.
    at: Option<IpAddr>,
    connection: Option<Arc<Connection>>,
    half_open: bool,
    orphaned: bool,
    waits_for_list: bool,
    bypasses: bool,
    replaces: Option<SaId>,
    heir: Option<SaId>,
    predecessor: Option<SaId>,
    rekeyed_as: Option<IkeSpi>,
    children: Vec<SaId>,
}

impl Facts {
    fn of(sa: &IkeSa) -> Self {
        Self {
            at: (!sa.is_closed()).then(|| sa.addresses().1.ip()),
            connection: sa.connection().cloned(),
            half_open: sa.is_half_open(),
            orphaned: sa.is_orphaned(),
            waits_for_list: sa.waits_for_list(),
            bypasses: !sa.bypasses().is_empty(),
            replaces: sa.replaces(),
            heir: sa.heir(),
            predecessor: sa.predecessor(),
            rekeyed_as: sa.rekeyed_as(),
            children: sa.children().iter().map(|c| c.id).collect(),
        }
    }

    /// Whether these still hold.
    fn hold(&self, sa: &IkeSa) -> bool {
        let same = |a: &Arc<Connection>, b: &Arc<Connection>| Arc::ptr_eq(a, b);
        let connection = match (&self.connection, sa.connection()) {
            (Some(before), Some(now)) => same(before, now),
            (before, now) => before.is_none() && now.is_none(),
        };
        connection
            && self.at == (!sa.is_closed()).then(|| sa.addresses().1.ip())
            && self.half_open == sa.is_half_open()
            && self.orphaned == sa.is_orphaned()
            && self.waits_for_list == sa.waits_for_list()
            && self.bypasses != sa.bypasses().is_empty()
            && self.replaces == sa.replaces()
            && self.heir == sa.heir()
            && self.predecessor == sa.predecessor()
            && self.rekeyed_as == sa.rekeyed_as()
            && self.children.iter().eq(sa.children().iter().map(|c| &c.id))
    }

    fn name(&self) -> &str {
        self.connection.as_ref().map_or("", |c| c.name.as_str())
    }
}

/// Names of connections, as numbers: there are many SAs of each.
#[derive(Default)]
struct Names(BTreeMap<String, (u32, usize)>, u32);

impl Names {
    fn number(&self, name: &str) -> Option<u32> {
        self.0.get(name).map(|(number, _)| *number)
    }

    fn take(&mut self, name: &str) -> u32 {
        if let Some((number, users)) = self.0.get_mut(name) {
            *users += 1;
            return *number;
        }
        self.1 = self.1.wrapping_add(1);
        self.0.insert(name.to_string(), (self.1, 1));
        self.1
    }

    fn release(&mut self, name: &str) -> Option<u32> {
        let (number, users) = self.0.get_mut(name)?;
        let number = *number;
        *users -= 1;
        if *users == 0 {
            self.0.remove(name);
        }
        Some(number)
    }
}

/// By what SAs are found.
#[derive(Default)]
struct Index {
    names: Names,
    by_name: BTreeSet<(u32, SaId)>,
    by_place: BTreeSet<(IpAddr, u32, SaId)>,
    by_child: BTreeMap<SaId, SaId>,
    by_replaced: BTreeSet<(SaId, SaId)>,
    by_heir: BTreeSet<(SaId, SaId)>,
    by_predecessor: BTreeSet<(SaId, SaId)>,
    by_new_spi: BTreeSet<(IkeSpi, SaId)>,
    orphans: BTreeSet<SaId>,
    waiting: BTreeSet<SaId>,
    bypassing: BTreeSet<SaId>,
    live: usize,
    half_open: usize,
}

impl Index {
    fn add(&mut self, id: SaId, facts: &Facts) {
        if let Some(at) = facts.at {
            let name = self.names.take(facts.name());
            self.by_name.insert((name, id));
            self.by_place.insert((at, name, id));
            self.live += 1;
            self.half_open += usize::from(facts.half_open);
        }
        facts.replaces.into_iter().for_each(|old| _ = self.by_replaced.insert((old, id)));
        facts.heir.into_iter().for_each(|heir| _ = self.by_heir.insert((heir, id)));
        facts.predecessor.into_iter().for_each(|old| _ = self.by_predecessor.insert((old, id)));
        facts.rekeyed_as.into_iter().for_each(|spi| _ = self.by_new_spi.insert((spi, id)));
        facts.children.iter().for_each(|child| _ = self.by_child.insert(*child, id));
        if facts.orphaned {
            self.orphans.insert(id);
        }
        if facts.waits_for_list {
            self.waiting.insert(id);
        }
        if facts.bypasses {
            self.bypassing.insert(id);
        }
    }

    fn remove(&mut self, id: SaId, facts: &Facts) {
        if let Some((at, name)) = facts.at.and_then(|at| Some((at, self.names.release(facts.name())?))) {
            self.by_name.remove(&(name, id));
            self.by_place.remove(&(at, name, id));
            self.live -= 1;
            self.half_open -= usize::from(facts.half_open);
        }
        facts.replaces.into_iter().for_each(|old| _ = self.by_replaced.remove(&(old, id)));
        facts.heir.into_iter().for_each(|heir| _ = self.by_heir.remove(&(heir, id)));
        facts.predecessor.into_iter().for_each(|old| _ = self.by_predecessor.remove(&(old, id)));
        facts.rekeyed_as.into_iter().for_each(|spi| _ = self.by_new_spi.remove(&(spi, id)));
        for child in &facts.children {
            // It may be another one's already: one that takes a place takes the children.
            if self.by_child.get(child) == Some(&id) {
                self.by_child.remove(child);
            }
        }
        self.orphans.remove(&id);
        self.waiting.remove(&id);
        self.bypassing.remove(&id);
    }

    fn with_name(&self, name: &str) -> impl DoubleEndedIterator<Item = SaId> {
        let number = self.names.number(name);
        let range = number.map(|n| (n, SaId(0))..=(n, SaId(u32::MAX)));
        range.into_iter().flat_map(|range| self.by_name.range(range)).map(|(_, id)| *id)
    }

    fn with_place(&self, name: &str, at: IpAddr) -> impl Iterator<Item = SaId> {
        let number = self.names.number(name);
        let range = number.map(|n| (at, n, SaId(0))..=(at, n, SaId(u32::MAX)));
        range.into_iter().flat_map(|range| self.by_place.range(range)).map(|(_, _, id)| *id)
    }

    fn with_address(&self, at: IpAddr) -> impl Iterator<Item = SaId> {
        self.by_place.range((at, 0, SaId(0))..=(at, u32::MAX, SaId(u32::MAX))).map(|(_, _, id)| *id)
    }
}

/// Of a set of pairs, the second ones of this first one.
fn seconds(set: &BTreeSet<(SaId, SaId)>, first: SaId) -> Vec<SaId> {
    set.range((first, SaId(0))..=(first, SaId(u32::MAX))).map(|(_, second)| *second).collect()
}

struct Row {
    sa: IkeSa,
    /// As the index has it.
    facts: Facts,
}

/// All IKE SAs by number.
#[derive(Default)]
pub(super) struct Table {
    rows: BTreeMap<SaId, Row>,
    index: Index,
    /// Perhaps changed since the index was brought up to date; all of them if there are too many.
    touched: Vec<SaId>,
    all_touched: bool,
    /// How often an SA was looked at, so that a test notices when that grows with their number.
    #[cfg(test)]
    looks: std::cell::Cell<usize>,
}

impl Table {
    /// So many SAs are looked at.
    fn look(&self, _sas: usize) {
        #[cfg(test)]
        self.looks.set(self.looks.get() + _sas);
    }

    /// How many looks at an SA there were since this was last asked.
    #[cfg(test)]
    pub fn take_looks(&mut self) -> usize {
        self.settle();
        self.looks.take()
    }

    pub fn get(&self, id: &SaId) -> Option<&IkeSa> {
        self.look(1);
        self.rows.get(id).map(|row| &row.sa)
    }

    pub fn get_mut(&mut self, id: &SaId) -> Option<&mut IkeSa> {
        if self.touched.last() != Some(id) {
            if self.touched.len() >= TOUCHED {
                self.settle();
            }
            self.touched.push(*id);
        }
        self.look(1);
        self.rows.get_mut(id).map(|row| &mut row.sa)
    }

    pub fn insert(&mut self, id: SaId, sa: IkeSa) {
        self.remove(&id);
        let facts = Facts::of(&sa);
        self.index.add(id, &facts);
        self.rows.insert(id, Row { sa, facts });
    }

    pub fn remove(&mut self, id: &SaId) -> Option<IkeSa> {
        let Row { sa, facts } = self.rows.remove(id)?;
        self.index.remove(*id, &facts);
        Some(sa)
    }

    pub fn values(&self) -> impl Iterator<Item = &IkeSa> {
        self.look(self.rows.len());
        self.rows.values().map(|row| &row.sa)
    }

    /// For what an operator, or a change of this host, does to many.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut IkeSa> {
        self.all_touched = true;
        self.look(self.rows.len());
        self.rows.values_mut().map(|row| &mut row.sa)
    }

    /// Brings the index up to date.
    fn settle(&mut self) {
        self.look(if self.all_touched { self.rows.len() } else { self.touched.len() });
        let Self { rows, index, touched, all_touched, .. } = self;
        let all = std::mem::take(all_touched).then(|| rows.keys().copied().collect::<Vec<_>>());
        for id in all.unwrap_or_default().into_iter().chain(touched.drain(..)) {
            let Some(row) = rows.get_mut(&id).filter(|row| !row.facts.hold(&row.sa)) else { continue };
            let facts = Facts::of(&row.sa);
            index.remove(id, &row.facts);
            index.add(id, &facts);
            row.facts = facts;
        }
    }

    fn known(&self, ids: impl Iterator<Item = SaId>) -> impl Iterator<Item = &IkeSa> {
        ids.filter_map(|id| self.get(&id))
    }

    /// Those of a connection that are not closed.
    pub fn named(&mut self, name: &str) -> impl Iterator<Item = &IkeSa> {
        self.settle();
        self.known(self.index.with_name(name))
    }

    /// Those of a connection whose peer is at this address.
    pub fn named_at(&mut self, name: &str, at: IpAddr) -> impl Iterator<Item = &IkeSa> {
        self.settle();
        self.known(self.index.with_place(name, at))
    }

    /// Those whose peer is at this address, of whichever connection.
    pub fn at(&mut self, at: IpAddr) -> impl Iterator<Item = &IkeSa> {
        self.settle();
        self.known(self.index.with_address(at))
    }

    /// The one that has this Child SA, or makes it.
    pub fn owner(&mut self, child: SaId) -> Option<SaId> {
        self.settle();
        self.index.by_child.get(&child).copied()
    }

    /// Those that are to replace this one.
    pub fn replacing(&mut self, old: SaId) -> Vec<SaId> {
        self.settle();
        seconds(&self.index.by_replaced, old)
    }

    /// Those whose Child SAs go to this one.
    pub fn with_heir(&mut self, heir: SaId) -> Vec<SaId> {
        self.settle();
        seconds(&self.index.by_heir, heir)
    }

    /// Those that the peer made in the place of this one, which it has not deleted.
    pub fn with_predecessor(&mut self, old: SaId) -> Vec<SaId> {
        self.settle();
        seconds(&self.index.by_predecessor, old)
    }

    /// Whether one is being rekeyed by us to one with this SPI of ours, which the peer may have already.
    pub fn has_rekeyed_as(&mut self, spi: IkeSpi) -> bool {
        self.settle();
        self.index.by_new_spi.range((spi, SaId(0))..=(spi, SaId(u32::MAX))).next().is_some()
    }

    /// IKEv1: those of which only Child SAs are left.
    pub fn orphans(&mut self) -> Vec<SaId> {
        self.settle();
        self.index.orphans.iter().copied().collect()
    }

    /// Those that wait for a revocation list.
    pub fn waiting_for_list(&mut self) -> Vec<SaId> {
        self.settle();
        self.index.waiting.iter().copied().collect()
    }

    /// Those whose peers let something pass in the clear.
    pub fn bypassing(&mut self) -> Vec<SaId> {
        self.settle();
        self.index.bypassing.iter().copied().collect()
    }

    /// How many are not closed, and how many of them are half-open.
    pub fn sizes(&self) -> (usize, usize) {
        let count = |at: bool, half_open: bool| (usize::from(at), usize::from(at && half_open));
        if self.all_touched {
            let each = self.values().map(|sa| count(!sa.is_closed(), sa.is_half_open()));
            return each.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        }
        let touched: BTreeSet<SaId> = self.touched.iter().copied().collect();
        let rows = touched.iter().filter_map(|id| self.rows.get(id));
        rows.fold((self.index.live, self.index.half_open), |sum, row| {
            let before = count(row.facts.at.is_some(), row.facts.half_open);
            let now = count(!row.sa.is_closed(), row.sa.is_half_open());
            (sum.0 + now.0 - before.0, sum.1 + now.1 - before.1)
        })
    }

    /// Whether the index says what a look at every SA says; only asked where there are few.
    #[cfg(debug_assertions)]
    pub fn is_consistent(&mut self) -> bool {
        if self.rows.len() > TOUCHED {
            return true;
        }
        self.settle();
        let mut fresh = Index::default();
        self.rows.iter().for_each(|(id, row)| fresh.add(*id, &Facts::of(&row.sa)));
        self.index.agrees(&fresh)
    }
}

#[cfg(debug_assertions)]
impl Index {
    /// Whether the two are the same, whatever numbers they gave to names.
    fn agrees(&self, other: &Self) -> bool {
        fn named(index: &Index) -> Vec<(&str, usize, Vec<SaId>)> {
            let each = index.names.0.iter().map(|(name, (_, users))| (name.as_str(), *users));
            each.map(|(name, users)| (name, users, index.with_name(name).collect())).collect()
        }
        fn placed(index: &Index) -> BTreeSet<(IpAddr, Option<&str>, SaId)> {
            let name =
                |number: u32| index.names.0.iter().find(|(_, (n, _))| *n == number).map(|(name, _)| name.as_str());
            index.by_place.iter().map(|(at, number, id)| (*at, name(*number), *id)).collect()
        }
        named(self) == named(other)
            && placed(self) == placed(other)
            && self.by_name.len() == other.by_name.len()
            && self.by_child == other.by_child
            && self.by_replaced == other.by_replaced
            && self.by_heir == other.by_heir
            && self.by_predecessor == other.by_predecessor
            && self.by_new_spi == other.by_new_spi
            && self.orphans == other.orphans
            && self.waiting == other.waiting
            && self.bypassing == other.bypassing
            && (self.live, self.half_open) == (other.live, other.half_open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn connection(name: &str) -> Arc<Connection> {
        let text = format!("connections {{ {name} {{ }} }}");
        let tree = config::parse("swanctl.conf", &config::MemoryFiles::one("swanctl.conf", &text)).unwrap();
        Arc::clone(&config::load(&tree).unwrap().connections[0])
    }

    fn facts(connections: Vec<Arc<Connection>>) -> impl Strategy<Value = Facts> {
        let some = |n: u32| proptest::option::of((0..n).prop_map(SaId));
        let at = proptest::option::of((0..3_u8).prop_map(|n| IpAddr::from([192, 0, 2, n])));
        let connection = proptest::option::of(proptest::sample::select(connections));
        let flags = any::<(bool, bool, bool, bool)>();
        (at, connection, flags, some(4), some(4), some(4), some(4)).prop_map(
            |(at, connection, (half_open, orphaned, waits_for_list, bypasses), replaces, heir, predecessor, spi)| {
                Facts {
                    at,
                    connection,
                    half_open,
                    orphaned,
                    waits_for_list,
                    bypasses,
                    replaces,
                    heir,
                    predecessor,
                    rekeyed_as: spi.map(|spi| IkeSpi::from(u64::from(spi.0))),
                    children: Vec::new(),
                }
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_index_says_what_a_look_at_every_sa_says(
            steps in proptest::collection::vec(
                (0..8_u32, proptest::option::of(facts(["a", "b", "a"].map(connection).to_vec())), 0..3_u32), 0..80),
        ) {
            let (mut index, mut model) = (Index::default(), BTreeMap::<SaId, Facts>::new());
            for (id, new, children) in steps {
                let id = SaId(id);
                if let Some(old) = model.remove(&id) {
                    index.remove(id, &old);
                }
                if let Some(mut new) = new {
                    new.children = (0..children).map(|n| SaId(10 * id.0 + n)).collect();
                    index.add(id, &new);
                    model.insert(id, new);
                }
                let mut fresh = Index::default();
                model.iter().for_each(|(id, facts)| fresh.add(*id, facts));
                prop_assert!(index.agrees(&fresh));
                let open = || model.iter().filter(|(_, f)| f.at.is_some());
                for name in ["a", "b", ""] {
                    let scanned: Vec<SaId> = open().filter(|(_, f)| f.name() == name).map(|(id, _)| *id).collect();
                    prop_assert_eq!(index.with_name(name).collect::<Vec<_>>(), scanned);
                    for at in (0..3).map(|n| IpAddr::from([192, 0, 2, n])) {
                        let scanned: Vec<SaId> =
                            open().filter(|(_, f)| f.name() == name && f.at == Some(at)).map(|(id, _)| *id).collect();
                        prop_assert_eq!(index.with_place(name, at).collect::<Vec<_>>(), scanned);
                        let mut found: Vec<SaId> = index.with_address(at).collect();
                        found.sort();
                        let scanned: Vec<SaId> = open().filter(|(_, f)| f.at == Some(at)).map(|(id, _)| *id).collect();
                        prop_assert_eq!(found, scanned);
                    }
                }
                for old in (0..4).map(SaId) {
                    let scanned: Vec<SaId> =
                        model.iter().filter(|(_, f)| f.replaces == Some(old)).map(|(id, _)| *id).collect();
                    prop_assert_eq!(seconds(&index.by_replaced, old), scanned);
                    let scanned: Vec<SaId> =
                        model.iter().filter(|(_, f)| f.predecessor == Some(old)).map(|(id, _)| *id).collect();
                    prop_assert_eq!(seconds(&index.by_predecessor, old), scanned);
                }
            }
        }
    }

    #[test]
    fn a_child_belongs_to_who_took_it_whichever_is_looked_at_first() {
        let of = |children: &[u32]| Facts { children: children.iter().map(|n| SaId(*n)).collect(), ..Facts::default() };
        let mut index = Index::default();
        index.add(SaId(1), &of(&[7]));
        index.add(SaId(2), &of(&[]));
        index.remove(SaId(2), &of(&[]));
        index.add(SaId(2), &of(&[7]));
        index.remove(SaId(1), &of(&[7]));
        index.add(SaId(1), &of(&[]));
        assert_eq!(index.by_child.get(&SaId(7)), Some(&SaId(2)));
    }
}
