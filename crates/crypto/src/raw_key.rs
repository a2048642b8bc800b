//! Raw public keys (RFC 7670): a key that is known is trusted, without anybody who vouches for it.

use crate::signature::{PublicKey, base64};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;
use std::fmt;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

/// Octets that are no public key, or one of a kind that is not available.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPublicKey(String);

impl fmt::Display for InvalidPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no public key: {}", self.0)
    }
}

impl std::error::Error for InvalidPublicKey {}

/// A public key as it stands in a file or in a Certificate payload: SubjectPublicKeyInfo (RFC 5280 section 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawKey {
    der: Vec<u8>,
    key: PublicKey,
}

impl RawKey {
    /// Reads a key in PEM (`PUBLIC KEY`, RFC 7468 section 13) or DER.
    ///
    /// # Errors
    /// It is none, or of a kind that is not available.
    pub fn parse(octets: &[u8]) -> Result<Self, InvalidPublicKey> {
        match SubjectPublicKeyInfoDer::from_pem_slice(octets) {
            Ok(der) => Self::from_der(&der),
            Err(_) => Self::from_der(octets),
        }
    }

    /// Reads a key in DER.
    ///
    /// # Errors
    /// It is none, or of a kind that is not available.
    pub fn from_der(der: &[u8]) -> Result<Self, InvalidPublicKey> {
        let invalid = |e: x509_cert::der::Error| InvalidPublicKey(e.to_string());
        let info = SubjectPublicKeyInfoOwned::from_der(der).map_err(invalid)?;
        let curve = info.algorithm.parameters.as_ref().and_then(|p| p.decode_as::<ObjectIdentifier>().ok());
        let (algorithm, curve) = (info.algorithm.oid.to_string(), curve.map(|c| c.to_string()));
        let bits = info.subject_public_key.as_bytes().unwrap_or_default();
        let key = PublicKey::new(&algorithm, curve.as_deref(), bits)
            .ok_or_else(|| InvalidPublicKey(format!("a key of a kind that is not available ({algorithm})")))?;
        // As it was read, which is what is hashed and sent.
        Ok(Self { der: info.to_der().map_err(invalid)?, key })
    }

    /// The SubjectPublicKeyInfo.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The key itself.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The SHA-1 hash of the whole SubjectPublicKeyInfo, by which strongSwan names an end that has nothing but a key.
    pub fn id(&self) -> [u8; 20] {
        crate::sha1(&[&self.der])
    }
}

/// A public key in DER as PEM.
pub fn armour_key(der: &[u8]) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{}-----END PUBLIC KEY-----\n", base64(der))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyKind;

    /// `openssl pkey -pubout` of the Ed25519 key of `fake-keys` would do as well; this is RFC 8410 section 10.1.
    const ED25519: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

    #[test]
    fn a_key_is_read_in_both_forms_and_written_again() {
        let key = RawKey::parse(ED25519.as_bytes()).unwrap();
        assert_eq!(key.key().kind(), KeyKind::Ed25519);
        assert_eq!(RawKey::parse(key.der()).unwrap(), key);
        assert_eq!(armour_key(key.der()), ED25519);
        // sha1sum of the 44 octets.
        let hex: String = key.id().iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(hex, "3a04967761a552db7e9e18c6dba4bd4aae119908");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let whole = RawKey::parse(ED25519.as_bytes()).unwrap().der().to_vec();
        for length in 0..whole.len() {
            assert!(RawKey::parse(&whole[..length]).is_err(), "{length} octets");
        }
        let mut other = whole;
        other[8] = 0x71; // Ed448
        assert!(RawKey::parse(&other).unwrap_err().to_string().contains("not available (1.3.101.113)"));
        assert!(RawKey::parse(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n").is_err());
    }
}
