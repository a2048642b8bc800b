//! Signatures and certificates in IKEv1 (RFC 2409 section 5.1, RFC 4754): main and aggressive mode, with and without XAuth.

use config::{AuthMethod, CertificateSource, SignatureRule};
use model::{CertificateProblem, FailureKind};
use sim::{NodeId, Sim, Site, fake_certificate};
use std::sync::Arc;
use std::time::Duration;

const MOON: &str = "192.0.2.1";
const OTHER: &str = "192.0.2.2";

/// Two ends with keys of the same kind.
fn pair(mode: &str, kind: &str) -> (Site, Site) {
    let site = |name: &str, own: &str, peer: &str, peer_name: &str| {
        let site = Site::new(name, own).to(peer).remote_id(&format!("{peer_name}.example")).secret(None);
        let site = site.auth("pubkey", "pubkey").authority("root").certificate(name);
        site.connection("version = 1").connection(&format!("aggressive = {mode}"))
    };
    let (one, other) = match kind {
        "rsa" => ("moon", "mars"),
        "ecdsa-256" => ("sun", "pluto"),
        _ => ("venus", "io"),
    };
    (site(one, MOON, OTHER, other), site(other, OTHER, MOON, one))
}

fn run(a: Site, b: Site) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(a), sim.add(b));
    sim.initiate(a, b);
    sim.run_for(Duration::from_secs(5));
    (sim, a, b)
}

#[test]
fn both_modes_take_rsa_and_ecdsa() {
    for mode in ["no", "yes"] {
        for kind in ["rsa", "ecdsa-256", "ecdsa-384"] {
            let (a, b) = pair(mode, kind);
            let (sim, a, b) = run(a, b);
            assert!(sim.carries(a, b) && sim.carries(b, a), "aggressive = {mode}, {kind}: {:?}", sim.tombstones(b));
            let shown = sim.snapshots(b)[0].authentication;
            assert_eq!(shown, if kind == "rsa" { "rsa-signature" } else { kind });
            let warned = sim.events(a).any(|(_, event)| event.log().2.contains("guessed offline"));
            assert!(!warned, "there is no key to guess");
        }
    }
}

/// RFC 4754 ties a method to one curve, and the ends have keys on two: the initiator's method stands for both.
#[test]
fn ecdsa_keys_on_different_curves_get_on() {
    for mode in ["no", "yes"] {
        let ((sun, _), (_, io)) = (pair(mode, "ecdsa-256"), pair(mode, "ecdsa-384"));
        let (sun, io) = (sun.remote_id("io.example"), io.remote_id("sun.example"));
        for (a, b, method) in [(sun.clone(), io.clone(), "ecdsa-256"), (io, sun, "ecdsa-384")] {
            let mut sim = Sim::new(1);
            let (a, b) = (sim.add(a), sim.add(b));
            sim.initiate(a, b);
            sim.run_for(Duration::from_secs(5));
            assert!(sim.carries(a, b) && sim.carries(b, a), "aggressive = {mode}: {:?}", sim.tombstones(b));
            assert_eq!(sim.snapshots(b)[0].authentication, method);
        }
    }
}

#[test]
fn xauth_follows_rsa() {
    for mode in ["no", "yes"] {
        let (client, server) = pair(mode, "rsa");
        let rounds = |site: Site, more: &str| {
            let text = site.configuration();
            let at = text.find("    children {").unwrap();
            let text = format!(
                "{}    {more}\n{}secrets {{ xauth {{ id = carol\n secret = swordfish }} }}",
                &text[..at],
                &text[at..]
            );
            site.text(&text)
        };
        let client = rounds(client, "local-2 { auth = xauth\n xauth_id = carol }");
        let (sim, a, b) = run(client, rounds(server, "remote-2 { auth = xauth }"));
        assert!(sim.carries(a, b), "aggressive = {mode}: {:?} {:?}", sim.tombstones(a), sim.tombstones(b));
        // Without its round of XAuth the client is refused: the method says that the server wants one.
        let (client, _) = pair(mode, "rsa");
        let (_, server) = pair(mode, "rsa");
        let (sim, a, b) = run(client, rounds(server, "remote-2 { auth = xauth }"));
        assert!(!sim.carries(a, b));
        assert!(matches!(sim.failure(b).kind, FailureKind::AuthMethodMismatch { .. }), "{}", sim.failure(b));
    }
}

#[test]
fn whom_the_responder_does_not_trust_it_refuses_with_the_reason() {
    for mode in ["no", "yes"] {
        let refused = |a: Site, b: Site, expected: &dyn Fn(&FailureKind) -> bool| {
            let (sim, a, b) = run(a, b);
            assert!(!sim.carries(a, b) && !sim.carries(b, a));
            let kinds: Vec<FailureKind> = sim.tombstones(b).into_iter().map(|t| t.failure.kind).collect();
            assert!(kinds.iter().any(expected), "aggressive = {mode}: {kinds:?}");
            assert_eq!(sim.plane(a).installed().count() + sim.plane(b).installed().count(), 0);
        };
        let issuer = |kind: &FailureKind| {
            matches!(kind, FailureKind::CertificateUntrusted { problem: CertificateProblem::IssuerUnknown, .. })
        };
        // Eve says that she is the sun, by another authority.
        let eve = Site::new("sun", MOON).to(OTHER).remote_id("pluto.example").secret(None).auth("pubkey", "pubkey");
        let eve = eve.certificate("eve").authority("root").authority("other").connection("version = 1");
        refused(eve.connection(&format!("aggressive = {mode}")), pair(mode, "ecdsa-256").1, &issuer);
        let (a, b) = pair(mode, "rsa");
        refused(a.remote_id("pluto.example"), pair(mode, "ecdsa-256").1.remote_id("moon.example"), &|kind| {
            matches!(kind, FailureKind::AuthMethodMismatch { .. })
        });
        let (a, _) = pair(mode, "rsa");
        let strict = |c: &mut config::Connection| c.remote.signature = SignatureRule::parse("rsa-4096").unwrap();
        let mut sim = Sim::new(1);
        let mut connection = (*b.load().connections[0]).clone();
        strict(&mut connection);
        let (a, b) = (sim.add(a), sim.add(b));
        sim.with(b, |endpoint, _| endpoint.load_connection(Arc::new(connection)));
        sim.initiate(a, b);
        sim.run_for(Duration::from_secs(5));
        assert!(!sim.carries(b, a));
        let kinds: Vec<FailureKind> = sim.tombstones(b).into_iter().map(|t| t.failure.kind).collect();
        assert!(
            kinds.iter().any(|k| matches!(
                k,
                FailureKind::CertificateUntrusted { problem: CertificateProblem::NotAllowed, .. }
            )),
            "{kinds:?}"
        );
    }
}

#[test]
fn whom_the_initiator_does_not_trust_it_refuses_with_the_reason() {
    for mode in ["no", "yes"] {
        let (a, b) = pair(mode, "rsa");
        let mut connection = (*a.load().connections[0]).clone();
        connection.remote.cacerts.push(CertificateSource::Der(fake_certificate("other").der().to_vec()));
        let mut sim = Sim::new(1);
        let (a, b) = (sim.add(a.authority("other")), sim.add(b.connection("send_cert = always")));
        sim.with(a, |endpoint, _| endpoint.load_connection(Arc::new(connection)));
        sim.initiate(a, b);
        sim.run_for(Duration::from_secs(5));
        assert!(!sim.carries(a, b));
        let kind = sim.failure(a).kind;
        assert!(
            matches!(kind, FailureKind::CertificateUntrusted { problem: CertificateProblem::NotAllowed, .. }),
            "aggressive = {mode}: {kind}"
        );
    }
}

#[test]
fn what_ikev1_cannot_do_is_refused_before_anything_is_sent() {
    let (a, b) = pair("no", "rsa");
    let mut connection = (*a.load().connections[0]).clone();
    connection.remote.method = AuthMethod::Psk;
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(a), sim.add(b));
    sim.with(a, |endpoint, _| endpoint.load_connection(Arc::new(connection)));
    let failure = sim.try_initiate(a, b).unwrap_err();
    assert!(matches!(failure.kind, FailureKind::AuthMethodUnsupported { .. }), "{failure}");
    let (a, b) = pair("no", "rsa");
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(a.local_id(Some("nobody.example"))), sim.add(b));
    let failure = sim.try_initiate(a, b).unwrap_err();
    assert!(matches!(failure.kind, FailureKind::OwnCertificateMissing { .. }), "{failure}");
}

#[test]
fn of_several_connections_the_one_that_takes_the_certificate_is_used() {
    let (a, b) = pair("no", "rsa");
    let b = b.to(MOON).authority("other");
    let mut sim = Sim::new(1);
    let connections = b.load().connections;
    let (a, b) = (sim.add(a), sim.add(b));
    for (connection, authority) in connections.iter().zip(["other", "root"]) {
        let mut connection = (**connection).clone();
        connection.remote.cacerts.push(CertificateSource::Der(fake_certificate(authority).der().to_vec()));
        sim.with(b, |endpoint, _| endpoint.load_connection(Arc::new(connection)));
    }
    sim.initiate(a, b);
    sim.run_for(Duration::from_secs(5));
    assert!(sim.carries(a, b), "{:?}", sim.tombstones(b));
    assert_eq!(sim.snapshots(b)[0].name, "gw2");
}

/// For a warning before the peer's certificate runs out.
#[test]
fn it_is_kept_until_when_the_peers_certificate_is_good() {
    for mode in ["no", "yes"] {
        let (a, b) = pair(mode, "rsa");
        let (sim, a, b) = run(a, b);
        for (node, peer) in [(a, "mars"), (b, "moon")] {
            let until = sim.snapshots(node)[0].remote_certificate_until.unwrap();
            let end = fake_certificate(peer).not_after();
            assert!(until <= end && until + Duration::from_secs(2) >= end, "aggressive = {mode}: {until:?} {end:?}");
        }
    }
}
