//! How the two ends prove who they are.

use crate::reader::Reader;
use crate::secrets::base64;
use crate::{Entry, ErrorKind};
use model::Identity;
use wire::HashAlgorithm;

/// How an end proves its identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMethod {
    /// Pre-shared key (RFC 7296 section 2.15, RFC 2409 section 5.4).
    Psk,
    /// A signature, by the key of a certificate (RFC 7296 section 2.15, RFC 7427; RFC 2409 section 5.1, RFC 4754).
    Pubkey,
    /// XAuth: user name and password after phase 1 (IKEv1). As the first round of an end it is its only proof: hybrid
    /// authentication, where the other end signs.
    Xauth,
}

/// A kind of key, as `auth` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// RSA.
    Rsa,
    /// ECDSA.
    Ecdsa,
    /// Ed25519.
    Ed25519,
}

/// What `auth` asks of signatures beyond that there is one: `rsa-3072-sha256`, `ike:ecdsa`, `rsa/pss-sha512`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SignatureRule {
    /// The kind of key; any if `None`.
    pub key: Option<KeyType>,
    /// RSASSA-PSS instead of PKCS#1 v1.5.
    pub pss: bool,
    /// The least length of a key in bits; 0 for any.
    pub bits: usize,
    /// The hashes that are allowed, the preferred one first; all if empty.
    pub hashes: Vec<HashAlgorithm>,
    /// The rule is for signatures of IKE alone, and not for those in certificates (`ike:`).
    pub only_ike: bool,
}

impl SignatureRule {
    /// Reads the value of `auth`, if it means signatures: `pubkey`, `rsa`, `rsa/pss`, `ecdsa` or `ed25519`, after it a
    /// length in bits and hashes, each with a dash before it, and before all that perhaps `ike:`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        let (only_ike, text) = match text.strip_prefix("ike:") {
            Some(rest) => (true, rest),
            None => (false, text.as_str()),
        };
        let mut words = text.split('-');
        let (key, pss) = match words.next()? {
            "pubkey" => (None, false),
            "rsa" => (Some(KeyType::Rsa), false),
            "rsa/pss" => (Some(KeyType::Rsa), true),
            "ecdsa" => (Some(KeyType::Ecdsa), false),
            "ed25519" => (Some(KeyType::Ed25519), false),
            _ => return None,
        };
        let mut rule = Self { key, pss, only_ike, ..Self::default() };
        for word in words {
            match word {
                "sha1" => rule.hashes.push(HashAlgorithm::SHA1),
                "sha256" => rule.hashes.push(HashAlgorithm::SHA2_256),
                "sha384" => rule.hashes.push(HashAlgorithm::SHA2_384),
                "sha512" => rule.hashes.push(HashAlgorithm::SHA2_512),
                "identity" => rule.hashes.push(HashAlgorithm::IDENTITY),
                bits if rule.bits == 0 && rule.hashes.is_empty() => {
                    rule.bits = bits.parse().ok().filter(|n| (1..=16_384).contains(n))?;
                }
                _ => return None,
            }
        }
        Some(rule)
    }
}

/// A certificate that the configuration names, or a public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateSource {
    /// A file; a relative name is below `x509`, or `x509ca` for an authority and `pubkey` for a key.
    File(String),
    /// The certificate itself, or the SubjectPublicKeyInfo of the key, in DER.
    Der(Vec<u8>),
}

impl CertificateSource {
    /// A file's name, or a certificate in PEM (RFC 7468 section 5). `None` for PEM that is broken.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::between(text, "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----")
    }

    /// A file's name, or a public key in PEM (RFC 7468 section 13). `None` for PEM that is broken.
    pub(crate) fn parse_key(text: &str) -> Option<Self> {
        Self::between(text, "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----")
    }

    fn between(text: &str, begin: &str, end: &str) -> Option<Self> {
        let Some((_, rest)) = text.split_once(begin) else {
            return (!text.is_empty()).then(|| Self::File(text.to_string()));
        };
        let (body, _) = rest.split_once(end)?;
        let characters: String = body.chars().filter(|c| !c.is_whitespace()).collect();
        Some(Self::Der(base64(&characters)?.to_vec()))
    }

    /// The certificate in DER, once it has been read.
    pub fn der(&self) -> Option<&[u8]> {
        match self {
            Self::File(_) => None,
            Self::Der(der) => Some(der),
        }
    }
}

/// `revocation`: how much must be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RevocationPolicy {
    /// Only what is known to be revoked is refused.
    #[default]
    Relaxed,
    /// As `strict` for certificates that say where a revocation list is.
    IfUri,
    /// Refused unless a list shows that it is not revoked.
    Strict,
}

pub(crate) fn revocation(reader: &mut Reader<'_>, entry: &Entry) -> Option<RevocationPolicy> {
    let words = [
        ("relaxed", RevocationPolicy::Relaxed),
        ("ifuri", RevocationPolicy::IfUri),
        ("strict", RevocationPolicy::Strict),
    ];
    reader.word(entry, "relaxed, ifuri or strict", &words)
}

/// Object identifiers as people write them: numbers without leading zeros, joined by dots, the first at most 2.
pub(crate) fn policies(reader: &mut Reader<'_>, entry: &Entry) -> Option<Vec<String>> {
    const EXPECTED: &str = "object identifiers in dotted notation, for instance 2.16.756.1.2";
    reader.list(entry, |text| {
        let arc = |part: &str| part.parse::<u32>().is_ok_and(|number| number.to_string() == part);
        let parts: Vec<&str> = text.split('.').collect();
        let first = matches!(parts.first(), Some(&("0" | "1" | "2")));
        let valid = first && (2..=32).contains(&parts.len()) && parts.iter().all(|part| arc(part));
        valid.then(|| text.to_string()).ok_or_else(|| ErrorKind::Value { got: text.into(), expected: EXPECTED })
    })
}

/// `send_cert`: when to send our certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SendCert {
    /// If the peer asks for certificates.
    #[default]
    IfAsked,
    /// Always.
    Always,
    /// Never: the peer must have it.
    Never,
}

/// One round of one end's authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentication {
    /// Identity: ours, or the one expected of the peer, which may be a wildcard. [`Identity::ANY`] when unset.
    pub id: Identity,
    /// Method.
    pub method: AuthMethod,
    /// With [`AuthMethod::Xauth`] the user's name. Ours: if it is not the identity of this or the first round. The peer's:
    /// with hybrid authentication alone, where the identity is the one of phase 1.
    pub xauth_id: Option<String>,
    /// Ours, with [`AuthMethod::Pubkey`]: the certificates to choose from; the peer's: those it must have one of.
    pub certs: Vec<CertificateSource>,
    /// Public keys without a certificate (RFC 7670): ours to choose from; the peer's: those it must have one of, instead of
    /// a certificate.
    pub pubkeys: Vec<CertificateSource>,
    /// The peer's: authorities, one of which must be on the path of its certificate; any if empty.
    pub cacerts: Vec<CertificateSource>,
    /// The peer's: the subject of an authority that must be on that path, which may have wildcards.
    pub ca_id: Option<Identity>,
    /// The peer's: policies that its certificate must have, all of them, and that the authorities on its path allow: object
    /// identifiers in dotted notation.
    pub cert_policies: Vec<String>,
    /// What must be known about revocation of the peer's certificate.
    pub revocation: RevocationPolicy,
    /// What signatures must be like: ours, and what of the peer is accepted.
    pub signature: SignatureRule,
}

impl Authentication {
    /// A round with nothing but a method and an identity.
    pub fn new(method: AuthMethod, id: Identity) -> Self {
        Self {
            id,
            method,
            xauth_id: None,
            certs: Vec::new(),
            pubkeys: Vec::new(),
            cacerts: Vec::new(),
            ca_id: None,
            cert_policies: Vec::new(),
            revocation: RevocationPolicy::default(),
            signature: SignatureRule::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_object_identifiers() {
        let load = |value: &str| {
            let text = format!(
                "connections {{ gw {{ local {{ auth = psk }}\nremote {{ auth = pubkey\ncert_policy = {value}\n}} }} }}"
            );
            crate::load(&crate::parse("c", &crate::MemoryFiles::one("c", &text)).unwrap())
        };
        let loaded = load("1.3.6.1.4.1.36906.1.1.1, 2.5.29.32.0").unwrap();
        assert_eq!(loaded.connections[0].remote.cert_policies, ["1.3.6.1.4.1.36906.1.1.1", "2.5.29.32.0"]);
        for wrong in ["anyPolicy", "1", "3.1", "1.02", "1..2", "1.2.", "1.4294967296"] {
            let errors = load(wrong).unwrap_err();
            assert!(errors[0].to_string().contains("object identifiers in dotted notation"), "{wrong}: {}", errors[0]);
        }
    }

    #[test]
    fn rules_for_signatures_are_read() {
        let rule = |text: &str| SignatureRule::parse(text).unwrap();
        assert_eq!(rule("pubkey"), SignatureRule::default());
        assert_eq!(rule("RSA-3072-sha256-sha384").bits, 3072);
        assert_eq!(rule("rsa-3072-sha256-sha384").hashes, [HashAlgorithm::SHA2_256, HashAlgorithm::SHA2_384]);
        assert!(rule("rsa/pss-sha512").pss && !rule("rsa-sha512").pss);
        assert!(rule("ike:ecdsa-sha384").only_ike && rule("ike:ecdsa").key == Some(KeyType::Ecdsa));
        for no in ["psk", "eap-tls", "rsa-sha256-3072", "rsa-0", "ecdsa-md5", "ed448", ""] {
            assert_eq!(SignatureRule::parse(no), None, "{no}");
        }
    }

    #[test]
    fn certificates_are_files_or_pem() {
        let file = CertificateSource::File("moonCert.pem".into());
        assert_eq!(CertificateSource::parse("moonCert.pem"), Some(file));
        let pem = "-----BEGIN CERTIFICATE-----\nMAMC\nAQU=\n-----END CERTIFICATE-----\n";
        assert_eq!(CertificateSource::parse(pem).unwrap().der(), Some(&[0x30, 3, 2, 1, 5][..]));
        assert_eq!(CertificateSource::parse("-----BEGIN CERTIFICATE-----\nMAMC"), None);
    }
}
