//! PKCS#12 containers (RFC 7292): how operators get a key with its certificate and authority in one file.

use crate::awslc::container;
use crate::{Certificate, PrivateKey};
use std::fmt;

/// What a container holds.
#[derive(Debug)]
pub struct Container {
    /// The private key, if there is one of a kind that is available.
    pub key: Option<PrivateKey>,
    /// Certificates, of ends and of authorities.
    pub certificates: Vec<Certificate>,
}

/// Why a container cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidContainer {
    /// There is no passphrase for it.
    Encrypted,
    /// It does not open with its passphrase.
    Closed,
    /// It is none.
    Malformed,
    /// It opens, and what is in it cannot be used. The reason is that of the key or the certificate.
    Content(String),
}

impl fmt::Display for InvalidContainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encrypted => {
                "it is encrypted: add secrets { pkcs12-NAME { file = FILE  secret = PASSPHRASE } } to swanctl.conf"
            }
            Self::Closed => {
                "it does not open with the passphrase that swanctl.conf has for it, or is encrypted in a way that is not \
                 available (PBES2 with AES and the older PBE with 3DES and RC2 are)"
            }
            Self::Malformed => "it is no PKCS#12 container in DER",
            Self::Content(reason) => reason,
        })
    }
}

impl std::error::Error for InvalidContainer {}

impl Container {
    /// Opens one in DER.
    ///
    /// # Errors
    /// It is none, does not open, or holds what cannot be used.
    pub fn open(octets: &[u8], passphrase: Option<&[u8]>) -> Result<Self, InvalidContainer> {
        // RFC 7292 section 4: PFX is a sequence that begins with version 3; some write its length as indefinite.
        let head = octets.get(..9).unwrap_or(octets);
        if head.first() != Some(&0x30) || !head.windows(3).any(|version| version == [2, 1, 3]) {
            return Err(InvalidContainer::Malformed);
        }
        let opened = container::open(octets, passphrase.unwrap_or_default());
        let (key, certificates) = opened.ok_or(match passphrase {
            Some(_) => InvalidContainer::Closed,
            None => InvalidContainer::Encrypted,
        })?;
        let key = key.map(|pkcs8| PrivateKey::parse(&pkcs8, None)).transpose();
        let certificates = certificates.iter().map(|der| Certificate::from_der(der)).collect::<Result<_, _>>();
        Ok(Self {
            key: key.map_err(|e| InvalidContainer::Content(e.to_string()))?,
            certificates: certificates.map_err(|e| InvalidContainer::Content(e.to_string()))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by OpenSSL 3.0.19: `openssl pkcs12 -export -inkey moon.key.pem -in moon.pem -certfile root.pem`, with
    /// `-keypbe aes-128-cbc -certpbe aes-128-cbc -macalg sha256`, and with `-legacy` (3DES and RC2).
    const AES: &[u8] = include_bytes!("signature/fake-keys/moon-aes.p12");
    const LEGACY: &[u8] = include_bytes!("signature/fake-keys/moon-legacy.p12");

    #[test]
    fn key_and_certificates_come_out_of_a_container() {
        for octets in [AES, LEGACY] {
            let container = Container::open(octets, Some(b"not-a-secret")).unwrap();
            let [moon, root] = &container.certificates[..] else { panic!("{container:?}") };
            assert!(root.is_authority() && !moon.is_authority());
            assert_eq!(container.key.unwrap().public(), moon.public_key().unwrap());
        }
    }

    #[test]
    fn what_does_not_open_says_why() {
        let open = |octets, passphrase| Container::open(octets, passphrase).unwrap_err();
        assert_eq!(open(AES, None), InvalidContainer::Encrypted);
        for wrong in [&b"another"[..], b"", b"not-a-secret\0", b"not-a-secret\0x"] {
            assert_eq!(open(AES, Some(wrong)), InvalidContainer::Closed);
        }
        assert_eq!(open(b"-----BEGIN CERTIFICATE-----", Some(b"x")), InvalidContainer::Malformed);
        for length in 0..AES.len() {
            assert!(Container::open(&AES[..length], Some(b"not-a-secret")).is_err(), "{length}");
        }
        assert!(!format!("{:?}", Container::open(AES, Some(b"not-a-secret"))).contains("BEGIN"));
    }
}
