//! Certificates (RFC 5280): what IKE needs to know of one.

use crate::address_blocks::{self, AddressBlocks};
use crate::signature::{PublicKey, Scheme, base64};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::crl::dp::DistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{BasicConstraints, CertificatePolicies, CrlDistributionPoints, FreshestCrl, SubjectAltName};

/// A certificate, and what of it is asked for often.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    serial: Vec<u8>,
    alt_names: Vec<AltName>,
    not_before: Duration,
    not_after: Duration,
    is_authority: bool,
    path_len: Option<u8>,
    has_crl_uri: bool,
    crl_uris: Vec<String>,
    point_names: Vec<Vec<u8>>,
    delta_uris: Vec<String>,
    policies: Vec<String>,
    address_blocks: Option<AddressBlocks>,
    public_key: Option<PublicKey>,
    signature: Option<Scheme>,
    key_info_hash: [u8; 20],
}

/// A name in the subjectAltName extension (RFC 5280 section 4.2.1.6) that IKE can use as an identity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AltName {
    /// dNSName.
    Dns(String),
    /// rfc822Name.
    Email(String),
    /// iPAddress.
    Address(IpAddr),
    /// directoryName, in DER.
    Directory(Vec<u8>),
}

/// Why octets are no certificate. The reason is the parser's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InvalidCertificate(pub String);

impl fmt::Display for InvalidCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it is no X.509 certificate: {}", self.0)
    }
}

impl std::error::Error for InvalidCertificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({} octets, serial ", self.der.len())?;
        self.serial.iter().try_for_each(|octet| write!(f, "{octet:02x}"))?;
        f.write_str(")")
    }
}

impl Certificate {
    /// Reads a certificate in PEM (the first one in the text) or DER.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(octets: &[u8]) -> Result<Self, InvalidCertificate> {
        match CertificateDer::from_pem_slice(octets) {
            Ok(der) => Self::from_der(&der),
            Err(_) => Self::from_der(octets),
        }
    }

    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// It is none, or an extension that is needed is malformed.
    pub fn from_der(der: &[u8]) -> Result<Self, InvalidCertificate> {
        let invalid = |e: x509_cert::der::Error| InvalidCertificate(e.to_string());
        let parsed = x509_cert::Certificate::from_der(der).map_err(invalid)?;
        let content = parsed.tbs_certificate();
        let alt_names = content.get_extension::<SubjectAltName>().map_err(invalid)?;
        let constraints = content.get_extension::<BasicConstraints>().map_err(invalid)?;
        let points = content.get_extension::<CrlDistributionPoints>().map_err(invalid)?;
        let policies = content.get_extension::<CertificatePolicies>().map_err(invalid)?;
        let freshest = content.get_extension::<FreshestCrl>().map_err(invalid)?;
        let blocks = content.extensions().into_iter().flatten().find(|e| e.extn_id.to_string() == address_blocks::OID);
        let malformed = || InvalidCertificate("its address blocks (RFC 3779) are malformed".into());
        let parse = |e: &Extension| AddressBlocks::parse(e.extn_value.as_bytes()).ok_or_else(malformed);
        let info = content.subject_public_key_info();
        let curve = info.algorithm.parameters.as_ref().and_then(|p| p.decode_as::<ObjectIdentifier>().ok());
        let bits = info.subject_public_key.as_bytes().unwrap_or_default();
        let algorithm = info.algorithm.oid.to_string();
        Ok(Self {
            der: der.to_vec(),
            subject: content.subject().to_der().map_err(invalid)?,
            issuer: content.issuer().to_der().map_err(invalid)?,
            serial: content.serial_number().as_bytes().to_vec(),
            alt_names: alt_names.map(|(_, names)| names.0.iter().filter_map(alt_name).collect()).unwrap_or_default(),
            not_before: content.validity().not_before.to_unix_duration(),
            not_after: content.validity().not_after.to_unix_duration(),
            is_authority: constraints.as_ref().is_some_and(|(_, c)| c.ca),
            path_len: constraints.and_then(|(_, c)| c.path_len_constraint),
            has_crl_uri: points.as_ref().is_some_and(|(_, p)| !p.0.is_empty()),
            crl_uris: points.as_ref().map(|(_, p)| list_uris(&p.0)).unwrap_or_default(),
            point_names: match points {
                Some((_, points)) => point_names(&points.0),
                None => vec![GeneralName::DirectoryName(content.issuer().clone()).to_der().map_err(invalid)?],
            },
            delta_uris: freshest.map(|(_, p)| list_uris(&p.0)).unwrap_or_default(),
            policies: policies
                .map(|(_, p)| p.0.iter().map(|p| p.policy_identifier.to_string()).collect())
                .unwrap_or_default(),
            address_blocks: blocks.map(parse).transpose()?,
            public_key: PublicKey::new(&algorithm, curve.map(|c| c.to_string()).as_deref(), bits),
            signature: parsed.signature_algorithm().to_der().ok().and_then(|a| Scheme::from_algorithm_identifier(&a)),
            key_info_hash: crate::sha1(&[&info.to_der().map_err(invalid)?]),
        })
    }

    /// The certificate in DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate in PEM (RFC 7468 section 5).
    pub fn pem(&self) -> String {
        armour(&self.der)
    }

    /// The subject's distinguished name in DER.
    pub fn subject(&self) -> &[u8] {
        &self.subject
    }

    /// The issuer's distinguished name in DER.
    pub fn issuer(&self) -> &[u8] {
        &self.issuer
    }

    /// The serial number, big-endian.
    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// The subject's further names.
    pub fn alt_names(&self) -> &[AltName] {
        &self.alt_names
    }

    /// From when on it is valid, since the Unix epoch.
    pub fn not_before(&self) -> Duration {
        self.not_before
    }

    /// Until when it is valid, since the Unix epoch.
    pub fn not_after(&self) -> Duration {
        self.not_after
    }

    /// Whether the key of `issuer` signed it, by an algorithm that is available here. That it may sign is another question.
    pub(crate) fn is_signed_by(&self, issuer: &Self) -> bool {
        let signed = || {
            let parsed = x509_cert::Certificate::from_der(&self.der).ok()?;
            let key = issuer.public_key()?;
            let scheme = self.signature.filter(|scheme| scheme.fits(key.kind()))?;
            Some(key.verify(scheme, &parsed.tbs_certificate().to_der().ok()?, parsed.signature().as_bytes()?))
        };
        self.issuer == issuer.subject && signed() == Some(true)
    }

    /// Whether it may issue certificates (basicConstraints, RFC 5280 section 4.2.1.9).
    pub fn is_authority(&self) -> bool {
        self.is_authority
    }

    /// How many authorities may be between it and an end, if that is limited (pathLenConstraint, the same section).
    pub fn path_len(&self) -> Option<u8> {
        self.path_len
    }

    /// Whether it names its own subject as issuer.
    pub fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }

    /// Whether it says where its authority's revocation list is.
    pub fn has_crl_uri(&self) -> bool {
        self.has_crl_uri
    }

    /// Where its authority's revocation list can be fetched by HTTP.
    pub fn crl_uris(&self) -> &[String] {
        &self.crl_uris
    }

    /// The names of the distribution points whose lists tell about it, each a GeneralName in DER; its issuer's name where it
    /// says nothing of any (RFC 5280 section 6.3.3, at the end).
    pub(crate) fn point_names(&self) -> &[Vec<u8>] {
        &self.point_names
    }

    /// The addresses that it is for (RFC 3779), if it says so.
    pub fn address_blocks(&self) -> Option<&AddressBlocks> {
        self.address_blocks.as_ref()
    }

    /// Where what has changed since its authority's revocation list can be fetched by HTTP (RFC 5280 section 4.2.1.15).
    pub fn delta_uris(&self) -> &[String] {
        &self.delta_uris
    }

    /// The policies under which it was issued (RFC 5280 section 4.2.1.4), in dotted notation.
    pub fn policies(&self) -> &[String] {
        &self.policies
    }

    /// The subject's key, if it is of a kind that is available.
    pub fn public_key(&self) -> Option<&PublicKey> {
        self.public_key.as_ref()
    }

    /// How its issuer signed it, if that is one of the ways of RFC 7427.
    pub fn signature(&self) -> Option<Scheme> {
        self.signature
    }

    /// The SHA-1 hash of the SubjectPublicKeyInfo, by which CERTREQ of IKEv2 names authorities (RFC 7296 section 3.7).
    pub fn key_info_hash(&self) -> [u8; 20] {
        self.key_info_hash
    }
}

/// URIs longer than this are not followed.
const MAX_URI: usize = 1024;

/// The places that RFC 5280 section 4.2.1.13 asks to be reachable by HTTP, if any are.
pub(crate) fn list_uris(points: &[DistributionPoint]) -> Vec<String> {
    let names = points.iter().filter_map(|point| match &point.distribution_point {
        Some(DistributionPointName::FullName(names)) => Some(names),
        _ => None,
    });
    let uris = names.flatten().filter_map(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
        _ => None,
    });
    uris.filter(|uri| uri.len() <= MAX_URI && uri.to_ascii_lowercase().starts_with("http://")).collect()
}

/// The names of those points whose lists are the issuer's own and for all reasons: of others webpki takes no list, nor one
/// by a name that is no URI.
fn point_names(points: &[DistributionPoint]) -> Vec<Vec<u8>> {
    let whole = points.iter().filter(|point| point.reasons.is_none() && point.crl_issuer.is_none());
    let names = whole.filter_map(|point| match &point.distribution_point {
        Some(DistributionPointName::FullName(names)) => Some(names),
        _ => None,
    });
    let uris = names.flatten().filter(|name| matches!(name, GeneralName::UniformResourceIdentifier(_)));
    uris.filter_map(|uri| uri.to_der().ok()).collect()
}

/// A certificate in PEM (RFC 7468 section 5). What is no certificate makes a text that is refused where it is read.
pub fn armour(der: &[u8]) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}-----END CERTIFICATE-----\n", base64(der))
}

fn alt_name(name: &GeneralName) -> Option<AltName> {
    Some(match name {
        GeneralName::DnsName(name) => AltName::Dns(name.to_string()),
        GeneralName::Rfc822Name(name) => AltName::Email(name.to_string()),
        GeneralName::DirectoryName(name) => AltName::Directory(name.to_der().ok()?),
        GeneralName::IpAddress(octets) => AltName::Address(match octets.as_bytes() {
            four if four.len() == 4 => <[u8; 4]>::try_from(four).ok()?.into(),
            sixteen => <[u8; 16]>::try_from(sixteen).ok()?.into(),
        }),
        _ => return None,
    })
}
