//! Findings of several sources about the same peer, made one.
//!
//! A capture, a listing and a log each see a part: the listing that an SA is stuck, the capture that message 5 gets no
//! answer, the responder's log why. A cause that more than one of them names comes first.

use crate::{Cause, Finding, Severity};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// So many lines of evidence of each source are kept.
const EVIDENCE: usize = 6;

/// What one source gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sourced {
    /// What it is called in the evidence: the file's name.
    pub source: String,
    /// What it gave.
    pub findings: Vec<Finding>,
}

/// One finding for each peer that more than one source knows; the others as they are. Peers are in order of appearance.
pub fn merged(sources: Vec<Sourced>) -> Vec<Finding> {
    if sources.len() < 2 {
        return sources.into_iter().flat_map(|sourced| sourced.findings).collect();
    }
    let names: Vec<String> = sources.iter().map(|sourced| sourced.source.clone()).collect();
    let all = sources.into_iter().enumerate().flat_map(|(at, s)| s.findings.into_iter().map(move |f| (at, f)));
    let (pairs, others): (Vec<_>, Vec<_>) =
        all.map(|(at, finding)| (at, ends(&finding.peer), finding)).partition(|(_, ends, _)| ends.len() == 2);
    let mut groups: Vec<Vec<(usize, Finding)>> = Vec::new();
    // A group by its ends, or its name where it has none; and the groups that an address is in.
    let mut known: BTreeMap<(BTreeSet<IpAddr>, String), usize> = BTreeMap::new();
    let mut with: BTreeMap<IpAddr, BTreeSet<usize>> = BTreeMap::new();
    for (at, ends, finding) in pairs.into_iter().chain(others) {
        let name = if ends.is_empty() { finding.peer.clone() } else { String::new() };
        // Where only the peer is known, it belongs to the pair that has it, if there is one.
        let alone = ends.first().filter(|_| ends.len() == 1).and_then(|address| with.get(address));
        let only = alone.filter(|groups| groups.len() == 1).and_then(|groups| groups.first().copied());
        let key = (ends, name);
        let group = known.get(&key).copied().or(only).unwrap_or(groups.len());
        match groups.get_mut(group) {
            Some(members) => members.push((at, finding)),
            None => {
                key.0.iter().for_each(|address| _ = with.entry(*address).or_default().insert(group));
                known.insert(key, group);
                groups.push(vec![(at, finding)]);
            }
        }
    }
    groups.into_iter().flat_map(apart).flat_map(|members| one(members, &names)).collect()
}

/// What sources say about one pair of ends, cut where it is about different things: faults of another kind that have no cause
/// in common. What is no fault goes with the first.
fn apart(members: Vec<(usize, Finding)>) -> Vec<Vec<(usize, Finding)>> {
    let (mut faults, rest): (Vec<_>, Vec<_>) = members.into_iter().partition(|(_, f)| f.severity > Severity::Info);
    // The surest first: it has the fewest causes.
    faults.sort_by_key(|(_, finding)| (std::cmp::Reverse(finding.severity), finding.causes.len()));
    let mut groups: Vec<Vec<(usize, Finding)>> = Vec::new();
    for (at, fault) in faults {
        let akin = |(_, other): &(usize, Finding)| {
            other.id == fault.id || other.causes.iter().any(|cause| fault.causes.contains(cause))
        };
        match groups.iter_mut().find(|group| group.iter().any(akin)) {
            Some(group) => group.push((at, fault)),
            None => groups.push(vec![(at, fault)]),
        }
    }
    match groups.first_mut() {
        Some(first) => first.extend(rest),
        None => groups.push(rest),
    }
    groups
}

/// The addresses in `A -> B`, `A:500 -> B:500` or `B`; not those of this host's own loops, by which a proxy hides an end.
fn ends(peer: &str) -> BTreeSet<IpAddr> {
    let address = |text: &str| {
        let text = text.trim().split('%').next().unwrap_or_default();
        text.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
    };
    peer.split(" -> ").filter_map(address).filter(|address| !address.is_loopback()).collect()
}

/// All findings about one pair of ends, as one if several sources gave them.
fn one(mut members: Vec<(usize, Finding)>, names: &[String]) -> Vec<Finding> {
    let sources: BTreeSet<usize> = members.iter().map(|(at, _)| *at).collect();
    if sources.len() < 2 {
        return members.into_iter().map(|(_, finding)| finding).collect();
    }
    // The worst first, and of these the one that is surest.
    members.sort_by_key(|(_, finding)| (std::cmp::Reverse(finding.severity), finding.causes.len()));
    let Some((_, mut lead)) = members.first().cloned() else { return Vec::new() };
    let faulty = lead.severity > Severity::Info;
    let telling = |finding: &Finding| !faulty || finding.severity > Severity::Info;
    let mut causes: Vec<(usize, Cause)> = Vec::new();
    for cause in members.iter().filter(|(_, f)| telling(f)).flat_map(|(_, f)| f.causes.iter().copied()) {
        if !causes.iter().any(|(_, known)| *known == cause) {
            let naming: BTreeSet<usize> =
                members.iter().filter(|(_, f)| telling(f) && f.causes.contains(&cause)).map(|(at, _)| *at).collect();
            causes.push((naming.len(), cause));
        }
    }
    // One cause alone is said by who knows; several are what is possible.
    let known = |cause: &Cause| members.iter().any(|(_, f)| f.severity == Severity::Error && f.causes == [*cause]);
    // Of those that as many name, the one that they think likelier.
    let place = |cause: &Cause| -> usize {
        members.iter().filter(|(_, f)| telling(f)).filter_map(|(_, f)| f.causes.iter().position(|c| c == cause)).sum()
    };
    causes.sort_by_key(|(sources, cause)| (!known(cause), std::cmp::Reverse(*sources), place(cause)));
    lead.causes = causes.into_iter().map(|(_, cause)| cause).collect();
    // Who names a cause may know what to change for it: more than the cause by itself says.
    let special = |cause: &Cause| {
        let lines = members.iter().flat_map(|(_, f)| f.causes.iter().zip(&f.remedy));
        lines.filter(|(named, _)| *named == cause).map(|(_, line)| line).find(|line| *line != cause.remedy()).cloned()
    };
    lead.remedy = lead.causes.iter().map(|cause| special(cause).unwrap_or_else(|| cause.remedy().into())).collect();
    lead.evidence.clear();
    for (at, finding) in &members {
        let source = names.get(*at).map_or("", String::as_str);
        lead.evidence.push(format!("{source}: {}", finding.why));
        lead.evidence.extend(finding.evidence.iter().take(EVIDENCE).map(|line| format!("{source}: {line}")));
        lead.attempts = lead.attempts.max(finding.attempts);
        if finding.since > 0 && (lead.since == 0 || finding.since < lead.since) {
            lead.since = finding.since;
        }
        if ends(&finding.peer).len() == 2 && ends(&lead.peer).len() < 2 {
            lead.peer.clone_from(&finding.peer);
        }
    }
    vec![lead]
}

#[cfg(test)]
mod tests {
    use super::*;
    use Cause as C;

    fn sourced(source: &str, peer: &str, severity: Severity, causes: &[Cause]) -> Sourced {
        let remedy = causes.iter().map(|cause| cause.remedy().into()).collect();
        let (peer, causes, why) = (peer.to_string(), causes.to_vec(), format!("{source} says so"));
        let evidence = vec!["seen".to_string()];
        let finding =
            Finding { id: "never-established", peer, severity, since: 0, attempts: 1, causes, why, evidence, remedy };
        Sourced { source: source.to_string(), findings: vec![finding] }
    }

    #[test]
    fn what_several_sources_name_comes_first() {
        let found = merged(vec![
            sourced("listing", "10.9.0.2", Severity::Warning, &[C::NoResponse, C::Phase1Proposal, C::NoConfig]),
            sourced("log", "10.9.0.2 -> 10.9.0.1", Severity::Error, &[C::Phase1Proposal]),
            sourced("capture", "10.9.0.1:500 -> 10.9.0.2:500", Severity::Error, &[C::Phase1Proposal, C::NoConfig]),
            sourced("capture", "10.9.0.1:500 -> 10.9.0.3:500", Severity::Ok, &[]),
        ]);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].causes, [C::Phase1Proposal, C::NoConfig, C::NoResponse]);
        assert_eq!((found[0].severity, found[0].remedy.len()), (Severity::Error, 3));
        assert_eq!(found[0].evidence.iter().filter(|line| line.ends_with("says so")).count(), 3);
    }

    #[test]
    fn other_faults_of_a_pair_stay_apart() {
        let of = |id, source: &str, severity, causes: &[Cause]| {
            let mut sourced = sourced(source, "10.9.0.2", severity, causes);
            sourced.findings[0].id = id;
            sourced
        };
        let found = merged(vec![
            of("never-established", "listing", Severity::Error, &[C::NoResponse, C::NoConfig]),
            of("no-phase-2", "log", Severity::Error, &[C::TrafficSelector]),
            of("no-phase-2", "capture", Severity::Warning, &[C::ChildFailed]),
            of("established", "later", Severity::Ok, &[]),
        ]);
        let causes: Vec<&[Cause]> = found.iter().map(|finding| finding.causes.as_slice()).collect();
        assert_eq!(causes, [&[C::TrafficSelector, C::ChildFailed][..], &[C::NoResponse, C::NoConfig]]);
        // The same fault under two names is one.
        let found = merged(vec![
            of("lost", "listing", Severity::Error, &[C::NoResponse, C::DpdTimeout]),
            of("peer-lost", "log", Severity::Error, &[C::DpdTimeout]),
        ]);
        assert_eq!((found.len(), found[0].causes[0]), (1, C::DpdTimeout));
    }

    #[test]
    fn other_peers_stay_apart() {
        let found = merged(vec![
            sourced("a", "192.0.2.1 -> 10.9.0.2", Severity::Error, &[C::NoResponse]),
            sourced("b", "10.9.0.3", Severity::Ok, &[]),
            sourced("b", "\"name\"", Severity::Error, &[C::PskMismatch]),
            sourced("c", "127.0.0.1 -> 10.9.0.2", Severity::Error, &[C::NoResponse]),
        ]);
        let peers: Vec<&str> = found.iter().map(|finding| finding.peer.as_str()).collect();
        assert_eq!(peers, ["192.0.2.1 -> 10.9.0.2", "10.9.0.3", "\"name\""]);
    }
}
