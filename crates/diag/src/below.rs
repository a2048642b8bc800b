//! What goes wrong below the protocol: what the operating system, and by ICMP routers and hosts, said of datagrams that were
//! sent, and a data plane that is not as it was set up, or drops packets.

use crate::{Cause, Finding, Severity};
use Cause as C;
use model::{Live, PlaneFault, SendError, SendTrouble, StraySa};
use std::net::SocketAddr;
use std::time::Duration;

/// So many dropped packets are no accident: when an SA goes, some are under way.
const MANY: u64 = 20;

/// The latest trouble with what is sent to this address within this time.
pub(crate) fn latest(live: &Live, to: SocketAddr, within: Duration) -> Option<&SendError> {
    let recent = live.send_errors.iter().filter(|error| error.to == to && error.last <= within);
    recent.min_by_key(|error| error.last)
}

/// Has a finding about an answer that does not come say what became of the request. A refusal of the peer, and whatever else
/// is known of it, is left as it is.
pub(crate) fn explain(found: &mut Finding, error: &SendError) {
    const SILENT: [Cause; 4] = [C::NoResponse, C::DpdTimeout, C::NatTraversal, C::Phase1Timeout];
    if found.severity == Severity::Ok || !found.causes.iter().any(|cause| SILENT.contains(cause)) {
        return;
    }
    // Some of it arrived before: what is blocked is the other port.
    let other_port = error.to.port() == 4500 && found.causes.contains(&C::NatTraversal);
    let remedy = remedy(error);
    match found.causes.first() {
        Some(C::DpdTimeout | C::StaleSa) => found.remedy.insert(0, remedy.into()),
        _ if other_port => put_first(found, C::NatTraversal, remedy),
        _ => put_first(found, C::NoResponse, remedy),
    }
    // An attempt is not worth a warning in its first seconds; one that cannot succeed is.
    if found.severity == Severity::Info && found.id == "negotiating" {
        (found.id, found.severity) = ("never-established", Severity::Warning);
    }
    found.why = format!("{}; sending: {}", found.why, error.trouble);
    found.evidence.push(evidence(error));
}

/// The same of packets of a Child SA that do not come back.
pub(crate) fn explain_one_way(found: &mut Finding, error: &SendError) {
    put_first(found, C::NatTraversal, remedy(error));
    found.why = format!("{}; sending: {}", found.why, error.trouble);
    found.evidence.push(evidence(error));
}

fn evidence(error: &SendError) -> String {
    let by = match error.reporter {
        Some(reporter) => format!(", as {reporter} reports (unprotected: anybody on the path can say so)"),
        None => String::new(),
    };
    format!(
        "sending {}to {}: {}, {} times, the latest {} s ago{by}",
        if error.to.port() == 0 { "ESP " } else { "" },
        if error.to.port() == 0 { error.to.ip().to_string() } else { error.to.to_string() },
        error.trouble,
        error.count,
        error.last.as_secs()
    )
}

/// Makes a cause the first, with its line of what to do.
fn put_first(found: &mut Finding, cause: Cause, remedy: String) {
    if let Some(at) = found.causes.iter().position(|known| *known == cause) {
        found.causes.remove(at);
        if at < found.remedy.len() {
            found.remedy.remove(at);
        }
    }
    found.causes.insert(0, cause);
    found.remedy.insert(0, remedy.into());
}

fn remedy(error: &SendError) -> String {
    let host = error.to.ip();
    let what = match error.to.port() {
        0 => "ESP (IP protocol 50)".to_string(),
        port => format!("UDP port {port}"),
    };
    match error.trouble {
        SendTrouble::HostUnreachable => {
            format!(
                "see whether {host} is up and remote_addrs is right, and follow the route to it (traceroute {host})"
            )
        }
        SendTrouble::NetworkUnreachable => format!("add a route to {host} (ip route get {host})"),
        SendTrouble::PortUnreachable => format!(
            "start the IKE daemon of {host}, or forward {what} to it: the host is reached, and nobody there takes it"
        ),
        SendTrouble::NotPermitted => {
            format!("let {what} out to {host} in this host's packet filter (nft list ruleset, iptables -L OUTPUT)")
        }
        SendTrouble::TooLong => format!(
            "let the messages be shorter (fragmentation = yes at both ends, fewer proposals), or raise the MTU of the \
             route to {host}"
        ),
        SendTrouble::NoBuffers => {
            format!("relieve the interface to {host}: its queue is full (tc -s qdisc), or memory is short")
        }
        SendTrouble::NoSuchSource => "correct local_addrs: this host does not have that address (ip addr)".to_string(),
        SendTrouble::Other => format!("see what the log says: cannot send to {host}"),
    }
}

/// Findings about the data plane: what befell one Child SA in one way is one.
pub(crate) fn plane(live: &Live) -> Vec<Finding> {
    const MOST: usize = 8;
    let mut found: Vec<(&PlaneFault, Finding)> = Vec::new();
    for fault in &live.plane_faults {
        let alike = |(known, _): &&mut (&PlaneFault, Finding)| {
            std::mem::discriminant(*known) == std::mem::discriminant(fault)
                && child_of(fault).is_some()
                && child_of(known) == child_of(fault)
        };
        match found.iter_mut().find(alike) {
            Some((_, known)) if known.evidence.len() < MOST => known.evidence.push(fault.to_string()),
            Some(_) => {}
            None => found.extend(of_plane(live, fault).map(|finding| (fault, finding))),
        }
    }
    found.into_iter().map(|(_, finding)| finding).collect()
}

/// The Child SA that a fault is about.
fn child_of(fault: &PlaneFault) -> Option<&str> {
    match fault {
        PlaneFault::SaMissing { child, .. }
        | PlaneFault::PolicyMissing { child, .. }
        | PlaneFault::PolicyInTheWay { child, .. }
        | PlaneFault::OtherSa { child, .. }
        | PlaneFault::RouteMissing { child, .. }
        | PlaneFault::Dropped { child, .. } => Some(child),
        PlaneFault::RuleMissing { .. } | PlaneFault::Counted { .. } => None,
    }
}

/// Evidence: who of the configured peers sends by SPIs that are not here, where these were counted. The latest are first.
fn unknown_spis(live: &Live, fault: &PlaneFault) -> Vec<String> {
    const MOST: usize = 4;
    let PlaneFault::Counted { name, within, .. } = fault else { return Vec::new() };
    let counted = matches!(name.as_str(), "XfrmInNoStates" | "esp-unknown-spi");
    let strays = live.strays.iter().filter(|stray| counted && stray.last <= *within);
    strays.filter(|stray| matches!(stray.sa, StraySa::Esp { .. })).take(MOST).map(crate::live::of_stray).collect()
}

fn of_plane(live: &Live, fault: &PlaneFault) -> Option<Finding> {
    let anew = |child: &str| {
        format!(
            "find out who flushed it (another IKE daemon, ip xfrm flush), and have it made anew: swanctl --terminate \
                 --child {child}, then --initiate"
        )
    };
    let (severity, causes, remedy): (Severity, &[Cause], String) = match fault {
        PlaneFault::SaMissing { child, .. } | PlaneFault::OtherSa { child, .. } => {
            (Severity::Error, &[C::StaleSa], anew(child))
        }
        PlaneFault::PolicyMissing { child, .. } => (Severity::Error, &[C::StaleSa, C::TrafficSelector], anew(child)),
        PlaneFault::PolicyInTheWay { .. } => (
            Severity::Warning,
            &[C::TrafficSelector],
            "remove that policy (ip xfrm policy), or give the child a priority below its own".to_string(),
        ),
        PlaneFault::RouteMissing { child, table, .. } => (
            Severity::Error,
            &[],
            format!(
                "see that the tunnel's interface is up (ip link show type tun) and who removed its routes (ip route show \
                 table {table}), then have them made anew: swanctl --terminate --child {child}, then --initiate; for a trap \
                 --uninstall, then --install"
            ),
        ),
        PlaneFault::RuleMissing { ipv6, preference, table, mark } => (
            Severity::Error,
            &[],
            format!(
                "put it back: ip {}rule add pref {preference} not fwmark {mark:#x} lookup {table}; and find out who removed it",
                if *ipv6 { "-6 " } else { "" }
            ),
        ),
        PlaneFault::Dropped { replayed, late, failed, .. } => {
            let all = u64::from(*replayed) + u64::from(*late) + u64::from(*failed);
            let severity = if all >= MANY { Severity::Warning } else { Severity::Info };
            match failed.saturating_mul(2) > replayed.saturating_add(*late) {
                true => (
                    severity,
                    &[C::StaleSa],
                    "rekey it: the ends have different keys, or something alters packets".into(),
                ),
                false => (
                    severity,
                    &[],
                    "packets overtake each other on the way, or are repeated: raise replay_window (32 by default)"
                        .into(),
                ),
            }
        }
        PlaneFault::Counted { name, count, .. } => {
            let (causes, remedy) = counted(name)?;
            // Whoever sends octets to this host makes these grow.
            let by_anybody = matches!(
                name.as_str(),
                "XfrmInNoStates"
                    | "XfrmInHdrError"
                    | "XfrmInError"
                    | "XfrmInBufferError"
                    | "esp-unknown-spi"
                    | "esp-truncated"
            );
            let severity = if by_anybody || *count < MANY { Severity::Info } else { Severity::Warning };
            (severity, causes, remedy.to_string())
        }
    };
    let of = child_of(fault).and_then(|child| live.sas.iter().find(|sa| sa.children.iter().any(|c| c.name == child)));
    let peer = of.map_or_else(|| "this host".to_string(), |sa| format!("{} -> {}", sa.local.ip(), sa.remote.ip()));
    Some(Finding {
        id: "data-plane",
        peer,
        severity,
        since: 0,
        attempts: 1,
        causes: causes.to_vec(),
        why: fault.to_string(),
        evidence: of
            .map(|sa| format!("connection '{}'", sa.name))
            .into_iter()
            .chain(unknown_spis(live, fault))
            .collect(),
        remedy: vec![remedy.into()],
    })
}

/// What a counter means (Documentation/networking/xfrm_proc.rst; the userspace data plane's are this project's own).
fn counted(name: &str) -> Option<(&'static [Cause], &'static str)> {
    Some(match name {
        "XfrmInNoStates" | "esp-unknown-spi" => (
            &[C::StaleSa],
            "packets come by SPIs that are not here: the peer uses an SA that is over; delete it there, or let it check \
             for dead peers",
        ),
        "XfrmInStateProtoError" | "esp-integrity" | "esp-padding" | "esp-next-header" | "esp-block-length" => {
            (&[C::StaleSa], "rekey: the ends have different keys or algorithms, or something alters packets on the way")
        }
        "XfrmInStateSeqError" | "esp-too-old" | "esp-replayed" => {
            (&[], "packets overtake each other on the way, or are repeated: raise replay_window (32 by default)")
        }
        "XfrmInTmplMismatch" => (
            &[C::TrafficSelector],
            "packets come in the clear, or by another SA, that a policy wants protected: compare the networks of both \
             ends, and what the peer sends around the tunnel",
        ),
        "XfrmInNoPols" | "esp-selectors" => (
            &[C::TrafficSelector],
            "packets come through a tunnel that is not for them: compare local_ts and remote_ts of both ends",
        ),
        "XfrmInPolBlock" | "XfrmOutPolBlock" => {
            (&[C::TrafficSelector], "a policy says block: see which (ip xfrm policy), also children with mode = drop")
        }
        "XfrmOutNoStates" | "XfrmAcquireError" => {
            (&[C::NotStarted], "packets are for a tunnel that has no SA: see why it is not negotiated")
        }
        "XfrmInStateExpired" | "XfrmOutStateExpired" | "XfrmOutStateSeqError" | "esp-sequence-exhausted" => (
            &[C::Lifetime],
            "an SA is at its end and was not rekeyed: make life_time longer than rekey_time, at both ends",
        ),
        "XfrmInStateModeError" | "XfrmOutStateModeError" => {
            (&[C::EncapsulationMode], "write the same mode (tunnel or transport) at both ends")
        }
        "XfrmOutStateProtoError" | "XfrmOutBundleGenError" | "XfrmOutBundleCheckError" | "XfrmFwdHdrError" => {
            (&[], "packets cannot be sent: see whether the peer has a route, and the kernel's log (dmesg)")
        }
        "XfrmInHdrError" | "XfrmInError" | "XfrmInBufferError" | "esp-truncated" => {
            (&[], "packets are damaged, or are no ESP")
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn error(port: u16, trouble: SendTrouble) -> SendError {
        SendError { to: ([192, 0, 2, 2], port).into(), trouble, count: 4, last: 3 * SECOND, reporter: None }
    }

    fn silent(causes: &[Cause]) -> Finding {
        Finding {
            id: "never-established",
            peer: "p".into(),
            severity: Severity::Error,
            since: 0,
            attempts: 1,
            causes: causes.to_vec(),
            why: "no answer to the first message".into(),
            evidence: Vec::new(),
            remedy: causes.iter().map(|cause| cause.remedy().into()).collect(),
        }
    }

    #[test]
    fn what_sending_says_comes_first_where_an_answer_is_missing() {
        for (trouble, word) in [
            (SendTrouble::HostUnreachable, "traceroute 192.0.2.2"),
            (SendTrouble::NetworkUnreachable, "ip route get 192.0.2.2"),
            (SendTrouble::PortUnreachable, "UDP port 500"),
            (SendTrouble::NotPermitted, "packet filter"),
            (SendTrouble::TooLong, "fragmentation"),
            (SendTrouble::NoBuffers, "queue"),
            (SendTrouble::NoSuchSource, "local_addrs"),
        ] {
            let mut found = silent(&[C::NoConfig, C::NoResponse, C::IkeVersion]);
            explain(&mut found, &error(500, trouble));
            assert_eq!(found.causes, [C::NoResponse, C::NoConfig, C::IkeVersion]);
            assert_eq!(found.remedy.len(), 3);
            assert!(found.remedy[0].contains(word), "{trouble:?}: {}", found.remedy[0]);
            assert!(found.evidence[0].contains("4 times, the latest 3 s ago"), "{:?}", found.evidence);
        }
        let mut found = silent(&[C::PskMismatch, C::NatTraversal]);
        explain(&mut found, &error(4500, SendTrouble::PortUnreachable));
        assert_eq!(found.causes, [C::NatTraversal, C::PskMismatch]);
        let refused = silent(&[C::PeerId, C::AuthFailed]);
        let mut found = refused.clone();
        explain(&mut found, &error(500, SendTrouble::PortUnreachable));
        assert_eq!(found, refused, "it was answered");
    }

    #[test]
    fn an_attempt_that_cannot_succeed_is_told_at_once() {
        let mut found = Finding { id: "negotiating", severity: Severity::Info, ..silent(&[C::NoResponse]) };
        let told = SendError { reporter: Some([192, 0, 2, 9].into()), ..error(500, SendTrouble::HostUnreachable) };
        explain(&mut found, &told);
        assert_eq!((found.id, found.severity), ("never-established", Severity::Warning));
        assert!(found.evidence[0].contains("192.0.2.9 reports (unprotected"), "{:?}", found.evidence);
    }

    fn told(fault: PlaneFault) -> Option<(Severity, Option<Cause>, String)> {
        let live = Live { plane_faults: vec![fault], ..Live::default() };
        let found = crate::live(&live).into_iter().next()?;
        Some((found.severity, found.causes.first().copied(), found.why))
    }

    #[test]
    fn what_is_gone_from_the_kernel_is_a_fault_and_what_grows_a_little_is_not() {
        let child = "net".to_string();
        let (severity, cause, why) =
            told(PlaneFault::SaMissing { child: child.clone(), spi: 5, inbound: true }).unwrap();
        assert_eq!((severity, cause), (Severity::Error, Some(C::StaleSa)));
        assert!(why.contains("inbound SA 00000005 of 'net' is gone"), "{why}");
        let (direction, packets) = ("out".to_string(), "10.1.0.0/16 -> 10.2.0.0/16".to_string());
        let missing = PlaneFault::PolicyMissing { child: child.clone(), direction, packets };
        assert_eq!(told(missing.clone()).unwrap().0, Severity::Error);
        let gone = |spi| PlaneFault::SaMissing { child: child.clone(), spi, inbound: spi == 5 };
        let live = Live { plane_faults: vec![missing, gone(5), gone(6)], ..Live::default() };
        let found = crate::live(&live);
        assert_eq!(found.len(), 2, "one for each kind: {found:?}");
        assert!(found[1].evidence[0].contains("outbound SA 00000006"), "{found:?}");
        let unrouted = PlaneFault::RouteMissing { child: child.clone(), network: "10.2.0.0/16".into(), table: 220 };
        assert_eq!(told(unrouted.clone()).unwrap().0, Severity::Error);
        let found = crate::live(&Live { plane_faults: vec![unrouted.clone(), unrouted], ..Live::default() });
        assert_eq!(found.len(), 1, "two networks of one child: {found:?}");
        assert!(found[0].remedy[0].contains("ip route show table 220"), "{found:?}");
        let rule = PlaneFault::RuleMissing { ipv6: true, preference: 220, table: 220, mark: 0x5348_524b };
        let found = crate::live(&Live { plane_faults: vec![rule], ..Live::default() });
        assert_eq!((found[0].severity, found[0].peer.as_str()), (Severity::Error, "this host"));
        let line = "ip -6 rule add pref 220 not fwmark 0x5348524b lookup 220";
        assert!(found[0].remedy[0].contains(line), "{found:?}");
        let dropped =
            |replayed, failed| PlaneFault::Dropped { child: child.clone(), spi: 5, replayed, late: 0, failed };
        assert_eq!(told(dropped(3, 0)).unwrap().0, Severity::Info);
        assert_eq!(told(dropped(300, 0)).map(|t| (t.0, t.1)), Some((Severity::Warning, None)));
        assert_eq!(told(dropped(0, 300)).map(|t| (t.0, t.1)), Some((Severity::Warning, Some(C::StaleSa))));
        let grown = |name: &str, count| PlaneFault::Counted { name: name.into(), count, within: 300 * SECOND };
        assert_eq!(told(grown("XfrmInTmplMismatch", 3)).unwrap().0, Severity::Info);
        let (severity, cause, why) = told(grown("XfrmInTmplMismatch", 30)).unwrap();
        assert_eq!((severity, cause), (Severity::Warning, Some(C::TrafficSelector)));
        assert_eq!(why, "XfrmInTmplMismatch has grown by 30 within 300 s");
        assert_eq!(told(grown("XfrmInNoStates", 3000)).unwrap().0, Severity::Info, "anybody can make it grow");
        assert_eq!(told(grown("esp-dummy", 3000)), None, "as its sender wants it");
    }

    #[test]
    fn who_sends_by_spis_that_are_not_here_is_told_with_their_counter() {
        let stray = |from: &str, sa, last| model::Stray {
            from: from.parse().unwrap(),
            connections: vec!["gw".into()],
            sa,
            count: 3,
            last: last * SECOND,
        };
        let (esp, spis) = (StraySa::Esp { spi: 0xc0ff_ee01 }, wire::SpiPair::default());
        let strays = vec![
            stray("192.0.2.2", esp, 10),
            stray("192.0.2.3", StraySa::Ike { version: 2, spis }, 10),
            stray("192.0.2.4", esp, 500),
        ];
        for (name, told) in [("XfrmInNoStates", 1), ("esp-unknown-spi", 1), ("XfrmInNoPols", 0)] {
            let fault = PlaneFault::Counted { name: name.into(), count: 30, within: 300 * SECOND };
            let found = crate::live(&Live { plane_faults: vec![fault], strays: strays.clone(), ..Live::default() });
            let evidence = &found.iter().find(|found| found.id == "data-plane").unwrap().evidence;
            assert_eq!(evidence.len(), told, "{name}: {evidence:?}");
            assert!(evidence.iter().all(|e| e.contains("192.0.2.2") && e.contains("c0ffee01")), "{evidence:?}");
        }
    }
}
