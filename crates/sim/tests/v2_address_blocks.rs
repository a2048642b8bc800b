//! Certificates that are for certain addresses (RFC 3779) narrow what is negotiated.

use crypto::{Certificate, PrivateKey};
use model::{FailureKind, Side};
use rcgen::{BasicConstraints, CertificateParams, CustomExtension, IsCa, Issuer, KeyPair, SanType, date_time_ymd};
use sim::{NodeId, Sim, Site};
use std::time::Duration;

/// A certificate for the addresses 10.x.0.0/14, /16 and so on: the prefix's bits.
fn params(name: &str, prefix: [u8; 2], unused: u8) -> CertificateParams {
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (date_time_ymd(2027, 1, 1), date_time_ymd(2028, 1, 1));
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
    let content = vec![0x30, 13, 0x30, 11, 4, 2, 0, 1, 0x30, 5, 3, 3, unused, prefix[0], prefix[1]];
    params.custom_extensions.push(CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 7], content));
    params
}

/// `a` for 10.1.0.0/16 and `b` for 10.2.0.0/16, with these selectors.
fn run(a_ts: &str, b_ts: &str) -> (Sim, NodeId, NodeId) {
    let mut root = params("root", [10, 0], 2);
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = Certificate::from_der(root.self_signed(&key).unwrap().der()).unwrap();
    let issuer = Issuer::new(root, key);
    let mut sim = Sim::new(1);
    let mut add = |name: &str, own: &str, peer: &str, second: u8, ts: &str| {
        let other = if name == "a" { "b" } else { "a" };
        let text = format!(
            "connections {{ gw {{ version = 2\n local_addrs = {own}\n remote_addrs = {peer}
             proposals = aes128-sha256-x25519\n local {{ auth = pubkey\n id = {name}.example }}
             remote {{ auth = pubkey\n id = {other}.example }}
             children {{ net {{ local_ts = {ts}\n remote_ts = 0.0.0.0/0 }} }} }} }}"
        );
        let node = sim.add(Site::new(name, own).text(&text));
        let key = KeyPair::generate().unwrap();
        let certificate = params(&format!("{name}.example"), [10, second], 0).signed_by(&key, &issuer).unwrap();
        sim.with(node, |endpoint, _| {
            let credentials = endpoint.credentials_mut();
            credentials.add_certificate(Certificate::from_der(certificate.der()).unwrap());
            credentials.add_key(PrivateKey::parse(key.serialize_pem().as_bytes(), None).unwrap());
            credentials.add_authority(authority.clone());
        });
        node
    };
    let (a, b) = (add("a", "192.0.2.1", "192.0.2.2", 1, a_ts), add("b", "192.0.2.2", "192.0.2.1", 2, b_ts));
    sim.initiate(a, b);
    sim.run_for(Duration::from_secs(3));
    (sim, a, b)
}

#[test]
fn either_end_takes_what_the_others_certificate_is_for() {
    let (sim, a, b) = run("10.0.0.0/14", "10.2.0.0/16");
    let selectors = |node| {
        let child = sim.snapshots(node)[0].children[0].clone();
        [child.local_ts, child.remote_ts].map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(selectors(a), [["10.1.0.0/16"], ["10.2.0.0/16"]]);
    assert_eq!(selectors(b), [["10.2.0.0/16"], ["10.1.0.0/16"]]);
    assert!(sim.carries(a, b));
}

#[test]
fn addresses_of_others_are_refused_by_either_end() {
    let refused = |a_ts: &str, b_ts: &str, by_initiator: bool| {
        let (sim, a, b) = run(a_ts, b_ts);
        assert!(!sim.carries(a, b), "{a_ts} {b_ts}");
        let node = if by_initiator { a } else { b };
        let kind = sim.failure(node).kind;
        let told = matches!(kind, FailureKind::TsUnacceptable { found_by: Side::Us, .. });
        assert!(told, "{a_ts} {b_ts}: {kind}");
    };
    refused("10.2.0.0/16", "10.2.0.0/16", false);
    refused("10.1.0.0/16", "10.1.0.0/16", true);
}
