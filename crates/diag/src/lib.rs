//! Findings: what is wrong with an SA, why, on what evidence, and what to do.
//!
//! Without I/O: [`observed`] judges what a passive observer saw, [`listed`] what another program's listing shows, [`Log`]
//! what a daemon wrote, [`live`] what a running one says, [`probed`] what came back through a tunnel, [`Watch`] what changes from one
//! listing to the next; [`merged`] brings them together. A verdict is a list of causes, most likely first, where the
//! evidence does not decide; it never says more than what was seen allows. Each [`Cause`] has a [`Page`]. What is read from
//! others goes through [`redact`] first.

mod below;
mod cause;
mod failed;
mod finding;
pub mod fuzzing;
mod later;
mod listed;
mod live;
mod log;
mod merge;
mod observed;
mod pace;
mod pages;
mod probed;
mod reasons;
mod redact;
mod rhythm;
mod watch;

pub use cause::Cause;
pub use finding::{Finding, Severity};
pub use later::certificates as running_out;
pub use listed::{listed, listed_beside};
pub use live::{ended, live};
pub use log::{Log, LogReport};
pub use merge::{Sourced, merged};
pub use observed::{Capture, between, observed, observed_until};
pub use pages::Page;
pub use probed::probed;
pub use reasons::Reason;
pub use redact::{REDACTED, redact};
pub use watch::{Change, Condition, Watch, Watched};
