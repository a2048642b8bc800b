//! What is up and will fail later, or should not be relied on: certificates and revocation lists that run out, lifetimes in
//! the wrong order, nobody who looks whether the peer is alive, algorithms and modes that protect little.

use crate::{Cause, Finding, Severity};
use Cause as C;
use model::{
    Algorithm, CertificateUse, ExchangeMode, Identity, Live, LiveCertificate, LiveConnection, ProposalProtocol,
    SaSnapshot,
};
use std::collections::BTreeSet;
use std::time::Duration;
use wire::TransformType;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// An end's certificate that runs out sooner is worth a warning.
const END_SOON: Duration = Duration::from_secs(14 * 24 * 3600);
/// An authority's needs more time: all ends need new ones.
const AUTHORITY_SOON: Duration = Duration::from_secs(30 * 24 * 3600);

/// A finding before its evidence.
fn warning(id: &'static str, peer: &str, cause: Cause, why: String, remedy: &str) -> Finding {
    Finding {
        id,
        peer: peer.to_string(),
        severity: Severity::Warning,
        since: 0,
        attempts: 1,
        causes: vec![cause],
        why,
        evidence: Vec::new(),
        remedy: vec![remedy.to_string().into()],
    }
}

/// Findings about certificates and revocation lists that run out on this host, or of peers that are up.
pub fn certificates(live: &Live) -> Vec<Finding> {
    let Some(now) = live.now else { return Vec::new() };
    let up = |sa: &&SaSnapshot| sa.established.is_some();
    let peers: Vec<&SaSnapshot> = live.sas.iter().filter(up).collect();
    let mut found: Vec<Finding> = live.certificates.iter().filter_map(|c| runs_out(c, &peers, now)).collect();
    let mut told = BTreeSet::new();
    for sa in peers {
        // What it proved itself with, where the daemon keeps that.
        let (Some(end), Some(id)) = (sa.remote_certificate_until, &sa.remote_id) else { continue };
        if told.insert(sa.remote.ip()) {
            found.extend(of_peer(sa, id, end, now));
        }
    }
    found
}

fn runs_out(certificate: &LiveCertificate, peers: &[&SaSnapshot], now: Duration) -> Option<Finding> {
    let name = &certificate.name;
    let end = certificate.not_after?;
    let left = end.saturating_sub(now);
    let over = end <= now;
    let mut found = match certificate.of {
        CertificateUse::Own if left < END_SOON => {
            let why = format!("our certificate of '{name}' {}", when(end, now));
            let remedy =
                "renew it, and load it (shrike load, or swanctl --load-creds): peers refuse it once it is over";
            warning("certificate", "this host", C::AuthFailed, why, remedy)
        }
        CertificateUse::Authority if left < AUTHORITY_SOON => {
            let why = format!("the certificate of the authority '{name}' {}", when(end, now));
            let remedy =
                "load its successor at all ends in time, and renew what it issued; remove it if nothing needs it";
            warning("certificate", "this host", C::AuthFailed, why, remedy)
        }
        CertificateUse::RevocationList if over => {
            let why = format!("the revocation list of '{name}' {}", when(end, now));
            let remedy =
                "load a new one: with revocation = strict, peers are refused that only this list shows to be good";
            warning("revocation-list", "this host", C::AuthFailed, why, remedy)
        }
        CertificateUse::Other if left < END_SOON => {
            // Of one that nobody proves himself with, it does not matter.
            let sa = peers.iter().find(|sa| {
                sa.remote_id.as_ref().is_some_and(|id| name.matches(id).is_some())
                    && sa.remote_certificate_until.is_none()
            })?;
            return of_peer(sa, name, end, now);
        }
        _ => return None,
    };
    if over && certificate.of == CertificateUse::Own {
        found.severity = Severity::Error;
    }
    found.evidence.push(format!("valid until {}", date(end)));
    Some(found)
}

fn of_peer(sa: &SaSnapshot, id: &Identity, end: Duration, now: Duration) -> Option<Finding> {
    if end.saturating_sub(now) >= END_SOON {
        return None;
    }
    let peer = format!("{} -> {}", sa.local.ip(), sa.remote.ip());
    let why = format!("what the peer '{id}' proved itself with {}: it is refused from then on", when(end, now));
    let mut found =
        warning("certificate", &peer, C::AuthFailed, why, "let the peer renew its certificate, or its authority");
    found.evidence.push(format!("connection '{}': a certificate on its path is valid until {}", sa.name, date(end)));
    Some(found)
}

/// `expires in 5 days, on 2026-12-05`.
fn when(end: Duration, now: Duration) -> String {
    let days = |time: Duration| match time.as_secs() / DAY.as_secs() {
        0 => "less than a day".to_string(),
        1 => "1 day".to_string(),
        n => format!("{n} days"),
    };
    match end <= now {
        true => format!("expired {} ago, on {}", days(now - end), date(end)),
        false => format!("expires in {}, on {}", days(end - now), date(end)),
    }
}

/// The day of a time since the Unix epoch, in the Gregorian calendar and UTC.
fn date(since_1970: Duration) -> String {
    // Eras of 400 years begin on 1 March, so that the day that may be missing is the last one of its year.
    let days = i64::try_from(since_1970.as_secs() / DAY.as_secs()).unwrap_or(i64::MAX - 719_468) + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// What is unwise in a connection, as far as a daemon tells its configuration.
pub(crate) fn configured(connection: &LiveConnection, peer: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let place = |key: &str| format!("connections.{}.{key}", connection.name);
    let acts = connection.children.iter().any(|child| child.acts_on_dead_peer);
    if connection.checks_peer == Some(false) && acts {
        let why = "dpd_action is set, and dpd_delay is not: nobody here looks whether the peer is alive".to_string();
        let mut one = warning("unwise", peer, C::DpdTimeout, why, "write dpd_delay = 30s at both ends");
        one.evidence.push(place("dpd_delay"));
        found.push(one);
    }
    // Child SAs of IKEv2 move to the new IKE SA; those of IKEv1 lose the ISAKMP SA that would renew them.
    let ike = connection.ike_lifetime.filter(|_| connection.version == Some(1));
    let longer = |ike: Duration| {
        let mut rekeyed = connection.children.iter().filter_map(|child| Some((child, child.rekey_time?)));
        rekeyed.find(move |(_, rekey)| *rekey > ike)
    };
    if let Some((ike, (child, rekey))) = ike.and_then(|ike| Some((ike, longer(ike)?))) {
        let why = format!(
            "child '{}' lives longer ({} s) than the ISAKMP SA over it ({} s)",
            child.name,
            rekey.as_secs(),
            ike.as_secs()
        );
        let mut one = warning("unwise", peer, C::Lifetime, why, "let the ISAKMP SA live longer than its children");
        one.severity = Severity::Info; // where the ISAKMP SA is made anew in time, it goes well
        one.evidence.push(place(&format!("children.{}.rekey_time", child.name)));
        found.push(one);
    }
    found
}

/// What protects an SA that is up too little.
pub(crate) fn weak(sa: &SaSnapshot, peer: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    if sa.mode == Some(ExchangeMode::Aggressive) && sa.authentication == "pre-shared-key" {
        let why =
            "aggressive mode with a pre-shared key: whoever asked, or saw it pass, has a hash of the key to guess at";
        let remedy = "set aggressive = no at both ends, or use certificates";
        let mut one = warning("weak", peer, C::NegotiationMode, why.to_string(), remedy);
        one.severity = Severity::Info; // somebody wanted it: a responder takes it only where it is asked for by name
        one.evidence.push(format!("connection '{}', RFC 2409 section 5.4", sa.name));
        found.push(one);
    }
    let ike = sa.suite.iter().map(|suite| ("IKE".to_string(), suite.to_proposal(ProposalProtocol::Ike)));
    let children = sa.children.iter().filter_map(|child| {
        Some((format!("child '{}'", child.name), child.suite.as_ref()?.to_proposal(ProposalProtocol::Esp)))
    });
    for (what, proposal) in ike.chain(children) {
        for algorithm in proposal.transforms() {
            let algorithm = Algorithm { kind: algorithm.kind, id: algorithm.id, key_length: algorithm.key_length };
            let Some(cause) = banned(algorithm) else { continue };
            let why = format!("{what} has {}, which protects little", algorithm.keyword());
            let mut one = warning("weak", peer, cause, why, "leave it out of the proposals of both ends");
            one.evidence.push(format!("connection '{}'", sa.name));
            if !found.iter().any(|known: &Finding| known.why == one.why) {
                found.push(one);
            }
        }
    }
    found
}

/// What is broken or within reach (RFC 8221, RFC 8247): DES, 3DES, Blowfish, no encryption; MD5; groups 1, 2 and 22.
fn banned(algorithm: Algorithm) -> Option<Cause> {
    match (algorithm.kind, algorithm.id) {
        (TransformType::ENCR, 2 | 3 | 7 | 11 | 21) => Some(C::EncryptionAlgorithm),
        (TransformType::INTEG, 1 | 6) | (TransformType::PRF, 1) => Some(C::AuthenticationAlgorithm),
        (TransformType::KE, 1 | 2 | 22) => Some(C::DhGroup),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_795_996_800); // 2026-11-30

    #[test]
    fn days_are_those_of_the_calendar() {
        for (days, text) in [(0, "1970-01-01"), (11_016, "2000-02-29"), (20_787, "2026-11-30"), (24_837, "2038-01-01")]
        {
            assert_eq!(date(DAY * days), text);
        }
        assert_eq!(date(NOW), "2026-11-30");
        assert!(!date(Duration::MAX).is_empty());
    }

    fn found(of: CertificateUse, days: i64) -> Vec<Finding> {
        let end = Duration::from_secs(NOW.as_secs().saturating_add_signed(days * 24 * 3600 + 60));
        let name = "gw.example.org".parse().unwrap();
        let certificates = vec![LiveCertificate { of, name, not_after: Some(end) }];
        certificates_of(certificates)
    }

    fn certificates_of(all: Vec<LiveCertificate>) -> Vec<Finding> {
        certificates(&Live { now: Some(NOW), certificates: all, ..Live::default() })
    }

    #[test]
    fn what_runs_out_is_told_with_its_days_and_nothing_else() {
        use CertificateUse as U;
        for (of, days, severity, part) in [
            (
                U::Own,
                13,
                Some(Severity::Warning),
                "our certificate of 'gw.example.org' expires in 13 days, on 2026-12-13",
            ),
            (U::Own, 14, None, ""),
            (U::Own, -3, Some(Severity::Error), "expired 2 days ago, on 2026-11-27"),
            (U::Authority, 29, Some(Severity::Warning), "authority 'gw.example.org' expires in 29 days"),
            (U::Authority, 30, None, ""),
            (U::Authority, -1, Some(Severity::Warning), "expired less than a day ago"),
            (U::RevocationList, 0, None, ""),
            (U::RevocationList, -2, Some(Severity::Warning), "revocation list of 'gw.example.org' expired 1 day ago"),
            (U::Other, -400, None, ""),
        ] {
            let found = found(of, days);
            assert_eq!(found.first().map(|f| f.severity), severity, "{of:?} {days}");
            assert!(found.iter().all(|f| f.why.contains(part) && f.causes == [C::AuthFailed]), "{found:?}");
        }
        let list = LiveCertificate { of: U::RevocationList, name: Identity::ANY, not_after: None };
        assert!(certificates_of(vec![list]).is_empty());
    }

    #[test]
    fn a_configuration_that_nobody_watches_or_that_outlives_its_sa_is_told() {
        let child = model::LiveChild {
            name: "net".into(),
            acts_on_dead_peer: true,
            rekey_time: Some(Duration::from_secs(3600)),
            ..model::LiveChild::default()
        };
        let connection = LiveConnection {
            name: "gw".into(),
            version: Some(1),
            checks_peer: Some(false),
            ike_lifetime: Some(Duration::from_secs(1800)),
            children: vec![child],
            ..LiveConnection::default()
        };
        let told = |c: &LiveConnection| configured(c, "p").iter().map(|f| f.causes[0]).collect::<Vec<_>>();
        assert_eq!(told(&connection), [C::DpdTimeout, C::Lifetime]);
        let watched = LiveConnection { checks_peer: Some(true), ..connection.clone() };
        assert_eq!(told(&watched), [C::Lifetime]);
        assert_eq!(told(&LiveConnection { version: Some(2), ..watched }), [], "its children move to the new IKE SA");
        let unknown = LiveConnection { checks_peer: None, ike_lifetime: None, ..connection };
        assert_eq!(told(&unknown), [], "a daemon that does not say");
    }
}
