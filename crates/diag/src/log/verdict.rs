//! From what was counted to findings.

use super::catalogue::{Place, Rank};
use super::children::Why;
use super::course::{Attempt, Course, Stage, TOO_SOON, Tally};
use super::values;
use crate::rhythm::{self, Flapping, Rhythm, rhythm};
use crate::{Cause, Finding, Severity};
use Cause as C;
use model::Role::{Initiator, Responder};
use std::borrow::Cow;

/// So many lines of the log are quoted in a finding.
const QUOTED: usize = 5;
/// So many spells of the same complaint, with successes between, are no accident.
const SPELLS: u32 = 3;
/// The peer takes an SA away so often within a few minutes each: no idle time and no lifetime is meant to be so short.
const TAKEN: usize = 3;
const SOON: u64 = 600_000;
/// A peer that is found dead so often, each time within this of the last, does not merely restart.
const LOST: u32 = 3;
const LOSSES: u64 = 3_600_000;
/// So often a peer ends and begins again before that is more than a user at work.
const OF_USER: usize = 5;
/// Nobody means a Child SA to be deleted when it was idle for less than this.
const IDLE: u64 = 60_000;
/// What an SA that the peer deletes may be deleted for.
const BY_PEER: &[Cause] = &[C::PeerDelete, C::Collision, C::Lifetime];
/// What our own end's deletion of a duplicate may come from.
pub(super) const OURS: &[Cause] = &[C::PeerDelete, C::Collision];

/// What an IKEv2 initiator's attempt may have failed for whose keys are there.
pub(super) const UNPROVED: &[Cause] = &[C::NatTraversal, C::Phase1Timeout, C::PskMismatch, C::AuthFailed];

/// The same where nothing says whether the SA was not established before: racoon2 and BIG-IP do not say when it is.
pub(super) const UNPROVED_OR_LOST: &[Cause] =
    &[C::NatTraversal, C::Phase1Timeout, C::PskMismatch, C::AuthFailed, C::DpdTimeout];

/// What a group that the peer wants instead means for a Child SA.
pub(super) const GROUP: &[Cause] = &[C::Pfs, C::DhGroup];

/// What a quick mode that gets no answer may have failed for.
pub(super) const UNANSWERED_CHILD: &[Cause] = &[C::Phase2Timeout, C::TrafficSelector, C::Pfs, C::ChildFailed];

/// What main mode may have failed for that is given up after the keys.
pub(super) const GIVEN_UP_PROOF: &[Cause] = &[C::PskMismatch, C::PeerId, C::AuthFailed, C::NatTraversal];

/// What an attempt that stopped there may have failed for.
pub(super) fn stuck(attempt: &Attempt) -> &'static [Cause] {
    match (attempt.version, attempt.role, attempt.stage) {
        (1, Initiator, Stage::Begun) if attempt.aggressive => {
            &[C::NoResponse, C::Phase1Proposal, C::PskMismatch, C::NegotiationMode, C::NoConfig, C::PeerId]
        }
        (1, Initiator, Stage::Begun) => {
            &[C::NoResponse, C::Phase1Proposal, C::NoConfig, C::Phase1Timeout, C::NegotiationMode, C::IkeVersion]
        }
        (_, Initiator, Stage::Begun) => &[C::NoResponse, C::NoConfig, C::IkeVersion],
        (1, Initiator, Stage::Answered) => &[C::Phase1Timeout, C::NoResponse, C::PskMismatch, C::NatTraversal],
        (1, Initiator, Stage::Keyed) if attempt.nat => {
            &[C::PskMismatch, C::NatTraversal, C::PeerId, C::AuthFailed, C::NegotiationMode]
        }
        (1, Initiator, Stage::Keyed) => {
            &[C::PskMismatch, C::PeerId, C::AuthFailed, C::NatTraversal, C::NegotiationMode]
        }
        (_, Initiator, _) => UNPROVED,
        // It repeats what was answered: our answers do not arrive.
        (1, Responder, Stage::Begun | Stage::Answered) if attempt.repeated >= 2 && !attempt.aggressive => {
            &[C::NoResponse, C::HalfOpen, C::Phase1Timeout, C::NatTraversal]
        }
        (2, Responder, _) if attempt.repeated >= 2 => &[C::NoResponse, C::HalfOpen, C::NatTraversal],
        (1, Responder, _) if attempt.aggressive => &[C::PskMismatch, C::NoResponse, C::PeerId],
        (1, Responder, Stage::Keyed) => &[C::PskMismatch, C::NatTraversal, C::PeerId, C::AuthFailed],
        (1, Responder, _) => &[C::HalfOpen, C::NoResponse, C::Phase1Timeout],
        (_, Responder, _) => &[C::HalfOpen, C::NatTraversal, C::NoResponse],
    }
}

fn severity(tally: &Tally, course: &Course) -> Severity {
    match tally.rank {
        Rank::Note if tally.count < 5 => Severity::Info,
        Rank::Hint if course.up > 0 && tally.count < 3 => Severity::Info,
        Rank::Note | Rank::Hint => Severity::Warning,
        _ if tally.place == Place::User && course.up > 0 => Severity::Warning,
        _ => Severity::Error,
    }
}

/// All findings about a peer: what is wrong now, or else what was, or that all is well.
pub(super) fn judge(course: &Course) -> Vec<Finding> {
    let open = |tally: &&Tally| tally.open > 0 || tally.place == Place::User;
    let (mut ike, mut child): (Vec<&Tally>, Vec<&Tally>) =
        course.tallies.iter().filter(open).partition(|tally| tally.place != Place::Child);
    // What is wrong with a Child SA follows from what is wrong with the IKE SA under it.
    if course.up == 0 && ike.iter().any(|tally| tally.rank > Rank::Note) {
        ike.append(&mut child);
    }
    let flapping = lost_again(course).or_else(|| flapping(course));
    if flapping.as_ref().is_some_and(|found| found.causes == [C::DpdTimeout]) {
        // It came back each time, so that the last loss is one of them.
        ike.retain(|tally| tally.causes != [C::DpdTimeout]);
    }
    let mut findings = Vec::new();
    for (id, tallies) in [("never-established", ike), ("no-phase-2", child)] {
        findings.extend(fault(course, id, &tallies));
    }
    findings.extend(flapping);
    if findings.is_empty() {
        findings.extend(children_end(course));
    }
    let healthy = findings.iter().all(|finding: &Finding| finding.severity <= Severity::Info);
    if healthy {
        findings.extend(again(course));
    }
    let there = course.before || course.up > 0 || course.children > 0 || course.by_peer > 0;
    if findings.is_empty() && (there || ended_only(course)) {
        findings.push(well(course));
    }
    findings
}

fn fault(course: &Course, id: &'static str, tallies: &[&Tally]) -> Option<Finding> {
    let mut sorted: Vec<&Tally> = tallies.to_vec();
    // On one line of thought at a time: an IKE SA's reason before a Child SA's, unless that is given and the other is not.
    let best = |child: bool| tallies.iter().filter(|t| (t.place == Place::Child) == child).map(|t| t.rank).max();
    let given = best(true) >= Some(Rank::Named) && best(false) <= Some(Rank::Vague);
    let later = |tally: &Tally| (tally.place == Place::Child) != given;
    sorted.sort_by_key(|tally| (later(tally), std::cmp::Reverse(tally.rank), tally.line));
    let first = sorted.first()?;
    let same =
        |tally: &&&Tally| tally.rank == first.rank && (tally.place == Place::Child) == (first.place == Place::Child);
    let best: Vec<&&Tally> = sorted.iter().filter(same).collect();
    let mut causes: Vec<Cause> = Vec::new();
    for cause in best.iter().flat_map(|tally| tally.causes) {
        if !causes.contains(cause) {
            causes.push(*cause);
        }
    }
    nearest_first(course, &mut causes);
    // A Child SA that fails for whatever reason, after the peer wanted another group.
    let group = |tally: &&Tally| tally.place == Place::Child && tally.rank == Rank::Hint && tally.causes == GROUP;
    if (first.place, first.rank) == (Place::Child, Rank::Vague) && tallies.iter().any(group) {
        causes.retain(|cause| !GROUP.contains(cause));
        causes.splice(0..0, GROUP.iter().copied());
    }
    // A peer that asked for another group, and refused what came with that: the group may be all that differs.
    let asked = |tally: &&Tally| tally.place == Place::Ike && tally.rank == Rank::Hint && tally.causes == [C::DhGroup];
    if causes.first() == Some(&C::Phase1Proposal) && !causes.contains(&C::DhGroup) && tallies.iter().any(asked) {
        causes.insert(1, C::DhGroup);
    }
    let severity = best.iter().map(|tally| severity(tally, course)).max()?;
    let beside = best.iter().all(|tally| course.is_beside(tally));
    let lost = (course.up > 0 || course.before) && id == "never-established" && !beside;
    let why = match (first.place, first.rank) {
        (_, Rank::Note | Rank::Hint) if severity <= Severity::Info => "seen, and of no consequence so far",
        (Place::Child, _) if course.children > 0 => "the IKE SA is established, one of its Child SAs is not",
        (Place::Child, _) => "the IKE SA is established, its Child SA is not",
        (Place::User, _) => "a user of the peer's does not get in",
        (Place::Peer, _) if causes.contains(&C::DpdTimeout) => "the peer stopped answering, and has not come back",
        (Place::Peer, _) => "the ends do not agree which SA is there",
        (_, Rank::Specific | Rank::Named) => "the negotiation of the IKE SA fails for a reason that is given",
        (_, Rank::Vague) => "the negotiation of the IKE SA is given up",
        _ => "the negotiation of the IKE SA began and is not finished where the log ends",
    };
    let id = if lost { "lost" } else { id };
    Some(finding(course, id, severity, causes, why.to_string(), &sorted))
}

/// What the peer's transform that comes nearest to ours differs in is what to change.
fn nearest_first(course: &Course, causes: &mut [Cause]) {
    let least = course.rejected.values().map(Vec::len).min().unwrap_or_default();
    let near = |cause: &Cause| course.rejected.values().any(|of| of.len() == least && of.contains(cause));
    causes.sort_by_key(|cause| !near(cause));
}

/// A peer that is found dead and comes back, again and again.
fn lost_again(course: &Course) -> Option<Finding> {
    let losses: Vec<u64> = course.losses.iter().copied().collect();
    let near = |run: &[u64]| run.windows(2).all(|pair| matches!(pair, [a, b] if b.saturating_sub(*a) <= LOSSES));
    if course.up < LOST || !losses.windows(LOST as usize).any(near) {
        return None;
    }
    let pace = rhythm(&losses, None);
    // Who only calls in, and sleeps now and then, is a laptop.
    if !matches!(pace, Rhythm::Flapping(_)) && course.last_role != Some(Initiator) && losses.len() < OF_USER {
        return None;
    }
    let mut gaps: Vec<u64> = losses.windows(2).filter_map(|pair| pair.get(1)?.checked_sub(*pair.first()?)).collect();
    gaps.sort_unstable();
    let period = gaps.get(gaps.len() / 2)? / 1000;
    let why = format!("the peer stops answering and comes back, about every {period} s");
    let tallies: Vec<&Tally> = course.tallies.iter().filter(|tally| tally.causes == [C::DpdTimeout]).collect();
    let mut found = finding(course, "flapping", Severity::Error, vec![C::DpdTimeout], why, &tallies);
    if let Rhythm::Flapping(Flapping { timer: Some(timer), .. }) = pace {
        found.evidence.push(format!("the period fits {timer}"));
    }
    Some(found)
}

/// SAs that come in place of others without need, or that the peer deletes, at whatever pace.
fn replaced(course: &Course) -> Option<Finding> {
    let instants = |of: &std::collections::VecDeque<u64>| -> Vec<u64> { of.iter().copied().collect() };
    let (found, deleted) = match (rhythm(&instants(&course.ups), None), rhythm(&instants(&course.deletes), None)) {
        (Rhythm::Flapping(found), _) => (found, false),
        (_, Rhythm::Flapping(found)) => (found, true),
        _ => return None,
    };
    let Flapping { period, times, timer } = found;
    // Who only calls in may come and go as a user likes.
    if course.last_role != Some(Initiator) && course.by_peer >= 2 && times < OF_USER {
        return None;
    }
    let many = u32::try_from(rhythm::MANY).unwrap_or(u32::MAX);
    let ours = course.tallies.iter().any(|t| t.causes == OURS && t.count >= 2);
    let causes: &[Cause] = if course.crossed >= many {
        &[C::Collision, C::PeerDelete, C::Lifetime]
    } else if ours {
        &[C::Collision, C::PeerDelete]
    } else if course.by_peer >= 2 {
        BY_PEER
    } else if course.expired >= 2 {
        &[C::Lifetime]
    } else {
        &[C::Lifetime, C::PeerDelete, C::Collision]
    };
    let what = if deleted { "the peer deletes the IKE SA" } else { "established again and again: a new IKE SA" };
    let mut causes = causes.to_vec();
    if course.children == 0 && course.expired < 2 {
        // Whoever asks for a Child SA and gets none may begin anew.
        causes.extend([C::ChildFailed, C::TrafficSelector]);
    }
    let why = format!("{what} about every {} s", period / 1000);
    let mut found = finding(course, "flapping", Severity::Error, causes, why, &[]);
    found.evidence.extend([&course.established, &course.ended].into_iter().flatten().map(|line| line.shown(course)));
    found.evidence.push(format!("{times} in a row, each within minutes of the one before"));
    if let Some(timer) = timer.filter(|_| course.expired < 2) {
        found.evidence.push(format!("the period fits {timer}"));
    }
    if course.by_peer >= 2 {
        found.evidence.push(format!("the peer deleted {} of them", course.by_peer));
    }
    if course.expired >= 2 {
        found.evidence.push(format!("{} IKE SAs came to the end of their lifetime", course.expired));
    }
    if ours && let [.., last] = found.remedy.as_mut_slice() {
        *last = "our end deletes what it takes for a duplicate: give each peer an identity of its own, or set \
                 unique = never (swanctl.conf), uniqueids = never (ipsec.conf)"
            .into();
    }
    Some(found)
}

/// Child SAs that end again and again, with none in their place, under an IKE SA that stays.
fn children_end(course: &Course) -> Option<Finding> {
    let (why, ends) = course.children_there.ends()?;
    let Rhythm::Flapping(Flapping { period, times, .. }) = rhythm(&ends, None) else { return None };
    // One that ends with its lifetime was not renewed, however long that was.
    if times < OF_USER || period > IDLE && why != Why::Expired {
        return None;
    }
    let (what, causes, advice): (&str, &[Cause], Option<&str>) = match why {
        Why::Peer => {
            ("the peer deletes its Child SA", &[C::PeerDelete, C::Collision, C::TrafficSelector, C::Lifetime], None)
        }
        Why::Idle => (
            "this end deletes its Child SA because nothing passes through it",
            &[C::Lifetime, C::NotStarted],
            Some(
                "give 'inactivity' (of the Child SA, in swanctl.conf or ipsec.conf) more time than passes between packets, or 0",
            ),
        ),
        Why::Expired => (
            "its Child SA comes to the end of its lifetime, and nothing has renewed it",
            &[C::Lifetime, C::ChildFailed, C::Pfs],
            Some(
                "let one end renew before the other end's lifetime is over: rekeying on, and its time shorter than that lifetime",
            ),
        ),
        Why::Own => (
            "this end deletes its Child SA",
            &[C::PeerDelete, C::Collision, C::Lifetime],
            Some(
                "find what makes this end delete it: a script or a monitor that terminates it, a lifetime of bytes, another connection with the same networks",
            ),
        ),
    };
    let why = format!("the IKE SA stays, and {what} about every {} s", period / 1000);
    let mut found = finding(course, "no-phase-2", Severity::Warning, causes.to_vec(), why, &[]);
    found.evidence.push(format!("{} times, with no other Child SA there", ends.len()));
    if let (Some(advice), Some(first)) = (advice, found.remedy.first_mut()) {
        *first = advice.into();
    }
    Some(found)
}

/// SAs that follow each other too fast.
fn flapping(course: &Course) -> Option<Finding> {
    if course.quick >= 3 {
        let causes = if course.by_peer >= 2 { BY_PEER } else { &[C::Lifetime, C::PeerDelete, C::Collision] };
        let average = course.quick_time as f64 / f64::from(course.quick) / 1000.0;
        let why = format!("established again and again: a new IKE SA about every {average:.0} s");
        return Some(finding(course, "flapping", Severity::Error, causes.to_vec(), why, &[]));
    }
    replaced(course).or_else(|| taken(course))
}

fn taken(course: &Course) -> Option<Finding> {
    if course.timeless && course.up >= SPELLS && course.by_peer >= SPELLS {
        let why = format!("the peer deleted the IKE SA {} times; the lines do not say how soon", course.by_peer);
        return Some(finding(course, "flapping", Severity::Warning, BY_PEER.to_vec(), why, &[]));
    }
    let times: Vec<u64> = course.taken.iter().filter_map(|time| *time).collect();
    let span = times.last()?.saturating_sub(*times.first()?);
    let steps = u64::try_from(times.len()).ok()?.saturating_sub(1);
    if times.len() < TAKEN || span < TOO_SOON * steps && course.quick < 3 || span > SOON * steps {
        return None;
    }
    let why = format!("the peer deleted the IKE SA {} times soon after it was established", course.by_peer);
    Some(finding(course, "flapping", Severity::Error, BY_PEER.to_vec(), why, &[]))
}

/// What was wrong before it went well.
fn again(course: &Course) -> Option<Finding> {
    let past: Vec<&Tally> =
        course.tallies.iter().filter(|t| t.open == 0 && t.spells > 0 && t.rank > Rank::Note).collect();
    let worst =
        past.iter().filter(|tally| tally.place != Place::Peer && tally.rank > Rank::Hint).max_by_key(|t| t.spells);
    let often = worst.is_some_and(|tally| tally.spells >= SPELLS);
    let shown: Vec<&Tally> = if often { worst.into_iter().copied().collect() } else { past };
    let rank = shown.iter().map(|tally| tally.rank).max()?;
    let mut causes: Vec<Cause> = Vec::new();
    for cause in shown.iter().filter(|tally| tally.rank == rank).flat_map(|tally| tally.causes) {
        if !causes.contains(cause) {
            causes.push(*cause);
        }
    }
    let (severity, why) = if often {
        (Severity::Warning, "fails and succeeds by turns")
    } else {
        (Severity::Info, "failed before, and a later attempt succeeded")
    };
    Some(finding(course, "recovered", severity, causes, why.to_string(), &shown))
}

/// The log has the end of an SA and nothing else of it: what an operator sees who takes it down.
fn ended_only(course: &Course) -> bool {
    course.ended.is_some() && course.attempts == 0
}

fn well(course: &Course) -> Finding {
    let (severity, why) = match (course.children, course.is_up()) {
        _ if course.timeless && course.up as usize >= rhythm::MANY => {
            let times = format!("established {} times", course.up);
            (Severity::Info, format!("{times}; where lines have no time a renewal looks like a replacement"))
        }
        (0, true) if course.up == 0 => (Severity::Ok, "the IKE SA was there before the log begins".to_string()),
        (0, true) => (Severity::Info, "the IKE SA is established, with no Child SA under it".to_string()),
        (_, false) if course.up == 0 && course.by_peer > 0 => {
            (Severity::Info, "the peer deleted the IKE SA".to_string())
        }
        (_, false) if course.up == 0 && ended_only(course) => {
            (Severity::Info, "an IKE SA that was there before the log begins has ended in order".to_string())
        }
        (_, false) if course.up > 0 => (Severity::Info, "was established, and has ended in order".to_string()),
        _ => (Severity::Ok, "established".to_string()),
    };
    let causes = if course.by_peer > 0 && !course.is_up() { vec![C::PeerDelete] } else { Vec::new() };
    finding(course, "established", severity, causes, why, &[])
}

fn finding(
    course: &Course,
    id: &'static str,
    severity: Severity,
    causes: Vec<Cause>,
    why: String,
    tallies: &[&Tally],
) -> Finding {
    let peer = match (course.local, course.address) {
        (Some(local), Some(peer)) => format!("{local} -> {peer}"),
        (None, Some(peer)) => peer.to_string(),
        _ => course.name.clone(),
    };
    let mut evidence = vec![format!(
        "{} attempts, {} IKE SAs and {} Child SAs established",
        course.attempts.max(course.up),
        course.up,
        course.children
    )];
    if course.address.is_some()
        && !course.name.is_empty()
        && Some(&course.name) != course.address.map(|a| a.to_string()).as_ref()
    {
        evidence.push(format!("connection {}", course.name));
    }
    for tally in tallies.iter().take(QUOTED) {
        let times = if tally.count > 1 { format!(" ({} times)", tally.count) } else { String::new() };
        evidence.push(format!("line {}{times}: {}", course.number(tally.line), tally.sample));
    }
    let remedy = causes.iter().map(|cause| remedy(course, *cause, tallies)).collect();
    let attempts = course.attempts.max(course.up).max(1);
    Finding { id, peer, severity, since: 0, attempts, causes, why, evidence, remedy }
}

/// What to do about a cause: with both ends' values, where a line has them.
fn remedy(course: &Course, cause: Cause, tallies: &[&Tally]) -> Cow<'static, str> {
    let named = tallies.iter().filter(|tally| tally.causes.contains(&cause) && tally.rank >= Rank::Hint);
    let told = named.map(|tally| values::remedy(cause, &tally.sample)).find(Option::is_some).flatten();
    // This is the responder's log, that of the other end will not tell more.
    let responder = course.begun_as == Some(Responder) && tallies.iter().any(|t| t.rank >= Rank::Named);
    match told {
        Some(told) => told.into(),
        None if cause == C::Phase1Proposal && responder => {
            "give both ends a common proposal: compare what the peer offers here with what this end is configured to accept"
                .into()
        }
        None => cause.remedy().into(),
    }
}
