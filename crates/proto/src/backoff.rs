//! When to send again, by strongSwan's formula.

use std::time::Duration;

/// Retransmission after `timeout * base^n`, each at most `limit` and reduced by up to `jitter` percent; given up after
/// `tries` retransmissions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// First delay, in seconds.
    pub timeout: f64,
    /// Factor from one delay to the next.
    pub base: f64,
    /// How often a request is sent again.
    pub tries: u32,
    /// Percentage by which a delay may be shortened at random, so that many peers do not speak at once.
    pub jitter: u32,
    /// Upper limit of one delay in seconds; 0 for none.
    pub limit: f64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { timeout: 4.0, base: 1.8, tries: 5, jitter: 0, limit: 0.0 }
    }
}

impl Backoff {
    /// How long to wait after the request was sent for the `sent`th time (0 is the first), or `None` to give up.
    /// `random` is any number; only the jitter depends on it.
    pub fn delay(&self, sent: u32, random: u32) -> Option<Duration> {
        if sent > self.tries {
            return None;
        }
        let mut seconds = self.timeout * self.base.powf(f64::from(sent));
        if self.limit > 0.0 {
            seconds = seconds.min(self.limit);
        }
        let share = f64::from(random) / (f64::from(u32::MAX) + 1.0);
        seconds -= seconds * f64::from(self.jitter.min(100)) / 100.0 * share;
        // A day is longer than any sane setting and keeps absurd ones from overflowing.
        Some(Duration::from_secs_f64(seconds.clamp(0.001, 86_400.0)))
    }
}

/// The pause after a refusal, and the longest: each is twice as long as the one before.
const AFTER_REFUSAL: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(300));

/// How long to wait after something was refused for the first time (0 before), the second and so on, before it is begun again.
/// Up to a quarter earlier at random: many that were refused at once do not come back at once.
pub(crate) fn after_refusal(before: u32, random: u32) -> Duration {
    let longest = AFTER_REFUSAL.0.saturating_mul(1 << before.min(10)).min(AFTER_REFUSAL.1);
    longest - (longest / 4).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strongswan_defaults_take_165_seconds() {
        let backoff = Backoff::default();
        let delays: Vec<_> = (0..).map_while(|n| backoff.delay(n, 7)).collect();
        assert_eq!(delays.len(), 6, "one transmission and five retransmissions");
        assert_eq!(delays[0], Duration::from_secs(4));
        let total: Duration = delays.iter().sum();
        assert_eq!(total.as_secs(), 165);
    }

    #[test]
    fn jitter_shortens_and_limit_caps() {
        let backoff = Backoff { jitter: 20, limit: 10.0, ..Backoff::default() };
        assert_eq!(backoff.delay(3, 0), Some(Duration::from_secs(10)));
        let shortest = backoff.delay(3, u32::MAX).unwrap();
        assert!(shortest < Duration::from_secs(9) && shortest >= Duration::from_secs(8), "{shortest:?}");
        assert_eq!(backoff.delay(6, 0), None);
    }
}
