use super::*;
use model::ObservedTooBig;
use proptest::prelude::*;
use wire::{IkeSpi, SpiPair};

fn message() -> impl Strategy<Value = ObservedMessage> {
    let port = || prop_oneof![Just(500u16), Just(4500), any::<u16>()];
    let exchange = prop_oneof![Just(2u8), Just(4), Just(5), Just(6), Just(32), 34..38u8, any::<u8>()];
    let notifies = proptest::collection::vec(prop_oneof![0..40u16, Just(16390), Just(16407), any::<u16>()], 0..3);
    let more = (any::<bool>(), any::<bool>(), 28..2000usize, 0..4u32, notifies);
    (any::<bool>(), exchange, 0..4u32, port(), any::<u64>(), more).prop_map(
        |(initiator, exchange, message_id, port, time, (response, encrypted, octets, repeated, notifies))| {
            ObservedMessage {
                sender: if initiator { Initiator } else { Responder },
                exchange: ExchangeType(exchange),
                message_id,
                response,
                encrypted,
                octets,
                from: ([192, 0, 2, 1], port).into(),
                to: ([192, 0, 2, 2], port).into(),
                first: time,
                last: time.wrapping_add(u64::from(repeated)),
                repeated,
                notifies,
                has_sa: octets % 2 == 0,
                inside: None,
            }
        },
    )
}

/// Message 2 again and again, and nothing from the initiator any more; one repetition with an answer is a lost datagram.
#[test]
fn a_quick_mode_that_the_responder_does_not_finish() {
    let message = |sender, id, encrypted, exchange, (first, last, repeated)| ObservedMessage {
        encrypted,
        octets: 100,
        last,
        repeated,
        ..made::message(sender, exchange, id, first)
    };
    let verdict = |message_2: (u64, u64, u32), message_3: (u64, u64, u32), esp: [u64; 2]| {
        let phase_1 = (0..6).map(|n| {
            let sender = if n % 2 == 0 { Initiator } else { Responder };
            message(sender, 0, n > 3, ExchangeType::IDENTITY_PROTECTION, (n, n, 0))
        });
        let quick = |sender, when| message(sender, 7, true, ExchangeType::QUICK_MODE, when);
        let quick_mode = [quick(Initiator, (10, 10, 0)), quick(Responder, message_2), quick(Initiator, message_3)];
        let sa = ObservedSa { esp, ..made::sa(1, phase_1.chain(quick_mode).collect()) };
        let found = observed(&[sa]);
        (found[0].severity, found[0].causes.first().copied())
    };
    let unfinished = (Severity::Warning, Some(C::Phase2Timeout));
    assert_eq!(verdict((11, 40, 2), (12, 12, 0), [0, 0]), unfinished);
    assert_eq!(verdict((11, 11, 0), (12, 12, 0), [5, 0]), (Severity::Ok, None));
    assert_eq!(verdict((11, 20, 1), (12, 12, 0), [5, 0]), (Severity::Ok, None), "one lost datagram");
    assert_eq!(verdict((11, 40, 2), (12, 41, 2), [0, 0]), (Severity::Ok, None), "message 3 came again as well");
    assert_eq!(verdict((11, 40, 2), (12, 41, 2), [5, 0]), unfinished, "... and was not taken");
    assert_eq!(verdict((11, 40, 2), (12, 41, 2), [5, 5]), (Severity::Ok, None), "... and was taken at last");
}

#[test]
fn packets_that_stay_too_long_for_the_path_are_told() {
    let verdict = |times, last| {
        let said = ObservedTooBig { sender: Responder, times, mtu: 1400, first: 0, last };
        let sa = ObservedSa { esp: [9, 9], too_big: Some(said), ..made::sa(2, Vec::new()) };
        observed(&[sa.clone(), sa])
    };
    let found = verdict(9, 60_000_000_000);
    let [told, _] = &found[..] else { panic!("{found:?}") };
    assert_eq!((told.severity, &told.causes[..]), (Severity::Warning, &[C::PathMtu][..]));
    assert!(told.why.contains("responder's ESP") && told.evidence[0].contains("1400 octets"), "{told:?}");
    assert_eq!(verdict(2, 60_000_000_000).len(), 1, "path MTU discovery does that");
    assert_eq!(verdict(9, 1_000_000_000).len(), 1, "several packets that were under way");
}

/// Phase 1 in main mode with a quick mode, of these messages only.
fn main_mode(kept: &[usize]) -> ObservedSa {
    let message = |n: usize| {
        let sender = if n.is_multiple_of(2) { Initiator } else { Responder };
        let quick = n > 5;
        let time = 1_000_000_000_000 + 50_000_000 * n as u64;
        let (exchange, id) = if quick { (ExchangeType::QUICK_MODE, 7) } else { (ExchangeType::IDENTITY_PROTECTION, 0) };
        ObservedMessage {
            encrypted: n > 3,
            octets: if n == 8 { 60 } else { 200 },
            has_sa: n < 2,
            ..made::message(sender, exchange, id, time)
        }
    };
    made::sa(1, kept.iter().copied().map(message).collect())
}

#[test]
fn half_a_capture_is_no_fault() {
    let severity = |kept: &[usize]| observed(&[main_mode(kept)])[0].severity;
    assert_eq!(severity(&[0, 2, 4, 6, 8]), Severity::Info, "the initiator's messages alone");
    assert_eq!(severity(&[1, 3, 5, 7]), Severity::Info, "the responder's");
    assert_eq!(severity(&[8]), Severity::Ok, "the end of a quick mode that began before");
    let later = |kept: &[usize]| observed_until(&[main_mode(kept)], 1_060_000_000_000)[0].severity;
    assert_eq!(later(&[0, 1, 2, 3, 4, 5, 6, 8]), Severity::Ok, "message 3 of a quick mode whose message 2 it lacks");
    assert_eq!(later(&[0, 1, 2, 3, 4, 5, 6]), Severity::Warning, "message 1 alone");
    // Its first message, asked again without an answer, is another thing.
    let mut asked = main_mode(&[6]);
    (asked.messages[0].repeated, asked.messages[0].last) = (3, asked.messages[0].first + 30_000_000_000);
    assert_eq!(observed(&[asked])[0].causes.first(), Some(&C::Phase2Timeout));
}

#[test]
fn a_capture_that_ends_in_a_handshake_is_no_fault() {
    for length in 2..7 {
        let kept: Vec<usize> = (0..length).collect();
        let sa = main_mode(&kept);
        let found = observed(std::slice::from_ref(&sa));
        assert!(found[0].severity <= Severity::Info, "{length}: {found:?}");
        // Where the capture goes on, it is one; but for phase 1 alone, which is done.
        let found = observed_until(&[sa], 1_060_000_000_000);
        assert_eq!(found[0].severity == Severity::Warning, length != 6, "{length}: {found:?}");
    }
}

#[test]
fn a_capture_from_message_2_on_tells_what_comes_next() {
    let later = |kept: &[usize]| observed_until(&[main_mode(kept)], 1_060_000_000_000).remove(0);
    let found = later(&[1, 2, 3]);
    assert_eq!(found.severity, Severity::Warning);
    assert!(found.why.contains(rule(RuleId::MainMode5).story), "{}", found.why);
    assert_eq!(later(&[1, 2, 3, 4]).causes.first(), Some(&C::PskMismatch));
    assert_eq!(later(&[1, 2, 3, 4, 5]).severity, Severity::Ok);
    for one_direction in [&[1][..], &[1, 3], &[1, 3, 5]] {
        assert_eq!(later(one_direction).severity, Severity::Info, "{one_direction:?}");
    }
}

#[test]
fn a_capture_from_message_3_on_tells_of_message_5() {
    let mut sa = main_mode(&[2, 3, 4]);
    (sa.messages[2].repeated, sa.messages[2].last) = (4, sa.messages[2].first + 40_000_000_000);
    assert_eq!(observed(&[sa])[0].causes.first(), Some(&C::PskMismatch));
}

/// An attempt that is older, and written behind.
#[test]
fn the_order_in_the_file_is_not_the_order_of_time() {
    let mut older = main_mode(&[0]);
    older.spis = SpiPair { initiator: IkeSpi([3; 8]), responder: IkeSpi::ZERO };
    (older.messages[0].first, older.messages[0].last) = (900_000_000_000, 900_000_000_000);
    let whole = main_mode(&[0, 1, 2, 3, 4, 5, 6, 7, 8]);
    let found = observed(&[whole, older]);
    assert!(found.iter().all(|finding| finding.severity <= Severity::Info), "{found:?}");
}

proptest! {
    /// Whatever was seen: there is a verdict, and a fault always has a cause, evidence and a remedy.
    #[test]
    fn there_is_always_a_verdict(
        version in 1..=2u8, messages in proptest::collection::vec(message(), 0..12), esp in any::<[u64; 2]>(), answered: bool,
        around in any::<(Option<u16>, [u64; 2])>(),
    ) {
        let responder = if answered { IkeSpi([2; 8]) } else { IkeSpi::ZERO };
        let spis = SpiPair { initiator: IkeSpi([1; 8]), responder };
        let (first, last) = (around.1[0].min(around.1[1]), around.1[1]);
        let said = model::ObservedUnreachable { sender: Initiator, why: model::Unreachable::Host, times: 1, last };
        let sa = ObservedSa {
            spis,
            esp,
            lifetime: around.0.map(u64::from),
            method: around.0,
            looks_for_nat: [first % 2 == 0, last % 2 == 0],
            esp_last: around.1,
            unreachable: Some(said).filter(|_| answered),
            torn: [(first % 3) as u32, (last % 3) as u32],
            ..made::sa(version, messages)
        };
        let [one, other] = [std::slice::from_ref(&sa), std::slice::from_ref(&sa)];
        let compared = between(Capture { sas: one, end: first }, Capture { sas: other, end: last });
        prop_assert!(compared.len() <= 1);
        let findings = observed(&[sa.clone(), sa.clone(), sa]);
        prop_assert!(!findings.is_empty());
        for finding in findings {
            prop_assert_eq!(finding.causes.is_empty(), finding.severity <= Severity::Info && finding.id != "never-established");
            prop_assert_eq!(finding.causes.len(), finding.remedy.len());
            prop_assert!(!finding.why.is_empty() && !finding.evidence.is_empty());
        }
    }
}

/// Certificates are in the proposal of IKEv1, and make an IKE_AUTH request long.
#[test]
fn where_certificates_prove_no_secret_differs() {
    let mut sa = main_mode(&[0, 1, 2, 3, 4]);
    (sa.messages[4].repeated, sa.messages[4].last) = (4, sa.messages[4].first + 40_000_000_000);
    let causes = |sa: &ObservedSa| observed(std::slice::from_ref(sa))[0].causes.clone();
    assert_eq!(causes(&sa)[..2], [C::PskMismatch, C::PeerId]);
    sa.method = Some(wire::OakleyAuthMethod::PRE_SHARED_KEY.0);
    assert_eq!(causes(&sa)[0], C::PskMismatch);
    sa.method = Some(wire::OakleyAuthMethod::RSA_SIGNATURES.0);
    assert_eq!(causes(&sa), [C::AuthFailed, C::PeerId]);
}

/// An exchange of IKEv2 whose IKE_AUTH request and response have so many octets.
fn ikev2(request: usize, response: usize, rounds: u32) -> ObservedSa {
    let mut sa = main_mode(&[0, 1]);
    sa.version = 2;
    sa.messages.iter_mut().for_each(|m| {
        (m.exchange, m.response) = (ExchangeType::IKE_SA_INIT, m.sender == Responder);
    });
    for round in 1..=rounds {
        for n in 0..2 {
            let mut message = sa.messages[n].clone();
            (message.exchange, message.encrypted, message.has_sa) = (ExchangeType::IKE_AUTH, true, false);
            message.message_id = round;
            message.octets = if round < rounds { 200 } else { [request, response][n] };
            (message.first, message.last) =
                (message.first + 1_000_000_000 * u64::from(round), message.last + 1_000_000_000 * u64::from(round));
            sa.messages.push(message);
        }
    }
    sa
}

#[test]
fn a_refusal_is_of_what_was_proved() {
    let first = |sa: ObservedSa| observed(&[sa])[0].causes.first().copied();
    assert_eq!(first(ikev2(300, 80, 1)), Some(C::PskMismatch));
    assert_eq!(first(ikev2(1500, 80, 1)), Some(C::AuthFailed), "a certificate");
    assert_eq!(first(ikev2(200, 80, 4)), Some(C::AuthFailed), "a user");
    assert_eq!(first(ikev2(300, 240, 1)), None);
    let late = |sa: ObservedSa| observed_until(&[sa], 2_000_000_000_000)[0].clone();
    assert_eq!(late(ikev2(300, 144, 1)).causes.first(), Some(&C::ChildFailed));
    // In each round of a user's proof but the last there is no Child SA.
    assert_eq!(late(ikev2(200, 144, 4)).severity, Severity::Ok);
}

#[test]
fn what_the_network_sends_back_is_not_answered() {
    let mut sa = main_mode(&[0]);
    (sa.messages[0].repeated, sa.messages[0].last) = (4, sa.messages[0].first + 40_000_000_000);
    sa.spis.responder = IkeSpi::ZERO;
    assert!(observed(&[sa.clone()])[0].causes.len() > 1);
    let said = |why, last| Some(model::ObservedUnreachable { sender: Initiator, why, times: 3, last });
    sa.unreachable = said(model::Unreachable::Port, sa.messages[0].last);
    let found = observed(&[sa.clone()]).remove(0);
    assert_eq!((found.severity, &found.causes[..]), (Severity::Error, &[C::NoResponse][..]));
    assert!(found.evidence.iter().any(|line| line.contains("nobody listens")), "{found:?}");
    // Before it was answered.
    let mut good = main_mode(&[0, 1, 2, 3, 4, 5, 6, 7, 8]);
    good.unreachable = said(model::Unreachable::Host, 1);
    assert_eq!(observed(&[good])[0].severity, Severity::Ok);
}

#[test]
fn esp_that_does_not_pass_is_told() {
    let mut sa = main_mode(&[0, 1, 2, 3, 4, 5, 6, 7, 8]);
    let with = |sa: &ObservedSa, esp: [u64; 2], seconds: u64| {
        let mut sa = sa.clone();
        (sa.esp, sa.esp_last) =
            (esp, esp.map(|n| if n > 0 { sa.messages[0].first + seconds * 1_000_000_000 } else { 0 }));
        let found = observed(&[sa]).remove(0);
        (found.severity, found.causes.first().copied())
    };
    let fine = (Severity::Ok, None);
    assert_eq!(with(&sa, [50, 0], 120), (Severity::Warning, Some(C::NatTraversal)));
    assert_eq!(with(&sa, [0, 50], 120), (Severity::Warning, Some(C::NatTraversal)));
    assert_eq!((with(&sa, [50, 1], 120), with(&sa, [50, 0], 20), with(&sa, [5, 0], 120)), (fine, fine, fine));
    // Through a translator that only one end looks for.
    sa.messages.iter_mut().for_each(|m| {
        let end = if m.sender == Initiator { &mut m.from } else { &mut m.to };
        end.set_port(20_000);
    });
    sa.looks_for_nat = [true, true];
    assert_eq!(with(&sa, [0, 0], 0), fine);
    sa.looks_for_nat = [true, false];
    assert_eq!(with(&sa, [0, 0], 0), (Severity::Warning, Some(C::NatTraversal)));
    assert_eq!(with(&sa, [50, 50], 120), fine, "it passes");
}

/// The responder ends phase 1 when it has asked for a user.
#[test]
fn a_user_that_is_refused_is_told() {
    let mut sa = main_mode(&[0, 1, 2, 3, 4, 5, 6, 7, 8]);
    sa.messages[6].sender = Responder;
    sa.messages[7].sender = Initiator;
    sa.messages[6..8].iter_mut().for_each(|m| m.exchange = ExchangeType::TRANSACTION);
    (sa.messages[8].sender, sa.messages[8].exchange) = (Responder, ExchangeType::INFORMATIONAL_V1);
    let found = observed_until(&[sa.clone()], 2_000_000_000_000).remove(0);
    assert_eq!((found.severity, found.causes.first()), (Severity::Warning, Some(&C::AuthFailed)));
    sa.messages.truncate(8);
    assert_eq!(observed_until(&[sa], 2_000_000_000_000)[0].severity, Severity::Ok);
}

/// Messages of which the receiver gets some of the fragments only.
#[test]
fn fragments_that_are_missing_are_told() {
    let mut sa = main_mode(&[0, 1, 2, 3, 4]);
    (sa.messages[4].repeated, sa.messages[4].last) = (4, sa.messages[4].first + 40_000_000_000);
    sa.torn = [3, 0];
    let found = observed(&[sa]).remove(0);
    assert_eq!(found.causes.first(), Some(&C::Phase1Timeout));
    assert!(found.evidence.iter().any(|line| line.contains("the path drops some")), "{found:?}");
    let mut good = main_mode(&[0, 1, 2, 3, 4, 5, 6, 7, 8]);
    good.torn = [1, 0];
    assert_eq!(observed(&[good])[0].severity, Severity::Ok);
}

/// A peer that has lost the SA says so; a new SA settles it, once.
#[test]
fn a_peer_that_has_lost_the_sa_is_told() {
    let stale = |spi: u8, second: u64| {
        let mut sa = main_mode(&[0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let mut report = sa.messages[1].clone();
        (report.exchange, report.encrypted, report.has_sa) = (ExchangeType::INFORMATIONAL_V1, false, false);
        (report.first, report.last) = (report.first + 60_000_000_000, report.last + 60_000_000_000);
        report.notifies = vec![V1NotifyType::INVALID_COOKIE.0];
        sa.messages.push(report);
        sa.spis.initiator = IkeSpi([spi; 8]);
        sa.messages.iter_mut().for_each(|m| {
            (m.first, m.last) = (m.first + second * 1_000_000_000, m.last + second * 1_000_000_000);
        });
        sa
    };
    let worst = |sas: &[ObservedSa]| observed(sas).into_iter().max_by_key(|f| f.severity).unwrap();
    assert_eq!((worst(&[stale(1, 0)]).severity, worst(&[stale(1, 0)]).causes), (Severity::Error, vec![C::StaleSa]));
    let mut again = stale(2, 90);
    again.messages.pop();
    assert_eq!(worst(&[stale(1, 0), again]).severity, Severity::Info);
    let often: Vec<ObservedSa> = (0..4).map(|n| stale(n, u64::from(n) * 90)).collect();
    let found = worst(&often);
    assert_eq!((found.id, found.severity, found.causes[0]), ("flapping", Severity::Error, C::StaleSa));
}
