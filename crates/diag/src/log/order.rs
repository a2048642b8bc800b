//! Which way a log goes: `journalctl -r` and many a web page have the newest line first.

use std::mem;

/// So many lines may pass before one is later or earlier than the one before.
const MAX_LINES: usize = 64;
/// So many octets of a log that goes backwards are kept, the newest.
const MAX_KEPT: usize = 16 << 20;
/// A line is earlier by at least this much, in milliseconds; threads and hosts differ by less.
const EARLIER: u64 = 1_000;
/// Times without a year fall by nearly this much when it ends, in milliseconds.
const HALF_YEAR: u64 = 182 * 86_400_000;

/// Gives lines in the order in which they were written.
pub(super) enum Order {
    /// The times have not moved yet.
    Unknown {
        /// The lines so far.
        kept: Vec<String>,
        /// The last time.
        last: Option<u64>,
        /// A line was earlier than the one before.
        fell: bool,
    },
    /// The oldest line comes first.
    Forwards,
    /// The newest line comes first.
    Backwards {
        /// The lines so far.
        kept: Vec<String>,
        /// Their octets.
        size: usize,
        /// Further lines, which are too many.
        dropped: u64,
    },
}

impl Default for Order {
    fn default() -> Self {
        Self::Unknown { kept: Vec::new(), last: None, fell: false }
    }
}

impl Order {
    /// Takes the next line of the file, and gives those whose turn it is to `take`; `at` finds the time of a line.
    pub fn next(&mut self, line: &str, at: impl FnOnce(&str) -> Option<u64>, mut take: impl FnMut(&str)) {
        let (kept, backwards) = match self {
            Self::Forwards => return take(line),
            Self::Backwards { kept, size, dropped } => {
                *size += line.len();
                if *size > MAX_KEPT || kept.len() >= MAX_KEPT / 16 {
                    (*size, *dropped) = (MAX_KEPT, *dropped + 1);
                } else {
                    kept.push(line.to_string());
                }
                return;
            }
            Self::Unknown { kept, last, fell } => {
                let at = at(line);
                let (before, now) = last.zip(at).unwrap_or_default();
                *last = at.or(*last);
                kept.push(line.to_string());
                let earlier = (EARLIER..HALF_YEAR).contains(&before.saturating_sub(now));
                let backwards = earlier && *fell;
                *fell |= earlier;
                if now <= before && !backwards && kept.len() < MAX_LINES {
                    return;
                }
                (mem::take(kept), now <= before && *fell)
            }
        };
        if backwards {
            *self = Self::Backwards { kept, size: 0, dropped: 0 };
        } else {
            kept.iter().for_each(|line| take(line));
            *self = Self::Forwards;
        }
    }

    /// The log is over: gives the lines that are left to `take`. How many of them the file has in the opposite order, and how
    /// many were dropped.
    pub fn finish(self, mut take: impl FnMut(&str)) -> (Option<u64>, u64) {
        let (kept, dropped) = match self {
            Self::Forwards => return (None, 0),
            Self::Unknown { kept, fell: false, .. } => {
                kept.iter().for_each(|line| take(line));
                return (None, 0);
            }
            Self::Unknown { kept, .. } => (kept, 0),
            Self::Backwards { kept, dropped, .. } => (kept, dropped),
        };
        kept.iter().rev().for_each(|line| take(line));
        (u64::try_from(kept.len()).ok(), dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(times: &[u64]) -> (Vec<u64>, bool) {
        let (mut order, mut out) = (Order::default(), Vec::new());
        for time in times {
            order.next(&time.to_string(), |line| line.parse().ok(), |line| out.push(line.parse().unwrap()));
        }
        let (backwards, _) = order.finish(|line| out.push(line.parse().unwrap()));
        (out, backwards.is_some())
    }

    #[test]
    fn the_oldest_line_comes_first() {
        for times in [&[][..], &[1], &[5000, 5000], &[0, 1000, 2000], &[1500, 1000, 2000], &[HALF_YEAR * 2, 5000]] {
            assert_eq!(ordered(times), (times.to_vec(), false));
        }
        for times in [vec![9000, 9000, 4000], vec![9000, 8000, 7000, 7000, 6500], [vec![9000; 70], vec![1000]].concat()]
        {
            let (out, backwards) = ordered(&times);
            let reversed: Vec<u64> = times.iter().rev().copied().collect();
            assert_eq!(
                (out == reversed, backwards),
                if times.len() > MAX_LINES { (false, false) } else { (true, true) }
            );
        }
    }

    #[test]
    fn what_goes_backwards_is_kept_within_bounds() {
        let (mut order, long) = (Order::default(), "x".repeat(4096));
        let mut times = (0..20_000u64).rev().map(|n| n * 1000);
        for _ in 0..20_000 {
            order.next(&long, |_| times.next(), |_| panic!("too early"));
        }
        let mut given = 0;
        let (kept, dropped) = order.finish(|_| given += 1);
        assert_eq!(kept, Some(given));
        assert!(given <= 5_000 && given + dropped == 20_000);
    }
}
