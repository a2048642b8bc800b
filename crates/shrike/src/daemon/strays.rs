//! Peers that use Child SAs which the kernel does not have. It counts what it drops for that (`XfrmInNoStates`) and says
//! nothing else; so where a trap could be woken by it ([`PlaneEvent::UnknownSpi`]) the counter is looked at from time to time,
//! and when it has grown, for a moment at what comes from the peers of these traps.

use linux::{StrayEsp, StrayPacket};
use model::Instant;
use model::dataplane::PlaneEvent;
use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

/// So often the counter is read.
const EVERY: Duration = Duration::from_secs(2);

/// So long what comes is looked at,
const LOOK: Duration = Duration::from_secs(2);
/// and so often meanwhile whether something has come.
const GLANCE: Duration = Duration::from_millis(250);
/// After a look the counter, which anybody can make grow, is left alone for so long.
const PAUSE: Duration = Duration::from_secs(5);

/// So many are told of at once.
const MOST_TOLD: usize = 64;

/// So many SPIs that are not installed are known as ours.
const MOST_OURS: usize = 512;

/// What shows packets with unknown SPIs.
pub trait Tap {
    /// What has come since the last call.
    fn read(&mut self) -> Vec<StrayPacket>;
}

impl Tap for StrayEsp {
    fn read(&mut self) -> Vec<StrayPacket> {
        Self::read(self)
    }
}

/// A peer that has no SA here and could be given one, and our address to which it sends: unspecified for any.
pub type Ends = (IpAddr, IpAddr);

/// When to look, and what is strange of what is seen.
pub struct Strays<T> {
    /// SPIs that are about to be installed, or were until now, and until when what comes by them is nothing strange.
    ours: VecDeque<(u32, Instant)>,
    /// When there is something to do; `None` as long as nobody can be woken.
    next: Option<Instant>,
    /// The counter as it was.
    count: Option<u64>,
    /// A look, and when it ends.
    look: Option<(Instant, Vec<T>)>,
}

impl<T: Tap> Strays<T> {
    /// Nobody can be woken.
    pub fn new() -> Self {
        Self { ours: VecDeque::new(), next: None, count: None, look: None }
    }

    /// Until then this SPI is not a stranger's.
    pub fn is_ours(&mut self, spi: u32, until: Instant) {
        if self.ours.len() >= MOST_OURS {
            self.ours.pop_front();
        }
        self.ours.push_back((spi, until));
    }

    /// Traps or Child SAs are others: perhaps somebody can be woken now.
    pub fn changed(&mut self, now: Instant) {
        self.next.get_or_insert(now);
    }

    /// When [`Strays::timeout`] has something to do.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// Whether it has something to do.
    pub fn is_due(&self, now: Instant) -> bool {
        self.next.is_some_and(|next| next <= now)
    }

    /// Time has passed. `ends` are those that could be woken, `count` reads the counter, `open` begins a look and
    /// `installed` says which SPIs are there by now.
    pub fn timeout(
        &mut self,
        now: Instant,
        ends: &BTreeSet<Ends>,
        count: impl FnOnce() -> u64,
        open: impl FnOnce() -> Vec<T>,
        installed: impl Fn(u32) -> bool,
    ) -> Vec<PlaneEvent> {
        if !self.is_due(now) {
            return Vec::new();
        }
        self.ours.retain(|(_, until)| *until > now);
        if ends.is_empty() {
            (self.next, self.count, self.look) = (None, None, None);
            return Vec::new();
        }
        let Some((until, taps)) = &mut self.look else {
            let count = count();
            let grown = self.count.replace(count).is_some_and(|before| before < count);
            let taps = if grown { open() } else { Vec::new() };
            self.next = Some(now + if taps.is_empty() { EVERY } else { GLANCE });
            self.look = (!taps.is_empty()).then_some((now + LOOK, taps));
            return Vec::new();
        };
        let seen = taps.iter_mut().flat_map(Tap::read);
        let ours = |spi| installed(spi) || self.ours.iter().any(|(of, _)| *of == spi);
        let waits = |packet: &StrayPacket| {
            let from = packet.source.ip();
            let to_us = |(_, local): &Ends| *local == packet.destination || local.is_unspecified();
            ends.iter().filter(|(peer, _)| *peer == from).any(to_us)
        };
        let strange = seen.filter(|packet| waits(packet) && !ours(packet.spi));
        let strange: BTreeSet<(IpAddr, u32)> = strange.map(|packet| (packet.source.ip(), packet.spi)).collect();
        if strange.is_empty() && *until > now {
            self.next = Some(now + GLANCE);
            return Vec::new();
        }
        self.look = None;
        self.count = Some(count());
        self.next = Some(now + PAUSE);
        strange.into_iter().take(MOST_TOLD).map(|(from, spi)| PlaneEvent::UnknownSpi { spi, from }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::rc::Rc;

    #[derive(Clone, Default)]
    struct Wire(Rc<RefCell<Vec<StrayPacket>>>);

    impl Tap for Wire {
        fn read(&mut self) -> Vec<StrayPacket> {
            self.0.take()
        }
    }

    /// Strays in a world of its own: a counter, a wire, and what happened when.
    struct World {
        strays: Strays<Wire>,
        wire: Wire,
        ends: BTreeSet<Ends>,
        installed: BTreeSet<u32>,
        count: u64,
        looks: u32,
        now: Instant,
        told: BTreeMap<u64, Vec<(u32, String)>>,
    }

    const MS: u64 = 1_000_000;

    impl World {
        fn new(ends: &[(&str, &str)]) -> Self {
            let ends = ends.iter().map(|(peer, local)| (peer.parse().unwrap(), local.parse().unwrap())).collect();
            let now = Instant::from_nanos(1000 * MS);
            let mut strays = Strays::new();
            strays.changed(now);
            let (wire, installed, told) = (Wire::default(), BTreeSet::new(), BTreeMap::new());
            let mut world = Self { strays, wire, ends, installed, count: 7, looks: 0, now, told };
            world.step();
            world
        }

        fn step(&mut self) {
            let Self { strays, wire, ends, installed, count, looks, now, told } = self;
            let open = || {
                *looks += 1;
                wire.0.take(); // it sees what comes from now on
                vec![wire.clone()]
            };
            let events = strays.timeout(*now, ends, || *count, open, |spi| installed.contains(&spi));
            for event in events {
                let PlaneEvent::UnknownSpi { spi, from } = event else { panic!("{event:?}") };
                told.entry(now.as_nanos() / MS).or_default().push((spi, from.to_string()));
            }
        }

        fn packet(&mut self, spi: u32, source: &str, destination: &str) {
            let source = format!("{source}:0").parse().unwrap();
            self.count += 1;
            self.wire.0.borrow_mut().push(StrayPacket { spi, source, destination: destination.parse().unwrap() });
        }

        /// Goes to each time at which there is something to do, within so many milliseconds.
        fn run(&mut self, milliseconds: u64, mut each: impl FnMut(&mut Self)) {
            let end = self.now + Duration::from_millis(milliseconds);
            while let Some(next) = self.strays.next_timeout().filter(|next| *next <= end) {
                self.now = next;
                each(self);
                self.step();
            }
            self.now = end;
        }
    }

    #[test]
    fn a_peer_that_uses_what_is_lost_is_found_within_seconds() {
        let mut world = World::new(&[("192.0.2.2", "192.0.2.1")]);
        world.run(60_000, |_| {});
        assert_eq!(world.looks, 0, "nothing grew");
        world.run(6_000, |world| world.packet(0x1234, "192.0.2.2", "192.0.2.1"));
        assert_eq!(world.looks, 1);
        let found: Vec<_> = world.told.values().flatten().cloned().collect();
        assert_eq!(found, [(0x1234, "192.0.2.2".to_string())]);
        assert!(world.told.keys().all(|at| *at <= 1000 + 60_000 + 2000 + 500), "{:?}", world.told);
    }

    #[test]
    fn what_is_ours_or_not_for_us_is_nothing_strange() {
        let mut world = World::new(&[("192.0.2.2", "192.0.2.1"), ("192.0.2.3", "0.0.0.0")]);
        world.installed.insert(1);
        let later = world.now + Duration::from_secs(30);
        world.strays.is_ours(2, later);
        world.run(25_000, |world| {
            for (spi, source, destination) in [
                (1, "192.0.2.2", "192.0.2.1"),
                (2, "192.0.2.2", "192.0.2.1"),
                (3, "192.0.2.9", "192.0.2.1"),
                (4, "192.0.2.2", "192.0.2.7"), // forwarded
            ] {
                world.packet(spi, source, destination);
            }
        });
        assert_eq!((world.told.len(), world.looks >= 2), (0, true));
        assert!(world.looks <= 4, "{} looks in 25 s, whatever comes", world.looks);
        world.packet(5, "192.0.2.3", "192.0.2.7");
        world.run(20_000, |world| (0..3).for_each(|_| world.packet(2, "192.0.2.2", "192.0.2.1")));
        assert!(world.told.values().flatten().any(|(spi, _)| *spi == 2), "a minute later it is: {:?}", world.told);
        world.run(20_000, |world| world.packet(5, "192.0.2.3", "192.0.2.7"));
        assert!(world.told.values().flatten().any(|(spi, _)| *spi == 5), "any address of ours: {:?}", world.told);
    }

    #[test]
    fn as_long_as_nobody_can_be_woken_nothing_is_read() {
        let mut world = World::new(&[]);
        assert_eq!(world.strays.next_timeout(), None);
        world.packet(1, "192.0.2.2", "192.0.2.1");
        world.ends.insert(("192.0.2.2".parse().unwrap(), "192.0.2.1".parse().unwrap()));
        world.strays.changed(world.now);
        world.step();
        world.run(10_000, |_| {});
        assert_eq!(world.looks, 0, "what it was before does not count");
        world.ends.clear();
        world.run(10_000, |_| {});
        assert_eq!((world.strays.next_timeout(), world.looks), (None, 0));
    }

    #[test]
    fn many_strangers_are_told_of_a_few_at_once_and_memory_is_bounded() {
        let mut world = World::new(&[("192.0.2.2", "192.0.2.1")]);
        world.run(4_000, |world| (0..200).for_each(|n| world.packet(n + 1, "192.0.2.2", "192.0.2.1")));
        assert_eq!(world.told.values().map(Vec::len).collect::<Vec<_>>(), [MOST_TOLD]);
        let until = world.now + Duration::from_secs(30);
        (0..10_000).for_each(|spi| world.strays.is_ours(spi, until));
        assert_eq!(world.strays.ours.len(), MOST_OURS);
    }
}
