//! Everybody speaks to everybody at once, over a bad net: afterwards every pair of nodes has a tunnel, and the net is
//! quiet. `SHRIKE_SIM_LONG=1` runs more seeds.

use proto::Selection;
use sim::{Conditions, NodeId, Rng, Sim, Site};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn address(n: usize) -> String {
    format!("192.0.2.{}", n + 1)
}

fn mesh(seed: u64, size: usize) -> (Sim, Vec<NodeId>) {
    mesh_with(seed, size, "")
}

fn mesh_with(seed: u64, size: usize, line: &str) -> (Sim, Vec<NodeId>) {
    mesh_of(seed, size, line, |_| 1)
}

fn mesh_of(seed: u64, size: usize, line: &str, window: impl Fn(usize) -> u32) -> (Sim, Vec<NodeId>) {
    let mut sim = Sim::new(seed);
    let nodes: Vec<NodeId> = (0..size)
        .map(|n| {
            let mut site = Site::new(&format!("n{n}"), &address(n))
                .connection("keyingtries = 0")
                .connection("dpd_delay = 30s")
                .connection("proposals = aes128gcm16-prfsha256-x25519")
                .connection(line)
                .settings(|s| s.window_size = window(n))
                .child("dpd_action = restart");
            for other in (0..size).filter(|other| *other != n) {
                site = site.to(&address(other));
            }
            sim.add(site)
        })
        .collect();
    (sim, nodes)
}

fn storm(seed: u64, size: usize) {
    storm_in(mesh(seed, size), seed);
}

fn storm_in((mut sim, nodes): (Sim, Vec<NodeId>), seed: u64) {
    let size = nodes.len();
    sim.set_conditions(Conditions { loss: 200, duplicate: 100, reorder: 200, corrupt: 10, ..Conditions::default() });
    for a in &nodes {
        for b in nodes.iter().filter(|b| *b != a) {
            // As `start_action` does: a first message that the net has changed makes the proof wrong, and is refused.
            sim.initiate_for_good(*a, *b).expect("it can begin");
        }
    }
    sim.run_for(120 * SECOND);
    sim.set_conditions(Conditions::default());
    let pairs = || nodes.iter().flat_map(|a| nodes.iter().map(move |b| (*a, *b))).filter(|(a, b)| a < b);
    let all_up = |sim: &Sim| pairs().all(|(a, b)| sim.carries(a, b));
    // Once a second: to look at all pairs takes longer than what happens in between.
    for _ in 0..400 {
        if all_up(&sim) {
            break;
        }
        sim.run_for(SECOND);
    }
    let missing = pairs().filter(|(a, b)| !sim.carries(*a, *b)).collect::<Vec<_>>();
    assert!(missing.is_empty(), "seed {seed}: no tunnel between {missing:?}");
    // What the bad net left half done ends: half-open SAs, and requests that nobody will answer.
    sim.run_for(400 * SECOND);
    assert!(all_up(&sim), "seed {seed}");
    assert!(pairs().all(|(a, b)| sim.pairs(a, b) == 1), "seed {seed}: a Child SA twice");
    for node in &nodes {
        assert_eq!(sim.endpoint(*node).sizes().1, 0, "seed {seed}: half-open SAs remain");
        // Both ends of each pair began, and one of the two SAs went.
        let sas = sim.endpoint(*node).sizes().0;
        assert_eq!(sas, size - 1, "seed {seed}: {sas} SAs for {size} nodes");
    }
    // With nothing new to do only signs of life remain: one request and one answer per SA and 30 s at most.
    let (before, sas) = (sim.wire.len(), nodes.iter().map(|n| sim.endpoint(*n).sizes().0).sum::<usize>());
    sim.run_for(60 * SECOND);
    assert!(sim.wire.len() - before <= sas * 2 * 3, "{} datagrams in a minute", sim.wire.len() - before);
}

/// Both ends began, and where that is allowed there are two SAs. When one of them is lost, neither end makes a third: the other carries the child.
#[test]
fn what_is_carried_beside_is_not_made_again() {
    let (mut sim, nodes) = mesh_with(1, 2, "unique = never");
    let (a, b) = (nodes[0], nodes[1]);
    sim.initiate(a, b);
    sim.initiate(b, a);
    sim.run_for(10 * SECOND);
    assert_eq!((sim.endpoint(a).sizes().0, sim.endpoint(b).sizes().0), (2, 2));
    let lost = sim.snapshots(a)[0].spis.initiator.0;
    sim.set_hook(Some(Box::new(move |_, datagram| {
        let dropped = datagram.bytes.get(..8) == Some(&lost[..]);
        if dropped { Vec::new() } else { vec![(Duration::ZERO, datagram.clone())] }
    })));
    sim.run_for(600 * SECOND);
    assert_eq!((sim.endpoint(a).sizes().0, sim.endpoint(b).sizes().0), (1, 1));
    assert!(sim.carries(a, b));
    // When the last one is lost too, it comes back.
    let last = sim.snapshots(a)[0].spis.initiator.0;
    sim.set_hook(Some(Box::new(move |_, datagram| {
        let dropped = datagram.bytes.get(..8) == Some(&last[..]);
        if dropped { Vec::new() } else { vec![(Duration::ZERO, datagram.clone())] }
    })));
    sim.run_for(600 * SECOND);
    assert!(sim.carries(a, b));
}

#[test]
fn sixteen_nodes_at_once() {
    storm(1, 16);
}

/// After a power cut in a large site everybody begins with everybody: 64 nodes and once 200 with `SHRIKE_SIM_LONG=1`, else 24.
#[test]
fn a_large_site_at_once() {
    let long = std::env::var_os("SHRIKE_SIM_LONG").is_some();
    let (size, seeds) = if long { (64, 100) } else { (24, 1) };
    for seed in 0..seeds {
        storm(100 + seed, size);
    }
    if long {
        storm(1, 200);
    }
}

#[test]
fn four_nodes_many_times() {
    let seeds = if std::env::var_os("SHRIKE_SIM_LONG").is_some() { 10_000 } else { 15 };
    for seed in 0..seeds {
        storm(seed, 4);
    }
}

/// Operators and crashes at random over a bad net, with short lifetimes. Once the net is good again both ends of every
/// pair agree on every SA: nothing is installed at one end only, which would swallow packets.
fn churn(seed: u64) {
    churn_in(mesh(seed, 3), seed);
}

fn churn_in((mut sim, nodes): (Sim, Vec<NodeId>), seed: u64) {
    let mut rng = Rng::new(seed ^ 0x5eed);
    sim.set_conditions(Conditions { loss: 150, duplicate: 100, reorder: 200, corrupt: 10, ..Conditions::default() });
    for _ in 0..40 {
        let node = nodes[rng.below(3) as usize];
        let other = *nodes.iter().filter(|n| **n != node).nth(rng.below(2) as usize).unwrap();
        match rng.below(8) {
            0 => sim.restart(node),
            1 => drop(sim.terminate(node, &Selection::default())),
            2 => {
                let child = Selection { child: Some("net".into()), ..Selection::default() };
                sim.terminate(node, &child);
            }
            3 => {
                let child = sim.plane(node).installed().next().map(|install| install.child);
                if let Some(child) = child {
                    sim.report(node, model::dataplane::PlaneEvent::SoftExpire { child });
                }
            }
            _ => drop(sim.try_initiate(node, other)),
        }
        sim.run_for(Duration::from_millis(rng.below(6_000)));
    }
    sim.set_conditions(Conditions::default());
    sim.run_for(800 * SECOND);
    for a in &nodes {
        let installed = sim.plane(*a).installed().count();
        let matched: usize = nodes.iter().filter(|b| *b != a).map(|b| sim.pairs(*a, *b)).sum();
        assert_eq!(installed, matched, "seed {seed}: Child SAs that only one end has");
        assert_eq!(sim.endpoint(*a).sizes().1, 0, "seed {seed}");
    }
    for a in &nodes {
        for b in nodes.iter().filter(|b| *b != a) {
            sim.try_initiate(*a, *b).expect("it can begin");
            assert!(sim.run_until(10 * SECOND, |sim| sim.carries(*a, *b)).is_some(), "seed {seed}");
        }
    }
    for node in &nodes {
        sim.terminate(*node, &Selection::default());
    }
    sim.run_for(100 * SECOND);
    for node in &nodes {
        assert_eq!(sim.endpoint(*node).sizes(), (0, 0), "seed {seed}");
        assert_eq!(sim.endpoint(*node).poll_timeout(), None, "seed {seed}: a timer without an owner");
        assert_eq!(sim.plane(*node).installed().count(), 0, "seed {seed}");
    }
}

#[test]
fn operators_and_crashes_at_random() {
    let seeds = if std::env::var_os("SHRIKE_SIM_LONG").is_some() { 2000 } else { 40 };
    for seed in 0..seeds {
        churn(seed);
    }
}

/// The same where ends have several requests under way, not all of them equally many.
#[test]
fn with_windows_of_all_sizes() {
    let long = std::env::var_os("SHRIKE_SIM_LONG").is_some();
    let windows = |n: usize| [4, 1, 16, 4][n % 4];
    for seed in 0..if long { 300 } else { 6 } {
        storm_in(mesh_of(seed, 4, "", windows), seed);
    }
    for seed in 0..if long { 2000 } else { 20 } {
        churn_in(mesh_of(seed, 3, "", |_| 4), seed);
    }
}
