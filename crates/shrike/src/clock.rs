//! The only place that reads clocks.

use model::Instant;

/// The monotonic clock, counted from when it was made.
pub struct Clock {
    start: std::time::Instant,
}

impl Clock {
    /// Starts counting.
    #[allow(clippy::disallowed_methods)] // the program's edge: everything inside gets `now` from here
    pub fn new() -> Self {
        Self { start: std::time::Instant::now() }
    }

    /// Now.
    #[allow(clippy::disallowed_methods)] // as above
    pub fn now(&self) -> Instant {
        let since = std::time::Instant::now().duration_since(self.start);
        Instant::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// Local time, for logs: `2026-11-24 08:58:30`.
pub fn local_time() -> String {
    jiff::ZonedDateTime::now().strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Seconds since 1970, as the kernel stamps SAs.
pub fn unix_seconds() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0)
}

/// Milliseconds since 1970, for what is kept.
pub fn unix_milliseconds() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}

fn unix_nanoseconds() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(0)
}

/// The calendar, as the monotonic clock tells it: the time of something that happened is the same whenever it is asked for,
/// unless the calendar was set meanwhile.
pub struct Calendar {
    /// Nanoseconds since 1970 when the monotonic clock began.
    zero: u64,
}

impl Calendar {
    /// How far the two clocks may drift from each other: more, and the calendar was set.
    const DRIFT: u64 = 1_000_000_000;

    /// Compares the two clocks.
    pub fn new(now: Instant) -> Self {
        let mut calendar = Self { zero: 0 };
        calendar.at(now);
        calendar
    }

    /// Nanoseconds since 1970.
    pub fn at(&mut self, now: Instant) -> u64 {
        self.compared(now, unix_nanoseconds())
    }

    fn compared(&mut self, now: Instant, calendar: u64) -> u64 {
        let running = u64::try_from(now.since(Instant::ZERO).as_nanos()).unwrap_or(u64::MAX);
        if self.zero.saturating_add(running).abs_diff(calendar) > Self::DRIFT {
            self.zero = calendar.saturating_sub(running);
        }
        self.zero.saturating_add(running)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calendar_is_steady_until_it_is_set() {
        let second = 1_000_000_000;
        let mut calendar = Calendar { zero: 0 };
        let at = |seconds: u64| Instant::from_nanos(seconds * second);
        assert_eq!(calendar.compared(at(5), 1000 * second), 1000 * second);
        // A little drift does not matter, in either direction.
        assert_eq!(calendar.compared(at(6), 1001 * second + 900_000_000), 1001 * second);
        assert_eq!(calendar.compared(at(7), 1002 * second - 900_000_000), 1002 * second);
        assert_eq!(calendar.compared(at(8), 5000 * second), 5000 * second, "it was set");
        assert_eq!(calendar.compared(at(9), 5001 * second), 5001 * second);
    }
}
