//! Hash and URL of certificates (RFC 7296 sections 3.6 and 3.10.1): who looks them up is sent where they are.

use crypto::Certificate;
use model::FailureKind;
use proto::{Places, Selection};
use sim::{NodeId, Sim, Site, fake_certificate};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const BASE: &str = "http://certs.example/";

/// `sun` and `venus`, of which these look certificates up, and these know where they are.
fn ends(looks_up: [bool; 2], knows: [bool; 2]) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(1);
    let mut add = |n: usize, name: &str, own: &str, peer: &str, other: &str| {
        let site = Site::new(name, own).to(peer).auth("pubkey", "pubkey").remote_id(other).secret(None);
        let site = site.certificate(name).authority("root").settings(|s| s.hash_and_url = looks_up[n]);
        let node = sim.add(site);
        if knows[n] {
            let places = Places { certificates: Some(BASE.to_string()), ..Places::default() };
            sim.with(node, |endpoint, _| {
                endpoint.credentials_mut().set_authority("root", fake_certificate("root"), places)
            });
        }
        node
    };
    let a = add(0, "sun", "192.0.2.1", "192.0.2.2", "venus.example");
    let b = add(1, "venus", "192.0.2.2", "192.0.2.1", "sun.example");
    (sim, a, b)
}

fn place(certificate: &Certificate) -> String {
    let hash = crypto::sha1(&[certificate.der()]);
    let hash: String = hash.iter().map(|octet| format!("{octet:02x}")).collect();
    format!("{BASE}{hash}")
}

/// The server with the certificates of both ends.
fn server(uri: &str) -> Option<Certificate> {
    ["sun", "venus"].map(fake_certificate).into_iter().find(|certificate| place(certificate) == uri)
}

#[test]
fn each_end_looks_the_others_certificate_up_once() {
    let (mut sim, a, b) = ends([true, true], [true, true]);
    sim.initiate(a, b);
    // The responder first. Looking up takes some seconds, during which the initiator repeats itself.
    for (node, peer) in [(b, "sun"), (a, "venus")] {
        sim.run_for(5 * SECOND);
        assert!(!sim.carries(a, b));
        assert_eq!(
            sim.lookups,
            [(node, place(&fake_certificate(peer)))],
            "asked once, however often the message comes"
        );
        sim.looked_up(server);
    }
    sim.run_for(5 * SECOND);
    assert!(sim.carries(a, b) && sim.carries(b, a), "{:?}", sim.tombstones(b));
    // They are kept by their hash: the next time nothing is looked up.
    sim.terminate(a, &Selection::default());
    sim.run_for(600 * SECOND);
    sim.initiate(a, b);
    sim.run_for(5 * SECOND);
    assert!(sim.carries(a, b) && sim.lookups.is_empty(), "{:?}", sim.lookups);
}

#[test]
fn only_who_looks_up_is_sent_a_place_and_only_where_there_is_one() {
    for (looks_up, knows) in
        [([false, false], [true, true]), ([true, true], [false, false]), ([true, false], [true, false])]
    {
        let (mut sim, a, b) = ends(looks_up, knows);
        sim.initiate(a, b);
        sim.run_for(5 * SECOND);
        assert!(sim.carries(a, b) && sim.lookups.is_empty(), "{looks_up:?} {knows:?}");
    }
    let (mut sim, a, b) = ends([true, false], [false, true]);
    sim.initiate(a, b);
    sim.run_for(5 * SECOND);
    assert_eq!(sim.lookups, [(a, place(&fake_certificate("venus")))], "the initiator alone");
    sim.looked_up(server);
    sim.run_for(5 * SECOND);
    assert!(sim.carries(a, b));
}

#[test]
fn another_certificate_than_the_hash_says_is_none() {
    // Nothing there, another one that is valid, and one of somebody whom nobody trusts.
    for found in [None, Some("venus"), Some("eve")] {
        let (mut sim, a, b) = ends([false, true], [true, true]);
        sim.initiate(a, b);
        sim.run_for(2 * SECOND);
        assert_eq!(sim.lookups.len(), 1);
        sim.looked_up(|_| found.map(fake_certificate));
        sim.run_for(60 * SECOND);
        assert!(!sim.carries(a, b) && sim.lookups.is_empty(), "not asked again and again");
        let failure = sim.failure(b).kind;
        // The operator reads where it should have been: it was sent, so that send_cert is not to blame.
        assert!(matches!(&failure, FailureKind::PeerCertificateMissing { place: Some(_), .. }), "{failure:?}");
        assert!(failure.to_string().contains("could not be had from http://"), "{failure}");
        assert!(matches!(sim.failure(a).kind, FailureKind::AuthenticationRefused { .. }));
        assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((0, 0), (0, 0)));
    }
}

#[test]
fn an_answer_that_never_comes_ends_with_the_half_open_sa() {
    let (mut sim, a, b) = ends([false, true], [true, true]);
    sim.initiate(a, b);
    sim.run_for(300 * SECOND);
    assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((0, 0), (0, 0)));
    sim.looked_up(server);
    sim.run_for(5 * SECOND);
    assert!(!sim.carries(a, b), "too late, and no harm");
}
