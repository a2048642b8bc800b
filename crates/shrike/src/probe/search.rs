//! Which lengths to try, so that the longest one that passes is found with few packets.

/// The length that everything must carry: what IPv4 hosts take is 576 octets, and what is asked first is shorter than that.
pub const SMALLEST: u32 = 64;
/// A length that got no answer so often is taken for one that does not pass: a single packet may be lost by accident.
const TRIES: u32 = 2;
/// So often the first one is tried, for the first packets may wait for somebody's neighbour discovery.
const FIRST_TRIES: u32 = 3;

/// A search for the longest packet that is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// The longest one that was answered; 0 for none.
    largest: u32,
    /// The shortest one that nothing came back for.
    silent: Option<u32>,
    /// The longest one that nobody reported to be too long.
    limit: u32,
    /// How many such reports there were.
    too_long: u32,
    /// A report did not say how long a packet may be (RFC 1191 section 3: routers of old).
    blind: bool,
    /// How often the length under way was tried.
    tries: u32,
}

impl Search {
    /// Begins, with the longest packet of the interface.
    pub fn new(limit: u32) -> Self {
        Self { largest: 0, silent: None, limit: limit.clamp(SMALLEST, 65_535), too_long: 0, blind: false, tries: 0 }
    }

    /// The length to try next; `None` where nothing is left to be found out.
    pub fn next(&self) -> Option<u32> {
        if self.largest == 0 {
            return (self.tries < FIRST_TRIES).then_some(SMALLEST);
        }
        let highest = self.silent.map_or(self.limit, |silent| self.limit.min(silent.saturating_sub(1)));
        if self.largest >= highest {
            return None;
        }
        // Where all is well, the longest one passes, and that is all.
        Some(match self.silent {
            None if !self.blind => self.limit,
            _ => self.largest + (highest - self.largest).div_ceil(2),
        })
    }

    /// A packet of this length was answered: it may be one that was given up before.
    pub fn answered(&mut self, length: u32) {
        self.tries = 0;
        self.largest = self.largest.max(length);
        self.limit = self.limit.max(length);
        self.silent = self.silent.filter(|silent| *silent > length);
    }

    /// Nothing came back for this one.
    pub fn silence(&mut self, length: u32) {
        self.tries += 1;
        if self.largest > 0 && self.tries >= TRIES {
            self.tries = 0;
            self.silent = Some(self.silent.map_or(length, |silent| silent.min(length)));
        }
    }

    /// Somebody reported that this one is too long, and perhaps how long it may be.
    pub fn too_long(&mut self, length: u32, most: Option<u32>) {
        if length <= self.largest || self.largest == 0 {
            // It was answered, or is as short as can be: that report says nothing.
            return self.silence(length);
        }
        self.tries = 0;
        self.too_long = self.too_long.saturating_add(1);
        let most = most.filter(|most| *most < length);
        self.blind = most.is_none();
        let most = most.unwrap_or(length.saturating_sub(1));
        self.limit = self.limit.min(most).max(self.largest);
    }

    /// The longest packet that was answered, if any was.
    pub fn largest(&self) -> Option<u32> {
        (self.largest > 0).then_some(self.largest)
    }

    /// The shortest one that nothing came back for, where others up to the limit should have passed.
    pub fn silent(&self) -> Option<u32> {
        self.silent.filter(|silent| *silent > self.largest && *silent <= self.limit)
    }

    /// The longest one that nobody reported to be too long.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// How many reports there were.
    pub fn reports(&self) -> u32 {
        self.too_long
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A path that carries `passes` octets, says of longer ones than `told` that they are too long, and loses each packet whose
    /// number is among `lost`.
    fn searched(mtu: u32, passes: u32, told: Option<u32>, says_how_long: bool, lost: &[u32]) -> (Search, u32) {
        let (mut search, mut number) = (Search::new(mtu), 0);
        while let Some(length) = search.next() {
            number += 1;
            assert!(number < 100, "{search:?}");
            let gone = lost.contains(&number);
            match told.filter(|told| length > *told) {
                _ if gone => search.silence(length),
                Some(told) => search.too_long(length, says_how_long.then_some(told)),
                None if length <= passes => search.answered(length),
                None => search.silence(length),
            }
        }
        (search, number)
    }

    #[test]
    fn where_all_is_well_two_packets_suffice() {
        let (search, packets) = searched(1400, 9000, None, true, &[]);
        assert_eq!((packets, search.largest(), search.silent(), search.limit()), (2, Some(1400), None, 1400));
        let (search, packets) = searched(1500, 9000, Some(1280), true, &[]);
        assert_eq!((packets, search.largest(), search.silent(), search.limit()), (3, Some(1280), None, 1280));
        assert_eq!(search.reports(), 1);
    }

    #[test]
    fn what_is_never_answered_ends_soon() {
        let (search, packets) = searched(1400, 0, None, true, &[]);
        assert_eq!((packets, search.largest(), search.silent()), (3, None, None));
        let (search, packets) = searched(1400, 0, Some(10), true, &[]);
        assert_eq!((packets, search.largest(), search.reports()), (3, None, 0));
    }

    #[test]
    fn a_late_answer_counts() {
        let mut search = Search::new(1400);
        search.answered(SMALLEST);
        search.silence(1400);
        search.silence(1400);
        assert_eq!((search.silent(), search.next()), (Some(1400), Some(732)));
        search.answered(1400);
        assert_eq!((search.silent(), search.next(), search.largest()), (None, None, Some(1400)));
    }

    proptest! {
        /// Whatever the path carries is found to the octet, by few packets, though some are lost.
        #[test]
        fn the_longest_packet_is_found(
            mtu in 576u32..=9000,
            passes in SMALLEST..=9000,
            told in proptest::option::of(SMALLEST..=9000),
            says_how_long in any::<bool>(),
            first in 1u32..40,
            gap in 2u32..20,
        ) {
            let lost = [first, first + gap, first + 2 * gap];
            // Only lost ones that were not tried again at once: two in a row are silence.
            let (search, packets) = searched(mtu, passes, told, says_how_long, &lost);
            let true_limit = told.unwrap_or(mtu).min(mtu);
            prop_assert_eq!(search.largest(), Some(passes.min(true_limit)));
            prop_assert_eq!(search.silent(), (passes < true_limit).then_some(passes + 1));
            prop_assert!(packets <= 1 + 3 + 2 * 14 + 2 * 3, "{packets}");
        }

        /// Reports of whatever content, answers of whatever length: it ends, and keeps its order.
        #[test]
        fn any_reports_leave_it_in_order(mtu in any::<u32>(), said in proptest::collection::vec((0u8..3, any::<u16>()), 0..60)) {
            let mut search = Search::new(mtu);
            for (what, value) in said {
                let Some(length) = search.next() else { break };
                prop_assert!((SMALLEST..=65_535).contains(&length));
                match what {
                    0 => search.answered(length),
                    1 => search.silence(length),
                    _ => search.too_long(length, Some(u32::from(value))),
                }
                prop_assert!(search.largest().is_none_or(|largest| largest <= search.limit()));
                prop_assert!(search.silent().is_none_or(|silent| search.largest().is_some_and(|largest| largest < silent)));
            }
        }
    }
}
