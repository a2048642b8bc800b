//! Ends that prove themselves with a public key without a certificate (RFC 7670): whoever has the private half is who the
//! configuration says. Nobody vouches for the key, and nobody revokes it but the operator.

use super::{Credentials, Own, Rule as _, Signature};
use config::{CertificateSource, Connection};
use crypto::{KeyKind, RawKey};
use model::{CertificateProblem, FailureKind, IdKind, Identity};
use std::sync::Arc;

/// The keys of a configuration that have been read.
pub(super) fn keys(sources: &[CertificateSource]) -> Vec<RawKey> {
    sources.iter().filter_map(CertificateSource::der).filter_map(|der| RawKey::from_der(der).ok()).collect()
}

fn name(key: &RawKey) -> Identity {
    Identity::from_wire(IdKind::KeyId.number(), &key.id())
}

/// What we prove ourselves with: the first key of which we have the private half.
///
/// # Errors
/// Why none of them can be used.
pub(super) fn own(credentials: &Credentials, connection: &Connection) -> Result<Own, Vec<String>> {
    let mut rejected = Vec::new();
    for raw in keys(&connection.local.pubkeys) {
        let kind = raw.key().kind();
        match credentials.key_for(raw.key()) {
            Some(_) if !connection.local.signature.allows(kind) => {
                rejected.push(format!("{}: {kind}, which auth in local does not allow", name(&raw)));
            }
            Some(key) => {
                let key = Arc::clone(key);
                return Ok(Own { certificate: None, raw: Some(raw), between: Vec::new(), key });
            }
            None => rejected.push(format!("{}: no private key", name(&raw))),
        }
    }
    Err(rejected)
}

/// Checks the peer's proof: one of the keys that the configuration names made it. Whatever the peer sends as its certificate
/// does not matter.
pub(super) fn check(connection: &Connection, remote: &Identity, proof: &Signature<'_>) -> Result<KeyKind, FailureKind> {
    match keys(&connection.remote.pubkeys).iter().find(|raw| signed_by(raw, proof)) {
        Some(raw) => check_key(raw, connection, remote, proof),
        None => Err(invalid(remote, proof)),
    }
}

/// The key by which a peer calls itself, if it is one that we know and the connection asks for no certificate.
pub(super) fn known<'a>(all: &'a [RawKey], connection: &Connection, remote: &Identity) -> Option<&'a RawKey> {
    let wanted = &connection.remote;
    let of_certificate = !wanted.certs.is_empty() || !wanted.cacerts.is_empty() || !wanted.cert_policies.is_empty();
    let asks = of_certificate || wanted.ca_id.is_some();
    let called = |raw: &&RawKey| remote.data() == raw.id() || remote.data() == raw.key().id();
    all.iter().find(called).filter(|_| remote.kind() == IdKind::KeyId && !asks)
}

fn signed_by(raw: &RawKey, proof: &Signature<'_>) -> bool {
    proof.scheme.fits(raw.key().kind()) && raw.key().verify(proof.scheme, proof.signed, proof.value)
}

fn invalid(remote: &Identity, proof: &Signature<'_>) -> FailureKind {
    FailureKind::SignatureInvalid { remote: remote.clone(), method: proof.scheme.to_string() }
}

/// Checks a proof by one key.
pub(super) fn check_key(
    raw: &RawKey,
    connection: &Connection,
    remote: &Identity,
    proof: &Signature<'_>,
) -> Result<KeyKind, FailureKind> {
    if !signed_by(raw, proof) {
        return Err(invalid(remote, proof));
    }
    let (kind, rule) = (raw.key().kind(), &connection.remote.signature);
    let not_allowed = |detail| FailureKind::CertificateUntrusted {
        subject: name(raw),
        issuer: name(raw),
        problem: CertificateProblem::NotAllowed,
        detail,
    };
    if !rule.allows(kind) {
        return Err(not_allowed(format!("its key is {kind}, which auth does not allow")));
    }
    if !rule.allows_scheme(proof.scheme, kind) {
        return Err(not_allowed(format!("IKE was signed with {}, which auth does not allow", proof.scheme)));
    }
    Ok(kind)
}
