use super::*;
use crate::check::{findings, trial};
use crate::cli::Check;
use crate::daemon::load;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use std::path::PathBuf;

/// Valid from 2020 to 2040: a time within, and others.
const WITHIN: Duration = Duration::from_secs(1_900_000_000);
const BEFORE: Duration = Duration::from_secs(1_500_000_000);
const AFTER: Duration = Duration::from_secs(2_300_000_000);
/// 2039-12-25.
const SHORTLY: Duration = Duration::from_secs(2_208_384_000);

/// A site's directory, gone when the test is over.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Authority(Issuer<'static, KeyPair>, String);

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2040, 1, 1));
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    Authority(Issuer::new(params, key), pem)
}

/// A site with a certificate for `certified`, whose configuration calls it `id`.
fn site(
    test: &str,
    own: &str,
    peer: &str,
    (id, certified): (&str, &str),
    by: &Authority,
    trusts: &Authority,
) -> Directory {
    let path = std::env::temp_dir().join(format!("shrike-check-certificates-{test}-{own}-{}", std::process::id()));
    for below in ["x509", "x509ca", "private"] {
        std::fs::create_dir_all(path.join(below)).unwrap();
    }
    let mut params = CertificateParams::new(vec![certified.to_string()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, certified);
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2040, 1, 1));
    let key = KeyPair::generate().unwrap();
    std::fs::write(path.join("x509/own.pem"), params.signed_by(&key, &by.0).unwrap().pem()).unwrap();
    std::fs::write(path.join("private/own.pem"), key.serialize_pem()).unwrap();
    std::fs::write(path.join("x509ca/ca.pem"), &trusts.1).unwrap();
    let (here, there) = if own == "a" { (1, 2) } else { (2, 1) };
    let text = format!(
        "connections {{\n  {own} {{\n    local_addrs = 192.0.2.{here}\n    remote_addrs = 192.0.2.{there}\n    \
         proposals = aes128-sha256-x25519\n    local {{\n      auth = pubkey\n      id = {id}\n      certs = own.pem\n    }}\n    \
         remote {{\n      auth = pubkey\n      id = {peer}.example\n    }}\n    children {{\n      net {{\n        \
         local_ts = 10.{here}.0.0/16\n        remote_ts = 10.{there}.0.0/16\n      }}\n    }}\n  }}\n}}\n"
    );
    std::fs::write(path.join("swanctl.conf"), text).unwrap();
    Directory(path)
}

impl Directory {
    fn file(&self) -> String {
        self.0.join("swanctl.conf").to_string_lossy().into_owned()
    }

    fn judged(&self, now: Duration) -> Option<(Severity, &'static str, String)> {
        let loaded = load::file(&self.file()).unwrap();
        let found = one(&self.file(), &loaded, now);
        let mut own = found.iter().filter(|placed| placed.line > 0);
        let found = own.next()?;
        assert!(own.next().is_none());
        let found = &found.finding;
        let place = found.evidence[0].clone();
        assert!(place.contains("swanctl.conf:"), "{place}");
        Some((found.severity, found.causes[0].code(), found.why.clone()))
    }
}

#[test]
fn an_own_certificate_is_looked_at() {
    let root = authority("root");
    let good = site("one", "a", "b", ("a.example", "a.example"), &root, &root);
    assert_eq!(good.judged(WITHIN), None);
    for (now, severity, words) in [
        (AFTER, Severity::Error, "expired on 2040-01-01"),
        (BEFORE, Severity::Error, "not valid before 2020-01-01"),
        (SHORTLY, Severity::Warning, "expires on 2040-01-01"),
    ] {
        let (found, cause, why) = good.judged(now).unwrap();
        assert_eq!((found, cause), (severity, "AUTH_FAILED"));
        assert!(why.contains(words), "{why}");
    }
    let other = site("one", "other", "b", ("a.example", "c.example"), &root, &root);
    let (severity, cause, why) = other.judged(WITHIN).unwrap();
    assert_eq!((severity, cause), (Severity::Error, "PEER_ID"));
    assert!(why.contains("is not for 'a.example'"), "{why}");
    // The key of another certificate.
    std::fs::write(good.0.join("private/own.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let (severity, cause, why) = good.judged(WITHIN).unwrap();
    assert_eq!((severity, cause), (Severity::Error, "AUTH_FAILED"));
    assert!(why.contains("no private key"), "{why}");
    // None at all.
    std::fs::remove_file(other.0.join("x509/own.pem")).unwrap();
    let text = std::fs::read_to_string(other.file()).unwrap().replace("certs = own.pem", "");
    std::fs::write(other.file(), text).unwrap();
    let (_, cause, why) = other.judged(WITHIN).unwrap();
    assert!(cause == "AUTH_FAILED" && why.contains("no certificate is there for 'a.example'"), "{why}");
}

/// What nobody here proves himself with, and yet refuses peers once it is over.
#[test]
fn authorities_and_revocation_lists_that_run_out_are_told() {
    let root = authority("root");
    let a = site("authorities", "a", "b", ("a.example", "a.example"), &root, &root);
    let told = |now| {
        let found = one(&a.file(), &load::file(&a.file()).unwrap(), now);
        let of_others = found.into_iter().filter(|placed| placed.line == 0).map(|placed| placed.finding);
        of_others.map(|found| (found.id, found.severity, found.why)).collect::<Vec<_>>()
    };
    assert_eq!(told(WITHIN), []);
    let soon = told(SHORTLY);
    assert!(
        matches!(&soon[..], [("certificate", Severity::Warning, why)] if why.contains("the authority 'CN=root'")),
        "{soon:?}"
    );
    assert!(soon[0].2.contains("expires in 7 days, on 2040-01-01"), "{soon:?}");
    let list = rcgen::CertificateRevocationListParams {
        this_update: date_time_ymd(2029, 1, 1),
        next_update: date_time_ymd(2030, 1, 1),
        crl_number: rcgen::SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    std::fs::create_dir_all(a.0.join("x509crl")).unwrap();
    std::fs::write(a.0.join("x509crl/root.pem"), list.signed_by(&root.0).unwrap().pem().unwrap()).unwrap();
    let old = told(WITHIN);
    assert!(
        matches!(&old[..], [("revocation-list", Severity::Warning, why)] if why.contains("'CN=root' expired")),
        "{old:?}"
    );
    assert_eq!(told(Duration::from_secs(1_880_000_000)), [], "it is current");
}

/// Both files, each with its certificates: what the other end says to them.
#[test]
fn certificates_of_two_ends_are_tried() {
    let (root, stranger) = (authority("root"), authority("stranger"));
    let run = |test: &str, certified: &str, trusts: &Authority| {
        let a = site(test, "a", "b", ("a.example", "a.example"), &root, &root);
        let b = site(test, "b", "a", ("b.example", certified), &root, trusts);
        let (loaded_a, loaded_b) = (load::file(&a.file()).unwrap(), load::file(&b.file()).unwrap());
        let found = trial::each((&a.file(), &loaded_a), (&b.file(), &loaded_b), &mut Vec::new());
        let worst = found.into_iter().max_by_key(|found| found.severity).unwrap();
        (worst.severity, worst.causes.first().map(|cause| cause.code()), format!("{} {:?}", worst.why, worst.evidence))
    };
    let (severity, _, text) = run("good", "b.example", &root);
    assert_eq!(severity, Severity::Ok, "{text}");
    let (severity, cause, text) = run("other-name", "c.example", &root);
    assert_eq!((severity, cause), (Severity::Error, Some("PEER_ID")), "{text}");
    assert!(text.contains("b.local.id") && text.contains("a.remote.id"), "the lines of both: {text}");
    let (severity, cause, text) = run("stranger", "b.example", &stranger);
    assert_eq!((severity, cause), (Severity::Error, Some("AUTH_FAILED")), "{text}");
    assert!(text.contains("a.example"), "the certificate that is not trusted is named: {text}");
}

#[test]
fn a_certificate_that_cannot_be_read_is_a_matter_of_authentication() {
    let root = authority("root");
    let a = site("broken", "a", "b", ("a.example", "a.example"), &root, &root);
    std::fs::write(a.0.join("x509/own.pem"), "this is no certificate").unwrap();
    let how = Check { file: a.file(), with: None, json: false, verbose: false };
    let (found, _) = findings(&how).unwrap();
    let refused: Vec<_> = found.iter().filter(|f| f.id == "refused").map(|f| f.causes[0].code()).collect();
    assert!(!refused.is_empty() && refused.iter().all(|code| *code == "AUTH_FAILED"), "{found:?}");
}
