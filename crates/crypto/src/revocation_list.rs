//! Certificate revocation lists (RFC 5280 section 5): complete ones, which are `webpki`'s, and delta lists, which say what has
//! changed since one, and which it does not know.

use crate::certificate::list_uris;
use crate::trust::algorithms;
use crate::{Certificate, Scheme};
use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject;
use std::cmp::Reverse;
use std::fmt;
use std::time::Duration;
use x509_cert::certificate::Rfc5280;
use x509_cert::crl::{CertificateList, RevokedCert};
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::{Any, Decode, Encode};
use x509_cert::ext::Extensions;
use x509_cert::ext::pkix::crl::{BaseCrlNumber, CrlNumber, IssuingDistributionPoint};
use x509_cert::ext::pkix::name::DistributionPointName;
use x509_cert::ext::pkix::{CrlReason, FreshestCrl};

/// Why octets are no revocation list that can be used. The reason is the parser's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InvalidRevocationList(pub String);

impl fmt::Display for InvalidRevocationList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it is no revocation list that can be used: {}", self.0)
    }
}

impl std::error::Error for InvalidRevocationList {}

/// A certificate revocation list (RFC 5280 section 5).
#[derive(Debug)]
pub struct RevocationList {
    content: Content,
    /// The distinguished name in DER without the outermost tag and length.
    issuer: Vec<u8>,
    scope: Scope,
    this_update: Duration,
    next_update: Option<Duration>,
    /// Its number, big-endian without leading zeros.
    number: Option<Vec<u8>>,
    delta_uris: Vec<String>,
    /// The hash of the key that is known to have signed it.
    signer: Option<[u8; 20]>,
    der: Vec<u8>,
}

/// id-ce-issuingDistributionPoint.
const ISSUING_DISTRIBUTION_POINT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.28");

/// Which of its authority's certificates a list is about (RFC 5280 section 5.2.5): all, unless it says otherwise.
#[derive(Debug, Default, PartialEq, Eq)]
struct Scope {
    /// The names of the distribution point, each a GeneralName in DER, in order. `None`: certificates under any.
    names: Option<Vec<Vec<u8>>>,
    /// Those of ends only (onlyContainsUserCerts).
    only_ends: bool,
    /// Those of authorities only (onlyContainsCACerts).
    only_authorities: bool,
}

impl Scope {
    fn of(extensions: Option<&Extensions>) -> Result<Self, InvalidRevocationList> {
        let mut all = extensions.into_iter().flatten();
        let Some(found) = all.find(|e| e.extn_id == ISSUING_DISTRIBUTION_POINT) else { return Ok(Self::default()) };
        let invalid = |e: x509_cert::der::Error| InvalidRevocationList(e.to_string());
        let unavailable = |what: &str| Err(InvalidRevocationList(format!("{what} are not available")));
        let point = IssuingDistributionPoint::from_der(found.extn_value.as_bytes()).map_err(invalid)?;
        if point.indirect_crl {
            return unavailable("lists with certificates of other authorities");
        }
        if point.only_some_reasons.is_some() {
            return unavailable("lists for some reasons only");
        }
        if point.only_contains_attribute_certs {
            return unavailable("lists of attribute certificates");
        }
        let names = match point.distribution_point {
            None => None,
            Some(DistributionPointName::FullName(names)) => {
                let mut names: Vec<Vec<u8>> =
                    names.iter().map(Encode::to_der).collect::<Result<_, _>>().map_err(invalid)?;
                names.sort();
                names.dedup();
                Some(names)
            }
            Some(DistributionPointName::NameRelativeToCRLIssuer(_)) => {
                return unavailable("names relative to the authority's");
            }
        };
        let (only_ends, only_authorities) = (point.only_contains_user_certs, point.only_contains_ca_certs);
        Ok(Self { names, only_ends, only_authorities })
    }

    /// RFC 5280 section 6.3.3 b 2.
    fn includes(&self, certificate: &Certificate) -> bool {
        let kind = if certificate.is_authority() { !self.only_ends } else { !self.only_authorities };
        let named = |names: &Vec<Vec<u8>>| certificate.point_names().iter().any(|name| names.contains(name));
        kind && self.names.as_ref().is_none_or(named)
    }
}

#[derive(Debug)]
enum Content {
    Complete(webpki::CertRevocationList<'static>),
    Delta(Delta),
}

/// What has changed since a complete list (RFC 5280 section 5.2.4).
#[derive(Debug)]
struct Delta {
    /// The number of the list that it goes on from.
    base: Vec<u8>,
    /// The serial numbers of certificates that it revokes.
    revoked: Vec<Vec<u8>>,
    signed: Vec<u8>,
    scheme: Option<Scheme>,
    signature: Vec<u8>,
}

/// An extension of a list or of an entry.
fn extension<T: AssociatedOid + for<'a> Decode<'a>>(all: Option<&Extensions>) -> Option<T> {
    let found = all?.iter().find(|e| e.extn_id == T::OID)?;
    T::from_der(found.extn_value.as_bytes()).ok()
}

/// A number as it is compared: by length, then by octets.
fn number(octets: &[u8]) -> Vec<u8> {
    octets.iter().copied().skip_while(|octet| *octet == 0).collect()
}

fn is_less(one: &[u8], other: &[u8]) -> bool {
    (one.len(), one) < (other.len(), other)
}

impl Delta {
    /// `None` for a list that says nothing of being one.
    fn of(list: &CertificateList<Rfc5280>) -> Option<Self> {
        let content = &list.tbs_cert_list;
        let BaseCrlNumber(base) = extension(content.crl_extensions.as_ref())?;
        // removeFromCRL: it is not on hold any more.
        let stays = |entry: &&RevokedCert<Rfc5280>| {
            extension(entry.crl_entry_extensions.as_ref()) != Some(CrlReason::RemoveFromCRL)
        };
        let entries = content.revoked_certificates.iter().flatten();
        Some(Self {
            base: number(base.as_bytes()),
            revoked: entries.filter(stays).map(|entry| number(entry.serial_number.as_bytes())).collect(),
            signed: content.to_der().ok()?,
            scheme: list.signature_algorithm.to_der().ok().and_then(|a| Scheme::from_algorithm_identifier(&a)),
            signature: list.signature.as_bytes()?.to_vec(),
        })
    }
}

impl RevocationList {
    /// Reads one in PEM or DER.
    ///
    /// # Errors
    /// It is none, or of a kind that is not available: version 1, indirect lists, and those for some reasons only.
    pub fn parse(octets: &[u8]) -> Result<Self, InvalidRevocationList> {
        let der = match CertificateRevocationListDer::from_pem_slice(octets) {
            Ok(der) => der.to_vec(),
            Err(_) => octets.to_vec(),
        };
        let invalid = |e: x509_cert::der::Error| InvalidRevocationList(e.to_string());
        let complete = || {
            let list = webpki::OwnedCertRevocationList::from_der(&der);
            list.map(|list| Content::Complete(list.into())).map_err(|e| InvalidRevocationList(format!("{e:?}")))
        };
        let parsed = CertificateList::<Rfc5280>::from_der(&der).map_err(|e| match complete() {
            Err(first) => first,
            Ok(_) => invalid(e),
        })?;
        let list = &parsed.tbs_cert_list;
        let extensions = list.crl_extensions.as_ref();
        let issuer = Any::from_der(&list.issuer.to_der().map_err(invalid)?).map_err(invalid)?;
        Ok(Self {
            content: match Delta::of(&parsed) {
                Some(delta) => Content::Delta(delta),
                None => complete()?,
            },
            issuer: issuer.value().to_vec(),
            scope: Scope::of(extensions)?,
            this_update: list.this_update.to_unix_duration(),
            next_update: list.next_update.map(|time| time.to_unix_duration()),
            number: extension(extensions).map(|CrlNumber(n)| number(n.as_bytes())),
            delta_uris: extension(extensions).map(|FreshestCrl(points)| list_uris(&points)).unwrap_or_default(),
            signer: None,
            der,
        })
    }

    /// The distinguished name of the authority, in DER without the outermost tag and length.
    pub fn issuer(&self) -> &[u8] {
        &self.issuer
    }

    /// The list as it was signed.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// When the next one comes, at the latest, since the Unix epoch: then this one is out of date.
    pub fn next_update(&self) -> Option<Duration> {
        self.next_update
    }

    /// When it was made, since the Unix epoch.
    pub fn this_update(&self) -> Duration {
        self.this_update
    }

    /// Whether it is about the same certificates as `other`, a list of the same authority (RFC 5280 section 6.3.3 c): an
    /// authority may divide them among several lists.
    pub fn has_scope_of(&self, other: &Self) -> bool {
        self.scope == other.scope
    }

    /// Whether it was made before `other`, a list of the same authority and scope (RFC 5280 section 5.2.3).
    pub fn is_older_than(&self, other: &Self) -> bool {
        match (&self.number, &other.number) {
            (Some(own), Some(its)) if own != its => is_less(own, its),
            _ => self.this_update < other.this_update,
        }
    }

    /// Looks whether it is this authority's; several may have the same name, each with its own key.
    pub fn prove(&mut self, authority: &Certificate) {
        if self.signer.is_none() && self.is_signed_by(authority) {
            self.signer = Some(authority.key_info_hash());
        }
    }

    /// The hash of the key that is known to have signed it ([`Certificate::key_info_hash`]).
    pub fn signer(&self) -> Option<[u8; 20]> {
        self.signer
    }

    /// Whether it tells about `certificate`: it is a list of the issuer's name that has it in its scope (RFC 5280 section
    /// 6.3.3 b), and `issuer` signed it.
    pub(crate) fn tells_about(&self, certificate: &Certificate, issuer: &Certificate) -> bool {
        let by = |issuer: &Certificate| match self.signer {
            Some(signer) => issuer.key_info_hash() == signer,
            None => self.is_signed_by(issuer),
        };
        self.is_of_issuer(certificate) && self.scope.includes(certificate) && by(issuer)
    }

    /// Whether it is under the name of this certificate's issuer, but not about it: webpki takes it for a list about all where
    /// the certificate names no distribution point.
    pub(crate) fn misleads_about(&self, certificate: &Certificate) -> bool {
        !certificate.has_crl_uri() && self.is_of_issuer(certificate) && !self.scope.includes(certificate)
    }

    /// What is less for the better one of several lists: known to be its authority's, not out of date at `now`, new.
    pub(crate) fn rank(&self, now: Duration) -> (bool, bool, Reverse<Duration>) {
        (self.signer.is_none(), !self.is_current(now), Reverse(self.this_update))
    }

    /// Whether the key of this certificate signed it. That it may sign lists is another question.
    fn is_signed_by(&self, authority: &Certificate) -> bool {
        let signed = || {
            let list = CertificateList::<Rfc5280>::from_der(&self.der).ok()?;
            let (algorithm, signed) = (list.signature_algorithm.to_der().ok()?, list.tbs_cert_list.to_der().ok()?);
            let signature = list.signature.as_bytes()?;
            let Some(scheme) = Scheme::from_algorithm_identifier(&algorithm) else {
                return Some(algorithms::verifies(authority, &algorithm, &signed, signature));
            };
            let key = authority.public_key().filter(|key| scheme.fits(key.kind()))?;
            Some(key.verify(scheme, &signed, signature))
        };
        let named = Any::from_der(authority.subject()).is_ok_and(|name| name.value() == self.issuer());
        named && signed() == Some(true)
    }

    /// Whether it only says what has changed since a complete list.
    pub fn is_delta(&self) -> bool {
        matches!(self.content, Content::Delta(_))
    }

    /// Where what has changed since can be fetched by HTTP (RFC 5280 section 5.2.6).
    pub fn delta_uris(&self) -> &[String] {
        &self.delta_uris
    }

    /// Whether it is a list of the authority that issued this certificate, by its name, and not out of date at `now` (since
    /// the Unix epoch).
    pub fn is_current_for(&self, certificate: &Certificate, now: Duration) -> bool {
        self.is_current(now) && self.is_of_issuer(certificate)
    }

    fn is_current(&self, now: Duration) -> bool {
        self.next_update.is_some_and(|next| now < next)
    }

    pub(crate) fn is_of_issuer(&self, certificate: &Certificate) -> bool {
        Any::from_der(certificate.issuer()).is_ok_and(|name| name.value() == self.issuer())
    }

    pub(crate) fn complete(&self) -> Option<&webpki::CertRevocationList<'static>> {
        match &self.content {
            Content::Complete(list) => Some(list),
            Content::Delta(_) => None,
        }
    }

    /// Whether it is a delta list that goes on from one of `lists`, that `issuer` signed, and that revokes `certificate`.
    /// the issuer may sign lists at all has been checked with the complete one.
    pub(crate) fn revokes_since(&self, lists: &[&Self], certificate: &Certificate, issuer: &Certificate) -> bool {
        let Content::Delta(delta) = &self.content else { return false };
        if !delta.revoked.contains(&number(certificate.serial())) {
            return false;
        }
        // RFC 5280 section 6.3.3 c 2, and 5.2.4, conditions c and d.
        let goes_on_from = |complete: &Self| {
            let numbers = complete.number.as_ref().zip(self.number.as_ref());
            numbers.is_some_and(|(old, new)| !is_less(old, &delta.base) && is_less(old, new))
        };
        let same = |list: &&&Self| !list.is_delta() && list.issuer == self.issuer && list.has_scope_of(self);
        let mut complete = lists.iter().filter(same).filter(|list| list.tells_about(certificate, issuer));
        let signed = || {
            let key = issuer.public_key().zip(delta.scheme);
            key.is_some_and(|(key, scheme)| {
                scheme.fits(key.kind()) && key.verify(scheme, &delta.signed, &delta.signature)
            })
        };
        complete.any(|complete| goes_on_from(complete)) && signed()
    }
}
