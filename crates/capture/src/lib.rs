//! Captures of other programs' traffic: reads pcap and pcapng files as a stream, finds IKE and ESP in them, and follows
//! each IKE SA message by message, without keys.
//!
//! Nothing here trusts its input: what is damaged is counted and left out.

mod datagram;
mod file;
pub mod fuzzing;
mod tracker;

pub use datagram::{Content, Datagram, decapsulate};
pub use file::{CaptureError, LinkType, Packet, Reader};
pub use tracker::{Tracker, Tracks};

#[cfg(test)]
mod tests;
