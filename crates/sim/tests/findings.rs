//! What a running daemon's SAs show by themselves: children that are over, and packets that nobody answers.

use diag::{Cause, Severity};
use model::{FailureKind, Live};
use sim::{NodeId, Sim, Site};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn up() -> (Sim, NodeId, NodeId) {
    let site = |name, own, peer| Site::new(name, own).to(peer).connection("version = 1");
    let mut sim = Sim::new(2);
    let a = sim.add(site("a", "192.0.2.1", "192.0.2.2"));
    let b = sim.add(site("b", "192.0.2.2", "192.0.2.1"));
    sim.initiate(a, b);
    sim.run_for(60 * SECOND);
    assert!(sim.carries(a, b));
    (sim, a, b)
}

fn live(sim: &Sim, node: NodeId) -> Live {
    Live { sas: sim.snapshots(node), ended: sim.tombstones(node), remembers: true, ..Live::default() }
}

#[test]
fn a_child_that_expired_with_nothing_in_its_place_is_a_warning() {
    let site = |name, own, peer| {
        let site = Site::new(name, own).to(peer).connection("version = 1");
        site.child("rekey_time = 0s").child("life_time = 40s")
    };
    let mut sim = Sim::new(2);
    let a = sim.add(site("a", "192.0.2.1", "192.0.2.2"));
    let b = sim.add(site("b", "192.0.2.2", "192.0.2.1"));
    sim.initiate(a, b);
    sim.run_for(30 * SECOND);
    assert_eq!(diag::live(&live(&sim, a))[0].severity, Severity::Ok);
    sim.run_for(60 * SECOND);
    let ended = sim.tombstones(a);
    assert!(ended.iter().any(|t| t.failure.kind == FailureKind::Expired), "{ended:?}");
    let found = diag::live(&live(&sim, a)).remove(0);
    assert_eq!((found.severity, found.causes[0]), (Severity::Warning, Cause::Lifetime), "{found:?}");
    assert!(found.evidence.iter().any(|line| line.contains("EXPIRED")), "{found:?}");
}

#[test]
fn packets_that_nobody_answers_are_told() {
    let (sim, a, _) = up();
    let one_way = |packets_in, packets_out, idle_in: Option<u64>, idle_out: u64| {
        let mut live = live(&sim, a);
        let counters = &mut live.sas[0].children[0].counters;
        (counters.packets_in, counters.packets_out) = (packets_in, packets_out);
        (counters.idle_in, counters.idle_out) = (idle_in.map(Duration::from_secs), Some(Duration::from_secs(idle_out)));
        diag::live(&live).into_iter().find(|found| found.id == "one-way").map(|found| (found.severity, found.why))
    };
    assert_eq!(one_way(0, 100, None, 1).unwrap().0, Severity::Warning);
    let (severity, why) = one_way(50, 100, Some(300), 1).unwrap();
    assert_eq!(severity, Severity::Info);
    assert!(why.contains("received nothing for 300 s"), "{why}");
    assert_eq!(one_way(50, 100, Some(10), 1), None, "answered");
    assert_eq!(one_way(50, 100, Some(300), 200), None, "nothing is sent either");
}

/// What keeps ESP from leaving is the reason why nothing comes back.
#[test]
fn packets_that_cannot_leave_are_told_by_what_stops_them() {
    let (sim, a, _) = up();
    let told = |to: &str| {
        let mut live = live(&sim, a);
        let counters = &mut live.sas[0].children[0].counters;
        (counters.packets_in, counters.packets_out) = (0, 100);
        let (trouble, last) = (model::SendTrouble::NotPermitted, 2 * SECOND);
        live.send_errors =
            vec![model::SendError { to: to.parse().unwrap(), trouble, count: 100, last, reporter: None }];
        let found = diag::live(&live).into_iter().find(|found| found.id == "one-way").unwrap();
        format!("{} {:?}", found.remedy[0], found.evidence)
    };
    let text = told("192.0.2.2:0");
    assert!(text.contains("let ESP (IP protocol 50) out to 192.0.2.2"), "{text}");
    assert!(text.contains("sending ESP to 192.0.2.2: not permitted"), "{text}");
    assert!(!told("192.0.2.3:0").contains("not permitted"));
}

/// With `pfs_probe`, groups that differ are found soon after the first Child SA, which stays and is not tried again and again;
/// where they are the same, it is replaced once.
#[test]
fn groups_that_differ_are_found_before_the_first_rekeying_if_that_is_asked_for() {
    let run = |probe: Duration, there: &str| {
        let site = |name, own, peer, esp: &str| Site::new(name, own).to(peer).child(&format!("esp_proposals = {esp}"));
        let mut sim = Sim::new(7);
        let here = site("a", "192.0.2.1", "192.0.2.2", "aes128gcm16-x25519").settings(|s| s.pfs_probe = probe);
        let a = sim.add(here);
        let b = sim.add(site("b", "192.0.2.2", "192.0.2.1", there));
        sim.initiate(a, b);
        sim.run_for(120 * SECOND);
        assert!(sim.carries(a, b), "{:?}", sim.tombstones(a));
        let tried = sim.tombstones(a).iter().filter(|t| t.child.is_some()).count();
        let found = diag::live(&live(&sim, a)).remove(0);
        let age = sim.snapshots(a)[0].children[0].installed.unwrap();
        (found.severity, found.causes.first().copied(), tried, age > 115 * SECOND)
    };
    let different = "aes128gcm16-ecp256";
    assert_eq!(run(Duration::ZERO, different), (Severity::Ok, None, 0, true), "nobody asked");
    assert_eq!(run(10 * SECOND, different), (Severity::Error, Some(Cause::Pfs), 1, true));
    assert_eq!(run(10 * SECOND, "aes128gcm16"), (Severity::Error, Some(Cause::Pfs), 1, true), "no group there");
    let (severity, cause, _, first) = run(10 * SECOND, "aes128gcm16-x25519");
    assert_eq!((severity, cause, first), (Severity::Ok, None, false), "it has a successor");
}
