//! Verdicts on listings of another program, one or a series.
//!
//! An SA in negotiation says by its state which message it waits for, and so what may be wrong. One listing cannot tell a
//! negotiation that is stuck from one under way; a series can, and shows what is replaced too soon.

use crate::{Cause, Finding, Severity};
use Cause as C;
use model::{ExchangeMode, ListedSa, Listing, Role};
use std::collections::BTreeMap;
use wire::IkeSpi;

/// Established SAs that follow each other faster than this are no rekeying: no lifetime is meant to be so short.
const TOO_SOON: u64 = 10_000;
/// SAs that are replaced early so often on average, in milliseconds, are not replaced by hand.
const EARLY: u64 = 300_000;
/// So many half-open peers are no accident.
const FLOOD: usize = 20;
/// A negotiation that is still there so many listings later does not go on.
const LASTING: usize = 4;
/// racoon's "established"; more is on its way out.
const ESTABLISHED: u8 = 9;

/// All SAs of a peer, in order of appearance.
struct Peer<'a> {
    name: &'a str,
    courses: Vec<Course<'a>>,
    by_key: BTreeMap<Key<'a>, usize>,
}

/// What tells an SA from others of its peer: the initiator's SPI, or else what the listing calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    /// How often phase 2 began, and how often it was gone again, while phase 1 stayed established.
    begun: u32,
    gone: u32,
}

/// Findings about each peer, in order of appearance.
pub fn listed(series: &[Listing]) -> Vec<Finding> {
    let mut peers: Vec<Peer<'_>> = Vec::new();
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, listing) in series.iter().enumerate() {
        for sa in &listing.sas {
            let index = *by_name.entry(&sa.peer).or_insert(peers.len());
            if index == peers.len() {
                peers.push(Peer { name: &sa.peer, courses: Vec::new(), by_key: BTreeMap::new() });
            }
            let Some(peer) = peers.get_mut(index) else { continue };
            let key = sa.spis.map_or(Key::Name(sa.name.as_deref()), |spis| Key::Spi(spis.initiator));
            match peer.by_key.get(&key).and_then(|at| peer.courses.get_mut(*at)) {
                Some(course) => course.go_on(sa, number),
                None => {
                    peer.by_key.insert(key, peer.courses.len());
                    peer.courses.push(Course::new(sa, listing.at, number));
                }
            }
        }
    }
    let timed = series.iter().filter(|listing| listing.at.is_some()).count() > 1;
    let last = series.len().saturating_sub(1);
    let flood = flood(&peers);
    // Who is part of a flood needs no finding of its own.
    let alone = |peer: &&Peer<'_>| flood.is_none() || !peer.courses.iter().all(is_waiting);
    let single: Vec<Finding> =
        peers.iter().filter(alone).map(|peer| judge(peer.name, &peer.courses, timed, last)).collect();
    flood.into_iter().chain(single).collect()
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
        Self {
            first_at: at,
            last: sa,
            told: sa,
            listed_first: number,
            listed_last: number,
            established,
            begun,
            gone: 0,
        }
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
        self.last = sa;
        self.listed_last = number;
    }
}

fn finding(id: &'static str, peer: String, severity: Severity, causes: &[Cause], why: String) -> Finding {
    let remedy = causes.iter().map(|cause| cause.remedy().into()).collect();
    Finding { id, peer, severity, since: 0, attempts: 1, causes: causes.to_vec(), why, evidence: Vec::new(), remedy }
}

fn judge(peer: &str, courses: &[Course<'_>], timed: bool, last: usize) -> Finding {
    let attempts = u32::try_from(courses.len()).unwrap_or(u32::MAX);
    let good: Vec<&Course<'_>> = courses.iter().filter(|c| c.established).collect();
    let newest = courses.iter().max_by_key(|c| c.listed_last);
    let source = newest.and_then(|c| c.told.source.as_deref());
    let name = source.map_or_else(|| peer.to_string(), |source| format!("{source} -> {peer}"));
    if let Some(mut found) = kept(&name, courses, last) {
        found.attempts = attempts;
        return found;
    }
    let mut found = match (good.as_slice(), newest) {
        ([], Some(course)) => {
            let (causes, why) = stuck(course.told);
            let certain = timed || attempts > 1;
            // A negotiation that was under way at one moment and is over at the next has met its end meanwhile: a listing does not
            // say which, and what it waited for at that moment is not why.
            if attempts == 1 && course.listed_first == course.listed_last && course.listed_last < last {
                let why = "an attempt was listed once, and is over; what became of it is not listed".to_string();
                let mut found = finding("attempted", name, Severity::Info, &[], why);
                found.evidence.push(row(course.told));
                return found;
            }
            let severity = if certain { Severity::Error } else { Severity::Warning };
            let mut found = finding("never-established", name, severity, causes, why);
            if !certain {
                found.evidence.push("one listing: it may be on its way; list again in a minute".to_string());
            }
            found
        }
        (good, newest) => match newest.and_then(|newest| lost(&name, good, newest, courses, last)) {
            Some(found) => found,
            None => established(name, good, last),
        },
    };
    found.attempts = attempts;
    if let Some(course) = newest {
        found.evidence.insert(0, row(course.told));
    }
    found
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
    parts.into_iter().flatten().collect::<Vec<String>>().join(", ")
}

fn established(name: String, good: &[&Course<'_>], last: usize) -> Finding {
    let begun: Vec<u64> = good.iter().filter_map(|course| course.first_at).collect();
    let gaps: Vec<u64> = begun.iter().zip(begun.iter().skip(1)).map(|(a, b)| b.saturating_sub(*a)).collect();
    // IPsec SAs of one pair of ends may be many, for one network each.
    let ike = good.iter().all(|course| !course.told.ipsec);
    if ike && gaps.len() >= 2 && gaps.iter().all(|gap| *gap < TOO_SOON) {
        let average = gaps.iter().sum::<u64>() as f64 / gaps.len() as f64 / 1000.0;
        let causes = [C::Lifetime, C::PeerDelete, C::Collision, C::AuthFailed];
        let why = format!("established again and again: a new ISAKMP SA about every {average:.0} s");
        return finding("flapping", name, Severity::Error, &causes, why);
    }
    if let Some(found) = replaced_early(&name, good, last) {
        return found;
    }
    if let Some(course) = good.iter().find(|course| course.begun >= 2 && course.gone >= 1) {
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
    if current.iter().all(|course| course.told.phase2 == Some(0)) {
        let why = "phase 1 is established, with no phase 2 under it".to_string();
        return finding("established", name, Severity::Info, &[], why);
    }
    let by = |role| current.iter().any(|course| course.told.established && course.told.role == Some(role));
    if by(Role::Initiator) && by(Role::Responder) {
        let why = "established twice, begun by either end: one of them will go".to_string();
        return finding("established", name, Severity::Info, &[C::Collision], why);
    }
    if let [course] = current.as_slice() {
        let (there, wanted) = (course.told.phase2.unwrap_or(0), course.told.wanted.unwrap_or(0));
        if there < wanted {
            let why = format!("established; {there} of {wanted} traffic selectors have a Child SA");
            return finding("established", name, Severity::Info, &[C::NotStarted, C::TrafficSelector], why);
        }
    }
    finding("established", name, Severity::Ok, &[], "established".to_string())
}

/// What was established is gone, and what is tried since comes to nothing.
fn lost(name: &str, good: &[&Course<'_>], newest: &Course<'_>, all: &[Course<'_>], last: usize) -> Option<Finding> {
    let until = good.iter().map(|course| course.listed_last).max()?;
    let after = all.iter().filter(|course| !course.established && course.listed_last > until);
    let tries: Vec<&Course<'_>> = after.collect();
    // One that began a moment ago may succeed.
    let long = newest.listed_last.saturating_sub(newest.listed_first) >= LASTING;
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

/// SAs that go long before their lifetime is over, and are followed by others: by their age, where a listing has it.
fn replaced_early(name: &str, good: &[&Course<'_>], last: usize) -> Option<Finding> {
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
    let causes: &[Cause] = if childless {
        &[C::ChildFailed, C::TrafficSelector, C::Pfs, C::PeerDelete]
    } else {
        &[C::PeerDelete, C::Collision, C::DpdTimeout, C::Lifetime]
    };
    let why = format!("established again and again: {} SAs went long before their lifetime was over", gone.len());
    Some(finding("flapping", name.to_string(), Severity::Error, causes, why))
}

/// What an SA that is not established waits for, and what may be the reason.
fn stuck(sa: &ListedSa) -> (&'static [Cause], String) {
    let (causes, why) = if sa.ipsec {
        let why = "an SA is wanted (traffic waits for it), and is not negotiated";
        (&[C::NoResponse, C::Phase1Timeout, C::Phase2Timeout, C::ChildFailed][..], why)
    } else if sa.version == Some(2) {
        stuck_v2(sa)
    } else {
        stuck_v1(sa)
    };
    (causes, why.to_string())
}

/// Whether the responder was not heard of yet.
fn unanswered(sa: &ListedSa) -> bool {
    match sa.spis {
        Some(spis) => spis.responder.is_zero(),
        None => sa.role == Some(Role::Initiator) && sa.st.is_some_and(|st| st <= 3),
    }
}

fn stuck_v2(sa: &ListedSa) -> (&'static [Cause], &'static str) {
    // OpenIKED believes the peer, and has no Child SA from it: that is all that keeps it from the next state.
    if sa.state.as_deref() == Some("AUTH_SUCCESS") && sa.role == Some(Role::Initiator) {
        let why = "the peer is authenticated, and has refused the Child SA";
        return (&[C::ChildFailed, C::TrafficSelector, C::EncapsulationMode], why);
    }
    match sa.role {
        _ if unanswered(sa) => {
            (&[C::NoResponse, C::NoConfig, C::Phase1Proposal, C::IkeVersion], "waiting for the answer to IKE_SA_INIT")
        }
        Some(Role::Responder) => {
            let why = "waiting for IKE_AUTH: the answer to IKE_SA_INIT is lost, or what follows it is";
            (&[C::HalfOpen, C::NatTraversal, C::NoResponse], why)
        }
        _ if sa.port == Some(500) => {
            let why = "waiting for the answer to IKE_AUTH: the peer could not use it, or it does not get there";
            (&[C::PskMismatch, C::AuthFailed, C::Phase1Timeout, C::NatTraversal], why)
        }
        _ => {
            let why = "waiting for the answer to IKE_AUTH: it does not get there, or the peer could not use it";
            (&[C::NatTraversal, C::PskMismatch, C::Phase1Timeout, C::AuthFailed], why)
        }
    }
}

fn stuck_v1(sa: &ListedSa) -> (&'static [Cause], &'static str) {
    let aggressive = sa.mode == Some(ExchangeMode::Aggressive);
    let floated = sa.port == Some(4500);
    match (sa.role, sa.st, aggressive) {
        _ if unanswered(sa) && aggressive => {
            let why = "waiting for message 2: the peer is silent, or its answer is not accepted";
            (
                &[
                    C::NoResponse,
                    C::Phase1Proposal,
                    C::PskMismatch,
                    C::NegotiationMode,
                    C::NoConfig,
                    C::PeerId,
                    C::IkeVersion,
                ],
                why,
            )
        }
        _ if unanswered(sa) => {
            let why = "waiting for message 2: the peer is silent, or refuses in a way that must not be believed";
            (&[C::NoResponse, C::Phase1Proposal, C::NoConfig, C::NegotiationMode, C::IkeVersion], why)
        }
        (Some(Role::Initiator), Some(4..=5), _) => (
            &[C::Phase1Timeout, C::NoResponse, C::PskMismatch, C::NatTraversal],
            "waiting for message 4: the responder's key exchange",
        ),
        (Some(Role::Initiator), Some(6..=8), _) if floated => {
            let why = "waiting for message 6: the responder got no message 5 on port 4500, or could not use it";
            (&[C::PskMismatch, C::NatTraversal, C::PeerId, C::AuthFailed, C::NegotiationMode], why)
        }
        (Some(Role::Initiator), Some(6..=8), _) => (
            &[C::PskMismatch, C::PeerId, C::AuthFailed, C::NegotiationMode],
            "waiting for message 6: the responder could not use message 5",
        ),
        (Some(Role::Responder), Some(1..=2), _) => {
            (&[C::Phase1Proposal, C::NoConfig], "message 1 is there and not answered")
        }
        (Some(Role::Responder), Some(3..=4), true) => {
            let why = "waiting for message 3: the initiator did not accept message 2, or did not get it";
            (&[C::PskMismatch, C::NoResponse, C::PeerId], why)
        }
        (Some(Role::Responder), Some(3..=4), false) => {
            (&[C::NoResponse, C::Phase1Timeout], "waiting for message 3: the answer does not reach the initiator")
        }
        (Some(Role::Responder), Some(5..=8), _) => {
            let why = "waiting for message 5: it did not come, or could not be decrypted";
            (&[C::PskMismatch, C::NatTraversal, C::PeerId, C::AuthFailed], why)
        }
        (Some(Role::Responder), None, _) => {
            (&[C::PskMismatch, C::HalfOpen, C::NatTraversal, C::PeerId], "answered, and not established")
        }
        (_, None, _) => {
            let why = "answered, and not established: a later message is not accepted, or lost";
            (&[C::PskMismatch, C::Phase1Timeout, C::PeerId, C::NatTraversal], why)
        }
        _ => (&[C::Phase1Timeout], "not established yet"),
    }
}
