//! Certification authorities, and where their revocation lists are.

use crate::names::Scope;
use crate::reader::Reader;
use crate::{CertificateSource, ConfigError, Entry, ErrorKind, Section};
use model::ConfigRef;

/// An authority of `authorities`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Name of its section.
    pub name: String,
    /// Its certificate: a file below `x509ca`, or the certificate itself.
    pub cacert: CertificateSource,
    /// Where its revocation lists are to be had, beside what certificates say themselves.
    pub crl_uris: Vec<String>,
    /// Where the certificates that it issued are to be had: each behind this, by its SHA-1 in hexadecimal (RFC 7296
    /// section 3.6).
    pub cert_uri_base: Option<String>,
    /// Where it was written.
    pub source: ConfigRef,
}

/// Reads one section of `authorities`, or a client's message.
///
/// # Errors
/// Everything that is wrong with it.
pub fn authority(section: &Section) -> Result<Authority, Vec<ConfigError>> {
    let mut errors = Vec::new();
    let authority = read(section, &mut errors);
    match authority {
        Some(authority) if errors.is_empty() => Ok(authority),
        _ => Err(errors),
    }
}

fn read(section: &Section, errors: &mut Vec<ConfigError>) -> Option<Authority> {
    const CERTIFICATE: &str = "the name of a file below x509ca, or a certificate in PEM";
    let path = format!("authorities.{}", section.name);
    let source = ConfigRef { file: section.at.file.to_string(), line: section.at.line, key: path.clone() };
    let mut reader = Reader::new(Scope::Authority, path, errors);
    let (mut cacert, mut crl_uris, mut cert_uri_base) = (None, Vec::new(), None);
    for entry in &section.entries {
        if !reader.enter(entry) {
            continue;
        }
        match entry.name() {
            "cacert" => cacert = reader.value(entry, CERTIFICATE, CertificateSource::parse),
            "crl_uris" => crl_uris = uris(&mut reader, entry),
            "cert_uri_base" => {
                const BASE: &str = "an address that begins with http://, to which the hash of a certificate is added";
                cert_uri_base = reader.value(entry, BASE, |text| is_http(text).then(|| text.to_string()));
            }
            _ => reader.other(entry),
        }
    }
    if !reader.places.contains_key("cacert") {
        let what = "write cacert = ... with the authority's certificate";
        reader.refuse_at(&section.at, "cacert", ErrorKind::Missing { what });
    }
    Some(Authority { name: section.name.clone(), cacert: cacert?, crl_uris, cert_uri_base, source })
}

/// Lists are fetched by HTTP (RFC 5280 section 4.2.1.13 has other ways too).
fn uris(reader: &mut Reader<'_>, entry: &Entry) -> Vec<String> {
    const WHY: &str = "revocation lists are fetched by HTTP only: write addresses that begin with http://";
    let items = Reader::items(entry);
    if items.is_empty() || !items.iter().all(|uri| is_http(uri)) {
        reader.refuse(entry, ErrorKind::Unsupported { why: WHY });
        return Vec::new();
    }
    items.into_iter().map(str::to_string).collect()
}

fn is_http(uri: &str) -> bool {
    uri.get(..7).is_some_and(|s| s.eq_ignore_ascii_case("http://")) && uri.len() > 7
}
