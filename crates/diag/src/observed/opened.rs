//! What the inside of encrypted messages tells, where keys were given for a capture.
//!
//! An error that is read there needs no guess from lengths and silences; and that a key opens the messages of one end and not
//! the other's tells as much as a notification would: in IKEv1 both make it of the pre-shared key (RFC 2409 section 5).

use super::{C, Initiator, Responder, Verdict, fault};
use crate::failed::{refused, refused_v1};
use crate::{Cause, Severity};
use model::{ObservedInside, ObservedMessage, ObservedSa, Phase, Role, TrafficSelector};
use std::collections::BTreeMap;
use std::net::IpAddr;
use wire::{AuthMethod, ExchangeType, KeyExchangeId, NotifyType, ProtocolId, TransformType, V1NotifyType};

/// An SA that is deleted sooner after it was made, so many nanoseconds, was not wanted; so many times is no accident.
const SHORT: u64 = 60_000_000_000;
const OFTEN: usize = 3;

/// A message of which the inside is known.
type Read<'a> = (&'a ObservedMessage, &'a ObservedInside);

fn read(sa: &ObservedSa) -> impl Iterator<Item = Read<'_>> {
    sa.messages.iter().filter_map(|message| Some((message, message.inside.as_deref()?)))
}

fn end(role: Role) -> &'static str {
    if role == Initiator { "initiator" } else { "responder" }
}

/// The verdict, if what was opened decides. Without keys there is none from here.
pub(super) fn judge(sa: &ObservedSa) -> Option<Verdict> {
    if sa.version == 2 { judge_v2(sa) } else { judge_v1(sa) }
}

/// The initiator's identity.
pub(super) fn initiator(sa: &ObservedSa) -> Option<String> {
    read(sa).find_map(|(_, inside)| inside.idi.as_ref()).map(ToString::to_string)
}

/// Who deleted the SA first, and when.
pub(super) fn deleted_by(sa: &ObservedSa) -> Option<(IpAddr, u64)> {
    let delete = read(sa).find(|(m, inside)| inside.deletes_ike() && !m.response);
    delete.map(|(message, _)| (super::address(sa, message), message.first))
}

/// What was read inside, for people; identities, methods, proposals and networks of each exchange that makes an SA.
pub(super) fn said(sa: &ObservedSa) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (message, inside) in read(sa) {
        let mut parts = Vec::new();
        let named = |what: &str, id: &Option<model::Identity>| id.as_ref().map(|id| format!("{what} '{id}'"));
        parts.extend(named("initiator", &inside.idi));
        let responder = if message.sender == Initiator { "asks for responder" } else { "responder" };
        parts.extend(named(responder, &inside.idr));
        parts.extend(inside.auth.map(|method| format!("proof {}", method_name(sa.version, method))));
        parts.extend(inside.proposals.iter().map(proposal));
        parts.extend(inside.v1_proposals.iter().flat_map(v1_proposal));
        if !inside.tsi.is_empty() || !inside.tsr.is_empty() {
            parts.push(format!("networks {} === {}", networks(&inside.tsi), networks(&inside.tsr)));
        }
        let notifies = inside.notifies.iter().map(|notify| notify.kind);
        parts.extend(notifies.filter(|kind| is_error(sa.version, *kind)).map(|kind| notify_name(sa.version, kind)));
        if inside.deletes_ike() {
            parts.push("deletes the IKE SA".to_string());
        }
        if !parts.is_empty() && lines.len() < 12 {
            let line = format!("{} from the {}: {}", message.exchange, end(message.sender), parts.join(", "));
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    lines
}

fn is_error(version: u8, kind: u16) -> bool {
    if version == 2 { NotifyType(kind).is_error() } else { V1NotifyType(kind).is_error() }
}

fn notify_name(version: u8, kind: u16) -> String {
    if version == 2 { NotifyType(kind).to_string() } else { V1NotifyType(kind).to_string() }
}

fn method_name(version: u8, method: AuthMethod) -> String {
    match (version, method) {
        (1, AuthMethod::SHARED_KEY_MIC) => "HASH".to_string(),
        (1, _) => "SIG".to_string(),
        (_, method) => method.to_string(),
    }
}

fn networks(selectors: &[TrafficSelector]) -> String {
    selectors.iter().take(8).map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn proposal(proposal: &wire::v2::Proposal) -> String {
    let algorithm = |t: &wire::v2::Transform| model::Algorithm { kind: t.kind, id: t.id, key_length: t.key_length };
    let told = proposal.transforms.iter().filter(|t| t.kind != TransformType::ESN).take(16);
    let names: Vec<String> = told.map(|t| algorithm(t).keyword()).collect();
    format!("{} {}", proposal.protocol, names.join("-"))
}

/// One line for each transform, which in IKEv1 are the alternatives.
fn v1_proposal(proposal: &wire::v1::Proposal) -> Vec<String> {
    let each = proposal.transforms.iter().take(4).map(|transform| {
        let number = |class: wire::IpsecAttribute| transform.get(class.0).and_then(|n| u16::try_from(n).ok());
        let bits = number(wire::IpsecAttribute::KEY_LENGTH).map(|bits| format!("-{bits}")).unwrap_or_default();
        let mut text = match proposal.protocol {
            ProtocolId::ESP => format!("ESP {}{bits}", wire::EspTransformId(transform.id)),
            ProtocolId::AH => format!("AH {}", wire::AhTransformId(transform.id)),
            other => format!("{other} {}", transform.id),
        };
        if let Some(auth) = number(wire::IpsecAttribute::AUTHENTICATION_ALGORITHM) {
            text.push_str(&format!("-{}", wire::AuthAlgorithm(auth)));
        }
        if let Some(group) = number(wire::IpsecAttribute::GROUP_DESCRIPTION) {
            text.push_str(&format!("-{}", KeyExchangeId(group)));
        }
        if let Some(mode) = number(wire::IpsecAttribute::ENCAPSULATION_MODE) {
            text.push_str(&format!(" {}", wire::EncapsulationMode(mode)));
        }
        text
    });
    each.collect()
}

// -------------------------------------------------------------------------------------------------------------- IKEv2

fn judge_v2(sa: &ObservedSa) -> Option<Verdict> {
    let of = |sender, exchange| read(sa).filter(move |(m, _)| m.sender == sender && m.exchange == exchange);
    let request = of(Initiator, ExchangeType::IKE_AUTH).find(|(_, inside)| inside.idi.is_some());
    let answers: Vec<Read<'_>> = of(Responder, ExchangeType::IKE_AUTH).collect();
    let error = |inside: &ObservedInside| {
        inside.notifies.iter().map(|notify| NotifyType(notify.kind)).find(|kind| kind.is_error())
    };
    // RFC 7296 section 2.21.2: an error without AUTH is about the IKE SA.
    let proved = answers.iter().find(|(_, inside)| inside.auth.is_some());
    let refusal = answers.iter().find_map(|(_, inside)| Some(error(inside)?).filter(|_| inside.auth.is_none()));
    if let Some(kind) = refusal.filter(|_| proved.is_none_or(|(_, inside)| inside.user)) {
        let by = request.and_then(|(_, inside)| inside.auth);
        let secret = by.is_some_and(|method| method == AuthMethod::SHARED_KEY_MIC);
        let mut verdict = fault(
            Severity::Error,
            &refused(Phase::Ike, kind, secret),
            format!("the responder refuses IKE_AUTH: {kind}"),
        );
        if request.is_some() && by.is_none() {
            verdict.evidence.push("the user is asked for a proof of its own (EAP), and refused".to_string());
        }
        return Some(verdict);
    }
    if let (Some((_, asked)), Some((_, answer))) = (request, proved) {
        // RFC 7296 section 2.21.2: the initiator that refuses says so in an INFORMATIONAL exchange.
        let gave_up = of(Initiator, ExchangeType::INFORMATIONAL)
            .any(|(m, inside)| !m.response && inside.says(NotifyType::AUTHENTICATION_FAILED.0));
        if gave_up {
            return Some(initiator_refuses(asked, answer));
        }
    }
    let made = |(_, inside): &Read<'_>| error(inside).is_none() && !inside.proposals.is_empty();
    let exchanges: Vec<Read<'_>> = of(Responder, ExchangeType::CREATE_CHILD_SA)
        .chain(of(Initiator, ExchangeType::CREATE_CHILD_SA))
        .filter(|(m, _)| m.response)
        .collect();
    if let Some((_, answer)) = proved
        && let Some(kind) = error(answer)
        && !exchanges.iter().any(made)
    {
        let causes = refused(Phase::Child, kind, false);
        let causes = if kind == NotifyType::NO_PROPOSAL_CHOSEN {
            // IKE_AUTH has no key exchange for it: a group is no reason yet (RFC 7296 section 1.2).
            vec![C::ChildFailed, C::EncryptionAlgorithm, C::EncapsulationMode]
        } else {
            causes
        };
        let why = format!("the IKE SA is established, its Child SA is refused: {kind}");
        return Some(Verdict { id: "no-child", ..fault(Severity::Error, &causes, why) });
    }
    rekeying(sa, &exchanges)
}

/// The initiator does not accept what the responder proved.
fn initiator_refuses(asked: &ObservedInside, answer: &ObservedInside) -> Verdict {
    let other = asked.idr.is_some() && answer.idr.is_some() && asked.idr != answer.idr;
    let same_secret = (asked.auth, answer.auth) == (Some(AuthMethod::SHARED_KEY_MIC), Some(AuthMethod::SHARED_KEY_MIC));
    // The responder has accepted the initiator's proof: a secret that both use is the same at both.
    let causes: &[Cause] = match (other, same_secret) {
        (true, _) | (false, true) => &[C::PeerId, C::PskMismatch, C::AuthFailed],
        (false, false) => &[C::AuthFailed, C::PeerId],
    };
    let why = "the initiator refuses the responder's proof of identity: AUTHENTICATION_FAILED";
    let mut verdict = fault(Severity::Error, causes, why);
    if other {
        verdict.evidence.push("the responder is not who the initiator asked for".to_string());
    }
    verdict
}

/// The last attempt of each kind that failed, unless one after it succeeded.
fn rekeying(sa: &ObservedSa, answers: &[Read<'_>]) -> Option<Verdict> {
    let asked = |answer: &ObservedMessage| {
        read(sa).find(|(m, _)| {
            !m.response
                && m.sender != answer.sender
                && (m.exchange, m.message_id) == (answer.exchange, answer.message_id)
        })
    };
    let mut failed: Option<(NotifyType, Option<Read<'_>>)> = None;
    for (message, inside) in answers {
        let error = inside.notifies.iter().map(|notify| NotifyType(notify.kind)).find(|kind| kind.is_error());
        match error {
            // Crossing exchanges settle by themselves (RFC 7296 section 2.25).
            Some(NotifyType::TEMPORARY_FAILURE | NotifyType::CHILD_SA_NOT_FOUND) => {}
            Some(kind) => failed = Some((kind, asked(message))),
            None => failed = None,
        }
    }
    let (kind, request) = failed?;
    let of_ike = request.is_some_and(|(_, inside)| inside.proposals.iter().any(|p| p.protocol == ProtocolId::IKE));
    let renewed = request.is_some_and(|(_, inside)| inside.says(NotifyType::REKEY_SA.0));
    let causes = match (kind, of_ike) {
        (NotifyType::NO_PROPOSAL_CHOSEN, true) => vec![C::Phase1Proposal, C::DhGroup],
        (NotifyType::INVALID_KE_PAYLOAD, true) => vec![C::DhGroup],
        // What IKE_AUTH agreed upon without a key exchange is refused with or without one.
        (NotifyType::NO_PROPOSAL_CHOSEN, false) if renewed => vec![C::Pfs, C::ChildFailed],
        _ => refused(Phase::Child, kind, false),
    };
    let what = match (of_ike, renewed) {
        (true, _) => "the IKE SA cannot be rekeyed",
        (_, true) => "the Child SA cannot be rekeyed",
        _ => "a further Child SA is refused",
    };
    let mut verdict = fault(Severity::Error, &causes, format!("{what}: {kind}"));
    verdict.id = if of_ike || renewed { "cannot-rekey" } else { "no-child" };
    match request.map(|(_, inside)| inside.key_exchange) {
        Some(Some(group)) => {
            verdict.evidence.push(format!("the request has a key exchange of group {}", KeyExchangeId(group)));
        }
        Some(None) => verdict.evidence.push("the request has no key exchange".to_string()),
        None => {}
    }
    Some(verdict)
}

// -------------------------------------------------------------------------------------------------------------- IKEv1

fn judge_v1(sa: &ObservedSa) -> Option<Verdict> {
    let phase1 =
        |m: &ObservedMessage| matches!(m.exchange, ExchangeType::IDENTITY_PROTECTION | ExchangeType::AGGRESSIVE);
    let opened = |role| read(sa).filter(|(m, _)| m.sender == role).count();
    let signed = read(sa).any(|(_, inside)| inside.auth == Some(AuthMethod::DIGITAL_SIGNATURE));
    let one_sided = [(Initiator, Responder), (Responder, Initiator)]
        .into_iter()
        .find(|(one, other)| opened(*one) > 0 && opened(*other) == 0 && sa.unopened[place(*other)] > 0);
    if let Some((one, other)) = one_sided.filter(|_| !signed) {
        let why = format!(
            "the {} and the {} encrypt with different keys: they made them of different pre-shared keys",
            end(one),
            end(other)
        );
        let mut verdict = fault(Severity::Error, &[C::PskMismatch], why);
        let line = format!("the key opens messages of the {}, and none of the {}'s", end(one), end(other));
        verdict.evidence.push(line);
        return Some(verdict);
    }
    let quick: Vec<Read<'_>> = read(sa).filter(|(m, _)| m.exchange == ExchangeType::QUICK_MODE).collect();
    let proved = read(sa).any(|(m, inside)| phase1(m) && m.sender == Responder && inside.auth.is_some());
    if read(sa).any(|(_, inside)| inside.user_passed == Some(false)) {
        let why = "phase 1 is established, the user is refused (XAuth)";
        return Some(fault(Severity::Error, &[C::AuthFailed], why));
    }
    let errors = || {
        read(sa).filter(|(m, _)| m.exchange == ExchangeType::INFORMATIONAL_V1).filter_map(|(m, inside)| {
            let kinds = inside.notifies.iter().map(|notify| V1NotifyType(notify.kind));
            Some((m, kinds.into_iter().find(|kind| kind.is_error())?))
        })
    };
    // An initiator that does not accept message 6 says so, and there is no quick mode.
    let rejected = errors().any(|(m, _)| m.sender == Initiator);
    if quick.is_empty() && (!proved || rejected) {
        let (message, kind) = errors().next()?;
        // One key opens both ends' messages: both made it of the same pre-shared key.
        let mut causes = refused_v1(Phase::Ike, kind, false);
        let both = opened(message.sender.other()) > 0;
        if both && kind != V1NotifyType::INVALID_ID_INFORMATION && kind != V1NotifyType::NO_PROPOSAL_CHOSEN {
            let secret = read(sa).any(|(m, inside)| phase1(m) && inside.auth == Some(AuthMethod::SHARED_KEY_MIC));
            causes = if secret { vec![C::PeerId, C::AuthFailed] } else { vec![C::AuthFailed, C::PeerId] };
        }
        let mut verdict = fault(Severity::Error, &causes, format!("the {} reports {kind}", end(message.sender)));
        if both {
            verdict.evidence.push("one key opens the messages of both ends: the pre-shared key is not to blame".into());
        }
        return Some(verdict);
    }
    // RFC 2409 section 5.5: an answer to message 1 has an SA payload.
    let answered = quick.iter().any(|(m, inside)| {
        let begun = quick.iter().find(|(first, _)| first.message_id == m.message_id);
        !inside.v1_proposals.is_empty() && begun.is_some_and(|(first, _)| first.sender != m.sender)
    });
    if answered || quick.is_empty() || sa.esp != [0, 0] {
        return None;
    }
    let (message, kind) = errors().last()?;
    let why = format!("phase 1 is established; the {} answers quick mode with {kind}", end(message.sender));
    let mut verdict = fault(Severity::Error, &refused_v1(Phase::Child, kind, false), why);
    verdict.id = "no-phase-2";
    Some(verdict)
}

fn place(role: Role) -> usize {
    usize::from(role == Responder)
}

/// SAs, by position, that one end of a pair makes go away soon after they were established, again and again.
pub(super) fn deleted_again_and_again(sas: &[ObservedSa]) -> BTreeMap<usize, String> {
    let mut short: BTreeMap<(IpAddr, IpAddr, IpAddr), Vec<(usize, u64)>> = BTreeMap::new();
    for (n, sa) in sas.iter().enumerate() {
        let delete = read(sa).find(|(m, inside)| inside.deletes_ike() && !m.response);
        let Some((message, _)) = delete else { continue };
        // In aggressive mode the responder proves itself in the clear, and the initiator's answer to that is encrypted.
        let last = |m: &ObservedMessage| m.sender == Responder || m.exchange == ExchangeType::AGGRESSIVE;
        let proved = read(sa).filter(|(m, inside)| last(m) && inside.auth.is_some()).map(|(m, _)| m.first);
        let Some(age) = proved.last().and_then(|at| message.first.checked_sub(at)) else { continue };
        let refused = read(sa).any(|(m, inside)| {
            m.exchange != ExchangeType::INFORMATIONAL_V1
                && inside.notifies.iter().any(|it| is_error(sa.version, it.kind))
        });
        // One that was rekeyed has its successor.
        let rekeyed = read(sa).any(|(m, inside)| {
            m.exchange == ExchangeType::CREATE_CHILD_SA
                && inside.proposals.iter().any(|p| p.protocol == ProtocolId::IKE)
        });
        let (a, b) = (sa.initiator.ip(), sa.responder.ip());
        // Another that was made before this one went: it was authenticated anew, as IKEv1 rekeys.
        let replaced = sas.iter().enumerate().any(|(other, it)| {
            let begun = it.messages.first().map_or(0, |m| m.first);
            let same = [(a, b), (b, a)].contains(&(it.initiator.ip(), it.responder.ip()));
            other != n
                && same
                && message.first.checked_sub(age).is_some_and(|made| made <= begun)
                && begun <= message.first
        });
        if age < SHORT && !refused && !rekeyed && !replaced && judge(sa).is_none() {
            short.entry((a.min(b), a.max(b), message.from.ip())).or_default().push((n, age));
        }
    }
    let often = short.into_iter().filter(|(_, found)| found.len() >= OFTEN);
    often
        .flat_map(|((.., by), found)| {
            let longest = found.iter().map(|(_, age)| *age).max().unwrap_or(0) / 1_000_000_000;
            let why = format!("established, and deleted by {by} within {} s, {} times", longest + 1, found.len());
            found.into_iter().map(move |(n, _)| (n, why.clone()))
        })
        .collect()
}

#[cfg(test)]
mod tests;
