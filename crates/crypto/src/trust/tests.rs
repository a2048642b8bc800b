use super::*;
use crate::{AltName, KeyKind};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};

/// 2026-06-01, in the middle of everything's validity.
const NOW: Duration = Duration::from_secs(1_780_272_000);

fn params(name: &str, serial: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(serial));
    (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2027, 1, 1));
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = params(name, 1);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

struct Made {
    root: Certificate,
    between: Certificate,
    end: Certificate,
    root_issuer: Issuer<'static, KeyPair>,
    issuer: Issuer<'static, KeyPair>,
}

/// An authority, one below it, and an end below that with `serial`.
fn made(serial: u64, change: impl Fn(&mut CertificateParams)) -> Made {
    made_below(authority("root"), serial, change)
}

fn made_below(root: CertificateParams, serial: u64, change: impl Fn(&mut CertificateParams)) -> Made {
    let root_key = KeyPair::generate().unwrap();
    let root = root.self_signed(&root_key).unwrap();
    let root_issuer = Issuer::new(authority("root"), root_key);
    let between_key = KeyPair::generate().unwrap();
    let between = authority("between").signed_by(&between_key, &root_issuer).unwrap();
    let issuer = Issuer::new(authority("between"), between_key);
    let mut end = params("end", serial);
    end.subject_alt_names = vec![
        SanType::DnsName("moon.example".try_into().unwrap()),
        SanType::Rfc822Name("carol@moon.example".try_into().unwrap()),
        SanType::IpAddress("192.0.2.1".parse().unwrap()),
    ];
    change(&mut end);
    let end = end.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
    let read = |c: rcgen::Certificate| Certificate::from_der(c.der()).unwrap();
    Made { root: read(root), between: read(between), end: read(end), root_issuer, issuer }
}

#[test]
fn a_certificate_is_read() {
    let made = made(0x1234, |_| {});
    assert_eq!(made.end.serial(), [0x12, 0x34]);
    assert_eq!(made.end.issuer(), made.between.subject());
    assert_eq!(made.end.public_key().map(|k| k.kind()), Some(KeyKind::EcdsaP256));
    assert_eq!(
        made.end.alt_names(),
        [
            AltName::Dns("moon.example".into()),
            AltName::Email("carol@moon.example".into()),
            AltName::Address("192.0.2.1".parse().unwrap())
        ]
    );
    let sha256 = crate::Scheme::Ecdsa(wire::HashAlgorithm::SHA2_256);
    assert_eq!(made.end.signature(), Some(sha256));
    assert!(made.root.is_authority() && made.root.is_self_issued());
    assert!(!made.end.is_authority() && !made.end.is_self_issued());
    assert_eq!(Certificate::parse(made.end.pem().as_bytes()).unwrap(), made.end);
    for length in 0..made.end.der().len() {
        assert!(Certificate::from_der(&made.end.der()[..length]).is_err());
    }
}

#[test]
fn paths_lead_to_an_authority_or_nowhere() {
    let (one, other) = (made(2, |_| {}), made(2, |_| {}));
    let trust = Trust { authorities: vec![&one.root], ..Trust::default() };
    let check = |trust: &Trust<'_>, made: &Made, now| {
        verify(trust, &made.end, std::slice::from_ref(&made.between), Revocation::Relaxed, now)
    };
    assert_eq!(check(&trust, &one, NOW).unwrap(), [one.between.clone(), one.root.clone()]);
    assert_eq!(verify(&trust, &one.end, &[], Revocation::Relaxed, NOW), Err(Untrusted::UnknownIssuer));
    // One between that we have ourselves is not an end of paths, but a part of them.
    let between = Trust { authorities: vec![&one.between], ..Trust::default() };
    assert_eq!(verify(&between, &one.end, &[], Revocation::Relaxed, NOW), Err(Untrusted::UnknownIssuer));
    let both = Trust { authorities: vec![&one.between, &one.root], ..Trust::default() };
    assert_eq!(verify(&both, &one.end, &[], Revocation::Relaxed, NOW).unwrap().len(), 2);
    // The same names, other keys: that says more than that the issuer is not known.
    assert_eq!(check(&trust, &other, NOW), Err(Untrusted::BadSignature));
    let known = Trust { known: vec![&other.end], ..Trust::default() };
    assert_eq!(check(&known, &other, NOW), Ok(Vec::new()));
    assert!(matches!(check(&trust, &one, Duration::from_secs(1_735_689_600)), Err(Untrusted::NotYetValid { .. })));
    let expired = check(&known, &other, Duration::from_secs(1_800_000_000)).unwrap_err();
    assert!(matches!(expired, Untrusted::Expired { .. }));
    let words = "it, or one on its path, was valid until 2027-01-01T00:00:00Z; our clock says 2027-01-15T08:00:00Z";
    assert_eq!(expired.to_string(), words);
}

#[test]
fn an_end_issues_nothing() {
    let made = made(2, |_| {});
    let key = KeyPair::generate().unwrap();
    let end = params("end", 2).signed_by(&key, &made.issuer).unwrap();
    let below =
        params("below", 3).signed_by(&KeyPair::generate().unwrap(), &Issuer::new(params("end", 2), key)).unwrap();
    let trust = Trust { authorities: vec![&made.root, &made.between], ..Trust::default() };
    let read = |c: &rcgen::Certificate| Certificate::from_der(c.der()).unwrap();
    assert!(verify(&trust, &read(&end), &[], Revocation::Relaxed, NOW).is_ok());
    assert!(verify(&trust, &read(&below), &[read(&end)], Revocation::Relaxed, NOW).is_err());
}

#[test]
fn an_authority_that_has_expired_ends_no_path() {
    let key = KeyPair::generate().unwrap();
    let mut old = authority("root");
    old.not_after = date_time_ymd(2026, 3, 1);
    let root = Certificate::from_der(old.clone().self_signed(&key).unwrap().der()).unwrap();
    let end = params("end", 2).signed_by(&KeyPair::generate().unwrap(), &Issuer::new(old, key)).unwrap();
    let end = Certificate::from_der(end.der()).unwrap();
    let trust = Trust { authorities: vec![&root], ..Trust::default() };
    assert!(verify(&trust, &end, &[], Revocation::Relaxed, Duration::from_secs(1_770_000_000)).is_ok());
    assert!(matches!(verify(&trust, &end, &[], Revocation::Relaxed, NOW), Err(Untrusted::Expired { .. })));
}

/// The old certificate of an authority and its new one have the same name and key.
#[test]
fn an_authority_that_was_renewed_with_its_key_is_valid_by_either_certificate() {
    let key = KeyPair::generate().unwrap();
    let (mut old, mut new) = (authority("root"), authority("root"));
    (old.not_after, new.not_before) = (date_time_ymd(2026, 3, 1), date_time_ymd(2026, 2, 1));
    new.serial_number = Some(SerialNumber::from(2u64));
    let read = |params: &CertificateParams| Certificate::from_der(params.self_signed(&key).unwrap().der()).unwrap();
    let (first, second) = (read(&old), read(&new));
    let end = params("end", 2).signed_by(&KeyPair::generate().unwrap(), &Issuer::new(old, &key)).unwrap();
    let end = Certificate::from_der(end.der()).unwrap();
    for authorities in [vec![&first, &second], vec![&second, &first]] {
        let trust = Trust { authorities, ..Trust::default() };
        assert_eq!(verify(&trust, &end, &[], Revocation::Relaxed, NOW), Ok(vec![second.clone()]));
        let january = Duration::from_secs(1_767_500_000);
        assert_eq!(verify(&trust, &end, &[], Revocation::Relaxed, january), Ok(vec![first.clone()]));
    }
}

/// A peer that nobody knows sends many certificates that lead nowhere, whose names fit each other in every order.
#[test]
fn of_many_certificates_only_those_are_tried_that_lead_down_from_an_authority() {
    let made = made(7, |_| {});
    let mut astray = Vec::new();
    for serial in 0..12 {
        let mut own = authority("astray");
        own.serial_number = Some(SerialNumber::from(serial));
        astray.push(Certificate::from_der(own.self_signed(&KeyPair::generate().unwrap()).unwrap().der()).unwrap());
    }
    let key = KeyPair::generate().unwrap();
    let end =
        params("end", 2).signed_by(&key, &Issuer::new(authority("astray"), KeyPair::generate().unwrap())).unwrap();
    let end = Certificate::from_der(end.der()).unwrap();
    let trust = Trust { authorities: vec![&made.root], ..Trust::default() };
    assert!(leading(&trust, &astray).is_empty());
    assert_eq!(verify(&trust, &end, &astray, Revocation::Relaxed, NOW), Err(Untrusted::UnknownIssuer));
    // What leads somewhere does so among them, in any order.
    let below_key = KeyPair::generate().unwrap();
    let below = authority("below").signed_by(&below_key, &made.issuer).unwrap();
    let end = params("end", 3).signed_by(&key, &Issuer::new(authority("below"), below_key)).unwrap();
    let (below, end) = (Certificate::from_der(below.der()).unwrap(), Certificate::from_der(end.der()).unwrap());
    let mut sent = vec![below.clone()];
    sent.extend(astray);
    sent.push(made.between.clone());
    assert_eq!(leading(&trust, &sent), [&made.between, &below]);
    assert_eq!(verify(&trust, &end, &sent, Revocation::Relaxed, NOW).map(|path| path.len()), Ok(3));
}

/// An authority with a new key and its old name has a list for each key: the other one says nothing.
#[test]
fn of_two_authorities_of_one_name_each_has_its_list() {
    let uri = |params: &mut CertificateParams| {
        params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec!["http://crl.example/new".into()] }];
    };
    let issued = |serial: u64| {
        let key = KeyPair::generate().unwrap();
        let root = Certificate::from_der(authority("root").self_signed(&key).unwrap().der()).unwrap();
        let issuer = Issuer::new(authority("root"), key);
        let mut end = params("end", serial);
        uri(&mut end);
        let end = end.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
        let between = Certificate::from_der(end.der()).unwrap();
        let root_key = KeyPair::generate().unwrap();
        Made {
            root,
            between: between.clone(),
            end: between,
            root_issuer: Issuer::new(params("no", 1), root_key),
            issuer,
        }
    };
    let (old, new) = (issued(3), issued(4));
    let list = |of: &Made, revoked: &[u64]| {
        let mut list = numbered(of, 1, None, revoked);
        [&old, &new].into_iter().for_each(|made| list.prove(&made.root));
        assert_eq!(list.signer(), Some(of.root.key_info_hash()));
        list
    };
    let check = |lists: &[&RevocationList], of: &Made, revocation| {
        let trust =
            Trust { authorities: vec![&old.root, &new.root], revocation_lists: lists.to_vec(), ..Trust::default() };
        let path = verify(&trust, &of.end, &[], revocation, NOW);
        let missing = path.as_ref().map(|path| missing_lists(&trust, &of.end, path, NOW).len()).unwrap_or_default();
        (path.map(|path| path.len()), missing)
    };
    let (of_old, of_new, bad) = (list(&old, &[4]), list(&new, &[3]), list(&new, &[4]));
    for lists in [[&of_old, &of_new], [&of_new, &of_old]] {
        assert_eq!(check(&lists, &old, Revocation::Strict), (Ok(1), 0));
        assert_eq!(check(&lists, &new, Revocation::Strict), (Ok(1), 0));
    }
    assert_eq!(check(&[&of_old, &bad], &new, Revocation::Relaxed), (Err(Untrusted::Revoked), 0));
    assert_eq!(check(&[&of_old], &new, Revocation::Relaxed), (Ok(1), 1), "its own is still to be had");
    assert_eq!(check(&[&of_old], &new, Revocation::Strict), (Err(Untrusted::RevocationUnknown), 0));
}

/// RFC 5280 section 4.2.1.9: not even one that was put among the authorities.
#[test]
fn what_says_nothing_of_being_an_authority_ends_no_path() {
    let key = KeyPair::generate().unwrap();
    let end = params("end", 1);
    let own = Certificate::from_der(end.clone().self_signed(&key).unwrap().der()).unwrap();
    let below = params("anybody", 2).signed_by(&KeyPair::generate().unwrap(), &Issuer::new(end, key)).unwrap();
    let below = Certificate::from_der(below.der()).unwrap();
    let trust = Trust { authorities: vec![&own], ..Trust::default() };
    assert_eq!(verify(&trust, &below, &[], Revocation::Relaxed, NOW), Err(Untrusted::UnknownIssuer));
}

#[test]
fn an_authority_limits_the_length_of_its_paths() {
    let limited = |limit: u8| {
        let mut root = authority("root");
        root.is_ca = IsCa::Ca(BasicConstraints::Constrained(limit));
        let made = made_below(root, 7, |_| {});
        let trust = Trust { authorities: vec![&made.root, &made.between], ..Trust::default() };
        verify(&trust, &made.end, &[], Revocation::Relaxed, NOW).map(|path| path.len())
    };
    assert_eq!((limited(1), limited(2)), (Ok(2), Ok(2)));
    assert!(matches!(limited(0), Err(Untrusted::Invalid(why)) if why.contains("allows 0")));
}

#[test]
fn lists_are_where_the_path_says() {
    let uri = |name: &str| format!("http://crl.example/{name}");
    let with = |uris: Vec<String>| {
        move |params: &mut CertificateParams| {
            params.crl_distribution_points = vec![CrlDistributionPoint { uris: uris.clone() }]
        }
    };
    let made_with = |uris: Vec<String>| made(7, with(uris));
    let wanted = |made: &Made, authorities: Vec<&Certificate>| {
        list_uris(&Trust { authorities, ..Trust::default() }, &made.end, std::slice::from_ref(&made.between), NOW)
    };
    let both = made_with(vec!["ldap://crl.example/cn=x".into(), uri("one.crl"), uri("two.crl")]);
    assert!(both.end.has_crl_uri());
    assert_eq!(both.end.crl_uris(), [uri("one.crl"), uri("two.crl")]);
    assert_eq!(wanted(&both, vec![&both.root]), [uri("one.crl")], "the others have the same list");
    assert!(wanted(&both, vec![&made(7, |_| {}).root]).is_empty(), "nobody that we trust says so");
    let elsewhere = made_with(vec!["https://crl.example/one.crl".into(), format!("http://{}", "x".repeat(2000))]);
    assert!(elsewhere.end.has_crl_uri() && elsewhere.end.crl_uris().is_empty());
}

#[test]
fn what_is_revoked_is_refused_and_strictness_wants_to_know() {
    let made = made(7, |_| {});
    let list = |issuer: &Issuer<'static, KeyPair>, revoked: &[u64], until| {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 5, 1),
            next_update: until,
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from(*serial),
                    revocation_time: date_time_ymd(2026, 5, 1),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        RevocationList::parse(params.signed_by(issuer).unwrap().der()).unwrap()
    };
    let later = date_time_ymd(2026, 7, 1);
    let (revoked, others) = (list(&made.issuer, &[7], later), list(&made.issuer, &[8], later));
    let (old, of_root) = (list(&made.issuer, &[8], date_time_ymd(2026, 5, 2)), list(&made.root_issuer, &[9], later));
    let check = |lists: Vec<&RevocationList>, revocation| {
        let trust = Trust { authorities: vec![&made.root, &made.between], revocation_lists: lists, ..Trust::default() };
        verify(&trust, &made.end, &[], revocation, NOW).map(|path| path.len())
    };
    assert_eq!(check(vec![&revoked], Revocation::Relaxed), Err(Untrusted::Revoked));
    assert_eq!(check(vec![&others], Revocation::Relaxed), Ok(2));
    assert_eq!(check(vec![&old], Revocation::Relaxed), Ok(2));
    assert_eq!(check(vec![], Revocation::Relaxed), Ok(2));
    assert_eq!(check(vec![], Revocation::IfUri), Ok(2), "the certificate has no URI");
    assert_eq!(check(vec![], Revocation::Strict), Err(Untrusted::RevocationUnknown));
    assert_eq!(check(vec![&others, &of_root], Revocation::Strict), Ok(2));
    assert_eq!(check(vec![&old, &of_root], Revocation::Strict), Err(Untrusted::RevocationListExpired));
    // Of two lists the one that is not out of date counts.
    assert_eq!(check(vec![&old, &others, &of_root], Revocation::Strict), Ok(2));
    assert_eq!(check(vec![&others, &old, &of_root], Revocation::Strict), Ok(2));
    // A list under the issuer's name that somebody else signed says nothing, and does no harm for ever.
    let forged = list(&self::made(7, |_| {}).issuer, &[8], later);
    assert_eq!(check(vec![&forged, &of_root], Revocation::Strict), Err(Untrusted::RevocationUnknown));
    // The list of the end's issuer alone leaves open whether that issuer is revoked.
    assert_eq!(check(vec![&others], Revocation::Strict), Err(Untrusted::RevocationUnknown));
}

/// `ifuri` asks for the list of each certificate that has a place for one, and of no other.
#[test]
fn a_list_is_wanted_of_each_certificate_that_has_a_place_for_one() {
    let made = under_one();
    let numbered = |issuer, revoked: &[u64]| divided(issuer, 1, None, None, revoked);
    let (own, revoked, of_root) =
        (numbered(&made.issuer, &[]), numbered(&made.issuer, &[7]), numbered(&made.root_issuer, &[]));
    let places = ["http://crl.example/root".to_string()];
    let check = |lists: Vec<&RevocationList>, of_root: &[String], now| {
        let authorities = vec![&made.root, &made.between];
        let list_uris = vec![(made.root.subject(), of_root)];
        let trust = Trust { authorities, revocation_lists: lists, list_uris, ..Trust::default() };
        verify(&trust, &made.end, &[], Revocation::IfUri, now).map(|path| path.len())
    };
    let unknown = Err(Untrusted::RevocationUnknown);
    assert_eq!(check(vec![], &[], NOW), unknown);
    assert_eq!(check(vec![&of_root], &[], NOW), unknown);
    assert_eq!(check(vec![&own], &[], NOW), Ok(2), "the authority in between has no place");
    assert_eq!(check(vec![&own], &places, NOW), unknown, "now it has");
    assert_eq!(check(vec![&own, &of_root], &places, NOW), Ok(2));
    assert_eq!(check(vec![&revoked], &[], NOW), Err(Untrusted::Revoked));
    let late = own.next_update().unwrap();
    assert_eq!(check(vec![&own], &[], late), Err(Untrusted::RevocationListExpired));
}

/// A list of `made.issuer`, which issued the end; a delta list if it has a base.
fn numbered(made: &Made, number: u64, base: Option<u64>, revoked: &[u64]) -> RevocationList {
    divided(&made.issuer, number, base, None, revoked)
}

/// As [`numbered`], for certificates under this distribution point: the content of an IssuingDistributionPoint.
fn divided(
    issuer: &Issuer<'static, KeyPair>,
    number: u64,
    base: Option<u64>,
    point: Option<&[u8]>,
    revoked: &[u64],
) -> RevocationList {
    RevocationList::parse(&divided_der(issuer, number, base, point, revoked)).unwrap()
}

fn divided_der(
    issuer: &Issuer<'static, KeyPair>,
    number: u64,
    base: Option<u64>,
    point: Option<&[u8]>,
    revoked: &[u64],
) -> Vec<u8> {
    use x509_cert::crl::CertificateList;
    use x509_cert::der::asn1::{BitString, ObjectIdentifier, OctetString, Uint};
    use x509_cert::der::{Decode, Encode, oid::AssociatedOid};
    use x509_cert::ext::pkix::crl::BaseCrlNumber;
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2026, 5, 1),
        next_update: date_time_ymd(2026, 9, 1),
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: revoked
            .iter()
            .map(|serial| RevokedCertParams {
                serial_number: SerialNumber::from(*serial),
                revocation_time: date_time_ymd(2026, 5, 1),
                reason_code: None,
                invalidity_date: None,
            })
            .collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = params.signed_by(issuer).unwrap();
    let mut list: CertificateList = CertificateList::from_der(list.der()).unwrap();
    let base =
        base.map(|base| (BaseCrlNumber::OID, BaseCrlNumber(Uint::new(&base.to_be_bytes()).unwrap()).to_der().unwrap()));
    let point = point.map(|point| (ObjectIdentifier::new_unwrap("2.5.29.28"), tagged(0x30, point)));
    for (extn_id, value) in base.into_iter().chain(point) {
        let extn_value = OctetString::new(value).unwrap();
        let extension = x509_cert::ext::Extension { extn_id, critical: true, extn_value };
        list.tbs_cert_list.crl_extensions.get_or_insert_default().push(extension);
    }
    let key = crate::PrivateKey::parse(issuer.key().serialize_pem().as_bytes(), None).unwrap();
    let scheme = crate::Scheme::Ecdsa(wire::HashAlgorithm::SHA2_256);
    let signature = key.sign(scheme, &list.tbs_cert_list.to_der().unwrap()).unwrap();
    list.signature = BitString::from_bytes(&signature).unwrap();
    list.to_der().unwrap()
}

/// Content shorter than 128 octets, behind its tag.
fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    [&[tag, content.len() as u8], content].concat()
}

/// The name of an IssuingDistributionPoint: these URIs.
fn point(uris: &[&str]) -> Vec<u8> {
    let names: Vec<u8> = uris.iter().flat_map(|uri| tagged(0x86, uri.as_bytes())).collect();
    tagged(0xa0, &tagged(0xa0, &names))
}

/// onlyContainsUserCerts, and onlyContainsCACerts.
const ONLY: [[u8; 3]; 2] = [[0x81, 1, 0xff], [0x82, 1, 0xff]];

#[test]
fn a_delta_list_revokes_what_its_base_does_not_yet() {
    let (made, other) = (made(5, |_| {}), made(5, |_| {}));
    let complete = numbered(&made, 10, None, &[7]);
    assert!(!complete.is_delta());
    let check = |lists: &[&RevocationList]| {
        let trust = Trust {
            authorities: vec![&made.root, &made.between],
            revocation_lists: lists.to_vec(),
            ..Trust::default()
        };
        verify(&trust, &made.end, &[], Revocation::Relaxed, NOW).map(drop)
    };
    let delta = numbered(&made, 11, Some(10), &[5]);
    assert!(delta.is_delta() && delta.is_current_for(&made.end, NOW));
    assert_eq!(check(&[&complete, &delta]), Err(Untrusted::Revoked));
    assert_eq!(check(&[&delta, &complete]), Err(Untrusted::Revoked));
    assert_eq!(check(&[&complete]), Ok(()));
    // Without a list that it goes on from it says nothing (RFC 5280 section 5.2.4): the base is newer, it is older; nor does
    // one of another certificate, or one that somebody else of the same name signed.
    assert_eq!(check(&[&delta]), Ok(()));
    for silent in [
        numbered(&made, 12, Some(11), &[5]),
        numbered(&made, 10, Some(9), &[5]),
        numbered(&made, 11, Some(10), &[6]),
        numbered(&other, 11, Some(10), &[5]),
    ] {
        assert_eq!(check(&[&complete, &silent]), Ok(()));
    }
    // Numbers are compared as numbers.
    assert_eq!(check(&[&complete, &numbered(&made, 256, Some(9), &[5])]), Err(Untrusted::Revoked));
}

#[test]
fn the_place_of_a_delta_list_is_asked_for_while_there_is_none() {
    const DELTA: &[u8] = b"http://crl.example/delta.crl";
    let made = made(5, |params| {
        let mut content = [&[0x86, DELTA.len() as u8], DELTA].concat();
        for tag in [0xa0, 0xa0, 0x30, 0x30] {
            content.splice(0..0, [tag, content.len() as u8]);
        }
        params.custom_extensions.push(rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 46], content));
    });
    let (complete, delta) = (numbered(&made, 10, None, &[]), numbered(&made, 11, Some(10), &[]));
    let missing = |lists: &[&RevocationList]| {
        let trust = Trust { revocation_lists: lists.to_vec(), ..Trust::default() };
        missing_lists(&trust, &made.end, &[made.between.clone(), made.root.clone()], NOW)
    };
    assert!(missing(&[]).is_empty(), "nothing says where the complete one is");
    assert_eq!(missing(&[&complete]), ["http://crl.example/delta.crl"]);
    assert!(missing(&[&complete, &delta]).is_empty());
}

const ONE: &str = "http://crl.example/one";
const TWO: &str = "http://crl.example/two";

/// The end has serial number 7, and the list of one of two distribution points tells about it.
fn under_one() -> Made {
    made(7, |params| {
        params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![ONE.into()] }];
    })
}

/// What comes of an end with these lists and an empty one of the root, and which are still missing.
fn outcome(made: &Made, lists: &[&RevocationList], revocation: Revocation) -> (Result<usize, Untrusted>, Vec<String>) {
    let of_root = divided(&made.root_issuer, 1, None, None, &[]);
    let lists = lists.iter().copied().chain([&of_root]).collect();
    let trust = Trust { authorities: vec![&made.root, &made.between], revocation_lists: lists, ..Trust::default() };
    let path = [made.between.clone(), made.root.clone()];
    let missing = missing_lists(&trust, &made.end, &path, NOW);
    (verify(&trust, &made.end, &[], revocation, NOW).map(|path| path.len()), missing)
}

/// RFC 5280 section 6.3.3 b 2 i.
#[test]
fn a_list_tells_about_the_certificates_under_its_distribution_point() {
    let made = under_one();
    let list = |uris: &[&str], revoked: &[u64]| divided(&made.issuer, 1, None, Some(&point(uris)), revoked);
    let (one, two, revoked) = (list(&[ONE], &[]), list(&[TWO], &[]), list(&[ONE], &[7]));
    let both = list(&["ldap://crl.example/one", ONE], &[]);
    assert!(one.has_scope_of(&revoked) && !one.has_scope_of(&two) && !one.has_scope_of(&both));
    assert!(list(&[ONE, TWO], &[]).has_scope_of(&list(&[TWO, ONE], &[])), "the order says nothing");
    let unknown = (Err(Untrusted::RevocationUnknown), vec![ONE.to_string()]);
    assert_eq!(outcome(&made, &[&two], Revocation::Strict), unknown);
    assert_eq!(outcome(&made, &[&two], Revocation::Relaxed), (Ok(2), vec![ONE.to_string()]));
    for lists in [[&one, &two], [&two, &one], [&two, &both]] {
        assert_eq!(outcome(&made, &lists, Revocation::Strict), (Ok(2), Vec::new()));
    }
    for lists in [[&two, &revoked], [&revoked, &two]] {
        assert_eq!(outcome(&made, &lists, Revocation::Relaxed), (Err(Untrusted::Revoked), Vec::new()));
    }
    // A list about all tells about each.
    assert_eq!(outcome(&made, &[&two, &numbered(&made, 1, None, &[])], Revocation::Strict), (Ok(2), Vec::new()));
}

/// RFC 5280 section 6.3.3, at the end: it is under its issuer's name.
#[test]
fn about_a_certificate_that_names_no_distribution_point_no_list_with_another_name_tells() {
    let made = made(7, |_| {});
    let one = divided(&made.issuer, 2, None, Some(&point(&[ONE])), &[]);
    let (all, revoked) = (numbered(&made, 1, None, &[]), numbered(&made, 1, None, &[7]));
    assert_eq!(outcome(&made, &[&one], Revocation::Strict).0, Err(Untrusted::RevocationUnknown));
    assert_eq!(outcome(&made, &[&one], Revocation::Relaxed).0, Ok(2));
    for (list, expected) in [(&all, Ok(2)), (&revoked, Err(Untrusted::Revoked))] {
        for lists in [[&one, list], [list, &one]] {
            assert_eq!(outcome(&made, &lists, Revocation::Strict).0, expected);
            assert_eq!(outcome(&made, &lists, Revocation::Relaxed).0, expected);
        }
    }
    let directory = tagged(0xa0, &tagged(0xa0, &tagged(0xa4, made.end.issuer())));
    let named = divided(&made.issuer, 1, None, Some(&directory), &[]);
    assert_eq!(outcome(&made, &[&one, &named], Revocation::Strict).0, Ok(2));
}

/// RFC 5280 section 6.3.3 b 2 ii and iii.
#[test]
fn a_list_of_ends_tells_nothing_about_authorities_nor_the_other_way_round() {
    let made = under_one();
    let [of_ends, of_authorities] =
        ONLY.map(|only| divided(&made.issuer, 1, None, Some(&[point(&[ONE]), only.to_vec()].concat()), &[]));
    assert!(!of_ends.has_scope_of(&of_authorities));
    assert_eq!(outcome(&made, &[&of_ends, &of_authorities], Revocation::Strict), (Ok(2), Vec::new()));
    assert_eq!(outcome(&made, &[&of_authorities, &of_ends], Revocation::Strict), (Ok(2), Vec::new()));
    let unknown = (Err(Untrusted::RevocationUnknown), vec![ONE.to_string()]);
    assert_eq!(outcome(&made, &[&of_authorities], Revocation::Strict), unknown);
}

/// Nobody here has to know the issuer's key in advance: its certificate may come with the end's.
#[test]
fn a_list_that_the_issuer_did_not_sign_stands_for_none_and_in_the_way_of_none() {
    let (made, other) = (under_one(), under_one());
    let list = |of: &Made, number| divided(&of.issuer, number, None, Some(&point(&[ONE])), &[]);
    let forged = [list(&other, 9), divided(&other.issuer, 9, None, Some(&point(&[ONE, TWO])), &[7])];
    for forged in &forged {
        let own = list(&made, 1);
        for lists in [[forged, &own], [&own, forged]] {
            assert_eq!(outcome(&made, &lists, Revocation::Strict), (Ok(2), Vec::new()));
        }
        let missing = vec![ONE.to_string()];
        assert_eq!(outcome(&made, &[forged], Revocation::Relaxed), (Ok(2), missing.clone()));
        assert_eq!(outcome(&made, &[forged], Revocation::Strict), (Err(Untrusted::RevocationUnknown), missing));
    }
}

/// RFC 5280 section 6.3.3 c 2.
#[test]
fn a_delta_list_goes_on_from_a_list_under_its_distribution_point() {
    const DELTA: &str = "http://crl.example/delta.crl";
    let made = made(7, |params| {
        params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![ONE.into()] }];
        let freshest = tagged(0x30, &tagged(0x30, &point(&[DELTA])));
        params.custom_extensions.push(rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 46], freshest));
    });
    let (one, two) = (point(&[ONE]), point(&[TWO]));
    let complete = |point: Option<&[u8]>| divided(&made.issuer, 10, None, point, &[]);
    let delta = |point: Option<&[u8]>| divided(&made.issuer, 11, Some(10), point, &[7]);
    let (of_one, of_two, of_all) = (complete(Some(&one)), complete(Some(&two)), complete(None));
    let check = |lists: &[&RevocationList]| outcome(&made, lists, Revocation::Strict);
    assert_eq!(check(&[&of_two, &of_one, &delta(Some(&one))]), (Err(Untrusted::Revoked), Vec::new()));
    let asked = vec![DELTA.to_string()];
    assert_eq!(check(&[&of_two, &of_one, &delta(Some(&two))]), (Ok(2), asked.clone()), "of other certificates");
    assert_eq!(check(&[&of_one, &delta(None)]), (Ok(2), asked.clone()), "of another list");
    assert_eq!(check(&[&of_all, &delta(Some(&one))]), (Ok(2), asked));
    // A name is no must, and of either kind there may be one.
    let [of_ends, of_authorities] = ONLY.map(|only| delta(Some(&only)));
    assert!(of_ends.is_delta() && !of_ends.has_scope_of(&of_authorities));
}

#[test]
fn lists_of_other_kinds_are_not_available() {
    let made = made(7, |_| {});
    // onlySomeReasons, indirectCRL and onlyContainsAttributeCerts; a name relative to the authority's.
    let relative = tagged(0xa0, &tagged(0xa1, &tagged(0x30, &[6, 3, 0x55, 4, 3, 0x0c, 1, b'x'])));
    let kinds = [vec![0x83, 2, 1, 0x40], vec![0x84, 1, 0xff], vec![0x85, 1, 0xff], relative];
    for kind in kinds {
        for base in [None, Some(10)] {
            let parsed = RevocationList::parse(&divided_der(&made.issuer, 11, base, Some(&kind), &[]));
            let why = parsed.unwrap_err().to_string();
            assert!(why.contains("not available") || base.is_none(), "{kind:x?}: {why}");
        }
    }
}

/// IPAddrBlocks with one IPv4 prefix of 16 bits, or with what the issuer has.
fn for_addresses(params: &mut CertificateParams, prefix: Option<[u8; 2]>) {
    let choice = match prefix {
        Some([a, b]) => vec![0x30, 5, 3, 3, 0, a, b],
        None => vec![5, 0],
    };
    let family = [&[0x30, 4 + choice.len() as u8, 4, 2, 0, 1][..], &choice].concat();
    let content = [&[0x30, family.len() as u8][..], &family].concat();
    params.custom_extensions.push(rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 7], content));
}

#[test]
fn addresses_are_the_issuers_all_the_way_up() {
    let end_with = |prefix| made(5, move |params| for_addresses(params, prefix)).end;
    let above = |name: &str, prefix| {
        let mut params = authority(name);
        for_addresses(&mut params, prefix);
        Certificate::from_der(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der()).unwrap()
    };
    let range = |text: [&str; 2]| text.map(|address| address.parse().unwrap()).into();
    let ten_one = vec![range(["10.1.0.0", "10.1.255.255"])];
    let end = end_with(Some([10, 1]));
    assert_eq!(address_blocks(&end, &[]), Ok(Some(ten_one.clone())));
    let (root, between) = (above("root", Some([10, 1])), above("between", None));
    for below in [&end, &end_with(None)] {
        assert_eq!(address_blocks(below, &[between.clone(), root.clone()]), Ok(Some(ten_one.clone())));
    }
    let free = made(5, |_| {});
    let invalid = |end: &Certificate, path: &[Certificate]| match address_blocks(end, path) {
        Err(Untrusted::Invalid(reason)) => reason,
        other => panic!("{other:?}"),
    };
    assert!(
        invalid(&free.end, &[between.clone(), root.clone()]).contains("it names none"),
        "nobody leaves the limit out"
    );
    let foreign = invalid(&end_with(Some([10, 2])), &[between, root]);
    assert_eq!(foreign, "its issuer does not have the addresses 10.2.0.0 to 10.2.255.255 (RFC 3779)");
    assert_eq!(address_blocks(&free.end, &[free.between.clone(), free.root.clone()]), Ok(None));
    assert!(invalid(&end, &[free.between, free.root]).contains("its issuer's certificate is not"));
}
