//! Verdicts on what a passive observer saw. Without keys this is here, what keys add in [`opened`].
//!
//! What decides is who sent the last message of which exchange, how often, and what was answered in the clear. What is
//! encrypted tells by its length only: an answer with an error alone is shorter than any with a proof of identity.

use crate::finding::{several, times};
use crate::{Cause, Finding, Severity};
use model::{ObservedMessage, ObservedSa, Role};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use wire::grammar::{RuleId, rule};
use wire::{ExchangeType, NotifyType, V1NotifyType};

/// An IKE_AUTH response of at most so many octets has no AUTH payload: header, IV, one notification and an ICV. The
/// shortest with one has IDr (12), AUTH (28), SA (40) and two selectors (48) besides.
const REFUSAL_OCTETS: usize = 112;
/// An IKE_AUTH response of at most so many octets has no room for a Child SA: header (28), SK (4), IV (8), IDr (12), AUTH
/// (24), SA (36), two selectors (48), padding and ICV (9) are more.
const CHILDLESS_OCTETS: usize = 160;
/// An INFORMATIONAL request so soon after IKE_AUTH is about it.
const AT_ONCE: u64 = 1_000_000_000;
/// So many repetitions without an answer mean that there is none.
const UNANSWERED: u32 = 2;
/// So many questions of IKEv1 without an answer, over so many nanoseconds, mean that there is none.
const MANY_ASKED: usize = 3;
const SILENT: u64 = 5_000_000_000;
/// So many times lost is no restart.
const MANY_LOSSES: u32 = 3;
/// Who takes a router's word sends no packets that are too long for minutes; so many reports over so many nanoseconds are
/// of somebody who does not.
const TOO_BIG: u32 = 5;
const STILL_TOO_BIG: u64 = 30_000_000_000;
/// So many initiators that do not go on are no accident.
const FLOOD: usize = 20;
/// So many refusals of CREATE_CHILD_SA, and nothing else, are no collision.
const MANY_REFUSED: usize = 3;
/// Who waits for an answer asks again after so many nanoseconds, or a little later.
const ASKS_AGAIN: u64 = 2_000_000_000;
/// A message of quick mode of at most so many octets has a hash only, as the third has (RFC 2409 section 5.5): 28 octets of
/// header, the longest hash with its own, and what fills the last block. The first has an SA and a nonce besides.
const HASH_ONLY: usize = 108;

mod around;
mod both;
#[cfg(test)]
mod made;
mod opened;
mod replaced;

pub use both::{Capture, between};

use Cause as C;
use Role::{Initiator, Responder};

struct Verdict {
    id: &'static str,
    severity: Severity,
    causes: Vec<Cause>,
    why: String,
    evidence: Vec<String>,
}

fn fault(severity: Severity, causes: &[Cause], why: impl Into<String>) -> Verdict {
    let (id, causes, why) = ("never-established", causes.to_vec(), why.into());
    Verdict { id, severity, causes, why, evidence: Vec::new() }
}

fn fine(why: impl Into<String>) -> Verdict {
    Verdict { id: "established", severity: Severity::Ok, causes: Vec::new(), why: why.into(), evidence: Vec::new() }
}

/// Where it stands, in the words of the grammar.
fn waiting(id: RuleId) -> String {
    rule(id).story.to_string()
}

/// How often the messages were sent, all together.
fn sent<'a>(messages: impl Iterator<Item = &'a ObservedMessage>) -> u32 {
    messages.map(|m| m.repeated + 1).sum()
}

/// Certain if it was tried more than once.
fn unless_once(times: u32) -> Severity {
    if times > 1 { Severity::Error } else { Severity::Warning }
}

/// Findings about all SAs that were seen: one for each pair of ends and verdict, in order of appearance.
pub fn observed(sas: &[ObservedSa]) -> Vec<Finding> {
    let last = sas.iter().flat_map(|sa| &sa.messages).map(|m| m.last).max();
    observed_until(sas, last.unwrap_or(0))
}

/// As [`observed`], of a capture that has packets until this moment (nanoseconds since 1970), whatever they carry.
pub fn observed_until(sas: &[ObservedSa], end: u64) -> Vec<Finding> {
    let judged: Vec<(&ObservedSa, Verdict)> = sas.iter().map(|sa| (sa, at_the_end(sa, end, judge(sa)))).collect();
    // A failed attempt is no fault of a pair that establishes later, whoever begins then.
    let pair = |sa: &ObservedSa| -> (IpAddr, IpAddr) {
        let (a, b) = (sa.initiator.ip(), sa.responder.ip());
        (a.min(b), a.max(b))
    };
    // Packets may stand in the file in another order than they were sent in.
    let begun = |sa: &ObservedSa, n: usize| (sa.messages.iter().map(|m| m.first).min().unwrap_or(0), n);
    let mut last_good: BTreeMap<(IpAddr, IpAddr), (u64, usize)> = BTreeMap::new();
    for (n, (sa, verdict)) in judged.iter().enumerate() {
        if verdict.id != "never-established" && verdict.severity <= Severity::Info {
            let last = last_good.entry(pair(sa)).or_default();
            *last = begun(sa, n).max(*last);
        }
    }
    let mut losses: BTreeMap<(IpAddr, IpAddr), u32> = BTreeMap::new();
    for (sa, _) in judged.iter().filter(|(_, verdict)| gone(verdict)) {
        *losses.entry(pair(sa)).or_default() += 1;
    }
    let deleted = opened::deleted_again_and_again(sas);
    let (mut replaced, together) = replaced::again_and_again(&judged);
    let mut findings: Vec<Finding> = flood(&judged).into_iter().collect();
    let flooded = !findings.is_empty();
    findings.extend(together);
    let mut known: BTreeMap<(String, &'static str, Severity, Vec<Cause>), usize> = BTreeMap::new();
    for (n, (sa, mut verdict)) in judged.into_iter().enumerate() {
        // Who is part of a flood needs no finding of its own.
        if flooded && verdict.id == "never-established" && begun_only(sa) {
            continue;
        }
        let again = replaced.remove(&n);
        if let Some(why) = deleted.get(&n) {
            let evidence = again.map(|again| again.evidence).unwrap_or_default();
            let (id, severity, causes) = ("flapping", Severity::Error, vec![C::PeerDelete]);
            verdict = Verdict { id, severity, causes, evidence, ..fine(why) };
        } else if let Some(mut again) = again {
            // What is wrong with each of them is the reason.
            if (verdict.severity > Severity::Info || verdict.id == "never-established") && !gone(&verdict) {
                verdict.severity = Severity::Error;
                verdict.evidence.push(again.why);
                verdict.evidence.append(&mut again.evidence);
            } else {
                let replaced::Again { mut causes, why, mut evidence } = again;
                if verdict.id == "stale" {
                    causes.insert(0, C::StaleSa);
                }
                evidence.append(&mut verdict.evidence);
                verdict = Verdict { id: "flapping", severity: Severity::Error, causes, why, evidence };
            }
        }
        let over = match verdict.id {
            "never-established" => true,
            // A peer that restarted is found dead once; one that dies again and again is not in order.
            "peer-lost" | "stale" => losses.get(&pair(sa)).is_none_or(|lost| *lost < MANY_LOSSES),
            _ => false,
        };
        if over && last_good.get(&pair(sa)).is_some_and(|good| *good > begun(sa, n)) {
            verdict.severity = verdict.severity.min(Severity::Info);
            verdict.evidence.push("a later attempt of the same two ends succeeded".to_string());
        }
        let peer = format!("{} -> {}", sa.initiator, sa.responder);
        if let Some(found) = too_long(sa, &peer)
            && !findings.iter().any(|f| (f.id, &f.peer) == (found.id, &found.peer))
        {
            findings.push(found);
        }
        let key = (peer.clone(), verdict.id, verdict.severity, verdict.causes.clone());
        if let Some(at) = known.get(&key) {
            if let Some(known) = findings.get_mut(*at) {
                known.attempts += 1;
            }
            continue;
        }
        known.insert(key, findings.len());
        let mut evidence = summary(sa);
        evidence.append(&mut verdict.evidence);
        evidence.append(&mut opened::said(sa));
        findings.push(Finding {
            id: verdict.id,
            peer,
            severity: verdict.severity,
            since: sa.messages.first().map_or(0, |m| m.first),
            attempts: 1,
            remedy: verdict.causes.iter().map(|cause| cause.remedy().into()).collect(),
            causes: verdict.causes,
            why: verdict.why,
            evidence,
        });
    }
    findings
}

/// Whether the peer has gone, or has lost the SA.
fn gone(verdict: &Verdict) -> bool {
    ["peer-lost", "stale"].contains(&verdict.id)
}

/// ESP that is too long for the path, and goes on to be.
fn too_long(sa: &ObservedSa, peer: &str) -> Option<Finding> {
    let said =
        sa.too_big.filter(|said| said.times >= TOO_BIG && said.last.saturating_sub(said.first) >= STILL_TOO_BIG)?;
    let sender = if said.sender == Initiator { "initiator" } else { "responder" };
    let most = if said.mtu > 0 { format!("; {} octets would pass", said.mtu) } else { String::new() };
    Some(Finding {
        id: "path-mtu",
        peer: peer.to_string(),
        severity: Severity::Warning,
        since: said.first,
        attempts: 1,
        causes: vec![C::PathMtu],
        why: format!("the {sender}'s ESP packets are too long for the path: small ones pass, long ones are lost"),
        evidence: vec![format!(
            "routers said so {} times in {} s{most}",
            said.times,
            said.last.saturating_sub(said.first) / 1_000_000_000
        )],
        remedy: vec![C::PathMtu.remedy().into()],
    })
}

/// Answered, and not gone on.
fn begun_only(sa: &ObservedSa) -> bool {
    let of = |end| sa.messages.iter().filter(move |m| m.sender == end);
    let asked_for_cookie = || of(Responder).any(|m| m.notifies.contains(&NotifyType::COOKIE.0));
    of(Initiator).count() == 1 && of(Responder).count() >= 1 && (!sa.spis.responder.is_zero() || asked_for_cookie())
}

/// Many addresses that sent a first message, were answered, and did not go on.
fn flood(judged: &[(&ObservedSa, Verdict)]) -> Option<Finding> {
    let mut waiting: BTreeMap<IpAddr, BTreeSet<IpAddr>> = BTreeMap::new();
    let mut good: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for (sa, verdict) in judged {
        if verdict.id == "never-established" && begun_only(sa) {
            waiting.entry(sa.responder.ip()).or_default().insert(sa.initiator.ip());
        } else if verdict.severity <= Severity::Info {
            *good.entry(sa.responder.ip()).or_default() += 1;
        }
    }
    let (responder, from) = waiting.into_iter().max_by_key(|(_, from)| from.len())?;
    let good = good.get(&responder).copied().unwrap_or(0);
    if from.len() < FLOOD || from.len() < good {
        return None;
    }
    let causes = vec![C::HalfOpen, C::NoResponse];
    Some(Finding {
        id: "flood",
        peer: format!("{} peers -> {responder}", from.len()),
        severity: Severity::Error,
        since: 0,
        attempts: u32::try_from(from.len()).unwrap_or(u32::MAX),
        remedy: causes.iter().map(|cause| cause.remedy().into()).collect(),
        causes,
        why: "many peers began and did not go on: somebody sends first messages only, or the way back is broken".into(),
        evidence: vec![format!(
            "{} addresses sent a first message and nothing after the answer; {good} SAs are in order",
            from.len()
        )],
    })
}

/// What was seen of an SA, in two or three lines.
fn summary(sa: &ObservedSa) -> Vec<String> {
    let [i, r] = [Initiator, Responder].map(|end| {
        let of_end = || sa.messages.iter().filter(move |m| m.sender == end);
        (of_end().count(), of_end().map(|m| m.repeated).sum::<u32>())
    });
    let cookies = if sa.version == 1 { "cookies" } else { "SPIs" };
    let mut lines = vec![format!(
        "IKEv{}, {cookies} {}:{}; {} of the initiator ({} repetitions), {} of the responder ({})",
        sa.version,
        sa.spis.initiator,
        sa.spis.responder,
        several(i.0, "message", "messages"),
        i.1,
        r.0,
        r.1
    )];
    if let (Some(first), Some(last)) = (sa.messages.first(), sa.messages.iter().map(|m| m.last).max()) {
        let seconds = last.saturating_sub(first.first) as f64 / 1e9;
        lines.push(format!("from the first message to the last: {seconds:.1} s"));
    }
    if sa.esp != [0, 0] {
        lines.push(format!("ESP between the two: {} packets from the initiator, {} to it", sa.esp[0], sa.esp[1]));
    }
    lines
}

/// Who sent a message, by the address that the SA has for this end: a translator may have changed it on the way.
fn address(sa: &ObservedSa, message: &ObservedMessage) -> IpAddr {
    if message.sender == Initiator { sa.initiator.ip() } else { sa.responder.ip() }
}

fn judge(sa: &ObservedSa) -> Verdict {
    let outside = || if sa.version == 2 { judge_v2(sa) } else { judge_v1(sa) };
    around::seen(sa, opened::judge(sa).unwrap_or_else(outside))
}

/// What waits for an answer that may still be on its way when the capture ends is no fault.
fn at_the_end(sa: &ObservedSa, end: u64, verdict: Verdict) -> Verdict {
    let last = sa.messages.iter().map(|m| m.last).max().unwrap_or(0);
    let repeated = sa.messages.iter().any(|m| m.repeated > 0);
    // What a message refuses is an error; a warning is what waits.
    let waits = ["never-established", "no-phase-2", "no-child"].contains(&verdict.id);
    if !waits || verdict.severity != Severity::Warning || repeated || end.saturating_sub(last) >= ASKS_AGAIN {
        return verdict;
    }
    let why = format!("the capture ends in the middle of it: {}", verdict.why);
    if verdict.id == "no-phase-2" {
        return Verdict { severity: Severity::Info, evidence: verdict.evidence, ..fine(why) };
    }
    Verdict { severity: Severity::Info, why, ..verdict }
}

/// The last request that was repeated and got no answer: the peer stopped answering.
fn unanswered(sa: &ObservedSa) -> Option<&ObservedMessage> {
    sa.messages.iter().find(|m| {
        !m.response
            && m.encrypted
            && m.repeated >= UNANSWERED
            && matches!(m.exchange, ExchangeType::INFORMATIONAL | ExchangeType::CREATE_CHILD_SA)
            && !sa
                .messages
                .iter()
                .any(|a| a.response && a.sender != m.sender && (a.message_id, a.exchange) == (m.message_id, m.exchange))
    })
}

fn dead(message: &ObservedMessage) -> Verdict {
    let silent = if message.sender == Initiator { "responder" } else { "initiator" };
    let sent = message.repeated + 1;
    let why = format!(
        "established, then the {silent} stopped answering: request {} sent {}",
        message.message_id,
        times(sent)
    );
    Verdict { id: "peer-lost", severity: Severity::Error, causes: vec![C::DpdTimeout], why, evidence: Vec::new() }
}

// -------------------------------------------------------------------------------------------------------------- IKEv2

fn judge_v2(sa: &ObservedSa) -> Verdict {
    let requests: Vec<_> = sa.from(Initiator, ExchangeType::IKE_SA_INIT).collect();
    let answers: Vec<_> = sa.from(Responder, ExchangeType::IKE_SA_INIT).collect();
    let proofs: Vec<_> = sa.from(Initiator, ExchangeType::IKE_AUTH).collect();
    let judged: Vec<_> = sa.from(Responder, ExchangeType::IKE_AUTH).collect();
    let later = || {
        let kinds = [ExchangeType::CREATE_CHILD_SA, ExchangeType::INFORMATIONAL];
        sa.messages.iter().filter(move |m| kinds.contains(&m.exchange) && m.encrypted)
    };
    if sa.messages.iter().any(|m| m.notifies.contains(&NotifyType::INVALID_IKE_SPI.0)) && later().next().is_some() {
        let mut verdict = fault(Severity::Error, &[C::StaleSa], "one end does not know the SA that the other uses");
        verdict.id = "stale";
        return verdict;
    }
    if requests.is_empty() && answers.is_empty() && proofs.is_empty() && judged.is_empty() {
        return match unanswered(sa) {
            Some(message) => dead(message),
            None => fine("in use; it began before the capture, or by rekeying"),
        };
    }
    if !judged.is_empty() || (!proofs.is_empty() && later().next().is_some()) {
        return authenticated(sa, &proofs, &judged);
    }
    if !proofs.is_empty() {
        let count = sent(proofs.iter().copied());
        if answers.is_empty() && !requests.is_empty() {
            return Verdict {
                severity: Severity::Info,
                ..fine("the capture has one direction only: what the responder says is not in it")
            };
        }
        let floated = proofs.iter().any(|m| m.to.port() == 4500);
        let causes: &[Cause] = if floated {
            &[C::NatTraversal, C::NoResponse, C::Phase1Timeout]
        } else {
            &[C::NoResponse, C::Phase1Timeout]
        };
        let mut verdict = fault(unless_once(count), causes, waiting(RuleId::IkeAuthResponse));
        verdict.evidence.push(format!("IKE_AUTH sent {}, not answered", times(count)));
        if floated {
            verdict.evidence.push("IKE_SA_INIT went both ways on port 500, IKE_AUTH goes to port 4500".to_string());
        }
        let long = proofs.iter().map(|m| m.octets).max().unwrap_or(0);
        if long > 1400 {
            verdict.evidence.push(format!("IKE_AUTH has {long} octets: fragments of IP may be lost on the way"));
        }
        return verdict;
    }
    if let Some(answer) = answers.iter().find(|m| m.has_sa) {
        let again: u32 = requests.iter().map(|m| m.repeated).sum();
        if again > 0 && answer.repeated > 0 {
            let mut verdict = fault(Severity::Error, &[C::NoResponse], waiting(RuleId::IkeSaInitResponse));
            verdict
                .evidence
                .push("requests and answers are repeated: the answers do not reach the initiator".to_string());
            return verdict;
        }
        let causes = [C::HalfOpen, C::NatTraversal, C::NoResponse, C::Phase1Timeout];
        return fault(Severity::Warning, &causes, waiting(RuleId::IkeAuthRequest));
    }
    refused_v2(&requests, &answers)
}

/// No IKE_SA_INIT response with an SA payload.
fn refused_v2(requests: &[&ObservedMessage], answers: &[&ObservedMessage]) -> Verdict {
    let count = sent(requests.iter().copied());
    if answers.iter().any(|m| m.notifies.contains(&NotifyType::REDIRECT.0)) {
        let mut verdict = fine("the responder sends the initiator to another gateway (REDIRECT)");
        (verdict.id, verdict.severity) = ("redirected", Severity::Info);
        return verdict;
    }
    let has = |kind: NotifyType| answers.iter().any(|m| m.notifies.contains(&kind.0));
    let Some(last) = answers.last() else {
        let causes = [C::NoResponse, C::NoConfig, C::IkeVersion];
        let mut verdict = fault(unless_once(count), &causes, waiting(RuleId::IkeSaInitResponse));
        verdict.evidence.push(format!("IKE_SA_INIT sent {}, not answered", times(count)));
        return verdict;
    };
    let (causes, said): (&[Cause], NotifyType) = if has(NotifyType::NO_PROPOSAL_CHOSEN) {
        (&[C::Phase1Proposal, C::NoConfig, C::IkeVersion], NotifyType::NO_PROPOSAL_CHOSEN)
    } else if has(NotifyType::INVALID_MAJOR_VERSION) {
        (&[C::IkeVersion], NotifyType::INVALID_MAJOR_VERSION)
    } else if has(NotifyType::INVALID_KE_PAYLOAD) {
        (&[C::DhGroup], NotifyType::INVALID_KE_PAYLOAD)
    } else if has(NotifyType::COOKIE) {
        (&[C::NoResponse], NotifyType::COOKIE)
    } else {
        (&[C::NoConfig, C::Phase1Proposal], NotifyType(last.notifies.first().copied().unwrap_or(0)))
    };
    let mut verdict = fault(Severity::Error, causes, format!("the responder answers IKE_SA_INIT with {said} alone"));
    let answered = times(sent(answers.iter().copied()));
    verdict.evidence.push(format!("IKE_SA_INIT sent {}, answered {answered}", times(count)));
    verdict
}

/// IKE_AUTH was answered.
fn authenticated(sa: &ObservedSa, proofs: &[&ObservedMessage], judged: &[&ObservedMessage]) -> Verdict {
    let used = sa.esp != [0, 0] || sa.messages.iter().any(|m| m.exchange == ExchangeType::CREATE_CHILD_SA);
    let last = judged.iter().max_by_key(|m| m.message_id);
    let causes = [C::PskMismatch, C::PeerId, C::AuthFailed];
    // OpenIKED refuses so what is wrong with the Child SA alone, too.
    let mut refused = [C::PskMismatch, C::PeerId, C::AuthFailed, C::ChildFailed, C::TrafficSelector];
    // Several rounds are those of a user's proof (EAP, RFC 7296 section 2.16).
    if judged.iter().any(|m| last.is_some_and(|l| l.message_id > m.message_id.saturating_add(1))) {
        refused.swap(0, 2);
    }
    // Where a key has opened it there is nothing to guess.
    let closed = |m: &&ObservedMessage| m.inside.as_ref().is_none_or(|inside| inside.auth.is_none());
    if let Some(last) = last.copied().filter(|m| !used && m.octets <= REFUSAL_OCTETS).filter(closed) {
        let why = "the responder refuses IKE_AUTH: its answer is too short for a proof of its identity";
        let mut verdict = fault(Severity::Error, &refused, why);
        verdict.evidence.push(format!("the IKE_AUTH response has {} octets", last.octets));
        return verdict;
    }
    // The initiator gives up at once: it does not accept the responder's proof, or somebody deleted the SA.
    let first_later = sa.messages.iter().find(|m| m.exchange == ExchangeType::INFORMATIONAL && m.encrypted);
    // Where the SA goes on after that, it was about something else, such as addresses (MOBIKE).
    let requests = sa.messages.iter().filter(|m| m.encrypted && !m.response && m.exchange != ExchangeType::IKE_AUTH);
    let alone = requests.count() == 1;
    let at_once = |m: &&ObservedMessage| {
        let short = m.sender == Initiator && !m.response && m.octets <= REFUSAL_OCTETS;
        alone && short && last.is_some_and(|l| m.first.saturating_sub(l.first) < AT_ONCE)
    };
    if let Some(message) = first_later.filter(at_once).filter(|_| !used) {
        let mut verdict =
            fault(Severity::Info, &causes, "the initiator ends the IKE SA as soon as the responder has proved itself");
        let after = last.map_or(0, |l| message.first.saturating_sub(l.first)) / 1_000_000;
        verdict.evidence.push(format!("INFORMATIONAL {after} ms after IKE_AUTH, and no ESP"));
        return verdict;
    }
    if let Some(verdict) = cannot_renew(sa) {
        return verdict;
    }
    let one_answer = judged.iter().all(|m| Some(m.message_id) == last.map(|l| l.message_id));
    if one_answer && replaced::childless(sa) && !used && last.copied().is_some_and(|m| m.inside.is_none()) {
        let causes = [C::ChildFailed, C::TrafficSelector, C::EncryptionAlgorithm, C::EncapsulationMode];
        let why = "the IKE SA is established, its Child SA is not: the answer of IKE_AUTH is too short for one";
        let mut verdict = fault(Severity::Warning, &causes, why);
        verdict.id = "no-child";
        let octets = last.map_or(0, |m| m.octets);
        verdict.evidence.push(format!("the IKE_AUTH response has {octets} octets, and no ESP follows"));
        return verdict;
    }
    match unanswered(sa) {
        Some(message) => dead(message),
        None => fine(format!("established; IKE_AUTH took {}", several(proofs.len().max(1), "request", "requests"))),
    }
}

/// Every CREATE_CHILD_SA exchange gets an answer that is too short for an SA and a nonce, and there were several.
fn cannot_renew(sa: &ObservedSa) -> Option<Verdict> {
    let answers = || sa.messages.iter().filter(|m| m.exchange == ExchangeType::CREATE_CHILD_SA && m.response);
    let refused = answers().filter(|m| m.octets <= REFUSAL_OCTETS && m.inside.is_none()).count();
    if refused < MANY_REFUSED || answers().count() > refused {
        return None;
    }
    // Crossing exchanges settle by themselves (RFC 7296 section 2.25), so many in a row do not cross.
    let causes = [C::Pfs, C::ChildFailed, C::TrafficSelector, C::DhGroup];
    let why =
        "the IKE SA is established, and each CREATE_CHILD_SA exchange is refused: no Child SA can be made or rekeyed";
    let mut verdict = fault(Severity::Warning, &causes, why);
    verdict.id = "cannot-rekey";
    let longest = answers().map(|m| m.octets).max().unwrap_or(0);
    verdict.evidence.push(format!("{refused} CREATE_CHILD_SA responses, none longer than {longest} octets"));
    Some(verdict)
}

// -------------------------------------------------------------------------------------------------------------- IKEv1

fn judge_v1(sa: &ObservedSa) -> Verdict {
    let aggressive = sa.messages.iter().any(|m| m.exchange == ExchangeType::AGGRESSIVE);
    let mode = if aggressive { ExchangeType::AGGRESSIVE } else { ExchangeType::IDENTITY_PROTECTION };
    let i: Vec<_> = sa.from(Initiator, mode).collect();
    let r: Vec<_> = sa.from(Responder, mode).collect();
    let phase2 = |m: &&ObservedMessage| matches!(m.exchange, ExchangeType::QUICK_MODE | ExchangeType::TRANSACTION);
    // A capture that begins with the responder's answer lacks message 1.
    let has_sa = |messages: &[&ObservedMessage]| messages.iter().any(|m| m.has_sa);
    let first = i.iter().chain(&r).min_by_key(|m| m.first);
    let lacks = first.is_some_and(|m| m.sender == Responder) && has_sa(&r) && !has_sa(&i);
    let count_i = i.len() + usize::from(lacks);
    let done = if aggressive { count_i >= 2 && !r.is_empty() } else { count_i >= 3 && r.len() >= 3 };
    let later = sa.messages.iter().any(|m| phase2(&m)) || done || i.is_empty() && r.is_empty();
    let unknown = |m: &ObservedMessage| !m.encrypted && m.notifies.contains(&V1NotifyType::INVALID_COOKIE.0);
    if later && sa.messages.iter().any(unknown) {
        let mut verdict = fault(Severity::Error, &[C::StaleSa], "one end does not know the SA that the other uses");
        verdict.id = "stale";
        verdict.evidence.push("an INVALID_COOKIE notification, unprotected".to_string());
        return verdict;
    }
    if sa.messages.iter().any(|m| phase2(&m)) || done {
        // Phase 2 is there, and so was the other end's half of phase 1.
        let halved = !(i.is_empty() && r.is_empty()) && sa.messages.windows(2).all(|m| m[0].sender == m[1].sender);
        if halved {
            let why = "the capture has one direction only: what the other end says is not in it";
            return Verdict { severity: Severity::Info, ..fine(why) };
        }
        return quick_modes(sa);
    }
    if i.is_empty() && r.is_empty() {
        return fine("in use; it began before the capture");
    }
    if let Some(verdict) = refused_v1(sa) {
        return verdict;
    }
    // A cookie that nobody was seen to send: somebody did.
    if r.is_empty() && !sa.spis.responder.is_zero() {
        let why = "the capture has one direction only, or begins in the middle: what the responder says is not in it";
        return Verdict { severity: Severity::Info, ..fine(why) };
    }
    if i.is_empty() {
        let why = "the capture has one direction only, or begins in the middle: what the initiator says is not in it";
        return Verdict { severity: Severity::Info, ..fine(why) };
    }
    let count = |messages: &[&ObservedMessage]| sent(messages.iter().copied());
    let secret = [C::PskMismatch, C::PeerId, C::AuthFailed];
    // A responder that has forgotten an attempt makes a new answer to its repetition.
    let both_repeat =
        || i.last().is_some_and(|m| m.repeated > 0) && (r.iter().any(|m| m.repeated > 0) || r.len() > count_i);
    let one_way = |waits: RuleId| {
        let mut verdict = fault(Severity::Error, &[C::NoResponse], waiting(waits));
        verdict
            .evidence
            .push("messages and their answers are repeated: one direction of the path is broken".to_string());
        verdict
    };
    // What the initiator encrypts in main mode is message 5, also where the capture begins later than message 1.
    let from_i = if !aggressive && i.iter().any(|m| m.encrypted) { count_i.max(3) } else { count_i };
    match (aggressive, from_i, r.len()) {
        (_, _, 0) => {
            let (waits, causes): (RuleId, &[Cause]) = if aggressive {
                (
                    RuleId::AggressiveMode2,
                    &[C::NoResponse, C::NoConfig, C::Phase1Proposal, C::NegotiationMode, C::IkeVersion],
                )
            } else {
                (RuleId::MainMode2, &[C::NoResponse, C::NoConfig, C::Phase1Proposal, C::NegotiationMode, C::IkeVersion])
            };
            let mut verdict = fault(unless_once(count(&i)), causes, waiting(waits));
            verdict.evidence.push(format!("message 1 sent {}, not answered", times(count(&i))));
            verdict
        }
        (false, 0 | 1, _) if both_repeat() => one_way(RuleId::MainMode2),
        (false, 0 | 1, _) => fault(Severity::Warning, &[C::Phase1Timeout], waiting(RuleId::MainMode3)),
        (false, 2, 1) => {
            let causes = [C::Phase1Timeout, C::PskMismatch, C::NatTraversal];
            fault(unless_once(i.last().map_or(1, |m| m.repeated + 1)), &causes, waiting(RuleId::MainMode4))
        }
        (false, 2, _) if both_repeat() => one_way(RuleId::MainMode4),
        (false, 2, _) => {
            let causes = [C::Phase1Timeout, C::NatTraversal, C::PskMismatch];
            fault(Severity::Warning, &causes, waiting(RuleId::MainMode5))
        }
        (false, ..) => {
            let last = i.last();
            let again = last.map_or(1, |m| m.repeated + 1);
            let floated = last.is_some_and(|m| m.to.port() == 4500);
            // Whatever the responder sends after message 5, from whichever port: it has got it.
            let after = sa.messages.iter().skip_while(|m| !(m.sender == Initiator && m.encrypted));
            let heard = after.filter(|m| m.sender == Responder).count() > 0;
            let told =
                sa.messages.iter().any(|m| m.sender == Responder && m.exchange == ExchangeType::INFORMATIONAL_V1);
            // A responder may look at the mode when it knows the identity only (strongSwan's charon).
            let causes: &[Cause] = match (floated && !heard, told) {
                (true, _) => &[C::NatTraversal, C::PskMismatch, C::PeerId],
                (_, true) => &[C::PskMismatch, C::PeerId, C::AuthFailed, C::NegotiationMode],
                _ => &secret,
            };
            let severity = if told { Severity::Error } else { unless_once(again) };
            let mut verdict = fault(severity, causes, waiting(RuleId::MainMode6));
            verdict
                .evidence
                .push(format!("messages 1 to 4 went both ways, message 5 was sent {} without message 6", times(again)));
            if floated && !heard {
                verdict.evidence.push("message 5 goes to port 4500, and nothing came after it".to_string());
            }
            verdict
        }
        (true, ..) => {
            let gave_up =
                sa.messages.iter().any(|m| m.sender == Initiator && m.exchange == ExchangeType::INFORMATIONAL_V1);
            if !gave_up && both_repeat() {
                let mut verdict = one_way(RuleId::AggressiveMode2);
                // Or the initiator finds each answer wrong, and says nothing.
                verdict.causes.extend([C::PskMismatch, C::PeerId]);
                return verdict;
            }
            let severity =
                if gave_up || r.iter().any(|m| m.repeated > 0) { Severity::Error } else { Severity::Warning };
            let mut verdict = fault(severity, &secret, waiting(RuleId::AggressiveMode3));
            // Behind a translator message 3 goes to port 4500 (RFC 3947 section 4).
            if !gave_up && i.iter().any(|m| !matches!(m.from.port(), 500 | 4500)) {
                verdict.causes.insert(1, C::NatTraversal);
            }
            verdict
                .evidence
                .push("the initiator does not go on after message 2, which has the responder's proof".to_string());
            verdict
        }
    }
}

/// Whether a message of the responder's belongs to phase 1 itself.
fn begun_by_responder(sa: &ObservedSa) -> bool {
    let phase_1 = [ExchangeType::AGGRESSIVE, ExchangeType::IDENTITY_PROTECTION];
    sa.messages.iter().any(|m| m.sender == Responder && phase_1.contains(&m.exchange))
}

/// What the ends said in the clear.
fn refused_v1(sa: &ObservedSa) -> Option<Verdict> {
    let mut said = sa.messages.iter().filter(|m| m.exchange == ExchangeType::INFORMATIONAL_V1 && !m.encrypted);
    let (sender, kind) = said.find_map(|m| {
        let kind = m.notifies.iter().map(|kind| V1NotifyType(*kind)).find(|kind| kind.is_error())?;
        Some((m.sender, kind))
    })?;
    let causes: &[Cause] = match kind {
        V1NotifyType::NO_PROPOSAL_CHOSEN => &[C::Phase1Proposal, C::NoConfig, C::NegotiationMode, C::IkeVersion],
        V1NotifyType::INVALID_EXCHANGE_TYPE => &[C::NegotiationMode],
        V1NotifyType::INVALID_MAJOR_VERSION => &[C::IkeVersion],
        V1NotifyType::INVALID_COOKIE => &[C::StaleSa],
        V1NotifyType::INVALID_ID_INFORMATION => &[C::PeerId],
        // Message 1 proves nothing: the responder has no use for who it says that it comes from, or for its mode.
        V1NotifyType::AUTHENTICATION_FAILED if sender == Responder && !begun_by_responder(sa) => {
            &[C::PeerId, C::NegotiationMode, C::AuthFailed, C::PskMismatch, C::NoConfig]
        }
        V1NotifyType::AUTHENTICATION_FAILED
        | V1NotifyType::INVALID_HASH_INFORMATION
        | V1NotifyType::PAYLOAD_MALFORMED => &[C::PskMismatch, C::PeerId, C::AuthFailed],
        _ => &[C::NoConfig, C::Phase1Proposal],
    };
    let who = if sender == Responder { "responder" } else { "initiator" };
    let mut verdict = fault(Severity::Error, causes, format!("the {who} reports {kind}, unprotected"));
    verdict.evidence.push("anybody could have sent this report: neither end may act upon it".to_string());
    Some(verdict)
}

/// One end asks again and again, and nothing comes from the other: each R-U-THERE is a message of its own (RFC 3706).
fn dead_v1(sa: &ObservedSa) -> Option<Verdict> {
    let last = sa.messages.last()?.sender;
    let heard = |m: &&ObservedMessage| m.sender == last.other();
    // One direction alone tells nothing.
    let answered = sa.messages.iter().filter(heard).map(|m| m.last).max()?;
    let after = |m: &&ObservedMessage| {
        m.sender == last && m.exchange == ExchangeType::INFORMATIONAL_V1 && m.encrypted && m.first > answered
    };
    let asked: Vec<&ObservedMessage> = sa.messages.iter().filter(after).collect();
    let (first, newest) = (asked.first()?, asked.last()?);
    // Deletes of several SAs come at one moment.
    if asked.len() < MANY_ASKED || newest.first.saturating_sub(first.first) < SILENT {
        return None;
    }
    let silent = if last == Initiator { "responder" } else { "initiator" };
    let seconds = newest.first.saturating_sub(answered) / 1_000_000_000;
    let why = format!("established, then the {silent} stopped answering: {} questions in {seconds} s", asked.len());
    Some(Verdict { id: "peer-lost", severity: Severity::Error, causes: vec![C::DpdTimeout], why, evidence: Vec::new() })
}

/// Message 2 of quick mode goes out again and again, after the initiator's last word or with the initiator's ESP alone on the
/// line. An initiator that hears it sends message 3 again (RFC 2408 section 5.1): the responder does not get that one, or
/// does not take it.
fn unfinished(esp: [u64; 2], quick_modes: &BTreeMap<u32, Vec<&ObservedMessage>>) -> Option<Verdict> {
    let repeated = |messages: &Vec<&ObservedMessage>| {
        let initiator = messages.first()?.sender;
        let last_word = messages.iter().filter(|m| m.sender == initiator).map(|m| m.last).max()?;
        let [own, other] = if initiator == Initiator { esp } else { [esp[1], esp[0]] };
        let one_way = own > 0 && other == 0;
        let answers = messages.iter().filter(|m| m.sender != initiator && (one_way || m.last > last_word));
        answers.map(|m| m.repeated).max()
    };
    let again = quick_modes.values().filter_map(repeated).max().filter(|again| *again > 1)?;
    let why = "quick mode is not finished: the responder repeats message 2 and does not get, or does not take, message 3; the initiator alone has the IPsec SA".to_string();
    let evidence = vec![format!("message 2 repeated {}", times(again))];
    let causes = vec![C::Phase2Timeout, C::NoResponse];
    Some(Verdict { id: "phase-2-unfinished", severity: Severity::Warning, causes, why, evidence })
}

/// Whether one end has gone on to port 4500, and nothing came from there after it had come from port 500.
fn moved_alone(sa: &ObservedSa) -> bool {
    let Some(last) = sa.messages.iter().rev().find(|m| m.exchange == ExchangeType::QUICK_MODE) else { return false };
    let of_other = || sa.messages.iter().filter(|m| m.sender != last.sender);
    last.to.port() == 4500 && of_other().count() > 0 && of_other().all(|m| m.from.port() != 4500)
}

/// Whether the responder has the last word, encrypted, soon after a transaction exchange.
fn user_refused(sa: &ObservedSa) -> bool {
    let asked = sa.messages.iter().filter(|m| m.exchange == ExchangeType::TRANSACTION).map(|m| m.last).max();
    let last = sa.messages.iter().max_by_key(|m| m.first);
    let ended = last.filter(|m| m.sender == Responder && m.exchange == ExchangeType::INFORMATIONAL_V1 && m.encrypted);
    let both = sa.from(Initiator, ExchangeType::TRANSACTION).next().is_some();
    both && asked.zip(ended).is_some_and(|(at, m)| m.first.saturating_sub(at) < SILENT)
}

/// Phase 1 is done: how phase 2 goes.
fn quick_modes(sa: &ObservedSa) -> Verdict {
    let mut by_id: BTreeMap<u32, Vec<&ObservedMessage>> = BTreeMap::new();
    for message in sa.messages.iter().filter(|m| m.exchange == ExchangeType::QUICK_MODE) {
        by_id.entry(message.message_id).or_default().push(message);
    }
    if by_id.is_empty() && user_refused(sa) {
        let why =
            "phase 1 is established, and ended by the responder after it asked for a user (XAuth), or for addresses";
        return fault(Severity::Warning, &[C::AuthFailed, C::ChildFailed], why);
    }
    if by_id.is_empty() {
        return fine("phase 1 is established; no quick mode was seen");
    }
    // The end of a quick mode that began before the capture.
    let oldest = sa.messages.first().map_or(0, |m| m.message_id);
    by_id.retain(|id, of| *id != oldest || of.len() > 1 || of.iter().any(|m| m.octets > HASH_ONLY));
    if by_id.is_empty() {
        return fine("in use; it began before the capture");
    }
    // Message 3, a hash only, follows message 2 (RFC 2409 section 5.5), also where the capture lacks that.
    let answered = |messages: &&Vec<&ObservedMessage>| {
        let Some((first, others)) = messages.split_first() else { return false };
        let third = |m: &ObservedMessage| m.octets <= HASH_ONLY && first.octets > HASH_ONLY && m.first > first.first;
        others.iter().any(|m| m.sender != first.sender || third(m))
    };
    let good = by_id.values().filter(answered).count();
    if good > 0 || sa.esp != [0, 0] {
        if let Some(verdict) = dead_v1(sa).or_else(|| unfinished(sa.esp, &by_id)) {
            return verdict;
        }
        return fine(format!("established; quick modes: {}, of which {good} answered", by_id.len()));
    }
    let repeated = by_id.values().flatten().map(|m| m.repeated + 1).max().unwrap_or(1);
    let report = sa.messages.iter().any(|m| {
        m.exchange == ExchangeType::INFORMATIONAL_V1
            && m.encrypted
            && by_id.values().flatten().any(|q| q.sender != m.sender && q.first <= m.first)
    });
    let (causes, why): (&[Cause], _) = if report {
        let why = "phase 1 is established; quick mode is answered with a report instead";
        (&[C::TrafficSelector, C::Pfs, C::ChildFailed, C::EncapsulationMode], why)
    } else if moved_alone(sa) {
        let why = "phase 1 is established; quick mode goes to port 4500, from which nothing comes";
        (&[C::NatTraversal, C::Phase2Timeout, C::TrafficSelector, C::Pfs], why)
    } else {
        (&[C::Phase2Timeout, C::TrafficSelector, C::Pfs], "phase 1 is established; quick mode is not answered")
    };
    let severity = if report { Severity::Error } else { unless_once(repeated) };
    let mut verdict = fault(severity, causes, why);
    verdict.id = "no-phase-2";
    verdict.evidence.push(format!("{} begun, none answered", several(by_id.len(), "quick mode", "quick modes")));
    verdict
}

#[cfg(test)]
mod tests;
