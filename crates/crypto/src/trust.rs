//! Whether a certificate is to be trusted: paths to an authority (RFC 5280 section 6), validity in time, revocation.
//!
//! Paths are `webpki`'s. What it leaves to its callers is here: the validity of the authority's own certificate, and
//! certificates that the operator put beside the configuration, which need no path.

pub(crate) mod algorithms;

use crate::{AddressRange, Certificate, RevocationList};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use std::fmt;
use std::time::Duration;
use webpki::{
    EndEntityCert, Error, ExpirationPolicy, ExtendedKeyUsageValidator, KeyPurposeIdIter, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};
use x509_cert::der::DateTime;

/// How much must be known about revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Revocation {
    /// A certificate that a list revokes is refused; that nothing is known is no reason.
    #[default]
    Relaxed,
    /// As strict for each certificate of the path that says, or of whose issuer is known, where its list is, else as relaxed.
    IfUri,
    /// Refused unless a current list of the issuer shows that it is not revoked.
    Strict,
}

/// What is trusted.
#[derive(Clone, Default)]
pub struct Trust<'a> {
    /// Certificates of authorities: those that issued themselves are the ends of paths, others may be parts of them.
    pub authorities: Vec<&'a Certificate>,
    /// Certificates that are trusted as they are.
    pub known: Vec<&'a Certificate>,
    /// Revocation lists.
    pub revocation_lists: Vec<&'a RevocationList>,
    /// Where the revocation lists of authorities are, by subject, beside what certificates say themselves.
    pub list_uris: Vec<(&'a [u8], &'a [String])>,
}

/// Why a certificate is not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Untrusted {
    /// It, or one on its path, is not valid any more.
    Expired {
        /// When its validity ended, since the Unix epoch.
        not_after: Duration,
        /// The time of the check.
        now: Duration,
    },
    /// It, or one on its path, is not valid yet.
    NotYetValid {
        /// When its validity begins, since the Unix epoch.
        not_before: Duration,
        /// The time of the check.
        now: Duration,
    },
    /// No path leads to an authority that we have.
    UnknownIssuer,
    /// A revocation list has it.
    Revoked,
    /// The configuration wants to know that it is not revoked, and there is no list that says so.
    RevocationUnknown,
    /// The list that would say so is out of date.
    RevocationListExpired,
    /// A signature on the path is wrong.
    BadSignature,
    /// A certificate on the path is signed in a way that is not available, for instance with SHA-1.
    SignatureUnavailable,
    /// Anything else that RFC 5280 asks for.
    Invalid(String),
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { not_after, now } => {
                write!(f, "it, or one on its path, was valid until {}; our clock says {}", Date(*not_after), Date(*now))
            }
            Self::NotYetValid { not_before, now } => {
                write!(
                    f,
                    "it, or one on its path, is valid from {} on; our clock says {}",
                    Date(*not_before),
                    Date(*now)
                )
            }
            Self::UnknownIssuer => f.write_str("no path leads from it to a certificate authority in x509ca"),
            Self::Revoked => f.write_str("it is revoked"),
            Self::RevocationUnknown => f.write_str("nothing says that it is not revoked, which 'revocation' asks for"),
            Self::RevocationListExpired => f.write_str("the revocation list of its issuer is out of date"),
            Self::BadSignature => f.write_str(
                "the authority of its issuer's name in x509ca did not sign it (another one with the same name?)",
            ),
            Self::SignatureUnavailable => f.write_str("it is signed with an algorithm that is not available (SHA-1?)"),
            Self::Invalid(reason) => write!(f, "it breaks RFC 5280: {reason}"),
        }
    }
}

impl std::error::Error for Untrusted {}

/// A time since the Unix epoch, as people write it.
struct Date(Duration);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_unix_duration(self.0) {
            Ok(date) => write!(f, "{date}"),
            Err(_) => write!(f, "{} s after 1970", self.0.as_secs()),
        }
    }
}

/// Key usages by extension are not asked for: RFC 4945 section 5.1.3.12 lets IKE ignore them, and those in use differ.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        Ok(())
    }
}

fn within_validity(certificate: &Certificate, now: Duration) -> Result<(), Untrusted> {
    if now < certificate.not_before() {
        return Err(Untrusted::NotYetValid { not_before: certificate.not_before(), now });
    }
    if now > certificate.not_after() {
        return Err(Untrusted::Expired { not_after: certificate.not_after(), now });
    }
    Ok(())
}

/// So many paths are tried with the lists that tell about each.
const MAX_PATHS: usize = 4;

/// So many certificates in whatever order are tried as they are.
const FEW: usize = 4;

/// Those of the certificates that a peer sent along that lead down from an authority, by their signatures. webpki looks at
/// these only once it has arrived at an authority, and tries all orders: a dozen certificates that nobody signed, with names
/// that fit each other, would keep it busy for seconds.
fn leading<'a>(trust: &Trust<'_>, sent: &'a [Certificate]) -> Vec<&'a Certificate> {
    if sent.len() <= FEW {
        return sent.iter().collect();
    }
    let mut issuers: Vec<&Certificate> = trust.authorities.clone();
    let (mut led, mut others): (Vec<&Certificate>, Vec<&Certificate>) =
        (Vec::new(), sent.iter().filter(|c| c.is_authority()).collect());
    loop {
        let (below, rest): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|c| issuers.iter().any(|issuer| c.is_signed_by(issuer)));
        if below.is_empty() {
            return led;
        }
        (issuers, others) = (below.clone(), rest);
        led.extend(below);
    }
}

/// Checks `end` at `now` (since the Unix epoch), with the help of `sent`: certificates that the peer sent along.
/// Returns the path without `end` itself: first its issuer, last an authority; nothing for one that is trusted as it is.
///
/// # Errors
/// Why it is not trusted.
pub fn verify(
    trust: &Trust<'_>,
    end: &Certificate,
    sent: &[Certificate],
    revocation: Revocation,
    now: Duration,
) -> Result<Vec<Certificate>, Untrusted> {
    if revocation == Revocation::IfUri {
        let path = verify(trust, end, sent, Revocation::Relaxed, now)?;
        return lists_are_there(trust, end, &path, now).map(|()| path);
    }
    let lists = &trust.revocation_lists;
    let misled = |path: &[Certificate]| {
        let mut certificates = std::iter::once(end).chain(path).take(path.len());
        certificates.any(|certificate| lists.iter().any(|list| list.misleads_about(certificate)))
    };
    // webpki takes the first list of an issuer's name, which may be of another key of the same name, or of nobody, or where
    // the certificate names no distribution point be about others: that says nothing here (RFC 5280 section 6.3.3 b, f, g).
    let mut path = match verify_with(trust, end, sent, revocation, now) {
        Ok(path) if misled(&path) => path,
        // Of several authorities that it has tried webpki tells what was wrong with any of them.
        Err(Untrusted::RevocationUnknown | Untrusted::BadSignature) if !lists.is_empty() => {
            let without = Trust { revocation_lists: Vec::new(), ..trust.clone() };
            verify_with(&without, end, sent, Revocation::Relaxed, now)?
        }
        first => return first,
    };
    for _ in 0..MAX_PATHS {
        let counts = |list: &&RevocationList| {
            let mut certificates =
                std::iter::once(end).chain(&path).zip(&path).filter(|(c, _)| list.is_of_issuer(c)).peekable();
            certificates.peek().is_none() || certificates.any(|(c, issuer)| list.tells_about(c, issuer))
        };
        let lists = lists.iter().copied().filter(counts).collect();
        match verify_with(&Trust { revocation_lists: lists, ..trust.clone() }, end, sent, revocation, now) {
            // Of its issuers lists may have been left out.
            Ok(other) if other != path => path = other,
            last => return last,
        }
    }
    Err(Untrusted::RevocationUnknown)
}

/// Whether there is a current list for each certificate that has a place for one.
fn lists_are_there(trust: &Trust<'_>, end: &Certificate, path: &[Certificate], now: Duration) -> Result<(), Untrusted> {
    let has_place = |certificate: &Certificate| {
        let of_issuer = |(issuer, uris): &(&[u8], &[String])| *issuer == certificate.issuer() && !uris.is_empty();
        certificate.has_crl_uri() || trust.list_uris.iter().any(of_issuer)
    };
    for (certificate, issuer) in std::iter::once(end).chain(path).zip(path).filter(|(c, _)| has_place(c)) {
        let about = |list: &&&RevocationList| !list.is_delta() && list.tells_about(certificate, issuer);
        let mut lists = trust.revocation_lists.iter().filter(about).peekable();
        let any = lists.peek().is_some();
        if !lists.any(|list| list.is_current_for(certificate, now)) {
            return Err(if any { Untrusted::RevocationListExpired } else { Untrusted::RevocationUnknown });
        }
    }
    Ok(())
}

fn verify_with(
    trust: &Trust<'_>,
    end: &Certificate,
    sent: &[Certificate],
    revocation: Revocation,
    now: Duration,
) -> Result<Vec<Certificate>, Untrusted> {
    within_validity(end, now)?;
    if trust.known.iter().any(|known| known.der() == end.der()) {
        return Ok(Vec::new());
    }
    let (roots, between): (Vec<&Certificate>, Vec<&Certificate>) =
        trust.authorities.iter().filter(|c| c.is_authority()).partition(|c| c.is_self_issued());
    let ders: Vec<(CertificateDer<'_>, &Certificate)> =
        roots.into_iter().map(|c| (CertificateDer::from(c.der()), c)).collect();
    let anchors: Vec<(TrustAnchor<'_>, &Certificate)> =
        ders.iter().filter_map(|(der, c)| Some((webpki::anchor_from_trusted_cert(der).ok()?, *c))).collect();
    let only_anchors: Vec<TrustAnchor<'_>> = anchors.iter().map(|(anchor, _)| anchor.clone()).collect();
    let others: Vec<CertificateDer<'_>> =
        between.iter().copied().chain(leading(trust, sent)).map(|c| CertificateDer::from(c.der())).collect();
    let der = CertificateDer::from(end.der());
    let parsed = EndEntityCert::try_from(&der).map_err(reason)?;

    // Of those that are about a certificate webpki takes the first.
    let mut lists = trust.revocation_lists.clone();
    lists.sort_by_key(|list| list.rank(now));
    let lists: Vec<&webpki::CertRevocationList<'_>> = lists.iter().filter_map(|list| list.complete()).collect();
    let strict = revocation == Revocation::Strict;
    let options = match RevocationOptionsBuilder::new(&lists) {
        Ok(builder) => {
            let (status, expiration) = match strict {
                true => (UnknownStatusPolicy::Deny, ExpirationPolicy::Enforce),
                false => (UnknownStatusPolicy::Allow, ExpirationPolicy::Ignore),
            };
            let builder = builder.with_depth(RevocationCheckDepth::Chain);
            Some(builder.with_status_policy(status).with_expiration_policy(expiration).build())
        }
        Err(_) if strict => return Err(Untrusted::RevocationUnknown),
        Err(_) => None,
    };
    let path = parsed
        .verify_for_usage(
            &algorithms::ALL,
            &only_anchors,
            &others,
            UnixTime::since_unix_epoch(now),
            AnyUsage,
            options,
            None,
        )
        .map_err(reason)?;
    let mut found = Vec::new();
    for intermediate in path.intermediate_certificates() {
        found.push(Certificate::from_der(&intermediate.der()).map_err(|e| Untrusted::Invalid(e.0))?);
    }
    // webpki takes anchors for valid at all times, and does not look at how long a path they allow. One that was renewed with
    // the same key has the same anchor: any of them that fits will do.
    let fits = |root: &Certificate| {
        within_validity(root, now)?;
        match root.path_len().filter(|limit| found.len() > usize::from(*limit)) {
            Some(limit) => Err(Untrusted::Invalid(format!(
                "{} authorities between it and the last one, which allows {limit}",
                found.len()
            ))),
            None => Ok(()),
        }
    };
    let equal = || anchors.iter().filter(|(anchor, _)| anchor == path.anchor()).map(|(_, root)| *root);
    if let Some(root) = equal().find(|root| fits(root).is_ok()).or_else(|| equal().next()) {
        fits(root)?;
        found.push(root.clone());
    }
    let delta = trust.revocation_lists.iter().filter(|list| list.is_delta());
    for list in delta {
        let mut certificates = std::iter::once(end).chain(&found).zip(&found);
        if certificates.any(|(c, issuer)| list.revokes_since(&trust.revocation_lists, c, issuer)) {
            return Err(Untrusted::Revoked);
        }
    }
    Ok(found)
}

/// The addresses that `end` is for (RFC 3779 section 2.3), if it says so; `path` as [`verify`] returns it.
///
/// # Errors
/// A certificate claims addresses that its issuer has not.
pub fn address_blocks(end: &Certificate, path: &[Certificate]) -> Result<Option<Vec<AddressRange>>, Untrusted> {
    let (top, below) = match path.split_last() {
        Some((root, between)) => (root, Some((between, end))),
        None => (end, None),
    };
    let mut allowed = top.address_blocks().map(|blocks| blocks.own());
    let chain = below.into_iter().flat_map(|(between, end)| between.iter().rev().chain([end]));
    for certificate in chain {
        allowed = match (certificate.address_blocks(), allowed) {
            (None, None) => None,
            // As strongSwan by default: else whoever is limited could leave the limit out of what he issues.
            (None, Some(_)) => {
                let reason = "its issuer's certificate is for certain addresses (RFC 3779), and it names none";
                return Err(Untrusted::Invalid(reason.into()));
            }
            (Some(_), None) => {
                let reason = "it is for certain addresses (RFC 3779), and its issuer's certificate is not";
                return Err(Untrusted::Invalid(reason.into()));
            }
            (Some(blocks), Some(issuer)) => Some(blocks.below(&issuer).map_err(|(first, last)| {
                Untrusted::Invalid(format!("its issuer does not have the addresses {first} to {last} (RFC 3779)"))
            })?),
        };
    }
    Ok(allowed)
}

/// Where the revocation lists are that would tell about `end` and the certificates on its `path`, and that we have not, or
/// not current ones.
pub fn missing_lists(trust: &Trust<'_>, end: &Certificate, path: &[Certificate], now: Duration) -> Vec<String> {
    let mut uris: Vec<String> = Vec::new();
    // What is trusted as it is has no path, and needs no list.
    for (certificate, issuer) in std::iter::once(end).chain(path).zip(path) {
        let current = |delta: bool| {
            let kind = move |list: &&&RevocationList| list.is_delta() == delta && list.is_current_for(certificate, now);
            trust.revocation_lists.iter().filter(kind).filter(|list| list.tells_about(certificate, issuer))
        };
        if let Some(complete) = current(false).min_by_key(|list| list.rank(now)) {
            let places = complete.delta_uris().first().or(certificate.delta_uris().first());
            let mut deltas = current(true).filter(|list| list.has_scope_of(complete));
            let missing = places.filter(|uri| deltas.next().is_none() && !uris.contains(uri));
            uris.extend(missing.cloned());
            continue;
        }
        let of_issuer = trust.list_uris.iter().filter(|(issuer, _)| *issuer == certificate.issuer());
        // The first place of each certificate: the others have the same list.
        for uri in of_issuer.flat_map(|(_, uris)| *uris).chain(certificate.crl_uris().first()) {
            if !uris.contains(uri) {
                uris.push(uri.clone());
            }
        }
    }
    uris
}

/// [`missing_lists`] of a certificate whose path is not known yet; nothing where none leads to an authority: strangers do
/// not send us to places of their choice.
pub fn list_uris(trust: &Trust<'_>, end: &Certificate, sent: &[Certificate], now: Duration) -> Vec<String> {
    let path = verify(trust, end, sent, Revocation::Relaxed, now).unwrap_or_default();
    missing_lists(trust, end, &path, now)
}

fn reason(error: Error) -> Untrusted {
    let since = |time: UnixTime| Duration::from_secs(time.as_secs());
    match error {
        Error::CertExpired { time, not_after } => Untrusted::Expired { not_after: since(not_after), now: since(time) },
        Error::CertNotValidYet { time, not_before } => {
            Untrusted::NotYetValid { not_before: since(not_before), now: since(time) }
        }
        Error::UnknownIssuer => Untrusted::UnknownIssuer,
        Error::CertRevoked => Untrusted::Revoked,
        Error::UnknownRevocationStatus => Untrusted::RevocationUnknown,
        // A list that its authority did not sign says nothing.
        Error::InvalidCrlSignatureForPublicKey => Untrusted::RevocationUnknown,
        Error::CrlExpired { .. } => Untrusted::RevocationListExpired,
        Error::InvalidSignatureForPublicKey => Untrusted::BadSignature,
        Error::UnsupportedSignatureAlgorithmContext(_) | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            Untrusted::SignatureUnavailable
        }
        other => Untrusted::Invalid(format!("{other:?}")),
    }
}

#[cfg(test)]
mod tests;
