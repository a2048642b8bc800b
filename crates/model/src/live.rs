//! What a running daemon says of itself: what it is configured to have, what is there, and what became of the rest.

use crate::{Identity, PlaneFault, Probe, SaSnapshot, SendError, Tombstone};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;
use wire::SpiPair;

/// A connection of a running daemon, as far as its control protocol tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveConnection {
    /// Its name.
    pub name: String,
    /// The peer's addresses as configured: addresses, names, ranges or `%any`.
    pub remote_addrs: Vec<String>,
    /// The only version of IKE that it is for, if it is for one only.
    pub version: Option<u8>,
    /// Whether it looks whether the peer is alive (`dpd_delay`); `None` where the daemon does not say.
    pub checks_peer: Option<bool>,
    /// Time between rekeyings of its IKE SA or between authentications, the shorter one; `None` for never, or not known.
    pub ike_lifetime: Option<Duration>,
    /// Its children.
    pub children: Vec<LiveChild>,
    /// The timers of its IKE SA that are on; none where the daemon does not say.
    pub timers: Vec<LiveTimer>,
    /// Where `version` is written, `FILE:LINE (KEY)`; `None` where the daemon does not say.
    pub version_at: Option<String>,
}

/// A timer of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveTimer {
    /// Its key: `rekey_time`.
    pub key: String,
    /// How long.
    pub time: Duration,
    /// Where it is written, `FILE:LINE (KEY)`, or why it is as it is.
    pub place: String,
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
    /// Whether something shall happen when the peer is dead (`dpd_action`).
    pub acts_on_dead_peer: bool,
    /// Time between rekeyings; `None` for never, or not known.
    pub rekey_time: Option<Duration>,
}

/// Whose a certificate is, as a daemon lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateUse {
    /// We prove ourselves with it: its private key is here.
    Own,
    /// It is an authority's.
    Authority,
    /// A peer's, or of an end without its key here.
    Other,
    /// It is no certificate but a list of revoked ones.
    RevocationList,
}

/// A certificate or revocation list that a daemon has: as much as tells when it runs out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveCertificate {
    /// Whose it is.
    pub of: CertificateUse,
    /// Its subject, or the issuer of a list.
    pub name: Identity,
    /// Its end, since the Unix epoch; `None` for a list that does not say when the next one comes.
    pub not_after: Option<Duration>,
}

/// What a message belongs to that no SA here can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StraySa {
    /// An IKE SA.
    Ike {
        /// Version of IKE.
        version: u8,
        /// Its SPIs; IKEv1 calls them cookies.
        spis: SpiPair,
    },
    /// An ESP SA.
    Esp {
        /// Its SPI.
        spi: u32,
    },
}

impl fmt::Display for StraySa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ike { version: 1, spis } => write!(f, "ISAKMP SA {spis} (IKEv1)"),
            Self::Ike { version, spis } => write!(f, "IKE SA {spis} (IKEv{version})"),
            Self::Esp { spi } => write!(f, "ESP SA {spi:08x}"),
        }
    }
}

/// Messages from a configured peer's address that belong to SAs which are not here: what a peer goes on to send that has
/// kept its SA while this end lost it. Unproven, so good for an explanation only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// Where they come from.
    pub from: IpAddr,
    /// The connections that are configured for this address and fit it best.
    pub connections: Vec<String>,
    /// What the latest one belongs to.
    pub sa: StraySa,
    /// How many there were.
    pub count: u64,
    /// How long ago the latest one came.
    pub last: Duration,
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
    /// Messages of SAs that the daemon does not have, by address; none where it does not say.
    pub strays: Vec<Stray>,
    /// The time, since the Unix epoch, by which certificates run out; `None` where nobody says.
    pub now: Option<Duration>,
    /// Certificates and revocation lists of the daemon.
    pub certificates: Vec<LiveCertificate>,
    /// What became of datagrams that were to be sent.
    pub send_errors: Vec<SendError>,
    /// What is wrong in the data plane.
    pub plane_faults: Vec<PlaneFault>,
    /// What came of the last probe of each Child SA that was probed.
    pub probes: Vec<Probe>,
}
