//! How the two ends prove who they are: methods, certificates to use or to accept, constraints on signatures.

use model::{ConfigRef, Identity};
use std::sync::Arc;
use wire::HashAlgorithm;

/// How an end proves its identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMethod {
    /// A signature with the private key of a certificate (RFC 7296 section 2.15, RFC 7427, RFC 2409 section 5.1).
    Pubkey,
    /// Pre-shared key (RFC 7296 section 2.15, RFC 2409 section 5.4).
    Psk,
    /// XAuth: user name and password after phase 1 (IKEv1). In the first round: hybrid authentication.
    Xauth,
}

/// A certificate that a configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateSource {
    /// A file, which the program has still to read.
    File {
        /// Its name: absolute, or below the directory of its kind (`x509`, `x509ca`).
        name: String,
        /// Where it is named.
        place: ConfigRef,
    },
    /// The certificate itself in DER. A client may send PEM, which the program turns into DER.
    Der(Arc<[u8]>),
}

/// `revocation`: what happens if it cannot be told whether the peer's certificate is revoked. One that is known to be
/// revoked is never accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Revocation {
    /// It is accepted.
    #[default]
    Relaxed,
    /// It is accepted, unless it says where its revocation list is to be had.
    IfUri,
    /// It is refused.
    Strict,
}

/// Kinds of keys in constraints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureKey {
    /// `pubkey`: any.
    Any,
    /// `rsa`: RSA with the padding of PKCS#1 version 1.5, and where that is configured RSASSA-PSS too.
    Rsa,
    /// `rsa/pss`: RSASSA-PSS.
    RsaPss,
    /// `ecdsa`.
    Ecdsa,
    /// `ed25519`.
    Ed25519,
}

/// A signature scheme that is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemeRule {
    /// The kind of key.
    pub key: SignatureKey,
    /// Its hash; `None` for any.
    pub hash: Option<HashAlgorithm>,
    /// Bits that the key must have at least, 0 for any.
    pub bits: u32,
}

/// What `auth` says beyond the method: `rsa-2048-sha256`, `ike:pubkey-sha384`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SignatureConstraints {
    /// Schemes for the AUTH payload of IKEv2 (RFC 7427), in order of preference; none for any.
    pub ike: Vec<SchemeRule>,
    /// Keys and schemes in the peer's chain of certificates; none for any.
    pub chain: Vec<SchemeRule>,
}

/// `send_cert`: when CERT payloads are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SendCert {
    /// If the peer asks (CERTREQ).
    #[default]
    IfAsked,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// One round of one end's authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentication {
    /// Identity: ours, or the one expected of the peer, which may be a wildcard. [`Identity::ANY`] when unset.
    pub id: Identity,
    /// Method.
    pub method: AuthMethod,
    /// Ours: certificates to choose from, best first. The peer's: the only ones to accept, if there are any.
    pub certs: Vec<CertificateSource>,
    /// The peer's: certification authorities one of which must be in its chain, if there are any.
    pub cacerts: Vec<CertificateSource>,
    /// The peer's: an identity that a certificate of an authority in its chain must have.
    pub ca_id: Option<Identity>,
    /// The peer's: what happens without knowledge about revocation.
    pub revocation: Revocation,
    /// Signature schemes.
    pub constraints: SignatureConstraints,
    /// Ours, with [`AuthMethod::Xauth`]: the user name, if it is not the identity of this or the first round.
    pub xauth_id: Option<String>,
}

impl Authentication {
    /// A round with nothing but a method and an identity.
    pub fn new(method: AuthMethod, id: Identity) -> Self {
        Self {
            id,
            method,
            certs: Vec::new(),
            cacerts: Vec::new(),
            ca_id: None,
            revocation: Revocation::Relaxed,
            constraints: SignatureConstraints::default(),
            xauth_id: None,
        }
    }
}
