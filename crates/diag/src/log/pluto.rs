//! pluto's words for what the general phrases do not cover: libreswan from 3.2 on, and the whack messages of its console.

use super::catalogue::Place::{Child, Either, Ike, Peer, User};
use super::catalogue::Rank::{Named, Specific, Vague};
use super::catalogue::Says::{
    Begun, Beneath, ByPeer, ChildBegun, GaveUp, Keyed, Method, Ours, Purged, Redirected, Repeated, Up,
};
use super::catalogue::{Phrase, fault, says};
use crate::Cause as C;
use model::Role::Initiator;

const INITIATES_V2: super::catalogue::Says = Begun { role: Initiator, version: 2 };
/// A post-quantum pre-shared key (RFC 8784) is missing at one end: both authenticate, and one of them refuses.
const PPK: &[C] = &[C::AuthFailed, C::PskMismatch];
/// A certificate that is not good enough.
const CERTIFICATE: &[C] = &[C::AuthFailed];
/// The kernel, or another connection, is in the way.
const NOT_INSTALLED: &[C] = &[C::ChildFailed];

/// They stand before the general ones.
pub(super) const PLUTO: &[Phrase] = &[
    // The course of things, as version 3 has it.
    says(&["initiating v2 parent sa"], INITIATES_V2),
    says(&["state_parent_i2: sent v2i2"], Keyed),
    says(&["processing decrypted ike_auth request"], Keyed),
    // What an impaired pluto does instead of waiting.
    says(&["retransmit so timing out sa"], GaveUp),
    says(&["retransmit so deleting sa"], GaveUp),
    says(&["retransmitting", "request; will wait"], Repeated),
    says(&["retransmitting in response to duplicate"], Repeated),
    says(&["discarding duplicate packet"], Repeated),
    says(&["received duplicate", "message request"], Repeated),
    says(&["self-deleting isakmp"], ByPeer),
    says(&["redirects to new gateway"], Redirected),
    // Of 4.4 and 4.5, which do not name the role.
    says(&["established ike sa; authenticated"], Up),
    // Of version 5: without a reason before it, it is the peer that deletes.
    says(&["sent informational request to delete ike sa"], Ours),
    says(&["deleting ike sa (established ike sa)"], Purged),
    says(&["initiating child sa using ike sa"], ChildBegun),
    // The request of a quick mode (RFC 2409 section 5.5).
    says(&["the peer proposed:"], Beneath),
    says(&["i am sending my cert"], Method { secret: false }),
    // Users.
    fault(User, Specific, &[C::AuthFailed], &["xauth: user", "authentication failed"]),
    fault(User, Specific, &[C::AuthFailed], &["xauth: authentication failed"]),
    // Keys of the future.
    fault(Ike, Specific, PPK, &["requires ppk"]),
    fault(Ike, Specific, PPK, &["ppk=insist but peer"]),
    fault(Ike, Specific, PPK, &["requires a valid ppk"]),
    fault(Ike, Specific, PPK, &["ppk_id not found and"]),
    // Names in certificates.
    fault(Ike, Specific, &[C::PeerId], &["certificate does not contain", "subjectaltname="]),
    fault(Ike, Specific, &[C::PeerId], &["no subjectaltname extension to match"]),
    fault(Ike, Specific, &[C::PeerId], &["no matching subjectaltname found"]),
    fault(Ike, Specific, &[C::PeerId], &["cert payload does not match connection id"]),
    // Certificates and keys.
    fault(Ike, Specific, CERTIFICATE, &["authentication failed: no certificate matched"]),
    fault(Ike, Specific, CERTIFICATE, &["authentication failed: using", "tried"]),
    fault(Ike, Specific, CERTIFICATE, &["signature check (on", "failed"]),
    fault(Ike, Specific, CERTIFICATE, &["authentication failed: peer authentication requires policy"]),
    fault(Ike, Specific, CERTIFICATE, &["authentication failed: peer attempted"]),
    fault(Ike, Specific, CERTIFICATE, &["peer attempted", "authentication but we want"]),
    fault(Ike, Specific, CERTIFICATE, &["peer attempted eap authentication"]),
    fault(Ike, Specific, CERTIFICATE, &["public key known for"]),
    fault(Ike, Specific, CERTIFICATE, &["private key matching", "but", "is needed"]),
    fault(Ike, Specific, CERTIFICATE, &["is not allowed but peer supports nothing else"]),
    fault(Ike, Specific, CERTIFICATE, &["authentication method", "not supported"]),
    fault(Ike, Specific, CERTIFICATE, &["no certificate authority in nss"]),
    fault(Ike, Specific, CERTIFICATE, &["cert payload bogus or revoked"]),
    fault(Ike, Specific, CERTIFICATE, &["certificate rejected for this connection"]),
    fault(Ike, Specific, CERTIFICATE, &["sec_error_unknown_issuer"]),
    fault(Ike, Specific, CERTIFICATE, &["sec_error_untrusted_issuer"]),
    fault(Ike, Specific, CERTIFICATE, &["sec_error_expired_issuer_certificate"]),
    fault(Ike, Specific, CERTIFICATE, &["sec_error_inadequate"]),
    fault(Ike, Specific, CERTIFICATE, &["sec_error_ca_cert_invalid"]),
    fault(Ike, Specific, CERTIFICATE, &["sec_error_bad_signature"]),
    fault(Ike, Specific, CERTIFICATE, &["failed ipsec verification"]),
    fault(Ike, Specific, CERTIFICATE, &["failed tls verification"]),
    fault(Ike, Specific, CERTIFICATE, &["certificate issuer is not recognized"]),
    fault(Ike, Specific, &[C::PskMismatch], &["failed to find our preshared key"]),
    // The exchange of keys.
    fault(Ike, Specific, &[C::DhGroup], &["shared key calculation using", "failed"]),
    fault(Ike, Named, &[C::DhGroup, C::AuthFailed], &["unsecured informational payload invalid_key_information"]),
    fault(Ike, Named, &[C::AuthFailed, C::DhGroup], &["informational payload invalid_key_information"]),
    fault(Ike, Vague, &[C::AuthFailed, C::DhGroup], &["sending encrypted notification invalid_key_information"]),
    fault(Either, Specific, &[C::DhGroup], &["invalid_ke_payload", "suggesting", "instead of"]),
    fault(Either, Specific, &[C::DhGroup], &["discarding", "invalid_ke_payload"]),
    // A responder under load drops who does not return its cookie (RFC 7296 section 2.6).
    fault(Ike, Named, &[C::HalfOpen, C::NoResponse], &["cookie notification corrupt"]),
    fault(Ike, Named, &[C::NoConfig, C::IkeVersion], &["unknown critical payload"]),
    // Nothing begins.
    fault(Ike, Named, &[C::NotStarted], &["cannot initiate connection"]),
    fault(Ike, Named, &[C::NotStarted], &["we cannot identify ourselves with either end"]),
    // One gateway sends us to the next, and that back to the first (RFC 5685 section 3).
    fault(Peer, Named, &[C::NoResponse, C::NoConfig], &["assuming redirect loop"]),
    // Child SAs.
    fault(Child, Specific, &[C::EncapsulationMode], &["local policy requires", "mode but peer"]),
    fault(Child, Vague, &[C::ChildFailed, C::TrafficSelector], &["initiator rejected child sa response"]),
    fault(Child, Specific, &[C::SecurityProtocol, C::ChildFailed], &["unexpected ipcomp"]),
    fault(Child, Named, NOT_INSTALLED, &["child sa encountered fatal error"]),
    fault(Child, Named, NOT_INSTALLED, &["cannot install", "in use for"]),
    fault(Child, Named, NOT_INSTALLED, &["cannot install kernel policy"]),
    fault(Child, Named, NOT_INSTALLED, &["cannot route", "in use for"]),
    fault(Child, Named, NOT_INSTALLED, &["leasing", "address failed"]),
    fault(Child, Named, NOT_INSTALLED, &["no free address"]),
    fault(Child, Named, NOT_INSTALLED, &["request rejected, peer requested lease"]),
    fault(Child, Named, &[C::ChildFailed, C::TrafficSelector], &["malformed quick mode message"]),
    fault(Child, Named, &[C::ChildFailed, C::TrafficSelector], &["quick mode request rejected"]),
    fault(Child, Vague, &[C::ChildFailed, C::TrafficSelector], &["encountered fatal error in state", "established"]),
    fault(Child, Vague, &[C::ChildFailed, C::TrafficSelector], &["encountered fatal error in state", "rekey"]),
    fault(Child, Vague, &[C::ChildFailed, C::TrafficSelector], &["encountered fatal error in state", "create"]),
    fault(Child, Vague, &[C::ChildFailed, C::TrafficSelector], &["encountered fatal error in state", "new_child"]),
    // Dead peers.
    fault(Peer, Named, &[C::DpdTimeout], &["liveness action"]),
    fault(Peer, Named, &[C::DpdTimeout], &["dpd action"]),
];
