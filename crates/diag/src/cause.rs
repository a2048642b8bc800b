//! The catalogue of causes. Codes do not change.

use serde::{Serialize, Serializer};
use std::fmt;

/// Why an SA is not there, or does not stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Nobody answers.
    NoResponse,
    /// The peer has no configuration for this address, version or mode.
    NoConfig,
    /// No proposal for the IKE SA or phase 1 in common.
    Phase1Proposal,
    /// No key exchange group in common.
    DhGroup,
    /// Pre-shared keys differ.
    PskMismatch,
    /// An identity is not the expected one.
    PeerId,
    /// Authentication failed, for another reason or an unknown one.
    AuthFailed,
    /// The ends speak different versions of IKE.
    IkeVersion,
    /// Main mode against aggressive mode.
    NegotiationMode,
    /// NAT traversal: UDP port 4500 is blocked, or one end does not do it.
    NatTraversal,
    /// Traffic selectors differ.
    TrafficSelector,
    /// Perfect forward secrecy at one end only, or with different groups.
    Pfs,
    /// Phase 1 stopped halfway.
    Phase1Timeout,
    /// Phase 2 got no answer.
    Phase2Timeout,
    /// The peer stopped answering.
    DpdTimeout,
    /// The IKE SA is there, the Child SA is refused.
    ChildFailed,
    /// The peer does not know the SA.
    StaleSa,
    /// The responder waits for the initiator.
    HalfOpen,
    /// A lifetime is too short, or differs.
    Lifetime,
    /// The peer deletes the SA.
    PeerDelete,
    /// Both ends begin, and each replaces the other's SA.
    Collision,
    /// Encryption algorithms or key lengths differ.
    EncryptionAlgorithm,
    /// Integrity or hash algorithms, or authentication methods of a proposal, differ.
    AuthenticationAlgorithm,
    /// ESP at one end, AH or compression at the other.
    SecurityProtocol,
    /// Tunnel mode at one end, transport mode at the other.
    EncapsulationMode,
    /// An end waits for the commit bit's CONNECTED notification (IKEv1).
    CommitBit,
    /// The hash of a dead peer detection message is not where the other end looks for it.
    DpdOrder,
    /// Packets of the tunnel are too long for the path between the ends.
    PathMtu,
    /// Nothing began to negotiate.
    NotStarted,
}

impl Cause {
    /// All of them, in the order in which a negotiation meets them.
    pub const ALL: [Self; 29] = [
        Self::NotStarted,
        Self::NoResponse,
        Self::NoConfig,
        Self::IkeVersion,
        Self::NegotiationMode,
        Self::Phase1Proposal,
        Self::EncryptionAlgorithm,
        Self::AuthenticationAlgorithm,
        Self::DhGroup,
        Self::Phase1Timeout,
        Self::HalfOpen,
        Self::NatTraversal,
        Self::PskMismatch,
        Self::PeerId,
        Self::AuthFailed,
        Self::ChildFailed,
        Self::TrafficSelector,
        Self::Pfs,
        Self::SecurityProtocol,
        Self::EncapsulationMode,
        Self::CommitBit,
        Self::Phase2Timeout,
        Self::Lifetime,
        Self::Collision,
        Self::PeerDelete,
        Self::StaleSa,
        Self::DpdTimeout,
        Self::DpdOrder,
        Self::PathMtu,
    ];

    /// The cause with this code, in any letters; also by the other names of the same causes.
    pub fn from_code(code: &str) -> Option<Self> {
        let code = code.trim().to_ascii_uppercase().replace('-', "_");
        let code = match code.as_str() {
            "PEER_MISMATCH" => "NO_CONFIG",
            "ALGORITHM" => "P1_PROPOSAL",
            "NO_EXCEPTION_FOUND" => "NOT_STARTED",
            other => other,
        };
        Self::ALL.into_iter().find(|cause| cause.code() == code)
    }

    /// The code.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoResponse => "NO_RESPONSE",
            Self::NoConfig => "NO_CONFIG",
            Self::Phase1Proposal => "P1_PROPOSAL",
            Self::DhGroup => "DH_GROUP",
            Self::PskMismatch => "PSK_MISMATCH",
            Self::PeerId => "PEER_ID",
            Self::AuthFailed => "AUTH_FAILED",
            Self::IkeVersion => "IKE_VERSION",
            Self::NegotiationMode => "NEGOTIATION_MODE",
            Self::NatTraversal => "NATT",
            Self::TrafficSelector => "TRAFFIC_SELECTOR",
            Self::Pfs => "PFS",
            Self::Phase1Timeout => "P1_TIMEOUT",
            Self::Phase2Timeout => "P2_TIMEOUT",
            Self::DpdTimeout => "DPD_TIMEOUT",
            Self::ChildFailed => "CHILD_FAILED_IKE_KEPT",
            Self::StaleSa => "STALE_SA",
            Self::HalfOpen => "HALF_OPEN",
            Self::Lifetime => "LIFETIME",
            Self::PeerDelete => "PEER_DELETE",
            Self::Collision => "COLLISION",
            Self::EncryptionAlgorithm => "ENC_ALG",
            Self::AuthenticationAlgorithm => "AUTH_ALG",
            Self::SecurityProtocol => "SEC_PROTOCOL",
            Self::EncapsulationMode => "ENCAP_MODE",
            Self::CommitBit => "COMMIT_BIT",
            Self::DpdOrder => "DPD_ORDER",
            Self::PathMtu => "PATH_MTU",
            Self::NotStarted => "NOT_STARTED",
        }
    }

    /// What to do about it, in one line.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::NoResponse => {
                "check the peer's address, that its daemon runs, routes both ways, and that UDP port 500 is open"
            }
            Self::NoConfig => "give the peer a connection for this address, this version of IKE and this mode",
            Self::Phase1Proposal => {
                "give both ends a common proposal; the responder's log names what differs, if its level is high enough"
            }
            Self::DhGroup => "give both ends a common key exchange group, the same one first",
            Self::PskMismatch => {
                "make the pre-shared key of this pair of identities equal at both ends, also its blanks and notation"
            }
            Self::PeerId => {
                "compare the identities: ours with what the peer expects, and the other way round; behind a NAT set them"
            }
            Self::AuthFailed => {
                "compare the authentication methods, and with certificates their chain, dates and names"
            }
            Self::IkeVersion => "set the same version of IKE at both ends",
            Self::NegotiationMode => "set main or aggressive mode at both ends",
            Self::NatTraversal => {
                "open UDP port 4500 both ways, switch NAT traversal on at both ends, switch IPsec helpers of routers off"
            }
            Self::TrafficSelector => "make local and remote networks the mirror image of the peer's",
            Self::Pfs => "set the same group for perfect forward secrecy at both ends, or none at both",
            Self::Phase1Timeout => {
                "see which end is silent: its log says what it could not use, if the messages reach it"
            }
            Self::Phase2Timeout => "read the peer's log: it has the request and does not answer, or answers are lost",
            Self::DpdTimeout => "check the path and the peer; behind a NAT shorten the interval of keepalives",
            Self::ChildFailed => "compare ESP proposals, networks, mode and perfect forward secrecy",
            Self::StaleSa => "let both ends check for dead peers; delete the SA at the end that still has it",
            Self::HalfOpen => "read the initiator's log: it did not go on",
            Self::Lifetime => "compare the lifetimes of phase 1 and their units: hours, not seconds",
            Self::PeerDelete => "ask the peer's log why it deletes: uniqueness, idle time, or phase 2 that failed",
            Self::Collision => "let one end begin and the other wait",
            Self::EncryptionAlgorithm => "give both ends the same encryption algorithm and key length",
            Self::AuthenticationAlgorithm => "give both ends the same integrity algorithm and authentication method",
            Self::SecurityProtocol => "choose ESP at both ends, with the same setting of compression",
            Self::EncapsulationMode => "set tunnel mode or transport mode at both ends",
            Self::CommitBit => "switch the commit bit off at the end that sets it",
            Self::DpdOrder => {
                "bring the end that sends the notification before the hash up to date, or switch its DPD off"
            }
            Self::PathMtu => {
                "lower the MTU of the tunnel or clamp the MSS of TCP, and let ICMP's \"packet too big\" reach the gateways"
            }
            Self::NotStarted => {
                "send traffic that the SA is for, or initiate by hand; check routes, selectors and that not both ends wait"
            }
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_different_and_name_their_cause() {
        let codes: std::collections::BTreeSet<&str> = Cause::ALL.iter().map(|cause| cause.code()).collect();
        assert_eq!(codes.len(), Cause::ALL.len());
        for cause in Cause::ALL {
            assert_eq!(Cause::from_code(&cause.code().to_lowercase()), Some(cause));
        }
        assert_eq!(Cause::from_code("peer-mismatch"), Some(Cause::NoConfig));
        assert_eq!(Cause::from_code("nothing"), None);
    }
}
