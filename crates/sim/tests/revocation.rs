//! Revocation lists that are fetched while a negotiation waits for them (`revocation = strict` and `ifuri`).

use crypto::{Certificate, PrivateKey, RevocationList};
use model::{CertificateProblem, FailureKind};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use sim::{Block, NodeId, Sim, Site};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const URI: &str = "http://crl.example/root.crl";

fn params(name: &str, serial: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(serial));
    (params.not_before, params.not_after) = (date_time_ymd(2027, 1, 1), date_time_ymd(2028, 1, 1));
    params
}

/// An authority whose certificates say where its list is.
struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = params("root", 1);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let certificate = Certificate::from_der(params.self_signed(&key).unwrap().der()).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    fn issue(&self, name: &str, serial: u64) -> (Certificate, PrivateKey) {
        let mut params = params(name, serial);
        params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
        params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![URI.into()] }];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKey::parse(key.serialize_pem().as_bytes(), None).unwrap();
        (Certificate::from_der(certificate.der()).unwrap(), key)
    }

    fn list(&self, revoked: &[u64]) -> RevocationList {
        let revoked = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2027, 5, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2027, 5, 1),
            next_update: date_time_ymd(2027, 9, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        RevocationList::parse(params.signed_by(&self.issuer).unwrap().der()).unwrap()
    }
}

const VERSIONS: [&str; 3] = ["version = 2", "version = 1\naggressive = no", "version = 1\naggressive = yes"];

/// `a` with certificate 3 and `b` with 4; the strict ones want to know.
fn ends(version: &str, strict: &[&str], authority: &Authority) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(1);
    let mut add = |name: &str, own: &str, peer: &str, serial: u64| {
        let other = if name == "a" { "b" } else { "a" };
        let remote = if strict.contains(&name) { "auth = pubkey\nrevocation = strict" } else { "auth = pubkey" };
        let text = format!(
            "connections {{ gw {{ {version}\n local_addrs = {own}\n remote_addrs = {peer}
             proposals = aes128-sha256-x25519\n local {{ auth = pubkey\n id = {name}.example }}
             remote {{ {remote}\n id = {other}.example }} children {{ net {{ }} }} }} }}"
        );
        let node = sim.add(Site::new(name, own).text(&text));
        let (certificate, key) = authority.issue(&format!("{name}.example"), serial);
        sim.with(node, |endpoint, _| {
            endpoint.credentials_mut().add_certificate(certificate);
            endpoint.credentials_mut().add_key(key);
            endpoint.credentials_mut().add_authority(authority.certificate.clone());
        });
        node
    };
    let (a, b) = (add("a", "192.0.2.1", "192.0.2.2", 3), add("b", "192.0.2.2", "192.0.2.1", 4));
    (sim, a, b)
}

#[test]
fn the_negotiation_goes_on_when_the_list_is_there() {
    let authority = Authority::new();
    for version in VERSIONS {
        for strict in [&["b"][..], &["a"], &["a", "b"]] {
            let (mut sim, a, b) = ends(version, strict, &authority);
            sim.initiate(a, b);
            // Fetching takes two seconds, during which the initiator may repeat itself.
            for _ in 0..strict.len() {
                sim.run_for(2 * SECOND);
                assert!(!sim.carries(a, b), "{version} {strict:?}");
                assert!(!sim.fetches.is_empty() && sim.fetches.iter().all(|(_, uri)| uri == URI), "{:?}", sim.fetches);
                assert_eq!(sim.fetches.len(), 1, "asked once, however often the message comes");
                sim.fetched(|_| Some(authority.list(&[9])));
            }
            // In aggressive mode the initiator has gone on to quick mode meanwhile, and repeats that.
            sim.run_for(8 * SECOND);
            assert!(sim.carries(a, b) && sim.carries(b, a), "{version} {strict:?}: {:?}", sim.tombstones(b));
            assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((1, 0), (1, 0)));
        }
    }
}

#[test]
fn without_a_repetition_too() {
    // What waits is kept: the peer need not say it again.
    let authority = Authority::new();
    for version in VERSIONS {
        let (mut sim, a, b) = ends(version, &["b"], &authority);
        sim.initiate(a, b);
        sim.run_for(SECOND);
        sim.blocks.push(Block { from: Some(sim.address(a)), ..Block::default() });
        sim.run_for(SECOND);
        sim.fetched(|_| Some(authority.list(&[])));
        sim.run_for(Duration::from_millis(500));
        let up = sim.snapshots(b).iter().any(|sa| sa.state == model::IkeState::Established);
        assert!(up, "{version}: {:?}", sim.snapshots(b));
    }
}

#[test]
fn what_the_list_says_counts_and_no_list_is_no_good_news() {
    let authority = Authority::new();
    for version in VERSIONS {
        let problems = [(Some(vec![3u64]), CertificateProblem::Revoked), (None, CertificateProblem::RevocationUnknown)];
        for (revoked, expected) in problems {
            let (mut sim, a, b) = ends(version, &["b"], &authority);
            sim.initiate(a, b);
            sim.run_for(SECOND);
            sim.fetched(|_| revoked.as_ref().map(|serials| authority.list(serials)));
            sim.run_for(30 * SECOND);
            assert!(!sim.carries(a, b) && sim.plane(b).installs == 0);
            let failures = sim.tombstones(b);
            let matches = |kind: &FailureKind| matches!(kind, FailureKind::CertificateUntrusted { problem, .. } if *problem == expected);
            assert!(failures.iter().any(|t| matches(&t.failure.kind)), "{version}: {failures:?}");
        }
    }
}

#[test]
fn nobody_answers_and_nothing_is_left() {
    let authority = Authority::new();
    for version in VERSIONS {
        let (mut sim, a, b) = ends(version, &["b"], &authority);
        sim.initiate(a, b);
        sim.run_for(400 * SECOND);
        assert_eq!((sim.endpoint(b).sizes(), sim.plane(b).installs), ((0, 0), 0), "{version}");
        assert!(sim.fetches.len() < 10, "{:?}", sim.fetches);
    }
}

#[test]
fn strangers_send_us_nowhere() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    for version in VERSIONS {
        let (mut sim, a, b) = ends(version, &["b"], &ours);
        let (certificate, key) = theirs.issue("a.example", 3);
        sim.with(a, |endpoint, _| {
            endpoint.credentials_mut().clear();
            endpoint.credentials_mut().add_certificate(certificate);
            endpoint.credentials_mut().add_key(key);
            endpoint.credentials_mut().add_authority(ours.certificate.clone());
        });
        sim.initiate(a, b);
        sim.run_for(20 * SECOND);
        assert!(sim.fetches.is_empty(), "{version}: {:?}", sim.fetches);
    }
}
