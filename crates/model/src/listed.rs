//! IKE SAs as another program's listing shows them.

use crate::{ExchangeMode, Role};
use wire::SpiPair;

/// One row of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedSa {
    /// The end that was asked, if the listing says it.
    pub source: Option<String>,
    /// Its peer, as written, without the port.
    pub peer: String,
    /// The peer's port.
    pub port: Option<u16>,
    /// Both SPIs, in IKEv1 cookies; the responder's is zero until it has answered.
    pub spis: SpiPair,
    /// Who began, as far as the listing says it.
    pub role: Option<Role>,
    /// Main or aggressive mode (IKEv1).
    pub mode: Option<ExchangeMode>,
    /// racoon's ST: 1 start to 9 established, more for what is replaced or expired.
    pub st: Option<u8>,
    /// Whether it is, or was, established.
    pub established: bool,
    /// IPsec SAs under it, also those being negotiated.
    pub phase2: Option<u32>,
}

/// A listing, perhaps one of a series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// When it was taken, in milliseconds since some moment that is the same for the whole series.
    pub at: Option<u64>,
    /// Its rows.
    pub sas: Vec<ListedSa>,
}
