//! SAs of one pair that come one after the other, and what their pace tells.
//!
//! Whatever the source, it comes down to instants at which an IKE SA of a pair was established. An SA that follows another
//! as its renewal, or when the other has lived its time, is healthy. Several that come anew within minutes are not, and the
//! time from one to the next is the fingerprint of the timer behind it. Instants and periods are in milliseconds, of any
//! clock that is the same for all of them.

use std::fmt;

/// So many establishments, none a renewal of the one before, are no accident.
pub(crate) const MANY: usize = 3;
/// No lifetime and no idle time is meant to be shorter than this: what follows later has a reason of its own.
pub(crate) const SOON: u64 = 600_000;
/// Ends do not renew before this much of a lifetime, in percent: racoon and racoon2 do it at 80 % with 10 % of jitter.
const RENEWAL: u64 = 70;
/// SAs of a pair so close to each other are those of both ends that began at once, and count as one.
const CROSSING: u64 = 2_000;
/// Establishments of several peers so close to each other have one reason.
const TOGETHER: u64 = 5_000;

/// What the establishments of a pair are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rhythm {
    /// Too few, or too far apart, to be anything.
    Sparse,
    /// Each comes when the one before has lived its time.
    Lifetime,
    /// Each replaces one that had time left.
    Flapping(Flapping),
}

/// SAs that are constantly replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flapping {
    /// The usual time from one to the next, in milliseconds.
    pub period: u64,
    /// How many SAs.
    pub times: usize,
    /// The timer that has this period, if the pace is regular and there is such a timer.
    pub timer: Option<Timer>,
}

/// Timers that are known by their length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// 30 s: a phase 2 gives up waiting, a half open SA is forgotten, pluto gives an exchange up.
    Waiting,
    /// 50 s: racoon gives an exchange up.
    Attempt,
    /// 60 s: an attempt and a pause, or the half open time of libreswan.
    Retry,
    /// 150 s to 200 s: a dead peer is noticed.
    DeadPeer,
    /// A whole number of minutes: the shorter of two lifetimes.
    Lifetime,
}

impl fmt::Display for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "30 s: a phase 2 that waits for phase 1, a half open SA, an exchange of libreswan's",
            Self::Attempt => "50 s: an exchange that racoon gives up, five messages 10 s apart",
            Self::Retry => "60 s: an attempt of racoon's and a pause, a half open SA of libreswan's",
            Self::DeadPeer => {
                "150 s to 200 s: dead peer detection, 30 s five times, or 30 s and charon's five repetitions"
            }
            Self::Lifetime => "a lifetime in whole minutes: the shorter of the two ends' decides",
        })
    }
}

/// The timer of this length, to which setting up an SA adds a little.
fn timer(period: u64) -> Option<Timer> {
    match period {
        28_000..=35_000 => Some(Timer::Waiting),
        48_000..=55_000 => Some(Timer::Attempt),
        58_000..=66_000 => Some(Timer::Retry),
        148_000..=200_000 => Some(Timer::DeadPeer),
        _ if period >= 118_000 && (period + 2_000) % 60_000 <= 5_000 => Some(Timer::Lifetime),
        _ => None,
    }
}

/// What the establishments of a pair are: at the instants `ups`, in order, without those that renew an SA by its own
/// means. `lifetime` is the shorter one that the source shows, if it shows any.
pub(crate) fn rhythm(ups: &[u64], lifetime: Option<u64>) -> Rhythm {
    let mut ups = ups.to_vec();
    ups.dedup_by(|later, kept| later.checked_sub(*kept).is_some_and(|gap| gap < CROSSING));
    let run = longest_run(&ups);
    let mut gaps: Vec<u64> = run.windows(2).filter_map(|pair| pair.get(1)?.checked_sub(*pair.first()?)).collect();
    gaps.sort_unstable();
    let Some(&period) = gaps.get(gaps.len() / 2) else { return Rhythm::Sparse };
    let span: u64 = gaps.iter().sum();
    // Three at nearly ten minutes from each other may be an operator at work.
    if run.len() < MANY || run.len() == MANY && span > SOON {
        return Rhythm::Sparse;
    }
    if lifetime.is_some_and(|lifetime| period.saturating_mul(100) >= lifetime.saturating_mul(RENEWAL)) {
        return Rhythm::Lifetime;
    }
    let near = |gap: &&u64| gap.abs_diff(period) <= (period / 8).max(3_000);
    let regular = gaps.iter().filter(near).count() * 3 >= gaps.len() * 2;
    Rhythm::Flapping(Flapping { period, times: run.len(), timer: timer(period).filter(|_| regular) })
}

/// The most instants in a row that are soon after each other.
fn longest_run(ups: &[u64]) -> &[u64] {
    let soon = |a: &u64, b: &u64| b.checked_sub(*a).is_some_and(|gap| gap <= SOON);
    ups.chunk_by(soon).max_by_key(|run| run.len()).unwrap_or_default()
}

/// Whether several peers' SAs, each with its instants in order, are established anew at the same ones: then the reason is at
/// the end that they have in common (a restart, a takeover, its clock, its interface).
pub(crate) fn at_one_instant(peers: &[&[u64]]) -> bool {
    let together = |instant: u64, other: &[u64]| {
        let after = other.partition_point(|at| *at < instant.saturating_sub(TOGETHER));
        other.get(after).is_some_and(|at| *at <= instant.saturating_add(TOGETHER))
    };
    let Some((first, others)) = peers.split_first() else { return false };
    let with_first = |other: &&[u64]| {
        let shared = other.iter().filter(|at| together(**at, first)).count();
        other.len() >= MANY && shared * 5 >= other.len().max(first.len()) * 4
    };
    !others.is_empty() && others.iter().all(with_first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn every(seconds: u64, times: u64) -> Vec<u64> {
        (0..times).map(|n| 7_000_000 + n * seconds * 1000).collect()
    }

    fn flaps(ups: &[u64]) -> Option<(u64, Option<Timer>)> {
        match rhythm(ups, None) {
            Rhythm::Flapping(found) => Some((found.period / 1000, found.timer)),
            _ => None,
        }
    }

    #[test]
    fn a_period_names_its_timer() {
        for (seconds, timer) in [
            (6, None),
            (12, None),
            (20, None),
            (31, Some(Timer::Waiting)),
            (51, Some(Timer::Attempt)),
            (60, Some(Timer::Retry)),
            (90, None),
            (120, Some(Timer::Lifetime)),
            (150, Some(Timer::DeadPeer)),
            (195, Some(Timer::DeadPeer)),
            (300, Some(Timer::Lifetime)),
            (599, Some(Timer::Lifetime)),
        ] {
            assert_eq!(flaps(&every(seconds, 6)), Some((seconds, timer)), "{seconds}");
        }
    }

    #[test]
    fn few_or_far_apart_are_nothing() {
        for ups in [vec![], vec![1], every(60, 2), every(900, 40), every(3600, 9), every(500, 3)] {
            assert_eq!(rhythm(&ups, None), Rhythm::Sparse, "{ups:?}");
        }
        assert!(flaps(&every(300, 3)).is_some() && flaps(&every(500, 4)).is_some());
        // A stretch of it among others counts.
        let mixed: Vec<u64> = every(3600, 3).into_iter().chain(every(60, 5).iter().map(|at| at + 20_000_000)).collect();
        assert_eq!(flaps(&mixed), Some((60, Some(Timer::Retry))));
    }

    #[test]
    fn what_has_lived_its_time_is_healthy() {
        assert_eq!(rhythm(&every(48, 6), Some(60_000)), Rhythm::Lifetime);
        assert_eq!(rhythm(&every(300, 6), Some(300_000)), Rhythm::Lifetime);
        assert!(matches!(rhythm(&every(60, 6), Some(3_600_000)), Rhythm::Flapping(_)));
    }

    #[test]
    fn both_ends_that_begin_at_once_count_as_one() {
        let crossing: Vec<u64> = every(45, 6).iter().flat_map(|at| [*at, at + 300]).collect();
        assert_eq!(flaps(&crossing), Some((45, None)));
    }

    #[test]
    fn an_irregular_pace_has_no_timer() {
        let ups = [0, 10_000, 70_000, 82_000, 200_000, 260_000, 280_000];
        assert_eq!(flaps(&ups), Some((60, None)));
    }

    #[test]
    fn peers_that_change_together_have_one_reason() {
        let (a, b) = (every(60, 5), every(60, 5).iter().map(|at| at + 2_000).collect::<Vec<_>>());
        let c: Vec<u64> = a.iter().map(|at| at + 30_000).collect();
        assert!(at_one_instant(&[&a, &b]));
        assert!(!at_one_instant(&[&a, &c]) && !at_one_instant(&[&a, &b, &c]));
        assert!(!at_one_instant(&[&a]) && !at_one_instant(&[]) && !at_one_instant(&[&a[..2], &b[..2]]));
    }

    proptest! {
        #[test]
        fn any_instants_have_a_rhythm(ups in proptest::collection::vec(any::<u64>(), 0..40), lifetime in any::<Option<u64>>()) {
            let _ = rhythm(&ups, lifetime);
            let _ = at_one_instant(&[&ups, &ups]);
        }
    }
}
