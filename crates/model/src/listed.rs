//! SAs as another program's listing shows them.

use crate::{ExchangeMode, Role};
use wire::SpiPair;

/// One row of a listing. What a listing does not say is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedSa {
    /// The end that was asked, if the listing says it.
    pub source: Option<String>,
    /// Its peer, as written, without the port; the connection's name where the listing has no address.
    pub peer: String,
    /// The peer's port.
    pub port: Option<u16>,
    /// How the listing names the SA: a connection, a number.
    pub name: Option<String>,
    /// Version of IKE.
    pub version: Option<u8>,
    /// Both SPIs, in IKEv1 cookies; the responder's is zero until it has answered.
    pub spis: Option<SpiPair>,
    /// Who began, as far as the listing says it.
    pub role: Option<Role>,
    /// Main or aggressive mode (IKEv1).
    pub mode: Option<ExchangeMode>,
    /// racoon's ST: 1 start to 9 established, more for what is replaced or expired. For other listings and for IKEv2 the
    /// ST after as many messages.
    pub st: Option<u8>,
    /// The state in the listing's own word.
    pub state: Option<String>,
    /// Whether it is, or was, established.
    pub established: bool,
    /// IPsec SAs under it, also those being negotiated.
    pub phase2: Option<u32>,
    /// How many there should be.
    pub wanted: Option<u32>,
    /// For how many seconds it is established.
    pub age: Option<u64>,
    /// How many seconds it is meant to be.
    pub lifetime: Option<u64>,
    /// In how many seconds it is to be renewed, where the listing has no age.
    pub left: Option<u64>,
    /// When it was established, in seconds of the clock of whoever listed it, since some moment.
    pub created: Option<u64>,
    /// What came in through the SAs under it, and what went out: packets, or octets where packets are not counted.
    pub traffic: Option<(u64, u64)>,
    /// The state of an SA under it that waits for the peer's answer, in the listing's own word.
    pub asking: Option<String>,
    /// What the listing counts since it knows the peer.
    pub tally: Option<Tally>,
    /// Whether this is an IPsec SA, of one direction, and not an IKE SA.
    pub ipsec: bool,
    /// Why it ended, where the listing keeps SAs that ended: a sentence, and a code in brackets ([`crate::FailureKind::code`]).
    pub ended: Option<String>,
}

/// Attempts and successes with one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// IKE SAs that were begun, and those of them that were established.
    pub ike: (u32, u32),
    /// Child SAs that were begun, and those of them that were established.
    pub children: (u32, u32),
    /// In how many seconds.
    pub seconds: Option<u64>,
}

/// A listing, perhaps one of a series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// When it was taken, in milliseconds since some moment that is the same for the whole series.
    pub at: Option<u64>,
    /// Its rows.
    pub sas: Vec<ListedSa>,
}
