//! Captures of both ends together: what one end sent and the other did not get was lost between them.
//!
//! One capture alone cannot tell an end that does not answer from a path that drops: with both there is nothing to guess.

use super::{C, Initiator, Responder, begun_by_responder};
use crate::{Cause, Finding, Severity};
use model::{ObservedMessage, ObservedSa, Role};
use std::collections::BTreeMap;
use wire::ExchangeType;

/// So many messages of which none arrives were not lost by chance.
const NONE_ARRIVES: u32 = 2;
/// Messages of more octets travel in fragments of IP where the path is an Ethernet or a tunnel over one.
const LONG: usize = 1_200;
/// The clocks of two captures are compared by their common messages to so many nanoseconds.
const NEAR: u64 = 1_000_000_000;

/// A capture: what it has of IKE SAs, and when its last packet was seen, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Capture<'a> {
    /// Its SAs.
    pub sas: &'a [ObservedSa],
    /// The time of its last packet.
    pub end: u64,
}

/// Messages of one end that one of two captures has, and the other has not.
struct Missing<'a> {
    sender: Role,
    messages: Vec<&'a ObservedMessage>,
}

/// What is the same of a message in both captures.
type Mark = (bool, u8, u32, bool, usize, bool);

fn mark(m: &ObservedMessage) -> Mark {
    (m.sender == Initiator, m.exchange.0, m.message_id, m.response, m.octets, m.encrypted)
}

fn same(a: &ObservedMessage, b: &ObservedMessage) -> bool {
    mark(a) == mark(b)
}

/// What was lost between the ends of SAs that both captures have: one finding for each, in order of the first capture.
pub fn between(one: Capture<'_>, other: Capture<'_>) -> Vec<Finding> {
    let key = |sa: &ObservedSa| (sa.version, sa.spis.initiator);
    let there: BTreeMap<_, &ObservedSa> = other.sas.iter().map(|sa| (key(sa), sa)).collect();
    let found = one.sas.iter().filter_map(|here| {
        let there = there.get(&key(here))?;
        let lost = missing(here, there, other.end).or_else(|| missing(there, here, one.end));
        lost.map(|lost| verdict(here, &lost)).or_else(|| arrives(here, there))
    });
    let mut findings: Vec<Finding> = Vec::new();
    for finding in found {
        let known = findings.iter_mut().find(|it| (&it.peer, &it.causes) == (&finding.peer, &finding.causes));
        match known {
            Some(known) => known.attempts += 1,
            None => findings.push(finding),
        }
    }
    findings
}

/// What `here` has again and again and `there` does not have at all, though that capture went on.
fn missing<'a>(here: &'a ObservedSa, there: &ObservedSa, end: u64) -> Option<Missing<'a>> {
    // The captures' clocks may differ.
    let marks: BTreeMap<Mark, &ObservedMessage> = there.messages.iter().rev().map(|m| (mark(m), m)).collect();
    let (mine, theirs) = here.messages.iter().find_map(|m| Some((m, *marks.get(&mark(m))?)))?;
    let seen_there = |at: u64| end.saturating_add(mine.first).saturating_add(NEAR) >= at.saturating_add(theirs.first);
    let lost_by = |sender: Role| {
        let lost = here.messages.iter().filter(move |m| m.sender == sender);
        let lost = lost.filter(|m| m.first > mine.first && seen_there(m.last) && !marks.contains_key(&mark(m)));
        let messages: Vec<&ObservedMessage> = lost.collect();
        let times: u32 = messages.iter().map(|m| m.repeated + 1).sum();
        // Where it is answered it arrived, and the other capture did not look for it.
        let since = messages.first()?.first;
        let answered = here.messages.iter().any(|m| m.sender != sender && m.first > since);
        (times >= NONE_ARRIVES && !answered && nothing_after(&messages, there)).then_some(Missing { sender, messages })
    };
    lost_by(Initiator).or_else(|| lost_by(Responder))
}

/// Whether the other end has nothing of this sender's that came later in the negotiation.
fn nothing_after(lost: &[&ObservedMessage], there: &ObservedSa) -> bool {
    let Some(first) = lost.first() else { return false };
    !there.messages.iter().any(|m| {
        m.sender == first.sender && m.encrypted && m.message_id > first.message_id && m.exchange != first.exchange
    })
}

/// What arrives, again and again, and is not answered: the path is not to blame.
fn arrives(here: &ObservedSa, there: &ObservedSa) -> Option<Finding> {
    let last =
        here.messages.iter().rev().find(|m| m.sender == Initiator && m.exchange != ExchangeType::INFORMATIONAL_V1)?;
    let arrived = there.messages.iter().find(|m| same(m, last))?;
    let after = |m: &ObservedMessage, sa: &ObservedSa| {
        sa.messages
            .iter()
            .any(|it| it.sender == Responder && (it.first > m.first || it.message_id == m.message_id && it.response))
    };
    if last.repeated + 1 < NONE_ARRIVES
        || arrived.repeated + 1 < NONE_ARRIVES
        || after(last, here)
        || after(arrived, there)
    {
        return None;
    }
    let causes: &[Cause] = match (last.exchange, last.encrypted) {
        (ExchangeType::IDENTITY_PROTECTION, true) => &[C::PskMismatch, C::PeerId, C::AuthFailed],
        (ExchangeType::IKE_AUTH, _) => &[C::PskMismatch, C::AuthFailed, C::PeerId],
        (ExchangeType::IKE_SA_INIT, _) => &[C::NoConfig, C::IkeVersion, C::Phase1Proposal],
        (ExchangeType::IDENTITY_PROTECTION | ExchangeType::AGGRESSIVE, _) if !begun_by_responder(here) => {
            &[C::NoConfig, C::Phase1Proposal, C::NegotiationMode, C::IkeVersion]
        }
        _ => return None,
    };
    let kind = last.exchange;
    Some(Finding {
        id: "not-answered",
        peer: format!("{} -> {}", here.initiator, here.responder),
        severity: Severity::Error,
        since: last.first,
        attempts: 1,
        causes: causes.to_vec(),
        why: "what the initiator sends reaches the responder, which does not answer: the path is not to blame".into(),
        evidence: vec![format!(
            "{kind} was sent {} times and arrived {} times",
            last.repeated + 1,
            arrived.repeated + 1
        )],
        remedy: causes.iter().map(|cause| cause.remedy().into()).collect(),
    })
}

fn verdict(sa: &ObservedSa, lost: &Missing<'_>) -> Finding {
    let (who, whom) = if lost.sender == Initiator { ("initiator", "responder") } else { ("responder", "initiator") };
    let floated = lost.messages.iter().all(|m| m.to.port() == 4500 || m.from.port() == 4500);
    let long = lost.messages.iter().all(|m| m.octets > LONG);
    let arrived = sa.messages.iter().filter(|m| m.sender == lost.sender).any(|m| !lost.messages.contains(&m));
    let (causes, where_to): (&[Cause], String) = if long {
        (&[C::Phase1Timeout, C::NoResponse], "these are long: the path drops fragments of IP".into())
    } else if floated {
        (&[C::NatTraversal], "these go to or from UDP port 4500: the path does not let them pass".into())
    } else if arrived {
        (&[C::NoResponse], "others pass: the path drops some".into())
    } else {
        (&[C::NoResponse], "none passes: the path drops what goes in this direction".into())
    };
    let times: u32 = lost.messages.iter().map(|m| m.repeated + 1).sum();
    let first = lost.messages.first();
    let kind = first.map(|m| m.exchange.to_string()).unwrap_or_default();
    Finding {
        id: "lost-between",
        peer: format!("{} -> {}", sa.initiator, sa.responder),
        severity: Severity::Error,
        since: first.map_or(0, |m| m.first),
        attempts: 1,
        causes: causes.to_vec(),
        why: format!("what the {who} sends does not reach the {whom}: {where_to}"),
        evidence: vec![format!(
            "{kind} of the {who} was sent {times} times in one capture, and is not in the other one"
        )],
        remedy: causes.iter().map(|cause| cause.remedy().into()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::made;
    use super::*;
    use std::net::SocketAddr;
    use wire::IkeSpi;

    const SECOND: u64 = 1_000_000_000;

    /// A message, sent so often, 10 s from each other.
    fn message(exchange: ExchangeType, n: u32, port: u16, octets: usize, times: u32) -> ObservedMessage {
        let sender = if n % 2 == 1 { Initiator } else { Responder };
        let mut ends = [1, 2].map(|host| SocketAddr::from(([192, 0, 2, host], port)));
        if sender == Responder {
            ends.reverse();
        }
        let time = u64::from(n) * SECOND;
        let id = if exchange == ExchangeType::IKE_AUTH { 1 } else { 0 };
        ObservedMessage {
            response: sender == Responder && exchange.0 > 32,
            encrypted: n > 4 || exchange == ExchangeType::IKE_AUTH,
            octets,
            from: ends[0],
            to: ends[1],
            last: time + 10 * SECOND * u64::from(times - 1),
            repeated: times - 1,
            has_sa: n < 3,
            ..made::message(sender, exchange, id, time)
        }
    }

    fn sa(version: u8, messages: &[ObservedMessage]) -> ObservedSa {
        made::sa(version, messages.to_vec())
    }

    /// The finding of captures that end late, the second by a clock that is an hour ahead.
    fn found(version: u8, here: &[ObservedMessage], there: &[ObservedMessage]) -> Vec<(&'static str, Vec<Cause>)> {
        let mut ahead = there.to_vec();
        ahead.iter_mut().for_each(|m| (m.first, m.last) = (m.first + 3600 * SECOND, m.last + 3600 * SECOND));
        let (here, there) = ([sa(version, here)], [sa(version, &ahead)]);
        let of = |sas, end| Capture { sas, end };
        let one = between(of(&here, 900 * SECOND), of(&there, 4500 * SECOND));
        let other = between(of(&there, 4500 * SECOND), of(&here, 900 * SECOND));
        let short = |found: &[Finding]| found.iter().map(|f| (f.id, f.causes.clone())).collect::<Vec<_>>();
        assert_eq!(short(&one), short(&other), "the order of captures does not matter");
        short(&one)
    }

    const MAIN: ExchangeType = ExchangeType::IDENTITY_PROTECTION;

    fn main_mode(fifth: ObservedMessage) -> Vec<ObservedMessage> {
        (1..5).map(|n| message(MAIN, n, 500, 200, 1)).chain([fifth]).collect()
    }

    #[test]
    fn what_does_not_arrive_is_the_path_s() {
        let mut here = main_mode(message(MAIN, 5, 4500, 108, 5));
        assert_eq!(found(1, &here, &here[..4]), [("lost-between", vec![C::NatTraversal])]);
        here[4].octets = 1800;
        assert_eq!(found(1, &here, &here[..4])[0].1[0], C::Phase1Timeout, "long ones alone");
        here = main_mode(message(MAIN, 5, 500, 108, 5));
        assert_eq!(found(1, &here, &here[..4]), [("lost-between", vec![C::NoResponse])]);
        // Answers, seen by the end that sends them.
        let there =
            [message(ExchangeType::IKE_SA_INIT, 1, 500, 300, 4), message(ExchangeType::IKE_SA_INIT, 2, 500, 300, 4)];
        assert_eq!(found(2, &there[..1], &there), [("lost-between", vec![C::NoResponse])]);
    }

    #[test]
    fn what_arrives_and_is_not_answered_is_the_responder_s() {
        let here = main_mode(message(MAIN, 5, 4500, 108, 5));
        assert_eq!(found(1, &here, &here), [("not-answered", vec![C::PskMismatch, C::PeerId, C::AuthFailed])]);
        let first = [message(ExchangeType::IKE_SA_INIT, 1, 500, 300, 4)];
        assert_eq!(found(2, &first, &first)[0].1[0], C::NoConfig);
        // Once is no habit, and an answer is an answer.
        let once = main_mode(message(MAIN, 5, 4500, 108, 1));
        assert_eq!(found(1, &once, &once), []);
        let mut answered = here.clone();
        answered.push(message(MAIN, 6, 4500, 76, 1));
        answered[5].first = 60 * SECOND;
        assert_eq!(found(1, &answered, &answered), []);
    }

    #[test]
    fn a_capture_that_ends_early_has_lost_nothing() {
        let here = main_mode(message(MAIN, 5, 4500, 108, 5));
        let (one, other) = ([sa(1, &here)], [sa(1, &here[..4])]);
        let found = |end| between(Capture { sas: &one, end: 900 * SECOND }, Capture { sas: &other, end });
        assert_eq!(found(10 * SECOND), []);
        assert_eq!(found(900 * SECOND).len(), 1);
        // What is answered arrived: a capture of port 500 alone has none of it.
        let mut answered = here.clone();
        answered.push(message(MAIN, 6, 4500, 76, 1));
        answered[5].first = 60 * SECOND;
        let one = [sa(1, &answered)];
        let found = between(Capture { sas: &one, end: 900 * SECOND }, Capture { sas: &other, end: 900 * SECOND });
        assert_eq!(found, []);
        // Of another SA nobody says anything.
        let mut stranger = other.clone();
        stranger[0].spis.initiator = IkeSpi([9; 8]);
        assert_eq!(between(Capture { sas: &one, end: 1 }, Capture { sas: &stranger, end: 1 }), []);
    }
}
