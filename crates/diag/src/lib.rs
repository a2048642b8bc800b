//! Findings: what is wrong with an SA, why, on what evidence, and what to do.
//!
//! Without I/O: [`observed`] judges what a passive observer saw, [`listed`] what another program's listing shows. A verdict is a list of causes, most likely first, where
//! the evidence does not decide; it never says more than what was seen allows.

mod cause;
mod finding;
mod listed;
mod observed;
mod pages;

pub use cause::Cause;
pub use finding::{Finding, Severity};
pub use listed::listed;
pub use observed::observed;
pub use pages::Page;
