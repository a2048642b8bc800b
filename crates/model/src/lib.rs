//! The nouns that cross borders between Shrike's rooms.
//!
//! Nothing here reads a clock, opens a socket or decides anything: these are the values that the protocol core, the data
//! planes, the control protocol and the listings hand to each other.

mod codes;
pub mod dataplane;
mod event;
mod failure;
mod identity;
pub mod ikev1;
mod listed;
mod live;
mod name;
mod observed;
mod probe;
mod selector;
mod snapshot;
mod suite;
mod time;
mod trouble;

pub use event::{DropReason, Event, Phase};
pub use failure::{CertificateProblem, ConfigRef, Failure, FailureKind, RedirectProblem, Side};
pub use identity::{IdKind, Identity, InvalidIdentity};
pub use listed::{ListedSa, Listing, Tally};
pub use live::{CertificateUse, Live, LiveCertificate, LiveChild, LiveConnection, LiveTimer, Stray, StraySa};
pub use observed::{NOTIFY_DATA, ObservedInside, ObservedMessage, ObservedNotify, ObservedSa, ObservedTooBig};
pub use observed::{ObservedUnreachable, Unreachable};
pub use probe::{Probe, ProbeOutcome};
pub use selector::{InvalidSelector, MAX_PAIRS, MOST_SELECTORS, TrafficSelector, narrow, pairs};
pub use snapshot::{
    ChildSnapshot, ChildState, DELETED, ExchangeMode, Heard, IkeState, NatState, Rekeying, Retransmissions, SaSnapshot,
    Tombstone, UNREADABLE, UNREADABLE_TEXT,
};
pub use suite::{
    Algorithm, ChosenSuite, Dimension, Encryption, InvalidProposal, Mismatch, Proposal, ProposalProtocol, select,
};
pub use time::Instant;
pub use trouble::{PlaneFault, SendError, SendTrouble};

/// The number by which an operator names an IKE SA or a Child SA: swanctl's `#<uniqueid>`.
///
/// Counted separately for IKE SAs and Child SAs, from 1, never used twice while the daemon runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct SaId(pub u32);

impl std::fmt::Display for SaId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Which end began an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sent the first message.
    Initiator,
    /// Answered it.
    Responder,
}

impl Role {
    /// The other end's role.
    pub fn other(self) -> Role {
        match self {
            Role::Initiator => Role::Responder,
            Role::Responder => Role::Initiator,
        }
    }
}
