//! SA listings: snapshots to text, and text to values.
//!
//! Everything here is a pure function. [`own`] is the screen for people, [`json`] the same facts for programs;
//! [`swanctl`] and [`tmsh`] speak as strongSwan's and F5's tools do.

pub mod json;
pub mod own;
#[cfg(test)]
mod samples;
pub mod swanctl;
pub mod tmsh;
