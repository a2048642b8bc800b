//! How the ends of phase 1 prove who they are: HASH under a pre-shared key (RFC 2409 section 5.4), or SIG, a signature over
//! that HASH by the key of a certificate (section 5.1; RFC 4754 for ECDSA).
//!
//! ```text
//! main mode:  HDR*, IDii, [CERT,] SIG_I  -->
//!                                        <--  HDR*, IDir, [CERT,] SIG_R
//! ```
//!
//! The method is an attribute of the proposals, one for both ends: so both have keys of the same kind. With the methods of
//! hybrid authentication the server signs and the client, of which XAuth is the only proof, sends the HASH; no secret goes
//! into the keys then but that of the key exchange, as with signatures (draft-ietf-ipsec-isakmp-hybrid-auth section 3.2).
//!
//! ```text
//! hybrid, client initiates:  HDR*, IDii, HASH_I  -->
//!                                                <--  HDR*, IDir, [CERT,] SIG_R
//! ```

use super::sa::IsakmpSa;
use crate::context::Context;
use crate::credentials::{Signature, method_name, own_identity, sends_certificate};
use config::{AuthMethod, Connection};
use crypto::{Certificate, KeyKind, Prf, Scheme};
use model::{FailureKind, Identity, Instant, Role};
use std::net::SocketAddr;
use std::time::Duration;
use wire::v1::{Chain, ChainBuilder};
use wire::{CertEncoding, OakleyAuthMethod as Method, PrfId};

/// How many authorities a peer's requests are remembered of.
const MAX_REQUESTED: usize = 64;

/// Whether an end signs: then no pre-shared key goes into the keys.
pub(super) fn is_signature(method: Method) -> bool {
    [Role::Initiator, Role::Responder].into_iter().any(|end| signs(method, end))
}

/// Whether this end signs.
pub(super) fn signs(method: Method, end: Role) -> bool {
    scheme_of(method, end).is_some()
}

/// How this end signs, if it does.
fn scheme_of(method: Method, end: Role) -> Option<Scheme> {
    match method {
        Method::RSA_SIGNATURES | Method::XAUTH_INIT_RSA | Method::XAUTH_RESP_RSA => Some(Scheme::RsaRaw),
        Method::HYBRID_INIT_RSA => (end == Role::Responder).then_some(Scheme::RsaRaw),
        Method::HYBRID_RESP_RSA => (end == Role::Initiator).then_some(Scheme::RsaRaw),
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

fn is_ecdsa(method: Method) -> bool {
    matches!(method, Method::ECDSA_SHA256_P256 | Method::ECDSA_SHA384_P384 | Method::ECDSA_SHA512_P521)
}

/// Whether a key of this kind signs by this method.
fn fits(method: Method, kind: KeyKind) -> bool {
    let plain = match method {
        Method::XAUTH_INIT_RSA | Method::XAUTH_RESP_RSA | Method::HYBRID_INIT_RSA | Method::HYBRID_RESP_RSA => {
            Method::RSA_SIGNATURES
        }
        other => other,
    };
    method_for(kind).is_some_and(|own| own == plain || (is_ecdsa(own) && is_ecdsa(plain)))
}

/// The method to agree on of those that a peer offers, `ours` being the one of our key. RFC 4754 section 3 ties each of its
/// methods to a curve, and a method is for both ends; where the ends have keys on different curves strongSwan has the
/// initiator's method stand for both, and so do we, instead of refusing.
pub(super) fn agreed(ours: Method, offered: &[u16]) -> Option<Method> {
    let offered = || offered.iter().map(|m| Method(*m));
    offered().find(|m| *m == ours).or_else(|| offered().find(|m| is_ecdsa(ours) && is_ecdsa(*m)))
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
    let client = match (connection.local_xauth(), connection.remote_xauth(), own) {
        (None, None, _) => None,
        (Some(_), None, own) => Some(own),
        (None, Some(_), own) => Some(own.other()),
        (Some(_), Some(_), _) => return Err(unsupported("XAuth of both ends")),
    };
    let further = [&connection.local_more, &connection.remote_more];
    if further.iter().any(|more| more.len() > usize::from(client.is_some())) {
        return Err(unsupported("further rounds that are not XAuth"));
    }
    let by_own_key = || {
        let kind = cx.credentials.own(connection, &own_identity(connection, local), |_| false)?.key.public().kind();
        method_for(kind).ok_or_else(|| unsupported(kind.name()))
    };
    let (first, hybrid) = match (connection.local.method, connection.remote.method) {
        (AuthMethod::Psk, AuthMethod::Psk) => (Method::PRE_SHARED_KEY, false),
        (AuthMethod::Pubkey, AuthMethod::Pubkey) => (by_own_key()?, false),
        (AuthMethod::Pubkey, AuthMethod::Xauth) => (by_own_key()?, true),
        // The server's key is not known yet; there is no method for ECDSA.
        (AuthMethod::Xauth, AuthMethod::Pubkey) => (Method::RSA_SIGNATURES, true),
        _ => return Err(unsupported("different proofs of both ends")),
    };
    match (first, hybrid, client) {
        (first, _, None) => Ok(first),
        (Method::PRE_SHARED_KEY, _, Some(Role::Initiator)) => Ok(Method::XAUTH_INIT_PRE_SHARED),
        (Method::PRE_SHARED_KEY, _, Some(Role::Responder)) => Ok(Method::XAUTH_RESP_PRE_SHARED),
        (Method::RSA_SIGNATURES, false, Some(Role::Initiator)) => Ok(Method::XAUTH_INIT_RSA),
        (Method::RSA_SIGNATURES, false, Some(Role::Responder)) => Ok(Method::XAUTH_RESP_RSA),
        (Method::RSA_SIGNATURES, true, Some(Role::Initiator)) => Ok(Method::HYBRID_INIT_RSA),
        (Method::RSA_SIGNATURES, true, Some(Role::Responder)) => Ok(Method::HYBRID_RESP_RSA),
        _ => Err(unsupported("XAuth with a key that is not RSA")),
    }
}

/// The method in tmsh's words.
pub(super) fn name(method: Method) -> &'static str {
    match method {
        Method::RSA_SIGNATURES | Method::XAUTH_INIT_RSA | Method::XAUTH_RESP_RSA => method_name(KeyKind::Rsa(0)),
        Method::HYBRID_INIT_RSA | Method::HYBRID_RESP_RSA => "hybrid-rsa",
        Method::ECDSA_SHA256_P256 => method_name(KeyKind::EcdsaP256),
        Method::ECDSA_SHA384_P384 => method_name(KeyKind::EcdsaP384),
        Method::ECDSA_SHA512_P521 => method_name(KeyKind::EcdsaP521),
        _ => "pre-shared-key",
    }
}

/// What a HASH shows: with hybrid authentication, that nobody changed the messages, and nothing about who sent it.
fn without_signature(method: Method) -> &'static str {
    if is_signature(method) { "no proof before XAuth" } else { "pre-shared key" }
}

/// Asks for a certificate of each of our authorities (RFC 2408 section 3.10), where the peer is to sign.
pub(super) fn request_certificates(
    (method, own): (Method, Role),
    cx: &Context,
    connection: &Connection,
    chain: &mut ChainBuilder,
) {
    if signs(method, own.other()) && connection.send_certreq {
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

    /// The certificates that came with it.
    pub fn certificates(&self) -> impl Iterator<Item = (CertEncoding, &[u8])> {
        let all: &[(CertEncoding, Vec<u8>)] = match self {
            Self::Hash(_) => &[],
            Self::Signature { certificates, .. } => certificates,
        };
        all.iter().map(|(encoding, data)| (*encoding, data.as_slice()))
    }

    /// Whether it is of the kind that this end gives by the method, and where it is a HASH the right one. A signature is
    /// checked by [`check`], once it is known of whom it must be.
    pub fn is_plausible(&self, (method, end): (Method, Role), expected: &[u8]) -> bool {
        match self {
            Self::Hash(hash) => !signs(method, end) && crypto::equal(expected, hash),
            Self::Signature { .. } => signs(method, end),
        }
    }
}

/// How an end proved who it is.
pub(super) struct Proven {
    /// In words.
    pub how: String,
    /// When the first certificate of it runs out, since the Unix epoch; `None` without one.
    pub until: Option<Duration>,
}

/// Checks the proof of `remote`, which is this end, over its HASH. Returns how it was proven.
pub(super) fn check(
    cx: &Context,
    now: Instant,
    (method, end): (Method, Role),
    connection: &Connection,
    remote: &Identity,
    hash: &[u8],
    proof: &Proof,
) -> Result<Proven, FailureKind> {
    match (proof, scheme_of(method, end)) {
        (Proof::Signature { value, .. }, Some(scheme)) => {
            let signature = Signature { scheme, value, signed: hash };
            let checked = cx.credentials.check(now, connection, remote, proof.certificates(), &signature)?;
            Ok(Proven { how: scheme.to_string(), until: checked.until })
        }
        (Proof::Hash(received), None) if crypto::equal(received, hash) => {
            Ok(Proven { how: without_signature(method).into(), until: None })
        }
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
    let Some(scheme) = scheme_of(sa.method, sa.role) else {
        chain.hash(hash);
        let how = without_signature(sa.method);
        sa.log(cx, "IKE", 1, format!("authentication of '{local}' (myself) with {how}"));
        return Ok(());
    };
    let wanted = |a: &Certificate| sa.requested.iter().any(|name| name.is_empty() || name == a.subject());
    let own = cx.credentials.own(connection, local, wanted)?;
    let unfit = || FailureKind::OwnCertificateMissing {
        local: local.clone(),
        candidates: vec![format!("the agreed method is {}, our key {}", name(sa.method), own.key.public().kind())],
    };
    if !fits(sa.method, own.key.public().kind()) {
        return Err(unfit());
    }
    let signature = own.key.sign(scheme, hash).ok_or_else(unfit)?;
    if sends_certificate(connection, !sa.requested.is_empty()) {
        for certificate in own.certificate.iter().chain(&own.between) {
            chain.cert(CertEncoding::X509_SIGNATURE, certificate.der());
        }
    }
    chain.sig(&signature);
    sa.log(cx, "IKE", 1, format!("authentication of '{local}' (myself) with {scheme}"));
    Ok(())
}
