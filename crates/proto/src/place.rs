//! Which line of the configuration a failure is about.

use config::{Connection, SharedSecret, best_psk, xauth_secrets};
use model::{CertificateProblem, ConfigRef, FailureKind, Phase, Side, narrow};
use wire::V1NotifyType;

/// The place to look at, if the failure is about one; `child` names the Child SA that failed alone.
pub(crate) fn of(
    kind: &FailureKind,
    connection: Option<&Connection>,
    child: Option<&str>,
    secrets: &[SharedSecret],
) -> Option<ConfigRef> {
    let key = match kind {
        // The secret itself is the place, not the connection.
        FailureKind::PskMismatch { local, remote, .. } => {
            return best_psk(secrets, local, remote).first().map(|s| s.source.clone());
        }
        FailureKind::XauthRefused { user, found_by, .. } => {
            if let Some(secret) = xauth_secrets(secrets, user).first() {
                return Some(secret.source.clone());
            }
            if *found_by == Side::Us { "remote-xauth.xauth_id" } else { "local-xauth.xauth_id" }
        }
        FailureKind::IdentityUnknown { .. } | FailureKind::IdentityMismatch { .. } | FailureKind::PskMissing { .. } => {
            "remote.id"
        }
        FailureKind::NotAddressed { .. } => "local.id",
        // XAuth is a round of its own, in a section of its own.
        FailureKind::AuthMethodMismatch { expected, received }
            if expected.contains("XAUTH") != received.contains("XAUTH")
                && connection.is_some_and(|c| c.source.is_set("remote-xauth.auth")) =>
        {
            "remote-xauth.auth"
        }
        FailureKind::PeerRefusedV1 { phase: Phase::Child, notify: V1NotifyType::INVALID_ID_INFORMATION } => "remote_ts",
        FailureKind::PeerRefusedV1 { phase: Phase::Child, .. } => Phase::Child.proposal_key(),
        FailureKind::PeerRefusedV1 { phase: Phase::Ike, notify: V1NotifyType::INVALID_ID_INFORMATION } => "local.id",
        FailureKind::PeerRefusedV1 { phase: Phase::Ike, .. } => "local.auth",
        FailureKind::AuthMethodUnsupported { .. }
        | FailureKind::AuthMethodMismatch { .. }
        | FailureKind::PeerCertificateMissing { .. }
        | FailureKind::SignatureInvalid { .. } => "remote.auth",
        FailureKind::OwnCertificateMissing { .. } => "local.certs",
        FailureKind::IdentityNotCertified { .. } => "remote.id",
        FailureKind::CertificateUntrusted { problem: CertificateProblem::NotAllowed, .. } => {
            let set = |key| connection.is_some_and(|c| c.source.is_set(key));
            let keys = ["remote.cacerts", "remote.cert_policy"];
            keys.into_iter().find(|key| set(key)).unwrap_or("remote.certs")
        }
        FailureKind::CertificateUntrusted {
            problem: CertificateProblem::Revoked | CertificateProblem::RevocationUnknown,
            ..
        } => "remote.revocation",
        FailureKind::CertificateUntrusted { .. } => "remote.auth",
        FailureKind::AuthenticationRefused { .. } => "local.id",
        FailureKind::NoProposalChosen { phase, .. } | FailureKind::ChoiceNotOffered { phase, .. } => {
            phase.proposal_key()
        }
        FailureKind::InvalidKeyExchange { .. } | FailureKind::BadPublicValue { .. } => "proposals",
        // Our own side is to blame where it has nothing in common with what the peer asks for there.
        FailureKind::TsUnacceptable { local, peer_remote, .. }
            if !peer_remote.is_empty() && narrow(local, peer_remote).is_empty() =>
        {
            "local_ts"
        }
        FailureKind::TsUnacceptable { .. } | FailureKind::TooManySelectors { .. } => "remote_ts",
        FailureKind::EncapsulationMode { .. } => "mode",
        FailureKind::ModeMismatch { .. } => "aggressive",
        FailureKind::NoAnswer { .. } | FailureKind::NoConfig { .. } => "remote_addrs",
        FailureKind::WrongVersion { .. } => "version",
        FailureKind::NotUnique { .. } | FailureKind::TooManyOfPeer { .. } => "unique",
        FailureKind::ChildlessMismatch { .. } => "childless",
        FailureKind::Inactive { .. } => "inactivity",
        FailureKind::NoVirtualAddress { pools, .. } if !pools.is_empty() => "pools",
        FailureKind::NoVirtualAddress { .. } => "vips",
        _ => return None,
    };
    let connection = connection?;
    match child.and_then(|name| connection.children.iter().find(|c| c.name == name)) {
        Some(child) => Some(child.source.get(key)),
        None => Some(connection.source.get(key)),
    }
}
