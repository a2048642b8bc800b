//! What came of sending packets through a Child SA on purpose, to see whether it carries any, and how long ones.

use crate::SendTrouble;
use std::net::IpAddr;
use std::time::Duration;

/// A probe of one Child SA: ICMP echo requests that went, or should have gone, through it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The connection.
    pub connection: String,
    /// The child.
    pub child: String,
    /// The peer's address on the outside.
    pub peer: IpAddr,
    /// Our side of the selectors, for people.
    pub local_ts: String,
    /// The peer's side.
    pub remote_ts: String,
    /// The address of ours that it was sent from, if there is one that the selectors allow.
    pub local: Option<IpAddr>,
    /// The address that it was sent to, if there is one.
    pub to: Option<IpAddr>,
    /// Whether somebody named that address, who knows that it answers: else it is the first one of the peer's network.
    pub named: bool,
    /// What came of it.
    pub outcome: ProbeOutcome,
    /// How many requests were sent.
    pub sent: u32,
    /// How many answers came.
    pub answers: u32,
    /// By how many packets the Child SA's outbound counter has grown meanwhile; `None` where it was replaced meanwhile.
    pub outbound: Option<u64>,
    /// The same of the inbound counter.
    pub inbound: Option<u64>,
    /// How long ago that was.
    pub ago: Duration,
}

/// What came of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// No address of this host lies within our side of the selectors.
    NoLocalAddress,
    /// The peer's side has no address that could be asked: its protocols are others, or its family of addresses.
    NoTarget,
    /// The address that was named lies outside the peer's side.
    OutsideSelectors,
    /// The operating system lets this process have no socket for it: its words.
    NoSocket(String),
    /// Requests did not leave.
    CannotSend(SendTrouble),
    /// Requests left, and no answer came.
    NoAnswer {
        /// Who reported instead that the address cannot be reached.
        unreachable: Option<IpAddr>,
    },
    /// Answers came.
    Answers {
        /// The time from a request to its answer, the shortest one.
        round_trip: Duration,
        /// The longest packet that was answered: octets of the whole packet inside the tunnel.
        largest: u32,
        /// The shortest packet that nothing came back for, neither an answer nor a report that it is too long; `None` if there is
        /// none up to `limit`.
        silent: Option<u32>,
        /// The longest packet that the interface, and whoever reported that a packet is too long, allow.
        limit: u32,
        /// How many such reports there were.
        too_long: u32,
    },
}
