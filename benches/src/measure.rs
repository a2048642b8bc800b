//! The command line and the clock.

use clap::Parser;
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// The command line of every benchmark program.
#[derive(Parser, Clone, Debug)]
#[command(about = "Benchmark of Shrike: CPU time or memory per operation")]
pub struct Options {
    /// One JSON object per row instead of a table
    #[arg(long)]
    pub json: bool,
    /// How often each row is measured; the median is shown
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,
    /// Only rows whose name contains one of these
    pub filter: Vec<String>,
    /// Cargo says this to every benchmark
    #[arg(long, hide = true)]
    pub bench: bool,
    /// Memory: also write where every octet of the last suite's heap was allocated, for DHAT's viewer
    #[arg(long, value_name = "FILE")]
    pub dhat: Option<std::path::PathBuf>,
    /// Memory: be the responder of another process, which speaks through standard input and output
    #[arg(long, hide = true)]
    pub as_responder: bool,
}

impl Options {
    /// The arguments of this process.
    pub fn get() -> Self {
        Self::parse()
    }

    /// Whether a row was asked for.
    pub fn wants(&self, row: &str) -> bool {
        self.filter.is_empty() || self.filter.iter().any(|f| row.contains(f.as_str()))
    }
}

/// CPU time that this process has used: user and system, all threads.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

/// Milliseconds of each of `operations` that took `time` together.
pub fn milliseconds(time: Duration, operations: u32) -> f64 {
    time.as_secs_f64() * 1000.0 / f64::from(operations)
}

/// The middle one, or the lower of the two in the middle; `NaN` of nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// CPU nanoseconds of one call, for what takes too little time to measure once: the median of `runs` rounds of about
/// 20 ms.
pub fn nanoseconds_each(runs: u32, mut work: impl FnMut()) -> f64 {
    const ROUND: Duration = Duration::from_millis(20);
    let mut calls: u32 = 1;
    let mut round = |calls: u32| {
        let start = cpu_time();
        (0..calls).for_each(|_| work());
        cpu_time() - start
    };
    while round(calls) < ROUND && calls < 1 << 30 {
        calls *= 2;
    }
    median((0..runs).map(|_| round(calls).as_nanos() as f64 / f64::from(calls)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert!(median(vec![]).is_nan());
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.0);
    }

    #[test]
    fn the_clock_counts_work_of_this_process() {
        let start = cpu_time();
        let each = nanoseconds_each(1, || {
            std::hint::black_box((0..1000_u32).fold(0, |sum, n| std::hint::black_box(n) ^ sum));
        });
        assert!(each > 0.0);
        assert!(cpu_time() - start >= Duration::from_millis(20), "one round at least");
    }

    #[test]
    fn a_filter_selects_rows() {
        let options = Options::parse_from(["program", "--bench", "--json", "x25519"]);
        assert!(options.json && options.wants("PSK x25519") && !options.wants("PSK ecp256"));
    }
}
