//! Verdicts on a running daemon: what it is configured to have against what is there, and what became of the rest.
//!
//! A daemon that keeps the reason of every end ([`Live::remembers`]) gives one verdict; of another one the state of a
//! negotiation and its counters of messages say what is possible.

use crate::failed::{before_proof, causes, half_open, unanswered, without_message_6};
use crate::finding::several;
use crate::{Cause, Finding, Severity, below, later, pace, probed};
use Cause as C;
use model::{
    ChildState, DELETED, FailureKind, IkeState, Live, LiveConnection, Role, SaSnapshot, SendError, Stray, Tombstone,
    UNREADABLE, UNREADABLE_TEXT,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use wire::grammar::{RuleId, rule};

/// So many SAs that went too soon are no accident.
const MANY: usize = 3;
/// SAs that lived less than this on average do not stay.
const SHORT: Duration = Duration::from_secs(300);
/// No lifetime is meant to be so short, not even of a peer that authenticates anew by deleting.
const TOO_SHORT: Duration = Duration::from_secs(10);
/// What ended longer ago says nothing about now.
const RECENT: Duration = Duration::from_secs(900);
/// A connection that nobody has begun for this long may be one that both ends wait for.
const LONG: Duration = Duration::from_secs(300);
/// So many packets without any in return are no accident.
const PACKETS: u64 = 20;
/// And so long.
const ONE_WAY: Duration = Duration::from_secs(30);
/// Who is sent to and says nothing for so long may not get it.
const SILENT: Duration = Duration::from_secs(120);
/// Messages of an SA that is over are late for no longer than this.
const LATE: Duration = Duration::from_secs(60);
/// Times of two sources differ by no more.
const SECOND: Duration = Duration::from_secs(1);
/// So many half-open peers are no accident.
const FLOOD: usize = 20;

/// All about one connection, or about one address that no connection was found for.
struct Group<'a> {
    connection: Option<&'a LiveConnection>,
    name: &'a str,
    sas: Vec<&'a SaSnapshot>,
    /// The latest first.
    ended: Vec<&'a Tombstone>,
}

/// Findings about each connection, in the order of their configuration, and then about peers that have none.
pub fn live(live: &Live) -> Vec<Finding> {
    let groups = groups(live);
    let mut findings = Vec::new();
    for group in &groups {
        findings.extend(group.judge(live));
    }
    findings.extend(flood(live));
    let plane = below::plane(live);
    // What is negotiated as it should be, and does not carry its packets, is not in order.
    findings.retain(|found| {
        let broken = |other: &Finding| other.severity == Severity::Error && other.peer == found.peer;
        found.severity > Severity::Ok || !plane.iter().any(broken)
    });
    findings.extend(plane);
    probed::tell(live, &mut findings);
    findings.extend(later::certificates(live));
    findings
}

/// Many addresses at once that began and did not go on: no fault of any one connection.
fn flood(live: &Live) -> Option<Finding> {
    let waiting = live.sas.iter().filter(|sa| sa.role == Role::Responder && sa.established.is_none());
    let given_up = live.ended.iter().filter(|t| {
        t.ended < RECENT && t.sa.established.is_none() && matches!(t.failure.kind, FailureKind::HalfOpen { .. })
    });
    let addresses: BTreeSet<IpAddr> = waiting.chain(given_up.map(|t| &t.sa)).map(|sa| sa.remote.ip()).collect();
    let up = live.sas.iter().filter(|sa| up(sa)).count();
    if addresses.len() < FLOOD || addresses.len() < up {
        return None;
    }
    let why =
        "many peers began at once and did not go on: somebody sends first messages only, or the way back is broken";
    let mut found = verdict("flood", Severity::Error, &[C::HalfOpen, C::NoResponse], why);
    found.peer = format!("{} peers", addresses.len());
    found.evidence.push(format!("{} addresses are half open or were given up, {up} SAs are up", addresses.len()));
    Some(found)
}

/// What a kept reason says by itself: causes, the reason with both sides' values, and the line to change.
pub fn ended(tombstone: &Tombstone) -> Finding {
    let sa = &tombstone.sa;
    let peer = format!("{} -> {}", sa.local.ip(), sa.remote.ip());
    let mut found = Finding { peer, ..kept("never-established", Severity::Error, tombstone) };
    if let Some(error) = &sa.send_error {
        below::explain(&mut found, error);
    }
    found
}

fn groups(live: &Live) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    let mut by_address: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for connection in &live.connections {
        by_name.insert(connection.name.as_str(), groups.len());
        // An address that several connections have tells none of them.
        for address in connection.remote_addrs.iter().filter_map(|text| text.parse().ok()) {
            by_address.entry(address).and_modify(|at| *at = usize::MAX).or_insert(groups.len());
        }
        let name = connection.name.as_str();
        groups.push(Group { connection: Some(connection), name, sas: Vec::new(), ended: Vec::new() });
    }
    let mut of = |groups: &mut Vec<Group<'_>>, sa: &'_ SaSnapshot| -> usize {
        let address = sa.remote.ip();
        let known = by_name.get(sa.name.as_str()).copied();
        known.or_else(|| by_address.get(&address).copied().filter(|at| *at < groups.len())).unwrap_or_else(|| {
            by_address.insert(address, groups.len());
            groups.len()
        })
    };
    for sa in &live.sas {
        let at = of(&mut groups, sa);
        if at == groups.len() {
            groups.push(Group { connection: None, name: &sa.name, sas: Vec::new(), ended: Vec::new() });
        }
        if let Some(group) = groups.get_mut(at) {
            group.sas.push(sa);
        }
    }
    let mut ended: Vec<&Tombstone> = live.ended.iter().collect();
    ended.sort_by_key(|tombstone| tombstone.ended);
    for tombstone in ended {
        let at = of(&mut groups, &tombstone.sa);
        if at == groups.len() {
            let name = tombstone.sa.name.as_str();
            groups.push(Group { connection: None, name, sas: Vec::new(), ended: Vec::new() });
        }
        if let Some(group) = groups.get_mut(at) {
            group.ended.push(tombstone);
        }
    }
    groups
}

/// A finding before it has a peer.
fn verdict(id: &'static str, severity: Severity, causes: &[Cause], why: impl Into<String>) -> Finding {
    Finding {
        id,
        peer: String::new(),
        severity,
        since: 0,
        attempts: 1,
        causes: causes.to_vec(),
        why: why.into(),
        evidence: Vec::new(),
        remedy: causes.iter().map(|cause| cause.remedy().into()).collect(),
    }
}

/// Lists of all that is allowed by default are long, and say less than their beginning.
fn shortened(text: String) -> String {
    // Four kinds of algorithms that differ, with one value each of either end, are told whole.
    const ENOUGH: usize = 310;
    let Some((cut, _)) = text.char_indices().nth(ENOUGH) else { return text };
    let head = text.get(..cut).unwrap_or_default();
    let end = head.rfind([' ', ',', '-', ';']).unwrap_or(cut);
    format!("{} ...", head.get(..end).unwrap_or_default())
}

/// A finding from the reason that was kept: its first remedy has both sides' values and the line to change.
fn kept(id: &'static str, severity: Severity, tombstone: &Tombstone) -> Finding {
    let mut found = verdict(id, severity, &causes(tombstone), shortened(tombstone.failure.kind.to_string()));
    if let Some(first) = found.remedy.first_mut() {
        let place = tombstone.failure.config.as_ref().map(|place| format!(" [{place}]")).unwrap_or_default();
        let remedy = if before_proof(tombstone) {
            "no proof was sent yet: set aggressive = yes at both ends or at neither, then compare auth (XAuth at one end \
             only?) and our identity with what the peer expects"
                .to_string()
        } else if matches!(tombstone.failure.kind, FailureKind::Expired) {
            "renew it before its end: let rekey_time or reauth_time come well before that (over_time, life_time), and see in \
             the log why it was not renewed"
                .to_string()
        } else {
            tombstone.failure.kind.remedy()
        };
        *first = format!("{remedy}{place}").into();
    }
    found.evidence.push(format!(
        "{} s ago: {} ({} sent, {} received)",
        tombstone.ended.as_secs(),
        tombstone.failure.kind.code(),
        several(tombstone.datagrams_out as usize, "datagram", "datagrams"),
        tombstone.datagrams_in
    ));
    if let FailureKind::NoAnswer { waiting_for: RuleId::MainMode6 | RuleId::MainMode6Signature, to, .. } =
        &tombstone.failure.kind
    {
        let secret = matches!(tombstone.sa.authentication, "pre-shared-key" | "unknown");
        found.evidence.push(without_message_6(&tombstone.sa, to.port(), secret).1);
    }
    let said = tombstone.sa.suspicion.as_deref();
    let said = said.filter(|said| *said != UNREADABLE || tombstone.sa.role == Role::Initiator);
    found.evidence.extend(said.map(unprotected));
    found
}

/// The first Child SA comes with IKE_AUTH, which has no key exchange of its own (RFC 7296 section 1.2): what was good then
/// and is refused when rekeyed is most likely the group.
fn perhaps_pfs(sa: &SaSnapshot, found: &mut Finding) {
    if sa.version != 2 || !found.causes.contains(&C::ChildFailed) {
        return;
    }
    let line = found.remedy.first().cloned().unwrap_or_default();
    found.causes.retain(|cause| *cause != C::Pfs);
    found.causes.insert(0, C::Pfs);
    found.remedy = found.causes.iter().map(|cause| cause.remedy().into()).collect();
    if let Some(first) = found.remedy.first_mut() {
        *first = line;
    }
}

fn up(sa: &SaSnapshot) -> bool {
    sa.established.is_some() && !matches!(sa.state, IkeState::Deleting | IkeState::Destroying)
}

fn carries(state: ChildState) -> bool {
    matches!(state, ChildState::Installed | ChildState::Rekeying | ChildState::Rekeyed)
}

fn is_fault(tombstone: &Tombstone) -> bool {
    !tombstone.failure.kind.is_ordinary()
}

fn seconds(duration: Duration) -> String {
    format!("{:.0} s", duration.as_secs_f64())
}

/// Evidence: what the peer, or anybody, said without protection.
fn unprotected(said: &str) -> String {
    match said {
        UNREADABLE => UNREADABLE_TEXT.to_string(),
        DELETED => "a Delete of the SA came unprotected: not acted upon".to_string(),
        error => format!("the peer reports {error}, unprotected: not acted upon"),
    }
}

/// Evidence: what came of an SA that is not here.
pub(crate) fn of_stray(stray: &Stray) -> String {
    format!(
        "{} messages from {} belong to SAs that are not here, the latest {} ago to {}; not acted upon",
        stray.count,
        stray.from,
        seconds(stray.last),
        stray.sa
    )
}

impl Group<'_> {
    fn judge(&self, live: &Live) -> Vec<Finding> {
        let mut found = vec![self.main(live)];
        if let Some((main, error)) = found.first_mut().zip(self.sending(live).or_else(|| self.kept_sending())) {
            below::explain(main, error);
        }
        found.extend(self.one_way().map(|mut one_way| {
            let carrier = self.sas.iter().find(|sa| up(sa) && sa.children.iter().any(|child| carries(child.state)));
            let error = carrier.and_then(|sa| {
                let esp = SocketAddr::new(sa.remote.ip(), 0);
                below::latest(live, esp, RECENT).or_else(|| below::latest(live, sa.remote, RECENT))
            });
            if let Some(error) = error {
                below::explain_one_way(&mut one_way, error);
            }
            one_way
        }));
        for finding in &mut found {
            finding.peer = self.peer();
            if !self.name.is_empty() {
                finding.evidence.insert(0, format!("connection '{}'", self.name));
            }
            if finding.evidence.is_empty() {
                finding.evidence.push(format!("{} SAs, {} ended", self.sas.len(), self.ended.len()));
            }
        }
        found.extend(self.refused_elsewhere());
        let peer = self.peer();
        found.extend(self.connection.iter().flat_map(|connection| later::configured(connection, &peer)));
        found.extend(self.sas.iter().find(|sa| up(sa)).iter().flat_map(|sa| later::weak(sa, &peer)));
        found
    }

    /// What became of what this attempt, the last one, or the SA that is up, sent of late.
    fn sending<'a>(&self, live: &'a Live) -> Option<&'a SendError> {
        let (sa, within) = match (self.sas.first(), self.ended.first()) {
            (Some(sa), _) if up(sa) => (*sa, RECENT),
            (Some(sa), _) => (*sa, sa.age + SECOND),
            (None, Some(tombstone)) => (&tombstone.sa, tombstone.ended + tombstone.sa.age + SECOND),
            (None, None) => return None,
        };
        below::latest(live, sa.remote, within.min(RECENT))
    }

    /// The same of the last attempt, as it was kept with its end: of one of an earlier run nothing else is known.
    fn kept_sending(&self) -> Option<&SendError> {
        let latest = self.ended.first().filter(|_| self.sas.is_empty())?;
        latest.sa.send_error.as_ref()
    }

    /// A connection for many peers is up with one, and another one fails: each address is a case of its own.
    fn refused_elsewhere(&self) -> Vec<Finding> {
        const MOST: usize = 20;
        let up: BTreeSet<IpAddr> = self.sas.iter().filter(|sa| up(sa)).map(|sa| sa.remote.ip()).collect();
        let mut by_address: BTreeMap<IpAddr, Vec<&Tombstone>> = BTreeMap::new();
        let failed =
            |t: &&&Tombstone| is_fault(t) && t.child.is_none() && t.sa.established.is_none() && t.ended < RECENT;
        for tombstone in self.ended.iter().filter(failed).filter(|t| !up.contains(&t.sa.remote.ip())) {
            by_address.entry(tombstone.sa.remote.ip()).or_default().push(tombstone);
        }
        if up.is_empty() {
            return Vec::new(); // the connection's own finding is about them
        }
        let finding = |(address, ended): (IpAddr, Vec<&Tombstone>)| {
            let newest = ended.first()?;
            let peer = format!("{} -> {address}", newest.sa.local.ip());
            let attempts = u32::try_from(ended.len()).unwrap_or(u32::MAX);
            let mut found = Finding { peer, attempts, ..kept("never-established", Severity::Error, newest) };
            found.evidence.insert(0, format!("connection '{}', which is up with another peer", self.name));
            Some(found)
        };
        by_address.into_iter().take(MOST).filter_map(finding).collect()
    }

    /// The two ends, or what is known of them.
    fn peer(&self) -> String {
        let seen = self.sas.first().copied().or_else(|| self.ended.first().map(|tombstone| &tombstone.sa));
        match seen {
            Some(sa) if !sa.local.ip().is_unspecified() => format!("{} -> {}", sa.local.ip(), sa.remote.ip()),
            Some(sa) => sa.remote.ip().to_string(),
            None => match self.connection.and_then(|c| c.remote_addrs.first()) {
                Some(address) if address.parse::<IpAddr>().is_ok() => address.clone(),
                _ => format!("\"{}\"", self.name),
            },
        }
    }

    fn main(&self, live: &Live) -> Finding {
        if let Some(found) = self.flapping() {
            return found;
        }
        match self.sas.iter().find(|sa| up(sa)) {
            Some(sa) => self.established(sa),
            None => self.missing(live),
        }
    }

    /// SAs that were established, and went one after the other long before their time.
    fn flapping(&self) -> Option<Finding> {
        let life = |tombstone: &Tombstone| tombstone.sa.established.unwrap_or_default();
        // Renewed after a time that is configured, however short, less what may be random of it.
        let configured = self.connection.and_then(|connection| connection.ike_lifetime);
        let before_time = |life: Duration| life < configured.map_or(TOO_SHORT, |time| TOO_SHORT.min(time / 3));
        let too_soon = |tombstone: &&&Tombstone| {
            let sa = &tombstone.sa;
            let (gone, life) = (sa.established.is_some() && tombstone.child.is_none(), life(tombstone));
            gone && tombstone.ended < RECENT
                && match tombstone.failure.kind {
                    FailureKind::Terminated | FailureKind::ConfigurationChanged => false,
                    // Renewing is what these are for, unless it never ends.
                    FailureKind::Replaced { .. } => before_time(life),
                    FailureKind::Expired => life < TOO_SHORT,
                    // A peer that began may delete in order to authenticate anew; one that was asked may not.
                    FailureKind::PeerDeleted if sa.role == Role::Responder => before_time(life),
                    _ => life < SHORT,
                }
        };
        let gone: Vec<&&Tombstone> = self.ended.iter().filter(too_soon).collect();
        let latest = gone.first().filter(|_| gone.len() >= MANY)?;
        let all: Duration = gone.iter().map(|tombstone| life(tombstone)).sum();
        let count = u32::try_from(gone.len()).unwrap_or(u32::MAX);
        // A Child SA that was refused each time is what the peer ends the SA for.
        let refused = self.ended.iter().find(|tombstone| tombstone.child.is_some() && is_fault(tombstone));
        let mut found = match refused {
            Some(refused) => kept("flapping", Severity::Error, refused),
            None => {
                let mut causes = causes(latest);
                let more: &[Cause] = match latest.failure.kind {
                    FailureKind::PeerDeleted => &[C::Collision, C::Lifetime],
                    FailureKind::Replaced { .. } => &[C::Collision, C::Lifetime, C::PeerDelete],
                    _ => &[],
                };
                causes.extend(more);
                verdict("flapping", Severity::Error, &causes, String::new())
            }
        };
        let places: Vec<IpAddr> = gone.iter().map(|tombstone| tombstone.sa.remote.ip()).collect();
        found.why = format!(
            "established again and again: {count} SAs ended, after {} on average; the latest: {}",
            seconds(all / count),
            latest.failure.kind
        );
        if places.windows(2).any(|pair| pair.first() != pair.last()) {
            found
                .evidence
                .push("from several addresses with one identity: each new SA puts an end to the other".into());
        }
        found.attempts = count;
        pace::tell(&mut found, self.connection, &self.sas, &self.ended);
        Some(found)
    }

    /// There is an SA: whether all that belongs to it is, too.
    fn established(&self, sa: &SaSnapshot) -> Finding {
        let wanted: Vec<&str> = match self.connection {
            Some(connection) => connection.children.iter().map(|child| child.name.as_str()).collect(),
            None => sa.configured_children.iter().map(String::as_str).collect(),
        };
        let newest = |name: &str| {
            let all = self.sas.iter().flat_map(|sa| &sa.children).filter(|child| child.name == name);
            all.filter(|child| carries(child.state)).map(|child| child.installed.unwrap_or_default()).min()
        };
        for tombstone in self.ended.iter().filter(|t| is_fault(t) && t.ended < RECENT) {
            let Some(child) = &tombstone.child else { continue };
            let Some(name) = wanted.iter().find(|name| *name == child) else { continue };
            let was_there = tombstone.sa.children.iter().any(|c| c.name == *child && carries(c.state));
            let Some(age) = newest(name) else {
                let mut found = kept("no-phase-2", Severity::Error, tombstone);
                if was_there {
                    perhaps_pfs(sa, &mut found);
                }
                found.why = format!("established, without its child '{name}': {}", found.why);
                found.attempts = self.count(|t| t.child.as_ref() == Some(child) && is_fault(t));
                return found;
            };
            if age > tombstone.ended {
                let mut found = kept("cannot-rekey", Severity::Error, tombstone);
                perhaps_pfs(sa, &mut found);
                found.why = format!("the child '{name}' is up and cannot be rekeyed: {}", found.why);
                return found;
            }
        }
        // An ordinary end only where something takes its place.
        let over = |t: &&&Tombstone| matches!(t.failure.kind, FailureKind::Expired) && t.ended < RECENT;
        for tombstone in self.ended.iter().filter(over) {
            let Some(child) = &tombstone.child else { continue };
            let Some(name) = wanted.iter().find(|name| *name == child && newest(name).is_none()) else { continue };
            let mut found = kept("expired", Severity::Warning, tombstone);
            found.why = format!("established, without its child '{name}': its lifetime ended before it was rekeyed");
            return found;
        }
        if sa.retransmissions.sent >= 2 {
            let sent = sa.retransmissions.sent;
            let mut found = verdict("peer-silent", Severity::Warning, &[C::DpdTimeout], "established, and silent now");
            found.evidence.push(format!("the request under way was sent again {sent} times"));
            if let Some(said) = &sa.suspicion {
                found.causes.insert(0, C::StaleSa);
                found.remedy.insert(0, C::StaleSa.remedy().into());
                found.evidence.push(unprotected(said));
            }
            return found;
        }
        let there = wanted.iter().filter(|name| newest(name).is_some()).count();
        if there < wanted.len() {
            let why = format!("established; {there} of {} children are there", wanted.len());
            let missing: Vec<&str> = wanted.iter().copied().filter(|name| newest(name).is_none()).collect();
            let last = |name: &&str| self.ended.iter().find(|t| t.child.as_deref() == Some(*name));
            let ends: Vec<_> = missing.iter().filter_map(last).collect();
            let meant =
                |t: &&&&Tombstone| t.failure.kind.is_wanted() || matches!(t.failure.kind, FailureKind::Inactive { .. });
            // What was there and ended as it was to needs only to be begun again.
            let known = ends.iter().filter(meant).count() == missing.len();
            let causes: &[Cause] = if known { &[C::NotStarted] } else { &[C::NotStarted, C::TrafficSelector] };
            let mut found = verdict("established", Severity::Info, causes, why);
            let told = |t: &&&Tombstone| {
                let name = t.child.as_deref().unwrap_or_default();
                format!("child '{name}' ended {} ago: {}", seconds(t.ended), t.failure.kind)
            };
            found.evidence.extend(ends.iter().map(told));
            return found;
        }
        let by = |role| self.sas.iter().any(|sa| up(sa) && sa.role == role && sa.state == IkeState::Established);
        if by(Role::Initiator) && by(Role::Responder) {
            let why = "established twice, begun by either end: one of them will go";
            return verdict("established", Severity::Info, &[C::Collision], why);
        }
        let age = sa.established.unwrap_or_default();
        let mut found = verdict(
            "established",
            Severity::Ok,
            &[],
            format!("established for {}, {}", seconds(age), several(there, "child", "children")),
        );
        if let Some(earlier) = self.ended.iter().find(|t| is_fault(t)) {
            found.severity = Severity::Info;
            found.evidence.push(format!("{} s ago, before: {}", earlier.ended.as_secs(), earlier.failure));
        }
        found
    }

    /// A peer for which there is a connection, of the other version only.
    fn other_version(&self, tombstone: &Tombstone, found: &mut Finding) {
        let (FailureKind::NoConfig { .. }, Some(connection)) = (&tombstone.failure.kind, self.connection) else {
            return;
        };
        let theirs = tombstone.sa.version;
        if let Some(ours) = connection.version.filter(|ours| *ours != theirs) {
            found.causes = vec![C::IkeVersion];
            let place = connection.version_at.as_ref().map(|place| format!(" [{place}]")).unwrap_or_default();
            let remedy = format!("set version = {theirs} in connections.{}, or {ours} at the peer{place}", self.name);
            found.remedy = vec![remedy.into()];
            found.why = format!("the peer speaks IKEv{theirs}, connection '{}' is for IKEv{ours}", self.name);
        }
    }

    fn count(&self, which: impl Fn(&Tombstone) -> bool) -> u32 {
        u32::try_from(self.ended.iter().filter(|t| which(t)).count()).unwrap_or(u32::MAX)
    }

    /// No SA is established.
    fn missing(&self, live: &Live) -> Finding {
        let trying = self.sas.iter().find(|sa| sa.state != IkeState::Created && !up(sa) && sa.established.is_none());
        let failed = self.ended.iter().find(|t| is_fault(t) && t.child.is_none());
        let latest = self.ended.iter().find(|t| t.child.is_none());
        // What failed before the last SA that was there is over.
        let current = failed.filter(|failed| {
            latest.is_none_or(|latest| {
                is_fault(latest) || failed.ended <= latest.ended || latest.sa.established.is_none()
            })
        });
        if let Some(tombstone) = current {
            let id = if tombstone.sa.established.is_some() { "peer-lost" } else { "never-established" };
            let mut found = kept(id, Severity::Error, tombstone);
            self.other_version(tombstone, &mut found);
            let lost =
                |t: &&&Tombstone| t.sa.established.is_some() && matches!(t.failure.kind, FailureKind::NoAnswer { .. });
            if let Some(lost) = self.ended.iter().find(lost).filter(|_| tombstone.sa.established.is_none()) {
                found.causes.insert(0, C::DpdTimeout);
                found.remedy.insert(0, C::DpdTimeout.remedy().into());
                found.why = format!("was established until {} ago, then: {}", seconds(lost.ended), found.why);
            }
            let times: Vec<Duration> = self.ended.iter().filter(|t| is_fault(t)).map(|t| t.ended).collect();
            found.attempts = u32::try_from(times.len()).unwrap_or(u32::MAX);
            if let [newest, .., oldest] = times.as_slice() {
                let gaps = u32::try_from(times.len() - 1).unwrap_or(u32::MAX);
                let period = oldest.saturating_sub(*newest) / gaps.max(1);
                found.evidence.push(format!("{} attempts, one about every {}", times.len(), seconds(period)));
            }
            found.evidence.extend(self.stray(live).map(of_stray));
            return found;
        }
        if let Some(sa) = trying {
            let mut found = self.trying(sa, live);
            found.evidence.extend(self.stray(live).map(of_stray));
            return found;
        }
        if let Some(stray) = self.stray(live) {
            return self.kept_by_peer(stray);
        }
        if let Some(tombstone) = latest.filter(|t| t.sa.established.is_some()) {
            let severity = match tombstone.failure.kind {
                FailureKind::PeerDeleted if self.starts() => Severity::Warning,
                // Somebody should have renewed it.
                FailureKind::Expired => Severity::Warning,
                _ => Severity::Info,
            };
            let mut found = kept("ended", severity, tombstone);
            found.why = format!("not up: {}", found.why);
            return found;
        }
        self.nothing(live)
    }

    /// What the peer goes on to send of an SA that is not here, long after the end of all that ever was here.
    fn stray<'a>(&self, live: &'a Live) -> Option<&'a Stray> {
        let over = self.ended.iter().map(|tombstone| tombstone.ended).min();
        let mut of_it = live.strays.iter().filter(|stray| stray.connections.iter().any(|name| name == self.name));
        of_it.find(|stray| stray.last < RECENT && over.is_none_or(|over| stray.last + LATE < over))
    }

    /// The peer has an SA, and we have none: so it is after a restart without a word.
    fn kept_by_peer(&self, stray: &Stray) -> Finding {
        let why = "no SA here, and the peer uses one that it had with us: this daemon lost it, as by a restart";
        let mut found = verdict("lost-here", Severity::Warning, &[C::StaleSa], why);
        let children = self.connection.map(|c| c.children.as_slice()).unwrap_or_default();
        let begin = children.first().map_or_else(
            || "begin it from here".to_string(),
            |child| format!("begin it from here (swanctl --initiate --child {})", child.name),
        );
        if let Some(line) = found.remedy.first_mut() {
            *line = format!(
                "{begin}: the peer learns by INITIAL-CONTACT that its SA is void; or delete {} at the peer; let the peer \
                 check for dead peers (dpd_delay)",
                stray.sa
            )
            .into();
        }
        found.evidence.push(of_stray(stray));
        found
    }

    /// Whether the daemon should have begun by itself.
    fn starts(&self) -> bool {
        self.connection.is_some_and(|c| c.children.iter().any(|child| child.starts == Some(true)))
    }

    /// A negotiation is under way.
    fn trying(&self, sa: &SaSnapshot, live: &Live) -> Finding {
        let secret = matches!(sa.authentication, "pre-shared-key" | "unknown");
        let again = sa.retransmissions;
        let mut observed = None;
        let (mut causes, why) = match (sa.waiting_for, sa.role) {
            (Some(waiting @ (RuleId::MainMode6 | RuleId::MainMode6Signature)), Role::Initiator) => {
                let (causes, evidence) = without_message_6(sa, sa.remote.port(), secret);
                observed = Some(evidence);
                (causes, rule(waiting).story.to_string())
            }
            (Some(waiting), Role::Initiator) => {
                (unanswered(waiting, sa.remote.port(), secret), rule(waiting).story.to_string())
            }
            (Some(waiting), Role::Responder) => {
                (half_open(sa, waiting, again.answered), rule(waiting).story.to_string())
            }
            // Another daemon: whether the responder's SPI is there is all that it says.
            (None, Role::Initiator) if sa.spis.responder.is_zero() => {
                let rule_of = if sa.version == 1 { RuleId::MainMode2 } else { RuleId::IkeSaInitResponse };
                (unanswered(rule_of, sa.remote.port(), secret), rule(rule_of).story.to_string())
            }
            (None, Role::Initiator) => {
                let waiting = if sa.version == 1 { RuleId::MainMode6 } else { RuleId::IkeAuthResponse };
                (unanswered(waiting, sa.remote.port(), secret), "answered, and not established".to_string())
            }
            (None, Role::Responder) => {
                let waiting = if sa.version == 1 { RuleId::MainMode5 } else { RuleId::IkeAuthRequest };
                (half_open(sa, waiting, again.answered), "answered, and not established".to_string())
            }
        };
        // The peer's word, though anybody can have said it: it answers, and this is likely why not otherwise.
        let said = sa.suspicion.as_deref();
        let meant: &[Cause] = match said {
            Some("NO_PROPOSAL_CHOSEN" | "ATTRIBUTES_NOT_SUPPORTED" | "BAD_PROPOSAL_SYNTAX") => &[C::Phase1Proposal],
            Some("INVALID_ID_INFORMATION") => &[C::PeerId],
            Some("INVALID_EXCHANGE_TYPE" | "UNSUPPORTED_EXCHANGE_TYPE") => &[C::NegotiationMode],
            Some("INVALID_MAJOR_VERSION" | "INVALID_MINOR_VERSION") => &[C::IkeVersion],
            Some(DELETED) => &[C::PeerDelete],
            Some(_) if secret => &[C::PskMismatch, C::PeerId, C::AuthFailed],
            Some(_) => &[C::AuthFailed, C::PeerId],
            None => &[],
        };
        if said.is_some() {
            causes.retain(|cause| !meant.contains(cause) && *cause != C::NoResponse);
            causes.splice(0..0, meant.iter().copied());
        }
        // Repetitions are not counted: one request may have been sent a moment ago.
        let counted = self.counted(live, 2);
        if let Some((counted, _)) = &counted {
            causes.retain(|cause| !counted.contains(cause));
            causes.splice(0..0, counted.iter().copied());
        }
        let severity = match again.sent.max(again.answered) {
            0 | 1 if said.is_some() => Severity::Warning,
            0 | 1 if counted.is_none() => Severity::Info,
            2.. => Severity::Error,
            _ => Severity::Warning,
        };
        let id = if severity == Severity::Info { "negotiating" } else { "never-established" };
        let mut found = verdict(id, severity, &causes, why);
        found.evidence.push(format!(
            "begun {} ago; the request was sent again {} times, an answer {} times",
            seconds(sa.age),
            again.sent,
            again.answered
        ));
        found.evidence.extend(said.map(|said| match said {
            UNREADABLE if sa.role == Role::Responder => "the peer's proof came and cannot be decrypted".to_string(),
            said => unprotected(said),
        }));
        found.evidence.extend(counted.map(|(_, evidence)| evidence));
        found.evidence.extend(observed);
        found
    }

    /// What the counters of messages say about a connection that is not up, and how they stand. IKEv2 only: nobody
    /// counts IKEv1's messages. `least` requests without an answer say something.
    fn counted(&self, live: &Live, least: u64) -> Option<(&'static [Cause], String)> {
        let counters = live.counters.get(self.name).filter(|_| !live.remembers && !self.name.is_empty())?;
        let of = |name: &str| counters.get(name).copied().unwrap_or(0);
        let init = (of("ike-init-out-req"), of("ike-init-in-resp"));
        let auth = (of("ike-auth-out-req"), of("ike-auth-in-resp"));
        let causes: &[Cause] = match (init, auth) {
            ((0, _), _) if of("ike-auth-in-req") > 0 => &[C::PskMismatch, C::PeerId, C::AuthFailed],
            ((0, _), _) => return None,
            ((sent, 0), _) if sent < least => return None,
            ((_, 0), _) => &[C::NoResponse, C::NoConfig, C::IkeVersion],
            (_, (0, _)) => &[C::Phase1Proposal, C::NoConfig, C::DhGroup],
            (_, (_, 0)) => &[C::NatTraversal, C::PskMismatch, C::Phase1Timeout],
            _ => &[C::PskMismatch, C::PeerId, C::AuthFailed],
        };
        let evidence = format!(
            "counted: IKE_SA_INIT sent {} times, answered {}; IKE_AUTH sent {} times, answered {}",
            init.0, init.1, auth.0, auth.1
        );
        Some((causes, evidence))
    }

    /// Nothing is there, and nothing was.
    fn nothing(&self, live: &Live) -> Finding {
        if let Some((causes, evidence)) = self.counted(live, 1) {
            let why = "not up, and every attempt so far came to nothing";
            let mut found = verdict("never-established", Severity::Error, causes, why);
            found.evidence.push(evidence);
            found.evidence.push("this daemon does not remember why: its log says more (shrike diagnose --log)".into());
            return found;
        }
        let anywhere = self.connection.is_none_or(|c| c.remote_addrs.iter().all(|a| a.parse::<IpAddr>().is_err()));
        if anywhere {
            return verdict("waiting", Severity::Info, &[], "no SA: waits for peers from anywhere");
        }
        if self.connection.is_some_and(|c| c.children.iter().any(|child| child.trapped)) && !self.starts() {
            let why = "no SA: waits for traffic that needs it";
            let mut found = verdict("waiting", Severity::Info, &[C::NotStarted], why);
            if let Some(line) = found.remedy.first_mut() {
                *line =
                    "if traffic should have come: check that its route, source and destination are those of the trap"
                        .into();
            }
            return found;
        }
        let why = if self.starts() { "never begun, although it starts by itself" } else { "never begun by either end" };
        let long = live.running.is_some_and(|running| running >= LONG);
        let severity = if self.starts() || long { Severity::Warning } else { Severity::Info };
        let mut found = verdict("not-started", severity, &[C::NotStarted], why);
        if let Some(running) = live.running {
            found.evidence.push(format!("the daemon runs for {}, and this connection had no SA", seconds(running)));
        }
        found
    }

    /// Packets go out and none come back.
    fn one_way(&self) -> Option<Finding> {
        let children = self.sas.iter().filter(|sa| up(sa)).flat_map(|sa| &sa.children);
        let mut deaf = children.filter(|child| {
            let long = child.installed.is_some_and(|installed| installed >= ONE_WAY);
            long && child.counters.packets_in == 0 && child.counters.packets_out >= PACKETS
        });
        let Some(child) = deaf.next() else { return self.gone_silent() };
        let why = format!("'{}' is up, and nothing comes back through it", child.name);
        let mut found = verdict("one-way", Severity::Warning, &[C::NatTraversal, C::TrafficSelector], why);
        found.evidence.push(format!("{} packets out, none in", child.counters.packets_out));
        let first = if child.encapsulated {
            "let UDP port 4500 pass in both directions, and see whether the host behind the peer answers"
        } else {
            "let ESP (IP protocol 50) pass, or set encap = yes; and see whether the host behind the peer answers"
        };
        if let Some(line) = found.remedy.first_mut() {
            *line = first.into();
        }
        Some(found)
    }

    /// Packets go out now, and the last one that came in is long ago: information, for what is sent may want no answer.
    fn gone_silent(&self) -> Option<Finding> {
        let mut children = self.sas.iter().filter(|sa| up(sa)).flat_map(|sa| &sa.children);
        let (child, quiet) = children.find_map(|child| {
            let counters = &child.counters;
            let (quiet, sent) = (counters.idle_in?, counters.idle_out?);
            let silent = carries(child.state) && quiet >= SILENT && sent < ONE_WAY && counters.packets_out >= PACKETS;
            silent.then_some((child, quiet))
        })?;
        let why = format!("'{}' sends, and has received nothing for {}", child.name, seconds(quiet));
        let mut found = verdict("one-way", Severity::Info, &[C::StaleSa, C::NatTraversal], why);
        found.evidence.push(format!(
            "{} packets out, {} in, the last one {} ago",
            child.counters.packets_out,
            child.counters.packets_in,
            seconds(quiet)
        ));
        Some(found)
    }
}
