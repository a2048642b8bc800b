//! What an SA that is not established waits for, by its row alone and, where both ends' rows are there, by the two.

use crate::Cause;
use Cause as C;
use model::{ExchangeMode, ListedSa, Role};

/// racoon's "established".
const ESTABLISHED: u8 = 9;

/// What an SA that is not established waits for, and what may be the reason.
pub(super) fn stuck(sa: &ListedSa) -> (&'static [Cause], String) {
    let (causes, why) = if sa.ipsec && sa.state.as_deref() == Some("dead") {
        let why = "the SA is dead (expired, or deleted), and no other has taken its place";
        (&[C::DpdTimeout, C::ChildFailed, C::Phase2Timeout, C::Lifetime][..], why)
    } else if sa.state.as_deref() == Some("DOWN") && sa.spis.is_none() {
        let why = "it is down, and no negotiation for it is listed";
        (&[C::NotStarted, C::NoResponse, C::ChildFailed][..], why)
    } else if sa.ipsec {
        let why = "an SA is wanted (traffic waits for it), and is not negotiated";
        (&[C::NoResponse, C::Phase1Timeout, C::Phase2Timeout, C::ChildFailed][..], why)
    } else if sa.version == Some(2) {
        stuck_v2(sa)
    } else {
        stuck_v1(sa)
    };
    (causes, why.to_string())
}

/// Whether the responder was not heard of yet.
fn unanswered(sa: &ListedSa) -> bool {
    match sa.spis {
        Some(spis) => spis.responder.is_zero(),
        None => sa.role == Some(Role::Initiator) && sa.st.is_some_and(|st| st <= 3),
    }
}

fn stuck_v2(sa: &ListedSa) -> (&'static [Cause], &'static str) {
    // OpenIKED believes the peer, and has no Child SA from it: that is all that keeps it from the next state.
    if sa.state.as_deref() == Some("AUTH_SUCCESS") && sa.role == Some(Role::Initiator) {
        let why = "the peer is authenticated, and has refused the Child SA";
        return (&[C::ChildFailed, C::TrafficSelector, C::EncapsulationMode], why);
    }
    match sa.role {
        _ if unanswered(sa) => {
            (&[C::NoResponse, C::NoConfig, C::Phase1Proposal, C::IkeVersion], "waiting for the answer to IKE_SA_INIT")
        }
        Some(Role::Responder) => {
            let why = "waiting for IKE_AUTH: the answer to IKE_SA_INIT is lost, or what follows it is";
            (&[C::HalfOpen, C::NatTraversal, C::NoResponse], why)
        }
        _ if sa.port == Some(500) => {
            let why = "waiting for the answer to IKE_AUTH: the peer could not use it, or it does not get there";
            (&[C::PskMismatch, C::AuthFailed, C::Phase1Timeout, C::NatTraversal], why)
        }
        _ => {
            let why = "waiting for the answer to IKE_AUTH: it does not get there, or the peer could not use it";
            (&[C::NatTraversal, C::PskMismatch, C::Phase1Timeout, C::AuthFailed], why)
        }
    }
}

fn stuck_v1(sa: &ListedSa) -> (&'static [Cause], &'static str) {
    let aggressive = sa.mode == Some(ExchangeMode::Aggressive);
    let floated = sa.port == Some(4500);
    match (sa.role, sa.st, aggressive) {
        _ if unanswered(sa) && aggressive => {
            let why = "waiting for message 2: the peer is silent, or its answer is not accepted";
            (
                &[
                    C::NoResponse,
                    C::Phase1Proposal,
                    C::PskMismatch,
                    C::NegotiationMode,
                    C::NoConfig,
                    C::PeerId,
                    C::IkeVersion,
                ],
                why,
            )
        }
        _ if unanswered(sa) => {
            let why = "waiting for message 2: the peer is silent, or refuses in a way that must not be believed";
            (&[C::NoResponse, C::Phase1Proposal, C::NoConfig, C::NegotiationMode, C::IkeVersion], why)
        }
        (Some(Role::Initiator), Some(4..=5), _) => (
            &[C::Phase1Timeout, C::NoResponse, C::PskMismatch, C::NatTraversal],
            "waiting for message 4: the responder's key exchange",
        ),
        (Some(Role::Initiator), Some(6..=8), _) if floated => {
            let why = "waiting for message 6: the responder got no message 5 on port 4500, or could not use it";
            (&[C::PskMismatch, C::NatTraversal, C::PeerId, C::AuthFailed, C::NegotiationMode], why)
        }
        (Some(Role::Initiator), Some(6..=8), _) => (
            &[C::PskMismatch, C::PeerId, C::AuthFailed, C::NegotiationMode],
            "waiting for message 6: the responder could not use message 5",
        ),
        (Some(Role::Responder), Some(1..=2), _) => {
            (&[C::Phase1Proposal, C::NoConfig], "message 1 is there and not answered")
        }
        (Some(Role::Responder), Some(3..=4), true) => {
            let why = "waiting for message 3: the initiator did not accept message 2, or did not get it";
            (&[C::PskMismatch, C::NoResponse, C::PeerId], why)
        }
        (Some(Role::Responder), Some(3..=4), false) => {
            (&[C::NoResponse, C::Phase1Timeout], "waiting for message 3: the answer does not reach the initiator")
        }
        (Some(Role::Responder), Some(5..=8), _) => {
            let why = "waiting for message 5: it did not come, or could not be decrypted";
            (&[C::PskMismatch, C::NatTraversal, C::PeerId, C::AuthFailed], why)
        }
        (Some(Role::Responder), None, _) => {
            (&[C::PskMismatch, C::HalfOpen, C::NatTraversal, C::PeerId], "answered, and not established")
        }
        (_, None, _) if sa.spis.is_none() => {
            let why = "being negotiated, and not established; this listing does not say how far it has come";
            (&[C::NoResponse, C::Phase1Proposal, C::PskMismatch, C::NatTraversal, C::NoConfig], why)
        }
        (_, None, _) => {
            let why = "answered, and not established: a later message is not accepted, or lost";
            (&[C::PskMismatch, C::Phase1Timeout, C::PeerId, C::NatTraversal], why)
        }
        _ => (&[C::Phase1Timeout], "not established yet"),
    }
}

/// The same where the other end's listing has the SA too: what one end waits for, the other has sent or has not.
pub(super) fn between(initiator: &ListedSa, responder: &ListedSa) -> Option<(&'static [Cause], String)> {
    let aggressive = initiator.mode == Some(ExchangeMode::Aggressive);
    let (causes, why): (&[Cause], &str) = match (initiator.st?, responder.st?) {
        (ESTABLISHED.., ESTABLISHED..) => return None,
        (..=4, ..=4) if aggressive => {
            let why = "message 2 is sent, and the responder waits for message 3: the initiator does not accept it, or does not get it";
            (&[C::PskMismatch, C::PeerId, C::NoResponse], why)
        }
        (ESTABLISHED.., ..=4) if aggressive => {
            let why = "the initiator has finished, and the responder does not accept message 3, or does not get it";
            (&[C::PskMismatch, C::PeerId, C::AuthFailed], why)
        }
        (..=4, ..=4) => {
            let why = "the responder has answered message 1, and its answer does not reach the initiator";
            (&[C::NoResponse], why)
        }
        (..=8, ESTABLISHED..) => {
            let why =
                "the responder has finished, and the initiator does not accept its last message, or does not get it";
            (&[C::AuthFailed, C::PeerId, C::PskMismatch, C::NatTraversal], why)
        }
        _ if initiator.port == Some(4500) && responder.port == Some(500) => {
            let why =
                "the initiator goes on on port 4500, and nothing of that has come to the responder, still on port 500";
            (&[C::NatTraversal, C::Phase1Timeout], why)
        }
        _ if initiator.version == Some(2) => {
            let why = "the responder has answered IKE_SA_INIT, and IKE_AUTH does not get to it, or cannot be used";
            (&[C::PskMismatch, C::AuthFailed, C::NatTraversal, C::Phase1Timeout], why)
        }
        (5..=6, ..=4) => {
            let why = "the initiator has sent message 3, and it has not come to the responder";
            (&[C::NoResponse, C::Phase1Timeout], why)
        }
        (5..=6, _) => {
            let why = "the responder has sent message 4, and it has not come to the initiator, or cannot be used";
            (&[C::NoResponse, C::Phase1Timeout, C::DhGroup], why)
        }
        (7..=8, 5..=8) => {
            let why = "message 5 is under way to a responder on the same port, which does not accept it";
            (&[C::PskMismatch, C::PeerId, C::AuthFailed], why)
        }
        _ => return None,
    };
    Some((causes, why.to_string()))
}
