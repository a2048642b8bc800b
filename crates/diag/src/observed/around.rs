//! What else a capture shows beside the messages of an SA, and what it adds to the verdict: the method of authentication, what
//! the network says of the messages, their fragments, translators, and the ESP that the SA is for.

use super::{C, Initiator, Responder, Verdict};
use crate::Severity;
use model::{ObservedSa, Unreachable};
use wire::{ExchangeType, OakleyAuthMethod};

/// An IKE_AUTH request, or the first of its fragments, of more octets has a certificate; a shared key never needs as many.
const CERTIFIED: usize = 1_000;
/// So many ESP packets of one end alone, over so many nanoseconds, are not answered.
const ONE_WAY: u64 = 20;
const LONG: u64 = 60_000_000_000;

/// The verdict with all that.
pub(super) fn seen(sa: &ObservedSa, verdict: Verdict) -> Verdict {
    one_way(sa, not_translated(sa, unreachable(sa, by_method(sa, torn(sa, verdict)))))
}

/// Where certificates prove the ends, no pre-shared key differs.
fn by_method(sa: &ObservedSa, mut verdict: Verdict) -> Verdict {
    let signed = sa.method.map(OakleyAuthMethod).is_some_and(|method| {
        !matches!(
            method,
            OakleyAuthMethod::PRE_SHARED_KEY
                | OakleyAuthMethod::XAUTH_INIT_PRE_SHARED
                | OakleyAuthMethod::XAUTH_RESP_PRE_SHARED
        )
    });
    let certified = sa.from(Initiator, ExchangeType::IKE_AUTH).any(|m| m.octets > CERTIFIED && m.inside.is_none());
    let Some(at) = verdict.causes.iter().position(|cause| *cause == C::PskMismatch).filter(|_| signed || certified)
    else {
        return verdict;
    };
    verdict.causes.retain(|cause| !matches!(cause, C::PskMismatch | C::AuthFailed));
    verdict.causes.insert(at.min(verdict.causes.len()), C::AuthFailed);
    if signed {
        verdict.evidence.push("the ends prove their identities by certificates or keys of their own".to_string());
    } else {
        // How long a message is does not decide.
        verdict.causes.push(C::PskMismatch);
        verdict.evidence.push("the IKE_AUTH request is so long that it has a certificate".to_string());
    }
    verdict
}

/// What is not delivered is not answered.
fn unreachable(sa: &ObservedSa, mut verdict: Verdict) -> Verdict {
    let Some(said) = sa.unreachable.filter(|said| said.sender == Initiator && said.times > 0) else { return verdict };
    let answered = sa.messages.iter().filter(|m| m.sender == Responder).map(|m| m.last).max();
    if verdict.id != "never-established" || answered.is_some_and(|at| at > said.last) {
        return verdict;
    }
    let what = match said.why {
        Unreachable::Port => "nobody listens on that port there: no IKE daemon runs, or not with this address",
        Unreachable::Host => "there is no way to that host, or it is off",
        Unreachable::Prohibited => "a filter on the way forbids it",
    };
    verdict.evidence.push(format!("the network sent the initiator's messages back {} times: {what}", said.times));
    if answered.is_none() {
        (verdict.causes, verdict.severity) = (vec![C::NoResponse], Severity::Error);
    }
    verdict
}

/// Behind a translator ESP has to be in UDP, which both ends have to agree to (RFC 3947 section 5.1, RFC 7296 section 2.23).
fn not_translated(sa: &ObservedSa, verdict: Verdict) -> Verdict {
    let translated = sa
        .messages
        .first()
        .is_some_and(|m| m.sender == Initiator && m.to.port() == 500 && !matches!(m.from.port(), 500 | 4500));
    let who = match sa.looks_for_nat {
        [true, true] => return verdict,
        [_, false] => "responder",
        [false, true] => "initiator",
    };
    let answered = sa.messages.iter().filter(|m| m.sender == Responder && !m.encrypted).count() > 1;
    let whole = sa.version == 2 && sa.from(Responder, ExchangeType::IKE_SA_INIT).any(|m| m.has_sa) || answered;
    // Where ESP passes all the same, somebody has seen to it.
    if !translated || !whole || verdict.id != "established" || verdict.severity > Severity::Info || !sa.esp.contains(&0)
    {
        return verdict;
    }
    let why = format!("established through a translator (NAT), of which the {who} does not know: ESP does not pass");
    let evidence = vec![format!("the {who} sends no NAT detection, and the initiator's port is not 500 any more")];
    Verdict { id: "not-translated", severity: Severity::Warning, causes: vec![C::NatTraversal], why, evidence }
}

/// Established, and one end alone sends.
fn one_way(sa: &ObservedSa, verdict: Verdict) -> Verdict {
    let ends = [(Initiator, sa.esp, sa.esp_last[0]), (Responder, [sa.esp[1], sa.esp[0]], sa.esp_last[1])];
    let alone = ends.into_iter().find(|(_, [own, other], _)| *own >= ONE_WAY && *other == 0);
    let begun = sa.messages.first().map_or(0, |m| m.first);
    let halved = sa.messages.iter().zip(sa.messages.iter().skip(1)).all(|(one, next)| one.sender == next.sender);
    let Some((sender, [sent, _], last)) = alone.filter(|_| verdict.id == "established" && !halved) else {
        return verdict;
    };
    if last.saturating_sub(begun) < LONG || verdict.severity > Severity::Info {
        return verdict;
    }
    let (who, whom) = if sender == Initiator { ("initiator", "responder") } else { ("responder", "initiator") };
    let why = format!("established, and nothing comes back through it: only the {who} sends ESP");
    let evidence = vec![format!("{sent} ESP packets from the {who}, none from the {whom}")];
    let causes = vec![C::NatTraversal, C::TrafficSelector];
    Verdict { id: "one-way", severity: Severity::Warning, causes, why, evidence }
}

/// A message of which the receiver gets a part of the fragments only is not there for it.
fn torn(sa: &ObservedSa, mut verdict: Verdict) -> Verdict {
    let [i, r] = sa.torn;
    if i + r == 0 || verdict.severity <= Severity::Info {
        return verdict;
    }
    let who = if i > 0 { "initiator" } else { "responder" };
    let times = i.max(r);
    let line =
        format!("{times} messages of the {who} came in fragments of IP, and not all of these: the path drops some");
    verdict.evidence.push(line);
    let waits = [C::Phase1Timeout, C::PskMismatch, C::NoResponse, C::NatTraversal, C::HalfOpen];
    if verdict.id == "never-established" && verdict.causes.first().is_some_and(|first| waits.contains(first)) {
        verdict.causes.retain(|cause| *cause != C::Phase1Timeout);
        verdict.causes.insert(0, C::Phase1Timeout);
    }
    verdict
}
