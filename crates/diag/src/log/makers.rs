//! What gateways print that have words of their own: PAN-OS (system log), Junos (kmd), FortiOS, SonicOS and RouterOS, which has racoon's for the
//! rest.

use super::catalogue::Place::{Child, Ike, Peer};
use super::catalogue::Rank::{Named, Note, Specific, Vague};
use super::catalogue::Says::{Begun, ByPeer, ChildBegun, ChildUp, Closed, Expired, GaveUp, Renews, Up};
use super::catalogue::{Phrase, fault, says};
use crate::Cause as C;
use model::Role::{Initiator, Responder};

/// Phrases that no daemon above has.
pub(super) const MAKERS: &[Phrase] = &[
    // PAN-OS.
    says(&["phase-1 negotiation is started as initiator"], Begun { role: Initiator, version: 1 }),
    says(&["phase-1 negotiation is started as responder"], Begun { role: Responder, version: 1 }),
    says(&["ikev2 ike sa negotiation is started as", ", rekey"], Renews),
    says(&["ikev2 ike sa negotiation is started as initiator"], Begun { role: Initiator, version: 2 }),
    says(&["ikev2 ike sa negotiation is started as responder"], Begun { role: Responder, version: 2 }),
    says(&["phase-1 negotiation is succeeded"], Up),
    says(&["ikev2 ike sa negotiation is succeeded"], Up),
    fault(Ike, Specific, &[C::PeerId], &["phase-1 negotiation is failed", "peer-id must be type ip address"]),
    says(&["phase-1 negotiation is failed as", "due to", "timeout"], GaveUp),
    says(&["ikev2 ike sa negotiation is failed as", "due to", "timeout"], GaveUp),
    says(&["phase-2 negotiation is started"], ChildBegun),
    says(&["ikev2 child sa negotiation is started"], ChildBegun),
    says(&["phase-2 negotiation is succeeded"], ChildUp),
    says(&["ikev2 child sa negotiation is succeeded"], ChildUp),
    fault(Child, Specific, &[C::TrafficSelector], &["phase-2 negotiation failed when processing proxy id"]),
    fault(Child, Specific, &[C::TrafficSelector], &["cannot find matching phase-2 tunnel for received proxy id"]),
    fault(Child, Specific, &[C::TrafficSelector], &["cannot find matching ipsec tunnel for received traffic selector"]),
    fault(
        Child,
        Named,
        &[C::ChildFailed, C::EncryptionAlgorithm, C::Pfs],
        &["phase-2 negotiation failed when processing sa payload"],
    ),
    fault(
        Child,
        Named,
        &[C::ChildFailed, C::EncryptionAlgorithm, C::Pfs],
        &["child sa negotiation failed when processing sa payload"],
    ),
    fault(
        Child,
        Vague,
        &[C::Phase2Timeout, C::TrafficSelector, C::Pfs],
        &["phase-2 negotiation is failed as", "due to", "timeout"],
    ),
    fault(
        Child,
        Vague,
        &[C::Phase2Timeout, C::TrafficSelector, C::Pfs],
        &["ikev2 child sa negotiation is failed as", "due to", "timeout"],
    ),
    fault(Peer, Named, &[C::DpdTimeout], &["sa is down determined by dpd"]),
    says(&["phase-1 sa delete message received from peer"], ByPeer),
    says(&["ikev2 ike sa delete message received from peer"], ByPeer),
    says(&["phase-1 sa is expired"], Expired),
    says(&["phase-1 sa is deleted"], Closed),
    says(&["ikev2 ike sa is deleted"], Closed),
    // Junos. An alarm comes when a VPN is down, and again when it is up: renewals give none.
    says(&["kmd_vpn_up_alarm_user"], Up),
    says(&["kmd_vpn_down_alarm_user"], Closed),
    says(&["kmd_pm_sa_established"], ChildUp),
    fault(Child, Specific, &[C::TrafficSelector], &["kmd_vpn_ts_mismatch"]),
    fault(Child, Specific, &[C::TrafficSelector], &["failed to match the peer proxy ids"]),
    fault(
        Child,
        Named,
        &[C::ChildFailed, C::TrafficSelector, C::EncryptionAlgorithm],
        &["peer proposed phase2 proposal conflicts with local configuration"],
    ),
    fault(Ike, Specific, &[C::PeerId], &["ike-id validation failed during negotiation"]),
    fault(Ike, Specific, &[C::NoConfig], &["ike gateway configuration lookup failed during negotiation"]),
    fault(
        Ike,
        Named,
        &[C::NoResponse, C::Phase1Timeout, C::NoConfig],
        &["ike negotiation failed with error: timed out"],
    ),
    fault(Ike, Named, &[C::NoResponse, C::Phase1Timeout, C::NoConfig], &["no response from peer. negotiation failed"]),
    fault(Child, Specific, &[C::TrafficSelector], &["ike negotiation failed with error: ts unacceptable"]),
    // A wrong secret decrypts to what has no syntax.
    fault(Ike, Named, &[C::PskMismatch, C::Phase1Proposal], &["ike negotiation failed with error: invalid syntax"]),
    fault(
        Ike,
        Named,
        &[C::PskMismatch, C::Phase1Proposal],
        &["ike negotiation failed with error: invalid payload type"],
    ),
    // FortiOS (event log) and SonicOS.
    fault(Peer, Named, &[C::DpdTimeout], &["ipsec dpd failed"]),
    fault(Child, Named, &[C::ChildFailed, C::TrafficSelector, C::EncryptionAlgorithm], &["ipsec phase 2 error"]),
    fault(Ike, Named, &[C::Phase1Proposal], &["ike proposal does not match (phase 1)"]),
    fault(
        Child,
        Named,
        &[C::ChildFailed, C::EncryptionAlgorithm, C::AuthenticationAlgorithm, C::Pfs],
        &["ike proposal does not match (phase 2)"],
    ),
    // RouterOS.
    says(&["new ike2 sa (i)"], Begun { role: Initiator, version: 2 }),
    says(&["new ike2 sa (r)"], Begun { role: Responder, version: 2 }),
    says(&["peer authorized"], Up),
    says(&["killing ike2 sa"], Closed),
    fault(Ike, Named, &[C::PskMismatch, C::Phase1Proposal], &["parsing packet failed, possible cause: wrong password"]),
    fault(Ike, Specific, &[C::PeerId, C::NoConfig], &["identity not found for peer"]),
    fault(Ike, Specific, &[C::NoConfig, C::IkeVersion], &["no ikev1 peer config for"]),
    fault(Ike, Specific, &[C::NoConfig, C::IkeVersion], &["no ikev2 peer config for"]),
    fault(Ike, Specific, &[C::AuthFailed], &["can't verify peer's certificate from store"]),
    fault(Child, Specific, &[C::TrafficSelector], &["no policy found/generated"]),
    fault(Peer, Note, &[C::StaleSa], &["peer sent packet for dead phase"]),
];
