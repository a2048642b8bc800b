//! What may be behind a reason that a daemon kept: the catalogue's causes, most likely first.

use crate::Cause;
use Cause as C;
use model::{ExchangeMode, FailureKind, Phase, Rekeying, Role, SaSnapshot, Side, Tombstone};
use wire::grammar::RuleId;
use wire::{NotifyType, TransformType, V1NotifyType};

/// The causes of what a tombstone tells; none where it is an ordinary end.
pub(crate) fn causes(tombstone: &Tombstone) -> Vec<Cause> {
    // A secret shows as this only where there is one.
    let unknown = |secret: bool| {
        if secret { vec![C::PskMismatch, C::PeerId, C::AuthFailed] } else { vec![C::AuthFailed, C::PeerId] }
    };
    let secret = matches!(tombstone.sa.authentication, "pre-shared-key" | "unknown");
    match &tombstone.failure.kind {
        FailureKind::IdentityUnknown { .. }
        | FailureKind::NotAddressed { .. }
        | FailureKind::IdentityMismatch { .. }
        | FailureKind::IdentityNotCertified { .. } => vec![C::PeerId],
        FailureKind::PskMismatch { .. } => vec![C::PskMismatch],
        FailureKind::PskMissing { .. } => vec![C::PskMismatch, C::PeerId],
        FailureKind::XauthRefused { .. } => vec![C::AuthFailed],
        FailureKind::AuthMethodUnsupported { .. }
        | FailureKind::AuthMethodMismatch { .. }
        | FailureKind::OwnCertificateMissing { .. }
        | FailureKind::PeerCertificateMissing { .. }
        | FailureKind::CertificateUntrusted { .. }
        | FailureKind::SignatureInvalid { .. } => vec![C::AuthFailed],
        FailureKind::AuthenticationRefused { .. } if before_proof(tombstone) => {
            // Last, that it has no secret at all for who we say we are.
            let missing = if secret { vec![C::PskMismatch] } else { Vec::new() };
            [vec![C::NegotiationMode, C::AuthFailed, C::PeerId], missing].concat()
        }
        FailureKind::AuthenticationRefused { .. } => unknown(secret),
        FailureKind::NoProposalChosen { phase, found_by: Side::Us, mismatch, .. } => {
            let differing = mismatch.iter().flat_map(|m| m.differing.iter().map(|(dimension, ..)| dimension.0));
            proposal(*phase, &differing.collect::<Vec<_>>())
        }
        // A peer that has no connection for us, or one for something else, may say the same.
        FailureKind::NoProposalChosen { phase: Phase::Ike, .. } if tombstone.sa.version == 1 => {
            vec![C::Phase1Proposal, C::NoConfig, C::NegotiationMode, C::IkeVersion]
        }
        FailureKind::NoProposalChosen { phase: Phase::Ike, .. } => vec![C::Phase1Proposal, C::NoConfig, C::IkeVersion],
        FailureKind::NoProposalChosen { .. } if tombstone.sa.version == 1 => {
            vec![C::ChildFailed, C::Pfs, C::EncryptionAlgorithm, C::EncapsulationMode]
        }
        FailureKind::NoProposalChosen { .. } if tombstone.rekeying == Some(Rekeying::First) => {
            vec![C::Pfs, C::ChildFailed, C::EncryptionAlgorithm]
        }
        FailureKind::NoProposalChosen { .. } => vec![C::ChildFailed, C::EncryptionAlgorithm, C::Pfs],
        FailureKind::InvalidKeyExchange { .. } if tombstone.child.is_some() => vec![C::Pfs],
        FailureKind::InvalidKeyExchange { .. } | FailureKind::BadPublicValue { .. } => vec![C::DhGroup],
        FailureKind::ChoiceNotOffered { phase, mismatch } => {
            proposal(*phase, &mismatch.differing.iter().map(|(dimension, ..)| dimension.0).collect::<Vec<_>>())
        }
        FailureKind::TsUnacceptable { .. } | FailureKind::TooManySelectors { .. } => vec![C::TrafficSelector],
        FailureKind::NoAnswer { .. } if tombstone.sa.established.is_some() && tombstone.child.is_none() => {
            // It said that it does not know the SA, though anybody can have said so.
            let forgot = tombstone.sa.suspicion.is_some();
            if forgot { vec![C::StaleSa, C::DpdTimeout] } else { vec![C::DpdTimeout] }
        }
        FailureKind::NoAnswer { waiting_for: RuleId::MainMode6 | RuleId::MainMode6Signature, to, .. } => {
            without_message_6(&tombstone.sa, to.port(), secret).0
        }
        FailureKind::NoAnswer { waiting_for, to, .. } => unanswered(*waiting_for, to.port(), secret),
        FailureKind::HalfOpen { waiting_for, repeated, .. } => half_open(&tombstone.sa, *waiting_for, *repeated),
        FailureKind::ModeMismatch { .. } => vec![C::NegotiationMode],
        FailureKind::EncapsulationMode { .. } => vec![C::EncapsulationMode],
        FailureKind::ChildlessMismatch { .. } => vec![C::ChildFailed],
        // The gateway cannot or does not want to serve us.
        FailureKind::RedirectRefused { .. } => vec![C::NoResponse, C::NoConfig],
        FailureKind::NotUnique { .. } | FailureKind::TooManyOfPeer { .. } => vec![C::Collision, C::PeerDelete],
        FailureKind::NoConfig { .. } => vec![C::NoConfig],
        FailureKind::WrongVersion { .. } => vec![C::IkeVersion],
        FailureKind::PeerRefused { phase, notify } => refused(*phase, *notify, secret),
        FailureKind::PeerRefusedV1 { phase, notify } => {
            // In main mode the key is part of the keys (RFC 2409 section 5), and these opened the refusal: it is right.
            let in_question = secret && tombstone.sa.mode != Some(ExchangeMode::IdentityProtection);
            refused_v1(*phase, *notify, in_question)
        }
        FailureKind::MessageInvalid { rule, .. } => match rule {
            // What a wrong key makes of a message looks like one with other payloads.
            RuleId::MainMode5 | RuleId::MainMode6 => unknown(true),
            _ if tombstone.sa.established.is_some() => vec![C::ChildFailed],
            _ => vec![C::AuthFailed, C::Phase1Timeout],
        },
        FailureKind::UnsupportedCritical { .. } => vec![C::NoConfig],
        FailureKind::InstallFailed { .. } | FailureKind::NoVirtualAddress { .. } => vec![C::ChildFailed],
        FailureKind::PeerDeleted => vec![C::PeerDelete],
        FailureKind::Expired => vec![C::Lifetime],
        FailureKind::PeerRestarted => vec![C::DpdTimeout],
        FailureKind::Terminated
        | FailureKind::ConfigurationChanged
        | FailureKind::Inactive { .. }
        | FailureKind::Replaced { .. }
        | FailureKind::Redirected { .. } => Vec::new(),
    }
}

/// Whether the peer refused our message 1 of aggressive mode: what there is of a proof comes with message 3 (RFC 2409
/// section 5.4), so that it was not the secret.
pub(crate) fn before_proof(tombstone: &Tombstone) -> bool {
    let sa = &tombstone.sa;
    let refused = matches!(tombstone.failure.kind, FailureKind::AuthenticationRefused { .. });
    let waiting = matches!(sa.waiting_for, Some(RuleId::AggressiveMode2 | RuleId::AggressiveMode2Signature));
    refused && waiting && sa.version == 1 && sa.role == Role::Initiator
}

/// What differs in a proposal.
fn proposal(phase: Phase, differing: &[TransformType]) -> Vec<Cause> {
    let only_group = !differing.is_empty() && differing.iter().all(|kind| *kind == TransformType::KE);
    let mut causes = match (phase, only_group) {
        (Phase::Ike, true) => vec![C::DhGroup, C::Phase1Proposal],
        (Phase::Ike, false) => vec![C::Phase1Proposal],
        (Phase::Child, true) => vec![C::Pfs, C::ChildFailed],
        (Phase::Child, false) => vec![C::ChildFailed],
    };
    for (kind, cause) in [
        (TransformType::ENCR, C::EncryptionAlgorithm),
        (TransformType::INTEG, C::AuthenticationAlgorithm),
        (TransformType::PRF, C::AuthenticationAlgorithm),
        (TransformType::KE, if phase == Phase::Ike { C::DhGroup } else { C::Pfs }),
    ] {
        if differing.contains(&kind) && !causes.contains(&cause) {
            causes.push(cause);
        }
    }
    causes
}

/// What it may be that an answer does not come.
pub(crate) fn unanswered(waiting_for: RuleId, port: u16, secret: bool) -> Vec<Cause> {
    match waiting_for {
        RuleId::IkeSaInitResponse => vec![C::NoResponse, C::NoConfig, C::IkeVersion],
        RuleId::MainMode2 => {
            vec![C::NoResponse, C::Phase1Proposal, C::NoConfig, C::NegotiationMode, C::IkeVersion]
        }
        RuleId::AggressiveMode2 | RuleId::AggressiveMode2Signature => {
            // It names itself first: a responder that does not expect it stays silent.
            vec![
                C::NoResponse,
                C::Phase1Proposal,
                C::NegotiationMode,
                C::NoConfig,
                C::PeerId,
                C::PskMismatch,
                C::IkeVersion,
            ]
        }
        // Without a secret for us it cannot even make keys (RFC 2409 section 5).
        RuleId::MainMode4 => vec![C::Phase1Timeout, C::PskMismatch, C::NatTraversal],
        RuleId::IkeAuthResponse if port == 4500 => vec![C::NatTraversal, C::PskMismatch, C::Phase1Timeout],
        RuleId::IkeAuthResponse => vec![C::Phase1Timeout, C::NatTraversal, C::PskMismatch],
        // Of a daemon that does not tell what came since: else see `without_message_6`.
        RuleId::MainMode6 | RuleId::MainMode6Signature if port == 4500 => {
            vec![C::PskMismatch, C::NatTraversal, C::PeerId, C::AuthFailed]
        }
        RuleId::MainMode6 if secret => vec![C::PskMismatch, C::PeerId, C::AuthFailed],
        RuleId::MainMode6 | RuleId::MainMode6Signature => vec![C::AuthFailed, C::PeerId, C::Phase1Timeout],
        RuleId::QuickMode2 | RuleId::CreateChildSaResponse => vec![C::Phase2Timeout, C::TrafficSelector, C::Pfs],
        _ => vec![C::Phase1Timeout, C::NoResponse],
    }
}

/// Why message 6 of main mode does not come, by what came since message 5 was sent to this port of the peer, and what would
/// decide. Message 5 is the first one under keys and, with a NAT, the first one to port 4500 (RFC 3947 section 4): a wrong
/// pre-shared key and a blocked port both show as silence there.
pub(crate) fn without_message_6(sa: &SaSnapshot, port: u16, secret: bool) -> (Vec<Cause>, String) {
    let refused: &[Cause] = if secret {
        &[C::PskMismatch, C::PeerId, C::AuthFailed]
    } else {
        &[C::AuthFailed, C::PeerId, C::Phase1Timeout]
    };
    let differ =
        if secret { "pre-shared keys or identities differ" } else { "identities or certificates do not please it" };
    let decides = format!(
        "see at the peer, by its log or a capture, whether message 5 arrives on UDP port {port}: if it does, {differ}"
    );
    match (port == 4500, sa.heard.from_there > 0, sa.heard.repeated > 0) {
        (true, true, _) => {
            let evidence = format!("datagrams came from the peer's port 4500, so that the port is open: {differ}");
            (refused.to_vec(), evidence)
        }
        (true, false, again) => {
            let while_ = if again { ", while the peer repeats message 4 from where it came before" } else { "" };
            let evidence = format!("message 5 went to port 4500, and nothing came from there{while_}; {decides}");
            ([&[C::NatTraversal], refused].concat(), evidence)
        }
        (false, _, true) => {
            let evidence = format!("the peer repeats message 4: message 5 is lost, or of no use to it; {decides}");
            (refused.to_vec(), evidence)
        }
        (false, _, false) => {
            let evidence = format!("no NAT was found, so message 5 went the way of those before it; {decides}");
            (refused.to_vec(), evidence)
        }
    }
}

/// What it may be that the initiator does not go on.
pub(crate) fn half_open(sa: &SaSnapshot, waiting_for: RuleId, repeated: u32) -> Vec<Cause> {
    match waiting_for {
        // Repetitions of a request whose answer was sent: it did not arrive.
        RuleId::IkeAuthRequest | RuleId::MainMode3 if repeated > 0 => vec![C::NoResponse, C::HalfOpen],
        // It has the answer, and with a NAT goes on to port 4500 (RFC 7296 section 2.23).
        RuleId::IkeAuthRequest if sa.nat.any() => vec![C::NatTraversal, C::HalfOpen, C::NoResponse],
        RuleId::IkeAuthRequest => vec![C::HalfOpen, C::NatTraversal, C::NoResponse],
        // With a NAT it is the first message to port 4500 (RFC 3947 section 4). With a wrong secret it would have come, and
        // have been unreadable.
        // Only a daemon that tells what it waits for would have told of that, too.
        RuleId::MainMode5 if sa.nat.any() && sa.waiting_for.is_some() => {
            vec![C::NatTraversal, C::PeerId, C::AuthFailed]
        }
        RuleId::MainMode5 if sa.nat.any() => vec![C::NatTraversal, C::PskMismatch, C::PeerId, C::AuthFailed],
        RuleId::MainMode5 => vec![C::PskMismatch, C::NatTraversal, C::PeerId, C::AuthFailed],
        RuleId::MainMode5Signature => vec![C::NatTraversal, C::AuthFailed, C::PeerId],
        RuleId::AggressiveMode3 | RuleId::AggressiveMode3Encrypted if repeated == 0 => {
            vec![C::PskMismatch, C::NoResponse, C::PeerId]
        }
        RuleId::AggressiveMode3 | RuleId::AggressiveMode3Encrypted => {
            vec![C::NoResponse, C::PskMismatch, C::HalfOpen]
        }
        _ => vec![C::HalfOpen, C::NoResponse, C::Phase1Timeout],
    }
}

/// What an error of IKEv2 may mean that has no reason of its own.
pub(crate) fn refused(phase: Phase, notify: NotifyType, secret: bool) -> Vec<Cause> {
    match (phase, notify) {
        (_, NotifyType::AUTHENTICATION_FAILED) if secret => vec![C::PskMismatch, C::PeerId, C::AuthFailed],
        (_, NotifyType::AUTHENTICATION_FAILED) => vec![C::AuthFailed, C::PeerId],
        (_, NotifyType::TS_UNACCEPTABLE) => vec![C::TrafficSelector],
        (_, NotifyType::INVALID_MAJOR_VERSION) => vec![C::IkeVersion],
        (_, NotifyType::INVALID_IKE_SPI) => vec![C::StaleSa],
        (Phase::Ike, NotifyType::INVALID_KE_PAYLOAD) => vec![C::DhGroup],
        (Phase::Child, NotifyType::INVALID_KE_PAYLOAD) => vec![C::Pfs],
        (Phase::Ike, _) => vec![C::NoConfig, C::Phase1Proposal],
        (Phase::Child, _) => vec![C::ChildFailed, C::Pfs],
    }
}

/// The same for IKEv1.
pub(crate) fn refused_v1(phase: Phase, notify: V1NotifyType, secret: bool) -> Vec<Cause> {
    match (phase, notify) {
        (Phase::Ike, V1NotifyType::NO_PROPOSAL_CHOSEN) => {
            vec![C::Phase1Proposal, C::NoConfig, C::NegotiationMode, C::IkeVersion]
        }
        (Phase::Child, V1NotifyType::NO_PROPOSAL_CHOSEN) => {
            vec![C::ChildFailed, C::Pfs, C::EncryptionAlgorithm, C::EncapsulationMode]
        }
        (Phase::Child, V1NotifyType::INVALID_ID_INFORMATION) => vec![C::TrafficSelector],
        (Phase::Ike, V1NotifyType::INVALID_ID_INFORMATION) => vec![C::PeerId],
        (_, V1NotifyType::INVALID_EXCHANGE_TYPE) => vec![C::NegotiationMode],
        (_, V1NotifyType::INVALID_MAJOR_VERSION) => vec![C::IkeVersion],
        (_, V1NotifyType::INVALID_COOKIE) => vec![C::StaleSa],
        (
            Phase::Ike,
            V1NotifyType::AUTHENTICATION_FAILED
            | V1NotifyType::INVALID_HASH_INFORMATION
            | V1NotifyType::PAYLOAD_MALFORMED,
        ) if secret => vec![C::PskMismatch, C::PeerId, C::AuthFailed],
        (Phase::Ike, _) => vec![C::AuthFailed, C::PeerId, C::NoConfig],
        (Phase::Child, _) => vec![C::ChildFailed, C::TrafficSelector, C::Pfs],
    }
}
