//! Verdicts on probes: packets that were sent through a Child SA on purpose, and what came back.

use crate::{Cause, Finding, Severity};
use Cause as C;
use model::{Live, Probe, ProbeOutcome, SendTrouble};
use std::time::Duration;

/// An older result says nothing about now.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// The time of an answer, with as many digits as matter.
fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// What a probe says by itself.
pub fn probed(probe: &Probe) -> Finding {
    let Probe { child, .. } = probe;
    let to = probe.to.map_or_else(|| "the peer's network".to_string(), |to| to.to_string());
    // Nobody promised that the first address of a network is a host's, and that it answers.
    let doubt = if probe.named { Severity::Warning } else { Severity::Info };
    let (severity, causes, why, remedy): (Severity, &[Cause], String, String) = match &probe.outcome {
        ProbeOutcome::Answers { silent: Some(silent), largest, limit, .. } => (
            Severity::Warning,
            &[C::PathMtu],
            format!(
                "'{child}' carries packets of up to {largest} octets and none of {silent} or more, without a word (to {to}): \
                 a black hole for what is longer"
            ),
            format!(
                "set the MTU of what leads into the tunnel to {largest} instead of {limit} (ip link set dev ... mtu {largest}, or \
                 ip route ... mtu {largest}), or clamp the MSS of TCP to {}; and let ICMP's \"packet too big\" reach both gateways",
                largest.saturating_sub(if probe.to.is_some_and(|to| to.is_ipv6()) { 60 } else { 40 })
            ),
        ),
        ProbeOutcome::Answers { largest, round_trip, .. } => (
            Severity::Ok,
            &[],
            format!(
                "'{child}' carries packets of up to {largest} octets, {to} answers after {}",
                milliseconds(*round_trip)
            ),
            String::new(),
        ),
        ProbeOutcome::NoAnswer { .. } if probe.outbound == Some(0) => (
            Severity::Warning,
            &[C::TrafficSelector],
            format!("nothing that is sent to {to} gets into '{child}': packets go past the tunnel"),
            format!(
                "see where they go (ip route get {to} from {}, ip rule, ip xfrm policy), and that no mark or interface of the \
                 child keeps them out",
                probe.local.map_or_else(|| "OUR-ADDRESS".to_string(), |local| local.to_string())
            ),
        ),
        ProbeOutcome::NoAnswer { unreachable: Some(by) } if Some(*by) == probe.to => (
            doubt,
            &[],
            format!("'{child}' carries packets in both directions, and {to} refuses pings with an error"),
            format!(
                "let the packet filter of {to} accept echo requests, or probe another host (probe_to, shrike probe --to)"
            ),
        ),
        ProbeOutcome::NoAnswer { unreachable: Some(by) } => (
            doubt,
            &[],
            format!("'{child}' is up, and {by} reports that {to} cannot be reached"),
            format!(
                "see whether {to} is up, or probe another host (probe_to, shrike probe --to); {by} has the route to it"
            ),
        ),
        ProbeOutcome::NoAnswer { .. } if probe.inbound.is_some_and(|inbound| inbound > 0) => (
            doubt,
            &[],
            format!("'{child}' carries packets in both directions, and {to} does not answer"),
            format!("see whether {to} is up and answers pings, or probe another host (probe_to, shrike probe --to)"),
        ),
        ProbeOutcome::NoAnswer { .. } => (
            doubt,
            &[C::NatTraversal, C::TrafficSelector, C::StaleSa],
            match probe.outbound {
                Some(_) => format!("'{child}' takes what is sent to {to}, and nothing comes back through it"),
                None => format!("'{child}' is up, and nothing comes back from {to}"),
            },
            format!(
                "ask the peer whether its inbound counter of this Child SA grows: if not, ESP is lost on the way there (let IP \
                 protocol 50, or UDP port 4500, pass); if it does, see at the peer whether {to} answers, has a route back to {}, \
                 and whether its outbound counter grows",
                probe.local.map_or_else(|| probe.local_ts.clone(), |local| local.to_string())
            ),
        ),
        ProbeOutcome::NoLocalAddress => (
            Severity::Info,
            &[C::TrafficSelector],
            format!("'{child}' cannot be probed from here: this host has no address within {}", probe.local_ts),
            format!(
                "give it one (ip address add ... dev lo), or ping {to} from a host within {}; if this host should have one, \
                 correct local_ts",
                probe.local_ts
            ),
        ),
        ProbeOutcome::NoTarget => (
            Severity::Info,
            &[C::TrafficSelector],
            format!("'{child}' cannot be probed: its selectors {} have no place for ICMP", probe.remote_ts),
            "probe it with the protocol that it is for, or let its selectors have ICMP too".to_string(),
        ),
        ProbeOutcome::OutsideSelectors => (
            Severity::Warning,
            &[C::TrafficSelector],
            format!("{to} is not behind '{child}': what the ends agreed upon is {}", probe.remote_ts),
            format!(
                "name an address within {} (probe_to, shrike probe --to), or let remote_ts have {to}",
                probe.remote_ts
            ),
        ),
        ProbeOutcome::NoSocket(why) => (
            Severity::Info,
            &[],
            format!("'{child}' cannot be probed: {why}"),
            "give the daemon what it lacks, or leave probe_every out".to_string(),
        ),
        ProbeOutcome::CannotSend(trouble) => (
            Severity::Warning,
            match trouble {
                SendTrouble::NetworkUnreachable | SendTrouble::HostUnreachable => &[C::TrafficSelector],
                SendTrouble::TooLong => &[C::PathMtu],
                _ => &[],
            },
            format!("packets to {to} do not leave for '{child}': {}", sending(*trouble)),
            format!(
                "see the route (ip route get {to}), and this host's packet filter (nft list ruleset, iptables -L OUTPUT)"
            ),
        ),
    };
    let mut evidence = Vec::new();
    if let (Some(local), Some(to)) = (probe.local, probe.to) {
        let guessed = if probe.named { "" } else { " (its first address: nobody named one that answers)" };
        evidence.push(format!("probed {} s ago from {local} to {to}{guessed}", probe.ago.as_secs()));
    }
    if probe.sent > 0 {
        let grown = match (probe.outbound, probe.inbound) {
            (Some(out), Some(back)) => format!("; meanwhile the Child SA took {out} packets and delivered {back}"),
            _ => String::new(),
        };
        evidence.push(format!("{} requests sent, {} answers{grown}", probe.sent, probe.answers));
    }
    if let ProbeOutcome::Answers { limit, too_long, round_trip, .. } = &probe.outcome {
        let told = if *too_long > 0 { format!(", {too_long} reported to be too long") } else { String::new() };
        evidence.push(format!("tried up to {limit} octets{told}; round trip {}", milliseconds(*round_trip)));
    }
    let remedies = causes.iter().skip(1).map(|cause| cause.remedy().into());
    Finding {
        id: "probe",
        peer: probe.peer.to_string(),
        severity,
        since: 0,
        attempts: 1,
        causes: causes.to_vec(),
        why,
        evidence,
        remedy: std::iter::once(remedy.into()).filter(|_| severity > Severity::Ok).chain(remedies).collect(),
    }
}

/// What sending says of a packet for a tunnel: for the words of [`SendTrouble`] are about peers.
fn sending(trouble: SendTrouble) -> &'static str {
    match trouble {
        SendTrouble::NetworkUnreachable => "this host has no route for them",
        SendTrouble::HostUnreachable => "their route says that nobody is there",
        SendTrouble::NotPermitted => "a packet filter of this host drops them",
        SendTrouble::TooLong => "even short ones are too long for the route",
        SendTrouble::NoBuffers => "the interface's queue is full",
        SendTrouble::NoSuchSource => "the source address is gone",
        SendTrouble::PortUnreachable | SendTrouble::Other => "the operating system refuses",
    }
}

/// Has the findings about a running daemon say what its probes found: what is in order as evidence of its connection's
/// finding, all else as findings of their own.
pub(crate) fn tell(live: &Live, findings: &mut Vec<Finding>) {
    for probe in live.probes.iter().filter(|probe| probe.ago < STALE) {
        let mut found = probed(probe);
        let of = |sa: &&model::SaSnapshot| sa.name == probe.connection && sa.remote.ip() == probe.peer;
        if let Some(sa) = live.sas.iter().find(of) {
            found.peer = format!("{} -> {}", sa.local.ip(), sa.remote.ip());
        }
        let named = format!("connection '{}'", probe.connection);
        if found.severity == Severity::Ok {
            let main = findings.iter_mut().find(|f| f.evidence.first() == Some(&named) && f.severity <= Severity::Info);
            main.into_iter().for_each(|main| main.evidence.push(found.why.clone()));
            continue;
        }
        // Counters alone are a guess at what a probe has seen.
        if found.severity >= Severity::Warning {
            findings.retain(|f| {
                f.id != "one-way" || f.evidence.first() != Some(&named) || found.causes.first() != f.causes.first()
            });
        }
        found.evidence.insert(0, named);
        findings.push(found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(outcome: ProbeOutcome) -> Probe {
        Probe {
            connection: "gw".into(),
            child: "net".into(),
            peer: [192, 0, 2, 2].into(),
            local_ts: "10.1.0.0/16".into(),
            remote_ts: "10.2.0.0/16".into(),
            local: Some([10, 1, 0, 1].into()),
            to: Some([10, 2, 0, 1].into()),
            named: true,
            outcome,
            sent: 3,
            answers: 0,
            outbound: Some(3),
            inbound: Some(0),
            ago: Duration::from_secs(7),
        }
    }

    fn answers(silent: Option<u32>) -> ProbeOutcome {
        let largest = if silent.is_some() { 1246 } else { 1400 };
        ProbeOutcome::Answers { round_trip: Duration::from_micros(1500), largest, silent, limit: 1400, too_long: 0 }
    }

    #[test]
    fn each_outcome_says_what_is_broken_and_what_to_do() {
        let silent = || ProbeOutcome::NoAnswer { unreachable: None };
        for (probe, severity, cause, why, remedy) in [
            (probe(answers(None)), Severity::Ok, None, "up to 1400 octets, 10.2.0.1 answers after 1.5 ms", ""),
            (
                probe(answers(Some(1247))),
                Severity::Warning,
                Some(C::PathMtu),
                "up to 1246 octets and none of 1247",
                "MSS of TCP to 1206",
            ),
            (probe(silent()), Severity::Warning, Some(C::NatTraversal), "nothing comes back", "route back to 10.1.0.1"),
            (
                Probe { named: false, ..probe(silent()) },
                Severity::Info,
                Some(C::NatTraversal),
                "nothing comes back",
                "protocol 50",
            ),
            (
                Probe { outbound: Some(0), ..probe(silent()) },
                Severity::Warning,
                Some(C::TrafficSelector),
                "past the tunnel",
                "ip route get 10.2.0.1 from 10.1.0.1",
            ),
            (
                Probe { inbound: Some(2), ..probe(silent()) },
                Severity::Warning,
                None,
                "in both directions, and 10.2.0.1 does not answer",
                "answers pings",
            ),
            (
                probe(ProbeOutcome::NoAnswer { unreachable: Some([10, 2, 0, 254].into()) }),
                Severity::Warning,
                None,
                "10.2.0.254 reports that 10.2.0.1 cannot be reached",
                "probe_to",
            ),
            (
                probe(ProbeOutcome::NoAnswer { unreachable: Some([10, 2, 0, 1].into()) }),
                Severity::Warning,
                None,
                "10.2.0.1 refuses pings",
                "packet filter of 10.2.0.1",
            ),
            (
                probe(ProbeOutcome::NoLocalAddress),
                Severity::Info,
                Some(C::TrafficSelector),
                "no address within 10.1.0.0/16",
                "dev lo",
            ),
            (probe(ProbeOutcome::NoTarget), Severity::Info, Some(C::TrafficSelector), "no place for ICMP", "protocol"),
            (
                probe(ProbeOutcome::OutsideSelectors),
                Severity::Warning,
                Some(C::TrafficSelector),
                "not behind 'net'",
                "within 10.2.0.0/16",
            ),
            (
                probe(ProbeOutcome::NoSocket("not permitted".into())),
                Severity::Info,
                None,
                "cannot be probed: not permitted",
                "probe_every",
            ),
            (
                probe(ProbeOutcome::CannotSend(SendTrouble::NetworkUnreachable)),
                Severity::Warning,
                Some(C::TrafficSelector),
                "no route",
                "ip route get",
            ),
        ] {
            let found = probed(&probe);
            assert_eq!((found.severity, found.causes.first().copied()), (severity, cause), "{found:?}");
            assert!(found.why.contains(why), "{}", found.why);
            assert_eq!(found.remedy.is_empty(), remedy.is_empty());
            assert!(found.remedy.first().is_none_or(|line| line.contains(remedy)), "{:?}", found.remedy);
            assert_eq!(found.remedy.len(), found.causes.len().max(usize::from(severity > Severity::Ok)));
        }
        let told = probed(&probe(silent()));
        let unknown = Probe { outbound: None, inbound: None, ..probe(silent()) };
        assert!(probed(&unknown).why.contains("nothing comes back from 10.2.0.1"));
        assert!(
            told.evidence
                .contains(&"3 requests sent, 0 answers; meanwhile the Child SA took 3 packets and delivered 0".into()),
            "{told:?}"
        );
    }

    /// What is in order is no finding of its own; what is not is one, and takes the place of what counters made one guess.
    #[test]
    fn a_live_diagnosis_knows_the_result() {
        let connection = || Finding { evidence: vec!["connection 'gw'".into()], ..probed(&probe(answers(None))) };
        let one_way =
            || Finding { id: "one-way", causes: vec![C::NatTraversal], severity: Severity::Warning, ..connection() };
        let told = |probe: Probe, mut findings: Vec<Finding>| {
            tell(&Live { probes: vec![probe], ..Live::default() }, &mut findings);
            findings
        };
        let found = told(probe(answers(None)), vec![connection()]);
        assert_eq!(found.len(), 1);
        assert!(found[0].evidence[1].contains("carries packets of up to 1400 octets"), "{found:?}");
        let found = told(probe(answers(Some(1247))), vec![connection()]);
        assert_eq!(
            (found.len(), found[1].causes.as_slice(), found[1].evidence[0].as_str()),
            (2, &[C::PathMtu][..], "connection 'gw'")
        );
        let found = told(probe(ProbeOutcome::NoAnswer { unreachable: None }), vec![connection(), one_way()]);
        assert_eq!(found.iter().map(|f| f.id).collect::<Vec<_>>(), ["probe", "probe"]);
        let old = Probe { ago: STALE, ..probe(answers(Some(1247))) };
        assert_eq!(told(old, vec![connection()]).len(), 1);
    }
}
