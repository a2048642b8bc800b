//! Raw public keys (RFC 7670) in both versions of IKE: whoever has the key is the peer, without a certificate.

use model::{CertificateProblem, FailureKind, IdKind};
use sim::{Happened, NodeId, Sim, Site};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn site(name: &str, own: &str, other: &str, version: u8) -> Site {
    let suite = if version == 1 { "aes128-sha256-modp2048" } else { "aes128gcm16-prfsha256-x25519" };
    Site::new(name, own)
        .to(other)
        .connection(&format!("version = {version}"))
        .connection(&format!("proposals = {suite}"))
        .secret(None)
        .auth("pubkey", "pubkey")
}

/// Two ends with these keys; each knows the other by these.
fn ends(version: u8, a: (&str, &[&str]), b: (&str, &[&str])) -> (Site, Site) {
    (
        site("a", "192.0.2.1", "192.0.2.2", version).raw_keys(a.0, a.1),
        site("b", "192.0.2.2", "192.0.2.1", version).raw_keys(b.0, b.1),
    )
}

fn run(a: Site, b: Site) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(7670);
    let (a, b) = (sim.add(a), sim.add(b));
    let _ = sim.try_initiate(a, b);
    sim.run_for(5 * SECOND);
    (sim, a, b)
}

#[test]
fn a_known_key_is_all_it_takes() {
    // In IKEv1 both have keys of one kind, and none for Ed25519.
    let cases: [(u8, &str, &str, &str); 5] = [
        (2, "moon", "sun", "rsa-signature"),
        (2, "sun", "venus", "ecdsa-256"),
        (2, "carol", "moon", "ed25519"),
        (1, "moon", "mars", "rsa-signature"),
        (1, "sun", "eve", "ecdsa-256"),
    ];
    for (version, one, other, method) in cases {
        let (a, b) = ends(version, (one, &[other]), (other, &[one]));
        let (sim, a, b) = run(a, b);
        assert!(sim.carries(a, b), "IKEv{version} {one}: {:?}", sim.tombstones(b).first().map(|t| &t.failure.kind));
        let sa = &sim.snapshots(b)[0];
        assert_eq!((sa.authentication, sa.remote_id.as_ref().unwrap().to_string().as_str()), (method, "a.example"));
    }
}

#[test]
fn one_of_several_keys_will_do_and_no_certificate_is_sent_or_asked_for() {
    let (a, b) = ends(2, ("sun", &["moon"]), ("moon", &["venus", "carol", "sun"]));
    let (sim, a, b) = run(a.authority("root"), b.authority("root"));
    assert!(sim.carries(a, b));
    // The message is far shorter than a certificate would let it be.
    let longest = sim.happened(a).iter().filter_map(|e| match &e.what {
        Happened::Sent(d) => Some(d.bytes.len()),
        _ => None,
    });
    assert!(longest.max().unwrap() < 480);
}

#[test]
fn another_key_does_not_do_whoever_vouches_for_it() {
    for version in [1, 2] {
        // `eve` says she is who is expected; with raw keys no authority and no certificate helps her.
        let (a, b) = ends(version, ("eve", &["sun"]), ("sun", &["venus"]));
        let (sim, a, b) = run(a, b.authority("other").certificate("eve"));
        assert!(!sim.carries(a, b));
        let kind = sim.tombstones(b)[0].failure.kind.clone();
        assert!(matches!(kind, FailureKind::SignatureInvalid { .. }), "IKEv{version}: {kind:?}");
    }
}

#[test]
fn the_identity_counts_too_and_an_end_without_one_is_called_by_its_key() {
    let (a, b) = ends(2, ("sun", &["moon"]), ("moon", &["sun"]));
    let (sim, a, b) = run(a.local_id(Some("mallory.example")), b.remote_id("a.example"));
    assert!(!sim.carries(a, b));
    assert!(matches!(sim.tombstones(b)[0].failure.kind, FailureKind::IdentityUnknown { .. }));
    let (a, b) = ends(2, ("sun", &["moon"]), ("moon", &["sun"]));
    let (sim, a, b) = run(a.local_id(None), b.local_id(None));
    assert!(sim.carries(a, b));
    let sa = &sim.snapshots(a)[0];
    for id in [sa.local_id.as_ref().unwrap(), sa.remote_id.as_ref().unwrap()] {
        assert_eq!((id.kind(), id.data().len()), (IdKind::KeyId, 20));
    }
    assert_ne!(sa.local_id, sa.remote_id);
}

#[test]
fn a_gateway_that_names_no_key_takes_each_that_it_knows_by_that_name_and_no_other() {
    let gateway = |keys: &[&str]| ends(2, ("sun", &["moon"]), ("moon", keys)).1.any_raw_key();
    let (a, _) = ends(2, ("sun", &["moon"]), ("moon", &[]));
    let (sim, a, b) = run(a.local_id(None), gateway(&["venus", "sun"]));
    assert!(sim.carries(a, b), "{:?}", sim.tombstones(b).first().map(|t| &t.failure.kind));
    assert_eq!(sim.snapshots(b)[0].remote_id.as_ref().unwrap().kind(), IdKind::KeyId);
    // A key that it does not know, and one that it knows by another name: a key says nothing about any other identity.
    for (own_id, known) in [(None, "venus"), (Some("venus.example"), "sun")] {
        let (a, _) = ends(2, ("sun", &["moon"]), ("moon", &[]));
        let (sim, _, b) = run(a.local_id(own_id), gateway(&[known]));
        let kind = sim.tombstones(b)[0].failure.kind.clone();
        assert!(matches!(kind, FailureKind::PeerCertificateMissing { .. }), "{kind:?}");
    }
    // Who calls itself by another's key has to have that one.
    let (a, _) = ends(2, ("sun", &["moon"]), ("moon", &[]));
    let octets = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/fake-pki/venus.pub.pem")).unwrap();
    let venus: String =
        crypto::RawKey::parse(&octets).unwrap().id().iter().map(|octet| format!("{octet:02x}")).collect();
    let (sim, _, b) = run(a.local_id(Some(&format!("\"keyid:#{venus}\""))), gateway(&["venus", "sun"]));
    let kind = sim.tombstones(b)[0].failure.kind.clone();
    assert!(matches!(kind, FailureKind::SignatureInvalid { .. }), "{kind:?}");
}

#[test]
fn what_auth_says_of_keys_holds_for_raw_ones() {
    let (a, b) = ends(2, ("sun", &["moon"]), ("moon", &["sun"]));
    let (sim, _, b) = run(a, b.auth("pubkey", "ecdsa-384"));
    let kind = sim.tombstones(b)[0].failure.kind.clone();
    assert!(
        matches!(kind, FailureKind::CertificateUntrusted { problem: CertificateProblem::NotAllowed, .. }),
        "{kind:?}"
    );
    // Ours without its private half is a reason that names the key.
    let (a, b) = ends(2, ("sun", &["moon"]), ("moon", &["sun"]));
    let (sim, a, _) = run(a.auth("rsa", "pubkey"), b);
    let kind = sim.tombstones(a)[0].failure.kind.clone();
    assert!(
        matches!(&kind, FailureKind::OwnCertificateMissing { candidates, .. } if candidates.len() == 1),
        "{kind:?}"
    );
}
