//! SA listings: snapshots to text, and text to values.
//!
//! Everything here is a pure function. [`own`] is the screen for people, [`json`] the same facts for programs;
//! [`swanctl`], [`tmsh`] and [`racoonctl`] speak as strongSwan's, F5's and racoon's tools do; [`listing`] reads theirs and
//! others' back.

pub mod fuzzing;
pub mod json;
pub mod listing;
pub mod own;
pub mod racoonctl;
#[cfg(test)]
mod samples;
pub mod swanctl;
pub mod tmsh;
