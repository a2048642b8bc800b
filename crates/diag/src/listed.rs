//! Verdicts on listings of another program, one or a series.
//!
//! An SA in negotiation says by its state which message it waits for, and so what may be wrong. One listing cannot tell a
//! negotiation that is stuck from one under way; a series can, and shows what is replaced too soon.

mod replaced;
mod stuck;
#[cfg(test)]
mod tests;

use crate::{Cause, Finding, Severity};
use Cause as C;
use model::{ListedSa, Listing, Role};
use replaced::{Flapping, both_began, flapping};
pub(crate) use replaced::{may_be_renewal, pace};
use std::collections::BTreeMap;
use stuck::{between, stuck};
use wire::IkeSpi;

/// So many half-open peers are no accident.
const FLOOD: usize = 20;
/// A negotiation that is still there so many listings later does not go on.
const LASTING: usize = 4;
/// So is one that is there after so long, in ms: with loss on the path, a second repetition is answered by then.
const LONG: u64 = 30_000;
/// racoon's "established"; more is on its way out.
const ESTABLISHED: u8 = 9;
/// So many packets that go out, with none that come in, are no accident.
const PACKETS: u64 = 20;
/// An SA of IKEv2 comes with its Child SA: one that has none after so many seconds has lost it, or never got it.
const CHILDLESS: u64 = 600;
/// An SA that is so many seconds old is not just being made.
const SETTLED: u64 = 5;
/// Attempts for a Child SA that came to nothing, as many as this, are not one lost message.
const REFUSED: u32 = 3;

/// All SAs of a peer, in order of appearance.
struct Peer<'a> {
    name: &'a str,
    courses: Vec<Course<'a>>,
    by_key: BTreeMap<Key<'a>, usize>,
}

/// What tells an SA from others of its peer: the initiator's SPI, or else what the listing calls it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'a> {
    Spi(IkeSpi),
    Name(Option<&'a str>),
}

/// One SA through a series.
struct Course<'a> {
    first_at: Option<u64>,
    last: &'a ListedSa,
    /// The row with the most to tell: a listing without ST says less.
    told: &'a ListedSa,
    listed_first: usize,
    listed_last: usize,
    established: bool,
    created: Option<u64>,
    /// Whether it was ever on its way out: replaced in order, or at the end of its lifetime.
    dying: bool,
    /// The most SAs that it ever had under it.
    children: Option<u32>,
    /// How often phase 2 began, and how often it was gone again, while phase 1 stayed established.
    begun: u32,
    gone: u32,
}

/// The other end's rows, by the initiator's SPI.
type Others<'a> = BTreeMap<IkeSpi, &'a ListedSa>;

/// Findings about each peer, in order of appearance.
pub fn listed(series: &[Listing]) -> Vec<Finding> {
    listed_beside(series, &[])
}

/// The same, with listings that others made of the same SAs at hand: where both ends' rows are there, they decide together.
pub fn listed_beside(series: &[Listing], others: &[&[Listing]]) -> Vec<Finding> {
    let others: Others<'_> = others
        .iter()
        .flat_map(|series| series.iter().flat_map(|listing| &listing.sas))
        .filter_map(|sa| Some((sa.spis?.initiator, sa)))
        .collect();
    let mut peers: Vec<Peer<'_>> = Vec::new();
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, listing) in series.iter().enumerate() {
        for sa in &listing.sas {
            let name = peer(sa);
            let index = *by_name.entry(name).or_insert(peers.len());
            if index == peers.len() {
                peers.push(Peer { name, courses: Vec::new(), by_key: BTreeMap::new() });
            }
            let Some(peer) = peers.get_mut(index) else { continue };
            let key = sa.spis.map_or(Key::Name(sa.name.as_deref()), |spis| Key::Spi(spis.initiator));
            let known = peer.by_key.get(&key).and_then(|at| peer.courses.get_mut(*at));
            match known.filter(|course| !course.is_another(sa)) {
                // It was there, and goes on being listed as deleted.
                Some(course) if course.established && is_leftover(sa) => {}
                Some(course) => course.go_on(sa, number),
                None => {
                    peer.by_key.insert(key, peer.courses.len());
                    peer.courses.push(Course::new(sa, listing.at, number));
                }
            }
        }
    }
    if peers.is_empty() && !series.is_empty() {
        return vec![nothing(series.len())];
    }
    let timed = series.iter().filter(|listing| listing.at.is_some()).count() > 1;
    let last = series.len().saturating_sub(1);
    let now = series.iter().rev().find_map(|listing| listing.at);
    let when = When { timed, last, now };
    let flood = flood(&peers);
    // Who is part of a flood needs no finding of its own.
    let alone = |peer: &&Peer<'_>| flood.is_none() || !peer.courses.iter().all(is_waiting);
    let mut replaced = Vec::new();
    let mut single: Vec<Finding> = Vec::new();
    for peer in peers.iter().filter(alone) {
        match judge(peer.name, &peer.courses, when, &others) {
            Verdict::One(finding) => single.push(*finding),
            Verdict::Flapping(flapping) => replaced.push((peer.name, *flapping)),
        }
    }
    let established = peers.iter().filter(|peer| peer.courses.iter().any(|course| course.established)).count();
    replaced::in_turn(&mut replaced);
    let common = replaced::together(&replaced, established);
    let each = replaced.into_iter().map(|(_, flapping)| flapping.finding).filter(|_| common.is_none());
    let replaced: Vec<Finding> = each.collect();
    flood.into_iter().chain(common).chain(replaced).chain(single).collect()
}

/// What the peer is called: its address, else the connection without the SA's number.
fn peer(sa: &ListedSa) -> &str {
    let name = sa.name.as_deref().map(|name| name.split(" #").next().unwrap_or(name));
    let named = [Some(sa.peer.as_str()), name].into_iter().flatten().find(|name| !name.trim().is_empty());
    named.unwrap_or("a peer without a name")
}

/// No SA in any of so many listings.
fn nothing(listings: usize) -> Finding {
    let why = "no SA is listed: nothing has begun to negotiate, or every attempt is over".to_string();
    let mut found = finding("not-started", "no peer".to_string(), Severity::Info, &[C::NotStarted], why);
    found.attempts = 0;
    found.evidence.push(if listings > 1 {
        format!("{listings} listings, all empty")
    } else {
        "an empty listing".into()
    });
    found
}

/// When the listings were taken.
#[derive(Clone, Copy)]
struct When {
    /// Whether they say so.
    timed: bool,
    /// The number of the last one.
    last: usize,
    /// And its time.
    now: Option<u64>,
}

impl When {
    /// How long an SA has been listed, in ms.
    fn since(&self, course: &Course<'_>) -> Option<u64> {
        self.now?.checked_sub(course.first_at?)
    }
}

/// The verdict on a peer. What flaps is looked at once more, with others that do.
enum Verdict {
    One(Box<Finding>),
    Flapping(Box<Flapping>),
}

/// Begun by the peer, and not established.
fn is_waiting(course: &Course<'_>) -> bool {
    !course.established && course.told.role == Some(Role::Responder)
}

/// Many peers at once that began and did not go on: no fault of any one configuration.
fn flood(peers: &[Peer<'_>]) -> Option<Finding> {
    let many = peers.iter().filter(|peer| peer.courses.iter().any(is_waiting)).count();
    if many < FLOOD || many * 2 < peers.len() {
        return None;
    }
    let why =
        "many peers began at once and did not go on: somebody sends first messages only, or the way back is broken";
    let causes = [C::HalfOpen, C::NoResponse];
    let mut found = finding("flood", format!("{many} peers"), Severity::Error, &causes, why.to_string());
    found.evidence.push(format!("{many} of {} peers are half open", peers.len()));
    Some(found)
}

impl<'a> Course<'a> {
    fn new(sa: &'a ListedSa, at: Option<u64>, number: usize) -> Self {
        let begun = u32::from(sa.phase2.is_some_and(|n| n > 0));
        let established = sa.established;
        let children = sa.phase2.filter(|_| established);
        Self {
            first_at: at,
            last: sa,
            told: sa,
            listed_first: number,
            listed_last: number,
            established,
            created: sa.created,
            dying: is_dying(sa),
            children,
            begun,
            gone: 0,
        }
    }

    /// Whether this is another SA under the same name.
    fn is_another(&self, sa: &ListedSa) -> bool {
        let created = self.created.zip(sa.created).is_some_and(|(before, now)| before != now);
        let younger = self.last.age.zip(sa.age).is_some_and(|(before, now)| now < before);
        sa.spis.is_none() && self.established && sa.established && (created || younger)
    }

    fn go_on(&mut self, sa: &'a ListedSa, number: usize) {
        if self.last.st == Some(ESTABLISHED) && sa.st == Some(ESTABLISHED) {
            match (self.last.phase2, sa.phase2) {
                (Some(0), Some(now)) if now > 0 => self.begun += 1,
                (Some(before), Some(0)) if before > 0 => self.gone += 1,
                _ => {}
            }
        }
        if sa.st.is_some() || self.told.st.is_none() {
            self.told = sa;
        }
        self.established |= sa.established;
        self.created = self.created.or(sa.created);
        self.dying |= is_dying(sa);
        self.children = self.children.max(sa.phase2.filter(|_| sa.established));
        self.last = sa;
        self.listed_last = number;
    }
}

/// On its way out in order: replaced, or near the end of its lifetime.
pub(crate) fn is_dying(sa: &ListedSa) -> bool {
    let state = sa.state.as_deref().unwrap_or_default();
    sa.st.is_some_and(|st| st > ESTABLISHED)
        || ["DYING", "dying", "REKEYED", "REKEYING", "DELETING", "DELETE", "DELETED", "MM_ACTIVE_REKEY"]
            .contains(&state)
}

fn finding(id: &'static str, peer: String, severity: Severity, causes: &[Cause], why: String) -> Finding {
    let remedy = causes.iter().map(|cause| cause.remedy().into()).collect();
    Finding { id, peer, severity, since: 0, attempts: 1, causes: causes.to_vec(), why, evidence: Vec::new(), remedy }
}

fn judge(peer: &str, courses: &[Course<'_>], when: When, others: &Others<'_>) -> Verdict {
    let attempts = u32::try_from(courses.len()).unwrap_or(u32::MAX);
    let good: Vec<&Course<'_>> = courses.iter().filter(|c| c.established).collect();
    // What is listed as deleted is the leftover of an attempt, never where things stand.
    let newest = courses.iter().max_by_key(|c| (!is_leftover(c.told), c.listed_last));
    let source = newest.and_then(|c| c.told.source.as_deref());
    let name = source.map_or_else(|| peer.to_string(), |source| format!("{source} -> {peer}"));
    if let Some(mut found) = kept(&name, courses, when.last) {
        found.attempts = attempts;
        return Verdict::One(Box::new(found));
    }
    let row = newest.map(|course| row(course.told));
    if let Some(mut flapping) = lost(&name, &good, newest, courses, when)
        .is_none()
        .then(|| flapping(&name, &good, when.last, when.now))
        .flatten()
    {
        flapping.finding.attempts = attempts;
        row.into_iter().for_each(|row| flapping.finding.evidence.insert(0, row));
        return Verdict::Flapping(Box::new(flapping));
    }
    let mut found = match (good.as_slice(), newest) {
        ([], Some(course)) => never(name, courses, course, when, others),
        (good, newest) => match lost(&name, good, newest, courses, when) {
            Some(found) => found,
            None => established(name, good, when.last),
        },
    };
    found.attempts = attempts;
    row.into_iter().for_each(|row| found.evidence.insert(0, row));
    Verdict::One(Box::new(found))
}

/// Cisco goes on listing attempts that are over.
fn is_leftover(sa: &ListedSa) -> bool {
    sa.state.as_deref().is_some_and(|state| state.ends_with("(deleted)"))
}

/// Nothing was ever established.
fn never(name: String, courses: &[Course<'_>], course: &Course<'_>, when: When, others: &Others<'_>) -> Finding {
    // A negotiation that was under way at one moment and is over at the next has met its end meanwhile: a listing does not
    // say which, and what it waited for at that moment is not why.
    if courses.len() == 1 && course.listed_first == course.listed_last && course.listed_last < when.last {
        let why = "an attempt was listed once, and is over; what became of it is not listed".to_string();
        return finding("attempted", name, Severity::Info, &[], why);
    }
    let both = courses.iter().rev().find_map(|course| beside(course.told, others));
    let ((causes, why), by_both) = both.map_or_else(|| (stuck(course.told), false), |both| (both, true));
    let begun = course.told.state.as_deref() != Some("DOWN") || course.told.spis.is_some();
    let certain = (when.timed || courses.len() > 1) && begun;
    let severity = if certain { Severity::Error } else { Severity::Warning };
    let mut found = finding(if begun { "never-established" } else { "not-started" }, name, severity, causes, why);
    if by_both {
        found.evidence.push("the other end's listing has the same SA".to_string());
    }
    if !certain {
        found.evidence.push("one listing: it may be on its way; list again in a minute".to_string());
    }
    found
}

/// What both ends' rows of an SA say together, if the other end's is there.
fn beside(sa: &ListedSa, others: &Others<'_>) -> Option<(&'static [Cause], String)> {
    let other = *others.get(&sa.spis?.initiator)?;
    match (sa.role?, other.role?) {
        (Role::Initiator, Role::Responder) => between(sa, other),
        (Role::Responder, Role::Initiator) => between(other, sa),
        _ => None,
    }
}

/// What the listing itself says of SAs that ended, where nothing better has taken their place.
fn kept(name: &str, courses: &[Course<'_>], last: usize) -> Option<Finding> {
    let current = |course: &&Course<'_>| course.told.ended.is_none() && course.listed_last == last;
    let up = || courses.iter().filter(current).filter(|course| course.told.established);
    let childless = up().all(|course| course.told.phase2 == Some(0));
    let telling = |course: &&Course<'_>| {
        let of_child = course.told.name.as_deref().is_some_and(|name| name.contains(" / "));
        course.listed_last == last && if of_child { childless } else { up().next().is_none() }
    };
    let ended = courses.iter().filter(|course| course.told.ended.is_some()).filter(telling);
    let course = ended.max_by_key(|course| course.listed_first)?;
    let reason = course.told.ended.as_deref()?;
    let causes = crate::log::of_end(reason)?;
    let id = if up().next().is_some() { "no-phase-2" } else { "never-established" };
    let mut found = finding(id, name.to_string(), Severity::Error, causes, reason.to_string());
    found.evidence.push(row(course.told));
    Some(found)
}

/// A row in a line.
fn row(sa: &ListedSa) -> String {
    let spis = sa.spis.map(|spis| {
        let what = if sa.version == Some(2) { "SPIs" } else { "cookies" };
        format!("{what} {}:{}", spis.initiator, spis.responder)
    });
    // Where the listing has a word of its own for the state, ST is only what it comes to.
    let st = sa.st.filter(|_| sa.state.is_none()).map(|st| format!("ST {st}"));
    let port = sa.port.map(|port| format!("port {port}"));
    let parts = [sa.name.clone(), spis, sa.state.clone(), st, port];
    parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<String>>().join(", ")
}

fn established(name: String, good: &[&Course<'_>], last: usize) -> Finding {
    // racoon counts what it negotiates. Where only what is installed counts, one that is there again after a look without
    // may have been rekeyed just then.
    let rekeyed = |course: &Course<'_>| {
        course.gone < 2 && course.told.state.is_some() && course.told.phase2.is_some_and(|there| there > 0)
    };
    if let Some(course) = good.iter().find(|course| course.begun >= 2 && course.gone >= 1 && !rekeyed(course)) {
        let causes = [C::ChildFailed, C::TrafficSelector, C::Pfs, C::Phase2Timeout];
        let why = "phase 1 is established; phase 2 begins again and again and does not stay".to_string();
        let mut found = finding("no-phase-2", name, Severity::Error, &causes, why);
        found.evidence.push(format!("phase 2 began {} times and was gone {} times", course.begun, course.gone));
        return found;
    }
    let current: Vec<&&Course<'_>> = good.iter().filter(|course| course.listed_last == last).collect();
    if current.is_empty() {
        let why = "was established, and is not listed any more".to_string();
        return finding("established", name, Severity::Info, &[], why);
    }
    let childless = current.iter().all(|course| course.told.phase2 == Some(0));
    if both_began(&current) {
        let why = "established twice, begun by either end: one of them will go".to_string();
        let settled = current.iter().all(|course| course.told.age.is_none_or(|age| age >= SETTLED));
        let severity = if childless && settled { Severity::Warning } else { Severity::Info };
        return finding("established", name, severity, &[C::Collision], why);
    }
    if childless {
        return without_child(name, &current);
    }
    if let Some(found) = current.iter().find_map(|course| one_way(&name, course)) {
        return found;
    }
    if let [course] = current.as_slice() {
        let (there, wanted) = (course.told.phase2.unwrap_or(0), course.told.wanted.unwrap_or(0));
        if there < wanted {
            let why = format!("established; {there} of {wanted} traffic selectors have a Child SA");
            return finding("established", name, Severity::Info, &[C::NotStarted, C::TrafficSelector], why);
        }
    }
    if let Some((age, lifetime)) = replaced::once_early(good, last) {
        let why = format!("established; the SA before it went after {age} s of {lifetime} s");
        let mut found = finding("established", name, Severity::Info, &[C::PeerDelete, C::DpdTimeout, C::Lifetime], why);
        found.evidence.push("once may be a restart: list again, some minutes apart".to_string());
        return found;
    }
    finding("established", name, Severity::Ok, &[], "established".to_string())
}

/// Phase 1 is there, and nothing under it: asked for and not answered, refused, lost, or not wanted.
fn without_child(name: String, current: &[&&Course<'_>]) -> Finding {
    let refused = [C::ChildFailed, C::TrafficSelector, C::Pfs, C::Phase2Timeout, C::EncapsulationMode];
    if let Some((asking, course)) = current.iter().find_map(|course| Some((course.told.asking.as_ref()?, course))) {
        let why = "phase 1 is established; the request for phase 2 has no answer".to_string();
        let causes = [C::Phase2Timeout, C::ChildFailed, C::TrafficSelector, C::Pfs, C::EncapsulationMode];
        let mut found = finding("no-phase-2", name, Severity::Warning, &causes, why);
        found.evidence.push(format!("{asking} waits for the peer's answer"));
        if course.listed_first == course.listed_last {
            found.evidence.push("one listing: it may be on its way; list again in a minute".to_string());
        }
        return found;
    }
    let tally = current.iter().filter_map(|course| course.told.tally).map(|tally| tally.children);
    if let Some((begun, up)) = tally.max().filter(|(begun, up)| begun.saturating_sub(*up) >= REFUSED) {
        let why = format!("phase 1 is established; of {begun} attempts for phase 2, {up} succeeded");
        return finding("no-phase-2", name, Severity::Error, &refused, why);
    }
    let wanted = current.iter().filter_map(|course| course.told.wanted).max().unwrap_or(0);
    let second = current.iter().all(|course| course.told.version == Some(2));
    let long = second && current.iter().all(|course| course.told.age.is_some_and(|age| age >= CHILDLESS));
    let why = match wanted {
        0 => "phase 1 is established, with no phase 2 under it".to_string(),
        wanted => format!("established; 0 of {wanted} traffic selectors have a Child SA"),
    };
    let all = |of: &dyn Fn(&Course<'_>) -> bool| current.iter().all(|course| of(course));
    let stays = all(&|course| course.listed_first < course.listed_last);
    let never = all(&|course| course.children == Some(0));
    let causes: &[Cause] = match (wanted, long) {
        // Seen once, it may be on its way.
        (0, false) if !stays => &[],
        // One of IKEv2 is made with its Child SA (RFC 7296 section 1.2).
        (0, false) if second && never => &[C::ChildFailed, C::TrafficSelector, C::NotStarted],
        (0, false) => &[C::NotStarted, C::ChildFailed, C::TrafficSelector, C::Pfs],
        _ => &[C::NotStarted, C::ChildFailed, C::TrafficSelector],
    };
    let severity = if wanted > 0 && long { Severity::Warning } else { Severity::Info };
    finding("established", name, severity, causes, why)
}

/// Packets go out, and none came in: established, and nothing passes.
fn one_way(name: &str, course: &Course<'_>) -> Option<Finding> {
    let (received, sent) = course.told.traffic?;
    if received > 0 || sent < PACKETS {
        return None;
    }
    let encapsulated = course.told.port == Some(4500);
    let causes: &[Cause] = &[C::NatTraversal, C::TrafficSelector, C::StaleSa];
    let why = "established, and nothing comes back through it".to_string();
    let mut found = finding("one-way", name.to_string(), Severity::Warning, causes, why);
    found.evidence.push(format!("about {sent} packets out, none in"));
    let first = if encapsulated {
        "let UDP port 4500 pass in both directions, and see whether the host behind the peer answers"
    } else {
        "let ESP (IP protocol 50) pass in both directions, and see whether the host behind the peer answers"
    };
    found.remedy.first_mut().into_iter().for_each(|line| *line = first.into());
    Some(found)
}

/// What was established is gone, and what is tried since comes to nothing.
fn lost(
    name: &str,
    good: &[&Course<'_>],
    newest: Option<&Course<'_>>,
    all: &[Course<'_>],
    when: When,
) -> Option<Finding> {
    let (newest, last) = (newest?, when.last);
    let until = good.iter().map(|course| course.listed_last).max()?;
    let after = all.iter().filter(|course| !course.established && course.listed_last > until);
    let tries: Vec<&Course<'_>> = after.collect();
    // One that began a moment ago may succeed.
    let long = newest.listed_last.saturating_sub(newest.listed_first) >= LASTING
        || when.since(newest).is_some_and(|time| time >= LONG);
    if newest.established || newest.listed_last < last || until >= last || (tries.len() < 2 && !long) {
        return None;
    }
    let (causes, why) = stuck(newest.told);
    let mut causes = causes.to_vec();
    causes.insert(1.min(causes.len()), C::DpdTimeout);
    let why = format!("was established, and does not come back: {why}");
    let mut found = finding("lost", name.to_string(), Severity::Error, &causes, why);
    found.evidence.push(format!("{} attempts since", tries.len()));
    Some(found)
}
