//! SAs that replace each other too soon.
//!
//! Where a listing has ages and lifetimes, one that goes long before its lifetime is over was replaced early. Where it has
//! none, as racoon's, a rekeying shows all the same: the old SA stays beside the new one for a while, dying. One that is
//! simply gone when the next appears was not rekeyed; once that is a restart, three times in ten minutes it is flapping.

use super::{Course, finding};
use crate::rhythm::{Flapping as Pace, Rhythm, SOON, Timer, at_one_instant, rhythm};
use crate::{Cause, Finding, Severity};
use Cause as C;
use model::{ListedSa, Role};
use std::collections::BTreeSet;

/// Established SAs that follow each other faster than this are no rekeying: no lifetime is meant to be so short.
const TOO_SOON: u64 = 10_000;
/// SAs that are replaced early so often on average, in milliseconds, are not replaced by hand.
const EARLY: u64 = 300_000;
/// Replaced so often without a rekeying, one soon after the other: flapping.
const OFTEN: usize = 3;
/// So many peers whose SAs all go at one instant have one thing in common: our end.
const ALL: usize = 3;
/// Peers whose names stand in the evidence.
const NAMED: usize = 8;

/// An SA that took the place of one that was gone.
#[derive(Clone, Copy, Debug)]
struct Replacement {
    /// When, in milliseconds.
    at: u64,
    /// Whether there was none in between.
    gap: bool,
    /// Whether the other end began this time.
    turned: bool,
}

/// What flaps, and when it was replaced, in milliseconds.
pub(super) struct Flapping {
    pub(super) finding: Finding,
    replaced: Vec<u64>,
    /// From which listing to which each SA is there.
    there: Vec<(usize, usize)>,
}

/// The pace of an SA that was so often replaced by one that did not renew it: none if that is no flapping. Instants are
/// those of establishment, in milliseconds, the first SA's in front.
pub(crate) fn pace(ups: &[u64]) -> Option<Pace> {
    match rhythm(ups, None) {
        Rhythm::Flapping(pace) if pace.times > OFTEN => Some(pace),
        _ => None,
    }
}

/// Whether what has taken the place of an SA that was there until then, with so many SAs under it at most, may have renewed
/// it. IKEv2 deletes the old SA as soon as the new one is there: without anything else, it may.
pub(crate) fn may_be_renewal(old: &ListedSa, children: Option<u32>, new: &ListedSa) -> bool {
    let turned = old.role.zip(new.role).is_some_and(|(old, new)| old != new);
    let time_left = old.left.is_some_and(|seconds| seconds.saturating_mul(1000) > SOON);
    old.version == Some(2) && !turned && children != Some(0) && !time_left
}

/// The SAs that took the place of one that had gone without being rekeyed, in order; in front the first that went.
///
/// And how many came while the one before was still there.
fn replacements(good: &[&Course<'_>]) -> (Vec<Replacement>, usize) {
    let created: BTreeSet<Option<u64>> = good.iter().map(|course| course.created).collect();
    let dated = created.len() > 1 && !created.contains(&None);
    let mut orderly = 0;
    let mut until: Option<usize> = None;
    let mut found = Vec::new();
    let mut before: Option<&Course<'_>> = None;
    for course in good {
        let begun = if dated { course.created.map(|seconds| seconds.saturating_mul(1000)) } else { course.first_at };
        if let (Some(old), Some(until), Some(at)) = (before, until, begun) {
            let aged = old.last.age.is_some() && old.last.lifetime.is_some();
            let gap = course.listed_first > until + 1;
            let turned = old.told.role.zip(course.told.role).is_some_and(|(old, new)| old != new);
            let clear = gap || !may_be_renewal(old.last, old.children, course.told);
            if course.listed_first > until && !old.dying && !aged && clear {
                if found.is_empty() {
                    let begun = if dated { old.created.map(|s| s.saturating_mul(1000)) } else { old.first_at };
                    found.push(Replacement { at: begun.unwrap_or(at), gap: false, turned: false });
                }
                found.push(Replacement { at, gap, turned });
            } else {
                orderly += 1;
            }
        }
        until = until.max(Some(course.listed_last));
        before = Some(course);
    }
    (found, orderly)
}

/// The verdict on SAs of one peer that follow each other too soon; the listing that is the last, and when it was taken.
pub(super) fn flapping(name: &str, good: &[&Course<'_>], last: usize, now: Option<u64>) -> Option<Flapping> {
    // IPsec SAs of one pair of ends may be many, for one network each.
    let ike = good.iter().all(|course| !course.told.ipsec);
    let (hard, orderly) = if ike { replacements(good) } else { (Vec::new(), 0) };
    let ups: Vec<u64> = hard.iter().map(|one| one.at).collect();
    // Between two looks a rekeying may be over: where the others were seen, it was one.
    if let Some(pace) = pace(&ups).filter(|_| orderly * 2 < hard.len()) {
        return Some(without_rekeying(name, good, &hard, pace, now));
    }
    let begun: Vec<u64> = good.iter().filter_map(|course| course.first_at).collect();
    let gaps: Vec<u64> = begun.iter().zip(begun.iter().skip(1)).map(|(a, b)| b.saturating_sub(*a)).collect();
    let replaced: Vec<u64> = begun.clone();
    if ike && gaps.len() >= 2 && gaps.iter().all(|gap| *gap < TOO_SOON) {
        let average = gaps.iter().sum::<u64>() as f64 / gaps.len() as f64 / 1000.0;
        let causes = [C::Lifetime, C::PeerDelete, C::Collision, C::AuthFailed];
        let why = format!("established again and again: a new ISAKMP SA about every {average:.0} s");
        let finding = finding("flapping", name.to_string(), Severity::Error, &causes, why);
        return Some(Flapping { finding, replaced, there: there(good) });
    }
    let finding = early(name, good, last).or_else(|| counted(name, good))?;
    Some(Flapping { finding, replaced, there: there(good) })
}

/// Gone each time without having been rekeyed.
fn without_rekeying(name: &str, good: &[&Course<'_>], hard: &[Replacement], pace: Pace, now: Option<u64>) -> Flapping {
    let period = pace.period / 1000;
    let share = |n: usize| n * 2 >= hard.len();
    // The newest may still get its Child SA.
    let older = good.len().saturating_sub(1);
    let childless = good.iter().take(older).all(|course| course.children == Some(0));
    let turned = share(hard.iter().filter(|one| one.turned).count());
    let gap = share(hard.iter().filter(|one| one.gap).count());
    let (causes, what): (&[Cause], &str) = match () {
        () if childless => {
            let what = "never with a phase 2 under it, which is what fails";
            (&[C::ChildFailed, C::TrafficSelector, C::Pfs, C::PeerDelete], what)
        }
        () if turned => {
            let what = "begun by one end and by the other in turn: each ends the other's";
            (&[C::Collision, C::PeerDelete, C::Lifetime], what)
        }
        // A lifetime that ends without a renewal leaves a gap, until traffic wants the next SA.
        () if gap && pace.timer == Some(Timer::Lifetime) => {
            let what =
                "each time it is gone before the next one comes, after a whole number of minutes: expired, not rekeyed";
            (&[C::Lifetime, C::DpdTimeout, C::PeerDelete, C::Collision], what)
        }
        () if pace.timer == Some(Timer::DeadPeer) => {
            let what = "not rekeyed, at the pace at which a dead peer is noticed";
            (&[C::DpdTimeout, C::PeerDelete, C::Lifetime, C::Collision], what)
        }
        () if gap => {
            let what = "each time it is gone before the next one comes: lost, deleted or expired, not rekeyed";
            (&[C::DpdTimeout, C::PeerDelete, C::Lifetime, C::Collision], what)
        }
        () => {
            let what = "each time it is gone when the next one is there: not rekeyed";
            (&[C::PeerDelete, C::DpdTimeout, C::Lifetime, C::Collision], what)
        }
    };
    let why = format!("established again and again: a new SA about every {period} s, {what}");
    let by_listing = good.iter().any(|course| course.created.is_none());
    let last = hard.last().map_or(0, |one| one.at);
    let quiet = by_listing && now.is_some_and(|now| now.saturating_sub(last) > SOON);
    let severity = if quiet { Severity::Warning } else { Severity::Error };
    let mut finding = finding("flapping", name.to_string(), severity, causes, why);
    tell(pace, &mut finding);
    if quiet {
        finding.evidence.push("not any more for the last ten minutes".to_string());
    }
    Flapping { finding, replaced: hard.iter().map(|one| one.at).collect(), there: there(good) }
}

/// Says the pace of a flapping, the timer of that length, and where to look for it.
fn tell(pace: Pace, finding: &mut Finding) {
    let period = pace.period / 1000;
    finding.evidence.push(format!("{} SAs, about {period} s from one to the next", pace.times));
    let Some(timer) = pace.timer else { return };
    finding.evidence.push(format!("a timer of about that length: {timer}"));
    let known = |cause: &Cause| match cause {
        C::Lifetime => Some("compare the lifetimes of both ends: look for one of"),
        C::DpdTimeout => Some("check the path and the peer, and compare dead peer detection of both ends: look for"),
        C::PeerDelete => Some("ask the peer's log why it deletes, and look for a timer of"),
        _ => None,
    };
    for (cause, line) in finding.causes.iter().zip(&mut finding.remedy) {
        let about = match timer {
            Timer::Lifetime => *cause == C::Lifetime,
            Timer::DeadPeer => *cause == C::DpdTimeout,
            Timer::Waiting | Timer::Attempt | Timer::Retry => *cause == C::PeerDelete,
        };
        if let Some(known) = known(cause).filter(|_| about) {
            *line = format!("{known} about {period} s ({timer})").into();
        }
    }
}

/// SAs that go long before their lifetime is over, and are followed by others: by their age, where a listing has it.
fn early(name: &str, good: &[&Course<'_>], last: usize) -> Option<Finding> {
    let early = |course: &&&Course<'_>| {
        let (age, lifetime) = (course.last.age.unwrap_or(u64::MAX), course.last.lifetime.unwrap_or(0));
        course.listed_last < last && age < lifetime / 2
    };
    let gone: Vec<&&Course<'_>> = good.iter().filter(early).collect();
    if gone.len() < 2 || gone.len() + 1 < good.len() {
        return None;
    }
    let begun: Vec<u64> = good.iter().filter_map(|course| course.first_at).collect();
    let span = begun.iter().max().zip(begun.iter().min()).map_or(0, |(last, first)| last.saturating_sub(*first));
    if span > EARLY * u64::try_from(gone.len()).unwrap_or(u64::MAX) {
        return None;
    }
    // Without a Child SA, its negotiation is what fails each time.
    let childless = gone.iter().all(|course| course.last.phase2 == Some(0));
    let turned = good.windows(2).filter(|two| match two {
        [old, new] => old.told.role.zip(new.told.role).is_some_and(|(old, new)| old != new),
        _ => false,
    });
    let pace = match rhythm(&begun, None) {
        Rhythm::Flapping(pace) => Some(pace),
        _ => None,
    };
    let causes: &[Cause] = if childless {
        &[C::ChildFailed, C::TrafficSelector, C::Pfs, C::PeerDelete]
    } else if pace.is_some_and(|pace| pace.timer == Some(Timer::DeadPeer)) {
        &[C::DpdTimeout, C::PeerDelete, C::Collision, C::Lifetime]
    } else if turned.count() * 2 > gone.len() {
        &[C::Collision, C::PeerDelete, C::DpdTimeout, C::Lifetime]
    } else {
        &[C::PeerDelete, C::Collision, C::DpdTimeout, C::Lifetime]
    };
    let why = format!("established again and again: {} SAs went long before their lifetime was over", gone.len());
    let mut found = finding("flapping", name.to_string(), Severity::Error, causes, why);
    pace.into_iter().for_each(|pace| tell(pace, &mut found));
    Some(found)
}

/// Age and lifetime of the last SA that went long before its time, with another in its place. Once is no flapping.
pub(super) fn once_early(good: &[&Course<'_>], last: usize) -> Option<(u64, u64)> {
    let newest = good.last().filter(|course| course.listed_last == last && !course.told.ipsec)?;
    let old = good.iter().rev().find(|course| course.listed_last < newest.listed_first)?;
    let (age, lifetime) = old.last.age.zip(old.last.lifetime)?;
    (!old.dying && age < lifetime / 2).then_some((age, lifetime))
}

/// By what the listing itself counts since it knows the peer.
fn counted(name: &str, good: &[&Course<'_>]) -> Option<Finding> {
    let course = good.last()?;
    let (tally, lifetime) = (course.last.tally?, course.last.lifetime?);
    let (seconds, up) = (tally.seconds?, u64::from(tally.ike.1));
    let each = seconds / up.max(1);
    if up < OFTEN as u64 || each > EARLY / 1000 || each > lifetime / 4 {
        return None;
    }
    let why = format!("established again and again: {up} IKE SAs in {seconds} s, of a lifetime of {lifetime} s each");
    let causes: &[Cause] = if tally.children.1 == 0 {
        &[C::ChildFailed, C::TrafficSelector, C::Pfs, C::PeerDelete]
    } else {
        &[C::PeerDelete, C::DpdTimeout, C::Collision, C::Lifetime]
    };
    Some(finding("flapping", name.to_string(), Severity::Error, causes, why))
}

fn there(good: &[&Course<'_>]) -> Vec<(usize, usize)> {
    good.iter().map(|course| (course.listed_first, course.listed_last)).collect()
}

/// Two peers of which only one has an SA at a time, in turn: with one identity for both, each puts the other out.
pub(super) fn in_turn(all: &mut [(&str, Flapping)]) {
    if all.len() > NAMED {
        return;
    }
    let spans: Vec<Vec<(usize, usize)>> = all.iter().map(|(_, one)| one.there.clone()).collect();
    let names: Vec<String> = all.iter().map(|(name, _)| (*name).to_string()).collect();
    for (at, (name, one)) in all.iter_mut().enumerate() {
        let others = spans.iter().zip(&names).enumerate().filter(|(n, _)| *n != at);
        let Some((_, (_, other))) = others.into_iter().find(|(_, (other, _))| take_turns(&one.there, other)) else {
            continue;
        };
        let causes = [C::Collision, C::PeerDelete];
        let why = format!("{name} and {other} have an SA in turn, never both: each puts the other out");
        let mut found = finding("flapping", one.finding.peer.clone(), Severity::Error, &causes, why);
        found.evidence.append(&mut one.finding.evidence);
        found.attempts = one.finding.attempts;
        found.remedy.first_mut().into_iter().for_each(|line| {
            *line = "give each peer an identity of its own, or let several SAs of one identity be there \
                     (unique = never, uniqueids = never)"
                .into();
        });
        one.finding = found;
    }
}

/// Whether the SAs of two peers are there one after the other, now of one, now of the other.
fn take_turns(one: &[(usize, usize)], other: &[(usize, usize)]) -> bool {
    let tagged = |spans: &[(usize, usize)], tag: bool| spans.iter().map(|(a, b)| (*a, *b, tag)).collect::<Vec<_>>();
    let mut spans = [tagged(one, false), tagged(other, true)].concat();
    spans.sort_unstable();
    let pairs = || spans.iter().zip(spans.iter().skip(1));
    let apart = pairs().all(|((_, until, _), (from, ..))| until < from);
    let turns = pairs().filter(|((.., one), (.., other))| one != other).count();
    apart && spans.len() >= 2 * OFTEN && turns * 3 >= (spans.len() - 1) * 2
}

/// All peers' SAs go at the same instants: that is no peer's doing. One finding in their place.
pub(super) fn together(all: &[(&str, Flapping)], established: usize) -> Option<Finding> {
    if all.len() < ALL || all.len() < established {
        return None;
    }
    let instants: Vec<&[u64]> = all.iter().map(|(_, one)| one.replaced.as_slice()).collect();
    if !at_one_instant(&instants) {
        return None;
    }
    let causes = [C::DpdTimeout, C::Lifetime, C::PeerDelete];
    let why = format!(
        "the SAs of all {} peers are replaced at the same instants: the reason is at this end, not in the configuration \
         of one peer",
        all.len()
    );
    let mut found = finding("flapping", format!("{} peers", all.len()), Severity::Error, &causes, why);
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).take(NAMED).collect();
    let more = if all.len() > NAMED { " and others" } else { "" };
    let times = instants.first().map_or(0, |instants| instants.len().saturating_sub(1));
    found.evidence.push(format!("{times} times all at once: {}{more}", names.join(", ")));
    if let Some(line) = found.remedy.first_mut() {
        *line =
            "look at this end: whether the daemon restarts, its interface or address changes, the clock jumps, or a \
                 cluster fails over"
                .into();
    }
    Some(found)
}

/// Whether one end and the other began in turn; both there at once, and nothing under either.
pub(super) fn both_began(current: &[&&Course<'_>]) -> bool {
    let by =
        |role| current.iter().any(|course| course.told.established && !course.dying && course.told.role == Some(role));
    by(Role::Initiator) && by(Role::Responder)
}
