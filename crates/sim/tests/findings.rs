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
