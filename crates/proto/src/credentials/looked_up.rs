//! Hash and URL (RFC 7296 section 3.6): instead of a certificate an end may send its SHA-1 and where it is to be had.
//!
//! Whoever looks it up has not heard yet who the peer is: what is fetched is bounded in number, and of no use unless it is
//! what the hash says.

use super::{Credentials, LIST_FRESH, LIST_PATIENCE, MAX_LISTS, MAX_SENT};
use crate::inquiries::{Inquiries, Need};
use crypto::Certificate;
use model::Instant;
use std::collections::VecDeque;
use std::fmt::Write as _;
use wire::CertEncoding;

/// So many certificates that were looked up are kept; the oldest goes.
const MAX_KEPT: usize = 64;

/// Longer addresses are not looked up, in octets.
const MAX_URI: usize = 512;

/// So many certificates of one peer are looked up.
const MAX_LOOKED_UP: usize = 4;

/// A SHA-1 of a certificate.
type Hash = [u8; 20];

/// Certificates that were looked up, and the addresses that were asked.
pub(super) struct LookedUp {
    kept: VecDeque<(Hash, Certificate)>,
    asked: Inquiries,
}

impl Default for LookedUp {
    fn default() -> Self {
        Self { kept: VecDeque::new(), asked: Inquiries::new(LIST_FRESH, LIST_PATIENCE) }
    }
}

impl LookedUp {
    fn get(&self, hash: &[u8]) -> Option<&Certificate> {
        self.kept.iter().find(|(of, _)| of == hash).map(|(_, certificate)| certificate)
    }
}

/// The hash and the address of a CERT payload of this encoding.
fn hash_and_url(encoding: CertEncoding, data: &[u8]) -> Option<(&Hash, &[u8])> {
    if encoding != CertEncoding::HASH_AND_URL_X509 {
        return None;
    }
    data.split_first_chunk::<20>()
}

/// An address that may be asked: of plain HTTP, as section 3.6 has it, without anything that an HTTP request is made of.
fn address(octets: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(octets).ok()?;
    let http = text.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"));
    let plain = text.len() > 7 && text.len() <= MAX_URI && text.bytes().all(|b| b.is_ascii_graphic());
    (http && plain).then_some(text)
}

impl Credentials {
    /// The certificates that a peer sent, those that were looked up in their places; an error if the first one, which has
    /// the key that signed, cannot be had.
    pub(crate) fn sent<'a>(
        &self,
        sent: impl Iterator<Item = (CertEncoding, &'a [u8])>,
    ) -> Result<Vec<Certificate>, String> {
        let mut found = Vec::new();
        let of_x509 =
            sent.filter(|(e, _)| matches!(*e, CertEncoding::X509_SIGNATURE | CertEncoding::HASH_AND_URL_X509));
        for (number, (encoding, data)) in of_x509.take(MAX_SENT).enumerate() {
            match hash_and_url(encoding, data) {
                Some((hash, url)) => match self.looked_up.get(hash) {
                    Some(certificate) => found.push(certificate.clone()),
                    None if number == 0 => return Err(address(url).unwrap_or_default().to_string()),
                    None => {}
                },
                None => found.extend(Certificate::from_der(data).ok()),
            }
        }
        Ok(found)
    }

    /// Where the certificates are that a peer sent the hash of and that are not here.
    pub(crate) fn certificates_wanted<'a>(&self, sent: impl Iterator<Item = (CertEncoding, &'a [u8])>) -> Vec<String> {
        let missing = sent.filter_map(|(encoding, data)| hash_and_url(encoding, data)).take(MAX_LOOKED_UP);
        let missing = missing.filter(|(hash, _)| self.looked_up.get(&hash[..]).is_none());
        missing.filter_map(|(_, url)| address(url)).map(str::to_string).collect()
    }

    /// Whether the certificate that is here has to be asked for, and notes that it is.
    pub(crate) fn need_certificate(&mut self, now: Instant, uri: &str) -> Need {
        if self.looked_up.asked.len() >= MAX_LISTS {
            self.looked_up.asked = LookedUp::default().asked;
        }
        self.looked_up.asked.need(now, uri)
    }

    /// What is here was fetched, or could not be. It is kept by its own hash, whatever was expected.
    pub(crate) fn certificate_answered(&mut self, now: Instant, uri: &str, certificate: Option<Certificate>) {
        self.looked_up.asked.answered(now, uri);
        let Some(certificate) = certificate else { return };
        let hash = crypto::sha1(&[certificate.der()]);
        self.looked_up.kept.retain(|(of, _)| *of != hash);
        if self.looked_up.kept.len() >= MAX_KEPT {
            self.looked_up.kept.pop_front();
        }
        self.looked_up.kept.push_back((hash, certificate));
    }

    /// How a certificate is sent: itself, or to a peer that `looks_up` its hash and where it is, if its authority says
    /// that.
    pub(crate) fn to_send(&self, certificate: &Certificate, looks_up: bool) -> (CertEncoding, Vec<u8>) {
        let issued = |(authority, _): &&(Certificate, super::Places)| authority.subject() == certificate.issuer();
        let place = self.places.values().find(|place| issued(place) && place.1.certificates.is_some());
        match place.and_then(|(_, places)| places.certificates.as_ref()).filter(|_| looks_up) {
            Some(base) => {
                let hash = crypto::sha1(&[certificate.der()]);
                let mut url = base.clone();
                hash.iter().for_each(|octet| {
                    let _ = write!(url, "{octet:02x}");
                });
                (CertEncoding::HASH_AND_URL_X509, [&hash[..], url.as_bytes()].concat())
            }
            None => (CertEncoding::X509_SIGNATURE, certificate.der().to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_addresses_are_asked() {
        assert_eq!(address(b"http://certs.example/0123"), Some("http://certs.example/0123"));
        let long = format!("http://certs.example/{}", "a".repeat(MAX_URI));
        for wrong in ["", "http://", "https://certs.example/", "file:///etc/passwd", "http://a/\r\nHost: b", &long] {
            assert_eq!(address(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(address(&[b'h', 0xff]), None);
        assert_eq!(hash_and_url(CertEncoding::HASH_AND_URL_X509, &[0; 19]), None);
        assert_eq!(hash_and_url(CertEncoding::X509_SIGNATURE, &[0; 40]), None);
    }
}
