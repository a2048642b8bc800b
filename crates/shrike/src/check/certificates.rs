//! What is wrong with the certificates that a configuration has for its own ends: none, none with a key, out of date, for
//! somebody else; and authorities and revocation lists that run out. The peer's are its own business; [`super::trial`] tries them, where both files are there.

use super::{Placed, finding};
use crate::daemon::control::validity_of_list;
use crate::daemon::load::Loaded;
use config::{AuthMethod, CertificateSource, Connection};
use crypto::{AltName, Certificate};
use diag::{Cause, Finding, Severity};
use model::{CertificateUse, ConfigRef, Identity, Live, LiveCertificate};
use std::time::Duration;

/// Less time than this until a certificate expires is worth a warning.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// One file, at this time since the Unix epoch.
pub(super) fn one(path: &str, loaded: &Loaded, now: Duration) -> Vec<Placed> {
    let signs = |c: &&std::sync::Arc<Connection>| c.local.method == AuthMethod::Pubkey;
    let own = loaded.connections.iter().filter(signs).filter_map(|c| connection(path, c, loaded, now));
    own.chain(of_authorities(path, loaded, now)).collect()
}

/// Authorities and revocation lists of the directories, and authorities that the file names: nothing proves itself with
/// them here, but peers are refused by them.
fn of_authorities(path: &str, loaded: &Loaded, now: Duration) -> Vec<Placed> {
    let named = loaded.authorities.iter().filter_map(|a| Certificate::from_der(a.cacert.der()?).ok());
    let authority = |c: Certificate| LiveCertificate {
        of: CertificateUse::Authority,
        name: Identity::from_wire(9, c.subject()),
        not_after: Some(c.not_after()),
    };
    let all = loaded.credentials.authorities().iter().cloned().chain(named).map(authority);
    let mut certificates: Vec<LiveCertificate> =
        all.chain(loaded.credentials.revocation_lists().iter().map(validity_of_list)).collect();
    certificates.dedup();
    let live = Live { now: Some(now), certificates, ..Live::default() };
    let place = ConfigRef { file: path.to_string(), line: 0, key: String::new() };
    diag::running_out(&live)
        .into_iter()
        .map(|found| Placed::at(&place, Finding { peer: path.to_string(), ..found }))
        .collect()
}

/// The worst that a connection's best certificate has.
fn connection(path: &str, c: &Connection, loaded: &Loaded, now: Duration) -> Option<Placed> {
    let named: Vec<Certificate> = c
        .local
        .certs
        .iter()
        .filter_map(CertificateSource::der)
        .filter_map(|der| Certificate::from_der(der).ok())
        .collect();
    let (candidates, key) = if named.is_empty() {
        let is_ours = |certificate: &&Certificate| certifies(certificate, &c.local.id);
        (loaded.credentials.certificates().iter().filter(is_ours).cloned().collect(), "local.id")
    } else {
        (named, "local.certs")
    };
    let place = c.source.get(key);
    let peer = format!("{path} '{}'", c.name);
    if candidates.is_empty() {
        let why = format!("no certificate is there for '{}', with which this end is to prove itself", c.local.id);
        let remedy = "put it into x509 beside this file, its key into private";
        return Some(Placed::at(&place, fault(&peer, Cause::AuthFailed, why, &place, remedy)));
    }
    let mut judged: Vec<Option<Finding>> =
        candidates.iter().map(|certificate| certificate_of(&peer, c, certificate, loaded, now, &place)).collect();
    // One good certificate is enough.
    judged.sort_by_key(|found| found.as_ref().map_or(Severity::Ok, |found| found.severity));
    judged.into_iter().next().flatten().map(|found| Placed::at(&place, found))
}

fn certificate_of(
    peer: &str,
    c: &Connection,
    certificate: &Certificate,
    loaded: &Loaded,
    now: Duration,
    place: &ConfigRef,
) -> Option<Finding> {
    let subject = Identity::from_wire(9, certificate.subject());
    let error = |cause, why: String, remedy: &str| Some(fault(peer, cause, why, place, remedy));
    if !certificate.public_key().is_some_and(|key| loaded.credentials.has_key_for(key)) {
        let why = format!("no private key is there for the certificate of '{subject}'");
        return error(
            Cause::AuthFailed,
            why,
            "put the key into private beside this file; one of another certificate does not do",
        );
    }
    if c.local.id != Identity::ANY && !certifies(certificate, &c.local.id) {
        let why = format!("the certificate of '{subject}' is not for '{}'", c.local.id);
        return error(Cause::PeerId, why, "write the subject, or one of its alternative names, as local id");
    }
    if certificate.not_after() <= now {
        let why = format!("the certificate of '{subject}' expired on {}", day(certificate.not_after()));
        return error(Cause::AuthFailed, why, "renew it");
    }
    if certificate.not_before() > now {
        let why = format!("the certificate of '{subject}' is not valid before {}", day(certificate.not_before()));
        return error(Cause::AuthFailed, why, "check the clock of this host, or wait");
    }
    let left = certificate.not_after().saturating_sub(now);
    if left < SOON {
        let days = left.as_secs() / (24 * 3600);
        let why = format!("the certificate of '{subject}' expires on {}, in {days} days", day(certificate.not_after()));
        let mut soon = fault(peer, Cause::AuthFailed, why, place, "renew it before");
        soon.severity = Severity::Warning;
        return Some(soon);
    }
    None
}

fn fault(peer: &str, cause: Cause, why: String, place: &ConfigRef, remedy: &str) -> Finding {
    let mut found = finding("certificate", peer, Severity::Error, &[(cause, format!("{remedy} [{place}]"))], why);
    found.evidence.push(place.to_string());
    found
}

/// Whether the certificate is for this identity: its subject, or one of its further names (RFC 5280 section 4.2.1.6).
fn certifies(certificate: &Certificate, id: &Identity) -> bool {
    let subject = Identity::from_wire(9, certificate.subject());
    if id.matches(&subject).is_some() || id == &Identity::ANY {
        return true;
    }
    certificate.alt_names().iter().any(|name| {
        let name = match name {
            AltName::Dns(name) => Identity::from_wire(2, name.as_bytes()),
            AltName::Email(name) => Identity::from_wire(3, name.as_bytes()),
            AltName::Address(address) => Identity::from(*address),
            AltName::Directory(der) => Identity::from_wire(9, der),
        };
        id.matches(&name).is_some()
    })
}

/// `2026-11-30`.
fn day(since_1970: Duration) -> String {
    let seconds = i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| "no date".to_string(), |at| at.strftime("%Y-%m-%d").to_string())
}

#[cfg(test)]
mod tests;
