//! The lines of `show-event`.

use model::{FailureKind, Phase, SaSnapshot, Tombstone};
use std::net::SocketAddr;

/// Racoon's text for an event. 0x0106, "the peer deleted phase 1", has none.
pub fn event_text(code: u16) -> Option<&'static str> {
    Some(match code {
        0x0001 => "Racoon terminated",
        0x0100 => "Phase 1 established",
        0x0101 => "Phase 1 deleted",
        0x0102 => "Phase 1 error: peer not responding",
        0x0103 => "Phase 1 error: no proposal chosen",
        0x0104 => "Phase 1 error: authentication failed (bad certificate?)",
        0x0105 => "Phase 1 error: dead peer detected",
        0x0107 => "Phase 1 mode configuration done",
        0x0108 => "Phase 1 Xauth succeeded",
        0x0109 => "Phase 1 Xauth failed",
        0x0200 => "Phase 2 error: no suitable phase 1",
        0x0201 => "Phase 2 established",
        0x0202 => "Phase 2 deleted",
        0x0203 => "Phase 2 error: no response",
        _ => return None,
    })
}

/// A line of `show-event`, with its end: `Phase 1 established : 10.9.0.1[500] -> 10.9.0.2[500]`.
pub fn event_line(code: u16, source: SocketAddr, destination: SocketAddr) -> String {
    let what = event_text(code).map_or_else(|| format!("Event {code}:"), |text| format!("{text} :"));
    let end = |address: SocketAddr| format!("{}[{}]", address.ip(), address.port());
    format!("{what} {} -> {}\n", end(source), end(destination))
}

/// The events of an ISAKMP SA that came up, in racoon's order: "mode configuration done" comes without any, too.
pub fn events_of_phase1(sa: &SaSnapshot) -> Vec<u16> {
    let user = sa.remote_xauth_id.is_some().then_some(0x0108);
    std::iter::once(0x0100).chain(user).chain((sa.version == 1).then_some(0x0107)).collect()
}

/// The event of an ISAKMP SA that is gone.
pub const PHASE1_DELETED: u16 = 0x0101;

/// The event of an IPsec SA that came up.
pub const PHASE2_ESTABLISHED: u16 = 0x0201;

/// The events that racoon prints for the end of an SA: two where the peer deleted phase 1, and one for a phase 2 only where
/// the peer did not answer. Its "Phase 2 deleted" has a number and a text, and none of its recordings has the line: not where
/// a lifetime ended, with a successor or without, nor where one end deleted, at either end.
pub fn events_of_end(ended: &Tombstone) -> Vec<u16> {
    use FailureKind as Kind;
    match (&ended.failure.kind, ended.child.is_some()) {
        (Kind::PeerDeleted, false) => vec![0x0106, 0x0101],
        (Kind::NoAnswer { .. }, true) => vec![0x0203],
        (_, true) => Vec::new(),
        _ => vec![event_of(ended)],
    }
}

/// The event of the end of phase 1, or of a peer that does not answer.
fn event_of(ended: &Tombstone) -> u16 {
    use FailureKind as Kind;
    match &ended.failure.kind {
        Kind::NoAnswer { answered_before: true, .. } if ended.sa.established.is_some() => 0x0105,
        Kind::PeerRestarted => 0x0105,
        Kind::NoAnswer { .. } | Kind::HalfOpen { .. } => 0x0102,
        Kind::NoProposalChosen { phase: Phase::Ike, .. }
        | Kind::ChoiceNotOffered { phase: Phase::Ike, .. }
        | Kind::InvalidKeyExchange { .. } => 0x0103,
        Kind::IdentityUnknown { .. }
        | Kind::IdentityMismatch { .. }
        | Kind::NotAddressed { .. }
        | Kind::PskMismatch { .. }
        | Kind::PskMissing { .. }
        | Kind::AuthMethodUnsupported { .. }
        | Kind::AuthMethodMismatch { .. }
        | Kind::OwnCertificateMissing { .. }
        | Kind::PeerCertificateMissing { .. }
        | Kind::IdentityNotCertified { .. }
        | Kind::CertificateUntrusted { .. }
        | Kind::SignatureInvalid { .. }
        | Kind::AuthenticationRefused { .. } => 0x0104,
        Kind::XauthRefused { .. } => 0x0109,
        _ => 0x0101,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{ended, secs};
    use wire::grammar::RuleId;

    #[test]
    fn lines_as_recorded() {
        let (a, b) = ("10.9.0.1:500".parse().unwrap(), "10.9.0.2:500".parse().unwrap());
        assert_eq!(event_line(0x0100, a, b), "Phase 1 established : 10.9.0.1[500] -> 10.9.0.2[500]\n");
        assert_eq!(event_line(0x0106, b, a), "Event 262: 10.9.0.2[500] -> 10.9.0.1[500]\n");
        assert_eq!((0..0x400).filter(|code| event_text(*code).is_some()).count(), 14);
    }

    #[test]
    fn ends_have_events() {
        let mut t = ended(FailureKind::PeerDeleted, "connections.gw-gw", 3);
        let no_answer = |answered_before| FailureKind::NoAnswer {
            waiting_for: RuleId::MainMode2,
            to: "10.9.0.2:500".parse().unwrap(),
            sent: 5,
            over: secs(165),
            answered_before,
        };
        t.failure.kind = no_answer(false);
        assert_eq!(event_of(&t), 0x0102);
        t.failure.kind = no_answer(true);
        assert_eq!(event_of(&t), 0x0102, "it was never up");
        t.sa.established = Some(secs(90));
        assert_eq!(event_of(&t), 0x0105);
        t.child = Some("net-net".into());
        assert_eq!(events_of_end(&t), [0x0203]);
        for silent in [
            FailureKind::Expired,
            FailureKind::PeerDeleted,
            FailureKind::Terminated,
            FailureKind::NotUnique { remote: model::Identity::ANY },
        ] {
            t.failure.kind = silent;
            assert!(events_of_end(&t).is_empty(), "{:?}", t.failure.kind);
        }
        t.child = None;
        t.failure.kind = FailureKind::PeerDeleted;
        assert_eq!(events_of_end(&t), [0x0106, 0x0101]);
        let (user, found_by) = ("carol".parse().unwrap(), model::Side::Us);
        t.failure.kind = FailureKind::XauthRefused { user, found_by, known: true };
        assert_eq!(event_of(&t), 0x0109);
        t.failure.kind = FailureKind::Expired;
        assert_eq!(event_of(&t), 0x0101);
    }
}
