//! What two ends need for taking away the same one of two IKE SAs that both began at once (`endpoint/twins.rs`): whether both
//! know the rule, and, where they do not, which of the two is the older one for the peer.
//!
//! ```text
//! IKE_AUTH request  -> SK { IDi ... V }      V: the end that sends it applies the rule
//! IKE_AUTH response <- SK { IDr ... V }      only to who has sent it
//! ```
//!
//! The Vendor ID (RFC 7296 section 3.12) is inside what is encrypted: nobody else learns from it whose program this is.

use config::{Connection, Unique};
use model::Instant;
use wire::v2::{Chain, ChainBuilder};

/// The sender takes away the one with the lower SPIs if it began that one.
const RULE: &[u8] = b"Shrike 1";

/// What an IKE SA knows about it; rekeying does not change that.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OneOfTwo {
    /// Both ends apply the rule.
    pub known: bool,
    /// When our IKE_AUTH message left: with it the peer is done with the IKE SA, whoever began it.
    pub proof_sent: Option<Instant>,
}

impl OneOfTwo {
    /// Our IKE_AUTH request leaves.
    pub fn tell(&mut self, now: Instant, connection: &Connection, request: &mut ChainBuilder) {
        self.proof_sent = Some(now);
        if connection.unique != Unique::Never {
            request.vendor_id(RULE);
        }
    }

    /// Our IKE_AUTH response leaves.
    pub fn answer(&mut self, now: Instant, response: &mut ChainBuilder) {
        self.proof_sent = Some(now);
        if self.known {
            response.vendor_id(RULE);
        }
    }

    /// The peer's has come.
    pub fn note(&mut self, connection: &Connection, chain: &Chain<'_>) {
        self.known = connection.unique != Unique::Never && chain.vendor_ids().any(|id| id == RULE);
    }
}
