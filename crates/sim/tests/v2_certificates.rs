//! Signatures and certificates in IKEv2: who is let in, and what those hear who are not.

use config::{CertificateSource, Connection, SendCert, SignatureRule};
use model::{CertificateProblem, FailureKind};
use sim::{NodeId, Sim, Site, fake_certificate};
use std::sync::Arc;
use std::time::Duration;

const MOON: (&str, &str) = ("moon", "192.0.2.1");
const SUN: (&str, &str) = ("sun", "192.0.2.2");

fn site(own: (&str, &str), peer: (&str, &str)) -> Site {
    Site::new(own.0, own.1).to(peer.1).remote_id(&format!("{}.example", peer.0)).auth("pubkey", "pubkey").secret(None)
}

fn moon() -> Site {
    site(MOON, SUN).certificate("moon").authority("root")
}

fn sun() -> Site {
    site(SUN, MOON).certificate("sun").authority("root")
}

/// The first begins, the second answers.
fn run(initiator: Site, responder: Site) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(initiator), sim.add(responder));
    sim.initiate(a, b);
    sim.run_for(Duration::from_secs(5));
    (sim, a, b)
}

fn up(initiator: Site, responder: Site) {
    let (sim, a, b) = run(initiator, responder);
    assert!(sim.carries(a, b) && sim.carries(b, a), "{:?} {:?}", sim.tombstones(a), sim.tombstones(b));
}

fn changed(site: &Site, change: impl FnOnce(&mut Connection)) -> Arc<Connection> {
    let mut connection = (*site.load().connections[0]).clone();
    change(&mut connection);
    Arc::new(connection)
}

/// Both begin and answer: why the one that checks ended its IKE SA; the other only hears that it failed.
fn refused(
    bad: fn() -> Site,
    checking: fn() -> Site,
    change: fn(&mut Connection),
    expected: &dyn Fn(&FailureKind) -> bool,
) {
    for begins in [true, false] {
        let mut sim = Sim::new(1);
        let (bad, checking) = (bad(), checking());
        let connection = changed(&checking, change);
        let (a, b) = (sim.add(bad), sim.add(checking));
        sim.with(b, |endpoint, _| endpoint.load_connection(connection));
        if begins {
            sim.initiate(a, b)
        } else {
            sim.initiate(b, a)
        };
        sim.run_for(Duration::from_secs(5));
        assert!(!sim.carries(a, b) && !sim.carries(b, a));
        let kinds: Vec<FailureKind> = sim.tombstones(b).into_iter().map(|t| t.failure.kind).collect();
        assert!(kinds.iter().any(expected), "the bad one {}: {kinds:?}", if begins { "begins" } else { "answers" });
        assert_eq!(sim.plane(a).installed().count() + sim.plane(b).installed().count(), 0);
    }
}

#[test]
fn every_kind_of_key_lets_both_ends_in() {
    up(moon(), sun());
    up(sun(), moon());
    let venus = || site(("venus", "192.0.2.3"), SUN).certificate("venus").authority("root");
    up(venus(), site(SUN, ("venus", "192.0.2.3")).certificate("sun").authority("root"));
    // Ed25519, with an authority in between that is sent along, and an identity that is an address of e-mail.
    let carol = || {
        let carol =
            Site::new("carol", "192.0.2.4").to(MOON.1).remote_id("moon.example").local_id(Some("carol@example"));
        carol.auth("pubkey", "pubkey").secret(None).certificate("carol").authority("root").authority("between")
    };
    let gateway =
        || Site::new("moon", MOON.1).to("192.0.2.4").remote_id("*@example").auth("pubkey", "pubkey").secret(None);
    up(carol(), gateway().certificate("moon").authority("root"));
    up(gateway().certificate("moon").authority("root").remote_id("carol@example"), carol());
}

#[test]
fn rules_choose_the_signature() {
    for auth in ["rsa/pss-sha512", "rsa-2048-sha384", "ike:rsa-sha512", "pubkey-sha512-sha256"] {
        let strict = sun().auth("pubkey", if auth.starts_with("ike") { auth } else { "pubkey" });
        let (sim, a, _) = run(moon().auth(auth, "pubkey"), strict);
        let said: Vec<String> = sim.events(a).map(|(_, event)| event.log().2).collect();
        let said = said.join("\n");
        let (pss, hash) = (auth.contains("pss"), if auth.contains("384") { "384" } else { "512" });
        let name = if pss { "RSA_EMSA_PSS" } else { "RSA_EMSA_PKCS1" };
        let expected = format!("authentication of 'moon.example' (myself) with {name}_SHA2_{hash}");
        assert!(said.contains(&expected), "{auth}: {said}");
    }
}

#[test]
fn a_certificate_need_not_be_sent_where_it_is_known() {
    let quiet = moon();
    let connection = changed(&quiet, |c| c.send_cert = SendCert::Never);
    for (known, succeeds) in [(true, true), (false, false)] {
        let mut sim = Sim::new(1);
        let other = if known { sun().certificate("moon") } else { sun() };
        let (a, b) = (sim.add(moon()), sim.add(other));
        sim.with(a, |endpoint, _| endpoint.load_connection(Arc::clone(&connection)));
        sim.initiate(a, b);
        sim.run_for(Duration::from_secs(5));
        assert_eq!(sim.carries(a, b), succeeds);
        if !succeeds {
            assert!(matches!(sim.failure(b).kind, FailureKind::PeerCertificateMissing { .. }));
            assert!(matches!(sim.failure(a).kind, FailureKind::AuthenticationRefused { .. }));
        }
    }
    // What is known is trusted as it is, without any authority.
    up(moon().certificate("eve"), site(SUN, MOON).certificate("eve").certificate("moon").authority("other"));
}

#[test]
fn an_authority_may_be_named_by_its_subject() {
    for (subject, succeeds) in [("C=CH, O=Fake, CN=Fake Root", true), ("C=CH, O=*, CN=*", true), ("C=CH, CN=*", false)]
    {
        let connection = changed(&moon(), |c| c.remote.ca_id = Some(subject.parse().unwrap()));
        let mut sim = Sim::new(1);
        let (a, b) = (sim.add(moon()), sim.add(sun()));
        sim.with(a, |endpoint, _| endpoint.load_connection(connection));
        sim.initiate(a, b);
        sim.run_for(Duration::from_secs(5));
        assert_eq!(sim.carries(a, b), succeeds, "{subject}");
    }
}

#[test]
fn certificates_that_are_not_trusted_say_why() {
    let problem = |wanted: CertificateProblem| move |kind: &FailureKind| matches!(kind, FailureKind::CertificateUntrusted { problem, .. } if *problem == wanted);
    let eve = || site(SUN, MOON).certificate("eve").authority("root").authority("other");
    refused(eve, moon, |_| {}, &problem(CertificateProblem::IssuerUnknown));
    let old = || site(SUN, MOON).certificate("old").authority("root");
    refused(old, moon, |_| {}, &problem(CertificateProblem::Expired));
    refused(
        sun,
        moon,
        |c| c.remote.revocation = config::RevocationPolicy::Strict,
        &problem(CertificateProblem::RevocationUnknown),
    );
    for change in [
        (|c| c.remote.signature = SignatureRule::parse("rsa").unwrap()) as fn(&mut Connection),
        |c| c.remote.signature = SignatureRule::parse("pubkey-384").unwrap(),
        |c| c.remote.signature = SignatureRule::parse("pubkey-sha384").unwrap(),
        |c| c.remote.certs.push(CertificateSource::Der(fake_certificate("venus").der().to_vec())),
        |c| c.remote.cacerts.push(CertificateSource::Der(fake_certificate("other").der().to_vec())),
        |c| c.remote.ca_id = Some("C=CH, O=Fake, CN=another".parse().unwrap()),
        |c| c.remote.cert_policies.push("1.2.3".into()),
    ] {
        refused(sun, || moon().authority("other"), change, &problem(CertificateProblem::NotAllowed));
    }
}

#[test]
fn who_has_no_certificate_for_its_identity_does_not_begin() {
    let (sim, a, b) = run(site(MOON, SUN).certificate("venus").authority("root"), sun());
    let kind = sim.failure(a).kind;
    assert!(matches!(&kind, FailureKind::OwnCertificateMissing { .. }), "{kind}");
    assert!(!sim.carries(a, b));
    // A certificate that is named says who we are where the identity is another one (as strongSwan does).
    let named = site(MOON, SUN).certificate("moon").authority("root").local_id(Some("other.example"));
    let connection =
        changed(&named, |c| c.local.certs.push(CertificateSource::Der(fake_certificate("moon").der().to_vec())));
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(named), sim.add(sun().remote_id("\"C=CH, O=Fake, CN=*\"")));
    sim.with(a, |endpoint, _| endpoint.load_connection(connection));
    sim.initiate(a, b);
    sim.run_for(Duration::from_secs(5));
    assert!(sim.carries(a, b), "{:?}", sim.tombstones(b));
    assert_eq!(
        sim.snapshots(b)[0].remote_id.as_ref().map(ToString::to_string).as_deref(),
        Some("C=CH, O=Fake, CN=moon.example")
    );
}

#[test]
fn a_key_takes_the_place_of_no_signature() {
    let psk = || Site::new("sun", SUN.1).to(MOON.1).remote_id("moon.example").auth("psk", "pubkey").authority("root");
    refused(
        psk,
        || moon().secret(Some("swordfish")),
        |_| {},
        &|kind| matches!(kind, FailureKind::AuthMethodMismatch { expected, .. } if expected.contains("pubkey")),
    );
    let signed = || sun().auth("pubkey", "psk").secret(Some("swordfish"));
    let keyed = || moon().auth("psk", "psk").secret(Some("swordfish"));
    refused(
        signed,
        keyed,
        |_| {},
        &|kind| matches!(kind, FailureKind::AuthMethodMismatch { expected, .. } if expected.contains("psk")),
    );
    // One end by a key, the other by a signature: RFC 7296 section 2.15 lets them differ.
    up(moon().auth("pubkey", "psk").secret(Some("swordfish")), sun().auth("psk", "pubkey").secret(Some("swordfish")));
    up(sun().auth("psk", "pubkey").secret(Some("swordfish")), moon().auth("pubkey", "psk").secret(Some("swordfish")));
}

/// A responder with two connections for the same address, which take certificates of different authorities.
fn with_two_authorities(sites: (Site, Site), first_accepts: &str) -> (Sim, NodeId, NodeId) {
    let (initiator, responder) = sites;
    let mut sim = Sim::new(1);
    let connections = responder.load().connections;
    let (a, b) = (sim.add(initiator), sim.add(responder));
    for (connection, authority) in connections.iter().zip(["other", "root"]) {
        let mut connection = (**connection).clone();
        connection.remote.cacerts.push(CertificateSource::Der(fake_certificate(authority).der().to_vec()));
        if authority == "other" {
            connection.remote.id = first_accepts.parse().unwrap();
        }
        sim.with(b, |endpoint, _| endpoint.load_connection(Arc::new(connection)));
    }
    sim.initiate(a, b);
    sim.run_for(Duration::from_secs(5));
    (sim, a, b)
}

#[test]
fn of_several_connections_the_one_that_takes_the_certificate_is_used() {
    // Both accept the identity.
    let gateway = || moon().to(SUN.1).authority("other");
    let (sim, a, b) = with_two_authorities((sun(), gateway()), "sun.example");
    assert!(sim.carries(a, b), "{:?}", sim.tombstones(b));
    assert_eq!(sim.snapshots(b)[0].name, "gw2");
    // One does not, but its authority is asked for too: so the initiator, who has a certificate of each, sends the first.
    let (sim, a, b) = with_two_authorities((sun().certificate("eve"), gateway()), "someone.example");
    assert!(sim.carries(a, b), "{:?}", sim.tombstones(b));
}

/// For a warning before the peer's certificate runs out.
#[test]
fn it_is_kept_until_when_the_peers_certificate_is_good_also_after_a_rekeying() {
    let (mut sim, a, b) = run(moon(), sun());
    let until = |sim: &Sim, node| sim.snapshots(node).iter().map(|sa| sa.remote_certificate_until).collect::<Vec<_>>();
    let end = |name| Some(fake_certificate(name).not_after());
    let near = |found: Vec<Option<Duration>>, end: Option<Duration>| {
        let second = Duration::from_secs(2); // the root's certificate was made just before
        assert!(
            !found.is_empty() && found.iter().all(|f| *f <= end && *f >= end.map(|end| end - second)),
            "{found:?} {end:?}"
        );
    };
    near(until(&sim, a), end("sun"));
    near(until(&sim, b), end("moon"));
    let ike = proto::Selection { ike: Some("gw".into()), ..proto::Selection::default() };
    assert_eq!(sim.with(a, |endpoint, now| endpoint.rekey(now, &ike)), 1);
    sim.run_for(Duration::from_secs(5));
    near(until(&sim, a), end("sun"));
    near(until(&sim, b), end("moon"));
    let psk = |own: (&str, &str), peer: (&str, &str)| Site::new(own.0, own.1).to(peer.1);
    let (sim, a, _) = run(psk(MOON, SUN), psk(SUN, MOON));
    assert_eq!(until(&sim, a), [None]);
}
