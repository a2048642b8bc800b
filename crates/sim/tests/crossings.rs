//! The table of crossings (RFC 7296 sections 2.8 and 2.25): whatever both ends begin at once, and whichever message is lost,
//! both have the same SAs afterwards, with one request under way at a time and with four. `SHRIKE_SIM_LONG=1` tries more moments and seeds.
//!
//! |                      | rekey child | rekey IKE SA | authenticate anew | delete child | delete IKE SA |
//! |---|---|---|---|---|---|
//! | rekey child          | 2.8.1, one of two is kept | 2.25.2, TEMPORARY_FAILURE | the child moves | 2.25.1, CHILD_SA_NOT_FOUND | all end |
//! | rekey IKE SA         | | 2.8.2, one of two is kept | one is kept | 2.25.2 | 2.25.2, all end |
//! | authenticate anew    | | | one is kept | | |
//! | delete child         | | | | 2.25.1, both are answered | all end |
//! | delete IKE SA        | | | | | 2.25.2, both are answered |

use proto::Selection;
use sim::{NodeId, Sim, Site};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    RekeyChild,
    RekeyIke,
    Reauthenticate,
    DeleteChild,
    DeleteIke,
}

const STEPS: [Step; 5] = [Step::RekeyChild, Step::RekeyIke, Step::Reauthenticate, Step::DeleteChild, Step::DeleteIke];

impl Step {
    fn ends_the_child(self) -> bool {
        matches!(self, Self::DeleteChild | Self::DeleteIke)
    }

    fn begin(self, sim: &mut Sim, node: NodeId) {
        let child = Selection { child: Some("net".to_string()), ..Selection::default() };
        let all = Selection::default();
        match self {
            Self::RekeyChild => drop(sim.with(node, |endpoint, now| endpoint.rekey(now, &child))),
            Self::RekeyIke => drop(sim.with(node, |endpoint, now| endpoint.rekey(now, &all))),
            Self::Reauthenticate => drop(sim.with(node, |endpoint, now| endpoint.reauthenticate(now, &all))),
            Self::DeleteChild => drop(sim.terminate(node, &child)),
            Self::DeleteIke => drop(sim.terminate(node, &all)),
        }
    }
}

/// What happened in one run, for the message of an assertion.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code)] // read by Debug
struct Crossing {
    first: Step,
    second: Step,
    delay: u32,
    lost: Option<u32>,
    seed: u64,
    /// How many requests each end may have under way.
    window: u32,
}

fn tunnel(seed: u64, window: u32) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(seed);
    let [a, b] = [("a", "192.0.2.1", "192.0.2.2"), ("b", "192.0.2.2", "192.0.2.1")]
        .map(|(name, own, peer)| sim.add(Site::new(name, own).to(peer).settings(|s| s.window_size = window)));
    sim.initiate(a, b);
    sim.run_until(10 * SECOND, |sim| sim.carries(a, b)).expect("a tunnel");
    sim.settle(10 * SECOND);
    (sim, a, b)
}

/// The first end takes its step, the other one a little later; returns whether there was a usable pair all the time.
fn cross(of: Crossing) -> (Sim, NodeId, NodeId, bool) {
    let (mut sim, a, b) = tunnel(of.seed, of.window);
    let sent = Rc::new(Cell::new(0));
    if let Some(lost) = of.lost {
        sim.set_hook(Some(Box::new(move |_, datagram| {
            sent.set(sent.get() + 1);
            if sent.get() == lost + 1 { Vec::new() } else { vec![(Duration::ZERO, datagram.clone())] }
        })));
    }
    let mut usable = true;
    let mut run = |sim: &mut Sim, time: Duration| {
        let end = sim.now() + time;
        while sim.now() < end {
            sim.run_for(5 * MILLISECOND);
            usable &= sim.carries(a, b);
        }
    };
    of.first.begin(&mut sim, a);
    run(&mut sim, of.delay * MILLISECOND);
    of.second.begin(&mut sim, b);
    run(&mut sim, 30 * SECOND);
    // An IKE SA whose maker forgot it, because the answer got lost, ends by itself.
    sim.run_for(90 * SECOND);
    sim.settle(60 * SECOND);
    usable &= sim.carries(a, b);
    (sim, a, b, usable)
}

fn agree(of: Crossing) {
    let (sim, a, b, usable) = cross(of);
    let shown = || format!("{of:?}: {:#?} / {:#?}", sim.snapshots(a), sim.snapshots(b));
    // Both ends have the same SAs, each with a match at the other, and nothing is left half done.
    let ike = |node| sim.snapshots(node).iter().map(|sa| sa.spis.initiator.0).collect::<BTreeSet<_>>();
    assert_eq!(ike(a), ike(b), "{}", shown());
    assert_eq!((sim.endpoint(a).sizes().1, sim.endpoint(b).sizes().1), (0, 0), "{}", shown());
    let installed = [a, b].map(|node| sim.plane(node).installed().count());
    assert_eq!(installed, [sim.pairs(a, b); 2], "{}", shown());
    // One of each at most: what was made twice was ended once.
    assert!(ike(a).len() <= 1 && installed[0] <= 1, "{}", shown());
    if of.first.ends_the_child() || of.second.ends_the_child() {
        let both = [of.first, of.second];
        if both.contains(&Step::DeleteIke) {
            assert!(ike(a).is_empty() || !both.iter().all(|step| *step == Step::DeleteIke), "{}", shown());
        } else {
            assert_eq!(ike(a).len(), 1, "{}", shown());
        }
    } else {
        assert_eq!((ike(a).len(), installed[0]), (1, 1), "{}", shown());
        assert!(usable, "there was a moment without a usable pair: {}", shown());
    }
    for node in [a, b] {
        assert!(sim.plane(node).violations.is_empty(), "{of:?}: {:?}", sim.plane(node).violations);
    }
}

/// This step against every other one, begun at every moment of a round trip (20 ms), with no message lost or any one of the
/// first twelve.
fn against_all(first: Step) {
    let long = std::env::var_os("SHRIKE_SIM_LONG").is_some();
    let (delays, seeds): (&[u32], u64) =
        if long { (&[0, 5, 9, 10, 11, 15, 19, 20, 21, 25, 30, 40], 8) } else { (&[0, 5, 10, 20], 1) };
    for second in STEPS {
        for (delay, seed) in delays.iter().flat_map(|delay| (0..seeds).map(move |seed| (*delay, seed))) {
            for lost in std::iter::once(None).chain((0..12).map(Some)) {
                for window in if long || delay % 20 == 0 { &[1, 4][..] } else { &[1] } {
                    agree(Crossing { first, second, delay, lost, seed, window: *window });
                }
            }
        }
    }
}

#[test]
fn rekeying_the_child_sa_against_all() {
    against_all(Step::RekeyChild);
}

#[test]
fn rekeying_the_ike_sa_against_all() {
    against_all(Step::RekeyIke);
}

#[test]
fn authenticating_anew_against_all() {
    against_all(Step::Reauthenticate);
}

#[test]
fn deleting_the_child_sa_against_all() {
    against_all(Step::DeleteChild);
}

#[test]
fn deleting_the_ike_sa_against_all() {
    against_all(Step::DeleteIke);
}
