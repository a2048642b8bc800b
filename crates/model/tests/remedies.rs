//! What a reason says and advises is so for both versions of IKE.

use model::{FailureKind, Identity, Mismatch, Phase, Side};
use std::time::Duration;
use wire::grammar::RuleId;

#[test]
fn a_client_of_xauth_without_a_name_is_no_user_of_that_name() {
    for known in [false, true] {
        let kind = FailureKind::XauthRefused { user: Identity::ANY, found_by: Side::Us, known };
        assert_eq!(kind.to_string(), "XAuth: the client sent no user name");
        assert!(kind.remedy().contains("the client"), "{}", kind.remedy());
    }
}

#[test]
fn a_choice_that_was_not_offered_is_forbidden_in_both_versions() {
    let kind = FailureKind::ChoiceNotOffered { phase: Phase::Ike, mismatch: Mismatch { differing: Vec::new() } };
    assert!(["RFC 7296", "RFC 2408 section 4.2"].iter().all(|rfc| kind.remedy().contains(rfc)), "{}", kind.remedy());
}

#[test]
fn a_lost_peer_is_asked_for_again_and_again_with_keyingtries() {
    let (waiting_for, to) = (RuleId::InformationalV1, "192.0.2.2:500".parse().unwrap());
    let kind = FailureKind::NoAnswer { waiting_for, to, sent: 5, over: Duration::from_secs(90), answered_before: true };
    assert!(kind.remedy().contains("keyingtries = 0"), "{}", kind.remedy());
}

#[test]
fn a_connection_of_the_other_version_is_thought_of() {
    let (local, remote) = ("192.0.2.1:500".parse().unwrap(), "192.0.2.2:500".parse().unwrap());
    let remedy = FailureKind::NoConfig { local, remote }.remedy();
    assert!(remedy.contains("remote_addrs = 192.0.2.2") && remedy.contains("version = 0 takes both"), "{remedy}");
}

/// The reason does not know whether a secret or a certificate was the proof.
#[test]
fn a_refused_proof_is_not_said_to_be_a_certificate() {
    let kind = FailureKind::AuthenticationRefused { local: "a.example".parse().unwrap(), remote: None };
    assert!(!kind.to_string().contains("certificate"), "{kind}");
}
