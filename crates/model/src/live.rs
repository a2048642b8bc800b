//! What a running daemon says of itself: what it is configured to have, what is there, and what became of the rest.

use crate::{SaSnapshot, Tombstone};
use std::collections::BTreeMap;
use std::time::Duration;

/// A connection of a running daemon, as far as its control protocol tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveConnection {
    /// Its name.
    pub name: String,
    /// The peer's addresses as configured: addresses, names, ranges or `%any`.
    pub remote_addrs: Vec<String>,
    /// The only version of IKE that it is for, if it is for one only.
    pub version: Option<u8>,
    /// Its children.
    pub children: Vec<LiveChild>,
}

/// A child of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveChild {
    /// Its name.
    pub name: String,
    /// Whether the daemon begins it by itself; `None` where the daemon does not say.
    pub starts: Option<bool>,
    /// Whether a trap is set: the first packet that needs it begins it.
    pub trapped: bool,
}

/// Everything a daemon says at one moment.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// What is configured.
    pub connections: Vec<LiveConnection>,
    /// SAs that are there, or being negotiated.
    pub sas: Vec<SaSnapshot>,
    /// SAs and attempts that are over, in any order.
    pub ended: Vec<Tombstone>,
    /// Whether the daemon remembers why SAs ended; if not, `ended` is empty and says nothing.
    pub remembers: bool,
    /// For how long the daemon runs, roughly; `None` where it does not say.
    pub running: Option<Duration>,
    /// Messages counted for each connection, by strongSwan's names of counters (`ike-init-out-req`); only where the daemon
    /// does not remember.
    pub counters: BTreeMap<String, BTreeMap<String, u64>>,
}
