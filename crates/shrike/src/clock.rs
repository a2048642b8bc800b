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
