//! SAs that come in place of others of the same two ends, again and again.
//!
//! A capture without keys shows no DELETE and no identity, but it shows every SA being made, and when. One that is made while
//! the one before is still in use renews it (reauthentication, RFC 7296 section 2.8.3, IKEv1's only way of rekeying); one that
//! is made after the other has gone still, time and again within minutes, replaces it. What the last word before each new
//! beginning was, whose it was, and the pace tell why.

use super::{AT_ONCE, C, Initiator, REFUSAL_OCTETS, Responder, Verdict, address, dead_v1, opened, unanswered};
use crate::rhythm::{Flapping, MANY, Rhythm, SOON, Timer, at_one_instant, rhythm};
use crate::{Cause, Finding, Severity};
use model::{ObservedMessage, ObservedSa, Role};
use std::collections::BTreeMap;
use std::net::IpAddr;
use wire::ExchangeType;

/// What is said so many nanoseconds before the next beginning is about the end.
const JUST_BEFORE: u64 = 5_000_000_000;
/// Beginnings of both ends so close to each other cross.
const CROSSING: u64 = 5_000_000_000;
/// More messages of one end without an answer are questions; fewer may delete the SA and its children.
const DELETES: usize = 2;
/// A lifetime of so many seconds, or less, is not meant: the SA is replaced all the time.
const NO_LIFETIME: u64 = 10;
/// So many peers that begin anew together have one reason.
const ALL_PEERS: usize = 3;
/// So many SAs, and no more, may be somebody's who tries something.
const FEW: usize = 5;
/// So many times is no accident.
const TWICE: usize = 2;
const MILLISECOND: u64 = 1_000_000;

/// What is wrong with SAs that follow one another.
pub(super) struct Again {
    pub causes: Vec<Cause>,
    pub why: String,
    pub evidence: Vec<String>,
}

/// An SA whose making the capture shows.
struct Made<'a> {
    n: usize,
    sa: &'a ObservedSa,
    /// When its first message was sent, and when the last that makes it.
    begun: u64,
    up: u64,
    /// Whether it has no Child SA.
    childless: bool,
}

/// How one ends before the next begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The next one renews it.
    Renewed,
    /// Both ends began at once.
    Crossed,
    /// Somebody deleted it, or had the last word.
    Told(IpAddr),
    /// Somebody asked, and got no answer.
    Lost,
    /// Nothing was said.
    Silent,
}

/// Who is behind one address: translated ports tell the hosts apart, and where they were opened identities do better.
type Pair = (IpAddr, IpAddr, String);

fn pair(sa: &ObservedSa) -> Pair {
    let (a, b) = (sa.initiator.ip(), sa.responder.ip());
    let last = sa.messages.iter().rev().take(1).flat_map(|m| [m.from, m.to]);
    let mut odd: Vec<String> =
        last.filter(|end| !matches!(end.port(), 500 | 4500)).map(|end| end.to_string()).collect();
    odd.sort_unstable();
    let who = opened::initiator(sa).filter(|_| !odd.is_empty()).unwrap_or_else(|| odd.join(" "));
    (a.min(b), a.max(b), who)
}

fn makes(message: &&ObservedMessage) -> bool {
    matches!(
        message.exchange,
        ExchangeType::IKE_SA_INIT
            | ExchangeType::IKE_AUTH
            | ExchangeType::IDENTITY_PROTECTION
            | ExchangeType::AGGRESSIVE
    )
}

/// No Child SA: in IKEv1 nobody begins one; in IKEv2 the last answer of IKE_AUTH has no room for one.
pub(super) fn childless(sa: &ObservedSa) -> bool {
    let has = |exchange| sa.messages.iter().any(|m| m.exchange == exchange);
    if sa.version == 1 {
        return !has(ExchangeType::QUICK_MODE);
    }
    let last = sa.from(Responder, ExchangeType::IKE_AUTH).max_by_key(|m| m.message_id);
    let no_room = last.is_some_and(|m| m.octets > REFUSAL_OCTETS && m.octets <= super::CHILDLESS_OCTETS);
    no_room && !has(ExchangeType::CREATE_CHILD_SA)
}

/// Whether the initiator of IKEv1's phase 1 reports something, or deletes the SA, as soon as the responder has proved itself.
fn refused(sa: &ObservedSa) -> bool {
    let proof = sa.from(Responder, ExchangeType::IDENTITY_PROTECTION).filter(|m| m.encrypted).map(|m| m.first).max();
    let mut said = sa.from(Initiator, ExchangeType::INFORMATIONAL_V1);
    proof.is_some_and(|at| said.any(|m| m.first.checked_sub(at).is_some_and(|after| after < AT_ONCE)))
}

/// SAs, by position, of pairs whose SAs are constantly replaced; and what happens to all peers of one end at once.
pub(super) fn again_and_again(judged: &[(&ObservedSa, Verdict)]) -> (BTreeMap<usize, Again>, Vec<Finding>) {
    let mut pairs: BTreeMap<Pair, Vec<Made<'_>>> = BTreeMap::new();
    for (n, (sa, verdict)) in judged.iter().enumerate() {
        let made = sa.messages.iter().filter(makes);
        let Some(up) = made.map(|m| m.first).max() else { continue };
        // Who refuses the responder at once has made it.
        let answered =
            verdict.severity == Severity::Info && sa.from(Responder, ExchangeType::IKE_AUTH).next().is_some();
        if verdict.id == "never-established" && !answered || verdict.id == "redirected" {
            continue;
        }
        let begun = sa.messages.iter().map(|m| m.first).min().unwrap_or(up);
        pairs.entry(pair(sa)).or_default().push(Made { n, sa, begun, up, childless: childless(sa) });
    }
    let sites = sites(pairs.values().flatten());
    let mut found = BTreeMap::new();
    let mut chains: Vec<(Pair, Vec<u64>)> = Vec::new();
    for (pair, mut made) in pairs {
        made.sort_by_key(|it| (it.begun, it.n));
        let ends: Vec<End> = made.iter().zip(made.iter().skip(1)).map(|(it, next)| end(it, next)).collect();
        let anew =
            |n: usize| n.checked_sub(1).is_none_or(|n| !matches!(ends.get(n), Some(End::Renewed | End::Crossed)));
        let ups: Vec<u64> =
            made.iter().enumerate().filter(|(n, _)| anew(*n)).map(|(_, it)| it.up / MILLISECOND).collect();
        if let Some(again) = constantly(&made, &ends, &ups, &sites) {
            for it in &made {
                let Again { causes, why, evidence } = &again;
                let (causes, why, evidence) = (causes.clone(), why.clone(), evidence.clone());
                found.insert(it.n, Again { causes, why, evidence });
            }
        }
        chains.push((pair, ups));
    }
    let together = all_at_once(&chains, judged, &mut found);
    (found, together)
}

/// SAs, by position, whose responder has the last word when it has just made an SA with another address: with which one. Where
/// the identities were opened they are the same.
fn sites<'a>(made: impl Iterator<Item = &'a Made<'a>>) -> BTreeMap<usize, IpAddr> {
    let mut ups: BTreeMap<IpAddr, Vec<(u64, &Made<'_>)>> = BTreeMap::new();
    for it in made {
        ups.entry(it.sa.responder.ip()).or_default().push((it.up, it));
    }
    let mut found = BTreeMap::new();
    for of_one in ups.values_mut() {
        of_one.sort_by_key(|(up, it)| (*up, it.n));
        for (_, it) in of_one.iter() {
            let last = it.sa.messages.iter().filter(|m| !m.response).max_by_key(|m| m.first);
            let about = last.filter(|m| m.sender == Responder && m.encrypted && !makes(m) && m.repeated == 0);
            let Some(at) = about.map(|m| m.first) else { continue };
            let before = of_one.partition_point(|(up, _)| *up <= at);
            let newest = before.checked_sub(1).and_then(|n| of_one.get(n));
            let Some((up, other)) = newest.filter(|(up, _)| at.saturating_sub(*up) < AT_ONCE) else { continue };
            let named = [it.sa, other.sa].map(opened::initiator);
            let same = matches!(&named, [Some(one), Some(other)] if one == other) || named.contains(&None);
            if other.sa.initiator.ip() != it.sa.initiator.ip() && same && *up > it.up {
                found.insert(it.n, other.sa.initiator.ip());
            }
        }
    }
    found
}

/// How `it` ends before `next` begins.
fn end(it: &Made<'_>, next: &Made<'_>) -> End {
    let (from, to) = (it.sa.initiator.ip(), next.sa.initiator.ip());
    if from != to && next.begun.saturating_sub(it.begun) < CROSSING {
        return End::Crossed;
    }
    if let Some((by, at)) = opened::deleted_by(it.sa).filter(|(_, at)| *at <= next.begun) {
        return told(it, next, by, at);
    }
    if it.sa.version == 2 && kicked(it.sa, next) {
        return End::Told(next.sa.responder.ip());
    }
    let after = || it.sa.messages.iter().filter(|m| m.first > next.begun && !makes(m));
    let of = |role: Role| after().filter(|m| m.sender == role).count();
    let in_use = match it.sa.version {
        1 => of(Initiator) > 0 && of(Responder) > 0 || (1..=DELETES).contains(&after().count()),
        _ => after().any(|m| m.response || m.repeated == 0),
    };
    if in_use {
        return End::Renewed;
    }
    if it.sa.version == 2 && unanswered(it.sa).is_some() || it.sa.version == 1 && dead_v1(it.sa).is_some() {
        return End::Lost;
    }
    let before = it.sa.messages.iter().filter(|m| m.first <= next.begun);
    let Some(last) = before.filter(|m| !m.response).max_by_key(|m| m.first) else { return End::Silent };
    // What was read and deletes nothing is another thing.
    let about = matches!(last.exchange, ExchangeType::INFORMATIONAL | ExchangeType::INFORMATIONAL_V1)
        && last.encrypted
        && last.inside.as_ref().is_none_or(|inside| inside.deletes_ike());
    if about && next.begun.saturating_sub(last.last) < JUST_BEFORE {
        return told(it, next, address(it.sa, last), last.last);
    }
    End::Silent
}

/// Who ends an SA with a child and begins the next one in the same moment authenticates anew (RFC 7296 section 2.8.3).
fn told(it: &Made<'_>, next: &Made<'_>, by: IpAddr, at: u64) -> End {
    let same = by == next.sa.initiator.ip() && by == it.sa.initiator.ip();
    if same && !it.childless && next.begun.saturating_sub(at) < AT_ONCE { End::Renewed } else { End::Told(by) }
}

/// Whether the responder of the next one, which had begun this one, ends it when the next one is there: it takes one of them
/// for a duplicate.
fn kicked(sa: &ObservedSa, next: &Made<'_>) -> bool {
    let mut after = sa.messages.iter().filter(|m| m.first > next.begun && !m.response).peekable();
    sa.initiator.ip() == next.sa.responder.ip()
        && after.peek().is_some()
        && after.all(|m| address(sa, m) == next.sa.responder.ip())
}

/// Whether these instants, in milliseconds, are about as far from each other as a timer makes them.
fn regular(ups: &[u64]) -> bool {
    let gaps: Vec<u64> = ups.iter().zip(ups.iter().skip(1)).map(|(one, next)| next.saturating_sub(*one)).collect();
    let (least, most) = (gaps.iter().min().copied().unwrap_or(0), gaps.iter().max().copied().unwrap_or(0));
    most.saturating_mul(2) <= least.saturating_mul(3)
}

/// The verdict on the SAs of a pair, if they are constantly replaced.
fn constantly(made: &[Made<'_>], ends: &[End], ups: &[u64], sites: &BTreeMap<usize, IpAddr>) -> Option<Again> {
    let count = |kind: fn(&End) -> bool| ends.iter().filter(|end| kind(end)).count();
    let lifetime = made.iter().filter_map(|it| it.sa.lifetime).min();
    if made.len() >= MANY && lifetime.is_some_and(|seconds| seconds <= NO_LIFETIME) {
        let seconds = lifetime.unwrap_or_default();
        let why = format!("replaced all the time: the agreed lifetime of phase 1 is {seconds} s");
        return Some(Again { causes: vec![C::Lifetime], why, evidence: vec![format!("{} SAs in a row", made.len())] });
    }
    let crossed: Vec<u64> = made
        .windows(2)
        .zip(ends)
        .filter(|(_, end)| **end == End::Crossed)
        .filter_map(|(two, _)| Some(two.first()?.begun / MILLISECOND))
        .collect();
    let many_crossed =
        crossed.iter().zip(crossed.iter().skip(MANY - 1)).any(|(first, last)| last.saturating_sub(*first) <= SOON);
    let (period, times, timer) = match rhythm(ups, lifetime.map(|seconds| seconds.saturating_mul(1000))) {
        Rhythm::Flapping(Flapping { period, times, timer }) => (period, times, timer),
        _ if many_crossed => {
            let gap = crossed.iter().zip(crossed.iter().skip(1)).map(|(one, next)| next.saturating_sub(*one)).min();
            (gap.unwrap_or_default(), made.len(), None)
        }
        _ => return None,
    };
    let swapped = made
        .iter()
        .zip(made.iter().skip(1))
        .filter(|(it, next)| it.sa.initiator.ip() != next.sa.initiator.ip())
        .count();
    let most = |n: usize| n > 0 && n * 2 >= ends.len();
    let mut by: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for end in ends {
        if let End::Told(who) = end {
            *by.entry(*who).or_default() += 1;
        }
    }
    let by = by.into_iter().max_by_key(|(_, times)| *times).filter(|(_, times)| most(*times));
    let bare = made.iter().filter(|it| it.childless).count();
    let lost = count(|end| *end == End::Lost);
    let mut evidence = Vec::new();
    let initiator = made.first().map(|it| it.sa.initiator.ip());
    let others: Vec<IpAddr> = made.iter().filter_map(|it| sites.get(&it.n).copied()).collect();
    // A few at no pace, with nothing wrong before the next one: an operator at work, or a client that goes from one network
    // to another and back.
    let told = by.is_some_and(|(who, _)| Some(who) != initiator) && others.is_empty();
    if made.len() <= FEW
        && !regular(ups)
        && !(many_crossed || most(swapped) || bare * 2 > made.len() || lost > 0 || told)
    {
        return None;
    }
    let causes: &[Cause] = if let Some(other) = others.first().filter(|_| most(others.len()) && others.len() >= TWICE) {
        let line = "of two sites with one identity the responder keeps the newer one; give each an identity of its own";
        evidence.push(format!("{} of them end when {other} is established: {line}", others.len()));
        &[C::PeerDelete, C::PeerId]
    } else if many_crossed || most(swapped) {
        evidence.push("now one end begins, now the other".to_string());
        &[C::Collision, C::PeerDelete, C::Lifetime]
    } else if bare * 2 > made.len() && made.iter().filter(|it| refused(it.sa)).count() * 2 > made.len() {
        evidence.push("the initiator ends the SA as soon as the responder has proved itself".to_string());
        &[C::PeerId, C::AuthFailed, C::ChildFailed, C::PeerDelete]
    } else if bare * 2 > made.len() {
        evidence.push(format!("{bare} of {} SAs have no Child SA", made.len()));
        &[C::ChildFailed, C::TrafficSelector, C::PeerDelete, C::EncryptionAlgorithm, C::Pfs]
    } else if most(lost) {
        evidence.push(format!("{lost} of them end with questions that get no answer"));
        &[C::DpdTimeout]
    } else if let Some((who, times)) = by {
        let read = made.iter().filter(|it| opened::deleted_by(it.sa).is_some()).count();
        evidence.push(match read {
            0 => format!("{times} of them end with an INFORMATIONAL exchange that {who} begins, as a DELETE is"),
            _ => format!("{times} of them are deleted by {who}"),
        });
        if Some(who) == initiator {
            &[C::Lifetime, C::PeerDelete, C::ChildFailed, C::DpdTimeout]
        } else {
            &[C::PeerDelete, C::Collision, C::Lifetime]
        }
    } else {
        match timer {
            Some(Timer::DeadPeer) => &[C::DpdTimeout, C::PeerDelete, C::Lifetime, C::Collision],
            Some(Timer::Lifetime) => &[C::Lifetime, C::PeerDelete, C::DpdTimeout, C::Collision],
            _ => &[C::PeerDelete, C::DpdTimeout, C::Lifetime, C::Collision, C::ChildFailed],
        }
    };
    evidence.insert(0, format!("{times} in a row, each within minutes of the one before, and none renews another"));
    if let Some(timer) = timer {
        evidence.push(format!("the period fits {timer}"));
    }
    if let Some(seconds) = lifetime {
        evidence.push(format!("the agreed lifetime of phase 1 is {seconds} s"));
    }
    let why = format!("established again and again: a new IKE SA about every {} s", period / 1000);
    Some(Again { causes: causes.to_vec(), why, evidence })
}

/// What happens to all peers of one end at the same instants has its reason there.
fn all_at_once(
    chains: &[(Pair, Vec<u64>)],
    judged: &[(&ObservedSa, Verdict)],
    found: &mut BTreeMap<usize, Again>,
) -> Vec<Finding> {
    let mut of: BTreeMap<IpAddr, Vec<&[u64]>> = BTreeMap::new();
    for ((a, b, _), ups) in chains {
        [a, b].into_iter().for_each(|end| of.entry(*end).or_default().push(ups));
    }
    let mut findings = Vec::new();
    let mut lines: BTreeMap<IpAddr, String> = BTreeMap::new();
    for (end, peers) in of.into_iter().filter(|(_, peers)| peers.len() >= 2) {
        if at_one_instant(&peers) {
            let line = format!(
                "all peers of {end} are established anew at the same instants: look at this end, not at theirs (a restart, a takeover, the clock, an interface)"
            );
            lines.insert(end, line);
        } else if let Some(at) = one_instant(&peers) {
            findings.push(Finding {
                id: "restart",
                peer: end.to_string(),
                severity: Severity::Info,
                since: at.saturating_mul(MILLISECOND),
                attempts: u32::try_from(peers.len()).unwrap_or(u32::MAX),
                causes: Vec::new(),
                why: format!(
                    "all {} peers of {end} are established anew at one instant: it restarted, or lost its network",
                    peers.len()
                ),
                evidence: Vec::new(),
                remedy: Vec::new(),
            });
        }
    }
    for (n, again) in found.iter_mut() {
        let of = judged.get(*n).map(|(sa, _)| [sa.initiator.ip(), sa.responder.ip()]);
        again.evidence.extend(of.iter().flatten().filter_map(|end| lines.get(end)).cloned());
    }
    findings
}

/// The instant at which all of several peers, each established before, are established anew.
fn one_instant(peers: &[&[u64]]) -> Option<u64> {
    let (first, others) = peers.split_first().filter(|_| peers.len() >= ALL_PEERS)?;
    let near = |at: u64| move |other: &u64| other.abs_diff(at) <= CROSSING / MILLISECOND;
    let later = first.get(1..)?;
    let all = |at: &&u64| others.iter().all(|other| other.get(1..).is_some_and(|later| later.iter().any(near(**at))));
    later.iter().take(64).find(all).copied()
}

#[cfg(test)]
mod tests {
    use super::super::{made, observed, observed_until};
    use super::*;
    use wire::{IkeSpi, SpiPair};

    const SECOND: u64 = 1_000_000_000;
    const BASE: u64 = 1_000_000 * SECOND;

    /// One made by these hosts, in so many seconds from the beginning of the capture.
    fn made(version: u8, [i, r]: [u8; 2], at: u64) -> ObservedSa {
        let end = made::end;
        let exchange = |n: usize| match (version, n) {
            (1, 0..6) => ExchangeType::IDENTITY_PROTECTION,
            (1, _) => ExchangeType::QUICK_MODE,
            (_, 0 | 1) => ExchangeType::IKE_SA_INIT,
            _ => ExchangeType::IKE_AUTH,
        };
        let steps = if version == 1 { 9 } else { 4 };
        let messages = (0..steps).map(|n| {
            let sender = if n % 2 == 0 { Initiator } else { Responder };
            let [from, to] = if sender == Initiator { [end(i), end(r)] } else { [end(r), end(i)] };
            let time = BASE + at * SECOND + n as u64 * 10_000_000;
            let id = if version == 1 { u32::from(n > 5) * 7 } else { n as u32 / 2 };
            ObservedMessage {
                response: version == 2 && n % 2 == 1,
                encrypted: if version == 1 { n > 3 } else { n > 1 },
                octets: if n == 8 { 60 } else { 240 },
                from,
                to,
                has_sa: n < 2,
                ..made::message(sender, exchange(n), id, time)
            }
        });
        let spi = IkeSpi((at * 256 + u64::from(i) + 1).to_be_bytes());
        ObservedSa {
            spis: SpiPair { initiator: spi, responder: spi },
            initiator: end(i),
            responder: end(r),
            ..made::sa(version, messages.collect())
        }
    }

    /// The same with an INFORMATIONAL exchange that an end begins, so many seconds from the beginning of the capture.
    fn told(mut sa: ObservedSa, sender: Role, at: u64, repeated: u32) -> ObservedSa {
        let mut request = sa.messages[usize::from(sender == Responder)].clone();
        request.exchange = if sa.version == 1 { ExchangeType::INFORMATIONAL_V1 } else { ExchangeType::INFORMATIONAL };
        (request.message_id, request.response, request.encrypted, request.has_sa) = (at as u32, false, true, false);
        (request.first, request.last, request.octets) = (BASE + at * SECOND, BASE + at * SECOND, 80);
        (request.repeated, request.last) = (repeated, request.last + u64::from(repeated) * SECOND);
        let mut answer = request.clone();
        (answer.sender, answer.response, answer.from, answer.to) = (sender.other(), true, request.to, request.from);
        sa.messages.push(request);
        if repeated == 0 && sa.version == 2 {
            sa.messages.push(answer);
        }
        sa
    }

    fn every(version: u8, seconds: u64, times: u64) -> Vec<ObservedSa> {
        (0..times).map(|n| made(version, [1, 2], n * seconds)).collect()
    }

    fn worst(sas: &[ObservedSa]) -> (Severity, Option<Cause>, String) {
        let found = observed_until(sas, BASE + 100_000 * SECOND);
        let worst = found.iter().max_by_key(|f| f.severity).unwrap();
        (worst.severity, worst.causes.first().copied(), format!("{}; {}", worst.why, worst.evidence.join("; ")))
    }

    #[test]
    fn what_is_made_again_and_again_is_flapping() {
        for version in [1, 2] {
            for (seconds, first, fits) in [
                (20, C::PeerDelete, ""),
                (50, C::PeerDelete, "the period fits 50 s"),
                (150, C::DpdTimeout, "the period fits 150 s"),
                (300, C::Lifetime, "whole minutes"),
            ] {
                let (severity, cause, text) = worst(&every(version, seconds, 6));
                assert_eq!((severity, cause), (Severity::Error, Some(first)), "{version} {seconds} {text}");
                assert!(text.contains(&format!("about every {seconds} s")) && text.contains(fits), "{text}");
            }
            assert!(worst(&every(version, 60, 2)).0 <= Severity::Info, "two are none");
            assert!(worst(&every(version, 3600, 9)).0 <= Severity::Info, "a lifetime");
        }
    }

    #[test]
    fn what_renews_another_is_healthy() {
        for version in [1, 2] {
            // Made before the old one is deleted.
            let of = |n: u64| told(made(version, [1, 2], n * 60), Initiator, n * 60 + 61, 0);
            assert!(worst(&(0..6).map(of).collect::<Vec<_>>()).0 <= Severity::Info, "{version}: make before break");
            // Deleted by who makes the next one at once.
            let of = |n: u64| told(made(version, [1, 2], n * 60), Initiator, n * 60 + 60, 0);
            let mut broken: Vec<_> = (0..6).map(of).collect();
            broken.iter_mut().for_each(|sa| {
                let first = sa.messages.len() - usize::from(version == 2) - 1;
                sa.messages[first..].iter_mut().for_each(|m| (m.first, m.last) = (m.first - 1000, m.last - 1000));
            });
            assert!(worst(&broken).0 <= Severity::Info, "{version}: break before make");
        }
        // Each has lived its time.
        let mut sas = every(1, 60, 6);
        sas.iter_mut().for_each(|sa| sa.lifetime = Some(60));
        assert!(worst(&sas).0 <= Severity::Info);
        sas.iter_mut().for_each(|sa| sa.lifetime = Some(3600));
        assert_eq!(worst(&sas).0, Severity::Error);
        sas = every(1, 8, 6).into_iter().enumerate().map(|(n, sa)| told(sa, Initiator, n as u64 * 8 + 9, 0)).collect();
        sas.iter_mut().for_each(|sa| sa.lifetime = Some(8));
        assert_eq!(worst(&sas).1, Some(C::Lifetime), "no lifetime to live with");
    }

    #[test]
    fn who_has_the_last_word_is_named() {
        let ended = |sender, before: u64| -> Vec<_> {
            (0..6).map(|n| told(made(2, [1, 2], n * 60), sender, n * 60 + 60 - before, 0)).collect()
        };
        let (severity, cause, text) = worst(&ended(Responder, 2));
        assert_eq!((severity, cause), (Severity::Error, Some(C::PeerDelete)));
        assert!(text.contains("192.0.2.2 begins, as a DELETE is") && text.contains("every 60 s"), "{text}");
        assert_eq!(worst(&ended(Initiator, 3)).1, Some(C::Lifetime));
        // Who has begun the old one deletes it when the other end's is there.
        let by_turns = |n: u64| if n.is_multiple_of(2) { [1, 2] } else { [2, 1] };
        let kicked: Vec<_> = (0..6).map(|n| told(made(2, by_turns(n), n * 60), Initiator, n * 60 + 61, 0)).collect();
        assert_eq!(worst(&kicked).1, Some(C::Collision));
        // Questions without an answer, also where the last attempt succeeds.
        let mut lost: Vec<_> = (0..5).map(|n| told(made(2, [1, 2], n * 195), Initiator, n * 195 + 30, 5)).collect();
        lost.push(made(2, [1, 2], 5 * 195));
        let (severity, cause, text) = worst(&lost);
        assert_eq!((severity, cause), (Severity::Error, Some(C::DpdTimeout)));
        assert!(text.contains("every 195 s") && text.contains("no answer"), "{text}");
        assert!(worst(&lost[3..]).0 == Severity::Info || lost[3..].len() > 2, "one restart");
    }

    #[test]
    fn sas_without_a_child_name_the_child() {
        let mut sas = every(2, 60, 5);
        sas.iter_mut().for_each(|sa| sa.messages[3].octets = 144);
        assert_eq!(worst(&sas).1, Some(C::ChildFailed));
    }

    #[test]
    fn who_refuses_the_responder_is_told_from_who_deletes() {
        let mut sas: Vec<_> = (0..5).map(|n| told(made(1, [1, 2], n * 60), Initiator, n * 60, 0)).collect();
        sas.iter_mut().for_each(|sa| {
            sa.messages.retain(|m| m.exchange != ExchangeType::QUICK_MODE);
            sa.messages[6].first += 100_000_000;
        });
        let (severity, cause, text) = worst(&sas);
        assert_eq!((severity, cause), (Severity::Error, Some(C::PeerId)), "{text}");
        assert!(worst(&sas[..1]).0 <= Severity::Info);
    }

    #[test]
    fn two_ends_that_both_begin_are_told() {
        let crossing = |n: u64| [made(2, [1, 2], n * 45), made(2, [2, 1], n * 45 + 1)];
        assert_eq!(worst(&(0..5).flat_map(crossing).collect::<Vec<_>>()).1, Some(C::Collision));
        let by_turns = |n: u64| made(2, if n.is_multiple_of(2) { [1, 2] } else { [2, 1] }, n * 45);
        assert_eq!(worst(&(0..6).map(by_turns).collect::<Vec<_>>()).1, Some(C::Collision));
        // Once it happens to anybody.
        assert!(worst(&crossing(0)).0 <= Severity::Info);
    }

    /// Up, down, up again: somebody tries something.
    #[test]
    fn an_operator_at_work_is_no_fault() {
        for version in [1, 2] {
            let of = |at: u64| told(made(version, [1, 2], at), Initiator, at + 20, 0);
            let severity = |instants: &[u64]| worst(&instants.iter().copied().map(of).collect::<Vec<_>>()).0;
            assert!(severity(&[0, 40, 160, 230]) <= Severity::Info);
            assert_eq!(severity(&[0, 60, 120, 180]), Severity::Error, "as a timer does it");
            assert_eq!(severity(&[0, 40, 160, 230, 300, 420, 450]), Severity::Error, "too often");
        }
        // From one network to another and back, without a word.
        let roaming = [(1, 0), (3, 40), (1, 160), (3, 200), (1, 460), (3, 480)];
        let sas: Vec<_> = roaming.iter().map(|(host, at)| made(2, [*host, 2], *at)).collect();
        assert!(worst(&sas).0 <= Severity::Info);
    }

    /// The responder deletes the SA of one when the other one's is there.
    #[test]
    fn two_sites_with_one_identity_are_told() {
        let by_turns = |n: u64| {
            let mut sa =
                told(made(2, [if n.is_multiple_of(2) { 1 } else { 3 }, 2], n * 50), Responder, (n + 1) * 50, 0);
            sa.messages[4..].iter_mut().for_each(|m| m.first += 60_000_000);
            sa
        };
        let sas: Vec<_> = (0..8).map(by_turns).collect();
        let (severity, cause, text) = worst(&sas);
        assert_eq!((severity, cause), (Severity::Error, Some(C::PeerDelete)));
        assert!(text.contains("two sites with one identity") && text.contains("192.0.2."), "{text}");
    }

    #[test]
    fn a_capture_that_ends_in_a_handshake_does_not_name_it() {
        let mut sas = every(2, 60, 5);
        sas[4].messages.truncate(3);
        let found = observed(&sas);
        assert!(found.iter().all(|f| !f.causes.contains(&C::PskMismatch)), "{found:?}");
        assert_eq!(found.iter().map(|f| f.severity).max(), Some(Severity::Error));
    }

    #[test]
    fn hosts_behind_one_address_are_told_apart() {
        let mut sas: Vec<_> = (0..5).map(|n| made(2, [1, 2], n * 60)).collect();
        for (n, sa) in sas.iter_mut().enumerate() {
            let port = 40_000 + n as u16;
            sa.looks_for_nat = [true; 2];
            sa.messages.iter_mut().for_each(|m| {
                let end = if m.sender == Initiator { &mut m.from } else { &mut m.to };
                end.set_port(port);
            });
        }
        assert!(worst(&sas).0 <= Severity::Info);
    }

    #[test]
    fn all_peers_at_one_instant_have_one_reason() {
        let at = |seconds: &[u64]| -> Vec<ObservedSa> {
            let each = |second: u64| (2..6).map(move |peer| (second, peer));
            seconds
                .iter()
                .copied()
                .flat_map(each)
                .map(|(second, peer)| made(2, [1, peer], second + u64::from(peer) / 4))
                .collect()
        };
        let once = observed(&at(&[0, 1000]));
        let restart: Vec<&Finding> = once.iter().filter(|f| f.id == "restart").collect();
        assert_eq!((restart.len(), restart[0].peer.as_str()), (1, "192.0.2.1"), "{once:?}");
        assert!(once.iter().all(|f| f.severity <= Severity::Info));
        let (severity, _, text) = worst(&at(&[0, 100, 200, 300]));
        assert!(severity == Severity::Error && text.contains("all peers of 192.0.2.1"), "{text}");
        assert!(!worst(&every(2, 100, 4)).2.contains("all peers"));
    }
}
