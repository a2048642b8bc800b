//! Captures of other programs' traffic: reads pcap and pcapng files as a stream, finds IKE and ESP in them, and follows
//! each IKE SA message by message, without keys or with those of a table that Wireshark keeps.
//!
//! Nothing here trusts its input: what is damaged is counted and left out.

mod datagram;
mod decrypt;
mod file;
mod fragments;
pub mod fuzzing;
mod keys;
mod tracker;

pub use datagram::{Content, Datagram, First, Piece, decapsulate};
pub use decrypt::Unopened;
pub use file::{CaptureError, LinkType, Packet, Reader};
pub use fragments::{Pieces, Whole};
pub use keys::{BadKeyLine, Keys};
pub use tracker::{KeyUse, Tracker, Tracks};

#[cfg(test)]
mod tests;
