//! What becomes of SAs from one listing to the next: stable, rekeyed, flapping, never up.
//!
//! An SA is the same as long as its SPIs (or its name) are. A new one in its place is a rekeying if the old one had nearly
//! reached its age; else it was replaced too soon, and if that happens again and again, the SA is flapping.

use crate::listed::{is_dying, may_be_renewal, pace};
use crate::rhythm::SOON;
use crate::{Finding, listed};
use model::{ListedSa, Listing};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Peers that are followed; more are counted.
const MAX_PEERS: usize = 4096;
/// Rows of one listing that are looked at.
const MAX_ROWS: usize = 65_536;
/// Rows that are kept, in all listings together, for the verdict in the end.
const MAX_KEPT: usize = 200_000;
/// Replaced so often within [`WINDOW`] milliseconds: flapping.
const OFTEN: usize = 2;
const WINDOW: u64 = 600_000;
/// Without a lifetime in the listing, an SA that lived so many milliseconds was not rekeyed by any lifetime.
const TOO_SHORT: u64 = 10_000;
/// So many instants are kept of SAs that took the place of one that was gone.
const KEPT: usize = 64;

/// What a peer's SAs are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// The same SA as before.
    Stable,
    /// A newer SA in time for the older one's end.
    Rekeyed,
    /// Established at last, or again.
    Up,
    /// An attempt that was not there before, or the first look at one.
    Negotiating,
    /// There were attempts only, several or one that does not end.
    NeverUp,
    /// Established before, and not there now.
    Gone,
    /// Another SA long before the end of the older one, once.
    Replaced,
    /// The same again and again.
    Flapping,
}

impl Condition {
    /// For people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Rekeyed => "rekeyed",
            Self::Up => "up",
            Self::Negotiating => "negotiating",
            Self::NeverUp => "never up",
            Self::Gone => "gone",
            Self::Replaced => "replaced early",
            Self::Flapping => "flapping",
        }
    }
}

/// What changed at a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The peer, with our end where the listing has it.
    pub peer: String,
    /// What it is like now.
    pub condition: Condition,
    /// What was seen, in a few words.
    pub text: String,
}

/// A peer from the first look to the last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Watched {
    /// The peer, with our end where the listing has it.
    pub peer: String,
    /// What it is like now.
    pub condition: Condition,
    /// SAs that were seen established.
    pub established: u32,
    /// Those of them that followed another in time.
    pub rekeyed: u32,
    /// Those that followed another too soon.
    pub replaced: u32,
    /// Attempts that were seen and did not establish.
    pub failed: u32,
}

#[derive(Default)]
struct Peer {
    condition: Option<Condition>,
    /// Established SAs at the last look, by key: when seen first, and as seen last.
    up: BTreeMap<String, (u64, ListedSa)>,
    /// Attempts at the last look.
    trying: BTreeSet<String>,
    children: Option<u32>,
    /// When the SA had come that is gone now, with none in its place yet.
    left: Option<u64>,
    /// When it was replaced too soon.
    early: VecDeque<u64>,
    /// When one was there in place of one that was simply gone, in a listing without ages.
    gone: VecDeque<u64>,
    /// How often one came while the one before was still there.
    orderly: usize,
    looks_trying: u32,
    established: u32,
    rekeyed: u32,
    replaced: u32,
    failed: u32,
}

/// Follows the listings of one dialect.
#[derive(Default)]
pub struct Watch {
    peers: BTreeMap<String, Peer>,
    series: VecDeque<Listing>,
    kept: usize,
    last: Option<u64>,
    left_out: u64,
}

/// What tells an SA from others of its peer.
fn key(sa: &ListedSa) -> String {
    match (&sa.spis, &sa.name) {
        (Some(spis), _) => format!("{}:{}", spis.initiator, spis.responder),
        (None, Some(name)) => name.clone(),
        (None, None) => String::new(),
    }
}

/// An attempt keeps its initiator's SPI only.
fn attempt(sa: &ListedSa) -> String {
    sa.spis.map_or_else(|| key(sa), |spis| spis.initiator.to_string())
}

fn peer(sa: &ListedSa) -> String {
    sa.source.as_ref().map_or_else(|| sa.peer.clone(), |source| format!("{source} -> {}", sa.peer))
}

impl Watch {
    /// Takes the next listing, taken at this time in milliseconds, and says what changed. The first listing says what
    /// there is.
    pub fn take(&mut self, at: u64, mut sas: Vec<ListedSa>) -> Vec<Change> {
        sas.truncate(MAX_ROWS);
        let mut by_peer: BTreeMap<String, Vec<&ListedSa>> = BTreeMap::new();
        for sa in &sas {
            by_peer.entry(peer(sa)).or_default().push(sa);
        }
        for name in by_peer.keys() {
            if self.peers.len() < MAX_PEERS {
                self.peers.entry(name.clone()).or_default();
            } else if !self.peers.contains_key(name) {
                self.left_out += 1;
            }
        }
        let interval = self.last.map_or(0, |last| at.saturating_sub(last));
        let mut changes = Vec::new();
        for (name, peer) in &mut self.peers {
            let rows = by_peer.get(name).map_or(&[][..], Vec::as_slice);
            let before = peer.condition;
            let (condition, text) = peer.look(at, interval, rows);
            // What goes on as before is no change, unless there is something to tell.
            if before != Some(condition) || !text.is_empty() {
                changes.push(Change { peer: name.clone(), condition, text });
            }
            peer.condition = Some(condition);
        }
        self.last = Some(at);
        self.kept += sas.len() + 1;
        self.series.push_back(Listing { at: Some(at), sas });
        while self.kept > MAX_KEPT && self.series.len() > 2 {
            self.kept -= self.series.pop_front().map_or(0, |listing| listing.sas.len() + 1);
        }
        changes
    }

    /// All peers, and what became of them.
    pub fn watched(&self) -> Vec<Watched> {
        let one = |(name, peer): (&String, &Peer)| Watched {
            peer: name.clone(),
            condition: peer.condition.unwrap_or(Condition::Negotiating),
            established: peer.established,
            rekeyed: peer.rekeyed,
            replaced: peer.replaced,
            failed: peer.failed,
        };
        self.peers.iter().map(one).collect()
    }

    /// The verdict on the listings that are kept.
    pub fn findings(&self) -> Vec<Finding> {
        let series: Vec<Listing> = self.series.iter().cloned().collect();
        listed(&series)
    }

    /// Rows about further peers, which are too many.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }
}

impl Peer {
    /// The rows of this look: what it is like, and what there is to say.
    fn look(&mut self, at: u64, interval: u64, rows: &[&ListedSa]) -> (Condition, String) {
        let up: BTreeMap<String, &ListedSa> =
            rows.iter().filter(|sa| sa.established).map(|sa| (key(sa), *sa)).collect();
        let trying: BTreeSet<String> = rows.iter().filter(|sa| !sa.established).map(|sa| attempt(sa)).collect();
        let established: BTreeSet<String> = rows.iter().filter(|sa| sa.established).map(|sa| attempt(sa)).collect();
        let over = self.trying.iter().filter(|key| !trying.contains(*key) && !established.contains(*key)).count();
        self.failed = self.failed.saturating_add(u32::try_from(over).unwrap_or(u32::MAX));
        let new: Vec<&String> = up.keys().filter(|key| !self.up.contains_key(*key)).collect();
        let gone: Vec<(String, (u64, ListedSa))> =
            self.up.iter().filter(|(key, _)| !up.contains_key(*key)).map(|(k, v)| (k.clone(), v.clone())).collect();
        let had_any = !self.up.is_empty();
        self.established = self.established.saturating_add(u32::try_from(new.len()).unwrap_or(u32::MAX));
        let (condition, mut text) = match (new.first(), had_any) {
            (Some(new), true) => {
                // While the old one is still there, it is being replaced in order.
                let in_place = gone.len() == self.up.len();
                let renewed = |old: &ListedSa| up.get(*new).is_none_or(|new| may_be_renewal(old, old.phase2, new));
                let hard =
                    gone.iter().find(|(_, (_, old))| in_place && !has_age(old) && !is_dying(old) && !renewed(old));
                match hard {
                    Some((_, (since, _))) => self.replace(*since, at),
                    None => self.orderly = self.orderly.saturating_add(1),
                }
                let often = hard.is_some() && self.flaps(at);
                match gone.iter().find(|(_, old)| often || too_soon(old, at, interval)) {
                    Some((old, (since, _))) => {
                        let lived = at.saturating_sub(*since) / 1000;
                        let text = format!("{new} in place of {old}, which lived {lived} s at most");
                        self.replaced = self.replaced.saturating_add(1);
                        self.early.push_back(at);
                        (Condition::Replaced, text)
                    }
                    None => {
                        self.rekeyed = self.rekeyed.saturating_add(1);
                        let old = gone.first().map_or_else(|| self.up.keys().next(), |(key, _)| Some(key));
                        (Condition::Rekeyed, format!("{new} follows {}", old.map_or("", String::as_str)))
                    }
                }
            }
            (Some(new), false) => {
                if let Some(since) = self.left.take().filter(|_| up.values().all(|sa| !has_age(sa))) {
                    self.replace(since, at);
                }
                (Condition::Up, format!("established: {new}"))
            }
            (None, _) if !up.is_empty() => (Condition::Stable, String::new()),
            (None, _) => self.down(&trying, had_any),
        };
        while self.early.front().is_some_and(|first| at.saturating_sub(*first) > WINDOW) {
            self.early.pop_front();
        }
        let condition = match condition {
            Condition::Stable | Condition::Rekeyed | Condition::Up | Condition::Replaced | Condition::Gone
                if self.early.len() >= OFTEN || self.flaps(at) =>
            {
                Condition::Flapping
            }
            other => other,
        };
        if condition == Condition::NeverUp && text.is_empty() && self.condition != Some(condition) {
            let state = rows.first().and_then(|sa| sa.state.clone().or_else(|| sa.st.map(|st| format!("ST {st}"))));
            text = state.map_or_else(String::new, |state| format!("still {state}"));
        }
        let children = rows.iter().filter(|sa| sa.established).filter_map(|sa| sa.phase2).reduce(u32::saturating_add);
        if let (Some(before), Some(now)) = (self.children, children)
            && before != now
            && (before == 0 || now == 0)
        {
            text = format!("{text}{}{before} IPsec SAs before, {now} now", if text.is_empty() { "" } else { "; " });
        }
        if up.is_empty() && had_any {
            let orderly = self.up.values().any(|(_, sa)| is_dying(sa));
            self.left = self.up.values().map(|(since, _)| *since).next_back().filter(|_| !orderly);
        }
        self.children = children.or(self.children.filter(|_| up.is_empty()));
        // Of its Child SAs the most that it had is kept: they move to the one that renews it.
        let kept = |(key, sa): (&String, &&ListedSa)| {
            let before = self.up.get(key);
            let phase2 = sa.phase2.max(before.and_then(|(_, before)| before.phase2));
            (key.clone(), (before.map_or(at, |(since, _)| *since), ListedSa { phase2, ..(*sa).clone() }))
        };
        self.up = up.iter().map(kept).collect();
        self.trying = trying;
        (condition, text)
    }

    /// One took the place of one that was gone, which had come at this time.
    fn replace(&mut self, since: u64, at: u64) {
        if self.gone.is_empty() {
            self.gone.push_back(since);
        }
        self.gone.push_back(at);
        if self.gone.len() > KEPT {
            self.gone.pop_front();
        }
    }

    /// Whether that happens again and again, and did a moment ago.
    fn flaps(&mut self, at: u64) -> bool {
        let lately = self.gone.back().is_some_and(|last| at.saturating_sub(*last) <= SOON);
        lately && self.orderly * 2 < self.gone.len() && pace(self.gone.make_contiguous()).is_some()
    }

    /// Nothing is established.
    fn down(&mut self, trying: &BTreeSet<String>, had_any: bool) -> (Condition, String) {
        self.looks_trying = if trying.is_empty() { 0 } else { self.looks_trying.saturating_add(1) };
        let new = trying.iter().find(|key| !self.trying.contains(*key));
        if had_any {
            return (Condition::Gone, "not listed any more".to_string());
        }
        if self.established > 0 {
            return (Condition::Gone, new.map_or_else(String::new, |new| format!("another attempt: {new}")));
        }
        let long = self.failed > 0 || self.looks_trying > 1;
        let condition = if long { Condition::NeverUp } else { Condition::Negotiating };
        let text = match new {
            Some(new) if self.failed > 0 => format!("another attempt: {new}, after {} that failed", self.failed),
            Some(new) => format!("an attempt: {new}"),
            None => String::new(),
        };
        (condition, text)
    }
}

fn has_age(sa: &ListedSa) -> bool {
    sa.age.is_some() && sa.lifetime.is_some()
}

/// Whether an SA that is not listed any more went before its time.
fn too_soon((since, sa): &(u64, ListedSa), at: u64, interval: u64) -> bool {
    if let (Some(age), Some(lifetime)) = (sa.age, sa.lifetime) {
        // It grew older until it was gone: at most as old as this.
        let oldest = age.saturating_add(interval / 1000);
        return oldest.saturating_mul(5) < lifetime.saturating_mul(4);
    }
    at.saturating_sub(*since) < TOO_SHORT
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::{IkeSpi, SpiPair};

    fn sa(spi: u64, established: bool, age: Option<u64>) -> ListedSa {
        let responder = if established { IkeSpi::from(spi + 1) } else { IkeSpi::ZERO };
        ListedSa {
            peer: "10.2.2.2".into(),
            spis: Some(SpiPair { initiator: spi.into(), responder }),
            established,
            st: Some(if established { 9 } else { 3 }),
            phase2: Some(1),
            age,
            lifetime: age.map(|_| 3600),
            ..ListedSa::default()
        }
    }

    /// What each look of one a minute is like.
    fn conditions(looks: Vec<Vec<ListedSa>>) -> (Vec<Condition>, Watched) {
        let mut watch = Watch::default();
        let mut conditions = Vec::new();
        for (n, sas) in (0..).zip(looks) {
            watch.take(n * 60_000, sas);
            conditions.extend(watch.watched().first().map(|peer| peer.condition));
        }
        (conditions, watch.watched().remove(0))
    }

    #[test]
    fn the_same_sa_is_stable_and_a_successor_in_time_is_a_rekeying() {
        use Condition::{Rekeyed, Stable, Up};
        let old = |age| sa(1, true, Some(age));
        let (found, peer) = conditions(vec![
            vec![old(3400)],
            vec![old(3460)],
            vec![old(3520), sa(5, true, Some(10))],
            vec![sa(5, true, Some(70))],
        ]);
        assert_eq!(found, [Up, Stable, Rekeyed, Stable]);
        assert_eq!((peer.established, peer.rekeyed, peer.replaced), (2, 1, 0));
        // One that is simply gone when looked for, at the age at which it should be.
        let (found, _) = conditions(vec![vec![old(3500)], vec![sa(5, true, Some(10))]]);
        assert_eq!(found, [Up, Rekeyed]);
        // Hours of a listing that has no ages, and SAs of an hour.
        let looks = (0..300).map(|n| vec![sa(10 + n / 60, true, None)]).collect();
        let (found, peer) = conditions(looks);
        assert!(!found.contains(&Condition::Flapping) && peer.replaced == 0 && peer.rekeyed == 4, "{peer:?}");
    }

    #[test]
    fn what_is_replaced_at_every_look_is_flapping() {
        let with_age = (0..6).map(|n| vec![sa(10 * n, true, Some(20))]).collect();
        let (found, peer) = conditions(with_age);
        assert_eq!(found[1..4], [Condition::Replaced, Condition::Flapping, Condition::Flapping]);
        assert_eq!(peer.replaced, 5);
        let without = (0..6).map(|n| vec![sa(10 * n, true, None)]).collect();
        assert_eq!(conditions(without).1.condition, Condition::Flapping);
    }

    #[test]
    fn attempts_alone_are_never_up() {
        let looks = (0..5).map(|n| vec![sa(10 + n / 2, false, None)]).collect();
        let (found, peer) = conditions(looks);
        assert_eq!(found, [vec![Condition::Negotiating], vec![Condition::NeverUp; 4]].concat());
        assert_eq!((peer.established, peer.failed), (0, 2));
        let (found, peer) = conditions(vec![vec![sa(7, false, None)], vec![sa(7, true, Some(3))], vec![]]);
        assert_eq!(found, [Condition::Negotiating, Condition::Up, Condition::Gone]);
        assert_eq!(peer.failed, 0, "it was established");
    }

    #[test]
    fn changes_are_told_once_and_memory_is_bounded() {
        let mut watch = Watch::default();
        assert_eq!(watch.take(0, vec![sa(1, true, Some(5))]).len(), 1);
        assert_eq!(watch.take(60_000, vec![sa(1, true, Some(65))])[0].condition, Condition::Stable);
        assert_eq!(watch.take(90_000, vec![sa(1, true, Some(95))]), []);
        let lost = ListedSa { phase2: Some(0), ..sa(1, true, Some(125)) };
        let [change] = &watch.take(120_000, vec![lost])[..] else { panic!() };
        assert_eq!(change.text, "1 IPsec SAs before, 0 now");
        for look in 0..6 {
            let one = |n| ListedSa { peer: format!("peer {}", n % 5000), ..sa(n, true, None) };
            watch.take(180_000 + look * 60_000, (0..60_000).map(one).collect());
        }
        assert!(watch.peers.len() <= MAX_PEERS && watch.kept <= MAX_KEPT && watch.left_out() > 0);
    }
}
