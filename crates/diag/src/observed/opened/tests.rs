use super::super::{made, observed};
use super::*;
use model::{Identity, ObservedNotify};
use wire::{IkeSpi, SpiPair};

fn id(name: &str) -> Identity {
    Identity::from_wire(2, name.as_bytes())
}

/// A message with this inside, sent `second` seconds after the first.
fn message(sender: Role, exchange: ExchangeType, id: u32, second: u64, inside: ObservedInside) -> ObservedMessage {
    ObservedMessage {
        response: sender == Responder,
        encrypted: true,
        octets: 300,
        inside: Some(Box::new(inside)),
        ..made::message(sender, exchange, id, second * 1_000_000_000)
    }
}

fn sa(version: u8, spi: u8, messages: Vec<ObservedMessage>) -> ObservedSa {
    let spis = SpiPair { initiator: IkeSpi([spi; 8]), responder: IkeSpi([spi; 8]) };
    ObservedSa { spis, ..made::sa(version, messages) }
}

fn says(kind: u16) -> ObservedInside {
    ObservedInside { notifies: vec![ObservedNotify { kind, data: Vec::new() }], ..ObservedInside::default() }
}

fn esp() -> Vec<wire::v2::Proposal> {
    let encryption = wire::v2::Transform::with_key_length(TransformType::ENCR, 12, 128);
    vec![wire::v2::Proposal { number: 1, protocol: ProtocolId::ESP, spi: vec![1; 4], transforms: vec![encryption] }]
}

fn asks(method: AuthMethod) -> ObservedInside {
    let (idi, idr) = (Some(id("a.example")), Some(id("b.example")));
    ObservedInside { idi, idr, auth: Some(method), proposals: esp(), ..ObservedInside::default() }
}

fn proves(method: AuthMethod, name: &str) -> ObservedInside {
    ObservedInside { idr: Some(id(name)), auth: Some(method), proposals: esp(), ..ObservedInside::default() }
}

fn verdict(sas: &[ObservedSa]) -> (&'static str, Severity, Vec<&'static str>, String) {
    let found = observed(sas);
    let worst = found.iter().max_by_key(|f| f.severity).unwrap();
    assert_eq!(worst.causes.len(), worst.remedy.len());
    (worst.id, worst.severity, worst.causes.iter().map(|c| c.code()).collect(), worst.evidence.join("\n"))
}

const PSK: AuthMethod = AuthMethod::SHARED_KEY_MIC;
const SIG: AuthMethod = AuthMethod::DIGITAL_SIGNATURE;
const AUTH: ExchangeType = ExchangeType::IKE_AUTH;
const MORE: ExchangeType = ExchangeType::CREATE_CHILD_SA;

#[test]
fn a_refusal_of_ike_auth_is_judged_by_the_method() {
    for (method, first) in [(PSK, "PSK_MISMATCH"), (SIG, "AUTH_FAILED")] {
        let refused = says(NotifyType::AUTHENTICATION_FAILED.0);
        let messages = vec![message(Initiator, AUTH, 1, 0, asks(method)), message(Responder, AUTH, 1, 0, refused)];
        let (id, severity, causes, evidence) = verdict(&[sa(2, 1, messages)]);
        assert_eq!((id, severity, causes[0]), ("never-established", Severity::Error, first));
        assert!(evidence.contains("initiator 'a.example', asks for responder 'b.example'"), "{evidence}");
        assert!(evidence.contains("AUTHENTICATION_FAILED"), "{evidence}");
    }
}

#[test]
fn a_short_answer_that_is_opened_is_no_refusal() {
    let short = |inside| {
        let mut answer =
            message(Responder, AUTH, 1, 0, ObservedInside { proposals: Vec::new(), ..proves(PSK, "b.example") });
        answer.octets = 100;
        answer.inside = answer.inside.filter(|_| inside);
        verdict(&[sa(2, 1, vec![message(Initiator, AUTH, 1, 0, asks(PSK)), answer])])
    };
    assert_eq!((short(false).1, short(false).2[0]), (Severity::Error, "PSK_MISMATCH"), "it looks like one");
    assert_eq!(short(true).1, Severity::Ok, "it has a proof, and no Child SA");
}

#[test]
fn who_refuses_the_responder_has_the_same_secret() {
    let gives_up = || message(Initiator, ExchangeType::INFORMATIONAL, 2, 0, says(NotifyType::AUTHENTICATION_FAILED.0));
    for (method, name, expected) in [
        (PSK, "b.example", "PEER_ID"),
        (PSK, "c.example", "PEER_ID"),
        (SIG, "c.example", "PEER_ID"),
        (SIG, "b.example", "AUTH_FAILED"),
    ] {
        let answer = message(Responder, AUTH, 1, 0, proves(method, name));
        let messages = vec![message(Initiator, AUTH, 1, 0, asks(method)), answer, gives_up()];
        let (_, severity, causes, _) = verdict(&[sa(2, 1, messages)]);
        assert_eq!((severity, causes[0]), (Severity::Error, expected), "{method} {name}");
    }
}

#[test]
fn a_child_sa_that_is_refused_has_its_reason() {
    for (kind, expected) in
        [(NotifyType::TS_UNACCEPTABLE, "TRAFFIC_SELECTOR"), (NotifyType::NO_PROPOSAL_CHOSEN, "CHILD_FAILED_IKE_KEPT")]
    {
        let refused =
            ObservedInside { notifies: says(kind.0).notifies, proposals: Vec::new(), ..proves(PSK, "b.example") };
        let begun = vec![message(Initiator, AUTH, 1, 0, asks(PSK)), message(Responder, AUTH, 1, 0, refused)];
        let (id, severity, causes, _) = verdict(&[sa(2, 1, begun.clone())]);
        assert_eq!((id, severity, causes[0]), ("no-child", Severity::Error, expected));
        // Where it was made later, all is well.
        let request = message(Initiator, MORE, 2, 5, ObservedInside { proposals: esp(), ..ObservedInside::default() });
        let made = message(Responder, MORE, 2, 5, ObservedInside { proposals: esp(), ..ObservedInside::default() });
        let messages = begun.into_iter().chain([request, made]).collect();
        assert!(verdict(&[sa(2, 1, messages)]).1 <= Severity::Info);
    }
}

#[test]
fn rekeying_that_fails_is_told_with_its_group() {
    let request = |group| ObservedInside { proposals: esp(), key_exchange: group, ..says(NotifyType::REKEY_SA.0) };
    let run = |group, answers: &[u16]| {
        let mut messages =
            vec![message(Initiator, AUTH, 1, 0, asks(PSK)), message(Responder, AUTH, 1, 0, proves(PSK, "b.example"))];
        for (n, kind) in (2..).zip(answers) {
            messages.push(message(Initiator, MORE, n, u64::from(n) * 100, request(group)));
            let answer =
                if *kind == 0 { ObservedInside { proposals: esp(), ..ObservedInside::default() } } else { says(*kind) };
            messages.push(message(Responder, MORE, n, u64::from(n) * 100, answer));
        }
        verdict(&[sa(2, 1, messages)])
    };
    let (none, group) = (NotifyType::NO_PROPOSAL_CHOSEN.0, NotifyType::INVALID_KE_PAYLOAD.0);
    let (id, severity, causes, evidence) = run(None, &[none]);
    assert_eq!((id, severity, causes[0]), ("cannot-rekey", Severity::Error, "PFS"));
    assert!(evidence.contains("the request has no key exchange"), "{evidence}");
    assert_eq!(run(Some(19), &[group]).2[0], "PFS");
    assert!(run(Some(19), &[group, 0]).1 <= Severity::Info, "another group was asked for, and taken");
    assert!(run(None, &[NotifyType::TEMPORARY_FAILURE.0]).1 <= Severity::Info, "it crossed another exchange");
}

#[test]
fn who_deletes_again_and_again_is_named() {
    let ended = |spi: u8, age: u64| {
        let at = u64::from(spi) * 100;
        let delete = ObservedInside { deletes: vec![ProtocolId::IKE], ..ObservedInside::default() };
        let mut delete = message(Responder, ExchangeType::INFORMATIONAL, 0, at + age, delete);
        delete.response = false;
        let answer = message(Responder, AUTH, 1, at, proves(PSK, "b.example"));
        sa(2, spi, vec![message(Initiator, AUTH, 1, at, asks(PSK)), answer, delete])
    };
    let often = [ended(1, 5), ended(2, 6), ended(3, 7)];
    let (id, severity, causes, _) = verdict(&often);
    assert_eq!((id, severity, &causes[..]), ("flapping", Severity::Error, &["PEER_DELETE"][..]));
    assert!(observed(&often)[0].why.contains("deleted by 192.0.2.2 within 8 s, 3 times"));
    assert!(verdict(&often[..2]).1 <= Severity::Info, "twice is no habit");
    // Each has its successor before it goes, as IKEv1 rekeys.
    let mut overlapping = often.to_vec();
    for (n, sa) in overlapping.iter_mut().enumerate() {
        sa.messages[2].first = (n as u64 + 2) * 100_000_000_000 + 1;
        sa.messages[0].first = (n as u64 + 1) * 100_000_000_000;
        sa.messages[1].first = sa.messages[2].first - 50_000_000_000;
    }
    overlapping.push(ended(4, 3600));
    assert!(verdict(&overlapping).1 <= Severity::Info, "they were replaced");
    assert!(verdict(&[ended(1, 3600), ended(2, 3600), ended(3, 3600)]).1 <= Severity::Info, "they had lived");
}

#[test]
fn a_key_of_one_end_alone_means_different_secrets() {
    let proof = |end| {
        let name = Some(id("a.example"));
        let inside = ObservedInside { idi: name, auth: Some(PSK), ..ObservedInside::default() };
        message(end, ExchangeType::IDENTITY_PROTECTION, 0, 0, inside)
    };
    let mut alone = sa(1, 1, vec![proof(Initiator)]);
    alone.unopened = [0, 1];
    let (_, severity, causes, evidence) = verdict(&[alone]);
    assert_eq!((severity, &causes[..]), (Severity::Error, &["PSK_MISMATCH"][..]));
    assert!(evidence.contains("opens messages of the initiator, and none of the responder's"), "{evidence}");
    // A report that the same key opens comes from somebody with the same secret.
    let report = |kind: V1NotifyType| {
        let mut report = message(Responder, ExchangeType::INFORMATIONAL_V1, 7, 0, says(kind.0));
        report.response = false;
        sa(1, 1, vec![proof(Initiator), report])
    };
    assert_eq!(verdict(&[report(V1NotifyType::AUTHENTICATION_FAILED)]).2[0], "PEER_ID");
    assert_eq!(verdict(&[report(V1NotifyType::INVALID_ID_INFORMATION)]).2[0], "PEER_ID");
}

#[test]
fn a_report_instead_of_quick_mode_has_its_reason() {
    let phase1 = |end, name: &str| {
        let name = Some(id(name));
        let (idi, idr) = if end == Initiator { (name, None) } else { (None, name) };
        let inside = ObservedInside { idi, idr, auth: Some(PSK), ..ObservedInside::default() };
        message(end, ExchangeType::IDENTITY_PROTECTION, 0, 0, inside)
    };
    for (kind, expected) in [
        (V1NotifyType::INVALID_ID_INFORMATION, "TRAFFIC_SELECTOR"),
        (V1NotifyType::NO_PROPOSAL_CHOSEN, "CHILD_FAILED_IKE_KEPT"),
    ] {
        let quick = message(Initiator, ExchangeType::QUICK_MODE, 5, 1, ObservedInside::default());
        let report = message(Responder, ExchangeType::INFORMATIONAL_V1, 6, 1, says(kind.0));
        let messages = vec![phase1(Initiator, "a"), phase1(Responder, "b"), quick, report];
        let (id, severity, causes, _) = verdict(&[sa(1, 1, messages)]);
        assert_eq!((id, severity, causes[0]), ("no-phase-2", Severity::Error, expected));
    }
    let refused = ObservedInside { user: true, user_passed: Some(false), ..ObservedInside::default() };
    let status = message(Responder, ExchangeType::TRANSACTION, 9, 1, refused);
    let messages = vec![phase1(Initiator, "a"), phase1(Responder, "b"), status];
    assert_eq!(verdict(&[sa(1, 1, messages)]).2[0], "AUTH_FAILED");
}
