//! How the ends of phase 1 prove who they are: HASH under a pre-shared key (RFC 2409 section 5.4), or SIG, a signature over
//! that HASH by the key of a certificate (section 5.1; RFC 4754 for ECDSA).
//!
//! ```text
//! main mode:  HDR*, IDii, [CERT,] SIG_I  -->
//!                                        <--  HDR*, IDir, [CERT,] SIG_R
//! ```
//!
//! The method is an attribute of the proposals, one for both ends: so both have keys of the same kind.

use super::sa::IsakmpSa;
use super::transaction::xauth_round;
use crate::context::Context;
use crate::credentials::{Signature, method_name, own_identity, sends_certificate};
use config::{AuthMethod, Connection};
use crypto::{Certificate, KeyKind, Prf, Scheme};
use model::{FailureKind, Identity, Instant, Role};
use std::net::SocketAddr;
use wire::v1::{Chain, ChainBuilder};
use wire::{CertEncoding, OakleyAuthMethod as Method, PrfId};

/// How many authorities a peer's requests are remembered of.
const MAX_REQUESTED: usize = 64;

/// Whether the ends sign.
pub(super) fn is_signature(method: Method) -> bool {
    scheme_of(method).is_some()
}

/// How they sign, if they do.
fn scheme_of(method: Method) -> Option<Scheme> {
    match method {
        Method::RSA_SIGNATURES | Method::XAUTH_INIT_RSA | Method::XAUTH_RESP_RSA => Some(Scheme::RsaRaw),
        Method::ECDSA_SHA256_P256 | Method::ECDSA_SHA384_P384 | Method::ECDSA_SHA512_P521 => Some(Scheme::EcdsaDigest),
        _ => None,
    }
}

/// The function that HASH_I and HASH_R are made with: a method that is tied to a hash uses HMAC with that one, not the
/// negotiated one (RFC 2409 section 5.1), and the signature is over the HASH as it is.
pub(super) fn hash_function(method: Method, negotiated: Prf) -> Prf {
    let tied = match method {
        Method::ECDSA_SHA256_P256 => PrfId::HMAC_SHA2_256,
        Method::ECDSA_SHA384_P384 => PrfId::HMAC_SHA2_384,
        Method::ECDSA_SHA512_P521 => PrfId::HMAC_SHA2_512,
        _ => return negotiated,
    };
    Prf::new(tied).unwrap_or(negotiated)
}

/// The method for keys of this kind, without XAuth.
fn method_for(kind: KeyKind) -> Option<Method> {
    match kind {
        KeyKind::Rsa(_) => Some(Method::RSA_SIGNATURES),
        KeyKind::EcdsaP256 => Some(Method::ECDSA_SHA256_P256),
        KeyKind::EcdsaP384 => Some(Method::ECDSA_SHA384_P384),
        KeyKind::EcdsaP521 => Some(Method::ECDSA_SHA512_P521),
        KeyKind::Ed25519 => None,
    }
}

/// Whether a certificate's key signs by this method.
fn fits(method: Method, certificate: &Certificate) -> bool {
    let plain = match method {
        Method::XAUTH_INIT_RSA | Method::XAUTH_RESP_RSA => Method::RSA_SIGNATURES,
        other => other,
    };
    certificate.public_key().is_some_and(|key| method_for(key.kind()) == Some(plain))
}

/// The method of phase 1 that stands for what is configured: the proof of both ends, and who of both proves a user
/// afterwards.
///
/// # Errors
/// What is configured has no method in IKEv1, or we have no certificate for it.
pub(super) fn method(
    cx: &Context,
    connection: &Connection,
    local: SocketAddr,
    own: Role,
) -> Result<Method, FailureKind> {
    let unsupported = |what: &str| FailureKind::AuthMethodUnsupported { method: format!("{what} (IKEv1)") };
    let first = match (connection.local.method, connection.remote.method) {
        (AuthMethod::Psk, AuthMethod::Psk) => Method::PRE_SHARED_KEY,
        (AuthMethod::Pubkey, AuthMethod::Pubkey) => {
            let id = own_identity(connection, local);
            let kind = cx.credentials.own(connection, &id, |_| false)?.key.public().kind();
            method_for(kind).ok_or_else(|| unsupported(kind.name()))?
        }
        _ => return Err(unsupported("different proofs of both ends")),
    };
    let further = [&connection.local_more, &connection.remote_more];
    if !further.iter().all(|more| more.len() <= 1 && more.len() == usize::from(xauth_round(more).is_some())) {
        return Err(unsupported("further rounds that are not XAuth"));
    }
    let initiator_is_client = match (xauth_round(&connection.local_more), xauth_round(&connection.remote_more), own) {
        (None, None, _) => return Ok(first),
        (Some(_), None, Role::Initiator) | (None, Some(_), Role::Responder) => true,
        (None, Some(_), Role::Initiator) | (Some(_), None, Role::Responder) => false,
        (Some(_), Some(_), _) => return Err(unsupported("XAuth of both ends")),
    };
    match (first, initiator_is_client) {
        (Method::PRE_SHARED_KEY, true) => Ok(Method::XAUTH_INIT_PRE_SHARED),
        (Method::PRE_SHARED_KEY, false) => Ok(Method::XAUTH_RESP_PRE_SHARED),
        (Method::RSA_SIGNATURES, true) => Ok(Method::XAUTH_INIT_RSA),
        (Method::RSA_SIGNATURES, false) => Ok(Method::XAUTH_RESP_RSA),
        _ => Err(unsupported("XAuth after ECDSA")),
    }
}

/// The method in tmsh's words.
pub(super) fn name(method: Method) -> &'static str {
    match method {
        Method::RSA_SIGNATURES | Method::XAUTH_INIT_RSA | Method::XAUTH_RESP_RSA => method_name(KeyKind::Rsa(0)),
        Method::ECDSA_SHA256_P256 => method_name(KeyKind::EcdsaP256),
        Method::ECDSA_SHA384_P384 => method_name(KeyKind::EcdsaP384),
        Method::ECDSA_SHA512_P521 => method_name(KeyKind::EcdsaP521),
        _ => "pre-shared-key",
    }
}

/// Asks for a certificate of each of our authorities (RFC 2408 section 3.10), where the peer is to sign.
pub(super) fn request_certificates(method: Method, cx: &Context, connection: &Connection, chain: &mut ChainBuilder) {
    if is_signature(method) && connection.send_certreq {
        for authority in cx.credentials.acceptable(connection) {
            chain.cert_req(CertEncoding::X509_SIGNATURE, authority.subject());
        }
    }
}

/// Remembers which authorities the peer asks for; an empty name means any.
pub(super) fn note_requests(sa: &mut IsakmpSa, chain: &Chain<'_>) {
    sa.requested.extend(requested(chain));
    sa.requested.truncate(MAX_REQUESTED);
}

/// The authorities that a message asks for, by their names in DER.
pub(super) fn requested(chain: &Chain<'_>) -> Vec<Vec<u8>> {
    let of_x509 = chain.cert_requests().filter(|(encoding, _)| *encoding == CertEncoding::X509_SIGNATURE);
    of_x509.take(MAX_REQUESTED).map(|(_, authority)| authority.to_vec()).collect()
}

/// What an end puts forward.
pub(super) enum Proof {
    Hash(Vec<u8>),
    Signature { value: Vec<u8>, certificates: Vec<(CertEncoding, Vec<u8>)> },
}

impl Proof {
    /// The proof in a message; `None` if it has none, or two.
    pub fn of(chain: &Chain<'_>) -> Option<Self> {
        match (chain.hash(), chain.sig()) {
            (Some(hash), None) => Some(Self::Hash(hash.to_vec())),
            (None, Some(value)) => {
                let certificates = chain.certs().map(|(encoding, data)| (encoding, data.to_vec())).collect();
                Some(Self::Signature { value: value.to_vec(), certificates })
            }
            _ => None,
        }
    }

    /// Whether it is of the method's kind, and where it is a HASH the right one. A signature is checked by [`check`], once
    /// it is known of whom it must be.
    pub fn is_plausible(&self, method: Method, expected: &[u8]) -> bool {
        match self {
            Self::Hash(hash) => !is_signature(method) && crypto::equal(expected, hash),
            Self::Signature { .. } => is_signature(method),
        }
    }
}

/// Checks the proof of `remote` over its HASH. Returns how it was proven, in words.
pub(super) fn check(
    cx: &Context,
    now: Instant,
    method: Method,
    connection: &Connection,
    remote: &Identity,
    hash: &[u8],
    proof: &Proof,
) -> Result<String, FailureKind> {
    match (proof, scheme_of(method)) {
        (Proof::Signature { value, certificates }, Some(scheme)) => {
            let sent = certificates.iter().map(|(encoding, data)| (*encoding, data.as_slice()));
            cx.credentials.check(now, connection, remote, sent, &Signature { scheme, value, signed: hash })?;
            Ok(scheme.to_string())
        }
        (Proof::Hash(received), None) if crypto::equal(received, hash) => Ok("pre-shared key".into()),
        _ => Err(FailureKind::AuthMethodMismatch {
            expected: name(method).into(),
            received: if matches!(proof, Proof::Hash(_)) { "HASH".into() } else { "SIG".into() },
        }),
    }
}

/// Adds our proof, over our HASH, with our certificate if the peer is to have it.
///
/// # Errors
/// We have no key of the method's kind for our identity.
pub(super) fn prove(
    sa: &IsakmpSa,
    cx: &mut Context,
    connection: &Connection,
    local: &Identity,
    hash: &[u8],
    chain: &mut ChainBuilder,
) -> Result<(), FailureKind> {
    let Some(scheme) = scheme_of(sa.method) else {
        chain.hash(hash);
        sa.log(cx, "IKE", 1, format!("authentication of '{local}' (myself) with pre-shared key"));
        return Ok(());
    };
    let wanted = |a: &Certificate| sa.requested.iter().any(|name| name.is_empty() || name == a.subject());
    let own = cx.credentials.own(connection, local, wanted)?;
    let unfit = || FailureKind::OwnCertificateMissing {
        local: local.clone(),
        candidates: vec![format!("the agreed method is {}, our key {}", name(sa.method), own.key.public().kind())],
    };
    if !fits(sa.method, &own.certificate) {
        return Err(unfit());
    }
    let signature = own.key.sign(scheme, hash).ok_or_else(unfit)?;
    if sends_certificate(connection, !sa.requested.is_empty()) {
        for certificate in std::iter::once(&own.certificate).chain(&own.between) {
            chain.cert(CertEncoding::X509_SIGNATURE, certificate.der());
        }
    }
    chain.sig(&signature);
    sa.log(cx, "IKE", 1, format!("authentication of '{local}' (myself) with {scheme}"));
    Ok(())
}
