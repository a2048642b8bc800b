//! Signatures of IKE: private and public keys, and the schemes of RFC 7296 section 3.8, RFC 4754, RFC 7427, RFC 8420 and,
//! for IKEv1, RFC 2409 section 5.1.

use crate::awslc::keys::{self, NoKey, Rsa};
use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature as lc;
use lc::KeyPair as _;
use std::fmt;
use wire::HashAlgorithm;
use zeroize::Zeroizing;

/// What kind of key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyKind {
    /// RSA, with the length of its modulus in bits.
    Rsa(usize),
    /// ECDSA on NIST's P-256.
    EcdsaP256,
    /// ECDSA on NIST's P-384.
    EcdsaP384,
    /// ECDSA on NIST's P-521.
    EcdsaP521,
    /// Ed25519 (RFC 8032).
    Ed25519,
}

impl KeyKind {
    /// Its length in bits, as strongSwan states it.
    pub fn bits(self) -> usize {
        match self {
            Self::Rsa(bits) => bits,
            Self::EcdsaP256 | Self::Ed25519 => 256,
            Self::EcdsaP384 => 384,
            Self::EcdsaP521 => 521,
        }
    }

    /// RSA, ECDSA or ED25519.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rsa(_) => "RSA",
            Self::Ed25519 => "ED25519",
            _ => "ECDSA",
        }
    }

    /// The hash that belongs to a curve (RFC 4754 section 3); for RSA the one we prefer.
    pub fn hash(self) -> HashAlgorithm {
        match self {
            Self::EcdsaP384 => HashAlgorithm::SHA2_384,
            Self::EcdsaP521 => HashAlgorithm::SHA2_512,
            Self::Ed25519 => HashAlgorithm::IDENTITY,
            Self::Rsa(bits) if bits > 7680 => HashAlgorithm::SHA2_512,
            Self::Rsa(bits) if bits > 3072 => HashAlgorithm::SHA2_384,
            _ => HashAlgorithm::SHA2_256,
        }
    }

    /// The curve's hash as AWS-LC names it.
    fn digest(self) -> Option<&'static digest::Algorithm> {
        match self {
            Self::EcdsaP256 => Some(&digest::SHA256),
            Self::EcdsaP384 => Some(&digest::SHA384),
            Self::EcdsaP521 => Some(&digest::SHA512),
            Self::Rsa(_) | Self::Ed25519 => None,
        }
    }

    fn is_ecdsa(self) -> bool {
        matches!(self, Self::EcdsaP256 | Self::EcdsaP384 | Self::EcdsaP521)
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.name(), self.bits())
    }
}

/// How something is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// RSASSA-PKCS1-v1_5 with a hash.
    RsaPkcs1(HashAlgorithm),
    /// RSASSA-PSS with a hash, MGF1 with the same, and a salt as long as it.
    RsaPss(HashAlgorithm),
    /// ECDSA with a hash, the signature as an ECDSA-Sig-Value in DER.
    Ecdsa(HashAlgorithm),
    /// ECDSA with the curve's hash, the signature as two integers of fixed length (RFC 4754 section 7).
    EcdsaFixed,
    /// ECDSA over a hash of 256, 384 or 512 bits that is made already, the signature as two integers of fixed length:
    /// IKEv1 (RFC 2409 section 5.1, RFC 4754).
    EcdsaDigest,
    /// Ed25519 without a hash (RFC 8420).
    Ed25519,
    /// RSA over the octets themselves, without a DigestInfo: IKEv1 (RFC 2409 section 5.1).
    RsaRaw,
}

impl Scheme {
    /// The hash, where the scheme names one.
    pub fn hash(self) -> Option<HashAlgorithm> {
        match self {
            Self::RsaPkcs1(hash) | Self::RsaPss(hash) | Self::Ecdsa(hash) => Some(hash),
            Self::Ed25519 => Some(HashAlgorithm::IDENTITY),
            Self::EcdsaFixed | Self::EcdsaDigest | Self::RsaRaw => None,
        }
    }

    /// The AlgorithmIdentifier in DER, as RFC 7427 appendix A and RFC 8420 section 3 give them. `None` for the schemes
    /// that have none, or with a hash that RFC 7427 does not have.
    pub fn algorithm_identifier(self) -> Option<Vec<u8>> {
        const NULL: &[u8] = &[5, 0];
        Some(match self {
            Self::RsaPkcs1(hash) => sequence(&[&oid(&rsa_arc(hash)?), NULL]),
            Self::Ecdsa(hash) => sequence(&[&oid(&ecdsa_arc(hash)?)]),
            Self::RsaPss(hash) => pss(hash, true)?,
            Self::Ed25519 => sequence(&[&oid(&[0x2b, 0x65, 0x70])]),
            Self::EcdsaFixed | Self::EcdsaDigest | Self::RsaRaw => return None,
        })
    }

    /// The scheme of an AlgorithmIdentifier in DER (RFC 7427 section 3). Only the encodings of its appendix A are known,
    /// and PSS with and without the NULL parameters of its hash.
    pub fn from_algorithm_identifier(der: &[u8]) -> Option<Self> {
        use HashAlgorithm as H;
        let hashes = [H::SHA2_256, H::SHA2_384, H::SHA2_512, H::SHA1];
        let known = hashes.iter().flat_map(|h| [Self::RsaPkcs1(*h), Self::Ecdsa(*h), Self::RsaPss(*h)]);
        let mut known = known.chain([Self::Ed25519]);
        known
            .find(|scheme| scheme.algorithm_identifier().is_some_and(|a| a == der))
            .or_else(|| hashes.iter().find(|h| pss(**h, false).is_some_and(|a| a == der)).map(|h| Self::RsaPss(*h)))
    }

    /// Whether keys of this kind sign so.
    pub fn fits(self, kind: KeyKind) -> bool {
        match self {
            Self::RsaPkcs1(_) | Self::RsaPss(_) | Self::RsaRaw => matches!(kind, KeyKind::Rsa(_)),
            Self::Ecdsa(_) | Self::EcdsaFixed | Self::EcdsaDigest => kind.is_ecdsa(),
            Self::Ed25519 => kind == KeyKind::Ed25519,
        }
    }
}

impl fmt::Display for Scheme {
    /// As strongSwan's log names them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, hash) = match self {
            Self::RsaPkcs1(hash) => ("RSA_EMSA_PKCS1", Some(hash)),
            Self::RsaPss(hash) => ("RSA_EMSA_PSS", Some(hash)),
            Self::Ecdsa(hash) => ("ECDSA_WITH", Some(hash)),
            Self::EcdsaFixed => ("ECDSA", None),
            Self::EcdsaDigest => ("ECDSA_WITH_NULL", None),
            Self::Ed25519 => ("ED25519", None),
            Self::RsaRaw => ("RSA_EMSA_PKCS1_NULL", None),
        };
        f.write_str(name)?;
        match hash {
            Some(hash) => write!(f, "_{hash}"),
            None => Ok(()),
        }
    }
}

fn tagged(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|p| p.len()).sum();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        Ok(long) => out.extend([0x81, long]),
        Err(_) => out.extend([0x82, (length >> 8) as u8, length as u8]), // nothing here is longer
    }
    parts.iter().for_each(|p| out.extend_from_slice(p));
    out
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tagged(0x30, parts)
}

fn oid(arc: &[u8]) -> Vec<u8> {
    tagged(6, &[arc])
}

/// The PKCS #1 arc 1.2.840.113549.1.1 and its last number.
fn pkcs1_arc(last: u8) -> [u8; 9] {
    [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, last]
}

fn rsa_arc(hash: HashAlgorithm) -> Option<[u8; 9]> {
    Some(pkcs1_arc(match hash {
        HashAlgorithm::SHA1 => 5,
        HashAlgorithm::SHA2_256 => 11,
        HashAlgorithm::SHA2_384 => 12,
        HashAlgorithm::SHA2_512 => 13,
        _ => return None,
    }))
}

fn ecdsa_arc(hash: HashAlgorithm) -> Option<Vec<u8>> {
    let base = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4];
    let last: &[u8] = match hash {
        HashAlgorithm::SHA1 => &[1],
        HashAlgorithm::SHA2_256 => &[3, 2],
        HashAlgorithm::SHA2_384 => &[3, 3],
        HashAlgorithm::SHA2_512 => &[3, 4],
        _ => return None,
    };
    Some([&base, last].concat())
}

/// The object identifier of a hash, and the length of its output.
fn hash_arc(hash: HashAlgorithm) -> Option<(Vec<u8>, u8)> {
    let sha2 = |last| vec![0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, last];
    Some(match hash {
        HashAlgorithm::SHA1 => (vec![0x2b, 0x0e, 3, 2, 0x1a], 20),
        HashAlgorithm::SHA2_256 => (sha2(1), 32),
        HashAlgorithm::SHA2_384 => (sha2(2), 48),
        HashAlgorithm::SHA2_512 => (sha2(3), 64),
        _ => return None,
    })
}

/// id-RSASSA-PSS with all its parameters (RFC 4055 section 3.1). SHA-1 would be the default that is left out, and is not
/// used with PSS.
fn pss(hash: HashAlgorithm, null: bool) -> Option<Vec<u8>> {
    if hash == HashAlgorithm::SHA1 {
        return None;
    }
    let (arc, length) = hash_arc(hash)?;
    let parameters: &[u8] = if null { &[5, 0] } else { &[] };
    let hash = sequence(&[&oid(&arc), parameters]);
    let mgf1 = sequence(&[&oid(&pkcs1_arc(8)), &hash]);
    let salt = [2, 1, length];
    let all = [tagged(0xa0, &[&hash]), tagged(0xa1, &[&mgf1]), tagged(0xa2, &[&salt])].concat();
    Some(sequence(&[&oid(&pkcs1_arc(10)), &sequence(&[&all])]))
}

fn digest_of(hash: HashAlgorithm, message: &[u8]) -> Option<digest::Digest> {
    let algorithm = match hash {
        HashAlgorithm::SHA1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        HashAlgorithm::SHA2_256 => &digest::SHA256,
        HashAlgorithm::SHA2_384 => &digest::SHA384,
        HashAlgorithm::SHA2_512 => &digest::SHA512,
        _ => return None,
    };
    Some(digest::digest(algorithm, message))
}

/// DigestInfo (RFC 8017 section 9.2).
fn digest_info(hash: HashAlgorithm, message: &[u8]) -> Option<Vec<u8>> {
    let (arc, _) = hash_arc(hash)?;
    let digest = digest_of(hash, message)?;
    Some(sequence(&[&sequence(&[&oid(&arc), &[5, 0]]), &tagged(4, &[digest.as_ref()])]))
}

/// Why something is no private key that can be used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidPrivateKey {
    /// It is encrypted, and there is no passphrase for it.
    Encrypted,
    /// It does not open with its passphrase.
    WrongPassphrase,
    /// It is no private key in PEM or DER.
    Malformed,
    /// A kind or size that is not available: RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 and P-521, and Ed25519 are.
    Unsupported,
}

impl fmt::Display for InvalidPrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encrypted => {
                "it is encrypted: add secrets { private-NAME { file = FILE  secret = PASSPHRASE } } to swanctl.conf"
            }
            Self::WrongPassphrase => "it does not open with the passphrase that swanctl.conf has for it",
            Self::Malformed => "it is no private key in PEM or DER (PKCS#1, SEC 1 or PKCS#8)",
            Self::Unsupported => {
                "keys of this kind are not available: RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, and Ed25519 are"
            }
        })
    }
}

impl std::error::Error for InvalidPrivateKey {}

/// A private key. Debug output does not show it.
pub struct PrivateKey {
    pair: Pair,
    public: PublicKey,
}

enum Pair {
    Rsa(Box<lc::RsaKeyPair>, Rsa),
    /// The same key twice: for signatures in DER, and of fixed length.
    Ecdsa(Box<lc::EcdsaKeyPair>, Box<lc::EcdsaKeyPair>),
    Ed25519(Box<lc::Ed25519KeyPair>),
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({}, <hidden>)", self.public.kind)
    }
}

impl PrivateKey {
    /// Reads PEM or DER, opening it with `passphrase` if it is encrypted.
    ///
    /// # Errors
    /// It is no private key, is of an unknown kind, or does not open.
    pub fn parse(octets: &[u8], passphrase: Option<&[u8]>) -> Result<Self, InvalidPrivateKey> {
        let is_pem = octets.windows(11).any(|w| w == b"-----BEGIN ");
        let found = match is_pem {
            true => keys::from_pem(octets, passphrase),
            // An encrypted PKCS#8 structure in DER is known by nothing but that it opens.
            false => keys::from_der(octets).or_else(|_| keys::from_pem(&as_pem(octets), passphrase)),
        };
        let pkcs8 = found.map_err(|e| match e {
            NoKey::Encrypted => InvalidPrivateKey::Encrypted,
            NoKey::WrongPassphrase => InvalidPrivateKey::WrongPassphrase,
            NoKey::Malformed => InvalidPrivateKey::Malformed,
        })?;
        Self::from_pkcs8(&pkcs8).ok_or(InvalidPrivateKey::Unsupported)
    }

    fn from_pkcs8(pkcs8: &[u8]) -> Option<Self> {
        if let (Some(rsa), Ok(pair)) = (Rsa::private(pkcs8), lc::RsaKeyPair::from_pkcs8(pkcs8)) {
            let kind = KeyKind::Rsa(rsa.length() * 8);
            let public = PublicKey { kind, octets: pair.public_key().as_ref().to_vec() };
            return Some(Self { pair: Pair::Rsa(Box::new(pair), rsa), public });
        }
        let curves = [
            (KeyKind::EcdsaP256, &lc::ECDSA_P256_SHA256_ASN1_SIGNING, &lc::ECDSA_P256_SHA256_FIXED_SIGNING),
            (KeyKind::EcdsaP384, &lc::ECDSA_P384_SHA384_ASN1_SIGNING, &lc::ECDSA_P384_SHA384_FIXED_SIGNING),
            (KeyKind::EcdsaP521, &lc::ECDSA_P521_SHA512_ASN1_SIGNING, &lc::ECDSA_P521_SHA512_FIXED_SIGNING),
        ];
        for (kind, asn1, fixed) in curves {
            let pairs = (lc::EcdsaKeyPair::from_pkcs8(asn1, pkcs8), lc::EcdsaKeyPair::from_pkcs8(fixed, pkcs8));
            if let (Ok(asn1), Ok(fixed)) = pairs {
                let public = PublicKey { kind, octets: asn1.public_key().as_ref().to_vec() };
                return Some(Self { pair: Pair::Ecdsa(Box::new(asn1), Box::new(fixed)), public });
            }
        }
        let pair = lc::Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).ok()?;
        let public = PublicKey { kind: KeyKind::Ed25519, octets: pair.public_key().as_ref().to_vec() };
        Some(Self { pair: Pair::Ed25519(Box::new(pair)), public })
    }

    /// The public key.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs. `None` if this key cannot sign so: [`Scheme::fits`], and for ECDSA the hash must be the curve's.
    pub fn sign(&self, scheme: Scheme, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match (&self.pair, scheme) {
            (Pair::Rsa(_, raw), Scheme::RsaPkcs1(hash)) => raw.sign(&digest_info(hash, message)?),
            (Pair::Rsa(_, raw), Scheme::RsaRaw) => raw.sign(message),
            (Pair::Rsa(pair, _), Scheme::RsaPss(hash)) => {
                let encoding: &'static dyn lc::RsaEncoding = match hash {
                    HashAlgorithm::SHA2_256 => &lc::RSA_PSS_SHA256,
                    HashAlgorithm::SHA2_384 => &lc::RSA_PSS_SHA384,
                    HashAlgorithm::SHA2_512 => &lc::RSA_PSS_SHA512,
                    _ => return None,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut signature).ok()?;
                Some(signature)
            }
            (Pair::Ecdsa(asn1, _), Scheme::Ecdsa(hash)) if hash == self.public.kind.hash() => {
                Some(asn1.sign(&random, message).ok()?.as_ref().to_vec())
            }
            (Pair::Ecdsa(_, fixed), Scheme::EcdsaFixed) => Some(fixed.sign(&random, message).ok()?.as_ref().to_vec()),
            (Pair::Ecdsa(_, fixed), Scheme::EcdsaDigest) => {
                let digest = ecdsa_digest(self.public.kind, message)?;
                Some(fixed.sign_digest(&digest).ok()?.as_ref().to_vec())
            }
            (Pair::Ed25519(pair), Scheme::Ed25519) => Some(pair.sign(message).as_ref().to_vec()),
            _ => None,
        }
    }
}

/// A hash as ECDSA on the curve of `kind` takes it: the integer of its leftmost bits, as many as the curve's order has (FIPS
/// 186-5 section 6.4.1). A hash of another curve's length is cut off at its right, or filled up with zeros at its left,
/// which leaves that integer as it is. `None` for what is no hash of SHA-2.
fn ecdsa_digest(kind: KeyKind, hash: &[u8]) -> Option<digest::Digest> {
    let algorithm = kind.digest().filter(|_| matches!(hash.len(), 32 | 48 | 64))?;
    let mut octets = vec![0; algorithm.output_len.saturating_sub(hash.len())];
    octets.extend_from_slice(hash.get(..algorithm.output_len).unwrap_or(hash));
    digest::Digest::import_less_safe(&octets, algorithm).ok()
}

/// An encrypted PKCS#8 structure in the armour that AWS-LC opens.
fn as_pem(der: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut pem = Zeroizing::new(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n".to_vec());
    pem.extend_from_slice(base64(der).as_bytes());
    pem.extend_from_slice(b"-----END ENCRYPTED PRIVATE KEY-----\n");
    pem
}

/// RFC 4648 section 4, in lines of 64 characters (RFC 7468 section 2).
pub(crate) fn base64(octets: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(octets.len() / 3 * 4 + octets.len() / 48 + 8);
    for line in octets.chunks(48) {
        for group in line.chunks(3) {
            let at = |n: usize| u32::from(group.get(n).copied().unwrap_or_default());
            let bits = at(0) << 16 | at(1) << 8 | at(2);
            for n in 0..4 {
                let index = (bits >> (18 - 6 * n)) & 63;
                let sign = ALPHABET.get(index as usize).copied().unwrap_or(b'A');
                text.push(if n <= group.len() { char::from(sign) } else { '=' });
            }
        }
        text.push('\n');
    }
    text
}

/// A public key: the subjectPublicKey of a certificate (RFC 5280 section 4.1.2.7).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublicKey {
    kind: KeyKind,
    /// RSAPublicKey (RFC 8017), the uncompressed point (RFC 5480), or the octets of Ed25519 (RFC 8410).
    octets: Vec<u8>,
}

impl PublicKey {
    /// From the algorithm of a SubjectPublicKeyInfo (its OID and, for curves, the OID of its parameters in dotted
    /// notation) and its bits. `None` for kinds that are not available.
    pub(crate) fn new(algorithm: &str, curve: Option<&str>, octets: &[u8]) -> Option<Self> {
        let kind = match (algorithm, curve) {
            ("1.2.840.113549.1.1.1", _) => KeyKind::Rsa(Rsa::public(octets)?.length() * 8),
            ("1.2.840.10045.2.1", Some("1.2.840.10045.3.1.7")) => KeyKind::EcdsaP256,
            ("1.2.840.10045.2.1", Some("1.3.132.0.34")) => KeyKind::EcdsaP384,
            ("1.2.840.10045.2.1", Some("1.3.132.0.35")) => KeyKind::EcdsaP521,
            ("1.3.101.112", None) => KeyKind::Ed25519,
            _ => return None,
        };
        Some(Self { kind, octets: octets.to_vec() })
    }

    /// What kind of key it is.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The SHA-1 hash of the key's bits, by which strongSwan and RFC 5280 section 4.2.1.2 name keys.
    pub fn id(&self) -> [u8; 20] {
        crate::sha1(&[&self.octets])
    }

    /// Checks a signature.
    pub fn verify(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> bool {
        if scheme == Scheme::EcdsaDigest {
            let digest = ecdsa_digest(self.kind, message);
            let key = self.verification(Scheme::EcdsaFixed).map(|a| lc::UnparsedPublicKey::new(a, &self.octets));
            return digest.zip(key).is_some_and(|(digest, key)| key.verify_digest(&digest, signature).is_ok());
        }
        let Some(algorithm) = self.verification(scheme) else {
            return scheme == Scheme::RsaRaw
                && matches!(self.kind, KeyKind::Rsa(2048..=8192))
                && Rsa::public(&self.octets)
                    .and_then(|key| key.recover(signature))
                    .is_some_and(|signed| crate::equal(&signed, message));
        };
        lc::UnparsedPublicKey::new(algorithm, &self.octets).verify(message, signature).is_ok()
    }

    fn verification(&self, scheme: Scheme) -> Option<&'static dyn lc::VerificationAlgorithm> {
        use HashAlgorithm as H;
        use KeyKind as K;
        Some(match (self.kind, scheme) {
            (K::Rsa(_), Scheme::RsaPkcs1(H::SHA1)) => &lc::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            (K::Rsa(_), Scheme::RsaPkcs1(H::SHA2_256)) => &lc::RSA_PKCS1_2048_8192_SHA256,
            (K::Rsa(_), Scheme::RsaPkcs1(H::SHA2_384)) => &lc::RSA_PKCS1_2048_8192_SHA384,
            (K::Rsa(_), Scheme::RsaPkcs1(H::SHA2_512)) => &lc::RSA_PKCS1_2048_8192_SHA512,
            (K::Rsa(_), Scheme::RsaPss(H::SHA2_256)) => &lc::RSA_PSS_2048_8192_SHA256,
            (K::Rsa(_), Scheme::RsaPss(H::SHA2_384)) => &lc::RSA_PSS_2048_8192_SHA384,
            (K::Rsa(_), Scheme::RsaPss(H::SHA2_512)) => &lc::RSA_PSS_2048_8192_SHA512,
            (K::EcdsaP256, Scheme::Ecdsa(H::SHA2_256)) => &lc::ECDSA_P256_SHA256_ASN1,
            (K::EcdsaP256, Scheme::Ecdsa(H::SHA2_384)) => &lc::ECDSA_P256_SHA384_ASN1,
            (K::EcdsaP256, Scheme::Ecdsa(H::SHA2_512)) => &lc::ECDSA_P256_SHA512_ASN1,
            (K::EcdsaP384, Scheme::Ecdsa(H::SHA2_256)) => &lc::ECDSA_P384_SHA256_ASN1,
            (K::EcdsaP384, Scheme::Ecdsa(H::SHA2_384)) => &lc::ECDSA_P384_SHA384_ASN1,
            (K::EcdsaP384, Scheme::Ecdsa(H::SHA2_512)) => &lc::ECDSA_P384_SHA512_ASN1,
            (K::EcdsaP521, Scheme::Ecdsa(H::SHA2_256)) => &lc::ECDSA_P521_SHA256_ASN1,
            (K::EcdsaP521, Scheme::Ecdsa(H::SHA2_384)) => &lc::ECDSA_P521_SHA384_ASN1,
            (K::EcdsaP521, Scheme::Ecdsa(H::SHA2_512)) => &lc::ECDSA_P521_SHA512_ASN1,
            (K::EcdsaP256, Scheme::EcdsaFixed) => &lc::ECDSA_P256_SHA256_FIXED,
            (K::EcdsaP384, Scheme::EcdsaFixed) => &lc::ECDSA_P384_SHA384_FIXED,
            (K::EcdsaP521, Scheme::EcdsaFixed) => &lc::ECDSA_P521_SHA512_FIXED,
            (K::Ed25519, Scheme::Ed25519) => &lc::ED25519,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests;
