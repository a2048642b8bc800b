//! What the benchmark programs share: the CPU clock, medians, tables and two ends that shake hands,
//! and a flood of strangers.
//!
//! `cargo bench -p shrike-bench -- [--json] [--runs N] [FILTER ...]` runs all programs; `--bench NAME` before the `--`
//! runs one. What is measured is CPU time of the process, so that a busy machine disturbs little; no program judges its
//! numbers.

mod flood;
mod many;
mod measure;
mod peers;
mod table;

pub use flood::{Phase, Siege};
pub use many::{Idle, Many};
pub use measure::{Options, cpu_time, median, milliseconds, nanoseconds_each};
pub use peers::{Batch, Datagram, Rekeying, Side, Suite, batch, gateway, initiator, rekeyings, responder};
pub use table::{Table, Value};
