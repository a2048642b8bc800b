//! Shrike's own log: an SA's end has a code, and before it the message that it waited for, in the notation of the RFCs.

use super::catalogue::Place::{Child, Either, Ike, Peer};
use super::catalogue::Rank::{Named, Specific};
use super::catalogue::Says::{ByPeer, Closed, Expired, HalfOpen, Nothing, Refused, Replaced};
use super::catalogue::{Phrase, fault, says};
use crate::Cause as C;

/// These stand before all others: the sentence with the reason may have any words in it.
pub(super) const OWN: &[Phrase] = &[
    fault(Ike, Specific, &[C::PeerId], &["ended:", "[peer_id_unknown]"]),
    fault(Ike, Specific, &[C::PeerId], &["ended:", "[local_id_unknown]"]),
    fault(Ike, Specific, &[C::PeerId], &["ended:", "[peer_id_mismatch]"]),
    fault(Ike, Specific, &[C::PeerId], &["ended:", "[cert_id_mismatch]"]),
    fault(Ike, Specific, &[C::PskMismatch], &["ended:", "[psk_mismatch]"]),
    fault(Ike, Specific, &[C::PskMismatch, C::PeerId], &["ended:", "[psk_missing]"]),
    fault(Ike, Specific, &[C::AuthFailed], &["ended:", "[auth_method]"]),
    fault(Ike, Specific, &[C::AuthFailed], &["ended:", "[auth_method_mismatch]"]),
    fault(Ike, Specific, &[C::AuthFailed], &["ended:", "[own_cert_missing]"]),
    fault(Ike, Specific, &[C::AuthFailed], &["ended:", "[peer_cert_missing]"]),
    fault(Ike, Specific, &[C::AuthFailed], &["ended:", "[signature_invalid]"]),
    fault(Ike, Specific, &[C::AuthFailed], &["ended:", "[cert_expired]"]),
    fault(Ike, Specific, &[C::AuthFailed], &["ended:", "[cert_not_yet_valid]"]),
    fault(Ike, Specific, &[C::AuthFailed], &["ended:", "[cert_issuer_unknown]"]),
    fault(Ike, Specific, &[C::AuthFailed], &["ended:", "[cert_revoked]"]),
    fault(Ike, Specific, &[C::AuthFailed], &["ended:", "[cert_revocation_unknown]"]),
    fault(Ike, Specific, &[C::AuthFailed], &["ended:", "[cert_not_allowed]"]),
    fault(Ike, Specific, &[C::AuthFailed], &["ended:", "[cert_invalid]"]),
    says(&["ended:", "[auth_failed]"], Refused),
    fault(
        Ike,
        Specific,
        &[C::PeerId],
        &["ended: the peer refused the ike sa with invalid_id_information", "[peer_refused]"],
    ),
    // OpenIKED refuses IKE_AUTH for its Child SA's sake; a refused IKE_SA_INIT has a code of its own.
    fault(
        Ike,
        Named,
        &[C::ChildFailed, C::EncryptionAlgorithm, C::AuthenticationAlgorithm],
        &["ended: the peer refused the ike sa with no_proposal_chosen", "[peer_refused]"],
    ),
    fault(
        Ike,
        Specific,
        &[C::DhGroup, C::Phase1Proposal],
        &["ended: no ike proposal in common: key exchange group:", "[ike_proposal]"],
    ),
    fault(
        Ike,
        Named,
        &[C::Phase1Proposal, C::NoConfig, C::NegotiationMode, C::IkeVersion],
        &["ended: the peer accepts none", "[ike_proposal]"],
    ),
    fault(Ike, Specific, &[C::Phase1Proposal], &["ended:", "[ike_proposal]"]),
    fault(
        Child,
        Specific,
        &[C::Pfs, C::ChildFailed],
        &["ended: no esp proposal in common: key exchange group:", "[child_proposal]"],
    ),
    fault(
        Child,
        Named,
        &[C::ChildFailed, C::Pfs, C::EncryptionAlgorithm, C::EncapsulationMode],
        &["ended: the peer accepts none", "[child_proposal]"],
    ),
    fault(
        Child,
        Specific,
        &[C::ChildFailed, C::EncryptionAlgorithm, C::AuthenticationAlgorithm],
        &["ended:", "[child_proposal]"],
    ),
    fault(Either, Specific, &[C::DhGroup], &["ended:", "[ke_group]"]),
    fault(Child, Specific, &[C::TrafficSelector], &["ended:", "[traffic_selector]"]),
    fault(
        Ike,
        Named,
        &[C::NatTraversal, C::PskMismatch, C::Phase1Timeout],
        &["ended: no answer", ":4500 to", "waiting for hdr, sk {idr", "[no_response]"],
    ),
    fault(
        Ike,
        Named,
        &[C::Phase1Timeout, C::NatTraversal, C::PskMismatch],
        &["ended: no answer", "waiting for hdr, sk {idr", "[no_response]"],
    ),
    fault(
        Ike,
        Named,
        &[C::NoResponse, C::NoConfig, C::IkeVersion],
        &["ended: no answer", "waiting for hdr, sar1", "[no_response]"],
    ),
    fault(
        Ike,
        Named,
        &[C::Phase1Timeout, C::PskMismatch, C::NatTraversal],
        &["ended: no answer", "waiting for hdr, ke", "[no_response]"],
    ),
    fault(
        Ike,
        Named,
        &[C::PskMismatch, C::NatTraversal, C::PeerId, C::AuthFailed],
        &["ended: no answer", ":4500 to", "waiting for hdr*, idir", "[no_response]"],
    ),
    fault(
        Ike,
        Named,
        &[C::PskMismatch, C::PeerId, C::AuthFailed],
        &["ended: no answer", "waiting for hdr*, idir", "[no_response]"],
    ),
    fault(
        Child,
        Named,
        &[C::Phase2Timeout, C::TrafficSelector, C::Pfs],
        &["ended: no answer", "waiting for hdr*, hash(2)", "[no_response]"],
    ),
    fault(
        Ike,
        Named,
        &[C::NoResponse, C::Phase1Proposal, C::NoConfig, C::NegotiationMode, C::IkeVersion],
        &["ended: no answer", "[no_response]"],
    ),
    fault(Peer, Named, &[C::DpdTimeout], &["ended:", "[peer_lost]"]),
    fault(
        Ike,
        Named,
        &[C::PskMismatch, C::NatTraversal, C::PeerId, C::AuthFailed],
        &["ended: the initiator did not go on", "waiting for hdr*, idii", "[half_open]"],
    ),
    fault(
        Ike,
        Named,
        &[C::PskMismatch, C::NoResponse, C::PeerId],
        &[
            "ended: the initiator did not go on",
            "waiting for hdr, hash_i",
            "repeated its request 0 times",
            "[half_open]",
        ],
    ),
    fault(
        Ike,
        Named,
        &[C::NoResponse, C::PskMismatch, C::HalfOpen],
        &["ended: the initiator did not go on", "waiting for hdr, hash_i", "[half_open]"],
    ),
    says(&["ended:", "[half_open]"], HalfOpen),
    fault(Ike, Specific, &[C::NegotiationMode], &["ended:", "[negotiation_mode]"]),
    fault(Child, Specific, &[C::EncapsulationMode], &["ended:", "[encap_mode]"]),
    fault(Ike, Specific, &[C::Collision, C::PeerDelete], &["ended:", "[not_unique]"]),
    fault(Ike, Specific, &[C::NoConfig, C::IkeVersion], &["ended:", "[no_config]"]),
    fault(Ike, Specific, &[C::IkeVersion], &["ended:", "[ike_version]"]),
    fault(Child, Specific, &[C::ChildFailed], &["ended:", "[install_failed]"]),
    // The end of a Child SA alone says nothing about the IKE SA.
    says(&["child_sa", "ended:", "[peer_delete]"], Nothing),
    says(&["child_sa", "ended:", "[terminated]"], Nothing),
    says(&["child_sa", "ended:", "[replaced]"], Nothing),
    says(&["child_sa", "ended:", "[expired]"], Nothing),
    says(&["ended:", "[peer_delete]"], ByPeer),
    says(&["ended:", "[terminated]"], Closed),
    says(&["ended:", "[replaced]"], Replaced),
    says(&["ended:", "[expired]"], Expired),
];
