//! Revocation lists that are fetched while a negotiation waits for them.

use config::{Connection, Pool};
use crypto::{Certificate, PrivateKey, RevocationList};
use model::{CertificateProblem, ConfigRef, FailureKind};
use proto::Places;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    CrlIssuingDistributionPoint, DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SanType, SerialNumber, date_time_ymd,
};
use sim::{Block, NodeId, Sim, Site};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use wire::{ExchangeType, Header};

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
        self.issue_with(name, serial, &[URI])
    }

    /// A certificate that says that its list is here.
    fn issue_with(&self, name: &str, serial: u64, uris: &[&str]) -> (Certificate, PrivateKey) {
        let mut params = params(name, serial);
        params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
        params.crl_distribution_points =
            uris.iter().map(|uri| CrlDistributionPoint { uris: vec![(*uri).to_string()] }).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKey::parse(key.serialize_pem().as_bytes(), None).unwrap();
        (Certificate::from_der(certificate.der()).unwrap(), key)
    }

    fn list(&self, revoked: &[u64]) -> RevocationList {
        self.numbered(1, revoked)
    }

    fn numbered(&self, number: u64, revoked: &[u64]) -> RevocationList {
        self.divided(number, None, revoked)
    }

    /// The list about the certificates under this distribution point.
    fn divided(&self, number: u64, uri: Option<&str>, revoked: &[u64]) -> RevocationList {
        let revoked = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2027, 5, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2027, 5, 1),
            next_update: date_time_ymd(2027, 9, 1),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: uri.map(|uri| CrlIssuingDistributionPoint {
                distribution_point: CrlDistributionPoint { uris: vec![uri.to_string()] },
                scope: None,
            }),
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        RevocationList::parse(params.signed_by(&self.issuer).unwrap().der()).unwrap()
    }
}

const VERSIONS: [&str; 3] = ["version = 2", "version = 1\naggressive = no", "version = 1\naggressive = yes"];

/// `a` with certificate 3 and `b` with 4, with this `revocation`.
fn ends(version: &str, revocation: &str, authority: &Authority) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(1);
    let mut add = |name: &str, own: &str, peer: &str, serial: u64| {
        let other = if name == "a" { "b" } else { "a" };
        let text = format!(
            "connections {{ gw {{ {version}\n local_addrs = {own}\n remote_addrs = {peer}
             proposals = aes128-sha256-x25519\n local {{ auth = pubkey\n id = {name}.example }}
             remote {{ auth = pubkey\n revocation = {revocation}\n id = {other}.example }} children {{ net {{ }} }} }} }}"
        );
        let node = sim.add(Site::new(name, own).text(&text).settings(|s| s.hash_and_url = true));
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

/// Whoever gives out lists may give out an older one, or one of his own in another authority's name.
#[test]
fn a_list_gives_way_to_a_newer_one_of_its_authority_only() {
    let (authority, namesake, other) = (Authority::new(), Authority::new(), Authority::new());
    let mut sim = Sim::new(1);
    let node = sim.add(Site::new("a", "192.0.2.1").text("connections { gw { children { net { } } } }"));
    sim.with(node, |endpoint, _| {
        let credentials = endpoint.credentials_mut();
        let add = |credentials: &mut proto::Credentials, list: RevocationList| {
            let der = list.der().to_vec();
            credentials.add_revocation_list(list);
            let held: Vec<&[u8]> = credentials.revocation_lists().map(RevocationList::der).collect();
            assert_eq!(held.len(), 1);
            held[0] == der
        };
        assert!(add(credentials, namesake.numbered(9, &[])), "nobody is known who could have signed it");
        credentials.add_authority(authority.certificate.clone());
        assert!(add(credentials, authority.numbered(5, &[4])));
        assert!(!add(credentials, namesake.numbered(10, &[])), "it is not the authority's");
        assert!(!add(credentials, authority.numbered(4, &[])), "it is older");
        assert!(add(credentials, authority.numbered(5, &[3, 4])) && add(credentials, authority.numbered(256, &[])));
        assert!(!add(credentials, authority.numbered(255, &[])));
        // Another key of the same name has its own.
        credentials.add_authority(other.certificate.clone());
        credentials.add_revocation_list(other.numbered(1, &[]));
        assert_eq!(credentials.revocation_lists().count(), 2);
        credentials.add_revocation_list(other.numbered(2, &[]));
        assert_eq!(credentials.revocation_lists().count(), 2);
    });
}

/// An authority may divide its certificates among as many lists as it likes, and whoever gives them out may make some up.
#[test]
fn of_lists_for_other_certificates_each_is_kept_within_bounds() {
    let (authority, namesake, stranger) = (Authority::new(), Authority::new(), Authority::new());
    let mut sim = Sim::new(1);
    let node = sim.add(Site::new("a", "192.0.2.1").text("connections { gw { children { net { } } } }"));
    let uri = |n: u64| format!("http://crl.example/{n}");
    sim.with(node, |endpoint, now| {
        let count = |endpoint: &proto::Endpoint| endpoint.credentials().revocation_lists().count();
        let holds = |endpoint: &proto::Endpoint, wanted: &RevocationList| {
            endpoint.credentials().revocation_lists().any(|list| list.der() == wanted.der())
        };
        endpoint.credentials_mut().add_authority(authority.certificate.clone());
        let (own, first, other) = (
            authority.divided(1, Some(URI), &[]),
            authority.divided(1, Some(&uri(0)), &[]),
            authority.numbered(1, &[]),
        );
        for list in [&own, &other] {
            endpoint.credentials_mut().add_revocation_list(RevocationList::parse(list.der()).unwrap());
        }
        endpoint.list_fetched(now, &uri(0), Some(RevocationList::parse(first.der()).unwrap()));
        assert_eq!(count(endpoint), 3);
        // A newer one takes the place of the one for the same certificates.
        let newer = authority.divided(2, Some(&uri(0)), &[]);
        endpoint.list_fetched(now, &uri(0), Some(RevocationList::parse(newer.der()).unwrap()));
        endpoint.list_fetched(now, &uri(0), Some(first));
        endpoint.list_fetched(now, &uri(0), Some(namesake.divided(3, Some(&uri(0)), &[])));
        assert!(count(endpoint) == 3 && holds(endpoint, &own) && holds(endpoint, &other) && holds(endpoint, &newer));
        // What nobody here has signed is bounded, and pushes nothing of the authority's out.
        for n in 1..200 {
            let made_up = if n % 2 == 0 { &namesake } else { &stranger };
            let made_up = made_up.divided(n, Some(&uri(n)), &[]);
            endpoint.list_fetched(now, &uri(n), Some(RevocationList::parse(made_up.der()).unwrap()));
            assert!(holds(endpoint, &made_up), "the last one is there");
        }
        assert_eq!(count(endpoint), 3 + 64);
        assert!(holds(endpoint, &own) && holds(endpoint, &other) && holds(endpoint, &newer));
        // So is what the authority has signed, and nothing that the operator put here goes for it.
        for n in 1000..1200 {
            endpoint.list_fetched(now, &uri(n), Some(authority.divided(n, Some(&uri(n)), &[])));
        }
        assert_eq!(count(endpoint), 2 + 64 + 64);
        assert!(holds(endpoint, &own) && holds(endpoint, &other));
    });
}

/// An authority whose certificate only the peer has may still have its list here: which one it has signed is seen later.
#[test]
fn a_list_of_nobody_known_is_not_in_the_way_of_another() {
    let (authority, namesake) = (Authority::new(), Authority::new());
    let mut sim = Sim::new(1);
    let node = sim.add(Site::new("a", "192.0.2.1").text("connections { gw { children { net { } } } }"));
    sim.with(node, |endpoint, now| {
        let [own, first, second, made_up] =
            [(&authority, 1), (&authority, 2), (&authority, 3), (&namesake, 9)].map(|(by, n)| by.numbered(n, &[]));
        let held = |endpoint: &proto::Endpoint, wanted: &[&RevocationList]| {
            let held: Vec<&[u8]> = endpoint.credentials().revocation_lists().map(RevocationList::der).collect();
            assert_eq!(held, wanted.iter().map(|list| list.der()).collect::<Vec<_>>());
        };
        let again = |list: &RevocationList| Some(RevocationList::parse(list.der()).unwrap());
        endpoint.credentials_mut().add_revocation_list(RevocationList::parse(own.der()).unwrap());
        endpoint.list_fetched(now, URI, again(&made_up));
        held(endpoint, &[&own, &made_up]);
        endpoint.list_fetched(now, URI, again(&first));
        held(endpoint, &[&own, &made_up, &first]);
        endpoint.list_fetched(now, URI, again(&second));
        held(endpoint, &[&own, &made_up, &second]);
        // Known after all.
        endpoint.credentials_mut().add_authority(authority.certificate.clone());
        endpoint.list_fetched(now, URI, again(&second));
        held(endpoint, &[&second]);
    });
}

/// Each end has the list of its own certificate, under another distribution point than the peer's (RFC 5280 section 5.2.5).
#[test]
fn the_list_of_the_peers_distribution_point_is_fetched_and_counts() {
    const POINTS: [&str; 2] = ["http://crl.example/a.crl", "http://crl.example/b.crl"];
    let authority = Authority::new();
    for version in VERSIONS {
        for (revocation, revoked) in
            [("relaxed", None), ("strict", None), ("relaxed", Some(4)), ("strict", Some(4)), ("strict", Some(3))]
        {
            let (mut sim, a, b) = ends(version, revocation, &authority);
            let list = |uri: &str| {
                let here = revoked.filter(|serial| POINTS[(*serial - 3) as usize] == uri);
                authority.divided(1, Some(uri), here.as_slice())
            };
            for (node, name, serial) in [(a, "a.example", 3), (b, "b.example", 4)] {
                let own = POINTS[(serial - 3) as usize];
                let (certificate, key) = authority.issue_with(name, serial, &[own]);
                sim.with(node, |endpoint, _| {
                    let credentials = endpoint.credentials_mut();
                    credentials.clear();
                    credentials.add_certificate(certificate);
                    credentials.add_key(key);
                    credentials.add_authority(authority.certificate.clone());
                    credentials.add_revocation_list(list(own));
                });
            }
            sim.initiate(a, b);
            let mut asked = Vec::new();
            for _ in 0..4 {
                sim.run_for(2 * SECOND);
                asked.extend(sim.fetches.iter().map(|(node, uri)| (*node, uri.clone())));
                sim.fetched(|uri| Some(list(uri)));
            }
            sim.run_for(8 * SECOND);
            let context = format!("{version} {revocation} {revoked:?} {asked:?}");
            let peers = [(a, POINTS[1].to_string()), (b, POINTS[0].to_string())];
            assert!(asked.iter().all(|one| peers.contains(one)) && !asked.is_empty(), "{context}");
            assert_eq!(sim.carries(a, b), revoked.is_none(), "{context} {:?}", sim.tombstones(b));
            let lists = |node| sim.endpoint(node).credentials().revocation_lists().count();
            match revoked {
                None => assert_eq!((asked.len(), lists(a), lists(b)), (2, 2, 2), "{context}: both are kept"),
                Some(serial) => {
                    let judge = if serial == 4 { a } else { b };
                    let revoked = |kind: FailureKind| matches!(kind, FailureKind::CertificateUntrusted { problem, .. } if problem == CertificateProblem::Revoked);
                    assert!(sim.tombstones(judge).into_iter().any(|t| revoked(t.failure.kind)), "{context}");
                }
            }
        }
    }
}

#[test]
fn the_negotiation_goes_on_when_the_list_is_there() {
    let authority = Authority::new();
    for version in VERSIONS {
        for revocation in ["relaxed", "ifuri", "strict"] {
            let (mut sim, a, b) = ends(version, revocation, &authority);
            sim.initiate(a, b);
            // One end, then the other. Fetching takes two seconds, during which the initiator may repeat itself.
            for _ in 0..2 {
                sim.run_for(2 * SECOND);
                assert!(!sim.carries(a, b), "{version} {revocation}");
                let fetches: Vec<&str> = sim.fetches.iter().map(|(_, uri)| uri.as_str()).collect();
                assert_eq!(fetches, [URI], "asked once, however often the message comes");
                sim.fetched(|_| Some(authority.list(&[9])));
            }
            // In aggressive mode the initiator has gone on to quick mode meanwhile, and repeats that.
            sim.run_for(8 * SECOND);
            assert!(sim.carries(a, b) && sim.carries(b, a), "{version} {revocation}: {:?}", sim.tombstones(b));
            assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((1, 0), (1, 0)));
            // The list is known now, and good for months.
            sim.terminate(a, &proto::Selection::default());
            sim.run_for(100 * SECOND);
            sim.initiate(a, b);
            sim.run_for(SECOND);
            assert!(sim.carries(a, b) && sim.fetches.is_empty(), "{version} {revocation}");
        }
    }
}

#[test]
fn without_a_repetition_too() {
    // What waits is kept: the peer need not say it again.
    let authority = Authority::new();
    for version in VERSIONS {
        let (mut sim, a, b) = ends(version, "strict", &authority);
        sim.initiate(a, b);
        sim.run_for(SECOND);
        if version.ends_with("aggressive = yes") {
            sim.fetched(|_| Some(authority.list(&[]))); // the initiator's, which is first
            sim.run_for(SECOND);
        }
        sim.blocks.push(Block { from: Some(sim.address(a)), ..Block::default() });
        sim.run_for(SECOND);
        sim.fetched(|_| Some(authority.list(&[])));
        sim.run_for(Duration::from_millis(500));
        let up = sim.snapshots(b).iter().any(|sa| sa.state == model::IkeState::Established);
        assert!(up, "{version}: {:?}", sim.snapshots(b));
    }
}

/// A server of IKEv1 gives its client an address as soon as phase 1 is done for it, and perhaps only once: the client, which
/// waits for a list, has it when it goes on.
#[test]
fn what_comes_behind_is_kept_too() {
    let authority = Authority::new();
    let (mut sim, a, b) = ends(VERSIONS[1], "strict", &authority);
    let (first, last): (IpAddr, IpAddr) = ("10.3.0.1".parse().unwrap(), "10.3.0.6".parse().unwrap());
    let source = ConfigRef { file: "test".into(), line: 1, key: "test".into() };
    let pool = Pool { name: "rw".into(), base: first, ranges: vec![(first, last)], attributes: Vec::new(), source };
    sim.with(b, |endpoint, _| endpoint.pools_mut().load(pool));
    for node in [a, b] {
        sim.with(node, |endpoint, _| {
            let mut connection = Connection::clone(endpoint.connections().next().unwrap());
            connection.pull = false;
            if node == a {
                connection.vips = vec!["0.0.0.0".parse().unwrap()]
            } else {
                connection.pools = vec!["rw".into()]
            }
            endpoint.load_connection(Arc::new(connection));
        });
    }
    let mut seen = std::collections::HashSet::new();
    sim.set_hook(Some(Box::new(move |_, datagram| {
        let transaction = Header::parse(&datagram.bytes).is_ok_and(|h| h.exchange == ExchangeType::TRANSACTION);
        let again = transaction && !seen.insert(datagram.bytes.clone());
        if again { Vec::new() } else { vec![(Duration::ZERO, datagram.clone())] }
    })));
    sim.initiate(a, b);
    sim.run_for(SECOND);
    sim.fetched(|_| Some(authority.list(&[]))); // the server's, about the client
    sim.run_for(SECOND);
    assert!(!sim.carries(a, b), "the client waits");
    sim.fetched(|_| Some(authority.list(&[])));
    sim.run_for(2 * SECOND);
    assert!(sim.carries(a, b), "{:?} {:?}", sim.snapshots(a), sim.tombstones(a));
    assert_eq!(sim.snapshots(a)[0].local_vips, [first]);
}

#[test]
fn what_the_list_says_counts_and_no_list_is_no_good_news() {
    let authority = Authority::new();
    // `None`: the list cannot be had.
    let cases = [
        ("relaxed", Some(vec![3u64]), Some(CertificateProblem::Revoked)),
        ("relaxed", None, None),
        ("ifuri", Some(vec![3]), Some(CertificateProblem::Revoked)),
        ("ifuri", None, Some(CertificateProblem::RevocationUnknown)),
        ("strict", None, Some(CertificateProblem::RevocationUnknown)),
    ];
    for version in VERSIONS {
        for (revocation, revoked, expected) in &cases {
            let (mut sim, a, b) = ends(version, revocation, &authority);
            sim.initiate(a, b);
            for _ in 0..4 {
                sim.run_for(2 * SECOND);
                sim.fetched(|_| revoked.as_ref().map(|serials| authority.list(serials)));
            }
            sim.run_for(30 * SECOND);
            assert_eq!(sim.carries(a, b), expected.is_none(), "{version} {revocation} {revoked:?}");
            let Some(expected) = expected else { continue };
            let failures: Vec<FailureKind> =
                [a, b].iter().flat_map(|n| sim.tombstones(*n)).map(|t| t.failure.kind).collect();
            let matches = |kind: &FailureKind| matches!(kind, FailureKind::CertificateUntrusted { problem, .. } if problem == expected);
            assert!(failures.iter().any(matches), "{version} {revocation}: {failures:?}");
        }
    }
}

#[test]
fn nobody_answers_and_nothing_is_left() {
    let authority = Authority::new();
    for version in VERSIONS {
        let (mut sim, a, b) = ends(version, "strict", &authority);
        sim.initiate(a, b);
        sim.run_for(400 * SECOND);
        assert_eq!((sim.endpoint(b).sizes(), sim.plane(b).installs), ((0, 0), 0), "{version}");
        assert!(sim.fetches.len() < 10, "{:?}", sim.fetches);
    }
}

/// `authorities` in swanctl.conf says where the list is, where certificates do not, or say so to those who cannot go there.
#[test]
fn the_configuration_says_where_the_list_is() {
    const ELSEWHERE: &str = "http://elsewhere.example/root.crl";
    let authority = Authority::new();
    for version in VERSIONS {
        for own_places in [&[][..], &[URI]] {
            let (mut sim, a, b) = ends(version, "strict", &authority);
            for (node, name, serial) in [(a, "a.example", 3), (b, "b.example", 4)] {
                let (certificate, key) = authority.issue_with(name, serial, own_places);
                let ca = authority.certificate.clone();
                sim.with(node, |endpoint, _| {
                    let credentials = endpoint.credentials_mut();
                    credentials.clear();
                    credentials.add_certificate(certificate);
                    credentials.add_key(key);
                    let places = Places { lists: vec![ELSEWHERE.to_string()], ..Places::default() };
                    credentials.set_authority("root", ca, places);
                });
            }
            sim.initiate(a, b);
            for _ in 0..2 {
                sim.run_for(2 * SECOND);
                let fetches: Vec<&str> = sim.fetches.iter().map(|(_, uri)| uri.as_str()).collect();
                let expected: Vec<&str> = [ELSEWHERE].into_iter().chain(own_places.iter().copied()).collect();
                assert_eq!(fetches, expected, "{version}");
                // Of two places one is enough.
                sim.fetched(|uri| (uri == ELSEWHERE).then(|| authority.list(&[9])));
            }
            sim.run_for(8 * SECOND);
            assert!(sim.carries(a, b), "{version}: {:?}", sim.tombstones(b));
        }
    }
}

/// A certificate that has to be looked up itself (RFC 7296 section 3.6) says where its list is.
#[test]
fn the_list_of_a_certificate_that_was_looked_up_is_fetched_too() {
    let authority = Authority::new();
    let (mut sim, a, b) = ends(VERSIONS[0], "strict", &authority);
    let mut own = Vec::new();
    for node in [a, b] {
        let places = Places { certificates: Some("http://certs.example/".to_string()), ..Places::default() };
        own.push(sim.with(node, |endpoint, _| {
            endpoint.credentials_mut().set_authority("root", authority.certificate.clone(), places);
            endpoint.credentials().certificates()[0].clone()
        }));
    }
    sim.initiate(a, b);
    for (node, peers) in [(b, &own[0]), (a, &own[1])] {
        sim.run_for(2 * SECOND);
        assert_eq!(sim.lookups.iter().map(|(node, _)| *node).collect::<Vec<_>>(), [node]);
        sim.looked_up(|_| Some(peers.clone()));
        assert_eq!(sim.fetches, [(node, URI.to_string())], "then its list");
        assert!(!sim.carries(a, b));
        sim.fetched(|_| Some(authority.list(&[9])));
    }
    sim.run_for(8 * SECOND);
    assert!(sim.carries(a, b) && sim.carries(b, a), "{:?}", sim.tombstones(a));
}

#[test]
fn strangers_send_us_nowhere() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    for version in VERSIONS {
        let (mut sim, a, b) = ends(version, "strict", &ours);
        let (certificate, key) = theirs.issue("a.example", 3);
        sim.with(a, |endpoint, _| {
            endpoint.credentials_mut().clear();
            endpoint.credentials_mut().add_certificate(certificate);
            endpoint.credentials_mut().add_key(key);
            endpoint.credentials_mut().add_authority(ours.certificate.clone());
        });
        sim.initiate(a, b);
        sim.run_for(20 * SECOND);
        assert!(sim.fetches.iter().all(|(node, _)| *node != b), "{version}: {:?}", sim.fetches);
    }
}

/// Whoever is found to be revoked when it is authenticated anew does not keep the IKE SA that it has.
#[test]
fn a_peer_that_was_revoked_meanwhile_loses_its_sas_when_it_is_authenticated_anew() {
    let authority = Authority::new();
    let (mut sim, a, b) = ends(VERSIONS[0], "strict", &authority);
    sim.initiate(a, b);
    for _ in 0..2 {
        sim.run_for(SECOND);
        sim.fetched(|_| Some(authority.list(&[9])));
    }
    sim.run_for(SECOND);
    assert!(sim.carries(a, b) && sim.fetches.is_empty());
    sim.with(a, |endpoint, now| {
        endpoint.credentials_mut().flush_fetched_lists();
        assert_eq!(endpoint.reauthenticate(now, &proto::Selection::default()), 1);
    });
    sim.run_for(SECOND);
    assert!(sim.carries(a, b), "until the list is there");
    sim.fetched(|_| Some(authority.list(&[4])));
    sim.run_for(5 * SECOND);
    assert_eq!((sim.endpoint(a).sizes(), sim.endpoint(b).sizes()), ((0, 0), (0, 0)), "{:?}", sim.snapshots(b));
    let ended: Vec<FailureKind> = sim.tombstones(a).into_iter().map(|t| t.failure.kind).collect();
    assert!(ended.len() == 2 && ended.iter().all(FailureKind::is_revocation), "{ended:?}");
}

/// A certificate may say where to learn what has changed since its authority's list (RFC 5280 section 4.2.1.15): that is asked
/// for too, and no reason to refuse if it cannot be had.
#[test]
fn what_has_changed_since_the_list_is_asked_for() {
    const DELTA: &[u8] = b"http://crl.example/delta.crl";
    let authority = Authority::new();
    let (mut sim, a, b) = ends(VERSIONS[0], "strict", &authority);
    let mut params = params("b.example", 4);
    params.subject_alt_names = vec![SanType::DnsName("b.example".try_into().unwrap())];
    params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![URI.to_string()] }];
    // CRLDistributionPoints with one fullName, a URI.
    let mut content = [&[0x86, DELTA.len() as u8], DELTA].concat();
    for tag in [0xa0, 0xa0, 0x30, 0x30] {
        content.splice(0..0, [tag, content.len() as u8]);
    }
    params.custom_extensions.push(rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 46], content));
    let key = KeyPair::generate().unwrap();
    let certificate = Certificate::from_der(params.signed_by(&key, &authority.issuer).unwrap().der()).unwrap();
    sim.with(b, |endpoint, _| {
        let credentials = endpoint.credentials_mut();
        credentials.clear();
        credentials.add_certificate(certificate);
        credentials.add_key(PrivateKey::parse(key.serialize_pem().as_bytes(), None).unwrap());
        credentials.add_authority(authority.certificate.clone());
    });
    sim.initiate(a, b);
    let mut asked = Vec::new();
    for _ in 0..4 {
        sim.run_for(SECOND);
        asked.extend(sim.fetches.iter().map(|(node, uri)| (*node, uri.clone())));
        sim.fetched(|uri| (uri == URI).then(|| authority.list(&[9])));
    }
    sim.run_for(SECOND);
    let delta = String::from_utf8(DELTA.to_vec()).unwrap();
    assert_eq!(asked, [(b, URI.to_string()), (a, URI.to_string()), (a, delta)]);
    assert!(sim.carries(a, b), "{:?}", sim.tombstones(a));
}
