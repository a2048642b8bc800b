//! Counters that should stand still: by how much they have grown of late.

use model::{Instant, PlaneFault};
use std::collections::BTreeMap;
use std::time::Duration;

/// What is older than this, twice, says nothing about now.
const WINDOW: Duration = Duration::from_secs(300);

/// Counters as they stood at a time.
type Sample = (Instant, BTreeMap<String, u64>);

/// The last two samples.
#[derive(Default)]
pub struct Growth {
    older: Option<Sample>,
    newer: Option<Sample>,
}

impl Growth {
    /// Whether a new sample is wanted.
    pub fn is_due(&self, now: Instant) -> bool {
        self.newer.as_ref().is_none_or(|(at, _)| now.since(*at) >= WINDOW)
    }

    /// Takes a sample.
    pub fn note(&mut self, now: Instant, counters: BTreeMap<String, u64>) {
        self.older = self.newer.replace((now, counters));
    }

    /// What has grown since the older sample.
    pub fn faults(&self, now: Instant, counters: &BTreeMap<String, u64>) -> Vec<PlaneFault> {
        let Some((at, before)) = self.older.as_ref().or(self.newer.as_ref()) else { return Vec::new() };
        let within = now.since(*at);
        let grown = |(name, count): (&String, &u64)| {
            let by = count.saturating_sub(before.get(name).copied().unwrap_or(0));
            (by > 0).then(|| PlaneFault::Counted { name: name.clone(), count: by, within })
        };
        counters.iter().filter_map(grown).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grew_long_ago_is_forgotten() {
        let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
        let counters = |n| BTreeMap::from([("XfrmInNoPols".to_string(), n), ("XfrmInPolBlock".to_string(), 7)]);
        let grown = |count, seconds| {
            vec![PlaneFault::Counted { name: "XfrmInNoPols".into(), count, within: Duration::from_secs(seconds) }]
        };
        let mut growth = Growth::default();
        assert!(growth.is_due(at(0)) && growth.faults(at(0), &counters(3)).is_empty());
        growth.note(at(0), counters(3));
        assert!(!growth.is_due(at(299)));
        assert_eq!(growth.faults(at(100), &counters(3)), []);
        assert_eq!(growth.faults(at(100), &counters(5)), grown(2, 100));
        growth.note(at(300), counters(10));
        assert_eq!(growth.faults(at(400), &counters(10)), grown(7, 400));
        growth.note(at(600), counters(10));
        assert_eq!(growth.faults(at(700), &counters(10)), []);
    }
}
