//! The log's lines about datagrams that are not acted upon: strangers must not fill a disk with them.

use model::{DropReason, Instant};
use std::time::Duration;

/// So many lines for each reason,
const LINES: u32 = 20;
/// within this time.
const WINDOW: Duration = Duration::from_secs(60);

/// How many of each reason there were since the window began.
pub struct Drops {
    since: Instant,
    counts: Vec<u32>,
}

impl Drops {
    pub fn new() -> Self {
        Self { since: Instant::ZERO, counts: vec![0; DropReason::ALL.len()] }
    }

    /// Whether this one gets its line.
    pub fn admit(&mut self, reason: DropReason) -> bool {
        let Some(count) = self.counts.get_mut(reason as usize) else { return true };
        *count = count.saturating_add(1);
        *count <= LINES
    }

    /// What was left out, once the window is over, and then it begins anew.
    pub fn summary(&mut self, now: Instant) -> Vec<String> {
        let over = now.since(self.since);
        if over < WINDOW {
            return Vec::new();
        }
        self.since = now;
        let mut lines = Vec::new();
        for (reason, count) in DropReason::ALL.iter().zip(&mut self.counts) {
            let left_out = std::mem::take(count).saturating_sub(LINES);
            if left_out > 0 {
                lines.push(format!("dropped {left_out} datagrams more within {} s: {reason}", over.as_secs()));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_few_lines_and_a_number() {
        let mut drops = Drops::new();
        let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
        assert!(drops.summary(at(100)).is_empty());
        let admitted = (0..700).filter(|_| drops.admit(DropReason::Malformed)).count();
        assert_eq!(admitted, LINES as usize);
        assert!(drops.admit(DropReason::Truncated), "another reason has lines of its own");
        assert!(drops.summary(at(130)).is_empty(), "the window is not over");
        assert_eq!(drops.summary(at(170)), ["dropped 680 datagrams more within 70 s: malformed"]);
        assert!(drops.admit(DropReason::Malformed), "and there are lines again");
        assert!(drops.summary(at(240)).is_empty());
    }
}
